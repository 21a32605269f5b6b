/* SPDX-License-Identifier: ISC */
/* Copying, moving and bringing back: new rows for octets that are there already. One group of records each, so that all
 * of it happens or nothing. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "gone.h"
#include "mailbox_int.h"

struct copying {
	struct rec_copy copy;
	struct rec_expunge gone;
	struct buf entries, ranges;
	struct kw_new add;
	uint8_t map[STORE_KEYWORDS_MAX];	/* keyword bit here -> bit there */
};

/* Keywords are numbered per mailbox: the bits that the copied messages use are given their numbers in the target. */
static enum err_kind map_keywords(struct store *s, const struct index_keywords *from, uint32_t dst, uint64_t used, struct copying *c,
    struct err *e)
{
	struct index_keywords *kw = malloc(sizeof *kw);
	enum err_kind k;

	if (kw == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for keywords");
	if ((k = index_enter(s, e)) == ERR_OK) {
		k = index_keywords(s, dst, kw, e);
		index_leave(s);
	}
	for (size_t i = 0; k == ERR_OK && i < from->n; i++) {
		struct str name = str_n(from->name[i], from->octets[i]);
		uint64_t bit;

		if (!(used >> i & 1))
			continue;
		if ((k = keyword_mask(dst, kw, &name, 1, &c->add, &bit, e)) == ERR_OK)
			c->map[i] = (uint8_t)__builtin_ctzll(bit);
	}
	free(kw);
	return k;
}

static uint64_t mapped_keywords(const struct copying *c, uint64_t bits)
{
	uint64_t out = 0;

	for (; bits != 0; bits &= bits - 1)
		out |= (uint64_t)1 << c->map[__builtin_ctzll(bits)];
	return out;
}

static void add_entry(struct copying *c, const struct message *m)
{
	struct copy_entry x = {
		.from_uid = m->uid, .flags = m->flags & MSG_STORED_FLAGS,
		.keywords = mapped_keywords(c, m->keywords), .internaldate_s = m->internaldate_s,
		.size_octets = m->size_octets, .record_octets = m->record_octets,
		.seg = m->seg, .off = m->off,
	};

	buf_put(&c->entries, str_n((const char *)&x, sizeof x));
	c->copy.n++;
	c->copy.n_unseen += !(m->flags & MSG_SEEN);
	c->copy.octets += m->size_octets;
}

static enum err_kind copy_into(struct copying *c, const struct ctl_slot *dst, uint32_t from, size_t n,
    struct err *e)
{
	if (dst == NULL || !(dst->state & MAILBOX_EXISTS) || (dst->state & MAILBOX_NOSELECT))
		return err_set(e, ERR_NOENT, 0, "target mailbox was deleted");
	if (n >= UINT32_MAX - dst->uidnext)
		return err_set(e, ERR_LIMIT, 0, "the target's UIDs are used up");
	c->copy = (struct rec_copy){ .mailbox = dst->id, .from_mailbox = from, .first_uid = dst->uidnext };
	return ERR_OK;
}

static enum err_kind copy_locked(struct mailbox *mb, const uint32_t *uids, size_t n, uint32_t dst_id,
    bool move, uint32_t *src_uids, struct copying *c, uint32_t *out_validity, struct err *e)
{
	const struct ctl_slot *dst = ctl_find_id(mb->s, dst_id);
	uint64_t used = 0;
	enum err_kind k;

	if ((k = copy_into(c, dst, mb->id, n, e)) != ERR_OK)
		return k;
	*out_validity = dst->uidvalidity;
	for (size_t i = 0; i < n; i++) {
		const struct message *m = find_uid(mb, uids[i]);

		used |= m != NULL ? m->keywords : 0;
	}
	if (used != 0 && (k = map_keywords(mb->s, &mb->kw, dst_id, used, c, e)) != ERR_OK)
		return k;
	for (size_t i = 0; i < n; i++) {
		const struct message *m = find_uid(mb, uids[i]);

		if (m == NULL)
			continue;
		src_uids[c->copy.n] = m->uid;
		add_entry(c, m);
	}
	c->gone = (struct rec_expunge){ .mailbox = mb->id, .n_messages = c->copy.n,
		.n_unseen = c->copy.n_unseen, .octets = c->copy.octets };
	if (c->entries.full || !ranges_put(&c->ranges, src_uids, c->copy.n, &c->gone.n_ranges))
		return err_set(e, ERR_LIMIT, 0, "too many messages at once");
	return quota_room(mb->s, dst, move ? ctl_find_id(mb->s, mb->id) : NULL, c->copy.n, c->copy.octets, false, e);
}

enum err_kind mailbox_copy(struct mailbox *mb, const uint32_t *uids, size_t n, uint32_t dst_id,
    bool move, uint32_t *src_uids, uint32_t *dst_uids, size_t *out_n, uint32_t *out_uidvalidity,
    struct err *e)
{
	struct copying c = { .entries = BUF_INIT(GROUP_MAX_OCTETS - 65536),
		.ranges = BUF_INIT(GROUP_MAX_OCTETS / 2) };
	struct journal_rec r[STORE_KEYWORDS_MAX + 2];
	size_t n_rec = 0;
	enum err_kind k;

	if ((k = op_begin(mb, e)) == ERR_OK) {
		k = copy_locked(mb, uids, n, dst_id, move, src_uids, &c, out_uidvalidity, e);
		if (k == ERR_OK && c.copy.n > 0) {
			n_rec = keyword_records(&c.add, r);
			r[n_rec++] = (struct journal_rec){ REC_COPY, {
				str_n((const char *)&c.copy, sizeof c.copy), buf_str(&c.entries) } };
			if (move)
				r[n_rec++] = (struct journal_rec){ REC_EXPUNGE, {
					str_n((const char *)&c.gone, sizeof c.gone),
					buf_str(&c.ranges) } };
		}
		k = op_end(mb, r, n_rec, k, e);
	}
	buf_free(&c.entries);
	buf_free(&c.ranges);
	if (k != ERR_OK)
		return k;
	for (uint32_t i = 0; i < c.copy.n; i++)
		dst_uids[i] = c.copy.first_uid + i;
	*out_n = c.copy.n;
	return ERR_OK;
}

/* -- bringing back -- */

struct undeleting {
	uint32_t mailbox;
	int64_t kept_from_ms;
	struct message *m;		/* those that can be brought back */
	size_t n;
	uint64_t keywords;
	struct index_keywords *kw;	/* of the mailbox; names of new keywords are views of it */
};

/* Under the lock the octets stay where they are. ERR_NOENT, ERR_CORRUPT: they are no more. */
static enum err_kind find_octets(struct store *s, const struct message *m, struct err *e)
{
	struct journal_view v;
	struct rec_message r;
	struct str record, prefix, body;
	char name[40];
	enum err_kind k;

	if (m->seg < s->ctl->first_seg)
		return ERR_NOENT;
	if ((k = journal_read(s->journal, (struct journal_pos){ m->seg, m->off }, true, &v, e)) != ERR_OK)
		return k;
	if (!rec_has_octets(v.h.type) || !rec_get_message(v.payload, &r, &record, &prefix, &body))
		return ERR_CORRUPT;
	large_name(name, r.large_id);
	return r.large_id == 0 || faccessat(s->dirfd, name, F_OK, 0) == 0 ? ERR_OK : ERR_NOENT;
}

/* What is no more is left out; what can't be read just now is an error. */
static enum err_kind find_gone(struct store *s, struct undeleting *u, const uint32_t *uids, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct message *m = &u->m[u->n];
		int64_t gone_ms;
		enum err_kind k = index_gone_row(s, u->mailbox, uids[i], m, &gone_ms, e);

		if (k == ERR_OK && gone_ms >= u->kept_from_ms)
			k = find_octets(s, m, e);
		else if (k == ERR_OK)
			k = ERR_NOENT;
		if (k == ERR_NOENT || k == ERR_CORRUPT)
			continue;
		if (k != ERR_OK)
			return k;
		m->flags &= ~(uint32_t)MSG_DELETED;
		u->keywords |= m->keywords;
		u->n++;
	}
	return ERR_OK;
}

static enum err_kind undelete_locked(struct store *s, struct undeleting *u, uint32_t dst_id, struct copying *c,
    struct err *e)
{
	enum err_kind k = copy_into(c, ctl_find_id(s, dst_id), u->mailbox, u->n, e);

	if (k != ERR_OK)
		return k;
	c->copy.undelete = 1;
	if (u->keywords != 0 && (k = index_keywords(s, u->mailbox, u->kw, e)) == ERR_OK)
		k = map_keywords(s, u->kw, dst_id, u->keywords, c, e);
	for (size_t i = 0; i < u->n && k == ERR_OK; i++)
		add_entry(c, &u->m[i]);
	if (k == ERR_OK && c->entries.full)
		return err_set(e, ERR_LIMIT, 0, "too many messages at once");
	return k != ERR_OK ? k : quota_room(s, ctl_find_id(s, dst_id), NULL, c->copy.n, c->copy.octets, false, e);
}

static enum err_kind undelete(struct store *s, struct undeleting *u, const uint32_t *uids, size_t n, uint32_t dst_id,
    struct copying *c, struct err *e)
{
	struct journal_rec r[STORE_KEYWORDS_MAX + 1];
	size_t n_rec;
	uint64_t seq = 0;
	enum err_kind k;

	if ((k = index_lock(s, e)) != ERR_OK)
		return k;
	if ((k = find_gone(s, u, uids, n, e)) == ERR_OK)
		k = undelete_locked(s, u, dst_id, c, e);
	if (k == ERR_OK && u->n > 0) {
		n_rec = keyword_records(&c->add, r);
		r[n_rec++] = (struct journal_rec){ REC_COPY, {
			str_n((const char *)&c->copy, sizeof c->copy), buf_str(&c->entries) } };
		k = store_append(s, r, n_rec, NULL, &seq, e);
	}
	index_unlock(s);
	return k == ERR_OK ? store_make_durable(s, seq, e) : k;
}

enum err_kind store_undelete(struct store *s, uint32_t mailbox, const uint32_t *uids, size_t n, uint32_t dst_id,
    size_t *out_n, struct err *e)
{
	struct copying c = { .entries = BUF_INIT(GROUP_MAX_OCTETS - 65536) };
	struct undeleting u = { .mailbox = mailbox };
	enum err_kind k = gone_kept_from(s, &u.kept_from_ms, e);

	*out_n = 0;
	if (k != ERR_OK)
		return k;
	u.m = calloc(n + 1, sizeof *u.m);
	u.kw = malloc(sizeof *u.kw);
	k = u.m != NULL && u.kw != NULL ? undelete(s, &u, uids, n, dst_id, &c, e) :
	    err_set(e, ERR_TEMP, ENOMEM, "no memory to bring messages back");
	buf_free(&c.entries);
	free(u.m);
	free(u.kw);
	if (k == ERR_OK)
		*out_n = u.n;
	return k;
}
