/* SPDX-License-Identifier: ISC */
/* A message's octets on their way into one or several stores: collected in memory, in a file of the first store
 * when they pass STORE_INLINE_MAX_OCTETS; parsed once. */
#ifndef BODY_H
#define BODY_H

#include "store.h"

struct body;

/* spill: the store whose directory takes a large body (must stay open as long as the body). max_octets: of the
 * whole message. Exits 75 without memory. */
struct body *body_new(struct store *spill, uint64_t max_octets);
/* Frees it and removes a spilled file that no message refers to. NULL is fine. */
void body_free(struct body **b);
/* Appends octets. Errors: ERR_LIMIT over max_octets, ERR_NOSPC, ERR_TEMP; after an error the body can only be
 * freed. */
enum err_kind body_add(struct body *b, struct str octets, struct err *e) CHECKED;
/* No more octets: syncs a spilled file and parses the message into its record (libmail/record.h). To be called once
 * before the first append. Bare LF are the caller's to refuse or turn into CR LF. Errors: ERR_NOSPC, ERR_TEMP. */
enum err_kind body_seal(struct body *b, struct err *e) CHECKED;
uint64_t body_octets(const struct body *b);
/* All octets as one view, after body_seal (mapped when spilled); valid as long as the body. */
struct str body_view(const struct body *b);
/* The parsed record, after body_seal. */
struct str body_record(const struct body *b);

#endif
