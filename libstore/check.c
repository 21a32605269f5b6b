/* SPDX-License-Identifier: ISC */
/* Comparing what was derived with the truth: counters, index rows, and every message's octets. */
#include <stdio.h>
#include <stdlib.h>

#include "mailbox_int.h"

struct findings {
	void (*report)(void *, const char *);
	void *ctx;
	uint64_t n;
};

static void found(struct findings *f, const char *line)
{
	f->n++;
	if (f->report != NULL)
		f->report(f->ctx, line);
}

static void check_message(struct findings *f, struct mailbox *mb, const struct ctl_slot *slot,
    const struct message *m)
{
	struct message_text t;
	struct err e;
	char line[ERR_TEXT_MAX + STORE_NAME_MAX_OCTETS + 32];

	if (message_open(mb, m, &t, &e) == ERR_OK) {
		message_close(&t);
		return;
	}
	snprintf(line, sizeof line, "%s UID %u: %s", slot->name, m->uid, e.text);
	found(f, line);
}

static void check_counters(struct findings *f, const struct ctl_slot *slot, const struct message *m,
    size_t n)
{
	char line[STORE_NAME_MAX_OCTETS + 160];
	uint64_t octets = 0;
	size_t unseen = 0;

	for (size_t i = 0; i < n; i++) {
		octets += m[i].size_octets;
		unseen += !(m[i].flags & MSG_SEEN);
	}
	if (n != slot->n_messages || unseen != slot->n_unseen || octets != slot->octets) {
		snprintf(line, sizeof line, "%s: counters say %u messages, %u unseen, %llu octets; the index "
		    "has %zu, %zu, %llu", slot->name, slot->n_messages, slot->n_unseen,
		    (unsigned long long)slot->octets, n, unseen, (unsigned long long)octets);
		found(f, line);
	}
	if (n > 0 && m[n - 1].uid >= slot->uidnext) {
		snprintf(line, sizeof line, "%s: UID %u is not below UIDNEXT %u", slot->name,
		    m[n - 1].uid, slot->uidnext);
		found(f, line);
	}
}

static enum err_kind check_mailbox(struct store *s, struct findings *f, const struct ctl_slot *slot,
    struct err *e)
{
	struct index_keywords *kw = malloc(sizeof *kw);
	struct mailbox mb = { .s = s, .id = slot->id };
	struct message *m = NULL;
	size_t n = 0, cap;
	enum err_kind k;

	if (kw == NULL)
		return err_set(e, ERR_TEMP, 0, "no memory to check");
	k = index_load(s, slot->id, &m, &n, &cap, kw, e);
	if (k == ERR_OK) {
		check_counters(f, slot, m, n);
		for (size_t i = 0; i < n; i++)
			check_message(f, &mb, slot, &m[i]);
	}
	free(m);
	free(kw);
	return k;
}

enum err_kind index_check(struct store *s, void (*report)(void *, const char *), void *ctx, uint64_t *n_bad,
    struct err *e)
{
	struct findings f = { report, ctx, 0 };
	enum err_kind k = index_enter(s, e);

	for (uint32_t i = 0; k == ERR_OK && i < s->ctl->n_slots; i++) {
		if (ctl_slots(s)[i].state & MAILBOX_EXISTS)
			k = check_mailbox(s, &f, &ctl_slots(s)[i], e);
	}
	if (k == ERR_OK)
		index_leave(s);
	*n_bad = f.n;
	return k;
}
