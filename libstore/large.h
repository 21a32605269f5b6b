/* SPDX-License-Identifier: ISC */
/* Large bodies as files, and which of them nobody needs any more. */
#ifndef LARGE_H
#define LARGE_H

#include "store_int.h"

/* A list of ids of large bodies, malloc'ed. */
struct ids {
	uint64_t *v;
	size_t n, cap;
	bool no_memory;
};

/* The ids that segments first … before - 1 name. They do not change any more: no lock is needed. */
enum err_kind large_named(struct store *s, uint32_t first, uint32_t before, struct ids *out, struct err *e) CHECKED;
/* Removes those of `old` that no message names, nor an expunged one that was expunged at kept_from_ms or later. Takes the
 * lock in slices; the caller holds `compact`. */
enum err_kind large_drop(struct store *s, struct ids *old, int64_t kept_from_ms, uint64_t *out_n, struct err *e) CHECKED;
/* Removes the large bodies of messages that were expunged before kept_from_ms, without waiting for their segments, and
 * notes when there will be more to do. The caller holds `compact`. */
enum err_kind large_reap(struct store *s, int64_t kept_from_ms, uint64_t *out_n, struct err *e) CHECKED;

#endif
