/* SPDX-License-Identifier: ISC */
/* Where to listen: the words of `listen` keys, and sockets made from them. */
#ifndef SUPERVISOR_LISTEN_H
#define SUPERVISOR_LISTEN_H

#include <sys/types.h>
#include <sys/un.h>

#include "../libbase/err.h"
#include "../libbase/str.h"

enum {
	LISTEN_NAME_OCTETS = 32,
	LISTEN_ADDRESS_OCTETS = 64,
	LISTEN_PATH_OCTETS = 512,
};

struct listen_spec {
	char name[LISTEN_NAME_OCTETS];		/* "imaps"; becomes the LISTEN_FDNAMES entry */
	char address[LISTEN_ADDRESS_OCTETS];	/* "127.0.0.1", "::", "*" (every IPv6 and IPv4); "": Unix */
	uint16_t port;
	char path[LISTEN_PATH_OCTETS];		/* Unix: absolute, or relative to run_dir */
	bool seqpacket;				/* Unix: packets instead of a stream */
	mode_t mode;				/* Unix: permission bits */
	uid_t owner;				/* Unix: (uid_t)-1: whoever we are */
};

/* "name:address:port" ("imap:127.0.0.1:143", "imaps:[::]:993", "smtp:*:25") or "name:path"
 * ("lmtp:lmtp.sock", "lmtp:/run/x.sock": everything after the name that holds no ':' or begins with '/').
 * Pure; fills mode with 0666 and owner with -1. Errors: ERR_SYNTAX, *e says what and quotes the word. */
enum err_kind listen_parse(struct str word, struct listen_spec *out, struct err *e) CHECKED;

bool listen_same(const struct listen_spec *a, const struct listen_spec *b);

/* "imap 127.0.0.1:143" or "lmtp /run/…", for the log. out holds LISTEN_PATH_OCTETS octets or more. */
void listen_describe(const struct listen_spec *s, char *out, size_t cap);

/* Binds and listens; dir is what a relative path is relative to. A stale Unix socket is replaced: the
 * caller holds the lock that says that nobody else uses dir. Errors: err_sys's. */
enum err_kind listen_open(const struct listen_spec *s, const char *dir, int backlog, int *out_fd,
    struct err *e) CHECKED;
/* Removes a Unix socket's file. */
void listen_remove(const struct listen_spec *s, const char *dir);
/* Fills *out for the absolute path, by way of /proc/self/fd where it would be too long for a socket
 * address; *out_dir_fd must stay open while *out is used, then be closed unless it is -1. */
enum err_kind unix_address(const char *path, struct sockaddr_un *out, int *out_dir_fd, struct err *e)
    CHECKED;

#endif
