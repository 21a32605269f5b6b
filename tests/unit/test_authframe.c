/* SPDX-License-Identifier: ISC */
#include "../../libserve/authframe.h"
#include "tap.h"

static void test_round_trip(void)
{
	struct authframe f = { .type = 'L', .id = 0xfedcba98, .n = 3,
		.field = { STR_INIT("imap"), STR_INIT(""), STR_INIT("a\0b") } }, g;
	struct buf b = BUF_INIT(AUTHFRAME_MAX_OCTETS);

	CHECK(authframe_put(&b, &f));
	CHECK(b.n == AUTHFRAME_HEAD_OCTETS + 6 + 4 + 0 + 3);
	CHECK(authframe_parse(buf_str(&b), &g, NULL) == ERR_OK);
	CHECK(g.type == 'L' && g.id == 0xfedcba98 && g.n == 3);
	for (size_t i = 0; i < 3; i++)
		CHECK_AT(str_eq(f.field[i], g.field[i]), i);
	/* Cut anywhere, it is no frame. */
	for (size_t n = 0; n < b.n; n++)
		CHECK_AT(authframe_parse(str_n(b.p, n), &g, NULL) == ERR_SYNTAX, n);
	buf_free(&b);
}

static void test_bad(void)
{
	static const struct { struct str packet; bool ok; } t[] = {
		{ STR_INIT("\1L\0\0abcd"), true },
		{ STR_INIT("\1L\2\0abcd\0\0"), true },
		{ STR_INIT("\2L\0\0abcd"), false },			/* version */
		{ STR_INIT("\1L\1\0abcd\0"), false },			/* half a field length */
		{ STR_INIT("\1L\2\0abcd\0"), false },			/* shorter than it says */
		{ STR_INIT("\1L\0\0abcdx"), false },			/* longer than it says */
		{ STR_INIT("\1L\2\0abcd\1\0"), false },			/* field beyond the end */
		{ STR_INIT("\1L\2\0abcd\xff\xff"), false },
		{ STR_INIT("\1L\16\0abcd\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), true },	/* 7 fields */
		{ STR_INIT("\1L\20\0abcd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), false },
	};
	struct authframe f;

	for (size_t i = 0; i < COUNTOF(t); i++)
		CHECK_AT((authframe_parse(t[i].packet, &f, NULL) == ERR_OK) == t[i].ok, i);
}

static void test_too_long(void)
{
	char *p = calloc(1, 70000);
	struct authframe f = { .type = 'L', .n = 1 };
	struct buf b = BUF_INIT(100000);

	f.field[0] = str_n(p, AUTHFRAME_MAX_OCTETS - AUTHFRAME_HEAD_OCTETS - 2);
	CHECK(authframe_put(&b, &f) && b.n == AUTHFRAME_MAX_OCTETS);
	f.field[0].n++;
	CHECK(!authframe_put(&b, &f));
	f.field[0].n = 66000;
	CHECK(!authframe_put(&b, &f));
	buf_free(&b);
	free(p);
}

int main(void)
{
	test_round_trip();
	test_bad();
	test_too_long();
	return tap_done();
}
