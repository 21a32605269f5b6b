/* SPDX-License-Identifier: ISC */
/* A session's view of a mailbox and how it follows the journal. The journal is its own change feed: the view is the
 * index's rows once, and from then on the records behind them (invariant I3: never past the durable watermark).
 * Length: loading, following and starting anew must agree on what a record does to the view. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/vec.h"
#include "mailbox_int.h"

enum { DOUBT_AGAIN_S = 3600 };

/* -- open and close -- */

static void copy_slot(struct mailbox *mb, struct ctl_slot *slot, bool recent)
{
	mb->id = slot->id;
	mb->uidvalidity = slot->uidvalidity;
	mb->uidnext = slot->uidnext;
	mb->n_messages = slot->n_messages;
	mb->n_unseen = slot->n_unseen;
	mb->modseq = slot->modseq > 0 ? slot->modseq : 1;
	mb->recent_from = slot->recent_uid;
	mb->recent_to = slot->uidnext;
	mb->takes_recent = recent;
	mb->n_recent = mb->recent_to - mb->recent_from < mb->n_messages ?
	    mb->recent_to - mb->recent_from : mb->n_messages;
	mb->kw_known = ctl_told_keywords(slot, &mb->kw);
	mb->first_unseen = slot->first_unseen;
	mb->unseen_modseq = slot->unseen_modseq;
	if (recent)
		slot->recent_uid = slot->uidnext;
}

static void start_at_tail(struct mailbox *mb)
{
	mb->pos = mb->s->ctl->tail.pos;
	mb->seq = mb->s->ctl->tail.next_seq - 1;
	mb->epoch = mb->s->epoch;
}

enum err_kind mailbox_open(struct store *s, struct str name, bool recent, struct mailbox **out,
    struct err *e)
{
	struct mailbox *mb;
	struct ctl_slot *slot;
	enum err_kind k;

	if (name_canonical(name, &name, NULL) != ERR_OK)
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	mb = calloc(1, sizeof *mb);
	if (mb == NULL)
		_exit(EX_TEMPFAIL);
	mb->s = s;
	if ((k = store_lock(s, e)) != ERR_OK) {
		free(mb);
		return k;
	}
	slot = ctl_find_name(s, name);
	if (slot == NULL || !(slot->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT))) {
		k = err_set(e, ERR_NOENT, 0, "no such mailbox");
	} else if (slot->state & MAILBOX_NOSELECT) {
		k = err_set(e, ERR_DENIED, 0, "mailbox can't be selected");
	} else {
		copy_slot(mb, slot, recent);
		start_at_tail(mb);
	}
	store_unlock(s);
	if (k == ERR_OK)
		k = store_make_durable(s, mb->seq, e);	/* what is shown is durable */
	if (k != ERR_OK) {
		free(mb);
		return k;
	}
	mb->next = s->mailboxes;
	s->mailboxes = mb;
	*out = mb;
	return ERR_OK;
}

static void tell_first_unseen(struct mailbox *mb, struct ctl_slot *slot)
{
	bool known;
	size_t ix;

	if (!mb->loaded || mb->n_gone > 0 || slot->modseq != mb->modseq || slot->n_messages != mb->n)
		return;
	ix = mailbox_first_unseen(mb, &known);
	slot->first_unseen = ix < mb->n ? (uint32_t)ix + 1 : 0;
	slot->unseen_modseq = slot->modseq;
}

/* What a view knows spares the next SELECT the loading. Not worth waiting for the lock. */
static void tell_slot(struct mailbox *mb)
{
	struct ctl_slot *slot = ctl_find_id(mb->s, mb->id);

	if (slot == NULL || (slot->unseen_modseq == slot->modseq && slot->n_told == slot->n_keywords) ||
	    !store_try_lock(mb->s))
		return;
	slot = ctl_find_id(mb->s, mb->id);
	if (slot != NULL)
		tell_first_unseen(mb, slot);
	if (slot != NULL && mb->kw_known && mb->kw.n == slot->n_keywords)
		ctl_tell_keywords(slot, &mb->kw);
	store_unlock(mb->s);
}

void mailbox_close(struct mailbox **out)
{
	struct mailbox *mb = *out;
	struct mailbox **at;

	if (mb == NULL)
		return;
	tell_slot(mb);
	for (at = &mb->s->mailboxes; *at != NULL; at = &(*at)->next) {
		if (*at == mb) {
			*at = mb->next;
			break;
		}
	}
	free(mb->m);
	free(mb);
	*out = NULL;
}

void mailbox_counters(const struct mailbox *mb, struct mailbox_info *out)
{
	*out = (struct mailbox_info){
		.id = mb->id, .exists = !mb->deleted, .uidvalidity = mb->uidvalidity,
		.uidnext = mb->uidnext, .n_messages = mb->loaded ? (uint32_t)mb->n : mb->n_messages,
		.n_unseen = mb->n_unseen, .n_recent = mb->n_recent, .modseq = mb->modseq,
	};
}

bool mailbox_deleted(const struct mailbox *mb)
{
	return mb->deleted;
}

/* -- positions -- */

size_t mailbox_n(const struct mailbox *mb)
{
	return mb->n;
}

struct message *mailbox_at(struct mailbox *mb, size_t ix)
{
	return &mb->m[ix];
}

size_t mailbox_lower_bound(const struct mailbox *mb, uint32_t uid)
{
	size_t lo = 0, hi = mb->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (mb->m[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t mailbox_n_keywords(const struct mailbox *mb)
{
	return mb->kw.n;
}

struct str mailbox_keyword(const struct mailbox *mb, size_t i)
{
	return str_n(mb->kw.name[i], mb->kw.octets[i]);
}

size_t mailbox_first_unseen(const struct mailbox *mb, bool *out_known)
{
	size_t ix;

	bool told = mb->unseen_modseq == mb->modseq && mb->first_unseen > 0 && mb->first_unseen <= mb->n_messages &&
	    mb->n_unseen > 0;

	*out_known = mb->loaded || mb->n_unseen == 0 || mb->n_unseen == mb->n_messages || told;
	if (!mb->loaded && told)
		return mb->first_unseen - 1;
	if (!mb->loaded)
		return mb->n_unseen > 0 && mb->n_unseen == mb->n_messages ? 0 : mb->n_messages;
	for (ix = 0; ix < mb->n && (mb->m[ix].flags & MSG_SEEN); ix++)
		;
	return ix;
}

/* -- what records do to the view -- */

static bool grow(struct mailbox *mb, size_t more)
{
	size_t cap = mb->cap > 0 ? mb->cap : 256;
	struct message *m;

	if (mb->n + more <= mb->cap)
		return true;
	while (cap < mb->n + more)
		cap *= 2;
	m = realloc(mb->m, cap * sizeof *m);
	if (m == NULL)
		return false;
	mb->m = m;
	mb->cap = cap;
	return true;
}

static enum err_kind no_memory(struct err *e)
{
	return err_set(e, ERR_TEMP, 0, "no memory for mailbox");
}

static void arrived(struct mailbox *mb, uint32_t uid, uint32_t flags)
{
	mb->n_messages++;
	mb->n_unseen += !(flags & MSG_SEEN);
	if (uid >= mb->uidnext)
		mb->uidnext = uid + 1;
}

static enum err_kind see_new(struct mailbox *mb, const struct message *m, struct err *e)
{
	arrived(mb, m->uid, m->flags);
	if (!mb->loaded)
		return ERR_OK;
	if (mb->n > 0 && mb->m[mb->n - 1].uid >= m->uid)
		return ERR_OK;
	if (!grow(mb, 1))
		return no_memory(e);
	mb->m[mb->n] = *m;
	mb->m[mb->n].flags &= MSG_STORED_FLAGS;
	mb->n++;
	return ERR_OK;
}

/* Compaction put the octets elsewhere. A view knows the message, or has seen it go; a replay may begin behind the
 * records that made it. */
static enum err_kind see_moved(struct mailbox *mb, const struct message *m, struct err *e)
{
	size_t ix = mailbox_lower_bound(mb, m->uid);

	if (!mb->loaded)
		return ERR_OK;
	if (ix < mb->n && mb->m[ix].uid == m->uid) {
		mb->m[ix].seg = m->seg;
		mb->m[ix].off = m->off;
		return ERR_OK;
	}
	if (mb->seq_wanted == 0)
		return ERR_OK;
	if (!grow(mb, 1))
		return no_memory(e);
	memmove(&mb->m[ix + 1], &mb->m[ix], (mb->n - ix) * sizeof mb->m[0]);
	mb->m[ix] = *m;
	mb->n++;
	return ERR_OK;
}

static enum err_kind see_message(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	struct rec_message r;
	struct str record, prefix, body;

	struct message m;

	(void)own;
	if (!rec_get_message(v->payload, &r, &record, &prefix, &body))
		return ERR_OK;
	m = (struct message){
		.uid = r.uid, .flags = r.flags, .keywords = r.keywords,
		.modseq = r.modseq != 0 ? r.modseq : v->h.seq, .internaldate_s = r.internaldate_s,
		.size_octets = r.size_octets, .record_octets = r.record_octets,
		.seg = v->pos.seg, .off = v->pos.off };
	return r.moved ? see_moved(mb, &m, e) : see_new(mb, &m, e);
}

static enum err_kind see_place(struct mailbox *mb, const struct journal_view *v, struct err *e)
{
	struct rec_place p;
	struct str entries;
	enum err_kind k = ERR_OK;

	if (!rec_get_place(v->payload, &p, &entries))
		return ERR_OK;
	for (uint32_t i = 0; i < p.n && k == ERR_OK; i++) {
		struct place_entry x = place_entry_at(entries, i);

		if (x.mailbox == mb->id)
			k = see_moved(mb, &(struct message){
				.uid = x.uid, .flags = x.flags, .keywords = x.keywords, .modseq = x.modseq,
				.internaldate_s = x.internaldate_s, .size_octets = x.size_octets,
				.record_octets = x.record_octets, .seg = x.seg, .off = x.off }, e);
	}
	return k;
}

static enum err_kind see_copy(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	struct rec_copy c;
	struct str entries;
	enum err_kind k = ERR_OK;

	(void)own;
	if (!rec_get_copy(v->payload, &c, &entries))
		return ERR_OK;
	for (uint32_t i = 0; i < c.n && k == ERR_OK; i++) {
		struct copy_entry x = copy_entry_at(entries, i);

		k = see_new(mb, &(struct message){
			.uid = c.first_uid + i, .flags = x.flags, .keywords = x.keywords,
			.modseq = v->h.seq, .internaldate_s = x.internaldate_s,
			.size_octets = x.size_octets, .record_octets = x.record_octets,
			.seg = x.seg, .off = x.off }, e);
	}
	return k;
}

static enum err_kind see_flags(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	struct rec_flags f;
	struct ranges r;

	(void)e;
	if (!rec_get_flags(v->payload, &f, &r))
		return ERR_OK;
	mb->n_unseen = (uint32_t)((int64_t)mb->n_unseen + f.unseen_delta);
	for (size_t i = 0; mb->loaded && i < r.n; i++) {
		struct uid_range u = range_at(r, i);

		for (size_t ix = mailbox_lower_bound(mb, u.lo); ix < mb->n && mb->m[ix].uid <= u.hi;
		    ix++) {
			struct message *m = &mb->m[ix];

			m->flags = (m->flags & ~f.clear) | f.set;
			m->keywords = (m->keywords & ~f.clear_keywords) | f.set_keywords;
			m->modseq = v->h.seq;
			m->dirty |= own ? MSG_DIRTY_OWN : MSG_DIRTY_OTHER;
		}
	}
	return ERR_OK;
}

static enum err_kind see_expunge(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	struct rec_expunge x;
	struct ranges r;

	(void)own;
	(void)e;
	if (!rec_get_expunge(v->payload, &x, &r))
		return ERR_OK;
	mb->n_messages -= x.n_messages;
	mb->n_unseen -= x.n_unseen;
	for (size_t i = 0; mb->loaded && i < r.n; i++) {
		struct uid_range u = range_at(r, i);

		for (size_t ix = mailbox_lower_bound(mb, u.lo); ix < mb->n && mb->m[ix].uid <= u.hi;
		    ix++) {
			mb->n_gone += !mb->m[ix].gone;
			mb->m[ix].gone = true;
		}
	}
	return ERR_OK;
}

static enum err_kind see_keyword(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	struct rec_keyword kw;
	struct str name;

	(void)own;
	(void)e;
	if (!rec_get_keyword(v->payload, &kw, &name))
		return ERR_OK;
	mb->kw.octets[kw.bit] = (uint8_t)name.n;
	memcpy(mb->kw.name[kw.bit], name.p, name.n);
	if (kw.bit >= mb->kw.n)
		mb->kw.n = kw.bit + 1;
	return ERR_OK;
}

static void all_gone(struct mailbox *mb)
{
	mb->deleted = true;
	mb->n_messages = mb->n_unseen = 0;
	for (size_t ix = 0; ix < mb->n; ix++)
		mb->m[ix].gone = true;
	mb->n_gone = mb->n;
}

static enum err_kind see_mailbox(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	struct rec_mailbox m;
	struct str name;

	(void)own;
	(void)e;
	if (!rec_get_mailbox(v->payload, &m, &name) ||
	    ((m.state & MAILBOX_EXISTS) && !(m.state & MAILBOX_NOSELECT)))
		return ERR_OK;
	all_gone(mb);
	return ERR_OK;
}

static uint32_t mark_recent(struct mailbox *mb, size_t from)
{
	uint32_t marked = 0;

	for (size_t ix = from; ix < mb->n; ix++) {
		if (mb->m[ix].uid >= mb->recent_from && mb->m[ix].uid < mb->recent_to) {
			mb->m[ix].flags |= MSG_RECENT;
			marked++;
		}
	}
	return marked;
}

static bool is_move(const struct journal_view *v)
{
	struct rec_message r;
	struct str record, prefix, body;

	return v->h.type == REC_MESSAGE && rec_get_message(v->payload, &r, &record, &prefix, &body) && r.moved;
}

static enum err_kind see_record(struct mailbox *mb, const struct journal_view *v, bool own, struct err *e)
{
	static enum err_kind (*const see[])(struct mailbox *, const struct journal_view *, bool,
	    struct err *) = {
		[REC_MAILBOX] = see_mailbox, [REC_MESSAGE] = see_message, [REC_COPY] = see_copy,
		[REC_FLAGS] = see_flags, [REC_EXPUNGE] = see_expunge, [REC_KEYWORD] = see_keyword,
	};

	mb->seq = v->h.seq;
	mb->pos = v->next;
	if (v->h.type == REC_PLACE)
		return see_place(mb, v, e);
	if (v->h.type >= COUNTOF(see) || see[v->h.type] == NULL || rec_mailbox_id(v) != mb->id)
		return ERR_OK;
	if (v->h.type != REC_KEYWORD && !is_move(v))
		mb->modseq = v->h.seq;
	mb->n_seen++;
	return see[v->h.type](mb, v, own, e);
}

/* Positions that are counted by an expunge must be known before it is applied. */
static bool needs_messages(const struct mailbox *mb, const struct journal_view *v)
{
	return !mb->loaded && rec_mailbox_id(v) == mb->id &&
	    (v->h.type == REC_EXPUNGE || v->h.type == REC_FLAGS ||
	    (v->h.type == REC_MAILBOX && mb->n_messages > 0));
}

/* Something new is \Recent to the one session that takes it first (RFC 3501 s.2.3.2). */
static void take_recent(struct mailbox *mb)
{
	struct ctl_slot *slot;
	size_t from = mailbox_lower_bound(mb, mb->recent_to);

	if (mb->takes_recent && store_lock(mb->s, NULL) == ERR_OK) {
		slot = ctl_find_id(mb->s, mb->id);
		if (slot != NULL && slot->recent_uid < mb->uidnext) {
			if (slot->recent_uid > mb->recent_to)
				mb->recent_from = slot->recent_uid;
			slot->recent_uid = mb->uidnext;
			if (!mb->loaded)
				mb->n_recent += mb->uidnext - mb->recent_to;
			mb->recent_to = mb->uidnext;
			mb->n_recent += mark_recent(mb, from);
		}
		store_unlock(mb->s);
	}
}

enum err_kind view_advance(struct mailbox *mb, uint64_t upto, uint64_t own_from, uint64_t own_to,
    struct err *e)
{
	struct journal_view v;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && mb->seq < upto) {
		if ((k = journal_read(mb->s->journal, mb->pos, true, &v, e)) != ERR_OK)
			break;
		if (needs_messages(mb, &v))
			return err_set(e, ERR_BUSY, 0, "messages must be loaded first");
		if (v.h.seq <= mb->seq) {	/* damage: what cannot be read in order is not followed */
			k = err_set(e, ERR_CORRUPT, 0, "journal is out of order");
			break;
		}
		k = see_record(mb, &v, v.h.seq >= own_from && v.h.seq <= own_to, e);
	}
	return k;
}

/* -- starting anew: the journal that the view followed was cut (invariant I6), or compaction removed the segment that an
 *    idle view had come to -- */

static bool same_flags(const struct message *a, const struct message *b)
{
	return ((a->flags ^ b->flags) & MSG_STORED_FLAGS) == 0 && a->keywords == b->keywords;
}

/* Takes over what is new in b without losing what the owner has not told yet. */
static void update_message(struct message *a, const struct message *b)
{
	uint8_t dirty = a->dirty | (same_flags(a, b) ? 0 : MSG_DIRTY_OTHER);
	uint32_t recent = a->flags & MSG_RECENT;

	*a = *b;
	a->flags |= recent;
	a->dirty = dirty;
}

static enum err_kind merge(struct mailbox *mb, const struct mailbox *fresh, struct err *e)
{
	size_t j = 0;

	mb->n_gone = 0;
	for (size_t i = 0; i < mb->n; i++) {
		while (j < fresh->n && fresh->m[j].uid < mb->m[i].uid)
			j++;
		if (j < fresh->n && fresh->m[j].uid == mb->m[i].uid && !mb->m[i].gone)
			update_message(&mb->m[i], &fresh->m[j++]);
		else
			mb->m[i].gone = true;
		mb->n_gone += mb->m[i].gone;
	}
	while (j < fresh->n && mb->n > 0 && fresh->m[j].uid <= mb->m[mb->n - 1].uid)
		j++;
	if (!grow(mb, fresh->n - j))
		return no_memory(e);
	for (; j < fresh->n; j++)
		mb->m[mb->n++] = fresh->m[j];
	return ERR_OK;
}

static enum err_kind load_rows(struct mailbox *mb, struct err *e);

static enum err_kind start_anew(struct mailbox *mb, struct err *e)
{
	struct mailbox fresh = { .s = mb->s };
	struct ctl_slot *slot;
	enum err_kind k;

	if (!mb->loaded)	/* positions that the owner counts on were never known */
		return err_set(e, ERR_CORRUPT, 0, "the view is of a part of the journal that is gone");
	if ((k = store_lock(mb->s, e)) != ERR_OK)
		return k;
	start_at_tail(&fresh);
	slot = ctl_find_id(mb->s, mb->id);
	if (slot != NULL)
		copy_slot(&fresh, slot, false);
	store_unlock(mb->s);
	if ((k = store_make_durable(mb->s, fresh.seq, e)) != ERR_OK)
		return k;
	if (slot == NULL)
		all_gone(mb);
	else if ((k = load_rows(&fresh, e)) == ERR_OK && (k = merge(mb, &fresh, e)) == ERR_OK) {
		mb->kw = fresh.kw;
		mb->n_messages = fresh.n_messages;
		mb->n_unseen = fresh.n_unseen;
		mb->uidnext = fresh.uidnext;
		mb->modseq = fresh.modseq;
	}
	free(fresh.m);
	if (k == ERR_OK) {
		mb->pos = fresh.pos;
		mb->seq = fresh.seq;
		mb->epoch = fresh.epoch;
	}
	return k;
}

enum err_kind mailbox_refresh(struct mailbox *mb, bool *out_changed, struct err *e)
{
	uint32_t epoch = mb->s->ctl->epoch;
	uint64_t upto = store_shown_seq(mb->s);
	uint64_t n_seen = mb->n_seen;
	bool behind = upto > mb->seq;
	enum err_kind k = ERR_OK;

	/* before it was loaded a view has seen nothing that was not durable: what was cut off lies behind it */
	if (!mb->loaded)
		mb->epoch = epoch;
	if (epoch != mb->epoch || mb->pos.seg < mb->s->ctl->first_seg) {
		if (out_changed != NULL)
			*out_changed = true;
		return start_anew(mb, e);
	}
	if (behind && (k = view_advance(mb, upto, 0, 0, e)) == ERR_BUSY && !mb->loaded &&
	    (k = mailbox_load(mb, e)) == ERR_OK)
		k = view_advance(mb, upto, 0, 0, e);
	if (k == ERR_CORRUPT && mb->loaded)	/* damage: what can't be followed is looked up */
		k = start_anew(mb, e);
	if (k == ERR_OK && mb->uidnext != mb->recent_to)
		take_recent(mb);
	if (out_changed != NULL)
		*out_changed = mb->n_seen != n_seen;
	return k;
}

/* -- loading -- */

/* The index is further on than the view: what it already took out comes back as gone, what it already added is
 * dropped (following the journal adds it again); flags may be newer, and following repeats them. */
static void forget_newer(struct mailbox *mb)
{
	while (mb->n > 0 && mb->m[mb->n - 1].uid >= mb->uidnext)
		mb->n--;
}

struct uid_list {
	uint32_t *v;
	size_t n, cap;
};

static bool uid_list_add(struct uid_list *l, uint32_t uid)
{
	if (!vec_room(&l->v, l->n, &l->cap, sizeof *l->v))
		return false;
	l->v[l->n++] = uid;
	return true;
}

static int by_uid(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The UIDs of the view that records behind it, up to `upto`, expunged. */
static enum err_kind expunged_since(struct mailbox *mb, uint64_t upto, struct uid_list *l, struct err *e)
{
	struct journal_pos at = mb->pos;
	uint64_t seq = mb->seq;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && seq < upto) {
		struct journal_view v;
		struct rec_expunge x;
		struct ranges r;

		k = journal_read(mb->s->journal, at, true, &v, e);
		if (k == ERR_CORRUPT)
			return ERR_OK;	/* damage: following the journal will find it, too */
		if (k != ERR_OK)
			break;
		at = v.next;
		seq = v.h.seq;
		if (v.h.type != REC_EXPUNGE || rec_mailbox_id(&v) != mb->id ||
		    !rec_get_expunge(v.payload, &x, &r))
			continue;
		for (size_t i = 0; i < r.n && k == ERR_OK; i++) {
			struct uid_range u = range_at(r, i);

			for (uint64_t uid = u.lo; uid <= u.hi && uid < mb->uidnext && k == ERR_OK; uid++)
				k = uid_list_add(l, (uint32_t)uid) ? ERR_OK : no_memory(e);
		}
	}
	return k;
}

/* Merges them into the view from its end, each where its UID belongs. */
static void put_back(struct mailbox *mb, const struct uid_list *l)
{
	size_t from = mb->n, to = mb->n + l->n;

	mb->n = to;
	for (size_t i = l->n; i > 0;) {
		if (from > 0 && mb->m[from - 1].uid > l->v[i - 1])
			mb->m[--to] = mb->m[--from];
		else
			mb->m[--to] = (struct message){ .uid = l->v[--i], .modseq = 1 };
	}
}

static enum err_kind put_back_expunged(struct mailbox *mb, uint64_t upto, struct err *e)
{
	struct uid_list l = { NULL, 0, 0 };
	size_t n = 0;
	enum err_kind k = expunged_since(mb, upto, &l, e);

	if (l.n > 1)
		qsort(l.v, l.n, sizeof l.v[0], by_uid);
	for (size_t i = 0; i < l.n; i++) {	/* once each, and only what the index has not */
		size_t ix = mailbox_lower_bound(mb, l.v[i]);

		if ((n == 0 || l.v[n - 1] != l.v[i]) && (ix == mb->n || mb->m[ix].uid != l.v[i]))
			l.v[n++] = l.v[i];
	}
	l.n = n;
	if (k == ERR_OK && !grow(mb, l.n))
		k = no_memory(e);
	if (k == ERR_OK)
		put_back(mb, &l);
	free(l.v);
	return k;
}

/* Without the index (it is not worth opening, a full disk has no room for it, or it is beyond help): the whole journal
 * up to the view's position says the same. */
static enum err_kind see_up_to(void *ctx, const struct journal_view *v, struct err *e)
{
	struct mailbox *replayed = ctx;

	return v->h.seq <= replayed->seq_wanted ? see_record(replayed, v, false, e) : ERR_OK;
}

static enum err_kind load_from_journal(struct mailbox *mb, struct err *e)
{
	struct mailbox r = { .s = mb->s, .id = mb->id, .loaded = true, .seq_wanted = mb->seq };
	enum err_kind k = replay_all(mb->s, mb->pos.seg, see_up_to, &r, e);

	if (k != ERR_OK) {
		free(r.m);
		return k;
	}
	mailbox_expel(&r, NULL, NULL);
	for (size_t ix = 0; ix < r.n; ix++)
		r.m[ix].dirty = 0;
	free(mb->m);
	mb->m = r.m;
	mb->n = r.n;
	mb->cap = r.cap;
	mb->kw = r.kw;
	return ERR_OK;
}

/* Rows and keywords that do not add up to what the counters say: the index has lost some without noticing (a page of the memory
 * that processes share), or damage has cost the journal some. Made anew it is no worse; if that does not help, for a while
 * nobody tries again. */
static bool adds_up(struct mailbox *mb, const struct index_load *l, bool whole)
{
	const struct ctl_slot *slot = ctl_find_id(mb->s, mb->id);
	int64_t now_s = clock_real_s();

	if (slot == NULL || ((!whole || l->n == slot->n_messages) && mb->kw.n >= slot->n_keywords))
		return true;
	if (mb->s->ctl->index_doubt_s > now_s - DOUBT_AGAIN_S && mb->s->ctl->index_doubt_s <= now_s)
		return true;
	mb->s->ctl->index_doubt_s = now_s;
	return false;
}

/* One hold of the lock: a step towards the tail, or a slice of the rows. */
static enum err_kind load_step(struct mailbox *mb, struct index_load *l, uint64_t *out_upto, bool *out_done,
    bool *out_behind, struct err *e)
{
	bool first = l->m == NULL;
	enum err_kind k;

	*out_done = *out_behind = false;
	if ((k = index_enter_step(mb->s, out_behind, e)) != ERR_OK)
		return k;
	if (!*out_behind)
		k = index_load_some(mb->s, mb->id, l, out_done, e);
	if (k == ERR_OK && *out_done) {
		*out_upto = mb->s->ctl->tail.next_seq - 1;
		k = index_keywords(mb->s, mb->id, &mb->kw, e);
		if (k == ERR_OK && !adds_up(mb, l, first))
			k = err_set(e, ERR_CORRUPT, 0, "index: rows are missing");
	}
	if (k != ERR_OK)
		*out_done = false;
	if (k == ERR_CORRUPT)
		k = index_drop(mb->s, e) == ERR_OK ? ERR_CORRUPT : ERR_TEMP;
	else
		index_leave(mb->s);
	return k;
}

/* Others get the lock between the steps, however long the mailbox and the way to the tail are. */
static enum err_kind load_from_index(struct mailbox *mb, uint64_t *out_upto, struct err *e)
{
	struct index_load l = { .m = NULL };
	bool done = false, again = true, behind;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && !done) {
		if ((k = store_lock(mb->s, e)) != ERR_OK)
			break;
		k = load_step(mb, &l, out_upto, &done, &behind, e);
		store_unlock(mb->s);
		if (behind)
			lock_give_way();
		if (k == ERR_CORRUPT && again) {
			free(l.m);
			l = (struct index_load){ .m = NULL };
			again = false;
			k = ERR_OK;
		}
	}
	if (k != ERR_OK) {
		free(l.m);
		return k;
	}
	free(mb->m);
	mb->m = l.m;
	mb->n = l.n;
	mb->cap = l.cap;
	return ERR_OK;
}

/* When damage has cost rows that the counters, and so the client, know of, they come back as gone: positions that were told
 * stay true until the owner tells better. */
static enum err_kind fill_up(struct mailbox *mb, struct err *e)
{
	struct uid_list l = { NULL, 0, 0 };
	size_t lacking = mb->n_messages - mb->n, ix = mb->n;
	bool ok = true;

	for (uint32_t uid = mb->uidnext; ok && l.n < lacking && --uid > 0;) {
		if (ix > 0 && mb->m[ix - 1].uid == uid)
			ix--;
		else
			ok = uid_list_add(&l, uid);
	}
	if (l.n > 1)
		qsort(l.v, l.n, sizeof l.v[0], by_uid);
	if (ok && (ok = grow(mb, l.n)))
		put_back(mb, &l);
	for (size_t i = 0; ok && i < l.n; i++)
		mb->m[mailbox_lower_bound(mb, l.v[i])].gone = true;
	if (ok) {
		mb->n_gone += l.n;
		mb->n_messages -= (uint32_t)l.n;
	}
	free(l.v);
	return ok ? ERR_OK : no_memory(e);
}

static enum err_kind load_rows(struct mailbox *mb, struct err *e)
{
	uint64_t upto = mb->seq;
	enum err_kind k;

	k = replay_is_cheaper(mb->s, mb->pos) ? load_from_journal(mb, e) : load_from_index(mb, &upto, e);
	if (k != ERR_OK) {
		upto = mb->seq;
		k = load_from_journal(mb, e);
	}
	if (k != ERR_OK)
		return err_note(e, "load mailbox");
	forget_newer(mb);
	if (upto > mb->seq && (k = put_back_expunged(mb, upto, e)) != ERR_OK)
		return err_note(e, "load mailbox");
	mb->loaded = true;
	mb->kw_known = true;
	mb->n_gone = 0;
	mb->n_recent = mark_recent(mb, 0);
	return ERR_OK;
}

enum err_kind mailbox_load(struct mailbox *mb, struct err *e)
{
	enum err_kind k;

	if (mb->loaded)
		return ERR_OK;
	k = load_rows(mb, e);
	if (k == ERR_OK && mb->n < mb->n_messages)
		k = fill_up(mb, e);
	if (k == ERR_OK)
		tell_slot(mb);
	return k;
}

enum err_kind mailbox_know_keywords(struct mailbox *mb, struct err *e)
{
	enum err_kind k;

	if (mb->kw_known)
		return ERR_OK;
	if (replay_is_cheaper(mb->s, mb->pos))
		return mailbox_load(mb, e);
	if ((k = index_lock(mb->s, e)) != ERR_OK)
		return k;
	k = index_keywords(mb->s, mb->id, &mb->kw, e);
	index_unlock(mb->s);
	mb->kw_known = k == ERR_OK;
	return k;
}

/* -- gone messages -- */

bool mailbox_has_gone(const struct mailbox *mb)
{
	return mb->n_gone > 0;
}

void mailbox_expel(struct mailbox *mb, void (*told)(void *ctx, uint32_t msgno, uint32_t uid), void *ctx)
{
	size_t kept = 0;

	if (mb->n_gone == 0)
		return;
	for (size_t ix = 0; ix < mb->n; ix++) {
		if (!mb->m[ix].gone) {
			mb->m[kept++] = mb->m[ix];
			continue;
		}
		if (mb->m[ix].flags & MSG_RECENT)
			mb->n_recent--;
		if (told != NULL)
			told(ctx, (uint32_t)kept + 1, mb->m[ix].uid);
	}
	mb->n = kept;
	mb->n_gone = 0;
}
