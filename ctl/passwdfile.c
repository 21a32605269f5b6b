/* SPDX-License-Identifier: ISC */
/* The passwd file is small and changed by hand or by penny, so it is read whole and written
 * whole. The lock is a file of its own because the file itself is replaced. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "passwdfile.h"

enum { NEW_FILE_MODE = 0640, CHUNK_OCTETS = 65536 };

static enum err_kind take_lock(struct passwdfile *f, struct err *e)
{
	char name[PATH_MAX];

	if ((size_t)snprintf(name, sizeof name, "%s.lock", f->path) >= sizeof name)
		return err_set(e, ERR_LIMIT, 0, "%s: path too long", f->path);
	f->lock_fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->lock_fd < 0 || flock(f->lock_fd, LOCK_EX) < 0)
		return err_sys(e, errno, "%s", name);
	return ERR_OK;
}

static enum err_kind read_all(struct passwdfile *f, struct err *e)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return ERR_OK;
	if (fd < 0)
		return err_sys(e, errno, "%s", f->path);
	do {
		if (!buf_reserve(&f->text, CHUNK_OCTETS)) {
			close(fd);
			return err_set(e, ERR_LIMIT, 0, "%s: too large", f->path);
		}
		n = read(fd, f->text.p + f->text.n, CHUNK_OCTETS);
		if (n > 0)
			f->text.n += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0)
		(void)err_sys(e, errno, "%s", f->path);
	close(fd);
	return n < 0 ? e->kind : ERR_OK;
}

enum err_kind passwdfile_open(struct passwdfile *f, const char *path, bool lock, struct err *e)
{
	f->path = path;
	f->lock_fd = -1;
	buf_init(&f->text, PASSWDFILE_MAX_OCTETS);
	if ((!lock || take_lock(f, e) == ERR_OK) && read_all(f, e) == ERR_OK)
		return ERR_OK;
	passwdfile_close(f);
	return e->kind;
}

void passwdfile_close(struct passwdfile *f)
{
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	f->lock_fd = -1;
	buf_wipe(&f->text);
}

bool passwdfile_next(const struct passwdfile *f, size_t *at, struct str *out_name,
    struct str *out_line)
{
	while (*at < f->text.n) {
		struct str rest = str_skip(buf_str(&f->text), *at);
		size_t n = str_find(rest, '\n'), colon;

		*out_line = str_head(rest, n < rest.n ? n + 1 : n);
		*at += out_line->n;
		colon = str_find(*out_line, ':');
		if (colon == 0 || colon == out_line->n || out_line->p[0] == '#')
			continue;
		*out_name = str_head(*out_line, colon);
		return true;
	}
	return false;
}

/* The user's line; false when there is none. */
static bool find(const struct passwdfile *f, struct str name, size_t *out_at, struct str *out_line)
{
	struct str found;
	size_t at = 0;

	while (passwdfile_next(f, &at, &found, out_line))
		if (str_eq(found, name)) {
			*out_at = at - out_line->n;
			return true;
		}
	return false;
}

bool passwdfile_has(const struct passwdfile *f, struct str name)
{
	struct str line;
	size_t at;

	return find(f, name, &at, &line);
}

static void cut(struct buf *b, size_t at, size_t n)
{
	memmove(b->p + at, b->p + at + n, b->n - at - n);
	b->n -= n;
}

bool passwdfile_remove(struct passwdfile *f, struct str name)
{
	struct str line;
	bool any = false;
	size_t at;

	while (find(f, name, &at, &line)) {
		cut(&f->text, at, line.n);
		any = true;
	}
	return any;
}

bool passwdfile_append(struct passwdfile *f, struct str name, struct str hash)
{
	if (f->text.n > 0 && f->text.p[f->text.n - 1] != '\n')
		buf_putc(&f->text, '\n');
	buf_put(&f->text, name);
	buf_putc(&f->text, ':');
	buf_put(&f->text, hash);
	buf_putc(&f->text, '\n');
	return !f->text.full;
}

bool passwdfile_set_hash(struct passwdfile *f, struct str name, struct str hash)
{
	struct buf after = BUF_INIT(PASSWDFILE_MAX_OCTETS);
	struct str line, rest;
	size_t at;
	bool ok;

	if (!find(f, name, &at, &line))
		return false;
	rest = str_skip(line, name.n + 1);
	rest = str_skip(rest, str_find(rest, ':'));	/* fields behind the hash, or nothing */
	buf_put(&after, str_head(buf_str(&f->text), at + name.n + 1));
	buf_put(&after, hash);
	buf_put(&after, rest.n > 0 ? rest : STR("\n"));
	buf_put(&after, str_skip(buf_str(&f->text), at + line.n));
	ok = !after.full;
	buf_wipe(&f->text);
	f->text = after;
	return ok;
}

static enum err_kind write_new(const struct passwdfile *f, int fd, const struct stat *old,
    struct err *e)
{
	struct str rest = buf_str(&f->text);

	if (old != NULL && (fchown(fd, old->st_uid, old->st_gid) < 0 ||
	    fchmod(fd, old->st_mode & 07777) < 0))
		return err_sys(e, errno, "%s: owner and mode", f->path);
	while (rest.n > 0) {
		ssize_t n = write(fd, rest.p, rest.n);

		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "%s", f->path);
		rest = str_skip(rest, n > 0 ? (size_t)n : 0);
	}
	return fsync(fd) < 0 ? err_sys(e, errno, "%s", f->path) : ERR_OK;
}

static enum err_kind sync_directory(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int fd;

	if (slash == NULL)
		snprintf(dir, sizeof dir, ".");
	else
		snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		(void)err_sys(e, errno, "%s", dir);
	else
		e->kind = ERR_OK;
	if (fd >= 0)
		close(fd);
	return e->kind;
}

enum err_kind passwdfile_write(struct passwdfile *f, struct err *e)
{
	char name[PATH_MAX];
	struct stat old;
	bool had = stat(f->path, &old) == 0;
	enum err_kind k;
	int fd;

	if ((size_t)snprintf(name, sizeof name, "%s.new", f->path) >= sizeof name)
		return err_set(e, ERR_LIMIT, 0, "%s: path too long", f->path);
	unlink(name);	/* of an edit that was killed; the lock says nobody else is at it */
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, NEW_FILE_MODE);
	if (fd < 0)
		return err_sys(e, errno, "%s", name);
	k = write_new(f, fd, had ? &old : NULL, e);
	close(fd);
	if (k == ERR_OK && rename(name, f->path) < 0)
		k = err_sys(e, errno, "%s", f->path);
	if (k != ERR_OK) {
		unlink(name);
		return k;
	}
	return sync_directory(f->path, e);
}
