/* SPDX-License-Identifier: ISC */
/* The order of SORT (RFC 5256 s.3, RFC 5957): what a record gives for each criterion, and how two
 * messages compare. */
#ifndef SORTKEY_H
#define SORTKEY_H

#include "record.h"

enum sort_by {
	SORT_ARRIVAL, SORT_CC, SORT_DATE, SORT_FROM, SORT_SIZE, SORT_SUBJECT, SORT_TO,
	SORT_DISPLAYFROM, SORT_DISPLAYTO,
};

enum { SORT_KEYS_MAX = 16 };		/* criteria of one command; a second one of a kind changes nothing */

struct sort_order {
	struct { enum sort_by by; bool reverse; } key[SORT_KEYS_MAX];
	size_t n;
	bool needs_record;		/* one of them asks more than arrival and size */
};

/* Adds a criterion. False: there are too many. */
bool sort_order_add(struct sort_order *o, enum sort_by by, bool reverse);

struct sort_value {
	int64_t number;			/* date, size */
	struct str text;		/* folded */
};

struct sort_item {
	uint32_t msgno;			/* decides between equals */
	uint32_t number;		/* for the caller */
	struct sort_value *v;		/* one for each key of the order */
};

/* Fills item->v, in the arena. r may be NULL (unreadable, or the order does not need it): then
 * texts are empty and the sent date is arrival_s. False: the arena is full. */
bool sort_item_fill(struct arena *a, const struct sort_order *o, const struct record *r,
    int64_t arrival_s, uint64_t size_octets, struct sort_item *item) CHECKED;

void sort_items(const struct sort_order *o, struct sort_item *items, size_t n);

#endif
