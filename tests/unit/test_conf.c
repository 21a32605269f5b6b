/* SPDX-License-Identifier: ISC */
/* Configuration files: syntax, types, bounds, precedence, and what the error says. */
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../libbase/buf.h"
#include "../../libbase/conf.h"
#include "tap.h"

struct site {
	char *domain, *file;
	uint64_t n, size, wait, mode;
	bool on;
	struct conf_list list;
};

static const struct conf_key keys[] = {
	{ "site", "domain", CONF_STRING, "example.org", NULL, NULL, NULL,
	    offsetof(struct site, domain), "the domain" },
	{ "site", "file", CONF_PATH, "", NULL, NULL, NULL, offsetof(struct site, file), "" },
	{ "site", "children", CONF_NUMBER, "5", "1", "100", NULL, offsetof(struct site, n), "" },
	{ "site", "size", CONF_BYTES, "50M", "1k", "2G", NULL, offsetof(struct site, size), "" },
	{ "site", "idle_timeout", CONF_SECONDS, "10m", "1s", "1d", NULL, offsetof(struct site, wait),
	    "how long" },
	{ "site", "mode", CONF_CHOICE, "loopback", NULL, NULL, "never|loopback|always",
	    offsetof(struct site, mode), "" },
	{ "site", "enabled", CONF_BOOL, "yes", NULL, NULL, NULL, offsetof(struct site, on), "" },
	{ "site", "words", CONF_LIST, "", NULL, NULL, NULL, offsetof(struct site, list), "" },
};

struct own {
	uint64_t limit;
};
static const struct conf_key own_keys[] = {
	{ "imapd", "literal_limit", CONF_BYTES, "64k", NULL, NULL, NULL, offsetof(struct own, limit), "" },
};

static const char *const sections[] = { "site", "tls", "imapd", "pop3d", NULL };
static char dir[] = "/tmp/test_conf.XXXXXX";
static char main_file[64];

static void put_file(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	REQUIRE(f != NULL);
	fwrite(text, 1, n, f);
	fclose(f);
}

/* Reads text as the main file and loads both tables for `program`. */
static enum err_kind load_n(const char *text, size_t n, const char *program, struct site *site,
    struct own *own, struct conf **out, struct err *e)
{
	struct conf *c = NULL;
	enum err_kind k;

	put_file(main_file, text, n);
	memset(e, 0, sizeof *e);
	k = conf_read(main_file, sections, &c, e);
	if (k == ERR_OK)
		k = conf_get(c, program, keys, COUNTOF(keys), site, e);
	if (k == ERR_OK)
		k = conf_get(c, program, own_keys, COUNTOF(own_keys), own, e);
	if (k == ERR_OK)
		k = conf_check_unknown(c, program, e);
	if (k == ERR_OK && out != NULL)
		*out = c;
	else
		conf_free(&c);
	return k;
}

static enum err_kind load(const char *text, struct site *site, struct own *own, struct conf **out,
    struct err *e)
{
	return load_n(text, strlen(text), "imapd", site, own, out, e);
}

static void test_defaults(void)
{
	struct site s;
	struct own o;
	struct conf *c;
	struct err e;

	REQUIRE(load("", &s, &o, &c, &e) == ERR_OK);
	CHECK(strcmp(s.domain, "example.org") == 0 && strcmp(s.file, "") == 0);
	CHECK(s.n == 5 && s.size == 50 << 20 && s.wait == 600000 && s.mode == 1 && s.on);
	CHECK(s.list.n == 0 && s.list.v[0] == NULL);
	CHECK(o.limit == 65536);
	conf_free(&c);
	CHECK(c == NULL);
}

static void test_values(void)
{
	struct site s;
	struct own o;
	struct conf *c;
	struct err e;

	REQUIRE(load("# comment\r\n[site] # the site\n  domain = a.test # b\nfile=\"/a b#c\" # d\n"
	    "children = 7\nchildren = 8\nsize = 2 KiB\nidle_timeout=1500ms\nmode = ALWAYS\n"
	    "enabled=off\nwords = a, b c,,d#e\n[imapd]\nliteral_limit = 5", &s, &o, &c, &e) == ERR_OK);
	CHECK(strcmp(s.domain, "a.test") == 0);
	CHECK(strcmp(s.file, "/a b#c") == 0);
	CHECK(s.n == 8);
	CHECK(s.size == 2048);
	CHECK(s.wait == 1500);
	CHECK(s.mode == 2);
	CHECK(!s.on);
	CHECK(s.list.n == 4 && strcmp(s.list.v[3], "d#e") == 0 && s.list.v[4] == NULL);
	CHECK(o.limit == 5);
	conf_free(&c);
}

/* A shared key set for one program only, before and after the shared setting. */
static void test_dotted(void)
{
	static const char text[] = "[imapd]\nsite.children = 3\n[site]\nchildren = 4\n"
	    "[pop3d]\nsite.children = 9\nwhatever = not ours to check\n";
	struct site s;
	struct own o;
	struct conf *c;
	struct err e;

	REQUIRE(load(text, &s, &o, &c, &e) == ERR_OK);
	CHECK(s.n == 3);
	conf_free(&c);
	REQUIRE(load_n(text, sizeof text - 1, NULL, &s, &o, &c, &e) == ERR_SYNTAX);
	REQUIRE(load_n("[site]\nchildren = 4\n", 20, NULL, &s, &o, &c, &e) == ERR_OK);
	CHECK(s.n == 4);
	conf_free(&c);
}

static void test_errors(void)
{
	static const struct {
		const char *text, *says;
	} t[] = {
		{ "x = 1\n", ":1: no [section] heading before key \"x\"" },
		{ "\n[sight]\n", ":2: unknown section \"sight\", did you mean \"site\"?" },
		{ "[completely-else]\n", ":1: unknown section \"completely-else\"" },
		{ "[site\n", ":1: heading is not [section]" },
		{ "[site] x\n", ":1: heading is not [section]" },
		{ "[site]\njust words\n", ":2: neither \"key = value\" nor \"[section]\"" },
		{ "[site]\n= 3\n", ":2: neither" },
		{ "[site]\nfile = \"/a\n", ":2: quotes do not match in the value of \"file\"" },
		{ "[site]\nfile = \"/a\" b\n", ":2: quotes do not match" },
		{ "[site]\nidle_timout = 3\n", ":2: unknown key \"idle_timout\", did you mean \"idle_timeout\"?" },
		{ "[site]\ndoamin = 3\n", "did you mean \"domain\"?" },
		{ "[site]\nliteral_limit = 3\n", "it belongs to [imapd]" },
		{ "[imapd]\nsite.childen = 3\n", ":2: unknown key \"site.childen\", did you mean \"site.children\"?" },
		{ "[imapd]\nlitteral_limit = 3\n", "did you mean \"literal_limit\"?" },
		{ "[site]\nchildren = 0\n", ":2: site.children: 0 is less than 1" },
		{ "[site]\nchildren = 101\n", "101 is more than 100" },
		{ "[site]\nchildren = -1\n", "\"-1\" is not a decimal number" },
		{ "[site]\nchildren = 7x\n", "\"7x\" is not a decimal number" },
		{ "[site]\nchildren =\n", "is not a decimal number" },
		{ "[site]\nchildren = 99999999999999999999\n", "is not a decimal number" },
		{ "[site]\nsize = 18446744073709551615G\n", "is not a number" },
		{ "[site]\nidle_timeout = 3 weeks\n", "is not a number with an optional ms" },
		{ "[site]\nmode = sometimes\n", "\"sometimes\" is none of never|loopback|always" },
		{ "[site]\nenabled = maybe\n", "neither yes nor no" },
		{ "[site]\nfile = a/b\n", "\"a/b\" is not an absolute path" },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct site s;
		struct own o;
		struct err e;
		enum err_kind k = load(t[i].text, &s, &o, NULL, &e);

		CHECK_AT(k == ERR_SYNTAX, i);
		CHECK_AT(strncmp(e.text, main_file, strlen(main_file)) == 0, i);
		CHECK_AT(strstr(e.text, t[i].says) != NULL, i);
		if (strstr(e.text, t[i].says) == NULL)
			printf("# %s\n", e.text);
	}
}

static void test_files(void)
{
	struct site s;
	struct own o;
	struct conf *c = NULL;
	struct err e;
	char path[96];

	CHECK(load_n("[site]\ndomain = a\0b\n", 20, "imapd", &s, &o, NULL, &e) == ERR_SYNTAX);
	CHECK(strstr(e.text, ":2: NUL octet") != NULL);
	CHECK(conf_read("/nonexistent/x.conf", sections, &c, &e) == ERR_NOENT);
	CHECK(conf_read("/dev/null", sections, &c, &e) == ERR_SYNTAX);
	CHECK(conf_read(dir, sections, &c, &e) != ERR_OK);

	snprintf(path, sizeof path, "%s/conf.d", dir);
	REQUIRE(mkdir(path, 0700) == 0);
	snprintf(path, sizeof path, "%s/conf.d/20-b.conf", dir);
	put_file(path, "[site]\nchildren = 20\n", 21);
	snprintf(path, sizeof path, "%s/conf.d/10-a.conf", dir);
	put_file(path, "[site]\nchildren = 10\nsize = 10k\n", 32);
	snprintf(path, sizeof path, "%s/conf.d/30-c.conf.dpkg-old", dir);
	put_file(path, "[nonsense]\n", 11);
	snprintf(path, sizeof path, "%s/conf.d/.hidden.conf", dir);
	put_file(path, "[nonsense]\n", 11);
	REQUIRE(load("[site]\nchildren = 1\nsize = 1k\n", &s, &o, &c, &e) == ERR_OK);
	CHECK(s.n == 20 && s.size == 10240);
	conf_free(&c);

	snprintf(path, sizeof path, "%s/conf.d/20-b.conf", dir);
	put_file(path, "[site]\nchildern = 20\n", 21);
	CHECK(load("", &s, &o, NULL, &e) == ERR_SYNTAX);
	CHECK(strstr(e.text, "conf.d/20-b.conf:2: unknown key") != NULL);
}

static void test_must_be_set(void)
{
	static const struct conf_key must[] = {
		{ "tls", "certificate", CONF_PATH, NULL, NULL, NULL, NULL, 0, "" },
	};
	struct conf *c = NULL;
	struct err e;
	char *v = NULL;

	put_file(main_file, "[tls]\n", 6);
	REQUIRE(conf_read(main_file, sections, &c, &e) == ERR_OK);
	CHECK(conf_get(c, NULL, must, 1, &v, &e) == ERR_NOENT);
	CHECK(strstr(e.text, "[tls] certificate must be set") != NULL);
	conf_free(&c);
}

/* What is dumped reads back to the same values. */
static void test_dump(void)
{
	struct site s, again;
	struct own o;
	struct conf *c;
	struct err e;
	struct buf b = BUF_INIT(65536);

	REQUIRE(load("[site]\nfile = \"/a #b\"\nchildren = 9\n[imapd]\nsite.children = 3\n", &s, &o,
	    &c, &e) == ERR_OK);
	conf_dump(c, "imapd", keys, COUNTOF(keys), false, &b);
	CHECK(str_find_str(buf_str(&b), STR("[site]\n")) == 0);
	CHECK(str_find_str(buf_str(&b), STR("\nchildren = 3\n")) < b.n);
	CHECK(str_find_str(buf_str(&b), STR("# time 1s..1d: how long\nidle_timeout = 10m\n")) < b.n);
	CHECK(str_find_str(buf_str(&b), STR("file = \"/a #b\"\n")) < b.n);
	conf_free(&c);
	REQUIRE(load_n(b.p, b.n, "imapd", &again, &o, &c, &e) == ERR_OK);
	CHECK(again.n == 3 && strcmp(again.file, "/a #b") == 0 && again.wait == 600000);
	buf_reset(&b);
	conf_dump(c, "imapd", own_keys, COUNTOF(own_keys), true, &b);
	CHECK(b.n == 0);
	conf_free(&c);
	buf_free(&b);
}

int main(void)
{
	char cmd[128];

	REQUIRE(mkdtemp(dir) != NULL);
	snprintf(main_file, sizeof main_file, "%s/pennypost.conf", dir);
	test_defaults();
	test_values();
	test_dotted();
	test_errors();
	test_must_be_set();
	test_dump();
	test_files();
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	CHECK(system(cmd) == 0);
	return tap_done();
}
