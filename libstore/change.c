/* SPDX-License-Identifier: ISC */
/* The operations on messages. Each one: take the lock, bring the view up to the tail, decide, append one group, drop the
 * lock, make it durable, and only then let the caller see it (invariant I3). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "body_int.h"
#include "mailbox_int.h"

/* -- the frame of every operation on an open mailbox -- */

/* Is the journal that the view followed still there? */
static bool still_follows(const struct mailbox *mb)
{
	return mb->s->epoch == mb->epoch && mb->pos.seg >= mb->s->ctl->first_seg;
}

enum err_kind op_begin(struct mailbox *mb, struct err *e)
{
	enum err_kind k;

	for (int tries = 0; tries < 2; tries++) {	/* whoever takes the lock may be the one who recovers */
		if ((k = mailbox_refresh(mb, NULL, e)) != ERR_OK || (k = mailbox_load(mb, e)) != ERR_OK ||
		    (k = store_lock(mb->s, e)) != ERR_OK)
			return k;
		if (still_follows(mb))
			break;
		store_unlock(mb->s);
	}
	if (mb->s->lock_depth == 0)
		return err_set(e, ERR_TEMP, 0, "a sync failed");
	k = view_advance(mb, mb->s->ctl->tail.next_seq - 1, 0, 0, e);
	if (k == ERR_OK && mb->deleted)
		k = err_set(e, ERR_NOENT, 0, "mailbox was deleted");
	if (k != ERR_OK)
		store_unlock(mb->s);
	return k;
}

/* k: how deciding went; n records are appended when it is fine. What the view has seen is made durable in any case:
 * it may hold others' records that nobody has synced yet. */
enum err_kind op_end(struct mailbox *mb, const struct journal_rec *r, size_t n, enum err_kind k,
    struct err *e)
{
	uint64_t before = mb->s->ctl->tail.next_seq - 1, seq = before;
	enum err_kind durable;

	if (k == ERR_OK && n > 0)
		k = store_append(mb->s, r, n, NULL, &seq, e);
	store_unlock(mb->s);
	durable = store_make_durable(mb->s, k == ERR_OK ? seq : before, k == ERR_OK ? e : NULL);
	if (k != ERR_OK || durable != ERR_OK)
		return k != ERR_OK ? k : durable;
	return view_advance(mb, seq, before + 1, seq, e);
}

struct message *find_uid(struct mailbox *mb, uint32_t uid)
{
	size_t ix = mailbox_lower_bound(mb, uid);

	return ix < mb->n && mb->m[ix].uid == uid && !mb->m[ix].gone ? &mb->m[ix] : NULL;
}

/* -- keywords -- */

static bool keyword_known(const struct index_keywords *kw, const struct kw_new *add, struct str name,
    uint64_t *bit)
{
	for (size_t i = 0; i < kw->n; i++) {
		if (str_eq_nocase(str_n(kw->name[i], kw->octets[i]), name)) {
			*bit = (uint64_t)1 << i;
			return true;
		}
	}
	for (size_t i = 0; add != NULL && i < add->n; i++) {
		if (str_eq_nocase(add->name[i], name)) {
			*bit = (uint64_t)1 << add->rec[i].bit;
			return true;
		}
	}
	return false;
}

/* The mask for names; unknown ones are added when `add` is given, skipped when it is NULL. */
enum err_kind keyword_mask(uint32_t mailbox, const struct index_keywords *kw,
    const struct str *names, size_t n, struct kw_new *add, uint64_t *out, struct err *e)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t bit = 0;

		if (!keyword_known(kw, add, names[i], &bit) && add != NULL) {
			size_t at = kw->n + add->n;

			if (at >= STORE_KEYWORDS_MAX || names[i].n == 0 ||
			    names[i].n > STORE_KEYWORD_MAX_OCTETS)
				return err_set(e, ERR_LIMIT, 0, "over %d keywords, or too long a one",
				    STORE_KEYWORDS_MAX);
			add->rec[add->n] = (struct rec_keyword){ mailbox, (uint32_t)at,
				(uint32_t)names[i].n, 0 };
			add->name[add->n++] = names[i];
			bit = (uint64_t)1 << at;
		}
		*out |= bit;
	}
	return ERR_OK;
}

size_t keyword_records(const struct kw_new *add, struct journal_rec *r)
{
	for (size_t i = 0; i < add->n; i++)
		r[i] = (struct journal_rec){ REC_KEYWORD, {
			str_n((const char *)&add->rec[i], sizeof add->rec[i]), add->name[i] } };
	return add->n;
}

/* -- append -- */

/* A mailbox's keyword names are in the index only; a message that brings some is rare enough to open it. */
static enum err_kind append_keywords(struct store *s, uint32_t id, const struct append *how,
    struct kw_new *add, uint64_t *out_mask, struct err *e)
{
	struct index_keywords *kw = malloc(sizeof *kw);
	enum err_kind k;

	if (kw == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for keywords");
	if ((k = index_enter(s, e)) == ERR_OK) {
		k = index_keywords(s, id, kw, e);
		index_leave(s);
	}
	if (k == ERR_OK)
		k = keyword_mask(id, kw, how->keywords, how->n_keywords, add, out_mask, e);
	free(kw);
	return k;
}

/* The body's octets as they go into the record. */
static struct str stored_body(const struct body *b)
{
	return b->fd >= 0 ? str_n(NULL, 0) : b->packed.n > 0 ? buf_str(&b->packed) : body_view(b);
}

static enum err_kind append_locked(struct store *s, uint32_t id, const struct body *b,
    const struct append *how, struct rec_message *m, uint32_t *out_validity, uint64_t *out_seq,
    struct err *e)
{
	struct journal_rec r[STORE_KEYWORDS_MAX + 1];
	struct kw_new add = { .n = 0 };
	const struct ctl_slot *slot = id == MAILBOX_INBOX ? ctl_find_name(s, STR("INBOX")) :
	    ctl_find_id(s, id);
	size_t n = 0;
	enum err_kind k;

	if (slot == NULL || !(slot->state & MAILBOX_EXISTS) || (slot->state & MAILBOX_NOSELECT))
		return err_set(e, ERR_NOENT, 0, "mailbox was deleted");
	m->mailbox = id = slot->id;
	if ((k = quota_room(s, slot, NULL, 1, m->size_octets, how->last_may_pass, e)) != ERR_OK)
		return k;
	/* the body may have been filed before, expunged, and taken by compaction just now */
	if (b->fd >= 0 && !body_is_linked(b, s) && (k = body_link(b, s, e)) != ERR_OK)
		return k;
	if (how->n_keywords > 0 &&
	    (k = append_keywords(s, id, how, &add, &m->keywords, e)) != ERR_OK)
		return k;
	slot = ctl_find_id(s, id);
	if (slot->uidnext == UINT32_MAX)
		return err_set(e, ERR_LIMIT, 0, "the mailbox's UIDs are used up");
	m->uid = slot->uidnext;
	*out_validity = slot->uidvalidity;
	n = keyword_records(&add, r);
	r[n++] = (struct journal_rec){ REC_MESSAGE, { str_n((const char *)m, sizeof *m),
		body_record(b), how->prefix, stored_body(b) } };
	return store_append(s, r, n, NULL, out_seq, e);
}

enum err_kind mailbox_append(struct store *s, uint32_t id, const struct body *b,
    const struct append *how, uint32_t *out_uid, uint32_t *out_uidvalidity, struct err *e)
{
	struct rec_message m = {
		.flags = how->flags & MSG_STORED_FLAGS,
		.internaldate_s = how->internaldate_s != 0 ? how->internaldate_s : clock_real_s(),
		.record_octets = (uint32_t)b->record.n, .record_crc = b->record_crc,
		.prefix_octets = (uint32_t)how->prefix.n, .body_octets = (uint32_t)b->n_octets,
		.size_octets = (uint32_t)(how->prefix.n + b->n_octets),
		.large_id = b->large_id, .body_crc = b->body_crc,
		.encoding = b->packed.n > 0 ? ENCODING_ZSTD : ENCODING_PLAIN,
	};
	uint32_t validity = 0;
	uint64_t seq = 0;
	enum err_kind k;

	if (how->prefix.n > STORE_INLINE_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "header prefix of %zu octets", how->prefix.n);
	if (getrandom(m.guid, sizeof m.guid, 0) != sizeof m.guid)
		return err_sys(e, errno, "random message id");
	if (b->fd >= 0 && (k = body_link(b, s, e)) != ERR_OK)
		return k;
	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	k = append_locked(s, id, b, how, &m, &validity, &seq, e);
	store_unlock(s);
	if (k == ERR_OK && how->sync_later) {
		if (s->later_seq == 0)
			s->later_epoch = s->epoch;	/* of the first: a later epoch fails them all */
		s->later_seq = seq;
	} else if (k == ERR_OK)
		k = store_make_durable(s, seq, e);
	if (k != ERR_OK)
		return k;
	if (out_uid != NULL)
		*out_uid = m.uid;
	if (out_uidvalidity != NULL)
		*out_uidvalidity = validity;
	return ERR_OK;
}

/* -- flags -- */

struct flag_masks {
	uint32_t set, clear;
	uint64_t set_kw, clear_kw;
};

static struct flag_masks masks_of(const struct flag_change *ch, uint64_t kw)
{
	uint32_t f = ch->flags & MSG_STORED_FLAGS;

	switch (ch->op) {
	case FLAG_ADD:
		return (struct flag_masks){ f, 0, kw, 0 };
	case FLAG_REMOVE:
		return (struct flag_masks){ 0, f, 0, kw };
	default:
		return (struct flag_masks){ f, MSG_STORED_FLAGS & ~f, kw, ~kw };
	}
}

static bool would_change(const struct message *m, const struct flag_masks *f)
{
	uint32_t stored = m->flags & MSG_STORED_FLAGS;

	return ((stored & ~f->clear) | f->set) != stored ||
	    ((m->keywords & ~f->clear_kw) | f->set_kw) != m->keywords;
}

/* Which messages change, and what that does to the number of unseen ones. */
static size_t pick_changed(struct mailbox *mb, const uint32_t *uids, size_t n,
    const struct flag_change *ch, const struct flag_masks *f, uint32_t *picked, int32_t *unseen_delta,
    uint32_t *failed, size_t *n_failed)
{
	size_t n_picked = 0;

	for (size_t i = 0; i < n; i++) {
		const struct message *m = find_uid(mb, uids[i]);

		if (m == NULL)
			continue;
		if (m->modseq > ch->unchanged_since) {
			if (failed != NULL)
				failed[*n_failed] = uids[i];
			++*n_failed;
			continue;
		}
		if (!would_change(m, f))
			continue;
		if (!(m->flags & MSG_SEEN) && (f->set & MSG_SEEN))
			--*unseen_delta;
		else if ((m->flags & MSG_SEEN) && (f->clear & ~f->set & MSG_SEEN))
			++*unseen_delta;
		picked[n_picked++] = uids[i];
	}
	return n_picked;
}

static enum err_kind store_flags_locked(struct mailbox *mb, const uint32_t *uids, size_t n,
    const struct flag_change *ch, uint32_t *picked, struct buf *ranges, struct rec_flags *rec,
    struct kw_new *add, size_t *n_picked, uint32_t *failed, size_t *n_failed, struct err *e)
{
	struct flag_masks f;
	uint64_t kw;
	enum err_kind k = keyword_mask(mb->id, &mb->kw, ch->keywords, ch->n_keywords,
	    ch->op == FLAG_REMOVE ? NULL : add, &kw, e);

	if (k != ERR_OK)
		return k;
	f = masks_of(ch, kw);
	*rec = (struct rec_flags){ .mailbox = mb->id, .set = f.set, .clear = f.clear,
		.set_keywords = f.set_kw, .clear_keywords = f.clear_kw };
	*n_picked = pick_changed(mb, uids, n, ch, &f, picked, &rec->unseen_delta, failed, n_failed);
	if (!ranges_put(ranges, picked, *n_picked, &rec->n_ranges))
		return err_set(e, ERR_LIMIT, 0, "too many messages at once");
	return ERR_OK;
}

enum err_kind mailbox_store_flags(struct mailbox *mb, const uint32_t *uids, size_t n,
    const struct flag_change *ch, uint32_t *failed, size_t *out_failed, struct err *e)
{
	struct journal_rec r[STORE_KEYWORDS_MAX + 1];
	struct buf ranges = BUF_INIT(GROUP_MAX_OCTETS / 2);
	struct kw_new add = { .n = 0 };
	uint32_t *picked = malloc((n + 1) * sizeof *picked);
	size_t n_picked = 0, n_failed = 0, n_rec = 0;
	struct rec_flags rec;
	enum err_kind k;

	if (picked == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for flags");
	if ((k = op_begin(mb, e)) == ERR_OK) {
		k = store_flags_locked(mb, uids, n, ch, picked, &ranges, &rec, &add, &n_picked, failed,
		    &n_failed, e);
		if (k == ERR_OK && n_picked > 0) {
			n_rec = keyword_records(&add, r);
			r[n_rec++] = (struct journal_rec){ REC_FLAGS, {
				str_n((const char *)&rec, sizeof rec), buf_str(&ranges) } };
		}
		k = op_end(mb, r, n_rec, k, e);
	}
	buf_free(&ranges);
	free(picked);
	if (k == ERR_OK && out_failed != NULL)
		*out_failed = n_failed;
	return k;
}

/* -- expunge -- */

static size_t pick_expunged(struct mailbox *mb, const uint32_t *uids, size_t n, bool only_deleted,
    uint32_t *picked, struct rec_expunge *rec)
{
	size_t n_picked = 0;

	for (size_t i = 0; i < n; i++) {
		const struct message *m = find_uid(mb, uids[i]);

		if (m == NULL || (only_deleted && !(m->flags & MSG_DELETED)))
			continue;
		rec->n_messages++;
		rec->n_unseen += !(m->flags & MSG_SEEN);
		rec->octets += m->size_octets;
		picked[n_picked++] = uids[i];
	}
	return n_picked;
}

enum err_kind mailbox_expunge(struct mailbox *mb, const uint32_t *uids, size_t n, bool only_deleted,
    size_t *out_n, struct err *e)
{
	struct rec_expunge rec = { .mailbox = mb->id };
	struct buf ranges = BUF_INIT(GROUP_MAX_OCTETS / 2);
	uint32_t *picked = malloc((n + 1) * sizeof *picked);
	struct journal_rec r;
	size_t n_picked = 0;
	enum err_kind k;

	if (picked == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for expunge");
	if ((k = op_begin(mb, e)) == ERR_OK) {
		n_picked = pick_expunged(mb, uids, n, only_deleted, picked, &rec);
		if (!ranges_put(&ranges, picked, n_picked, &rec.n_ranges))
			k = err_set(e, ERR_LIMIT, 0, "too many messages at once");
		r = (struct journal_rec){ REC_EXPUNGE, { str_n((const char *)&rec, sizeof rec),
			buf_str(&ranges) } };
		k = op_end(mb, &r, n_picked > 0, k, e);
	}
	buf_free(&ranges);
	free(picked);
	if (k == ERR_OK && out_n != NULL)
		*out_n = n_picked;
	return k;
}
