/* SPDX-License-Identifier: ISC */
/* What the journal's records do to the index's rows. Message rows are changed in a small cache of chunks that is
 * written when it is full or the step ends. */
#include <errno.h>
#include <string.h>

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

struct str view_key(char key[KEY_MAX], uint32_t mailbox, struct str name, uint32_t number)
{
	size_t n = key_prefix(key, 'V', mailbox).n;

	memcpy(key + n, name.p, name.n);
	n += name.n;
	key[n++] = '\0';
	put_be32(key + n, number);
	return str_n(key, n + 4);
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

enum err_kind row_put(struct roll *r, struct str key, struct str value, struct err *e)
{
	char sealed[ENGINE_VALUE_MAX_OCTETS];
	uint32_t seal;

	if (r->table != NULL)
		return table_put(r->table, key, value) ? ERR_OK :
		    err_set(e, ERR_TEMP, ENOMEM, "no memory to compare the index");
	if (value.n > sizeof sealed - SEAL_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index item of %zu octets", value.n);
	seal = seal_of(key, value);
	memcpy(sealed, value.p, value.n);
	memcpy(sealed + value.n, &seal, SEAL_OCTETS);
	return engine_put(r->s->engine, key, str_n(sealed, value.n + SEAL_OCTETS), e);
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
		return row_put(r, k, str_n((const char *)c->m, c->n * sizeof c->m[0]), e);
	err = row_delete(r, k, e);
	return err == ERR_NOENT ? ERR_OK : err;
}

enum err_kind cache_flush(struct roll *r, struct err *e)
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
	enum err_kind k = row_get(r, key2(key, 'C', c->mailbox, c->number), &v, e);

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
	return row_put(r, key2(key, 'K', kw.mailbox, kw.bit), name, e);
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
	    (k = row_delete_prefix(r, key_prefix(key, 'C', m.id), e)) != ERR_OK ||
	    (k = row_delete_prefix(r, key_prefix(key, 'K', m.id), e)) != ERR_OK)
		return k;
	return row_delete_prefix(r, key_prefix(key, 'V', m.id), e);
}

static enum err_kind change_view_row(struct roll *r, struct str key, uint32_t lo, uint32_t hi, bool add,
    struct err *e)
{
	uint8_t bits[VIEW_UIDS / 8] = { 0 };
	struct str v;
	enum err_kind k = row_get(r, key, &v, e);

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
	return row_put(r, key, str_n((const char *)bits, sizeof bits), e);
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

enum err_kind roll_record(struct roll *r, const struct journal_view *v, struct err *e)
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
