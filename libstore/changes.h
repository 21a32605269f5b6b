/* SPDX-License-Identifier: ISC */
/* The change feed: what has changed in a store since a number, in the order in which it
 * happened, told record by record from the journal's tail. NOTIFY (RFC 5465), VANISHED (RFC 7162
 * s.3.2.10) and pushing are built on it; store_watch says when to look. Reading costs what has
 * changed, and nothing while nothing has; no index is opened, no message is loaded.
 *
 * Only what is durable is told, so nothing is ever taken back. The number of a change is its
 * MODSEQ. Numbers may be kept and given to another feed later, in another process, after a
 * restart. What a feed can't tell (compaction has removed the records, they are damaged, the
 * store was put back to an earlier time) it answers with ERR_NOENT: start anew, which means to
 * open a feed at CHANGES_NOW and then look at everything once. */
#ifndef CHANGES_H
#define CHANGES_H

#include "attr.h"
#include "record_types.h"
#include "store.h"

struct changes;

enum change_kind {
	CHANGE_NEW, CHANGE_FLAGS, CHANGE_EXPUNGE,	/* messages; a move is NEW there and EXPUNGE here */
	CHANGE_CREATED, CHANGE_RENAMED, CHANGE_DELETED,	/* mailboxes; with a deleted one its messages go without a word */
	CHANGE_SUBSCRIBED, CHANGE_UNSUBSCRIBED,
	CHANGE_ATTR, CHANGE_QUOTA, CHANGE_VIEW,
	CHANGE_KINDS
};

struct change_told {			/* what is pointed to is valid during the call */
	enum change_kind kind;
	uint32_t mailbox;		/* its id; 0: attributes of the store, limits of the root "" */
	struct str name;		/* of the mailbox, after the change (DELETED: before it);
					 * empty when it is not known */
	struct str old_name;		/* RENAMED */
	bool noselect;			/* DELETED: the name stays, as \Noselect */
	uint32_t uidvalidity;
	uint64_t modseq;
	const struct uid_range *uids;	/* NEW, FLAGS, EXPUNGE, VIEW: ascending */
	size_t n_uids;
	enum attr_kind attr;		/* ATTR */
	struct str owner, what;		/* ATTR: owner and name; VIEW: name in `what` */
	bool set;			/* ATTR: false: it is no more; VIEW: false: taken out
					 * (all of it without uids) */
};

#define CHANGES_NOW UINT64_MAX

/* A feed of what comes after number `after`, which is one of changes_seq, a MODSEQ, or
 * CHANGES_NOW. The store must stay open until changes_close. Errors: ERR_NOENT (start anew),
 * ERR_BUSY, ERR_TEMP. */
enum err_kind changes_open(struct store *s, uint64_t after, struct changes **out,
    struct err *e) CHECKED;
void changes_close(struct changes **c);
/* Calls each for every change that has become durable since; when it returns false the rest
 * waits for the next call (what belongs to the same record is still told). No system call when
 * there is nothing. Errors: ERR_NOENT (start anew; so will every further call answer), ERR_BUSY,
 * ERR_TEMP. */
enum err_kind changes_read(struct changes *c, bool (*each)(void *ctx, const struct change_told *t),
    void *ctx, struct err *e) CHECKED;
/* The number of the last record that was looked at. */
uint64_t changes_seq(const struct changes *c);

#endif
