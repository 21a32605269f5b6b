/* SPDX-License-Identifier: ISC */
/* Attributes in the index: a value may be longer than the engine's, so it lies in pieces, under
 * one key with a number behind. Piece 0 begins with what is known of the whole (struct
 * index_attr). */
#include <string.h>

#include "../libbase/buf.h"
#include "index_int.h"

enum { PIECE_OCTETS = 3900, PIECE_DIGITS = 2 };

struct index_attr {
	uint64_t modseq;
	uint32_t octets, reserved;
};

_Static_assert(sizeof(struct index_attr) + PIECE_OCTETS + SEAL_OCTETS <= ENGINE_VALUE_MAX_OCTETS,
    "a piece fits a page");

/* "A" mailbox kind owner NUL name NUL, to which the piece's number is added. */
static struct str attr_key(char key[KEY_MAX], const struct rec_attr *r, struct str owner,
    struct str name)
{
	size_t n = key_prefix(key, 'A', r->mailbox).n;

	key[n++] = (char)r->kind;
	memcpy(key + n, owner.p, owner.n);
	n += owner.n;
	key[n++] = '\0';
	memcpy(key + n, name.p, name.n);
	n += name.n;
	key[n++] = '\0';
	return str_n(key, n);
}

static struct str piece_key(char key[KEY_MAX], size_t n, uint32_t piece)
{
	key[n] = (char)(piece >> 8);
	key[n + 1] = (char)piece;
	return str_n(key, n + PIECE_DIGITS);
}

static enum err_kind put_pieces(struct roll *r, char key[KEY_MAX], size_t key_octets,
    const struct index_attr *head, struct str value, struct err *e)
{
	char row[sizeof *head + PIECE_OCTETS];
	enum err_kind k;
	uint32_t piece = 0;

	memcpy(row, head, sizeof *head);
	do {
		size_t at = piece == 0 ? sizeof *head : 0;
		struct str part = str_head(value, PIECE_OCTETS);

		if (part.n > 0)
			memcpy(row + at, part.p, part.n);
		k = row_put(r, piece_key(key, key_octets, piece), str_n(row, at + part.n), e);
		value = str_skip(value, part.n);
		piece++;
	} while (k == ERR_OK && value.n > 0);
	return k;
}

enum err_kind roll_attr(struct roll *r, const struct journal_view *v, struct err *e)
{
	struct rec_attr attr;
	struct str owner, name, value;
	char key[KEY_MAX];
	size_t n;
	enum err_kind k;

	if (!rec_get_attr(v->payload, &attr, &owner, &name, &value)) {
		r->n_damaged++;
		return ERR_OK;
	}
	/* a mailbox that is gone has left no attributes behind */
	if (attr.mailbox != ATTR_STORE && ctl_find_id(r->s, attr.mailbox) == NULL)
		return ERR_OK;
	n = attr_key(key, &attr, owner, name).n;
	if ((k = row_delete_prefix(r, str_n(key, n), e)) != ERR_OK || !attr.set)
		return k;
	return put_pieces(r, key, n, &(struct index_attr){ attr.modseq != 0 ? attr.modseq :
	    v->h.seq,
		attr.value_octets, 0 }, value, e);
}

enum err_kind attrs_forget(struct roll *r, uint32_t mailbox, struct err *e)
{
	char key[KEY_MAX];

	return row_delete_prefix(r, key_prefix(key, 'A', mailbox), e);
}

/* -- reading: pieces come in order and are put together -- */

struct gathering {
	bool (*each)(void *ctx, uint32_t mailbox, const struct attr *a);
	void *ctx;
	bool bad, stopped;
	char key[KEY_MAX];		/* of the attribute that is being put together */
	size_t key_octets;
	struct index_attr head;
	struct buf value;
};

static bool begin(struct gathering *g, struct str key, struct str row)
{
	if (row.n < sizeof g->head)
		return false;
	memcpy(g->key, key.p, key.n - PIECE_DIGITS);
	g->key_octets = key.n - PIECE_DIGITS;
	memcpy(&g->head, row.p, sizeof g->head);
	buf_reset(&g->value);
	return buf_put(&g->value, str_skip(row, sizeof g->head));
}

/* Takes the key apart; false when it is none of ours. */
static bool tell(struct gathering *g)
{
	struct str rest = str_n(g->key, g->key_octets);
	struct attr a = { .modseq = g->head.modseq, .value = buf_str(&g->value) };
	uint32_t mailbox;

	if (rest.n < 8)
		return false;
	mailbox = get_be32(rest.p + 1);
	a.kind = (enum attr_kind)(unsigned char)rest.p[5];
	rest = str_skip(rest, 6);
	if (!str_split(&rest, '\0', &a.owner) || !str_split(&rest, '\0', &a.name))
		return false;
	if (a.value.p == NULL)
		a.value = STR("");
	g->stopped = !g->each(g->ctx, mailbox, &a);
	return true;
}

static bool take_piece(void *ctx, struct str key, struct str row)
{
	struct gathering *g = ctx;
	bool ok = key.n >= PIECE_DIGITS && key.n <= KEY_MAX;

	if (ok && key.p[key.n - 2] == 0 && key.p[key.n - 1] == 0)
		ok = begin(g, key, row);
	else
		ok = ok && str_eq(str_head(key, key.n - PIECE_DIGITS),
		    str_n(g->key, g->key_octets)) && buf_put(&g->value, row);
	if (ok && g->value.n == g->head.octets)
		ok = tell(g);
	g->bad = !ok;
	return ok && !g->stopped;
}

static enum err_kind gather(struct store *s, struct gathering *g, struct str from,
    struct str prefix, struct err *e)
{
	enum err_kind k = row_scan(s, from, prefix, take_piece, g, e);

	buf_free(&g->value);
	return k == ERR_OK && g->bad ? err_set(e, ERR_CORRUPT, 0,
	    "index: an attribute is not whole") : k;
}

enum err_kind index_each_attr(struct store *s, uint32_t mailbox,
    bool (*each)(void *ctx, uint32_t mailbox, const struct attr *a), void *ctx, struct err *e)
{
	struct gathering g = { .each = each, .ctx = ctx, .value = BUF_INIT(ATTR_VALUE_MAX_OCTETS) };
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'A', mailbox);

	return gather(s, &g, prefix, prefix, e);
}

enum err_kind attrs_from(struct store *s, struct index_cursor *at,
    bool (*each)(void *ctx, uint32_t mailbox, const struct attr *a), void *ctx, struct err *e)
{
	struct gathering g = { .each = each, .ctx = ctx, .value = BUF_INIT(ATTR_VALUE_MAX_OCTETS) };
	enum err_kind k = gather(s, &g, str_n(at->key, at->n), STR("A"), e);

	at->done = !g.stopped;
	if (g.stopped) {	/* behind its last piece */
		memcpy(at->key, g.key, g.key_octets);
		memset(at->key + g.key_octets, 0xff, PIECE_DIGITS);
		at->n = g.key_octets + PIECE_DIGITS;
	}
	return k;
}
