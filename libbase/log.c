/* SPDX-License-Identifier: ISC */
/* Owns the process's log destination: one descriptor, or syslog(3). Invariant: a line is put
 * together in a bounded buffer and leaves in one write, so lines of several processes never mix. The state
 * is the process's, not a session's, but for the session id, which log_session sets. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "log.h"

enum {
	LOG_LINE_MAX_OCTETS = 4096,	/* PIPE_BUF: up to here a write to a pipe is atomic */
	LOG_VALUE_MAX_OCTETS = 512,	/* of one value before quoting: a peer can't fill the line */
	LOG_SID_OCTETS = 32,
};

static struct {
	const char *ident;
	enum log_level least;
	int fd;
	bool syslog;
	char sid[LOG_SID_OCTETS];
} out = { "pennypost", LOG_LEVEL_DEBUG, STDERR_FILENO, false, "" };

static const struct {
	const char *word;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERR] = { "err", LOG_ERR },
	[LOG_LEVEL_WARN] = { "warn", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

static bool is_plain(char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c) ||
	    (c != '\0' && strchr("._:@/+-", c) != NULL);
}

void log_quote(struct buf *b, struct str v)
{
	size_t i = 0;

	while (i < v.n && is_plain(v.p[i]))
		i++;
	if (i == v.n && v.n > 0) {
		buf_put(b, v);
		return;
	}
	buf_putc(b, '"');
	for (i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if (c < 0x20 || c > 0x7e || strchr("\"\\=", c) != NULL)
			buf_printf(b, "\\x%02X", c);
		else
			buf_putc(b, (char)c);
	}
	buf_putc(b, '"');
}

static void put_stamp(struct buf *b)
{
	int64_t ms = clock_real_ms();
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	/* UTC, because a chroot has no time zone files. */
	gmtime_r(&t, &tm);
	buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s[%ld]: ", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000),
	    out.ident, (long)getpid());
}

static void write_line(enum log_level level, struct buf *b, size_t text_at)
{
	int saved = errno;
	ssize_t n;

	if (out.syslog) {
		syslog(levels[level].priority, "%.*s", (int)(b->n - text_at), b->p + text_at);
	} else {
		b->max++;
		b->full = false;
		buf_putc(b, '\n');
		do
			n = write(out.fd, b->p, b->n);
		while (n < 0 && errno == EINTR);
	}
	errno = saved;
}

static void put_kv(struct buf *b, const struct kv *kv)
{
	buf_printf(b, " %s=", kv->key);
	switch (kv->type) {
	case KV_IS_STR:
		log_quote(b, str_head(kv->s, LOG_VALUE_MAX_OCTETS));
		break;
	case KV_IS_U64:
		buf_put_u64(b, kv->u);
		break;
	case KV_IS_I64:
		buf_printf(b, "%lld", (long long)(int64_t)kv->u);
		break;
	}
}

void log_event_array(enum log_level level, const char *name, const struct kv *kv)
{
	struct buf b = BUF_INIT(LOG_LINE_MAX_OCTETS - 1);
	size_t text_at;

	if (level > out.least)
		return;
	if (!out.syslog)
		put_stamp(&b);
	text_at = b.n;
	buf_printf(&b, "%s %s", levels[level].word, name);
	for (; kv->key != NULL; kv++)
		put_kv(&b, kv);
	if (out.sid[0] != '\0')
		buf_printf(&b, " sid=%s", out.sid);
	if (b.p != NULL)
		write_line(level, &b, text_at);
	buf_free(&b);
}

enum err_kind log_open(const char *ident, const char *where, enum log_level least, struct err *e)
{
	bool to_syslog = strcmp(where, "syslog") == 0;
	int fd = STDERR_FILENO;

	if (to_syslog) {
		/* NDELAY: the socket must be open before a chroot hides /dev/log. */
		openlog(ident, LOG_PID | LOG_NDELAY, LOG_MAIL);
	} else if (where[0] == '/') {
		fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
		if (fd < 0)
			return err_sys(e, errno, "log %s", where);
	} else if (strcmp(where, "stderr") != 0) {
		return err_set(e, ERR_SYNTAX, 0, "log destination \"%s\"", where);
	}
	if (out.syslog && !to_syslog)
		closelog();
	else if (!out.syslog && out.fd > STDERR_FILENO)
		close(out.fd);
	out.ident = ident;
	out.least = least;
	out.fd = fd;
	out.syslog = to_syslog;
	return ERR_OK;
}

void log_session(const char *sid)
{
	snprintf(out.sid, sizeof out.sid, "%s", sid);
}

/* For a line whose fields end at commas and whose address stands in brackets: whatever could end a
 * field early is escaped, so that no user name carries an address of its own (a ban of someone
 * else). */
static void put_user(struct buf *b, struct str user)
{
	for (size_t i = 0; i < user.n; i++) {
		unsigned char c = (unsigned char)user.p[i];

		if (is_plain((char)c))
			buf_putc(b, (char)c);
		else
			buf_printf(b, "\\x%02X", c);
	}
}

void log_login_failed(struct str ip, struct str user, const char *method, const char *reason)
{
	struct buf b = BUF_INIT(LOG_LINE_MAX_OCTETS - 1);
	size_t text_at;

	if (!out.syslog)
		put_stamp(&b);
	text_at = b.n;
	buf_put(&b, STR("LOGIN FAILED, ip=["));
	put_user(&b, str_head(ip, LOG_VALUE_MAX_OCTETS));
	buf_put(&b, STR("], user="));
	put_user(&b, str_head(user, LOG_VALUE_MAX_OCTETS));
	buf_printf(&b, ", method=%s, reason=%s, sid=%s", method, reason, out.sid);
	if (b.p != NULL)
		write_line(LOG_LEVEL_WARN, &b, text_at);
	buf_free(&b);
}
