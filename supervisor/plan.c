/* SPDX-License-Identifier: ISC */
/* Owns the reading of the configuration. The file is read twice: once for the keys that are ours to check,
 * once for the `listen` keys of the services' sections, whose other keys are theirs to check. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../libbase/log.h"
#include "plan.h"

enum service_id { AUTHD, DELIVER, SMTPD, POP3D, IMAPD };

const char *const service_names[N_SERVICES] = {
	[AUTHD] = "authd", [DELIVER] = "deliver", [SMTPD] = "smtpd", [POP3D] = "pop3d", [IMAPD] = "imapd",
};

const struct conf_key plan_keys[] = {
	{ .section = "pennypost", .name = "services", .type = CONF_LIST,
	  .def = "authd deliver smtpd pop3d imapd", .at = offsetof(struct plan, services),
	  .help = "the services that run" },
	{ .section = "pennypost", .name = "libexec_dir", .type = CONF_PATH,
	  .def = LIBEXECDIR "/pennypost", .at = offsetof(struct plan, libexec_dir),
	  .help = "where their programs are" },
	{ .section = "pennypost", .name = "backlog", .type = CONF_NUMBER, .def = "1024", .min = "1",
	  .max = "65535", .at = offsetof(struct plan, backlog),
	  .help = "connections that may wait to be accepted, for each socket" },
};

const size_t n_plan_keys = COUNTOF(plan_keys);

/* What a listen word may name. */
static const struct { enum service_id service; const char *name; bool implicit_tls; } listener_names[] = {
	{ SMTPD, "smtp", false }, { SMTPD, "submission", false }, { SMTPD, "submissions", true },
	{ POP3D, "pop3", false }, { POP3D, "pop3s", true },
	{ IMAPD, "imap", false }, { IMAPD, "imaps", true },
	{ DELIVER, "lmtp", false },
};

/* The sockets between the services. Each lies in the root directory of the one that may connect, and
 * belongs to that one's account. */
static const struct internal {
	enum service_id server, client;
	const char *name, *path;
	bool seqpacket;
} internals[] = {
	{ AUTHD, IMAPD, "auth", "jail/imapd/auth.sock", true },
	{ AUTHD, POP3D, "auth", "jail/pop3d/auth.sock", true },
	{ AUTHD, SMTPD, "auth", "jail/smtpd/auth.sock", true },
	{ AUTHD, DELIVER, "store", "jail/deliver/store.sock", true },
	{ DELIVER, SMTPD, "deliver", "jail/smtpd/deliver.sock", false },
};
enum { INTERNAL_MODE = 0600 };

static enum err_kind add_spec(struct service_plan *sp, const struct listen_spec *s, struct err *e)
{
	if (sp->n == SD_FDS_MAX)
		return err_set(e, ERR_LIMIT, 0, "more than %d sockets for one service", SD_FDS_MAX);
	sp->listen[sp->n++] = *s;
	return ERR_OK;
}

static enum err_kind add_word(struct plan *p, enum service_id id, const char *word, bool tls,
    struct err *e)
{
	struct listen_spec s;
	enum err_kind k = listen_parse(str_of(word), &s, e);

	if (k != ERR_OK)
		return err_note(e, "[%s]", service_names[id]);
	for (size_t i = 0; i < COUNTOF(listener_names); i++) {
		if (listener_names[i].service != id || strcmp(listener_names[i].name, s.name) != 0)
			continue;
		if (!listener_names[i].implicit_tls || tls)
			return add_spec(&p->service[id], &s, e);
		log_event(LOG_LEVEL_INFO, "supervisor.listen.skipped", KV_Z("listener", word),
		    KV_Z("why", "no TLS certificate is configured"));
		return ERR_OK;
	}
	return err_set(e, ERR_SYNTAX, 0, "[%s] listen: \"%s\": there is no listener \"%s\"",
	    service_names[id], word, s.name);
}

static enum err_kind add_listeners(struct plan *p, struct conf *c, enum service_id id, struct err *e)
{
	struct conf_list words;
	struct conf_key key = settings_listen_key(service_names[id], 0);
	struct settings set;
	enum err_kind k;

	if ((k = conf_get(c, service_names[id], &key, 1, &words, e)) != ERR_OK ||
	    (k = settings_get(c, service_names[id], &set, e)) != ERR_OK)
		return k;
	for (size_t i = 0; i < words.n; i++) {
		k = add_word(p, id, words.v[i], set.tls_certificate[0] != '\0', e);
		if (k != ERR_OK)
			return k;
	}
	return ERR_OK;
}

static enum err_kind account_of(const struct plan *p, enum service_id id, uid_t *out, struct err *e)
{
	const char *name = id == SMTPD ? p->set.smtp_user : p->set.user;
	const struct passwd *pw;

	*out = (uid_t)-1;
	if (geteuid() != 0)
		return ERR_OK;
	if ((pw = getpwnam(name)) == NULL)
		return err_set(e, ERR_SYNTAX, 0, "[store]: there is no account \"%s\"", name);
	*out = pw->pw_uid;
	return ERR_OK;
}

static enum err_kind add_internals(struct plan *p, struct err *e)
{
	for (size_t i = 0; i < COUNTOF(internals); i++) {
		const struct internal *in = &internals[i];
		struct listen_spec s = { .seqpacket = in->seqpacket, .mode = INTERNAL_MODE };
		enum err_kind k;

		if (!p->service[in->server].wanted || !p->service[in->client].wanted)
			continue;
		snprintf(s.name, sizeof s.name, "%s", in->name);
		snprintf(s.path, sizeof s.path, "%s", in->path);
		if ((k = account_of(p, in->client, &s.owner, e)) != ERR_OK ||
		    (k = add_spec(&p->service[in->server], &s, e)) != ERR_OK)
			return k;
	}
	return ERR_OK;
}

static enum err_kind choose_services(struct plan *p, struct err *e)
{
	for (size_t i = 0; i < p->services.n; i++) {
		size_t id = 0;

		while (id < N_SERVICES && strcmp(service_names[id], p->services.v[i]) != 0)
			id++;
		if (id == N_SERVICES)
			return err_set(e, ERR_SYNTAX, 0, "[pennypost] services: there is no \"%s\"",
			    p->services.v[i]);
		p->service[id].wanted = true;
	}
	return ERR_OK;
}

static enum err_kind fill_plan(struct plan *p, const char *path, struct err *e)
{
	struct conf *theirs = NULL;
	enum err_kind k;

	if ((k = conf_read(path, settings_sections, &p->conf, e)) != ERR_OK ||
	    (k = settings_get(p->conf, "pennypost", &p->set, e)) != ERR_OK ||
	    (k = conf_get(p->conf, "pennypost", plan_keys, n_plan_keys, p, e)) != ERR_OK ||
	    (k = conf_check_unknown(p->conf, "pennypost", e)) != ERR_OK ||
	    (k = choose_services(p, e)) != ERR_OK ||
	    (k = conf_read(path, settings_sections, &theirs, e)) != ERR_OK)
		return k;
	for (size_t id = 0; id < N_SERVICES && k == ERR_OK; id++)
		if (p->service[id].wanted)
			k = add_listeners(p, theirs, (enum service_id)id, e);
	conf_free(&theirs);
	return k == ERR_OK ? add_internals(p, e) : k;
}

enum err_kind plan_load(const char *conf_path, struct plan **out, struct err *e)
{
	struct plan *p = calloc(1, sizeof *p);
	enum err_kind k;

	if (p == NULL)
		return err_sys(e, ENOMEM, "configuration");
	k = fill_plan(p, conf_path, e);
	if (k == ERR_OK)
		*out = p;
	else
		plan_free(&p);
	return k;
}

void plan_free(struct plan **p)
{
	if (*p == NULL)
		return;
	conf_free(&(*p)->conf);
	free(*p);
	*p = NULL;
}
