/* SPDX-License-Identifier: ISC */
/* Searchable text: the decoded UTF-8 of a part, chunk by chunk, and a matcher over such chunks.
 * Memory is bounded whatever the part's size; time is linear in text and needle. */
#ifndef TEXT_H
#define TEXT_H

#include "../libbase/buf.h"
#include "charset.h"
#include "mime.h"

enum {
	TEXT_CHUNK_OCTETS = 32 * 1024,		/* encoded octets that one text_read looks at */
	TEXT_READ_MAX_OCTETS = 256 * 1024,	/* text that one text_read can append */
	TEXT_NEEDLE_MAX_OCTETS = 64 * 1024
};

struct text_reader {			/* private */
	struct str body;		/* what is still to be read */
	enum mime_encoding encoding;
	struct base64_dec base64;
	struct qp_dec qp;
	struct charset_stream charset;
	struct buf raw, utf8;
	bool html, ended;
	uint8_t html_state;
	char html_held[12];		/* a tag's or an entity's name */
	uint8_t html_n_held;
	bool html_skip;			/* inside script or style */
	bool html_blank;		/* the last thing put was a blank */
};

/* Starts on a part's body. An unknown or empty charset is read as US-ASCII is (see charset.h).
 * html: tags go, entities are decoded, script and style are left out. End with text_reader_end,
 * always. */
void text_reader_init(struct text_reader *t, struct str body, enum mime_encoding encoding,
    struct str charset, bool html);
/* Appends the next text, whole characters only; false at the end or when `out` is full. */
bool text_read(struct text_reader *t, struct buf *out);
void text_reader_end(struct text_reader *t);

struct needle {
	struct buf folded;
	struct buf window;		/* the end of what was fed, then the new chunk */
	bool plain;			/* ASCII and short: ASCII text is looked through as it is */
	bool found;
};

/* Prepares `utf8`, which is folded here; an empty needle is in anything. false when it is longer
 * than TEXT_NEEDLE_MAX_OCTETS or memory is out; needle_free is right in any case. */
bool needle_init(struct needle *n, struct str utf8);
void needle_free(struct needle *n);
void needle_restart(struct needle *n);	/* before the next text */
/* Has the text so far, with this chunk (whole characters), the needle in it? */
bool needle_feed(struct needle *n, struct str utf8);
/* The whole of one text. */
bool needle_in(struct needle *n, struct str utf8);

#endif
