/* SPDX-License-Identifier: ISC */
/* The engine on Berkeley DB 5.3; the only file that includes <db.h>. One environment per store in "index", without the
 * lock subsystem: the caller holds the store's kernel lock during every call, and asks for recovery when the last
 * process inside died, so nobody ever waits on a mutex of the dead. Commits are written but not synced: the journal is
 * the truth; after a reboot Berkeley DB's own log makes an earlier state. Pages carry checksums, so one that was damaged on
 * the disk is an error and not an answer; the cache that processes share is not guarded. */
#include <db.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"

enum {
	CACHE_OCTETS = 256 * 1024,
	LOG_FILE_OCTETS = 256 * 1024,
	BIG_OCTETS = 4 << 20,		/* an index of this length (50,000 messages) gets more: it is written in a third of the time */
	BIG_CACHE_OCTETS = 4 << 20,
	BIG_LOG_FILE_OCTETS = 2 << 20,
	BIG_CHECKPOINT_KB = 4096,
	LOG_BUFFER_OCTETS = 64 * 1024,
	LOG_KEPT_OCTETS = 8 * 1024,	/* more log than this does not stay beside a small, idle index */
	RESET_MAX_OCTETS = 256 * 1024,	/* small: its pages are written once to be rid of the log */
	PAGE_OCTETS = 16 * 1024,
	BLOCK_OCTETS = 4096,		/* of file systems */
	CHECKPOINT_KB = 1024,
	BULK_OCTETS = 256 * 1024,
	REGIONS_MAX = 16,		/* an environment without locks and replication has three */
	FDS_MAX = 64,			/* pages and log have a few */
};

const struct engine_facts engine_facts = { "Berkeley DB", true };

struct engine {
	DB_ENV *env;
	DB *db;
	DB_TXN *txn;
	char *bulk;
	bool big;
};

/* -- region files: allocated before they are mapped, so that a full disk is ENOSPC and not SIGBUS. Berkeley DB gives
 * these functions no context and the second one no length, hence the process-wide table; a process has one engine. -- */

static struct region {
	void *addr;
	size_t len;
} regions[REGIONS_MAX];
static bool regions_made;	/* by this process: nobody else has the environment open */

/* The one that names the others: whoever makes it makes them all. */
static bool is_first_region(const char *path)
{
	size_t n = strlen(path);

	return n >= 3 && strcmp(path + n - 3, "001") == 0;
}

static int region_create(const char *path, size_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -1;
	regions_made = true;
	if ((r = posix_fallocate(fd, 0, (off_t)len)) != 0) {
		close(fd);
		unlink(path);
		errno = r;
		return -1;
	}
	return fd;
}

/* An existing region is joined whatever *is_create asks: the answer in it tells Berkeley DB whether to initialize. But
 * when this process made the first one just now, the others are leftovers; and when it comes back to the first, something
 * failed on the way: Berkeley DB would wait many seconds for it to be initialized by somebody. */
static int region_file(const char *path, size_t *len, int *is_create)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && regions_made) {
		close(fd);
		errno = ENOMEM;
		if (is_first_region(path) || unlink(path) < 0)
			return -1;
		return region_create(path, *len);
	}
	if (fd >= 0) {
		*is_create = 0;
		if (fstat(fd, &st) == 0 && st.st_size >= (off_t)*len) {
			*len = (size_t)st.st_size;
			return fd;
		}
		close(fd);
		errno = EINVAL;
		return -1;
	}
	return errno == ENOENT && *is_create ? region_create(path, *len) : -1;
}

static int region_map(DB_ENV *env, char *path, size_t len, int *is_create, void **addr)
{
	int fd, r = 0;
	size_t i = 0;
	void *p;

	(void)env;
	while (i < REGIONS_MAX && regions[i].addr != NULL)
		i++;
	if (i == REGIONS_MAX)
		return ENOMEM;
	fd = region_file(path, &len, is_create);
	if (fd < 0)
		return errno;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		r = errno;
	else
		regions[i] = (struct region){ *addr = p, len };
	close(fd);
	return r;
}

static int region_unmap(DB_ENV *env, void *addr)
{
	(void)env;
	for (size_t i = 0; i < REGIONS_MAX; i++) {
		if (regions[i].addr == addr) {
			munmap(addr, regions[i].len);
			regions[i] = (struct region){ NULL, 0 };
			return 0;
		}
	}
	return EINVAL;
}

/* For an environment that nobody will touch again, and that can't be closed. */
static void regions_forget(void)
{
	for (size_t i = 0; i < REGIONS_MAX; i++) {
		if (regions[i].addr != NULL)
			munmap(regions[i].addr, regions[i].len);
		regions[i] = (struct region){ NULL, 0 };
	}
}

/* -- descriptors: an environment that is abandoned can't be closed, but a session that outlives many deaths of others must
 * not run out of descriptors -- */

static int fds[FDS_MAX];
static size_t n_fds;

static int fd_open(const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = open(path, flags | O_CLOEXEC, (flags & O_CREAT) ? va_arg(ap, int) : 0);
	va_end(ap);
	if (fd >= 0 && n_fds < FDS_MAX)
		fds[n_fds++] = fd;
	return fd;
}

static int fd_close(int fd)
{
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] == fd) {
			fds[i] = fds[--n_fds];
			break;
		}
	}
	return close(fd);
}

static void fds_forget(void)
{
	while (n_fds > 0)
		close(fds[--n_fds]);
}

/* -- errors -- */

/* A recovery that finds the disk full says only that a recovery is needed. These are Berkeley DB's writes, noticed. */
static bool disk_was_full;

static ssize_t notice(ssize_t r)
{
	if (r < 0 && (errno == ENOSPC || errno == EDQUOT))
		disk_was_full = true;
	return r;
}

static ssize_t write_noticed(int fd, const void *p, size_t n)
{
	return notice(write(fd, p, n));
}

static ssize_t pwrite_noticed(int fd, const void *p, size_t n, off_t at)
{
	return notice(pwrite(fd, p, n, at));
}

static enum err_kind db_err(struct err *e, int r, const char *what)
{
	switch (r) {
	case DB_NOTFOUND:
		return err_set(e, ERR_NOENT, 0, "index: %s: not found", what);
	case ENOSPC:
	case EDQUOT:
		return err_set(e, ERR_NOSPC, r, "index: %s: no space", what);
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case EINTR:
		return err_set(e, ERR_TEMP, r, "index: %s: %s", what, db_strerror(r));
	default:
		return err_set(e, ERR_CORRUPT, r, "index: %s: %s", what, db_strerror(r));
	}
}

/* Berkeley DB prints to standard error unless it is given somebody to tell. */
static void be_silent(const DB_ENV *env, const char *prefix, const char *msg)
{
	(void)env;
	(void)prefix;
	(void)msg;
}

/* -- open and close -- */

static bool is_big(void)
{
	struct stat st;

	return stat("index/index.db", &st) == 0 && st.st_size >= BIG_OCTETS;
}

static int open_env(DB_ENV *env, bool big, enum engine_state since)
{
	uint32_t flags = DB_CREATE | DB_INIT_TXN | DB_INIT_LOG | DB_INIT_MPOOL |
	    (since != ENGINE_CLEAN ? DB_RECOVER : 0);
	int r;

	env->set_errcall(env, be_silent);
	if ((r = env->set_cachesize(env, 0, big ? BIG_CACHE_OCTETS : CACHE_OCTETS, 1)) != 0 ||
	    (r = env->set_lg_max(env, big ? BIG_LOG_FILE_OCTETS : LOG_FILE_OCTETS)) != 0 ||
	    (r = env->set_lg_bsize(env, LOG_BUFFER_OCTETS)) != 0 ||
	    (r = env->log_set_config(env, DB_LOG_AUTO_REMOVE, 1)) != 0 ||
	    (r = env->set_flags(env, DB_TXN_WRITE_NOSYNC, 1)) != 0)
		return r;
	return env->open(env, "index", flags, 0600);
}

static int open_db(struct engine *en)
{
	int r = db_create(&en->db, en->env, 0);

	if (r == 0)
		r = en->db->set_pagesize(en->db, PAGE_OCTETS);
	if (r == 0)
		r = en->db->set_flags(en->db, DB_CHKSUM);
	if (r == 0)
		r = en->db->open(en->db, NULL, "index.db", NULL, DB_BTREE,
		    DB_CREATE | DB_AUTO_COMMIT, 0600);
	return r;
}

/* What Berkeley DB lets pass: a page whose beginning is zero counts as never written, and a page may be younger than
 * the end of a log that was lost or cut. Looks at the page headers as the file has them, so only whoever opens the
 * environment first can ask, or who recovered it, when nothing is in the cache alone. */
static int check_pages(struct engine *en)
{
	struct {			/* how every page begins, in the order of the machine that made it */
		uint32_t log_file, log_offset, number;
	} head;
	DB_LOG_STAT *log;
	off_t at = 0;
	int fd, r = en->env->log_stat(en->env, &log, 0);

	if (r != 0)
		return r;
	fd = open("index/index.db", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		r = errno;
	for (; r == 0 && pread(fd, &head, sizeof head, at) == (ssize_t)sizeof head; at += PAGE_OCTETS) {
		if (head.number != at / PAGE_OCTETS || head.log_file > log->st_cur_file ||
		    (head.log_file == log->st_cur_file && head.log_offset > log->st_cur_offset))
			r = DB_VERIFY_BAD;
	}
	if (fd >= 0)
		close(fd);
	free(log);
	return r;
}

/* Region files are over a megabyte, and of use only to processes that share them. */
static void remove_regions(void)
{
	char name[32];

	for (int i = 1; i < REGIONS_MAX; i++) {
		snprintf(name, sizeof name, "index/__db.%03d", i);
		unlink(name);
	}
}

/* An empty directory unless our pages are in it: what else lies there is another engine's, or of no use without them. */
static enum err_kind make_directory(struct err *e)
{
	if (mkdir("index", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "index: make directory");
	return faccessat(AT_FDCWD, "index/index.db", F_OK, 0) < 0 && errno == ENOENT ?
	    engine_destroy(AT_FDCWD, e) : ERR_OK;
}

enum err_kind engine_open(enum engine_state since, struct engine **out, struct err *e)
{
	enum err_kind k = make_directory(e);
	struct engine *en;
	int r;

	if (k != ERR_OK)
		return k;
	en = calloc(1, sizeof *en);
	if (en == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "index: no memory");
	if (since != ENGINE_CLEAN)	/* Berkeley DB looks into them, and torn pages of them would be its death */
		remove_regions();
	db_env_set_func_region_map(region_map, region_unmap);
	db_env_set_func_open(fd_open);
	db_env_set_func_close(fd_close);
	db_env_set_func_write(write_noticed);
	db_env_set_func_pwrite(pwrite_noticed);
	regions_made = disk_was_full = false;
	en->big = is_big();
	r = db_env_create(&en->env, 0);
	if (r == 0)
		r = open_env(en->env, en->big, since);
	if (r == 0)
		r = open_db(en);
	if (r == 0 && regions_made)
		r = check_pages(en);
	if (r != 0) {
		engine_close(&en, false);
		return db_err(e, disk_was_full ? ENOSPC : r, "open");
	}
	*out = en;
	return ERR_OK;
}

/* A function on each file in "index" whose name begins so. */
static void each_file(int dirfd, const char *begins, void (*fn)(int fd, const char *name, void *ctx), void *ctx)
{
	int fd = openat(dirfd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	const struct dirent *d;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((d = readdir(dir)) != NULL) {
		if (d->d_name[0] != '.' && str_starts(str_of(d->d_name), str_of(begins)))
			fn(fd, d->d_name, ctx);
	}
	closedir(dir);
}

static void remove_file(int fd, const char *name, void *ctx)
{
	(void)ctx;
	unlinkat(fd, name, 0);
}

static void sum_file(int fd, const char *name, void *ctx)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		*(uint64_t *)ctx += (uint64_t)st.st_blocks * 512;
}

/* Pages carry the place of their last change in the log, and log files are only removed whole. So that a small store does
 * not keep a log that outweighs it, its pages are written with no such place, and then need no log. */
static bool log_wants_to_go(void)
{
	uint64_t log = 0, pages = 0;

	each_file(AT_FDCWD, "log.", sum_file, &log);
	each_file(AT_FDCWD, "index.db", sum_file, &pages);
	return log > LOG_KEPT_OCTETS && pages <= RESET_MAX_OCTETS;
}

static bool sync_entries(void)
{
	int fd = open("index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Durable: an old log that came back after a power cut would be taken for that of newer pages. */
static void remove_log(void)
{
	each_file(AT_FDCWD, "log.", remove_file, NULL);
	(void)sync_entries();
}

/* Pages are mostly empty while an index is small: what of them is zero need not lie on the disk. */
static void dig_holes(void)
{
	static const char zeros[BLOCK_OCTETS];
	char block[BLOCK_OCTETS];
	int fd = open("index/index.db", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	for (off_t at = 0; fd >= 0 && at < RESET_MAX_OCTETS &&
	    pread(fd, block, sizeof block, at) == (ssize_t)sizeof block; at += BLOCK_OCTETS) {
		if (memcmp(block, zeros, sizeof block) == 0 &&
		    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, BLOCK_OCTETS) < 0)
			break;
	}
	if (fd >= 0)
		close(fd);
}

void engine_close(struct engine **en, bool last)
{
	bool clean = last, drop_log = false;

	if (*en == NULL)
		return;
	if ((*en)->txn != NULL)
		(*en)->txn->abort((*en)->txn);
	if (last)
		clean = (*en)->env->txn_checkpoint((*en)->env, 0, 0, 0) == 0;
	if ((*en)->db != NULL)
		clean = (*en)->db->close((*en)->db, clean ? 0 : DB_NOSYNC) == 0 && clean;
	if (clean && log_wants_to_go() && sync_entries())	/* no part of the log without the rest meets the pages */
		drop_log = (*en)->env->lsn_reset((*en)->env, "index.db", 0) == 0;
	if ((*en)->env != NULL)
		clean = (*en)->env->close((*en)->env, 0) == 0 && clean;
	if (clean && drop_log)
		remove_log();
	if (clean) {
		dig_holes();
		remove_regions();
	}
	regions_forget();
	fds_forget();
	free((*en)->bulk);
	free(*en);
	*en = NULL;
}

void engine_abandon(struct engine **en)
{
	if (*en == NULL)
		return;
	regions_forget();
	fds_forget();
	free((*en)->bulk);
	free(*en);
	*en = NULL;
}

/* The pages go first, and durably: without their log they would be taken for whole. */
enum err_kind engine_destroy(int store_dirfd, struct err *e)
{
	int fd = openat(store_dirfd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	enum err_kind k = ERR_OK;

	if (fd < 0)
		return errno == ENOENT ? ERR_OK : err_sys(e, errno, "index: open directory");
	if (unlinkat(fd, "index.db", 0) < 0 ? errno != ENOENT : fsync(fd) < 0)
		k = err_sys(e, errno, "index: remove");
	else
		each_file(store_dirfd, "", remove_file, NULL);
	close(fd);
	return k;
}

/* -- transactions -- */

enum err_kind engine_begin(struct engine *en, struct err *e)
{
	int r = en->env->txn_begin(en->env, NULL, &en->txn, 0);

	return r == 0 ? ERR_OK : db_err(e, r, "begin");
}

enum err_kind engine_commit(struct engine *en, struct err *e)
{
	DB_TXN *t = en->txn;
	int r;

	en->txn = NULL;
	r = t->commit(t, 0);
	return r == 0 ? ERR_OK : db_err(e, r, "commit");
}

void engine_abort(struct engine *en)
{
	if (en->txn != NULL)
		en->txn->abort(en->txn);
	en->txn = NULL;
}

static DBT dbt_of(struct str s)
{
	DBT d;

	memset(&d, 0, sizeof d);
	d.data = (void *)(uintptr_t)s.p;
	d.size = (uint32_t)s.n;
	return d;
}

enum err_kind engine_get(struct engine *en, struct str key, struct str *out, struct err *e)
{
	DBT k = dbt_of(key), v = { 0 };
	int r = en->db->get(en->db, en->txn, &k, &v, 0);

	if (r != 0)
		return db_err(e, r, "get");
	*out = str_n(v.data, v.size);
	return ERR_OK;
}

enum err_kind engine_put(struct engine *en, struct str key, struct str value, struct err *e)
{
	DBT k = dbt_of(key), v = dbt_of(value);
	int r;

	if (key.n == 0 || key.n > ENGINE_KEY_MAX_OCTETS || value.n > ENGINE_VALUE_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets, value of %zu", key.n, value.n);
	r = en->db->put(en->db, en->txn, &k, &v, 0);
	return r == 0 ? ERR_OK : db_err(e, r, "put");
}

enum err_kind engine_delete(struct engine *en, struct str key, struct err *e)
{
	DBT k = dbt_of(key);
	int r = en->db->del(en->db, en->txn, &k, 0);

	return r == 0 ? ERR_OK : db_err(e, r, "delete");
}

/* -- scans -- */

/* Hands out one bulk buffer's items; false when it is over. */
static bool each_of_bulk(DBT *bulk, struct str prefix,
    bool (*each)(void *, struct str, struct str), void *ctx)
{
	void *at;

	DB_MULTIPLE_INIT(at, bulk);
	for (;;) {
		void *k, *v;
		size_t nk, nv;
		struct str key;

		DB_MULTIPLE_KEY_NEXT(at, bulk, k, nk, v, nv);
		if (at == NULL)
			return true;
		key = str_n(k, nk);
		if (!str_starts(key, prefix) || !each(ctx, key, str_n(v, nv)))
			return false;
	}
}

enum err_kind engine_scan(struct engine *en, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e)
{
	char first[ENGINE_KEY_MAX_OCTETS];
	DBT k = { 0 }, v = { 0 };
	DBC *c;
	int r;

	if (from.n > sizeof first)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets", from.n);
	if (en->bulk == NULL && (en->bulk = malloc(BULK_OCTETS)) == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "index: no memory to scan");
	if ((r = en->db->cursor(en->db, en->txn, &c, 0)) != 0)
		return db_err(e, r, "cursor");
	memcpy(first, from.p, from.n);
	k.data = first;
	k.size = (uint32_t)from.n;
	k.ulen = sizeof first;
	k.flags = DB_DBT_USERMEM;
	v.data = en->bulk;
	v.ulen = BULK_OCTETS;
	v.flags = DB_DBT_USERMEM;
	r = c->get(c, &k, &v, DB_SET_RANGE | DB_MULTIPLE_KEY);
	while (r == 0 && each_of_bulk(&v, prefix, each, ctx))
		r = c->get(c, &k, &v, DB_NEXT | DB_MULTIPLE_KEY);
	c->close(c);
	return r == 0 || r == DB_NOTFOUND ? ERR_OK : db_err(e, r, "scan");
}

enum err_kind engine_delete_prefix(struct engine *en, struct str prefix, struct err *e)
{
	char key[ENGINE_KEY_MAX_OCTETS];
	DBT k = { 0 }, v = { 0 };
	DBC *c;
	int r;

	if (prefix.n > sizeof key)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets", prefix.n);
	if ((r = en->db->cursor(en->db, en->txn, &c, 0)) != 0)
		return db_err(e, r, "cursor");
	memcpy(key, prefix.p, prefix.n);
	k.data = key;
	k.size = (uint32_t)prefix.n;
	k.ulen = sizeof key;
	k.flags = DB_DBT_USERMEM;
	v.flags = DB_DBT_PARTIAL;	/* of the value nothing */
	r = c->get(c, &k, &v, DB_SET_RANGE);
	while (r == 0 && str_starts(str_n(k.data, k.size), prefix)) {
		if ((r = c->del(c, 0)) == 0)
			r = c->get(c, &k, &v, DB_NEXT);
	}
	c->close(c);
	return r == 0 || r == DB_NOTFOUND ? ERR_OK : db_err(e, r, "delete prefix");
}

enum err_kind engine_tend(struct engine *en, struct err *e)
{
	int r;

	if (!en->big && is_big())	/* the cache stays as it is until the environment is made anew */
		en->big = en->env->set_lg_max(en->env, BIG_LOG_FILE_OCTETS) == 0;
	r = en->env->txn_checkpoint(en->env, en->big ? BIG_CHECKPOINT_KB : CHECKPOINT_KB, 0, 0);
	return r == 0 ? ERR_OK : db_err(e, r, "checkpoint");
}
