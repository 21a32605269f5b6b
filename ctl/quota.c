/* SPDX-License-Identifier: ISC */
/* penny quota: what a user's quota roots have in use, and their limits. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../libstore/quota.h"
#include "ctl.h"

enum { QUOTA_ARENA_MAX_BYTES = 16 * 1024 * 1024 };	/* a root for each mailbox */

/* A limit as the command line gives it. */
struct wish {
	bool given, is_default;
	uint64_t value;
};

struct wishes {
	const char *root;
	bool none;
	struct wish storage, messages;
};

static void print_limit(bool set, uint64_t limit)
{
	if (set)
		printf("\t%" PRIu64, limit);
	else
		fputs("\t-", stdout);
}

static int print_roots(struct store *s)
{
	struct arena *a = arena_new(QUOTA_ARENA_MAX_BYTES);
	struct quota_root *v;
	struct err e;
	size_t n;

	if (quota_list(s, a, &v, &n, &e) != ERR_OK)
		return ctl_err(&e);
	for (size_t i = 0; i < n; i++) {
		printf("%" PRIu64, v[i].used_octets);
		print_limit((v[i].limits.set & QUOTA_STORAGE) != 0, v[i].limits.storage_octets);
		printf("\t%" PRIu64, v[i].used_messages);
		print_limit((v[i].limits.set & QUOTA_MESSAGES) != 0, v[i].limits.n_messages);
		printf("\t%.*s\n", (int)v[i].name.n, v[i].name.p);
	}
	arena_free(&a);
	return 0;
}

static void apply(const struct wish *w, uint32_t bit, uint32_t *set, uint64_t *value)
{
	if (!w->given)
		return;
	*set = w->is_default ? *set & ~bit : *set | bit;
	*value = w->value;
}

/* What is not named stays as it is. */
static enum err_kind change(struct store *s, const struct wishes *w, struct err *e)
{
	struct arena *a = arena_new(QUOTA_ARENA_MAX_BYTES);
	struct quota_limits l = { .set = 0 };
	struct quota_root *v;
	size_t n;
	enum err_kind k = quota_list(s, a, &v, &n, e);

	for (size_t i = 0; k == ERR_OK && !w->none && i < n; i++) {
		if (str_eq(v[i].name, str_of(w->root)))
			l = v[i].own;
	}
	apply(&w->storage, QUOTA_STORAGE, &l.set, &l.storage_octets);
	apply(&w->messages, QUOTA_MESSAGES, &l.set, &l.n_messages);
	arena_free(&a);
	return k != ERR_OK ? k : quota_set(s, str_of(w->root), &l, e);
}

static int run(struct store *s, void *arg)
{
	const struct wishes *w = arg;
	struct err e;

	if ((w->none || w->storage.given || w->messages.given) && change(s, w, &e) != ERR_OK)
		return ctl_err(&e);
	return print_roots(s);
}

/* Decimal, with k, M, G or T for powers of 1024 where units are wanted; "unlimited"; "default". */
static bool parse_wish(struct str text, bool units, struct wish *out)
{
	static const char suffix[] = "kMGT";
	unsigned shift = 0;

	*out = (struct wish){ .given = true, .value = QUOTA_UNLIMITED };
	out->is_default = str_eq(text, STR("default"));
	if (out->is_default || str_eq(text, STR("unlimited")))
		return true;
	for (unsigned i = 0; units && text.n > 0 && i < sizeof suffix - 1; i++) {
		if (text.p[text.n - 1] == suffix[i])
			shift = 10 * (i + 1);
	}
	if (!str_to_u64(shift > 0 ? str_head(text, text.n - 1) : text, (uint64_t)INT64_MAX >> shift,
	    &out->value))
		return false;
	out->value <<= shift;
	return true;
}

static bool parse_word(struct wishes *w, struct str word)
{
	if (str_eq(word, STR("none")))
		return w->none = true;
	if (str_starts(word, STR("storage=")))
		return parse_wish(str_skip(word, strlen("storage=")), true, &w->storage);
	if (str_starts(word, STR("messages=")))
		return parse_wish(str_skip(word, strlen("messages=")), false, &w->messages);
	return false;
}

int cmd_quota(struct ctl *c, int argc, char **argv)
{
	struct wishes w = { .root = "" };

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--mailbox") == 0 && i + 1 < argc)
			w.root = str_eq_nocase(str_of(argv[++i]), STR("INBOX")) ? "INBOX" : argv[i];
		else if (!parse_word(&w, str_of(argv[i])))
			return ctl_fail(EX_USAGE, "\"%s\" is no limit; see penny help quota",
			    argv[i]);
	}
	if (w.none && (w.storage.given || w.messages.given))
		return ctl_fail(EX_USAGE, "either none, or limits");
	return ctl_in_store(c, argv[0], w.none || w.storage.given || w.messages.given, run, &w);
}
