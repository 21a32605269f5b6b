/* SPDX-License-Identifier: ISC */
/* What lies in a journal, octet for octet; FORMAT.md tells the same in words and a unit test holds the two
 * together. All numbers are little-endian; structs are laid out without padding and are copied, never cast
 * onto unaligned memory. */
#ifndef RECORD_TYPES_H
#define RECORD_TYPES_H

#include "../libbase/base.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the journal's structs are little-endian; a big-endian port needs conversion in journal.c and records.c"
#endif

enum {
	FORMAT_VERSION = 2,		/* 1 had no KEPT, GONE, ATTR and QUOTA; it is read and added to as it is */
	SEG_ROLL_OCTETS = 16 << 20,	/* a group that would pass it opens a new segment (store_env may say less) */
	SEG_MAP_OCTETS = 32 << 20,	/* no segment is larger */
	GROUP_MAX_OCTETS = 14 << 20,	/* of records written together */
	REC_ALIGN = 8,
};

#define SEG_MAGIC "PENNYSEG"

struct seg_header {
	char magic[8];			/* SEG_MAGIC */
	uint32_t version;		/* FORMAT_VERSION or an older one; a newer one is refused */
	uint32_t number;		/* as in the file's name */
	uint64_t store_id;		/* random, the same in all segments of a store */
	uint64_t salt;			/* random; begins every checksum of this segment, so that octets of an
					 * earlier life of the disk, or written by a sender, never look right */
	uint64_t first_seq;		/* sequence of the first record */
	int64_t created_ms;
	uint32_t prev_crc;		/* checksum of the last record before this segment */
	uint32_t reserved;
	uint32_t reserved2;
	uint32_t crc;			/* of the 60 octets before it */
};

enum rec_flag {
	REC_MORE = 1,			/* the next record belongs to the same all-or-nothing group */
	REC_BEGIN = 2,			/* first record of its group: reading goes on here after damage */
	REC_FLAGS_ALL = 3
};

enum { REC_UNDURABLE_MAX = 255 };

struct rec_header {
	uint32_t octets;		/* header, payload and padding to REC_ALIGN */
	uint16_t type;			/* enum rec_type; unknown ones are skipped */
	uint8_t flags;			/* enum rec_flag */
	uint8_t undurable;		/* first record of a group: how many records before it were not known to be on the
					 * disk when it was written (REC_UNDURABLE_MAX: as many or more); others and version 1: 0 */
	uint64_t seq;			/* rises by one per record; the MODSEQ of what it changed */
	int64_t time_ms;
	uint32_t prev_crc;		/* crc of the record before: the chain */
	uint32_t crc;			/* salt, this header with crc 0, payload, padding */
};

enum rec_type {
	REC_END = 1,			/* the segment ends; the next one goes on */
	REC_SNAPSHOT = 2,		/* first record of each segment: all mailboxes and counters */
	REC_MAILBOX = 3,		/* a mailbox's name and state */
	REC_MESSAGE = 4,
	REC_COPY = 5,
	REC_FLAGS = 6,
	REC_EXPUNGE = 7,
	REC_KEYWORD = 8,
	REC_VIEW = 9,
	REC_PLACE = 10,			/* rows whose octets compaction has put elsewhere */
	REC_KEPT = 11,			/* a message's octets that only an expunged row refers to, put here by compaction */
	REC_GONE = 12,			/* expunged messages that can still be brought back, said again by compaction */
	REC_ATTR = 13,			/* an attribute of a mailbox or of the store: metadata, ACL */
	REC_QUOTA = 14,			/* limits of a quota root */
	REC_LOST = 15,			/* stands for records that were damaged, in a segment that was repaired */
	REC_TYPE_MAX = 15
};

struct uid_range {
	uint32_t lo, hi;		/* both included, ascending */
};

enum mailbox_state {
	MAILBOX_EXISTS = 1,
	MAILBOX_NOSELECT = 2,
	MAILBOX_SUBSCRIBED = 4
};

struct rec_snapshot {			/* followed by n_mailboxes snapshot_mailbox, each with its name, padded to 8,
					 * then by n_quotas rec_quota */
	uint32_t n_mailboxes;
	uint32_t next_mailbox_id;
	uint32_t last_uidvalidity;
	uint32_t n_quotas;		/* 0 in version 1 */
};

struct snapshot_mailbox {
	uint32_t id, state, uidvalidity, uidnext;
	uint32_t n_messages, n_unseen, recent_uid, n_keywords;
	uint64_t modseq, octets;
	uint32_t name_octets;
	uint32_t reserved;
};

struct rec_mailbox {			/* followed by the name; when MAILBOX_EXISTS goes, or NOSELECT comes, its messages go */
	uint32_t id, state, uidvalidity, name_octets;
};

enum body_encoding {
	ENCODING_PLAIN = 0,
	ENCODING_ZSTD = 1		/* one frame */
};

struct rec_message {			/* followed by record, prefix, body (unless large) */
	uint32_t mailbox, uid;
	uint32_t flags;			/* MSG_STORED_FLAGS */
	uint32_t size_octets;		/* prefix and body */
	uint64_t keywords;
	uint64_t modseq;		/* 0: seq of this record; else from before a compaction */
	int64_t internaldate_s;
	uint64_t guid[2];		/* random, names the message for ever */
	uint64_t large_id;		/* 0: the body follows; else large/<2 hex>/<16 hex> */
	uint32_t record_octets, record_crc;
	uint32_t prefix_octets, body_octets;
	uint32_t body_crc;		/* of a large body, or of what an encoded one decodes to */
	uint16_t moved;			/* 1: by compaction; the message was there before, only its place changes */
	uint16_t encoding;		/* enum body_encoding; not 0: the body lies there as its stored length (le32) and so
					 * many octets. body_octets is what they decode to */
};

struct rec_copy {			/* followed by n copy_entry; UIDs are first_uid, first_uid + 1, … */
	uint32_t mailbox, from_mailbox;
	uint32_t first_uid, n;
	uint32_t n_unseen;
	uint32_t undelete;		/* 1: from_uid are expunged messages, which are no longer gone */
	uint64_t octets;
};

struct copy_entry {
	uint32_t from_uid, flags;
	uint64_t keywords;		/* bits of the target mailbox */
	int64_t internaldate_s;
	uint32_t size_octets, record_octets;
	uint32_t seg, off;		/* of the REC_MESSAGE that has the octets */
};

struct rec_flags {			/* followed by n_ranges uid_range: flags = flags & ~clear | set */
	uint32_t mailbox, n_ranges;
	uint32_t set, clear;
	uint64_t set_keywords, clear_keywords;
	int32_t unseen_delta;
	uint32_t reserved;
};

struct rec_expunge {			/* followed by n_ranges uid_range that hold existing UIDs only */
	uint32_t mailbox, n_ranges;
	uint32_t n_messages, n_unseen;
	uint64_t octets;
};

struct rec_keyword {			/* followed by the name */
	uint32_t mailbox, bit, name_octets, reserved;
};

enum view_how {
	VIEW_TAKES = 0, VIEW_ADDS = 1,	/* the UIDs out of the set, or to it */
	VIEW_ENDS = 2,			/* the whole set goes */
	VIEW_AGAIN = 4			/* with VIEW_ADDS: said again by compaction, nothing changes */
};

struct rec_view {			/* followed by the name padded to 8, then n_ranges uid_range */
	uint32_t mailbox;
	uint32_t how;			/* enum view_how; version 1 knows VIEW_TAKES and VIEW_ADDS */
	uint32_t name_octets, n_ranges;
};

struct rec_place {			/* followed by n place_entry */
	uint32_t n, reserved;
};

struct place_entry {			/* a whole row: the records that made it may be gone */
	uint32_t mailbox, uid;
	uint32_t flags, reserved;
	uint64_t keywords, modseq;
	int64_t internaldate_s;
	uint32_t size_octets, record_octets;
	uint32_t seg, off;
};

struct rec_gone {			/* followed by the mailbox's name padded to 8, then n gone_entry */
	uint32_t mailbox, n;
	uint32_t name_octets;		/* 0: the mailbox exists */
	uint32_t uidvalidity;
	int64_t deleted_ms;		/* when the mailbox was deleted; 0: it exists */
};

struct gone_entry {
	uint32_t uid, flags;
	uint64_t keywords, modseq;
	int64_t internaldate_s, gone_ms;
	uint32_t size_octets, record_octets;
	uint32_t seg, off;		/* of the MESSAGE or KEPT that has the octets */
};

struct rec_attr {			/* followed by owner, name and value, without padding between them */
	uint32_t mailbox;		/* 0: of the store */
	uint32_t kind;			/* enum attr_kind */
	uint32_t owner_octets, name_octets, value_octets;
	uint32_t set;			/* 1: this is the value; 0: there is no such attribute any more */
	uint64_t modseq;		/* 0: seq of this record; else from before a compaction, and nothing changes */
};

struct rec_quota {
	uint32_t mailbox;		/* the root covers it and what is below it; 0: every mailbox */
	uint32_t set;			/* mask of enum quota_set: which limits the root has; 0: there is no root any more */
	uint64_t storage_octets;	/* UINT64_MAX: no limit, whatever the site's default is */
	uint64_t n_messages;		/* the same */
};

struct rec_lost {
	uint64_t first_seq;		/* the record's own seq is the last number that is lost */
	uint64_t octets;		/* of the journal that were damaged; 0: they were missing */
	uint32_t settled;		/* 1: what was still known of it was said again behind it; 0: recovery found it */
	uint32_t reserved;
};

_Static_assert(sizeof(struct seg_header) == 64, "segment header");
_Static_assert(sizeof(struct rec_header) == 32, "record header");
_Static_assert(sizeof(struct rec_snapshot) == 16, "snapshot");
_Static_assert(sizeof(struct snapshot_mailbox) == 56, "snapshot mailbox");
_Static_assert(sizeof(struct rec_mailbox) == 16, "mailbox");
_Static_assert(sizeof(struct rec_message) == 88, "message");
_Static_assert(sizeof(struct rec_copy) == 32, "copy");
_Static_assert(sizeof(struct copy_entry) == 40, "copy entry");
_Static_assert(sizeof(struct rec_flags) == 40, "flags");
_Static_assert(sizeof(struct rec_expunge) == 24, "expunge");
_Static_assert(sizeof(struct rec_keyword) == 16, "keyword");
_Static_assert(sizeof(struct rec_view) == 16, "view");
_Static_assert(sizeof(struct rec_place) == 8, "place");
_Static_assert(sizeof(struct place_entry) == 56, "place entry");
_Static_assert(sizeof(struct rec_gone) == 24, "gone");
_Static_assert(sizeof(struct rec_lost) == 24, "lost");
_Static_assert(sizeof(struct gone_entry) == 56, "gone entry");
_Static_assert(sizeof(struct rec_attr) == 32, "attribute");
_Static_assert(sizeof(struct rec_quota) == 24, "quota");

#endif
