/* SPDX-License-Identifier: ISC */
/* One POP3 session: its state, its replies, its table of commands. */
#ifndef POP3D_SESSION_H
#define POP3D_SESSION_H

#include "../libbase/arena.h"
#include "../libbase/err.h"
#include "../libserve/authclient.h"
#include "../libserve/serve.h"
#include "maildrop.h"

enum {				/* every limit has a name, a unit and a source */
	POP3_LINE_MAX_OCTETS = 255,		/* RFC 2449 s.4 */
	POP3_SASL_LINE_MAX_OCTETS = 4096,	/* PLAIN with AUTH_*_MAX_OCTETS in base64 */
	POP3_REPLY_MAX_OCTETS = 512,		/* RFC 2449 s.4 */
	POP3_ARENA_MAX_BYTES = 64 * 1024,	/* of one command: base64 and its text */
	POP3_LOGINS_MAX = 5,			/* failed ones, then the connection ends */
	POP3_SENDFILE_MIN_OCTETS = 64 * 1024,	/* shorter spans are cheaper copied */
	POP3_CHUNK_OCTETS = 256 * 1024,		/* looked at for dots before it is sent */
};

struct pop3_conf {
	uint64_t idle_ms, login_ms, bad_commands_max;
	struct store_env store_env;		/* filled before the chroot */
};

enum pop3_state {		/* a mask, for the table of commands */
	POP3_AUTHORIZATION = 1,
	POP3_TRANSACTION = 2,
	POP3_OVER = 4,		/* the session ends after the reply */
};

struct pop3 {
	struct conn *c;
	struct serve_session *serve;
	const struct pop3_conf *conf;
	struct arena *cmd;			/* of the command being run */
	enum pop3_state state;
	const char *why;			/* how it ended, for the log */
	unsigned n_bad, n_logins;
	char user[AUTH_USER_MAX_OCTETS + 1];	/* of USER, later the canonical one */
	struct maildrop *drop;			/* in TRANSACTION */
	uint64_t n_retr, n_top, n_removed, retr_octets;
};

/* -- replies (reply.c): one line each, never with text from the peer -- */
void reply_ok(struct pop3 *s, const char *text);
/* What the client may not say or may not say now; counts towards bad_commands_max. */
void reply_bad(struct pop3 *s, const char *text);
/* What can't be had. */
void reply_no(struct pop3 *s, const char *text);
/* The words for an error's kind (RFC 2449 s.8, RFC 3206), after it was logged as `event`. */
void reply_err(struct pop3 *s, const char *event, const struct err *e);

/* -- handlers; arg as in struct pop3_line -- */
void cmd_capa(struct pop3 *s, struct str arg);		/* cmd_auth.c */
void cmd_user(struct pop3 *s, struct str arg);
void cmd_pass(struct pop3 *s, struct str arg);
void cmd_auth(struct pop3 *s, struct str arg);
void cmd_stls(struct pop3 *s, struct str arg);
void cmd_stat(struct pop3 *s, struct str arg);		/* cmd_drop.c */
void cmd_list(struct pop3 *s, struct str arg);
void cmd_uidl(struct pop3 *s, struct str arg);
void cmd_dele(struct pop3 *s, struct str arg);
void cmd_noop(struct pop3 *s, struct str arg);
void cmd_rset(struct pop3 *s, struct str arg);
void cmd_quit(struct pop3 *s, struct str arg);
void cmd_retr(struct pop3 *s, struct str arg);		/* cmd_retr.c */
void cmd_top(struct pop3 *s, struct str arg);

/* The message with that number, not marked; else NULL after a refusal was sent. */
const struct message *pop3_message(struct pop3 *s, uint32_t msgno);

/* From the greeting to the end; the connection is closed by serve(). */
void pop3_session(struct serve_session *serve);

#endif
