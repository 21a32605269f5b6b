/* SPDX-License-Identifier: ISC */
/* Flag lists, both ways. */
#include "flags.h"

static const struct {
	const char *name;
	uint32_t flag;
} system_flags[] = {
	{ "\\Answered", MSG_ANSWERED }, { "\\Flagged", MSG_FLAGGED }, { "\\Deleted", MSG_DELETED },
	{ "\\Seen", MSG_SEEN }, { "\\Draft", MSG_DRAFT }, { "\\Recent", MSG_RECENT },
};

static void add_keyword(struct flag_list *out, struct str name)
{
	if (name.n > STORE_KEYWORD_MAX_OCTETS) {
		out->over = true;
		return;
	}
	for (size_t i = 0; i < out->n_keywords; i++)
		if (str_eq_nocase(out->keywords[i], name))
			return;
	if (out->n_keywords == STORE_KEYWORDS_MAX)
		out->over = true;
	else
		out->keywords[out->n_keywords++] = name;
}

static bool one_flag(struct cursor *c, struct flag_list *out)
{
	const char *start = c->p;
	bool is_system = tok_char(c, '\\');
	struct str name;

	if (!tok_atom(c, &name))
		return false;
	name = str_n(start, (size_t)(c->p - start));
	if (!is_system) {
		add_keyword(out, name);
		return true;
	}
	for (size_t i = 0; i < COUNTOF(system_flags); i++) {
		if (str_eq_nocase(name, str_of(system_flags[i].name))) {
			out->flags |= system_flags[i].flag & MSG_STORED_FLAGS;
			return true;
		}
	}
	return false;
}

bool flags_parse(struct cursor *c, struct arena *a, bool bare_allowed, struct flag_list *out)
{
	bool parens = tok_char(c, '(');

	*out = (struct flag_list){ 0 };
	if (!parens && !bare_allowed)
		return false;
	out->keywords = arena_array(a, STORE_KEYWORDS_MAX, sizeof(*out->keywords));
	if (out->keywords == NULL)
		return false;
	if (parens && tok_char(c, ')'))
		return true;
	do {
		if (!one_flag(c, out))
			return false;
	} while (tok_sp(c));
	return parens ? tok_char(c, ')') : true;
}

size_t flags_put_system(struct buf *out, uint32_t flags)
{
	size_t n = 0;

	for (size_t i = 0; i < COUNTOF(system_flags); i++) {
		if ((flags & system_flags[i].flag) == 0)
			continue;
		if (n++ > 0)
			(void)buf_putc(out, ' ');
		(void)buf_put(out, str_of(system_flags[i].name));
	}
	return n;
}

void flags_put_message(struct buf *out, const struct mailbox *mb, const struct message *m)
{
	size_t n;

	(void)buf_putc(out, '(');
	n = flags_put_system(out, m->flags);
	for (uint64_t left = m->keywords; left != 0; left &= left - 1) {
		if (n++ > 0)
			(void)buf_putc(out, ' ');
		(void)buf_put(out, mailbox_keyword(mb, (size_t)__builtin_ctzll(left)));
	}
	(void)buf_putc(out, ')');
}
