/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "../libbase/buf.h"
#include "digest.h"

enum err_kind digest_keyed(struct str key, const struct str *parts, size_t n,
    uint8_t out[DIGEST_OCTETS], struct err *e)
{
	struct buf in = BUF_INIT(DIGEST_INPUT_MAX_OCTETS);
	unsigned len = DIGEST_OCTETS;
	bool done;

	/* One allocation, so that no copy of a password stays behind in freed memory. */
	buf_reserve(&in, in.max);
	for (size_t i = 0; i < n; i++) {
		buf_put_le64(&in, parts[i].n);
		buf_put(&in, parts[i]);
	}
	if (in.full) {
		buf_wipe(&in);
		return err_set(e, ERR_LIMIT, 0, "too much to digest");
	}
	done = HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)in.p, in.n, out,
	    &len) != NULL && len == DIGEST_OCTETS;
	buf_wipe(&in);
	return done ? ERR_OK : err_set(e, ERR_TEMP, 0, "HMAC-SHA256 is not to be had");
}

enum err_kind digest_random(void *p, size_t n, struct err *e)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno != EINTR)
			return err_sys(e, errno, "getrandom");
		if (got > 0) {
			at += got;
			n -= (size_t)got;
		}
	}
	return ERR_OK;
}

bool digest_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}
