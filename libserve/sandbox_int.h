/* SPDX-License-Identifier: ISC */
/* The two kernel mechanisms behind sandbox.h. */
#ifndef SANDBOX_INT_H
#define SANDBOX_INT_H

#include "../libbase/err.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0	/* sanitizers map terabytes and call what no session calls */
#endif

enum filter_phase { FILTER_ENTER, FILTER_LISTENERS, FILTER_LOGIN, FILTERS_MAX };

/* Compiles the filters for these SERVE_* rights. n_listeners: so many descriptors from SD_FIRST_FD on are
 * sockets that listen for other processes too; while a process holds them, nothing else may have their
 * numbers. ERR_NOENT: built without libseccomp. */
enum err_kind filter_compile(unsigned rights, unsigned n_listeners, struct err *e) CHECKED;
/* Puts one in force; needs no new privileges. FILTER_LISTENERS without listeners: nothing to do. */
enum err_kind filter_apply(enum filter_phase phase, struct err *e) CHECKED;

/* 0: the kernel has no Landlock. */
int landlock_abi(void);
/* Confines file access to what is beneath dir_fd (LANDLOCK_NO_FILES: to nothing), and forbids TCP, abstract
 * Unix sockets and signals to others where the ABI can. */
enum { LANDLOCK_NO_FILES = -1 };
enum err_kind landlock_confine(int dir_fd, struct err *e) CHECKED;
/* Forbids the same but for files. root_fd is the real root directory: of files the kernel denies one thing, moves
 * and links between directories, in each set of rules that does not allow it somewhere, and when a later set
 * speaks of files an earlier one counts. */
enum err_kind landlock_close_network(int root_fd, struct err *e) CHECKED;

#endif
