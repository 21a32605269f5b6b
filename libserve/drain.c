/* SPDX-License-Identifier: ISC */
/* Owns this process's "please end" state. The race between looking at the flag and going to sleep in
 * recv is closed by the handler itself: it gives the socket a receive time-out of one microsecond, so a
 * receive that starts after the look returns at once. setsockopt and write are async-signal-safe. */
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "drain.h"
#include "serve.h"

static volatile sig_atomic_t draining;
static volatile sig_atomic_t watched_fd = -1;
static int event_fd = -1;

static void stop_receive(void)
{
	struct timeval soon = { 0, 1 };

	if (watched_fd != -1)
		setsockopt(watched_fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
}

void drain_begin(void)
{
	uint64_t one = 1;

	draining = 1;
	if (event_fd != -1 && write(event_fd, &one, sizeof one) < 0)
		return;		/* the counter is full: it is readable already */
	stop_receive();
}

static void on_sigterm(int sig)
{
	int saved = errno;

	(void)sig;
	drain_begin();
	errno = saved;
}

enum err_kind drain_init(struct err *e)
{
	/* SA_RESTART: file operations of a store are not to see EINTR. */
	struct sigaction sa = { .sa_handler = on_sigterm, .sa_flags = SA_RESTART };

	draining = 0;
	watched_fd = -1;
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event_fd < 0)
		return err_sys(e, errno, "eventfd");
	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGTERM, &sa, NULL) < 0)
		return err_sys(e, errno, "sigaction");
	return ERR_OK;
}

int drain_fd(void)
{
	return event_fd;
}

void drain_watch(int fd)
{
	watched_fd = fd;
	drain_recheck();
}

void drain_recheck(void)
{
	if (draining)
		stop_receive();
}

bool serve_draining(void)
{
	return draining != 0;
}
