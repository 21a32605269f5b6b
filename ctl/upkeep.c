/* SPDX-License-Identifier: ISC */
/* penny rebuild, compact, purge, index and check, for one user or for all. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../libbase/clock.h"
#include "../libmail/charset.h"
#include "../libstore/search.h"
#include "ctl.h"

enum {
	COMPACT_MIN_AGE_S = 60,
	INDEX_WAIT_MS = 10000, INDEX_AGAIN_MS = 50,	/* for a session that makes search files just now */
};

static int rebuild(struct store *s, void *arg)
{
	const char *user = arg;
	struct store_rebuild_result r;
	struct err e;

	if (store_rebuild(s, &r, &e) != ERR_OK)
		return ctl_err(&e);
	printf("%s\trecords=%" PRIu64 "\tmailboxes=%" PRIu64 "\tmessages=%" PRIu64
	    "\tdamaged=%" PRIu64 "\n", user, r.n_records, r.n_mailboxes, r.n_messages, r.n_damaged);
	return r.n_damaged == 0 ? 0 : EX_DATAERR;
}

/* On order young segments go, too: a session that has been silent for longer than this may have to log in again. */
static int compact(struct store *s, void *arg)
{
	const char *user = arg;
	struct store_compact_result r;
	struct err e;

	if (store_compact(s, COMPACT_MIN_AGE_S, &r, &e) != ERR_OK)
		return ctl_err(&e);
	printf("%s\tsegments=%u\tmoved=%" PRIu64 "\tlarge=%" PRIu64 "\tyoung=%u\n", user, r.n_segments,
	    r.n_moved, r.n_large, r.n_young);
	return 0;
}

static int index_texts(struct store *s, void *arg)
{
	const char *user = arg;
	uint64_t end_ms = clock_mono_ms() + INDEX_WAIT_MS;
	struct search_build_result r;
	struct err e;

	charset_warm();
	do {
		if (search_build(s, UINT32_MAX, UINT32_MAX, &r, &e) != ERR_OK)
			return ctl_err(&e);
	} while (r.busy && clock_mono_ms() < end_ms && (clock_sleep_ms(INDEX_AGAIN_MS), true));
	if (r.busy)
		return ctl_fail(EX_TEMPFAIL, "%s: another process makes the search files", user);
	printf("%s\tindexed=%u\twanting=%u\n", user, r.n_built, r.n_wanting);
	return 0;
}

static int purge(struct store *s, void *arg)
{
	const char *user = arg;
	struct store_compact_result r;
	struct err e;

	if (store_purge(s, &r, &e) != ERR_OK)
		return ctl_err(&e);
	printf("%s\tsegments=%u\tmoved=%" PRIu64 "\tlarge=%" PRIu64 "\n", user, r.n_segments, r.n_moved, r.n_large);
	return 0;
}

static void report(void *ctx, const char *finding)
{
	printf("%s\t%s\n", (const char *)ctx, finding);
}

static int check(struct store *s, void *arg)
{
	uint64_t n_bad = 0;
	struct err e;

	if (store_check(s, report, arg, &n_bad, &e) != ERR_OK)
		return ctl_err(&e);
	printf("%s\tfindings=%" PRIu64 "\n", (char *)arg, n_bad);
	return n_bad == 0 ? 0 : EX_DATAERR;
}

static int repair(struct store *s, void *arg)
{
	struct store_repair_result r;
	struct err e;

	if (store_repair(s, report, arg, &r, &e) != ERR_OK)
		return ctl_err(&e);
	printf("%s\tfound=%" PRIu64 "\trepaired=%" PRIu64 "\tfindings=%" PRIu64 "\n", (char *)arg, r.n_found, r.n_repaired,
	    r.n_left);
	return r.n_left == 0 ? 0 : EX_DATAERR;
}

static int rebuild_user(struct ctl *c, const char *user)
{
	return ctl_in_store(c, user, false, rebuild, (void *)(uintptr_t)user);
}

static int compact_user(struct ctl *c, const char *user)
{
	return ctl_in_store(c, user, false, compact, (void *)(uintptr_t)user);
}

static int index_user(struct ctl *c, const char *user)
{
	return ctl_in_store(c, user, false, index_texts, (void *)(uintptr_t)user);
}

static int purge_user(struct ctl *c, const char *user)
{
	return ctl_in_store(c, user, false, purge, (void *)(uintptr_t)user);
}

static int check_user(struct ctl *c, const char *user)
{
	return ctl_in_store(c, user, false, check, (void *)(uintptr_t)user);
}

static int repair_user(struct ctl *c, const char *user)
{
	return ctl_in_store(c, user, false, repair, (void *)(uintptr_t)user);
}

int cmd_rebuild(struct ctl *c, int argc, char **argv)
{
	(void)argc;
	if (strcmp(argv[0], "--all") == 0)
		return ctl_each_user(c, rebuild_user);
	return rebuild_user(c, argv[0]);
}

int cmd_compact(struct ctl *c, int argc, char **argv)
{
	(void)argc;
	if (strcmp(argv[0], "--all") == 0)
		return ctl_each_user(c, compact_user);
	return compact_user(c, argv[0]);
}

int cmd_index(struct ctl *c, int argc, char **argv)
{
	(void)argc;
	if (strcmp(argv[0], "--all") == 0)
		return ctl_each_user(c, index_user);
	return index_user(c, argv[0]);
}

int cmd_purge(struct ctl *c, int argc, char **argv)
{
	(void)argc;
	if (strcmp(argv[0], "--all") == 0)
		return ctl_each_user(c, purge_user);
	return purge_user(c, argv[0]);
}

int cmd_check(struct ctl *c, int argc, char **argv)
{
	int (*run)(struct ctl *, const char *) = check_user;
	const char *user = argv[0];

	if (argc == 2) {	/* on either side of the user */
		bool first = strcmp(argv[0], "--repair") == 0;

		if (!first && strcmp(argv[1], "--repair") != 0)
			return ctl_fail(EX_USAGE, "check: %s is no option", argv[1]);
		user = argv[first];
		run = repair_user;
	}
	return strcmp(user, "--all") == 0 ? ctl_each_user(c, run) : run(c, user);
}
