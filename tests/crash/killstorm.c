/* SPDX-License-Identifier: ISC */
/* Eight processes work on four users' stores, two on each: they deliver, set flags, expunge, copy, move, read, wait for
 * changes, make, rename and delete mailboxes, and compact; one of them is killed every few milliseconds and replaced at
 * once. A bystander per user is never killed. What was acknowledged is noted in shared memory, which no death takes away:
 * nothing of it may be lost, come back, or be there twice; what was under way is there as a whole or not at all; no UID is
 * given twice; every message read is right to the octet; nobody waits for long.
 *
 * Recovery is timed from outside: the linker puts __wrap_ functions before ctl_recover and index_enter.
 * PENNY_KILLS, PENNY_PACE_MS (between kills) and PENNY_SEED choose how much and which. Prints TAP.
 * Length: the operations, what they leave noted, and the reckoning over it are one subject. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <time.h>

#include "../../libbase/clock.h"
#include "ops.h"

#if defined(__SANITIZE_ADDRESS__)
enum { HANG_MS = 10000, KILLS_DEFAULT = 250, PACE_DEFAULT_MS = 40 };
#else
enum { HANG_MS = 2000, KILLS_DEFAULT = 700, PACE_DEFAULT_MS = 18 };
#endif

enum {
	USERS = 4, PER_USER = 2, WORKERS = USERS * PER_USER, SLOTS = WORKERS + USERS,
	BOXES = 3, LIVE_MAX = 120, UIDS_MAX = 1 << 20, GROUP_MAX = 4,
	TEXT_MAX = 300 * 1024, LARGE_EVERY = 60, SEGMENT = 256 * 1024,
	FDS_BYSTANDER_MAX = 70,		/* half of them segments; what recoveries leave open would pass this soon */
	START_MAX_MS = 4 * HANG_MS, FAIL_OCTETS = 240,
	PRESENT = 1, FLAGGED = 2, KEYWORD = 4, SEEN_BIT = 8,
};

static const char *const box_name[BOXES] = { "INBOX", "a", "b" };
#define STORM_KEYWORD "$storm"

/* A message of this slot's: what is known to be so, and what an operation under way would make of it, per box. */
struct entry {
	uint32_t serial;		/* 0: free */
	uint8_t now[BOXES], want[BOXES];
	uint32_t uid[BOXES];		/* where it is known */
	uint32_t floor[BOXES];		/* what is new has a UID from here on */
	bool doubt;
};

struct timing {
	uint64_t n, sum_ns, max_ns;
};

struct slot {
	_Atomic uint64_t busy_since_ns;	/* 0: between operations */
	const char *doing;
	struct entry e[LIVE_MAX];
	uint32_t serial;
	uint32_t step_now, step_want;	/* of the private mailboxes */
	struct timing ops, start, recover, engine;
	uint64_t n_busy, n_reads, n_wakes, n_compacted;
	char slowest[16];
	_Atomic bool failed;
	char fail[FAIL_OCTETS];
	unsigned n_fds;
	long rss_kib;
};

static struct shared {
	_Atomic bool stop;
	struct slot slot[SLOTS];
	_Atomic uint64_t owner[USERS][BOXES][UIDS_MAX];	/* slot + 1 and serial of whom a UID was given to */
} *sh;

static struct slot *me;
static unsigned me_ix;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void took(struct timing *t, uint64_t begin)
{
	uint64_t ns = now_ns() - begin;

	t->n++;
	t->sum_ns += ns;
	t->max_ns = ns > t->max_ns ? ns : t->max_ns;
}

/* -- timing of recovery -- */

enum err_kind __real_ctl_recover(struct store *s, struct err *e);
enum err_kind __wrap_ctl_recover(struct store *s, struct err *e);
enum err_kind __real_index_enter(struct store *s, struct err *e);
enum err_kind __wrap_index_enter(struct store *s, struct err *e);

enum err_kind __wrap_ctl_recover(struct store *s, struct err *e)
{
	uint64_t begin = now_ns();
	enum err_kind k = __real_ctl_recover(s, e);

	if (me != NULL)
		took(&me->recover, begin);
	return k;
}

enum err_kind __wrap_index_enter(struct store *s, struct err *e)
{
	bool died = s->ctl->inside_engine != 0;
	uint64_t begin = now_ns();
	enum err_kind k = __real_index_enter(s, e);

	if (me != NULL && died)
		took(&me->engine, begin);
	return k;
}

/* -- what a worker says when something is wrong -- */

static bool PRINTF_LIKE(1, 2) fail(const char *fmt, ...)
{
	va_list ap;

	if (!me->failed) {
		va_start(ap, fmt);
		vsnprintf(me->fail, sizeof me->fail, fmt, ap);
		va_end(ap);
		me->failed = true;
	}
	return false;
}

/* -- messages: their text follows from slot and serial -- */

static struct str text_of(uint32_t slot, uint32_t serial)
{
	static char text[TEXT_MAX];
	uint64_t x = mix(slot + 1, serial);
	size_t octets = serial % LARGE_EVERY == 0 ? TEXT_MAX : 100 + x % 6000;
	size_t head = (size_t)snprintf(text, sizeof text, "X-Id: %u %u\r\nSubject: storm\r\n\r\n", slot, serial);

	for (size_t i = head; i < octets; i++)
		text[i] = (char)('!' + (x >> i % 32 & 63) + i % 7);
	return str_n(text, octets < head ? head : octets);
}

static bool id_of(struct str text, uint32_t *slot, uint32_t *serial)
{
	char head[64];

	snprintf(head, sizeof head, "%.*s", (int)(text.n < 60 ? text.n : 60), text.p);
	return sscanf(head, "X-Id: %u %u", slot, serial) == 2 && *slot < SLOTS;
}

struct open_user {
	unsigned user;
	struct dir d;
	struct store *s;
	struct mailbox *mb[BOXES];
};

static uint8_t state_of(struct mailbox *mb, const struct message *m)
{
	uint8_t st = PRESENT;

	st |= m->flags & MSG_FLAGGED ? FLAGGED : 0;
	st |= m->flags & MSG_SEEN ? SEEN_BIT : 0;
	for (size_t i = 0; i < mailbox_n_keywords(mb); i++) {
		if (m->keywords >> i & 1 && str_eq(mailbox_keyword(mb, i), STR(STORM_KEYWORD)))
			st |= KEYWORD;
	}
	return st;
}

/* Whose message is it, and is it right to the octet? ERR_NOENT, ERR_TEMP: it has gone or moved meanwhile. */
static enum err_kind read_message(struct mailbox *mb, const struct message *m, uint32_t *slot, uint32_t *serial)
{
	struct message_text t;
	struct err e = { .text = "" };
	enum err_kind k = message_open(mb, m, &t, &e);

	if (k != ERR_OK) {
		if (k != ERR_NOENT && k != ERR_TEMP)
			(void)fail("reading UID %u at %u:%u: %s", m->uid, m->seg, m->off, e.text);
		return k;
	}
	if (!id_of(t.body, slot, serial) || !str_eq(t.body, text_of(*slot, *serial)))
		(void)fail("UID %u has the wrong octets", m->uid);
	message_close(&t);
	return ERR_OK;
}

static struct message *by_uid(struct mailbox *mb, uint32_t uid)
{
	size_t ix = mailbox_lower_bound(mb, uid);
	struct message *m = ix < mailbox_n(mb) ? mailbox_at(mb, ix) : NULL;

	return m != NULL && m->uid == uid && !m->gone ? m : NULL;
}

/* A UID goes to one message, for ever. */
static bool own_uid(unsigned user, int box, uint32_t uid, uint32_t slot, uint32_t serial)
{
	uint64_t none = 0, mine = (uint64_t)(slot + 1) << 32 | serial;

	if (uid == 0 || uid >= UIDS_MAX)
		return fail("UID %u", uid);
	if (atomic_compare_exchange_strong(&sh->owner[user][box][uid], &none, mine) || none == mine)
		return true;
	return fail("%s UID %u was given to %u/%u and to %u/%u", box_name[box], uid, (unsigned)(none >> 32) - 1,
	    (unsigned)none, slot, serial);
}

static bool refresh(struct open_user *u)
{
	struct err e = { .text = "" };

	for (int b = 0; b < BOXES; b++) {
		enum err_kind k = mailbox_refresh(u->mb[b], NULL, &e);

		if (k != ERR_OK && k != ERR_BUSY)
			return fail("refresh %s: %s", box_name[b], e.text);
		mailbox_expel(u->mb[b], NULL, NULL);
	}
	return true;
}

/* -- operations: each notes what it wants, does it, and notes that it is so -- */

static void begin_group(struct open_user *u, struct entry **e, size_t n)
{
	struct mailbox_info i;

	for (size_t k = 0; k < n; k++) {
		for (int b = 0; b < BOXES; b++) {
			mailbox_counters(u->mb[b], &i);
			e[k]->floor[b] = i.uidnext;
		}
		memcpy(e[k]->want, e[k]->now, sizeof e[k]->want);
	}
}

static void in_doubt(struct entry **e, size_t n, bool doubt)
{
	for (size_t k = 0; k < n; k++)
		e[k]->doubt = doubt;
}

static void settle(struct entry **e, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		memcpy(e[k]->now, e[k]->want, sizeof e[k]->now);
		e[k]->doubt = false;
		if (e[k]->now[0] == 0 && e[k]->now[1] == 0 && e[k]->now[2] == 0)
			e[k]->serial = 0;
	}
}

/* k: what the operation answered. A store that is busy has done nothing. */
static bool finish(struct entry **e, size_t n, enum err_kind k, const struct err *err)
{
	if (k == ERR_OK) {
		settle(e, n);
		return true;
	}
	if (k != ERR_BUSY)
		return fail("%s: %s", me->doing, err->text);
	me->n_busy++;
	in_doubt(e, n, false);
	return true;
}

static struct entry *free_entry(void)
{
	for (int i = 0; i < LIVE_MAX; i++) {
		if (me->e[i].serial == 0)
			return &me->e[i];
	}
	return NULL;
}

/* Up to n of this slot's that are in `box`, and not in `not_in` (-1: anywhere), by ascending UID. */
static size_t pick(int box, int not_in, struct entry **e, size_t n)
{
	size_t got = 0;
	int at = rand() % LIVE_MAX;

	for (int i = 0; i < LIVE_MAX && got < n; i++) {
		struct entry *x = &me->e[(at + i) % LIVE_MAX];
		size_t k = got;

		if (x->serial == 0 || !(x->now[box] & PRESENT) || (not_in >= 0 && x->now[not_in] & PRESENT))
			continue;
		for (; k > 0 && e[k - 1]->uid[box] > x->uid[box]; k--)
			e[k] = e[k - 1];
		e[k] = x;
		got++;
	}
	return got;
}

static bool do_deliver(struct open_user *u)
{
	struct entry *x = free_entry();
	struct str kw = STR_INIT(STORM_KEYWORD);
	struct append how = { .internaldate_s = 7, .keywords = &kw, .n_keywords = rand() % 8 == 0 };
	struct err e = { .text = "" };
	struct body *b;
	int box = rand() % 4 == 0 ? rand() % BOXES : 0;
	struct mailbox_info i;
	uint32_t uid = 0;
	enum err_kind k;

	if (x == NULL)
		return true;
	begin_group(u, &x, 1);
	memset(x->now, 0, sizeof x->now);
	memset(x->want, 0, sizeof x->want);
	x->want[box] = PRESENT | (how.n_keywords ? KEYWORD : 0);
	x->doubt = true;
	x->serial = ++me->serial;
	mailbox_counters(u->mb[box], &i);
	b = body_new(u->s, 64 << 20);
	if ((k = body_add(b, text_of(me_ix, x->serial), &e)) == ERR_OK && (k = body_seal(b, &e)) == ERR_OK)
		k = mailbox_append(u->s, i.id, b, &how, &uid, NULL, &e);
	body_free(&b);
	if (k != ERR_OK) {
		if (k == ERR_BUSY)
			x->serial = 0;
		return finish(&x, 1, k, &e);
	}
	x->uid[box] = uid;
	settle(&x, 1);
	return own_uid(u->user, box, uid, me_ix, x->serial);
}

static bool do_flags(struct open_user *u)
{
	static const struct { uint8_t bit; uint32_t flag; } kinds[] = {
		{ FLAGGED, MSG_FLAGGED }, { SEEN_BIT, MSG_SEEN }, { KEYWORD, 0 },
	};
	struct entry *x[GROUP_MAX];
	uint32_t uids[GROUP_MAX];
	struct str kw = STR_INIT(STORM_KEYWORD);
	int box = rand() % BOXES, kind = rand() % 3;
	size_t n = pick(box, -1, x, 1 + (size_t)rand() % GROUP_MAX);
	struct flag_change ch = { rand() % 2 ? FLAG_ADD : FLAG_REMOVE, kinds[kind].flag, &kw, kind == 2, UINT64_MAX };
	struct err e = { .text = "" };

	if (n == 0)
		return true;
	begin_group(u, x, n);
	for (size_t i = 0; i < n; i++) {
		uids[i] = x[i]->uid[box];
		x[i]->want[box] = ch.op == FLAG_ADD ? x[i]->now[box] | kinds[kind].bit :
		    x[i]->now[box] & (uint8_t)~kinds[kind].bit;
	}
	in_doubt(x, n, true);
	return finish(x, n, mailbox_store_flags(u->mb[box], uids, n, &ch, NULL, NULL, &e), &e);
}

static bool do_expunge(struct open_user *u)
{
	struct entry *x[GROUP_MAX];
	uint32_t uids[GROUP_MAX];
	int box = rand() % BOXES;
	size_t n = pick(box, -1, x, 1 + (size_t)rand() % GROUP_MAX), gone = 0;
	struct err e = { .text = "" };
	enum err_kind k;

	if (n == 0)
		return true;
	begin_group(u, x, n);
	for (size_t i = 0; i < n; i++) {
		uids[i] = x[i]->uid[box];
		x[i]->want[box] = 0;
	}
	in_doubt(x, n, true);
	k = mailbox_expunge(u->mb[box], uids, n, false, &gone, &e);
	if (k == ERR_OK && gone != n)
		return fail("%zu of %zu expunged", gone, n);
	return finish(x, n, k, &e);
}

static bool do_copy(struct open_user *u)
{
	struct entry *x[GROUP_MAX];
	uint32_t uids[GROUP_MAX], from[GROUP_MAX], to[GROUP_MAX], validity;
	int box = rand() % BOXES, dst = (box + 1 + rand() % (BOXES - 1)) % BOXES;
	bool move = rand() % 2;
	size_t n = pick(box, dst, x, 1 + (size_t)rand() % GROUP_MAX), copied = 0;
	struct err e = { .text = "" };
	struct mailbox_info i;
	enum err_kind k;
	bool ok = true;

	if (n == 0)
		return true;
	begin_group(u, x, n);
	for (size_t j = 0; j < n; j++) {
		uids[j] = x[j]->uid[box];
		x[j]->want[dst] = x[j]->now[box];
		x[j]->want[box] = move ? 0 : x[j]->now[box];
	}
	in_doubt(x, n, true);
	mailbox_counters(u->mb[dst], &i);
	k = mailbox_copy(u->mb[box], uids, n, i.id, move, from, to, &copied, &validity, &e);
	if (k != ERR_OK)
		return finish(x, n, k, &e);
	if (copied != n)
		return fail("%zu of %zu copied", copied, n);
	for (size_t j = 0; j < n; j++) {
		x[j]->uid[dst] = to[j];
		ok = own_uid(u->user, dst, to[j], me_ix, x[j]->serial) && ok;
	}
	settle(x, n);
	return ok;
}

static bool do_read(struct open_user *u)
{
	int box = rand() % BOXES;
	uint32_t slot, serial;

	if (!refresh(u))
		return false;
	if (mailbox_n(u->mb[box]) == 0)
		return true;
	(void)read_message(u->mb[box], mailbox_at(u->mb[box], (size_t)rand() % mailbox_n(u->mb[box])), &slot, &serial);
	me->n_reads++;
	return !me->failed;
}

/* One of this slot's messages is where it should be, as it should be. */
static bool do_recheck(struct open_user *u)
{
	struct entry *x;
	int box = rand() % BOXES;
	struct message *m;

	if (!refresh(u) || pick(box, -1, &x, 1) == 0)
		return !me->failed;
	m = by_uid(u->mb[box], x->uid[box]);
	if (m == NULL)
		return fail("%s UID %u of %u/%u is lost", box_name[box], x->uid[box], me_ix, x->serial);
	if (state_of(u->mb[box], m) != x->now[box])
		return fail("%s UID %u is %x, not %x", box_name[box], m->uid, state_of(u->mb[box], m), x->now[box]);
	return true;
}

static bool do_watch(struct open_user *u)
{
	struct pollfd p = { .events = POLLIN };
	struct err e = { .text = "" };

	if (store_watch(u->s, &p.fd, &e) != ERR_OK)
		return fail("watch: %s", e.text);
	me->n_wakes += poll(&p, 1, 20) == 1;
	store_watch_drain(u->s);
	return refresh(u);
}

static bool do_compact(struct open_user *u)
{
	struct store_compact_result r;
	struct err e = { .text = "" };
	enum err_kind k = store_compact(u->s, 0, &r, &e);

	if (k != ERR_OK && k != ERR_BUSY)
		return fail("compact: %s", e.text);
	me->n_compacted += k == ERR_OK ? r.n_segments : 0;
	return true;
}

/* Private mailboxes go round: none; p and p/in; with a message; renamed; the inferior deleted; none. */
enum { STEPS = 5 };

static bool step_is(struct open_user *u, unsigned slot, uint32_t step)
{
	static const struct { bool p, p_in, q, q_in; uint32_t n; } want[STEPS] = {
		{ false, false, false, false, 0 }, { true, true, false, false, 0 }, { true, true, false, false, 1 },
		{ false, false, true, true, 1 }, { false, false, true, false, 0 },
	};
	struct arena *a = arena_new(4096);
	struct mailbox_info i;
	bool is = true;

	for (int k = 0; k < 4; k++) {
		bool there = k == 0 ? want[step].p : k == 1 ? want[step].p_in : k == 2 ? want[step].q :
		    want[step].q_in;
		char name[32];

		snprintf(name, sizeof name, "%c%u%s", k < 2 ? 'p' : 'q', slot, k % 2 ? "/in" : "");
		is = is && (store_find(u->s, a, str_of(name), &i, NULL) == ERR_OK) == there;
		if (is && there && k % 2)
			is = i.n_messages == want[step].n;
	}
	arena_free(&a);
	return is;
}

static enum err_kind take_step(struct open_user *u, uint32_t step, struct err *e)
{
	char p[32], q[32], p_in[40], q_in[40];
	struct arena *a;
	struct mailbox_info i;
	struct body *b;
	enum err_kind k;

	snprintf(p, sizeof p, "p%u", me_ix);
	snprintf(q, sizeof q, "q%u", me_ix);
	snprintf(p_in, sizeof p_in, "%s/in", p);
	snprintf(q_in, sizeof q_in, "%s/in", q);
	if (step == 0)
		return store_create(u->s, str_of(p_in), NULL, e);
	if (step == 2)
		return store_rename(u->s, str_of(p), str_of(q), e);
	if (step == 3)
		return store_delete(u->s, str_of(q_in), e);
	if (step == 4)
		return store_delete(u->s, str_of(q), e);
	a = arena_new(4096);
	b = body_new(u->s, 1 << 20);
	if ((k = store_find(u->s, a, str_of(p_in), &i, e)) == ERR_OK &&
	    (k = body_add(b, STR("S: private\r\n\r\n"), e)) == ERR_OK && (k = body_seal(b, e)) == ERR_OK)
		k = mailbox_append(u->s, i.id, b, &(struct append){ .internaldate_s = 9 }, NULL, NULL, e);
	body_free(&b);
	arena_free(&a);
	return k;
}

static bool do_names(struct open_user *u)
{
	struct err e = { .text = "" };
	uint32_t step = me->step_now;
	enum err_kind k;

	me->step_want = (step + 1) % STEPS;
	k = take_step(u, step, &e);
	if (k != ERR_OK && k != ERR_BUSY)
		return fail("step %u of mailboxes: %s", step, e.text);
	if (k == ERR_OK)
		me->step_now = me->step_want;
	else
		me->step_want = step;
	return true;
}

static const struct {
	const char *name;
	bool (*run)(struct open_user *u);
	int weight;
	bool bystander;			/* what a bystander does, too */
} acts[] = {
	{ "deliver", do_deliver, 30, true }, { "flags", do_flags, 20, true }, { "expunge", do_expunge, 16, true },
	{ "copy", do_copy, 12, true }, { "read", do_read, 15, true }, { "recheck", do_recheck, 6, true },
	{ "watch", do_watch, 3, true }, { "names", do_names, 6, true }, { "compact", do_compact, 1, false },
};

/* -- a worker's life -- */

static bool open_user(struct open_user *u, unsigned user, const char *path)
{
	struct err e = { .text = "" };

	u->user = user;
	snprintf(u->d.path, sizeof u->d.path, "%s", path);
	u->d.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	u->s = store_at(&u->d);
	for (int b = 0; b < BOXES; b++) {
		if (mailbox_open(u->s, str_of(box_name[b]), false, &u->mb[b], &e) != ERR_OK ||
		    mailbox_load(u->mb[b], &e) != ERR_OK)
			return fail("open %s: %s", box_name[b], e.text);
	}
	return true;
}

static void close_user(struct open_user *u)
{
	for (int b = 0; b < BOXES; b++)
		mailbox_close(&u->mb[b]);
	store_close(&u->s);
	close(u->d.fd);
}

/* What is there of an entry in a box: where its UID says, or among what was new. */
static struct message *find_entry(struct open_user *u, const struct entry *x, int box)
{
	struct mailbox *mb = u->mb[box];
	uint32_t slot, serial;

	if (x->now[box] & PRESENT)
		return by_uid(mb, x->uid[box]);
	for (size_t ix = mailbox_lower_bound(mb, x->floor[box]); ix < mailbox_n(mb); ix++) {
		struct message *m = mailbox_at(mb, ix);

		if (!m->gone && read_message(mb, m, &slot, &serial) == ERR_OK && slot == me_ix && serial == x->serial)
			return m;
	}
	return NULL;
}

static bool same_states(const uint8_t a[BOXES], const uint8_t b[BOXES])
{
	return memcmp(a, b, BOXES) == 0;
}

/* The one before died over something: it happened as a whole or not at all. */
static bool resolve(struct open_user *u)
{
	int n_old = 0, n_new = 0;

	for (int i = 0; i < LIVE_MAX; i++) {
		struct entry *x = &me->e[i];
		uint8_t is[BOXES] = { 0 };

		if (x->serial == 0 || !x->doubt)
			continue;
		for (int b = 0; b < BOXES; b++) {
			struct message *m = find_entry(u, x, b);

			is[b] = m != NULL ? state_of(u->mb[b], m) : 0;
			if (m != NULL && !own_uid(u->user, b, m->uid, me_ix, x->serial))
				return false;
			x->uid[b] = m != NULL ? m->uid : 0;
		}
		if (!same_states(is, x->now) && !same_states(is, x->want))
			return fail("%u/%u: %x %x %x; was %x %x %x, should become %x %x %x", me_ix, x->serial, is[0], is[1],
			    is[2], x->now[0], x->now[1], x->now[2], x->want[0], x->want[1], x->want[2]);
		if (!same_states(x->now, x->want)) {
			n_old += same_states(is, x->now);
			n_new += same_states(is, x->want);
		}
		memcpy(x->want, is, sizeof is);
		settle(&x, 1);
	}
	if (n_old > 0 && n_new > 0)
		return fail("a group is there in part: %d messages changed, %d not", n_new, n_old);
	if (!step_is(u, me_ix, me->step_now)) {
		if (!step_is(u, me_ix, me->step_want))
			return fail("mailboxes are neither at step %u nor at %u", me->step_now, me->step_want);
		me->step_now = me->step_want;
	}
	me->step_want = me->step_now;
	return true;
}

static size_t choose(bool bystander)
{
	int sum = 0, r;

	for (size_t i = 0; i < COUNTOF(acts); i++)
		sum += bystander && !acts[i].bystander ? 0 : acts[i].weight;
	r = rand() % sum;
	for (size_t i = 0;; i++) {
		r -= bystander && !acts[i].bystander ? 0 : acts[i].weight;
		if (r < 0)
			return i;
	}
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n;
}

static void worker(unsigned ix, unsigned seed, const char *path)
{
	struct open_user u = { .user = 0 };
	bool bystander = ix >= WORKERS;
	struct rusage ru;
	uint64_t begin = now_ns();

	tap_helper = true;
	me = &sh->slot[ix];
	me_ix = ix;
	srand(seed);
	me->doing = "start";
	me->busy_since_ns = begin;
	if (!open_user(&u, bystander ? ix - WORKERS : ix / PER_USER, path) || !resolve(&u))
		_exit(1);
	took(&me->start, begin);
	while (!sh->stop && !me->failed) {
		size_t act = choose(bystander);
		uint64_t max = me->ops.max_ns;

		me->doing = acts[act].name;
		me->busy_since_ns = begin = now_ns();
		if (!acts[act].run(&u))
			break;
		if (acts[act].run == do_compact || acts[act].run == do_watch)
			continue;
		took(&me->ops, begin);
		if (me->ops.max_ns > max)
			snprintf(me->slowest, sizeof me->slowest, "%s", me->doing);
		if (bystander)
			usleep((useconds_t)(rand() % 20000));
	}
	me->doing = "close";
	me->busy_since_ns = now_ns();
	me->n_fds = open_fds();
	getrusage(RUSAGE_SELF, &ru);
	me->rss_kib = ru.ru_maxrss;
	close_user(&u);
	me->busy_since_ns = 0;
	fflush(stdout);
	_exit(me->failed);
}

/* -- the parent -- */

static char user_path[USERS][256];
static pid_t pids[SLOTS];
static unsigned seeds;

static const char *path_of(unsigned ix)
{
	return user_path[ix >= WORKERS ? ix - WORKERS : ix / PER_USER];
}

static void start_worker(unsigned ix)
{
	unsigned seed = ++seeds * 7919 + (unsigned)rand();

	sh->slot[ix].doing = "fork";
	sh->slot[ix].busy_since_ns = now_ns();
	fflush(stdout);
	pids[ix] = fork();
	if (pids[ix] == 0)
		worker(ix, seed, path_of(ix));
}

/* Is anybody busy with one thing for too long? */
static bool anyone_hangs(uint64_t *worst_ns)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		uint64_t since = sh->slot[i].busy_since_ns, now = now_ns();
		const char *doing = sh->slot[i].doing;
		bool own_pace = strcmp(doing, "start") == 0 || strcmp(doing, "compact") == 0 || strcmp(doing, "close") == 0;

		if (since == 0 || since > now)
			continue;
		if (!own_pace && now - since > *worst_ns)
			*worst_ns = now - since;
		if (now - since > (uint64_t)(own_pace ? START_MAX_MS : HANG_MS) * 1000000u) {
			printf("# process %u hangs: %s for %llu ms\n", i, doing, (unsigned long long)((now - since) / 1000000));
			return true;
		}
	}
	return false;
}

static bool anyone_failed(void)
{
	bool bad = false;

	for (unsigned i = 0; i < SLOTS; i++) {
		int status;

		if (sh->slot[i].failed)
			printf("# process %u: %s\n", i, sh->slot[i].fail);
		bad = bad || sh->slot[i].failed;
		if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
			printf("# process %u ended by itself: status %x while at %s\n", i, status, sh->slot[i].doing);
			pids[i] = 0;
			bad = true;
		}
	}
	return bad;
}

static void kill_all(void)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		if (pids[i] > 0) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
			pids[i] = 0;
		}
	}
}

static struct { unsigned kills; uint64_t worst_ns; } storm;

static bool kill_one(void)
{
	unsigned ix = (unsigned)rand() % WORKERS;
	pid_t pid = pids[ix];
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status)) {
		pids[ix] = 0;
		printf("# process %u ended by itself: %x\n", ix, status);
		return false;
	}
	storm.kills++;
	start_worker(ix);
	return true;
}

static bool blow(unsigned kills, unsigned pace_ms)
{
	bool ok = true;

	for (unsigned i = 0; i < SLOTS; i++)
		start_worker(i);
	while (ok && storm.kills < kills) {
		usleep((useconds_t)((unsigned)rand() % (2000 * pace_ms)));
		ok = kill_one() && !anyone_failed() && !anyone_hangs(&storm.worst_ns);
	}
	return ok;
}

/* Everybody comes to an end by himself. */
static bool calm_down(void)
{
	uint64_t until = clock_mono_ms() + START_MAX_MS;
	bool ok = true;

	sh->stop = true;
	for (unsigned i = 0; i < SLOTS; i++) {
		int status = 0;

		while (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) == 0 && clock_mono_ms() < until)
			usleep(1000);
		if (clock_mono_ms() >= until || status != 0) {
			printf("# process %u: status %x, %s, %s\n", i, status, sh->slot[i].doing, sh->slot[i].fail);
			ok = false;
		} else {
			pids[i] = 0;
		}
	}
	kill_all();
	return ok;
}

/* -- the reckoning -- */

static bool slot_of_user(unsigned slot, unsigned user)
{
	return slot >= WORKERS ? slot - WORKERS == user : slot / PER_USER == user;
}

static struct entry *entry_of(uint32_t slot, uint32_t serial)
{
	for (int i = 0; i < LIVE_MAX; i++) {
		if (sh->slot[slot].e[i].serial == serial)
			return &sh->slot[slot].e[i];
	}
	return NULL;
}

static bool reckon_box(struct open_user *u, int b, bool *found)
{
	struct mailbox *mb = u->mb[b];
	uint32_t slot, serial, last = 0;
	const struct entry *x;

	for (size_t ix = 0; ix < mailbox_n(mb); ix++) {
		const struct message *m = mailbox_at(mb, ix);

		if (m->uid <= last || read_message(mb, m, &slot, &serial) != ERR_OK)
			return fail("%s UID %u can't be read", box_name[b], m->uid);
		last = m->uid;
		x = slot_of_user(slot, u->user) ? entry_of(slot, serial) : NULL;
		if (x == NULL || !(x->now[b] & PRESENT) || x->uid[b] != m->uid)
			return fail("%s UID %u of %u/%u should not be there", box_name[b], m->uid, slot, serial);
		if (state_of(mb, m) != x->now[b])
			return fail("%s UID %u is %x, not %x", box_name[b], m->uid, state_of(mb, m), x->now[b]);
		if (!own_uid(u->user, b, m->uid, slot, serial))
			return false;
		found[slot * LIVE_MAX + (uint32_t)(x - sh->slot[slot].e)] = true;
	}
	for (unsigned s = 0; s < SLOTS; s++) {
		for (int i = 0; i < LIVE_MAX; i++) {
			x = &sh->slot[s].e[i];
			if (slot_of_user(s, u->user) && x->serial != 0 && x->now[b] & PRESENT && !found[s * LIVE_MAX + (uint32_t)i])
				return fail("%s UID %u of %u/%u is lost", box_name[b], x->uid[b], s, x->serial);
		}
	}
	return true;
}

static void reckon(unsigned user, bool derived_lost)
{
	struct open_user u = { .user = 0 };
	static struct slot scratch;
	uint64_t n_bad = 1;
	struct err e = { .text = "" };
	bool ok;

	tap_helper = true;
	me = &scratch;
	if (derived_lost) {
		char cmd[700];

		snprintf(cmd, sizeof cmd, "rm -rf %s/index %s/ctl", user_path[user], user_path[user]);
		REQUIRE(system(cmd) == 0);
	}
	ok = open_user(&u, user, user_path[user]);
	for (unsigned s = 0; ok && s < SLOTS; s++) {
		if (slot_of_user(s, user)) {	/* what the last one was killed over */
			me_ix = s;
			memcpy(scratch.e, sh->slot[s].e, sizeof scratch.e);
			ok = step_is(&u, s, sh->slot[s].step_now);
			if (!ok)
				(void)fail("mailboxes of %u are not at step %u", s, sh->slot[s].step_now);
		}
	}
	for (int b = 0; ok && b < BOXES; b++) {
		bool found[SLOTS * LIVE_MAX] = { false };

		ok = reckon_box(&u, b, found);
	}
	if (ok && (store_check(u.s, NULL, NULL, &n_bad, &e) != ERR_OK || n_bad != 0))
		ok = fail("check: %llu findings %s", (unsigned long long)n_bad, e.text);
	if (!ok)
		printf("# user %u: %s\n", user, scratch.fail);
	fflush(stdout);
	if (ok)
		close_user(&u);
	_exit(!ok);
}

static bool reckoned(unsigned user, bool derived_lost)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		reckon(user, derived_lost);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* -- beginning and end -- */

static void lay_out(unsigned user)
{
	int status = -1;
	pid_t pid;
	struct dir d = dir_make();

	snprintf(user_path[user], sizeof user_path[user], "%s", d.path);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct store *s;

		tap_helper = true;
		s = store_at(&d);
		for (int b = 1; b < BOXES; b++)
			REQUIRE(store_create(s, str_of(box_name[b]), NULL, NULL) == ERR_OK);
		store_close(&s);
		_exit(0);
	}
	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	close(d.fd);
}

static void add(struct timing *t, const struct timing *more)
{
	t->n += more->n;
	t->sum_ns += more->sum_ns;
	t->max_ns = more->max_ns > t->max_ns ? more->max_ns : t->max_ns;
}

static void say(const char *what, const struct timing *t)
{
	printf("# %s: %llu, mean %.2f ms, worst %.1f ms\n", what, (unsigned long long)t->n,
	    t->n > 0 ? (double)t->sum_ns / (double)t->n / 1e6 : 0.0, (double)t->max_ns / 1e6);
}

static unsigned most_fds(void)
{
	unsigned most = 0;

	for (unsigned i = WORKERS; i < SLOTS; i++)
		most = sh->slot[i].n_fds > most ? sh->slot[i].n_fds : most;
	return most;
}

static void say_figures(double seconds)
{
	struct timing done = { 0 }, by = { 0 }, start = { 0 }, recover = { 0 }, engine = { 0 };
	uint64_t busy = 0, reads = 0, wakes = 0, compacted = 0;
	long rss = 0;

	for (unsigned i = 0; i < SLOTS; i++) {
		const struct slot *s = &sh->slot[i];

		add(i < WORKERS ? &done : &by, &s->ops);
		add(&start, &s->start);
		add(&recover, &s->recover);
		add(&engine, &s->engine);
		busy += s->n_busy;
		reads += s->n_reads;
		wakes += s->n_wakes;
		compacted += s->n_compacted;
		rss = i >= WORKERS && s->rss_kib > rss ? s->rss_kib : rss;
	}
	printf("# %u kills in %.0f s\n", storm.kills, seconds);
	say("operations done", &done);
	say("operations of processes that were never killed", &by);
	say("opening a store and loading three mailboxes", &start);
	say("recovery of the control file", &recover);
	say("recovery of the index", &engine);
	printf("# %llu reads, %llu wake-ups, %llu segments compacted, %llu answers that the store is busy\n",
	    (unsigned long long)reads, (unsigned long long)wakes, (unsigned long long)compacted,
	    (unsigned long long)busy);
	printf("# at its end a process that was never killed had %u descriptors and %ld KiB\n", most_fds(), rss);
}

static unsigned wish(const char *name, unsigned usual)
{
	const char *v = getenv(name);

	return v != NULL ? (unsigned)strtoul(v, NULL, 10) : usual;
}

int main(void)
{
	unsigned kills = wish("PENNY_KILLS", KILLS_DEFAULT), pace = wish("PENNY_PACE_MS", PACE_DEFAULT_MS);
	unsigned seed = wish("PENNY_SEED", (unsigned)time(NULL));
	uint64_t begin = clock_mono_ms();
	bool blown;

	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	REQUIRE(sh != MAP_FAILED);
	printf("# seed %u, %u kills\n", seed, kills);
	srand(seed);
	store_dir_segment = SEGMENT;
	for (unsigned u = 0; u < USERS; u++)
		lay_out(u);
	blown = blow(kills, pace);
	CHECK(blown);
	CHECK(calm_down());
	say_figures((double)(clock_mono_ms() - begin) / 1e3);
	printf("# the longest that anyone was seen at one thing: %.0f ms\n", (double)storm.worst_ns / 1e6);
	CHECK(most_fds() <= FDS_BYSTANDER_MAX);
	for (unsigned u = 0; u < USERS; u++) {
		CHECK_AT(blown && reckoned(u, false), u);
		CHECK_AT(blown && reckoned(u, true), u);
	}
	for (unsigned u = 0; u < USERS && blown; u++) {
		struct dir d = { .fd = open("/", O_RDONLY | O_CLOEXEC) };

		memcpy(d.path, user_path[u], sizeof d.path);
		dir_remove(&d);
	}
	return tap_done();
}
