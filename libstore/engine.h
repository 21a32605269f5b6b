/* SPDX-License-Identifier: ISC */
/* The engine door: ordered keys with values, in transactions, in the directory "index" of a store. What lies behind it is
 * derived data: the journal is the truth, and an engine that does not open is deleted and made anew from it. This
 * page is all that a new engine needs; tests/unit/test_engine.c holds every engine against it. There are engine_bdb.c
 * (Berkeley DB), engine_lmdb.c (LMDB) and engine_mem.c (memory of the process, for tests); ./configure --with-engine
 * chooses, and it is linked in: nothing above the door may know which.
 *
 * Promises of every engine:
 *
 *  E1  Keys are ordered as octet strings: memcmp, the shorter first. Any octets are allowed in keys and values.
 *  E2  A transaction is there as a whole or not at all. After a death the engine is what some commit left, and no commit
 *      that returned ERR_OK to a process that is still believed (see "Deaths") is missing.
 *  E3  A full disk, a full quota or missing memory is an error (ERR_NOSPC, ERR_TEMP) and leaves the engine as before the
 *      transaction; no signal, no abort. Later, when there is room, the same handle works again.
 *  E4  A view that engine_get returned is valid until the next call of any engine function; those that engine_scan passes,
 *      until `each` returns.
 *  E5  What comes back was put there. A file that was damaged while nobody had it open is found out: at open, or when what was
 *      hit is read (ERR_CORRUPT). It is never a crash and never an answer that was not put. Damage that happens
 *      under an open handle (a disk that loses what it had, a wild write by somebody else) is found as far as the
 *      engine can; an engine says so in its first comment. The index seals its values for the rest.
 *  E6  No call waits for another process, for a client or for a lock: there is nobody to wait for (see "Locks").
 *
 * Life.  A process has at most one engine open (Berkeley DB's region table belongs to the process), and does
 * not carry it over a fork. engine_open is called with the store as working directory; the working directory
 * stays there until engine_close, and an engine may use names below "index" all that time. The process may have no rights
 * but those beneath the store: no other file, no socket, no new thread or process (seccomp kills), no setting of ids,
 * and what a library loads lazily from elsewhere is not to be had. engine_destroy gets a directory descriptor since
 * it may be called without an engine and in any working directory.
 *
 * Locks.  The caller holds the store's exclusive kernel lock (`lock`) during every call, so one process is inside at any
 * time; between calls others may have been inside and have committed. What they committed is seen by the next call.
 * Nobody gives the lock up between engine_begin and engine_commit or engine_abort, or inside a scan. So an engine needs no
 * locks of its own, and must have none that outlive a process. A handle that is idle holds nothing that hinders
 * others. Beside that, each process with an open engine holds `users` shared: that is how `last` of engine_close is known.
 *
 * Deaths.  A process may be killed at any instruction of any call. The caller knows (a mark in `ctl`), and the next
 * to come opens with what happened since the engine was last left in order:
 *   ENGINE_CLEAN     nobody died inside. Other processes may have it open, or died with it open but outside; nothing
 *                    was closed then, and what they committed counts.
 *   ENGINE_DIED      a process died inside, in this boot. All that any process ever wrote is still in the system's page cache;
 *                    what it had only in its own memory or half written is not. Commits that returned are believed.
 *   ENGINE_REBOOTED  the machine was started anew since, perhaps after a power cut: of what was not synced any part may
 *                    be missing, newer before older, half of a page. Nothing is believed but what the engine can
 *                    prove to be some commit's state, as old as it may be: the journal is longer and rolls it forward. What
 *                    can't be proved is ERR_CORRUPT.
 * After ENGINE_DIED and ENGINE_REBOOTED every other process that still has the engine open is told (a generation number
 * in `ctl`) before it calls anything again, and calls engine_abandon: it must not write, flush, or unlock anything, since
 * its handles refer to what is no more; it may lose memory. The same after engine_destroy. A process may die in
 * engine_open as well: the next open then gets the same state or a worse one.
 *
 * Syncs.  No call needs to sync anything for its own sake; a commit that a power cut takes back is rolled forward from the
 * journal, whose records were synced before the engine saw them. An engine syncs only so that ENGINE_REBOOTED
 * finds something to believe: in engine_tend, in engine_close with `last`, before it overwrites the only proof.
 *
 * Errors.  ERR_NOENT (engine_get, engine_delete: no such key), ERR_LIMIT (key or value too long, or the key empty), ERR_NOSPC
 * (disk or quota full), ERR_TEMP (no memory, no descriptors, interrupted), ERR_CORRUPT (the engine can't be used: the
 * caller abandons it, destroys it and opens it anew). After any error but ERR_NOENT and ERR_LIMIT inside a transaction
 * the caller aborts it. An error's text begins with "index". */
#ifndef ENGINE_H
#define ENGINE_H

#include "../libbase/err.h"
#include "../libbase/str.h"

struct engine;

enum {
	ENGINE_KEY_MAX_OCTETS = 200,	/* at least 1 */
	ENGINE_VALUE_MAX_OCTETS = 4000,	/* at least 0; what fits Berkeley DB's pages of 16 KiB without overflow */
};

/* About the engine that is linked in. */
struct engine_facts {
	const char *name;
	bool lasting;		/* what is committed is there for other processes and after a close; else each process has
				 * its own, empty when opened, and fills it from the journal */
};
extern const struct engine_facts engine_facts;

enum engine_state {		/* see "Deaths"; the numbers stand in ctl */
	ENGINE_CLEAN,
	ENGINE_DIED,
	ENGINE_REBOOTED,
};

/* Opens the engine, or makes a new, empty one when "index" is missing or has no engine of this kind in it: then whatever
 * lies there is removed (it was another engine's). On failure *out is untouched and nothing is open. Errors: ERR_CORRUPT,
 * ERR_NOSPC, ERR_TEMP. */
enum err_kind engine_open(enum engine_state since, struct engine **out, struct err *e) CHECKED;
/* Closes and NULLs; aborts a transaction that is open; NULL is fine. last: no other process has it open: what a reboot
 * should find is synced, and files that only running processes need are removed, so that an idle store stays small. It
 * can't fail: what goes wrong must leave a state that the next engine_open (ENGINE_CLEAN) takes or refuses. */
void engine_close(struct engine **en, bool last);
/* Lets go of the handle without touching what it refers to, and NULLs it; NULL is fine. See "Deaths". */
void engine_abandon(struct engine **en);
/* Removes everything in the store's "index". Others may have it open: they are told afterwards. */
enum err_kind engine_destroy(int store_dirfd, struct err *e) CHECKED;

/* One transaction at a time, no nesting. Reading works inside (and sees the transaction's own changes) and outside;
 * changes are made inside only. */
enum err_kind engine_begin(struct engine *en, struct err *e) CHECKED;
/* Ends the transaction whatever it returns; after an error all of it is undone. */
enum err_kind engine_commit(struct engine *en, struct err *e) CHECKED;
/* Undoes it. Nothing happens when none is open. */
void engine_abort(struct engine *en);

enum err_kind engine_get(struct engine *en, struct str key, struct str *out, struct err *e) CHECKED;
/* Adds or replaces. Key and value are copied; they may not be views that the engine gave. */
enum err_kind engine_put(struct engine *en, struct str key, struct str value, struct err *e) CHECKED;
enum err_kind engine_delete(struct engine *en, struct str key, struct err *e) CHECKED;
/* Calls each for every key from `from` on that begins with prefix, in order, until it returns false (which is no error) or
 * a key does not begin with prefix. Either may be empty. `each` must not call the engine; it may do anything else that
 * is quick. A hundred thousand rows must cost some milliseconds: read in bulk. */
enum err_kind engine_scan(struct engine *en, struct str from, struct str prefix,
    bool (*each)(void *ctx, struct str key, struct str value), void *ctx, struct err *e) CHECKED;
/* Deletes every key that begins with prefix; none is fine. */
enum err_kind engine_delete_prefix(struct engine *en, struct str prefix, struct err *e) CHECKED;
/* Housekeeping, called after each commit; to cost nothing most of the time. */
enum err_kind engine_tend(struct engine *en, struct err *e) CHECKED;

#endif
