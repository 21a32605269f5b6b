/* SPDX-License-Identifier: ISC */
/* FETCH's items. Pure functions of the command's text. Invariant: labels of the items in one
 * list are distinct. */
#include "fetchatt.h"

#include "../libmail/header.h"

enum { LABEL_MAX_OCTETS = 64 * 1024 };

static const struct {
	const char *name;
	enum fetch_kind kind;
} plain[] = {
	{ "FLAGS", FETCH_FLAGS }, { "UID", FETCH_UID }, { "INTERNALDATE", FETCH_INTERNALDATE },
	{ "RFC822.SIZE", FETCH_SIZE }, { "MODSEQ", FETCH_MODSEQ }, { "ENVELOPE", FETCH_ENVELOPE },
	{ "BODYSTRUCTURE", FETCH_BODYSTRUCTURE }, { "BODY", FETCH_BODY },
};

/* RFC 3501 s.6.4.5: what the old names stand for. */
static const struct {
	const char *name;
	enum section_kind kind;
	bool peek;
} rfc822[] = {
	{ "RFC822", SECTION_ALL, false }, { "RFC822.HEADER", SECTION_HEADER, true },
	{ "RFC822.TEXT", SECTION_TEXT, false },
};

static const struct {
	const char *name;
	enum fetch_kind kinds[5];
	size_t n;
} macros[] = {
	{ "FAST", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE }, 3 },
	{ "ALL", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE }, 4 },
	{ "FULL", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_SIZE, FETCH_ENVELOPE, FETCH_BODY }, 5 },
};

static const struct {
	const char *name;
	enum section_kind kind;
	bool has_fields, after_path_only;
} section_texts[] = {
	{ "HEADER.FIELDS.NOT", SECTION_FIELDS_NOT, true, false },
	{ "HEADER.FIELDS", SECTION_FIELDS, true, false },
	{ "HEADER", SECTION_HEADER, false, false },
	{ "TEXT", SECTION_TEXT, false, false },
	{ "MIME", SECTION_MIME, false, true },
};

static void put(struct fetch_atts *atts, const struct fetch_att *att)
{
	for (size_t i = 0; i < atts->n; i++) {
		if (str_eq(atts->v[i].label, att->label)) {
			atts->v[i].peek &= att->peek;
			return;
		}
	}
	if (atts->n == FETCH_ATTS_MAX)
		atts->over = true;
	else
		atts->v[atts->n++] = *att;
}

void fetchatt_add(struct fetch_atts *atts, enum fetch_kind kind)
{
	for (size_t i = 0; i < COUNTOF(plain); i++)
		if (plain[i].kind == kind)
			put(atts, &(struct fetch_att){ .kind = kind, .peek = true,
			    .label = str_of(plain[i].name) });
}

bool fetchatt_has(const struct fetch_atts *atts, enum fetch_kind kind)
{
	for (size_t i = 0; i < atts->n; i++)
		if (atts->v[i].kind == kind)
			return true;
	return false;
}

/* Takes a word that may end in ']', '<' or anything else that is no letter, digit or dot. */
static struct str item_word(struct cursor *c)
{
	const char *start = c->p;

	while (c->p < c->end && (ascii_is_alpha(*c->p) || ascii_is_digit(*c->p) || *c->p == '.'))
		c->p++;
	return str_n(start, (size_t)(c->p - start));
}

static bool part_path(struct cursor *c, struct arena *a, struct fetch_section *s)
{
	uint64_t n;

	s->path = arena_array(a, FETCH_PATH_MAX, sizeof(*s->path));
	if (s->path == NULL)
		return false;
	for (;;) {
		if (!tok_number(c, UINT32_MAX, &n) || n == 0)
			return false;
		if (s->n_path < FETCH_PATH_MAX)
			s->path[s->n_path++] = (uint32_t)n;
		else
			s->too_deep = true;
		if (c->end - c->p < 2 || c->p[0] != '.' || !ascii_is_digit(c->p[1]))
			return true;
		c->p++;
	}
}

static bool field_names(struct cursor *c, struct arena *a, struct fetch_section *s)
{
	size_t cap = 0;
	struct str name, *v;

	if (!tok_sp(c) || !tok_char(c, '('))
		return false;
	do {
		if (!tok_astring(c, a, &name) || name.n == 0)
			return false;
		if (s->n_fields == cap) {
			cap = cap == 0 ? 16 : cap * 2;
			v = arena_array(a, cap, sizeof(*v));
			if (v == NULL)
				return false;
			if (s->n_fields > 0)
				memcpy(v, s->fields, s->n_fields * sizeof(*v));
			s->fields = v;
		}
		s->fields[s->n_fields++] = name;
	} while (tok_sp(c));
	return tok_char(c, ')');
}

static bool section_text(struct cursor *c, struct arena *a, struct fetch_section *s)
{
	struct str word = item_word(c);

	for (size_t i = 0; i < COUNTOF(section_texts); i++) {
		if (!str_eq_nocase(word, str_of(section_texts[i].name)))
			continue;
		s->kind = section_texts[i].kind;
		if (section_texts[i].after_path_only && s->n_path == 0)
			return false;
		return !section_texts[i].has_fields || field_names(c, a, s);
	}
	return false;
}

/* What stands between "BODY[" and "]". */
static bool section(struct cursor *c, struct arena *a, struct fetch_section *s)
{
	if (tok_char(c, ']'))
		return true;
	if (ascii_is_digit(tok_look(c))) {
		if (!part_path(c, a, s))
			return false;
		if (tok_char(c, ']'))
			return true;
		if (!tok_char(c, '.'))
			return false;
	}
	return section_text(c, a, s) && tok_char(c, ']');
}

/* "<0.2048>"; the count is a non-zero number. */
static bool partial(struct cursor *c, struct fetch_att *att)
{
	uint64_t from, n;

	if (!tok_char(c, '<'))
		return true;
	if (!tok_number(c, UINT32_MAX, &from) || !tok_char(c, '.') ||
	    !tok_number(c, UINT32_MAX, &n) || n == 0 || !tok_char(c, '>'))
		return false;
	att->partial = true;
	att->from = (uint32_t)from;
	att->octets = (uint32_t)n;
	return true;
}

static void label_field(struct buf *b, struct str name)
{
	bool atom = true;

	for (size_t i = 0; i < name.n; i++)
		atom &= tok_is_atom_char(name.p[i]);
	if (atom) {
		(void)buf_put(b, name);
		return;
	}
	(void)buf_printf(b, "{%zu}\r\n", name.n);
	(void)buf_put(b, name);
}

/* The answer names the section as it was asked, in one spelling (RFC 3501 s.7.4.2,
 * BODY[<section>]<<origin>>). */
static bool make_label(struct arena *a, struct fetch_att *att)
{
	const struct fetch_section *s = &att->section;
	struct buf b = BUF_INIT(LABEL_MAX_OCTETS);
	bool ok;

	(void)buf_put(&b, STR("BODY["));
	for (size_t i = 0; i < s->n_path; i++)
		(void)buf_printf(&b, i == 0 ? "%u" : ".%u", s->path[i]);
	if (s->n_path > 0 && s->kind != SECTION_ALL)
		(void)buf_putc(&b, '.');
	for (size_t i = 0; i < COUNTOF(section_texts); i++)
		if (section_texts[i].kind == s->kind)
			(void)buf_put(&b, str_of(section_texts[i].name));
	for (size_t i = 0; i < s->n_fields; i++) {
		(void)buf_put(&b, i == 0 ? STR(" (") : STR(" "));
		label_field(&b, s->fields[i]);
	}
	(void)buf_put(&b, s->n_fields > 0 ? STR(")]") : STR("]"));
	if (att->partial)
		(void)buf_printf(&b, "<%u>", att->from);
	att->label = str_dup(a, buf_str(&b));
	ok = !b.full && att->label.p != NULL;
	buf_free(&b);
	return ok;
}

static bool body_item(struct cursor *c, struct arena *a, bool peek, struct fetch_atts *atts)
{
	struct fetch_att att = { .kind = FETCH_SECTION, .peek = peek };

	if (!section(c, a, &att.section) || !partial(c, &att) || !make_label(a, &att))
		return false;
	put(atts, &att);
	return true;
}

static bool item(struct cursor *c, struct arena *a, struct fetch_atts *atts)
{
	struct str word = item_word(c);

	if (str_eq_nocase(word, STR("BODY")) && tok_char(c, '['))
		return body_item(c, a, false, atts);
	if (str_eq_nocase(word, STR("BODY.PEEK")) && tok_char(c, '['))
		return body_item(c, a, true, atts);
	for (size_t i = 0; i < COUNTOF(rfc822); i++) {
		if (str_eq_nocase(word, str_of(rfc822[i].name))) {
			put(atts, &(struct fetch_att){ .kind = FETCH_SECTION, .peek = rfc822[i].peek,
			    .section.kind = rfc822[i].kind, .label = str_of(rfc822[i].name) });
			return true;
		}
	}
	for (size_t i = 0; i < COUNTOF(plain); i++) {
		if (str_eq_nocase(word, str_of(plain[i].name))) {
			fetchatt_add(atts, plain[i].kind);
			return true;
		}
	}
	return false;
}

static bool macro(struct cursor *c, struct fetch_atts *atts)
{
	for (size_t i = 0; i < COUNTOF(macros); i++) {
		if (!tok_word(c, macros[i].name))
			continue;
		for (size_t k = 0; k < macros[i].n; k++)
			fetchatt_add(atts, macros[i].kinds[k]);
		return true;
	}
	return false;
}

bool fetchatt_parse(struct cursor *c, struct arena *a, struct fetch_atts *out)
{
	*out = (struct fetch_atts){ arena_array(a, FETCH_ATTS_MAX, sizeof(*out->v)), 0, false };
	if (out->v == NULL)
		return false;
	if (!tok_char(c, '('))
		return macro(c, out) || item(c, a, out);
	do {
		if (!item(c, a, out))
			return false;
	} while (tok_sp(c));
	return tok_char(c, ')');
}

static bool named(const struct fetch_section *s, struct str name)
{
	for (size_t i = 0; i < s->n_fields; i++)
		if (s->fields[i].n == name.n && str_eq_nocase(s->fields[i], name))
			return true;
	return false;
}

void fetchatt_filter(struct buf *out, struct str header, const struct fetch_section *s)
{
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, header);
	while (header_next(&it, &f))
		if ((f.name.n > 0 && named(s, f.name)) == (s->kind == SECTION_FIELDS))
			(void)buf_put(out, f.raw);
}
