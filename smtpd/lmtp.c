/* SPDX-License-Identifier: ISC */
/* Owns the connection to deliver. Invariant: n_owed is the number of replies to commands sent
 * earlier that nobody has read yet, so that the next reply read is always the one to the last
 * command. */
#include <stdlib.h>

#include "../libserve/conn.h"
#include "lmtp.h"

enum {
	LMTP_CONNECT_MS = 10000,	/* of a full backlog, then 451 */
	LMTP_COMMAND_MS = 30000,	/* deliver's answers to RCPT need one look at authd */
	LMTP_RESULT_MS = 300000,	/* the client waits 10 minutes: RFC 5321 s.4.5.3.2.6 */
	LMTP_REPLY_LINES_MAX = 64,
};

enum lmtp_stage {
	LMTP_IDLE,		/* no transaction at deliver */
	LMTP_STALE,		/* one that we gave up: RSET before the next */
	LMTP_MAIL,		/* MAIL was accepted */
	LMTP_DATA,		/* DATA was sent: only results follow, or the end */
};

struct lmtp {
	const char *path, *hostname;
	struct conn *c;
	enum lmtp_stage stage;
	unsigned n_owed;
};

struct lmtp *lmtp_new(const char *path, const char *hostname)
{
	struct lmtp *l = calloc(1, sizeof *l);

	if (l == NULL)
		exit(75);
	l->path = path;
	l->hostname = hostname;
	return l;
}

static void hang_up(struct lmtp *l)
{
	conn_close(&l->c);
	l->stage = LMTP_IDLE;
	l->n_owed = 0;
}

void lmtp_close(struct lmtp **l)
{
	struct err e;

	if (*l == NULL)
		return;
	if ((*l)->c != NULL && (*l)->stage != LMTP_DATA) {
		conn_put((*l)->c, STR("QUIT\r\n"));
		(void)!conn_flush((*l)->c, &e);
	}
	hang_up(*l);
	free(*l);
	*l = NULL;
}

bool lmtp_reply_parse(struct str line, struct lmtp_reply *out, bool *out_more)
{
	struct str text;

	if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !ascii_is_digit(line.p[1]) ||
	    !ascii_is_digit(line.p[2]))
		return false;
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return false;
	out->code = (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + line.p[2] - '0');
	*out_more = line.n > 3 && line.p[3] == '-';
	text = str_head(str_skip(line, 4), sizeof out->text - 8);
	for (size_t i = 0; i < text.n; i++)
		out->text[i] = (char)(text.p[i] >= 0x20 && text.p[i] < 0x7f ? text.p[i] : '?');
	out->text[text.n] = '\0';
	return true;
}

static enum err_kind read_reply(struct lmtp *l, struct lmtp_reply *out, struct err *e)
{
	for (unsigned n = 0; n < LMTP_REPLY_LINES_MAX; n++) {
		enum err_kind r;
		struct str line;
		bool more;

		r = conn_read_line(l->c, LMTP_REPLY_MAX_OCTETS, &line, NULL, e);
		if (r == ERR_BUSY)
			return err_set(e, ERR_TEMP, 0, "the service ends");
		if (r == ERR_LIMIT)
			return err_set(e, ERR_TEMP, 0, "deliver's reply is too long");
		if (r != ERR_OK)
			return r;
		if (!lmtp_reply_parse(line, out, &more))
			return err_set(e, ERR_TEMP, 0, "deliver said: %.*s", STR_FMT(line));
		if (!more)
			return ERR_OK;
	}
	return err_set(e, ERR_TEMP, 0, "deliver's reply has no end");
}

/* The greeting and the answer to LHLO are read with the first transaction's answers: deliver is
 * ours and reads what waits for it. */
static enum err_kind connect_deliver(struct lmtp *l, struct err *e)
{
	if (l->c != NULL)
		return ERR_OK;
	if (conn_connect_unix(l->path, LMTP_CONNECT_MS, &l->c, e) != ERR_OK)
		return err_note(e, "connect to deliver");
	conn_printf(l->c, "LHLO %s\r\n", l->hostname);
	l->stage = LMTP_IDLE;
	l->n_owed = 2;
	return ERR_OK;
}

static void put_mail(struct lmtp *l, const struct lmtp_mail *mail)
{
	conn_put(l->c, STR("MAIL FROM:<"));
	conn_put(l->c, mail->sender);
	conn_put(l->c, STR(">"));
	if (mail->size_octets > 0)
		conn_printf(l->c, " SIZE=%llu", (unsigned long long)mail->size_octets);
	if (mail->body_8bit)
		conn_put(l->c, STR(" BODY=8BITMIME"));
	conn_put(l->c, STR("\r\n"));
}

/* Reads what is owed from before this transaction; a refusal there is a deliver that can't work
 * now. */
static enum err_kind read_owed(struct lmtp *l, struct err *e)
{
	struct lmtp_reply r;

	for (; l->n_owed > 0; l->n_owed--) {
		if (read_reply(l, &r, e) != ERR_OK)
			return e->kind;
		if (r.code >= 300)
			return err_set(e, ERR_TEMP, 0, "deliver said %u %s", r.code, r.text);
	}
	return ERR_OK;
}

static enum err_kind ask(struct lmtp *l, const struct lmtp_mail *mail, struct str rcpt,
    struct lmtp_reply *out, struct err *e)
{
	bool with_mail = l->stage != LMTP_MAIL;
	struct lmtp_reply ignored;

	if (connect_deliver(l, e) != ERR_OK)
		return e->kind;
	conn_deadline(l->c, LMTP_COMMAND_MS);
	if (l->stage == LMTP_STALE) {
		conn_put(l->c, STR("RSET\r\n"));
		l->n_owed++;
		l->stage = LMTP_IDLE;
	}
	if (with_mail)
		put_mail(l, mail);
	conn_put(l->c, STR("RCPT TO:<"));
	conn_put(l->c, rcpt);
	conn_put(l->c, STR(">\r\n"));
	if (conn_flush(l->c, e) != ERR_OK || read_owed(l, e) != ERR_OK)
		return e->kind;
	if (with_mail) {
		if (read_reply(l, out, e) != ERR_OK)
			return e->kind;
		if (out->code >= 300)	/* the answer to RCPT is then "no MAIL" */
			return read_reply(l, &ignored, e);
		l->stage = LMTP_MAIL;
	}
	return read_reply(l, out, e);
}

enum err_kind lmtp_rcpt(struct lmtp *l, const struct lmtp_mail *mail, struct str rcpt,
    struct lmtp_reply *out, struct err *e)
{
	/* A conversation kept from an earlier transaction may have ended with its process. */
	bool again = l->c != NULL && l->stage != LMTP_MAIL;

	if (ask(l, mail, rcpt, out, e) == ERR_OK)
		return ERR_OK;
	hang_up(l);
	if (!again || ask(l, mail, rcpt, out, e) == ERR_OK)
		return again ? ERR_OK : e->kind;
	hang_up(l);
	return e->kind;
}

void lmtp_data(struct lmtp *l)
{
	struct err e;

	if (l->c == NULL)
		return;
	l->stage = LMTP_DATA;
	conn_deadline(l->c, LMTP_COMMAND_MS);
	conn_put(l->c, STR("DATA\r\n"));
	(void)!conn_flush(l->c, &e);	/* sticky: lmtp_data_go finds it */
}

enum err_kind lmtp_data_go(struct lmtp *l, struct lmtp_reply *out, struct err *e)
{
	if (l->c == NULL)
		return err_set(e, ERR_EOF, 0, "deliver is gone");
	if (conn_flush(l->c, e) != ERR_OK)
		return e->kind;
	return read_reply(l, out, e);
}

void lmtp_put(struct lmtp *l, struct str wire)
{
	if (l->c == NULL)
		return;
	conn_deadline(l->c, LMTP_COMMAND_MS);
	conn_put(l->c, wire);
}

enum err_kind lmtp_result(struct lmtp *l, struct lmtp_reply *out, struct err *e)
{
	if (l->c == NULL)
		return err_set(e, ERR_EOF, 0, "deliver is gone");
	conn_deadline(l->c, LMTP_RESULT_MS);
	if (conn_flush(l->c, e) != ERR_OK)
		return e->kind;
	return read_reply(l, out, e);
}

void lmtp_abandon(struct lmtp *l)
{
	if (l->stage == LMTP_DATA)
		hang_up(l);
	else if (l->stage == LMTP_MAIL)
		l->stage = LMTP_STALE;
}

void lmtp_done(struct lmtp *l)
{
	l->stage = LMTP_IDLE;
}
