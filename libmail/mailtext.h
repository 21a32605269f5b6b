/* SPDX-License-Identifier: ISC */
/* Which texts of a message a search looks at (RFC 9051 s.6.4.4), told in one place to who matches
 * and to who indexes: what the first finds, the second has seen. */
#ifndef MAILTEXT_H
#define MAILTEXT_H

#include "record.h"
#include "text.h"

enum mailtext_what {
	MAILTEXT_HEADER = 1,	/* all fields */
	MAILTEXT_BODY = 2,	/* the text parts, and the headers of messages inside the message */
	MAILTEXT_ALL = 3,
	MAILTEXT_SOLID = 4	/* besides: whoever looks is after octets from 33 to 126 only. A header that
				 * needs no decoding may then be shown as it stands, all fields as one text */
};

enum {
	MAILTEXT_RULES = 1,	/* to be raised with any change to what libmail makes of a message's
				 * texts, or folds them to */
	MAILTEXT_SCRATCH_OCTETS = TEXT_READ_MAX_OCTETS * 2	/* the scratch buffer's max */
};

struct mailtext {
	struct str prefix, body;	/* the message is prefix followed by body */
	const struct record *record;	/* of body; NULL is fine where only headers are asked for */
};

/* Sees the decoded UTF-8 of one text after the other (a field with its name, a text part), each in
 * one or more pieces of whole characters; begins: this piece is the first of a text. Returns true
 * when it has seen enough. */
typedef bool mailtext_see(void *ctx, struct str utf8, bool begins);

/* Can MAILTEXT_SOLID be said for this needle, as text_fold leaves it? */
bool mailtext_is_solid(struct str folded);
/* All texts of that kind. True: `see` has seen enough. */
bool mailtext_each(const struct mailtext *m, unsigned what, struct buf *scratch, mailtext_see *see,
    void *ctx);
/* The values of the fields of that name (any case). A value is always the end of what mailtext_each
 * shows of its field. */
bool mailtext_field(const struct mailtext *m, struct str name, struct buf *scratch,
    mailtext_see *see, void *ctx);

#endif
