/* SPDX-License-Identifier: ISC */
/* Between record.c and the files that make its parts: the header fields that matter (head.c), IMAP
 * octets (structure.c), subjects and message-ids (subject.c). */
#ifndef RECORD_INT_H
#define RECORD_INT_H

#include "addr.h"
#include "header.h"
#include "record.h"

/* How much of a message goes into its record; see the table in record.c. */
struct record_limits {
	size_t parts, fields, params, references;
	size_t addresses;		/* of one field */
	size_t string_octets;
	/* What is left for the whole message, nested ones included. */
	size_t all_addresses, all_value_octets;
};

enum head_role {
	HEAD_DATE, HEAD_SUBJECT, HEAD_FROM, HEAD_SENDER, HEAD_REPLY_TO, HEAD_TO, HEAD_CC, HEAD_BCC,
	HEAD_IN_REPLY_TO, HEAD_MESSAGE_ID, HEAD_REFERENCES, HEAD_ROLES
};

struct head_value {
	struct head_value *next;
	struct str value;
};

/* A message's fields by role. A field that may come once keeps its first value. */
struct head {
	struct head_value *first[HEAD_ROLES], *last[HEAD_ROLES];
};

/* Takes the field in when it has a role; false: the arena is full. */
bool head_add(struct arena *a, struct record_limits *l, struct head *h,
    const struct header_field *f) CHECKED;
bool head_read(struct arena *a, struct record_limits *l, struct str header, struct head *out)
    CHECKED;
struct str head_value(const struct head *h, enum head_role role);	/* p == NULL: none */
/* All addresses of a role's fields, at most l->addresses. */
void head_addresses(struct arena *a, struct record_limits *l, const struct head *h,
    enum head_role role, struct addr_list *out);

/* Both append; an overflow shows in out->full. false: the arena is full. */
bool envelope_put(struct arena *a, struct record_limits *l, const struct head *h, struct buf *out)
    CHECKED;
bool structure_put(struct arena *a, struct record_limits *l, struct str message,
    const struct mime_tree *tree, bool extended, struct buf *out) CHECKED;

/* Cuts `subject` (decoded UTF-8, blanks collapsed) down to RFC 5256 s.2.1's base subject. */
struct str subject_base(struct str subject, bool *out_is_reply);
/* Blanks to one space each, none at the ends; rewrites the buffer from `from` on. */
void collapse_blanks(struct buf *b, size_t from);
/* The next "<...>" of *rest, with its brackets; p == NULL when there is none. Linear over a whole
 * field. */
struct str msgid_next(struct str *rest);
/* Appends the id without blanks in it. */
void msgid_put(struct buf *out, struct str id);

#endif
