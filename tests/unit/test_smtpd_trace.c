/* SPDX-License-Identifier: ISC */
/* What smtpd sees in a header that streams by, what it adds, and how it reads deliver's replies. */
#include "../../smtpd/lmtp.h"
#include "../../smtpd/trace.h"
#include "tap.h"

static void test_scan(void)
{
	static const struct {
		struct str in;
		bool ended, date, id;
		uint64_t received;
	} t[] = {
		{ STR_INIT("Received: a\r\nreceived : b\r\nDate: x\r\n\r\nReceived: no\r\n"), true,
		  true, false, 2 },
		{ STR_INIT("\r\nDate: in the body\r\n"), true, false, false, 0 },
		{ STR_INIT("Subject: x\r\n Date: folded\r\nMESSAGE-ID: <a>\r\n"), false, false, true,
		  0 },
		{ STR_INIT("Dated: x\r\nX-Received: y\r\nReceivedX: z\r\n\r\n"), true, false, false,
		  0 },
		{ STR_INIT("A-Very-Long-Field-Name-Received: y\r\n\r\n"), true, false, false, 0 },
		{ STR_INIT("no header at all\r\n\r\n"), true, false, false, 0 },
		{ STR_INIT(""), false, false, false, 0 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		for (size_t step = 1; step <= t[i].in.n + 1; step++) {
			struct header_scan h = { 0 };
			bool ok;

			for (size_t at = 0; at < t[i].in.n; at += step)
				header_scan_feed(&h, str_head(str_skip(t[i].in, at), step));
			ok = h.ended == t[i].ended && h.has_date == t[i].date &&
			    h.has_message_id == t[i].id && h.n_received == t[i].received;
			if (!ok || step == t[i].in.n + 1)
				CHECK_AT(ok, i * 1000 + step);
		}
	}
}

static size_t count_char(struct str s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == c;
	return n;
}

static void test_received(void)
{
	struct trace t = {
		.helo = STR_INIT("client.example"), .peer_ip = STR_INIT("192.0.2.7"),
		.hostname = STR_INIT("mx.test"), .domain = STR_INIT("site.test"),
		.id = STR_INIT("abc.1"), .rcpt = STR_INIT("a@b"),
		.esmtp = true, .now_s = 0,
	};
	struct buf b = BUF_INIT(TRACE_MAX_OCTETS);
	struct header_scan h = { .has_date = true };

	trace_put_received(&b, &t);
	CHECK(str_eq(buf_str(&b), STR("Received: from client.example ([192.0.2.7])\r\n"
	    "\tby mx.test (Pennypost) with ESMTP id abc.1\r\n\tfor <a@b>;\r\n"
	    "\tThu, 01 Jan 1970 00:00:00 +0000\r\n")) ||
	    str_find_str(buf_str(&b), STR("Thu, 1 Jan 1970 00:00:00 +0000\r\n")) < b.n);
	buf_reset(&b);
	t.tls_info = STR("TLSv1.3 X");
	t.authenticated = true;
	t.peer_ip = STR("2001:db8::1");
	trace_put_received(&b, &t);
	CHECK(str_find_str(buf_str(&b), STR("([IPv6:2001:db8::1])")) < b.n);
	CHECK(str_find_str(buf_str(&b), STR("with ESMTPSA id abc.1\r\n\t(TLSv1.3 X)\r\n")) < b.n);
	buf_reset(&b);
	/* Nothing that a peer can say ends the line, or the comment it stands in. */
	t.helo = STR("a\r\nX-Forged: 1");
	t.rcpt = STR("b)\r\n(\n\r\0@c");
	trace_put_received(&b, &t);
	CHECK(count_char(buf_str(&b), '\n') == 5 && count_char(buf_str(&b), '(') == 3);
	CHECK(str_find_str(buf_str(&b), STR("a??X-Forged: 1")) < b.n);
	buf_reset(&b);
	trace_put_missing(&b, &t, &h);
	CHECK(str_starts(buf_str(&b), STR("Message-ID: <abc.1.0@site.test>\r\n")) &&
	    count_char(buf_str(&b), '\n') == 1);
	buf_free(&b);
}

static void test_reply(void)
{
	static const struct {
		struct str in;
		bool ok, more;
		unsigned code;
		const char *text;
	} t[] = {
		{ STR_INIT("250 2.1.5 Ok"), true, false, 250, "2.1.5 Ok" },
		{ STR_INIT("250-x"), true, true, 250, "x" },
		{ STR_INIT("354"), true, false, 354, "" },
		{ STR_INIT("550 a\001b\xff"), true, false, 550, "a?b?" },
		{ STR_INIT("25"), false, false, 0, "" },
		{ STR_INIT("650 x"), false, false, 0, "" },
		{ STR_INIT("1234"), false, false, 0, "" },
		{ STR_INIT("2x0 y"), false, false, 0, "" },
		{ STR_INIT(""), false, false, 0, "" },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct lmtp_reply r;
		bool more, ok = lmtp_reply_parse(t[i].in, &r, &more);

		CHECK_AT(ok == t[i].ok && (!ok || (more == t[i].more && r.code == t[i].code &&
		    strcmp(r.text, t[i].text) == 0)), i);
	}
}

int main(void)
{
	test_scan();
	test_received();
	test_reply();
	return tap_done();
}
