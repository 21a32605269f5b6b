/* SPDX-License-Identifier: ISC */
/* Owns the shared slots. Every count is a scan: a counter would be wrong for ever after one kill -9. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>

#include "../libbase/clock.h"
#include "scoreboard.h"
#include "serve.h"

struct head {
	_Atomic uint32_t spare_wanted;
	_Alignas(64) struct slot slots[];
};

static void *map_shared(size_t octets)
{
	void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

enum err_kind scoreboard_new(struct scoreboard *sb, uint32_t n_slots, struct err *e)
{
	struct head *h;

	*sb = (struct scoreboard){ .n_slots = n_slots,
		.map_octets = sizeof(struct head) + (size_t)n_slots * sizeof(struct slot),
		.mark_octets = n_slots };
	sb->map = h = map_shared(sb->map_octets);
	sb->mark_map = map_shared(sb->mark_octets);
	if (h == NULL || sb->mark_map == NULL) {
		scoreboard_free(sb);
		return err_sys(e, errno, "shared memory for %u processes", n_slots);
	}
	sb->slots = h->slots;
	sb->spare_wanted = &h->spare_wanted;
	sb->mark = sb->mark_map;
	return ERR_OK;
}

void scoreboard_leave(struct scoreboard *sb)
{
	if (sb->map != NULL)
		munmap(sb->map, sb->map_octets);
	sb->map = NULL;
	sb->slots = NULL;
	sb->spare_wanted = NULL;
}

void scoreboard_free(struct scoreboard *sb)
{
	scoreboard_leave(sb);
	if (sb->mark_map != NULL)
		munmap(sb->mark_map, sb->mark_octets);
	sb->mark_map = NULL;
	sb->mark = NULL;
}

void slot_set(struct scoreboard *sb, uint32_t ix, enum slot_state state, peer_key peer)
{
	struct slot *s = &sb->slots[ix];

	sb->mark[ix] = MARK_NONE;
	s->full = FULL_NOT;
	s->peer = peer;
	s->since_ms = clock_mono_ms();
	s->state = state;
}

static bool evictable(const struct scoreboard *sb, uint32_t ix, peer_key peer, enum slot_full full,
    uint64_t now)
{
	const struct slot *s = &sb->slots[ix];

	return s->state == SLOT_BUSY && sb->mark[ix] == MARK_NONE && s->since_ms + SERVE_EVICT_AGE_MS < now &&
	    (full != FULL_PEER || s->peer == peer);
}

void scoreboard_count(const struct scoreboard *sb, uint32_t generation, peer_key peer,
    enum slot_full full, struct score *out)
{
	uint64_t now = full != FULL_NOT ? clock_mono_ms() : 0;

	*out = (struct score){ 0 };
	for (uint32_t i = 0; i < sb->n_slots; i++) {
		const struct slot *s = &sb->slots[i];
		uint32_t state = s->state;

		if (state == SLOT_BUSY && sb->mark[i] == MARK_OVER) {
			continue;
		} else if (state == SLOT_BUSY) {
			out->busy++;
			out->same_peer += peer != 0 && s->peer == peer;
			out->evictable |= full != FULL_NOT && evictable(sb, i, peer, full, now);
		} else if (generation == 0 || s->generation == generation) {
			out->idle += state == SLOT_IDLE;
			out->starting += state == SLOT_STARTING;
		}
	}
}

uint32_t scoreboard_oldest(const struct scoreboard *sb, peer_key peer, enum slot_full full,
    const bool *skip)
{
	uint64_t now = clock_mono_ms();
	uint32_t best = sb->n_slots;

	for (uint32_t i = 0; i < sb->n_slots; i++)
		if (!skip[i] && evictable(sb, i, peer, full, now) &&
		    (best == sb->n_slots || sb->slots[i].since_ms < sb->slots[best].since_ms))
			best = i;
	return best;
}

peer_key peer_key_of(const struct sockaddr_storage *sa)
{
	const struct in6_addr *a6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;
	uint64_t key = 0;
	uint32_t v4;

	if (sa->ss_family == AF_INET) {
		v4 = ((const struct sockaddr_in *)sa)->sin_addr.s_addr;
	} else if (sa->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(a6)) {
		memcpy(&v4, a6->s6_addr + 12, sizeof v4);
	} else if (sa->ss_family == AF_INET6) {
		memcpy(&key, a6->s6_addr, sizeof key);
		return key != 0 ? key : 1;	/* ::1 is in network 0 */
	} else {
		return 0;
	}
	return (uint64_t)v4 << 32 | 0xffffffff;
}
