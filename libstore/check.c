/* SPDX-License-Identifier: ISC */
/* Checking beside open sessions: how findings are said, how the lock is held only for instants, and the journal itself, which
 * is read without it. check_index.c and check_mail.c look at the rest. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../libbase/vec.h"
#include "check.h"

enum {
	COMPACT_WAIT_MS = 10000,
	LINE_OCTETS = 1024,
};

/* -- saying -- */

static void say(const struct check *c, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

static void say(const struct check *c, const char *fmt, va_list args)
{
	char line[LINE_OCTETS];

	if (c->report == NULL)
		return;
	vsnprintf(line, sizeof line, fmt, args);
	c->report(c->ctx, line);
}

void check_say(const struct check *c, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(c, fmt, args);
	va_end(args);
}

void check_found(struct check *c, const char *fmt, ...)
{
	va_list args;

	c->n_bad++;
	va_start(args, fmt);
	say(c, fmt, args);
	va_end(args);
}

const char *check_mailbox_name(const struct check *c, uint32_t id)
{
	const struct ctl_slot *slot = ctl_find_id(&c->sh->s, id);

	return slot != NULL && slot->name_octets > 0 ? slot->name : "?";
}

bool check_room(struct check *c, void *list, size_t n, size_t *cap, size_t item_octets)
{
	bool fine = vec_room(list, n, cap, item_octets);

	c->no_memory = c->no_memory || !fine;
	return fine;
}

/* -- begin, end, the lock -- */

enum err_kind check_begin(struct check *c, struct store *s, void (*report)(void *, const char *), void *ctx,
    struct err *e)
{
	enum err_kind k;

	*c = (struct check){ .s = s, .report = report, .ctx = ctx, .compact_fd = -1 };
	c->compact_fd = openat(s->dirfd, "compact", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->compact_fd < 0)
		return err_sys(e, errno, "open compact");
	if ((k = lock_wait(c->compact_fd, COMPACT_WAIT_MS, e)) != ERR_OK)
		return err_note(e, "compaction is under way");
	return ERR_OK;
}

void check_end(struct check *c)
{
	shadow_free(&c->sh);
	if (c->compact_fd >= 0)
		close(c->compact_fd);
	for (size_t i = 0; i < c->diff.n; i++)
		free((void *)(uintptr_t)c->diff.v[i].p);
	free(c->diff.v);
	free(c->lost);
	free(c->left);
	*c = (struct check){ .compact_fd = -1 };
}

static bool index_exists(const struct store *s)
{
	int fd = openat(s->dirfd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;
	bool some = false;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!some && (d = readdir(dir)) != NULL)
		some = d->d_name[0] != '.';
	closedir(dir);
	return some;
}

/* The index is looked at as it is; what it can't be entered for is a finding. */
static enum err_kind enter(struct check *c, bool *out_more, struct err *e)
{
	struct err why = { .text = "" };
	enum err_kind k;

	*out_more = false;
	if (c->index_useless)
		return store_make_durable_locked(c->s, e);
	k = index_enter_as_is(c->s, out_more, &why);
	if (k == ERR_OK)
		return k;
	if (k != ERR_CORRUPT)
		return err_set(e, k, why.sys, "%s", why.text);
	c->index_useless = c->index_damaged = true;
	check_found(c, "index.unusable\tThe index can't be used (%s). Nothing is lost: it is made anew from the journal when it is "
	    "needed.", why.text);
	return store_make_durable_locked(c->s, e);
}

enum err_kind check_lock(struct check *c, struct journal_pos *pos, uint64_t *seq, struct err *e)
{
	bool more = true;

	while (more) {
		enum err_kind k = store_lock(c->s, e);

		if (k != ERR_OK)
			return k;
		if (c->epoch != c->s->ctl->epoch)
			k = err_set(e, ERR_TEMP, 0, "the journal was cut after a failed sync; begin again");
		else
			k = enter(c, &more, e);
		if (k != ERR_OK)
			store_unlock(c->s);
		else if (more)
			check_unlock(c);
		if (k != ERR_OK)
			return k;
	}
	*pos = c->s->ctl->tail.pos;
	*seq = c->s->ctl->tail.next_seq - 1;
	return ERR_OK;
}

void check_unlock(struct check *c)
{
	if (!c->index_useless)
		index_leave(c->s);
	store_unlock(c->s);
}

enum err_kind check_catch_up(struct check *c, struct err *e)
{
	struct journal_pos pos;
	uint64_t seq;
	enum err_kind k = check_lock(c, &pos, &seq, e);

	if (k != ERR_OK)
		return k;
	check_unlock(c);
	return shadow_advance(c->sh, pos, seq, e);
}

/* -- the journal -- */

static void say_gap(struct check *c, const struct gap *g)
{
	unsigned long long n = g->last_seq >= g->first_seq ? g->last_seq - g->first_seq + 1 : 0;
	unsigned long long first = g->first_seq, last = g->last_seq;

	switch (g->kind) {
	case GAP_DAMAGE:
		check_found(c, "journal.damaged\tsegment=%u\tfrom=%u\tto=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tOctets %u to %u of "
		    "journal segment %u are damaged: %llu records are lost%s.", g->seg, g->from, g->to, n, first,
		    last, g->from, g->to, g->seg, n, g->from == sizeof(struct seg_header) ?
		    ", among them the segment's snapshot" : "");
		break;
	case GAP_HEADER:
		check_found(c, "journal.header\tsegment=%u\tThe header of journal segment %u is damaged; its records can be read.",
		    g->seg, g->seg);
		break;
	case GAP_MISSING:
		check_found(c, "journal.missing\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tJournal segment %u is missing: what "
		    "was in it is lost.", g->seg, n, first, last, g->seg);
		break;
	case GAP_UNREADABLE:
		check_found(c, "journal.unreadable\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tNo record of journal segment %u "
		    "can be read: what was in it is lost.", g->seg, n, first, last, g->seg);
		break;
	case GAP_NONSENSE:
		check_found(c, "journal.nonsense\tsegment=%u\tfrom=%u\tThe record at octet %u of journal segment %u does not make "
		    "sense although its checksum is right: it is left out.", g->seg, g->from, g->from, g->seg);
		break;
	case GAP_UNSETTLED:
		check_found(c, "journal.lost\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tIn journal segment %u %llu records were "
		    "found missing when the store was opened.", g->seg, n, first, last, g->seg, n);
		break;
	case GAP_SEQUENCE:
		check_found(c, "journal.gap\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tBefore journal segment %u %llu records "
		    "are missing.", g->seg, n, first, last, g->seg, n);
		break;
	}
}

static enum err_kind check_journal(struct check *c, struct err *e)
{
	enum err_kind k = check_catch_up(c, e);

	if (k != ERR_OK)
		return k;
	for (size_t i = 0; i < c->sh->n_gaps; i++)
		say_gap(c, &c->sh->gap[i]);
	c->journal_damaged = c->sh->n_gaps > 0;
	if (c->sh->n_known_lost > 0)
		check_say(c, "note.repaired\tplaces=%llu\tThe journal was damaged in %llu places and has been repaired "
		    "before.", (unsigned long long)c->sh->n_known_lost, (unsigned long long)c->sh->n_known_lost);
	return ERR_OK;
}

/* -- all of it -- */

enum err_kind check_run(struct check *c, struct err *e)
{
	enum err_kind k = store_lock(c->s, e);

	if (k != ERR_OK)
		return k;
	c->epoch = c->s->ctl->epoch;
	c->index_useless = !index_exists(c->s);	/* none to look at: small stores do without */
	k = shadow_new(c->s, &c->sh, e);
	store_unlock(c->s);
	if (k == ERR_OK && (k = check_journal(c, e)) == ERR_OK && (k = check_index(c, e)) == ERR_OK &&
	    (k = check_octets(c, e)) == ERR_OK && (k = check_slots(c, e)) == ERR_OK)
		k = check_files(c, e);
	return k;
}

enum err_kind store_check(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
    uint64_t *out_n_bad, struct err *e)
{
	struct check c;
	enum err_kind k = check_begin(&c, s, report, ctx, e);

	if (k == ERR_OK && (k = check_run(&c, e)) == ERR_OK)
		*out_n_bad = c.n_bad;
	check_end(&c);
	return k;
}
