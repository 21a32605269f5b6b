/* SPDX-License-Identifier: ISC */
/* struct buf: owned, growing octets with a hard maximum fixed at init. Invariant: n <= cap <= max.
 * A write that would pass max writes nothing and sets `full`, which stays until buf_reset: a
 * caller may make many writes and look once. */
#ifndef BUF_H
#define BUF_H

#include "str.h"

struct buf {
	char *p;
	size_t n, cap, max;
	bool full;
};

#define BUF_INIT(max_octets) { NULL, 0, 0, (max_octets), false }

void buf_init(struct buf *b, size_t max);
/* Frees the memory; the buffer is as after buf_init with the same max. */
void buf_free(struct buf *b);
/* Overwrites the memory with zeros, then frees it: for secrets. */
void buf_wipe(struct buf *b);
void buf_reset(struct buf *b);		/* empties it, keeps the memory */

/* All return false (and set full) when max would be passed or memory is out. */
bool buf_reserve(struct buf *b, size_t more);	/* room for `more` octets behind n */
bool buf_put(struct buf *b, struct str s);
bool buf_putc(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool buf_put_u64(struct buf *b, uint64_t v);	/* decimal digits, faster than buf_printf */
/* Little-endian fixed-width numbers, for on-disk and IPC formats. */
bool buf_put_le16(struct buf *b, uint16_t v);
bool buf_put_le32(struct buf *b, uint32_t v);
bool buf_put_le64(struct buf *b, uint64_t v);

/* Drops the first n octets, moving the rest down. */
void buf_consume(struct buf *b, size_t n);

static inline struct str buf_str(const struct buf *b) { return str_n(b->p, b->n); }

static inline uint16_t get_le16(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint16_t)(u[0] | u[1] << 8);
}

static inline uint32_t get_le32(const char *p)
{
	return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

static inline uint64_t get_le64(const char *p)
{
	return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

/* memset that the compiler does not leave out: for secrets. */
void secret_wipe(void *p, size_t n);

#endif
