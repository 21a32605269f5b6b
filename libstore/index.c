/* SPDX-License-Identifier: ISC */
/* The index: entering it (the engine, and the mark that says who is inside) and rolling it forward along the journal.
 * Damage in the journal costs the records it hit. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "index_int.h"

enum { DEATHS_MAX = 3 };	/* one after another in the engine, before the index is made anew */

/* -- rolling forward -- */

static enum err_kind write_pos(struct roll *r, struct err *e)
{
	enum err_kind k = cache_flush(r, e);

	return k != ERR_OK ? k : row_put(r, STR("J"),
	    str_n((const char *)&r->at, sizeof r->at), e);
}

static enum err_kind commit_step(struct roll *r, struct err *e)
{
	enum err_kind k;

	if ((k = write_pos(r, e)) != ERR_OK || (k = engine_commit(r->s->engine, e)) != ERR_OK)
		return k;
	return engine_tend(r->s->engine, e);
}

static enum err_kind skip_known(void *ctx, const struct journal_view *v, struct err *e)
{
	struct roll *r = ctx;

	return v->h.seq <= r->at.seq ? ERR_OK : roll_record(r, v, e);
}

/* The slow way around damage: the segment is searched for whole records. */
static enum err_kind roll_by_scan(struct roll *r, uint32_t seg, struct err *e)
{
	struct journal_scan scan;
	enum err_kind k;

	r->whole = true;
	r->at.part = 0;		/* what was done of a record may be done again */
	k = journal_scan(r->s->journal, seg, skip_known, r, &scan, e);
	r->whole = false;
	if (k == ERR_OK) {
		r->n_damaged += scan.n_damaged;
		r->at.next = seg < r->s->ctl->tail.pos.seg ?
		    (struct journal_pos){ seg + 1, sizeof(struct seg_header) } : r->s->ctl->tail.pos;
	}
	return k;
}

/* A whole segment that is missing or unreadable is stepped over. */
static enum err_kind roll_segment_slowly(struct roll *r, struct err *e)
{
	uint32_t seg = r->at.next.seg;
	enum err_kind k = roll_by_scan(r, seg, e);

	if ((k == ERR_CORRUPT || k == ERR_NOENT) && seg < r->s->ctl->tail.pos.seg &&
	    (e == NULL || strncmp(e->text, "index", 5) != 0)) {
		r->n_damaged++;
		r->at.next = (struct journal_pos){ seg + 1, sizeof(struct seg_header) };
		return ERR_OK;
	}
	return k;
}

static enum err_kind roll_some(struct roll *r, struct err *e)
{
	struct journal_pos tail = r->s->ctl->tail.pos;
	struct journal_view v;
	enum err_kind k = ERR_OK;

	r->n_rows = 0;
	while (r->n_rows++ < ROWS_PER_TXN && k == ERR_OK && pos_before(r->at.next, tail)) {
		if (journal_read(r->s->journal, r->at.next, true, &v, NULL) == ERR_OK &&
		    (v.h.prev_crc == r->at.crc || v.pos.seg != r->at.next.seg || r->at.seq == 0) &&
		    v.h.seq > r->at.seq)
			k = roll_record(r, &v, e);
		else
			k = roll_segment_slowly(r, e);
	}
	return k;
}

static enum err_kind read_pos(struct store *s, struct index_pos *at, struct err *e)
{
	struct str v;
	uint32_t first, last;
	enum err_kind k = engine_get(s->engine, STR("J"), &v, e);

	if (k == ERR_OK)
		k = row_unseal(STR("J"), &v, e);
	if (k == ERR_OK && v.n == sizeof *at) {
		memcpy(at, v.p, sizeof *at);
		if (at->store_id == s->ctl->store_id && at->seq < s->ctl->tail.next_seq &&
		    at->next.seg >= s->ctl->first_seg && !pos_before(s->ctl->tail.pos, at->next))
			return ERR_OK;
		return err_set(e, ERR_CORRUPT, 0, "index: of another journal");
	}
	if (k != ERR_OK && k != ERR_NOENT)
		return k;
	if ((k = journal_range(s->journal, &first, &last, e)) != ERR_OK)
		return k;
	*at = (struct index_pos){ .store_id = s->ctl->store_id,
		.next = { first, sizeof(struct seg_header) } };
	return ERR_OK;
}

/* At most n_steps transactions; *out_more: the tail was not reached. */
static enum err_kind roll_forward(struct store *s, size_t n_steps, bool *out_more, struct err *e)
{
	struct roll r = { .s = s };
	enum err_kind k = read_pos(s, &r.at, e);

	*out_more = false;
	if (k != ERR_OK || !pos_before(r.at.next, s->ctl->tail.pos))
		return k;
	r.cache = calloc(CACHE_CHUNKS, sizeof *r.cache);
	if (r.cache == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to roll the index forward");
	while (k == ERR_OK && n_steps-- > 0 && pos_before(r.at.next, s->ctl->tail.pos)) {
		if ((k = engine_begin(s->engine, e)) == ERR_OK && (k = roll_some(&r, e)) == ERR_OK)
			k = commit_step(&r, e);
		if (k != ERR_OK)
			engine_abort(s->engine);
	}
	*out_more = pos_before(r.at.next, s->ctl->tail.pos);
	free(r.cache);
	return k;
}

/* -- entering -- */

static enum err_kind start_over(struct store *s, struct err *e)
{
	enum err_kind k;

	engine_abandon(&s->engine);
	s->engine_generation = ++s->ctl->generation;
	if ((k = engine_destroy(s->dirfd, e)) != ERR_OK)
		return k;
	if ((k = engine_open(ENGINE_CLEAN, &s->engine, e)) == ERR_OK)
		s->ctl->engine_rebooted = 0;
	return k;
}

/* Says to the others that this process has the index open; the kernel takes it back when it dies. */
static enum err_kind register_user(struct store *s, struct err *e)
{
	if (s->users_fd < 0)
		s->users_fd = openat(s->dirfd, "users", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->users_fd < 0 || flock(s->users_fd, LOCK_SH | LOCK_NB) < 0)
		return err_sys(e, errno, "users");
	return ERR_OK;
}

static enum err_kind engine_ready(struct store *s, struct err *e)
{
	enum engine_state since = s->ctl->engine_rebooted ? ENGINE_REBOOTED :
	    s->ctl->inside_engine != 0 ? ENGINE_DIED : ENGINE_CLEAN;
	enum err_kind k;

	if (s->engine != NULL && (since != ENGINE_CLEAN || s->engine_generation != s->ctl->generation))
		engine_abandon(&s->engine);
	s->ctl->inside_engine++;
	if (s->engine != NULL)
		return ERR_OK;
	if (fchdir(s->dirfd) < 0)
		return err_sys(e, errno, "enter store");
	if ((k = register_user(s, e)) != ERR_OK)
		return k;
	if (since != ENGINE_CLEAN)
		s->ctl->generation++;
	s->engine_generation = s->ctl->generation;
	/* a second death in recovery is no accident: there is something in it that recovery does not survive */
	if (s->ctl->inside_engine > DEATHS_MAX)
		return err_set(e, ERR_CORRUPT, 0, "index: recovery does not end");
	if ((k = engine_open(since, &s->engine, e)) == ERR_OK)
		s->ctl->engine_rebooted = 0;
	return k;
}

/* After ERR_CORRUPT the mark stays: something is to be done about the index. It stays, too, when the engine could not be
 * opened for want of space or memory, but that was no death. */
static enum err_kind try_enter(struct store *s, size_t n_steps, bool *out_more, struct err *e)
{
	uint32_t deaths = s->ctl->inside_engine;
	enum err_kind k;

	if ((k = store_make_durable_locked(s, e)) != ERR_OK)
		return k;
	if ((k = engine_ready(s, e)) == ERR_OK)
		k = roll_forward(s, n_steps, out_more, e);
	if (k != ERR_OK && k != ERR_CORRUPT && s->engine != NULL)
		index_leave(s);
	else if (k != ERR_OK && k != ERR_CORRUPT)
		s->ctl->inside_engine = deaths > 0 ? deaths : 1;
	return k;
}

static enum err_kind enter(struct store *s, size_t n_steps, bool *out_more, struct err *e)
{
	enum err_kind k = try_enter(s, n_steps, out_more, e);

	if (k != ERR_CORRUPT)
		return k;
	if ((k = start_over(s, e)) == ERR_OK)
		k = roll_forward(s, n_steps, out_more, e);
	if (k != ERR_OK && s->engine != NULL)
		index_leave(s);
	return k;
}

enum err_kind index_enter_as_is(struct store *s, bool *out_more, struct err *e)
{
	enum err_kind k = try_enter(s, 1, out_more, e);

	if (k == ERR_CORRUPT && s->engine != NULL)	/* else the mark stays: recovery is still due */
		index_leave(s);
	if (k == ERR_CORRUPT)
		engine_abandon(&s->engine);
	return k;
}

enum err_kind index_enter(struct store *s, struct err *e)
{
	bool more;

	return enter(s, SIZE_MAX, &more, e);
}

enum err_kind index_enter_step(struct store *s, bool *out_more, struct err *e)
{
	return enter(s, 1, out_more, e);
}

void index_leave(struct store *s)
{
	s->ctl->inside_engine = 0;
}

enum err_kind index_lock(struct store *s, struct err *e)
{
	bool more = true;
	enum err_kind k = ERR_OK;

	while (k == ERR_OK && more) {
		if ((k = store_lock(s, e)) != ERR_OK)
			return k;
		if ((k = index_enter_step(s, &more, e)) != ERR_OK)
			store_unlock(s);
		else if (more) {
			index_unlock(s);
			lock_give_way();
		}
	}
	return k;
}

void index_unlock(struct store *s)
{
	index_leave(s);
	store_unlock(s);
}

enum err_kind index_drop(struct store *s, struct err *e)
{
	enum err_kind k;

	engine_abandon(&s->engine);
	s->ctl->generation++;
	s->ctl->inside_engine = 1;
	if ((k = engine_destroy(s->dirfd, e)) != ERR_OK)
		return k;			/* the mark stays: half destroyed is not clean */
	s->ctl->engine_rebooted = 0;
	s->ctl->inside_engine = 0;
	return ERR_OK;
}

void index_close(struct store *s)
{
	if (s->engine == NULL)
		return;
	if (store_lock(s, NULL) != ERR_OK) {
		engine_abandon(&s->engine);
		return;
	}
	if (s->ctl->inside_engine || s->engine_generation != s->ctl->generation) {
		engine_abandon(&s->engine);
	} else {
		s->ctl->inside_engine = 1;
		engine_close(&s->engine, flock(s->users_fd, LOCK_EX | LOCK_NB) == 0);
		s->ctl->inside_engine = 0;
		flock(s->users_fd, LOCK_UN);	/* before the next one opens it */
	}
	store_unlock(s);
}
