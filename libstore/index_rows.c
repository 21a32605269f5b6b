/* SPDX-License-Identifier: ISC */
/* What the journal's records do to the index's rows. Message rows are changed in a small cache of chunks that is
 * written when it is full or the step ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../libbase/vec.h"
#include "crc32c.h"
#include "index_int.h"

/* -- keys -- */

static void put_be32(char *p, uint32_t v)
{
	p[0] = (char)(v >> 24);
	p[1] = (char)(v >> 16);
	p[2] = (char)(v >> 8);
	p[3] = (char)v;
}

struct str key2(char key[KEY_MAX], char tag, uint32_t mailbox, uint32_t number)
{
	key[0] = tag;
	put_be32(key + 1, mailbox);
	put_be32(key + 5, number);
	return str_n(key, 9);
}

struct str key_prefix(char key[KEY_MAX], char tag, uint32_t mailbox)
{
	return str_head(key2(key, tag, mailbox, 0), 5);
}

/* -- the door to the rows -- */

static uint32_t seal_of(struct str key, struct str value)
{
	return crc32c(crc32c(0, key.p, key.n), value.p, value.n);
}

enum err_kind row_unseal(struct str key, struct str *value, struct err *e)
{
	struct str rows;

	if (value->n < SEAL_OCTETS)
		return err_set(e, ERR_CORRUPT, 0, "index: value of %zu octets", value->n);
	rows = str_head(*value, value->n - SEAL_OCTETS);
	if (get_le32(rows.p + rows.n) != seal_of(key, rows))
		return err_set(e, ERR_CORRUPT, 0, "index: damaged value");
	*value = rows;
	return ERR_OK;
}

enum err_kind row_get(struct roll *r, struct str key, struct str *out, struct err *e)
{
	struct table_item item;
	enum err_kind k;

	if (r->table != NULL) {
		if (!table_get(r->table, key, &item))
			return err_set(e, ERR_NOENT, 0, "no such row");
		*out = item.value;
		return ERR_OK;
	}
	k = engine_get(r->s->engine, key, out, e);
	return k == ERR_OK ? row_unseal(key, out, e) : k;
}

enum err_kind row_seal(struct str key, struct str value, char *sealed, struct str *out, struct err *e)
{
	uint32_t seal = seal_of(key, value);

	if (value.n > ENGINE_VALUE_MAX_OCTETS - SEAL_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index item of %zu octets", value.n);
	memcpy(sealed, value.p, value.n);
	memcpy(sealed + value.n, &seal, SEAL_OCTETS);
	*out = str_n(sealed, value.n + SEAL_OCTETS);
	return ERR_OK;
}

enum err_kind row_put(struct roll *r, struct str key, struct str value, struct err *e)
{
	char sealed[ENGINE_VALUE_MAX_OCTETS];
	enum err_kind k;

	if (r->table != NULL)
		return table_put(r->table, key, value) ? ERR_OK :
		    err_set(e, ERR_TEMP, ENOMEM, "no memory to compare the index");
	k = row_seal(key, value, sealed, &value, e);
	return k == ERR_OK ? engine_put(r->s->engine, key, value, e) : k;
}

enum err_kind row_delete(struct roll *r, struct str key, struct err *e)
{
	if (r->table == NULL)
		return engine_delete(r->s->engine, key, e);
	return table_delete(r->table, key) ? ERR_OK : err_set(e, ERR_NOENT, 0, "no such row");
}

enum err_kind row_delete_prefix(struct roll *r, struct str prefix, struct err *e)
{
	if (r->table == NULL)
		return engine_delete_prefix(r->s->engine, prefix, e);
	table_delete_prefix(r->table, prefix);
	return ERR_OK;
}

struct key_scan {
	struct str prefix;
	bool (*each)(void *, struct str, struct str);
	void *ctx;
};

static bool each_item(void *ctx, const struct table_item *item)
{
	struct key_scan *l = ctx;

	return !str_starts(item->key, l->prefix) || l->each(l->ctx, item->key, item->value);
}

enum err_kind row_keys(struct roll *r, struct str prefix, bool (*each)(void *ctx, struct str key, struct str value),
    void *ctx, struct err *e)
{
	struct key_scan l = { prefix, each, ctx };

	if (r->table == NULL)
		return engine_scan(r->s->engine, prefix, prefix, each, ctx, e);
	table_each(r->table, each_item, &l);
	return ERR_OK;
}

/* -- chunks -- */

static enum err_kind chunk_put(struct roll *r, const struct chunk *c, struct str key, struct err *e)
{
	struct index_gone gone[CHUNK_UIDS];

	if (c->tag == 'C')
		return row_put(r, key, str_n((const char *)c->m, c->n * sizeof c->m[0]), e);
	for (uint32_t i = 0; i < c->n; i++)
		gone[i] = (struct index_gone){ c->m[i], c->gone_ms[i] };
	return row_put(r, key, str_n((const char *)gone, c->n * sizeof gone[0]), e);
}

static enum err_kind chunk_write(struct roll *r, struct chunk *c, struct err *e)
{
	char key[KEY_MAX];
	struct str k = key2(key, c->tag, c->mailbox, c->number);
	enum err_kind err;

	if (!c->changed)
		return ERR_OK;
	c->changed = false;
	if (c->n > 0)
		return chunk_put(r, c, k, e);
	err = row_delete(r, k, e);
	return err == ERR_NOENT ? ERR_OK : err;
}

static int by_key(const void *a, const void *b)
{
	const struct chunk *x = *(struct chunk *const *)a, *y = *(struct chunk *const *)b;

	if (x->tag != y->tag)
		return (x->tag > y->tag) - (x->tag < y->tag);
	return x->mailbox != y->mailbox ? (x->mailbox > y->mailbox) - (x->mailbox < y->mailbox) :
	    (x->number > y->number) - (x->number < y->number);
}

/* In the order of the keys: an engine's pages that are filled from left to right stay full, others are split in halves. */
enum err_kind cache_flush(struct roll *r, struct err *e)
{
	struct chunk *c[COUNTOF(r->cached)];
	size_t n = r->n_cached;
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < n; i++)
		c[i] = &r->cache[r->cached[i]];
	if (n > 1)
		qsort(c, n, sizeof c[0], by_key);
	for (size_t i = 0; i < n && k == ERR_OK; i++)
		k = chunk_write(r, c[i], e);
	for (size_t i = 0; i < n && k == ERR_OK; i++)
		r->used[r->cached[i]] = false;
	if (k == ERR_OK)
		r->n_cached = 0;
	return k;
}

static void chunk_decode(struct chunk *c, struct str v)
{
	struct index_gone g;

	if (c->tag == 'C') {
		memcpy(c->m, v.p, v.n);
		c->n = (uint32_t)(v.n / sizeof c->m[0]);
		return;
	}
	c->n = (uint32_t)(v.n / sizeof g);
	for (uint32_t i = 0; i < c->n; i++) {
		memcpy(&g, v.p + i * sizeof g, sizeof g);
		c->m[i] = g.m;
		c->gone_ms[i] = g.gone_ms;
	}
}

static enum err_kind chunk_read(struct roll *r, struct chunk *c, struct err *e)
{
	char key[KEY_MAX];
	struct str v;
	size_t row = c->tag == 'C' ? sizeof(struct index_msg) : sizeof(struct index_gone);
	enum err_kind k = row_get(r, key2(key, c->tag, c->mailbox, c->number), &v, e);

	c->n = 0;
	if (k == ERR_NOENT)
		return ERR_OK;
	if (k != ERR_OK)
		return k;
	if (v.n % row != 0 || v.n > CHUNK_UIDS * row)
		return err_set(e, ERR_CORRUPT, 0, "index: chunk of %zu octets", v.n);
	chunk_decode(c, v);
	return ERR_OK;
}

/* *out is valid until the next call. */
static enum err_kind chunk_get(struct roll *r, char tag, uint32_t mailbox, uint32_t uid, struct chunk **out,
    struct err *e)
{
	uint32_t number = uid / CHUNK_UIDS;
	size_t i = (mailbox * 2654435761u ^ number * 40503u ^ (unsigned char)tag) % CACHE_CHUNKS;
	struct chunk *c;
	enum err_kind k;

	while (c = &r->cache[i], r->used[i] && (c->tag != tag || c->mailbox != mailbox || c->number != number))
		i = (i + 1) % CACHE_CHUNKS;
	*out = c;
	if (r->used[i])
		return ERR_OK;
	if (r->n_cached >= CACHE_CHUNKS / 2) {
		if ((k = cache_flush(r, e)) != ERR_OK)
			return k;
		return chunk_get(r, tag, mailbox, uid, out, e);
	}
	c->tag = tag;
	c->mailbox = mailbox;
	c->number = number;
	c->changed = false;
	if ((k = chunk_read(r, c, e)) != ERR_OK)
		return k;
	r->used[i] = true;
	r->cached[r->n_cached++] = (uint16_t)i;
	return ERR_OK;
}

static uint32_t chunk_lower_bound(const struct chunk *c, uint32_t uid)
{
	uint32_t i = c->n;

	while (i > 0 && c->m[i - 1].uid >= uid)
		i--;
	return i;
}

static void chunk_remove(struct chunk *c, uint32_t i)
{
	memmove(&c->m[i], &c->m[i + 1], (c->n - i - 1) * sizeof c->m[0]);
	memmove(&c->gone_ms[i], &c->gone_ms[i + 1], (c->n - i - 1) * sizeof c->gone_ms[0]);
	c->n--;
	c->changed = true;
}

static enum err_kind add_row(struct roll *r, char tag, uint32_t mailbox, const struct index_msg *m,
    int64_t gone_ms, struct err *e)
{
	struct chunk *c;
	uint32_t i;
	enum err_kind k;

	if ((k = chunk_get(r, tag, mailbox, m->uid, &c, e)) != ERR_OK)
		return k;
	i = chunk_lower_bound(c, m->uid);
	if (i == c->n || c->m[i].uid != m->uid) {
		memmove(&c->m[i + 1], &c->m[i], (c->n - i) * sizeof c->m[0]);
		memmove(&c->gone_ms[i + 1], &c->gone_ms[i], (c->n - i) * sizeof c->gone_ms[0]);
		c->n++;
	}
	c->m[i] = *m;
	c->gone_ms[i] = gone_ms;
	c->changed = true;
	return ERR_OK;
}

static enum err_kind add_msg(struct roll *r, uint32_t mailbox, const struct index_msg *m, struct err *e)
{
	return add_row(r, 'C', mailbox, m, 0, e);
}

static enum err_kind remove_gone(struct roll *r, uint32_t mailbox, uint32_t uid, struct err *e)
{
	struct chunk *c;
	uint32_t i;
	enum err_kind k;

	if ((k = chunk_get(r, 'G', mailbox, uid, &c, e)) != ERR_OK)
		return k;
	i = chunk_lower_bound(c, uid);
	if (i < c->n && c->m[i].uid == uid)
		chunk_remove(c, i);
	return ERR_OK;
}

/* -- what records do to the rows; a payload that makes no sense is damage and skipped -- */

static enum err_kind damaged(struct roll *r)
{
	r->n_damaged++;
	return ERR_OK;
}

/* Has the transaction touched enough rows? Then the record goes on from `part` in the next one. */
static bool leave_at(struct roll *r, uint32_t part)
{
	if (r->whole || r->table != NULL || r->n_rows < ROWS_PER_TXN)
		return false;
	r->at.part = part;
	r->partial = true;
	return true;
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
	for (uint32_t i = r->at.part; i < c.n && k == ERR_OK && !leave_at(r, i); i++) {
		struct copy_entry x = copy_entry_at(entries, i);

		r->n_rows++;
		k = add_msg(r, c.mailbox, &(struct index_msg){
			.uid = c.first_uid + i, .flags = x.flags, .keywords = x.keywords,
			.modseq = v->h.seq, .internaldate_s = x.internaldate_s, .seg = x.seg,
			.off = x.off, .size_octets = x.size_octets,
			.record_octets = x.record_octets }, e);
		if (k == ERR_OK && c.undelete)
			k = remove_gone(r, c.from_mailbox, x.from_uid, e);
	}
	return k;
}

/* UIDs that the mailbox never gave bound no loop. Of a mailbox that is gone by now the bound is not known. */
uint64_t highest_uid(const struct roll *r, uint32_t mailbox, uint32_t lo)
{
	const struct ctl_slot *slot = ctl_find_id(r->real != NULL ? r->real : r->s, mailbox);
	uint64_t most = (uint64_t)lo + SPAN_MAX_UIDS;

	return slot != NULL ? slot->uidnext - 1 : most < UINT32_MAX ? most : UINT32_MAX - 1;
}

/* What happens to one chunk's rows with UIDs lo … hi; chunk is not valid any more when it returns. */
typedef enum err_kind rows_change(struct roll *r, struct chunk *c, uint32_t lo, uint32_t hi,
    const struct journal_view *v, const void *how, struct err *e);

static enum err_kind for_ranges(struct roll *r, uint32_t mailbox, struct ranges ranges, rows_change *change,
    const struct journal_view *v, const void *how, struct err *e)
{
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < ranges.n && k == ERR_OK; i++) {
		struct uid_range u = range_at(ranges, i);
		uint64_t highest = highest_uid(r, mailbox, u.lo);

		u.lo = u.lo < r->at.part ? r->at.part : u.lo;
		u.hi = u.hi < highest ? u.hi : (uint32_t)highest;
		for (uint64_t uid = u.lo; uid <= u.hi && k == ERR_OK; uid = (uid / CHUNK_UIDS + 1) * CHUNK_UIDS) {
			struct chunk *c;

			if (leave_at(r, (uint32_t)uid))
				return ERR_OK;
			r->n_rows += CHUNK_UIDS;
			if ((k = chunk_get(r, 'C', mailbox, (uint32_t)uid, &c, e)) == ERR_OK)
				k = change(r, c, (uint32_t)uid, u.hi, v, how, e);
		}
	}
	return k;
}

static enum err_kind change_flags(struct roll *r, struct chunk *c, uint32_t lo, uint32_t hi,
    const struct journal_view *v, const void *how, struct err *e)
{
	const struct rec_flags *f = how;

	(void)r;
	(void)e;
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->m[i].uid < lo || c->m[i].uid > hi)
			continue;
		c->m[i].flags = (c->m[i].flags & ~f->clear) | f->set;
		c->m[i].keywords = (c->m[i].keywords & ~f->clear_keywords) | f->set_keywords;
		c->m[i].modseq = v->h.seq;
		c->changed = true;
	}
	return ERR_OK;
}

/* Rows of expunged messages are kept aside: until compaction takes their octets they can be brought back. */
static enum err_kind put_aside(struct roll *r, struct chunk *c, uint32_t lo, uint32_t hi,
    const struct journal_view *v, const void *how, struct err *e)
{
	struct index_msg gone[CHUNK_UIDS];
	uint32_t mailbox = c->mailbox, n = 0;
	enum err_kind k = ERR_OK;

	(void)how;
	for (uint32_t i = c->n; i > 0; i--) {
		if (c->m[i - 1].uid < lo || c->m[i - 1].uid > hi)
			continue;
		gone[n++] = c->m[i - 1];
		chunk_remove(c, i - 1);
	}
	while (n > 0 && k == ERR_OK)
		k = add_row(r, 'G', mailbox, &gone[--n], v->h.time_ms > 0 ? v->h.time_ms : 1, e);
	return k;
}

static enum err_kind roll_flags(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_flags f;
	struct ranges ranges;

	if (!rec_get_flags(v->payload, &f, &ranges))
		return damaged(r);
	return for_ranges(r, f.mailbox, ranges, change_flags, v, &f, e);
}

static enum err_kind roll_expunge(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_expunge x;
	struct ranges ranges;

	if (!rec_get_expunge(v->payload, &x, &ranges))
		return damaged(r);
	return for_ranges(r, x.mailbox, ranges, put_aside, v, NULL, e);
}

static enum err_kind put_deleted(struct roll *r, uint32_t mailbox, int64_t deleted_ms, uint32_t uidvalidity,
    struct str name, struct err *e)
{
	struct index_deleted d = { deleted_ms, uidvalidity, (uint32_t)name.n };
	char key[KEY_MAX], value[sizeof d + STORE_NAME_MAX_OCTETS];

	memcpy(value, &d, sizeof d);
	memcpy(value + sizeof d, name.p, name.n);
	return row_put(r, key_prefix(key, 'D', mailbox), str_n(value, sizeof d + name.n), e);
}

static enum err_kind roll_gone(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_gone g;
	struct str name, entries;
	enum err_kind k = ERR_OK;

	if (!rec_get_gone(v->payload, &g, &name, &entries))
		return damaged(r);
	for (uint32_t i = 0; i < g.n && k == ERR_OK; i++) {
		struct gone_entry x = gone_entry_at(entries, i);

		k = add_row(r, 'G', g.mailbox, &(struct index_msg){
			.uid = x.uid, .flags = x.flags, .keywords = x.keywords, .modseq = x.modseq,
			.internaldate_s = x.internaldate_s, .seg = x.seg, .off = x.off,
			.size_octets = x.size_octets, .record_octets = x.record_octets }, x.gone_ms, e);
	}
	if (k == ERR_OK && name.n > 0)
		k = put_deleted(r, g.mailbox, g.deleted_ms, g.uidvalidity, name, e);
	return k;
}

static enum err_kind roll_keyword(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_keyword kw;
	struct str name;
	char key[KEY_MAX];

	if (!rec_get_keyword(v->payload, &kw, &name))
		return damaged(r);
	return row_put(r, key2(key, 'K', kw.mailbox, kw.bit), name, e);
}

struct numbers {
	uint32_t *v;
	size_t n, cap;
	bool no_memory;
};

static bool add_number(void *ctx, struct str key, struct str value)
{
	struct numbers *l = ctx;

	(void)value;
	l->no_memory = !vec_room(&l->v, l->n, &l->cap, sizeof *l->v);
	if (l->no_memory)
		return false;
	if (key.n == 9)
		l->v[l->n++] = get_be32(key.p + 5);
	return true;
}

/* All messages of a mailbox that was deleted are gone at once, and its name is kept with them. */
static enum err_kind put_all_aside(struct roll *r, uint32_t mailbox, const struct journal_view *v, struct err *e)
{
	struct numbers l = { NULL, 0, 0, false };
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'C', mailbox);
	enum err_kind k;

	if ((k = cache_flush(r, e)) == ERR_OK)
		k = row_keys(r, prefix, add_number, &l, e);
	if (k == ERR_OK && l.no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to roll the index forward");
	for (size_t i = 0; i < l.n && k == ERR_OK && !leave_at(r, 0); i++) {
		struct chunk *c;

		r->n_rows += CHUNK_UIDS;
		if ((k = chunk_get(r, 'C', mailbox, l.v[i] * CHUNK_UIDS, &c, e)) == ERR_OK)
			k = put_aside(r, c, 0, UINT32_MAX, v, NULL, e);
	}
	free(l.v);
	return k == ERR_OK ? cache_flush(r, e) : k;
}

static bool any(void *ctx, struct str key, struct str value)
{
	(void)key;
	(void)value;
	*(bool *)ctx = true;
	return false;
}

/* The name is worth keeping when messages can be brought back, and it is the one under which they were lost. */
static enum err_kind keep_name(struct roll *r, const struct rec_mailbox *m, struct str name, int64_t deleted_ms,
    struct err *e)
{
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'G', m->id), v;
	bool has_gone = false;
	enum err_kind k = row_keys(r, prefix, any, &has_gone, e);

	if (k == ERR_OK && !has_gone)
		return row_delete_prefix(r, key_prefix(key, 'K', m->id), e);
	if (k != ERR_OK)
		return k;
	k = row_get(r, key_prefix(key, 'D', m->id), &v, e);
	return k == ERR_NOENT ? put_deleted(r, m->id, deleted_ms, m->uidvalidity, name, e) : k;
}

/* Keywords stay as long as messages can be brought back. */
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
	if ((k = put_all_aside(r, m.id, v, e)) != ERR_OK || r->partial ||
	    (k = keep_name(r, &m, name, v->h.time_ms, e)) != ERR_OK ||
	    (k = attrs_forget(r, m.id, e)) != ERR_OK)
		return k;
	return row_delete_prefix(r, key_prefix(key, 'V', m.id), e);
}

enum err_kind roll_record(struct roll *r, const struct journal_view *v, struct err *e)
{
	static enum err_kind (*const apply[])(struct roll *, const struct journal_view *,
	    struct err *) = {
		[REC_MAILBOX] = roll_mailbox, [REC_MESSAGE] = roll_message, [REC_COPY] = roll_copy,
		[REC_FLAGS] = roll_flags, [REC_EXPUNGE] = roll_expunge, [REC_KEYWORD] = roll_keyword,
		[REC_VIEW] = roll_view, [REC_PLACE] = roll_place, [REC_GONE] = roll_gone,
		[REC_ATTR] = roll_attr,
	};
	enum err_kind k = ERR_OK;

	r->partial = false;
	if (v->h.type < COUNTOF(apply) && apply[v->h.type] != NULL)
		k = apply[v->h.type](r, v, e);
	if (r->partial)
		return k;
	r->at.part = 0;
	r->at.seq = v->h.seq;
	r->at.next = v->next;
	r->at.crc = v->h.crc;
	return k;
}
