/* SPDX-License-Identifier: ISC */
/* The post office: <dir>/<letter>/<user>/, a store for each user (design.md section 3). Only its
 * owner can pass it (authd, penny); everybody else gets descriptors of single stores. */
#ifndef OFFICE_H
#define OFFICE_H

#include <sys/types.h>

#include "../libbase/err.h"
#include "../libbase/str.h"

struct office {
	const char *dir;
	bool chown;			/* we are root: stores are given to uid:gid */
	uid_t uid;
	gid_t gid;
};

/* Makes the directory (not those above it) if it is missing, and closes it to everybody but its
 * owner. Errors: err_sys's; ERR_DENIED it belongs to somebody else. */
enum err_kind office_prepare(const struct office *o, struct err *e) CHECKED;

/* The letter: the name's first one in lower case when it is an ASCII letter or digit, else '_'. */
char office_letter(struct str user);

/* A descriptor (O_RDONLY | O_DIRECTORY) of the user's store; the store is made, empty, when it is
 * missing, and is on disk when this returns. user: a valid name (username.h). Errors: ERR_TEMP,
 * ERR_NOSPC. */
enum err_kind office_open_store(const struct office *o, const char *user, int *out_fd,
    struct err *e) CHECKED;

/* The same without making anything. Errors: ERR_NOENT there is no such store; ERR_DENIED,
 * ERR_TEMP. */
enum err_kind office_find_store(const struct office *o, const char *user, int *out_fd,
    struct err *e) CHECKED;

/* A new, empty store that takes the place of a user's: made under a name that is no user's, filled by who has *out_store,
 * then put in place. *out_letter is the directory that both lie in; the new store's name there is OFFICE_NEW behind
 * a dot and the user's name. Errors: ERR_EXISTS an earlier one was left; remove it; as office_open_store. */
#define OFFICE_NEW ".new"
enum err_kind office_begin_store(const struct office *o, const char *user, int *out_letter, int *out_store,
    struct err *e) CHECKED;
/* Puts it in place at once. What was there lies under the name aside[] then (empty: there was nothing). Durable on return.
 * Errors: as office_open_store; the file system can't exchange two names. */
enum { OFFICE_NAME_MAX = 300 };
enum err_kind office_put_store(int letter, const char *user, char aside[OFFICE_NAME_MAX], struct err *e) CHECKED;

/* Calls each(ctx, user) for every store, in the order of letters and names, until it returns false.
 * Errors: err_sys's. */
enum err_kind office_each_user(const struct office *o, bool (*each)(void *ctx, const char *user),
    void *ctx, struct err *e) CHECKED;

#endif
