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
int cmd_purge(struct ctl *c, int argc, char **argv);
int cmd_undelete(struct ctl *c, int argc, char **argv);		/* undelete.c */
int cmd_index(struct ctl *c, int argc, char **argv);
int cmd_check(struct ctl *c, int argc, char **argv);
int cmd_backup(struct ctl *c, int argc, char **argv);		/* backup.c */
int cmd_check_copy(struct ctl *c, int argc, char **argv);	/* copies.c */
int cmd_follow(struct ctl *c, int argc, char **argv);		/* follow.c */
int cmd_restore(struct ctl *c, int argc, char **argv);		/* restore.c */
int cmd_import_maildir(struct ctl *c, int argc, char **argv);	/* import.c */
int cmd_import_mbox(struct ctl *c, int argc, char **argv);

/* -- messages: "penny: …" on standard error; each returns its exit code -- */
int ctl_fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);
int ctl_err(const struct err *e);	/* the code follows from the kind */

/* Reads the file and the shared settings into *c. Returns 0 or EX_CONFIG after a message. */
int ctl_load_conf(struct ctl *c);

/* -- mailbox.c -- */
/* Messages, unseen, octets and name of each mailbox, a line each. Returns 0 or an exit code after a message. */
int ctl_print_mailboxes(struct store *s);

/* -- stores.c -- */
struct office;
/* The post office and the account that owns what is in it. Returns 0 or an exit code after a message. */
int ctl_find_office(const struct ctl *c, struct office *o);
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
/* A store is made for accounts only: a slip of the pen makes none. Returns 0 or an exit code after a message. */
int ctl_check_account(const struct ctl *c, const char *user);
/* Runs `run` in a child that has become the owner of the stores, without any store. */
int ctl_as_owner(struct ctl *c, int (*run)(void *arg), void *arg);
/* Opens a store in a directory of the owner's, runs, closes: for a child that is the owner. */
int ctl_open_and_run(const struct ctl *c, int store_fd, int (*run)(struct store *s, void *arg), void *arg);
/* Calls run for each user that has a store, in name order; stops at nothing, returns the last
 * code that was not 0. */
int ctl_each_user(struct ctl *c, int (*run)(struct ctl *c, const char *user));

/* -- copies.c: directories that hold copies of stores (libstore/copy.h) -- */
/* Opens the directory at path, without following a link in its last part; with make an empty one is made when there is
 * none. As root it is given to the owner of the stores while it is empty, and must be that account's otherwise. It may not
 * lie in the post office. Returns 0 or an exit code after a message. */
int ctl_open_copy(struct ctl *c, const char *path, bool make, int *out_fd);
/* Runs `run` on the state at at_ms (COPY_AT_END: the last) of the copy: laid out as a store beside it for that time.
 * For a child that is the owner. */
struct copy_state;
int ctl_in_copy(const struct ctl *c, int copy_fd, int64_t at_ms,
    int (*run)(struct store *s, const struct copy_state *st, void *arg), void *arg);
/* A finding on standard error. */
void ctl_report_copy(void *ctx, const char *finding);
/* A user's copy below the directory that holds everybody's: DIR/USER. */
#define CTL_COPY_PATH_MAX 4096

/* -- options.c -- */
struct ctl_option {
	const char *name;		/* "--at" */
	const char **value;		/* takes an argument */
	bool *flag;			/* or is said or not */
};
/* Takes the options out of argv (which stays NULL-terminated) and returns what is left; -1 after a message. */
int ctl_options(int argc, char **argv, const struct ctl_option *opt, size_t n);
/* A point in time: seconds since 1970, or ISO 8601: a day, or a day and a time ("2026-11-21T14:00:00.5+01:00"; without
 * zone it is UTC). Pure. */
bool ctl_parse_time(struct str s, int64_t *out_ms);
/* "2026-11-21T14:00:00Z" */
enum { CTL_TIME_TEXT_OCTETS = 32 };
void ctl_format_time(int64_t ms, char out[CTL_TIME_TEXT_OCTETS]);

#endif
