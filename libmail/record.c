/* SPDX-License-Identifier: ISC */
/* The parsed record. Format, all numbers little-endian: the fixed part (offsets R_*), a length per
 * section, the sections in the order of enum section. S_FIELDS: n_fields times name hash (4),
 * offset (4), name octets (2), then one offset (4), the last field's end. S_PARTS: n_parts times
 * the entry P_*. S_REFERENCES: n_references times the end (4) of its text, then the texts. A
 * record of another version is refused: the store makes it anew from the message. */
#include "header.h"
#include "mime_int.h"
#include "record_int.h"
#include "text.h"

enum {
	R_MAGIC = 0,		/* 2: "PR" */
	R_VERSION = 2,		/* 1 */
	R_FLAGS = 3,		/* 1 */
	R_TOTAL = 4,		/* 4 */
	R_MESSAGE_OCTETS = 8,	/* 8 */
	R_HEADER_OCTETS = 16,	/* 8 */
	R_LINES = 24,		/* 8 */
	R_SENT_S = 32,		/* 8 */
	R_SENT_ZONE = 40,	/* 4 */
	R_N_FIELDS = 44, R_N_PARTS = 48, R_N_REFERENCES = 52,	/* 4 each */
	R_SECTIONS = 56		/* 4 each */
};

enum section {
	S_ENVELOPE, S_BODY, S_BODYSTRUCTURE, S_SUBJECT, S_BASE_SUBJECT, S_PREVIEW, S_MESSAGE_ID,
	S_IN_REPLY_TO, S_SORT_MAILBOX, S_SORT_DISPLAY = S_SORT_MAILBOX + 3,
	S_REFERENCES = S_SORT_DISPLAY + 3, S_FIELDS, S_PARTS, S_PART_STRINGS, S_COUNT
};

enum { R_FIXED_OCTETS = R_SECTIONS + 4 * S_COUNT };

_Static_assert(S_COUNT <= COUNTOF(((struct record *)0)->sections), "sections fit");

enum {
	P_PARENT = 0, P_NEXT = 4, P_FIRST_CHILD = 8,	/* 4 each, signed */
	P_KIND = 12, P_ENCODING = 13, P_FLAGS = 14,	/* 1 each */
	P_TYPE_N = 15, P_SUBTYPE_N = 16, P_CHARSET_N = 17,	/* 1 each: octets of R_PART_STRINGS */
	P_STRINGS = 18,					/* 4: where those begin */
	P_HEADER_AT = 22, P_HEADER_OCTETS = 30, P_BODY_OCTETS = 38, P_LINES = 46,	/* 8 each */
	P_OCTETS = 54
};

enum { F_OCTETS = 10, PART_STRING_MAX = 100, PART_ATTACHMENT = 1 };

enum record_flag {
	FLAG_SENT = 1, FLAG_ATTACHMENT = 2, FLAG_REPLY = 4, FLAG_FIELDS_CUT = 8, FLAG_PARTS_CUT = 16
};

enum {
	ID_MAX_OCTETS = 998,			/* a line: RFC 5322 s.2.1.1 */
	SUBJECT_LOOK_OCTETS = 4 * RECORD_SUBJECT_MAX_OCTETS,
	SORT_KEY_MAX_OCTETS = 256,
	CHARSET_GROWS = 3,			/* one octet becomes at most so many of UTF-8 */
	PREVIEW_LOOK_OCTETS = 4 * 1024,
	PREVIEW_LOOK_HTML_OCTETS = 32 * 1024,	/* style sheets come first */
	FIELD_NAME_MAX_OCTETS = 65535
};

/* Tried from the top until the record fits; the last one fits always. */
static const struct record_limits limits[] = {
	{ MIME_PARTS_MAX, RECORD_FIELDS_MAX, MIME_PARAMS_MAX, RECORD_REFERENCES_MAX,
	  RECORD_ADDRESSES_MAX, 4096, 20000, 2 << 20 },
	{ 3000, 5000, 100, 500, 1000, 1000, 10000, 1 << 20 },
	{ 1000, 2000, 50, 200, 200, 500, 2000, 1 << 18 },
	{ 100, 1000, 20, 100, 100, 200, 500, 1 << 16 },
	{ 1, 500, 10, 20, 20, 200, 200, 1 << 14 },
};

/* -- making -- */

struct maker {
	struct arena *a;
	struct record_limits l;
	struct str message;
	struct mime_tree tree;
	struct head head;
	struct buf out;
	size_t section_at;		/* where the current one begins */
	unsigned flags;
	uint32_t n_fields, n_references;
};

static void section_end(struct maker *m, enum section s)
{
	size_t n = m->out.n - m->section_at;

	for (int i = 0; i < 4; i++)
		m->out.p[R_SECTIONS + 4 * s + i] = (char)(n >> (8 * i));
	m->section_at = m->out.n;
}

static void patch(struct maker *m, size_t at, uint64_t v, int octets)
{
	for (int i = 0; i < octets; i++)
		m->out.p[at + (size_t)i] = (char)(v >> (8 * i));
}

uint32_t record_name_hash(struct str name)
{
	uint32_t h = 2166136261u;		/* FNV-1a */

	for (size_t i = 0; i < name.n; i++)
		h = (h ^ (unsigned char)ascii_lower(name.p[i])) * 16777619u;
	return h;
}

/* Fields go to `index`, since their section comes late; roles are noted on the way. */
static bool read_header(struct maker *m, struct buf *index)
{
	struct header_iter it;
	struct header_field f;
	size_t at = 0;

	header_iter_init(&it, str_head(m->message, m->tree.parts[0].header_n));
	while (header_next(&it, &f)) {
		if (!head_add(m->a, &m->l, &m->head, &f))
			return false;
		if (m->n_fields >= m->l.fields || it.at > UINT32_MAX ||
		    f.name.n > FIELD_NAME_MAX_OCTETS) {
			m->flags |= FLAG_FIELDS_CUT;
			continue;
		}
		if (m->flags & FLAG_FIELDS_CUT)		/* the index has no holes */
			continue;
		m->n_fields++;
		buf_put_le32(index, record_name_hash(f.name));
		buf_put_le32(index, (uint32_t)at);
		buf_put_le16(index, (uint16_t)f.name.n);
		at = it.at;
	}
	return buf_put_le32(index, (uint32_t)at);
}

/* At most max octets of UTF-8 from `from` on, cut between characters. */
static void cut_utf8(struct buf *b, size_t from, size_t max)
{
	if (b->n - from <= max)
		return;
	b->n = from + max;
	while (b->n > from && ((unsigned char)b->p[b->n] & 0xc0) == 0x80)
		b->n--;
}

static void put_subject(struct maker *m)
{
	size_t at = m->out.n;
	struct str s, base;
	bool is_reply;

	s = str_head(head_value(&m->head, HEAD_SUBJECT), SUBJECT_LOOK_OCTETS);
	header_decode(&m->out, s);
	cut_utf8(&m->out, at, RECORD_SUBJECT_MAX_OCTETS);
	collapse_blanks(&m->out, at);
	section_end(m, S_SUBJECT);
	if (!buf_reserve(&m->out, m->out.n - at))
		return;
	base = subject_base(str_n(m->out.p + at, m->out.n - at), &is_reply);
	buf_put(&m->out, base);
	m->flags |= is_reply ? FLAG_REPLY : 0;
	section_end(m, S_BASE_SUBJECT);
}

static const struct mime_part *preview_part(const struct mime_tree *tree)
{
	const struct mime_part *html = NULL;

	for (size_t i = 0; i < tree->n; i++) {
		const struct mime_part *p = &tree->parts[i];

		if (p->kind == MIME_MESSAGE)		/* its text is another message's */
			return html;
		if (p->kind != MIME_LEAF || !str_eq_nocase(p->type, STR("text")) ||
		    str_eq_nocase(p->disposition, STR("attachment")))
			continue;
		if (str_eq_nocase(p->subtype, STR("plain")))
			return p;
		if (html == NULL && str_eq_nocase(p->subtype, STR("html")))
			html = p;
	}
	return html;
}

static struct str charset_of(const struct mime_part *p)
{
	const struct mime_param *c = mime_param_find(&p->params, STR("charset"));

	return c != NULL && !c->extended ? c->value : STR("");
}

static size_t chars_octets(struct str utf8, size_t max_chars)
{
	size_t n = 0;

	while (n < utf8.n) {
		if (((unsigned char)utf8.p[n] & 0xc0) != 0x80 && max_chars-- == 0)
			break;
		n++;
	}
	return n;
}

static void put_preview(struct maker *m)
{
	const struct mime_part *p = preview_part(&m->tree);
	size_t at = m->out.n;
	struct text_reader t;
	struct str body;
	bool html;

	if (p == NULL) {
		section_end(m, S_PREVIEW);
		return;
	}
	html = !str_eq_nocase(p->subtype, STR("plain"));
	body = str_n(m->message.p + p->body_at, p->body_n);
	body = str_head(body, html ? PREVIEW_LOOK_HTML_OCTETS : PREVIEW_LOOK_OCTETS);
	text_reader_init(&t, body, p->encoding, charset_of(p), html);
	text_read(&t, &m->out);
	text_reader_end(&t);
	for (size_t i = at; i < m->out.n; i++) {
		if ((unsigned char)m->out.p[i] < ' ' || m->out.p[i] == 127)
			m->out.p[i] = ' ';
	}
	collapse_blanks(&m->out, at);
	m->out.n = at + chars_octets(str_n(m->out.p + at, m->out.n - at),
	    RECORD_PREVIEW_MAX_CHARS);
	section_end(m, S_PREVIEW);
}

static void put_first_id(struct maker *m, enum head_role role, enum section s)
{
	struct str rest = head_value(&m->head, role), id = msgid_next(&rest);

	if (id.n <= ID_MAX_OCTETS)
		msgid_put(&m->out, id);
	section_end(m, s);
}

static struct addr first_mailbox(struct maker *m, enum head_role role)
{
	struct record_limits few = m->l;
	struct addr_list list;

	few.addresses = few.addresses < 8 ? few.addresses : 8;
	head_addresses(m->a, &few, &m->head, role, &list);
	for (size_t i = 0; i < list.n; i++) {
		if (list.v[i].kind == ADDR_MAILBOX)
			return list.v[i];
	}
	return (struct addr){ .kind = ADDR_MAILBOX };
}

static void put_sort_keys(struct maker *m)
{
	static const enum head_role roles[] = { HEAD_FROM, HEAD_TO, HEAD_CC };
	struct addr first[COUNTOF(roles)];

	for (size_t i = 0; i < COUNTOF(roles); i++) {
		first[i] = first_mailbox(m, roles[i]);
		header_decode(&m->out, str_head(first[i].mailbox, SORT_KEY_MAX_OCTETS));
		section_end(m, (enum section)(S_SORT_MAILBOX + i));
	}
	for (size_t i = 0; i < COUNTOF(roles); i++) {
		header_decode(&m->out, str_head(first[i].name, SORT_KEY_MAX_OCTETS));
		if (m->out.n == m->section_at && first[i].mailbox.n > 0) {
			header_decode(&m->out, str_head(first[i].mailbox, SORT_KEY_MAX_OCTETS));
			buf_putc(&m->out, '@');
			header_decode(&m->out, str_head(first[i].host, SORT_KEY_MAX_OCTETS));
		}
		section_end(m, (enum section)(S_SORT_DISPLAY + i));
	}
}

/* The newest ids are the ones that hold a thread together, so those are kept. */
static bool put_references(struct maker *m)
{
	size_t max = m->l.references, n = 0, first;
	struct str *ring;
	struct buf text;

	if (m->head.first[HEAD_REFERENCES] == NULL) {
		section_end(m, S_REFERENCES);
		return true;
	}
	if ((ring = arena_array(m->a, max, sizeof *ring)) == NULL)
		return false;
	for (const struct head_value *v = m->head.first[HEAD_REFERENCES]; v != NULL; v = v->next) {
		struct str rest = v->value, id;

		while ((id = msgid_next(&rest)).p != NULL) {
			if (id.n <= ID_MAX_OCTETS)
				ring[n++ % max] = id;
		}
	}
	first = n > max ? n - max : 0;
	m->n_references = (uint32_t)(n - first);
	buf_init(&text, RECORD_MAX_OCTETS);
	for (size_t i = first; i < n; i++) {
		msgid_put(&text, ring[i % max]);
		buf_put_le32(&m->out, (uint32_t)text.n);
	}
	buf_put(&m->out, buf_str(&text));
	m->out.full |= text.full;
	buf_free(&text);
	section_end(m, S_REFERENCES);
	return true;
}

/* What a person would call an attachment: not the signature of a signed message, nor the pictures
 * that an HTML part shows. */
static bool is_attachment(const struct mime_tree *tree, const struct mime_part *p)
{
	const struct mime_part *parent = p->parent >= 0 ? &tree->parts[p->parent] : NULL;

	if (p->kind == MIME_MULTIPART)
		return false;
	if (str_eq_nocase(p->disposition, STR("attachment")))
		return true;
	if (parent == NULL || parent->kind != MIME_MULTIPART || p->disposition.n > 0 ||
	    str_eq_nocase(p->type, STR("text")))
		return false;
	return str_eq_nocase(parent->subtype, STR("mixed")) ||
	    str_eq_nocase(parent->subtype, STR("digest"));
}

static void put_part_string(struct maker *m, struct buf *strings, struct str s)
{
	size_t n = s.n < PART_STRING_MAX ? s.n : PART_STRING_MAX;

	buf_putc(&m->out, (char)n);
	buf_put(strings, str_head(s, n));
}

static void put_part(struct maker *m, const struct mime_part *p, struct buf *strings)
{
	size_t strings_at = strings->n;
	bool attachment = is_attachment(&m->tree, p);

	m->flags |= attachment ? FLAG_ATTACHMENT : 0;
	buf_put_le32(&m->out, (uint32_t)p->parent);
	buf_put_le32(&m->out, (uint32_t)p->next);
	buf_put_le32(&m->out, (uint32_t)p->first_child);
	buf_putc(&m->out, (char)p->kind);
	buf_putc(&m->out, (char)p->encoding);
	buf_putc(&m->out, attachment ? PART_ATTACHMENT : 0);
	put_part_string(m, strings, p->type);
	put_part_string(m, strings, p->subtype);
	put_part_string(m, strings, charset_of(p));
	buf_put_le32(&m->out, (uint32_t)strings_at);
	buf_put_le64(&m->out, p->header_at);
	buf_put_le64(&m->out, p->header_n);
	buf_put_le64(&m->out, p->body_n);
	buf_put_le64(&m->out, p->lines);
}

static void put_parts(struct maker *m)
{
	struct buf strings = BUF_INIT(RECORD_MAX_OCTETS);

	for (size_t i = 0; i < m->tree.n && !m->out.full; i++)
		put_part(m, &m->tree.parts[i], &strings);
	section_end(m, S_PARTS);
	buf_put(&m->out, buf_str(&strings));
	section_end(m, S_PART_STRINGS);
	buf_free(&strings);
}

static size_t count_lines(struct str s)
{
	size_t n = 0, i;

	while ((i = str_find(s, '\n')) < s.n) {
		n++;
		s = str_skip(s, i + 1);
	}
	return n;
}

static void put_fixed(struct maker *m)
{
	const struct mime_part *root = &m->tree.parts[0];
	struct mail_date sent = { 0, 0 };

	if (date_parse_mail(head_value(&m->head, HEAD_DATE), &sent))
		m->flags |= FLAG_SENT;
	if (m->tree.truncated)
		m->flags |= FLAG_PARTS_CUT;
	memcpy(m->out.p + R_MAGIC, "PR", 2);
	patch(m, R_VERSION, RECORD_VERSION, 1);
	patch(m, R_FLAGS, m->flags, 1);
	patch(m, R_TOTAL, m->out.n, 4);
	patch(m, R_MESSAGE_OCTETS, m->message.n, 8);
	patch(m, R_HEADER_OCTETS, root->header_n, 8);
	patch(m, R_LINES, root->lines + count_lines(str_head(m->message, root->header_n)), 8);
	patch(m, R_SENT_S, (uint64_t)sent.epoch_s, 8);
	patch(m, R_SENT_ZONE, (uint32_t)sent.zone_min, 4);
	patch(m, R_N_FIELDS, m->n_fields, 4);
	patch(m, R_N_PARTS, m->tree.n, 4);
	patch(m, R_N_REFERENCES, m->n_references, 4);
}

/* All sections in their order. false: the arena is full; a record too large shows in out.full. */
static bool put_sections(struct maker *m, struct buf *index)
{
	if (!envelope_put(m->a, &m->l, &m->head, &m->out))
		return false;
	section_end(m, S_ENVELOPE);
	if (!structure_put(m->a, &m->l, m->message, &m->tree, false, &m->out))
		return false;
	section_end(m, S_BODY);
	if (!structure_put(m->a, &m->l, m->message, &m->tree, true, &m->out))
		return false;
	section_end(m, S_BODYSTRUCTURE);
	put_subject(m);
	put_preview(m);
	put_first_id(m, HEAD_MESSAGE_ID, S_MESSAGE_ID);
	put_first_id(m, HEAD_IN_REPLY_TO, S_IN_REPLY_TO);
	put_sort_keys(m);
	if (!put_references(m))
		return false;
	buf_put(&m->out, buf_str(index));
	section_end(m, S_FIELDS);
	put_parts(m);
	put_fixed(m);
	return true;
}

static bool make_within(struct maker *m)
{
	struct buf index = BUF_INIT(F_OCTETS * (RECORD_FIELDS_MAX + 1));
	bool ok;

	if (!buf_reserve(&m->out, R_FIXED_OCTETS))
		return false;
	memset(m->out.p, 0, R_FIXED_OCTETS);
	m->out.n = m->section_at = R_FIXED_OCTETS;
	ok = mime_parse_limited(m->a, m->message, m->l.parts, &m->tree) &&
	    read_header(m, &index) && put_sections(m, &index);
	buf_free(&index);
	return ok;
}

enum err_kind record_make(struct arena *a, struct str message, struct buf *out, struct err *e)
{
	struct maker m = { .a = a, .message = message };
	bool ok = false, full_was = out->full;

	for (size_t i = 0; i < COUNTOF(limits); i++) {
		m = (struct maker){ .a = a, .l = limits[i], .message = message };
		buf_init(&m.out, RECORD_MAX_OCTETS);
		ok = make_within(&m);
		if (!ok || !m.out.full)
			break;
		buf_free(&m.out);
		ok = false;
	}
	ok = ok && buf_put(out, buf_str(&m.out));
	if (!ok)
		out->full = full_was;
	buf_free(&m.out);
	return ok ? ERR_OK : err_set(e, ERR_LIMIT, 0, "no room for the message's record");
}

/* -- reading -- */

static bool open_sections(struct record *r)
{
	size_t at = R_FIXED_OCTETS;

	for (int i = 0; i < S_COUNT; i++) {
		size_t n = get_le32(r->data.p + R_SECTIONS + 4 * i);

		if (n > r->data.n - at)
			return false;
		r->sections[i] = str_n(r->data.p + at, n);
		at += n;
	}
	return at == r->data.n;
}

static bool fields_valid(const struct record *r)
{
	struct str s = r->sections[S_FIELDS];
	uint32_t end;

	if (s.n != (uint64_t)r->n_fields * F_OCTETS + 4)
		return false;
	end = get_le32(s.p + s.n - 4);
	if (end > r->header_octets)
		return false;
	for (uint32_t i = r->n_fields; i-- > 0;) {
		const char *p = s.p + (size_t)i * F_OCTETS;
		uint32_t at = get_le32(p + 4);

		if (at > end || get_le16(p + 8) > end - at)
			return false;
		end = at;
	}
	return true;
}

static bool references_valid(const struct record *r)
{
	struct str s = r->sections[S_REFERENCES];
	uint64_t table = (uint64_t)r->n_references * 4;
	uint32_t was = 0;

	if (table > s.n)
		return false;
	for (uint32_t i = 0; i < r->n_references; i++) {
		uint32_t end = get_le32(s.p + (size_t)i * 4);

		if (end < was || end > s.n - table)
			return false;
		was = end;
	}
	return true;
}

/* Links go forward only, so that no walk over them can be endless. */
static bool part_valid(const struct record *r, const char *p, uint32_t ix)
{
	int32_t parent = (int32_t)get_le32(p + P_PARENT);
	int32_t next = (int32_t)get_le32(p + P_NEXT);
	int32_t child = (int32_t)get_le32(p + P_FIRST_CHILD);
	uint64_t at = get_le64(p + P_HEADER_AT), header = get_le64(p + P_HEADER_OCTETS);
	uint64_t body = get_le64(p + P_BODY_OCTETS), size = r->message_octets;
	uint64_t strings = (uint64_t)get_le32(p + P_STRINGS) + (unsigned char)p[P_TYPE_N] +
	    (unsigned char)p[P_SUBTYPE_N] + (unsigned char)p[P_CHARSET_N];
	int32_t self = (int32_t)ix, n = (int32_t)r->n_parts;

	return parent >= MIME_NONE && parent < self && (parent == MIME_NONE) == (self == 0) &&
	    (next == MIME_NONE || (next > self && next < n && self != 0)) &&
	    (child == MIME_NONE || (child > self && child < n)) &&
	    (unsigned char)p[P_KIND] <= MIME_MESSAGE && (unsigned char)p[P_ENCODING] <= MIME_OTHER &&
	    (p[P_KIND] == MIME_LEAF) == (child == MIME_NONE) &&
	    at <= size && header <= size - at && body <= size - at - header &&
	    strings <= r->sections[S_PART_STRINGS].n;
}

static bool parts_valid(const struct record *r)
{
	struct str s = r->sections[S_PARTS];

	if (r->n_parts == 0 || r->n_parts > MIME_PARTS_MAX ||
	    s.n != (size_t)r->n_parts * P_OCTETS)
		return false;
	for (uint32_t i = 0; i < r->n_parts; i++) {
		if (!part_valid(r, s.p + (size_t)i * P_OCTETS, i))
			return false;
	}
	return true;
}

static void read_fixed(struct record *r)
{
	const char *p = r->data.p;
	unsigned flags = (unsigned char)p[R_FLAGS];

	r->message_octets = get_le64(p + R_MESSAGE_OCTETS);
	r->header_octets = get_le64(p + R_HEADER_OCTETS);
	r->lines = get_le64(p + R_LINES);
	r->sent_s = (int64_t)get_le64(p + R_SENT_S);
	r->sent_zone_min = (int32_t)get_le32(p + R_SENT_ZONE);
	r->n_fields = get_le32(p + R_N_FIELDS);
	r->n_parts = get_le32(p + R_N_PARTS);
	r->n_references = get_le32(p + R_N_REFERENCES);
	r->has_sent = (flags & FLAG_SENT) != 0;
	r->has_attachment = (flags & FLAG_ATTACHMENT) != 0;
	r->is_reply = (flags & FLAG_REPLY) != 0;
	r->fields_cut = (flags & FLAG_FIELDS_CUT) != 0;
	r->parts_cut = (flags & FLAG_PARTS_CUT) != 0;
}

enum err_kind record_open(struct str data, struct record *out, struct err *e)
{
	*out = (struct record){ .data = data };
	if (data.n < R_FIXED_OCTETS || data.n > RECORD_MAX_OCTETS ||
	    memcmp(data.p + R_MAGIC, "PR", 2) != 0 || data.p[R_VERSION] != RECORD_VERSION ||
	    get_le32(data.p + R_TOTAL) != data.n)
		return err_set(e, ERR_CORRUPT, 0, "not a parsed record of this version");
	read_fixed(out);
	if (!open_sections(out) || out->header_octets > out->message_octets ||
	    !fields_valid(out) || !references_valid(out) || !parts_valid(out))
		return err_set(e, ERR_CORRUPT, 0, "parsed record out of bounds");
	return ERR_OK;
}

struct str record_envelope(const struct record *r) { return r->sections[S_ENVELOPE]; }
struct str record_body(const struct record *r) { return r->sections[S_BODY]; }
struct str record_bodystructure(const struct record *r) { return r->sections[S_BODYSTRUCTURE]; }
struct str record_subject(const struct record *r) { return r->sections[S_SUBJECT]; }
struct str record_base_subject(const struct record *r) { return r->sections[S_BASE_SUBJECT]; }
struct str record_preview(const struct record *r) { return r->sections[S_PREVIEW]; }
struct str record_message_id(const struct record *r) { return r->sections[S_MESSAGE_ID]; }
struct str record_in_reply_to(const struct record *r) { return r->sections[S_IN_REPLY_TO]; }

struct str record_sort_mailbox(const struct record *r, enum record_addr which)
{
	return r->sections[S_SORT_MAILBOX + which];
}

struct str record_sort_display(const struct record *r, enum record_addr which)
{
	return r->sections[S_SORT_DISPLAY + which];
}

struct str record_reference(const struct record *r, uint32_t ix)
{
	struct str s = r->sections[S_REFERENCES];
	const char *text = s.p + (size_t)r->n_references * 4;
	uint32_t from = ix > 0 ? get_le32(s.p + (size_t)(ix - 1) * 4) : 0;

	return str_n(text + from, get_le32(s.p + (size_t)ix * 4) - from);
}

struct record_field record_field(const struct record *r, uint32_t ix)
{
	const char *p = r->sections[S_FIELDS].p + (size_t)ix * F_OCTETS;
	uint32_t at = get_le32(p + 4);
	/* The next field's offset, or the end behind the last. */
	uint32_t end = get_le32(p + F_OCTETS + (ix + 1 < r->n_fields ? 4 : 0));

	return (struct record_field){ get_le32(p), get_le16(p + 8), at, end - at };
}

bool record_subject_is_whole(const struct record *r)
{
	const size_t all = limits[COUNTOF(limits) - 1].all_value_octets;
	uint32_t hash = record_name_hash(STR("Subject"));
	unsigned n = 0;

	/* head_add counts a list's node for each value */
	if (r->fields_cut || r->header_octets > all || r->n_fields * sizeof(struct head_value) > all - r->header_octets)
		return false;
	for (uint32_t i = 0; i < r->n_fields; i++) {
		struct record_field f = record_field(r, i);

		if (f.name_hash == hash && (++n > 1 || f.octets > RECORD_SUBJECT_MAX_OCTETS / CHARSET_GROWS))
			return false;
	}
	return true;
}

bool record_may_have_field(const struct record *r, struct str name)
{
	uint32_t hash = record_name_hash(name);
	const char *p = r->sections[S_FIELDS].p;

	if (r->fields_cut)
		return true;
	for (uint32_t i = 0; i < r->n_fields; i++, p += F_OCTETS) {
		if (get_le32(p) == hash)
			return true;
	}
	return false;
}

struct record_part record_part(const struct record *r, uint32_t ix)
{
	const char *p = r->sections[S_PARTS].p + (size_t)ix * P_OCTETS;
	struct record_part out = {
		.ix = ix,
		.parent = (int32_t)get_le32(p + P_PARENT),
		.next = (int32_t)get_le32(p + P_NEXT),
		.first_child = (int32_t)get_le32(p + P_FIRST_CHILD),
		.kind = (enum mime_kind)p[P_KIND],
		.encoding = (enum mime_encoding)p[P_ENCODING],
		.header_at = get_le64(p + P_HEADER_AT),
		.header_octets = get_le64(p + P_HEADER_OCTETS),
		.body_octets = get_le64(p + P_BODY_OCTETS),
		.lines = get_le64(p + P_LINES),
		.is_attachment = (p[P_FLAGS] & PART_ATTACHMENT) != 0,
	};

	out.body_at = out.header_at + out.header_octets;
	out.type = str_n(r->sections[S_PART_STRINGS].p + get_le32(p + P_STRINGS),
	    (unsigned char)p[P_TYPE_N]);
	out.subtype = str_n(out.type.p + out.type.n, (unsigned char)p[P_SUBTYPE_N]);
	out.charset = str_n(out.subtype.p + out.subtype.n, (unsigned char)p[P_CHARSET_N]);
	return out;
}

bool record_part_message(const struct record *r, const struct record_part *part,
    struct record_part *out)
{
	if (part->kind != MIME_MESSAGE)
		return false;
	*out = record_part(r, (uint32_t)part->first_child);
	return true;
}

/* The child that IMAP numbers n. A message that is no multipart has its body as part 1. */
static bool numbered_child(const struct record *r, const struct record_part *of, uint32_t n,
    struct record_part *out)
{
	if (of->kind != MIME_MULTIPART) {
		*out = *of;
		return n == 1;
	}
	*out = record_part(r, (uint32_t)of->first_child);
	while (n > 1 && out->next != MIME_NONE) {
		*out = record_part(r, (uint32_t)out->next);
		n--;
	}
	return n == 1;
}

bool record_part_find(const struct record *r, const uint32_t *path, size_t n_path,
    struct record_part *out)
{
	struct record_part at = record_part(r, 0);

	for (size_t i = 0; i < n_path; i++) {
		/* Only a multipart or a message has parts below it. */
		if (i > 0 && at.kind == MIME_LEAF)
			return false;
		if (i > 0 && at.kind == MIME_MESSAGE)
			record_part_message(r, &at, &at);
		if (!numbered_child(r, &at, path[i], &at))
			return false;
	}
	*out = at;
	return n_path > 0;
}
