/* SPDX-License-Identifier: ISC */
/* One event = one line: a dotted name, then key=value from a typed array, with the session id.
 * Values are quoted by one function: octets outside 0x20..0x7e, and any of "\=, appear as \xHH inside
 * double quotes when a value has anything but [A-Za-z0-9._:@/+-] in it; so no peer can forge a line or a
 * field, not even for a reader that knows nothing of quotes. Programs log; libraries do not. A line is one
 * write(2). */
#ifndef LOG_H
#define LOG_H

#include "err.h"
#include "str.h"

enum log_level { LOG_LEVEL_ERR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct kv {
	const char *key;		/* NULL ends the array */
	enum { KV_IS_STR, KV_IS_U64, KV_IS_I64 } type;
	struct str s;
	uint64_t u;
};

#define KV_S(k, v) ((struct kv){ (k), KV_IS_STR, (v), 0 })		/* v: struct str */
#define KV_Z(k, v) ((struct kv){ (k), KV_IS_STR, str_of(v), 0 })	/* v: char * */
#define KV_U(k, v) ((struct kv){ (k), KV_IS_U64, { 0, 0 }, (uint64_t)(v) })
#define KV_I(k, v) ((struct kv){ (k), KV_IS_I64, { 0, 0 }, (uint64_t)(int64_t)(v) })
#define KV_ERR(e) KV_Z("why", (e)->text)

/* log_event(LOG_LEVEL_INFO, "pop3.login.ok", KV_S("user", user), KV_U("ms", ms)); */
#define log_event(level, name, ...) \
	log_event_array((level), (name), (const struct kv[]){ __VA_ARGS__ __VA_OPT__(,) { 0 } })
void log_event_array(enum log_level level, const char *name, const struct kv *kv);

/* Where lines go: "stderr", "syslog" (facility mail) or an absolute path (opened O_APPEND, created
 * 0640). Keeps the descriptor, so that it works after a chroot; call again to reopen. ident is the
 * program's name and must outlive the log. Before this call lines go to standard error.
 * Errors: those of err_sys. On failure the earlier destination stays. */
enum err_kind log_open(const char *ident, const char *where, enum log_level least, struct err *e);

/* The session id put on every later line of this process; "" for none. Copied, at most 31 octets. */
void log_session(const char *sid);

/* The line that fail2ban's stock courier filters match, with ip first against forged user names:
 * "LOGIN FAILED, ip=[A], user=U, method=M, reason=R, sid=S". user is escaped so that it holds no comma,
 * bracket, space or control octet. */
void log_login_failed(struct str ip, struct str user, const char *method, const char *reason);

/* Appends v as a quoted value (the function described above) to out. For tools and tests. */
struct buf;
void log_quote(struct buf *out, struct str v);

#endif
