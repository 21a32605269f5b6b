/* SPDX-License-Identifier: ISC */
/* The walk over a message's texts. Invariant: a text is decoded here in one way only, whoever asks; a field's value is
 * decoded by itself, so that it does not depend on what its name looks like. */
#include "header.h"
#include "mailtext.h"

struct walk {
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

static bool show_fields(const struct walk *w, struct str header)
{
	struct header_iter it;
	struct header_field f;

	header_iter_init(&it, header);
	while (header_next(&it, &f))
		if (show_field(w, &f))
			return true;
	return false;
}

static bool show_leaf(const struct walk *w, struct str body, const struct record_part *p)
{
	struct text_reader t;
	bool enough = false, begins = true;

	text_reader_init(&t, str_head(str_skip(body, p->body_at), p->body_octets), p->encoding,
	    p->charset, str_eq_nocase(p->subtype, STR("html")));
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

bool mailtext_each(const struct mailtext *m, unsigned what, struct buf *scratch, mailtext_see *see, void *ctx)
{
	struct walk w = { scratch, see, ctx };

	if ((what & MAILTEXT_HEADER) != 0 && (show_fields(&w, m->prefix) || show_fields(&w, m->body)))
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

bool mailtext_field(const struct mailtext *m, struct str name, struct buf *scratch, mailtext_see *see,
    void *ctx)
{
	struct walk w = { scratch, see, ctx };

	return named_fields(&w, m->prefix, name) || named_fields(&w, m->body, name);
}
