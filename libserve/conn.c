/* SPDX-License-Identifier: ISC */
/* Owns one connection. The socket stays in blocking mode and every call but one passes MSG_DONTWAIT:
 * the first receive of a wait blocks in the kernel with SO_RCVTIMEO, so that a command costs one receive
 * and one send and no poll. Everything after it uses poll with the exact time left.
 * Invariants: in_pos <= in_end <= in_cap; output waits in `out` in order; once `sticky` is set nothing
 * more is sent; no wait starts while output is unsent (a peer may need it to go on).
 * Over 500 lines because input, output and waiting share all of this state. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "conn.h"
#include "drain.h"
#include "serve.h"
#include "tls_int.h"

enum {
	IN_FIRST_OCTETS = 16384,
	IN_MAX_OCTETS = 4 << 20,	/* no protocol's line is longer */
	OUT_SEND_OCTETS = 65536,	/* buffered output is sent when it passes this */
	OUT_MAX_OCTETS = 64 << 20,	/* one reply formatted into conn_out */
	SKIP_MAX_OCTETS = 65536,	/* of an over-long line, before we hang up */
	COPY_MAX_OCTETS = 32768,	/* a file part up to this travels with its reply in one send */
	FILE_CHUNK_OCTETS = 65536,
	SENDFILE_CHUNK_OCTETS = 1 << 20,
	SEND_SLICE_S = 5,		/* a blocking sendfile looks at its deadline this often */
	SLACK_MS = 1000,		/* a blocking receive may overshoot its deadline by this */
	FIRST_DEADLINE_MS = 60000,
	HANDSHAKE_MS = 20000,
	CLOSE_MS = 5000,
	LINGER_MS = 1000,
	LINGER_OCTETS = 1 << 20,
	EXIT_NO_MEMORY = 75,
};

struct conn {
	int fd;
	struct tls *tls;
	char *in;
	size_t in_pos, in_end, in_cap;
	struct buf out;
	struct err sticky;		/* kind ERR_OK: none */
	bool eof;			/* nothing more will be read */
	bool overrun;			/* we hung up with input unread */
	bool client;			/* our own question to another daemon: a drain lets it finish */
	bool snd_slice;			/* SO_SNDTIMEO is set */
	uint64_t deadline, window_ms;	/* monotonic; what conn_deadline was given */
	uint64_t rcvtimeo_ms;		/* SO_RCVTIMEO in force; 0: none yet */
	bool tcp;			/* not a Unix socket */
	bool loopback;
	unsigned peer_port;
	char peer_ip[INET6_ADDRSTRLEN], local_ip[INET6_ADDRSTRLEN];
	char tls_info[96];
};

/* -- making and naming -- */

/* v4-mapped addresses are told as the IPv4 addresses they are: logs, limits and PAM see one form. */
static bool address_text(const struct sockaddr_storage *sa, char *out, size_t cap, unsigned *port)
{
	const struct sockaddr_in *s4 = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *s6 = (const struct sockaddr_in6 *)sa;

	if (sa->ss_family == AF_INET) {
		inet_ntop(AF_INET, &s4->sin_addr, out, (socklen_t)cap);
		*port = ntohs(s4->sin_port);
		return (ntohl(s4->sin_addr.s_addr) >> 24) == 127;
	}
	if (sa->ss_family == AF_INET6) {
		*port = ntohs(s6->sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(&s6->sin6_addr)) {
			inet_ntop(AF_INET, s6->sin6_addr.s6_addr + 12, out, (socklen_t)cap);
			return s6->sin6_addr.s6_addr[12] == 127;
		}
		inet_ntop(AF_INET6, &s6->sin6_addr, out, (socklen_t)cap);
		return IN6_IS_ADDR_LOOPBACK(&s6->sin6_addr);
	}
	snprintf(out, cap, "local");
	*port = 0;
	return true;
}

static void name_ends(struct conn *c)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof sa;
	unsigned port;

	if (getpeername(c->fd, (struct sockaddr *)&sa, &n) == 0)
		c->loopback = address_text(&sa, c->peer_ip, sizeof c->peer_ip, &c->peer_port);
	else	/* reset already: nobody to be trusted for being near */
		snprintf(c->peer_ip, sizeof c->peer_ip, "unknown");
	n = sizeof sa;
	if (getsockname(c->fd, (struct sockaddr *)&sa, &n) != 0) {
		snprintf(c->local_ip, sizeof c->local_ip, "unknown");
		return;
	}
	address_text(&sa, c->local_ip, sizeof c->local_ip, &port);
	if (sa.ss_family != AF_UNIX) {
		int on = 1;

		c->tcp = setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
	}
}

struct conn *conn_new(int fd)
{
	struct conn *c = calloc(1, sizeof *c);

	if (c == NULL || (c->in = malloc(IN_FIRST_OCTETS)) == NULL)
		_exit(EXIT_NO_MEMORY);
	c->fd = fd;
	c->in_cap = IN_FIRST_OCTETS;
	buf_init(&c->out, OUT_MAX_OCTETS);
	name_ends(c);
	conn_deadline(c, FIRST_DEADLINE_MS);
	return c;
}

const char *conn_peer_ip(const struct conn *c) { return c->peer_ip; }
unsigned conn_peer_port(const struct conn *c) { return c->peer_port; }
const char *conn_local_ip(const struct conn *c) { return c->local_ip; }
bool conn_peer_is_loopback(const struct conn *c) { return c->loopback; }
int conn_fd(const struct conn *c) { return c->fd; }
bool conn_is_tls(const struct conn *c) { return c->tls != NULL; }
const char *conn_tls_info(const struct conn *c) { return c->tls_info; }

/* -- time -- */

void conn_deadline(struct conn *c, uint64_t ms)
{
	uint64_t now = clock_mono_ms();

	c->window_ms = ms;
	c->deadline = ms > UINT64_MAX - now ? UINT64_MAX : now + ms;
}

static uint64_t ms_left(const struct conn *c)
{
	uint64_t now = clock_mono_ms();

	return now < c->deadline ? c->deadline - now : 0;
}

/* A transfer earns time by its octets and never has more than a full window: a peer that is faster than
 * the minimum rate goes on for ever, a slower one runs dry, and one that stops is cut after a window. */
static void earn_time(struct conn *c, size_t octets)
{
	uint64_t window = c->window_ms > CONN_GRACE_MS ? c->window_ms : CONN_GRACE_MS;
	uint64_t now = clock_mono_ms(), cap = window > UINT64_MAX - now ? UINT64_MAX : now + window;
	uint64_t earned = (uint64_t)octets * 1000 / CONN_MIN_RATE_OCTETS_PER_S;

	if (c->deadline >= cap)
		return;
	c->deadline = earned > cap - c->deadline ? cap : c->deadline + earned;
}

static int poll_ms(uint64_t ms)
{
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

enum wait_how { WAIT_LINE_START, WAIT_LINE_REST, WAIT_TRANSFER };

/* May the next receive block with SO_RCVTIMEO? Only while the time-out in force fits the time left; it is
 * changed only when the protocol changed its window, so a steady session makes no extra call. The rest of a
 * line never blocks: octet by octet it would stretch its deadline for ever. */
static bool may_block(struct conn *c, enum wait_how how)
{
	uint64_t left = how != WAIT_LINE_REST ? ms_left(c) : 0;
	struct timeval tv = { (time_t)(c->window_ms / 1000), (long)(c->window_ms % 1000) * 1000 };

	if (left == 0 || (serve_draining() && !c->client))
		return false;
	if (c->rcvtimeo_ms != 0 && c->rcvtimeo_ms == c->window_ms)
		return c->rcvtimeo_ms <= left + SLACK_MS;
	if (how != WAIT_LINE_START || c->window_ms == 0 || c->window_ms > left + SLACK_MS)
		return false;
	if (setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) < 0)
		return false;
	c->rcvtimeo_ms = c->window_ms;
	drain_recheck();
	return true;
}

/* -- output -- */

static void set_sticky(struct conn *c, const struct err *e)
{
	if (c->sticky.kind == ERR_OK)
		c->sticky = *e;
}

static bool wait_fd(struct conn *c, short events, struct err *e)
{
	struct pollfd p = { c->fd, events, 0 };

	for (;;) {
		uint64_t left = ms_left(c);
		int n = poll(&p, 1, poll_ms(left));

		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR) {
			(void)err_sys(e, errno, "poll");
			return false;
		}
		if (ms_left(c) == 0) {
			(void)err_set(e, ERR_TIMEOUT, 0, "deadline passed");
			return false;
		}
	}
}

/* Octets sent, or -1 with *e filled. Waits for room first when the socket is full. */
static ssize_t send_some(struct conn *c, const char *p, size_t n, int flags, struct err *e)
{
	for (;;) {
		ssize_t put;

		if (c->tls != NULL) {
			put = tls_write(c->tls, p, n, e);
			if (put == TLS_FAILED)
				return -1;
			if (put > 0)
				return put;
			if (!wait_fd(c, put == TLS_WANT_READ ? POLLIN : POLLOUT, e))
				return -1;
			continue;
		}
		put = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
		if (put >= 0)
			return put;
		if (errno == EAGAIN && !wait_fd(c, POLLOUT, e))
			return -1;
		if (errno == EPIPE || errno == ECONNRESET) {
			(void)err_set(e, ERR_EOF, errno, "peer is gone");
			return -1;
		}
		if (errno != EAGAIN && errno != EINTR) {
			(void)err_sys(e, errno, "send");
			return -1;
		}
	}
}

static void send_all(struct conn *c, const char *p, size_t n, int flags)
{
	struct err e;

	while (n > 0 && c->sticky.kind == ERR_OK) {
		ssize_t put = send_some(c, p, n, flags, &e);

		if (put < 0) {
			set_sticky(c, &e);
			return;
		}
		p += put;
		n -= (size_t)put;
		if (n > 0)
			earn_time(c, (size_t)put);
	}
}

static void send_out(struct conn *c, int flags)
{
	if (c->out.full && c->sticky.kind == ERR_OK)
		(void)err_set(&c->sticky, ERR_LIMIT, 0, "reply over %d octets", OUT_MAX_OCTETS);
	send_all(c, c->out.p, c->out.n, flags);
	buf_reset(&c->out);
}

void conn_put(struct conn *c, struct str s)
{
	if (c->out.n + s.n <= OUT_SEND_OCTETS) {
		buf_put(&c->out, s);
		return;
	}
	send_out(c, s.n > OUT_SEND_OCTETS ? MSG_MORE : 0);
	if (s.n > OUT_SEND_OCTETS)
		send_all(c, s.p, s.n, 0);
	else
		buf_put(&c->out, s);
}

void conn_printf(struct conn *c, const char *fmt, ...)
{
	char small[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n < sizeof small) {
		conn_put(c, str_n(small, (size_t)n));
		return;
	}
	if (!buf_reserve(&c->out, (size_t)n + 1))
		return;
	va_start(ap, fmt);
	vsnprintf(c->out.p + c->out.n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	c->out.n += (size_t)n;
}

struct buf *conn_out(struct conn *c)
{
	if (c->out.n > OUT_SEND_OCTETS)
		send_out(c, 0);
	return &c->out;
}

enum err_kind conn_flush(struct conn *c, struct err *e)
{
	if (c->out.n > 0 || c->out.full)
		send_out(c, 0);
	if (c->sticky.kind != ERR_OK && e != NULL)
		*e = c->sticky;
	return c->sticky.kind;
}

/* The announced length is on the wire already, so the peer must not take what follows for the file. */
static void file_broken(struct conn *c, int sysno)
{
	struct err e;

	if (sysno != 0)
		(void)err_sys(&e, sysno, "read of a file to be sent");
	else
		(void)err_set(&e, ERR_CORRUPT, 0, "file is shorter than promised");
	e.kind = ERR_CORRUPT;
	set_sticky(c, &e);
}

/* Appends len octets of the file to the output buffer, sending as it fills. */
static void copy_file(struct conn *c, int fd, uint64_t off, uint64_t len)
{
	while (len > 0 && c->sticky.kind == ERR_OK) {
		size_t want = len < FILE_CHUNK_OCTETS ? (size_t)len : FILE_CHUNK_OCTETS;
		ssize_t n;

		if (!buf_reserve(&c->out, want)) {
			send_out(c, 0);
			continue;
		}
		n = pread(fd, c->out.p + c->out.n, want, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			file_broken(c, n < 0 ? errno : 0);
			return;
		}
		c->out.n += (size_t)n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
		if (c->out.n > OUT_SEND_OCTETS)
			send_out(c, len > 0 ? MSG_MORE : 0);
	}
}

/* sendfile knows no MSG_DONTWAIT, so it blocks for at most SEND_SLICE_S before we look at the clock. */
static void sendfile_all(struct conn *c, int fd, uint64_t off, uint64_t len)
{
	struct timeval slice = { SEND_SLICE_S, 0 };
	struct err e;

	if (!c->snd_slice)
		setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof slice);
	c->snd_slice = true;
	while (len > 0 && c->sticky.kind == ERR_OK) {
		off_t at = (off_t)off;
		ssize_t n = sendfile(c->fd, fd, &at,
		    len < SENDFILE_CHUNK_OCTETS ? (size_t)len : SENDFILE_CHUNK_OCTETS);

		if (n > 0) {
			off += (uint64_t)n;
			len -= (uint64_t)n;
			earn_time(c, (size_t)n);
		} else if (n == 0) {
			file_broken(c, 0);
		} else if (errno == EINVAL || errno == ENOSYS) {
			copy_file(c, fd, off, len);	/* a file system without splice */
			return;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			(void)err_set(&e, ERR_EOF, errno, "peer is gone");
			set_sticky(c, &e);
		} else if (errno == EAGAIN) {
			if (!wait_fd(c, POLLOUT, &e))
				set_sticky(c, &e);
		} else if (errno != EINTR) {
			file_broken(c, errno);
		}
	}
}

void conn_put_file(struct conn *c, int fd, uint64_t off, uint64_t len)
{
	if (c->tls != NULL || len <= COPY_MAX_OCTETS) {
		copy_file(c, fd, off, len);
		return;
	}
	if (c->out.n > 0)
		send_out(c, MSG_MORE);
	sendfile_all(c, fd, off, len);
}

/* -- input -- */

/* Room for at least one more octet, with the unread ones kept. */
static bool make_room(struct conn *c, struct err *e)
{
	char *p;

	if (c->in_pos == c->in_end)
		c->in_pos = c->in_end = 0;
	if (c->in_end < c->in_cap)
		return true;
	if (c->in_pos > 0) {
		memmove(c->in, c->in + c->in_pos, c->in_end - c->in_pos);
		c->in_end -= c->in_pos;
		c->in_pos = 0;
		return true;
	}
	p = c->in_cap < IN_MAX_OCTETS ? realloc(c->in, c->in_cap * 2) : NULL;
	if (p == NULL) {
		(void)err_set(e, ERR_TEMP, 0, "no room for input");
		return false;
	}
	c->in = p;
	c->in_cap *= 2;
	return true;
}

/* One try. Octets, 0 at the end, TLS_WANT_*, or TLS_FAILED with *e. */
static ssize_t receive(struct conn *c, void *p, size_t n, bool block, struct err *e)
{
	ssize_t got;

	if (c->tls != NULL)
		return tls_read(c->tls, p, n, block, e);
	got = recv(c->fd, p, n, block ? 0 : MSG_DONTWAIT);
	if (got >= 0)
		return got;
	if (errno == EAGAIN || errno == EINTR)
		return TLS_WANT_READ;
	if (errno == ECONNRESET || errno == EPIPE || errno == ENOTCONN)
		(void)err_set(e, ERR_EOF, errno, "peer is gone");
	else
		(void)err_sys(e, errno, "receive");
	return TLS_FAILED;
}

static enum err_kind wait_input(struct conn *c, enum wait_how how, bool want_write, struct err *e)
{
	bool drains = how == WAIT_LINE_START && !c->client;
	struct pollfd p[2] = {
		{ c->fd, want_write ? POLLOUT : POLLIN, 0 },
		{ drains ? drain_fd() : -1, POLLIN, 0 },
	};
	uint64_t left = ms_left(c);

	if (drains && serve_draining())
		return err_set(e, ERR_BUSY, 0, "service is stopping");
	if (poll(p, 2, poll_ms(left)) < 0 && errno != EINTR)
		return err_sys(e, errno, "poll");
	if (p[0].revents == 0 && ms_left(c) == 0)
		return err_set(e, ERR_TIMEOUT, 0, "no input in time");
	return ERR_OK;
}

/* A peer that sends a literal and then the rest of its line in two writes waits for our acknowledgement in
 * between (Nagle), and the kernel delays that by 40 ms in the hope of a reply to put it on. Amid a transfer there
 * is none. The setting wears off, so it is made at each wait. */
static void acknowledge_at_once(struct conn *c)
{
	int on = 1;

	if (c->tcp)
		setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* At least one octet into p. Errors: as conn_read_line. */
static enum err_kind receive_wait(struct conn *c, void *p, size_t n, enum wait_how how, size_t *out_n,
    struct err *e)
{
	bool waited = false;
	enum err_kind k;

	if (c->eof)
		return err_set(e, ERR_EOF, 0, "connection has ended");
	if (c->out.n > 0 && (k = conn_flush(c, e)) != ERR_OK)
		return k;
	if (how != WAIT_LINE_START)
		acknowledge_at_once(c);
	for (;;) {
		bool block = !waited && may_block(c, how);
		ssize_t got = receive(c, p, n, block, e);

		if (got > 0) {
			if (how == WAIT_TRANSFER)
				earn_time(c, (size_t)got);
			*out_n = (size_t)got;
			return ERR_OK;
		}
		if (got == 0 || got == TLS_FAILED)
			c->eof = true;
		if (got == 0)
			return err_set(e, ERR_EOF, 0, "peer closed");
		if (got == TLS_FAILED)
			return e->kind;
		k = wait_input(c, how, got == TLS_WANT_WRITE, e);
		if (k != ERR_OK)
			return k;
		waited = true;
	}
}

static enum err_kind fill(struct conn *c, enum wait_how how, struct err *e)
{
	enum err_kind k;
	size_t got;

	if (!make_room(c, e))
		return e->kind;
	k = receive_wait(c, c->in + c->in_end, c->in_cap - c->in_end, how, &got, e);
	if (k == ERR_OK)
		c->in_end += got;
	return k;
}

/* The rest of a line that is over its limit, without growing for it. */
static enum err_kind skip_line(struct conn *c, struct err *e)
{
	size_t skipped = 0;

	for (;;) {
		char *p = c->in + c->in_pos;
		size_t n = c->in_end - c->in_pos;
		char *lf = n > 0 ? memchr(p, '\n', n) : NULL;
		enum err_kind k;

		if (lf != NULL) {
			c->in_pos += (size_t)(lf - p) + 1;
			return err_set(e, ERR_LIMIT, 0, "line too long");
		}
		c->in_pos = c->in_end;
		skipped += n;
		if (skipped > SKIP_MAX_OCTETS) {
			c->eof = c->overrun = true;
			return err_set(e, ERR_EOF, 0, "line too long to be skipped");
		}
		if ((k = fill(c, WAIT_LINE_REST, e)) != ERR_OK)
			return k;
	}
}

enum err_kind conn_read_line(struct conn *c, size_t max, struct str *out, bool *out_crlf, struct err *e)
{
	size_t seen = 0;	/* octets known to hold no LF */
	struct err own;

	if (e == NULL)
		e = &own;
	for (;;) {
		char *p = c->in + c->in_pos;
		size_t n = c->in_end - c->in_pos;
		char *lf = n > seen ? memchr(p + seen, '\n', n - seen) : NULL;
		size_t len = lf != NULL ? (size_t)(lf - p) : n;
		enum err_kind k;

		if (lf != NULL && len < max) {
			bool crlf = len > 0 && p[len - 1] == '\r';

			c->in_pos += len + 1;
			*out = str_n(p, crlf ? len - 1 : len);
			if (out_crlf != NULL)
				*out_crlf = crlf;
			return ERR_OK;
		}
		if (len >= max)
			return skip_line(c, e);
		seen = n;
		k = fill(c, n == 0 ? WAIT_LINE_START : WAIT_LINE_REST, e);
		if (k != ERR_OK)
			return k;
	}
}

enum err_kind conn_read(struct conn *c, void *p, size_t n, struct err *e)
{
	struct err own;
	char *to = p;

	if (e == NULL)
		e = &own;
	while (n > 0) {
		size_t have = c->in_end - c->in_pos, got;
		enum err_kind k;

		if (have > 0) {
			got = have < n ? have : n;
			memcpy(to, c->in + c->in_pos, got);
			c->in_pos += got;
		} else if (n >= IN_FIRST_OCTETS) {
			k = receive_wait(c, to, n, WAIT_TRANSFER, &got, e);
			if (k != ERR_OK)
				return k;
		} else {
			if ((k = fill(c, WAIT_TRANSFER, e)) != ERR_OK)
				return k;
			continue;
		}
		to += got;
		n -= got;
	}
	return ERR_OK;
}

enum err_kind conn_peek(struct conn *c, struct str *out, struct err *e)
{
	struct err own;
	enum err_kind k;

	if (c->in_pos == c->in_end && (k = fill(c, WAIT_TRANSFER, e != NULL ? e : &own)) != ERR_OK)
		return k;
	*out = str_n(c->in + c->in_pos, c->in_end - c->in_pos);
	return ERR_OK;
}

void conn_consume(struct conn *c, size_t n)
{
	c->in_pos += n < c->in_end - c->in_pos ? n : c->in_end - c->in_pos;
}

bool conn_has_input(const struct conn *c)
{
	return c->in_pos < c->in_end || (c->tls != NULL && !c->eof && tls_has_pending(c->tls));
}

/* Under TLS a readable socket may hold no octet for us (tickets, key updates), so only a real receive
 * tells. True also at the end or on an error: the next read reports it. */
static bool input_arrived(struct conn *c)
{
	struct err e;
	ssize_t got;

	if (c->in_pos < c->in_end || c->eof)
		return true;
	if (!make_room(c, &e))
		return true;
	got = receive(c, c->in + c->in_end, c->in_cap - c->in_end, false, &e);
	if (got > 0)
		c->in_end += (size_t)got;
	else if (got == 0 || got == TLS_FAILED)
		c->eof = true;
	return got != TLS_WANT_READ && got != TLS_WANT_WRITE;
}

int conn_wait(struct conn *c, int other_fd, uint64_t ms)
{
	struct pollfd p[3] = {
		{ c->fd, POLLIN, 0 }, { other_fd, POLLIN, 0 }, { drain_fd(), POLLIN, 0 },
	};
	uint64_t now = clock_mono_ms();
	uint64_t until = ms > UINT64_MAX - now ? UINT64_MAX : now + ms;

	if (c->out.n > 0 && conn_flush(c, NULL) != ERR_OK)
		c->eof = true;
	if (c->eof || (conn_has_input(c) && input_arrived(c)))
		return CONN_WAIT_INPUT;
	for (;;) {
		int mask = 0;

		if (serve_draining())
			return CONN_WAIT_DRAIN;
		if (poll(p, 3, poll_ms(until > now ? until - now : 0)) < 0)
			p[0].revents = p[1].revents = 0;
		if (p[0].revents != 0 && input_arrived(c))
			mask |= CONN_WAIT_INPUT;
		if (p[1].revents != 0)
			mask |= CONN_WAIT_OTHER;
		if (serve_draining())
			mask |= CONN_WAIT_DRAIN;
		now = clock_mono_ms();
		if (mask != 0 || now >= until)
			return mask;
	}
}

/* -- TLS -- */

enum err_kind conn_start_tls(struct conn *c, struct tls_ctx *ctx, struct err *e)
{
	uint64_t deadline = c->deadline, now = clock_mono_ms();
	enum err_kind k = conn_flush(c, e);
	int n;

	if (k != ERR_OK)
		return k;
	c->in_pos = c->in_end = 0;	/* RFC 3207 s.4.2: nothing from before the handshake counts */
	if ((c->tls = tls_new(ctx, c->fd)) == NULL)
		return err_sys(e, ENOMEM, "TLS");
	if (c->deadline > now + HANDSHAKE_MS)
		c->deadline = now + HANDSHAKE_MS;
	for (;;) {
		n = tls_handshake(c->tls, e);
		if (n == 1 || n == TLS_FAILED)
			break;
		if (!wait_fd(c, n == TLS_WANT_READ ? POLLIN : POLLOUT, e)) {
			n = TLS_FAILED;
			break;
		}
	}
	if (n == TLS_FAILED) {
		c->eof = true;
		set_sticky(c, e);	/* nothing may leave in the clear after this */
		return e->kind;
	}
	c->deadline = deadline;
	snprintf(c->tls_info, sizeof c->tls_info, "%s %s", tls_version(c->tls), tls_cipher(c->tls));
	return ERR_OK;
}

/* -- the end -- */

/* A close with unread input makes the kernel send a reset, which can destroy our last reply on its
 * way. So we say that we are done and read what comes for a moment. */
static void linger(struct conn *c)
{
	char waste[4096];
	size_t total = 0;
	struct err e;

	if (shutdown(c->fd, SHUT_WR) < 0)
		return;
	c->deadline = clock_mono_ms() + LINGER_MS;
	while (total < LINGER_OCTETS) {
		ssize_t n = recv(c->fd, waste, sizeof waste, MSG_DONTWAIT);

		if (n > 0)
			total += (size_t)n;
		else if (n == 0 || errno != EAGAIN || !wait_fd(c, POLLIN, &e))
			return;
	}
}

void conn_close(struct conn **cp)
{
	struct conn *c = *cp;
	uint64_t latest = clock_mono_ms() + CLOSE_MS;
	bool unread;

	if (c == NULL)
		return;
	if (c->deadline > latest || c->deadline < latest - CLOSE_MS)
		c->deadline = latest;
	if (c->out.n > 0)
		send_out(c, 0);
	unread = c->in_pos < c->in_end || c->overrun;
	tls_free(&c->tls);
	if (unread && c->sticky.kind == ERR_OK)
		linger(c);
	close(c->fd);
	buf_wipe(&c->out);
	secret_wipe(c->in, c->in_cap);	/* passwords went through it */
	free(c->in);
	free(c);
	*cp = NULL;
}

enum err_kind conn_connect_unix(const char *path, uint64_t timeout_ms, struct conn **out, struct err *e)
{
	struct timeval tv = { (time_t)(timeout_ms / 1000), (long)(timeout_ms % 1000) * 1000 };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if (n >= sizeof sa.sun_path)
		return err_set(e, ERR_LIMIT, 0, "socket path too long: %s", path);
	memcpy(sa.sun_path, path, n);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	/* connect waits for room in a full backlog as long as SO_SNDTIMEO says */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) < 0 ||
	    connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
		int sysno = errno;

		close(fd);
		if (sysno == EAGAIN)
			sysno = ETIMEDOUT;
		return err_sys(e, sysno, "connect to %s", path);
	}
	*out = conn_new(fd);
	(*out)->client = true;
	conn_deadline(*out, timeout_ms);
	return ERR_OK;
}
