/* SPDX-License-Identifier: ISC */
/* Who gets a message: recipients as the client named them, and the mailboxes they come down to
 * after aliases and plus addresses. A mailbox that several recipients lead to gets the message
 * once. */
#ifndef DELIVER_ENVELOPE_H
#define DELIVER_ENVELOPE_H

#include "../libmail/path.h"
#include "aliases.h"

enum {
	ENVELOPE_DEPTH_MAX = 10,	/* aliases that lead to aliases */
	ENVELOPE_TARGETS_MAX = 1000,	/* mailboxes of one message */
	ENVELOPE_STEPS_MAX = 10000,	/* names looked at for one message */
	ENVELOPE_ITEMS_MAX = 2000,	/* names that one recipient expands to */
};

struct target {
	struct str user, folder;	/* canonical name; folder empty: INBOX */
	struct str address;		/* the recipient that led here first: Delivered-To */
	enum err_kind result;
};

struct rcpt {
	struct str address;
	uint32_t *targets;		/* indexes */
	size_t n_targets;
};

struct envelope {
	struct arena *arena;		/* everything below is in it */
	struct target *targets;
	size_t n_targets;
	struct rcpt *rcpts;
	size_t n_rcpts, rcpts_max;
	size_t n_steps;
};

/* What the expansion asks of the world. */
struct resolver {
	const struct aliases *aliases;
	struct str delimiter;		/* "+"; empty: no plus addresses */
	struct str postmaster;		/* for postmaster and abuse without an alias; or empty */
	/* ERR_OK: canonical name in canonical (256 octets); ERR_QUOTA: there, too, but the user has no room; ERR_NOENT;
	 * ERR_TEMP. */
	enum err_kind (*user)(void *ctx, struct str name, char *canonical, struct err *e);
	bool (*domain_is_local)(void *ctx, struct str domain);
	/* An alias's target that is left out, and why. */
	void (*skipped)(void *ctx, struct str alias, struct str target, const char *why);
	void *ctx;
};

/* An empty envelope for at most rcpts_max recipients. false: the arena is full. */
bool envelope_init(struct envelope *env, struct arena *a, size_t rcpts_max) CHECKED;

/* Adds one recipient; scratch is free again afterwards. Errors, after which the envelope is as
 * before: ERR_NOENT nobody there; ERR_DENIED not a domain of ours, or an alias with nothing but
 * unsupported targets; ERR_QUOTA a user by name who has no room; ERR_LIMIT; ERR_TEMP. */
enum err_kind envelope_add(struct envelope *env, struct arena *scratch, const struct resolver *r,
    const struct mail_path *path, struct err *e) CHECKED;

/* The one result for recipient ix: the worst of its targets', temporary ones before permanent ones. */
enum err_kind envelope_result(const struct envelope *env, size_t ix);

#endif
