/* SPDX-License-Identifier: ISC */
/* Files of a copy, by names below its directory's descriptor and never through a symbolic link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../libbase/io.h"
#include "copy_int.h"
#include "crc32c.h"

enum { TREE_DEPTH_MAX = 8 };		/* a store's own files are three deep */

void copy_segment_name(char name[32], uint32_t number)
{
	snprintf(name, 32, "journal/%08u.seg", number);
}

enum err_kind copy_read_header(int dirfd, uint32_t number, struct seg_header *out, uint64_t *out_octets,
    struct err *e)
{
	char name[32];
	struct stat st;
	ssize_t n = -1;
	int fd;

	copy_segment_name(name, number);
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ELOOP ? err_set(e, ERR_CORRUPT, 0, "%s is a symbolic link", name) :
		    err_sys(e, errno, "%s", name);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = pread(fd, out, sizeof *out, 0);
	close(fd);
	if (n != (ssize_t)sizeof *out || memcmp(out->magic, SEG_MAGIC, sizeof out->magic) != 0 ||
	    out->number != number || out->crc != crc32c(0, out, offsetof(struct seg_header, crc)))
		return err_set(e, ERR_CORRUPT, 0, "%s has no valid header", name);
	*out_octets = (uint64_t)st.st_size;
	return ERR_OK;
}

enum err_kind copy_write_at(int fd, struct str octets, uint64_t off, struct err *e)
{
	while (octets.n > 0) {
		ssize_t n = pwrite(fd, octets.p, octets.n, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, n == 0 ? EIO : errno, "write copy");
		octets = str_skip(octets, (size_t)n);
		off += (uint64_t)n;
	}
	return ERR_OK;
}

enum err_kind copy_each_chunk(int from, uint64_t octets,
    enum err_kind (*each)(void *ctx, struct str chunk, uint64_t off, struct err *e), void *ctx, struct err *e)
{
	char *chunk = malloc(COPY_CHUNK_OCTETS);
	uint64_t off = 0;
	enum err_kind k = ERR_OK;

	if (chunk == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to copy");
	while (k == ERR_OK && off < octets) {
		uint64_t left = octets - off;
		ssize_t n = pread(from, chunk, left < COPY_CHUNK_OCTETS ? left : COPY_CHUNK_OCTETS, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			k = n < 0 ? err_sys(e, errno, "read") : err_set(e, ERR_CORRUPT, 0, "the file is shorter "
			    "than it should be");
			break;
		}
		k = each(ctx, str_n(chunk, (size_t)n), off, e);
		off += (uint64_t)n;
	}
	free(chunk);
	return k;
}

static enum err_kind write_chunk(void *ctx, struct str chunk, uint64_t off, struct err *e)
{
	return copy_write_at(*(const int *)ctx, chunk, off, e);
}

enum err_kind copy_octets(int from, int to, uint64_t octets, struct err *e)
{
	return copy_each_chunk(from, octets, write_chunk, &to, e);
}

static enum err_kind add_chunk(void *ctx, struct str chunk, uint64_t off, struct err *e)
{
	(void)off;
	return copy_large_add(ctx, chunk, e);
}

enum err_kind copy_open_large_dir(int dirfd, uint64_t id, bool make, int *out_fd, struct err *e)
{
	char parent[16];
	enum err_kind k;

	snprintf(parent, sizeof parent, "large/%02x", (unsigned)(id & 0xff));
	*out_fd = openat(dirfd, parent, COPY_DIR_FLAGS);
	if (*out_fd < 0 && errno == ENOENT && make) {
		if (mkdirat(dirfd, parent, 0700) < 0)
			return err_sys(e, errno, "create %s", parent);
		if ((k = io_sync_dir(dirfd, "large", e)) != ERR_OK)
			return k;
		*out_fd = openat(dirfd, parent, COPY_DIR_FLAGS);
	}
	return *out_fd >= 0 ? ERR_OK : err_sys(e, errno, "open %s", parent);
}

/* It goes to tmp-<random> beside its final name, so that the final name means that it is whole. */
static enum err_kind begin_tmp(struct copy_large *l, struct err *e)
{
	uint64_t salt;

	if (getrandom(&salt, sizeof salt, 0) != sizeof salt)
		return err_sys(e, errno, "random name");
	snprintf(l->tmp, sizeof l->tmp, "tmp-%016llx", (unsigned long long)salt);
	l->fd = openat(l->parent, l->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return l->fd >= 0 ? ERR_OK : err_sys(e, errno, "create %s", l->tmp);
}

enum err_kind copy_large_begin(int dirfd, uint64_t id, uint64_t octets, struct copy_large *l, struct err *e)
{
	struct stat st;
	enum err_kind k;

	*l = (struct copy_large){ .parent = -1, .fd = -1, .octets = octets };
	large_name(l->path, id);
	if ((k = copy_open_large_dir(dirfd, id, true, &l->parent, e)) != ERR_OK)
		return k;
	if (fstatat(l->parent, l->path + LARGE_PARENT_OCTETS, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == octets) {
		l->there = true;	/* perhaps since a moment ago, by one who died before its name was on the disk */
		if (fsync(l->parent) < 0)
			k = err_sys(e, errno, "sync directory of %s", l->path);
	} else {
		k = begin_tmp(l, e);
	}
	if (k != ERR_OK || l->there)
		copy_large_drop(l);
	return k;
}

enum err_kind copy_large_add(struct copy_large *l, struct str octets, struct err *e)
{
	enum err_kind k;

	if (octets.n > l->octets - l->n)
		return err_set(e, ERR_CORRUPT, 0, "a large body is longer than was said");
	if ((k = copy_write_at(l->fd, octets, l->n, e)) != ERR_OK)
		return k;
	l->crc = crc32c(l->crc, octets.p, octets.n);
	l->n += octets.n;
	return ERR_OK;
}

enum err_kind copy_large_end(struct copy_large *l, struct err *e)
{
	const char *name = l->path + LARGE_PARENT_OCTETS;
	enum err_kind k = ERR_OK;

	if (fsync(l->fd) < 0) {
		k = err_sys(e, errno, "sync %s", l->tmp);
	} else if (renameat(l->parent, l->tmp, l->parent, name) < 0) {
		k = err_sys(e, errno, "publish %s", name);
	} else if (fsync(l->parent) < 0) {
		k = err_sys(e, errno, "sync directory of %s", name);
		unlinkat(l->parent, name, 0);	/* else it would pass for a durable one */
	}
	if (k == ERR_OK)
		l->tmp[0] = '\0';
	copy_large_drop(l);
	return k;
}

void copy_large_drop(struct copy_large *l)
{
	if (l->fd >= 0 && l->tmp[0] != '\0')
		unlinkat(l->parent, l->tmp, 0);
	if (l->fd >= 0)
		close(l->fd);
	if (l->parent >= 0)
		close(l->parent);
	l->fd = l->parent = -1;
}

enum err_kind copy_put_large(int dirfd, uint64_t id, int from, uint64_t octets, bool *out_copied, uint32_t *out_crc,
    struct err *e)
{
	struct copy_large l;
	enum err_kind k = copy_large_begin(dirfd, id, octets, &l, e);

	*out_copied = k == ERR_OK && !l.there;
	if (!*out_copied)
		return k;
	if ((k = copy_each_chunk(from, octets, add_chunk, &l, e)) != ERR_OK) {
		copy_large_drop(&l);
		return k;
	}
	*out_crc = l.crc;
	return copy_large_end(&l, e);
}

enum err_kind copy_scan(struct journal *j, struct journal_pos from, uint64_t after, uint32_t to,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx,
    struct journal_scan *out, struct err *e)
{
	struct journal_part part = { .from = from, .after = after, .until = to != 0 ? to : UINT32_MAX,
		.each = each, .ctx = ctx };

	return journal_scan_part(j, &part, out, e);
}

uint64_t copy_large_id(const struct journal_view *v, struct rec_message *out)
{
	struct rec_message m;
	struct str record, prefix, body;

	if (v->h.type != REC_MESSAGE || !rec_get_message(v->payload, &m, &record, &prefix, &body))
		return 0;
	if (out != NULL)
		*out = m;
	return m.large_id;
}

/* -- trees -- */

static enum err_kind remove_below(int fd, unsigned depth, struct err *e)
{
	DIR *dir = fdopendir(fd);	/* takes fd */
	const struct dirent *d;
	enum err_kind k = ERR_OK;

	if (dir == NULL) {
		close(fd);
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to remove a directory");
	}
	while (k == ERR_OK && (d = readdir(dir)) != NULL) {
		int sub;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), d->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			k = err_sys(e, errno, "remove %s", d->d_name);
		else if (depth == 0 || (sub = openat(dirfd(dir), d->d_name, COPY_DIR_FLAGS)) < 0)
			k = err_sys(e, depth == 0 ? ELOOP : errno, "remove %s", d->d_name);
		else if ((k = remove_below(sub, depth - 1, e)) == ERR_OK &&
		    unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR) < 0)
			k = err_sys(e, errno, "remove %s", d->d_name);
	}
	closedir(dir);
	return k;
}

enum err_kind copy_remove_tree(int dirfd, const char *name, struct err *e)
{
	int fd = openat(dirfd, name, COPY_DIR_FLAGS);
	enum err_kind k;

	if (fd < 0)
		return errno == ENOENT ? ERR_OK : err_sys(e, errno, "remove %s", name);
	if ((k = remove_below(fd, TREE_DEPTH_MAX, e)) != ERR_OK)
		return k;
	return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 ? ERR_OK : err_sys(e, errno, "remove %s", name);
}

bool copy_dir_is_empty(int dirfd)
{
	int fd = openat(dirfd, ".", COPY_DIR_FLAGS);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;
	bool empty = true;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (empty && (d = readdir(dir)) != NULL)
		empty = d->d_name[0] == '.' || strcmp(d->d_name, "lost+found") == 0;
	closedir(dir);
	return empty;
}
