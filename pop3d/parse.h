/* SPDX-License-Identifier: ISC */
/* The grammar of POP3 command lines, as pure functions. */
#ifndef POP3D_PARSE_H
#define POP3D_PARSE_H

#include "../libbase/str.h"

struct pop3_line {
	struct str verb;	/* letters as sent */
	struct str arg;		/* what follows the one space, untouched; p == NULL: no space */
};

/* Splits a command line that has lost its line end (RFC 1939 s.3: a keyword, then arguments, each
 * after a single space). False when it holds a control octet (NUL too) or its verb is not 1 to 16
 * letters. */
bool pop3_line_split(struct str line, struct pop3_line *out);

/* A message number: decimal digits with spaces around, 1 … UINT32_MAX. */
bool pop3_number(struct str s, uint32_t *out);

/* TOP's arguments: a message number and a count of lines, 0 … UINT32_MAX (RFC 1939 s.7). */
bool pop3_two_numbers(struct str s, uint32_t *out_msgno, uint32_t *out_lines);

/* Length of the first n lines of text; all of it when it has fewer. */
size_t pop3_lines_length(struct str text, uint32_t n);

#endif
