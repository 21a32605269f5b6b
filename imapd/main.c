/* SPDX-License-Identifier: ISC */
/* imapd: what tells it from the other daemons. */
#include "../libmail/charset.h"
#include "session.h"

static const struct serve_listener listeners[] = {
	{ "imap", false, 0 },
	{ "imaps", true, 0 },
	{ NULL, false, 0 },
};

#define AT(member) offsetof(struct imapd_conf, member)

static const struct conf_key keys[] = {
	{ "imapd", "login_timeout", CONF_SECONDS, "1m", "5s", "10m", NULL, AT(login_timeout_ms),
	  "how long a connection may take to log in" },
	{ "imapd", "idle_timeout", CONF_SECONDS, "30m", "30m", "1d", NULL, AT(idle_timeout_ms),
	  "how long a session may be silent after login; RFC 3501 wants at least 30 minutes" },
	{ "imapd", "command_timeout", CONF_SECONDS, "1m", "10s", "1h", NULL, AT(command_timeout_ms),
	  "how long a client may take no octet of an answer" },
	{ "imapd", "idle_notify", CONF_SECONDS, "2m", "1s", "15m", NULL, AT(idle_notify_ms),
	  "how often an idling client hears that the server is still there" },
	{ "imapd", "max_command", CONF_BYTES, "64k", "8k", "1M", NULL, AT(max_command_bytes),
	  "largest command with its literals, a message to be appended not counted" },
	{ "imapd", "max_command_before_login", CONF_BYTES, "8k", "4k", "64k", NULL,
	  AT(max_command_preauth_bytes), "the same before login" },
	{ "imapd", "message_size_limit", CONF_BYTES, "50M", "64k", "1G", NULL,
	  AT(message_size_limit_bytes), "largest message that may be appended" },
	{ "imapd", "bad_commands_max", CONF_NUMBER, "50", "1", "10000", NULL, AT(bad_commands_max),
	  "malformed or misplaced commands in a row before the connection is closed" },
	{ "imapd", "failed_logins_max", CONF_NUMBER, "3", "1", "100", NULL, AT(failed_logins_max),
	  "failed logins before the connection is closed" },
	{ "imapd", "special_use", CONF_BOOL, "yes", NULL, NULL, NULL, AT(special_use),
	  "mark the mailboxes Archive, Drafts, Junk, Sent and Trash in LIST (RFC 6154)" },
};

static enum err_kind prepare(const struct settings *set, void *conf, struct err *e)
{
	struct store_env *env = &((struct imapd_conf *)conf)->store_env;

	(void)e;
	store_env_init(env);
	env->conf = set->store;
	charset_warm();
	return ERR_OK;
}

static const struct service service = {
	.name = "imapd",
	.listeners = listeners,
	.rights = SERVE_AUTH | SERVE_STORE,
	.keys = keys,
	.n_keys = COUNTOF(keys),
	.conf_size = sizeof(struct imapd_conf),
	.sessions_per_child = 1,
	.prepare = prepare,
	.session = imap_session,
	.too_many = "* BYE [UNAVAILABLE] Too many connections, try again later\r\n",
};

int main(int argc, char **argv)
{
	return serve(&service, argc, argv);
}
