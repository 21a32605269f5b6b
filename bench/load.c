/* SPDX-License-Identifier: ISC */
/* A load driver for mail servers: one process a connection, blocking sockets, so that the
 * server's work is what is measured. Each worker connects and logs in, waits for the start, does
 * its share and ends; the time is from the start to the last worker's end. Prints one line:
 * scenario, connections, operations, seconds, operations a second. Any failed reply ends it with
 * 1. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	IN_OCTETS = 1 << 17,
	LINE_OCTETS = 4096,
	REPLY_WAIT_S = 300,	/* a search that reads 100,000 files takes its time */
	PIPELINE = 64,		/* commands in flight while filling */
	MESSAGE_MAX_OCTETS = 1 << 24,
	MULTIAPPEND = 200,	/* messages of one command, where the server takes them */
	VOCABULARY = 50000,	/* words that bodies are made of, the first ones often */
	SUBJECT_WORDS = 5,
};

#define RARE_WORD "quetzalcoatlus"	/* in the subject and the body of one message: the middle one */

struct options {
	const char *host, *port, *domain, *password;
	const char *user;			/* a printf pattern with one %d */
	const char *mailbox;
	char **commands;			/* of the scenarios that run what they are told */
	int n_commands;
	int connections, users, first_user;
	bool multiappend;
	long ops;
	size_t size;
};

struct worker {
	const struct options *o;
	int ix, fd;
	char in[IN_OCTETS];
	size_t in_pos, in_end;
	char user[128];
	char *message;		/* CRLF text of o->size octets, no dots at line starts */
	unsigned tag;
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	fputs("load: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* -- octets -- */

static void connect_worker(struct worker *w)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai;
	struct timeval limit = { REPLY_WAIT_S, 0 };
	int on = 1;

	if (getaddrinfo(w->o->host, w->o->port, &hints, &ai) != 0)
		die("no address %s:%s", w->o->host, w->o->port);
	w->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w->fd < 0 || connect(w->fd, ai->ai_addr, ai->ai_addrlen) < 0)
		die("connect: %s", strerror(errno));
	freeaddrinfo(ai);
	setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	w->in_pos = w->in_end = 0;
}

static void put(struct worker *w, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = send(w->fd, p, n, MSG_NOSIGNAL);

		if (k < 0)
			die("send: %s", strerror(errno));
		p += k;
		n -= (size_t)k;
	}
}

static void say(struct worker *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct worker *w, const char *fmt, ...)
{
	char line[LINE_OCTETS];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	put(w, line, (size_t)n);
}

static void fill(struct worker *w)
{
	ssize_t n;

	if (w->in_pos > 0) {
		memmove(w->in, w->in + w->in_pos, w->in_end - w->in_pos);
		w->in_end -= w->in_pos;
		w->in_pos = 0;
	}
	if (w->in_end == sizeof w->in)
		die("a line is too long");
	n = recv(w->fd, w->in + w->in_end, sizeof w->in - w->in_end, 0);
	if (n <= 0)
		die("%s: the server is gone: %s", w->user, n == 0 ? "closed" : strerror(errno));
	w->in_end += (size_t)n;
}

/* The next line, NUL-terminated in the buffer, valid until the next call. */
static char *line(struct worker *w)
{
	size_t seen = 0;

	for (;;) {
		char *p = w->in + w->in_pos;
		char *lf = memchr(p + seen, '\n', w->in_end - w->in_pos - seen);

		if (lf != NULL) {
			w->in_pos = (size_t)(lf - w->in) + 1;
			*lf = '\0';
			if (lf > p && lf[-1] == '\r')
				lf[-1] = '\0';
			return p;
		}
		seen = w->in_end - w->in_pos;
		fill(w);
	}
}

static void skip(struct worker *w, size_t n)
{
	while (n > 0) {
		size_t have = w->in_end - w->in_pos;

		if (have == 0) {
			fill(w);
			continue;
		}
		if (have > n)
			have = n;
		w->in_pos += have;
		n -= have;
	}
}

/* -- IMAP -- */

/* Reads up to the tagged reply with this number, which must be OK; literals are skipped. */
static void imap_wait(struct worker *w, unsigned tag)
{
	char want[16];
	int n = snprintf(want, sizeof want, "%u ", tag);

	for (;;) {
		char *l = line(w), *brace = strrchr(l, '{');
		size_t len = strlen(l);

		if (strncmp(l, want, (size_t)n) == 0) {
			if (strncmp(l + n, "OK", 2) != 0)
				die("%s: %s", w->user, l);
			return;
		}
		if (brace != NULL && l[len - 1] == '}')
			skip(w, strtoul(brace + 1, NULL, 10));
	}
}

static void imap_login(struct worker *w)
{
	connect_worker(w);
	line(w);
	say(w, "%u LOGIN %s %s\r\n", ++w->tag, w->user, w->o->password);
	imap_wait(w, w->tag);
}

static void imap_command(struct worker *w, const char *text)
{
	say(w, "%u %s\r\n", ++w->tag, text);
	imap_wait(w, w->tag);
}

static void imap_logout(struct worker *w)
{
	imap_command(w, "LOGOUT");
	close(w->fd);
}

static void imap_open(struct worker *w)
{
	imap_login(w);
	say(w, "%u SELECT %s\r\n", ++w->tag, w->o->mailbox);
	imap_wait(w, w->tag);
}

static void put_append(struct worker *w)
{
	char head[96];
	int n = snprintf(head, sizeof head, "%u APPEND %s {%zu+}\r\n", ++w->tag, w->o->mailbox,
	    w->o->size);
	static char all[MESSAGE_MAX_OCTETS + 128];

	memcpy(all, head, (size_t)n);
	memcpy(all + n, w->message, w->o->size);
	memcpy(all + n + w->o->size, "\r\n", 2);
	put(w, all, (size_t)n + w->o->size + 2);
}

/* The commands that were given as arguments, one by one from the i-th on, round and round. A '%' is the number of the
 * operation, from 1. */
static void given_command(struct worker *w, long i)
{
	const char *c = w->o->commands[i % w->o->n_commands], *percent = strchr(c, '%');

	if (percent == NULL)
		imap_command(w, c);
	else {
		say(w, "%u %.*s%ld%s\r\n", ++w->tag, (int)(percent - c), c, i + 1, percent + 1);
		imap_wait(w, w->tag);
	}
}

static void run_commands(struct worker *w, long ops)
{
	for (long i = 0; i < ops; i++)
		given_command(w, i);
}

/* An operation is a session: log-in, SELECT, the given commands, log-out. */
static void run_login(struct worker *w, long ops)
{
	for (long i = 0; i < ops; i++) {
		imap_open(w);
		for (int c = 0; c < w->o->n_commands; c++)
			imap_command(w, w->o->commands[c]);
		imap_logout(w);
	}
}

static void run_append(struct worker *w, long ops)
{
	for (long i = 0; i < ops; i++) {
		put_append(w);
		imap_wait(w, w->tag);
	}
}

/* As run_append, but many in flight: to prepare other scenarios. */
static void run_fill(struct worker *w, long ops)
{
	for (long sent = 0, done = 0; done < ops; done++) {
		for (; sent < ops && sent - done < PIPELINE; sent++)
			put_append(w);
		imap_wait(w, w->tag - (unsigned)(sent - done) + 1);
	}
}

/* -- mail made of words: no two messages are alike -- */

static uint64_t random_next(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

/* Words of two to five syllables; small numbers, which are common words, come much more often. */
static size_t put_word(char *out, uint64_t *r)
{
	static const char *const syllables[] = { "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu",
		"na", "pe", "ri", "so", "tu", "va" };
	double u = (double)(random_next(r) >> 11) / 9007199254740992.0;
	unsigned word = (unsigned)(u * u * u * VOCABULARY), n = 0;

	for (word += 16; word > 0; word /= 16) {
		memcpy(out + n, syllables[word % 16], 2);
		n += 2;
	}
	return n;
}

static void make_words(struct worker *w, char *m, long number, bool rare)
{
	uint64_t r = 0x9e3779b97f4a7c15u * (uint64_t)((number + 1) * w->o->connections + w->ix);
	size_t n = (size_t)sprintf(m, "From: Sender %ld <sender%ld@example.org>\r\nTo: <someone@%s>\r\n"
	    "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <words.%d.%ld@example.org>\r\nSubject: ",
	    number % 97, number % 97, w->o->domain, w->ix, number), col = 0;

	for (int i = 0; i < SUBJECT_WORDS; i++) {
		n += put_word(m + n, &r);
		m[n++] = ' ';
	}
	n += (size_t)sprintf(m + n, "%s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii"
	    "\r\n\r\n%s", rare ? RARE_WORD : "end", rare ? RARE_WORD " " : "");
	while (n + 16 < w->o->size) {
		size_t k = put_word(m + n, &r);

		n += k;
		col += k + 1;
		m[n++] = col > 66 ? '\r' : ' ';
		if (col > 66) {
			m[n++] = '\n';
			col = 0;
		}
	}
	memset(m + n, '.', w->o->size - 2 - n);
	n = w->o->size - 2;
	memcpy(m + n, "\r\n", 2);
}

static void run_fill_words(struct worker *w, long ops)
{
	long batch = w->o->multiappend ? MULTIAPPEND : 1, sent = 0, waited = 0;

	for (long n = 0; n < ops; sent++) {
		say(w, "%u APPEND %s", ++w->tag, w->o->mailbox);
		for (long k = 0; k < batch && n < ops; k++, n++) {
			make_words(w, w->message, n, w->ix == 0 && n == ops / 2);
			say(w, " {%zu+}\r\n", w->o->size);
			put(w, w->message, w->o->size);
		}
		put(w, "\r\n", 2);
		if (sent - waited >= (w->o->multiappend ? 0 : PIPELINE - 1))
			imap_wait(w, w->tag - (unsigned)(sent - waited++));
	}
	while (waited < sent)
		imap_wait(w, w->tag - (unsigned)(sent - ++waited));
}

static void run_fetch(struct worker *w, long ops)
{
	char text[64];

	for (long i = 0; i < ops; i++) {
		snprintf(text, sizeof text, "FETCH %ld BODY.PEEK[]", i + 1);
		imap_command(w, text);
	}
}

static void run_flags(struct worker *w, long ops)
{
	for (long i = 0; i < ops; i++)
		imap_command(w, "FETCH 1:* (FLAGS)");
}

static void run_noop(struct worker *w, long ops)
{
	for (long i = 0; i < ops; i++)
		imap_command(w, "NOOP");
}

static void run_empty(struct worker *w, long ops)
{
	(void)ops;
	imap_command(w, "UID STORE 1:* +FLAGS.SILENT (\\Deleted)");
	imap_command(w, "EXPUNGE");
}

/* Waits until INBOX holds this many messages: how long a queue takes to deliver. */
static void run_arrive(struct worker *w, long ops)
{
	for (long n = -1; n < ops;) {
		char *l;

		say(w, "%u STATUS INBOX (MESSAGES)\r\n", ++w->tag);
		l = line(w);
		if (strstr(l, "MESSAGES ") == NULL)
			die("%s", l);
		n = atol(strstr(l, "MESSAGES ") + 9);
		imap_wait(w, w->tag);
		if (n < ops)
			poll(NULL, 0, 5);
	}
}

/* -- POP3 -- */

static char *pop3_ok(struct worker *w)
{
	char *l = line(w);

	if (strncmp(l, "+OK", 3) != 0)
		die("%s: %s", w->user, l);
	return l;
}

static void pop3_text(struct worker *w)
{
	while (strcmp(line(w), ".") != 0)
		;
}

static void pop3_login(struct worker *w)
{
	connect_worker(w);
	pop3_ok(w);
	say(w, "USER %s\r\n", w->user);
	pop3_ok(w);
	say(w, "PASS %s\r\n", w->o->password);
	pop3_ok(w);
}

static void pop3_quit(struct worker *w)
{
	say(w, "QUIT\r\n");
	pop3_ok(w);
	close(w->fd);
}

/* A client that takes everything: LIST, then RETR and DELE one by one, not pipelined. */
static void run_drain(struct worker *w, long ops)
{
	pop3_login(w);
	say(w, "LIST\r\n");
	pop3_ok(w);
	pop3_text(w);
	for (long i = 1; i <= ops; i++) {
		say(w, "RETR %ld\r\n", i);
		pop3_ok(w);
		pop3_text(w);
		say(w, "DELE %ld\r\n", i);
		pop3_ok(w);
	}
	pop3_quit(w);
}

static void run_poll(struct worker *w, long ops)
{
	for (long i = 0; i < ops; i++) {
		pop3_login(w);
		say(w, "STAT\r\n");
		pop3_ok(w);
		pop3_quit(w);
	}
}

/* -- SMTP and LMTP -- */

static void smtp_wait(struct worker *w, char class)
{
	for (;;) {
		char *l = line(w);

		if (l[0] != class)
			die("%s: %s", w->user, l);
		if (l[3] != '-')
			return;
	}
}

static void open_smtp(struct worker *w)
{
	connect_worker(w);
	smtp_wait(w, '2');
	say(w, "EHLO client.example.org\r\n");
	smtp_wait(w, '2');
}

static void open_lmtp(struct worker *w)
{
	connect_worker(w);
	smtp_wait(w, '2');
	say(w, "LHLO client.example.org\r\n");
	smtp_wait(w, '2');
}

static void run_deliver(struct worker *w, long ops)
{
	static char all[MESSAGE_MAX_OCTETS + 8];

	memcpy(all, w->message, w->o->size);
	memcpy(all + w->o->size, ".\r\n", 3);
	for (long i = 0; i < ops; i++) {
		say(w, "MAIL FROM:<sender@example.org>\r\nRCPT TO:<%s@%s>\r\nDATA\r\n", w->user,
		    w->o->domain);
		smtp_wait(w, '2');
		smtp_wait(w, '2');
		smtp_wait(w, '3');
		put(w, all, w->o->size + 3);
		smtp_wait(w, '2');
	}
}

static const struct scenario {
	const char *name;
	void (*open)(struct worker *w);		/* before the start; NULL: it is measured too */
	void (*run)(struct worker *w, long ops);
} scenarios[] = {
	{ "imap-login", NULL, run_login },
	{ "imap-append", imap_open, run_append },
	{ "imap-fetch", imap_open, run_fetch },
	{ "imap-flags", imap_open, run_flags },
	{ "imap-noop", imap_open, run_noop },
	{ "imap-commands", imap_open, run_commands },
	{ "pop3-drain", NULL, run_drain },
	{ "pop3-poll", NULL, run_poll },
	{ "smtp", open_smtp, run_deliver },
	{ "lmtp", open_lmtp, run_deliver },
	{ "fill", imap_open, run_fill },
	{ "fill-words", imap_open, run_fill_words },
	{ "empty", imap_open, run_empty },
	{ "arrive", imap_login, run_arrive },
};

/* -- workers -- */

/* A message of exactly o->size octets, different for each worker. */
static char *make_message(const struct options *o, int ix)
{
	char *m = malloc(o->size + 1);
	int n;

	if (m == NULL || o->size < 400 || o->size > MESSAGE_MAX_OCTETS)
		die("message size must be 400 … %d", MESSAGE_MAX_OCTETS);
	n = snprintf(m, o->size, "From: Sender %d <sender@example.org>\r\nTo: <someone@%s>\r\n"
	    "Subject: load %d\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
	    "Message-ID: <load.%d.%ld@example.org>\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n\r\n", ix, o->domain, ix, ix,
	    (long)getpid());
	for (size_t i = (size_t)n, col = 0; i < o->size; i++, col = (col + 1) % 72)
		m[i] = col == 70 ? '\r' : col == 71 ? '\n' : (char)('a' + col % 26);
	memcpy(m + o->size - 4, "\r\n\r\n", 4);
	if (m[o->size - 5] == '\r')
		m[o->size - 5] = 'x';
	return m;
}

static void run_worker(const struct options *o, const struct scenario *sc, int ix, int ready_fd,
    int go_fd)
{
	struct worker *w = calloc(1, sizeof *w);
	long share = o->ops / o->connections + (ix < o->ops % o->connections);
	char c = 0;

	if (w == NULL)
		die("no memory");
	w->o = o;
	w->ix = ix;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(w->user, sizeof w->user, o->user, o->first_user + ix % o->users);
#pragma GCC diagnostic pop
	w->message = make_message(o, ix);
	if (sc->open != NULL)
		sc->open(w);
	if (write(ready_fd, &c, 1) != 1)
		die("the parent is gone");
	close(ready_fd);
	if (read(go_fd, &c, 1) != 1)	/* another worker did not get here */
		exit(1);
	sc->run(w, share);
	exit(0);
}

static void measure(const struct options *o, const struct scenario *sc)
{
	int ready[2], go[2], status, bad = 0;
	double start, took;
	char c;

	if (pipe(ready) < 0 || pipe(go) < 0)
		die("pipe");
	for (int i = 0; i < o->connections; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			close(go[1]);
			run_worker(o, sc, i, ready[1], go[0]);
		}
	}
	close(ready[1]);
	for (int i = 0; i < o->connections; i++)
		if (read(ready[0], &c, 1) != 1)
			die("a worker did not get ready");
	start = now_s();
	for (int i = 0; i < o->connections; i++)
		if (write(go[1], "", 1) != 1)
			die("pipe");
	for (int i = 0; i < o->connections; i++)
		if (wait(&status) > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
			bad++;
	took = now_s() - start;
	if (bad > 0)
		die("%d workers failed", bad);
	printf("%s\t%d\t%ld\t%.6f\t%.1f\n", sc->name, o->connections, o->ops, took,
	    (double)o->ops / took);
}

static void usage(void)
{
	fputs("usage: load [-H host] [-d domain] [-u user%d] [-f first] [-w password] [-U users]\n"
	    "            [-c connections] [-n ops] [-s octets] [-m mailbox] [-M] -p port SCENARIO [COMMAND …]\n"
	    "scenarios:", stderr);
	for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
		fprintf(stderr, " %s", scenarios[i].name);
	fputc('\n', stderr);
	exit(64);
}

/* The pattern goes to printf, so it may hold one %d and no other. */
static bool good_pattern(const char *p)
{
	const char *percent = strchr(p, '%');

	return percent == NULL || (percent[1] == 'd' && strchr(percent + 1, '%') == NULL);
}

int main(int argc, char **argv)
{
	struct options o = { .host = "127.0.0.1", .domain = "pennypost.test", .password = "penny",
		.user = "u%d", .connections = 1, .users = 1, .ops = 1000, .size = 4096,
		.mailbox = "INBOX" };
	int opt;

	while ((opt = getopt(argc, argv, "H:p:d:u:f:w:U:c:n:s:m:M")) != -1) {
		switch (opt) {
		case 'H': o.host = optarg; break;
		case 'p': o.port = optarg; break;
		case 'd': o.domain = optarg; break;
		case 'u': o.user = optarg; break;
		case 'f': o.first_user = atoi(optarg); break;
		case 'm': o.mailbox = optarg; break;
		case 'M': o.multiappend = true; break;
		case 'w': o.password = optarg; break;
		case 'U': o.users = atoi(optarg); break;
		case 'c': o.connections = atoi(optarg); break;
		case 'n': o.ops = atol(optarg); break;
		case 's': o.size = strtoul(optarg, NULL, 10); break;
		default: usage();
		}
	}
	if (o.port == NULL || optind >= argc || o.connections < 1 || o.users < 1 || o.ops < 1 ||
	    !good_pattern(o.user))
		usage();
	o.commands = argv + optind + 1;
	o.n_commands = argc - optind - 1;
	for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
		if (strcmp(scenarios[i].name, argv[optind]) == 0 &&
		    (o.n_commands > 0 || scenarios[i].run != run_commands)) {
			measure(&o, &scenarios[i]);
			return 0;
		}
	usage();
}
