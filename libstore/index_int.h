/* SPDX-License-Identifier: ISC */
/* The index from inside: the form of its rows, shared by index.c (entering, rolling forward), index_rows.c (what records
 * do to rows) and index_read.c. Rows (numbers big-endian in keys):
 *   "J"                          how far the journal has been read: struct index_pos
 *   "C" mailbox chunk            up to 64 struct index_msg with UIDs chunk*64 … chunk*64+63, ascending
 *   "K" mailbox bit              a keyword's name
 *   "V" mailbox name 0 chunk     bits of a view: UIDs chunk*2048 …
 *   "G" mailbox chunk            expunged messages whose octets are still there: up to 64 struct index_gone, by UID as in "C"
 *   "D" mailbox                  of a deleted mailbox that has such messages: struct index_deleted, its name
 *   "A" mailbox kind owner 0 name 0 piece   an attribute's value (index_attr.c)
 * Every value ends with a checksum of key and value: what went wrong in memory that processes share is an error then, and
 * not somebody else's mail. "G" rows go when compaction removes their segments, and with the last one of a deleted mailbox
 * its "D" and "K" rows: there the index may have forgotten what the journal still tells.
 * Rolling forward is idempotent: a row depends only on the records up to "J", committed in the same transaction
 * (invariant I4). */
#ifndef INDEX_INT_H
#define INDEX_INT_H

#include "../libbase/buf.h"
#include "store_int.h"
#include "table.h"

enum {
	CHUNK_UIDS = 64,
	VIEW_UIDS = 2048,
	CACHE_CHUNKS = 1024,		/* changed chunks held back before they are written */
	ROWS_PER_TXN = 4096,		/* a few milliseconds */
	SEAL_OCTETS = 4,		/* the checksum behind each value */
	SPAN_MAX_UIDS = 1 << 24,	/* of a range in a mailbox whose UIDNEXT is not known any more */
	LOAD_CHUNKS = 256,		/* of a mailbox, read under one hold of the lock */
	SLICE_CHUNKS = 64,		/* of all rows */
	DELETED_AT_ONCE = 64,
	KEY_MAX = ENGINE_KEY_MAX_OCTETS,
};

struct index_pos {
	uint64_t store_id;
	uint64_t seq;
	struct journal_pos next;
	uint32_t crc;			/* of record seq */
	uint32_t part;			/* how much of the record at `next` is done: of one that changes very many rows */
};

struct index_msg {
	uint32_t uid, flags;
	uint64_t keywords, modseq;
	int64_t internaldate_s;
	uint32_t seg, off, size_octets, record_octets;
};

_Static_assert(sizeof(struct index_msg) == 48, "index row");
_Static_assert(CHUNK_UIDS * sizeof(struct index_msg) + SEAL_OCTETS <= ENGINE_VALUE_MAX_OCTETS, "chunk fits a page");
_Static_assert(1 + 4 + VIEW_NAME_MAX_OCTETS + 1 + 4 <= KEY_MAX, "a view's key");
_Static_assert(1 + 4 + 1 + ATTR_OWNER_MAX_OCTETS + 1 + ATTR_NAME_MAX_OCTETS + 1 + 2 <= KEY_MAX, "an attribute's key");

struct index_gone {
	struct index_msg m;
	int64_t gone_ms;
};

struct index_deleted {
	int64_t deleted_ms;
	uint32_t uidvalidity;
	uint32_t name_octets;		/* the name follows */
};

_Static_assert(CHUNK_UIDS * sizeof(struct index_gone) + SEAL_OCTETS <= ENGINE_VALUE_MAX_OCTETS, "chunk of gone ones fits a page");

/* A chunk of "C" or "G" rows while it is worked on. */
struct chunk {
	char tag;
	bool changed;
	uint32_t mailbox, number;
	uint32_t n;
	struct index_msg m[CHUNK_UIDS];
	int64_t gone_ms[CHUNK_UIDS];	/* of "G" rows */
};

/* One roll forward: the changed chunks, open-addressed by (tag, mailbox, number). */
struct roll {
	struct store *s;
	struct table *table;		/* check: rows go there and not into the engine; NULL else */
	const struct store *real;	/* check: whose slots know the UIDs that were given; NULL: those of s */
	struct chunk *cache;		/* CACHE_CHUNKS, touched only where used */
	bool used[CACHE_CHUNKS];
	uint16_t cached[CACHE_CHUNKS / 2];	/* which are used */
	size_t n_cached;
	size_t n_rows;			/* touched in this transaction */
	bool whole;			/* no record is left in its middle */
	bool partial;			/* the last one was */
	struct index_pos at;
	uint64_t n_damaged;
};

static inline uint32_t get_be32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* -- index_rows.c -- */
/* Keys: tag, mailbox, number; tag and mailbox. */
struct str key2(char key[KEY_MAX], char tag, uint32_t mailbox, uint32_t number);
struct str key_prefix(char key[KEY_MAX], char tag, uint32_t mailbox);
/* The door to the rows for what writes them: the engine (values sealed) or the table. row_get's view is valid until the
 * next call. Errors: the engine's. */
enum err_kind row_get(struct roll *r, struct str key, struct str *out, struct err *e) CHECKED;
enum err_kind row_put(struct roll *r, struct str key, struct str value, struct err *e) CHECKED;
enum err_kind row_delete(struct roll *r, struct str key, struct err *e) CHECKED;
enum err_kind row_delete_prefix(struct roll *r, struct str prefix, struct err *e) CHECKED;
/* Calls each for the keys with a prefix (of the table in no order), until it returns false. */
enum err_kind row_keys(struct roll *r, struct str prefix, bool (*each)(void *ctx, struct str key, struct str value),
    void *ctx, struct err *e) CHECKED;
/* Checks a value as the engine has it and takes its seal off. Errors: ERR_CORRUPT. */
enum err_kind row_unseal(struct str key, struct str *value, struct err *e) CHECKED;
/* The same of a value that is put by hand: sealed has room for ENGINE_VALUE_MAX_OCTETS. Errors: ERR_LIMIT. */
enum err_kind row_seal(struct str key, struct str value, char *sealed, struct str *out, struct err *e) CHECKED;
/* What one record does to the rows; moves r->at behind it, or into it when the transaction has touched enough rows (unless
 * r->whole, or rows go to the table): then r->partial is set, and the next call with the same record goes on. A payload
 * that makes no sense is damage, counted and skipped. */
enum err_kind roll_record(struct roll *r, const struct journal_view *v, struct err *e) CHECKED;
/* The last UID of a range in that mailbox that makes sense: none is above UIDNEXT; lo is the first of the range. */
uint64_t highest_uid(const struct roll *r, uint32_t mailbox, uint32_t lo);
/* Writes the changed chunks that were held back. */
enum err_kind cache_flush(struct roll *r, struct err *e) CHECKED;

/* -- index_read.c -- */
/* The door for what only reads: one value; every row from `from` on whose key begins with prefix, until each
 * returns false. */
enum err_kind row_read(struct store *s, struct str key, struct str *out, struct err *e) CHECKED;
enum err_kind row_scan(struct store *s, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e) CHECKED;

/* -- index_sets.c -- */
enum err_kind roll_view(struct roll *r, const struct journal_view *v, struct err *e) CHECKED;
/* All keys of a view begin so; one of them; the name in a view's key. */
struct str view_prefix(char key[KEY_MAX], uint32_t mailbox, struct str name);
struct str view_key(char key[KEY_MAX], uint32_t mailbox, struct str name, uint32_t number);
struct str view_key_name(struct str key);
/* The UIDs of one row as ranges behind those that are in out already, joined where they meet. False: out is full. */
bool view_row_ranges(struct str key, struct str row, struct buf *out);

/* -- index_attr.c -- */
/* As index_each_attr for all, from a cursor on; when each returns false the cursor stands behind what it was given. */
enum err_kind attrs_from(struct store *s, struct index_cursor *at,
    bool (*each)(void *ctx, uint32_t mailbox, const struct attr *a), void *ctx, struct err *e) CHECKED;
enum err_kind roll_attr(struct roll *r, const struct journal_view *v, struct err *e) CHECKED;
/* A mailbox went, and its attributes with it. */
enum err_kind attrs_forget(struct roll *r, uint32_t mailbox, struct err *e) CHECKED;

#endif
