/* SPDX-License-Identifier: ISC */
/* Sequence sets (RFC 3501 s.9, sequence-set): message numbers or UIDs. */
#ifndef IMAPD_SEQSET_H
#define IMAPD_SEQSET_H

#include "../libbase/buf.h"
#include "token.h"

struct seq_range {
	uint32_t lo, hi;	/* after seqset_resolve: 1 <= lo <= hi */
};

struct seqset {
	struct seq_range *v;	/* as parsed: in the order given, 0 stands for "*" */
	size_t n;
};

/* Reads a set off the text. Numbers are 1 … 2^32-1. False: syntax, or the arena is full. */
bool seqset_parse(struct cursor *c, struct arena *a, struct seqset *out);

/* Gives "*" its value, `last` (the largest number in use, 0: there is none), turns reversed
 * ranges round, sorts and joins: afterwards ranges ascend and do not touch. Without any message
 * what has a "*" in it is empty. */
void seqset_resolve(struct seqset *set, uint32_t last);

/* Is n in the (resolved) set? */
bool seqset_has(const struct seqset *set, uint32_t n);

/* Appends numbers as a set, runs of ascending neighbours as ranges, the order kept. */
void seqset_put(struct buf *out, const uint32_t *v, size_t n);

#endif
