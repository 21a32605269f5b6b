/* SPDX-License-Identifier: ISC */
/* Which expunged messages can still be brought back. The index has a row for each whose octets were not compacted away;
 * whether it counts depends on the clock and on how much was expunged since. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../libbase/clock.h"
#include "../libbase/vec.h"
#include "../libmail/record.h"
#include "gone.h"
#include "index_int.h"

/* -- from when on -- */

struct expunged {
	int64_t gone_ms;
	uint64_t octets;
};

struct expunged_list {
	int64_t from_ms;
	uint64_t octets;		/* of all */
	struct expunged *v;
	size_t n, cap;
	bool no_memory;
};

static void add_expunged(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms)
{
	struct expunged_list *l = ctx;

	(void)mailbox;
	if (gone_ms < l->from_ms)
		return;
	if (!vec_room(&l->v, l->n, &l->cap, sizeof *l->v)) {
		l->no_memory = true;
		return;
	}
	l->octets += m->size_octets;
	l->v[l->n++] = (struct expunged){ gone_ms, m->size_octets };
}

static int latest_first(const void *a, const void *b)
{
	const struct expunged *x = a, *y = b;

	return (x->gone_ms < y->gone_ms) - (x->gone_ms > y->gone_ms);
}

/* Where the space for them ends. What was expunged at one time stays or goes together. */
static int64_t cut_to_space(struct expunged_list *l, uint64_t space)
{
	uint64_t sum = 0;

	qsort(l->v, l->n, sizeof *l->v, latest_first);
	for (size_t i = 0; i < l->n; i++) {
		sum += l->v[i].octets;
		if (sum > space)
			return l->v[i].gone_ms + 1;
	}
	return l->from_ms;
}

enum err_kind gone_kept_from(struct store *s, int64_t *out_ms, struct err *e)
{
	struct expunged_list l = { .from_ms = clock_real_ms() - (int64_t)s->env.conf.retain_ms };
	enum err_kind k;

	*out_ms = INT64_MAX;
	if (s->env.conf.retain_ms == 0)
		return ERR_OK;
	k = rows_each(s, INDEX_GONE, add_expunged, &l, e);
	if (k == ERR_OK && l.no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory for a list of expunged messages");
	if (k == ERR_OK)
		*out_ms = l.octets > s->env.conf.retain_octets ? cut_to_space(&l, s->env.conf.retain_octets) : l.from_ms;
	free(l.v);
	return k;
}

/* -- telling -- */

struct row {
	uint32_t mailbox;
	struct message m;
	int64_t gone_ms;
};

struct rows {
	int64_t kept_from_ms;
	struct row *v;
	size_t n, cap;
	bool no_memory;
};

static void add_row(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms)
{
	struct rows *r = ctx;

	if (gone_ms < r->kept_from_ms)
		return;
	if (!vec_room(&r->v, r->n, &r->cap, sizeof *r->v)) {
		r->no_memory = true;
		return;
	}
	r->v[r->n++] = (struct row){ mailbox, *m, gone_ms };
}

struct name {
	uint32_t mailbox;
	bool deleted;
	size_t octets;
	char text[STORE_NAME_MAX_OCTETS];
};

static enum err_kind find_name(struct store *s, uint32_t mailbox, struct name *out, struct err *e)
{
	const struct ctl_slot *slot;
	struct index_deleted d = { .name_octets = 0 };
	enum err_kind k = index_lock(s, e);

	if (k != ERR_OK)
		return k;
	slot = ctl_find_id(s, mailbox);
	out->mailbox = mailbox;
	out->deleted = slot == NULL || !(slot->state & MAILBOX_EXISTS);
	if (!out->deleted) {
		out->octets = slot->name_octets;
		memcpy(out->text, slot->name, slot->name_octets);
	} else {
		k = index_deleted_mailbox(s, mailbox, &d, out->text, e);
		out->octets = d.name_octets;
	}
	index_unlock(s);
	return k == ERR_NOENT ? ERR_OK : k;
}

static bool tell(struct store *s, const struct row *row, const struct name *name,
    bool (*each)(void *ctx, const struct gone *g), void *ctx)
{
	struct gone g = {
		.mailbox = row->mailbox, .uid = row->m.uid, .name = str_n(name->text, name->octets),
		.mailbox_deleted = name->deleted, .flags = row->m.flags, .size_octets = row->m.size_octets,
		.internaldate_s = row->m.internaldate_s, .gone_ms = row->gone_ms,
	};
	struct journal_view v;
	struct rec_message m;
	struct str data, prefix, body;
	struct record record;

	if (journal_read(s->journal, (struct journal_pos){ row->m.seg, row->m.off }, true, &v, NULL) != ERR_OK ||
	    !rec_has_octets(v.h.type) || !rec_get_message(v.payload, &m, &data, &prefix, &body))
		return true;
	if (record_open(data, &record, NULL) == ERR_OK) {
		g.subject = record_subject(&record);
		g.message_id = record_message_id(&record);
	}
	return each(ctx, &g);
}

enum err_kind store_gone_each(struct store *s, bool (*each)(void *ctx, const struct gone *g), void *ctx,
    struct err *e)
{
	struct rows r = { .v = NULL };
	struct name name = { .mailbox = 0 };
	bool go_on = true;
	enum err_kind k = gone_kept_from(s, &r.kept_from_ms, e);

	if (k != ERR_OK)
		return k;
	k = rows_each(s, INDEX_GONE, add_row, &r, e);
	if (k == ERR_OK && r.no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory for a list of expunged messages");
	for (size_t i = 0; k == ERR_OK && go_on && i < r.n; i++) {
		if (r.v[i].mailbox != name.mailbox)
			k = find_name(s, r.v[i].mailbox, &name, e);
		if (k == ERR_OK)
			go_on = tell(s, &r.v[i], &name, each, ctx);
	}
	free(r.v);
	return k;
}
