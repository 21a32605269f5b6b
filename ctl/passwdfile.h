/* SPDX-License-Identifier: ISC */
/* Changes to the passwd file of [auth] passwd_file: lines of name:hash[:...], '#' begins a
 * comment line. Lines that a change does not concern stay octet for octet. */
#ifndef CTL_PASSWDFILE_H
#define CTL_PASSWDFILE_H

#include "../libbase/buf.h"
#include "../libbase/err.h"

enum {
	PASSWDFILE_MAX_OCTETS = 32 * 1024 * 1024,	/* authd reads no more */
};

/* An edit in progress: it holds a lock that other edits wait for. */
struct passwdfile {
	const char *path;
	struct buf text;	/* the whole file */
	int lock_fd;
};

/* Takes the lock (path + ".lock", kept) and reads the file; one that is missing is empty. For
 * reading only (lock false) nothing is made. Errors: ERR_LIMIT, those of err_sys. On failure
 * nothing is held. */
enum err_kind passwdfile_open(struct passwdfile *f, const char *path, bool lock, struct err *e)
    CHECKED;
void passwdfile_close(struct passwdfile *f);

/* The next line with a user; *at starts at 0. *out_line is the whole line with its line end. */
bool passwdfile_next(const struct passwdfile *f, size_t *at, struct str *out_name,
    struct str *out_line);
bool passwdfile_has(const struct passwdfile *f, struct str name);

/* In memory only: removes the user's lines (false: there are none); appends a line; replaces the
 * hash and keeps the fields behind it. false from the latter two: the file would be too large, or
 * no such user. */
bool passwdfile_remove(struct passwdfile *f, struct str name);
bool passwdfile_append(struct passwdfile *f, struct str name, struct str hash);
bool passwdfile_set_hash(struct passwdfile *f, struct str name, struct str hash);

/* Replaces the file at once or not at all: a new file with the old one's owner, group and mode
 * (0640 when there was none), synced, renamed over it, the directory synced. Errors: those of
 * err_sys. */
enum err_kind passwdfile_write(struct passwdfile *f, struct err *e) CHECKED;

#endif
