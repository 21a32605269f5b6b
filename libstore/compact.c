/* SPDX-License-Identifier: ISC */
/* Compaction. The oldest segments go when at least half of them is dead: not referred to by a message, nor by an expunged
 * one that can still be brought back. What lives in them is written again at the tail: the octets of a message once
 * (REC_MESSAGE with `moved`, REC_KEPT for an expunged one), rows that share them by REC_PLACE and REC_GONE, keywords, views
 * and attributes by their own records; all with the numbers they had, so that the journal that remains says the same as the whole
 * did.
 *
 * Safe at every moment: moved records are ordinary groups, and a second copy of octets is only garbage. Segments are
 * removed last, after the moves are durable and no row refers to them; large bodies before the segments that name them, so
 * none is forgotten. The lock is held for a slice of rows or a batch of moves at a time; who copies a message meanwhile is
 * found in the journal's tail. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "../libbase/vec.h"
#include "gone.h"
#include "index_int.h"
#include "large.h"
#include "mailbox_int.h"
#include "search.h"

enum {
	BATCH_ROWS = 64,
	BATCH_OCTETS = 1 << 20,		/* written under one hold of the lock */
	ROUNDS_MAX = 64,		/* of looking for rows that were copied meanwhile */
	LATE_MAX_OCTETS = 64 * 1024,	/* of journal that is looked through for them with the lock held */
	TEND_MIN_AGE_S = 3600,		/* longer than a session may idle without a word */
	TEND_AGAIN_S = 600,
	TRIM_IDLE_S = 60,		/* since the last append: deliveries that follow each other keep their room */
	TRIM_MIN_OCTETS = 16 * 1024,	/* less is not worth it */
	RECORD_OVERHEAD = sizeof(struct rec_header) + sizeof(struct rec_message),
	SAMPLES = 16,			/* records of a segment that are looked at */
};

/* A message, or an expunged one, by its name; where it was when it was looked at. */
struct row {
	uint32_t mailbox, uid;
	struct journal_pos pos;
};

struct rows {
	struct row *v;
	size_t n, cap;
	bool no_memory;
};

static void add_row(struct rows *r, struct row row)
{
	if (vec_room(&r->v, r->n, &r->cap, sizeof row))
		r->v[r->n++] = row;
	else
		r->no_memory = true;
}

static enum err_kind no_memory(struct err *e)
{
	return err_set(e, ERR_TEMP, ENOMEM, "no memory to compact");
}

struct compaction {
	struct store *s;
	uint64_t min_age_s;
	bool everything;		/* all ended segments, dead or not */
	int64_t kept_from_ms;		/* expunged later than this: can be brought back */
	uint32_t before;		/* segments before this one go */
	struct journal_pos looked_to;	/* rows that were copied before here are known */
	struct rows rows;
	struct store_compact_result *out;
};

/* -- going through all rows, messages and gone ones -- */

enum err_kind rows_each(struct store *s, enum index_rows which,
    void (*each)(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms), void *ctx, struct err *e)
{
	struct index_cursor at = { .n = 0 };
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && !at.done) {
		if ((k = index_lock(s, e)) != ERR_OK)
			return k;
		k = index_slice(s, which, &at, each, ctx, e);
		if (k == ERR_CORRUPT && index_drop(s, NULL) != ERR_OK)
			k = ERR_TEMP;	/* next time it is made anew */
		index_unlock(s);
		if (!at.done)
			lock_give_way();
	}
	return k;
}

/* -- which segments -- */

struct place {
	uint32_t seg, off, octets;
};

struct census {
	const struct compaction *c;
	uint32_t first, n;
	struct place *v;
	size_t n_places, cap;
	bool no_memory;
};

static void count_row(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms)
{
	struct census *c = ctx;

	(void)mailbox;
	if (m->seg < c->first || m->seg >= c->first + c->n || (gone_ms != 0 && gone_ms < c->c->kept_from_ms))
		return;
	if (!vec_room(&c->v, c->n_places, &c->cap, sizeof *c->v)) {
		c->no_memory = true;
		return;
	}
	c->v[c->n_places++] = (struct place){ m->seg, m->off, (uint32_t)RECORD_OVERHEAD + m->record_octets +
	    (m->size_octets <= STORE_INLINE_MAX_OCTETS ? m->size_octets : 0) };
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->seg != y->seg ? (x->seg > y->seg) - (x->seg < y->seg) : (x->off > y->off) - (x->off < y->off);
}

static bool old_enough(struct store *s, uint32_t seg, uint64_t min_age_s)
{
	struct seg_header next;		/* it began when seg ended */

	return journal_segment(s->journal, seg + 1, &next, NULL) == ERR_OK &&
	    next.created_ms / 1000 + (int64_t)min_age_s <= clock_real_s();
}

/* Octets of places [from, to), all of one segment. Rows know how long a message is, and not how long a compressed one is
 * stored: a few records tell for all. */
static uint64_t live_octets(const struct compaction *c, const struct census *all, size_t from, size_t to)
{
	size_t step = (to - from) / SAMPLES + 1;
	uint64_t said = 0, sampled = 0, stored = 0;

	for (size_t k = from; k < to; k++) {
		struct journal_pos at = { all->v[k].seg, all->v[k].off };
		struct journal_view v;

		if (k > from && by_place(&all->v[k], &all->v[k - 1]) == 0)
			continue;
		said += all->v[k].octets;
		if ((k - from) % step == 0 && journal_read(c->s->journal, at, false, &v, NULL) == ERR_OK) {
			sampled += all->v[k].octets;
			stored += v.h.octets;
		}
	}
	return sampled == 0 ? said : (uint64_t)((double)said * (double)stored / (double)sampled);
}

/* The longest run of oldest segments of which at least half is dead; octets that several rows share count once. */
static void pick_run(struct compaction *c, const struct census *all)
{
	uint64_t live = 0;
	size_t k = 0;

	for (uint32_t i = 0; i < all->n; i++) {
		size_t from = k;

		while (k < all->n_places && all->v[k].seg == all->first + i)
			k++;
		live += live_octets(c, all, from, k);
		if (!c->everything && live > (uint64_t)(i + 1) * c->s->env.segment_octets / 2)
			continue;
		if (old_enough(c->s, all->first + i, c->min_age_s))
			c->before = all->first + i + 1;
		else
			c->out->n_young = i + 1;
	}
}

static enum err_kind choose(struct compaction *c, struct err *e)
{
	struct census all = { c, c->s->ctl->first_seg, 0, NULL, 0, 0, false };
	enum err_kind k;

	all.n = c->s->ctl->tail.pos.seg - all.first;
	c->before = all.first;
	if (all.n == 0)
		return ERR_OK;
	if ((k = rows_each(c->s, INDEX_MESSAGES, count_row, &all, e)) == ERR_OK &&
	    (k = rows_each(c->s, INDEX_GONE, count_row, &all, e)) == ERR_OK && all.no_memory)
		k = no_memory(e);
	if (k == ERR_OK) {
		if (all.n_places > 0)
			qsort(all.v, all.n_places, sizeof *all.v, by_place);
		pick_run(c, &all);
	}
	free(all.v);
	return k;
}

/* -- moving -- */

static void gather_row(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms)
{
	struct compaction *c = ctx;

	if (m->seg < c->before && (gone_ms == 0 || gone_ms >= c->kept_from_ms))
		add_row(&c->rows, (struct row){ mailbox, m->uid, { m->seg, m->off } });
}

static int by_pos(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->pos.seg != y->pos.seg ? (x->pos.seg > y->pos.seg) - (x->pos.seg < y->pos.seg) :
	    (x->pos.off > y->pos.off) - (x->pos.off < y->pos.off);
}

/* What a row is by now: a message (0), gone since then, or not to be moved any more (-1: gone for good, or elsewhere). */
static int64_t row_now(const struct compaction *c, const struct row *row, struct message *m)
{
	int64_t gone_ms = 0;

	if (index_row(c->s, row->mailbox, row->uid, m, NULL) != ERR_OK &&
	    (index_gone_row(c->s, row->mailbox, row->uid, m, &gone_ms, NULL) != ERR_OK ||
	    gone_ms < c->kept_from_ms))
		return -1;
	return m->seg == row->pos.seg && m->off == row->pos.off ? gone_ms : -1;
}

struct batch {
	struct journal_rec rec[BATCH_ROWS];
	struct rec_message msg[BATCH_ROWS];
	size_t n, octets;
};

/* The record of a row's octets, to be written again: for this message, or for expunged ones only. */
static enum err_kind add_to_batch(struct store *s, struct batch *b, const struct row *row,
    const struct message *now, bool gone, struct err *e)
{
	struct rec_message *m = &b->msg[b->n];
	struct journal_view v;
	struct str record, prefix, body;
	enum err_kind k;

	if ((k = journal_read(s->journal, row->pos, true, &v, e)) != ERR_OK)
		return err_note(e, "compaction stops at damage");
	if (!rec_has_octets(v.h.type) || !rec_get_message(v.payload, m, &record, &prefix, &body))
		return err_set(e, ERR_CORRUPT, 0, "compaction stops at damage");
	m->mailbox = row->mailbox;
	m->uid = row->uid;
	m->flags = now->flags & MSG_STORED_FLAGS;
	m->keywords = now->keywords;
	m->modseq = now->modseq;
	m->internaldate_s = now->internaldate_s;
	m->moved = 1;
	b->rec[b->n] = (struct journal_rec){ gone ? REC_KEPT : REC_MESSAGE,
		{ str_n((const char *)m, sizeof *m), record, prefix, body } };
	b->octets += journal_group_octets(&b->rec[b->n], 1);
	b->n++;
	return ERR_OK;
}

/* An expunged message whose octets are at `at` now. */
static enum err_kind say_gone(struct store *s, const struct row *row, const struct message *m, int64_t gone_ms,
    struct journal_pos at, struct err *e)
{
	static const char pad[8];
	char name[STORE_NAME_MAX_OCTETS];
	struct index_deleted d = { .name_octets = 0 };
	struct rec_gone head = { .mailbox = row->mailbox, .n = 1 };
	struct gone_entry x = {
		.uid = m->uid, .flags = m->flags & MSG_STORED_FLAGS, .keywords = m->keywords,
		.modseq = m->modseq, .internaldate_s = m->internaldate_s, .gone_ms = gone_ms,
		.size_octets = m->size_octets, .record_octets = m->record_octets, .seg = at.seg, .off = at.off,
	};
	struct journal_rec rec;
	struct buf rest = BUF_INIT(sizeof name + sizeof pad + sizeof x);
	enum err_kind k = index_deleted_mailbox(s, row->mailbox, &d, name, e);

	if (k != ERR_OK && k != ERR_NOENT)
		return k;
	head.name_octets = d.name_octets;
	head.deleted_ms = d.deleted_ms;
	head.uidvalidity = d.uidvalidity;
	buf_put(&rest, str_n(name, d.name_octets));
	buf_put(&rest, str_n(pad, -d.name_octets & 7u));
	buf_put(&rest, str_n((const char *)&x, sizeof x));
	rec = (struct journal_rec){ REC_GONE, { str_n((const char *)&head, sizeof head), buf_str(&rest) } };
	k = rest.full ? no_memory(e) : store_append(s, &rec, 1, NULL, NULL, e);
	buf_free(&rest);
	return k;
}

static void put_place(struct buf *entries, struct rec_place *place, uint32_t mailbox, const struct message *m,
    struct journal_pos at)
{
	struct place_entry x = {
		.mailbox = mailbox, .uid = m->uid, .flags = m->flags & MSG_STORED_FLAGS,
		.keywords = m->keywords, .modseq = m->modseq, .internaldate_s = m->internaldate_s,
		.size_octets = m->size_octets, .record_octets = m->record_octets, .seg = at.seg, .off = at.off,
	};

	buf_put(entries, str_n((const char *)&x, sizeof x));
	place->n++;
}

/* Rows that share the octets that were just written at `at`, as they are now: put there, too. owner has been. */
static enum err_kind place_sharers(struct compaction *c, const struct row *rows, size_t n, const struct row *owner,
    bool owner_gone, struct journal_pos at, struct err *e)
{
	struct buf entries = BUF_INIT(GROUP_MAX_OCTETS / 2);
	struct rec_place place = { 0, 0 };
	struct journal_rec rec;
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < n && k == ERR_OK; i++) {
		struct message m;
		int64_t gone_ms = row_now(c, &rows[i], &m);

		if (gone_ms > 0)
			k = say_gone(c->s, &rows[i], &m, gone_ms, at, e);
		else if (gone_ms == 0 && (&rows[i] != owner || owner_gone))
			put_place(&entries, &place, rows[i].mailbox, &m, at);
	}
	rec = (struct journal_rec){ REC_PLACE, { str_n((const char *)&place, sizeof place), buf_str(&entries) } };
	if (k == ERR_OK && entries.full)
		k = err_set(e, ERR_LIMIT, 0, "too many rows share a message");
	if (k == ERR_OK && place.n > 0)
		k = store_append(c->s, &rec, 1, NULL, NULL, e);
	buf_free(&entries);
	return k;
}

static size_t sharers(const struct rows *r, size_t i)
{
	size_t k = i + 1;

	while (k < r->n && by_pos(&r->v[i], &r->v[k]) == 0)
		k++;
	return k - i;
}

struct owner {
	size_t first, n, at;		/* rows[first … first + n) share octets; rows[at] is the one they are written for */
	bool gone;
};

/* Among rows that share octets, whose record they become: a message's if there is one. False when none is left. */
static bool find_owner(const struct compaction *c, struct owner *o, struct message *m)
{
	bool found = false;

	for (size_t i = o->first; i < o->first + o->n; i++) {
		struct message now = { .uid = 0 };
		int64_t gone_ms = row_now(c, &c->rows.v[i], &now);

		if (gone_ms < 0 || (found && gone_ms > 0))
			continue;
		found = true;
		*m = now;
		o->at = i;
		o->gone = gone_ms > 0;
		if (gone_ms == 0)
			break;
	}
	return found;
}

/* One hold of the lock: rows from *at on, as long as the batch has room, as they are now. */
static enum err_kind move_batch(struct compaction *c, size_t *at, struct err *e)
{
	struct journal_pos pos[BATCH_ROWS];
	struct owner owner[BATCH_ROWS];
	struct batch *b = calloc(1, sizeof *b);
	enum err_kind k = ERR_OK;

	if (b == NULL)
		return no_memory(e);
	while (k == ERR_OK && *at < c->rows.n && b->n < BATCH_ROWS && b->octets < BATCH_OCTETS) {
		struct owner *o = &owner[b->n];
		struct message now = { .uid = 0 };

		*o = (struct owner){ *at, sharers(&c->rows, *at), 0, false };
		*at += o->n;
		if (find_owner(c, o, &now))
			k = add_to_batch(c->s, b, &c->rows.v[o->at], &now, o->gone, e);
	}
	if (k == ERR_OK && b->n > 0)
		k = store_append(c->s, b->rec, b->n, pos, NULL, e);
	for (size_t i = 0; k == ERR_OK && i < b->n; i++) {
		k = place_sharers(c, &c->rows.v[owner[i].first], owner[i].n, &c->rows.v[owner[i].at],
		    owner[i].gone, pos[i], e);
		c->out->n_moved++;
	}
	free(b);
	return k;
}

/* Each batch is made durable outside the lock, so that no sync under the lock has much to write. */
static enum err_kind move_rows(struct compaction *c, struct err *e)
{
	enum err_kind k = ERR_OK;

	if (c->rows.n > 0)
		qsort(c->rows.v, c->rows.n, sizeof *c->rows.v, by_pos);
	for (size_t at = 0; k == ERR_OK && at < c->rows.n;) {
		uint64_t seq;

		if ((k = index_lock(c->s, e)) != ERR_OK)
			return k;
		k = move_batch(c, &at, e);
		seq = c->s->ctl->tail.next_seq - 1;
		index_unlock(c->s);
		lock_give_way();
		if (k == ERR_OK)
			k = store_make_durable(c->s, seq, e);
	}
	c->rows.n = 0;
	return k;
}

/* -- rows that came to refer to the old segments while they were emptied: only copies do -- */

static enum err_kind late_copies(struct compaction *c, struct journal_pos upto, struct err *e)
{
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && pos_before(c->looked_to, upto)) {
		struct journal_view v;
		struct rec_copy copy;
		struct str entries;

		if ((k = journal_read(c->s->journal, c->looked_to, false, &v, e)) != ERR_OK)
			break;
		c->looked_to = v.next;
		if (v.h.type != REC_COPY || !rec_get_copy(v.payload, &copy, &entries))
			continue;
		for (uint32_t i = 0; i < copy.n; i++) {
			struct copy_entry x = copy_entry_at(entries, i);

			if (x.seg < c->before)
				add_row(&c->rows, (struct row){ copy.mailbox, copy.first_uid + i, { x.seg, x.off } });
		}
	}
	return k == ERR_OK && c->rows.no_memory ? no_memory(e) : k;
}

static bool nearly_there(const struct compaction *c)
{
	struct journal_pos tail = c->s->ctl->tail.pos;

	return c->looked_to.seg == tail.seg && tail.off - c->looked_to.off <= LATE_MAX_OCTETS;
}

/* Moves until no row is left in the old segments; ends with the lock held and the index entered. */
static enum err_kind move_all(struct compaction *c, struct err *e)
{
	struct journal_pos upto;
	enum err_kind k;

	if ((k = index_lock(c->s, e)) != ERR_OK)
		return k;
	c->looked_to = c->s->ctl->tail.pos;
	index_unlock(c->s);
	if ((k = rows_each(c->s, INDEX_MESSAGES, gather_row, c, e)) != ERR_OK ||
	    (k = rows_each(c->s, INDEX_GONE, gather_row, c, e)) != ERR_OK)
		return k;
	if (c->rows.no_memory)
		return no_memory(e);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		if ((k = move_rows(c, e)) != ERR_OK || (k = index_lock(c->s, e)) != ERR_OK)
			return k;
		if (nearly_there(c) && (k = late_copies(c, c->s->ctl->tail.pos, e)) == ERR_OK && c->rows.n == 0)
			return ERR_OK;
		upto = c->s->ctl->tail.pos;
		index_unlock(c->s);
		if (k == ERR_OK)
			k = late_copies(c, upto, e);
		if (k != ERR_OK)
			return k;
	}
	return err_set(e, ERR_BUSY, 0, "the store changes faster than it is compacted");
}

/* -- keywords, views and attributes -- */

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
	struct index_cursor at = { .n = 0 };
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && !at.done) {
		uint64_t seq;

		if ((k = index_lock(s, e)) != ERR_OK)
			return k;
		if ((k = index_set_slice(s, &at, say_again, &r, e)) == ERR_OK)
			k = r.k;
		seq = s->ctl->tail.next_seq - 1;
		index_unlock(s);
		lock_give_way();
		if (k == ERR_OK)
			k = store_make_durable(s, seq, e);
	}
	return k;
}

/* -- all of it -- */

/* The rows of expunged messages whose octets go with the segments: before them, so that no row is without its octets. */
static enum err_kind forget(struct store *s, uint32_t before, struct err *e)
{
	struct index_cursor at = { .n = 0 };
	uint32_t mailbox = 0;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && !at.done) {
		if ((k = index_lock(s, e)) != ERR_OK)
			return k;
		k = index_forget_gone(s, before, &at, e);
		index_unlock(s);
		lock_give_way();
	}
	do {
		if (k != ERR_OK || (k = index_lock(s, e)) != ERR_OK)
			return k;
		k = index_forget_deleted(s, &mailbox, e);
		index_unlock(s);
		lock_give_way();
	} while (mailbox != 0);
	return k;
}

/* The files go without the lock. A recovery in between may have found some of them still there. */
static enum err_kind remove_segments(struct compaction *c, struct err *e)
{
	enum err_kind k = journal_remove_before(c->s->journal, c->before, e), locked;

	if ((locked = store_lock(c->s, k == ERR_OK ? e : NULL)) == ERR_OK) {
		if (k == ERR_OK && c->s->ctl->first_seg < c->before)
			c->s->ctl->first_seg = c->before;
		store_unlock(c->s);
	}
	search_forget(c->s);
	return k != ERR_OK ? k : locked;
}

/* When no row refers to the segments any more they do not count from that moment on, whoever dies. What was left of them
 * is found by the next compaction. */
static enum err_kind empty_segments(struct compaction *c, uint32_t first, struct ids *old, struct err *e)
{
	enum err_kind k;

	if ((k = large_named(c->s, first, c->before, old, e)) != ERR_OK ||
	    (k = say_sets_again(c->s, e)) != ERR_OK || (k = move_all(c, e)) != ERR_OK)
		return k;
	if ((k = store_make_durable_locked(c->s, e)) == ERR_OK)
		c->s->ctl->first_seg = c->before;
	index_unlock(c->s);
	if (k != ERR_OK || (k = large_drop(c->s, old, c->kept_from_ms, &c->out->n_large, e)) != ERR_OK ||
	    (k = forget(c->s, c->before, e)) != ERR_OK || (k = remove_segments(c, e)) != ERR_OK)
		return k;
	c->out->n_segments = c->before - first;
	return ERR_OK;
}

static enum err_kind compact(struct compaction *c, struct err *e)
{
	struct ids old = { NULL, 0, 0, false };
	uint32_t first, last;
	enum err_kind k;

	if ((k = journal_range(c->s->journal, &first, &last, e)) != ERR_OK || (k = choose(c, e)) != ERR_OK ||
	    c->before <= first)
		return k;
	k = empty_segments(c, first, &old, e);
	free(c->rows.v);
	free(old.v);
	return k;
}

/* Only one at a time: whoever comes second has nothing to do. *out_fd is -1 then. */
static enum err_kind compact_lock(struct store *s, int *out_fd, struct err *e)
{
	*out_fd = openat(s->dirfd, "compact", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*out_fd < 0)
		return err_sys(e, errno, "open compact");
	if (flock(*out_fd, LOCK_EX | LOCK_NB) < 0) {
		close(*out_fd);
		*out_fd = -1;
	}
	return ERR_OK;
}

enum err_kind store_compact(struct store *s, uint64_t min_age_s, struct store_compact_result *out, struct err *e)
{
	struct compaction c = { .s = s, .min_age_s = min_age_s, .out = out };
	int fd;
	enum err_kind k = compact_lock(s, &fd, e);

	*out = (struct store_compact_result){ .n_segments = 0 };
	if (k == ERR_OK && fd >= 0 && (k = gone_kept_from(s, &c.kept_from_ms, e)) == ERR_OK &&
	    (k = compact(&c, e)) == ERR_OK)
		k = large_reap(s, c.kept_from_ms, &out->n_large, e);
	if (fd >= 0)
		close(fd);
	return k == ERR_OK ? k : err_note(e, "compact");
}

enum err_kind store_purge(struct store *s, struct store_compact_result *out, struct err *e)
{
	struct compaction c = { .s = s, .everything = true, .out = out };
	int fd;
	enum err_kind k = compact_lock(s, &fd, e);

	*out = (struct store_compact_result){ .n_segments = 0 };
	c.kept_from_ms = INT64_MAX;
	if (k == ERR_OK && fd < 0)
		k = err_set(e, ERR_BUSY, 0, "it is being compacted");
	if (k == ERR_OK && (k = store_lock(s, e)) == ERR_OK) {
		k = store_roll(s, e);
		store_unlock(s);
	}
	if (k == ERR_OK && (k = compact(&c, e)) == ERR_OK)
		k = large_reap(s, c.kept_from_ms, &out->n_large, e);
	if (fd >= 0)
		close(fd);
	return k == ERR_OK ? k : err_note(e, "purge");
}

static bool segments_due(const struct store *s, int64_t now_s)
{
	return s->ctl->compact_due && s->ctl->first_seg != s->ctl->tail.pos.seg && s->ctl->compact_after_s <= now_s;
}

/* A big body whose time to be brought back is over is not worth waiting for its segment. */
static bool large_due(const struct store *s, int64_t now_s)
{
	return s->ctl->large_due && s->ctl->large_after_s <= now_s;
}

/* The journal's space for what may come, when nothing has come for a while. */
static void trim(struct store *s)
{
	if (s->ctl->tail.zero_end - s->ctl->tail.pos.off <= TRIM_MIN_OCTETS || store_lock(s, NULL) != ERR_OK)
		return;
	s->ctl->inside_journal = 1;
	journal_trim(s->journal, &s->ctl->tail, TRIM_IDLE_S);
	ctl_seal(s);
	s->ctl->inside_journal = 0;
	store_unlock(s);
}

void store_tend(struct store *s)
{
	struct store_compact_result r;
	int64_t now_s = clock_real_s(), kept_from_ms;
	int fd;

	if (segments_due(s, now_s)) {
		s->ctl->compact_due = 0;
		if (store_compact(s, TEND_MIN_AGE_S, &r, NULL) != ERR_OK || r.n_young > 0) {
			s->ctl->compact_after_s = clock_real_s() + TEND_AGAIN_S;
			s->ctl->compact_due = 1;
		}
	} else if (large_due(s, now_s) && compact_lock(s, &fd, NULL) == ERR_OK && fd >= 0) {
		uint64_t n = 0;

		if (gone_kept_from(s, &kept_from_ms, NULL) != ERR_OK || large_reap(s, kept_from_ms, &n, NULL) != ERR_OK)
			s->ctl->large_after_s = now_s + TEND_AGAIN_S;
		close(fd);
	}
	trim(s);
}
