/* SPDX-License-Identifier: ISC */
/* The aliases file, /etc/aliases in sendmail's form: "name: target, target", lines that start with
 * a blank continue the one before, '#' starts a comment line, names and targets may stand in double
 * quotes. Pure: text in, table out. What is not supported is kept with its kind, so that whoever
 * expands it can say so; nothing here or above ever runs a command or opens a file that an alias
 * names. */
#ifndef DELIVER_ALIASES_H
#define DELIVER_ALIASES_H

#include "../libbase/str.h"

enum {
	ALIASES_TEXT_MAX_OCTETS = 16 * 1024 * 1024,
	ALIASES_MAX = 200000,			/* names, and targets, in one file */
};

enum alias_kind {
	ALIAS_NAME,		/* a user, an alias, or an address: may be expanded again */
	ALIAS_USER,		/* "\name": a user, never an alias */
	ALIAS_COMMAND,		/* "|command" */
	ALIAS_FILE,		/* "/file" */
	ALIAS_INCLUDE,		/* ":include:file" */
};

struct alias_target {
	enum alias_kind kind;
	struct str text;	/* without its mark */
};

struct alias {
	struct str name;	/* lower case */
	uint32_t first, n;	/* of its targets */
	uint32_t line;
};

struct aliases {
	char *text;
	struct alias *v;	/* sorted by name */
	size_t n;
	struct alias_target *targets;
	size_t n_targets;
};

/* Parses text (copied). A line that can't be read is left out and reported; so is a name that was
 * there before. report may be NULL. Exits 75 without memory. */
void aliases_parse(struct str text, void (*report)(void *ctx, unsigned line, const char *why),
    void *ctx, struct aliases *out);
void aliases_free(struct aliases *a);

/* The alias of that name (any case), NULL when there is none. */
const struct alias *aliases_find(const struct aliases *a, struct str name);

#endif
