/* SPDX-License-Identifier: ISC */
/* What the files of libstore share. Invariants of a store, held whenever nobody holds the kernel lock and no inside
 * mark is set:
 *
 *  I1  Every UID in a mailbox is below its uidnext, and uidnext never falls; a mailbox id and a UIDVALIDITY are never
 *      given twice.
 *  I2  ctl's slots are what the last segment's snapshot and the records behind it say.
 *  I3  Records up to ctl.durable_seq are on the disk, and nothing past it has been shown to anyone or acknowledged; nor,
 *      where a copy must have it first (duty.h), past ctl.followed_seq.
 *  I4  The index, if it is there, is what the records up to its own position say, and that position is durable.
 *  I5  inside_journal is set exactly while a process changes ctl or the journal; inside_engine exactly while one is
 *      in the engine, or could not open it. A mark found by the next owner of the lock means that its setter died: the
 *      control file is then read from the journal again, the engine recovered.
 *  I6  Within an epoch a sequence number names one record. Whoever waits for a number to become durable, or follows the
 *      journal from one, fails or starts anew when the epoch has changed.
 *  I7  A large body named by a record was synced before the record was written.
 *
 * Locks: `lock` (exclusive, short; journal, ctl and index), `sync` (one process syncs for all that wait), `users` (shared,
 * by who has the engine open), `maildrop` (POP3), `compact` (one at a time). Nobody who holds `sync` takes `lock`; `lock`
 * waits for `sync` only after a failed sync. */
#ifndef STORE_INT_H
#define STORE_INT_H

#include <stdatomic.h>

#include "../libbase/buf.h"
#include "attr.h"
#include "engine.h"
#include "journal.h"
#include "mailbox.h"
#include "quota.h"
#include "store.h"
#include "views.h"

enum {
	CTL_VERSION = 8,		/* changes with the structs below: an older file is made anew from the journal */
	CTL_HEAD_OCTETS = 1024,
	CTL_SLOTS_FIRST = 6,		/* with the head a page */
	TOLD_KEYWORDS_OCTETS = 120,
	LOCK_WAIT_MS = 10000,
	RECENT_NONE = 0,
};

#define CTL_MAGIC "PENNYCTL"

/* The mapped control file: shared memory that outlives processes but is not trusted after a reboot. */
struct ctl_head {
	char magic[8];
	uint32_t version;
	uint32_t cap_slots;		/* room in the file; it only grows; whoever sees more than it mapped maps anew */
	char boot_id[40];
	uint64_t store_id;
	_Atomic uint32_t inside_journal;
	_Atomic uint32_t inside_engine;	/* and how many died there one after another */
	_Atomic uint32_t engine_rebooted;	/* 1 from a reboot until the engine was opened (ENGINE_REBOOTED) */
	_Atomic uint32_t generation;	/* of the engine: changes when somebody recovered or replaced it */
	_Atomic uint32_t broken;	/* a sync failed: what is not durable must be cut off */
	_Atomic uint32_t epoch;		/* changes when records were cut off: their numbers are given again */
	struct journal_tail tail;
	_Atomic uint64_t appended_seq;	/* of the last record that is wholly written */
	_Atomic uint64_t durable_seq;
	_Atomic uint32_t follow_required;	/* see duty.h: nothing is shown before followed_seq has come to it */
	_Atomic uint32_t follow_bell;	/* a futex: changes when one of these does */
	_Atomic uint64_t followed_seq;
	_Atomic uint64_t follower_lost_ms;	/* monotonic clock: since when no follower has been seen; 0: one lives */
	uint32_t follow_wait_ms;
	_Atomic uint32_t n_watchers;	/* may be too high after a death, never too low */
	_Atomic uint32_t first_seg;	/* the oldest segment there is */
	uint32_t compact_due;		/* a segment has ended since compaction last looked */
	int64_t compact_after_s;	/* no look before this time */
	uint32_t large_due;		/* a large message was expunged: its body can go some time */
	int64_t large_after_s;
	uint32_t n_slots;
	uint32_t next_mailbox_id;
	uint32_t last_uidvalidity;
	uint32_t has_roots;		/* some slot has, or had, limits of its own: look at them */
	struct quota_limits quota;	/* of the root that covers all mailboxes */
	uint32_t seal;			/* checksum of what must not be wrong: see ctl.c; right whenever no mark is set */
	int64_t index_doubt_s;		/* when the index was last made anew because it did not add up */
};

struct ctl_slot {
	uint32_t seal;			/* checksum from `id` on */
	uint32_t recent_uid;		/* UIDs from here on are \Recent for the next SELECT */
	uint32_t first_unseen;		/* its place, from 1; 0: all are seen. True while modseq is unseen_modseq; nothing but a
					 * convenience: SELECT need not load the messages */
	uint32_t n_told;		/* names in told_keywords; all of them when it is n_keywords: a convenience, too */
	uint64_t unseen_modseq;
	char told_keywords[TOLD_KEYWORDS_OCTETS];	/* by their bits, each with a NUL behind it */
	uint32_t id, state;		/* enum mailbox_state; state 0: free */
	uint32_t uidvalidity, uidnext;
	uint32_t n_messages, n_unseen;
	uint32_t n_keywords;
	uint64_t modseq, octets;
	struct quota_limits quota;	/* of the root that covers this mailbox and what is below it */
	uint32_t name_octets;
	char name[STORE_NAME_MAX_OCTETS + 1];
};

_Static_assert(sizeof(struct ctl_head) <= CTL_HEAD_OCTETS, "control file head");

struct store {
	int dirfd;
	struct store_env env;
	int lock_fd, sync_fd, maildrop_fd;
	int users_fd;			/* shared lock while this process has the engine open */
	unsigned lock_depth;
	uint32_t epoch;			/* of ctl, when the lock was last held: what was noted then is of that epoch */
	struct ctl_head *ctl;
	size_t ctl_octets;
	int ctl_fd;
	struct journal *journal;
	struct engine *engine;		/* NULL until the index is needed */
	uint32_t engine_generation;
	int watch_fd;			/* inotify, -1 */
	int wake_fd;			/* touched to wake watchers */
	int follower_fd;		/* to ask whether a follower lives, -1 */
	uint64_t later_seq;		/* appended with sync_later, not yet synced, and in which epoch */
	uint32_t later_epoch;
	bool search_wanting;		/* a search met an ended segment without a usable search file */
	uint64_t verified_large;	/* id of the large body whose checksum was checked last */
	struct pack *pack;		/* NULL until a body is compressed or was */
	struct mailbox *mailboxes;	/* open ones, for the check at close */
};

static inline struct ctl_slot *ctl_slots(const struct store *s)
{
	return (struct ctl_slot *)((char *)s->ctl + CTL_HEAD_OCTETS);
}

static inline bool pos_before(struct journal_pos a, struct journal_pos b)
{
	return a.seg != b.seg ? a.seg < b.seg : a.off < b.off;
}

/* Records of these types hold a message's octets, in the same form. */
static inline bool rec_has_octets(unsigned type)
{
	return type == REC_MESSAGE || type == REC_KEPT;
}

/* The last record that may be shown to anyone (I3). */
static inline uint64_t store_shown_seq(const struct store *s)
{
	uint64_t durable = s->ctl->durable_seq, followed;

	if (!s->ctl->follow_required)
		return durable;
	followed = s->ctl->followed_seq;
	return followed < durable ? followed : durable;
}

/* -- duty.c -- */
/* Reads whether the store has the duty. At recovery. Errors: ERR_TEMP. */
enum err_kind duty_recover(struct store *s, bool same_boot, struct err *e) CHECKED;
/* Refuses while there has been no follower for long. Under the lock, before anything is written. ERR_TEMP. */
enum err_kind duty_may_append(struct store *s, struct err *e) CHECKED;
/* Returns when the copy has everything up to seq. Not under the lock. ERR_TEMP: no follower in time. */
enum err_kind duty_wait(struct store *s, uint64_t seq, uint32_t epoch, struct err *e) CHECKED;

/* -- lock.c -- */
/* Takes the kernel lock (waits up to LOCK_WAIT_MS) and makes sure that ctl can be believed: recovers it when a mark is
 * set, the boot is another one, a sync failed. Not recursive. Errors: ERR_BUSY, and those of recovery. */
enum err_kind store_lock(struct store *s, struct err *e) CHECKED;
void store_unlock(struct store *s);
/* The lock when nobody has it, and nothing is to be recovered. */
bool store_try_lock(struct store *s) CHECKED;
/* Between two holds of the lock by a long job: the kernel gives it to whoever comes first, and that would be the job again. */
void lock_give_way(void);
/* flock with a deadline. Errors: ERR_BUSY. */
enum err_kind lock_wait(int fd, uint64_t ms, struct err *e) CHECKED;

/* -- ctl.c -- */
/* Opens or makes the control file and maps it. */
enum err_kind ctl_open(struct store *s, struct err *e) CHECKED;
void ctl_close(struct store *s);
/* Instead of ctl_open: slots in memory that nobody else sees. */
enum err_kind ctl_anonymous(struct store *s, struct err *e) CHECKED;
/* Maps anew when the file has grown. Under the lock. */
enum err_kind ctl_remap(struct store *s, struct err *e) CHECKED;
/* True when what is mapped may be believed without recovery. */
bool ctl_is_sound(const struct store *s);
/* Reads ctl from the journal (or lays out a new store). Under the lock. */
enum err_kind ctl_recover(struct store *s, struct err *e) CHECKED;
/* NULL: there is none. A slot that was damaged in memory is not believed: the control file is read from the journal again. */
struct ctl_slot *ctl_find_id(const struct store *s, uint32_t id);
struct ctl_slot *ctl_find_name(const struct store *s, struct str name);	/* INBOX in any case */
/* Looks at all slots so. Under the lock. */
enum err_kind ctl_believe(struct store *s, struct err *e) CHECKED;
/* After a slot was changed (but for recent_uid), and before the mark inside_journal is taken away. */
void ctl_seal_slot(struct ctl_slot *slot);
void ctl_seal(struct store *s);
/* A free slot (state still 0), growing the file when needed. Errors: ERR_LIMIT, ERR_NOSPC. Moves slots: fetch pointers
 * again afterwards. */
enum err_kind ctl_new_slot(struct store *s, struct ctl_slot **out, struct err *e) CHECKED;
/* Applies one record to the slots. Under the lock, inside mark set. */
enum err_kind ctl_apply(struct store *s, const struct journal_view *v, struct err *e) CHECKED;
/* Of whatever boot: what the control file says of itself is true. */
bool ctl_head_is_sound(const struct store *s);
bool ctl_slot_is_sound(const struct ctl_slot *slot);
struct index_keywords;
/* The keyword names that the slot tells; false when it does not know all of them. */
bool ctl_told_keywords(const struct ctl_slot *slot, struct index_keywords *kw);
/* Tells them, where there is room for them. Under the lock. */
void ctl_tell_keywords(struct ctl_slot *slot, const struct index_keywords *kw);
/* The payload of a REC_SNAPSHOT for the slots as they are. */
bool ctl_snapshot(const struct store *s, struct buf *out);

/* -- quota.c -- */
/* Is there room for n more messages with these octets in every root that covers slot? A root that covers `from`, too (may be
 * NULL: a move), is not asked. last_may_pass: what struct append says. Under the lock. Errors: ERR_QUOTA. */
enum err_kind quota_room(const struct store *s, const struct ctl_slot *slot, const struct ctl_slot *from,
    uint64_t n, uint64_t octets, bool last_may_pass, struct err *e) CHECKED;

/* -- attr.c -- */
/* All attributes of a mailbox; what is in them lies in the arena. Under the lock. */
struct attr_list {
	struct attr *v;			/* malloc'ed */
	size_t n, cap;
};
enum err_kind attrs_load(struct store *s, uint32_t mailbox, struct arena *a, struct attr_list *out,
    struct err *e) CHECKED;

/* -- replay.c -- */
/* True when reading a journal up to `upto` is cheaper than opening the index (struct store_env). */
bool replay_is_cheaper(const struct store *s, struct journal_pos upto);
/* Calls each for every record there is, oldest first, for whoever can do without the index. Damage costs what it hit. */
enum err_kind replay_all(struct store *s, uint32_t last_seg,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx, struct err *e) CHECKED;

/* -- regain.c: when the end of the journal, or every snapshot, is lost although it was durable -- */
struct ctl_memory {			/* what the control file knew before recovery changed it */
	bool sound;
	bool whole;			/* no slot was damaged */
	uint64_t store_id, appended_seq, durable_seq;
	uint32_t tail_seg, next_mailbox_id, last_uidvalidity, has_roots, n;
	struct quota_limits quota;
	struct ctl_slot *slots;		/* malloc'ed */
};
enum err_kind ctl_remember(const struct store *s, struct ctl_memory *out, struct err *e) CHECKED;
void ctl_memory_free(struct ctl_memory *m);
/* Is what segment `last`, scanned, ends with less than what was durable? */
bool end_is_lost(const struct ctl_memory *m, const struct seg_header *h, uint32_t last, const struct journal_scan *scan);
/* Copies what is behind the end of segment `last`, and the segments after it, to damaged/, before the journal is cut. */
enum err_kind keep_lost_end(struct store *s, const struct ctl_memory *m, uint32_t last, struct err *e) CHECKED;
/* After the cut: LOST records stand for what is lost, a new segment begins behind all numbers and positions that ever were,
 * and no UID is given again. */
enum err_kind regain_behind(struct store *s, const struct ctl_memory *m, const struct journal_scan *scan,
    struct journal_tail *tail, struct err *e) CHECKED;
/* Damage was stepped over in what was replayed, up to number end_seq: what is remembered holds what the lost records did. */
enum err_kind regain_numbers(struct store *s, const struct ctl_memory *m, uint64_t end_seq, struct err *e) CHECKED;
/* No segment can be read at all: the same with what the control file knew. Errors: ERR_CORRUPT when it knew nothing. */
enum err_kind regain_without(struct store *s, const struct ctl_memory *m, struct journal_tail *tail, struct err *e) CHECKED;
/* Slots to begin a replay from segment `first` with when it has no snapshot: the remembered ones, without counters; a
 * new store's; or one for each mailbox that the journal speaks of. */
enum err_kind slots_without_snapshot(struct store *s, const struct ctl_memory *m, uint32_t first, uint32_t last,
    struct err *e) CHECKED;

/* -- commit.c -- */
/* Appends a group under the lock (rolling the segment when it is time) and applies it to ctl. out_pos[n] may be NULL.
 * out_seq: of the last record. Not yet durable: call store_make_durable after store_unlock. */
enum err_kind store_append(struct store *s, const struct journal_rec *r, size_t n,
    struct journal_pos *out_pos, uint64_t *out_seq, struct err *e) CHECKED;
/* Returns when everything up to seq, a number learned when the lock was last held, is durable (one process syncs for all
 * that wait), and wakes watchers. Not under the lock. Errors: a failed sync, by whomever, that cost the record: the
 * operation must be reported as failed. */
enum err_kind store_make_durable(struct store *s, uint64_t seq, struct err *e) CHECKED;
void store_wake_watchers(struct store *s);
/* The same on this store's disk only: for who makes its copy. */
enum err_kind store_make_durable_here(struct store *s, uint64_t seq, struct err *e) CHECKED;
/* Ends the segment and begins the next one; everything is durable then. Under the lock. */
enum err_kind store_roll(struct store *s, struct err *e) CHECKED;
/* store_make_durable with the lock held. */
enum err_kind store_make_durable_locked(struct store *s, struct err *e) CHECKED;

/* -- index.c -- */
/* Enters the engine with the index rolled forward to the tail (which it makes durable first). Under the lock. After
 * ERR_OK call index_leave. */
enum err_kind index_enter(struct store *s, struct err *e) CHECKED;
void index_leave(struct store *s);
/* Takes the lock and enters, with others getting the lock between the steps that roll forward. */
enum err_kind index_lock(struct store *s, struct err *e) CHECKED;
void index_unlock(struct store *s);
/* Throws the index away; the next index_enter makes a new one from the whole journal. Under the lock. */
enum err_kind index_drop(struct store *s, struct err *e) CHECKED;
/* The same, but rolls forward one step only, of a few milliseconds. *out_more: the index is not at the tail yet; the
 * caller leaves, drops the lock so that others get it, and comes again. */
enum err_kind index_enter_step(struct store *s, bool *out_more, struct err *e) CHECKED;
/* The same, but what is wrong with the index is ERR_CORRUPT and not put right. */
enum err_kind index_enter_as_is(struct store *s, bool *out_more, struct err *e) CHECKED;
/* Between enter and leave: reads a mailbox's messages and keyword names. msgs is malloc'ed, the caller's. */
struct index_keywords {
	size_t n;
	uint8_t octets[STORE_KEYWORDS_MAX];
	char name[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX_OCTETS];
};
enum err_kind index_load(struct store *s, uint32_t mailbox, struct message **out_msgs, size_t *out_n,
    size_t *out_cap, struct index_keywords *kw, struct err *e) CHECKED;
enum err_kind index_keywords(struct store *s, uint32_t mailbox, struct index_keywords *kw, struct err *e) CHECKED;
/* The same in slices, between which the lock may be dropped; begin with zeros. What changes meanwhile may be in or not:
 * the journal from before the first slice tells. m is malloc'ed, the caller's in any case. */
struct index_load {
	struct message *m;
	size_t n, cap;
	uint32_t next_chunk;		/* private */
	size_t slice_left;
	bool no_memory, bad;
};
enum err_kind index_load_some(struct store *s, uint32_t mailbox, struct index_load *l, bool *out_done,
    struct err *e) CHECKED;
/* Between enter and leave: the next rows of all mailboxes, of messages or of gone ones; begin with a cursor of zeros.
 * Between slices the lock may be dropped. gone_ms is 0 for messages. */
enum index_rows { INDEX_MESSAGES, INDEX_GONE };
struct index_cursor {
	char key[ENGINE_KEY_MAX_OCTETS + 1];
	size_t n;
	bool done;
};
enum err_kind index_slice(struct store *s, enum index_rows which, struct index_cursor *at,
    void (*each)(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms), void *ctx,
    struct err *e) CHECKED;
/* One row. Errors: ERR_NOENT. */
enum err_kind index_row(struct store *s, uint32_t mailbox, uint32_t uid, struct message *out, struct err *e)
    CHECKED;
/* One row of an expunged message whose octets may still be there. Errors: ERR_NOENT. */
enum err_kind index_gone_row(struct store *s, uint32_t mailbox, uint32_t uid, struct message *out,
    int64_t *out_gone_ms, struct err *e) CHECKED;
/* What a deleted mailbox was called. Errors: ERR_NOENT. */
struct index_deleted;
enum err_kind index_deleted_mailbox(struct store *s, uint32_t mailbox, struct index_deleted *out,
    char name[STORE_NAME_MAX_OCTETS], struct err *e) CHECKED;
/* Forgets rows of gone messages in segments before `before`, in slices as index_slice; then deleted mailboxes that have
 * none left, until *from (begin with 0) comes back as 0. */
enum err_kind index_forget_gone(struct store *s, uint32_t before, struct index_cursor *at, struct err *e) CHECKED;
enum err_kind index_forget_deleted(struct store *s, uint32_t *from, struct err *e) CHECKED;
/* Keywords, views and attributes again as records, for a journal whose beginning goes: a slice from *at on (begin with n 0),
 * as index_slice. Calls each with a payload's parts, which are valid during the call. */
enum err_kind index_set_slice(struct store *s, struct index_cursor *at,
    bool (*each)(void *ctx, enum rec_type type, struct str head, struct str name, struct str rest),
    void *ctx, struct err *e) CHECKED;
/* Between enter and leave: calls each for every attribute of a mailbox, in the order of kind, owner, name. What is passed is
 * valid during the call. */
enum err_kind index_each_attr(struct store *s, uint32_t mailbox,
    bool (*each)(void *ctx, uint32_t mailbox, const struct attr *a), void *ctx, struct err *e) CHECKED;
void index_close(struct store *s);

/* -- records.c: payloads, bounds-checked -- */
struct ranges {
	const struct uid_range *v;	/* may be unaligned: read with range_at */
	size_t n;
};
static inline struct uid_range range_at(struct ranges r, size_t i)
{
	struct uid_range u;

	__builtin_memcpy(&u, (const char *)r.v + i * sizeof u, sizeof u);
	return u;
}
/* All: ERR_CORRUPT when the payload is shorter than it says. */
bool rec_get_mailbox(struct str payload, struct rec_mailbox *out, struct str *name);
bool rec_get_message(struct str payload, struct rec_message *out, struct str *record, struct str *prefix,
    struct str *body);
bool rec_get_copy(struct str payload, struct rec_copy *out, struct str *entries);
struct copy_entry copy_entry_at(struct str entries, size_t i);
bool rec_get_flags(struct str payload, struct rec_flags *out, struct ranges *r);
bool rec_get_expunge(struct str payload, struct rec_expunge *out, struct ranges *r);
bool rec_get_keyword(struct str payload, struct rec_keyword *out, struct str *name);
bool rec_get_place(struct str payload, struct rec_place *out, struct str *entries);
struct place_entry place_entry_at(struct str entries, size_t i);
bool rec_get_gone(struct str payload, struct rec_gone *out, struct str *name, struct str *entries);
struct gone_entry gone_entry_at(struct str entries, size_t i);
bool rec_get_view(struct str payload, struct rec_view *out, struct str *name, struct ranges *r);
bool rec_get_attr(struct str payload, struct rec_attr *out, struct str *owner, struct str *name,
    struct str *value);
bool rec_get_quota(struct str payload, struct rec_quota *out);
/* Ascending UIDs as ranges into out (le32 pairs); *out_n ranges. */
bool ranges_put(struct buf *out, const uint32_t *uids, size_t n, uint32_t *out_n);
/* The mailbox a record is about, 0 for none. */
uint32_t rec_mailbox_id(const struct journal_view *v);

/* -- message.c -- */
/* message_open for whoever knows a place in the journal and no row. Errors: ERR_CORRUPT, ERR_NOENT, ERR_TEMP. */
enum err_kind message_open_at(struct store *s, struct journal_pos pos, struct message_text *out, struct err *e)
    CHECKED;

/* -- names.c -- */
/* Checks a mailbox name and gives its canonical form (INBOX upper-case, no trailing separator) as a view or a static
 * string. Errors: ERR_SYNTAX. */
enum err_kind name_canonical(struct str name, struct str *out, struct err *e) CHECKED;

/* -- compact.c -- */
/* Calls each for all rows; takes the lock for a slice at a time. A row that changes meanwhile is seen before or after. */
enum err_kind rows_each(struct store *s, enum index_rows which,
    void (*each)(void *ctx, uint32_t mailbox, const struct message *m, int64_t gone_ms), void *ctx, struct err *e)
    CHECKED;

/* -- large.c -- */
void large_name(char name[40], uint64_t id);
#endif
