/* SPDX-License-Identifier: ISC */
/* Mailbox patterns of LIST and LSUB (RFC 3501 s.6.3.8): '*' matches anything, '%' anything but
 * '/'. */
#ifndef IMAPD_PATTERN_H
#define IMAPD_PATTERN_H

#include "../libbase/str.h"
#include "../libstore/store.h"

enum {
	/* Between two literal octets stands at most one wildcard, so a longer pattern fits no
	 * name. */
	PATTERN_TOKENS_MAX = 2 * STORE_NAME_MAX_OCTETS + 1,
	PATTERN_WORDS = (PATTERN_TOKENS_MAX + 1 + 63) / 64
};

struct pattern {
	size_t n;			/* tokens */
	bool never;			/* too long for any name */
	char tok[PATTERN_TOKENS_MAX];
	uint8_t kind[PATTERN_TOKENS_MAX];
	/* one bit a token; bit i of a state: the first i tokens have matched */
	uint64_t star[PATTERN_WORDS], percent[PATTERN_WORDS], literal[256][PATTERN_WORDS];
};

/* Prepares a pattern (UTF-8). Neighbouring wildcards are joined. */
void pattern_init(struct pattern *p, struct str text);

/* Time is the name's length times PATTERN_WORDS, whatever the wildcards. With nocase ASCII
 * letters match in any case (INBOX). */
bool pattern_match(const struct pattern *p, struct str name, bool nocase);

#endif
