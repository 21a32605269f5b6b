/* SPDX-License-Identifier: ISC */
/* A slot is an array of words that writers and readers copy without a lock. A row that two writers mixed, or
 * that a killed writer left half done, fails its seal and is a miss. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "cache.h"

enum { CACHE_SLOTS = 16384, CACHE_USER_OCTETS = 64 };

struct row {
	uint8_t key[DIGEST_OCTETS];
	uint64_t until_ms;
	char user[CACHE_USER_OCTETS];
	uint8_t seal[DIGEST_OCTETS];		/* keyed digest of what stands before it */
};

enum { ROW_WORDS = sizeof(struct row) / sizeof(uint64_t) };
_Static_assert(sizeof(struct row) % sizeof(uint64_t) == 0, "a row is copied by words");

struct cache {
	uint8_t secret[DIGEST_OCTETS];		/* made at start, dies with authd */
	_Atomic uint64_t slots[CACHE_SLOTS][ROW_WORDS];
};

enum err_kind cache_new(struct cache **out, struct err *e)
{
	struct cache *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint8_t first[DIGEST_OCTETS];

	if (c == MAP_FAILED)
		return err_sys(e, errno, "shared memory for successes");
	/* The first digest also loads the library's provider: once, before the fork. */
	if (digest_random(c->secret, sizeof c->secret, e) != ERR_OK ||
	    digest_keyed(str_n((char *)c->secret, 1), NULL, 0, first, e) != ERR_OK) {
		munmap(c, sizeof *c);
		return e->kind;
	}
	*out = c;
	return ERR_OK;
}

static bool keyed(const struct cache *c, const struct str *parts, size_t n, uint8_t *out)
{
	return digest_keyed(str_n((const char *)c->secret, sizeof c->secret), parts, n, out, NULL) ==
	    ERR_OK;
}

bool cache_key(const struct cache *c, struct str source, const struct auth_question *q,
    struct cache_key *out)
{
	const struct str whole[] = { STR_INIT("key"), source, str_of(q->service), q->user, q->password };
	const struct str place[] = { STR_INIT("slot"), str_of(q->service), q->user };
	uint8_t d[DIGEST_OCTETS];

	/* The place does not depend on the password: a new one takes the old one's slot. */
	if (!keyed(c, whole, COUNTOF(whole), out->digest) || !keyed(c, place, COUNTOF(place), d))
		return false;
	memcpy(&out->ix, d, sizeof out->ix);
	out->ix %= CACHE_SLOTS;
	return true;
}

static bool row_seal(const struct cache *c, const struct row *r, uint8_t out[DIGEST_OCTETS])
{
	const struct str parts[] = { STR_INIT("row"),
		{ (const char *)r, offsetof(struct row, seal) } };

	return keyed(c, parts, COUNTOF(parts), out);
}

bool cache_get(struct cache *c, const struct cache_key *k, uint64_t now_ms,
    char out_user[AUTH_USER_MAX_OCTETS + 1])
{
	union { uint64_t w[ROW_WORDS]; struct row r; } u;
	uint8_t seal[DIGEST_OCTETS];

	for (size_t i = 0; i < ROW_WORDS; i++)
		u.w[i] = atomic_load_explicit(&c->slots[k->ix][i], memory_order_relaxed);
	if (u.r.until_ms <= now_ms || !digest_equal(u.r.key, k->digest, sizeof u.r.key) ||
	    !row_seal(c, &u.r, seal) || !digest_equal(u.r.seal, seal, sizeof seal))
		return false;
	memcpy(out_user, u.r.user, sizeof u.r.user);
	return true;
}

void cache_put(struct cache *c, const struct cache_key *k, uint64_t until_ms, const char *user)
{
	union { uint64_t w[ROW_WORDS]; struct row r; } u = { .w = { 0 } };

	if (strlen(user) >= sizeof u.r.user)
		return;
	memcpy(u.r.key, k->digest, sizeof u.r.key);
	u.r.until_ms = until_ms;
	memcpy(u.r.user, user, strlen(user) + 1);
	if (!row_seal(c, &u.r, u.r.seal))
		return;
	for (size_t i = 0; i < ROW_WORDS; i++)
		atomic_store_explicit(&c->slots[k->ix][i], u.w[i], memory_order_relaxed);
}
