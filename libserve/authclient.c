/* SPDX-License-Identifier: ISC */
/* One question, one connection. Invariant: only a well-formed answer to this very question that says yes
 * gives ERR_OK; whatever else happens is ERR_TEMP. A question changes nothing in authd but failure counts,
 * so it is put again when authd died before it answered. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "authclient.h"
#include "authframe.h"
#include "fdpass.h"

enum {
	ASK_RESTART_MS = 1000,		/* how long authd may take to come back */
	ASK_BUSY_MS = 5000,		/* how long its queue of connections may stay full */
	ASK_PAUSE_MS = 20,
	ASK_RESENDS_MAX = 5,		/* a question that kills authd is not put for ever */
	ASK_ANSWER_MS = 15000,		/* PAM's 10 s, and a queue before it */
};

struct ask {
	const char *path;
	struct str packet;
	uint32_t id;
	uint64_t deadline;		/* of everything */
};

struct answer {
	char packet[AUTHFRAME_MAX_OCTETS];
	struct authframe f;
	enum authframe_verdict verdict;
	uint64_t wait_ms;
	int fd;
};

static uint64_t left_ms(uint64_t deadline)
{
	uint64_t now = clock_mono_ms();

	return now < deadline ? deadline - now : 0;
}

static enum err_kind open_socket(const char *path, int *out, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof sa.sun_path)
		return err_set(e, ERR_TEMP, 0, "%s: name too long for a socket", path);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, ERR_TEMP, errno, "socket");
	if (connect(fd, (const struct sockaddr *)&sa, sizeof sa) != 0) {
		int why = errno;

		close(fd);
		if (why == EAGAIN || why == EINTR)
			return err_set(e, ERR_BUSY, why, "%s: too many wait for authd", path);
		if (why == ECONNREFUSED || why == ENOENT)
			return err_set(e, ERR_NOENT, why, "%s: authd does not listen", path);
		err_sys(e, why, "connect to %s", path);
		return ERR_TEMP;
	}
	*out = fd;
	return ERR_OK;
}

static enum err_kind read_answer(const struct ask *q, struct answer *a, size_t n, struct err *e)
{
	const struct str *f = a->f.field;
	struct stat st;

	if (authframe_parse(str_n(a->packet, n), &a->f, e) != ERR_OK)
		return ERR_TEMP;
	if (a->f.type != AUTHFRAME_ANSWER || a->f.id != q->id || a->f.n != AUTHFRAME_ANSWER_N ||
	    f[AUTHFRAME_ANSWER_VERDICT].n != 1 || f[AUTHFRAME_ANSWER_WAIT_MS].n != 4 ||
	    f[AUTHFRAME_ANSWER_USER].n > AUTH_USER_MAX_OCTETS ||
	    str_has(f[AUTHFRAME_ANSWER_USER], '\0'))
		return err_set(e, ERR_TEMP, 0, "authd answered something else");
	a->verdict = (enum authframe_verdict)(uint8_t)f[AUTHFRAME_ANSWER_VERDICT].p[0];
	a->wait_ms = get_le32(f[AUTHFRAME_ANSWER_WAIT_MS].p);
	if (a->fd != -1 && (a->verdict != AUTHFRAME_YES || fstat(a->fd, &st) != 0 ||
	    !S_ISDIR(st.st_mode)))
		return err_set(e, ERR_TEMP, 0, "authd sent a descriptor that was not due");
	return ERR_OK;
}

/* Errors: ERR_BUSY, ERR_NOENT (nobody listens) and ERR_EOF (no answer): may be put again; ERR_TEMP. */
static enum err_kind ask_once(const struct ask *q, struct answer *a, struct err *e)
{
	uint64_t wait = left_ms(q->deadline);
	enum err_kind r;
	size_t n = 0;
	int sock = -1;

	r = open_socket(q->path, &sock, e);
	if (r != ERR_OK)
		return r;
	r = fd_send(sock, q->packet, -1, e);
	if (r == ERR_OK)
		r = fd_recv(sock, a->packet, sizeof a->packet,
		    wait < ASK_ANSWER_MS ? wait : ASK_ANSWER_MS, &n, &a->fd, e);
	close(sock);
	if (r != ERR_OK)
		return r == ERR_EOF || r == ERR_BUSY ? r : ERR_TEMP;
	r = read_answer(q, a, n, e);
	if (r != ERR_OK && a->fd != -1) {
		close(a->fd);
		a->fd = -1;
	}
	return r;
}

static enum err_kind ask(const struct ask *q, struct answer *a, struct err *e)
{
	uint64_t lost_at = 0;
	struct err why = { 0 };

	for (int resent = 0;;) {
		enum err_kind r = ask_once(q, a, &why);
		uint64_t now = clock_mono_ms();

		if (r == ERR_OK)
			return ERR_OK;
		if (lost_at == 0)
			lost_at = now;
		if (r == ERR_TEMP || now >= q->deadline ||
		    now - lost_at > (r == ERR_BUSY ? ASK_BUSY_MS : ASK_RESTART_MS) ||
		    (r == ERR_EOF && ++resent > ASK_RESENDS_MAX))
			return err_set(e, ERR_TEMP, why.sys, "%s", why.text);
		clock_sleep_ms(ASK_PAUSE_MS);
	}
}

/* The delay is served here and not in authd, whose processes are few; whoever hangs up meanwhile still
 * occupies one of his address's connections. */
static void serve_delay(const struct ask *q, uint64_t wait_ms)
{
	uint64_t now = clock_mono_ms(), left;
	uint64_t until = now + wait_ms < q->deadline ? now + wait_ms : q->deadline;

	while ((left = left_ms(until)) > 0)
		clock_sleep_ms(left);
}

static enum err_kind verdict_kind(enum authframe_verdict v, struct err *e)
{
	switch (v) {
	case AUTHFRAME_YES:
		return ERR_OK;
	case AUTHFRAME_DENIED:
		return err_set(e, ERR_DENIED, 0, "refused");
	case AUTHFRAME_LIMIT:
		return err_set(e, ERR_LIMIT, 0, "too-many-failures");
	case AUTHFRAME_NOENT:
		return err_set(e, ERR_NOENT, 0, "no such user");
	case AUTHFRAME_TEMP:
		break;
	}
	return err_set(e, ERR_TEMP, 0, "authd's source gave no answer");
}

static enum err_kind put_question(const char *path, struct authframe *f, bool want_store,
    char *user_out, int *out_fd, struct err *e)
{
	struct buf packet = BUF_INIT(AUTHFRAME_MAX_OCTETS);
	struct answer a = { .fd = -1 };
	struct str user;
	struct ask q;
	enum err_kind r;

	f->id = (uint32_t)clock_mono_us() ^ (uint32_t)getpid() << 16;
	buf_reserve(&packet, packet.max);	/* at once: no copy of a password in freed memory */
	if (!authframe_put(&packet, f)) {
		buf_wipe(&packet);
		return err_set(e, ERR_TEMP, 0, "question too long or no memory");
	}
	q = (struct ask){ path, buf_str(&packet), f->id, clock_mono_ms() + AUTH_WAIT_MAX_MS };
	r = ask(&q, &a, e);
	buf_wipe(&packet);
	if (r != ERR_OK)
		return r;
	serve_delay(&q, a.wait_ms);
	r = verdict_kind(a.verdict, e);
	if (r != ERR_OK)
		return r;
	user = a.f.field[AUTHFRAME_ANSWER_USER];
	if (user.n == 0 || want_store != (a.fd != -1)) {
		if (a.fd != -1)
			close(a.fd);
		return err_set(e, ERR_TEMP, 0, "authd's yes is not complete");
	}
	memcpy(user_out, user.p, user.n);
	user_out[user.n] = '\0';
	*out_fd = a.fd;
	return ERR_OK;
}

enum err_kind auth_login(const char *path, const struct auth_question *q, bool want_store,
    struct auth_grant *out, struct err *e)
{
	char flags = (char)((q->tls ? AUTHFRAME_TLS : 0) | (want_store ? AUTHFRAME_WANT_STORE : 0));
	struct authframe f = { .type = AUTHFRAME_LOGIN, .n = 7, .field = {
		str_of(q->service), str_of(q->mechanism), str_of(q->peer_ip), str_n(&flags, 1),
		str_head(q->user, AUTH_USER_MAX_OCTETS), q->password,
		str_head(q->authzid, AUTH_USER_MAX_OCTETS) } };

	/* What is too long can't be right. It is put without its password, so that authd refuses, logs and
	 * delays it like any other guess. */
	if (q->user.n > AUTH_USER_MAX_OCTETS || q->authzid.n > AUTH_USER_MAX_OCTETS ||
	    q->password.n > AUTH_PASSWORD_MAX_OCTETS)
		f.field[5] = STR("");
	return put_question(path, &f, want_store, out->user, &out->store_fd, e);
}

enum err_kind auth_store(const char *path, struct str user, bool want_store, char *user_out,
    int *out_fd, struct err *e)
{
	char flags = want_store ? AUTHFRAME_WANT_STORE : 0;
	struct authframe f = { .type = AUTHFRAME_STORE, .n = 2, .field = { str_n(&flags, 1), user } };

	if (user.n > AUTH_USER_MAX_OCTETS)
		return err_set(e, ERR_NOENT, 0, "no user has a name that long");
	return put_question(path, &f, want_store, user_out, out_fd, e);
}
