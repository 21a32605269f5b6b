/* SPDX-License-Identifier: ISC */
/* Successes remembered for a short time, so that a client that logs in every few seconds costs no crypt and
 * no PAM. Kept is only a keyed digest of everything that made the success, never a password; a question that
 * differs in any part misses and is put to the source. Shared by all processes of authd, without locks. */
#ifndef AUTHD_CACHE_H
#define AUTHD_CACHE_H

#include "../libserve/authclient.h"
#include "../libserve/digest.h"

struct cache;

struct cache_key {
	uint8_t digest[DIGEST_OCTETS];
	uint32_t ix;
};

/* Before the fork; never freed. Errors: err_sys's. */
enum err_kind cache_new(struct cache **out, struct err *e) CHECKED;

/* source: the identity of the files the source reads (its change empties the cache: nothing matches any
 * more). false when no digest is to be had; then do without the cache. */
bool cache_key(const struct cache *c, struct str source, const struct auth_question *q,
    struct cache_key *out);

/* The canonical name of a success that is younger than it was allowed to grow. */
bool cache_get(struct cache *c, const struct cache_key *k, uint64_t now_ms,
    char out_user[AUTH_USER_MAX_OCTETS + 1]);
/* A name over 63 octets is not remembered. */
void cache_put(struct cache *c, const struct cache_key *k, uint64_t until_ms, const char *user);

#endif
