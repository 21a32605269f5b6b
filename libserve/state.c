/* SPDX-License-Identifier: ISC */
/* Owns one generation of prepared things. Invariant: a state that state_load gave out is complete, and
 * loading one does not touch the one in force. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "state.h"

struct listen_row {
	struct conf_list words;
};

/* Who starts us reads `listen`; the row is here so that it is a known key for everybody. */
static struct conf_key listen_key(const struct service *svc)
{
	return settings_listen_key(svc->name, offsetof(struct listen_row, words));
}

static bool has_listen_row(const struct service *svc)
{
	for (size_t i = 0; i < svc->n_keys; i++)
		if (strcmp(svc->keys[i].name, "listen") == 0)
			return true;
	return false;
}

static void stamp_file(const char *path, struct file_stamp *out)
{
	struct stat st;

	memset(out, 0, sizeof *out);
	if (path[0] == '\0' || stat(path, &st) < 0)
		return;
	out->dev = st.st_dev;
	out->ino = st.st_ino;
	out->size = st.st_size;
	out->mtime = st.st_mtim;
	out->ctime = st.st_ctim;
}

static bool stamp_same(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	    a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	    a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

/* Stamped before it is read: a change in between is seen at the next look. */
static enum err_kind load_tls(struct serve_state *st, struct tls_ctx **out, struct err *e)
{
	stamp_file(st->set.tls_certificate, &st->cert);
	stamp_file(st->set.tls_key, &st->key);
	return tls_ctx_load(st->set.tls_certificate, st->set.tls_key, out, e);
}

static enum err_kind find_account(struct serve_state *st, struct err *e)
{
	bool stores = (st->svc->rights & (SERVE_STORE | SERVE_STORES)) != 0;
	const char *name = stores ? st->set.user : st->set.smtp_user;
	const struct passwd *pw;
	const struct group *gr = NULL;

	if (geteuid() != 0 || (st->svc->rights & SERVE_ROOT) != 0)
		return ERR_OK;
	if ((pw = getpwnam(name)) == NULL)
		return err_set(e, ERR_SYNTAX, 0, "[store]: there is no account \"%s\"", name);
	if (pw->pw_uid == 0)
		return err_set(e, ERR_SYNTAX, 0, "[store]: account \"%s\" is root's", name);
	st->uid = pw->pw_uid;
	st->gid = pw->pw_gid;
	if (!stores)
		return ERR_OK;
	if ((gr = getgrnam(st->set.group)) == NULL)
		return err_set(e, ERR_SYNTAX, 0, "[store]: there is no group \"%s\"", st->set.group);
	st->gid = gr->gr_gid;
	return ERR_OK;
}

static enum err_kind read_conf(struct serve_state *st, const char *path, struct err *e)
{
	const struct service *svc = st->svc;
	struct conf_key listen = listen_key(svc);
	struct listen_row ignored;
	enum err_kind k;

	if ((k = conf_read(path, settings_sections, &st->conf, e)) != ERR_OK ||
	    (k = settings_get(st->conf, svc->name, &st->set, e)) != ERR_OK ||
	    (k = conf_get(st->conf, svc->name, svc->keys, svc->n_keys, st->own, e)) != ERR_OK)
		return k;
	if (!has_listen_row(svc) &&
	    (k = conf_get(st->conf, svc->name, &listen, 1, &ignored, e)) != ERR_OK)
		return k;
	return conf_check_unknown(st->conf, svc->name, e);
}

static enum err_kind fill_state(struct serve_state *st, const char *path, struct err *e)
{
	enum err_kind k = read_conf(st, path, e);

	if (k != ERR_OK)
		return k;
	if (asprintf(&st->root_dir, "%s/jail/%s", st->set.run_dir, st->svc->name) < 0) {
		st->root_dir = NULL;
		return err_sys(e, ENOMEM, "configuration");
	}
	tzset();	/* reads its file now: there is none in the chroot */
	if ((k = find_account(st, e)) != ERR_OK)
		return k;
	if (st->set.tls_certificate[0] != '\0' && (k = load_tls(st, &st->tls, e)) != ERR_OK)
		return k;
	return st->svc->prepare != NULL ? st->svc->prepare(&st->set, st->own, e) : ERR_OK;
}

enum err_kind state_load(const struct service *svc, const char *conf_path, struct serve_state **out,
    struct err *e)
{
	struct serve_state *st = calloc(1, sizeof *st);
	enum err_kind k;

	if (st == NULL || (st->own = calloc(1, svc->conf_size > 0 ? svc->conf_size : 1)) == NULL) {
		free(st);
		return err_sys(e, ENOMEM, "configuration");
	}
	st->svc = svc;
	k = fill_state(st, conf_path, e);
	if (k != ERR_OK)
		state_free(&st);
	else
		*out = st;
	return k;
}

void state_free(struct serve_state **stp)
{
	struct serve_state *st = *stp;

	if (st == NULL)
		return;
	tls_ctx_free(&st->tls);
	conf_free(&st->conf);
	free(st->root_dir);
	free(st->own);
	free(st);
	*stp = NULL;
}

enum err_kind state_refresh_tls(struct serve_state *st, bool *out_changed, struct err *e)
{
	struct file_stamp cert, key;
	struct tls_ctx *fresh = NULL;
	enum err_kind k;

	*out_changed = false;
	if (st->tls == NULL)
		return ERR_OK;
	stamp_file(st->set.tls_certificate, &cert);
	stamp_file(st->set.tls_key, &key);
	if (stamp_same(&cert, &st->cert) && stamp_same(&key, &st->key))
		return ERR_OK;
	*out_changed = true;
	if ((k = load_tls(st, &fresh, e)) != ERR_OK)
		return k;
	tls_ctx_free(&st->tls);
	st->tls = fresh;
	return ERR_OK;
}

struct sandbox_plan state_sandbox(const struct serve_state *st)
{
	return (struct sandbox_plan){
		.root_dir = st->root_dir, .uid = st->uid, .gid = st->gid, .rights = st->svc->rights,
		.memory_max_bytes = st->set.memory_max_bytes,
	};
}

void state_dump(const struct serve_state *st, struct buf *out)
{
	struct conf_key listen = listen_key(st->svc);

	conf_dump(st->conf, st->svc->name, settings_keys, n_settings_keys, false, out);
	if (!has_listen_row(st->svc))
		conf_dump(st->conf, st->svc->name, &listen, 1, false, out);
	conf_dump(st->conf, st->svc->name, st->svc->keys, st->svc->n_keys, false, out);
}
