/* SPDX-License-Identifier: ISC */
/* Packets come from processes that talk to strangers: every octet is checked here before anything is done
 * with it. What is not right closes the peer: there is no error answer to learn from. */
#include <arpa/inet.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "../libserve/fdpass.h"
#include "monitor.h"

enum { MON_NAME_MAX = 16, MON_IP_MAX = INET6_ADDRSTRLEN - 1 };

enum { LOGIN_SERVICE, LOGIN_MECHANISM, LOGIN_IP, LOGIN_FLAGS, LOGIN_USER, LOGIN_PASSWORD, LOGIN_AUTHZID };
static const struct mon_field login_fields[] = {
	[LOGIN_SERVICE] = { "service", 1, MON_NAME_MAX },
	[LOGIN_MECHANISM] = { "mechanism", 1, MON_NAME_MAX },
	[LOGIN_IP] = { "peer_ip", 1, MON_IP_MAX },
	[LOGIN_FLAGS] = { "flags", 1, 1 },
	[LOGIN_USER] = { "user", 0, AUTH_USER_MAX_OCTETS },
	[LOGIN_PASSWORD] = { "password", 0, AUTH_PASSWORD_MAX_OCTETS },
	[LOGIN_AUTHZID] = { "authzid", 0, AUTH_USER_MAX_OCTETS },
};

enum { STORE_FLAGS, STORE_USER };
static const struct mon_field store_fields[] = {
	[STORE_FLAGS] = { "flags", 1, 1 },
	[STORE_USER] = { "user", 0, AUTH_USER_MAX_OCTETS },
};

static enum err_kind run_login(struct mon *m, const struct authframe *f, struct err *e);
static enum err_kind run_store(struct mon *m, const struct authframe *f, struct err *e);

const struct mon_req mon_reqs[] = {
	{ AUTHFRAME_LOGIN, "login", MON_ON_AUTH, 1, login_fields, COUNTOF(login_fields), run_login },
	{ AUTHFRAME_STORE, "store", MON_ON_STORE, 0, store_fields, COUNTOF(store_fields), run_store },
};
const size_t n_mon_reqs = COUNTOF(mon_reqs);

/* -- answers -- */

static enum authframe_verdict verdict_of(enum err_kind r)
{
	switch (r) {
	case ERR_OK:
		return AUTHFRAME_YES;
	case ERR_DENIED:
		return AUTHFRAME_DENIED;
	case ERR_LIMIT:
		return AUTHFRAME_LIMIT;
	case ERR_NOENT:
		return AUTHFRAME_NOENT;
	default:
		return AUTHFRAME_TEMP;
	}
}

/* Closes the store's descriptor, sent or not. */
static enum err_kind answer(struct mon *m, const struct authframe *q, enum err_kind r,
    struct login_answer *a, struct err *e)
{
	uint64_t now = clock_mono_ms();
	uint64_t wait = a->release_ms > now ? a->release_ms - now : 0;
	char verdict = (char)verdict_of(r), wait_le[4];
	struct authframe f = { .type = AUTHFRAME_ANSWER, .id = q->id, .n = AUTHFRAME_ANSWER_N };
	struct buf packet = BUF_INIT(AUTHFRAME_MAX_OCTETS);
	enum err_kind sent = ERR_OK;

	for (size_t i = 0; i < sizeof wait_le; i++)
		wait_le[i] = (char)(wait >> (8 * i));
	f.field[AUTHFRAME_ANSWER_VERDICT] = str_n(&verdict, 1);
	f.field[AUTHFRAME_ANSWER_WAIT_MS] = str_n(wait_le, sizeof wait_le);
	f.field[AUTHFRAME_ANSWER_USER] = str_of(r == ERR_OK ? a->user : "");
	if (!authframe_put(&packet, &f))
		sent = err_set(e, ERR_TEMP, 0, "no memory for an answer");
	else
		sent = fd_send(m->sock, buf_str(&packet), a->store_fd, e);
	buf_free(&packet);
	if (a->store_fd != -1)
		close(a->store_fd);
	return sent;
}

/* -- questions -- */

static bool word_is_one_of(struct str w, const char *const *words)
{
	while (*words != NULL && !str_eq(w, str_of(*words)))
		words++;
	return *words != NULL;
}

static bool ip_is_valid(const char *ip)
{
	unsigned char space[16];

	return strcmp(ip, "local") == 0 || inet_pton(AF_INET, ip, space) == 1 ||
	    inet_pton(AF_INET6, ip, space) == 1;
}

static bool has_nul(const struct authframe *f, size_t first, size_t last)
{
	for (size_t i = first; i <= last; i++) {
		if (str_has(f->field[i], '\0'))
			return true;
	}
	return false;
}

static enum err_kind run_login(struct mon *m, const struct authframe *f, struct err *e)
{
	static const char *const services[] = { "imap", "pop3", "smtp", NULL };
	static const char *const mechanisms[] = { "PLAIN", "LOGIN", "USER", NULL };
	char service[MON_NAME_MAX + 1], mechanism[MON_NAME_MAX + 1], ip[MON_IP_MAX + 1];
	unsigned flags = (unsigned char)f->field[LOGIN_FLAGS].p[0];
	struct auth_question q = { service, ip, mechanism, f->field[LOGIN_USER],
		f->field[LOGIN_PASSWORD], f->field[LOGIN_AUTHZID], (flags & AUTHFRAME_TLS) != 0 };
	bool want_store = (flags & AUTHFRAME_WANT_STORE) != 0;
	struct login_answer a;
	enum err_kind r;

	if (!word_is_one_of(f->field[LOGIN_SERVICE], services) ||
	    !word_is_one_of(f->field[LOGIN_MECHANISM], mechanisms) ||
	    has_nul(f, LOGIN_SERVICE, LOGIN_IP) ||
	    (flags & ~(unsigned)(AUTHFRAME_TLS | AUTHFRAME_WANT_STORE)) != 0)
		return err_set(e, ERR_SYNTAX, 0, "login with a field that can't be");
	for (size_t i = LOGIN_SERVICE; i <= LOGIN_IP; i++) {
		char *to = i == LOGIN_SERVICE ? service : i == LOGIN_MECHANISM ? mechanism : ip;

		memcpy(to, f->field[i].p, f->field[i].n);
		to[f->field[i].n] = '\0';
	}
	if (!ip_is_valid(ip))
		return err_set(e, ERR_SYNTAX, 0, "login from no address");
	if (want_store && !m->may_have_stores)
		return err_set(e, ERR_SYNTAX, 0, "peer may have no stores");
	r = login_check(m->login, &q, want_store, m->asked_ms, &a);
	return answer(m, f, r, &a, e);
}

static enum err_kind run_store(struct mon *m, const struct authframe *f, struct err *e)
{
	unsigned flags = (unsigned char)f->field[STORE_FLAGS].p[0];
	struct login_answer a;
	struct err why = { 0 };
	enum err_kind r;

	if ((flags & ~(unsigned)AUTHFRAME_WANT_STORE) != 0)
		return err_set(e, ERR_SYNTAX, 0, "store with a flag that can't be");
	r = login_find(m->login, f->field[STORE_USER], flags != 0, &a, &why);
	if (r != ERR_OK && r != ERR_NOENT)
		log_event(LOG_LEVEL_ERR, "auth.store.temp", KV_S("user", f->field[STORE_USER]),
		    KV_ERR(&why));
	return answer(m, f, r, &a, e);
}

enum err_kind mon_parse(struct str packet, unsigned where, struct authframe *f,
    const struct mon_req **out, struct err *e)
{
	const struct mon_req *r = mon_reqs;

	if (authframe_parse(packet, f, e) != ERR_OK)
		return ERR_SYNTAX;
	while (r < mon_reqs + n_mon_reqs && (r->type != f->type || (r->where & where) == 0))
		r++;
	if (r == mon_reqs + n_mon_reqs)
		return err_set(e, ERR_SYNTAX, 0, "no such question here: type %u", f->type);
	if (f->n != r->n_fields)
		return err_set(e, ERR_SYNTAX, 0, "%s with %zu fields", r->name, f->n);
	for (size_t i = 0; i < f->n; i++) {
		if (f->field[i].n < r->fields[i].min || f->field[i].n > r->fields[i].max)
			return err_set(e, ERR_SYNTAX, 0, "%s: %s is %zu octets long", r->name,
			    r->fields[i].name, f->field[i].n);
	}
	*out = r;
	return ERR_OK;
}

bool mon_peer_may(const struct mon_peers *p, uid_t uid, unsigned where, bool *out_stores)
{
	*out_stores = uid == 0 || uid == geteuid() || uid == p->store_user;
	return *out_stores || (where == MON_ON_AUTH && uid == p->smtp_user);
}

static enum err_kind serve_one(struct mon *m, struct str packet, unsigned *asked, struct err *e)
{
	const struct mon_req *r;
	struct authframe f;
	unsigned *n;

	if (mon_parse(packet, m->where, &f, &r, e) != ERR_OK)
		return ERR_SYNTAX;
	n = &asked[r - mon_reqs];
	if (*n >= (r->often > 0 ? r->often : m->questions_max))
		return err_set(e, ERR_SYNTAX, 0, "%s asked too often", r->name);
	++*n;
	return r->run(m, &f, e);
}

enum err_kind mon_serve(struct mon *m, struct err *e)
{
	unsigned asked[COUNTOF(mon_reqs)] = { 0 };
	char packet[AUTHFRAME_MAX_OCTETS];
	enum err_kind r;

	for (;;) {
		size_t n = 0;
		int fd = -1;

		r = fd_recv(m->sock, packet, sizeof packet, MON_IDLE_MS, &n, &fd, e);
		if (r != ERR_OK)
			break;
		m->asked_ms = clock_mono_ms();
		if (fd != -1) {
			close(fd);
			r = err_set(e, ERR_SYNTAX, 0, "nobody sends descriptors to authd");
		} else {
			r = serve_one(m, str_n(packet, n), asked, e);
		}
		secret_wipe(packet, n);
		if (r != ERR_OK)
			break;
	}
	return r == ERR_EOF || r == ERR_TIMEOUT ? ERR_OK : r;
}
