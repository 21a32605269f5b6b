/* SPDX-License-Identifier: ISC */
/* Growing arrays: a pointer, a count and a room, which belong to whoever declares them. */
#ifndef VEC_H
#define VEC_H

#include <stdlib.h>
#include <string.h>

#include "base.h"

enum { VEC_FIRST_ITEMS = 64 };

/* Makes room for one item more in the malloc'ed array that the pointer at `at` (of any type; NULL when *cap is 0) points
 * to: n items are in it, *cap have room, each of so many octets. False without memory; all is as before then. */
static inline CHECKED bool vec_room(void *at, size_t n, size_t *cap, size_t item_octets)
{
	size_t more = *cap > 0 ? *cap * 2 : VEC_FIRST_ITEMS, octets;
	void *v;

	if (n < *cap)
		return true;
	if (__builtin_mul_overflow(more, item_octets, &octets))
		return false;
	memcpy(&v, at, sizeof v);
	v = realloc(v, octets);
	if (v == NULL)
		return false;
	memcpy(at, &v, sizeof v);
	*cap = more;
	return true;
}

#endif
