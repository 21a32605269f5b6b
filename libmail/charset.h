/* SPDX-License-Identifier: ISC */
/* Text of mail to UTF-8: transfer encodings (RFC 2045 s.6), character sets, encoded words (RFC
 * 2047), and case folding for comparisons. What can't be decoded becomes U+FFFD, never an error;
 * only an unknown character set is reported. */
#ifndef CHARSET_H
#define CHARSET_H

#include "../libbase/buf.h"

enum charset_result {
	CHARSET_OK,
	CHARSET_BAD_OCTETS,	/* converted, with U+FFFD in places */
	CHARSET_UNKNOWN,	/* nothing appended */
	CHARSET_FULL		/* the buffer's max was reached; what fitted is there */
};

/* iconv loads its modules from files, which a chroot hides: make the converters of the charsets we
 * know (a fixed list) while files can still be seen, and keep them for the life of the process.
 * From then on no file is looked for, so it is safe in any sandbox. Of an eight-bit charset a table
 * stays, no module; call it before any other function here, else a module may stay mapped.
 * Idempotent. Unwarmed, a converter is made when first asked for. Charsets that need no file at
 * all: US-ASCII, UTF-8, windows-1252, ISO-8859-1 (read as windows-1252). */
void charset_warm(void);

/* A number for everything outside of this source that decides what text_fold and the charsets make of octets: the
 * libraries' versions, the converters there are. 0 before charset_warm. What was derived from text under another number
 * must not be believed. */
uint32_t charset_fingerprint(void);

/* Is it known (so that SEARCH CHARSET need not answer BADCHARSET)? */
bool charset_known(struct str name);

/* Appends the whole of `in`, which is in charset `name`, as UTF-8. An empty name is US-ASCII; 8-bit
 * octets in US-ASCII are taken as UTF-8 if valid, else as windows-1252, as mail clients do. */
enum charset_result charset_to_utf8(struct buf *out, struct str name, struct str in);

/* A stream of text in one charset; a character may be cut between chunks. Only one stream of the
 * same charset at a time, unless it is one of those four or has a table: the streams of any other
 * (multi-octet, windows-1255 and -1258) share a converter with a state. */
struct charset_stream {
	int converter;			/* private */
	unsigned char held[16];
	size_t n_held;
	bool bad;
};

bool charset_stream_init(struct charset_stream *c, struct str name);	/* false: unknown */
/* Appends; false when `out` is full. `last`: no more input comes. */
bool charset_stream_feed(struct charset_stream *c, struct buf *out, struct str in, bool last);

/* Base64, lenient as RFC 2045 s.6.8 wants it: other octets are skipped, padding may be missing. */
struct base64_dec {
	uint32_t bits;
	uint8_t n_bits;
};
bool base64_feed(struct base64_dec *d, struct buf *out, struct str in);
/* Strict, for SASL: canonical padding, no other octets. false when it is not. */
bool base64_decode_strict(struct buf *out, struct str in);
bool base64_encode_to(struct buf *out, struct str in);

/* Quoted-printable; a wrong escape stays as it is, as RFC 2045 s.6.7 recommends. */
struct qp_dec {
	char held[2];			/* an escape that the chunk cut */
	uint8_t n_held;
};
bool qp_feed(struct qp_dec *d, struct buf *out, struct str in);
bool qp_end(struct qp_dec *d, struct buf *out);

/* Appends header text (already unfolded or not) as UTF-8 with its encoded words decoded: white
 * space between two encoded words vanishes, line ends become nothing, controls and NUL become
 * spaces. Words of an unknown charset stay as they are. Works for unstructured fields and for
 * phrases. false when `out` is full. Linear time. */
bool header_decode(struct buf *out, struct str value);

/* Appends the folded form for comparing, as i;unicode-casemap does (RFC 5051): title case, then
 * full compatibility decomposition; then title case once more. Octets that are no UTF-8 become
 * U+FFFD. It works by character: fold(a) fold(b) = fold(ab) when cut between characters. */
bool text_fold(struct buf *out, struct str utf8);

#endif
