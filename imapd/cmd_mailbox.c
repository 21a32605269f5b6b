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
	STATUS_HIGHESTMODSEQ, STATUS_DELETED, STATUS_DELETED_STORAGE, STATUS_N
};

struct status {
	struct mailbox_info info;
	uint64_t n_deleted, deleted_octets;	/* messages with \Deleted: RFC 9208 s.4.1.4 */
};

static const char *const status_names[STATUS_N] = {
	"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ", "DELETED", "DELETED-STORAGE"
};

static uint64_t status_value(const struct status *st, enum status_item item)
{
	const struct mailbox_info *i = &st->info;

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
	case STATUS_DELETED:
		return st->n_deleted;
	case STATUS_DELETED_STORAGE:
		return st->deleted_octets;
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

/* Only the messages tell; rarely asked for. */
static enum err_kind count_deleted(struct imap_session *s, struct str name, struct status *st, struct err *e)
{
	struct mailbox *mb;
	enum err_kind k = mailbox_open(s->store, name, false, &mb, e);

	if (k != ERR_OK)
		return k;
	if ((k = mailbox_load(mb, e)) == ERR_OK) {
		for (size_t ix = 0; ix < mailbox_n(mb); ix++) {
			const struct message *m = mailbox_at(mb, ix);

			if ((m->flags & MSG_DELETED) == 0 || m->gone)
				continue;
			st->n_deleted++;
			st->deleted_octets += m->size_octets;
		}
	}
	mailbox_close(&mb);
	return k;
}

static bool find_status(struct imap_session *s, struct str name, unsigned mask, struct status *st)
{
	struct err e;

	*st = (struct status){ .n_deleted = 0 };
	if (store_find(s->store, s->a, name, &st->info, &e) != ERR_OK) {
		reply_err(s, &e, "status");
		return false;
	}
	if (st->info.noselect) {
		reply_no(s, "CANNOT", "Not a selectable mailbox");
		return false;
	}
	if ((mask & (1u << STATUS_DELETED | 1u << STATUS_DELETED_STORAGE)) != 0 &&
	    count_deleted(s, name, st, &e) != ERR_OK) {
		reply_err(s, &e, "status");
		return false;
	}
	return true;
}

void cmd_status(struct imap_session *s, struct cursor *args)
{
	struct status st;
	struct str name;
	unsigned mask;
	const char *sep = " (";

	if (!arg_mailbox(s, args, &name))
		return;
	if (!status_items(args, &mask)) {
		reply_bad(s, "Syntax error in STATUS");
		return;
	}
	if (!find_status(s, name, mask, &st))
		return;
	if ((mask & 1u << STATUS_HIGHESTMODSEQ) != 0)
		sync_enable_condstore(s);
	conn_put(s->c, STR("* STATUS "));
	put_mailbox(conn_out(s->c), name);
	for (unsigned i = 0; i < STATUS_N; i++) {
		if ((mask & 1u << i) == 0)
			continue;
		conn_printf(s->c, "%s%s %llu", sep, status_names[i],
		    (unsigned long long)status_value(&st, (enum status_item)i));
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
