/* SPDX-License-Identifier: ISC */
/* The stores that a deliver process has open: a few, the least recently used one goes first. authd
 * is asked again when its last answer is older than STORES_TRUST_MS, so that a user who is gone
 * gets no mail. */
#ifndef DELIVER_STORES_H
#define DELIVER_STORES_H

#include "../libserve/authclient.h"
#include "../libstore/mailbox.h"

enum {
	STORES_MAX = 16,		/* each costs a few descriptors and mappings */
	STORES_TRUST_MS = 10000,
};

struct open_store {
	char user[AUTH_USER_MAX_OCTETS + 1];	/* canonical name; empty: slot is free */
	struct store *store;
	uint64_t asked_ms, used;
	uint64_t dev, ino;
	unsigned n_pins;
};

struct stores;

/* Opens nothing yet. To be called before the file system is lost. Exits 75 without memory. */
struct stores *stores_new(void);
/* What the configuration says about stores that are opened from now on. */
void stores_configure(struct stores *st, const struct store_conf *conf);

/* The store of `user` as an address spells it: the exact name, else in lower case. Valid until the
 * next call, longer while n_pins > 0 (the caller counts up and down). Errors: ERR_NOENT no such
 * user; ERR_TEMP, and those of store_open; ERR_LIMIT every slot is pinned. */
enum err_kind stores_get(struct stores *st, struct str user, struct open_store **out, struct err *e)
    CHECKED;

/* Is there such a user? canonical holds AUTH_USER_MAX_OCTETS + 1 octets. Opens the store only with
 * `soon`: it is about to be used. Errors: ERR_NOENT, ERR_TEMP. */
enum err_kind stores_user(struct stores *st, struct str user, bool soon, char *canonical,
    struct err *e) CHECKED;

/* Has that user room for a message of so many octets (0: not known)? Asked only when the store is open already; other
 * errors than the quota's are for later. Errors: ERR_QUOTA. */
enum err_kind stores_room(struct stores *st, const char *canonical, uint64_t octets, struct err *e) CHECKED;

/* Closes one whose last operation failed in a way that a fresh start may cure. */
void stores_forget(struct open_store *o);

/* The mailbox for user+folder: that name, with '.' for '/', either without regard to case; INBOX
 * when there is none of these. Errors: those of store_find. */
enum err_kind stores_folder(struct open_store *o, struct arena *scratch, struct str folder,
    uint32_t *out_id, struct err *e) CHECKED;

#endif
