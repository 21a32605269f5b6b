/* SPDX-License-Identifier: ISC */
/* FETCH items and SEARCH programs of imapd. */
#include "../../imapd/fetchatt.h"
#include "../../imapd/searchprog.h"
#include "tap.h"

static struct arena *a;

static void test_fetch(void)
{
	static const struct {
		struct str in;
		bool ok;
		struct str labels;	/* of the items, each followed by ';', with '!' where \Seen is set */
	} t[] = {
		{ STR_INIT("FLAGS"), true, STR_INIT("FLAGS;") },
		{ STR_INIT("(uid flags)"), true, STR_INIT("UID;FLAGS;") },
		{ STR_INIT("FAST"), true, STR_INIT("FLAGS;INTERNALDATE;RFC822.SIZE;") },
		{ STR_INIT("all"), true, STR_INIT("FLAGS;INTERNALDATE;RFC822.SIZE;ENVELOPE;") },
		{ STR_INIT("FULL"), true, STR_INIT("FLAGS;INTERNALDATE;RFC822.SIZE;ENVELOPE;BODY;") },
		{ STR_INIT("(BODY BODYSTRUCTURE)"), true, STR_INIT("BODY;BODYSTRUCTURE;") },
		{ STR_INIT("BODY[]"), true, STR_INIT("BODY[];!") },
		{ STR_INIT("body.peek[]<0.2048>"), true, STR_INIT("BODY[]<0>;") },
		{ STR_INIT("(BODY.PEEK[] BODY[])"), true, STR_INIT("BODY[];!") },
		{ STR_INIT("BODY.PEEK[HEADER.FIELDS (From \"To\" {2}\r\ncc)]"), true,
		  STR_INIT("BODY[HEADER.FIELDS (From To cc)];") },
		{ STR_INIT("BODY.PEEK[1.2.header.fields.not (X)]<5.1>"), true,
		  STR_INIT("BODY[1.2.HEADER.FIELDS.NOT (X)]<5>;") },
		{ STR_INIT("BODY.PEEK[1.2.MIME]"), true, STR_INIT("BODY[1.2.MIME];") },
		{ STR_INIT("BODY.PEEK[3]"), true, STR_INIT("BODY[3];") },
		{ STR_INIT("BODY.PEEK[TEXT]"), true, STR_INIT("BODY[TEXT];") },
		{ STR_INIT("(RFC822 RFC822.HEADER RFC822.TEXT)"), true,
		  STR_INIT("RFC822;!RFC822.HEADER;RFC822.TEXT;!") },
		{ STR_INIT("MODSEQ"), true, STR_INIT("MODSEQ;") },
		{ STR_INIT("(FULL)"), false, STR_INIT("") },
		{ STR_INIT("BODY[MIME]"), false, STR_INIT("") },
		{ STR_INIT("BODY[0]"), false, STR_INIT("") },
		{ STR_INIT("BODY[1.0]"), false, STR_INIT("") },
		{ STR_INIT("BODY[4294967296]"), false, STR_INIT("") },
		{ STR_INIT("BODY[1.]"), false, STR_INIT("") },
		{ STR_INIT("BODY[1..2]"), false, STR_INIT("") },
		{ STR_INIT("BODY[HEADER.FIELDS ()]"), false, STR_INIT("") },
		{ STR_INIT("BODY[HEADER.FIELDS]"), false, STR_INIT("") },
		{ STR_INIT("BODY[]<0.0>"), false, STR_INIT("") },
		{ STR_INIT("BODY[]<4294967296.1>"), false, STR_INIT("") },
		{ STR_INIT("BODY[]<1>"), false, STR_INIT("") },
		{ STR_INIT("BODY[]<-1.1>"), false, STR_INIT("") },
		{ STR_INIT("BODY["), false, STR_INIT("") },
		{ STR_INIT("BODY[]x"), false, STR_INIT("") },
		{ STR_INIT("(FLAGS"), false, STR_INIT("") },
		{ STR_INIT("(FLAGS  UID)"), false, STR_INIT("") },
		{ STR_INIT("()"), false, STR_INIT("") },
		{ STR_INIT("NONSENSE"), false, STR_INIT("") },
		{ STR_INIT(""), false, STR_INIT("") },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct cursor c = cursor_of(t[i].in);
		struct buf got = BUF_INIT(1000);
		struct fetch_atts f;
		bool ok = fetchatt_parse(&c, a, &f) && tok_end(&c);

		CHECK_AT(ok == t[i].ok, i);
		for (size_t k = 0; ok && k < f.n; k++) {
			(void)buf_put(&got, f.v[k].label);
			(void)buf_put(&got, f.v[k].kind == FETCH_SECTION && !f.v[k].peek ?
			    STR(";!") : STR(";"));
		}
		CHECK_AT(!ok || str_eq(buf_str(&got), t[i].labels), i);
		buf_free(&got);
	}
}

/* 500 times the same body is one item; 200 different ones are too many; 3,000 levels are no part. */
static void test_fetch_bounds(void)
{
	struct buf in = BUF_INIT(1 << 20);
	struct fetch_atts f;
	struct cursor c;

	(void)buf_put(&in, STR("(BODY[]"));
	for (int i = 0; i < 500; i++)
		(void)buf_put(&in, STR(" BODY[]"));
	(void)buf_putc(&in, ')');
	c = cursor_of(buf_str(&in));
	CHECK(fetchatt_parse(&c, a, &f) && f.n == 1 && !f.over);

	buf_reset(&in);
	(void)buf_put(&in, STR("(BODY[]"));
	for (int i = 1; i < 200; i++)
		(void)buf_printf(&in, " BODY[%d]", i);
	(void)buf_putc(&in, ')');
	c = cursor_of(buf_str(&in));
	CHECK(fetchatt_parse(&c, a, &f) && f.over && f.n == FETCH_ATTS_MAX);

	buf_reset(&in);
	(void)buf_put(&in, STR("BODY[1"));
	for (int i = 0; i < 3000; i++)
		(void)buf_put(&in, STR(".1"));
	(void)buf_putc(&in, ']');
	c = cursor_of(buf_str(&in));
	CHECK(fetchatt_parse(&c, a, &f) && f.n == 1 && f.v[0].section.too_deep);
	buf_free(&in);
}

static void test_filter(void)
{
	static const struct str header = STR_INIT(
	    "From: a\r\nto: b\r\n c\r\nX-Y: z\r\nno name here\r\nTO: d\r\n\r\n");
	struct str names[] = { STR_INIT("To"), STR_INIT("x-y") };
	struct fetch_section s = { .kind = SECTION_FIELDS, .fields = names, .n_fields = 2 };
	struct buf out = BUF_INIT(1000);

	fetchatt_filter(&out, header, &s);
	CHECK(str_eq(buf_str(&out), STR("to: b\r\n c\r\nX-Y: z\r\nTO: d\r\n")));
	buf_reset(&out);
	s.kind = SECTION_FIELDS_NOT;
	fetchatt_filter(&out, header, &s);
	CHECK(str_eq(buf_str(&out), STR("From: a\r\nno name here\r\n")));
	buf_free(&out);
}

/* The tree in one line, in the order in which it is evaluated. */
static void show(struct buf *out, const struct search_node *n)
{
	static const char *const names[] = {
		"true", "flag", "new", "kw", "seq", "uid", "larger", "smaller", "days", "modseq",
		"sent", "header", "body", "text", "and", "or"
	};

	(void)buf_printf(out, "%s%s", n->negate ? "!" : "", names[n->op]);
	if (n->op != SEARCH_AND && n->op != SEARCH_OR)
		return;
	(void)buf_putc(out, '(');
	for (const struct search_node *k = n->first; k != NULL; k = k->next) {
		show(out, k);
		if (k->next != NULL)
			(void)buf_putc(out, ' ');
	}
	(void)buf_putc(out, ')');
}

static void test_search(void)
{
	static const struct {
		struct str in;
		enum search_result r;
		struct str tree;
	} t[] = {
		{ STR_INIT("ALL"), SEARCH_PARSED, STR_INIT("and(true)") },
		{ STR_INIT("unseen 1:5 uid 7"), SEARCH_PARSED, STR_INIT("and(!flag seq uid)") },
		{ STR_INIT("TEXT x FROM y SENTON 1-Feb-1994 SEEN"), SEARCH_PARSED,
		  STR_INIT("and(flag sent header text)") },
		{ STR_INIT("NOT SEEN"), SEARCH_PARSED, STR_INIT("and(!flag)") },
		{ STR_INIT("NOT NOT SEEN"), SEARCH_PARSED, STR_INIT("and(flag)") },
		{ STR_INIT("NOT UNSEEN"), SEARCH_PARSED, STR_INIT("and(flag)") },
		{ STR_INIT("OR SEEN DRAFT"), SEARCH_PARSED, STR_INIT("and(or(flag flag))") },
		{ STR_INIT("OR OR SEEN DRAFT NEW"), SEARCH_PARSED, STR_INIT("and(or(or(flag flag) new))") },
		{ STR_INIT("OR BODY x NOT OR SEEN DRAFT OLD"), SEARCH_PARSED,
		  STR_INIT("and(!flag or(!or(flag flag) body))") },
		{ STR_INIT("NOT (SEEN DRAFT)"), SEARCH_PARSED, STR_INIT("and(!and(flag flag))") },
		{ STR_INIT("((SEEN))"), SEARCH_PARSED, STR_INIT("and(and(and(flag)))") },
		{ STR_INIT("CHARSET utf-8 SUBJECT {3}\r\na b"), SEARCH_PARSED, STR_INIT("and(header)") },
		{ STR_INIT("HEADER X-Y \"\""), SEARCH_PARSED, STR_INIT("and(header)") },
		{ STR_INIT("KEYWORD $x UNKEYWORD y"), SEARCH_PARSED, STR_INIT("and(kw !kw)") },
		{ STR_INIT("MODSEQ \"/flags/\\\\draft\" all 620162338"), SEARCH_PARSED,
		  STR_INIT("and(modseq)") },
		{ STR_INIT("MODSEQ 0 LARGER 5 SMALLER 4294967295"), SEARCH_PARSED,
		  STR_INIT("and(modseq larger smaller)") },
		{ STR_INIT("SINCE \"1-Feb-1994\" BEFORE 2-Feb-1994"), SEARCH_PARSED,
		  STR_INIT("and(days days)") },
		{ STR_INIT("CHARSET x-none ALL"), SEARCH_BADCHARSET, STR_INIT("") },
		{ STR_INIT(""), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("()"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("(SEEN"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("SEEN)"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("OR SEEN"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("(OR SEEN) DRAFT"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("NOT"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("NOT )"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("SEEN  DRAFT"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("SEEN "), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("LARGER 4294967296"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("ON 31-Nop-2020"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("UID 0"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("FROM"), SEARCH_SYNTAX, STR_INIT("") },
		{ STR_INIT("NONSENSE"), SEARCH_SYNTAX, STR_INIT("") },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct cursor c = cursor_of(t[i].in);
		struct buf got = BUF_INIT(1000);
		struct search s;
		enum search_result r = search_parse(&c, a, &s);

		CHECK_AT(r == t[i].r, i);
		if (r == SEARCH_PARSED)
			show(&got, s.root);
		CHECK_AT(str_eq(buf_str(&got), t[i].tree), i);
		search_free(&s);
		buf_free(&got);
	}
}

static enum search_result parse_repeated(const char *what, int n, const char *end)
{
	struct buf in = BUF_INIT(1 << 20);
	enum search_result r;
	struct search s;
	struct cursor c;

	for (int i = 0; i < n; i++)
		(void)buf_put(&in, str_of(what));
	(void)buf_put(&in, str_of(end));
	c = cursor_of(buf_str(&in));
	r = search_parse(&c, a, &s);
	search_free(&s);
	buf_free(&in);
	return r;
}

static void test_search_bounds(void)
{
	CHECK(parse_repeated("NOT ", 12000, "SEEN") == SEARCH_PARSED);
	CHECK(parse_repeated("(", 60000, "SEEN") == SEARCH_OVER);
	CHECK(parse_repeated("OR ", 12000, "SEEN") == SEARCH_OVER);
	CHECK(parse_repeated("OR SEEN ", SEARCH_DEPTH_MAX - 1, "SEEN") == SEARCH_PARSED);
	CHECK(parse_repeated("OR SEEN ", SEARCH_DEPTH_MAX, "SEEN") == SEARCH_OVER);
	CHECK(parse_repeated("BODY x ", SEARCH_NEEDLES_MAX + 1, "SEEN") == SEARCH_OVER);
	CHECK(parse_repeated("SEEN ", 10000, "SEEN") == SEARCH_PARSED);
}

int main(void)
{
	a = arena_new(64 << 20);
	test_fetch();
	test_fetch_bounds();
	test_filter();
	test_search();
	test_search_bounds();
	arena_free(&a);
	return tap_done();
}
