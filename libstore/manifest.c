/* SPDX-License-Identifier: ISC */
/* The manifest of a copy: read whole and checked before anything in it is believed, replaced by a rename. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/io.h"
#include "../libbase/vec.h"
#include "copy_int.h"
#include "crc32c.h"

static enum err_kind damaged(const char *why, struct err *e)
{
	return err_set(e, ERR_CORRUPT, 0, "the copy's manifest is damaged: %s", why);
}

static uint32_t manifest_crc(struct manifest_head h, struct str rest)
{
	uint32_t c;

	h.crc = 0;
	c = crc32c(0, &h, sizeof h);
	return crc32c(c, rest.p, rest.n);
}

static bool end_is_sane(const struct manifest_head *h)
{
	return h->end_seg != 0 && h->end_off >= sizeof(struct seg_header) && h->end_off <= SEG_MAP_OCTETS &&
	    h->end_off % REC_ALIGN == 0 && h->last_off < h->end_off && h->last_off % REC_ALIGN == 0 &&
	    h->store_id != 0;
}

/* Ascending without gaps, sizes that segments can have, the end in the last one. */
static bool segments_are_sane(const struct manifest *m)
{
	for (uint32_t i = 0; i < m->h.n_segments; i++) {
		const struct manifest_segment *x = &m->seg[i];

		if (x->octets < sizeof(struct seg_header) || x->octets > SEG_MAP_OCTETS ||
		    x->number != m->seg[0].number + i || x->number == 0)
			return false;
	}
	return m->h.n_segments > 0 && m->seg[m->h.n_segments - 1].number == m->h.end_seg &&
	    m->seg[m->h.n_segments - 1].octets == m->h.end_off;
}

enum err_kind manifest_parse(struct str octets, struct manifest *m, struct err *e)
{
	struct str rest = str_skip(octets, sizeof m->h);
	size_t segs;

	*m = (struct manifest){ .seg = NULL };
	if (octets.n < sizeof m->h)
		return damaged("too short", e);
	memcpy(&m->h, octets.p, sizeof m->h);
	if (memcmp(m->h.magic, MANIFEST_MAGIC, sizeof m->h.magic) != 0)
		return damaged("not a manifest", e);
	if (m->h.version > MANIFEST_VERSION)
		return err_set(e, ERR_CORRUPT, 0, "the copy's manifest has version %u, newer than %d", m->h.version,
		    MANIFEST_VERSION);
	if (m->h.crc != manifest_crc(m->h, rest))
		return damaged("its checksum is wrong", e);
	segs = (size_t)m->h.n_segments * sizeof *m->seg;
	if (m->h.n_segments > MANIFEST_MAX_OCTETS / sizeof *m->seg || m->h.user_octets > COPY_USER_MAX_OCTETS ||
	    rest.n != segs + m->h.user_octets)
		return damaged("its length is wrong", e);
	m->seg = malloc(segs + 1);
	if (m->seg == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for manifest");
	m->cap = m->h.n_segments;
	if (segs > 0)
		memcpy(m->seg, rest.p, segs);
	if (m->h.user_octets > 0)
		memcpy(m->user, rest.p + segs, m->h.user_octets);
	return end_is_sane(&m->h) && segments_are_sane(m) ? ERR_OK : damaged("it does not make sense", e);
}

static enum err_kind read_all(int fd, struct buf *b, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "manifest");
	if (!S_ISREG(st.st_mode) || st.st_size > MANIFEST_MAX_OCTETS)
		return damaged("not a file of its size", e);
	if (!buf_reserve(b, (size_t)st.st_size + 1))
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for manifest");
	for (;;) {
		ssize_t n = read(fd, b->p + b->n, b->cap - b->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "read manifest");
		if (n == 0)
			return ERR_OK;
		b->n += (size_t)n;
		if (b->n == b->cap)
			return damaged("it grows", e);
	}
}

enum err_kind manifest_read(int dirfd, struct manifest *m, struct err *e)
{
	struct buf b = BUF_INIT(MANIFEST_MAX_OCTETS + 1);
	int fd = openat(dirfd, "manifest", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	enum err_kind k;

	*m = (struct manifest){ .seg = NULL };
	if (fd < 0)
		return errno == ELOOP ? damaged("a symbolic link", e) : err_sys(e, errno, "manifest");
	if ((k = read_all(fd, &b, e)) == ERR_OK)
		k = manifest_parse(buf_str(&b), m, e);
	close(fd);
	buf_free(&b);
	if (k != ERR_OK) {		/* nothing of it is to be believed */
		manifest_free(m);
		*m = (struct manifest){ .seg = NULL };
	}
	return k;
}

static enum err_kind write_new(int dirfd, struct str octets, struct err *e)
{
	int fd;
	enum err_kind k;

	if (unlinkat(dirfd, "manifest.new", 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove manifest.new");
	fd = openat(dirfd, "manifest.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, errno, "create manifest.new");
	k = copy_write_at(fd, octets, 0, e);
	if (k == ERR_OK && fsync(fd) < 0)
		k = err_sys(e, errno, "sync manifest.new");
	close(fd);
	return k;
}

enum err_kind manifest_write(int dirfd, struct manifest *m, struct err *e)
{
	struct buf b = BUF_INIT(MANIFEST_MAX_OCTETS);
	struct str rest;
	enum err_kind k;

	memcpy(m->h.magic, MANIFEST_MAGIC, sizeof m->h.magic);
	m->h.version = MANIFEST_VERSION;
	m->h.made_ms = clock_real_ms();
	m->h.user_octets = (uint32_t)strlen(m->user);
	m->h.reserved = 0;
	buf_put(&b, str_n((const char *)&m->h, sizeof m->h));
	buf_put(&b, str_n((const char *)m->seg, m->h.n_segments * sizeof *m->seg));
	buf_put(&b, str_of(m->user));
	if (b.full) {
		buf_free(&b);
		return err_set(e, ERR_LIMIT, 0, "a copy of too many segments");
	}
	rest = str_skip(buf_str(&b), sizeof m->h);
	m->h.crc = manifest_crc(m->h, rest);
	memcpy(b.p, &m->h, sizeof m->h);
	k = write_new(dirfd, buf_str(&b), e);
	buf_free(&b);
	if (k != ERR_OK)
		return k;
	if (renameat(dirfd, "manifest.new", dirfd, "manifest") < 0)
		return err_sys(e, errno, "publish manifest");
	return io_sync_dir(dirfd, ".", e);
}

struct manifest_segment *manifest_find(const struct manifest *m, uint32_t number)
{
	if (m->h.n_segments == 0 || number < m->seg[0].number || number - m->seg[0].number >= m->h.n_segments)
		return NULL;
	return &m->seg[number - m->seg[0].number];
}

enum err_kind manifest_put(struct manifest *m, const struct manifest_segment *x, struct err *e)
{
	struct manifest_segment *there = manifest_find(m, x->number);

	if (there != NULL) {
		*there = *x;
		return ERR_OK;
	}
	if (m->h.n_segments > 0 && x->number != m->seg[m->h.n_segments - 1].number + 1)
		return err_set(e, ERR_CORRUPT, 0, "segment %u is not the next one of the copy", x->number);
	if (!vec_room(&m->seg, m->h.n_segments, &m->cap, sizeof *m->seg))
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for manifest");
	m->seg[m->h.n_segments++] = *x;
	return ERR_OK;
}

void manifest_free(struct manifest *m)
{
	free(m->seg);
	m->seg = NULL;
	m->cap = 0;
	m->h.n_segments = 0;
}
