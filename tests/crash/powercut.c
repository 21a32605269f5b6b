/* SPDX-License-Identifier: ISC */
/* Power cuts (fault W-F3). Workloads drive a store through libstore while fslog.c records what a disk is told, and a model
 * of what a user must see is kept after each step. Then, for every prefix of the record, directories are made as a power
 * cut could have left them (fscrash.h says how harsh that is), and each is opened as after a reboot: recovery must
 * succeed; what is seen must be the model after one of the steps from the last acknowledged to the last begun, octet for
 * octet, UIDs, UIDVALIDITY, MODSEQ and all; store_check must find nothing; one more message must get the next UID. With the index
 * as it was left, lost, stale, of a later time, or torn. Of some states the recovery itself is recorded and cut again:
 * what it has shown must stay.
 *
 * PENNY_POWER_STATES: how many states; PENNY_SEED: of the draws; PENNY_POWER_JOBS: processes;
 * PENNY_POWER_ONLY=workload does one workload; =workload:state one state, telling all and keeping its directory. */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "../../libmail/charset.h"
#include "../../libserve/office.h"
#include "../../libstore/copy.h"
#include "../../libstore/store_int.h"
#include "../unit/store_dir.h"
#include "fscrash.h"
#include "powermodel.h"
#include "powerwork.h"

enum {
	STATES_DEFAULT = 1600,
	CHUNK_STATES = 200,		/* of one process */
	STATE_MAX_S = 60,		/* a recovery that takes longer hangs */
	NESTED_ONE_IN = 40, NESTED_STATES = 8,
	AGAIN_ONE_IN = 6,
	REPORTS_MAX = 12,
	JOBS_MAX = 8,
	MARK_SHOWN = MARK_ACK + 1,	/* of a recovery: this store */
};

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

static char base[200];		/* scratch */

static void PRINTF_LIKE(2, 3) path_of(char out[PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, PATH_MAX, fmt, ap);
	va_end(ap);
	REQUIRE(n > 0 && n < PATH_MAX);
}

/* -- a state after a cut -- */

enum index_kind { INDEX_AS_LEFT, INDEX_LOST, INDEX_STALE, INDEX_AHEAD, INDEX_TORN, INDEX_KINDS };
static const char *const index_names[] = { "as left", "lost", "stale", "ahead", "torn" };
static const char *const crash_names[] = { "all", "none", "half", "most", "few", "all but one", "only one", "torn" };

struct state {
	const struct workload *w;
	size_t number, at;		/* of the workload's states; events of the record that happened */
	size_t floor, issued;		/* steps: the last acknowledged, the last begun */
	struct crash crash;
	enum index_kind index;
	bool by_replay;			/* small stores do without the index, as usual */
	bool nested, again;
	const char *boot_id;		/* of the boot after the cut */
	uint64_t random;
};

static uint64_t next_random(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static void report_finding(void *ctx, const char *line)
{
	(void)ctx;
	if (strncmp(line, "leftover", 8) != 0)	/* of deliveries that were cut: they count for nothing */
		printf("# check: %s\n", line);
}

static struct script *script;

static bool read_model(const struct state *st, struct store *s, struct model *m)
{
	return model_read(s, !st->w->forgets, st->w->searches, m);
}

static void remove_tree(const char *path)
{
	nftw(path, dir_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct store *open_after(const struct state *st, const char *path, const char *boot_id, bool by_replay)
{
	struct dir d = { .fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	struct store_env env, usual;
	struct err e = { .text = "" };
	struct store *s = NULL;

	work_env(st->w, boot_id, &env);
	store_env_init(&usual);
	if (by_replay)
		env.replay_max_octets = usual.replay_max_octets;
	if (store_open(d.fd, &env, &s, &e) != ERR_OK)
		printf("# open: %s\n", e.text);
	close(d.fd);
	return s;
}

/* Which step's model it is; 0 when it is none of those that may be. */
static size_t step_of(const struct model *got, int k, size_t floor, size_t issued)
{
	bool new_store = script->after[floor][k].n == 0;

	for (size_t j = issued + 1; j-- > floor;) {
		const struct model *m = &script->after[j][k];

		if (model_same(got, m, new_store && j > 0 && script->after[j - 1][k].n == 0))
			return j;
	}
	if (new_store) {	/* never opened, or all of it lost: opening has made a new one */
		for (size_t j = floor; j <= script->n_steps; j++) {
			if (script->after[j][k].n != 0)
				return model_same(got, &script->after[j][k], true) ? j : 0;
		}
	}
	return 0;
}

static bool sound(struct store *s)
{
	struct err e = { .text = "" };
	uint64_t n_bad = 0;
	enum err_kind k = store_check(s, report_finding, NULL, &n_bad, &e);

	if (k != ERR_OK)
		printf("# check: %s\n", e.text);
	return k == ERR_OK && n_bad == 0;
}

/* One more message: the UID after all that were ever shown, and nothing else changes. */
static bool takes_mail(struct store *s, struct model *m)
{
	struct box *in = model_box_named(m, "INBOX");
	uint32_t uid;
	struct msg *new;

	if (in == NULL)
		return false;
	uid = put_message(s, MAILBOX_INBOX, model_text(LAST_TEXT, 400), 0, MODEL_PREFIX);
	if (uid != in->uidnext)
		printf("# appended as %u, not %u\n", uid, in->uidnext);
	if (uid != in->uidnext || in->n == MSGS_MAX)
		return false;
	new = box_add(in, uid);
	new->text = LAST_TEXT;
	new->modseq = s->ctl->appended_seq;
	return model_list(s, m);
}

static bool still_so(const struct state *st, const char *path, const struct model *wanted)
{
	static struct model got;
	char index[PATH_MAX];
	struct store *s;
	bool ok;

	path_of(index, "%s/index", path);
	if (st->random & 64)
		remove_tree(index);
	s = open_after(st, path, "and another", false);
	if (s == NULL)
		return false;
	ok = read_model(st, s, &got) && model_same(&got, wanted, false);
	if (!ok) {
		model_tell("again", &got);
		model_tell("wanted", wanted);
	}
	ok = ok && sound(s);
	store_close(&s);
	return ok;
}

static bool may_be(const struct state *st, int k, const struct model *got)
{
	if (step_of(got, k, st->floor, st->issued) != 0)
		return true;
	model_tell("got", got);
	model_tell("acknowledged", &script->after[st->floor][k]);
	if (st->issued > st->floor)
		model_tell("begun", &script->after[st->issued][k]);
	return false;
}

/* Who has read the journal in place of the index reads the index, too: it says the same, and is mended if it must be. */
static bool index_agrees(const struct state *st, const char *path, const struct model *got, struct store **s)
{
	static struct model again;

	store_close(s);
	*s = open_after(st, path, st->boot_id, false);
	return *s != NULL && read_model(st, *s, &again) && model_same(&again, got, false);
}

/* shown: what an earlier recovery has shown already, or NULL. */
static bool store_survives(const struct state *st, int k, const char *path, const struct model *shown)
{
	static struct model got_model;
	struct model *got = &got_model;
	struct store *s = open_after(st, path, st->boot_id, st->by_replay);
	bool ok;

	if (s == NULL)
		return false;
	ok = read_model(st, s, got) && (shown != NULL ? model_same(got, shown, false) : may_be(st, k, got));
	if (!ok && shown != NULL) {
		model_tell("got", got);
		model_tell("shown", shown);
	}
	if (ok && st->by_replay)
		ok = index_agrees(st, path, got, &s);
	ok = ok && sound(s) && takes_mail(s, got);
	store_close(&s);
	return ok && (!st->again || still_so(st, path, got));
}

/* A store that is being restored from a copy is none before it is whole: nobody has its directory. */
static bool store_is_used(const struct state *st, int k)
{
	return script->after[st->w->copies ? st->floor : script->n_steps][k].n > 0 || k == 0;
}

/* The copy has all that the last acknowledged backup was to put there, and nothing that never was. */
static bool copy_survives(const struct state *st, const char *root)
{
	static struct model got;
	size_t floor = script->copied[st->floor];
	char path[PATH_MAX], to[PATH_MAX];
	struct err e = { .text = "" };
	struct copy_state cs;
	struct store *s = NULL;
	int from_fd, to_fd;
	enum err_kind k;
	bool ok;

	path_of(path, "%s/c", root);
	path_of(to, "%s/d", root);
	REQUIRE(mkdir(to, 0700) == 0);
	from_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	k = copy_lay_out(from_fd, COPY_AT_END, to_fd, false, report_finding, NULL, &cs, &e);
	close(from_fd);
	close(to_fd);
	if (k == ERR_NOENT && floor == 0)
		return true;
	if (k != ERR_OK)
		printf("# copy: %s\n", e.text);
	if (k == ERR_OK)
		s = open_after(st, to, st->boot_id, false);
	ok = s != NULL && read_model(st, s, &got) && step_of(&got, 0, floor > 0 ? floor : 1, st->issued) != 0;
	if (s != NULL && !ok) {
		model_tell("copied", &got);
		model_tell("to be copied", &script->after[floor][0]);
	}
	store_close(&s);
	return ok;
}

static bool survives(const struct state *st, const char *root)
{
	char path[PATH_MAX];
	bool ok = true;

	for (int k = 0; ok && k < STORES; k++) {
		path_of(path, "%s/%c", root, 'a' + k);
		ok = !store_is_used(st, k) || store_survives(st, k, path, NULL);
	}
	return ok && (!st->w->copies || copy_survives(st, root));
}

/* -- making the state -- */

static void copy_file(const char *from, const char *to)
{
	char octets[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	REQUIRE(in >= 0 && out >= 0);
	while ((n = read(in, octets, sizeof octets)) > 0)
		REQUIRE(write(out, octets, (size_t)n) == n);
	close(in);
	close(out);
}

static void for_files(const char *dir, void (*each)(const char *path, const char *name, void *ctx), void *ctx)
{
	DIR *d = opendir(dir);
	const struct dirent *de;
	char path[PATH_MAX];

	while (d != NULL && (de = readdir(d)) != NULL) {
		path_of(path, "%s/%s", dir, de->d_name);
		if (de->d_name[0] != '.')
			each(path, de->d_name, ctx);
	}
	if (d != NULL)
		closedir(d);
}

static void copy_into(const char *path, const char *name, void *ctx)
{
	char to[PATH_MAX];

	path_of(to, "%s/%s", (const char *)ctx, name);
	copy_file(path, to);
}

/* Junk in the place of a sector. Not in the index's log: rot there in the very moment when the pages have just been made to
 * need no log is two faults, and Berkeley DB does not notice. */
static void tear_one(const char *path, const char *name, void *ctx)
{
	uint64_t *r = ctx;
	char junk[512];
	struct stat st;
	int fd;

	if (strncmp(name, "log.", 4) == 0)
		return;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = (char)next_random(r);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= 512)
		REQUIRE(pwrite(fd, junk, sizeof junk, (off_t)(next_random(r) % (uint64_t)(st.st_size / 512) * 512)) ==
		    sizeof junk);
	close(fd);
}

static void spoil_index(const struct state *st, const char *root)
{
	char index[PATH_MAX], from[PATH_MAX];
	uint64_t r = st->random | 1;

	path_of(index, "%s/a/index", root);
	path_of(from, "%s/%s/a/index", base, st->index == INDEX_STALE ? "stale" : "live");
	if (st->index == INDEX_TORN)
		for_files(index, tear_one, &r);
	if (st->index == INDEX_LOST || st->index == INDEX_STALE || st->index == INDEX_AHEAD)
		remove_tree(index);
	if (st->index == INDEX_STALE || st->index == INDEX_AHEAD) {
		(void)!mkdir(index, 0700);
		for_files(from, copy_into, index);
	}
}

/* -- a cut during recovery -- */

static struct fslog *recovery_log;	/* of this process */

static bool recover_and_show(const struct state *st, const char *root, struct model shown[STORES])
{
	char path[PATH_MAX];
	struct store *s;
	bool ok = true;

	for (int k = 0; ok && k < STORES; k++) {
		if (!store_is_used(st, k))
			continue;
		path_of(path, "%s/%c", root, 'a' + k);
		s = open_after(st, path, st->boot_id, st->by_replay);
		ok = s != NULL && read_model(st, s, &shown[k]) && may_be(st, k, &shown[k]);
		fslog_mark(MARK_SHOWN, (uint64_t)k);
		store_close(&s);
	}
	return ok;
}

static bool was_shown(int k, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		const struct fs_event *ev = &recovery_log->event[i];

		if (ev->op == FS_MARK && ev->len == (uint64_t)k)
			return true;
	}
	return false;
}

static bool second_cut_survives(const struct state *st, struct world *w, size_t at, uint64_t random,
    const struct model shown[STORES])
{
	struct state second = *st;
	char cut[PATH_MAX], path[PATH_MAX];
	bool ok = true;

	second.crash.kind = (enum crash_kind)(random % CRASH_KINDS);
	second.crash.random = random;
	second.boot_id = "after another power cut";
	second.again = false;
	path_of(cut, "%s/again-%d", base, (int)getpid());
	world_advance(w, at);
	REQUIRE(world_crash(w, &second.crash, cut));
	for (int k = 0; ok && k < STORES; k++) {
		path_of(path, "%s/%c", cut, 'a' + k);
		ok = !store_is_used(st, k) ||
		    store_survives(&second, k, path, was_shown(k, at) ? &shown[k] : NULL);
	}
	if (!ok)
		printf("# recovery cut after %zu of %zu events; of what was not synced: %s\n", at,
		    recovery_log->n, crash_names[second.crash.kind]);
	remove_tree(cut);
	return ok;
}

/* Recovery itself is cut: what it has shown must stay; before that all is as if it had never begun. */
static bool survives_twice(const struct state *st, const char *root)
{
	static struct model shown[STORES];
	uint64_t r = st->random | 1;
	struct world *w;
	bool ok;

	recovery_log->n = 0;
	w = world_new(root, recovery_log);
	ok = fslog_start(recovery_log, root) && recover_and_show(st, root, shown);
	fslog_stop();
	for (size_t i = 1; ok && i <= NESTED_STATES; i++)
		ok = second_cut_survives(st, w, recovery_log->n * i / NESTED_STATES, next_random(&r), shown);
	world_free(&w);
	return ok;
}

/* -- all states of a workload -- */

static struct fslog *the_log;

struct tally {			/* in shared memory */
	_Atomic size_t n_states, n_cuts_of_recovery, n_failed, n_reported;
	_Atomic size_t at[JOBS_MAX];	/* the state that each process is at */
};

static struct tally *tally;
static uint64_t seed;
static struct { size_t at, floor, issued; } *prefix;	/* the record's prefixes that differ */
static size_t n_prefixes;

static void find_prefixes(void)
{
	size_t floor = 0, issued = 0;

	free(prefix);
	prefix = calloc(the_log->n + 1, sizeof *prefix);
	n_prefixes = 0;
	for (size_t i = 0; i < the_log->n; i++) {
		const struct fs_event *ev = &the_log->event[i];

		if (ev->op == FS_MARK && ev->off == MARK_BEGIN)
			issued = ev->len;
		if (ev->op == FS_MARK && ev->off == MARK_ACK)
			floor = ev->len;
		if (ev->op == FS_MAPPED)
			continue;
		prefix[n_prefixes].at = i + 1;
		prefix[n_prefixes].floor = floor;
		prefix[n_prefixes++].issued = issued;
	}
}

/* States go through the prefixes in order: each several times when there are more states, else some by chance. */
static void draw_state(const struct workload *w, size_t number, size_t n_states, struct state *st)
{
	uint64_t r = seed + (uint64_t)(w - workloads) * 1000003u + number * 0x9e3779b97f4a7c15u;
	size_t from = number * n_prefixes / n_states, to = (number + 1) * n_prefixes / n_states;

	for (int i = 0; i < 4; i++)
		r = (r ^ r >> 29) * 0xbf58476d1ce4e5b9u | 1;
	from += to > from ? next_random(&r) % (to - from) : 0;
	*st = (struct state){ .w = w, .number = number, .at = prefix[from].at, .floor = prefix[from].floor,
		.issued = prefix[from].issued, .boot_id = "after the power cut" };
	st->crash = (struct crash){ .kind = (enum crash_kind)(next_random(&r) % CRASH_KINDS),
		.logged = next_random(&r) % 2, .garbage = next_random(&r) % 4 == 0 };
	st->crash.random = next_random(&r);
	st->index = next_random(&r) % 2 ? INDEX_AS_LEFT : (enum index_kind)(next_random(&r) % INDEX_KINDS);
	if (st->floor == 0 && st->index > INDEX_LOST)
		st->index = INDEX_AS_LEFT;	/* there is no other yet */
	if (w->purges && st->index == INDEX_AHEAD)
		st->index = INDEX_AS_LEFT;
	st->by_replay = st->index <= INDEX_LOST && next_random(&r) % 4 == 0;
	st->nested = next_random(&r) % NESTED_ONE_IN == 0;
	st->again = next_random(&r) % AGAIN_ONE_IN == 0;
	st->random = next_random(&r);
}

/* The part of PENNY_POWER_ONLY behind the colon; NULL: there is none. */
static const char *only_state(void)
{
	const char *only = getenv("PENNY_POWER_ONLY");
	const char *colon = only != NULL ? strchr(only, ':') : NULL;

	return colon != NULL ? colon + 1 : NULL;
}

static bool is_wanted(const struct workload *w)
{
	const char *only = getenv("PENNY_POWER_ONLY");
	size_t n = strlen(w->name);

	return only == NULL || (strncmp(only, w->name, n) == 0 && (only[n] == '\0' || only[n] == ':'));
}

static void tell_state(const struct state *st, const char *what)
{
	char last[FS_NAME_MAX * 2] = "";
	const struct fs_event *ev = &the_log->event[st->at - 1];

	snprintf(last, sizeof last, "%s %s", fs_op_name(ev->op), ev->name);
	printf("# %s: %s:%zu with seed %llu: cut after event %zu of %zu (%s), in step %zu, of what was not synced: %s%s%s; "
	    "index %s%s%s\n", what, st->w->name, st->number, (unsigned long long)seed, st->at, the_log->n, last,
	    st->issued, crash_names[st->crash.kind], st->crash.logged ? ", logged" : "",
	    st->crash.garbage ? ", garbage" : "", index_names[st->index], st->by_replay ? ", replayed" : "",
	    st->nested ? ", recovery cut" : "");
	fflush(stdout);
}

static void do_state(struct world *w, const struct state *st, const char *root)
{
	bool ok;

	REQUIRE(world_crash(w, &st->crash, root));
	fflush(stdout);
	spoil_index(st, root);
	alarm(STATE_MAX_S);
	ok = st->nested ? survives_twice(st, root) : survives(st, root);
	alarm(0);
	tally->n_states++;
	tally->n_cuts_of_recovery += st->nested ? NESTED_STATES : 0;
	if (!ok) {
		tally->n_failed++;
		if (tally->n_reported++ < REPORTS_MAX)
			tell_state(st, "FAILED");
	}
}

/* One process does states [from, to), so that what a recovery may break is its own. */
static void do_states(const struct workload *w, struct world *world, size_t n_states, size_t from, size_t to, int job)
{
	char root[PATH_MAX];

	path_of(root, "%s/state-%d", base, job);
	recovery_log = fslog_new();
	REQUIRE(recovery_log != NULL);
	for (size_t i = from; i < to; i++) {
		struct state st;

		draw_state(w, i, n_states, &st);
		st.crash.tell = only_state() != NULL;
		tally->at[job] = i;
		world_advance(world, st.at);
		do_state(world, &st, root);
		if (only_state() == NULL)
			remove_tree(root);
	}
}

static pid_t start_process(const struct workload *w, struct world *start, size_t n_states, size_t from, size_t to,
    int job)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		do_states(w, start, n_states, from, to, job);
		fflush(stdout);
		_exit(0);
	}
	REQUIRE(pid > 0);
	return pid;
}

/* A process that did not come to its end died in the state that it was at. */
static void process_ended(const struct workload *w, size_t n_states, int status, int job)
{
	struct state st;
	char root[PATH_MAX];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	draw_state(w, tally->at[job], n_states, &st);
	tally->n_failed++;
	printf("# process ended with status %x\n", (unsigned)status);
	tell_state(&st, "DIED");
	path_of(root, "%s/state-%d", base, job);
	remove_tree(root);
}

static void do_workload(const struct workload *w, struct world *start, size_t n_states, int jobs)
{
	struct { pid_t pid; size_t to; } job[JOBS_MAX] = { { 0, 0 } };
	size_t next = 0;
	int running = 0;

	while (next < n_states || running > 0) {
		int status;
		pid_t pid;

		for (int i = 0; i < jobs && next < n_states; i++) {
			if (job[i].pid != 0)
				continue;
			job[i].to = next + CHUNK_STATES < n_states ? next + CHUNK_STATES : n_states;
			job[i].pid = start_process(w, start, n_states, next, job[i].to, i);
			next = job[i].to;
			running++;
		}
		pid = wait(&status);
		for (int i = 0; i < jobs; i++) {
			size_t died_at = tally->at[i] + 1;

			if (job[i].pid != pid)
				continue;
			process_ended(w, n_states, status, i);
			job[i].pid = 0;
			running--;
			if (status != 0 && died_at < job[i].to) {
				job[i].pid = start_process(w, start, n_states, died_at, job[i].to, i);
				running++;
			}
		}
	}
}

static size_t number_of(const char *name, size_t otherwise)
{
	const char *v = getenv(name);

	return v != NULL && *v != '\0' ? (size_t)strtoull(v, NULL, 10) : otherwise;
}

static void *shared(size_t octets)
{
	void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	REQUIRE(p != MAP_FAILED);
	return p;
}

/* Records the workload in a child: the live directory is as it then left it. */
static bool record_in_child(const struct workload *w, const char *live)
{
	int status = -1;
	pid_t pid;

	script->whole = false;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		work_record(w, live, the_log, script);
		fflush(stdout);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 && script->whole;
}

/* An index of an earlier time: what the disk had when a third of the record had happened. */
static void make_stale(struct world *w)
{
	struct crash all = { .kind = CRASH_ALL };
	char stale[PATH_MAX];

	path_of(stale, "%s/stale", base);
	remove_tree(stale);
	world_advance(w, the_log->n / 3);
	REQUIRE(world_crash(w, &all, stale));
}

static void make_live(char live[PATH_MAX])
{
	char sub[PATH_MAX];

	path_of(live, "%s/live", base);
	remove_tree(live);
	REQUIRE(mkdir(live, 0700) == 0);
	for (int k = 0; k < STORES + 1; k++) {	/* the last one is for copies */
		path_of(sub, "%s/%c", live, 'a' + k);
		REQUIRE(mkdir(sub, 0700) == 0);
	}
}

static void test_workload(const struct workload *w, size_t n_states, int jobs)
{
	size_t failed = tally->n_failed, states = tally->n_states;
	struct world *start, *early;
	char live[PATH_MAX];
	bool recorded;

	if (!is_wanted(w))
		return;
	make_live(live);
	start = world_new(live, the_log);
	early = world_new(live, the_log);
	recorded = record_in_child(w, live);
	CHECK(recorded);
	if (recorded) {
		find_prefixes();
		make_stale(early);
		if (only_state() != NULL) {
			size_t n = (size_t)strtoull(only_state(), NULL, 10);

			do_states(w, start, n_states, n, n + 1, 0);
			printf("# see %s/state-0\n", base);
		} else {
			do_workload(w, start, n_states, jobs);
		}
		printf("# %s: %zu steps, %zu prefixes, %zu states\n", w->name, script->n_steps, n_prefixes,
		    tally->n_states - states);
		CHECK(tally->n_failed == failed);
	}
	world_free(&start);
	world_free(&early);
}

/* A store that was handed out is there after a power cut, and so is all above it. */
static void test_office(void)
{
	char dir[PATH_MAX], office_dir[PATH_MAX], cut[PATH_MAX], store[PATH_MAX];
	struct office o = { .dir = office_dir };
	struct crash none = { .kind = CRASH_NONE };
	struct world *w;
	struct stat st;
	int fd = -1;

	path_of(dir, "%s/post", base);
	path_of(office_dir, "%s/office", dir);
	path_of(cut, "%s/post-cut", base);
	REQUIRE(mkdir(dir, 0700) == 0);
	w = world_new(dir, the_log);
	REQUIRE(fslog_start(the_log, dir));
	CHECK(office_prepare(&o, NULL) == ERR_OK && office_open_store(&o, "alice", &fd, NULL) == ERR_OK);
	fslog_stop();
	close(fd);
	world_advance(w, the_log->n);
	REQUIRE(world_crash(w, &none, cut));
	path_of(store, "%s/office/a/alice", cut);
	CHECK(stat(store, &st) == 0);
	world_free(&w);
}

/* In memory where that is to be had: the disk that is tested is fscrash.c. */
static void make_base(void)
{
	const char *tmp = getenv("TMPDIR");

	if (tmp == NULL)
		tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/var/tmp";
	snprintf(base, sizeof base, "%.100s/penny-power.XXXXXX", tmp);
	REQUIRE(mkdtemp(base) != NULL);
}

int main(void)
{
	size_t n_states = number_of("PENNY_POWER_STATES", STATES_DEFAULT);
	size_t jobs = number_of("PENNY_POWER_JOBS", 1);

	seed = number_of("PENNY_SEED", (size_t)time(NULL));
	printf("# seed %llu\n", (unsigned long long)seed);
	charset_warm();
	make_base();
	the_log = fslog_new();
	REQUIRE(the_log != NULL);
	script = shared(sizeof *script);
	tally = shared(sizeof *tally);
	test_office();
	for (size_t i = 0; i < n_workloads; i++)
		test_workload(&workloads[i], n_states / n_workloads,
		    (int)(jobs < 1 ? 1 : jobs < JOBS_MAX ? jobs : JOBS_MAX));
	printf("# %zu states, %zu cuts of recoveries, %zu failed\n", tally->n_states, tally->n_cuts_of_recovery,
	    tally->n_failed);
	if (only_state() == NULL)
		remove_tree(base);
	return tap_done();
}
