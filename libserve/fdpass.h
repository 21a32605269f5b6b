/* SPDX-License-Identifier: ISC */
/* Messages with descriptors over Unix sockets of type SOCK_SEQPACKET. */
#ifndef FDPASS_H
#define FDPASS_H

#include "../libbase/err.h"
#include "../libbase/str.h"

/* One packet, with fd unless it is -1 (fd stays open here). Errors: ERR_EOF peer gone, ERR_BUSY socket full,
 * err_sys's. */
enum err_kind fd_send(int sock, struct str packet, int fd, struct err *e) CHECKED;
/* One packet into p (cap octets), waiting at most timeout_ms. *out_fd is -1 or a descriptor with CLOEXEC set
 * that is now the caller's. A packet longer than cap, or with more than one descriptor, is ERR_SYNTAX (its
 * descriptors are closed). Errors: ERR_EOF, ERR_TIMEOUT, err_sys's. */
enum err_kind fd_recv(int sock, void *p, size_t cap, uint64_t timeout_ms, size_t *out_n, int *out_fd,
    struct err *e) CHECKED;

#endif
