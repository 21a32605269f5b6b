/* SPDX-License-Identifier: ISC */
/* Runs a search program on one message after the other. */
#ifndef IMAPD_SEARCHRUN_H
#define IMAPD_SEARCHRUN_H

#include "../libmail/record.h"
#include "../libstore/search.h"
#include "searchprog.h"

struct search_run {
	struct mailbox *mb;
	struct search *search;
	struct buf scratch;		/* decoded header text or body chunks */
	struct search_filter *filter;	/* knows of many messages that a key does not match */
	struct str lookup[SEARCH_FILTER_NEEDLES_MAX];
	size_t n_lookups;
	struct buf names;		/* folded names of fields */
	/* the message at hand */
	struct message *m;
	uint32_t msgno;
	bool has_record, has_text;
	struct record record;
	struct message_text text;
	bool failed;			/* a message could not be read: the result is not complete */
	struct err e;			/* why */
};

/* Sets in the program must be resolved before. */
void search_run_init(struct search_run *r, struct mailbox *mb, struct search *search);
void search_run_free(struct search_run *r);
/* Does the message at position ix match? */
bool search_run_matches(struct search_run *r, size_t ix);
/* The record of the message that was looked at last, NULL when it can't be read. Its strings stay
 * until the store is closed. */
const struct record *search_run_record(struct search_run *r);

#endif
