/* SPDX-License-Identifier: ISC */
/* A configuration value's text, and what it means: types, units, bounds, choices; and the nearest
 * right name for a wrong one. Pure functions but for the arena. */
#include <stdio.h>
#include <string.h>

#include "conf_int.h"

/* -- edit distance -- */

enum { NEAREST_MAX_OCTETS = 64 };

/* Letters inserted, deleted or replaced, neighbours swapped (optimal string alignment); words are
 * cut at NEAREST_MAX_OCTETS. */
static unsigned edit_distance(struct str a, struct str b)
{
	unsigned row[3][NEAREST_MAX_OCTETS + 1];
	unsigned *two = row[0], *prev = row[1], *cur = row[2], *spare;

	a = str_head(a, NEAREST_MAX_OCTETS);
	b = str_head(b, NEAREST_MAX_OCTETS);
	for (size_t j = 0; j <= b.n; j++)
		prev[j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned d = prev[j - 1] + (a.p[i - 1] != b.p[j - 1]);

			if (prev[j] + 1 < d)
				d = prev[j] + 1;
			if (cur[j - 1] + 1 < d)
				d = cur[j - 1] + 1;
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] &&
			    a.p[i - 2] == b.p[j - 1] && two[j - 2] + 1 < d)
				d = two[j - 2] + 1;
			cur[j] = d;
		}
		spare = two;
		two = prev;
		prev = cur;
		cur = spare;
	}
	return prev[b.n];
}

void nearest_init(struct nearest *n, struct str wrong)
{
	*n = (struct nearest){ wrong, (unsigned)-1, "", NULL };
}

void nearest_try_dotted(struct nearest *n, const char *section, const char *name)
{
	char full[NEAREST_MAX_OCTETS];
	unsigned d;

	snprintf(full, sizeof full, "%s%s%s", section, *section != '\0' ? "." : "", name);
	d = edit_distance(n->wrong, str_of(full));
	if (d < n->distance) {
		n->distance = d;
		n->prefix = section;
		n->best = name;
	}
}

void nearest_try(struct nearest *n, const char *candidate)
{
	nearest_try_dotted(n, "", candidate);
}

enum err_kind nearest_say(const struct nearest *n, struct err *e)
{
	size_t used;

	if (e == NULL)
		return ERR_SYNTAX;
	used = strlen(e->text);
	/* A word that shares nothing with the best candidate is not a slip of the finger. */
	if (n->best != NULL && n->distance <= (n->wrong.n < 6 ? 3 : n->wrong.n / 2))
		snprintf(e->text + used, sizeof e->text - used, ", did you mean \"%s%s%s\"?",
		    n->prefix, *n->prefix != '\0' ? "." : "", n->best);
	return e->kind;
}

/* -- numbers with units -- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit units_number[] = { { "", 1 }, { NULL, 0 } };
static const struct unit units_bytes[] = {
	{ "", 1 }, { "B", 1 },
	{ "k", 1 << 10 }, { "kB", 1 << 10 }, { "kiB", 1 << 10 },
	{ "M", 1 << 20 }, { "MB", 1 << 20 }, { "MiB", 1 << 20 },
	{ "G", 1 << 30 }, { "GB", 1 << 30 }, { "GiB", 1 << 30 },
	{ NULL, 0 },
};
static const struct unit units_seconds[] = {
	{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
	{ "d", 86400000 },
	{ NULL, 0 },
};

static const struct {
	const char *name, *right;
	const struct unit *units;
} types[] = {
	[CONF_STRING] = { "string", "", NULL },
	[CONF_PATH] = { "path", "", NULL },
	[CONF_NUMBER] = { "number", "a decimal number", units_number },
	[CONF_BYTES] = { "bytes", "a number with an optional k, M or G", units_bytes },
	[CONF_SECONDS] = { "time", "a number with an optional ms, s, m, h or d", units_seconds },
	[CONF_BOOL] = { "boolean", "", NULL },
	[CONF_CHOICE] = { "choice", "", NULL },
	[CONF_LIST] = { "list", "", NULL },
};

static bool parse_units(const struct unit *u, struct str s, uint64_t *out)
{
	size_t i = 0;
	struct str unit;
	uint64_t v;

	while (i < s.n && ascii_is_digit(s.p[i]))
		i++;
	if (!str_to_u64(str_head(s, i), UINT64_MAX, &v))
		return false;
	unit = str_trim(str_skip(s, i));
	for (; u->name != NULL; u++) {
		if (str_eq_nocase(unit, str_of(u->name)))
			return !__builtin_mul_overflow(v, u->factor, out);
	}
	return false;
}

static enum err_kind set_number(const struct conf_key *key, struct str text, uint64_t *into,
    struct err *e)
{
	const struct unit *units = types[key->type].units;
	uint64_t v, lo = 0, hi = UINT64_MAX;

	if (!parse_units(units, text, &v))
		return err_set(e, ERR_SYNTAX, 0, "\"%.*s\" is not %s", STR_FMT(text),
		    types[key->type].right);
	if ((key->min != NULL && !parse_units(units, str_of(key->min), &lo)) ||
	    (key->max != NULL && !parse_units(units, str_of(key->max), &hi)))
		err_bug("conf: bounds of %s.%s", key->section, key->name);
	if (v < lo)
		return err_set(e, ERR_SYNTAX, 0, "%.*s is less than %s", STR_FMT(text), key->min);
	if (v > hi)
		return err_set(e, ERR_SYNTAX, 0, "%.*s is more than %s", STR_FMT(text), key->max);
	*into = v;
	return ERR_OK;
}

/* -- the other types -- */

static enum err_kind set_string(struct arena *mem, struct str text, char **into, struct err *e)
{
	char *z = str_z(mem, text);

	if (z == NULL)
		return err_set(e, ERR_LIMIT, 0, "configuration is too large");
	*into = z;
	return ERR_OK;
}

static enum err_kind set_path(struct arena *mem, const struct conf_key *key, struct str text,
    char **into, struct err *e)
{
	bool may_be_empty = key->def != NULL && key->def[0] == '\0';

	if (text.n == 0 ? !may_be_empty : text.p[0] != '/')
		return err_set(e, ERR_SYNTAX, 0, "\"%.*s\" is not an absolute path", STR_FMT(text));
	return set_string(mem, text, into, e);
}

static enum err_kind set_bool(struct str text, bool *into, struct err *e)
{
	static const char *const words[][2] = {
		{ "no", "yes" }, { "false", "true" }, { "off", "on" },
	};

	for (size_t i = 0; i < COUNTOF(words); i++) {
		for (size_t v = 0; v < 2; v++) {
			if (str_eq_nocase(text, str_of(words[i][v]))) {
				*into = v == 1;
				return ERR_OK;
			}
		}
	}
	return err_set(e, ERR_SYNTAX, 0, "\"%.*s\" is neither yes nor no", STR_FMT(text));
}

static enum err_kind set_choice(const struct conf_key *key, struct str text, uint64_t *into,
    struct err *e)
{
	struct str rest = str_of(key->choices), word;

	for (uint64_t ix = 0; str_split(&rest, '|', &word); ix++) {
		if (str_eq_nocase(text, word)) {
			*into = ix;
			return ERR_OK;
		}
	}
	return err_set(e, ERR_SYNTAX, 0, "\"%.*s\" is none of %s", STR_FMT(text), key->choices);
}

/* Takes the next word off *rest; false at the end. */
static bool next_word(struct str *rest, struct str *word)
{
	size_t i = 0;

	while (rest->n > 0 && strchr(" \t,", rest->p[0]) != NULL)
		*rest = str_skip(*rest, 1);
	while (i < rest->n && strchr(" \t,", rest->p[i]) == NULL)
		i++;
	*word = str_head(*rest, i);
	*rest = str_skip(*rest, i);
	return i > 0;
}

static enum err_kind set_list(struct arena *mem, struct str text, struct conf_list *into,
    struct err *e)
{
	struct str rest = text, word;
	struct conf_list list = { NULL, 0 };
	size_t n = 0;

	while (next_word(&rest, &word))
		n++;
	list.v = arena_array(mem, n + 1, sizeof *list.v);
	if (list.v == NULL)
		return err_set(e, ERR_LIMIT, 0, "configuration is too large");
	for (rest = text; next_word(&rest, &word); list.n++) {
		enum err_kind k = set_string(mem, word, &list.v[list.n], e);

		if (k != ERR_OK)
			return k;
	}
	*into = list;
	return ERR_OK;
}

enum err_kind conf_value_set(struct arena *mem, const struct conf_key *key, struct str text,
    void *into, struct err *e)
{
	switch (key->type) {
	case CONF_STRING:
		return set_string(mem, text, into, e);
	case CONF_PATH:
		return set_path(mem, key, text, into, e);
	case CONF_NUMBER:
	case CONF_BYTES:
	case CONF_SECONDS:
		return set_number(key, text, into, e);
	case CONF_BOOL:
		return set_bool(text, into, e);
	case CONF_CHOICE:
		return set_choice(key, text, into, e);
	case CONF_LIST:
		return set_list(mem, text, into, e);
	}
	err_bug("conf: type of %s.%s", key->section, key->name);
}

void conf_value_describe(const struct conf_key *key, struct buf *out)
{
	buf_printf(out, "# %s", types[key->type].name);
	if (key->min != NULL || key->max != NULL)
		buf_printf(out, " %s..%s", key->min != NULL ? key->min : "",
		    key->max != NULL ? key->max : "");
	if (key->choices != NULL)
		buf_printf(out, " %s", key->choices);
	buf_printf(out, ": %s\n", key->help != NULL ? key->help : "");
}
