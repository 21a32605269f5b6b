/* SPDX-License-Identifier: ISC */
/* What a session process does once it belongs to the attacker: tests/system/test_isolation.py preloads this into the
 * daemons. When what the peer sends holds TOKEN, the words behind it, up to a semicolon, name something to try;
 * the result goes to the peer as a line "HOSTILE result errno". A result of 0 or more means that it was possible.
 * The daemons themselves know nothing of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>

#define TOKEN "PENNYHOSTILE "

ssize_t recv(int fd, void *buf, size_t n, int flags);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);

typedef long attempt(const char *arg, const char *arg2);

static long none(const char *a, const char *b) { (void)a, (void)b; return 0; }
static long pid(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_getpid); }

/* -- files -- */

static long open_read(const char *a, const char *b) { (void)b; return open(a, O_RDONLY); }
static long open_dir(const char *a, const char *b) { (void)b; return open(a, O_RDONLY | O_DIRECTORY); }
static long open_path(const char *a, const char *b)
{
	int fd = open(a, O_PATH);
	char c;

	(void)b;
	/* a mere reference to a name is no access; what it leads to is */
	if (fd < 0)
		return -1;
	return openat(fd, ".", O_RDONLY) >= 0 || pread(fd, &c, 1, 0) >= 0 ? 0 : -1;
}
static long create(const char *a, const char *b) { (void)b; return open(a, O_CREAT | O_RDWR, 0600); }
static long make_dir(const char *a, const char *b) { (void)b; return mkdir(a, 0700); }
static long rename_to(const char *a, const char *b) { return rename(a, b); }
static long link_to(const char *a, const char *b) { return link(a, b); }
static long symlink_to(const char *a, const char *b) { return symlink(a, b); }
static long unlink_it(const char *a, const char *b) { (void)b; return unlink(a); }
static long chmod_it(const char *a, const char *b) { (void)b; return chmod(a, 0777); }
static long truncate_it(const char *a, const char *b) { (void)b; return truncate(a, 0); }
static long device(const char *a, const char *b) { (void)b; return mknod(a, S_IFCHR | 0666, 0x101); }

/* Every descriptor that we hold, as a way out. */
static long any_fd(const char *a, const char *b)
{
	(void)b;
	for (int fd = 0; fd < 1024; fd++)
		if (openat(fd, a, O_RDONLY) >= 0)
			return fd;
	return -1;
}

static bool listens(int fd)
{
	int on = 0;
	socklen_t n = sizeof on;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) == 0 && on != 0;
}

static long any_accept(const char *a, const char *b)
{
	(void)a, (void)b;
	for (int fd = 0; fd < 1024; fd++)
		if (listens(fd))
			return fd;
	return -1;
}

/* Ends a listening socket that we share with our brothers; by a copy, should it be the number that counts. */
static long any_unlisten(const char *how, const char *by_copy)
{
	struct sockaddr none_at_all = { .sa_family = AF_UNSPEC };
	long r = -1;

	for (int fd = 0; fd < 1024; fd++) {
		int it = !listens(fd) ? -1 : by_copy[0] == 'c' ? dup(fd) : by_copy[0] == 'd' ? dup2(fd, 900) :
		    by_copy[0] == 'f' ? fcntl(fd, F_DUPFD, 800) : fd;
		int all = 7;

		if (it < 0)
			continue;
		if ((how[0] == 's' && shutdown(it, SHUT_RDWR) == 0) ||
		    (how[0] == 'c' && connect(it, &none_at_all, sizeof none_at_all) == 0) ||
		    (how[0] == 'o' && setsockopt(it, SOL_SOCKET, SO_RCVBUF, &all, sizeof all) == 0) ||
		    (how[0] == 'f' && fcntl(it, F_SETFL, 0) == 0) ||
		    (how[0] == 'i' && ioctl(it, FIONBIO, &(int){ 0 }) == 0))
			r = fd;
	}
	return r;
}

static long by_handle(const char *a, const char *b)
{
	struct file_handle h = { .handle_bytes = 0, .handle_type = 1 };

	(void)a, (void)b;
	return syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY);
}

/* -- other processes -- */

static long signal_0(const char *a, const char *b) { (void)b; return syscall(SYS_kill, atoi(a), 0); }
static long signal_kill(const char *a, const char *b) { (void)b; return syscall(SYS_kill, atoi(a), SIGKILL); }
static long signal_thread(const char *a, const char *b)
{
	(void)b;
	return syscall(SYS_tgkill, atoi(a), atoi(a), SIGKILL);
}
static long signal_io(const char *a, const char *b)
{
	(void)b;
	return fcntl(0, F_SETOWN, atoi(a));
}
static long signal_pidfd(const char *a, const char *b) { (void)b; return syscall(SYS_pidfd_open, atoi(a), 0); }
static long trace(const char *a, const char *b) { (void)b; return ptrace(PTRACE_ATTACH, atoi(a), 0, 0); }
static long seize(const char *a, const char *b) { (void)b; return ptrace(PTRACE_SEIZE, atoi(a), 0, 0); }

static long memory(const char *a, const char *b)
{
	char c[16];
	struct iovec here = { c, sizeof c }, there = { (void *)&errno, sizeof c };

	(void)b;
	return process_vm_readv(atoi(a), &here, 1, &there, 1, 0);
}

static long memory_write(const char *a, const char *b)
{
	char c[16] = "x";
	struct iovec here = { c, sizeof c }, there = { (void *)&errno, sizeof c };

	(void)b;
	return process_vm_writev(atoi(a), &here, 1, &there, 1, 0);
}

static long nice_other(const char *a, const char *b)
{
	(void)b;
	return syscall(SYS_setpriority, PRIO_PROCESS, atoi(a), 19);
}

static long limit_other(const char *a, const char *b)
{
	struct rlimit r = { 0, 0 };

	(void)b;
	return syscall(SYS_prlimit64, atoi(a), RLIMIT_CPU, &r, NULL);
}

/* -- the network -- */

static long inet(const char *a, const char *b) { (void)a, (void)b; return socket(AF_INET, SOCK_STREAM, 0); }
static long inet6(const char *a, const char *b) { (void)a, (void)b; return socket(AF_INET6, SOCK_DGRAM, 0); }
static long raw(const char *a, const char *b) { (void)a, (void)b; return socket(AF_INET, SOCK_RAW, 1); }
static long netlink(const char *a, const char *b) { (void)a, (void)b; return socket(AF_NETLINK, SOCK_RAW, 0); }
static long vsock(const char *a, const char *b) { (void)a, (void)b; return socket(AF_VSOCK, SOCK_STREAM, 0); }
static long packet(const char *a, const char *b) { (void)a, (void)b; return socket(AF_PACKET, SOCK_RAW, 0); }
static long unix_socket(const char *a, const char *b) { (void)a, (void)b; return socket(AF_UNIX, SOCK_STREAM, 0); }

static long connect_unix(const char *name, size_t offset)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	strncpy(sa.sun_path + offset, name, sizeof sa.sun_path - offset - 1);
	for (int i = 0; i < 3; i++) {
		int fd = socket(AF_UNIX, types[i], 0);

		if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
		    offset + strlen(name))) == 0)
			return fd;
	}
	return -1;
}

static long unix_path(const char *a, const char *b) { (void)b; return connect_unix(a, 0); }
static long unix_abstract(const char *a, const char *b) { (void)b; return connect_unix(a, 1); }

/* The session's own socket, sent somewhere else: unconnect it, then connect it to a listener of the attacker's. */
static long reconnect(const char *a, const char *b)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)atoi(a)) };
	struct sockaddr none_at_all = { .sa_family = AF_UNSPEC };

	(void)b;
	for (int fd = 0; fd < 1024; fd++) {
		struct sockaddr_in peer;
		socklen_t n = sizeof peer;

		if (getpeername(fd, (struct sockaddr *)&peer, &n) < 0 || peer.sin_family != AF_INET)
			continue;
		(void)!connect(fd, &none_at_all, sizeof none_at_all);
		if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 || errno == EINPROGRESS)
			usleep(200000);
	}
	return -1;	/* whether it was possible, the attacker's listener knows */
}

/* -- programs and privilege -- */

static long run_program(const char *a, const char *b)
{
	char *const args[] = { (char *)"true", NULL };

	(void)b;
	return execve(a, args, args);
}

static long fork_it(const char *a, const char *b)
{
	long r = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	(void)a, (void)b;
	if (r == 0)
		_exit(0);
	return r;
}

static long fork_new(const char *a, const char *b)
{
	struct { uint64_t w[8]; } args = { { 0, 0, 0, 0, SIGCHLD, 0, 0, 0 } };
	long r = syscall(SYS_clone3, &args, sizeof args);

	(void)a, (void)b;
	if (r == 0)
		_exit(0);
	return r;
}

static long be_root(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_setuid, 0); }
static long be_root_again(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_setresuid, 0, 0, 0); }
static long new_root(const char *a, const char *b) { (void)b; return chroot(a); }
static long mount_it(const char *a, const char *b) { (void)b; return mount("none", a, "tmpfs", 0, NULL); }
static long new_user(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_unshare, 0x10000000); }
static long namespace(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_setns, 0, 0); }
static long uring(const char *a, const char *b)
{
	struct io_uring_params p;

	(void)a, (void)b;
	memset(&p, 0, sizeof p);
	return syscall(SYS_io_uring_setup, 4, &p);
}
static long bpf(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_bpf, 0, NULL, 0); }
static long key(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_keyctl, 0, -1, 1); }
static long perf(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0); }
static long module(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_init_module, "", 0, ""); }
static long reboot_it(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_reboot, 0, 0, 0, 0); }
static long clock_it(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_settimeofday, NULL, NULL); }
static long dumpable(const char *a, const char *b) { (void)a, (void)b; return prctl(PR_SET_DUMPABLE, 1); }
static long subreaper(const char *a, const char *b) { (void)a, (void)b; return prctl(PR_SET_CHILD_SUBREAPER, 1); }
static long code(const char *a, const char *b)
{
	(void)a, (void)b;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	    MAP_FAILED ? -1 : 0;
}
static long memfd(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_memfd_create, "x", 0); }
static long terminal(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_ioctl, 0, 0x5412, "x"); }
static long shared(const char *a, const char *b) { (void)a, (void)b; return syscall(SYS_shmget, 1234, 4096, 01600); }
static long watch(const char *a, const char *b)
{
	(void)b;
	return inotify_add_watch(inotify_init1(0), a, IN_ALL_EVENTS);
}

static const struct { const char *name; attempt *f; } attempts[] = {
	{ "none", none }, { "pid", pid }, { "open", open_read }, { "dir", open_dir }, { "path", open_path },
	{ "create", create }, { "mkdir", make_dir }, { "rename", rename_to }, { "link", link_to },
	{ "symlink", symlink_to }, { "unlink", unlink_it }, { "chmod", chmod_it }, { "truncate", truncate_it },
	{ "mknod", device }, { "anyfd", any_fd }, { "anyaccept", any_accept }, { "unlisten", any_unlisten },
	{ "handle", by_handle },
	{ "kill0", signal_0 }, { "kill9", signal_kill }, { "tgkill", signal_thread }, { "setown", signal_io },
	{ "pidfd", signal_pidfd }, { "ptrace", trace }, { "seize", seize }, { "vmread", memory },
	{ "vmwrite", memory_write }, { "nice", nice_other }, { "prlimit", limit_other }, { "inet", inet },
	{ "inet6", inet6 }, { "raw", raw }, { "netlink", netlink }, { "vsock", vsock }, { "packet", packet },
	{ "unix", unix_socket }, { "unixpath", unix_path }, { "abstract", unix_abstract },
	{ "reconnect", reconnect }, { "exec", run_program }, { "fork", fork_it }, { "clone3", fork_new },
	{ "setuid", be_root }, { "setresuid", be_root_again }, { "chroot", new_root }, { "mount", mount_it },
	{ "userns", new_user }, { "setns", namespace }, { "uring", uring }, { "bpf", bpf }, { "key", key },
	{ "perf", perf }, { "module", module }, { "reboot", reboot_it }, { "clock", clock_it },
	{ "dumpable", dumpable }, { "subreaper", subreaper }, { "code", code }, { "memfd", memfd },
	{ "terminal", terminal }, { "shared", shared }, { "watch", watch },
};

static void try(int fd, char *words)
{
	char *save, *name = strtok_r(words, " ", &save), *a = strtok_r(NULL, " ", &save),
	    *b = strtok_r(NULL, " ", &save), text[128];
	long r = -2;

	errno = 0;
	for (size_t i = 0; name != NULL && i < sizeof attempts / sizeof attempts[0]; i++)
		if (strcmp(attempts[i].name, name) == 0)
			r = attempts[i].f(a != NULL ? a : "", b != NULL ? b : "");
	snprintf(text, sizeof text, "HOSTILE %ld %d\r\n", r, r == -2 ? 0 : errno);
	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	ssize_t got = syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL);
	const char *at = got > 0 ? memmem(buf, (size_t)got, TOKEN, strlen(TOKEN)) : NULL;
	const char *end = at != NULL ? memchr(at, ';', (size_t)((char *)buf + got - at)) : NULL;
	char words[512];
	int saved = errno;

	if (end != NULL && (size_t)(end - at) < sizeof words) {
		at += strlen(TOKEN);
		memcpy(words, at, (size_t)(end - at));
		words[end - at] = '\0';
		try(fd, words);
	}
	errno = saved;
	return got;
}

ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	(void)room;
	return recv(fd, buf, n, flags);
}
