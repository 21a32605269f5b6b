/* SPDX-License-Identifier: ISC */
/* The way into directories that hold copies. They are opened with the rights of the caller and worked on by the account that
 * owns the stores, so they belong to it; nobody else can put anything into one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libserve/office.h"
#include "../libstore/copy.h"
#include "ctl.h"

enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC, PARENTS_MAX = 1000 };

static bool same_dir(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Walks up from fd: is the post office on the way? */
static bool lies_in_office(int fd, const char *office)
{
	struct stat o, st, up_st;
	int at = openat(fd, ".", DIR_FLAGS), up;
	bool in = false;

	if (stat(office, &o) < 0) {
		close(at);
		return false;
	}
	for (int i = 0; at >= 0 && !in && i < PARENTS_MAX && fstat(at, &st) == 0; i++) {
		in = same_dir(&st, &o);
		up = openat(at, "..", DIR_FLAGS);
		if (up >= 0 && fstat(up, &up_st) == 0 && same_dir(&st, &up_st)) {
			close(up);
			break;
		}
		close(at);
		at = up;
	}
	if (at >= 0)
		close(at);
	return in;
}

static int check_owner(const struct office *o, const char *path, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ctl_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
	if (o->chown && st.st_uid == geteuid() && copy_dir_is_empty(fd)) {
		if (fchown(fd, o->uid, o->gid) < 0 || fchmod(fd, 0700) < 0)
			return ctl_fail(EX_NOPERM, "giving %s to the owner of the stores: %s", path, strerror(errno));
		return 0;
	}
	if (st.st_uid != o->uid)
		return ctl_fail(EX_NOPERM, "%s must belong to the owner of the stores (uid %lu), with all that is in it",
		    path, (unsigned long)o->uid);
	if ((st.st_mode & 022) != 0)
		return ctl_fail(EX_NOPERM, "others than its owner may write to %s", path);
	return 0;
}

int ctl_open_copy(struct ctl *c, const char *path, bool make, int *out_fd)
{
	struct office o;
	int status = ctl_find_office(c, &o);

	if (status != 0)
		return status;
	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return ctl_fail(EX_CANTCREAT, "create %s: %s", path, strerror(errno));
	*out_fd = open(path, DIR_FLAGS | O_NOFOLLOW);
	if (*out_fd < 0)
		return ctl_fail(EX_NOINPUT, "%s: %s", path, errno == ELOOP || errno == ENOTDIR ?
		    "not a directory (a symbolic link is not followed)" : strerror(errno));
	if (lies_in_office(*out_fd, o.dir))
		status = ctl_fail(EX_USAGE, "%s lies in the post office", path);
	else
		status = check_owner(&o, path, *out_fd);
	if (status != 0)
		close(*out_fd);
	return status;
}

void ctl_report_copy(void *ctx, const char *finding)
{
	ctl_fail(0, "%s: %s", (const char *)ctx, finding);
}

struct in_copy {
	int (*run)(struct store *s, const struct copy_state *st, void *arg);
	const struct copy_state *st;
	void *arg;
};

static int run_in_copy(struct store *s, void *arg)
{
	struct in_copy *in = arg;

	return in->run(s, in->st, in->arg);
}

int ctl_in_copy(const struct ctl *c, int copy_fd, int64_t at_ms,
    int (*run)(struct store *s, const struct copy_state *st, void *arg), void *arg)
{
	struct copy_state st;
	struct in_copy in = { run, &st, arg };
	char name[32];
	struct err e;
	int fd, status;

	if (copy_scratch(copy_fd, name, &fd, &e) != ERR_OK)
		return ctl_err(&e);
	if (copy_lay_out(copy_fd, at_ms, fd, true, NULL, NULL, &st, &e) != ERR_OK)
		status = ctl_err(&e);
	else
		status = ctl_open_and_run(c, fd, run_in_copy, &in);
	if (chdir("/") < 0)		/* the index was read there */
		status = EX_OSERR;
	copy_scratch_end(copy_fd, name, fd);
	return status;
}

/* -- penny check --dir -- */

struct checking {
	const struct ctl *c;
	int fd;
	int64_t at_ms;
	const char *dir;
	uint64_t n;
};

/* A copy keeps large bodies of messages that are gone: they are history, not leftovers. */
static void report_finding(void *ctx, const char *finding)
{
	struct checking *x = ctx;

	if (str_starts(str_of(finding), STR("leftover")))
		return;
	x->n++;
	printf("%s\t%s\n", x->dir, finding);
}

static int check_state(struct store *s, const struct copy_state *st, void *arg)
{
	struct checking *x = arg;
	uint64_t n_bad;
	struct err e;

	(void)st;
	if (store_check(s, report_finding, x, &n_bad, &e) != ERR_OK)
		return ctl_err(&e);
	printf("%s\tfindings=%" PRIu64 "\n", x->dir, x->n);
	return x->n == 0 ? 0 : EX_DATAERR;
}

static int check_as_owner(void *arg)
{
	struct checking *x = arg;

	return ctl_in_copy(x->c, x->fd, x->at_ms, check_state, x);
}

int cmd_check_copy(struct ctl *c, int argc, char **argv)
{
	const char *at = NULL;
	const struct ctl_option opt[] = { { .name = "--at", .value = &at } };
	struct checking x = { .c = c, .at_ms = COPY_AT_END };
	int status;

	argc = ctl_options(argc, argv, opt, COUNTOF(opt));
	if (argc != 1 || (at != NULL && (!ctl_parse_time(str_of(at), &x.at_ms) || x.at_ms <= 0)))
		return argc < 0 ? EX_USAGE : ctl_fail(EX_USAGE, "usage: penny check --dir DIR [--at TIME]");
	x.dir = argv[0];
	if ((status = ctl_open_copy(c, x.dir, false, &x.fd)) != 0)
		return status;
	status = ctl_as_owner(c, check_as_owner, &x);
	close(x.fd);
	return status;
}
