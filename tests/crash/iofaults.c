/* SPDX-License-Identifier: ISC */
/* The Nth call that can fail fails, once or from then on, for every N until the operation needs no more of them, with each
 * error that such a call can give: no space or quota, an I/O error, no descriptors, no memory, an interruption, half of what
 * was to be written or read. Whatever the operation answers must be true: after an error the store is as before, after
 * success as it should be; once the fault is over the same handles work again, a new process finds the same, and
 * nothing is damaged. A sync that failed once and then succeeds is still a failure.
 *
 * System calls are interposed by definitions of their C functions here, so those of Berkeley DB fail, too; memory by the
 * linker's --wrap, so only ours fails. Each case runs in a process of its own: running out of memory may end it
 * (arena.h), which is then a death like any other. PENNY_FAULTS says how many calls of each operation (default: all of most,
 * some of those that take hundreds), or "all"; PENNY_SEED which. An argument chooses operations whose name begins with it.
 * Prints TAP. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/uio.h>
#include <sysexits.h>
#include <time.h>

#include "../../libbase/clock.h"
#include "ops.h"

#if defined(__SANITIZE_ADDRESS__)
enum { CALLS_DEFAULT = 2, CALLS_SHORT = 0 };
#else
enum {
	CALLS_DEFAULT = 12,	/* of an operation that takes many */
	CALLS_SHORT = 40,	/* in an operation with no more than these all of them fail */
};
#endif

enum { CALLS_MAX = 5000, CASE_MAX_MS = 30000, SMALL_WRITE_OCTETS = 300, HALF = -1 };

/* -- the fault -- */

enum call { CALL_WRITE, CALL_READ, CALL_SYNC, CALL_OPEN, CALL_SPACE, CALL_NAME, CALL_MAP, CALL_LOCK, CALL_WATCH, CALL_MEMORY,
	CALLS };

/* What each may fail with; 0 ends. An interruption or a short transfer comes once, the rest once and for good. */
static const int errors_of[CALLS][7] = {
	[CALL_WRITE] = { EIO, ENOSPC, EDQUOT, EINTR, HALF },
	[CALL_READ] = { EIO, EINTR, HALF },
	[CALL_SYNC] = { EIO, ENOSPC, EDQUOT, EINTR },
	[CALL_OPEN] = { EMFILE, ENFILE, EIO, EINTR },
	[CALL_SPACE] = { ENOSPC, EDQUOT, EIO, EINTR },
	[CALL_NAME] = { ENOSPC, EDQUOT, EIO, EACCES },
	[CALL_MAP] = { ENOMEM, EAGAIN },
	[CALL_LOCK] = { ENOLCK, EINTR },
	[CALL_WATCH] = { EMFILE, ENOSPC, ENOMEM },
	[CALL_MEMORY] = { ENOMEM },
};

static struct {
	bool armed, sticky, counting;
	int at, error;
} fault;

/* What the parent learns, in shared memory. */
static struct told {
	int n_calls;
	uint8_t call[CALLS_MAX];	/* enum call of each, while they are counted */
	bool hit, done, ok;
	int result;			/* enum err_kind */
	struct seen before, after, twice;
	int again;
	char text[ERR_TEXT_MAX];
} *told;

static bool fails(enum call call)
{
	if (!fault.armed)
		return false;
	if (fault.counting && told->n_calls < CALLS_MAX)
		told->call[told->n_calls] = (uint8_t)call;
	told->n_calls++;
	if (told->n_calls != fault.at && !(fault.sticky && told->n_calls > fault.at && told->call[fault.at - 1] == call))
		return false;
	told->hit = true;
	errno = fault.error;
	return true;
}

#define REAL(name, type) ((type)(uintptr_t)dlsym(RTLD_NEXT, #name))

/* Under their C names, which the headers' own inline definitions do not leave free. */
ssize_t fake_pwritev(int fd, const struct iovec *iov, int n, off_t off) __asm__("pwritev");
ssize_t fake_pwrite(int fd, const void *p, size_t n, off_t off) __asm__("pwrite");
ssize_t fake_write(int fd, const void *p, size_t n) __asm__("write");
ssize_t fake_pread(int fd, void *p, size_t n, off_t off) __asm__("pread");
ssize_t fake_read(int fd, void *p, size_t n) __asm__("read");
int fake_fdatasync(int fd) __asm__("fdatasync");
int fake_fsync(int fd) __asm__("fsync");
int fake_open(const char *name, int flags, ...) __asm__("open");
int fake_openat(int fd, const char *name, int flags, ...) __asm__("openat");
int fake_fallocate(int fd, off_t off, off_t len) __asm__("posix_fallocate");
int fake_ftruncate(int fd, off_t len) __asm__("ftruncate");
int fake_linkat(int fd, const char *from, int to_fd, const char *to, int flags) __asm__("linkat");
int fake_mkdirat(int fd, const char *name, mode_t mode) __asm__("mkdirat");
int fake_mkdir(const char *name, mode_t mode) __asm__("mkdir");
int fake_renameat(int fd, const char *from, int to_fd, const char *to) __asm__("renameat");
int fake_rename(const char *from, const char *to) __asm__("rename");
int fake_unlinkat(int fd, const char *name, int flags) __asm__("unlinkat");
int fake_unlink(const char *name) __asm__("unlink");
void *fake_mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off) __asm__("mmap");
int fake_flock(int fd, int op) __asm__("flock");
int fake_inotify_init1(int flags) __asm__("inotify_init1");
int fake_inotify_add_watch(int fd, const char *name, uint32_t mask) __asm__("inotify_add_watch");

ssize_t fake_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) = REAL(pwritev, ssize_t (*)(int, const struct iovec *, int, off_t));

	if (!fails(CALL_WRITE))
		return real(fd, iov, n, off);
	return fault.error != HALF ? -1 : real(fd, &(struct iovec){ iov->iov_base, iov->iov_len / 2 + 1 }, 1, off);
}

ssize_t fake_pwrite(int fd, const void *p, size_t n, off_t off)
{
	ssize_t (*real)(int, const void *, size_t, off_t) = REAL(pwrite, ssize_t (*)(int, const void *, size_t, off_t));

	if (!fails(CALL_WRITE))
		return real(fd, p, n, off);
	return fault.error != HALF ? -1 : real(fd, p, n / 2, off);
}

/* Small ones are the test's own output. */
ssize_t fake_write(int fd, const void *p, size_t n)
{
	ssize_t (*real)(int, const void *, size_t) = REAL(write, ssize_t (*)(int, const void *, size_t));

	if (n < SMALL_WRITE_OCTETS || !fails(CALL_WRITE))
		return real(fd, p, n);
	return fault.error != HALF ? -1 : real(fd, p, n / 2);
}

ssize_t fake_pread(int fd, void *p, size_t n, off_t off)
{
	ssize_t (*real)(int, void *, size_t, off_t) = REAL(pread, ssize_t (*)(int, void *, size_t, off_t));

	if (!fails(CALL_READ))
		return real(fd, p, n, off);
	return fault.error != HALF ? -1 : real(fd, p, n / 2, off);
}

ssize_t fake_read(int fd, void *p, size_t n)
{
	ssize_t (*real)(int, void *, size_t) = REAL(read, ssize_t (*)(int, void *, size_t));

	if (!fails(CALL_READ))
		return real(fd, p, n);
	return fault.error != HALF ? -1 : real(fd, p, n / 2);
}

int fake_fdatasync(int fd)
{
	return fails(CALL_SYNC) ? -1 : REAL(fdatasync, int (*)(int))(fd);
}

int fake_fsync(int fd)
{
	return fails(CALL_SYNC) ? -1 : REAL(fsync, int (*)(int))(fd);
}

static int mode_of(int flags, va_list ap)
{
	return flags & O_CREAT ? va_arg(ap, int) : 0;
}

int fake_open(const char *name, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return fails(CALL_OPEN) ? -1 : REAL(open, int (*)(const char *, int, ...))(name, flags, mode);
}

int fake_openat(int fd, const char *name, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return fails(CALL_OPEN) ? -1 : REAL(openat, int (*)(int, const char *, int, ...))(fd, name, flags, mode);
}

int fake_fallocate(int fd, off_t off, off_t len)
{
	return fails(CALL_SPACE) ? fault.error : REAL(posix_fallocate, int (*)(int, off_t, off_t))(fd, off, len);
}

int fake_ftruncate(int fd, off_t len)
{
	return fails(CALL_SPACE) ? -1 : REAL(ftruncate, int (*)(int, off_t))(fd, len);
}

int fake_linkat(int fd, const char *from, int to_fd, const char *to, int flags)
{
	return fails(CALL_NAME) ? -1 :
	    REAL(linkat, int (*)(int, const char *, int, const char *, int))(fd, from, to_fd, to, flags);
}

int fake_mkdirat(int fd, const char *name, mode_t mode)
{
	return fails(CALL_NAME) ? -1 : REAL(mkdirat, int (*)(int, const char *, mode_t))(fd, name, mode);
}

int fake_mkdir(const char *name, mode_t mode)
{
	return fails(CALL_NAME) ? -1 : REAL(mkdir, int (*)(const char *, mode_t))(name, mode);
}

int fake_renameat(int fd, const char *from, int to_fd, const char *to)
{
	return fails(CALL_NAME) ? -1 : REAL(renameat, int (*)(int, const char *, int, const char *))(fd, from, to_fd, to);
}

int fake_rename(const char *from, const char *to)
{
	return fails(CALL_NAME) ? -1 : REAL(rename, int (*)(const char *, const char *))(from, to);
}

int fake_unlinkat(int fd, const char *name, int flags)
{
	return fails(CALL_NAME) ? -1 : REAL(unlinkat, int (*)(int, const char *, int))(fd, name, flags);
}

int fake_unlink(const char *name)
{
	return fails(CALL_NAME) ? -1 : REAL(unlink, int (*)(const char *))(name);
}

void *fake_mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off)
{
	return fd >= 0 && fails(CALL_MAP) ? MAP_FAILED :
	    REAL(mmap, void *(*)(void *, size_t, int, int, int, off_t))(addr, n, prot, flags, fd, off);
}

/* Giving a lock back does not fail. */
int fake_flock(int fd, int op)
{
	return op != LOCK_UN && fails(CALL_LOCK) ? -1 : REAL(flock, int (*)(int, int))(fd, op);
}

int fake_inotify_init1(int flags)
{
	return fails(CALL_WATCH) ? -1 : REAL(inotify_init1, int (*)(int))(flags);
}

int fake_inotify_add_watch(int fd, const char *name, uint32_t mask)
{
	return fails(CALL_WATCH) ? -1 : REAL(inotify_add_watch, int (*)(int, const char *, uint32_t))(fd, name, mask);
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
	return fails(CALL_MEMORY) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t each)
{
	return fails(CALL_MEMORY) ? NULL : __real_calloc(n, each);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails(CALL_MEMORY) ? NULL : __real_realloc(p, n);
}

/* -- one case -- */

/* Waiting for changes has no effect on the store: here it stands for what can fail in it. */
static enum err_kind op_watch(struct session *c)
{
	int fd;

	return store_watch(c->s, &fd, NULL);
}

static const struct op watch = { "watch", BASE_PLAIN, op_watch, NULL, false, false, false };

static bool same(struct seen a, struct seen b)
{
	return a.all == b.all && a.records == b.records && a.modseqs == b.modseqs;
}

static struct seen seen_of(const struct op *op, struct store *s)
{
	struct seen now = see(s);

	if (op->base == BASE_EMPTY)
		now.modseqs = 0;	/* made anew, a store has the UIDVALIDITY of the moment */
	return now;
}

/* In the child: the operation with the fault, then without it on the same handles. */
static void with_fault(const struct dir *d, const struct op *op)
{
	struct session c;

	if (op->leave != NULL)
		op->leave(d);
	c = session_open(d, op);
	fault.armed = true;
	told->result = op->run(&c);
	fault.armed = false;
	if (c.s == NULL)
		c.s = store_at(d);
	told->before = seen_of(op, c.s);
	if (told->result != ERR_OK && !op->closes)
		told->again = op->run(&c);
	told->after = seen_of(op, c.s);
	told->done = true;
	session_close(&c);
}

static void say_finding(void *ctx, const char *finding)
{
	(void)ctx;
	if (!str_starts(str_of(finding), STR("leftover")) && !str_starts(str_of(finding), STR("note")))
		printf("# check: %s\n", finding);
}

/* In another: a new process. */
static void afterwards(const struct dir *d, const struct op *op)
{
	struct session c = session_open(d, op);
	struct err e = { .text = "" };
	uint64_t n_bad = 1;

	if (c.s == NULL)
		c.s = store_at(d);
	told->twice = seen_of(op, c.s);
	told->ok = store_check(c.s, say_finding, NULL, &n_bad, &e) == ERR_OK && n_bad == 0;
	if (!told->ok)
		printf("# check: %s, %llu findings\n", e.text, (unsigned long long)n_bad);
	session_close(&c);
}

/* Exit status of fn in a process of its own, -1 when it died or hung. */
static int child(void (*fn)(const struct dir *, const struct op *), const struct dir *d, const struct op *op)
{
	uint64_t until = clock_mono_ms() + CASE_MAX_MS;
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		fn(d, op);
		fflush(stdout);
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_mono_ms() > until) {
			printf("# hangs\n");
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
		} else {
			usleep(200);
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct wanted {
	struct seen before, after;
	int n_calls;
	uint8_t call[CALLS_MAX];
};

/* The process ended for want of memory: all or nothing, like any death. */
static bool judge_dead(const struct wanted *w)
{
	return same(told->twice, w->before) || same(told->twice, w->after);
}

static bool judge(const struct wanted *w, const struct op *op, enum call call)
{
	bool ok = same(told->before, told->result == ERR_OK ? w->after : w->before);

	/* short of memory, the message is parsed into a smaller record */
	if (call == CALL_MEMORY && told->result == ERR_OK && told->before.all == w->after.all)
		ok = true;
	if (!ok)
		printf("# says %d, state is %s\n", told->result, same(told->before, w->before) ? "before" :
		    same(told->before, w->after) ? "after" : "neither");
	if (told->hit && call == CALL_SYNC && !op->slow && told->result == ERR_OK) {
		printf("# a sync failed, and it says that all is well\n");
		ok = false;
	}
	if (told->again != ERR_OK || told->after.all != w->after.all) {
		printf("# once more, without fault: %d, state is %s\n", told->again, told->after.all == w->after.all ? "right" :
		    "wrong");
		ok = false;
	}
	return ok && told->twice.all == told->after.all;
}

static bool one_case(const struct dir *base, const struct op *op, const struct wanted *w, int at, int error, bool sticky)
{
	enum call call = w->call[at - 1];
	struct dir d;
	int status;
	bool ok;

	tap_quiet(true);
	d = base_copy(base);
	memset(told, 0, sizeof *told);
	memcpy(told->call, w->call, sizeof told->call);
	memset(&fault, 0, sizeof fault);
	fault.at = at;
	fault.error = error;
	fault.sticky = sticky;
	status = child(with_fault, &d, op);
	fault.armed = false;
	ok = child(afterwards, &d, op) == 0 && told->ok;
	if (status == EX_TEMPFAIL && call == CALL_MEMORY)
		ok = judge_dead(w) && ok;
	else
		ok = status == 0 && told->done && judge(w, op, call) && ok;
	dir_remove(&d);
	tap_quiet(false);
	if (!ok)
		printf("# %s: call %d of %d, kind %d, %s%s (status %d)\n", op->name, at, w->n_calls, call, error == HALF ?
		    "half of it" : strerror(error), sticky ? ", for good" : "", status);
	return ok;
}

/* -- all cases of one operation -- */

static void undisturbed(const struct dir *d, const struct op *op)
{
	fault.counting = true;
	with_fault(d, op);
}

static void look(const struct dir *d, const struct op *op)
{
	struct store *s;

	if (op->leave != NULL)
		op->leave(d);
	store_dir_segment = op->base == BASE_OLD ? OPS_OLD_SEGMENT : 0;
	s = store_at(d);
	told->before = seen_of(op, s);
	store_close(&s);
}

static bool measure(const struct dir *base, const struct op *op, struct wanted *w)
{
	struct dir d;
	bool ok;

	tap_quiet(true);
	d = base_copy(base);
	ok = child(look, &d, op) == 0;
	w->before = told->before;
	dir_remove(&d);
	memset(told, 0, sizeof *told);
	memset(&fault, 0, sizeof fault);
	d = base_copy(base);
	ok = child(undisturbed, &d, op) == 0 && told->result == ERR_OK && ok;
	dir_remove(&d);
	tap_quiet(false);
	w->after = told->before;
	w->n_calls = told->n_calls;
	memcpy(w->call, told->call, sizeof w->call);
	return ok && w->n_calls > 0 && w->n_calls <= CALLS_MAX;
}

static void fail_everywhere(const struct dir *base, const struct op *op, const char *wish)
{
	static struct wanted w;
	int n = wish != NULL ? atoi(wish) : op->base == BASE_BIG ? 1 : CALLS_DEFAULT, n_cases = 0;
	uint64_t begin = clock_mono_ms();
	bool measured = measure(base, op, &w);

	CHECK(measured);
	if (!measured)
		return;
	if ((wish != NULL && strcmp(wish, "all") == 0) || (wish == NULL && w.n_calls <= CALLS_SHORT))
		n = w.n_calls;
	for (int i = 1; i <= n; i++) {
		int at = n == w.n_calls ? i : 1 + rand() % w.n_calls;
		enum call call = w.call[at - 1];

		for (const int *error = errors_of[call]; *error != 0; error++, n_cases++) {
			CHECK_AT(one_case(base, op, &w, at, *error, false), at);
			if (*error == EINTR || *error == HALF)
				continue;
			CHECK_AT(one_case(base, op, &w, at, *error, true), at);
			n_cases++;
		}
	}
	printf("# %s: %d calls that can fail, %d cases, %llu ms\n", op->name, w.n_calls, n_cases,
	    (unsigned long long)(clock_mono_ms() - begin));
}

static enum base base_kind;

static void make_base(const struct dir *d, const struct op *op)
{
	struct dir made = base_make(base_kind);

	(void)op;
	REQUIRE(rename(made.path, d->path) == 0);
}

static bool chosen(const struct op *op, const char *prefix)
{
	return op->base == base_kind && !op->composite && (prefix == NULL || str_starts(str_of(op->name), str_of(prefix)));
}

int main(int argc, char **argv)
{
	const char *seed_wish = getenv("PENNY_SEED"), *wish = getenv("PENNY_FAULTS"), *prefix = argc > 1 ? argv[1] : NULL;
	unsigned seed = seed_wish != NULL ? (unsigned)strtoul(seed_wish, NULL, 10) : (unsigned)time(NULL);

	told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(told != MAP_FAILED);
	work_in_memory();
	printf("# seed %u\n", seed);
	srand(seed);
	for (base_kind = 0; base_kind < BASES; base_kind++) {
		struct dir base = dir_make();

		REQUIRE(child(make_base, &base, NULL) == 0);
		close(base.fd);
		base.fd = open(base.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		REQUIRE(base.fd >= 0);
		for (size_t i = 0; i < COUNTOF(ops); i++) {
			if (chosen(&ops[i], prefix))
				fail_everywhere(&base, &ops[i], wish);
		}
		if (chosen(&watch, prefix))
			fail_everywhere(&base, &watch, wish);
		dir_remove(&base);
	}
	return tap_done();
}
