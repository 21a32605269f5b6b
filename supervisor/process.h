/* SPDX-License-Identifier: ISC */
/* The services as running processes: start, death, back-off, process groups. */
#ifndef SUPERVISOR_PROCESS_H
#define SUPERVISOR_PROCESS_H

#include "plan.h"

enum {
	GROUPS_MAX = 64,		/* earlier process groups that may still hold sessions */
	RESTART_FIRST_MS = 50,
	RESTART_MAX_MS = 1000,		/* never longer: mail that waits is worse than a few forks */
	RESTART_CALM_MS = 10000,	/* after this long the next restart is at once again */
};

struct process {
	const char *name;
	pid_t pid;			/* parent of the service's pool; 0: not running */
	bool ready, stopping;
	uint64_t started_ms, restart_at;	/* monotonic; restart_at 0: none is due */
	uint64_t backoff_ms;
	struct listen_spec spec[SD_FDS_MAX];	/* what is bound */
	int fd[SD_FDS_MAX];
	unsigned n;
	pid_t groups[GROUPS_MAX];	/* of earlier parents, whose sessions go on */
	unsigned n_groups;
};

struct launch {
	const char *libexec_dir, *conf_path, *notify_path;
};

/* Starts it in a process group of its own with its sockets and NOTIFY_SOCKET, and SIGTERM for it should we
 * die. A failure schedules the next try. */
void process_start(struct process *p, const struct launch *l);
/* It died: logs, remembers its group, schedules the restart unless it is stopping. */
void process_died(struct process *p, int status);
/* Forgets groups in which nobody is left. To be called after every reaping, so that a number that the
 * kernel gives out again is never taken for ours. */
void process_prune(struct process *p);
/* Sends sig to the parent, and to the sessions of earlier parents. whole: to every process of ours. */
void process_signal(struct process *p, int sig, bool whole);
bool process_is_gone(const struct process *p);

/* Runs the daemon's own check of the configuration; what it says is put into e. Errors: ERR_SYNTAX it found
 * a fault; ERR_NOENT, ERR_DENIED it cannot be run; ERR_TIMEOUT. */
enum err_kind process_check_conf(const char *name, const struct launch *l, struct err *e) CHECKED;

#endif
