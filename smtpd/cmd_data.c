/* SPDX-License-Identifier: ISC */
/* DATA: the message streams through to deliver in its wire form while it is checked. Invariants:
 * only CRLF "." CRLF ends it, so the client and we always agree where the next command begins; the
 * octets of the end reach deliver only when nothing was wrong with the whole; 250 is said only
 * after deliver has said it for every recipient. */
#include <stdio.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "../libmail/dotstuff.h"
#include "session.h"
#include "trace.h"

enum {
	ID_MAX_OCTETS = 48,
	SWALLOW_MAX_MS = 600000,	/* an oversized message is read to its end for so long */
};

/* What is to be said instead of deliver's answer; code 0: nothing wrong. */
struct verdict {
	unsigned code;
	const char *enhanced, *text;
};

struct intake {
	struct dot_dec dots;
	struct header_scan header;
	struct trace trace;
	struct buf held;		/* a submitted header until its fields are known */
	bool holding;
	char id[ID_MAX_OCTETS];
	struct verdict bad;
	struct lmtp_reply refusal;	/* deliver's to DATA: bad.text may point into it */
};

static const struct {
	unsigned faults;
	struct verdict verdict;
} fault_verdicts[] = {
	{ DOT_BARE_LF, { 554, "5.6.0", "Message has a bare LF, lines end in CR LF" } },
	{ DOT_BARE_CR, { 554, "5.6.0", "Message has a bare CR, lines end in CR LF" } },
	{ DOT_NUL, { 554, "5.6.0", "Message has a NUL octet" } },
};

static struct verdict verdict_on(struct smtp *s, const struct intake *in)
{
	for (size_t i = 0; i < COUNTOF(fault_verdicts); i++)
		if ((in->dots.faults & fault_verdicts[i].faults) != 0)
			return fault_verdicts[i].verdict;
	if (in->dots.n_text_octets > s->conf->message_size_limit)
		return (struct verdict){ 552, "5.3.4", "Message is larger than this server takes" };
	if (in->header.n_received > SMTP_RECEIVED_MAX)
		return (struct verdict){ 554, "5.4.6", "Too many hops, goes in circles" };
	return (struct verdict){ 0, NULL, NULL };
}

static void put_fields(struct smtp *s, struct intake *in, bool missing_ones)
{
	struct buf b = BUF_INIT(TRACE_MAX_OCTETS);

	trace_put_received(&b, &in->trace);
	if (missing_ones)
		trace_put_missing(&b, &in->trace, &in->header);
	lmtp_put(s->deliver, buf_str(&b));
	buf_free(&b);
}

/* Ends the holding: the header is whole, too long to hold, or the message is over. */
static void release(struct smtp *s, struct intake *in)
{
	in->holding = false;
	put_fields(s, in, in->header.ended || in->dots.done);
	lmtp_put(s->deliver, buf_str(&in->held));
	buf_free(&in->held);
}

/* Passes wire octets on, in front of them our fields. */
static void forward(struct smtp *s, struct intake *in, struct str wire)
{
	if (!in->holding) {
		lmtp_put(s->deliver, wire);
		return;
	}
	if (buf_put(&in->held, wire)) {
		if (in->header.ended || in->dots.done)
			release(s, in);
		return;
	}
	release(s, in);
	lmtp_put(s->deliver, wire);
}

static void intake_init(struct smtp *s, struct intake *in)
{
	*in = (struct intake){ .held = BUF_INIT(SMTP_HOLD_MAX_OCTETS), .holding = s->submission };
	dot_dec_init(&in->dots, 0);
	snprintf(in->id, sizeof in->id, "%s.%llu", s->serve->sid,
	    (unsigned long long)s->n_messages);
	in->trace = (struct trace){
		.helo = str_of(s->helo), .peer_ip = str_of(conn_peer_ip(s->c)),
		.hostname = str_of(s->set->hostname), .domain = str_of(s->set->domain),
		.tls_info = str_of(conn_tls_info(s->c)), .id = str_of(in->id),
		.rcpt = s->t.n_rcpts == 1 ? s->t.rcpts[0] : STR(""),
		.esmtp = s->esmtp, .authenticated = s->user[0] != '\0', .now_s = clock_real_s(),
	};
}

/* Checks what came and passes it on; returns the octets taken. */
static size_t intake_take(struct smtp *s, struct intake *in, struct str chunk)
{
	struct str spans[DOT_SPANS_MAX];
	size_t n, used = dot_dec_feed(&in->dots, chunk, spans, &n);

	for (size_t i = 0; i < n && !in->header.ended; i++)
		header_scan_feed(&in->header, spans[i]);
	if (in->bad.code != 0)
		return used;
	in->bad = verdict_on(s, in);
	if (in->bad.code != 0)
		lmtp_abandon(s->deliver);
	else
		forward(s, in, str_head(chunk, used));
	return used;
}

/* Reads to the end of the message; false when the client went away or is too slow. */
static bool receive(struct smtp *s, struct intake *in, struct err *e)
{
	uint64_t start_ms = clock_mono_ms();

	conn_deadline(s->c, s->conf->data_timeout_ms);
	while (!in->dots.done) {
		struct str chunk;

		if (conn_peek(s->c, &chunk, e) != ERR_OK)
			return false;
		conn_consume(s->c, intake_take(s, in, chunk));
		if (in->bad.code != 0 && clock_mono_ms() - start_ms > SWALLOW_MAX_MS) {
			err_set(e, ERR_LIMIT, 0, "%s", in->bad.text);
			return false;
		}
	}
	return true;
}

static const struct verdict broken = { 451, "4.3.0", "Local delivery failed, try again later" };

/* Of several recipients' answers the one to give: a temporary failure makes the client come again,
 * a permanent one makes it tell the sender; 250 when there is neither. */
static void results(struct smtp *s, struct intake *in, struct lmtp_reply *out)
{
	struct lmtp_reply r;
	struct err e;

	out->code = 0;
	for (size_t i = 0; i < s->t.n_rcpts; i++) {
		if (lmtp_result(s->deliver, &r, &e) != ERR_OK) {
			log_event(LOG_LEVEL_ERR, "smtp.deliver.failed", KV_Z("id", in->id),
			    KV_S("to", s->t.rcpts[i]), KV_ERR(&e));
			in->bad = broken;
			return;
		}
		if (r.code >= 300)
			log_event(LOG_LEVEL_WARN, "smtp.rcpt.failed", KV_Z("id", in->id),
			    KV_S("to", s->t.rcpts[i]), KV_U("code", r.code), KV_Z("text", r.text));
		if (out->code == 0 || (r.code / 100 == 4 && out->code / 100 != 4) ||
		    (r.code / 100 == 5 && out->code / 100 == 2))
			*out = r;
	}
	lmtp_done(s->deliver);
}

static void log_message(struct smtp *s, const struct intake *in, const char *status)
{
	log_event(LOG_LEVEL_INFO, "smtp.message", KV_Z("id", in->id),
	    KV_Z("ip", conn_peer_ip(s->c)), KV_Z("user", s->user), KV_S("from", s->t.mail.sender),
	    KV_S("to", s->t.rcpts[0]), KV_U("rcpts", s->t.n_rcpts),
	    KV_U("octets", in->dots.n_text_octets), KV_Z("status", status));
}

static void answer(struct smtp *s, struct intake *in)
{
	struct lmtp_reply r;
	char text[ID_MAX_OCTETS + 32];

	if (in->bad.code == 0)
		results(s, in, &r);
	if (in->bad.code != 0) {
		log_message(s, in, in->bad.text);
		smtp_reply(s, in->bad.code, in->bad.enhanced, in->bad.text);
	} else if (r.code >= 300) {
		log_message(s, in, r.text);
		smtp_reply_lmtp(s, &r);
	} else {
		log_message(s, in, "delivered");
		snprintf(text, sizeof text, "Ok, delivered as %s", in->id);
		smtp_reply(s, 250, "2.0.0", text);
	}
}

/* deliver's answer to DATA; what it can't take is still read to its end. */
static void begin(struct smtp *s, struct intake *in)
{
	struct err e;

	if (lmtp_data_go(s->deliver, &in->refusal, &e) != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "smtp.deliver.failed", KV_Z("id", in->id), KV_ERR(&e));
		in->bad = broken;
	} else if (in->refusal.code >= 400) {
		in->bad = (struct verdict){ in->refusal.code, NULL, in->refusal.text };
	} else if (in->refusal.code != 354) {
		in->bad = broken;
	}
	if (in->bad.code != 0)
		lmtp_abandon(s->deliver);
	else if (!in->holding)
		put_fields(s, in, false);
}

void cmd_data(struct smtp *s, struct str arg)
{
	struct intake in;
	struct err e;

	(void)arg;
	if (!s->t.open) {
		smtp_reply(s, 503, "5.5.1", "Say MAIL first");
		return;
	}
	if (s->t.n_rcpts == 0) {	/* RFC 2920 s.3.1: also when every RCPT was refused */
		smtp_reply(s, 554, "5.5.1", "No valid recipients");
		return;
	}
	s->n_messages++;
	intake_init(s, &in);
	lmtp_data(s->deliver);
	smtp_reply(s, 354, NULL, "Send the message, end with a line that is a dot");
	if (conn_flush(s->c, &e) != ERR_OK) {
		s->over = true;
		return;
	}
	begin(s, &in);
	if (receive(s, &in, &e)) {
		answer(s, &in);
	} else {
		log_event(LOG_LEVEL_INFO, "smtp.data.lost", KV_Z("id", in.id),
		    KV_Z("ip", conn_peer_ip(s->c)), KV_U("octets", in.dots.n_text_octets),
		    KV_ERR(&e));
		if (e.kind == ERR_TIMEOUT || e.kind == ERR_LIMIT)
			smtp_farewell(s, "4.4.2", "Timeout in message data");
		s->over = true;
	}
	buf_free(&in.held);
	smtp_txn_reset(s);
}
