/* SPDX-License-Identifier: ISC */
/* How a process learns that it is to end: SIGTERM sets a flag, makes a descriptor readable, and ends a
 * blocking receive on the session's socket. No system call is spent on it while nothing happens. The flag
 * itself is read with serve_draining() of serve.h. */
#ifndef DRAIN_H
#define DRAIN_H

#include <stdbool.h>

#include "../libbase/err.h"

/* Installs the handler in this process. Errors: those of err_sys. */
enum err_kind drain_init(struct err *e) CHECKED;
/* Readable once the process drains (never read from it); -1 before drain_init. */
int drain_fd(void);
/* The socket on which conn.c may be blocked in a receive; -1 for none. */
void drain_watch(int fd);
/* As if SIGTERM had come. */
void drain_begin(void);
/* To be called after SO_RCVTIMEO was changed on the watched socket: a signal may have come in between. */
void drain_recheck(void);

#endif
