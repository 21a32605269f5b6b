/* SPDX-License-Identifier: ISC */
/* Evaluates search programs. The recursion follows the tree, whose depth the parser bounds. A
 * record or a message is opened when the first key needs it and closed with its message. What
 * can't be read matches nothing and is reported. */
#include "searchrun.h"

#include "../libmail/charset.h"
#include "../libmail/header.h"

enum { SCRATCH_MAX_OCTETS = TEXT_READ_MAX_OCTETS * 2, DAY_S = 86400 };

void search_run_init(struct search_run *r, struct mailbox *mb, struct search *search)
{
	*r = (struct search_run){ .mb = mb, .search = search };
	buf_init(&r->scratch, SCRATCH_MAX_OCTETS);
	for (size_t k = 0; search_node_at(search, k) != NULL; k++) {
		struct search_node *n = search_node_at(search, k);

		for (size_t i = 0; n->op == SEARCH_KEYWORD && i < mailbox_n_keywords(mb); i++)
			if (str_eq_nocase(mailbox_keyword(mb, i), n->name))
				n->keyword_bit = (uint64_t)1 << i;
	}
}

void search_run_free(struct search_run *r)
{
	buf_free(&r->scratch);
}

static void note_failure(struct search_run *r, const struct err *e)
{
	if (e->kind == ERR_NOENT)	/* expunged meanwhile: no longer a message to be found */
		return;
	r->failed = true;
	r->e = *e;
}

static bool need_record(struct search_run *r)
{
	struct str data;
	struct err e;

	if (r->has_record)
		return true;
	if (message_record(r->mb, r->m, &data, &e) != ERR_OK ||
	    record_open(data, &r->record, &e) != ERR_OK) {
		note_failure(r, &e);
		return false;
	}
	r->has_record = true;
	return true;
}

static bool need_text(struct search_run *r)
{
	struct err e;

	if (r->has_text)
		return true;
	if (message_open(r->mb, r->m, &r->text, &e) != ERR_OK) {
		note_failure(r, &e);
		return false;
	}
	r->has_text = true;
	return true;
}

/* Days count in UTC: INTERNALDATE is told in UTC, too. */
static int64_t utc_day(int64_t s)
{
	return s >= 0 ? s / DAY_S : -((-s + DAY_S - 1) / DAY_S);
}

static bool in_days(const struct search_node *n, int64_t day)
{
	return n->day_from <= day && day < n->day_to;
}

static bool sent_in_days(struct search_run *r, const struct search_node *n)
{
	struct mail_date d;

	if (!need_record(r) || !r->record.has_sent)
		return false;
	d = (struct mail_date){ r->record.sent_s, r->record.sent_zone_min };
	return in_days(n, date_day(d));
}

/* The decoded value of one field, in r->scratch. */
static bool value_has(struct search_run *r, struct needle *needle, struct str value)
{
	buf_reset(&r->scratch);
	(void)header_decode(&r->scratch, value);
	return needle_in(needle, buf_str(&r->scratch));
}

static bool fields_have(struct search_run *r, struct search_node *n, struct str header)
{
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, header);
	while (header_next(&it, &f))
		if (str_eq_nocase(f.name, n->name) && value_has(r, &n->needle, f.value))
			return true;
	return false;
}

/* The record tells which fields a message has; what was put before it at delivery is not in the
 * record, so that only the names of an address or subject are sure to be absent. */
static bool header_has(struct search_run *r, struct search_node *n)
{
	static const struct str never_added[] = {
		STR_INIT("From"), STR_INIT("To"), STR_INIT("Cc"), STR_INIT("Bcc"), STR_INIT("Subject"),
		STR_INIT("Message-ID"), STR_INIT("In-Reply-To"), STR_INIT("References"), STR_INIT("Date"),
	};

	for (size_t i = 0; i < COUNTOF(never_added); i++)
		if (str_eq_nocase(n->name, never_added[i]) &&
		    (!need_record(r) || !record_may_have_field(&r->record, n->name)))
			return false;
	return need_text(r) && (fields_have(r, n, r->text.prefix) || fields_have(r, n, r->text.body));
}

static bool header_text_has(struct search_run *r, struct needle *needle, struct str header)
{
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, header);
	while (header_next(&it, &f))
		if (value_has(r, needle, f.raw))
			return true;
	return false;
}

static bool leaf_has(struct search_run *r, struct needle *needle, const struct record_part *p)
{
	struct text_reader t;
	bool found = false;

	text_reader_init(&t, str_head(str_skip(r->text.body, p->body_at), p->body_octets), p->encoding,
	    p->charset, str_eq_nocase(p->subtype, STR("html")));
	needle_restart(needle);
	do {
		buf_reset(&r->scratch);
		if (!text_read(&t, &r->scratch))
			break;
		found = needle_feed(needle, buf_str(&r->scratch));
	} while (!found);
	text_reader_end(&t);
	return found;
}

/* The text parts, and the headers of messages inside the message. */
static bool body_has(struct search_run *r, struct needle *needle)
{
	if (!need_record(r) || !need_text(r))
		return false;
	for (uint32_t ix = 0; ix < r->record.n_parts; ix++) {
		struct record_part p = record_part(&r->record, ix);
		struct str header = str_head(str_skip(r->text.body, p.header_at), p.header_octets);

		if (p.kind == MIME_LEAF && str_eq_nocase(p.type, STR("text")) && leaf_has(r, needle, &p))
			return true;
		if (p.parent != MIME_NONE &&
		    record_part(&r->record, (uint32_t)p.parent).kind == MIME_MESSAGE &&
		    header_text_has(r, needle, header))
			return true;
	}
	return false;
}

static bool text_has(struct search_run *r, struct needle *needle)
{
	return need_text(r) && (header_text_has(r, needle, r->text.prefix) ||
	    header_text_has(r, needle, r->text.body) || body_has(r, needle));
}

static bool eval(struct search_run *r, struct search_node *n);

static bool eval_children(struct search_run *r, struct search_node *n)
{
	bool stop_at = n->op == SEARCH_OR;

	for (struct search_node *k = n->first; k != NULL; k = k->next)
		if (eval(r, k) == stop_at)
			return stop_at;
	return !stop_at;
}

static bool eval_op(struct search_run *r, struct search_node *n)
{
	const struct message *m = r->m;

	switch (n->op) {
	case SEARCH_TRUE:
		return true;
	case SEARCH_FLAG:
		return (m->flags & n->flag) != 0;
	case SEARCH_NEW:
		return (m->flags & (MSG_RECENT | MSG_SEEN)) == MSG_RECENT;
	case SEARCH_KEYWORD:
		return (m->keywords & n->keyword_bit) != 0;
	case SEARCH_SEQ:
		return seqset_has(&n->set, r->msgno);
	case SEARCH_UID:
		return seqset_has(&n->set, m->uid);
	case SEARCH_LARGER:
		return m->size_octets > n->number;
	case SEARCH_SMALLER:
		return m->size_octets < n->number;
	case SEARCH_DAYS:
		return in_days(n, utc_day(m->internaldate_s));
	case SEARCH_MODSEQ:
		return m->modseq >= n->number;
	case SEARCH_SENT_DAYS:
		return sent_in_days(r, n);
	case SEARCH_HEADER:
		return header_has(r, n);
	case SEARCH_BODY:
		return body_has(r, &n->needle);
	case SEARCH_TEXT:
		return text_has(r, &n->needle);
	case SEARCH_AND:
	case SEARCH_OR:
		return eval_children(r, n);
	}
	return false;
}

static bool eval(struct search_run *r, struct search_node *n)
{
	return eval_op(r, n) != n->negate;
}

bool search_run_matches(struct search_run *r, size_t ix)
{
	bool yes;

	r->m = mailbox_at(r->mb, ix);
	r->msgno = (uint32_t)ix + 1;
	r->has_record = r->has_text = false;
	yes = !r->m->gone && eval(r, r->search->root);
	if (r->has_text)
		message_close(&r->text);
	return yes;
}
