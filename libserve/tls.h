/* SPDX-License-Identifier: ISC */
/* TLS contexts; with conn.c the only files that include <openssl/…>. */
#ifndef TLS_H
#define TLS_H

#include "../libbase/err.h"

struct tls_ctx;

/* A server context: TLS 1.2 and newer (RFC 8996), no renegotiation, no compression, session tickets on,
 * certificate chain and key from PEM files; the pair is checked to fit. Everything that OpenSSL loads
 * lazily (providers, random source, error strings) is loaded, so that handshakes work after a chroot.
 * Errors: ERR_NOENT, ERR_DENIED, ERR_SYNTAX (not a certificate, pair does not fit), with the file's name. */
enum err_kind tls_ctx_load(const char *cert_path, const char *key_path, struct tls_ctx **out,
    struct err *e) CHECKED;
void tls_ctx_free(struct tls_ctx **ctx);

#endif
