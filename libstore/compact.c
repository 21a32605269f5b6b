/* SPDX-License-Identifier: ISC */
/* Compaction. The oldest segments go when at least half of them is dead. What lives in them is written again at the
 * tail: the octets of a message once (REC_MESSAGE with `moved`), rows that share them by REC_PLACE, keywords and views by
 * their own records; all with the numbers they had, so that the journal that remains says the same as the whole did.
 *
 * Safe at every moment: moved records are ordinary groups, and a second copy of octets is only garbage. Segments are
 * removed last, under the lock, after the moves are durable and no row refers to them; large bodies before the
 * segments that name them, so none is forgotten. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "mailbox_int.h"

enum {
	BATCH_ROWS = 64,
	BATCH_OCTETS = 1 << 20,		/* written under one hold of the lock */
	ROUNDS_MAX = 8,			/* rows that were copied meanwhile are moved in another round */
	TEND_MIN_AGE_S = 3600,		/* longer than a session may idle without a word */
	TEND_AGAIN_S = 600,
	RECORD_OVERHEAD = sizeof(struct rec_header) + sizeof(struct rec_message),
};

struct row {
	uint32_t mailbox;
	struct message m;
};

struct rows {
	struct row *v;
	size_t n, cap;
	uint32_t before;		/* only rows in segments before this one */
	bool no_memory;
};

/* -- which segments -- */

struct census {
	uint32_t first, n;
	uint64_t *live;			/* octets, by segment */
};

static bool count_row(void *ctx, uint32_t mailbox, const struct message *m)
{
	struct census *c = ctx;

	(void)mailbox;
	if (m->seg >= c->first && m->seg < c->first + c->n)
		c->live[m->seg - c->first] += RECORD_OVERHEAD + m->record_octets +
		    (m->size_octets <= STORE_INLINE_MAX_OCTETS ? m->size_octets : 0);
	return true;
}

static bool old_enough(struct store *s, uint32_t seg, uint64_t min_age_s)
{
	struct seg_header next;		/* it began when seg ended */

	return journal_segment(s->journal, seg + 1, &next, NULL) == ERR_OK &&
	    next.created_ms / 1000 + (int64_t)min_age_s <= clock_real_s();
}

/* The longest run of oldest segments of which at least half is dead; the tail is never among them. */
static enum err_kind choose(struct store *s, uint64_t min_age_s, uint32_t *out_before, uint32_t *out_young,
    struct err *e)
{
	struct census c = { s->ctl->first_seg, s->ctl->tail.pos.seg - s->ctl->first_seg, NULL };
	uint64_t live = 0;
	enum err_kind k;

	*out_before = c.first;
	*out_young = 0;
	if (c.n == 0)
		return ERR_OK;
	c.live = calloc(c.n, sizeof *c.live);
	if (c.live == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to compact");
	k = index_each(s, count_row, &c, e);
	for (uint32_t i = 0; k == ERR_OK && i < c.n; i++) {
		live += c.live[i];
		if (live > (uint64_t)(i + 1) * s->env.segment_octets / 2)
			continue;
		if (old_enough(s, c.first + i, min_age_s))
			*out_before = c.first + i + 1;
		else
			*out_young = i + 1;
	}
	free(c.live);
	return k;
}

/* -- moving -- */

static bool gather_row(void *ctx, uint32_t mailbox, const struct message *m)
{
	struct rows *r = ctx;

	if (m->seg >= r->before)
		return true;
	if (r->n == r->cap) {
		size_t cap = r->cap > 0 ? r->cap * 2 : 256;
		struct row *v = realloc(r->v, cap * sizeof *v);

		r->no_memory = v == NULL;
		if (v == NULL)
			return false;
		r->v = v;
		r->cap = cap;
	}
	r->v[r->n++] = (struct row){ mailbox, *m };
	return true;
}

static int by_place(const void *a, const void *b)
{
	const struct message *x = &((const struct row *)a)->m, *y = &((const struct row *)b)->m;

	return x->seg != y->seg ? (x->seg > y->seg) - (x->seg < y->seg) :
	    (x->off > y->off) - (x->off < y->off);
}

static enum err_kind gather(struct store *s, struct rows *r, struct err *e)
{
	enum err_kind k;

	r->n = 0;
	if ((k = index_each(s, gather_row, r, e)) != ERR_OK)
		return k;
	if (r->no_memory)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to compact");
	if (r->n > 0)
		qsort(r->v, r->n, sizeof *r->v, by_place);
	return ERR_OK;
}

struct batch {
	struct journal_rec rec[BATCH_ROWS];
	struct rec_message msg[BATCH_ROWS];
	size_t n, octets;
};

/* The record of a row's octets, to be written again for this row. */
static enum err_kind add_to_batch(struct store *s, struct batch *b, const struct row *row, struct err *e)
{
	struct rec_message *m = &b->msg[b->n];
	struct journal_view v;
	struct str record, prefix, body;
	enum err_kind k;

	if ((k = journal_read(s->journal, (struct journal_pos){ row->m.seg, row->m.off }, true, &v, e)) != ERR_OK)
		return err_note(e, "compaction stops at damage");
	if (v.h.type != REC_MESSAGE || !rec_get_message(v.payload, m, &record, &prefix, &body))
		return err_set(e, ERR_CORRUPT, 0, "compaction stops at damage");
	m->mailbox = row->mailbox;
	m->uid = row->m.uid;
	m->flags = row->m.flags & MSG_STORED_FLAGS;
	m->keywords = row->m.keywords;
	m->modseq = row->m.modseq;
	m->internaldate_s = row->m.internaldate_s;
	m->moved = 1;
	b->rec[b->n] = (struct journal_rec){ REC_MESSAGE,
		{ str_n((const char *)m, sizeof *m), record, prefix, body } };
	b->octets += journal_group_octets(&b->rec[b->n], 1);
	b->n++;
	return ERR_OK;
}

/* Rows that share the octets of one that was just written: they are put at its new place. */
static enum err_kind place_sharers(struct store *s, const struct row *rows, size_t n, struct journal_pos at,
    struct err *e)
{
	struct buf entries = BUF_INIT(GROUP_MAX_OCTETS / 2);
	struct rec_place place = { 0, 0 };
	struct journal_rec rec;
	enum err_kind k;

	for (size_t i = 0; i < n; i++) {
		struct message now;
		struct place_entry x;

		if (index_row(s, rows[i].mailbox, rows[i].m.uid, &now, NULL) != ERR_OK ||
		    now.seg != rows[i].m.seg || now.off != rows[i].m.off)
			continue;
		x = (struct place_entry){
			.mailbox = rows[i].mailbox, .uid = now.uid,
			.flags = now.flags & MSG_STORED_FLAGS, .keywords = now.keywords,
			.modseq = now.modseq, .internaldate_s = now.internaldate_s,
			.size_octets = now.size_octets, .record_octets = now.record_octets,
			.seg = at.seg, .off = at.off,
		};
		buf_put(&entries, str_n((const char *)&x, sizeof x));
		place.n++;
	}
	rec = (struct journal_rec){ REC_PLACE, { str_n((const char *)&place, sizeof place), buf_str(&entries) } };
	k = entries.full ? err_set(e, ERR_LIMIT, 0, "too many rows share a message") :
	    place.n == 0 ? ERR_OK : store_append(s, &rec, 1, NULL, NULL, e);
	buf_free(&entries);
	return k;
}

static size_t sharers(const struct rows *r, size_t i)
{
	size_t k = i + 1;

	while (k < r->n && by_place(&r->v[i], &r->v[k]) == 0)
		k++;
	return k - i;
}

/* One hold of the lock: rows from *at on, as long as the batch has room. A row whose message has changed since is moved
 * as it is now; one that is gone or has moved is left. */
static enum err_kind move_batch(struct store *s, const struct rows *r, size_t *at, uint64_t *n_moved,
    struct err *e)
{
	struct journal_pos pos[BATCH_ROWS];
	size_t owner[BATCH_ROWS];
	struct batch *b = calloc(1, sizeof *b);
	enum err_kind k = ERR_OK;

	if (b == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to compact");
	while (k == ERR_OK && *at < r->n && b->n < BATCH_ROWS && b->octets < BATCH_OCTETS) {
		size_t group = sharers(r, *at), i = *at;
		struct row row = r->v[i];

		while (i < *at + group && (index_row(s, r->v[i].mailbox, r->v[i].m.uid, &row.m, NULL) !=
		    ERR_OK || row.m.seg != r->v[i].m.seg || row.m.off != r->v[i].m.off))
			i++;
		if (i < *at + group) {
			row.mailbox = r->v[i].mailbox;
			owner[b->n] = i;
			k = add_to_batch(s, b, &row, e);
		}
		*at += group;
	}
	if (k == ERR_OK && b->n > 0)
		k = store_append(s, b->rec, b->n, pos, NULL, e);
	for (size_t i = 0; k == ERR_OK && i < b->n; i++) {
		k = place_sharers(s, &r->v[owner[i] + 1], sharers(r, owner[i]) - 1, pos[i], e);
		++*n_moved;
	}
	free(b);
	return k;
}

static enum err_kind lock_and_enter(struct store *s, struct err *e)
{
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	if ((k = index_enter(s, e)) != ERR_OK)
		store_unlock(s);
	return k;
}

static void leave_and_unlock(struct store *s)
{
	index_leave(s);
	store_unlock(s);
}

/* Moves until no row is left in the old segments; ends with the lock held and the index entered. */
static enum err_kind move_all(struct store *s, struct rows *r, uint64_t *n_moved, struct err *e)
{
	enum err_kind k;

	for (int round = 0; round < ROUNDS_MAX; round++) {
		if ((k = lock_and_enter(s, e)) != ERR_OK)
			return k;
		k = gather(s, r, e);
		if (k == ERR_OK && r->n == 0)
			return ERR_OK;
		leave_and_unlock(s);
		for (size_t at = 0; k == ERR_OK && at < r->n;) {
			if ((k = lock_and_enter(s, e)) != ERR_OK)
				return k;
			k = move_batch(s, r, &at, n_moved, e);
			leave_and_unlock(s);
		}
		if (k != ERR_OK)
			return k;
	}
	return err_set(e, ERR_BUSY, 0, "the store changes faster than it is compacted");
}

/* -- keywords and views -- */

struct resay {
	struct store *s;
	enum err_kind k;
	struct err *e;
};

static bool say_again(void *ctx, enum rec_type type, struct str head, struct str name, struct str ranges)
{
	static const char pad[8];
	struct resay *r = ctx;
	struct journal_rec rec = { type, { head, name,
		str_n(pad, type == REC_VIEW ? -name.n & 7u : 0), ranges } };

	r->k = store_append(r->s, &rec, 1, NULL, NULL, r->e);
	return r->k == ERR_OK;
}

static enum err_kind say_sets_again(struct store *s, struct err *e)
{
	struct resay r = { s, ERR_OK, e };
	enum err_kind k = lock_and_enter(s, e);

	if (k != ERR_OK)
		return k;
	k = index_each_set(s, say_again, &r, e);
	leave_and_unlock(s);
	return k != ERR_OK ? k : r.k;
}

/* -- large bodies -- */

struct ids {
	uint64_t *v;
	size_t n, cap;
	bool no_memory;
};

static void add_id(struct ids *ids, uint64_t id)
{
	if (ids->n == ids->cap) {
		size_t cap = ids->cap > 0 ? ids->cap * 2 : 64;
		uint64_t *v = realloc(ids->v, cap * sizeof *v);

		ids->no_memory = ids->no_memory || v == NULL;
		if (v == NULL)
			return;
		ids->v = v;
		ids->cap = cap;
	}
	ids->v[ids->n++] = id;
}

static enum err_kind add_named(void *ctx, const struct journal_view *v, struct err *e)
{
	struct rec_message m;
	struct str record, prefix, body;

	(void)e;
	if (v->h.type == REC_MESSAGE && rec_get_message(v->payload, &m, &record, &prefix, &body) &&
	    m.large_id != 0)
		add_id(ctx, m.large_id);
	return ERR_OK;
}

struct alive {
	struct store *s;
	struct ids ids;
	enum err_kind k;
	struct err *e;
};

static bool add_alive(void *ctx, uint32_t mailbox, const struct message *m)
{
	struct alive *a = ctx;
	struct journal_view v;

	(void)mailbox;
	if (m->size_octets <= STORE_INLINE_MAX_OCTETS)
		return true;
	a->k = journal_read(a->s->journal, (struct journal_pos){ m->seg, m->off }, false, &v, a->e);
	if (a->k == ERR_OK)
		a->k = add_named(&a->ids, &v, a->e);
	return a->k == ERR_OK && !a->ids.no_memory;
}

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The ids that the old segments name. They do not change any more: no lock is needed. */
static enum err_kind gather_named(struct store *s, uint32_t first, uint32_t before, struct ids *old,
    struct err *e)
{
	struct journal_scan scan;
	enum err_kind k = ERR_OK;

	for (uint32_t seg = first; k == ERR_OK && seg < before; seg++)
		k = journal_scan(s->journal, seg, add_named, old, &scan, e);
	if (k == ERR_OK && old->no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to compact");
	return k;
}

/* Removes those of `old` that no row's message names. Under the lock. */
static enum err_kind drop_large(struct store *s, const struct ids *old, uint64_t *out_n, struct err *e)
{
	struct alive live = { .s = s, .e = e };
	char name[40];
	enum err_kind k;

	if (old->n == 0)
		return ERR_OK;
	if ((k = index_each(s, add_alive, &live, e)) == ERR_OK)
		k = live.k;
	if (k == ERR_OK && live.ids.no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to compact");
	if (k == ERR_OK && live.ids.n > 0)
		qsort(live.ids.v, live.ids.n, sizeof *live.ids.v, by_id);
	for (size_t i = 0; k == ERR_OK && i < old->n; i++) {
		if (live.ids.n > 0 &&
		    bsearch(&old->v[i], live.ids.v, live.ids.n, sizeof *live.ids.v, by_id) != NULL)
			continue;
		large_name(name, old->v[i]);
		*out_n += unlinkat(s->dirfd, name, 0) == 0;
	}
	free(live.ids.v);
	return k;
}

/* -- all of it -- */

static enum err_kind compact(struct store *s, uint64_t min_age_s, struct store_compact_result *out,
    struct err *e)
{
	struct rows r = { .before = 0 };
	struct ids old = { NULL, 0, 0, false };
	uint32_t before, first;
	enum err_kind k;

	if ((k = lock_and_enter(s, e)) != ERR_OK)
		return k;
	first = s->ctl->first_seg;
	k = choose(s, min_age_s, &before, &out->n_young, e);
	leave_and_unlock(s);
	if (k != ERR_OK || before == first)
		return k;
	r.before = before;
	if ((k = gather_named(s, first, before, &old, e)) == ERR_OK &&
	    (k = say_sets_again(s, e)) == ERR_OK && (k = move_all(s, &r, &out->n_moved, e)) == ERR_OK) {
		if ((k = store_make_durable_locked(s, e)) == ERR_OK &&
		    (k = drop_large(s, &old, &out->n_large, e)) == ERR_OK) {
			s->ctl->first_seg = before;
			out->n_segments = before - first;
			k = journal_remove_before(s->journal, before, e);
		}
		leave_and_unlock(s);
	}
	free(r.v);
	free(old.v);
	return k;
}

enum err_kind store_compact(struct store *s, uint64_t min_age_s, struct store_compact_result *out,
    struct err *e)
{
	int fd = openat(s->dirfd, "compact", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum err_kind k = ERR_OK;

	*out = (struct store_compact_result){ .n_segments = 0 };
	if (fd < 0)
		return err_sys(e, errno, "open compact");
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		k = compact(s, min_age_s, out, e);
	close(fd);
	return k == ERR_OK ? k : err_note(e, "compact");
}

void store_tend(struct store *s)
{
	struct store_compact_result r;

	if (!s->ctl->compact_due || s->ctl->first_seg == s->ctl->tail.pos.seg ||
	    s->ctl->compact_after_s > clock_real_s())
		return;
	s->ctl->compact_due = 0;
	if (store_compact(s, TEND_MIN_AGE_S, &r, NULL) != ERR_OK || r.n_young > 0) {
		s->ctl->compact_after_s = clock_real_s() + TEND_AGAIN_S;
		s->ctl->compact_due = 1;
	}
}
