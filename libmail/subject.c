/* SPDX-License-Identifier: ISC */
/* What threads hang on: base subjects (RFC 5256 s.2.1) and message-ids. The subject is only ever
 * shortened at its ends, each octet a fixed number of times, so "Re: [x] Re:" chains are linear. */
#include "record_int.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void collapse_blanks(struct buf *b, size_t from)
{
	size_t to = from;

	for (size_t i = from; i < b->n; i++) {
		if (!is_blank(b->p[i]))
			b->p[to++] = b->p[i];
		else if (to > from && b->p[to - 1] != ' ')
			b->p[to++] = ' ';
	}
	if (to > from && b->p[to - 1] == ' ')
		to--;
	b->n = to;
}

static struct str skip_blanks(struct str s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = str_skip(s, 1);
	return s;
}

/* "[" anything but brackets "]" blanks; s itself when there is none. */
static struct str skip_blob(struct str s)
{
	size_t i = 1;

	if (s.n == 0 || s.p[0] != '[')
		return s;
	while (i < s.n && s.p[i] != '[' && s.p[i] != ']')
		i++;
	if (i == s.n || s.p[i] == '[')
		return s;
	return skip_blanks(str_skip(s, i + 1));
}

/* ("re" / "fw" ["d"]) blanks [blob] ":" */
static bool take_refwd(struct str *s)
{
	static const struct str words[] = { STR_INIT("fwd"), STR_INIT("fw"), STR_INIT("re") };
	struct str rest;

	for (size_t i = 0; i < COUNTOF(words); i++) {
		if (!str_starts_nocase(*s, words[i]))
			continue;
		rest = skip_blob(skip_blanks(str_skip(*s, words[i].n)));
		if (rest.n > 0 && rest.p[0] == ':') {
			*s = str_skip(rest, 1);
			return true;
		}
	}
	return false;
}

static struct str skip_blobs(struct str s, struct str *out_last)
{
	struct str next;

	*out_last = s;
	while ((next = skip_blob(s)).n != s.n) {
		*out_last = s;
		s = next;
	}
	return s;
}

/* Steps 3 to 5. Blobs that lead to no refwd go as well, but for the last one if nothing follows. */
static struct str strip_leaders(struct str s, bool *out_is_reply)
{
	for (;;) {
		struct str last, behind;

		s = skip_blanks(s);
		behind = skip_blobs(s, &last);
		if (!take_refwd(&behind))
			return behind.n > 0 ? behind : last;
		*out_is_reply = true;
		s = behind;
	}
}

/* Step 2. */
static struct str strip_trailers(struct str s, bool *out_is_reply)
{
	static const struct str fwd = STR_INIT("(fwd)");

	for (;;) {
		while (s.n > 0 && is_blank(s.p[s.n - 1]))
			s.n--;
		if (s.n < fwd.n || !str_eq_nocase(str_skip(s, s.n - fwd.n), fwd))
			return s;
		s.n -= fwd.n;
		*out_is_reply = true;
	}
}

struct str subject_base(struct str s, bool *out_is_reply)
{
	static const struct str fwd = STR_INIT("[fwd:");

	*out_is_reply = false;
	for (;;) {
		s = strip_trailers(s, out_is_reply);
		s = strip_leaders(s, out_is_reply);
		if (s.n <= fwd.n || !str_starts_nocase(s, fwd) || s.p[s.n - 1] != ']')
			return s;
		s = str_n(s.p + fwd.n, s.n - fwd.n - 1);
		*out_is_reply = true;
	}
}

struct str msgid_next(struct str *rest)
{
	size_t open = str_find(*rest, '<'), i;

	for (i = open + 1; i < rest->n; i++) {
		if (rest->p[i] == '<')
			open = i;
		if (rest->p[i] == '>' && i > open + 1) {
			struct str id = str_n(rest->p + open, i + 1 - open);

			*rest = str_skip(*rest, i + 1);
			return id;
		}
	}
	*rest = str_n(NULL, 0);
	return *rest;
}

void msgid_put(struct buf *out, struct str id)
{
	for (size_t i = 0; i < id.n; i++) {
		if (!is_blank(id.p[i]) && id.p[i] != '\0')
			buf_putc(out, id.p[i]);
	}
}
