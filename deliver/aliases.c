/* SPDX-License-Identifier: ISC */
/* Owns the aliases file's grammar. Invariants: every view in the table points into its own copy of
 * the text, which is edited in place (quotes removed, names lower-cased) and only ever gets
 * shorter; names are sorted and unique. */
#include <stdlib.h>

#include "aliases.h"

struct parse {
	struct aliases *a;
	size_t cap, targets_cap;
	char *at, *end;
	unsigned line;
	void (*report)(void *ctx, unsigned line, const char *why);
	void *ctx;
};

static void complain(struct parse *p, unsigned line, const char *why)
{
	if (p->report != NULL)
		p->report(p->ctx, line, why);
}

static void *grow(void *v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return v;
	*cap = *cap == 0 ? 64 : *cap * 2;
	v = reallocarray(v, *cap, size);
	if (v == NULL)
		exit(75);
	return v;
}

/* Steps over the end of a line; true when the next one continues this. Comment and empty lines in
 * between do not end a continued line. */
static bool next_line(struct parse *p)
{
	for (;;) {
		char *lf = memchr(p->at, '\n', (size_t)(p->end - p->at));
		char *c;

		p->at = lf == NULL ? p->end : lf + 1;
		p->line++;
		if (p->at == p->end)
			return false;
		for (c = p->at; c < p->end && (*c == ' ' || *c == '\t' || *c == '\r'); c++)
			;
		if (c < p->end && *c != '\n' && *c != '#')
			return *p->at == ' ' || *p->at == '\t';
	}
}

/* Blanks and, inside one entry, continued lines. False at the entry's end. */
static bool skip_blanks(struct parse *p)
{
	for (;;) {
		if (p->at == p->end)
			return false;
		if (*p->at == '\n') {
			if (!next_line(p))
				return false;
		} else if (*p->at == ' ' || *p->at == '\t' || *p->at == '\r') {
			p->at++;
		} else {
			return true;
		}
	}
}

/* A word up to a comma, the stop or the line's end, quotes undone in place: `"|cmd a, b"`. Blanks
 * inside an unquoted word stay (`|cmd a`), those at its end go. False: a quote is not closed. */
static bool take_word(struct parse *p, char stop, struct str *out)
{
	char *start = p->at, *to = p->at, *kept = p->at;
	bool quoted = false;

	for (; p->at < p->end && *p->at != '\n'; p->at++) {
		char c = *p->at;

		if (c == '"') {
			quoted = !quoted;
			kept = to;
			continue;
		}
		if (quoted && c == '\\' && p->at + 1 < p->end && p->at[1] != '\n')
			c = *++p->at;
		else if (!quoted && (c == ',' || c == stop))
			break;
		*to++ = c;
		if (quoted || (c != ' ' && c != '\t' && c != '\r'))
			kept = to;
	}
	*out = str_n(start, (size_t)(kept - start));
	return !quoted;
}

static const struct {
	struct str mark;
	enum alias_kind kind;
} marks[] = {
	{ STR_INIT("\\"), ALIAS_USER },
	{ STR_INIT("|"), ALIAS_COMMAND },
	{ STR_INIT("/"), ALIAS_FILE },
	{ STR_INIT(":include:"), ALIAS_INCLUDE },
};

static void add_target(struct parse *p, struct str word)
{
	struct aliases *a = p->a;
	struct alias_target t = { ALIAS_NAME, word };

	for (size_t i = 0; i < COUNTOF(marks); i++) {
		if (!str_starts_nocase(word, marks[i].mark))
			continue;
		t.kind = marks[i].kind;
		t.text = str_skip(word, marks[i].mark.n);
		break;
	}
	a->targets = grow(a->targets, a->n_targets, &p->targets_cap, sizeof *a->targets);
	a->targets[a->n_targets++] = t;
}

/* Leaves the parser at the first octet after the entry. */
static void skip_entry(struct parse *p)
{
	while (next_line(p))
		;
}

static bool take_targets(struct parse *p, unsigned line)
{
	struct str word;

	while (skip_blanks(p)) {
		if (*p->at == ',') {
			p->at++;
			continue;
		}
		if (!take_word(p, ',', &word)) {
			complain(p, line, "a quote is not closed");
			return false;
		}
		if (p->a->n_targets == ALIASES_MAX) {
			complain(p, line, "too many targets in the file");
			return false;
		}
		if (word.n > 0)
			add_target(p, word);
	}
	return true;
}

static void take_entry(struct parse *p)
{
	struct aliases *a = p->a;
	unsigned line = p->line;
	size_t first = a->n_targets;
	char *start = p->at;
	struct str name;
	bool ok = take_word(p, ':', &name);

	if (!ok || name.n == 0 || p->at == p->end || *p->at != ':') {
		complain(p, line, "not \"name: target, target\"");
		p->at = start;
		skip_entry(p);
		return;
	}
	p->at++;
	if (!take_targets(p, line)) {
		a->n_targets = first;
		skip_entry(p);
		return;
	}
	if (a->n_targets == first || a->n == ALIASES_MAX) {
		complain(p, line, a->n == ALIASES_MAX ? "too many aliases" : "no targets");
		a->n_targets = first;
		return;
	}
	for (size_t i = 0; i < name.n; i++)
		a->text[(name.p - a->text) + (ptrdiff_t)i] = ascii_lower(name.p[i]);
	a->v = grow(a->v, a->n, &p->cap, sizeof *a->v);
	a->v[a->n++] = (struct alias){ name, (uint32_t)first, (uint32_t)(a->n_targets - first),
		line };
}

static int by_name(const void *x, const void *y)
{
	const struct alias *a = x, *b = y;
	int d = str_cmp(a->name, b->name);

	return d != 0 ? d : a->line < b->line ? -1 : a->line > b->line;
}

static void sort_unique(struct parse *p)
{
	struct aliases *a = p->a;
	size_t n = 0;

	if (a->n == 0)
		return;
	qsort(a->v, a->n, sizeof *a->v, by_name);
	for (size_t i = 0; i < a->n; i++) {
		if (n > 0 && str_eq(a->v[n - 1].name, a->v[i].name))
			complain(p, a->v[i].line, "was there before; the first one counts");
		else
			a->v[n++] = a->v[i];
	}
	a->n = n;
}

void aliases_parse(struct str text, void (*report)(void *ctx, unsigned line, const char *why),
    void *ctx, struct aliases *out)
{
	struct parse p = { .a = out, .line = 1, .report = report, .ctx = ctx };

	*out = (struct aliases){ .text = malloc(text.n + 1) };
	if (out->text == NULL)
		exit(75);
	if (text.n > 0)
		memcpy(out->text, text.p, text.n);
	p.at = out->text;
	p.end = out->text + text.n;
	while (p.at < p.end) {
		char *c;

		for (c = p.at; c < p.end && (*c == ' ' || *c == '\t' || *c == '\r'); c++)
			;
		if (c == p.end || *c == '\n' || *c == '#') {
			skip_entry(&p);
		} else if (c != p.at) {
			complain(&p, p.line, "a continued line without a first one");
			skip_entry(&p);
		} else {
			take_entry(&p);
		}
	}
	sort_unique(&p);
}

void aliases_free(struct aliases *a)
{
	free(a->text);
	free(a->v);
	free(a->targets);
	*a = (struct aliases){ .n = 0 };
}

const struct alias *aliases_find(const struct aliases *a, struct str name)
{
	size_t lo = 0, hi = a->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int d = str_cmp_nocase(a->v[mid].name, name);

		if (d == 0)
			return &a->v[mid];
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}
