/* SPDX-License-Identifier: ISC */
/* What SEARCH, SORT and THREAD have in common. */
#ifndef IMAPD_CMD_SEARCH_H
#define IMAPD_CMD_SEARCH_H

#include "searchrun.h"
#include "session.h"

/* Answers for a program that did not parse. */
void search_refuse(struct imap_session *s, enum search_result why);
/* Loads the mailbox, gives sets their meaning and makes *r ready. False: has answered. */
bool search_begin(struct imap_session *s, struct search *search, struct search_run *r);
/* The tagged answer; frees *r. */
void search_end(struct imap_session *s, struct search_run *r, const char *done);

#endif
