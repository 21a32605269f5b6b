/* SPDX-License-Identifier: ISC */
/* Attributes: what was set is read, by whichever way it is read; limits; what renaming,
 * deleting, rebuilding and losing everything that is derived does to them. */
#include <signal.h>
#include <sys/file.h>

#include "../../libstore/attr.h"
#include "../../libstore/store_int.h"
#include "store_dir.h"

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

enum { KILL_ROUNDS = 12 };

static enum err_kind set1(struct store *s, uint32_t mailbox, const char *owner, const char *name,
    struct str value)
{
	struct attr a = { ATTR_METADATA, str_of(owner), str_of(name), value, 0 };

	return attr_set(s, mailbox, &a, 1, NULL);
}

static bool is(struct store *s, uint32_t mailbox, const char *owner, const char *name,
    struct str value)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct str v;
	bool ok = attr_get(s, mailbox, a, ATTR_METADATA, str_of(owner), str_of(name), &v,
	    NULL) == ERR_OK && str_eq(v, value);

	arena_free(&a);
	return ok;
}

static bool none(struct store *s, uint32_t mailbox, const char *name)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct str v;
	bool ok = attr_get(s, mailbox, a, ATTR_METADATA, STR(""), str_of(name), &v,
	    NULL) == ERR_NOENT;

	arena_free(&a);
	return ok;
}

static size_t count(struct store *s, uint32_t mailbox)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct attr *v;
	size_t n = 9999;

	if (attr_list(s, mailbox, a, &v, &n, NULL) != ERR_OK)
		n = 9999;
	arena_free(&a);
	return n;
}

/* Octets of every kind, NUL among them, at lengths around those of a piece. */
static struct str octets(size_t n)
{
	static char v[ATTR_VALUE_MAX_OCTETS + 1];

	for (size_t i = 0; i < n; i++)
		v[i] = (char)(i * 7 + n);
	return str_n(v, n);
}

static const size_t lengths[] = { 0, 1, 3899, 3900, 3901, 7800, 40000, ATTR_VALUE_MAX_OCTETS };

static void test_values(struct store *s)
{
	uint32_t inbox = mailbox_id(s, "INBOX");
	char name[32];

	for (size_t i = 0; i < COUNTOF(lengths); i++) {
		snprintf(name, sizeof name, "/len/%zu", lengths[i]);
		CHECK_AT(set1(s, inbox, "", name, octets(lengths[i])) == ERR_OK, i);
	}
	for (size_t i = 0; i < COUNTOF(lengths); i++) {
		snprintf(name, sizeof name, "/LEN/%zu", lengths[i]);
		CHECK_AT(is(s, inbox, "", name, octets(lengths[i])), i);
	}
	CHECK(count(s, inbox) == COUNTOF(lengths));
	/* a long value replaced by a short one leaves nothing of itself */
	CHECK(set1(s, inbox, "", "/Len/40000", STR("short")) == ERR_OK);
	CHECK(is(s, inbox, "", "/len/40000", STR("short")) && count(s, inbox) == COUNTOF(lengths));
	CHECK(set1(s, inbox, "", "/LEN/65536", str_n(NULL, 0)) == ERR_OK &&
	    none(s, inbox, "/len/65536"));
	CHECK(count(s, inbox) == COUNTOF(lengths) - 1);
	CHECK(set1(s, inbox, "", "/nothing", str_n(NULL, 0)) == ERR_OK);	/* no error */
	/* owners and kinds are apart; names that begin alike, too */
	CHECK(set1(s, inbox, "al", "/c", STR("1")) == ERR_OK &&
	    set1(s, inbox, "alice", "/c", STR("2")) == ERR_OK);
	CHECK(set1(s, inbox, "", "/c", STR("3")) == ERR_OK &&
	    set1(s, inbox, "", "/c/d", STR("4")) == ERR_OK);
	CHECK(is(s, inbox, "al", "/c", STR("1")) && is(s, inbox, "alice", "/c", STR("2")));
	CHECK(is(s, inbox, "", "/c", STR("3")) && is(s, inbox, "", "/c/d", STR("4")));
	CHECK(set1(s, ATTR_STORE, "", "/c", STR("5")) == ERR_OK &&
	    is(s, ATTR_STORE, "", "/c", STR("5")));
	CHECK(is(s, inbox, "", "/c", STR("3")) && count(s, ATTR_STORE) == 1);
}

static void test_acl(struct store *s)
{
	struct attr acl[] = {
		{ ATTR_ACL, STR_INIT(""), STR_INIT("Bob"), STR_INIT("lrs"), 0 },
		{ ATTR_ACL, STR_INIT(""), STR_INIT("bob"), STR_INIT("lrswipkxtea"), 0 },
		{ ATTR_ACL, STR_INIT(""), STR_INIT("anyone"), STR_INIT("l"), 0 },
	};
	uint32_t inbox = mailbox_id(s, "INBOX");
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct attr *v;
	size_t n, before = count(s, inbox);
	struct str rights;

	CHECK(attr_set(s, inbox, acl, 3, NULL) == ERR_OK && count(s, inbox) == before + 3);
	CHECK(attr_get(s, inbox, a, ATTR_ACL, STR(""), STR("Bob"), &rights, NULL) == ERR_OK &&
	    str_eq(rights, STR("lrs")));
	CHECK(attr_get(s, inbox, a, ATTR_ACL, STR(""), STR("BOB"), &rights, NULL) == ERR_NOENT);
	CHECK(attr_list(s, inbox, a, &v, &n, NULL) == ERR_OK);
	CHECK(v[n - 1].kind == ATTR_ACL && str_eq(v[n - 1].name, STR("bob")) &&
	    v[n - 1].modseq > v[n - 2].modseq - 9);
	arena_free(&a);
}

static void test_refusals(struct store *s)
{
	char long_name[ATTR_NAME_MAX_OCTETS + 2];
	uint32_t inbox = mailbox_id(s, "INBOX");
	struct attr two[] = {
		{ ATTR_METADATA, STR_INIT(""), STR_INIT("/fine"), STR_INIT("x"), 0 },
		{ ATTR_METADATA, STR_INIT(""), STR_INIT(""), STR_INIT("x"), 0 },
	};
	struct attr nul = { ATTR_METADATA, STR_INIT(""), STR_INIT("/a\0b"), STR_INIT("x"), 0 };
	size_t before = count(s, inbox);

	memset(long_name, 'n', sizeof long_name);
	long_name[sizeof long_name - 1] = '\0';
	CHECK(set1(s, inbox, "", long_name, STR("x")) == ERR_LIMIT);
	long_name[ATTR_NAME_MAX_OCTETS] = '\0';
	CHECK(set1(s, inbox, "", long_name, STR("x")) == ERR_OK &&
	    is(s, inbox, "", long_name, STR("x")));
	CHECK(set1(s, inbox, "", long_name, str_n(NULL, 0)) == ERR_OK);
	CHECK(set1(s, inbox, long_name, "/a", STR("x")) == ERR_LIMIT);
	CHECK(set1(s, inbox, "", "/a", octets(ATTR_VALUE_MAX_OCTETS + 1)) == ERR_LIMIT);
	CHECK(attr_set(s, inbox, two, 2, NULL) == ERR_SYNTAX && none(s, inbox, "/fine"));	/* all or none */
	CHECK(attr_set(s, inbox, &nul, 1, NULL) == ERR_SYNTAX);
	CHECK(set1(s, 4711, "", "/a", STR("x")) == ERR_NOENT && count(s, 4711) == 9999);
	CHECK(count(s, inbox) == before);
}

static void test_limits(struct store *s)
{
	uint32_t box;
	size_t n = 0;
	char name[32];

	REQUIRE(store_create(s, STR("many"), &box, NULL) == ERR_OK);
	for (; n <= ATTRS_MAX; n++) {
		snprintf(name, sizeof name, "/%zu", n);
		if (set1(s, box, "", name, STR("x")) != ERR_OK)
			break;
	}
	CHECK(n == ATTRS_MAX && count(s, box) == ATTRS_MAX);
	CHECK(set1(s, box, "", "/0", STR("y")) == ERR_OK);
	CHECK(set1(s, box, "", "/0", str_n(NULL, 0)) == ERR_OK &&
	    set1(s, box, "", "/new", STR("x")) == ERR_OK);
	REQUIRE(store_create(s, STR("fat"), &box, NULL) == ERR_OK);
	for (n = 0; n < ATTRS_MAX; n++) {
		snprintf(name, sizeof name, "/%zu", n);
		if (set1(s, box, "", name, octets(ATTR_VALUE_MAX_OCTETS)) != ERR_OK)
			break;
	}
	CHECK(n == ATTRS_MAX_OCTETS / ATTR_VALUE_MAX_OCTETS && count(s, box) == n);
	CHECK(set1(s, box, "", "/one", STR("x")) == ERR_LIMIT);
	CHECK(set1(s, box, "", "/0", octets(10)) == ERR_OK &&
	    set1(s, box, "", "/one", STR("x")) == ERR_OK);
	CHECK(store_delete(s, STR("many"), NULL) == ERR_OK &&
	    store_delete(s, STR("fat"), NULL) == ERR_OK);
}

static void test_names(struct store *s)
{
	uint32_t box, inbox = mailbox_id(s, "INBOX"), again;
	size_t n;

	REQUIRE(store_create(s, STR("a/b"), &box, NULL) == ERR_OK);
	CHECK(set1(s, box, "", "/c", STR("follows")) == ERR_OK &&
	    set1(s, box, "me", "/d", octets(9000)) == ERR_OK);
	CHECK(store_rename(s, STR("a"), STR("x"), NULL) == ERR_OK && mailbox_id(s, "x/b") == box);
	CHECK(is(s, box, "", "/c", STR("follows")) && is(s, box, "me", "/d", octets(9000)));
	CHECK(store_delete(s, STR("x/b"), NULL) == ERR_OK && count(s, box) == 9999);
	REQUIRE(store_create(s, STR("x/b"), &again, NULL) == ERR_OK);
	CHECK(again != box && count(s, again) == 0);
	CHECK(set1(s, mailbox_id(s, "x"), "", "/c", STR("goes")) == ERR_OK);
	CHECK(store_delete(s, STR("x"), NULL) == ERR_OK);	/* \Noselect: x/b is below */
	CHECK(count(s, mailbox_id(s, "x")) == 9999);
	n = count(s, inbox);
	CHECK(n > 2 && store_rename(s, STR("INBOX"), STR("old"), NULL) == ERR_OK);
	CHECK(mailbox_id(s, "old") == inbox && mailbox_id(s, "INBOX") != inbox);
	CHECK(count(s, inbox) == n && count(s, mailbox_id(s, "INBOX")) == n);
	CHECK(is(s, mailbox_id(s, "INBOX"), "alice", "/c", STR("2")));
	CHECK(set1(s, mailbox_id(s, "INBOX"), "alice", "/c", STR("new")) == ERR_OK &&
	    is(s, inbox, "alice", "/c", STR("2")));
	CHECK(set1(s, inbox, "alice", "/c", STR("old")) == ERR_OK);
}

/* Everything there is in one number. */
static uint64_t digest(struct store *s)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS), *l = arena_new(1 << 20);
	struct mailbox_info *list;
	struct attr *v;
	uint64_t h = 1;
	size_t n = 0, n_attr;

	REQUIRE(store_list(s, l, &list, &n, NULL) == ERR_OK);
	for (size_t i = 0; i <= n; i++) {
		arena_reset(a);
		if (i < n && !list[i].exists)
			continue;
		REQUIRE(attr_list(s, i < n ? list[i].id : ATTR_STORE, a, &v, &n_attr,
		    NULL) == ERR_OK);
		for (size_t k = 0; k < n_attr; k++) {
			h = (h ^ v[k].kind ^ v[k].modseq << 8) * 0x100000001b3u;
			for (size_t o = 0; o < v[k].owner.n; o++)
				h = (h ^ (unsigned char)v[k].owner.p[o]) * 0x100000001b3u;
			for (size_t o = 0; o < v[k].name.n; o++)
				h = (h ^ (unsigned char)v[k].name.p[o]) * 0x100000001b3u;
			for (size_t o = 0; o < v[k].value.n; o++)
				h = (h ^ (unsigned char)v[k].value.p[o]) * 0x100000001b3u;
		}
	}
	arena_free(&a);
	arena_free(&l);
	return h;
}

static bool other_sets(struct store *s)
{
	return set1(s, mailbox_id(s, "INBOX"), "", "/from/elsewhere", STR("seen")) == ERR_OK;
}

/* Sets without end, each value telling its number; killed from outside. */
static bool other_counts(struct store *s)
{
	uint32_t inbox = mailbox_id(s, "INBOX");
	char value[32], name[32];

	for (unsigned i = 1;; i++) {
		struct attr v[2];

		snprintf(value, sizeof value, "%u", i);
		snprintf(name, sizeof name, "/n/%u", i % 50);
		v[0] = (struct attr){ ATTR_METADATA, STR(""), STR("/last"), str_of(value), 0 };
		v[1] = (struct attr){ ATTR_METADATA, STR(""), str_of(name), str_of(value), 0 };
		if (attr_set(s, inbox, v, 2, NULL) != ERR_OK)
			return false;
		if (write(3, &i, sizeof i) != sizeof i)		/* acknowledged */
			return false;
	}
}

static void kill_one(struct dir *d, unsigned *out_acknowledged)
{
	int fds[2], status;
	unsigned i;
	pid_t pid;

	REQUIRE(pipe(fds) == 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], 3);
		execl("/proc/self/exe", "test", "--other", "counts", d->path, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	usleep((useconds_t)(20000 + rand() % 40000));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	while (read(fds[0], &i, sizeof i) == sizeof i)
		*out_acknowledged = i;
	close(fds[0]);
}

/* What was acknowledged is there after a kill -9, and both of what was set together. */
static void test_killed(void)
{
	struct dir d = dir_make();
	struct store *s;

	for (int round = 0; round < KILL_ROUNDS; round++) {
		struct arena *a = arena_new(ATTR_ARENA_OCTETS);
		unsigned acknowledged = 0, last = 0;
		struct str v;
		char name[32], value[32];

		kill_one(&d, &acknowledged);
		s = store_at(&d);
		if (attr_get(s, mailbox_id(s, "INBOX"), a, ATTR_METADATA, STR(""), STR("/last"), &v,
		    NULL) == ERR_OK)
			last = (unsigned)strtoul(v.p, NULL, 10);
		CHECK_AT(last >= acknowledged && last <= acknowledged + 1, round);
		snprintf(name, sizeof name, "/n/%u", last % 50);
		snprintf(value, sizeof value, "%u", last);
		CHECK_AT(last == 0 || is(s, mailbox_id(s, "INBOX"), "", name, str_of(value)), round);
		CHECK_AT(set1(s, mailbox_id(s, "INBOX"), "", "/last", STR("0")) == ERR_OK, round);
		store_close(&s);
		arena_free(&a);
	}
	dir_remove(&d);
}

static void lose(const struct dir *d, const char *what)
{
	char cmd[700];

	snprintf(cmd, sizeof cmd, "cd %s && rm -rf %s", d->path, what);
	REQUIRE(system(cmd) == 0);
}

static void run_all(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct store_rebuild_result r;
	uint64_t before, n_bad = 1;

	test_values(s);
	test_acl(s);
	test_refusals(s);
	test_limits(s);
	test_names(s);
	CHECK(other_session(&d, "sets") && is(s, mailbox_id(s, "INBOX"), "", "/FROM/elsewhere",
	    STR("seen")));
	before = digest(s);
	CHECK(store_rebuild(s, &r, NULL) == ERR_OK && r.n_damaged == 0 && digest(s) == before);
	CHECK(store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0);
	store_close(&s);
	lose(&d, "ctl index");
	s = store_at(&d);
	CHECK(digest(s) == before);
	store_close(&s);
	store_dir_replay_max = UINT32_MAX;	/* the same without an index */
	lose(&d, "ctl index");
	s = store_at(&d);
	CHECK(digest(s) == before && (s->engine == NULL || s->ctl->tail.pos.seg > 1));
	store_close(&s);
	store_dir_replay_max = 0;
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	static const struct other others[] = { { "sets", other_sets }, { "counts", other_counts } };

	other_session_main(argc, argv, others, COUNTOF(others));
	run_all();			/* with the index */
	store_dir_segment = 64 * 1024;	/* many segments */
	run_all();
	store_dir_segment = 0;
	store_dir_replay_max = UINT32_MAX;	/* from the journal alone */
	run_all();
	store_dir_replay_max = 0;
	test_killed();
	return tap_done();
}
