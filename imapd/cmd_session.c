/* SPDX-License-Identifier: ISC */
/* CAPABILITY, NOOP, LOGOUT, ID, ENABLE, STARTTLS: the session itself. */
#include "../libbase/log.h"
#include "session.h"

enum {
	ID_PAIRS_MAX = 30,		/* RFC 2971 s.3.3 */
	ID_VALUE_MAX_OCTETS = 1024,
};

/* RFC 3501 s.7.2.1; differs by state. What works before login is told then, too, because some
 * clients (Python's imaplib) never ask again. */
void put_capabilities(struct imap_session *s)
{
	bool in = s->state != IMAP_NOT_AUTHENTICATED;

	conn_put(s->c, STR("IMAP4rev1 ID ENABLE IDLE SASL-IR"));
	if (!in) {
		conn_put(s->c, STR(" LITERAL-"));
		if (s->serve->tls != NULL && !conn_is_tls(s->c))
			conn_put(s->c, STR(" STARTTLS"));
		conn_put(s->c, gather_may_log_in(s) ? STR(" AUTH=PLAIN AUTH=LOGIN") :
		    STR(" LOGINDISABLED"));
		return;
	}
	conn_put(s->c, STR(" LITERAL+ NAMESPACE CHILDREN UIDPLUS UNSELECT MOVE CONDSTORE"));
	conn_put(s->c, STR(" METADATA QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE"));
	conn_put(s->c, STR(" SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES"));
	if (s->conf->special_use)
		conn_put(s->c, STR(" SPECIAL-USE"));
	conn_printf(s->c, " APPENDLIMIT=%llu", (unsigned long long)s->conf->message_size_limit_bytes);
}

void cmd_capability(struct imap_session *s, struct cursor *args)
{
	if (!arg_end(s, args))
		return;
	conn_put(s->c, STR("* CAPABILITY "));
	put_capabilities(s);
	conn_put(s->c, STR("\r\n"));
	reply_ok(s, NULL, "Capability completed");
}

/* NOOP and CHECK: what is acknowledged is on the disk already. */
void cmd_noop(struct imap_session *s, struct cursor *args)
{
	if (arg_end(s, args))
		reply_ok(s, NULL, "Completed");
}

void cmd_logout(struct imap_session *s, struct cursor *args)
{
	if (!arg_end(s, args))
		return;
	sync_close(s);
	reply_bye(s, NULL, "Logging out");
	reply_ok(s, NULL, "Logout completed");
}

/* RFC 2971 s.3.3: NIL, or pairs of string and nstring. */
static bool id_params(struct imap_session *s, struct cursor *args, struct str *out_name)
{
	struct str key, value;
	size_t n = 0;

	*out_name = str_n(NULL, 0);
	if (tok_word(args, "NIL"))
		return true;
	if (!tok_char(args, '('))
		return false;
	if (tok_char(args, ')'))
		return true;
	do {
		if (!tok_string(args, s->a, &key) || !tok_sp(args) ||
		    !tok_nstring(args, s->a, &value) || value.n > ID_VALUE_MAX_OCTETS ||
		    ++n > ID_PAIRS_MAX)
			return false;
		if (str_eq_nocase(key, STR("name")))
			*out_name = value;
	} while (tok_sp(args));
	return tok_char(args, ')');
}

void cmd_id(struct imap_session *s, struct cursor *args)
{
	struct str name;

	if (!tok_sp(args) || !id_params(s, args, &name) || !tok_end(args)) {
		reply_bad(s, "Syntax error in ID");
		return;
	}
	if (name.p != NULL)
		log_event(LOG_LEVEL_DEBUG, "imap.client", KV_S("name", str_head(name, 100)));
	reply_untagged(s, "ID (\"name\" \"Pennypost\")");
	reply_ok(s, NULL, "ID completed");
}

/* RFC 5161: unknown extensions are ignored; mutt asks for UTF8=ACCEPT without being offered it. */
void cmd_enable(struct imap_session *s, struct cursor *args)
{
	bool condstore = false;
	struct str word;

	do {
		if (!tok_sp(args) || !tok_atom(args, &word)) {
			reply_bad(s, "Syntax error in ENABLE");
			return;
		}
		condstore |= str_eq_nocase(word, STR("CONDSTORE"));
	} while (!tok_end(args));
	if (condstore)
		sync_enable_condstore(s);
	reply_untagged(s, condstore ? "ENABLED CONDSTORE" : "ENABLED");
	reply_ok(s, NULL, "Enable completed");
}

void cmd_starttls(struct imap_session *s, struct cursor *args)
{
	struct err e;

	if (!arg_end(s, args))
		return;
	if (conn_is_tls(s->c) || s->serve->tls == NULL) {
		reply_bad(s, conn_is_tls(s->c) ? "TLS is active already" : "TLS is not available");
		return;
	}
	reply_ok(s, NULL, "Begin TLS negotiation now");
	if (conn_flush(s->c, &e) == ERR_OK &&
	    conn_start_tls(s->c, s->serve->tls, &e) == ERR_OK)
		return;
	log_event(LOG_LEVEL_INFO, "imap.tls.failed", KV_Z("ip", conn_peer_ip(s->c)), KV_ERR(&e));
	s->why_ended = "TLS failed";
	s->state = IMAP_LOGOUT;
}
