/* SPDX-License-Identifier: ISC */
/* Quota roots: limits from the control file, usage from its counters. Nothing is remembered
 * between two questions. */
#include <stdlib.h>
#include <string.h>

#include "store_int.h"

static struct str slot_name(const struct ctl_slot *slot)
{
	return str_n(slot->name, slot->name_octets);
}

static bool covers(struct str root, struct str name)
{
	return root.n == 0 || str_eq(root, name) ||
	    (name.n > root.n && str_starts(name, root) && name.p[root.n] == '/');
}

struct usage {
	uint64_t octets, messages;
};

static struct usage usage_of(const struct store *s, struct str root)
{
	const struct ctl_slot *slot = ctl_slots(s);
	struct usage u = { 0, 0 };

	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if (slot[i].n_messages == 0 || slot[i].state == 0 ||
		    !covers(root, slot_name(&slot[i])))
			continue;
		u.octets += slot[i].octets;
		u.messages += slot[i].n_messages;
	}
	return u;
}

/* What is in force for "": the site's defaults where nothing is set, nothing where there is no
 * limit. */
static struct quota_limits default_limits(const struct store *s)
{
	struct quota_limits l = s->ctl->quota;

	if (!(l.set & QUOTA_STORAGE))
		l.storage_octets = s->env.conf.quota_octets != 0 ? s->env.conf.quota_octets :
		    QUOTA_UNLIMITED;
	if (!(l.set & QUOTA_MESSAGES))
		l.n_messages = s->env.conf.quota_messages != 0 ? s->env.conf.quota_messages :
		    QUOTA_UNLIMITED;
	l.set = QUOTA_STORAGE | QUOTA_MESSAGES;
	return l;
}

static struct quota_limits without_unlimited(struct quota_limits l)
{
	if (l.storage_octets == QUOTA_UNLIMITED)
		l.set &= ~(uint32_t)QUOTA_STORAGE;
	if (l.n_messages == QUOTA_UNLIMITED)
		l.set &= ~(uint32_t)QUOTA_MESSAGES;
	return l;
}

/* -- enforcing -- */

static bool fits(uint64_t limit, uint64_t used, uint64_t more)
{
	return used <= limit && more <= limit - used;
}

/* While there is room, a delivered message may take a little more: else large mail would be
 * refused long before the mailbox is full, and its owner would not know why. */
static bool fits_storage(uint64_t limit, uint64_t used, uint64_t more, bool last_may_pass)
{
	return fits(limit, used, more) ||
	    (last_may_pass && used < limit && fits(limit + limit / QUOTA_GRACE_SHARE, used, more));
}

static enum err_kind room_in(const struct store *s, struct str root, struct quota_limits l,
    uint64_t n, uint64_t octets, bool last_may_pass, struct err *e)
{
	struct usage u;

	l = without_unlimited(l);
	if (l.set == 0)
		return ERR_OK;
	u = usage_of(s, root);
	if ((l.set & QUOTA_STORAGE) &&
	    !fits_storage(l.storage_octets, u.octets, octets, last_may_pass))
		return err_set(e, ERR_QUOTA, 0,
		    "over quota \"%.*s\": %llu octets of %llu in use, %llu more", STR_FMT(root),
		    (unsigned long long)u.octets, (unsigned long long)l.storage_octets,
		    (unsigned long long)octets);
	if ((l.set & QUOTA_MESSAGES) && !fits(l.n_messages, u.messages, n))
		return err_set(e, ERR_QUOTA, 0,
		    "over quota \"%.*s\": %llu messages of %llu, %llu more", STR_FMT(root),
		    (unsigned long long)u.messages, (unsigned long long)l.n_messages,
		    (unsigned long long)n);
	return ERR_OK;
}

enum err_kind quota_room(const struct store *s, const struct ctl_slot *slot,
    const struct ctl_slot *from, uint64_t n, uint64_t octets, bool last_may_pass, struct err *e)
{
	const struct ctl_slot *r = ctl_slots(s);
	enum err_kind k = ERR_OK;

	if (n == 0)
		return ERR_OK;
	if (from == NULL)	/* "" covers both ends of every move */
		k = room_in(s, STR(""), default_limits(s), n, octets, last_may_pass, e);
	for (uint32_t i = 0; s->ctl->has_roots && i < s->ctl->n_slots && k == ERR_OK; i++) {
		if (r[i].state == 0 || r[i].quota.set == 0 ||
		    !covers(slot_name(&r[i]), slot_name(slot)) ||
		    (from != NULL && covers(slot_name(&r[i]), slot_name(from))))
			continue;
		k = room_in(s, slot_name(&r[i]), r[i].quota, n, octets, last_may_pass, e);
	}
	return k;
}

/* A look without the lock: where nothing is limited, asking costs nothing. A limit that is set
 * just now is seen by the append. */
static bool nothing_is_limited(const struct store *s)
{
	return without_unlimited(default_limits(s)).set == 0 && !s->ctl->has_roots;
}

enum err_kind quota_check_delivery(struct store *s, uint64_t octets, struct err *e)
{
	enum err_kind k;

	if (nothing_is_limited(s))
		return ERR_OK;
	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	k = room_in(s, STR(""), default_limits(s), 1, octets > 0 ? octets : 1, true, e);
	store_unlock(s);
	return k;
}

enum err_kind quota_check_append(struct store *s, uint32_t mailbox, uint64_t octets, struct err *e)
{
	const struct ctl_slot *slot;
	enum err_kind k;

	if (nothing_is_limited(s))
		return ERR_OK;
	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	slot = ctl_find_id(s, mailbox);
	k = slot != NULL ? quota_room(s, slot, NULL, 1, octets, false, e) :
	    err_set(e, ERR_NOENT, 0, "mailbox was deleted");
	store_unlock(s);
	return k;
}

/* -- telling -- */

static bool fill(const struct store *s, struct str name, struct quota_limits own,
    struct quota_limits limits, struct arena *a, struct quota_root *out)
{
	struct usage u = usage_of(s, name);

	*out = (struct quota_root){ str_dup(a, name), own, without_unlimited(limits), u.octets,
		u.messages };
	return out->name.p != NULL;
}

static int by_name(const void *a, const void *b)
{
	const struct quota_root *x = a, *y = b;

	return str_cmp(x->name, y->name);
}

/* The roots that cover `name`; all with name.p NULL. */
static bool gather(const struct store *s, struct str name, struct arena *a, struct quota_root *out,
    size_t *out_n)
{
	const struct ctl_slot *slot = ctl_slots(s);
	size_t n = 1;
	bool ok = fill(s, STR(""), s->ctl->quota, default_limits(s), a, &out[0]);

	for (uint32_t i = 0; ok && s->ctl->has_roots && i < s->ctl->n_slots; i++) {
		if (slot[i].state == 0 || slot[i].quota.set == 0 ||
		    (name.p != NULL && !covers(slot_name(&slot[i]), name)))
			continue;
		ok = fill(s, slot_name(&slot[i]), slot[i].quota, slot[i].quota, a, &out[n++]);
	}
	*out_n = n;
	return ok;
}

static size_t count_roots(const struct store *s)
{
	size_t n = 1;

	for (uint32_t i = 0; s->ctl->has_roots && i < s->ctl->n_slots; i++)
		n += ctl_slots(s)[i].state != 0 && ctl_slots(s)[i].quota.set != 0;
	return n;
}

static enum err_kind tell(struct store *s, struct arena *a, struct str name,
    struct quota_root **out, size_t *out_n, struct err *e)
{
	bool ok;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	*out = arena_array(a, count_roots(s), sizeof **out);
	ok = *out != NULL && gather(s, name, a, *out, out_n);
	store_unlock(s);
	if (!ok)
		return err_set(e, ERR_LIMIT, 0, "no room for the list of quota roots");
	qsort(*out, *out_n, sizeof **out, by_name);	/* what covers more has the shorter name */
	return ERR_OK;
}

enum err_kind quota_list(struct store *s, struct arena *a, struct quota_root **out, size_t *out_n,
    struct err *e)
{
	return tell(s, a, str_n(NULL, 0), out, out_n, e);
}

enum err_kind quota_covering(struct store *s, struct arena *a, struct str mailbox,
    struct quota_root **out, size_t *out_n, struct err *e)
{
	enum err_kind k = name_canonical(mailbox, &mailbox, e);

	return k != ERR_OK ? k : tell(s, a, mailbox, out, out_n, e);
}

/* -- setting -- */

static enum err_kind set_locked(struct store *s, struct str root, const struct quota_limits *l,
    uint64_t *out_seq, struct err *e)
{
	const struct ctl_slot *slot = root.n > 0 ? ctl_find_name(s, root) : NULL;
	struct rec_quota q = { 0, l->set & (QUOTA_STORAGE | QUOTA_MESSAGES), l->storage_octets,
	    l->n_messages };
	struct journal_rec r = { REC_QUOTA, { str_n((const char *)&q, sizeof q) } };

	if (root.n > 0 && (slot == NULL || !(slot->state & MAILBOX_EXISTS) ||
	    (slot->state & MAILBOX_NOSELECT)))
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if (!(q.set & QUOTA_STORAGE) || q.storage_octets > INT64_MAX)	/* RFC 9208 s.3.1.2: 63 bits */
		q.storage_octets = QUOTA_UNLIMITED;
	if (!(q.set & QUOTA_MESSAGES) || q.n_messages > INT64_MAX)
		q.n_messages = QUOTA_UNLIMITED;
	q.mailbox = slot != NULL ? slot->id : 0;
	return store_append(s, &r, 1, NULL, out_seq, e);
}

enum err_kind quota_set(struct store *s, struct str root, const struct quota_limits *l,
    struct err *e)
{
	uint64_t seq = 0;
	enum err_kind k;

	if (root.n > 0 && name_canonical(root, &root, NULL) != ERR_OK)
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	k = set_locked(s, root, l, &seq, e);
	store_unlock(s);
	return k == ERR_OK ? store_make_durable(s, seq, e) : k;
}
