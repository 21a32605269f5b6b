/* SPDX-License-Identifier: ISC */
/* Quota: how much mail may be there (RFC 9208). A quota root covers mailboxes and has limits of
 * their octets and of the number of their messages. The root "" covers every mailbox of the
 * user; a mailbox may have a root of its own, of its name, that covers it and all that is below
 * it. Every root that covers a mailbox must have room for what comes in.
 *
 * What a root uses is kept nowhere: it is the sum of its mailboxes' counters, so it is exact
 * after any crash. Limits are in the control file: a delivery looks at them without the index.
 * They follow their mailbox when it is renamed and go with it; a rename is not held against
 * them, nor is anything that is there already when they are set.
 *
 * Enforced before anything is written: mailbox_append, mailbox_copy. */
#ifndef QUOTA_H
#define QUOTA_H

#include "store.h"

enum quota_set {			/* stored in the journal: numbers never change */
	QUOTA_STORAGE = 1, QUOTA_MESSAGES = 2
};
#define QUOTA_UNLIMITED UINT64_MAX	/* as a limit: none, whatever the site's default is */

enum { QUOTA_GRACE_SHARE = 10 };	/* a last delivered message may pass the storage limit by a tenth of it */

struct quota_limits {
	uint32_t set;			/* mask of enum quota_set */
	uint64_t storage_octets, n_messages;
};

struct quota_root {
	struct str name;		/* UTF-8, in the caller's arena */
	struct quota_limits own;	/* what was set for this root */
	struct quota_limits limits;	/* what is in force: for "" with the site's defaults; nothing that is unlimited is set */
	uint64_t used_octets, used_messages;
};

/* All roots: "" first, then by name. Errors: ERR_BUSY, ERR_LIMIT (arena). */
enum err_kind quota_list(struct store *s, struct arena *a, struct quota_root **out, size_t *out_n,
    struct err *e) CHECKED;
/* Those that cover a mailbox of this name, whether or not there is one, the outermost first: at
 * least "". Errors: ERR_BUSY, ERR_SYNTAX, ERR_LIMIT. */
enum err_kind quota_covering(struct store *s, struct arena *a, struct str mailbox,
    struct quota_root **out, size_t *out_n, struct err *e) CHECKED;
/* Gives the root of that name ("" or an existing mailbox's) these limits in place of those it
 * had; l->set 0 takes them all away, for "" back to the site's defaults. Durable on return.
 * Errors: ERR_NOENT (no such mailbox), ERR_NOSPC, ERR_BUSY, ERR_TEMP. */
enum err_kind quota_set(struct store *s, struct str root, const struct quota_limits *l,
    struct err *e) CHECKED;
/* Would a message of that many octets (0: not known) be filed by a delivery now, as far as the
 * root "" goes? Opens no index. Errors: ERR_QUOTA, ERR_BUSY. */
enum err_kind quota_check_delivery(struct store *s, uint64_t octets, struct err *e) CHECKED;
/* Is there room for a message of that many octets in a mailbox now? Before it is sent, so that
 * it need not be. Errors: ERR_QUOTA, ERR_NOENT (no such mailbox, where something is limited),
 * ERR_BUSY. */
enum err_kind quota_check_append(struct store *s, uint32_t mailbox, uint64_t octets,
    struct err *e) CHECKED;

#endif
