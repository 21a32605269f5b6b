/* SPDX-License-Identifier: ISC */
/* The parsed record: all that mail access asks of a message without its body, encoded once at
 * delivery and stored beside it. All offsets are relative to the first octet of the message that
 * was given to record_make. The format has a version; record.c describes it.
 *
 * Making never fails on what a message holds. A record is at most RECORD_MAX_OCTETS: where the
 * message would need more, lists are cut (addresses, references, fields, parts). */
#ifndef RECORD_H
#define RECORD_H

#include "../libbase/buf.h"
#include "../libbase/err.h"
#include "date.h"
#include "mime.h"

enum {
	RECORD_VERSION = 1,
	RECORD_MAX_OCTETS = 1024 * 1024,
	RECORD_FIELDS_MAX = 10000,	/* in the index; HEADER.FIELDS of more reads the header */
	RECORD_REFERENCES_MAX = 1000,
	RECORD_ADDRESSES_MAX = 2000,	/* of one ENVELOPE field */
	RECORD_SUBJECT_MAX_OCTETS = 4096,
	RECORD_PREVIEW_MAX_CHARS = 200,	/* RFC 8970 s.4 */
	/* What the arena given to record_make must be able to hold, whatever the message. */
	RECORD_ARENA_OCTETS = 64 * 1024 * 1024
};

/* Appends the record of `message` (wire form, one contiguous view) to *out. The arena is for
 * scratch; reset it afterwards. Errors: ERR_LIMIT (out's max is under RECORD_MAX_OCTETS and was
 * reached, or the arena is too small); *out is then as before. */
enum err_kind record_make(struct arena *a, struct str message, struct buf *out, struct err *e)
    CHECKED;

/* A checked view of an encoded record; `data` must outlive it. */
struct record {
	struct str data;
	struct str sections[20];	/* private */
	uint64_t message_octets;
	uint64_t header_octets;		/* with the empty line: BODY[HEADER] is [0, header_octets) */
	uint64_t lines;			/* line ends in the whole message */
	int64_t sent_s;
	uint32_t n_fields, n_parts, n_references;
	int32_t sent_zone_min;
	bool has_sent;			/* Date: was there and is a date */
	bool has_attachment;
	bool is_reply;			/* RFC 5256 s.2.1: the subject was a reply or forward */
	bool fields_cut;		/* the field index is not complete: read the header instead */
	bool parts_cut;			/* limits cut the MIME tree */
};

/* Checks version and every bound, so that no later reader can fail or over-read.
 * Errors: ERR_CORRUPT. */
enum err_kind record_open(struct str data, struct record *out, struct err *e) CHECKED;

/* IMAP octets as they go on the wire, with their parentheses (RFC 3501 s.7.4.2): strings quoted or,
 * with 8-bit octets, literals; never a NUL. */
struct str record_envelope(const struct record *r);
struct str record_body(const struct record *r);
struct str record_bodystructure(const struct record *r);

/* Decoded to UTF-8; empty when there is none. */
struct str record_subject(const struct record *r);
/* Does record_subject say all that the message's Subject fields do, but for how its blanks stand? True when there is at
 * most one field and nothing of it was cut. */
bool record_subject_is_whole(const struct record *r);
struct str record_base_subject(const struct record *r);	/* RFC 5256 s.2.1, upper-cased by nobody */
struct str record_preview(const struct record *r);	/* blanks collapsed */
/* Normalised "<id>" without comments; empty when there is none. */
struct str record_message_id(const struct record *r);
struct str record_in_reply_to(const struct record *r);	/* the first id */
/* References from the oldest to the newest, ix < r->n_references. */
struct str record_reference(const struct record *r, uint32_t ix);

enum record_addr { RECORD_FROM, RECORD_TO, RECORD_CC };
/* Sort keys: addr-mailbox of the first address (RFC 5256 s.3), and its display name decoded or
 * "mailbox@host" (RFC 5957). Empty when there is none. */
struct str record_sort_mailbox(const struct record *r, enum record_addr which);
struct str record_sort_display(const struct record *r, enum record_addr which);

struct record_field {
	uint32_t name_hash;	/* record_name_hash of its name; equal hashes do not prove equal names */
	uint32_t name_octets;	/* 0: a line without a name */
	uint64_t at;		/* offset of the name's first octet */
	uint64_t octets;	/* the whole field with its last line end */
};

/* ix < r->n_fields, in message order. */
struct record_field record_field(const struct record *r, uint32_t ix);
uint32_t record_name_hash(struct str name);	/* letters' case makes no difference */
/* Could the header have a field of that name? Never false for one that is there. */
bool record_may_have_field(const struct record *r, struct str name);

struct record_part {
	uint32_t ix;			/* 0: the message itself; parents before children */
	int32_t parent, next, first_child;	/* MIME_NONE when there is none */
	enum mime_kind kind;
	enum mime_encoding encoding;
	uint64_t header_at, header_octets;	/* with the empty line */
	uint64_t body_at, body_octets;
	uint64_t lines;
	struct str type, subtype;	/* as sent; compare without case */
	struct str charset;		/* empty when there is none */
	bool is_attachment;
};

/* ix < r->n_parts. */
struct record_part record_part(const struct record *r, uint32_t ix);

/* The part that IMAP numbers path[0].path[1] and so on, n_path >= 1 (RFC 3501 s.6.4.5); false when
 * there is none. BODY[1.MIME] is its header, BODY[1] its body. */
bool record_part_find(const struct record *r, const uint32_t *path, size_t n_path,
    struct record_part *out);

/* The message inside a MIME_MESSAGE part: its header is BODY[n.HEADER], its body BODY[n.TEXT];
 * false when the part holds no message. */
bool record_part_message(const struct record *r, const struct record_part *part,
    struct record_part *out);

#endif
