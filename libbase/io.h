/* SPDX-License-Identifier: ISC */
/* Short words for what is done to files in more than one place. */
#ifndef IO_H
#define IO_H

#include "err.h"
#include "str.h"

/* Writes all octets at the descriptor's place. what names the file in the error. Errors: ERR_NOSPC, ERR_TEMP. */
enum err_kind io_write(int fd, struct str octets, const char *what, struct err *e) CHECKED;
/* Makes durable which names are in the directory `name` below dirfd ("." is dirfd itself); a symbolic link is refused.
 * Errors: ERR_NOENT, ERR_TEMP. */
enum err_kind io_sync_dir(int dirfd, const char *name, struct err *e) CHECKED;

#endif
