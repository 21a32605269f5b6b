/* SPDX-License-Identifier: ISC */
/* penny's edits of the passwd file. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../ctl/passwdfile.h"
#include "tap.h"

static char dir[] = "/tmp/test_passwdedit.XXXXXX";
static char path[64];

static void put(const char *text)
{
	FILE *f = fopen(path, "w");

	REQUIRE(f != NULL);
	fputs(text, f);
	fclose(f);
}

static bool holds(const char *text)
{
	char got[4096];
	FILE *f = fopen(path, "r");
	size_t n = f != NULL ? fread(got, 1, sizeof got - 1, f) : 0;

	if (f != NULL)
		fclose(f);
	got[n] = '\0';
	return f != NULL && strcmp(got, text) == 0;
}

static void test_append(void)
{
	struct passwdfile f;
	struct stat st;
	struct err e;

	unlink(path);
	REQUIRE(passwdfile_open(&f, path, true, &e) == ERR_OK);
	CHECK(!passwdfile_has(&f, STR("alice")));
	CHECK(passwdfile_append(&f, STR("alice"), STR("$y$1")));
	CHECK(passwdfile_has(&f, STR("alice")) && !passwdfile_has(&f, STR("alic")));
	CHECK(passwdfile_write(&f, &e) == ERR_OK);
	passwdfile_close(&f);
	CHECK(holds("alice:$y$1\n"));
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777 & ~0640u) == 0);
}

static void test_keeps(void)
{
	struct passwdfile f;
	struct stat st;
	struct err e;

	put("# staff\nalice:$1:1000:x\n\nbob:!\nalice:again\nno line");
	chmod(path, 0600);
	REQUIRE(passwdfile_open(&f, path, true, &e) == ERR_OK);
	CHECK(passwdfile_set_hash(&f, STR("alice"), STR("$new")));
	CHECK(!passwdfile_set_hash(&f, STR("carol"), STR("$new")));
	CHECK(passwdfile_append(&f, STR("dan"), STR("$d")));
	CHECK(passwdfile_write(&f, &e) == ERR_OK);
	passwdfile_close(&f);
	CHECK(holds("# staff\nalice:$new:1000:x\n\nbob:!\nalice:again\nno line\ndan:$d\n"));
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	REQUIRE(passwdfile_open(&f, path, true, &e) == ERR_OK);
	CHECK(passwdfile_remove(&f, STR("alice")) && !passwdfile_remove(&f, STR("alice")));
	CHECK(passwdfile_set_hash(&f, STR("bob"), STR("$b")));
	CHECK(passwdfile_write(&f, &e) == ERR_OK);
	passwdfile_close(&f);
	CHECK(holds("# staff\n\nbob:$b\nno line\ndan:$d\n"));
}

static void test_list(void)
{
	struct passwdfile f;
	struct str name, line;
	struct err e;
	size_t at = 0, n = 0;

	put("a:1\n#b:2\n:3\nc\nd:\n");
	REQUIRE(passwdfile_open(&f, path, false, &e) == ERR_OK);
	while (passwdfile_next(&f, &at, &name, &line))
		n += str_eq(name, STR("a")) || str_eq(name, STR("d")) ? 1 : 100;
	CHECK(n == 2);
	passwdfile_close(&f);
}

int main(void)
{
	char cmd[96];

	REQUIRE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/passwd", dir);
	test_append();
	test_keeps();
	test_list();
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	CHECK(system(cmd) == 0);
	return tap_done();
}
