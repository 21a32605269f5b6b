/* SPDX-License-Identifier: ISC */
/* Owns the order in which rights go: root directory, identity, then what may never come back. As root each
 * step must succeed, as an ordinary user each is tried and reported. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"
#include "sandbox_int.h"
#include "serve.h"

enum { JAIL_MODE = 0755 };

/* What the parent found out; the same for all its children. */
static struct {
	bool filters, user_namespace;
} have;

/* -- in the parent -- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Maps only ourselves, so that files keep their owner, and gives us chroot in there. */
static bool enter_user_namespace(void)
{
	unsigned uid = geteuid(), gid = getegid();
	char uids[64], gids[64];

	snprintf(uids, sizeof uids, "%u %u 1", uid, uid);
	snprintf(gids, sizeof gids, "%u %u 1", gid, gid);
	return unshare(CLONE_NEWUSER) == 0 && write_file("/proc/self/setgroups", "deny") &&
	    write_file("/proc/self/gid_map", gids) && write_file("/proc/self/uid_map", uids);
}

/* Makes the last two parts of the path ("jail/imapd"); who starts us makes the rest. */
static enum err_kind make_root_dir(const char *path, struct err *e)
{
	char parent[4096];
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (slash == NULL || (size_t)(slash - path) >= sizeof parent)
		return err_set(e, ERR_SYNTAX, 0, "%s: not a usable directory name", path);
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	if ((mkdir(parent, JAIL_MODE) < 0 && errno != EEXIST) ||
	    (mkdir(path, JAIL_MODE) < 0 && errno != EEXIST) || stat(path, &st) < 0)
		return err_sys(e, errno, "%s", path);
	/* a directory that others can write to is no jail */
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return err_set(e, ERR_DENIED, 0, "%s: not a directory that only its owner, "
		    "this process, can write to", path);
	return ERR_OK;
}

enum err_kind sandbox_prepare(const struct sandbox_plan *p, unsigned *out_missing, struct err *e)
{
	bool root = geteuid() == 0;
	enum err_kind k;

	*out_missing = 0;
	if ((p->rights & SERVE_ROOT) != 0)
		return ERR_OK;
	k = make_root_dir(p->root_dir, e);
	if (k != ERR_OK && root)
		return k;
	have.filters = filter_compile(p->rights, p->n_listeners, e) == ERR_OK;
	if (!have.filters && root)
		return e->kind;
	if (!root)
		have.user_namespace = k == ERR_OK && enter_user_namespace();
	*out_missing = (root ? 0 : SANDBOX_UID) | (root || have.user_namespace ? 0 : SANDBOX_CHROOT) |
	    (have.filters ? 0 : SANDBOX_SECCOMP) | (landlock_abi() > 0 ? 0 : SANDBOX_LANDLOCK);
	return ERR_OK;
}

/* -- in the child -- */

static bool change_root(const char *dir)
{
	return chdir(dir) == 0 && chroot(".") == 0 && chdir("/") == 0;
}

static bool identity_is(uid_t uid, gid_t gid)
{
	uid_t u[3];
	gid_t g[3];

	return getresuid(&u[0], &u[1], &u[2]) == 0 && getresgid(&g[0], &g[1], &g[2]) == 0 &&
	    u[0] == uid && u[1] == uid && u[2] == uid && g[0] == gid && g[1] == gid && g[2] == gid &&
	    getgroups(0, NULL) == 0 && setuid(0) < 0;
}

static enum err_kind leave_root(const struct sandbox_plan *p, unsigned *done, struct err *e)
{
	if (p->uid == 0)
		return err_set(e, ERR_DENIED, 0, "a session may not run as root");
	if (!change_root(p->root_dir))
		return err_sys(e, errno, "chroot to %s", p->root_dir);
	if (setgroups(0, NULL) < 0 || setresgid(p->gid, p->gid, p->gid) < 0 ||
	    setresuid(p->uid, p->uid, p->uid) < 0)
		return err_sys(e, errno, "change to uid %u", (unsigned)p->uid);
	if (!identity_is(p->uid, p->gid))
		return err_set(e, ERR_DENIED, 0, "change to uid %u is not final", (unsigned)p->uid);
	*done |= SANDBOX_UID | SANDBOX_CHROOT;
	return ERR_OK;
}

static bool drop_capabilities(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };

	return syscall(SYS_capset, &head, none) == 0;
}

/* In our user namespace chroot works as for root; without it the directory is at least the current
 * one, where the sockets are. */
static enum err_kind leave_user(const struct sandbox_plan *p, unsigned *done, struct err *e)
{
	if (!have.user_namespace) {
		(void)!chdir(p->root_dir);
		return ERR_OK;
	}
	if (change_root(p->root_dir))
		*done |= SANDBOX_CHROOT;
	return drop_capabilities() ? ERR_OK : err_sys(e, errno, "drop of capabilities");
}

static bool limit(int what, rlim_t value)
{
	struct rlimit r = { value, value };

	return setrlimit(what, &r) == 0;
}

static void set_limits(const struct sandbox_plan *p, unsigned *done)
{
	bool ok = prctl(PR_SET_DUMPABLE, 0) == 0 && limit(RLIMIT_CORE, 0);

	if ((p->rights & SERVE_ROOT) == 0)
		ok = limit(RLIMIT_NPROC, 0) && ok;
	if (!SANDBOX_SANITIZED && p->memory_max_bytes > 0)
		ok = limit(RLIMIT_DATA, p->memory_max_bytes) && ok;
	if (ok)
		*done |= SANDBOX_RLIMITS;
}

/* A service with one store gets its rules for files at login: rules can only be narrowed, and the descriptor
 * that they need is not there yet. Until then the empty root directory is the wall. The network is closed
 * now: connect() must be allowed for authd's socket, and the filter can't see to what a socket is connected
 * that once was the peer's. */
static void confine_early(const struct sandbox_plan *p, int root_fd, unsigned *done)
{
	bool files = (p->rights & (SERVE_STORE | SERVE_STORES)) != 0;
	struct err e;
	enum err_kind k = files ? landlock_close_network(root_fd, &e) :
	    landlock_confine(LANDLOCK_NO_FILES, &e);

	if (k == ERR_OK && (p->rights & SERVE_STORE) == 0)
		*done |= SANDBOX_LANDLOCK;
}

/* Everything but the filters. */
static enum err_kind leave(const struct sandbox_plan *p, int root_fd, unsigned *done, struct err *e)
{
	enum err_kind k = geteuid() == 0 ? leave_root(p, done, e) : leave_user(p, done, e);

	if (k != ERR_OK)
		return k;
	set_limits(p, done);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "no new privileges");
	*done |= SANDBOX_NO_NEW_PRIVS;
	confine_early(p, root_fd, done);
	return ERR_OK;
}

enum err_kind sandbox_enter(const struct sandbox_plan *p, unsigned *out_done, struct err *e)
{
	enum err_kind k;
	int root_fd;

	*out_done = 0;
	if ((p->rights & SERVE_ROOT) != 0) {
		set_limits(p, out_done);
		return ERR_OK;
	}
	root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	k = leave(p, root_fd, out_done, e);
	if (root_fd >= 0)
		close(root_fd);		/* it would be a way out */
	if (k != ERR_OK)
		return k;
	if (have.filters && ((k = filter_apply(FILTER_LISTENERS, e)) != ERR_OK ||
	    (k = filter_apply(FILTER_ENTER, e)) != ERR_OK))
		return k;
	*out_done |= have.filters ? SANDBOX_SECCOMP : 0;
	return ERR_OK;
}

enum err_kind sandbox_login(int store_fd, unsigned *out_done, struct err *e)
{
	enum err_kind k;

	*out_done = 0;
	serve_session_is_last();
	if (fchdir(store_fd) < 0)
		return err_sys(e, errno, "store directory");
	k = landlock_confine(store_fd, e);
	if (k == ERR_OK)
		*out_done |= SANDBOX_LANDLOCK;
	else if (k != ERR_NOENT)
		return k;
	if (have.filters && (k = filter_apply(FILTER_LOGIN, e)) != ERR_OK)
		return k;
	*out_done |= have.filters ? SANDBOX_SECCOMP : 0;
	return ERR_OK;
}
