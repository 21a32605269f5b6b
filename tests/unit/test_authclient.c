/* SPDX-License-Identifier: ISC */
/* The asking side against an authd that misbehaves: never a wrong yes, never a wrong no (faults, W-A2). */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../libbase/clock.h"
#include "../../libserve/authclient.h"
#include "../../libserve/authframe.h"
#include "../../libserve/fdpass.h"
#include "tap.h"

enum send_fd { NO_FD, DIR_FD, FILE_FD };

/* How the fake authd answers each question. */
struct script {
	int hang_ups;			/* so many questions get no answer */
	uint64_t listens_after_ms;
	uint32_t id_xor;
	uint8_t version, type, verdict;
	uint32_t wait_ms;
	const char *user;
	enum send_fd fd;
	bool password_must_be_empty;
};

static char path[64];

static void answer(int sock, const struct script *s)
{
	char in[AUTHFRAME_MAX_OCTETS], wait_le[4];
	struct authframe q, f = { .type = s->type, .n = 3 };
	struct buf b = BUF_INIT(AUTHFRAME_MAX_OCTETS);
	int dir = s->fd == DIR_FD ? open("/", O_RDONLY | O_DIRECTORY) :
	    s->fd == FILE_FD ? open("/dev/null", O_RDONLY) : -1;
	size_t n;
	int fd;
	struct err e;

	if (fd_recv(sock, in, sizeof in, 5000, &n, &fd, &e) != ERR_OK ||
	    authframe_parse(str_n(in, n), &q, &e) != ERR_OK)
		_exit(1);
	if (s->password_must_be_empty && q.field[5].n != 0)
		_exit(1);
	for (size_t i = 0; i < 4; i++)
		wait_le[i] = (char)(s->wait_ms >> (8 * i));
	f.id = q.id ^ s->id_xor;
	f.field[0] = str_n((const char *)&s->verdict, 1);
	f.field[1] = str_n(wait_le, 4);
	f.field[2] = str_of(s->user);
	if (!authframe_put(&b, &f))
		_exit(1);
	b.p[0] = (char)s->version;
	if (fd_send(sock, buf_str(&b), dir, &e) != ERR_OK)
		_exit(1);
	buf_free(&b);
	if (dir != -1)
		close(dir);
}

static pid_t start(const struct script *s)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	pid_t pid;

	memcpy(sa.sun_path, path, strlen(path) + 1);
	unlink(path);
	if (s->listens_after_ms == 0)
		REQUIRE(bind(sock, (void *)&sa, sizeof sa) == 0 && listen(sock, 10) == 0);
	pid = fork();
	if (pid == 0) {
		alarm(30);
		if (s->listens_after_ms > 0) {
			clock_sleep_ms(s->listens_after_ms);
			if (bind(sock, (void *)&sa, sizeof sa) != 0 || listen(sock, 10) != 0)
				_exit(1);
		}
		for (int i = 0;; i++) {
			int c = accept(sock, NULL, NULL);

			if (i >= s->hang_ups)
				answer(c, s);
			close(c);
		}
	}
	close(sock);
	return pid;
}

static struct auth_grant grant;
static uint64_t took_ms;

static enum err_kind ask(const struct script *s, struct str password, bool want_store)
{
	const struct auth_question q = { "imap", "192.0.2.1", "PLAIN", STR_INIT("alice"), password,
		STR_INIT(""), true };
	struct err e;
	uint64_t t;
	pid_t pid = start(s);
	enum err_kind r;

	grant = (struct auth_grant){ .store_fd = -1 };
	t = clock_mono_ms();
	r = auth_login(path, &q, want_store, &grant, &e);
	took_ms = clock_mono_ms() - t;
	CHECK(r == ERR_OK || r == e.kind);
	if (r == ERR_OK && grant.store_fd != -1)
		close(grant.store_fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

#define ANSWER .version = AUTHFRAME_VERSION, .type = 'A'

static void test_answers(void)
{
	static const struct { struct script s; bool want_store; enum err_kind r; } t[] = {
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice", .fd = DIR_FD }, true, ERR_OK },
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice" }, false, ERR_OK },
		{ { ANSWER, .verdict = AUTHFRAME_DENIED, .user = "" }, true, ERR_DENIED },
		{ { ANSWER, .verdict = AUTHFRAME_LIMIT, .user = "" }, true, ERR_LIMIT },
		{ { ANSWER, .verdict = AUTHFRAME_TEMP, .user = "" }, true, ERR_TEMP },
		{ { ANSWER, .verdict = AUTHFRAME_NOENT, .user = "" }, true, ERR_NOENT },
		/* a yes must be whole, right and to this question */
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice" }, true, ERR_TEMP },
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice", .fd = FILE_FD }, true, ERR_TEMP },
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice", .fd = DIR_FD }, false, ERR_TEMP },
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "", .fd = DIR_FD }, true, ERR_TEMP },
		{ { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice", .fd = DIR_FD, .id_xor = 1 }, true, ERR_TEMP },
		{ { ANSWER, .verdict = 0, .user = "alice", .fd = DIR_FD }, true, ERR_TEMP },
		{ { ANSWER, .verdict = 77, .user = "alice" }, false, ERR_TEMP },
		{ { ANSWER, .verdict = AUTHFRAME_DENIED, .user = "", .fd = DIR_FD }, true, ERR_TEMP },
		{ { .version = 2, .type = 'A', .verdict = AUTHFRAME_YES, .user = "alice" }, false, ERR_TEMP },
		{ { .version = 1, .type = 'L', .verdict = AUTHFRAME_YES, .user = "alice" }, false, ERR_TEMP },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		CHECK_AT(ask(&t[i].s, STR("penny"), t[i].want_store) == t[i].r, i);
		CHECK_AT(took_ms < 1000, i);
		CHECK_AT(t[i].r != ERR_OK || strcmp(grant.user, "alice") == 0, i);
	}
}

static void test_delay(void)
{
	const struct script s = { ANSWER, .verdict = AUTHFRAME_DENIED, .user = "", .wait_ms = 400 };

	CHECK(ask(&s, STR("x"), false) == ERR_DENIED);
	CHECK(took_ms >= 400 && took_ms < 1000);
}

static void test_restart(void)
{
	const struct script once = { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice", .hang_ups = 2 };
	const struct script late = { ANSWER, .verdict = AUTHFRAME_YES, .user = "alice",
		.listens_after_ms = 400 };
	const struct script never = { ANSWER, .hang_ups = 1000 };
	const struct script nobody = { ANSWER, .listens_after_ms = 20000 };

	CHECK(ask(&once, STR("penny"), false) == ERR_OK);
	CHECK(ask(&late, STR("penny"), false) == ERR_OK && took_ms >= 350);
	CHECK(ask(&never, STR("penny"), false) == ERR_TEMP && took_ms < 1500);
	CHECK(ask(&nobody, STR("penny"), false) == ERR_TEMP && took_ms >= 900 && took_ms < 2000);
}

static void test_too_long(void)
{
	static char x[70000];
	const struct script s = { ANSWER, .verdict = AUTHFRAME_DENIED, .user = "",
		.password_must_be_empty = true };
	const struct script t = { ANSWER, .verdict = AUTHFRAME_DENIED, .user = "" };
	char user[AUTH_USER_MAX_OCTETS + 1];
	struct err e;
	int fd;

	memset(x, 'x', sizeof x - 1);
	CHECK(ask(&t, str_n(x, AUTH_PASSWORD_MAX_OCTETS), false) == ERR_DENIED);
	CHECK(ask(&s, str_n(x, AUTH_PASSWORD_MAX_OCTETS + 1), false) == ERR_DENIED);
	CHECK(ask(&s, str_n(x, sizeof x - 1), false) == ERR_DENIED);
	CHECK(auth_store(path, str_n(x, AUTH_USER_MAX_OCTETS + 1), false, user, &fd, &e) == ERR_NOENT);
	CHECK(auth_store(x, STR("alice"), false, user, &fd, &e) == ERR_TEMP);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	snprintf(path, sizeof path, "/tmp/test_authclient.%ld", (long)getpid());
	test_answers();
	test_delay();
	test_restart();
	test_too_long();
	unlink(path);
	return tap_done();
}
