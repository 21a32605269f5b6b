/* SPDX-License-Identifier: ISC */
/* Recovery after what should not be: records that were durable are gone, not because a process or the power died but because
 * the disk, or somebody, took them. A control file that is whole, be it of an earlier boot, knows how far the journal
 * reached: numbers, UIDs and places beyond what is left have been seen, and must never be given again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "check.h"

/* -- what the control file knew -- */

enum err_kind ctl_remember(const struct store *s, struct ctl_memory *out, struct err *e)
{
	const struct ctl_head *c = s->ctl;

	*out = (struct ctl_memory){ .sound = ctl_head_is_sound(s) };
	if (!out->sound)
		return ERR_OK;
	out->whole = true;
	out->store_id = c->store_id;
	out->has_roots = c->has_roots;
	out->quota = c->quota;
	out->appended_seq = c->appended_seq;
	out->durable_seq = c->durable_seq;
	out->tail_seg = c->tail.pos.seg;
	out->next_mailbox_id = c->next_mailbox_id;
	out->last_uidvalidity = c->last_uidvalidity;
	out->slots = calloc(c->n_slots + 1, sizeof *out->slots);
	if (out->slots == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to recover");
	for (uint32_t i = 0; i < c->n_slots; i++) {
		const struct ctl_slot *slot = &ctl_slots(s)[i];

		if (slot->state != 0 && ctl_slot_is_sound(slot))
			out->slots[out->n++] = *slot;
		out->whole = out->whole && ctl_slot_is_sound(slot);
	}
	return ERR_OK;
}

void ctl_memory_free(struct ctl_memory *m)
{
	free(m->slots);
	m->slots = NULL;
}

bool end_is_lost(const struct ctl_memory *m, const struct seg_header *h, uint32_t last, const struct journal_scan *scan)
{
	return m->sound && m->store_id == h->store_id && m->durable_seq > scan->end_seq && m->tail_seg >= last;
}

/* -- keeping it -- */

static enum err_kind copy_octets(int from, int to, const char *name, struct err *e)
{
	char octets[1 << 16];

	for (;;) {
		ssize_t n = read(from, octets, sizeof octets);

		if (n == 0)
			return ERR_OK;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && lseek(from, sizeof octets, SEEK_CUR) >= 0)
			continue;	/* a place that the disk does not give any more */
		if (n < 0 || write(to, octets, (size_t)n) != n)
			return err_sys(e, errno, "copy to %s", name);
	}
}

static enum err_kind copy_aside(struct store *s, uint32_t seg, struct err *e)
{
	char name[40], stem[40], aside[96];
	int from, to;
	enum err_kind k;

	snprintf(stem, sizeof stem, "%08u.seg", seg);
	snprintf(name, sizeof name, "journal/%08u.seg", seg);
	from = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (from < 0)
		return errno == ENOENT ? ERR_OK : err_sys(e, errno, "open %s", name);
	if ((k = aside_name(s, stem, aside, e)) == ERR_OK) {
		to = openat(s->dirfd, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		k = to < 0 ? err_sys(e, errno, "create %s", aside) : copy_octets(from, to, aside, e);
		if (k == ERR_OK && fsync(to) < 0)
			k = err_sys(e, errno, "sync %s", aside);
		if (to >= 0)
			close(to);
	}
	close(from);
	return k;
}

enum err_kind keep_lost_end(struct store *s, const struct ctl_memory *m, uint32_t last, struct err *e)
{
	enum err_kind k = ERR_OK;

	for (uint32_t seg = last; seg <= m->tail_seg && k == ERR_OK; seg++)
		k = copy_aside(s, seg, e);
	return k;
}

/* -- going on -- */

static enum err_kind add_slot(struct store *s, const struct ctl_slot *is, struct err *e)
{
	struct ctl_slot *slot;
	enum err_kind k = ctl_new_slot(s, &slot, e);

	if (k != ERR_OK)
		return k;
	*slot = *is;
	ctl_seal_slot(slot);
	if (s->ctl->next_mailbox_id <= slot->id)
		s->ctl->next_mailbox_id = slot->id + 1;
	if (s->ctl->last_uidvalidity < slot->uidvalidity)
		s->ctl->last_uidvalidity = slot->uidvalidity;
	return ERR_OK;
}

/* Names, numbers and counters as they were remembered: they hold what the lost records did. */
static enum err_kind adopt(struct store *s, const struct ctl_memory *m, bool with_counters, struct err *e)
{
	enum err_kind k = ERR_OK;

	s->ctl->n_slots = 0;
	for (uint32_t i = 0; i < m->n && k == ERR_OK; i++) {
		struct ctl_slot slot = m->slots[i];

		if (!with_counters) {
			slot.n_messages = slot.n_unseen = 0;
			slot.octets = 0;
		}
		k = add_slot(s, &slot, e);
	}
	if (s->ctl->next_mailbox_id < m->next_mailbox_id)
		s->ctl->next_mailbox_id = m->next_mailbox_id;
	if (s->ctl->last_uidvalidity < m->last_uidvalidity)
		s->ctl->last_uidvalidity = m->last_uidvalidity;
	s->ctl->has_roots = m->has_roots;
	s->ctl->quota = m->quota;
	return k;
}

enum err_kind regain_numbers(struct store *s, const struct ctl_memory *m, uint64_t end_seq, struct err *e)
{
	if (m->whole && m->appended_seq == end_seq)
		return adopt(s, m, true, e);
	for (uint32_t i = 0; i < m->n; i++) {
		struct ctl_slot *slot = ctl_find_id(s, m->slots[i].id);

		if (slot == NULL || slot->uidvalidity != m->slots[i].uidvalidity)
			continue;
		if (slot->uidnext < m->slots[i].uidnext)
			slot->uidnext = m->slots[i].uidnext;
		if (slot->modseq < m->slots[i].modseq)
			slot->modseq = m->slots[i].modseq;
		ctl_seal_slot(slot);
	}
	return ERR_OK;
}

static enum err_kind begin_segment(struct store *s, bool end_first, struct journal_tail *tail, struct err *e)
{
	struct buf snap = BUF_INIT(GROUP_MAX_OCTETS);
	enum err_kind k;

	if (!ctl_snapshot(s, &snap))
		k = err_set(e, ERR_TEMP, 0, "no memory for snapshot");
	else if (end_first)
		k = journal_roll(s->journal, buf_str(&snap), tail, e);
	else
		k = journal_begin(s->journal, s->ctl->store_id, buf_str(&snap), tail, e);
	buf_free(&snap);
	return k;
}

/* In the segment that was the tail already: what is behind its last whole record is filled. */
static enum err_kind regain_within(struct store *s, const struct ctl_memory *m, struct journal_tail *tail, struct err *e)
{
	struct rec_lost lost = { tail->next_seq, 0, 0, 0 };
	struct journal_rec rec = { REC_LOST, { str_n((const char *)&lost, sizeof lost) } };
	enum err_kind k;

	tail->next_seq = m->appended_seq;
	k = journal_append(s->journal, &rec, 1, tail, NULL, e);
	return k != ERR_OK ? k : begin_segment(s, true, tail, e);
}

enum err_kind regain_behind(struct store *s, const struct ctl_memory *m, const struct journal_scan *scan,
    struct journal_tail *tail, struct err *e)
{
	struct journal_rec end = { REC_END, { { NULL, 0 } } };
	enum err_kind k = m->whole ? adopt(s, m, true, e) : ERR_OK;

	if (k != ERR_OK)
		return k;
	if (!scan->ended && tail->pos.seg == m->tail_seg)
		return regain_within(s, m, tail, e);
	if (!scan->ended && ((k = journal_append(s->journal, &end, 1, tail, NULL, e)) != ERR_OK ||
	    (k = journal_sync(s->journal, tail->pos.seg, e)) != ERR_OK))
		return k;
	while (k == ERR_OK && tail->pos.seg < m->tail_seg) {
		bool last = tail->pos.seg + 1 == m->tail_seg && m->appended_seq > tail->next_seq;

		k = journal_fill(s->journal, s->ctl->store_id, last ? m->appended_seq : tail->next_seq, tail, e);
	}
	return k != ERR_OK ? k : begin_segment(s, false, tail, e);
}

/* -- no snapshot -- */

static struct ctl_slot named_slot(uint32_t id, uint32_t uidvalidity, bool inbox)
{
	struct ctl_slot slot = { .id = id, .state = MAILBOX_EXISTS, .uidnext = 1, .recent_uid = 1,
		.uidvalidity = uidvalidity, .modseq = 1 };

	slot.name_octets = (uint32_t)(inbox ? snprintf(slot.name, sizeof slot.name, "INBOX") :
	    snprintf(slot.name, sizeof slot.name, "recovered-%u", id));
	return slot;
}

struct finder {
	struct store *s;
	uint32_t uidvalidity;
};

/* The first mailbox that mail is filed into is called INBOX. */
static enum err_kind add_unknown(void *ctx, const struct journal_view *v, struct err *e)
{
	struct finder *f = ctx;
	uint32_t id = v->h.type == REC_MESSAGE ? rec_mailbox_id(v) : 0;
	struct ctl_slot slot;

	if (id == 0 || ctl_find_id(f->s, id) != NULL)
		return ERR_OK;
	slot = named_slot(id, f->uidvalidity, ctl_find_name(f->s, STR("INBOX")) == NULL);
	return add_slot(f->s, &slot, e);
}

enum err_kind slots_without_snapshot(struct store *s, const struct ctl_memory *m, uint32_t first, uint32_t last,
    struct err *e)
{
	struct finder f = { s, (uint32_t)clock_real_s() };
	struct seg_header h;
	struct ctl_slot slot;
	enum err_kind k;

	s->ctl->n_slots = 0;
	s->ctl->next_mailbox_id = 2;
	s->ctl->last_uidvalidity = 0;
	s->ctl->has_roots = 0;
	s->ctl->quota = (struct quota_limits){ .set = 0 };
	if (m->sound && m->n > 0)
		return adopt(s, m, false, e);
	if (first == 1 && journal_segment(s->journal, first, &h, NULL) == ERR_OK) {
		slot = named_slot(1, (uint32_t)(h.created_ms / 1000), true);
		return add_slot(s, &slot, e);
	}
	k = replay_all(s, last, add_unknown, &f, e);
	if (k == ERR_OK && ctl_find_name(s, STR("INBOX")) == NULL) {
		slot = named_slot(s->ctl->next_mailbox_id, f.uidvalidity, true);
		k = add_slot(s, &slot, e);
	}
	return k;
}

enum err_kind regain_without(struct store *s, const struct ctl_memory *m, struct journal_tail *tail, struct err *e)
{
	enum err_kind k = adopt(s, m, true, e);

	if (k != ERR_OK)
		return k;
	s->ctl->store_id = m->store_id;
	*tail = (struct journal_tail){ .pos = { m->tail_seg, 0 }, .next_seq = m->appended_seq + 1 };
	if (mkdirat(s->dirfd, "journal", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "create journal");
	return begin_segment(s, false, tail, e);
}
