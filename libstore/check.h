/* SPDX-License-Identifier: ISC */
/* One look at a store, shared by check.c (which finds and says) and repair.c (which acts on what was found). */
#ifndef CHECK_H
#define CHECK_H

#include "shadow.h"

struct lost_row {
	uint32_t mailbox, uid, seg, off;
};

struct leftover {			/* a file that nothing needs */
	char name[64];			/* below the store */
	bool is_tmp;			/* a body on its way that never arrived; else it may hold mail */
};

struct key_list {			/* keys of the index, one block each */
	struct str *v;
	size_t n, cap;
};

struct check {
	struct store *s;
	struct shadow *sh;
	int compact_fd;
	uint32_t epoch;
	void (*report)(void *ctx, const char *line);
	void *ctx;
	uint64_t n_bad, n_leftovers;
	bool journal_damaged;
	bool index_useless;		/* there is none, it does not open, or values in it are damaged */
	bool index_damaged;		/* one of the latter */
	bool slots_differ;		/* names, numbers or counters of the control file and of the journal */
	bool counters_differ;		/* counters and rows */
	struct key_list diff;		/* where index and journal differ */
	struct lost_row *lost;		/* messages whose octets can't be read */
	size_t n_lost, cap_lost;
	struct leftover *left;
	size_t n_left, cap_left;
	bool no_memory;
};

/* Keeps compaction away. Errors: ERR_BUSY when it runs already. */
enum err_kind check_begin(struct check *c, struct store *s, void (*report)(void *, const char *), void *ctx,
    struct err *e) CHECKED;
enum err_kind check_run(struct check *c, struct err *e) CHECKED;
void check_end(struct check *c);

/* Says one line: a word for the kind, "\tkey=value" fields, and a sentence. */
void check_say(const struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The mailbox's name, as the control file has it: valid until the lock is taken again. */
const char *check_mailbox_name(const struct check *c, uint32_t id);
/* Takes the lock and enters the index as it is (unless index_useless); ERR_TEMP when the journal was cut meanwhile. *pos
 * and *seq: where the tail is, and the index too. Ends with check_unlock. */
enum err_kind check_lock(struct check *c, struct journal_pos *pos, uint64_t *seq, struct err *e) CHECKED;
void check_unlock(struct check *c);
/* The same for a finding, which is counted. */
void check_found(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Room for one more item in a list of the check: list is the address of a pointer to items, n of which are there. False
 * without memory, which the check notes. */
bool check_room(struct check *c, void *list, size_t n, size_t *cap, size_t item_octets);
/* Brings the shadow to the tail as of now. */
enum err_kind check_catch_up(struct check *c, struct err *e) CHECKED;

/* -- check_index.c -- */
/* The messages of a chunk's value. */
size_t check_rows(struct str value, struct index_msg out[CHUNK_UIDS]);
enum err_kind check_index(struct check *c, struct err *e) CHECKED;

/* -- check_mail.c -- */
enum err_kind check_octets(struct check *c, struct err *e) CHECKED;
enum err_kind check_slots(struct check *c, struct err *e) CHECKED;
enum err_kind check_files(struct check *c, struct err *e) CHECKED;

/* -- mend.c -- */
/* Makes the directory damaged/ and gives a name in it that is not taken: <stem>, <stem>-1, … */
enum err_kind aside_name(const struct store *s, const char *stem, char out[96], struct err *e) CHECKED;
/* Writes segment seg, which is not the tail, anew: every record stays where it is, LOST records fill the gaps. The file as
 * it was goes to damaged/. after: the number of the last record before the segment, 0 when that is not known; next_first:
 * the first one behind it. Says what it did. */
enum err_kind mend_segment(struct check *c, uint32_t seg, uint64_t after, uint64_t next_first, struct err *e) CHECKED;

#endif
