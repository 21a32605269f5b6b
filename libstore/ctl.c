/* SPDX-License-Identifier: ISC */
/* The control file: the tail of the journal and a slot per mailbox in mapped memory, so that deliveries and counters
 * need no index. It is derived: ctl_recover makes it from the journal's last segment, whose first record is a snapshot
 * of all slots (invariants I2, I5 of store_int.h).
 * Length: what a record does to a slot is said once, for appending and for recovery. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "crc32c.h"
#include "store_int.h"

static size_t ctl_size(uint32_t cap_slots)
{
	return CTL_HEAD_OCTETS + (size_t)cap_slots * sizeof(struct ctl_slot);
}

/* -- mapping -- */

static enum err_kind map_ctl(struct store *s, size_t octets, struct err *e)
{
	void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED, s->ctl_fd, 0);

	if (p == MAP_FAILED)
		return err_sys(e, errno, "map ctl");
	if (s->ctl != NULL)
		munmap(s->ctl, s->ctl_octets);
	s->ctl = p;
	s->ctl_octets = octets;
	return ERR_OK;
}

/* The file's blocks are allocated before they are mapped: a full disk is an error here, not a SIGBUS later. */
static enum err_kind grow_file(struct store *s, size_t octets, struct err *e)
{
	int r = posix_fallocate(s->ctl_fd, 0, (off_t)octets);

	return r == 0 ? ERR_OK : err_sys(e, r, "allocate ctl");
}

enum err_kind ctl_open(struct store *s, struct err *e)
{
	struct stat st;
	enum err_kind k;
	bool was_cut;

	s->ctl_fd = openat(s->dirfd, "ctl", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->ctl_fd < 0 || fstat(s->ctl_fd, &st) < 0)
		return err_sys(e, errno, "open ctl");
	was_cut = st.st_size > 0 && (size_t)st.st_size < ctl_size(CTL_SLOTS_FIRST);
	if ((size_t)st.st_size < ctl_size(CTL_SLOTS_FIRST)) {
		if ((k = grow_file(s, ctl_size(CTL_SLOTS_FIRST), e)) != ERR_OK)
			return k;
		st.st_size = (off_t)ctl_size(CTL_SLOTS_FIRST);
	}
	if ((k = map_ctl(s, (size_t)st.st_size, e)) == ERR_OK && was_cut)
		memset(s->ctl->magic, 0, sizeof s->ctl->magic);	/* its slots are gone: recover */
	return k;
}

enum err_kind ctl_anonymous(struct store *s, struct err *e)
{
	enum err_kind k;

	s->ctl_fd = memfd_create("ctl", MFD_CLOEXEC);
	if (s->ctl_fd < 0)
		return err_sys(e, errno, "slots in memory");
	if ((k = grow_file(s, ctl_size(CTL_SLOTS_FIRST), e)) == ERR_OK &&
	    (k = map_ctl(s, ctl_size(CTL_SLOTS_FIRST), e)) == ERR_OK)
		s->ctl->cap_slots = CTL_SLOTS_FIRST;
	return k;
}

void ctl_close(struct store *s)
{
	if (s->ctl != NULL)
		munmap(s->ctl, s->ctl_octets);
	if (s->ctl_fd >= 0)
		close(s->ctl_fd);
	s->ctl = NULL;
	s->ctl_fd = -1;
}

/* Somebody may have removed or replaced the file while we had it mapped: then ours is nobody's. */
static bool file_is_gone(const struct store *s, struct stat *st)
{
	return fstat(s->ctl_fd, st) < 0 || st->st_nlink == 0;
}

enum err_kind ctl_remap(struct store *s, struct err *e)
{
	struct stat st;

	if (file_is_gone(s, &st)) {
		ctl_close(s);
		return ctl_open(s, e);
	}
	return (size_t)st.st_size > s->ctl_octets ? map_ctl(s, (size_t)st.st_size, e) : ERR_OK;
}

/* -- seals: what lies in shared memory may be hit by anything -- */

static uint32_t head_seal(const struct ctl_head *c)
{
	const uint64_t v[] = { c->store_id, c->tail.pos.seg, c->tail.pos.off, c->tail.zero_end, c->tail.crc,
		c->tail.next_seq, c->cap_slots, c->n_slots, c->next_mailbox_id, c->last_uidvalidity, c->has_roots,
		c->quota.set, c->quota.storage_octets, c->quota.n_messages };

	return crc32c(0, v, sizeof v);
}

static uint32_t slot_seal(const struct ctl_slot *slot)
{
	size_t n = slot->name_octets < sizeof slot->name ? slot->name_octets : sizeof slot->name;
	size_t from = offsetof(struct ctl_slot, id);

	return crc32c(0, (const char *)slot + from, offsetof(struct ctl_slot, name) - from + n);
}

void ctl_seal_slot(struct ctl_slot *slot)
{
	slot->seal = slot_seal(slot);
}

void ctl_seal(struct store *s)
{
	s->ctl->seal = head_seal(s->ctl);
}

bool ctl_slot_is_sound(const struct ctl_slot *slot)
{
	return slot->seal == slot_seal(slot);
}

bool ctl_head_is_sound(const struct store *s)
{
	const struct ctl_head *c = s->ctl;

	return memcmp(c->magic, CTL_MAGIC, sizeof c->magic) == 0 && c->version == CTL_VERSION &&
	    c->seal == head_seal(c) && c->n_slots <= c->cap_slots && ctl_size(c->cap_slots) <= s->ctl_octets &&
	    c->appended_seq == c->tail.next_seq - 1 && c->durable_seq <= c->appended_seq &&
	    c->first_seg <= c->tail.pos.seg;
}

bool ctl_is_sound(const struct store *s)
{
	const struct ctl_head *c = s->ctl;

	return c->inside_journal == 0 && c->broken == 0 &&
	    memcmp(c->boot_id, s->env.boot_id, sizeof c->boot_id) == 0 && ctl_head_is_sound(s);
}

/* Only the lock's owner can do something about it, and not in the middle of a change. */
static bool can_recover(const struct store *s)
{
	return s->lock_depth > 0 && s->ctl->inside_journal == 0;
}

static bool all_slots_are_sound(const struct store *s)
{
	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if (!ctl_slot_is_sound(&ctl_slots(s)[i]))
			return false;
	}
	return true;
}

enum err_kind ctl_believe(struct store *s, struct err *e)
{
	return !can_recover(s) || all_slots_are_sound(s) ? ERR_OK : ctl_recover(s, e);
}

/* -- slots -- */

static struct ctl_slot *find_id(const struct store *s, uint32_t id)
{
	struct ctl_slot *slot = ctl_slots(s);
	uint32_t n = s->ctl->n_slots, at = id < n ? id : n;

	/* ids only rise and the first free slot is taken, so a mailbox's slot is never behind number id - 1; where none
	 * was deleted it is just there */
	for (uint32_t i = at; i > 0; i--) {
		if (slot[i - 1].state != 0 && slot[i - 1].id == id)
			return &slot[i - 1];
	}
	for (uint32_t i = at; i < n; i++) {
		if (slot[i].state != 0 && slot[i].id == id)
			return &slot[i];
	}
	return NULL;
}

/* Whoever looks for a slot changes nothing, unless what he finds is damaged. */
static bool recover_for(const struct store *s)
{
	return ctl_recover((struct store *)(uintptr_t)s, NULL) == ERR_OK;
}

struct ctl_slot *ctl_find_id(const struct store *s, uint32_t id)
{
	struct ctl_slot *slot = find_id(s, id);

	if (slot == NULL || !can_recover(s) || ctl_slot_is_sound(slot))
		return slot;
	return recover_for(s) ? find_id(s, id) : NULL;
}

static struct ctl_slot *find_name(const struct store *s, struct str name)
{
	struct ctl_slot *slot = ctl_slots(s);

	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if (slot[i].state != 0 && slot[i].name_octets < sizeof slot[i].name &&
		    str_eq(str_n(slot[i].name, slot[i].name_octets), name))
			return &slot[i];
	}
	return NULL;
}

struct ctl_slot *ctl_find_name(const struct store *s, struct str name)
{
	struct ctl_slot *slot = find_name(s, name);

	if (!can_recover(s) || (slot != NULL ? ctl_slot_is_sound(slot) : all_slots_are_sound(s)))
		return slot;
	return recover_for(s) ? find_name(s, name) : NULL;
}

static enum err_kind grow_slots(struct store *s, struct err *e)
{
	uint32_t cap = s->ctl->cap_slots * 2;
	enum err_kind k;

	if (cap > STORE_MAILBOXES_MAX)
		cap = STORE_MAILBOXES_MAX;
	if (s->ctl->n_slots >= cap)
		return err_set(e, ERR_LIMIT, 0, "over %d mailboxes", STORE_MAILBOXES_MAX);
	if ((k = grow_file(s, ctl_size(cap), e)) != ERR_OK || (k = map_ctl(s, ctl_size(cap), e)) != ERR_OK)
		return k;
	s->ctl->cap_slots = cap;
	return ERR_OK;
}

enum err_kind ctl_new_slot(struct store *s, struct ctl_slot **out, struct err *e)
{
	enum err_kind k;

	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if (ctl_slots(s)[i].state == 0) {
			*out = &ctl_slots(s)[i];
			return ERR_OK;
		}
	}
	if (s->ctl->n_slots == s->ctl->cap_slots && (k = grow_slots(s, e)) != ERR_OK)
		return k;
	*out = &ctl_slots(s)[s->ctl->n_slots++];
	memset(*out, 0, sizeof **out);
	return ERR_OK;
}

/* -- what records do to the slots -- */

static enum err_kind corrupt(const struct journal_view *v, struct err *e)
{
	return err_set(e, ERR_CORRUPT, 0, "record %u:%u of type %u does not make sense", v->pos.seg,
	    v->pos.off, v->h.type);
}

static void set_limits(struct store *s, const struct rec_quota *q)
{
	struct quota_limits l = { q->set & (QUOTA_STORAGE | QUOTA_MESSAGES), q->storage_octets, q->n_messages };
	struct ctl_slot *slot = q->mailbox != 0 ? ctl_find_id(s, q->mailbox) : NULL;

	if (q->mailbox == 0) {
		s->ctl->quota = l;
	} else if (slot != NULL) {	/* else it was deleted meanwhile */
		slot->quota = l;
		ctl_seal_slot(slot);
		s->ctl->has_roots = 1;
	}
}

static enum err_kind apply_quota(struct store *s, const struct journal_view *v, struct err *e)
{
	struct rec_quota q;

	if (!rec_get_quota(v->payload, &q))
		return corrupt(v, e);
	set_limits(s, &q);
	return ERR_OK;
}

/* The limits that follow the mailboxes of a snapshot. */
static enum err_kind apply_snapshot_quotas(struct store *s, uint32_t n, struct str rest,
    const struct journal_view *v, struct err *e)
{
	s->ctl->quota = (struct quota_limits){ .set = 0 };
	s->ctl->has_roots = 0;
	for (; n > 0; n--) {
		struct rec_quota q;

		if (!rec_get_quota(rest, &q))
			return corrupt(v, e);
		set_limits(s, &q);
		rest = str_skip(rest, sizeof q);
	}
	return ERR_OK;
}

static enum err_kind apply_snapshot(struct store *s, const struct journal_view *v, struct err *e)
{
	struct rec_snapshot snap;
	struct snapshot_mailbox m;
	struct str rest = v->payload;
	struct ctl_slot *slot;
	enum err_kind k;

	if (rest.n < sizeof snap)
		return corrupt(v, e);
	memcpy(&snap, rest.p, sizeof snap);
	rest = str_skip(rest, sizeof snap);
	s->ctl->n_slots = 0;
	s->ctl->next_mailbox_id = snap.next_mailbox_id;
	s->ctl->last_uidvalidity = snap.last_uidvalidity;
	for (uint32_t i = 0; i < snap.n_mailboxes; i++) {
		if (rest.n < sizeof m)
			return corrupt(v, e);
		memcpy(&m, rest.p, sizeof m);
		rest = str_skip(rest, sizeof m);
		if (m.name_octets > STORE_NAME_MAX_OCTETS || rest.n < m.name_octets || m.state == 0)
			return corrupt(v, e);
		if ((k = ctl_new_slot(s, &slot, e)) != ERR_OK)
			return k;
		*slot = (struct ctl_slot){
			.id = m.id, .state = m.state, .uidvalidity = m.uidvalidity, .uidnext = m.uidnext,
			.n_messages = m.n_messages, .n_unseen = m.n_unseen, .recent_uid = m.recent_uid,
			.n_keywords = m.n_keywords, .modseq = m.modseq, .octets = m.octets,
			.name_octets = m.name_octets,
		};
		memcpy(slot->name, rest.p, m.name_octets);
		ctl_seal_slot(slot);
		rest = str_skip(rest, (m.name_octets + 7u) & ~(size_t)7);
	}
	return apply_snapshot_quotas(s, snap.n_quotas, rest, v, e);
}

static void clear_slot(struct ctl_slot *slot)
{
	slot->quota = (struct quota_limits){ .set = 0 };
	slot->n_messages = 0;
	slot->n_unseen = 0;
	slot->n_keywords = 0;
	slot->octets = 0;
}

/* When a large message goes its body can go too, once it can't be brought back any more. */
static void note_large(struct store *s, uint64_t octets_gone)
{
	int64_t after_s = clock_real_s() + (int64_t)s->env.conf.retain_ms / 1000;

	if (octets_gone <= STORE_INLINE_MAX_OCTETS || (s->ctl->large_due && s->ctl->large_after_s <= after_s))
		return;
	s->ctl->large_due = 1;
	s->ctl->large_after_s = after_s;
}

static enum err_kind apply_mailbox(struct store *s, const struct journal_view *v, struct err *e)
{
	struct rec_mailbox m;
	struct ctl_slot *slot;
	struct str name;
	enum err_kind k;

	if (!rec_get_mailbox(v->payload, &m, &name))
		return corrupt(v, e);
	slot = ctl_find_id(s, m.id);
	if (slot == NULL) {
		if (m.state == 0)
			return ERR_OK;
		if ((k = ctl_new_slot(s, &slot, e)) != ERR_OK)
			return k;
		*slot = (struct ctl_slot){ .id = m.id, .uidnext = 1, .recent_uid = 1 };
	}
	if (!(m.state & MAILBOX_EXISTS) || (m.state & MAILBOX_NOSELECT)) {
		note_large(s, slot->octets);
		clear_slot(slot);
	}
	slot->state = m.state;
	slot->uidvalidity = m.uidvalidity;
	slot->modseq = v->h.seq;
	slot->name_octets = m.name_octets;
	memcpy(slot->name, name.p, name.n);
	slot->name[name.n] = '\0';
	ctl_seal_slot(slot);
	if (m.id >= s->ctl->next_mailbox_id)
		s->ctl->next_mailbox_id = m.id + 1;
	if (m.uidvalidity > s->ctl->last_uidvalidity)
		s->ctl->last_uidvalidity = m.uidvalidity;
	return ERR_OK;
}

static void add_message(struct ctl_slot *slot, uint32_t uid, bool seen, uint64_t octets)
{
	if (uid >= slot->uidnext)
		slot->uidnext = uid + 1;
	slot->n_messages++;
	slot->n_unseen += !seen;
	slot->octets += octets;
}

static enum err_kind apply_message(struct ctl_slot *slot, const struct journal_view *v, struct err *e)
{
	struct rec_message m;
	struct str record, prefix, body;
	bool unseen_known;

	if (!rec_get_message(v->payload, &m, &record, &prefix, &body))
		return corrupt(v, e);
	if (m.moved)
		return ERR_OK;
	unseen_known = slot->unseen_modseq == slot->modseq || slot->n_unseen == 0;
	if (slot->n_unseen == 0)
		slot->first_unseen = 0;
	slot->modseq = v->h.seq;
	add_message(slot, m.uid, m.flags & MSG_SEEN, m.size_octets);
	if (unseen_known) {
		if (slot->first_unseen == 0 && !(m.flags & MSG_SEEN))
			slot->first_unseen = slot->n_messages;
		slot->unseen_modseq = slot->modseq;
	}
	return ERR_OK;
}

static enum err_kind apply_copy(struct ctl_slot *slot, const struct journal_view *v, struct err *e)
{
	struct rec_copy c;
	struct str entries;

	if (!rec_get_copy(v->payload, &c, &entries) || c.n > UINT32_MAX - c.first_uid)
		return corrupt(v, e);
	slot->uidnext = c.first_uid + c.n > slot->uidnext ? c.first_uid + c.n : slot->uidnext;
	slot->n_messages += c.n;
	slot->n_unseen += c.n_unseen;
	slot->octets += c.octets;
	return ERR_OK;
}

static enum err_kind apply_flags(struct ctl_slot *slot, const struct journal_view *v, struct err *e)
{
	struct rec_flags f;
	struct ranges r;

	if (!rec_get_flags(v->payload, &f, &r))
		return corrupt(v, e);
	slot->n_unseen = (uint32_t)((int64_t)slot->n_unseen + f.unseen_delta);
	return ERR_OK;
}

static enum err_kind apply_expunge(struct ctl_slot *slot, const struct journal_view *v, struct err *e)
{
	struct rec_expunge x;
	struct ranges r;

	if (!rec_get_expunge(v->payload, &x, &r))
		return corrupt(v, e);
	slot->n_messages -= x.n_messages;
	slot->n_unseen -= x.n_unseen;
	slot->octets -= x.octets;
	return ERR_OK;
}

/* Where the names end that are told; told_keywords may hold anything. */
static size_t told_end(const struct ctl_slot *slot)
{
	size_t at = 0;

	for (uint32_t i = 0; i < slot->n_told && at < sizeof slot->told_keywords; i++)
		at += strnlen(slot->told_keywords + at, sizeof slot->told_keywords - at) + 1;
	return at;
}

static bool tell_keyword(struct ctl_slot *slot, struct str name)
{
	size_t at = told_end(slot);

	if (name.n == 0 || str_has(name, '\0') || at + name.n + 1 > sizeof slot->told_keywords)
		return false;
	memcpy(slot->told_keywords + at, name.p, name.n);
	slot->told_keywords[at + name.n] = '\0';
	slot->n_told++;
	return true;
}

bool ctl_told_keywords(const struct ctl_slot *slot, struct index_keywords *kw)
{
	size_t at = 0;

	memset(kw, 0, sizeof *kw);
	if (slot->n_told != slot->n_keywords || slot->n_told > STORE_KEYWORDS_MAX)
		return false;
	for (; kw->n < slot->n_told; kw->n++) {
		size_t left = sizeof slot->told_keywords - at, n = strnlen(slot->told_keywords + at, left);

		if (n == 0 || n == left || n > STORE_KEYWORD_MAX_OCTETS)
			return false;
		memcpy(kw->name[kw->n], slot->told_keywords + at, n);
		kw->octets[kw->n] = (uint8_t)n;
		at += n + 1;
	}
	return true;
}

void ctl_tell_keywords(struct ctl_slot *slot, const struct index_keywords *kw)
{
	slot->n_told = 0;
	for (size_t i = 0; i < kw->n && tell_keyword(slot, str_n(kw->name[i], kw->octets[i])); i++)
		;
}

static enum err_kind apply_keyword(struct ctl_slot *slot, const struct journal_view *v, struct err *e)
{
	struct rec_keyword kw;
	struct str name;

	if (!rec_get_keyword(v->payload, &kw, &name))
		return corrupt(v, e);
	if (kw.bit == slot->n_keywords && slot->n_told == slot->n_keywords)
		(void)tell_keyword(slot, name);
	if (kw.bit >= slot->n_keywords)
		slot->n_keywords = kw.bit + 1;
	return ERR_OK;
}

enum err_kind ctl_apply(struct store *s, const struct journal_view *v, struct err *e)
{
	static enum err_kind (*const apply[])(struct ctl_slot *, const struct journal_view *,
	    struct err *) = {
		[REC_MESSAGE] = apply_message, [REC_COPY] = apply_copy, [REC_FLAGS] = apply_flags,
		[REC_EXPUNGE] = apply_expunge, [REC_KEYWORD] = apply_keyword,
	};
	struct ctl_slot *slot;
	uint64_t octets;
	enum err_kind k;

	if (v->h.type == REC_SNAPSHOT)
		return apply_snapshot(s, v, e);
	if (v->h.type == REC_MAILBOX)
		return apply_mailbox(s, v, e);
	if (v->h.type == REC_QUOTA)
		return apply_quota(s, v, e);
	if (v->h.type >= COUNTOF(apply) || apply[v->h.type] == NULL)
		return ERR_OK;
	slot = ctl_find_id(s, rec_mailbox_id(v));
	if (slot == NULL)
		return ERR_OK;		/* of a mailbox that was deleted meanwhile */
	if (v->h.type != REC_KEYWORD && v->h.type != REC_MESSAGE)
		slot->modseq = v->h.seq;
	octets = slot->octets;
	k = apply[v->h.type](slot, v, e);
	ctl_seal_slot(slot);
	if (k == ERR_OK && v->h.type == REC_EXPUNGE)
		note_large(s, octets - slot->octets);
	return k;
}

static void put_limits(struct buf *out, uint32_t mailbox, const struct quota_limits *l)
{
	struct rec_quota q = { mailbox, l->set, l->storage_octets, l->n_messages };

	if (l->set != 0)
		buf_put(out, str_n((const char *)&q, sizeof q));
}

bool ctl_snapshot(const struct store *s, struct buf *out)
{
	static const char pad[8];
	struct rec_snapshot snap = { 0, s->ctl->next_mailbox_id, s->ctl->last_uidvalidity, s->ctl->quota.set != 0 };
	const struct ctl_slot *slot = ctl_slots(s);

	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		snap.n_mailboxes += slot[i].state != 0;
		snap.n_quotas += slot[i].state != 0 && slot[i].quota.set != 0;
	}
	buf_put(out, str_n((const char *)&snap, sizeof snap));
	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		struct snapshot_mailbox m = {
			slot[i].id, slot[i].state, slot[i].uidvalidity, slot[i].uidnext,
			slot[i].n_messages, slot[i].n_unseen, slot[i].recent_uid, slot[i].n_keywords,
			slot[i].modseq, slot[i].octets, slot[i].name_octets, 0
		};

		if (slot[i].state == 0)
			continue;
		buf_put(out, str_n((const char *)&m, sizeof m));
		buf_put(out, str_n(slot[i].name, slot[i].name_octets));
		buf_put(out, str_n(pad, -slot[i].name_octets & 7u));
	}
	put_limits(out, 0, &s->ctl->quota);
	for (uint32_t i = 0; i < s->ctl->n_slots; i++) {
		if (slot[i].state != 0)
			put_limits(out, slot[i].id, &slot[i].quota);
	}
	return !out->full;
}

/* -- recovery -- */

/* A new store: INBOX is there from the first moment. */
static enum err_kind lay_out(struct store *s, struct journal_tail *tail, struct err *e)
{
	struct buf snap = BUF_INIT(4096);
	struct ctl_slot *slot;
	enum err_kind k;

	if (faccessat(s->dirfd, "journal", F_OK, 0) < 0 && faccessat(s->dirfd, "index", F_OK, 0) == 0)
		return err_set(e, ERR_CORRUPT, 0, "the store's journal is missing");
	if (getrandom(&s->ctl->store_id, sizeof s->ctl->store_id, 0) != sizeof s->ctl->store_id)
		return err_sys(e, errno, "random store id");
	if ((mkdirat(s->dirfd, "journal", 0700) < 0 && errno != EEXIST) ||
	    (mkdirat(s->dirfd, "large", 0700) < 0 && errno != EEXIST) || fsync(s->dirfd) < 0)
		return err_sys(e, errno, "lay out store");
	s->ctl->n_slots = 0;
	s->ctl->quota = (struct quota_limits){ .set = 0 };
	s->ctl->has_roots = 0;
	s->ctl->next_mailbox_id = 2;
	s->ctl->last_uidvalidity = (uint32_t)clock_real_s();
	if ((k = ctl_new_slot(s, &slot, e)) != ERR_OK)
		return k;
	*slot = (struct ctl_slot){ .id = 1, .state = MAILBOX_EXISTS, .uidnext = 1, .recent_uid = 1,
		.uidvalidity = s->ctl->last_uidvalidity, .modseq = 1, .name_octets = 5, .name = "INBOX" };
	ctl_seal_slot(slot);
	k = ctl_snapshot(s, &snap) ?
	    journal_create(s->journal, s->ctl->store_id, buf_str(&snap), tail, e) :
	    err_set(e, ERR_TEMP, 0, "no memory for snapshot");
	buf_free(&snap);
	return k;
}

/* Does the segment begin with its snapshot, readable? */
static bool has_snapshot(struct store *s, uint32_t seg)
{
	struct journal_pos at = { seg, sizeof(struct seg_header) };
	struct journal_view v;

	return journal_read(s->journal, at, true, &v, NULL) == ERR_OK && v.h.type == REC_SNAPSHOT &&
	    v.pos.seg == seg;
}

static bool holds_record(struct store *s, uint32_t seg)
{
	struct journal_scan scan;

	return journal_scan(s->journal, seg, NULL, NULL, &scan, NULL) == ERR_OK && scan.n_records > 0;
}

/* Nothing but zeros where the header would be: space that was taken for a segment, which is written first. */
static bool never_begun(const struct store *s, uint32_t seg)
{
	static const struct seg_header none;
	struct seg_header h = none;
	char name[32];
	ssize_t n;
	int fd;

	snprintf(name, sizeof name, "journal/%08u.seg", seg);
	fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd >= 0 ? pread(fd, &h, sizeof h, 0) : -1;
	if (fd >= 0)
		close(fd);
	return n >= 0 && memcmp(&h, &none, sizeof h) == 0;
}

/* What is not even begun is left to be written over, or to go when the journal is cut. */
static enum err_kind put_aside(struct store *s, uint32_t seg, struct err *e)
{
	char name[32], aside[32];

	if (never_begun(s, seg))
		return ERR_OK;
	snprintf(name, sizeof name, "journal/%08u.seg", seg);
	snprintf(aside, sizeof aside, "journal/%08u.bad", seg);
	return renameat(s->dirfd, name, s->dirfd, aside) == 0 ? ERR_OK :
	    err_sys(e, errno, "put %s aside", name);
}

/* The last segment that holds something. One that has no whole header, or no whole record behind it, was begun by a process
 * that died before it acknowledged anything in it. The first kind is put aside, not deleted, in case that is wrong; the
 * second goes when the journal is cut. */
static enum err_kind last_sound_segment(struct store *s, uint32_t first, uint32_t *last, struct err *e)
{
	struct seg_header h;
	enum err_kind k;

	for (;; --*last) {
		k = journal_segment(s->journal, *last, &h, e);
		if (k == ERR_OK && (has_snapshot(s, *last) || holds_record(s, *last)))
			return ERR_OK;
		if (*last == first)
			return k != ERR_OK ? k : err_set(e, ERR_CORRUPT, 0, "no segment with a whole record");
		if (k == ERR_OK)
			continue;
		if (k != ERR_CORRUPT || (k = put_aside(s, *last, e)) != ERR_OK)
			return k;
	}
}

static enum err_kind apply_to_ctl(void *ctx, const struct journal_view *v, struct err *e)
{
	return ctl_apply(ctx, v, e);
}

static enum err_kind replay(struct store *s, const struct ctl_memory *m, uint32_t first, uint32_t last,
    struct journal_tail *tail, struct err *e)
{
	uint32_t from = last;
	struct journal_scan scan = { 0 };
	struct seg_header h;
	bool lost, damaged = false;
	enum err_kind k = ERR_OK;

	while (from > first && !has_snapshot(s, from))
		from--;
	if (!has_snapshot(s, from))
		k = slots_without_snapshot(s, m, first, last, e);
	for (uint32_t seg = from; k == ERR_OK && seg <= last; seg++) {
		k = journal_scan(s->journal, seg, apply_to_ctl, s, &scan, e);
		damaged = damaged || k != ERR_OK || scan.n_damaged > 0;
		if ((k == ERR_NOENT || k == ERR_CORRUPT) && seg < last)
			k = ERR_OK;	/* a lost segment costs what was in it */
	}
	if (k != ERR_OK || (k = journal_segment(s->journal, last, &h, e)) != ERR_OK)
		return k;
	lost = end_is_lost(m, &h, last, &scan);
	if (!lost && damaged && m->sound && m->store_id == h.store_id &&
	    (k = regain_numbers(s, m, scan.end_seq, e)) != ERR_OK)
		return k;
	if ((lost && (k = keep_lost_end(s, m, last, e)) != ERR_OK) ||
	    (k = journal_cut(s->journal, scan.end, e)) != ERR_OK)
		return k;
	s->ctl->store_id = journal_header_damaged(s->journal, last) && m->sound ? m->store_id : h.store_id;
	*tail = (struct journal_tail){ scan.end, scan.end.off, scan.end_crc, scan.end_seq + 1, scan.end_seq };
	if (lost)
		return regain_behind(s, m, &scan, tail, e);
	if (scan.ended) {
		/* whoever ended the segment died before the next one was there: take the end back */
		tail->pos.off -= sizeof(struct rec_header);
		tail->durable_seq = --tail->next_seq - 1;
		tail->crc = scan.before_crc;
		k = journal_cut(s->journal, tail->pos, e);
		tail->zero_end = tail->pos.off;
	}
	return k;
}

/* After a failed sync the pages that did not reach the disk may look written: everything behind the durable
 * watermark is cut off. It was never acknowledged. */
struct durable_end {
	uint64_t durable_seq;
	struct journal_pos end;
};

static enum err_kind find_durable_end(void *ctx, const struct journal_view *v, struct err *e)
{
	struct durable_end *d = ctx;

	(void)e;
	if (v->h.seq <= d->durable_seq)
		d->end = v->next;
	return ERR_OK;
}

static enum err_kind cut_undurable(struct store *s, uint32_t last, struct err *e)
{
	struct durable_end d = { 0, { last, sizeof(struct seg_header) } };
	struct journal_scan scan;
	enum err_kind k;

	/* a sync that is under way may still succeed, and raise the watermark to numbers of the old epoch */
	if ((k = lock_wait(s->sync_fd, LOCK_WAIT_MS, e)) != ERR_OK)
		return k;
	s->ctl->epoch++;
	flock(s->sync_fd, LOCK_UN);
	d.durable_seq = s->ctl->durable_seq;
	if ((k = journal_scan(s->journal, last, find_durable_end, &d, &scan, e)) == ERR_OK)
		k = journal_cut(s->journal, d.end, e);
	return k;
}

enum err_kind ctl_recover(struct store *s, struct err *e)
{
	struct ctl_head *c = s->ctl;
	bool same_boot = memcmp(c->magic, CTL_MAGIC, sizeof c->magic) == 0 &&
	    memcmp(c->boot_id, s->env.boot_id, sizeof c->boot_id) == 0;
	struct ctl_memory memory;
	struct journal_tail tail;
	uint32_t first, last;
	enum err_kind k = ctl_remember(s, &memory, e);

	if (k != ERR_OK)
		return err_note(e, "recovery");
	c->inside_journal = 1;
	if (c->cap_slots == 0 || ctl_size(c->cap_slots) > s->ctl_octets)
		c->cap_slots = (uint32_t)((s->ctl_octets - CTL_HEAD_OCTETS) / sizeof(struct ctl_slot));
	k = journal_range(s->journal, &first, &last, e);
	if (k == ERR_NOENT && memory.sound) {
		k = regain_without(s, &memory, &tail, e);
		first = tail.pos.seg;
	} else if (k == ERR_NOENT) {
		first = 1;
		k = lay_out(s, &tail, e);
	} else if (k == ERR_OK && (k = last_sound_segment(s, first, &last, e)) == ERR_CORRUPT &&
	    last == 1 && memcmp(c->magic, CTL_MAGIC, sizeof c->magic) != 0) {
		/* whoever laid out the store died over it: it has never been open */
		if ((k = put_aside(s, last, e)) == ERR_OK)
			k = lay_out(s, &tail, e);
	} else if (k == ERR_CORRUPT && memory.sound && (k = put_aside(s, last, e)) == ERR_OK) {
		k = regain_without(s, &memory, &tail, e);
		first = tail.pos.seg;
	} else if (k == ERR_OK) {
		if (same_boot && c->broken && (k = cut_undurable(s, last, e)) == ERR_OK)
			k = last_sound_segment(s, first, &last, e);
		if (!same_boot && c->broken)
			c->epoch++;	/* who waits, where the boot is not known, learns that a sync failed */
		if (k == ERR_OK)
			k = replay(s, &memory, first, last, &tail, e);
		if (k == ERR_OK)
			k = journal_sync(s->journal, tail.pos.seg, e);
	}
	ctl_memory_free(&memory);
	if (k == ERR_OK)
		k = duty_recover(s, same_boot, e);
	if (k != ERR_OK)
		return err_note(e, "recovery");
	c = s->ctl;		/* may have been mapped anew */
	c->version = CTL_VERSION;
	c->tail = tail;
	c->first_seg = first;
	c->compact_due = 1;
	c->compact_after_s = 0;
	c->large_due = 1;
	c->large_after_s = 0;
	c->appended_seq = c->durable_seq = tail.next_seq - 1;
	if (!same_boot)
		c->engine_rebooted = 1;
	c->generation++;
	c->broken = 0;
	memcpy(c->boot_id, s->env.boot_id, sizeof c->boot_id);
	memcpy(c->magic, CTL_MAGIC, sizeof c->magic);
	ctl_seal(s);
	c->inside_journal = 0;
	return ERR_OK;
}
