/* SPDX-License-Identifier: ISC */
/* Address lists: the forms of RFC 5322, its obsolete ones, garbage, and sizes that cost others
 * minutes. */
#include <time.h>

#include "../../libbase/buf.h"
#include "../../libmail/addr.h"
#include "tap.h"

static struct arena *arena;

static void show_str(struct buf *b, struct str s)
{
	if (s.p == NULL)
		buf_putc(b, '~');
	else
		buf_put(b, s);
	buf_putc(b, '|');
}

/* One address as "name|adl|mailbox|host|", "~" for NIL; groups begin with "{" and end with "}". */
static void show(const struct addr_list *l, struct buf *b)
{
	buf_reset(b);
	for (size_t i = 0; i < l->n; i++) {
		const struct addr *a = &l->v[i];

		if (a->kind == ADDR_GROUP_END) {
			buf_putc(b, '}');
			continue;
		}
		if (a->kind == ADDR_GROUP_START)
			buf_putc(b, '{');
		show_str(b, a->name);
		show_str(b, a->adl);
		show_str(b, a->mailbox);
		show_str(b, a->host);
	}
}

static void test_forms(void)
{
	static const struct { struct str in, out; } t[] = {
		{ STR_INIT(""), STR_INIT("") },
		{ STR_INIT(" , ,"), STR_INIT("") },
		{ STR_INIT("a@b"), STR_INIT("~|~|a|b|") },
		{ STR_INIT("A B <a@b>"), STR_INIT("A B|~|a|b|") },
		{ STR_INIT("\"A, B\" <a@b>, c@d"), STR_INIT("A, B|~|a|b|~|~|c|d|") },
		{ STR_INIT("\"A \\\"x\\\" B\" <a@b>"), STR_INIT("A \"x\" B|~|a|b|") },
		{ STR_INIT("a@b (The Name)"), STR_INIT("The Name|~|a|b|") },
		{ STR_INIT("a (x(y)z) @ b . c (N)"), STR_INIT("N|~|a|b.c|") },
		{ STR_INIT("A\r\n B\t C <a@b>"), STR_INIT("A B C|~|a|b|") },
		{ STR_INIT("<@x,@y:a@b>"), STR_INIT("~|@x,@y|a|b|") },
		{ STR_INIT("N <@x:a@b>"), STR_INIT("N|@x|a|b|") },
		{ STR_INIT("g: a@b, C <c@d>; e@f"), STR_INIT("{~|~|g|~|~|~|a|b|C|~|c|d|}~|~|e|f|") },
		{ STR_INIT("undisclosed-recipients:;"), STR_INIT("{~|~|undisclosed-recipients|~|}") },
		{ STR_INIT("g: a@b"), STR_INIT("{~|~|g|~|~|~|a|b|}") },
		{ STR_INIT("\"john smith\"@x"), STR_INIT("~|~|john smith|x|") },
		{ STR_INIT("a@[IPv6:::1]"), STR_INIT("~|~|a|[IPv6:::1]|") },
		{ STR_INIT("a@b <a@b>"), STR_INIT("a@b|~|a|b|") },
		{ STR_INIT("just words"), STR_INIT("~|~|just words||") },
		{ STR_INIT("<>"), STR_INIT("~|~|||") },
		{ STR_INIT("<a@b"), STR_INIT("~|~|a|b|") },
		{ STR_INIT("a@b>, c@d"), STR_INIT("~|~|a|b>|~|~|c|d|") },
		{ STR_INIT("\"open <a@b>"), STR_INIT("~|~|open <a@b>||") },
		{ STR_INIT("x (open"), STR_INIT("~|~|x||") },
		{ STR_INIT("a@b (c\\"), STR_INIT("c\\|~|a|b|") },
		{ STR_INIT("a@b \"\\"), STR_INIT("~|~|a|b\\|") },
		{ STR_INIT(";;:"), STR_INIT("{~|~||~|}") },
		{ STR_INIT("=?utf-8?q?a_b?= <a@b>"), STR_INIT("=?utf-8?q?a_b?=|~|a|b|") },
		{ STR_INIT("a\0b@c"), STR_INIT("~|~|ab|c|") },
	};
	struct buf b = BUF_INIT(10000);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct addr_list l;

		addr_parse_list(arena, t[i].in, 100, &l);
		show(&l, &b);
		CHECK_AT(str_eq(buf_str(&b), t[i].out), i);
		if (!str_eq(buf_str(&b), t[i].out))
			printf("# got %.*s\n", STR_FMT(buf_str(&b)));
	}
	buf_free(&b);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_sizes(void)
{
	static const struct { const char *unit; size_t times, n; } t[] = {
		{ "name <user@example.org>, ", 50000, 50000 },
		{ "(", 90000, 0 }, { "((a)", 90000, 0 }, { "\"", 90001, 0 }, { "<", 90000, 90000 },
		{ "<@a,", 90000, 90000 }, { "[", 90000, 1 }, { "[,", 90000, 90000 }, { "a:", 90000, 90000 },
		{ "\\", 90000, 1 }, { "a@b (\\", 90000, 1 }, { ";", 90000, 0 }, { "<(", 90000, 1 },
		{ "<\"", 90000, 45000 }, { "@", 90000, 1 },
	};
	struct buf b = BUF_INIT(4 << 20);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct addr_list l;
		double start = seconds();

		buf_reset(&b);
		for (size_t k = 0; k < t[i].times; k++)
			buf_put(&b, str_of(t[i].unit));
		arena_reset(arena);
		addr_parse_list(arena, buf_str(&b), ADDR_LIST_MAX, &l);
		CHECK_AT(seconds() - start < 1.0, i);
		CHECK_AT(l.n <= ADDR_LIST_MAX + 1, i);
		if (t[i].n <= 1 || t[i].n == ADDR_LIST_MAX)
			CHECK_AT(l.n == t[i].n, i);
	}
	buf_free(&b);
}

static void test_limits(void)
{
	struct addr_list l;
	struct arena *small = arena_new(512);

	addr_parse_list(arena, STR("a@b, c@d, e@f"), 2, &l);
	CHECK(l.n == 2 && l.truncated);
	addr_parse_list(arena, STR("g: a@b, c@d, e@f"), 2, &l);
	CHECK(l.n == 3 && l.truncated && l.v[2].kind == ADDR_GROUP_END);
	addr_parse_list(small, STR("a@b, c@d, e@f, g@h, i@j, k@l, m@n, o@p"), 100, &l);
	CHECK(l.truncated && l.n <= 8);
	arena_free(&small);
}

int main(void)
{
	arena = arena_new(64 << 20);
	test_forms();
	test_sizes();
	test_limits();
	arena_free(&arena);
	return tap_done();
}
