/* SPDX-License-Identifier: ISC */
/* A table of buckets of slots, found by a keyed hash. Each word of a slot is written whole and carries 16
 * bits of the slot's id, so a word left behind by another owner of the slot counts as empty; thus no order
 * between writes matters. `worn` holds the time at which everything is forgotten: failures are the time left
 * until then. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "../libserve/digest.h"
#include "throttle.h"

enum {
	TABLE_BUCKETS = 1024,
	BUCKET_SLOTS = 8,
	TAG_SHIFT = 48,
};

#define TIME_MASK ((UINT64_C(1) << TAG_SHIFT) - 1)

struct slot {
	_Atomic uint64_t id;				/* 0: never used */
	_Atomic uint64_t worn;
	_Atomic uint64_t release[THROTTLE_PENDING_MAX];
};

struct throttle {
	uint8_t secret[DIGEST_OCTETS];			/* nobody can aim at a bucket */
	struct slot slots[TABLE_BUCKETS * BUCKET_SLOTS];
};

enum err_kind throttle_new(struct throttle **out, struct err *e)
{
	struct throttle *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (t == MAP_FAILED)
		return err_sys(e, errno, "shared memory for failures");
	if (digest_random(t->secret, sizeof t->secret, e) != ERR_OK) {
		munmap(t, sizeof *t);
		return e->kind;
	}
	*out = t;
	return ERR_OK;
}

/* -- words -- */

static uint64_t word_make(uint64_t id, uint64_t time_ms)
{
	return (id & ~TIME_MASK) | (time_ms & TIME_MASK);
}

/* 0, long ago, when the word is not of this id. */
static uint64_t word_time(uint64_t id, uint64_t word)
{
	return (word & ~TIME_MASK) == (id & ~TIME_MASK) ? word & TIME_MASK : 0;
}

/* -- slots -- */

static uint64_t hash_id(const struct throttle *t, const char *kind, struct str what)
{
	const struct str parts[] = { str_of(kind), what };
	uint8_t d[DIGEST_OCTETS] = { 0 };
	uint64_t id;

	/* Should the digest fail, all share one slot: too strict rather than too lax. */
	if (digest_keyed(str_n((const char *)t->secret, sizeof t->secret), parts, COUNTOF(parts), d,
	    NULL) != ERR_OK)
		d[0] = 1;
	memcpy(&id, d, sizeof id);
	return id != 0 ? id : 1;
}

static struct slot *bucket_of(struct throttle *t, uint64_t id)
{
	return t->slots + id % TABLE_BUCKETS * BUCKET_SLOTS;
}

static struct slot *slot_find(struct throttle *t, uint64_t id)
{
	struct slot *b = bucket_of(t, id);

	for (size_t i = 0; i < BUCKET_SLOTS; i++) {
		if (atomic_load(&b[i].id) == id)
			return &b[i];
	}
	return NULL;
}

/* A new id takes the slot that is forgotten first: a flood of names with one failure each can't push out an
 * address with many. */
static struct slot *slot_take(struct throttle *t, uint64_t id)
{
	struct slot *s = slot_find(t, id), *b = bucket_of(t, id);
	uint64_t least = UINT64_MAX;

	if (s != NULL)
		return s;
	for (size_t i = 0; i < BUCKET_SLOTS; i++) {
		uint64_t owner = atomic_load(&b[i].id);
		uint64_t worn = owner == 0 ? 0 : word_time(owner, atomic_load(&b[i].worn));

		if (worn < least) {
			least = worn;
			s = &b[i];
		}
	}
	atomic_store(&s->id, id);
	return s;
}

/* -- failures -- */

static uint64_t slot_count_failure(struct slot *s, uint64_t id, uint64_t now)
{
	uint64_t was = atomic_load(&s->worn), worn;

	do {
		worn = word_time(id, was);
		if (worn < now)
			worn = now;
		worn += THROTTLE_FORGET_MS;
		if (worn > now + (uint64_t)THROTTLE_COUNT_MAX * THROTTLE_FORGET_MS)
			worn = now + (uint64_t)THROTTLE_COUNT_MAX * THROTTLE_FORGET_MS;
	} while (!atomic_compare_exchange_weak(&s->worn, &was, word_make(id, worn)));
	return (worn - now + THROTTLE_FORGET_MS - 1) / THROTTLE_FORGET_MS;
}

static void slot_add_release(struct slot *s, uint64_t id, uint64_t release)
{
	size_t oldest = 0;
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < THROTTLE_PENDING_MAX; i++) {
		uint64_t r = word_time(id, atomic_load(&s->release[i]));

		if (r < least) {
			least = r;
			oldest = i;
		}
	}
	atomic_store(&s->release[oldest], word_make(id, release));
}

/* -- addresses -- */

/* The octets by which an address is known; empty for none. */
static struct str address_key(struct str ip, unsigned char space[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const unsigned char loopback6[16] = { [15] = 1 };
	char text[INET6_ADDRSTRLEN];

	if (ip.n >= sizeof text || str_has(ip, '\0'))
		return str_n("", 0);
	memcpy(text, ip.p, ip.n);
	text[ip.n] = '\0';
	if (inet_pton(AF_INET, text, space) == 1)
		return str_n((const char *)space, space[0] == 127 ? 0 : 4);
	if (inet_pton(AF_INET6, text, space) != 1 || memcmp(space, loopback6, 16) == 0)
		return str_n("", 0);
	if (memcmp(space, mapped, sizeof mapped) == 0)
		return str_n((const char *)space + 12, space[12] == 127 ? 0 : 4);
	return str_n((const char *)space, 8);
}

static uint64_t address_id(const struct throttle *t, const struct throttle_who *who)
{
	unsigned char space[16];
	struct str key = address_key(who->ip, space);

	return key.n > 0 ? hash_id(t, "address", key) : 0;
}

/* -- the calls -- */

bool throttle_is_limited(struct throttle *t, const struct throttle_who *who, uint64_t now_ms)
{
	uint64_t id = address_id(t, who);
	struct slot *s = id != 0 ? slot_find(t, id) : NULL;

	if (s == NULL)
		return false;
	for (size_t i = 0; i < THROTTLE_PENDING_MAX; i++) {
		if (word_time(id, atomic_load(&s->release[i])) <= now_ms)
			return false;
	}
	return true;
}

static uint64_t delay_ms(uint64_t failures, uint64_t base_ms, uint64_t max_ms)
{
	uint64_t over = failures > THROTTLE_FREE_FAILURES ? failures - THROTTLE_FREE_FAILURES : 0;
	uint64_t doublings = (over + THROTTLE_STEP_FAILURES - 1) / THROTTLE_STEP_FAILURES;
	uint64_t d = base_ms;

	while (doublings-- > 0 && d < max_ms)
		d *= 2;
	return d < max_ms || max_ms < base_ms ? d : max_ms;
}

uint64_t throttle_refuse(struct throttle *t, const struct throttle_who *who, uint64_t asked_ms,
    uint64_t base_ms, uint64_t max_ms)
{
	uint64_t user = hash_id(t, "user", who->user), address = address_id(t, who);
	uint64_t failures = slot_count_failure(slot_take(t, user), user, asked_ms);
	struct slot *s = NULL;
	uint64_t release;

	if (address != 0) {
		uint64_t n = slot_count_failure(s = slot_take(t, address), address, asked_ms);

		if (n > failures)
			failures = n;
	}
	release = asked_ms + delay_ms(failures, base_ms, max_ms);
	if (s != NULL)
		slot_add_release(s, address, release);
	return release;
}

void throttle_forgive(struct throttle *t, const struct throttle_who *who)
{
	uint64_t id = hash_id(t, "user", who->user);
	struct slot *s = slot_find(t, id);

	if (s != NULL)
		atomic_store(&s->worn, word_make(id, 0));
}
