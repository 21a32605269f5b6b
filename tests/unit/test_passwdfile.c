/* SPDX-License-Identifier: ISC */
#include <crypt.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../authd/passwdfile.h"
#include "tap.h"

static char path[64];

static void write_file(const char *text, mode_t mode)
{
	char tmp[80];
	FILE *f;

	snprintf(tmp, sizeof tmp, "%s.new", path);
	f = fopen(tmp, "w");
	REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
	REQUIRE(chmod(tmp, mode) == 0 && rename(tmp, path) == 0);
}

static char *hash(const char *password, const char *kind)
{
	return strdup(crypt(password, kind));
}

static enum err_kind check(struct passwdfile *f, struct str name, struct str password,
    const char **reason)
{
	struct source_answer a = { .reason = NULL };
	struct err e;
	enum err_kind r;

	if (passwdfile_refresh(f, &e) != ERR_OK)
		return ERR_TEMP;
	r = passwdfile_check(f, name, password, &a, &e);
	*reason = a.reason != NULL ? a.reason : "";
	CHECK(r != ERR_OK || str_eq(str_of(a.user), name));
	return r;
}

static void test_users(void)
{
	static const struct { struct str name, password; enum err_kind r; const char *reason; } t[] = {
		{ STR_INIT("alice"), STR_INIT("penny"), ERR_OK, "" },
		{ STR_INIT("alice"), STR_INIT("penny2"), ERR_DENIED, "wrong-password" },
		{ STR_INIT("alice"), STR_INIT("pen"), ERR_DENIED, "wrong-password" },
		{ STR_INIT("alice"), STR_INIT("penny\0"), ERR_DENIED, "wrong-password" },
		{ STR_INIT("alice"), STR_INIT("penny\n"), ERR_DENIED, "wrong-password" },
		{ STR_INIT("alice"), STR_INIT(""), ERR_DENIED, "wrong-password" },
		{ STR_INIT("Alice"), STR_INIT("penny"), ERR_DENIED, "unknown-user" },
		{ STR_INIT("alic"), STR_INIT("penny"), ERR_DENIED, "unknown-user" },
		{ STR_INIT("alicea"), STR_INIT("penny"), ERR_DENIED, "unknown-user" },
		{ STR_INIT("yes"), STR_INIT("penny"), ERR_OK, "" },
		{ STR_INIT("crlf"), STR_INIT("penny"), ERR_OK, "" },
		{ STR_INIT("more"), STR_INIT("penny"), ERR_OK, "" },
		{ STR_INIT("twice"), STR_INIT("penny"), ERR_OK, "" },
		{ STR_INIT("twice"), STR_INIT("other"), ERR_DENIED, "wrong-password" },
		{ STR_INIT("locked"), STR_INIT("penny"), ERR_DENIED, "locked" },
		{ STR_INIT("star"), STR_INIT("*"), ERR_DENIED, "locked" },
		{ STR_INIT("empty"), STR_INIT(""), ERR_DENIED, "locked" },
		{ STR_INIT("plain"), STR_INIT("plain"), ERR_DENIED, "locked" },
		{ STR_INIT("nonsense"), STR_INIT("x"), ERR_DENIED, "wrong-password" },
		{ STR_INIT("comment"), STR_INIT("penny"), ERR_DENIED, "unknown-user" },
		{ STR_INIT("#comment"), STR_INIT("penny"), ERR_DENIED, "unknown-user" },
		{ STR_INIT("../x"), STR_INIT("penny"), ERR_DENIED, "unknown-user" },
		{ STR_INIT("u@example.org"), STR_INIT("penny"), ERR_OK, "" },
		{ STR_INIT("last"), STR_INIT("penny"), ERR_OK, "" },
	};
	char *six = hash("penny", "$6$rounds=1000$saltsalt$"), *other = hash("other", "$6$rounds=1000$x$"),
	    *y = hash("penny", "$y$j75$abcdefgh$"), text[8192];
	struct passwdfile *f = passwdfile_new(path);
	const char *reason = "";

	snprintf(text, sizeof text, "# users\n\nalice:%s\nyes:%s\ncrlf:%s\r\nmore:%s:1000:1000:x\n"
	    "twice:%s\ntwice:%s\nlocked:!%s\nstar:*\nempty:\nplain:plain\nnonsense:$6\nno colon\n"
	    "#comment:%s\n../x:%s\nu@example.org:%s\nlast:%s", six, y, six, y, six, other, six, six,
	    six, six, six);
	write_file(text, 0600);
	for (size_t i = 0; i < COUNTOF(t); i++) {
		CHECK_AT(check(f, t[i].name, t[i].password, &reason) == t[i].r, i);
		CHECK_AT(strcmp(reason, t[i].reason) == 0, i);
	}
	passwdfile_free(&f);
	free(six);
	free(other);
	free(y);
}

static void test_changes(void)
{
	char *one = hash("one", "$6$rounds=1000$a$"), *two = hash("two", "$6$rounds=1000$a$"), text[1024];
	struct passwdfile *f = passwdfile_new(path);
	const char *reason;
	struct err e;

	unlink(path);
	CHECK(passwdfile_refresh(f, &e) == ERR_TEMP);
	snprintf(text, sizeof text, "u:%s\n", one);
	write_file(text, 0600);
	CHECK(check(f, STR("u"), STR("one"), &reason) == ERR_OK);
	/* same size, within the same second */
	snprintf(text, sizeof text, "u:%s\n", two);
	write_file(text, 0600);
	CHECK(check(f, STR("u"), STR("one"), &reason) == ERR_DENIED);
	CHECK(check(f, STR("u"), STR("two"), &reason) == ERR_OK);
	/* gone, or not to be trusted: no answer, and not the old one */
	unlink(path);
	CHECK(check(f, STR("u"), STR("two"), &reason) == ERR_TEMP);
	write_file(text, 0602);
	CHECK(check(f, STR("u"), STR("two"), &reason) == ERR_TEMP);
	unlink(path);
	CHECK(mkdir(path, 0700) == 0 && check(f, STR("u"), STR("two"), &reason) == ERR_TEMP);
	CHECK(rmdir(path) == 0 && mkfifo(path, 0600) == 0);
	CHECK(check(f, STR("u"), STR("two"), &reason) == ERR_TEMP);
	unlink(path);
	write_file("", 0600);
	CHECK(check(f, STR("u"), STR("two"), &reason) == ERR_DENIED);
	CHECK(strcmp(reason, "unknown-user") == 0);
	write_file(text, 0600);
	CHECK(truncate(path, (off_t)PASSWDFILE_MAX_OCTETS + 1) == 0);
	CHECK(check(f, STR("u"), STR("two"), &reason) == ERR_TEMP);
	passwdfile_free(&f);
	CHECK(f == NULL);
	free(one);
	free(two);
}

int main(void)
{
	snprintf(path, sizeof path, "/tmp/test_passwdfile.%ld", (long)getpid());
	test_users();
	test_changes();
	unlink(path);
	return tap_done();
}
