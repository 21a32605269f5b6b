/* SPDX-License-Identifier: ISC */
/* Text of parts, markup, and the matcher across chunks. */
#include <time.h>

#include "../../libmail/text.h"
#include "tap.h"

static void read_all(struct str body, enum mime_encoding enc, struct str charset, bool html,
    struct buf *out)
{
	struct text_reader t;

	buf_reset(out);
	text_reader_init(&t, body, enc, charset, html);
	while (text_read(&t, out))
		;
	text_reader_end(&t);
}

static void test_read(void)
{
	static const struct { struct str in; enum mime_encoding enc; struct str charset; bool html;
	    struct str out; } t[] = {
		{ STR_INIT("abc"), MIME_7BIT, STR_INIT(""), false, STR_INIT("abc") },
		{ STR_INIT("=E4"), MIME_QP, STR_INIT("iso-8859-1"), false, STR_INIT("\xc3\xa4") },
		{ STR_INIT("w6Q="), MIME_BASE64, STR_INIT("utf-8"), false, STR_INIT("\xc3\xa4") },
		{ STR_INIT("\xe4"), MIME_8BIT, STR_INIT("x-none"), false, STR_INIT("\xc3\xa4") },
		{ STR_INIT("<p>a<b>b</b>c</p><p>d"), MIME_7BIT, STR_INIT(""), true, STR_INIT("abc d") },
		{ STR_INIT("a&amp;b&lt;&auml;&#228;&#xe4;&nope;&"), MIME_7BIT, STR_INIT(""), true,
		  STR_INIT("a&b<\xc3\xa4\xc3\xa4\xc3\xa4&nope;&") },
		{ STR_INIT("x<style>p { a<b }</style>y<script>if (a<b) \"</x>\"</script>z"), MIME_7BIT,
		  STR_INIT(""), true, STR_INIT("xyz") },
		{ STR_INIT("a<!-- <b> -- > --->b<!DOCTYPE x>c"), MIME_7BIT, STR_INIT(""), true,
		  STR_INIT("abc") },
		{ STR_INIT("a <img alt=\">\" x='>'>b 1 < 2 <"), MIME_7BIT, STR_INIT(""), true,
		  STR_INIT("a b 1 < 2 <") },
		{ STR_INIT("&#0;&#xd800;&#99999999999;&ampampampampamp;"), MIME_7BIT, STR_INIT(""), true,
		  STR_INIT("&#0;&#xd800;&#99999999999;&ampampampampamp;") },
	};
	struct buf b = BUF_INIT(1 << 20);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		read_all(t[i].in, t[i].enc, t[i].charset, t[i].html, &b);
		CHECK_AT(str_eq(buf_str(&b), t[i].out), i);
		if (!str_eq(buf_str(&b), t[i].out))
			printf("# got %.*s\n", STR_FMT(buf_str(&b)));
	}
	buf_free(&b);
}

/* Text whose characters, escapes and tags lie across every chunk edge somewhere. */
static void test_chunks(void)
{
	struct buf in = BUF_INIT(1 << 22), want = BUF_INIT(1 << 22), got = BUF_INIT(1 << 22);

	for (int i = 0; i < 40000; i++) {
		buf_put(&in, STR("=C3=A4<b>&auml;</b>x"));
		buf_put(&want, STR("\xc3\xa4\xc3\xa4x"));
	}
	read_all(buf_str(&in), MIME_QP, STR("utf-8"), true, &got);
	CHECK(str_eq(buf_str(&got), buf_str(&want)));
	buf_free(&in);
	buf_free(&want);
	buf_free(&got);
}

static void test_needle(void)
{
	struct needle n;
	struct buf big = BUF_INIT(8 << 20), pat = BUF_INIT(1 << 20);
	clock_t start = clock();

	REQUIRE(needle_init(&n, STR("Gr\xc3\xbc\xc3\x9f" "e")));
	CHECK(needle_in(&n, STR("viele GR\xc3\x9c\xc3\x9f" "E aus")));
	CHECK(!needle_in(&n, STR("viele Gr")));
	needle_restart(&n);
	CHECK(!needle_feed(&n, STR("xx Gr\xc3\xbc")));
	CHECK(needle_feed(&n, STR("\xc3\x9f" "e yy")));
	needle_restart(&n);
	CHECK(!needle_feed(&n, STR("\xc3\x9f" "e yy")));
	needle_free(&n);
	REQUIRE(needle_init(&n, STR("")));
	CHECK(needle_in(&n, STR("")));
	needle_free(&n);

	/* The quadratic needle: a^n b in a^m. */
	while (big.n < 4 << 20)
		buf_put(&big, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
	buf_put(&pat, str_head(buf_str(&big), 30000));
	buf_putc(&pat, 'b');
	buf_put(&pat, str_head(buf_str(&big), 30000));
	REQUIRE(needle_init(&n, buf_str(&pat)));
	CHECK(!needle_in(&n, buf_str(&big)));
	CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 3.0);
	buf_put(&big, buf_str(&pat));
	CHECK(needle_in(&n, buf_str(&big)));
	needle_free(&n);
	CHECK(!needle_init(&n, str_head(buf_str(&big), TEXT_NEEDLE_MAX_OCTETS + 1)));
	needle_free(&n);
	buf_free(&big);
	buf_free(&pat);
}

static uint64_t seed = 4242;

static unsigned below(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 20) % n);
}

/* The matcher says what folding all of the text and looking for the folded needle says, however the text comes in. */
static void test_matcher(void)
{
	static const char *const pieces[] = {
		"a", "B", "ab", "aab", " ", "[", "{", "@", "`", "e", "E", "i", "fi", "ss", "\r\n",
		"The quick brown fox jumps over the lazy dog. ",
		"no such thing in here at all, only a longer run of plain letters",
		"\xc3\xa9", "\xef\xac\x81", "\xc3\x9f", "\xce\xa3", "\xcf\x82", "\xc4\xb0",
		"\xff", "\xe6\xbc", "\xe6\xbc\xa2", "\xef\xb7\xba",
	};
	struct buf text = BUF_INIT(1 << 16), folded = BUF_INIT(1 << 20), what = BUF_INIT(1 << 12);
	unsigned wrong = 0, n_found = 0;

	for (int i = 0; i < 20000; i++) {
		struct needle n;
		struct str left;
		bool want, got = false;

		buf_reset(&text);
		buf_reset(&folded);
		buf_reset(&what);
		for (unsigned k = below(30); k > 0; k--)
			buf_put(&text, str_of(pieces[below(COUNTOF(pieces))]));
		if (below(2) == 0 && text.n > 0) {
			size_t at = below((unsigned)text.n);

			buf_put(&what, str_head(str_skip(buf_str(&text), at), 1 + below(90)));
		} else {
			for (unsigned k = below(4); k > 0; k--)
				buf_put(&what, str_of(pieces[below(COUNTOF(pieces))]));
		}
		if (!needle_init(&n, buf_str(&what)) || !text_fold(&folded, buf_str(&text)))
			CHECK(!"memory");
		want = n.folded.n == 0 || str_find_str(buf_str(&folded), buf_str(&n.folded)) < folded.n;
		left = buf_str(&text);
		needle_restart(&n);
		got = n.found;
		while (left.n > 0) {	/* cut between characters, or what is none */
			size_t take = 1 + below(80);

			take = take < left.n ? take : left.n;
			while (take < left.n && ((unsigned char)left.p[take] & 0xc0) == 0x80)
				take++;
			got = needle_feed(&n, str_head(left, take));
			left = str_skip(left, take);
		}
		wrong += got != want;
		n_found += want;
		needle_free(&n);
	}
	CHECK(wrong == 0);
	CHECK(n_found > 3000 && n_found < 17000);
	buf_free(&text);
	buf_free(&folded);
	buf_free(&what);
}

int main(void)
{
	test_read();
	test_chunks();
	test_needle();
	test_matcher();
	return tap_done();
}
