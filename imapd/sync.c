/* SPDX-License-Identifier: ISC */
/* What the client knows of the selected mailbox, and how it learns more. Invariants: told_exists
 * is the number of messages the client believes in; a message number on the wire is a position
 * of the view plus 1, since the view loses messages only in mailbox_expel, which tells each;
 * EXPUNGE goes out only where the command allows it. */
#include "../libbase/log.h"
#include "flags.h"
#include "session.h"

void sync_put_flags(struct imap_session *s)
{
	size_t n = mailbox_n_keywords(s->mb);
	struct buf *out = conn_out(s->c);

	(void)buf_put(out, STR("* FLAGS ("));
	(void)flags_put_system(out, MSG_STORED_FLAGS);
	for (size_t i = 0; i < n; i++) {
		(void)buf_putc(out, ' ');
		(void)buf_put(out, mailbox_keyword(s->mb, i));
	}
	(void)buf_put(out, STR(")\r\n* OK [PERMANENTFLAGS ("));
	if (!s->read_only) {
		(void)flags_put_system(out, MSG_STORED_FLAGS);
		for (size_t i = 0; i < n; i++) {
			(void)buf_putc(out, ' ');
			(void)buf_put(out, mailbox_keyword(s->mb, i));
		}
		if (n < STORE_KEYWORDS_MAX)
			(void)buf_put(out, STR(" \\*"));
	}
	(void)buf_put(out, s->read_only ? STR(")] Read-only\r\n") : STR(")] Limited\r\n"));
	s->told_keywords = n;
}

void sync_enable_condstore(struct imap_session *s)
{
	struct mailbox_info now;

	if (s->condstore)
		return;
	s->condstore = true;
	if (s->mb == NULL)
		return;
	mailbox_counters(s->mb, &now);
	conn_printf(s->c, "* OK [HIGHESTMODSEQ %llu] Highest\r\n", (unsigned long long)now.modseq);
}

void sync_put_fetch(struct imap_session *s, size_t ix, bool flags)
{
	struct message *m = mailbox_at(s->mb, ix);
	struct buf *out = conn_out(s->c);
	bool uid = s->condstore || (s->cmd != NULL && (s->cmd->flags & CMD_UID) != 0);

	(void)buf_put(out, STR("* "));
	(void)buf_put_u64(out, ix + 1);
	(void)buf_put(out, STR(" FETCH ("));
	if (uid) {
		(void)buf_put(out, STR("UID "));
		(void)buf_put_u64(out, m->uid);
	}
	if (flags) {
		(void)buf_put(out, uid ? STR(" FLAGS ") : STR("FLAGS "));
		flags_put_message(out, s->mb, m);
	}
	if (s->condstore) {
		(void)buf_put(out, STR(" MODSEQ ("));
		(void)buf_put_u64(out, m->modseq);
		(void)buf_putc(out, ')');
	}
	(void)buf_put(out, STR(")\r\n"));
	m->dirty = 0;
}

bool sync_load(struct imap_session *s)
{
	struct err e;

	if (mailbox_load(s->mb, &e) == ERR_OK)
		return true;
	reply_err(s, &e, "load mailbox");
	return false;
}

enum err_kind sync_look(struct imap_session *s, struct err *e)
{
	bool changed;

	if (mailbox_refresh(s->mb, &changed, e) != ERR_OK)
		return e->kind;
	s->rescan |= changed;
	s->seen_count = store_change_count(s->store);
	return ERR_OK;
}

bool sync_before_change(struct imap_session *s)
{
	struct err e;

	if (!sync_load(s))
		return false;
	if (sync_look(s, &e) == ERR_OK)
		return true;
	reply_err(s, &e, "refresh");
	return false;
}

void sync_after_change(struct imap_session *s)
{
	s->rescan |= store_change_count(s->store) - s->seen_count > 1;
}

/* A message that came and went between two looks was never told, so its end is not told either. */
static void tell_expunge(void *ctx, uint32_t msgno, uint32_t uid)
{
	struct imap_session *s = ctx;
	struct buf *out;

	(void)uid;
	if (msgno > s->told_exists)
		return;
	s->told_exists--;
	out = conn_out(s->c);
	(void)buf_put(out, STR("* "));
	(void)buf_put_u64(out, msgno);
	(void)buf_put(out, STR(" EXPUNGE\r\n"));
}

static void tell_numbers(struct imap_session *s, const struct mailbox_info *now)
{
	if (now->n_messages != s->told_exists)
		conn_printf(s->c, "* %u EXISTS\r\n", now->n_messages);
	if (now->n_recent != s->told_recent || now->n_messages != s->told_exists)
		conn_printf(s->c, "* %u RECENT\r\n", now->n_recent);
	s->told_exists = now->n_messages;
	s->told_recent = now->n_recent;
}

static void tell_dirty(struct imap_session *s)
{
	size_t n = mailbox_n(s->mb);

	for (size_t ix = 0; ix < n; ix++) {
		const struct message *m = mailbox_at(s->mb, ix);

		if (m->dirty != 0 && !m->gone)
			sync_put_fetch(s, ix, true);
	}
	s->rescan = false;
}

void sync_tell(struct imap_session *s, bool may_expunge)
{
	struct mailbox_info now;
	bool changed = false;
	struct err e;

	if (s->mb == NULL)
		return;
	if (mailbox_refresh(s->mb, &changed, &e) != ERR_OK) {
		log_event(LOG_LEVEL_WARN, "imap.refresh.failed", KV_Z("user", s->user), KV_ERR(&e));
		return;
	}
	s->rescan |= changed;
	if (may_expunge)
		store_let_go(s->store);
	if (may_expunge && mailbox_has_gone(s->mb))
		mailbox_expel(s->mb, tell_expunge, s);
	mailbox_counters(s->mb, &now);
	tell_numbers(s, &now);
	if (mailbox_n_keywords(s->mb) != s->told_keywords)
		sync_put_flags(s);
	if (s->rescan)
		tell_dirty(s);
}

void sync_close(struct imap_session *s)
{
	if (s->mb != NULL)
		mailbox_close(&s->mb);
	s->rescan = s->read_only = false;
	s->told_exists = s->told_recent = 0;
	s->told_keywords = 0;
	if (s->state == IMAP_SELECTED)
		s->state = IMAP_AUTHENTICATED;
}

bool sync_resolve(struct imap_session *s, struct seqset *set, bool uid, bool strict)
{
	uint32_t n = s->told_exists < mailbox_n(s->mb) ? s->told_exists : (uint32_t)mailbox_n(s->mb);
	uint32_t last = !uid ? n : n > 0 ? mailbox_at(s->mb, n - 1)->uid : 0;
	size_t kept = 0;

	seqset_resolve(set, last);
	if (!uid && strict && set->n > 0 && set->v[set->n - 1].hi > n) {
		reply_bad(s, "No message with such a number");
		return false;
	}
	for (size_t i = 0; i < set->n; i++) {
		struct seq_range r = set->v[i];
		size_t lo = r.lo - 1, hi = r.hi;

		if (uid) {
			lo = mailbox_lower_bound(s->mb, r.lo);
			hi = r.hi == UINT32_MAX ? n : mailbox_lower_bound(s->mb, r.hi + 1);
		}
		hi = hi < n ? hi : n;
		if (lo < hi)
			set->v[kept++] = (struct seq_range){ (uint32_t)lo, (uint32_t)hi };
	}
	set->n = kept;
	return true;
}

bool sync_uids(struct imap_session *s, const struct seqset *ranges, uint32_t with_flags, uint32_t **out,
    size_t *out_n, bool *out_gone)
{
	size_t room = 0, n = 0;
	uint32_t *uids;
	bool gone = false;

	for (size_t i = 0; i < ranges->n; i++)
		room += ranges->v[i].hi - ranges->v[i].lo;
	uids = arena_array(s->a, room, sizeof(*uids));
	if (uids == NULL) {
		reply_no(s, "LIMIT", "Too many messages at once");
		return false;
	}
	for (size_t i = 0; i < ranges->n; i++) {
		for (size_t ix = ranges->v[i].lo; ix < ranges->v[i].hi; ix++) {
			const struct message *m = mailbox_at(s->mb, ix);

			gone |= m->gone;
			if (!m->gone && (m->flags & with_flags) == with_flags)
				uids[n++] = m->uid;
		}
	}
	*out = uids;
	*out_n = n;
	if (out_gone != NULL)
		*out_gone = gone;
	return true;
}

bool sync_expunge(struct imap_session *s, const struct seqset *ranges)
{
	struct seq_range everything = { 0, 0 };
	struct seqset all = { &everything, 1 };
	uint32_t *uids;
	size_t n;
	struct err e;

	if (!sync_before_change(s))
		return false;
	everything.hi = (uint32_t)mailbox_n(s->mb);
	if (!sync_uids(s, ranges != NULL ? ranges : &all, MSG_DELETED, &uids, &n, NULL))
		return false;
	if (n > 0 && mailbox_expunge(s->mb, uids, n, true, NULL, &e) != ERR_OK) {
		reply_err(s, &e, "expunge");
		return false;
	}
	sync_after_change(s);
	return true;
}
