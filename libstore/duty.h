/* SPDX-License-Identifier: ISC */
/* The duty to a follower: while a store has it, nothing is shown or acknowledged before its copy has it, too. It stands in
 * the file "follow" of the store and in ctl, where it costs those who do not have it one load of memory.
 *
 * The follower holds a kernel lock; when it dies operations wait for another one for a while, then fail before they write
 * anything, until one has caught up or the duty is ended. What was written just before is in the store, and will be seen
 * when the copy has it. */
#ifndef DUTY_H
#define DUTY_H

#include "store.h"

enum {
	DUTY_WAIT_MS = 5000,		/* for another follower, unless the duty says otherwise */
	DUTY_WAIT_MAX_MS = 600000,
};

/* Becomes the follower of the store, until duty_leave or death. *out_fd is to be kept. Errors: ERR_BUSY there is one. */
enum err_kind duty_lock(struct store *s, int *out_fd, struct err *e) CHECKED;
/* The copy has everything up to seq: from now on (and after a reboot) the store has the duty. */
enum err_kind duty_begin(struct store *s, uint64_t seq, uint32_t wait_ms, struct err *e) CHECKED;
/* The copy has everything up to seq: who waits for that goes on. */
void duty_done(struct store *s, uint64_t seq);
/* The sequence number of the last durable record, shown or not. */
uint64_t duty_durable(const struct store *s);
void duty_leave(int fd);
/* Ends the duty: what is durable here is enough again. */
enum err_kind duty_release(struct store *s, struct err *e) CHECKED;

#endif
