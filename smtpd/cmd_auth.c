/* SPDX-License-Identifier: ISC */
/* AUTH (RFC 4954) on the submission listeners. authd decides and makes a refusal slow; here is only
 * the framing. A process that a user logged into ends with the session. */
#include "../libbase/log.h"
#include "../libserve/sasl.h"
#include "session.h"

/* The peer's password must not stay in memory that lives on. */
static void wipe(struct str secret)
{
	if (secret.n > 0)
		secret_wipe((char *)(uintptr_t)secret.p, secret.n);
}

static void login_failed(struct smtp *s, const struct auth_question *q, const struct err *e)
{
	log_login_failed(str_of(q->peer_ip), q->user, q->mechanism, e->text);
	if (e->kind == ERR_DENIED)
		smtp_reply(s, 535, "5.7.8", "Wrong name or password");
	else
		smtp_reply(s, 454, "4.7.0", "Authentication is not possible now, try again later");
	if (++s->n_auth_tries >= s->conf->auth_tries_max)
		smtp_farewell(s, "4.7.0", "Too many failed authentications");
}

static void login(struct smtp *s, const struct sasl *sasl)
{
	struct auth_question q = {
		.service = "smtp", .peer_ip = conn_peer_ip(s->c), .mechanism = sasl_name(sasl),
		.user = sasl->user, .password = sasl->password, .authzid = sasl->authzid,
		.tls = conn_is_tls(s->c),
	};
	struct auth_grant g = { .store_fd = -1 };
	struct err e;

	if (auth_login("auth.sock", &q, false, &g, &e) != ERR_OK) {
		login_failed(s, &q, &e);
		return;
	}
	memcpy(s->user, g.user, sizeof s->user);
	serve_session_is_last();
	log_event(LOG_LEVEL_INFO, "smtp.login", KV_Z("user", s->user), KV_Z("ip", q.peer_ip),
	    KV_Z("method", q.mechanism), KV_Z("tls", conn_tls_info(s->c)));
	smtp_reply(s, 235, "2.7.0", "Authentication succeeded");
}

/* Sends a challenge and reads the answer; false after a refusal or at the connection's end. */
static bool ask_client(struct smtp *s, struct str challenge, struct str *out)
{
	struct err e;

	conn_put(s->c, STR("334 "));
	conn_put(s->c, challenge);
	conn_put(s->c, STR("\r\n"));
	if (conn_flush(s->c, &e) != ERR_OK) {
		s->over = true;
		return false;
	}
	switch (conn_read_line(s->c, SMTP_AUTH_LINE_MAX_OCTETS, out, NULL, &e)) {
	case ERR_OK:
		break;
	case ERR_LIMIT:
		smtp_reply(s, 500, "5.5.6", "Authentication exchange line is too long");
		return false;
	default:
		s->over = true;
		return false;
	}
	if (!str_eq(*out, STR("*")))
		return true;
	smtp_reply(s, 501, "5.7.0", "Authentication cancelled");
	return false;
}

void cmd_auth(struct smtp *s, struct str arg)
{
	struct str rest = arg, mechanism, response = { NULL, 0 }, challenge;
	struct sasl sasl;
	bool initial;

	if (!s->submission || !s->esmtp || s->user[0] != '\0') {
		smtp_reply(s, 503, "5.5.1", "AUTH is not possible here");
		return;
	}
	if (!smtp_login_possible(s)) {
		smtp_reply(s, 538, "5.7.11", "Encryption required, say STARTTLS first");
		return;
	}
	if (!str_split(&rest, ' ', &mechanism) || sasl_start(&sasl, mechanism) != ERR_OK) {
		smtp_reply(s, 504, "5.5.4", "Unknown authentication mechanism");
		return;
	}
	if (rest.p != NULL)	/* the line's octets go with the next input call */
		response = str_dup(s->cmd, rest);
	initial = rest.p != NULL;
	for (;;) {
		switch (sasl_step(&sasl, s->cmd, response, initial, &challenge)) {
		case SASL_DONE:
			login(s, &sasl);
			wipe(sasl.password);
			wipe(response);
			return;
		case SASL_BAD:
			smtp_reply(s, 501, "5.5.2", "Malformed authentication response");
			return;
		case SASL_CHALLENGE:
			break;
		}
		if (!ask_client(s, challenge, &response))
			return;
		initial = false;
	}
}
