/* SPDX-License-Identifier: ISC */
/* Tokens of RFC 3501 s.9. Pure: reads the text it is given, allocates only in the caller's
 * arena. */
#include "token.h"

bool tok_char(struct cursor *c, char want)
{
	if (c->p == c->end || *c->p != want)
		return false;
	c->p++;
	return true;
}

/* atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials */
bool tok_is_atom_char(char ch)
{
	unsigned char u = (unsigned char)ch;

	return u > 0x20 && u < 0x7f && memchr("(){%*\"\\]", ch, 8) == NULL;
}

static struct str take(struct cursor *c, const char *more, const char *not_these)
{
	const char *start = c->p;

	while (c->p < c->end && *c->p != '\0' &&
	    (tok_is_atom_char(*c->p) || strchr(more, *c->p) != NULL) &&
	    strchr(not_these, *c->p) == NULL)
		c->p++;
	return str_n(start, (size_t)(c->p - start));
}

bool tok_tag(struct cursor *c, struct str *out)
{
	*out = take(c, "]", "+");
	return out->n > 0;
}

bool tok_atom(struct cursor *c, struct str *out)
{
	*out = take(c, "", "");
	return out->n > 0;
}

bool tok_word(struct cursor *c, const char *word)
{
	struct cursor was = *c;
	struct str got;

	if (tok_atom(c, &got) && str_eq_nocase(got, str_of(word)))
		return true;
	*c = was;
	return false;
}

static bool quoted(struct cursor *c, struct arena *a, struct str *out)
{
	const char *start = c->p;
	size_t n_escapes = 0, n = 0;
	char *copy;

	for (;; c->p++) {
		if (c->p == c->end || *c->p == '\0' || *c->p == '\r' || *c->p == '\n')
			return false;
		if (*c->p == '"')
			break;
		if (*c->p != '\\')
			continue;
		c->p++;
		if (c->p == c->end || (*c->p != '"' && *c->p != '\\'))
			return false;
		n_escapes++;
	}
	*out = str_n(start, (size_t)(c->p - start));
	c->p++;
	if (n_escapes == 0)
		return true;
	copy = arena_alloc(a, out->n);
	if (copy == NULL)
		return false;
	for (size_t i = 0; i < out->n; i++) {
		if (out->p[i] == '\\')
			i++;
		copy[n++] = out->p[i];
	}
	*out = str_n(copy, n);
	return true;
}

static bool literal(struct cursor *c, bool nul_ok, struct str *out)
{
	uint64_t n;

	if (!tok_number(c, (uint64_t)(c->end - c->p), &n))
		return false;
	(void)tok_char(c, '+');
	if (!tok_char(c, '}') || !tok_char(c, '\r') || !tok_char(c, '\n') ||
	    n > (uint64_t)(c->end - c->p))
		return false;
	*out = str_n(c->p, (size_t)n);
	c->p += n;
	return nul_ok || memchr(out->p, '\0', out->n) == NULL;
}

bool tok_literal8(struct cursor *c, struct str *out)
{
	return tok_char(c, '~') && tok_char(c, '{') && literal(c, true, out);
}

bool tok_string(struct cursor *c, struct arena *a, struct str *out)
{
	if (tok_char(c, '"'))
		return quoted(c, a, out);
	return tok_char(c, '{') && literal(c, false, out);
}

static bool string_or(struct cursor *c, struct arena *a, const char *more, struct str *out)
{
	char ch = tok_look(c);

	if (ch == '"' || ch == '{')
		return tok_string(c, a, out);
	*out = take(c, more, "");
	return out->n > 0;
}

bool tok_astring(struct cursor *c, struct arena *a, struct str *out)
{
	return string_or(c, a, "]", out);
}

bool tok_list_mailbox(struct cursor *c, struct arena *a, struct str *out)
{
	return string_or(c, a, "]%*", out);
}

bool tok_nstring(struct cursor *c, struct arena *a, struct str *out)
{
	if (tok_word(c, "NIL")) {
		*out = str_n(NULL, 0);
		return true;
	}
	return tok_string(c, a, out);
}

bool tok_number(struct cursor *c, uint64_t max, uint64_t *out)
{
	const char *start = c->p;

	while (c->p < c->end && ascii_is_digit(*c->p))
		c->p++;
	return str_to_u64(str_n(start, (size_t)(c->p - start)), max, out);
}

bool tok_literal_at_end(struct str line, struct literal *out, size_t *out_at)
{
	size_t end, at;

	if (line.n < 3 || line.p[line.n - 1] != '}')
		return false;
	end = line.n - 1;
	out->nonsync = line.p[end - 1] == '+';
	if (out->nonsync)
		end--;
	for (at = end; at > 0 && ascii_is_digit(line.p[at - 1]); at--)
		;
	if (at == end || at == 0 || line.p[at - 1] != '{')
		return false;
	if (!str_to_u64(str_n(line.p + at, end - at), UINT64_MAX, &out->octets))
		out->octets = UINT64_MAX;
	if (out_at != NULL)
		*out_at = at - 1;
	return true;
}
