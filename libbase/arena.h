/* SPDX-License-Identifier: ISC */
/* An arena: memory with the lifetime of one command. It is an argument wherever something is
 * allocated from it, so a signature shows the lifetime. */
#ifndef ARENA_H
#define ARENA_H

#include "base.h"

struct arena;

/* A new arena that may hold at most max_bytes between two resets. Exits 75 when there is no
 * memory for the arena itself. */
struct arena *arena_new(size_t max_bytes);

/* Frees everything and sets *a to NULL. NULL is fine. */
void arena_free(struct arena **a);

/* Forgets everything that was given out; keeps one block for reuse. */
void arena_reset(struct arena *a);

/* n zeroed octets, aligned for any type, valid until the reset. NULL when the arena's limit would
 * be passed: a caller whose size comes from a peer checks it and answers with its protocol's
 * limit refusal. n = 0 gives a valid pointer. Exits 75 when the system has no memory. */
void *arena_alloc(struct arena *a, size_t n) CHECKED;

/* The same for n items of size octets; NULL also when the product overflows. */
void *arena_array(struct arena *a, size_t n, size_t size) CHECKED;

/* Octets given out since the last reset. */
size_t arena_used(const struct arena *a);

#endif
