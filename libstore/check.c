/* SPDX-License-Identifier: ISC */
/* Comparing what is there with what the journal says, beside open sessions. The journal is read without the lock; the
 * index is copied in parts, each under a short hold of the lock that also tells the position it stands at; the shadow is
 * brought to that position before the two are compared. So nothing that changes meanwhile looks wrong. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "check.h"
#include "mailbox_int.h"

enum {
	COMPACT_WAIT_MS = 10000,
	PART_OCTETS = 1 << 20,		/* of the index copied under one hold of the lock */
	FIRST_ROOM = 64,
	LINE_OCTETS = 1024,
	YOUNG_S = 3600,			/* a body this young may be of a delivery that is under way */
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

static void PRINTF_LIKE(2, 3) found(struct check *c, const char *fmt, ...)
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

/* Room for one more item in a list of the check. */
static bool room(struct check *c, void *list, size_t n, size_t *cap, size_t item_octets)
{
	size_t more = *cap > 0 ? *cap * 2 : FIRST_ROOM;
	void *was, *v;

	if (n < *cap)
		return true;
	memcpy(&was, list, sizeof was);
	v = realloc(was, more * item_octets);
	c->no_memory = c->no_memory || v == NULL;
	if (v == NULL)
		return false;
	memcpy(list, &v, sizeof v);
	*cap = more;
	return true;
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
	found(c, "index.unusable\tThe index can't be used (%s). Nothing is lost: it is made anew from the journal when it is "
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

/* Brings the shadow to the tail as of now. */
static enum err_kind catch_up(struct check *c, struct err *e)
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
		found(c, "journal.damaged\tsegment=%u\tfrom=%u\tto=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tOctets %u to %u of "
		    "journal segment %u are damaged: %llu records are lost%s.", g->seg, g->from, g->to, n, first,
		    last, g->from, g->to, g->seg, n, g->from == sizeof(struct seg_header) ?
		    ", among them the segment's snapshot" : "");
		break;
	case GAP_HEADER:
		found(c, "journal.header\tsegment=%u\tThe header of journal segment %u is damaged; its records can be read.",
		    g->seg, g->seg);
		break;
	case GAP_MISSING:
		found(c, "journal.missing\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tJournal segment %u is missing: what "
		    "was in it is lost.", g->seg, n, first, last, g->seg);
		break;
	case GAP_UNREADABLE:
		found(c, "journal.unreadable\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tNo record of journal segment %u "
		    "can be read: what was in it is lost.", g->seg, n, first, last, g->seg);
		break;
	case GAP_NONSENSE:
		found(c, "journal.nonsense\tsegment=%u\tfrom=%u\tThe record at octet %u of journal segment %u does not make "
		    "sense although its checksum is right: it is left out.", g->seg, g->from, g->from, g->seg);
		break;
	case GAP_UNSETTLED:
		found(c, "journal.lost\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tIn journal segment %u %llu records were "
		    "found missing when the store was opened.", g->seg, n, first, last, g->seg, n);
		break;
	case GAP_SEQUENCE:
		found(c, "journal.gap\tsegment=%u\tlost=%llu\tfirst=%llu\tlast=%llu\tBefore journal segment %u %llu records "
		    "are missing.", g->seg, n, first, last, g->seg, n);
		break;
	}
}

static enum err_kind check_journal(struct check *c, struct err *e)
{
	enum err_kind k = catch_up(c, e);

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

/* -- the index -- */

static void say_row(struct check *c, uint32_t mailbox, const struct index_msg *index, const struct index_msg *journal)
{
	const struct index_msg *m = index != NULL ? index : journal;
	const char *name = check_mailbox_name(c, mailbox);

	if (journal == NULL)
		found(c, "index.extra\tmailbox=%s\tuid=%u\tThe index has a message %u in %s that the journal does not know%s.",
		    name, m->uid, m->uid, name, c->journal_damaged ? " any more" : "");
	else if (index == NULL)
		found(c, "index.missing\tmailbox=%s\tuid=%u\tThe index lacks message %u of %s.", name, m->uid, m->uid, name);
	else
		found(c, "index.differs\tmailbox=%s\tuid=%u\tThe index says something else of message %u of %s than the "
		    "journal.", name, m->uid, m->uid, name);
}

static size_t rows_of(struct str value, struct index_msg out[CHUNK_UIDS])
{
	size_t n = value.n / sizeof out[0];

	n = n < CHUNK_UIDS ? n : CHUNK_UIDS;
	if (n > 0)
		memcpy(out, value.p, n * sizeof out[0]);
	return n;
}

static void say_chunk(struct check *c, struct str key, struct str index, struct str journal)
{
	struct index_msg x[CHUNK_UIDS], j[CHUNK_UIDS];
	size_t nx = rows_of(index, x), nj = rows_of(journal, j);
	uint32_t mailbox = get_be32(key.p + 1);

	for (size_t i = 0, k = 0; i < nx || k < nj;) {
		if (k == nj || (i < nx && x[i].uid < j[k].uid)) {
			say_row(c, mailbox, &x[i++], NULL);
		} else if (i == nx || j[k].uid < x[i].uid) {
			say_row(c, mailbox, NULL, &j[k++]);
		} else {
			if (memcmp(&x[i], &j[k], sizeof x[i]) != 0)
				say_row(c, mailbox, &x[i], &j[k]);
			i++;
			k++;
		}
	}
}

static void say_difference(struct check *c, struct str key, struct str index, struct str journal)
{
	static const struct { char tag; const char *what; } sets[] = {
		{ 'K', "keyword names" }, { 'V', "a view" }, { 'G', "expunged messages" }, { 'D', "the deletion" },
		{ 'A', "attributes" },
	};
	uint32_t mailbox = key.n >= 5 ? get_be32(key.p + 1) : 0;
	const char *what = "something";

	if (key.n == 9 && key.p[0] == 'C') {
		say_chunk(c, key, index, journal);
		return;
	}
	for (size_t i = 0; i < COUNTOF(sets); i++)
		what = sets[i].tag == key.p[0] ? sets[i].what : what;
	found(c, "index.set\tmailbox=%s\tkind=%c\tThe index and the journal say different things about %s of %s.",
	    check_mailbox_name(c, mailbox), key.p[0] > ' ' && key.p[0] < 127 ? key.p[0] : '?', what,
	    check_mailbox_name(c, mailbox));
}

static void add_diff(struct check *c, struct str key)
{
	char *copy;

	if (!room(c, &c->diff.v, c->diff.n, &c->diff.cap, sizeof c->diff.v[0]))
		return;
	copy = malloc(key.n);
	c->no_memory = c->no_memory || copy == NULL;
	if (copy == NULL)
		return;
	memcpy(copy, key.p, key.n);
	c->diff.v[c->diff.n++] = str_n(copy, key.n);
}

/* Rows of expunged messages, and what belongs to a deleted mailbox, are of no use any more when compaction has taken
 * their segments: the index forgets them some time, and the journal may have forgotten them before. */
static bool is_of_the_dead(const struct check *c, struct str key)
{
	return key.p[0] == 'D' ||
	    (key.p[0] == 'K' && key.n >= 5 && ctl_find_id(&c->sh->s, get_be32(key.p + 1)) == NULL);
}

/* Rows in segments that are gone count as forgotten: that they were is not journaled, and a power cut brings them back. */
static bool gone_rows_agree(const struct check *c, struct str index, struct str journal)
{
	size_t row = sizeof(struct index_gone), at = 0;
	struct index_gone g;

	for (size_t i = 0; i + row <= index.n; i += row) {
		memcpy(&g, index.p + i, row);
		if (g.m.seg < c->sh->s.ctl->first_seg)
			continue;
		while (at + row <= journal.n && memcmp(journal.p + at, index.p + i, row) != 0)
			at += row;
		if (at + row > journal.n)
			return false;
	}
	return index.n % row == 0;
}

static bool agree(const struct check *c, struct str key, bool in_index, struct str index, bool in_journal,
    struct str journal)
{
	if (in_index == in_journal && str_eq(index, journal))
		return true;
	return key.p[0] == 'G' ? gone_rows_agree(c, index, journal) : is_of_the_dead(c, key);
}

static void compare(struct check *c, struct str key, struct str value)
{
	struct table_item item = { .value = { NULL, 0 } };
	bool known = table_get(c->sh->roll.table, key, &item);

	if (known)
		*item.seen = true;
	if (agree(c, key, true, value, known, item.value))
		return;
	say_difference(c, key, value, item.value);
	add_diff(c, key);
}

/* -- a part of the index, copied -- */

struct part {
	struct buf octets;		/* le32 length of key, of value, key, value; and again */
	struct str from;		/* where it begins: this key is left out when it is the last part's end */
	bool again, full;
};

static bool copy_item(void *ctx, struct str key, struct str value)
{
	struct part *p = ctx;

	if (p->again && str_eq(key, p->from))
		return true;
	buf_put_le32(&p->octets, (uint32_t)key.n);
	buf_put_le32(&p->octets, (uint32_t)value.n);
	buf_put(&p->octets, key);
	buf_put(&p->octets, value);
	p->full = p->octets.n >= PART_OCTETS;
	return !p->full && !p->octets.full;
}

static struct str take(struct str *rest, size_t n)
{
	struct str head = str_head(*rest, n);

	*rest = str_skip(*rest, n);
	return head;
}

static bool next_item(struct str *rest, struct str *key, struct str *value)
{
	uint32_t n_key, n_value;

	if (rest->n < 8)
		return false;
	n_key = get_le32(rest->p);
	n_value = get_le32(rest->p + 4);
	*rest = str_skip(*rest, 8);
	*key = take(rest, n_key);
	*value = take(rest, n_value);
	return true;
}

static void damaged_value(struct check *c)
{
	if (!c->index_useless)
		found(c, "index.damaged\tThe index is damaged. Nothing is lost: it is made anew from the journal.");
	c->index_useless = c->index_damaged = true;
}

static void compare_part(struct check *c, const struct part *p, char last[ENGINE_KEY_MAX_OCTETS], size_t *n_last)
{
	struct str rest = buf_str(&p->octets), key, value;

	while (next_item(&rest, &key, &value)) {
		if (key.n > 0 && key.n <= ENGINE_KEY_MAX_OCTETS) {
			memcpy(last, key.p, key.n);
			*n_last = key.n;
		}
		if (row_unseal(key, &value, NULL) != ERR_OK)
			damaged_value(c);
		else if (!str_eq(key, STR("J")))
			compare(c, key, value);
	}
}

/* One part from key `last` on; *more tells whether there is another one. */
static enum err_kind check_part(struct check *c, struct part *p, bool *more, struct err *e)
{
	struct journal_pos pos;
	uint64_t seq;
	struct err why = { .text = "" };
	enum err_kind k = check_lock(c, &pos, &seq, e);

	*more = false;
	if (k != ERR_OK)
		return k;
	buf_reset(&p->octets);
	p->full = false;
	if (!c->index_useless)
		k = engine_scan(c->s->engine, p->from, str_n("", 0), copy_item, p, &why);
	if (k == ERR_CORRUPT) {
		engine_abandon(&c->s->engine);
		damaged_value(c);
		index_leave(c->s);
		k = ERR_OK;
	} else if (k != ERR_OK) {
		k = err_set(e, k, why.sys, "%s", why.text);
	}
	check_unlock(c);
	if (k == ERR_OK && p->octets.full)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to compare the index");
	*more = p->full;
	return k != ERR_OK ? k : shadow_advance(c->sh, pos, seq, e);
}

/* -- keys that the index should have -- */

static bool gather_unseen(void *ctx, const struct table_item *item)
{
	struct check *c = ctx;

	if (!*item->seen)
		add_diff(c, item->key);
	return !c->no_memory;
}

/* Keys that came into being after their part was copied are not missing: they are looked up. Those that are in the index
 * as they should be leave the list again. */
static enum err_kind look_up_unseen(struct check *c, size_t from, struct err *e)
{
	size_t kept = from;
	enum err_kind k = ERR_OK;

	for (size_t i = from; i < c->diff.n; i++) {
		struct str key = c->diff.v[i], value = { NULL, 0 };
		char copy[ENGINE_VALUE_MAX_OCTETS];
		struct journal_pos pos;
		struct table_item item;
		uint64_t seq;
		bool known;

		if (k == ERR_OK && (k = check_lock(c, &pos, &seq, e)) == ERR_OK) {
			if (!c->index_useless && engine_get(c->s->engine, key, &value, NULL) == ERR_OK &&
			    value.n <= sizeof copy) {
				memcpy(copy, value.p, value.n);
				value.p = copy;
			}
			check_unlock(c);
			k = shadow_advance(c->sh, pos, seq, e);
		}
		known = k == ERR_OK && table_get(c->sh->roll.table, key, &item);
		if (value.n > 0 && row_unseal(key, &value, NULL) != ERR_OK)
			value.n = 0;
		if (!known)
			item.value = str_n(NULL, 0);
		if (k != ERR_OK || c->index_useless || agree(c, key, value.n > 0, value, known, item.value)) {
			free((void *)(uintptr_t)key.p);
			continue;
		}
		say_difference(c, key, value, item.value);
		c->diff.v[kept++] = key;
	}
	c->diff.n = kept;
	return k;
}

static enum err_kind check_index(struct check *c, struct err *e)
{
	struct part p = { .octets = BUF_INIT(PART_OCTETS * 2) };
	char last[ENGINE_KEY_MAX_OCTETS];
	size_t n_last = 0, from;
	enum err_kind k = ERR_OK;

	for (bool more = true; k == ERR_OK && more && !c->index_useless;) {
		p.from = str_n(last, n_last);
		p.again = n_last > 0;
		if ((k = check_part(c, &p, &more, e)) == ERR_OK)
			compare_part(c, &p, last, &n_last);
	}
	buf_free(&p.octets);
	from = c->diff.n;
	if (k == ERR_OK && !c->index_useless) {
		table_each(c->sh->roll.table, gather_unseen, c);
		k = look_up_unseen(c, from, e);
	}
	if (k == ERR_OK && c->no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to compare the index");
	return k;
}

/* -- the octets of messages -- */

static bool light_check(struct check *c, const struct index_msg *m)
{
	struct journal_view v;
	struct rec_message r;
	struct str record, prefix, body;

	return journal_read(c->sh->s.journal, (struct journal_pos){ m->seg, m->off }, false, &v, NULL) == ERR_OK &&
	    (v.h.type == REC_MESSAGE || v.h.type == REC_KEPT) &&
	    rec_get_message(v.payload, &r, &record, &prefix, &body) && r.size_octets == m->size_octets;
}

static struct message message_of_row(const struct index_msg *x)
{
	return (struct message){ .uid = x->uid, .size_octets = x->size_octets,
		.record_octets = x->record_octets, .seg = x->seg, .off = x->off };
}

/* Large bodies are read wholly, and so is what lies in a segment with damage. */
static bool row_is_readable(struct check *c, const struct index_msg *x, struct err *e)
{
	struct mailbox mb = { .s = &c->sh->s };
	struct message m = message_of_row(x);
	struct message_text t;

	if (x->size_octets <= STORE_INLINE_MAX_OCTETS && !shadow_has_gap(c->sh, x->seg) && light_check(c, x))
		return true;
	c->sh->s.verified_large = 0;
	if (message_open(&mb, &m, &t, e) != ERR_OK)
		return false;
	message_close(&t);
	return true;
}

static void add_lost(struct check *c, uint32_t mailbox, const struct index_msg *x)
{
	if (room(c, &c->lost, c->n_lost, &c->cap_lost, sizeof c->lost[0]))
		c->lost[c->n_lost++] = (struct lost_row){ mailbox, x->uid, x->seg, x->off };
}

static bool gather_lost(void *ctx, const struct table_item *item)
{
	struct check *c = ctx;
	struct index_msg x[CHUNK_UIDS];
	size_t n = item->key.n == 9 && item->key.p[0] == 'C' ? rows_of(item->value, x) : 0;

	for (size_t i = 0; i < n; i++) {
		if (!row_is_readable(c, &x[i], NULL))
			add_lost(c, get_be32(item->key.p + 1), &x[i]);
	}
	return !c->no_memory;
}

/* Rows that only the index knows. */
static enum err_kind gather_lost_of_index(struct check *c, struct err *e)
{
	enum err_kind k = ERR_OK;

	for (size_t i = 0; i < c->diff.n && k == ERR_OK && !c->index_useless; i++) {
		struct str key = c->diff.v[i], value;
		struct index_msg x[CHUNK_UIDS], j;
		struct journal_pos pos;
		uint64_t seq;
		size_t n = 0;

		if (key.n != 9 || key.p[0] != 'C')
			continue;
		if ((k = check_lock(c, &pos, &seq, e)) != ERR_OK)
			break;
		if (!c->index_useless && engine_get(c->s->engine, key, &value, NULL) == ERR_OK &&
		    row_unseal(key, &value, NULL) == ERR_OK)
			n = rows_of(value, x);
		check_unlock(c);
		k = shadow_advance(c->sh, pos, seq, e);
		for (size_t r = 0; r < n && k == ERR_OK; r++) {
			if (!shadow_row(c->sh, get_be32(key.p + 1), x[r].uid, &j) &&
			    !row_is_readable(c, &x[r], NULL))
				add_lost(c, get_be32(key.p + 1), &x[r]);
		}
	}
	return k;
}

static void say_lost(struct check *c, uint32_t mailbox, const struct index_msg *x, const char *why)
{
	struct mailbox mb = { .s = &c->sh->s };
	struct message m = message_of_row(x);
	const char *name = check_mailbox_name(c, mailbox);
	struct str record;
	bool have = message_record(&mb, &m, &record, NULL) == ERR_OK;

	found(c, "message.lost\tmailbox=%s\tuid=%u\tsize=%u\trecord=%s\tMessage %u of %s can't be read: %s; %s.", name, x->uid,
	    x->size_octets, have ? "readable" : "lost", x->uid, name, why, have ?
	    "who wrote what to whom is still known" : "nothing of it is known for sure");
}

/* What was gathered may be gone by now. */
static enum err_kind check_octets(struct check *c, struct err *e)
{
	size_t kept = 0;
	enum err_kind k;

	table_each(c->sh->roll.table, gather_lost, c);
	if ((k = gather_lost_of_index(c, e)) == ERR_OK && c->n_lost > 0)
		k = catch_up(c, e);
	if (k == ERR_OK && c->no_memory)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to check messages");
	for (size_t i = 0; i < c->n_lost && k == ERR_OK; i++) {
		struct lost_row *l = &c->lost[i];
		struct index_msg x;
		struct err why = { .text = "" };
		bool known = shadow_row(c->sh, l->mailbox, l->uid, &x);

		if (!known && c->diff.n == 0)
			continue;
		if (!known)
			x = (struct index_msg){ .uid = l->uid, .seg = l->seg, .off = l->off };
		if (row_is_readable(c, &x, &why))
			continue;
		say_lost(c, l->mailbox, &x, why.text);
		c->lost[kept++] = *l;
	}
	c->n_lost = kept;
	return k;
}

/* -- counters and names -- */

struct sums {
	uint32_t id, n, n_unseen, highest;
	uint64_t octets, modseq;
};

struct totals {
	struct sums *v;			/* ascending ids */
	size_t n;
};

static int by_mailbox(const void *a, const void *b)
{
	const struct sums *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static bool add_to_totals(void *ctx, const struct table_item *item)
{
	struct totals *t = ctx;
	struct index_msg x[CHUNK_UIDS];
	size_t n = item->key.n == 9 && item->key.p[0] == 'C' ? rows_of(item->value, x) : 0;
	struct sums key = { .id = n > 0 ? get_be32(item->key.p + 1) : 0 }, *sum = NULL;

	if (n > 0 && t->n > 0)
		sum = bsearch(&key, t->v, t->n, sizeof *t->v, by_mailbox);
	for (size_t i = 0; i < n && sum != NULL; i++) {
		sum->n++;
		sum->n_unseen += !(x[i].flags & MSG_SEEN);
		sum->octets += x[i].size_octets;
		sum->highest = x[i].uid > sum->highest ? x[i].uid : sum->highest;
		sum->modseq = x[i].modseq > sum->modseq ? x[i].modseq : sum->modseq;
	}
	return true;
}

static void check_slot(struct check *c, const struct ctl_slot *slot, const struct sums *sum)
{
	if (sum->n != slot->n_messages || sum->n_unseen != slot->n_unseen || sum->octets != slot->octets) {
		c->counters_differ = true;
		found(c, "mailbox.counters\tmailbox=%s\tcounters=%u,%u,%llu\tmessages=%u,%u,%llu\tThe counters of %s say %u "
		    "messages, %u unseen, %llu octets; there are %u, %u, %llu.", slot->name, slot->n_messages, slot->n_unseen,
		    (unsigned long long)slot->octets, sum->n, sum->n_unseen, (unsigned long long)sum->octets,
		    slot->name, slot->n_messages, slot->n_unseen, (unsigned long long)slot->octets, sum->n,
		    sum->n_unseen, (unsigned long long)sum->octets);
	}
	if (sum->highest >= slot->uidnext) {
		c->counters_differ = true;
		found(c, "mailbox.uidnext\tmailbox=%s\tuidnext=%u\thighest=%u\tUID %u of %s is not below its UIDNEXT %u.",
		    slot->name, slot->uidnext, sum->highest, sum->highest, slot->name, slot->uidnext);
	}
	if (sum->modseq > slot->modseq && !(slot->modseq == 0 && sum->modseq <= 1)) {
		c->counters_differ = true;
		found(c, "mailbox.modseq\tmailbox=%s\tThe MODSEQ of %s is below that of a message.", slot->name,
		    slot->name);
	}
}

/* The control file's slot against the journal's own. UIDs that are skipped are no harm. */
static void check_name(struct check *c, const struct ctl_slot *ctl, const struct ctl_slot *journal)
{
	if (journal != NULL && ctl->state == journal->state && ctl->uidvalidity == journal->uidvalidity &&
	    ctl->uidnext >= journal->uidnext && ctl->n_messages == journal->n_messages &&
	    ctl->n_unseen == journal->n_unseen && ctl->octets == journal->octets &&
	    ctl->modseq == journal->modseq && ctl->n_keywords == journal->n_keywords &&
	    ctl->quota.set == journal->quota.set && ctl->quota.storage_octets == journal->quota.storage_octets &&
	    ctl->quota.n_messages == journal->quota.n_messages &&
	    str_eq(str_n(ctl->name, ctl->name_octets), str_n(journal->name, journal->name_octets)))
		return;
	c->slots_differ = true;
	found(c, "control.differs\tmailbox=%.*s\tThe control file says something else of mailbox %.*s than the journal.",
	    (int)(ctl->name_octets % sizeof ctl->name), ctl->name, (int)(ctl->name_octets % sizeof ctl->name),
	    ctl->name);
}

static void compare_slots(struct check *c, const struct ctl_slot *slots, uint32_t n, const struct totals *t)
{
	const struct ctl_slot *own = ctl_slots(&c->sh->s);

	for (uint32_t i = 0; i < n; i++) {
		struct sums key = { .id = slots[i].id }, *sum;

		if (slots[i].state == 0)
			continue;
		check_name(c, &slots[i], ctl_find_id(&c->sh->s, slots[i].id));
		sum = t->n > 0 ? bsearch(&key, t->v, t->n, sizeof *t->v, by_mailbox) : NULL;
		if (sum != NULL)
			check_slot(c, &slots[i], sum);
	}
	for (uint32_t i = 0; i < c->sh->s.ctl->n_slots; i++) {
		uint32_t k = 0;

		while (k < n && (slots[k].state == 0 || slots[k].id != own[i].id))
			k++;
		if (own[i].state == 0 || k < n)
			continue;
		c->slots_differ = true;
		found(c, "control.missing\tmailbox=%s\tThe control file lacks mailbox %s.", own[i].name, own[i].name);
	}
}

static enum err_kind check_slots(struct check *c, struct err *e)
{
	struct journal_pos pos;
	struct ctl_slot *slots = NULL;
	struct totals t = { NULL, 0 };
	uint32_t n = 0, first, last;
	uint64_t seq;
	enum err_kind k = check_lock(c, &pos, &seq, e);

	if (k != ERR_OK)
		return k;
	n = c->s->ctl->n_slots;
	slots = calloc(n + 1, sizeof *slots);
	if (slots != NULL)
		memcpy(slots, ctl_slots(c->s), n * sizeof *slots);
	if (journal_range(c->s->journal, &first, &last, NULL) == ERR_OK && first != c->s->ctl->first_seg &&
	    c->s->ctl->first_seg < first) {
		c->journal_damaged = true;
		found(c, "journal.missing\tsegment=%u\tJournal segments %u to %u are missing: what was in them is lost.",
		    c->s->ctl->first_seg, c->s->ctl->first_seg, first - 1);
	}
	check_unlock(c);
	k = slots == NULL ? err_set(e, ERR_TEMP, ENOMEM, "no memory to check counters") :
	    shadow_advance(c->sh, pos, seq, e);
	t.v = calloc(n + 1, sizeof *t.v);
	if (k == ERR_OK && t.v == NULL)
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to check counters");
	for (uint32_t i = 0; k == ERR_OK && i < n; i++) {
		if (slots[i].state != 0)
			t.v[t.n++].id = slots[i].id;
	}
	if (k == ERR_OK) {
		qsort(t.v, t.n, sizeof *t.v, by_mailbox);
		table_each(c->sh->roll.table, add_to_totals, &t);
		compare_slots(c, slots, n, &t);
	}
	free(t.v);
	free(slots);
	return k;
}

/* -- files that nothing needs -- */

static void add_leftover(struct check *c, const char *name, bool is_tmp)
{
	if (!room(c, &c->left, c->n_left, &c->cap_left, sizeof c->left[0]))
		return;
	c->left[c->n_left] = (struct leftover){ .is_tmp = is_tmp };
	snprintf(c->left[c->n_left++].name, sizeof c->left[0].name, "%s", name);
}

static bool is_old(const struct store *s, const char *name)
{
	struct stat st;

	return fstatat(s->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ctime + YOUNG_S < clock_real_s();
}

/* A lease on writing can be had only when nobody else has the file open. */
static bool is_open_somewhere(const struct store *s, const char *name)
{
	int fd = openat(s->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	bool open_elsewhere = true;

	if (fd < 0)
		return true;
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
		open_elsewhere = false;
	else if (errno == EINVAL || errno == EACCES)
		open_elsewhere = !is_old(s, name);	/* no leases here: by age */
	close(fd);
	return open_elsewhere;
}

static void each_name(struct check *c, const char *dir, void (*each)(struct check *, const char *, const char *))
{
	int fd = openat(c->s->dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *de;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL) {
		if (de->d_name[0] != '.')
			each(c, dir, de->d_name);
	}
	closedir(d);
}

static void look_at_body(struct check *c, const char *dir, const char *name)
{
	char path[64], right[40];
	char *end;
	uint64_t id = strtoull(name, &end, 16);

	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
		return;
	large_name(right, id);
	if (strcmp(right, path) == 0 && shadow_names_large(c->sh, id))
		return;
	if (is_old(c->s, path))
		add_leftover(c, path, false);
}

static void look_at_large(struct check *c, const char *dir, const char *name)
{
	char path[64];

	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
		return;
	if (strncmp(name, "tmp-", 4) != 0)
		each_name(c, path, look_at_body);
	else if (!is_open_somewhere(c->s, path))
		add_leftover(c, path, true);
}

static void look_at_journal(struct check *c, const char *dir, const char *name)
{
	char path[64];

	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path &&
	    !str_ends(str_of(name), STR(".seg")))
		add_leftover(c, path, false);
}

/* Bodies that no record names: files are listed first, then the journal is read to its end as of then. */
static enum err_kind check_files(struct check *c, struct err *e)
{
	size_t kept = 0;
	enum err_kind k;

	each_name(c, "large", look_at_large);
	each_name(c, "journal", look_at_journal);
	if ((k = catch_up(c, e)) != ERR_OK)
		return k;
	for (size_t i = 0; i < c->n_left; i++) {
		struct leftover *l = &c->left[i];
		const char *id = strrchr(l->name, '/') + 1;

		if (strncmp(l->name, "large/", 6) == 0 && !l->is_tmp &&
		    shadow_names_large(c->sh, strtoull(id, NULL, 16)) && strlen(id) == 16)
			continue;
		c->left[kept++] = *l;
		check_say(c, l->is_tmp ? "leftover.tmp\tfile=%s\t%s is of a delivery that died before it was acknowledged." :
		    "leftover.file\tfile=%s\tNothing names %s.", l->name, l->name);
	}
	c->n_left = c->n_leftovers = kept;
	return c->no_memory ? err_set(e, ERR_TEMP, ENOMEM, "no memory to check files") : ERR_OK;
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
