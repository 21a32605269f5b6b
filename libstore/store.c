/* SPDX-License-Identifier: ISC */
/* Opening and closing a store, change notification, POP3's maildrop lock and rebuild. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "pack.h"
#include "store_int.h"

enum {
	REPLAY_MAX_OCTETS = 512 * 1024,	/* 50-100 us; opening the engine takes 110 us, making it 5 ms */
	RETAIN_MS = 7 * 86400 * 1000,	/* defaults of the configuration's [store] */
	RETAIN_OCTETS = 1 << 30,
};

/* Then every process takes the others for ones of another boot, and recovers: slow, but a control file that a power cut
 * left is never believed. */
static void unknown_boot(char boot_id[40])
{
	uint64_t own;

	if (getrandom(&own, sizeof own, 0) != sizeof own)
		_exit(EX_TEMPFAIL);
	snprintf(boot_id, 40, "unknown-%016llx", (unsigned long long)own);
}

void store_env_init(struct store_env *env)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	memset(env, 0, sizeof *env);
	env->replay_max_octets = REPLAY_MAX_OCTETS;
	env->segment_octets = SEG_ROLL_OCTETS;
	env->conf = (struct store_conf){ .retain_ms = RETAIN_MS, .retain_octets = RETAIN_OCTETS };
	if (fd >= 0) {
		n = read(fd, env->boot_id, sizeof env->boot_id - 1);
		close(fd);
	}
	if (n <= 0)
		unknown_boot(env->boot_id);
}

static enum err_kind open_lock(int dirfd, const char *name, int *out, struct err *e)
{
	*out = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *out >= 0 ? ERR_OK : err_sys(e, errno, "open %s", name);
}

enum err_kind store_open(int dirfd, const struct store_env *env, struct store **out, struct err *e)
{
	struct store *s = calloc(1, sizeof *s);
	enum err_kind k;

	if (s == NULL)
		_exit(EX_TEMPFAIL);
	s->env = *env;
	s->lock_fd = s->sync_fd = s->maildrop_fd = s->users_fd = s->ctl_fd = s->watch_fd = s->wake_fd = s->follower_fd = -1;
	s->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	s->journal = journal_new(s->dirfd);
	if (s->dirfd < 0)
		k = err_sys(e, errno, "store directory");
	else if ((k = open_lock(s->dirfd, "lock", &s->lock_fd, e)) == ERR_OK &&
	    (k = open_lock(s->dirfd, "sync", &s->sync_fd, e)) == ERR_OK)
		k = ctl_open(s, e);
	if (k == ERR_OK && (!ctl_is_sound(s) || !journal_reaches(s->journal, s->ctl->tail.pos))) {
		k = store_lock(s, e);		/* which recovers */
		if (k == ERR_OK && !journal_reaches(s->journal, s->ctl->tail.pos))
			k = ctl_recover(s, e);
		if (k == ERR_OK)
			store_unlock(s);
	}
	if (k != ERR_OK) {
		store_close(&s);
		return err_note(e, "open store");
	}
	*out = s;
	return ERR_OK;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void store_close(struct store **out)
{
	struct store *s = *out;

	if (s == NULL)
		return;
	if (s->mailboxes != NULL)
		err_bug("store closed with an open mailbox");
	index_close(s);
	if (s->watch_fd >= 0) {
		s->ctl->n_watchers--;
		close(s->watch_fd);
	}
	ctl_close(s);
	journal_free(&s->journal);
	pack_free(&s->pack);
	close_fd(s->wake_fd);
	close_fd(s->follower_fd);
	close_fd(s->maildrop_fd);
	close_fd(s->users_fd);
	close_fd(s->sync_fd);
	close_fd(s->lock_fd);
	close_fd(s->dirfd);
	free(s);
	*out = NULL;
}

/* -- POP3's lock -- */

enum err_kind store_maildrop_lock(struct store *s, struct err *e)
{
	enum err_kind k;

	if (s->maildrop_fd < 0 && (k = open_lock(s->dirfd, "maildrop", &s->maildrop_fd, e)) != ERR_OK)
		return k;
	if (flock(s->maildrop_fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_OK;
	return errno == EWOULDBLOCK ? err_set(e, ERR_BUSY, 0, "maildrop in use") :
	    err_sys(e, errno, "lock maildrop");
}

void store_maildrop_unlock(struct store *s)
{
	if (s->maildrop_fd >= 0)
		flock(s->maildrop_fd, LOCK_UN);
}

void store_let_go(struct store *s)
{
	journal_forget_before(s->journal, s->ctl->first_seg);
}

/* -- notification -- */

static enum err_kind touch_wake_file(struct store *s, struct err *e)
{
	if (s->wake_fd < 0)
		s->wake_fd = openat(s->dirfd, "wake", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return s->wake_fd >= 0 ? ERR_OK : err_sys(e, errno, "open wake");
}

enum err_kind store_watch(struct store *s, int *out_fd, struct err *e)
{
	enum err_kind k;

	if (s->watch_fd >= 0) {
		*out_fd = s->watch_fd;
		return ERR_OK;
	}
	if ((k = touch_wake_file(s, e)) != ERR_OK)
		return k;
	if (fchdir(s->dirfd) < 0)	/* inotify knows no directory descriptors */
		return err_sys(e, errno, "enter store");
	s->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->watch_fd < 0 || inotify_add_watch(s->watch_fd, "wake", IN_ATTRIB | IN_MODIFY) < 0) {
		k = err_sys(e, errno, "watch store");
		close_fd(s->watch_fd);
		s->watch_fd = -1;
		return k;
	}
	s->ctl->n_watchers++;
	*out_fd = s->watch_fd;
	return ERR_OK;
}

void store_watch_drain(struct store *s)
{
	char events[4096];

	while (s->watch_fd >= 0 && read(s->watch_fd, events, sizeof events) == (ssize_t)sizeof events)
		;
}

uint64_t store_change_count(const struct store *s)
{
	return store_shown_seq(s);
}

/* -- rebuild -- */

struct tally {
	uint64_t n_records, n_damaged;
};

static enum err_kind scan_all(struct store *s, struct tally *t, struct err *e)
{
	uint32_t first, last;
	enum err_kind k = journal_range(s->journal, &first, &last, e);

	for (uint32_t seg = first; k == ERR_OK && seg <= last; seg++) {
		struct journal_scan scan = { 0 };

		k = journal_scan(s->journal, seg, NULL, NULL, &scan, e);
		if (k == ERR_CORRUPT || k == ERR_NOENT) {
			scan.n_damaged = 1;
			k = ERR_OK;
		}
		t->n_records += scan.n_records;
		t->n_damaged += scan.n_damaged;
	}
	return k;
}

static void sum_slots(const struct store *s, struct store_rebuild_result *out)
{
	const struct ctl_slot *slot = ctl_slots(s);

	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if (slot[i].state & MAILBOX_EXISTS) {
			out->n_mailboxes++;
			out->n_messages += slot[i].n_messages;
		}
	}
}

enum err_kind store_rebuild(struct store *s, struct store_rebuild_result *out, struct err *e)
{
	struct tally t = { 0, 0 };
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	s->ctl->inside_journal = 1;	/* ctl is made anew, too */
	if ((k = ctl_recover(s, e)) == ERR_OK &&
	    (k = scan_all(s, &t, e)) == ERR_OK &&
	    (k = index_drop(s, e)) == ERR_OK && (k = index_enter(s, e)) == ERR_OK)
		index_leave(s);
	if (k == ERR_OK) {
		*out = (struct store_rebuild_result){ .n_records = t.n_records,
			.n_damaged = t.n_damaged };
		sum_slots(s, out);
	}
	store_unlock(s);
	return k;
}
