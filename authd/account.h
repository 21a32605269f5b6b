/* SPDX-License-Identifier: ISC */
/* System accounts, as NSS knows them. */
#ifndef AUTHD_ACCOUNT_H
#define AUTHD_ACCOUNT_H

#include <sys/types.h>

#include "source.h"

/* The account `name` (of a valid name) as a mail user: uid 0, uids below min_uid and 65534 are none.
 * Errors: ERR_NOENT no such account; ERR_DENIED not for mail; ERR_TEMP the name service did not answer. */
enum err_kind account_find(const char *name, uint64_t min_uid, char out_user[AUTH_USER_MAX_OCTETS + 1],
    struct err *e) CHECKED;

/* Numbers of a service account. Errors: ERR_NOENT, ERR_TEMP. */
enum err_kind account_ids(const char *user, const char *group, uid_t *out_uid, gid_t *out_gid,
    struct err *e) CHECKED;

#endif
