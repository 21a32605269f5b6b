/* SPDX-License-Identifier: ISC */
/* What a copy of a store has beside the store's own files, octet for octet: its manifest. FORMAT.md tells the same, and a
 * unit test holds the two together. Numbers are little-endian, structs have no padding. */
#ifndef COPY_TYPES_H
#define COPY_TYPES_H

#include "record_types.h"

#define MANIFEST_MAGIC "PENNYCPY"

enum {
	MANIFEST_VERSION = 1,
	COPY_USER_MAX_OCTETS = 255,
	MANIFEST_MAX_OCTETS = 16 << 20,	/* 400,000 segments: 6 TB of one user's mail */
};

struct manifest_head {			/* followed by n_segments manifest_segment, then the user's name */
	char magic[8];			/* MANIFEST_MAGIC */
	uint32_t version;		/* MANIFEST_VERSION; a newer one is refused */
	uint32_t n_segments;
	uint64_t store_id;
	int64_t made_ms;		/* clock time */
	int64_t covered_ms;		/* states from this time on can be had; 0: since the store began */
	uint64_t end_seq;		/* of the last record */
	int64_t end_ms;			/* its time */
	uint32_t end_seg, end_off;	/* the last segment, and how far it goes */
	uint32_t last_off;		/* where its last record begins; 0: that one was damaged in the store */
	uint32_t end_crc;		/* of the last record */
	uint32_t following;		/* 1: by a follower; what the journal holds behind the end counts, too */
	uint32_t user_octets;
	uint32_t reserved;
	uint32_t crc;			/* of the whole file, this field being 0 */
};

struct manifest_segment {		/* ascending by number, without gaps */
	uint32_t number, octets;
	uint64_t salt;
};

_Static_assert(sizeof(struct manifest_head) == 88, "manifest");
_Static_assert(sizeof(struct manifest_segment) == 16, "manifest segment");

#endif
