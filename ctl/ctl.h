/* SPDX-License-Identifier: ISC */
/* What the subcommands of penny share: the configuration, the way into a user's store, messages
 * and exit codes (sysexits.h). Results go to standard output, one item a line, fields separated
 * by tabs; what went wrong goes to standard error. */
#ifndef CTL_H
#define CTL_H

#include <sysexits.h>

#include "../libbase/conf.h"
#include "../libbase/err.h"
#include "../libserve/settings.h"
#include "../libstore/store.h"

struct ctl {
	const char *conf_path;
	struct conf *conf;		/* NULL for commands that need none */
	struct settings set;
};

/* -- handlers: argv[0] is the first argument behind the command's words; argv[argc] is NULL -- */
int cmd_status(struct ctl *c, int argc, char **argv);		/* status.c */
int cmd_check_config(struct ctl *c, int argc, char **argv);	/* checkconfig.c */
int cmd_user_add(struct ctl *c, int argc, char **argv);		/* user.c */
int cmd_user_password(struct ctl *c, int argc, char **argv);
int cmd_user_list(struct ctl *c, int argc, char **argv);
int cmd_user_delete(struct ctl *c, int argc, char **argv);
int cmd_mailbox_list(struct ctl *c, int argc, char **argv);	/* mailbox.c */
int cmd_mailbox_create(struct ctl *c, int argc, char **argv);
int cmd_mailbox_rename(struct ctl *c, int argc, char **argv);
int cmd_mailbox_delete(struct ctl *c, int argc, char **argv);
int cmd_quota(struct ctl *c, int argc, char **argv);		/* quota.c */
int cmd_rebuild(struct ctl *c, int argc, char **argv);		/* upkeep.c */
int cmd_compact(struct ctl *c, int argc, char **argv);
int cmd_index(struct ctl *c, int argc, char **argv);
int cmd_check(struct ctl *c, int argc, char **argv);
int cmd_import_maildir(struct ctl *c, int argc, char **argv);	/* import.c */
int cmd_import_mbox(struct ctl *c, int argc, char **argv);

/* -- messages: "penny: …" on standard error; each returns its exit code -- */
int ctl_fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);
int ctl_err(const struct err *e);	/* the code follows from the kind */

/* Reads the file and the shared settings into *c. Returns 0 or EX_CONFIG after a message. */
int ctl_load_conf(struct ctl *c);

/* -- stores.c -- */
/* Runs `run` on a user's store in a child process that has become the account that owns the
 * stores (as an ordinary user: the caller's own), so that whatever it makes has the right owner.
 * With create a store that does not exist is made. Returns run's exit code, or another after a
 * message. */
int ctl_in_store(struct ctl *c, const char *user, bool create,
    int (*run)(struct store *s, void *arg), void *arg);
/* The same in steps, for who talks with the child: *out_pid is the child, to be waited for with
 * ctl_wait_child. */
int ctl_start_in_store(struct ctl *c, const char *user, bool create,
    int (*run)(struct store *s, void *arg), void *arg, int *out_pid);
int ctl_wait_child(int pid);
/* Calls run for each user that has a store, in name order; stops at nothing, returns the last
 * code that was not 0. */
int ctl_each_user(struct ctl *c, int (*run)(struct ctl *c, const char *user));

#endif
