/* SPDX-License-Identifier: ISC */
/* smtpd's conversation with deliver: LMTP (RFC 2033) over the Unix socket in our root directory. It
 * is opened by the first recipient and kept for the whole SMTP session; commands are pipelined, so
 * that a recipient's check is one round trip and a message two. deliver trusts us as it trusts any
 * LMTP client. */
#ifndef SMTPD_LMTP_H
#define SMTPD_LMTP_H

#include "../libbase/err.h"
#include "../libbase/str.h"

enum { LMTP_REPLY_MAX_OCTETS = 512 };	/* RFC 5321 s.4.5.3.1.5 */

struct lmtp;

struct lmtp_reply {
	unsigned code;				/* 200 … 599 */
	char text[LMTP_REPLY_MAX_OCTETS];	/* "5.1.1 No such user"; printable */
};

struct lmtp_mail {
	struct str sender;	/* canonical text of the path; empty for <> */
	uint64_t size_octets;	/* as declared; 0: not */
	bool body_8bit;		/* BODY=8BITMIME was given */
};

/* path is kept, not copied, as is hostname (for LHLO). Nothing is connected yet. */
struct lmtp *lmtp_new(const char *path, const char *hostname);
void lmtp_close(struct lmtp **l);

/* Asks about one recipient; starts deliver's side of the transaction where that has not happened.
 * The reply is deliver's to RCPT, or to MAIL when that was refused. A conversation that died since
 * the last transaction is begun anew, once. Errors: ERR_TEMP, ERR_EOF, ERR_TIMEOUT: deliver can't
 * be talked to; the transaction is then lost at deliver. */
enum err_kind lmtp_rcpt(struct lmtp *l, const struct lmtp_mail *mail, struct str rcpt,
    struct lmtp_reply *out, struct err *e) CHECKED;

/* Sends DATA; its answer is waited for by lmtp_data_go, so that the client can be told 354
 * meanwhile. After a 354 of deliver's message octets in wire form (dots stuffed) go out with
 * lmtp_put, the last of them being CRLF "." CRLF; then one lmtp_result for each accepted recipient,
 * in order. */
void lmtp_data(struct lmtp *l);
enum err_kind lmtp_data_go(struct lmtp *l, struct lmtp_reply *out, struct err *e) CHECKED;
void lmtp_put(struct lmtp *l, struct str wire);
enum err_kind lmtp_result(struct lmtp *l, struct lmtp_reply *out, struct err *e) CHECKED;

/* Gives the transaction up, wherever it stands: nothing of it is delivered. In the middle of
 * message data the only way is to end the connection. */
void lmtp_abandon(struct lmtp *l);
/* To be called after the last lmtp_result: the next lmtp_rcpt starts a new transaction. */
void lmtp_done(struct lmtp *l);

/* Parses one reply line (without CRLF): code, whether more lines follow, text. Pure; for tests. */
bool lmtp_reply_parse(struct str line, struct lmtp_reply *out, bool *out_more);

#endif
