/* SPDX-License-Identifier: ISC */
/* The change feed. It owns a position in the journal, never behind the durable watermark's
 * record, and the names and states of the mailboxes as they were there: a record says how a
 * mailbox is now, the feed what is different. Both are made from the control file (now) or from
 * the snapshot that every segment begins with (any other number). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../libbase/buf.h"
#include "../libbase/vec.h"
#include "changes.h"
#include "store_int.h"

struct known {
	uint32_t id, state, uidvalidity;
	struct str name;		/* malloc'ed */
};

struct changes {
	struct store *s;
	uint64_t store_id;
	uint32_t epoch;
	uint64_t seq;			/* of the last record looked at */
	struct journal_pos pos;		/* behind it */
	bool lost;			/* start anew */
	struct known *v;		/* ascending ids */
	size_t n, cap;
	struct buf uids;
	bool (*each)(void *ctx, const struct change_told *t);	/* NULL while seeking */
	void *ctx;
	bool enough;
};

static enum err_kind start_anew(struct changes *c, struct err *e, const char *why)
{
	c->lost = true;
	return err_set(e, ERR_NOENT, 0, "the change feed must be started anew: %s", why);
}

/* -- mailboxes as they were at the position -- */

static size_t known_lower_bound(const struct changes *c, uint32_t id)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->v[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct known *known_find(const struct changes *c, uint32_t id)
{
	size_t i = known_lower_bound(c, id);

	return i < c->n && c->v[i].id == id ? &c->v[i] : NULL;
}

static void known_clear(struct changes *c)
{
	for (size_t i = 0; i < c->n; i++)
		free((void *)(uintptr_t)c->v[i].name.p);
	c->n = 0;
}

static void known_remove(struct changes *c, size_t i)
{
	free((void *)(uintptr_t)c->v[i].name.p);
	memmove(&c->v[i], &c->v[i + 1], (--c->n - i) * sizeof c->v[0]);
}

static struct known *known_add(struct changes *c, size_t i, uint32_t id)
{
	if (!vec_room(&c->v, c->n, &c->cap, sizeof *c->v))
		return NULL;
	memmove(&c->v[i + 1], &c->v[i], (c->n - i) * sizeof c->v[0]);
	c->n++;
	c->v[i] = (struct known){ .id = id };
	return &c->v[i];
}

/* State 0 forgets it. False without memory. */
static bool known_set(struct changes *c, uint32_t id, uint32_t state, uint32_t uidvalidity,
    struct str name)
{
	size_t i = known_lower_bound(c, id);
	struct known *k = i < c->n && c->v[i].id == id ? &c->v[i] : NULL;
	char *copy;

	if (state == 0) {
		if (k != NULL)
			known_remove(c, i);
		return true;
	}
	copy = malloc(name.n + 1);
	if (copy == NULL || (k == NULL && (k = known_add(c, i, id)) == NULL)) {
		free(copy);
		return false;
	}
	memcpy(copy, name.p, name.n);
	free((void *)(uintptr_t)k->name.p);
	*k = (struct known){ id, state, uidvalidity, str_n(copy, name.n) };
	return true;
}

/* -- telling -- */

static void tell(struct changes *c, struct change_told *t, uint64_t seq)
{
	const struct known *k = known_find(c, t->mailbox);

	if (c->each == NULL)
		return;
	t->modseq = seq;
	if (k != NULL && t->uidvalidity == 0)
		t->uidvalidity = k->uidvalidity;
	if (k != NULL && t->name.p == NULL)
		t->name = k->name;
	if (!c->each(c->ctx, t))
		c->enough = true;
}

/* A payload's ranges may lie at any address. */
static bool take_ranges(struct changes *c, struct change_told *t, struct ranges r)
{
	buf_reset(&c->uids);
	for (size_t i = 0; i < r.n; i++) {
		struct uid_range u = range_at(r, i);

		buf_put(&c->uids, str_n((const char *)&u, sizeof u));
	}
	t->uids = (const struct uid_range *)(const void *)c->uids.p;
	t->n_uids = r.n;
	return !c->uids.full;
}

/* Each: false without memory. */
static bool see_message(struct changes *c, const struct journal_view *v)
{
	struct rec_message m;
	struct str record, prefix, body;
	struct uid_range u;
	struct change_told t = { .kind = CHANGE_NEW, .uids = &u, .n_uids = 1 };

	if (!rec_get_message(v->payload, &m, &record, &prefix, &body) || m.moved)
		return true;
	u = (struct uid_range){ m.uid, m.uid };
	t.mailbox = m.mailbox;
	tell(c, &t, v->h.seq);
	return true;
}

static bool see_copy(struct changes *c, const struct journal_view *v)
{
	struct rec_copy copy;
	struct str entries;
	struct uid_range u;
	struct change_told t = { .kind = CHANGE_NEW, .uids = &u, .n_uids = 1 };

	if (!rec_get_copy(v->payload, &copy, &entries) || copy.n == 0 ||
	    copy.n > UINT32_MAX - copy.first_uid)
		return true;
	u = (struct uid_range){ copy.first_uid, copy.first_uid + copy.n - 1 };
	t.mailbox = copy.mailbox;
	tell(c, &t, v->h.seq);
	return true;
}

static bool see_flags(struct changes *c, const struct journal_view *v)
{
	struct rec_flags f;
	struct ranges r;
	struct change_told t = { .kind = CHANGE_FLAGS };

	if (!rec_get_flags(v->payload, &f, &r) || r.n == 0)
		return true;
	t.mailbox = f.mailbox;
	if (!take_ranges(c, &t, r))
		return false;
	tell(c, &t, v->h.seq);
	return true;
}

static bool see_expunge(struct changes *c, const struct journal_view *v)
{
	struct rec_expunge x;
	struct ranges r;
	struct change_told t = { .kind = CHANGE_EXPUNGE };

	if (!rec_get_expunge(v->payload, &x, &r) || r.n == 0)
		return true;
	t.mailbox = x.mailbox;
	if (!take_ranges(c, &t, r))
		return false;
	tell(c, &t, v->h.seq);
	return true;
}

static bool see_view(struct changes *c, const struct journal_view *v)
{
	struct rec_view view;
	struct ranges r;
	struct str name;
	struct change_told t = { .kind = CHANGE_VIEW };

	if (!rec_get_view(v->payload, &view, &name, &r) || (view.how & VIEW_AGAIN))
		return true;
	t.mailbox = view.mailbox;
	t.what = name;
	t.set = view.how == VIEW_ADDS;
	if (!take_ranges(c, &t, r))
		return false;
	tell(c, &t, v->h.seq);
	return true;
}

static bool see_attr(struct changes *c, const struct journal_view *v)
{
	struct rec_attr a;
	struct str value;
	struct change_told t = { .kind = CHANGE_ATTR };

	if (!rec_get_attr(v->payload, &a, &t.owner, &t.what, &value) || a.modseq != 0)
		return true;
	t.mailbox = a.mailbox;
	t.attr = (enum attr_kind)a.kind;
	t.set = a.set != 0;
	tell(c, &t, v->h.seq);
	return true;
}

static bool see_quota(struct changes *c, const struct journal_view *v)
{
	struct rec_quota q;
	struct change_told t = { .kind = CHANGE_QUOTA };

	if (!rec_get_quota(v->payload, &q))
		return true;
	t.mailbox = q.mailbox;
	t.set = q.set != 0;
	tell(c, &t, v->h.seq);
	return true;
}

static bool is_mailbox(uint32_t state)
{
	return (state & MAILBOX_EXISTS) && !(state & MAILBOX_NOSELECT);
}

static bool is_shown(uint32_t state)
{
	return state & (MAILBOX_EXISTS | MAILBOX_NOSELECT);
}

/* What is different between two states of one id. */
static void tell_difference(struct changes *c, const struct known *was,
    const struct rec_mailbox *now, struct str name, uint64_t seq)
{
	uint32_t old = was->state, new = now->state;
	struct change_told t = { .mailbox = now->id, .name = name,
	    .uidvalidity = now->uidvalidity };
	struct change_told gone = { .kind = CHANGE_DELETED, .mailbox = now->id, .name = was->name,
		.uidvalidity = was->uidvalidity, .noselect = new & MAILBOX_NOSELECT };

	if (is_shown(old) && (!is_shown(new) || (is_mailbox(old) && !is_mailbox(new)))) {
		tell(c, &gone, seq);
	} else if (!is_shown(old) && is_shown(new)) {
		t.kind = CHANGE_CREATED;
		tell(c, &t, seq);
	} else if (is_shown(old) && !str_eq(was->name, name)) {
		t.kind = CHANGE_RENAMED;
		t.old_name = was->name;
		tell(c, &t, seq);
	}
	if (!((old ^ new) & MAILBOX_SUBSCRIBED))
		return;
	t.kind = new & MAILBOX_SUBSCRIBED ? CHANGE_SUBSCRIBED : CHANGE_UNSUBSCRIBED;
	t.name = new & MAILBOX_SUBSCRIBED ? name : was->name;
	t.old_name = str_n(NULL, 0);
	tell(c, &t, seq);
}

static bool see_mailbox(struct changes *c, const struct journal_view *v)
{
	static const struct known none;
	struct rec_mailbox m;
	struct str name;
	const struct known *was;

	if (!rec_get_mailbox(v->payload, &m, &name))
		return true;
	was = known_find(c, m.id);
	tell_difference(c, was != NULL ? was : &none, &m, name, v->h.seq);
	return known_set(c, m.id, m.state, m.uidvalidity, name);
}

static enum err_kind see_record(struct changes *c, const struct journal_view *v, struct err *e)
{
	static bool (*const see[])(struct changes *, const struct journal_view *) = {
		[REC_MAILBOX] = see_mailbox, [REC_MESSAGE] = see_message, [REC_COPY] = see_copy,
		[REC_FLAGS] = see_flags, [REC_EXPUNGE] = see_expunge, [REC_VIEW] = see_view,
		[REC_ATTR] = see_attr, [REC_QUOTA] = see_quota,
	};

	if (v->h.type == REC_LOST)
		return start_anew(c, e, "records were lost");
	if (v->h.type < COUNTOF(see) && see[v->h.type] != NULL && !see[v->h.type](c, v))
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for the change feed");
	c->seq = v->h.seq;
	c->pos = v->next;
	return ERR_OK;
}

/* -- going on from the position -- */

/* Records up to and including `upto`, as long as enough is not enough. */
static enum err_kind advance(struct changes *c, uint64_t upto, struct err *e)
{
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && c->seq < upto && !c->enough) {
		struct journal_view v;

		k = journal_read(c->s->journal, c->pos, false, &v, e);
		if (k == ERR_NOENT || k == ERR_CORRUPT)
			return start_anew(c, e, k == ERR_NOENT ? "compaction has been there" :
			    "records are damaged");
		if (k != ERR_OK)
			break;
		if (v.h.seq <= c->seq)
			return start_anew(c, e, "records are out of order");
		if (v.h.seq > upto)	/* the segment's end was the last */
			break;
		k = see_record(c, &v, e);
	}
	return k;
}

/* A failed sync has cost records since: none that was told, for only durable ones are. */
static enum err_kind enter_epoch(struct changes *c, struct err *e)
{
	struct store *s = c->s;
	bool same;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	same = s->ctl->store_id == c->store_id && s->ctl->tail.next_seq > c->seq;
	c->epoch = s->epoch;
	store_unlock(s);
	return same ? ERR_OK : start_anew(c, e, "the journal is another one");
}

enum err_kind changes_read(struct changes *c, bool (*each)(void *ctx, const struct change_told *t),
    void *ctx, struct err *e)
{
	enum err_kind k;

	if (c->lost)
		return start_anew(c, e, "it was said before");
	if (c->s->ctl->epoch != c->epoch && (k = enter_epoch(c, e)) != ERR_OK)
		return k;
	c->each = each;
	c->ctx = ctx;
	c->enough = false;
	return advance(c, store_shown_seq(c->s), e);
}

uint64_t changes_seq(const struct changes *c)
{
	return c->seq;
}

/* -- opening -- */

static bool know_slots(struct changes *c)
{
	const struct ctl_slot *slot = ctl_slots(c->s);

	for (uint32_t i = 0; i < c->s->ctl->n_slots; i++) {
		if (slot[i].state != 0 && !known_set(c, slot[i].id, slot[i].state,
		    slot[i].uidvalidity, str_n(slot[i].name, slot[i].name_octets)))
			return false;
	}
	return true;
}

static enum err_kind open_now(struct changes *c, struct err *e)
{
	struct store *s = c->s;
	struct seg_header h;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	c->seq = s->ctl->tail.next_seq - 1;
	c->pos = s->ctl->tail.pos;
	c->epoch = s->epoch;
	c->store_id = s->ctl->store_id;
	if (!know_slots(c))
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory for the change feed");
	else	/* mapped, it can be read on when compaction has removed it */
		k = journal_segment(s->journal, c->pos.seg, &h, e);
	store_unlock(s);
	return k != ERR_OK ? k : store_make_durable(s, c->seq, e);
}

/* The segment that holds the record behind `after`: the last that begins no later. */
static enum err_kind find_segment(struct changes *c, uint64_t after, uint32_t *out, struct err *e)
{
	uint32_t first, last;
	enum err_kind k = journal_range(c->s->journal, &first, &last, e);

	for (uint32_t seg = last; k == ERR_OK && seg >= first; seg--) {
		struct seg_header h;

		k = journal_segment(c->s->journal, seg, &h, e);
		/* begun by a process that died, or just now: nothing in it counts yet */
		if (k == ERR_CORRUPT && seg == last)
			k = ERR_OK;
		else if (k == ERR_OK && h.first_seq <= after + 1) {
			*out = seg;
			return ERR_OK;
		}
	}
	return k == ERR_OK || k == ERR_NOENT || k == ERR_CORRUPT ?
	    start_anew(c, e, "the journal does not go back so far") : k;
}

static bool know_snapshot(struct changes *c, struct str payload)
{
	struct rec_snapshot snap;
	struct snapshot_mailbox m;

	if (payload.n < sizeof snap)
		return false;
	memcpy(&snap, payload.p, sizeof snap);
	payload = str_skip(payload, sizeof snap);
	known_clear(c);
	for (uint32_t i = 0; i < snap.n_mailboxes; i++) {
		if (payload.n < sizeof m)
			return false;
		memcpy(&m, payload.p, sizeof m);
		payload = str_skip(payload, sizeof m);
		if (m.name_octets > STORE_NAME_MAX_OCTETS || payload.n < m.name_octets ||
		    !known_set(c, m.id, m.state, m.uidvalidity, str_head(payload, m.name_octets)))
			return false;
		payload = str_skip(payload, (m.name_octets + 7u) & ~(size_t)7);
	}
	return true;
}

static enum err_kind open_after(struct changes *c, uint64_t after, struct err *e)
{
	struct store *s = c->s;
	struct journal_view v;
	uint32_t seg = 0;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	c->epoch = s->epoch;
	c->store_id = s->ctl->store_id;
	k = find_segment(c, after, &seg, e);
	store_unlock(s);
	if (k != ERR_OK)
		return k;
	if (after > store_shown_seq(s))
		return start_anew(c, e, "no record has had that number");
	k = journal_read(s->journal, (struct journal_pos){ seg, sizeof(struct seg_header) }, true,
	    &v, e);
	if (k == ERR_NOENT || k == ERR_CORRUPT || (k == ERR_OK &&
	    (v.h.type != REC_SNAPSHOT || !know_snapshot(c, v.payload))))
		return start_anew(c, e, "no snapshot to begin with");
	if (k != ERR_OK)
		return k;
	c->seq = v.h.seq;
	c->pos = v.next;
	return advance(c, after, e);
}

enum err_kind changes_open(struct store *s, uint64_t after, struct changes **out, struct err *e)
{
	struct changes *c = calloc(1, sizeof *c);
	enum err_kind k;

	if (c == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for the change feed");
	c->s = s;
	buf_init(&c->uids, GROUP_MAX_OCTETS);
	k = after == CHANGES_NOW ? open_now(c, e) : open_after(c, after, e);
	if (k != ERR_OK) {
		changes_close(&c);
		return k;
	}
	*out = c;
	return ERR_OK;
}

void changes_close(struct changes **c)
{
	if (*c == NULL)
		return;
	known_clear(*c);
	free((*c)->v);
	buf_free(&(*c)->uids);
	free(*c);
	*c = NULL;
}
