/* SPDX-License-Identifier: ISC */
/* Threads (RFC 5256 s.3): REFERENCES and ORDEREDSUBJECT over messages that are added in the order
 * of their sequence numbers. Time is n log n whatever the references say, memory is bounded, depth
 * of threads is never depth of stack. */
#ifndef THREAD_H
#define THREAD_H

#include "../libbase/buf.h"
#include "record.h"

enum {
	THREAD_NODES_MAX = 4 << 20,	/* messages, and ids that only references name; further such ids
					 * are ignored */
	THREAD_STEPS_A_LINK = 64,	/* towards the root, on average, to keep loops out; a link that would
					 * take more is left out */
};

enum thread_algorithm { THREAD_REFERENCES, THREAD_ORDEREDSUBJECT };

struct threads;

struct thread_message {
	uint32_t number;		/* as it is to be told: sequence number or UID; not 0 */
	struct str id;			/* "<…>", empty: none */
	struct str subject;		/* base subject, as text_fold leaves it */
	int64_t sent_s;			/* INTERNALDATE when there is no sent date */
	bool is_reply;			/* its subject was a reply's or forward's */
};

/* Exits 75 without memory, as all of these. */
struct threads *threads_new(enum thread_algorithm how);
void threads_free(struct threads **t);
/* Takes a message in. Its strings, and those of thread_reference, must stay as they are until
 * threads_free. False: there are too many. */
bool threads_add(struct threads *t, const struct thread_message *m);
/* The references of the message that was added last, oldest first. */
void threads_reference(struct threads *t, struct str id);
/* The same from a record: References, else the first In-Reply-To. */
void threads_references_of(struct threads *t, const struct record *r);
/* No more messages: makes the threads. Once. */
void threads_make(struct threads *t);

/* Puts the threads as RFC 5256 s.4 wants them, "(2)(3 6 (4 23)(44 7 96))", piece by piece: put is
 * called with a full enough buffer, and with the rest; it empties it. */
void threads_put(const struct threads *t, void (*put)(void *ctx, struct buf *b), void *ctx);

#endif
