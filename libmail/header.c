/* SPDX-License-Identifier: ISC */
/* Walking the fields of a header. Every step looks at each octet a fixed number of times, so a
 * header of 400,000 folded lines costs what its octets cost. */
#include "header.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Octets of the line at the front, its end included. */
static size_t line_octets(struct str s)
{
	size_t lf = str_find(s, '\n');

	return lf < s.n ? lf + 1 : s.n;
}

static bool at_empty_line(struct str s)
{
	return s.n > 0 && (s.p[0] == '\n' || (s.p[0] == '\r' && s.n > 1 && s.p[1] == '\n'));
}

void header_iter_init(struct header_iter *it, struct str message)
{
	*it = (struct header_iter){ .message = message };
}

static size_t field_octets(struct str s)
{
	size_t n = line_octets(s);

	while (n < s.n && is_blank(s.p[n]))
		n += line_octets(str_skip(s, n));
	return n;
}

static struct str without_line_end(struct str s)
{
	if (s.n > 0 && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n > 0 && s.p[s.n - 1] == '\r')
		s.n--;
	return s;
}

static void field_split(struct str raw, struct header_field *out)
{
	size_t name_n = 0, at;

	out->raw = raw;
	out->name = str_n(raw.p, 0);
	out->value = without_line_end(raw);
	while (name_n < raw.n && raw.p[name_n] > ' ' && raw.p[name_n] <= '~' && raw.p[name_n] != ':')
		name_n++;
	at = name_n;
	while (at < raw.n && is_blank(raw.p[at]))	/* obsolete: RFC 5322 s.4.5 */
		at++;
	if (name_n == 0 || at == raw.n || raw.p[at] != ':')
		return;
	out->name.n = name_n;
	out->value = str_skip(out->value, at + 1);
	while (out->value.n > 0 && is_blank(out->value.p[0]))
		out->value = str_skip(out->value, 1);
}

bool header_next(struct header_iter *it, struct header_field *out)
{
	struct str rest = str_skip(it->message, it->at);

	if (it->at_end || rest.n == 0 || at_empty_line(rest)) {
		it->at_end = true;
		return false;
	}
	field_split(str_head(rest, field_octets(rest)), out);
	it->at += out->raw.n;
	return true;
}

size_t header_length(struct str message)
{
	size_t at = 0;

	while (at < message.n) {
		struct str rest = str_skip(message, at);

		at += line_octets(rest);
		if (at_empty_line(rest))
			break;
	}
	return at;
}

bool header_find(struct str message, struct str name, struct header_field *out)
{
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, message);
	while (header_next(&it, &f)) {
		if (str_eq_nocase(f.name, name)) {
			*out = f;
			return true;
		}
	}
	return false;
}

struct str header_unfold(struct arena *a, struct str value)
{
	char *p;
	size_t n = 0;

	if (!str_has(value, '\n') && !str_has(value, '\r') && !str_has(value, '\0'))
		return str_trim(value);
	p = arena_alloc(a, value.n);
	if (p == NULL)
		return str_n(NULL, 0);
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if (c != '\n' && c != '\0' && c != '\r')
			p[n++] = c;
	}
	return str_trim(str_n(p, n));
}
