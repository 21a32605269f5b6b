/* SPDX-License-Identifier: ISC */
/* Sort keys. Texts are folded once, when an item is filled (i;unicode-casemap, RFC 5051): comparing
 * is by octets then. */
#include <stdlib.h>

#include "charset.h"
#include "sortkey.h"

enum { FOLDED_MAX_OCTETS = RECORD_SUBJECT_MAX_OCTETS * 12 };

bool sort_order_add(struct sort_order *o, enum sort_by by, bool reverse)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->key[i].by == by)
			return true;
	if (o->n == SORT_KEYS_MAX)
		return false;
	o->key[o->n].by = by;
	o->key[o->n++].reverse = reverse;
	o->needs_record = o->needs_record || (by != SORT_ARRIVAL && by != SORT_SIZE);
	return true;
}

static struct str text_of(const struct record *r, enum sort_by by)
{
	switch (by) {
	case SORT_CC:
		return record_sort_mailbox(r, RECORD_CC);
	case SORT_FROM:
		return record_sort_mailbox(r, RECORD_FROM);
	case SORT_TO:
		return record_sort_mailbox(r, RECORD_TO);
	case SORT_DISPLAYFROM:
		return record_sort_display(r, RECORD_FROM);
	case SORT_DISPLAYTO:
		return record_sort_display(r, RECORD_TO);
	case SORT_SUBJECT:
		return record_base_subject(r);
	default:
		return STR("");
	}
}

bool sort_item_fill(struct arena *a, const struct sort_order *o, const struct record *r,
    int64_t arrival_s, uint64_t size_octets, struct sort_item *item)
{
	struct buf folded = BUF_INIT(FOLDED_MAX_OCTETS);
	bool ok;

	item->v = arena_array(a, o->n, sizeof *item->v);
	ok = item->v != NULL;
	for (size_t i = 0; ok && i < o->n; i++) {
		enum sort_by by = o->key[i].by;

		item->v[i].number = by == SORT_SIZE ? (int64_t)size_octets :
		    by == SORT_DATE && r != NULL && r->has_sent ? r->sent_s :
		    by == SORT_DATE || by == SORT_ARRIVAL ? arrival_s : 0;
		if (r == NULL)
			continue;
		buf_reset(&folded);
		ok = text_fold(&folded, text_of(r, by));
		item->v[i].text = ok && folded.n > 0 ? str_dup(a, buf_str(&folded)) : STR("");
		ok = ok && item->v[i].text.p != NULL;
	}
	buf_free(&folded);
	return ok;
}

static int compare(const void *a, const void *b, void *ctx)
{
	const struct sort_item *x = a, *y = b;
	const struct sort_order *o = ctx;

	for (size_t i = 0; i < o->n; i++) {
		const struct sort_value *v = &x->v[i], *w = &y->v[i];
		int c = v->number != w->number ? (v->number > w->number) - (v->number < w->number) :
		    str_cmp(v->text, w->text);

		if (c != 0)
			return o->key[i].reverse ? -c : c;
	}
	return (x->msgno > y->msgno) - (x->msgno < y->msgno);
}

void sort_items(const struct sort_order *o, struct sort_item *items, size_t n)
{
	if (n > 1)
		qsort_r(items, n, sizeof *items, compare, (void *)(uintptr_t)o);
}
