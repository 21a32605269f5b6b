/* SPDX-License-Identifier: ISC */
/* A selected mailbox from inside: shared by view.c (how it follows the journal), change.c (operations) and
 * message.c. */
#ifndef MAILBOX_INT_H
#define MAILBOX_INT_H

#include "store_int.h"

struct mailbox {
	struct store *s;
	struct mailbox *next;		/* the store's list of open ones */
	uint32_t id;
	uint32_t uidvalidity, uidnext, n_messages, n_unseen, n_recent;
	uint32_t recent_from;		/* UIDs from here below recent_to are this session's \Recent */
	uint32_t recent_to;
	bool takes_recent;		/* SELECT: later arrivals are its \Recent, too */
	uint64_t modseq;
	bool deleted;
	struct journal_pos pos;		/* the view is what records before it say… */
	uint64_t seq;			/* …the last of which has this number */
	uint32_t epoch;			/* …of this epoch */
	uint64_t seq_wanted;		/* while the journal is replayed for a view: how far */
	bool loaded;
	struct message *m;		/* ascending UIDs; gone ones keep their place */
	size_t n, cap, n_gone;
	struct index_keywords kw;
	bool kw_known;
};

/* Applies records after mb->seq up to and including `upto`; those with seq in [own_from, own_to] are this session's
 * own. upto may pass the durable watermark only while the caller holds the lock and makes it durable before anything
 * is shown. */
enum err_kind view_advance(struct mailbox *mb, uint64_t upto, uint64_t own_from, uint64_t own_to,
    struct err *e) CHECKED;

#endif
