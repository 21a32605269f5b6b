/* SPDX-License-Identifier: ISC */
/* Blocks in a list, the newest first; a request larger than a block gets one of its own. */
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "arena.h"

enum { ARENA_BLOCK_BYTES = 16 * 1024 };

struct block {
	struct block *next;
	size_t cap, used;
	alignas(max_align_t) char mem[];
};

struct arena {
	struct block *head;
	size_t max, used;
};

static void die_no_memory(void)
{
	fputs("out of memory\n", stderr);
	_exit(EX_TEMPFAIL);
}

static struct block *block_new(size_t cap)
{
	struct block *b = malloc(sizeof *b + cap);

	if (b == NULL)
		die_no_memory();
	b->next = NULL;
	b->cap = cap;
	b->used = 0;
	return b;
}

struct arena *arena_new(size_t max_bytes)
{
	struct arena *a = calloc(1, sizeof *a);

	if (a == NULL)
		die_no_memory();
	a->max = max_bytes;
	return a;
}

static void free_blocks(struct block *b)
{
	while (b != NULL) {
		struct block *next = b->next;

		free(b);
		b = next;
	}
}

void arena_free(struct arena **a)
{
	if (*a == NULL)
		return;
	free_blocks((*a)->head);
	free(*a);
	*a = NULL;
}

void arena_reset(struct arena *a)
{
	struct block *keep = NULL;

	for (struct block *b = a->head, *next; b != NULL; b = next) {
		next = b->next;
		if (keep == NULL && b->cap == ARENA_BLOCK_BYTES)
			keep = b;
		else
			free(b);
	}
	if (keep != NULL) {
		keep->next = NULL;
		keep->used = 0;
	}
	a->head = keep;
	a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t need, total;
	struct block *b = a->head;
	void *p;

	if (!size_add(n, alignof(max_align_t) - 1, &need))
		return NULL;
	need &= ~(alignof(max_align_t) - 1);
	if (!size_add(a->used, need, &total) || total > a->max)
		return NULL;
	if (b == NULL || b->cap - b->used < need) {
		b = block_new(need > ARENA_BLOCK_BYTES ? need : ARENA_BLOCK_BYTES);
		b->next = a->head;
		a->head = b;
	}
	p = b->mem + b->used;
	b->used += need;
	a->used = total;
	memset(p, 0, need);
	return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t total;

	return size_mul(n, size, &total) ? arena_alloc(a, total) : NULL;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}
