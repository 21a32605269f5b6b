/* SPDX-License-Identifier: ISC */
/* The duty to a follower: the file that says so, the kernel lock that tells whether one lives, and the wait for it on a
 * futex in the mapped control file. The file is written before ctl says so, and ctl is made from the file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "duty.h"
#include "store_int.h"

enum {
	LOOK_MS = 100,			/* between looks at whether the follower still lives */
	SLOW_MAX_MS = 20000,		/* a follower that lives and does not come is as good as none */
	POLICY_MAX_OCTETS = 32,
};

/* -- the file: the decimal number of milliseconds to wait -- */

/* What makes no sense is a duty all the same; but a process short of descriptors must not impose one. */
static enum err_kind read_policy(struct store *s, uint32_t *out_required, uint32_t *out_wait_ms, struct err *e)
{
	int fd = openat(s->dirfd, "follow", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[POLICY_MAX_OCTETS];
	uint64_t ms;
	ssize_t n;

	*out_wait_ms = DUTY_WAIT_MS;
	*out_required = fd >= 0;
	if (fd < 0)
		return errno == ENOENT ? ERR_OK : err_sys(e, errno, "open follow");
	n = read(fd, text, sizeof text);
	close(fd);
	if (n > 1 && str_to_u64(str_n(text, (size_t)n - 1), DUTY_WAIT_MAX_MS, &ms))
		*out_wait_ms = (uint32_t)ms;
	return ERR_OK;
}

static enum err_kind sync_store_dir(struct store *s, struct err *e)
{
	return fsync(s->dirfd) == 0 ? ERR_OK : err_sys(e, errno, "sync store");
}

static enum err_kind write_policy(struct store *s, uint32_t wait_ms, struct err *e)
{
	int fd = openat(s->dirfd, "follow.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	char text[POLICY_MAX_OCTETS];
	int n = snprintf(text, sizeof text, "%u\n", wait_ms);
	enum err_kind k = ERR_OK;

	if (fd < 0)
		return err_sys(e, errno, "create follow.new");
	if (write(fd, text, (size_t)n) != n || fsync(fd) < 0)
		k = err_sys(e, errno, "write follow.new");
	close(fd);
	if (k == ERR_OK && renameat(s->dirfd, "follow.new", s->dirfd, "follow") < 0)
		k = err_sys(e, errno, "write follow");
	return k == ERR_OK ? sync_store_dir(s, e) : k;
}

enum err_kind duty_recover(struct store *s, bool same_boot, struct err *e)
{
	uint32_t required, wait_ms;
	enum err_kind k = read_policy(s, &required, &wait_ms, e);

	if (k != ERR_OK)
		return k;
	if (!same_boot) {
		s->ctl->followed_seq = 0;
		s->ctl->follower_lost_ms = 0;
	}
	s->ctl->follow_required = required;
	s->ctl->follow_wait_ms = wait_ms;
	return ERR_OK;
}

/* -- the bell -- */

static void ring(struct store *s)
{
	s->ctl->follow_bell++;
	syscall(SYS_futex, &s->ctl->follow_bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void listen_for(struct store *s, uint32_t bell, uint64_t ms)
{
	struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	syscall(SYS_futex, &s->ctl->follow_bell, FUTEX_WAIT, bell, &t, NULL, 0);
}

/* -- the follower -- */

static int open_lock(struct store *s)
{
	if (s->follower_fd < 0)
		s->follower_fd = openat(s->dirfd, "follower", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return s->follower_fd;
}

/* Asked without taking the lock, so that who asks is in nobody's way. */
static bool follower_lives(struct store *s)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return open_lock(s) >= 0 && fcntl(s->follower_fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

enum err_kind duty_lock(struct store *s, int *out_fd, struct err *e)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	*out_fd = openat(s->dirfd, "follower", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*out_fd < 0)
		return err_sys(e, errno, "open follower");
	if (fcntl(*out_fd, F_OFD_SETLK, &l) == 0)
		return ERR_OK;
	close(*out_fd);
	*out_fd = -1;
	return errno == EAGAIN || errno == EACCES ? err_set(e, ERR_BUSY, 0, "the store has a follower") :
	    err_sys(e, errno, "lock follower");
}

void duty_leave(int fd)
{
	if (fd >= 0)
		close(fd);
}

enum err_kind duty_begin(struct store *s, uint64_t seq, uint32_t wait_ms, struct err *e)
{
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	if ((k = write_policy(s, wait_ms, e)) == ERR_OK) {
		s->ctl->followed_seq = seq;
		s->ctl->follow_wait_ms = wait_ms;
		s->ctl->follower_lost_ms = 0;
		s->ctl->follow_required = 1;
	}
	store_unlock(s);
	if (k == ERR_OK)
		duty_done(s, seq);
	return k;
}

void duty_done(struct store *s, uint64_t seq)
{
	if (s->ctl->followed_seq < seq)
		s->ctl->followed_seq = seq;
	ring(s);
	store_wake_watchers(s);
}

uint64_t duty_durable(const struct store *s)
{
	return s->ctl->durable_seq;
}

enum err_kind duty_release(struct store *s, struct err *e)
{
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	if (unlinkat(s->dirfd, "follow", 0) < 0 && errno != ENOENT)
		k = err_sys(e, errno, "remove follow");
	else if ((k = sync_store_dir(s, e)) == ERR_OK)
		s->ctl->follow_required = 0;
	store_unlock(s);
	ring(s);
	store_wake_watchers(s);
	return k;
}

/* -- who has to wait -- */

/* How long there has been no follower: whoever notices first writes down when. */
static uint64_t lost_for_ms(struct store *s)
{
	uint64_t now = clock_mono_ms(), none = 0;

	if (follower_lives(s)) {
		s->ctl->follower_lost_ms = 0;
		return 0;
	}
	atomic_compare_exchange_strong(&s->ctl->follower_lost_ms, &none, now);
	return none == 0 ? 0 : now - none;
}

/* Before it is held against anybody the file is asked: what lies in shared memory may be hit by anything. */
static enum err_kind nobody_follows(struct store *s, struct err *e)
{
	uint32_t required, wait_ms;
	enum err_kind k = read_policy(s, &required, &wait_ms, e);

	if (k != ERR_OK)
		return k;
	if (!required) {
		s->ctl->follow_required = 0;
		return ERR_OK;
	}
	return err_set(e, ERR_TEMP, 0, "the copy that must have every change is not being followed up");
}

enum err_kind duty_may_append(struct store *s, struct err *e)
{
	if (!s->ctl->follow_required || lost_for_ms(s) <= s->ctl->follow_wait_ms)
		return ERR_OK;
	return nobody_follows(s, e);
}

enum err_kind duty_wait(struct store *s, uint64_t seq, uint32_t epoch, struct err *e)
{
	uint64_t began = clock_mono_ms();

	for (;;) {
		uint32_t bell = s->ctl->follow_bell;

		if (s->ctl->epoch != epoch)
			return err_set(e, ERR_TEMP, 0, "a failed sync has cost the record");
		if (!s->ctl->follow_required || s->ctl->followed_seq >= seq)
			return ERR_OK;
		listen_for(s, bell, LOOK_MS);
		if (s->ctl->followed_seq >= seq)
			continue;
		if (clock_mono_ms() - began > SLOW_MAX_MS)
			return err_set(e, ERR_TEMP, 0, "the copy that must have every change is too slow");
		if (lost_for_ms(s) > s->ctl->follow_wait_ms)
			return nobody_follows(s, e);
	}
}
