/* SPDX-License-Identifier: ISC */
/* A node is a message, or an id that messages refer to (a dummy, until its message comes). While
 * messages come in only parents are kept; children are chained when all are there. Node 0 is the
 * root that all threads hang on.
 *
 * Invariant: following parents ends at a node without one. To keep it, a link to a node that has
 * children is made only after a walk from the new parent upwards; the walks together have a budget,
 * so that hostile references cost no more than honest ones.
 *
 * Length: the six steps of RFC 5256 s.3 work on one structure. */
#include <stdlib.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "thread.h"

enum {
	NONE = 0,			/* no node: the root is nobody's child, parent or sibling */
	ROOT = 0,
	FIRST_CAP = 256,
	PUT_OCTETS = 4096,
};

struct node {
	struct str id;
	uint64_t id_hash;
	uint32_t parent, first, last, next;
	uint32_t n_children;
	uint32_t ix;			/* order of coming, for equal dates; of a message */
	uint32_t number;		/* 0: a dummy */
	int64_t sent_s;
	struct str subject;
	bool is_reply;
};

struct threads {
	enum thread_algorithm how;
	uint64_t seed[2];
	struct node *v;
	uint32_t n, cap, n_messages;
	uint32_t *table, table_n;	/* nodes by id; a power of two; NONE: free */
	uint32_t current, last_reference;
	uint64_t steps_left;
};

static void *must(void *p)
{
	if (p == NULL)
		_exit(EX_TEMPFAIL);
	return p;
}

/* -- ids and subjects: hashed with a secret, so that nobody can make them meet -- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash(const struct threads *t, struct str s)
{
	uint64_t h = t->seed[0] ^ s.n;

	for (; s.n > 0; s = str_skip(s, 8)) {
		uint64_t w = 0;

		memcpy(&w, s.p, s.n < 8 ? s.n : 8);
		h = mix(h ^ w, t->seed[1]);
	}
	return mix(h, t->seed[0] | 1);
}

static void table_grow(struct threads *t)
{
	uint32_t n = t->table_n > 0 ? t->table_n * 2 : FIRST_CAP * 2, mask = n - 1;

	free(t->table);
	t->table = must(calloc(n, sizeof *t->table));
	t->table_n = n;
	for (uint32_t i = 1; i < t->n; i++) {
		uint64_t at = t->v[i].id_hash;

		if (t->v[i].id.n == 0)
			continue;
		while (t->table[at & mask] != NONE)
			at++;
		t->table[at & mask] = i;
	}
}

/* A new node; NONE when there are too many. Moves the others. */
static uint32_t node_new(struct threads *t)
{
	if (t->n == THREAD_NODES_MAX)
		return NONE;
	if (t->n == t->cap) {
		t->cap = t->cap > 0 ? t->cap * 2 : FIRST_CAP;
		t->v = must(realloc(t->v, t->cap * sizeof *t->v));
	}
	t->v[t->n] = (struct node){ .number = 0 };
	return t->n++;
}

/* The node of an id, which is made when there is none; NONE when there are too many. */
static uint32_t node_of(struct threads *t, struct str id)
{
	uint64_t h = hash(t, id), at = h;
	uint32_t k, i;

	if (t->n * 2 >= t->table_n)
		table_grow(t);
	for (; (k = t->table[at & (t->table_n - 1)]) != NONE; at++)
		if (t->v[k].id_hash == h && str_eq(t->v[k].id, id))
			return k;
	i = node_new(t);
	if (i != NONE) {
		t->v[i].id = id;
		t->v[i].id_hash = h;
		t->table[at & (t->table_n - 1)] = i;
	}
	return i;
}

/* -- step 1: links -- */

static bool is_above(struct threads *t, uint32_t upper, uint32_t lower)
{
	for (; lower != NONE; lower = t->v[lower].parent) {
		if (lower == upper || t->steps_left == 0)
			return true;
		t->steps_left--;
	}
	return false;
}

static void unlink_node(struct threads *t, uint32_t child)
{
	if (t->v[child].parent != NONE)
		t->v[t->v[child].parent].n_children--;
	t->v[child].parent = NONE;
}

static void link_nodes(struct threads *t, uint32_t parent, uint32_t child)
{
	if (parent == child || (t->v[child].n_children > 0 && is_above(t, child, parent)))
		return;
	t->v[child].parent = parent;
	t->v[parent].n_children++;
}

/* Step 1.B for the message that came last. */
static void settle(struct threads *t)
{
	if (t->current == NONE)
		return;
	unlink_node(t, t->current);
	if (t->last_reference != NONE)
		link_nodes(t, t->last_reference, t->current);
	t->current = t->last_reference = NONE;
}

struct threads *threads_new(enum thread_algorithm how)
{
	struct threads *t = must(calloc(1, sizeof *t));

	t->how = how;
	if (getrandom(t->seed, sizeof t->seed, 0) != sizeof t->seed)
		_exit(EX_TEMPFAIL);
	t->seed[1] |= 1;
	(void)node_new(t);		/* the root */
	return t;
}

void threads_free(struct threads **t)
{
	if (*t == NULL)
		return;
	free((*t)->v);
	free((*t)->table);
	free(*t);
	*t = NULL;
}

bool threads_add(struct threads *t, const struct thread_message *m)
{
	uint32_t i = NONE;
	struct node *n;

	settle(t);
	if (m->id.n > 0 && t->how == THREAD_REFERENCES)
		i = node_of(t, m->id);
	if (i == NONE || t->v[i].number != 0)	/* no id, or another message had it first */
		i = node_new(t);
	if (i == NONE)
		return false;
	n = &t->v[i];
	n->number = m->number;
	n->subject = m->subject;
	n->sent_s = m->sent_s;
	n->is_reply = m->is_reply;
	n->ix = ++t->n_messages;
	t->current = i;
	t->steps_left += THREAD_STEPS_A_LINK;
	return true;
}

void threads_reference(struct threads *t, struct str id)
{
	uint32_t i = t->how == THREAD_REFERENCES ? node_of(t, id) : NONE;

	if (i == NONE || t->current == NONE)
		return;
	t->steps_left += THREAD_STEPS_A_LINK;
	if (t->last_reference != NONE && t->v[i].parent == NONE)
		link_nodes(t, t->last_reference, i);
	t->last_reference = i;
}

void threads_references_of(struct threads *t, const struct record *r)
{
	struct str reply_to = record_in_reply_to(r);

	for (uint32_t ix = 0; ix < r->n_references; ix++)
		threads_reference(t, record_reference(r, ix));
	if (r->n_references == 0 && reply_to.n > 0)
		threads_reference(t, reply_to);
}

/* -- steps 2 and 3: children, without dummies -- */

static void append_child(struct threads *t, uint32_t parent, uint32_t child)
{
	struct node *p = &t->v[parent];

	if (p->first == NONE)
		p->first = child;
	else
		t->v[p->last].next = child;
	p->last = child;
	t->v[child].next = NONE;
	t->v[child].parent = parent;
	p->n_children++;
}

/* Appends all of from's children to `to`. */
static void splice_children(struct threads *t, uint32_t to, uint32_t from)
{
	struct node *a = &t->v[to], *b = &t->v[from];

	if (b->first == NONE)
		return;
	if (a->first == NONE)
		a->first = b->first;
	else
		t->v[a->last].next = b->first;
	a->last = b->last;
	a->n_children += b->n_children;
}

/* All nodes that hang on the root, and it, each after its parent. The caller frees it. */
static uint32_t *top_down(const struct threads *t, uint32_t *out_n)
{
	uint32_t *order = must(malloc(t->n * sizeof *order)), n = 1;

	order[0] = ROOT;
	for (uint32_t k = 0; k < n; k++)
		for (uint32_t c = t->v[order[k]].first; c != NONE; c = t->v[c].next)
			order[n++] = c;
	*out_n = n;
	return order;
}

/* Puts a node's children anew: dummies that have none go, and those that have give theirs up; under
 * the root only one that has a single child does. Its children are done already. */
static void prune_children(struct threads *t, uint32_t parent)
{
	uint32_t c = t->v[parent].first, next;

	t->v[parent].first = t->v[parent].last = NONE;
	t->v[parent].n_children = 0;
	for (; c != NONE; c = next) {
		const struct node *n = &t->v[c];

		next = n->next;
		if (n->number != 0 || (parent == ROOT && n->n_children > 1))
			append_child(t, parent, c);
		else
			splice_children(t, parent, c);
	}
}

static void chain(struct threads *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		t->v[i].n_children = 0;
	for (uint32_t i = 1; i < t->n; i++)
		append_child(t, t->v[i].parent != NONE ? t->v[i].parent : ROOT, i);
}

/* -- steps 4 and 6: order -- */

struct sibling {
	int64_t sent_s;
	uint32_t ix, node;
};

static int by_date(const void *a, const void *b)
{
	const struct sibling *x = a, *y = b;

	return x->sent_s != y->sent_s ? (x->sent_s > y->sent_s) - (x->sent_s < y->sent_s) :
	    (x->ix > y->ix) - (x->ix < y->ix);
}

/* Sorts a node's children by date; a dummy counts as its first child. `scratch` has room for them. */
static void sort_children(struct threads *t, uint32_t parent, struct sibling *scratch)
{
	uint32_t n = 0;

	for (uint32_t c = t->v[parent].first; c != NONE; c = t->v[c].next) {
		bool dummy = t->v[c].number == 0 && t->v[c].first != NONE;
		const struct node *x = &t->v[dummy ? t->v[c].first : c];

		scratch[n++] = (struct sibling){ x->sent_s, x->ix, c };
	}
	if (n > 1)
		qsort(scratch, n, sizeof *scratch, by_date);
	t->v[parent].first = t->v[parent].last = NONE;
	t->v[parent].n_children = 0;
	for (uint32_t k = 0; k < n; k++)
		append_child(t, parent, scratch[k].node);
}

/* -- step 5: threads of one subject -- */

struct subjects {
	uint32_t *v, mask;		/* nodes under the root by thread subject */
};

static struct str thread_subject(const struct threads *t, uint32_t i)
{
	return t->v[t->v[i].number == 0 && t->v[i].first != NONE ? t->v[i].first : i].subject;
}

static uint32_t *subject_slot(const struct threads *t, const struct subjects *table,
    struct str subject)
{
	uint64_t at = hash(t, subject);

	while (table->v[at & table->mask] != NONE &&
	    !str_eq(thread_subject(t, table->v[at & table->mask]), subject))
		at++;
	return &table->v[at & table->mask];
}

/* 5.B.iv: is `i` the better one to stand for the subject? */
static bool is_better(const struct node *now, const struct node *i)
{
	return now->number != 0 && (i->number == 0 || (now->is_reply && !i->is_reply));
}

/* 5.C.iv: *slot stands for the subject of i, too. Returns a new dummy, NONE when none was needed. */
static uint32_t merge(struct threads *t, uint32_t *slot, uint32_t i)
{
	const struct node *to = &t->v[*slot], *from = &t->v[i];
	uint32_t dummy;

	if (to->number == 0 && from->number == 0) {
		splice_children(t, *slot, i);
		t->v[i].parent = i;		/* is nowhere now */
		return NONE;
	}
	if (to->number == 0 || (from->is_reply && !to->is_reply)) {
		append_child(t, *slot, i);
		return NONE;
	}
	dummy = node_new(t);
	if (dummy != NONE) {
		append_child(t, dummy, *slot);
		append_child(t, dummy, i);
		*slot = dummy;
	}
	return dummy;
}

/* Nodes under the root; room for twice as many. The caller frees it. */
static uint32_t *tops(const struct threads *t, uint32_t *out_n)
{
	uint32_t *v = must(malloc((2 * (size_t)t->v[ROOT].n_children + 1) * sizeof *v));

	*out_n = 0;
	for (uint32_t c = t->v[ROOT].first; c != NONE; c = t->v[c].next)
		v[(*out_n)++] = c;
	return v;
}

static void merge_subjects(struct threads *t)
{
	struct subjects table = { NULL, 63 };
	uint32_t n, all, *top = tops(t, &n);

	while (table.mask < 2 * (size_t)n)
		table.mask = table.mask * 2 + 1;
	table.v = must(calloc((size_t)table.mask + 1, sizeof *table.v));
	for (uint32_t k = 0; k < n; k++) {
		struct str subject = thread_subject(t, top[k]);
		uint32_t *slot = subject.n > 0 ? subject_slot(t, &table, subject) : NULL;

		if (slot != NULL && (*slot == NONE || is_better(&t->v[*slot], &t->v[top[k]])))
			*slot = top[k];
	}
	all = n;
	for (uint32_t k = 0; k < n; k++) {
		struct str subject = thread_subject(t, top[k]);
		uint32_t *slot = subject.n > 0 ? subject_slot(t, &table, subject) : NULL;
		uint32_t dummy = slot != NULL && *slot != top[k] ? merge(t, slot, top[k]) : NONE;

		if (dummy != NONE)
			top[all++] = dummy;
	}
	t->v[ROOT].first = t->v[ROOT].last = NONE;
	t->v[ROOT].n_children = 0;
	for (uint32_t k = 0; k < all; k++)
		if (t->v[top[k]].parent == ROOT)
			append_child(t, ROOT, top[k]);
	free(table.v);
	free(top);
}

/* -- all steps -- */

static void make_references(struct threads *t)
{
	struct sibling *scratch;
	uint32_t *order, n;

	chain(t);
	order = top_down(t, &n);
	for (uint32_t k = n; k-- > 0;)
		prune_children(t, order[k]);
	free(order);
	scratch = must(malloc(((size_t)t->n + t->v[ROOT].n_children) * sizeof *scratch));
	for (uint32_t c = t->v[ROOT].first; c != NONE; c = t->v[c].next)
		if (t->v[c].number == 0)
			sort_children(t, c, scratch);
	sort_children(t, ROOT, scratch);
	merge_subjects(t);
	order = top_down(t, &n);
	for (uint32_t k = n; k-- > 0;)
		sort_children(t, order[k], scratch);
	free(order);
	free(scratch);
}

static int by_subject(const void *a, const void *b)
{
	const struct node *x = a, *y = b;
	int c = str_cmp(x->subject, y->subject);

	if (c != 0)
		return c;
	return x->sent_s != y->sent_s ? (x->sent_s > y->sent_s) - (x->sent_s < y->sent_s) :
	    (x->ix > y->ix) - (x->ix < y->ix);
}

static void make_orderedsubject(struct threads *t)
{
	struct sibling *scratch = must(malloc(t->n * sizeof *scratch));
	uint32_t top = NONE;

	qsort(t->v + 1, t->n - 1, sizeof *t->v, by_subject);
	for (uint32_t i = 1; i < t->n; i++) {
		if (top == NONE || !str_eq(t->v[top].subject, t->v[i].subject))
			top = i;
		append_child(t, top == i ? ROOT : top, i);
	}
	sort_children(t, ROOT, scratch);
	free(scratch);
}

void threads_make(struct threads *t)
{
	settle(t);
	if (t->how == THREAD_REFERENCES)
		make_references(t);
	else
		make_orderedsubject(t);
}

/* -- telling -- */

/* A list of its own in the answer: at the top, or one of several siblings. */
static bool begins_list(const struct threads *t, uint32_t i)
{
	return t->v[i].parent == ROOT || t->v[t->v[i].parent].n_children > 1;
}

static void put_open(const struct threads *t, struct buf *b, uint32_t i)
{
	const struct node *n = &t->v[i];

	if (begins_list(t, i))
		(void)buf_putc(b, '(');
	else if (t->v[n->parent].number != 0)
		(void)buf_putc(b, ' ');
	if (n->number == 0)
		return;
	(void)buf_put_u64(b, n->number);
	if (n->n_children > 1)
		(void)buf_putc(b, ' ');
}

void threads_put(const struct threads *t, void (*put)(void *ctx, struct buf *b), void *ctx)
{
	struct buf b = BUF_INIT(PUT_OCTETS);
	uint32_t i = t->v[ROOT].first;

	while (i != NONE) {
		put_open(t, &b, i);
		if (b.n > PUT_OCTETS / 2)
			put(ctx, &b);
		if (t->v[i].first != NONE) {
			i = t->v[i].first;
			continue;
		}
		for (;;) {
			if (begins_list(t, i))
				(void)buf_putc(&b, ')');
			if (b.n > PUT_OCTETS / 2)
				put(ctx, &b);
			if (t->v[i].next != NONE || t->v[i].parent == ROOT)
				break;
			i = t->v[i].parent;
		}
		i = t->v[i].next;
	}
	if (b.n > 0)
		put(ctx, &b);
	buf_free(&b);
}
