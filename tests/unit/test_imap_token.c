/* SPDX-License-Identifier: ISC */
/* Tokens, literals' announcements and flag lists of imapd. */
#include "../../imapd/flags.h"
#include "../../imapd/token.h"
#include "tap.h"

static struct arena *a;

static void test_astring(void)
{
	static const struct {
		struct str in;
		bool ok;
		struct str out;
		size_t left;
	} t[] = {
		{ STR_INIT("INBOX rest"), true, STR_INIT("INBOX"), 5 },
		{ STR_INIT("a]b"), true, STR_INIT("a]b"), 0 },
		{ STR_INIT("\"\""), true, STR_INIT(""), 0 },
		{ STR_INIT("\"a \\\"b\\\\\" x"), true, STR_INIT("a \"b\\"), 2 },
		{ STR_INIT("\"j\xc3\xb6rg\""), true, STR_INIT("j\xc3\xb6rg"), 0 },
		{ STR_INIT("{5}\r\na b\r\n"), true, STR_INIT("a b\r\n"), 0 },
		{ STR_INIT("{3+}\r\nabc x"), true, STR_INIT("abc"), 2 },
		{ STR_INIT("{0}\r\n"), true, STR_INIT(""), 0 },
		{ STR_INIT("{4}\r\nabc"), false, { NULL, 0 }, 0 },
		{ STR_INIT("{18446744073709551617}\r\nabc"), false, { NULL, 0 }, 0 },
		{ STR_INIT("{3}\nabc"), false, { NULL, 0 }, 0 },
		{ STR_INIT("{3}\r\na\0c"), false, { NULL, 0 }, 0 },
		{ STR_INIT("\"abc"), false, { NULL, 0 }, 0 },
		{ STR_INIT("\"a\\bc\""), false, { NULL, 0 }, 0 },
		{ STR_INIT("\"a\0c\""), false, { NULL, 0 }, 0 },
		{ STR_INIT("\"a\\"), false, { NULL, 0 }, 0 },
		{ STR_INIT("\0"), false, { NULL, 0 }, 0 },
		{ STR_INIT("(a)"), false, { NULL, 0 }, 0 },
		{ STR_INIT("*"), false, { NULL, 0 }, 0 },
		{ STR_INIT("\xc3\xb6"), false, { NULL, 0 }, 0 },
		{ STR_INIT(""), false, { NULL, 0 }, 0 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct cursor c = cursor_of(t[i].in);
		struct str out;
		bool ok = tok_astring(&c, a, &out);

		CHECK_AT(ok == t[i].ok, i);
		CHECK_AT(!ok || (str_eq(out, t[i].out) && (size_t)(c.end - c.p) == t[i].left), i);
	}
}

static void test_words(void)
{
	struct cursor c = cursor_of(STR("condStore) NIL NILS a*%]"));
	struct str out;

	CHECK(!tok_word(&c, "COND"));
	CHECK(tok_word(&c, "CONDSTORE") && tok_char(&c, ')') && tok_sp(&c));
	CHECK(tok_nstring(&c, a, &out) && out.p == NULL && tok_sp(&c));
	CHECK(!tok_nstring(&c, a, &out));
	c = cursor_of(STR("~{3}\r\na\0b~{9}\r\nab"));
	CHECK(tok_literal8(&c, &out) && str_eq(out, STR("a\0b")) && !tok_literal8(&c, &out));
	c = cursor_of(STR("{3}\r\na\0b"));
	CHECK(!tok_literal8(&c, &out) && !tok_string(&c, a, &out));
	c = cursor_of(STR("a*%]"));
	CHECK(tok_list_mailbox(&c, a, &out) && str_eq(out, STR("a*%]")));
	c = cursor_of(STR("A+1 x"));
	CHECK(!tok_tag(&c, &out) || !tok_sp(&c));
	c = cursor_of(STR("a]1 x"));
	CHECK(tok_tag(&c, &out) && str_eq(out, STR("a]1")));
}

static void test_literal_at_end(void)
{
	static const struct {
		struct str in;
		bool ok, nonsync;
		uint64_t n;
		size_t at;
	} t[] = {
		{ STR_INIT("a LOGIN {5}"), true, false, 5, 8 },
		{ STR_INIT("a LOGIN {5+}"), true, true, 5, 8 },
		{ STR_INIT("{0}"), true, false, 0, 0 },
		{ STR_INIT("x {2147483648}"), true, false, 2147483648, 2 },
		{ STR_INIT("x {18446744073709551615}"), true, false, UINT64_MAX, 2 },
		{ STR_INIT("x {18446744073709551617+}"), true, true, UINT64_MAX, 2 },
		{ STR_INIT("x {99999999999999999999999}"), true, false, UINT64_MAX, 2 },
		{ STR_INIT("x {5} "), false, false, 0, 0 },
		{ STR_INIT("x {-5}"), false, false, 0, 0 },
		{ STR_INIT("x {+}"), false, false, 0, 0 },
		{ STR_INIT("x {}"), false, false, 0, 0 },
		{ STR_INIT("x 5}"), false, false, 0, 0 },
		{ STR_INIT("5}"), false, false, 0, 0 },
		{ STR_INIT("}"), false, false, 0, 0 },
		{ STR_INIT(""), false, false, 0, 0 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct literal lit;
		size_t at;
		bool ok = tok_literal_at_end(t[i].in, &lit, &at);

		CHECK_AT(ok == t[i].ok, i);
		CHECK_AT(!ok || (lit.octets == t[i].n && lit.nonsync == t[i].nonsync && at == t[i].at), i);
	}
}

static void test_flags(void)
{
	static const struct {
		struct str in;
		bool bare, ok;
		uint32_t flags;
		size_t n_keywords;
	} t[] = {
		{ STR_INIT("(\\Seen \\dElEtEd)"), false, true, MSG_SEEN | MSG_DELETED, 0 },
		{ STR_INIT("()"), false, true, 0, 0 },
		{ STR_INIT("($Forwarded Old $FORWARDED)"), false, true, 0, 2 },
		{ STR_INIT("\\Seen $x"), true, true, MSG_SEEN, 1 },
		{ STR_INIT("\\Seen"), false, false, 0, 0 },
		{ STR_INIT("(\\Recent \\Seen)"), false, true, MSG_SEEN, 0 },
		{ STR_INIT("(\\Nonsense)"), false, false, 0, 0 },
		{ STR_INIT("(\\)"), false, false, 0, 0 },
		{ STR_INIT("(\\Seen"), false, false, 0, 0 },
		{ STR_INIT("(\\Seen  \\Draft)"), false, false, 0, 0 },
		{ STR_INIT("\\*"), true, false, 0, 0 },
		{ STR_INIT(""), true, false, 0, 0 },
	};
	struct flag_list f;
	struct buf many = BUF_INIT(1 << 20);
	struct cursor c;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok;

		c = cursor_of(t[i].in);
		ok = flags_parse(&c, a, t[i].bare, &f);
		CHECK_AT(ok == t[i].ok, i);
		CHECK_AT(!ok || (f.flags == t[i].flags && f.n_keywords == t[i].n_keywords && !f.over), i);
	}
	(void)buf_put(&many, STR("(k"));
	for (int i = 0; i < 3000; i++)
		(void)buf_printf(&many, " k%d", i);
	(void)buf_putc(&many, ')');
	c = cursor_of(buf_str(&many));
	CHECK(flags_parse(&c, a, false, &f) && f.over && f.n_keywords == STORE_KEYWORDS_MAX);
	buf_free(&many);
}

int main(void)
{
	a = arena_new(1 << 20);
	test_astring();
	test_words();
	test_literal_at_end();
	test_flags();
	arena_free(&a);
	return tap_done();
}
