/* SPDX-License-Identifier: ISC */
/* The change feed: what it tells is what was done, by whichever process, across segments,
 * compaction and a sync that fails, and when writers are killed; and store_watch wakes at once,
 * and never without a reason. The seed may be given. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include "../../libbase/buf.h"
#include "../../libbase/clock.h"
#include "../../libstore/changes.h"
#include "../../libstore/quota.h"
#include "../../libstore/store_int.h"
#include "../../libstore/views.h"
#include "store_dir.h"

enum { ROUNDS = 1000, IDLE_MS = 300, KILLS = 6, SEGMENT = 32 * 1024, WRITERS = 2, UIDS_MAX = 20000,
    BOXES_MAX = 4, PIPE_OUT = 8, PIPE_IN = 9 };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

/* -- syncs that fail, and when the last one was done -- */

static bool sync_fails;
static uint64_t synced_us;

int fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "fdatasync");
	int r;

	if (sync_fails) {
		errno = EIO;
		return -1;
	}
	r = real(fd);
	synced_us = clock_mono_us();
	return r;
}

/* -- what is told, as text -- */

static const char *const kinds[CHANGE_KINDS] = {
	[CHANGE_NEW] = "new", [CHANGE_FLAGS] = "flags", [CHANGE_EXPUNGE] = "expunge",
	    [CHANGE_CREATED] = "created",
	[CHANGE_RENAMED] = "renamed", [CHANGE_DELETED] = "deleted",
	    [CHANGE_SUBSCRIBED] = "subscribed",
	[CHANGE_UNSUBSCRIBED] = "unsubscribed", [CHANGE_ATTR] = "attr", [CHANGE_QUOTA] = "quota",
	    [CHANGE_VIEW] = "view",
};

struct tale {
	struct buf text;
	uint64_t last_seq;
	bool out_of_order;
	size_t n, most;
};

static bool put_change(void *ctx, const struct change_told *t)
{
	struct tale *tale = ctx;

	buf_printf(&tale->text, "%s %.*s", kinds[t->kind], STR_FMT(t->name));
	if (t->old_name.p != NULL)
		buf_printf(&tale->text, " from %.*s", STR_FMT(t->old_name));
	for (size_t i = 0; i < t->n_uids; i++)
		buf_printf(&tale->text, " %u:%u", t->uids[i].lo, t->uids[i].hi);
	if (t->what.p != NULL)
		buf_printf(&tale->text, " %.*s/%.*s%s", STR_FMT(t->owner), STR_FMT(t->what),
		    t->set ? "" : " off");
	if (t->noselect)
		buf_printf(&tale->text, " noselect");
	buf_printf(&tale->text, "\n");
	tale->out_of_order = tale->out_of_order || t->modseq < tale->last_seq;
	tale->last_seq = t->modseq;
	return tale->most == 0 || ++tale->n < tale->most;
}

static bool told_at_most(struct changes *c, size_t most, const char *want)
{
	struct tale tale = { .text = BUF_INIT(1 << 20), .most = most };
	bool ok = changes_read(c, put_change, &tale, NULL) == ERR_OK && !tale.out_of_order &&
	    str_eq(buf_str(&tale.text), str_of(want));

	if (!ok)
		printf("# told: %.*s", (int)tale.text.n, tale.text.n > 0 ? tale.text.p : "");
	buf_free(&tale.text);
	return ok;
}

static bool told(struct changes *c, const char *want)
{
	return told_at_most(c, 0, want);
}

static bool pass(void *ctx, const struct change_told *t)
{
	(void)ctx;
	(void)t;
	return true;
}

static enum err_kind passes(struct changes *c)
{
	return changes_read(c, pass, NULL, NULL);
}

static bool other_append(struct store *s)
{
	return put_message(s, MAILBOX_INBOX, STR("S: x\r\n\r\nx\r\n"), 0, STR("")) != 0;
}

static bool other_looks(struct store *s)
{
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	bool ok = mailbox_refresh(mb, NULL, NULL) == ERR_OK;

	mailbox_close(&mb);
	return ok;
}

static const char all_told[] =
    "new INBOX 1:1\n"
    "created a\ncreated a/b\n"
    "flags INBOX 1:1\n"
    "new a/b 1:1\n"
    "new a/b 2:2\nexpunge INBOX 1:1\n"
    "subscribed a/b\nsubscribed future\n"
    "renamed x from a\nrenamed x/b from a/b\nunsubscribed a/b\nsubscribed a/b\n"
    "attr x/b me//c\nattr  //s\n"
    "attr x/b me//c off\n"
    "quota x\nquota \n"
    "view x/b 1:2 /phone\nview x/b 2:2 /phone off\nview x/b /phone off\n"
    "deleted x noselect\n"
    "deleted x/b\n"
    "renamed old from INBOX\ncreated INBOX\n"
    "unsubscribed future\n";

/* The ids are those that were given in the order above. */
static void do_all(struct store *s)
{
	struct flag_change flag = { FLAG_ADD, MSG_FLAGGED, NULL, 0, UINT64_MAX };
	struct quota_limits l = { QUOTA_MESSAGES, 0, 100 };
	struct attr v = { ATTR_METADATA, STR_INIT("me"), STR_INIT("/C"), STR_INIT("1"), 0 };
	uint32_t one = 1, b, validity, src, dst;
	struct mailbox *mb;
	size_t n;

	put_message(s, MAILBOX_INBOX, STR("S: x\r\n\r\nx\r\n"), 0, STR(""));
	REQUIRE(store_create(s, STR("a/b"), &b, NULL) == ERR_OK);
	mb = mailbox_at_name(s, "INBOX");
	REQUIRE(mailbox_store_flags(mb, &one, 1, &flag, NULL, NULL, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, &one, 1, b, false, &src, &dst, &n, &validity, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, &one, 1, b, true, &src, &dst, &n, &validity, NULL) == ERR_OK);
	mailbox_close(&mb);
	REQUIRE(store_subscribe(s, STR("a/b"), true, NULL) == ERR_OK &&
	    store_subscribe(s, STR("future"), true, NULL) == ERR_OK);
	REQUIRE(store_rename(s, STR("a"), STR("x"), NULL) == ERR_OK);
	REQUIRE(attr_set(s, b, &v, 1, NULL) == ERR_OK);
	REQUIRE(attr_set(s, ATTR_STORE, &(struct attr){ ATTR_METADATA, STR(""), STR("/s"), STR(""),
	    0 }, 1, NULL) == ERR_OK);
	v.value = str_n(NULL, 0);
	REQUIRE(attr_set(s, b, &v, 1, NULL) == ERR_OK);
	REQUIRE(quota_set(s, STR("x"), &l, NULL) == ERR_OK &&
	    quota_set(s, STR(""), &l, NULL) == ERR_OK);
	mb = mailbox_at_name(s, "x/b");
	REQUIRE(view_change(mb, STR("phone"), (uint32_t[]){ 1, 2 }, 2, true, NULL) == ERR_OK);
	REQUIRE(view_change(mb, STR("phone"), (uint32_t[]){ 2 }, 1, false, NULL) == ERR_OK);
	REQUIRE(view_remove(mb, STR("phone"), NULL) == ERR_OK);
	mailbox_close(&mb);
	REQUIRE(store_delete(s, STR("x"), NULL) == ERR_OK &&
	    store_delete(s, STR("x/b"), NULL) == ERR_OK);
	REQUIRE(store_rename(s, STR("INBOX"), STR("old"), NULL) == ERR_OK);
	REQUIRE(store_subscribe(s, STR("future"), false, NULL) == ERR_OK);
}

static void test_kinds(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct changes *c, *late;
	uint64_t begin;

	CHECK(changes_open(s, CHANGES_NOW, &c, NULL) == ERR_OK && told(c, ""));
	begin = changes_seq(c);
	do_all(s);
	CHECK(changes_open(s, begin, &late, NULL) == ERR_OK);
	CHECK(told(c, all_told) && told(c, "") && told(late, all_told));
	CHECK(changes_seq(c) == store_change_count(s) && changes_seq(late) == changes_seq(c));
	changes_close(&late);
	CHECK(other_session(&d, "append") && told(c, "new INBOX 1:1\n"));
	/* one at a time */
	CHECK(changes_open(s, begin, &late, NULL) == ERR_OK &&
	    told_at_most(late, 1, "new INBOX 1:1\n"));
	CHECK(told_at_most(late, 1, "created a\n") && told_at_most(late, 2,
	    "created a/b\nflags INBOX 1:1\n"));
	changes_close(&late);
	/* numbers outlive the process */
	begin = changes_seq(c);
	changes_close(&c);
	CHECK(changes_open(s, store_change_count(s) + 1, &c, NULL) == ERR_NOENT);
	store_close(&s);
	CHECK(other_session(&d, "append"));
	s = store_at(&d);
	CHECK(changes_open(s, begin, &c, NULL) == ERR_OK && told(c, "new INBOX 2:2\n"));
	changes_close(&c);
	CHECK(changes_open(s, 0, &c, NULL) == ERR_OK && told_at_most(c, 1, "new INBOX 1:1\n"));
	changes_close(&c);
	store_close(&s);
	dir_remove(&d);
}

/* A session of one mailbox is told of changes in that one. */
static void test_refresh(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	uint32_t box;
	bool changed = true;

	REQUIRE(store_create(s, STR("box"), &box, NULL) == ERR_OK && other_append(s));
	mb = mailbox_at_name(s, "INBOX");
	put_message(s, box, STR("S: x\r\n\r\n"), 0, STR(""));
	CHECK(mailbox_refresh(mb, &changed, NULL) == ERR_OK && !changed && mailbox_n(mb) == 1);
	CHECK(other_append(s) && mailbox_refresh(mb, &changed, NULL) == ERR_OK && changed &&
	    mailbox_n(mb) == 2);
	CHECK(mailbox_refresh(mb, &changed, NULL) == ERR_OK && !changed);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

static bool compact_now(struct store *s)
{
	struct store_compact_result r;

	return store_compact(s, 0, &r, NULL) == ERR_OK && r.n_segments > 0;
}

/* One feed that keeps up and one that sleeps, while segments come and go. What compaction moves
 * is no change. */
static void test_segments(void)
{
	struct dir d = dir_make();
	struct store *s, *asleep;		/* which maps no segment that it does not read */
	struct changes *c, *sleeper, *early;
	struct mailbox *mb;
	uint32_t uids[200], first_seg;
	uint64_t begin;
	char want[64];

	store_dir_segment = 16 * 1024;
	s = store_at(&d);
	asleep = store_at(&d);
	CHECK(changes_open(s, CHANGES_NOW, &c, NULL) == ERR_OK &&
	    changes_open(asleep, CHANGES_NOW, &sleeper, NULL) == ERR_OK);
	begin = changes_seq(c);
	REQUIRE(attr_set(s, 1, &(struct attr){ ATTR_ACL, STR(""), STR("you"), STR("lr"), 0 }, 1,
	    NULL) == ERR_OK);
	CHECK(told(c, "attr INBOX /you\n"));
	for (uint32_t i = 0; i < 200; i++) {
		put_message(s, MAILBOX_INBOX,
		    STR("S: x\r\n\r\nsome octets, so that segments end soon\r\n"), 0, STR(""));
		snprintf(want, sizeof want, "new INBOX %u:%u\n", i + 1, i + 1);
		CHECK_AT(told(c, want), i);
		uids[i] = i + 1;
	}
	mb = mailbox_at_name(s, "INBOX");
	CHECK(view_change(mb, STR("phone"), uids, 200, true, NULL) == ERR_OK &&
	    told(c, "view INBOX 1:200 /phone\n"));
	CHECK(mailbox_expunge(mb, uids, 190, false, NULL, NULL) == ERR_OK &&
	    told(c, "expunge INBOX 1:190\n"));
	mailbox_close(&mb);
	for (int i = 0; i < 100; i++) {
		put_message(s, MAILBOX_INBOX,
		    STR("S: x\r\n\r\nsome octets, so that segments end soon\r\n"), 0, STR(""));
		CHECK_AT(passes(c) == ERR_OK, i);
	}
	first_seg = s->ctl->first_seg;
	s->env.conf.retain_ms = 0;
	CHECK(compact_now(s) && s->ctl->first_seg > first_seg);
	CHECK(told(c, ""));
	put_message(s, MAILBOX_INBOX, STR("S: x\r\n\r\nx\r\n"), 0, STR(""));
	CHECK(told(c, "new INBOX 301:301\n"));
	CHECK(changes_open(s, begin, &early, NULL) == ERR_NOENT);
	CHECK(passes(sleeper) == ERR_NOENT);
	CHECK(passes(sleeper) == ERR_NOENT);
	changes_close(&sleeper);
	changes_close(&c);
	store_close(&asleep);
	store_close(&s);
	store_dir_segment = 0;
	dir_remove(&d);
}

/* What a failed sync cut off was never told, and its numbers are told for what takes its place. */
static void test_failed_sync(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct changes *c;
	uint64_t seq;

	CHECK(other_append(s));
	CHECK(changes_open(s, CHANGES_NOW, &c, NULL) == ERR_OK);
	seq = changes_seq(c);
	sync_fails = true;
	CHECK(!other_append(s) && told(c, "") && changes_seq(c) == seq);
	sync_fails = false;
	CHECK(store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	CHECK(told(c, "created box\n"));
	CHECK(other_session(&d, "append") && told(c, "new INBOX 2:2\n"));
	changes_close(&c);
	store_close(&s);
	dir_remove(&d);
}

/* -- two writers, killed and started again; the feed makes a model of the mailboxes -- */

struct model {
	uint32_t id[BOXES_MAX];
	bool there[BOXES_MAX][UIDS_MAX];
	bool bad;
	unsigned n_told;
};

static bool *model_of(struct model *m, uint32_t id)
{
	for (size_t i = 0; i < BOXES_MAX; i++) {
		if (m->id[i] == id || m->id[i] == 0) {
			m->id[i] = id;
			return m->there[i];
		}
	}
	return NULL;
}

static bool apply(void *ctx, const struct change_told *t)
{
	struct model *m = ctx;
	bool *there = model_of(m, t->mailbox);

	m->n_told++;
	for (size_t i = 0; there != NULL && i < t->n_uids; i++) {
		for (uint32_t uid = t->uids[i].lo; uid <= t->uids[i].hi && uid < UIDS_MAX; uid++) {
			/* new ones are not there yet, others are */
			m->bad = m->bad || there[uid] != (t->kind != CHANGE_NEW);
			there[uid] = t->kind != CHANGE_EXPUNGE;
		}
	}
	m->bad = m->bad || there == NULL;
	return true;
}

static bool other_works(struct store *s)
{
	struct flag_change flag = { FLAG_ADD, MSG_FLAGGED, NULL, 0, UINT64_MAX };
	uint32_t box = 0, validity, src[2], dst[2];
	struct arena *a = arena_new(4096);
	struct mailbox_info i;

	srand((unsigned)getpid());
	while (store_find(s, a, STR("box"), &i, NULL) != ERR_OK)
		(void)!store_create(s, STR("box"), NULL, NULL);
	box = i.id;
	for (int round = 0; round < INT_MAX; round++) {
		struct mailbox *mb = mailbox_at_name(s, rand() % 2 ? "INBOX" : "box");
		size_t n = mailbox_n(mb), at = n > 0 ? (size_t)rand() % n : 0;
		uint32_t uids[2] = { n > 0 ? mailbox_at(mb, at)->uid : 0, n > 0 && at + 1 < n ?
		    mailbox_at(mb, at + 1)->uid : 0 };
		size_t k = uids[1] != 0 ? 2 : n > 0;

		switch (rand() % 6) {
		case 0:
			(void)!mailbox_expunge(mb, uids, k, false, NULL, NULL);
			break;
		case 1:
			flag.op = rand() % 2 ? FLAG_ADD : FLAG_REMOVE;
			(void)!mailbox_store_flags(mb, uids, k, &flag, NULL, NULL, NULL);
			break;
		case 2:
			(void)!mailbox_copy(mb, uids, k, box, rand() % 2, src, dst, &n, &validity,
			    NULL);
			break;
		default:
			put_message(s, rand() % 2 ? box : MAILBOX_INBOX, STR("S: x\r\n\r\nx\r\n"),
			    0, STR(""));
			break;
		}
		mailbox_close(&mb);
	}
	return true;
}

static pid_t start_other(const struct dir *d, const char *name)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("/proc/self/exe", "test", "--other", name, d->path, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static bool matches(struct store *s, struct model *m, const char *name)
{
	struct mailbox *mb = mailbox_at_name(s, name);
	struct mailbox_info i;
	bool *there, ok = true;
	size_t n = 0;

	mailbox_counters(mb, &i);
	there = model_of(m, i.id);
	for (size_t ix = 0; ok && ix < mailbox_n(mb); ix++)
		ok = mailbox_at(mb, ix)->uid < UIDS_MAX && there[mailbox_at(mb, ix)->uid];
	for (uint32_t uid = 0; uid < UIDS_MAX; uid++)
		n += there[uid];
	ok = ok && n == mailbox_n(mb);
	mailbox_close(&mb);
	return ok;
}

static void test_writers(void)
{
	struct dir d = dir_make();
	struct store *s;
	struct model *m = calloc(1, sizeof *m);
	struct changes *c;
	pid_t pid[WRITERS];
	bool ok = true;
	int status;

	REQUIRE(m != NULL);
	store_dir_segment = SEGMENT;
	s = store_at(&d);
	CHECK(changes_open(s, CHANGES_NOW, &c, NULL) == ERR_OK);
	for (int i = 0; i < WRITERS; i++)
		pid[i] = start_other(&d, "works");
	for (int i = 0; i < KILLS * WRITERS; i++) {
		uint64_t until = clock_mono_ms() + 20 + (uint64_t)rand() % 60;

		while (ok && clock_mono_ms() < until)
			ok = changes_read(c, apply, m, NULL) == ERR_OK;
		CHECK_AT(ok, i);
		kill(pid[i % WRITERS], SIGKILL);
		REQUIRE(waitpid(pid[i % WRITERS], &status, 0) == pid[i % WRITERS]);
		CHECK_AT(WIFSIGNALED(status), i);
		if (i < (KILLS - 1) * WRITERS)
			pid[i % WRITERS] = start_other(&d, "works");
	}
	REQUIRE(store_lock(s, NULL) == ERR_OK);		/* what a dead one left */
	CHECK(store_make_durable_locked(s, NULL) == ERR_OK);
	store_unlock(s);
	CHECK(changes_read(c, apply, m, NULL) == ERR_OK && !m->bad);
	CHECK(matches(s, m, "INBOX") && matches(s, m, "box"));
	printf("# %u changes told, %u segments\n", m->n_told, s->ctl->tail.pos.seg);
	CHECK(m->n_told > 50);
	changes_close(&c);
	free(m);
	store_close(&s);
	store_dir_segment = 0;
	dir_remove(&d);
}

/* -- waking -- */

/* Appends when told to, and tells when the sync was done. */
static bool other_rounds(struct store *s)
{
	char go;

	while (read(PIPE_IN, &go, 1) == 1) {
		if (!other_append(s) || write(PIPE_OUT, &synced_us,
		    sizeof synced_us) != sizeof synced_us)
			return false;
	}
	return true;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool wakes(int fd, int ms)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, ms) == 1;
}

static void test_waking(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct tale tale = { .text = BUF_INIT(4096) };
	static uint64_t us[ROUNDS];
	struct changes *c;
	int to[2], from[2], fd, status, n_early = 0;
	pid_t pid;

	REQUIRE(store_watch(s, &fd, NULL) == ERR_OK && changes_open(s, CHANGES_NOW, &c,
	    NULL) == ERR_OK);
	REQUIRE(pipe(to) == 0 && pipe(from) == 0);
	pid = fork();
	if (pid == 0) {
		dup2(to[0], PIPE_IN);
		dup2(from[1], PIPE_OUT);
		close(to[1]);
		execl("/proc/self/exe", "test", "--other", "rounds", d.path, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t woken_us, done_us;

		REQUIRE(write(to[1], "g", 1) == 1 && wakes(fd, 10000));
		woken_us = clock_mono_us();
		store_watch_drain(s);
		buf_reset(&tale.text);
		CHECK_AT(changes_read(c, put_change, &tale, NULL) == ERR_OK &&
		    str_starts(buf_str(&tale.text), STR("new INBOX ")), i);
		REQUIRE(read(from[0], &done_us, sizeof done_us) == sizeof done_us);
		n_early += woken_us < done_us;
		us[i] = woken_us - done_us;
	}
	qsort(us, ROUNDS, sizeof us[0], by_value);
	printf("# from the sync to the waking, %d rounds: median %llu us, 99 in 100 %llu us, "
	    "worst %llu us\n", ROUNDS, (unsigned long long)us[ROUNDS / 2],
	    (unsigned long long)us[ROUNDS * 99 / 100], (unsigned long long)us[ROUNDS - 1]);
	CHECK(n_early == 0 && us[ROUNDS / 2] < 5000);
	CHECK(!wakes(fd, IDLE_MS));			/* nothing happens: no waking */
	CHECK(other_session(&d, "looks") && !wakes(fd, 0));	/* who only looks wakes nobody */
	close(to[1]);
	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(!wakes(fd, 0));
	close(from[0]);
	buf_free(&tale.text);
	changes_close(&c);
	store_close(&s);
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	static const struct other others[] = {
		{ "append", other_append }, { "looks", other_looks }, { "works", other_works },
		    { "rounds", other_rounds },
	};
	unsigned seed = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);

	store_dir_segment = SEGMENT;	/* of the others */
	other_session_main(argc, argv, others, COUNTOF(others));
	store_dir_segment = 0;
	printf("# seed %u\n", seed);
	srand(seed);
	test_kinds();
	test_refresh();
	test_segments();
	test_failed_sync();
	test_writers();
	test_waking();
	return tap_done();
}
