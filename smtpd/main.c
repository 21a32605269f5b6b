/* SPDX-License-Identifier: ISC */
/* smtpd: what tells it from the other daemons. */
#include <stddef.h>

#include "session.h"

static const struct serve_listener listeners[] = {
	{ "smtp", false, SMTP_ROLE_MX },
	{ "submission", false, SMTP_ROLE_SUBMISSION },
	{ "submissions", true, SMTP_ROLE_SUBMISSION },
	{ NULL, false, 0 },
};

static const struct conf_key keys[] = {
	{ "smtpd", "message_size_limit", CONF_BYTES, "50M", "64k", "1G", NULL,
	  offsetof(struct smtpd_conf, message_size_limit),
	  "largest message that is taken; announced as SIZE (RFC 1870)" },
	{ "smtpd", "recipients_max", CONF_NUMBER, "1000", "100", "10000", NULL,
	  offsetof(struct smtpd_conf, recipients_max),
	  "recipients of one message; RFC 5321 wants at least 100" },
	{ "smtpd", "errors_max", CONF_NUMBER, "20", "1", "100000", NULL,
	  offsetof(struct smtpd_conf, errors_max),
	  "refusals in one session before it is ended" },
	{ "smtpd", "auth_tries_max", CONF_NUMBER, "3", "1", "100", NULL,
	  offsetof(struct smtpd_conf, auth_tries_max),
	  "failed authentications in one session before it is ended" },
	{ "smtpd", "messages_per_session", CONF_NUMBER, "10000", "1", "1000000000", NULL,
	  offsetof(struct smtpd_conf, messages_per_session),
	  "messages in one session before it is ended" },
	{ "smtpd", "command_timeout", CONF_SECONDS, "5m", "1s", "1h", NULL,
	  offsetof(struct smtpd_conf, command_timeout_ms),
	  "how long the next command may take; RFC 5321 wants at least 5 minutes" },
	{ "smtpd", "data_timeout", CONF_SECONDS, "5m", "1s", "1h", NULL,
	  offsetof(struct smtpd_conf, data_timeout_ms),
	  "how long message data may take that comes slower than 100 octets a second" },
};

/* A process serves strangers one after the other; the one that a user logged into ends with the
 * session. */
static const struct service service = {
	.name = "smtpd",
	.listeners = listeners,
	.rights = SERVE_AUTH | SERVE_DELIVER,
	.keys = keys,
	.n_keys = COUNTOF(keys),
	.conf_size = sizeof(struct smtpd_conf),
	.sessions_per_child = 1,	/* the next client may bring a password: it meets nobody's leavings */
	.session = smtp_session,
	.too_many = "421 4.7.0 Too many connections, try again later\r\n",
};

int main(int argc, char **argv)
{
	return serve(&service, argc, argv);
}
