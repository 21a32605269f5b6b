/* SPDX-License-Identifier: ISC */
/* Owns the open stores. Invariants: no two slots have one user; a pinned slot is not closed. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libmail/mutf7.h"
#include "../libstore/quota.h"
#include "stores.h"

static const char auth_socket[] = "store.sock";


struct stores {
	struct store_env env;
	struct open_store v[STORES_MAX];
	uint64_t clock;
};

struct stores *stores_new(void)
{
	struct stores *st = calloc(1, sizeof *st);

	if (st == NULL)
		exit(75);
	store_env_init(&st->env);
	return st;
}

void stores_configure(struct stores *st, const struct store_conf *conf)
{
	st->env.conf = *conf;
}

void stores_forget(struct open_store *o)
{
	store_close(&o->store);
	o->user[0] = '\0';
}

static struct open_store *find(struct stores *st, struct str user)
{
	for (size_t i = 0; i < STORES_MAX; i++)
		if (st->v[i].user[0] != '\0' && str_eq(str_of(st->v[i].user), user))
			return &st->v[i];
	return NULL;
}

static struct open_store *slot_free(struct stores *st)
{
	struct open_store *oldest = NULL;

	for (size_t i = 0; i < STORES_MAX; i++) {
		struct open_store *o = &st->v[i];

		if (o->user[0] == '\0')
			return o;
		if (o->n_pins == 0 && (oldest == NULL || o->used < oldest->used))
			oldest = o;
	}
	if (oldest != NULL)
		stores_forget(oldest);
	return oldest;
}

static bool fresh(struct stores *st, struct open_store *o)
{
	if (o == NULL || clock_mono_ms() - o->asked_ms >= STORES_TRUST_MS)
		return false;
	o->used = ++st->clock;
	return true;
}

static enum err_kind ask_authd(struct str user, bool want_store, char *canonical, int *out_fd,
    struct err *e)
{
	char lower[AUTH_USER_MAX_OCTETS];
	bool differs = false;
	enum err_kind r;

	if (user.n == 0 || user.n > AUTH_USER_MAX_OCTETS)
		return err_set(e, ERR_NOENT, 0, "not a user name");
	r = auth_store(auth_socket, user, want_store, canonical, out_fd, e);
	if (r != ERR_NOENT)
		return r;
	for (size_t i = 0; i < user.n; i++) {
		lower[i] = ascii_lower(user.p[i]);
		differs |= lower[i] != user.p[i];
	}
	return !differs ? r :
	    auth_store(auth_socket, str_n(lower, user.n), want_store, canonical, out_fd, e);
}

static enum err_kind open_slot(struct stores *st, struct open_store *o, int dirfd,
    const struct stat *dir, const char *user, struct err *e)
{
	enum err_kind r = store_open(dirfd, &st->env, &o->store, e);

	if (r == ERR_OK) {
		memcpy(o->user, user, strlen(user) + 1);
		o->dev = dir->st_dev;
		o->ino = dir->st_ino;
		o->n_pins = 0;
	}
	return r;
}

/* Gives the slot for the directory that authd handed out, opened already or now. */
static enum err_kind take_directory(struct stores *st, int dirfd, const char *user,
    struct open_store **out, struct err *e)
{
	struct open_store *o = find(st, str_of(user));
	struct stat dir;

	if (fstat(dirfd, &dir) != 0)
		return err_set(e, ERR_TEMP, 0, "no status of the store's directory");
	if (o != NULL && (o->dev != dir.st_dev || o->ino != dir.st_ino)) {
		if (o->n_pins > 0)
			return err_set(e, ERR_TEMP, 0, "the store of %s was exchanged", user);
		stores_forget(o);	/* removed and made anew */
		o = NULL;
	}
	if (o == NULL) {
		o = slot_free(st);
		if (o == NULL)
			return err_set(e, ERR_LIMIT, 0, "too many stores in use");
		if (open_slot(st, o, dirfd, &dir, user, e) != ERR_OK)
			return e->kind;
	}
	o->asked_ms = clock_mono_ms();
	o->used = ++st->clock;
	*out = o;
	return ERR_OK;
}

enum err_kind stores_get(struct stores *st, struct str user, struct open_store **out, struct err *e)
{
	char canonical[AUTH_USER_MAX_OCTETS + 1];
	enum err_kind r;
	int dirfd;

	*out = find(st, user);
	if (fresh(st, *out))
		return ERR_OK;
	r = ask_authd(user, true, canonical, &dirfd, e);
	if (r == ERR_NOENT && *out != NULL && (*out)->n_pins == 0)
		stores_forget(*out);
	if (r != ERR_OK)
		return r;
	r = take_directory(st, dirfd, canonical, out, e);
	close(dirfd);
	return r;
}

enum err_kind stores_user(struct stores *st, struct str user, bool soon, char *canonical,
    struct err *e)
{
	struct open_store *o = find(st, user);
	int no_fd;

	if (!soon && !fresh(st, o))
		return ask_authd(user, false, canonical, &no_fd, e);
	if (stores_get(st, user, &o, e) != ERR_OK)
		return e->kind;
	memcpy(canonical, o->user, sizeof o->user);
	return ERR_OK;
}

enum err_kind stores_room(struct stores *st, const char *canonical, uint64_t octets, struct err *e)
{
	struct open_store *o = find(st, str_of(canonical));

	return o != NULL && quota_check_delivery(o->store, octets, e) == ERR_QUOTA ? ERR_QUOTA : ERR_OK;
}

/* The names that folder may stand for, the likeliest first. */
static bool same_folder(struct str name, struct str folder, bool dots)
{
	if (name.n != folder.n)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = dots && folder.p[i] == '.' ? '/' : folder.p[i];

		if (ascii_lower(name.p[i]) != ascii_lower(c))
			return false;
	}
	return true;
}

static bool find_listed(struct open_store *o, struct arena *a, struct str folder, uint32_t *out_id)
{
	struct mailbox_info *v;
	struct err e;
	size_t n;

	if (store_list(o->store, a, &v, &n, &e) != ERR_OK)
		return false;
	for (int dots = 0; dots < 2; dots++) {
		for (size_t i = 0; i < n; i++) {
			if (!v[i].exists || v[i].noselect || !same_folder(v[i].name, folder, dots))
				continue;
			*out_id = v[i].id;
			return true;
		}
	}
	return false;
}

enum err_kind stores_folder(struct open_store *o, struct arena *scratch, struct str folder,
    uint32_t *out_id, struct err *e)
{
	struct mailbox_info info;
	enum err_kind r;

	*out_id = MAILBOX_INBOX;
	if (folder.n == 0 || folder.n > STORE_NAME_MAX_OCTETS || !utf8_valid(folder))
		return ERR_OK;
	r = store_find(o->store, scratch, folder, &info, e);
	if (r == ERR_OK && info.exists && !info.noselect) {
		*out_id = info.id;
		return ERR_OK;
	}
	if (r == ERR_OK || r == ERR_NOENT) {
		(void)find_listed(o, scratch, folder, out_id);
		return ERR_OK;
	}
	return r;
}
