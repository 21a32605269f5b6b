/* SPDX-License-Identifier: ISC */
/* Reading the index's rows, between index_enter and index_leave. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "index_int.h"

/* -- the door to the rows for what reads them -- */

static enum err_kind row_read(struct store *s, struct str key, struct str *out, struct err *e)
{
	enum err_kind k = engine_get(s->engine, key, out, e);

	return k == ERR_OK ? row_unseal(key, out, e) : k;
}

struct row_scan {
	bool (*each)(void *ctx, struct str key, struct str value);
	void *ctx;
	struct err *e;
	enum err_kind k;
};

static bool unseal_each(void *ctx, struct str key, struct str value)
{
	struct row_scan *r = ctx;

	if ((r->k = row_unseal(key, &value, r->e)) != ERR_OK)
		return false;
	return r->each(r->ctx, key, value);
}

static enum err_kind row_scan(struct store *s, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e)
{
	struct row_scan r = { each, ctx, e, ERR_OK };
	enum err_kind k = engine_scan(s->engine, prefix, prefix, unseal_each, &r, e);

	return k != ERR_OK ? k : r.k;
}

/* -- messages and sets -- */

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
	k = row_scan(s, prefix, load_chunk, &l, e);
	if (k == ERR_OK && l.no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory for mailbox");
	if (k == ERR_OK && l.bad)
		k = err_set(e, ERR_CORRUPT, 0, "index: rows out of order");
	if (k == ERR_OK) {
		prefix = key_prefix(key, 'K', mailbox);
		k = row_scan(s, prefix, load_keyword, kw, e);
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
	return row_scan(s, STR("C"), rows_of_chunk,
	    &(struct each_row){ each, ctx }, e);
}

enum err_kind index_row(struct store *s, uint32_t mailbox, uint32_t uid, struct message *out, struct err *e)
{
	char key[KEY_MAX];
	struct index_msg x;
	struct str v;
	enum err_kind k = row_read(s, key2(key, 'C', mailbox, uid / CHUNK_UIDS), &v, e);

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
	enum err_kind k = row_scan(s, STR("K"), keyword_row, &r, e);

	return k == ERR_OK ? row_scan(s, STR("V"), view_row, &r, e) : k;
}

enum err_kind index_view_has(struct store *s, uint32_t mailbox, struct str view, const uint32_t *uids,
    size_t n, bool *out, struct err *e)
{
	char key[KEY_MAX];

	for (size_t i = 0; i < n; i++) {
		uint32_t bit = uids[i] % VIEW_UIDS;
		struct str v;
		enum err_kind k = row_read(s, view_key(key, mailbox, view, uids[i] / VIEW_UIDS),
		    &v, e);

		if (k != ERR_OK && k != ERR_NOENT)
			return k;
		out[i] = k == ERR_OK && v.n == VIEW_UIDS / 8 && ((unsigned char)v.p[bit / 8] >> bit % 8 & 1);
	}
	return ERR_OK;
}
