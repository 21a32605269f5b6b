/* SPDX-License-Identifier: ISC */
/* The form of a reply, and the one place where kinds of errors become words (RFC 3463). What an
 * error says in detail is for the log. */
#include "session.h"

static const struct lmtp_words rcpt_words[] = {
	[ERR_OK] = { 250, "2.1.5", "Ok" },
	[ERR_TEMP] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_BUSY] = { 451, "4.3.0", "Mailbox is busy, try again later" },
	[ERR_NOSPC] = { 452, "4.3.1", "No space left, try again later" },
	[ERR_TIMEOUT] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_EOF] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_SYNTAX] = { 553, "5.1.3", "Bad recipient address" },
	[ERR_NOENT] = { 550, "5.1.1", "No such user here" },
	[ERR_EXISTS] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_DENIED] = { 550, "5.7.1", "Mail for this address is not taken here" },
	[ERR_LIMIT] = { 452, "4.5.3", "Too many recipients" },
	[ERR_QUOTA] = { 552, "5.2.2", "Mailbox is full" },
	[ERR_CORRUPT] = { 451, "4.3.0", "Mailbox needs repair, try again later" },
};

static const struct lmtp_words message_words[] = {
	[ERR_OK] = { 250, "2.0.0", "Delivered" },
	[ERR_TEMP] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_BUSY] = { 451, "4.3.0", "Mailbox is busy, try again later" },
	[ERR_NOSPC] = { 452, "4.3.1", "No space left, try again later" },
	[ERR_TIMEOUT] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_EOF] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_SYNTAX] = { 554, "5.6.0", "Malformed message" },
	[ERR_NOENT] = { 550, "5.1.1", "No such user here" },
	[ERR_EXISTS] = { 451, "4.3.0", "Temporary failure, try again later" },
	[ERR_DENIED] = { 550, "5.7.1", "Mail for this address is not taken here" },
	[ERR_LIMIT] = { 552, "5.3.4", "Message is larger than this server takes" },
	[ERR_QUOTA] = { 552, "5.2.2", "Mailbox is full" },
	[ERR_CORRUPT] = { 451, "4.3.0", "Mailbox needs repair, try again later" },
};

void lmtp_reply(struct lmtp *l, unsigned code, const char *enhanced, const char *text)
{
	if (code >= 500)
		l->n_errors++;
	if (enhanced != NULL)
		conn_printf(l->c, "%u %s %s\r\n", code, enhanced, text);
	else
		conn_printf(l->c, "%u %s\r\n", code, text);
}

void lmtp_reply_words(struct lmtp *l, const struct lmtp_words *w)
{
	lmtp_reply(l, w->code, w->enhanced, w->text);
}

static const struct lmtp_words full_for_now = { 452, "4.2.2", "Mailbox is full, try again later" };

static bool defers(const struct lmtp *l, enum err_kind kind)
{
	return kind == ERR_QUOTA && l->conf->quota_full == LMTP_QUOTA_DEFER;
}

const struct lmtp_words *lmtp_rcpt_words(const struct lmtp *l, enum err_kind kind)
{
	return defers(l, kind) ? &full_for_now : &rcpt_words[kind];
}

const struct lmtp_words *lmtp_message_words(const struct lmtp *l, enum err_kind kind)
{
	return defers(l, kind) ? &full_for_now : &message_words[kind];
}

void lmtp_farewell(struct lmtp *l, const char *enhanced, const char *text)
{
	conn_printf(l->c, "421 %s %s %s\r\n", enhanced, l->set->hostname, text);
	l->over = true;
}
