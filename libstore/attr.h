/* SPDX-License-Identifier: ISC */
/* Attributes: named values of a mailbox, or of the user's whole store. They serve IMAP METADATA
 * (RFC 5464: the name is the entry without "/private" or "/shared", the owner says which of the
 * two) and ACL (RFC 4314: the name is the identifier, the value its rights). They follow their
 * mailbox when it is renamed (INBOX, renamed, keeps a copy: RFC 5464 s.4.1), go when it is
 * deleted or becomes \Noselect, and are as durable and atomic as mail is.
 *
 * What is read is durable. All take the store's lock for a moment; a journal that is short, or
 * whose index does not open, is read itself. */
#ifndef ATTR_H
#define ATTR_H

#include "store.h"

enum attr_kind {			/* stored in the journal: numbers never change, 1 to 255 */
	ATTR_METADATA = 1,		/* names are told apart without regard to ASCII case, and kept in lower case */
	ATTR_ACL = 2
};

#define ATTR_OWNER_SELF "-"		/* as owner: the user whose store it is; no user's name begins so */

enum {
	ATTR_STORE = 0,			/* in place of a mailbox's id: the user's whole store */
	ATTR_OWNER_MAX_OCTETS = 64,
	ATTR_NAME_MAX_OCTETS = 120,
	ATTR_VALUE_MAX_OCTETS = 64 * 1024,	/* RFC 5464 s.4.1 wants at least 1024 */
	ATTRS_MAX = 256,			/* of one mailbox, all kinds together; RFC 5464 wants at least 10 */
	ATTRS_MAX_OCTETS = 1 << 20,		/* of their values together */
	ATTR_ARENA_OCTETS = 4 << 20,		/* an arena of this size has room for all of one mailbox */
};

struct attr {
	enum attr_kind kind;
	struct str owner;		/* empty: everybody's */
	struct str name;
	struct str value;		/* any octets; p NULL in attr_set: the attribute goes */
	uint64_t modseq;		/* of its last change; ignored by attr_set */
};

/* All attributes of a mailbox, sorted by kind, owner and name. Errors: ERR_NOENT (no such
 * mailbox), ERR_LIMIT (arena), ERR_BUSY, ERR_CORRUPT, ERR_TEMP. */
enum err_kind attr_list(struct store *s, uint32_t mailbox, struct arena *a, struct attr **out,
    size_t *out_n, struct err *e) CHECKED;
/* One of them. Errors: as above; ERR_NOENT also when there is no such attribute. */
enum err_kind attr_get(struct store *s, uint32_t mailbox, struct arena *a, enum attr_kind kind,
    struct str owner, struct str name, struct str *out_value, struct err *e) CHECKED;
/* Sets or takes away n attributes of one mailbox, all or none; taking away what is not there is
 * no error. Durable on return. Errors: ERR_NOENT (no such mailbox), ERR_SYNTAX (empty name, NUL
 * in a name or owner), ERR_LIMIT (a name, owner or value too long, or more than a mailbox may
 * have), ERR_NOSPC, ERR_BUSY, ERR_CORRUPT, ERR_TEMP. */
enum err_kind attr_set(struct store *s, uint32_t mailbox, const struct attr *v, size_t n,
    struct err *e) CHECKED;

#endif
