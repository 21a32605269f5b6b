/* SPDX-License-Identifier: ISC */
/* The engine in the memory of the process: for unit tests, which show with it that nothing above the door knows what is
 * behind it. A skip list: every item is in the list of level 0, one in four of each level also in the next. What a
 * transaction changed is noted, newest first, with what an abort needs to take it back. Nothing is written to the disk,
 * nothing shared, nothing survives a close: each process makes its own rows from the journal. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

enum { LEVELS = 12 };	/* enough for 4^12 items */

const struct engine_facts engine_facts = { "memory", false };

struct item {
	char *key, *value;
	size_t n_key, n_value;
	int levels;
	struct item *next[];
};

/* A change that the open transaction made. */
struct undo {
	struct undo *older;
	enum { ADDED, REPLACED, DELETED } what;
	struct item *item;		/* DELETED: out of the list, kept here */
	char *value;			/* REPLACED: what it was */
	size_t n_value;
};

struct engine {
	struct item *head[LEVELS];
	struct undo *undo;
	bool in_txn;
	uint32_t random;
};

/* -- memory -- */

/* A copy with at least one octet, so that NULL means no memory and nothing else. */
static char *copy_of(struct str s)
{
	char *p = malloc(s.n > 0 ? s.n : 1);

	if (p != NULL && s.n > 0)
		memcpy(p, s.p, s.n);
	return p;
}

static enum err_kind no_memory(struct err *e)
{
	return err_set(e, ERR_TEMP, ENOMEM, "index: no memory");
}

static void item_free(struct item *it)
{
	free(it->key);
	free(it->value);
	free(it);
}

/* -- the list -- */

static struct str key_of(const struct item *it)
{
	return str_n(it->key, it->n_key);
}

/* The first item not before key. before[l], when wanted, is the link of level l that points, or would point, at key. */
static struct item *find(struct engine *en, struct str key, struct item **before[LEVELS])
{
	struct item **links = en->head;

	for (int l = LEVELS - 1; l >= 0; l--) {
		while (links[l] != NULL && str_cmp(key_of(links[l]), key) < 0)
			links = links[l]->next;
		if (before != NULL)
			before[l] = &links[l];
	}
	return links[0];
}

static struct item *find_equal(struct engine *en, struct str key, struct item **before[LEVELS])
{
	struct item *it = find(en, key, before);

	return it != NULL && str_eq(key_of(it), key) ? it : NULL;
}

static void link_in(struct engine *en, struct item *it)
{
	struct item **before[LEVELS];

	find(en, key_of(it), before);
	for (int l = 0; l < it->levels; l++) {
		it->next[l] = *before[l];
		*before[l] = it;
	}
}

static void unlink_from(struct engine *en, struct item *it)
{
	struct item **before[LEVELS];

	find(en, key_of(it), before);
	for (int l = 0; l < it->levels; l++)
		*before[l] = it->next[l];
}

static struct item *item_new(struct engine *en, struct str key, struct str value)
{
	struct item *it;
	int levels = 1;

	en->random = en->random * 1664525u + 1013904223u;
	for (uint32_t r = en->random >> 8; levels < LEVELS && (r & 3) == 0; r >>= 2)
		levels++;
	it = calloc(1, sizeof *it + (size_t)levels * sizeof it->next[0]);
	if (it == NULL)
		return NULL;
	it->key = copy_of(key);
	it->value = copy_of(value);
	it->n_key = key.n;
	it->n_value = value.n;
	it->levels = levels;
	if (it->key == NULL || it->value == NULL) {
		item_free(it);
		return NULL;
	}
	return it;
}

/* -- open and close -- */

enum err_kind engine_open(enum engine_state since, struct engine **out, struct err *e)
{
	struct engine *en = calloc(1, sizeof *en);

	(void)since;
	if (en == NULL)
		return no_memory(e);
	*out = en;
	return ERR_OK;
}

void engine_close(struct engine **en, bool last)
{
	(void)last;
	engine_abandon(en);
}

void engine_abandon(struct engine **en)
{
	struct item *next;

	if (*en == NULL)
		return;
	engine_abort(*en);
	for (struct item *it = (*en)->head[0]; it != NULL; it = next) {
		next = it->next[0];
		item_free(it);
	}
	free(*en);
	*en = NULL;
}

enum err_kind engine_destroy(int store_dirfd, struct err *e)
{
	(void)store_dirfd;
	(void)e;
	return ERR_OK;
}

/* -- transactions -- */

enum err_kind engine_begin(struct engine *en, struct err *e)
{
	(void)e;
	if (en->in_txn)
		err_bug("index: a transaction within a transaction");
	en->in_txn = true;
	return ERR_OK;
}

/* Room for one more change, noted before it is made. */
static struct undo *note(struct engine *en, struct item *it)
{
	struct undo *u = calloc(1, sizeof *u);

	if (!en->in_txn)
		err_bug("index: a change outside of a transaction");
	if (u == NULL)
		return NULL;
	u->item = it;
	u->older = en->undo;
	en->undo = u;
	return u;
}

static void take_back(struct engine *en, struct undo *u)
{
	switch (u->what) {
	case ADDED:
		unlink_from(en, u->item);
		item_free(u->item);
		break;
	case REPLACED:
		free(u->item->value);
		u->item->value = u->value;
		u->item->n_value = u->n_value;
		break;
	case DELETED:
		link_in(en, u->item);
		break;
	}
}

enum err_kind engine_commit(struct engine *en, struct err *e)
{
	struct undo *older;

	(void)e;
	for (struct undo *u = en->undo; u != NULL; u = older) {
		older = u->older;
		free(u->value);
		if (u->what == DELETED)
			item_free(u->item);
		free(u);
	}
	en->undo = NULL;
	en->in_txn = false;
	return ERR_OK;
}

void engine_abort(struct engine *en)
{
	struct undo *older;

	for (struct undo *u = en->undo; u != NULL; u = older) {
		older = u->older;
		take_back(en, u);
		free(u);
	}
	en->undo = NULL;
	en->in_txn = false;
}

/* -- items -- */

enum err_kind engine_get(struct engine *en, struct str key, struct str *out, struct err *e)
{
	const struct item *it = find_equal(en, key, NULL);

	if (it == NULL)
		return err_set(e, ERR_NOENT, 0, "index: get: not found");
	*out = str_n(it->value, it->n_value);
	return ERR_OK;
}

static enum err_kind replace(struct engine *en, struct item *it, struct str value, struct err *e)
{
	char *copy = copy_of(value);
	struct undo *u = copy != NULL ? note(en, it) : NULL;

	if (u == NULL) {
		free(copy);
		return no_memory(e);
	}
	u->what = REPLACED;
	u->value = it->value;
	u->n_value = it->n_value;
	it->value = copy;
	it->n_value = value.n;
	return ERR_OK;
}

enum err_kind engine_put(struct engine *en, struct str key, struct str value, struct err *e)
{
	struct item *it;
	struct undo *u;

	if (key.n == 0 || key.n > ENGINE_KEY_MAX_OCTETS || value.n > ENGINE_VALUE_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets, value of %zu", key.n, value.n);
	if ((it = find_equal(en, key, NULL)) != NULL)
		return replace(en, it, value, e);
	if ((it = item_new(en, key, value)) == NULL)
		return no_memory(e);
	if ((u = note(en, it)) == NULL) {
		item_free(it);
		return no_memory(e);
	}
	u->what = ADDED;
	link_in(en, it);
	return ERR_OK;
}

static enum err_kind delete_item(struct engine *en, struct item *it, struct err *e)
{
	struct undo *u = note(en, it);

	if (u == NULL)
		return no_memory(e);
	u->what = DELETED;
	unlink_from(en, it);
	return ERR_OK;
}

enum err_kind engine_delete(struct engine *en, struct str key, struct err *e)
{
	struct item *it = find_equal(en, key, NULL);

	return it != NULL ? delete_item(en, it, e) : err_set(e, ERR_NOENT, 0, "index: delete: not found");
}

enum err_kind engine_scan(struct engine *en, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e)
{
	if (from.n > ENGINE_KEY_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets", from.n);
	for (struct item *it = find(en, from, NULL); it != NULL; it = it->next[0]) {
		if (!str_starts(key_of(it), prefix) || !each(ctx, key_of(it), str_n(it->value, it->n_value)))
			break;
	}
	return ERR_OK;
}

enum err_kind engine_delete_prefix(struct engine *en, struct str prefix, struct err *e)
{
	struct item *it, *next;
	enum err_kind k = ERR_OK;

	if (prefix.n > ENGINE_KEY_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets", prefix.n);
	for (it = find(en, prefix, NULL); k == ERR_OK && it != NULL && str_starts(key_of(it), prefix); it = next) {
		next = it->next[0];
		k = delete_item(en, it, e);
	}
	return k;
}

enum err_kind engine_tend(struct engine *en, struct err *e)
{
	(void)en;
	(void)e;
	return ERR_OK;
}
