/* SPDX-License-Identifier: ISC */
/* Replays the journal with the code that writes slots and rows in earnest (ctl_apply, roll_record), into memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../libbase/vec.h"
#include "shadow.h"

enum err_kind shadow_new(const struct store *s, struct shadow **out, struct err *e)
{
	struct shadow *sh = calloc(1, sizeof *sh);
	uint32_t first, last;
	enum err_kind k;

	if (sh == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to read the journal");
	sh->s.env = s->env;
	sh->s.dirfd = s->dirfd;
	sh->s.ctl_fd = -1;
	sh->s.journal = journal_new(s->dirfd);
	sh->roll.s = &sh->s;
	sh->roll.real = s;
	sh->roll.table = table_new();
	sh->roll.cache = calloc(CACHE_CHUNKS, sizeof *sh->roll.cache);
	if (sh->roll.table == NULL || sh->roll.cache == NULL)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to read the journal");
	else if ((k = ctl_anonymous(&sh->s, e)) == ERR_OK)
		k = journal_range(s->journal, &first, &last, e);
	if (k != ERR_OK) {
		shadow_free(&sh);
		return k;
	}
	sh->s.ctl->store_id = s->ctl->store_id;
	sh->s.ctl->first_seg = first;
	sh->pos = (struct journal_pos){ first, sizeof(struct seg_header) };
	*out = sh;
	return ERR_OK;
}

void shadow_free(struct shadow **out)
{
	struct shadow *sh = *out;

	if (sh == NULL)
		return;
	ctl_close(&sh->s);
	journal_free(&sh->s.journal);
	table_free(&sh->roll.table);
	free(sh->roll.cache);
	free(sh->gap);
	free(sh->named.v);
	free(sh);
	*out = NULL;
}

/* -- gaps -- */

static void add_gap(struct shadow *sh, struct gap g)
{
	if (vec_room(&sh->gap, sh->n_gaps, &sh->cap_gaps, sizeof g))
		sh->gap[sh->n_gaps++] = g;
	else
		sh->no_memory = true;
}

static void on_damage(void *ctx, const struct journal_damage *d)
{
	add_gap(ctx, (struct gap){ GAP_DAMAGE, d->seg, d->from, d->to, d->first_seq, d->last_seq });
}

static bool is_whole_segment(const struct gap *g)
{
	return g->kind == GAP_MISSING || g->kind == GAP_UNREADABLE;
}

const struct gap *shadow_gap_at(const struct shadow *sh, uint32_t seg, uint32_t off)
{
	for (size_t i = 0; i < sh->n_gaps; i++) {
		const struct gap *g = &sh->gap[i];

		if (g->seg == seg && (is_whole_segment(g) ||
		    (g->kind != GAP_HEADER && off >= g->from && off < g->to)))
			return g;
	}
	return NULL;
}

bool shadow_has_gap(const struct shadow *sh, uint32_t seg)
{
	for (size_t i = 0; i < sh->n_gaps; i++) {
		if (sh->gap[i].seg == seg && sh->gap[i].kind != GAP_HEADER)
			return true;
	}
	return false;
}

/* -- large bodies -- */

static void add_large(struct shadow *sh, uint64_t id)
{
	struct large_ids *ids = &sh->named;

	if (!vec_room(&ids->v, ids->n, &ids->cap, sizeof *ids->v)) {
		sh->no_memory = true;
		return;
	}
	ids->v[ids->n++] = id;
	ids->sorted = false;
}

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

bool shadow_names_large(struct shadow *sh, uint64_t id)
{
	struct large_ids *ids = &sh->named;

	if (ids->n == 0)
		return false;
	if (!ids->sorted)
		qsort(ids->v, ids->n, sizeof *ids->v, by_id);
	ids->sorted = true;
	return bsearch(&id, ids->v, ids->n, sizeof *ids->v, by_id) != NULL;
}

/* -- reading -- */

static void note_large(struct shadow *sh, const struct journal_view *v)
{
	struct rec_message m;
	struct str record, prefix, body;

	if ((v->h.type == REC_MESSAGE || v->h.type == REC_KEPT) &&
	    rec_get_message(v->payload, &m, &record, &prefix, &body) && m.large_id != 0)
		add_large(sh, m.large_id);
}

static void note_lost(struct shadow *sh, const struct journal_view *v)
{
	struct rec_lost lost = { .settled = 1 };

	if (v->h.type != REC_LOST)
		return;
	if (v->payload.n >= sizeof lost)
		memcpy(&lost, v->payload.p, sizeof lost);
	if (lost.settled)
		sh->n_known_lost++;
	else
		add_gap(sh, (struct gap){ GAP_UNSETTLED, v->pos.seg, v->pos.off, v->next.off, lost.first_seq, v->h.seq });
}

static enum err_kind shadow_record(void *ctx, const struct journal_view *v, struct err *e)
{
	struct shadow *sh = ctx;
	uint64_t n_damaged = sh->roll.n_damaged;
	enum err_kind k = ctl_apply(&sh->s, v, e);

	note_lost(sh, v);
	note_large(sh, v);
	if (k == ERR_OK)
		k = roll_record(&sh->roll, v, e);
	if (k == ERR_CORRUPT || sh->roll.n_damaged != n_damaged) {
		add_gap(sh, (struct gap){ GAP_NONSENSE, v->pos.seg, v->pos.off, v->next.off, v->h.seq, v->h.seq });
		return ERR_OK;
	}
	return k;
}

/* A segment begins: do the numbers go on where they ended? What was lost before it is known only now. */
static void join(struct shadow *sh, const struct seg_header *h)
{
	struct gap *last = sh->n_gaps > 0 ? &sh->gap[sh->n_gaps - 1] : NULL;

	if (last != NULL && last->last_seq == 0 && last->kind != GAP_HEADER)
		last->last_seq = h->first_seq - 1;
	else if (sh->seq != 0 && h->first_seq > sh->seq + 1)
		add_gap(sh, (struct gap){ GAP_SEQUENCE, h->number, 0, 0, sh->seq + 1, h->first_seq - 1 });
}

static enum err_kind segment_begins(struct shadow *sh, uint32_t seg, uint64_t *after, struct err *e)
{
	struct seg_header h;
	enum err_kind k = journal_segment(sh->s.journal, seg, &h, e);

	if (k != ERR_OK)
		return k;
	join(sh, &h);
	if (journal_header_damaged(sh->s.journal, seg))
		add_gap(sh, (struct gap){ GAP_HEADER, seg, 0, sizeof h, 1, 0 });
	*after = h.first_seq - 1;
	return ERR_OK;
}

/* One segment, up to `until`; the whole of it when another one follows. */
static enum err_kind read_part(struct shadow *sh, uint32_t until, struct err *e)
{
	struct journal_part part = { .from = sh->pos, .after = sh->seq, .until = until,
		.each = shadow_record, .damaged = on_damage, .ctx = sh };
	struct journal_scan scan = { 0 };
	enum err_kind k = ERR_OK;

	if (sh->pos.off == sizeof(struct seg_header))
		k = segment_begins(sh, sh->pos.seg, &part.after, e);
	if (k == ERR_NOENT || k == ERR_CORRUPT) {
		add_gap(sh, (struct gap){ k == ERR_NOENT ? GAP_MISSING : GAP_UNREADABLE, sh->pos.seg,
			0, SEG_MAP_OCTETS, sh->seq + 1, 0 });
		return ERR_OK;
	}
	if (k == ERR_OK)
		k = journal_scan_part(sh->s.journal, &part, &scan, e);
	sh->n_records += scan.n_records;
	if (k == ERR_OK && scan.end_seq > sh->seq)
		sh->seq = scan.end_seq;
	if (k == ERR_OK && until == UINT32_MAX && !scan.ended)
		add_gap(sh, (struct gap){ GAP_DAMAGE, sh->pos.seg, scan.end.off, SEG_MAP_OCTETS, sh->seq + 1, 0 });
	return k;
}

/* A gap at the end of what was read: its last number is known by whoever knows the position. */
static void close_gap(struct shadow *sh, uint64_t seq)
{
	struct gap *last = sh->n_gaps > 0 ? &sh->gap[sh->n_gaps - 1] : NULL;

	if (last != NULL && last->last_seq == 0 && last->kind != GAP_HEADER)
		last->last_seq = seq;
	sh->seq = seq;
}

enum err_kind shadow_advance(struct shadow *sh, struct journal_pos to, uint64_t seq, struct err *e)
{
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && sh->pos.seg < to.seg) {
		k = read_part(sh, UINT32_MAX, e);
		sh->pos = (struct journal_pos){ sh->pos.seg + 1, sizeof(struct seg_header) };
	}
	if (k == ERR_OK && sh->pos.off < to.off) {
		k = read_part(sh, to.off, e);
		sh->pos = to;
		if (k == ERR_OK)
			close_gap(sh, seq);
	}
	if (k == ERR_OK)
		k = cache_flush(&sh->roll, e);
	if (k == ERR_OK && sh->no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to read the journal");
	return k;
}

bool shadow_row(const struct shadow *sh, uint32_t mailbox, uint32_t uid, struct index_msg *out)
{
	char key[KEY_MAX];
	struct table_item item;

	if (!table_get(sh->roll.table, key2(key, 'C', mailbox, uid / CHUNK_UIDS), &item))
		return false;
	for (size_t at = 0; at + sizeof *out <= item.value.n; at += sizeof *out) {
		memcpy(out, item.value.p + at, sizeof *out);
		if (out->uid == uid)
			return true;
	}
	return false;
}
