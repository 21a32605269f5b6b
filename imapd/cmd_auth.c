/* SPDX-License-Identifier: ISC */
/* LOGIN and AUTHENTICATE. The password is authd's to check; what comes back is the key to one
 * store, and from then on this process can reach nothing else. That passwords may be sent at all
 * was checked before the command's literals were taken (gather.c). */
#include <unistd.h>

#include "../libbase/log.h"
#include "../libserve/authclient.h"
#include "../libserve/sandbox.h"
#include "../libserve/sasl.h"
#include "session.h"

enum { SASL_LINE_MAX_OCTETS = 8192 };

static void refused(struct imap_session *s, const struct auth_question *q, const struct err *e)
{
	if (e->kind == ERR_DENIED || e->kind == ERR_LIMIT) {
		log_login_failed(str_of(conn_peer_ip(s->c)), q->user, q->mechanism, e->text);
		s->n_failed_logins++;
	} else {
		log_event(LOG_LEVEL_WARN, "imap.login.unavailable", KV_S("user", q->user), KV_ERR(e));
	}
	reply_no(s, e->kind == ERR_DENIED ? "AUTHENTICATIONFAILED" : "UNAVAILABLE",
	    e->kind == ERR_DENIED ? "Wrong user name or password" : "Cannot log in now");
	if (s->n_failed_logins < s->conf->failed_logins_max)
		return;
	s->why_ended = "too many failed logins";
	reply_bye(s, NULL, "Too many failed logins");
}

/* The sandbox has closed behind us, so that a store that can't be opened ends the session. */
static bool enter_store(struct imap_session *s, struct auth_grant *grant)
{
	unsigned done;
	struct err e;
	bool ok;

	ok = sandbox_login(grant->store_fd, &done, &e) == ERR_OK &&
	    store_open(grant->store_fd, &s->conf->store_env, &s->store, &e) == ERR_OK;
	close(grant->store_fd);
	if (ok)
		return true;
	reply_err(s, &e, "open store");
	s->why_ended = "store failed";
	reply_bye(s, "UNAVAILABLE", "The mail store cannot be opened");
	return false;
}

static void log_in(struct imap_session *s, struct auth_question *q)
{
	struct auth_grant grant;
	struct err e;

	q->service = "imap";
	q->peer_ip = conn_peer_ip(s->c);
	q->tls = conn_is_tls(s->c);
	if (auth_login("auth.sock", q, true, &grant, &e) != ERR_OK) {
		refused(s, q, &e);
		return;
	}
	memcpy(s->user, grant.user, sizeof(s->user));
	if (!enter_store(s, &grant))
		return;
	log_event(LOG_LEVEL_INFO, "imap.login.ok", KV_Z("user", s->user), KV_Z("ip", q->peer_ip),
	    KV_Z("method", q->mechanism), KV_Z("tls", conn_tls_info(s->c)));
	s->state = IMAP_AUTHENTICATED;
	s->n_bad = 0;
	conn_put(s->c, s->tag);
	conn_put(s->c, STR(" OK [CAPABILITY "));
	put_capabilities(s);
	conn_put(s->c, STR("] Logged in\r\n"));
}

void cmd_login(struct imap_session *s, struct cursor *args)
{
	struct auth_question q = { .mechanism = "LOGIN" };

	if (!tok_sp(args) || !tok_astring(args, s->a, &q.user) || !tok_sp(args) ||
	    !tok_astring(args, s->a, &q.password) || !tok_end(args)) {
		reply_bad(s, "Syntax error in LOGIN");
		return;
	}
	if (q.user.n == 0 || q.user.n > AUTH_USER_MAX_OCTETS ||
	    q.password.n > AUTH_PASSWORD_MAX_OCTETS) {
		refused(s, &q, &(struct err){ .kind = ERR_DENIED, .text = "name or password too long" });
		return;
	}
	log_in(s, &q);
}

/* Sends a challenge and reads the answer into the arena. False: has answered, or the session is
 * over. */
static bool converse(struct imap_session *s, struct str challenge, struct str *out)
{
	struct str line;
	struct err e;

	conn_put(s->c, STR("+ "));
	conn_put(s->c, challenge);
	conn_put(s->c, STR("\r\n"));
	if (conn_read_line(s->c, SASL_LINE_MAX_OCTETS, &line, NULL, &e) != ERR_OK) {
		if (e.kind == ERR_LIMIT) {
			reply_bad(s, "Answer too long");
			return false;
		}
		s->why_ended = e.kind == ERR_TIMEOUT ? "timed out" : "connection closed";
		reply_bye(s, NULL, "Authentication was not completed");
		return false;
	}
	if (str_eq(line, STR("*"))) {
		reply_bad(s, "Authentication cancelled");
		return false;
	}
	*out = str_dup(s->a, line);
	if (out->p == NULL)
		reply_bad(s, "Answer too long");
	return out->p != NULL;
}

void cmd_authenticate(struct imap_session *s, struct cursor *args)
{
	struct str name, response = str_n(NULL, 0), challenge;
	struct sasl sasl;
	enum sasl_next next;
	bool initial;

	if (!tok_sp(args) || !tok_atom(args, &name)) {
		reply_bad(s, "Mechanism missing");
		return;
	}
	/* SASL-IR (RFC 4959): the rest of the line is the first response. */
	initial = tok_sp(args);
	if (initial)
		response = str_n(args->p, (size_t)(args->end - args->p));
	else if (!arg_end(s, args))
		return;
	if (sasl_start(&sasl, name) != ERR_OK) {
		reply_no(s, "CANNOT", "Unknown mechanism");
		return;
	}
	while ((next = sasl_step(&sasl, s->a, response, initial, &challenge)) == SASL_CHALLENGE) {
		initial = false;
		if (!converse(s, challenge, &response))
			return;
	}
	if (next == SASL_BAD) {
		reply_bad(s, "Malformed authentication exchange");
		return;
	}
	log_in(s, &(struct auth_question){ .mechanism = sasl_name(&sasl), .user = sasl.user,
	    .password = sasl.password, .authzid = sasl.authzid });
}
