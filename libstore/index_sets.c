/* SPDX-License-Identifier: ISC */
/* Keywords and views in the index, and everything that is no message said again for compaction.
 * A view's row holds the bits of VIEW_UIDS UIDs; one without bits is not there. */
#include <errno.h>
#include <string.h>

#include "index_int.h"

enum { SLICE_OCTETS = 128 * 1024, SET_OVERHEAD = 64 };

struct str view_prefix(char key[KEY_MAX], uint32_t mailbox, struct str name)
{
	size_t n = key_prefix(key, 'V', mailbox).n;

	memcpy(key + n, name.p, name.n);
	n += name.n;
	key[n++] = '\0';
	return str_n(key, n);
}

struct str view_key(char key[KEY_MAX], uint32_t mailbox, struct str name, uint32_t number)
{
	size_t n = view_prefix(key, mailbox, name).n;

	key[n++] = (char)(number >> 24);
	key[n++] = (char)(number >> 16);
	key[n++] = (char)(number >> 8);
	key[n++] = (char)number;
	return str_n(key, n);
}

struct str view_key_name(struct str key)
{
	enum { AROUND = 1 + 4 + 1 + 4 };	/* tag, mailbox, …, NUL, number */

	return key.n > AROUND ? str_n(key.p + 5, key.n - AROUND) : str_n(NULL, 0);
}

/* -- what a record does: each row is read and written once as long as ranges ascend -- */

struct bits {
	uint32_t number;
	bool used;
	uint8_t bit[VIEW_UIDS / 8];
};

static enum err_kind bits_write(struct roll *r, const struct rec_view *view, struct str name,
    struct bits *b, struct err *e)
{
	static const uint8_t none[VIEW_UIDS / 8];
	char key[KEY_MAX];
	struct str k = view_key(key, view->mailbox, name, b->number);
	enum err_kind err;

	if (!b->used)
		return ERR_OK;
	b->used = false;
	if (memcmp(b->bit, none, sizeof none) != 0)
		return row_put(r, k, str_n((const char *)b->bit, sizeof b->bit), e);
	err = row_delete(r, k, e);
	return err == ERR_NOENT ? ERR_OK : err;
}

static enum err_kind bits_read(struct roll *r, const struct rec_view *view, struct str name,
    uint32_t number, struct bits *b, struct err *e)
{
	char key[KEY_MAX];
	struct str v;
	enum err_kind k;

	if (b->used && b->number == number)
		return ERR_OK;
	if ((k = bits_write(r, view, name, b, e)) != ERR_OK)
		return k;
	memset(b, 0, sizeof *b);
	k = row_get(r, view_key(key, view->mailbox, name, number), &v, e);
	if (k != ERR_OK && k != ERR_NOENT)
		return k;
	if (k == ERR_OK && v.n == sizeof b->bit)
		memcpy(b->bit, v.p, sizeof b->bit);
	b->number = number;
	b->used = true;
	return ERR_OK;
}

static void bits_change(struct bits *b, uint32_t lo, uint32_t hi, bool add)
{
	for (uint32_t i = lo; i <= hi; i++) {
		if (add)
			b->bit[i / 8] |= (uint8_t)(1u << i % 8);
		else
			b->bit[i / 8] &= (uint8_t)~(1u << i % 8);
	}
}

enum err_kind roll_view(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_view view;
	struct ranges ranges;
	struct str name;
	struct bits b = { .used = false };
	char key[KEY_MAX];
	enum err_kind k = ERR_OK;

	if (!rec_get_view(v->payload, &view, &name, &ranges)) {
		r->n_damaged++;
		return ERR_OK;
	}
	if (view.how == VIEW_ENDS)
		return row_delete_prefix(r, view_prefix(key, view.mailbox, name), e);
	for (size_t i = 0; i < ranges.n && k == ERR_OK; i++) {
		struct uid_range u = range_at(ranges, i);
		uint64_t highest = highest_uid(r, view.mailbox, u.lo);

		u.hi = u.hi < highest ? u.hi : (uint32_t)highest;
		for (uint64_t uid = u.lo; uid <= u.hi && k == ERR_OK;) {
			uint64_t end = (uid / VIEW_UIDS + 1) * VIEW_UIDS - 1;

			k = bits_read(r, &view, name, (uint32_t)(uid / VIEW_UIDS), &b, e);
			bits_change(&b, (uint32_t)(uid % VIEW_UIDS),
			    (uint32_t)((u.hi < end ? u.hi : end) % VIEW_UIDS),
			    (view.how & VIEW_ADDS) != 0);
			uid = end + 1;
		}
	}
	return k == ERR_OK ? bits_write(r, &view, name, &b, e) : k;
}

/* -- reading -- */

bool view_row_ranges(struct str key, struct str row, struct buf *out)
{
	uint32_t base = get_be32(key.p + key.n - 4) * VIEW_UIDS;

	for (uint32_t i = 0; i < VIEW_UIDS && i / 8 < row.n; i++) {
		struct uid_range u = { base + i, base + i };

		if (!((unsigned char)row.p[i / 8] >> i % 8 & 1))
			continue;
		if (out->n >= sizeof u && get_le32(out->p + out->n - 4) == u.lo - 1)
			memcpy(out->p + out->n - 4, &u.hi, 4);
		else if (!buf_put(out, str_n((const char *)&u, sizeof u)))
			return false;
	}
	return true;
}

/* -- saying again -- */

struct slice {
	struct index_cursor *at;
	size_t octets;			/* said */
	bool no_memory;
	bool (*each)(void *, enum rec_type, struct str, struct str, struct str);
	void *ctx;
};

/* False: enough for now, or each has failed. */
static bool say(struct slice *l, enum rec_type type, struct str head, struct str name,
    struct str rest)
{
	l->octets += SET_OVERHEAD + head.n + name.n + rest.n;
	return l->each(l->ctx, type, head, name, rest) && l->octets < SLICE_OCTETS;
}

/* Behind this row. */
static bool go_on_behind(struct slice *l, struct str key)
{
	memcpy(l->at->key, key.p, key.n);
	l->at->key[key.n] = '\0';
	l->at->n = key.n + 1;
	l->at->done = false;
	return false;
}

static bool keyword_row(void *ctx, struct str key, struct str value)
{
	struct slice *l = ctx;
	struct rec_keyword kw;

	if (key.n != 9)
		return true;
	kw = (struct rec_keyword){ get_be32(key.p + 1), get_be32(key.p + 5), (uint32_t)value.n, 0 };
	return say(l, REC_KEYWORD, str_n((const char *)&kw, sizeof kw), value, str_n(NULL, 0)) ||
	    go_on_behind(l, key);
}

static bool view_row(void *ctx, struct str key, struct str value)
{
	struct slice *l = ctx;
	struct buf ranges = BUF_INIT(VIEW_UIDS / 2 * sizeof(struct uid_range));
	struct rec_view view = { .how = VIEW_ADDS | VIEW_AGAIN };
	struct str name = view_key_name(key);
	bool more = true;

	if (name.n == 0 || value.n != VIEW_UIDS / 8)
		return true;
	view.mailbox = get_be32(key.p + 1);
	view.name_octets = (uint32_t)name.n;
	if (view_row_ranges(key, value, &ranges)) {
		view.n_ranges = (uint32_t)(ranges.n / sizeof(struct uid_range));
		more = say(l, REC_VIEW, str_n((const char *)&view, sizeof view), name,
		    buf_str(&ranges));
	} else {
		l->no_memory = true;	/* what is not said again would be lost with its segment */
		more = false;
	}
	buf_free(&ranges);
	return more || go_on_behind(l, key);
}

static bool attr_row(void *ctx, uint32_t mailbox, const struct attr *a)
{
	char names[ATTR_OWNER_MAX_OCTETS + ATTR_NAME_MAX_OCTETS];
	struct rec_attr rec = { mailbox, a->kind, (uint32_t)a->owner.n, (uint32_t)a->name.n,
	    (uint32_t)a->value.n, 1,
		a->modseq };

	memcpy(names, a->owner.p, a->owner.n);
	memcpy(names + a->owner.n, a->name.p, a->name.n);
	return say(ctx, REC_ATTR, str_n((const char *)&rec, sizeof rec),
	    str_n(names, a->owner.n + a->name.n), a->value);
}

/* One family of rows from the cursor on; at->done when it is through. */
static enum err_kind family(struct store *s, struct slice *l, struct err *e)
{
	char tag = l->at->key[0];
	struct str from = str_n(l->at->key, l->at->n);
	enum err_kind k;

	l->at->done = true;
	if (tag == 'A')
		return attrs_from(s, l->at, attr_row, l, e);
	k = row_scan(s, from, str_n(&tag, 1), tag == 'K' ? keyword_row : view_row, l, e);
	return k == ERR_OK && l->no_memory ? err_set(e, ERR_TEMP, ENOMEM, "no memory to say a view again") : k;
}

enum err_kind index_set_slice(struct store *s, struct index_cursor *at,
    bool (*each)(void *ctx, enum rec_type type, struct str head, struct str name, struct str rest),
    void *ctx, struct err *e)
{
	static const char families[] = "AKV";
	struct slice l = { at, 0, false, each, ctx };
	size_t i = at->n > 0 ? (size_t)(strchr(families, at->key[0]) - families) : 0;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && families[i] != '\0' && l.octets < SLICE_OCTETS) {
		if (at->n == 0)
			at->key[at->n++] = families[i];
		if ((k = family(s, &l, e)) != ERR_OK || !at->done)
			return k;
		at->n = 0;
		i++;
	}
	at->done = families[i] == '\0';
	if (!at->done)
		at->key[at->n++] = families[i];
	return k;
}
