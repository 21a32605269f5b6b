/* SPDX-License-Identifier: ISC */
/* Compaction beside a session, killed at random moments, and with index and control file lost afterwards: what can be seen
 * is the same before and after, octet for octet, and the space of what is dead comes back. Segments are made small, so
 * that there are many. Prints TAP; the seed may be given. */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "../../libstore/store_int.h"
#include "../unit/store_dir.h"

enum { MESSAGES = 400, LARGE_EVERY = 40, KILLS = 40, SEGMENT = 128 * 1024 };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

static struct str text_of(uint32_t n)
{
	static char text[300 * 1024];
	size_t octets = n % LARGE_EVERY == 0 ? sizeof text : 200 + n * 37 % 5000;

	memset(text, 'a' + (int)(n % 26), octets);
	memcpy(text, "Subject: x\r\n\r\n", 14);
	return str_n(text, octets);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdu;
}

static uint64_t mix_text(uint64_t h, struct str s)
{
	for (size_t i = 0; i < s.n; i += 97)
		h = mix(h, (unsigned char)s.p[i]);
	return mix(h, s.n);
}

/* Attributes with their MODSEQ, and limits with what is used of them. */
static uint64_t mix_state(uint64_t h, struct store *s, uint32_t mailbox)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct quota_root *root;
	struct attr *v;
	size_t n;

	REQUIRE(attr_list(s, mailbox, a, &v, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++)
		h = mix(mix_text(mix_text(mix_text(h, v[i].owner), v[i].name), v[i].value), v[i].modseq ^ v[i].kind);
	REQUIRE(quota_list(s, a, &root, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++)
		h = mix(mix(mix(mix_text(h, root[i].name), root[i].limits.storage_octets), root[i].limits.n_messages),
		    root[i].used_octets ^ root[i].used_messages << 40);
	arena_free(&a);
	return h;
}

/* Everything a client can see, octets too. */
static uint64_t digest(struct store *s)
{
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *list;
	uint64_t h = 0;
	size_t n = 0;

	REQUIRE(store_list(s, a, &list, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++) {
		struct mailbox *mb = mailbox_at_name(s, (const char *)list[i].name.p);

		h = mix(mix(mix(h, list[i].uidnext), list[i].uidvalidity), list[i].n_unseen);
		for (size_t k = 0; k < mailbox_n_keywords(mb); k++)
			h = mix_text(h, mailbox_keyword(mb, k));
		for (size_t k = 0; k < mailbox_n(mb); k++) {
			const struct message *m = mailbox_at(mb, k);
			struct message_text t;
			bool seen;

			h = mix(mix(mix(mix(h, m->uid), m->flags & MSG_STORED_FLAGS), m->keywords), m->modseq);
			if (message_open(mb, m, &t, NULL) != ERR_OK) {
				h = mix(h, 0xbad);
				continue;
			}
			h = mix_text(mix_text(mix_text(h, t.prefix), t.body), t.record);
			message_close(&t);
			REQUIRE(view_has(mb, STR("phone"), &m->uid, 1, &seen, NULL) == ERR_OK);
			h = mix(h, seen);
		}
		mailbox_close(&mb);
		h = mix_state(h, s, list[i].id);
	}
	arena_free(&a);
	return mix_state(h, s, ATTR_STORE);
}

static uint64_t octets_of(const struct dir *d, const char *sub)
{
	char path[300];
	uint64_t sum = 0;
	struct dirent *de;
	DIR *dir;

	snprintf(path, sizeof path, "%s/%s", d->path, sub);
	dir = opendir(path);
	REQUIRE(dir != NULL);
	while ((de = readdir(dir)) != NULL) {
		struct stat st;

		if (fstatat(dirfd(dir), de->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	}
	closedir(dir);
	return sum;
}

/* Attributes, some changed and some taken away again, and quota roots. */
static void fill_state(struct store *s, uint32_t box)
{
	struct quota_limits l = { QUOTA_STORAGE | QUOTA_MESSAGES, 1 << 30, 100000 };
	struct attr v[] = {
		{ ATTR_METADATA, STR_INIT(""), STR_INIT("/comment"), text_of(5), 0 },
		{ ATTR_METADATA, STR_INIT("me"), STR_INIT("/comment"), str_head(text_of(40), 60000), 0 },
		{ ATTR_ACL, STR_INIT(""), STR_INIT("you"), STR_INIT("lrs"), 0 },
	};

	REQUIRE(attr_set(s, box, v, COUNTOF(v), NULL) == ERR_OK && attr_set(s, ATTR_STORE, v, 1, NULL) == ERR_OK);
	REQUIRE(attr_set(s, 1, v, 2, NULL) == ERR_OK);
	v[0].value = str_n(NULL, 0);
	v[1].value = STR("now");
	REQUIRE(attr_set(s, 1, v, 2, NULL) == ERR_OK);
	REQUIRE(quota_set(s, STR(""), &l, NULL) == ERR_OK && quota_set(s, STR("box"), &l, NULL) == ERR_OK);
}

/* Mail, copies that share octets, flags, keywords, a view; then most of it expunged. */
static void fill(struct store *s)
{
	struct str kw[] = { STR_INIT("$One"), STR_INIT("$Two") };
	struct flag_change flag = { FLAG_ADD, MSG_FLAGGED | MSG_SEEN, kw, 2, UINT64_MAX };
	uint32_t box, validity, from[MESSAGES], to[MESSAGES], uids[MESSAGES];
	struct mailbox *mb;
	size_t n, n_gone = 0;

	REQUIRE(store_create(s, STR("box"), &box, NULL) == ERR_OK);
	fill_state(s, box);
	for (uint32_t i = 1; i <= MESSAGES; i++) {
		REQUIRE(put_message(s, MAILBOX_INBOX, text_of(i), 0, STR("P: q\r\n")) == i);
		uids[i - 1] = i;
	}
	mb = mailbox_at_name(s, "INBOX");
	REQUIRE(mailbox_store_flags(mb, uids + 10, 100, &flag, NULL, NULL, NULL) == ERR_OK);
	REQUIRE(view_change(mb, STR("phone"), uids, 300, true, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, uids, 50, box, false, from, to, &n, &validity, NULL) == ERR_OK && n == 50);
	for (uint32_t i = 1; i <= MESSAGES; i++) {
		if (i % 7 != 0 && i % 11 != 0)
			uids[n_gone++] = i;
	}
	REQUIRE(mailbox_expunge(mb, uids, n_gone, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
}

static bool compact_now(struct store *s)
{
	struct store_compact_result r;
	struct err e = { .text = "" };

	if (store_compact(s, 0, &r, &e) != ERR_OK)
		printf("# compact: %s\n", e.text);
	if (getenv("COMPACTION_TELL") != NULL)
		printf("# %u segments removed, %llu messages moved, %llu large bodies removed\n", r.n_segments,
		    (unsigned long long)r.n_moved, (unsigned long long)r.n_large);
	return r.n_segments > 0;
}

static void lose_derived(const struct dir *d)
{
	char cmd[700];

	snprintf(cmd, sizeof cmd, "rm -rf %s/index %s/ctl", d->path, d->path);
	REQUIRE(system(cmd) == 0);
}

static void print_finding(void *ctx, const char *line)
{
	(void)ctx;
	printf("# %s\n", line);
}

static bool sound(struct store *s)
{
	uint64_t n_bad = 1;

	return store_check(s, print_finding, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0;
}

static void test_whole(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	struct message_text t;
	uint64_t before, journal, after_octets;
	struct store_compact_result r;
	size_t n;

	fill(s);
	before = digest(s);
	journal = octets_of(&d, "journal");
	CHECK(store_compact(s, 3600, &r, NULL) == ERR_OK && r.n_segments == 0 && r.n_young > 0);
	mb = mailbox_at_name(s, "INBOX");	/* a session that looks on */
	n = mailbox_n(mb);
	CHECK(other_session(&d, "compact_now"));
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n(mb) == n && !mailbox_has_gone(mb));
	for (size_t i = 0; i < n; i++) {
		CHECK_AT(message_open(mb, mailbox_at(mb, i), &t, NULL) == ERR_OK &&
		    str_eq(t.body, text_of(mailbox_at(mb, i)->uid)), i);
		message_close(&t);
		CHECK_AT(mailbox_at(mb, i)->dirty == 0, i);
	}
	mailbox_close(&mb);
	CHECK(digest(s) == before && sound(s));
	after_octets = octets_of(&d, "journal");
	printf("# journal: %llu octets before, %llu after\n", (unsigned long long)journal,
	    (unsigned long long)after_octets);
	CHECK(after_octets < journal * 2 / 3);
	store_close(&s);
	lose_derived(&d);
	s = store_at(&d);
	CHECK(digest(s) == before && sound(s));
	CHECK(put_message(s, MAILBOX_INBOX, text_of(1), 0, STR("")) == MESSAGES + 1);
	store_close(&s);
	dir_remove(&d);
}

/* Killed at random, again and again; each time the store is what it was, and then compaction gets through. */
static bool survives_kill(const struct dir *base, uint64_t before, bool lose, bool *out_inside)
{
	struct dir d = dir_make();
	char cmd[700];
	struct store *s;
	int status;
	pid_t pid;
	bool ok;

	snprintf(cmd, sizeof cmd, "cp -a %s/. %s", base->path, d.path);
	REQUIRE(system(cmd) == 0);
	pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", "compaction", "--other", "compact_now", d.path, (char *)NULL);
		_exit(127);
	}
	usleep((useconds_t)(rand() % 60000));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	*out_inside = WIFSIGNALED(status);
	if (lose)
		lose_derived(&d);
	s = store_at(&d);
	ok = digest(s) == before && sound(s);
	(void)compact_now(s);
	ok = ok && digest(s) == before && sound(s) && s->ctl->first_seg > 1;
	store_close(&s);
	dir_remove(&d);
	return ok;
}

static void test_killed(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	uint64_t before;
	int n_inside = 0;

	fill(s);
	before = digest(s);
	store_close(&s);
	for (int i = 0; i < KILLS; i++) {
		bool inside;

		CHECK_AT(survives_kill(&d, before, i % 3 == 0, &inside), i);
		n_inside += inside;
	}
	printf("# %d of %d were killed before they had done\n", n_inside, KILLS);
	CHECK(n_inside > 0);
	dir_remove(&d);
}

/* All gone: all the space comes back, large bodies too. */
static void test_emptied(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	uint32_t uids[MESSAGES];
	uint64_t left;

	fill(s);
	for (uint32_t i = 0; i < MESSAGES; i++)
		uids[i] = i + 1;
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_expunge(mb, uids, MESSAGES, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	CHECK(store_delete(s, STR("box"), NULL) == ERR_OK);
	for (int i = 0; i < 100; i++)		/* end the segment that still names the last ones */
		put_message(s, MAILBOX_INBOX, text_of(1 + (uint32_t)i % 39), 0, STR(""));
	CHECK(compact_now(s));
	left = 0;
	for (int i = 0; i < 256; i++) {
		char sub[16];

		snprintf(sub, sizeof sub, "large/%02x", i);
		if (faccessat(d.fd, sub, F_OK, 0) == 0)
			left += octets_of(&d, sub);
	}
	CHECK(left == 0 && octets_of(&d, "journal") < 4 * SEGMENT);
	CHECK(sound(s));
	store_close(&s);
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	static const struct other others[] = { { "compact_now", compact_now } };
	unsigned seed = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);

	store_dir_segment = SEGMENT;
	other_session_main(argc, argv, others, COUNTOF(others));
	printf("# seed %u\n", seed);
	srand(seed);
	test_whole();
	test_killed();
	test_emptied();
	return tap_done();
}
