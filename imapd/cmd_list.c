/* SPDX-License-Identifier: ISC */
/* LIST and LSUB (RFC 3501 s.6.3.8, s.6.3.9; RFC 3348; RFC 6154). One pass over the sorted names. */
#include "../libmail/mutf7.h"
#include "pattern.h"
#include "session.h"

enum { LIST_ARG_MAX_OCTETS = 64 * 1024 };

static const char *const special_names[] = { "Archive", "Drafts", "Junk", "Sent", "Trash" };

struct listing {
	const char *word;		/* LIST, LSUB */
	struct pattern pattern;
};

static bool matches(const struct listing *l, struct str name)
{
	return pattern_match(&l->pattern, name, str_eq(name, STR("INBOX")));
}

static void put_row(struct imap_session *s, const char *word, const char *attributes, const char *special,
    struct str name)
{
	conn_printf(s->c, "* %s (%s%s%s%s) \"/\" ", word, attributes,
	    special != NULL && attributes[0] != '\0' ? " " : "", special != NULL ? "\\" : "",
	    special != NULL ? special : "");
	put_mailbox(conn_out(s->c), name);
	conn_put(s->c, STR("\r\n"));
}

static const char *special_use(const struct imap_session *s, struct str name)
{
	for (size_t i = 0; i < COUNTOF(special_names) && s->conf->special_use; i++)
		if (str_eq_nocase(name, str_of(special_names[i])))
			return special_names[i];
	return NULL;
}

static void list_rows(struct imap_session *s, const struct listing *l, const struct mailbox_info *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((!v[i].exists && !v[i].noselect) || !matches(l, v[i].name))
			continue;
		put_row(s, l->word, v[i].noselect ?
		    v[i].has_children ? "\\Noselect \\HasChildren" : "\\Noselect \\HasNoChildren" :
		    v[i].has_children ? "\\HasChildren" : "\\HasNoChildren",
		    special_use(s, v[i].name), v[i].name);
	}
}

static bool is_below(struct str name, struct str parent)
{
	return name.n > parent.n && name.p[parent.n] == '/' && str_starts(name, parent);
}

static bool is_subscribed(const struct mailbox_info *v, size_t n, struct str name)
{
	size_t lo = n > 0 && str_eq(v[0].name, STR("INBOX")) ? 1 : 0, hi = n;

	if (lo == 1 && str_eq(name, v[0].name))
		return v[0].subscribed;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (str_cmp(v[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && str_eq(v[lo].name, name) && v[lo].subscribed;
}

/* RFC 3501 s.6.3.9: with '%', a name that is not subscribed but has subscribed names below it is
 * told as \Noselect. Names below one parent stand together, so that the first of them tells the
 * parent. */
static void lsub_parents(struct imap_session *s, const struct listing *l, const struct mailbox_info *v,
    size_t n, struct str name, struct str previous)
{
	for (size_t at = 1; at < name.n; at++) {
		struct str parent = str_head(name, at);

		if (name.p[at] == '/' && !is_below(previous, parent) && matches(l, parent) &&
		    !is_subscribed(v, n, parent))
			put_row(s, l->word, "\\Noselect", NULL, parent);
	}
}

static void lsub_rows(struct imap_session *s, const struct listing *l, const struct mailbox_info *v, size_t n)
{
	struct str previous = STR("");

	for (size_t i = 0; i < n; i++) {
		if (!v[i].subscribed)
			continue;
		if (matches(l, v[i].name))
			put_row(s, l->word, "", NULL, v[i].name);
		else
			lsub_parents(s, l, v, n, v[i].name, previous);
		previous = v[i].name;
	}
}

/* Reads reference and pattern; the interpreted name is the one behind the other (RFC 3501
 * s.6.3.8). *out_root: the pattern is empty. */
static bool list_args(struct imap_session *s, struct cursor *args, struct listing *l, bool *out_root)
{
	struct buf utf8 = BUF_INIT(LIST_ARG_MAX_OCTETS);
	struct str reference, pattern;
	char *both;

	if (!tok_sp(args) || !tok_astring(args, s->a, &reference) || !tok_sp(args) ||
	    !tok_list_mailbox(args, s->a, &pattern) || !tok_end(args) ||
	    (both = arena_alloc(s->a, reference.n + pattern.n)) == NULL) {
		reply_bad(s, "Syntax error in LIST");
		return false;
	}
	if (reference.n > 0)
		memcpy(both, reference.p, reference.n);
	if (pattern.n > 0)
		memcpy(both + reference.n, pattern.p, pattern.n);
	*out_root = pattern.n == 0;
	/* What is no modified UTF-7 fits no name. */
	if (mutf7_to_utf8(&utf8, str_n(both, reference.n + pattern.n)))
		pattern_init(&l->pattern, buf_str(&utf8));
	else
		pattern_init(&l->pattern, STR("/"));
	buf_free(&utf8);
	return true;
}

static void list(struct imap_session *s, struct cursor *args, bool subscribed)
{
	struct listing *l = arena_alloc(s->a, sizeof(*l));
	struct mailbox_info *v;
	bool root;
	size_t n;
	struct err e;

	if (l == NULL || !list_args(s, args, l, &root))
		return;
	l->word = subscribed ? "LSUB" : "LIST";
	if (root && !subscribed) {
		reply_untagged(s, "LIST (\\Noselect) \"/\" \"\"");
	} else if (store_list(s->store, s->a, &v, &n, &e) != ERR_OK) {
		reply_err(s, &e, "list");
		return;
	} else if (subscribed) {
		lsub_rows(s, l, v, n);
	} else {
		list_rows(s, l, v, n);
	}
	reply_ok(s, NULL, "Completed");
}

void cmd_list(struct imap_session *s, struct cursor *args)
{
	list(s, args, false);
}

void cmd_lsub(struct imap_session *s, struct cursor *args)
{
	list(s, args, true);
}
