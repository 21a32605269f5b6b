/* SPDX-License-Identifier: ISC */
/* The index: what the journal's records say, by mailbox and UID. Rows (numbers big-endian in keys):
 *   "J"                          how far the journal has been read: struct index_pos
 *   "C" mailbox chunk            up to 64 struct index_msg with UIDs chunk*64 … chunk*64+63, ascending
 *   "K" mailbox bit              a keyword's name
 *   "V" mailbox name 0 chunk     bits of a view: UIDs chunk*2048 …
 * Rolling forward is idempotent: a row depends only on the records up to "J", committed in the same transaction
 * (invariant I4). Damage in the journal costs the records it hit.
 * Length: what writes the rows and what reads them share the keys and the row's form, which nobody else may know. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "store_int.h"

enum {
	CHUNK_UIDS = 64,
	VIEW_UIDS = 2048,
	CACHE_CHUNKS = 1024,		/* changed chunks held back before they are written */
	RECORDS_PER_TXN = 8192,
	KEY_MAX = 1 + 4 + VIEW_NAME_MAX_OCTETS + 1 + 4,
};

struct index_pos {
	uint64_t store_id;
	uint64_t seq;
	struct journal_pos next;
	uint32_t crc;			/* of record seq */
	uint32_t reserved;
};

struct index_msg {
	uint32_t uid, flags;
	uint64_t keywords, modseq;
	int64_t internaldate_s;
	uint32_t seg, off, size_octets, record_octets;
};

_Static_assert(sizeof(struct index_msg) == 48, "index row");
_Static_assert(CHUNK_UIDS * sizeof(struct index_msg) <= ENGINE_VALUE_MAX_OCTETS, "chunk fits a page");

struct chunk {
	uint32_t mailbox, number;
	bool used, changed;
	uint32_t n;
	struct index_msg m[CHUNK_UIDS];
};

/* One roll forward: the changed chunks, open-addressed by (mailbox, number). */
struct roll {
	struct store *s;
	struct chunk *cache;
	size_t n_cached;
	struct index_pos at;
	uint64_t n_damaged;
};

/* -- keys -- */

static void put_be32(char *p, uint32_t v)
{
	p[0] = (char)(v >> 24);
	p[1] = (char)(v >> 16);
	p[2] = (char)(v >> 8);
	p[3] = (char)v;
}

static struct str key2(char key[KEY_MAX], char tag, uint32_t mailbox, uint32_t number)
{
	key[0] = tag;
	put_be32(key + 1, mailbox);
	put_be32(key + 5, number);
	return str_n(key, 9);
}

static struct str key_prefix(char key[KEY_MAX], char tag, uint32_t mailbox)
{
	return str_head(key2(key, tag, mailbox, 0), 5);
}

static struct str view_key(char key[KEY_MAX], uint32_t mailbox, struct str name, uint32_t number)
{
	size_t n = key_prefix(key, 'V', mailbox).n;

	memcpy(key + n, name.p, name.n);
	n += name.n;
	key[n++] = '\0';
	put_be32(key + n, number);
	return str_n(key, n + 4);
}

/* -- chunks -- */

static enum err_kind chunk_write(struct roll *r, struct chunk *c, struct err *e)
{
	char key[KEY_MAX];
	struct str k = key2(key, 'C', c->mailbox, c->number);
	enum err_kind err;

	if (!c->changed)
		return ERR_OK;
	c->changed = false;
	if (c->n > 0)
		return engine_put(r->s->engine, k, str_n((const char *)c->m, c->n * sizeof c->m[0]), e);
	err = engine_delete(r->s->engine, k, e);
	return err == ERR_NOENT ? ERR_OK : err;
}

static enum err_kind cache_flush(struct roll *r, struct err *e)
{
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < CACHE_CHUNKS && k == ERR_OK && r->n_cached > 0; i++) {
		if (r->cache[i].used) {
			k = chunk_write(r, &r->cache[i], e);
			r->cache[i].used = false;
			r->n_cached--;
		}
	}
	return k;
}

static enum err_kind chunk_read(struct roll *r, struct chunk *c, struct err *e)
{
	char key[KEY_MAX];
	struct str v;
	enum err_kind k = engine_get(r->s->engine, key2(key, 'C', c->mailbox, c->number), &v, e);

	c->n = 0;
	if (k == ERR_NOENT)
		return ERR_OK;
	if (k != ERR_OK)
		return k;
	if (v.n % sizeof c->m[0] != 0 || v.n > sizeof c->m)
		return err_set(e, ERR_CORRUPT, 0, "index: chunk of %zu octets", v.n);
	memcpy(c->m, v.p, v.n);
	c->n = (uint32_t)(v.n / sizeof c->m[0]);
	return ERR_OK;
}

static enum err_kind chunk_get(struct roll *r, uint32_t mailbox, uint32_t uid, struct chunk **out,
    struct err *e)
{
	uint32_t number = uid / CHUNK_UIDS;
	size_t i = (mailbox * 2654435761u ^ number * 40503u) % CACHE_CHUNKS;
	enum err_kind k;

	while (r->cache[i].used && (r->cache[i].mailbox != mailbox || r->cache[i].number != number))
		i = (i + 1) % CACHE_CHUNKS;
	*out = &r->cache[i];
	if (r->cache[i].used)
		return ERR_OK;
	if (r->n_cached >= CACHE_CHUNKS / 2) {
		if ((k = cache_flush(r, e)) != ERR_OK)
			return k;
		return chunk_get(r, mailbox, uid, out, e);
	}
	r->cache[i].mailbox = mailbox;
	r->cache[i].number = number;
	r->cache[i].changed = false;
	if ((k = chunk_read(r, &r->cache[i], e)) != ERR_OK)
		return k;
	r->cache[i].used = true;
	r->n_cached++;
	return ERR_OK;
}

static uint32_t chunk_lower_bound(const struct chunk *c, uint32_t uid)
{
	uint32_t i = c->n;

	while (i > 0 && c->m[i - 1].uid >= uid)
		i--;
	return i;
}

static enum err_kind add_msg(struct roll *r, uint32_t mailbox, const struct index_msg *m, struct err *e)
{
	struct chunk *c;
	uint32_t i;
	enum err_kind k;

	if ((k = chunk_get(r, mailbox, m->uid, &c, e)) != ERR_OK)
		return k;
	i = chunk_lower_bound(c, m->uid);
	if (i == c->n || c->m[i].uid != m->uid) {
		memmove(&c->m[i + 1], &c->m[i], (c->n - i) * sizeof c->m[0]);
		c->n++;
	}
	c->m[i] = *m;
	c->changed = true;
	return ERR_OK;
}

/* -- what records do to the rows; a payload that makes no sense is damage and skipped -- */

static enum err_kind damaged(struct roll *r)
{
	r->n_damaged++;
	return ERR_OK;
}

static enum err_kind roll_message(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_message m;
	struct str record, prefix, body;

	if (!rec_get_message(v->payload, &m, &record, &prefix, &body))
		return damaged(r);
	return add_msg(r, m.mailbox, &(struct index_msg){
		.uid = m.uid, .flags = m.flags, .keywords = m.keywords,
		.modseq = m.modseq != 0 ? m.modseq : v->h.seq, .internaldate_s = m.internaldate_s,
		.seg = v->pos.seg, .off = v->pos.off, .size_octets = m.size_octets,
		.record_octets = m.record_octets }, e);
}

static enum err_kind roll_place(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_place p;
	struct str entries;
	enum err_kind k = ERR_OK;

	if (!rec_get_place(v->payload, &p, &entries))
		return damaged(r);
	for (uint32_t i = 0; i < p.n && k == ERR_OK; i++) {
		struct place_entry x = place_entry_at(entries, i);

		k = add_msg(r, x.mailbox, &(struct index_msg){
			.uid = x.uid, .flags = x.flags, .keywords = x.keywords, .modseq = x.modseq,
			.internaldate_s = x.internaldate_s, .seg = x.seg, .off = x.off,
			.size_octets = x.size_octets, .record_octets = x.record_octets }, e);
	}
	return k;
}

static enum err_kind roll_copy(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_copy c;
	struct str entries;
	enum err_kind k = ERR_OK;

	if (!rec_get_copy(v->payload, &c, &entries))
		return damaged(r);
	for (uint32_t i = 0; i < c.n && k == ERR_OK; i++) {
		struct copy_entry x = copy_entry_at(entries, i);

		k = add_msg(r, c.mailbox, &(struct index_msg){
			.uid = c.first_uid + i, .flags = x.flags, .keywords = x.keywords,
			.modseq = v->h.seq, .internaldate_s = x.internaldate_s, .seg = x.seg,
			.off = x.off, .size_octets = x.size_octets,
			.record_octets = x.record_octets }, e);
	}
	return k;
}

/* UIDs that the mailbox never gave bound no loop: the highest that makes sense, 0 for a mailbox that is gone. */
static uint32_t highest_uid(const struct roll *r, uint32_t mailbox)
{
	const struct ctl_slot *slot = ctl_find_id(r->s, mailbox);

	return slot != NULL ? slot->uidnext - 1 : 0;
}

/* Calls change for every message of the ranges that the index has. */
static enum err_kind for_ranges(struct roll *r, uint32_t mailbox, struct ranges ranges,
    void (*change)(struct chunk *c, uint32_t i, const void *how, uint64_t seq), const void *how,
    uint64_t seq, struct err *e)
{
	uint32_t highest = highest_uid(r, mailbox);

	for (size_t k = 0; k < ranges.n; k++) {
		struct uid_range u = range_at(ranges, k);

		u.hi = u.hi < highest ? u.hi : highest;
		for (uint64_t uid = u.lo; uid <= u.hi;) {
			uint64_t chunk_end = (uid / CHUNK_UIDS + 1) * CHUNK_UIDS - 1;
			struct chunk *c;
			enum err_kind err = chunk_get(r, mailbox, (uint32_t)uid, &c, e);

			if (err != ERR_OK)
				return err;
			for (uint32_t i = c->n; i > 0; i--) {
				if (c->m[i - 1].uid >= uid && c->m[i - 1].uid <= u.hi)
					change(c, i - 1, how, seq);
			}
			uid = chunk_end + 1;
		}
	}
	return ERR_OK;
}

static void change_flags(struct chunk *c, uint32_t i, const void *how, uint64_t seq)
{
	const struct rec_flags *f = how;

	c->m[i].flags = (c->m[i].flags & ~f->clear) | f->set;
	c->m[i].keywords = (c->m[i].keywords & ~f->clear_keywords) | f->set_keywords;
	c->m[i].modseq = seq;
	c->changed = true;
}

static void remove_msg(struct chunk *c, uint32_t i, const void *how, uint64_t seq)
{
	(void)how;
	(void)seq;
	memmove(&c->m[i], &c->m[i + 1], (c->n - i - 1) * sizeof c->m[0]);
	c->n--;
	c->changed = true;
}

static enum err_kind roll_flags(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_flags f;
	struct ranges ranges;

	if (!rec_get_flags(v->payload, &f, &ranges))
		return damaged(r);
	return for_ranges(r, f.mailbox, ranges, change_flags, &f, v->h.seq, e);
}

static enum err_kind roll_expunge(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_expunge x;
	struct ranges ranges;

	if (!rec_get_expunge(v->payload, &x, &ranges))
		return damaged(r);
	return for_ranges(r, x.mailbox, ranges, remove_msg, NULL, 0, e);
}

static enum err_kind roll_keyword(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_keyword kw;
	struct str name;
	char key[KEY_MAX];

	if (!rec_get_keyword(v->payload, &kw, &name))
		return damaged(r);
	return engine_put(r->s->engine, key2(key, 'K', kw.mailbox, kw.bit), name, e);
}

static enum err_kind roll_mailbox(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_mailbox m;
	struct str name;
	char key[KEY_MAX];
	enum err_kind k;

	if (!rec_get_mailbox(v->payload, &m, &name))
		return damaged(r);
	if ((m.state & MAILBOX_EXISTS) && !(m.state & MAILBOX_NOSELECT))
		return ERR_OK;
	if ((k = cache_flush(r, e)) != ERR_OK ||
	    (k = engine_delete_prefix(r->s->engine, key_prefix(key, 'C', m.id), e)) != ERR_OK ||
	    (k = engine_delete_prefix(r->s->engine, key_prefix(key, 'K', m.id), e)) != ERR_OK)
		return k;
	return engine_delete_prefix(r->s->engine, key_prefix(key, 'V', m.id), e);
}

static enum err_kind change_view_row(struct roll *r, struct str key, uint32_t lo, uint32_t hi, bool add,
    struct err *e)
{
	uint8_t bits[VIEW_UIDS / 8] = { 0 };
	struct str v;
	enum err_kind k = engine_get(r->s->engine, key, &v, e);

	if (k == ERR_OK && v.n == sizeof bits)
		memcpy(bits, v.p, sizeof bits);
	else if (k != ERR_OK && k != ERR_NOENT)
		return k;
	for (uint32_t i = lo; i <= hi; i++) {
		if (add)
			bits[i / 8] |= (uint8_t)(1u << i % 8);
		else
			bits[i / 8] &= (uint8_t)~(1u << i % 8);
	}
	return engine_put(r->s->engine, key, str_n((const char *)bits, sizeof bits), e);
}

static enum err_kind roll_view(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_view view;
	struct ranges ranges;
	struct str name;
	char key[KEY_MAX];
	uint32_t highest;
	enum err_kind k = ERR_OK;

	if (!rec_get_view(v->payload, &view, &name, &ranges))
		return damaged(r);
	highest = highest_uid(r, view.mailbox);
	for (size_t i = 0; i < ranges.n && k == ERR_OK; i++) {
		struct uid_range u = range_at(ranges, i);

		u.hi = u.hi < highest ? u.hi : highest;
		for (uint64_t uid = u.lo; uid <= u.hi && k == ERR_OK;) {
			uint64_t end = (uid / VIEW_UIDS + 1) * VIEW_UIDS - 1;
			uint32_t number = (uint32_t)(uid / VIEW_UIDS);

			k = change_view_row(r, view_key(key, view.mailbox, name, number),
			    (uint32_t)(uid % VIEW_UIDS), (uint32_t)((u.hi < end ? u.hi : end) % VIEW_UIDS),
			    view.add, e);
			uid = end + 1;
		}
	}
	return k;
}

static enum err_kind roll_record(struct roll *r, const struct journal_view *v, struct err *e)
{
	static enum err_kind (*const apply[])(struct roll *, const struct journal_view *,
	    struct err *) = {
		[REC_MAILBOX] = roll_mailbox, [REC_MESSAGE] = roll_message, [REC_COPY] = roll_copy,
		[REC_FLAGS] = roll_flags, [REC_EXPUNGE] = roll_expunge, [REC_KEYWORD] = roll_keyword,
		[REC_VIEW] = roll_view, [REC_PLACE] = roll_place,
	};
	enum err_kind k = ERR_OK;

	if (v->h.type < COUNTOF(apply) && apply[v->h.type] != NULL)
		k = apply[v->h.type](r, v, e);
	r->at.seq = v->h.seq;
	r->at.next = v->next;
	r->at.crc = v->h.crc;
	return k;
}

/* -- rolling forward -- */

static enum err_kind write_pos(struct roll *r, struct err *e)
{
	enum err_kind k = cache_flush(r, e);

	return k != ERR_OK ? k : engine_put(r->s->engine, STR("J"),
	    str_n((const char *)&r->at, sizeof r->at), e);
}

static enum err_kind commit_step(struct roll *r, struct err *e)
{
	enum err_kind k;

	if ((k = write_pos(r, e)) != ERR_OK || (k = engine_commit(r->s->engine, e)) != ERR_OK)
		return k;
	return engine_tend(r->s->engine, e);
}

static enum err_kind skip_known(void *ctx, const struct journal_view *v, struct err *e)
{
	struct roll *r = ctx;

	return v->h.seq <= r->at.seq ? ERR_OK : roll_record(r, v, e);
}

/* The slow way around damage: the segment is searched for whole records. */
static enum err_kind roll_by_scan(struct roll *r, uint32_t seg, struct err *e)
{
	struct journal_scan scan;
	enum err_kind k = journal_scan(r->s->journal, seg, skip_known, r, &scan, e);

	if (k == ERR_OK) {
		r->n_damaged += scan.n_damaged;
		r->at.next = seg < r->s->ctl->tail.pos.seg ?
		    (struct journal_pos){ seg + 1, sizeof(struct seg_header) } : r->s->ctl->tail.pos;
	}
	return k;
}

/* A whole segment that is missing or unreadable is stepped over. */
static enum err_kind roll_segment_slowly(struct roll *r, struct err *e)
{
	uint32_t seg = r->at.next.seg;
	enum err_kind k = roll_by_scan(r, seg, e);

	if ((k == ERR_CORRUPT || k == ERR_NOENT) && seg < r->s->ctl->tail.pos.seg &&
	    (e == NULL || strncmp(e->text, "index", 5) != 0)) {
		r->n_damaged++;
		r->at.next = (struct journal_pos){ seg + 1, sizeof(struct seg_header) };
		return ERR_OK;
	}
	return k;
}

static bool pos_before(struct journal_pos a, struct journal_pos b)
{
	return a.seg != b.seg ? a.seg < b.seg : a.off < b.off;
}

static enum err_kind roll_some(struct roll *r, struct err *e)
{
	struct journal_pos tail = r->s->ctl->tail.pos;
	struct journal_view v;
	enum err_kind k = ERR_OK;

	for (int i = 0; i < RECORDS_PER_TXN && k == ERR_OK && pos_before(r->at.next, tail); i++) {
		if (journal_read(r->s->journal, r->at.next, false, &v, NULL) == ERR_OK &&
		    (v.h.prev_crc == r->at.crc || v.pos.seg != r->at.next.seg || r->at.seq == 0) &&
		    v.h.seq > r->at.seq)
			k = roll_record(r, &v, e);
		else
			k = roll_segment_slowly(r, e);
	}
	return k;
}

static enum err_kind read_pos(struct store *s, struct index_pos *at, struct err *e)
{
	struct str v;
	uint32_t first, last;
	enum err_kind k = engine_get(s->engine, STR("J"), &v, e);

	if (k == ERR_OK && v.n == sizeof *at) {
		memcpy(at, v.p, sizeof *at);
		if (at->store_id == s->ctl->store_id && at->seq < s->ctl->tail.next_seq &&
		    at->next.seg >= s->ctl->first_seg && !pos_before(s->ctl->tail.pos, at->next))
			return ERR_OK;
		return err_set(e, ERR_CORRUPT, 0, "index: of another journal");
	}
	if (k != ERR_OK && k != ERR_NOENT)
		return k;
	if ((k = journal_range(s->journal, &first, &last, e)) != ERR_OK)
		return k;
	*at = (struct index_pos){ .store_id = s->ctl->store_id,
		.next = { first, sizeof(struct seg_header) } };
	return ERR_OK;
}

static enum err_kind roll_forward(struct store *s, struct err *e)
{
	struct roll r = { .s = s };
	enum err_kind k = read_pos(s, &r.at, e);

	if (k != ERR_OK || !pos_before(r.at.next, s->ctl->tail.pos))
		return k;
	r.cache = calloc(CACHE_CHUNKS, sizeof *r.cache);
	if (r.cache == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to roll the index forward");
	while (k == ERR_OK && pos_before(r.at.next, s->ctl->tail.pos)) {
		if ((k = engine_begin(s->engine, e)) == ERR_OK && (k = roll_some(&r, e)) == ERR_OK)
			k = commit_step(&r, e);
		if (k != ERR_OK)
			engine_abort(s->engine);
	}
	free(r.cache);
	return k;
}

/* -- entering -- */

static enum err_kind start_over(struct store *s, struct err *e)
{
	enum err_kind k;

	engine_abandon(&s->engine);
	s->engine_generation = ++s->ctl->generation;
	if ((k = engine_destroy(s->dirfd, e)) != ERR_OK)
		return k;
	return engine_open(false, &s->engine, e);
}

/* Says to the others that this process has the index open; the kernel takes it back when it dies. */
static enum err_kind register_user(struct store *s, struct err *e)
{
	if (s->users_fd < 0)
		s->users_fd = openat(s->dirfd, "users", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->users_fd < 0 || flock(s->users_fd, LOCK_SH | LOCK_NB) < 0)
		return err_sys(e, errno, "users");
	return ERR_OK;
}

static enum err_kind engine_ready(struct store *s, struct err *e)
{
	bool died_inside = s->ctl->inside_engine != 0;
	enum err_kind k;

	if (s->engine != NULL && (died_inside || s->engine_generation != s->ctl->generation))
		engine_abandon(&s->engine);
	s->ctl->inside_engine = 1;
	if (s->engine != NULL)
		return ERR_OK;
	if (fchdir(s->dirfd) < 0)
		return err_sys(e, errno, "enter store");
	if ((k = register_user(s, e)) != ERR_OK)
		return k;
	if (died_inside)
		s->ctl->generation++;
	s->engine_generation = s->ctl->generation;
	k = engine_open(died_inside, &s->engine, e);
	return k == ERR_CORRUPT ? start_over(s, e) : k;
}

enum err_kind index_enter(struct store *s, struct err *e)
{
	enum err_kind k;

	if ((k = store_make_durable_locked(s, e)) != ERR_OK || (k = engine_ready(s, e)) != ERR_OK)
		return k;
	k = roll_forward(s, e);
	if (k == ERR_CORRUPT && (k = start_over(s, e)) == ERR_OK)
		k = roll_forward(s, e);
	if (k != ERR_OK)
		index_leave(s);
	return k;
}

void index_leave(struct store *s)
{
	s->ctl->inside_engine = 0;
}

enum err_kind index_drop(struct store *s, struct err *e)
{
	engine_abandon(&s->engine);
	s->ctl->generation++;
	s->ctl->inside_engine = 0;
	return engine_destroy(s->dirfd, e);
}

void index_close(struct store *s)
{
	if (s->engine == NULL)
		return;
	if (store_lock(s, NULL) != ERR_OK) {
		engine_abandon(&s->engine);
		return;
	}
	if (s->ctl->inside_engine || s->engine_generation != s->ctl->generation) {
		engine_abandon(&s->engine);
	} else {
		s->ctl->inside_engine = 1;
		engine_close(&s->engine, flock(s->users_fd, LOCK_EX | LOCK_NB) == 0);
		s->ctl->inside_engine = 0;
	}
	store_unlock(s);
}

/* -- reading -- */

static struct message message_of(const struct index_msg *x)
{
	return (struct message){
		.uid = x->uid, .flags = x->flags, .keywords = x->keywords, .modseq = x->modseq,
		.internaldate_s = x->internaldate_s, .size_octets = x->size_octets,
		.record_octets = x->record_octets, .seg = x->seg, .off = x->off,
	};
}

struct load {
	struct message *m;
	size_t n, cap;
	bool no_memory, bad;
};

static bool load_chunk(void *ctx, struct str key, struct str value)
{
	struct load *l = ctx;
	size_t n = value.n / sizeof(struct index_msg);

	(void)key;
	l->bad = l->bad || value.n % sizeof(struct index_msg) != 0;
	if (l->n + n > l->cap) {
		size_t cap = l->cap > 0 ? l->cap * 2 : 1024;
		struct message *m = realloc(l->m, cap * sizeof *m);

		l->no_memory = m == NULL;
		if (m == NULL)
			return false;
		l->m = m;
		l->cap = cap;
	}
	for (size_t i = 0; i < n; i++) {
		struct index_msg x;

		memcpy(&x, value.p + i * sizeof x, sizeof x);
		l->bad = l->bad || (l->n > 0 && x.uid <= l->m[l->n - 1].uid);
		l->m[l->n++] = message_of(&x);
	}
	return true;
}

static bool load_keyword(void *ctx, struct str key, struct str value)
{
	struct index_keywords *kw = ctx;
	size_t bit = key.n == 9 ? (unsigned char)key.p[8] : STORE_KEYWORDS_MAX;

	if (bit < STORE_KEYWORDS_MAX && value.n <= STORE_KEYWORD_MAX_OCTETS) {
		kw->octets[bit] = (uint8_t)value.n;
		memcpy(kw->name[bit], value.p, value.n);
		kw->n = bit + 1 > kw->n ? bit + 1 : kw->n;
	}
	return true;
}

enum err_kind index_load(struct store *s, uint32_t mailbox, struct message **out_msgs, size_t *out_n,
    size_t *out_cap, struct index_keywords *kw, struct err *e)
{
	struct load l = { NULL, 0, 0, false, false };
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'C', mailbox);
	enum err_kind k;

	memset(kw, 0, sizeof *kw);
	k = engine_scan(s->engine, prefix, prefix, load_chunk, &l, e);
	if (k == ERR_OK && l.no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory for mailbox");
	if (k == ERR_OK && l.bad)
		k = err_set(e, ERR_CORRUPT, 0, "index: rows out of order");
	if (k == ERR_OK) {
		prefix = key_prefix(key, 'K', mailbox);
		k = engine_scan(s->engine, prefix, prefix, load_keyword, kw, e);
	}
	if (k != ERR_OK) {
		free(l.m);
		return k;
	}
	*out_msgs = l.m;
	*out_n = l.n;
	*out_cap = l.cap;
	return ERR_OK;
}

static uint32_t get_be32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

struct each_row {
	bool (*each)(void *, uint32_t, const struct message *);
	void *ctx;
};

static bool rows_of_chunk(void *ctx, struct str key, struct str value)
{
	struct each_row *r = ctx;

	for (size_t at = 0; key.n == 9 && at + sizeof(struct index_msg) <= value.n;
	    at += sizeof(struct index_msg)) {
		struct index_msg x;
		struct message m;

		memcpy(&x, value.p + at, sizeof x);
		m = message_of(&x);
		if (!r->each(r->ctx, get_be32(key.p + 1), &m))
			return false;
	}
	return true;
}

enum err_kind index_each(struct store *s, bool (*each)(void *ctx, uint32_t mailbox, const struct message *m),
    void *ctx, struct err *e)
{
	return engine_scan(s->engine, STR("C"), STR("C"), rows_of_chunk,
	    &(struct each_row){ each, ctx }, e);
}

enum err_kind index_row(struct store *s, uint32_t mailbox, uint32_t uid, struct message *out, struct err *e)
{
	char key[KEY_MAX];
	struct index_msg x;
	struct str v;
	enum err_kind k = engine_get(s->engine, key2(key, 'C', mailbox, uid / CHUNK_UIDS), &v, e);

	for (size_t at = 0; k == ERR_OK && at + sizeof x <= v.n; at += sizeof x) {
		memcpy(&x, v.p + at, sizeof x);
		if (x.uid == uid) {
			*out = message_of(&x);
			return ERR_OK;
		}
	}
	return k == ERR_OK ? err_set(e, ERR_NOENT, 0, "no such message") : k;
}

struct each_set {
	bool (*each)(void *, enum rec_type, struct str, struct str, struct str);
	void *ctx;
};

static bool keyword_row(void *ctx, struct str key, struct str value)
{
	struct each_set *r = ctx;
	struct rec_keyword kw;

	if (key.n != 9)
		return true;
	kw = (struct rec_keyword){ get_be32(key.p + 1), get_be32(key.p + 5), (uint32_t)value.n, 0 };
	return r->each(r->ctx, REC_KEYWORD, str_n((const char *)&kw, sizeof kw), value, str_n(NULL, 0));
}

static bool view_row(void *ctx, struct str key, struct str value)
{
	struct each_set *r = ctx;
	struct uid_range ranges[VIEW_UIDS / 2];
	struct rec_view view = { .add = 1 };
	uint32_t base;

	if (key.n < 11 || value.n != VIEW_UIDS / 8)
		return true;
	view.mailbox = get_be32(key.p + 1);
	view.name_octets = (uint32_t)key.n - 10;	/* tag, mailbox, …, NUL, chunk */
	base = get_be32(key.p + key.n - 4) * VIEW_UIDS;
	for (uint32_t i = 0; i < VIEW_UIDS; i++) {
		if (!((unsigned char)value.p[i / 8] >> i % 8 & 1))
			continue;
		if (view.n_ranges > 0 && ranges[view.n_ranges - 1].hi == base + i - 1)
			ranges[view.n_ranges - 1].hi = base + i;
		else
			ranges[view.n_ranges++] = (struct uid_range){ base + i, base + i };
	}
	return view.n_ranges == 0 || r->each(r->ctx, REC_VIEW, str_n((const char *)&view, sizeof view),
	    str_n(key.p + 5, view.name_octets),
	    str_n((const char *)ranges, view.n_ranges * sizeof ranges[0]));
}

enum err_kind index_each_set(struct store *s,
    bool (*each)(void *ctx, enum rec_type type, struct str head, struct str name, struct str ranges),
    void *ctx, struct err *e)
{
	struct each_set r = { each, ctx };
	enum err_kind k = engine_scan(s->engine, STR("K"), STR("K"), keyword_row, &r, e);

	return k == ERR_OK ? engine_scan(s->engine, STR("V"), STR("V"), view_row, &r, e) : k;
}

enum err_kind index_view_has(struct store *s, uint32_t mailbox, struct str view, const uint32_t *uids,
    size_t n, bool *out, struct err *e)
{
	char key[KEY_MAX];

	for (size_t i = 0; i < n; i++) {
		uint32_t bit = uids[i] % VIEW_UIDS;
		struct str v;
		enum err_kind k = engine_get(s->engine, view_key(key, mailbox, view, uids[i] / VIEW_UIDS),
		    &v, e);

		if (k != ERR_OK && k != ERR_NOENT)
			return k;
		out[i] = k == ERR_OK && v.n == VIEW_UIDS / 8 && ((unsigned char)v.p[bit / 8] >> bit % 8 & 1);
	}
	return ERR_OK;
}
