/* SPDX-License-Identifier: ISC */
/* Log lines: one write each, nothing a peer sends can forge a line or a field. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../../libbase/buf.h"
#include "../../libbase/log.h"
#include "tap.h"

static char path[] = "/tmp/test_log.XXXXXX";

/* What has been written since the last call. */
static const char *logged(void)
{
	static char text[65536];
	FILE *f = fopen(path, "r+");
	size_t n;

	REQUIRE(f != NULL);
	n = fread(text, 1, sizeof text - 1, f);
	text[n] = '\0';
	REQUIRE(ftruncate(fileno(f), 0) == 0);
	fclose(f);
	return text;
}

static size_t count(const char *s, char c)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += *s == c;
	return n;
}

static void test_quote(void)
{
	static const struct {
		struct str in, out;
	} t[] = {
		{ STR_INIT("alice"), STR_INIT("alice") },
		{ STR_INIT("a.b_c:d@e/f+g-h"), STR_INIT("a.b_c:d@e/f+g-h") },
		{ STR_INIT(""), STR_INIT("\"\"") },
		{ STR_INIT("a b"), STR_INIT("\"a b\"") },
		{ STR_INIT("a\"b\\"), STR_INIT("\"a\\x22b\\x5C\"") },
		{ STR_INIT("x\r\nerr forged"), STR_INIT("\"x\\x0D\\x0Aerr forged\"") },
		{ STR_INIT("\0\xff"), STR_INIT("\"\\x00\\xFF\"") },
		{ STR_INIT("x, ip=[10.0.0.1]"), STR_INIT("\"x, ip\\x3D[10.0.0.1]\"") },
		{ STR_INIT("a=b"), STR_INIT("\"a\\x3Db\"") },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct buf b = BUF_INIT(256);

		log_quote(&b, t[i].in);
		CHECK_AT(str_eq(buf_str(&b), t[i].out), i);
		buf_free(&b);
	}
}

static void test_events(void)
{
	char big[3000];
	const char *l;

	log_event(LOG_LEVEL_INFO, "pop3.login.ok", KV_Z("user", "a b"), KV_U("ms", 12), KV_I("d", -3));
	l = logged();
	CHECK(strstr(l, "testd[") != NULL);
	CHECK(strstr(l, ": info pop3.login.ok user=\"a b\" ms=12 d=-3\n") != NULL);
	log_session("abc123");
	log_event(LOG_LEVEL_WARN, "x");
	CHECK(strstr(logged(), ": warn x sid=abc123\n") != NULL);
	log_event(LOG_LEVEL_DEBUG, "not.shown");
	CHECK(strcmp(logged(), "") == 0);

	/* However much a peer sends, it is one line, and it ends. */
	memset(big, '\n', sizeof big);
	log_event(LOG_LEVEL_ERR, "big", KV_S("a", str_n(big, sizeof big)),
	    KV_S("b", str_n(big, sizeof big)), KV_S("c", str_n(big, sizeof big)));
	l = logged();
	CHECK(count(l, '\n') == 1 && l[strlen(l) - 1] == '\n' && strlen(l) <= 4096);
}

static void test_login_failed(void)
{
	const char *l;

	log_session("s1");
	log_login_failed(STR("192.0.2.7"), STR("ann, ip=[10.0.0.1]\n"), "PLAIN", "denied");
	l = logged();
	CHECK(strstr(l, "LOGIN FAILED, ip=[192.0.2.7], user=ann\\x2C\\x20ip\\x3D\\x5B10.0.0.1\\x5D\\x0A, "
	    "method=PLAIN, reason=denied, sid=s1\n") != NULL);
	CHECK(count(l, '[') == 2);	/* the pid's and the address's */
}

static void test_open(void)
{
	struct err e;

	CHECK(log_open("testd", "/nonexistent/dir/log", LOG_LEVEL_INFO, &e) == ERR_NOENT);
	CHECK(log_open("testd", "somewhere", LOG_LEVEL_INFO, &e) == ERR_SYNTAX);
	log_event(LOG_LEVEL_INFO, "still.here");
	CHECK(strstr(logged(), "still.here") != NULL);
	CHECK(log_open("again", path, LOG_LEVEL_DEBUG, &e) == ERR_OK);
	log_event(LOG_LEVEL_DEBUG, "now.shown");
	CHECK(strstr(logged(), "again[") != NULL);
}

int main(void)
{
	struct err e;
	int fd = mkstemp(path);

	REQUIRE(fd >= 0);
	close(fd);
	test_quote();
	REQUIRE(log_open("testd", path, LOG_LEVEL_INFO, &e) == ERR_OK);
	test_events();
	test_login_failed();
	test_open();
	unlink(path);
	return tap_done();
}
