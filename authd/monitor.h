/* SPDX-License-Identifier: ISC */
/* Who may ask authd what, and how often: one table, documented in authd/MONITOR.md (a test holds the two
 * against each other). A peer that sends anything else is closed; nobody else notices. */
#ifndef AUTHD_MONITOR_H
#define AUTHD_MONITOR_H

#include <sys/types.h>

#include "../libserve/authframe.h"
#include "login.h"

/* On which listener a question may come: a mask. */
enum { MON_ON_AUTH = 1, MON_ON_STORE = 2 };

enum { MON_IDLE_MS = 5000 };		/* a peer that asks nothing is closed */

struct mon_field {
	const char *name;
	size_t min, max;		/* octets */
};

struct mon {
	const struct login *login;
	int sock;
	unsigned where;			/* MON_ON_* of its listener */
	bool may_have_stores;
	uint64_t asked_ms;
	uint64_t questions_max;
};

struct mon_req {
	uint8_t type;			/* enum authframe_type */
	const char *name;
	unsigned where;
	unsigned often;			/* for each connection; 0: questions_max */
	const struct mon_field *fields;
	size_t n_fields;
	/* ERR_SYNTAX: close the peer. Everything else has been answered. */
	enum err_kind (*run)(struct mon *m, const struct authframe *f, struct err *e);
};

extern const struct mon_req mon_reqs[];
extern const size_t n_mon_reqs;

/* Uids that may connect, beside root and ourselves. */
struct mon_peers {
	uid_t store_user, smtp_user;	/* (uid_t)-1: none */
};

/* May this uid use the listener; may it get stores? */
bool mon_peer_may(const struct mon_peers *p, uid_t uid, unsigned where, bool *out_stores);

/* The question in a packet, if it may be asked there at all: a pure function, for mon_serve and its fuzzer.
 * Errors: ERR_SYNTAX. */
enum err_kind mon_parse(struct str packet, unsigned where, struct authframe *f,
    const struct mon_req **out, struct err *e) CHECKED;

/* Answers questions on m->sock until the peer has none left, or breaks a rule. Errors (to be logged):
 * ERR_SYNTAX, err_sys's; ERR_OK when the peer went away or fell silent. */
enum err_kind mon_serve(struct mon *m, struct err *e) CHECKED;

#endif
