/* SPDX-License-Identifier: ISC */
/* Mailboxes as names: list, create, delete, rename, subscribe. Each change is one group of REC_MAILBOX records, so it
 * is there as a whole or not at all. */
#include <stdlib.h>
#include <string.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "store_int.h"

/* -- reading -- */

static bool slot_shown(const struct ctl_slot *slot)
{
	return slot->state != 0;
}

static struct str slot_name(const struct ctl_slot *slot)
{
	return str_n(slot->name, slot->name_octets);
}

static bool is_below(struct str name, struct str top)
{
	return name.n > top.n && str_starts(name, top) && name.p[top.n] == '/';
}

static bool fill_info(const struct store *s, const struct ctl_slot *slot, struct arena *a,
    struct mailbox_info *out)
{
	*out = (struct mailbox_info){
		.name = str_dup(a, slot_name(slot)),
		.id = slot->id,
		.exists = slot->state & MAILBOX_EXISTS,
		.noselect = slot->state & MAILBOX_NOSELECT,
		.subscribed = slot->state & MAILBOX_SUBSCRIBED,
		.uidvalidity = slot->uidvalidity, .uidnext = slot->uidnext,
		.n_messages = slot->n_messages, .n_unseen = slot->n_unseen,
		.modseq = slot->modseq > 0 ? slot->modseq : 1, .octets = slot->octets,
	};
	/* \Recent ones are the newest; expunged ones among them make this an upper bound */
	out->n_recent = slot->uidnext - slot->recent_uid < slot->n_messages ?
	    slot->uidnext - slot->recent_uid : slot->n_messages;
	(void)s;
	return out->name.p != NULL;
}

static int by_name(const void *a, const void *b)
{
	const struct mailbox_info *x = a, *y = b;
	bool xi = str_eq(x->name, STR("INBOX")), yi = str_eq(y->name, STR("INBOX"));

	return xi != yi ? yi - xi : str_cmp(x->name, y->name);
}

/* In an order where '/' comes before all else, what is below a name follows it directly. */
static int by_tree(const void *a, const void *b)
{
	const struct mailbox_info *const *x = a, *const *y = b;
	struct str s = (*x)->name, t = (*y)->name;

	for (size_t i = 0; i < s.n && i < t.n; i++) {
		unsigned char c = (unsigned char)s.p[i], d = (unsigned char)t.p[i];

		if (c != d)
			return c == '/' ? -1 : d == '/' ? 1 : (int)c - (int)d;
	}
	return (s.n > t.n) - (s.n < t.n);
}

static bool mark_children(struct arena *a, struct mailbox_info *m, size_t n)
{
	struct mailbox_info **tree = arena_array(a, n, sizeof *tree);

	if (tree == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		tree[i] = &m[i];
	qsort(tree, n, sizeof *tree, by_tree);
	for (size_t i = 0; i + 1 < n; i++) {
		for (size_t k = i + 1; k < n && is_below(tree[k]->name, tree[i]->name); k++) {
			if (tree[k]->exists || tree[k]->noselect) {
				tree[i]->has_children = true;
				break;
			}
		}
	}
	return true;
}

enum err_kind store_list(struct store *s, struct arena *a, struct mailbox_info **out, size_t *out_n,
    struct err *e)
{
	struct mailbox_info *m;
	size_t n = 0;
	bool ok = true;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	if ((k = ctl_believe(s, e)) != ERR_OK) {
		store_unlock(s);
		return k;
	}
	m = arena_array(a, s->ctl->n_slots, sizeof *m);
	for (uint32_t i = 0; m != NULL && ok && i < s->ctl->n_slots; i++) {
		if (slot_shown(&ctl_slots(s)[i]))
			ok = fill_info(s, &ctl_slots(s)[i], a, &m[n++]);
	}
	store_unlock(s);
	if (m == NULL || !ok || !mark_children(a, m, n))
		return err_set(e, ERR_LIMIT, 0, "no room for the list of mailboxes");
	qsort(m, n, sizeof *m, by_name);
	*out = m;
	*out_n = n;
	return ERR_OK;
}

enum err_kind store_find(struct store *s, struct arena *a, struct str name, struct mailbox_info *out,
    struct err *e)
{
	const struct ctl_slot *slot;
	enum err_kind k;

	if (name_canonical(name, &name, NULL) != ERR_OK)
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	slot = ctl_find_name(s, name);
	if (slot == NULL || !(slot->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT)))
		k = err_set(e, ERR_NOENT, 0, "no such mailbox");
	else if (!fill_info(s, slot, a, out))
		k = err_set(e, ERR_LIMIT, 0, "no room");
	store_unlock(s);
	return k;
}

/* -- changing: records are gathered, then appended as one group -- */

struct change {
	struct journal_rec *r;
	struct rec_mailbox *m;
	struct buf *names;		/* each record's name; views into it are made at the end */
	size_t n, cap;
	uint32_t next_id, next_validity;
	struct attr_list attrs;		/* that the last mailbox of the change gets */
	struct rec_attr *attr_recs;
	struct arena *arena;		/* they lie in it */
};

static void change_free(struct change *c)
{
	for (size_t i = 0; i < c->n; i++)
		buf_free(&c->names[i]);
	free(c->r);
	free(c->m);
	free(c->names);
	free(c->attrs.v);
	free(c->attr_recs);
	arena_free(&c->arena);
	memset(c, 0, sizeof *c);
}

static bool change_init(struct change *c, const struct store *s, size_t cap)
{
	uint32_t now = (uint32_t)clock_real_s();

	*c = (struct change){ .cap = cap, .next_id = s->ctl->next_mailbox_id };
	c->next_validity = (now > s->ctl->last_uidvalidity ? now : s->ctl->last_uidvalidity) + 1;
	c->r = calloc(cap, sizeof *c->r);
	c->m = calloc(cap, sizeof *c->m);
	c->names = calloc(cap, sizeof *c->names);
	return c->r != NULL && c->m != NULL && c->names != NULL;
}

/* slot NULL: a new mailbox. The name is two parts put together. */
static bool change_add(struct change *c, const struct ctl_slot *slot, uint32_t state, struct str name,
    struct str tail)
{
	struct rec_mailbox *m = &c->m[c->n];

	if (c->n == c->cap)
		return false;
	buf_init(&c->names[c->n], STORE_NAME_MAX_OCTETS);
	if (!buf_put(&c->names[c->n], name) || !buf_put(&c->names[c->n], tail))
		return false;
	m->id = slot != NULL ? slot->id : c->next_id++;
	m->state = state;
	m->uidvalidity = slot != NULL && slot->uidvalidity != 0 ? slot->uidvalidity : 0;
	if (m->uidvalidity == 0 && (state & MAILBOX_EXISTS))
		m->uidvalidity = c->next_validity++;
	m->name_octets = (uint32_t)c->names[c->n].n;
	c->n++;
	return true;
}

static enum err_kind change_commit(struct store *s, struct change *c, uint64_t *out_seq, struct err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		c->r[i] = (struct journal_rec){ REC_MAILBOX, {
			str_n((const char *)&c->m[i], sizeof c->m[i]), buf_str(&c->names[i]) } };
	}
	for (size_t i = 0; i < c->attrs.n; i++) {
		const struct attr *a = &c->attrs.v[i];

		c->attr_recs[i] = (struct rec_attr){ c->m[c->n - 1].id, a->kind, (uint32_t)a->owner.n,
			(uint32_t)a->name.n, (uint32_t)a->value.n, 1, 0 };
		c->r[c->n + i] = (struct journal_rec){ REC_ATTR, {
			str_n((const char *)&c->attr_recs[i], sizeof c->attr_recs[i]), a->owner, a->name, a->value } };
	}
	return c->n == 0 ? ERR_OK : store_append(s, c->r, c->n + c->attrs.n, NULL, out_seq, e);
}

/* A slot that holds only a subscription becomes the mailbox; a deleted or \Noselect one gets a new id, so that UIDs of
 * the old mailbox never come back under the same UIDVALIDITY. */
static bool add_mailbox(struct change *c, const struct ctl_slot *slot, struct str name)
{
	if (slot == NULL)
		return change_add(c, NULL, MAILBOX_EXISTS, name, str_n(NULL, 0));
	return change_add(c, slot, 0, name, str_n(NULL, 0)) &&
	    change_add(c, NULL, MAILBOX_EXISTS | (slot->state & MAILBOX_SUBSCRIBED), name,
	    str_n(NULL, 0));
}

/* Creates what is missing above name (RFC 3501 s.6.3.3). */
static bool add_superiors(struct store *s, struct change *c, struct str name)
{
	for (size_t i = 0; i < name.n; i++) {
		struct str above = str_head(name, i);
		const struct ctl_slot *slot;

		if (name.p[i] != '/' || str_eq_nocase(above, STR("INBOX")))
			continue;
		slot = ctl_find_name(s, above);
		if ((slot == NULL || !(slot->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT))) &&
		    !add_mailbox(c, slot, above))
			return false;
	}
	return true;
}

static enum err_kind too_many(struct err *e)
{
	return err_set(e, ERR_LIMIT, 0, "too many mailboxes or too long a name");
}

/* Ends a change that was prepared under the lock: appends, unlocks, syncs. */
static enum err_kind finish(struct store *s, struct change *c, enum err_kind k, struct err *e)
{
	uint64_t seq = 0;

	if (k == ERR_OK && s->ctl->n_slots + c->n > STORE_MAILBOXES_MAX + STORE_DEPTH_MAX)
		k = too_many(e);
	if (k == ERR_OK)
		k = change_commit(s, c, &seq, e);
	store_unlock(s);
	change_free(c);
	return k == ERR_OK ? store_make_durable(s, seq, e) : k;
}

static enum err_kind begin(struct store *s, struct change *c, struct err *e)
{
	enum err_kind k = store_lock(s, e);

	if (k != ERR_OK)
		return k;
	if (!change_init(c, s, 2 * s->ctl->n_slots + 4 * STORE_DEPTH_MAX)) {
		store_unlock(s);
		change_free(c);
		return err_set(e, ERR_TEMP, 0, "no memory");
	}
	return ERR_OK;
}

static enum err_kind prepare_create(struct store *s, struct change *c, struct str name, struct err *e)
{
	const struct ctl_slot *slot = ctl_find_name(s, name);

	if (str_eq(name, STR("INBOX")) || (slot != NULL && (slot->state & MAILBOX_EXISTS)))
		return err_set(e, ERR_EXISTS, 0, "mailbox exists");
	if (s->ctl->n_slots >= STORE_MAILBOXES_MAX || !add_superiors(s, c, name) ||
	    !add_mailbox(c, slot, name))
		return too_many(e);
	return ERR_OK;
}

enum err_kind store_create(struct store *s, struct str name, uint32_t *out_id, struct err *e)
{
	struct change c;
	uint32_t id;
	enum err_kind k;

	if ((k = name_canonical(name, &name, e)) != ERR_OK || (k = begin(s, &c, e)) != ERR_OK)
		return k;
	k = prepare_create(s, &c, name, e);
	id = c.next_id - 1;
	if ((k = finish(s, &c, k, e)) == ERR_OK && out_id != NULL)
		*out_id = id;
	return k;
}

static bool has_inferiors(const struct store *s, struct str name)
{
	const struct ctl_slot *slot = ctl_slots(s);

	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if ((slot[i].state & (MAILBOX_EXISTS | MAILBOX_NOSELECT)) &&
		    is_below(slot_name(&slot[i]), name))
			return true;
	}
	return false;
}

static enum err_kind prepare_delete(struct store *s, struct change *c, struct str name, struct err *e)
{
	const struct ctl_slot *slot = ctl_find_name(s, name);
	bool inferiors = has_inferiors(s, name);
	uint32_t kept;

	if (str_eq(name, STR("INBOX")))
		return err_set(e, ERR_DENIED, 0, "INBOX can't be deleted");
	if (slot == NULL || !(slot->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT)))
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if ((slot->state & MAILBOX_NOSELECT) && inferiors)
		return err_set(e, ERR_EXISTS, 0, "has inferior names");
	kept = (slot->state & MAILBOX_SUBSCRIBED) | (inferiors ? MAILBOX_NOSELECT : 0);
	if (!change_add(c, slot, kept, name, str_n(NULL, 0)))
		return too_many(e);
	return ERR_OK;
}

enum err_kind store_delete(struct store *s, struct str name, struct err *e)
{
	struct change c;
	enum err_kind k;

	if (name_canonical(name, &name, NULL) != ERR_OK)
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if ((k = begin(s, &c, e)) != ERR_OK)
		return k;
	return finish(s, &c, prepare_delete(s, &c, name, e), e);
}

/* Moves a name: the subscription stays with the old name (RFC 3501 s.6.3.9 keeps names that are gone). */
static bool add_rename(struct store *s, struct change *c, const struct ctl_slot *slot, struct str to,
    struct str tail)
{
	char full[2 * STORE_NAME_MAX_OCTETS];
	const struct ctl_slot *taken;

	if (to.n + tail.n > STORE_NAME_MAX_OCTETS)
		return false;
	memcpy(full, to.p, to.n);
	memcpy(full + to.n, tail.p, tail.n);
	taken = ctl_find_name(s, str_n(full, to.n + tail.n));
	if (taken != NULL && !change_add(c, taken, 0, slot_name(taken), str_n(NULL, 0)))
		return false;
	return change_add(c, slot, (slot->state & ~(uint32_t)MAILBOX_SUBSCRIBED) |
	    (taken != NULL ? taken->state & MAILBOX_SUBSCRIBED : 0), to, tail) &&
	    (!(slot->state & MAILBOX_SUBSCRIBED) ||
	    change_add(c, NULL, MAILBOX_SUBSCRIBED, slot_name(slot), str_n(NULL, 0)));
}

/* INBOX stays as a new, empty mailbox; the old one, UIDs and all, goes under the new name (RFC 3501 s.6.3.5). */
static bool add_inbox_rename(struct store *s, struct change *c, const struct ctl_slot *inbox, struct str to)
{
	uint32_t subscribed = inbox->state & MAILBOX_SUBSCRIBED;
	const struct ctl_slot *taken = ctl_find_name(s, to);

	return (taken == NULL || change_add(c, taken, 0, slot_name(taken), str_n(NULL, 0))) &&
	    change_add(c, inbox, MAILBOX_EXISTS, to, str_n(NULL, 0)) &&
	    change_add(c, NULL, MAILBOX_EXISTS | subscribed, STR("INBOX"), str_n(NULL, 0));
}

/* RFC 5464 s.4.1: annotations go with the messages and stay with the name. */
static enum err_kind keep_inbox_attrs(struct store *s, struct change *c, uint32_t inbox, struct err *e)
{
	struct journal_rec *r;
	enum err_kind k;

	c->arena = arena_new(ATTR_ARENA_OCTETS);
	if ((k = attrs_load(s, inbox, c->arena, &c->attrs, e)) != ERR_OK || c->attrs.n == 0)
		return k;
	c->attr_recs = calloc(c->attrs.n, sizeof *c->attr_recs);
	r = realloc(c->r, (c->n + c->attrs.n) * sizeof *r);
	c->r = r != NULL ? r : c->r;
	return r != NULL && c->attr_recs != NULL ? ERR_OK : err_set(e, ERR_TEMP, 0, "no memory");
}

static bool add_tree_rename(struct store *s, struct change *c, struct str from, struct str to)
{
	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		const struct ctl_slot *slot = &ctl_slots(s)[i];
		struct str name = slot_name(slot);

		if ((slot->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT)) &&
		    (str_eq(name, from) || is_below(name, from)) &&
		    !add_rename(s, c, slot, to, str_skip(name, from.n)))
			return false;
	}
	return true;
}

static enum err_kind prepare_rename(struct store *s, struct change *c, struct str from, struct str to,
    struct err *e)
{
	const struct ctl_slot *slot = ctl_find_name(s, from), *taken = ctl_find_name(s, to);

	if (slot == NULL || !(slot->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT)))
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if ((taken != NULL && (taken->state & (MAILBOX_EXISTS | MAILBOX_NOSELECT))) ||
	    str_eq(to, STR("INBOX")))
		return err_set(e, ERR_EXISTS, 0, "mailbox exists");
	if (is_below(to, from) && !str_eq(from, STR("INBOX")))
		return err_set(e, ERR_SYNTAX, 0, "a mailbox can't go below itself");
	if (!add_superiors(s, c, to))
		return too_many(e);
	if (str_eq(from, STR("INBOX")) ? !add_inbox_rename(s, c, slot, to) :
	    !add_tree_rename(s, c, from, to))
		return too_many(e);
	return str_eq(from, STR("INBOX")) ? keep_inbox_attrs(s, c, slot->id, e) : ERR_OK;
}

enum err_kind store_rename(struct store *s, struct str from, struct str to, struct err *e)
{
	struct change c;
	enum err_kind k;

	if (name_canonical(from, &from, NULL) != ERR_OK)
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if ((k = name_canonical(to, &to, e)) != ERR_OK || (k = begin(s, &c, e)) != ERR_OK)
		return k;
	return finish(s, &c, prepare_rename(s, &c, from, to, e), e);
}

static enum err_kind prepare_subscribe(struct store *s, struct change *c, struct str name, bool on,
    struct err *e)
{
	const struct ctl_slot *slot = ctl_find_name(s, name);
	uint32_t state = slot != NULL ? slot->state : 0;

	if (!on && !(state & MAILBOX_SUBSCRIBED))
		return err_set(e, ERR_NOENT, 0, "not subscribed");
	if (on && (state & MAILBOX_SUBSCRIBED))
		return ERR_OK;
	if (slot == NULL && s->ctl->n_slots >= STORE_MAILBOXES_MAX)
		return too_many(e);
	state = on ? state | MAILBOX_SUBSCRIBED : state & ~(uint32_t)MAILBOX_SUBSCRIBED;
	return change_add(c, slot, state, name, str_n(NULL, 0)) ? ERR_OK : too_many(e);
}

enum err_kind store_subscribe(struct store *s, struct str name, bool on, struct err *e)
{
	struct change c;
	enum err_kind k;

	if ((k = name_canonical(name, &name, e)) != ERR_OK || (k = begin(s, &c, e)) != ERR_OK)
		return k;
	return finish(s, &c, prepare_subscribe(s, &c, name, on, e), e);
}
