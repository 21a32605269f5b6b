/* SPDX-License-Identifier: ISC */
/* penny check-config: the supervisor's -t asks every program about its own section, each with
 * file:line. It is installed beside this program, and stands beside it in a build tree. */
#include <limits.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl.h"

static const char supervisor[] = "pennypost";

/* Its path; false when this program can't tell where it is itself. */
static bool find_supervisor(char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - sizeof supervisor - 1);

	while (n > 0 && out[n - 1] != '/')
		n--;
	if (n <= 0)
		return false;
	memcpy(out + n, supervisor, sizeof supervisor);
	return true;
}

int cmd_check_config(struct ctl *c, int argc, char **argv)
{
	char path[PATH_MAX];
	int status = ctl_load_conf(c), pid;

	(void)argc;
	(void)argv;
	if (status != 0)
		return status;
	if (!find_supervisor(path))
		return ctl_fail(EX_UNAVAILABLE, "no /proc here");
	pid = fork();
	if (pid == 0) {
		execl(path, path, "-t", "-c", c->conf_path, (char *)NULL);
		_exit(ctl_fail(EX_UNAVAILABLE, "%s can't be run", path));
	}
	if (pid < 0)
		return ctl_fail(EX_OSERR, "fork failed");
	status = ctl_wait_child(pid);
	if (status == 0)
		printf("%s\tok\n", c->conf_path);
	return status;
}
