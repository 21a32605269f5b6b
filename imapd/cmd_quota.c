/* SPDX-License-Identifier: ISC */
/* GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). Limits are the administrator's to set. */
#include "../libstore/quota.h"
#include "session.h"

enum { STORAGE_UNIT_OCTETS = 1024 };	/* RFC 9208 s.5.1 */

static uint64_t in_units(uint64_t octets)
{
	return octets / STORAGE_UNIT_OCTETS;
}

static void put_quota(struct imap_session *s, const struct quota_root *r)
{
	const char *sep = "";

	conn_put(s->c, STR("* QUOTA "));
	put_mailbox(conn_out(s->c), r->name);
	conn_put(s->c, STR(" ("));
	if ((r->limits.set & QUOTA_STORAGE) != 0) {
		conn_printf(s->c, "STORAGE %llu %llu",
		    (unsigned long long)in_units(r->used_octets + STORAGE_UNIT_OCTETS - 1),
		    (unsigned long long)in_units(r->limits.storage_octets));
		sep = " ";
	}
	if ((r->limits.set & QUOTA_MESSAGES) != 0)
		conn_printf(s->c, "%sMESSAGE %llu %llu", sep, (unsigned long long)r->used_messages,
		    (unsigned long long)r->limits.n_messages);
	conn_put(s->c, STR(")\r\n"));
}

static bool arg_root(struct imap_session *s, struct cursor *args, struct str *out)
{
	struct str sent;

	if (!tok_sp(args) || !tok_astring(args, s->a, &sent)) {
		reply_bad(s, "Quota root missing or invalid");
		return false;
	}
	if (!arg_name(s, sent, out))
		*out = STR("/");	/* the name of none */
	return true;
}

static void no_such_root(struct imap_session *s)
{
	reply_no(s, "NONEXISTENT", "No such quota root");
}

void cmd_getquota(struct imap_session *s, struct cursor *args)
{
	struct quota_root *v;
	struct str name;
	size_t n, i = 0;
	struct err e;

	if (!arg_root(s, args, &name) || !arg_end(s, args))
		return;
	if (quota_list(s->store, s->a, &v, &n, &e) != ERR_OK) {
		reply_err(s, &e, "quota");
		return;
	}
	while (i < n && !str_eq(v[i].name, name))
		i++;
	if (i == n) {
		no_such_root(s);
		return;
	}
	put_quota(s, &v[i]);
	reply_ok(s, NULL, "Completed");
}

void cmd_getquotaroot(struct imap_session *s, struct cursor *args)
{
	struct quota_root *v;
	struct str name;
	size_t n;
	struct err e;

	if (!arg_mailbox(s, args, &name) || !arg_end(s, args))
		return;
	if (quota_covering(s->store, s->a, name, &v, &n, &e) != ERR_OK) {
		reply_err(s, &e, "quota");
		return;
	}
	conn_put(s->c, STR("* QUOTAROOT "));
	put_mailbox(conn_out(s->c), name);
	for (size_t i = 0; i < n; i++) {
		conn_put(s->c, STR(" "));
		put_mailbox(conn_out(s->c), v[i].name);
	}
	conn_put(s->c, STR("\r\n"));
	for (size_t i = 0; i < n; i++)
		put_quota(s, &v[i]);
	reply_ok(s, NULL, "Completed");
}

static bool limit_list(struct cursor *args)
{
	struct str resource;
	uint64_t limit;

	if (!tok_sp(args) || !tok_char(args, '('))
		return false;
	if (tok_char(args, ')'))
		return tok_end(args);
	do {
		if (!tok_atom(args, &resource) || !tok_sp(args) ||
		    !tok_number(args, INT64_MAX, &limit))
			return false;
	} while (tok_sp(args));
	return tok_char(args, ')') && tok_end(args);
}

void cmd_setquota(struct imap_session *s, struct cursor *args)
{
	struct str name;

	if (!arg_root(s, args, &name))
		return;
	if (!limit_list(args))
		reply_bad(s, "Syntax error in SETQUOTA");
	else
		reply_no(s, "NOPERM", "Quotas are set by the administrator");
}
