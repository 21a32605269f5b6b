/* SPDX-License-Identifier: ISC */
/* A message into the mailboxes of its envelope. Invariant: a target's result is ERR_OK only when
 * its store has made the message durable. Several stores are written first and synced afterwards, a
 * few at a time. */
#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "session.h"

enum {
	BATCH_MAX = STORES_MAX / 2,	/* pinned at once, besides the body's */
	PREFIX_MAX_OCTETS = 8192,	/* two addresses and a Received field */
};

struct filing {
	struct lmtp *l;
	const struct body *body;
	struct str trace;
	struct buf prefix;
	bool sync_later;
	struct open_store *stores[BATCH_MAX];
	struct target *targets[BATCH_MAX];
	uint32_t uids[BATCH_MAX];
	size_t n;
};

static struct str prefix_for(struct filing *f, const struct target *t)
{
	struct buf *b = &f->prefix;

	buf_reset(b);
	buf_put(b, STR("Return-Path: <"));
	buf_put(b, f->l->sender);
	buf_put(b, STR(">\r\nDelivered-To: "));
	buf_put(b, t->address);
	buf_put(b, STR("\r\n"));
	buf_put(b, f->trace);
	return buf_str(b);
}

static void log_target(struct filing *f, const struct target *t, const struct err *e, uint32_t uid,
    uint64_t us)
{
	if (t->result == ERR_OK)
		log_event(LOG_LEVEL_INFO, "deliver.filed", KV_S("user", t->user),
		    KV_S("folder", t->folder), KV_U("uid", uid), KV_S("from", f->l->sender),
		    KV_S("to", t->address), KV_U("octets", body_octets(f->body)), KV_U("us", us));
	else
		log_event(t->result == ERR_QUOTA ? LOG_LEVEL_INFO : LOG_LEVEL_ERR, "deliver.failed", KV_S("user", t->user),
		    KV_S("folder", t->folder), KV_S("from", f->l->sender), KV_S("to", t->address),
		    KV_Z("kind", err_word(t->result)), KV_ERR(e));
}

static enum err_kind append(struct filing *f, struct target *t, struct open_store *o,
    uint32_t *out_uid, struct err *e)
{
	struct append how = { .prefix = prefix_for(f, t), .sync_later = f->sync_later, .last_may_pass = true };
	enum err_kind r;
	uint32_t id;

	arena_reset(f->l->cmd);
	if (stores_folder(o, f->l->cmd, t->folder, &id, e) != ERR_OK)
		return e->kind;
	r = mailbox_append(o->store, id, f->body, &how, out_uid, NULL, e);
	if (r == ERR_NOENT && id != MAILBOX_INBOX)	/* deleted since: INBOX is always there */
		r = mailbox_append(o->store, MAILBOX_INBOX, f->body, &how, out_uid, NULL, e);
	return r == ERR_NOENT ? err_set(e, ERR_TEMP, 0, "INBOX is gone") : r;
}

static bool cured_by_reopening(enum err_kind k)
{
	return k == ERR_TEMP || k == ERR_CORRUPT;
}

static void file_target(struct filing *f, struct target *t)
{
	uint64_t start_us = clock_mono_us();
	struct open_store *o;
	uint32_t uid = 0;
	struct err e;

	t->result = stores_get(f->l->conf->stores, t->user, &o, &e);
	if (t->result == ERR_OK) {
		t->result = append(f, t, o, &uid, &e);
		if (t->result == ERR_OK && f->sync_later) {	/* logged when it is durable */
			o->n_pins++;
			f->stores[f->n] = o;
			f->uids[f->n] = uid;
			f->targets[f->n++] = t;
			return;
		}
		if (cured_by_reopening(t->result) && o->n_pins == 0)
			stores_forget(o);
	}
	log_target(f, t, &e, uid, clock_mono_us() - start_us);
}

static void sync_batch(struct filing *f)
{
	for (size_t i = 0; i < f->n; i++) {
		uint64_t start_us = clock_mono_us();
		struct target *t = f->targets[i];
		struct err e;

		t->result = store_sync(f->stores[i]->store, &e);
		log_target(f, t, &e, f->uids[i], clock_mono_us() - start_us);
		f->stores[i]->n_pins--;
	}
	f->n = 0;
}

void lmtp_file(struct lmtp *l, const struct body *b, struct str trace)
{
	struct filing f = {
		.l = l, .body = b, .trace = trace, .prefix = BUF_INIT(PREFIX_MAX_OCTETS),
		.sync_later = l->env.n_targets > 1,
	};

	for (size_t i = 0; i < l->env.n_targets; i++) {
		file_target(&f, &l->env.targets[i]);
		if (f.n == BATCH_MAX)
			sync_batch(&f);
	}
	sync_batch(&f);
	buf_free(&f.prefix);
}
