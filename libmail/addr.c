/* SPDX-License-Identifier: ISC */
/* Address lists. scan() finds the next structural octet outside quoted strings, comments and domain
 * literals; the region before it is then rendered as a phrase or as a spec. The scanner never goes
 * back over an octet and comments are counted, not nested calls, so any input is linear. */
#include "addr.h"

enum {
	LIST_FIRST = 4,
	ROUTE_HOPS_LOOKED_AT = 100
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* `at` is at the opening octet; the offset behind the closing one, or the end. */
static size_t skip_quoted(struct str s, size_t at)
{
	for (at++; at < s.n && s.p[at] != '"'; at++) {
		if (s.p[at] == '\\' && at + 1 < s.n)
			at++;
	}
	return at < s.n ? at + 1 : s.n;
}

static size_t skip_comment(struct str s, size_t at)
{
	size_t depth = 0;

	for (; at < s.n; at++) {
		if (s.p[at] == '(')
			depth++;
		else if (s.p[at] == '\\' && at + 1 < s.n)
			at++;
		else if (s.p[at] == ')' && --depth == 0)
			return at + 1;
	}
	return s.n;
}

/* A literal ends at "]", or where it can't be one: the list goes on there. */
static size_t skip_literal(struct str s, size_t at)
{
	for (at++; at < s.n && s.p[at] != ']'; at++) {
		if (s.p[at] == ',' || s.p[at] == '<' || s.p[at] == '>')
			return at;
	}
	return at < s.n ? at + 1 : s.n;
}

static size_t scan(struct str s, size_t at, const char *stops)
{
	while (at < s.n) {
		char c = s.p[at];

		if (c != '\0' && strchr(stops, c) != NULL)
			return at;
		if (c == '"')
			at = skip_quoted(s, at);
		else if (c == '(')
			at = skip_comment(s, at);
		else if (c == '[')
			at = skip_literal(s, at);
		else
			at++;
	}
	return at;
}

static size_t skip_cfws(struct str s, size_t at)
{
	while (at < s.n && (is_blank(s.p[at]) || s.p[at] == '('))
		at = s.p[at] == '(' ? skip_comment(s, at) : at + 1;
	return at;
}

struct list {
	struct arena *a;
	struct str s;
	struct addr_list *out;
	size_t cap, max;
	bool in_group;
};

static bool is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '"' || c == '(' || c == '\\' || c == '\r' || c == '\n' || c == '\t' ||
		    c == '\0' || (c == ' ' && i > 0 && s.p[i - 1] == ' '))
			return false;
	}
	return true;
}

static size_t copy_quoted(char *to, struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\\' && i + 1 < s.n)
			c = s.p[++i];
		if (c != '\r' && c != '\n' && c != '\0')
			to[n++] = c;
	}
	return n;
}

static struct str inner_quoted(struct str s, size_t at, size_t end)
{
	bool closed = end - at > 1 && s.p[end - 1] == '"';

	return str_n(s.p + at + 1, end - at - 1 - closed);
}

static bool has_blank(struct str s)
{
	return str_has(s, ' ') || str_has(s, '\t') || str_has(s, '\n') || str_has(s, '\r');
}

/* Words without quotes and comments; where blanks or comments were there is one space, or nothing
 * in a spec. p == NULL when the arena is full. */
static struct str render(struct arena *a, struct str s, bool is_spec)
{
	size_t n = 0, at = 0;
	bool gap = false;
	char *p;

	s = str_trim(s);
	if (is_plain(s) && !(is_spec && has_blank(s)))
		return s;
	p = arena_alloc(a, s.n + 1);
	if (p == NULL)
		return str_n(NULL, 0);
	while (at < s.n) {
		size_t end = at + 1;

		if (is_blank(s.p[at]) || s.p[at] == '(') {
			at = skip_cfws(s, at);
			gap = true;
			continue;
		}
		if (gap && n > 0 && !is_spec)
			p[n++] = ' ';
		gap = false;
		if (s.p[at] == '"') {
			end = skip_quoted(s, at);
			n += copy_quoted(p + n, inner_quoted(s, at, end));
		} else if (s.p[at] != '\0') {
			p[n++] = s.p[at];
		}
		at = end;
	}
	return str_n(p, n);
}

/* The text of the region's last comment: "a@b (Alice)". NIL when there is none. */
static struct str last_comment(struct list *l, size_t at, size_t end)
{
	struct str s = str_head(l->s, end), found = str_n(NULL, 0), out;
	char *p;

	while ((at = scan(s, at, "(")) < s.n) {
		size_t after = skip_comment(s, at);

		found = str_n(s.p + at + 1, after - at - 1);
		if (found.n > 0 && found.p[found.n - 1] == ')')
			found.n--;
		at = after;
	}
	if (found.p == NULL || is_plain(found))
		return found;
	p = arena_alloc(l->a, found.n + 1);
	if (p == NULL)
		return str_n(NULL, 0);
	out = str_n(p, copy_quoted(p, found));
	return str_trim(out);
}

static struct str slice(const struct list *l, size_t from, size_t to)
{
	return str_n(l->s.p + from, to > from ? to - from : 0);
}

static void add(struct list *l, struct addr item)
{
	struct addr_list *out = l->out;

	if (out->n == l->max) {
		out->truncated = true;
		return;
	}
	if (out->n == l->cap) {
		size_t cap = l->cap > 0 ? l->cap * 2 : LIST_FIRST;
		struct addr *v = arena_array(l->a, cap, sizeof *v);

		if (v == NULL) {
			out->truncated = true;
			l->max = out->n;
			return;
		}
		if (out->n > 0)
			memcpy(v, out->v, out->n * sizeof *v);
		out->v = v;
		l->cap = cap;
	}
	out->v[out->n++] = item;
}

static void set_spec(struct list *l, struct addr *item, size_t from, size_t at_sign, size_t end)
{
	item->mailbox = render(l->a, slice(l, from, at_sign), true);
	item->host = str_n("", 0);
	if (at_sign < end)
		item->host = render(l->a, slice(l, at_sign + 1, end), true);
}

/* "@a,@b:" in front of an angle address; the offset behind it. */
static size_t take_route(struct list *l, size_t at, struct addr *item)
{
	size_t start = skip_cfws(l->s, at), end = start;

	if (start >= l->s.n || l->s.p[start] != '@')
		return at;
	for (int hops = 0; hops < ROUTE_HOPS_LOOKED_AT; hops++) {
		end = scan(l->s, end, ",:<>;");
		if (end >= l->s.n || l->s.p[end] != ',')
			break;
		end++;
	}
	if (end >= l->s.n || l->s.p[end] != ':')
		return at;
	item->adl = render(l->a, slice(l, start, end), true);
	return end + 1;
}

/* `at` is behind "<"; what follows ">" up to the next address is dropped. */
static size_t take_angle(struct list *l, size_t at, struct addr *item)
{
	size_t from = take_route(l, at, item);
	size_t at_sign = scan(l->s, from, "@>,;<");
	size_t end = at_sign;

	if (at_sign < l->s.n && l->s.p[at_sign] == '@')
		end = scan(l->s, at_sign + 1, ">,;<");
	set_spec(l, item, from, at_sign, end);
	if (end < l->s.n && l->s.p[end] == '>')
		end++;
	return scan(l->s, end, ",;<");
}

static size_t take_named(struct list *l, size_t start, size_t angle)
{
	struct addr item = { .kind = ADDR_MAILBOX };
	size_t end = take_angle(l, angle + 1, &item);
	struct str name = render(l->a, slice(l, start, angle), false);

	item.name = name.n > 0 ? name : last_comment(l, start, end);
	add(l, item);
	return end;
}

/* `at_sign` ended the local part; a "<" behind shows that it was an unquoted name. */
static size_t take_bare(struct list *l, size_t start, size_t at_sign)
{
	struct addr item = { .kind = ADDR_MAILBOX };
	size_t end = scan(l->s, at_sign + 1, ",;<");

	if (end < l->s.n && l->s.p[end] == '<')
		return take_named(l, start, end);
	set_spec(l, &item, start, at_sign, end);
	item.name = last_comment(l, start, end);
	add(l, item);
	return end;
}

static void take_words(struct list *l, size_t start, size_t end)
{
	struct addr item = { .kind = ADDR_MAILBOX, .host = STR_INIT("") };

	item.mailbox = render(l->a, slice(l, start, end), false);
	if (item.mailbox.n > 0)
		add(l, item);
}

static void group_end(struct list *l)
{
	if (l->in_group)
		add(l, (struct addr){ .kind = ADDR_GROUP_END });
	l->in_group = false;
}

static void group_start(struct list *l, size_t start, size_t end)
{
	struct addr item = { .kind = ADDR_GROUP_START };

	group_end(l);
	item.mailbox = render(l->a, slice(l, start, end), false);
	l->in_group = true;
	add(l, item);
}

static size_t take_item(struct list *l, size_t start)
{
	size_t stop = scan(l->s, start, "<@,;:");
	char c = stop < l->s.n ? l->s.p[stop] : ',';

	if (c == '<')
		return take_named(l, start, stop);
	if (c == '@')
		return take_bare(l, start, stop);
	if (c == ':') {
		group_start(l, start, stop);
		return stop + 1;
	}
	take_words(l, start, stop);
	return stop;
}

void addr_parse_list(struct arena *a, struct str value, size_t max, struct addr_list *out)
{
	struct list l = { .a = a, .s = value, .out = out, .max = max };
	size_t at = 0;

	*out = (struct addr_list){ NULL, 0, false };
	while (!out->truncated && (at = skip_cfws(value, at)) < value.n) {
		if (value.p[at] == ';')
			group_end(&l);
		if (value.p[at] == ';' || value.p[at] == ',')
			at++;
		else
			at = take_item(&l, at);
	}
	/* A group that was begun ends, though max be passed by one: a client needs the pair. */
	l.max += l.in_group;
	group_end(&l);
}
