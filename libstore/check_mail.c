/* SPDX-License-Identifier: ISC */
/* What a client would see, and what lies around: can every message be read, do names and counters add up to what the journal
 * says, is there a file that nothing needs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "check.h"
#include "mailbox_int.h"

enum { YOUNG_S = 3600 };	/* a body this young may be of a delivery that is under way */

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
	if (check_room(c, &c->lost, c->n_lost, &c->cap_lost, sizeof c->lost[0]))
		c->lost[c->n_lost++] = (struct lost_row){ mailbox, x->uid, x->seg, x->off };
}

static bool gather_lost(void *ctx, const struct table_item *item)
{
	struct check *c = ctx;
	struct index_msg x[CHUNK_UIDS];
	size_t n = item->key.n == 9 && item->key.p[0] == 'C' ? check_rows(item->value, x) : 0;

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
			n = check_rows(value, x);
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

	check_found(c, "message.lost\tmailbox=%s\tuid=%u\tsize=%u\trecord=%s\tMessage %u of %s can't be read: %s; %s.", name, x->uid,
	    x->size_octets, have ? "readable" : "lost", x->uid, name, why, have ?
	    "who wrote what to whom is still known" : "nothing of it is known for sure");
}

/* What was gathered may be gone by now. */
enum err_kind check_octets(struct check *c, struct err *e)
{
	size_t kept = 0;
	enum err_kind k;

	table_each(c->sh->roll.table, gather_lost, c);
	if ((k = gather_lost_of_index(c, e)) == ERR_OK && c->n_lost > 0)
		k = check_catch_up(c, e);
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
	size_t n = item->key.n == 9 && item->key.p[0] == 'C' ? check_rows(item->value, x) : 0;
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
		check_found(c, "mailbox.counters\tmailbox=%s\tcounters=%u,%u,%llu\tmessages=%u,%u,%llu\tThe counters of %s say %u "
		    "messages, %u unseen, %llu octets; there are %u, %u, %llu.", slot->name, slot->n_messages, slot->n_unseen,
		    (unsigned long long)slot->octets, sum->n, sum->n_unseen, (unsigned long long)sum->octets,
		    slot->name, slot->n_messages, slot->n_unseen, (unsigned long long)slot->octets, sum->n,
		    sum->n_unseen, (unsigned long long)sum->octets);
	}
	if (sum->highest >= slot->uidnext) {
		c->counters_differ = true;
		check_found(c, "mailbox.uidnext\tmailbox=%s\tuidnext=%u\thighest=%u\tUID %u of %s is not below its UIDNEXT %u.",
		    slot->name, slot->uidnext, sum->highest, sum->highest, slot->name, slot->uidnext);
	}
	if (sum->modseq > slot->modseq && !(slot->modseq == 0 && sum->modseq <= 1)) {
		c->counters_differ = true;
		check_found(c, "mailbox.modseq\tmailbox=%s\tThe MODSEQ of %s is below that of a message.", slot->name,
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
	check_found(c, "control.differs\tmailbox=%.*s\tThe control file says something else of mailbox %.*s than the journal.",
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
		check_found(c, "control.missing\tmailbox=%s\tThe control file lacks mailbox %s.", own[i].name, own[i].name);
	}
}

enum err_kind check_slots(struct check *c, struct err *e)
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
		check_found(c, "journal.missing\tsegment=%u\tJournal segments %u to %u are missing: what was in them is lost.",
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
	if (!check_room(c, &c->left, c->n_left, &c->cap_left, sizeof c->left[0]))
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
enum err_kind check_files(struct check *c, struct err *e)
{
	size_t kept = 0;
	enum err_kind k;

	each_name(c, "large", look_at_large);
	each_name(c, "journal", look_at_journal);
	if ((k = check_catch_up(c, e)) != ERR_OK)
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
