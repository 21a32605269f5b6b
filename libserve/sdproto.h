/* SPDX-License-Identifier: ISC */
/* systemd's protocols for passing sockets (sd_listen_fds(3)) and for telling one's state (sd_notify(3)),
 * spoken by systemd and by our supervisor alike. */
#ifndef SDPROTO_H
#define SDPROTO_H

#include "../libbase/err.h"

enum {
	SD_FIRST_FD = 3,
	SD_FDS_MAX = 64,
	SD_NAME_MAX_OCTETS = 255,	/* systemd.socket(5), FileDescriptorName= */
};

struct sd_fds {
	unsigned n;		/* descriptors SD_FIRST_FD … SD_FIRST_FD + n - 1 */
	char names[SD_FDS_MAX][SD_NAME_MAX_OCTETS + 1];	/* "" where none was given */
};

/* Reads and removes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. n is 0 when they are not there or meant for
 * another process. The descriptors are open and have CLOEXEC set on return.
 * Errors: ERR_SYNTAX the count is absurd or a descriptor is not open. */
enum err_kind sd_listen_fds(struct sd_fds *out, struct err *e) CHECKED;

/* Sends state ("READY=1") to NOTIFY_SOCKET; nothing happens when there is none. Best effort. */
void sd_notify(const char *state);

#endif
