/* SPDX-License-Identifier: ISC */
/* Talking to authd: the unprivileged twins of the calls in authd's monitor table (authd/MONITOR.md).
 * The calls connect to a Unix socket, ask and close; they wait as long as authd tells a guesser to wait
 * (so a failure takes the same time whatever its reason), but never past AUTH_WAIT_MAX_MS. */
#ifndef AUTHCLIENT_H
#define AUTHCLIENT_H

#include "../libbase/err.h"
#include "../libbase/str.h"

enum {
	AUTH_USER_MAX_OCTETS = 255,
	AUTH_PASSWORD_MAX_OCTETS = 1024,
	AUTH_WAIT_MAX_MS = 20000,
};

/* A login that was granted: the key to one user's store. */
struct auth_grant {
	char user[AUTH_USER_MAX_OCTETS + 1];	/* the canonical name */
	int store_fd;				/* directory of the store, or -1 where none was asked (smtp) */
};

struct auth_question {
	const char *service;		/* "imap", "pop3", "smtp": chooses the PAM service name */
	const char *peer_ip;		/* PAM_RHOST, failure delays */
	const char *mechanism;		/* "PLAIN", "LOGIN", "USER": for the log */
	struct str user, password, authzid;	/* authzid empty: acts as itself */
	bool tls;
};

/* Checks a password at authd's socket `path`. want_store asks for the store's descriptor (made at first use).
 * On ERR_OK *out is filled and out->store_fd is the caller's.
 * Errors: ERR_DENIED wrong name or password, or may not log in: one answer for all; ERR_LIMIT too many
 * failures from this address for now; ERR_TEMP authd or its source did not answer: never a wrong yes, never a
 * wrong no. e->text is for the log only. */
enum err_kind auth_login(const char *path, const struct auth_question *q, bool want_store,
    struct auth_grant *out, struct err *e) CHECKED;

/* deliver only (socket "store.sock"): is there such a user, and its store. With want_store false only the
 * question is answered and *out_fd is -1. user_out holds AUTH_USER_MAX_OCTETS + 1 octets.
 * Errors: ERR_NOENT no such user; ERR_TEMP. */
enum err_kind auth_store(const char *path, struct str user, bool want_store, char *user_out,
    int *out_fd, struct err *e) CHECKED;

#endif
