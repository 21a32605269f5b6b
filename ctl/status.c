/* SPDX-License-Identifier: ISC */
/* penny status: what /proc knows. The supervisor's children are the services, their children
 * serve; one that has an established connection is counted as a session, where this user may look
 * at its descriptors. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

enum {
	COMM_OCTETS = 32,
	TCP_ESTABLISHED_STATE = 1,	/* include/net/tcp_states.h, as /proc/net/tcp prints it */
	TCP_LISTEN_STATE = 10,
	FIELD_PPID = 2, FIELD_START = 20,	/* of proc(5) stat, counted from the state */
};

struct process {
	int pid, parent;
	unsigned long long start_ticks;
	char comm[COMM_OCTETS];
};

struct tcp_socket {
	unsigned long inode;
	unsigned state;
	char local[64];
};

/* A picture of the system at one moment. */
struct system {
	struct process *procs;
	size_t n_procs;
	struct tcp_socket *socks;
	size_t n_socks;
};

static void *grown(void *p, size_t n, size_t size)
{
	/* Doubles at powers of two. */
	if ((n & (n - 1)) != 0)
		return p;
	p = reallocarray(p, n == 0 ? 1 : n * 2, size);
	if (p == NULL)
		exit(ctl_fail(EX_OSERR, "no memory"));
	return p;
}

/* "pid (comm) S ppid …": the name may hold anything, so the last ')' counts. */
static bool read_process(int pid, struct process *out)
{
	char path[64], text[1024], *open_at, *close_at, *p;
	FILE *f;
	size_t n;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	open_at = strchr(text, '(');
	close_at = strrchr(text, ')');
	if (open_at == NULL || close_at == NULL || close_at[1] != ' ' || close_at[2] == 'Z')
		return false;
	*close_at = '\0';
	*out = (struct process){ .pid = pid };
	snprintf(out->comm, sizeof out->comm, "%.*s", COMM_OCTETS - 1, open_at + 1);
	p = close_at + 2;
	for (int field = 1; p != NULL && field <= FIELD_START; field++) {
		if (field == FIELD_PPID)
			out->parent = atoi(p);
		if (field == FIELD_START)
			out->start_ticks = strtoull(p, NULL, 10);
		p = strchr(p, ' ');
		p = p != NULL ? p + 1 : NULL;
	}
	return true;
}

static void read_processes(struct system *sys)
{
	DIR *d = opendir("/proc");
	struct process proc;
	struct dirent *ent;

	while (d != NULL && (ent = readdir(d)) != NULL) {
		if (!isdigit((unsigned char)ent->d_name[0]) ||
		    !read_process(atoi(ent->d_name), &proc))
			continue;
		sys->procs = grown(sys->procs, sys->n_procs, sizeof proc);
		sys->procs[sys->n_procs++] = proc;
	}
	if (d != NULL)
		closedir(d);
}

/* An address of /proc/net/tcp: the kernel's words in hexadecimal. Only IPv4 is told apart by
 * octets; for IPv6 the port says enough to a person. */
static void address_text(const char *hex, unsigned port, char *out, size_t cap)
{
	unsigned a;

	if (strlen(hex) == 8 && sscanf(hex, "%8x", &a) == 1)
		snprintf(out, cap, "%u.%u.%u.%u:%u", a & 255, a >> 8 & 255, a >> 16 & 255, a >> 24,
		    port);
	else if (strspn(hex, "0") == strlen(hex))
		snprintf(out, cap, "[::]:%u", port);
	else
		snprintf(out, cap, "[ipv6]:%u", port);
}

static void read_sockets(struct system *sys, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[512], local[64];
	struct tcp_socket s;
	unsigned port;

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, " %*d: %63[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*d %*d %lu",
		    local, &port, &s.state, &s.inode) != 4)
			continue;
		address_text(local, port, s.local, sizeof s.local);
		sys->socks = grown(sys->socks, sys->n_socks, sizeof s);
		sys->socks[sys->n_socks++] = s;
	}
	if (f != NULL)
		fclose(f);
}

static const struct tcp_socket *find_socket(const struct system *sys, unsigned long inode)
{
	for (size_t i = 0; i < sys->n_socks; i++)
		if (sys->socks[i].inode == inode)
			return &sys->socks[i];
	return NULL;
}

/* Calls each for every TCP socket of the process; false when its descriptors are not for us to
 * see. */
static bool each_socket(const struct system *sys, int pid,
    void (*each)(void *ctx, const struct tcp_socket *s), void *ctx)
{
	char path[64], link[64];
	const struct tcp_socket *s;
	struct dirent *ent;
	unsigned long inode;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	d = opendir(path);
	if (d == NULL)
		return false;
	while ((ent = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), ent->d_name, link, sizeof link - 1);

		link[n > 0 ? n : 0] = '\0';
		if (sscanf(link, "socket:[%lu]", &inode) == 1 &&
		    (s = find_socket(sys, inode)) != NULL)
			each(ctx, s);
	}
	closedir(d);
	return true;
}

static void count_established(void *ctx, const struct tcp_socket *s)
{
	*(bool *)ctx = *(bool *)ctx || s->state == TCP_ESTABLISHED_STATE;
}

static void print_listening(void *ctx, const struct tcp_socket *s)
{
	if (s->state == TCP_LISTEN_STATE)
		printf("listen\t%s\t%s\n", (const char *)ctx, s->local);
}

/* One service: a child of the supervisor, with what it serves. */
static void print_service(const struct system *sys, const struct process *service)
{
	unsigned n_children = 0, n_sessions = 0;
	bool seen = true;

	for (size_t i = 0; i < sys->n_procs; i++) {
		bool busy = false;

		if (sys->procs[i].parent != service->pid)
			continue;
		n_children++;
		seen = each_socket(sys, sys->procs[i].pid, count_established, &busy) && seen;
		n_sessions += busy;
	}
	printf("service\t%s\tpid=%d\tprocesses=%u\tsessions=", service->comm, service->pid,
	    n_children);
	if (seen)
		printf("%u\n", n_sessions);
	else
		printf("?\n");
	each_socket(sys, service->pid, print_listening, (void *)(uintptr_t)service->comm);
}

static unsigned long long uptime_s(const struct process *p)
{
	double up = 0;
	FILE *f = fopen("/proc/uptime", "re");
	long hz = sysconf(_SC_CLK_TCK);
	unsigned long long started = hz > 0 ? p->start_ticks / (unsigned long long)hz : 0;

	if (f == NULL || fscanf(f, "%lf", &up) != 1)
		up = 0;
	if (f != NULL)
		fclose(f);
	return up > (double)started ? (unsigned long long)up - started : 0;
}

/* The pid in the file; 0 when there is none. */
static int read_pid_file(const char *path)
{
	FILE *f = fopen(path, "re");
	int pid = 0;

	if (f != NULL && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f != NULL)
		fclose(f);
	return pid > 0 ? pid : 0;
}

int cmd_status(struct ctl *c, int argc, char **argv)
{
	struct system sys = { NULL, 0, NULL, 0 };
	struct process super;
	char path[PATH_MAX];
	int n_services = 0, pid;

	(void)argc;
	(void)argv;
	snprintf(path, sizeof path, "%s/pennypost.pid", c->set.run_dir);
	pid = read_pid_file(path);
	/* A pid that another program has now is not ours. */
	if (pid == 0 || !read_process(pid, &super) || strcmp(super.comm, "pennypost") != 0) {
		printf("supervisor\tnot running\n");
		return EX_UNAVAILABLE;
	}
	printf("supervisor\tpid=%d\tuptime_s=%llu\n", pid, uptime_s(&super));
	read_processes(&sys);
	read_sockets(&sys, "/proc/net/tcp");
	read_sockets(&sys, "/proc/net/tcp6");
	for (size_t i = 0; i < sys.n_procs; i++)
		if (sys.procs[i].parent == pid) {
			print_service(&sys, &sys.procs[i]);
			n_services++;
		}
	free(sys.procs);
	free(sys.socks);
	return n_services > 0 ? 0 : EX_UNAVAILABLE;
}
