/* SPDX-License-Identifier: ISC */
/* Transparency of dots: the strict decoder of SMTP and LMTP DATA (RFC 5321 s.4.5.2) and the encoder
 * of multi-line replies in POP3 (RFC 1939 s.3). Both work on spans of the caller's octets and copy
 * nothing; state is kept between chunks, which may be cut anywhere. */
#ifndef DOTSTUFF_H
#define DOTSTUFF_H

#include "../libbase/str.h"

enum { DOT_SPANS_MAX = 16 };	/* spans given out by one call */

enum dot_fault {		/* a mask: struct dot_dec.faults */
	DOT_BARE_CR = 1,
	DOT_BARE_LF = 2,
	DOT_NUL = 4,
	DOT_LONG_LINE = 8
};

struct dot_dec {
	uint8_t state;			/* private */
	bool done;			/* CRLF "." CRLF was seen */
	unsigned faults;		/* every kind seen so far */
	enum dot_fault first_fault;	/* 0 when there was none */
	uint64_t first_fault_at;	/* 0-based octet of the wire text after DATA */
	uint64_t n_wire_octets;		/* consumed so far */
	uint64_t n_text_octets;		/* given out so far */
	size_t line_max_octets, line_n;
};

/* A line (with its dot as sent, without CRLF) over line_max_octets is a fault; 0: no limit. */
void dot_dec_init(struct dot_dec *d, size_t line_max_octets);

/* Takes octets from the front of `in` and gives the message octets among them, in order, as
 * *out_n spans. Returns the octets taken: fewer than in.n when the spans are used up (call again
 * with the rest; message octets of this call are never lost) or when the end was reached (d->done;
 * what was not taken is the next command). A span points into `in`, or at constant octets when an
 * octet that was held back from the chunk before turns out to be text.
 * Only CRLF "." CRLF ends the text, or "." CRLF at its very start. Faults do not change what is
 * taken or given out: the caller refuses after the end. */
size_t dot_dec_feed(struct dot_dec *d, struct str in, struct str out_spans[DOT_SPANS_MAX],
    size_t *out_n);

struct dot_enc {
	uint8_t state;			/* private */
};

void dot_enc_init(struct dot_enc *e);

/* Takes octets from the front of `text`, gives the wire octets as *out_n spans; returns the octets
 * taken, fewer than text.n when the spans are used up. A dot after a bare LF is stuffed as well,
 * since many clients end lines there: they would lose step on a stored LF "." LF. */
size_t dot_enc_feed(struct dot_enc *e, struct str text, struct str out_spans[DOT_SPANS_MAX],
    size_t *out_n);

/* What follows the last text: "." CRLF, with a CRLF before it when the text did not end in one. */
struct str dot_enc_end(const struct dot_enc *e);

#endif
