/* SPDX-License-Identifier: ISC */
/* Words of `listen` keys, and sockets made from them. */
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../supervisor/listen.h"
#include "tap.h"

static void parses_words(void)
{
	static const struct {
		struct str word;
		const char *name, *address;
		uint16_t port;
		const char *path;
	} good[] = {
		{ STR_INIT("imap:127.0.0.1:143"), "imap", "127.0.0.1", 143, "" },
		{ STR_INIT("imaps:[::]:993"), "imaps", "::", 993, "" },
		{ STR_INIT("smtp:*:25"), "smtp", "*", 25, "" },
		{ STR_INIT("smtp:0.0.0.0:65535"), "smtp", "0.0.0.0", 65535, "" },
		{ STR_INIT("lmtp:lmtp.sock"), "lmtp", "", 0, "lmtp.sock" },
		{ STR_INIT("lmtp:/run/a:b.sock"), "lmtp", "", 0, "/run/a:b.sock" },
	};
	static const struct str bad[] = {
		STR_INIT(""), STR_INIT("imap"), STR_INIT("imap:"), STR_INIT(":127.0.0.1:143"),
		STR_INIT("imap:127.0.0.1:0"), STR_INIT("imap:127.0.0.1:65536"),
		STR_INIT("imap:127.0.0.1:"), STR_INIT("imap::143"), STR_INIT("imap:::1:143"),
		STR_INIT("imap:host:143"), STR_INIT("imap:[127.0.0.1:143"), STR_INIT("im ap:*:143"),
		STR_INIT("imap:*:+143"), STR_INIT("imap:[]:143"), STR_INIT("imap:1.2.3:143"),
		STR_INIT("imap:/a\0b"), STR_INIT("abcdefghijklmnopqrstuvwxyzabcdefghijkl:*:25"),
	};
	struct listen_spec s, again;
	struct err e;

	for (size_t i = 0; i < COUNTOF(good); i++) {
		CHECK_AT(listen_parse(good[i].word, &s, &e) == ERR_OK, i);
		CHECK_AT(strcmp(s.name, good[i].name) == 0, i);
		CHECK_AT(strcmp(s.address, good[i].address) == 0 && s.port == good[i].port, i);
		CHECK_AT(strcmp(s.path, good[i].path) == 0, i);
		CHECK_AT(listen_parse(good[i].word, &again, &e) == ERR_OK && listen_same(&s, &again), i);
	}
	for (size_t i = 0; i < COUNTOF(bad); i++)
		CHECK_AT(listen_parse(bad[i], &s, &e) == ERR_SYNTAX, i);
}

static void describes(void)
{
	struct listen_spec s;
	char text[128];
	struct err e;

	CHECK(listen_parse(STR("imaps:[::1]:993"), &s, &e) == ERR_OK);
	listen_describe(&s, text, sizeof text);
	CHECK(strcmp(text, "imaps [::1]:993") == 0);
	CHECK(listen_parse(STR("lmtp:x.sock"), &s, &e) == ERR_OK);
	listen_describe(&s, text, sizeof text);
	CHECK(strcmp(text, "lmtp x.sock") == 0);
}

/* Owner, mode, replacing a stale file; and a directory whose name is too long for a socket address. */
static void opens_unix(void)
{
	static const char part[] = "/a-directory-name-of-more-than-sixty-octets-so-that-two-are-too-long";
	char base[] = "/tmp/test_listen.XXXXXX", dir[400], path[500];
	struct listen_spec s;
	struct sockaddr_un sa;
	struct stat st;
	struct err e;
	int fd = -1, again = -1, client, dir_fd;

	REQUIRE(mkdtemp(base) != NULL);
	snprintf(dir, sizeof dir, "%s%s", base, part);
	REQUIRE(mkdir(dir, 0700) == 0);
	snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "%s", part);
	REQUIRE(mkdir(dir, 0700) == 0);
	snprintf(path, sizeof path, "%s/x.sock", dir);

	REQUIRE(listen_parse(STR("lmtp:x.sock"), &s, &e) == ERR_OK);
	s.mode = 0600;
	CHECK(listen_open(&s, dir, 5, &fd, &e) == ERR_OK);
	CHECK(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
	CHECK(listen_open(&s, dir, 5, &again, &e) == ERR_OK);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(unix_address(path, &sa, &dir_fd, &e) == ERR_OK);
	CHECK(connect(client, (struct sockaddr *)&sa, sizeof sa) == 0);
	close(client);
	close(dir_fd);
	close(fd);
	close(again);
	listen_remove(&s, dir);
	CHECK(stat(path, &st) < 0);
	rmdir(dir);
	*strrchr(dir, '/') = '\0';
	rmdir(dir);
	rmdir(base);
	s.path[0] = '/';
	snprintf(s.path, sizeof s.path, "/nowhere/x.sock");
	CHECK(listen_open(&s, "/", 5, &fd, &e) == ERR_NOENT);
}

int main(void)
{
	parses_words();
	describes();
	opens_unix();
	return tap_done();
}
