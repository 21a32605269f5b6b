/* SPDX-License-Identifier: ISC */
/* The packets between authd and those who ask it, one to a SOCK_SEQPACKET message:
 *	u8 version, u8 type, u16 length of what follows the head, u32 id, then fields: u16 length, octets.
 * Numbers are little-endian. An answer carries the question's id. Which fields a type has is in
 * authd/MONITOR.md. */
#ifndef AUTHFRAME_H
#define AUTHFRAME_H

#include "../libbase/buf.h"
#include "../libbase/err.h"

enum {
	AUTHFRAME_VERSION = 1,
	AUTHFRAME_HEAD_OCTETS = 8,
	AUTHFRAME_MAX_OCTETS = 2048,	/* the longest login: 7 fields, 1646 octets */
	AUTHFRAME_FIELDS_MAX = 7,
};

enum authframe_type { AUTHFRAME_LOGIN = 'L', AUTHFRAME_STORE = 'S', AUTHFRAME_ANSWER = 'A' };

/* Bits of a question's one-octet "flags" field. */
enum { AUTHFRAME_TLS = 1, AUTHFRAME_WANT_STORE = 2 };

/* An answer's one-octet "verdict" field. */
enum authframe_verdict {
	AUTHFRAME_YES = 1,	/* never 0: a zeroed frame is no yes */
	AUTHFRAME_DENIED, AUTHFRAME_LIMIT, AUTHFRAME_TEMP, AUTHFRAME_NOENT
};

enum { AUTHFRAME_ANSWER_VERDICT, AUTHFRAME_ANSWER_WAIT_MS, AUTHFRAME_ANSWER_USER, AUTHFRAME_ANSWER_N };

struct authframe {
	uint8_t type;
	uint32_t id;
	size_t n;
	struct str field[AUTHFRAME_FIELDS_MAX];	/* views of the packet */
};

/* A pure function. ERR_SYNTAX unless version, length and fields fit exactly. */
enum err_kind authframe_parse(struct str packet, struct authframe *out, struct err *e) CHECKED;

/* Appends the packet to out. false when a field or the whole is too long. */
bool authframe_put(struct buf *out, const struct authframe *f);

#endif
