/* SPDX-License-Identifier: ISC */
/* Quota: which roots cover what, what is refused and what is let through, and that usage is
 * exact whatever happens: deletes, renames, lost control files, compaction, kill -9 of writers
 * that race for the last octets. */
#include <signal.h>

#include "../../libstore/quota.h"
#include "../../libstore/store_int.h"
#include "store_dir.h"

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

enum { MESSAGE_OCTETS = 1000, WRITERS = 4, KILL_ROUNDS = 6, RACE_LIMIT = 50 };

static uint64_t site_octets, site_messages;	/* the site's defaults of the stores that are opened */

static struct store *open_store(const struct dir *d)
{
	struct store_env env;
	struct store *s = NULL;

	store_env_init(&env);
	env.conf.retain_ms = 0;		/* what is expunged is dead */
	env.conf.quota_octets = site_octets;
	env.conf.quota_messages = site_messages;
	if (store_dir_segment != 0)
		env.segment_octets = store_dir_segment;
	REQUIRE(store_open(d->fd, &env, &s, NULL) == ERR_OK);
	return s;
}

static enum err_kind add(struct store *s, uint32_t mailbox, size_t octets, bool delivered)
{
	static char text[200 * 1024];
	struct body *b = body_new(s, 64 << 20);
	struct append how = { .internaldate_s = 5, .last_may_pass = delivered };
	enum err_kind k;

	memset(text, 'x', octets);
	memcpy(text, "A: b\r\n\r\n", 8);
	REQUIRE(body_add(b, str_n(text, octets), NULL) == ERR_OK && body_seal(b, NULL) == ERR_OK);
	k = mailbox_append(s, mailbox, b, &how, NULL, NULL, NULL);
	body_free(&b);
	return k;
}

static enum err_kind limit(struct store *s, const char *root, uint64_t octets, uint64_t messages)
{
	struct quota_limits l = { QUOTA_STORAGE | QUOTA_MESSAGES, octets, messages };

	return quota_set(s, str_of(root), &l, NULL);
}

static bool uses(struct store *s, const char *root, uint64_t octets, uint64_t messages)
{
	struct arena *a = arena_new(1 << 20);
	struct quota_root *v;
	size_t n = 0;
	bool ok = false;

	REQUIRE(quota_list(s, a, &v, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++) {
		if (str_eq(v[i].name, str_of(root)))
			ok = v[i].used_octets == octets && v[i].used_messages == messages;
	}
	arena_free(&a);
	return ok;
}

static size_t n_covering(struct store *s, const char *mailbox)
{
	struct arena *a = arena_new(1 << 20);
	struct quota_root *v;
	size_t n = 0;

	if (quota_covering(s, a, str_of(mailbox), &v, &n, NULL) != ERR_OK)
		n = 999;
	for (size_t i = 0; i + 1 < n && n < 999; i++) {
		if (v[i].name.n >= v[i + 1].name.n)
			n = 998;	/* the outermost comes first */
	}
	arena_free(&a);
	return n;
}

static enum err_kind copy(struct store *s, const char *from, uint32_t uid, const char *to,
    bool move)
{
	struct mailbox *mb = mailbox_at_name(s, from);
	uint32_t src, dst, validity;
	size_t n;
	enum err_kind k = mailbox_copy(mb, &uid, 1, mailbox_id(s, to), move, &src, &dst, &n, &validity,
	    NULL);

	mailbox_close(&mb);
	return k;
}

static void test_limits(void)
{
	struct dir d = dir_make();
	struct store *s = open_store(&d);

	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS, false) == ERR_OK);		/* no limit */
	CHECK(limit(s, "", 3 * MESSAGE_OCTETS, QUOTA_UNLIMITED) == ERR_OK);
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS, false) == ERR_OK);
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS + 1, false) == ERR_QUOTA);
	CHECK(add(s, MAILBOX_INBOX, 200 * 1024, true) == ERR_QUOTA);
	CHECK(uses(s, "", 2 * MESSAGE_OCTETS, 2));				/* nothing was filed */
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS, false) == ERR_OK);		/* to the last octet */
	CHECK(add(s, MAILBOX_INBOX, 10, true) == ERR_QUOTA);			/* full is full for deliveries, too */
	CHECK(quota_check_delivery(s, 0, NULL) == ERR_QUOTA);
	CHECK(copy(s, "INBOX", 1, "INBOX", false) == ERR_QUOTA);
	/* what is there stays there: reading, flagging, deleting work, and make room */
	{
		struct mailbox *mb = mailbox_at_name(s, "INBOX");
		struct flag_change ch = { FLAG_ADD, MSG_DELETED, NULL, 0, UINT64_MAX };

		CHECK(mailbox_store_flags(mb, (uint32_t[]){ 1 }, 1, &ch, NULL, NULL,
		    NULL) == ERR_OK);
		CHECK(mailbox_expunge(mb, (uint32_t[]){ 1 }, 1, true, NULL, NULL) == ERR_OK);
		mailbox_close(&mb);
	}
	CHECK(quota_check_delivery(s, 0, NULL) == ERR_OK && uses(s, "", 2 * MESSAGE_OCTETS, 2));
	/* the last message of a delivery may pass the limit by a tenth of it, an APPEND may not */
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS + 300, false) == ERR_QUOTA);
	CHECK(quota_check_delivery(s, MESSAGE_OCTETS + 301, NULL) == ERR_QUOTA);
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS + 301, true) == ERR_QUOTA);
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS + 300, true) == ERR_OK && uses(s, "", 3300, 3));
	CHECK(add(s, MAILBOX_INBOX, 10, true) == ERR_QUOTA);
	/* messages have no grace */
	CHECK(limit(s, "", QUOTA_UNLIMITED, 4) == ERR_OK &&
	    add(s, MAILBOX_INBOX, 10, true) == ERR_OK);
	CHECK(add(s, MAILBOX_INBOX, 10, true) == ERR_QUOTA);
	CHECK(limit(s, "", 0, QUOTA_UNLIMITED) == ERR_OK &&
	    add(s, MAILBOX_INBOX, 10, true) == ERR_QUOTA);
	CHECK(quota_set(s, STR(""), &(struct quota_limits){ .set = 0 }, NULL) == ERR_OK);
	CHECK(add(s, MAILBOX_INBOX, 100 * 1024, false) == ERR_OK);
	CHECK(limit(s, "none/such", 1, 1) == ERR_NOENT);
	store_close(&s);
	dir_remove(&d);
}

static void test_site_default(void)
{
	struct dir d = dir_make();
	struct store *s;

	site_octets = 2 * MESSAGE_OCTETS;
	site_messages = 10;
	s = open_store(&d);
	CHECK(add(s, MAILBOX_INBOX, MESSAGE_OCTETS, false) == ERR_OK &&
	    add(s, MAILBOX_INBOX, MESSAGE_OCTETS + 1, false) == ERR_QUOTA);
	/* a limit of the user's own takes the default's place, each for itself */
	CHECK(quota_set(s, STR(""), &(struct quota_limits){ QUOTA_STORAGE, QUOTA_UNLIMITED, 0 },
	    NULL) == ERR_OK);
	for (int i = 0; i < 9; i++)
		CHECK_AT(add(s, MAILBOX_INBOX, MESSAGE_OCTETS, false) == ERR_OK, i);
	CHECK(add(s, MAILBOX_INBOX, 10, false) == ERR_QUOTA);
	CHECK(quota_set(s, STR(""), &(struct quota_limits){ .set = 0 }, NULL) == ERR_OK);
	CHECK(quota_check_delivery(s, 0, NULL) == ERR_QUOTA);
	store_close(&s);
	site_octets = site_messages = 0;
	s = open_store(&d);
	CHECK(quota_check_delivery(s, 1 << 20, NULL) == ERR_OK);
	store_close(&s);
	dir_remove(&d);
}

static void test_roots(void)
{
	struct dir d = dir_make();
	struct store *s = open_store(&d);
	uint32_t deep;

	REQUIRE(store_create(s, STR("lists/a/b"), &deep, NULL) == ERR_OK &&
	    store_create(s, STR("listsx"), NULL, NULL) == ERR_OK);
	CHECK(limit(s, "lists", 5 * MESSAGE_OCTETS, QUOTA_UNLIMITED) == ERR_OK);
	CHECK(limit(s, "lists/a", QUOTA_UNLIMITED, 2) == ERR_OK);
	CHECK(n_covering(s, "lists/a/b") == 3 && n_covering(s, "lists") == 2 &&
	    n_covering(s, "listsx") == 1);
	CHECK(n_covering(s, "lists/a/to/come") == 3 && n_covering(s, "inbox") == 1 &&
	    n_covering(s, "a//b") == 999);
	CHECK(add(s, deep, MESSAGE_OCTETS, false) == ERR_OK &&
	    add(s, deep, MESSAGE_OCTETS, false) == ERR_OK);
	CHECK(add(s, deep, MESSAGE_OCTETS, false) == ERR_QUOTA);	/* lists/a: 2 messages */
	CHECK(add(s, mailbox_id(s, "lists"), 4 * MESSAGE_OCTETS, false) == ERR_QUOTA);
	CHECK(add(s, mailbox_id(s, "lists"), 3 * MESSAGE_OCTETS, false) == ERR_OK);
	CHECK(uses(s, "lists", 5 * MESSAGE_OCTETS, 3) && uses(s, "lists/a", 2 * MESSAGE_OCTETS, 2));
	CHECK(uses(s, "", 5 * MESSAGE_OCTETS, 3) &&
	    add(s, mailbox_id(s, "listsx"), MESSAGE_OCTETS, false) == ERR_OK);
	/* a move within a root is not held against it; one into it is */
	CHECK(limit(s, "lists/a", QUOTA_UNLIMITED, QUOTA_UNLIMITED) == ERR_OK);
	CHECK(copy(s, "lists", 1, "lists/a", false) == ERR_QUOTA &&
	    copy(s, "lists", 1, "lists/a", true) == ERR_OK);
	CHECK(copy(s, "listsx", 1, "lists/a/b", true) == ERR_QUOTA &&
	    uses(s, "lists", 5 * MESSAGE_OCTETS, 3));
	CHECK(limit(s, "", 6 * MESSAGE_OCTETS, 4) == ERR_OK);	/* full now, and moves go on */
	CHECK(copy(s, "lists/a", 1, "listsx", true) == ERR_OK &&
	    copy(s, "listsx", 1, "INBOX", true) == ERR_OK);
	/* limits follow the mailbox; with it they go */
	CHECK(store_rename(s, STR("lists"), STR("l"), NULL) == ERR_OK);
	CHECK(n_covering(s, "l/a/b") == 3 && n_covering(s, "lists/a/b") == 1 &&
	    uses(s, "l", 2 * MESSAGE_OCTETS, 2));
	CHECK(store_delete(s, STR("l/a/b"), NULL) == ERR_OK && uses(s, "l", 0, 0));
	CHECK(store_delete(s, STR("l"), NULL) == ERR_OK && n_covering(s, "l/a") == 2);
	store_close(&s);
	dir_remove(&d);
}

static bool compact_now(struct store *s)
{
	struct store_compact_result r;

	return store_compact(s, 0, &r, NULL) == ERR_OK;
}

/* Limits and usage are those they were after everything derived was lost, and after compaction
 * took the records away. */
static void test_lost(void)
{
	struct dir d = dir_make();
	struct store *s;
	struct mailbox *mb;
	uint32_t uids[100];
	char cmd[700];

	store_dir_segment = 32 * 1024;
	s = open_store(&d);
	REQUIRE(store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	CHECK(limit(s, "box", 3000, QUOTA_UNLIMITED) == ERR_OK &&
	    limit(s, "", QUOTA_UNLIMITED, 103) == ERR_OK);
	for (uint32_t i = 0; i < 100; i++) {
		CHECK_AT(add(s, MAILBOX_INBOX, MESSAGE_OCTETS, false) == ERR_OK, i);
		uids[i] = i + 1;
	}
	CHECK(add(s, mailbox_id(s, "box"), 2500, false) == ERR_OK);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_expunge(mb, uids, 98, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	CHECK(uses(s, "", 2 * MESSAGE_OCTETS + 2500, 3) && uses(s, "box", 2500, 1));
	CHECK(compact_now(s) && s->ctl->first_seg > 1);
	CHECK(uses(s, "", 2 * MESSAGE_OCTETS + 2500, 3) && uses(s, "box", 2500, 1));
	store_close(&s);
	snprintf(cmd, sizeof cmd, "rm -rf %s/ctl %s/index", d.path, d.path);
	REQUIRE(system(cmd) == 0);
	s = open_store(&d);
	CHECK(uses(s, "", 2 * MESSAGE_OCTETS + 2500, 3) && uses(s, "box", 2500, 1));
	CHECK(add(s, mailbox_id(s, "box"), 501, false) == ERR_QUOTA &&
	    add(s, mailbox_id(s, "box"), 500, false) == ERR_OK);
	store_close(&s);
	store_dir_segment = 0;
	dir_remove(&d);
}

static bool fill_up(struct store *s)
{
	enum err_kind k;

	while ((k = add(s, MAILBOX_INBOX, MESSAGE_OCTETS, true)) == ERR_OK)
		;
	return k == ERR_QUOTA;
}

/* Several writers race for the last places, and are killed: never more than the limit, never
 * less than what there is. */
static void test_race(void)
{
	struct dir d = dir_make();
	struct store *s = open_store(&d);

	for (int round = 0; round < KILL_ROUNDS; round++) {
		uint64_t most = (uint64_t)(round + 1) * RACE_LIMIT, n = 0;
		pid_t pid[WRITERS];
		int status;
		struct mailbox *mb;
		struct arena *a = arena_new(1 << 16);
		struct quota_root *v;

		CHECK_AT(limit(s, "", QUOTA_UNLIMITED, most) == ERR_OK, round);
		for (int i = 0; i < WRITERS; i++) {
			pid[i] = fork();
			if (pid[i] == 0) {
				execl("/proc/self/exe", "test", "--other", "fill_up", d.path,
				    (char *)NULL);
				_exit(127);
			}
		}
		if (round % 2 == 0) {
			usleep((useconds_t)(5000 + rand() % 20000));
			kill(pid[0], SIGKILL);
			kill(pid[1], SIGKILL);
		}
		for (int i = 0; i < WRITERS; i++) {
			REQUIRE(waitpid(pid[i], &status, 0) == pid[i]);
			CHECK_AT(status == 0 || WIFSIGNALED(status), i);
		}
		REQUIRE(quota_list(s, a, &v, &n, NULL) == ERR_OK);
		CHECK_AT(v[0].used_messages == most && v[0].used_octets == most * MESSAGE_OCTETS,
		    round);
		arena_free(&a);
		mb = mailbox_at_name(s, "INBOX");
		CHECK_AT(mailbox_n(mb) == most, round);
		mailbox_close(&mb);
	}
	store_close(&s);
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	static const struct other others[] = { { "fill_up", fill_up } };

	other_session_main(argc, argv, others, COUNTOF(others));
	test_limits();
	test_site_default();
	test_roots();
	test_lost();
	test_race();
	return tap_done();
}
