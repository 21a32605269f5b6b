/* SPDX-License-Identifier: ISC */
/* pop3d: what tells it from the other daemons. */
#include <stddef.h>

#include "session.h"

static const struct serve_listener listeners[] = {
	{ "pop3", false, 0 },
	{ "pop3s", true, 0 },
	{ NULL, false, 0 },
};

static const struct conf_key keys[] = {
	{ "pop3d", "idle_timeout", CONF_SECONDS, "10m", "10m", "1d", NULL,
	  offsetof(struct pop3_conf, idle_ms),
	  "how long a session may be silent after login; RFC 1939 wants at least 10 minutes" },
	{ "pop3d", "login_timeout", CONF_SECONDS, "1m", "5s", "10m", NULL,
	  offsetof(struct pop3_conf, login_ms),
	  "how long a connection may take to log in" },
	{ "pop3d", "bad_commands_max", CONF_NUMBER, "20", "1", "1000", NULL,
	  offsetof(struct pop3_conf, bad_commands_max),
	  "unknown, malformed or misplaced commands before the connection is closed" },
};

static enum err_kind prepare(const struct settings *set, void *conf, struct err *e)
{
	struct store_env *env = &((struct pop3_conf *)conf)->store_env;

	(void)e;
	store_env_init(env);
	env->conf = set->store;
	return ERR_OK;
}

static const struct service service = {
	.name = "pop3d",
	.listeners = listeners,
	.rights = SERVE_AUTH | SERVE_STORE,
	.keys = keys,
	.n_keys = COUNTOF(keys),
	.conf_size = sizeof(struct pop3_conf),
	.sessions_per_child = 1,
	.prepare = prepare,
	.session = pop3_session,
	.too_many = "-ERR [SYS/TEMP] too many connections, try again later\r\n",
};

int main(int argc, char **argv)
{
	return serve(&service, argc, argv);
}
