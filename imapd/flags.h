/* SPDX-License-Identifier: ISC */
/* Message flags on the wire (RFC 3501 s.2.3.2). */
#ifndef IMAPD_FLAGS_H
#define IMAPD_FLAGS_H

#include "../libbase/buf.h"
#include "../libstore/mailbox.h"
#include "token.h"

struct flag_list {
	uint32_t flags;			/* enum msg_flag */
	struct str *keywords;		/* distinct (case ignored) */
	size_t n_keywords;
	bool over;			/* more or longer keywords than a mailbox can have: answer [LIMIT] */
};

/* "(\Seen $Forwarded)"; with bare_allowed also "\Seen $Forwarded" up to the end of the text
 * (STORE). \Recent is passed over: clients copy it from what they fetched. Unknown system flags
 * are a syntax error. */
bool flags_parse(struct cursor *c, struct arena *a, bool bare_allowed, struct flag_list *out);

/* Appends "\Answered \Seen …" without parentheses; returns how many were put. */
size_t flags_put_system(struct buf *out, uint32_t flags);
/* Appends "(\Seen kw)" as message m has them. */
void flags_put_message(struct buf *out, const struct mailbox *mb, const struct message *m);

#endif
