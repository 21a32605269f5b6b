/* SPDX-License-Identifier: ISC */
/* The life of every daemon. `main` of a daemon is `return serve(&my_service, argc, argv);`.
 *
 * serve() finds out how it was started:
 *  - LISTEN_PID is our pid: listening sockets from fd 3 (names in LISTEN_FDNAMES), as the supervisor and
 *    systemd (Accept=no) hand them over;
 *  - fd 0 is a listening socket: inetd "wait";
 *  - fd 0 is a connected socket (or LISTEN_FDS gives one connected socket): inetd "nowait", systemd
 *    Accept=yes; one session is served and the process ends;
 *  - else it says how to start it and exits 64.
 *
 * With listening sockets the parent does the expensive start-up once (configuration, TLS context,
 * service->prepare), then keeps idle children that share the sockets: min/max spare, max total, at most N
 * connections from one address. It never reads from the network and parses nothing. Signals to the parent:
 *  SIGHUP   reload: everything is prepared anew; if that fails the old state stays and the reason is
 *           logged; idle children are replaced, sessions in progress go on;
 *  SIGTERM  drain: idle children end, sessions end at their next wait for input (conn_read_line returns
 *           ERR_BUSY), and are killed after drain_timeout.
 * A parent that dies takes its idle children with it; sessions in progress go on.
 *
 * A child that serves users takes no privilege into a session: it has changed to its uid, its root is an
 * empty directory (but for the sockets it may talk to), no new privileges, no core, limits, seccomp filter,
 * Landlock. As an ordinary user what needs root is skipped, and said once in the log at start.
 *
 * Command line of every daemon: [-c file] [-t] [-T] [-n name]; -t checks the configuration (exit 0 or 78,
 * file:line on standard error), -T prints the configuration in force, -n names the listener for a
 * connection on fd 0 ("imaps" for implicit TLS; default: the first in the service's table). */
#ifndef SERVE_H
#define SERVE_H

#include "../libbase/conf.h"
#include "../libbase/err.h"
#include "conn.h"
#include "settings.h"

/* How a listener's name changes the session. */
struct serve_listener {
	const char *name;		/* FileDescriptorName; "imaps" */
	bool implicit_tls;		/* RFC 8314: the handshake comes first */
	int role;			/* the daemon's own meaning */
};

/* What a session may touch beyond its connection; checked by tests/system. */
enum serve_right {
	SERVE_AUTH = 1 << 0,		/* may connect to auth.sock in its root directory */
	SERVE_DELIVER = 1 << 1,		/* may connect to deliver.sock in its root directory */
	SERVE_STORE = 1 << 2,		/* gets one store's descriptor after login; see sandbox_login */
	SERVE_STORES = 1 << 3,		/* deliver: stores by descriptor all the time, no login */
	SERVE_ROOT = 1 << 4,		/* authd: keeps root, no chroot */
};

struct serve_session {
	struct conn *c;
	const struct serve_listener *listener;
	const struct settings *set;	/* shared settings */
	const void *conf;		/* the daemon's own struct, filled from its table */
	const char *sid;		/* session id, 11 letters and digits */
	struct tls_ctx *tls;		/* for conn_start_tls; NULL: no TLS is offered */
	/* Set by the session: what is to be done when the connection is closed and nobody waits any more, be it
	 * that it takes seconds. NULL: nothing. */
	void (*afterwards)(void *arg);
	void *afterwards_arg;
};

struct service {
	const char *name;			/* program and section name: "imapd" */
	const struct serve_listener *listeners;	/* ends with name NULL */
	unsigned rights;			/* SERVE_* */
	const struct conf_key *keys;		/* the daemon's own table */
	size_t n_keys;
	size_t conf_size;			/* of the struct the table fills */
	unsigned sessions_per_child;		/* 1: a process that logged a user in serves nobody else */
	/* In the parent, at start and at each reload, before any fork: what is dear or needs files. May be
	 * NULL. conf is the freshly filled struct. Errors stop the start or keep the old state. */
	enum err_kind (*prepare)(const struct settings *set, void *conf, struct err *e);
	/* In each child after the fork and before the sandbox closes: libraries that load lazily. May be
	 * NULL. */
	void (*child_start)(const void *conf);
	/* One connection, from greeting to end. TLS of an implicit-TLS listener is already up. serve()
	 * flushes and closes the connection afterwards. */
	void (*session)(struct serve_session *s);
	/* The one line, in the protocol's words with its CRLF, for a connection that is refused because too
	 * many are open ("421 4.7.0 …", "* BYE …", "-ERR [SYS/TEMP] …"). */
	const char *too_many;
};

/* Never returns control to anything but main; returns the exit status (sysexits.h). */
int serve(const struct service *svc, int argc, char **argv);

/* This session has earned its place (it logged in, or a recipient was accepted): it is not ended in favour of
 * a newcomer when the service is full. Others may be, after SERVE_EVICT_AGE_MS. */
void serve_session_keep(void);
enum { SERVE_EVICT_AGE_MS = 3000 };

/* This process serves nobody after the present session (it logged a user in); also keeps it. sandbox_login
 * implies it, a daemon without stores calls it itself. */
void serve_session_is_last(void);

/* True when this process was asked to end (SIGTERM): a session says its farewell at the next chance. */
bool serve_draining(void);

#endif
