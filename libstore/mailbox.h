/* SPDX-License-Identifier: ISC */
/* A selected mailbox: the session's view of its messages, and the operations on them.
 *
 * The view is a snapshot that moves only in mailbox_refresh (and in this session's own operations): then messages
 * may be added at its end, flags change (marked dirty), messages go (marked gone, but keep their place until
 * mailbox_expel). So an IMAP session decides itself when sequence numbers change. Nothing appears in the view
 * before it is durable.
 *
 * Opening needs only counters; the messages are loaded by the first mailbox_load. */
#ifndef MAILBOX_H
#define MAILBOX_H

#include "body.h"
#include "store.h"

struct mailbox;

enum msg_flag {			/* stored in the journal: numbers never change */
	MSG_SEEN = 1, MSG_ANSWERED = 2, MSG_FLAGGED = 4, MSG_DELETED = 8, MSG_DRAFT = 16,
	MSG_STORED_FLAGS = 31,
	MSG_RECENT = 32		/* of this session only (RFC 3501 s.2.3.2) */
};

enum msg_dirty {		/* what the view's owner has not told its client yet; it clears the bits */
	MSG_DIRTY_OTHER = 1,	/* flags changed by another session */
	MSG_DIRTY_OWN = 2,	/* flags changed by an operation of this one */
};

struct message {
	uint32_t uid;
	uint32_t flags;		/* enum msg_flag */
	uint64_t keywords;	/* bit i: mailbox_keyword(mb, i) */
	uint64_t modseq;
	int64_t internaldate_s;
	uint32_t size_octets;	/* RFC822.SIZE */
	uint32_t record_octets;	/* of the parsed record */
	uint32_t seg, off;	/* where the journal has it */
	uint8_t dirty;		/* enum msg_dirty */
	bool gone;		/* expunged; no octets can be had for sure */
};

/* Opens by name. With recent the \Recent messages become this session's (SELECT, not EXAMINE).
 * Errors: ERR_NOENT, ERR_DENIED (\Noselect), ERR_BUSY. */
enum err_kind mailbox_open(struct store *s, struct str name, bool recent, struct mailbox **out,
    struct err *e) CHECKED;
void mailbox_close(struct mailbox **mb);

/* Counters as of the view, without loading: id, uidvalidity, uidnext, n_messages (size of the view, gone ones
 * included), n_unseen, n_recent, modseq. name is not set. */
void mailbox_counters(const struct mailbox *mb, struct mailbox_info *out);
/* True when another session deleted the mailbox: the view is all gone. */
bool mailbox_deleted(const struct mailbox *mb);

/* Loads the messages (from the index, which it rolls forward first). Cheap when loaded. To be called before the
 * functions that take a position or a UID. Errors: ERR_BUSY, ERR_NOSPC, ERR_CORRUPT, ERR_TEMP. */
enum err_kind mailbox_load(struct mailbox *mb, struct err *e) CHECKED;
size_t mailbox_n(const struct mailbox *mb);			/* messages in the view */
struct message *mailbox_at(struct mailbox *mb, size_t ix);	/* 0-based; ascending UIDs */
/* Position of the first message with a UID >= uid; mailbox_n() when there is none. */
size_t mailbox_lower_bound(const struct mailbox *mb, uint32_t uid);
/* Keywords that the mailbox knows; names in the case they were first given. After mailbox_load or mailbox_know_keywords. */
/* Makes them known without loading the messages, where that is cheaper. Errors: ERR_BUSY, ERR_NOSPC, ERR_CORRUPT (loading may
 * still work), ERR_TEMP. */
enum err_kind mailbox_know_keywords(struct mailbox *mb, struct err *e) CHECKED;
size_t mailbox_n_keywords(const struct mailbox *mb);
struct str mailbox_keyword(const struct mailbox *mb, size_t i);
/* Position of the first unseen message of the view, mailbox_n() when all are seen. Needs mailbox_load unless
 * *out_known comes back true without it. */
size_t mailbox_first_unseen(const struct mailbox *mb, bool *out_known);

/* Brings the view up to the last durable change. No system call when there was none. *out_changed (may be NULL): something
 * in this mailbox did. */
enum err_kind mailbox_refresh(struct mailbox *mb, bool *out_changed, struct err *e) CHECKED;
/* Takes gone messages out of the view; told(ctx, msgno, uid) is called for each in the order that RFC 3501
 * s.7.4.1 wants: msgno (1-based) is right after the earlier ones were removed. told may be NULL. */
void mailbox_expel(struct mailbox *mb, void (*told)(void *ctx, uint32_t msgno, uint32_t uid), void *ctx);
bool mailbox_has_gone(const struct mailbox *mb);

/* -- operations: durable when they return ERR_OK; the view then includes them -- */

struct append {
	struct str prefix;		/* header fields put before the body: Return-Path, Delivered-To */
	uint32_t flags;			/* MSG_STORED_FLAGS */
	const struct str *keywords;
	size_t n_keywords;
	int64_t internaldate_s;		/* 0: now */
	bool sync_later;		/* the caller calls store_sync before it acknowledges */
	bool last_may_pass;		/* a delivery: while there is room, this one may pass a storage limit (quota.h) */
};
enum { MAILBOX_INBOX = 0 };	/* as an id: INBOX, whichever mailbox that is now (it changes when INBOX is renamed) */
/* Files one message (body sealed) into mailbox `id` of store s, which may be another one than the body's spill
 * store. Needs no open mailbox and no index. out_uid, out_uidvalidity may be NULL.
 * Errors: ERR_NOENT (mailbox was deleted), ERR_NOSPC, ERR_QUOTA (quota.h), ERR_LIMIT (keywords; UIDs used up), ERR_BUSY,
 * ERR_TEMP. On failure nothing was filed. */
enum err_kind mailbox_append(struct store *s, uint32_t id, const struct body *b,
    const struct append *how, uint32_t *out_uid, uint32_t *out_uidvalidity, struct err *e) CHECKED;

enum flag_op { FLAG_SET, FLAG_ADD, FLAG_REMOVE };
struct flag_change {
	enum flag_op op;
	uint32_t flags;
	const struct str *keywords;	/* unknown ones are added to the mailbox (not by FLAG_REMOVE) */
	size_t n_keywords;
	uint64_t unchanged_since;	/* RFC 7162 s.3.1.3; UINT64_MAX: no condition */
};
/* Changes flags of the messages with these UIDs (ascending; those not in the mailbox are skipped). UIDs that fail
 * the condition are put into failed[] (room for n; may be NULL without condition), their number into *out_failed.
 * One journal record for all. Errors: ERR_LIMIT (keywords), ERR_NOENT (mailbox deleted), ERR_NOSPC, ERR_BUSY. */
enum err_kind mailbox_store_flags(struct mailbox *mb, const uint32_t *uids, size_t n,
    const struct flag_change *ch, uint32_t *failed, size_t *out_failed, struct err *e) CHECKED;

/* Expunges those of these UIDs that still exist; with only_deleted only those with \Deleted as of now. The messages
 * come back as gone. *out_n: how many (may be NULL). */
enum err_kind mailbox_expunge(struct mailbox *mb, const uint32_t *uids, size_t n, bool only_deleted,
    size_t *out_n, struct err *e) CHECKED;

/* Copies (move: and expunges from here, as one record group) to mailbox dst_id of the same store, flags, keywords and
 * dates kept. All or nothing. src_uids and dst_uids (room for n each) receive what was copied, *out_n the number;
 * messages that are gone are left out. Errors: ERR_NOENT (dst deleted), ERR_QUOTA (not for a move within a root),
 * ERR_LIMIT, ERR_NOSPC, ERR_BUSY. */
enum err_kind mailbox_copy(struct mailbox *mb, const uint32_t *uids, size_t n, uint32_t dst_id,
    bool move, uint32_t *src_uids, uint32_t *dst_uids, size_t *out_n, uint32_t *out_uidvalidity,
    struct err *e) CHECKED;

/* -- reading a message -- */

struct text_span {
	int fd;				/* octets of a file, for sendfile; -1: they are only in memory */
	uint64_t off, len;
	const char *p;			/* the same octets in memory */
};

struct message_text {
	struct str prefix, body;	/* the message is prefix followed by body; in memory, mapped or decoded */
	struct str record;		/* parsed record (libmail/record.h), offsets relative to body */
	/* private */
	const void *map;
	size_t map_octets;
	char *decoded;			/* a body that is stored compressed; malloc'ed */
	int large_fd;
	int seg_fd;
	uint64_t prefix_off, body_off;
};

/* The octets and the record of a message, checked against their checksum. Valid until message_text_close.
 * Errors: ERR_NOENT (gone and its octets too), ERR_CORRUPT, ERR_TEMP. */
enum err_kind message_open(struct mailbox *mb, const struct message *m, struct message_text *out,
    struct err *e) CHECKED;
void message_close(struct message_text *t);
/* The spans that hold [from, from + len) of the message (len is cut at its end); returns how many (0..2). The descriptors
 * and memory stay the library's and are valid until message_close. */
size_t message_spans(const struct message_text *t, uint64_t from, uint64_t len, struct text_span out[2]);
/* Only the parsed record: cheaper than message_open (no body is touched, the record has its own checksum). Valid until
 * store_close or store_let_go. */
enum err_kind message_record(struct mailbox *mb, const struct message *m, struct str *out,
    struct err *e) CHECKED;

#endif
