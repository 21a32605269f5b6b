/* SPDX-License-Identifier: ISC */
/* The monitor's table against its page; which packets are questions; what closes a peer. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../authd/monitor.h"
#include "../../libserve/fdpass.h"
#include "tap.h"

static char *page;

static void read_page(void)
{
	const char *src = getenv("PENNY_SRC");
	char path[4096];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "%s/authd/MONITOR.md", src != NULL ? src : ".");
	f = fopen(path, "r");
	REQUIRE(f != NULL);
	page = calloc(1, 1 << 20);
	n = fread(page, 1, (1 << 20) - 1, f);
	fclose(f);
	REQUIRE(n > 0);
}

static const char *where_word(unsigned where)
{
	return where == MON_ON_AUTH ? "auth" : where == MON_ON_STORE ? "store" : "?";
}

/* Each row of the table is a row of the page, and the page has no more. */
static void test_page(void)
{
	size_t rows = 0;

	for (const struct mon_req *r = mon_reqs; r < mon_reqs + n_mon_reqs; r++) {
		struct buf row = BUF_INIT(4096);

		buf_printf(&row, "| `%c` | %s | %s | ", r->type, r->name, where_word(r->where));
		if (r->often > 0)
			buf_printf(&row, "%u | ", r->often);
		else
			buf_printf(&row, "questions_max | ");
		for (size_t i = 0; i < r->n_fields; i++)
			buf_printf(&row, "%s%s %zu-%zu", i > 0 ? ", " : "", r->fields[i].name,
			    r->fields[i].min, r->fields[i].max);
		buf_put(&row, str_n(" |\n", 4));
		CHECK_AT(strstr(page, row.p) != NULL, r - mon_reqs);
		buf_free(&row);
	}
	for (const char *p = page; (p = strstr(p, "\n| `")) != NULL; p++)
		rows++;
	CHECK(rows == n_mon_reqs);
}

static void test_numbers(void)
{
	char line[80];

	snprintf(line, sizeof line, "at most %d octets", AUTHFRAME_MAX_OCTETS);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "| 0 | u8 version: %d |", AUTHFRAME_VERSION);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "| %d | the fields,", AUTHFRAME_HEAD_OCTETS);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "asks nothing for %d s", MON_IDLE_MS / 1000);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "\n%d recent failures", THROTTLE_FREE_FAILURES);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "with every %d further", THROTTLE_STEP_FAILURES);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "forgotten every %d s", THROTTLE_FORGET_MS / 1000);
	CHECK(strstr(page, line) != NULL);
	snprintf(line, sizeof line, "address with %d refusals", THROTTLE_PENDING_MAX);
	CHECK(strstr(page, line) != NULL);
}

static void test_verdicts(void)
{
	static const struct { int verdict; const char *says; } t[] = {
		{ AUTHFRAME_YES, "yes |" }, { AUTHFRAME_DENIED, "denied:" }, { AUTHFRAME_LIMIT, "limit:" },
		{ AUTHFRAME_TEMP, "temporary:" }, { AUTHFRAME_NOENT, "no such user" },
	};
	char line[80];

	for (size_t i = 0; i < COUNTOF(t); i++) {
		snprintf(line, sizeof line, "| %d | %s", t[i].verdict, t[i].says);
		CHECK_AT(strstr(page, line) != NULL, i);
	}
}

static void test_peers(void)
{
	uid_t me = geteuid(), store = me + 11, smtp = me + 12, other = me + 13;
	const struct mon_peers p = { store, smtp }, none = { (uid_t)-1, (uid_t)-1 };
	bool stores;

	CHECK(mon_peer_may(&p, 0, MON_ON_AUTH, &stores) && stores);
	CHECK(mon_peer_may(&p, me, MON_ON_STORE, &stores) && stores);
	CHECK(mon_peer_may(&p, store, MON_ON_STORE, &stores) && stores);
	CHECK(mon_peer_may(&p, smtp, MON_ON_AUTH, &stores) && !stores);
	CHECK(!mon_peer_may(&p, smtp, MON_ON_STORE, &stores));
	CHECK(!mon_peer_may(&p, other, MON_ON_AUTH, &stores));
	CHECK(!mon_peer_may(&none, smtp, MON_ON_AUTH, &stores));
}

/* -- packets -- */

enum { LOGIN_FIELDS = 7 };
static const struct str a_login[LOGIN_FIELDS] = { STR_INIT("imap"), STR_INIT("PLAIN"),
	STR_INIT("192.0.2.1"), STR_INIT("\1"), STR_INIT("nobody"), STR_INIT("x"), STR_INIT("") };

static struct str packet_of(struct buf *b, uint8_t type, const struct str *fields, size_t n)
{
	struct authframe f = { .type = type, .id = 7, .n = n };

	for (size_t i = 0; i < n; i++)
		f.field[i] = fields[i];
	buf_reset(b);
	REQUIRE(authframe_put(b, &f));
	return buf_str(b);
}

static void test_parse(void)
{
	static char longer[1025];
	static const struct { size_t field; struct str value; bool ok; } t[] = {
		{ 0, { longer, 0 }, false }, { 0, { longer, 17 }, false }, { 2, { longer, 46 }, false },
		{ 3, { longer, 0 }, false }, { 3, { longer, 2 }, false },
		{ 4, { longer, 0 }, true }, { 4, { longer, 255 }, true }, { 4, { longer, 256 }, false },
		{ 5, { longer, 1024 }, true }, { 5, { longer, 1025 }, false },
		{ 6, { longer, 255 }, true }, { 6, { longer, 256 }, false },
	};
	struct buf b = BUF_INIT(AUTHFRAME_MAX_OCTETS);
	const struct mon_req *r;
	struct authframe f;
	struct str fields[LOGIN_FIELDS];

	CHECK(mon_parse(packet_of(&b, 'L', a_login, 7), MON_ON_AUTH, &f, &r, NULL) == ERR_OK);
	CHECK(r->type == 'L');
	CHECK(mon_parse(packet_of(&b, 'L', a_login, 7), MON_ON_STORE, &f, &r, NULL) == ERR_SYNTAX);
	CHECK(mon_parse(packet_of(&b, 'L', a_login, 6), MON_ON_AUTH, &f, &r, NULL) == ERR_SYNTAX);
	CHECK(mon_parse(packet_of(&b, 'S', a_login + 3, 2), MON_ON_STORE, &f, &r, NULL) == ERR_OK);
	CHECK(mon_parse(packet_of(&b, 'S', a_login + 3, 2), MON_ON_AUTH, &f, &r, NULL) == ERR_SYNTAX);
	CHECK(mon_parse(packet_of(&b, 'A', a_login, 7), MON_ON_AUTH, &f, &r, NULL) == ERR_SYNTAX);
	CHECK(mon_parse(str_n("", 0), MON_ON_AUTH, &f, &r, NULL) == ERR_SYNTAX);
	for (size_t i = 0; i < COUNTOF(t); i++) {
		memcpy(fields, a_login, sizeof fields);
		fields[t[i].field] = t[i].value;
		CHECK_AT((mon_parse(packet_of(&b, 'L', fields, 7), MON_ON_AUTH, &f, &r, NULL) ==
		    ERR_OK) == t[i].ok, i);
	}
	buf_free(&b);
}

/* -- a peer -- */

struct talk {
	int sock;
	pid_t pid;
};

static struct settings set;
static char passwd_path[64], office_path[64];

static struct talk talk_start(unsigned where, bool may_have_stores)
{
	int p[2];
	struct talk t;

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) == 0);
	t.sock = p[0];
	t.pid = fork();
	if (t.pid == 0) {
		struct login l = { .set = &set, .office = { office_path, false, geteuid(), getegid() },
			.passwd = passwdfile_new(passwd_path) };
		struct mon m = { &l, p[1], where, may_have_stores, 0, 3 };
		struct err e;
		enum err_kind r;

		close(p[0]);
		if (throttle_new(&l.throttle, &e) != ERR_OK || cache_new(&l.cache, &e) != ERR_OK)
			_exit(99);
		r = mon_serve(&m, &e);
		passwdfile_free(&l.passwd);
		_exit((int)r);
	}
	close(p[1]);
	return t;
}

/* How mon_serve ended. */
static int talk_end(struct talk *t)
{
	int status;

	close(t->sock);
	waitpid(t->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The verdict, or 0 when the peer closed. */
static int put(struct talk *t, uint8_t type, const struct str *fields, size_t n, int *out_fd)
{
	struct buf b = BUF_INIT(AUTHFRAME_MAX_OCTETS);
	char answer[AUTHFRAME_MAX_OCTETS];
	struct authframe f;
	struct err e;
	size_t got;
	int verdict = 0;

	*out_fd = -1;
	if (fd_send(t->sock, packet_of(&b, type, fields, n), -1, &e) == ERR_OK &&
	    fd_recv(t->sock, answer, sizeof answer, 10000, &got, out_fd, &e) == ERR_OK) {
		REQUIRE(authframe_parse(str_n(answer, got), &f, &e) == ERR_OK);
		CHECK(f.type == 'A' && f.id == 7 && f.n == AUTHFRAME_ANSWER_N);
		verdict = f.field[AUTHFRAME_ANSWER_VERDICT].p[0];
	}
	buf_free(&b);
	return verdict;
}

static void test_fields_that_cannot_be(void)
{
	static const struct { size_t field; struct str value; } t[] = {
		{ 0, STR_INIT("nntp") }, { 0, STR_INIT("imap\0") }, { 1, STR_INIT("GSSAPI") },
		{ 2, STR_INIT("example.org") }, { 2, STR_INIT("192.0.2.1\0") }, { 2, STR_INIT("1") },
		{ 3, STR_INIT("\4") }, { 3, STR_INIT("\xff") },
	};
	struct str fields[LOGIN_FIELDS];
	int fd;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct talk k = talk_start(MON_ON_AUTH, true);

		memcpy(fields, a_login, sizeof fields);
		fields[t[i].field] = t[i].value;
		CHECK_AT(put(&k, 'L', fields, 7, &fd) == 0, i);
		CHECK_AT(talk_end(&k) == ERR_SYNTAX, i);
	}
}

static void test_rules(void)
{
	struct str fields[LOGIN_FIELDS], store[2] = { STR("\2"), STR("alice") };
	struct talk k = talk_start(MON_ON_AUTH, true);
	struct err e;
	int fd;

	/* a login once */
	CHECK(put(&k, 'L', a_login, 7, &fd) == AUTHFRAME_DENIED && fd == -1);
	CHECK(put(&k, 'L', a_login, 7, &fd) == 0);
	CHECK(talk_end(&k) == ERR_SYNTAX);
	/* stores questions_max times */
	k = talk_start(MON_ON_STORE, true);
	for (int i = 0; i < 3; i++) {
		CHECK(put(&k, 'S', store, 2, &fd) == AUTHFRAME_YES && fd != -1);
		close(fd);
	}
	CHECK(put(&k, 'S', store, 2, &fd) == 0);
	CHECK(talk_end(&k) == ERR_SYNTAX);
	/* no stores for smtpd */
	k = talk_start(MON_ON_AUTH, false);
	memcpy(fields, a_login, sizeof fields);
	fields[3] = STR("\2");
	CHECK(put(&k, 'L', fields, 7, &fd) == 0);
	CHECK(talk_end(&k) == ERR_SYNTAX);
	/* no descriptors for us */
	k = talk_start(MON_ON_AUTH, true);
	CHECK(fd_send(k.sock, STR("\1L\0\0abcd"), 0, &e) == ERR_OK);
	CHECK(talk_end(&k) == ERR_SYNTAX);
	/* nor anything too long; a peer that goes is none to complain of */
	k = talk_start(MON_ON_AUTH, true);
	CHECK(fd_send(k.sock, str_n(page, AUTHFRAME_MAX_OCTETS + 1), -1, &e) == ERR_OK);
	CHECK(talk_end(&k) == ERR_SYNTAX);
	k = talk_start(MON_ON_AUTH, true);
	CHECK(talk_end(&k) == ERR_OK);
}

int main(void)
{
	FILE *f;
	char cmd[160];

	signal(SIGPIPE, SIG_IGN);
	read_page();
	snprintf(passwd_path, sizeof passwd_path, "/tmp/test_monitor.%ld", (long)getpid());
	snprintf(office_path, sizeof office_path, "/tmp/test_monitor.%ld.d", (long)getpid());
	set = (struct settings){ .domain = (char *)"example.org", .hostname = (char *)"h",
		.source = AUTH_SOURCE_PASSWD, .passwd_file = passwd_path };
	f = fopen(passwd_path, "w");
	REQUIRE(f != NULL && fputs("alice:!\n", f) >= 0 && fclose(f) == 0);
	REQUIRE(office_prepare(&(struct office){ office_path, false, geteuid(), getegid() }, NULL) == ERR_OK);
	test_page();
	test_numbers();
	test_verdicts();
	test_peers();
	test_parse();
	test_fields_that_cannot_be();
	test_rules();
	snprintf(cmd, sizeof cmd, "rm -rf %s %s", passwd_path, office_path);
	CHECK(system(cmd) == 0);
	free(page);
	return tap_done();
}
