/* SPDX-License-Identifier: ISC */
/* The parent of the pool: keeps idle children ready, reloads, drains. */
#ifndef PREFORK_H
#define PREFORK_H

#include "child.h"

struct pool_plan {
	const struct service *svc;
	const char *conf_path;
	struct serve_state *st;		/* taken over */
	const struct listeners *listeners;
	bool end_when_idle;		/* inetd wait: after POOL_IDLE_END_MS without a session */
	const char *log_to;		/* instead of the configuration's, or NULL */
};

enum { POOL_IDLE_END_MS = 60000 };

/* Runs until SIGTERM or until idle; returns the exit status. */
int pool_run(struct pool_plan *plan);

#endif
