/* SPDX-License-Identifier: ISC */
/* deliver: what tells it from the other daemons, and the choice between daemon and command. */
#include <stddef.h>

#include "cli.h"
#include "session.h"

static const struct serve_listener listeners[] = {
	{ "lmtp", false, LMTP_ROLE_LMTP },
	{ "deliver", false, LMTP_ROLE_SMTPD },
	{ NULL, false, 0 },
};

const struct conf_key deliver_keys[] = {
	{ "deliver", "aliases", CONF_PATH, "/etc/aliases", NULL, NULL, NULL,
	  offsetof(struct deliver_conf, aliases),
	  "the aliases file; empty: none" },
	{ "deliver", "postmaster", CONF_STRING, "", NULL, NULL, NULL,
	  offsetof(struct deliver_conf, postmaster),
	  "user who gets mail for postmaster and abuse where no alias says so" },
	{ "deliver", "recipient_delimiter", CONF_STRING, "+", NULL, NULL, NULL,
	  offsetof(struct deliver_conf, recipient_delimiter),
	  "the octet between user and folder in an address; empty: none" },
	{ "deliver", "message_size_limit", CONF_BYTES, "64M", "64k", "1G", NULL,
	  offsetof(struct deliver_conf, message_size_limit),
	  "largest message that is filed; above smtpd's, which adds header fields" },
	{ "deliver", "recipients_max", CONF_NUMBER, "10000", "100", "10000", NULL,
	  offsetof(struct deliver_conf, recipients_max),
	  "recipients of one message" },
	{ "deliver", "quota_full", CONF_CHOICE, "reject", NULL, NULL, "reject|defer",
	  offsetof(struct deliver_conf, quota_full),
	  "the answer for a full mailbox: reject tells the sender now (552), defer lets the sender try again (452)" },
	{ "deliver", "command_timeout", CONF_SECONDS, "15m", "1s", "1h", NULL,
	  offsetof(struct deliver_conf, command_timeout_ms),
	  "how long the next command may take; above smtpd's" },
	{ "deliver", "data_timeout", CONF_SECONDS, "10m", "1s", "1h", NULL,
	  offsetof(struct deliver_conf, data_timeout_ms),
	  "how long message data may take that comes slower than 100 octets a second" },
};
const size_t n_deliver_keys = COUNTOF(deliver_keys);

/* Life: the process. A reload opens the aliases file anew; stores are opened by children only. */
static struct stores *the_stores;
static struct alias_file *the_alias_file;

static enum err_kind prepare(const struct settings *set, void *conf, struct err *e)
{
	struct deliver_conf *c = conf;

	if (the_stores == NULL)
		the_stores = stores_new();
	stores_configure(the_stores, &set->store);
	c->stores = the_stores;
	if (alias_file_open(c->aliases, &c->alias_file, e) != ERR_OK)
		return e->kind;
	alias_file_close(&the_alias_file);
	the_alias_file = c->alias_file;
	return ERR_OK;
}

static void child_start(const void *conf)
{
	alias_file_renew(((const struct deliver_conf *)conf)->alias_file);
}

static const struct service service = {
	.name = "deliver",
	.listeners = listeners,
	.rights = SERVE_STORES,
	.keys = deliver_keys,
	.n_keys = COUNTOF(deliver_keys),
	.conf_size = sizeof(struct deliver_conf),
	.sessions_per_child = 1000,
	.prepare = prepare,
	.child_start = child_start,
	.session = lmtp_session,
	.too_many = "421 4.3.2 Too many connections, try again later\r\n",
};

int main(int argc, char **argv)
{
	if (cli_is_meant(argc, argv))
		return cli_main(argc, argv);
	return serve(&service, argc, argv);
}
