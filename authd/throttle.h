/* SPDX-License-Identifier: ISC */
/* The memory of failures, by address and by user name: in memory that all processes of authd share, of fixed
 * size, without locks (a process killed anywhere in here leaves nothing held and at most one count off).
 * Names and addresses are kept as keyed hashes only. Time is clock_mono_ms() of the caller. */
#ifndef AUTHD_THROTTLE_H
#define AUTHD_THROTTLE_H

#include "../libbase/err.h"
#include "../libbase/str.h"

enum {
	THROTTLE_FREE_FAILURES = 12,	/* people and broken clients: plain delay */
	THROTTLE_STEP_FAILURES = 4,	/* then the delay doubles with each so many */
	THROTTLE_FORGET_MS = 30000,	/* one failure is forgotten in this time */
	THROTTLE_COUNT_MAX = 64,
	THROTTLE_PENDING_MAX = 20,	/* refusals of an address whose time has not run out */
};

struct throttle;

/* Whom a failure is held against. An address is told apart by its IPv4 number or its IPv6 /64. Loopback and
 * "local" (and what is no address) count as none: a webmail's users share it. */
struct throttle_who {
	struct str ip, user;
};

/* Before the fork; never freed. Errors: err_sys's. */
enum err_kind throttle_new(struct throttle **out, struct err *e) CHECKED;

/* True when the address has THROTTLE_PENDING_MAX refusals running. */
bool throttle_is_limited(struct throttle *t, const struct throttle_who *who, uint64_t now_ms);

/* Notes a refusal of a question that came at asked_ms, and returns when it may be released: not before
 * asked_ms + base_ms, doubled as above, at most max_ms (or base_ms where that is more). */
uint64_t throttle_refuse(struct throttle *t, const struct throttle_who *who, uint64_t asked_ms,
    uint64_t base_ms, uint64_t max_ms);

/* The user proved to be himself: his name's failures are forgotten, his address's are not (else a guesser
 * with an account of his own would clear his record with it). */
void throttle_forgive(struct throttle *t, const struct throttle_who *who);

#endif
