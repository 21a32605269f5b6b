/* SPDX-License-Identifier: ISC */
/* Attributes of mailboxes and of the store. All of a mailbox are read at once, from the index or
 * from the journal: they are few (ATTRS_MAX), and limits are about all of them. */
#include <stdlib.h>
#include <string.h>

#include "../libbase/buf.h"
#include "../libbase/vec.h"
#include "store_int.h"

/* -- a list in memory -- */

static int by_place(const struct attr *x, const struct attr *y)
{
	int d = x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind) :
	    str_cmp(x->owner, y->owner);

	return d != 0 ? d : str_cmp(x->name, y->name);
}

/* Where it is, or where it belongs. */
static size_t list_find(const struct attr_list *l, const struct attr *a, bool *out_found)
{
	size_t i = 0;
	int d = 1;

	while (i < l->n && (d = by_place(&l->v[i], a)) < 0)
		i++;
	*out_found = i < l->n && d == 0;
	return i;
}

static bool list_put(struct attr_list *l, const struct attr *a)
{
	bool found;
	size_t i = list_find(l, a, &found);

	if (!found && !vec_room(&l->v, l->n, &l->cap, sizeof *l->v))
		return false;
	if (!found) {
		memmove(&l->v[i + 1], &l->v[i], (l->n - i) * sizeof l->v[0]);
		l->n++;
	}
	l->v[i] = *a;
	return true;
}

static void list_remove(struct attr_list *l, const struct attr *a)
{
	bool found;
	size_t i = list_find(l, a, &found);

	if (found)
		memmove(&l->v[i], &l->v[i + 1], (--l->n - i) * sizeof l->v[0]);
}

static size_t list_octets(const struct attr_list *l)
{
	size_t sum = 0;

	for (size_t i = 0; i < l->n; i++)
		sum += l->v[i].value.n;
	return sum;
}

static enum err_kind no_room(struct err *e)
{
	return err_set(e, ERR_LIMIT, 0, "no room for the attributes");
}

static bool copy_to(struct arena *a, const struct attr *from, struct attr *out)
{
	*out = *from;
	out->owner = str_dup(a, from->owner);
	out->name = str_dup(a, from->name);
	out->value = str_dup(a, from->value);
	return out->owner.p != NULL && out->name.p != NULL && out->value.p != NULL;
}

/* -- reading -- */

struct loading {
	uint32_t mailbox;
	struct arena *a;
	struct attr_list *l;
	bool no_room;
};

static bool add_row(void *ctx, uint32_t mailbox, const struct attr *row)
{
	struct loading *ld = ctx;
	struct attr a;

	(void)mailbox;
	ld->no_room = !copy_to(ld->a, row, &a) || !list_put(ld->l, &a);
	return !ld->no_room;
}

static enum err_kind load_from_index(struct store *s, struct loading *ld, struct err *e)
{
	enum err_kind k = index_enter(s, e);

	if (k != ERR_OK)
		return k;
	k = index_each_attr(s, ld->mailbox, add_row, ld, e);
	index_leave(s);
	return k;
}

/* Views stay those of the mapped journal until the end. */
static enum err_kind see_record(void *ctx, const struct journal_view *v, struct err *e)
{
	struct loading *ld = ctx;
	struct rec_mailbox m;
	struct rec_attr r;
	struct str name;
	struct attr a;

	(void)e;
	if (v->h.type == REC_MAILBOX && rec_get_mailbox(v->payload, &m, &name) &&
	    m.id == ld->mailbox && (!(m.state & MAILBOX_EXISTS) || (m.state & MAILBOX_NOSELECT)))
		ld->l->n = 0;
	if (v->h.type != REC_ATTR || !rec_get_attr(v->payload, &r, &a.owner, &a.name, &a.value) ||
	    r.mailbox != ld->mailbox)
		return ERR_OK;
	a.kind = (enum attr_kind)r.kind;
	a.modseq = r.modseq != 0 ? r.modseq : v->h.seq;
	if (!r.set)
		list_remove(ld->l, &a);
	else if (!list_put(ld->l, &a))
		ld->no_room = true;
	return ERR_OK;
}

static enum err_kind load_from_journal(struct store *s, struct loading *ld, struct err *e)
{
	enum err_kind k;

	if ((k = store_make_durable_locked(s, e)) != ERR_OK)
		return k;
	ld->l->n = 0;
	ld->no_room = false;
	k = replay_all(s, s->ctl->tail.pos.seg, see_record, ld, e);
	for (size_t i = 0; k == ERR_OK && i < ld->l->n && !ld->no_room; i++)
		ld->no_room = !copy_to(ld->a, &ld->l->v[i], &ld->l->v[i]);
	return k;
}

/* An index that is far behind is rolled forward in steps, before the lock is wanted for long. */
static void catch_up(struct store *s)
{
	if (!replay_is_cheaper(s, s->ctl->tail.pos) && index_lock(s, NULL) == ERR_OK)
		index_unlock(s);
}

static bool is_there(const struct store *s, uint32_t mailbox)
{
	const struct ctl_slot *slot = ctl_find_id(s, mailbox);

	return mailbox == ATTR_STORE ||
	    (slot != NULL && (slot->state & MAILBOX_EXISTS) && !(slot->state & MAILBOX_NOSELECT));
}

enum err_kind attrs_load(struct store *s, uint32_t mailbox, struct arena *a, struct attr_list *out,
    struct err *e)
{
	struct loading ld = { .mailbox = mailbox, .a = a, .l = out };
	enum err_kind k = ERR_TEMP;

	*out = (struct attr_list){ NULL, 0, 0 };
	if (!is_there(s, mailbox))
		return err_set(e, ERR_NOENT, 0, "no such mailbox");
	if (!replay_is_cheaper(s, s->ctl->tail.pos))
		k = load_from_index(s, &ld, e);
	if (k != ERR_OK)
		k = load_from_journal(s, &ld, e);
	if (k == ERR_OK && ld.no_room)
		k = no_room(e);
	if (k != ERR_OK) {
		free(out->v);
		*out = (struct attr_list){ NULL, 0, 0 };
	}
	return k;
}

enum err_kind attr_list(struct store *s, uint32_t mailbox, struct arena *a, struct attr **out,
    size_t *out_n, struct err *e)
{
	struct attr_list l;
	enum err_kind k;

	catch_up(s);
	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	k = attrs_load(s, mailbox, a, &l, e);
	store_unlock(s);
	if (k != ERR_OK)
		return k;
	*out = arena_array(a, l.n, sizeof **out);
	*out_n = l.n;
	if (*out != NULL && l.n > 0)
		memcpy(*out, l.v, l.n * sizeof **out);
	free(l.v);
	return *out != NULL ? ERR_OK : no_room(e);
}

/* The name as it is kept, in the caller's memory. */
static struct str kept_name(enum attr_kind kind, struct str name, char buf[ATTR_NAME_MAX_OCTETS])
{
	if (kind != ATTR_METADATA)
		return name;
	for (size_t i = 0; i < name.n; i++)
		buf[i] = ascii_lower(name.p[i]);
	return str_n(buf, name.n);
}

static enum err_kind check_names(const struct attr *a, struct err *e)
{
	if (a->name.n == 0 || str_has(a->name, '\0') || str_has(a->owner, '\0'))
		return err_set(e, ERR_SYNTAX, 0, "not an attribute's name");
	if (a->name.n > ATTR_NAME_MAX_OCTETS || a->owner.n > ATTR_OWNER_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "an attribute's name is too long");
	if (a->value.n > ATTR_VALUE_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "an attribute of %zu octets", a->value.n);
	return ERR_OK;
}

enum err_kind attr_get(struct store *s, uint32_t mailbox, struct arena *a, enum attr_kind kind,
    struct str owner, struct str name, struct str *out_value, struct err *e)
{
	struct attr wanted = { .kind = kind, .owner = owner, .name = name }, *v;
	char buf[ATTR_NAME_MAX_OCTETS];
	size_t n;
	enum err_kind k;

	if ((k = check_names(&wanted, e)) != ERR_OK ||
	    (k = attr_list(s, mailbox, a, &v, &n, e)) != ERR_OK)
		return k;
	wanted.name = kept_name(kind, name, buf);
	for (size_t i = 0; i < n; i++) {
		if (by_place(&v[i], &wanted) == 0) {
			*out_value = v[i].value;
			return ERR_OK;
		}
	}
	return err_set(e, ERR_NOENT, 0, "no such attribute");
}

/* -- changing -- */

struct setting {
	struct attr_list l;		/* what there is, and what will be */
	size_t n_before, octets_before;
	struct journal_rec *r;
	struct rec_attr *rec;
	char (*names)[ATTR_NAME_MAX_OCTETS];
	size_t n;
};

static bool setting_init(struct setting *st, size_t n)
{
	*st = (struct setting){ .n = 0 };
	st->r = calloc(n, sizeof *st->r);
	st->rec = calloc(n, sizeof *st->rec);
	st->names = calloc(n, sizeof *st->names);
	return st->r != NULL && st->rec != NULL && st->names != NULL;
}

static void setting_free(struct setting *st)
{
	free(st->l.v);
	free(st->r);
	free(st->rec);
	free(st->names);
}

/* The record for one attribute; none when nothing changes. */
static enum err_kind prepare(struct setting *st, uint32_t mailbox, const struct attr *v,
    struct err *e)
{
	struct attr a = *v;
	struct rec_attr *rec = &st->rec[st->n];
	bool found;
	size_t at;
	enum err_kind k = check_names(v, e);

	if (k != ERR_OK)
		return k;
	a.name = kept_name(a.kind, a.name, st->names[st->n]);
	at = list_find(&st->l, &a, &found);
	if (a.value.p == NULL ? !found : found && str_eq(st->l.v[at].value, a.value))
		return ERR_OK;
	*rec = (struct rec_attr){ mailbox, a.kind, (uint32_t)a.owner.n, (uint32_t)a.name.n,
		(uint32_t)a.value.n,
		a.value.p != NULL, 0 };
	st->r[st->n] = (struct journal_rec){ REC_ATTR, {
		str_n((const char *)rec, sizeof *rec), a.owner, a.name, a.value } };
	st->n++;
	if (a.value.p == NULL)
		list_remove(&st->l, &a);
	else if (!list_put(&st->l, &a))
		return err_set(e, ERR_TEMP, 0, "no memory for attributes");
	return ERR_OK;
}

/* What is over the limits already may get smaller. */
static enum err_kind check_limits(const struct setting *st, struct err *e)
{
	size_t octets = list_octets(&st->l);

	if ((st->l.n > ATTRS_MAX && st->l.n > st->n_before) ||
	    (octets > ATTRS_MAX_OCTETS && octets > st->octets_before))
		return err_set(e, ERR_LIMIT, 0, "%zu attributes with %zu octets", st->l.n, octets);
	return ERR_OK;
}

static enum err_kind set_locked(struct store *s, struct setting *st, uint32_t mailbox,
    struct arena *a, const struct attr *v, size_t n, uint64_t *out_seq, struct err *e)
{
	enum err_kind k = attrs_load(s, mailbox, a, &st->l, e);

	st->n_before = st->l.n;
	st->octets_before = list_octets(&st->l);
	for (size_t i = 0; k == ERR_OK && i < n; i++)
		k = prepare(st, mailbox, &v[i], e);
	if (k == ERR_OK)
		k = check_limits(st, e);
	return k == ERR_OK && st->n > 0 ? store_append(s, st->r, st->n, NULL, out_seq, e) : k;
}

enum err_kind attr_set(struct store *s, uint32_t mailbox, const struct attr *v, size_t n,
    struct err *e)
{
	struct setting st;
	struct arena *a;
	uint64_t seq = 0;
	enum err_kind k;

	if (n == 0 || n > ATTRS_MAX)
		return n == 0 ? ERR_OK : err_set(e, ERR_LIMIT, 0, "%zu attributes at once", n);
	if (!setting_init(&st, n)) {
		setting_free(&st);
		return err_set(e, ERR_TEMP, 0, "no memory for attributes");
	}
	a = arena_new(ATTR_ARENA_OCTETS);
	catch_up(s);
	if ((k = store_lock(s, e)) == ERR_OK) {
		k = set_locked(s, &st, mailbox, a, v, n, &seq, e);
		store_unlock(s);
	}
	if (k == ERR_OK && st.n > 0)
		k = store_make_durable(s, seq, e);
	arena_free(&a);
	setting_free(&st);
	return k;
}
