/* SPDX-License-Identifier: ISC */
/* The session's loop, its table of commands, and the small commands. Invariants: a handler runs
 * only in the state that its row demands; whatever the client sends gets one reply; nothing of an
 * unfinished transaction survives the session. */
#include "../libbase/log.h"
#include "session.h"

enum need {
	NEED_HELO = 1,
	NEED_NO_TXN = 2,
	NEED_ARG = 4,
	NEED_NO_ARG = 8,
};

static const struct lmtp_command {
	struct str verb;
	unsigned need;
	void (*run)(struct lmtp *l, struct str arg);
} commands[] = {
	{ STR_INIT("MAIL"), NEED_HELO | NEED_NO_TXN | NEED_ARG, cmd_mail },
	{ STR_INIT("RCPT"), NEED_HELO | NEED_ARG, cmd_rcpt },
	{ STR_INIT("DATA"), NEED_HELO | NEED_NO_ARG, cmd_data },
	{ STR_INIT("LHLO"), NEED_ARG, cmd_lhlo },
	{ STR_INIT("RSET"), NEED_NO_ARG, cmd_rset },
	{ STR_INIT("NOOP"), 0, cmd_noop },
	{ STR_INIT("QUIT"), NEED_NO_ARG, cmd_quit },
	{ STR_INIT("VRFY"), NEED_ARG, cmd_vrfy },
	{ STR_INIT("HELO"), 0, cmd_wrong_protocol },	/* RFC 2033 s.4.1 */
	{ STR_INIT("EHLO"), 0, cmd_wrong_protocol },
};

static const struct lmtp_command *command_find(struct str verb)
{
	for (size_t i = 0; i < COUNTOF(commands); i++)
		if (str_eq_nocase(commands[i].verb, verb))
			return &commands[i];
	return NULL;
}

static bool needs_met(struct lmtp *l, const struct lmtp_command *c, struct str arg)
{
	if ((c->need & NEED_HELO) != 0 && l->helo[0] == '\0')
		lmtp_reply(l, 503, "5.5.1", "Say LHLO first");
	else if ((c->need & NEED_NO_TXN) != 0 && l->open)
		lmtp_reply(l, 503, "5.5.1", "Not in the middle of a mail transaction");
	else if ((c->need & NEED_ARG) != 0 && arg.n == 0)
		lmtp_reply(l, 501, "5.5.4", "Argument missing");
	else if ((c->need & NEED_NO_ARG) != 0 && arg.n != 0)
		lmtp_reply(l, 501, "5.5.4", "No argument allowed");
	else
		return true;
	return false;
}

static bool is_clean(struct str line)
{
	for (size_t i = 0; i < line.n; i++)
		if (((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
			return false;
	return true;
}

static void dispatch(struct lmtp *l, struct str line, bool crlf)
{
	const struct lmtp_command *c;
	struct str verb, arg;

	if (!crlf) {
		lmtp_reply(l, 500, "5.5.2", "A line ends in CR LF");
		return;
	}
	if (!is_clean(line) || !smtp_line_split(line, &verb, &arg)) {
		lmtp_reply(l, 500, "5.5.2", "Syntax error");
		return;
	}
	c = command_find(verb);
	if (c == NULL)
		lmtp_reply(l, 500, "5.5.1", "Unknown command");
	else if (needs_met(l, c, arg))
		c->run(l, arg);
}

static void read_failed(struct lmtp *l, enum err_kind kind)
{
	switch (kind) {
	case ERR_LIMIT:
		lmtp_reply(l, 500, "5.5.2", "Line too long");
		break;
	case ERR_TIMEOUT:
		lmtp_farewell(l, "4.4.2", "Timeout, closing connection");
		break;
	case ERR_BUSY:
		lmtp_farewell(l, "4.3.2", "Service is shutting down");
		break;
	default:
		l->over = true;
		break;
	}
}

static void one_command(struct lmtp *l)
{
	enum err_kind r;
	struct str line;
	struct err e;
	bool crlf;

	arena_reset(l->cmd);
	conn_deadline(l->c, l->conf->command_timeout_ms);
	r = conn_read_line(l->c, LMTP_LINE_MAX_OCTETS, &line, &crlf, &e);
	if (r == ERR_OK)
		dispatch(l, line, crlf);
	else
		read_failed(l, r);
	if (!l->over && l->n_errors >= LMTP_ERRORS_MAX)
		lmtp_farewell(l, "4.7.0", "Too many errors");
}

void lmtp_session(struct serve_session *serve)
{
	struct lmtp l = {
		.serve = serve, .c = serve->c, .set = serve->set, .conf = serve->conf,
		.cmd = arena_new(LMTP_CMD_ARENA_OCTETS), .txn = arena_new(LMTP_TXN_ARENA_OCTETS),
	};
	struct err e;

	conn_printf(l.c, "220 %s LMTP Pennypost\r\n", l.set->hostname);
	if (!conn_has_input(l.c) && conn_flush(l.c, &e) != ERR_OK)
		l.over = true;
	while (!l.over) {
		one_command(&l);
		if (!conn_has_input(l.c) && conn_flush(l.c, &e) != ERR_OK)
			l.over = true;
	}
	arena_free(&l.cmd);
	arena_free(&l.txn);
}

/* What matters is that the name can't leave its place in a Received field or a log line. */
static bool helo_ok(struct str name)
{
	if (name.n > LMTP_HELO_MAX_OCTETS)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && strchr("-._:[]", c) == NULL)
			return false;
	}
	return true;
}

void cmd_lhlo(struct lmtp *l, struct str arg)
{
	if (!helo_ok(arg)) {
		lmtp_reply(l, 501, "5.5.4", "Not a host name");
		return;
	}
	lmtp_txn_reset(l);
	memcpy(l->helo, arg.p, arg.n);
	l->helo[arg.n] = '\0';
	conn_printf(l->c, "250-%s\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE %llu\r\n"
	    "250 ENHANCEDSTATUSCODES\r\n", l->set->hostname,
	    (unsigned long long)l->conf->message_size_limit);
}

void cmd_rset(struct lmtp *l, struct str arg)
{
	(void)arg;
	lmtp_txn_reset(l);
	lmtp_reply(l, 250, "2.0.0", "Ok");
}

void cmd_noop(struct lmtp *l, struct str arg)
{
	(void)arg;
	lmtp_reply(l, 250, "2.0.0", "Ok");
}

void cmd_vrfy(struct lmtp *l, struct str arg)
{
	(void)arg;
	lmtp_reply(l, 252, "2.5.0", "Try RCPT to see whether mail is taken");
}

void cmd_quit(struct lmtp *l, struct str arg)
{
	(void)arg;
	lmtp_reply(l, 221, "2.0.0", "Bye");
	l->over = true;
}

void cmd_wrong_protocol(struct lmtp *l, struct str arg)
{
	(void)arg;
	lmtp_reply(l, 500, "5.5.1", "This is LMTP, say LHLO");
}
