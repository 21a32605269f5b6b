/* SPDX-License-Identifier: ISC */
/* The MIME structure of a message (RFC 2045, 2046, 2183, 2231), found in one pass over its octets.
 * Anything parses; linear time; no recursion. Strings are views of the message or arena memory. */
#ifndef MIME_H
#define MIME_H

#include "../libbase/str.h"

enum {
	MIME_DEPTH_MAX = 100,		/* multiparts and messages inside each other */
	MIME_PARTS_MAX = 10000,
	MIME_BOUNDARY_MAX_OCTETS = 256,	/* RFC 2046 s.5.1.1 says 70; real mail is longer at times */
	MIME_PARAMS_MAX = 1000,		/* of one field, after continuations are joined */
	MIME_NONE = -1
};

enum mime_kind {
	MIME_LEAF,
	MIME_MULTIPART,		/* has 1 or more children */
	MIME_MESSAGE		/* message/rfc822 or message/global: exactly 1 child, the message inside */
};

enum mime_encoding { MIME_7BIT, MIME_8BIT, MIME_BINARY, MIME_BASE64, MIME_QP, MIME_OTHER };

struct mime_param {
	struct str name;	/* as sent, without RFC 2231 marks; compare without case */
	struct str value;	/* unquoted, continuations joined */
	bool extended;		/* value is RFC 2231's charset'language'%-encoded text */
};

struct mime_params {
	struct mime_param *v;
	size_t n;
};

struct mime_part {		/* str fields: p == NULL when the header has none */
	int32_t parent, next, first_child;	/* indexes, MIME_NONE; parts are in document order */
	uint32_t n_children;
	uint16_t depth;				/* 0: the message itself */
	enum mime_kind kind;
	bool cut;		/* a multipart or message taken as a leaf: a limit, or no boundary */
	struct str type, subtype;		/* as sent; text/plain when there is none */
	struct mime_params params;
	enum mime_encoding encoding;
	struct str encoding_text;		/* as sent */
	struct str id, description, md5, language, location;
	struct str disposition;
	struct mime_params disposition_params;
	/* Offsets into the message. The header includes its empty line; body follows it. */
	size_t header_at, header_n, body_at, body_n;
	size_t lines;				/* line ends in the body: body-fld-lines */
};

struct mime_tree {
	struct mime_part *parts;		/* parts[0] is the message */
	size_t n;
	bool truncated;				/* a limit was hit: the rest is in `cut` leaves */
};

/* false only when the arena is full. */
bool mime_parse(struct arena *a, struct str message, struct mime_tree *out) CHECKED;

/* The parameter of that name, NULL when there is none. */
const struct mime_param *mime_param_find(const struct mime_params *p, struct str name);

/* The parameter's value as UTF-8 (RFC 2231 and, as many senders do, RFC 2047 undone); p == NULL
 * when the arena is full. */
struct str mime_param_utf8(struct arena *a, const struct mime_param *p);

/* Parses `value[; name=value]…` (Content-Type, Content-Disposition). false: arena full. */
bool mime_field_parse(struct arena *a, struct str field, struct str *out_value,
    struct mime_params *out) CHECKED;

enum mime_encoding mime_encoding_of(struct str name);

#endif
