/* SPDX-License-Identifier: ISC */
/* The journal read into memory: what slots and rows must say at a position. It is read without the store's lock, for what
 * lies behind the durable watermark does not change; compaction must be kept away meanwhile (the lock `compact`).
 * Costs about 60 octets a message. */
#ifndef SHADOW_H
#define SHADOW_H

#include "index_int.h"

enum gap_kind {
	GAP_DAMAGE,			/* octets that are no records */
	GAP_HEADER,			/* the segment's header; its records can be read */
	GAP_MISSING,			/* a whole segment */
	GAP_UNREADABLE,			/* a whole segment whose header is beyond help */
	GAP_NONSENSE,			/* a record whose checksum is right and whose payload is not */
	GAP_UNSETTLED,			/* a LOST record that recovery made */
	GAP_SEQUENCE,			/* numbers are missing between two segments that are whole */
};

struct gap {
	enum gap_kind kind;
	uint32_t seg, from, to;		/* offsets */
	uint64_t first_seq, last_seq;	/* numbers that are lost; none when first is above last */
};

struct large_ids {
	uint64_t *v;
	size_t n, cap;
	bool sorted;
};

struct shadow {
	struct store s;			/* the slots; a journal of its own, no index */
	struct roll roll;		/* the rows, in roll.table */
	struct journal_pos pos;		/* what is before it has been read */
	uint64_t seq;
	struct gap *gap;		/* in the order of the journal */
	size_t n_gaps, cap_gaps;
	struct large_ids named;		/* large bodies that records name, dead ones too */
	uint64_t n_records, n_known_lost;
	bool no_memory;
};

/* For store s, from the journal's first segment on; nothing is read yet. */
enum err_kind shadow_new(const struct store *s, struct shadow **out, struct err *e) CHECKED;
void shadow_free(struct shadow **sh);
/* Reads on up to `to`, which must be durable; seq is the number of the record before it. Damage is noted as gaps. */
enum err_kind shadow_advance(struct shadow *sh, struct journal_pos to, uint64_t seq, struct err *e) CHECKED;
/* Does a gap touch this place? NULL: no. */
const struct gap *shadow_gap_at(const struct shadow *sh, uint32_t seg, uint32_t off);
/* Does any gap but a damaged header lie in this segment? */
bool shadow_has_gap(const struct shadow *sh, uint32_t seg);
bool shadow_names_large(struct shadow *sh, uint64_t id);
/* A row as of now. */
bool shadow_row(const struct shadow *sh, uint32_t mailbox, uint32_t uid, struct index_msg *out);

#endif
