/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

enum { BUF_FIRST_BYTES = 256 };

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf)BUF_INIT(max);
}

void buf_free(struct buf *b)
{
	free(b->p);
	buf_init(b, b->max);
}

void buf_wipe(struct buf *b)
{
	if (b->p != NULL)
		secret_wipe(b->p, b->cap);
	buf_free(b);
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->full = false;
}

bool buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap = b->cap > 0 ? b->cap : BUF_FIRST_BYTES;
	char *p;

	if (b->full || !size_add(b->n, more, &need) || need > b->max) {
		b->full = true;
		return false;
	}
	if (need <= b->cap)
		return true;
	while (cap < need)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	if (cap > b->max)
		cap = b->max;
	p = realloc(b->p, cap);
	if (p == NULL) {
		b->full = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

bool buf_put(struct buf *b, struct str s)
{
	if (!buf_reserve(b, s.n))
		return false;
	if (s.n > 0)
		memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
	return true;
}

bool buf_putc(struct buf *b, char c)
{
	if (b->n == b->cap && !buf_reserve(b, 1))
		return false;
	if (b->full)
		return false;
	b->p[b->n++] = c;
	return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
	char small[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n < 0)
		return false;
	if ((size_t)n < sizeof small)
		return buf_put(b, str_n(small, (size_t)n));
	if (!buf_reserve(b, (size_t)n + 1))
		return false;
	va_start(ap, fmt);
	vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
	return true;
}

bool buf_put_u64(struct buf *b, uint64_t v)
{
	char d[20];
	size_t i = sizeof d;

	do {
		d[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	return buf_put(b, str_n(d + i, sizeof d - i));
}

static bool put_le(struct buf *b, uint64_t v, size_t octets)
{
	char d[8];

	for (size_t i = 0; i < octets; i++)
		d[i] = (char)(v >> (8 * i));
	return buf_put(b, str_n(d, octets));
}

bool buf_put_le16(struct buf *b, uint16_t v) { return put_le(b, v, 2); }
bool buf_put_le32(struct buf *b, uint32_t v) { return put_le(b, v, 4); }
bool buf_put_le64(struct buf *b, uint64_t v) { return put_le(b, v, 8); }

void buf_consume(struct buf *b, size_t n)
{
	if (n > b->n)
		n = b->n;
	if (n > 0 && n < b->n)
		memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

void secret_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}
