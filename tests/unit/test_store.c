/* SPDX-License-Identifier: ISC */
/* A store through its public door: what goes in comes out, for one session and for two at once, and again after the
 * index was lost. */
#include "../../libstore/store_int.h"
#include "store_dir.h"

/* Handles that were abandoned, because another process recovered the index, are never freed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";
}

enum { IDLE_MAX_OCTETS = 64 * 1024 };

static const char small[] =
    "From: a@example.org\r\nTo: b@example.org\r\nSubject: one\r\n\r\nhello\r\n";

static void test_new_store(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *m;
	size_t n;

	CHECK(store_list(s, a, &m, &n, NULL) == ERR_OK && n == 1);
	CHECK(str_eq(m[0].name, STR("INBOX")) && m[0].exists && m[0].uidnext == 1 &&
	    m[0].uidvalidity != 0 && m[0].n_messages == 0);
	store_close(&s);
	s = store_at(&d);
	CHECK(store_find(s, a, STR("inbox"), m, NULL) == ERR_OK && str_eq(m->name, STR("INBOX")));
	CHECK(store_find(s, a, STR("x"), m, NULL) == ERR_NOENT);
	store_close(&s);
	arena_free(&a);
	dir_remove(&d);
}

static bool text_is(struct mailbox *mb, size_t ix, struct str prefix, struct str body)
{
	struct message_text t;
	struct text_span span[2];
	char *got = malloc(prefix.n + body.n + 1);
	size_t n, at = 0;
	bool ok;

	if (message_open(mb, mailbox_at(mb, ix), &t, NULL) != ERR_OK) {
		free(got);
		return false;
	}
	ok = str_eq(t.prefix, prefix) && str_eq(t.body, body);
	n = message_spans(&t, 0, UINT64_MAX, span);
	for (size_t i = 0; i < n; i++) {
		ok = ok && pread(span[i].fd, got + at, span[i].len, (off_t)span[i].off) ==
		    (ssize_t)span[i].len;
		at += span[i].len;
	}
	ok = ok && at == prefix.n + body.n && memcmp(got, prefix.p, prefix.n) == 0 &&
	    memcmp(got + prefix.n, body.p, body.n) == 0;
	message_close(&t);
	free(got);
	return ok;
}

static void test_append_and_read(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	size_t big_n = 3 << 20;
	char *big = malloc(big_n);
	bool known;

	memset(big, 'x', big_n);
	memcpy(big, "Subject: big\r\n\r\n", 16);
	CHECK(put_message(s, 1, str_of(small), 0, STR("Return-Path: <>\r\n")) == 1);
	CHECK(put_message(s, 1, str_n(big, big_n), MSG_SEEN, STR("X: y\r\n")) == 2);
	CHECK(put_message(s, 99, str_of(small), 0, STR("")) == 0);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_n(mb) == 2 && mailbox_at(mb, 0)->uid == 1 && mailbox_at(mb, 1)->uid == 2);
	CHECK(mailbox_at(mb, 1)->flags == (MSG_SEEN | MSG_RECENT));
	CHECK(mailbox_at(mb, 0)->internaldate_s == 1000000000);
	CHECK(mailbox_at(mb, 0)->size_octets == sizeof small - 1 + 17);
	CHECK(mailbox_first_unseen(mb, &known) == 0 && known);
	CHECK(text_is(mb, 0, STR("Return-Path: <>\r\n"), str_of(small)));
	CHECK(text_is(mb, 1, STR("X: y\r\n"), str_n(big, big_n)));
	mailbox_close(&mb);
	store_close(&s);
	free(big);
	dir_remove(&d);
}

static bool other_sets_seen(struct store *s)
{
	struct flag_change seen = { FLAG_ADD, MSG_SEEN, NULL, 0, UINT64_MAX };
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	uint32_t uid = 1;
	bool ok = mailbox_store_flags(mb, &uid, 1, &seen, NULL, NULL, NULL) == ERR_OK &&
	    mailbox_at(mb, 0)->dirty == MSG_DIRTY_OWN && (mailbox_at(mb, 0)->flags & MSG_SEEN);
	uint64_t before = store_change_count(s);

	/* the same again changes nothing and gives no new MODSEQ */
	ok = ok && mailbox_store_flags(mb, &uid, 1, &seen, NULL, NULL, NULL) == ERR_OK &&
	    store_change_count(s) == before;
	mailbox_close(&mb);
	return ok;
}

static bool other_labels_all(struct store *s)
{
	struct str kw = STR_INIT("$Label1");
	struct flag_change label = { FLAG_ADD, 0, &kw, 1, UINT64_MAX };
	uint32_t uids[] = { 1, 2, 3, 77 };
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	bool ok = mailbox_store_flags(mb, uids, 4, &label, NULL, NULL, NULL) == ERR_OK;

	mailbox_close(&mb);
	return ok;
}

static bool other_expunges_2_and_appends(struct store *s)
{
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	uint32_t uid = 2;
	size_t n = 0;
	bool ok = mailbox_expunge(mb, &uid, 1, false, &n, NULL) == ERR_OK && n == 1 &&
	    mailbox_n(mb) == 3 && mailbox_at(mb, 1)->gone && mailbox_has_gone(mb);

	mailbox_close(&mb);
	return ok && put_message(s, 1, str_of(small), 0, STR("")) == 4;
}

/* What another session does is seen at the next refresh, and not before. */
static void test_two_sessions(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	uint64_t before;
	bool changed;

	for (int i = 0; i < 3; i++)
		put_message(s, 1, str_of(small), 0, STR(""));
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_at(mb, 0)->flags == MSG_RECENT);
	CHECK(mailbox_refresh(mb, &changed, NULL) == ERR_OK && !changed);
	before = store_change_count(s);
	CHECK(other_session(&d, "other_sets_seen"));
	CHECK(store_change_count(s) > before && mailbox_at(mb, 0)->flags == MSG_RECENT);
	CHECK(mailbox_refresh(mb, &changed, NULL) == ERR_OK && changed);
	CHECK(mailbox_at(mb, 0)->flags == (MSG_SEEN | MSG_RECENT) &&
	    mailbox_at(mb, 0)->dirty == MSG_DIRTY_OTHER);
	CHECK(mailbox_at(mb, 0)->modseq > mailbox_at(mb, 2)->modseq);
	CHECK(other_session(&d, "other_labels_all"));
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n_keywords(mb) == 1 &&
	    str_eq(mailbox_keyword(mb, 0), STR("$Label1")) && mailbox_at(mb, 2)->keywords == 1);
	CHECK(other_session(&d, "other_expunges_2_and_appends"));
	CHECK(mailbox_n(mb) == 3 && !mailbox_at(mb, 1)->gone);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n(mb) == 4 && mailbox_at(mb, 1)->gone);
	CHECK(mailbox_at(mb, 3)->flags == MSG_RECENT);
	mailbox_expel(mb, NULL, NULL);
	CHECK(mailbox_n(mb) == 3 && mailbox_at(mb, 1)->uid == 3 && mailbox_at(mb, 2)->uid == 4);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

/* A view that was opened by counters only, and loads after others changed the mailbox. */
static void test_late_load(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb = NULL;

	for (int i = 0; i < 3; i++)
		put_message(s, 1, str_of(small), 0, STR(""));
	REQUIRE(mailbox_open(s, STR("INBOX"), true, &mb, NULL) == ERR_OK);
	CHECK(other_session(&d, "other_expunges_2_and_appends"));
	CHECK(mailbox_load(mb, NULL) == ERR_OK && mailbox_n(mb) == 3 && mailbox_at(mb, 1)->uid == 2);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n(mb) == 4 && mailbox_at(mb, 1)->gone);
	mailbox_expel(mb, NULL, NULL);
	CHECK(mailbox_n(mb) == 3 && mailbox_at(mb, 1)->uid == 3);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

static void test_copy_and_move(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *a, *b;
	struct str kw = STR_INIT("$Forwarded");
	struct flag_change label = { FLAG_ADD, MSG_FLAGGED, &kw, 1, UINT64_MAX };
	uint32_t uids[] = { 1, 2, 3 }, from[3], to[3], dst, validity;
	size_t n;

	for (int i = 0; i < 3; i++)
		put_message(s, 1, str_of(small), 0, STR("A: b\r\n"));
	CHECK(store_create(s, STR("Archive/2026"), &dst, NULL) == ERR_OK);
	a = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_store_flags(a, uids, 1, &label, NULL, NULL, NULL) == ERR_OK);
	CHECK(mailbox_copy(a, uids, 2, dst, false, from, to, &n, &validity, NULL) == ERR_OK && n == 2 &&
	    to[0] == 1 && to[1] == 2);
	CHECK(mailbox_copy(a, uids, 3, dst, true, from, to, &n, &validity, NULL) == ERR_OK && n == 3 &&
	    to[2] == 5);
	mailbox_expel(a, NULL, NULL);
	CHECK(mailbox_n(a) == 0);
	b = mailbox_at_name(s, "Archive/2026");
	CHECK(mailbox_n(b) == 5 && (mailbox_at(b, 0)->flags & MSG_FLAGGED) &&
	    mailbox_at(b, 0)->keywords == 1 && str_eq(mailbox_keyword(b, 0), kw));
	CHECK(text_is(b, 4, STR("A: b\r\n"), str_of(small)));
	CHECK(mailbox_copy(b, uids, 1, 12345, false, from, to, &n, &validity, NULL) == ERR_NOENT);
	/* copying onto itself is a copy like any other */
	mailbox_close(&a);
	a = mailbox_at_name(s, "Archive/2026");
	CHECK(mailbox_copy(a, uids, 1, dst, false, from, to, &n, &validity, NULL) == ERR_OK &&
	    mailbox_n(a) == 6);
	mailbox_close(&a);
	mailbox_close(&b);
	store_close(&s);
	dir_remove(&d);
}

static void test_folders(void)
{
	static const struct { struct str name; enum err_kind want; } bad[] = {
		{ STR_INIT(""), ERR_SYNTAX }, { STR_INIT("/"), ERR_SYNTAX },
		{ STR_INIT("a//b"), ERR_SYNTAX }, { STR_INIT("../bob"), ERR_SYNTAX },
		{ STR_INIT("a/../b"), ERR_SYNTAX }, { STR_INIT("/etc"), ERR_SYNTAX },
		{ STR_INIT("a*"), ERR_SYNTAX }, { STR_INIT("a%"), ERR_SYNTAX },
		{ STR_INIT("a\x01"), ERR_SYNTAX }, { STR_INIT("a\xff"), ERR_SYNTAX },
		{ STR_INIT("INBOX"), ERR_EXISTS }, { STR_INIT("inbox/"), ERR_EXISTS },
		{ STR_INIT("x\0y"), ERR_SYNTAX },
	};
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info i, j;
	struct mailbox_info *list;
	size_t n;

	for (size_t k = 0; k < COUNTOF(bad); k++)
		CHECK_AT(store_create(s, bad[k].name, NULL, NULL) == bad[k].want, k);
	CHECK(store_create(s, STR("a/b/c"), NULL, NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("a/b"), &i, NULL) == ERR_OK && i.exists);
	CHECK(store_create(s, STR("a/b"), NULL, NULL) == ERR_EXISTS);
	CHECK(store_delete(s, STR("a/b"), NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("a/b"), &i, NULL) == ERR_OK && i.noselect);
	CHECK(store_delete(s, STR("a/b"), NULL) == ERR_EXISTS);
	CHECK(store_create(s, STR("a/b"), NULL, NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("a/b"), &j, NULL) == ERR_OK && j.id != i.id &&
	    j.uidvalidity > i.uidvalidity);
	CHECK(store_rename(s, STR("a"), STR("z/y"), NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("z/y/b/c"), &i, NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("a/b/c"), &i, NULL) == ERR_NOENT);
	CHECK(store_rename(s, STR("z/y"), STR("z/y/q"), NULL) == ERR_SYNTAX);
	CHECK(store_rename(s, STR("nope"), STR("q"), NULL) == ERR_NOENT);
	CHECK(store_rename(s, STR("z"), STR("INBOX"), NULL) == ERR_EXISTS);
	CHECK(store_delete(s, STR("INBOX"), NULL) == ERR_DENIED);
	put_message(s, 1, str_of(small), 0, STR(""));
	CHECK(store_rename(s, STR("INBOX"), STR("old"), NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("old"), &i, NULL) == ERR_OK && i.n_messages == 1);
	CHECK(store_find(s, a, STR("INBOX"), &j, NULL) == ERR_OK && j.n_messages == 0 &&
	    j.uidvalidity != i.uidvalidity);
	CHECK(put_message(s, MAILBOX_INBOX, str_of(small), 0, STR("")) == 1);
	CHECK(store_find(s, a, STR("INBOX"), &j, NULL) == ERR_OK && j.n_messages == 1);
	CHECK(store_subscribe(s, STR("not/there"), true, NULL) == ERR_OK);
	CHECK(store_find(s, a, STR("not/there"), &i, NULL) == ERR_NOENT);
	CHECK(store_subscribe(s, STR("old"), true, NULL) == ERR_OK);
	CHECK(store_delete(s, STR("old"), NULL) == ERR_OK);
	CHECK(store_list(s, a, &list, &n, NULL) == ERR_OK);
	for (size_t k = 0; k < n; k++) {
		if (str_eq(list[k].name, STR("old")) || str_eq(list[k].name, STR("not/there")))
			CHECK_AT(!list[k].exists && list[k].subscribed, k);
		if (str_eq(list[k].name, STR("z")))
			CHECK_AT(list[k].has_children, k);
	}
	CHECK(store_subscribe(s, STR("old"), false, NULL) == ERR_OK);
	CHECK(store_subscribe(s, STR("old"), false, NULL) == ERR_NOENT);
	store_close(&s);
	arena_free(&a);
	dir_remove(&d);
}

static void test_many_folders(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d), *t = store_at(&d);
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info i;
	char name[32];
	bool ok = true;

	for (int k = 0; k < 100; k++) {
		snprintf(name, sizeof name, "box%d", k);
		ok = ok && store_create(s, str_of(name), NULL, NULL) == ERR_OK;
	}
	CHECK(ok);
	CHECK(store_find(t, a, STR("box99"), &i, NULL) == ERR_OK);	/* its mapping was too small */
	store_close(&s);
	store_close(&t);
	arena_free(&a);
	dir_remove(&d);
}

struct state {
	uint32_t uid[64], flags[64];
	uint64_t modseq[64], keywords[64];
	size_t n;
	uint32_t validity;
};

static struct state state_of(struct store *s, const char *name)
{
	struct mailbox *mb = mailbox_at_name(s, name);
	struct mailbox_info i;
	struct state st = { .n = mailbox_n(mb) };

	mailbox_counters(mb, &i);
	st.validity = i.uidvalidity;
	for (size_t k = 0; k < st.n && k < 64; k++) {
		const struct message *m = mailbox_at(mb, k);

		st.uid[k] = m->uid;
		st.flags[k] = m->flags & MSG_STORED_FLAGS;
		st.modseq[k] = m->modseq;
		st.keywords[k] = m->keywords;
	}
	mailbox_close(&mb);
	return st;
}

/* An octet in the middle of every 4 KiB of the index: found when it is entered, or only when a mailbox is read. */
static void spoil_index(const struct dir *d)
{
	char path[300];
	const char *names[] = { "index.db", "index.mdb" };
	struct stat st;

	for (size_t i = 0; i < COUNTOF(names); i++) {
		int fd;

		snprintf(path, sizeof path, "%s/index/%s", d->path, names[i]);
		fd = open(path, O_RDWR);
		if (fd < 0)
			continue;	/* the other engine's */
		REQUIRE(fstat(fd, &st) == 0);
		for (off_t at = 2048; at < st.st_size; at += 4096) {
			char c;

			REQUIRE(pread(fd, &c, 1, at) == 1);
			c ^= 4;
			REQUIRE(pwrite(fd, &c, 1, at) == 1);
		}
		close(fd);
	}
}

static void test_damaged_index(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;

	for (int i = 0; i < 300; i++)
		put_message(s, 1, str_of(small), i % 3 ? MSG_SEEN : 0, STR(""));
	mb = mailbox_at_name(s, "INBOX");
	mailbox_close(&mb);
	store_close(&s);
	for (int i = 0; i < 3; i++) {
		spoil_index(&d);
		s = store_at(&d);
		mb = mailbox_at_name(s, "INBOX");
		CHECK_AT(mailbox_n(mb) == 300, i);
		for (uint32_t k = 0; k < mailbox_n(mb) && k < 300; k++) {
			const struct message *m = mailbox_at(mb, k);

			CHECK_AT(m->uid == k + 1 && (m->flags & MSG_SEEN) == (k % 3 ? MSG_SEEN : 0), k);
		}
		mailbox_close(&mb);
		store_close(&s);
	}
	dir_remove(&d);
}

/* What a store costs on the disk beyond its mail, directories included, when nobody has it open. */
static void test_idle_size(void)
{
	struct dir d = dir_make();
	struct timespec long_ago[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	uint64_t mail = 0, disk = 0;
	struct mailbox *mb;
	struct store *s;
	char cmd[400];
	FILE *du;

	for (int session = 0; session < 10; session++) {
		s = store_at(&d);
		for (int i = 0; i < 10; i++)
			put_message(s, 1, str_of(small), 0, STR(""));
		mb = mailbox_at_name(s, "INBOX");	/* which needs the index, or would if it were larger */
		mailbox_close(&mb);
		if (session == 9)	/* as if nothing had come for a while */
			CHECK(utimensat(d.fd, "journal/00000001.seg", long_ago, 0) == 0);
		store_tend(s);
		mail = s->ctl->tail.pos.off;
		store_close(&s);
	}
	snprintf(cmd, sizeof cmd, "du -s --block-size=1 %s", d.path);
	du = popen(cmd, "r");
	REQUIRE(du != NULL && fscanf(du, "%llu", (unsigned long long *)&disk) == 1);
	pclose(du);
	printf("# an idle store of 100 messages, %llu octets of journal: %llu on the disk\n", (unsigned long long)mail,
	    (unsigned long long)disk);
	CHECK(disk < IDLE_MAX_OCTETS + mail);
	/* and it goes on */
	s = store_at(&d);
	CHECK(put_message(s, 1, str_of(small), 0, STR("")) == 101);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_n(mb) == 101);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

static void test_rebuild(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct store_rebuild_result r;
	struct mailbox *mb;
	struct str kw = STR_INIT("k");
	struct flag_change ch = { FLAG_SET, MSG_ANSWERED, &kw, 1, UINT64_MAX };
	uint32_t uids[] = { 3, 4, 5, 9 }, view_uids[] = { 1, 7 };
	struct state before, after;
	uint64_t bad = 99;
	bool has[4];
	char cmd[600];

	for (int i = 0; i < 20; i++)
		put_message(s, 1, str_of(small), i % 2 ? MSG_SEEN : 0, STR(""));
	CHECK(store_create(s, STR("x"), NULL, NULL) == ERR_OK);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_store_flags(mb, uids, 4, &ch, NULL, NULL, NULL) == ERR_OK);
	CHECK(mailbox_expunge(mb, uids, 2, false, NULL, NULL) == ERR_OK);
	CHECK(view_change(mb, STR("phone"), view_uids, 2, true, NULL) == ERR_OK);
	mailbox_close(&mb);
	before = state_of(s, "INBOX");
	CHECK(before.n == 18);
	CHECK(store_check(s, NULL, NULL, &bad, NULL) == ERR_OK && bad == 0);
	store_close(&s);
	snprintf(cmd, sizeof cmd, "rm -rf %s/index %s/ctl", d.path, d.path);
	CHECK(system(cmd) == 0);
	s = store_at(&d);
	after = state_of(s, "INBOX");
	CHECK(memcmp(&before, &after, sizeof before) == 0);
	CHECK(store_rebuild(s, &r, NULL) == ERR_OK && r.n_damaged == 0 && r.n_messages == 18 &&
	    r.n_mailboxes == 2);
	after = state_of(s, "INBOX");
	CHECK(memcmp(&before, &after, sizeof before) == 0);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(view_has(mb, STR("phone"), (uint32_t[]){ 1, 2, 7, 8 }, 4, has, NULL) == ERR_OK &&
	    has[0] && !has[1] && has[2] && !has[3]);
	mailbox_close(&mb);
	CHECK(store_check(s, NULL, NULL, &bad, NULL) == ERR_OK && bad == 0);
	store_close(&s);
	dir_remove(&d);
}

/* Enough mail to roll segments, with a reader that follows across them. */
static void test_segments(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	size_t big_n = 200 * 1024;
	char *big = malloc(big_n);
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	uint64_t bad;
	bool ok = true;

	memset(big, 'y', big_n);
	memcpy(big, "Subject: s\r\n\r\n", 14);
	for (int i = 0; i < 200; i++)
		ok = ok && put_message(s, 1, str_n(big, big_n), 0, STR("")) == (uint32_t)i + 1;
	CHECK(ok);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n(mb) == 200);
	CHECK(text_is(mb, 199, STR(""), str_n(big, big_n)) && text_is(mb, 0, STR(""), str_n(big, big_n)));
	mailbox_close(&mb);
	CHECK(store_check(s, NULL, NULL, &bad, NULL) == ERR_OK && bad == 0);
	store_close(&s);
	s = store_at(&d);
	CHECK(state_of(s, "INBOX").n == 200);
	store_close(&s);
	free(big);
	dir_remove(&d);
}

static void test_unchanged_since(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct flag_change ch = { FLAG_ADD, MSG_FLAGGED, NULL, 0, 0 };
	uint32_t uids[] = { 1, 2 }, failed[2];
	struct mailbox *mb;
	size_t n_failed = 9;

	put_message(s, 1, str_of(small), 0, STR(""));
	put_message(s, 1, str_of(small), 0, STR(""));
	mb = mailbox_at_name(s, "INBOX");
	ch.unchanged_since = mailbox_at(mb, 0)->modseq;
	CHECK(mailbox_store_flags(mb, uids, 2, &ch, failed, &n_failed, NULL) == ERR_OK && n_failed == 1 &&
	    failed[0] == 2);
	CHECK((mailbox_at(mb, 0)->flags & MSG_FLAGGED) && !(mailbox_at(mb, 1)->flags & MSG_FLAGGED));
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

static bool other_deletes_tmp(struct store *s)
{
	return store_delete(s, STR("tmp"), NULL) == ERR_OK;
}

static void test_deleted_mailbox(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	uint32_t id, uid = 1;
	struct mailbox *mb;

	CHECK(store_create(s, STR("tmp"), &id, NULL) == ERR_OK);
	put_message(s, id, str_of(small), 0, STR(""));
	mb = mailbox_at_name(s, "tmp");
	CHECK(other_session(&d, "other_deletes_tmp"));
	CHECK(mailbox_expunge(mb, &uid, 1, false, NULL, NULL) == ERR_NOENT);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_deleted(mb) && mailbox_at(mb, 0)->gone);
	CHECK(put_message(s, id, str_of(small), 0, STR("")) == 0);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

/* A sync fails while two processes wait for theirs (here: two handles). What was not durable is cut off and its sequence
 * numbers are given again: nobody may take a later record's durability for his own. */
static void test_failed_sync(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d), *t = store_at(&d);
	struct body *b = body_new(s, 1 << 20);
	struct append later = { .sync_later = true };
	struct mailbox *mb;

	put_message(s, MAILBOX_INBOX, str_of(small), 0, STR(""));
	mb = mailbox_at_name(s, "INBOX");
	CHECK(body_add(b, str_of(small), NULL) == ERR_OK && body_seal(b, NULL) == ERR_OK);
	CHECK(mailbox_append(s, MAILBOX_INBOX, b, &later, NULL, NULL, NULL) == ERR_OK);
	t->ctl->broken = 1;
	CHECK(put_message(t, MAILBOX_INBOX, str_of(small), MSG_FLAGGED, STR("")) == 2);
	CHECK(put_message(t, MAILBOX_INBOX, str_of(small), 0, STR("")) == 3);
	CHECK(store_sync(s, NULL) == ERR_TEMP);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n(mb) == 3 &&
	    (mailbox_at(mb, 1)->flags & MSG_FLAGGED));
	CHECK(put_message(s, MAILBOX_INBOX, str_of(small), 0, STR("")) == 4);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_n(mb) == 4);
	mailbox_close(&mb);
	body_free(&b);
	store_close(&s);
	store_close(&t);
	dir_remove(&d);
}

static bool other_appends(struct store *s)
{
	return store_maildrop_lock(s, NULL) == ERR_BUSY && put_message(s, 1, str_of(small), 0, STR("")) != 0;
}

static void test_maildrop_and_watch(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	char events[4096];
	int fd;

	CHECK(store_maildrop_lock(s, NULL) == ERR_OK);
	CHECK(store_watch(s, &fd, NULL) == ERR_OK);
	CHECK(read(fd, events, sizeof events) < 0);
	CHECK(other_session(&d, "other_appends"));
	CHECK(read(fd, events, sizeof events) > 0);
	CHECK(other_session(&d, "other_appends"));
	store_watch_drain(s);
	CHECK(read(fd, events, sizeof events) < 0);
	store_maildrop_unlock(s);
	CHECK(!other_session(&d, "other_appends"));
	store_close(&s);
	dir_remove(&d);
}

/* What a session sees of a mailbox, in one number. */
static uint64_t seen_in(struct store *s, const char *name)
{
	struct mailbox *mb = mailbox_at_name(s, name);
	uint64_t h = mailbox_n(mb);

	for (size_t ix = 0; ix < mailbox_n(mb); ix++) {
		const struct message *m = mailbox_at(mb, ix);

		h = (h ^ m->uid ^ (uint64_t)(m->flags & MSG_STORED_FLAGS) << 32) * 0x9e3779b97f4a7c15u;
		h = (h ^ m->modseq) * 0x9e3779b97f4a7c15u;
	}
	mailbox_close(&mb);
	return h;
}

/* One record that changes more rows than the index takes in one transaction: it is left in the middle and gone on with. What
 * comes out is what a view that followed the journal has, and what the whole journal says. */
static void test_many_rows_at_once(void)
{
	enum { MANY = 10000, EVERY = 3 };
	struct flag_change flag = { FLAG_ADD, MSG_FLAGGED, NULL, 0, UINT64_MAX };
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct body *b = body_new(s, 1000);
	struct append how = { .sync_later = true, .internaldate_s = 1 };
	uint32_t *uids = malloc(4 * MANY * sizeof *uids), box, validity;
	struct mailbox *mb;
	struct store_rebuild_result r;
	uint64_t inbox, copies;
	size_t n, n_some = 0;

	REQUIRE(uids != NULL && body_add(b, str_of(small), NULL) == ERR_OK && body_seal(b, NULL) == ERR_OK);
	for (uint32_t i = 0; i < MANY; i++)
		n_some += mailbox_append(s, MAILBOX_INBOX, b, &how, &uids[i], NULL, NULL) == ERR_OK;
	body_free(&b);
	REQUIRE(n_some == MANY && store_sync(s, NULL) == ERR_OK);
	n_some = 0;
	REQUIRE(store_create(s, STR("box"), &box, NULL) == ERR_OK);
	mb = mailbox_at_name(s, "INBOX");
	REQUIRE(mailbox_store_flags(mb, uids, MANY, &flag, NULL, NULL, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, uids, MANY, box, false, uids + MANY, uids + 2 * MANY, &n, &validity, NULL) == ERR_OK &&
	    n == MANY);
	for (size_t i = 0; i < MANY; i += EVERY)
		uids[n_some++] = uids[i];
	flag.flags = MSG_SEEN;
	REQUIRE(mailbox_store_flags(mb, uids, n_some, &flag, NULL, NULL, NULL) == ERR_OK);
	REQUIRE(mailbox_expunge(mb, uids, n_some, false, &n, NULL) == ERR_OK && n == n_some);
	mailbox_expel(mb, NULL, NULL);
	mailbox_close(&mb);
	store_close(&s);

	s = store_at(&d);
	inbox = seen_in(s, "INBOX");
	copies = seen_in(s, "box");
	CHECK(store_rebuild(s, &r, NULL) == ERR_OK && r.n_damaged == 0 && r.n_messages == 2 * MANY - n_some);
	CHECK(seen_in(s, "INBOX") == inbox && seen_in(s, "box") == copies);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_n(mb) == MANY - n_some);
	for (n = 0; n < mailbox_n(mb) && (mailbox_at(mb, n)->flags & MSG_STORED_FLAGS) == MSG_FLAGGED; n++)
		;
	CHECK(n == mailbox_n(mb) && mailbox_at(mb, 0)->uid == 2 && mailbox_at(mb, 2)->uid == 5);
	mailbox_close(&mb);
	REQUIRE(store_delete(s, STR("box"), NULL) == ERR_OK);
	CHECK(seen_in(s, "INBOX") == inbox);
	CHECK(store_rebuild(s, &r, NULL) == ERR_OK && r.n_messages == MANY - n_some && seen_in(s, "INBOX") == inbox);
	store_close(&s);
	free(uids);
	dir_remove(&d);
}

/* SELECT lists keywords without loading, too: a few from the control file, many from the index. */
static void test_keywords_known(struct store *s)
{
	enum { MANY = 20 };
	char text[MANY][24];
	struct str names[MANY];
	uint32_t uid = put_message(s, MAILBOX_INBOX, str_of(small), 0, STR(""));

	for (size_t n = 1; n <= MANY; n++) {
		struct flag_change flag = { FLAG_ADD, 0, names, n, UINT64_MAX };
		struct mailbox *mb = mailbox_at_name(s, "INBOX");
		bool same = true;

		snprintf(text[n - 1], sizeof text[0], "$Keyword-%zu", n * n * n);
		names[n - 1] = str_of(text[n - 1]);
		REQUIRE(mailbox_store_flags(mb, &uid, 1, &flag, NULL, NULL, NULL) == ERR_OK);
		mailbox_close(&mb);
		REQUIRE(mailbox_open(s, STR("INBOX"), true, &mb, NULL) == ERR_OK &&
		    mailbox_know_keywords(mb, NULL) == ERR_OK);
		for (size_t i = 0; same && i < n; i++)
			same = i < mailbox_n_keywords(mb) && str_eq(mailbox_keyword(mb, i), names[i]);
		CHECK_AT(same && mailbox_n_keywords(mb) == n, n);
		mailbox_close(&mb);
	}
}

/* SELECT answers the first unseen message's place without loading, and it is the right one: against a view that is loaded. */
static void test_first_unseen(void)
{
	enum { STEPS = 400, MOST = 60 };
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	uint64_t r = 88172645463325252u;
	unsigned n_known = 0, n_wrong = 0;

	for (int i = 0; i < STEPS; i++) {
		struct mailbox *mb = NULL;
		struct flag_change flag = { FLAG_ADD, MSG_SEEN, NULL, 0, UINT64_MAX };
		size_t place, right;
		bool known, always;
		uint32_t uid;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		REQUIRE(mailbox_open(s, STR("INBOX"), true, &mb, NULL) == ERR_OK);
		place = mailbox_first_unseen(mb, &known);
		if (r % 5 < 2) {	/* not every session loads */
			mailbox_close(&mb);
			(void)put_message(s, MAILBOX_INBOX, str_of(small), r % 3 == 0 ? MSG_SEEN : 0, STR(""));
			continue;
		}
		REQUIRE(mailbox_load(mb, NULL) == ERR_OK);
		right = mailbox_first_unseen(mb, &always);
		n_known += known;
		n_wrong += !always || (known && place != right);
		if (mailbox_n(mb) > 0) {
			uid = mailbox_at(mb, r / 7 % mailbox_n(mb))->uid;
			flag.op = r % 7 == 0 ? FLAG_REMOVE : FLAG_ADD;
			REQUIRE(r % 5 == 2 || mailbox_store_flags(mb, &uid, 1, &flag, NULL, NULL, NULL) == ERR_OK);
			if (r % 11 < 3 || mailbox_n(mb) > MOST)
				REQUIRE(mailbox_expunge(mb, &uid, 1, false, NULL, NULL) == ERR_OK);
		}
		if (r % 13 < 6)
			mailbox_expel(mb, NULL, NULL);
		mailbox_close(&mb);
	}
	printf("# %u of %d times it was known\n", n_known, STEPS);
	CHECK(n_wrong == 0 && n_known > STEPS / 4);
	test_keywords_known(s);
	store_close(&s);
	dir_remove(&d);
}

static void all_tests(void)
{
	test_first_unseen();
	test_many_rows_at_once();
	test_new_store();
	test_append_and_read();
	test_two_sessions();
	test_late_load();
	test_copy_and_move();
	test_folders();
	test_many_folders();
	test_rebuild();
	test_damaged_index();
	test_idle_size();
	test_segments();
	test_unchanged_since();
	test_deleted_mailbox();
	test_failed_sync();
	test_maildrop_and_watch();
}

int main(int argc, char **argv)
{
	static const struct other others[] = {
		{ "other_sets_seen", other_sets_seen }, { "other_labels_all", other_labels_all },
		{ "other_expunges_2_and_appends", other_expunges_2_and_appends },
		{ "other_deletes_tmp", other_deletes_tmp }, { "other_appends", other_appends },
	};

	other_session_main(argc, argv, others, COUNTOF(others));
	all_tests();
	store_dir_replay_max = 512 * 1024;	/* the same without an index where the journal is short */
	all_tests();
	return tap_done();
}
