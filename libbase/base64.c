/* SPDX-License-Identifier: ISC */
#include "base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct str base64_encode(struct arena *a, struct str in)
{
	size_t len;
	char *out, *p;

	if (!size_mul(in.n / 3 + (in.n % 3 != 0), 4, &len) || (out = arena_alloc(a, len)) == NULL)
		return str_n(NULL, 0);
	p = out;
	for (size_t i = 0; i < in.n; i += 3) {
		size_t left = in.n - i;
		uint32_t v = (uint32_t)(unsigned char)in.p[i] << 16;

		if (left > 1)
			v |= (uint32_t)(unsigned char)in.p[i + 1] << 8;
		if (left > 2)
			v |= (unsigned char)in.p[i + 2];
		*p++ = digits[v >> 18];
		*p++ = digits[v >> 12 & 63];
		*p++ = left > 1 ? digits[v >> 6 & 63] : '=';
		*p++ = left > 2 ? digits[v & 63] : '=';
	}
	return str_n(out, len);
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct arena *a, struct str in, struct str *out)
{
	size_t pad = 0, n = 0;
	char *p;

	if (in.n % 4 != 0)
		return false;
	while (pad < 2 && pad < in.n && in.p[in.n - 1 - pad] == '=')
		pad++;
	if ((p = arena_alloc(a, in.n / 4 * 3)) == NULL)
		return false;
	for (size_t i = 0; i < in.n; i += 4) {
		size_t here = i + 4 == in.n ? pad : 0;	/* padding in this group */
		uint32_t v = 0;

		for (size_t j = 0; j < 4; j++) {
			int d = j >= 4 - here ? 0 : digit_value(in.p[i + j]);

			if (d < 0)
				return false;
			v = v << 6 | (uint32_t)d;
		}
		if ((v & ((1u << (8 * here)) - 1)) != 0)
			return false;
		p[n++] = (char)(v >> 16);
		if (here < 2)
			p[n++] = (char)(v >> 8);
		if (here < 1)
			p[n++] = (char)v;
	}
	*out = str_n(p, n);
	return true;
}
