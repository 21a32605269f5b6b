/* SPDX-License-Identifier: ISC */
/* One user's store: a directory with a journal (the truth), its index (derived), large bodies, and the
 * mapped control file. FORMAT.md describes what lies on the disk; the invariants are in store_int.h.
 *
 * Everything works relative to a directory descriptor. A process may hold several stores, but only one
 * whose index it reads (its engine wants the store to be ".", see engine.h: the first call that needs the
 * index changes the working directory to the store). Creating, delivering and looking at counters need no index.
 *
 * Several processes work on one store at the same time; none of them needs to trust that another one lives. */
#ifndef STORE_H
#define STORE_H

#include "../libbase/arena.h"
#include "../libbase/err.h"
#include "../libbase/storeconf.h"
#include "../libbase/str.h"

struct store;

enum {
	STORE_NAME_MAX_OCTETS = 255,		/* of a mailbox name, UTF-8 */
	STORE_DEPTH_MAX = 32,			/* levels of hierarchy in a name */
	STORE_MAILBOXES_MAX = 10000,		/* mailboxes and subscribed names of one user */
	STORE_KEYWORDS_MAX = 64,		/* in one mailbox */
	STORE_KEYWORD_MAX_OCTETS = 64,
	STORE_INLINE_MAX_OCTETS = 256 * 1024,	/* larger bodies are files of their own */
	STORE_MESSAGE_MAX_OCTETS = 1 << 30,	/* of one message; programs set lower limits */
};

/* What a process learns before it loses the file system (chroot); fill it once at start. */
struct store_env {
	char boot_id[40];	/* mapped control files of an earlier boot are not believed */
	uint32_t replay_max_octets;	/* a journal up to this long is replayed instead of opening the index: faster than
				 * opening the engine, and a small store needs no index on the disk; 0: never */
	uint32_t segment_octets;	/* a journal segment is ended about here */
	struct store_conf conf;		/* what the site wants; store_env_init puts in the defaults */
};
void store_env_init(struct store_env *env);

/* Opens the store in directory dirfd (duplicated; the caller keeps its own). An empty directory is laid out
 * as a new store with an empty INBOX; that is safe when several processes do it at once. After a crash or
 * reboot it brings the control file up to date from the journal's last segment.
 * Errors: ERR_NOSPC, ERR_BUSY (lock not had in 10 s), ERR_DENIED, ERR_CORRUPT (the journal's end can't be
 * read: penny rebuild), ERR_TEMP. */
enum err_kind store_open(int dirfd, const struct store_env *env, struct store **out, struct err *e)
    CHECKED;
/* Closes everything that was opened through it; mailboxes must be closed before. NULL is fine. */
void store_close(struct store **s);

/* -- mailboxes: names are UTF-8, hierarchy separator '/'; INBOX in any case is INBOX -- */

struct mailbox_info {
	struct str name;		/* in the caller's arena */
	uint32_t id;			/* internal number, never used again for another mailbox */
	bool exists;			/* false: only a subscribed name */
	bool noselect;			/* a deleted name that still has inferiors (RFC 3501 s.6.3.4) */
	bool subscribed;
	bool has_children;
	uint32_t uidvalidity, uidnext;
	uint32_t n_messages, n_unseen, n_recent;
	uint64_t modseq;		/* highest of the mailbox, at least 1 (RFC 7162 s.3.1.2.1) */
	uint64_t octets;		/* sum of message sizes */
};

/* All names, sorted by octets with INBOX first. Errors: ERR_BUSY, ERR_LIMIT (arena). */
enum err_kind store_list(struct store *s, struct arena *a, struct mailbox_info **out, size_t *out_n,
    struct err *e) CHECKED;
/* One name. Errors: ERR_NOENT (no such mailbox; a name that is only subscribed counts as none), ERR_BUSY. */
enum err_kind store_find(struct store *s, struct arena *a, struct str name, struct mailbox_info *out,
    struct err *e) CHECKED;
/* Creates name and what is missing above it (RFC 3501 s.6.3.3). A trailing '/' is ignored. *out_id may be NULL.
 * Durable on return. Errors: ERR_EXISTS, ERR_SYNTAX (empty level, "." or "..", control octets, not UTF-8, '*' or '%',
 * over STORE_NAME_MAX_OCTETS or STORE_DEPTH_MAX), ERR_LIMIT, ERR_NOSPC, ERR_BUSY. */
enum err_kind store_create(struct store *s, struct str name, uint32_t *out_id, struct err *e) CHECKED;
/* Deletes (RFC 3501 s.6.3.4): with inferiors the name stays as \Noselect. Errors: ERR_NOENT, ERR_DENIED (INBOX),
 * ERR_EXISTS (is \Noselect already and has inferiors), ERR_NOSPC, ERR_BUSY. */
enum err_kind store_delete(struct store *s, struct str name, struct err *e) CHECKED;
/* Renames with all inferiors; INBOX's messages move to the new name and INBOX is left empty, its inferiors
 * untouched (RFC 3501 s.6.3.5). Missing superiors are created. Errors: ERR_NOENT, ERR_EXISTS, ERR_SYNTAX,
 * ERR_LIMIT, ERR_NOSPC, ERR_BUSY. */
enum err_kind store_rename(struct store *s, struct str from, struct str to, struct err *e) CHECKED;
/* Sets or clears the subscription of a name, whether or not such a mailbox exists (RFC 3501 s.6.3.6).
 * Errors: ERR_SYNTAX, ERR_NOENT (unsubscribe of a name that is not subscribed), ERR_LIMIT, ERR_NOSPC, ERR_BUSY. */
enum err_kind store_subscribe(struct store *s, struct str name, bool on, struct err *e) CHECKED;

/* -- POP3's exclusive access (RFC 1939 s.4) -- */
/* Held until store_maildrop_unlock, store_close or death; hinders neither deliveries nor IMAP. ERR_BUSY. */
enum err_kind store_maildrop_lock(struct store *s, struct err *e) CHECKED;
void store_maildrop_unlock(struct store *s);

/* -- change notification -- */
/* A descriptor that becomes readable after changes were made durable by any process. Owned by the store.
 * store_watch_drain empties it; call it before mailbox_refresh. Costs nothing while nothing happens. */
enum err_kind store_watch(struct store *s, int *out_fd, struct err *e) CHECKED;
void store_watch_drain(struct store *s);
/* The sequence number of the last record that may be shown: it rises by one with each record of anybody's that becomes durable. One
 * read of shared memory, no system call. */
uint64_t store_change_count(const struct store *s);

/* Gives back what this process still holds of segments that compaction removed, whose space is only then free. To be called
 * now and then by who keeps a store open for long, while no message is open and no record is in use. */
void store_let_go(struct store *s);

/* Makes everything durable that this process appended with append.sync_later. */
enum err_kind store_sync(struct store *s, struct err *e) CHECKED;

/* -- upkeep -- */
/* Throws the index and the control file away and makes them anew from the whole journal. Every mailbox, UID,
 * UIDVALIDITY, flag and MODSEQ is as before. Sessions that are open go on. */
struct store_rebuild_result {
	uint64_t n_records, n_mailboxes, n_messages, n_damaged;
};
enum err_kind store_rebuild(struct store *s, struct store_rebuild_result *out, struct err *e) CHECKED;
/* Gives back the space of what is dead, neither a message nor an expunged one that can still be brought back (gone.h): when
 * at least half of the oldest segments is, what lives in them is written anew at the tail and they are removed, with the
 * large bodies that nobody names any more. So the journal is never longer than twice what lives, a segment, and what is
 * younger than min_age_s. Segments that ended less than min_age_s ago are left alone: sessions may still follow them. The
 * bodies of large messages that can't be brought back any more go at once. Works beside open sessions, with the lock held
 * for a few milliseconds at a time; a death at any moment costs nothing. When another process compacts already it does
 * nothing. */
struct store_compact_result {
	uint32_t n_segments;		/* removed */
	uint32_t n_young;		/* would be worth it, but are too young */
	uint64_t n_moved;		/* messages */
	uint64_t n_large;		/* large bodies removed */
};
enum err_kind store_compact(struct store *s, uint64_t min_age_s, struct store_compact_result *out,
    struct err *e) CHECKED;
/* Removes for good everything that was expunged, whatever the time it could be brought back: all ended segments are written
 * anew. Open sessions start their views anew. Errors: ERR_BUSY (compacted by another), ERR_NOSPC, ERR_TEMP. */
enum err_kind store_purge(struct store *s, struct store_compact_result *out, struct err *e) CHECKED;
/* For the end of a session, when nobody waits: compacts when a segment has ended since the last look. Costs nothing
 * otherwise. Failures are left for the next time. */
void store_tend(struct store *s);
/* Compares everything that can be compared, without changing it and beside open sessions: the journal's chain and
 * checksums, the index row by row with what the journal says, counters and names, every message's octets, large bodies, and
 * files that nothing needs. Holds the lock only for instants, keeps compaction away meanwhile, takes about 60 octets of
 * memory a message. report (may be NULL) gets a line for each finding: a word for its kind, fields "key=value" behind tabs,
 * and a sentence; lines whose word begins with "note." or "leftover." are no findings. *out_n_bad counts findings.
 * Errors: ERR_BUSY, ERR_TEMP (begin again), ERR_NOSPC. */
enum err_kind store_check(struct store *s, void (*report)(void *ctx, const char *line), void *ctx,
    uint64_t *out_n_bad, struct err *e) CHECKED;
/* Checks, and puts right what can be, beside open sessions; nothing that could still be of use is deleted: it goes to the
 * directory damaged/. What the journal has lost and the index still knows is written into the journal again. Messages whose
 * octets are lost are expunged, with what remains of them in damaged/: a message that can't be fetched keeps clients from
 * synchronizing a mailbox at all. Lines about what was done begin with "repaired.". A second repair does nothing. */
struct store_repair_result {
	uint64_t n_found;		/* findings before */
	uint64_t n_repaired;		/* things done */
	uint64_t n_left;		/* findings afterwards */
};
enum err_kind store_repair(struct store *s, void (*report)(void *ctx, const char *line), void *ctx,
    struct store_repair_result *out, struct err *e) CHECKED;

#endif
