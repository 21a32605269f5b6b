/* SPDX-License-Identifier: ISC */
/* MIME trees: structure of ordinary and of broken messages, parameters, limits. */
#include <time.h>

#include "../../libbase/buf.h"
#include "../../libmail/mime.h"
#include "tap.h"

static struct arena *arena;

/* The tree as "type/subtype[body octets,lines](children…)". */
static void show(const struct mime_tree *t, int32_t ix, struct buf *b)
{
	const struct mime_part *p = &t->parts[ix];

	buf_put(b, p->subtype);
	buf_printf(b, "[%zu,%zu]", p->body_n, p->lines);
	if (p->cut)
		buf_putc(b, '!');
	if (p->first_child == MIME_NONE)
		return;
	buf_putc(b, '(');
	for (int32_t i = p->first_child; i != MIME_NONE; i = t->parts[i].next)
		show(t, i, b);
	buf_putc(b, ')');
}

#define MP(b) "Content-Type: multipart/mixed; boundary=" b "\r\n"
#define MSG "Content-Type: message/rfc822\r\n"

static void test_trees(void)
{
	static const struct { struct str in, out; } t[] = {
		{ STR_INIT(""), STR_INIT("plain[0,0]") },
		{ STR_INIT("no header"), STR_INIT("plain[0,0]") },
		{ STR_INIT("\r\nbody\r\n"), STR_INIT("plain[6,1]") },
		{ STR_INIT("A: b\r\n\r\nbody"), STR_INIT("plain[4,0]") },
		{ STR_INIT(MP("x") "\r\npre\r\n--x\r\n\r\na\r\n--x\r\nContent-Type: text/html\r\n\r\nb\r\n\r\n"
		  "--x--\r\nepi\r\n"), STR_INIT("mixed[64,11](plain[1,0]html[3,1])") },
		{ STR_INIT(MP("x") "\r\n--x\r\n\r\na\r\n--x\r\n\r\nb\r\n"),
		  STR_INIT("mixed[20,6](plain[1,0]plain[3,1])") },
		{ STR_INIT(MP("x") "\r\nnothing\r\n"), STR_INIT("mixed[9,1]!") },
		{ STR_INIT("Content-Type: multipart/mixed\r\n\r\n--x\r\n"), STR_INIT("mixed[5,1]!") },
		/* Boundaries that begin alike, the inner one never closed. */
		{ STR_INIT(MP("a") "\r\n--a\r\n" MP("ab") "\r\n--ab\r\n\r\n1\r\n--ab\r\n\r\n2\r\n--a\r\n\r\n3\r\n"
		  "--a--"), STR_INIT("mixed[88,12](mixed[20,5](plain[1,0]plain[1,0])plain[1,0])") },
		/* A delimiter ends a part whose header has no end. */
		{ STR_INIT(MP("x") "\r\n--x\r\nA: b\r\n--x\r\n--x--\r\n"),
		  STR_INIT("mixed[23,4](plain[0,0]plain[0,0])") },
		{ STR_INIT(MP("x") "\r\n--x\r\n" MSG "\r\n--x--\r\n"),
		  STR_INIT("mixed[44,4](rfc822[0,0](plain[0,0]))") },
		{ STR_INIT(MSG "\r\nA: b\r\n\r\nbody\r\n"), STR_INIT("rfc822[14,3](plain[6,1])") },
		{ STR_INIT(MSG), STR_INIT("rfc822[0,0](plain[0,0])") },
		{ STR_INIT("Content-Type: multipart/digest; boundary=x\r\n\r\n"
		  "--x\r\n\r\nA: b\r\n\r\nc\r\n--x--\r\n"),
		  STR_INIT("digest[25,6](rfc822[9,2](plain[1,0]))") },
		/* Bare line feeds, and blanks behind a boundary. */
		{ STR_INIT("Content-Type: multipart/mixed; boundary=x\n\n--x \t\n\na\n--x--\n"),
		  STR_INIT("mixed[15,4](plain[1,0])") },
		{ STR_INIT(MP("x") "\r\n--xy\r\n--x-\r\n--x y\r\n--x\r\n\r\na\r\n--x--\r\n--x\r\n\r\nb"),
		  STR_INIT("mixed[44,9](plain[1,0])") },
	};
	struct buf b = BUF_INIT(10000);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct mime_tree tree;

		REQUIRE(mime_parse(arena, t[i].in, &tree));
		buf_reset(&b);
		show(&tree, 0, &b);
		CHECK_AT(str_eq(buf_str(&b), t[i].out), i);
		if (!str_eq(buf_str(&b), t[i].out))
			printf("# got %.*s\n", STR_FMT(buf_str(&b)));
	}
	buf_free(&b);
}

static void test_params(void)
{
	static const struct { struct str in, value, name, utf8; } t[] = {
		{ STR_INIT("text/plain; charset=utf-8"), STR_INIT("text/plain"), STR_INIT("charset"),
		  STR_INIT("utf-8") },
		{ STR_INIT("text / plain ;\r\n CHARSET = \"a\\\"b\" (c)"), STR_INIT("text/plain"),
		  STR_INIT("charset"), STR_INIT("a\"b") },
		{ STR_INIT("attachment; filename*0=\"a b\"; filename*1=c; filename*2=\".txt\""),
		  STR_INIT("attachment"), STR_INIT("filename"), STR_INIT("a bc.txt") },
		{ STR_INIT("attachment; filename*1=b; filename*0=a; filename*3=d"), STR_INIT("attachment"),
		  STR_INIT("filename"), STR_INIT("ab") },
		{ STR_INIT("attachment; filename=x; filename*=iso-8859-1'de'gr%FC%DF"),
		  STR_INIT("attachment"), STR_INIT("filename"), STR_INIT("gr\xc3\xbc\xc3\x9f") },
		{ STR_INIT("attachment; filename*0*=utf-8''%c3%a4; filename*1=\"b c\"; filename*2*=%C3%A4"),
		  STR_INIT("attachment"), STR_INIT("filename"), STR_INIT("\xc3\xa4" "b c\xc3\xa4") },
		{ STR_INIT("attachment; filename=\"=?utf-8?Q?=C3=A4?=.txt\""), STR_INIT("attachment"),
		  STR_INIT("filename"), STR_INIT("\xc3\xa4.txt") },
		{ STR_INIT("attachment; filename=\"open"), STR_INIT("attachment"), STR_INIT("filename"),
		  STR_INIT("open") },
		{ STR_INIT("attachment;;; =x; ; filename=\"a;b\" junk; z"), STR_INIT("attachment"),
		  STR_INIT("filename"), STR_INIT("a;b") },
		{ STR_INIT("multipart/mixed boundary=x"), STR_INIT("multipart/mixed"), STR_INIT("boundary"),
		  STR_INIT("x") },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct mime_params p;
		const struct mime_param *f;
		struct str value;

		REQUIRE(mime_field_parse(arena, t[i].in, &value, &p));
		f = mime_param_find(&p, t[i].name);
		CHECK_AT(str_eq(value, t[i].value), i);
		CHECK_AT(f != NULL && str_eq(mime_param_utf8(arena, f), t[i].utf8), i);
	}
}

static void repeat(struct buf *b, const char *unit, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_put(b, str_of(unit));
}

static void test_limits(void)
{
	struct buf b = BUF_INIT(16 << 20);
	struct mime_tree t;
	clock_t start = clock();
	uint16_t depth = 0;

	buf_put(&b, STR(MP("x") "\r\n"));
	repeat(&b, "--x\r\n\r\na\r\n", 30000);
	arena_reset(arena);
	REQUIRE(mime_parse(arena, buf_str(&b), &t));
	CHECK(t.n == MIME_PARTS_MAX && t.truncated && t.parts[0].n_children == MIME_PARTS_MAX - 1);
	CHECK(t.parts[t.n - 1].body_at + t.parts[t.n - 1].body_n == b.n);

	buf_reset(&b);
	for (int i = 0; i < 2000; i++)
		buf_printf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i);
	arena_reset(arena);
	REQUIRE(mime_parse(arena, buf_str(&b), &t));
	for (size_t i = 0; i < t.n; i++)
		depth = t.parts[i].depth > depth ? t.parts[i].depth : depth;
	CHECK(t.truncated && t.n <= MIME_DEPTH_MAX && depth < MIME_DEPTH_MAX);

	buf_reset(&b);
	repeat(&b, MSG "\r\n", 1500);
	arena_reset(arena);
	REQUIRE(mime_parse(arena, buf_str(&b), &t));
	CHECK(t.truncated && t.n <= MIME_DEPTH_MAX);

	buf_reset(&b);
	buf_put(&b, STR("Content-Type: multipart/mixed; boundary="));
	repeat(&b, "0123456", 10000);
	buf_put(&b, STR("\r\n\r\n--"));
	repeat(&b, "0123456", 10000);
	arena_reset(arena);
	REQUIRE(mime_parse(arena, buf_str(&b), &t));
	CHECK(t.n == 1 && t.parts[0].cut);

	buf_reset(&b);
	buf_put(&b, STR("Content-Type: text/plain"));
	for (int i = 0; i < 50000; i++)
		buf_printf(&b, "; n*%d=\"v\"", 49999 - i);
	repeat(&b, "; n*0=a", 50000);
	buf_put(&b, STR("\r\n\r\n"));
	arena_reset(arena);
	REQUIRE(mime_parse(arena, buf_str(&b), &t));
	CHECK(t.parts[0].params.n <= MIME_PARAMS_MAX);

	/* A hundred open boundaries that all begin alike, against lines that begin like them. */
	buf_reset(&b);
	for (int i = 1; i < 99; i++)
		buf_printf(&b, "Content-Type: multipart/mixed; boundary=%0*d\r\n\r\n--%0*d\r\n", i, 0, i, 0);
	buf_put(&b, STR("\r\n"));
	for (int i = 0; i < 20000; i++)
		buf_printf(&b, "--%0*d\r\n", 150, 0);
	arena_reset(arena);
	REQUIRE(mime_parse(arena, buf_str(&b), &t));
	CHECK(t.n == 99);
	CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 3.0);
	buf_free(&b);
}

int main(void)
{
	arena = arena_new(64 << 20);
	test_trees();
	test_params();
	test_limits();
	arena_free(&arena);
	return tap_done();
}
