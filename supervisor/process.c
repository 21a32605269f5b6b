/* SPDX-License-Identifier: ISC */
/* Owns the services' processes. Invariant: a process group is in `groups` or is that of `pid` as long as a
 * process of ours may be in it; so stopping leaves nobody behind. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "process.h"

enum {
	FD_ASIDE = 256,			/* above all numbers that sockets are passed as */
	CHECK_MS = 20000,
	NAMES_OCTETS = SD_FDS_MAX * (LISTEN_NAME_OCTETS + 1),
	EXIT_NO_EXEC = 127,
};

static void set_number(const char *name, long v)
{
	char text[24];

	snprintf(text, sizeof text, "%ld", v);
	setenv(name, text, 1);
}

/* The sockets to SD_FIRST_FD and up, first out of each other's way. */
static bool place_sockets(const struct process *p)
{
	int aside[SD_FDS_MAX];

	for (unsigned i = 0; i < p->n; i++)
		if ((aside[i] = fcntl(p->fd[i], F_DUPFD_CLOEXEC, FD_ASIDE)) < 0)
			return false;
	for (unsigned i = 0; i < p->n; i++)
		if (dup2(aside[i], SD_FIRST_FD + (int)i) < 0)
			return false;
	return true;
}

static void set_environment(const struct process *p, const struct launch *l)
{
	char names[NAMES_OCTETS];
	size_t n = 0;

	names[0] = '\0';
	for (unsigned i = 0; i < p->n; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ":" : "",
		    p->spec[i].name);
	set_number("LISTEN_PID", getpid());
	set_number("LISTEN_FDS", p->n);
	setenv("LISTEN_FDNAMES", names, 1);
	setenv("NOTIFY_SOCKET", l->notify_path, 1);
}

static void plain_signals(void)
{
	static const int defaults[] = { SIGTERM, SIGHUP, SIGINT, SIGCHLD, SIGPIPE };
	sigset_t none;

	for (size_t i = 0; i < COUNTOF(defaults); i++)
		signal(defaults[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool program_path(const char *name, const struct launch *l, char *out, size_t cap)
{
	int n = snprintf(out, cap, "%s/%s", l->libexec_dir, name);

	return n > 0 && (size_t)n < cap;
}

static void exec_service(const struct process *p, const struct launch *l, pid_t supervisor)
{
	char path[LISTEN_PATH_OCTETS * 2];
	char *argv[] = { (char *)(uintptr_t)p->name, "-c", (char *)(uintptr_t)l->conf_path, NULL };

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != supervisor)	/* it died before we asked to be told */
		_exit(EX_TEMPFAIL);
	plain_signals();
	if (program_path(p->name, l, path, sizeof path) && place_sockets(p)) {
		set_environment(p, l);
		execv(path, argv);
	}
	log_event(LOG_LEVEL_ERR, "supervisor.exec.failed", KV_Z("program", path),
	    KV_Z("why", strerror(errno)));
	_exit(EXIT_NO_EXEC);
}

static void schedule(struct process *p, uint64_t now)
{
	if (now >= p->started_ms + RESTART_CALM_MS)
		p->backoff_ms = 0;
	p->restart_at = now + p->backoff_ms;
	p->backoff_ms = p->backoff_ms == 0 ? RESTART_FIRST_MS : p->backoff_ms * 2;
	if (p->backoff_ms > RESTART_MAX_MS)
		p->backoff_ms = RESTART_MAX_MS;
}

void process_start(struct process *p, const struct launch *l)
{
	pid_t self = getpid(), pid;

	p->restart_at = 0;
	p->ready = p->stopping = false;
	p->started_ms = clock_mono_ms();
	pid = fork();
	if (pid == 0)
		exec_service(p, l, self);
	if (pid < 0) {
		log_event(LOG_LEVEL_ERR, "supervisor.fork.failed", KV_Z("service", p->name),
		    KV_Z("why", strerror(errno)));
		schedule(p, p->started_ms);
		return;
	}
	setpgid(pid, pid);	/* both sides do it: whoever is first */
	p->pid = pid;
	log_event(LOG_LEVEL_INFO, "supervisor.started", KV_Z("service", p->name), KV_I("pid", pid));
}

static bool group_lives(pid_t group)
{
	return kill(-group, 0) == 0 || errno == EPERM;
}

void process_prune(struct process *p)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->n_groups; i++)
		if (group_lives(p->groups[i]))
			p->groups[kept++] = p->groups[i];
	p->n_groups = kept;
}

void process_died(struct process *p, int status)
{
	pid_t group = p->pid;

	p->pid = 0;
	p->ready = false;
	process_prune(p);
	if (group_lives(group)) {
		if (p->n_groups == GROUPS_MAX) {	/* it died GROUPS_MAX times under one session */
			kill(-p->groups[0], SIGTERM);
			memmove(p->groups, p->groups + 1, (GROUPS_MAX - 1) * sizeof p->groups[0]);
			p->n_groups--;
		}
		p->groups[p->n_groups++] = group;
	}
	if (p->stopping)
		return;
	if (WIFSIGNALED(status))
		log_event(LOG_LEVEL_ERR, "supervisor.service.killed", KV_Z("service", p->name),
		    KV_I("pid", group), KV_I("signal", WTERMSIG(status)));
	else
		log_event(LOG_LEVEL_ERR, "supervisor.service.ended", KV_Z("service", p->name),
		    KV_I("pid", group), KV_I("status", WEXITSTATUS(status)));
	schedule(p, clock_mono_ms());
}

void process_signal(struct process *p, int sig, bool whole)
{
	if (p->pid != 0)
		kill(whole ? -p->pid : p->pid, sig);
	if (sig == SIGHUP)	/* sessions have nothing to reload */
		return;
	for (unsigned i = 0; i < p->n_groups; i++)
		kill(-p->groups[i], sig);
}

bool process_is_gone(const struct process *p)
{
	return p->pid == 0 && p->n_groups == 0;
}

/* -- the daemon's own check -- */

static pid_t start_check(const char *name, const struct launch *l, int out)
{
	char path[LISTEN_PATH_OCTETS * 2];
	char *argv[] = { (char *)(uintptr_t)name, "-t", "-c", (char *)(uintptr_t)l->conf_path, NULL };
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	plain_signals();
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	if (program_path(name, l, path, sizeof path))
		execv(path, argv);
	dprintf(STDERR_FILENO, "%s: %s", path, strerror(errno));
	_exit(EXIT_NO_EXEC);
}

/* What it says, up to its end. False: it took too long. */
static bool read_answer(int fd, char *out, size_t cap)
{
	uint64_t until = clock_mono_ms() + CHECK_MS, now;
	size_t n = 0;

	while ((now = clock_mono_ms()) < until) {
		struct pollfd p = { fd, POLLIN, 0 };
		char waste[256];
		ssize_t got;

		if (poll(&p, 1, (int)(until - now)) <= 0)
			continue;
		got = n < cap - 1 ? read(fd, out + n, cap - 1 - n) : read(fd, waste, sizeof waste);
		if (got <= 0) {
			out[n] = '\0';
			return true;
		}
		if (n < cap - 1)
			n += (size_t)got;
	}
	out[n] = '\0';
	return false;
}

enum err_kind process_check_conf(const char *name, const struct launch *l, struct err *e)
{
	char text[ERR_TEXT_MAX];
	int fds[2], status = 0;
	pid_t pid;
	bool ended;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = start_check(name, l, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return err_sys(e, errno, "fork");
	}
	ended = read_answer(fds[0], text, sizeof text);
	close(fds[0]);
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		return err_set(e, ERR_TIMEOUT, 0, "%s does not finish its check", name);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return ERR_OK;
	text[strcspn(text, "\n")] = '\0';
	return err_set(e, ERR_SYNTAX, 0, "%.200s", text[0] != '\0' ? text : name);
}
