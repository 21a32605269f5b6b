/* SPDX-License-Identifier: ISC */
/* The two protocols of sdproto.h; a few lines each, so libsystemd is not needed. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../libbase/str.h"
#include "sdproto.h"

static bool env_u64(const char *name, uint64_t *out)
{
	const char *v = getenv(name);

	return v != NULL && str_to_u64(str_of(v), INT32_MAX, out);
}

static void copy_names(struct sd_fds *out, const char *names)
{
	struct str rest = str_of(names), word;

	for (unsigned i = 0; i < out->n && str_split(&rest, ':', &word); i++)
		if (word.n <= SD_NAME_MAX_OCTETS && word.n > 0)
			memcpy(out->names[i], word.p, word.n);
}

static enum err_kind take_env(struct sd_fds *out, struct err *e)
{
	uint64_t pid, n;

	if (!env_u64("LISTEN_PID", &pid) || pid != (uint64_t)getpid())
		return ERR_OK;
	if (!env_u64("LISTEN_FDS", &n) || n == 0 || n > SD_FDS_MAX)
		return err_set(e, ERR_SYNTAX, 0, "LISTEN_FDS is not a number from 1 to %d", SD_FDS_MAX);
	for (int fd = SD_FIRST_FD; fd < SD_FIRST_FD + (int)n; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return err_set(e, ERR_SYNTAX, errno,
			    "LISTEN_FDS announces descriptor %d, which is not open", fd);
	out->n = (unsigned)n;
	if (getenv("LISTEN_FDNAMES") != NULL)
		copy_names(out, getenv("LISTEN_FDNAMES"));
	return ERR_OK;
}

enum err_kind sd_listen_fds(struct sd_fds *out, struct err *e)
{
	enum err_kind k;

	memset(out, 0, sizeof *out);
	k = take_env(out, e);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return k;
}

void sd_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = path != NULL ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof sa.sun_path || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* nobody's start may hang on a supervisor that does not read */
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}
