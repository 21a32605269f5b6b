/* SPDX-License-Identifier: ISC */
/* The way into users' stores. A store is only ever touched in a child process that has become the
 * account which owns all stores; what it inherits from root is one descriptor. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../libserve/office.h"
#include "../libserve/username.h"
#include "ctl.h"
#include "passwdfile.h"

int ctl_find_office(const struct ctl *c, struct office *o)
{
	struct passwd *pw;
	struct group *gr;

	*o = (struct office){ c->set.post_office, geteuid() == 0, geteuid(), getegid() };
	if (!o->chown)
		return 0;
	pw = getpwnam(c->set.user);
	gr = getgrnam(c->set.group);
	if (pw == NULL || gr == NULL)
		return ctl_fail(EX_CONFIG, "[store] user %s or group %s does not exist",
		    c->set.user, c->set.group);
	o->uid = pw->pw_uid;
	o->gid = gr->gr_gid;
	return 0;
}

/* One way: to the owner of the stores, with no other group. */
static int become(const struct office *o)
{
	if (!o->chown)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
	    setresuid(o->uid, o->uid, o->uid) < 0)
		return ctl_fail(EX_NOPERM, "becoming the owner of the stores: %s", strerror(errno));
	return 0;
}

int ctl_open_and_run(const struct ctl *c, int store_fd, int (*run)(struct store *s, void *arg), void *arg)
{
	struct store_env env;
	struct store *s = NULL;
	struct err e;
	int status;

	store_env_init(&env);
	env.conf = c->set.store;
	if (store_open(store_fd, &env, &s, &e) != ERR_OK)
		return ctl_err(&e);
	status = run(s, arg);
	store_close(&s);
	return status;
}

int ctl_check_account(const struct ctl *c, const char *user)
{
	struct passwdfile f;
	struct err e;
	bool has;

	if (c->set.source == AUTH_SOURCE_PAM) {
		has = getpwnam(user) != NULL;
	} else {
		if (passwdfile_open(&f, c->set.passwd_file, false, &e) != ERR_OK)
			return ctl_err(&e);
		has = passwdfile_has(&f, str_of(user));
		passwdfile_close(&f);
	}
	return has ? 0 : ctl_fail(EX_NOUSER, "there is no user %s", user);
}

static int open_store_dir(const struct ctl *c, const struct office *o, const char *user,
    bool create, int *out_fd)
{
	enum err_kind k;
	struct err e;
	int status;

	if (!name_is_valid(str_of(user)))
		return ctl_fail(EX_USAGE, "that can't be a user's name");
	if (create && (status = ctl_check_account(c, user)) != 0)
		return status;
	if (create && (k = office_prepare(o, &e)) != ERR_OK)
		return ctl_err(&e);
	if (create)
		k = office_open_store(o, user, out_fd, &e);
	else
		k = office_find_store(o, user, out_fd, &e);
	if (k == ERR_NOENT)
		return ctl_fail(EX_NOUSER, "%s has no mail store", user);
	return k == ERR_OK ? 0 : ctl_err(&e);
}

int ctl_start_in_store(struct ctl *c, const char *user, bool create,
    int (*run)(struct store *s, void *arg), void *arg, int *out_pid)
{
	struct office o;
	int fd = -1, status = ctl_find_office(c, &o);

	if (status == 0)
		status = open_store_dir(c, &o, user, create, &fd);
	if (status != 0)
		return status;
	fflush(stdout);
	*out_pid = fork();
	if (*out_pid == 0) {
		status = become(&o);
		if (status == 0)
			status = ctl_open_and_run(c, fd, run, arg);
		fflush(stdout);
		_exit(status);
	}
	close(fd);
	return *out_pid > 0 ? 0 : ctl_fail(EX_OSERR, "fork: %s", strerror(errno));
}

int ctl_as_owner(struct ctl *c, int (*run)(void *arg), void *arg)
{
	struct office o;
	int pid, status = ctl_find_office(c, &o);

	if (status != 0)
		return status;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		status = become(&o);
		if (status == 0)
			status = run(arg);
		fflush(stdout);
		_exit(status);
	}
	return pid > 0 ? ctl_wait_child(pid) : ctl_fail(EX_OSERR, "fork: %s", strerror(errno));
}

int ctl_wait_child(int pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return ctl_fail(EX_OSERR, "wait: %s", strerror(errno));
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return ctl_fail(EX_SOFTWARE, "the process in the store died of signal %d",
	    WTERMSIG(status));
}

int ctl_in_store(struct ctl *c, const char *user, bool create,
    int (*run)(struct store *s, void *arg), void *arg)
{
	int pid, status = ctl_start_in_store(c, user, create, run, arg, &pid);

	return status != 0 ? status : ctl_wait_child(pid);
}

struct each {
	struct ctl *c;
	int (*run)(struct ctl *c, const char *user);
	int status;
};

static bool each_user(void *ctx, const char *user)
{
	struct each *each = ctx;
	int status = each->run(each->c, user);

	if (status != 0)
		each->status = status;
	return true;
}

int ctl_each_user(struct ctl *c, int (*run)(struct ctl *c, const char *user))
{
	struct each each = { c, run, 0 };
	struct office o;
	struct err e;
	int status = ctl_find_office(c, &o);

	if (status != 0)
		return status;
	if (office_each_user(&o, each_user, &each, &e) != ERR_OK)
		return ctl_err(&e);
	return each.status;
}
