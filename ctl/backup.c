/* SPDX-License-Identifier: ISC */
/* penny backup: what is new in a store goes to its copy. The copy's directory is opened here, with the caller's rights; the
 * work is done by the child that owns the store. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libserve/office.h"
#include "../libstore/copy.h"
#include "ctl.h"

struct backup {
	const char *user;
	int fd;
	bool prune;
};

static void print_result(const struct backup *b, const struct feed *f, uint64_t n_pruned, uint64_t began_ms)
{
	struct feed_result r;

	feed_result(f, &r);
	printf("%s\tseq=%" PRIu64 "\toctets=%" PRIu64 "\tsegments=%" PRIu64 "\tlarge=%" PRIu64 "\tlarge_octets=%" PRIu64
	    "\tdamaged=%" PRIu64 "\tmissing=%" PRIu64 "\tpruned=%" PRIu64 "\tms=%" PRIu64 "%s\n", b->user, feed_seq(f),
	    r.octets, r.n_segments, r.n_large, r.large_octets, r.n_damaged, r.n_missing, n_pruned,
	    clock_mono_ms() - began_ms, r.anew ? "\tanew" : "");
	if (r.anew)
		ctl_fail(0, "%s: the store does not go on where the copy ended, or the copy was damaged: begun anew; "
		    "what was there is kept under past/", b->user);
}

static enum err_kind feed_all(const struct backup *b, struct store *s, struct copy *copy, uint64_t *n_damaged,
    struct err *e)
{
	uint64_t began_ms = clock_mono_ms(), n_pruned = 0;
	struct copy_pos sure, end;
	struct copy_sink sink;
	struct feed_result r;
	struct feed *f = NULL;
	enum err_kind k;

	copy_has(copy, &sure, &end);
	copy_as_sink(copy, &sink);
	if ((k = feed_open(s, &sink, &sure, &end, ctl_report_copy, (void *)(uintptr_t)b->user, &f, e)) == ERR_OK &&
	    (k = feed_advance(f, true, e)) == ERR_OK && b->prune)
		k = copy_prune(copy, feed_first_seg(f), &n_pruned, e);
	if (k == ERR_OK) {
		print_result(b, f, n_pruned, began_ms);
		feed_result(f, &r);
		*n_damaged = r.n_damaged;
	}
	feed_close(&f);
	return k;
}

static int backup(struct store *s, void *arg)
{
	const struct backup *b = arg;
	struct copy *copy = NULL;
	uint64_t n_damaged = 0;
	struct err e;
	enum err_kind k;

	if ((k = copy_open(b->fd, str_of(b->user), false, &copy, &e)) == ERR_OK)
		k = feed_all(b, s, copy, &n_damaged, &e);
	copy_close(&copy);
	if (k != ERR_OK) {
		err_note(&e, "backup of %s", b->user);
		return ctl_err(&e);
	}
	return n_damaged == 0 ? 0 : EX_DATAERR;
}

static int backup_user(struct ctl *c, const char *user, const char *path, bool prune)
{
	struct backup b = { user, -1, prune };
	int status = ctl_open_copy(c, path, true, &b.fd);

	if (status != 0)
		return status;
	status = ctl_in_store(c, user, false, backup, &b);
	close(b.fd);
	return status;
}

struct all {
	struct ctl *c;
	const char *dir;
	bool prune;
	int status;
};

static bool backup_each(void *ctx, const char *user)
{
	struct all *all = ctx;
	char path[CTL_COPY_PATH_MAX];
	int status;

	if (snprintf(path, sizeof path, "%s/%s", all->dir, user) >= (int)sizeof path)
		status = ctl_fail(EX_USAGE, "the directory's name is too long");
	else
		status = backup_user(all->c, user, path, all->prune);
	if (status != 0)
		all->status = status;
	return true;
}

/* The directory that holds everybody's copies stays the caller's: nobody else puts a name there. */
static int backup_all(struct ctl *c, const char *dir, bool prune)
{
	struct all all = { c, dir, prune, 0 };
	struct office o;
	struct stat st;
	struct err e;
	int status = ctl_find_office(c, &o);

	if (status != 0)
		return status;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return ctl_fail(EX_CANTCREAT, "create %s: %s", dir, strerror(errno));
	if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return ctl_fail(EX_NOPERM, "%s must be a directory that belongs to uid %lu and only that may write to", dir,
		    (unsigned long)geteuid());
	if (office_each_user(&o, backup_each, &all, &e) != ERR_OK)
		return ctl_err(&e);
	return all.status;
}

int cmd_backup(struct ctl *c, int argc, char **argv)
{
	bool prune = false, all = false;
	const struct ctl_option opt[] = {
		{ .name = "--prune", .flag = &prune }, { .name = "--all", .flag = &all },
	};

	argc = ctl_options(argc, argv, opt, COUNTOF(opt));
	if (argc != (all ? 1 : 2))
		return argc < 0 ? EX_USAGE : ctl_fail(EX_USAGE, "usage: penny backup USER DIR | --all DIR [--prune]");
	return all ? backup_all(c, argv[0], prune) : backup_user(c, argv[0], argv[1], prune);
}
