/* SPDX-License-Identifier: ISC */
/* Owns the ancillary-data handling. Invariant: whatever a peer sends, at most one descriptor leaves
 * this file and every other one that the kernel installed is closed again. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "fdpass.h"

/* Room for a few more than we accept: a sender of many is then seen as such (and has them closed)
 * instead of as MSG_CTRUNC only. */
enum { FDPASS_ROOM = 8 };

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(FDPASS_ROOM * sizeof(int))];
};

enum err_kind fd_send(int sock, struct str packet, int fd, struct err *e)
{
	struct iovec iov = { (void *)(uintptr_t)packet.p, packet.n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control ctl = { 0 };
	ssize_t n;

	if (fd != -1) {
		struct cmsghdr *h;

		m.msg_control = ctl.space;
		m.msg_controllen = CMSG_SPACE(sizeof(int));
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof fd);
	}
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (size_t)n == packet.n ? ERR_OK :
		    err_set(e, ERR_TEMP, 0, "packet sent in part: not a packet socket");
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		return err_set(e, ERR_EOF, errno, "peer of the Unix socket is gone");
	return err_sys(e, errno, "send over a Unix socket");
}

/* Collects the descriptors of one message; all but a single one are closed. */
static size_t take_fds(struct msghdr *m, int *out_fd)
{
	size_t count = 0;

	*out_fd = -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
		size_t n;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (count++ == 0)
				*out_fd = fd;
			else
				close(fd);
		}
	}
	return count;
}

static enum err_kind wait_readable(int sock, uint64_t deadline, struct err *e)
{
	struct pollfd p = { sock, POLLIN, 0 };

	for (;;) {
		uint64_t now = clock_mono_ms();
		uint64_t left = now < deadline ? deadline - now : 0;
		int n = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);

		if (n > 0)
			return ERR_OK;
		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "poll of a Unix socket");
		if (clock_mono_ms() >= deadline)
			return err_set(e, ERR_TIMEOUT, 0, "no packet in time");
	}
}

enum err_kind fd_recv(int sock, void *p, size_t cap, uint64_t timeout_ms, size_t *out_n, int *out_fd,
    struct err *e)
{
	uint64_t now = clock_mono_ms();
	uint64_t deadline = timeout_ms > UINT64_MAX - now ? UINT64_MAX : now + timeout_ms;
	struct iovec iov = { p, cap };
	union control ctl;
	struct msghdr m;
	enum err_kind k;
	size_t count;
	ssize_t n;

	*out_fd = -1;
	for (;;) {
		m = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = ctl.space, .msg_controllen = sizeof ctl.space };
		n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n >= 0)
			break;
		if (errno == ECONNRESET || errno == ENOTCONN)
			return err_set(e, ERR_EOF, errno, "peer of the Unix socket is gone");
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, errno, "receive over a Unix socket");
		if (errno == EAGAIN && (k = wait_readable(sock, deadline, e)) != ERR_OK)
			return k;
	}
	count = take_fds(&m, out_fd);
	if (count > 1 || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		if (*out_fd != -1)
			close(*out_fd);
		*out_fd = -1;
		return err_set(e, ERR_SYNTAX, 0, "packet too long or with several descriptors");
	}
	if (n == 0 && count == 0)
		return err_set(e, ERR_EOF, 0, "peer closed the Unix socket");
	*out_n = (size_t)n;
	return ERR_OK;
}
