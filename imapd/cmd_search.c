/* SPDX-License-Identifier: ISC */
/* SEARCH and UID SEARCH (RFC 3501 s.6.4.4, RFC 7162 s.3.1.5). Numbers go out as they are found. */
#include "../libbase/log.h"
#include "cmd_search.h"

enum {
	NUMBERS_A_PUT = 256,
	BUILD_SEGMENTS = 1,	/* indexed after a search that wanted them; about 0.2 s each */
	BUILD_MS = 1000,
};

/* Gives "*" its meaning; numbers past the end match nothing. */
static void resolve_sets(struct imap_session *s, struct search *search)
{
	uint32_t n = s->told_exists;
	uint32_t last_uid = n > 0 && n <= mailbox_n(s->mb) ? mailbox_at(s->mb, n - 1)->uid : 0;
	struct search_node *node;

	for (size_t k = 0; (node = search_node_at(search, k)) != NULL; k++)
		if (node->op == SEARCH_SEQ || node->op == SEARCH_UID)
			seqset_resolve(&node->set, node->op == SEARCH_SEQ ? n : last_uid);
}

static void put_result(struct imap_session *s, struct search_run *r, const struct search *search)
{
	bool uid = (s->cmd->flags & CMD_UID) != 0;
	uint64_t modseq = 0;
	size_t n_found = 0;
	struct buf *out;

	conn_put(s->c, STR("* SEARCH"));
	out = conn_out(s->c);
	for (size_t ix = 0; ix < s->told_exists && ix < mailbox_n(s->mb); ix++) {
		if (!search_run_matches(r, ix))
			continue;
		if (++n_found % NUMBERS_A_PUT == 0)
			out = conn_out(s->c);
		(void)buf_putc(out, ' ');
		(void)buf_put_u64(out, uid ? r->m->uid : ix + 1);
		modseq = r->m->modseq > modseq ? r->m->modseq : modseq;
	}
	if (search->has_modseq && n_found > 0)
		conn_printf(s->c, " (MODSEQ %llu)", (unsigned long long)modseq);
	conn_put(s->c, STR("\r\n"));
}

/* A search that had to read a segment for want of a file makes one, when the client has its answer
 * and has not sent the next command. */
static void index_later(struct imap_session *s)
{
	struct search_build_result made;
	struct err e;

	if (!search_wanting(s->store) || conn_flush(s->c, &e) != ERR_OK || conn_has_input(s->c))
		return;
	if (search_build(s->store, BUILD_SEGMENTS, BUILD_MS, &made, &e) != ERR_OK)
		log_event(LOG_LEVEL_INFO, "imap.search.index", KV_Z("user", s->user), KV_Z("error", e.text));
}

bool search_begin(struct imap_session *s, struct search *search, struct search_run *r)
{
	if (search->has_modseq)
		sync_enable_condstore(s);
	if (!sync_load(s))
		return false;
	resolve_sets(s, search);
	search_run_init(r, s->mb, search);
	return true;
}

void search_end(struct imap_session *s, struct search_run *r, const char *done)
{
	if (r->failed)
		reply_err(s, &r->e, "search");
	else
		reply_ok(s, NULL, done);
	search_run_free(r);
	index_later(s);
}

void search_refuse(struct imap_session *s, enum search_result why)
{
	if (why == SEARCH_BADCHARSET)
		reply_no(s, "BADCHARSET (US-ASCII UTF-8)", "Unknown charset");
	else if (why == SEARCH_OVER)
		reply_no(s, "LIMIT", "Search is too deep or too long");
	else
		reply_bad(s, "Syntax error");
}

void cmd_search(struct imap_session *s, struct cursor *args)
{
	struct search search = { 0 };
	enum search_result parsed = tok_sp(args) ? search_parse(args, s->a, &search) : SEARCH_SYNTAX;
	struct search_run r;

	if (parsed != SEARCH_PARSED) {
		search_refuse(s, parsed);
	} else if (search_begin(s, &search, &r)) {
		put_result(s, &r, &search);
		search_end(s, &r, "Search completed");
	}
	search_free(&search);
}
