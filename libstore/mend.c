/* SPDX-License-Identifier: ISC */
/* Writing a damaged segment anew. Positions must not change, for rows and other records name them: so the file is copied,
 * and where it is damaged one LOST record stands for what was there. The copy takes the segment's name at one stroke; a
 * process that has the old file mapped goes on with that. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/io.h"
#include "../libbase/vec.h"
#include "check.h"
#include "crc32c.h"

enum {
	NAMES_MAX = 10000,		/* tried in damaged/ */
	LOST_OCTETS = sizeof(struct rec_header) + sizeof(struct rec_lost),
	END_OCTETS = sizeof(struct rec_header),
	TAIL_ROOM = LOST_OCTETS + END_OCTETS,
};

#define MEND_TMP "journal/mend.tmp"

struct hole {
	uint32_t from, to;
	uint64_t first_seq, last_seq;
	uint16_t flags;
};

struct mend {
	struct check *c;
	struct seg_header h;
	char *p;			/* the segment's octets; room for TAIL_ROOM more */
	size_t n;
	struct hole *hole;
	size_t n_holes, cap;
	bool no_memory;
};

enum err_kind aside_name(const struct store *s, const char *stem, char out[96], struct err *e)
{
	if ((mkdirat(s->dirfd, "damaged", 0700) < 0 && errno != EEXIST) || fsync(s->dirfd) < 0)
		return err_sys(e, errno, "create damaged");
	snprintf(out, 96, "damaged/%s", stem);
	for (int i = 1; faccessat(s->dirfd, out, F_OK, AT_SYMLINK_NOFOLLOW) == 0; i++) {
		if (i == NAMES_MAX)
			return err_set(e, ERR_LIMIT, 0, "damaged/ is full of %s", stem);
		snprintf(out, 96, "damaged/%s-%d", stem, i);
	}
	return ERR_OK;
}

/* -- what is there -- */

static void add_hole(struct mend *m, struct hole h)
{
	if (vec_room(&m->hole, m->n_holes, &m->cap, sizeof h))
		m->hole[m->n_holes++] = h;
	else
		m->no_memory = true;
}

static void on_damage(void *ctx, const struct journal_damage *d)
{
	add_hole(ctx, (struct hole){ d->from, d->to, d->first_seq, d->last_seq, REC_BEGIN });
}

static enum err_kind read_file(struct mend *m, uint32_t seg, struct err *e)
{
	struct stat st;
	int fd;
	enum err_kind k = journal_fd(m->c->sh->s.journal, seg, &fd, e);

	if (k != ERR_OK)
		return k;
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat segment %u", seg);
	m->n = st.st_size > SEG_MAP_OCTETS ? SEG_MAP_OCTETS : (size_t)st.st_size;
	m->p = calloc(1, m->n + TAIL_ROOM);
	if (m->p == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to repair segment %u", seg);
	for (size_t at = 0; at < m->n;) {
		ssize_t r = pread(fd, m->p + at, m->n - at, (off_t)at);

		if (r < 0 && errno != EINTR)
			at += REC_ALIGN;	/* a place that the disk does not give any more stays zero */
		else if (r == 0)
			break;
		else if (r > 0)
			at += (size_t)r;
	}
	return ERR_OK;
}

/* -- what shall be there -- */

static void put_record(struct mend *m, uint32_t off, struct rec_header h, struct str payload)
{
	memset(m->p + off, 0, h.octets);
	if (payload.n > 0)
		memcpy(m->p + off + sizeof h, payload.p, payload.n);
	h.time_ms = clock_real_ms();
	h.crc = journal_record_crc(&m->h, &h, str_n(m->p + off + sizeof h, h.octets - sizeof h));
	memcpy(m->p + off, &h, sizeof h);
}

/* The checksum of the record that ends at off. */
static uint32_t crc_before(const struct mend *m, uint32_t off)
{
	struct rec_header h = { .crc = m->h.prev_crc };
	uint32_t at = sizeof m->h;

	while (at < off) {
		memcpy(&h, m->p + at, sizeof h);
		at += h.octets;
	}
	return h.crc;
}

static void fill_hole(struct mend *m, const struct hole *hole)
{
	struct rec_lost lost = { hole->first_seq, hole->to - hole->from, 1, 0 };
	size_t room = hole->to - hole->from - sizeof(struct rec_header);

	put_record(m, hole->from, (struct rec_header){ .octets = hole->to - hole->from, .type = REC_LOST,
		.flags = hole->flags, .seq = hole->last_seq, .prev_crc = crc_before(m, hole->from) },
	    str_n((const char *)&lost, room < sizeof lost ? 0 : sizeof lost));
}

/* From off on there is nothing: the segment ends here. */
static void put_end(struct mend *m, uint32_t off, uint64_t first_seq, uint64_t last_seq)
{
	if (first_seq < last_seq) {
		fill_hole(m, &(struct hole){ off, off + LOST_OCTETS, first_seq, last_seq - 1, REC_BEGIN });
		off += LOST_OCTETS;
	}
	put_record(m, off, (struct rec_header){ .octets = END_OCTETS, .type = REC_END, .flags = REC_BEGIN,
		.seq = last_seq, .prev_crc = crc_before(m, off) }, str_n("", 0));
	m->n = off + END_OCTETS;
}

static enum err_kind scan(struct mend *m, uint32_t seg, uint64_t after, uint64_t next_first, struct err *e)
{
	struct journal_part part = { .from = { seg, sizeof m->h }, .after = after, .until = UINT32_MAX,
		.damaged = on_damage, .ctx = m };
	struct journal_scan scanned;
	enum err_kind k = journal_scan_part(m->c->sh->s.journal, &part, &scanned, e);

	for (size_t i = 0; i < m->c->sh->n_gaps; i++) {
		const struct gap *g = &m->c->sh->gap[i];
		struct rec_header h;

		if (g->seg != seg || (g->kind != GAP_NONSENSE && g->kind != GAP_UNSETTLED))
			continue;
		memcpy(&h, m->p + g->from, sizeof h);
		add_hole(m, (struct hole){ g->from, g->to, g->first_seq, g->last_seq, h.flags });
	}
	if (k == ERR_OK && m->no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to repair segment %u", seg);
	for (size_t i = 0; k == ERR_OK && i < m->n_holes; i++)
		fill_hole(m, &m->hole[i]);
	if (k == ERR_OK && !scanned.ended)
		put_end(m, scanned.end.off, scanned.end_seq + 1, next_first - 1);
	return k;
}

/* -- putting it in place -- */

static enum err_kind write_copy(const struct mend *m, struct err *e)
{
	int fd = openat(m->c->s->dirfd, MEND_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum err_kind k = ERR_OK;

	if (fd < 0)
		return err_sys(e, errno, "create %s", MEND_TMP);
	for (size_t at = 0; at < m->n && k == ERR_OK;) {
		ssize_t w = write(fd, m->p + at, m->n - at);

		if (w < 0 && errno != EINTR)
			k = err_sys(e, errno, "write %s", MEND_TMP);
		else if (w > 0)
			at += (size_t)w;
	}
	if (k == ERR_OK && fsync(fd) < 0)
		k = err_sys(e, errno, "sync %s", MEND_TMP);
	close(fd);
	return k;
}

static enum err_kind replace(struct mend *m, uint32_t seg, struct err *e)
{
	const struct store *s = m->c->s;
	char name[40], stem[40], aside[96];
	bool was_there;
	enum err_kind k;

	snprintf(stem, sizeof stem, "%08u.seg", seg);
	snprintf(name, sizeof name, "journal/%08u.seg", seg);
	if ((k = aside_name(s, stem, aside, e)) != ERR_OK || (k = write_copy(m, e)) != ERR_OK)
		return k;
	was_there = linkat(s->dirfd, name, s->dirfd, aside, 0) == 0;
	if (!was_there && errno != ENOENT)
		return err_sys(e, errno, "put %s aside", name);
	if ((k = io_sync_dir(s->dirfd, "damaged", e)) != ERR_OK)
		return k;
	if (renameat(s->dirfd, MEND_TMP, s->dirfd, name) < 0)
		return err_sys(e, errno, "replace %s", name);
	k = io_sync_dir(s->dirfd, "journal", e);
	journal_forget(s->journal, seg);
	journal_forget(m->c->sh->s.journal, seg);
	check_say(m->c, "repaired.segment\tsegment=%u\tplaces=%zu\taside=%s\tJournal segment %u was written anew without what was "
	    "damaged%s%s.", seg, m->n_holes, was_there ? aside : "", seg, was_there ? "; as it was, it is " : "",
	    was_there ? aside : "");
	return k;
}

/* Nothing of it can be read: a segment that says so. */
static enum err_kind empty_segment(struct mend *m, uint32_t seg, uint64_t after, uint64_t next_first, struct err *e)
{
	m->n = sizeof m->h;
	m->p = calloc(1, m->n + TAIL_ROOM);
	if (m->p == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to repair segment %u", seg);
	m->h = (struct seg_header){ .version = FORMAT_VERSION, .number = seg, .store_id = m->c->s->ctl->store_id,
		.first_seq = after + 1, .created_ms = clock_real_ms() };
	memcpy(m->h.magic, SEG_MAGIC, sizeof m->h.magic);
	if (getrandom(&m->h.salt, sizeof m->h.salt, 0) != sizeof m->h.salt)
		return err_sys(e, errno, "random salt");
	put_end(m, sizeof m->h, after + 1, next_first - 1);
	return ERR_OK;
}

enum err_kind mend_segment(struct check *c, uint32_t seg, uint64_t after, uint64_t next_first, struct err *e)
{
	struct mend m = { .c = c };
	enum err_kind k = journal_segment(c->sh->s.journal, seg, &m.h, e);

	if (k == ERR_NOENT || k == ERR_CORRUPT) {
		k = empty_segment(&m, seg, after, next_first, e);
	} else if (k == ERR_OK && (k = read_file(&m, seg, e)) == ERR_OK) {
		if (after != 0 && after < m.h.first_seq)
			m.h.first_seq = after + 1;
		m.h.store_id = c->s->ctl->store_id;
		k = scan(&m, seg, m.h.first_seq - 1, next_first, e);
	}
	if (k == ERR_OK) {
		m.h.crc = crc32c(0, &m.h, offsetof(struct seg_header, crc));
		memcpy(m.p, &m.h, sizeof m.h);
		k = replace(&m, seg, e);
	}
	free(m.p);
	free(m.hole);
	return k;
}
