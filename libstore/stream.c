/* SPDX-License-Identifier: ISC */
/* Frames, and what each side does with them. A frame is read whole and its checksum is looked at before anything in it is;
 * tables say how long a payload may be and who takes it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "copy_int.h"
#include "crc32c.h"
#include "stream.h"

struct stream {
	int in_fd, out_fd;
	char *payload;			/* of the frame that was read; STREAM_MAX_OCTETS */
	struct frame_header h;
};

/* -- octets with deadlines -- */

static enum err_kind wait_for(int fd, short events, uint64_t until_ms, struct err *e)
{
	struct pollfd p = { fd, events, 0 };
	uint64_t now = clock_mono_ms();
	int n;

	if (now >= until_ms)
		return err_set(e, ERR_TIMEOUT, 0, "the other side says nothing");
	n = poll(&p, 1, (int)(until_ms - now));
	if (n < 0 && errno != EINTR)
		return err_sys(e, errno, "poll");
	return ERR_OK;
}

static enum err_kind write_all(int fd, struct str s, uint64_t until_ms, struct err *e)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n > 0) {
			s = str_skip(s, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EPIPE)
			return err_set(e, ERR_EOF, 0, "the other side has gone");
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_sys(e, errno, "write to the other side");
		if (wait_for(fd, POLLOUT, until_ms, e) != ERR_OK)
			return e != NULL ? e->kind : ERR_TIMEOUT;
	}
	return ERR_OK;
}

/* ERR_EOF with out_n 0: the end came before the first octet. */
static enum err_kind read_all(int fd, char *p, size_t n, uint64_t until_ms, size_t *out_n, struct err *e)
{
	*out_n = 0;
	while (*out_n < n) {
		ssize_t r = read(fd, p + *out_n, n - *out_n);

		if (r > 0) {
			*out_n += (size_t)r;
			continue;
		}
		if (r == 0)
			return err_set(e, ERR_EOF, 0, "the other side has gone");
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, errno, "read from the other side");
		if (wait_for(fd, POLLIN, until_ms, e) != ERR_OK)
			return e != NULL ? e->kind : ERR_TIMEOUT;
	}
	return ERR_OK;
}

/* -- frames -- */

static enum err_kind send_frame(struct stream *st, enum stream_type type, struct str head, struct str rest, struct err *e)
{
	struct frame_header h = { .octets = (uint32_t)(head.n + rest.n), .type = (uint16_t)type };
	uint64_t until = clock_mono_ms() + STREAM_ANSWER_MS;
	enum err_kind k;

	h.crc = crc32c(0, &h, offsetof(struct frame_header, crc));
	h.crc = crc32c(crc32c(h.crc, head.p, head.n), rest.p, rest.n);
	if ((k = write_all(st->out_fd, str_n((const char *)&h, sizeof h), until, e)) != ERR_OK ||
	    (k = write_all(st->out_fd, head, until, e)) != ERR_OK)
		return k;
	return write_all(st->out_fd, rest, until, e);
}

/* *out_end: the input ended where a frame might have begun. */
static enum err_kind read_frame(struct stream *st, uint64_t wait_ms, bool *out_end, struct err *e)
{
	uint64_t until = clock_mono_ms() + wait_ms;
	uint32_t crc;
	size_t n;
	enum err_kind k = read_all(st->in_fd, (char *)&st->h, sizeof st->h, until, &n, e);

	*out_end = k == ERR_EOF && n == 0;
	if (k != ERR_OK)
		return k;
	if (st->h.octets > STREAM_MAX_OCTETS || st->h.type == 0 || st->h.type > STREAM_TYPE_MAX)
		return err_set(e, ERR_CORRUPT, 0, "the other side sends no frames");
	if ((k = read_all(st->in_fd, st->payload, st->h.octets, until + STREAM_ANSWER_MS, &n, e)) != ERR_OK)
		return k;
	crc = crc32c(0, &st->h, offsetof(struct frame_header, crc));
	if (crc32c(crc, st->payload, st->h.octets) != st->h.crc)
		return err_set(e, ERR_CORRUPT, 0, "a frame's checksum is wrong");
	return ERR_OK;
}

/* The frame that must come now, of a fixed length. */
static enum err_kind expect(struct stream *st, enum stream_type type, void *out, size_t octets, struct err *e)
{
	bool end;
	enum err_kind k = read_frame(st, STREAM_ANSWER_MS, &end, e);

	if (k != ERR_OK)
		return k;
	if (st->h.type == STREAM_FAIL)
		return err_set(e, ERR_TEMP, 0, "the copy's side: %.*s", STR_FMT(str_n(st->payload, st->h.octets)));
	if (st->h.type != type || st->h.octets != octets)
		return err_set(e, ERR_CORRUPT, 0, "frame %u of %u octets in place of frame %d", st->h.type, st->h.octets,
		    type);
	memcpy(out, st->payload, octets);
	return ERR_OK;
}

static struct frame_pos pos_to_frame(const struct copy_pos *p)
{
	return (struct frame_pos){ p->store_id, p->salt, p->seq, p->ms, p->at.seg, p->at.off, p->crc, p->last_off };
}

static struct copy_pos pos_from_frame(const struct frame_pos *f)
{
	return (struct copy_pos){ .store_id = f->store_id, .salt = f->salt, .at = { f->seg, f->off }, .seq = f->seq,
		.ms = f->ms, .crc = f->crc, .last_off = f->last_off };
}

static struct stream *stream_new(int in_fd, int out_fd)
{
	struct stream *st = calloc(1, sizeof *st);

	if (st == NULL || (st->payload = malloc(STREAM_MAX_OCTETS)) == NULL)
		_exit(EX_TEMPFAIL);
	st->in_fd = in_fd;
	st->out_fd = out_fd;
	fcntl(in_fd, F_SETFL, fcntl(in_fd, F_GETFL) | O_NONBLOCK);
	fcntl(out_fd, F_SETFL, fcntl(out_fd, F_GETFL) | O_NONBLOCK);
	return st;
}

void stream_close(struct stream **st)
{
	if (*st == NULL)
		return;
	free((*st)->payload);
	free(*st);
	*st = NULL;
}

#define FRAME_OF(x) str_n((const char *)&(x), sizeof(x))

/* -- the store's side -- */

enum err_kind stream_open(int in_fd, int out_fd, struct str user, struct stream **out, struct copy_pos *out_sure,
    struct copy_pos *out_end, struct err *e)
{
	struct stream *st = stream_new(in_fd, out_fd);
	struct frame_hello hello = { STREAM_VERSION, 0 };
	struct frame_pos have[2];
	enum err_kind k;

	if ((k = send_frame(st, STREAM_HELLO, FRAME_OF(hello), str_head(user, COPY_USER_MAX_OCTETS), e)) != ERR_OK ||
	    (k = expect(st, STREAM_HAVE, have, sizeof have, e)) != ERR_OK) {
		stream_close(&st);
		return k;
	}
	*out_sure = pos_from_frame(&have[0]);
	*out_end = pos_from_frame(&have[1]);
	*out = st;
	return ERR_OK;
}

static enum err_kind put_begin(void *ctx, bool anew, uint64_t store_id, int64_t covered_ms, struct err *e)
{
	struct frame_begin b = { store_id, covered_ms, anew, 0 };

	return send_frame(ctx, STREAM_BEGIN, FRAME_OF(b), str_n(NULL, 0), e);
}

static enum err_kind put_segment(void *ctx, const struct seg_header *h, struct err *e)
{
	return send_frame(ctx, STREAM_SEGMENT, FRAME_OF(*h), str_n(NULL, 0), e);
}

static enum err_kind put_data(void *ctx, struct journal_pos at, struct str octets, struct err *e)
{
	while (octets.n > 0) {
		struct frame_data d = { at.seg, at.off };
		struct str part = str_head(octets, STREAM_MAX_OCTETS - sizeof d);
		enum err_kind k = send_frame(ctx, STREAM_DATA, FRAME_OF(d), part, e);

		if (k != ERR_OK)
			return k;
		octets = str_skip(octets, part.n);
		at.off += (uint32_t)part.n;
	}
	return ERR_OK;
}

struct parts {
	struct stream *st;
	uint32_t crc;
};

static enum err_kind put_part(void *ctx, struct str chunk, uint64_t off, struct err *e)
{
	struct parts *p = ctx;

	(void)off;
	p->crc = crc32c(p->crc, chunk.p, chunk.n);
	return send_frame(p->st, STREAM_PART, str_n(NULL, 0), chunk, e);
}

static enum err_kind put_large(void *ctx, uint64_t id, int fd, uint64_t octets, bool *out_copied, uint32_t *out_crc,
    struct err *e)
{
	struct parts p = { ctx, 0 };
	struct frame_large l = { id, octets };
	struct frame_want w;
	enum err_kind k;

	*out_copied = false;
	if ((k = send_frame(ctx, STREAM_LARGE, FRAME_OF(l), str_n(NULL, 0), e)) != ERR_OK ||
	    (k = expect(ctx, STREAM_WANT, &w, sizeof w, e)) != ERR_OK || !w.wanted)
		return k;
	k = copy_each_chunk(fd, octets, put_part, &p, e);
	*out_copied = k == ERR_OK;
	*out_crc = p.crc;
	return k;
}

static enum err_kind put_mark(void *ctx, const struct copy_pos *at, bool publish, struct err *e)
{
	struct frame_mark m = { pos_to_frame(at), publish, 0 };
	struct frame_done d;
	enum err_kind k;

	if ((k = send_frame(ctx, STREAM_MARK, FRAME_OF(m), str_n(NULL, 0), e)) != ERR_OK ||
	    (k = expect(ctx, STREAM_DONE, &d, sizeof d, e)) != ERR_OK)
		return k;
	return d.seq == at->seq ? ERR_OK : err_set(e, ERR_CORRUPT, 0, "the copy's side has done something else");
}

void stream_as_sink(struct stream *st, struct copy_sink *out)
{
	*out = (struct copy_sink){ st, put_begin, put_segment, put_data, put_large, put_mark };
}

/* -- the copy's side -- */

struct receiver {
	struct stream *st;
	int dirfd;
	struct copy *copy;		/* NULL before HELLO */
	struct copy_sink sink;
	bool begun;
	bool in_large;
	struct copy_large large;
};

/* A payload's fixed beginning; the frame table has seen to its length. */
#define TAKE(r, x) memcpy(&(x), (r)->st->payload, sizeof(x))

static enum err_kind on_hello(struct receiver *r, struct err *e)
{
	struct frame_hello h;
	struct copy_pos has[2];
	struct frame_pos have[2];
	struct str user = str_skip(str_n(r->st->payload, r->st->h.octets), sizeof h);
	enum err_kind k;

	TAKE(r, h);
	if (h.version != STREAM_VERSION)
		return err_set(e, ERR_CORRUPT, 0, "the store's side speaks version %u, this one %d", h.version,
		    STREAM_VERSION);
	if (str_has(user, '\0'))
		return err_set(e, ERR_CORRUPT, 0, "that is no user's name");
	if ((k = copy_open(r->dirfd, user, true, &r->copy, e)) != ERR_OK)
		return k;
	copy_as_sink(r->copy, &r->sink);
	copy_has(r->copy, &has[0], &has[1]);
	have[0] = pos_to_frame(&has[0]);
	have[1] = pos_to_frame(&has[1]);
	return send_frame(r->st, STREAM_HAVE, FRAME_OF(have), str_n(NULL, 0), e);
}

static enum err_kind on_begin(struct receiver *r, struct err *e)
{
	struct frame_begin b;

	TAKE(r, b);
	r->begun = true;
	return r->sink.begin(r->sink.ctx, b.anew != 0, b.store_id, b.covered_ms, e);
}

static enum err_kind on_segment(struct receiver *r, struct err *e)
{
	struct seg_header h;

	TAKE(r, h);
	return r->sink.segment(r->sink.ctx, &h, e);
}

static enum err_kind on_data(struct receiver *r, struct err *e)
{
	struct frame_data d;

	TAKE(r, d);
	return r->sink.data(r->sink.ctx, (struct journal_pos){ d.seg, d.off },
	    str_skip(str_n(r->st->payload, r->st->h.octets), sizeof d), e);
}

static enum err_kind end_large(struct receiver *r, struct err *e)
{
	if (r->large.n < r->large.octets)
		return ERR_OK;
	r->in_large = false;
	return copy_large_end(&r->large, e);
}

static enum err_kind on_large(struct receiver *r, struct err *e)
{
	struct frame_large l;
	struct frame_want w = { 0, 0 };
	enum err_kind k;

	TAKE(r, l);
	if (l.id == 0 || l.octets > STORE_MESSAGE_MAX_OCTETS)
		return err_set(e, ERR_CORRUPT, 0, "a large body of %llu octets", (unsigned long long)l.octets);
	if ((k = copy_large_begin(copy_dirfd(r->copy), l.id, l.octets, &r->large, e)) != ERR_OK)
		return k;
	r->in_large = !r->large.there;
	w.wanted = r->in_large;
	if ((k = send_frame(r->st, STREAM_WANT, FRAME_OF(w), str_n(NULL, 0), e)) != ERR_OK)
		return k;
	return r->in_large ? end_large(r, e) : ERR_OK;
}

static enum err_kind on_part(struct receiver *r, struct err *e)
{
	enum err_kind k;

	if (!r->in_large)
		return err_set(e, ERR_CORRUPT, 0, "a part of no large body");
	k = copy_large_add(&r->large, str_n(r->st->payload, r->st->h.octets), e);
	return k == ERR_OK ? end_large(r, e) : k;
}

static enum err_kind on_mark(struct receiver *r, struct err *e)
{
	struct frame_mark m;
	struct frame_done d;
	struct copy_pos at;
	enum err_kind k;

	TAKE(r, m);
	at = pos_from_frame(&m.at);
	if ((k = r->sink.mark(r->sink.ctx, &at, m.publish != 0, e)) != ERR_OK)
		return k;
	d.seq = at.seq;
	return send_frame(r->st, STREAM_DONE, FRAME_OF(d), str_n(NULL, 0), e);
}

static enum err_kind on_fail(struct receiver *r, struct err *e)
{
	return err_set(e, ERR_TEMP, 0, "the store's side: %.*s", STR_FMT(str_n(r->st->payload, r->st->h.octets)));
}

static const struct {
	enum stream_type type;
	uint32_t min_octets, max_octets;
	bool before_begin;
	enum err_kind (*run)(struct receiver *r, struct err *e);
} frames[] = {
	{ STREAM_HELLO, sizeof(struct frame_hello), sizeof(struct frame_hello) + COPY_USER_MAX_OCTETS, true, on_hello },
	{ STREAM_BEGIN, sizeof(struct frame_begin), sizeof(struct frame_begin), true, on_begin },
	{ STREAM_SEGMENT, sizeof(struct seg_header), sizeof(struct seg_header), false, on_segment },
	{ STREAM_DATA, sizeof(struct frame_data), STREAM_MAX_OCTETS, false, on_data },
	{ STREAM_LARGE, sizeof(struct frame_large), sizeof(struct frame_large), false, on_large },
	{ STREAM_PART, 1, STREAM_MAX_OCTETS, false, on_part },
	{ STREAM_MARK, sizeof(struct frame_mark), sizeof(struct frame_mark), false, on_mark },
	{ STREAM_FAIL, 0, STREAM_MAX_OCTETS, true, on_fail },
};

/* HELLO first and once, then BEGIN once, then the rest; between LARGE and its last PART nothing else. */
static bool in_order(const struct receiver *r, enum stream_type type)
{
	if (type == STREAM_FAIL)
		return true;
	if (type == STREAM_HELLO)
		return r->copy == NULL;
	if (type == STREAM_BEGIN)
		return r->copy != NULL && !r->begun;
	return r->begun && r->in_large == (type == STREAM_PART);
}

static enum err_kind take_frame(struct receiver *r, struct err *e)
{
	const struct frame_header *h = &r->st->h;

	for (size_t i = 0; i < COUNTOF(frames); i++) {
		if (frames[i].type == h->type && h->octets >= frames[i].min_octets &&
		    h->octets <= frames[i].max_octets && in_order(r, h->type))
			return frames[i].run(r, e);
	}
	return err_set(e, ERR_CORRUPT, 0, "frame %u of %u octets does not belong here", h->type, h->octets);
}

enum err_kind stream_receive(int in_fd, int out_fd, int dirfd, struct err *e)
{
	struct receiver r = { .st = stream_new(in_fd, out_fd), .dirfd = dirfd };
	enum err_kind k = ERR_OK;
	bool end = false;
	struct err why;

	while (k == ERR_OK && (k = read_frame(r.st, STREAM_IDLE_MS, &end, &why)) == ERR_OK)
		k = take_frame(&r, &why);
	if (end && !r.in_large)
		k = ERR_OK;
	else
		(void)send_frame(r.st, STREAM_FAIL, str_n(NULL, 0), str_of(why.text), NULL);
	if (r.in_large)
		copy_large_drop(&r.large);
	copy_close(&r.copy);
	stream_close(&r.st);
	if (k != ERR_OK && e != NULL)
		*e = why;
	return k;
}
