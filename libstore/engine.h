/* SPDX-License-Identifier: ISC */
/* The engine door: ordered keys with values, in transactions, in the directory "index" below the working directory.
 * Derived data only: an engine may lose its latest transactions in a power cut (never reorder or tear them), and
 * is deleted and made anew whenever it does not open. The caller holds the store's lock during every call, so there is
 * one process inside at a time; engine_open with recover is called when the last one inside died.
 *
 * Whoever writes another engine keeps these promises:
 *  E1  Keys are ordered as octet strings (memcmp, the shorter first).
 *  E2  A transaction is there as a whole or not at all; at most one is open.
 *  E3  ENOSPC anywhere is ERR_NOSPC and leaves the engine as before the transaction; no signal, no abort.
 *  E4  Views from engine_get and engine_scan are valid until the next call. */
#ifndef ENGINE_H
#define ENGINE_H

#include "../libbase/buf.h"
#include "../libbase/err.h"
#include "../libbase/str.h"

struct engine;

enum { ENGINE_VALUE_MAX_OCTETS = 4000, ENGINE_KEY_MAX_OCTETS = 200 };

/* Working directory: the store. recover: the previous process died inside. Errors: ERR_CORRUPT (delete it),
 * ERR_NOSPC, ERR_TEMP. */
enum err_kind engine_open(bool recover, struct engine **out, struct err *e) CHECKED;
/* Clean close; NULL is fine. last: no other process has it open: everything is written out and what only running
 * processes need is removed. */
void engine_close(struct engine **en, bool last);
/* Forgets the handles without touching what they refer to: after another process recovered. */
void engine_abandon(struct engine **en);
/* Removes everything in "index" (no process has it open, or all will see a new generation). */
enum err_kind engine_destroy(int store_dirfd, struct err *e) CHECKED;

enum err_kind engine_begin(struct engine *en, struct err *e) CHECKED;
enum err_kind engine_commit(struct engine *en, struct err *e) CHECKED;
void engine_abort(struct engine *en);

/* Errors: ERR_NOENT (get, delete), ERR_NOSPC, ERR_CORRUPT, ERR_TEMP. */
enum err_kind engine_get(struct engine *en, struct str key, struct str *out, struct err *e) CHECKED;
enum err_kind engine_put(struct engine *en, struct str key, struct str value, struct err *e) CHECKED;
enum err_kind engine_delete(struct engine *en, struct str key, struct err *e) CHECKED;
/* Calls each for every key from `from` on that begins with prefix, in order, until it returns false. Reads in bulk. */
enum err_kind engine_scan(struct engine *en, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e) CHECKED;
/* Deletes every key that begins with prefix. */
enum err_kind engine_delete_prefix(struct engine *en, struct str prefix, struct err *e) CHECKED;
/* Housekeeping (checkpoint when enough has been written). After a commit, under the lock. */
enum err_kind engine_tend(struct engine *en, struct err *e) CHECKED;

#endif
