/* SPDX-License-Identifier: ISC */
/* Second chances: expunged messages, and those of deleted mailboxes, can be brought back for a while (store_conf.retain_ms),
 * as long as they are within a space (store_conf.retain_octets; the ones expunged last come first). After that compaction
 * may take them at any time. */
#ifndef GONE_H
#define GONE_H

#include "store.h"

struct gone {
	uint32_t mailbox, uid;		/* where it was */
	struct str name;		/* of that mailbox: as it is called now, or was when it was deleted */
	bool mailbox_deleted;
	uint32_t flags;			/* enum msg_flag */
	uint32_t size_octets;
	int64_t internaldate_s;
	int64_t gone_ms;		/* when it was expunged, clock time */
	struct str subject;		/* decoded; empty when there is none */
	struct str message_id;
};

/* Calls each for every expunged message that can be brought back, by mailbox and UID, until it returns false; what it is
 * given is valid during the call. Errors: ERR_BUSY, ERR_TEMP, ERR_NOSPC. */
enum err_kind store_gone_each(struct store *s, bool (*each)(void *ctx, const struct gone *g), void *ctx, struct err *e)
    CHECKED;

/* Brings back messages of one mailbox (uids ascending) into mailbox dst_id of the same store, with new UIDs; flags (but
 * \Deleted), keywords and dates are as they were. They are no longer gone then. Those that can't be brought back any more
 * are left out; *out_n: how many came back. All or nothing; durable on return.
 * Errors: ERR_NOENT (dst was deleted), ERR_LIMIT, ERR_QUOTA, ERR_NOSPC, ERR_BUSY, ERR_TEMP. */
enum err_kind store_undelete(struct store *s, uint32_t mailbox, const uint32_t *uids, size_t n, uint32_t dst_id,
    size_t *out_n, struct err *e) CHECKED;

/* Messages expunged at this clock time or later can be brought back. Errors: as store_gone_each. */
enum err_kind gone_kept_from(struct store *s, int64_t *out_ms, struct err *e) CHECKED;

#endif
