/* SPDX-License-Identifier: ISC */
/* GETMETADATA and SETMETADATA (RFC 5464). An entry "/shared/x" is the attribute "/x" that
 * belongs to everybody, "/private/x" the same of the user whose store this is. */
#include <stdio.h>

#include "../libstore/attr.h"
#include "session.h"

enum { METADATA_ENTRIES_MAX = ATTRS_MAX, DEPTH_INFINITY = INT32_MAX };

/* The server's own entries are computed, and can't be set (RFC 5464 s.6.2.2). */
static const char admin_entry[] = "/shared/admin";

struct entry {
	struct str name;		/* as sent */
	struct str owner, rest;		/* of the attribute; rest may be empty when reading */
};

struct getting {
	uint32_t mailbox;
	struct str mailbox_name;
	int depth;
	uint64_t max_octets, longest;	/* longest: of the values that are longer than max_octets; 0: none */
	struct attr *v;
	size_t n;
	bool open;			/* "* METADATA … (" is said */
};

size_t metadata_max_octets(const struct imap_session *s)
{
	size_t half = s->conf->max_command_bytes / 2;	/* the rest of the command needs room, too */

	return half < ATTR_VALUE_MAX_OCTETS ? half : ATTR_VALUE_MAX_OCTETS;
}

/* -- entries -- */

static bool entry_octets_ok(struct str name)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 0x20 || c > 0x7e || c == '*' || c == '%' ||
		    (c == '/' && i + 1 < name.n && name.p[i + 1] == '/'))
			return false;
	}
	return name.n > 0 && name.p[name.n - 1] != '/';
}

/* RFC 5464 s.3. False for what can be no entry's name. */
static bool entry_parse(struct str name, struct entry *out)
{
	static const struct { struct str prefix, owner; } scopes[] = {
		{ STR_INIT("/private"), STR_INIT(ATTR_OWNER_SELF) },
		    { STR_INIT("/shared"), STR_INIT("") },
	};

	if (!entry_octets_ok(name))
		return false;
	for (size_t i = 0; i < COUNTOF(scopes); i++) {
		struct str rest = str_skip(name, scopes[i].prefix.n);

		if (str_starts_nocase(name, scopes[i].prefix) &&
		    (rest.n == 0 || rest.p[0] == '/')) {
			*out = (struct entry){ name, scopes[i].owner, rest };
			return true;
		}
	}
	return false;
}

/* The id of the mailbox that an argument names; the empty name is the server. False: has
 * answered. */
static bool find_place(struct imap_session *s, struct str name, uint32_t *out)
{
	struct mailbox_info info;
	struct err e;

	*out = ATTR_STORE;
	if (name.n == 0)
		return true;
	if (store_find(s->store, s->a, name, &info, &e) != ERR_OK) {
		reply_err(s, &e, "metadata");
		return false;
	}
	*out = info.id;
	if (info.noselect)
		reply_no(s, "CANNOT", "No metadata for a name without a mailbox");
	return !info.noselect;
}

/* -- GETMETADATA -- */

static bool option(struct cursor *c, struct getting *g)
{
	if (tok_word(c, "MAXSIZE"))
		return tok_sp(c) && tok_number(c, UINT32_MAX, &g->max_octets);
	if (!tok_word(c, "DEPTH") || !tok_sp(c))
		return false;
	g->depth = tok_word(c, "0") ? 0 : tok_word(c, "1") ? 1 : tok_word(c, "infinity") ?
	    DEPTH_INFINITY : -1;
	return g->depth >= 0;
}

/* "(MAXSIZE 1024 DEPTH 1)" and the blank at the given side of it. The grammar has options in
 * front of the mailbox, the examples have them behind it; both are taken. */
static bool options(struct cursor *c, struct getting *g)
{
	if (!tok_char(c, '('))
		return false;
	do {
		if (!option(c, g))
			return false;
	} while (tok_sp(c));
	return tok_char(c, ')');
}

/* Is this what options begin with, and not a list of entries? */
static bool at_options(struct cursor c)
{
	return tok_char(&c, '(') && (tok_word(&c, "MAXSIZE") || tok_word(&c, "DEPTH"));
}

/* False: syntax; *out_n counts what is no entry's name, too, with an empty name. */
static bool entries(struct imap_session *s, struct cursor *c, struct entry *out, size_t *out_n)
{
	bool list = tok_char(c, '(');
	struct str name;

	*out_n = 0;
	do {
		if (*out_n == METADATA_ENTRIES_MAX || !tok_astring(c, s->a, &name) ||
		    !entry_parse(name, &out[*out_n]))
			return false;
		++*out_n;
	} while (list && tok_sp(c));
	return !list || tok_char(c, ')');
}

static void put_value(struct buf *out, struct str value)
{
	if (value.p == NULL)
		(void)buf_put(out, STR("NIL"));
	else if (!str_has(value, '\0'))
		put_string(out, value);
	else {				/* literal8: RFC 3516 s.4.4 */
		(void)buf_printf(out, "~{%zu}\r\n", value.n);
		(void)buf_put(out, value);
	}
}

static void put_entry(struct imap_session *s, struct getting *g, struct str name, struct str more,
    struct str value)
{
	char joined[ATTR_NAME_MAX_OCTETS + sizeof "/private"];

	if (value.n > g->max_octets) {
		g->longest = value.n > g->longest ? value.n : g->longest;
		return;
	}
	if (!g->open) {
		conn_put(s->c, STR("* METADATA "));
		put_mailbox(conn_out(s->c), g->mailbox_name);
	}
	conn_put(s->c, g->open ? STR(" ") : STR(" ("));
	g->open = true;
	if (more.n > 0) {
		snprintf(joined, sizeof joined, "%.*s%.*s", (int)name.n, name.p, (int)more.n,
		    more.p);
		name = str_of(joined);
	}
	put_astring(conn_out(s->c), name);
	conn_put(s->c, STR(" "));
	put_value(conn_out(s->c), value);
}

/* How many levels is a name below another? -1: not at all. */
static int levels_below(struct str name, struct str top)
{
	int n = 0;

	if (!str_starts_nocase(name, top) || (name.n > top.n && name.p[top.n] != '/'))
		return -1;
	for (size_t i = top.n; i < name.n; i++)
		n += name.p[i] == '/';
	return n;
}

static void put_admin(struct imap_session *s, struct getting *g, const struct entry *en)
{
	char uri[512];

	snprintf(uri, sizeof uri, "mailto:postmaster@%s", s->serve->set->domain);
	put_entry(s, g, en->name, str_n(NULL, 0), str_of(uri));
}

/* What was asked for by name is told in any case: NIL when it is not there. */
static void get_entry(struct imap_session *s, struct getting *g, const struct entry *en)
{
	bool found = false;

	if (g->mailbox == ATTR_STORE && str_eq_nocase(en->name, str_of(admin_entry))) {
		put_admin(s, g, en);
		return;
	}
	for (size_t i = 0; i < g->n; i++) {
		int below = levels_below(g->v[i].name, en->rest);

		if (g->v[i].kind != ATTR_METADATA || !str_eq(g->v[i].owner, en->owner) ||
		    below < 0 || below > g->depth)
			continue;
		put_entry(s, g, en->name, str_skip(g->v[i].name, en->rest.n), g->v[i].value);
		found = found || below == 0;
	}
	if (!found && g->depth == 0)
		put_entry(s, g, en->name, str_n(NULL, 0), str_n(NULL, 0));
}

static bool parse_get(struct imap_session *s, struct cursor *c, struct getting *g, struct entry *en,
    size_t *n)
{
	struct str name;

	if (tok_sp(c) && at_options(*c) && !(options(c, g) && tok_sp(c)))
		return false;
	if (!tok_astring(c, s->a, &name) || !arg_name(s, name, &g->mailbox_name) || !tok_sp(c))
		return false;
	if (at_options(*c) && !(options(c, g) && tok_sp(c)))
		return false;
	return entries(s, c, en, n) && tok_end(c);
}

void cmd_getmetadata(struct imap_session *s, struct cursor *args)
{
	struct entry *en = arena_array(s->a, METADATA_ENTRIES_MAX, sizeof *en);
	struct getting g = { .max_octets = UINT64_MAX };
	char code[64];
	size_t n;
	struct err e;

	if (en == NULL || !parse_get(s, args, &g, en, &n)) {
		reply_bad(s, "Syntax error in GETMETADATA");
		return;
	}
	if (!find_place(s, g.mailbox_name, &g.mailbox))
		return;
	if (attr_list(s->store, g.mailbox, s->a, &g.v, &g.n, &e) != ERR_OK) {
		reply_err(s, &e, "metadata");
		return;
	}
	for (size_t i = 0; i < n; i++)
		get_entry(s, &g, &en[i]);
	if (g.open)
		conn_put(s->c, STR(")\r\n"));
	snprintf(code, sizeof code, "METADATA LONGENTRIES %llu", (unsigned long long)g.longest);
	reply_ok(s, g.longest > 0 ? code : NULL, "Completed");
}

/* -- SETMETADATA -- */

static bool value_of(struct imap_session *s, struct cursor *c, struct str *out)
{
	if (tok_look(c) == '~')
		return tok_literal8(c, out);
	return tok_nstring(c, s->a, out);
}

static bool entry_values(struct imap_session *s, struct cursor *c, struct attr *v, size_t *out_n,
    bool *out_read_only)
{
	struct entry en;
	struct str name;

	*out_n = 0;
	*out_read_only = false;
	if (!tok_char(c, '('))
		return false;
	do {
		struct attr *a = &v[*out_n];

		if (*out_n == METADATA_ENTRIES_MAX || !tok_astring(c, s->a, &name) ||
		    !entry_parse(name, &en) || en.rest.n == 0 || !tok_sp(c) ||
		    !value_of(s, c, &a->value))
			return false;
		a->kind = ATTR_METADATA;
		a->owner = en.owner;
		a->name = en.rest;
		*out_read_only = *out_read_only || str_eq_nocase(en.name, str_of(admin_entry));
		++*out_n;
	} while (tok_sp(c));
	return tok_char(c, ')');
}

static void refuse(struct imap_session *s, const struct attr *v, size_t n, const struct err *e)
{
	char code[64];

	if (e->kind != ERR_LIMIT) {
		reply_err(s, e, "set metadata");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (v[i].name.n > ATTR_NAME_MAX_OCTETS) {
			reply_no(s, "LIMIT", "An entry's name is too long");
			return;
		}
		if (v[i].value.n > metadata_max_octets(s)) {
			snprintf(code, sizeof code, "METADATA MAXSIZE %zu", metadata_max_octets(s));
			reply_no(s, code, "A value is too long");
			return;
		}
	}
	reply_no(s, "METADATA TOOMANY", "Too many entries, or too much in them together");
}

static enum err_kind check_sizes(struct imap_session *s, const struct attr *v, size_t n,
    struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].value.n > metadata_max_octets(s))
			return err_set(e, ERR_LIMIT, 0, "a value of %zu octets", v[i].value.n);
	return ERR_OK;
}

void cmd_setmetadata(struct imap_session *s, struct cursor *args)
{
	struct attr *v = arena_array(s->a, METADATA_ENTRIES_MAX, sizeof *v);
	struct str sent, name;
	bool read_only;
	uint32_t mailbox;
	size_t n;
	struct err e;

	if (v == NULL || !tok_sp(args) || !tok_astring(args, s->a, &sent) ||
	    !arg_name(s, sent, &name) || !tok_sp(args) || !entry_values(s, args, v, &n,
	    &read_only) || !tok_end(args)) {
		reply_bad(s, "Syntax error in SETMETADATA");
		return;
	}
	if (!find_place(s, name, &mailbox))
		return;
	if (read_only && mailbox == ATTR_STORE)
		reply_no(s, "NOPERM", "That entry is the server's");
	else if (check_sizes(s, v, n, &e) != ERR_OK || attr_set(s->store, mailbox, v, n,
	    &e) != ERR_OK)
		refuse(s, v, n, &e);
	else
		reply_ok(s, NULL, "Completed");
}
