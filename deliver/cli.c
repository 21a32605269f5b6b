/* SPDX-License-Identifier: ISC */
/* The command-line mode: one message from standard input to the running suite, over LMTP.
 * Invariants: all recipients are taken or none, so that a caller who tries again makes no
 * duplicates; what the caller gave can't break out of a command line. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libmail/path.h"
#include "../libserve/conn.h"
#include "../libserve/settings.h"
#include "cli.h"
#include "session.h"

enum {
	CLI_CHUNK_OCTETS = 65536,
	CLI_USERS_MAX = 1000,
	CLI_ARENA_OCTETS = 4 * 1024 * 1024,
	CLI_CONNECT_MS = 10000,
	CLI_PATH_FLAGS = PATH_NO_DOMAIN_OK | PATH_UTF8_OK,
	CLI_REPLY_MS = 300000,		/* RFC 5321 s.4.5.3.2.6 wants 10 minutes after the dot */
};

struct cli {
	struct arena *a;
	struct conn *c;
	const char *config, *socket, *sender, *mailbox;
	char **users;
	size_t n_users;
	struct str delimiter;
	int status;
};

static const char options[] = "c:s:f:m:tTn:";

bool cli_is_meant(int argc, char **argv)
{
	bool meant = false;
	int c;

	opterr = 0;
	while ((c = getopt(argc, argv, options)) != -1)
		meant |= c == 's' || c == 'f' || c == 'm';
	meant |= optind < argc;
	optind = 1;
	opterr = 1;
	return meant;
}

static int complain(int status, const char *what, const char *detail)
{
	fprintf(stderr, "deliver: %s%s%s\n", what, detail[0] != '\0' ? ": " : "", detail);
	return status;
}

static int parse_args(struct cli *cli, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, options)) != -1) {
		if (c == 'c')
			cli->config = optarg;
		else if (c == 's')
			cli->socket = optarg;
		else if (c == 'f')
			cli->sender = optarg;
		else if (c == 'm')
			cli->mailbox = optarg;
		else
			return complain(EX_USAGE, "usage: deliver [-c file] [-s socket] "
			    "[-f sender] [-m mailbox] user ...", "");
	}
	cli->users = argv + optind;
	cli->n_users = (size_t)(argc - optind);
	if (cli->n_users == 0 || cli->n_users > CLI_USERS_MAX)
		return complain(EX_USAGE, "between 1 and 1000 users are wanted", "");
	return EX_OK;
}

/* The first Unix socket that the supervisor makes for "lmtp". */
static const char *socket_path(struct cli *cli, const struct settings *set,
    const struct conf_list *listen)
{
	struct buf b = BUF_INIT(4096);
	const char *path = "lmtp.sock";
	const char *z;

	for (size_t i = 0; i < listen->n; i++) {
		struct str word = str_of(listen->v[i]);

		if (!str_starts(word, STR("lmtp:")) || str_has(str_skip(word, 5), ':'))
			continue;
		path = listen->v[i] + 5;
		break;
	}
	if (path[0] != '/')
		buf_printf(&b, "%s/", set->run_dir);
	buf_put(&b, str_of(path));
	z = str_z(cli->a, buf_str(&b));
	buf_free(&b);
	return z;
}

/* The configuration is only asked for what was not given: anybody may run this, not anybody read
 * that. */
static int configure(struct cli *cli)
{
	struct deliver_conf *conf = arena_alloc(cli->a, sizeof *conf);
	struct settings *set = arena_alloc(cli->a, sizeof *set);
	struct conf_list listen;
	struct conf_key listen_key = settings_listen_key("deliver", 0);
	struct conf *c;
	struct err e;

	cli->delimiter = STR("+");
	if (cli->socket != NULL)
		return EX_OK;
	if (conf == NULL || set == NULL)
		return complain(EX_TEMPFAIL, "out of memory", "");
	if (conf_read(cli->config, settings_sections, &c, &e) != ERR_OK ||
	    settings_get(c, "deliver", set, &e) != ERR_OK ||
	    conf_get(c, "deliver", deliver_keys, n_deliver_keys, conf, &e) != ERR_OK ||
	    conf_get(c, "deliver", &listen_key, 1, &listen, &e) != ERR_OK)
		return complain(EX_CONFIG, e.text, "");
	cli->delimiter = str_dup(cli->a, str_of(conf->recipient_delimiter));
	cli->socket = socket_path(cli, set, &listen);
	conf_free(&c);
	return EX_OK;
}

/* One reply; its code, and its text in *out. 0: the conversation broke. */
static unsigned read_reply(struct cli *cli, struct str *out)
{
	struct err e;

	conn_deadline(cli->c, CLI_REPLY_MS);
	if (conn_flush(cli->c, &e) != ERR_OK)
		return 0;
	for (;;) {
		uint64_t code;

		if (conn_read_line(cli->c, LMTP_LINE_MAX_OCTETS, out, NULL, &e) != ERR_OK ||
		    !str_to_u64(str_head(*out, 3), 599, &code) || code < 200)
			return 0;
		if (out->n < 4 || out->p[3] != '-')
			return (unsigned)code;
	}
}

static int status_of(unsigned code, struct str text)
{
	struct str enhanced = str_skip(text, 4);

	if (code < 400 && code >= 200)
		return EX_OK;
	if (code < 500)
		return EX_TEMPFAIL;
	if (str_starts(enhanced, STR("5.1.")))
		return EX_NOUSER;
	if (str_starts(enhanced, STR("5.6.")) || str_starts(enhanced, STR("5.3.4")) ||
	    str_starts(enhanced, STR("5.4.6")))
		return EX_DATAERR;
	return EX_UNAVAILABLE;
}

/* Waits for a reply; what is not in the class wanted becomes the exit status. */
static bool expect(struct cli *cli, unsigned class)
{
	struct str text;
	unsigned code = read_reply(cli, &text);
	char line[ERR_TEXT_MAX];

	if (code / 100 == class)
		return true;
	if (code == 0)
		text = STR("the delivery service does not answer");
	snprintf(line, sizeof line, "%.*s", STR_FMT(text));
	cli->status = complain(code == 0 ? EX_TEMPFAIL : status_of(code, text), line, "");
	if (cli->status == EX_OK)	/* 2yz instead of 354 */
		cli->status = EX_TEMPFAIL;
	return false;
}

/* "user" or "user@domain", with the mailbox as a plus address, always quoted: a mailbox's name may
 * hold anything. */
static bool put_rcpt(struct cli *cli, const char *user)
{
	struct buf b = BUF_INIT(2048);
	struct mail_path p;
	struct err e;

	if (path_parse_bare(cli->a, str_of(user), CLI_PATH_FLAGS, &p, &e) != ERR_OK) {
		cli->status = complain(EX_NOUSER, user, e.text);
		return false;
	}
	if (cli->mailbox == NULL) {
		buf_put(&b, p.text);
	} else {
		buf_putc(&b, '"');
		for (int part = 0; part < 3; part++) {
			struct str s = part == 0 ? p.local : part == 1 ? cli->delimiter :
			    str_of(cli->mailbox);

			for (size_t i = 0; i < s.n; i++) {
				if (s.p[i] == '"' || s.p[i] == '\\')
					buf_putc(&b, '\\');
				buf_putc(&b, s.p[i]);
			}
		}
		buf_putc(&b, '"');
		if (p.domain.n > 0)
			buf_putc(&b, '@');
		buf_put(&b, p.domain);
	}
	conn_put(cli->c, STR("RCPT TO:<"));
	conn_put(cli->c, buf_str(&b));
	conn_put(cli->c, STR(">\r\n"));
	buf_free(&b);
	return true;
}

static bool envelope(struct cli *cli)
{
	struct mail_path p = { .text = STR_INIT("") };
	struct err e;

	if (cli->sender[0] != '\0' && strcmp(cli->sender, "<>") != 0 &&
	    path_parse_bare(cli->a, str_of(cli->sender), CLI_PATH_FLAGS, &p, &e) != ERR_OK) {
		cli->status = complain(EX_DATAERR, "bad sender", e.text);
		return false;
	}
	conn_put(cli->c, STR("MAIL FROM:<"));
	conn_put(cli->c, p.text);
	conn_put(cli->c, STR(">\r\n"));
	if (!expect(cli, 2))
		return false;
	for (size_t i = 0; i < cli->n_users; i++)
		if (!put_rcpt(cli, cli->users[i]) || !expect(cli, 2))
			return false;
	conn_put(cli->c, STR("DATA\r\n"));
	return expect(cli, 3);
}

/* Lines to wire form: CR LF at every end, dots stuffed. */
struct wire {
	struct conn *c;
	bool line_start, after_cr;
};

static void put_wire(struct wire *w, struct str in)
{
	while (in.n > 0) {
		size_t n = str_find(in, '\n');
		bool crlf = n > 0 ? in.p[n - 1] == '\r' : w->after_cr;

		if (w->line_start && in.p[0] == '.')
			conn_put(w->c, STR("."));
		conn_put(w->c, str_head(in, n));
		if (n == in.n) {
			w->line_start = false;
			w->after_cr = in.p[n - 1] == '\r';
			return;
		}
		conn_put(w->c, crlf ? STR("\n") : STR("\r\n"));
		w->line_start = true;
		w->after_cr = false;
		in = str_skip(in, n + 1);
	}
}

/* "From sender date" as an mbox or a pipe puts it in front is no header field. */
static struct str without_from_line(struct str in)
{
	if (!str_starts(in, STR("From ")))
		return in;
	return str_skip(in, str_find(in, '\n') + 1);
}

static bool send_message(struct cli *cli)
{
	static char chunk[CLI_CHUNK_OCTETS];
	struct wire w = { .c = cli->c, .line_start = true };
	bool first = true;
	size_t n;

	while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0) {
		struct str in = str_n(chunk, n);

		conn_deadline(cli->c, CLI_REPLY_MS);
		put_wire(&w, first ? without_from_line(in) : in);
		first = false;
	}
	if (ferror(stdin)) {	/* without the dot nothing is delivered */
		cli->status = complain(EX_TEMPFAIL, "standard input", strerror(errno));
		return false;
	}
	if (!w.line_start)
		conn_put(cli->c, w.after_cr ? STR("\n") : STR("\r\n"));
	conn_put(cli->c, STR(".\r\n"));
	return true;
}

static void converse(struct cli *cli)
{
	struct err e;
	int worst = EX_OK;

	if (conn_connect_unix(cli->socket, CLI_CONNECT_MS, &cli->c, &e) != ERR_OK) {
		cli->status = complain(EX_TEMPFAIL, cli->socket, e.text);
		return;
	}
	conn_put(cli->c, STR("LHLO localhost\r\n"));
	if (!expect(cli, 2) || !expect(cli, 2) || !envelope(cli) || !send_message(cli))
		return;
	for (size_t i = 0; i < cli->n_users; i++) {
		if (!expect(cli, 2) && worst != EX_TEMPFAIL)
			worst = cli->status;
	}
	cli->status = worst;
	conn_put(cli->c, STR("QUIT\r\n"));
}

int cli_main(int argc, char **argv)
{
	struct cli cli = {
		.a = arena_new(CLI_ARENA_OCTETS), .config = SYSCONFDIR "/pennypost/pennypost.conf",
		.sender = "", .status = EX_OK,
	};

	cli.status = parse_args(&cli, argc, argv);
	if (cli.status == EX_OK)
		cli.status = configure(&cli);
	if (cli.status == EX_OK)
		converse(&cli);
	conn_close(&cli.c);
	arena_free(&cli.a);
	return cli.status;
}
