/* SPDX-License-Identifier: ISC */
/* Copies of a store: what they cost the second time, what they hold at which time, after compaction, after the store was put
 * back, with damage and with links planted; and manifests that somebody else wrote. */
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>

#include "../../libstore/copy_int.h"
#include "../../libstore/crc32c.h"
#include "../../libstore/stream.h"
#include "store_dir.h"

enum { SEGMENT = 64 * 1024, MESSAGES = 60, LARGE_OCTETS = 300 * 1024 };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

static struct str text_of(uint32_t n)
{
	static char text[LARGE_OCTETS];
	size_t octets = n % 20 == 7 ? sizeof text : 300 + n * 371 % 6000;

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
	return mix(mix(h, s.n), crc32c(0, s.p, s.n));
}

/* Everything a client can see. */
static uint64_t digest(struct store *s)
{
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *list;
	uint64_t h = 0;
	size_t n = 0;

	REQUIRE(store_list(s, a, &list, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++) {
		struct mailbox *mb = mailbox_at_name(s, (const char *)list[i].name.p);

		h = mix(mix(mix(mix_text(h, list[i].name), list[i].uidnext), list[i].uidvalidity), list[i].n_unseen);
		for (size_t k = 0; k < mailbox_n_keywords(mb); k++)
			h = mix_text(h, mailbox_keyword(mb, k));
		for (size_t k = 0; k < mailbox_n(mb); k++) {
			const struct message *m = mailbox_at(mb, k);
			struct message_text t;

			h = mix(mix(mix(mix(h, m->uid), m->flags & MSG_STORED_FLAGS), m->keywords), m->modseq);
			if (message_open(mb, m, &t, NULL) != ERR_OK) {
				h = mix(h, 0xbad);
				continue;
			}
			h = mix_text(mix_text(h, t.prefix), t.body);
			message_close(&t);
		}
		mailbox_close(&mb);
	}
	arena_free(&a);
	return h;
}

/* Of the store in a directory, by another process: one process reads one store's index. */
static uint64_t digest_of(const struct dir *d)
{
	char text[64] = "";
	int ends[2];
	ssize_t n;
	pid_t pid;

	REQUIRE(pipe(ends) == 0);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test", "--digest", d->path, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	n = read(ends[0], text, sizeof text - 1);
	close(ends[0]);
	REQUIRE(pid > 0 && waitpid(pid, NULL, 0) == pid);
	return n > 0 ? strtoull(text, NULL, 10) : 0;
}

static int digest_main(const char *path)
{
	struct dir d = { .fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	struct store *s;
	uint64_t n_bad = 0;

	tap_helper = true;
	s = store_at(&d);
	if (store_check(s, NULL, NULL, &n_bad, NULL) != ERR_OK || n_bad != 0)
		fprintf(stderr, "# check finds %llu\n", (unsigned long long)n_bad);
	printf("%llu\n", (unsigned long long)digest(s));
	store_close(&s);
	close(d.fd);
	return 0;
}

static unsigned n_findings;
static char last_finding[200];

static void count_finding(void *ctx, const char *finding)
{
	(void)ctx;
	n_findings++;
	snprintf(last_finding, sizeof last_finding, "%s", finding);
}

static enum err_kind backup(struct store *s, const struct dir *to, bool prune, struct feed_result *r)
{
	struct copy *c = NULL;
	struct copy_pos sure, end;
	struct copy_sink sink;
	struct feed *f = NULL;
	struct err e = { .text = "" };
	uint64_t n;
	enum err_kind k;

	memset(r, 0, sizeof *r);
	if ((k = copy_open(to->fd, STR("alice"), false, &c, &e)) == ERR_OK) {
		copy_has(c, &sure, &end);
		copy_as_sink(c, &sink);
		if ((k = feed_open(s, &sink, &sure, &end, count_finding, NULL, &f, &e)) == ERR_OK &&
		    (k = feed_advance(f, true, &e)) == ERR_OK) {
			feed_result(f, r);
			if (prune)
				k = copy_prune(c, feed_first_seg(f), &n, &e);
		}
	}
	if (k != ERR_OK)
		printf("# backup: %s\n", e.text);
	feed_close(&f);
	copy_close(&c);
	return k;
}

/* The state that the copy had at a time; 0 when there is none. */
static uint64_t digest_at(const struct dir *copy, int64_t at_ms, bool link)
{
	struct copy_state st;
	struct err e = { .text = "" };
	uint64_t h = 0;
	char name[32];
	struct dir d;
	enum err_kind k;

	if (link) {
		REQUIRE(copy_scratch(copy->fd, name, &d.fd, &e) == ERR_OK);
		snprintf(d.path, sizeof d.path, "%.200s/%s", copy->path, name);
	} else {
		d = dir_make();
	}
	k = copy_lay_out(copy->fd, at_ms, d.fd, link, count_finding, NULL, &st, &e);
	if (k == ERR_OK)
		h = digest_of(&d);
	else
		printf("# %s\n", e.text);
	if (link)
		copy_scratch_end(copy->fd, name, d.fd);
	else
		dir_remove(&d);
	return h;
}

static int64_t tick(void)
{
	struct timespec t, pause = { 0, 4000000 };

	nanosleep(&pause, NULL);
	clock_gettime(CLOCK_REALTIME, &t);
	nanosleep(&pause, NULL);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void put(struct store *s, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++)
		CHECK(put_message(s, MAILBOX_INBOX, text_of(i), i % 3 == 0 ? MSG_SEEN : 0, STR("P: q\r\n")) > 0);
}

static void expunge_all_but(struct store *s, uint32_t keep_every)
{
	uint32_t uids[1000];
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	size_t n = 0;

	for (size_t i = 0; i < mailbox_n(mb); i++) {
		if (mailbox_at(mb, i)->uid % keep_every != 0)
			uids[n++] = mailbox_at(mb, i)->uid;
	}
	CHECK(mailbox_expunge(mb, uids, n, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
}

static void flag_some(struct store *s)
{
	struct str kw[] = { STR_INIT("$One"), STR_INIT("$Two") };
	struct flag_change ch = { FLAG_ADD, MSG_FLAGGED, kw, 2, UINT64_MAX };
	uint32_t uids[] = { 1, 2, 3, 20, 21 };
	struct mailbox *mb = mailbox_at_name(s, "INBOX");

	CHECK(mailbox_store_flags(mb, uids, 5, &ch, NULL, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
}

static void test_incremental(void)
{
	struct dir from = dir_make(), to = dir_make();
	struct store *s = store_at(&from);
	struct feed_result r;

	put(s, 1, MESSAGES);
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.n_large == 3 && r.n_segments > 2 && !r.anew);
	CHECK(digest_at(&to, COPY_AT_END, false) == digest_of(&from));
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.octets == 0 && r.n_large == 0);
	put(s, 8, 1);
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.octets > 3000 && r.octets < 20000 && r.large_octets == 0);
	put(s, 27, 1);
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.octets < 1000 && r.large_octets == LARGE_OCTETS);
	CHECK(digest_at(&to, COPY_AT_END, true) == digest_of(&from));
	store_close(&s);
	/* the copy itself opens as a store */
	s = store_at(&to);
	CHECK(put_message(s, MAILBOX_INBOX, text_of(1), 0, STR("")) == MESSAGES + 3);
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
}

/* By frames to another process: the same copy, and the next time what is new. */
static void test_stream(void)
{
	struct dir from = dir_make(), to = dir_make();
	struct store *s = store_at(&from);

	put(s, 1, 30);
	for (int round = 0; round < 2; round++) {
		struct copy_pos sure, end;
		struct feed_result r = { .octets = 0 };
		struct copy_sink sink;
		struct stream *st = NULL;
		struct feed *f = NULL;
		struct err e = { .text = "" };
		int there[2], back[2], status = -1;
		pid_t pid;

		REQUIRE(pipe(there) == 0 && pipe(back) == 0);
		pid = fork();
		if (pid == 0) {
			close(there[1]);
			close(back[0]);
			_exit(stream_receive(there[0], back[1], to.fd, &e) == ERR_OK ? 0 : 1);
		}
		close(there[0]);
		close(back[1]);
		CHECK(stream_open(back[0], there[1], STR("alice"), &st, &sure, &end, &e) == ERR_OK);
		REQUIRE(st != NULL);
		stream_as_sink(st, &sink);
		CHECK(feed_open(s, &sink, &sure, &end, NULL, NULL, &f, &e) == ERR_OK && feed_advance(f, true, &e) == ERR_OK);
		put(s, 31 + 2 * (uint32_t)round, 1);
		CHECK(feed_advance(f, false, &e) == ERR_OK);
		feed_result(f, &r);
		CHECK(round == 0 ? r.n_large == 2 && r.octets > 50000 : r.n_large == 0 && r.octets < 20000);
		feed_close(&f);
		stream_close(&st);
		close(there[1]);
		close(back[0]);
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		CHECK(digest_at(&to, COPY_AT_END, false) == digest_of(&from));
	}
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
}

/* Every state that was noted comes back, also those that compaction has removed from the store. */
static void test_times(void)
{
	struct dir from = dir_make(), to = dir_make();
	struct store *s = store_at(&from);
	struct store_compact_result cr;
	struct feed_result r;
	uint64_t was[6];
	int64_t at[6];

	put(s, 1, 40);
	was[0] = digest_of(&from), at[0] = tick();
	flag_some(s);
	was[1] = digest_of(&from), at[1] = tick();
	CHECK(backup(s, &to, false, &r) == ERR_OK);
	put(s, 41, 40);
	was[2] = digest_of(&from), at[2] = tick();
	CHECK(backup(s, &to, false, &r) == ERR_OK);
	expunge_all_but(s, 11);
	was[3] = digest_of(&from), at[3] = tick();
	put(s, 81, 20);
	CHECK(backup(s, &to, false, &r) == ERR_OK);
	CHECK(store_compact(s, 0, &cr, NULL) == ERR_OK);
	was[4] = digest_of(&from), at[4] = tick();
	put(s, 101, 3);
	CHECK(backup(s, &to, false, &r) == ERR_OK && !r.anew);
	was[5] = digest_of(&from), at[5] = tick();
	for (int i = 0; i < 6; i++) {
		CHECK_AT(digest_at(&to, at[i], false) == was[i], i);
		CHECK_AT(digest_at(&to, at[i], true) == was[i], i);
	}
	CHECK(digest_at(&to, 1000, true) == 0);		/* before there was anything */
	CHECK(backup(s, &to, true, &r) == ERR_OK);
	CHECK(digest_at(&to, COPY_AT_END, false) == was[5]);
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
}

/* Compaction has passed the place where the copy stands: begun anew, the old history kept. */
static void test_gap(void)
{
	struct dir from = dir_make(), to = dir_make();
	struct store *s = store_at(&from);
	struct store_compact_result cr;
	struct feed_result r;
	uint64_t was, now;
	int64_t at;

	put(s, 1, 20);
	CHECK(backup(s, &to, false, &r) == ERR_OK);
	was = digest_of(&from), at = tick();
	put(s, 21, 60);
	expunge_all_but(s, 17);
	put(s, 81, 40);
	expunge_all_but(s, 17);
	CHECK(store_compact(s, 0, &cr, NULL) == ERR_OK);
	printf("# compaction removed %u segments\n", cr.n_segments);
	now = digest_of(&from);
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.anew == (cr.n_segments > 1));
	CHECK(digest_at(&to, COPY_AT_END, false) == now);
	CHECK(digest_at(&to, at, false) == was);
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
}

/* A store put back to an earlier time: no number is given again, and its copy goes on with the new history. */
static void test_put_back(void)
{
	struct dir from = dir_make(), to = dir_make(), back = dir_make();
	struct store *s = store_at(&from), *b;
	struct store_floor *floor = NULL;
	struct copy_state st;
	struct feed_result r;
	struct mailbox_info info;
	struct arena *a = arena_new(1 << 16);
	uint64_t late, was;
	int64_t at;

	put(s, 1, 10);
	was = digest_of(&from), at = tick();
	put(s, 11, 10);
	CHECK(store_create(s, STR("later"), NULL, NULL) == ERR_OK);
	late = digest_of(&from);
	CHECK(backup(s, &to, false, &r) == ERR_OK);
	CHECK(store_floor_take(s, &floor, NULL) == ERR_OK);
	CHECK(copy_lay_out(to.fd, at, back.fd, false, NULL, NULL, &st, NULL) == ERR_OK);
	b = store_at(&back);
	CHECK(digest_of(&back) == was);
	CHECK(store_floor_keep(b, floor, NULL) == ERR_OK);
	CHECK(store_find(b, a, STR("INBOX"), &info, NULL) == ERR_OK && info.uidnext == 21 && info.n_messages == 10);
	CHECK(put_message(b, MAILBOX_INBOX, text_of(1), 0, STR("")) == 21);
	CHECK(store_change_count(b) > store_change_count(s));
	CHECK(store_create(b, STR("later"), NULL, NULL) == ERR_OK);
	was = digest_of(&back);
	CHECK(backup(b, &to, false, &r) == ERR_OK && r.anew);
	CHECK(digest_at(&to, COPY_AT_END, false) == was);
	CHECK(digest_at(&to, at + 1000000, false) == was);
	store_close(&b);
	lseek(back.fd, 0, SEEK_SET);
	b = store_at(&back);
	CHECK(digest_of(&back) == was);
	store_close(&b);
	store_floor_free(&floor);
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.anew);	/* and the other way round */
	CHECK(digest_at(&to, COPY_AT_END, false) == late);
	arena_free(&a);
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
	dir_remove(&back);
}

static void flip(const struct dir *d, const char *name, off_t at)
{
	int fd = openat(d->fd, name, O_RDWR);
	char c;

	REQUIRE(fd >= 0 && pread(fd, &c, 1, at) == 1);
	c = (char)(c ^ 0x55);
	REQUIRE(pwrite(fd, &c, 1, at) == 1);
	close(fd);
}

static void test_damage(void)
{
	struct dir from = dir_make(), to = dir_make();
	struct store *s = store_at(&from);
	struct feed_result r;
	uint64_t before;

	put(s, 1, 50);
	flip(&from, "journal/00000001.seg", 9000);	/* in the store: copied as it is, and said */
	n_findings = 0;
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.n_damaged == 1 && n_findings == 1);
	printf("# %s\n", last_finding);
	CHECK(digest_at(&to, COPY_AT_END, false) != 0);
	flip(&from, "journal/00000001.seg", 9000);	/* in the copy: the state says so */
	n_findings = 0;
	CHECK(digest_at(&to, COPY_AT_END, false) != 0 && n_findings == 1);
	flip(&to, "journal/00000001.seg", 9000);
	n_findings = 0;
	before = digest_of(&from);
	CHECK(digest_at(&to, COPY_AT_END, false) == before && n_findings == 0);
	/* a segment that is cut or missing is no state at all, and the next backup begins anew */
	REQUIRE(unlinkat(to.fd, "journal/00000002.seg", 0) == 0);
	CHECK(digest_at(&to, COPY_AT_END, false) == 0);
	CHECK(backup(s, &to, false, &r) == ERR_OK && digest_at(&to, COPY_AT_END, false) == before);
	/* the last record of the copy's tail */
	put(s, 51, 1);
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.octets < 10000);
	{
		struct manifest m;
		char name[32];

		REQUIRE(manifest_read(to.fd, &m, NULL) == ERR_OK);
		copy_segment_name(name, m.h.end_seg);
		flip(&to, name, m.h.last_off + 40);
		manifest_free(&m);
	}
	CHECK(backup(s, &to, false, &r) == ERR_OK && r.octets > 50000 && digest_at(&to, COPY_AT_END, false) == digest_of(&from));
	flip(&to, "manifest", 30);
	CHECK(backup(s, &to, false, &r) == ERR_OK && digest_at(&to, COPY_AT_END, false) == digest_of(&from));
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
}

/* Nothing is written or read through a link, and what is no copy is left alone. */
static void test_links(void)
{
	static const char *const planted[] = { "journal", "large", "copy", "manifest", "past" };
	struct dir from = dir_make(), away = dir_make();
	struct store *s = store_at(&from);
	struct feed_result r;

	put(s, 1, 10);
	for (size_t i = 0; i < COUNTOF(planted); i++) {
		struct dir to = dir_make();
		bool is_file = i == 2 || i == 3;
		char target[300];
		int fd = -1;

		CHECK(backup(s, &to, false, &r) == ERR_OK);
		REQUIRE(copy_remove_tree(to.fd, "journal", NULL) == ERR_OK);	/* so that past/ is needed */
		REQUIRE(i == 0 || mkdirat(to.fd, "journal", 0700) == 0);
		REQUIRE(i == 0 || (fd = openat(to.fd, "journal/00000001.seg", O_CREAT | O_RDWR, 0600)) >= 0);
		if (i != 0)
			close(fd);
		if (is_file)
			unlinkat(to.fd, planted[i], 0);
		else
			REQUIRE(copy_remove_tree(to.fd, planted[i], NULL) == ERR_OK);
		snprintf(target, sizeof target, "%s%s", away.path, is_file ? "/victim" : "");
		REQUIRE(symlinkat(target, to.fd, planted[i]) == 0);
		(void)backup(s, &to, false, &r);
		CHECK_AT(copy_dir_is_empty(away.fd), i);
		dir_remove(&to);
	}
	CHECK(backup(s, &from, false, &r) == ERR_EXISTS);	/* a store is no copy */
	store_close(&s);
	dir_remove(&from);
	dir_remove(&away);
}

/* Whatever a manifest holds: an error, or sense. */
static void test_manifest(void)
{
	struct manifest m = { .user = "alice" }, back;
	struct manifest_segment x[2] = { { 3, 4096, 11 }, { 4, 128, 12 } };
	struct dir d = dir_make();
	char raw[400];
	ssize_t n;
	int fd;

	m.h = (struct manifest_head){ .store_id = 5, .end_seq = 9, .end_seg = 4, .end_off = 128, .last_off = 64 };
	CHECK(manifest_put(&m, &x[0], NULL) == ERR_OK && manifest_put(&m, &x[1], NULL) == ERR_OK);
	CHECK(manifest_put(&m, &(struct manifest_segment){ 7, 64, 1 }, NULL) == ERR_CORRUPT);
	CHECK(manifest_write(d.fd, &m, NULL) == ERR_OK);
	CHECK(manifest_read(d.fd, &back, NULL) == ERR_OK && back.h.n_segments == 2 && strcmp(back.user, "alice") == 0 &&
	    manifest_find(&back, 4)->salt == 12 && manifest_find(&back, 5) == NULL && manifest_find(&back, 2) == NULL);
	manifest_free(&back);
	fd = openat(d.fd, "manifest", O_RDONLY);
	n = read(fd, raw, sizeof raw);
	close(fd);
	REQUIRE(n == (ssize_t)(sizeof m.h + 2 * sizeof x[0] + 5));
	for (ssize_t cut = 0; cut < n; cut++) {
		CHECK(manifest_parse(str_n(raw, (size_t)cut), &back, NULL) == ERR_CORRUPT);
		manifest_free(&back);
	}
	for (ssize_t i = 0; i < n; i++) {
		raw[i] = (char)(raw[i] ^ 1);
		CHECK(manifest_parse(str_n(raw, (size_t)n), &back, NULL) == ERR_CORRUPT);
		manifest_free(&back);
		raw[i] = (char)(raw[i] ^ 1);
	}
	/* right checksums, wrong sense */
	for (int i = 0; i < 6; i++) {
		struct manifest bad = m;
		struct manifest_segment seg[2] = { x[0], x[1] };

		bad.seg = seg;
		if (i == 0)
			bad.h.end_seg = 3;
		else if (i == 1)
			seg[1].number = 9;
		else if (i == 2)
			seg[0].octets = UINT32_MAX;
		else if (i == 3)
			bad.h.n_segments = 0;
		else if (i == 4)
			bad.h.end_off = 120;
		else
			bad.h.last_off = 136;
		REQUIRE(manifest_write(d.fd, &bad, NULL) == ERR_OK);
		CHECK_AT(manifest_read(d.fd, &back, NULL) == ERR_CORRUPT, i);
		manifest_free(&back);
	}
	manifest_free(&m);
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	store_dir_segment = SEGMENT;
	if (argc == 3 && strcmp(argv[1], "--digest") == 0)
		return digest_main(argv[2]);
	if (access("/dev/shm", W_OK) == 0)	/* no disk is needed for this */
		setenv("TMPDIR", "/dev/shm", 0);
	test_manifest();
	test_incremental();
	test_stream();
	test_times();
	test_gap();
	test_put_back();
	test_damage();
	test_links();
	return tap_done();
}
