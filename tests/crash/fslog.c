/* SPDX-License-Identifier: ISC */
/* The recorder: definitions of the calls that change files. Each does the real thing first and notes what really
 * happened (a short write is a short write). An event belongs to the record when the file or directory it is about does:
 * inodes are known from the walk at the start, and from being created in a known directory. One thread. */
#undef _FORTIFY_SOURCE		/* which would put its own inlines in the place of these definitions */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fslog.h"

/* Files that are mapped for writing. Small ones are looked at with every event, the others at some marks. */
static const struct mapped {
	const char *pattern;
	bool at_marks;
} mapped[] = { { "ctl", false }, { "__db.[0-9][0-9][0-9]", true } };	/* a new database is first called __db., too */

enum { KNOWN_MAX = 1 << 16, MAPPED_FILES_MAX = 16, MAPPED_OCTETS_MAX = 4 << 20, PATH_OCTETS = 512,
	MARKS_PER_LOOK = 8 };

static struct fslog *log_now;
static uint64_t known[KNOWN_MAX];	/* open-addressed set of inodes; 0: free */
static dev_t known_dev;
static struct mapped_file {
	uint64_t ino;
	int fd;
	bool at_marks;
	size_t last, last_len;		/* the last look, in the record's data */
} files[MAPPED_FILES_MAX];
static size_t n_files, n_marks;

#define REAL(name, type) \
	static __typeof__(type) real; \
	if (real == NULL) \
		real = (type)(uintptr_t)dlsym(RTLD_NEXT, #name)

/* -- what is known -- */

static size_t slot_of(uint64_t ino)
{
	size_t i = (size_t)(ino * 0x9e3779b97f4a7c15u >> 48) % KNOWN_MAX;

	while (known[i] != 0 && known[i] != ino)
		i = (i + 1) % KNOWN_MAX;
	return i;
}

static bool is_known(uint64_t ino)
{
	return known[slot_of(ino)] == ino;
}

static void make_known(uint64_t ino)
{
	known[slot_of(ino)] = ino;
}

static uint64_t ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == known_dev && is_known(st.st_ino) ? st.st_ino : 0;
}

struct place {
	uint64_t dir;		/* 0: not in the record */
	const char *name;
	struct stat st;		/* of what is there, if `there` */
	bool there;
};

static struct place place_of(int dirfd, const char *path)
{
	char dir[PATH_OCTETS] = ".";
	const char *slash = strrchr(path, '/');
	struct place p = { .name = slash != NULL ? slash + 1 : path };
	struct stat st;

	if (log_now == NULL)
		return p;
	if (slash != NULL)
		snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (fstatat(dirfd, dir, &st, 0) == 0 && st.st_dev == known_dev && is_known(st.st_ino))
		p.dir = st.st_ino;
	p.there = p.dir != 0 && fstatat(dirfd, path, &p.st, AT_SYMLINK_NOFOLLOW) == 0;
	return p;
}

/* -- noting -- */

static struct fs_event *plain_event(enum fs_op op)
{
	struct fs_event *ev;

	if (log_now->n == FSLOG_EVENTS_MAX) {
		log_now->full = true;
		return NULL;
	}
	ev = &log_now->event[log_now->n++];
	*ev = (struct fs_event){ .op = op };
	return ev;
}

static size_t keep_data(const void *p, size_t n)
{
	size_t at = log_now->n_data;

	if (n > FSLOG_DATA_MAX - at) {
		log_now->full = true;
		return 0;
	}
	memcpy(log_now->data + at, p, n);
	log_now->n_data += n;
	return at;
}

static void look_at(struct mapped_file *f)
{
	static char octets[MAPPED_OCTETS_MAX];
	REAL(pread, ssize_t (*)(int, void *, size_t, off_t));
	ssize_t n = real(f->fd, octets, sizeof octets, 0);
	struct fs_event *ev;

	if (n <= 0 || ((size_t)n == f->last_len && memcmp(octets, log_now->data + f->last, (size_t)n) == 0))
		return;
	if ((ev = plain_event(FS_MAPPED)) == NULL)
		return;
	ev->ino = f->ino;
	ev->len = f->last_len = (size_t)n;
	ev->data = f->last = keep_data(octets, (size_t)n);
}

static void look_at_mapped(bool mark)
{
	int was = errno;

	for (size_t i = 0; i < n_files; i++) {
		if (mark || !files[i].at_marks)
			look_at(&files[i]);
	}
	errno = was;
}

/* What was stored through mappings before this call was stored before it. */
static struct fs_event *event(enum fs_op op, uint64_t ino)
{
	struct fs_event *ev;

	look_at_mapped(false);
	ev = plain_event(op);
	if (ev != NULL)
		ev->ino = ino;
	return ev;
}

static void entry_event(enum fs_op op, const struct place *p, uint64_t ino)
{
	struct fs_event *ev = event(op, ino);

	if (ev == NULL)
		return;
	ev->dir = p->dir;
	snprintf(ev->name, sizeof ev->name, "%s", p->name);
}

static void watch_mapped(const char *name, int fd, uint64_t ino)
{
	for (size_t i = 0; i < sizeof mapped / sizeof mapped[0]; i++) {
		int own;

		if (fnmatch(mapped[i].pattern, name, 0) != 0 ||
		    n_files == MAPPED_FILES_MAX || (own = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
			continue;
		files[n_files++] = (struct mapped_file){ .ino = ino, .fd = own, .at_marks = mapped[i].at_marks };
	}
}

static void noted_write(int fd, const struct iovec *iov, int n, off_t off, ssize_t done)
{
	uint64_t ino = log_now != NULL && done > 0 ? ino_of(fd) : 0;
	struct fs_event *ev;
	size_t left = (size_t)done;

	if (ino == 0 || (ev = event(FS_WRITE, ino)) == NULL)
		return;
	ev->off = (uint64_t)off;
	ev->len = (uint64_t)done;
	ev->data = log_now->n_data;
	for (int i = 0; i < n && left > 0; i++) {
		size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

		keep_data(iov[i].iov_base, part);
		left -= part;
	}
}

/* A hole is what a write of zeros is, but does not make the file longer. */
static void noted_hole(int fd, off_t off, off_t n, int r)
{
	static const char zeros[4096];
	struct stat st;

	if (r < 0 || log_now == NULL || fstat(fd, &st) < 0)
		return;
	for (off_t end = off + n < st.st_size ? off + n : st.st_size; off < end; off += (off_t)sizeof zeros) {
		size_t len = end - off < (off_t)sizeof zeros ? (size_t)(end - off) : sizeof zeros;

		noted_write(fd, &(struct iovec){ (void *)(uintptr_t)zeros, len }, 1, off, (ssize_t)len);
	}
}

static void noted_sync(enum fs_op op, int fd, int r)
{
	uint64_t ino = log_now != NULL && r == 0 ? ino_of(fd) : 0;

	if (ino != 0)
		event(op, ino);
}

static void noted_size(enum fs_op op, int fd, uint64_t octets, int r)
{
	uint64_t ino = log_now != NULL && r == 0 ? ino_of(fd) : 0;
	struct fs_event *ev = ino != 0 ? event(op, ino) : NULL;

	if (ev != NULL)
		ev->len = octets;
}

static void noted_open(const struct place *p, int flags, int fd)
{
	struct stat st;

	if (p->dir == 0 || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	if (!p->there && (flags & O_CREAT)) {
		make_known(st.st_ino);
		entry_event(FS_CREATE, p, st.st_ino);
		watch_mapped(p->name, fd, st.st_ino);
	} else if (p->there && (flags & O_TRUNC) && p->st.st_size > 0) {
		noted_size(FS_SIZE, fd, 0, 0);
	}
}

/* -- the calls -- */

static int real_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	REAL(openat, int (*)(int, const char *, int, ...));
	return real(dirfd, path, flags, mode);
}

static int open_noted(int dirfd, const char *path, int flags, mode_t mode)
{
	struct place p = place_of(dirfd, (flags & (O_CREAT | O_TRUNC)) != 0 ? path : "/");
	int fd = real_openat(dirfd, path, flags, mode);

	noted_open(&p, flags, fd);
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return open_noted(AT_FDCWD, path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return open_noted(dirfd, path, flags, mode);
}

ssize_t write(int fd, const void *p, size_t n)
{
	REAL(write, ssize_t (*)(int, const void *, size_t));
	off_t off = log_now != NULL ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t w = real(fd, p, n);

	noted_write(fd, &(struct iovec){ (void *)(uintptr_t)p, n }, 1, off, w);
	return w;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	REAL(pwrite, ssize_t (*)(int, const void *, size_t, off_t));
	ssize_t w = real(fd, p, n, off);

	noted_write(fd, &(struct iovec){ (void *)(uintptr_t)p, n }, 1, off, w);
	return w;
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	REAL(writev, ssize_t (*)(int, const struct iovec *, int));
	off_t off = log_now != NULL ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t w = real(fd, iov, n);

	noted_write(fd, iov, n, off, w);
	return w;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	REAL(pwritev, ssize_t (*)(int, const struct iovec *, int, off_t));
	ssize_t w = real(fd, iov, n, off);

	noted_write(fd, iov, n, off, w);
	return w;
}

int ftruncate(int fd, off_t octets)
{
	REAL(ftruncate, int (*)(int, off_t));
	int r = real(fd, octets);

	noted_size(FS_SIZE, fd, (uint64_t)octets, r);
	return r;
}

int posix_fallocate(int fd, off_t off, off_t n)
{
	REAL(posix_fallocate, int (*)(int, off_t, off_t));
	int r = real(fd, off, n);

	noted_size(FS_ALLOC, fd, (uint64_t)(off + n), r);
	return r;
}

int fallocate(int fd, int mode, off_t off, off_t n)
{
	REAL(fallocate, int (*)(int, int, off_t, off_t));
	int r = real(fd, mode, off, n);

	if (mode == 0)
		noted_size(FS_ALLOC, fd, (uint64_t)(off + n), r);
	else if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		noted_hole(fd, off, n, r);
	else if (log_now != NULL && ino_of(fd) != 0)
		log_now->full = true;
	return r;
}

int fsync(int fd)
{
	REAL(fsync, int (*)(int));
	int r = real(fd);

	noted_sync(FS_SYNC, fd, r);
	return r;
}

int fdatasync(int fd)
{
	REAL(fdatasync, int (*)(int));
	int r = real(fd);

	noted_sync(FS_DATASYNC, fd, r);
	return r;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	REAL(linkat, int (*)(int, const char *, int, const char *, int));
	struct place p = place_of(to_fd, to);
	struct stat st;
	int r = real(from_fd, from, to_fd, to, flags);

	if (r == 0 && p.dir != 0 && fstatat(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		entry_event(FS_LINK, &p, st.st_ino);
	return r;
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	REAL(renameat, int (*)(int, const char *, int, const char *));
	struct place p = place_of(from_fd, from), q = place_of(to_fd, to);
	int r = real(from_fd, from, to_fd, to);
	struct fs_event *ev;

	if (r == 0 && p.dir != 0 && (ev = event(FS_RENAME, p.st.st_ino)) != NULL) {
		ev->dir = p.dir;
		ev->to_dir = q.dir;
		snprintf(ev->name, sizeof ev->name, "%s", p.name);
		snprintf(ev->to_name, sizeof ev->to_name, "%s", q.name);
	}
	return r;
}

/* Nobody exchanges names or leaves whiteouts in a store: a record with that is not whole. */
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	REAL(renameat2, int (*)(int, const char *, int, const char *, unsigned));

	if (log_now != NULL && flags != 0)
		log_now->full = true;
	return flags == 0 ? renameat(from_fd, from, to_fd, to) : real(from_fd, from, to_fd, to, flags);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void forget_mapped(uint64_t ino)
{
	for (size_t i = 0; i < n_files; i++) {
		if (files[i].ino == ino) {
			close(files[i].fd);
			files[i] = files[--n_files];
			return;
		}
	}
}

int unlinkat(int dirfd, const char *path, int flags)
{
	REAL(unlinkat, int (*)(int, const char *, int));
	struct place p = place_of(dirfd, path);
	int r = real(dirfd, path, flags);

	if (r == 0 && p.dir != 0) {
		entry_event(FS_UNLINK, &p, p.st.st_ino);
		forget_mapped(p.st.st_ino);
	}
	return r;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
	REAL(mkdirat, int (*)(int, const char *, mode_t));
	struct place p = place_of(dirfd, path);
	struct stat st;
	int r = real(dirfd, path, mode);

	if (r == 0 && p.dir != 0 && fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		make_known(st.st_ino);
		entry_event(FS_MKDIR, &p, st.st_ino);
	}
	return r;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* -- the record -- */

const char *fs_op_name(enum fs_op op)
{
	static const char *const names[] = { "create", "mkdir", "link", "rename", "unlink", "write", "size",
		"allocate", "sync", "datasync", "mapped", "mark" };

	return names[op];
}

struct fslog *fslog_new(void)
{
	void *p = mmap(NULL, sizeof(struct fslog), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int know_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	int fd;

	(void)flag;
	make_known(st->st_ino);
	if (S_ISREG(st->st_mode) && (fd = real_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)) >= 0) {
		watch_mapped(path + ftw->base, fd, st->st_ino);
		close(fd);
	}
	return 0;
}

bool fslog_start(struct fslog *log, const char *root)
{
	struct stat st;

	if (stat(root, &st) < 0)
		return false;
	memset(known, 0, sizeof known);
	n_files = n_marks = 0;
	known_dev = st.st_dev;
	log->n = log->n_data = 0;
	log->full = false;
	if (nftw(root, know_one, 16, FTW_PHYS) < 0)
		return false;
	log_now = log;
	return true;
}

void fslog_stop(void)
{
	if (log_now == NULL)
		return;
	look_at_mapped(true);
	log_now = NULL;
	while (n_files > 0)
		close(files[--n_files].fd);
}

void fslog_mark(uint64_t kind, uint64_t number)
{
	struct fs_event *ev;

	if (log_now == NULL)
		return;
	look_at_mapped(n_marks++ % MARKS_PER_LOOK == 0);
	if ((ev = plain_event(FS_MARK)) != NULL) {
		ev->off = kind;
		ev->len = number;
	}
}
