/* SPDX-License-Identifier: ISC */
/* Any octets as a command line of SMTP, as a header that streams by, and as a reply of deliver.
 * What comes out of a path must not be able to break out of the line that smtpd sends on. */
#include "../../libmail/path.h"
#include "../../smtpd/lmtp.h"
#include "../../smtpd/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_one_line(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			__builtin_trap();
}

static void command(struct arena *a, struct str line)
{
	struct esmtp_param v[ESMTP_PARAMS_MAX];
	struct str verb, arg, rest;
	struct mail_path path;
	struct err e;
	size_t n;

	if (!smtp_line_split(line, &verb, &arg))
		return;
	rest = arg;
	if (!path_take_keyword(&rest, STR("FROM:")) && !path_take_keyword(&rest, STR("TO:")))
		return;
	if (path_parse(a, rest, PATH_NULL_OK | PATH_NO_DOMAIN_OK, &path, &rest, &e) != ERR_OK)
		return;
	check_one_line(path.text);
	(void)!esmtp_params_parse(rest, v, &n, &e);
}

static void received(struct str text)
{
	struct trace t = { .helo = text, .peer_ip = text, .hostname = text, .id = text,
		.rcpt = text, .tls_info = text };
	struct buf b = BUF_INIT(TRACE_MAX_OCTETS);
	size_t n_lines = 0;

	trace_put_received(&b, &t);
	for (size_t i = 0; i < b.n; i++)
		n_lines += b.p[i] == '\n';
	if (n_lines > 5)
		__builtin_trap();
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_n((const char *)data, n);
	struct arena *a = arena_new(1 << 20);
	struct header_scan h = { 0 };
	struct lmtp_reply r;
	bool more;

	command(a, in);
	header_scan_feed(&h, in);
	if (lmtp_reply_parse(in, &r, &more))
		check_one_line(str_of(r.text));
	received(in);
	arena_free(&a);
	return 0;
}
