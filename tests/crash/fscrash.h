/* SPDX-License-Identifier: ISC */
/* What a power cut could have left of a directory, made from the record of fslog.h.
 *
 * The model, which is meant to be as harsh as POSIX lets a file system be, and harsher than ext4, XFS and btrfs are:
 *  - fsync and fdatasync of a file make its octets and its length durable. Nothing else does.
 *  - fsync of a directory makes its entries durable; fsync of a file does not make the file's entry durable (on ext4,
 *    XFS and btrfs it does; POSIX does not say so).
 *  - What was not synced is there or not, each write, length and entry by itself and in any order, writes also in part, in
 *    sectors of 512 octets. A rename is there as a whole or not at all. What is missing inside a file's length is zeros,
 *    or octets of an earlier life of the disk.
 *  - Half of the states come from a file system with a log (as the three are): entries in the order they were made, none
 *    lost that was made before a later fsync; data as above.
 *  - A file that is mapped for writing holds, page by page, what it held at any time, zeros, or old octets; its length
 *    follows the rules above.
 *  - What was synced stays: bit rot is another test's. */
#ifndef FSCRASH_H
#define FSCRASH_H

#include "fslog.h"

struct world;

/* The directory as it lies now, all of it durable: where the record of `log` begins. */
struct world *world_new(const char *root, const struct fslog *log);
void world_free(struct world **w);
/* Takes the record's events up to and without number `upto`. It goes forward only. */
void world_advance(struct world *w, size_t upto);

enum crash_kind {
	CRASH_ALL,		/* everything was written when the power went */
	CRASH_NONE,		/* nothing that was not synced */
	CRASH_HALF, CRASH_MOST, CRASH_FEW,	/* each by chance */
	CRASH_ALL_BUT_ONE, CRASH_ONLY_ONE,
	CRASH_TORN,		/* each write in part */
	CRASH_KINDS
};

struct crash {
	enum crash_kind kind;
	bool logged;		/* entries as of a file system with a log */
	bool garbage;		/* what is missing holds old octets, not zeros */
	bool tell;		/* on standard output, what was pending and whether it came to the disk */
	uint64_t random;	/* all else by chance */
};

/* Makes the directory `to` (which must not exist) what the power cut left; true when that worked. */
bool world_crash(struct world *w, const struct crash *c, const char *to);

#endif
