/* SPDX-License-Identifier: ISC */
/* Journal segments as files journal/00000001.seg …, written by pwritev and read through shared mappings.
 * Space ahead of the tail is written with zeros in steps (not merely allocated): a record then overwrites
 * blocks that exist, and fdatasync needs no metadata commit, which doubles synced appends a second.
 *
 * A segment's mapping, once made, stays until journal_free or journal_forget; its descriptor may be closed to keep few
 * open.
 * Length: one subject (the segment file) in three views, write, read, scan; kept together because the layout is. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/io.h"
#include "../libbase/vec.h"
#include "crc32c.h"
#include "journal.h"
#include "mapped.h"
#include "salvage.h"

enum {
	SEG_FDS_MAX = 32,			/* descriptors kept open */
	ZERO_STEP_MIN = 16 * 1024,		/* zeros written ahead: half of what is there, within these */
	ZERO_STEP_MAX = 1 << 20,
	BLOCK_OCTETS = 4096,
	RESERVE_OCTETS = 8 * 1024,		/* kept for flags and expunges when the disk is full */
	IOV_PER_REC = JOURNAL_PARTS + 2,
	RECS_PER_WRITE = 64,
};

struct segment {
	uint32_t number;
	int fd;				/* -1: closed for now */
	const char *map;
	size_t map_octets;		/* of the mapping; the file may be shorter */
	size_t file_octets;		/* as last seen; the file never gets shorter than its records */
	unsigned faults;		/* mapped_faults() when it was mapped */
	bool salvaged;			/* the header on the disk is damaged, h was worked out */
	struct seg_header h;
};

struct journal {
	int dirfd;
	struct segment **segs;		/* ascending by number */
	size_t n, cap;
	size_t n_fds, next_victim;
};

static const char zeros[ZERO_STEP_MAX];

struct journal *journal_new(int dirfd)
{
	struct journal *j = calloc(1, sizeof *j);

	if (j == NULL)
		_exit(EX_TEMPFAIL);
	j->dirfd = dirfd;
	return j;
}

static void segment_free(struct segment *s)
{
	mapped_free(s->map, s->map_octets);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

void journal_free(struct journal **j)
{
	if (*j == NULL)
		return;
	for (size_t i = 0; i < (*j)->n; i++)
		segment_free((*j)->segs[i]);
	free((*j)->segs);
	free(*j);
	*j = NULL;
}

static void segment_name(char name[32], uint32_t number)
{
	snprintf(name, 32, "journal/%08u.seg", number);
}

/* -- segments that are open -- */

static size_t seg_lower_bound(const struct journal *j, uint32_t number)
{
	size_t lo = 0, hi = j->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (j->segs[mid]->number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Keeps the number of descriptors small: closes one of the others, round robin. */
static void make_room_for_fd(struct journal *j, const struct segment *keep)
{
	if (j->n_fds < SEG_FDS_MAX)
		return;
	for (size_t i = 0; i < j->n; i++) {
		struct segment *s = j->segs[j->next_victim++ % j->n];

		if (s != keep && s->fd >= 0) {
			close(s->fd);
			s->fd = -1;
			j->n_fds--;
			return;
		}
	}
}

static enum err_kind segment_open_fd(struct journal *j, struct segment *s, struct err *e)
{
	char name[32];

	if (s->fd >= 0)
		return ERR_OK;
	make_room_for_fd(j, s);
	segment_name(name, s->number);
	s->fd = openat(j->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (s->fd < 0 && (errno == EROFS || errno == EACCES))	/* a copy that is only read */
		s->fd = openat(j->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (s->fd < 0)
		return err_sys(e, errno, "open %s", name);
	j->n_fds++;
	return ERR_OK;
}

static uint32_t header_crc(const struct seg_header *h)
{
	return crc32c(0, h, offsetof(struct seg_header, crc));
}

static enum err_kind header_check(const struct seg_header *h, uint32_t number, struct err *e)
{
	if (memcmp(h->magic, SEG_MAGIC, sizeof h->magic) != 0 || h->crc != header_crc(h) ||
	    h->number != number)
		return err_set(e, ERR_CORRUPT, 0, "segment %u: no valid header", number);
	if (h->version > FORMAT_VERSION)
		return err_set(e, ERR_CORRUPT, 0, "segment %u: format version %u is newer than %d",
		    number, h->version, FORMAT_VERSION);
	return ERR_OK;
}

/* What something put behind the largest segment's end is not looked at. */
static size_t file_length(const struct stat *st)
{
	return st->st_size > SEG_MAP_OCTETS ? SEG_MAP_OCTETS : (size_t)st->st_size;
}

static enum err_kind segment_map(struct journal *j, struct segment *s, struct err *e)
{
	struct stat st;
	enum err_kind k;

	if ((k = segment_open_fd(j, s, e)) != ERR_OK)
		return k;
	if (fstat(s->fd, &st) < 0)
		return err_sys(e, errno, "stat segment %u", s->number);
	if (st.st_size < (off_t)sizeof s->h)
		return err_set(e, ERR_CORRUPT, 0, "segment %u: size %lld", s->number,
		    (long long)st.st_size);
	s->map = mapped_new(s->fd, SEG_MAP_OCTETS);
	if (s->map == NULL)
		return err_sys(e, errno, "map segment %u", s->number);
	s->map_octets = SEG_MAP_OCTETS;
	s->faults = mapped_faults();
	s->file_octets = file_length(&st);
	memcpy(&s->h, s->map, sizeof s->h);
	if ((k = header_check(&s->h, s->number, e)) == ERR_CORRUPT &&
	    salvage_header(s->map, s->file_octets, s->number, &s->h)) {
		s->salvaged = true;
		return ERR_OK;
	}
	return k;
}

static enum err_kind segment_get(struct journal *j, uint32_t number, struct segment **out,
    struct err *e)
{
	size_t at = seg_lower_bound(j, number);
	struct segment *s;
	enum err_kind k;

	if (at < j->n && j->segs[at]->number == number) {
		*out = j->segs[at];
		return ERR_OK;
	}
	if (!vec_room(&j->segs, j->n, &j->cap, sizeof j->segs[0]))
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for segment table");
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for segment");
	s->number = number;
	s->fd = -1;
	if ((k = segment_map(j, s, e)) != ERR_OK) {
		if (s->fd >= 0)
			j->n_fds--;
		segment_free(s);
		return k;
	}
	memmove(&j->segs[at + 1], &j->segs[at], (j->n - at) * sizeof(struct segment *));
	j->segs[at] = s;
	j->n++;
	*out = s;
	return ERR_OK;
}

static void segment_forget(struct journal *j, uint32_t number)
{
	size_t at = seg_lower_bound(j, number);

	if (at == j->n || j->segs[at]->number != number)
		return;
	if (j->segs[at]->fd >= 0)
		j->n_fds--;
	segment_free(j->segs[at]);
	j->n--;
	memmove(&j->segs[at], &j->segs[at + 1], (j->n - at) * sizeof(struct segment *));
}

/* Octets that the file has by now; a growing tail is looked at again when more is asked for. */
static bool segment_covers(struct segment *s, size_t end)
{
	struct stat st;

	if (end <= s->file_octets)
		return true;
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return false;
	s->file_octets = file_length(&st);
	return end <= s->file_octets;
}

/* After something could not be read: pages may have been missing, and may be there by now. */
static void segment_look_again(struct segment *s)
{
	if (s->faults == mapped_faults() || s->fd < 0)
		return;
	s->faults = mapped_faults();
	s->file_octets = 0;
	mapped_again(s->map, s->fd, s->map_octets);
}

enum err_kind journal_fd(struct journal *j, uint32_t seg, int *out_fd, struct err *e)
{
	struct segment *s;
	enum err_kind k;

	if ((k = segment_get(j, seg, &s, e)) != ERR_OK || (k = segment_open_fd(j, s, e)) != ERR_OK)
		return k;
	*out_fd = s->fd;
	return ERR_OK;
}

enum err_kind journal_segment(struct journal *j, uint32_t seg, struct seg_header *out, struct err *e)
{
	struct segment *s;
	enum err_kind k = segment_get(j, seg, &s, e);

	if (k == ERR_OK)
		*out = s->h;
	return k;
}

bool journal_reaches(struct journal *j, struct journal_pos pos)
{
	char name[32];
	struct stat st;

	segment_name(name, pos.seg);
	return fstatat(j->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size >= (off_t)pos.off;
}

bool journal_header_damaged(struct journal *j, uint32_t seg)
{
	size_t at = seg_lower_bound(j, seg);

	return at < j->n && j->segs[at]->number == seg && j->segs[at]->salvaged;
}

void journal_forget(struct journal *j, uint32_t seg)
{
	segment_forget(j, seg);
}

void journal_forget_before(struct journal *j, uint32_t first)
{
	while (j->n > 0 && j->segs[0]->number < first)
		segment_forget(j, j->segs[0]->number);
}

enum err_kind journal_range(struct journal *j, uint32_t *out_first, uint32_t *out_last, struct err *e)
{
	int fd = openat(j->dirfd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	uint32_t first = UINT32_MAX, last = 0;
	const struct dirent *d;
	DIR *dir;

	if (fd < 0)
		return err_sys(e, errno, "open journal");
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to list journal");
	}
	while ((d = readdir(dir)) != NULL) {
		struct str name = str_of(d->d_name);
		uint64_t number;

		if (!str_ends(name, STR(".seg")) ||
		    !str_to_u64(str_head(name, name.n - 4), UINT32_MAX - 1, &number) || number == 0)
			continue;
		first = number < first ? (uint32_t)number : first;
		last = number > last ? (uint32_t)number : last;
	}
	closedir(dir);
	if (last == 0)
		return err_set(e, ERR_NOENT, 0, "no segment");
	*out_first = first;
	*out_last = last;
	return ERR_OK;
}

/* -- writing -- */

static size_t rec_payload(const struct journal_rec *r)
{
	size_t n = 0;

	for (size_t i = 0; i < JOURNAL_PARTS; i++)
		n += r->part[i].n;
	return n;
}

static size_t rec_octets(const struct journal_rec *r)
{
	return (sizeof(struct rec_header) + rec_payload(r) + REC_ALIGN - 1) & ~(size_t)(REC_ALIGN - 1);
}

size_t journal_group_octets(const struct journal_rec *r, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += rec_octets(&r[i]);
	return sum;
}

bool journal_must_roll(const struct journal_tail *tail, size_t group_octets, size_t roll_octets)
{
	return tail->pos.off + group_octets + sizeof(struct rec_header) > roll_octets &&
	    tail->pos.off > sizeof(struct seg_header);
}

static uint32_t rec_crc(uint64_t salt, const struct rec_header *h, const struct str *part,
    size_t n_parts, size_t pad)
{
	uint32_t c = crc32c(0, &salt, sizeof salt);

	c = crc32c(c, h, offsetof(struct rec_header, crc));
	for (size_t i = 0; i < n_parts; i++)
		c = crc32c(c, part[i].p, part[i].n);
	return crc32c(c, zeros, pad);
}

uint32_t journal_record_crc(const struct seg_header *seg, const struct rec_header *h, struct str payload)
{
	return rec_crc(seg->salt, h, &payload, 1, 0);
}

static bool write_fully(int fd, struct iovec *iov, int n, off_t off)
{
	while (n > 0) {
		ssize_t w = pwritev(fd, iov, n, off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			if (w == 0)
				errno = EIO;
			return false;
		}
		off += w;
		while (n > 0 && (size_t)w >= iov->iov_len) {
			w -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + w;
			iov->iov_len -= (size_t)w;
		}
	}
	return true;
}

/* Zeros ahead of a tail that a group is about to pass. The group's own octets overwrite their part. What adds mail
 * leaves a reserve behind it, so that on a full disk mail can still be flagged and deleted. */
static enum err_kind zero_ahead(struct segment *s, struct journal_tail *t, size_t group, bool adds_mail,
    struct err *e)
{
	size_t end = t->pos.off + group, step = end / 2;
	struct iovec iov;

	if (end + (adds_mail ? RESERVE_OCTETS : 0) <= t->zero_end)
		return ERR_OK;
	step = step < ZERO_STEP_MIN ? ZERO_STEP_MIN : step > ZERO_STEP_MAX ? ZERO_STEP_MAX : step;
	step = ((end + step + BLOCK_OCTETS - 1) & ~(size_t)(BLOCK_OCTETS - 1)) - end;
	if (end < t->zero_end) {	/* from where zeros are already */
		step += end - t->zero_end;
		end = t->zero_end;
	}
	iov = (struct iovec){ (void *)(uintptr_t)zeros, step > ZERO_STEP_MAX ? ZERO_STEP_MAX : step };
	step = iov.iov_len;
	if (!write_fully(s->fd, &iov, 1, (off_t)end))
		return err_sys(e, errno, "extend segment %u", s->number);
	t->zero_end = (uint32_t)(end + step);
	return ERR_OK;
}

void journal_trim(struct journal *j, struct journal_tail *tail, int64_t idle_s)
{
	uint32_t keep = (tail->pos.off + RESERVE_OCTETS + BLOCK_OCTETS - 1) & ~(uint32_t)(BLOCK_OCTETS - 1);
	struct segment *s;
	struct stat st;

	if (tail->zero_end <= keep || segment_get(j, tail->pos.seg, &s, NULL) != ERR_OK ||
	    segment_open_fd(j, s, NULL) != ERR_OK || fstat(s->fd, &st) < 0 ||
	    clock_real_s() - st.st_mtim.tv_sec < idle_s)
		return;
	tail->zero_end = keep;		/* zeros that are there and not known do no harm */
	if (ftruncate(s->fd, keep) == 0 && s->file_octets > keep)
		s->file_octets = keep;
}

struct rec_frame {
	struct rec_header h;
	size_t pad;
};

static uint8_t undurable(const struct journal_tail *t)
{
	uint64_t n = t->next_seq - 1 - t->durable_seq;

	return n < REC_UNDURABLE_MAX ? (uint8_t)n : REC_UNDURABLE_MAX;
}

/* Fills the frames and the vector for n records; moves t past them. */
static int frame_records(const struct segment *s, const struct journal_rec *r, size_t n, bool first,
    bool more_after, struct journal_tail *t, int64_t now_ms, struct rec_frame *f, struct iovec *iov,
    struct journal_pos *out_pos)
{
	int k = 0;

	for (size_t i = 0; i < n; i++) {
		size_t octets = rec_octets(&r[i]);

		f[i].pad = octets - sizeof f[i].h - rec_payload(&r[i]);
		f[i].h = (struct rec_header){
			.octets = (uint32_t)octets,
			.type = (uint16_t)r[i].type,
			.flags = (uint8_t)((i + 1 < n || more_after ? REC_MORE : 0) |
			    (i == 0 && first ? REC_BEGIN : 0)),
			.undurable = i == 0 && first ? undurable(t) : 0,
			.seq = t->next_seq,
			.time_ms = now_ms,
			.prev_crc = t->crc,
		};
		f[i].h.crc = rec_crc(s->h.salt, &f[i].h, r[i].part, JOURNAL_PARTS, f[i].pad);
		iov[k++] = (struct iovec){ &f[i].h, sizeof f[i].h };
		for (size_t p = 0; p < JOURNAL_PARTS; p++) {
			if (r[i].part[p].n > 0)
				iov[k++] = (struct iovec){ (void *)(uintptr_t)r[i].part[p].p,
					r[i].part[p].n };
		}
		if (f[i].pad > 0)
			iov[k++] = (struct iovec){ (void *)(uintptr_t)zeros, f[i].pad };
		if (out_pos != NULL)
			out_pos[i] = t->pos;
		t->pos.off += (uint32_t)octets;
		t->crc = f[i].h.crc;
		t->next_seq++;
	}
	return k;
}

static enum err_kind write_group(struct segment *s, const struct journal_rec *r, size_t n,
    struct journal_tail *t, struct journal_pos *out_pos, struct err *e)
{
	struct rec_frame frames[RECS_PER_WRITE];
	struct iovec iov[RECS_PER_WRITE * IOV_PER_REC];
	int64_t now_ms = clock_real_ms();

	for (size_t i = 0; i < n; i += RECS_PER_WRITE) {
		size_t m = n - i < RECS_PER_WRITE ? n - i : RECS_PER_WRITE;
		off_t at = t->pos.off;
		int k = frame_records(s, r + i, m, i == 0, i + m < n, t, now_ms, frames, iov,
		    out_pos == NULL ? NULL : out_pos + i);

		if (!write_fully(s->fd, iov, k, at))
			return err_sys(e, errno, "append to segment %u", s->number);
	}
	return ERR_OK;
}

static bool adds_mail(const struct journal_rec *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (r[i].type == REC_MESSAGE || r[i].type == REC_COPY)
			return true;
	}
	return false;
}

enum err_kind journal_append(struct journal *j, const struct journal_rec *r, size_t n,
    struct journal_tail *tail, struct journal_pos *out_pos, struct err *e)
{
	struct journal_tail t = *tail;
	size_t group = journal_group_octets(r, n);
	struct segment *s;
	enum err_kind k;

	if (group > GROUP_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "a group of %zu octets", group);
	if ((k = segment_get(j, t.pos.seg, &s, e)) != ERR_OK ||
	    (k = segment_open_fd(j, s, e)) != ERR_OK ||
	    (k = zero_ahead(s, &t, group, adds_mail(r, n), e)) != ERR_OK ||
	    (k = write_group(s, r, n, &t, out_pos, e)) != ERR_OK)
		return k;
	*tail = t;
	return ERR_OK;
}

/* Writes header and first record of a new segment; tail->pos.seg is the segment that ended (0: none). It gets its name when
 * both are on the disk: a segment never lacks them. What a process that died here left is written over. */
static enum err_kind segment_start(struct journal *j, uint64_t store_id, const struct journal_rec *first,
    uint64_t seq, struct journal_tail *tail, struct err *e)
{
	struct journal_tail t = *tail;
	struct segment s = { .number = tail->pos.seg + 1, .fd = -1 };
	char name[32], making[32];
	struct iovec iov = { &s.h, sizeof s.h };
	enum err_kind k = ERR_OK;

	s.h = (struct seg_header){
		.version = FORMAT_VERSION, .number = s.number, .store_id = store_id,
		.first_seq = t.next_seq, .created_ms = clock_real_ms(), .prev_crc = t.crc,
	};
	memcpy(s.h.magic, SEG_MAGIC, sizeof s.h.magic);
	if (getrandom(&s.h.salt, sizeof s.h.salt, 0) != sizeof s.h.salt)
		return err_sys(e, errno, "random salt");
	s.h.crc = header_crc(&s.h);
	segment_name(name, s.number);
	snprintf(making, sizeof making, "journal/%08u.new", s.number);
	segment_forget(j, s.number);
	s.fd = openat(j->dirfd, making, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s.fd < 0)
		return err_sys(e, errno, "create %s", making);
	t.pos = (struct journal_pos){ s.number, sizeof s.h };
	t.zero_end = 0;
	t.durable_seq = t.next_seq - 1;
	t.next_seq = seq;
	if ((k = zero_ahead(&s, &t, journal_group_octets(first, 1), false, e)) == ERR_OK) {
		if (!write_fully(s.fd, &iov, 1, 0))
			k = err_sys(e, errno, "write %s", making);
		else
			k = write_group(&s, first, 1, &t, NULL, e);
	}
	if (k == ERR_OK && (fsync(s.fd) < 0 || renameat(j->dirfd, making, j->dirfd, name) < 0))
		k = err_sys(e, errno, "finish %s", name);
	if (k == ERR_OK && (k = io_sync_dir(j->dirfd, "journal", e)) != ERR_OK)
		unlinkat(j->dirfd, name, 0);
	close(s.fd);
	if (k == ERR_OK)
		*tail = t;
	else
		unlinkat(j->dirfd, making, 0);
	return k;
}

enum err_kind journal_create(struct journal *j, uint64_t store_id, struct str snapshot,
    struct journal_tail *tail, struct err *e)
{
	*tail = (struct journal_tail){ .next_seq = 1 };
	return journal_begin(j, store_id, snapshot, tail, e);
}

enum err_kind journal_begin(struct journal *j, uint64_t store_id, struct str snapshot, struct journal_tail *tail,
    struct err *e)
{
	return segment_start(j, store_id, &(struct journal_rec){ REC_SNAPSHOT, { snapshot } }, tail->next_seq, tail, e);
}

enum err_kind journal_fill(struct journal *j, uint64_t store_id, uint64_t last_seq, struct journal_tail *tail,
    struct err *e)
{
	struct rec_lost lost = { tail->next_seq, 0, 0, 0 };
	struct journal_rec rec = { REC_LOST, { str_n((const char *)&lost, sizeof lost) } }, end = { REC_END, { { NULL, 0 } } };
	struct journal_tail t = *tail;
	enum err_kind k;

	if ((k = segment_start(j, store_id, &rec, last_seq, &t, e)) != ERR_OK ||
	    (k = journal_append(j, &end, 1, &t, NULL, e)) != ERR_OK || (k = journal_sync(j, t.pos.seg, e)) != ERR_OK)
		return k;
	*tail = t;
	return ERR_OK;
}

enum err_kind journal_roll(struct journal *j, struct str snapshot, struct journal_tail *tail,
    struct err *e)
{
	struct journal_rec end = { REC_END, { { NULL, 0 } } };
	struct journal_tail t = *tail;
	struct seg_header h;
	enum err_kind k;

	if ((k = journal_segment(j, t.pos.seg, &h, e)) != ERR_OK ||
	    (k = journal_append(j, &end, 1, &t, NULL, e)) != ERR_OK ||
	    (k = journal_sync(j, t.pos.seg, e)) != ERR_OK ||
	    (k = journal_begin(j, h.store_id, snapshot, &t, e)) != ERR_OK)
		return err_note(e, "new segment");
	*tail = t;
	return ERR_OK;
}

enum err_kind journal_sync(struct journal *j, uint32_t seg, struct err *e)
{
	struct stat st;
	int fd;
	enum err_kind k = journal_fd(j, seg, &fd, e);

	if (k != ERR_OK)
		return k;
	if (fdatasync(fd) < 0)
		return err_sys(e, errno, "sync segment %u", seg);
	if (fstat(fd, &st) < 0 || st.st_nlink == 0)	/* what nobody can open any more is not durable */
		return err_set(e, ERR_TEMP, 0, "segment %u was removed", seg);
	return ERR_OK;
}

/* -- reading -- */

static bool header_sane(const struct rec_header *h, uint32_t off)
{
	return h->octets >= sizeof *h && h->octets % REC_ALIGN == 0 &&
	    h->octets <= SEG_MAP_OCTETS - off && h->type != 0;
}

static bool record_valid(struct segment *s, uint32_t off, struct rec_header *h)
{
	struct str payload;

	if (!segment_covers(s, (size_t)off + sizeof *h))
		return false;
	memcpy(h, s->map + off, sizeof *h);
	if (!header_sane(h, off) || !segment_covers(s, (size_t)off + h->octets))
		return false;
	payload = str_n(s->map + off + sizeof *h, h->octets - sizeof *h);
	return h->crc == rec_crc(s->h.salt, h, &payload, 1, 0);
}

enum err_kind journal_read(struct journal *j, struct journal_pos pos, bool verify,
    struct journal_view *out, struct err *e)
{
	struct segment *s;
	enum err_kind k;

	if ((k = segment_get(j, pos.seg, &s, e)) != ERR_OK)
		return k;
	if (!segment_covers(s, (size_t)pos.off + sizeof out->h))
		return err_set(e, ERR_CORRUPT, 0, "no record at %u:%u", pos.seg, pos.off);
	memcpy(&out->h, s->map + pos.off, sizeof out->h);
	if (!header_sane(&out->h, pos.off) ||
	    !segment_covers(s, (size_t)pos.off + out->h.octets) ||
	    (verify && !record_valid(s, pos.off, &out->h))) {
		segment_look_again(s);
		return err_set(e, ERR_CORRUPT, 0, "damaged record at %u:%u", pos.seg, pos.off);
	}
	if (out->h.type == REC_END)
		return journal_read(j, (struct journal_pos){ pos.seg + 1, sizeof(struct seg_header) },
		    verify, out, e);
	out->payload = str_n(s->map + pos.off + sizeof out->h, out->h.octets - sizeof out->h);
	out->pos = pos;
	out->next = (struct journal_pos){ pos.seg, pos.off + out->h.octets };
	return ERR_OK;
}

/* -- scanning -- */

/* After damage: the next place before `until` where a whole, later record stands; 0 when there is none. Only headers
 * that could be true are checksummed, so this stays linear in practice whatever lies there. */
static uint32_t find_next_record(struct segment *s, uint32_t from, uint32_t until, uint64_t last_seq,
    struct rec_header *h)
{
	segment_covers(s, SEG_MAP_OCTETS);	/* learn the file's length */
	for (size_t off = from; off + sizeof *h <= s->file_octets && off < until; off += REC_ALIGN) {
		memcpy(h, s->map + off, sizeof *h);
		if (h->octets == 0 || h->type == 0 || !(h->flags & REC_BEGIN) || h->flags > REC_FLAGS_ALL ||
		    h->seq <= last_seq || h->seq > last_seq + SEG_MAP_OCTETS / sizeof *h)
			continue;
		if (record_valid(s, (uint32_t)off, h))
			return (uint32_t)off;
	}
	return 0;
}

/* A record that can't be read, number seq: was it on the disk once? A later segment tells, or a group behind `from` that was
 * written when it was. Otherwise it was being written when the power went. */
static bool was_durable(struct journal *j, struct segment *s, uint32_t from, uint64_t seq)
{
	struct seg_header next;
	struct rec_header h;

	if (journal_segment(j, s->number + 1, &next, NULL) == ERR_OK)
		return true;
	while (from != 0) {
		if (!record_valid(s, from, &h)) {
			from = find_next_record(s, from + REC_ALIGN, UINT32_MAX, seq, &h);
			continue;
		}
		if ((h.flags & REC_BEGIN) && h.undurable < REC_UNDURABLE_MAX && h.seq > seq + h.undurable)
			return true;
		from += h.octets;
	}
	return false;
}

/* One whole group from `off`: calls each for its records. *out_next is where it ends, 0 when it is not whole. */
static enum err_kind scan_group(struct segment *s, uint32_t off,
    enum err_kind (*each)(void *, const struct journal_view *, struct err *), void *ctx,
    struct journal_scan *out, uint32_t *out_next, struct err *e)
{
	struct rec_header h = { 0 };
	uint32_t at = off;
	enum err_kind k;

	*out_next = 0;
	do {
		if (!record_valid(s, at, &h))
			return ERR_OK;
		at += h.octets;
	} while (h.flags & REC_MORE);
	for (uint32_t p = off; p < at; p += h.octets) {
		struct journal_view v = { .pos = { s->number, p } };

		memcpy(&h, s->map + p, sizeof h);
		v.h = h;
		v.payload = str_n(s->map + p + sizeof h, h.octets - sizeof h);
		v.next = (struct journal_pos){ s->number, p + h.octets };
		if (h.type == REC_END)
			out->ended = true;
		else if (each != NULL && (k = each(ctx, &v, e)) != ERR_OK)
			return k;
		out->n_records++;
		out->end_seq = h.seq;
		out->end_crc = h.crc;
		out->before_crc = h.prev_crc;
	}
	*out_next = at;
	return ERR_OK;
}

/* Steps over damage at off; returns where reading goes on, 0 when nothing more is there. */
static uint32_t step_over(struct journal *j, struct segment *s, const struct journal_part *p, uint32_t off,
    struct journal_scan *out)
{
	struct rec_header h;
	uint32_t next = find_next_record(s, off + REC_ALIGN, p->until, out->end_seq, &h);
	struct journal_damage d = { s->number, off, next, out->end_seq + 1, next != 0 ? h.seq - 1 : 0 };

	if (p->until == UINT32_MAX && (next == 0 || !was_durable(j, s, next, out->end_seq + 1)))
		return 0;	/* an end like any other, or the caller knows better */
	if (next == 0)
		d.to = p->until;
	out->n_damaged++;
	if (p->damaged != NULL)
		p->damaged(p->ctx, &d);
	return next;
}

enum err_kind journal_scan_part(struct journal *j, const struct journal_part *p, struct journal_scan *out,
    struct err *e)
{
	struct segment *s;
	uint32_t off = p->from.off, next;
	enum err_kind k;

	if ((k = segment_get(j, p->from.seg, &s, e)) != ERR_OK || (k = segment_open_fd(j, s, e)) != ERR_OK)
		return k;
	*out = (struct journal_scan){ .end = p->from, .end_crc = s->h.prev_crc, .end_seq = p->after };
	while (!out->ended && off < p->until) {
		if ((k = scan_group(s, off, p->each, p->ctx, out, &next, e)) != ERR_OK)
			return k;
		if (next != 0)
			out->end.off = next;
		else if ((next = step_over(j, s, p, off, out)) == 0)
			break;
		off = next;
	}
	segment_look_again(s);
	return ERR_OK;
}

enum err_kind journal_scan(struct journal *j, uint32_t seg,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx,
    struct journal_scan *out, struct err *e)
{
	struct journal_part part = { .from = { seg, sizeof(struct seg_header) }, .until = UINT32_MAX,
		.each = each, .ctx = ctx };
	struct segment *s;
	enum err_kind k;

	if ((k = segment_get(j, seg, &s, e)) != ERR_OK)
		return k;
	part.after = s->h.first_seq - 1;
	return journal_scan_part(j, &part, out, e);
}

enum err_kind journal_remove_before(struct journal *j, uint32_t first, struct err *e)
{
	uint32_t n, last;
	char name[32];
	enum err_kind k;

	if ((k = journal_range(j, &n, &last, e)) != ERR_OK)
		return k;
	for (; n < first && n < last && k == ERR_OK; n++) {
		segment_name(name, n);
		if (unlinkat(j->dirfd, name, 0) < 0 && errno != ENOENT)
			return err_sys(e, errno, "remove %s", name);
		k = io_sync_dir(j->dirfd, "journal", e);	/* each before the next: a gap would undo what the lost one says */
	}
	return k;
}

enum err_kind journal_cut(struct journal *j, struct journal_pos end, struct err *e)
{
	uint32_t first, last;
	struct segment *s;
	char name[32];
	enum err_kind k;

	if ((k = journal_range(j, &first, &last, e)) != ERR_OK)
		return k;
	for (uint32_t n = last; n > end.seg; n--) {
		segment_forget(j, n);
		segment_name(name, n);
		if (unlinkat(j->dirfd, name, 0) < 0 && errno != ENOENT)
			return err_sys(e, errno, "remove %s", name);
	}
	if ((k = segment_get(j, end.seg, &s, e)) != ERR_OK || (k = segment_open_fd(j, s, e)) != ERR_OK)
		return k;
	if (ftruncate(s->fd, end.off) < 0 || fsync(s->fd) < 0)
		return err_sys(e, errno, "cut segment %u", end.seg);
	s->file_octets = end.off;
	return io_sync_dir(j->dirfd, "journal", e);
}
