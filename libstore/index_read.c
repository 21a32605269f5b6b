/* SPDX-License-Identifier: ISC */
/* Reading the index's rows, between index_enter and index_leave. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "index_int.h"

/* -- the door to the rows for what reads them -- */

enum err_kind row_read(struct store *s, struct str key, struct str *out, struct err *e)
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

enum err_kind row_scan(struct store *s, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e)
{
	struct row_scan r = { each, ctx, e, ERR_OK };
	enum err_kind k = engine_scan(s->engine, from, prefix, unseal_each, &r, e);

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

static bool load_chunk(void *ctx, struct str key, struct str value)
{
	struct index_load *l = ctx;
	size_t n = value.n / sizeof(struct index_msg);

	l->bad = l->bad || value.n % sizeof(struct index_msg) != 0 || key.n != 9;
	if (l->slice_left == 0 || l->bad)
		return false;
	l->slice_left--;
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
	l->next_chunk = get_be32(key.p + 5) + 1;
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

enum err_kind index_load_some(struct store *s, uint32_t mailbox, struct index_load *l, bool *out_done,
    struct err *e)
{
	char key[KEY_MAX], prefix[KEY_MAX];
	enum err_kind k;

	l->slice_left = LOAD_CHUNKS;
	k = row_scan(s, key2(key, 'C', mailbox, l->next_chunk), key_prefix(prefix, 'C', mailbox),
	    load_chunk, l, e);
	if (k == ERR_OK && l->no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory for mailbox");
	if (k == ERR_OK && l->bad)
		k = err_set(e, ERR_CORRUPT, 0, "index: rows out of order");
	*out_done = l->slice_left > 0;
	return k;
}

enum err_kind index_keywords(struct store *s, uint32_t mailbox, struct index_keywords *kw, struct err *e)
{
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'K', mailbox);

	memset(kw, 0, sizeof *kw);
	return row_scan(s, prefix, prefix, load_keyword, kw, e);
}

enum err_kind index_load(struct store *s, uint32_t mailbox, struct message **out_msgs, size_t *out_n,
    size_t *out_cap, struct index_keywords *kw, struct err *e)
{
	struct index_load l = { .m = NULL };
	bool done = false;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && !done)
		k = index_load_some(s, mailbox, &l, &done, e);
	if (k == ERR_OK)
		k = index_keywords(s, mailbox, kw, e);
	if (k != ERR_OK) {
		free(l.m);
		return k;
	}
	*out_msgs = l.m;
	*out_n = l.n;
	*out_cap = l.cap;
	return ERR_OK;
}

/* -- all rows, in slices -- */

struct slice {
	struct index_cursor *at;
	size_t left;
	void (*each)(void *, uint32_t, const struct message *, int64_t);
	void *ctx;
};

static bool rows_of_chunk(void *ctx, struct str key, struct str value)
{
	struct slice *l = ctx;
	bool gone = key.n > 0 && key.p[0] == 'G';
	size_t row = gone ? sizeof(struct index_gone) : sizeof(struct index_msg);

	if (l->left == 0)
		return false;
	l->left--;
	for (size_t at = 0; key.n == 9 && at + row <= value.n; at += row) {
		struct index_gone x = { .gone_ms = 0 };
		struct message m;

		memcpy(&x, value.p + at, row);
		m = message_of(&x.m);
		l->each(l->ctx, get_be32(key.p + 1), &m, x.gone_ms);
	}
	memcpy(l->at->key, key.p, key.n < sizeof l->at->key ? key.n : 0);
	l->at->n = key.n;
	l->at->key[l->at->n++] = '\0';		/* the least key behind it */
	return true;
}

enum err_kind index_slice(struct store *s, enum index_rows which, struct index_cursor *at,
    void (*each)(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms), void *ctx,
    struct err *e)
{
	struct slice l = { at, SLICE_CHUNKS, each, ctx };
	struct str prefix = which == INDEX_GONE ? STR("G") : STR("C");
	struct index_cursor from = *at;		/* the scan moves it */
	enum err_kind k = row_scan(s, from.n > 0 ? str_n(from.key, from.n) : prefix, prefix,
	    rows_of_chunk, &l, e);

	at->done = l.left > 0;
	return k;
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

enum err_kind index_gone_row(struct store *s, uint32_t mailbox, uint32_t uid, struct message *out,
    int64_t *out_gone_ms, struct err *e)
{
	char key[KEY_MAX];
	struct index_gone x;
	struct str v;
	enum err_kind k = row_read(s, key2(key, 'G', mailbox, uid / CHUNK_UIDS), &v, e);

	for (size_t at = 0; k == ERR_OK && at + sizeof x <= v.n; at += sizeof x) {
		memcpy(&x, v.p + at, sizeof x);
		if (x.m.uid == uid) {
			*out = message_of(&x.m);
			*out_gone_ms = x.gone_ms;
			return ERR_OK;
		}
	}
	return k == ERR_OK ? err_set(e, ERR_NOENT, 0, "no such message") : k;
}

enum err_kind index_deleted_mailbox(struct store *s, uint32_t mailbox, struct index_deleted *out,
    char name[STORE_NAME_MAX_OCTETS], struct err *e)
{
	char key[KEY_MAX];
	struct str v;
	enum err_kind k = row_read(s, key_prefix(key, 'D', mailbox), &v, e);

	if (k != ERR_OK)
		return k;
	if (v.n < sizeof *out)
		return err_set(e, ERR_CORRUPT, 0, "index: a deleted mailbox of %zu octets", v.n);
	memcpy(out, v.p, sizeof *out);
	if (out->name_octets > STORE_NAME_MAX_OCTETS || v.n != sizeof *out + out->name_octets)
		return err_set(e, ERR_CORRUPT, 0, "index: a deleted mailbox of %zu octets", v.n);
	memcpy(name, v.p + sizeof *out, out->name_octets);
	return ERR_OK;
}

/* -- forgetting gone rows whose octets are no more -- */

/* A chunk of gone rows of which some go: its key and what stays. */
struct gone_chunk {
	char key[KEY_MAX];
	size_t key_octets, n_kept;
	struct index_gone kept[CHUNK_UIDS];
};

struct forgetting {
	struct index_cursor *at;
	uint32_t before;
	size_t left, n;
	struct gone_chunk *v;		/* SLICE_CHUNKS */
};

static bool find_dead_rows(void *ctx, struct str key, struct str value)
{
	struct forgetting *f = ctx;
	struct gone_chunk *g = &f->v[f->n];
	size_t n = value.n / sizeof g->kept[0];

	if (f->left == 0 || key.n != 9)
		return false;
	f->left--;
	memcpy(f->at->key, key.p, key.n);
	f->at->n = key.n;
	f->at->key[f->at->n++] = '\0';		/* the least key behind it */
	memcpy(g->key, key.p, key.n);
	g->key_octets = key.n;
	g->n_kept = 0;
	for (size_t i = 0; i < n && i < CHUNK_UIDS; i++) {
		memcpy(&g->kept[g->n_kept], value.p + i * sizeof g->kept[0], sizeof g->kept[0]);
		g->n_kept += g->kept[g->n_kept].m.seg >= f->before;
	}
	f->n += g->n_kept < n;
	return true;
}

static enum err_kind write_kept(struct store *s, const struct gone_chunk *g, struct err *e)
{
	char sealed[ENGINE_VALUE_MAX_OCTETS];
	struct str key = str_n(g->key, g->key_octets), value;
	enum err_kind k;

	if (g->n_kept == 0)
		return engine_delete(s->engine, key, e);
	k = row_seal(key, str_n((const char *)g->kept, g->n_kept * sizeof g->kept[0]), sealed, &value, e);
	return k == ERR_OK ? engine_put(s->engine, key, value, e) : k;
}

static enum err_kind forget_slice(struct store *s, struct forgetting *f, struct err *e)
{
	struct index_cursor from = *f->at;	/* the scan moves it */
	enum err_kind k = row_scan(s, from.n > 0 ? str_n(from.key, from.n) : STR("G"), STR("G"),
	    find_dead_rows, f, e);

	f->at->done = f->left > 0;
	if (k != ERR_OK || f->n == 0 || (k = engine_begin(s->engine, e)) != ERR_OK)
		return k;
	for (size_t i = 0; i < f->n && k == ERR_OK; i++)
		k = write_kept(s, &f->v[i], e);
	if (k == ERR_OK)
		k = engine_commit(s->engine, e);
	if (k != ERR_OK)
		engine_abort(s->engine);
	return k;
}

enum err_kind index_forget_gone(struct store *s, uint32_t before, struct index_cursor *at, struct err *e)
{
	struct forgetting f = { .at = at, .before = before, .left = SLICE_CHUNKS };
	enum err_kind k;

	f.v = malloc((SLICE_CHUNKS + 1) * sizeof *f.v);
	if (f.v == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to forget expunged messages");
	k = forget_slice(s, &f, e);
	free(f.v);
	return k;
}

struct ids_of_deleted {
	uint32_t v[DELETED_AT_ONCE];
	size_t n;
};

static bool add_deleted(void *ctx, struct str key, struct str value)
{
	struct ids_of_deleted *d = ctx;

	(void)value;
	if (key.n == 5)
		d->v[d->n++] = get_be32(key.p + 1);
	return d->n < DELETED_AT_ONCE;
}

static bool seen_one(void *ctx, struct str key, struct str value)
{
	(void)key;
	(void)value;
	*(bool *)ctx = true;
	return false;
}

/* A deleted mailbox whose messages are all forgotten is forgotten, too. */
static enum err_kind forget_mailbox(struct store *s, uint32_t mailbox, struct err *e)
{
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'G', mailbox);
	bool has_gone = false;
	enum err_kind k = row_scan(s, prefix, prefix, seen_one, &has_gone, e);

	if (k != ERR_OK || has_gone)
		return k;
	k = engine_delete(s->engine, key_prefix(key, 'D', mailbox), e);
	return k == ERR_OK ? engine_delete_prefix(s->engine, key_prefix(key, 'K', mailbox), e) : k;
}

enum err_kind index_forget_deleted(struct store *s, uint32_t *from, struct err *e)
{
	struct ids_of_deleted d = { .n = 0 };
	char key[KEY_MAX];
	enum err_kind k = engine_begin(s->engine, e);

	if (k != ERR_OK)
		return k;
	k = row_scan(s, key_prefix(key, 'D', *from), STR("D"), add_deleted, &d, e);
	for (size_t i = 0; i < d.n && k == ERR_OK; i++)
		k = forget_mailbox(s, d.v[i], e);
	*from = d.n < DELETED_AT_ONCE ? 0 : d.v[d.n - 1] + 1;
	if (k == ERR_OK)
		k = engine_commit(s->engine, e);
	if (k != ERR_OK)
		engine_abort(s->engine);
	return k;
}
