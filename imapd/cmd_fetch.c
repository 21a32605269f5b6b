/* SPDX-License-Identifier: ISC */
/* FETCH and UID FETCH (RFC 3501 s.6.4.5, RFC 7162 s.3.1.4). Answers are streamed: at most one
 * message is open, and what is written leaves as the connection's buffer fills. */
#include "../libbase/log.h"
#include "fetchput.h"

enum {
	SEEN_BATCH = 256,	/* messages marked \Seen by one journal record, before they are sent */
	BATCHES_A_LOOK = 16,	/* how often we look whether the client is still there */
};

struct fetch_cmd {
	struct seqset set;
	struct fetch_atts atts;
	struct fetch_needs needs;
	uint64_t changed_since;		/* 0: no condition */
	enum err_kind worst;
	struct err e;
};

static bool parse(struct cursor *c, struct arena *a, struct fetch_cmd *out)
{
	if (!tok_sp(c) || !seqset_parse(c, a, &out->set) || !tok_sp(c) ||
	    !fetchatt_parse(c, a, &out->atts))
		return false;
	if (tok_end(c))
		return true;
	return tok_sp(c) && tok_char(c, '(') && tok_word(c, "CHANGEDSINCE") && tok_sp(c) &&
	    tok_number(c, INT64_MAX, &out->changed_since) && out->changed_since > 0 &&
	    tok_char(c, ')') && tok_end(c);
}

static bool wanted(const struct fetch_cmd *f, const struct message *m)
{
	return m->modseq > f->changed_since || f->changed_since == 0;
}

/* Marks a batch of positions \Seen. A store that is full still lets its mail be read, so failure
 * is only logged. */
static void mark_seen(struct imap_session *s, const struct fetch_cmd *f, size_t lo, size_t hi)
{
	struct flag_change seen = { .op = FLAG_ADD, .flags = MSG_SEEN, .unchanged_since = UINT64_MAX };
	uint32_t uids[SEEN_BATCH];
	size_t n = 0, failed = 0;
	struct err e;

	for (size_t ix = lo; ix < hi; ix++) {
		const struct message *m = mailbox_at(s->mb, ix);

		if ((m->flags & MSG_SEEN) == 0 && !m->gone && wanted(f, m))
			uids[n++] = m->uid;
	}
	if (n == 0)
		return;
	if (sync_look(s, &e) == ERR_OK &&
	    mailbox_store_flags(s->mb, uids, n, &seen, NULL, &failed, &e) == ERR_OK)
		sync_after_change(s);
	else
		log_event(LOG_LEVEL_WARN, "imap.seen.failed", KV_Z("user", s->user), KV_ERR(&e));
}

static void fetch_batch(struct imap_session *s, struct fetch_cmd *f, size_t lo, size_t hi)
{
	struct err e;

	if (f->needs.seen && !s->read_only)
		mark_seen(s, f, lo, hi);
	for (size_t ix = lo; ix < hi; ix++) {
		if (!wanted(f, mailbox_at(s->mb, ix)) ||
		    fetch_put(s, &f->atts, &f->needs, ix, &e) == ERR_OK)
			continue;
		/* A message that is gone explains itself; any other reason is the one to tell. */
		if (f->worst == ERR_OK || f->worst == ERR_NOENT) {
			f->worst = e.kind;
			f->e = e;
		}
	}
}

/* Once the client takes no more, the rest need not be read. */
static bool client_is_gone(struct imap_session *s, size_t n_batches)
{
	struct err e;

	return n_batches % BATCHES_A_LOOK == 0 && conn_flush(s->c, &e) != ERR_OK;
}

static void fetch_all(struct imap_session *s, struct fetch_cmd *f)
{
	size_t n_batches = 0;

	for (size_t i = 0; i < f->set.n; i++) {
		size_t lo = f->set.v[i].lo, end = f->set.v[i].hi;

		while (lo < end) {
			size_t hi = end - lo < SEEN_BATCH ? end : lo + SEEN_BATCH;

			fetch_batch(s, f, lo, hi);
			if (client_is_gone(s, ++n_batches))
				return;
			lo = hi;
		}
	}
}

static void finish(struct imap_session *s, const struct fetch_cmd *f)
{
	if (f->worst == ERR_OK || (f->worst == ERR_NOENT && (s->cmd->flags & CMD_UID) != 0))
		reply_ok(s, NULL, "Fetch completed");
	else if (f->worst == ERR_NOENT)
		reply_no(s, "EXPUNGEISSUED", "Some of the messages no longer exist");
	else
		reply_err(s, &f->e, "fetch");
}

void cmd_fetch(struct imap_session *s, struct cursor *c)
{
	struct fetch_cmd f = { .worst = ERR_OK };
	bool uid = (s->cmd->flags & CMD_UID) != 0;

	if (!parse(c, s->a, &f)) {
		reply_bad(s, "Syntax error in FETCH");
		return;
	}
	if (uid)
		fetchatt_add(&f.atts, FETCH_UID);
	if (f.changed_since > 0)
		fetchatt_add(&f.atts, FETCH_MODSEQ);
	if (f.atts.over) {
		reply_no(s, "LIMIT", "Too many items");
		return;
	}
	if (!sync_load(s) || !sync_resolve(s, &f.set, uid, true))
		return;
	if (fetchatt_has(&f.atts, FETCH_MODSEQ))
		sync_enable_condstore(s);
	f.needs = fetch_needs_of(&f.atts);
	fetch_all(s, &f);
	finish(s, &f);
}
