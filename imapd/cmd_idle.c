/* SPDX-License-Identifier: ISC */
/* IDLE (RFC 2177): sleeps on the store's own wake-up, so that it costs nothing while nothing
 * happens and a change is told at once. The line told now and then shows both sides that the
 * other is still there. */
#include "../libbase/log.h"
#include "session.h"

enum { IDLE_LINE_MAX_OCTETS = 1024 };

/* The client's line ends IDLE: "DONE", or something that it should not have sent. */
static void end_idle(struct imap_session *s)
{
	struct str line;
	struct err e;

	conn_deadline(s->c, IMAP_LITERAL_WAIT_MS);
	if (conn_read_line(s->c, IDLE_LINE_MAX_OCTETS, &line, NULL, &e) == ERR_OK) {
		if (str_eq_nocase(line, STR("DONE")))
			reply_ok(s, NULL, "Idle completed");
		else
			reply_bad(s, "Expected DONE");
		return;
	}
	if (e.kind == ERR_LIMIT) {
		reply_bad(s, "Expected DONE");
		return;
	}
	s->why_ended = e.kind == ERR_TIMEOUT ? "timed out" : "connection closed";
	s->state = IMAP_LOGOUT;
}

/* Tells what is new and sends it. False: the connection is gone. */
static bool tell(struct imap_session *s)
{
	struct err e;

	conn_deadline(s->c, s->conf->command_timeout_ms);
	sync_tell(s, true);
	if (conn_flush(s->c, &e) == ERR_OK)
		return true;
	s->why_ended = "connection closed";
	s->state = IMAP_LOGOUT;
	return false;
}

static int start_watch(struct imap_session *s)
{
	int fd = -1;
	struct err e;

	if (s->mb != NULL && store_watch(s->store, &fd, &e) != ERR_OK) {
		log_event(LOG_LEVEL_WARN, "imap.watch.failed", KV_Z("user", s->user), KV_ERR(&e));
		return -1;
	}
	return fd;
}

void cmd_idle(struct imap_session *s, struct cursor *args)
{
	int fd, what;

	if (!arg_end(s, args))
		return;
	/* The watch starts before the look, so that no change falls between them. */
	fd = start_watch(s);
	conn_put(s->c, STR("+ idling\r\n"));
	while (tell(s)) {
		what = conn_wait(s->c, fd, s->conf->idle_notify_ms);
		if ((what & CONN_WAIT_INPUT) != 0) {
			end_idle(s);
			return;
		}
		if ((what & CONN_WAIT_DRAIN) != 0) {
			s->why_ended = "drained";
			reply_bye(s, "UNAVAILABLE", "Server is shutting down");
			return;
		}
		if ((what & CONN_WAIT_OTHER) != 0)
			store_watch_drain(s->store);
		if (what == 0)
			reply_untagged(s, "OK Still here");
	}
}
