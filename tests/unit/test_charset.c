/* SPDX-License-Identifier: ISC */
/* Charsets, transfer encodings, encoded words, folding. */
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
	charset_warm();
	charset_warm();
	test_charset();
	test_transfer();
	test_words();
	test_fold();
	return tap_done();
}
