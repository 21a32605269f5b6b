/* SPDX-License-Identifier: ISC */
/* Configuration: one file of "key = value" lines under "[section]" headings, then the *.conf files of
 * the conf.d directory beside it in name order; later settings replace earlier ones. '#' at the start of
 * a line or after white space begins a comment; a value may stand in double quotes. No includes, no
 * variables, no continuation lines.
 *
 * Each program has tables of the keys it reads, and loads them into structs of its own. A program looks at
 * its own section and at the shared sections; keys of other programs' sections are theirs to check. A
 * shared key may be set for one program only by its dotted name in that program's section:
 *	[imapd]
 *	tls.certificate = /etc/ssl/imap.pem
 * The parser, the `-T` dump and the manual page's check all read the same table. */
#ifndef CONF_H
#define CONF_H

#include "arena.h"
#include "err.h"
#include "str.h"

enum conf_type {
	CONF_STRING,		/* char *; never NULL */
	CONF_PATH,		/* char *; absolute, or empty when def is "" */
	CONF_NUMBER,		/* uint64_t; decimal */
	CONF_BYTES,		/* uint64_t; decimal with optional k, M, G (powers of 1024), optional iB/B */
	CONF_SECONDS,		/* uint64_t milliseconds; number with ms, s, m, h, d (no unit: seconds) */
	CONF_BOOL,		/* bool; yes/no, true/false, on/off */
	CONF_CHOICE,		/* uint64_t: index of the value in `choices` */
	CONF_LIST,		/* struct conf_list; comma- or space-separated words */
};

struct conf_list {
	char **v;		/* v[n] is NULL */
	size_t n;
};

struct conf_key {
	const char *section, *name;
	enum conf_type type;
	const char *def;	/* in the file's own syntax; NULL: must be set */
	const char *min, *max;	/* same syntax; NULL: no bound */
	const char *choices;	/* "never|loopback|always" */
	size_t at;		/* offsetof in the struct given to conf_get */
	const char *help;	/* one line, as in the manual page */
};

struct conf;

/* Reads path (and path's directory + "/conf.d/" + "*.conf"). Everything is kept in memory, nothing is
 * checked against tables yet but the syntax and the section names: `sections` is a NULL-terminated list.
 * Errors: ERR_SYNTAX with "file:line: what" and, for an unknown section, the nearest right name;
 * ERR_NOENT; those of err_sys. On success *out is the caller's, freed by conf_free. */
enum err_kind conf_read(const char *path, const char *const *sections, struct conf **out,
    struct err *e) CHECKED;
void conf_free(struct conf **c);

/* Fills the struct at `into` from `keys` (n of them): default, then shared section, then program's own
 * section ("tls.certificate"). program may be NULL. Strings live as long as c.
 * Errors: ERR_SYNTAX "file:line: section.key: what"; ERR_NOENT for a key without default that is not set. */
enum err_kind conf_get(struct conf *c, const char *program, const struct conf_key *keys, size_t n,
    void *into, struct err *e) CHECKED;

/* To be called after all conf_get calls of a program: refuses any key in a section that this program has
 * read, and any key of the program's own section, that no table knew; ERR_SYNTAX "file:line: unknown key
 * "x", did you mean "y"?". */
enum err_kind conf_check_unknown(struct conf *c, const char *program, struct err *e) CHECKED;

/* Appends "[section]\nkey = value\n…" as in force for `program` to out. With only_set, keys at their
 * defaults are left out. */
struct buf;
void conf_dump(struct conf *c, const char *program, const struct conf_key *keys, size_t n,
    bool only_set, struct buf *out);

#endif
