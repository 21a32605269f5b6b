/* SPDX-License-Identifier: ISC */
/* One LMTP session (RFC 2033): the struct that every handler takes first, and what the files of
 * this folder offer each other. smtpd and other MTAs speak the same protocol here and are trusted
 * alike. */
#ifndef DELIVER_SESSION_H
#define DELIVER_SESSION_H

#include "../libserve/serve.h"
#include "alias_file.h"
#include "envelope.h"
#include "stores.h"

enum {
	LMTP_LINE_MAX_OCTETS = 2048,		/* RFC 5321 s.4.5.3.1.4: 512, and parameters */
	LMTP_HELO_MAX_OCTETS = 255,		/* RFC 5321 s.4.5.3.1.2 */
	LMTP_ERRORS_MAX = 1000,			/* an MTA may have many unknown recipients */
	LMTP_RECEIVED_MAX = 110,		/* smtpd's limit and room: smtpd says it first */
	LMTP_TXN_ARENA_OCTETS = 16 * 1024 * 1024,	/* 10,000 recipients and their mailboxes */
	LMTP_CMD_ARENA_OCTETS = 16 * 1024 * 1024,	/* the list of all mailboxes of a user */
};

enum lmtp_role {
	LMTP_ROLE_LMTP,		/* adds a Received field */
	LMTP_ROLE_SMTPD,	/* smtpd has done so */
};

enum lmtp_quota_full { LMTP_QUOTA_REJECT, LMTP_QUOTA_DEFER };

struct deliver_conf {
	char *aliases, *postmaster, *recipient_delimiter;
	uint64_t message_size_limit, recipients_max;
	uint64_t command_timeout_ms, data_timeout_ms;
	uint64_t quota_full;		/* enum lmtp_quota_full */
	/* made by prepare, in the parent */
	struct alias_file *alias_file;
	struct stores *stores;
};

extern const struct conf_key deliver_keys[];
extern const size_t n_deliver_keys;

struct lmtp {
	struct serve_session *serve;
	struct conn *c;
	const struct settings *set;
	const struct deliver_conf *conf;
	struct arena *cmd, *txn;
	bool over;
	char helo[LMTP_HELO_MAX_OCTETS + 1];	/* empty: not yet said */
	uint64_t n_errors, n_messages;
	/* the transaction */
	bool open;
	struct str sender;
	uint64_t size_octets;		/* as MAIL said; 0: it did not */
	struct envelope env;
	struct resolver resolver;
};

/* One connection, from greeting to end: serve's callback. */
void lmtp_session(struct serve_session *serve);

/* -- reply.c -- */
void lmtp_reply(struct lmtp *l, unsigned code, const char *enhanced, const char *text);
void lmtp_farewell(struct lmtp *l, const char *enhanced, const char *text);
struct lmtp_words {
	unsigned code;
	const char *enhanced, *text;
};
void lmtp_reply_words(struct lmtp *l, const struct lmtp_words *w);
/* What a kind of error means to the client: in answer to RCPT, and to the message. */
const struct lmtp_words *lmtp_rcpt_words(const struct lmtp *l, enum err_kind kind);
const struct lmtp_words *lmtp_message_words(const struct lmtp *l, enum err_kind kind);

/* -- filing.c -- */
/* Files a sealed message into every target of the envelope and sets their results. trace: header
 * fields put behind Return-Path and Delivered-To, or empty. */
void lmtp_file(struct lmtp *l, const struct body *b, struct str trace);

void lmtp_txn_reset(struct lmtp *l);

/* -- handlers; preconditions of the table in session.c hold -- */
void cmd_lhlo(struct lmtp *l, struct str arg);
void cmd_mail(struct lmtp *l, struct str arg);
void cmd_rcpt(struct lmtp *l, struct str arg);
void cmd_data(struct lmtp *l, struct str arg);
void cmd_rset(struct lmtp *l, struct str arg);
void cmd_noop(struct lmtp *l, struct str arg);
void cmd_vrfy(struct lmtp *l, struct str arg);
void cmd_quit(struct lmtp *l, struct str arg);
void cmd_wrong_protocol(struct lmtp *l, struct str arg);

#endif
