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
	uint64_t n_seen;		/* records that were about this mailbox */
	uint32_t epoch;			/* …of this epoch */
	uint64_t seq_wanted;		/* while the journal is replayed for a view: how far */
	bool loaded;
	struct message *m;		/* ascending UIDs; gone ones keep their place */
	size_t n, cap, n_gone;
	struct index_keywords kw;
	bool kw_known;
	uint32_t first_unseen;		/* of a view that is not loaded, as the slot has it, … */
	uint64_t unseen_modseq;		/* … while modseq is this */
};

/* Applies records after mb->seq up to and including `upto`; those with seq in [own_from, own_to] are this session's
 * own. upto may pass the durable watermark only while the caller holds the lock and makes it durable before anything
 * is shown. */
enum err_kind view_advance(struct mailbox *mb, uint64_t upto, uint64_t own_from, uint64_t own_to,
    struct err *e) CHECKED;

/* -- change.c: the frame of every operation on an open mailbox -- */
/* Brings the view to the tail and takes the lock. */
enum err_kind op_begin(struct mailbox *mb, struct err *e) CHECKED;
/* k: how deciding went; n records are appended when it is fine. Drops the lock. */
enum err_kind op_end(struct mailbox *mb, const struct journal_rec *r, size_t n, enum err_kind k, struct err *e) CHECKED;
/* A message of the view that is not gone; NULL. */
struct message *find_uid(struct mailbox *mb, uint32_t uid);

/* Keywords that a change adds to a mailbox: their records go before it in its group. */
struct kw_new {
	struct rec_keyword rec[STORE_KEYWORDS_MAX];
	struct str name[STORE_KEYWORDS_MAX];
	size_t n;
};
/* The mask for names; unknown ones are added when `add` is given, skipped when it is NULL. Errors: ERR_LIMIT. */
enum err_kind keyword_mask(uint32_t mailbox, const struct index_keywords *kw, const struct str *names, size_t n,
    struct kw_new *add, uint64_t *out, struct err *e) CHECKED;
/* Their records into r, which has room for STORE_KEYWORDS_MAX; returns how many. */
size_t keyword_records(const struct kw_new *add, struct journal_rec *r);

#endif
