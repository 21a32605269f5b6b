/* SPDX-License-Identifier: ISC */
/* Owns the start of every daemon: options, how it was started, and the hand-over to the pool or to a single
 * session. Invariant: whatever fd 0 turns out to be, nothing that we say reaches a peer before the
 * protocol's greeting. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/log.h"
#include "prefork.h"
#include "serve.h"

enum { DUMP_MAX_OCTETS = 1 << 20 };

enum start_mode { START_POOL, START_ONE };

struct options {
	const char *conf_path, *listener;
	bool test, dump;
};

struct start {
	enum start_mode mode;
	bool inetd;			/* the socket came as fd 0 */
	struct listeners listeners;	/* START_POOL */
	const struct serve_listener *kind;	/* START_ONE */
	int fd;
};

static int usage(const struct service *svc)
{
	fprintf(stderr,
	    "usage: %s [-tT] [-c file] [-n listener]\n"
	    "It serves sockets that its parent hands over: start it with pennypost(8), from systemd\n"
	    "(socket units, Accept=yes or no) or from inetd (stream, nowait or wait).\n"
	    "To try it: systemd-socket-activate -l 127.0.0.1:PORT %s\n", svc->name, svc->name);
	return EX_USAGE;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
	int ch;

	*o = (struct options){ .conf_path = SYSCONFDIR "/pennypost/pennypost.conf" };
	while ((ch = getopt(argc, argv, "c:n:tT")) != -1)
		switch (ch) {
		case 'c':
			o->conf_path = optarg;
			break;
		case 'n':
			o->listener = optarg;
			break;
		case 't':
			o->test = true;
			break;
		case 'T':
			o->dump = true;
			break;
		default:
			return false;
		}
	return optind == argc;
}

/* -- what we were handed -- */

/* "imap", "imap.2" and "imap-2" are the listener "imap". */
static const struct serve_listener *find_listener(const struct service *svc, struct str name)
{
	for (const struct serve_listener *l = svc->listeners; l->name != NULL; l++) {
		struct str base = str_of(l->name);

		if (str_starts(name, base) &&
		    (name.n == base.n || name.p[base.n] == '.' ||
		     (name.p[base.n] == '-' && name.n > base.n + 1 && ascii_is_digit(name.p[base.n + 1]))))
			return l;
	}
	return &svc->listeners[0];
}

/* Never had a peer; one whose peer has reset it is a session that is over, and no mistake of the admin. */
static bool never_connected(int fd)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof sa;
	int reset = 0;

	if (getpeername(fd, (struct sockaddr *)&sa, &n) == 0 || errno != ENOTCONN)
		return false;
	n = sizeof reset;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &reset, &n) == 0 && reset == 0;
}

/* 1 listening, 0 connected, -1 nothing that we can serve (*e says what). */
static int look_at_socket(int fd, struct err *e)
{
	int type = 0, listening = 0;
	socklen_t n = sizeof type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0) {
		(void)err_set(e, ERR_SYNTAX, errno, "descriptor %d is not a socket", fd);
		return -1;
	}
	if (type != SOCK_STREAM && type != SOCK_SEQPACKET) {
		(void)err_set(e, ERR_SYNTAX, 0, "descriptor %d is a datagram socket", fd);
		return -1;
	}
	n = sizeof listening;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) < 0)
		listening = 0;
	if (listening == 0 && never_connected(fd)) {
		(void)err_set(e, ERR_SYNTAX, 0, "descriptor %d is not connected", fd);
		return -1;
	}
	return listening != 0;
}

static enum err_kind take_passed(const struct service *svc, const struct options *o,
    const struct sd_fds *fds, struct start *out, struct err *e)
{
	for (unsigned i = 0; i < fds->n; i++) {
		int fd = SD_FIRST_FD + (int)i, what = look_at_socket(fd, e);
		const char *name = fds->names[i];

		if (what < 0)
			return ERR_SYNTAX;
		if (what == 0 && fds->n > 1)
			return err_set(e, ERR_SYNTAX, 0, "descriptor %d does not listen", fd);
		/* systemd calls a connection "connection" whatever its unit is named */
		if (o->listener != NULL && (what == 0 || fds->n == 1))
			name = o->listener;
		out->listeners.kind[i] = out->kind = find_listener(svc, str_of(name));
		if (what == 0) {
			out->mode = START_ONE;
			out->fd = fd;
			return ERR_OK;
		}
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
	out->mode = START_POOL;
	out->listeners.n = fds->n;
	return ERR_OK;
}

/* inetd: the socket moves away from 0, where libraries expect standard input. */
static enum err_kind take_fd0(const struct service *svc, const struct options *o, struct start *out,
    struct err *e)
{
	int what = look_at_socket(STDIN_FILENO, e), fd;

	if (what < 0)
		return ERR_SYNTAX;
	out->inetd = true;
	out->kind = find_listener(svc, o->listener != NULL ? str_of(o->listener) : STR(""));
	fd = dup2(STDIN_FILENO, SD_FIRST_FD);
	if (fd < 0)
		return err_sys(e, errno, "descriptor of the socket");
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	out->fd = fd;
	out->mode = what == 0 ? START_ONE : START_POOL;
	if (what != 0) {
		out->listeners.n = 1;
		out->listeners.kind[0] = out->kind;
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
	return ERR_OK;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	    sa.st_ino == sb.st_ino;
}

static bool stderr_is_peer(void)
{
	struct stat st;

	return fstat(STDERR_FILENO, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    (same_file(STDERR_FILENO, STDIN_FILENO) || same_file(STDERR_FILENO, SD_FIRST_FD));
}

static void silence_stderr(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
}

/* fds 0 to 2 are always open, and 0 and 1 are no socket to a peer. Nothing else that we inherited stays
 * but the n sockets that we serve. */
static void settle_fds(unsigned n)
{
	struct stat st;
	int null;

	close_range(SD_FIRST_FD + n, ~0u, 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
		if (fstat(fd, &st) < 0 || (fd != STDERR_FILENO && S_ISSOCK(st.st_mode)))
			dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

static enum err_kind find_start(const struct service *svc, const struct options *o, struct start *out,
    struct err *e)
{
	struct sd_fds fds;
	enum err_kind k = sd_listen_fds(&fds, e);

	if (k != ERR_OK)
		return k;
	return fds.n > 0 ? take_passed(svc, o, &fds, out, e) : take_fd0(svc, o, out, e);
}

/* -- running -- */

static int check_or_dump(const struct service *svc, const struct options *o)
{
	struct buf out = BUF_INIT(DUMP_MAX_OCTETS);
	struct serve_state *st;
	struct err e;

	if (state_load(svc, o->conf_path, &st, &e) != ERR_OK) {
		fprintf(stderr, "%s: %s\n", svc->name, e.text);
		return EX_CONFIG;
	}
	if (o->dump) {
		state_dump(st, &out);
		fwrite(out.p, 1, out.n, stdout);
		buf_free(&out);
	}
	state_free(&st);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int fail(const struct service *svc, bool peer_on_stderr, int status, const struct err *e)
{
	if (!peer_on_stderr)
		fprintf(stderr, "%s: %s\n", svc->name, e->text);
	else
		log_event(LOG_LEVEL_ERR, "serve.start.failed", KV_ERR(e));
	return status;
}

static enum err_kind check_tls(const struct serve_state *st, const struct start *start, struct err *e)
{
	unsigned n = start->mode == START_POOL ? start->listeners.n : 1;

	for (unsigned i = 0; i < n; i++) {
		const struct serve_listener *l =
		    start->mode == START_POOL ? start->listeners.kind[i] : start->kind;

		if (l->implicit_tls && st->tls == NULL)
			return err_set(e, ERR_SYNTAX, 0,
			    "listener %s needs [tls] certificate, which is not set", l->name);
	}
	return ERR_OK;
}

/* Once, and in words: an ordinary user should know what he does not have. */
static void tell_missing(unsigned missing)
{
	static const struct { unsigned bit; const char *what; } words[] = {
		{ SANDBOX_UID, "account of its own" }, { SANDBOX_CHROOT, "empty root directory" },
		{ SANDBOX_SECCOMP, "system call filter" }, { SANDBOX_LANDLOCK, "Landlock" },
	};

	for (size_t i = 0; i < COUNTOF(words); i++)
		if ((missing & words[i].bit) != 0)
			log_event(LOG_LEVEL_WARN, "serve.protection.missing", KV_Z("what", words[i].what));
}

static int run(const struct service *svc, const struct options *o, struct start *start,
    bool peer_on_stderr)
{
	struct pool_plan plan = { .svc = svc, .conf_path = o->conf_path,
		.listeners = &start->listeners, .end_when_idle = start->inetd };
	struct serve_state *st;
	struct sandbox_plan sandbox;
	unsigned missing;
	struct err e;

	if (state_load(svc, o->conf_path, &st, &e) != ERR_OK || check_tls(st, start, &e) != ERR_OK)
		return fail(svc, peer_on_stderr, EX_CONFIG, &e);
	if (peer_on_stderr && strcmp(st->set.log_to, "stderr") == 0)
		plan.log_to = "syslog";
	sandbox = state_sandbox(st);
	if (start->mode == START_POOL && svc->sessions_per_child > 1)
		sandbox.n_listeners = start->listeners.n;
	if (log_open(svc->name, plan.log_to != NULL ? plan.log_to : st->set.log_to,
	    (enum log_level)st->set.log_level, &e) != ERR_OK ||
	    sandbox_prepare(&sandbox, &missing, &e) != ERR_OK)
		return fail(svc, peer_on_stderr, EX_CONFIG, &e);
	tell_missing(missing);
	if (start->mode == START_ONE)
		return child_run_one(st, start->kind, start->fd);
	plan.st = st;
	return pool_run(&plan);
}

int serve(const struct service *svc, int argc, char **argv)
{
	bool peer_on_stderr = stderr_is_peer();
	struct start start = { 0 };
	struct options o;
	enum err_kind k;
	struct err e, le;

	if (peer_on_stderr)
		silence_stderr();
	if (!parse_options(argc, argv, &o))
		return usage(svc);
	if (o.test || o.dump)
		return check_or_dump(svc, &o);
	k = find_start(svc, &o, &start, &e);
	settle_fds(start.mode == START_POOL ? start.listeners.n : 1);
	signal(SIGPIPE, SIG_IGN);
	/* Until the configuration says where lines go. */
	if (peer_on_stderr && log_open(svc->name, "syslog", LOG_LEVEL_INFO, &le) != ERR_OK)
		return EX_OSERR;
	if (k == ERR_OK)
		return run(svc, &o, &start, peer_on_stderr);
	(void)fail(svc, peer_on_stderr, EX_USAGE, &e);
	return usage(svc);
}
