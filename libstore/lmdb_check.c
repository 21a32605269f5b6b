/* SPDX-License-Identifier: ISC */
/* The structure of an LMDB 0.9 file (data version 1), as far as LMDB relies on it. Two meta pages, the one with the higher
 * transaction number counts; it has the roots of two trees, free pages by transaction and the items. Pages are of the
 * machine's page size, numbers in its own size and order: a file from another kind of machine is refused.
 *
 *   page      number (word), unused u16, flags u16, then lower u16 and upper u16, or, of long values, pages u32
 *   node      u16 low and u16 high half of a size or of a child's number, flags u16 (in a branch: more of that number),
 *             octets of the key u16, key, then the value or (flag 1) the number of the page where it lies
 *   offsets   of the nodes, u16 each, from the page's header up to `lower`; nodes fill the page from `upper` to its end
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/str.h"
#include "lmdb_check.h"

typedef size_t word;			/* of a page number, a transaction number */

enum {
	MAGIC = (int)0xBEEFC0DE, DATA_VERSION = 1,
	PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8,
	NODE_BIG = 1,			/* the value lies on pages of its own */
	TREE_FREE = 0, TREE_ITEMS = 1,
	FLAGS_FREE = 8,			/* of the tree: keys are words */
	FLAGS_ENV = 0x4000,		/* kept with them: the index is a file, not a directory */
	DEPTH_MAX = 24,			/* a tree of two keys a page would be 16 million pages */
	PAGE_OCTETS_MAX = 32768,
	KEY_OCTETS_MAX = 511,
	UNWRITTEN_MAX = 1024,
};

struct page_head {
	word number;
	uint16_t unused, flags;
	union {
		struct { uint16_t lower, upper; } space;
		uint32_t n_pages;
	} u;
};

struct tree {
	uint32_t page_octets;
	uint16_t flags, depth;
	word n_branch, n_leaf, n_overflow, n_items, root;
};

struct meta {
	uint32_t magic, version;
	void *address;
	size_t map_octets;
	struct tree tree[2];
	word last_page, txnid;
};

struct node {
	uint16_t low, high, flags, key_octets;
};

struct walk {
	int fd;
	size_t page_octets;
	word n_pages;			/* in the file */
	struct meta meta;
	unsigned char *used;		/* a bit for each page */
	char *level[DEPTH_MAX];		/* a page buffer for each level of the tree */
	uint16_t *at;			/* by half offset: octets of the node that begins there */
	int tree;
	struct err *e;
};

/* Keys below this one's page are at or after `from` and before `to` (p NULL: no bound). */
struct bounds {
	struct str from, to;
};

static enum err_kind bad(const struct walk *w, word page, const char *what)
{
	return err_set(w->e, ERR_CORRUPT, 0, "index: page %llu: %s", (unsigned long long)page, what);
}

static enum err_kind read_at(const struct walk *w, void *p, size_t n, word page)
{
	ssize_t r = pread(w->fd, p, n, (off_t)page * (off_t)w->page_octets);

	if (r == (ssize_t)n)
		return ERR_OK;
	return bad(w, page, r < 0 ? "can't be read" : "is missing");
}

/* -- each page once -- */

static enum err_kind use(struct walk *w, word page, word n)
{
	if (page < 2 || page > w->meta.last_page || n == 0 || n > w->meta.last_page - page + 1)
		return bad(w, page, "is none");
	for (word i = page; i < page + n; i++) {
		unsigned char bit = (unsigned char)(1u << i % 8);

		if (w->used[i / 8] & bit)
			return bad(w, i, "is used twice");
		w->used[i / 8] |= bit;
	}
	return ERR_OK;
}

/* -- meta pages -- */

static enum err_kind read_meta(const struct walk *w, word page, struct meta *out)
{
	struct { struct page_head head; struct meta meta; } m;
	enum err_kind k = read_at(w, &m, sizeof m, page);

	if (k != ERR_OK)
		return k;
	*out = m.meta;
	if (!(m.head.flags & PAGE_META) || out->magic != (uint32_t)MAGIC || out->version != DATA_VERSION)
		return bad(w, page, "is no beginning of an index");
	if (out->tree[TREE_FREE].page_octets != w->page_octets || (out->tree[TREE_FREE].flags & ~FLAGS_ENV) != FLAGS_FREE ||
	    out->tree[TREE_ITEMS].flags != 0 || out->tree[TREE_FREE].depth > DEPTH_MAX ||
	    out->tree[TREE_ITEMS].depth > DEPTH_MAX)
		return bad(w, page, "is not of this kind of index");
	return ERR_OK;
}

static enum err_kind choose_meta(struct walk *w)
{
	struct meta second;
	struct stat st;
	enum err_kind k;

	if ((k = read_meta(w, 0, &w->meta)) != ERR_OK || (k = read_meta(w, 1, &second)) != ERR_OK)
		return k;
	if (second.txnid > w->meta.txnid)
		w->meta = second;
	if (fstat(w->fd, &st) < 0)
		return err_sys(w->e, errno, "index: stat");
	w->n_pages = (word)st.st_size / w->page_octets;
	/* pages that a transaction took and gave back are free, and may never have been written */
	if (w->meta.last_page < 1 || w->meta.last_page / 2 > w->n_pages + UNWRITTEN_MAX)
		return bad(w, w->meta.last_page, "is far behind the end");
	return ERR_OK;
}

/* -- values -- */

/* A value on pages of its own; of the free list its octets are read to *out (malloc'ed), else only its pages checked. */
static enum err_kind check_long_value(struct walk *w, word page, size_t octets, char **out)
{
	struct page_head head;
	word n = (sizeof head - 1 + octets) / w->page_octets + 1;
	enum err_kind k = read_at(w, &head, sizeof head, page);

	if (k != ERR_OK)
		return k;
	/* a shorter value may have been put in the place of a longer one */
	if (head.number != page || head.flags != PAGE_OVERFLOW || head.u.n_pages < n || n > w->n_pages - page)
		return bad(w, page, "is not the value's");
	if ((k = use(w, page, head.u.n_pages)) != ERR_OK || out == NULL)
		return k;
	*out = malloc(octets);
	if (*out == NULL)
		return err_set(w->e, ERR_TEMP, ENOMEM, "index: no memory to check");
	if (pread(w->fd, *out, octets, (off_t)page * (off_t)w->page_octets + (off_t)sizeof head) != (ssize_t)octets)
		return bad(w, page, "can't be read");
	return ERR_OK;
}

/* Free pages: how many, then their numbers, falling. */
static enum err_kind check_free_list(struct walk *w, word page, const char *p, size_t octets)
{
	word n, number, before = (word)-1;
	enum err_kind k = ERR_OK;

	if (octets < sizeof n || octets % sizeof n != 0)
		return bad(w, page, "has a free list of odd length");
	memcpy(&n, p, sizeof n);
	if (n > octets / sizeof n - 1)
		return bad(w, page, "has a short free list");
	for (word i = 1; i <= n && k == ERR_OK; i++) {
		memcpy(&number, p + i * sizeof number, sizeof number);
		k = number < before ? use(w, number, 1) : bad(w, page, "has a free list out of order");
		before = number;
	}
	return k;
}

static enum err_kind check_value(struct walk *w, word page, const struct node *node, const char *value)
{
	size_t octets = node->low | (size_t)node->high << 16;
	char *list = NULL;
	word elsewhere;
	enum err_kind k = ERR_OK;

	if (node->flags & NODE_BIG) {
		memcpy(&elsewhere, value, sizeof elsewhere);
		k = octets > (size_t)w->meta.last_page * w->page_octets ? bad(w, page, "has a value without end") :
		    check_long_value(w, elsewhere, octets, w->tree == TREE_FREE ? &list : NULL);
		value = list;
	}
	if (k == ERR_OK && w->tree == TREE_FREE)
		k = check_free_list(w, page, value, octets);
	free(list);
	return k;
}

/* -- pages -- */

static enum err_kind check_page(struct walk *w, word page, unsigned level, struct bounds b);

/* What is known of a page's nodes while they are gone through. */
struct nodes {
	word page;
	const char *p;
	struct page_head head;
	size_t n;
	bool leaf;
};

static struct node node_at(const struct nodes *x, size_t i, uint16_t *out_offset)
{
	struct node node = { 0 };

	memcpy(out_offset, x->p + sizeof x->head + i * sizeof *out_offset, sizeof *out_offset);
	memcpy(&node, x->p + *out_offset, sizeof node);
	return node;
}

static struct str node_key(const struct nodes *x, size_t i)
{
	uint16_t offset;
	struct node node = node_at(x, i, &offset);

	return str_n(x->p + offset + sizeof node, node.key_octets);
}

/* Every node lies between upper and the page's end, and together they fill that without a gap or an overlap. */
static enum err_kind check_nodes(struct walk *w, const struct nodes *x)
{
	size_t upper = x->head.u.space.upper;

	memset(w->at, 0, w->page_octets / 2 * sizeof w->at[0]);
	for (size_t i = 0; i < x->n; i++) {
		uint16_t offset;
		struct node node;
		size_t octets = sizeof node;

		memcpy(&offset, x->p + sizeof x->head + i * sizeof offset, sizeof offset);
		if (offset % 2 != 0 || offset < upper || offset > w->page_octets - sizeof node)
			return bad(w, x->page, "has a stray item");
		node = node_at(x, i, &offset);
		octets += node.key_octets;
		if (x->leaf)
			octets += node.flags & NODE_BIG ? sizeof(word) : node.low | (size_t)node.high << 16;
		if (octets > w->page_octets - offset || node.key_octets > KEY_OCTETS_MAX ||
		    (x->leaf && (node.flags & ~NODE_BIG) != 0))
			return bad(w, x->page, "has an item that makes no sense");
		w->at[offset / 2] = (uint16_t)((octets + 1) & ~(size_t)1);
	}
	for (size_t at = upper, n = 0; at < w->page_octets || n < x->n; n++) {
		if (at >= w->page_octets || w->at[at / 2] == 0)
			return bad(w, x->page, "has items that overlap");
		at += w->at[at / 2];
	}
	return ERR_OK;
}

static int cmp_keys(const struct walk *w, struct str a, struct str b)
{
	word x, y;

	if (w->tree == TREE_ITEMS)
		return str_cmp(a, b);
	memcpy(&x, a.p, sizeof x);
	memcpy(&y, b.p, sizeof y);
	return (x > y) - (x < y);
}

/* Rising, and within what the page above says. The first key of a branch stands for "anything before". */
static enum err_kind check_keys(const struct walk *w, const struct nodes *x, struct bounds b)
{
	struct str before = b.from;
	bool may_equal = x->leaf;	/* only a leaf's first key may be what the branch above names */

	for (size_t i = x->leaf ? 0 : 1; i < x->n; i++) {
		struct str key = node_key(x, i);

		if (key.n == 0 || (w->tree == TREE_FREE && key.n != sizeof(word)))
			return bad(w, x->page, "has a key that is none");
		if ((before.p != NULL && cmp_keys(w, before, key) > (may_equal ? 0 : -1)) ||
		    (b.to.p != NULL && cmp_keys(w, key, b.to) >= 0))
			return bad(w, x->page, "has keys out of order");
		before = key;
		may_equal = false;
	}
	return ERR_OK;
}

static enum err_kind check_children(struct walk *w, const struct nodes *x, unsigned level, struct bounds b)
{
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < x->n && k == ERR_OK; i++) {
		uint16_t offset;
		struct node node = node_at(x, i, &offset);
		struct bounds below = { i > 0 ? node_key(x, i) : b.from, i + 1 < x->n ? node_key(x, i + 1) : b.to };
		word child = node.low | (word)node.high << 16;

		if (sizeof child > sizeof(uint32_t))
			child |= (word)((uint64_t)node.flags << 32);
		if (x->leaf)
			k = check_value(w, x->page, &node, x->p + offset + sizeof node + node.key_octets);
		else
			k = check_page(w, child, level + 1, below);
	}
	return k;
}

static enum err_kind check_page(struct walk *w, word page, unsigned level, struct bounds b)
{
	struct nodes x = { .page = page, .leaf = level + 1 == w->meta.tree[w->tree].depth };
	enum err_kind k;

	if ((k = use(w, page, 1)) != ERR_OK)
		return k;
	if (w->level[level] == NULL && (w->level[level] = malloc(w->page_octets)) == NULL)
		return err_set(w->e, ERR_TEMP, ENOMEM, "index: no memory to check");
	x.p = w->level[level];
	if ((k = read_at(w, w->level[level], w->page_octets, page)) != ERR_OK)
		return k;
	memcpy(&x.head, x.p, sizeof x.head);
	if (x.head.number != page || x.head.flags != (x.leaf ? PAGE_LEAF : PAGE_BRANCH) ||
	    x.head.u.space.lower < sizeof x.head || x.head.u.space.lower % 2 != 0 ||
	    x.head.u.space.lower > x.head.u.space.upper || x.head.u.space.upper > w->page_octets)
		return bad(w, page, "is not what belongs there");
	x.n = (x.head.u.space.lower - sizeof x.head) / sizeof(uint16_t);
	if (x.n < (x.leaf || w->tree == TREE_FREE ? 1 : 2))
		return bad(w, page, "is empty");
	if ((k = check_nodes(w, &x)) != ERR_OK || (k = check_keys(w, &x, b)) != ERR_OK)
		return k;
	return check_children(w, &x, level, b);
}

static enum err_kind check_tree(struct walk *w, int tree)
{
	const struct tree *t = &w->meta.tree[tree];

	w->tree = tree;
	if (t->depth == 0 && t->root == (word)-1)
		return ERR_OK;
	if (t->depth == 0)
		return bad(w, t->root, "is the root of a tree without depth");
	return check_page(w, t->root, 0, (struct bounds){ { NULL, 0 }, { NULL, 0 } });
}

enum err_kind lmdb_check(int fd, uint64_t *out_txnid, struct err *e)
{
	struct walk w = { .fd = fd, .page_octets = (size_t)sysconf(_SC_PAGESIZE), .e = e };
	enum err_kind k;

	if (w.page_octets > PAGE_OCTETS_MAX)
		w.page_octets = PAGE_OCTETS_MAX;
	if ((k = choose_meta(&w)) != ERR_OK)
		return k;
	w.used = calloc(1, w.meta.last_page / 8 + 1);
	w.at = malloc(w.page_octets / 2 * sizeof w.at[0]);
	if (w.used == NULL || w.at == NULL)
		k = err_set(e, ERR_TEMP, ENOMEM, "index: no memory to check");
	if (k == ERR_OK && (k = check_tree(&w, TREE_FREE)) == ERR_OK)
		k = check_tree(&w, TREE_ITEMS);
	for (size_t i = 0; i < DEPTH_MAX; i++)
		free(w.level[i]);
	free(w.at);
	free(w.used);
	*out_txnid = w.meta.txnid;
	return k;
}
