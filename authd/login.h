/* SPDX-License-Identifier: ISC */
/* What authd decides: who may log in, which user a recipient is, and how long a refusal takes. */
#ifndef AUTHD_LOGIN_H
#define AUTHD_LOGIN_H

#include "../libserve/authclient.h"
#include "../libserve/settings.h"
#include "../libserve/office.h"
#include "cache.h"
#include "passwdfile.h"
#include "throttle.h"

/* All that the answers depend on. Made before the fork. */
struct login {
	const struct settings *set;
	uint64_t pam_timeout_ms;
	struct office office;
	struct throttle *throttle;
	struct cache *cache;
	struct passwdfile *passwd;	/* NULL: PAM */
};

struct login_answer {
	char user[AUTH_USER_MAX_OCTETS + 1];	/* the canonical name, on ERR_OK */
	uint64_t release_ms;			/* not to be told before (clock_mono_ms) */
	int store_fd;				/* on ERR_OK where it was asked for, else -1 */
};

/* Answers the question that came at asked_ms, and logs the one line about it.
 * Errors: ERR_DENIED; ERR_LIMIT; ERR_TEMP, also when the store can't be had. */
enum err_kind login_check(const struct login *l, const struct auth_question *q, bool want_store,
    uint64_t asked_ms, struct login_answer *out) CHECKED;

/* Which user is it that mail for `name` goes to, and where is the store.
 * Errors: ERR_NOENT; ERR_TEMP. */
enum err_kind login_find(const struct login *l, struct str name, bool want_store,
    struct login_answer *out, struct err *e) CHECKED;

#endif
