/* SPDX-License-Identifier: ISC */
/* What conf.c and conf_value.c share. */
#ifndef CONF_INT_H
#define CONF_INT_H

#include "buf.h"
#include "conf.h"

/* Checks text against the key's type, choices and bounds and writes the value at `into`, of the type that
 * enum conf_type tells; strings go to mem. Errors: ERR_SYNTAX saying what is wrong and what would be right;
 * ERR_LIMIT mem is full. */
enum err_kind conf_value_set(struct arena *mem, const struct conf_key *key, struct str text,
    void *into, struct err *e) CHECKED;

/* One comment line for the dump: "# TYPE [MIN..MAX] [CHOICES]: help". */
void conf_value_describe(const struct conf_key *key, struct buf *out);

/* The right name for a wrong word: the candidate at the smallest edit distance. */
struct nearest {
	struct str wrong;
	unsigned distance;
	const char *prefix, *best;	/* "prefix.best" when prefix is not "" */
};
void nearest_init(struct nearest *n, struct str wrong);
void nearest_try(struct nearest *n, const char *candidate);
void nearest_try_dotted(struct nearest *n, const char *section, const char *name);
/* Appends `, did you mean "x"?` to e's text unless nothing is near; returns e's kind (ERR_SYNTAX when e is
 * NULL). */
enum err_kind nearest_say(const struct nearest *n, struct err *e);

#endif
