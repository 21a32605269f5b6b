/* SPDX-License-Identifier: ISC */
/* A small file system in memory: inodes with what is durable of them and what is pending since. A crash walks the tree
 * from the root and lets each pending operation happen or not. Tests only: no memory ends the process. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fscrash.h"

enum { SECTOR_OCTETS = 512, PAGE_OCTETS = 4096, PATH_OCTETS = 512, PERCENT = 100 };

struct octets {
	char *p;
	size_t n, cap;
};

struct entry {
	char name[FS_NAME_MAX];
	int node;
};

struct pending {
	const struct fs_event *ev;
	int node;		/* what the entry is of */
};

struct node {
	uint64_t ino;
	bool is_dir;
	struct octets data;	/* durable */
	const struct fs_event *seen[3];		/* of a mapped file: an old look, the one before the last, the last */
	struct entry *entry;	/* durable */
	size_t n_entries;
	struct pending *pending;
	size_t n_pending;
};

struct world {
	const struct fslog *log;
	size_t at, last_sync;	/* events taken; the last fsync among them */
	struct node *node;
	int n, root;
	struct octets scratch;
};

/* How one crash is drawn. */
struct draw {
	const struct crash *c;
	uint64_t random;
	size_t n, one;		/* pending operations met; the one that is different */
	const struct fs_event *log_end;	/* entries from here on are missing */
};

static void *grown(void *p, size_t octets)
{
	p = realloc(p, octets);
	if (p == NULL && octets > 0)
		abort();
	return p;
}

static uint64_t next_random(uint64_t *r)		/* splitmix64 */
{
	uint64_t x = *r += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* -- nodes -- */

static int node_new(struct world *w, uint64_t ino, bool is_dir)
{
	w->node = grown(w->node, (size_t)(w->n + 1) * sizeof *w->node);
	w->node[w->n] = (struct node){ .ino = ino, .is_dir = is_dir };
	return w->n++;
}

static int node_of(const struct world *w, uint64_t ino)	/* the latest that has the number */
{
	for (int i = w->n - 1; i >= 0; i--) {
		if (w->node[i].ino == ino)
			return i;
	}
	return -1;
}

static void octets_stretch(struct octets *o, size_t n, const struct draw *d, uint64_t *random)
{
	if (n > o->cap) {
		o->cap = n + n / 2;
		o->p = grown(o->p, o->cap);
	}
	if (n > o->n)
		memset(o->p + o->n, 0, n - o->n);
	for (size_t i = o->n; d != NULL && d->c->garbage && i < n; i++)
		o->p[i] = (char)next_random(random);
	o->n = n;
}

static void octets_write(struct octets *o, uint64_t off, const char *p, size_t n)
{
	if (off + n > o->n)
		octets_stretch(o, off + n, NULL, NULL);
	memcpy(o->p + off, p, n);
}

static void entry_set(struct node *dir, const char *name, int node)
{
	for (size_t i = 0; i < dir->n_entries; i++) {
		if (strcmp(dir->entry[i].name, name) != 0)
			continue;
		if (node >= 0)
			dir->entry[i].node = node;
		else
			dir->entry[i] = dir->entry[--dir->n_entries];
		return;
	}
	if (node < 0)
		return;
	dir->entry = grown(dir->entry, (dir->n_entries + 1) * sizeof *dir->entry);
	snprintf(dir->entry[dir->n_entries].name, FS_NAME_MAX, "%s", name);
	dir->entry[dir->n_entries++].node = node;
}

static int entry_get(const struct node *dir, const char *name)
{
	for (size_t i = 0; i < dir->n_entries; i++) {
		if (strcmp(dir->entry[i].name, name) == 0)
			return dir->entry[i].node;
	}
	return -1;
}

static void apply_data(const struct world *w, struct octets *o, const struct fs_event *ev)
{
	if (ev->op == FS_WRITE)
		octets_write(o, ev->off, w->log->data + ev->data, ev->len);
	else if (ev->op == FS_SIZE && ev->len < o->n)
		o->n = ev->len;
	else if ((ev->op == FS_SIZE || ev->op == FS_ALLOC) && ev->len > o->n)
		octets_stretch(o, ev->len, NULL, NULL);
}

/* Pending in both directories, and happens in both or in none. */
static bool is_between_dirs(const struct fs_event *ev)
{
	return ev->op == FS_RENAME && ev->dir != ev->to_dir;
}

static void apply_entry(struct node *dir, const struct pending *p)
{
	if (p->ev->op == FS_UNLINK) {
		entry_set(dir, p->ev->name, -1);
	} else if (p->ev->op == FS_RENAME) {
		if (dir->ino == p->ev->dir && entry_get(dir, p->ev->name) == p->node)
			entry_set(dir, p->ev->name, -1);
		if (dir->ino == p->ev->to_dir)
			entry_set(dir, p->ev->to_name, p->node);
	} else {
		entry_set(dir, p->ev->name, p->node);
	}
}

/* -- going forward -- */

static void add_pending(struct world *w, int node, const struct fs_event *ev, int of)
{
	struct node *n;

	if (node < 0)
		return;
	n = &w->node[node];
	n->pending = grown(n->pending, (n->n_pending + 1) * sizeof *n->pending);
	n->pending[n->n_pending++] = (struct pending){ ev, of };
}

/* It was synced in one directory: it happened in the other one, too. */
static void settle_other_end(struct world *w, const struct node *dir, const struct fs_event *ev)
{
	struct node *n = &w->node[node_of(w, dir->ino == ev->dir ? ev->to_dir : ev->dir)];

	for (size_t i = 0; i < n->n_pending; i++) {
		if (n->pending[i].ev != ev)
			continue;
		apply_entry(n, &n->pending[i]);
		n->n_pending--;
		memmove(&n->pending[i], &n->pending[i + 1], (n->n_pending - i) * sizeof *n->pending);
		return;
	}
}

static void settle(struct world *w, int node)
{
	struct node *n;

	if (node < 0)
		return;
	n = &w->node[node];
	for (size_t i = 0; i < n->n_pending; i++) {
		if (n->is_dir)
			apply_entry(n, &n->pending[i]);
		else
			apply_data(w, &n->data, n->pending[i].ev);
		if (is_between_dirs(n->pending[i].ev))
			settle_other_end(w, n, n->pending[i].ev);
	}
	n->n_pending = 0;
}

static void take_mapped(struct node *n, const struct fs_event *ev, size_t at)
{
	if (n->seen[0] == NULL || at % 5 == 0)	/* now and then the old look is a newer one */
		n->seen[0] = n->seen[2] != NULL ? n->seen[2] : ev;
	n->seen[1] = n->seen[2] != NULL ? n->seen[2] : ev;
	n->seen[2] = ev;
}

static void take(struct world *w, const struct fs_event *ev)
{
	int node = node_of(w, ev->ino);

	switch (ev->op) {
	case FS_CREATE:
	case FS_MKDIR:
		node = node_new(w, ev->ino, ev->op == FS_MKDIR);
		add_pending(w, node_of(w, ev->dir), ev, node);
		break;
	case FS_LINK:
	case FS_UNLINK:
	case FS_RENAME:
		add_pending(w, node_of(w, ev->dir), ev, node);
		if (is_between_dirs(ev))
			add_pending(w, node_of(w, ev->to_dir), ev, node);
		break;
	case FS_WRITE:
	case FS_SIZE:
	case FS_ALLOC:
		add_pending(w, node, ev, -1);
		break;
	case FS_SYNC:
		w->last_sync = w->at;
		settle(w, node);
		break;
	case FS_DATASYNC:
		settle(w, node);
		break;
	case FS_MAPPED:
		if (node >= 0)
			take_mapped(&w->node[node], ev, w->at);
		break;
	case FS_MARK:
		break;
	}
}

void world_advance(struct world *w, size_t upto)
{
	for (; w->at < upto && w->at < w->log->n; w->at++)
		take(w, &w->log->event[w->at]);
}

/* -- the beginning -- */

static void load_file(struct world *w, int node, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	octets_stretch(&w->node[node].data, (size_t)st.st_size, NULL, NULL);
	if (st.st_size > 0)
		r = read(fd, w->node[node].data.p, (size_t)st.st_size);
	if (r != st.st_size)
		abort();
	close(fd);
}

static void load(struct world *w, int node, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *d;

	if (dir == NULL)
		abort();
	while ((d = readdir(dir)) != NULL) {
		char sub[PATH_OCTETS];
		struct stat st;
		int child;

		if (d->d_name[0] == '.')
			continue;
		snprintf(sub, sizeof sub, "%s/%.*s", path, FS_NAME_MAX, d->d_name);
		if (lstat(sub, &st) < 0)
			abort();
		child = node_of(w, st.st_ino);	/* a second link is the same file */
		if (child < 0) {
			child = node_new(w, st.st_ino, S_ISDIR(st.st_mode));
			if (S_ISDIR(st.st_mode))
				load(w, child, sub);
			else
				load_file(w, child, sub);
		}
		entry_set(&w->node[node], d->d_name, child);
	}
	closedir(dir);
}

struct world *world_new(const char *root, const struct fslog *log)
{
	struct world *w = grown(NULL, sizeof *w);
	struct stat st;

	if (stat(root, &st) < 0)
		abort();
	*w = (struct world){ .log = log };
	w->root = node_new(w, st.st_ino, true);
	load(w, w->root, root);
	return w;
}

void world_free(struct world **w)
{
	for (int i = 0; i < (*w)->n; i++) {
		free((*w)->node[i].data.p);
		free((*w)->node[i].entry);
		free((*w)->node[i].pending);
	}
	free((*w)->node);
	free((*w)->scratch.p);
	free(*w);
	*w = NULL;
}

/* -- a crash -- */

static bool by_chance(struct draw *d, unsigned percent)
{
	return next_random(&d->random) % PERCENT < percent;
}

static bool by_kind(struct draw *d)
{
	size_t i = d->n++;

	switch (d->c->kind) {
	case CRASH_ALL:
		return true;
	case CRASH_NONE:
		return false;
	case CRASH_MOST:
		return by_chance(d, 90);
	case CRASH_FEW:
		return by_chance(d, 10);
	case CRASH_ALL_BUT_ONE:
		return i != d->one;
	case CRASH_ONLY_ONE:
		return i == d->one;
	default:
		return by_chance(d, 50);
	}
}

/* Did this pending operation come to the disk? */
static bool happened(const struct world *w, struct draw *d, const struct node *n, const struct fs_event *ev)
{
	struct draw same = { .c = d->c, .random = d->c->random + (uint64_t)(ev - w->log->event), .n = 1 };
	bool yes = n->is_dir && d->c->logged ? ev < d->log_end : is_between_dirs(ev) ? by_kind(&same) : by_kind(d);

	if (d->c->tell)
		printf("# %s event %zu: %s of inode %llu %s %s, %llu octets at %llu\n", yes ? "kept" : "lost",
		    (size_t)(ev - w->log->event) + 1, fs_op_name(ev->op), (unsigned long long)n->ino, ev->name,
		    ev->to_name, (unsigned long long)ev->len, (unsigned long long)ev->off);
	return yes;
}

static void write_torn(const struct world *w, struct octets *o, const struct fs_event *ev, struct draw *d)
{
	const char *p = w->log->data + ev->data;
	uint64_t end = ev->off + ev->len;

	for (uint64_t at = ev->off; at < end;) {
		uint64_t next = (at / SECTOR_OCTETS + 1) * SECTOR_OCTETS;

		next = next < end ? next : end;
		if (by_chance(d, 50))
			octets_write(o, at, p + (at - ev->off), next - at);
		at = next;
	}
}

static void crash_data(struct world *w, const struct node *n, struct octets *o, struct draw *d)
{
	o->n = 0;
	octets_stretch(o, n->data.n, NULL, NULL);
	if (n->data.n > 0)
		memcpy(o->p, n->data.p, n->data.n);
	for (size_t i = 0; i < n->n_pending; i++) {
		const struct fs_event *ev = n->pending[i].ev;
		bool there = happened(w, d, n, ev);

		/* the length may be there without the octets */
		if (ev->op == FS_WRITE && ev->off + ev->len > o->n && d->c->kind != CRASH_NONE &&
		    (there || by_chance(d, 50)))
			octets_stretch(o, ev->off + ev->len, d, &d->random);
		if (there && ev->op == FS_WRITE && d->c->kind == CRASH_TORN)
			write_torn(w, o, ev, d);
		else if (there)
			apply_data(w, o, ev);
	}
}

/* Page by page one of the looks, zeros, or old octets. The length stays. */
static void crash_mapped(const struct world *w, const struct node *n, struct octets *o, struct draw *d)
{
	unsigned whole = (unsigned)(next_random(&d->random) % 4);	/* 3: pages differ */

	if (d->c->kind == CRASH_NONE)
		return;
	for (size_t at = 0; at < o->n; at += PAGE_OCTETS) {
		const struct fs_event *ev = n->seen[whole < 3 ? whole : next_random(&d->random) % 3];
		size_t end = at + PAGE_OCTETS < o->n ? at + PAGE_OCTETS : o->n;

		if (whole == 3 && by_chance(d, 20))
			continue;
		if (at < ev->len)
			memcpy(o->p + at, w->log->data + ev->data + at, (end < ev->len ? end : ev->len) - at);
		if (d->c->garbage && whole == 3 && by_chance(d, 30))
			for (size_t i = at; i < end; i += 1 + next_random(&d->random) % SECTOR_OCTETS)
				o->p[i] = (char)next_random(&d->random);
	}
}

static bool write_file(const char *path, const struct octets *o)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && (o->n == 0 || write(fd, o->p, o->n) == (ssize_t)o->n);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* A file with several names is written once: `made` knows where. */
struct made {
	char path[PATH_OCTETS];
};

static bool crash_file(struct world *w, int node, struct draw *d, const char *path, struct made *made)
{
	const struct node *n = &w->node[node];

	if (made[node].path[0] != '\0')
		return link(made[node].path, path) == 0;
	snprintf(made[node].path, PATH_OCTETS, "%s", path);
	crash_data(w, n, &w->scratch, d);
	if (n->seen[2] != NULL)
		crash_mapped(w, n, &w->scratch, d);
	return write_file(path, &w->scratch);
}

static bool crash_dir(struct world *w, int node, struct draw *d, const char *path, struct made *made)
{
	const struct node *n = &w->node[node];
	struct node now = { .n_entries = n->n_entries };
	bool ok = mkdir(path, 0700) == 0;

	now.entry = grown(NULL, (n->n_entries + 1) * sizeof *now.entry);
	if (n->n_entries > 0)
		memcpy(now.entry, n->entry, n->n_entries * sizeof *now.entry);
	for (size_t i = 0; i < n->n_pending; i++) {
		if (happened(w, d, n, n->pending[i].ev))
			apply_entry(&now, &n->pending[i]);
	}
	for (size_t i = 0; ok && i < now.n_entries; i++) {
		char sub[PATH_OCTETS];
		int child = now.entry[i].node;

		snprintf(sub, sizeof sub, "%.400s/%s", path, now.entry[i].name);
		ok = w->node[child].is_dir ? crash_dir(w, child, d, sub, made) :
		    crash_file(w, child, d, sub, made);
	}
	free(now.entry);
	return ok;
}

static size_t n_pending(const struct world *w)
{
	size_t n = 0;

	for (int i = 0; i < w->n; i++)
		n += w->node[i].n_pending;
	return n;
}

bool world_crash(struct world *w, const struct crash *c, const char *to)
{
	struct draw d = { .c = c, .random = c->random };
	struct made *made = grown(NULL, (size_t)w->n * sizeof *made);
	size_t n = n_pending(w), since = w->at - w->last_sync;
	bool ok;

	for (int i = 0; i < w->n; i++)
		made[i].path[0] = '\0';
	d.one = n > 0 ? next_random(&d.random) % n : 0;
	d.log_end = &w->log->event[w->last_sync + (since > 0 ? next_random(&d.random) % (since + 1) : 0)];
	if (c->kind == CRASH_ALL)
		d.log_end = &w->log->event[w->at];
	if (c->kind == CRASH_NONE)
		d.log_end = &w->log->event[w->last_sync];
	ok = crash_dir(w, w->root, &d, to, made);
	free(made);
	return ok;
}
