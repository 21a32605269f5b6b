/* SPDX-License-Identifier: ISC */
/* Owns the pool. The parent blocks its signals and reads them from a descriptor, so there are no handlers
 * and no races; it reads nothing from the network. Invariants: pids[i] != 0 exactly while the slot is not
 * free; the write end of the present generation's lifeline is open here and nowhere else, so that idle
 * children end when this process does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "prefork.h"

enum {
	SLOTS_EXTRA = 8,		/* children that only tell others that we are full */
	TICK_MS = 1000,
	CERT_LOOK_MS = 60000,
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 2000,
	KILL_AFTER_MS = 2000,		/* from SIGTERM to SIGKILL for a session that made room */
};

struct pool {
	struct pool_plan *plan;
	struct serve_state *st;
	struct scoreboard sb;
	pid_t *pids;
	uint64_t *term_at;		/* by slot: when its session was told to make room; 0: not */
	bool *told;			/* the same as a mask for scoreboard_oldest */
	int signal_fd, wake_fd;
	int lifeline[2];
	int retiring;			/* write end of the generation before, while the new one starts */
	uint32_t generation;
	uint32_t spare_wanted;
	uint64_t next_tick, next_cert_look, busy_last;
	uint64_t backoff_ms, no_fork_until;
	bool ready, draining;
	bool one_more;			/* the next round starts a child whatever the count */
};

/* -- children -- */

static uint32_t free_slot(const struct pool *p)
{
	for (uint32_t i = 0; i < p->sb.n_slots; i++)
		if (p->pids[i] == 0)
			return i;
	return p->sb.n_slots;
}

static void back_off(struct pool *p)
{
	p->backoff_ms = p->backoff_ms == 0 ? BACKOFF_MIN_MS : p->backoff_ms * 2;
	if (p->backoff_ms > BACKOFF_MAX_MS)
		p->backoff_ms = BACKOFF_MAX_MS;
	p->no_fork_until = clock_mono_ms() + p->backoff_ms;
}

static void become_child(struct pool *p, uint32_t ix)
{
	struct child ch = {
		.st = p->st, .listeners = p->plan->listeners, .sb = &p->sb, .ix = ix,
		.lifeline = p->lifeline[0], .wake = p->wake_fd,
	};

	close(p->lifeline[1]);	/* else a dead parent would not be noticed */
	if (p->retiring >= 0)
		close(p->retiring);
	close(p->signal_fd);
	child_run(&ch);
}

static bool spawn(struct pool *p)
{
	uint32_t ix = free_slot(p);
	pid_t pid;

	if (ix == p->sb.n_slots)
		return false;
	p->sb.slots[ix].generation = p->generation;
	slot_set(&p->sb, ix, SLOT_STARTING, 0);
	pid = fork();
	if (pid == 0)
		become_child(p, ix);
	if (pid < 0) {
		log_event(LOG_LEVEL_ERR, "serve.fork.failed", KV_I("errno", errno));
		slot_set(&p->sb, ix, SLOT_FREE, 0);
		back_off(p);
		return false;
	}
	p->pids[ix] = pid;
	p->term_at[ix] = 0;
	p->told[ix] = false;
	return true;
}

/* Keeps `spare_wanted` idle children. Nobody idle means that demand was faster than we: twice as many are
 * then kept, up to spare_max; each quiet second halves it again. */
static void keep_spare(struct pool *p)
{
	struct score n;
	uint32_t have;

	if (p->draining || clock_mono_ms() < p->no_fork_until)
		return;
	scoreboard_count(&p->sb, p->generation, 0, FULL_NOT, &n);
	if (n.idle == 0 && p->ready && p->spare_wanted < p->st->set.spare_max) {
		p->spare_wanted *= 2;
		if (p->spare_wanted > p->st->set.spare_max)
			p->spare_wanted = (uint32_t)p->st->set.spare_max;
		p->next_tick = clock_mono_ms() + TICK_MS;
	}
	*p->sb.spare_wanted = p->ready ? p->spare_wanted : SPARE_TELL_ALWAYS;
	if (p->one_more && spawn(p))
		n.starting++;
	p->one_more = false;
	for (have = n.idle + n.starting; have < p->spare_wanted; have++)
		if (!spawn(p))
			break;
}

static void note_death(struct pool *p, uint32_t ix, pid_t pid, int status)
{
	bool starting = p->sb.slots[ix].state == SLOT_STARTING;

	if (WIFSIGNALED(status) && !(p->draining || p->term_at[ix] != 0))
		log_event(LOG_LEVEL_ERR, "serve.child.killed", KV_I("pid", pid),
		    KV_I("signal", WTERMSIG(status)));
	else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		log_event(LOG_LEVEL_WARN, "serve.child.failed", KV_I("pid", pid),
		    KV_I("status", WEXITSTATUS(status)));
	if (WIFSIGNALED(status))	/* a connection may have woken it, and only it */
		p->one_more = true;
	if (starting && status != 0)	/* it would go wrong a thousand times a second */
		back_off(p);
	p->pids[ix] = 0;
	slot_set(&p->sb, ix, SLOT_FREE, 0);
}

static void reap(struct pool *p)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (uint32_t i = 0; i < p->sb.n_slots; i++)
			if (p->pids[i] == pid) {
				note_death(p, i, pid, status);
				break;
			}
}

static bool has_children(const struct pool *p)
{
	for (uint32_t i = 0; i < p->sb.n_slots; i++)
		if (p->pids[i] != 0)
			return true;
	return false;
}

static void signal_all(struct pool *p, int sig)
{
	for (uint32_t i = 0; i < p->sb.n_slots; i++)
		if (p->pids[i] != 0)
			kill(p->pids[i], sig);
}

/* Sessions whose place a newcomer asked for. */
static void make_room(struct pool *p)
{
	uint64_t now = clock_mono_ms();

	for (uint32_t i = 0; i < p->sb.n_slots; i++) {
		struct slot *s = &p->sb.slots[i];
		uint32_t full = s->full, victim;

		if (p->pids[i] == 0 || full == FULL_NOT)
			continue;
		s->full = FULL_NOT;
		victim = scoreboard_oldest(&p->sb, s->peer, full == FULL_PEER ? FULL_PEER : FULL_SERVICE,
		    p->told);
		if (victim == p->sb.n_slots || p->pids[victim] == 0)
			continue;	/* 0: somebody wrote nonsense into the shared slots */
		p->told[victim] = true;
		p->term_at[victim] = now;
		kill(p->pids[victim], SIGTERM);
		log_event(LOG_LEVEL_INFO, "serve.made_room", KV_I("pid", p->pids[victim]));
	}
}

static void kill_late(struct pool *p)
{
	uint64_t now = clock_mono_ms();

	for (uint32_t i = 0; i < p->sb.n_slots; i++)
		if (p->pids[i] != 0 && p->term_at[i] != 0 && now > p->term_at[i] + KILL_AFTER_MS)
			kill(p->pids[i], SIGKILL);
}

/* -- generations -- */

/* New children get the state now in p->st; idle old ones end as their lifeline closes. */
static enum err_kind new_generation(struct pool *p, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	if (p->lifeline[0] >= 0)
		close(p->lifeline[0]);
	p->retiring = p->lifeline[1];
	p->lifeline[0] = fds[0];
	p->lifeline[1] = fds[1];
	p->generation++;
	keep_spare(p);		/* the new ones first: nobody waits */
	if (p->retiring >= 0)
		close(p->retiring);
	p->retiring = -1;
	return ERR_OK;
}

static void tell_reloading(void)
{
	char text[64];

	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
	    (unsigned long long)clock_mono_us());
	sd_notify(text);
}

static enum err_kind open_log(struct pool *p, const struct serve_state *st, struct err *e)
{
	return log_open(p->plan->svc->name, p->plan->log_to != NULL ? p->plan->log_to : st->set.log_to,
	    (enum log_level)st->set.log_level, e);
}

static void reload(struct pool *p)
{
	struct serve_state *fresh = NULL;
	struct err e;

	tell_reloading();
	if (state_load(p->plan->svc, p->plan->conf_path, &fresh, &e) != ERR_OK ||
	    open_log(p, fresh, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "serve.reload.failed", KV_ERR(&e));
		state_free(&fresh);
	} else {
		/* The number of slots stays that of the start; see SLOTS_EXTRA. */
		if (fresh->set.children_max + SLOTS_EXTRA > p->sb.n_slots)
			log_event(LOG_LEVEL_WARN, "serve.reload.children_max",
			    KV_U("until_restart", p->sb.n_slots - SLOTS_EXTRA));
		state_free(&p->st);
		p->st = fresh;
		p->spare_wanted = (uint32_t)fresh->set.spare_min;
		if (new_generation(p, &e) != ERR_OK)
			log_event(LOG_LEVEL_ERR, "serve.reload.failed", KV_ERR(&e));
		else
			log_event(LOG_LEVEL_INFO, "serve.reload.ok");
	}
	sd_notify("READY=1");
}

static void look_at_certificate(struct pool *p)
{
	bool changed;
	struct err e;

	if (state_refresh_tls(p->st, &changed, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "serve.certificate.kept_old", KV_ERR(&e));
		return;
	}
	if (!changed)
		return;
	if (new_generation(p, &e) != ERR_OK)
		log_event(LOG_LEVEL_ERR, "serve.certificate.failed", KV_ERR(&e));
	else
		log_event(LOG_LEVEL_INFO, "serve.certificate.loaded");
}

/* -- the loop -- */

static void begin_drain(struct pool *p)
{
	if (p->draining)
		return;
	p->draining = true;
	sd_notify("STOPPING=1");
	/* whoever comes after us can have the ports while our last sessions end */
	close_range(SD_FIRST_FD, SD_FIRST_FD + p->plan->listeners->n - 1, 0);
	close(p->lifeline[1]);
	p->lifeline[1] = -1;
	signal_all(p, SIGTERM);
}

static void take_signals(struct pool *p)
{
	struct signalfd_siginfo si;

	while (read(p->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
		if (si.ssi_signo == SIGCHLD)
			reap(p);
		else if (si.ssi_signo == SIGHUP && !p->draining)
			reload(p);
		else if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			begin_drain(p);
	}
}

static void tick(struct pool *p, uint64_t now)
{
	if (now < p->next_tick)
		return;
	p->next_tick = now + TICK_MS;
	p->spare_wanted /= 2;
	if (p->spare_wanted < p->st->set.spare_min)
		p->spare_wanted = (uint32_t)p->st->set.spare_min;
	if (now >= p->no_fork_until)
		p->backoff_ms = 0;
	kill_late(p);
	if (now >= p->next_cert_look) {
		p->next_cert_look = now + CERT_LOOK_MS;
		look_at_certificate(p);
	}
}

/* Nothing to do soon: the process sleeps until something happens. */
static int sleep_ms(const struct pool *p, uint64_t now)
{
	uint64_t until = p->next_cert_look;
	bool hurry = p->spare_wanted > p->st->set.spare_min || p->backoff_ms > 0 ||
	    p->plan->end_when_idle;

	for (uint32_t i = 0; i < p->sb.n_slots && !hurry; i++)
		hurry = p->pids[i] != 0 && p->term_at[i] != 0;
	if (hurry && p->next_tick < until)
		until = p->next_tick;
	if (p->backoff_ms > 0 && p->no_fork_until > now && p->no_fork_until < until)
		until = p->no_fork_until;
	return until > now ? (int)(until - now) : 0;
}

static void tell_ready(struct pool *p)
{
	struct score n;

	if (p->ready)
		return;
	scoreboard_count(&p->sb, 0, 0, FULL_NOT, &n);
	if (n.idle + n.busy == 0)
		return;
	p->ready = true;
	*p->sb.spare_wanted = p->spare_wanted;
	sd_notify("READY=1");
	log_event(LOG_LEVEL_INFO, "serve.ready");
}

/* inetd starts us again for the next connection, even for one that came this very moment: who got it
 * already goes on without us. */
static bool idle_long_enough(struct pool *p, uint64_t now)
{
	struct score n;

	if (!p->plan->end_when_idle)
		return false;
	scoreboard_count(&p->sb, 0, 0, FULL_NOT, &n);
	if (n.busy > 0)
		p->busy_last = now;
	return now >= p->busy_last + POOL_IDLE_END_MS;
}

static void serve_all(struct pool *p)
{
	struct pollfd fds[2] = { { p->signal_fd, POLLIN, 0 }, { p->wake_fd, POLLIN, 0 } };

	while (!p->draining) {
		uint64_t count, now = clock_mono_ms();

		if (poll(fds, 2, sleep_ms(p, now)) < 0)
			fds[0].revents = fds[1].revents = 0;
		if (fds[1].revents != 0)
			(void)!read(p->wake_fd, &count, sizeof count);
		if (fds[0].revents != 0)
			take_signals(p);
		if (p->draining)
			return;
		make_room(p);
		tell_ready(p);
		now = clock_mono_ms();
		tick(p, now);
		keep_spare(p);
		if (idle_long_enough(p, now))
			return;
	}
}

static void drain(struct pool *p)
{
	uint64_t now = clock_mono_ms(), until = now + p->st->set.drain_timeout_ms;
	struct pollfd fd = { p->signal_fd, POLLIN, 0 };

	reap(p);
	while (has_children(p) && (now = clock_mono_ms()) < until) {
		if (poll(&fd, 1, (int)(until - now)) > 0)
			take_signals(p);
		reap(p);
	}
	if (!has_children(p))
		return;
	log_event(LOG_LEVEL_WARN, "serve.drain.timeout");
	signal_all(p, SIGKILL);
	while (has_children(p)) {
		if (poll(&fd, 1, TICK_MS) > 0)
			take_signals(p);
		reap(p);
	}
}

static enum err_kind pool_init(struct pool *p, struct pool_plan *plan, struct err *e)
{
	const struct settings *set = &plan->st->set;
	uint32_t n = (uint32_t)(set->children_max + set->spare_max) + SLOTS_EXTRA;
	enum err_kind k;
	sigset_t mask;

	*p = (struct pool){ .plan = plan, .st = plan->st, .lifeline = { -1, -1 },
		.retiring = -1,
		.spare_wanted = (uint32_t)set->spare_min };
	p->busy_last = clock_mono_ms();
	p->next_tick = p->busy_last + TICK_MS;
	p->next_cert_look = p->busy_last + CERT_LOOK_MS;
	if ((k = scoreboard_new(&p->sb, n, e)) != ERR_OK)
		return k;
	p->pids = calloc(n, sizeof *p->pids);
	p->term_at = calloc(n, sizeof *p->term_at);
	p->told = calloc(n, sizeof *p->told);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);	/* an inherited SIG_IGN would hide deaths */
	p->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->pids == NULL || p->term_at == NULL || p->told == NULL || p->signal_fd < 0 ||
	    p->wake_fd < 0)
		return err_sys(e, errno, "start of the process pool");
	return new_generation(p, e);
}

static void pool_free(struct pool *p)
{
	if (p->lifeline[1] >= 0)
		close(p->lifeline[1]);
	if (p->lifeline[0] >= 0)
		close(p->lifeline[0]);
	close(p->signal_fd);
	close(p->wake_fd);
	scoreboard_free(&p->sb);
	state_free(&p->st);
	free(p->pids);
	free(p->term_at);
	free(p->told);
}

int pool_run(struct pool_plan *plan)
{
	struct pool p;
	struct err e;

	if (pool_init(&p, plan, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "serve.start.failed", KV_ERR(&e));
		return EX_OSERR;
	}
	serve_all(&p);
	if (p.draining)
		drain(&p);
	log_event(LOG_LEVEL_INFO, "serve.end");
	pool_free(&p);
	return EX_OK;
}
