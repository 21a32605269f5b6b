/* SPDX-License-Identifier: ISC */
/* From a group of records to "durable": append under the lock, sync outside it, one process for all that wait
 * (invariants I3, I5 of store_int.h). */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "store_int.h"

void store_wake_watchers(struct store *s)
{
	if (s->ctl->n_watchers == 0)
		return;
	if (s->wake_fd < 0)
		s->wake_fd = openat(s->dirfd, "wake", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->wake_fd >= 0)
		futimens(s->wake_fd, NULL);	/* a lost wake-up only delays: readers look at durable_seq */
}

/* Raises the watermark; it never falls. */
static void raise_durable(struct store *s, uint64_t seq)
{
	uint64_t was = s->ctl->durable_seq;

	while (was < seq && !atomic_compare_exchange_weak(&s->ctl->durable_seq, &was, seq))
		;
	if (was < seq)
		store_wake_watchers(s);
}

static enum err_kind roll(struct store *s, struct err *e)
{
	struct buf snap = BUF_INIT(GROUP_MAX_OCTETS);
	uint64_t appended = s->ctl->appended_seq;
	enum err_kind k;

	if (!ctl_snapshot(s, &snap)) {
		buf_free(&snap);
		return err_set(e, ERR_TEMP, 0, "no memory for snapshot");
	}
	k = journal_roll(s->journal, buf_str(&snap), &s->ctl->tail, e);
	buf_free(&snap);
	if (k == ERR_OK) {
		s->ctl->appended_seq = s->ctl->tail.next_seq - 1;
		if (s->ctl->durable_seq < appended)	/* records of others became durable, and they are not to sync again */
			raise_durable(s, appended);
		s->ctl->durable_seq = s->ctl->appended_seq;
		s->ctl->compact_due = 1;
	} else if (k != ERR_NOSPC) {
		s->ctl->broken = 1;
	}
	return k;
}

enum err_kind store_roll(struct store *s, struct err *e)
{
	enum err_kind k;

	s->ctl->inside_journal = 1;
	k = roll(s, e);
	ctl_seal(s);
	s->ctl->inside_journal = 0;
	return k;
}

/* When it is full, and when it is of an older version, whose readers need not know the records of this one. */
static bool must_roll(struct store *s, size_t group)
{
	struct seg_header h;

	return journal_must_roll(&s->ctl->tail, group, s->env.segment_octets) ||
	    (journal_segment(s->journal, s->ctl->tail.pos.seg, &h, NULL) == ERR_OK && h.version < FORMAT_VERSION);
}

static enum err_kind apply_group(struct store *s, struct journal_pos at, size_t n, struct err *e)
{
	struct journal_view v;
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < n && k == ERR_OK; i++, at = v.next) {
		if ((k = journal_read(s->journal, at, false, &v, e)) == ERR_OK)
			k = ctl_apply(s, &v, e);
	}
	return k;
}

enum err_kind store_append(struct store *s, const struct journal_rec *r, size_t n,
    struct journal_pos *out_pos, uint64_t *out_seq, struct err *e)
{
	size_t group = journal_group_octets(r, n);
	struct journal_pos at;
	enum err_kind k = ERR_OK;

	if (group > GROUP_MAX_OCTETS)
		return err_set(e, ERR_LIMIT, 0, "one change of %zu octets", group);
	if (s->ctl->follow_required && (k = duty_may_append(s, e)) != ERR_OK)
		return k;
	s->ctl->inside_journal = 1;
	s->ctl->tail.durable_seq = s->ctl->durable_seq;
	if (must_roll(s, group))
		k = roll(s, e);
	at = s->ctl->tail.pos;
	if (k == ERR_OK)
		k = journal_append(s->journal, r, n, &s->ctl->tail, out_pos, e);
	if (k == ERR_NOENT || k == ERR_CORRUPT)		/* the segment is not what it was: the mark stays for the next owner */
		return err_set(e, ERR_TEMP, 0, "the journal's last segment is damaged");
	/* when applying fails the records stand: the mark stays, and the next owner of the lock reads ctl anew */
	if (k == ERR_OK && (k = apply_group(s, at, n, e)) != ERR_OK)
		return k;
	s->ctl->appended_seq = s->ctl->tail.next_seq - 1;
	ctl_seal(s);
	s->ctl->inside_journal = 0;
	if (k == ERR_OK && out_seq != NULL)
		*out_seq = s->ctl->tail.next_seq - 1;
	return k;
}

/* Syncs the tail's segment. A record in an earlier segment is durable already: rolling saw to it. */
static enum err_kind sync_tail(struct store *s, uint64_t seq, uint32_t epoch, struct err *e)
{
	uint32_t seg;
	uint64_t target;
	enum err_kind k;

	if (s->ctl->epoch != epoch)
		return err_set(e, ERR_TEMP, 0, "a failed sync has cost the record");

	do {		/* target must lie in the segment that is synced */
		seg = *(volatile uint32_t *)&s->ctl->tail.pos.seg;
		target = s->ctl->appended_seq;
	} while (seg != *(volatile uint32_t *)&s->ctl->tail.pos.seg);
	if (s->ctl->durable_seq >= seq)
		return ERR_OK;
	if (s->ctl->broken)
		return err_set(e, ERR_TEMP, 0, "an earlier sync failed");
	if ((k = journal_sync(s->journal, seg, e)) != ERR_OK) {
		s->ctl->broken = 1;
		return k == ERR_NOSPC ? k : err_set(e, ERR_TEMP, e == NULL ? 0 : e->sys, "sync failed");
	}
	raise_durable(s, target);
	return ERR_OK;
}

static enum err_kind durable_here(struct store *s, uint64_t seq, uint32_t epoch, struct err *e)
{
	enum err_kind k;

	if (s->ctl->durable_seq >= seq && s->ctl->epoch == epoch)
		return ERR_OK;
	if ((k = lock_wait(s->sync_fd, LOCK_WAIT_MS, e)) != ERR_OK) {
		/* the operation fails, so its records must go; who waits in vain for a busy lock can't know */
		if (k != ERR_BUSY)
			s->ctl->broken = 1;
		return k;
	}
	k = sync_tail(s, seq, epoch, e);
	flock(s->sync_fd, LOCK_UN);
	return k;
}

/* Durable here, and in the copy where that is a duty. */
static enum err_kind make_durable(struct store *s, uint64_t seq, uint32_t epoch, struct err *e)
{
	enum err_kind k = durable_here(s, seq, epoch, e);

	return k != ERR_OK || !s->ctl->follow_required ? k : duty_wait(s, seq, epoch, e);
}

enum err_kind store_make_durable_here(struct store *s, uint64_t seq, struct err *e)
{
	return durable_here(s, seq, s->epoch, e);
}

enum err_kind store_make_durable(struct store *s, uint64_t seq, struct err *e)
{
	return make_durable(s, seq, s->epoch, e);
}

enum err_kind store_make_durable_locked(struct store *s, struct err *e)
{
	return sync_tail(s, s->ctl->appended_seq, s->ctl->epoch, e);
}

enum err_kind store_sync(struct store *s, struct err *e)
{
	enum err_kind k = s->later_seq == 0 ? ERR_OK : make_durable(s, s->later_seq, s->later_epoch, e);

	s->later_seq = 0;
	return k;
}
