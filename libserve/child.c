/* SPDX-License-Identifier: ISC */
/* Owns the way of a process from its fork through sandbox, accept and session to its end. Invariant:
 * when the service's session function runs, the process has given up everything it does not need, and
 * if this is its last session it holds no listening socket and no shared slots. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "child.h"
#include "drain.h"
#include "sandbox.h"

enum {
	IDLE_LOOK_MS = 10000,		/* how often an idle child asks whether it is one too many */
	NO_FD_PAUSE_MS = 50,
	SID_DIGITS = 11,
};

/* This process's place in the world; sessions have their state in serve_session. */
static struct {
	_Atomic uint8_t *mark;		/* enum slot_mark; NULL: not in a pool */
	const struct child *pool;	/* NULL: not in a pool, or left it */
	int epoll_fd;			/* what an idle child of the pool waits with */
	bool last;
} self;

void serve_session_keep(void)
{
	if (self.mark != NULL)
		*self.mark = MARK_KEEP;
}

/* Closes what a last session must not have. The listeners' numbers stay taken: see filter_compile. */
static void leave_pool(void)
{
	const struct child *ch = self.pool;

	if (ch == NULL)
		return;
	self.pool = NULL;
	for (unsigned i = 0; i < ch->listeners->n; i++)
		dup2(STDIN_FILENO, SD_FIRST_FD + (int)i);
	close(self.epoll_fd);
	close(ch->lifeline);
	close(ch->wake);
	scoreboard_leave(ch->sb);
}

void serve_session_is_last(void)
{
	self.last = true;
	serve_session_keep();
	leave_pool();
}

static void make_sid(char out[SID_DIGITS + 1])
{
	static const char digits[36] = "abcdefghijklmnopqrstuvwxyz0123456789";
	uint64_t r = 0;

	if (getrandom(&r, sizeof r, GRND_NONBLOCK) != (ssize_t)sizeof r)
		r = clock_mono_us() * 2654435761u ^ (uint64_t)getpid() << 40;
	for (int i = 0; i < SID_DIGITS; i++) {
		out[i] = digits[r % 36];
		r /= 36;
	}
	out[SID_DIGITS] = '\0';
}

static void run_session(struct serve_state *st, const struct serve_listener *kind, int fd)
{
	struct serve_session s = { .listener = kind, .set = &st->set, .conf = st->own, .tls = st->tls };
	char sid[SID_DIGITS + 1];
	struct err e;

	make_sid(sid);
	log_session(sid);
	s.sid = sid;
	s.c = conn_new(fd);
	drain_watch(fd);
	log_event(LOG_LEVEL_DEBUG, "serve.connect", KV_Z("listener", kind->name),
	    KV_Z("ip", conn_peer_ip(s.c)), KV_U("port", conn_peer_port(s.c)));
	if (kind->implicit_tls && conn_start_tls(s.c, st->tls, &e) != ERR_OK)
		log_event(LOG_LEVEL_INFO, "serve.tls.failed", KV_Z("listener", kind->name),
		    KV_Z("ip", conn_peer_ip(s.c)), KV_ERR(&e));
	else
		st->svc->session(&s);
	drain_watch(-1);
	if (self.mark != NULL)	/* before the peer sees the end and comes again */
		*self.mark = MARK_OVER;
	conn_close(&s.c);
	if (s.afterwards != NULL)
		s.afterwards(s.afterwards_arg);
	log_session("");
}

static void reset_signals(void)
{
	struct sigaction ign = { .sa_handler = SIG_IGN }, dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	sigaction(SIGPIPE, &ign, NULL);
	sigaction(SIGHUP, &ign, NULL);	/* a terminal that goes away is no reason to end a session */
	sigaction(SIGINT, &ign, NULL);
	sigaction(SIGCHLD, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Everything between the fork and the first connection. False: this process must not serve. */
static bool enter(struct serve_state *st)
{
	struct sandbox_plan plan = state_sandbox(st);
	unsigned done;
	struct err e;

	if (drain_init(&e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "serve.child.failed", KV_ERR(&e));
		return false;
	}
	reset_signals();
	if (st->svc->child_start != NULL)
		st->svc->child_start(st->own);
	if (sandbox_enter(&plan, &done, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "serve.sandbox.failed", KV_ERR(&e));
		return false;
	}
	return true;
}

int child_run_one(struct serve_state *st, const struct serve_listener *kind, int fd)
{
	self.last = true;
	if (!enter(st))
		return EX_OSERR;
	run_session(st, kind, fd);
	return EX_OK;
}

/* -- a child of the pool -- */

static void wake_parent(const struct child *ch)
{
	uint64_t one = 1;

	(void)!write(ch->wake, &one, sizeof one);
}

/* The one line, without waiting: a flood of connections must not hold this process. */
static void refuse(const struct child *ch, const struct serve_listener *kind, int fd, const char *why)
{
	const char *text = ch->st->svc->too_many;
	struct conn *c;

	if (text != NULL && !kind->implicit_tls)	/* no handshake for those we turn away */
		(void)!send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	c = conn_new(fd);
	log_event(LOG_LEVEL_INFO, "serve.refused", KV_Z("why", why), KV_Z("listener", kind->name),
	    KV_Z("ip", conn_peer_ip(c)));
	conn_close(&c);
}

/* Takes the place in the scoreboard. NULL: go on; else why the connection must be refused. */
static const char *admit(const struct child *ch, peer_key peer)
{
	const struct settings *set = &ch->st->set;
	enum slot_full full = FULL_NOT;
	struct score n;

	slot_set(ch->sb, ch->ix, SLOT_BUSY, peer);
	scoreboard_count(ch->sb, 0, peer, FULL_NOT, &n);
	if (n.idle < *ch->sb->spare_wanted)
		wake_parent(ch);
	if (n.busy > set->children_max)
		full = FULL_SERVICE;
	else if (n.same_peer > set->per_address_max)
		full = FULL_PEER;
	if (full == FULL_NOT)
		return NULL;
	/* Who has held a place for long without earning it makes room: a few silent connections must not
	 * keep everybody out. */
	scoreboard_count(ch->sb, 0, peer, full, &n);
	if (n.evictable && n.idle > 0) {
		ch->sb->slots[ch->ix].full = full;
		wake_parent(ch);
		return NULL;
	}
	return full == FULL_SERVICE ? "children_max" : "per_address_max";
}

/* Accepts and serves one connection. True: one session has been. */
static bool serve_one(const struct child *ch, unsigned ix, unsigned sessions_left)
{
	const struct serve_listener *kind = ch->listeners->kind[ix];
	struct sockaddr_storage sa = { 0 };
	socklen_t n = sizeof sa;
	int fd = accept4(SD_FIRST_FD + (int)ix, (struct sockaddr *)&sa, &n, SOCK_CLOEXEC);
	const char *why;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			clock_sleep_ms(NO_FD_PAUSE_MS);
		return false;	/* EAGAIN: another child was faster */
	}
	why = admit(ch, peer_key_of(&sa));
	if (why != NULL) {
		refuse(ch, kind, fd, why);
		slot_set(ch->sb, ch->ix, SLOT_IDLE, 0);
		return false;
	}
	if (sessions_left == 1)
		leave_pool();
	run_session(ch->st, kind, fd);
	return true;
}

static int watch_all(const struct child *ch)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };

	if (epoll_fd < 0)
		return -1;
	ev.data.u32 = UINT32_MAX;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ch->lifeline, &ev) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, drain_fd(), &ev) < 0)
		return -1;
	for (unsigned i = 0; i < ch->listeners->n; i++) {
		ev.events = EPOLLIN | EPOLLEXCLUSIVE;	/* one connection wakes one child */
		ev.data.u32 = i;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, SD_FIRST_FD + (int)i, &ev) < 0)
			return -1;
	}
	return epoll_fd;
}

/* The kernel may have woken only this process for a connection that waits: it must not go and leave it
 * there. */
static void serve_waiting(const struct child *ch)
{
	for (unsigned i = 0; i < ch->listeners->n; i++)
		if (serve_one(ch, i, 1))
			return;
}

static bool one_too_many(const struct child *ch)
{
	struct score n;

	scoreboard_count(ch->sb, 0, 0, FULL_NOT, &n);
	return n.idle > ch->st->set.spare_max;
}

void child_run(const struct child *ch)
{
	unsigned left = ch->st->svc->sessions_per_child;

	self.mark = &ch->sb->mark[ch->ix];
	self.pool = ch;
	self.last = false;
	if (!enter(ch->st) || (self.epoll_fd = watch_all(ch)) < 0)
		_exit(EX_OSERR);
	slot_set(ch->sb, ch->ix, SLOT_IDLE, 0);
	if (*ch->sb->spare_wanted == SPARE_TELL_ALWAYS)
		wake_parent(ch);
	while (left > 0 && !self.last) {
		/* Not all idle children are to look at the same moment: all would leave. */
		int ms = IDLE_LOOK_MS + (int)(ch->ix % 64) * 50;
		struct epoll_event ev;
		int n = epoll_wait(self.epoll_fd, &ev, 1, ms);

		if (serve_draining())
			break;
		if ((n > 0 && ev.data.u32 == UINT32_MAX) || (n == 0 && one_too_many(ch))) {
			serve_waiting(ch);
			break;
		}
		if (n > 0 && serve_one(ch, ev.data.u32, left)) {
			left--;
			if (left > 0 && !self.last)
				slot_set(ch->sb, ch->ix, SLOT_IDLE, 0);
		}
	}
	_exit(EX_OK);	/* no atexit handlers: they belong to the parent */
}
