/* SPDX-License-Identifier: ISC */
/* The sandbox from inside: a child that has entered it tries what a hostile session would try. As root it
 * changes to the account nobody; as an ordinary user what the kernel does not give is skipped. Each try
 * has a process of its own, as the filter ends some of them. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../libserve/sandbox.h"
#include "../../libserve/serve.h"
#include "tap.h"

static char base[] = "/tmp/test_sandbox.XXXXXX";
static char jail[64], alice[64], bob[64];
static unsigned missing;

static struct sandbox_plan plan_for(unsigned rights)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam("nobody") : NULL;

	return (struct sandbox_plan){ .root_dir = jail, .uid = pw != NULL ? pw->pw_uid : 0,
		.gid = pw != NULL ? pw->pw_gid : 0, .rights = rights };
}

/* -- what is tried; true: it was possible -- */

static bool read_passwd(void) { return open("/etc/passwd", O_RDONLY) >= 0; }
static bool read_parent(void) { return open("../bob/secret", O_RDONLY) >= 0; }
static bool list_parent(void) { return open("..", O_RDONLY | O_DIRECTORY) >= 0; }
static bool read_bob(void) { return open(bob, O_RDONLY | O_DIRECTORY) >= 0; }
static bool own_file(void) { return open("mine", O_RDWR | O_CREAT, 0600) >= 0; }
static bool own_rename(void) { return own_file() && mkdir("d", 0700) == 0 && rename("mine", "d/x") == 0; }
static bool inet_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }
static bool inet_datagram(void) { return socket(AF_INET6, SOCK_DGRAM, 0) >= 0; }
static bool netlink(void) { return socket(AF_NETLINK, SOCK_RAW, 0) >= 0; }
static bool unix_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }
static bool signal_parent(void) { return kill(getppid(), 0) == 0; }
static bool signal_io(void) { return fcntl(0, F_SETOWN, getppid()) == 0; }
static bool trace(void) { return ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0; }
static bool make_process(void) { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0; }
static bool run_program(void) { return execl("/bin/true", "true", (char *)NULL) == 0; }
static bool be_root(void) { return syscall(SYS_setuid, 0) == 0; }
static bool new_root(void) { return chroot(".") == 0; }
static bool new_namespace(void) { return syscall(SYS_unshare, 0x10000000) == 0; }
static bool read_memory(void)
{
	return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) == 0;
}
static bool io_uring(void) { return syscall(425, 1, NULL) >= 0 || errno == EFAULT; }
static bool run_data(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	    MAP_FAILED;
}

struct attempt {
	const char *name;
	bool (*f)(void);
	bool before, after;	/* possible before and after login */
	unsigned needs;		/* SANDBOX_* without which the answer may be another */
};

static const struct attempt attempts[] = {
	{ "read /etc/passwd", read_passwd, false, false, SANDBOX_CHROOT },
	{ "read ../bob", read_parent, false, false, SANDBOX_CHROOT | SANDBOX_LANDLOCK },
	{ "list ..", list_parent, true, false, SANDBOX_CHROOT | SANDBOX_LANDLOCK },
	{ "read bob by name", read_bob, false, false, SANDBOX_CHROOT },
	{ "own file", own_file, false, true, SANDBOX_UID | SANDBOX_CHROOT },
	{ "own rename", own_rename, false, true, SANDBOX_UID | SANDBOX_CHROOT },
	{ "internet socket", inet_socket, false, false, SANDBOX_SECCOMP },
	{ "datagram socket", inet_datagram, false, false, SANDBOX_SECCOMP },
	{ "netlink socket", netlink, false, false, SANDBOX_SECCOMP },
	{ "Unix socket", unix_socket, true, false, SANDBOX_SECCOMP },
	{ "signal another", signal_parent, false, false, SANDBOX_SECCOMP },
	{ "signal by F_SETOWN", signal_io, false, false, SANDBOX_SECCOMP },
	{ "ptrace", trace, false, false, SANDBOX_SECCOMP },
	{ "fork", make_process, false, false, SANDBOX_SECCOMP },
	{ "exec", run_program, false, false, SANDBOX_SECCOMP },
	{ "become root", be_root, false, false, SANDBOX_SECCOMP },
	{ "chroot", new_root, false, false, SANDBOX_SECCOMP },
	{ "new namespace", new_namespace, false, false, SANDBOX_SECCOMP },
	{ "another's memory", read_memory, false, false, SANDBOX_SECCOMP },
	{ "io_uring", io_uring, false, false, SANDBOX_SECCOMP },
	{ "writable code", run_data, false, false, SANDBOX_SECCOMP },
};

enum outcome { POSSIBLE = 10, REFUSED = 11, BROKEN = 12 };

static void child(const struct attempt *a, unsigned rights, bool login)
{
	struct sandbox_plan p = plan_for(rights);
	int store = open(alice, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned done;
	struct err e;

	if (sandbox_enter(&p, &done, &e) != ERR_OK || (login && sandbox_login(store, &done, &e) != ERR_OK)) {
		dprintf(STDERR_FILENO, "%s\n", e.text);
		_exit(BROKEN);
	}
	_exit(a->f() ? POSSIBLE : REFUSED);
}

static enum outcome try(const struct attempt *a, unsigned rights, bool login)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		child(a, rights, login);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return BROKEN;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? REFUSED : BROKEN;
	return WEXITSTATUS(status) == 0 ? POSSIBLE : (enum outcome)WEXITSTATUS(status);
}

static void clean(void)
{
	char cmd[128];

	snprintf(cmd, sizeof cmd, "rm -rf %s", base);
	CHECK(system(cmd) == 0);
}

/* As in a post office: what is above the stores belongs to us alone. */
static void make_tree(void)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam("nobody") : NULL;
	char path[96];
	int fd;

	REQUIRE(mkdtemp(base) != NULL && chmod(base, 0755) == 0);
	snprintf(jail, sizeof jail, "%s/jail", base);
	snprintf(path, sizeof path, "%s/office", base);
	REQUIRE(mkdir(jail, 0755) == 0 && mkdir(path, 0700) == 0);
	snprintf(alice, sizeof alice, "%s/office/alice", base);
	snprintf(bob, sizeof bob, "%s/office/bob", base);
	REQUIRE(mkdir(alice, 0700) == 0 && mkdir(bob, 0700) == 0);
	snprintf(path, sizeof path, "%s/secret", bob);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	REQUIRE(fd >= 0);
	close(fd);
	if (pw != NULL)
		REQUIRE(chown(alice, pw->pw_uid, pw->pw_gid) == 0 && chown(bob, pw->pw_uid, pw->pw_gid) == 0 &&
		    chown(path, pw->pw_uid, pw->pw_gid) == 0);
}

static void run(unsigned rights, bool login)
{
	for (size_t i = 0; i < COUNTOF(attempts); i++) {
		const struct attempt *a = &attempts[i];
		bool possible = login ? a->after : a->before;

		if ((missing & a->needs) != 0)
			continue;
		/* without a store there is nothing at all; a store's session may list its empty root */
		if ((rights & SERVE_STORE) == 0 && a->f == list_parent)
			possible = false;
		if (try(a, rights, login) != (possible ? POSSIBLE : REFUSED)) {
			printf("# %s, %s login: %s\n", a->name, login ? "after" : "before",
			    possible ? "should be possible" : "should be refused");
			CHECK_AT(false, i);
		} else {
			CHECK_AT(true, i);
		}
	}
}

int main(void)
{
	static const unsigned rights[] = { SERVE_AUTH | SERVE_STORE, SERVE_AUTH | SERVE_DELIVER };

	make_tree();
	for (size_t i = 0; i < COUNTOF(rights); i++) {
		struct sandbox_plan p = plan_for(rights[i]);
		struct err e;

		REQUIRE(sandbox_prepare(&p, &missing, &e) == ERR_OK);
		run(rights[i], false);
		if ((rights[i] & SERVE_STORE) != 0)
			run(rights[i], true);
	}
	clean();
	return tap_done();
}
