/* SPDX-License-Identifier: ISC */
/* One pass over the lines. `open` holds the multiparts and messages that enclose the current line,
 * at most MIME_DEPTH_MAX; a line that starts with "--" is held against their boundaries, the
 * innermost first. A delimiter ends everything inside its multipart at once, so a missing close
 * delimiter costs nothing. What a hostile message can make us remember has budgets: parts,
 * parameters, and octets that must be copied because they were folded or escaped. */
#include <stdlib.h>

#include "charset.h"
#include "header.h"
#include "mime.h"
#include "mime_int.h"

enum {
	PARTS_FIRST = 4,
	RAW_PARAMS_MAX = 10000,		/* of one field, before joining */
	PARAMS_BUDGET = 50000,		/* of one message */
	COPY_BUDGET_OCTETS = 4 * 1024 * 1024
};

/* A parameter as it stands in the field. */
struct raw_param {
	struct str name;		/* without RFC 2231 marks */
	struct str value;
	uint32_t order;
	int32_t section;		/* RFC 2231 s.3 continuation number, -1 when there is none */
	bool encoded;			/* the name ended in "*" */
};

struct budget {
	struct arena *a;
	struct raw_param *raw;
	size_t raw_cap;
	size_t params, copy_octets;
	bool failed;			/* the arena is full */
	bool exceeded;
};

static void budget_init(struct budget *b, struct arena *a)
{
	*b = (struct budget){ .a = a, .params = PARAMS_BUDGET, .copy_octets = COPY_BUDGET_OCTETS };
}

/* Room for a copy of n octets, NULL when there is none: the caller then keeps its raw view. */
static char *budget_octets(struct budget *b, size_t n)
{
	char *p;

	if (n > b->copy_octets) {
		b->exceeded = true;
		return NULL;
	}
	b->copy_octets -= n;
	p = arena_alloc(b->a, n);
	if (p == NULL)
		b->failed = true;
	return p;
}

/* -- fields with parameters -- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_cfws(struct str *s)
{
	size_t depth = 0, i;

	for (i = 0; i < s->n; i++) {
		char c = s->p[i];

		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == '\\' && depth > 0 && i + 1 < s->n)
			i++;
		else if (depth == 0 && !is_blank(c))
			break;
	}
	*s = str_skip(*s, i);
}

static struct str take_until(struct str *s, const char *stops)
{
	size_t n = 0;
	struct str out;

	while (n < s->n && (s->p[n] == '\0' || strchr(stops, s->p[n]) == NULL))
		n++;
	out = str_head(*s, n);
	*s = str_skip(*s, n);
	return out;
}

static struct str unescape(struct budget *b, struct str raw)
{
	char *p = budget_octets(b, raw.n);
	size_t n = 0;

	if (p == NULL)
		return raw;
	for (size_t i = 0; i < raw.n; i++) {
		char c = raw.p[i];

		if (c == '\\' && i + 1 < raw.n)
			c = raw.p[++i];
		if (c != '\r' && c != '\n' && c != '\0')
			p[n++] = c;
	}
	return str_n(p, n);
}

/* The opening quote is taken already; a missing closing one is at the end. */
static struct str take_quoted(struct budget *b, struct str *s)
{
	bool plain = true;
	struct str raw;
	size_t n = 0;

	while (n < s->n && s->p[n] != '"') {
		char c = s->p[n];

		if (c == '\\' || c == '\r' || c == '\n' || c == '\0')
			plain = false;
		n += c == '\\' && n + 1 < s->n ? 2 : 1;
	}
	raw = str_head(*s, n);
	*s = str_skip(*s, n + 1);
	return plain ? raw : unescape(b, raw);
}

static struct str take_value(struct budget *b, struct str *s)
{
	skip_cfws(s);
	if (s->n > 0 && s->p[0] == '"') {
		*s = str_skip(*s, 1);
		return take_quoted(b, s);
	}
	return take_until(s, " \t\r\n;(\"");
}

/* "name", "name*", "name*3", "name*3*" */
static void split_marks(struct raw_param *p)
{
	size_t star = str_find(p->name, '*');
	struct str marks = str_skip(p->name, star);
	uint64_t section;

	p->section = -1;
	if (marks.n == 0)
		return;
	if (marks.p[marks.n - 1] == '*') {
		p->encoded = true;
		marks.n--;
	}
	if (marks.n > 0 && !str_to_u64(str_skip(marks, 1), RAW_PARAMS_MAX, &section)) {
		p->encoded = false;	/* no form of RFC 2231: the star is part of the name */
		return;
	}
	if (marks.n > 0)
		p->section = (int32_t)section;
	p->name.n = star;
}

static struct raw_param *raw_param_add(struct budget *b, size_t n)
{
	struct raw_param *v;
	size_t cap = b->raw_cap > 0 ? b->raw_cap * 2 : 8;

	if (n == RAW_PARAMS_MAX) {
		b->exceeded = true;
		return NULL;
	}
	if (n < b->raw_cap)
		return &b->raw[n];
	v = arena_array(b->a, cap, sizeof *v);
	if (v == NULL) {
		b->failed = true;
		return NULL;
	}
	if (n > 0)
		memcpy(v, b->raw, n * sizeof *v);
	b->raw = v;
	b->raw_cap = cap;
	return &v[n];
}

static size_t take_params(struct budget *b, struct str s)
{
	size_t n = 0;

	for (;;) {
		struct raw_param p = { .order = (uint32_t)n }, *to;

		skip_cfws(&s);
		if (s.n == 0)
			return n;
		if (s.p[0] == ';' || s.p[0] == '=' || s.p[0] == '"' || s.p[0] == ')') {
			s = str_skip(s, 1);
			continue;
		}
		p.name = take_until(&s, " \t\r\n;=(\")");
		skip_cfws(&s);
		if (s.n == 0 || s.p[0] != '=')
			continue;
		s = str_skip(s, 1);
		p.value = take_value(b, &s);
		split_marks(&p);
		if (p.name.n == 0)
			continue;
		if ((to = raw_param_add(b, n)) == NULL)
			return n;
		*to = p;
		n++;
	}
}

static int raw_param_cmp(const void *x, const void *y)
{
	const struct raw_param *a = x, *b = y;
	int r = str_cmp_nocase(a->name, b->name);

	if (r == 0)
		r = (a->section > b->section) - (a->section < b->section);
	return r != 0 ? r : (a->order > b->order) - (a->order < b->order);
}

static size_t put_percent(char *to, struct str s)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c > ' ' && c < 127 && c != '%' && c != '\'' && c != '"') {
			to[n++] = (char)c;
		} else {
			to[n++] = '%';
			to[n++] = hex[c >> 4];
			to[n++] = hex[c & 15];
		}
	}
	return n;
}

/* The sections 0, 1, 2 … at the front of v as one value. Returns how many belong together. */
static size_t join_sections(struct budget *b, const struct raw_param *v, size_t n,
    struct mime_param *out)
{
	size_t used = 0, max = 0, at = 0;
	char *p;

	while (used < n && v[used].section == (int32_t)used && str_eq_nocase(v[used].name, v[0].name))
		max += v[used++].value.n * 3;
	out->name = v[0].name;
	out->extended = v[0].encoded;
	out->value = v[0].value;
	if (used < 2 || (p = budget_octets(b, max)) == NULL)
		return used > 0 ? used : 1;
	for (size_t i = 0; i < used; i++) {
		if (out->extended && !v[i].encoded) {
			at += put_percent(p + at, v[i].value);
		} else if (v[i].value.n > 0) {
			memcpy(p + at, v[i].value.p, v[i].value.n);
			at += v[i].value.n;
		}
	}
	out->value = str_n(p, at);
	return used;
}

static void join_params(struct budget *b, size_t n_raw, struct mime_params *out)
{
	size_t max = n_raw < MIME_PARAMS_MAX ? n_raw : MIME_PARAMS_MAX, i = 0;
	bool marked = false;

	*out = (struct mime_params){ NULL, 0 };
	for (size_t k = 0; k < n_raw; k++)
		marked |= b->raw[k].section >= 0;
	if (marked)
		qsort(b->raw, n_raw, sizeof *b->raw, raw_param_cmp);
	if (max > b->params)
		max = b->params;
	if (n_raw == 0)
		return;
	out->v = arena_array(b->a, max, sizeof *out->v);
	if (out->v == NULL) {
		b->failed = true;
		return;
	}
	for (; i < n_raw && out->n < max; out->n++)
		i += join_sections(b, b->raw + i, n_raw - i, &out->v[out->n]);
	b->exceeded |= i < n_raw;
	b->params -= out->n;
}

static void field_parse(struct budget *b, struct str s, struct str *out_value,
    struct mime_params *out)
{
	struct str more;

	skip_cfws(&s);
	*out_value = take_until(&s, " \t\r\n;(");
	skip_cfws(&s);
	if (s.n > 0 && s.p[0] == '/') {		/* "text / plain" */
		s = str_skip(s, 1);
		skip_cfws(&s);
		more = take_until(&s, " \t\r\n;(");
		char *p = budget_octets(b, out_value->n + more.n + 1);

		if (p != NULL) {
			memcpy(p, out_value->p, out_value->n);
			p[out_value->n] = '/';
			memcpy(p + out_value->n + 1, more.p, more.n);
			*out_value = str_n(p, out_value->n + more.n + 1);
		}
	}
	join_params(b, take_params(b, s), out);
}

bool mime_field_parse(struct arena *a, struct str field, struct str *out_value,
    struct mime_params *out)
{
	struct budget b;

	budget_init(&b, a);
	field_parse(&b, field, out_value, out);
	return !b.failed;
}

const struct mime_param *mime_param_find(const struct mime_params *p, struct str name)
{
	const struct mime_param *found = NULL;

	for (size_t i = 0; i < p->n; i++) {
		if (!str_eq_nocase(p->v[i].name, name))
			continue;
		if (p->v[i].extended)		/* RFC 6266 s.4.3: the extended one is better */
			return &p->v[i];
		if (found == NULL)
			found = &p->v[i];
	}
	return found;
}

static int hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool extended_to_utf8(struct arena *a, struct str value, struct buf *out)
{
	struct str charset, language;
	char *p = arena_alloc(a, value.n);
	size_t n = 0;

	if (p == NULL)
		return false;
	if (!str_split(&value, '\'', &charset) || !str_split(&value, '\'', &language) ||
	    value.p == NULL)
		return true;
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if (c == '%' && value.n - i > 2) {
			int hi = hex_value(value.p[i + 1]);
			int lo = hex_value(value.p[i + 2]);

			if (hi >= 0 && lo >= 0) {
				c = (char)(hi << 4 | lo);
				i += 2;
			}
		}
		p[n++] = c;
	}
	if (charset_to_utf8(out, charset, str_n(p, n)) == CHARSET_UNKNOWN)
		charset_to_utf8(out, STR(""), str_n(p, n));
	return true;
}

struct str mime_param_utf8(struct arena *a, const struct mime_param *p)
{
	struct buf b = BUF_INIT(p->value.n * 4 + 16);
	struct str out = str_n(NULL, 0);

	if (!p->extended)
		header_decode(&b, p->value);
	else if (!extended_to_utf8(a, p->value, &b))
		goto done;
	out = str_dup(a, buf_str(&b));
done:
	buf_free(&b);
	return out;
}

enum mime_encoding mime_encoding_of(struct str name)
{
	static const struct { struct str name; enum mime_encoding encoding; } t[] = {
		{ STR_INIT("7bit"), MIME_7BIT }, { STR_INIT("8bit"), MIME_8BIT },
		{ STR_INIT("binary"), MIME_BINARY }, { STR_INIT("base64"), MIME_BASE64 },
		{ STR_INIT("quoted-printable"), MIME_QP },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		if (str_eq_nocase(name, t[i].name))
			return t[i].encoding;
	}
	return name.n == 0 ? MIME_7BIT : MIME_OTHER;
}

/* -- the tree -- */

struct open_part {
	int32_t ix, last_child;
	struct str boundary;		/* p == NULL: a message, or a boundary that no longer counts */
};

struct parser {
	struct str m;
	struct budget budget;
	struct mime_part *parts;
	size_t n, cap, parts_max;
	struct open_part open[MIME_DEPTH_MAX];
	size_t n_open;
	int32_t current;		/* the leaf, or MIME_NONE in a preamble or epilogue */
	bool in_header;
	size_t lines;			/* line ends before the current line */
	bool truncated;
};

static struct mime_part *part_new(struct parser *p)
{
	struct mime_part *v;
	size_t cap = p->cap > 0 ? p->cap * 4 : PARTS_FIRST;

	if (p->n == p->cap) {
		v = arena_array(p->budget.a, cap, sizeof *v);
		if (v == NULL) {
			p->budget.failed = true;
			return NULL;
		}
		if (p->n > 0)
			memcpy(v, p->parts, p->n * sizeof *v);
		p->parts = v;
		p->cap = cap;
	}
	return &p->parts[p->n++];
}

/* Starts a part whose header begins at `at`. The last part that may be has all the rest. */
static bool part_begin(struct parser *p, size_t at)
{
	struct mime_part *part = part_new(p);
	int32_t ix = (int32_t)p->n - 1;

	if (part == NULL)
		return false;
	*part = (struct mime_part){
		.parent = MIME_NONE, .next = MIME_NONE, .first_child = MIME_NONE, .header_at = at,
	};
	if (p->n_open > 0) {
		struct open_part *o = &p->open[p->n_open - 1];
		struct mime_part *parent = &p->parts[o->ix];

		part->parent = o->ix;
		part->depth = (uint16_t)(parent->depth + 1);
		if (parent->n_children++ == 0)
			parent->first_child = ix;
		else
			p->parts[o->last_child].next = ix;
		o->last_child = ix;
	}
	if (p->n >= p->parts_max) {
		for (size_t i = 0; i < p->n_open; i++)
			p->open[i].boundary = str_n(NULL, 0);
	}
	p->current = ix;
	p->in_header = true;
	return true;
}

static void set_type(struct parser *p, struct mime_part *part, struct str field)
{
	struct str value;
	size_t slash;

	if (part->type.p != NULL)
		return;
	field_parse(&p->budget, field, &value, &part->params);
	slash = str_find(value, '/');
	if (slash == 0 || slash + 1 >= value.n) {
		part->params.n = 0;		/* RFC 2045 s.5.2: no type at all */
		return;
	}
	part->type = str_head(value, slash);
	part->subtype = str_skip(value, slash + 1);
}

static void set_disposition(struct parser *p, struct mime_part *part, struct str field)
{
	if (part->disposition.p == NULL)
		field_parse(&p->budget, field, &part->disposition, &part->disposition_params);
}

static void set_encoding(struct parser *p, struct mime_part *part, struct str field)
{
	(void)p;
	if (part->encoding_text.p != NULL)
		return;
	skip_cfws(&field);
	part->encoding_text = take_until(&field, " \t\r\n;(");
	part->encoding = mime_encoding_of(part->encoding_text);
}

/* Folded text without its line ends. */
static struct str flat_text(struct parser *p, struct str s)
{
	s = str_trim(s);
	if (!str_has(s, '\n') && !str_has(s, '\r') && !str_has(s, '\0'))
		return s;
	if (s.n > p->budget.copy_octets)
		return s;
	p->budget.copy_octets -= s.n;
	s = header_unfold(p->budget.a, s);
	if (s.p == NULL)
		p->budget.failed = true;
	return s;
}

static void set_id(struct parser *p, struct mime_part *part, struct str field)
{
	part->id = flat_text(p, field);
}

static void set_description(struct parser *p, struct mime_part *part, struct str field)
{
	part->description = flat_text(p, field);
}

static void set_md5(struct parser *p, struct mime_part *part, struct str field)
{
	part->md5 = flat_text(p, field);
}

static void set_language(struct parser *p, struct mime_part *part, struct str field)
{
	part->language = flat_text(p, field);
}

static void set_location(struct parser *p, struct mime_part *part, struct str field)
{
	part->location = flat_text(p, field);
}

static const struct content_field {
	struct str name;		/* behind "Content-" */
	void (*set)(struct parser *, struct mime_part *, struct str);
} content_fields[] = {
	{ STR_INIT("Type"), set_type },
	{ STR_INIT("Transfer-Encoding"), set_encoding },
	{ STR_INIT("Disposition"), set_disposition },
	{ STR_INIT("ID"), set_id },
	{ STR_INIT("Description"), set_description },
	{ STR_INIT("MD5"), set_md5 },
	{ STR_INIT("Language"), set_language },
	{ STR_INIT("Location"), set_location },
};

static void read_fields(struct parser *p, struct mime_part *part)
{
	static const struct str content = STR_INIT("Content-");
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, str_head(str_skip(p->m, part->header_at), part->header_n));
	while (header_next(&it, &f)) {
		if (!str_starts_nocase(f.name, content))
			continue;
		f.name = str_skip(f.name, content.n);
		for (size_t i = 0; i < COUNTOF(content_fields); i++) {
			if (str_eq_nocase(f.name, content_fields[i].name))
				content_fields[i].set(p, part, f.value);
		}
	}
}

static void set_default_type(struct parser *p, struct mime_part *part)
{
	const struct mime_part *parent = part->parent >= 0 ? &p->parts[part->parent] : NULL;

	if (part->type.p != NULL)
		return;
	part->type = STR("text");
	part->subtype = STR("plain");
	if (parent != NULL && parent->kind == MIME_MULTIPART &&
	    str_eq_nocase(parent->subtype, STR("digest"))) {	/* RFC 2046 s.5.1.5 */
		part->type = STR("message");
		part->subtype = STR("rfc822");
	}
}

static bool is_message_type(const struct mime_part *part)
{
	return str_eq_nocase(part->type, STR("message")) &&
	    (str_eq_nocase(part->subtype, STR("rfc822")) ||
	     str_eq_nocase(part->subtype, STR("global")));
}

static struct str boundary_of(const struct mime_part *part)
{
	const struct mime_param *b = mime_param_find(&part->params, STR("boundary"));
	struct str s = b != NULL ? b->value : str_n(NULL, 0);

	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s.n > 0 && s.n <= MIME_BOUNDARY_MAX_OCTETS ? s : str_n(NULL, 0);
}

/* The current part's header ends before `at`, where its body begins. */
static bool header_end(struct parser *p, size_t at, size_t lines)
{
	struct mime_part *part = &p->parts[p->current];
	struct open_part open = { .ix = p->current, .last_child = MIME_NONE };
	bool full = part->depth + 1 >= MIME_DEPTH_MAX || p->n >= p->parts_max;
	bool message, multipart;

	p->in_header = false;
	part->header_n = at - part->header_at;
	part->body_at = at;
	part->lines = lines;		/* until body_end: the count at the body's start */
	read_fields(p, part);
	set_default_type(p, part);
	message = is_message_type(part);
	multipart = str_eq_nocase(part->type, STR("multipart"));
	if (!message && !multipart)
		return !p->budget.failed;
	if (multipart)
		open.boundary = boundary_of(part);
	if (full || (multipart && open.boundary.p == NULL)) {
		part->cut = true;
		p->truncated |= full;
		return !p->budget.failed;
	}
	part->kind = message ? MIME_MESSAGE : MIME_MULTIPART;
	p->open[p->n_open++] = open;
	p->current = MIME_NONE;
	return !p->budget.failed && (!message || part_begin(p, at));
}

static void body_end(struct parser *p, int32_t ix, size_t at, size_t lines)
{
	struct mime_part *part = &p->parts[ix];
	size_t before = part->lines;

	part->body_n = at > part->body_at ? at - part->body_at : 0;
	part->lines = part->body_n > 0 && lines > before ? lines - before : 0;
	if (part->kind == MIME_MULTIPART && part->n_children == 0) {
		part->kind = MIME_LEAF;
		part->cut = true;
	}
}

/* Ends the current part and all that is open above `keep`, at the line that starts at `at`. */
static bool close_down_to(struct parser *p, size_t keep, size_t at, bool at_delimiter)
{
	size_t end = at, lines = p->lines;

	while (p->in_header) {
		if (!header_end(p, at, p->lines))
			return false;
	}
	if (at_delimiter && end > 0 && p->m.p[end - 1] == '\n') {	/* RFC 2046 s.5.1.1 */
		end--;
		lines--;
		if (end > 0 && p->m.p[end - 1] == '\r')
			end--;
	}
	if (p->current != MIME_NONE)
		body_end(p, p->current, end, lines);
	p->current = MIME_NONE;
	while (p->n_open > keep)
		body_end(p, p->open[--p->n_open].ix, end, lines);
	return true;
}

static bool is_blank_to_end(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!is_blank(s.p[i]))
			return false;
	}
	return true;
}

/* The innermost open multipart that the line delimits; n_open when there is none. The rest of the
 * line must be blank, or a boundary that begins like another would end the wrong part. */
static size_t delimited(const struct parser *p, struct str line, bool *out_close)
{
	line = str_skip(line, 2);
	for (size_t i = p->n_open; i-- > 0;) {
		struct str b = p->open[i].boundary, rest;

		if (b.p == NULL || !str_starts(line, b))
			continue;
		rest = str_skip(line, b.n);
		*out_close = str_starts(rest, STR("--"));
		if (is_blank_to_end(*out_close ? str_skip(rest, 2) : rest))
			return i;
	}
	return p->n_open;
}

static bool take_line(struct parser *p, size_t at, size_t end)
{
	struct str line = str_n(p->m.p + at, end - at);
	size_t open = p->n_open;
	bool close = false;

	if (p->n_open > 0 && line.n > 2 && line.p[0] == '-' && line.p[1] == '-')
		open = delimited(p, line, &close);
	if (open < p->n_open) {
		if (!close_down_to(p, open + 1, at, true))
			return false;
		p->lines++;
		if (!close)
			return part_begin(p, end);
		p->open[open].boundary = str_n(NULL, 0);	/* what follows is epilogue */
		return true;
	}
	p->lines++;
	if (p->in_header && (line.p[0] == '\n' || str_eq(line, STR("\r\n"))))
		return header_end(p, end, p->lines);
	return true;
}

/* Nothing can end the current leaf any more: only count. */
static void count_rest(struct parser *p, size_t at)
{
	const char *c = p->m.p + at, *end = p->m.p + p->m.n;

	while (c < end && (c = memchr(c, '\n', (size_t)(end - c))) != NULL) {
		p->lines++;
		c++;
	}
}

static bool parse(struct parser *p)
{
	size_t at = 0;

	if (!part_begin(p, 0))
		return false;
	while (at < p->m.n) {
		size_t lf = str_find(str_skip(p->m, at), '\n');
		bool ended = at + lf < p->m.n;
		size_t end = at + lf + ended;

		if (!take_line(p, at, end))
			return false;
		p->lines -= !ended;	/* RFC 3501 counts line ends */
		at = end;
		if (!p->in_header && p->n_open == 0) {
			count_rest(p, at);
			break;
		}
	}
	return close_down_to(p, 0, p->m.n, false);
}

bool mime_parse_limited(struct arena *a, struct str message, size_t parts_max,
    struct mime_tree *out)
{
	struct parser p = { .m = message, .parts_max = parts_max };

	budget_init(&p.budget, a);
	*out = (struct mime_tree){ NULL, 0, false };
	if (!parse(&p))
		return false;
	*out = (struct mime_tree){ p.parts, p.n,
		p.truncated || p.n >= parts_max || p.budget.exceeded };
	return true;
}

bool mime_parse(struct arena *a, struct str message, struct mime_tree *out)
{
	return mime_parse_limited(a, message, MIME_PARTS_MAX, out);
}
