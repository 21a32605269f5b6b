/* SPDX-License-Identifier: ISC */
/* The kernel locks: dropped by the kernel when their owner dies, so no death can wedge a store. A wait has a
 * deadline: a stopped process must not stop the others for ever. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/time.h>

#include "../libbase/clock.h"
#include "store_int.h"

enum { GIVE_WAY_MS = 1 };

static void on_alarm(int sig)
{
	(void)sig;		/* only interrupts flock */
}

/* Blocking, with a repeating timer that interrupts it: EINTR lets us look at the clock. */
static enum err_kind lock_with_timer(int fd, uint64_t ms, struct err *e)
{
	struct itimerval every = { { 0, 100000 }, { 0, 100000 } }, was_timer;
	struct sigaction act, was_act;
	uint64_t until = clock_mono_ms() + ms;
	enum err_kind k = ERR_OK;

	memset(&act, 0, sizeof act);
	act.sa_handler = on_alarm;
	sigaction(SIGALRM, &act, &was_act);
	setitimer(ITIMER_REAL, &every, &was_timer);
	while (k == ERR_OK && flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			k = err_sys(e, errno, "lock");
		else if (clock_mono_ms() >= until)
			k = err_set(e, ERR_BUSY, 0, "lock not had in %llu ms", (unsigned long long)ms);
	}
	setitimer(ITIMER_REAL, &was_timer, NULL);
	sigaction(SIGALRM, &was_act, NULL);
	return k;
}

enum err_kind lock_wait(int fd, uint64_t ms, struct err *e)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_OK;
	if (errno != EWOULDBLOCK && errno != EINTR)
		return err_sys(e, errno, "lock");
	return lock_with_timer(fd, ms, e);
}

enum err_kind store_lock(struct store *s, struct err *e)
{
	enum err_kind k;

	if (s->lock_depth != 0)
		err_bug("store lock taken twice");
	if ((k = lock_wait(s->lock_fd, LOCK_WAIT_MS, e)) != ERR_OK)
		return k;
	s->lock_depth = 1;
	if ((k = ctl_remap(s, e)) == ERR_OK && !ctl_is_sound(s))
		k = ctl_recover(s, e);
	if (k != ERR_OK)
		store_unlock(s);
	else
		s->epoch = s->ctl->epoch;
	return k;
}

bool store_try_lock(struct store *s)
{
	if (s->lock_depth != 0 || flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return false;
	s->lock_depth = 1;
	if (ctl_remap(s, NULL) == ERR_OK && ctl_is_sound(s)) {
		s->epoch = s->ctl->epoch;
		return true;
	}
	store_unlock(s);
	return false;
}

void lock_give_way(void)
{
	poll(NULL, 0, GIVE_WAY_MS);
}

void store_unlock(struct store *s)
{
	s->lock_depth = 0;
	flock(s->lock_fd, LOCK_UN);
}
