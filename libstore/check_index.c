/* SPDX-License-Identifier: ISC */
/* The index against the shadow, in parts: each is copied under a short hold of the lock that also tells the position it stands
 * at, and the shadow is brought to that position before the two are compared. So nothing that changes meanwhile looks
 * wrong. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { PART_OCTETS = 1 << 20 };	/* of the index copied under one hold of the lock */

/* -- the index -- */

static void say_row(struct check *c, uint32_t mailbox, const struct index_msg *index, const struct index_msg *journal)
{
	const struct index_msg *m = index != NULL ? index : journal;
	const char *name = check_mailbox_name(c, mailbox);

	if (journal == NULL)
		check_found(c, "index.extra\tmailbox=%s\tuid=%u\tThe index has a message %u in %s that the journal does not know%s.",
		    name, m->uid, m->uid, name, c->journal_damaged ? " any more" : "");
	else if (index == NULL)
		check_found(c, "index.missing\tmailbox=%s\tuid=%u\tThe index lacks message %u of %s.", name, m->uid, m->uid, name);
	else
		check_found(c, "index.differs\tmailbox=%s\tuid=%u\tThe index says something else of message %u of %s than the "
		    "journal.", name, m->uid, m->uid, name);
}

size_t check_rows(struct str value, struct index_msg out[CHUNK_UIDS])
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
	size_t nx = check_rows(index, x), nj = check_rows(journal, j);
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
	check_found(c, "index.set\tmailbox=%s\tkind=%c\tThe index and the journal say different things about %s of %s.",
	    check_mailbox_name(c, mailbox), key.p[0] > ' ' && key.p[0] < 127 ? key.p[0] : '?', what,
	    check_mailbox_name(c, mailbox));
}

static void add_diff(struct check *c, struct str key)
{
	char *copy;

	if (!check_room(c, &c->diff.v, c->diff.n, &c->diff.cap, sizeof c->diff.v[0]))
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
		check_found(c, "index.damaged\tThe index is damaged. Nothing is lost: it is made anew from the journal.");
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

enum err_kind check_index(struct check *c, struct err *e)
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
