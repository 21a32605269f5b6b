/* SPDX-License-Identifier: ISC */
/* The store's side of a copy: how far the store is durable, then everything up to there, in the journal's order, checked on
 * the way. Octets that are damaged are handed on as they are and reported: a copy is no better than the store, and no
 * worse. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "copy_int.h"
#include "crc32c.h"

struct feed {
	struct store *s;
	struct copy_sink sink;
	copy_report *report;
	void *report_ctx;
	struct copy_pos at;		/* what the sink has */
	uint32_t first_seg;
	int compact_fd;			/* keeps compaction away until the sink has caught up, then -1 */
	struct feed_result r;
	char *chunk;
};

/* What the store has: everything before the tail is durable on return. */
struct extent {
	struct journal_tail tail;
	uint64_t store_id;
	uint32_t first_seg;
};

static enum err_kind take_extent(struct store *s, struct extent *x, struct err *e)
{
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	*x = (struct extent){ s->ctl->tail, s->ctl->store_id, s->ctl->first_seg };
	store_unlock(s);
	return store_make_durable_here(s, x->tail.next_seq - 1, e);
}

static void report(struct feed *f, const char *line)
{
	if (f->report != NULL)
		f->report(f->report_ctx, line);
}

/* Does the store's journal go on from where the sink stands? The record behind that place names the one before it. */
static bool continues(struct feed *f, const struct copy_pos *p, const struct extent *x)
{
	struct rec_header next;
	struct seg_header h;
	int fd;

	if (p->store_id != x->store_id || p->at.seg < x->first_seg || p->at.seg > x->tail.pos.seg ||
	    journal_segment(f->s->journal, p->at.seg, &h, NULL) != ERR_OK || h.salt != p->salt)
		return false;
	if (p->at.seg == x->tail.pos.seg && p->at.off >= x->tail.pos.off)
		return p->at.off == x->tail.pos.off && p->crc == x->tail.crc && p->seq + 1 == x->tail.next_seq;
	return journal_fd(f->s->journal, p->at.seg, &fd, NULL) == ERR_OK &&
	    pread(fd, &next, sizeof next, p->at.off) == (ssize_t)sizeof next && next.prev_crc == p->crc &&
	    next.seq > p->seq;
}

static bool same_place(const struct copy_pos *a, const struct copy_pos *b)
{
	return a->store_id == b->store_id && a->at.seg == b->at.seg && a->at.off == b->at.off && a->crc == b->crc;
}

static enum err_kind hold_compaction(struct feed *f, struct err *e)
{
	f->compact_fd = openat(f->s->dirfd, "compact", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->compact_fd < 0)
		return err_sys(e, errno, "open compact");
	return lock_wait(f->compact_fd, LOCK_WAIT_MS, e);
}

static void let_compaction(struct feed *f)
{
	if (f->compact_fd >= 0)
		close(f->compact_fd);
	f->compact_fd = -1;
}

/* Compaction has come to its end, or not yet begun: what remains of the journal covers every time from its last record
 * on; the whole journal covers all. */
static enum err_kind begin(struct feed *f, const struct copy_pos *sure, const struct copy_pos *end, struct err *e)
{
	struct extent x;
	int64_t covered_ms;
	enum err_kind k;

	if ((k = hold_compaction(f, e)) != ERR_OK || (k = take_extent(f->s, &x, e)) != ERR_OK)
		return k;
	f->r.anew = !continues(f, sure, &x) || (!same_place(sure, end) && !continues(f, end, &x));
	covered_ms = x.first_seg == 1 ? 0 : clock_real_ms();
	if ((k = f->sink.begin(f->sink.ctx, f->r.anew, x.store_id, covered_ms, e)) != ERR_OK)
		return k;
	f->at = *sure;
	if (f->r.anew)
		f->at = (struct copy_pos){ .store_id = x.store_id, .at = { x.first_seg - 1, 0 } };
	f->r.anew = f->r.anew && sure->store_id != 0;
	return ERR_OK;
}

enum err_kind feed_open(struct store *s, const struct copy_sink *sink, const struct copy_pos *sure,
    const struct copy_pos *end, copy_report *report_fn, void *report_ctx, struct feed **out, struct err *e)
{
	struct feed *f = calloc(1, sizeof *f);
	enum err_kind k;

	if (f == NULL || (f->chunk = malloc(COPY_CHUNK_OCTETS)) == NULL)
		_exit(EX_TEMPFAIL);
	f->compact_fd = -1;
	f->s = s;
	f->sink = *sink;
	f->report = report_fn;
	f->report_ctx = report_ctx;
	if ((k = begin(f, sure, end, e)) != ERR_OK) {
		feed_close(&f);
		return k;
	}
	*out = f;
	return ERR_OK;
}

void feed_close(struct feed **f)
{
	if (*f == NULL)
		return;
	let_compaction(*f);
	free((*f)->chunk);
	free(*f);
	*f = NULL;
}

/* -- large bodies -- */

static void report_large(struct feed *f, uint64_t id, const char *what)
{
	char line[128], name[40];

	large_name(name, id);
	snprintf(line, sizeof line, "%s %s", name, what);
	report(f, line);
}

static enum err_kind send_large(struct feed *f, const struct rec_message *m, struct err *e)
{
	char name[40];
	struct stat st;
	bool copied = false;
	uint32_t crc = 0;
	int fd;
	enum err_kind k;

	large_name(name, m->large_id);
	fd = openat(f->s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		f->r.n_missing++;
		return ERR_OK;
	}
	if (fd < 0 || fstat(fd, &st) < 0) {
		k = err_sys(e, errno, "open %s", name);
	} else if ((k = f->sink.large(f->sink.ctx, m->large_id, fd, (uint64_t)st.st_size, &copied, &crc, e)) ==
	    ERR_OK && copied) {
		f->r.n_large++;
		f->r.large_octets += (uint64_t)st.st_size;
		if (crc != m->body_crc || (uint64_t)st.st_size != m->body_octets) {
			f->r.n_damaged++;
			report_large(f, m->large_id, "is damaged; copied as it is");
		}
	}
	if (fd >= 0)
		close(fd);
	return k;
}

/* Each record of what is about to be sent: large bodies go first (C1), the last one is remembered. */
static enum err_kind see_record(void *ctx, const struct journal_view *v, struct err *e)
{
	struct feed *f = ctx;
	struct rec_message m;

	f->at.seq = v->h.seq;
	f->at.ms = v->h.time_ms;
	f->at.crc = v->h.crc;
	f->at.last_off = v->pos.off;
	return copy_large_id(v, &m) != 0 ? send_large(f, &m, e) : ERR_OK;
}

/* -- the journal -- */

static enum err_kind send_octets(struct feed *f, uint32_t to, struct err *e)
{
	int fd;
	enum err_kind k = journal_fd(f->s->journal, f->at.at.seg, &fd, e);

	while (k == ERR_OK && f->at.at.off < to) {
		uint32_t left = to - f->at.at.off;
		ssize_t n = pread(fd, f->chunk, left < COPY_CHUNK_OCTETS ? left : COPY_CHUNK_OCTETS, f->at.at.off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, n == 0 ? EIO : errno, "read segment %u", f->at.at.seg);
		k = f->sink.data(f->sink.ctx, f->at.at, str_n(f->chunk, (size_t)n), e);
		f->at.at.off += (uint32_t)n;
		f->r.octets += (uint64_t)n;
	}
	return k;
}

static void report_damage(struct feed *f, uint32_t seg, uint64_t n)
{
	char line[128];

	f->r.n_damaged += n;
	snprintf(line, sizeof line, "journal segment %u: damage in %llu places; copied as it is", seg,
	    (unsigned long long)n);
	report(f, line);
}

/* Up to which octet the segment is to be sent: the tail, or behind the record that ends it. When that can't be found the
 * whole file goes. */
static enum err_kind segment_end(struct feed *f, const struct extent *x, const struct journal_scan *scan,
    uint32_t *out_to, struct err *e)
{
	struct stat st;
	int fd;
	enum err_kind k;

	*out_to = scan->end.off;
	if (scan->end.seg == x->tail.pos.seg)
		*out_to = x->tail.pos.off;
	if (scan->end.seg == x->tail.pos.seg || scan->ended)
		return ERR_OK;
	if ((k = journal_fd(f->s->journal, scan->end.seg, &fd, e)) != ERR_OK)
		return k;
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat segment %u", scan->end.seg);
	*out_to = (uint32_t)st.st_size & ~(uint32_t)(REC_ALIGN - 1);
	return ERR_OK;
}

static enum err_kind send_segment(struct feed *f, const struct extent *x, struct err *e)
{
	bool tail = f->at.at.seg == x->tail.pos.seg;
	struct journal_scan scan;
	uint64_t n_damaged;
	uint32_t to;
	enum err_kind k;

	k = copy_scan(f->s->journal, f->at.at, f->at.seq, tail ? x->tail.pos.off : 0, see_record, f, &scan, e);
	if (k != ERR_OK || (k = segment_end(f, x, &scan, &to, e)) != ERR_OK)
		return k;
	n_damaged = scan.n_damaged + (!tail && !scan.ended);
	if (n_damaged > 0)
		report_damage(f, f->at.at.seg, n_damaged);
	if (tail && scan.end.off < to)
		f->at.last_off = 0;
	return send_octets(f, to, e);
}

static enum err_kind next_segment(struct feed *f, struct err *e)
{
	struct seg_header h;
	enum err_kind k;

	if ((k = journal_segment(f->s->journal, f->at.at.seg + 1, &h, e)) != ERR_OK)
		return k;
	if (journal_header_damaged(f->s->journal, h.number)) {
		report_damage(f, h.number, 1);
		h.crc = crc32c(0, &h, offsetof(struct seg_header, crc));
	}
	if ((k = f->sink.segment(f->sink.ctx, &h, e)) != ERR_OK)
		return k;
	f->at.at = (struct journal_pos){ h.number, sizeof h };
	f->at.salt = h.salt;
	f->at.seq = h.first_seq - 1;
	f->r.n_segments++;
	f->r.octets += sizeof h;
	return ERR_OK;
}

enum err_kind feed_advance(struct feed *f, bool publish, struct err *e)
{
	struct extent x;
	enum err_kind k;

	if ((k = take_extent(f->s, &x, e)) != ERR_OK)
		return k;
	f->first_seg = x.first_seg;
	if (x.store_id != f->at.store_id || f->at.at.seg > x.tail.pos.seg ||
	    (f->at.at.seg == x.tail.pos.seg && f->at.at.off > x.tail.pos.off))
		return err_set(e, ERR_NOENT, 0, "the store's journal was cut");
	publish = publish || f->at.at.seg != x.tail.pos.seg;
	if (f->at.at.off == 0)
		k = next_segment(f, e);
	while (k == ERR_OK && (k = send_segment(f, &x, e)) == ERR_OK && f->at.at.seg < x.tail.pos.seg)
		k = next_segment(f, e);
	if (k != ERR_OK)
		return k;
	f->at.seq = x.tail.next_seq - 1;
	f->at.crc = x.tail.crc;
	k = f->sink.mark(f->sink.ctx, &f->at, publish, e);
	let_compaction(f);
	return k;
}

uint64_t feed_seq(const struct feed *f)
{
	return f->at.seq;
}

uint32_t feed_first_seg(const struct feed *f)
{
	return f->first_seg;
}

void feed_result(const struct feed *f, struct feed_result *out)
{
	*out = f->r;
}
