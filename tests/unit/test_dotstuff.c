/* SPDX-License-Identifier: ISC */
/* The DATA decoder over every chunking, the endings that smugglers use, and the way back. */
#include "../../libbase/buf.h"
#include "../../libmail/dotstuff.h"
#include "tap.h"

struct result {
	struct buf text;
	size_t taken;
	struct dot_dec d;
};

static void decode(struct str wire, size_t chunk, size_t line_max, struct result *r)
{
	struct str spans[DOT_SPANS_MAX];
	size_t n;

	buf_reset(&r->text);
	r->taken = 0;
	dot_dec_init(&r->d, line_max);
	while (r->taken < wire.n && !r->d.done) {
		r->taken += dot_dec_feed(&r->d, str_head(str_skip(wire, r->taken), chunk), spans, &n);
		for (size_t i = 0; i < n; i++)
			buf_put(&r->text, spans[i]);
	}
}

static void test_decode(void)
{
	static const struct {
		struct str wire, text;
		unsigned faults;
		uint64_t at;		/* of the first fault */
	} t[] = {
		{ STR_INIT(".\r\n"), STR_INIT(""), 0, 0 },
		{ STR_INIT("a\r\n.\r\n"), STR_INIT("a\r\n"), 0, 0 },
		{ STR_INIT("\r\n.\r\n"), STR_INIT("\r\n"), 0, 0 },
		{ STR_INIT("..\r\n.a\r\n...\r\n.\r\n"), STR_INIT(".\r\na\r\n..\r\n"), 0, 0 },
		{ STR_INIT("a\n.\nb\r\n.\r\n"), STR_INIT("a\n.\nb\r\n"), DOT_BARE_LF, 1 },
		{ STR_INIT("a\n.\r\nb\r\n.\r\n"), STR_INIT("a\n.\r\nb\r\n"), DOT_BARE_LF, 1 },
		{ STR_INIT("a\r\n.\nb\r\n.\r\n"), STR_INIT("a\r\n\nb\r\n"), DOT_BARE_LF, 4 },
		{ STR_INIT("a\r.\rb\r\n.\r\n"), STR_INIT("a\r.\rb\r\n"), DOT_BARE_CR, 1 },
		{ STR_INIT("a\r\n.\rb\r\n.\r\n"), STR_INIT("a\r\n\rb\r\n"), DOT_BARE_CR, 4 },
		{ STR_INIT("a\r\r\n.\r\r\nb\r\n.\r\n"), STR_INIT("a\r\r\n\r\r\nb\r\n"), DOT_BARE_CR, 1 },
		{ STR_INIT("a\r\n.\0\r\nb\r\n.\r\n"), STR_INIT("a\r\n\0\r\nb\r\n"), DOT_NUL, 4 },
		{ STR_INIT("a\r\n\0.\r\nb\r\n.\r\n"), STR_INIT("a\r\n\0.\r\nb\r\n"), DOT_NUL, 3 },
		{ STR_INIT("a\r\n.\xff\r\n.\r\n"), STR_INIT("a\r\n\xff\r\n"), 0, 0 },
		{ STR_INIT("a\r\n. \r\n.\r\n"), STR_INIT("a\r\n \r\n"), 0, 0 },
		{ STR_INIT("a\r\n\xc2\x85.\r\n.\r\n"), STR_INIT("a\r\n\xc2\x85.\r\n"), 0, 0 },
		{ STR_INIT("a\x0c.\x0c\r\n.\r\n"), STR_INIT("a\x0c.\x0c\r\n"), 0, 0 },
		{ STR_INIT("12345678\r\n.\r\n"), STR_INIT("12345678\r\n"), 0, 0 },
		{ STR_INIT("1\r\n123456789\r\n.\r\n"), STR_INIT("1\r\n123456789\r\n"), DOT_LONG_LINE, 11 },
		{ STR_INIT(".\r\r\n.\r\n"), STR_INIT("\r\r\n"), DOT_BARE_CR, 1 },
		{ STR_INIT("\n\0\r.\r\n.\r\n"), STR_INIT("\n\0\r.\r\n"),
		  DOT_BARE_LF | DOT_NUL | DOT_BARE_CR, 0 },
	};
	struct result r = { .text = BUF_INIT(1000) };

	for (size_t i = 0; i < COUNTOF(t); i++) {
		for (size_t chunk = 1; chunk <= t[i].wire.n; chunk++) {
			bool ok;

			decode(t[i].wire, chunk, 8, &r);
			ok = r.d.done && r.taken == t[i].wire.n &&
			    str_eq(buf_str(&r.text), t[i].text) && r.d.faults == t[i].faults &&
			    (t[i].faults == 0 || r.d.first_fault_at == t[i].at) &&
			    r.d.n_wire_octets == t[i].wire.n && r.d.n_text_octets == t[i].text.n;
			if (!ok || chunk == 1)
				CHECK_AT(ok, (long)(i * 100 + chunk));
		}
	}
	buf_free(&r.text);
}

static void test_end_is_strict(void)
{
	static const struct str t[] = {
		STR_INIT("a\n.\n"), STR_INIT("a\n.\r\n"), STR_INIT("a\r\n.\n"), STR_INIT("a\r.\r"),
		STR_INIT("a\r\n.\r"), STR_INIT("a\r\r\n.\r\r\n"), STR_INIT("a.\r\n"), STR_INIT("..\r\n"),
		STR_INIT("a\r\n.\0\r\n"), STR_INIT("a\r\n\0.\r\n"), STR_INIT("a\r\n. \r\n"),
		STR_INIT("a\r\n .\r\n"), STR_INIT("a\r\n.\r\0\n"), STR_INIT("a\r\0\n.\r\n"),
	};
	struct result r = { .text = BUF_INIT(1000) };

	for (size_t i = 0; i < COUNTOF(t); i++) {
		decode(t[i], 1, 0, &r);
		CHECK_AT(!r.d.done, i);
		decode(t[i], 100, 0, &r);
		CHECK_AT(!r.d.done, i);
	}
	decode(STR("a\r\n.\r\nRSET\r\n"), 100, 0, &r);
	CHECK(r.d.done && r.taken == 6);
	buf_free(&r.text);
}

static void encode(struct str text, size_t chunk, struct buf *out)
{
	struct str spans[DOT_SPANS_MAX];
	struct dot_enc e;
	size_t n;

	buf_reset(out);
	dot_enc_init(&e);
	for (size_t at = 0; at < text.n;) {
		at += dot_enc_feed(&e, str_head(str_skip(text, at), chunk), spans, &n);
		for (size_t i = 0; i < n; i++)
			buf_put(out, spans[i]);
	}
	buf_put(out, dot_enc_end(&e));
}

static void test_encode(void)
{
	static const struct { struct str text, wire; } t[] = {
		{ STR_INIT(""), STR_INIT(".\r\n") },
		{ STR_INIT("a\r\n"), STR_INIT("a\r\n.\r\n") },
		{ STR_INIT("a"), STR_INIT("a\r\n.\r\n") },
		{ STR_INIT("."), STR_INIT("..\r\n.\r\n") },
		{ STR_INIT("a\n"), STR_INIT("a\n\r\n.\r\n") },
		{ STR_INIT("a\n.\nb\r\n"), STR_INIT("a\n..\nb\r\n.\r\n") },
		{ STR_INIT(".\r\n..\r\n.a\r\n"), STR_INIT("..\r\n...\r\n..a\r\n.\r\n") },
		{ STR_INIT(".\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n"
		  ".\r\n.\r\n.\r\n"), STR_INIT("..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n"
		  "..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n..\r\n.\r\n") },
	};
	struct buf out = BUF_INIT(1000);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		for (size_t chunk = 1; chunk <= t[i].text.n + 1; chunk++) {
			encode(t[i].text, chunk, &out);
			CHECK_AT(str_eq(buf_str(&out), t[i].wire), (long)(i * 100 + chunk));
		}
	}
	buf_free(&out);
}

int main(void)
{
	test_decode();
	test_end_is_strict();
	test_encode();
	return tap_done();
}
