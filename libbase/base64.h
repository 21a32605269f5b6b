/* SPDX-License-Identifier: ISC */
/* Base64 as protocols use it (RFC 4648 s.4): one right spelling, no line breaks, no white space. */
#ifndef BASE64_H
#define BASE64_H

#include "arena.h"
#include "str.h"

/* in as base64 with padding, in the arena; p is NULL when the arena is full. */
struct str base64_encode(struct arena *a, struct str in);

/* Strict: length a multiple of four, '=' only as the padding at the end, unused bits zero (RFC 4648 s.3.5);
 * so each text has exactly one spelling. false on anything else or when the arena is full; *out is then
 * untouched. *out is in the arena; an empty text gives an empty str with p set. */
bool base64_decode(struct arena *a, struct str in, struct str *out) CHECKED;

#endif
