/* SPDX-License-Identifier: ISC */
/* One SMTP session: the struct that every handler takes first, and what the files of this folder
 * offer each other. The dialogue is RFC 5321's; a message goes on to deliver (lmtp.h) while it
 * comes in. */
#ifndef SMTPD_SESSION_H
#define SMTPD_SESSION_H

#include "../libbase/arena.h"
#include "../libserve/authclient.h"
#include "../libserve/serve.h"
#include "lmtp.h"

enum {
	SMTP_LINE_MAX_OCTETS = 2048,		/* RFC 5321 s.4.5.3.1.4: 512, and parameters */
	SMTP_AUTH_LINE_MAX_OCTETS = 12288,	/* RFC 4954 s.4 */
	SMTP_HELO_MAX_OCTETS = 255,		/* RFC 5321 s.4.5.3.1.2 */
	SMTP_RECEIVED_MAX = 100,		/* RFC 5321 s.6.3: at least 100 */
	SMTP_HOLD_MAX_OCTETS = 256 * 1024,	/* of a header, to see what it lacks */
	SMTP_TXN_ARENA_OCTETS = 4 * 1024 * 1024,	/* 1000 recipients of 1 KiB, and to spare */
	SMTP_CMD_ARENA_OCTETS = 256 * 1024,	/* one line, decoded several times */
};

enum smtp_role { SMTP_ROLE_MX, SMTP_ROLE_SUBMISSION };

struct smtpd_conf {
	uint64_t message_size_limit;
	uint64_t recipients_max;
	uint64_t errors_max;
	uint64_t auth_tries_max;
	uint64_t messages_per_session;
	uint64_t command_timeout_ms, data_timeout_ms;
};

/* One mail transaction (RFC 5321 s.3.3). Strings are in the arena s->txn. */
struct smtp_txn {
	bool open;			/* MAIL was accepted */
	struct lmtp_mail mail;
	struct str *rcpts;		/* those that deliver accepted */
	size_t n_rcpts;
};

struct smtp {
	struct serve_session *serve;
	struct conn *c;
	const struct settings *set;
	const struct smtpd_conf *conf;
	struct arena *cmd, *txn;
	struct lmtp *deliver;
	bool submission;
	bool over;			/* nothing more is read */
	bool esmtp;
	char helo[SMTP_HELO_MAX_OCTETS + 1];	/* empty: not yet said */
	char user[AUTH_USER_MAX_OCTETS + 1];	/* empty: nobody logged in */
	uint64_t n_errors, n_auth_tries, n_messages;
	struct smtp_txn t;
};

/* One connection, from greeting to end: serve's callback. */
void smtp_session(struct serve_session *serve);

/* -- reply.c -- */
/* "code enhanced text"; enhanced may be NULL (RFC 2034 s.4: not in greetings, EHLO and 3yz). A
 * permanent refusal counts as an error of the client's. */
void smtp_reply(struct smtp *s, unsigned code, const char *enhanced, const char *text);
/* deliver's reply, passed on. */
void smtp_reply_lmtp(struct smtp *s, const struct lmtp_reply *r);
/* 421 and the end of the session. */
void smtp_farewell(struct smtp *s, const char *enhanced, const char *text);

/* -- transaction.c -- */
/* Forgets the transaction, here and at deliver. */
void smtp_txn_reset(struct smtp *s);

/* May this connection send a password now? */
bool smtp_login_possible(const struct smtp *s);
bool smtp_tls_possible(const struct smtp *s);
/* May addresses without a domain be completed with ours (RFC 6409 s.8.1)? Not for strangers. */
bool smtp_completes_names(const struct smtp *s);

/* -- handlers; arg is the line behind the verb; preconditions of the table in session.c hold -- */
void cmd_helo(struct smtp *s, struct str arg);
void cmd_ehlo(struct smtp *s, struct str arg);
void cmd_starttls(struct smtp *s, struct str arg);
void cmd_auth(struct smtp *s, struct str arg);
void cmd_mail(struct smtp *s, struct str arg);
void cmd_rcpt(struct smtp *s, struct str arg);
void cmd_data(struct smtp *s, struct str arg);
void cmd_rset(struct smtp *s, struct str arg);
void cmd_noop(struct smtp *s, struct str arg);
void cmd_vrfy(struct smtp *s, struct str arg);
void cmd_help(struct smtp *s, struct str arg);
void cmd_quit(struct smtp *s, struct str arg);
void cmd_not_ours(struct smtp *s, struct str arg);
void cmd_other_protocol(struct smtp *s, struct str arg);

#endif
