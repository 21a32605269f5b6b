/* SPDX-License-Identifier: ISC */
/* Owns the descriptor of the aliases file. Invariant: `table` is what the file said when it had the
 * status `seen`; when a new version can't be read the old table stays in force and the log says it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/log.h"
#include "alias_file.h"

struct alias_file {
	const char *path;
	int fd;			/* -1: there was none */
	struct stat seen;
	struct aliases table;
};

static void report(void *ctx, unsigned line, const char *why)
{
	const struct alias_file *f = ctx;

	log_event(LOG_LEVEL_WARN, "deliver.aliases.line", KV_Z("file", f->path), KV_U("line", line),
	    KV_Z("why", why));
}

static enum err_kind read_whole(int fd, size_t n, char *p, size_t *out_n, struct err *e)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, p + got, n - got, (off_t)got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, errno, "read the aliases file");
		if (r == 0)
			break;
		got += (size_t)r;
	}
	*out_n = got;
	return ERR_OK;
}

/* Reads what fd holds into f's table. */
static enum err_kind load(struct alias_file *f, int fd, struct err *e)
{
	struct stat st;
	size_t n = 0;
	char *p;

	if (fstat(fd, &st) != 0)
		return err_sys(e, errno, "status of %s", f->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_SYNTAX, 0, "%s is not a file", f->path);
	if (st.st_size > ALIASES_TEXT_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "%s is too large", f->path);
	p = malloc((size_t)st.st_size + 1);
	if (p == NULL)
		return err_set(e, ERR_TEMP, 0, "no memory for %s", f->path);
	if (read_whole(fd, (size_t)st.st_size, p, &n, e) != ERR_OK) {
		free(p);
		return e->kind;
	}
	aliases_free(&f->table);
	aliases_parse(str_n(p, n), report, f, &f->table);
	f->seen = st;
	free(p);
	return ERR_OK;
}

enum err_kind alias_file_open(const char *path, struct alias_file **out, struct err *e)
{
	struct alias_file *f = calloc(1, sizeof *f);

	if (f == NULL)
		exit(75);
	f->path = path;
	f->fd = path[0] == '\0' ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd == -1 && path[0] != '\0' && errno != ENOENT) {
		err_sys(e, errno, "open %s", path);
		goto failed;
	}
	if (f->fd != -1 && load(f, f->fd, e) != ERR_OK)
		goto failed;
	*out = f;
	return ERR_OK;
failed:
	alias_file_close(&f);
	return e->kind;
}

void alias_file_close(struct alias_file **f)
{
	if (*f == NULL)
		return;
	if ((*f)->fd != -1)
		close((*f)->fd);
	aliases_free(&(*f)->table);
	free(*f);
	*f = NULL;
}

void alias_file_renew(struct alias_file *f)
{
	struct stat st;
	struct err e;
	int fd;

	if (f->path[0] == '\0' || stat(f->path, &st) != 0 ||
	    (f->fd != -1 && st.st_ino == f->seen.st_ino && st.st_dev == f->seen.st_dev))
		return;
	fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1) {
		log_event(LOG_LEVEL_WARN, "deliver.aliases.unreadable", KV_Z("file", f->path),
		    KV_I("errno", errno));
		return;
	}
	if (load(f, fd, &e) != ERR_OK) {
		log_event(LOG_LEVEL_WARN, "deliver.aliases.unreadable", KV_Z("file", f->path),
		    KV_ERR(&e));
		close(fd);
		return;
	}
	if (f->fd != -1)
		close(f->fd);
	f->fd = fd;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

const struct aliases *alias_file_table(struct alias_file *f, bool *out_replaced)
{
	struct stat st;
	struct err e;

	*out_replaced = false;
	if (f->fd == -1 || fstat(f->fd, &st) != 0)
		return &f->table;
	if (st.st_size != f->seen.st_size || !same_time(st.st_mtim, f->seen.st_mtim)) {
		if (load(f, f->fd, &e) != ERR_OK)
			log_event(LOG_LEVEL_WARN, "deliver.aliases.unreadable",
			    KV_Z("file", f->path), KV_ERR(&e));
	}
	/* Renaming another file over it, or it away, changes nothing of it but this. */
	*out_replaced = st.st_nlink == 0 || !same_time(st.st_ctim, f->seen.st_ctim);
	return &f->table;
}
