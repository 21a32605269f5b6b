/* SPDX-License-Identifier: ISC */
/* MAIL and RCPT: the envelope. A recipient's aliases are expanded and its users looked up before
 * the reply, so that a client never has to bounce what we can refuse. */
#include "../libbase/log.h"
#include "session.h"

void lmtp_txn_reset(struct lmtp *l)
{
	l->open = false;
	l->size_octets = 0;
	l->env = (struct envelope){ .n_rcpts = 0 };
	arena_reset(l->txn);
}

static bool param_size(struct lmtp *l, struct str value)
{
	bool digits = value.n > 0 && value.n <= 20;	/* RFC 1870 s.3 */
	uint64_t n = 0;

	for (size_t i = 0; digits && i < value.n; i++)
		digits = ascii_is_digit(value.p[i]);
	if (!digits)
		lmtp_reply(l, 501, "5.5.4", "SIZE wants a number");
	else if (!str_to_u64(value, UINT64_MAX, &n) || n > l->conf->message_size_limit)
		lmtp_reply(l, 552, "5.3.4", "Message is larger than this server takes");
	else {
		l->size_octets = n;
		return true;
	}
	return false;
}

static bool param_body(struct lmtp *l, struct str value)
{
	if (str_eq_nocase(value, STR("8BITMIME")) || str_eq_nocase(value, STR("7BIT")))
		return true;
	lmtp_reply(l, 501, "5.5.4", "BODY is 7BIT or 8BITMIME");
	return false;
}

static const struct mail_param {
	struct str keyword;
	bool (*take)(struct lmtp *l, struct str value);
} mail_params[] = {
	{ STR_INIT("SIZE"), param_size },
	{ STR_INIT("BODY"), param_body },
};

static bool take_params(struct lmtp *l, struct str text)
{
	struct esmtp_param v[ESMTP_PARAMS_MAX];
	struct err e;
	size_t n;

	if (esmtp_params_parse(text, v, &n, &e) != ERR_OK) {
		lmtp_reply(l, 501, "5.5.4", "Malformed parameters");
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < COUNTOF(mail_params) &&
		    !str_eq_nocase(mail_params[k].keyword, v[i].keyword))
			k++;
		if (k == COUNTOF(mail_params)) {
			lmtp_reply(l, 555, "5.5.4", "Parameter not known");
			return false;
		}
		if (!mail_params[k].take(l, v[i].value.p != NULL ? v[i].value : STR("")))
			return false;
	}
	return true;
}

static enum err_kind resolve_user(void *ctx, struct str name, char *canonical, struct err *e)
{
	struct lmtp *l = ctx;
	enum err_kind k = stores_user(l->conf->stores, name, l->env.n_targets < STORES_MAX / 2, canonical, e);

	return k != ERR_OK ? k : stores_room(l->conf->stores, canonical, l->size_octets, e);
}

static bool resolve_domain(void *ctx, struct str domain)
{
	struct lmtp *l = ctx;

	return settings_domain_is_local(l->set, domain);
}

static void resolve_skipped(void *ctx, struct str alias, struct str target, const char *why)
{
	(void)ctx;
	log_event(LOG_LEVEL_WARN, "deliver.alias.skipped", KV_S("alias", alias),
	    KV_S("target", target), KV_Z("why", why));
}

static struct resolver resolver(struct lmtp *l)
{
	bool replaced;
	struct resolver r = {
		.aliases = alias_file_table(l->conf->alias_file, &replaced),
		.delimiter = str_of(l->conf->recipient_delimiter),
		.postmaster = str_of(l->conf->postmaster),
		.user = resolve_user, .domain_is_local = resolve_domain,
		.skipped = resolve_skipped, .ctx = l,
	};

	if (replaced)
		serve_session_is_last();
	return r;
}

void cmd_mail(struct lmtp *l, struct str arg)
{
	unsigned flags = PATH_NULL_OK | PATH_NO_DOMAIN_OK | PATH_UTF8_OK;
	struct mail_path path;
	struct str rest = arg;
	struct err e;

	lmtp_txn_reset(l);
	if (!path_take_keyword(&rest, STR("FROM:")) ||
	    path_parse(l->cmd, rest, flags, &path, &rest, &e) != ERR_OK) {
		lmtp_reply(l, 501, "5.1.7", "Bad sender address, say MAIL FROM:<address>");
		return;
	}
	if (!take_params(l, rest))
		return;
	l->sender = str_dup(l->txn, path.text);
	if (l->sender.p == NULL || !envelope_init(&l->env, l->txn, l->conf->recipients_max)) {
		lmtp_reply(l, 451, "4.3.0", "Out of memory");
		return;
	}
	l->resolver = resolver(l);
	l->open = true;
	lmtp_reply(l, 250, "2.1.0", "Ok");
}

void cmd_rcpt(struct lmtp *l, struct str arg)
{
	unsigned flags = PATH_POSTMASTER_OK | PATH_NO_DOMAIN_OK | PATH_UTF8_OK;
	struct mail_path path;
	struct str rest = arg;
	enum err_kind r;
	struct err e;

	if (!l->open) {
		lmtp_reply(l, 503, "5.5.1", "Say MAIL first");
		return;
	}
	if (!path_take_keyword(&rest, STR("TO:")) ||
	    path_parse(l->cmd, rest, flags, &path, &rest, &e) != ERR_OK) {
		lmtp_reply(l, 501, "5.1.3", "Bad recipient address, say RCPT TO:<address>");
		return;
	}
	if (rest.n > 0) {
		lmtp_reply(l, 555, "5.5.4", "Parameter not known");
		return;
	}
	r = envelope_add(&l->env, l->cmd, &l->resolver, &path, &e);
	if (r == ERR_OK)
		serve_session_keep();
	else
		log_event(r == ERR_NOENT || r == ERR_DENIED || r == ERR_QUOTA ? LOG_LEVEL_INFO : LOG_LEVEL_ERR,
		    "deliver.rcpt.refused", KV_S("from", l->sender), KV_S("to", path.text),
		    KV_ERR(&e));
	lmtp_reply_words(l, lmtp_rcpt_words(l, r));
}
