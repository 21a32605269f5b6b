/* SPDX-License-Identifier: ISC */
/* MAIL and RCPT: the envelope. Every recipient is asked of deliver at once, so that no bounce is
 * ever made here. Nothing is relayed: the domain decides, and a local part that asks for another
 * hop is none of ours. */
#include <stdio.h>

#include "../libbase/log.h"
#include "../libmail/path.h"
#include "session.h"

void smtp_txn_reset(struct smtp *s)
{
	lmtp_abandon(s->deliver);
	s->t = (struct smtp_txn){ .open = false };
	arena_reset(s->txn);
}

/* Each takes one parameter of MAIL into the transaction; false after a refusal. */
static bool param_size(struct smtp *s, struct str value)
{
	uint64_t n = 0;
	bool digits = value.n > 0 && value.n <= 20;	/* RFC 1870 s.3 */

	for (size_t i = 0; digits && i < value.n; i++)
		digits = ascii_is_digit(value.p[i]);
	if (!digits) {
		smtp_reply(s, 501, "5.5.4", "SIZE wants a number");
		return false;
	}
	if (!str_to_u64(value, UINT64_MAX, &n) || n > s->conf->message_size_limit) {
		smtp_reply(s, 552, "5.3.4", "Message is larger than this server takes");
		return false;
	}
	s->t.mail.size_octets = n;
	return true;
}

static bool param_body(struct smtp *s, struct str value)
{
	s->t.mail.body_8bit = str_eq_nocase(value, STR("8BITMIME"));
	if (s->t.mail.body_8bit || str_eq_nocase(value, STR("7BIT")))
		return true;
	smtp_reply(s, 501, "5.5.4", "BODY is 7BIT or 8BITMIME");
	return false;
}

/* RFC 4954 s.5: who may not say so is heard, not believed; nothing of it goes further. */
static bool param_auth(struct smtp *s, struct str value)
{
	struct str decoded;
	struct err e;

	if (value.n > 0 && xtext_decode(s->cmd, value, &decoded, &e) == ERR_OK)
		return true;
	smtp_reply(s, 501, "5.5.4", "AUTH wants a mailbox in xtext");
	return false;
}

static const struct mail_param {
	struct str keyword;
	bool submission_only;
	bool (*take)(struct smtp *s, struct str value);
} mail_params[] = {
	{ STR_INIT("SIZE"), false, param_size },
	{ STR_INIT("BODY"), false, param_body },
	{ STR_INIT("AUTH"), true, param_auth },
};

static bool take_param(struct smtp *s, const struct esmtp_param *p)
{
	for (size_t i = 0; i < COUNTOF(mail_params); i++) {
		if (!str_eq_nocase(mail_params[i].keyword, p->keyword))
			continue;
		if (mail_params[i].submission_only && !s->submission)
			break;
		return mail_params[i].take(s, p->value.p != NULL ? p->value : STR(""));
	}
	smtp_reply(s, 555, "5.5.4", "Parameter not known");
	return false;
}

static bool take_params(struct smtp *s, struct str text)
{
	struct esmtp_param v[ESMTP_PARAMS_MAX];
	struct err e;
	size_t n;

	if (esmtp_params_parse(text, v, &n, &e) != ERR_OK || (n > 0 && !s->esmtp)) {
		smtp_reply(s, 501, "5.5.4", "Malformed parameters");
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (!take_param(s, &v[i]))
			return false;
	return true;
}

/* The text of a path, with our domain where it was left out or is written as an address literal of
 * ours. p == NULL: the arena is full. */
static struct str whole_address(struct smtp *s, const struct mail_path *p, bool ours)
{
	struct str local = p->text;
	size_t n;
	char *z;

	if (p->is_null || (p->domain.n > 0 && !(ours && p->is_literal)))
		return str_dup(s->txn, p->text);
	if (p->domain.n > 0)
		local = str_head(local, local.n - p->domain.n - 1);
	n = local.n + 1 + strlen(s->set->domain);
	z = arena_alloc(s->txn, n + 1);
	if (z == NULL)
		return str_n(NULL, 0);
	snprintf(z, n + 1, "%.*s@%s", (int)local.n, local.p, s->set->domain);
	return str_n(z, n);
}

void cmd_mail(struct smtp *s, struct str arg)
{
	unsigned flags = PATH_NULL_OK | (smtp_completes_names(s) ? PATH_NO_DOMAIN_OK : 0);
	struct mail_path path;
	struct str rest = arg;
	struct err e;

	smtp_txn_reset(s);
	if (s->n_messages >= s->conf->messages_per_session) {
		smtp_farewell(s, "4.7.0", "Too many messages in one session");
		return;
	}
	if (!path_take_keyword(&rest, STR("FROM:"))) {
		smtp_reply(s, 501, "5.5.4", "Say MAIL FROM:<address>");
		return;
	}
	if (path_parse(s->cmd, rest, flags, &path, &rest, &e) != ERR_OK) {
		smtp_reply(s, 501, "5.1.7", "Bad sender address, say MAIL FROM:<address>");
		return;
	}
	if (!take_params(s, rest))
		return;
	s->t.mail.sender = whole_address(s, &path, false);
	s->t.rcpts = arena_array(s->txn, s->conf->recipients_max, sizeof *s->t.rcpts);
	if (s->t.mail.sender.p == NULL || s->t.rcpts == NULL) {
		smtp_reply(s, 451, "4.3.0", "Out of memory");
		return;
	}
	s->t.open = true;
	smtp_reply(s, 250, "2.1.0", "Ok");
}

/* "[192.0.2.1]": local when it is the address that the client connected to (RFC 5321 s.4.1.3). */
static bool literal_is_ours(struct smtp *s, struct str domain)
{
	char ours[64];

	snprintf(ours, sizeof ours, strchr(conn_local_ip(s->c), ':') != NULL ? "[IPv6:%s]" : "[%s]",
	    conn_local_ip(s->c));
	return str_eq_nocase(domain, str_of(ours));
}

static bool domain_is_ours(struct smtp *s, const struct mail_path *p)
{
	if (p->domain.n == 0)
		return true;
	if (p->is_literal)
		return literal_is_ours(s, p->domain);
	return settings_domain_is_local(s->set, p->domain);
}

/* Spellings of "send it on from there": user%elsewhere, elsewhere!user, "user@elsewhere". */
static bool asks_for_a_hop(struct str local)
{
	return str_has(local, '%') || str_has(local, '!') || str_has(local, '@');
}

static bool may_have(struct smtp *s, const struct mail_path *p)
{
	if (domain_is_ours(s, p) && !asks_for_a_hop(p->local))
		return true;
	log_event(LOG_LEVEL_INFO, "smtp.rcpt.no-relay", KV_Z("ip", conn_peer_ip(s->c)),
	    KV_Z("user", s->user), KV_S("from", s->t.mail.sender), KV_S("to", p->text));
	if (s->user[0] != '\0')
		smtp_reply(s, 550, "5.4.4", "No route: this release delivers locally");
	else
		smtp_reply(s, 550, "5.7.1", "Relaying denied");
	return false;
}

static void ask_deliver(struct smtp *s, struct str rcpt)
{
	struct lmtp_reply r;
	struct err e;

	if (lmtp_rcpt(s->deliver, &s->t.mail, rcpt, &r, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "smtp.deliver.failed", KV_S("to", rcpt), KV_ERR(&e));
		/* What deliver knew of this transaction is lost with the connection. */
		if (s->t.n_rcpts > 0)
			smtp_farewell(s, "4.3.0", "Local delivery failed, try again later");
		else
			smtp_reply(s, 451, "4.3.0", "Local delivery failed, try again later");
		return;
	}
	if (r.code < 300) {
		s->t.rcpts[s->t.n_rcpts++] = rcpt;
		serve_session_keep();
	} else {
		log_event(LOG_LEVEL_INFO, "smtp.rcpt.refused", KV_Z("ip", conn_peer_ip(s->c)),
		    KV_S("from", s->t.mail.sender), KV_S("to", rcpt), KV_U("code", r.code),
		    KV_Z("text", r.text));
	}
	smtp_reply_lmtp(s, &r);
}

void cmd_rcpt(struct smtp *s, struct str arg)
{
	unsigned flags = PATH_POSTMASTER_OK | (smtp_completes_names(s) ? PATH_NO_DOMAIN_OK : 0);
	struct mail_path path;
	struct str rest = arg, rcpt;
	struct err e;

	if (!s->t.open) {
		smtp_reply(s, 503, "5.5.1", "Say MAIL first");
		return;
	}
	if (!path_take_keyword(&rest, STR("TO:"))) {
		smtp_reply(s, 501, "5.5.4", "Say RCPT TO:<address>");
		return;
	}
	if (path_parse(s->cmd, rest, flags, &path, &rest, &e) != ERR_OK) {
		smtp_reply(s, 501, "5.1.3", "Bad recipient address, say RCPT TO:<address>");
		return;
	}
	if (rest.n > 0) {
		smtp_reply(s, 555, "5.5.4", "Parameter not known");
		return;
	}
	if (s->t.n_rcpts >= s->conf->recipients_max) {
		smtp_reply(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	if (!may_have(s, &path))
		return;
	rcpt = whole_address(s, &path, true);
	if (rcpt.p == NULL) {
		smtp_reply(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	ask_deliver(s, rcpt);
}
