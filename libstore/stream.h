/* SPDX-License-Identifier: ISC */
/* A copy at the other end of a pair of descriptors (pipes, a socket, ssh): the store's side writes frames, the copy's side
 * answers. What the frames are stands in copy_types.h. Each side takes the other for a stranger: lengths, order and
 * checksums are looked at, every wait has a deadline.
 *
 *   store  HELLO ->            <- HAVE  copy
 *          BEGIN, then SEGMENT, DATA, LARGE (-> WANT, then PART …), MARK (-> DONE) in the order of copy_sink */
#ifndef STREAM_H
#define STREAM_H

#include "copy.h"

enum {
	STREAM_ANSWER_MS = 60000,	/* the copy's side syncs a segment or a large body */
	STREAM_IDLE_MS = 60000,		/* without a frame the store's side is taken for dead: it marks more often */
	STREAM_BEAT_MS = 15000,		/* how often, when nothing happens */
};

/* -- the store's side -- */
struct stream;
/* Says hello and hears what the copy has. The descriptors stay the caller's, become non-blocking, and must stay open
 * longer. Errors: ERR_TIMEOUT, ERR_EOF, ERR_CORRUPT no frame that belongs there, ERR_TEMP with what the other side says. */
enum err_kind stream_open(int in_fd, int out_fd, struct str user, struct stream **out, struct copy_pos *out_sure,
    struct copy_pos *out_end, struct err *e) CHECKED;
void stream_as_sink(struct stream *st, struct copy_sink *out);
void stream_close(struct stream **st);

/* -- the copy's side -- */
/* Takes frames into the copy in dirfd until the input ends. ERR_OK: it ended between two frames. The other side has been
 * told of any other end, if that was possible. Errors: as copy_open and the copy's, ERR_TIMEOUT, ERR_CORRUPT. */
enum err_kind stream_receive(int in_fd, int out_fd, int dirfd, struct err *e) CHECKED;

#endif
