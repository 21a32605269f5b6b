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
