/* SPDX-License-Identifier: ISC */
/* The walk over a message's texts. Invariant: a text is decoded here in one way only, whoever asks;
 * a field's value is decoded by itself, so that it does not depend on what its name looks like. */
#include "header.h"
#include "mailtext.h"

struct walk {
	unsigned what;
	struct buf *scratch;
	mailtext_see *see;
	void *ctx;
};

static bool show_value(const struct walk *w, const struct header_field *f)
{
	buf_reset(w->scratch);
	(void)header_decode(w->scratch, f->value);
	return w->see(w->ctx, buf_str(w->scratch), true);
}

static bool show_field(const struct walk *w, const struct header_field *f)
{
	struct str front = str_head(f->raw, (size_t)(f->value.p - f->raw.p));

	buf_reset(w->scratch);
	(void)header_decode(w->scratch, front);
	(void)header_decode(w->scratch, f->value);
	return w->see(w->ctx, buf_str(w->scratch), true);
}

bool mailtext_is_solid(struct str folded)
{
	for (size_t i = 0; i < folded.n; i++)
		if (folded.p[i] <= ' ' || folded.p[i] > '~')
			return false;
	return folded.n > 0;
}

/* Decoding takes line ends out of it and nothing else that is solid: what is solid stands in the
 * texts of the fields where it stands in the header, as no line goes on without a blank. */
static bool is_simple(struct str header)
{
	struct str rest = header;

	if (str_ascii_run(header) < header.n)
		return false;
	for (size_t n; rest.n > 0; rest = str_skip(rest, n + 1)) {
		n = str_find(rest, '\r');
		if (n + 1 < rest.n && rest.p[n + 1] != '\n')
			return false;
	}
	rest = header;
	for (size_t n; rest.n > 0; rest = str_skip(rest, n + 1)) {
		n = str_find(rest, '?');
		if (n > 0 && n < rest.n && rest.p[n - 1] == '=')
			return false;
	}
	return true;
}

static bool show_fields(const struct walk *w, struct str header)
{
	struct header_iter it;
	struct header_field f;

	if ((w->what & MAILTEXT_SOLID) != 0 && is_simple(header))
		return w->see(w->ctx, header, true);
	header_iter_init(&it, header);
	while (header_next(&it, &f))
		if (show_field(w, &f))
			return true;
	return false;
}

/* The fields at the front. */
static bool show_header(const struct walk *w, struct str message)
{
	return show_fields(w, str_head(message, header_length(message)));
}

/* Is the part's text its very octets, as long as they are ASCII? */
static bool is_verbatim(const struct record_part *p, bool markup)
{
	static const struct str charsets[] = {
		STR_INIT(""), STR_INIT("us-ascii"), STR_INIT("utf-8"), STR_INIT("iso-8859-1"),
		STR_INIT("windows-1252"),
	};

	if (markup || p->encoding == MIME_BASE64 || p->encoding == MIME_QP)
		return false;
	for (size_t i = 0; i < COUNTOF(charsets); i++)
		if (str_eq_nocase(p->charset, charsets[i]))
			return true;
	return false;
}

static bool show_octets(const struct walk *w, struct str octets)
{
	bool begins = true;

	do {
		if (w->see(w->ctx, str_head(octets, TEXT_CHUNK_OCTETS), begins))
			return true;
		octets = str_skip(octets, TEXT_CHUNK_OCTETS);
		begins = false;
	} while (octets.n > 0);
	return false;
}

static bool show_leaf(const struct walk *w, struct str body, const struct record_part *p)
{
	bool enough = false, begins = true, markup = str_eq_nocase(p->subtype, STR("html"));
	struct str octets = str_head(str_skip(body, p->body_at), p->body_octets);
	struct text_reader t;

	if (is_verbatim(p, markup) && str_ascii_run(octets) == octets.n)
		return show_octets(w, octets);
	text_reader_init(&t, octets, p->encoding, p->charset, markup);
	do {
		buf_reset(w->scratch);
		if (!text_read(&t, w->scratch))
			break;
		enough = w->see(w->ctx, buf_str(w->scratch), begins);
		begins = false;
	} while (!enough);
	text_reader_end(&t);
	return enough;
}

static bool show_part(const struct walk *w, const struct mailtext *m, const struct record_part *p)
{
	struct str header = str_head(str_skip(m->body, p->header_at), p->header_octets);

	if (p->kind == MIME_LEAF && str_eq_nocase(p->type, STR("text")) && show_leaf(w, m->body, p))
		return true;
	return p->parent != MIME_NONE &&
	    record_part(m->record, (uint32_t)p->parent).kind == MIME_MESSAGE && show_fields(w, header);
}

bool mailtext_each(const struct mailtext *m, unsigned what, struct buf *scratch, mailtext_see *see,
    void *ctx)
{
	struct walk w = { what, scratch, see, ctx };

	if ((what & MAILTEXT_HEADER) != 0 && (show_header(&w, m->prefix) || show_header(&w, m->body)))
		return true;
	if ((what & MAILTEXT_BODY) == 0)
		return false;
	for (uint32_t ix = 0; ix < m->record->n_parts; ix++) {
		struct record_part p = record_part(m->record, ix);

		if (show_part(&w, m, &p))
			return true;
	}
	return false;
}

static bool named_fields(const struct walk *w, struct str header, struct str name)
{
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, header);
	while (header_next(&it, &f))
		if (str_eq_nocase(f.name, name) && show_value(w, &f))
			return true;
	return false;
}

bool mailtext_field(const struct mailtext *m, struct str name, struct buf *scratch,
    mailtext_see *see, void *ctx)
{
	struct walk w = { MAILTEXT_HEADER, scratch, see, ctx };

	return named_fields(&w, m->prefix, name) || named_fields(&w, m->body, name);
}
