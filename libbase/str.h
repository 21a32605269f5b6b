/* SPDX-License-Identifier: ISC */
/* struct str: a borrowed view of octets (pointer and length, by value). It may hold NUL, which is
 * data and never a terminator. */
#ifndef STR_H
#define STR_H

#include <string.h>

#include "arena.h"
#include "base.h"

struct str {
	const char *p;
	size_t n;
};

#define STR_INIT(lit) { (lit), sizeof(lit) - 1 }
#define STR(lit) ((struct str){ (lit), sizeof(lit) - 1 })
/* For printf's "%.*s", in log and error text only. */
#define STR_FMT(s) (int)((s).n > 200 ? 200 : (s).n), ((s).n > 0 ? (s).p : "")

static inline struct str str_of(const char *z) { return (struct str){ z, strlen(z) }; }
static inline struct str str_n(const char *p, size_t n) { return (struct str){ p, n }; }

/* The view without its first n octets (empty when it is shorter). */
static inline struct str str_skip(struct str s, size_t n)
{
	if (s.n == 0)		/* s.p may be NULL, and NULL + 0 is undefined */
		return s;
	return n >= s.n ? str_n(s.p + s.n, 0) : str_n(s.p + n, s.n - n);
}

/* The view's first n octets (all of it when it is shorter). */
static inline struct str str_head(struct str s, size_t n)
{
	return str_n(s.p, n < s.n ? n : s.n);
}

bool str_eq(struct str a, struct str b);
/* ASCII letters compare without case; the locale plays no part. */
bool str_eq_nocase(struct str a, struct str b);
int str_cmp(struct str a, struct str b);	/* memcmp order, the shorter first */
int str_cmp_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Index of the first c, or s.n when there is none. */
size_t str_find(struct str s, char c);
/* Index of the first needle, or s.n when there is none. Linear time. An empty needle is at 0. */
size_t str_find_str(struct str s, struct str needle);
bool str_has(struct str s, char c);
/* Octets at the front that are ASCII. */
size_t str_ascii_run(struct str s);
/* Index of the first needle, s.n when there is none; ASCII letters in s compare as upper-case, as the needle has them
 * (ASCII only). For short needles: the time is that of s times the needle's length when both are made for it. */
size_t str_find_upper(struct str s, struct str needle);
/* Writes the octets with ASCII letters upper-cased; `to` has room for s.n. */
void ascii_upper_copy(char *to, struct str s);
/* Turns ASCII controls into spaces, in place. */
void ascii_blank_controls(char *p, size_t n);
/* Without spaces and tabs at both ends. */
struct str str_trim(struct str s);
/* Takes the part before the first sep off *rest (and the sep); false when *rest is exhausted
 * (p == NULL). A str with p == NULL marks the end, so an empty last field is still returned. */
bool str_split(struct str *rest, char sep, struct str *out_field);
/* Decimal digits only, no sign, no space, at least one digit; false on anything else or when the
 * value is over max. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out);
/* A copy in the arena, NUL-terminated after its n octets; p is NULL when the arena is full. */
struct str str_dup(struct arena *a, struct str s);
/* A NUL-terminated copy in the arena, NULL when the arena is full or s holds a NUL. */
char *str_z(struct arena *a, struct str s);

static inline bool ascii_is_alpha(char c) { return ((c | 32) >= 'a' && (c | 32) <= 'z'); }
static inline bool ascii_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static inline char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 32) : c; }

#endif
