/* SPDX-License-Identifier: ISC */
/* The journal door: numbered records in segments that are only appended to, in the directory "journal" of a store. It is the
 * truth; all else in a store is made from it. journal.c keeps segments as files; this page and record_types.h (what a
 * record's header says) are what another implementation (objects in a cluster, say) needs. Promises:
 *
 *  J1  A group of records that journal_append accepted is there as a whole or not at all, whatever happens to processes or
 *      power, and so is everything before it.
 *  J2  After journal_sync(seg) returned ERR_OK every record that was appended before the call began, in `seg` or an earlier
 *      segment, survives a power cut. Before that any of the groups at the end may go: each as a whole, and when one
 *      is missing what is behind it does not count either.
 *  J3  Records are read back in order of seq, octet for octet as they were put. What was cut off at recovery is never seen
 *      again; its numbers are given anew.
 *  J4  A position (segment, offset) names the same record until journal_remove_before or journal_cut takes it away.
 *      Positions of a later record are greater, by segment, then by offset.
 *  J5  Damage of what was durable costs the records it hit and no others: reading says ERR_CORRUPT for these, and a scan steps
 *      over them. (Records at the end that one sync made durable together are the exception: that the first of them
 *      has rotted looks like a power cut before that sync, and costs the others.) No damage is a crash or an endless
 *      search, and octets that a sender put into a message never look like a record (each segment's checksums begin
 *      with a salt of its own).
 *
 * Segments.  Numbers rise by one from 1; the oldest go by compaction. The first record of a segment is a snapshot, whatever
 * the caller says that is, from which with the records behind it all is known that earlier segments said of counters
 * and names; the last is REC_END. Only the last segment is appended to. One is at most SEG_MAP_OCTETS long; offsets
 * are multiples of REC_ALIGN and fit 32 bits. A segment becomes visible to others when it is whole and durable up to its
 * snapshot, and everything before it is durable then.
 *
 * The tail (where to append, the next seq, the last checksum) is the caller's: it lies in memory that processes share, and is
 * handed in. It moves only when a call succeeded. After a death or a reboot the caller makes it anew: journal_range,
 * journal_scan of the last segments, journal_cut behind the last whole group.
 *
 * Who may call when.  One process at a time writes (create, roll, append, remove_before, cut): the caller holds the store's
 * kernel lock. journal_sync is called without it, by one process at a time, and while another one appends. Reading needs
 * no lock at any time: up to the tail that was seen under the lock, records stand still. Each process has a
 * struct journal of its own, uses it from one thread, and does not carry it over a fork. Another process may roll, remove
 * segments, or cut what is behind the durable watermark at any time: segments that this one has not opened are then
 * ERR_NOENT; views and descriptors that it has stay valid. After a cut the caller asks anew (an epoch in `ctl`).
 *
 * Deaths.  A process may be killed at any instruction. In journal_append that leaves part of a group behind the tail, which
 * is nothing: it is written over or cut. In journal_roll, an ended segment without a next one: recovery takes the end back. In
 * journal_remove_before, some of the segments gone, the oldest first.
 *
 * A failed journal_sync is final for what was not durable: the system may have thrown the pages away and call them clean, so a
 * later success says nothing of them. The caller fails every operation that waited, and cuts behind the durable watermark
 * before anything is appended.
 *
 * A full disk is ERR_NOSPC and changes nothing. journal.c keeps a little room ahead, so that records that add no mail
 * (flags, expunges) still go in when mail does not.
 *
 * What calls may touch: names below "journal" in the store's directory, by descriptor; no working directory, no other
 * rights, no threads. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "../libbase/err.h"
#include "../libbase/str.h"
#include "record_types.h"

struct journal;

struct journal_pos {
	uint32_t seg, off;
};

struct journal_tail {
	struct journal_pos pos;		/* where the next record goes */
	uint32_t zero_end;		/* the tail segment is written with zeros up to here */
	uint32_t crc;			/* of the last record */
	uint64_t next_seq;
	uint64_t durable_seq;		/* records up to here are known to be on the disk; the caller raises it, and records
					 * appended then say so */
};

/* dirfd: the store's directory, borrowed. Opens nothing yet. Exits 75 without memory. */
struct journal *journal_new(int dirfd);
void journal_free(struct journal **j);

/* Makes the first segment (number 1) of a new store, with a snapshot record. Durable on return. */
enum err_kind journal_create(struct journal *j, uint64_t store_id, struct str snapshot,
    struct journal_tail *tail, struct err *e) CHECKED;

/* One record to append: its payload in up to JOURNAL_PARTS parts. */
enum { JOURNAL_PARTS = 4 };
struct journal_rec {
	enum rec_type type;
	struct str part[JOURNAL_PARTS];
};

/* Octets that n records take, headers and padding included. */
size_t journal_group_octets(const struct journal_rec *r, size_t n);
/* Makes a segment behind the tail's that holds only a LOST record, for the numbers tail->next_seq … last_seq, and its end; the
 * tail is behind that then. And one that begins with a snapshot, when the tail's has ended. Both durable on return. */
enum err_kind journal_fill(struct journal *j, uint64_t store_id, uint64_t last_seq, struct journal_tail *tail,
    struct err *e) CHECKED;
enum err_kind journal_begin(struct journal *j, uint64_t store_id, struct str snapshot, struct journal_tail *tail,
    struct err *e) CHECKED;
/* True when a group of that size must open a new segment first, segments being roll_octets long: the caller then calls
 * journal_roll. */
bool journal_must_roll(const struct journal_tail *tail, size_t group_octets, size_t roll_octets);
/* Ends the segment and opens the next one with the snapshot as its first record. Everything before is durable on
 * return (so the durable watermark may rise to tail->next_seq - 1). On failure *tail is as before. */
enum err_kind journal_roll(struct journal *j, struct str snapshot, struct journal_tail *tail,
    struct err *e) CHECKED;
/* Appends n records as one group; fills out_pos[i], gives seqs tail->next_seq … and moves *tail. Not yet durable. On
 * failure *tail is untouched and what was written is not valid. Errors: ERR_NOSPC, ERR_LIMIT (GROUP_MAX_OCTETS),
 * ERR_TEMP. */
enum err_kind journal_append(struct journal *j, const struct journal_rec *r, size_t n,
    struct journal_tail *tail, struct journal_pos *out_pos, struct err *e) CHECKED;
/* Gives back the zeros that lie written ahead of the tail, but for the reserve, when nothing was appended for idle_s seconds:
 * an idle store need not keep them. Under the lock. What fails is left as it is. */
void journal_trim(struct journal *j, struct journal_tail *tail, int64_t idle_s);
/* Makes segment `seg` durable as far as it is written. Errors: any failure is final for what was not durable: a
 * later success does not bring it back. */
enum err_kind journal_sync(struct journal *j, uint32_t seg, struct err *e) CHECKED;

/* A record as read: views are valid until journal_free, or journal_forget of their segment. */
struct journal_view {
	struct rec_header h;
	struct str payload;		/* padding included: decode by the payload's own lengths */
	struct journal_pos pos, next;
};

/* Reads the record at pos, which must lie before the tail. Steps over REC_END into the next segment's snapshot
 * (which is returned as a record). verify: check the checksum over all octets; else only that lengths are sane.
 * Errors: ERR_CORRUPT, ERR_NOENT (segment gone), ERR_TEMP. */
enum err_kind journal_read(struct journal *j, struct journal_pos pos, bool verify,
    struct journal_view *out, struct err *e) CHECKED;
/* The same octets as a file: descriptor (the journal's own) for sendfile. */
enum err_kind journal_fd(struct journal *j, uint32_t seg, int *out_fd, struct err *e) CHECKED;
/* The header of a segment. When it is damaged, one under which the records verify is worked out if that can be, and
 * journal_header_damaged tells. Errors: ERR_NOENT, ERR_CORRUPT. */
enum err_kind journal_segment(struct journal *j, uint32_t seg, struct seg_header *out, struct err *e)
    CHECKED;
/* Is there a segment file that reaches to pos? One system call, nothing is read. */
bool journal_reaches(struct journal *j, struct journal_pos pos);
/* Of a segment that journal_segment has found. */
bool journal_header_damaged(struct journal *j, uint32_t seg);
/* Forgets what is known of a segment: its file was replaced. No view of it may be in use. */
void journal_forget(struct journal *j, uint32_t seg);
/* The same for all segments before `first`. */
void journal_forget_before(struct journal *j, uint32_t first);
/* Lowest and highest segment number there are; ERR_NOENT when there is none. */
enum err_kind journal_range(struct journal *j, uint32_t *out_first, uint32_t *out_last, struct err *e)
    CHECKED;

/* Goes through segment seg from its first record, verifying, and calls `each` for every record of every whole group.
 * Damage of what was durable is stepped over (a whole record is found again by its checksum) and counted; at a record
 * that never was, reading ends, even if the disk has some of what was written behind it. *end is where the last whole
 * group ends. Used at recovery, rebuild and check. */
struct journal_scan {
	uint64_t n_records, n_damaged;
	struct journal_pos end;
	uint32_t end_crc;		/* of the last record, and of the one before it */
	uint32_t before_crc;
	uint64_t end_seq;		/* of the last record, 0 when there is none */
	bool ended;			/* REC_END was seen */
};
enum err_kind journal_scan(struct journal *j, uint32_t seg,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx,
    struct journal_scan *out, struct err *e) CHECKED;
/* The same for a part: from a place where a group begins (`after` is the number of the record before it) up to offset
 * `until`, where another one ends; the part was written wholly, so whatever in it is not a record is damage. */
struct journal_damage {
	uint32_t seg, from, to;		/* offsets */
	uint64_t first_seq, last_seq;	/* the numbers that are lost; last_seq 0: not known */
};
struct journal_part {
	struct journal_pos from;
	uint64_t after;
	uint32_t until;			/* UINT32_MAX: to the end of the segment */
	enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e);
	void (*damaged)(void *ctx, const struct journal_damage *d);
	void *ctx;
};
enum err_kind journal_scan_part(struct journal *j, const struct journal_part *p, struct journal_scan *out,
    struct err *e) CHECKED;
/* The checksum that a record must have, for who writes a segment anew. */
uint32_t journal_record_crc(const struct seg_header *seg, const struct rec_header *h, struct str payload);
/* Removes the segments before `first`, oldest first, durably. Their records must be dead: compaction. Views and
 * descriptors that this process has of them stay valid. */
enum err_kind journal_remove_before(struct journal *j, uint32_t first, struct err *e) CHECKED;
/* Cuts everything behind `end` off the last segment `end.seg` and removes segments after it. */
enum err_kind journal_cut(struct journal *j, struct journal_pos end, struct err *e) CHECKED;

#endif
