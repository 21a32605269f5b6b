/* SPDX-License-Identifier: ISC */
/* The file search/<number>.idx, between who writes it (search_build.c) and who reads it (search.c). */
#ifndef SEARCH_INT_H
#define SEARCH_INT_H

#include "search.h"
#include "store_int.h"

#define SEARCH_MAGIC "PENNYIDX"

enum {
	SEARCH_VERSION = 1,
	SEARCH_BLOCK_OCTETS = 4096,	/* of the payload, with a checksum each */
	SEARCH_KEY_BITS = 15,
	SEARCH_KEYS = 1 << SEARCH_KEY_BITS,
	SEARCH_FILE_MAX_OCTETS = 128 << 20,
};

struct search_header {			/* followed by a checksum (4 octets) per block, then the payload */
	char magic[8];			/* SEARCH_MAGIC */
	uint32_t version;
	uint32_t seg;
	uint64_t store_id, salt;	/* of the segment's header */
	uint32_t end_crc;		/* of the segment's last record, as the next segment's header names it */
	uint32_t rules;			/* search_rules() */
	uint32_t n_keys;		/* SEARCH_KEYS */
	uint32_t n_docs;		/* messages that the file tells of */
	uint32_t payload_octets;
	uint32_t blocks_crc;		/* of the blocks' checksums */
	uint32_t reserved;
	uint32_t crc;			/* of the 60 octets before it */
};

_Static_assert(sizeof(struct search_header) == 64, "search header");

/* A list that is as long as a bitmap of all documents is one. */
static inline uint32_t search_bitmap_octets(uint32_t n_docs)
{
	return (n_docs + 7) / 8;
}

static inline uint32_t search_n_blocks(uint32_t payload_octets)
{
	return (payload_octets + SEARCH_BLOCK_OCTETS - 1) / SEARCH_BLOCK_OCTETS;
}

/* The key of a trigram (24 bits). */
static inline uint32_t search_key(uint32_t trigram)
{
	return (uint32_t)(trigram * 0x9e3779b97f4a7c15u >> (64 - SEARCH_KEY_BITS));
}

void search_name(char name[32], uint32_t seg);
/* What a file of this process would be made by; 0: none can be made or believed. */
uint32_t search_rules(void);
/* The header that a file of this segment must have, counts and checksums left 0. False: the segment
 * has not ended, or is not there. */
bool search_expect(struct store *s, uint32_t seg, struct search_header *out);
/* Is there a file with the right header? */
bool search_is_there(struct store *s, uint32_t seg);

#endif
