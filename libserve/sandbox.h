/* SPDX-License-Identifier: ISC */
/* What a process gives up, in order; each call is one way. What the kernel or the missing privilege does
 * not allow is reported in the mask, never fatal unless we are root. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <sys/types.h>

#include "../libbase/err.h"

enum sandbox_done {
	SANDBOX_UID = 1, SANDBOX_CHROOT = 2, SANDBOX_NO_NEW_PRIVS = 4, SANDBOX_RLIMITS = 8,
	SANDBOX_LANDLOCK = 16, SANDBOX_SECCOMP = 32
};

struct sandbox_plan {
	const char *root_dir;		/* chroot (root) or chdir (ordinary user); holds only sockets */
	uid_t uid;			/* 0: stay (authd; or not root) */
	gid_t gid;
	unsigned rights;		/* SERVE_* of serve.h */
	unsigned n_listeners;		/* descriptors SD_FIRST_FD on that sessions hold but share with others:
					 * they may accept from them, but not change them; see filter_compile */
	uint64_t memory_max_bytes;	/* RLIMIT_DATA: mapped mail does not count; 0: none */
};

/* Once, in the parent: compiles the filters that sandbox_enter and sandbox_login put in force, makes root_dir
 * when it is missing, and as an ordinary user tries to enter a user namespace of its own, in which children
 * can have a chroot like root's. *out_missing is the mask of SANDBOX_* that children will not have.
 * Errors: as root: no filters, no root_dir. */
enum err_kind sandbox_prepare(const struct sandbox_plan *p, unsigned *out_missing, struct err *e) CHECKED;

/* Before the first connection. After it a process may open nothing in the file system (with SERVE_STORES:
 * only what is beneath descriptors it is handed), may connect to Unix sockets, may make no other socket, may
 * not exec, fork, ptrace, signal others or change its identity. *out_done: SANDBOX_* in force.
 * Errors: as root any failure of uid, chroot or seccomp. */
enum err_kind sandbox_enter(const struct sandbox_plan *p, unsigned *out_done, struct err *e) CHECKED;

/* After login, with the store's directory descriptor: changes the working directory to it and (where the
 * kernel has Landlock, ABI 1 or later) confines the file system to what is beneath it; from now on no
 * socket can be made at all. The process can use relative names below "." and nothing else.
 * As root in enter: the rules for paths were not yet set, so that the descriptor can be their base. */
enum err_kind sandbox_login(int store_fd, unsigned *out_done, struct err *e) CHECKED;

#endif
