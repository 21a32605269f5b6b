/* SPDX-License-Identifier: ISC */
/* Views, read from the index's rows, or from rows that the journal's records make in a table of
 * our own. No message is loaded for any of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../libbase/buf.h"
#include "../libbase/vec.h"
#include "index_int.h"
#include "mailbox_int.h"

enum {
	SET_MAX_OCTETS = 64 << 20,	/* of a set's ranges in memory */
	ROWS_BEFORE_JUMP = 16,		/* read in a row before a seek is cheaper */
};

static enum err_kind check_name(struct str view, struct err *e)
{
	if (view.n == 0 || view.n > VIEW_NAME_MAX_OCTETS || str_has(view, '\0'))
		return err_set(e, ERR_SYNTAX, 0, "not a view's name");
	return ERR_OK;
}

/* -- where the rows are -- */

struct rows {
	struct store *s;
	struct table *t;		/* NULL: in the index, which is entered */
	uint32_t mailbox;
};

typedef enum err_kind rows_fn(void *ctx, const struct rows *r, struct err *e);

static enum err_kind rows_get(const struct rows *r, struct str key, struct str *out, struct err *e)
{
	struct table_item item;

	if (r->t == NULL)
		return row_read(r->s, key, out, e);
	if (!table_get(r->t, key, &item))
		return err_set(e, ERR_NOENT, 0, "no such row");
	*out = item.value;
	return ERR_OK;
}

static enum err_kind see_record(void *ctx, const struct journal_view *v, struct err *e)
{
	struct rows *rows = ctx;
	struct roll r = { .s = rows->s, .table = rows->t };
	struct rec_mailbox m;
	struct str name;
	char key[KEY_MAX];

	if (rec_mailbox_id(v) != rows->mailbox)
		return ERR_OK;
	if (v->h.type == REC_VIEW)
		return roll_view(&r, v, e);
	if (v->h.type == REC_MAILBOX && rec_get_mailbox(v->payload, &m, &name) &&
	    (!(m.state & MAILBOX_EXISTS) || (m.state & MAILBOX_NOSELECT)))
		table_delete_prefix(rows->t, key_prefix(key, 'V', m.id));
	return ERR_OK;
}

static enum err_kind run_on_journal(struct rows *r, rows_fn *run, void *ctx, struct err *e)
{
	enum err_kind k;

	if ((k = store_make_durable_locked(r->s, e)) != ERR_OK)
		return k;
	r->t = table_new();
	if (r->t == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for a view");
	if ((k = replay_all(r->s, r->s->ctl->tail.pos.seg, see_record, r, e)) == ERR_OK)
		k = run(ctx, r, e);
	table_free(&r->t);
	return k;
}

/* Under the lock. run may be called twice: it begins anew. */
static enum err_kind run_locked(struct store *s, uint32_t mailbox, rows_fn *run, void *ctx,
    struct err *e)
{
	struct rows r = { s, NULL, mailbox };
	enum err_kind k = ERR_TEMP;

	if (!replay_is_cheaper(s, s->ctl->tail.pos) && (k = index_enter(s, e)) == ERR_OK) {
		k = run(ctx, &r, e);
		index_leave(s);
	}
	return k == ERR_OK || k == ERR_LIMIT ? k : run_on_journal(&r, run, ctx, e);
}

static enum err_kind lock_store(struct store *s, struct err *e)
{
	/* an index that is far behind is rolled forward in steps, before the lock is wanted for
	 * long */
	if (!replay_is_cheaper(s, s->ctl->tail.pos) && index_lock(s, NULL) == ERR_OK)
		index_unlock(s);
	return store_lock(s, e);
}

static enum err_kind run_on_rows(struct mailbox *mb, rows_fn *run, void *ctx, struct err *e)
{
	enum err_kind k = lock_store(mb->s, e);

	if (k != ERR_OK)
		return k;
	k = run_locked(mb->s, mb->id, run, ctx, e);
	store_unlock(mb->s);
	return k;
}

/* -- names -- */

struct names {
	struct str *v;			/* malloc'ed; each is malloc'ed, too */
	size_t n, cap;
	uint32_t mailbox;
	char next[KEY_MAX];		/* where the next name is looked for */
	size_t next_octets;
	size_t n_rows;			/* of the last name, seen so far */
	bool jump, no_memory;
};

static void names_free(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free((void *)(uintptr_t)l->v[i].p);
	free(l->v);
	l->v = NULL;
	l->n = l->cap = 0;
}

static void add_name(struct names *l, struct str name)
{
	char *copy = malloc(name.n + 1);

	if (copy == NULL || !vec_room(&l->v, l->n, &l->cap, sizeof *l->v)) {
		l->no_memory = true;
		free(copy);
		return;
	}
	memcpy(copy, name.p, name.n);
	l->v[l->n++] = str_n(copy, name.n);
}

/* Rows of one name follow each other: after some of them the rest is jumped over. */
static bool name_row(void *ctx, struct str key, struct str row)
{
	struct names *l = ctx;
	struct str name = view_key_name(key);

	(void)row;
	if (l->n == 0 || !str_eq(l->v[l->n - 1], name)) {
		l->n_rows = 0;
		if (name.n > 0)
			add_name(l, name);
		return !l->no_memory;
	}
	if (++l->n_rows < ROWS_BEFORE_JUMP)
		return true;
	l->next_octets = view_key(l->next, l->mailbox, name, UINT32_MAX).n;
	l->jump = true;
	return false;
}

static bool table_row(void *ctx, const struct table_item *item)
{
	struct names *l = ctx;
	char key[KEY_MAX];

	if (str_starts(item->key, key_prefix(key, 'V', l->mailbox)))
		add_name(l, view_key_name(item->key));
	return !l->no_memory;
}

static int by_octets(const void *a, const void *b)
{
	const struct str *x = a, *y = b;

	return str_cmp(*x, *y);
}

static void sort_and_join(struct names *l)
{
	size_t kept = 0;

	if (l->n > 0)
		qsort(l->v, l->n, sizeof *l->v, by_octets);
	for (size_t i = 0; i < l->n; i++) {
		if (kept > 0 && str_eq(l->v[kept - 1], l->v[i]))
			free((void *)(uintptr_t)l->v[i].p);
		else
			l->v[kept++] = l->v[i];
	}
	l->n = kept;
}

static enum err_kind read_names(void *ctx, const struct rows *r, struct err *e)
{
	struct names *l = ctx;
	char key[KEY_MAX];
	struct str prefix = key_prefix(key, 'V', r->mailbox);
	enum err_kind k = ERR_OK;

	names_free(l);
	l->no_memory = false;
	l->mailbox = r->mailbox;
	l->next_octets = prefix.n;
	memcpy(l->next, prefix.p, prefix.n);
	if (r->t != NULL) {
		table_each(r->t, table_row, l);
		sort_and_join(l);
	} else {
		do {
			l->jump = false;
			k = row_scan(r->s, str_n(l->next, l->next_octets), prefix, name_row, l, e);
		} while (k == ERR_OK && l->jump);
	}
	return k == ERR_OK && l->no_memory ? err_set(e, ERR_TEMP, ENOMEM, "no memory for views") :
	    k;
}

enum err_kind view_list(struct mailbox *mb, struct arena *a, struct str **out, size_t *out_n,
    struct err *e)
{
	struct names l = { .n = 0 };
	enum err_kind k = run_on_rows(mb, read_names, &l, e);
	bool ok = true;

	if (k == ERR_OK) {
		*out = arena_array(a, l.n, sizeof **out);
		*out_n = l.n;
		for (size_t i = 0; (ok = *out != NULL && (i == 0 || (*out)[i - 1].p != NULL)) &&
		    i < l.n; i++)
			(*out)[i] = str_dup(a, l.v[i]);
		ok = ok && (l.n == 0 || (*out)[l.n - 1].p != NULL);
	}
	names_free(&l);
	return ok ? k : err_set(e, ERR_LIMIT, 0, "no room for the list of views");
}

/* -- members -- */

struct asking {
	struct str view;
	const uint32_t *uids;
	size_t n;
	bool *out;
};

static enum err_kind read_members(void *ctx, const struct rows *r, struct err *e)
{
	struct asking *q = ctx;
	char key[KEY_MAX], bits[VIEW_UIDS / 8];
	uint32_t number = 0;
	bool have = false;

	for (size_t i = 0; i < q->n; i++) {
		uint32_t bit = q->uids[i] % VIEW_UIDS;

		if (!have || number != q->uids[i] / VIEW_UIDS) {
			struct str row;
			enum err_kind k;

			number = q->uids[i] / VIEW_UIDS;
			k = rows_get(r, view_key(key, r->mailbox, q->view, number), &row, e);
			if (k != ERR_OK && k != ERR_NOENT)
				return k;
			memset(bits, 0, sizeof bits);
			if (k == ERR_OK && row.n == sizeof bits)
				memcpy(bits, row.p, sizeof bits);
			have = true;
		}
		q->out[i] = (unsigned char)bits[bit / 8] >> bit % 8 & 1;
	}
	return ERR_OK;
}

enum err_kind view_has(struct mailbox *mb, struct str view, const uint32_t *uids, size_t n,
    bool *out, struct err *e)
{
	struct asking q = { view, uids, n, out };
	enum err_kind k = check_name(view, e);

	return k == ERR_OK ? run_on_rows(mb, read_members, &q, e) : k;
}

struct set {
	struct str view;
	struct buf ranges;
};

static bool add_row(void *ctx, struct str key, struct str row)
{
	struct set *set = ctx;

	return view_row_ranges(key, row, &set->ranges);
}

static enum err_kind read_set(void *ctx, const struct rows *r, struct err *e)
{
	const struct ctl_slot *slot = ctl_find_id(r->s, r->mailbox);
	uint32_t last = slot != NULL ? slot->uidnext / VIEW_UIDS : 0;
	struct set *set = ctx;
	char key[KEY_MAX];
	struct str prefix = view_prefix(key, r->mailbox, set->view), row;
	enum err_kind k = ERR_OK;

	buf_reset(&set->ranges);
	if (r->t == NULL)
		k = row_scan(r->s, prefix, prefix, add_row, set, e);
	for (uint32_t number = 0; r->t != NULL && number <= last; number++) {
		struct str full = view_key(key, r->mailbox, set->view, number);

		if (rows_get(r, full, &row, NULL) == ERR_OK)
			(void)add_row(set, full, row);
	}
	return k == ERR_OK && set->ranges.full ? err_set(e, ERR_LIMIT, 0,
	    "a view in too many pieces") : k;
}

enum err_kind view_get(struct mailbox *mb, struct str view, struct arena *a, struct uid_range **out,
    size_t *out_n, struct err *e)
{
	struct set set = { view, BUF_INIT(SET_MAX_OCTETS) };
	enum err_kind k = check_name(view, e);

	if (k == ERR_OK)
		k = run_on_rows(mb, read_set, &set, e);
	if (k == ERR_OK) {
		*out_n = set.ranges.n / sizeof **out;
		*out = arena_array(a, *out_n, sizeof **out);
		if (*out == NULL)
			k = err_set(e, ERR_LIMIT, 0, "no room for a view");
		else if (*out_n > 0)
			memcpy(*out, set.ranges.p, set.ranges.n);
	}
	buf_free(&set.ranges);
	return k;
}

/* -- changing -- */

struct place {
	struct str view;
	struct names names;
	bool exists;
};

static bool any_row(void *ctx, struct str key, struct str row)
{
	bool *found = ctx;

	(void)key;
	(void)row;
	*found = true;
	return false;
}

static bool is_named(const struct names *l, struct str view)
{
	for (size_t i = 0; i < l->n; i++) {
		if (str_eq(l->v[i], view))
			return true;
	}
	return false;
}

/* Is it there? The others are counted only when it is not. */
static enum err_kind read_place(void *ctx, const struct rows *r, struct err *e)
{
	struct place *p = ctx;
	char key[KEY_MAX];
	struct str prefix = view_prefix(key, r->mailbox, p->view);
	enum err_kind k;

	p->exists = false;
	if (r->t == NULL && ((k = row_scan(r->s, prefix, prefix, any_row, &p->exists,
	    e)) != ERR_OK || p->exists))
		return k;
	if ((k = read_names(&p->names, r, e)) == ERR_OK)
		p->exists = is_named(&p->names, p->view);
	return k;
}

static enum err_kind find_place(struct mailbox *mb, struct place *p, struct err *e)
{
	const struct ctl_slot *slot = ctl_find_id(mb->s, mb->id);

	if (slot == NULL || !(slot->state & MAILBOX_EXISTS) || (slot->state & MAILBOX_NOSELECT))
		return err_set(e, ERR_NOENT, 0, "mailbox was deleted");
	return run_locked(mb->s, mb->id, read_place, p, e);
}

static enum err_kind append_change(struct mailbox *mb, struct str view, struct rec_view *rec,
    struct str ranges, uint64_t *out_seq, struct err *e)
{
	static const char pad[8];
	struct place p = { .view = view };
	struct journal_rec r = { REC_VIEW, { str_n((const char *)rec, sizeof *rec), view,
	    str_n(pad, -view.n & 7u), ranges } };
	enum err_kind k = find_place(mb, &p, e);

	if (k == ERR_OK && rec->how == VIEW_ENDS && !p.exists)
		k = err_set(e, ERR_NOENT, 0, "no such view");
	else if (k == ERR_OK && rec->how == VIEW_ADDS && !p.exists && p.names.n >= VIEWS_MAX)
		k = err_set(e, ERR_LIMIT, 0, "over %d views", VIEWS_MAX);
	if (k == ERR_OK && (p.exists || rec->how == VIEW_ADDS))	/* out of a view that is not there: nothing to do */
		k = store_append(mb->s, &r, 1, NULL, out_seq, e);
	names_free(&p.names);
	return k;
}

static enum err_kind change(struct mailbox *mb, struct str view, enum view_how how,
    struct str ranges, struct err *e)
{
	struct rec_view rec = { mb->id, how, (uint32_t)view.n,
	    (uint32_t)(ranges.n / sizeof(struct uid_range)) };
	uint64_t seq = 0;
	enum err_kind k = check_name(view, e);

	if (k != ERR_OK || (k = lock_store(mb->s, e)) != ERR_OK)
		return k;
	k = append_change(mb, view, &rec, ranges, &seq, e);
	store_unlock(mb->s);
	return k == ERR_OK && seq > 0 ? store_make_durable(mb->s, seq, e) : k;
}

static enum err_kind too_many(struct err *e)
{
	return err_set(e, ERR_LIMIT, 0, "too many messages at once");
}

enum err_kind view_change(struct mailbox *mb, struct str view, const uint32_t *uids, size_t n,
    bool add, struct err *e)
{
	struct buf ranges = BUF_INIT(GROUP_MAX_OCTETS / 2);
	uint32_t n_ranges;
	enum err_kind k = ERR_OK;

	if (!ranges_put(&ranges, uids, n, &n_ranges))
		k = too_many(e);
	else if (n > 0)
		k = change(mb, view, add ? VIEW_ADDS : VIEW_TAKES, buf_str(&ranges), e);
	buf_free(&ranges);
	return k;
}

enum err_kind view_change_ranges(struct mailbox *mb, struct str view, const struct uid_range *r,
    size_t n, bool add, struct err *e)
{
	if (n > GROUP_MAX_OCTETS / 2 / sizeof *r)
		return too_many(e);
	return n == 0 ? ERR_OK : change(mb, view, add ? VIEW_ADDS : VIEW_TAKES,
	    str_n((const char *)r, n * sizeof *r), e);
}

enum err_kind view_remove(struct mailbox *mb, struct str view, struct err *e)
{
	return change(mb, view, VIEW_ENDS, str_n(NULL, 0), e);
}
