/* SPDX-License-Identifier: ISC */
/* Fields of a message header (RFC 5322 s.2.2), as views. Lines end in CRLF or, in mail from
 * elsewhere, a bare LF. A line that is no field and no continuation is passed on with an empty
 * name, so that the octets of all fields together are always the whole header. */
#ifndef HEADER_H
#define HEADER_H

#include "../libbase/buf.h"

struct header_field {
	struct str name;	/* without spaces before the colon; empty when the line has no name */
	struct str value;	/* behind the colon, folds inside, without leading blanks and the
				 * last line end */
	struct str raw;		/* the whole field with its line ends */
};

struct header_iter {
	struct str message;
	size_t at;		/* offset of the next field */
	bool at_end;
};

/* message: the whole message, or any view that starts with the header. */
void header_iter_init(struct header_iter *it, struct str message);

/* The next field; false at the empty line or the end of the view. `it->at` is then the length of
 * the fields without the empty line. */
bool header_next(struct header_iter *it, struct header_field *out);

/* Octets of the header with the empty line behind it; the whole view when there is none. */
size_t header_length(struct str message);

/* The first field of that name (any case); false when there is none. */
bool header_find(struct str message, struct str name, struct header_field *out);

/* The value without the line ends of its folds (RFC 5322 s.2.2.3: only CRLF is taken out) and
 * without blanks at both ends. NULs become nothing. A view of `value` when nothing changes, else
 * arena memory; p == NULL when the arena is full. */
struct str header_unfold(struct arena *a, struct str value);

#endif
