/* SPDX-License-Identifier: ISC */
/* Reading a copy: choosing the history that covers a time, finding where to cut it, and laying it out as a store. Nothing in
 * the copy is changed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "../libbase/io.h"
#include "copy_int.h"

struct reader {
	int dirfd;			/* of the copy: large/ */
	int fd;				/* of the history: journal/, manifest */
	struct manifest m;
	struct copy_pos end;		/* of the history */
	bool past;
	int to_fd;
	bool link;
	copy_report *report;
	void *report_ctx;
	struct copy_state st;
};

static void report(struct reader *r, const char *line)
{
	if (r->report != NULL)
		r->report(r->report_ctx, line);
}

/* -- which history -- */

static void history_close(struct reader *r)
{
	manifest_free(&r->m);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* Opens what lies in `name` below the copy. ERR_NOENT: there is no manifest. When a segment is missing the manifest has
 * been read all the same. */
static enum err_kind history_open(struct reader *r, const char *name, struct err *e)
{
	struct seg_header h;
	uint64_t octets;
	enum err_kind k;

	r->fd = openat(r->dirfd, name, COPY_DIR_FLAGS);
	if (r->fd < 0)
		return err_sys(e, errno, "open %s", name);
	if ((k = manifest_read(r->fd, &r->m, e)) != ERR_OK)
		return k;
	if (copy_read_header(r->fd, r->m.h.end_seg, &h, &octets, e) != ERR_OK)
		return err_set(e, ERR_CORRUPT, 0, "segment %u of the copy is missing or damaged", r->m.h.end_seg);
	r->end = (struct copy_pos){ .store_id = r->m.h.store_id, .salt = h.salt,
		.at = { r->m.h.end_seg, r->m.h.end_off }, .seq = r->m.h.end_seq, .ms = r->m.h.end_ms,
		.crc = r->m.h.end_crc, .last_off = r->m.h.last_off };
	if (r->m.h.following)
		copy_find_end(r->fd, &r->end, &r->end);
	return ERR_OK;
}

static int newest_first(const struct dirent **a, const struct dirent **b)
{
	unsigned long long x = strtoull((*a)->d_name, NULL, 10), y = strtoull((*b)->d_name, NULL, 10);

	return (x < y) - (x > y);
}

static int is_number(const struct dirent *d)
{
	return strspn(d->d_name, "0123456789") == strlen(d->d_name);
}

static bool covers(const struct reader *r, int64_t at_ms)
{
	return at_ms == COPY_AT_END || r->m.h.covered_ms <= at_ms;
}

/* The newest one below past/ that covers the time. */
static bool choose_past(struct reader *r, int64_t at_ms)
{
	struct dirent **names = NULL;
	int past = openat(r->dirfd, "past", COPY_DIR_FLAGS);
	int n = past >= 0 ? scandirat(past, ".", &names, is_number, newest_first) : 0;
	bool found = false;

	for (int i = 0; i < n; i++) {
		char name[NAME_MAX + 8];

		snprintf(name, sizeof name, "past/%s", names[i]->d_name);
		if (!found) {
			history_close(r);
			found = history_open(r, name, NULL) == ERR_OK && covers(r, at_ms);
		}
		free(names[i]);
	}
	free(names);
	if (past >= 0)
		close(past);
	return found;
}

/* The copy itself, when it covers the time; what is under past/ for earlier times, and while a copy that is begun anew has
 * not been finished. Never something older because what was asked for is damaged. */
static enum err_kind choose_history(struct reader *r, int64_t at_ms, struct err *e)
{
	enum err_kind k = history_open(r, ".", e);
	bool read = r->m.h.n_segments > 0;
	int64_t from_ms = r->m.h.covered_ms;
	uint32_t crc = r->m.h.crc;

	/* the manifest has its second name there, and its journal is there already: put_in_past was interrupted */
	if (k == ERR_CORRUPT && read && covers(r, at_ms) && choose_past(r, at_ms) && r->m.h.crc == crc) {
		r->past = true;
		return ERR_OK;
	}
	if ((k == ERR_OK || read) && covers(r, at_ms))
		return k;
	if (!read && k != ERR_NOENT)
		return k;
	r->past = choose_past(r, at_ms);
	if (r->past)
		return ERR_OK;
	if (!read)
		return err_set(e, ERR_NOENT, 0, "there is no finished copy here");
	return err_set(e, ERR_NOENT, 0, "the copy covers times from %lld s since 1970 on", (long long)(from_ms / 1000));
}

/* -- where to cut -- */

/* to: 0 for all of the segment */
static enum err_kind scan_up_to(struct journal *j, uint32_t seg, uint32_t to,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx,
    struct journal_scan *out, struct err *e)
{
	struct journal_pos from = { seg, sizeof(struct seg_header) };
	struct seg_header h;
	enum err_kind k = journal_segment(j, seg, &h, e);

	return k != ERR_OK ? k : copy_scan(j, from, h.first_seq - 1, to, each, ctx, out, e);
}

struct cut {
	int64_t at_ms;
	struct journal_pos pos;		/* seg 0: nothing yet */
};

static enum err_kind note_cut(void *ctx, const struct journal_view *v, struct err *e)
{
	struct cut *c = ctx;

	(void)e;
	if (v->h.time_ms <= c->at_ms && !(v->h.flags & REC_MORE))
		c->pos = v->next;
	return ERR_OK;
}

/* Behind the last whole group that is not later. Clocks may have gone back: the last in the journal's order. */
static enum err_kind find_cut(struct reader *r, int64_t at_ms, struct err *e)
{
	struct journal *j = journal_new(r->fd);
	struct cut c = { .at_ms = at_ms };
	enum err_kind k = ERR_OK;

	for (uint32_t seg = r->end.at.seg; k == ERR_OK && c.pos.seg == 0 && seg >= r->m.seg[0].number; seg--) {
		struct journal_scan scan;

		k = scan_up_to(j, seg, seg == r->end.at.seg ? r->end.at.off : 0, note_cut, &c, &scan, e);
	}
	journal_free(&j);
	if (k == ERR_OK && c.pos.seg == 0)
		k = err_set(e, ERR_NOENT, 0, "the store did not exist at that time");
	r->st.cut = c.pos;
	return k;
}

/* -- laying out -- */

static void report_large(struct reader *r, uint64_t id, const char *what)
{
	char line[128], name[40];

	large_name(name, id);
	snprintf(line, sizeof line, "%s %s", name, what);
	report(r, line);
}

static enum err_kind lay_large(struct reader *r, const struct rec_message *m, struct err *e)
{
	char path[40];
	struct stat st;
	bool copied = false;
	uint32_t crc = 0;
	int parent = -1, fd = -1;
	enum err_kind k = copy_open_large_dir(r->dirfd, m->large_id, false, &parent, e);

	large_name(path, m->large_id);
	if (k == ERR_OK)
		fd = openat(parent, path + LARGE_PARENT_OCTETS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (parent >= 0)
		close(parent);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		r->st.n_missing++;
		return ERR_OK;
	}
	k = copy_put_large(r->to_fd, m->large_id, fd, (uint64_t)st.st_size, &copied, &crc, e);
	if (k == ERR_OK && copied && (crc != m->body_crc || (uint64_t)st.st_size != m->body_octets)) {
		r->st.n_damaged++;
		report_large(r, m->large_id, "is damaged in the copy; copied as it is");
	}
	close(fd);
	return k;
}

static enum err_kind lay_named(void *ctx, const struct journal_view *v, struct err *e)
{
	struct rec_message m;

	return copy_large_id(v, &m) != 0 ? lay_large(ctx, &m, e) : ERR_OK;
}

/* The segment against what the manifest lists, record by record; its large bodies on the way. */
static enum err_kind check_segment(struct reader *r, struct journal *j, uint32_t seg, uint32_t to, struct err *e)
{
	struct journal_scan scan;
	char line[128];
	enum err_kind k;

	if ((k = scan_up_to(j, seg, to, lay_named, r, &scan, e)) != ERR_OK)
		return k;
	scan.n_damaged += to == 0 && !scan.ended;
	if (scan.n_damaged > 0) {
		r->st.n_damaged += scan.n_damaged;
		snprintf(line, sizeof line, "journal segment %u: damage in %llu places of the copy; copied as it is",
		    seg, (unsigned long long)scan.n_damaged);
		report(r, line);
	}
	return ERR_OK;
}

static enum err_kind copy_segment(struct reader *r, const char *name, uint32_t to, struct err *e)
{
	int from = openat(r->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), fd;
	struct stat st;
	enum err_kind k;

	if (from < 0 || fstat(from, &st) < 0)
		return err_sys(e, errno, "open %s of the copy", name);
	fd = openat(r->to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		k = err_sys(e, errno, "create %s", name);
	} else {
		k = copy_octets(from, fd, to != 0 ? to : (uint64_t)st.st_size, e);
		if (k == ERR_OK && fsync(fd) < 0)
			k = err_sys(e, errno, "sync %s", name);
		close(fd);
	}
	close(from);
	return k;
}

/* to: how far the segment goes; 0: it is a whole one. Those never change again, so a link will do for looking at it. */
static enum err_kind lay_segment(struct reader *r, struct journal *j, uint32_t seg, uint32_t to, struct err *e)
{
	const struct manifest_segment *x = manifest_find(&r->m, seg);
	struct seg_header h;
	uint64_t octets;
	char name[32];
	enum err_kind k = copy_read_header(r->fd, seg, &h, &octets, e);

	if (k == ERR_NOENT || k == ERR_CORRUPT || (k == ERR_OK && (h.store_id != r->m.h.store_id || octets < to ||
	    (x != NULL && (h.salt != x->salt || octets < x->octets)))))
		return err_set(e, ERR_CORRUPT, 0, "segment %u of the copy is missing, cut, or another one", seg);
	if (k != ERR_OK)
		return k;
	copy_segment_name(name, seg);
	if (r->link && to == 0 && linkat(r->fd, name, r->to_fd, name, 0) == 0)
		return ERR_OK;
	if (!r->link && (k = check_segment(r, j, seg, to, e)) != ERR_OK)
		return k;
	return copy_segment(r, name, to, e);
}

static enum err_kind lay_journal(struct reader *r, struct err *e)
{
	struct journal *j = journal_new(r->fd);
	enum err_kind k = ERR_OK;

	for (uint32_t seg = r->m.seg[0].number; k == ERR_OK && seg <= r->st.cut.seg; seg++)
		k = lay_segment(r, j, seg, seg == r->st.cut.seg ? r->st.cut.off : 0, e);
	journal_free(&j);
	return k;
}

/* For a look: every large body by a second name. */
static enum err_kind link_large_dir(struct reader *r, unsigned low, struct err *e)
{
	int from, to = -1;
	const struct dirent *d;
	enum err_kind k = ERR_OK;
	DIR *dir;

	if (copy_open_large_dir(r->dirfd, low, false, &from, NULL) != ERR_OK)
		return ERR_OK;
	dir = fdopendir(from);
	if (dir == NULL) {
		close(from);
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to list large bodies");
	}
	k = copy_open_large_dir(r->to_fd, low, true, &to, e);
	while (k == ERR_OK && (d = readdir(dir)) != NULL) {
		if (strlen(d->d_name) == LARGE_NAME_OCTETS && linkat(dirfd(dir), d->d_name, to, d->d_name, 0) < 0 &&
		    errno != EEXIST)
			k = err_sys(e, errno, "link %s", d->d_name);
	}
	if (to >= 0)
		close(to);
	closedir(dir);
	return k;
}

static enum err_kind lay_out(struct reader *r, struct err *e)
{
	enum err_kind k;

	if (mkdirat(r->to_fd, "journal", 0700) < 0 || mkdirat(r->to_fd, "large", 0700) < 0)
		return err_sys(e, errno, "lay out store");
	if ((k = lay_journal(r, e)) != ERR_OK)
		return k;
	for (unsigned low = 0; r->link && k == ERR_OK && low < LARGE_DIRS; low++)
		k = link_large_dir(r, low, e);
	if (k == ERR_OK && (k = io_sync_dir(r->to_fd, "journal", e)) == ERR_OK)
		k = io_sync_dir(r->to_fd, ".", e);
	return k;
}

enum err_kind copy_lay_out(int dirfd, int64_t at_ms, int to_fd, bool link, copy_report *report_fn, void *report_ctx,
    struct copy_state *out, struct err *e)
{
	struct reader r = { .dirfd = dirfd, .fd = -1, .to_fd = to_fd, .link = link, .report = report_fn,
		.report_ctx = report_ctx };
	struct err why = { .text = "" };
	enum err_kind k;

	if (e == NULL)
		e = &why;
	if ((k = choose_history(&r, at_ms, e)) == ERR_OK) {
		r.st.covered_ms = r.m.h.covered_ms;
		r.st.end_ms = r.end.ms;
		r.st.made_ms = r.m.h.made_ms;
		r.st.past = r.past;
		r.st.cut = r.end.at;
		if (at_ms == COPY_AT_END || (k = find_cut(&r, at_ms, e)) == ERR_OK)
			k = lay_out(&r, e);
	}
	history_close(&r);
	if (k == ERR_OK)
		*out = r.st;
	return k;
}

/* -- scratch directories -- */

/* Its maker holds a lock on it; the kernel drops it. */
static void remove_stale(int dirfd)
{
	int fd = openat(dirfd, ".", COPY_DIR_FLAGS), sub;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;

	while (dir != NULL && (d = readdir(dir)) != NULL) {
		if (strncmp(d->d_name, "scratch-", 8) != 0 || (sub = openat(dirfd, d->d_name, COPY_DIR_FLAGS)) < 0)
			continue;
		if (flock(sub, LOCK_EX | LOCK_NB) == 0 && copy_remove_tree(dirfd, d->d_name, NULL) != ERR_OK)
			flock(sub, LOCK_UN);	/* somebody else's to look at */
		close(sub);
	}
	if (dir != NULL)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

enum err_kind copy_scratch(int dirfd, char name[32], int *out_fd, struct err *e)
{
	uint64_t id;

	remove_stale(dirfd);
	if (getrandom(&id, sizeof id, 0) != sizeof id)
		return err_sys(e, errno, "random name");
	snprintf(name, 32, "scratch-%016llx", (unsigned long long)id);
	if (mkdirat(dirfd, name, 0700) < 0)
		return err_sys(e, errno, "create %s in the copy", name);
	*out_fd = openat(dirfd, name, COPY_DIR_FLAGS);
	if (*out_fd < 0 || flock(*out_fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, errno, "open %s in the copy", name);
	return ERR_OK;
}

void copy_scratch_end(int dirfd, const char *name, int fd)
{
	if (copy_remove_tree(dirfd, name, NULL) == ERR_OK)
		close(fd);
}
