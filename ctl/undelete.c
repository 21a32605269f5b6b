/* SPDX-License-Identifier: ISC */
/* penny undelete: lists and brings back what was expunged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../libbase/clock.h"
#include "../libbase/vec.h"
#include "../libstore/gone.h"
#include "ctl.h"

struct choice {
	bool list, all;
	const char *mailbox, *to;
	uint32_t uid_lo, uid_hi;
	int64_t since_ms;
};

static const struct { char letter; uint32_t seconds; } units[] = {
	{ 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 },
};

/* A number with a unit, as in the configuration. */
static bool parse_time(const char *text, uint64_t *out_s)
{
	struct str s = str_of(text);
	uint64_t n, unit = 0;

	for (size_t i = 0; s.n > 1 && i < COUNTOF(units); i++)
		if (s.p[s.n - 1] == units[i].letter)
			unit = units[i].seconds;
	if (!str_to_u64(unit > 0 ? str_head(s, s.n - 1) : s, 1u << 30, &n))
		return false;
	*out_s = n * (unit > 0 ? unit : 1);
	return true;
}

static bool parse_uids(const char *text, struct choice *c)
{
	struct str s = str_of(text);
	const char *colon = strchr(text, ':');
	size_t n = colon != NULL ? (size_t)(colon - text) : s.n;
	uint64_t lo, hi;

	if (!str_to_u64(str_head(s, n), UINT32_MAX, &lo) || lo == 0)
		return false;
	hi = lo;
	if (colon != NULL && (!str_to_u64(str_skip(s, n + 1), UINT32_MAX, &hi) || hi < lo))
		return false;
	c->uid_lo = (uint32_t)lo;
	c->uid_hi = (uint32_t)hi;
	return true;
}

static int bad_usage(const char *what)
{
	return ctl_fail(EX_USAGE, "undelete: %s; see penny help undelete", what);
}

static int parse(int argc, char **argv, struct choice *c)
{
	uint64_t within_s;

	*c = (struct choice){ .uid_lo = 1, .uid_hi = UINT32_MAX };
	for (int i = 0; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--list") == 0) {
			c->list = true;
			continue;
		}
		if (strcmp(argv[i], "--all") == 0) {
			c->all = true;
			continue;
		}
		if (value == NULL)
			return bad_usage("what is wanted is not clear");
		if (strcmp(argv[i], "--mailbox") == 0)
			c->mailbox = value;
		else if (strcmp(argv[i], "--to") == 0)
			c->to = value;
		else if (strcmp(argv[i], "--uid") == 0 && parse_uids(value, c))
			c->all = false;
		else if (strcmp(argv[i], "--within") == 0 && parse_time(value, &within_s))
			c->since_ms = clock_real_ms() - (int64_t)within_s * 1000;
		else
			return bad_usage(argv[i]);
		i++;
	}
	if (!c->list && c->all == (c->mailbox != NULL))
		return bad_usage("one of --list, --all and --mailbox is needed");
	return 0;
}

/* -- what is chosen, gathered by mailbox -- */

struct found {
	uint32_t mailbox, uid;
	bool deleted;
	char name[STORE_NAME_MAX_OCTETS + 1];
};

struct finds {
	const struct choice *c;
	struct found *v;
	size_t n, cap;
	bool no_memory;
};

static bool is_chosen(const struct choice *c, const struct gone *g)
{
	return g->uid >= c->uid_lo && g->uid <= c->uid_hi && g->gone_ms >= c->since_ms &&
	    (c->mailbox == NULL || str_eq(g->name, str_of(c->mailbox)) ||
	    (str_eq_nocase(g->name, STR("INBOX")) && str_eq_nocase(g->name, str_of(c->mailbox))));
}

/* Subjects are strangers' text: control characters would speak to the terminal. */
static void print_text(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		putchar((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static bool print_gone(void *ctx, const struct gone *g)
{
	const struct choice *c = ctx;
	time_t at = (time_t)(g->gone_ms / 1000);
	char when[32];
	struct tm tm;

	if (!is_chosen(c, g))
		return true;
	gmtime_r(&at, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%s\t", when);
	print_text(g->name);
	printf("%s\t%u\t%u\t", g->mailbox_deleted ? " (deleted)" : "", g->uid, g->size_octets);
	print_text(g->subject);
	putchar('\n');
	return true;
}

static bool add_found(void *ctx, const struct gone *g)
{
	struct finds *f = ctx;

	if (!is_chosen(f->c, g))
		return true;
	f->no_memory = !vec_room(&f->v, f->n, &f->cap, sizeof *f->v);
	if (f->no_memory)
		return false;
	f->v[f->n] = (struct found){ g->mailbox, g->uid, g->mailbox_deleted, "" };
	memcpy(f->v[f->n].name, g->name.p, g->name.n);
	f->n++;
	return true;
}

/* -- bringing back -- */

static enum err_kind find_target(struct store *s, struct str name, uint32_t *out_id, struct err *e)
{
	struct arena *a = arena_new(4096);
	struct mailbox_info info = { .id = 0 };
	enum err_kind k = store_find(s, a, name, &info, e);

	if (k == ERR_NOENT || (k == ERR_OK && info.noselect))
		k = store_create(s, name, &info.id, e);
	arena_free(&a);
	*out_id = info.id;
	return k;
}

/* Messages of one mailbox. */
static enum err_kind bring_back(struct store *s, const struct choice *c, const struct found *v, size_t n,
    size_t *out_back, struct err *e)
{
	uint32_t *uids = calloc(n, sizeof *uids), id;
	struct str to = str_of(c->to != NULL ? c->to : v->name);
	enum err_kind k;

	if (uids == NULL)
		return err_set(e, ERR_TEMP, 0, "no memory");
	for (size_t i = 0; i < n; i++)
		uids[i] = v[i].uid;
	if ((k = find_target(s, to, &id, e)) == ERR_OK)
		k = store_undelete(s, v->mailbox, uids, n, id, out_back, e);
	free(uids);
	if (k == ERR_OK) {
		printf("%zu\t", *out_back);
		print_text(to);
		putchar('\n');
	}
	return k;
}

static enum err_kind bring_all_back(struct store *s, const struct choice *c, struct finds *f, size_t *out_n,
    struct err *e)
{
	enum err_kind k = store_gone_each(s, add_found, f, e);

	*out_n = 0;
	if (k == ERR_OK && f->no_memory)
		return err_set(e, ERR_TEMP, 0, "no memory");
	for (size_t i = 0, next; k == ERR_OK && i < f->n; i = next) {
		size_t back = 0;

		for (next = i + 1; next < f->n && f->v[next].mailbox == f->v[i].mailbox; next++)
			;
		k = bring_back(s, c, &f->v[i], next - i, &back, e);
		*out_n += back;
	}
	return k;
}

static int undelete(struct store *s, void *arg)
{
	struct choice *c = arg;
	struct finds f = { .c = c };
	struct err e;
	size_t n = 0;
	enum err_kind k;

	if (c->list)
		return store_gone_each(s, print_gone, c, &e) == ERR_OK ? 0 : ctl_err(&e);
	k = bring_all_back(s, c, &f, &n, &e);
	free(f.v);
	if (k != ERR_OK)
		return ctl_err(&e);
	return n > 0 ? 0 : ctl_fail(EX_NOINPUT, "nothing like that can be brought back");
}

int cmd_undelete(struct ctl *c, int argc, char **argv)
{
	struct choice choice;
	int status = parse(argc - 1, argv + 1, &choice);

	return status != 0 ? status : ctl_in_store(c, argv[0], false, undelete, &choice);
}
