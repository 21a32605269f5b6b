/* SPDX-License-Identifier: ISC */
/* penny follow: keeps a copy of a store right behind it, in a directory here or at the other end of a pipe. One process, in
 * the store, woken by changes; with --sync it is what the store's duty (libstore/duty.h) waits for. It ends when told to,
 * and when anything goes wrong: whoever runs it starts it anew. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libstore/copy.h"
#include "../libstore/duty.h"
#include "../libstore/stream.h"
#include "ctl.h"

enum {
	PUBLISH_MS = 5000,		/* the manifest of a copy that changes all the time */
	LOOK_MS = 1000,			/* in case a wake-up was lost with its sender */
};

struct follow {
	const char *user;
	bool sync;
	uint32_t wait_ms;
	int copy_fd;			/* of a directory here, else -1 */
	int in_fd, out_fd;		/* of the other side, else -1 */
	FILE *to;			/* for the line that says that it has caught up */
	/* while it runs */
	struct store *s;
	struct feed *feed;
	int signal_fd, watch_fd;
	uint64_t marked_ms, published_ms, published_seq;
};

static void ending_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

/* -- in the store -- */

static enum err_kind advance(struct follow *x, bool publish, struct err *e)
{
	enum err_kind k = feed_advance(x->feed, publish, e);

	if (k != ERR_OK)
		return k;
	x->marked_ms = clock_mono_ms();
	if (publish) {
		x->published_ms = x->marked_ms;
		x->published_seq = feed_seq(x->feed);
	}
	if (x->sync)
		duty_done(x->s, feed_seq(x->feed));
	return ERR_OK;
}

/* True when there is something to be sent, or nothing has been for so long that the other side might wonder. */
static bool is_due(const struct follow *x, bool *out_publish)
{
	uint64_t now = clock_mono_ms(), seq = feed_seq(x->feed);
	bool more = duty_durable(x->s) > seq;

	*out_publish = now - x->published_ms >= PUBLISH_MS && (more || seq != x->published_seq);
	return more || *out_publish || (x->copy_fd < 0 && now - x->marked_ms >= STREAM_BEAT_MS);
}

/* Waits for a change. False: it was told to end, or the other side has gone. */
static bool wait_for_change(struct follow *x)
{
	struct pollfd p[] = { { x->watch_fd, POLLIN, 0 }, { x->signal_fd, POLLIN, 0 }, { x->in_fd, POLLIN, 0 } };

	if (poll(p, COUNTOF(p), LOOK_MS) <= 0)
		return true;
	return p[1].revents == 0 && p[2].revents == 0;
}

static enum err_kind keep_up(struct follow *x, struct err *e)
{
	enum err_kind k = ERR_OK;
	bool publish, more = true;

	while (k == ERR_OK && more) {
		store_watch_drain(x->s);
		if (is_due(x, &publish))
			k = advance(x, publish, e);
		else
			more = wait_for_change(x);
	}
	return k == ERR_OK ? advance(x, true, e) : k;
}

static enum err_kind catch_up(struct follow *x, const struct copy_sink *sink, const struct copy_pos *sure,
    const struct copy_pos *end, struct err *e)
{
	struct feed_result r;
	enum err_kind k;

	k = feed_open(x->s, sink, sure, end, ctl_report_copy, (void *)(uintptr_t)x->user, &x->feed, e);
	if (k != ERR_OK || (k = feed_advance(x->feed, true, e)) != ERR_OK ||
	    (x->sync && (k = duty_begin(x->s, feed_seq(x->feed), x->wait_ms, e)) != ERR_OK))
		return k;
	x->marked_ms = x->published_ms = clock_mono_ms();
	x->published_seq = feed_seq(x->feed);
	feed_result(x->feed, &r);
	if (r.anew)
		ctl_fail(0, "%s: the store does not go on where the copy ended: begun anew; what was there is kept "
		    "under past/", x->user);
	fprintf(x->to, "following\t%s\tseq=%" PRIu64 "\toctets=%" PRIu64 "%s\n", x->user, feed_seq(x->feed), r.octets,
	    x->sync ? "\tsync" : "");
	fflush(x->to);
	return ERR_OK;
}

static enum err_kind follow_store(struct follow *x, struct err *e)
{
	struct copy *copy = NULL;
	struct stream *stream = NULL;
	struct copy_pos sure, end;
	struct copy_sink sink;
	enum err_kind k;

	if (x->copy_fd >= 0) {
		k = copy_open(x->copy_fd, str_of(x->user), true, &copy, e);
		if (k == ERR_OK) {
			copy_has(copy, &sure, &end);
			copy_as_sink(copy, &sink);
		}
	} else if ((k = stream_open(x->in_fd, x->out_fd, str_of(x->user), &stream, &sure, &end, e)) == ERR_OK) {
		stream_as_sink(stream, &sink);
	}
	if (k == ERR_OK && (k = catch_up(x, &sink, &sure, &end, e)) == ERR_OK)
		k = keep_up(x, e);
	feed_close(&x->feed);
	stream_close(&stream);
	copy_close(&copy);
	return k;
}

static int follow(struct store *s, void *arg)
{
	struct follow *x = arg;
	sigset_t set;
	int lock_fd = -1;
	struct err e;
	enum err_kind k;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	ending_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	x->s = s;
	x->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (x->signal_fd < 0)
		return ctl_fail(EX_OSERR, "signals: %s", strerror(errno));
	if ((k = store_watch(s, &x->watch_fd, &e)) == ERR_OK && (!x->sync || (k = duty_lock(s, &lock_fd, &e)) == ERR_OK))
		k = follow_store(x, &e);
	duty_leave(lock_fd);
	close(x->signal_fd);
	if (k == ERR_OK)
		return 0;
	err_note(&e, "follow %s", x->user);
	return ctl_err(&e);
}

/* -- outside -- */

/* Passes on what would end this process to the one that works. */
static int wait_passing_signals(int pid)
{
	sigset_t set;
	int sig;

	ending_signals(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		siginfo_t info = { .si_pid = 0 };

		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid)
			return ctl_wait_child(pid);
		sig = sigwaitinfo(&set, NULL);
		if (sig > 0 && sig != SIGCHLD)
			kill(pid, SIGTERM);
	}
}

static int run_follow(struct ctl *c, struct follow *x)
{
	sigset_t set, was;
	int pid, status;

	ending_signals(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &was);
	if ((status = ctl_start_in_store(c, x->user, false, follow, x, &pid)) == 0)
		status = wait_passing_signals(pid);
	sigprocmask(SIG_SETMASK, &was, NULL);
	return status;
}

static int follow_dir(struct ctl *c, struct follow *x, const char *dir)
{
	int status = ctl_open_copy(c, dir, true, &x->copy_fd);

	if (status != 0)
		return status;
	status = run_follow(c, x);
	close(x->copy_fd);
	return status;
}

/* The command talks with us on its standard input and output. */
static int follow_command(struct ctl *c, struct follow *x, const char *command)
{
	int ends[2], pid, status;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return ctl_fail(EX_OSERR, "no socket: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		if (dup2(ends[1], STDIN_FILENO) >= 0 && dup2(ends[1], STDOUT_FILENO) >= 0)
			execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(EX_OSERR);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return ctl_fail(EX_OSERR, "fork: %s", strerror(errno));
	}
	x->in_fd = x->out_fd = ends[0];
	status = run_follow(c, x);
	close(ends[0]);		/* the command sees the end */
	if (ctl_wait_child(pid) != 0 && status == 0)
		status = EX_TEMPFAIL;
	return status;
}

static int receive(void *arg)
{
	struct err e;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	if (stream_receive(STDIN_FILENO, STDOUT_FILENO, *(const int *)arg, &e) == ERR_OK)
		return 0;
	err_note(&e, "follow --receive");
	return ctl_err(&e);
}

static int receive_into(struct ctl *c, const char *dir)
{
	int fd, status = ctl_open_copy(c, dir, true, &fd);

	if (status != 0)
		return status;
	status = ctl_as_owner(c, receive, &fd);
	close(fd);
	return status;
}

static int release(struct store *s, void *arg)
{
	struct err e;

	(void)arg;
	return duty_release(s, &e) == ERR_OK ? 0 : ctl_err(&e);
}

int cmd_follow(struct ctl *c, int argc, char **argv)
{
	struct follow x = { .copy_fd = -1, .in_fd = -1, .out_fd = -1, .to = stdout, .wait_ms = DUTY_WAIT_MS };
	const char *command = NULL, *receive_dir = NULL, *released = NULL, *wait = NULL;
	const struct ctl_option opt[] = {
		{ .name = "--sync", .flag = &x.sync }, { .name = "--wait", .value = &wait },
		{ .name = "--exec", .value = &command }, { .name = "--receive", .value = &receive_dir },
		{ .name = "--release", .value = &released },
	};
	uint64_t wait_s = 0;

	argc = ctl_options(argc, argv, opt, COUNTOF(opt));
	if (argc == 0 && receive_dir != NULL && released == NULL)
		return receive_into(c, receive_dir);
	if (argc == 0 && released != NULL && receive_dir == NULL)
		return ctl_in_store(c, released, false, release, NULL);
	if (receive_dir != NULL || released != NULL || argc != (command != NULL ? 1 : 2) ||
	    (wait != NULL && !str_to_u64(str_of(wait), DUTY_WAIT_MAX_MS / 1000, &wait_s)))
		return argc < 0 ? EX_USAGE : ctl_fail(EX_USAGE, "these words make no follow; see penny help follow");
	if (wait != NULL)
		x.wait_ms = (uint32_t)wait_s * 1000;
	x.user = argv[0];
	if (command != NULL)
		return follow_command(c, &x, command);
	if (strcmp(argv[1], "-") != 0)
		return follow_dir(c, &x, argv[1]);
	x.in_fd = STDIN_FILENO;
	x.out_fd = STDOUT_FILENO;
	x.to = stderr;
	return run_follow(c, &x);
}
