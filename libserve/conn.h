/* SPDX-License-Identifier: ISC */
/* struct conn: one connection: socket, TLS, input and output buffers, and a deadline for the whole
 * command plus a minimum transfer rate. Calls look blocking; inside, the first receive of a command blocks with
 * SO_RCVTIMEO and everything else is non-blocking calls and poll: a short command is one receive and one send.
 * Output errors are sticky and are looked at once, in conn_flush. */
#ifndef CONN_H
#define CONN_H

#include "../libbase/buf.h"
#include "../libbase/err.h"

struct conn;
struct tls_ctx;

/* Takes over fd (a connected stream socket in blocking mode; TCP_NODELAY is set where it is TCP). The
 * output buffer is sent by itself when it passes 64 KiB. Exits 75 without memory. */
struct conn *conn_new(int fd);
/* Sends what is buffered (with at most 5 s of waiting), TLS close notify, closes. NULL is fine. */
void conn_close(struct conn **c);

/* Addresses as text: "192.0.2.7", "2001:db8::1", or "local" for a Unix socket. */
const char *conn_peer_ip(const struct conn *c);
unsigned conn_peer_port(const struct conn *c);
const char *conn_local_ip(const struct conn *c);
bool conn_peer_is_loopback(const struct conn *c);	/* 127/8, ::1, Unix socket */
int conn_fd(const struct conn *c);

/* The deadline for everything that follows, in milliseconds from now; read and write calls that have not
 * finished by then give ERR_TIMEOUT. Transfers of literals and message data push the deadline forward as
 * long as at least CONN_MIN_RATE octets a second arrive (a peer that sends one octet a minute is cut). */
void conn_deadline(struct conn *c, uint64_t ms);
enum { CONN_MIN_RATE_OCTETS_PER_S = 100, CONN_GRACE_MS = 30000 };

/* -- input: a call that has to wait sends what is buffered for output first -- */
/* One line without its line end. max counts octets with the end. The view is into the input buffer and is
 * valid until the next input call. *out_crlf (may be NULL) tells whether the end was CR LF (false: bare LF).
 * Errors: ERR_LIMIT too long (the whole line up to its end is then consumed, bounded by the deadline and by
 * 64 KiB, after which ERR_EOF ends the connection); ERR_EOF; ERR_TIMEOUT; ERR_BUSY the service drains and no
 * input is waiting; ERR_TEMP socket or TLS error. */
enum err_kind conn_read_line(struct conn *c, size_t max, struct str *out, bool *out_crlf,
    struct err *e) CHECKED;
/* Exactly n octets into p. Errors: ERR_EOF, ERR_TIMEOUT, ERR_TEMP. */
enum err_kind conn_read(struct conn *c, void *p, size_t n, struct err *e) CHECKED;
/* What has been received and not consumed; when nothing is, waits for at least one octet.
 * For streams (message data, literals): look, conn_consume what was used. */
enum err_kind conn_peek(struct conn *c, struct str *out, struct err *e) CHECKED;
void conn_consume(struct conn *c, size_t n);
/* True when input is waiting already (pipelining): then a reply need not be flushed yet. Makes no system
 * call. */
bool conn_has_input(const struct conn *c);

/* -- output: buffered; errors are kept until conn_flush -- */
void conn_put(struct conn *c, struct str s);
void conn_printf(struct conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* len octets of file fd from off: sendfile without TLS (with MSG_MORE for what is buffered before), read and
 * written with TLS. A file that is shorter than promised breaks the connection (ERR_CORRUPT, sticky). */
void conn_put_file(struct conn *c, int fd, uint64_t off, uint64_t len);
/* Room to format into directly: the output buffer itself (append only). */
struct buf *conn_out(struct conn *c);
/* Sends everything. Errors: the first sticky one, ERR_TIMEOUT, ERR_EOF (peer gone), ERR_TEMP. */
enum err_kind conn_flush(struct conn *c, struct err *e) CHECKED;

/* Waits until input is there or other_fd (or -1) is readable, or ms milliseconds are over (not the deadline).
 * Returns a mask; 0 when the time is over. CONN_WAIT_DRAIN when the service drains. */
enum { CONN_WAIT_INPUT = 1, CONN_WAIT_OTHER = 2, CONN_WAIT_DRAIN = 4 };
int conn_wait(struct conn *c, int other_fd, uint64_t ms);

/* -- TLS -- */
/* Server side of the handshake. Every octet read before it is dropped (RFC 3207 s.4.2, RFC 9051 s.11.1,
 * RFC 2595 s.2.4); output must be flushed. On failure the connection is unusable. The handshake has 20 s. */
enum err_kind conn_start_tls(struct conn *c, struct tls_ctx *ctx, struct err *e) CHECKED;
bool conn_is_tls(const struct conn *c);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384" or "" */
const char *conn_tls_info(const struct conn *c);

/* -- as a client, over a Unix socket: path may be relative to the root or working directory -- */
enum err_kind conn_connect_unix(const char *path, uint64_t timeout_ms, struct conn **out,
    struct err *e) CHECKED;

#endif
