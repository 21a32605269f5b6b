/* SPDX-License-Identifier: ISC */
/* Copies of a store: a directory with the store's own layout (journal/, large/) and a manifest that says what must be
 * there. The journal is append-only, so a copy is made beside running sessions without stopping anybody, and going on
 * with it costs what is new.
 *
 *   struct copy       the directory, for who writes it: one process at a time
 *   struct feed       the store's side: it reads the journal up to what is durable and hands it to a sink
 *   struct copy_sink  who takes it: a copy's directory here, or one behind a pipe (stream.h)
 *
 * What holds:
 *  C1  A copy has only octets that were durable in the store, in the journal's order, and a large body before the record
 *      that names it. So a copy that ends anywhere is a state that the store was in.
 *  C2  The manifest is replaced at once, after everything that it lists is on the disk. Whatever interrupts a backup, the
 *      state that the manifest names can be had.
 *  C3  A copy never goes on with another history: where the store does not continue what the copy has (another store, one
 *      that was put back to an earlier time, one compacted past where the copy stands), what was there is kept under
 *      past/ and the copy is begun anew.
 *  C4  Nothing in the copy's directory is reached through a symbolic link. */
#ifndef COPY_H
#define COPY_H

#include "copy_types.h"
#include "journal.h"
#include "store.h"

/* Where in which history. store_id 0: nothing yet. */
struct copy_pos {
	uint64_t store_id;
	uint64_t salt;			/* of the segment */
	struct journal_pos at;		/* behind the last record */
	uint64_t seq;			/* of the last record */
	int64_t ms;			/* its time */
	uint32_t crc;			/* its checksum */
	uint32_t last_off;		/* where it begins, 0: not known */
};

struct copy_sink {
	void *ctx;
	/* Goes on behind `at` (which the sink named), or begins anew. covered_ms as in the manifest. */
	enum err_kind (*begin)(void *ctx, bool anew, uint64_t store_id, int64_t covered_ms, struct err *e);
	/* A segment begins; the one before it has all its octets. */
	enum err_kind (*segment)(void *ctx, const struct seg_header *h, struct err *e);
	/* Octets of the segment, each where the last ones ended. */
	enum err_kind (*data)(void *ctx, struct journal_pos at, struct str octets, struct err *e);
	/* A large body of that many octets, readable from fd's beginning. *out_copied: false when the copy has it already;
	 * else *out_crc is the checksum of what was read. */
	enum err_kind (*large)(void *ctx, uint64_t id, int fd, uint64_t octets, bool *out_copied, uint32_t *out_crc,
	    struct err *e);
	/* Everything up to `at` is there: returns when it is durable. publish: and the manifest says so. */
	enum err_kind (*mark)(void *ctx, const struct copy_pos *at, bool publish, struct err *e);
};

/* One finding about damage or loss: a line of text without its end. */
typedef void copy_report(void *ctx, const char *finding);

/* -- the copy's directory -- */

struct copy;
/* dirfd: duplicated. An empty directory becomes a copy; the leavings of an interrupted one are gone on with. What can't be
 * gone on with (damaged, cut) is begun anew by the feed's first call. Errors: ERR_BUSY another process writes it;
 * ERR_EXISTS there is something else in the directory; ERR_NOSPC, ERR_DENIED, ERR_TEMP. */
enum err_kind copy_open(int dirfd, struct str user, bool following, struct copy **out, struct err *e) CHECKED;
void copy_close(struct copy **c);
/* What it has for sure, to go on from; and how far its journal goes when that is further (a follower's manifest lags). */
void copy_has(const struct copy *c, struct copy_pos *out_sure, struct copy_pos *out_end);
void copy_as_sink(struct copy *c, struct copy_sink *out);
/* Removes what the store does not have any more: segments before first_seg, large bodies that nothing names, past/. The
 * copy then covers times from now on. After a mark that published. */
enum err_kind copy_prune(struct copy *c, uint32_t first_seg, uint64_t *out_n_removed, struct err *e) CHECKED;

/* -- the store's side -- */

struct feed;
struct feed_result {
	uint64_t octets, large_octets;	/* handed over */
	uint64_t n_large;
	uint64_t n_segments;		/* begun */
	uint64_t n_damaged;		/* places where the store's journal is damaged, copied as they are */
	uint64_t n_missing;		/* large bodies that records name and the store does not have: of messages that are gone
					 * for good, as a rule; store_check knows which are not */
	bool anew;			/* the copy had to be begun anew */
};
/* s must stay open longer. sure, end: what the sink has (copy_has). report may be NULL. Compaction is kept away until the
 * first feed_advance is done (it waits up to 10 s for one to end).
 * Errors: as of store operations, and the sink's. */
enum err_kind feed_open(struct store *s, const struct copy_sink *sink, const struct copy_pos *sure,
    const struct copy_pos *end, copy_report *report, void *report_ctx, struct feed **out, struct err *e) CHECKED;
/* Hands over everything that the store has now and marks it; a new segment is published in any case. ERR_NOENT: what comes
 * next is gone (compaction was faster, a failed sync had the journal cut): begin with a new feed. */
enum err_kind feed_advance(struct feed *f, bool publish, struct err *e) CHECKED;
/* The last record handed over. */
uint64_t feed_seq(const struct feed *f);
uint32_t feed_first_seg(const struct feed *f);	/* the oldest segment that the store has */
void feed_result(const struct feed *f, struct feed_result *out);
void feed_close(struct feed **f);

/* -- reading a copy -- */

enum { COPY_AT_END = 0 };		/* as a time: the last state there is */
struct copy_state {
	int64_t covered_ms, end_ms;	/* the history that was read covers these times */
	int64_t made_ms;		/* when its manifest was written */
	struct journal_pos cut;		/* the state is what is before it */
	uint64_t n_damaged;		/* found on the way */
	uint64_t n_missing;		/* large bodies as in feed_result */
	bool past;			/* from past/ */
};
/* Lays out in the empty directory to_fd a store as it was at at_ms (milliseconds since 1970; COPY_AT_END): the state
 * after the last change that was not later. link: by hard links where a file does not change, for looking at it and
 * removing it again; else the octets are copied, checked, and on the disk on return.
 * Errors: ERR_NOENT no copy here, or none that covers the time; ERR_CORRUPT the copy lacks what its manifest lists;
 * ERR_NOSPC, ERR_TEMP. */
enum err_kind copy_lay_out(int dirfd, int64_t at_ms, int to_fd, bool link, copy_report *report, void *report_ctx,
    struct copy_state *out, struct err *e) CHECKED;
/* A directory in the copy's for that, named scratch-<random>, which others remove when its maker has died.
 * copy_scratch_end removes it. */
enum err_kind copy_scratch(int dirfd, char name[32], int *out_fd, struct err *e) CHECKED;
void copy_scratch_end(int dirfd, const char *name, int fd);
/* Removes name in dirfd and everything below it, without following links; fine when there is nothing. */
enum err_kind copy_remove_tree(int dirfd, const char *name, struct err *e) CHECKED;
/* The directory is empty but for what file systems put there. */
bool copy_dir_is_empty(int dirfd);

/* -- numbers that a store put back must not give again -- */

struct store_floor;
/* What store s has given: UIDs, mailbox ids, UIDVALIDITY, MODSEQ. */
enum err_kind store_floor_take(struct store *s, struct store_floor **out, struct err *e) CHECKED;
/* Store s goes on above them. Durable on return. */
enum err_kind store_floor_keep(struct store *s, const struct store_floor *f, struct err *e) CHECKED;
void store_floor_free(struct store_floor **f);

#endif
