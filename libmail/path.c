/* SPDX-License-Identifier: ISC */
/* Paths and parameters of SMTP commands. A cursor (struct str) moves over the input; each parser
 * takes its construct off the front or fails. Nothing is guessed: a form that RFC 5321 does not
 * have is refused, since two programs that read an address differently make an open relay. */
#include <arpa/inet.h>

#include "mutf7.h"
#include "path.h"

enum { LABEL_MAX_OCTETS = 63 };		/* RFC 1035 s.2.3.4 */

static bool is_alnum(char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c);
}

static bool is_8bit(char c)
{
	return (unsigned char)c > 127;
}

static bool is_atext(char c)
{
	return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

static bool take_char(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

bool smtp_line_split(struct str line, struct str *out_verb, struct str *out_arg)
{
	size_t n = 0;

	while (n < line.n && (is_alnum(line.p[n]) || line.p[n] == '-'))
		n++;
	if (n == 0 || (n < line.n && line.p[n] != ' ' && line.p[n] != '\t'))
		return false;
	*out_verb = str_head(line, n);
	*out_arg = str_trim(str_skip(line, n));
	return true;
}

bool path_take_keyword(struct str *arg, struct str keyword)
{
	if (!str_starts_nocase(*arg, keyword))
		return false;
	*arg = str_skip(*arg, keyword.n);
	take_char(arg, ' ');
	return true;
}

static bool label_valid(struct str s, bool utf8)
{
	if (s.n == 0 || s.n > LABEL_MAX_OCTETS || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!is_alnum(c) && c != '-' && c != '_' && !(utf8 && is_8bit(c)))
			return false;
	}
	return true;
}

static bool literal_valid(struct str s)
{
	static const struct str ipv6 = STR_INIT("IPv6:");
	unsigned char octets[16];
	char z[INET6_ADDRSTRLEN];
	int family = AF_INET;

	s = str_n(s.p + 1, s.n - 2);
	if (str_starts_nocase(s, ipv6)) {
		s = str_skip(s, ipv6.n);
		family = AF_INET6;
	}
	if (s.n == 0 || s.n >= sizeof z || str_has(s, '\0'))
		return false;
	memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	return inet_pton(family, z, octets) == 1;
}

bool domain_is_literal(struct str s)
{
	return s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';
}

bool domain_valid(struct str s, unsigned flags)
{
	bool utf8 = (flags & PATH_UTF8_OK) != 0;
	struct str label;

	if (s.n == 0 || s.n > PATH_DOMAIN_MAX_OCTETS)
		return false;
	if (domain_is_literal(s))
		return literal_valid(s);
	if (utf8 && !utf8_valid(s))
		return false;
	while (str_split(&s, '.', &label)) {
		if (!label_valid(label, utf8))
			return false;
	}
	return true;
}

/* "@a,@b:": RFC 5321 s.4.1.1.3 has it accepted and ignored. */
static bool skip_source_route(struct str *s, unsigned flags)
{
	if (s->n == 0 || s->p[0] != '@')
		return true;
	do {
		size_t n = 0;

		if (!take_char(s, '@'))
			return false;
		while (n < s->n && s->p[n] != ',' && s->p[n] != ':' && s->p[n] != '>')
			n++;
		if (!domain_valid(str_head(*s, n), flags))
			return false;
		*s = str_skip(*s, n);
	} while (take_char(s, ','));
	return take_char(s, ':');
}

/* The local part while it is read; one octet more than allowed tells "too long". */
struct local {
	char p[PATH_LOCAL_MAX_OCTETS + 1];
	size_t n;
};

static void local_put(struct local *l, char c)
{
	if (l->n < sizeof l->p)
		l->p[l->n++] = c;
}

static bool take_quoted(struct str *s, bool utf8, struct local *out)
{
	for (size_t i = 0; i < s->n; i++) {
		char c = s->p[i];

		if (c == '"') {
			*s = str_skip(*s, i + 1);
			return out->n > 0;
		}
		if (c == '\\') {
			if (++i == s->n || !is_printable(s->p[i]))
				return false;
			c = s->p[i];
		}
		if (!is_printable(c) && !(utf8 && is_8bit(c)))
			return false;
		local_put(out, c);
	}
	return false;
}

static bool take_dot_string(struct str *s, bool utf8, struct local *out)
{
	bool after_dot = true;
	size_t i;

	for (i = 0; i < s->n; i++) {
		char c = s->p[i];

		if (c == '.' && after_dot)
			return false;
		if (c != '.' && !is_atext(c) && !(utf8 && is_8bit(c)))
			break;
		after_dot = c == '.';
		local_put(out, c);
	}
	*s = str_skip(*s, i);
	return !after_dot;
}

static bool take_domain(struct str *s, bool in_brackets, unsigned flags, struct str *out)
{
	size_t n = 0;

	while (n < s->n && s->p[n] != '>' && s->p[n] != ' ')
		n++;
	if (!in_brackets && n != s->n)
		return false;
	*out = str_head(*s, n);
	*s = str_skip(*s, n);
	if (out->n > 1 && out->p[out->n - 1] == '.')
		out->n--;
	return out->n > PATH_DOMAIN_MAX_OCTETS || domain_valid(*out, flags);
}

static bool is_dot_string(struct str s)
{
	struct str atom;

	while (str_split(&s, '.', &atom)) {
		if (atom.n == 0)
			return false;
		for (size_t i = 0; i < atom.n; i++) {
			if (!is_atext(atom.p[i]) && !is_8bit(atom.p[i]))
				return false;
		}
	}
	return true;
}

static void put_local(struct buf *b, struct str local)
{
	if (is_dot_string(local)) {
		buf_put(b, local);
		return;
	}
	buf_putc(b, '"');
	for (size_t i = 0; i < local.n; i++) {
		if (local.p[i] == '"' || local.p[i] == '\\')
			buf_putc(b, '\\');
		buf_putc(b, local.p[i]);
	}
	buf_putc(b, '"');
}

static enum err_kind set_text(struct arena *a, struct mail_path *p, struct err *e)
{
	struct buf b = BUF_INIT(2 * PATH_LOCAL_MAX_OCTETS + PATH_DOMAIN_MAX_OCTETS + 4);

	if (!p->is_null)
		put_local(&b, p->local);
	if (p->domain.n > 0) {
		buf_putc(&b, '@');
		buf_put(&b, p->domain);
	}
	p->text = b.full ? str_n(NULL, 0) : str_dup(a, buf_str(&b));
	buf_free(&b);
	return p->text.p != NULL ? ERR_OK : err_set(e, ERR_LIMIT, 0, "no memory for an address");
}

static enum err_kind take_mailbox(struct arena *a, struct str *s, bool in_brackets, unsigned flags,
    struct mail_path *out, struct err *e)
{
	bool utf8 = (flags & PATH_UTF8_OK) != 0;
	struct local local = { .n = 0 };
	struct str text;
	const char *start = s->p;

	if (take_char(s, '"') ? !take_quoted(s, utf8, &local) : !take_dot_string(s, utf8, &local))
		return err_set(e, ERR_SYNTAX, 0, "bad local part");
	if (local.n > PATH_LOCAL_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "local part too long");
	text = str_n(local.p, local.n);
	if (utf8 && !utf8_valid(text))
		return err_set(e, ERR_SYNTAX, 0, "local part is not UTF-8");
	out->local = str_dup(a, text);
	if (out->local.p == NULL)
		return err_set(e, ERR_LIMIT, 0, "no memory for an address");
	if (take_char(s, '@')) {
		if (!take_domain(s, in_brackets, flags, &out->domain))
			return err_set(e, ERR_SYNTAX, 0, "bad domain");
	} else if (!(flags & PATH_NO_DOMAIN_OK) && !((flags & PATH_POSTMASTER_OK) &&
		   str_eq_nocase(out->local, STR("postmaster")))) {
		return err_set(e, ERR_SYNTAX, 0, "address without a domain");
	}
	if (out->domain.n > PATH_DOMAIN_MAX_OCTETS || (size_t)(s->p - start) + 2 > PATH_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "address too long");
	out->is_literal = domain_is_literal(out->domain);
	return ERR_OK;
}

static enum err_kind take_bracketed(struct arena *a, struct str *s, unsigned flags,
    struct mail_path *out, struct err *e)
{
	enum err_kind kind;

	if (take_char(s, '>')) {
		out->is_null = true;
		return flags & PATH_NULL_OK ? ERR_OK : err_set(e, ERR_SYNTAX, 0, "empty path");
	}
	if (!skip_source_route(s, flags))
		return err_set(e, ERR_SYNTAX, 0, "bad source route");
	kind = take_mailbox(a, s, true, flags, out, e);
	if (kind != ERR_OK)
		return kind;
	return take_char(s, '>') ? ERR_OK : err_set(e, ERR_SYNTAX, 0, "no > after the address");
}

enum err_kind path_parse(struct arena *a, struct str in, unsigned flags, struct mail_path *out,
    struct str *out_rest, struct err *e)
{
	struct str s = in;
	enum err_kind kind;

	*out = (struct mail_path){ .local = STR_INIT(""), .domain = STR_INIT("") };
	if (take_char(&s, '<')) {
		kind = take_bracketed(a, &s, flags, out, e);
	} else if (flags & PATH_BARE_OK) {
		s = str_head(in, str_find(in, ' '));
		kind = take_mailbox(a, &s, false, flags, out, e);
		if (kind == ERR_OK && s.n > 0)
			kind = err_set(e, ERR_SYNTAX, 0, "bad octet in the address");
		s = str_skip(in, str_find(in, ' '));
	} else {
		kind = err_set(e, ERR_SYNTAX, 0, "no < before the address");
	}
	if (kind != ERR_OK)
		return kind;
	if (s.n > 0 && s.p[0] != ' ')
		return err_set(e, ERR_SYNTAX, 0, "no space after the address");
	while (take_char(&s, ' '))
		;
	*out_rest = s;
	return set_text(a, out, e);
}

enum err_kind path_parse_bare(struct arena *a, struct str in, unsigned flags,
    struct mail_path *out, struct err *e)
{
	enum err_kind kind;

	*out = (struct mail_path){ .local = STR_INIT(""), .domain = STR_INIT("") };
	kind = take_mailbox(a, &in, false, flags, out, e);
	if (kind != ERR_OK)
		return kind;
	return in.n == 0 ? set_text(a, out, e) : err_set(e, ERR_SYNTAX, 0, "bad octet in the address");
}

static bool keyword_valid(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!is_alnum(s.p[i]) && (s.p[i] != '-' || i == 0))
			return false;
	}
	return s.n > 0;
}

static bool value_valid(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '=')
			return false;
	}
	return s.n > 0;
}

enum err_kind esmtp_params_parse(struct str in, struct esmtp_param out[ESMTP_PARAMS_MAX],
    size_t *out_n, struct err *e)
{
	struct str item;

	*out_n = 0;
	while (str_split(&in, ' ', &item)) {
		struct esmtp_param p = { .value = str_n(NULL, 0) };
		size_t eq = str_find(item, '=');

		if (item.n == 0)
			continue;
		p.keyword = str_head(item, eq);
		if (eq < item.n)
			p.value = str_skip(item, eq + 1);
		if (!keyword_valid(p.keyword) || (p.value.p != NULL && !value_valid(p.value)))
			return err_set(e, ERR_SYNTAX, 0, "bad parameter");
		if (esmtp_param_find(out, *out_n, p.keyword) != NULL)
			return err_set(e, ERR_SYNTAX, 0, "parameter given twice");
		if (*out_n == ESMTP_PARAMS_MAX)
			return err_set(e, ERR_LIMIT, 0, "too many parameters");
		out[(*out_n)++] = p;
	}
	return ERR_OK;
}

const struct esmtp_param *esmtp_param_find(const struct esmtp_param *v, size_t n,
    struct str keyword)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq_nocase(v[i].keyword, keyword))
			return &v[i];
	}
	return NULL;
}

/* RFC 3461 s.4: upper case only. */
static int hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err_kind xtext_decode(struct arena *a, struct str in, struct str *out, struct err *e)
{
	char *p = arena_alloc(a, in.n + 1);
	size_t n = 0;

	if (p == NULL)
		return err_set(e, ERR_LIMIT, 0, "no memory for xtext");
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c <= ' ' || c > '~' || c == '=')
			return err_set(e, ERR_SYNTAX, 0, "bad octet in xtext");
		if (c == '+') {
			int hi = i + 2 < in.n ? hex_value(in.p[i + 1]) : -1;
			int lo = i + 2 < in.n ? hex_value(in.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return err_set(e, ERR_SYNTAX, 0, "bad escape in xtext");
			c = (char)(hi << 4 | lo);
			i += 2;
			if ((unsigned char)c < ' ' || c == 127)
				return err_set(e, ERR_SYNTAX, 0, "control character in xtext");
		}
		p[n++] = c;
	}
	*out = str_n(p, n);
	return ERR_OK;
}

bool xtext_encode(struct buf *out, struct str in)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c > ' ' && c <= '~' && c != '+' && c != '=')
			buf_putc(out, c);
		else
			buf_printf(out, "+%02X", (unsigned)(unsigned char)c);
	}
	return !out->full;
}
