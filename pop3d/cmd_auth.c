/* SPDX-License-Identifier: ISC */
/* Everything before the maildrop: what is on offer, TLS, and the ways to log in. A password is
 * taken only under TLS or where the site's policy counts the connection as safe. After a login
 * the process has lost the way to authd, so a maildrop that can't be opened ends the session. */
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "../libserve/sandbox.h"
#include "../libserve/sasl.h"
#include "session.h"

static bool plaintext_allowed(const struct pop3 *s)
{
	switch (s->serve->set->plaintext) {
	case PLAINTEXT_ALWAYS:
		return true;
	case PLAINTEXT_LOOPBACK:
		return conn_is_tls(s->c) || conn_peer_is_loopback(s->c);
	default:
		return conn_is_tls(s->c);
	}
}

static bool stls_possible(const struct pop3 *s)
{
	return s->serve->tls != NULL && !conn_is_tls(s->c) && s->state == POP3_AUTHORIZATION;
}

void cmd_capa(struct pop3 *s, struct str arg)
{
	(void)arg;
	conn_printf(s->c, "+OK capabilities follow\r\n"
	    "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n");
	if (plaintext_allowed(s))
		conn_printf(s->c, "USER\r\nSASL %s\r\n", sasl_mechanisms());
	if (stls_possible(s))
		conn_put(s->c, STR("STLS\r\n"));
	conn_put(s->c, STR("IMPLEMENTATION Pennypost\r\n.\r\n"));
}

void cmd_stls(struct pop3 *s, struct str arg)
{
	struct err e;

	(void)arg;
	if (!stls_possible(s)) {
		reply_bad(s, conn_is_tls(s->c) ? "TLS is active already" : "TLS is not available");
		return;
	}
	reply_ok(s, "begin TLS negotiation");
	if (conn_flush(s->c, &e) == ERR_OK &&
	    conn_start_tls(s->c, s->serve->tls, &e) == ERR_OK) {
		s->user[0] = '\0';
		return;
	}
	log_event(LOG_LEVEL_INFO, "pop3.tls.failed", KV_Z("ip", conn_peer_ip(s->c)), KV_ERR(&e));
	s->state = POP3_OVER;
	s->why = "TLS handshake failed";
}

/* The peer's password must not stay in memory that lives on. */
static void wipe(struct str secret)
{
	if (secret.n > 0)
		secret_wipe((char *)(uintptr_t)secret.p, secret.n);
}

static void login_failed(struct pop3 *s, const struct auth_question *q, const struct err *e)
{
	bool temporary = e->kind != ERR_DENIED;

	log_login_failed(str_of(q->peer_ip), q->user, q->mechanism, e->text);
	reply_no(s, temporary ? "[SYS/TEMP] log-in is not possible now, try again later" :
	    "[AUTH] wrong name or password");
	if (++s->n_logins < POP3_LOGINS_MAX)
		return;
	s->state = POP3_OVER;
	s->why = "too many failed log-ins";
}

static void enter_maildrop(struct pop3 *s, const struct auth_question *q,
    const struct auth_grant *g, uint64_t start_us)
{
	unsigned done;
	bool in_use = false;
	struct err e;

	s->state = POP3_OVER;
	memcpy(s->user, g->user, sizeof s->user);
	if (sandbox_login(g->store_fd, &done, &e) != ERR_OK ||
	    maildrop_open(g->store_fd, &s->conf->store_env, &s->drop, &in_use, &e) != ERR_OK) {
		s->why = in_use ? "maildrop in use" : "maildrop failed";
		if (in_use)
			reply_no(s, "[IN-USE] another POP3 session has this maildrop");
		else
			reply_err(s, "pop3.maildrop.failed", &e);
		return;
	}
	s->state = POP3_TRANSACTION;
	log_event(LOG_LEVEL_INFO, "pop3.login", KV_Z("user", s->user), KV_Z("ip", q->peer_ip),
	    KV_Z("method", q->mechanism), KV_Z("tls", conn_tls_info(s->c)),
	    KV_U("us", clock_mono_us() - start_us));
	reply_ok(s, "maildrop ready");
}

static void login(struct pop3 *s, const char *mechanism, struct str user, struct str password,
    struct str authzid)
{
	struct auth_question q = {
		.service = "pop3", .peer_ip = conn_peer_ip(s->c), .mechanism = mechanism,
		.user = user, .password = password, .authzid = authzid, .tls = conn_is_tls(s->c),
	};
	uint64_t start_us = clock_mono_us();
	struct auth_grant g = { .store_fd = -1 };
	struct err e;

	if (auth_login("auth.sock", &q, true, &g, &e) != ERR_OK) {
		login_failed(s, &q, &e);
		return;
	}
	enter_maildrop(s, &q, &g, start_us);
	if (g.store_fd >= 0)
		close(g.store_fd);
}

void cmd_user(struct pop3 *s, struct str arg)
{
	s->user[0] = '\0';
	if (!plaintext_allowed(s)) {
		reply_bad(s, "use STLS first");
		return;
	}
	if (arg.n > AUTH_USER_MAX_OCTETS) {
		reply_bad(s, "name too long");
		return;
	}
	memcpy(s->user, arg.p, arg.n);
	s->user[arg.n] = '\0';
	reply_ok(s, "send PASS");	/* known or not: RFC 1939 s.13 */
}

void cmd_pass(struct pop3 *s, struct str arg)
{
	char user[sizeof s->user];

	if (!plaintext_allowed(s)) {
		reply_bad(s, "use STLS first");
		return;
	}
	if (s->user[0] == '\0') {
		reply_bad(s, "send USER first");
		return;
	}
	memcpy(user, s->user, sizeof user);
	s->user[0] = '\0';
	login(s, "USER", str_of(user), arg, STR(""));
	wipe(arg);
}

/* Reads the client's answer to a challenge; false after a refusal or at the connection's end. */
static bool auth_response(struct pop3 *s, struct str challenge, struct str *out)
{
	struct err e;

	conn_printf(s->c, "+ ");
	conn_put(s->c, challenge);
	conn_put(s->c, STR("\r\n"));
	if (conn_flush(s->c, &e) != ERR_OK)
		goto over;
	switch (conn_read_line(s->c, POP3_SASL_LINE_MAX_OCTETS, out, NULL, &e)) {
	case ERR_OK:
		break;
	case ERR_LIMIT:
		reply_bad(s, "response too long");
		return false;
	default:
		goto over;
	}
	if (!str_eq(*out, STR("*")))
		return true;
	reply_no(s, "log-in cancelled");
	return false;
over:
	s->state = POP3_OVER;
	s->why = "connection lost in AUTH";
	return false;
}

static void auth_exchange(struct pop3 *s, struct sasl *sasl, struct str response, bool initial)
{
	struct str challenge = { NULL, 0 };

	for (;;) {
		switch (sasl_step(sasl, s->cmd, response, initial, &challenge)) {
		case SASL_DONE:
			login(s, sasl_name(sasl), sasl->user, sasl->password, sasl->authzid);
			wipe(sasl->password);
			return;
		case SASL_BAD:
			reply_bad(s, "malformed response");
			return;
		case SASL_CHALLENGE:
			break;
		}
		if (!auth_response(s, challenge, &response))
			return;
		initial = false;
	}
}

void cmd_auth(struct pop3 *s, struct str arg)
{
	struct str rest = arg, mechanism, response = { NULL, 0 };
	struct sasl sasl;

	if (!plaintext_allowed(s)) {
		reply_bad(s, "use STLS first");
		return;
	}
	if (!str_split(&rest, ' ', &mechanism) || sasl_start(&sasl, mechanism) != ERR_OK) {
		reply_bad(s, "unknown mechanism");
		return;
	}
	/* The line's octets go with the next input call; the state machine keeps what it needs. */
	if (rest.p != NULL)
		response = str_dup(s->cmd, rest);
	auth_exchange(s, &sasl, response, rest.p != NULL);
}
