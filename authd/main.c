/* SPDX-License-Identifier: ISC */
/* authd under the skeleton. What all its processes share is made in prepare, before the first fork. */
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../libbase/log.h"
#include "../libserve/serve.h"
#include "account.h"
#include "monitor.h"
#include "pam.h"

struct authd_conf {
	uint64_t pam_timeout_ms, questions_max;
	struct login login;
	struct mon_peers peers;
};

static const struct conf_key authd_keys[] = {
	{ "authd", "pam_timeout", CONF_SECONDS, "10s", "1s", "14s", NULL,
	    offsetof(struct authd_conf, pam_timeout_ms), "how long PAM may take over one login" },
	{ "authd", "questions_max", CONF_NUMBER, "1000", "1", "1000000", NULL,
	    offsetof(struct authd_conf, questions_max), "questions for stores on one connection" },
};

static const struct serve_listener authd_listeners[] = {
	{ "auth", false, MON_ON_AUTH },
	{ "store", false, MON_ON_STORE },
	{ NULL, false, 0 },
};

/* Failures and successes outlive a reload, else a SIGHUP would be a guesser's fresh start; the file's memory
 * is used again by the next reload. Life: the process. */
static struct throttle *the_throttle;
static struct cache *the_cache;
static struct passwdfile *the_passwd;

/* Who owns the stores and who asks. An ordinary user serves himself alone. */
static enum err_kind prepare_ids(const struct settings *set, struct authd_conf *conf, struct err *e)
{
	struct office *o = &conf->login.office;
	gid_t gid;

	*o = (struct office){ set->post_office, geteuid() == 0, geteuid(), getegid() };
	conf->peers = (struct mon_peers){ (uid_t)-1, (uid_t)-1 };
	if (!o->chown)
		return ERR_OK;
	if (account_ids(set->user, set->group, &o->uid, &o->gid, e) != ERR_OK)
		return err_note(e, "store.user");
	conf->peers.store_user = o->uid;
	/* A site without our smtpd has no such account. */
	if (account_ids(set->smtp_user, NULL, &conf->peers.smtp_user, &gid, e) == ERR_TEMP)
		return err_note(e, "store.smtp_user");
	return ERR_OK;
}

static enum err_kind prepare_source(const struct settings *set, struct authd_conf *conf, struct err *e)
{
	struct login *l = &conf->login;

	if (set->source == AUTH_SOURCE_PAM)
		return pam_is_there() ? ERR_OK :
		    err_set(e, ERR_SYNTAX, 0, "auth.source is pam, and this build has none");
	if (set->passwd_file[0] == '\0')
		return err_set(e, ERR_SYNTAX, 0, "auth.source is passwd, and auth.passwd_file is empty");
	/* It need not be there yet, but who looks at the log wants to know. */
	if (the_passwd == NULL || strcmp(passwdfile_path(the_passwd), set->passwd_file) != 0)
		the_passwd = passwdfile_new(set->passwd_file);
	l->passwd = the_passwd;
	if (passwdfile_refresh(l->passwd, e) != ERR_OK)
		log_event(LOG_LEVEL_WARN, "auth.passwd.unreadable", KV_ERR(e));
	return ERR_OK;
}

static enum err_kind prepare(const struct settings *set, void *conf_, struct err *e)
{
	struct authd_conf *conf = conf_;
	struct login *l = &conf->login;

	*l = (struct login){ .set = set, .pam_timeout_ms = conf->pam_timeout_ms };
	if (the_throttle == NULL && throttle_new(&the_throttle, e) != ERR_OK)
		return e->kind;
	if (the_cache == NULL && cache_new(&the_cache, e) != ERR_OK)
		return e->kind;
	l->throttle = the_throttle;
	l->cache = the_cache;
	if (prepare_ids(set, conf, e) != ERR_OK || office_prepare(&l->office, e) != ERR_OK ||
	    prepare_source(set, conf, e) != ERR_OK)
		return e->kind;
	return ERR_OK;
}

static void child_start(const void *conf)
{
	(void)conf;
	signal(SIGCHLD, SIG_DFL);	/* pam.c waits for its own */
}

static void session(struct serve_session *s)
{
	const struct authd_conf *conf = s->conf;
	struct login login = conf->login;
	struct mon m = { .login = &login, .sock = conn_fd(s->c), .where = (unsigned)s->listener->role,
		.questions_max = conf->questions_max };
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t n = sizeof peer;
	struct err e = { 0 };

	/* PAM may take longer than newcomers wait; who asks nothing is gone after MON_IDLE_MS anyway. */
	serve_session_keep();
	login.set = s->set;
	if (getsockopt(m.sock, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 ||
	    !mon_peer_may(&conf->peers, peer.uid, m.where, &m.may_have_stores)) {
		log_event(LOG_LEVEL_WARN, "auth.peer.refused", KV_Z("listener", s->listener->name),
		    KV_U("uid", peer.uid));
		return;
	}
	if (mon_serve(&m, &e) != ERR_OK)
		log_event(LOG_LEVEL_WARN, "auth.peer.closed", KV_Z("listener", s->listener->name),
		    KV_U("uid", peer.uid), KV_ERR(&e));
}

static const struct service authd_service = {
	.name = "authd",
	.listeners = authd_listeners,
	.rights = SERVE_ROOT,
	.keys = authd_keys,
	.n_keys = COUNTOF(authd_keys),
	.conf_size = sizeof(struct authd_conf),
	.sessions_per_child = 1000,
	.prepare = prepare,
	.child_start = child_start,
	.session = session,
};

int main(int argc, char **argv)
{
	return serve(&authd_service, argc, argv);
}
