/* SPDX-License-Identifier: ISC */
/* Paths, parameters and command lines: what is read, what is refused. */
#include "../../libmail/path.h"
#include "tap.h"

static struct arena *arena;

static void test_path_good(void)
{
	static const struct {
		struct str in;
		unsigned flags;
		struct str local, domain, text, rest;
	} t[] = {
		{ STR_INIT("<>"), PATH_NULL_OK, STR_INIT(""), STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("<a@b.c> SIZE=5"), 0, STR_INIT("a"), STR_INIT("b.c"), STR_INIT("a@b.c"),
		  STR_INIT("SIZE=5") },
		{ STR_INIT("<a@b>  X"), 0, STR_INIT("a"), STR_INIT("b"), STR_INIT("a@b"), STR_INIT("X") },
		{ STR_INIT("<@x.y,@z:a@b>"), 0, STR_INIT("a"), STR_INIT("b"), STR_INIT("a@b"), STR_INIT("") },
		{ STR_INIT("<\"a b\"@c>"), 0, STR_INIT("a b"), STR_INIT("c"), STR_INIT("\"a b\"@c"),
		  STR_INIT("") },
		{ STR_INIT("<\"a\\\"b\\\\\"@c>"), 0, STR_INIT("a\"b\\"), STR_INIT("c"),
		  STR_INIT("\"a\\\"b\\\\\"@c"), STR_INIT("") },
		{ STR_INIT("<\"ab\"@c>"), 0, STR_INIT("ab"), STR_INIT("c"), STR_INIT("ab@c"), STR_INIT("") },
		{ STR_INIT("<\"a>b\"@c>"), 0, STR_INIT("a>b"), STR_INIT("c"), STR_INIT("\"a>b\"@c"),
		  STR_INIT("") },
		{ STR_INIT("<a@[127.0.0.1]>"), 0, STR_INIT("a"), STR_INIT("[127.0.0.1]"),
		  STR_INIT("a@[127.0.0.1]"), STR_INIT("") },
		{ STR_INIT("<a@[IPv6:::1]>"), 0, STR_INIT("a"), STR_INIT("[IPv6:::1]"),
		  STR_INIT("a@[IPv6:::1]"), STR_INIT("") },
		{ STR_INIT("<Postmaster>"), PATH_POSTMASTER_OK, STR_INIT("Postmaster"), STR_INIT(""),
		  STR_INIT("Postmaster"), STR_INIT("") },
		{ STR_INIT("<user+folder>"), PATH_NO_DOMAIN_OK, STR_INIT("user+folder"), STR_INIT(""),
		  STR_INIT("user+folder"), STR_INIT("") },
		{ STR_INIT("a@b X=1"), PATH_BARE_OK, STR_INIT("a"), STR_INIT("b"), STR_INIT("a@b"),
		  STR_INIT("X=1") },
		{ STR_INIT("<a@b.>"), 0, STR_INIT("a"), STR_INIT("b"), STR_INIT("a@b"), STR_INIT("") },
		{ STR_INIT("<j\xc3\xb6@\xc3\xa4.de>"), PATH_UTF8_OK, STR_INIT("j\xc3\xb6"),
		  STR_INIT("\xc3\xa4.de"), STR_INIT("j\xc3\xb6@\xc3\xa4.de"), STR_INIT("") },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct mail_path p;
		struct str rest;
		struct err e;

		CHECK_AT(path_parse(arena, t[i].in, t[i].flags, &p, &rest, &e) == ERR_OK &&
		    str_eq(p.local, t[i].local) && str_eq(p.domain, t[i].domain) &&
		    str_eq(p.text, t[i].text) && str_eq(rest, t[i].rest), i);
	}
}

static void test_path_bad(void)
{
	static const struct str t[] = {
		STR_INIT(""), STR_INIT("<"), STR_INIT("<>"), STR_INIT("<a>"), STR_INIT("<a@>"),
		STR_INIT("<@b>"), STR_INIT("a@b"), STR_INIT("<a@b"), STR_INIT("<a@b>x"), STR_INIT("< a@b>"),
		STR_INIT("<a@b >"), STR_INIT("<a@b@c>"), STR_INIT("<a b@c>"), STR_INIT("<\"\"@d>"),
		STR_INIT("<\"\\"), STR_INIT("<\"\\>"), STR_INIT("<\"a@b>"), STR_INIT("<a..b@c>"),
		STR_INIT("<.a@b>"), STR_INIT("<a.@b>"), STR_INIT("<a@b..c>"), STR_INIT("<a@-b>"),
		STR_INIT("<a@[1.2.3]>"), STR_INIT("<a@[1.2.3.4>"), STR_INIT("<a@[]>"),
		STR_INIT("<a@[IPv6:1]>"), STR_INIT("<a@[x:1]>"), STR_INIT("<a\0@b>"), STR_INIT("<a@b\0>"),
		STR_INIT("<a\r\n@b>"), STR_INIT("<\xff@b>"), STR_INIT("<a@\xff>"), STR_INIT("<@a>"),
		STR_INIT("<@a:>"), STR_INIT("<@a,b:c@d>"), STR_INIT("<@:c@d>"), STR_INIT("<a%b>"),
		STR_INIT("<\"a\x7f\"@b>"), STR_INIT("<\"a\"b@c>"), STR_INIT("<a\\b@c>"), STR_INIT("<<a@b>>"),
		STR_INIT("<a@b>\tX"), STR_INIT("<a@b,c@d>"), STR_INIT("<a@.b>"), STR_INIT("<.@b>"),
	};
	struct mail_path p;
	struct str rest;

	for (size_t i = 0; i < COUNTOF(t); i++)
		CHECK_AT(path_parse(arena, t[i], PATH_POSTMASTER_OK, &p, &rest, NULL) == ERR_SYNTAX, i);
	CHECK(path_parse(arena, STR("<\xc3@b>"), PATH_UTF8_OK, &p, &rest, NULL) == ERR_SYNTAX);
	CHECK(path_parse_bare(arena, STR("a@b c"), 0, &p, NULL) == ERR_SYNTAX);
	CHECK(path_parse_bare(arena, STR("a@b"), 0, &p, NULL) == ERR_OK);
	CHECK(path_parse_bare(arena, STR("root"), PATH_NO_DOMAIN_OK, &p, NULL) == ERR_OK);
}

static enum err_kind parse_sized(size_t local_n, size_t domain_n)
{
	struct buf b = BUF_INIT(1000);
	struct mail_path p;
	struct str rest;
	enum err_kind kind;

	buf_putc(&b, '<');
	for (size_t i = 0; i < local_n; i++)
		buf_putc(&b, 'a');
	buf_putc(&b, '@');
	for (size_t i = 0; i < domain_n; i++)
		buf_putc(&b, i % 64 == 63 ? '.' : 'b');
	buf_putc(&b, '>');
	kind = path_parse(arena, buf_str(&b), 0, &p, &rest, NULL);
	buf_free(&b);
	return kind;
}

static void test_limits(void)
{
	CHECK(parse_sized(64, 20) == ERR_OK);
	CHECK(parse_sized(65, 20) == ERR_LIMIT);
	CHECK(parse_sized(1, 252) == ERR_OK);
	CHECK(parse_sized(1, 253) == ERR_LIMIT);
	CHECK(parse_sized(1, 300) == ERR_LIMIT);
	CHECK(parse_sized(64, 250) == ERR_LIMIT);
}

static void test_params(void)
{
	struct esmtp_param v[ESMTP_PARAMS_MAX];
	const struct esmtp_param *p;
	size_t n;

	REQUIRE(esmtp_params_parse(STR("SIZE=100 BODY=8BITMIME SMTPUTF8"), v, &n, NULL) == ERR_OK);
	CHECK(n == 3);
	p = esmtp_param_find(v, n, STR("body"));
	CHECK(p != NULL && str_eq(p->value, STR("8BITMIME")));
	p = esmtp_param_find(v, n, STR("smtputf8"));
	CHECK(p != NULL && p->value.p == NULL);
	CHECK(esmtp_param_find(v, n, STR("AUTH")) == NULL);
	CHECK(esmtp_params_parse(STR(""), v, &n, NULL) == ERR_OK && n == 0);
	CHECK(esmtp_params_parse(STR("SIZE=1 size=2"), v, &n, NULL) == ERR_SYNTAX);
	CHECK(esmtp_params_parse(STR("SIZE="), v, &n, NULL) == ERR_SYNTAX);
	CHECK(esmtp_params_parse(STR("=1"), v, &n, NULL) == ERR_SYNTAX);
	CHECK(esmtp_params_parse(STR("A=b=c"), v, &n, NULL) == ERR_SYNTAX);
	CHECK(esmtp_params_parse(STR("A=b\0"), v, &n, NULL) == ERR_SYNTAX);
	CHECK(esmtp_params_parse(STR("-A"), v, &n, NULL) == ERR_SYNTAX);
}

static void test_xtext(void)
{
	struct buf b = BUF_INIT(100);
	struct str s;

	CHECK(xtext_decode(arena, STR("a+2Bb+3Dc"), &s, NULL) == ERR_OK && str_eq(s, STR("a+b=c")));
	CHECK(xtext_decode(arena, STR("a+0Ab"), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_decode(arena, STR("a+00"), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_decode(arena, STR("a+7F"), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_decode(arena, STR("a+2"), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_decode(arena, STR("a+2b"), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_decode(arena, STR("a="), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_decode(arena, STR("a b"), &s, NULL) == ERR_SYNTAX);
	CHECK(xtext_encode(&b, STR("a+b=c d")) && str_eq(buf_str(&b), STR("a+2Bb+3Dc+20d")));
	buf_free(&b);
}

static void test_line(void)
{
	struct str verb, arg;

	CHECK(smtp_line_split(STR("MAIL FROM:<a@b>  "), &verb, &arg));
	CHECK(str_eq(verb, STR("MAIL")) && str_eq(arg, STR("FROM:<a@b>")));
	CHECK(path_take_keyword(&arg, STR("from:")) && str_eq(arg, STR("<a@b>")));
	CHECK(smtp_line_split(STR("QUIT"), &verb, &arg) && arg.n == 0);
	CHECK(!smtp_line_split(STR(""), &verb, &arg));
	CHECK(!smtp_line_split(STR(" QUIT"), &verb, &arg));
	CHECK(!smtp_line_split(STR("QU\0IT"), &verb, &arg));
	arg = STR("TO: <a@b>");
	CHECK(path_take_keyword(&arg, STR("TO:")) && str_eq(arg, STR("<a@b>")));
	arg = STR("TO :<a@b>");
	CHECK(!path_take_keyword(&arg, STR("TO:")));
}

static void test_domain(void)
{
	CHECK(domain_valid(STR("mail.example.org"), 0));
	CHECK(domain_valid(STR("localhost"), 0));
	CHECK(domain_valid(STR("a_b.c"), 0));
	CHECK(domain_valid(STR("[10.0.0.1]"), 0));
	CHECK(!domain_valid(STR("a b"), 0));
	CHECK(!domain_valid(STR(""), 0));
	CHECK(!domain_valid(STR("a."), 0));
	CHECK(!domain_valid(STR("[10.0.0.1\0]"), 0));
}

int main(void)
{
	arena = arena_new(1 << 20);
	test_path_good();
	test_path_bad();
	test_limits();
	test_params();
	test_xtext();
	test_line();
	test_domain();
	arena_free(&arena);
	return tap_done();
}
