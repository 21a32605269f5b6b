/* SPDX-License-Identifier: ISC */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../authd/throttle.h"
#include "tap.h"

enum { BASE = 1500, MAX = 15000 };
static const uint64_t now = 1000000;

static struct throttle *fresh(void)
{
	struct throttle *t = NULL;
	struct err e;

	REQUIRE(throttle_new(&t, &e) == ERR_OK);
	return t;
}

static struct throttle_who who(const char *ip, const char *user)
{
	return (struct throttle_who){ str_of(ip), str_of(user) };
}

static uint64_t refuse(struct throttle *t, const char *ip, const char *user, uint64_t at)
{
	struct throttle_who w = who(ip, user);

	return throttle_refuse(t, &w, at, BASE, MAX) - at;
}

static void test_doubling(void)
{
	struct throttle *t = fresh();

	for (int i = 0; i < THROTTLE_FREE_FAILURES; i++)
		CHECK_AT(refuse(t, "192.0.2.1", "alice", now) == BASE, i);
	for (int i = 0; i < THROTTLE_STEP_FAILURES; i++)
		CHECK_AT(refuse(t, "192.0.2.1", "alice", now) == 2 * BASE, i);
	CHECK(refuse(t, "192.0.2.1", "alice", now) == 4 * BASE);
	for (int i = 0; i < 100; i++)
		refuse(t, "192.0.2.1", "alice", now);
	CHECK(refuse(t, "192.0.2.1", "alice", now) == MAX);
	/* either of the two is enough; others are not touched */
	CHECK(refuse(t, "192.0.2.1", "bob", now) == MAX);
	CHECK(refuse(t, "192.0.2.2", "alice", now) == MAX);
	CHECK(refuse(t, "192.0.2.3", "carol", now) == BASE);
	/* and forgotten in time, however many they were */
	CHECK(refuse(t, "192.0.2.1", "alice", now + 40 * THROTTLE_FORGET_MS) > BASE);
	CHECK(refuse(t, "192.0.2.1", "alice",
	    now + (THROTTLE_COUNT_MAX + 1) * (uint64_t)THROTTLE_FORGET_MS) == BASE);
}

static void test_no_overflow(void)
{
	struct throttle *t = fresh();
	struct throttle_who w = who("192.0.2.1", "alice");

	for (int i = 0; i < 300; i++)
		CHECK_AT(throttle_refuse(t, &w, now, 1, UINT32_MAX) - now <= UINT32_MAX, i);
	/* a maximum below the base is no maximum; none at all stays none */
	CHECK(throttle_refuse(t, &w, now, 2000, 1000) - now == 2000);
	CHECK(throttle_refuse(t, &w, now, 0, 1000) == now);
}

static void test_forgive(void)
{
	struct throttle *t = fresh();
	struct throttle_who w = who("192.0.2.1", "alice");

	for (int i = 0; i < 30; i++)
		refuse(t, "192.0.2.1", "alice", now);
	throttle_forgive(t, &w);
	CHECK(refuse(t, "192.0.2.9", "alice", now) == BASE);
	CHECK(refuse(t, "192.0.2.1", "bob", now) > BASE);
}

static void test_limit(void)
{
	struct throttle *t = fresh();
	struct throttle_who w = who("2001:db8::1", "x"), same64 = who("2001:db8::ffff", "y"),
	    other64 = who("2001:db8:0:1::1", "x");

	for (int i = 0; i < THROTTLE_PENDING_MAX; i++) {
		CHECK_AT(!throttle_is_limited(t, &w, now), i);
		throttle_refuse(t, &w, now, BASE, MAX);
	}
	CHECK(throttle_is_limited(t, &w, now));
	CHECK(throttle_is_limited(t, &same64, now));
	CHECK(!throttle_is_limited(t, &other64, now));
	CHECK(throttle_is_limited(t, &w, now + BASE - 1));
	CHECK(!throttle_is_limited(t, &w, now + BASE));
}

static void test_addresses(void)
{
	static const char *const none[] = { "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "local",
		"", "no address", "999.1.1.1" };
	struct throttle *t = fresh();
	struct throttle_who mapped = who("::ffff:192.0.2.1", "x");

	for (size_t i = 0; i < COUNTOF(none); i++) {
		struct throttle_who w = who(none[i], "x");

		for (int j = 0; j < 30; j++)
			throttle_refuse(t, &w, now, BASE, MAX);
		CHECK_AT(!throttle_is_limited(t, &w, now), i);
	}
	for (int j = 0; j < 30; j++)
		refuse(t, "192.0.2.1", "y", now);
	CHECK(throttle_is_limited(t, &mapped, now));
}

/* A flood of names does not push out an address with many failures. */
static void test_flood(void)
{
	struct throttle *t = fresh();
	char name[32];

	for (int i = 0; i < 40; i++)
		refuse(t, "192.0.2.1", "alice", now);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof name, "user%d", i);
		refuse(t, "local", name, now);
	}
	CHECK(refuse(t, "192.0.2.1", "zoe", now) == MAX);
	CHECK(refuse(t, "192.0.2.77", "alice", now) == MAX);
}

/* Shared between processes, and nothing is held by one that is killed in the middle. */
static void test_shared(void)
{
	struct throttle *t = fresh();
	pid_t pid[4];

	for (int i = 0; i < 4; i++) {
		if ((pid[i] = fork()) == 0) {
			for (;;)
				refuse(t, "192.0.2.1", "alice", now);
		}
	}
	usleep(50000);
	for (int i = 0; i < 4; i++) {
		kill(pid[i], 9);
		waitpid(pid[i], NULL, 0);
	}
	CHECK(refuse(t, "192.0.2.1", "alice", now) == MAX);
	CHECK(refuse(t, "192.0.2.2", "bob", now) == BASE);
}

int main(void)
{
	test_doubling();
	test_no_overflow();
	test_forgive();
	test_limit();
	test_addresses();
	test_flood();
	test_shared();
	return tap_done();
}
