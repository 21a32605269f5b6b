/* SPDX-License-Identifier: ISC */
/* The engine on LMDB 0.9; the only file that includes <lmdb.h>. "index/index.mdb" without LMDB's own locks (the caller holds
 * the store's) and without syncs: pages are written by pwrite, the page that makes a commit count last, so whatever a
 * kill -9 leaves in the page cache is some commit's state. What a power cut leaves is not: pages reach the disk in any
 * order. So "index/synced" says, checksummed, which commit is wholly on the disk: written when the last to close has
 * synced, withdrawn (and that synced) before the first commit after it. After a reboot only such a commit is believed.
 *
 * Damage: LMDB follows what it maps. lmdb_check walks the file at every open, so damage done while nobody had it open is
 * ERR_CORRUPT; every value ends with a checksum of key and value, so what is read was put. Damage done to the file
 * under an open handle may crash the process in the mapping (as an unreadable sector does): then the next open
 * walks the file and refuses it, and the index is made anew. Nothing is written through the mapping, so a full
 * disk is an error of pwrite and no signal. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "engine.h"
#include "lmdb_check.h"

#define FILE_NAME "index/index.mdb"
#define SYNCED_NAME "index/synced"

enum {
	SEAL_OCTETS = 4,
	MODE = 0600,
	DIG_MAX_PAGES = 256,		/* of a small index: its free pages need not lie on the disk */
};

/* Only address space: the file is as long as what was written. */
static const size_t map_octets = sizeof(void *) > 4 ? (size_t)1 << 36 : (size_t)1 << 28;

const struct engine_facts engine_facts = { "LMDB", true };

struct engine {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *write;			/* between begin and commit */
	MDB_txn *read;			/* reset when it is not needed */
	bool changed;			/* "synced" is known to be withdrawn */
};

struct synced {
	char magic[8];
	uint64_t txnid;			/* 0: withdrawn */
	uint32_t reserved, crc;
};

/* -- errors -- */

static enum err_kind mdb_err(struct err *e, int r, const char *what)
{
	switch (r) {
	case MDB_NOTFOUND:
		return err_set(e, ERR_NOENT, 0, "index: %s: not found", what);
	case ENOSPC:
	case EDQUOT:
	case MDB_MAP_FULL:
		return err_set(e, ERR_NOSPC, r, "index: %s: no space", what);
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case EINTR:
	case MDB_TXN_FULL:
	case MDB_BAD_TXN:		/* an earlier call of the transaction has failed */
		return err_set(e, ERR_TEMP, r, "index: %s: %s", what, mdb_strerror(r));
	default:
		return err_set(e, ERR_CORRUPT, r, "index: %s: %s", what, mdb_strerror(r));
	}
}

/* -- which commit is on the disk -- */

static uint32_t synced_crc(const struct synced *s)
{
	return crc32c(0, s, offsetof(struct synced, crc));
}

/* The commit that was synced; 0 when that is not known. */
static uint64_t read_synced(void)
{
	struct synced s;
	int fd = open(SYNCED_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool ok = fd >= 0 && pread(fd, &s, sizeof s, 0) == (ssize_t)sizeof s;

	if (fd >= 0)
		close(fd);
	return ok && memcmp(s.magic, "PENNYLMD", sizeof s.magic) == 0 && s.crc == synced_crc(&s) ? s.txnid : 0;
}

static int write_synced(uint64_t txnid, bool durably)
{
	struct synced s = { "", txnid, 0, 0 };
	int fd = open(SYNCED_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, MODE);
	int r = 0;

	memcpy(s.magic, "PENNYLMD", sizeof s.magic);
	s.crc = synced_crc(&s);
	if (fd < 0)
		return errno;
	if (pwrite(fd, &s, sizeof s, 0) != (ssize_t)sizeof s || (durably && fdatasync(fd) < 0))
		r = errno;
	close(fd);
	return r;
}

/* Before the first commit of this handle: others that have it open did the same, and nobody can have been the last. */
static int withdraw_synced(struct engine *en)
{
	int r = 0;

	if (en->changed)
		return 0;
	if (read_synced() != 0)
		r = write_synced(0, true);
	en->changed = r == 0;
	return r;
}

/* -- open and close -- */

/* The transaction to read in: others may have committed since the last call, so outside of one it is begun anew. */
static int reading(struct engine *en, MDB_txn **out)
{
	int r = 0;

	*out = en->write;
	if (en->write != NULL)
		return 0;
	mdb_txn_reset(en->read);
	*out = en->read;
	r = mdb_txn_renew(en->read);
	if (r == MDB_MAP_RESIZED && (r = mdb_env_set_mapsize(en->env, 0)) == 0)
		r = mdb_txn_renew(en->read);
	return r;
}

/* The file as it is, before LMDB sees it. None, or an empty one, becomes a new one. */
static enum err_kind look_at_file(enum engine_state since, struct err *e)
{
	int fd = open(FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t txnid = 0;
	struct stat st;
	enum err_kind k;

	if (fd < 0 && errno == ENOENT)
		return engine_destroy(AT_FDCWD, e);	/* what is there is another engine's, or of no use */
	if (fd < 0)
		return err_sys(e, errno, "index: open");
	if (fstat(fd, &st) == 0 && st.st_size == 0)
		k = ERR_OK;
	else
		k = lmdb_check(fd, &txnid, e);
	close(fd);
	if (k == ERR_OK && since != ENGINE_CLEAN && since != ENGINE_DIED && txnid != read_synced())
		k = err_set(e, ERR_CORRUPT, 0, "index: commit %llu was not synced", (unsigned long long)txnid);
	return k;
}

static int open_dbi(struct engine *en)
{
	MDB_txn *t;
	int r = mdb_txn_begin(en->env, NULL, MDB_RDONLY, &t);

	if (r != 0)
		return r;
	if ((r = mdb_dbi_open(t, NULL, 0, &en->dbi)) == 0)
		r = mdb_txn_commit(t);
	else
		mdb_txn_abort(t);
	return r;
}

enum err_kind engine_open(enum engine_state since, struct engine **out, struct err *e)
{
	struct engine *en;
	enum err_kind k;
	int r;

	if (mkdir("index", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "index: make directory");
	if ((k = look_at_file(since, e)) != ERR_OK)
		return k;
	en = calloc(1, sizeof *en);
	if (en == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "index: no memory");
	if ((r = mdb_env_create(&en->env)) == 0 && (r = mdb_env_set_mapsize(en->env, map_octets)) == 0 &&
	    (r = mdb_env_open(en->env, FILE_NAME, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NORDAHEAD,
	    MODE)) == 0 && (r = open_dbi(en)) == 0)
		r = mdb_txn_begin(en->env, NULL, MDB_RDONLY, &en->read);
	if (r != 0) {
		engine_abandon(&en);
		return mdb_err(e, r, "open");
	}
	mdb_txn_reset(en->read);
	*out = en;
	return ERR_OK;
}

/* LMDB's own tree of free pages: by transaction, how many and which. Nobody reads them: they need not lie on the disk. */
static void dig_holes(struct engine *en, int fd, size_t page_octets)
{
	enum { FREE_DBI = 0 };
	MDB_cursor *c;
	MDB_txn *t;
	MDB_val k, v;
	int r = reading(en, &t);

	if (r != 0 || mdb_cursor_open(t, FREE_DBI, &c) != 0)
		return;
	for (r = mdb_cursor_get(c, &k, &v, MDB_FIRST); r == 0; r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		size_t n, page;

		memcpy(&n, v.mv_data, sizeof n);
		for (size_t i = 1; i <= n && (i + 1) * sizeof page <= v.mv_size; i++) {
			memcpy(&page, (const char *)v.mv_data + i * sizeof page, sizeof page);
			if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * page_octets),
			    (off_t)page_octets) < 0)
				n = 0;
		}
	}
	mdb_cursor_close(c);
}

/* What can't be synced is not kept: a later sync may succeed and mean nothing. */
static void sync_last(struct engine *en)
{
	MDB_stat st;
	int fd;
	MDB_envinfo info;

	if (mdb_env_info(en->env, &info) != 0 || info.me_last_txnid == 0 || read_synced() == info.me_last_txnid)
		return;
	if (mdb_env_sync(en->env, 1) != 0) {
		unlink(FILE_NAME);
		return;
	}
	if (info.me_last_pgno < DIG_MAX_PAGES && mdb_env_stat(en->env, &st) == 0 && mdb_env_get_fd(en->env, &fd) == 0)
		dig_holes(en, fd, st.ms_psize);
	(void)write_synced(info.me_last_txnid, false);
}

void engine_close(struct engine **en, bool last)
{
	if (*en == NULL)
		return;
	engine_abort(*en);
	if (last)
		sync_last(*en);
	engine_abandon(en);
}

/* Without locks a handle is only memory, mappings and descriptors. */
void engine_abandon(struct engine **en)
{
	if (*en == NULL)
		return;
	engine_abort(*en);
	if ((*en)->read != NULL)
		mdb_txn_abort((*en)->read);
	if ((*en)->env != NULL)
		mdb_env_close((*en)->env);
	free(*en);
	*en = NULL;
}

enum err_kind engine_destroy(int store_dirfd, struct err *e)
{
	int fd = openat(store_dirfd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	const struct dirent *d;
	DIR *dir;

	if (fd < 0)
		return errno == ENOENT ? ERR_OK : err_sys(e, errno, "index: open directory");
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return err_set(e, ERR_TEMP, ENOMEM, "index: no memory to list it");
	}
	while ((d = readdir(dir)) != NULL) {
		if (d->d_name[0] != '.')
			unlinkat(fd, d->d_name, 0);
	}
	closedir(dir);
	return ERR_OK;
}

/* -- transactions -- */

enum err_kind engine_begin(struct engine *en, struct err *e)
{
	int r;

	mdb_txn_reset(en->read);
	r = mdb_txn_begin(en->env, NULL, 0, &en->write);
	if (r == MDB_MAP_RESIZED && (r = mdb_env_set_mapsize(en->env, 0)) == 0)
		r = mdb_txn_begin(en->env, NULL, 0, &en->write);
	return r == 0 ? ERR_OK : mdb_err(e, r, "begin");
}

enum err_kind engine_commit(struct engine *en, struct err *e)
{
	MDB_txn *t = en->write;
	int r = withdraw_synced(en);

	if (r != 0) {
		engine_abort(en);
		return mdb_err(e, r, "withdraw");
	}
	en->write = NULL;
	r = mdb_txn_commit(t);
	return r == 0 ? ERR_OK : mdb_err(e, r, "commit");
}

void engine_abort(struct engine *en)
{
	if (en->write != NULL)
		mdb_txn_abort(en->write);
	en->write = NULL;
}

/* -- items -- */

static MDB_val val_of(struct str s)
{
	return (MDB_val){ s.n, (void *)(uintptr_t)s.p };
}

static uint32_t seal_of(struct str key, struct str value)
{
	return crc32c(crc32c(0, key.p, key.n), value.p, value.n);
}

static bool unseal(MDB_val key, MDB_val sealed, struct str *value)
{
	uint32_t seal;

	if (sealed.mv_size < SEAL_OCTETS)
		return false;
	*value = str_n(sealed.mv_data, sealed.mv_size - SEAL_OCTETS);
	memcpy(&seal, value->p + value->n, sizeof seal);
	return seal == seal_of(str_n(key.mv_data, key.mv_size), *value);
}

static enum err_kind damaged(struct err *e)
{
	return err_set(e, ERR_CORRUPT, 0, "index: damaged item");
}

/* A key that is not there: had its item's key been damaged, it would be one of the two around its place. */
static enum err_kind not_there(struct engine *en, MDB_txn *t, struct str key, struct err *e)
{
	static const MDB_cursor_op around[] = { MDB_SET_RANGE, MDB_PREV };
	MDB_val k = val_of(key), v;
	struct str value;
	MDB_cursor *c;
	int r = mdb_cursor_open(t, en->dbi, &c);
	bool sound = true;

	if (r != 0)
		return mdb_err(e, r, "cursor");
	for (size_t i = 0; i < COUNTOF(around) && sound; i++) {
		r = mdb_cursor_get(c, &k, &v, around[i]);
		if (r == MDB_NOTFOUND && i == 0) {
			r = mdb_cursor_get(c, &k, &v, MDB_LAST);
			i++;
		}
		sound = r != 0 || unseal(k, v, &value);
	}
	mdb_cursor_close(c);
	if (!sound)
		return damaged(e);
	return r == 0 || r == MDB_NOTFOUND ? err_set(e, ERR_NOENT, 0, "index: get: not found") : mdb_err(e, r, "get");
}

enum err_kind engine_get(struct engine *en, struct str key, struct str *out, struct err *e)
{
	MDB_val k = val_of(key), v;
	MDB_txn *t;
	int r = reading(en, &t);

	if (key.n == 0)
		return err_set(e, ERR_NOENT, 0, "index: get: empty key");
	if (r == 0)
		r = mdb_get(t, en->dbi, &k, &v);
	if (r == MDB_NOTFOUND)
		return not_there(en, t, key, e);
	if (r != 0)
		return mdb_err(e, r, "get");
	return unseal(k, v, out) ? ERR_OK : damaged(e);
}

enum err_kind engine_put(struct engine *en, struct str key, struct str value, struct err *e)
{
	char sealed[ENGINE_VALUE_MAX_OCTETS + SEAL_OCTETS];
	MDB_val k = val_of(key), v = { value.n + SEAL_OCTETS, sealed };
	uint32_t seal;
	int r;

	if (key.n == 0 || key.n > ENGINE_KEY_MAX_OCTETS || value.n > ENGINE_VALUE_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets, value of %zu", key.n, value.n);
	seal = seal_of(key, value);
	if (value.n > 0)
		memcpy(sealed, value.p, value.n);
	memcpy(sealed + value.n, &seal, sizeof seal);
	r = mdb_put(en->write, en->dbi, &k, &v, 0);
	return r == 0 ? ERR_OK : mdb_err(e, r, "put");
}

enum err_kind engine_delete(struct engine *en, struct str key, struct err *e)
{
	MDB_val k = val_of(key);
	int r = key.n == 0 ? MDB_NOTFOUND : mdb_del(en->write, en->dbi, &k, NULL);

	return r == 0 ? ERR_OK : mdb_err(e, r, "delete");
}

/* -- scans -- */

/* The first key at or after `from`, which may be empty. */
static int first_from(MDB_cursor *c, struct str from, MDB_val *k, MDB_val *v)
{
	*k = val_of(from);
	return mdb_cursor_get(c, k, v, from.n > 0 ? MDB_SET_RANGE : MDB_FIRST);
}

enum err_kind engine_scan(struct engine *en, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e)
{
	MDB_cursor *c;
	MDB_txn *t;
	MDB_val k, v;
	struct str value;
	bool sound = true;
	int r;

	if (from.n > ENGINE_KEY_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets", from.n);
	if ((r = reading(en, &t)) != 0 || (r = mdb_cursor_open(t, en->dbi, &c)) != 0)
		return mdb_err(e, r, "cursor");
	r = first_from(c, from, &k, &v);
	while (r == 0 && str_starts(str_n(k.mv_data, k.mv_size), prefix) && (sound = unseal(k, v, &value)) &&
	    each(ctx, str_n(k.mv_data, k.mv_size), value))
		r = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	mdb_cursor_close(c);
	if (!sound)
		return damaged(e);
	return r == 0 || r == MDB_NOTFOUND ? ERR_OK : mdb_err(e, r, "scan");
}

enum err_kind engine_delete_prefix(struct engine *en, struct str prefix, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	int r;

	if (prefix.n > ENGINE_KEY_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "index: key of %zu octets", prefix.n);
	if ((r = mdb_cursor_open(en->write, en->dbi, &c)) != 0)
		return mdb_err(e, r, "cursor");
	/* looked for anew each time: where a cursor stands after a delete is a subtle matter */
	while ((r = first_from(c, prefix, &k, &v)) == 0 && str_starts(str_n(k.mv_data, k.mv_size), prefix)) {
		if ((r = mdb_cursor_del(c, 0)) != 0)
			break;
	}
	mdb_cursor_close(c);
	return r == 0 || r == MDB_NOTFOUND ? ERR_OK : mdb_err(e, r, "delete prefix");
}

enum err_kind engine_tend(struct engine *en, struct err *e)
{
	(void)en;
	(void)e;
	return ERR_OK;
}
