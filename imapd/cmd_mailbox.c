/* SPDX-License-Identifier: ISC */
/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 s.6.3.3 to s.6.3.7) and STATUS
 * (s.6.3.10). The store knows the rules of names; here they are only translated. */
#include "session.h"

/* "foo/" in CREATE announces that names will be made below it; the separator is no part of the
 * name. */
static struct str without_slash(struct str name)
{
	return str_ends(name, STR("/")) ? str_head(name, name.n - 1) : name;
}

static void finish(struct imap_session *s, enum err_kind kind, const struct err *e, const char *done)
{
	if (kind == ERR_OK)
		reply_ok(s, NULL, done);
	else
		reply_err(s, e, done);
}

void cmd_create(struct imap_session *s, struct cursor *args)
{
	struct str name;
	struct err e;

	if (arg_mailbox(s, args, &name) && arg_end(s, args))
		finish(s, store_create(s->store, without_slash(name), NULL, &e), &e, "Created");
}

void cmd_delete(struct imap_session *s, struct cursor *args)
{
	struct str name;
	struct err e;

	if (arg_mailbox(s, args, &name) && arg_end(s, args))
		finish(s, store_delete(s->store, name, &e), &e, "Deleted");
}

void cmd_rename(struct imap_session *s, struct cursor *args)
{
	struct str from, to;
	struct err e;

	if (arg_mailbox(s, args, &from) && arg_mailbox(s, args, &to) && arg_end(s, args))
		finish(s, store_rename(s->store, from, without_slash(to), &e), &e, "Renamed");
}

void cmd_subscribe(struct imap_session *s, struct cursor *args)
{
	struct str name;
	struct err e;

	if (arg_mailbox(s, args, &name) && arg_end(s, args))
		finish(s, store_subscribe(s->store, name, true, &e), &e, "Subscribed");
}

void cmd_unsubscribe(struct imap_session *s, struct cursor *args)
{
	struct str name;
	enum err_kind kind;
	struct err e;

	if (!arg_mailbox(s, args, &name) || !arg_end(s, args))
		return;
	kind = store_subscribe(s->store, name, false, &e);
	/* What is not subscribed is already as the client wants it. */
	finish(s, kind == ERR_NOENT ? ERR_OK : kind, &e, "Unsubscribed");
}

enum status_item {
	STATUS_MESSAGES, STATUS_RECENT, STATUS_UIDNEXT, STATUS_UIDVALIDITY, STATUS_UNSEEN,
	STATUS_HIGHESTMODSEQ, STATUS_N
};

static const char *const status_names[STATUS_N] = {
	"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ"
};

static uint64_t status_value(const struct mailbox_info *i, enum status_item item)
{
	switch (item) {
	case STATUS_MESSAGES:
		return i->n_messages;
	case STATUS_RECENT:
		return i->n_recent;
	case STATUS_UIDNEXT:
		return i->uidnext;
	case STATUS_UIDVALIDITY:
		return i->uidvalidity;
	case STATUS_UNSEEN:
		return i->n_unseen;
	case STATUS_HIGHESTMODSEQ:
		return i->modseq;
	case STATUS_N:
		break;
	}
	return 0;
}

static bool status_items(struct cursor *args, unsigned *out_mask)
{
	struct str word;
	size_t i;

	*out_mask = 0;
	if (!tok_sp(args) || !tok_char(args, '('))
		return false;
	do {
		if (!tok_atom(args, &word))
			return false;
		for (i = 0; i < STATUS_N && !str_eq_nocase(word, str_of(status_names[i])); i++)
			;
		if (i == STATUS_N)
			return false;
		*out_mask |= 1u << i;
	} while (tok_sp(args));
	return tok_char(args, ')') && tok_end(args);
}

void cmd_status(struct imap_session *s, struct cursor *args)
{
	struct mailbox_info info;
	struct str name;
	unsigned mask;
	const char *sep = " (";
	struct err e;

	if (!arg_mailbox(s, args, &name))
		return;
	if (!status_items(args, &mask)) {
		reply_bad(s, "Syntax error in STATUS");
		return;
	}
	if (store_find(s->store, s->a, name, &info, &e) != ERR_OK) {
		reply_err(s, &e, "status");
		return;
	}
	if (info.noselect) {
		reply_no(s, "CANNOT", "Not a selectable mailbox");
		return;
	}
	if ((mask & 1u << STATUS_HIGHESTMODSEQ) != 0)
		sync_enable_condstore(s);
	conn_put(s->c, STR("* STATUS "));
	put_mailbox(conn_out(s->c), name);
	for (unsigned i = 0; i < STATUS_N; i++) {
		if ((mask & 1u << i) == 0)
			continue;
		conn_printf(s->c, "%s%s %llu", sep, status_names[i],
		    (unsigned long long)status_value(&info, (enum status_item)i));
		sep = " ";
	}
	conn_put(s->c, STR(")\r\n"));
	reply_ok(s, NULL, "Status completed");
}

void cmd_namespace(struct imap_session *s, struct cursor *args)
{
	if (!arg_end(s, args))
		return;
	reply_untagged(s, "NAMESPACE ((\"\" \"/\")) NIL NIL");		/* RFC 2342 s.5 */
	reply_ok(s, NULL, "Namespace completed");
}
