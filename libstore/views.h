/* SPDX-License-Identifier: ISC */
/* Views: named sets of UIDs of a mailbox. What one POP3 device has fetched already is such a
 * set, and what another user of a shared mailbox has seen. A set costs about a bit for each UID
 * up to the highest in it (in the index), and in the journal 8 octets for each run of UIDs that
 * a change names. A view without UIDs is none. They go with their mailbox, follow it when it is
 * renamed, and are as durable as mail is. UIDs of messages that are expunged may stay in them:
 * they are never given again.
 *
 * What is read is durable. All take the store's lock for a moment; a journal that is short, or
 * whose index does not open, is read itself. */
#ifndef VIEWS_H
#define VIEWS_H

#include "mailbox.h"
#include "record_types.h"

enum {
	VIEW_NAME_MAX_OCTETS = 128,
	VIEWS_MAX = 4096,		/* of one mailbox: its other users, and devices */
};

/* The names that have UIDs in them, sorted; in the arena. Errors: ERR_LIMIT (arena), ERR_BUSY,
 * ERR_TEMP. */
enum err_kind view_list(struct mailbox *mb, struct arena *a, struct str **out, size_t *out_n,
    struct err *e) CHECKED;
/* The whole set as ascending ranges that do not touch; none for a view that is not there.
 * Errors: ERR_SYNTAX (the name is empty, too long or has a NUL; so below), ERR_LIMIT (arena),
 * ERR_BUSY, ERR_TEMP. */
enum err_kind view_get(struct mailbox *mb, struct str view, struct arena *a, struct uid_range **out,
    size_t *out_n, struct err *e) CHECKED;
/* Which of these UIDs are in it: out has room for n. Cheapest when they ascend. */
enum err_kind view_has(struct mailbox *mb, struct str view, const uint32_t *uids, size_t n,
    bool *out, struct err *e) CHECKED;
/* Adds UIDs (ascending), or takes them out; those that were never given are ignored. Durable on
 * return. Errors: ERR_NOENT (mailbox deleted), ERR_LIMIT (too many runs at once, or a view too
 * many), ERR_NOSPC, ERR_BUSY, ERR_TEMP. */
enum err_kind view_change(struct mailbox *mb, struct str view, const uint32_t *uids, size_t n,
    bool add, struct err *e) CHECKED;
/* The same with ranges (lo <= hi, ascending). */
enum err_kind view_change_ranges(struct mailbox *mb, struct str view, const struct uid_range *r,
    size_t n, bool add, struct err *e) CHECKED;
/* Takes the whole view away. Errors: ERR_NOENT (mailbox deleted, or no such view), ERR_NOSPC,
 * ERR_BUSY, ERR_TEMP. */
enum err_kind view_remove(struct mailbox *mb, struct str view, struct err *e) CHECKED;

#endif
