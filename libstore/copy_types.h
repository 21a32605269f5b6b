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

/* -- frames between a follower at the store and one at the copy -- */

enum {
	STREAM_VERSION = 1,
	STREAM_MAX_OCTETS = 1 << 20,	/* of a payload */
};

struct frame_header {			/* followed by the payload */
	uint32_t octets;		/* of the payload */
	uint16_t type;			/* enum stream_type */
	uint16_t reserved;
	uint32_t crc;			/* CRC-32C of the eight octets before it and the payload */
	uint32_t reserved2;
};

enum stream_type {			/* S: from the store, C: from the copy */
	STREAM_HELLO = 1,		/* S: frame_hello, user's name */
	STREAM_HAVE = 2,			/* C: frame_pos twice: what it has for sure, and how far its journal goes */
	STREAM_BEGIN = 3,		/* S: frame_begin */
	STREAM_SEGMENT = 4,		/* S: seg_header */
	STREAM_DATA = 5,			/* S: frame_data, octets */
	STREAM_LARGE = 6,		/* S: frame_large */
	STREAM_WANT = 7,			/* C: frame_want, the answer to LARGE */
	STREAM_PART = 8,			/* S: octets of the large body that is wanted, until all are there */
	STREAM_MARK = 9,			/* S: frame_mark */
	STREAM_DONE = 10,		/* C: frame_done, the answer to MARK: it is on the disk */
	STREAM_FAIL = 11,		/* both: a line of text; nothing follows */
	STREAM_TYPE_MAX = 11
};

struct frame_hello {
	uint32_t version;		/* STREAM_VERSION */
	uint32_t reserved;
};

struct frame_pos {			/* a place in a history; store_id 0: nothing yet */
	uint64_t store_id, salt, seq;
	int64_t ms;
	uint32_t seg, off;
	uint32_t crc, last_off;
};

struct frame_begin {
	uint64_t store_id;
	int64_t covered_ms;
	uint32_t anew;			/* 1: what is there is not gone on with */
	uint32_t reserved;
};

struct frame_data {
	uint32_t seg, off;
};

struct frame_large {
	uint64_t id, octets;
};

struct frame_want {
	uint32_t wanted;		/* 0: it is there */
	uint32_t reserved;
};

struct frame_mark {
	struct frame_pos at;
	uint32_t publish;		/* 1: write the manifest, too */
	uint32_t reserved;
};

struct frame_done {
	uint64_t seq;
};

_Static_assert(sizeof(struct frame_header) == 16, "frame");
_Static_assert(sizeof(struct frame_pos) == 48, "frame position");
_Static_assert(sizeof(struct frame_mark) == 56, "frame mark");
_Static_assert(sizeof(struct manifest_head) == 88, "manifest");
_Static_assert(sizeof(struct manifest_segment) == 16, "manifest segment");

#endif
