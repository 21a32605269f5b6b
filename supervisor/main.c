/* SPDX-License-Identifier: ISC */
/* pennypost: options, check, going into the background. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/log.h"
#include "process.h"
#include "supervise.h"

enum { DUMP_MAX_OCTETS = 1 << 20 };

struct options {
	char *conf_path;		/* absolute: we and the services may change directory */
	const char *pid_path;
	bool test, dump, background;
};

static int usage(void)
{
	fprintf(stderr, "usage: pennypost [-dftT] [-c file] [-p pidfile]\n");
	return EX_USAGE;
}

/* Not realpath: conf.d is beside the name that was given, even if that is a link. */
static char *absolute(const char *path)
{
	char *cwd = NULL, *out = NULL;

	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (cwd == NULL || asprintf(&out, "%s/%s", cwd, path) < 0)
		out = NULL;
	free(cwd);
	return out;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
	const char *conf = SYSCONFDIR "/pennypost/pennypost.conf";
	int ch;

	*o = (struct options){ 0 };
	while ((ch = getopt(argc, argv, "c:dfp:tT")) != -1)
		switch (ch) {
		case 'c':
			conf = optarg;
			break;
		case 'd':
			o->background = true;
			break;
		case 'f':
			o->background = false;
			break;
		case 'p':
			o->pid_path = optarg;
			break;
		case 't':
			o->test = true;
			break;
		case 'T':
			o->dump = true;
			break;
		default:
			return false;
		}
	o->conf_path = absolute(conf);
	return o->conf_path != NULL && optind == argc;
}

static int check(const struct options *o, const struct plan *p)
{
	struct launch l = { p->libexec_dir, o->conf_path, "" };
	int status = EX_OK;
	struct err e;

	for (size_t i = 0; i < N_SERVICES; i++) {
		if (!p->service[i].wanted)
			continue;
		if (process_check_conf(service_names[i], &l, &e) == ERR_OK) {
			printf("%s: configuration is fine\n", service_names[i]);
			continue;
		}
		fprintf(stderr, "%s\n", e.text);
		status = EX_CONFIG;
	}
	return status;
}

static int dump(const struct plan *p)
{
	struct buf out = BUF_INIT(DUMP_MAX_OCTETS);
	bool ok;

	conf_dump(p->conf, "pennypost", settings_keys, n_settings_keys, false, &out);
	conf_dump(p->conf, "pennypost", plan_keys, n_plan_keys, false, &out);
	ok = fwrite(out.p, 1, out.n, stdout) == out.n && fflush(stdout) == 0;
	buf_free(&out);
	return ok ? EX_OK : EX_IOERR;
}

/* The parent returns the exit status when the service is up, or -1 in the child. */
static int go_background(int *out_tell_fd)
{
	char answer;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "pennypost: %s\n", strerror(errno));
		return EX_OSERR;
	}
	if (pid > 0) {
		close(fds[1]);
		return read(fds[0], &answer, 1) == 1 ? EX_OK : EX_UNAVAILABLE;
	}
	close(fds[0]);
	*out_tell_fd = fds[1];
	setsid();
	return -1;
}

static void leave_terminal(const struct plan *p)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (strcmp(p->set.log_to, "stderr") != 0)
		dup2(null, STDERR_FILENO);
	close(null);
}

static int run(const struct options *o)
{
	struct supervise_options so = { .conf_path = o->conf_path, .pid_path = o->pid_path,
		.tell_fd = -1 };
	struct plan *plan = NULL;
	struct err e;
	int status;

	if (plan_load(o->conf_path, &plan, &e) != ERR_OK) {
		fprintf(stderr, "pennypost: %s\n", e.text);
		return EX_CONFIG;
	}
	status = o->dump ? dump(plan) : o->test ? check(o, plan) : o->background ? go_background(&so.tell_fd) : -1;
	if (status >= 0) {
		plan_free(&plan);
		return status;
	}
	if (o->background)
		leave_terminal(plan);
	return supervise(&so, plan);
}

int main(int argc, char **argv)
{
	struct options o;
	struct err e;
	int status;

	if (log_open("pennypost", "stderr", LOG_LEVEL_INFO, &e) != ERR_OK)
		return EX_OSERR;
	if (!parse_options(argc, argv, &o))
		return usage();
	status = run(&o);
	free(o.conf_path);
	return status;
}
