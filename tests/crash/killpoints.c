/* SPDX-License-Identifier: ISC */
/* SIGKILL before and after every system call of one operation, and between two machine instructions of it while a mark says
 * that the store is being changed. The process that recovers is killed in the same way, now and then twice. After each
 * death: a process that has the store open goes on within a second; a new one finds the operation wholly there or wholly
 * not, everything older as it was octet for octet, and nothing to complain of; the operation can be done again.
 *
 * The victim is traced: it stops before and behind each system call, and is killed there. PENNY_KILLPOINTS says how many
 * points of each operation (default: all of most, some of those that take hundreds of calls), or "all"; PENNY_SEED which.
 * An argument chooses operations whose name begins with it. Prints TAP. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <time.h>

#include "../../libbase/clock.h"
#include "ops.h"

#if defined(__SANITIZE_ADDRESS__)	/* everything takes many times longer */
enum { SURVIVOR_MAX_MS = 5000, POINTS_DEFAULT = 4, POINTS_SHORT = 0, INSTRUCTIONS_DEFAULT = 2 };
#else
enum {
	SURVIVOR_MAX_MS = 1000,
	POINTS_DEFAULT = 16,		/* of an operation that takes many calls */
	POINTS_SHORT = 60,		/* an operation with no more than these is killed at all of them */
	INSTRUCTIONS_DEFAULT = 8,	/* deaths between instructions, of each operation */
};
#endif

enum {
	STEPS_LOG2_MAX = 12,
	REKILL_EVERY = 3,
	REKILL_POINTS = 160,		/* of the recovering process: one of the first so many */
	POINTS_MAX = 20000,
	CHILD_MAX_MS = 30000,
	CALL_STOP = SIGTRAP | 0x80,
};

/* What children tell. */
struct told {
	_Atomic int ready, done;
	int result;		/* enum err_kind of the operation */
	bool ok;
	struct seen seen;
	uint64_t n_bad, ms;
};

static struct told *shared;	/* [0] the victim, [1] the survivor, [2] the fresh process */
static struct { uint64_t kills, rekills, inside, acked, there, worst_ms; } sum;

/* -- children -- */

static pid_t child(void (*fn)(const struct dir *, const struct op *, struct told *, int), const struct dir *d,
    const struct op *op, struct told *t, int arg)
{
	pid_t pid;

	memset(t, 0, sizeof *t);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		fn(d, op, t, arg);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

/* Waits for its end; one that hangs is killed. True when it ended by itself with status 0. */
static bool ends(pid_t pid)
{
	uint64_t until = clock_mono_ms() + CHILD_MAX_MS;
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_mono_ms() > until) {
			printf("# a process hangs\n");
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return false;
		}
		usleep(500);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void make_base(const struct dir *d, const struct op *op, struct told *t, int kind)
{
	struct dir made = base_make((enum base)kind);

	(void)op;
	(void)t;
	REQUIRE(rename(made.path, d->path) == 0);
}

/* A store that is made anew has the UIDVALIDITY of the moment. */
static struct seen seen_of(const struct op *op, struct store *s)
{
	struct seen now = see(s);

	if (op->base == BASE_EMPTY)
		now.modseqs = 0;
	return now;
}

/* The store as it is; then with the operation done n times. */
static void observe(const struct dir *d, const struct op *op, struct told *t, int n)
{
	struct session c = session_open(d, op);

	for (int i = 0; i < n; i++) {
		t->result = op->run(&c);
		if (c.s == NULL) {
			session_close(&c);
			c = session_open(d, op);
		}
	}
	if (c.s == NULL)
		c.s = store_at(d);
	t->seen = seen_of(op, c.s);
	session_close(&c);
}

static void victim(const struct dir *d, const struct op *op, struct told *t, int arg)
{
	struct session c = { .d = *d };

	if (arg == 0)
		c = session_open(d, op);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(1);
	raise(SIGSTOP);
	t->result = arg == 0 ? op->run(&c) : op_open(&c);
	t->done = 1;
	raise(SIGSTOP);
	_exit(0);
}

/* Does a view that followed the journal say what a new one says? */
static bool same_view(struct mailbox *mb, struct store *s)
{
	struct mailbox_info i, j;
	struct mailbox *fresh;
	size_t k = 0;
	bool same = true;

	mailbox_expel(mb, NULL, NULL);
	if (mailbox_open(s, STR("INBOX"), false, &fresh, NULL) != ERR_OK || mailbox_load(fresh, NULL) != ERR_OK)
		return false;
	mailbox_counters(mb, &i);
	mailbox_counters(fresh, &j);
	if (i.id == j.id && mailbox_load(mb, NULL) == ERR_OK) {
		same = mailbox_n(mb) == mailbox_n(fresh) && i.uidnext == j.uidnext;
		for (; same && k < mailbox_n(mb); k++) {
			const struct message *a = mailbox_at(mb, k), *b = mailbox_at(fresh, k);

			same = a->uid == b->uid && ((a->flags ^ b->flags) & MSG_STORED_FLAGS) == 0 &&
			    a->keywords == b->keywords && a->modseq == b->modseq;
		}
	}
	if (!same)
		printf("# the open view differs at %zu: %zu/%zu messages\n", k, mailbox_n(mb), mailbox_n(fresh));
	mailbox_close(&fresh);
	return same;
}

static bool works_in(struct mailbox *mine, struct err *e)
{
	struct flag_change ch = { FLAG_ADD, MSG_FLAGGED, NULL, 0, UINT64_MAX };
	struct message_text text;
	const uint32_t uid = 1;
	bool ok;

	if (mailbox_at(mine, 0)->flags & MSG_FLAGGED)
		ch.op = FLAG_REMOVE;
	if (mailbox_store_flags(mine, &uid, 1, &ch, NULL, NULL, e) != ERR_OK ||
	    message_open(mine, mailbox_at(mine, 0), &text, e) != ERR_OK)
		return false;
	ok = str_eq(text.body, STR("S: mine\r\n\r\nmine\r\n"));
	message_close(&text);
	return ok;
}

static bool wait_go(const struct told *t)
{
	uint64_t until = clock_mono_ms() + CHILD_MAX_MS;

	while (t->ready != 2 && clock_mono_ms() < until)
		usleep(200);
	return t->ready == 2;
}

/* Has mailboxes open while another process dies. loaded: it has the index open, too. */
static void survive(const struct dir *d, const struct op *op, struct told *t, int loaded)
{
	struct mailbox *mb, *mine;
	struct store *s;
	struct err e = { .text = "" };
	uint64_t begin;

	store_dir_segment = op->base == BASE_OLD ? OPS_OLD_SEGMENT : 0;
	store_dir_replay_max = loaded ? 0 : UINT32_MAX;
	s = store_at(d);
	mine = mailbox_at_name(s, OPS_MINE);
	REQUIRE(mailbox_open(s, STR("INBOX"), false, &mb, NULL) == ERR_OK);
	if (loaded)
		REQUIRE(mailbox_load(mb, NULL) == ERR_OK);
	t->ready = 1;
	REQUIRE(wait_go(t));
	begin = clock_mono_ms();
	t->ok = mailbox_refresh(mb, NULL, &e) == ERR_OK && works_in(mine, &e);
	t->ms = clock_mono_ms() - begin;
	/* whoever worked first has recovered: now the outcome can be seen */
	t->ok = t->ok && mailbox_refresh(mb, NULL, &e) == ERR_OK && same_view(mb, s);
	if (!t->ok)
		printf("# survivor: %s\n", e.text);
	t->seen = see(s);
	mailbox_close(&mb);
	mailbox_close(&mine);
	store_close(&s);
	t->done = 1;
}

static void say_finding(void *ctx, const char *finding)
{
	(void)ctx;
	if (!str_starts(str_of(finding), STR("leftover")))	/* of the dead: costs space, not mail */
		printf("# check: %s\n", finding);
}

/* A new process: what it finds, whether the operation can be done again, and whether all is sound. */
static void fresh(const struct dir *d, const struct op *op, struct told *t, int arg)
{
	struct session c = session_open(d, op);
	struct err e = { .text = "" };

	(void)arg;
	if (c.s == NULL)
		c.s = store_at(d);
	t[0].seen = seen_of(op, c.s);
	t[0].result = op->run(&c);
	if (c.s == NULL)
		c.s = store_at(d);
	t[1].seen = seen_of(op, c.s);
	t[0].n_bad = 1;
	t[0].ok = store_check(c.s, say_finding, NULL, &t[0].n_bad, &e) == ERR_OK;
	if (!t[0].ok)
		printf("# check: %s\n", e.text);
	session_close(&c);
	t[0].done = 1;
}

/* -- killing -- */

/* Lets the victim run to its stop number `point` (1 is before its first system call, 2 behind it, …), then `steps`
 * instructions further. Returns how many stops there were; *ended when the operation was over before. */
static int run_to(pid_t pid, const struct told *t, int point, int steps, bool *ended, struct ctl_head *ctl, bool *marked)
{
	int status, n = 0, sig = 0;

	*ended = true;
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		return -1;
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0)
		return -1;
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, sig) < 0 || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status))
			return -1;
		sig = WSTOPSIG(status) == CALL_STOP ? 0 : WSTOPSIG(status);
		if (t->done)
			return n;
		if (sig != 0)
			continue;
		if (marked != NULL && n < POINTS_MAX)
			marked[n] = mark_set(ctl);
		if (++n == point)
			break;
	}
	for (int i = 0; i < steps && !t->done; i++) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status))
			return -1;
	}
	*ended = t->done;
	return n;
}

static void kill_it(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* The one who recovers dies, too. */
static void kill_recoverer(const struct dir *d, const struct op *op)
{
	struct told *t = &shared[0];
	pid_t pid = child(victim, d, op, t, 1);
	bool ended;

	(void)run_to(pid, t, 1 + rand() % REKILL_POINTS, rand() % 2 ? rand() % 500 : 0, &ended, NULL, NULL);
	kill_it(pid);
	sum.rekills++;
}

struct wanted {
	struct seen before, after, twice;
	int again;		/* what doing it a second time answers */
	int n_points;
	bool *marked;		/* by point: a mark is set */
};

static bool same(struct seen a, struct seen b)
{
	return a.all == b.all && a.records == b.records && a.modseqs == b.modseqs;
}

static bool judge_survivor(const struct wanted *w)
{
	const struct told *t = &shared[1];

	sum.worst_ms = t->ms > sum.worst_ms ? t->ms : sum.worst_ms;
	if (!t->ok || t->ms > SURVIVOR_MAX_MS || (!same(t->seen, w->before) && !same(t->seen, w->after))) {
		printf("# survivor: %s, %llu ms, sees %s\n", t->ok ? "well" : "not well",
		    (unsigned long long)t->ms, same(t->seen, w->before) ? "before" : same(t->seen, w->after) ?
		    "after" : "neither");
		return false;
	}
	return true;
}

static bool judge_fresh(const struct wanted *w, bool acked)
{
	const struct told *t = &shared[2];
	bool there = same(t[0].seen, w->after), not_there = same(t[0].seen, w->before);
	uint64_t then = there && !same(w->before, w->after) ? w->twice.all : w->after.all;
	int again = there && !same(w->before, w->after) ? w->again : ERR_OK;
	bool ok = t[0].done && t[0].ok && t[0].n_bad == 0 && (acked ? there : there || not_there) &&
	    t[0].result == again && t[1].seen.all == then;

	sum.there += there;
	if (!ok)
		printf("# found %s (%s), again says %d (%d), then %s; check %s, %llu findings\n",
		    there ? "there" : not_there ? "not there" : "neither", acked ? "acknowledged" : "not acknowledged",
		    t[0].result, again, t[1].seen.all == then ? "right" : "wrong", t[0].ok ? "ran" : "failed",
		    (unsigned long long)t[0].n_bad);
	return ok;
}

/* One death. with: 0 no survivor, 1 one without the index, 2 one that has it open. */
static bool one_death(const struct dir *base, const struct op *op, const struct wanted *w, int point, int steps,
    int with, bool rekill)
{
	struct dir d;
	struct ctl_head *ctl;
	pid_t survivor = 0, pid;
	bool ended, acked, ok = true;

	tap_quiet(true);
	d = base_copy(base);
	if (with > 0) {
		survivor = child(survive, &d, op, &shared[1], with == 2);
		for (int i = 0; i < CHILD_MAX_MS && !shared[1].ready; i++)
			usleep(1000);
	}
	if (op->leave != NULL)
		op->leave(&d);
	pid = child(victim, &d, op, &shared[0], 0);
	ok = run_to(pid, &shared[0], point, steps, &ended, NULL, NULL) >= 0;
	acked = shared[0].done && shared[0].result == ERR_OK;
	ctl = map_ctl(&d);
	sum.inside += mark_set(ctl);
	unmap_ctl(ctl);
	kill_it(pid);
	sum.kills++;
	sum.acked += acked;
	if (rekill) {
		kill_recoverer(&d, op);
		if (rand() % 4 == 0)
			kill_recoverer(&d, op);
	}
	if (with > 0) {
		shared[1].ready = 2;
		ok = ends(survivor) && shared[1].done && judge_survivor(w) && ok;
	}
	ok = ends(child(fresh, &d, op, &shared[2], 0)) && judge_fresh(w, acked) && ok;
	dir_remove(&d);
	tap_quiet(false);
	if (!ok)
		printf("# %s: killed at point %d of %d, %d instructions on, survivor %d, recoverer %s\n", op->name, point,
		    w->n_points, steps, with, rekill ? "killed" : "spared");
	return ok;
}

/* -- all points of one operation -- */

static struct seen observed(const struct dir *base, const struct op *op, int n, int *out_result)
{
	struct dir d;

	tap_quiet(true);
	d = base_copy(base);
	if (op->leave != NULL)
		op->leave(&d);
	if (!ends(child(observe, &d, op, &shared[0], n)))
		printf("# %s: %d times, undisturbed: fails\n", op->name, n);
	dir_remove(&d);
	tap_quiet(false);
	*out_result = shared[0].result;
	return shared[0].seen;
}

static int count_points(const struct dir *base, const struct op *op, bool *marked)
{
	struct ctl_head *ctl;
	struct dir d;
	bool ended;
	pid_t pid;
	int n;

	tap_quiet(true);
	d = base_copy(base);
	if (op->leave != NULL)
		op->leave(&d);
	ctl = map_ctl(&d);
	pid = child(victim, &d, op, &shared[0], 0);
	n = run_to(pid, &shared[0], INT_MAX, 0, &ended, ctl, marked);
	kill_it(pid);
	unmap_ctl(ctl);
	dir_remove(&d);
	tap_quiet(false);
	return n;
}

/* One where a mark is set, if there is one. */
static int marked_point(const struct wanted *w)
{
	for (int i = 0; i < 50; i++) {
		int p = rand() % w->n_points;

		if (w->marked[p])
			return p + 1;
	}
	return 1 + rand() % w->n_points;
}

/* A survivor with the index open would bring a stale index forward itself. */
static int survivor_of(const struct op *op, int n)
{
	static const int kinds[BASES] = { [BASE_EMPTY] = 1, [BASE_PLAIN] = 3, [BASE_NO_INDEX] = 2, [BASE_STALE] = 2,
		[BASE_BIG] = 2, [BASE_OLD] = 3 };

	return n % kinds[op->base];
}

static void kill_everywhere(const struct dir *base, const struct op *op, const char *wish)
{
	struct wanted w = { .marked = calloc(POINTS_MAX, sizeof(bool)) };
	int first, n, k, n_points;
	uint64_t begin = clock_mono_ms();

	REQUIRE(w.marked != NULL);
	w.before = observed(base, op, 0, &k);
	w.after = observed(base, op, 1, &first);
	w.twice = observed(base, op, 2, &w.again);
	w.n_points = count_points(base, op, w.marked);
	if (w.n_points < 0) {
		CHECK(w.n_points > 0);
		free(w.marked);
		return;
	}
	CHECK(first == ERR_OK && w.n_points > 0 && w.before.all != 0);
	n = wish != NULL ? atoi(wish) : POINTS_DEFAULT;
	if ((wish != NULL && strcmp(wish, "all") == 0) || (wish == NULL && w.n_points <= POINTS_SHORT))
		n = w.n_points + 1;
	n_points = n;
	for (int i = 1; i <= n; i++) {
		int point = n > w.n_points ? i : 1 + rand() % (w.n_points + 1);

		CHECK_AT(one_death(base, op, &w, point, 0, survivor_of(op, rand()), i % REKILL_EVERY == 0), point);
	}
	n = wish == NULL ? INSTRUCTIONS_DEFAULT : n;
	for (int i = 1; i <= n; i++) {
		int point = marked_point(&w);

		CHECK_AT(one_death(base, op, &w, point, rand() % (1 << rand() % (STEPS_LOG2_MAX + 1)) + 1,
		    survivor_of(op, rand()), i % REKILL_EVERY == 0), point);
	}
	printf("# %s: %d system calls, killed at %d points and at %d instructions, %llu ms\n", op->name, w.n_points / 2,
	    n_points, n, (unsigned long long)(clock_mono_ms() - begin));
	free(w.marked);
}

static bool may_trace(void)
{
	struct dir none = { .path = "", .fd = -1 };
	static const struct op nothing = { .opens = true };
	int status = 0;
	pid_t pid = child(victim, &none, &nothing, &shared[0], 1);

	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status))
		return false;
	kill_it(pid);
	return true;
}

int main(int argc, char **argv)
{
	const char *seed_wish = getenv("PENNY_SEED");
	unsigned seed = seed_wish != NULL ? (unsigned)strtoul(seed_wish, NULL, 10) : (unsigned)time(NULL);

	shared = mmap(NULL, 8 * sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(shared != MAP_FAILED);
	if (!may_trace()) {
		printf("ok 2 # SKIP processes can't be traced here\n1..2\n");
		return 0;
	}
	work_in_memory();
	printf("# seed %u\n", seed);
	srand(seed);
	for (int kind = 0; kind < BASES; kind++) {
		struct dir base = dir_make();
		bool made = false;

		for (size_t i = 0; i < COUNTOF(ops); i++) {
			if (ops[i].base != (enum base)kind || (argc > 1 && !str_starts(str_of(ops[i].name), str_of(argv[1]))))
				continue;
			if (!made) {
				REQUIRE(ends(child(make_base, &base, NULL, &shared[0], kind)));
				close(base.fd);
				base.fd = open(base.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
				REQUIRE(base.fd >= 0);
				made = true;
			}
			kill_everywhere(&base, &ops[i], getenv("PENNY_KILLPOINTS"));
		}
		dir_remove(&base);
	}
	printf("# %llu kills, %llu of them with a mark set, %llu acknowledged, %llu found done; %llu recovering processes "
	    "killed; a survivor took %llu ms at most\n", (unsigned long long)sum.kills, (unsigned long long)sum.inside,
	    (unsigned long long)sum.acked, (unsigned long long)sum.there, (unsigned long long)sum.rekills,
	    (unsigned long long)sum.worst_ms);
	return tap_done();
}
