/* SPDX-License-Identifier: ISC */
/* Owns everything OpenSSL. The socket is reached through a BIO of our own that adds to the stock one:
 * MSG_NOSIGNAL, and that only the first receive of a tls_read may wait. Invariants: a context that
 * tls_ctx_load gave out has done a whole handshake already, so nothing is left that needs files; the
 * error queue is empty between calls. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "tls_int.h"

struct tls_ctx {
	SSL_CTX *ctx;
	BIO_METHOD *bio;
};

struct tls {
	SSL *ssl;
	int fd;
	bool may_block, usable;
};

enum { WARM_UP_STEPS = 20, TICKETS_PER_HANDSHAKE = 1 };

static enum err_kind ssl_error(struct err *e, enum err_kind kind, const char *what)
{
	char reason[160] = "no reason given";
	unsigned long code = ERR_get_error();

	if (code != 0)
		ERR_error_string_n(code, reason, sizeof reason);
	ERR_clear_error();
	return err_set(e, kind, 0, "%s: %s", what, reason);
}

/* -- the socket as a BIO -- */

static int sock_read(BIO *b, char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	ssize_t got;

	BIO_clear_retry_flags(b);
	got = recv(t->fd, p, (size_t)n, t->may_block ? 0 : MSG_DONTWAIT);
	t->may_block = false;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(b);
	return (int)got;
}

static int sock_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	ssize_t put;

	BIO_clear_retry_flags(b);
	put = send(t->fd, p, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(b);
	return (int)put;
}

static long sock_ctrl(BIO *b, int cmd, long larg, void *parg)
{
	(void)b;
	(void)larg;
	(void)parg;
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static int sock_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static BIO_METHOD *sock_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "session socket");

	if (m == NULL || !BIO_meth_set_read(m, sock_read) || !BIO_meth_set_write(m, sock_write) ||
	    !BIO_meth_set_ctrl(m, sock_ctrl) || !BIO_meth_set_create(m, sock_create)) {
		BIO_meth_free(m);
		return NULL;
	}
	return m;
}

/* -- the context -- */

/* A key with a pass phrase would make OpenSSL ask on the terminal. */
static int no_pass_phrase(char *p, int n, int for_writing, void *arg)
{
	(void)p;
	(void)n;
	(void)for_writing;
	(void)arg;
	return 0;
}

static enum err_kind check_file(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0)
		return err_sys(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode))	/* a FIFO would hang the start */
		return err_set(e, ERR_SYNTAX, 0, "%s: not a regular file", path);
	return ERR_OK;
}

static enum err_kind load_pair(SSL_CTX *ctx, const char *cert, const char *key, struct err *e)
{
	enum err_kind k;

	if ((k = check_file(cert, e)) != ERR_OK || (k = check_file(key, e)) != ERR_OK)
		return k;
	SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return ssl_error(e, ERR_SYNTAX, cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return ssl_error(e, ERR_SYNTAX, key);
	return ERR_OK;
}

static void set_policy(SSL_CTX *ctx)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);	/* RFC 8996 */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	    SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_read_ahead(ctx, 1);		/* a record's header and body in one receive */
	SSL_CTX_set_dh_auto(ctx, 1);
	/* Tickets hold all state, sealed with a key of this context: all children can resume. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"pennypost", 9);
	SSL_CTX_set_num_tickets(ctx, TICKETS_PER_HANDSHAKE);
}

/* One handshake in memory: it loads whatever OpenSSL loads lazily, and shows that the pair works. */
static bool warm_up(SSL_CTX *server_ctx)
{
	SSL_CTX *client_ctx = SSL_CTX_new(TLS_client_method());
	SSL *c = client_ctx != NULL ? SSL_new(client_ctx) : NULL;
	SSL *s = SSL_new(server_ctx);
	BIO *cb = NULL, *sb = NULL;
	unsigned char random[8];
	bool done = false;

	if (c != NULL && s != NULL && RAND_bytes(random, sizeof random) == 1 &&
	    BIO_new_bio_pair(&cb, 0, &sb, 0) == 1) {
		SSL_set_bio(c, cb, cb);
		SSL_set_bio(s, sb, sb);
		SSL_set_connect_state(c);
		SSL_set_accept_state(s);
		for (int i = 0; i < WARM_UP_STEPS && !done; i++) {
			int one = SSL_do_handshake(c), two = SSL_do_handshake(s);

			done = one == 1 && two == 1;
		}
	}
	SSL_free(c);
	SSL_free(s);
	SSL_CTX_free(client_ctx);
	return done;
}

enum err_kind tls_ctx_load(const char *cert_path, const char *key_path, struct tls_ctx **out,
    struct err *e)
{
	struct tls_ctx *t = calloc(1, sizeof *t);
	enum err_kind k;

	if (t == NULL)
		return err_sys(e, ENOMEM, "TLS context");
	OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
	    OPENSSL_INIT_NO_ATEXIT, NULL);
	ERR_clear_error();
	t->ctx = SSL_CTX_new(TLS_server_method());
	t->bio = sock_method();
	if (t->ctx == NULL || t->bio == NULL) {
		tls_ctx_free(&t);
		return ssl_error(e, ERR_TEMP, "TLS context");
	}
	set_policy(t->ctx);
	k = load_pair(t->ctx, cert_path, key_path, e);
	if (k == ERR_OK && !warm_up(t->ctx))
		k = ssl_error(e, ERR_SYNTAX, cert_path);
	if (k != ERR_OK) {
		tls_ctx_free(&t);
		return k;
	}
	ERR_clear_error();
	*out = t;
	return ERR_OK;
}

void tls_ctx_free(struct tls_ctx **ctx)
{
	if (*ctx == NULL)
		return;
	SSL_CTX_free((*ctx)->ctx);
	BIO_meth_free((*ctx)->bio);
	free(*ctx);
	*ctx = NULL;
}

/* -- one connection -- */

struct tls *tls_new(struct tls_ctx *ctx, int fd)
{
	struct tls *t = calloc(1, sizeof *t);
	BIO *b = BIO_new(ctx->bio);

	if (t != NULL)
		t->ssl = SSL_new(ctx->ctx);
	if (t == NULL || b == NULL || t->ssl == NULL) {
		BIO_free(b);
		if (t != NULL)
			SSL_free(t->ssl);
		free(t);
		return NULL;
	}
	t->fd = fd;
	BIO_set_data(b, t);
	SSL_set_bio(t->ssl, b, b);
	SSL_set_accept_state(t->ssl);
	return t;
}

void tls_free(struct tls **t)
{
	if (*t == NULL)
		return;
	if ((*t)->usable)	/* after a fatal error the library forbids it */
		SSL_shutdown((*t)->ssl);
	ERR_clear_error();
	SSL_free((*t)->ssl);
	free(*t);
	*t = NULL;
}

/* What a result <= 0 of an SSL call means, as TLS_* or 0 for the end. */
static int outcome(struct tls *t, int result, const char *what, struct err *e)
{
	int saved = errno;

	switch (SSL_get_error(t->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		t->usable = false;
		ERR_clear_error();
		if (saved == 0 || saved == EPIPE || saved == ECONNRESET) {
			(void)err_set(e, ERR_EOF, saved, "%s: peer is gone", what);
			return TLS_FAILED;
		}
		(void)err_sys(e, saved, "%s", what);
		return TLS_FAILED;
	default:
		t->usable = false;
		(void)ssl_error(e, ERR_TEMP, what);
		return TLS_FAILED;
	}
}

int tls_handshake(struct tls *t, struct err *e)
{
	int n;

	t->may_block = false;
	errno = 0;
	n = SSL_accept(t->ssl);
	if (n == 1) {
		t->usable = true;
		return 1;
	}
	n = outcome(t, n, "TLS handshake", e);
	if (n == 0) {
		(void)err_set(e, ERR_EOF, 0, "TLS handshake: peer closed");
		return TLS_FAILED;
	}
	return n;
}

ssize_t tls_read(struct tls *t, void *p, size_t n, bool may_block, struct err *e)
{
	int got;

	t->may_block = may_block;
	errno = 0;
	got = SSL_read(t->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
	return got > 0 ? got : outcome(t, got, "TLS read", e);
}

ssize_t tls_write(struct tls *t, const void *p, size_t n, struct err *e)
{
	int put;

	t->may_block = false;
	errno = 0;
	put = SSL_write(t->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
	if (put > 0)
		return put;
	put = outcome(t, put, "TLS write", e);
	if (put == 0) {
		(void)err_set(e, ERR_EOF, 0, "TLS write: peer closed");
		return TLS_FAILED;
	}
	return put;
}

bool tls_has_pending(const struct tls *t)
{
	return SSL_has_pending(t->ssl) == 1;
}

const char *tls_version(const struct tls *t)
{
	return SSL_get_version(t->ssl);
}

const char *tls_cipher(const struct tls *t)
{
	return SSL_get_cipher_name(t->ssl);
}
