/* SPDX-License-Identifier: ISC */
/* The snapshot of INBOX and the marks on it. The view is never refreshed, so message numbers
 * cannot move; invariant: n_marked and marked_octets are what `marked` says, and marked has an
 * entry for each message. */
#include <stdlib.h>

#include "maildrop.h"

struct maildrop {
	struct store *store;
	struct mailbox *inbox;
	struct mailbox_info at_login;
	bool *marked;
	uint32_t n, n_marked;
	uint64_t octets, marked_octets;
	bool loaded;
};

static const struct str inbox_name = STR_INIT("INBOX");

static void forget(struct maildrop **dp)
{
	struct maildrop *d = *dp;

	if (d->inbox != NULL)
		mailbox_close(&d->inbox);
	store_close(&d->store);
	free(d->marked);
	free(d);
	*dp = NULL;
}

enum err_kind maildrop_open(int store_fd, const struct store_env *env, struct maildrop **out,
    bool *out_in_use, struct err *e)
{
	struct maildrop *d = calloc(1, sizeof *d);

	*out_in_use = false;
	if (d == NULL)
		return err_set(e, ERR_TEMP, 0, "no memory for the maildrop");
	if (store_open(store_fd, env, &d->store, e) != ERR_OK)
		goto fail;
	if (store_maildrop_lock(d->store, e) != ERR_OK) {
		*out_in_use = e->kind == ERR_BUSY;
		goto fail;
	}
	if (mailbox_open(d->store, inbox_name, false, &d->inbox, e) != ERR_OK)
		goto fail;
	mailbox_counters(d->inbox, &d->at_login);
	*out = d;
	return ERR_OK;
fail:
	forget(&d);
	return e->kind;
}

static void leave_store(void *arg)
{
	struct store *store = arg;

	store_tend(store);
	store_close(&store);
}

void maildrop_end(struct maildrop **dp, struct serve_session *serve)
{
	struct maildrop *d = *dp;

	if (d == NULL)
		return;
	if (d->inbox != NULL)
		mailbox_close(&d->inbox);
	store_maildrop_unlock(d->store);
	serve->afterwards = leave_store;
	serve->afterwards_arg = d->store;
	d->store = NULL;
	forget(dp);
}

enum err_kind maildrop_load(struct maildrop *d, struct err *e)
{
	size_t n;

	if (d->loaded)
		return ERR_OK;
	if (mailbox_load(d->inbox, e) != ERR_OK)
		return e->kind;
	n = mailbox_n(d->inbox);
	d->marked = calloc(n + 1, sizeof *d->marked);
	if (d->marked == NULL)
		return err_set(e, ERR_TEMP, 0, "no memory for %zu marks", n);
	for (size_t i = 0; i < n; i++)
		d->octets += mailbox_at(d->inbox, i)->size_octets;
	d->n = (uint32_t)n;
	d->loaded = true;
	return ERR_OK;
}

/* The counters of now serve for those of login when their change numbers agree: a poll that finds
 * nothing new then never opens the index. */
static bool stat_from_counters(struct maildrop *d, struct arena *a, struct maildrop_stat *out)
{
	struct mailbox_info now;
	struct err e;

	if (store_find(d->store, a, inbox_name, &now, &e) != ERR_OK ||
	    now.id != d->at_login.id || now.modseq != d->at_login.modseq ||
	    now.n_messages != d->at_login.n_messages)
		return false;
	out->n = now.n_messages;
	out->octets = now.octets;
	return true;
}

enum err_kind maildrop_stat(struct maildrop *d, struct arena *a, struct maildrop_stat *out,
    struct err *e)
{
	if (!d->loaded && stat_from_counters(d, a, out))
		return ERR_OK;
	if (maildrop_load(d, e) != ERR_OK)
		return e->kind;
	out->n = d->n - d->n_marked;
	out->octets = d->octets - d->marked_octets;
	return ERR_OK;
}

uint32_t maildrop_n(const struct maildrop *d)
{
	return d->n;
}

const struct message *maildrop_message(const struct maildrop *d, uint32_t msgno)
{
	if (msgno == 0 || msgno > d->n || d->marked[msgno - 1])
		return NULL;
	return mailbox_at(d->inbox, msgno - 1);
}

uint32_t maildrop_uidvalidity(const struct maildrop *d)
{
	return d->at_login.uidvalidity;
}

struct mailbox *maildrop_inbox(struct maildrop *d)
{
	return d->inbox;
}

void maildrop_mark(struct maildrop *d, uint32_t msgno)
{
	d->marked[msgno - 1] = true;
	d->n_marked++;
	d->marked_octets += mailbox_at(d->inbox, msgno - 1)->size_octets;
}

void maildrop_unmark_all(struct maildrop *d)
{
	if (d->n_marked > 0)
		memset(d->marked, 0, d->n * sizeof *d->marked);
	d->n_marked = 0;
	d->marked_octets = 0;
}

uint32_t maildrop_n_marked(const struct maildrop *d)
{
	return d->n_marked;
}

enum err_kind maildrop_update(struct maildrop *d, struct err *e)
{
	uint32_t *uids;
	size_t n = 0;

	if (d->n_marked == 0)
		return ERR_OK;
	uids = malloc(d->n_marked * sizeof *uids);
	if (uids == NULL)
		return err_set(e, ERR_TEMP, 0, "no memory for %u UIDs", d->n_marked);
	for (uint32_t i = 0; i < d->n; i++)
		if (d->marked[i])
			uids[n++] = mailbox_at(d->inbox, i)->uid;
	e->kind = mailbox_expunge(d->inbox, uids, n, false, NULL, e);
	free(uids);
	return e->kind;
}
