/* SPDX-License-Identifier: ISC */
/* IMAP mailbox names: modified UTF-7 (RFC 3501 s.5.1.3) to and from UTF-8, and strict UTF-8. */
#ifndef MUTF7_H
#define MUTF7_H

#include "../libbase/buf.h"

/* Shortest forms only, no surrogates, nothing above U+10FFFF (RFC 3629). NUL is valid UTF-8. */
bool utf8_valid(struct str s);

/* Reads one character at the front of s (n > 0). Returns its octets, 0 when it is not valid. */
size_t utf8_next(struct str s, uint32_t *out_char);

/* Appends one character. */
bool utf8_put(struct buf *out, uint32_t c);

/* Appends the UTF-8 form; false on anything but the one canonical form: raw octets outside
 * 0x20-0x7e, an unended or empty shift, printable ASCII inside a shift, two shifts in a row, bits
 * left over that are not zero, lone surrogates. Control characters are refused, too. `out` is as
 * before on failure. */
bool mutf7_to_utf8(struct buf *out, struct str in);

/* Appends the modified UTF-7 form; false when `in` is not valid UTF-8 or holds control
 * characters. `out` is as before on failure. */
bool mutf7_from_utf8(struct buf *out, struct str in);

#endif
