/* SPDX-License-Identifier: ISC */
/* Parser of SEARCH programs. The tree is built with an explicit stack of at most
 * SEARCH_DEPTH_MAX open groups, and a chain of NOTs is only counted, so that depth of input
 * never becomes depth of stack. Invariant: a node's children stand in ascending cost once its
 * group is closed. */
#include "searchprog.h"

#include "../libmail/charset.h"
#include "../libmail/date.h"
#include "../libmail/mutf7.h"
#include "../libstore/mailbox.h"

enum key_arg {
	ARG_NONE, ARG_STRING, ARG_FIELD_STRING, ARG_KEYWORD, ARG_SET, ARG_NUMBER, ARG_MODSEQ,
	ARG_BEFORE, ARG_ON, ARG_SINCE
};

static const struct search_key {
	const char *name;
	enum search_op op;
	enum key_arg arg;
	bool negate;
	uint32_t flag;
	const char *field;
} keys[] = {
	{ "ALL", SEARCH_TRUE, ARG_NONE, false, 0, NULL },
	{ "ANSWERED", SEARCH_FLAG, ARG_NONE, false, MSG_ANSWERED, NULL },
	{ "BCC", SEARCH_HEADER, ARG_STRING, false, 0, "Bcc" },
	{ "BEFORE", SEARCH_DAYS, ARG_BEFORE, false, 0, NULL },
	{ "BODY", SEARCH_BODY, ARG_STRING, false, 0, NULL },
	{ "CC", SEARCH_HEADER, ARG_STRING, false, 0, "Cc" },
	{ "DELETED", SEARCH_FLAG, ARG_NONE, false, MSG_DELETED, NULL },
	{ "DRAFT", SEARCH_FLAG, ARG_NONE, false, MSG_DRAFT, NULL },
	{ "FLAGGED", SEARCH_FLAG, ARG_NONE, false, MSG_FLAGGED, NULL },
	{ "FROM", SEARCH_HEADER, ARG_STRING, false, 0, "From" },
	{ "HEADER", SEARCH_HEADER, ARG_FIELD_STRING, false, 0, NULL },
	{ "KEYWORD", SEARCH_KEYWORD, ARG_KEYWORD, false, 0, NULL },
	{ "LARGER", SEARCH_LARGER, ARG_NUMBER, false, 0, NULL },
	{ "MODSEQ", SEARCH_MODSEQ, ARG_MODSEQ, false, 0, NULL },
	{ "NEW", SEARCH_NEW, ARG_NONE, false, 0, NULL },
	{ "OLD", SEARCH_FLAG, ARG_NONE, true, MSG_RECENT, NULL },
	{ "ON", SEARCH_DAYS, ARG_ON, false, 0, NULL },
	{ "RECENT", SEARCH_FLAG, ARG_NONE, false, MSG_RECENT, NULL },
	{ "SEEN", SEARCH_FLAG, ARG_NONE, false, MSG_SEEN, NULL },
	{ "SENTBEFORE", SEARCH_SENT_DAYS, ARG_BEFORE, false, 0, NULL },
	{ "SENTON", SEARCH_SENT_DAYS, ARG_ON, false, 0, NULL },
	{ "SENTSINCE", SEARCH_SENT_DAYS, ARG_SINCE, false, 0, NULL },
	{ "SINCE", SEARCH_DAYS, ARG_SINCE, false, 0, NULL },
	{ "SMALLER", SEARCH_SMALLER, ARG_NUMBER, false, 0, NULL },
	{ "SUBJECT", SEARCH_HEADER, ARG_STRING, false, 0, "Subject" },
	{ "TEXT", SEARCH_TEXT, ARG_STRING, false, 0, NULL },
	{ "TO", SEARCH_HEADER, ARG_STRING, false, 0, "To" },
	{ "UID", SEARCH_UID, ARG_SET, false, 0, NULL },
	{ "UNANSWERED", SEARCH_FLAG, ARG_NONE, true, MSG_ANSWERED, NULL },
	{ "UNDELETED", SEARCH_FLAG, ARG_NONE, true, MSG_DELETED, NULL },
	{ "UNDRAFT", SEARCH_FLAG, ARG_NONE, true, MSG_DRAFT, NULL },
	{ "UNFLAGGED", SEARCH_FLAG, ARG_NONE, true, MSG_FLAGGED, NULL },
	{ "UNKEYWORD", SEARCH_KEYWORD, ARG_KEYWORD, true, 0, NULL },
	{ "UNSEEN", SEARCH_FLAG, ARG_NONE, true, MSG_SEEN, NULL },
};

/* A group that waits for keys: AND takes them up to its ')' (the outermost: up to the end), OR
 * takes two. */
struct open_group {
	struct search_node *node;
	bool parens;
	unsigned wants;			/* OR: keys still to come */
};

struct parser {
	struct cursor *c;
	struct arena *a;
	struct search *s;
	struct str charset;
	enum search_result why;		/* what to answer when a function says false */
	struct open_group stack[SEARCH_DEPTH_MAX];
	size_t depth;
	bool negate;			/* an odd number of NOTs stands before the next key */
	bool finished;			/* a key was handed to its group */
};

static bool fail(struct parser *p, enum search_result why)
{
	p->why = why;
	return false;
}

static struct search_node *new_node(struct parser *p, enum search_op op)
{
	struct search *s = p->s;
	struct search_node *n = arena_alloc(p->a, sizeof(*n));

	if (n != NULL && s->n_nodes == s->cap_nodes) {
		size_t cap = s->cap_nodes == 0 ? 32 : s->cap_nodes * 2;
		struct search_node **v = arena_array(p->a, cap, sizeof(struct search_node *));

		if (v != NULL && s->n_nodes > 0)
			memcpy(v, s->nodes, s->n_nodes * sizeof(struct search_node *));
		s->nodes = v != NULL ? v : s->nodes;
		s->cap_nodes = v != NULL ? cap : s->cap_nodes;
	}
	if (n == NULL || s->n_nodes == s->cap_nodes) {
		(void)fail(p, SEARCH_OVER);
		return NULL;
	}
	n->op = op;
	n->cost = op <= SEARCH_MODSEQ ? 0 : op == SEARCH_SENT_DAYS ? 1 : op == SEARCH_HEADER ? 2 : 3;
	s->nodes[s->n_nodes++] = n;
	return n;
}

/* Behind the last child that costs no more, so that dear keys are asked last and equals stay in
 * order. */
static void add_child(struct search_node *group, struct search_node *n)
{
	struct search_node **at = &group->first;

	while (*at != NULL && (*at)->cost <= n->cost)
		at = &(*at)->next;
	n->next = *at;
	*at = n;
}

static bool open_group(struct parser *p, enum search_op op, bool parens)
{
	struct search_node *n;

	if (p->depth == SEARCH_DEPTH_MAX)
		return fail(p, SEARCH_OVER);
	n = new_node(p, op);
	if (n == NULL)
		return false;
	n->negate = p->negate;
	p->negate = false;
	p->stack[p->depth++] = (struct open_group){ .node = n, .parens = parens,
	    .wants = op == SEARCH_OR ? 2 : 0 };
	return true;
}

/* Hands a finished key to the innermost group; an OR that has both is finished itself. */
static void deliver(struct parser *p, struct search_node *n)
{
	p->finished = true;
	for (;;) {
		struct open_group *g = &p->stack[p->depth - 1];

		add_child(g->node, n);
		if (g->wants == 0 || --g->wants > 0)
			return;
		n = g->node;
		n->cost = 0;
		for (struct search_node *k = n->first; k != NULL; k = k->next)
			n->cost = k->cost > n->cost ? k->cost : n->cost;
		p->depth--;
	}
}

static bool close_group(struct parser *p)
{
	struct search_node *n = p->stack[p->depth - 1].node;

	if (p->depth < 2 || !p->stack[p->depth - 1].parens || n->first == NULL)
		return fail(p, SEARCH_SYNTAX);
	n->cost = 0;
	for (struct search_node *k = n->first; k != NULL; k = k->next)
		n->cost = k->cost > n->cost ? k->cost : n->cost;
	p->depth--;
	deliver(p, n);
	return true;
}

static bool needle_arg(struct parser *p, struct search_node *n)
{
	struct buf utf8 = BUF_INIT(TEXT_NEEDLE_MAX_OCTETS * 4);
	struct str text;
	bool ok;

	if (!tok_sp(p->c) || !tok_astring(p->c, p->a, &text))
		return fail(p, SEARCH_SYNTAX);
	if (p->s->n_needles++ == SEARCH_NEEDLES_MAX)
		return fail(p, SEARCH_OVER);
	ok = charset_to_utf8(&utf8, p->charset, text) <= CHARSET_BAD_OCTETS &&
	    needle_init(&n->needle, buf_str(&utf8));
	buf_free(&utf8);
	return ok || fail(p, SEARCH_OVER);
}

static bool date_arg(struct parser *p, struct search_node *n, enum key_arg how)
{
	struct str text;
	int64_t day;

	if (!tok_sp(p->c) || !tok_astring(p->c, p->a, &text) || !date_parse_imap_day(text, &day))
		return fail(p, SEARCH_SYNTAX);
	n->day_from = how == ARG_BEFORE ? INT64_MIN : day;
	n->day_to = how == ARG_BEFORE ? day : how == ARG_ON ? day + 1 : INT64_MAX;
	return true;
}

/* MODSEQ ["/flags/\\draft" all] n: one mod-sequence a message, so the entry is read and ignored. */
static bool modseq_arg(struct parser *p, struct search_node *n)
{
	struct str entry, type;

	if (!tok_sp(p->c))
		return fail(p, SEARCH_SYNTAX);
	if (tok_look(p->c) == '"' &&
	    (!tok_string(p->c, p->a, &entry) || !tok_sp(p->c) || !tok_atom(p->c, &type) ||
	     !tok_sp(p->c)))
		return fail(p, SEARCH_SYNTAX);
	p->s->has_modseq = true;
	return tok_number(p->c, INT64_MAX, &n->number) || fail(p, SEARCH_SYNTAX);
}

static bool read_arg(struct parser *p, struct search_node *n, const struct search_key *key)
{
	switch (key->arg) {
	case ARG_NONE:
		return true;
	case ARG_STRING:
		n->name = key->field != NULL ? str_of(key->field) : n->name;
		return needle_arg(p, n);
	case ARG_FIELD_STRING:
		return ((tok_sp(p->c) && tok_astring(p->c, p->a, &n->name)) ||
		    fail(p, SEARCH_SYNTAX)) && needle_arg(p, n);
	case ARG_KEYWORD:
		return (tok_sp(p->c) && tok_atom(p->c, &n->name)) || fail(p, SEARCH_SYNTAX);
	case ARG_SET:
		return (tok_sp(p->c) && seqset_parse(p->c, p->a, &n->set)) || fail(p, SEARCH_SYNTAX);
	case ARG_NUMBER:
		return (tok_sp(p->c) && tok_number(p->c, UINT32_MAX, &n->number)) ||
		    fail(p, SEARCH_SYNTAX);
	case ARG_MODSEQ:
		return modseq_arg(p, n);
	case ARG_BEFORE:
	case ARG_ON:
	case ARG_SINCE:
		return date_arg(p, n, key->arg);
	}
	return fail(p, SEARCH_SYNTAX);
}

static bool leaf(struct parser *p, const struct search_key *key)
{
	struct search_node *n = new_node(p, key->op);

	if (n == NULL)
		return false;
	n->negate = key->negate != p->negate;
	n->flag = key->flag;
	p->negate = false;
	if (!read_arg(p, n, key))
		return false;
	deliver(p, n);
	return true;
}

static bool sequence(struct parser *p)
{
	static const struct search_key seq = { "", SEARCH_SEQ, ARG_NONE, false, 0, NULL };
	struct seqset set;
	size_t at = p->s->n_nodes;

	if (!seqset_parse(p->c, p->a, &set))
		return fail(p, SEARCH_SYNTAX);
	if (!leaf(p, &seq))
		return false;
	p->s->nodes[at]->set = set;
	return true;
}

static bool named_key(struct parser *p)
{
	struct str word;

	if (!tok_atom(p->c, &word))
		return fail(p, SEARCH_SYNTAX);
	if (str_eq_nocase(word, STR("NOT"))) {
		p->negate = !p->negate;
		return tok_sp(p->c) || fail(p, SEARCH_SYNTAX);
	}
	if (str_eq_nocase(word, STR("OR")))
		return open_group(p, SEARCH_OR, false) && (tok_sp(p->c) || fail(p, SEARCH_SYNTAX));
	for (size_t i = 0; i < COUNTOF(keys); i++)
		if (str_eq_nocase(word, str_of(keys[i].name)))
			return leaf(p, &keys[i]);
	return fail(p, SEARCH_SYNTAX);
}

/* One key, or the beginning of one: '(', NOT and OR only open something, and the loop reads on. */
static bool key_start(struct parser *p)
{
	char ch = tok_look(p->c);

	p->finished = false;
	if (tok_char(p->c, '('))
		return open_group(p, SEARCH_AND, true);
	return ch == '*' || ascii_is_digit(ch) ? sequence(p) : named_key(p);
}

static bool program(struct parser *p)
{
	if (!open_group(p, SEARCH_AND, true))
		return false;
	for (;;) {
		if (!key_start(p))
			return false;
		if (!p->finished)
			continue;
		while (tok_char(p->c, ')'))
			if (!close_group(p))
				return false;
		if (tok_end(p->c))
			break;
		if (!tok_sp(p->c))
			return fail(p, SEARCH_SYNTAX);
	}
	if (p->depth != 1)
		return fail(p, SEARCH_SYNTAX);
	p->s->root = p->stack[0].node;
	return true;
}

enum search_result search_parse_in(struct cursor *c, struct arena *a, struct str charset,
    struct search *out)
{
	struct parser p = { .c = c, .a = a, .s = out, .charset = charset, .why = SEARCH_SYNTAX };

	*out = (struct search){ 0 };
	if (!charset_known(charset))
		return SEARCH_BADCHARSET;
	return program(&p) ? SEARCH_PARSED : p.why;
}

enum search_result search_parse(struct cursor *c, struct arena *a, struct search *out)
{
	struct str charset = STR("UTF-8");

	*out = (struct search){ 0 };
	if (tok_word(c, "CHARSET") && (!tok_sp(c) || !tok_astring(c, a, &charset) || !tok_sp(c)))
		return SEARCH_SYNTAX;
	return search_parse_in(c, a, charset, out);
}

void search_free(struct search *s)
{
	for (size_t i = 0; i < s->n_nodes; i++)
		needle_free(&s->nodes[i]->needle);
	*s = (struct search){ 0 };
}

struct search_node *search_node_at(const struct search *s, size_t k)
{
	return k < s->n_nodes ? s->nodes[k] : NULL;
}
