/* SPDX-License-Identifier: ISC */
/* The words of IMAP's grammar (RFC 3501 s.9), read off the front of a command's text. The text
 * is a whole command without its last line end; literals stand in it as they came: "{5}" CR LF
 * and five octets.
 *
 * Every function returns false when the next octets are not what it reads; the cursor may then
 * stand anywhere, because a command that does not parse is refused whole. */
#ifndef IMAPD_TOKEN_H
#define IMAPD_TOKEN_H

#include "../libbase/arena.h"
#include "../libbase/str.h"

struct cursor {
	const char *p, *end;
};

static inline struct cursor cursor_of(struct str s)
{
	return (struct cursor){ s.p, s.n > 0 ? s.p + s.n : s.p };
}

static inline bool tok_end(const struct cursor *c) { return c->p == c->end; }

/* The next octet, 0 at the end. */
static inline char tok_look(const struct cursor *c) { return c->p < c->end ? *c->p : '\0'; }

/* That very octet. */
bool tok_char(struct cursor *c, char want);
static inline bool tok_sp(struct cursor *c) { return tok_char(c, ' '); }

/* Is ch an atom's character (ATOM-CHAR)? */
bool tok_is_atom_char(char ch);

bool tok_tag(struct cursor *c, struct str *out);
bool tok_atom(struct cursor *c, struct str *out);
/* The given word in any case, not followed by another atom character. On false the cursor has
 * not moved. */
bool tok_word(struct cursor *c, const char *word);

/* string: quoted or literal. 8-bit octets are let through in both, NUL in neither. What has
 * escapes in it is copied to the arena; false also when the arena is full. */
bool tok_string(struct cursor *c, struct arena *a, struct str *out);
/* "~{n}": a literal that may have NUL octets in it (RFC 3516 s.4.4). */
bool tok_literal8(struct cursor *c, struct str *out);
bool tok_astring(struct cursor *c, struct arena *a, struct str *out);
/* NIL gives out->p == NULL. */
bool tok_nstring(struct cursor *c, struct arena *a, struct str *out);
/* A mailbox pattern: as astring, with '%' and '*' in the atom form. */
bool tok_list_mailbox(struct cursor *c, struct arena *a, struct str *out);

/* Decimal, 0 … max. */
bool tok_number(struct cursor *c, uint64_t max, uint64_t *out);

/* -- what the one who gathers a command asks -- */

struct literal {
	uint64_t octets;	/* UINT64_MAX stands for anything larger, too */
	bool nonsync;		/* "{n+}": the client does not wait (RFC 7888) */
};

/* Does the line (without its line end) announce a literal at its end? *out_at (may be NULL) is
 * the offset of the '{'. */
bool tok_literal_at_end(struct str line, struct literal *out, size_t *out_at);

#endif
