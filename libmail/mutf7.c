/* SPDX-License-Identifier: ISC */
/* Mailbox names on the wire. One name has exactly one form here: otherwise two spellings of a name
 * would be two mailboxes, or one ACL would be checked and another mailbox opened. */
#include "mutf7.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

static bool is_surrogate(uint32_t c)
{
	return c >= 0xd800 && c <= 0xdfff;
}

size_t utf8_next(struct str s, uint32_t *out_char)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)s.p[0];
	size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 :
	    first < 0xf5 ? 4 : 0;
	uint32_t c = n < 2 ? first : first & (0x7fu >> n);

	if (n == 0 || n > s.n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		unsigned char u = (unsigned char)s.p[i];

		if ((u & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (u & 0x3f);
	}
	if (c < smallest[n] || is_surrogate(c) || c > 0x10ffff)
		return 0;
	*out_char = c;
	return n;
}

bool utf8_valid(struct str s)
{
	uint32_t c;

	for (size_t i = 0, n; i < s.n; i += n) {
		n = 1;
		if ((unsigned char)s.p[i] >= 0x80 && (n = utf8_next(str_skip(s, i), &c)) == 0)
			return false;
	}
	return true;
}

bool utf8_put(struct buf *out, uint32_t c)
{
	char d[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (n == 1)
		return buf_putc(out, (char)c);
	for (size_t i = n - 1; i > 0; i--) {
		d[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	d[0] = (char)((0xf00u >> n) | c);
	return buf_put(out, str_n(d, n));
}

/* UTF-16 units of one shift, as they come out of base64. */
struct shift {
	uint32_t bits, high;		/* high: a first surrogate that waits, or 0 */
	unsigned n_bits;
	size_t n_chars;
};

static bool shift_unit(struct shift *sh, uint32_t unit, struct buf *out)
{
	uint32_t c = unit;

	if (sh->high != 0) {
		if (unit < 0xdc00 || unit > 0xdfff)
			return false;
		c = 0x10000 + ((sh->high - 0xd800) << 10 | (unit - 0xdc00));
		sh->high = 0;
	} else if (is_surrogate(unit)) {
		sh->high = unit;
		return unit < 0xdc00;
	}
	if (is_control(c) || c < 0x7f)
		return false;
	sh->n_chars++;
	return utf8_put(out, c);
}

static bool shift_digit(struct shift *sh, char c, struct buf *out)
{
	const char *p = c == '\0' ? NULL : strchr(base64_digits, c);

	if (p == NULL)
		return false;
	sh->bits = sh->bits << 6 | (uint32_t)(p - base64_digits);
	sh->n_bits += 6;
	if (sh->n_bits < 16)
		return true;
	sh->n_bits -= 16;
	return shift_unit(sh, sh->bits >> sh->n_bits & 0xffff, out);
}

static bool shift_ends_well(const struct shift *sh)
{
	return sh->n_chars > 0 && sh->high == 0 && sh->n_bits < 6 &&
	    (sh->bits & ((1u << sh->n_bits) - 1)) == 0;
}

/* `in` starts behind the "&"; *io_at moves behind the "-". */
static bool shift_decode(struct str in, size_t *io_at, struct buf *out)
{
	struct shift sh = { .n_chars = 0 };
	size_t at = *io_at;

	for (; at < in.n && in.p[at] != '-'; at++) {
		if (!shift_digit(&sh, in.p[at], out))
			return false;
	}
	if (at == in.n || !shift_ends_well(&sh))
		return false;
	*io_at = at + 1;
	return true;
}

static bool decode(struct buf *out, struct str in)
{
	bool after_shift = false;
	size_t at = 0;

	while (at < in.n) {
		char c = in.p[at++];

		if (c < 0x20 || c > 0x7e)
			return false;
		if (c == '&' && at < in.n && in.p[at] != '-') {
			if (after_shift || !shift_decode(in, &at, out))
				return false;
			after_shift = true;
			continue;
		}
		if (c == '&' && at++ == in.n)
			return false;
		after_shift = false;
		if (!buf_putc(out, c))
			return false;
	}
	return true;
}

bool mutf7_to_utf8(struct buf *out, struct str in)
{
	size_t was = out->n;

	if (decode(out, in))
		return true;
	out->n = was;
	return false;
}

static void unshift_unit(struct shift *sh, uint32_t unit, struct buf *out)
{
	sh->bits = sh->bits << 16 | unit;
	sh->n_bits += 16;
	while (sh->n_bits >= 6) {
		sh->n_bits -= 6;
		buf_putc(out, base64_digits[sh->bits >> sh->n_bits & 63]);
	}
	sh->bits &= (1u << sh->n_bits) - 1;
}

static void unshift_end(struct shift *sh, struct buf *out)
{
	if (sh->n_bits > 0)
		buf_putc(out, base64_digits[sh->bits << (6 - sh->n_bits) & 63]);
	buf_putc(out, '-');
	*sh = (struct shift){ .n_chars = 0 };
}

static void unshift_char(struct shift *sh, uint32_t c, struct buf *out)
{
	if (sh->n_chars++ == 0)
		buf_putc(out, '&');
	if (c >= 0x10000) {
		unshift_unit(sh, 0xd800 + ((c - 0x10000) >> 10), out);
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	unshift_unit(sh, c, out);
}

static bool encode(struct buf *out, struct str in)
{
	struct shift sh = { .n_chars = 0 };
	uint32_t c;

	for (size_t i = 0, n; i < in.n; i += n) {
		n = utf8_next(str_skip(in, i), &c);
		if (n == 0 || is_control(c))
			return false;
		if (c > 0x7e) {
			unshift_char(&sh, c, out);
			continue;
		}
		if (sh.n_chars > 0)
			unshift_end(&sh, out);
		buf_putc(out, (char)c);
		if (c == '&')
			buf_putc(out, '-');
	}
	if (sh.n_chars > 0)
		unshift_end(&sh, out);
	return !out->full;
}

bool mutf7_from_utf8(struct buf *out, struct str in)
{
	size_t was = out->n;

	if (encode(out, in))
		return true;
	out->n = was;
	return false;
}
