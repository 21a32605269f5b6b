/* SPDX-License-Identifier: ISC */
/* Writing all of it, and syncing a directory. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "io.h"

enum err_kind io_write(int fd, struct str octets, const char *what, struct err *e)
{
	while (octets.n > 0) {
		ssize_t n = write(fd, octets.p, octets.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "write %s", what);
		octets = str_skip(octets, (size_t)n);
	}
	return ERR_OK;
}

enum err_kind io_sync_dir(int dirfd, const char *name, struct err *e)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	enum err_kind k = ERR_OK;

	if (fd < 0)
		return err_sys(e, errno, "open %s", name);
	if (fsync(fd) < 0)
		k = err_sys(e, errno, "sync %s", name);
	close(fd);
	return k;
}
