/* SPDX-License-Identifier: ISC */
/* The loop and the table of commands. A session leaves TRANSACTION for UPDATE by QUIT alone: a
 * time-out, a lost connection and a drain close without a word and remove nothing (RFC 1939 s.3
 * and s.6). */
#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "parse.h"
#include "session.h"

enum arg_rule { ARG_NONE, ARG_MAY, ARG_MUST };

struct pop3_command {
	const char *verb;
	unsigned states;
	enum arg_rule arg;
	bool keeps_user;	/* what USER said stays for PASS */
	void (*run)(struct pop3 *s, struct str arg);
};

static const struct pop3_command commands[] = {
	{ "CAPA", POP3_AUTHORIZATION | POP3_TRANSACTION, ARG_NONE, true, cmd_capa },
	{ "STLS", POP3_AUTHORIZATION, ARG_NONE, false, cmd_stls },
	{ "USER", POP3_AUTHORIZATION, ARG_MUST, true, cmd_user },
	{ "PASS", POP3_AUTHORIZATION, ARG_MUST, true, cmd_pass },
	{ "AUTH", POP3_AUTHORIZATION, ARG_MUST, false, cmd_auth },
	{ "STAT", POP3_TRANSACTION, ARG_NONE, true, cmd_stat },
	{ "LIST", POP3_TRANSACTION, ARG_MAY, true, cmd_list },
	{ "UIDL", POP3_TRANSACTION, ARG_MAY, true, cmd_uidl },
	{ "RETR", POP3_TRANSACTION, ARG_MUST, true, cmd_retr },
	{ "TOP", POP3_TRANSACTION, ARG_MUST, true, cmd_top },
	{ "DELE", POP3_TRANSACTION, ARG_MUST, true, cmd_dele },
	{ "NOOP", POP3_TRANSACTION, ARG_NONE, true, cmd_noop },
	{ "RSET", POP3_TRANSACTION, ARG_NONE, true, cmd_rset },
	{ "QUIT", POP3_AUTHORIZATION | POP3_TRANSACTION, ARG_NONE, true, cmd_quit },
};

static const struct pop3_command *find_command(struct str verb)
{
	for (size_t i = 0; i < COUNTOF(commands); i++)
		if (str_eq_nocase(verb, str_of(commands[i].verb)))
			return &commands[i];
	return NULL;
}

static const char *refusal(const struct pop3 *s, const struct pop3_command *cmd, struct str arg)
{
	if (cmd == NULL)
		return "unknown command";
	if ((cmd->states & s->state) == 0)
		return s->state == POP3_TRANSACTION ? "you are logged in already" : "log in first";
	if (cmd->arg == ARG_NONE && str_trim(arg).n > 0)
		return "this command has no argument";
	if (cmd->arg == ARG_MUST && arg.n == 0)
		return "an argument is missing";
	return NULL;
}

static void dispatch(struct pop3 *s, struct str line)
{
	const struct pop3_command *cmd;
	struct pop3_line l;
	const char *no;

	if (!pop3_line_split(line, &l)) {
		reply_bad(s, "syntax error");
		return;
	}
	cmd = find_command(l.verb);
	no = refusal(s, cmd, l.arg);
	if (s->state == POP3_AUTHORIZATION && (no != NULL || !cmd->keeps_user))
		s->user[0] = '\0';
	if (no != NULL)
		reply_bad(s, no);
	else
		cmd->run(s, l.arg);
}

static const char *end_word(enum err_kind kind)
{
	switch (kind) {
	case ERR_BUSY:
		return "drained";
	case ERR_TIMEOUT:
		return "timed out";
	case ERR_EOF:
		return "connection closed";
	default:
		return "connection failed";
	}
}

/* False when the session is over. Before login the time also runs from the connection's start, so
 * that a stranger can't hold a process by talking; the wait itself has a constant length, which
 * costs conn.c no system call. */
static bool next_line(struct pop3 *s, uint64_t login_end_ms, struct str *line)
{
	bool logged_in = s->state == POP3_TRANSACTION;
	enum err_kind kind;
	struct err e;

	conn_deadline(s->c, logged_in ? s->conf->idle_ms : s->conf->login_ms);
	if (!logged_in && clock_mono_ms() >= login_end_ms)
		kind = err_set(&e, ERR_TIMEOUT, 0, "not logged in in time");
	else
		kind = conn_read_line(s->c, POP3_LINE_MAX_OCTETS, line, NULL, &e);
	if (kind == ERR_LIMIT) {
		reply_bad(s, "line too long");
		line->p = NULL;
		return true;
	}
	if (kind == ERR_OK)
		return true;
	s->why = end_word(kind);
	return false;
}

static void run(struct pop3 *s)
{
	uint64_t login_end_ms = clock_mono_ms() + s->conf->login_ms;
	struct str line;
	struct err e;

	conn_printf(s->c, "+OK %s POP3 ready\r\n", s->serve->set->hostname);
	for (;;) {
		if (!conn_has_input(s->c) && conn_flush(s->c, &e) != ERR_OK) {
			s->why = end_word(e.kind);
			return;
		}
		if (s->state == POP3_OVER)
			return;
		arena_reset(s->cmd);
		if (!next_line(s, login_end_ms, &line))
			return;
		if (line.p != NULL)
			dispatch(s, line);
	}
}

void pop3_session(struct serve_session *serve)
{
	struct pop3 s = {
		.c = serve->c, .serve = serve, .conf = serve->conf,
		.state = POP3_AUTHORIZATION, .why = "quit",
	};
	uint64_t start_ms = clock_mono_ms();

	s.cmd = arena_new(POP3_ARENA_MAX_BYTES);
	run(&s);
	maildrop_end(&s.drop, serve);
	log_event(LOG_LEVEL_INFO, "pop3.end", KV_Z("user", s.user),
	    KV_Z("ip", conn_peer_ip(s.c)), KV_Z("how", s.why), KV_U("retr", s.n_retr),
	    KV_U("top", s.n_top), KV_U("octets", s.retr_octets), KV_U("removed", s.n_removed),
	    KV_U("ms", clock_mono_ms() - start_ms));
	arena_free(&s.cmd);
}
