/* SPDX-License-Identifier: ISC */
/* Base64 and quoted-printable of charset.h, chunk by chunk. */
#include "charset.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { B64_SKIP = 0, B64_PAD = 65 };

/* A digit's value + 1. */
static const unsigned char base64_values[256] = {
	['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4, ['E'] = 5, ['F'] = 6, ['G'] = 7, ['H'] = 8,
	['I'] = 9, ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15,
	['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22,
	['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29,
	['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36,
	['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43,
	['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50,
	['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57,
	['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
	['='] = B64_PAD,
};

static unsigned base64_value(char c)
{
	return base64_values[(unsigned char)c];
}

/* Whole groups of four digits from the front; returns the octets taken. */
static size_t base64_groups(struct buf *out, struct str in)
{
	char *to = out->p + out->n;
	size_t i;

	for (i = 0; i + 4 <= in.n; i += 4) {
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			unsigned d = base64_value(in.p[i + k]);

			if (d - 1 > 63)		/* neither skip nor pad */
				goto done;
			v = v << 6 | (d - 1);
		}
		*to++ = (char)(v >> 16);
		*to++ = (char)(v >> 8);
		*to++ = (char)v;
	}
done:
	out->n = (size_t)(to - out->p);
	return i;
}

static void base64_digit(struct base64_dec *d, struct buf *out, unsigned v)
{
	if (v == B64_SKIP)
		return;
	if (v == B64_PAD) {		/* more may follow: some senders join texts */
		*d = (struct base64_dec){ .bits = 0 };
		return;
	}
	d->bits = d->bits << 6 | (v - 1);
	d->n_bits = (uint8_t)(d->n_bits + 6);
	if (d->n_bits >= 8) {
		d->n_bits = (uint8_t)(d->n_bits - 8);
		out->p[out->n++] = (char)(d->bits >> d->n_bits);
	}
}

bool base64_feed(struct base64_dec *d, struct buf *out, struct str in)
{
	if (!buf_reserve(out, in.n / 4 * 3 + 3))
		return false;
	for (size_t i = 0; i < in.n; i++) {
		if (d->n_bits == 0)
			i += base64_groups(out, str_skip(in, i));
		if (i < in.n)
			base64_digit(d, out, base64_value(in.p[i]));
	}
	return true;
}

bool base64_decode_strict(struct buf *out, struct str in)
{
	struct base64_dec d = { .bits = 0 };
	size_t was = out->n, pad = 0;

	while (pad < 2 && pad < in.n && in.p[in.n - 1 - pad] == '=')
		pad++;
	if (in.n % 4 != 0)
		return false;
	in.n -= pad;
	for (size_t i = 0; i < in.n; i++) {
		if (base64_value(in.p[i]) - 1 > 63)
			return false;
	}
	if (!base64_feed(&d, out, in))
		return false;
	if ((d.bits & ((1u << d.n_bits) - 1)) == 0)
		return true;
	out->n = was;
	return false;
}

bool base64_encode_to(struct buf *out, struct str in)
{
	for (size_t i = 0; i < in.n; i += 3) {
		size_t n = in.n - i < 3 ? in.n - i : 3;
		uint32_t v = 0;

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (k < n ? (unsigned char)in.p[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			buf_putc(out, k <= n ? base64_digits[v >> (18 - 6 * k) & 63] : '=');
	}
	return !out->full;
}

static int hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "=" and up to two octets behind it, in d->held. Returns whether it is settled. */
static bool qp_escape(struct qp_dec *d, struct buf *out, char c)
{
	int hi, lo;

	if (d->n_held == 1) {
		if (c == '\n') {		/* soft line break */
			d->n_held = 0;
			return true;
		}
		if (c == '\r' || hex_value(c) >= 0) {
			d->held[d->n_held++] = c;
			return true;
		}
	} else {
		hi = hex_value(d->held[1]);
		lo = hex_value(c);
		if (d->held[1] == '\r' ? c == '\n' : lo >= 0) {
			d->n_held = 0;
			return c == '\n' || buf_putc(out, (char)(hi << 4 | lo));
		}
	}
	qp_end(d, out);
	return false;
}

/* Blanks before a line end were added on the way (RFC 2045 s.6.7 (3)). */
static void drop_blanks(struct buf *out, size_t from)
{
	bool cr = out->n > from && out->p[out->n - 1] == '\r';
	size_t n = out->n - cr;

	while (n > from && (out->p[n - 1] == ' ' || out->p[n - 1] == '\t'))
		n--;
	if (cr && n < out->n)
		out->p[n++] = '\r';
	out->n = n;
}

bool qp_feed(struct qp_dec *d, struct buf *out, struct str in)
{
	size_t line = out->n, at = 0, line_end = 0;

	while (at < in.n) {
		size_t start = at;

		if (d->n_held > 0) {
			if (qp_escape(d, out, in.p[at]))
				line = out->n, at++;
			continue;
		}
		if (line_end <= at && line_end < in.n)
			line_end = at + str_find(str_skip(in, at), '\n');
		at += str_find(str_n(in.p + at, line_end - at), '=');
		buf_put(out, str_n(in.p + start, at - start));
		if (at == in.n)
			break;
		if (in.p[at] == '\n') {
			drop_blanks(out, line);
			buf_putc(out, '\n');
			line = out->n;
		} else {
			d->held[0] = '=';
			d->n_held = 1;
		}
		at++;
	}
	return !out->full;
}

bool qp_end(struct qp_dec *d, struct buf *out)
{
	size_t n = d->n_held;

	d->n_held = 0;
	return n == 0 || buf_put(out, str_n(d->held, n));
}
