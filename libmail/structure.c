/* SPDX-License-Identifier: ISC */
/* ENVELOPE, BODY and BODYSTRUCTURE as they go on the wire (RFC 3501 s.7.4.2 and s.9). Whatever the
 * header holds, the output parses: text that can't be quoted is a literal, NUL never passes.
 * body_put calls itself for parts in parts: mime.c holds the depth to MIME_DEPTH_MAX. */
#include "record_int.h"

enum { LANGUAGES_MAX = 20 };

struct writer {
	struct arena *a;
	struct record_limits *l;
	struct str message;
	const struct mime_part *parts;
	struct buf *out;
	bool extended, failed;
};

static bool needs_literal(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c >= 128 || c == '\r' || c == '\n' || c == '\0')
			return true;
	}
	return false;
}

static void put_literal(struct buf *out, struct str s)
{
	size_t n_nul = 0;

	for (size_t i = 0; i < s.n; i++)
		n_nul += s.p[i] == '\0';
	buf_putc(out, '{');
	buf_put_u64(out, s.n - n_nul);
	buf_put(out, STR("}\r\n"));
	while (s.n > 0) {
		size_t n = str_find(s, '\0');

		buf_put(out, str_head(s, n));
		s = str_skip(s, n + 1);
	}
}

static void put_quoted(struct buf *out, struct str s)
{
	buf_putc(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_putc(out, '\\');
		buf_putc(out, s.p[i]);
	}
	buf_putc(out, '"');
}

static void put_string(struct writer *w, struct str s)
{
	s = str_head(s, w->l->string_octets);
	if (needs_literal(s))
		put_literal(w->out, s);
	else
		put_quoted(w->out, s);
}

static void put_nstring(struct writer *w, struct str s)
{
	if (s.p == NULL)
		buf_put(w->out, STR("NIL"));
	else
		put_string(w, s);
}

static void put_text(struct writer *w, const char *z)
{
	buf_put(w->out, str_of(z));
}

static void put_address(struct writer *w, const struct addr *m)
{
	buf_putc(w->out, '(');
	put_nstring(w, m->name);
	buf_putc(w->out, ' ');
	put_nstring(w, m->adl);
	buf_putc(w->out, ' ');
	put_nstring(w, m->mailbox);
	buf_putc(w->out, ' ');
	put_nstring(w, m->host);
	buf_putc(w->out, ')');
}

/* The role's addresses, or those of `instead` when there are none (RFC 3501: sender, reply-to). */
static void put_addresses(struct writer *w, const struct head *h, enum head_role role,
    enum head_role instead)
{
	struct addr_list list;

	head_addresses(w->a, w->l, h, role, &list);
	if (list.n == 0 && role != instead)
		head_addresses(w->a, w->l, h, instead, &list);
	if (list.n == 0) {
		put_text(w, "NIL ");
		return;
	}
	buf_putc(w->out, '(');
	for (size_t i = 0; i < list.n; i++)
		put_address(w, &list.v[i]);
	put_text(w, ") ");
}

static void put_head_text(struct writer *w, const struct head *h, enum head_role role)
{
	struct str s = head_value(h, role);

	if (s.p != NULL) {
		s = header_unfold(w->a, s);
		w->failed |= s.p == NULL;
	}
	put_nstring(w, s);
}

static void put_envelope(struct writer *w, const struct head *h)
{
	buf_putc(w->out, '(');
	put_head_text(w, h, HEAD_DATE);
	buf_putc(w->out, ' ');
	put_head_text(w, h, HEAD_SUBJECT);
	buf_putc(w->out, ' ');
	put_addresses(w, h, HEAD_FROM, HEAD_FROM);
	put_addresses(w, h, HEAD_SENDER, HEAD_FROM);
	put_addresses(w, h, HEAD_REPLY_TO, HEAD_FROM);
	put_addresses(w, h, HEAD_TO, HEAD_TO);
	put_addresses(w, h, HEAD_CC, HEAD_CC);
	put_addresses(w, h, HEAD_BCC, HEAD_BCC);
	put_head_text(w, h, HEAD_IN_REPLY_TO);
	buf_putc(w->out, ' ');
	put_head_text(w, h, HEAD_MESSAGE_ID);
	buf_putc(w->out, ')');
}

bool envelope_put(struct arena *a, struct record_limits *l, const struct head *h, struct buf *out)
{
	struct writer w = { .a = a, .l = l, .out = out };

	put_envelope(&w, h);
	return !w.failed;
}

static void put_param(struct writer *w, const struct mime_param *p)
{
	if (p->extended) {	/* its mark goes on, so that the client decodes the value */
		size_t n = p->name.n < 100 ? p->name.n : 100;
		char name[101];

		memcpy(name, p->name.p, n);
		name[n] = '*';
		put_string(w, str_n(name, n + 1));
	} else {
		put_string(w, p->name);
	}
	buf_putc(w->out, ' ');
	put_string(w, p->value);
}

static void put_params(struct writer *w, const struct mime_params *p)
{
	size_t n = p->n < w->l->params ? p->n : w->l->params;

	if (n == 0) {
		put_text(w, "NIL");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		buf_putc(w->out, i == 0 ? '(' : ' ');
		put_param(w, &p->v[i]);
	}
	buf_putc(w->out, ')');
}

static void put_disposition(struct writer *w, const struct mime_part *part)
{
	if (part->disposition.n == 0) {
		put_text(w, " NIL");
		return;
	}
	put_text(w, " (");
	put_string(w, part->disposition);
	buf_putc(w->out, ' ');
	put_params(w, &part->disposition_params);
	buf_putc(w->out, ')');
}

static void put_language(struct writer *w, struct str s)
{
	struct str tag;
	int n = 0;

	buf_putc(w->out, ' ');
	if (s.p == NULL || !str_has(s, ',')) {
		put_nstring(w, s);
		return;
	}
	while (n < LANGUAGES_MAX && str_split(&s, ',', &tag)) {
		buf_putc(w->out, n++ == 0 ? '(' : ' ');
		put_string(w, str_trim(tag));
	}
	buf_putc(w->out, ')');
}

static void put_extension(struct writer *w, const struct mime_part *part)
{
	put_disposition(w, part);
	put_language(w, part->language);
	buf_putc(w->out, ' ');
	put_nstring(w, part->location);
}

static void put_type(struct writer *w, const struct mime_part *part)
{
	static const struct mime_param ascii = { STR_INIT("charset"), STR_INIT("us-ascii"), false };
	static const struct mime_params default_params = { (struct mime_param *)(uintptr_t)&ascii, 1 };
	bool plain = str_eq_nocase(part->type, STR("text")) &&
	    str_eq_nocase(part->subtype, STR("plain"));

	if (part->cut) {	/* the grammar has no multipart without parts */
		put_text(w, "\"application\" \"octet-stream\" ");
	} else {
		put_string(w, part->type);
		buf_putc(w->out, ' ');
		put_string(w, part->subtype);
		buf_putc(w->out, ' ');
	}
	put_params(w, plain && part->params.n == 0 ? &default_params : &part->params);
}

static void body_put(struct writer *w, int32_t ix);

static void put_message(struct writer *w, const struct mime_part *part)
{
	const struct mime_part *inner = &w->parts[part->first_child];
	struct head h;

	if (!head_read(w->a, w->l, str_n(w->message.p + inner->header_at, inner->header_n), &h)) {
		w->failed = true;
		return;
	}
	buf_putc(w->out, ' ');
	put_envelope(w, &h);
	buf_putc(w->out, ' ');
	body_put(w, part->first_child);
}

static void put_single(struct writer *w, const struct mime_part *part)
{
	bool text = !part->cut && str_eq_nocase(part->type, STR("text"));

	put_type(w, part);
	buf_putc(w->out, ' ');
	put_nstring(w, part->id);
	buf_putc(w->out, ' ');
	put_nstring(w, part->description);
	buf_putc(w->out, ' ');
	put_string(w, part->encoding_text.n > 0 ? part->encoding_text : STR("7bit"));
	buf_putc(w->out, ' ');
	buf_put_u64(w->out, part->body_n);
	if (part->kind == MIME_MESSAGE)
		put_message(w, part);
	if (part->kind == MIME_MESSAGE || text) {
		buf_putc(w->out, ' ');
		buf_put_u64(w->out, part->lines);
	}
	if (w->extended) {
		buf_putc(w->out, ' ');
		put_nstring(w, part->md5);
		put_extension(w, part);
	}
}

static void put_multipart(struct writer *w, const struct mime_part *part)
{
	for (int32_t i = part->first_child; i != MIME_NONE; i = w->parts[i].next)
		body_put(w, i);
	buf_putc(w->out, ' ');
	put_string(w, part->subtype);
	if (w->extended) {
		buf_putc(w->out, ' ');
		put_params(w, &part->params);
		put_extension(w, part);
	}
}

static void body_put(struct writer *w, int32_t ix)
{
	const struct mime_part *part = &w->parts[ix];

	if (w->out->full || w->failed)
		return;
	buf_putc(w->out, '(');
	if (part->kind == MIME_MULTIPART)
		put_multipart(w, part);
	else
		put_single(w, part);
	buf_putc(w->out, ')');
}

bool structure_put(struct arena *a, struct record_limits *l, struct str message,
    const struct mime_tree *tree, bool extended, struct buf *out)
{
	struct writer w = {
		.a = a, .l = l, .message = message, .parts = tree->parts, .out = out,
		.extended = extended,
	};

	body_put(&w, 0);
	return !w.failed;
}
