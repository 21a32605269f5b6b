/* SPDX-License-Identifier: ISC */
/* The arguments of every IMAP command: the first octet chooses the parser, the rest is its text. */
#include <stdint.h>

#include "../../imapd/fetchatt.h"
#include "../../imapd/flags.h"
#include "../../imapd/pattern.h"
#include "../../imapd/searchprog.h"
#include "../../imapd/seqset.h"
#include "../../libbase/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_seqset(struct cursor *c, struct arena *a)
{
	struct seqset s;

	if (!seqset_parse(c, a, &s))
		return;
	seqset_resolve(&s, 100);
	for (size_t i = 1; i < s.n; i++)
		if (s.v[i].lo <= s.v[i - 1].hi)
			err_bug("ranges touch");
}

static void fuzz_fetch(struct cursor *c, struct arena *a)
{
	struct fetch_atts f;

	if (fetchatt_parse(c, a, &f) && f.n > FETCH_ATTS_MAX)
		err_bug("too many items");
}

static void fuzz_search(struct cursor *c, struct arena *a)
{
	struct search s;

	if (search_parse(c, a, &s) == SEARCH_PARSED && s.root == NULL)
		err_bug("no program");
	search_free(&s);
}

static void fuzz_flags(struct cursor *c, struct arena *a)
{
	struct flag_list f;

	(void)flags_parse(c, a, true, &f);
}

static void fuzz_strings(struct cursor *c, struct arena *a)
{
	struct str s;

	while (tok_astring(c, a, &s) && tok_sp(c))
		;
}

static void fuzz_pattern(struct cursor *c, struct arena *a)
{
	static struct pattern p;
	struct str s;

	if (!tok_list_mailbox(c, a, &s))
		return;
	pattern_init(&p, s);
	(void)pattern_match(&p, s, true);
}

static void fuzz_tag(struct cursor *c, struct arena *a)
{
	struct literal lit;
	struct str tag;
	size_t at;

	(void)a;
	if (tok_tag(c, &tag) && tok_literal_at_end(str_n(c->p, (size_t)(c->end - c->p)), &lit, &at) &&
	    c->p[at] != '{')
		err_bug("a literal without a brace");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static void (*const parsers[])(struct cursor *, struct arena *) = {
		fuzz_seqset, fuzz_fetch, fuzz_search, fuzz_flags, fuzz_strings, fuzz_pattern, fuzz_tag
	};
	struct arena *a;
	struct cursor c;

	if (n == 0)
		return 0;
	a = arena_new(8 << 20);
	c = cursor_of(str_n((const char *)data + 1, n - 1));
	parsers[data[0] % COUNTOF(parsers)](&c, a);
	arena_free(&a);
	return 0;
}
