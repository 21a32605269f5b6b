/* SPDX-License-Identifier: ISC */
/* What authd decides, with a passwd file; and its memory of successes. */
#include <crypt.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../authd/login.h"
#include "../../libbase/clock.h"
#include "../../libbase/log.h"
#include "tap.h"

static char dir[64], passwd_path[80], office_path[80];
static struct settings set;
static struct login login;

static void write_users(const char *user, const char *password)
{
	char tmp[100];
	FILE *f;

	snprintf(tmp, sizeof tmp, "%s/new", dir);
	f = fopen(tmp, "w");
	REQUIRE(f != NULL);
	fprintf(f, "%s:%s\n", user, crypt(password, "$6$rounds=1000$saltsalt$"));
	fprintf(f, "carol@example.net:%s\nlocked:!\n", crypt("penny", "$6$rounds=1000$s$"));
	REQUIRE(fclose(f) == 0 && rename(tmp, passwd_path) == 0);
}

static struct login_answer answer;

static enum err_kind try(struct str user, struct str password, struct str authzid, bool want_store)
{
	const struct auth_question q = { "imap", "192.0.2.1", "PLAIN", user, password, authzid, true };

	return login_check(&login, &q, want_store, clock_mono_ms(), &answer);
}

static void test_logins(void)
{
	static const struct { struct str user, password, authzid; bool ok; const char *name; } t[] = {
		{ STR_INIT("alice"), STR_INIT("penny"), STR_INIT(""), true, "alice" },
		{ STR_INIT("alice"), STR_INIT("penny"), STR_INIT("alice"), true, "alice" },
		{ STR_INIT("alice@example.org"), STR_INIT("penny"), STR_INIT("alice"), true, "alice" },
		{ STR_INIT("alice"), STR_INIT("penny"), STR_INIT("alice@EXAMPLE.org"), true, "alice" },
		{ STR_INIT("carol@example.net"), STR_INIT("penny"), STR_INIT(""), true, "carol@example.net" },
		{ STR_INIT("alice@example.com"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("carol"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("alice"), STR_INIT("penny"), STR_INIT("bob"), false, "" },
		{ STR_INIT("alice"), STR_INIT("penny"), STR_INIT("alice\0"), false, "" },
		{ STR_INIT("alice\0"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("alice"), STR_INIT("penny\0"), STR_INIT(""), false, "" },
		{ STR_INIT("alice"), STR_INIT("penny\n"), STR_INIT(""), false, "" },
		{ STR_INIT("alice"), STR_INIT("Penny"), STR_INIT(""), false, "" },
		{ STR_INIT("alice"), STR_INIT(""), STR_INIT(""), false, "" },
		{ STR_INIT(""), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("Alice"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("-alice"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("../alice"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("@example.org"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("..@example.org"), STR_INIT("penny"), STR_INIT(""), false, "" },
		{ STR_INIT("locked"), STR_INIT("!"), STR_INIT(""), false, "" },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		uint64_t now = clock_mono_ms();
		enum err_kind r = try(t[i].user, t[i].password, t[i].authzid, false);

		CHECK_AT(r == (t[i].ok ? ERR_OK : ERR_DENIED), i);
		CHECK_AT(strcmp(answer.user, t[i].name) == 0, i);
		CHECK_AT(answer.store_fd == -1, i);
		/* one delay for all reasons, none for a yes */
		CHECK_AT(t[i].ok ? answer.release_ms == 0 : answer.release_ms >= now + 1000, i);
	}
}

static void test_stores(void)
{
	struct stat st;
	struct err e;
	struct login_answer a;

	CHECK(try(STR("alice"), STR("penny"), STR(""), true) == ERR_OK);
	CHECK(fstat(answer.store_fd, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0700);
	close(answer.store_fd);
	CHECK(login_find(&login, STR("ALICE@example.org"), false, &a, &e) == ERR_OK);
	CHECK(strcmp(a.user, "alice") == 0 && a.store_fd == -1);
	CHECK(login_find(&login, STR("locked"), true, &a, &e) == ERR_OK);
	close(a.store_fd);
	CHECK(login_find(&login, STR("carol@example.net"), false, &a, &e) == ERR_OK);
	CHECK(login_find(&login, STR("nobody"), true, &a, &e) == ERR_NOENT && a.store_fd == -1);
	CHECK(login_find(&login, STR("../alice"), true, &a, &e) == ERR_NOENT);
	CHECK(login_find(&login, STR(""), true, &a, &e) == ERR_NOENT);
}

/* No answer of the source is neither yes nor no. */
static void test_source_gone(void)
{
	CHECK(unlink(passwd_path) == 0);
	CHECK(try(STR("alice"), STR("penny"), STR(""), false) == ERR_TEMP);
	CHECK(try(STR("alice"), STR("wrong"), STR(""), false) == ERR_TEMP);
	write_users("alice", "penny");
	CHECK(try(STR("alice"), STR("penny"), STR(""), false) == ERR_OK);
	/* a store that can't be had is no login */
	login.office.dir = "/tmp/no such place";
	CHECK(try(STR("alice"), STR("penny"), STR(""), true) == ERR_TEMP && answer.store_fd == -1);
	login.office.dir = office_path;
}

static bool hit(struct cache *c, const char *source, const char *service, const char *user,
    const char *password, uint64_t now, char *out)
{
	const struct auth_question q = { service, "local", "PLAIN", str_of(user), str_of(password),
		STR_INIT(""), true };
	struct cache_key k;

	return cache_key(c, str_of(source), &q, &k) && cache_get(c, &k, now, out);
}

static void test_cache(void)
{
	const struct auth_question q = { "imap", "local", "PLAIN", STR_INIT("alice"), STR_INIT("penny"),
		STR_INIT(""), true };
	char user[AUTH_USER_MAX_OCTETS + 1];
	struct cache_key k;
	struct cache *c = NULL;

	REQUIRE(cache_new(&c, NULL) == ERR_OK);
	CHECK(!hit(c, "f1", "imap", "alice", "penny", 0, user));
	REQUIRE(cache_key(c, STR("f1"), &q, &k));
	cache_put(c, &k, 1000, "Alice");
	CHECK(hit(c, "f1", "imap", "alice", "penny", 999, user) && strcmp(user, "Alice") == 0);
	CHECK(!hit(c, "f1", "imap", "alice", "penny", 1000, user));	/* grown too old */
	CHECK(!hit(c, "f2", "imap", "alice", "penny", 0, user));	/* another file */
	CHECK(!hit(c, "f1", "pop3", "alice", "penny", 0, user));
	CHECK(!hit(c, "f1", "imap", "bob", "penny", 0, user));
	CHECK(!hit(c, "f1", "imap", "alice", "penny2", 0, user));
	CHECK(!hit(c, "f1", "imap", "alicep", "enny", 0, user));
	CHECK(!hit(c, "f1i", "map", "alice", "penny", 0, user));
}

/* Faults, W-A4: a changed password is out at once. */
static void test_no_stale_success(void)
{
	uint64_t t;

	set.cache_ms = 60000;
	write_users("alice", "old");
	sleep(4);			/* a file that is just written is not trusted to show its changes */
	CHECK(try(STR("alice"), STR("old"), STR(""), false) == ERR_OK);
	t = clock_mono_us();
	CHECK(try(STR("alice"), STR("old"), STR(""), false) == ERR_OK);
	printf("# remembered: %lu us\n", (unsigned long)(clock_mono_us() - t));
	CHECK(try(STR("alice"), STR("old2"), STR(""), false) == ERR_DENIED);
	write_users("alice", "new");
	CHECK(try(STR("alice"), STR("old"), STR(""), false) == ERR_DENIED);
	CHECK(try(STR("alice"), STR("new"), STR(""), false) == ERR_OK);
	write_users("bob", "old");
	CHECK(try(STR("alice"), STR("old"), STR(""), false) == ERR_DENIED);
	CHECK(try(STR("alice"), STR("new"), STR(""), false) == ERR_DENIED);
}

/* Faults, S36: many failures slow a guesser down, and stop an address that does not wait. */
static void test_limit(void)
{
	int limited = 0;

	write_users("alice", "penny");
	for (int i = 0; i < 40; i++)
		limited += try(STR("bob"), STR("x"), STR(""), false) == ERR_LIMIT;
	CHECK(limited >= 40 - THROTTLE_PENDING_MAX && limited < 40);
	CHECK(try(STR("alice"), STR("penny"), STR(""), false) == ERR_LIMIT);
}

int main(void)
{
	char cmd[100];
	struct err e;

	REQUIRE(log_open("test_login", "/dev/null", LOG_LEVEL_ERR, &e) == ERR_OK);
	snprintf(dir, sizeof dir, "/tmp/test_login.%ld", (long)getpid());
	snprintf(passwd_path, sizeof passwd_path, "%s/passwd", dir);
	snprintf(office_path, sizeof office_path, "%s/office", dir);
	REQUIRE(mkdir(dir, 0700) == 0);
	set = (struct settings){ .domain = (char *)"example.org", .hostname = (char *)"mail.example.org",
		.source = AUTH_SOURCE_PASSWD, .passwd_file = passwd_path, .fail_delay_ms = 1000,
		.fail_delay_max_ms = 8000 };
	login = (struct login){ .set = &set, .office = { office_path, false, geteuid(), getegid() },
		.passwd = passwdfile_new(passwd_path) };
	REQUIRE(throttle_new(&login.throttle, &e) == ERR_OK && cache_new(&login.cache, &e) == ERR_OK);
	REQUIRE(office_prepare(&login.office, &e) == ERR_OK);
	write_users("alice", "penny");
	test_logins();
	REQUIRE(throttle_new(&login.throttle, &e) == ERR_OK);
	test_stores();
	test_source_gone();
	test_cache();
	test_no_stale_success();
	REQUIRE(throttle_new(&login.throttle, &e) == ERR_OK);
	test_limit();
	passwdfile_free(&login.passwd);
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	CHECK(system(cmd) == 0);
	return tap_done();
}
