/* SPDX-License-Identifier: ISC */
/* SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 s.6.3.1, s.6.3.2, s.6.4.2; RFC 3691; RFC 7162
 * s.3.1.8). SELECT answers from counters and loads messages only for what the counters do not
 * know. */
#include "session.h"

/* "(CONDSTORE)"; other parameters are refused, as RFC 4466 s.2.1 wants. */
static bool select_params(struct imap_session *s, struct cursor *args)
{
	if (tok_end(args))
		return true;
	if (tok_sp(args) && tok_char(args, '(') && tok_word(args, "CONDSTORE") &&
	    tok_char(args, ')') && tok_end(args)) {
		s->condstore = true;
		return true;
	}
	reply_bad(s, "Unknown parameter");
	return false;
}

static bool know_enough(struct imap_session *s, size_t *out_first_unseen)
{
	bool known;

	*out_first_unseen = mailbox_first_unseen(s->mb, &known);
	if (known && mailbox_know_keywords(s->mb, NULL) == ERR_OK)
		return true;
	if (!sync_load(s))
		return false;
	*out_first_unseen = mailbox_first_unseen(s->mb, &known);
	return true;
}

static void put_mailbox_data(struct imap_session *s, const struct mailbox_info *info, size_t first_unseen)
{
	s->told_exists = info->n_messages;
	s->told_recent = info->n_recent;
	sync_put_flags(s);
	conn_printf(s->c, "* %u EXISTS\r\n* %u RECENT\r\n", info->n_messages, info->n_recent);
	if (first_unseen < info->n_messages)
		conn_printf(s->c, "* OK [UNSEEN %zu] First unseen\r\n", first_unseen + 1);
	conn_printf(s->c, "* OK [UIDVALIDITY %u] UIDs valid\r\n* OK [UIDNEXT %u] Predicted next UID\r\n"
	    "* OK [HIGHESTMODSEQ %llu] Highest\r\n", info->uidvalidity, info->uidnext,
	    (unsigned long long)info->modseq);
}

static void select_mailbox(struct imap_session *s, struct cursor *args, bool read_only)
{
	struct mailbox_info info;
	size_t first_unseen;
	struct str name;
	struct err e;

	if (!arg_mailbox(s, args, &name) || !select_params(s, args))
		return;
	sync_close(s);		/* a SELECT that fails leaves none selected */
	if (mailbox_open(s->store, name, !read_only, &s->mb, &e) != ERR_OK) {
		s->mb = NULL;
		reply_err(s, &e, "select");
		return;
	}
	s->read_only = read_only;
	if (!know_enough(s, &first_unseen)) {
		sync_close(s);
		return;
	}
	mailbox_counters(s->mb, &info);
	put_mailbox_data(s, &info, first_unseen);
	s->state = IMAP_SELECTED;
	reply_ok(s, read_only ? "READ-ONLY" : "READ-WRITE", read_only ? "Examined" : "Selected");
}

void cmd_select(struct imap_session *s, struct cursor *args)
{
	select_mailbox(s, args, false);
}

void cmd_examine(struct imap_session *s, struct cursor *args)
{
	select_mailbox(s, args, true);
}

/* CLOSE expunges without a word (RFC 3501 s.6.4.2); an empty mailbox needs no index for that. */
static bool expunge_silently(struct imap_session *s)
{
	struct mailbox_info info;

	mailbox_counters(s->mb, &info);
	return info.n_messages == 0 || sync_expunge(s, NULL);
}

void cmd_close(struct imap_session *s, struct cursor *args)
{
	if (!arg_end(s, args) || (!s->read_only && !expunge_silently(s)))
		return;
	sync_close(s);
	reply_ok(s, NULL, "Closed");
}

void cmd_unselect(struct imap_session *s, struct cursor *args)
{
	if (!arg_end(s, args))
		return;
	sync_close(s);
	reply_ok(s, NULL, "Unselected");
}
