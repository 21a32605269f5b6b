/* SPDX-License-Identifier: ISC */
/* System accounts by PAM. Each question is answered in a child process with a time limit, so that a module
 * that hangs, exits, crashes or prints costs one login. */
#ifndef AUTHD_PAM_H
#define AUTHD_PAM_H

#include "source.h"

struct pam_question {
	const char *service;		/* "imap": PAM service "pennypost-imap" where it is set up, else "pennypost" */
	const char *peer_ip;		/* PAM_RHOST */
	const char *user;		/* a valid name */
	struct str password;
	uint64_t min_uid;
	uint64_t timeout_ms;
};

/* Authentication, then account management (expired, locked, must change its password: refused). The canonical
 * name is PAM's, spelled as the name service spells it. Errors: ERR_DENIED with out->reason; ERR_TEMP: no
 * answer in time, the child died, PAM's service is not available: e->text says which. */
enum err_kind pam_check(const struct pam_question *q, struct source_answer *out, struct err *e) CHECKED;

/* Can this build ask PAM? */
bool pam_is_there(void);

#endif
