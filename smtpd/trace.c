/* SPDX-License-Identifier: ISC */
/* Owns the text of the fields that smtpd adds. Invariant: whatever a peer said, an added field is
 * one field: no octet of its text can end a line. */
#include "../libmail/date.h"
#include "trace.h"

enum scan_state { SCAN_LINE_START, SCAN_NAME, SCAN_REST };

static void scan_name_done(struct header_scan *h)
{
	struct str name = str_n(h->name, h->n_name);

	if (str_eq_nocase(name, STR("Received")))
		h->n_received++;
	else if (str_eq_nocase(name, STR("Date")))
		h->has_date = true;
	else if (str_eq_nocase(name, STR("Message-ID")))
		h->has_message_id = true;
}

/* One octet of a field's name; the rest of the line is then skipped by memchr. */
static void scan_octet(struct header_scan *h, char c)
{
	if (c == ':' || c == ' ' || c == '\t') {
		scan_name_done(h);
		h->state = SCAN_REST;
	} else if (h->n_name == TRACE_NAME_MAX_OCTETS) {
		h->state = SCAN_REST;
	} else {
		h->name[h->n_name++] = c;
		h->state = SCAN_NAME;
	}
}

void header_scan_feed(struct header_scan *h, struct str text)
{
	size_t i = 0;

	while (i < text.n && !h->ended) {
		char c = text.p[i];

		if (h->state == SCAN_REST) {
			const char *lf = memchr(text.p + i, '\n', text.n - i);

			if (lf == NULL)
				return;
			i = (size_t)(lf - text.p) + 1;
			h->state = SCAN_LINE_START;
			h->n_name = 0;
			continue;
		}
		i++;
		if (c == '\n') {
			/* Only a CR at most was in this line. */
			h->ended = h->n_name == 0;
			h->state = SCAN_LINE_START;
			h->n_name = 0;
		} else if (h->state == SCAN_LINE_START && (c == ' ' || c == '\t')) {
			h->state = SCAN_REST;
		} else if (c != '\r') {
			scan_octet(h, c);
		}
	}
}

static void put_clean(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool bad = c < 0x20 || c == 0x7f || (c & 0x80) != 0 || strchr("()\\", c) != NULL;

		buf_putc(out, bad ? '?' : c);
	}
}

static void put_date(struct buf *out, int64_t now_s)
{
	char text[DATE_TEXT_MAX_OCTETS];
	size_t n = date_format_mail((struct mail_date){ now_s, 0 }, text);

	buf_put(out, str_n(text, n));
}

static void put_with(struct buf *out, const struct trace *t)
{
	buf_put(out, t->esmtp ? STR("ESMTP") : STR("SMTP"));
	if (t->esmtp && t->tls_info.n > 0)
		buf_putc(out, 'S');
	if (t->esmtp && t->authenticated)
		buf_putc(out, 'A');
}

void trace_put_received(struct buf *out, const struct trace *t)
{
	buf_put(out, STR("Received: from "));
	put_clean(out, t->helo);
	buf_put(out, str_has(t->peer_ip, ':') ? STR(" ([IPv6:") : STR(" (["));
	put_clean(out, t->peer_ip);
	buf_put(out, STR("])\r\n\tby "));
	put_clean(out, t->hostname);
	buf_put(out, STR(" (Pennypost) with "));
	put_with(out, t);
	buf_put(out, STR(" id "));
	put_clean(out, t->id);
	if (t->tls_info.n > 0) {
		buf_put(out, STR("\r\n\t("));
		put_clean(out, t->tls_info);
		buf_putc(out, ')');
	}
	if (t->rcpt.n > 0) {
		buf_put(out, STR("\r\n\tfor <"));
		put_clean(out, t->rcpt);
		buf_putc(out, '>');
	}
	buf_put(out, STR(";\r\n\t"));
	put_date(out, t->now_s);
	buf_put(out, STR("\r\n"));
}

void trace_put_missing(struct buf *out, const struct trace *t, const struct header_scan *h)
{
	if (!h->has_date) {
		buf_put(out, STR("Date: "));
		put_date(out, t->now_s);
		buf_put(out, STR("\r\n"));
	}
	if (!h->has_message_id) {
		buf_put(out, STR("Message-ID: <"));
		put_clean(out, t->id);
		buf_printf(out, ".%lld@", (long long)t->now_s);
		put_clean(out, t->domain);
		buf_put(out, STR(">\r\n"));
	}
}
