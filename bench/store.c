/* SPDX-License-Identifier: ISC */
/* How libstore's times, sizes and memory grow: one mailbox of N messages, or N users. Each figure is measured in a process of
 * its own, as sessions are, and printed as a line: name, value, unit. DIR must not exist and is removed at the end.
 *
 *	store mailbox DIR N [OCTETS]	messages of OCTETS octets
 *	store mailboxes DIR N
 *	store users DIR N
 *	store bodies DIR N		mail that looks like mail, plain and compressed
 *	store compaction DIR N		a session beside compaction, which is to hold nobody up
 *
 * Length: many short measurements of the same shape, which share how a store is filled, opened and told of. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../libstore/mailbox.h"
#include "corpus.h"

enum {
	MESSAGE_OCTETS = 1024,
	MESSAGE_MIN_OCTETS = 512,
	SYNC_EVERY = 1000,		/* messages, while filling */
	TIMES = 101,			/* of what is quick: the median is told */
	EXPUNGE_MANY = 10000,
	WARM_TIMES = 3,
	MAILBOX_USERS_MAX = 1000000,
	DELIVERIES = 1000,
	PATH_OCTETS = 4096,
	USER_DIRS = 1000,
};

struct bench {
	const char *dir;
	uint32_t n;
	size_t octets;
	struct store_env env;
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	fputs("store: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void must(enum err_kind k, const struct err *e, const char *what)
{
	if (k != ERR_OK)
		die("%s: %s", what, e->text);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void tell(const char *name, double value, const char *unit)
{
	printf("%s\t%.2f\t%s\n", name, value, unit);
	fflush(stdout);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_value);
	return v[n / 2];
}

static void path_join(char path[PATH_OCTETS], const char *dir, const char *below)
{
	if (snprintf(path, PATH_OCTETS, "%s/%s", dir, below) >= PATH_OCTETS)
		die("%s: too long a path", dir);
}

/* -- stores -- */

static struct store *open_at(const struct bench *b, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct store *s = NULL;
	struct err e = { .text = "" };

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	must(store_open(fd, &b->env, &s, &e), &e, "open");
	close(fd);
	return s;
}

static struct mailbox *open_inbox(struct store *s, bool load)
{
	struct mailbox *mb = NULL;
	struct err e = { .text = "" };

	must(mailbox_open(s, STR("INBOX"), true, &mb, &e), &e, "open INBOX");
	if (load)
		must(mailbox_load(mb, &e), &e, "load INBOX");
	return mb;
}

/* A mail of words, `octets` long. */
static void make_mail(char *m, size_t octets, uint32_t number)
{
	static const char *const words[] = { "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel",
		"india", "juliett", "kilo", "lima", "mike", "november", "oscar", "papa" };
	uint64_t r = 0x9e3779b97f4a7c15u * (number + 1u);
	size_t n = (size_t)snprintf(m, octets, "From: Sender %u <sender%u@example.org>\r\n"
	    "To: <someone@example.org>\r\nSubject: number %u\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
	    "Message-ID: <store.%u@example.org>\r\n\r\n", number % 97, number % 97, number, number);

	for (size_t col = 0; n < octets - 2; col++) {
		const char *w;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		for (w = words[r >> 60]; *w != '\0' && n < octets - 3; w++)
			m[n++] = *w;
		if (col % 10 == 9 && n < octets - 4)
			m[n++] = '\r';
		m[n] = n > 0 && m[n - 1] == '\r' ? '\n' : ' ';
		n++;
	}
	memcpy(m + octets - 2, "\r\n", 2);
}

static void append(struct store *s, uint32_t mailbox, size_t octets, uint32_t number, bool later)
{
	static char text[STORE_INLINE_MAX_OCTETS];
	struct append how = { .sync_later = later };
	struct body *b = body_new(s, sizeof text);
	struct err e = { .text = "" };

	make_mail(text, octets, number);
	must(body_add(b, str_n(text, octets), &e), &e, "body");
	must(body_seal(b, &e), &e, "seal");
	must(mailbox_append(s, mailbox, b, &how, NULL, NULL, &e), &e, "append");
	body_free(&b);
}

static void sync_now(struct store *s)
{
	struct err e = { .text = "" };

	must(store_sync(s, &e), &e, "sync");
}

/* -- what lies on the disk -- */

static uint64_t counted_octets;

static int count_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)path;
	(void)flag;
	(void)ftw;
	counted_octets += (uint64_t)st->st_blocks * 512;
	return 0;
}

static double disk_octets(const char *dir, const char *below)
{
	char path[PATH_OCTETS];

	path_join(path, dir, below);
	counted_octets = 0;
	nftw(path, count_one, 16, FTW_PHYS);
	return (double)counted_octets;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void remove_below(const struct bench *b, const char *below)
{
	char path[PATH_OCTETS];

	path_join(path, b->dir, below);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Memory that is this process's own, in octets. */
static double own_memory(void)
{
	unsigned long own = 0, kib;
	char line[256];
	FILE *f = fopen("/proc/self/smaps_rollup", "r");

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "Private_Dirty: %lu", &kib) == 1)
			own = kib;
	}
	if (f != NULL)
		fclose(f);
	return (double)own * 1024;
}

/* -- one mailbox -- */

static void run_fill(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	double begin = now_us();

	for (uint32_t i = 0; i < b->n; i++) {
		append(s, MAILBOX_INBOX, b->octets, i, true);
		if (i % SYNC_EVERY == SYNC_EVERY - 1)
			sync_now(s);
	}
	sync_now(s);
	tell("fill: a message", (now_us() - begin) / b->n, "us");
	store_close(&s);
}

static void run_open(const struct bench *b)
{
	double t[TIMES];

	for (size_t i = 0; i < TIMES; i++) {
		double begin = now_us();
		struct store *s = open_at(b, b->dir);

		store_close(&s);
		t[i] = now_us() - begin;
	}
	tell("open and close the store", median(t, TIMES), "us");
}

static void run_select(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	double t[TIMES];

	for (size_t i = 0; i < TIMES; i++) {
		double begin = now_us();
		struct mailbox *mb = open_inbox(s, false);

		t[i] = now_us() - begin;
		mailbox_close(&mb);
	}
	tell("open the mailbox", median(t, TIMES), "us");
	store_close(&s);
}

static void load_as(const struct bench *b, const char *name, bool memory)
{
	struct store *s = open_at(b, b->dir);
	double begin = now_us();
	struct mailbox *mb = open_inbox(s, true);

	tell(name, now_us() - begin, "us");
	if (mailbox_n(mb) < b->n)
		die("%zu messages instead of %u", mailbox_n(mb), b->n);
	if (memory)
		tell("memory of a session that has loaded it", own_memory() / 1024, "KiB");
	mailbox_close(&mb);
	begin = now_us();
	store_close(&s);
	if (memory)
		tell("close the store after that", now_us() - begin, "us");
}

static void run_load_first(const struct bench *b)
{
	load_as(b, "load, first: the index is made", false);
}

static void run_load_warm(const struct bench *b)
{
	load_as(b, "load", true);
}

static void run_load_without_index(const struct bench *b)
{
	remove_below(b, "index");
	load_as(b, "load, the index was lost", false);
}

static void run_open_without_ctl(const struct bench *b)
{
	struct store *s;
	double begin;

	remove_below(b, "ctl");
	begin = now_us();
	s = open_at(b, b->dir);
	tell("open, the control file was lost", now_us() - begin, "us");
	store_close(&s);
}

static void run_append(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	double t[TIMES];

	for (size_t i = 0; i < TIMES; i++) {
		double begin = now_us();

		append(s, MAILBOX_INBOX, b->octets, b->n + (uint32_t)i, false);
		t[i] = now_us() - begin;
	}
	tell("append, synced", median(t, TIMES), "us");
	store_close(&s);
}

static void run_read(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	struct mailbox *mb = open_inbox(s, true);
	struct err e = { .text = "" };
	double t[TIMES];

	for (size_t i = 0; i < TIMES; i++) {
		size_t at = (size_t)((uint64_t)i * 2654435761u % mailbox_n(mb));
		struct message_text text;
		double begin = now_us();

		must(message_open(mb, mailbox_at(mb, at), &text, &e), &e, "read");
		t[i] = now_us() - begin;
		message_close(&text);
	}
	tell("read a message", median(t, TIMES), "us");
	mailbox_close(&mb);
	store_close(&s);
}

static void change(struct mailbox *mb, const uint32_t *uids, size_t n, enum flag_op op, uint32_t flags)
{
	struct flag_change ch = { .op = op, .flags = flags, .unchanged_since = UINT64_MAX };
	struct err e = { .text = "" };

	must(mailbox_store_flags(mb, uids, n, &ch, NULL, NULL, &e), &e, "flag");
}

static uint32_t *all_uids(struct mailbox *mb)
{
	uint32_t *uids = malloc((mailbox_n(mb) + 1) * sizeof *uids);

	if (uids == NULL)
		die("no memory");
	for (size_t i = 0; i < mailbox_n(mb); i++)
		uids[i] = mailbox_at(mb, i)->uid;
	return uids;
}

static void run_flags(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	struct mailbox *mb = open_inbox(s, true);
	uint32_t *uids = all_uids(mb);
	size_t n = mailbox_n(mb);
	double t[TIMES], begin;

	for (size_t i = 0; i < TIMES; i++) {
		begin = now_us();
		change(mb, &uids[i * 7919 % n], 1, i < n ? FLAG_ADD : FLAG_REMOVE, MSG_FLAGGED);
		t[i] = now_us() - begin;
	}
	tell("flag one, synced", median(t, TIMES), "us");
	begin = now_us();
	change(mb, uids, n, FLAG_ADD, MSG_SEEN);
	tell("flag all, synced", now_us() - begin, "us");
	mailbox_close(&mb);
	begin = now_us();
	mb = open_inbox(s, true);
	tell("load after flagging all", now_us() - begin, "us");
	mailbox_close(&mb);
	free(uids);
	store_close(&s);
}

static void run_expunge(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	struct mailbox *mb = open_inbox(s, true);
	uint32_t *uids = all_uids(mb);
	size_t one = 11, many = mailbox_n(mb) / 2 < EXPUNGE_MANY ? mailbox_n(mb) / 2 : EXPUNGE_MANY;
	struct err e = { .text = "" };
	double t[11], begin;

	for (size_t i = 0; i < one; i++) {
		begin = now_us();
		must(mailbox_expunge(mb, &uids[i], 1, false, NULL, &e), &e, "expunge");
		mailbox_expel(mb, NULL, NULL);
		t[i] = now_us() - begin;
	}
	tell("expunge one, synced", median(t, one), "us");
	begin = now_us();
	must(mailbox_expunge(mb, uids + one, many - one, false, NULL, &e), &e, "expunge");
	mailbox_expel(mb, NULL, NULL);
	tell("expunge 10,000 (half, where there are fewer), synced", now_us() - begin, "us");
	mailbox_close(&mb);
	begin = now_us();
	mb = open_inbox(s, true);
	tell("load after that", now_us() - begin, "us");
	mailbox_close(&mb);
	free(uids);
	store_close(&s);
}

/* A session that opened the mailbox before the expunge and loads after it: it must show what it had. */
static void run_late_load(const struct bench *b)
{
	struct store *early = open_at(b, b->dir), *other = open_at(b, b->dir);
	struct mailbox *before = open_inbox(early, false), *mb = open_inbox(other, false);
	struct mailbox_info info;
	struct err e = { .text = "" };
	uint32_t *uids;
	size_t many;
	double begin;
	pid_t pid = fork();

	if (pid == 0) {		/* the engine is opened in one process per store: not carried over the fork */
		must(mailbox_load(mb, &e), &e, "load");
		uids = all_uids(mb);
		many = mailbox_n(mb) / 2 < EXPUNGE_MANY ? mailbox_n(mb) / 2 : EXPUNGE_MANY;
		must(mailbox_expunge(mb, uids, many, false, NULL, &e), &e, "expunge");
		mailbox_close(&mb);
		store_close(&other);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	mailbox_counters(before, &info);
	begin = now_us();
	must(mailbox_load(before, &e), &e, "load");
	tell("load of a view from before the expunge", now_us() - begin, "us");
	if (mailbox_n(before) != info.n_messages)
		die("the view has %zu messages instead of %u", mailbox_n(before), info.n_messages);
	mailbox_close(&mb);
	mailbox_close(&before);
	store_close(&other);
	store_close(&early);
}

static void run_sizes(const struct bench *b)
{
	double journal = disk_octets(b->dir, "journal"), index = disk_octets(b->dir, "index"),
	    all = disk_octets(b->dir, "");

	tell("disk: journal, a message", journal / b->n, "octets");
	tell("disk: index", index / 1024, "KiB");
	tell("disk: index, a message", index / b->n, "octets");
	tell("disk: what is neither journal nor index", (all - journal - index) / 1024, "KiB");
}

/* -- many mailboxes -- */

static void run_make_mailboxes(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	struct err e = { .text = "" };
	double begin = now_us();
	char name[32];

	for (uint32_t i = 0; i < b->n; i++) {
		uint32_t id;

		snprintf(name, sizeof name, "box%05u", i);
		must(store_create(s, str_of(name), &id, &e), &e, "create");
		append(s, id, b->octets, i, true);
	}
	sync_now(s);
	tell("create a mailbox, synced, and file one message", (now_us() - begin) / b->n, "us");
	store_close(&s);
}

static void run_list(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	struct err e = { .text = "" };
	struct arena *a = arena_new(64 << 20);
	struct mailbox_info *list, one;
	double t[TIMES];
	char name[32];
	size_t n = 0;

	for (size_t i = 0; i < TIMES; i++) {
		double begin = now_us();

		must(store_list(s, a, &list, &n, &e), &e, "list");
		t[i] = now_us() - begin;
		arena_reset(a);
	}
	if (n != b->n + 1)
		die("%zu mailboxes are listed instead of %u", n, b->n + 1);
	tell("list all", median(t, TIMES), "us");
	snprintf(name, sizeof name, "box%05u", b->n - 1);
	for (size_t i = 0; i < TIMES; i++) {
		double begin = now_us();

		must(store_find(s, a, str_of(name), &one, &e), &e, "find");
		t[i] = now_us() - begin;
	}
	tell("find the last", median(t, TIMES), "us");
	for (uint32_t i = 0; i < TIMES; i++) {
		double begin = now_us();

		append(s, one.id, b->octets, i, false);
		t[i] = now_us() - begin;
	}
	tell("append to the last, synced", median(t, TIMES), "us");
	arena_free(&a);
	store_close(&s);
}

/* -- many users -- */

static void user_path(const struct bench *b, uint32_t i, char path[PATH_OCTETS])
{
	snprintf(path, PATH_OCTETS, "%s/%03u/u%u", b->dir, i % USER_DIRS, i);
}

static void run_make_users(const struct bench *b)
{
	double begin = now_us();
	char path[PATH_OCTETS];

	for (uint32_t i = 0; i < USER_DIRS && i < b->n; i++) {
		snprintf(path, sizeof path, "%s/%03u", b->dir, i);
		if (mkdir(path, 0700) < 0)
			die("%s: %s", path, strerror(errno));
	}
	for (uint32_t i = 0; i < b->n; i++) {
		struct store *s;

		user_path(b, i, path);
		if (mkdir(path, 0700) < 0)
			die("%s: %s", path, strerror(errno));
		s = open_at(b, path);
		append(s, MAILBOX_INBOX, b->octets, i, false);
		store_close(&s);
	}
	tell("make a store and deliver its first message, synced", (now_us() - begin) / b->n, "us");
}

/* Some user, by a sequence that *r carries on. */
static void next_user(const struct bench *b, uint64_t *r, char path[PATH_OCTETS])
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	user_path(b, (uint32_t)(*r % b->n), path);
}

static void run_deliver(const struct bench *b)
{
	uint64_t r = 88172645463325252u;
	char path[PATH_OCTETS];
	static double t[DELIVERIES];

	for (size_t i = 0; i < DELIVERIES; i++) {
		struct store *s;
		double begin;

		next_user(b, &r, path);
		begin = now_us();
		s = open_at(b, path);
		append(s, MAILBOX_INBOX, b->octets, (uint32_t)i, false);
		store_close(&s);
		t[i] = now_us() - begin;
	}
	tell("deliver to a user at random: open, append, sync, close", median(t, DELIVERIES), "us");
}

static void run_sessions(const struct bench *b)
{
	uint64_t r = 362436069u;
	char path[PATH_OCTETS];
	static double t[DELIVERIES];

	for (size_t i = 0; i < DELIVERIES; i++) {
		struct store *s;
		struct mailbox *mb;
		double begin;

		next_user(b, &r, path);
		begin = now_us();
		s = open_at(b, path);
		mb = open_inbox(s, true);
		mailbox_close(&mb);
		store_close(&s);
		t[i] = now_us() - begin;
	}
	tell("open a user's mailbox at random, load, close", median(t, DELIVERIES), "us");
}

static void run_user_sizes(const struct bench *b)
{
	double all = disk_octets(b->dir, "");

	tell("disk: a user, beyond its one message", all / b->n / 1024 - (double)b->octets / 1024, "KiB");
}

/* -- compressed bodies -- */

static void bodies_path(const struct bench *b, bool packed, char path[PATH_OCTETS])
{
	path_join(path, b->dir, packed ? "packed" : "plain");
}

/* What an append costs apart from the sync, then with it. */
static void fill_bodies(const struct bench *b, bool packed)
{
	struct bench with = *b;
	struct corpus *c = malloc(sizeof *c);
	struct buf mail = BUF_INIT(STORE_MESSAGE_MAX_OCTETS);
	struct store *s;
	struct err e = { .text = "" };
	double us = 0, mail_octets = 0, t[TIMES];
	char path[PATH_OCTETS], name[64];

	bodies_path(b, packed, path);
	if (c == NULL || mkdir(path, 0700) < 0)
		die("%s: %s", path, strerror(errno));
	with.env.conf.compress = packed;
	s = open_at(&with, path);
	corpus_init(c, 1);
	for (uint32_t i = 0; i < b->n + TIMES; i++) {
		struct append how = { .sync_later = i < b->n };
		struct body *body = body_new(s, STORE_MESSAGE_MAX_OCTETS);
		double begin;

		buf_reset(&mail);
		corpus_message(c, &mail, i);
		mail_octets += (double)mail.n;
		begin = now_us();
		must(body_add(body, buf_str(&mail), &e), &e, "body");
		must(body_seal(body, &e), &e, "seal");
		must(mailbox_append(s, MAILBOX_INBOX, body, &how, NULL, NULL, &e), &e, "append");
		body_free(&body);
		if (i < b->n)
			us += now_us() - begin;
		else
			t[i - b->n] = now_us() - begin;
		if (i % SYNC_EVERY == SYNC_EVERY - 1)
			sync_now(s);
	}
	snprintf(name, sizeof name, "%s: append, not synced", packed ? "compressed" : "plain");
	tell(name, us / b->n, "us");
	snprintf(name, sizeof name, "%s: append, synced", packed ? "compressed" : "plain");
	tell(name, median(t, TIMES), "us");
	snprintf(name, sizeof name, "%s: disk, a message", packed ? "compressed" : "plain");
	tell(name, disk_octets(path, "") / (b->n + TIMES), "octets");
	if (!packed)
		tell("mail, a message", mail_octets / (b->n + TIMES), "octets");
	store_close(&s);
	buf_free(&mail);
	free(c);
}

static void run_fill_plain(const struct bench *b)
{
	fill_bodies(b, false);
}

static void run_fill_packed(const struct bench *b)
{
	fill_bodies(b, true);
}

static void read_bodies(const struct bench *b, bool packed)
{
	struct store *s;
	struct mailbox *mb;
	struct err e = { .text = "" };
	uint64_t sum = 0;
	char path[PATH_OCTETS];
	double begin;

	bodies_path(b, packed, path);
	s = open_at(b, path);
	mb = open_inbox(s, true);
	begin = now_us();
	for (size_t i = 0; i < mailbox_n(mb); i++) {
		struct message_text t;

		must(message_open(mb, mailbox_at(mb, i), &t, &e), &e, "read");
		for (size_t k = 0; k < t.body.n; k += 64)
			sum += (unsigned char)t.body.p[k];
		message_close(&t);
	}
	if (sum == 0)
		die("nothing was read");
	tell(packed ? "compressed: read" : "plain: read", (now_us() - begin) / (double)mailbox_n(mb), "us");
	mailbox_close(&mb);
	store_close(&s);
}

static void run_read_plain(const struct bench *b)
{
	read_bodies(b, false);
}

static void run_read_packed(const struct bench *b)
{
	read_bodies(b, true);
}

/* -- compaction beside a session -- */

static void run_expunge_most(const struct bench *b)
{
	struct store *s = open_at(b, b->dir);
	struct mailbox *mb = open_inbox(s, true);
	uint32_t *uids = all_uids(mb);
	struct err e = { .text = "" };
	size_t n = 0;

	for (size_t i = 0; i < mailbox_n(mb); i++) {	/* two of three, everywhere */
		if (i % 3 != 0)
			uids[n++] = uids[i];
	}
	must(mailbox_expunge(mb, uids, n, false, NULL, &e), &e, "expunge");
	free(uids);
	mailbox_close(&mb);
	store_close(&s);
	tell("before: journal", disk_octets(b->dir, "/journal") / 1e6, "MB");
}

static double one_append(struct store *s, uint32_t number)
{
	double begin = now_us();

	append(s, MAILBOX_INBOX, MESSAGE_MIN_OCTETS, number, false);
	return now_us() - begin;
}

static int compact_now(const struct bench *b)
{
	struct bench with = *b;
	struct store_compact_result r;
	struct err e = { .text = "" };
	struct store *s;
	double begin = now_us();

	with.env.conf.retain_ms = 0;
	s = open_at(&with, b->dir);
	must(store_compact(s, 0, &r, &e), &e, "compact");
	tell("compaction", (now_us() - begin) / 1e3, "ms");
	tell("compaction: messages moved", (double)r.n_moved, "");
	tell("compaction: segments removed", r.n_segments, "");
	store_close(&s);
	return 0;
}

static void run_compact(const struct bench *b)
{
	double *t = calloc(MAILBOX_USERS_MAX, sizeof *t);
	uint32_t n = 0;
	struct store *s;
	int status = -1;
	pid_t pid = fork();	/* before anything is open */

	if (t == NULL)
		die("no memory");
	if (pid == 0) {
		usleep(200 * 1000);
		status = compact_now(b);
		fflush(stdout);
		_exit(status);
	}
	s = open_at(b, b->dir);
	for (; n < TIMES; n++)
		t[n] = one_append(s, n);
	tell("append, synced, alone", median(t, n), "us");
	tell("append, synced, alone: longest", t[n - 1], "us");	/* sorted by now */
	for (n = 0; waitpid(pid, &status, WNOHANG) == 0 && n < MAILBOX_USERS_MAX; n++)
		t[n] = one_append(s, n);
	if (n > 0 && status == 0) {
		tell("append, synced, beside compaction", median(t, n), "us");
		tell("append, synced, beside compaction: 99 of 100 within", t[n * 99 / 100], "us");
		tell("append, synced, beside compaction: longest", t[n - 1], "us");
	}
	tell("after: journal", disk_octets(b->dir, "/journal") / 1e6, "MB");
	store_close(&s);
	free(t);
}

/* -- all of it -- */

typedef void step_fn(const struct bench *b);

static step_fn *const mailbox_steps[] = { run_fill, run_open, run_select, run_load_first, run_load_warm, run_sizes,
	run_load_without_index, run_open_without_ctl, run_append, run_read, run_flags, run_expunge, run_late_load, NULL };
static step_fn *const mailboxes_steps[] = { run_make_mailboxes, run_open, run_list, run_open_without_ctl, NULL };
static step_fn *const bodies_steps[] = { run_fill_plain, run_fill_packed, run_read_plain, run_read_packed, NULL };
static step_fn *const compaction_steps[] = { run_fill, run_load_first, run_expunge_most, run_compact, NULL };
static step_fn *const users_steps[] = { run_make_users, run_deliver, run_sessions, run_user_sizes, NULL };

static const struct {
	const char *name;
	step_fn *const *steps;
} kinds[] = {
	{ "mailbox", mailbox_steps }, { "mailboxes", mailboxes_steps }, { "users", users_steps },
	{ "bodies", bodies_steps }, { "compaction", compaction_steps },
};

static bool run_all(const struct bench *b, step_fn *const *steps)
{
	bool ok = true;

	for (; ok && *steps != NULL; steps++) {
		int status = -1;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			(*steps)(b);
			exit(0);
		}
		ok = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
	}
	return ok;
}

int main(int argc, char **argv)
{
	struct bench b = { .octets = MESSAGE_OCTETS };
	bool ok = false;

	if (argc < 4 || argc > 5)
		die("usage: store mailbox|mailboxes|users|bodies|compaction DIR N [OCTETS]");
	b.dir = argv[2];
	b.n = (uint32_t)strtoul(argv[3], NULL, 10);
	if (argc > 4)
		b.octets = strtoul(argv[4], NULL, 10);
	if (b.n < 1 || b.n > MAILBOX_USERS_MAX || b.octets < MESSAGE_MIN_OCTETS || b.octets > STORE_INLINE_MAX_OCTETS)
		die("N is 1 to %d, OCTETS %d to %d", MAILBOX_USERS_MAX, MESSAGE_MIN_OCTETS, STORE_INLINE_MAX_OCTETS);
	store_env_init(&b.env);
	if (mkdir(b.dir, 0700) < 0)
		die("%s: %s", b.dir, strerror(errno));
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		if (strcmp(kinds[i].name, argv[1]) == 0)
			ok = run_all(&b, kinds[i].steps);
	}
	remove_below(&b, "");
	return ok ? 0 : 1;
}
