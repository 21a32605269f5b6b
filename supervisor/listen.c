/* SPDX-License-Identifier: ISC */
/* Owns the syntax of listen words and the making of listening sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "listen.h"

enum {
	PORT_MAX = 65535,
	/* Sessions of a supervisor that was killed may hold its ports until they end. */
	BIND_TRIES = 50,
	BIND_PAUSE_MS = 100,
	UNIX_MODE = 0666,
};

/* -- words -- */

static bool copy_part(struct str s, char *out, size_t cap)
{
	if (s.n == 0 || s.n >= cap || str_has(s, '\0'))
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

static bool is_name(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alpha(s.p[i]) && !ascii_is_digit(s.p[i]))
			return false;
	return s.n > 0;
}

static bool is_address(const char *text)
{
	struct in6_addr any;

	return strcmp(text, "*") == 0 || inet_pton(AF_INET, text, &any) == 1 ||
	    inet_pton(AF_INET6, text, &any) == 1;
}

static bool parse_tcp(struct str rest, struct listen_spec *out)
{
	struct str host = rest, port;
	size_t colon = rest.n;
	uint64_t n;

	while (colon > 0 && rest.p[colon - 1] != ':')
		colon--;
	if (colon == 0)
		return false;
	port = str_skip(rest, colon);
	host = str_head(rest, colon - 1);
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = str_n(host.p + 1, host.n - 2);
	else if (str_has(host, ':'))	/* an IPv6 address without brackets is ambiguous */
		return false;
	if (!str_to_u64(port, PORT_MAX, &n) || n == 0)
		return false;
	out->port = (uint16_t)n;
	return copy_part(host, out->address, sizeof out->address) && is_address(out->address);
}

enum err_kind listen_parse(struct str word, struct listen_spec *out, struct err *e)
{
	struct str rest = word, name;
	bool ok;

	memset(out, 0, sizeof *out);
	out->mode = UNIX_MODE;
	out->owner = (uid_t)-1;
	ok = str_split(&rest, ':', &name) && is_name(name) && rest.p != NULL && rest.n > 0 &&
	    copy_part(name, out->name, sizeof out->name);
	if (ok && (rest.p[0] == '/' || !str_has(rest, ':')))
		ok = copy_part(rest, out->path, sizeof out->path);
	else if (ok)
		ok = parse_tcp(rest, out);
	return ok ? ERR_OK : err_set(e, ERR_SYNTAX, 0, "listen: \"%.*s\" is neither name:address:port "
	    "nor name:path", STR_FMT(word));
}

bool listen_same(const struct listen_spec *a, const struct listen_spec *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->address, b->address) == 0 &&
	    a->port == b->port && strcmp(a->path, b->path) == 0 && a->seqpacket == b->seqpacket &&
	    a->mode == b->mode && a->owner == b->owner;
}

void listen_describe(const struct listen_spec *s, char *out, size_t cap)
{
	if (s->path[0] != '\0')
		snprintf(out, cap, "%s %s", s->name, s->path);
	else
		snprintf(out, cap, strchr(s->address, ':') != NULL ? "%s [%s]:%u" : "%s %s:%u", s->name,
		    s->address, s->port);
}

/* -- sockets -- */

static int tcp_socket(int family, bool v6_only)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, only = v6_only;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
	return fd;
}

/* bind, which may have to wait for the last owner's processes to go. */
static bool bind_patiently(int fd, const struct sockaddr *sa, socklen_t n)
{
	for (int i = 0; i < BIND_TRIES; i++) {
		if (bind(fd, sa, n) == 0)
			return true;
		if (errno != EADDRINUSE)
			return false;
		clock_sleep_ms(BIND_PAUSE_MS);
	}
	errno = EADDRINUSE;
	return false;
}

static int open_v4(const struct listen_spec *s)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(s->port) };
	int fd;

	if (strcmp(s->address, "*") != 0 && inet_pton(AF_INET, s->address, &sa.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	fd = tcp_socket(AF_INET, false);
	if (fd >= 0 && bind_patiently(fd, (struct sockaddr *)&sa, sizeof sa))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int open_v6(const struct listen_spec *s)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(s->port) };
	bool every = strcmp(s->address, "*") == 0;
	int fd;

	if (!every)
		inet_pton(AF_INET6, s->address, &sa.sin6_addr);
	fd = tcp_socket(AF_INET6, !every);
	if (fd >= 0 && bind_patiently(fd, (struct sockaddr *)&sa, sizeof sa))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int open_tcp(const struct listen_spec *s)
{
	bool every = strcmp(s->address, "*") == 0;
	int fd = -1;

	if (every || strchr(s->address, ':') != NULL)
		fd = open_v6(s);
	else
		return open_v4(s);
	/* a host without IPv6 */
	if (fd < 0 && every && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
		fd = open_v4(s);
	return fd;
}

static void full_path(const struct listen_spec *s, const char *dir, char *out, size_t cap)
{
	if (s->path[0] == '/')
		snprintf(out, cap, "%s", s->path);
	else
		snprintf(out, cap, "%s/%s", dir, s->path);
}

enum err_kind unix_address(const char *path, struct sockaddr_un *out, int *out_dir_fd, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char parent[LISTEN_PATH_OCTETS * 2];
	int n;

	*out_dir_fd = -1;
	memset(out, 0, sizeof *out);
	out->sun_family = AF_UNIX;
	if (strlen(path) < sizeof out->sun_path) {
		memcpy(out->sun_path, path, strlen(path) + 1);
		return ERR_OK;
	}
	if (slash == NULL || (size_t)(slash - path) >= sizeof parent)
		return err_set(e, ERR_LIMIT, 0, "%s: name too long", path);
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	*out_dir_fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*out_dir_fd < 0)
		return err_sys(e, errno, "%s", parent);
	n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d%s", *out_dir_fd, slash);
	if (n < 0 || (size_t)n >= sizeof out->sun_path) {
		close(*out_dir_fd);
		*out_dir_fd = -1;
		return err_set(e, ERR_LIMIT, 0, "%s: name too long", path);
	}
	return ERR_OK;
}

/* Nobody can connect before owner and mode are right: it is made with no permissions at all. */
static enum err_kind bind_unix(int fd, const struct listen_spec *s, const char *path, struct err *e)
{
	struct sockaddr_un sa;
	enum err_kind k;
	mode_t before;
	int dir_fd, n;

	if ((k = unix_address(path, &sa, &dir_fd, e)) != ERR_OK)
		return k;
	unlink(path);
	before = umask(0777);
	n = bind(fd, (struct sockaddr *)&sa, sizeof sa);
	umask(before);
	if (n < 0)
		k = err_sys(e, errno, "bind to %s", path);
	if (dir_fd >= 0)
		close(dir_fd);
	if (k != ERR_OK)
		return k;
	if ((s->owner != (uid_t)-1 && lchown(path, s->owner, (gid_t)-1) < 0) || chmod(path, s->mode) < 0)
		return err_sys(e, errno, "owner and mode of %s", path);
	return ERR_OK;
}

static enum err_kind open_unix(const struct listen_spec *s, const char *dir, int *out_fd, struct err *e)
{
	char path[LISTEN_PATH_OCTETS * 2];
	enum err_kind k;
	int fd;

	full_path(s, dir, path, sizeof path);
	fd = socket(AF_UNIX, (s->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	k = bind_unix(fd, s, path, e);
	if (k == ERR_OK)
		*out_fd = fd;
	else
		close(fd);
	return k;
}

enum err_kind listen_open(const struct listen_spec *s, const char *dir, int backlog, int *out_fd,
    struct err *e)
{
	char what[LISTEN_PATH_OCTETS + LISTEN_NAME_OCTETS];
	enum err_kind k = ERR_OK;
	int fd = -1;

	listen_describe(s, what, sizeof what);
	if (s->path[0] != '\0')
		k = open_unix(s, dir, &fd, e);
	else if ((fd = open_tcp(s)) < 0)
		k = err_sys(e, errno, "listen on %s", what);
	if (k != ERR_OK)
		return k;
	if (listen(fd, backlog) < 0) {
		k = err_sys(e, errno, "listen on %s", what);
		close(fd);
		return k;
	}
	*out_fd = fd;
	return ERR_OK;
}

void listen_remove(const struct listen_spec *s, const char *dir)
{
	char path[LISTEN_PATH_OCTETS * 2];

	if (s->path[0] == '\0')
		return;
	full_path(s, dir, path, sizeof path);
	unlink(path);
}
