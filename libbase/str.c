/* SPDX-License-Identifier: ISC */
#include <string.h>

#include "str.h"

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int r = n == 0 ? 0 : memcmp(a.p, b.p, n);

	return r != 0 ? r : (a.n > b.n) - (a.n < b.n);
}

int str_cmp_nocase(struct str a, struct str b)
{
	for (size_t i = 0; i < a.n && i < b.n; i++) {
		int d = (unsigned char)ascii_lower(a.p[i]) - (unsigned char)ascii_lower(b.p[i]);

		if (d != 0)
			return d;
	}
	return (a.n > b.n) - (a.n < b.n);
}

bool str_eq_nocase(struct str a, struct str b)
{
	return a.n == b.n && str_cmp_nocase(a, b) == 0;
}

bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_head(s, prefix.n), prefix);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq_nocase(str_head(s, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq(str_skip(s, s.n - suffix.n), suffix);
}

size_t str_find(struct str s, char c)
{
	const char *p = s.n == 0 ? NULL : memchr(s.p, c, s.n);

	return p == NULL ? s.n : (size_t)(p - s.p);
}

size_t str_find_str(struct str s, struct str needle)
{
	const char *p;

	if (needle.n == 0)
		return 0;
	if (s.n < needle.n)
		return s.n;
	p = memmem(s.p, s.n, needle.p, needle.n);
	return p == NULL ? s.n : (size_t)(p - s.p);
}

/* Sixteen octets at a time: compilers make the CPU's vectors of it where it has any. */
typedef unsigned char v16 __attribute__((vector_size(16)));

static v16 load16(const char *p)
{
	v16 v;

	memcpy(&v, p, sizeof v);
	return v;
}

static bool any16(v16 v)
{
	uint64_t w[2];

	memcpy(w, &v, sizeof w);
	return (w[0] | w[1]) != 0;
}

size_t str_ascii_run(struct str s)
{
	size_t n = 0;

	while (s.n - n >= 64 && !any16((load16(s.p + n) | load16(s.p + n + 16) | load16(s.p + n + 32) |
	    load16(s.p + n + 48)) & 0x80))
		n += 64;
	while (s.n - n >= 16 && !any16(load16(s.p + n) & 0x80))
		n += 16;
	while (n < s.n && (unsigned char)s.p[n] < 0x80)
		n++;
	return n;
}

void ascii_upper_copy(char *to, struct str s)
{
	size_t i = 0;

	for (; i + 16 <= s.n; i += 16) {
		v16 v = load16(s.p + i);

		v -= (v16)((v >= 'a') & (v <= 'z')) & 0x20;
		memcpy(to + i, &v, sizeof v);
	}
	for (; i < s.n; i++)
		to[i] = ascii_upper(s.p[i]);
}

void ascii_blank_controls(char *p, size_t n)
{
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		v16 v = load16(p + i), control = (v16)((v < ' ') | (v == 127));

		v = (v & ~control) | (control & ' ');
		memcpy(p + i, &v, sizeof v);
	}
	for (; i < n; i++)
		p[i] = (unsigned char)p[i] < ' ' || p[i] == 127 ? ' ' : p[i];
}

static bool upper_at(const char *p, struct str needle)
{
	for (size_t i = 0; i < needle.n; i++)
		if (ascii_upper(p[i]) != needle.p[i])
			return false;
	return true;
}

/* The needle's octet that text has least often, of those outside `not`. */
static size_t rarest(struct str needle, size_t not)
{
	static const char common[] = " ETAOINSRHLDCUMFPGWYBV,.K-:/0123456789=XJQZ";
	size_t best = not == 0 && needle.n > 1 ? 1 : 0;
	long best_rank = -1;

	for (size_t i = 0; i < needle.n; i++) {
		const char *at = memchr(common, needle.p[i], sizeof common - 1);
		long rank = at != NULL ? at - common : (long)sizeof common;

		if (i != not && rank > best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

/* The first of the sixteen places from p where the needle stands; 16: none of them. */
static size_t find_in_16(const char *p, struct str needle, size_t a, size_t b)
{
	v16 va = load16(p + a) | 0x20, vb = load16(p + b) | 0x20;
	v16 hit = (v16)(va == (unsigned char)(needle.p[a] | 0x20)) & (v16)(vb == (unsigned char)(needle.p[b] | 0x20));
	size_t i = 0;

	if (!any16(hit))
		return 16;
	while (i < 16 && (hit[i] == 0 || !upper_at(p + i, needle)))
		i++;
	return i;
}

size_t str_find_upper(struct str s, struct str needle)
{
	size_t at = 0, a, b, i;

	if (needle.n == 0 || s.n < needle.n)
		return needle.n == 0 ? 0 : s.n;
	a = rarest(needle, needle.n);
	b = rarest(needle, a);
	for (; at + needle.n + 15 <= s.n; at += 16) {
		i = find_in_16(s.p + at, needle, a, b);
		if (i < 16)
			return at + i;
	}
	for (; at + needle.n <= s.n; at++)
		if (upper_at(s.p + at, needle))
			return at;
	return s.n;
}

bool str_has(struct str s, char c)
{
	return str_find(s, c) < s.n;
}

struct str str_trim(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = str_skip(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

bool str_split(struct str *rest, char sep, struct str *out_field)
{
	size_t i;

	if (rest->p == NULL)
		return false;
	i = str_find(*rest, sep);
	*out_field = str_head(*rest, i);
	*rest = i < rest->n ? str_skip(*rest, i + 1) : str_n(NULL, 0);
	return true;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!ascii_is_digit(s.p[i]) || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v) || v > max)
			return false;
	}
	*out = v;
	return true;
}

struct str str_dup(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (p == NULL)
		return str_n(NULL, 0);
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return str_n(p, s.n);
}

char *str_z(struct arena *a, struct str s)
{
	char *p;

	if (str_has(s, '\0') || (p = arena_alloc(a, s.n + 1)) == NULL)
		return NULL;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p;
}
