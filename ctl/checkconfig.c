/* SPDX-License-Identifier: ISC */
/* penny check-config: each program is the judge of its own section, so each is asked with -t. They print
 * file:line themselves; the same complaint about a shared section is printed once. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "ctl.h"

enum { OUTPUT_MAX_OCTETS = 64 * 1024 };

struct programs {
	char *libexec;
	char sbin[PATH_MAX];
};

static const char *const daemons[] = { "authd", "smtpd", "deliver", "pop3d", "imapd" };

/* The supervisor is installed beside this program; where its daemons are is one of its settings. */
static int find_programs(struct ctl *c, struct programs *out)
{
	static const struct conf_key keys[] = {
		{ "pennypost", "libexec", CONF_PATH, LIBEXECDIR "/pennypost", NULL, NULL, NULL,
		  offsetof(struct programs, libexec), "" },
	};
	ssize_t n = readlink("/proc/self/exe", out->sbin, sizeof out->sbin - 1);
	struct err e;

	while (n > 0 && out->sbin[n - 1] != '/')
		n--;
	out->sbin[n > 0 ? n - 1 : 0] = '\0';
	if (conf_get(c->conf, NULL, keys, COUNTOF(keys), out, &e) != ERR_OK)
		return ctl_fail(EX_CONFIG, "%s", e.text);
	return 0;
}

/* Runs a program with -t; what it says on standard error is appended to said. Its exit code, or
 * EX_UNAVAILABLE. */
static int ask(const char *path, const char *conf_path, struct buf *said)
{
	int ends[2], status;
	ssize_t n = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return EX_OSERR;
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		dup2(ends[1], STDOUT_FILENO);
		execl(path, path, "-t", "-c", conf_path, (char *)NULL);
		_exit(EX_UNAVAILABLE);
	}
	close(ends[1]);
	while (pid > 0 && buf_reserve(said, 4096) &&
	    (n = read(ends[0], said->p + said->n, 4096)) > 0)
		said->n += (size_t)n;
	close(ends[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return EX_OSERR;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static bool said_before(const struct buf *all, struct str text)
{
	return text.n > 0 && str_find_str(buf_str(all), text) < all->n;
}

/* One program's verdict. `all` is what earlier ones said. */
static int check_program(const char *dir, const char *name, const char *conf_path, struct buf *all)
{
	struct buf said = BUF_INIT(OUTPUT_MAX_OCTETS);
	char path[PATH_MAX];
	int status;

	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
		return ctl_fail(EX_CONFIG, "%s: path too long", dir);
	status = ask(path, conf_path, &said);
	if (status == EX_UNAVAILABLE)
		status = ctl_fail(EX_UNAVAILABLE, "%s can't be run", path);
	else if (status != 0 && said.n == 0)
		status = ctl_fail(EX_CONFIG, "%s refuses the configuration", name);
	if (!said_before(all, buf_str(&said)))
		fwrite(said.p, 1, said.n, stderr);
	buf_put(all, buf_str(&said));
	buf_free(&said);
	return status == 0 || status == EX_UNAVAILABLE ? status : EX_CONFIG;
}

static int worse(int a, int b)
{
	return a == EX_CONFIG || b == 0 ? a : b;
}

int cmd_check_config(struct ctl *c, int argc, char **argv)
{
	struct buf all = BUF_INIT(OUTPUT_MAX_OCTETS * 8);
	struct programs programs;
	int worst = ctl_load_conf(c);

	(void)argc;
	(void)argv;
	if (worst != 0 || (worst = find_programs(c, &programs)) != 0)
		return worst;
	worst = check_program(programs.sbin, "pennypost", c->conf_path, &all);
	for (size_t i = 0; i < COUNTOF(daemons); i++)
		worst = worse(worst, check_program(programs.libexec, daemons[i], c->conf_path, &all));
	buf_free(&all);
	if (worst == 0)
		printf("%s\tok\n", c->conf_path);
	return worst;
}
