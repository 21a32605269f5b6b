/* SPDX-License-Identifier: ISC */
/* The loop of a session: gather, run, and let the connection send when it has to wait for input.
 * Invariant: at the arena's reset nothing of the last command is referred to any more. */
#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "../libstore/search.h"
#include "session.h"

static void greet(struct imap_session *s)
{
	conn_put(s->c, STR("* OK [CAPABILITY "));
	put_capabilities(s);
	conn_printf(s->c, "] %s IMAP4rev1 ready\r\n", s->serve->set->hostname);
}

/* Before login the time runs from the connection's start, so that a stranger can't hold a
 * process by talking. */
static void set_deadline(struct imap_session *s, uint64_t login_end_ms)
{
	uint64_t now = clock_mono_ms();

	if (s->state != IMAP_NOT_AUTHENTICATED)
		conn_deadline(s->c, s->conf->idle_timeout_ms);
	else
		conn_deadline(s->c, login_end_ms > now ? login_end_ms - now : 0);
}

static void run_command(struct imap_session *s, struct cursor *args)
{
	unsigned flags = s->cmd->flags;

	s->n_commands++;
	conn_deadline(s->c, s->conf->command_timeout_ms);
	s->cmd->run(s, args);
	if ((flags & CMD_SECRET) != 0)
		buf_wipe(&s->text);
	s->cmd = NULL;
}

static void run(struct imap_session *s)
{
	uint64_t login_end_ms = clock_mono_ms() + s->conf->login_timeout_ms;
	struct cursor args;
	struct err e;

	greet(s);
	while (s->state != IMAP_LOGOUT) {
		arena_reset(s->a);
		set_deadline(s, login_end_ms);
		switch (gather_command(s, &args)) {
		case GATHER_COMMAND:
			run_command(s, &args);
			break;
		case GATHER_REFUSED:
			break;
		case GATHER_END:
			return;
		}
		if (s->n_bad >= s->conf->bad_commands_max && s->state != IMAP_LOGOUT) {
			s->why_ended = "too many bad commands";
			reply_bye(s, NULL, "Too many bad commands");
		}
	}
	conn_deadline(s->c, s->conf->command_timeout_ms);
	if (conn_flush(s->c, &e) != ERR_OK)
		s->why_ended = "connection failed";
}

static void leave_store(void *arg)
{
	struct store *store = arg;

	store_tend(store);
	search_tend(store);
	store_close(&store);
}

void imap_session(struct serve_session *serve)
{
	const struct imapd_conf *conf = serve->conf;
	struct imap_session s = {
		.serve = serve, .c = serve->c, .conf = conf,
		.state = IMAP_NOT_AUTHENTICATED, .why_ended = "logout",
	};
	uint64_t start_ms = clock_mono_ms();

	s.a = arena_new(IMAP_ARENA_MAX_BYTES);
	buf_init(&s.text, conf->max_command_bytes > conf->max_command_preauth_bytes ?
	    conf->max_command_bytes : conf->max_command_preauth_bytes);
	run(&s);
	sync_close(&s);
	if (s.store != NULL) {
		serve->afterwards = leave_store;
		serve->afterwards_arg = s.store;
	}
	log_event(LOG_LEVEL_INFO, "imap.end", KV_Z("user", s.user), KV_Z("ip", conn_peer_ip(s.c)),
	    KV_Z("how", s.why_ended), KV_U("commands", s.n_commands), KV_U("fetched", s.n_fetched),
	    KV_U("octets", s.fetched_octets), KV_U("appended", s.n_appended),
	    KV_U("ms", clock_mono_ms() - start_ms));
	buf_wipe(&s.text);
	arena_free(&s.a);
}
