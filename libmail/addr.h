/* SPDX-License-Identifier: ISC */
/* Address lists of header fields (RFC 5322 s.3.4 with all of s.4.4), as ENVELOPE wants them (RFC
 * 3501 s.7.4.2). Anything is accepted: what is no address is skipped or gives an address
 * without a host. Linear time, no recursion; encoded words stay encoded. */
#ifndef ADDR_H
#define ADDR_H

#include "../libbase/str.h"

enum { ADDR_LIST_MAX = 50000 };		/* addresses of one field that are looked at */

enum addr_kind { ADDR_MAILBOX, ADDR_GROUP_START, ADDR_GROUP_END };

struct addr {			/* p == NULL where ENVELOPE says NIL */
	enum addr_kind kind;
	struct str name;	/* display name, or an old-style comment; unquoted, unfolded */
	struct str adl;		/* source route "@a,@b" */
	struct str mailbox;	/* local part, unquoted; the group's name for ADDR_GROUP_START */
	struct str host;	/* domain, comments and blanks removed; empty when none was there */
};

struct addr_list {
	struct addr *v;
	size_t n;
	bool truncated;		/* the field had more, or the arena was full */
};

/* Parses a field's value (folded or not). At most `max` items, groups' ends included. */
void addr_parse_list(struct arena *a, struct str value, size_t max, struct addr_list *out);

#endif
