/* SPDX-License-Identifier: ISC */
/* Connections over a socket pair: lines and their limits, deadlines, slow and silent peers, files, drain. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../libbase/clock.h"
#include "../../libserve/conn.h"
#include "../../libserve/drain.h"
#include "../../libserve/serve.h"
#include "tap.h"

struct pair {
	struct conn *c;
	int peer;
};

static struct pair open_pair(void)
{
	struct pair p;
	int s[2];

	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	p.c = conn_new(s[0]);
	p.peer = s[1];
	conn_deadline(p.c, 2000);
	return p;
}

static void close_pair(struct pair *p)
{
	conn_close(&p->c);
	close(p->peer);
}

static void say(int fd, const char *text)
{
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static bool line_is(struct conn *c, const char *want, bool want_crlf)
{
	struct str line;
	struct err e;
	bool crlf;

	return conn_read_line(c, 100, &line, &crlf, &e) == ERR_OK && str_eq(line, str_of(want)) &&
	    crlf == want_crlf;
}

static void reads_lines(void)
{
	struct pair p = open_pair();
	struct str line;
	struct err e;
	char in[8];

	CHECK(strcmp(conn_peer_ip(p.c), "local") == 0 && conn_peer_is_loopback(p.c));
	say(p.peer, "one\r\ntwo\n\r\n\n\rx\r\r\n");
	CHECK(!conn_has_input(p.c));
	CHECK(line_is(p.c, "one", true));
	CHECK(conn_has_input(p.c));
	CHECK(line_is(p.c, "two", false) && line_is(p.c, "", true) && line_is(p.c, "", false));
	CHECK(line_is(p.c, "\rx\r", true));
	CHECK(!conn_has_input(p.c));
	say(p.peer, "lit\r\n1234567tail");
	CHECK(line_is(p.c, "lit", true));
	CHECK(conn_read(p.c, in, 7, &e) == ERR_OK && memcmp(in, "1234567", 7) == 0);
	CHECK(conn_peek(p.c, &line, &e) == ERR_OK && str_eq(line, STR("tail")));
	conn_consume(p.c, 2);
	CHECK(conn_peek(p.c, &line, &e) == ERR_OK && str_eq(line, STR("il")));
	conn_consume(p.c, 100);
	CHECK(!conn_has_input(p.c));
	say(p.peer, "no end");
	shutdown(p.peer, SHUT_WR);
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_EOF);
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_EOF);
	close_pair(&p);
}

/* max counts the end; what is over it is skipped whole, and too much of it ends the connection. */
static void limits_lines(void)
{
	struct pair p = open_pair();
	static char much[40000];
	struct str line;
	struct err e;

	say(p.peer, "12345678\r\n123456789\r\n12345678\n123456789\nok\r\n");
	CHECK(conn_read_line(p.c, 10, &line, NULL, &e) == ERR_OK && line.n == 8);
	CHECK(conn_read_line(p.c, 10, &line, NULL, &e) == ERR_LIMIT);
	CHECK(conn_read_line(p.c, 10, &line, NULL, &e) == ERR_OK && line.n == 8);
	CHECK(conn_read_line(p.c, 10, &line, NULL, &e) == ERR_OK && line.n == 9);
	CHECK(conn_read_line(p.c, 10, &line, NULL, &e) == ERR_OK && str_eq(line, STR("ok")));
	memset(much, 'a', sizeof much);
	much[sizeof much - 1] = '\n';
	CHECK(write(p.peer, much, sizeof much) == (ssize_t)sizeof much);
	CHECK(conn_read_line(p.c, 512, &line, NULL, &e) == ERR_LIMIT);
	CHECK(write(p.peer, much, sizeof much) == (ssize_t)sizeof much);
	CHECK(conn_read_line(p.c, 50000, &line, NULL, &e) == ERR_OK && line.n == sizeof much - 1);
	much[sizeof much - 1] = 'a';
	CHECK(write(p.peer, much, sizeof much) == (ssize_t)sizeof much);
	CHECK(write(p.peer, much, sizeof much) == (ssize_t)sizeof much);
	CHECK(conn_read_line(p.c, 512, &line, NULL, &e) == ERR_EOF);
	CHECK(conn_read_line(p.c, 512, &line, NULL, &e) == ERR_EOF);
	close_pair(&p);
}

static bool took(uint64_t start, uint64_t least, uint64_t most)
{
	uint64_t ms = clock_mono_ms() - start;

	return ms + 1 >= least && ms <= most;
}

static void *drip(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 100; i++) {
		if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
			return NULL;
		clock_sleep_ms(30);
	}
	return NULL;
}

/* A line has one deadline however slowly it comes; and time already spent counts. */
static void keeps_deadlines(void)
{
	struct pair p = open_pair();
	struct str line;
	uint64_t start;
	pthread_t t;
	struct err e;

	start = clock_mono_ms();
	conn_deadline(p.c, 100);
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_TIMEOUT);
	CHECK(took(start, 100, 500));
	conn_deadline(p.c, 0);
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_TIMEOUT);
	say(p.peer, "there already\r\n");
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_OK);

	REQUIRE(pthread_create(&t, NULL, drip, &p.peer) == 0);
	start = clock_mono_ms();
	conn_deadline(p.c, 300);
	CHECK(conn_read_line(p.c, 1000, &line, NULL, &e) == ERR_TIMEOUT);
	CHECK(took(start, 300, 800));
	conn_close(&p.c);
	pthread_join(t, NULL);
	close(p.peer);
}

static void *close_soon(void *arg)
{
	clock_sleep_ms(100);
	close(*(int *)arg);
	return NULL;
}

/* A peer that never reads holds us in the middle of a reply; its end ends that, and the error sticks. */
static void meets_silent_reader(void)
{
	struct pair p = open_pair();
	static char block[65536];
	pthread_t t;
	struct err e;
	int n = 0;

	REQUIRE(pthread_create(&t, NULL, close_soon, &p.peer) == 0);
	while (conn_flush(p.c, &e) == ERR_OK && n++ < 1000)
		conn_put(p.c, str_n(block, sizeof block));
	CHECK(n < 1000);
	CHECK(e.kind == ERR_EOF);
	conn_put(p.c, STR("more"));
	CHECK(conn_flush(p.c, &e) == ERR_EOF);
	pthread_join(t, NULL);
	conn_close(&p.c);
}

static void writes(void)
{
	struct pair p = open_pair();
	char in[4096];
	struct err e;

	conn_put(p.c, STR("a"));
	conn_printf(p.c, "%d%s", 12, "b");
	buf_put(conn_out(p.c), STR("c"));
	CHECK(recv(p.peer, in, sizeof in, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	CHECK(conn_flush(p.c, &e) == ERR_OK);
	CHECK(recv(p.peer, in, sizeof in, 0) == 5 && memcmp(in, "a12bc", 5) == 0);
	conn_printf(p.c, "%02000d", 7);
	CHECK(conn_flush(p.c, &e) == ERR_OK && recv(p.peer, in, sizeof in, 0) == 2000);
	/* a reply is sent before a wait: the peer may need it to go on */
	conn_put(p.c, STR("go on"));
	conn_deadline(p.c, 20);
	CHECK(!line_is(p.c, "", true) && recv(p.peer, in, sizeof in, MSG_DONTWAIT) == 5);
	close(p.peer);
	conn_put(p.c, STR("x"));
	CHECK(conn_flush(p.c, &e) == ERR_EOF);
	conn_close(&p.c);
	CHECK(p.c == NULL);
	conn_close(&p.c);
}

struct sink {
	int fd;
	size_t n;
	unsigned sum;
};

static void *read_all(void *arg)
{
	struct sink *s = arg;
	unsigned char in[10000];
	ssize_t n;

	while ((n = read(s->fd, in, sizeof in)) > 0) {
		s->n += (size_t)n;
		for (ssize_t i = 0; i < n; i++)
			s->sum += in[i];
	}
	return NULL;
}

static void sends_files(void)
{
	static const size_t sizes[] = { 0, 1, 1000, 32768, 32769, 70000, 3000000 };
	FILE *f = tmpfile();
	struct err e;

	REQUIRE(f != NULL);
	for (int i = 0; i < 3000010; i++)
		fputc('a' + i % 23, f);
	REQUIRE(fflush(f) == 0);
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		struct pair p = open_pair();
		struct sink s = { p.peer, 0, 0 };
		unsigned want = 'h' + 't';
		pthread_t t;

		REQUIRE(pthread_create(&t, NULL, read_all, &s) == 0);
		conn_put(p.c, STR("h"));
		conn_put_file(p.c, fileno(f), 10, sizes[i]);
		conn_put(p.c, STR("t"));
		CHECK_AT(conn_flush(p.c, &e) == ERR_OK, i);
		conn_close(&p.c);
		pthread_join(t, NULL);
		for (size_t j = 0; j < sizes[i]; j++)
			want += 'a' + (j + 10) % 23;
		CHECK_AT(s.n == sizes[i] + 2 && s.sum == want, i);
		close(p.peer);
	}
	for (size_t len = 20; len <= 100000; len += 99980) {	/* shorter than promised */
		struct pair p = open_pair();
		struct sink s = { p.peer, 0, 0 };
		pthread_t t;

		REQUIRE(pthread_create(&t, NULL, read_all, &s) == 0);
		conn_put_file(p.c, fileno(f), 3000000, len);
		conn_put(p.c, STR("never"));
		CHECK_AT(conn_flush(p.c, &e) == ERR_CORRUPT, len);
		conn_close(&p.c);
		pthread_join(t, NULL);
		CHECK_AT(s.n <= 10, len);
		close(p.peer);
	}
	fclose(f);
}

static void waits(void)
{
	struct pair p = open_pair();
	int other[2];

	REQUIRE(pipe(other) == 0);
	CHECK(conn_wait(p.c, other[0], 20) == 0);
	say(other[1], "x");
	CHECK(conn_wait(p.c, other[0], 1000) == CONN_WAIT_OTHER);
	say(p.peer, "line\r\n");
	CHECK(conn_wait(p.c, -1, 1000) == CONN_WAIT_INPUT);
	CHECK(conn_wait(p.c, -1, 1000) == CONN_WAIT_INPUT);
	CHECK(line_is(p.c, "line", true));
	close(p.peer);
	CHECK(conn_wait(p.c, -1, 1000) == CONN_WAIT_INPUT);
	close(other[0]);
	close(other[1]);
	conn_close(&p.c);
}

static void signal_soon(pid_t parent)
{
	clock_sleep_ms(100);
	kill(parent, SIGTERM);
	_exit(0);
}

/* SIGTERM wakes a blocked reader; a line that has begun, and pipelined input, are still served. */
static void drains(void)
{
	struct pair p = open_pair();
	uint64_t start = clock_mono_ms();
	pid_t self = getpid(), pid;
	struct str line;
	struct err e;

	REQUIRE(drain_init(&e) == ERR_OK);
	drain_watch(conn_fd(p.c));
	if ((pid = fork()) == 0)
		signal_soon(self);
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_BUSY);
	CHECK(took(start, 90, 1000) && serve_draining());
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_BUSY);
	CHECK(conn_wait(p.c, -1, 1000) == CONN_WAIT_DRAIN);
	say(p.peer, "a\r\nb");
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_OK);
	if (fork() == 0) {
		clock_sleep_ms(50);
		_exit(write(p.peer, "c\r\n", 3) != 3);
	}
	CHECK(conn_read_line(p.c, 100, &line, NULL, &e) == ERR_OK && str_eq(line, STR("bc")));
	while (wait(NULL) > 0)
		;
	(void)pid;
	close_pair(&p);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	reads_lines();
	limits_lines();
	keeps_deadlines();
	writes();
	sends_files();
	waits();
	meets_silent_reader();
	drains();
	return tap_done();
}
