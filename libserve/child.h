/* SPDX-License-Identifier: ISC */
/* A process that serves sessions: one of the pool, or the only one (inetd nowait). */
#ifndef CHILD_H
#define CHILD_H

#include "scoreboard.h"
#include "sdproto.h"
#include "state.h"

struct listeners {
	unsigned n;			/* descriptors SD_FIRST_FD … */
	const struct serve_listener *kind[SD_FDS_MAX];
};

struct child {
	struct serve_state *st;
	const struct listeners *listeners;
	struct scoreboard *sb;
	uint32_t ix;			/* its slot */
	int lifeline;			/* at its end the idle child ends */
	int wake;			/* eventfd of the parent */
};

/* The life of a child of the pool, from just after the fork; never returns. */
void child_run(const struct child *ch) NORETURN;

/* One session on fd, then the end of the process. Returns the exit status. */
int child_run_one(struct serve_state *st, const struct serve_listener *kind, int fd);

#endif
