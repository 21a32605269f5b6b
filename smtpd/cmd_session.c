/* SPDX-License-Identifier: ISC */
/* Commands about the session itself: who is there, TLS, and the ones that do nothing. */
#include <stdio.h>

#include "../libbase/log.h"
#include "../libserve/sasl.h"
#include "session.h"

/* Real clients say names with underscores, bare host names, and IPv6 literals without their tag.
 * What matters is that a name can't leave its place in a Received field or a log line. */
static bool helo_ok(struct str name)
{
	if (name.n == 0 || name.n > SMTP_HELO_MAX_OCTETS)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && strchr("-._:[]", c) == NULL)
			return false;
	}
	return true;
}

/* RFC 5321 s.4.1.4: EHLO also resets. */
static bool take_helo(struct smtp *s, struct str arg, bool esmtp)
{
	if (!helo_ok(arg)) {
		smtp_reply(s, 501, "5.5.4", "Not a host name");
		return false;
	}
	smtp_txn_reset(s);
	memcpy(s->helo, arg.p, arg.n);
	s->helo[arg.n] = '\0';
	s->esmtp = esmtp;
	return true;
}

void cmd_helo(struct smtp *s, struct str arg)
{
	if (take_helo(s, arg, false))
		smtp_reply(s, 250, NULL, s->set->hostname);
}

void cmd_ehlo(struct smtp *s, struct str arg)
{
	if (!take_helo(s, arg, true))
		return;
	conn_printf(s->c, "250-%s\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE %llu\r\n",
	    s->set->hostname, (unsigned long long)s->conf->message_size_limit);
	if (smtp_tls_possible(s))
		conn_put(s->c, STR("250-STARTTLS\r\n"));
	if (smtp_login_possible(s))
		conn_printf(s->c, "250-AUTH %s\r\n", sasl_mechanisms());
	conn_put(s->c, STR("250 ENHANCEDSTATUSCODES\r\n"));
}

void cmd_starttls(struct smtp *s, struct str arg)
{
	struct err e;

	(void)arg;
	if (!smtp_tls_possible(s)) {
		if (s->serve->tls == NULL)
			smtp_reply(s, 502, "5.5.1", "TLS is not available");
		else
			smtp_reply(s, 503, "5.5.1", "Too late for STARTTLS");
		return;
	}
	smtp_reply(s, 220, "2.0.0", "Ready to start TLS");
	if (conn_flush(s->c, &e) != ERR_OK || conn_start_tls(s->c, s->serve->tls, &e) != ERR_OK) {
		log_event(LOG_LEVEL_INFO, "smtp.tls.failed", KV_Z("ip", conn_peer_ip(s->c)),
		    KV_ERR(&e));
		s->over = true;
		return;
	}
	/* RFC 3207 s.4.2: what was learned in plain text is forgotten. */
	smtp_txn_reset(s);
	s->helo[0] = '\0';
	s->esmtp = false;
}

void cmd_rset(struct smtp *s, struct str arg)
{
	(void)arg;
	smtp_txn_reset(s);
	smtp_reply(s, 250, "2.0.0", "Ok");
}

void cmd_noop(struct smtp *s, struct str arg)
{
	(void)arg;
	smtp_reply(s, 250, "2.0.0", "Ok");
}

/* RFC 5321 s.7.3: who has an account is nobody's business. */
void cmd_vrfy(struct smtp *s, struct str arg)
{
	(void)arg;
	smtp_reply(s, 252, "2.5.0", "Try RCPT to see whether mail is taken");
}

void cmd_help(struct smtp *s, struct str arg)
{
	(void)arg;
	smtp_reply(s, 214, "2.0.0",
	    "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT STARTTLS AUTH VRFY HELP");
}

void cmd_quit(struct smtp *s, struct str arg)
{
	(void)arg;
	smtp_reply(s, 221, "2.0.0", "Bye");
	s->over = true;
}

void cmd_not_ours(struct smtp *s, struct str arg)
{
	(void)arg;
	smtp_reply(s, 502, "5.5.1", "Command not implemented");
}

void cmd_other_protocol(struct smtp *s, struct str arg)
{
	(void)arg;
	log_event(LOG_LEVEL_INFO, "smtp.other-protocol", KV_Z("ip", conn_peer_ip(s->c)));
	smtp_farewell(s, "4.7.0", "This is a mail server");
}
