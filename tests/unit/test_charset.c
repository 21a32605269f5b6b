/* SPDX-License-Identifier: ISC */
/* Charsets, transfer encodings, encoded words, folding. */
#include <iconv.h>
#include <time.h>

#include "../../libmail/charset.h"
#include "../../libmail/mutf7.h"
#include "tap.h"

static void test_charset(void)
{
	static const struct { struct str name, in, out; enum charset_result r; } t[] = {
		{ STR_INIT(""), STR_INIT("abc"), STR_INIT("abc"), CHARSET_OK },
		{ STR_INIT(""), STR_INIT("\xc3\xa4 \xe4"), STR_INIT("\xc3\xa4 \xc3\xa4"), CHARSET_BAD_OCTETS },
		{ STR_INIT("UTF-8"), STR_INIT("\xc3\xa4"), STR_INIT("\xc3\xa4"), CHARSET_OK },
		{ STR_INIT("utf8"), STR_INIT("a\xffz\xc3"), STR_INIT("a\xef\xbf\xbdz\xef\xbf\xbd"),
		  CHARSET_BAD_OCTETS },
		{ STR_INIT("ISO-8859-1"), STR_INIT("gr\xfc\xdf"), STR_INIT("gr\xc3\xbc\xc3\x9f"), CHARSET_OK },
		{ STR_INIT("windows-1252"), STR_INIT("\x80"), STR_INIT("\xe2\x82\xac"), CHARSET_OK },
		{ STR_INIT("koi8-r"), STR_INIT("\xf2"), STR_INIT("\xd0\xa0"), CHARSET_OK },
		{ STR_INIT("iso-2022-jp"), STR_INIT("\x1b$B$\"\x1b(B"), STR_INIT("\xe3\x81\x82"), CHARSET_OK },
		{ STR_INIT("gb2312"), STR_INIT("\xc4\xe3"), STR_INIT("\xe4\xbd\xa0"), CHARSET_OK },
		{ STR_INIT("big5"), STR_INIT("\xa7\x41"), STR_INIT("\xe4\xbd\xa0"), CHARSET_OK },
		{ STR_INIT("shift_jis"), STR_INIT("\x82\xa0\x82"), STR_INIT("\xe3\x81\x82\xef\xbf\xbd"),
		  CHARSET_BAD_OCTETS },
		{ STR_INIT("no-such"), STR_INIT("a"), STR_INIT(""), CHARSET_UNKNOWN },
		{ STR_INIT("../../etc/x"), STR_INIT("a"), STR_INIT(""), CHARSET_UNKNOWN },
		{ STR_INIT("utf-8//IGNORE"), STR_INIT("a"), STR_INIT(""), CHARSET_UNKNOWN },
		{ STR_INIT("a\0b"), STR_INIT("a"), STR_INIT(""), CHARSET_UNKNOWN },
	};
	struct buf b = BUF_INIT(1000);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct charset_stream c;

		buf_reset(&b);
		CHECK_AT(charset_to_utf8(&b, t[i].name, t[i].in) == t[i].r &&
		    str_eq(buf_str(&b), t[i].out), i);
		CHECK_AT(utf8_valid(buf_str(&b)), i);
		CHECK_AT(charset_known(t[i].name) == (t[i].r != CHARSET_UNKNOWN), i);
		if (!charset_stream_init(&c, t[i].name))
			continue;
		buf_reset(&b);
		for (size_t k = 0; k < t[i].in.n; k++)
			charset_stream_feed(&c, &b, str_n(t[i].in.p + k, 1), false);
		charset_stream_feed(&c, &b, str_n(NULL, 0), true);
		CHECK_AT(str_eq(buf_str(&b), t[i].out), i);
	}
	buf_free(&b);
}

static const char *const eight_bit[] = {
	"iso-8859-2", "iso-8859-3", "iso-8859-4", "iso-8859-5", "iso-8859-6", "iso-8859-7",
	"iso-8859-8", "iso-8859-9", "iso-8859-10", "iso-8859-11", "iso-8859-13", "iso-8859-14",
	"iso-8859-15", "iso-8859-16", "windows-1250", "windows-1251", "windows-1253",
	"windows-1254", "windows-1255", "windows-1256", "windows-1257", "windows-1258", "koi8-r",
	"koi8-u", "cp874", "macintosh", "ibm437", "ibm850", "ibm852", "ibm866",
};

/* What iconv makes of it, U+FFFD for what it refuses. */
static void reference(struct buf *out, iconv_t cd, struct str in, bool *bad)
{
	char *from = (char *)(uintptr_t)in.p, text[8], *to = text;
	size_t left = in.n, room = sizeof text;

	*bad = false;
	iconv(cd, NULL, NULL, NULL, NULL);
	while (left > 0) {
		if (iconv(cd, &from, &left, &to, &room) == (size_t)-1 && room == sizeof text) {
			*bad = true;
			utf8_put(out, 0xfffd);
			from++;
			left--;
		}
		buf_put(out, str_n(text, sizeof text - room));
		to = text;
		room = sizeof text;
	}
	iconv(cd, NULL, NULL, &to, &room);
	buf_put(out, str_n(text, sizeof text - room));
}

static bool same_as_iconv(iconv_t cd, const char *name, struct str in)
{
	struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
	enum charset_result r = charset_to_utf8(&a, str_of(name), in);
	bool bad, same;

	reference(&b, cd, in, &bad);
	same = r == (bad ? CHARSET_BAD_OCTETS : CHARSET_OK) && str_eq(buf_str(&a), buf_str(&b));
	buf_free(&a);
	buf_free(&b);
	return same;
}

/* Each octet alone, then each after each. */
static void test_octets(void)
{
	struct buf pairs = BUF_INIT(1 << 20);

	for (unsigned i = 0; i < 1u << 16; i++) {
		buf_putc(&pairs, (char)(i >> 8));
		buf_putc(&pairs, (char)i);
	}
	for (size_t i = 0; i < COUNTOF(eight_bit); i++) {
		iconv_t cd = iconv_open("UTF-8", eight_bit[i]);
		unsigned n_wrong = 0;

		REQUIRE(cd != (iconv_t)-1);
		for (unsigned k = 0; k < 256; k++)
			n_wrong += !same_as_iconv(cd, eight_bit[i], str_n(&(char){ (char)k }, 1));
		CHECK_AT(n_wrong == 0, i);
		CHECK_AT(same_as_iconv(cd, eight_bit[i], buf_str(&pairs)), i);
		iconv_close(cd);
	}
	buf_free(&pairs);
}

static void test_unwarmed(void)
{
	struct buf b = BUF_INIT(100);

	CHECK(charset_to_utf8(&b, STR("koi8-r"), STR("\xf2")) == CHARSET_OK &&
	    str_eq(buf_str(&b), STR("\xd0\xa0")));
	buf_reset(&b);
	CHECK(charset_to_utf8(&b, STR("gb2312"), STR("\xc4\xe3")) == CHARSET_OK &&
	    str_eq(buf_str(&b), STR("\xe4\xbd\xa0")));
	CHECK(!charset_known(STR("no-such")));
	buf_free(&b);
}

/* Every fork copies the mappings: what a table stands for must not stay. */
static void test_unmapped(void)
{
	static const char *const modules[] = {
		"/ISO8859-", "/ISO-8859-", "/KOI", "/IBM", "/MACINTOSH", "/TIS-620", "/CP874",
		"/CP1250", "/CP1251", "/CP1253", "/CP1254", "/CP1256", "/CP1257",
	};
	char line[1000];
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n_left = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (strstr(line, "/gconv/") == NULL)
			continue;
		for (size_t i = 0; i < COUNTOF(modules); i++)
			n_left += strstr(line, modules[i]) != NULL;
	}
	CHECK(n_left == 0);
	if (f != NULL)
		fclose(f);
}

/* Two streams of one charset at once, as it has a table. */
static void test_two_streams(void)
{
	struct charset_stream c, d;
	struct buf a = BUF_INIT(100), b = BUF_INIT(100);

	REQUIRE(charset_stream_init(&c, STR("koi8-r")));
	CHECK(charset_stream_feed(&c, &a, STR("x\xf2"), false));
	REQUIRE(charset_stream_init(&d, STR("KOI8-R")));
	CHECK(charset_stream_feed(&d, &b, STR("\xf2y"), true));
	CHECK(charset_stream_feed(&c, &a, STR("z"), true));
	CHECK(str_eq(buf_str(&a), STR("x\xd0\xa0z")) && str_eq(buf_str(&b), STR("\xd0\xa0y")));
	buf_free(&a);
	buf_free(&b);
}

static void test_transfer(void)
{
	static const struct { struct str in, out; } b64[] = {
		{ STR_INIT(""), STR_INIT("") }, { STR_INIT("YQ=="), STR_INIT("a") },
		{ STR_INIT("YW\r\nJj"), STR_INIT("abc") }, { STR_INIT("Y!W#J$j"), STR_INIT("abc") },
		{ STR_INIT("YQ==YQ=="), STR_INIT("aa") }, { STR_INIT("YWI"), STR_INIT("ab") },
	}, qp[] = {
		{ STR_INIT("a=3Db"), STR_INIT("a=b") }, { STR_INIT("a=\r\nb"), STR_INIT("ab") },
		{ STR_INIT("a=\nb"), STR_INIT("ab") }, { STR_INIT("a=zzb"), STR_INIT("a=zzb") },
		{ STR_INIT("a=4"), STR_INIT("a=4") }, { STR_INIT("a="), STR_INIT("a=") },
		{ STR_INIT("=e4=E4"), STR_INIT("\xe4\xe4") }, { STR_INIT("==41"), STR_INIT("=A") },
		{ STR_INIT("=4=41"), STR_INIT("=4A") }, { STR_INIT("=\rx"), STR_INIT("=\rx") },
	};
	struct buf b = BUF_INIT(1000);

	for (size_t i = 0; i < COUNTOF(b64); i++) {
		struct base64_dec d = { .bits = 0 };

		buf_reset(&b);
		for (size_t k = 0; k < b64[i].in.n; k++)
			base64_feed(&d, &b, str_n(b64[i].in.p + k, 1));
		CHECK_AT(str_eq(buf_str(&b), b64[i].out), i);
	}
	for (size_t i = 0; i < COUNTOF(qp); i++) {
		for (size_t chunk = 1; chunk < 20; chunk++) {
			struct qp_dec d = { .n_held = 0 };

			buf_reset(&b);
			for (size_t k = 0; k < qp[i].in.n; k += chunk)
				qp_feed(&d, &b, str_head(str_skip(qp[i].in, k), chunk));
			qp_end(&d, &b);
			CHECK_AT(str_eq(buf_str(&b), qp[i].out), i);
		}
	}
	buf_reset(&b);
	CHECK(qp_feed(&(struct qp_dec){ .n_held = 0 }, &b, STR("a  \t\r\n b \n")) &&
	    str_eq(buf_str(&b), STR("a\r\n b\n")));
	buf_reset(&b);
	CHECK(base64_encode_to(&b, STR("abcd")) && str_eq(buf_str(&b), STR("YWJjZA==")));
	buf_reset(&b);
	CHECK(base64_decode_strict(&b, STR("YWJjZA==")) && str_eq(buf_str(&b), STR("abcd")));
	buf_reset(&b);
	CHECK(!base64_decode_strict(&b, STR("YWJjZB==")) && b.n == 0);
	CHECK(!base64_decode_strict(&b, STR("YWJjZA=")) && !base64_decode_strict(&b, STR("YW Jj")));
	CHECK(!base64_decode_strict(&b, STR("====")) && !base64_decode_strict(&b, STR("YQ==YQ==")));
	CHECK(base64_decode_strict(&b, STR("")));
	buf_free(&b);
}

static void test_words(void)
{
	static const struct { struct str in, out; } t[] = {
		{ STR_INIT("plain"), STR_INIT("plain") },
		{ STR_INIT("=?utf-8?Q?=C3=A4_b?="), STR_INIT("\xc3\xa4 b") },
		{ STR_INIT("=?iso-8859-1?q?=E4?= x"), STR_INIT("\xc3\xa4 x") },
		{ STR_INIT("a =?utf-8?B?YQ==?= =?utf-8?B?Yg==?= c"), STR_INIT("a ab c") },
		{ STR_INIT("=?utf-8?B?YQ==?=\r\n =?iso-8859-1?Q?b?="), STR_INIT("ab") },
		{ STR_INIT("=?utf-8?Q?=C3?= =?utf-8?Q?=A4?="), STR_INIT("\xc3\xa4") },
		{ STR_INIT("=?utf-8*en?Q?a?="), STR_INIT("a") },
		{ STR_INIT("=?x-none?Q?a?= b"), STR_INIT("=?x-none?Q?a?= b") },
		{ STR_INIT("=?utf-8?X?a?="), STR_INIT("=?utf-8?X?a?=") },
		{ STR_INIT("=?utf-8?Q?open"), STR_INIT("=?utf-8?Q?open") },
		{ STR_INIT("=?=?utf-8?Q?a?="), STR_INIT("=?a") },
		{ STR_INIT("=?utf-8?Q?a=0D=0ABcc:_x?="), STR_INIT("a  Bcc: x") },
		{ STR_INIT("a\r\n\tb\0c"), STR_INIT("a b c") },
		{ STR_INIT("gr\xfc\xdf"), STR_INIT("gr\xc3\xbc\xc3\x9f") },
		{ STR_INIT("=?utf-8?Q?" "?="), STR_INIT("") },
		{ STR_INIT("(=?utf-8?Q?a?=)"), STR_INIT("(a)") },
	};
	struct buf b = BUF_INIT(8 << 20), in = BUF_INIT(8 << 20);
	static const char *const chains[] = { "=?a?q?", "=?", "=?utf-8?q?a?= ", "=?a?q?=?b?q?x?=" };

	for (size_t i = 0; i < COUNTOF(t); i++) {
		buf_reset(&b);
		CHECK_AT(header_decode(&b, t[i].in) && str_eq(buf_str(&b), t[i].out), i);
		if (!str_eq(buf_str(&b), t[i].out))
			printf("# got %.*s\n", STR_FMT(buf_str(&b)));
	}
	for (size_t i = 0; i < COUNTOF(chains); i++) {
		clock_t start = clock();

		buf_reset(&in);
		buf_reset(&b);
		while (in.n < 1000000)
			buf_put(&in, str_of(chains[i]));
		CHECK_AT(header_decode(&b, buf_str(&in)), i);
		CHECK_AT(clock() - start < CLOCKS_PER_SEC, i);
	}
	buf_free(&b);
	buf_free(&in);
}

static bool same_folded(struct str x, struct str y)
{
	struct buf a = BUF_INIT(1000), b = BUF_INIT(1000);
	bool same = text_fold(&a, x) && text_fold(&b, y) && str_eq(buf_str(&a), buf_str(&b));

	buf_free(&a);
	buf_free(&b);
	return same;
}

static void test_fold(void)
{
	CHECK(same_folded(STR("Hello"), STR("hELLO")));
	CHECK(same_folded(STR("gr\xc3\xbc\xc3\x9f"), STR("GR\xc3\x9c\xc3\x9f")));
	CHECK(same_folded(STR("\xc3\xa9"), STR("e\xcc\x81")));
	CHECK(same_folded(STR("\xd0\xb6"), STR("\xd0\x96")));
	CHECK(same_folded(STR("\xef\xac\x81"), STR("fi")));
	CHECK(same_folded(STR("\xef\xbc\xa1"), STR("a")));
	CHECK(!same_folded(STR("a"), STR("b")));
	CHECK(same_folded(STR("\xff"), STR("\xef\xbf\xbd")));
}

int main(void)
{
	test_unwarmed();
	charset_warm();
	charset_warm();
	test_unmapped();
	test_octets();
	test_two_streams();
	test_charset();
	test_transfer();
	test_words();
	test_fold();
	return tap_done();
}
