/* SPDX-License-Identifier: ISC */
/* The aliases file on the disk and the table read from it. The file is opened before the sandbox
 * closes and its descriptor kept: a change in place is seen at the next message and read through
 * the descriptor. A file that was put in the old one's place can't be opened from inside: the
 * process then ends after its session, and its successor, which looks before its sandbox closes,
 * has the new one; a reload does it for all. */
#ifndef DELIVER_ALIAS_FILE_H
#define DELIVER_ALIAS_FILE_H

#include "../libbase/err.h"
#include "aliases.h"

struct alias_file;

/* path is kept, not copied; empty: no aliases. A file that is missing counts as empty. For the
 * parent. Errors: those of err_sys; ERR_LIMIT (over ALIASES_TEXT_MAX_OCTETS). */
enum err_kind alias_file_open(const char *path, struct alias_file **out, struct err *e) CHECKED;

void alias_file_close(struct alias_file **f);	/* NULL is fine */

/* In a new child, before the sandbox closes: reads the file again if another one is in its place. */
void alias_file_renew(struct alias_file *f);

/* The table, read again if the file was changed; valid until the next call. *out_replaced: another
 * file has taken its place. */
const struct aliases *alias_file_table(struct alias_file *f, bool *out_replaced);

#endif
