/* SPDX-License-Identifier: ISC */
/* The two halves of penny import. A reader, with the rights of the owner of what is imported (so
 * that a link which the owner put there leads nowhere else), sends messages through a pipe to a
 * writer, which owns the store. Readers know no store, the writer no formats. */
#ifndef CTL_IMPORT_H
#define CTL_IMPORT_H

#include <stdio.h>

#include "../libbase/arena.h"
#include "../libbase/buf.h"
#include "../libbase/err.h"

enum {
	IMPORT_KEYWORDS_MAX_OCTETS = 8192,	/* of one message, space-separated */
	IMPORT_CHUNK_OCTETS = 64 * 1024,
	IMPORT_NAME_MAX_OCTETS = 4096,
};

enum import_frame {		/* an octet on the pipe, then: */
	FRAME_FOLDER = 'F',	/* u32 length, octets */
	FRAME_BEGIN = 'B',
	FRAME_DATA = 'D',	/* u32 length, octets */
	FRAME_END = 'E',	/* u32 flags, i64 date, u32 length, keywords */
	FRAME_DROP = 'X',
	FRAME_DONE = 'Z',	/* u64 skipped */
};

struct import_meta {
	uint32_t flags;			/* MSG_* */
	int64_t date_s;			/* 0: now */
	struct str keywords;		/* space-separated */
};

/* -- the pipe's reader side: what a format calls -- */
struct import_out {
	FILE *to;
	const void *wanted;		/* the format's own argument */
	bool line_has_cr;		/* private: of import_text */
	uint64_t n_skipped;		/* what the format could not read */
};

/* The messages that follow go to the mailbox of this name (UTF-8, '/'). */
void import_folder(struct import_out *o, struct str name);
void import_begin(struct import_out *o);
/* Octets of the message; line ends become CR LF. */
void import_text(struct import_out *o, struct str octets);
/* The same as they are: for messages that were in a store. */
void import_octets(struct import_out *o, struct str octets);
/* Ends it: with its flags, or (drop) as if it had never begun. */
void import_end(struct import_out *o, const struct import_meta *m);
void import_drop(struct import_out *o);
/* Says on standard error that something was skipped, and counts it. */
void import_skipped(struct import_out *o, const char *what, const char *why);

/* Runs both halves: `read` in this process, which becomes the owner of fd for the rest of its life, the writer in the
 * user's store. verb begins the line that tells the counts. Returns the exit code. */
struct ctl;
typedef enum err_kind import_format(struct import_out *o, int fd, const char *path, const char *mailbox,
    struct err *e);
int import_run(struct ctl *c, const char *verb, import_format *read, const void *wanted, int fd, const char *user,
    const char *path, const char *mailbox);

/* -- formats: dir or file is open already, `path` is for messages. Errors: err_sys's -- */
enum err_kind import_maildir(struct import_out *o, int dir_fd, const char *path,
    const char *mailbox, struct err *e) CHECKED;
enum err_kind import_mbox(struct import_out *o, int fd, const char *path, const char *mailbox,
    struct err *e) CHECKED;

/* Pure: flags of a Maildir file name's info ("a:2,FRS"); letters a-z are reported in *out_letters
 * as bits. */
uint32_t maildir_flags(const char *file_name, uint32_t *out_letters);
/* Pure: the mailbox of a Maildir++ folder directory (".A.B"), below `root` unless that is INBOX.
 * False: not a folder's name. */
bool maildir_folder(struct buf *out, const char *dir_name, const char *root);
/* Pure: is this line (with its end) an mbox separator, and the date in it. */
bool mbox_from_line(struct str line, int64_t *out_date_s);
/* Pure: flags of the letters of Status and X-Status. */
uint32_t mbox_flags(struct str value);

#endif
