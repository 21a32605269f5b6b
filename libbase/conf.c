/* SPDX-License-Identifier: ISC */
/* Owns the settings read from the files, as text with the place where each stood, until conf_free.
 * Invariants: settings are in reading order, so the last of a name is the one in force; nothing is
 * interpreted before conf_get, which alone knows types; every value in a caller's struct has
 * passed the same checks whether it came from a file or from a table's default. Types and units are
 * in conf_value.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "conf.h"
#include "conf_int.h"

enum {
	CONF_FILE_MAX_BYTES = 1 << 20,
	CONF_MEMORY_MAX_BYTES = 32 << 20,
	CONF_DROPINS_MAX = 256,
	CONF_TABLES_MAX = 32,
};

struct setting {
	struct setting *next;
	struct str section, name, value;
	const char *file;
	unsigned line;
};

struct table {
	const struct conf_key *keys;
	size_t n;
};

struct conf {
	struct arena *mem;
	const char *const *sections;
	struct setting *first, **end;
	struct table tables[CONF_TABLES_MAX];	/* those given to conf_get so far */
	size_t n_tables;
};

/* Where the parser is. */
struct place {
	struct conf *c;
	const char *file;
	unsigned line;
	struct str section;	/* p == NULL before the first heading */
};

/* -- reading -- */

static enum err_kind bad(const struct place *at, struct err *e, const char *what, struct str word)
{
	return err_set(e, ERR_SYNTAX, 0, "%s:%u: %s \"%.*s\"", at->file, at->line, what,
	    STR_FMT(word));
}

static enum err_kind no_memory(struct err *e, const char *file)
{
	return err_set(e, ERR_LIMIT, 0, "%s: configuration is too large", file);
}

static enum err_kind parse_heading(struct place *at, struct str s, struct err *e)
{
	struct nearest near;
	size_t end = str_find(s, ']');
	struct str rest = str_trim(str_skip(s, end + 1));
	struct str name = str_trim(str_skip(str_head(s, end), 1));

	if (end == s.n || (rest.n > 0 && rest.p[0] != '#'))
		return bad(at, e, "heading is not [section]:", s);
	nearest_init(&near, name);
	for (const char *const *p = at->c->sections; *p != NULL; p++) {
		if (str_eq(str_of(*p), name)) {
			at->section = str_of(*p);
			return ERR_OK;
		}
		nearest_try(&near, *p);
	}
	bad(at, e, "unknown section", name);
	return nearest_say(&near, e);
}

/* The value without quotes and without what follows it; false when quotes do not match. */
static bool clean_value(struct str s, struct str *out)
{
	struct str rest;

	if (s.n > 0 && s.p[0] == '"') {
		s = str_skip(s, 1);
		*out = str_head(s, str_find(s, '"'));
		if (out->n == s.n)
			return false;
		rest = str_skip(s, out->n + 1);
		return str_trim(rest).n == 0 || str_trim(rest).p[0] == '#';
	}
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '#' && (i == 0 || s.p[i - 1] == ' ' || s.p[i - 1] == '\t')) {
			s.n = i;
			break;
		}
	}
	*out = str_trim(s);
	return true;
}

static enum err_kind parse_setting(struct place *at, struct str s, struct err *e)
{
	struct conf *c = at->c;
	size_t eq = str_find(s, '=');
	struct str name = str_trim(str_head(s, eq)), value;
	struct setting *set;

	if (eq == s.n || name.n == 0)
		return bad(at, e, "neither \"key = value\" nor \"[section]\":", s);
	if (at->section.p == NULL)
		return bad(at, e, "no [section] heading before key", name);
	if (!clean_value(str_trim(str_skip(s, eq + 1)), &value))
		return bad(at, e, "quotes do not match in the value of", name);
	set = arena_alloc(c->mem, sizeof *set);
	if (set == NULL)
		return no_memory(e, at->file);
	*set = (struct setting){ NULL, at->section, name, value, at->file, at->line };
	*c->end = set;
	c->end = &set->next;
	return ERR_OK;
}

static enum err_kind parse_line(struct place *at, struct str s, struct err *e)
{
	if (s.n > 0 && s.p[s.n - 1] == '\r')
		s.n--;
	if (str_has(s, '\0'))
		return err_set(e, ERR_SYNTAX, 0, "%s:%u: NUL octet", at->file, at->line);
	s = str_trim(s);
	if (s.n == 0 || s.p[0] == '#')
		return ERR_OK;
	return s.p[0] == '[' ? parse_heading(at, s, e) : parse_setting(at, s, e);
}

static enum err_kind slurp(int fd, const char *path, struct buf *out, struct err *e)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_SYNTAX, 0, "%s: not a regular file", path);
	for (;;) {
		if (!buf_reserve(out, 4096))
			return no_memory(e, path);
		n = read(fd, out->p + out->n, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "%s", path);
		if (n == 0)
			return ERR_OK;
		out->n += (size_t)n;
	}
}

static enum err_kind parse_file(struct conf *c, const char *path, struct err *e)
{
	struct buf text = BUF_INIT(CONF_FILE_MAX_BYTES);
	struct place at = { c, str_z(c->mem, str_of(path)), 0, { NULL, 0 } };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum err_kind k;
	struct str rest, line;

	if (fd < 0)
		return err_sys(e, errno, "%s", path);
	k = slurp(fd, path, &text, e);
	close(fd);
	rest = str_dup(c->mem, buf_str(&text));
	buf_free(&text);
	if (k == ERR_OK && (rest.p == NULL || at.file == NULL))
		k = no_memory(e, path);
	while (k == ERR_OK && str_split(&rest, '\n', &line)) {
		at.line++;
		k = parse_line(&at, line, e);
	}
	return k;
}

static int is_dropin(const struct dirent *d)
{
	struct str name = str_of(d->d_name);

	return name.n > 5 && name.p[0] != '.' && str_ends(name, STR(".conf"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);	/* not strcoll: the locale plays no part */
}

static enum err_kind parse_dropins(struct conf *c, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	struct buf name = BUF_INIT(4096);
	struct dirent **found = NULL;
	enum err_kind k = ERR_OK;
	size_t dir_n;
	int n;

	buf_put(&name, slash == NULL ? STR("") : str_n(path, (size_t)(slash - path) + 1));
	buf_put(&name, STR("conf.d/"));
	dir_n = name.n;
	if (!buf_putc(&name, '\0')) {
		buf_free(&name);
		return err_set(e, ERR_LIMIT, 0, "%s: path is too long", path);
	}
	n = scandir(name.p, &found, is_dropin, by_name);
	if (n < 0 && errno != ENOENT)
		k = err_sys(e, errno, "%s", name.p);
	if (n > CONF_DROPINS_MAX)
		k = err_set(e, ERR_LIMIT, 0, "%s: more than %d files", name.p, CONF_DROPINS_MAX);
	for (int i = 0; i < n; i++) {
		name.n = dir_n;
		buf_put(&name, str_of(found[i]->d_name));
		if (k == ERR_OK && !buf_putc(&name, '\0'))
			k = err_set(e, ERR_LIMIT, 0, "%s: path is too long", found[i]->d_name);
		if (k == ERR_OK)
			k = parse_file(c, name.p, e);
		free(found[i]);
	}
	free(found);
	buf_free(&name);
	return k;
}

enum err_kind conf_read(const char *path, const char *const *sections, struct conf **out,
    struct err *e)
{
	struct arena *mem = arena_new(CONF_MEMORY_MAX_BYTES);
	struct conf *c = arena_alloc(mem, sizeof *c);
	enum err_kind k;

	if (c == NULL) {
		arena_free(&mem);
		return no_memory(e, path);
	}
	c->mem = mem;
	c->sections = sections;
	c->end = &c->first;
	k = parse_file(c, path, e);
	if (k == ERR_OK)
		k = parse_dropins(c, path, e);
	if (k == ERR_OK)
		*out = c;
	else
		conf_free(&c);
	return k;
}

void conf_free(struct conf **c)
{
	struct arena *mem;

	if (*c == NULL)
		return;
	mem = (*c)->mem;	/* the struct itself lies in it */
	*c = NULL;
	arena_free(&mem);
}

/* -- looking up -- */

/* Is this setting the dotted form, "tls.certificate" in [program], of the key? */
static bool is_dotted(const struct setting *s, const char *program, const struct conf_key *key)
{
	struct str sec = str_of(key->section);

	return program != NULL && str_eq(s->section, str_of(program)) &&
	    str_starts(s->name, sec) && s->name.n > sec.n && s->name.p[sec.n] == '.' &&
	    str_eq(str_skip(s->name, sec.n + 1), str_of(key->name));
}

static bool is_plain_form(const struct setting *s, const struct conf_key *key)
{
	return str_eq(s->section, str_of(key->section)) && str_eq(s->name, str_of(key->name));
}

/* The setting in force, or NULL when the default is. A program's own wins over the shared one
 * wherever the two stand. */
static const struct setting *in_force(const struct conf *c, const char *program,
    const struct conf_key *key)
{
	const struct setting *shared = NULL, *own = NULL;

	for (const struct setting *s = c->first; s != NULL; s = s->next) {
		if (is_plain_form(s, key))
			shared = s;
		else if (is_dotted(s, program, key))
			own = s;
	}
	return own != NULL ? own : shared;
}

static void remember_table(struct conf *c, const struct conf_key *keys, size_t n)
{
	for (size_t i = 0; i < c->n_tables; i++) {
		if (c->tables[i].keys == keys)
			return;
	}
	if (c->n_tables == CONF_TABLES_MAX)
		err_bug("conf: more than %d tables", CONF_TABLES_MAX);
	c->tables[c->n_tables++] = (struct table){ keys, n };
}

static enum err_kind get_one(struct conf *c, const char *program, const struct conf_key *key,
    void *into, struct err *e)
{
	const struct setting *s = in_force(c, program, key);
	enum err_kind k;

	if (s == NULL && key->def == NULL)
		return err_set(e, ERR_NOENT, 0, "[%s] %s must be set", key->section, key->name);
	k = conf_value_set(c->mem, key, s != NULL ? s->value : str_of(key->def),
	    (char *)into + key->at, e);
	if (k == ERR_OK)
		return ERR_OK;
	if (s == NULL)
		err_bug("conf: default of %s.%s: %s", key->section, key->name, e->text);
	return err_note(e, "%s:%u: %s.%s", s->file, s->line, key->section, key->name);
}

enum err_kind conf_get(struct conf *c, const char *program, const struct conf_key *keys, size_t n,
    void *into, struct err *e)
{
	struct err own;

	remember_table(c, keys, n);
	for (size_t i = 0; i < n; i++) {
		enum err_kind k = get_one(c, program, &keys[i], into, e != NULL ? e : &own);

		if (k != ERR_OK)
			return k;
	}
	return ERR_OK;
}

/* -- what no table knows -- */

static bool is_known(const struct conf *c, const char *program, const struct setting *s)
{
	for (size_t t = 0; t < c->n_tables; t++) {
		for (size_t i = 0; i < c->tables[t].n; i++) {
			const struct conf_key *key = &c->tables[t].keys[i];

			if (is_plain_form(s, key) || is_dotted(s, program, key))
				return true;
		}
	}
	return false;
}

static bool is_ours(const struct conf *c, const char *program, struct str section)
{
	if (program != NULL && str_eq(section, str_of(program)))
		return true;
	for (size_t t = 0; t < c->n_tables; t++) {
		for (size_t i = 0; i < c->tables[t].n; i++) {
			if (str_eq(section, str_of(c->tables[t].keys[i].section)))
				return true;
		}
	}
	return false;
}

static enum err_kind refuse(struct conf *c, const char *program, const struct setting *s,
    struct err *e)
{
	const struct place at = { c, s->file, s->line, s->section };
	bool in_program = program != NULL && str_eq(s->section, str_of(program));
	const char *elsewhere = NULL;
	struct nearest near;

	nearest_init(&near, s->name);
	for (size_t t = 0; t < c->n_tables; t++) {
		for (size_t i = 0; i < c->tables[t].n; i++) {
			const struct conf_key *key = &c->tables[t].keys[i];

			if (str_eq(s->section, str_of(key->section)))
				nearest_try(&near, key->name);
			else if (in_program)
				nearest_try_dotted(&near, key->section, key->name);
			if (str_eq(s->name, str_of(key->name)))
				elsewhere = key->section;
		}
	}
	bad(&at, e, "unknown key", s->name);
	if (elsewhere != NULL)
		return err_set(e, ERR_SYNTAX, 0,
		    "%s:%u: unknown key \"%.*s\" in [%.*s], it belongs to [%s]", s->file, s->line,
		    STR_FMT(s->name), STR_FMT(s->section), elsewhere);
	return nearest_say(&near, e);
}

enum err_kind conf_check_unknown(struct conf *c, const char *program, struct err *e)
{
	for (const struct setting *s = c->first; s != NULL; s = s->next) {
		if (is_ours(c, program, s->section) && !is_known(c, program, s))
			return refuse(c, program, s, e);
	}
	return ERR_OK;
}

/* -- dump -- */

static void put_value(struct buf *out, struct str v)
{
	bool quote = str_has(v, '#') || (v.n > 0 && v.p[0] == '"') || str_trim(v).n != v.n;

	if (quote)
		buf_putc(out, '"');
	buf_put(out, v);
	if (quote)
		buf_putc(out, '"');
}

void conf_dump(struct conf *c, const char *program, const struct conf_key *keys, size_t n,
    bool only_set, struct buf *out)
{
	const char *heading = "";

	for (size_t i = 0; i < n; i++) {
		const struct conf_key *key = &keys[i];
		const struct setting *s = in_force(c, program, key);

		if (s == NULL && (only_set || key->def == NULL))
			continue;
		if (strcmp(heading, key->section) != 0)
			buf_printf(out, "%s[%s]\n", out->n > 0 ? "\n" : "", key->section);
		heading = key->section;
		if (!only_set)
			conf_value_describe(key, out);
		buf_printf(out, "%s = ", key->name);
		put_value(out, s != NULL ? s->value : str_of(key->def));
		buf_putc(out, '\n');
	}
}
