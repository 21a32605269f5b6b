/* SPDX-License-Identifier: ISC */
/* The order of things in login_check matters: the limit comes before everything that could tell a guesser
 * that he is right; a refusal has one path, whatever its reason; a failing source is never a refusal. */
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "../libserve/username.h"
#include "account.h"
#include "login.h"
#include "pam.h"

enum { IDENTITY_FRESH_S = 2 };

/* -- sources -- */

static enum err_kind ask_passwd(const struct login *l, struct str user, struct str password,
    struct source_answer *out, struct err *e)
{
	struct str hash;

	if (passwdfile_refresh(l->passwd, e) != ERR_OK)
		return ERR_TEMP;
	/* Names with a domain may stand in the file as they are. */
	if (!passwdfile_find(l->passwd, user, &hash))
		user = name_without_domain(l->set, user);
	return passwdfile_check(l->passwd, user, password, out, e);
}

static enum err_kind ask_pam(const struct login *l, const struct auth_question *q, struct str user,
    struct source_answer *out, struct err *e)
{
	char name[AUTH_USER_MAX_OCTETS + 1];
	const struct pam_question pq = { q->service, q->peer_ip, name, q->password, l->set->min_uid,
		l->pam_timeout_ms };

	name_copy(name, user);
	return pam_check(&pq, out, e);
}

static enum err_kind ask_source(const struct login *l, const struct auth_question *q,
    struct source_answer *out, struct err *e)
{
	struct str local = name_without_domain(l->set, q->user);

	if (!name_is_valid(q->user) || !name_is_valid(local))
		out->reason = "bad-name";
	else if (q->password.n == 0 || str_has(q->password, '\0'))
		out->reason = "bad-password";
	else if (q->authzid.n > 0 && !name_same(l->set, q->authzid, q->user))
		out->reason = "other-authzid";
	if (out->reason != NULL)
		return err_set(e, ERR_DENIED, 0, "refused unasked");
	return l->passwd != NULL ? ask_passwd(l, q->user, q->password, out, e) :
	    ask_pam(l, q, local, out, e);
}

/* -- the cache -- */

/* Puts down which file this is. false when it was changed just now, so that its next change might not show. */
static bool put_identity(struct buf *out, const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	buf_put_le64(out, st.st_dev);
	buf_put_le64(out, st.st_ino);
	buf_put_le64(out, (uint64_t)st.st_size);
	buf_put_le64(out, (uint64_t)st.st_mtim.tv_sec);
	buf_put_le64(out, (uint64_t)st.st_mtim.tv_nsec);
	buf_put_le64(out, (uint64_t)st.st_ctim.tv_sec);
	buf_put_le64(out, (uint64_t)st.st_ctim.tv_nsec);
	return clock_real_s() - st.st_ctim.tv_sec > IDENTITY_FRESH_S;
}

/* A changed password or a removed user of the passwd file or of the system's own files is out at once; what
 * other PAM sources change shows after cache_ms. */
static bool find_cache_key(const struct login *l, const struct auth_question *q, struct cache_key *k)
{
	struct buf id = BUF_INIT(1024);
	bool usable = l->set->cache_ms > 0 && q->password.n > 0 &&
	    (q->authzid.n == 0 || name_same(l->set, q->authzid, q->user));

	buf_put_le64(&id, l->set->source);
	buf_put_le64(&id, l->set->min_uid);
	if (l->passwd != NULL)
		usable = usable && put_identity(&id, l->set->passwd_file);
	else
		usable = usable && put_identity(&id, "/etc/passwd") && put_identity(&id, "/etc/shadow");
	usable = usable && !id.full && cache_key(l->cache, buf_str(&id), q, k);
	buf_free(&id);
	return usable;
}

/* -- a login -- */

struct attempt {
	const struct auth_question *q;
	struct throttle_who who;
	uint64_t asked_ms;
	bool cached;
};

static void log_yes(const struct attempt *t, const struct login_answer *out)
{
	log_event(LOG_LEVEL_INFO, "auth.login.ok", KV_Z("service", t->q->service),
	    KV_Z("user", out->user), KV_Z("method", t->q->mechanism), KV_Z("ip", t->q->peer_ip),
	    KV_U("tls", t->q->tls), KV_U("cached", t->cached),
	    KV_U("ms", clock_mono_ms() - t->asked_ms));
}

/* The true reason, which only this line tells. The line that fail2ban counts is the session's. */
static void log_no(const struct attempt *t, const char *reason)
{
	log_event(LOG_LEVEL_INFO, "auth.login.failed", KV_Z("service", t->q->service),
	    KV_S("user", t->q->user), KV_Z("method", t->q->mechanism), KV_Z("ip", t->q->peer_ip),
	    KV_U("tls", t->q->tls), KV_Z("reason", reason));
}

static enum err_kind refuse(const struct login *l, const struct attempt *t, const char *reason,
    struct login_answer *out)
{
	log_no(t, reason);
	out->release_ms = throttle_refuse(l->throttle, &t->who, t->asked_ms, l->set->fail_delay_ms,
	    l->set->fail_delay_max_ms);
	return ERR_DENIED;
}

static enum err_kind fail(const struct attempt *t, const struct err *e)
{
	log_event(LOG_LEVEL_ERR, "auth.login.temp", KV_Z("service", t->q->service),
	    KV_S("user", t->q->user), KV_Z("ip", t->q->peer_ip), KV_ERR(e));
	return ERR_TEMP;
}

static enum err_kind grant(const struct login *l, const struct attempt *t, bool want_store,
    struct login_answer *out, struct err *e)
{
	throttle_forgive(l->throttle, &t->who);
	if (want_store && office_open_store(&l->office, out->user, &out->store_fd, e) != ERR_OK)
		return fail(t, e);
	log_yes(t, out);
	return ERR_OK;
}

enum err_kind login_check(const struct login *l, const struct auth_question *q, bool want_store,
    uint64_t asked_ms, struct login_answer *out)
{
	struct attempt t = { q, { str_of(q->peer_ip), name_without_domain(l->set, q->user) }, asked_ms,
		false };
	struct source_answer answer = { .reason = NULL };
	struct err e = { 0 };
	struct cache_key key;
	bool may_cache;

	*out = (struct login_answer){ .store_fd = -1 };
	if (throttle_is_limited(l->throttle, &t.who, asked_ms)) {
		log_no(&t, "too-many-failures");
		return ERR_LIMIT;
	}
	/* Before the source is asked: a change in between must not be taken for what was asked. */
	may_cache = find_cache_key(l, q, &key);
	t.cached = may_cache && cache_get(l->cache, &key, asked_ms, out->user);
	if (t.cached)
		return grant(l, &t, want_store, out, &e);
	switch (ask_source(l, q, &answer, &e)) {
	case ERR_OK:
		name_copy(out->user, str_of(answer.user));
		if (may_cache)
			cache_put(l->cache, &key, asked_ms + l->set->cache_ms, out->user);
		return grant(l, &t, want_store, out, &e);
	case ERR_DENIED:
		return refuse(l, &t, answer.reason, out);
	default:
		return fail(&t, &e);
	}
}

/* -- a recipient -- */

static enum err_kind find_exact(const struct login *l, const char *name, char *out, struct err *e)
{
	enum err_kind r;
	struct str hash;

	if (l->passwd == NULL) {
		r = account_find(name, l->set->min_uid, out, e);
		return r == ERR_DENIED ? err_set(e, ERR_NOENT, 0, "%s is not for mail", name) : r;
	}
	if (!passwdfile_find(l->passwd, str_of(name), &hash))
		return err_set(e, ERR_NOENT, 0, "no user %s", name);
	name_copy(out, str_of(name));
	return ERR_OK;
}

/* In this order: as it is, without the domain, in lower case. */
static enum err_kind find_user(const struct login *l, struct str typed, char *out, struct err *e)
{
	struct str local = name_without_domain(l->set, typed);
	char name[AUTH_USER_MAX_OCTETS + 1];
	enum err_kind r;

	if (!name_is_valid(typed) || !name_is_valid(local))
		return err_set(e, ERR_NOENT, 0, "no user name");
	if (l->passwd != NULL && passwdfile_refresh(l->passwd, e) != ERR_OK)
		return ERR_TEMP;
	name_copy(name, typed);
	r = find_exact(l, name, out, e);
	if (r == ERR_NOENT && local.n != typed.n) {
		name_copy(name, local);
		r = find_exact(l, name, out, e);
	}
	name_copy_lower(name, local);
	if (r == ERR_NOENT && !str_eq(str_of(name), local))
		r = find_exact(l, name, out, e);
	return r;
}

enum err_kind login_find(const struct login *l, struct str name, bool want_store,
    struct login_answer *out, struct err *e)
{
	enum err_kind r;

	*out = (struct login_answer){ .store_fd = -1 };
	r = find_user(l, name, out->user, e);
	if (r == ERR_OK && want_store)
		r = office_open_store(&l->office, out->user, &out->store_fd, e);
	return r == ERR_OK || r == ERR_NOENT ? r : ERR_TEMP;
}
