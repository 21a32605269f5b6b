/* SPDX-License-Identifier: ISC */
/* Sequence sets. Pure; O(n log n) in the number of ranges, whatever the numbers are. */
#include "seqset.h"

#include <stdlib.h>

enum { RANGES_MIN = 16 };

static bool seq_number(struct cursor *c, uint32_t *out)
{
	uint64_t n;

	if (tok_char(c, '*')) {
		*out = 0;
		return true;
	}
	if (!tok_number(c, UINT32_MAX, &n) || n == 0)
		return false;
	*out = (uint32_t)n;
	return true;
}

/* The arena does not give memory back, so doubling costs at most twice the final size. */
static bool grow(struct arena *a, struct seqset *set, size_t *cap)
{
	size_t want = *cap == 0 ? RANGES_MIN : *cap * 2;
	struct seq_range *v = arena_array(a, want, sizeof(*v));

	if (v == NULL)
		return false;
	if (set->n > 0)
		memcpy(v, set->v, set->n * sizeof(*v));
	set->v = v;
	*cap = want;
	return true;
}

bool seqset_parse(struct cursor *c, struct arena *a, struct seqset *out)
{
	size_t cap = 0;
	struct seq_range r;

	*out = (struct seqset){ NULL, 0 };
	do {
		if (!seq_number(c, &r.lo))
			return false;
		r.hi = r.lo;
		if (tok_char(c, ':') && !seq_number(c, &r.hi))
			return false;
		if (out->n == cap && !grow(a, out, &cap))
			return false;
		out->v[out->n++] = r;
	} while (tok_char(c, ','));
	return true;
}

static int by_lo(const void *a, const void *b)
{
	const struct seq_range *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void seqset_resolve(struct seqset *set, uint32_t last)
{
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++) {
		struct seq_range r = set->v[i];

		if (last == 0 && (r.lo == 0 || r.hi == 0))
			continue;
		r.lo = r.lo == 0 ? last : r.lo;
		r.hi = r.hi == 0 ? last : r.hi;
		if (r.lo > r.hi)
			r = (struct seq_range){ r.hi, r.lo };
		set->v[n++] = r;
	}
	set->n = n;
	if (n < 2)
		return;
	qsort(set->v, n, sizeof(set->v[0]), by_lo);
	n = 0;
	for (size_t i = 1; i < set->n; i++) {
		struct seq_range *into = &set->v[n], r = set->v[i];

		if ((uint64_t)r.lo > (uint64_t)into->hi + 1)
			set->v[++n] = r;
		else if (r.hi > into->hi)
			into->hi = r.hi;
	}
	set->n = n + 1;
}

bool seqset_has(const struct seqset *set, uint32_t n)
{
	size_t lo = 0, hi = set->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (n > set->v[mid].hi)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < set->n && n >= set->v[lo].lo;
}

void seqset_put(struct buf *out, const uint32_t *v, size_t n)
{
	size_t end;

	for (size_t i = 0; i < n; i = end) {
		for (end = i + 1; end < n && v[end] == v[end - 1] + 1; end++)
			;
		if (i > 0)
			(void)buf_putc(out, ',');
		(void)buf_put_u64(out, v[i]);
		if (end - i > 1) {
			(void)buf_putc(out, ':');
			(void)buf_put_u64(out, v[end - 1]);
		}
	}
}
