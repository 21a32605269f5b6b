/* SPDX-License-Identifier: ISC */
/* RETR and TOP: a message's octets with stuffed dots. What is sent is a view of mapped memory,
 * never a copy of a whole message; long runs without a dot to stuff go from file to socket in the
 * kernel. */
#include "../libmail/dotstuff.h"
#include "../libmail/record.h"
#include "parse.h"
#include "session.h"

/* A view of the body that is being sent, for spans that can be sent from its file. */
struct source {
	const struct message_text *text;
	struct str view;
	uint64_t at;		/* the view's place in the message */
};

static bool put_from_file(struct pop3 *s, const struct source *src, struct str span)
{
	struct text_span files[2];
	size_t n;

	if (span.n < POP3_SENDFILE_MIN_OCTETS || conn_is_tls(s->c))
		return false;
	n = message_spans(src->text, src->at + (uint64_t)(span.p - src->view.p), span.n, files);
	for (size_t i = 0; i < n; i++) {
		if (files[i].fd >= 0)
			conn_put_file(s->c, files[i].fd, files[i].off, files[i].len);
		else
			conn_put(s->c, str_n(files[i].p, files[i].len));
	}
	return true;
}

static void put_stuffed(struct pop3 *s, struct dot_enc *enc, const struct source *src)
{
	struct str spans[DOT_SPANS_MAX], rest = src->view, chunk;
	size_t n;

	while (rest.n > 0) {
		chunk = str_head(rest, POP3_CHUNK_OCTETS);
		rest = str_skip(rest, dot_enc_feed(enc, chunk, spans, &n));
		for (size_t i = 0; i < n; i++)
			if (!put_from_file(s, src, spans[i]))
				conn_put(s->c, spans[i]);
	}
}

/* Sends the prefix and the body's first `octets` as a multi-line reply's text. */
static void put_message(struct pop3 *s, const struct message_text *t, size_t octets)
{
	struct source prefix = { t, t->prefix, 0 };
	struct source body = { t, str_head(t->body, octets), t->prefix.n };
	struct dot_enc enc;

	dot_enc_init(&enc);
	put_stuffed(s, &enc, &prefix);
	put_stuffed(s, &enc, &body);
	conn_put(s->c, dot_enc_end(&enc));
}

static bool open_text(struct pop3 *s, uint32_t msgno, struct message_text *t)
{
	const struct message *m = pop3_message(s, msgno);
	struct err e;

	if (m == NULL)
		return false;
	if (message_open(maildrop_inbox(s->drop), m, t, &e) == ERR_OK)
		return true;
	reply_err(s, "pop3.read.failed", &e);
	return false;
}

void cmd_retr(struct pop3 *s, struct str arg)
{
	struct message_text t;
	uint32_t msgno;

	if (!pop3_number(arg, &msgno)) {
		reply_bad(s, "not a message number");
		return;
	}
	if (!open_text(s, msgno, &t))
		return;
	conn_printf(s->c, "+OK %zu octets\r\n", t.prefix.n + t.body.n);
	put_message(s, &t, t.body.n);
	s->n_retr++;
	s->retr_octets += t.prefix.n + t.body.n;
	message_close(&t);
}

void cmd_top(struct pop3 *s, struct str arg)
{
	struct message_text t;
	struct record r;
	uint32_t msgno, lines;
	size_t header;
	struct err e;

	if (!pop3_two_numbers(arg, &msgno, &lines)) {
		reply_bad(s, "a message number and a number of lines are wanted");
		return;
	}
	if (!open_text(s, msgno, &t))
		return;
	if (record_open(t.record, &r, &e) != ERR_OK) {
		reply_err(s, "pop3.record.failed", &e);
	} else {
		header = r.header_octets < t.body.n ? (size_t)r.header_octets : t.body.n;
		reply_ok(s, "top follows");
		put_message(s, &t, header + pop3_lines_length(str_skip(t.body, header), lines));
		s->n_top++;
	}
	message_close(&t);
}
