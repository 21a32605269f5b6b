/* SPDX-License-Identifier: ISC */
/* Users of a file: lines "name:hash[:more]", '#' begins a comment line; hash as crypt(3) knows it, with a
 * '$' in front; empty, or with '!' or '*' in front, the user exists but can't log in. The first line of a name
 * counts; lines that are no such line are skipped. A file that is replaced by rename(2) is never seen half. */
#ifndef AUTHD_PASSWDFILE_H
#define AUTHD_PASSWDFILE_H

#include "source.h"

enum {
	PASSWDFILE_MAX_OCTETS = 32 * 1024 * 1024,
	PASSWDFILE_HASH_MAX_OCTETS = 384,	/* libxcrypt's CRYPT_OUTPUT_SIZE */
};

struct passwdfile;

/* Does not read yet. path is copied. Never fails (exits 75 without memory). */
struct passwdfile *passwdfile_new(const char *path);
void passwdfile_free(struct passwdfile **f);
const char *passwdfile_path(const struct passwdfile *f);

/* Reads the file if it is another one than last time (device, inode, size, times), or younger than its time
 * stamp can tell. Errors: ERR_TEMP: not there, not readable, writable for everybody, over
 * PASSWDFILE_MAX_OCTETS, changed while it was read. What was read before is then forgotten. */
enum err_kind passwdfile_refresh(struct passwdfile *f, struct err *e) CHECKED;

/* The hash (may be empty); false when there is no such user. After a refresh that succeeded. */
bool passwdfile_find(const struct passwdfile *f, struct str name, struct str *out_hash);

/* Is this the password? An unknown or locked user costs a crypt of the kind that the file's first hash is of.
 * Errors: ERR_DENIED with out->reason. After a refresh that succeeded. */
enum err_kind passwdfile_check(struct passwdfile *f, struct str name, struct str password,
    struct source_answer *out, struct err *e) CHECKED;

#endif
