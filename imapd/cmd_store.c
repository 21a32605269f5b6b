/* SPDX-License-Identifier: ISC */
/* STORE and UID STORE (RFC 3501 s.6.4.6; RFC 7162 s.3.1.3). One journal record for the whole
 * command. */
#include "flags.h"
#include "session.h"

struct store_args {
	struct seqset set;
	struct flag_list flags;
	enum flag_op op;
	bool silent;
	uint64_t unchanged_since;
};

static const struct {
	const char *name;
	enum flag_op op;
	bool silent;
} items[] = {
	{ "FLAGS", FLAG_SET, false }, { "FLAGS.SILENT", FLAG_SET, true },
	{ "+FLAGS", FLAG_ADD, false }, { "+FLAGS.SILENT", FLAG_ADD, true },
	{ "-FLAGS", FLAG_REMOVE, false }, { "-FLAGS.SILENT", FLAG_REMOVE, true },
};

static bool modifier(struct cursor *c, struct store_args *out)
{
	return tok_word(c, "UNCHANGEDSINCE") && tok_sp(c) &&
	    tok_number(c, INT64_MAX, &out->unchanged_since) && tok_char(c, ')') && tok_sp(c);
}

static bool parse(struct cursor *c, struct arena *a, struct store_args *out)
{
	struct str item;
	size_t i;

	*out = (struct store_args){ .unchanged_since = UINT64_MAX };
	if (!tok_sp(c) || !seqset_parse(c, a, &out->set) || !tok_sp(c))
		return false;
	if (tok_char(c, '(') && !modifier(c, out))
		return false;
	if (!tok_atom(c, &item) || !tok_sp(c))
		return false;
	for (i = 0; i < COUNTOF(items) && !str_eq_nocase(item, str_of(items[i].name)); i++)
		;
	if (i == COUNTOF(items))
		return false;
	out->op = items[i].op;
	out->silent = items[i].silent;
	return flags_parse(c, a, true, &out->flags) && tok_end(c);
}

/* Tells the outcome message by message. What failed the condition is told with its flags, so
 * that the client need not ask (RFC 7162 s.3.1.3, Example 10). */
static void tell(struct imap_session *s, const struct store_args *args, const uint32_t *failed,
    size_t n_failed)
{
	bool silent = args->silent;
	size_t f = 0;

	if (mailbox_n_keywords(s->mb) != s->told_keywords)
		sync_put_flags(s);
	for (size_t i = 0; i < args->set.n; i++) {
		for (size_t ix = args->set.v[i].lo; ix < args->set.v[i].hi; ix++) {
			struct message *m = mailbox_at(s->mb, ix);
			bool did_fail, others;

			while (f < n_failed && failed[f] < m->uid)
				f++;
			did_fail = f < n_failed && failed[f] == m->uid;
			others = (m->dirty & MSG_DIRTY_OTHER) != 0;
			if (m->gone)
				continue;
			if (!silent || did_fail || others)
				sync_put_fetch(s, ix, true);
			else if (s->condstore && m->dirty != 0)
				sync_put_fetch(s, ix, false);
			else
				m->dirty = 0;
		}
	}
}

/* MODIFIED names message numbers, or UIDs in UID STORE; both ascend. */
static void finish(struct imap_session *s, uint32_t *failed, size_t n_failed, bool some_gone)
{
	struct buf code = BUF_INIT(SIZE_MAX);

	if (n_failed == 0) {
		if (some_gone)
			reply_no(s, "EXPUNGEISSUED", "Some of the messages no longer exist");
		else
			reply_ok(s, NULL, "Store completed");
		return;
	}
	for (size_t i = 0; i < n_failed && (s->cmd->flags & CMD_UID) == 0; i++)
		failed[i] = (uint32_t)mailbox_lower_bound(s->mb, failed[i]) + 1;
	(void)buf_put(&code, STR("MODIFIED "));
	seqset_put(&code, failed, n_failed);
	(void)buf_putc(&code, '\0');
	reply_ok(s, code.p, "Conditional store failed for some");
	buf_free(&code);
}

void cmd_store(struct imap_session *s, struct cursor *c)
{
	struct store_args args;
	struct flag_change change;
	uint32_t *uids, *failed = NULL;
	size_t n, n_failed = 0;
	bool uid = (s->cmd->flags & CMD_UID) != 0, gone;
	struct err e;

	if (!parse(c, s->a, &args)) {
		reply_bad(s, "Syntax error in STORE");
		return;
	}
	if (s->read_only) {
		reply_no(s, "READ-ONLY", "The mailbox is open read-only");
		return;
	}
	if (args.flags.over) {
		reply_no(s, "LIMIT", "Too many or too long keywords");
		return;
	}
	if (args.unchanged_since != UINT64_MAX)
		sync_enable_condstore(s);
	if (!sync_before_change(s) || !sync_resolve(s, &args.set, uid, true) ||
	    !sync_uids(s, &args.set, 0, &uids, &n, &gone))
		return;
	change = (struct flag_change){ .op = args.op, .flags = args.flags.flags,
	    .keywords = args.flags.keywords, .n_keywords = args.flags.n_keywords,
	    .unchanged_since = args.unchanged_since };
	if (args.unchanged_since != UINT64_MAX &&
	    (failed = arena_array(s->a, n, sizeof(*failed))) == NULL) {
		reply_no(s, "LIMIT", "Too many messages at once");
		return;
	}
	if (n > 0 && mailbox_store_flags(s->mb, uids, n, &change, failed, &n_failed, &e) != ERR_OK) {
		reply_err(s, &e, "store");
		return;
	}
	sync_after_change(s);
	tell(s, &args, failed, n_failed);
	finish(s, failed, n_failed, gone && !uid);
}
