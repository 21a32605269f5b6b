/* SPDX-License-Identifier: ISC */
#include "../../pop3d/parse.h"
#include "tap.h"

static void test_split(void)
{
	static const struct {
		struct str line;
		bool ok;
		struct str verb, arg;
	} t[] = {
		{ STR_INIT("NOOP"), true, STR_INIT("NOOP"), { NULL, 0 } },
		{ STR_INIT("RETR 1"), true, STR_INIT("RETR"), STR_INIT("1") },
		{ STR_INIT("pass  a b "), true, STR_INIT("pass"), STR_INIT(" a b ") },
		{ STR_INIT("USER "), true, STR_INIT("USER"), STR_INIT("") },
		{ STR_INIT("USER j\xc3\xb6rg"), true, STR_INIT("USER"), STR_INIT("j\xc3\xb6rg") },
		{ STR_INIT(""), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT(" NOOP"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("NO\0OP"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("NOOP\0"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("USER a\rb"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("RETR\t1"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("R2 1"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("\xff\xfe"), false, { NULL, 0 }, { NULL, 0 } },
		{ STR_INIT("ABCDEFGHIJKLMNOP"), true, STR_INIT("ABCDEFGHIJKLMNOP"), { NULL, 0 } },
		{ STR_INIT("ABCDEFGHIJKLMNOPQ"), false, { NULL, 0 }, { NULL, 0 } },
	};
	struct pop3_line l;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok = pop3_line_split(t[i].line, &l);

		CHECK_AT(ok == t[i].ok, i);
		CHECK_AT(!ok || (str_eq(l.verb, t[i].verb) && str_eq(l.arg, t[i].arg)), i);
	}
}

static void test_number(void)
{
	static const struct { struct str s; bool ok; uint32_t n; } t[] = {
		{ STR_INIT("1"), true, 1 },
		{ STR_INIT(" 12 "), true, 12 },
		{ STR_INIT("007"), true, 7 },
		{ STR_INIT("4294967295"), true, UINT32_MAX },
		{ STR_INIT("0"), false, 0 },
		{ STR_INIT("4294967296"), false, 0 },
		{ STR_INIT("4294967297"), false, 0 },
		{ STR_INIT("18446744073709551617"), false, 0 },
		{ STR_INIT("-1"), false, 0 },
		{ STR_INIT("+1"), false, 0 },
		{ STR_INIT("1 2"), false, 0 },
		{ STR_INIT("1x"), false, 0 },
		{ STR_INIT(""), false, 0 },
		{ STR_INIT(" "), false, 0 },
	};
	uint32_t n;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok = pop3_number(t[i].s, &n);

		CHECK_AT(ok == t[i].ok && (!ok || n == t[i].n), i);
	}
}

static void test_two_numbers(void)
{
	static const struct { struct str s; bool ok; uint32_t a, b; } t[] = {
		{ STR_INIT("1 0"), true, 1, 0 },
		{ STR_INIT("3  10 "), true, 3, 10 },
		{ STR_INIT("1"), false, 0, 0 },
		{ STR_INIT("1 "), false, 0, 0 },
		{ STR_INIT("0 1"), false, 0, 0 },
		{ STR_INIT("1 -1"), false, 0, 0 },
		{ STR_INIT("1 2 3"), false, 0, 0 },
		{ STR_INIT("1 4294967296"), false, 0, 0 },
		{ STR_INIT(""), false, 0, 0 },
	};
	uint32_t a, b;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok = pop3_two_numbers(t[i].s, &a, &b);

		CHECK_AT(ok == t[i].ok && (!ok || (a == t[i].a && b == t[i].b)), i);
	}
}

static void test_lines(void)
{
	struct str text = STR("a\r\n\r\n.b\r\nend");

	CHECK(pop3_lines_length(text, 0) == 0);
	CHECK(pop3_lines_length(text, 1) == 3);
	CHECK(pop3_lines_length(text, 2) == 5);
	CHECK(pop3_lines_length(text, 3) == 9);
	CHECK(pop3_lines_length(text, 4) == text.n);
	CHECK(pop3_lines_length(text, UINT32_MAX) == text.n);
	CHECK(pop3_lines_length(STR(""), 5) == 0);
}

int main(void)
{
	test_split();
	test_number();
	test_two_numbers();
	test_lines();
	return tap_done();
}
