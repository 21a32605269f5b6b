/* SPDX-License-Identifier: ISC */
/* Owns the loop. Everything arrives as a signal read from a descriptor or as a packet on the notify socket,
 * one after the other. Invariant: a reload either applies whole or changes nothing, but for sockets that
 * cannot be bound, which are logged and left out. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "process.h"
#include "supervise.h"

enum {
	DIR_MODE = 0755,
	KILL_EXTRA_MS = 1000,		/* the services' own drain ends first */
	KILL_ROUND_MS = 100,
	NOTIFY_OCTETS = 512,
	PATH_OCTETS = LISTEN_PATH_OCTETS * 2,
};

struct supervisor {
	const struct supervise_options *o;
	struct plan *plan;
	struct process process[N_SERVICES];
	char pid_path[PATH_OCTETS], notify_path[PATH_OCTETS], run_dir[PATH_OCTETS];
	int pid_fd, signal_fd, notify_fd;
	bool ready, stopping;
	uint64_t kill_at;
};

static struct launch launch_of(const struct supervisor *s)
{
	return (struct launch){ s->plan->libexec_dir, s->o->conf_path, s->notify_path };
}

/* -- files -- */

static enum err_kind make_dir(const char *path, struct err *e)
{
	char part[PATH_OCTETS];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof part)
		return err_set(e, ERR_SYNTAX, 0, "[process] run_dir: not a usable name");
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, DIR_MODE) < 0 && errno != EEXIST)
			return err_sys(e, errno, "mkdir %s", part);
	}
	return ERR_OK;
}

/* Root directories of the sessions: ours, and nobody else may write there. */
static enum err_kind make_jails(struct supervisor *s, struct err *e)
{
	char path[PATH_OCTETS + LISTEN_NAME_OCTETS];
	enum err_kind k;

	for (size_t i = 0; i < N_SERVICES; i++) {
		snprintf(path, sizeof path, "%s/jail/%s", s->run_dir, service_names[i]);
		if ((k = make_dir(path, e)) != ERR_OK)
			return k;
		if (chown(path, geteuid(), getegid()) < 0 || chmod(path, DIR_MODE) < 0)
			return err_sys(e, errno, "%s", path);
	}
	return ERR_OK;
}

/* The lock, not the file's presence, says that a supervisor runs; so a crash leaves nothing to clean. */
static enum err_kind take_pid_file(struct supervisor *s, struct err *e)
{
	char text[24] = "";
	ssize_t n;

	s->pid_fd = open(s->pid_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (s->pid_fd < 0)
		return err_sys(e, errno, "%s", s->pid_path);
	if (flock(s->pid_fd, LOCK_EX | LOCK_NB) < 0) {
		n = read(s->pid_fd, text, sizeof text - 1);
		text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
		return err_set(e, ERR_BUSY, errno, "already running with pid %s (%s is locked)", text,
		    s->pid_path);
	}
	n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(s->pid_fd, 0) < 0 || pwrite(s->pid_fd, text, (size_t)n, 0) != n)
		return err_sys(e, errno, "%s", s->pid_path);
	return ERR_OK;
}

static enum err_kind open_notify(struct supervisor *s, struct err *e)
{
	struct sockaddr_un sa;
	int on = 1, dir_fd, n;
	enum err_kind k;

	/* the path goes into the environment, so it must fit as it is */
	if (strlen(s->notify_path) >= sizeof sa.sun_path)
		return err_set(e, ERR_SYNTAX, 0, "[process] run_dir is too long for a socket's name");
	if ((k = unix_address(s->notify_path, &sa, &dir_fd, e)) != ERR_OK)
		return k;
	unlink(s->notify_path);
	s->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	n = s->notify_fd >= 0 ? bind(s->notify_fd, (struct sockaddr *)&sa, sizeof sa) : -1;
	if (n < 0 || chmod(s->notify_path, 0600) < 0 ||
	    setsockopt(s->notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
		return err_sys(e, errno, "%s", s->notify_path);
	return ERR_OK;
}

/* -- sockets -- */

static enum err_kind open_socket(struct supervisor *s, struct process *p, const struct listen_spec *spec,
    struct err *e)
{
	char what[LISTEN_PATH_OCTETS + LISTEN_NAME_OCTETS];
	enum err_kind k = listen_open(spec, s->run_dir, (int)s->plan->backlog, &p->fd[p->n], e);

	if (k != ERR_OK)
		return k;
	p->spec[p->n++] = *spec;
	listen_describe(spec, what, sizeof what);
	log_event(LOG_LEVEL_DEBUG, "supervisor.listen", KV_Z("service", p->name), KV_Z("on", what));
	return ERR_OK;
}

static void close_socket(struct supervisor *s, struct process *p, unsigned ix)
{
	close(p->fd[ix]);
	listen_remove(&p->spec[ix], s->run_dir);
	p->n--;
	memmove(&p->spec[ix], &p->spec[ix + 1], (p->n - ix) * sizeof p->spec[0]);
	memmove(&p->fd[ix], &p->fd[ix + 1], (p->n - ix) * sizeof p->fd[0]);
}

static bool has_spec(const struct listen_spec *v, unsigned n, const struct listen_spec *spec)
{
	for (unsigned i = 0; i < n; i++)
		if (listen_same(&v[i], spec))
			return true;
	return false;
}

/* Makes the bound sockets those of the plan. True when any changed. */
static bool adjust_sockets(struct supervisor *s, struct process *p, const struct service_plan *sp)
{
	bool changed = false;
	struct err e;

	for (unsigned i = p->n; i-- > 0;)
		if (!sp->wanted || !has_spec(sp->listen, sp->n, &p->spec[i])) {
			close_socket(s, p, i);
			changed = true;
		}
	for (unsigned i = 0; sp->wanted && i < sp->n; i++) {
		if (has_spec(p->spec, p->n, &sp->listen[i]))
			continue;
		changed = true;
		if (open_socket(s, p, &sp->listen[i], &e) != ERR_OK)
			log_event(LOG_LEVEL_ERR, "supervisor.listen.failed", KV_Z("service", p->name),
			    KV_ERR(&e));
	}
	return changed;
}

static enum err_kind open_all(struct supervisor *s, struct err *e)
{
	for (size_t i = 0; i < N_SERVICES; i++) {
		const struct service_plan *sp = &s->plan->service[i];

		for (unsigned j = 0; sp->wanted && j < sp->n; j++) {
			enum err_kind k = open_socket(s, &s->process[i], &sp->listen[j], e);

			if (k != ERR_OK)
				return k;
		}
	}
	return ERR_OK;
}

static void close_all(struct supervisor *s)
{
	for (size_t i = 0; i < N_SERVICES; i++)
		while (s->process[i].n > 0)
			close_socket(s, &s->process[i], s->process[i].n - 1);
}

/* -- services -- */

static bool should_run(const struct supervisor *s, size_t i)
{
	return !s->stopping && s->plan->service[i].wanted && s->process[i].n > 0;
}

static void start_due(struct supervisor *s)
{
	struct launch l = launch_of(s);
	uint64_t now = clock_mono_ms();

	for (size_t i = 0; i < N_SERVICES; i++)
		if (s->process[i].pid == 0 && should_run(s, i) && now >= s->process[i].restart_at)
			process_start(&s->process[i], &l);
}

/* It has told its standard error, which nobody may read; its own check finds the same. */
static void tell_why(const struct supervisor *s, size_t i)
{
	struct launch l = launch_of(s);
	struct err e;

	if (process_check_conf(service_names[i], &l, &e) != ERR_OK)
		log_event(LOG_LEVEL_ERR, "supervisor.service.config", KV_Z("service", service_names[i]),
		    KV_ERR(&e));
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < N_SERVICES; i++)
			if (s->process[i].pid == pid) {
				process_died(&s->process[i], status);
				if (!s->stopping && WIFEXITED(status) && WEXITSTATUS(status) == EX_CONFIG)
					tell_why(s, i);
			}
	for (size_t i = 0; i < N_SERVICES; i++)
		process_prune(&s->process[i]);
}

static void tell_ready(struct supervisor *s)
{
	if (s->ready)
		return;
	for (size_t i = 0; i < N_SERVICES; i++)
		if (should_run(s, i) && !s->process[i].ready)
			return;
	s->ready = true;
	sd_notify("READY=1");
	log_event(LOG_LEVEL_INFO, "supervisor.ready");
	if (s->o->tell_fd >= 0 && write(s->o->tell_fd, "1", 1) == 1)
		close(s->o->tell_fd);
}

/* Only a service's own parent can say that it is ready: the kernel tells who sent the packet. */
static void take_notify(struct supervisor *s)
{
	char text[NOTIFY_OCTETS + 1];
	union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(struct ucred))]; } ctl;
	struct iovec iov = { text, NOTIFY_OCTETS };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl,
		.msg_controllen = sizeof ctl };
	ssize_t n = recvmsg(s->notify_fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	struct ucred who;

	if (h == NULL || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_CREDENTIALS)
		return;
	memcpy(&who, CMSG_DATA(h), sizeof who);
	if (!str_starts(str_n(text, (size_t)n), STR("READY=1")))
		return;
	for (size_t i = 0; i < N_SERVICES; i++)
		if (s->process[i].pid == who.pid)
			s->process[i].ready = true;
	tell_ready(s);
}

/* -- reload -- */

static enum err_kind check_services(const struct supervisor *s, const struct plan *p, struct err *e)
{
	struct launch l = { p->libexec_dir, s->o->conf_path, s->notify_path };

	if (strcmp(p->set.run_dir, s->run_dir) != 0)	/* the sockets that all share lie there */
		return err_set(e, ERR_SYNTAX, 0, "[process] run_dir cannot change without a restart");
	for (size_t i = 0; i < N_SERVICES; i++) {
		enum err_kind k = p->service[i].wanted ? process_check_conf(service_names[i], &l, e) :
		    ERR_OK;

		if (k != ERR_OK)
			return k;
	}
	return ERR_OK;
}

static enum err_kind open_log(const struct plan *p, struct err *e)
{
	return log_open("pennypost", p->set.log_to, (enum log_level)p->set.log_level, e);
}

/* Sockets of a running process cannot be changed from outside, so its parent goes and a new one comes.
 * SIGKILL, as it would pass SIGTERM on to its sessions; they go on, and what is ours reaps them. */
static void apply(struct supervisor *s, size_t i)
{
	struct process *p = &s->process[i];
	bool changed = adjust_sockets(s, p, &s->plan->service[i]);

	if (p->pid == 0)
		return;
	if (!should_run(s, i) || changed) {
		p->stopping = true;
		kill(p->pid, should_run(s, i) ? SIGKILL : SIGTERM);
	} else {
		process_signal(p, SIGHUP, false);
	}
}

static void reload(struct supervisor *s)
{
	struct plan *fresh = NULL;
	char text[64];
	struct err e;

	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
	    (unsigned long long)clock_mono_us());
	sd_notify(text);
	if (plan_load(s->o->conf_path, &fresh, &e) != ERR_OK ||
	    check_services(s, fresh, &e) != ERR_OK || open_log(fresh, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "supervisor.reload.failed", KV_ERR(&e));
		plan_free(&fresh);
	} else {
		plan_free(&s->plan);
		s->plan = fresh;
		for (size_t i = 0; i < N_SERVICES; i++)
			apply(s, i);
		log_event(LOG_LEVEL_INFO, "supervisor.reload.ok");
	}
	sd_notify("READY=1");
}

/* -- the loop -- */

static void begin_stop(struct supervisor *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->kill_at = clock_mono_ms() + s->plan->set.drain_timeout_ms + KILL_EXTRA_MS;
	log_event(LOG_LEVEL_INFO, "supervisor.stopping");
	sd_notify("STOPPING=1");
	close_all(s);
	for (size_t i = 0; i < N_SERVICES; i++) {
		s->process[i].stopping = true;
		process_signal(&s->process[i], SIGTERM, false);
	}
}

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo si;

	while (read(s->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
		if (si.ssi_signo == SIGHUP && !s->stopping)
			reload(s);
		else if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			begin_stop(s);
	}
	reap(s);
}

static bool all_gone(const struct supervisor *s)
{
	for (size_t i = 0; i < N_SERVICES; i++)
		if (!process_is_gone(&s->process[i]))
			return false;
	return true;
}

static int sleep_ms(const struct supervisor *s)
{
	uint64_t now = clock_mono_ms(), until = UINT64_MAX;

	if (s->stopping)
		until = s->kill_at > now ? s->kill_at : now + KILL_ROUND_MS;
	for (size_t i = 0; i < N_SERVICES; i++)
		if (s->process[i].pid == 0 && should_run(s, i) && s->process[i].restart_at < until)
			until = s->process[i].restart_at;
	if (until == UINT64_MAX)
		return -1;
	return until > now ? (int)(until - now) : 0;
}

static void loop(struct supervisor *s)
{
	struct pollfd fds[2] = { { s->signal_fd, POLLIN, 0 }, { s->notify_fd, POLLIN, 0 } };

	while (!s->stopping || !all_gone(s)) {
		start_due(s);
		if (poll(fds, 2, sleep_ms(s)) < 0)
			fds[0].revents = fds[1].revents = 0;
		if (fds[0].revents != 0)
			take_signals(s);
		if (fds[1].revents != 0)
			take_notify(s);
		if (s->stopping && clock_mono_ms() >= s->kill_at)
			for (size_t i = 0; i < N_SERVICES; i++)
				process_signal(&s->process[i], SIGKILL, true);
	}
}

static enum err_kind catch_signals(struct supervisor *s, struct err *e)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return err_sys(e, errno, "signalfd");
	/* sessions whose parent died come to us: we can wait for them and stop them */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return err_sys(e, errno, "subreaper");
	return ERR_OK;
}

static void tell_missing(void)
{
	if (geteuid() != 0)
		log_event(LOG_LEVEL_WARN, "supervisor.unprivileged", KV_Z("why",
		    "not started as root: all services run under this account, the accounts in [store] "
		    "are ignored, and no system accounts can log in"));
}

static enum err_kind start(struct supervisor *s, struct err *e)
{
	enum err_kind k;

	snprintf(s->run_dir, sizeof s->run_dir, "%s", s->plan->set.run_dir);
	snprintf(s->notify_path, sizeof s->notify_path, "%.1000s/notify.sock", s->run_dir);
	if (s->o->pid_path != NULL)
		snprintf(s->pid_path, sizeof s->pid_path, "%s", s->o->pid_path);
	else
		snprintf(s->pid_path, sizeof s->pid_path, "%.1000s/pennypost.pid", s->run_dir);
	for (size_t i = 0; i < N_SERVICES; i++)
		s->process[i].name = service_names[i];
	if ((k = make_dir(s->run_dir, e)) != ERR_OK || (k = take_pid_file(s, e)) != ERR_OK ||
	    (k = make_jails(s, e)) != ERR_OK || (k = open_notify(s, e)) != ERR_OK ||
	    (k = open_log(s->plan, e)) != ERR_OK || (k = check_services(s, s->plan, e)) != ERR_OK)
		return k;
	tell_missing();
	if ((k = open_all(s, e)) != ERR_OK)
		close_all(s);
	return k == ERR_OK ? catch_signals(s, e) : k;
}

int supervise(const struct supervise_options *o, struct plan *plan)
{
	struct supervisor s = { .o = o, .plan = plan, .pid_fd = -1, .signal_fd = -1, .notify_fd = -1 };
	struct err e;
	enum err_kind k = start(&s, &e);

	if (k != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "supervisor.start.failed", KV_ERR(&e));
		if (strcmp(plan->set.log_to, "stderr") != 0)
			fprintf(stderr, "pennypost: %s\n", e.text);
		plan_free(&s.plan);
		return k == ERR_BUSY ? EX_UNAVAILABLE : k == ERR_SYNTAX ? EX_CONFIG : EX_OSERR;
	}
	loop(&s);
	log_event(LOG_LEVEL_INFO, "supervisor.end");
	close_all(&s);
	unlink(s.notify_path);
	unlink(s.pid_path);	/* while the lock is still held */
	plan_free(&s.plan);
	return EX_OK;
}
