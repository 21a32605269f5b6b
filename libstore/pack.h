/* SPDX-License-Identifier: ISC */
/* Compressed bodies (FORMAT.md, "encoding"): only bodies that lie in the journal, so none is over
 * STORE_INLINE_MAX_OCTETS; large ones are files, linked between stores and sent from the file. */
#ifndef PACK_H
#define PACK_H

#include "../libbase/buf.h"
#include "../libbase/err.h"
#include "record_types.h"

enum {
	PACK_MIN_OCTETS = 512,		/* of a body: below there is nothing to gain */
	PACK_GAIN = 8,			/* it must get smaller by this part of its length at least */
};

/* zstd's working memory, kept between calls: that halves what a small mail costs. NULL at first, made when it is needed, about
 * 100 KiB for each direction (up to 1 MiB for packing large bodies). */
struct pack;
void pack_free(struct pack **p);

/* Compresses body as it goes into a record, its length first. False when it does not pay, there is no memory, or this
 * build has no zstd: the body is to be stored as it is. */
bool pack_body(struct pack **p, struct str body, struct buf *out) CHECKED;
/* The body of a record with an encoding: `stored` as rec_get_message gives it. *out is malloc'ed, m->body_octets long. It
 * never takes more memory than that, whatever the octets say. Errors: ERR_CORRUPT; ERR_TEMP no memory, or this build
 * can't read the encoding. */
enum err_kind pack_open(struct pack **p, const struct rec_message *m, struct str stored, char **out, struct err *e)
    CHECKED;

#endif
