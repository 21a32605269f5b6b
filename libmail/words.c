/* SPDX-License-Identifier: ISC */
/* Encoded words of header text (RFC 2047). Neighbours in one charset are converted together, as
 * many senders cut characters in two between them. The next "?=" is looked for once and remembered,
 * so a field full of half-open words stays linear. */
#include "charset.h"

enum { WORD_CHARSET_MAX_OCTETS = 64 };

struct word {
	struct str charset, text, raw;
	bool base64;
};

struct words {
	struct buf *out;
	struct str in;
	size_t closer;			/* offset of the first "?=" at or behind closer_from */
	size_t closer_from;
	struct buf octets;		/* decoded, waiting for conversion */
	struct str charset, raw;	/* of the waiting octets; raw: the words as they stand */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Offset of the first pair "ab" at or behind `from`; s.n when there is none. */
static size_t find_pair(struct str s, size_t from, char a, char b)
{
	for (;;) {
		from += str_find(str_skip(s, from), a);
		if (from + 1 >= s.n)
			return s.n;
		if (s.p[from + 1] == b)
			return from;
		from++;
	}
}

static size_t next_closer(struct words *w, size_t from)
{
	if (from < w->closer_from || from > w->closer) {
		w->closer_from = from;
		w->closer = find_pair(w->in, from, '?', '=');
	}
	return w->closer;
}

/* A word at the offset of "=?"? */
static bool word_at(struct words *w, size_t at, struct word *out)
{
	struct str rest = str_skip(w->in, at + 2);
	size_t n = str_find(str_head(rest, WORD_CHARSET_MAX_OCTETS), '?');
	size_t text_at = at + 2 + n + 3, end;
	char encoding;

	if (n == 0 || n + 2 >= rest.n || rest.p[n] != '?' || rest.p[n + 2] != '?')
		return false;
	encoding = ascii_lower(rest.p[n + 1]);
	end = next_closer(w, text_at);
	if ((encoding != 'b' && encoding != 'q') || end >= w->in.n)
		return false;
	out->charset = str_head(rest, n);
	out->charset.n = str_find(out->charset, '*');		/* RFC 2231 s.5: language */
	out->text = str_n(w->in.p + text_at, end - text_at);
	out->raw = str_n(w->in.p + at, end + 2 - at);
	out->base64 = encoding == 'b';
	return true;
}

static int hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void decode_q(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i] == '_' ? ' ' : s.p[i];

		if (c == '=' && s.n - i > 2) {
			int hi = hex_value(s.p[i + 1]), lo = hex_value(s.p[i + 2]);

			if (hi >= 0 && lo >= 0) {
				c = (char)(hi << 4 | lo);
				i += 2;
			}
		}
		buf_putc(out, c);
	}
}

/* Controls would let a decoded word forge lines elsewhere. */
static void blank_controls(struct buf *out, size_t from)
{
	if (out->n > from)
		ascii_blank_controls(out->p + from, out->n - from);
}

static void put_plain(struct buf *out, struct str s)
{
	size_t was = out->n;

	while (s.n > 0) {
		size_t n = str_find(s, '\n');
		struct str line = str_head(s, str_find(str_head(s, n), '\r'));

		if (str_ascii_run(line) == line.n)
			buf_put(out, line);
		else
			charset_to_utf8(out, STR(""), line);
		s = str_skip(s, line.n);
		while (s.n > 0 && (s.p[0] == '\r' || s.p[0] == '\n'))
			s = str_skip(s, 1);
	}
	blank_controls(out, was);
}

static void flush_words(struct words *w)
{
	size_t was = w->out->n;

	if (w->raw.n == 0)
		return;
	if (charset_to_utf8(w->out, w->charset, buf_str(&w->octets)) == CHARSET_UNKNOWN)
		put_plain(w->out, w->raw);
	blank_controls(w->out, was);
	buf_reset(&w->octets);
	w->raw.n = 0;
}

static void add_word(struct words *w, const struct word *word)
{
	struct base64_dec d = { .bits = 0 };

	if (w->raw.n > 0 && !str_eq_nocase(w->charset, word->charset))
		flush_words(w);
	if (w->raw.n == 0)
		w->raw = word->raw;
	else
		w->raw.n = (size_t)(word->raw.p + word->raw.n - w->raw.p);
	w->charset = word->charset;
	if (word->base64)
		base64_feed(&d, &w->octets, word->text);
	else
		decode_q(&w->octets, word->text);
}

static bool all_blank(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!is_blank(s.p[i]))
			return false;
	}
	return true;
}

bool header_decode(struct buf *out, struct str value)
{
	struct words w = { .out = out, .in = value, .octets = BUF_INIT(value.n + 16) };
	size_t done = 0, at = 0;		/* done: octets before it are put or waiting */

	w.closer_from = 1;
	while ((at = find_pair(value, at, '=', '?')) < value.n) {
		struct str between = str_n(value.p + done, at - done);
		struct word word;

		if (!word_at(&w, at, &word)) {
			at += 2;
			continue;
		}
		if (w.raw.n == 0 || !all_blank(between)) {
			flush_words(&w);
			put_plain(out, between);
		}
		add_word(&w, &word);
		at += word.raw.n;
		done = at;
	}
	flush_words(&w);
	put_plain(out, str_skip(value, done));
	buf_free(&w.octets);
	return !out->full;
}
