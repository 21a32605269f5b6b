/* SPDX-License-Identifier: ISC */
/* Sequence sets and mailbox patterns of imapd. */
#include "../../imapd/pattern.h"
#include "../../imapd/seqset.h"
#include "../../libbase/clock.h"
#include "tap.h"

static void test_parse(struct arena *a)
{
	static const struct {
		struct str in;
		bool ok;
		uint32_t last;
		struct str out;		/* resolved, as ranges */
	} t[] = {
		{ STR_INIT("1"), true, 9, STR_INIT("1-1;") },
		{ STR_INIT("2:4,7"), true, 9, STR_INIT("2-4;7-7;") },
		{ STR_INIT("4:2"), true, 9, STR_INIT("2-4;") },
		{ STR_INIT("7,1:3,2:5"), true, 9, STR_INIT("1-5;7-7;") },
		{ STR_INIT("1:2,3:4"), true, 9, STR_INIT("1-4;") },
		{ STR_INIT("*"), true, 9, STR_INIT("9-9;") },
		{ STR_INIT("*:3"), true, 9, STR_INIT("3-9;") },
		{ STR_INIT("20:*"), true, 9, STR_INIT("9-20;") },
		{ STR_INIT("1:*"), true, 0, STR_INIT("") },
		{ STR_INIT("*"), true, 0, STR_INIT("") },
		{ STR_INIT("4294967295"), true, 9, STR_INIT("4294967295-4294967295;") },
		{ STR_INIT("1:4294967295,5"), true, 9, STR_INIT("1-4294967295;") },
		{ STR_INIT("4294967295,4294967295:4294967294"), true, 9,
		  STR_INIT("4294967294-4294967295;") },
		{ STR_INIT("0"), false, 9, STR_INIT("") },
		{ STR_INIT("1:0"), false, 9, STR_INIT("") },
		{ STR_INIT("4294967296"), false, 9, STR_INIT("") },
		{ STR_INIT("4294967297"), false, 9, STR_INIT("") },
		{ STR_INIT("18446744073709551617"), false, 9, STR_INIT("") },
		{ STR_INIT("1,,2"), false, 9, STR_INIT("") },
		{ STR_INIT(",1"), false, 9, STR_INIT("") },
		{ STR_INIT("1,"), false, 9, STR_INIT("") },
		{ STR_INIT("1:"), false, 9, STR_INIT("") },
		{ STR_INIT(":1"), false, 9, STR_INIT("") },
		{ STR_INIT("-1"), false, 9, STR_INIT("") },
		{ STR_INIT("$"), false, 9, STR_INIT("") },
		{ STR_INIT(""), false, 9, STR_INIT("") },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct cursor c = cursor_of(t[i].in);
		struct buf got = BUF_INIT(1000);
		struct seqset s;
		bool ok = seqset_parse(&c, a, &s) && tok_end(&c);

		CHECK_AT(ok == t[i].ok, i);
		if (ok) {
			seqset_resolve(&s, t[i].last);
			for (size_t k = 0; k < s.n; k++)
				(void)buf_printf(&got, "%u-%u;", s.v[k].lo, s.v[k].hi);
			CHECK_AT(str_eq(buf_str(&got), t[i].out), i);
		}
		buf_free(&got);
	}
}

static void test_has_and_put(struct arena *a)
{
	static const uint32_t v[] = { 1, 2, 3, 5, 9, 10, 8 };
	struct cursor c = cursor_of(STR("2:4,7,10:*"));
	struct buf out = BUF_INIT(100);
	struct seqset s;

	REQUIRE(seqset_parse(&c, a, &s));
	seqset_resolve(&s, 12);
	CHECK(!seqset_has(&s, 1) && seqset_has(&s, 2) && seqset_has(&s, 4) && !seqset_has(&s, 5));
	CHECK(seqset_has(&s, 7) && !seqset_has(&s, 9) && seqset_has(&s, 12) && !seqset_has(&s, 13));
	seqset_put(&out, v, COUNTOF(v));
	CHECK(str_eq(buf_str(&out), STR("1:3,5,9:10,8")));
	buf_free(&out);
}

static void test_pattern(void)
{
	static const struct {
		struct str pattern, name;
		bool nocase, ok;
	} t[] = {
		{ STR_INIT("*"), STR_INIT("a/b"), false, true },
		{ STR_INIT("%"), STR_INIT("a/b"), false, false },
		{ STR_INIT("%"), STR_INIT("ab"), false, true },
		{ STR_INIT("%/%"), STR_INIT("a/b"), false, true },
		{ STR_INIT("%/%"), STR_INIT("a/b/c"), false, false },
		{ STR_INIT("a*c"), STR_INIT("abbc"), false, true },
		{ STR_INIT("a*c"), STR_INIT("abbcd"), false, false },
		{ STR_INIT("*%"), STR_INIT("a/b"), false, true },
		{ STR_INIT("%*"), STR_INIT("a/b"), false, true },
		{ STR_INIT("*/%"), STR_INIT("a/b/c"), false, true },
		{ STR_INIT("a%/c%d"), STR_INIT("aXX/cYYd"), false, true },
		{ STR_INIT("a%%%c"), STR_INIT("ac"), false, true },
		{ STR_INIT("inbox"), STR_INIT("INBOX"), true, true },
		{ STR_INIT("inbox"), STR_INIT("INBOX"), false, false },
		{ STR_INIT("InB%"), STR_INIT("INBOX"), true, true },
		{ STR_INIT(""), STR_INIT(""), false, true },
		{ STR_INIT(""), STR_INIT("a"), false, false },
		{ STR_INIT("a"), STR_INIT(""), false, false },
		{ STR_INIT("\xc3\xa4*"), STR_INIT("\xc3\xa4x"), false, true },
	};
	static struct pattern p;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		pattern_init(&p, t[i].pattern);
		CHECK_AT(pattern_match(&p, t[i].name, t[i].nocase) == t[i].ok, i);
	}
}

/* LIST *a*a*a…b against 10,000 names of as: a backtracking matcher does not end. */
static void test_no_blowup(void)
{
	static struct pattern p;
	struct buf evil = BUF_INIT(1 << 16), name = BUF_INIT(STORE_NAME_MAX_OCTETS);
	uint64_t start = clock_mono_ms();
	bool any = false;

	for (int i = 0; i < 250; i++)
		(void)buf_put(&evil, STR("*a"));
	(void)buf_putc(&evil, 'b');
	for (int i = 0; i < STORE_NAME_MAX_OCTETS; i++)
		(void)buf_putc(&name, 'a');
	pattern_init(&p, buf_str(&evil));
	for (int i = 0; i < 10000; i++)
		any |= pattern_match(&p, buf_str(&name), false);
	CHECK(!any);
	CHECK(clock_mono_ms() - start < 5000);
	for (int i = 0; i < 20000; i++)
		(void)buf_putc(&evil, 'x');
	pattern_init(&p, buf_str(&evil));
	CHECK(p.never && !pattern_match(&p, buf_str(&name), false));
	buf_free(&evil);
	buf_free(&name);
}

int main(void)
{
	struct arena *a = arena_new(1 << 20);

	test_parse(a);
	test_has_and_put(a);
	test_pattern();
	test_no_blowup();
	arena_free(&a);
	return tap_done();
}
