/* SPDX-License-Identifier: ISC */
/* CRC arithmetic run backwards: from a record's checksum and octets to the state before its first octet. */
#include <string.h>

#include "crc32c.h"
#include "salvage.h"

enum {
	CRC_TOP_SHIFT = 24,
	OCTET_VALUES = 256,
	TYPE_PLAUSIBLE_MAX = 255,
	CREATED_SLACK_MS = 60 * 1000,	/* a segment is made at most this long before its first record */
};

struct backwards {
	uint32_t step[OCTET_VALUES];	/* what an octet does to the state */
	uint8_t of_top[OCTET_VALUES];	/* the octet whose step has this top octet */
};

static void make_tables(struct backwards *b)
{
	uint32_t none = ~crc32c(0xffffffffu, "", 1);	/* state 0 and an octet 0 give state 0 */

	for (int i = 0; i < OCTET_VALUES; i++) {
		uint8_t octet = (uint8_t)i;

		b->step[i] = ~crc32c(0xffffffffu, &octet, 1) ^ none;
		b->of_top[b->step[i] >> CRC_TOP_SHIFT] = octet;
	}
}

/* The state before the n octets at p, given the one after them. */
static uint32_t before(const struct backwards *b, uint32_t state, const void *p, size_t n)
{
	const uint8_t *octet = p;

	while (n-- > 0) {
		uint8_t i = b->of_top[state >> CRC_TOP_SHIFT];

		state = (state ^ b->step[i]) << 8 | (uint32_t)(i ^ octet[n]);
	}
	return state;
}

/* A salt after which the checksum is crc: four zeros and the four octets that lead there. */
static uint64_t salt_for(const struct backwards *b, uint32_t crc)
{
	uint8_t salt[8] = { 0 }, step[4];
	uint32_t state = ~crc;
	uint64_t out;

	for (int i = 3; i >= 0; i--) {
		step[i] = b->of_top[state >> CRC_TOP_SHIFT];
		state = (state ^ b->step[step[i]]) << 8;
	}
	state = ~crc32c(0, salt, 4);
	for (int i = 0; i < 4; i++) {
		salt[4 + i] = (uint8_t)(step[i] ^ (state & 0xff));
		state = state >> 8 ^ b->step[step[i]];
	}
	memcpy(&out, salt, sizeof out);
	return out;
}

static bool plausible(const char *map, size_t n, size_t off, struct rec_header *h)
{
	if (off + sizeof *h > n)
		return false;
	memcpy(h, map + off, sizeof *h);
	return h->octets >= sizeof *h && h->octets % REC_ALIGN == 0 && h->octets <= n - off &&
	    h->type != 0 && h->type <= TYPE_PLAUSIBLE_MAX && h->flags <= REC_FLAGS_ALL && h->seq != 0;
}

static uint32_t crc_from(uint32_t crc, const char *map, size_t off, const struct rec_header *h)
{
	crc = crc32c(crc, h, offsetof(struct rec_header, crc));
	return crc32c(crc, map + off + sizeof *h, h->octets - sizeof *h);
}

/* The checksum of the salt, if a record at off and the one behind it agree about it. */
static bool crc_of_salt(const struct backwards *b, const char *map, size_t n, size_t off,
    struct rec_header *first, uint32_t *out)
{
	struct rec_header second;
	uint32_t state;

	if (!plausible(map, n, off, first) || !plausible(map, n, off + first->octets, &second) ||
	    second.seq != first->seq + 1 || second.prev_crc != first->crc)
		return false;
	state = before(b, ~first->crc, map + off + sizeof *first, first->octets - sizeof *first);
	*out = ~before(b, state, first, offsetof(struct rec_header, crc));
	return crc_from(*out, map, off + first->octets, &second) == second.crc;
}

bool salvage_header(const char *map, size_t n, uint32_t number, struct seg_header *out)
{
	struct backwards b;
	struct seg_header was;
	struct rec_header first;
	uint32_t crc = 0;
	size_t off = sizeof was;

	if (n < sizeof was)
		return false;
	memcpy(&was, map, sizeof was);
	if (memcmp(was.magic, SEG_MAGIC, sizeof was.magic) == 0 &&
	    was.crc == crc32c(0, &was, offsetof(struct seg_header, crc)))
		return false;
	make_tables(&b);
	while (off + sizeof first <= n && !crc_of_salt(&b, map, n, off, &first, &crc))
		off += REC_ALIGN;
	if (off + sizeof first > n)
		return false;
	*out = was;
	memcpy(out->magic, SEG_MAGIC, sizeof out->magic);
	if (was.version == 0 || was.version > FORMAT_VERSION)
		out->version = FORMAT_VERSION;
	out->number = number;
	if (crc32c(0, &was.salt, sizeof was.salt) != crc)
		out->salt = salt_for(&b, crc);
	if (off == sizeof was) {
		out->first_seq = first.seq;
		out->prev_crc = first.prev_crc;
	} else if (was.first_seq == 0 || was.first_seq >= first.seq ||
	    was.first_seq + SEG_MAP_OCTETS / sizeof first < first.seq) {
		out->first_seq = first.seq;
	}
	if (was.created_ms > first.time_ms || was.created_ms + CREATED_SLACK_MS < first.time_ms)
		out->created_ms = first.time_ms;
	out->crc = crc32c(0, out, offsetof(struct seg_header, crc));
	return true;
}
