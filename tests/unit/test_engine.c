/* SPDX-License-Identifier: ISC */
/* Every engine against the promises of libstore/engine.h: this one program is linked with each engine that is built.
 *
 * What the store holds after a kill or a power cut is told by a history: transaction m changes rows by a rule that depends
 * on m only, so any state can be compared with what commit n must have left, for every n that is possible.
 *
 * Arguments: none (all tests), "bench" (times), or a seed. PENNY_ENGINE_KILLS: how many kills (default 40).
 * Length: the promises are tried on one history, and each test needs its rule. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>

#include "../../libstore/engine.h"
#include "store_dir.h"

enum {
	ROWS = 40,			/* of the history */
	KILLS = 40,
	DAMAGES = 150,
	MIXES = 60,
	BLOCK = 512,			/* what a disk writes as a whole */
	MODEL_MAX = 600,
	MANY = 20000,
	BENCH_ROWS = 100000,
	IDLE_MAX_OCTETS = 40 * 1024,	/* of a small index; the store has 64 KiB */
};

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

/* -- syncs are counted: between two moments without one, any mix of old and new blocks may be on the disk -- */

static unsigned n_syncs;

#define REAL(name, type) ((type)(uintptr_t)dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
	n_syncs++;
	return REAL(fsync, int (*)(int))(fd);
}

int fdatasync(int fd)
{
	n_syncs++;
	return REAL(fdatasync, int (*)(int))(fd);
}

/* -- small words -- */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct engine *open_as(enum engine_state since)
{
	struct engine *en = NULL;
	struct err e = { .text = "" };

	if (engine_open(since, &en, &e) != ERR_OK)
		printf("# engine_open: %s\n", e.text);
	return en;
}

static struct engine *open_new(struct dir *d)
{
	struct engine *en;

	*d = dir_make();
	REQUIRE(fchdir(d->fd) == 0);
	en = open_as(ENGINE_CLEAN);
	REQUIRE(en != NULL);
	return en;
}

static void end(struct engine **en, struct dir *d)
{
	engine_close(en, true);
	dir_remove(d);
}

static bool put(struct engine *en, struct str k, struct str v)
{
	struct err e = { .text = "" };
	bool ok = engine_put(en, k, v, &e) == ERR_OK;

	if (!ok)
		printf("# put: %s\n", e.text);
	return ok;
}

static bool put_txn(struct engine *en, struct str k, struct str v)
{
	return engine_begin(en, NULL) == ERR_OK && put(en, k, v) && engine_commit(en, NULL) == ERR_OK;
}

static bool has(struct engine *en, struct str k, struct str v)
{
	struct str got;

	return engine_get(en, k, &got, NULL) == ERR_OK && str_eq(got, v);
}

static bool has_not(struct engine *en, struct str k)
{
	struct str got;

	return engine_get(en, k, &got, NULL) == ERR_NOENT;
}

struct seen {
	size_t n, stop_after;
	bool ordered;
	char last[ENGINE_KEY_MAX_OCTETS];
	size_t n_last, octets;
};

static bool see(void *ctx, struct str key, struct str value)
{
	struct seen *s = ctx;

	if (s->n > 0 && str_cmp(str_n(s->last, s->n_last), key) >= 0)
		s->ordered = false;
	memcpy(s->last, key.p, key.n);
	s->n_last = key.n;
	s->octets += value.n;
	return ++s->n != s->stop_after;
}

static struct seen scan(struct engine *en, struct str from, struct str prefix, size_t stop_after)
{
	struct seen s = { .stop_after = stop_after, .ordered = true };

	CHECK(engine_scan(en, from, prefix, see, &s, NULL) == ERR_OK);
	return s;
}

/* -- keys, values, transactions -- */

static void test_order(void)
{
	char long_key[ENGINE_KEY_MAX_OCTETS + 1];
	struct str keys[] = {	/* ascending */
		STR("\0"), STR("\0\0"), STR("\0\xff"), STR("\1"), STR("A"), STR("A\0"), STR("A\0\0"), STR("A\0b"),
		STR("AA"), STR("B"), STR("a"), STR("\x7f"), STR("\x80"), STR("\xff"), STR("\xff\0"), STR("\xff\xff"),
		{ long_key, ENGINE_KEY_MAX_OCTETS - 1 }, { long_key, ENGINE_KEY_MAX_OCTETS },
	};
	struct dir d;
	struct engine *en = open_new(&d);
	struct seen s;

	memset(long_key, 0xff, sizeof long_key);
	CHECK(engine_begin(en, NULL) == ERR_OK);
	for (size_t i = 0; i < COUNTOF(keys); i++) {
		struct str k = keys[i * 7 % COUNTOF(keys)];

		CHECK_AT(put(en, k, k), i);
	}
	CHECK(engine_put(en, str_n(long_key, sizeof long_key), STR("x"), NULL) == ERR_LIMIT);
	CHECK(engine_put(en, STR(""), STR("x"), NULL) == ERR_LIMIT);
	CHECK(engine_commit(en, NULL) == ERR_OK);
	for (size_t i = 0; i < COUNTOF(keys); i++) {
		CHECK_AT(has(en, keys[i], keys[i]), i);
		s = scan(en, keys[i], STR(""), 0);
		CHECK_AT(s.ordered && s.n == COUNTOF(keys) - i, i);
		s = scan(en, keys[i], keys[i], 1);
		CHECK_AT(s.n == 1 && str_eq(str_n(s.last, s.n_last), keys[i]), i);
	}
	CHECK(has_not(en, STR("\0\0\0")) && has_not(en, STR("b")) && has_not(en, STR("AAA")));
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == COUNTOF(keys) && s.ordered);
	s = scan(en, STR("A"), STR("A"), 0);
	CHECK(s.n == 5);
	s = scan(en, STR("A\0b"), STR("A"), 0);
	CHECK(s.n == 2);
	s = scan(en, STR("A"), STR("A"), 3);
	CHECK(s.n == 3 && str_eq(str_n(s.last, s.n_last), STR("A\0\0")));
	s = scan(en, STR("C"), STR("C"), 0);
	CHECK(s.n == 0);
	end(&en, &d);
}

static void test_values(void)
{
	static char v[ENGINE_VALUE_MAX_OCTETS + 1];
	struct dir d;
	struct engine *en = open_new(&d);
	char k[2];
	bool ok = true;

	for (size_t i = 0; i < sizeof v; i++)
		v[i] = (char)(i * 31 + i / 256);
	CHECK(engine_begin(en, NULL) == ERR_OK);
	CHECK(engine_put(en, STR("x"), str_n(v, sizeof v), NULL) == ERR_LIMIT);
	for (size_t n = 0; n <= ENGINE_VALUE_MAX_OCTETS && ok; n += n < 40 || n > 3960 ? 1 : 37) {
		k[0] = (char)(n >> 8);
		k[1] = (char)n;
		ok = put(en, str_n(k, 2), str_n(v, n));
	}
	CHECK(ok && engine_commit(en, NULL) == ERR_OK);
	for (size_t n = 0; n <= ENGINE_VALUE_MAX_OCTETS && ok; n += n < 40 || n > 3960 ? 1 : 37) {
		k[0] = (char)(n >> 8);
		k[1] = (char)n;
		ok = has(en, str_n(k, 2), str_n(v, n));
	}
	CHECK(ok && has_not(en, STR("x")));
	/* longer, shorter, longer again in the same place */
	CHECK(put_txn(en, STR("y"), STR("a")) && put_txn(en, STR("y"), str_n(v, 4000)) && has(en, STR("y"), str_n(v, 4000)));
	CHECK(put_txn(en, STR("y"), STR("")) && has(en, STR("y"), STR("")) && put_txn(en, STR("y"), str_n(v, 3000)));
	CHECK(has(en, STR("y"), str_n(v, 3000)));
	end(&en, &d);
}

static void test_transactions(void)
{
	struct dir d;
	struct engine *en = open_new(&d);
	struct seen s;

	CHECK(put_txn(en, STR("a"), STR("1")) && put_txn(en, STR("b"), STR("2")));
	CHECK(engine_begin(en, NULL) == ERR_OK);
	CHECK(engine_delete(en, STR("x"), NULL) == ERR_NOENT);
	CHECK(put(en, STR("a"), STR("3")) && put(en, STR("a"), STR("4")) && engine_delete(en, STR("b"), NULL) == ERR_OK);
	CHECK(put(en, STR("c"), STR("5")) && has(en, STR("a"), STR("4")) && has_not(en, STR("b")));
	CHECK(engine_delete(en, STR("c"), NULL) == ERR_OK && put(en, STR("c"), STR("6")));
	CHECK(put(en, STR("b"), STR("7")));
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == 3);	/* its own changes are seen */
	engine_abort(en);
	engine_abort(en);	/* does nothing */
	CHECK(has(en, STR("a"), STR("1")) && has(en, STR("b"), STR("2")) && has_not(en, STR("c")));

	CHECK(engine_begin(en, NULL) == ERR_OK);
	CHECK(put(en, STR("pa"), STR("")) && put(en, STR("p"), STR("")) && put(en, STR("q"), STR("")) &&
	    put(en, STR("o\xff"), STR("")));
	CHECK(engine_delete_prefix(en, STR("nothing"), NULL) == ERR_OK);
	CHECK(engine_delete_prefix(en, STR("p"), NULL) == ERR_OK);
	CHECK(engine_commit(en, NULL) == ERR_OK && engine_tend(en, NULL) == ERR_OK);
	CHECK(has_not(en, STR("pa")) && has_not(en, STR("p")) && has(en, STR("q"), STR("")) &&
	    has(en, STR("o\xff"), STR("")));

	CHECK(engine_begin(en, NULL) == ERR_OK && engine_delete_prefix(en, STR(""), NULL) == ERR_OK);
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == 0);
	engine_abort(en);
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == 4);

	CHECK(engine_begin(en, NULL) == ERR_OK && put(en, STR("z"), STR("not committed")));
	engine_close(&en, true);
	CHECK(en == NULL);
	en = open_as(ENGINE_CLEAN);
	REQUIRE(en != NULL);
	CHECK(has_not(en, STR("z")) && (!engine_facts.lasting || has(en, STR("a"), STR("1"))));
	CHECK(engine_facts.lasting || has_not(en, STR("a")));
	engine_close(&en, true);
	CHECK(engine_destroy(d.fd, NULL) == ERR_OK);
	REQUIRE(!engine_facts.lasting || close(openat(d.fd, "index/log.of.another", O_WRONLY | O_CREAT, 0600)) == 0);
	en = open_as(ENGINE_CLEAN);
	REQUIRE(en != NULL);
	CHECK(faccessat(d.fd, "index/log.of.another", F_OK, 0) < 0);
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == 0);
	end(&en, &d);
}

/* -- against a model: random changes, commits, aborts, reopening -- */

struct model {
	bool there[MODEL_MAX];
	uint32_t version[MODEL_MAX];
};

static struct str model_key(char key[16], unsigned i)
{
	return str_n(key, (size_t)snprintf(key, 16, "%c%0*u", 'a' + i % 3, i % 5 == 0 ? 9 : 4, i));
}

static struct str model_value(char *v, unsigned i, uint32_t version)
{
	size_t n = (i * 131 + version * 977) % ENGINE_VALUE_MAX_OCTETS;

	for (size_t at = 0; at < n; at++)
		v[at] = (char)(i + version + at);
	return str_n(v, n);
}

static bool equals_model(struct engine *en, const struct model *m)
{
	static char v[ENGINE_VALUE_MAX_OCTETS];
	size_t n = 0;
	char key[16];

	for (unsigned i = 0; i < MODEL_MAX; i++) {
		struct str k = model_key(key, i);

		n += m->there[i];
		if (m->there[i] ? !has(en, k, model_value(v, i, m->version[i])) : !has_not(en, k))
			return false;
	}
	return scan(en, STR(""), STR(""), 0).n == n;
}

static bool change_at_random(struct engine *en, struct model *m)
{
	static char v[ENGINE_VALUE_MAX_OCTETS];
	unsigned i = (unsigned)rand() % MODEL_MAX;
	enum err_kind k;
	char key[16];

	if (rand() % 400 == 0) {
		char prefix = (char)('a' + rand() % 3);

		for (i = 0; i < MODEL_MAX; i++)
			m->there[i] = m->there[i] && model_key(key, i).p[0] != prefix;
		return engine_delete_prefix(en, str_n(&prefix, 1), NULL) == ERR_OK;
	}
	if (rand() % 3 == 0) {
		k = engine_delete(en, model_key(key, i), NULL);
		if (k != (m->there[i] ? ERR_OK : ERR_NOENT))
			return false;
		m->there[i] = false;
		return true;
	}
	m->there[i] = true;
	m->version[i]++;
	return put(en, model_key(key, i), model_value(v, i, m->version[i]));
}

static void test_model(void)
{
	static struct model m, before;
	struct dir d;
	struct engine *en = open_new(&d);
	bool ok = true;

	for (int t = 0; t < 300 && ok; t++) {
		before = m;
		ok = engine_begin(en, NULL) == ERR_OK;
		for (int n = rand() % 60; n >= 0 && ok; n--)
			ok = change_at_random(en, &m);
		if (rand() % 3 == 0) {
			engine_abort(en);
			m = before;
		} else {
			ok = ok && engine_commit(en, NULL) == ERR_OK && engine_tend(en, NULL) == ERR_OK;
		}
		if (rand() % 10 == 0) {
			engine_close(&en, rand() % 2 == 0);
			en = open_as(rand() % 2 == 0 ? ENGINE_CLEAN : ENGINE_DIED);
			REQUIRE(en != NULL);
			if (!engine_facts.lasting)
				memset(m.there, 0, sizeof m.there);
		}
		ok = ok && (t % 5 != 0 || equals_model(en, &m));
		CHECK_AT(ok, t);
	}
	CHECK(equals_model(en, &m));
	end(&en, &d);
}

static void test_many(void)
{
	struct dir d;
	struct engine *en = open_new(&d);
	struct seen s;
	char key[16];
	bool ok = engine_begin(en, NULL) == ERR_OK;

	for (unsigned i = 0; i < MANY && ok; i++) {
		unsigned n = i * 7919 % MANY;

		ok = put(en, str_n(key, (size_t)snprintf(key, sizeof key, "m%08u", n)), str_n("0123456789", n % 11));
	}
	CHECK(ok && engine_commit(en, NULL) == ERR_OK && engine_tend(en, NULL) == ERR_OK);
	CHECK(put_txn(en, STR("l"), STR("")) && put_txn(en, STR("n"), STR("")));
	s = scan(en, STR("m"), STR("m"), 0);
	CHECK(s.n == MANY && s.ordered);
	s = scan(en, STR("m00012345"), STR("m"), 0);
	CHECK(s.n == MANY - 12345 && s.ordered);
	s = scan(en, STR("m"), STR("m"), MANY - 1);
	CHECK(s.n == MANY - 1);
	CHECK(engine_begin(en, NULL) == ERR_OK && engine_delete_prefix(en, STR("m"), NULL) == ERR_OK);
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == 2);
	engine_abort(en);
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == MANY + 2 && s.ordered);
	CHECK(engine_begin(en, NULL) == ERR_OK && engine_delete_prefix(en, STR("m"), NULL) == ERR_OK &&
	    engine_commit(en, NULL) == ERR_OK);
	s = scan(en, STR(""), STR(""), 0);
	CHECK(s.n == 2);
	end(&en, &d);
}

/* -- the history: transaction m touches about a fifth of the rows, "n" says the last one -- */

static bool touches(uint32_t m, uint32_t row)
{
	return (m * 7 + row * 3) % 5 == 0;
}

static bool deletes(uint32_t m, uint32_t row)
{
	return (m + row) % 7 == 0;
}

static struct str history_value(char *v, uint32_t m, uint32_t row)
{
	size_t n = 4 + (m * 389 + row * 1009) % 3900;

	memset(v, (int)(m + row), n);
	memcpy(v, &m, sizeof m);
	return str_n(v, n);
}

static struct str history_key(char key[8], uint32_t row)
{
	return str_n(key, (size_t)snprintf(key, 8, "r%03u", row));
}

static enum err_kind history_step(struct engine *en, uint32_t m, struct err *e)
{
	static char v[ENGINE_VALUE_MAX_OCTETS];
	enum err_kind k = engine_begin(en, e);
	char key[8];

	for (uint32_t row = 0; k == ERR_OK && row < ROWS; row++) {
		if (!touches(m, row))
			continue;
		if (deletes(m, row)) {
			k = engine_delete(en, history_key(key, row), e);
			k = k == ERR_NOENT ? ERR_OK : k;
		} else {
			k = engine_put(en, history_key(key, row), history_value(v, m, row), e);
		}
	}
	if (k == ERR_OK)
		k = engine_put(en, STR("n"), str_n((const char *)&m, sizeof m), e);
	if (k != ERR_OK)
		engine_abort(en);
	else if ((k = engine_commit(en, e)) == ERR_OK)
		k = engine_tend(en, e);
	return k;
}

/* What the engine holds: CORRUPT found out by itself, WRONG (no state that any commit left), or commit *out_n. */
enum verdict { RIGHT, REFUSED, WRONG };

struct history_scan {
	uint32_t n;
	uint32_t next_row;
	bool wrong;
};

/* The transaction that row's value is of at commit n; 0: it is not there. */
static uint32_t last_put(uint32_t n, uint32_t row)
{
	uint32_t m = n;

	while (m > 0 && !touches(m, row))
		m--;
	return m > 0 && deletes(m, row) ? 0 : m;
}

static bool history_row(void *ctx, struct str key, struct str value)
{
	static char v[ENGINE_VALUE_MAX_OCTETS];
	struct history_scan *h = ctx;
	char name[8];
	uint32_t m;

	while (h->next_row < ROWS && last_put(h->n, h->next_row) == 0)
		h->next_row++;
	m = h->next_row < ROWS ? last_put(h->n, h->next_row) : 0;
	h->wrong = m == 0 || !str_eq(key, history_key(name, h->next_row)) ||
	    !str_eq(value, history_value(v, m, h->next_row));
	h->next_row++;
	return !h->wrong;
}

static enum verdict judge(struct engine *en, uint32_t *out_n)
{
	static char v[ENGINE_VALUE_MAX_OCTETS];
	struct history_scan h = { 0 };
	struct str got;
	char key[8];
	enum err_kind k = engine_get(en, STR("n"), &got, NULL);

	if (k != ERR_OK && k != ERR_NOENT)
		return REFUSED;
	if (k == ERR_OK && got.n != sizeof h.n)
		return WRONG;
	if (k == ERR_OK)
		memcpy(&h.n, got.p, sizeof h.n);
	*out_n = h.n;
	if (engine_scan(en, STR("r"), STR("r"), history_row, &h, NULL) != ERR_OK)
		return REFUSED;
	while (h.next_row < ROWS && last_put(h.n, h.next_row) == 0)
		h.next_row++;
	if (h.wrong || h.next_row < ROWS)
		return WRONG;
	for (uint32_t row = 0; row < ROWS; row++) {
		uint32_t m = last_put(h.n, row);

		k = engine_get(en, history_key(key, row), &got, NULL);
		if (k == ERR_CORRUPT)
			return REFUSED;
		if (k != (m != 0 ? ERR_OK : ERR_NOENT) || (m != 0 && !str_eq(got, history_value(v, m, row))))
			return WRONG;
	}
	return RIGHT;
}

/* In another process, so that a crash is seen and nothing is left in this one. */
static bool in_child(bool (*fn)(void *ctx), void *ctx)
{
	pid_t pid;
	int status = -1;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		_exit(fn(ctx) ? 0 : 1);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && !WIFEXITED(status))
		printf("# killed by signal %d\n", WTERMSIG(status));
	return pid > 0 && status == 0;
}

/* -- several processes -- */

static bool with_lock(int lock_fd, struct engine *en, bool (*fn)(struct engine *en, void *ctx), void *ctx)
{
	bool ok = flock(lock_fd, LOCK_EX) == 0 && fn(en, ctx);

	flock(lock_fd, LOCK_UN);
	return ok;
}

static bool count_up(struct engine *en, void *ctx)
{
	uint32_t n = 0;
	char key[32];
	struct str v;
	enum err_kind k = engine_get(en, STR("count"), &v, NULL);

	if (k == ERR_OK)
		memcpy(&n, v.p, sizeof n);
	n++;
	snprintf(key, sizeof key, "%s%u", (const char *)ctx, n);
	return (k == ERR_OK || k == ERR_NOENT) && engine_begin(en, NULL) == ERR_OK &&
	    put(en, STR("count"), str_n((const char *)&n, sizeof n)) && put(en, str_of(key), STR("")) &&
	    engine_commit(en, NULL) == ERR_OK && engine_tend(en, NULL) == ERR_OK;
}

static bool count_beside_others(void *ctx)
{
	int lock_fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct engine *en;
	bool ok = flock(lock_fd, LOCK_EX) == 0 && (en = open_as(ENGINE_CLEAN)) != NULL;

	flock(lock_fd, LOCK_UN);
	for (int i = 0; i < 100 && ok; i++) {
		ok = with_lock(lock_fd, en, count_up, ctx);
		if (i % 10 == 9)
			sched_yield();
	}
	flock(lock_fd, LOCK_EX);
	engine_close(&en, false);
	flock(lock_fd, LOCK_UN);
	return ok;
}

static void test_several_processes(void)
{
	static char names[][2] = { "a", "b", "c" };
	struct dir d = dir_make();
	uint32_t n = 300;
	pid_t pid[3];
	int status;
	struct engine *en;
	bool ok = true;

	REQUIRE(fchdir(d.fd) == 0);
	fflush(stdout);
	for (size_t i = 0; i < COUNTOF(pid); i++) {
		if ((pid[i] = fork()) == 0)
			_exit(count_beside_others(names[i]) ? 0 : 1);
	}
	for (size_t i = 0; i < COUNTOF(pid); i++)
		ok = waitpid(pid[i], &status, 0) == pid[i] && status == 0 && ok;
	CHECK(ok);
	en = open_as(ENGINE_CLEAN);
	REQUIRE(en != NULL);
	CHECK(has(en, STR("count"), str_n((const char *)&n, sizeof n)));
	CHECK(scan(en, STR(""), STR(""), 0).n == n + 1);
	end(&en, &d);
}

/* -- kill -9 -- */

struct progress {
	_Atomic uint32_t trying, done, open_count;
	_Atomic bool inside;
};

/* Opens, works, closes for ever; the parent kills it. */
static void work_until_killed(struct progress *p, enum engine_state since)
{
	uint32_t n = p->done;

	for (;;) {
		struct engine *en = open_as(since);
		enum verdict v = en == NULL ? WRONG : judge(en, &n);

		if (v != RIGHT || n < p->done || n > p->trying)
			_exit(1);
		p->done = n;
		since = ENGINE_CLEAN;
		p->open_count++;
		for (int i = 0; i < 40; i++) {
			p->trying = n + 1;
			if (history_step(en, n + 1, NULL) != ERR_OK)
				_exit(2);
			p->done = ++n;
		}
		engine_close(&en, p->open_count % 2 == 0);
	}
}

static void test_kills(void)
{
	struct progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *asked = getenv("PENNY_ENGINE_KILLS");
	int kills = asked != NULL ? atoi(asked) : KILLS;
	struct dir d = dir_make();
	bool ok = true;

	REQUIRE(p != MAP_FAILED && fchdir(d.fd) == 0);
	fflush(stdout);
	for (int i = 0; i < kills && ok; i++) {
		struct timespec nap = { 0, rand() % (i % 4 == 0 ? 8000000 : 12000000) };
		int status = 0;
		uint32_t opens = p->open_count;
		double until = now_ms() + 2000;
		pid_t pid = fork();

		if (pid == 0)
			work_until_killed(p, i == 0 ? ENGINE_CLEAN : ENGINE_DIED);
		/* most are to die at work, some while they open and recover */
		while (i % 4 != 0 && p->open_count == opens && now_ms() < until)
			sched_yield();
		nanosleep(&nap, NULL);
		kill(pid, SIGKILL);
		ok = waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		if (!ok)
			printf("# worker ended by itself, status %x; done %u, trying %u\n", status, p->done, p->trying);
		CHECK_AT(ok, i);
	}
	printf("# %d kills, %u commits, %u opens\n", kills, p->done, p->open_count);
	CHECK(p->done > 0);
	munmap(p, sizeof *p);
	dir_remove(&d);
}

/* -- power cuts and damage -- */

struct file {
	char name[64];
	char *p;
	size_t n;
};

struct files {
	struct file f[16];
	size_t n;
};

static void files_read(struct files *out)
{
	DIR *dir = opendir("index");
	const struct dirent *de;

	out->n = 0;
	REQUIRE(dir != NULL);
	while ((de = readdir(dir)) != NULL) {
		struct file *f = &out->f[out->n];
		struct stat st;
		int fd;

		if (de->d_name[0] == '.')
			continue;
		REQUIRE(out->n++ < COUNTOF(out->f));
		snprintf(f->name, sizeof f->name, "index/%.50s", de->d_name);
		fd = open(f->name, O_RDONLY);
		REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
		f->n = (size_t)st.st_size;
		f->p = malloc(f->n + 1);
		REQUIRE(pread(fd, f->p, f->n, 0) == (ssize_t)f->n);
		close(fd);
	}
	closedir(dir);
}

static void files_free(struct files *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->f[i].p);
	f->n = 0;
}

static void file_write(const char *name, const char *p, size_t n)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	REQUIRE(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
}

static void files_write(const struct files *f)
{
	DIR *dir = opendir("index");
	const struct dirent *de;

	while (dir != NULL && (de = readdir(dir)) != NULL) {
		if (de->d_name[0] != '.')
			unlinkat(dirfd(dir), de->d_name, 0);
	}
	if (dir != NULL)
		closedir(dir);
	for (size_t i = 0; i < f->n; i++)
		file_write(f->f[i].name, f->f[i].p, f->f[i].n);
}

struct damaged {
	uint32_t n_max;			/* commits up to this one were made */
	enum engine_state since;
};

/* Refused, or right: and then it can go on. */
static bool takes_it_well(void *ctx)
{
	struct damaged *c = ctx;
	struct engine *en = NULL;
	enum verdict v;
	uint32_t n = 0;

	if (engine_open(c->since, &en, NULL) != ERR_OK)
		return true;
	v = judge(en, &n);
	if (v == WRONG || (v == RIGHT && n > c->n_max)) {
		printf("# wrong: says commit %u of %u\n", n, c->n_max);
		return false;
	}
	for (int i = 0; i < 5 && v == RIGHT; i++) {
		enum err_kind k = history_step(en, ++n, NULL);

		if (k != ERR_OK)
			return k == ERR_CORRUPT;
		v = judge(en, &n);
	}
	if (v != WRONG)
		engine_close(&en, true);
	return v != WRONG;
}

static const char *damage(struct files *f, char *what, size_t what_n)
{
	struct file *x = &f->f[(unsigned)rand() % f->n];
	size_t at = x->n > 0 ? (size_t)rand() % x->n : 0, len;

	switch (rand() % 5) {
	case 0:
		snprintf(what, what_n, "%s dropped", x->name);
		free(x->p);
		*x = f->f[--f->n];
		break;
	case 1:
		snprintf(what, what_n, "%s cut at %zu of %zu", x->name, at, x->n);
		x->n = at;
		break;
	case 2:
		len = (size_t)BLOCK << rand() % 6;
		at = at / BLOCK * BLOCK;
		len = at + len < x->n ? len : x->n - at;
		snprintf(what, what_n, "%s %zu octets at %zu zero", x->name, len, at);
		memset(x->p + at, 0, len);
		break;
	default:
		snprintf(what, what_n, "%s bit at %zu of %zu", x->name, at, x->n);
		if (x->n > 0)
			x->p[at] ^= (char)(1 << rand() % 8);
		break;
	}
	return what;
}

static bool copy_files(struct files *to, const struct files *from)
{
	*to = *from;
	for (size_t i = 0; i < from->n; i++) {
		to->f[i].p = malloc(from->f[i].n + 1);
		memcpy(to->f[i].p, from->f[i].p, from->f[i].n);
	}
	return true;
}

struct run {
	uint32_t from, to;
	bool close;
};

static bool run_history(void *ctx)
{
	struct run *r = ctx;
	struct engine *en = open_as(ENGINE_CLEAN);
	bool ok = en != NULL;

	for (uint32_t m = r->from; m <= r->to && ok; m++)
		ok = history_step(en, m, NULL) == ERR_OK;
	if (r->close)
		engine_close(&en, true);
	return ok;
}

/* A file of a closed engine, or of one whose processes died, was damaged by the disk or by hand. */
static void test_damage(void)
{
	struct dir d = dir_make();
	struct files closed, open, f;
	char what[160];
	bool ok;

	REQUIRE(fchdir(d.fd) == 0);
	REQUIRE(in_child(run_history, &(struct run){ 1, 150, true }));
	files_read(&closed);
	REQUIRE(in_child(run_history, &(struct run){ 151, 200, false }));
	files_read(&open);
	for (int i = 0; i < DAMAGES; i++) {
		bool was_open = i % 3 == 0;
		struct damaged c = { was_open ? 200 : 150, i % 3 == 1 ? ENGINE_CLEAN : ENGINE_REBOOTED };

		copy_files(&f, was_open ? &open : &closed);
		damage(&f, what, sizeof what);
		files_write(&f);
		ok = in_child(takes_it_well, &c);
		if (!ok)
			printf("# %s, state %d\n", what, c.since);
		CHECK_AT(ok, i);
		files_free(&f);
	}
	files_free(&closed);
	files_free(&open);
	dir_remove(&d);
}

/* Blocks of a and b mixed: both were written, nothing was synced in between. */
static void mix(struct files *out, const struct files *a, const struct files *b)
{
	copy_files(out, b);
	for (size_t i = 0; i < out->n; i++) {
		struct file *x = &out->f[i];
		const struct file *old = NULL;
		unsigned of_old = (unsigned)rand() % 5;

		for (size_t k = 0; k < a->n; k++) {
			if (strcmp(a->f[k].name, x->name) == 0)
				old = &a->f[k];
		}
		for (size_t at = 0; at < x->n; at += BLOCK) {
			size_t len = at + BLOCK < x->n ? BLOCK : x->n - at;
			size_t have = old != NULL && old->n > at ? old->n - at : 0;

			if ((unsigned)rand() % 4 >= of_old)
				continue;
			have = have < len ? have : len;
			if (have > 0)
				memcpy(x->p + at, old->p + at, have);
			memset(x->p + at + have, 0, len - have);
		}
		if (rand() % 8 == 0)
			x->n = old != NULL && old->n < x->n ? old->n : x->n;
	}
}

struct cut {
	struct files a, b;
	uint32_t n_b;
};

static void power_cut(const struct cut *c, int row)
{
	struct damaged check = { c->n_b, ENGINE_REBOOTED };
	struct files f;

	mix(&f, &c->a, &c->b);
	files_write(&f);
	CHECK_AT(in_child(takes_it_well, &check), row);
	files_free(&f);
}

/* The power goes while transactions are made: what was synced by then is there, of the rest anything. */
static void test_power_cuts(void)
{
	struct dir d = dir_make(), scratch = dir_make();
	struct engine *en;
	uint32_t n = 0;
	int mixes = 0;

	REQUIRE(fchdir(d.fd) == 0);
	for (int session = 0; session < 4; session++) {
		struct cut c;

		en = open_as(ENGINE_CLEAN);
		REQUIRE(en != NULL);
		for (int i = 0; i < 6; i++) {
			unsigned synced;

			files_read(&c.a);
			synced = n_syncs;
			for (int steps = rand() % 12; steps >= 0; steps--)
				REQUIRE(history_step(en, ++n, NULL) == ERR_OK);
			files_read(&c.b);
			c.n_b = n;
			REQUIRE(fchdir(scratch.fd) == 0 && (mkdirat(scratch.fd, "index", 0700) == 0 || errno == EEXIST));
			for (int k = 0; k < MIXES / 24 + 1; k++, mixes++) {
				if (n_syncs != synced) {	/* then only b is possible */
					files_free(&c.a);
					copy_files(&c.a, &c.b);
				}
				power_cut(&c, mixes);
			}
			REQUIRE(fchdir(d.fd) == 0);
			files_free(&c.a);
			files_free(&c.b);
		}
		engine_close(&en, true);
		files_read(&c.b);	/* closed last: a reboot finds all of it */
		copy_files(&c.a, &c.b);
		en = open_as(ENGINE_REBOOTED);
		REQUIRE(en != NULL);
		CHECK(judge(en, &n) == RIGHT && n == c.n_b);
		engine_close(&en, true);
		files_free(&c.a);
		files_free(&c.b);
	}
	dir_remove(&scratch);
	dir_remove(&d);
}

/* -- a full disk -- */

static bool fill_disk(int *fd)
{
	static const char block[4096];

	*fd = open("filler", O_RDWR | O_CREAT, 0600);
	while (*fd >= 0 && write(*fd, block, sizeof block) > 0)
		;
	return *fd >= 0 && errno == ENOSPC;
}

static void test_full_disk(void)
{
	struct dir d = dir_make();
	struct engine *en;
	struct err e = { .text = "" };
	enum err_kind k = ERR_OK;
	uint32_t n = 0, seen = 0;
	int fd;

	if (mount("tmpfs", d.path, "tmpfs", 0, "size=4m,mode=0700") < 0) {
		printf("ok %u - a full disk # SKIP no right to mount\n", ++tap_n);
		dir_remove(&d);
		return;
	}
	REQUIRE(chdir(d.path) == 0);
	en = open_as(ENGINE_CLEAN);
	REQUIRE(en != NULL);
	while (n < 20)
		REQUIRE(history_step(en, ++n, NULL) == ERR_OK);
	REQUIRE(fill_disk(&fd));
	for (int i = 0; i < 2000 && k == ERR_OK; i++) {
		if ((k = history_step(en, n + 1, &e)) == ERR_OK)
			n++;
	}
	if (k != ERR_NOSPC)
		printf("# %s\n", e.text);
	CHECK(k == ERR_NOSPC);
	CHECK(judge(en, &seen) == RIGHT && seen == n);
	CHECK(history_step(en, n + 1, NULL) == ERR_NOSPC);
	CHECK(judge(en, &seen) == RIGHT && seen == n);
	/* a new process may not get far, but harms nothing, whatever the last one left */
	engine_close(&en, false);
	for (enum engine_state s = ENGINE_CLEAN; s <= ENGINE_DIED; s++) {
		k = engine_open(s, &en, &e);
		if (k != ERR_OK && k != ERR_NOSPC)
			printf("# engine_open: %s\n", e.text);
		CHECK_AT(k == ERR_OK || k == ERR_NOSPC, s);
		CHECK_AT(k != ERR_OK || (judge(en, &seen) == RIGHT && seen == n), s);
		engine_close(&en, false);
	}
	REQUIRE(ftruncate(fd, 0) == 0 && close(fd) == 0);
	en = open_as(ENGINE_DIED);
	REQUIRE(en != NULL);
	CHECK(judge(en, &seen) == RIGHT && seen == n);
	CHECK(history_step(en, n + 1, NULL) == ERR_OK && judge(en, &seen) == RIGHT && seen == n + 1);
	engine_close(&en, true);
	REQUIRE(chdir("/") == 0 && umount2(d.path, MNT_DETACH) == 0);
	dir_remove(&d);
}

/* -- size -- */

static uint64_t disk_octets(void)
{
	DIR *dir = opendir("index");
	const struct dirent *de;
	struct stat st;
	uint64_t sum = 0;

	REQUIRE(dir != NULL && fstat(dirfd(dir), &st) == 0);
	while ((de = readdir(dir)) != NULL) {
		if (de->d_name[0] != '.' && fstatat(dirfd(dir), de->d_name, &st, 0) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return sum;
}

static void test_idle_size(void)
{
	struct dir d = dir_make();
	struct engine *en;
	uint64_t octets;
	uint32_t n = 0;

	REQUIRE(fchdir(d.fd) == 0);
	for (int session = 0; session < 20; session++) {
		en = open_as(ENGINE_CLEAN);
		REQUIRE(en != NULL);
		CHECK_AT(put_txn(en, STR("x"), str_n((const char *)&n, sizeof n)), session);
		engine_close(&en, true);
	}
	octets = disk_octets();
	printf("# a small index that nobody has open: %llu octets\n", (unsigned long long)octets);
	CHECK(octets <= IDLE_MAX_OCTETS);
	dir_remove(&d);
}

/* -- times -- */

static double lap(double *since)
{
	double t = now_ms(), took = t - *since;

	*since = t;
	return took;
}

static void bench(size_t value_octets, unsigned rows)
{
	static char v[ENGINE_VALUE_MAX_OCTETS];
	struct dir d;
	struct engine *en = open_new(&d);
	double t = now_ms();
	char key[16];

	tap_helper = true;
	memset(v, 'v', sizeof v);
	printf("# %s: %u rows of %zu octets\n", engine_facts.name, rows, value_octets);
	for (unsigned i = 0; i < rows;) {
		REQUIRE(engine_begin(en, NULL) == ERR_OK);
		for (unsigned end_at = i + 8192; i < rows && i < end_at; i++)
			REQUIRE(put(en, str_n(key, (size_t)snprintf(key, sizeof key, "k%08u", i)), str_n(v, value_octets)));
		REQUIRE(engine_commit(en, NULL) == ERR_OK && engine_tend(en, NULL) == ERR_OK);
	}
	printf("# put all, 8192 a commit  %8.2f ms\n", lap(&t));
	for (int i = 0; i < 5; i++) {
		REQUIRE(scan(en, STR(""), STR(""), 0).n == rows);
		printf("# scan all                %8.2f ms\n", lap(&t));
	}
	for (unsigned i = 0; i < 2000; i++)
		REQUIRE(put_txn(en, str_n(key, (size_t)snprintf(key, sizeof key, "k%08u", i * 37 % rows)), str_n(v, value_octets)));
	printf("# put and commit one      %8.4f ms\n", lap(&t) / 2000);
	for (unsigned i = 0; i < 20000; i++)
		REQUIRE(has(en, str_n(key, (size_t)snprintf(key, sizeof key, "k%08u", i * 37 % rows)), str_n(v, value_octets)));
	printf("# get one                 %8.4f ms\n", lap(&t) / 20000);
	engine_close(&en, true);
	printf("# close, last             %8.2f ms\n", lap(&t));
	if (engine_facts.lasting)
		printf("# on the disk             %8llu octets\n", (unsigned long long)disk_octets());
	for (int i = 0; i < 3; i++) {
		en = open_as(i < 2 ? ENGINE_CLEAN : ENGINE_DIED);
		printf("# open, state %d           %8.2f ms\n", i < 2 ? 0 : 1, lap(&t));
		REQUIRE(!engine_facts.lasting || has(en, STR("k00000001"), str_n(v, value_octets)));
		lap(&t);
		engine_close(&en, i > 0);
		printf("# close, %s           %8.2f ms\n", i > 0 ? "last" : "not ", lap(&t));
	}
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);

	if (argc > 1 && strcmp(argv[1], "bench") == 0) {
		bench(3000, 1600);	/* what 100,000 messages are */
		bench(100, BENCH_ROWS);
		return 0;
	}
	printf("# engine: %s, seed %u\n", engine_facts.name, seed);
	srand(seed);
	test_order();
	test_values();
	test_transactions();
	test_model();
	test_many();
	if (engine_facts.lasting) {
		test_several_processes();
		test_kills();
		test_damage();
		test_power_cuts();
		test_full_disk();
		test_idle_size();
	}
	return tap_done();
}
