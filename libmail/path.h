/* SPDX-License-Identifier: ISC */
/* SMTP and LMTP command lines: verb and argument, Reverse-path and Forward-path (RFC 5321
 * s.4.1.2), ESMTP parameters (s.4.1.1.11), xtext (RFC 3461 s.4). All results are views of the
 * input or live in the arena. */
#ifndef PATH_H
#define PATH_H

#include "../libbase/buf.h"
#include "../libbase/err.h"

enum {
	PATH_LOCAL_MAX_OCTETS = 64,	/* RFC 5321 s.4.5.3.1.1 */
	PATH_DOMAIN_MAX_OCTETS = 255,	/* s.4.5.3.1.2 */
	PATH_MAX_OCTETS = 256,		/* s.4.5.3.1.3, with the angle brackets */
	ESMTP_PARAMS_MAX = 32		/* more than all registered keywords of one command */
};

enum path_flag {
	PATH_NULL_OK = 1,	/* "<>": MAIL FROM */
	PATH_POSTMASTER_OK = 2,	/* "<postmaster>" without a domain: RCPT TO */
	PATH_BARE_OK = 4,	/* no angle brackets: some old clients; never with a source route */
	PATH_UTF8_OK = 8,	/* SMTPUTF8 was given: RFC 6531 */
	PATH_NO_DOMAIN_OK = 16	/* "<user>": for submission and command lines */
};

struct mail_path {
	struct str local;	/* unquoted; may hold any octet but control characters */
	struct str domain;	/* as sent, without a final dot; "[...]" for an address literal; empty
				 * for <> and <postmaster> */
	struct str text;	/* canonical: local part quoted only where needed, "@", domain; "" for
				 * <>; no brackets, NUL-terminated */
	bool is_null;		/* <> */
	bool is_literal;	/* the domain is an address literal */
};

/* Splits a command line (without its CRLF) into the verb and its argument; spaces around both are
 * dropped. false when the line is empty, starts with a space, or its verb is not letters, digits
 * and hyphens. */
bool smtp_line_split(struct str line, struct str *out_verb, struct str *out_arg);

/* Takes "FROM:" or "TO:" (any case) off *arg, with spaces before the colon refused and up to one
 * space after it dropped, as real clients send it; false when it is not there. */
bool path_take_keyword(struct str *arg, struct str keyword);

/* Parses the path at the start of `in`; *out_rest is what follows it (parameters), without leading
 * spaces. A source route is checked and dropped. Control characters, NUL and, without
 * PATH_UTF8_OK, octets over 127 are refused everywhere.
 * Errors: ERR_SYNTAX, ERR_LIMIT (a length of RFC 5321 s.4.5.3.1; or the arena is full). */
enum err_kind path_parse(struct arena *a, struct str in, unsigned flags, struct mail_path *out,
    struct str *out_rest, struct err *e) CHECKED;

/* An address without brackets and nothing behind it, as in alias files and on command lines. */
enum err_kind path_parse_bare(struct arena *a, struct str in, unsigned flags,
    struct mail_path *out, struct err *e) CHECKED;

struct esmtp_param {
	struct str keyword;	/* as sent; compare without case */
	struct str value;	/* p == NULL when there was no "=" */
};

/* Parses `keyword[=value]` items separated by spaces into out[], *out_n items. A keyword given
 * twice is a syntax error. Errors: ERR_SYNTAX, ERR_LIMIT (more than ESMTP_PARAMS_MAX). */
enum err_kind esmtp_params_parse(struct str in, struct esmtp_param out[ESMTP_PARAMS_MAX],
    size_t *out_n, struct err *e) CHECKED;

/* The parameter with that keyword, NULL when there is none. */
const struct esmtp_param *esmtp_param_find(const struct esmtp_param *v, size_t n,
    struct str keyword);

/* Decodes xtext. A decoded control character or NUL is refused, as no field that uses xtext may
 * hold one and it could forge a line elsewhere. Errors: ERR_SYNTAX, ERR_LIMIT (arena). */
enum err_kind xtext_decode(struct arena *a, struct str in, struct str *out, struct err *e) CHECKED;
bool xtext_encode(struct buf *out, struct str in);

/* Is it a domain (LDH labels, at most 255 octets; underscore tolerated) or an address literal
 * ("[IPv4]", "[IPv6:…]")? For HELO, EHLO, LHLO and paths. */
bool domain_valid(struct str s, unsigned flags);
bool domain_is_literal(struct str s);

#endif
