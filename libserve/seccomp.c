/* SPDX-License-Identifier: ISC */
/* Owns the system call filters. They are compiled once, before any fork; a child only loads the ready
 * program. Three answers: allowed; refused with an error number, for calls that libraries try and can do
 * without; anything else ends the process. Under sanitizers everything else is refused instead, so that
 * their reports can be written. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_int.h"
#include "sdproto.h"
#include "serve.h"

#ifdef HAVE_SECCOMP

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>

#define S(name) SCMP_SYS(name)

/* Every session: its connection, its memory, its clock. */
static const int allow_all[] = {
	S(read), S(write), S(readv), S(writev), S(pread64), S(pwrite64), S(preadv), S(pwritev),
	S(preadv2), S(pwritev2), S(lseek), S(close), S(close_range), S(fstat), S(sendfile), S(dup),
	S(dup2), S(dup3), S(pipe), S(pipe2), S(eventfd2),
	S(munmap), S(mremap), S(madvise), S(brk), S(mincore),
	S(poll), S(ppoll), S(select), S(pselect6), S(epoll_wait), S(epoll_pwait), S(epoll_pwait2),
	S(epoll_ctl), S(epoll_create1),
	S(recvfrom), S(sendto), S(recvmsg), S(sendmsg), S(shutdown), S(getsockopt), S(setsockopt),
	S(getpeername), S(getsockname), S(connect), S(accept4),
	S(rt_sigaction), S(rt_sigprocmask), S(rt_sigreturn), S(sigaltstack), S(restart_syscall),
	S(clock_gettime), S(clock_getres), S(clock_nanosleep), S(nanosleep), S(gettimeofday), S(time),
	S(alarm), S(setitimer), S(getitimer),
	S(futex), S(set_robust_list), S(rseq), S(membarrier), S(sched_yield), S(sched_getaffinity),
	S(getpid), S(gettid), S(getppid), S(getuid), S(geteuid), S(getgid), S(getegid),
	S(getresuid), S(getresgid), S(getrusage), S(getrlimit), S(uname), S(sysinfo), S(times),
	S(getrandom), S(exit), S(exit_group),
	/* these only ever take more away */
	S(seccomp), S(landlock_create_ruleset), S(landlock_add_rule), S(landlock_restrict_self),
};

/* Who has a store: files, beneath a descriptor or the working directory. */
static const int allow_store[] = {
	S(open), S(openat), S(openat2), S(creat), S(mkdir), S(mkdirat), S(rename), S(renameat),
	S(renameat2), S(unlink), S(unlinkat), S(rmdir), S(link), S(linkat), S(stat), S(lstat),
	S(newfstatat), S(fstatat64), S(statx), S(access), S(faccessat), S(faccessat2), S(readlink),
	S(readlinkat), S(getdents), S(getdents64), S(fsync), S(fdatasync), S(sync_file_range),
	S(ftruncate), S(truncate), S(fallocate), S(fadvise64), S(readahead), S(copy_file_range),
	S(msync), S(mlock), S(munlock), S(flock), S(fchmod), S(umask),
	S(utimensat), S(utime), S(utimes), S(inotify_init), S(inotify_init1), S(inotify_add_watch),
	S(inotify_rm_watch), S(chdir), S(fchdir), S(getcwd), S(statfs), S(fstatfs),
};

/* Refused, and the caller lives on. */
static const int refuse_all[] = {
	S(kill), S(tkill), S(tgkill), S(wait4), S(waitid), S(socketpair), S(setrlimit), S(chmod), S(fchmodat), S(chown),
	S(fchown), S(lchown), S(fchownat), S(symlink), S(symlinkat), S(mknod),
	S(mknodat), S(setpriority), S(getpriority), S(sched_setaffinity), S(memfd_create),
	S(getpgrp), S(getpgid), S(getsid), S(setsid), S(getgroups),
};

/* After login: no more connections to anybody. */
static const int refuse_login[] = {
	S(socket), S(socketpair), S(connect), S(bind), S(listen), S(accept), S(accept4),
};

/* Calls that are allowed for some values of one argument only; other values end the process. */
static const struct {
	int nr;
	unsigned arg;
	uint64_t value;
} allow_value[] = {
	{ S(fcntl), 1, F_DUPFD }, { S(fcntl), 1, F_DUPFD_CLOEXEC }, { S(fcntl), 1, F_GETFD },
	{ S(fcntl), 1, F_SETFD }, { S(fcntl), 1, F_GETFL }, { S(fcntl), 1, F_SETFL },
	{ S(fcntl), 1, F_GETLK }, { S(fcntl), 1, F_SETLK }, { S(fcntl), 1, F_SETLKW },
	{ S(fcntl), 1, F_OFD_GETLK }, { S(fcntl), 1, F_OFD_SETLK }, { S(fcntl), 1, F_OFD_SETLKW },
	/* F_SETOWN with F_SETSIG, and FIOSETOWN, would be ways to signal others: not here */
	{ S(ioctl), 1, FIONREAD }, { S(ioctl), 1, FIONBIO }, { S(ioctl), 1, TCGETS },
	{ S(prctl), 0, PR_SET_NAME }, { S(prctl), 0, PR_SET_NO_NEW_PRIVS }, { S(prctl), 0, PR_SET_VMA },
};

/* A brother's listening socket is not to be shut down, disconnected, changed, or copied to a number that is
 * not watched. */
static const int refuse_listener[] = {
	S(shutdown), S(connect), S(setsockopt), S(fcntl), S(ioctl), S(dup), S(dup2), S(dup3),
};

/* One of these per phase; filled once, inherited by the children. */
static struct sock_fprog programs[FILTERS_MAX];

/* A call that this architecture does not have (EDOM) needs no rule; nor does one whose rule is the
 * default (EACCES). */
static bool added(int result)
{
	return result == 0 || result == -EDOM || result == -EACCES;
}

static bool add(scmp_filter_ctx f, uint32_t action, const int *nr, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!added(seccomp_rule_add(f, action, nr[i], 0)))
			return false;
	return true;
}

static bool add_values(scmp_filter_ctx f)
{
	for (size_t i = 0; i < COUNTOF(allow_value); i++)
		if (!added(seccomp_rule_add(f, SCMP_ACT_ALLOW, allow_value[i].nr, 1,
		    SCMP_CMP(allow_value[i].arg, SCMP_CMP_EQ, allow_value[i].value))))
			return false;
	/* reading one's own limits is fine, setting them is refused */
	return added(seccomp_rule_add(f, SCMP_ACT_ALLOW, S(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0))) &&
	    added(seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), S(prlimit64), 1,
	    SCMP_A2(SCMP_CMP_NE, 0)));
}

/* Memory that is written is never run. */
static bool add_memory(scmp_filter_ctx f)
{
	static const int calls[] = { S(mmap), S(mmap2), S(mprotect) };

	for (size_t i = 0; i < COUNTOF(calls); i++)
		if (!added(seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 1,
		    SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0))))
			return false;
	return true;
}

static bool add_sockets(scmp_filter_ctx f, unsigned rights)
{
	bool unix_too = (rights & (SERVE_AUTH | SERVE_DELIVER | SERVE_STORES)) != 0;
	const uint32_t refuse = SCMP_ACT_ERRNO(EACCES);

	if (!unix_too)
		return added(seccomp_rule_add(f, refuse, S(socket), 0));
	return added(seccomp_rule_add(f, SCMP_ACT_ALLOW, S(socket), 1,
	    SCMP_A0(SCMP_CMP_EQ, AF_UNIX))) &&
	    added(seccomp_rule_add(f, refuse, S(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX)));
}

static bool add_enter(scmp_filter_ctx f, unsigned rights)
{
	bool store = (rights & (SERVE_STORE | SERVE_STORES)) != 0;

	return add(f, SCMP_ACT_ALLOW, allow_all, COUNTOF(allow_all)) &&
	    add(f, store ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EACCES), allow_store, COUNTOF(allow_store)) &&
	    add(f, SCMP_ACT_ERRNO(EPERM), refuse_all, COUNTOF(refuse_all)) &&
	    add_values(f) && add_memory(f) && add_sockets(f, rights);
}

/* The finished program as the kernel takes it: libseccomp writes it only to a descriptor. */
static bool export(scmp_filter_ctx f, struct sock_fprog *out)
{
	int fd = memfd_create("filter", MFD_CLOEXEC);
	off_t n = 0;
	void *p = NULL;

	if (fd < 0)
		return false;
	if (seccomp_export_bpf(f, fd) == 0 && (n = lseek(fd, 0, SEEK_END)) > 0)
		p = malloc((size_t)n);
	if (p != NULL && pread(fd, p, (size_t)n, 0) != n) {
		free(p);
		p = NULL;
	}
	close(fd);
	if (p == NULL)
		return false;
	free(out->filter);
	out->filter = p;
	out->len = (unsigned short)((size_t)n / sizeof(struct sock_filter));
	return true;
}

/* The kernel looks at the low half of a descriptor's register only, so must we. */
static bool compile_listeners(unsigned n)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = f != NULL;

	for (size_t i = 0; i < COUNTOF(refuse_listener); i++)
		for (unsigned fd = SD_FIRST_FD; fd < SD_FIRST_FD + n && ok; fd++)
			ok = added(seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), refuse_listener[i], 1,
			    SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, fd)));
	ok = ok && export(f, &programs[FILTER_LISTENERS]);
	if (f != NULL)
		seccomp_release(f);
	return ok;
}

enum err_kind filter_compile(unsigned rights, unsigned n_listeners, struct err *e)
{
	uint32_t other = SANDBOX_SANITIZED ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS;
	scmp_filter_ctx enter = seccomp_init(other), login = seccomp_init(SCMP_ACT_ALLOW);
	bool done = enter != NULL && login != NULL &&
	    seccomp_attr_set(enter, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0 &&
	    add_enter(enter, rights) &&
	    add(login, SCMP_ACT_ERRNO(EACCES), refuse_login, COUNTOF(refuse_login)) &&
	    export(enter, &programs[FILTER_ENTER]) && export(login, &programs[FILTER_LOGIN]) &&
	    (n_listeners == 0 || compile_listeners(n_listeners));

	if (enter != NULL)
		seccomp_release(enter);
	if (login != NULL)
		seccomp_release(login);
	return done ? ERR_OK : err_set(e, ERR_TEMP, errno, "cannot compile the system call filters");
}

enum err_kind filter_apply(enum filter_phase phase, struct err *e)
{
	if (programs[phase].filter == NULL && phase == FILTER_LISTENERS)
		return ERR_OK;
	if (programs[phase].filter == NULL)
		return err_set(e, ERR_TEMP, 0, "system call filter was not compiled");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &programs[phase]) < 0)
		return err_sys(e, errno, "system call filter");
	return ERR_OK;
}

#else

enum err_kind filter_compile(unsigned rights, unsigned n_listeners, struct err *e)
{
	(void)rights;
	(void)n_listeners;
	return err_set(e, ERR_NOENT, 0, "built without system call filters");
}

enum err_kind filter_apply(enum filter_phase phase, struct err *e)
{
	(void)phase;
	return err_set(e, ERR_NOENT, 0, "built without system call filters");
}

#endif
