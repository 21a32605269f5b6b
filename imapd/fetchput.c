/* SPDX-License-Identifier: ISC */
/* Writes FETCH answers (RFC 3501 s.7.4.2). The message is its prefix followed by its body;
 * offsets of the record are those of the body. ENVELOPE and BODYSTRUCTURE lie in the record as
 * they go on the wire. */
#include "fetchput.h"

#include "../libmail/date.h"
#include "../libmail/record.h"
#include "flags.h"

enum {
	COPY_MAX_OCTETS = 32 * 1024,	/* larger sections leave from the file, without passing through us */
};

struct source {
	const struct message *m;
	struct record record;
	struct message_text text;	/* only with needs.text */
};

struct fetch_needs fetch_needs_of(const struct fetch_atts *atts)
{
	struct fetch_needs n = { false, false, false };

	for (size_t i = 0; i < atts->n; i++) {
		const struct fetch_att *att = &atts->v[i];

		n.record |= att->kind >= FETCH_ENVELOPE;
		n.text |= att->kind == FETCH_SECTION;
		n.seen |= att->kind == FETCH_SECTION && !att->peek;
	}
	return n;
}

static enum err_kind open_source(struct imap_session *s, const struct fetch_needs *needs,
    struct source *src, struct err *e)
{
	struct str data;

	if (needs->text) {
		if (message_open(s->mb, src->m, &src->text, e) != ERR_OK)
			return e->kind;
		if (record_open(src->text.record, &src->record, e) != ERR_OK) {
			message_close(&src->text);
			return e->kind;
		}
	} else if (needs->record && (message_record(s->mb, src->m, &data, e) != ERR_OK ||
	    record_open(data, &src->record, e) != ERR_OK)) {
		return e->kind;
	}
	return ERR_OK;
}

struct range {
	uint64_t from, len;		/* of the message */
};

/* Where a section lies; for HEADER.FIELDS the header they are taken from. False: there is no
 * such part. */
static bool section_range(const struct source *src, const struct fetch_section *sec, struct range *out)
{
	uint64_t prefix = src->text.prefix.n;
	struct record_part part, inner;
	bool header = sec->kind != SECTION_ALL && sec->kind != SECTION_TEXT;

	if (sec->n_path == 0) {
		uint64_t end = prefix + src->text.body.n;
		uint64_t text_at = prefix + src->record.header_octets;

		*out = sec->kind == SECTION_ALL ? (struct range){ 0, end } :
		    header ? (struct range){ 0, text_at } : (struct range){ text_at, end - text_at };
		return true;
	}
	if (sec->too_deep || !record_part_find(&src->record, sec->path, sec->n_path, &part))
		return false;
	if (sec->kind != SECTION_ALL && sec->kind != SECTION_MIME) {
		if (!record_part_message(&src->record, &part, &inner))
			return false;
		part = inner;
	}
	*out = header ? (struct range){ prefix + part.header_at, part.header_octets } :
	    (struct range){ prefix + part.body_at, part.body_octets };
	return true;
}

static void clip(const struct fetch_att *att, struct range *r)
{
	uint64_t skip;

	if (!att->partial)
		return;
	skip = att->from < r->len ? att->from : r->len;
	r->from += skip;
	r->len -= skip;
	if (r->len > att->octets)
		r->len = att->octets;
}

static void put_length(struct imap_session *s, uint64_t len)
{
	struct buf *out = conn_out(s->c);

	(void)buf_put(out, STR(" {"));
	(void)buf_put_u64(out, len);
	(void)buf_put(out, STR("}\r\n"));
	s->fetched_octets += len;
}

static void put_range(struct imap_session *s, const struct message_text *t, struct range r)
{
	struct text_span spans[2];
	struct str in_prefix, in_body;
	size_t n;

	put_length(s, r.len);
	if (r.len > COPY_MAX_OCTETS && !conn_is_tls(s->c)) {
		n = message_spans(t, r.from, r.len, spans);
		for (size_t i = 0; i < n; i++) {
			if (spans[i].fd >= 0)
				conn_put_file(s->c, spans[i].fd, spans[i].off, spans[i].len);
			else
				conn_put(s->c, str_n(spans[i].p, spans[i].len));
		}
		return;
	}
	in_prefix = str_head(str_skip(t->prefix, r.from), r.len);
	in_body = str_skip(t->body, r.from > t->prefix.n ? r.from - t->prefix.n : 0);
	conn_put(s->c, in_prefix);
	conn_put(s->c, str_head(in_body, r.len - in_prefix.n));
}

/* The wanted fields and the empty line behind them (RFC 3501 s.6.4.5). */
static void put_fields(struct imap_session *s, const struct source *src, const struct fetch_att *att,
    struct range header)
{
	struct buf fields = BUF_INIT(STORE_MESSAGE_MAX_OCTETS);
	uint64_t prefix = src->text.prefix.n;
	struct range r;

	if (att->section.n_path == 0)
		fetchatt_filter(&fields, src->text.prefix, &att->section);
	header.len -= header.from < prefix ? prefix - header.from : 0;
	header.from = header.from < prefix ? 0 : header.from - prefix;
	fetchatt_filter(&fields, str_head(str_skip(src->text.body, header.from), header.len),
	    &att->section);
	(void)buf_put(&fields, STR("\r\n"));
	r = (struct range){ 0, fields.n };
	clip(att, &r);
	put_length(s, r.len);
	conn_put(s->c, str_head(str_skip(buf_str(&fields), r.from), r.len));
	buf_free(&fields);
}

static void put_section(struct imap_session *s, const struct source *src, const struct fetch_att *att)
{
	struct range r;

	conn_put(s->c, att->label);
	if (!section_range(src, &att->section, &r)) {
		conn_put(s->c, STR(" NIL"));
	} else if (att->section.kind == SECTION_FIELDS || att->section.kind == SECTION_FIELDS_NOT) {
		put_fields(s, src, att, r);
	} else {
		clip(att, &r);
		put_range(s, &src->text, r);
	}
}

static void put_number(struct imap_session *s, struct str label, const char *open, uint64_t n,
    const char *close)
{
	struct buf *out = conn_out(s->c);

	(void)buf_put(out, label);
	(void)buf_put(out, str_of(open));
	(void)buf_put_u64(out, n);
	(void)buf_put(out, str_of(close));
}

static void put_record(struct imap_session *s, struct str label, struct str octets)
{
	conn_put(s->c, label);
	conn_put(s->c, STR(" "));
	conn_put(s->c, octets);
}

static void put_date(struct imap_session *s, struct str label, int64_t epoch_s)
{
	char text[DATE_TEXT_MAX_OCTETS];
	size_t n = date_format_imap((struct mail_date){ epoch_s, 0 }, text);
	struct buf *out = conn_out(s->c);

	(void)buf_put(out, label);
	(void)buf_put(out, STR(" \""));
	(void)buf_put(out, str_n(text, n));
	(void)buf_putc(out, '"');
}

static void put_flags(struct imap_session *s, const struct message *m)
{
	struct buf *out = conn_out(s->c);

	(void)buf_put(out, STR("FLAGS "));
	flags_put_message(out, s->mb, m);
}

static void put_item(struct imap_session *s, const struct source *src, const struct fetch_att *att)
{
	const struct message *m = src->m;

	switch (att->kind) {
	case FETCH_FLAGS:
		put_flags(s, m);
		break;
	case FETCH_UID:
		put_number(s, att->label, " ", m->uid, "");
		break;
	case FETCH_INTERNALDATE:
		put_date(s, att->label, m->internaldate_s);
		break;
	case FETCH_SIZE:
		put_number(s, att->label, " ", m->size_octets, "");
		break;
	case FETCH_MODSEQ:
		put_number(s, att->label, " (", m->modseq, ")");
		break;
	case FETCH_ENVELOPE:
		put_record(s, att->label, record_envelope(&src->record));
		break;
	case FETCH_BODY:
		put_record(s, att->label, record_body(&src->record));
		break;
	case FETCH_BODYSTRUCTURE:
		put_record(s, att->label, record_bodystructure(&src->record));
		break;
	case FETCH_SECTION:
		put_section(s, src, att);
		break;
	}
}

/* Flags that changed behind the client's back (by \Seen just now, or by another session) ride
 * along. */
static void put_news(struct imap_session *s, const struct fetch_atts *atts, const struct message *m)
{
	if (m->dirty == 0 || m->gone)
		return;
	if (!fetchatt_has(atts, FETCH_FLAGS)) {
		conn_put(s->c, STR(" "));
		put_flags(s, m);
	}
	if (s->condstore && !fetchatt_has(atts, FETCH_MODSEQ))
		put_number(s, STR(" MODSEQ"), " (", m->modseq, ")");
}

enum err_kind fetch_put(struct imap_session *s, const struct fetch_atts *atts,
    const struct fetch_needs *needs, size_t ix, struct err *e)
{
	struct message *m = mailbox_at(s->mb, ix);
	struct source src = { .m = m };

	if (open_source(s, needs, &src, e) != ERR_OK)
		return e->kind;
	put_number(s, STR("*"), " ", ix + 1, " FETCH (");
	for (size_t i = 0; i < atts->n; i++) {
		if (i > 0)
			conn_put(s->c, STR(" "));
		put_item(s, &src, &atts->v[i]);
	}
	put_news(s, atts, m);
	conn_put(s->c, STR(")\r\n"));
	m->dirty = 0;
	s->n_fetched += needs->text;
	if (needs->text)
		message_close(&src.text);
	return ERR_OK;
}
