/* SPDX-License-Identifier: ISC */
/* DATA: a message into a struct body, filed, answered once for each recipient (RFC 2033 s.4.2).
 * Invariants: only CRLF "." CRLF ends it; whatever goes wrong, the message is read to its end and
 * every recipient gets an answer, or the connection ends and nothing was filed. */
#include <stdio.h>

#include "../libbase/clock.h"
#include "../libbase/log.h"
#include "../libmail/date.h"
#include "../libmail/dotstuff.h"
#include "../libmail/header.h"
#include "session.h"

enum {
	TRACE_MAX_OCTETS = 2048,
	SWALLOW_MAX_MS = 600000,	/* an oversized message is read to its end for so long */
};

struct intake {
	struct dot_dec dots;
	struct body *body;
	struct open_store *spill;
	const struct lmtp_words *refusal;	/* the answer to every recipient; NULL: none yet */
};

static const struct lmtp_words malformed = {
	554, "5.6.0", "Message has a bare CR, a bare LF or a NUL octet"
};
static const struct lmtp_words in_circles = {
	554, "5.4.6", "Too many hops, goes in circles"
};

/* The first target whose store can be had takes a large body's file. */
static enum err_kind find_spill(struct lmtp *l, struct open_store **out, struct err *e)
{
	enum err_kind r = ERR_TEMP;

	for (size_t i = 0; i < l->env.n_targets; i++) {
		r = stores_get(l->conf->stores, l->env.targets[i].user, out, e);
		if (r == ERR_OK)
			return ERR_OK;
		l->env.targets[i].result = r;
	}
	return r;
}

static void refuse(struct lmtp *l, struct intake *in, const struct lmtp_words *words,
    const char *why)
{
	log_event(words->code < 500 ? LOG_LEVEL_ERR : LOG_LEVEL_INFO, "deliver.message.refused",
	    KV_S("from", l->sender), KV_Z("why", why));
	in->refusal = words;
}

static void take(struct lmtp *l, struct intake *in, struct str octets)
{
	struct err e;

	if (in->refusal == NULL && body_add(in->body, octets, &e) != ERR_OK)
		refuse(l, in, lmtp_message_words(l, e.kind), e.text);
}

/* Reads to the end of the message; false when the client went away or is too slow. */
static bool receive(struct lmtp *l, struct intake *in, struct err *e)
{
	uint64_t start_ms = clock_mono_ms();

	conn_deadline(l->c, l->conf->data_timeout_ms);
	while (!in->dots.done) {
		struct str chunk, spans[DOT_SPANS_MAX];
		size_t n, used;

		if (conn_peek(l->c, &chunk, e) != ERR_OK)
			return false;
		used = dot_dec_feed(&in->dots, chunk, spans, &n);
		for (size_t i = 0; i < n; i++)
			take(l, in, spans[i]);
		conn_consume(l->c, used);
		if (in->refusal != NULL && clock_mono_ms() - start_ms > SWALLOW_MAX_MS) {
			err_set(e, ERR_TIMEOUT, 0, "a refused message has no end");
			return false;
		}
	}
	return true;
}

static uint64_t count_received(struct str message)
{
	struct header_field f;
	struct header_iter it;
	uint64_t n = 0;

	header_iter_init(&it, message);
	while (header_next(&it, &f))
		n += str_eq_nocase(f.name, STR("Received"));
	return n;
}

static void check(struct lmtp *l, struct intake *in)
{
	struct err e;

	if ((in->dots.faults & (DOT_BARE_CR | DOT_BARE_LF | DOT_NUL)) != 0)
		refuse(l, in, &malformed, malformed.text);
	else if (in->refusal == NULL && body_seal(in->body, &e) != ERR_OK)
		refuse(l, in, lmtp_message_words(l, e.kind), e.text);
	else if (in->refusal == NULL && count_received(body_view(in->body)) > LMTP_RECEIVED_MAX)
		refuse(l, in, &in_circles, in_circles.text);
}

static void put_received(struct lmtp *l, struct buf *out)
{
	bool is_unix = strcmp(conn_peer_ip(l->c), "local") == 0;
	char date[DATE_TEXT_MAX_OCTETS];

	date_format_mail((struct mail_date){ clock_real_s(), 0 }, date);
	buf_printf(out, is_unix ? "Received: from %s (%s)\r\n" : "Received: from %s ([%s])\r\n",
	    l->helo, conn_peer_ip(l->c));
	buf_printf(out, "\tby %s (Pennypost) with LMTP id %s.%llu;\r\n\t%s\r\n",
	    l->set->hostname, l->serve->sid, (unsigned long long)l->n_messages, date);
}

static void file(struct lmtp *l, struct intake *in)
{
	struct buf trace = BUF_INIT(TRACE_MAX_OCTETS);

	check(l, in);
	if (in->refusal == NULL) {
		if (l->serve->listener->role == LMTP_ROLE_LMTP)
			put_received(l, &trace);
		lmtp_file(l, in->body, buf_str(&trace));
	}
	for (size_t i = 0; i < l->env.n_rcpts; i++)
		lmtp_reply_words(l, in->refusal != NULL ? in->refusal :
		    lmtp_message_words(l, envelope_result(&l->env, i)));
	buf_free(&trace);
}

void cmd_data(struct lmtp *l, struct str arg)
{
	struct intake in = { .refusal = NULL };
	enum err_kind r;
	struct err e;

	(void)arg;
	if (!l->open) {
		lmtp_reply(l, 503, "5.5.1", "Say MAIL first");
		return;
	}
	if (l->env.n_rcpts == 0) {
		lmtp_reply(l, 503, "5.5.1", "No valid recipients");	/* RFC 2033 s.4.2 */
		return;
	}
	r = find_spill(l, &in.spill, &e);
	if (r != ERR_OK) {
		log_event(LOG_LEVEL_ERR, "deliver.store.failed", KV_ERR(&e));
		lmtp_reply_words(l, lmtp_message_words(l, r));
		return;
	}
	in.spill->n_pins++;
	in.body = body_new(in.spill->store, l->conf->message_size_limit);
	dot_dec_init(&in.dots, 0);
	l->n_messages++;
	lmtp_reply(l, 354, NULL, "Send the message, end with a line that is a dot");
	if (conn_flush(l->c, &e) == ERR_OK && receive(l, &in, &e)) {
		file(l, &in);
	} else {
		log_event(LOG_LEVEL_INFO, "deliver.data.lost", KV_S("from", l->sender), KV_ERR(&e));
		l->over = true;
	}
	body_free(&in.body);
	in.spill->n_pins--;
	lmtp_txn_reset(l);
}
