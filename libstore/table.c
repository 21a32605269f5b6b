/* SPDX-License-Identifier: ISC */
/* A hash table with linear probing; an item is one block: head, key, value. Deleting moves later items of the run back,
 * so there are no graves. */
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "table.h"

enum { TABLE_CAP_FIRST = 256, FULL_OF_4 = 3 };	/* grows when three quarters are used */

struct item {
	uint32_t hash;
	uint16_t n_key;
	bool seen;
	uint32_t n_value;
	char octets[];
};

struct table {
	struct item **v;
	size_t n, cap;			/* cap is a power of two */
};

struct table *table_new(void)
{
	struct table *t = calloc(1, sizeof *t);

	if (t == NULL || (t->v = calloc(TABLE_CAP_FIRST, sizeof(struct item *))) == NULL) {
		free(t);
		return NULL;
	}
	t->cap = TABLE_CAP_FIRST;
	return t;
}

void table_free(struct table **t)
{
	if (*t == NULL)
		return;
	for (size_t i = 0; i < (*t)->cap; i++)
		free((*t)->v[i]);
	free((*t)->v);
	free(*t);
	*t = NULL;
}

static struct str key_of(const struct item *x)
{
	return str_n(x->octets, x->n_key);
}

static struct table_item view_of(struct item *x)
{
	return (struct table_item){ key_of(x), str_n(x->octets + x->n_key, x->n_value), &x->seen };
}

/* The place of key, or the free one where it would go. */
static size_t place_of(const struct table *t, uint32_t hash, struct str key)
{
	size_t i = hash & (t->cap - 1);

	while (t->v[i] != NULL && (t->v[i]->hash != hash || !str_eq(key_of(t->v[i]), key)))
		i = (i + 1) & (t->cap - 1);
	return i;
}

static bool grow(struct table *t)
{
	struct table big = { calloc(t->cap * 2, sizeof(struct item *)), t->n, t->cap * 2 };

	if (big.v == NULL)
		return false;
	for (size_t i = 0; i < t->cap; i++) {
		if (t->v[i] != NULL)
			big.v[place_of(&big, t->v[i]->hash, key_of(t->v[i]))] = t->v[i];
	}
	free(t->v);
	*t = big;
	return true;
}

bool table_put(struct table *t, struct str key, struct str value)
{
	uint32_t hash = crc32c(0, key.p, key.n);
	struct item *x = malloc(sizeof *x + key.n + value.n);
	size_t i;

	if (x == NULL || (t->n * 4 >= t->cap * FULL_OF_4 && !grow(t))) {
		free(x);
		return false;
	}
	*x = (struct item){ .hash = hash, .n_key = (uint16_t)key.n, .n_value = (uint32_t)value.n };
	memcpy(x->octets, key.p, key.n);
	memcpy(x->octets + key.n, value.p, value.n);
	i = place_of(t, hash, key);
	t->n += t->v[i] == NULL;
	free(t->v[i]);
	t->v[i] = x;
	return true;
}

bool table_get(const struct table *t, struct str key, struct table_item *out)
{
	size_t i = place_of(t, crc32c(0, key.p, key.n), key);

	if (t->v[i] == NULL)
		return false;
	*out = view_of(t->v[i]);
	return true;
}

static void delete_at(struct table *t, size_t i)
{
	size_t mask = t->cap - 1;

	free(t->v[i]);
	t->v[i] = NULL;
	t->n--;
	for (size_t k = (i + 1) & mask; t->v[k] != NULL; k = (k + 1) & mask) {
		size_t home = t->v[k]->hash & mask;

		if (((k - home) & mask) < ((k - i) & mask))
			continue;	/* stands between the hole and its own place */
		t->v[i] = t->v[k];
		t->v[k] = NULL;
		i = k;
	}
}

bool table_delete(struct table *t, struct str key)
{
	size_t i = place_of(t, crc32c(0, key.p, key.n), key);

	if (t->v[i] == NULL)
		return false;
	delete_at(t, i);
	return true;
}

void table_delete_prefix(struct table *t, struct str prefix)
{
	for (size_t i = 0; i < t->cap;) {
		if (t->v[i] != NULL && str_starts(key_of(t->v[i]), prefix))
			delete_at(t, i);	/* another one may have come here */
		else
			i++;
	}
}

void table_each(const struct table *t, bool (*each)(void *ctx, const struct table_item *item), void *ctx)
{
	for (size_t i = 0; i < t->cap; i++) {
		struct table_item view;

		if (t->v[i] == NULL)
			continue;
		view = view_of(t->v[i]);
		if (!each(ctx, &view))
			return;
	}
}
