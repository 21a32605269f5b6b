/* SPDX-License-Identifier: ISC */
/* One message's FETCH answer. */
#ifndef IMAPD_FETCHPUT_H
#define IMAPD_FETCHPUT_H

#include "fetchatt.h"
#include "session.h"

/* What the items of a command need, found once. */
struct fetch_needs {
	bool record, text;
	bool seen;		/* some item sets \Seen */
};
struct fetch_needs fetch_needs_of(const struct fetch_atts *atts);

/* Writes "* n FETCH (…)" for position ix, with FLAGS (and MODSEQ) added where they have changed
 * unseen by the client. Everything that can fail is done before the first octet is written.
 * Errors: those of message_open. */
enum err_kind fetch_put(struct imap_session *s, const struct fetch_atts *atts,
    const struct fetch_needs *needs, size_t ix, struct err *e) CHECKED;

#endif
