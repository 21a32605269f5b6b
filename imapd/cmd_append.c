/* SPDX-License-Identifier: ISC */
/* APPEND (RFC 3501 s.6.3.11, RFC 4315 s.3). The message's literal is still on the connection
 * when the handler runs: everything that can be refused is refused before "+ OK", and the octets
 * go straight into a body. Invariant: when the handler returns, either the whole literal and the
 * end of its command have been read or the session is over. */
#include "../libmail/date.h"
#include "../libstore/quota.h"
#include "flags.h"
#include "session.h"

struct append_args {
	struct str mailbox;		/* as sent */
	struct flag_list flags;
	int64_t date_s;			/* 0: none given */
};

static bool date_time(struct cursor *c, struct arena *a, int64_t *out)
{
	struct str text;
	struct mail_date d;

	if (tok_look(c) != '"')
		return true;
	if (!tok_string(c, a, &text) || !date_parse_imap(text, &d) || !tok_sp(c))
		return false;
	*out = d.epoch_s;
	return true;
}

/* Up to the '{' of the message. */
static bool parse_args(struct cursor *c, struct arena *a, struct append_args *out)
{
	*out = (struct append_args){ 0 };
	if (!tok_sp(c) || !tok_astring(c, a, &out->mailbox) || !tok_sp(c))
		return false;
	if (tok_look(c) == '(' && (!flags_parse(c, a, false, &out->flags) || !tok_sp(c)))
		return false;
	return date_time(c, a, &out->date_s) && tok_look(c) == '{';
}

bool append_is_at_message(struct cursor args, struct arena *a)
{
	struct append_args parsed;
	struct literal lit;
	size_t at;

	return parse_args(&args, a, &parsed) &&
	    tok_literal_at_end(str_n(args.p, (size_t)(args.end - args.p)), &lit, &at) && at == 0;
}

/* Answers a message that is not taken, and gets the stream past it. */
static void turn_down(struct imap_session *s, const char *code, const char *text)
{
	struct str rest;
	struct err e;

	if (!s->stream.nonsync) {
		reply_no(s, code, text);
		return;
	}
	/* It is on its way. A message of a size we might have taken is read and dropped; more
	 * ends the session. */
	if (s->stream.octets > s->conf->message_size_limit_bytes) {
		s->why_ended = "literal too large";
		reply_bye(s, "TOOBIG", "Message too large");
		return;
	}
	if (!gather_swallow(s, s->stream.octets))
		return;
	if (conn_read_line(s->c, s->conf->max_command_bytes, &rest, NULL, &e) != ERR_OK &&
	    e.kind != ERR_LIMIT) {
		s->why_ended = "connection closed";
		s->state = IMAP_LOGOUT;
		return;
	}
	reply_no(s, code, text);
}

enum { CHUNK_OCTETS = 32 * 1024 };

/* Mail is stored in wire form: a bare LF becomes CR LF, as every line end of a client that has
 * none means it. */
static enum err_kind add_wire_form(struct body *b, struct str in, bool *after_cr, struct err *e)
{
	size_t from = 0;

	for (size_t at = 0; at < in.n;) {
		const char *lf = memchr(in.p + at, '\n', in.n - at);

		if (lf == NULL)
			break;
		at = (size_t)(lf - in.p) + 1;
		if (at > 1 ? lf[-1] == '\r' : *after_cr)
			continue;
		if (body_add(b, str_n(in.p + from, at - 1 - from), e) != ERR_OK ||
		    body_add(b, STR("\r\n"), e) != ERR_OK)
			return e->kind;
		from = at;
	}
	*after_cr = in.n > 0 ? in.p[in.n - 1] == '\r' : *after_cr;
	return body_add(b, str_skip(in, from), e);
}

struct intake {
	struct body *body;
	bool after_cr, has_nul;
	struct err e;			/* kind ERR_OK: all is well so far */
};

/* The literal's octets. What follows an error is read and dropped. False: the session is over. */
static bool take_message(struct imap_session *s, struct intake *in)
{
	uint64_t left = s->stream.octets;
	struct str have;
	struct err e;

	while (left > 0) {
		if (conn_peek(s->c, &have, &e) != ERR_OK) {
			s->why_ended = e.kind == ERR_TIMEOUT ? "timed out" : "connection closed";
			s->state = IMAP_LOGOUT;
			return false;
		}
		have = str_head(have, left < CHUNK_OCTETS ? (size_t)left : CHUNK_OCTETS);
		in->has_nul |= memchr(have.p, '\0', have.n) != NULL;
		if (in->e.kind == ERR_OK && !in->has_nul)
			(void)add_wire_form(in->body, have, &in->after_cr, &in->e);
		conn_consume(s->c, have.n);
		left -= have.n;
	}
	return true;
}

/* The rest of the command's line must be empty: we offer no MULTIAPPEND. False: has answered. */
static bool command_ends(struct imap_session *s)
{
	struct str rest;
	struct err e;

	if (conn_read_line(s->c, s->conf->max_command_bytes, &rest, NULL, &e) == ERR_OK) {
		if (rest.n > 0)
			reply_bad(s, "Syntax error behind the message");
		return rest.n == 0;
	}
	if (e.kind == ERR_LIMIT) {
		reply_bad(s, "Syntax error behind the message");
		return false;
	}
	s->why_ended = "connection closed";
	s->state = IMAP_LOGOUT;
	return false;
}

static void file_message(struct imap_session *s, const struct append_args *args, uint32_t id,
    struct intake *in)
{
	struct append how = {
		.flags = args->flags.flags, .keywords = args->flags.keywords,
		.n_keywords = args->flags.n_keywords, .internaldate_s = args->date_s,
	};
	uint32_t uid, uidvalidity;
	struct buf code = BUF_INIT(64);

	if (in->has_nul) {
		reply_no(s, "CANNOT", "A message must not have NUL octets in it");	/* CHAR8 */
		return;
	}
	if (in->e.kind == ERR_LIMIT) {
		reply_no(s, "TOOBIG", "Message too large");
		return;
	}
	if (in->e.kind != ERR_OK || body_seal(in->body, &in->e) != ERR_OK ||
	    mailbox_append(s->store, id, in->body, &how, &uid, &uidvalidity, &in->e) != ERR_OK) {
		if (in->e.kind == ERR_NOENT)
			reply_no(s, "TRYCREATE", "No such mailbox");
		else
			reply_err(s, &in->e, "append");
		return;
	}
	s->n_appended++;
	(void)buf_printf(&code, "APPENDUID %u %u", uidvalidity, uid);
	(void)buf_putc(&code, '\0');
	reply_ok(s, code.p, "Appended");
	buf_free(&code);
}

/* Everything about the command but its message. False: has answered. */
static bool check(struct imap_session *s, struct cursor *c, struct append_args *args, uint32_t *out_id)
{
	struct err e = { .kind = ERR_OK };
	struct mailbox_info info;
	struct str name;

	if (!s->has_stream || !parse_args(c, s->a, args)) {
		reply_bad(s, "Syntax error in APPEND");
		return false;
	}
	if (s->stream.octets == 0 || s->stream.octets > s->conf->message_size_limit_bytes) {
		turn_down(s, s->stream.octets == 0 ? "CANNOT" : "TOOBIG",
		    s->stream.octets == 0 ? "An empty message cannot be kept" : "Message too large");
		return false;
	}
	if (args->flags.over) {
		turn_down(s, "LIMIT", "Too many or too long keywords");
		return false;
	}
	if (!arg_name(s, args->mailbox, &name)) {
		turn_down(s, "CANNOT", "The mailbox name is not modified UTF-7");
		return false;
	}
	if (store_find(s->store, s->a, name, &info, &e) == ERR_OK && !info.noselect) {
		*out_id = info.id;
		if (quota_check_append(s->store, info.id, s->stream.octets, &e) != ERR_QUOTA)
			return true;
		turn_down(s, reply_code(ERR_QUOTA), "Over quota");
		return false;
	}
	turn_down(s, e.kind == ERR_NOENT ? "TRYCREATE" : "CANNOT", "No such mailbox");
	return false;
}

void cmd_append(struct imap_session *s, struct cursor *c)
{
	struct append_args args;
	struct intake in = { 0 };
	uint32_t id;

	if (!check(s, c, &args, &id))
		return;
	conn_deadline(s->c, IMAP_LITERAL_WAIT_MS);
	if (!s->stream.nonsync)
		conn_put(s->c, STR("+ OK\r\n"));
	in.body = body_new(s->store, s->conf->message_size_limit_bytes);
	if (take_message(s, &in) && command_ends(s))
		file_message(s, &args, id, &in);
	body_free(&in.body);
}
