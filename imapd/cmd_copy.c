/* SPDX-License-Identifier: ISC */
/* COPY, MOVE, EXPUNGE and their UID forms (RFC 3501 s.6.4.3, s.6.4.7; RFC 4315; RFC 6851). */
#include "session.h"

static bool find_destination(struct imap_session *s, struct str name, uint32_t *out_id)
{
	struct mailbox_info info;
	struct err e;

	if (store_find(s->store, s->a, name, &info, &e) != ERR_OK) {
		if (e.kind == ERR_NOENT || e.kind == ERR_SYNTAX)
			reply_no(s, "TRYCREATE", "No such mailbox");
		else
			reply_err(s, &e, "copy");
		return false;
	}
	*out_id = info.id;
	if (info.noselect)
		reply_no(s, "CANNOT", "Not a selectable mailbox");
	return !info.noselect;
}

/* "COPYUID validity source destination", both sets in the order of the copies (RFC 4315 s.3). */
static void put_copyuid(struct imap_session *s, uint32_t uidvalidity, const uint32_t *src,
    const uint32_t *dst, size_t n)
{
	conn_printf(s->c, "[COPYUID %u ", uidvalidity);
	put_set(s, src, n);
	conn_put(s->c, STR(" "));
	put_set(s, dst, n);
	conn_put(s->c, STR("] "));
}

struct copied {
	uint32_t *src, *dst, uidvalidity;
	size_t n;
};

static bool copy_messages(struct imap_session *s, struct cursor *args, bool move, struct copied *out,
    bool *out_gone)
{
	struct seqset set;
	struct str name;
	uint32_t *uids, id;
	size_t n;
	struct err e;

	if (!tok_sp(args) || !seqset_parse(args, s->a, &set)) {
		reply_bad(s, "Syntax error in message set");
		return false;
	}
	if (!arg_mailbox(s, args, &name) || !arg_end(s, args))
		return false;
	if (move && s->read_only) {
		reply_no(s, "READ-ONLY", "The mailbox is open read-only");
		return false;
	}
	if (!sync_before_change(s) || !sync_resolve(s, &set, (s->cmd->flags & CMD_UID) != 0, true) ||
	    !sync_uids(s, &set, 0, &uids, &n, out_gone) || !find_destination(s, name, &id))
		return false;
	*out = (struct copied){ arena_array(s->a, n, sizeof(uint32_t)),
	    arena_array(s->a, n, sizeof(uint32_t)), 0, 0 };
	if (out->src == NULL || out->dst == NULL) {
		reply_no(s, "LIMIT", "Too many messages at once");
		return false;
	}
	if (n == 0 || mailbox_copy(s->mb, uids, n, id, move, out->src, out->dst, &out->n,
	    &out->uidvalidity, &e) == ERR_OK) {
		sync_after_change(s);
		return true;
	}
	if (e.kind == ERR_NOENT)
		reply_no(s, "TRYCREATE", "No such mailbox");
	else
		reply_err(s, &e, "copy");
	return false;
}

void cmd_copy(struct imap_session *s, struct cursor *args)
{
	struct copied done;
	bool gone;

	if (!copy_messages(s, args, false, &done, &gone))
		return;
	/* RFC 2180 s.4.4: a message that is gone was not copied, and the client is told so. */
	if (done.n == 0 && gone) {
		reply_no(s, "EXPUNGEISSUED", "The messages no longer exist");
		return;
	}
	sync_tell(s, true);
	if (done.n == 0) {
		reply_ok(s, NULL, "Nothing to copy");
		return;
	}
	conn_put(s->c, s->tag);
	conn_put(s->c, STR(" OK "));
	put_copyuid(s, done.uidvalidity, done.src, done.dst, done.n);
	conn_put(s->c, STR("Copied\r\n"));
	s->n_bad = 0;
}

/* RFC 6851 s.4.3: COPYUID comes in an untagged OK, before the EXPUNGEs. */
void cmd_move(struct imap_session *s, struct cursor *args)
{
	struct copied done;
	bool gone;

	if (!copy_messages(s, args, true, &done, &gone))
		return;
	if (done.n > 0) {
		conn_put(s->c, STR("* OK "));
		put_copyuid(s, done.uidvalidity, done.src, done.dst, done.n);
		conn_put(s->c, STR("Moved\r\n"));
	}
	reply_ok(s, NULL, "Move completed");
}

void cmd_expunge(struct imap_session *s, struct cursor *args)
{
	if (!arg_end(s, args))
		return;
	if (s->read_only)
		reply_no(s, "READ-ONLY", "The mailbox is open read-only");
	else if (sync_expunge(s, NULL))
		reply_ok(s, NULL, "Expunge completed");
}

void cmd_uid_expunge(struct imap_session *s, struct cursor *args)
{
	struct seqset set;

	if (!tok_sp(args) || !seqset_parse(args, s->a, &set) || !tok_end(args)) {
		reply_bad(s, "Syntax error in message set");
		return;
	}
	if (s->read_only)
		reply_no(s, "READ-ONLY", "The mailbox is open read-only");
	else if (sync_load(s) && sync_resolve(s, &set, true, false) && sync_expunge(s, &set))
		reply_ok(s, NULL, "Expunge completed");
}
