/* SPDX-License-Identifier: ISC */
/* The decoder must give the same whatever the chunks, and end where CRLF "." CRLF first is; the
 * encoder's output must decode to the text. */
#include "../../libbase/buf.h"
#include "../../libbase/err.h"
#include "../../libmail/dotstuff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t decode(struct str wire, size_t chunk, struct buf *out, struct dot_dec *d)
{
	struct str spans[DOT_SPANS_MAX];
	size_t at = 0, n;

	dot_dec_init(d, 998);
	while (at < wire.n && !d->done) {
		at += dot_dec_feed(d, str_head(str_skip(wire, at), chunk), spans, &n);
		for (size_t i = 0; i < n; i++)
			buf_put(out, spans[i]);
	}
	return at;
}

static size_t expected_end(struct str wire)
{
	static const struct str end = STR_INIT("\r\n.\r\n");
	size_t at;

	if (str_starts(wire, STR(".\r\n")))
		return 3;
	at = str_find_str(wire, end);
	return at < wire.n ? at + end.n : 0;
}

static void encode(struct str text, size_t chunk, struct buf *out)
{
	struct str spans[DOT_SPANS_MAX];
	struct dot_enc e;
	size_t n;

	dot_enc_init(&e);
	for (size_t at = 0; at < text.n;) {
		at += dot_enc_feed(&e, str_head(str_skip(text, at), chunk), spans, &n);
		for (size_t i = 0; i < n; i++)
			buf_put(out, spans[i]);
	}
	buf_put(out, dot_enc_end(&e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_n((const char *)data, n);
	struct buf a = BUF_INIT(16 << 20), b = BUF_INIT(16 << 20), wire = BUF_INIT(16 << 20);
	struct dot_dec d1, d2;
	size_t end = decode(in, n > 0 ? n : 1, &a, &d1), end2 = decode(in, 1, &b, &d2);

	if (end != end2 || d1.done != d2.done || d1.faults != d2.faults ||
	    d1.first_fault_at != d2.first_fault_at || !str_eq(buf_str(&a), buf_str(&b)))
		err_bug("chunks make a difference");
	if (d1.done ? end != expected_end(in) : expected_end(in) != 0)
		err_bug("the end is elsewhere");
	encode(in, n / 3 + 1, &wire);
	buf_reset(&a);
	end = decode(buf_str(&wire), 7, &a, &d1);
	/* Dots behind a bare LF are stuffed, too, and stay. */
	if (!d1.done || end != wire.n || (d1.faults == 0 && !str_starts(buf_str(&a), in)))
		err_bug("encoded text does not come back");
	buf_free(&a);
	buf_free(&b);
	buf_free(&wire);
	return 0;
}
