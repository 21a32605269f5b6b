/* SPDX-License-Identifier: ISC */
/* The Nth call of a backup fails, once or from then on, for every N until it needs no more: a first backup, one that goes on,
 * one that is begun anew because the copy was damaged. Whatever it answers must be true: after an error the state that the
 * manifest named is to be had as before, after success the store's; the store itself is untouched, and when the fault is
 * over the next backup is whole.
 *
 * The system calls are interposed by definitions of their C functions here. Prints TAP. */
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>

#include "../../libstore/copy.h"
#include "../unit/store_dir.h"

enum { CALLS_MAX = 300, LARGE_OCTETS = 300 * 1024, SEGMENT = 32 * 1024 };

static struct {
	bool armed, sticky;
	int at, count, error;
} fault;

static bool fails(void)
{
	if (!fault.armed)
		return false;
	fault.count++;
	if (fault.count != fault.at && !(fault.sticky && fault.count > fault.at))
		return false;
	errno = fault.error;
	return true;
}

#define REAL(name, type) ((type)(uintptr_t)dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	if (fails())
		return -1;
	return REAL(pwrite, ssize_t (*)(int, const void *, size_t, off_t))(fd, p, n, off);
}

int fsync(int fd)
{
	return fails() ? -1 : REAL(fsync, int (*)(int))(fd);
}

int fdatasync(int fd)
{
	return fails() ? -1 : REAL(fdatasync, int (*)(int))(fd);
}

int renameat(int from, const char *a, int to, const char *b)
{
	return fails() ? -1 : REAL(renameat, int (*)(int, const char *, int, const char *))(from, a, to, b);
}

int linkat(int from, const char *a, int to, const char *b, int flags)
{
	return fails() ? -1 : REAL(linkat, int (*)(int, const char *, int, const char *, int))(from, a, to, b, flags);
}

int mkdirat(int fd, const char *name, mode_t mode)
{
	return fails() ? -1 : REAL(mkdirat, int (*)(int, const char *, mode_t))(fd, name, mode);
}

int unlinkat(int fd, const char *name, int flags)
{
	return fails() ? -1 : REAL(unlinkat, int (*)(int, const char *, int))(fd, name, flags);
}

static enum err_kind backup(struct store *s, const struct dir *to)
{
	struct copy *c = NULL;
	struct copy_pos sure, end;
	struct copy_sink sink;
	struct feed *f = NULL;
	struct err e = { .text = "" };
	enum err_kind k;

	if ((k = copy_open(to->fd, STR("alice"), false, &c, &e)) == ERR_OK) {
		copy_has(c, &sure, &end);
		copy_as_sink(c, &sink);
		if ((k = feed_open(s, &sink, &sure, &end, NULL, NULL, &f, &e)) == ERR_OK)
			k = feed_advance(f, true, &e);
	}
	feed_close(&f);
	copy_close(&c);
	return k;
}

static struct str text_of(uint32_t n)
{
	static char text[LARGE_OCTETS];
	size_t octets = n % 7 == 3 ? sizeof text : 300 + n * 371 % 6000;

	memset(text, 'a' + (int)(n % 26), octets);
	memcpy(text, "Subject: x\r\n\r\n", 14);
	return str_n(text, octets);
}

/* How many messages the copy's state has, each as it should be; -1: it can't be had. */
static int messages_in(const struct dir *copy)
{
	struct copy_state st;
	struct dir d = dir_make();
	struct mailbox *mb = NULL;
	struct store *s;
	int n = -1;

	if (copy_lay_out(copy->fd, COPY_AT_END, d.fd, false, NULL, NULL, &st, NULL) == ERR_OK && st.n_damaged == 0) {
		store_dir_replay_max = UINT32_MAX;	/* another store's index is open */
		s = store_at(&d);
		REQUIRE(mailbox_open(s, STR("INBOX"), false, &mb, NULL) == ERR_OK && mailbox_load(mb, NULL) == ERR_OK);
		n = (int)mailbox_n(mb);
		for (int i = 0; i < n; i++) {
			struct message_text t;

			if (message_open(mb, mailbox_at(mb, (size_t)i), &t, NULL) != ERR_OK ||
			    !str_eq(t.body, text_of(mailbox_at(mb, (size_t)i)->uid)))
				n = -2;
			else
				message_close(&t);
		}
		mailbox_close(&mb);
		store_close(&s);
	}
	dir_remove(&d);
	return n;
}

enum stage { FIRST, GOES_ON, ANEW, STAGES };

static void put(struct store *s, uint32_t from, uint32_t n)
{
	struct append how = { .internaldate_s = 1, .sync_later = true };
	uint32_t uid;

	for (uint32_t i = from; i < from + n; i++) {
		struct body *b = body_new(s, LARGE_OCTETS);

		REQUIRE(body_add(b, text_of(i), NULL) == ERR_OK && body_seal(b, NULL) == ERR_OK &&
		    mailbox_append(s, MAILBOX_INBOX, b, &how, &uid, NULL, NULL) == ERR_OK && uid == i);
		body_free(&b);
	}
	REQUIRE(store_sync(s, NULL) == ERR_OK);
}

/* One fault. False when the backup did not come so far. */
static bool one(enum stage stage, int error, bool sticky, int at)
{
	struct dir from = dir_make(), to = dir_make();
	struct store *s;
	int before = -1, after;
	bool reached, ok;
	enum err_kind k;

	tap_quiet(true);
	store_dir_replay_max = UINT32_MAX;
	s = store_at(&from);
	put(s, 1, 8);
	if (stage != FIRST) {
		REQUIRE(backup(s, &to) == ERR_OK);
		before = 8;
		put(s, 9, 6);
	}
	if (stage == ANEW) {
		REQUIRE(unlinkat(to.fd, "journal/00000001.seg", 0) == 0);
		before = -1;
	}
	fault.error = error;
	fault.sticky = sticky;
	fault.at = at;
	fault.count = 0;
	fault.armed = true;
	k = backup(s, &to);
	fault.armed = false;
	reached = fault.count >= at;
	after = messages_in(&to);
	ok = k == ERR_OK ? after == (stage == FIRST ? 8 : 14) : reached && (after == before || after == 14 || after == 8);
	if (!ok)
		printf("# stage %d, error %d, call %d: answers %d, then %d messages\n", stage, error, at, k, after);
	if (backup(s, &to) != ERR_OK || messages_in(&to) != (stage == FIRST ? 8 : 14)) {
		printf("# stage %d, error %d, call %d: not well afterwards\n", stage, error, at);
		ok = false;
	}
	store_close(&s);
	dir_remove(&from);
	dir_remove(&to);
	tap_quiet(false);
	CHECK_AT(ok, at);
	return reached;
}

int main(void)
{
	static const struct { int error; bool sticky; } kinds[] = { { EIO, false }, { ENOSPC, true } };
	int n_faults = 0, n_calls;

	if (access("/dev/shm", W_OK) == 0)	/* no disk is needed for this */
		setenv("TMPDIR", "/dev/shm", 0);
	store_dir_segment = SEGMENT;
	for (enum stage stage = 0; stage < STAGES; stage++) {
		for (size_t i = 0; i < COUNTOF(kinds); i++) {
			for (n_calls = 1; n_calls < CALLS_MAX && one(stage, kinds[i].error, kinds[i].sticky, n_calls); n_calls++)
				n_faults++;
			CHECK(n_calls > 10 && n_calls < CALLS_MAX);
		}
	}
	printf("# %d faults\n", n_faults);
	return tap_done();
}
