/* SPDX-License-Identifier: ISC */
/* Header fields that we add, and what we look for in those that come. Pure functions: tests and
 * fuzzers need no socket. */
#ifndef SMTPD_TRACE_H
#define SMTPD_TRACE_H

#include "../libbase/buf.h"

enum {
	TRACE_NAME_MAX_OCTETS = 16,	/* longer than any name below */
	TRACE_MAX_OCTETS = 4096,	/* of all that we add to one message */
};

/* Looks at a header as it streams by: which fields are there, and whether it is over. */
struct header_scan {
	uint8_t state;				/* private */
	uint8_t n_name;
	char name[TRACE_NAME_MAX_OCTETS];
	bool ended;				/* the empty line was seen */
	bool has_date, has_message_id;
	uint64_t n_received;
};

/* Starts as all zeros. Takes message octets (dots unstuffed), chunks cut anywhere; what follows the
 * header is not looked at. */
void header_scan_feed(struct header_scan *h, struct str text);

struct trace {
	struct str helo, peer_ip, hostname, domain;
	struct str tls_info;		/* empty: no TLS */
	struct str id;			/* of the message */
	struct str rcpt;		/* the only recipient; empty when there are several */
	bool esmtp, authenticated;
	int64_t now_s;
};

/* Appends the Received field (RFC 5321 s.4.4, with-clauses of RFC 3848), folded. Octets that could
 * end the line or a comment become '?', whoever sent them. */
void trace_put_received(struct buf *out, const struct trace *t);

/* Appends Date and Message-ID where the scanned header lacks them (RFC 6409 s.8.2, 8.3). */
void trace_put_missing(struct buf *out, const struct trace *t, const struct header_scan *h);

#endif
