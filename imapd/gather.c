/* SPDX-License-Identifier: ISC */
/* Gathers one command: lines and literals into s->text, in which literals stand as they came.
 * Invariants: s->text never passes the command limit; "+ OK" is sent only to a literal that fits
 * and whose command may run now; what a refused command sends unasked is read up to
 * IMAP_SWALLOW_MAX_OCTETS, then the connection ends (RFC 7888 s.4), so that the stream is never
 * out of step. */
#include <stdio.h>

#include "session.h"

enum { GATHER_TEXT_SLACK = 16 };

struct refusal {
	bool is_no;
	const char *code, *text;	/* text NULL: not refused */
};

bool gather_may_log_in(const struct imap_session *s)
{
	switch ((enum plaintext_policy)s->serve->set->plaintext) {
	case PLAINTEXT_ALWAYS:
		return true;
	case PLAINTEXT_LOOPBACK:
		return conn_is_tls(s->c) || conn_peer_is_loopback(s->c);
	case PLAINTEXT_NEVER:
		break;
	}
	return conn_is_tls(s->c);
}

static struct refusal bad(const char *text) { return (struct refusal){ false, NULL, text }; }

/* Finds tag and command in the text so far; *out_args is then behind the command's name. */
static struct refusal parse_head(struct imap_session *s, struct cursor *out_args)
{
	struct cursor c = cursor_of(buf_str(&s->text));
	const char *name_at;
	struct str name, sub;

	s->cmd = NULL;
	if (!tok_tag(&c, &s->tag) || !tok_sp(&c)) {
		s->tag = str_n(NULL, 0);
		return bad("Tag missing or invalid");
	}
	name_at = c.p;
	if (!tok_atom(&c, &name))
		return bad("Command name missing");
	if (str_eq_nocase(name, STR("UID")) && tok_sp(&c) && tok_atom(&c, &sub))
		name = str_n(name_at, (size_t)(c.p - name_at));
	s->cmd = command_find(name);
	*out_args = c;
	if (s->cmd == NULL)
		return bad("Unknown command");
	if ((s->cmd->states & s->state) == 0)
		return bad(s->state == IMAP_NOT_AUTHENTICATED ? "Log in first" :
		    (s->cmd->states & IMAP_SELECTED) != 0 ? "No mailbox is selected" :
		    "Not allowed in this state");
	/* A client that was told LOGINDISABLED must not be invited to send its password (RFC
	 * 3501 s.6.2.3). */
	if ((s->cmd->flags & CMD_SECRET) != 0 && !gather_may_log_in(s))
		return (struct refusal){ true, "PRIVACYREQUIRED", "Log in under TLS only" };
	return (struct refusal){ 0 };
}

static void answer(struct imap_session *s, const struct refusal *r)
{
	char code[64];

	snprintf(code, sizeof code, "METADATA MAXSIZE %zu", metadata_max_octets(s));
	if (r->is_no && s->cmd != NULL && (s->cmd->flags & CMD_METADATA) != 0)
		reply_no(s, code, r->text);
	else if (r->is_no)
		reply_no(s, r->code, r->text);
	else
		reply_bad(s, r->text);
}

static enum gather_result ended(struct imap_session *s, enum err_kind kind)
{
	switch (kind) {
	case ERR_BUSY:
		s->why_ended = "drained";
		reply_bye(s, "UNAVAILABLE", "Server is shutting down");
		break;
	case ERR_TIMEOUT:
		s->why_ended = "timed out";
		reply_bye(s, "INUSE", "Silent for too long");
		break;
	case ERR_EOF:
		s->why_ended = "connection closed";
		break;
	default:
		s->why_ended = "connection failed";
		break;
	}
	return GATHER_END;
}

bool gather_swallow(struct imap_session *s, uint64_t n)
{
	struct str have;
	struct err e;

	while (n > 0) {
		size_t take;

		if (conn_peek(s->c, &have, &e) != ERR_OK) {
			(void)ended(s, e.kind);
			return false;
		}
		take = have.n < n ? have.n : (size_t)n;
		conn_consume(s->c, take);
		n -= take;
	}
	return true;
}

static enum gather_result too_big_bye(struct imap_session *s)
{
	s->why_ended = "literal too large";
	reply_bye(s, "TOOBIG", "Literal too large");
	return GATHER_END;
}

/* May this literal be taken into the text? */
static struct refusal judge_literal(const struct imap_session *s, const struct literal *lit, size_t max)
{
	size_t room = max - (s->text.n < max ? s->text.n : max);

	if (room < GATHER_TEXT_SLACK || lit->octets > room - GATHER_TEXT_SLACK)
		return (struct refusal){ true, "LIMIT", "Literal too large" };
	if (s->state == IMAP_NOT_AUTHENTICATED && lit->nonsync &&
	    lit->octets > IMAP_LITERAL_MINUS_OCTETS)
		return (struct refusal){ true, "TOOBIG", "Literal too large to be sent unasked" };
	return (struct refusal){ 0 };
}

static enum err_kind take_literal(struct imap_session *s, const struct literal *lit, struct err *e)
{
	enum err_kind kind;

	(void)buf_put(&s->text, STR("\r\n"));
	if (!lit->nonsync)
		conn_put(s->c, STR("+ OK\r\n"));
	if (!buf_reserve(&s->text, (size_t)lit->octets))
		return err_set(e, ERR_TEMP, 0, "no room for a literal");
	kind = conn_read(s->c, s->text.p + s->text.n, (size_t)lit->octets, e);
	if (kind == ERR_OK)
		s->text.n += (size_t)lit->octets;
	return kind;
}

/* The text moves when it grows, and a refused command's is overwritten; the answer still needs
 * the tag. */
static void keep_tag(struct imap_session *s)
{
	if (s->tag.p != s->text.p)
		return;
	s->tag = str_dup(s->a, s->tag);
	if (s->tag.p == NULL)
		s->tag.n = 0;
}

/* The lines and literals behind the first line. */
static enum gather_result gather_rest(struct imap_session *s, size_t max, struct refusal *no,
    struct cursor *args)
{
	uint64_t swallowed = 0;
	size_t line_at = 0;
	struct literal lit;
	struct str line;
	struct err e;

	while (tok_literal_at_end(str_skip(buf_str(&s->text), line_at), &lit, NULL)) {
		/* Before login the one deadline stays, or a stranger could add to it literal by
		 * literal. */
		if (s->state != IMAP_NOT_AUTHENTICATED)
			conn_deadline(s->c, IMAP_LITERAL_WAIT_MS);
		if (no->text == NULL && (s->cmd->flags & CMD_STREAMS) != 0) {
			(void)parse_head(s, args);
			if (append_is_at_message(*args, s->a)) {
				s->stream = lit;
				s->has_stream = true;
				return GATHER_COMMAND;
			}
		}
		keep_tag(s);
		if (no->text == NULL)
			*no = judge_literal(s, &lit, max);
		if (no->text == NULL) {
			if (take_literal(s, &lit, &e) != ERR_OK)
				return ended(s, e.kind);
			line_at = s->text.n;
		} else {
			if (!lit.nonsync)
				return GATHER_REFUSED;
			swallowed += s->text.n - line_at;
			if (swallowed > IMAP_SWALLOW_MAX_OCTETS ||
			    lit.octets > IMAP_SWALLOW_MAX_OCTETS - swallowed)
				return too_big_bye(s);
			swallowed += lit.octets;
			if (!gather_swallow(s, lit.octets))
				return GATHER_END;
			s->text.n = line_at = 0;
		}
		if (conn_read_line(s->c, max - s->text.n, &line, NULL, &e) == ERR_OK)
			(void)buf_put(&s->text, line);
		else if (e.kind == ERR_LIMIT)
			*no = bad("Command too long");
		else
			return ended(s, e.kind);
	}
	return GATHER_COMMAND;
}

enum gather_result gather_command(struct imap_session *s, struct cursor *out_args)
{
	size_t max = s->state == IMAP_NOT_AUTHENTICATED ? s->conf->max_command_preauth_bytes :
	    s->conf->max_command_bytes;
	enum gather_result r;
	struct refusal no;
	struct str line;
	struct err e;

	buf_reset(&s->text);
	s->tag = str_n(NULL, 0);
	s->cmd = NULL;
	s->has_stream = false;
	if (conn_read_line(s->c, max, &line, NULL, &e) != ERR_OK) {
		if (e.kind != ERR_LIMIT)
			return ended(s, e.kind);
		reply_bad(s, "Command too long");
		return GATHER_REFUSED;
	}
	(void)buf_put(&s->text, line);
	no = parse_head(s, out_args);
	r = gather_rest(s, max, &no, out_args);
	if (r == GATHER_END)
		return r;
	if (no.text == NULL)
		no = parse_head(s, out_args);	/* the text may have moved */
	if (no.text == NULL)
		return GATHER_COMMAND;
	answer(s, &no);
	return GATHER_REFUSED;
}
