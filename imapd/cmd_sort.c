/* SPDX-License-Identifier: ISC */
/* SORT and THREAD with their UID forms (RFC 5256, RFC 5957). All that order and threads ask for is
 * in the records; no message is read for them. */
#include "../libmail/sortkey.h"
#include "../libmail/thread.h"
#include "cmd_search.h"

enum {
	SORT_ARENA_MAX_BYTES = 256 << 20,	/* keys of about two million messages */
	FOLDED_MAX_OCTETS = RECORD_SUBJECT_MAX_OCTETS * 12,
	NUMBERS_A_PUT = 256,
};

/* "charset SP search-keys" behind the command's own arguments. False: has answered. */
static bool parse_program(struct imap_session *s, struct cursor *args, struct search *search)
{
	struct str charset;
	enum search_result r = tok_sp(args) && tok_astring(args, s->a, &charset) && tok_sp(args) ?
	    search_parse_in(args, s->a, charset, search) : SEARCH_SYNTAX;

	if (r != SEARCH_PARSED)
		search_refuse(s, r);
	return r == SEARCH_PARSED;
}

static uint32_t number_of(const struct imap_session *s, const struct search_run *r)
{
	return (s->cmd->flags & CMD_UID) != 0 ? r->m->uid : r->msgno;
}

static size_t n_told(const struct imap_session *s)
{
	return s->told_exists < mailbox_n(s->mb) ? s->told_exists : mailbox_n(s->mb);
}

/* -- SORT -- */

static bool parse_order(struct cursor *c, struct sort_order *o)
{
	static const struct { const char *name; enum sort_by by; } names[] = {
		{ "ARRIVAL", SORT_ARRIVAL }, { "CC", SORT_CC }, { "DATE", SORT_DATE },
		{ "FROM", SORT_FROM }, { "SIZE", SORT_SIZE }, { "SUBJECT", SORT_SUBJECT }, { "TO", SORT_TO },
		{ "DISPLAYFROM", SORT_DISPLAYFROM }, { "DISPLAYTO", SORT_DISPLAYTO },
	};

	if (!tok_sp(c) || !tok_char(c, '('))
		return false;
	do {
		bool reverse = tok_word(c, "REVERSE");
		size_t i = 0;

		if (reverse && !tok_sp(c))
			return false;
		while (i < COUNTOF(names) && !tok_word(c, names[i].name))
			i++;
		if (i == COUNTOF(names) || !sort_order_add(o, names[i].by, reverse))
			return false;
	} while (tok_sp(c));
	return tok_char(c, ')');
}

/* The messages that match, with their keys. False: the arena is full. */
static bool gather_items(struct imap_session *s, struct search_run *r, const struct sort_order *o,
    struct arena *a, struct sort_item *items, size_t *out_n, uint64_t *out_modseq)
{
	for (size_t ix = 0; ix < n_told(s); ix++) {
		struct sort_item *item = &items[*out_n];

		if (!search_run_matches(r, ix))
			continue;
		item->msgno = r->msgno;
		item->number = number_of(s, r);
		if (!sort_item_fill(a, o, o->needs_record ? search_run_record(r) : NULL,
		    r->m->internaldate_s, r->m->size_octets, item))
			return false;
		++*out_n;
		*out_modseq = r->m->modseq > *out_modseq ? r->m->modseq : *out_modseq;
	}
	return true;
}

static void put_numbers(struct imap_session *s, const struct sort_item *items, size_t n)
{
	struct buf *out;

	conn_put(s->c, STR("* SORT"));
	out = conn_out(s->c);
	for (size_t i = 0; i < n; i++) {
		if (i % NUMBERS_A_PUT == 0)
			out = conn_out(s->c);
		(void)buf_putc(out, ' ');
		(void)buf_put_u64(out, items[i].number);
	}
}

static void sort(struct imap_session *s, const struct sort_order *o, const struct search *search,
    struct search_run *r)
{
	struct arena *a = arena_new(SORT_ARENA_MAX_BYTES);
	struct sort_item *items = arena_array(a, n_told(s), sizeof *items);
	uint64_t modseq = 0;
	size_t n = 0;
	bool fits = items != NULL && gather_items(s, r, o, a, items, &n, &modseq);

	if (fits) {
		sort_items(o, items, n);
		put_numbers(s, items, n);
		if (search->has_modseq && n > 0)
			conn_printf(s->c, " (MODSEQ %llu)", (unsigned long long)modseq);
		conn_put(s->c, STR("\r\n"));
	} else if (!r->failed) {
		r->failed = true;
		(void)err_set(&r->e, ERR_LIMIT, 0, "too many messages to sort");
	}
	arena_free(&a);
}

void cmd_sort(struct imap_session *s, struct cursor *args)
{
	struct sort_order o = { .n = 0 };
	struct search search = { 0 };
	struct search_run r;

	if (!parse_order(args, &o)) {
		reply_bad(s, "Syntax error in SORT");
	} else if (parse_program(s, args, &search) && search_begin(s, &search, &r)) {
		sort(s, &o, &search, &r);
		search_end(s, &r, "Sort completed");
	}
	search_free(&search);
}

/* -- THREAD -- */

static bool parse_algorithm(struct cursor *c, enum thread_algorithm *out)
{
	if (!tok_sp(c))
		return false;
	*out = tok_word(c, "REFERENCES") ? THREAD_REFERENCES : THREAD_ORDEREDSUBJECT;
	return *out == THREAD_REFERENCES || tok_word(c, "ORDEREDSUBJECT");
}

/* Takes the message that was looked at in. False: memory is used up. */
static bool add_message(struct imap_session *s, struct search_run *r, struct threads *t,
    struct arena *a)
{
	struct buf folded = BUF_INIT(FOLDED_MAX_OCTETS);
	const struct record *rec = search_run_record(r);
	struct thread_message m = { .number = number_of(s, r), .sent_s = r->m->internaldate_s };
	bool ok = true;

	if (rec != NULL) {
		m.id = record_message_id(rec);
		m.sent_s = rec->has_sent ? rec->sent_s : m.sent_s;
		m.is_reply = rec->is_reply;
		ok = text_fold(&folded, record_base_subject(rec));
		m.subject = str_dup(a, buf_str(&folded));
		ok = ok && m.subject.p != NULL;
	}
	buf_free(&folded);
	if (!ok || !threads_add(t, &m))
		return false;
	if (rec != NULL)
		threads_references_of(t, rec);
	return true;
}

static void put_piece(void *ctx, struct buf *b)
{
	struct imap_session *s = ctx;

	conn_put(s->c, buf_str(b));
	buf_reset(b);
}

static void thread(struct imap_session *s, enum thread_algorithm how, struct search_run *r)
{
	struct arena *a = arena_new(SORT_ARENA_MAX_BYTES);
	struct threads *t = threads_new(how);
	size_t n = 0;
	bool fits = true;

	for (size_t ix = 0; fits && ix < n_told(s); ix++) {
		if (!search_run_matches(r, ix))
			continue;
		fits = add_message(s, r, t, a);
		n++;
	}
	if (fits) {
		threads_make(t);
		conn_put(s->c, n > 0 ? STR("* THREAD ") : STR("* THREAD"));
		threads_put(t, put_piece, s);
		conn_put(s->c, STR("\r\n"));
	} else {
		r->failed = true;
		(void)err_set(&r->e, ERR_LIMIT, 0, "too many messages to thread");
	}
	threads_free(&t);
	arena_free(&a);
}

void cmd_thread(struct imap_session *s, struct cursor *args)
{
	struct search search = { 0 };
	enum thread_algorithm how;
	struct search_run r;

	if (!parse_algorithm(args, &how)) {
		reply_bad(s, "Syntax error in THREAD, or unknown algorithm");
	} else if (parse_program(s, args, &search) && search_begin(s, &search, &r)) {
		thread(s, how, &r);
		search_end(s, &r, "Thread completed");
	}
	search_free(&search);
}
