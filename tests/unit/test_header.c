/* SPDX-License-Identifier: ISC */
/* Fields, folds, ends of headers. */
#include "../../libmail/header.h"
#include "tap.h"

static struct arena *arena;

static void test_walk(void)
{
	struct str m = STR("A: 1\r\nB :2\r\n  3\r\njunk\r\nC:\nD: x\r\n\r\nE: body\r\n");
	static const struct { struct str name, value; } t[] = {
		{ STR_INIT("A"), STR_INIT("1") }, { STR_INIT("B"), STR_INIT("2\r\n  3") },
		{ STR_INIT(""), STR_INIT("junk") }, { STR_INIT("C"), STR_INIT("") },
		{ STR_INIT("D"), STR_INIT("x") },
	};
	struct header_iter it;
	struct header_field f;
	size_t n = 0, octets = 0;

	header_iter_init(&it, m);
	while (header_next(&it, &f)) {
		octets += f.raw.n;
		REQUIRE(n < COUNTOF(t));
		CHECK_AT(str_eq(f.name, t[n].name) && str_eq(f.value, t[n].value), n);
		n++;
	}
	CHECK(n == COUNTOF(t) && octets == it.at);
	CHECK(header_length(m) == it.at + 2);
	CHECK(!header_next(&it, &f));
	CHECK(header_find(m, STR("b"), &f) && str_eq(header_unfold(arena, f.value), STR("2  3")));
	CHECK(!header_find(m, STR("E"), &f));
}

static void test_ends(void)
{
	static const struct { struct str m; size_t n; } t[] = {
		{ STR_INIT(""), 0 }, { STR_INIT("\r\n"), 2 }, { STR_INIT("\n"), 1 },
		{ STR_INIT("\r\nbody"), 2 }, { STR_INIT("A: b"), 4 }, { STR_INIT("A: b\r\n"), 6 },
		{ STR_INIT("A: b\r\n\r\nx"), 8 }, { STR_INIT("A: b\n\nx"), 6 }, { STR_INIT("A: b\n\r\nx"), 7 },
		{ STR_INIT("A: b\r\n \r\nx"), 10 }, { STR_INIT("\r"), 1 }, { STR_INIT("A:\r\n\r"), 5 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++)
		CHECK_AT(header_length(t[i].m) == t[i].n, i);
}

static void test_unfold(void)
{
	CHECK(str_eq(header_unfold(arena, STR(" a ")), STR("a")));
	CHECK(str_eq(header_unfold(arena, STR("a\r\n\tb\n c\0")), STR("a\tb c")));
}

int main(void)
{
	arena = arena_new(1 << 20);
	test_walk();
	test_ends();
	test_unfold();
	arena_free(&arena);
	return tap_done();
}
