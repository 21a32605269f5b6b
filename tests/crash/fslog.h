/* SPDX-License-Identifier: ISC */
/* A record of everything that a process does to the files below one directory, in order: what a disk would have been
 * told. Linked into a test program, it interposes the C library's calls by definitions of the same name, which Berkeley
 * DB's shared library uses, too. The record lies in shared memory, so that a parent can read what its child did.
 *
 * Stores through mappings are not seen as they happen: the files that are mapped for writing are read at
 * every event, or at some marks when they are large. */
#ifndef FSLOG_H
#define FSLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fs_op {
	FS_CREATE,		/* file `ino` entered as `name` in `dir` */
	FS_MKDIR,
	FS_LINK,		/* the existing `ino` entered as `name` in `dir` */
	FS_RENAME,		/* `name` of `dir` becomes `to_name` of `to_dir` */
	FS_UNLINK,		/* `name` of `dir`; RMDIR too */
	FS_WRITE,		/* len octets at off of `ino` */
	FS_SIZE,		/* `ino` is cut or stretched to len */
	FS_ALLOC,		/* `ino` is at least len long */
	FS_SYNC,		/* fsync: data and size of a file, entries of a directory */
	FS_DATASYNC,		/* fdatasync, msync */
	FS_MAPPED,		/* the mapped file `ino` looks like this: len octets */
	FS_MARK,		/* the workload says: kind `off`, number `len` */
};

enum { FS_NAME_MAX = 48 };

struct fs_event {
	enum fs_op op;
	uint64_t ino, dir, to_dir;	/* inode numbers; a number is given again after CREATE */
	uint64_t off, len;
	size_t data;			/* where in fslog's data the octets are */
	char name[FS_NAME_MAX], to_name[FS_NAME_MAX];
};

enum {
	FSLOG_EVENTS_MAX = 1 << 16,
	FSLOG_DATA_MAX = 768 << 20,
};

struct fslog {
	size_t n, n_data;
	bool full;			/* no room: the record is not whole */
	struct fs_event event[FSLOG_EVENTS_MAX];
	char data[FSLOG_DATA_MAX];
};

const char *fs_op_name(enum fs_op op);
/* Shared memory for a record; lives as long as the process. NULL without memory. */
struct fslog *fslog_new(void);
/* Forgets what was recorded and records from now on what happens below the directory, which must exist. One record at a
 * time in a process. */
bool fslog_start(struct fslog *log, const char *root);
void fslog_stop(void);
/* Notes a moment of the workload. Nothing when no record is made. */
void fslog_mark(uint64_t kind, uint64_t number);

#endif
