/* SPDX-License-Identifier: ISC */
/* The data items of FETCH (RFC 3501 s.6.4.5, fetch-att; RFC 7162 s.3.1.4): parsed, macros
 * expanded, each kept once, so that asking 500 times for one body is answered once. */
#ifndef IMAPD_FETCHATT_H
#define IMAPD_FETCHATT_H

#include "../libbase/buf.h"
#include "../libmail/mime.h"
#include "token.h"

enum {
	FETCH_ATTS_MAX = 128,			/* distinct items of one command */
	FETCH_PATH_MAX = MIME_DEPTH_MAX + 1,	/* numbers of a section: no part lies deeper */
};

enum fetch_kind {
	FETCH_FLAGS, FETCH_UID, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_MODSEQ,
	FETCH_ENVELOPE, FETCH_BODY, FETCH_BODYSTRUCTURE,	/* from the record */
	FETCH_SECTION						/* octets of the message */
};

enum section_kind {
	SECTION_ALL,			/* BODY[], BODY[1.2] */
	SECTION_HEADER, SECTION_FIELDS, SECTION_FIELDS_NOT, SECTION_TEXT, SECTION_MIME
};

struct fetch_section {
	enum section_kind kind;
	uint32_t *path;			/* part numbers, n_path of them; 0: the message itself */
	size_t n_path;
	bool too_deep;			/* more numbers than any message has levels: there is no such part */
	struct str *fields;		/* of SECTION_FIELDS* */
	size_t n_fields;
};

struct fetch_att {
	enum fetch_kind kind;
	struct str label;		/* the item's name in the answer: "BODY[HEADER.FIELDS (FROM)]<0>" */
	struct fetch_section section;
	bool peek;			/* does not set \Seen */
	bool partial;
	uint32_t from, octets;		/* of <from.octets> */
};

struct fetch_atts {
	struct fetch_att *v;
	size_t n;
	bool over;			/* more than FETCH_ATTS_MAX: answer [LIMIT] */
};

/* Reads one item, a macro (ALL, FAST, FULL) or a parenthesised list. False: syntax, or the arena
 * is full. */
bool fetchatt_parse(struct cursor *c, struct arena *a, struct fetch_atts *out);

/* Adds an item without arguments (FETCH_UID, FETCH_MODSEQ) unless it is there. */
void fetchatt_add(struct fetch_atts *atts, enum fetch_kind kind);
bool fetchatt_has(const struct fetch_atts *atts, enum fetch_kind kind);

/* Appends those fields of `header` (not its empty line) whose names are in the list, or not in it.
 * Linear in header times names of equal length. */
void fetchatt_filter(struct buf *out, struct str header, const struct fetch_section *s);

#endif
