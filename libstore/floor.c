/* SPDX-License-Identifier: ISC */
/* A store that is put back to an earlier time must not give numbers again that clients have seen since: they would take new
 * messages for old ones. Its counters are raised above the later state's, in the snapshot of a new segment. */
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "copy.h"
#include "store_int.h"

struct floor_slot {
	uint32_t id, uidvalidity, uidnext;
};

struct store_floor {
	uint64_t store_id, next_seq;
	uint32_t next_mailbox_id, last_uidvalidity;
	uint32_t n;
	struct floor_slot slot[];
};

enum err_kind store_floor_take(struct store *s, struct store_floor **out, struct err *e)
{
	struct store_floor *f;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	f = malloc(sizeof *f + s->ctl->n_slots * sizeof *f->slot);
	if (f == NULL)
		_exit(EX_TEMPFAIL);
	*f = (struct store_floor){ s->ctl->store_id, s->ctl->tail.next_seq, s->ctl->next_mailbox_id,
		s->ctl->last_uidvalidity, s->ctl->n_slots };
	for (uint32_t i = 0; i < f->n; i++) {
		const struct ctl_slot *slot = &ctl_slots(s)[i];

		f->slot[i] = (struct floor_slot){ slot->state != 0 ? slot->id : 0, slot->uidvalidity, slot->uidnext };
	}
	store_unlock(s);
	*out = f;
	return ERR_OK;
}

static bool raise_u32(uint32_t *v, uint32_t least)
{
	if (*v >= least)
		return false;
	*v = least;
	return true;
}

static bool raise_slots(struct store *s, const struct store_floor *f)
{
	bool raised = raise_u32(&s->ctl->last_uidvalidity, f->last_uidvalidity);

	if (f->store_id != s->ctl->store_id)	/* another store's ids mean other mailboxes */
		return raised;
	raised |= raise_u32(&s->ctl->next_mailbox_id, f->next_mailbox_id);
	for (uint32_t i = 0; i < f->n; i++) {
		struct ctl_slot *slot = f->slot[i].id != 0 ? ctl_find_id(s, f->slot[i].id) : NULL;

		if (slot != NULL && slot->uidvalidity == f->slot[i].uidvalidity &&
		    raise_u32(&slot->uidnext, f->slot[i].uidnext)) {
			ctl_seal_slot(slot);
			raised = true;
		}
	}
	return raised;
}

enum err_kind store_floor_keep(struct store *s, const struct store_floor *f, struct err *e)
{
	bool raised;
	enum err_kind k;

	if ((k = store_lock(s, e)) != ERR_OK)
		return k;
	s->ctl->inside_journal = 1;	/* what is raised is true when the new segment says so, not before */
	raised = raise_slots(s, f);
	if (s->ctl->tail.next_seq < f->next_seq) {
		s->ctl->tail.next_seq = f->next_seq;
		s->ctl->tail.durable_seq = f->next_seq - 1;
		raised = true;
	}
	if (!raised || (k = store_roll(s, e)) == ERR_OK)
		s->ctl->inside_journal = 0;
	store_unlock(s);
	return k;
}

void store_floor_free(struct store_floor **f)
{
	free(*f);
	*f = NULL;
}
