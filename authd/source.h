/* SPDX-License-Identifier: ISC */
/* What every source of passwords answers. */
#ifndef AUTHD_SOURCE_H
#define AUTHD_SOURCE_H

#include "../libbase/err.h"
#include "../libserve/authclient.h"

struct source_answer {
	char user[AUTH_USER_MAX_OCTETS + 1];	/* on ERR_OK the canonical name */
	const char *reason;			/* on ERR_DENIED a word for the log, and for nobody else */
};

#endif
