/* SPDX-License-Identifier: ISC */
/* The supervisor's life from the lock to the last process. */
#ifndef SUPERVISOR_SUPERVISE_H
#define SUPERVISOR_SUPERVISE_H

#include "plan.h"

struct supervise_options {
	const char *conf_path;		/* absolute */
	const char *pid_path;		/* NULL: run_dir/pennypost.pid */
	int tell_fd;			/* a byte is written when all services are ready; -1: nobody asks */
};

/* Takes plan over. Returns the exit status. */
int supervise(const struct supervise_options *o, struct plan *plan);

#endif
