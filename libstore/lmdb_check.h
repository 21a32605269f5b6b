/* SPDX-License-Identifier: ISC */
/* Is a file of LMDB 0.9 what LMDB may be let loose on? It believes what it maps: a page that is damaged makes it read and
 * write where nothing is. So the file is walked before it is opened. */
#ifndef LMDB_CHECK_H
#define LMDB_CHECK_H

#include <stdint.h>

#include "../libbase/err.h"

/* Walks the tree of the last commit and the list of free pages in the file fd: every page is what its place in the tree
 * asks for, keys stand in order, every item lies within its page or its own pages, no page is used twice or used and
 * free. Reads all pages with keys, and of those with long values the beginning. *out_txnid: of the last commit.
 * Errors: ERR_CORRUPT, ERR_TEMP. */
enum err_kind lmdb_check(int fd, uint64_t *out_txnid, struct err *e) CHECKED;

#endif
