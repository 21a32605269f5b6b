/* SPDX-License-Identifier: ISC */
/* One TLS connection over a socket, for conn.c only: tls.c knows OpenSSL, conn.c knows waiting. */
#ifndef TLS_INT_H
#define TLS_INT_H

#include <sys/types.h>

#include "tls.h"

struct tls;

/* What a call needs next; negative, so that octet counts and these share a return value. */
enum { TLS_WANT_READ = -1, TLS_WANT_WRITE = -2, TLS_FAILED = -3 };

/* Server side on fd (which stays the caller's). NULL when OpenSSL has no memory. */
struct tls *tls_new(struct tls_ctx *ctx, int fd);
/* Sends close notify if the connection is in order; never waits. NULL is fine. */
void tls_free(struct tls **t);

/* 1 when the handshake is done, or TLS_*. TLS_FAILED fills *e. */
int tls_handshake(struct tls *t, struct err *e);
/* Octets read, 0 at the peer's end, or TLS_*. may_block: the first receive on the socket may wait as long
 * as its SO_RCVTIMEO says; all later ones of the same call never wait, so that a peer that sends a
 * record octet by octet cannot stretch the time. TLS_FAILED fills *e. */
ssize_t tls_read(struct tls *t, void *p, size_t n, bool may_block, struct err *e);
ssize_t tls_write(struct tls *t, const void *p, size_t n, struct err *e);
/* Octets (decrypted or not) wait inside OpenSSL. */
bool tls_has_pending(const struct tls *t);
const char *tls_version(const struct tls *t);
const char *tls_cipher(const struct tls *t);

#endif
