/* SPDX-License-Identifier: ISC */
/* Packets with descriptors: what is taken, and that nothing leaks when a peer sends too much. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../libbase/clock.h"
#include "../../libserve/fdpass.h"
#include "tap.h"

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Several descriptors in one packet, as fd_send never does. */
static void send_many(int sock, int fd, int n)
{
	struct iovec iov = { (void *)(uintptr_t)"x", 1 };
	union { struct cmsghdr align; char space[CMSG_SPACE(32 * sizeof(int))]; } ctl = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl,
		.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int)) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
	for (int i = 0; i < n; i++)
		memcpy(CMSG_DATA(h) + (size_t)i * sizeof fd, &fd, sizeof fd);
	CHECK(sendmsg(sock, &m, 0) == 1);
}

int main(void)
{
	int s[2], p[2], fd, before;
	char in[16];
	uint64_t start;
	struct err e;
	size_t n;

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) == 0 && pipe(p) == 0);
	before = count_fds();

	CHECK(fd_send(s[0], STR("hello"), -1, &e) == ERR_OK);
	CHECK(fd_recv(s[1], in, sizeof in, 100, &n, &fd, &e) == ERR_OK);
	CHECK(n == 5 && memcmp(in, "hello", 5) == 0 && fd == -1);

	CHECK(fd_send(s[0], STR("fd"), p[1], &e) == ERR_OK);
	REQUIRE(fd_recv(s[1], in, sizeof in, 100, &n, &fd, &e) == ERR_OK && fd >= 0);
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	CHECK(write(fd, "y", 1) == 1 && read(p[0], in, 1) == 1 && in[0] == 'y');
	close(fd);

	start = clock_mono_ms();
	CHECK(fd_recv(s[1], in, sizeof in, 50, &n, &fd, &e) == ERR_TIMEOUT);
	CHECK(clock_mono_ms() - start >= 49 && clock_mono_ms() - start < 1000);

	CHECK(fd_send(s[0], STR("much longer than the room"), p[1], &e) == ERR_OK);
	CHECK(fd_recv(s[1], in, sizeof in, 100, &n, &fd, &e) == ERR_SYNTAX && fd == -1);
	for (int many = 2; many <= 32; many += 6) {
		send_many(s[0], p[1], many);
		CHECK_AT(fd_recv(s[1], in, sizeof in, 100, &n, &fd, &e) == ERR_SYNTAX && fd == -1, many);
	}
	CHECK(count_fds() == before);

	for (int i = 0; i < 100000; i++)
		if (fd_send(s[0], STR("fill"), -1, &e) != ERR_OK)
			break;
	CHECK(e.kind == ERR_BUSY);
	close(s[1]);
	CHECK(fd_send(s[0], STR("x"), -1, &e) == ERR_EOF);
	CHECK(fd_recv(s[0], in, sizeof in, 100, &n, &fd, &e) == ERR_EOF);
	return tap_done();
}
