/* SPDX-License-Identifier: ISC */
/* A copy's directory, for who writes it (promises C1 to C4 of copy.h). Every segment that is complete was synced before the
 * next one began; the tail is synced by a mark. What lies behind the manifest's end is written again from there: an
 * interrupted writer may not have synced it, and the octets are the same.
 *
 *   manifest       replaced by marks that publish
 *   copy           a kernel lock: one writer
 *   journal/ large/
 *   past/<n>/      journal and manifest of histories that this one does not continue */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/io.h"
#include "../libbase/vec.h"
#include "copy_int.h"
#include "crc32c.h"

struct copy {
	int dirfd, lock_fd;
	bool following;
	bool has_manifest;		/* there is one, be it damaged */
	struct manifest m;
	struct copy_pos sure, end;
	int seg_fd;			/* of the segment that is written, -1 */
	struct copy_pos at;		/* where the next octets belong */
};

/* -- opening -- */

/* One writer; and the mark of a directory that is a copy, or was to become one. */
static enum err_kind take_lock(struct copy *c, struct err *e)
{
	struct stat st;
	bool was_there = fstatat(c->dirfd, "copy", &st, AT_SYMLINK_NOFOLLOW) == 0;

	if (!was_there && !copy_dir_is_empty(c->dirfd))
		return err_set(e, ERR_EXISTS, 0, "the directory is not empty and holds no copy");
	c->lock_fd = openat(c->dirfd, "copy", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->lock_fd < 0)
		return err_sys(e, errno, "open copy");
	if (flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, ERR_BUSY, 0, "another process writes this copy") :
		    err_sys(e, errno, "lock copy");
	return ERR_OK;
}

static enum err_kind make_dir(int dirfd, const char *name, struct err *e)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "create %s", name);
	return io_sync_dir(dirfd, name, e);	/* no link, a directory */
}

/* The record in front of the end is there and is that one. Its file holds what the manifest says. */
static bool holds_end(const struct copy *c, struct copy_pos *p)
{
	const struct manifest_head *h = &c->m.h;
	struct journal *j = journal_new(c->dirfd);
	struct journal_pos last = { h->end_seg, h->last_off };
	struct journal_view v;
	struct seg_header sh;
	uint64_t octets;
	bool ok = copy_read_header(c->dirfd, h->end_seg, &sh, &octets, NULL) == ERR_OK &&
	    sh.store_id == h->store_id && sh.salt == c->m.seg[h->n_segments - 1].salt && octets >= h->end_off;

	if (ok && h->last_off != 0)
		ok = journal_read(j, last, true, &v, NULL) == ERR_OK && v.h.seq == h->end_seq &&
		    v.h.crc == h->end_crc && v.next.off == h->end_off;
	journal_free(&j);
	*p = (struct copy_pos){ .store_id = h->store_id, .salt = sh.salt, .at = { h->end_seg, h->end_off },
		.seq = h->end_seq, .ms = h->end_ms, .crc = h->end_crc, .last_off = h->last_off };
	return ok;
}

/* The segments before the last are there and as long as they were. */
static bool holds_segments(const struct copy *c)
{
	for (uint32_t i = 0; i < c->m.h.n_segments; i++) {
		const struct manifest_segment *x = &c->m.seg[i];
		struct seg_header h;
		uint64_t octets;

		if (copy_read_header(c->dirfd, x->number, &h, &octets, NULL) != ERR_OK || h.salt != x->salt ||
		    octets < x->octets)
			return false;
	}
	return true;
}

static enum err_kind note_end(void *ctx, const struct journal_view *v, struct err *e)
{
	struct copy_pos *p = ctx;

	(void)e;
	*p = (struct copy_pos){ .store_id = p->store_id, .salt = p->salt, .at = v->next, .seq = v->h.seq,
		.ms = v->h.time_ms, .crc = v->h.crc, .last_off = v->pos.off };
	return ERR_OK;
}

/* Whole groups that a follower has put behind the manifest's end. */
void copy_find_end(int dirfd, const struct copy_pos *sure, struct copy_pos *out)
{
	struct journal *j = journal_new(dirfd);
	struct journal_scan scan = { .ended = true };
	struct seg_header h;

	*out = *sure;
	for (uint32_t seg = sure->at.seg; scan.ended; seg++) {
		struct journal_pos from = { seg, seg == sure->at.seg ? sure->at.off : sizeof(struct seg_header) };

		if (journal_segment(j, seg, &h, NULL) != ERR_OK || h.store_id != sure->store_id ||
		    (seg != sure->at.seg && h.first_seq <= out->seq))
			break;
		out->salt = h.salt;
		if (copy_scan(j, from, out->seq, 0, note_end, out, &scan, NULL) != ERR_OK)
			break;
	}
	journal_free(&j);
}

static enum err_kind read_manifest(struct copy *c, struct err *e)
{
	enum err_kind k = manifest_read(c->dirfd, &c->m, e);

	c->has_manifest = k != ERR_NOENT;
	if (k == ERR_NOENT || k == ERR_CORRUPT)
		return ERR_OK;		/* a first backup that was interrupted; damage: begun anew */
	if (k != ERR_OK)
		return k;
	if (holds_segments(c) && holds_end(c, &c->sure))
		copy_find_end(c->dirfd, &c->sure, &c->end);
	else
		c->sure = c->end = (struct copy_pos){ .store_id = 0 };
	return ERR_OK;
}

/* The copy may have been opened as a store: its control file and index would not know of what is added now. */
static enum err_kind forget_derived(struct copy *c, struct err *e)
{
	if (unlinkat(c->dirfd, "ctl", 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove ctl from the copy");
	return copy_remove_tree(c->dirfd, "index", e);
}

enum err_kind copy_open(int dirfd, struct str user, bool following, struct copy **out, struct err *e)
{
	struct copy *c = calloc(1, sizeof *c);
	enum err_kind k;

	if (c == NULL)
		_exit(EX_TEMPFAIL);
	c->lock_fd = c->seg_fd = -1;
	c->following = following;
	c->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (c->dirfd < 0)
		k = err_sys(e, errno, "the copy's directory");
	else if ((k = take_lock(c, e)) == ERR_OK && (k = make_dir(c->dirfd, "journal", e)) == ERR_OK &&
	    (k = make_dir(c->dirfd, "large", e)) == ERR_OK)
		k = read_manifest(c, e);
	if (k == ERR_OK)
		k = forget_derived(c, e);
	user = str_head(user, COPY_USER_MAX_OCTETS);
	if (k == ERR_OK && c->m.user[0] != '\0' && !str_eq(str_of(c->m.user), user))
		k = err_set(e, ERR_EXISTS, 0, "the directory holds the copy of another user (%s)", c->m.user);
	if (k != ERR_OK) {
		copy_close(&c);
		return k;
	}
	memset(c->m.user, 0, sizeof c->m.user);
	memcpy(c->m.user, user.p, user.n);
	*out = c;
	return ERR_OK;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void copy_close(struct copy **out)
{
	struct copy *c = *out;

	if (c == NULL)
		return;
	manifest_free(&c->m);
	close_fd(c->seg_fd);
	close_fd(c->lock_fd);
	close_fd(c->dirfd);
	free(c);
	*out = NULL;
}

int copy_dirfd(const struct copy *c)
{
	return c->dirfd;
}

void copy_has(const struct copy *c, struct copy_pos *out_sure, struct copy_pos *out_end)
{
	*out_sure = c->sure;
	*out_end = c->end;
}

/* -- taking -- */

static bool journal_is_empty(const struct copy *c)
{
	int fd = openat(c->dirfd, "journal", COPY_DIR_FLAGS);
	bool empty = fd >= 0 && copy_dir_is_empty(fd);

	close_fd(fd);
	return empty;
}

/* The manifest is given its second name first: wherever this stops, it names a journal that is there. */
static enum err_kind put_in_past(struct copy *c, struct err *e)
{
	char dir[48], name[64];
	enum err_kind k;

	snprintf(dir, sizeof dir, "past/%lld", (long long)clock_real_ms());
	if ((k = make_dir(c->dirfd, "past", e)) != ERR_OK)
		return k;
	if (mkdirat(c->dirfd, dir, 0700) < 0)
		return err_sys(e, errno, "create %s", dir);
	snprintf(name, sizeof name, "%s/manifest", dir);
	if (c->has_manifest && linkat(c->dirfd, "manifest", c->dirfd, name, 0) < 0)
		return err_sys(e, errno, "keep the old manifest");
	if ((k = io_sync_dir(c->dirfd, dir, e)) != ERR_OK || (k = io_sync_dir(c->dirfd, "past", e)) != ERR_OK ||
	    (k = io_sync_dir(c->dirfd, ".", e)) != ERR_OK)
		return k;
	snprintf(name, sizeof name, "%s/journal", dir);
	if (renameat(c->dirfd, "journal", c->dirfd, name) < 0)
		return err_sys(e, errno, "keep the old journal");
	if ((k = io_sync_dir(c->dirfd, dir, e)) != ERR_OK || (k = make_dir(c->dirfd, "journal", e)) != ERR_OK)
		return k;
	if (unlinkat(c->dirfd, "manifest", 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove the old manifest");
	return io_sync_dir(c->dirfd, ".", e);
}

/* Without a manifest there is only what a first backup left that was interrupted. */
static enum err_kind clear_journal(struct copy *c, struct err *e)
{
	enum err_kind k;

	if (!journal_is_empty(c) && c->has_manifest)
		return put_in_past(c, e);
	if (unlinkat(c->dirfd, "manifest", 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove the old manifest");
	if ((k = copy_remove_tree(c->dirfd, "journal", e)) != ERR_OK)
		return k;
	return make_dir(c->dirfd, "journal", e);
}

static bool has_past(const struct copy *c)
{
	return faccessat(c->dirfd, "past", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static enum err_kind take_begin(void *ctx, bool anew, uint64_t store_id, int64_t covered_ms, struct err *e)
{
	struct copy *c = ctx;
	char name[32];
	enum err_kind k;

	if (!anew && c->sure.store_id != store_id)
		return err_set(e, ERR_CORRUPT, 0, "the copy can't be gone on with");
	if (anew) {
		if ((k = clear_journal(c, e)) != ERR_OK)
			return k;
		c->has_manifest = false;
		c->m.h = (struct manifest_head){ .store_id = store_id, .covered_ms = covered_ms };
		if (has_past(c))	/* which knows better about the time until now */
			c->m.h.covered_ms = clock_real_ms();
		c->at = (struct copy_pos){ .store_id = store_id };
		return ERR_OK;
	}
	c->at = c->sure;
	copy_segment_name(name, c->at.at.seg);
	c->seg_fd = openat(c->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return c->seg_fd >= 0 ? ERR_OK : err_sys(e, errno, "open %s", name);
}

/* Durable as far as it is written; its length goes into the manifest that will be. */
static enum err_kind settle_segment(struct copy *c, struct err *e)
{
	struct manifest_segment x = { c->at.at.seg, c->at.at.off, c->at.salt };

	if (c->seg_fd < 0)
		return ERR_OK;
	if (fdatasync(c->seg_fd) < 0)
		return err_sys(e, errno, "sync segment %u of the copy", x.number);
	return manifest_put(&c->m, &x, e);
}

static enum err_kind take_segment(void *ctx, const struct seg_header *h, struct err *e)
{
	struct copy *c = ctx;
	char name[32];
	enum err_kind k;

	if (h->store_id != c->at.store_id || (c->at.at.seg != 0 && h->number != c->at.at.seg + 1) || h->number == 0 ||
	    memcmp(h->magic, SEG_MAGIC, sizeof h->magic) != 0 ||
	    h->crc != crc32c(0, h, offsetof(struct seg_header, crc)))
		return err_set(e, ERR_CORRUPT, 0, "segment %u does not follow on segment %u", h->number, c->at.at.seg);
	if ((k = settle_segment(c, e)) != ERR_OK)
		return k;
	close_fd(c->seg_fd);
	copy_segment_name(name, h->number);
	c->seg_fd = openat(c->dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->seg_fd < 0)
		return err_sys(e, errno, "create %s", name);
	c->at.at = (struct journal_pos){ h->number, sizeof *h };
	c->at.salt = h->salt;
	if ((k = copy_write_at(c->seg_fd, str_n((const char *)h, sizeof *h), 0, e)) != ERR_OK)
		return k;
	return io_sync_dir(c->dirfd, "journal", e);
}

static enum err_kind take_data(void *ctx, struct journal_pos at, struct str octets, struct err *e)
{
	struct copy *c = ctx;
	enum err_kind k;

	if (c->seg_fd < 0 || at.seg != c->at.at.seg || at.off != c->at.at.off ||
	    octets.n > SEG_MAP_OCTETS - at.off)
		return err_set(e, ERR_CORRUPT, 0, "octets for %u:%u, where the copy stands at %u:%u", at.seg, at.off,
		    c->at.at.seg, c->at.at.off);
	if ((k = copy_write_at(c->seg_fd, octets, at.off, e)) != ERR_OK)
		return k;
	c->at.at.off += (uint32_t)octets.n;
	return ERR_OK;
}

static enum err_kind take_large(void *ctx, uint64_t id, int fd, uint64_t octets, bool *out_copied, uint32_t *out_crc,
    struct err *e)
{
	const struct copy *c = ctx;

	return copy_put_large(c->dirfd, id, fd, octets, out_copied, out_crc, e);
}

/* The last record is what the mark says: a copy that would not open is noticed now. */
static bool ends_with(const struct copy *c, const struct copy_pos *p)
{
	struct journal *j;
	struct journal_pos last = { p->at.seg, p->last_off };
	struct journal_view v;
	bool ok;

	if (p->last_off == 0)
		return true;
	j = journal_new(c->dirfd);
	ok = journal_read(j, last, true, &v, NULL) == ERR_OK && v.h.seq == p->seq && v.h.crc == p->crc &&
	    v.h.time_ms == p->ms && v.next.off == p->at.off;
	journal_free(&j);
	return ok;
}

static enum err_kind take_mark(void *ctx, const struct copy_pos *p, bool publish, struct err *e)
{
	struct copy *c = ctx;
	enum err_kind k;

	if (p->store_id != c->at.store_id || p->at.seg != c->at.at.seg || p->at.off != c->at.at.off ||
	    p->salt != c->at.salt || !ends_with(c, p))
		return err_set(e, ERR_CORRUPT, 0, "the copy does not end as the store says");
	if ((k = settle_segment(c, e)) != ERR_OK)
		return k;
	c->at = c->end = *p;
	if (!publish)
		return ERR_OK;
	c->m.h.end_seq = p->seq;
	c->m.h.end_ms = p->ms;
	c->m.h.end_seg = p->at.seg;
	c->m.h.end_off = p->at.off;
	c->m.h.last_off = p->last_off;
	c->m.h.end_crc = p->crc;
	c->m.h.following = c->following;
	if ((k = manifest_write(c->dirfd, &c->m, e)) == ERR_OK)
		c->sure = *p;
	c->has_manifest = c->has_manifest || k == ERR_OK;
	return k;
}

void copy_as_sink(struct copy *c, struct copy_sink *out)
{
	*out = (struct copy_sink){ c, take_begin, take_segment, take_data, take_large, take_mark };
}

/* -- pruning -- */

struct named {
	uint64_t *v;
	size_t n, cap;
};

static enum err_kind add_named(void *ctx, const struct journal_view *v, struct err *e)
{
	struct named *ids = ctx;
	uint64_t id = copy_large_id(v, NULL);

	if (id == 0)
		return ERR_OK;
	if (!vec_room(&ids->v, ids->n, &ids->cap, sizeof *ids->v))
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to prune");
	ids->v[ids->n++] = id;
	return ERR_OK;
}

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static enum err_kind prune_large_dir(struct copy *c, unsigned low, const struct named *ids, uint64_t *n_removed,
    struct err *e)
{
	const struct dirent *d;
	int fd;
	DIR *dir;

	if (copy_open_large_dir(c->dirfd, low, false, &fd, NULL) != ERR_OK)
		return ERR_OK;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to prune");
	}
	while ((d = readdir(dir)) != NULL) {
		char *end;
		uint64_t id = strtoull(d->d_name, &end, 16);

		if (d->d_name[0] == '.' || (*end == '\0' && end == d->d_name + LARGE_NAME_OCTETS && ids->n > 0 &&
		    bsearch(&id, ids->v, ids->n, sizeof id, by_id) != NULL))
			continue;
		*n_removed += unlinkat(dirfd(dir), d->d_name, 0) == 0;
	}
	closedir(dir);
	return ERR_OK;
}

static enum err_kind prune_large(struct copy *c, uint64_t *n_removed, struct err *e)
{
	struct journal *j = journal_new(c->dirfd);
	struct named ids = { NULL, 0, 0 };
	struct journal_scan scan;
	enum err_kind k = ERR_OK;

	for (uint32_t i = 0; k == ERR_OK && i < c->m.h.n_segments; i++)
		k = journal_scan(j, c->m.seg[i].number, add_named, &ids, &scan, e);
	if (k == ERR_OK && ids.n > 0)
		qsort(ids.v, ids.n, sizeof *ids.v, by_id);
	for (unsigned low = 0; k == ERR_OK && low < LARGE_DIRS; low++)
		k = prune_large_dir(c, low, &ids, n_removed, e);
	free(ids.v);
	journal_free(&j);
	return k;
}

/* The manifest first: it may list less than there is, never more. */
enum err_kind copy_prune(struct copy *c, uint32_t first_seg, uint64_t *out_n_removed, struct err *e)
{
	uint32_t drop = 0, first = c->m.h.n_segments > 0 ? c->m.seg[0].number : 0;
	struct journal *j;
	enum err_kind k;

	*out_n_removed = 0;
	while (drop + 1 < c->m.h.n_segments && c->m.seg[drop].number < first_seg)
		drop++;
	if (drop > 0) {
		c->m.h.n_segments -= drop;
		memmove(c->m.seg, c->m.seg + drop, c->m.h.n_segments * sizeof *c->m.seg);
		c->m.h.covered_ms = c->m.h.end_ms;
		if ((k = manifest_write(c->dirfd, &c->m, e)) != ERR_OK)
			return k;
		j = journal_new(c->dirfd);
		k = journal_remove_before(j, first + drop, e);
		journal_free(&j);
		if (k != ERR_OK)
			return k;
		*out_n_removed += drop;
	}
	if (has_past(c)) {
		if ((k = copy_remove_tree(c->dirfd, "past", e)) != ERR_OK)
			return k;
		++*out_n_removed;
	}
	return *out_n_removed > 0 ? prune_large(c, out_n_removed, e) : ERR_OK;
}
