/* SPDX-License-Identifier: ISC */
#include <stdalign.h>
#include <string.h>

#include "../../libbase/arena.h"
#include "tap.h"

int main(void)
{
	struct arena *a = arena_new(100000);
	char *p, *q;

	REQUIRE(a != NULL);
	p = arena_alloc(a, 3);
	q = arena_alloc(a, 5);
	CHECK(p != NULL && q != NULL && p != q);
	CHECK((uintptr_t)q % alignof(max_align_t) == 0);
	CHECK(arena_alloc(a, 0) != NULL);
	memset(p, 1, 3);
	CHECK(q[0] == 0 && q[4] == 0);
	CHECK(arena_alloc(a, SIZE_MAX) == NULL);
	CHECK(arena_array(a, SIZE_MAX / 2, 3) == NULL);
	CHECK(arena_alloc(a, 100001) == NULL);
	p = arena_alloc(a, 50000);	/* over one block */
	CHECK(p != NULL && p[0] == 0 && p[49999] == 0);
	CHECK(arena_alloc(a, 50001) == NULL);
	CHECK(arena_used(a) >= 50008 && arena_used(a) <= 100000);
	arena_reset(a);
	CHECK(arena_used(a) == 0);
	p = arena_alloc(a, 99984);
	CHECK(p != NULL && p[99983] == 0);
	arena_free(&a);
	CHECK(a == NULL);
	arena_free(&a);
	return tap_done();
}
