/* SPDX-License-Identifier: ISC */
/* The session's loop and its table of commands. Invariants: a handler runs only in the state that
 * its row demands; whatever the client sends gets one reply; nothing of an unfinished transaction
 * survives the session. */
#include <stdio.h>

#include "../libbase/log.h"
#include "../libmail/path.h"
#include "session.h"

enum need {			/* what must hold before a handler runs */
	NEED_HELO = 1,
	NEED_LOGIN = 2,		/* on submission listeners (RFC 6409 s.4.3) */
	NEED_NO_TXN = 4,
	NEED_NO_ARG = 8,
	NEED_ARG = 16,
	LONG_LINE = 32,		/* up to SMTP_AUTH_LINE_MAX_OCTETS */
};

static const struct smtp_command {
	struct str verb;
	unsigned need;
	void (*run)(struct smtp *s, struct str arg);
} commands[] = {
	{ STR_INIT("EHLO"), NEED_ARG, cmd_ehlo },
	{ STR_INIT("HELO"), NEED_ARG, cmd_helo },
	{ STR_INIT("MAIL"), NEED_HELO | NEED_LOGIN | NEED_NO_TXN | NEED_ARG, cmd_mail },
	{ STR_INIT("RCPT"), NEED_HELO | NEED_LOGIN | NEED_ARG, cmd_rcpt },
	{ STR_INIT("DATA"), NEED_HELO | NEED_LOGIN | NEED_NO_ARG, cmd_data },
	{ STR_INIT("RSET"), NEED_NO_ARG, cmd_rset },
	{ STR_INIT("NOOP"), 0, cmd_noop },
	{ STR_INIT("QUIT"), NEED_NO_ARG, cmd_quit },
	{ STR_INIT("STARTTLS"), NEED_HELO | NEED_NO_ARG, cmd_starttls },
	{ STR_INIT("AUTH"), NEED_HELO | NEED_NO_TXN | NEED_ARG | LONG_LINE, cmd_auth },
	{ STR_INIT("VRFY"), NEED_ARG, cmd_vrfy },
	{ STR_INIT("HELP"), 0, cmd_help },
	{ STR_INIT("EXPN"), 0, cmd_not_ours },
	{ STR_INIT("BDAT"), 0, cmd_not_ours },
	{ STR_INIT("TURN"), 0, cmd_not_ours },
	{ STR_INIT("ETRN"), 0, cmd_not_ours },
	/* A browser that was led here must not have its form read as commands (cross-protocol
	 * attacks). */
	{ STR_INIT("GET"), 0, cmd_other_protocol },
	{ STR_INIT("POST"), 0, cmd_other_protocol },
	{ STR_INIT("PUT"), 0, cmd_other_protocol },
	{ STR_INIT("HEAD"), 0, cmd_other_protocol },
	{ STR_INIT("OPTIONS"), 0, cmd_other_protocol },
	{ STR_INIT("CONNECT"), 0, cmd_other_protocol },
};

static const struct smtp_command *command_find(struct str verb)
{
	for (size_t i = 0; i < COUNTOF(commands); i++)
		if (str_eq_nocase(commands[i].verb, verb))
			return &commands[i];
	return NULL;
}

/* The reply for the first demand that does not hold; true when all do. */
static bool needs_met(struct smtp *s, const struct smtp_command *c, struct str arg)
{
	if ((c->need & NEED_HELO) != 0 && s->helo[0] == '\0')
		smtp_reply(s, 503, "5.5.1", "Say EHLO first");
	else if ((c->need & NEED_LOGIN) != 0 && s->submission && s->user[0] == '\0')
		smtp_reply(s, 530, "5.7.0", "Authentication required");
	else if ((c->need & NEED_NO_TXN) != 0 && s->t.open)
		smtp_reply(s, 503, "5.5.1", "Not in the middle of a mail transaction");
	else if ((c->need & NEED_ARG) != 0 && arg.n == 0)
		smtp_reply(s, 501, "5.5.4", "Argument missing");
	else if ((c->need & NEED_NO_ARG) != 0 && arg.n != 0)
		smtp_reply(s, 501, "5.5.4", "No argument allowed");
	else
		return true;
	return false;
}

/* NUL and controls have no place in a command; a bare CR least of all. */
static bool is_clean(struct str line)
{
	for (size_t i = 0; i < line.n; i++)
		if (((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
			return false;
	return true;
}

static void dispatch(struct smtp *s, struct str line, bool crlf)
{
	const struct smtp_command *c;
	struct str verb, arg;

	if (!crlf) {
		smtp_reply(s, 500, "5.5.2", "A line ends in CR LF");
		return;
	}
	if (!is_clean(line) || !smtp_line_split(line, &verb, &arg)) {
		smtp_reply(s, 500, "5.5.2", "Syntax error");
		return;
	}
	c = command_find(verb);
	if (c == NULL)
		smtp_reply(s, 500, "5.5.1", "Unknown command");
	else if ((c->need & LONG_LINE) == 0 && line.n + 2 > SMTP_LINE_MAX_OCTETS)
		smtp_reply(s, 500, "5.5.2", "Line too long");
	else if (needs_met(s, c, arg))
		c->run(s, arg);
}

static void read_failed(struct smtp *s, enum err_kind kind)
{
	switch (kind) {
	case ERR_LIMIT:
		smtp_reply(s, 500, "5.5.2", "Line too long");
		break;
	case ERR_TIMEOUT:
		smtp_farewell(s, "4.4.2", "Timeout, closing connection");
		break;
	case ERR_BUSY:
		smtp_farewell(s, "4.3.2", "Service is shutting down");
		break;
	default:
		s->over = true;
		break;
	}
}

static void one_command(struct smtp *s)
{
	size_t max = s->submission ? SMTP_AUTH_LINE_MAX_OCTETS : SMTP_LINE_MAX_OCTETS;
	enum err_kind r;
	struct str line;
	struct err e;
	bool crlf;

	arena_reset(s->cmd);
	conn_deadline(s->c, s->conf->command_timeout_ms);
	r = conn_read_line(s->c, max, &line, &crlf, &e);
	if (r == ERR_OK)
		dispatch(s, line, crlf);
	else
		read_failed(s, r);
	if (!s->over && s->n_errors >= s->conf->errors_max) {
		log_event(LOG_LEVEL_INFO, "smtp.too-many-errors", KV_Z("ip", conn_peer_ip(s->c)));
		smtp_farewell(s, "4.7.0", "Too many errors");
	}
}

bool smtp_tls_possible(const struct smtp *s)
{
	return s->serve->tls != NULL && !conn_is_tls(s->c) && s->user[0] == '\0';
}

bool smtp_login_possible(const struct smtp *s)
{
	if (!s->submission || s->user[0] != '\0')
		return false;
	return conn_is_tls(s->c) || s->set->plaintext == PLAINTEXT_ALWAYS ||
	    (s->set->plaintext == PLAINTEXT_LOOPBACK && conn_peer_is_loopback(s->c));
}

bool smtp_completes_names(const struct smtp *s)
{
	return s->submission || conn_peer_is_loopback(s->c);
}

void smtp_session(struct serve_session *serve)
{
	struct smtp s = {
		.serve = serve, .c = serve->c, .set = serve->set, .conf = serve->conf,
		.submission = serve->listener->role == SMTP_ROLE_SUBMISSION,
		.cmd = arena_new(SMTP_CMD_ARENA_OCTETS), .txn = arena_new(SMTP_TXN_ARENA_OCTETS),
		.deliver = lmtp_new("deliver.sock", serve->set->hostname),
	};
	struct err e;

	log_event(LOG_LEVEL_DEBUG, "smtp.connect", KV_Z("ip", conn_peer_ip(s.c)),
	    KV_Z("tls", conn_tls_info(s.c)));
	conn_printf(s.c, "220 %s ESMTP Pennypost\r\n", s.set->hostname);
	if (conn_flush(s.c, &e) != ERR_OK)
		s.over = true;
	while (!s.over) {
		one_command(&s);
		if (!conn_has_input(s.c) && conn_flush(s.c, &e) != ERR_OK)
			s.over = true;
	}
	log_event(LOG_LEVEL_DEBUG, "smtp.disconnect", KV_Z("ip", conn_peer_ip(s.c)),
	    KV_U("messages", s.n_messages), KV_U("errors", s.n_errors));
	lmtp_abandon(s.deliver);
	lmtp_close(&s.deliver);
	arena_free(&s.cmd);
	arena_free(&s.txn);
}
