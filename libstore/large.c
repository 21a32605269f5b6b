/* SPDX-License-Identifier: ISC */
/* Large bodies that nobody needs any more. Several records may name one body (a message that was delivered to several
 * mailboxes of the user), so each is compared with what all rows name before it goes. It goes under the lock: whoever
 * files a message looks under the lock whether its body is still there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/vec.h"
#include "large.h"

void large_name(char name[40], uint64_t id)
{
	snprintf(name, 40, "large/%02x/%016llx", (unsigned)(id & 0xff), (unsigned long long)id);
}

static void add_id(struct ids *ids, uint64_t id)
{
	if (vec_room(&ids->v, ids->n, &ids->cap, sizeof id))
		ids->v[ids->n++] = id;
	else
		ids->no_memory = true;
}

static enum err_kind no_memory(struct err *e)
{
	return err_set(e, ERR_TEMP, ENOMEM, "no memory for a list of large bodies");
}

static enum err_kind add_named(void *ctx, const struct journal_view *v, struct err *e)
{
	struct rec_message m;
	struct str record, prefix, body;

	(void)e;
	if (rec_has_octets(v->h.type) && rec_get_message(v->payload, &m, &record, &prefix, &body) && m.large_id != 0)
		add_id(ctx, m.large_id);
	return ERR_OK;
}

enum err_kind large_named(struct store *s, uint32_t first, uint32_t before, struct ids *out, struct err *e)
{
	struct journal_scan scan;
	enum err_kind k = ERR_OK;

	for (uint32_t seg = first; k == ERR_OK && seg < before; seg++) {
		k = journal_scan(s->journal, seg, add_named, out, &scan, e);
		if (k == ERR_NOENT || k == ERR_CORRUPT)
			k = ERR_OK;	/* what is lost names nothing */
	}
	return k == ERR_OK && out->no_memory ? no_memory(e) : k;
}

static uint64_t id_at(struct store *s, const struct message *m)
{
	struct journal_view v;
	struct rec_message r;
	struct str record, prefix, body;

	if (m->size_octets <= STORE_INLINE_MAX_OCTETS ||
	    journal_read(s->journal, (struct journal_pos){ m->seg, m->off }, false, &v, NULL) != ERR_OK ||
	    !rec_has_octets(v.h.type) || !rec_get_message(v.payload, &r, &record, &prefix, &body))
		return 0;
	return r.large_id;
}

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool has_id(const struct ids *sorted, uint64_t id)
{
	return sorted->n > 0 && bsearch(&id, sorted->v, sorted->n, sizeof *sorted->v, by_id) != NULL;
}

struct needed {
	struct store *s;
	int64_t kept_from_ms;
	struct ids ids;
};

static void add_needed(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms)
{
	struct needed *n = ctx;
	uint64_t id;

	(void)mailbox;
	if ((gone_ms == 0 || gone_ms >= n->kept_from_ms) && (id = id_at(n->s, m)) != 0)
		add_id(&n->ids, id);
}

static enum err_kind unlink_locked(struct store *s, uint64_t id, uint64_t *out_n, struct err *e)
{
	char name[40];
	enum err_kind k = store_lock(s, e);

	if (k != ERR_OK)
		return k;
	large_name(name, id);
	*out_n += unlinkat(s->dirfd, name, 0) == 0;
	store_unlock(s);
	return ERR_OK;
}

enum err_kind large_drop(struct store *s, struct ids *old, int64_t kept_from_ms, uint64_t *out_n, struct err *e)
{
	struct needed n = { .s = s, .kept_from_ms = kept_from_ms };
	enum err_kind k;

	if (old->n == 0)
		return ERR_OK;
	qsort(old->v, old->n, sizeof *old->v, by_id);
	if ((k = rows_each(s, INDEX_MESSAGES, add_needed, &n, e)) == ERR_OK &&
	    (k = rows_each(s, INDEX_GONE, add_needed, &n, e)) == ERR_OK && n.ids.no_memory)
		k = no_memory(e);
	if (n.ids.n > 0)
		qsort(n.ids.v, n.ids.n, sizeof *n.ids.v, by_id);
	for (size_t i = 0; k == ERR_OK && i < old->n; i++) {
		if (!has_id(&n.ids, old->v[i]) && (i == 0 || old->v[i] != old->v[i - 1]))
			k = unlink_locked(s, old->v[i], out_n, e);
	}
	free(n.ids.v);
	return k;
}

/* -- before their segments go -- */

struct reaped {
	struct store *s;
	int64_t kept_from_ms;
	int64_t next_ms;		/* the oldest that is still kept was expunged then; 0: there is none */
	struct ids ids;
};

static void add_reaped(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms)
{
	struct reaped *r = ctx;
	char name[40];
	uint64_t id;

	(void)mailbox;
	if (m->size_octets <= STORE_INLINE_MAX_OCTETS)
		return;
	if (gone_ms >= r->kept_from_ms) {
		r->next_ms = r->next_ms == 0 || gone_ms < r->next_ms ? gone_ms : r->next_ms;
		return;
	}
	if ((id = id_at(r->s, m)) == 0)
		return;
	large_name(name, id);
	if (faccessat(r->s->dirfd, name, F_OK, 0) == 0)
		add_id(&r->ids, id);
}

enum err_kind large_reap(struct store *s, int64_t kept_from_ms, uint64_t *out_n, struct err *e)
{
	struct reaped r = { .s = s, .kept_from_ms = kept_from_ms };
	enum err_kind k;

	s->ctl->large_due = 0;	/* what is expunged from here on sets it again */
	k = rows_each(s, INDEX_GONE, add_reaped, &r, e);
	if (k == ERR_OK && r.ids.no_memory)
		k = no_memory(e);
	if (k == ERR_OK)
		k = large_drop(s, &r.ids, kept_from_ms, out_n, e);
	free(r.ids.v);
	if (k != ERR_OK || r.next_ms != 0) {
		s->ctl->large_after_s = k == ERR_OK ? r.next_ms / 1000 + (int64_t)s->env.conf.retain_ms / 1000 + 1 :
		    clock_real_s();
		s->ctl->large_due = 1;
	}
	return k;
}
