/* SPDX-License-Identifier: ISC */
/* What the parent and its children know of each other: one slot per child in shared memory. Each slot has
 * one writer at a time: the parent while there is no child in it, else that child. The parent trusts it with
 * bookkeeping only: the process ids that it signals are in memory of its own. A child that serves its last
 * session unmaps the slots first, so that a session shares nothing but one octet per slot. */
#ifndef SCOREBOARD_H
#define SCOREBOARD_H

#include <sys/socket.h>

#include "../libbase/err.h"

enum slot_state { SLOT_FREE, SLOT_STARTING, SLOT_IDLE, SLOT_BUSY };
/* What a session that sees nothing else of the scoreboard still says of itself. */
enum slot_mark {
	MARK_NONE,
	MARK_KEEP,			/* it is not ended in favour of a newcomer */
	MARK_OVER,			/* its connection is closing: it counts no more */
};
/* As spare_wanted: the parent wants to hear of every change. */
#define SPARE_TELL_ALWAYS UINT32_MAX
enum slot_full { FULL_NOT, FULL_SERVICE, FULL_PEER };

/* A peer as the limit sees it: an IPv4 address, or an IPv6 network of 64 bits, as any single customer has
 * that many addresses. 0: a Unix socket, no limit. */
typedef uint64_t peer_key;

struct slot {
	_Atomic uint32_t state;		/* enum slot_state */
	_Atomic uint32_t generation;
	_Atomic uint64_t peer;		/* peer_key while busy */
	_Atomic uint64_t since_ms;	/* monotonic, of the last change of state */
	_Atomic uint32_t full;		/* enum slot_full: a newcomer asks for another's place */
};

struct scoreboard {
	uint32_t n_slots;
	struct slot *slots;
	_Atomic uint32_t *spare_wanted;	/* a child that finds fewer idle ones wakes the parent */
	_Atomic uint8_t *mark;		/* by slot: enum slot_mark */
	void *map, *mark_map;
	size_t map_octets, mark_octets;
};

struct score {
	uint32_t starting, idle, busy, same_peer;
	bool evictable;			/* a busy one could make room for the peer that was asked about */
};

/* Shared with the children that are forked later. Errors: err_sys's. */
enum err_kind scoreboard_new(struct scoreboard *sb, uint32_t n_slots, struct err *e) CHECKED;
void scoreboard_free(struct scoreboard *sb);
/* This process looks at the slots no more (slots is NULL then). */
void scoreboard_leave(struct scoreboard *sb);

void slot_set(struct scoreboard *sb, uint32_t ix, enum slot_state state, peer_key peer);

/* Counts; `generation` limits idle and starting ones to that generation (0: all). peer is 0 or the key whose
 * sessions are counted in same_peer. A session is evictable when it is not kept, older than
 * SERVE_EVICT_AGE_MS and, with full == FULL_PEER, from that peer. */
void scoreboard_count(const struct scoreboard *sb, uint32_t generation, peer_key peer,
    enum slot_full full, struct score *out);

/* The slot of the oldest evictable session, or n_slots. skip[ix] true leaves ix out. */
uint32_t scoreboard_oldest(const struct scoreboard *sb, peer_key peer, enum slot_full full,
    const bool *skip);

peer_key peer_key_of(const struct sockaddr_storage *sa);

#endif
