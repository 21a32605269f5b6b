/* SPDX-License-Identifier: ISC */
/* Evaluates search programs. The recursion follows the tree, whose depth the parser bounds. A
 * record or a message is opened when the first key needs it and closed with its message. What
 * can't be read matches nothing and is reported. */
#include "searchrun.h"

#include "../libmail/charset.h"
#include "../libmail/mailtext.h"

enum { DAY_S = 86400, NAMES_OCTETS = 4096 };

static size_t add_lookup(struct search_run *r, struct str folded)
{
	if (r->n_lookups == SEARCH_FILTER_NEEDLES_MAX)
		return r->n_lookups;		/* is not looked up: every message may have it */
	r->lookup[r->n_lookups] = folded;
	return r->n_lookups++;
}

/* A field is a text with its name, so a message without the name has no such field. Not so when the
 * name looks like an encoded word: the text has it decoded. */
static struct str name_lookup(struct search_run *r, struct str name)
{
	size_t from = r->names.n;

	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~' || name.p[i] == '=')
			return STR("");
	if (r->names.cap - from < name.n)	/* it must not move */
		return STR("");
	(void)text_fold(&r->names, name);
	return str_skip(buf_str(&r->names), from);
}

static void add_lookups(struct search_run *r, struct search_node *n)
{
	if (n->op != SEARCH_HEADER && n->op != SEARCH_BODY && n->op != SEARCH_TEXT)
		return;
	n->needle_ix = add_lookup(r, buf_str(&n->needle.folded));
	if (n->op == SEARCH_HEADER)
		n->name_ix = add_lookup(r, name_lookup(r, n->name));
}

void search_run_init(struct search_run *r, struct mailbox *mb, struct search *search)
{
	*r = (struct search_run){ .mb = mb, .search = search };
	buf_init(&r->scratch, MAILTEXT_SCRATCH_OCTETS);
	buf_init(&r->names, NAMES_OCTETS);
	(void)buf_reserve(&r->names, NAMES_OCTETS);
	for (size_t k = 0; search_node_at(search, k) != NULL; k++) {
		struct search_node *n = search_node_at(search, k);

		for (size_t i = 0; n->op == SEARCH_KEYWORD && i < mailbox_n_keywords(mb); i++)
			if (str_eq_nocase(mailbox_keyword(mb, i), n->name))
				n->keyword_bit = (uint64_t)1 << i;
		add_lookups(r, n);
	}
	r->filter = search_filter_new(mb, r->lookup, r->n_lookups);
}

void search_run_free(struct search_run *r)
{
	search_filter_free(&r->filter);
	buf_free(&r->names);
	buf_free(&r->scratch);
}

static void note_failure(struct search_run *r, const struct err *e)
{
	if (e->kind == ERR_NOENT)	/* expunged meanwhile: no longer a message to be found */
		return;
	r->failed = true;
	r->e = *e;
}

static bool need_record(struct search_run *r)
{
	struct str data;
	struct err e;

	if (r->has_record)
		return true;
	if (message_record(r->mb, r->m, &data, &e) != ERR_OK ||
	    record_open(data, &r->record, &e) != ERR_OK) {
		note_failure(r, &e);
		return false;
	}
	r->has_record = true;
	return true;
}

static bool need_text(struct search_run *r)
{
	struct err e;

	if (r->has_text)
		return true;
	if (message_open(r->mb, r->m, &r->text, &e) != ERR_OK) {
		note_failure(r, &e);
		return false;
	}
	r->has_text = true;
	return true;
}

/* Days count in UTC: INTERNALDATE is told in UTC, too. */
static int64_t utc_day(int64_t s)
{
	return s >= 0 ? s / DAY_S : -((-s + DAY_S - 1) / DAY_S);
}

static bool in_days(const struct search_node *n, int64_t day)
{
	return n->day_from <= day && day < n->day_to;
}

static bool sent_in_days(struct search_run *r, const struct search_node *n)
{
	struct mail_date d;

	if (!need_record(r) || !r->record.has_sent)
		return false;
	d = (struct mail_date){ r->record.sent_s, r->record.sent_zone_min };
	return in_days(n, date_day(d));
}

static bool see(void *ctx, struct str utf8, bool begins)
{
	struct needle *needle = ctx;

	if (begins)
		needle_restart(needle);
	return needle_feed(needle, utf8);
}

static unsigned solid(const struct needle *n)
{
	return mailtext_is_solid(buf_str(&n->folded)) ? MAILTEXT_SOLID : 0;
}

static struct mailtext texts(const struct search_run *r)
{
	return (struct mailtext){ r->text.prefix, r->text.body, &r->record };
}

/* The record has the decoded subject with blanks collapsed: as good as the field for what has no
 * blanks. */
static bool subject_decides(struct search_run *r, const struct search_node *n)
{
	if (!str_eq_nocase(n->name, STR("Subject")) || n->needle.folded.n == 0)
		return false;
	for (size_t i = 0; i < n->needle.folded.n; i++)
		if ((unsigned char)n->needle.folded.p[i] <= ' ')
			return false;
	return need_record(r) && record_subject_is_whole(&r->record);
}

/* The record tells which fields a message has; what was put before it at delivery is not in the
 * record, so that only the names of an address or subject are sure to be absent. */
static bool header_has(struct search_run *r, struct search_node *n)
{
	static const struct str never_added[] = {
		STR_INIT("From"), STR_INIT("To"), STR_INIT("Cc"), STR_INIT("Bcc"), STR_INIT("Subject"),
		STR_INIT("Message-ID"), STR_INIT("In-Reply-To"), STR_INIT("References"), STR_INIT("Date"),
	};
	struct mailtext t;

	if (subject_decides(r, n))
		return needle_in(&n->needle, record_subject(&r->record));
	for (size_t i = 0; i < COUNTOF(never_added); i++)
		if (str_eq_nocase(n->name, never_added[i]) &&
		    (!need_record(r) || !record_may_have_field(&r->record, n->name)))
			return false;
	if (!need_text(r))
		return false;
	t = texts(r);
	return mailtext_field(&t, n->name, &r->scratch, see, &n->needle);
}

static bool body_has(struct search_run *r, struct needle *needle)
{
	struct mailtext t;

	if (!need_record(r) || !need_text(r))
		return false;
	t = texts(r);
	return mailtext_each(&t, MAILTEXT_BODY | solid(needle), &r->scratch, see, needle);
}

static bool text_has(struct search_run *r, struct needle *needle)
{
	struct mailtext t;

	if (!need_text(r))
		return false;
	t = texts(r);
	return mailtext_each(&t, MAILTEXT_HEADER | solid(needle), &r->scratch, see, needle) ||
	    body_has(r, needle);
}

/* Does the search index leave it open whether the message has what the key asks for? */
static bool may_have(struct search_run *r, const struct search_node *n)
{
	return search_filter_may_have(r->filter, n->needle_ix, r->m) &&
	    (n->op != SEARCH_HEADER || search_filter_may_have(r->filter, n->name_ix, r->m));
}

static bool eval(struct search_run *r, struct search_node *n);

static bool eval_children(struct search_run *r, struct search_node *n)
{
	bool stop_at = n->op == SEARCH_OR;

	for (struct search_node *k = n->first; k != NULL; k = k->next)
		if (eval(r, k) == stop_at)
			return stop_at;
	return !stop_at;
}

static bool eval_op(struct search_run *r, struct search_node *n)
{
	const struct message *m = r->m;

	switch (n->op) {
	case SEARCH_TRUE:
		return true;
	case SEARCH_FLAG:
		return (m->flags & n->flag) != 0;
	case SEARCH_NEW:
		return (m->flags & (MSG_RECENT | MSG_SEEN)) == MSG_RECENT;
	case SEARCH_KEYWORD:
		return (m->keywords & n->keyword_bit) != 0;
	case SEARCH_SEQ:
		return seqset_has(&n->set, r->msgno);
	case SEARCH_UID:
		return seqset_has(&n->set, m->uid);
	case SEARCH_LARGER:
		return m->size_octets > n->number;
	case SEARCH_SMALLER:
		return m->size_octets < n->number;
	case SEARCH_DAYS:
		return in_days(n, utc_day(m->internaldate_s));
	case SEARCH_MODSEQ:
		return m->modseq >= n->number;
	case SEARCH_SENT_DAYS:
		return sent_in_days(r, n);
	case SEARCH_HEADER:
		return may_have(r, n) && header_has(r, n);
	case SEARCH_BODY:
		return may_have(r, n) && body_has(r, &n->needle);
	case SEARCH_TEXT:
		return may_have(r, n) && text_has(r, &n->needle);
	case SEARCH_AND:
	case SEARCH_OR:
		return eval_children(r, n);
	}
	return false;
}

static bool eval(struct search_run *r, struct search_node *n)
{
	return eval_op(r, n) != n->negate;
}

bool search_run_matches(struct search_run *r, size_t ix)
{
	bool yes;

	r->m = mailbox_at(r->mb, ix);
	r->msgno = (uint32_t)ix + 1;
	r->has_record = r->has_text = false;
	yes = !r->m->gone && eval(r, r->search->root);
	if (r->has_text)
		message_close(&r->text);
	return yes;
}

const struct record *search_run_record(struct search_run *r)
{
	return need_record(r) ? &r->record : NULL;
}
