/* SPDX-License-Identifier: ISC */
/* One IMAP session, and what its command families share. */
#ifndef IMAPD_SESSION_H
#define IMAPD_SESSION_H

#include "../libbase/arena.h"
#include "../libserve/serve.h"
#include "../libstore/mailbox.h"
#include "../libstore/store.h"
#include "seqset.h"
#include "token.h"

enum {
	IMAP_ARENA_MAX_BYTES = 32 << 20,	/* of one command: UID lists of a large mailbox, LIST rows */
	IMAP_LITERAL_MINUS_OCTETS = 4096,	/* RFC 7888 s.5: LITERAL-, before login */
	IMAP_SWALLOW_MAX_OCTETS = 65536,	/* of a refused command's unasked literals, before BYE */
	IMAP_LITERAL_WAIT_MS = 60000,		/* a literal may pause this long (and must keep conn.h's rate) */
};

struct imapd_conf {
	uint64_t login_timeout_ms, idle_timeout_ms, command_timeout_ms, idle_notify_ms;
	uint64_t max_command_bytes, max_command_preauth_bytes, message_size_limit_bytes;
	uint64_t bad_commands_max, failed_logins_max;
	bool special_use;
	struct store_env store_env;	/* filled before the fork */
};

enum imap_state {
	IMAP_NOT_AUTHENTICATED = 1, IMAP_AUTHENTICATED = 2, IMAP_SELECTED = 4, IMAP_LOGOUT = 8
};

struct imap_session;

enum imap_cmd_flags {
	CMD_NO_EXPUNGE = 1,	/* uses message numbers: RFC 3501 s.7.4.1 forbids EXPUNGE during it */
	CMD_UID = 2,		/* numbers are UIDs, and every FETCH answer tells the UID */
	CMD_STREAMS = 4,	/* its last literal is not gathered but left on the connection */
	CMD_SECRET = 8,		/* its text is wiped after it */
	CMD_METADATA = 16,	/* a literal that is too large is refused in the words of RFC 5464 s.4.3 */
};

struct imap_cmd {
	const char *name;
	unsigned states;		/* mask of enum imap_state */
	unsigned flags;
	void (*run)(struct imap_session *s, struct cursor *args);
};

struct imap_session {
	struct serve_session *serve;
	struct conn *c;
	const struct imapd_conf *conf;
	struct arena *a;		/* one command */

	enum imap_state state;
	struct store *store;
	char user[256];
	unsigned n_failed_logins;

	/* the command in progress */
	struct buf text;		/* gathered: line and literals */
	const struct imap_cmd *cmd;
	struct str tag;			/* view of text */
	struct literal stream;		/* CMD_STREAMS: the literal that waits on the connection */
	bool has_stream;
	uint64_t n_commands, n_bad;

	/* the selected mailbox and what the client was told of it */
	struct mailbox *mb;
	bool read_only;
	bool rescan;			/* dirty marks may wait anywhere in the view */
	uint64_t seen_count;		/* of store_change_count, just before a change of ours */
	uint32_t told_exists, told_recent;
	size_t told_keywords;
	bool condstore;			/* RFC 7162 s.3.1: MODSEQ in unsolicited FETCHes from now on */

	/* for the log */
	const char *why_ended;
	uint64_t n_fetched, fetched_octets, n_appended;
};

void imap_session(struct serve_session *serve);

/* -- gather.c -- */
enum gather_result { GATHER_COMMAND, GATHER_REFUSED, GATHER_END };
/* Reads one command with its literals into s->text and finds its table entry. GATHER_REFUSED:
 * has answered; GATHER_END: the session is over (s->why_ended is set, a BYE is written where one
 * can be). Never holds more than the configured octets, and says "+ OK" only to a literal that
 * fits. */
enum gather_result gather_command(struct imap_session *s, struct cursor *out_args);
/* Reads and drops n octets. False when the connection ended. */
bool gather_swallow(struct imap_session *s, uint64_t n);
/* May passwords be sent now: under TLS, or where [auth] plaintext allows it? */
bool gather_may_log_in(const struct imap_session *s);

/* -- command.c -- */
const struct imap_cmd *command_find(struct str name);

/* -- reply.c -- */
/* Tagged answers. ok tells first what changed in the mailbox. code may be NULL ("TRYCREATE").
 * bad counts towards bad_commands_max. */
void reply_ok(struct imap_session *s, const char *code, const char *text);
void reply_no(struct imap_session *s, const char *code, const char *text);
void reply_bad(struct imap_session *s, const char *text);
/* Tagged NO with the response code of RFC 5530 for the error's kind; what is our fault is
 * logged. */
void reply_err(struct imap_session *s, const struct err *e, const char *what);
void reply_untagged(struct imap_session *s, const char *line);
void reply_bye(struct imap_session *s, const char *code, const char *text);
/* One word for the log, and the code for the wire, of a kind. */
const char *reply_code(enum err_kind kind);
/* A value as astring, nstring: atom or quoted where possible, else a literal. */
void put_astring(struct buf *out, struct str v);
void put_string(struct buf *out, struct str v);
/* A mailbox name (UTF-8) in modified UTF-7. */
void put_mailbox(struct buf *out, struct str utf8);
/* "COPYUID 1 2:3 7:8" and the like: numbers as a set, sent piece by piece. */
void put_set(struct imap_session *s, const uint32_t *v, size_t n);
/* Reads a mailbox argument into UTF-8 (in the arena). False: has answered (BAD for syntax, NO
 * for a name that can't be). */
bool arg_mailbox(struct imap_session *s, struct cursor *args, struct str *out);
/* The same for a name that was read already; answers nothing. */
bool arg_name(struct imap_session *s, struct str sent, struct str *out);
/* False: has answered BAD. */
bool arg_end(struct imap_session *s, const struct cursor *args);

/* -- sync.c -- */
/* Loads the messages of the selected mailbox. False: has answered. */
bool sync_load(struct imap_session *s);
/* Around a change of our own. Other sessions' changes that come in between are noticed because
 * then more than our one record became durable; without this every STORE would look through the
 * whole view. False: has answered. */
bool sync_before_change(struct imap_session *s);
void sync_after_change(struct imap_session *s);
/* sync_before_change for messages that are loaded; answers nothing. */
enum err_kind sync_look(struct imap_session *s, struct err *e) CHECKED;
/* Tells what changed since the last time: EXPUNGE (if the command allows it), EXISTS, RECENT,
 * FLAGS, FETCH. */
void sync_tell(struct imap_session *s, bool may_expunge);
/* A CONDSTORE enabling command came (RFC 7162 s.3.1): from now on MODSEQ is told; HIGHESTMODSEQ
 * at once. */
void sync_enable_condstore(struct imap_session *s);
/* "* FLAGS" and PERMANENTFLAGS. */
void sync_put_flags(struct imap_session *s);
/* "* n FETCH (…": opens, puts what is dirty or asked for, closes. */
void sync_put_fetch(struct imap_session *s, size_t ix, bool flags);
/* Ends the selected state. */
void sync_close(struct imap_session *s);
/* Turns a parsed set of message numbers or UIDs (cmd's CMD_UID) into positions of the view, as
 * half-open ranges lo <= ix < hi, ascending. With strict, numbers past the end answer BAD
 * (false). */
bool sync_resolve(struct imap_session *s, struct seqset *set, bool uid, bool strict);
/* The UIDs of the messages in those ranges that are not gone and have all of with_flags;
 * *out_gone (may be NULL): some were gone. False: has answered. */
bool sync_uids(struct imap_session *s, const struct seqset *ranges, uint32_t with_flags, uint32_t **out,
    size_t *out_n, bool *out_gone);
/* Expunges what has \Deleted in those ranges, or everywhere (NULL). False: has answered. */
bool sync_expunge(struct imap_session *s, const struct seqset *ranges);

/* -- cmd_*.c -- */
void put_capabilities(struct imap_session *s);
void cmd_capability(struct imap_session *s, struct cursor *args);
void cmd_noop(struct imap_session *s, struct cursor *args);
void cmd_logout(struct imap_session *s, struct cursor *args);
void cmd_id(struct imap_session *s, struct cursor *args);
void cmd_enable(struct imap_session *s, struct cursor *args);
void cmd_starttls(struct imap_session *s, struct cursor *args);
void cmd_login(struct imap_session *s, struct cursor *args);
void cmd_authenticate(struct imap_session *s, struct cursor *args);
void cmd_select(struct imap_session *s, struct cursor *args);
void cmd_examine(struct imap_session *s, struct cursor *args);
void cmd_close(struct imap_session *s, struct cursor *args);
void cmd_unselect(struct imap_session *s, struct cursor *args);
void cmd_create(struct imap_session *s, struct cursor *args);
void cmd_delete(struct imap_session *s, struct cursor *args);
void cmd_rename(struct imap_session *s, struct cursor *args);
void cmd_subscribe(struct imap_session *s, struct cursor *args);
void cmd_unsubscribe(struct imap_session *s, struct cursor *args);
void cmd_list(struct imap_session *s, struct cursor *args);
void cmd_lsub(struct imap_session *s, struct cursor *args);
void cmd_namespace(struct imap_session *s, struct cursor *args);
void cmd_status(struct imap_session *s, struct cursor *args);
void cmd_getquota(struct imap_session *s, struct cursor *args);
void cmd_getquotaroot(struct imap_session *s, struct cursor *args);
void cmd_setquota(struct imap_session *s, struct cursor *args);
void cmd_getmetadata(struct imap_session *s, struct cursor *args);
void cmd_setmetadata(struct imap_session *s, struct cursor *args);
/* The longest value that SETMETADATA takes. */
size_t metadata_max_octets(const struct imap_session *s);
void cmd_append(struct imap_session *s, struct cursor *args);
void cmd_idle(struct imap_session *s, struct cursor *args);
void cmd_fetch(struct imap_session *s, struct cursor *args);
void cmd_store(struct imap_session *s, struct cursor *args);
void cmd_search(struct imap_session *s, struct cursor *args);
void cmd_sort(struct imap_session *s, struct cursor *args);
void cmd_thread(struct imap_session *s, struct cursor *args);
void cmd_copy(struct imap_session *s, struct cursor *args);
void cmd_move(struct imap_session *s, struct cursor *args);
void cmd_expunge(struct imap_session *s, struct cursor *args);
void cmd_uid_expunge(struct imap_session *s, struct cursor *args);

/* Is the text of a command so far ("tag APPEND box (flags) date") complete up to its message
 * literal? */
bool append_is_at_message(struct cursor args, struct arena *a);

#endif
