/* SPDX-License-Identifier: ISC */
/* What authentication needs of cryptography, so that no daemon includes OpenSSL: a keyed digest,
 * secrets, a comparison that tells nothing by its time. */
#ifndef DIGEST_H
#define DIGEST_H

#include "../libbase/err.h"
#include "../libbase/str.h"

enum { DIGEST_OCTETS = 32, DIGEST_INPUT_MAX_OCTETS = 16 * 1024 };

/* HMAC-SHA256 (RFC 2104) under key of the n parts, each with its length before it, so that no two lists of
 * parts have the same input. Errors: ERR_LIMIT over DIGEST_INPUT_MAX_OCTETS, ERR_TEMP. */
enum err_kind digest_keyed(struct str key, const struct str *parts, size_t n,
    uint8_t out[DIGEST_OCTETS], struct err *e) CHECKED;

/* n octets that nobody can guess. Errors: err_sys's. */
enum err_kind digest_random(void *p, size_t n, struct err *e) CHECKED;

/* Equal? Takes the same time wherever the first difference is. */
bool digest_equal(const void *a, const void *b, size_t n);

#endif
