/* SPDX-License-Identifier: ISC */
/* The program of SEARCH (RFC 3501 s.6.4.4, RFC 7162 s.3.1.5) as a tree: parsed, NOTs folded, and
 * every AND and OR ordered so that keys that need no message come first. */
#ifndef IMAPD_SEARCHPROG_H
#define IMAPD_SEARCHPROG_H

#include "../libmail/text.h"
#include "seqset.h"

enum {
	SEARCH_DEPTH_MAX = 64,		/* parentheses and ORs inside each other */
	SEARCH_NEEDLES_MAX = 256,	/* string keys of one command: each may read every message */
};

enum search_op {
	/* what the mailbox's rows know */
	SEARCH_TRUE, SEARCH_FLAG, SEARCH_NEW, SEARCH_KEYWORD, SEARCH_SEQ, SEARCH_UID, SEARCH_LARGER,
	SEARCH_SMALLER, SEARCH_DAYS, SEARCH_MODSEQ,
	/* what the record knows */
	SEARCH_SENT_DAYS,
	/* what needs the message */
	SEARCH_HEADER, SEARCH_BODY, SEARCH_TEXT,
	/* how they are joined */
	SEARCH_AND, SEARCH_OR
};

struct search_node {
	enum search_op op;
	bool negate;
	uint8_t cost;			/* 0: row, 1: record, 2: header, 3: whole message */
	struct search_node *first, *next;
	uint32_t flag;			/* SEARCH_FLAG: enum msg_flag */
	uint64_t number;		/* LARGER, SMALLER, MODSEQ */
	int64_t day_from, day_to;	/* DAYS, SENT_DAYS: from <= day < to */
	struct seqset set;		/* SEQ, UID */
	struct str name;		/* HEADER: field; KEYWORD */
	struct needle needle;		/* HEADER, BODY, TEXT */
	size_t needle_ix, name_ix;	/* of the needle and of HEADER's name in the search index's question */
	uint64_t keyword_bit;		/* KEYWORD: filled by the one who runs it; 0: mailbox has no such keyword */
};

enum search_result {
	SEARCH_PARSED,
	SEARCH_SYNTAX,
	SEARCH_BADCHARSET,
	SEARCH_OVER			/* deeper or more than the limits, or the arena is full */
};

struct search {
	struct search_node *root;
	bool has_modseq;
	/* private: all nodes, for search_each and search_free */
	struct search_node **nodes;
	size_t n_nodes, cap_nodes, n_needles;
};

/* Parses "[CHARSET x] key …" up to the end of the text. In every case search_free is to be
 * called. */
enum search_result search_parse(struct cursor *c, struct arena *a, struct search *out);
/* The same for "key …" in a charset that was named elsewhere (SORT, THREAD). */
enum search_result search_parse_in(struct cursor *c, struct arena *a, struct str charset,
    struct search *out);
void search_free(struct search *s);

/* The k-th node of the tree in no particular order, NULL behind the last. */
struct search_node *search_node_at(const struct search *s, size_t k);

#endif
