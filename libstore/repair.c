/* SPDX-License-Identifier: ISC */
/* Putting right what check found. Two witnesses remain when the journal has lost something: the index, which was written from
 * what is lost now, and the counters, which were changed with each record. Where the index's sums are the counters', the index
 * is believed; where the journal's are, the journal; else everything that either knows is kept. What is believed is
 * written into the journal again, then the damaged places are filled, so that from then on the journal alone says
 * it all. Each step is whole in itself: after a death in the middle the next repair goes on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "check.h"
#include "mailbox_int.h"

enum {
	ROUNDS_MAX = 4,			/* checks, each followed by what it calls for */
	SAY_OCTETS = GROUP_MAX_OCTETS / 4,
	KEYS_PER_LOCK = 64,
};

struct repair {
	struct check c;
	uint64_t n_done;
};

/* Counts what is done and says it. */
#define did(r, ...) ((r)->n_done++, check_say(&(r)->c, __VA_ARGS__))

/* -- the journal says again what only the index knows -- */

enum witness { BELIEVE_INDEX, BELIEVE_JOURNAL, BELIEVE_BOTH };

struct row_sums {
	uint32_t n, n_unseen;
	uint64_t octets;
};

static void add_row_to_sums(struct row_sums *s, uint32_t flags, uint32_t size_octets)
{
	s->n++;
	s->n_unseen += !(flags & MSG_SEEN);
	s->octets += size_octets;
}

struct journal_sums {
	uint32_t mailbox;
	struct row_sums sums;
};

static bool sum_journal(void *ctx, const struct table_item *item)
{
	struct journal_sums *j = ctx;
	struct index_msg m;

	if (item->key.n != 9 || item->key.p[0] != 'C' || get_be32(item->key.p + 1) != j->mailbox)
		return true;
	for (size_t at = 0; at + sizeof m <= item->value.n; at += sizeof m) {
		memcpy(&m, item->value.p + at, sizeof m);
		add_row_to_sums(&j->sums, m.flags, m.size_octets);
	}
	return true;
}

static bool is_sum(const struct ctl_slot *slot, const struct row_sums *s)
{
	return slot->n_messages == s->n && slot->n_unseen == s->n_unseen && slot->octets == s->octets;
}

struct index_sums {
	struct check *c;
	struct row_sums sums;
	bool bad;
};

static bool sum_index(void *ctx, struct str key, struct str value)
{
	struct index_sums *x = ctx;
	struct index_msg m;

	x->bad = row_unseal(key, &value, NULL) != ERR_OK;
	for (size_t at = 0; !x->bad && at + sizeof m <= value.n; at += sizeof m) {
		memcpy(&m, value.p + at, sizeof m);
		add_row_to_sums(&x->sums, m.flags, m.size_octets);
	}
	return !x->bad;
}

/* Under the lock, index entered, shadow at the tail. */
static enum err_kind whom_to_believe(struct repair *r, uint32_t mailbox, enum witness *out, struct err *e)
{
	const struct ctl_slot *slot = ctl_find_id(r->c.s, mailbox);
	struct journal_sums j = { .mailbox = mailbox };
	struct index_sums x = { .c = &r->c };
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'C', mailbox);
	enum err_kind k;

	*out = BELIEVE_JOURNAL;
	if (slot == NULL)
		return ERR_OK;
	if ((k = engine_scan(r->c.s->engine, prefix, prefix, sum_index, &x, e)) != ERR_OK)
		return k;
	table_each(r->c.sh->roll.table, sum_journal, &j);
	*out = !x.bad && is_sum(slot, &x.sums) ? BELIEVE_INDEX : is_sum(slot, &j.sums) ? BELIEVE_JOURNAL : BELIEVE_BOTH;
	return ERR_OK;
}

/* Records to be appended for one key. */
struct saying {
	struct buf place, gone;		/* place_entry, uid_range */
	struct rec_place head;
	struct rec_expunge expunge;	/* counts nothing: whoever counts has counted, or never knew */
};

static void say_place(struct saying *s, uint32_t mailbox, const struct index_msg *m)
{
	struct place_entry p = { .mailbox = mailbox, .uid = m->uid, .flags = m->flags & MSG_STORED_FLAGS,
		.keywords = m->keywords, .modseq = m->modseq, .internaldate_s = m->internaldate_s,
		.size_octets = m->size_octets, .record_octets = m->record_octets, .seg = m->seg, .off = m->off };

	buf_put(&s->place, str_n((const char *)&p, sizeof p));
	s->head.n++;
}

static void say_gone(struct saying *s, uint32_t mailbox, uint32_t uid)
{
	buf_put_le32(&s->gone, uid);
	buf_put_le32(&s->gone, uid);
	s->expunge.mailbox = mailbox;
	s->expunge.n_ranges++;
}

static enum err_kind append_saying(struct repair *r, struct saying *s, struct err *e)
{
	struct journal_rec rec[2];
	size_t n = 0;

	if (s->place.full || s->gone.full)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to repair");
	if (s->expunge.n_ranges > 0)
		rec[n++] = (struct journal_rec){ REC_EXPUNGE, {
			str_n((const char *)&s->expunge, sizeof s->expunge), buf_str(&s->gone) } };
	if (s->head.n > 0)
		rec[n++] = (struct journal_rec){ REC_PLACE, {
			str_n((const char *)&s->head, sizeof s->head), buf_str(&s->place) } };
	return n == 0 ? ERR_OK : store_append(r->c.s, rec, n, NULL, NULL, e);
}

/* One message: x as the index has it, j as the journal, NULL where it has none. */
static void decide_row(struct saying *s, uint32_t mailbox, const struct index_msg *x, const struct index_msg *j,
    enum witness w)
{
	const struct index_msg *right = w == BELIEVE_INDEX ? x : w == BELIEVE_JOURNAL ? j : x != NULL ? x : j;

	if (x != NULL && j != NULL && memcmp(x, j, sizeof *x) == 0)
		return;
	if (right != NULL)
		say_place(s, mailbox, right);
	else
		say_gone(s, mailbox, x != NULL ? x->uid : j->uid);
}

static enum err_kind say_chunk_again(struct repair *r, uint32_t mailbox, struct str index, struct str journal,
    enum witness w, struct err *e)
{
	struct saying s = { .place = BUF_INIT(SAY_OCTETS), .gone = BUF_INIT(SAY_OCTETS) };
	struct index_msg x[CHUNK_UIDS], j[CHUNK_UIDS];
	size_t nx = check_rows(index, x), nj = check_rows(journal, j);
	enum err_kind k;

	for (size_t a = 0, b = 0; a < nx || b < nj;) {
		if (b == nj || (a < nx && x[a].uid < j[b].uid)) {
			decide_row(&s, mailbox, &x[a++], NULL, w);
		} else if (a == nx || j[b].uid < x[a].uid) {
			decide_row(&s, mailbox, NULL, &j[b++], w);
		} else {
			decide_row(&s, mailbox, &x[a], &j[b], w);
			a++;
			b++;
		}
	}
	k = append_saying(r, &s, e);
	buf_free(&s.place);
	buf_free(&s.gone);
	return k;
}

static enum err_kind say_keyword_again(struct repair *r, struct str key, struct str name, struct err *e)
{
	struct rec_keyword kw = { get_be32(key.p + 1), get_be32(key.p + 5), (uint32_t)name.n, 0 };
	struct journal_rec rec = { REC_KEYWORD, { str_n((const char *)&kw, sizeof kw), name } };

	return store_append(r->c.s, &rec, 1, NULL, NULL, e);
}

/* What either knows to have been seen was seen. */
static enum err_kind say_view_again(struct repair *r, struct str key, struct str index, struct str journal,
    struct err *e)
{
	static const char pad[8];
	struct uid_range ranges[VIEW_UIDS / 2];
	struct rec_view view = { .mailbox = get_be32(key.p + 1), .how = VIEW_ADDS | VIEW_AGAIN, .name_octets = (uint32_t)key.n - 10 };
	struct str name = str_n(key.p + 5, view.name_octets);
	uint32_t base = get_be32(key.p + key.n - 4) * VIEW_UIDS;
	struct journal_rec rec;

	for (uint32_t i = 0; i < VIEW_UIDS; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		if (!((index.n > i / 8 && (index.p[i / 8] & bit)) || (journal.n > i / 8 && (journal.p[i / 8] & bit))))
			continue;
		if (view.n_ranges > 0 && ranges[view.n_ranges - 1].hi == base + i - 1)
			ranges[view.n_ranges - 1].hi = base + i;
		else
			ranges[view.n_ranges++] = (struct uid_range){ base + i, base + i };
	}
	rec = (struct journal_rec){ REC_VIEW, { str_n((const char *)&view, sizeof view), name,
		str_n(pad, -name.n & 7u), str_n((const char *)ranges, view.n_ranges * sizeof ranges[0]) } };
	return view.n_ranges == 0 ? ERR_OK : store_append(r->c.s, &rec, 1, NULL, NULL, e);
}

static enum err_kind say_key_again(struct repair *r, struct str key, enum witness w, struct err *e)
{
	struct str index = { NULL, 0 };
	struct table_item item = { .value = { NULL, 0 } };
	char copy[ENGINE_VALUE_MAX_OCTETS];
	enum err_kind k = engine_get(r->c.s->engine, key, &index, e);

	if (k == ERR_NOENT)
		index = str_n(NULL, 0);
	else if (k != ERR_OK || (k = row_unseal(key, &index, e)) != ERR_OK)
		return k;
	if (index.n > sizeof copy)
		return err_set(e, ERR_CORRUPT, 0, "index: value of %zu octets", index.n);
	if (index.n > 0)
		memcpy(copy, index.p, index.n);
	index = str_n(copy, index.n);
	if (!table_get(r->c.sh->roll.table, key, &item))
		item.value = str_n(NULL, 0);
	if (str_eq(index, item.value))
		return ERR_OK;
	if (key.n == 9 && key.p[0] == 'C')
		return say_chunk_again(r, get_be32(key.p + 1), index, item.value, w, e);
	if (key.n == 9 && key.p[0] == 'K')
		return say_keyword_again(r, key, index.n > 0 ? index : item.value, e);
	if (key.n > 10 && key.p[0] == 'V')
		return say_view_again(r, key, index, item.value, e);
	return ERR_OK;		/* what can't be said by a record: the index is made anew in the next round */
}

/* Some keys of one mailbox under one hold of the lock. */
static enum err_kind say_some_again(struct repair *r, size_t *at, enum witness *w, uint32_t *of, struct err *e)
{
	struct journal_pos pos;
	uint64_t seq;
	enum err_kind k = check_lock(&r->c, &pos, &seq, e);

	if (k != ERR_OK)
		return k;
	k = shadow_advance(r->c.sh, pos, seq, e);
	for (int n = 0; k == ERR_OK && !r->c.index_useless && n < KEYS_PER_LOCK && *at < r->c.diff.n; n++, ++*at) {
		struct str key = r->c.diff.v[*at];
		uint32_t mailbox = key.n >= 5 ? get_be32(key.p + 1) : 0;

		if (mailbox != *of)
			k = whom_to_believe(r, mailbox, w, e);
		*of = mailbox;
		if (k == ERR_OK)
			k = say_key_again(r, key, *w, e);
	}
	check_unlock(&r->c);
	return k;
}

static enum err_kind say_again(struct repair *r, struct err *e)
{
	enum witness w = BELIEVE_JOURNAL;
	uint32_t of = 0;
	size_t at = 0;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && at < r->c.diff.n && !r->c.index_useless)
		k = say_some_again(r, &at, &w, &of, e);
	if (k == ERR_OK)
		did(r, "repaired.journal\tkeys=%zu\tWhat the journal had lost and the index still knew was written into the "
		    "journal again.", r->c.diff.n);
	return k;
}

static enum err_kind drop_index(struct repair *r, struct err *e)
{
	enum err_kind k = store_lock(r->c.s, e);

	if (k != ERR_OK)
		return k;
	k = index_drop(r->c.s, e);
	store_unlock(r->c.s);
	if (k == ERR_OK && (k = index_lock(r->c.s, e)) == ERR_OK)
		index_unlock(r->c.s);
	if (k == ERR_OK)
		did(r, "repaired.index\tThe index was made anew from the journal.");
	return k;
}

static enum err_kind repair_index(struct repair *r, bool first_round, struct err *e)
{
	if (r->c.index_damaged)
		return drop_index(r, e);
	if (r->c.diff.n == 0)
		return ERR_OK;
	return r->c.journal_damaged && first_round ? say_again(r, e) : drop_index(r, e);
}

/* -- the control file -- */

static enum err_kind repair_control(struct repair *r, struct err *e)
{
	enum err_kind k;

	if (!r->c.slots_differ || r->c.journal_damaged)
		return ERR_OK;
	if ((k = store_lock(r->c.s, e)) != ERR_OK)
		return k;
	r->c.s->ctl->inside_journal = 1;
	k = ctl_recover(r->c.s, e);
	store_unlock(r->c.s);
	if (k == ERR_OK)
		did(r, "repaired.control\tThe control file was made anew from the journal.");
	return k;
}

struct recount {
	struct store *s;
	struct row_sums *sums;		/* by slot */
	uint32_t *highest;
	uint64_t *modseq;
};

static void recount_row(struct recount *c, const struct ctl_slot *slot, const struct index_msg *m)
{
	size_t i = (size_t)(slot - ctl_slots(c->s));

	add_row_to_sums(&c->sums[i], m->flags, m->size_octets);
	if (m->uid > c->highest[i])
		c->highest[i] = m->uid;
	if (m->modseq > c->modseq[i])
		c->modseq[i] = m->modseq;
}

static bool recount_chunk(void *ctx, struct str key, struct str value)
{
	struct recount *c = ctx;
	const struct ctl_slot *slot = key.n == 9 ? ctl_find_id(c->s, get_be32(key.p + 1)) : NULL;
	struct index_msg m;

	for (size_t at = 0; slot != NULL && at + sizeof m <= value.n; at += sizeof m) {
		memcpy(&m, value.p + at, sizeof m);
		recount_row(c, slot, &m);
	}
	return true;
}

static bool set_counters(struct recount *c)
{
	bool changed = false;

	for (uint32_t i = 0; i < c->s->ctl->n_slots; i++) {
		struct ctl_slot *slot = &ctl_slots(c->s)[i];
		struct ctl_slot was = *slot;

		if (slot->state == 0)
			continue;
		slot->n_messages = c->sums[i].n;
		slot->n_unseen = c->sums[i].n_unseen;
		slot->octets = c->sums[i].octets;
		if (c->highest[i] >= slot->uidnext)
			slot->uidnext = c->highest[i] + 1;
		if (c->modseq[i] > slot->modseq)
			slot->modseq = c->modseq[i];
		ctl_seal_slot(slot);
		changed = changed || memcmp(&was, slot, sizeof was) != 0;
	}
	return changed;
}

/* The slots get the rows' sums, and a new segment's snapshot makes that last. A death in between leaves the mark. */
static enum err_kind recount(struct repair *r, struct err *e)
{
	struct store *s = r->c.s;
	struct recount c = { .s = s };
	size_t n;
	enum err_kind k = index_lock(s, e);

	if (k != ERR_OK)
		return k;
	n = s->ctl->n_slots + 1;
	c.sums = calloc(n, sizeof *c.sums);
	c.highest = calloc(n, sizeof *c.highest);
	c.modseq = calloc(n, sizeof *c.modseq);
	if (c.sums == NULL || c.highest == NULL || c.modseq == NULL)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to count messages");
	else
		k = row_scan(s, STR("C"), STR("C"), recount_chunk, &c, e);
	if (k == ERR_OK) {
		s->ctl->inside_journal = 1;
		set_counters(&c);
		k = store_roll(s, e);
		if (k == ERR_OK)
			s->ctl->inside_journal = 0;
	}
	index_unlock(s);
	free(c.sums);
	free(c.highest);
	free(c.modseq);
	if (k == ERR_OK)
		did(r, "repaired.counters\tNames and counters were written anew.");
	return k;
}

/* -- damaged segments -- */

static enum err_kind end_tail(struct repair *r, struct err *e)
{
	struct journal_pos tail;
	bool hit = false;
	enum err_kind k = store_lock(r->c.s, e);

	if (k != ERR_OK)
		return k;
	tail = r->c.s->ctl->tail.pos;
	for (size_t i = 0; i < r->c.sh->n_gaps; i++)
		hit = hit || r->c.sh->gap[i].seg == tail.seg;
	if (hit)
		k = store_roll(r->c.s, e);
	store_unlock(r->c.s);
	return k;
}

/* The number of the last record before a segment: 0 when the segment before can't tell. */
static uint64_t last_before(struct repair *r, uint32_t seg)
{
	struct journal_scan scan = { 0 };

	return seg > 1 && journal_scan(r->c.sh->s.journal, seg - 1, NULL, NULL, &scan, NULL) == ERR_OK && scan.ended ?
	    scan.end_seq : 0;
}

/* The first number of the next segment that can be read; n segments in between take two numbers each at least. */
static uint64_t first_behind(struct repair *r, uint32_t seg)
{
	struct seg_header h;
	uint32_t next = seg + 1;
	uint32_t tail = r->c.s->ctl->tail.pos.seg;

	while (next <= tail && journal_segment(r->c.sh->s.journal, next, &h, NULL) != ERR_OK)
		next++;
	return next > tail ? 0 : next == seg + 1 ? h.first_seq : last_before(r, seg) + 3;
}

static enum err_kind repair_journal(struct repair *r, struct err *e)
{
	uint32_t done = 0;
	enum err_kind k;

	if (r->c.sh->n_gaps == 0)
		return ERR_OK;
	if ((k = end_tail(r, e)) != ERR_OK)
		return k;
	for (size_t i = 0; i < r->c.sh->n_gaps && k == ERR_OK; i++) {
		uint32_t seg = r->c.sh->gap[i].seg;

		if (seg == done || r->c.sh->gap[i].kind == GAP_SEQUENCE)
			continue;
		done = seg;
		k = mend_segment(&r->c, seg, last_before(r, seg), first_behind(r, seg), e);
		r->n_done += k == ERR_OK;
	}
	return k;
}

/* The oldest segments are missing: there is nothing to fill, the store begins later. */
static enum err_kind repair_beginning(struct repair *r, struct err *e)
{
	uint32_t first, last;
	enum err_kind k = store_lock(r->c.s, e);

	if (k != ERR_OK)
		return k;
	k = journal_range(r->c.s->journal, &first, &last, e);
	if (k == ERR_OK && r->c.s->ctl->first_seg < first) {
		r->c.s->ctl->first_seg = first;
		did(r, "repaired.beginning\tsegment=%u\tThe journal begins with segment %u now.", first, first);
	}
	store_unlock(r->c.s);
	return k;
}

/* -- messages whose octets are lost -- */

static enum err_kind write_remains(const struct store *s, const char *name, struct str a, struct str b,
    struct err *e)
{
	int fd = openat(s->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct str part[2] = { a, b };
	enum err_kind k = ERR_OK;

	if (fd < 0)
		return err_sys(e, errno, "create %s", name);
	for (int i = 0; i < 2; i++) {
		while (part[i].n > 0 && k == ERR_OK) {
			ssize_t w = write(fd, part[i].p, part[i].n);

			if (w < 0 && errno != EINTR)
				k = err_sys(e, errno, "write %s", name);
			else if (w > 0)
				part[i] = str_skip(part[i], (size_t)w);
		}
	}
	if (k == ERR_OK && fsync(fd) < 0)
		k = err_sys(e, errno, "sync %s", name);
	close(fd);
	return k;
}

/* What is left of a message, as it lies: prefix and body of the record, or of the large file, damaged octets included. */
static enum err_kind keep_remains(struct repair *r, const struct lost_row *l, char name[96], struct err *e)
{
	struct journal_view v;
	struct rec_message m;
	struct str record, prefix, body;
	char stem[40], large[40];
	int fd = -1;
	struct stat st = { .st_size = 0 };
	char *octets = NULL;
	enum err_kind k;

	name[0] = '\0';
	if (journal_read(r->c.sh->s.journal, (struct journal_pos){ l->seg, l->off }, false, &v, NULL) != ERR_OK ||
	    (v.h.type != REC_MESSAGE && v.h.type != REC_KEPT) ||
	    !rec_get_message(v.payload, &m, &record, &prefix, &body))
		return ERR_OK;
	if (m.large_id != 0) {
		large_name(large, m.large_id);
		fd = openat(r->c.s->dirfd, large, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= STORE_MESSAGE_MAX_OCTETS &&
		    (octets = malloc((size_t)st.st_size)) != NULL) {
			ssize_t got = pread(fd, octets, (size_t)st.st_size, 0);

			body = str_n(octets, got > 0 ? (size_t)got : 0);
		}
		if (fd >= 0)
			close(fd);
	}
	snprintf(stem, sizeof stem, "message-%u-%u", l->mailbox, l->uid);
	k = aside_name(r->c.s, stem, name, e);
	if (k == ERR_OK)
		k = write_remains(r->c.s, name, prefix, body, e);
	free(octets);
	return k;
}

/* Expunges one mailbox's lost messages, from..to of the list. */
static enum err_kind expunge_lost(struct repair *r, size_t from, size_t to, struct err *e)
{
	const struct lost_row *l = &r->c.lost[from];
	const char *name = check_mailbox_name(&r->c, l->mailbox);
	uint32_t *uids = calloc(to - from, sizeof *uids);
	struct mailbox *mb = NULL;
	size_t n = 0;
	enum err_kind k;

	if (uids == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to repair");
	if ((k = mailbox_open(r->c.s, str_of(name), false, &mb, e)) == ERR_OK) {
		for (size_t i = 0; i < to - from && k == ERR_OK; i++) {
			char aside[96];

			uids[i] = l[i].uid;
			k = keep_remains(r, &l[i], aside, e);
			if (k == ERR_OK)
				did(r, "repaired.message\tmailbox=%s\tuid=%u\taside=%s\tMessage %u of %s was expunged: it "
				    "can't be read%s%s.", name, l[i].uid, aside, l[i].uid, name,
				    aside[0] != '\0' ? "; what is left of it is " : "", aside);
		}
		if (k == ERR_OK && (k = mailbox_load(mb, e)) == ERR_OK)
			k = mailbox_expunge(mb, uids, to - from, false, &n, e);
		mailbox_close(&mb);
	} else if (k == ERR_NOENT) {
		k = ERR_OK;
	}
	free(uids);
	return k;
}

static int by_mailbox_and_uid(const void *a, const void *b)
{
	const struct lost_row *x = a, *y = b;

	return x->mailbox != y->mailbox ? (x->mailbox > y->mailbox) - (x->mailbox < y->mailbox) :
	    (x->uid > y->uid) - (x->uid < y->uid);
}

static enum err_kind repair_messages(struct repair *r, struct err *e)
{
	enum err_kind k = ERR_OK;

	if (r->c.n_lost > 0)
		qsort(r->c.lost, r->c.n_lost, sizeof r->c.lost[0], by_mailbox_and_uid);
	for (size_t i = 0, to; i < r->c.n_lost && k == ERR_OK; i = to) {
		for (to = i + 1; to < r->c.n_lost && r->c.lost[to].mailbox == r->c.lost[i].mailbox; to++)
			;
		k = expunge_lost(r, i, to, e);
	}
	return k;
}

/* -- files that nothing needs -- */

static enum err_kind repair_files(struct repair *r, struct err *e)
{
	for (size_t i = 0; i < r->c.n_left; i++) {
		const struct leftover *l = &r->c.left[i];
		char aside[96];
		enum err_kind k;

		if (l->is_tmp) {
			if (unlinkat(r->c.s->dirfd, l->name, 0) == 0)
				did(r, "repaired.tmp\tfile=%s\t%s was removed.", l->name, l->name);
			continue;
		}
		if ((k = aside_name(r->c.s, strrchr(l->name, '/') + 1, aside, e)) != ERR_OK)
			return k;
		if (renameat(r->c.s->dirfd, l->name, r->c.s->dirfd, aside) < 0 && errno != ENOENT)
			return err_sys(e, errno, "put %s aside", l->name);
		did(r, "repaired.file\tfile=%s\taside=%s\t%s is %s now.", l->name, aside, l->name, aside);
	}
	return ERR_OK;
}

/* -- all of it -- */

static enum err_kind act(struct repair *r, bool first_round, struct err *e)
{
	bool count = r->c.counters_differ || r->c.n_lost > 0 || (r->c.slots_differ && r->c.journal_damaged);
	enum err_kind k;

	if ((k = repair_control(r, e)) != ERR_OK || (k = repair_index(r, first_round, e)) != ERR_OK ||
	    (k = repair_messages(r, e)) != ERR_OK || (k = repair_journal(r, e)) != ERR_OK ||
	    (k = repair_beginning(r, e)) != ERR_OK)
		return k;
	if (count && (k = recount(r, e)) != ERR_OK)
		return k;
	return repair_files(r, e);
}

static void say_nothing(void *ctx, const char *line)
{
	(void)ctx;
	(void)line;
}

enum err_kind store_repair(struct store *s, void (*report)(void *ctx, const char *line), void *ctx,
    struct store_repair_result *out, struct err *e)
{
	struct repair r = { .n_done = 0 };
	enum err_kind k = ERR_OK;

	*out = (struct store_repair_result){ 0, 0, 0 };
	for (int round = 0; round < ROUNDS_MAX && k == ERR_OK; round++) {
		bool last = round + 1 == ROUNDS_MAX;

		if ((k = check_begin(&r.c, s, round == 0 || last ? report : say_nothing, ctx, e)) == ERR_OK)
			k = check_run(&r.c, e);
		if (k == ERR_OK) {
			out->n_left = r.c.n_bad;
			if (round == 0)
				out->n_found = r.c.n_bad;
			r.c.report = report;
			if (r.c.n_bad + r.c.n_leftovers == 0)
				round = ROUNDS_MAX;
			else if (!last)
				k = act(&r, round == 0, e);
		}
		check_end(&r.c);
	}
	out->n_repaired = r.n_done;
	return k;
}
