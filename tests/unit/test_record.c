/* SPDX-License-Identifier: ISC */
/* The parsed record: what it says of a message, that hostile messages stay cheap, and that no
 * damaged record is read past its end. */
#include <time.h>

#include "../../libmail/record.h"
#include "tap.h"

static struct arena *arena;

static const struct str sample = STR_INIT(
    "Date: Wed, 17 Jul 1996 02:44:25 -0700\r\n"
    "From: =?utf-8?Q?J=C3=B6rg?= <j@x.org>\r\n"
    "To: g: a@b;, \"Q \\\"q\\\"\" <c@d>\r\n"
    "Subject: Re: [list] =?utf-8?Q?Gr=C3=BC=C3=9Fe?= (fwd)\r\n"
    "Message-ID: <abc@def>\r\n"
    "References: <one@x>\r\n <two@x>\r\n"
    "Content-Type: multipart/mixed; boundary=b\r\n"
    "\r\n"
    "--b\r\n"
    "Content-Type: text/plain; charset=iso-8859-1\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n"
    "\r\n"
    "sch=F6n  und\r\ngut\r\n"
    "--b\r\n"
    "Content-Type: message/rfc822\r\n"
    "\r\n"
    "Subject: in\r\n"
    "\r\n"
    "inner\r\n"
    "--b\r\n"
    "Content-Type: application/pdf\r\n"
    "Content-Disposition: attachment; filename=\"a.pdf\"\r\n"
    "\r\n"
    "x\r\n"
    "--b--\r\n");

static void make(struct str message, struct buf *b, struct record *r)
{
	struct err e;

	buf_reset(b);
	arena_reset(arena);
	REQUIRE(record_make(arena, message, b, &e) == ERR_OK);
	REQUIRE(b->n <= RECORD_MAX_OCTETS);
	REQUIRE(record_open(buf_str(b), r, &e) == ERR_OK);
}

static void test_sample(void)
{
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS);
	struct record r;
	struct record_field f;

	make(sample, &b, &r);
	CHECK(str_eq(record_envelope(&r), STR("(\"Wed, 17 Jul 1996 02:44:25 -0700\" "
	    "\"Re: [list] =?utf-8?Q?Gr=C3=BC=C3=9Fe?= (fwd)\" "
	    "((\"=?utf-8?Q?J=C3=B6rg?=\" NIL \"j\" \"x.org\")) "
	    "((\"=?utf-8?Q?J=C3=B6rg?=\" NIL \"j\" \"x.org\")) "
	    "((\"=?utf-8?Q?J=C3=B6rg?=\" NIL \"j\" \"x.org\")) "
	    "((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL)"
	    "(\"Q \\\"q\\\"\" NIL \"c\" \"d\")) NIL NIL NIL \"<abc@def>\")")));
	CHECK(str_eq(record_body(&r), STR("((\"text\" \"plain\" (\"charset\" \"iso-8859-1\") NIL NIL "
	    "\"quoted-printable\" 17 1)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 20 "
	    "(NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 0) 2)"
	    "(\"application\" \"pdf\" NIL NIL NIL \"7bit\" 1) \"mixed\")")));
	CHECK(str_ends(record_bodystructure(&r), STR("(\"application\" \"pdf\" NIL NIL NIL \"7bit\" 1 "
	    "NIL (\"attachment\" (\"filename\" \"a.pdf\")) NIL NIL) \"mixed\" (\"boundary\" \"b\") "
	    "NIL NIL NIL)")));
	CHECK(str_eq(record_subject(&r), STR("Re: [list] Gr\xc3\xbc\xc3\x9f" "e (fwd)")));
	CHECK(str_eq(record_base_subject(&r), STR("Gr\xc3\xbc\xc3\x9f" "e")) && r.is_reply);
	CHECK(str_eq(record_preview(&r), STR("sch\xc3\xb6n und gut")));
	CHECK(str_eq(record_message_id(&r), STR("<abc@def>")) && record_in_reply_to(&r).n == 0);
	CHECK(r.n_references == 2 && str_eq(record_reference(&r, 0), STR("<one@x>")) &&
	    str_eq(record_reference(&r, 1), STR("<two@x>")));
	CHECK(r.has_sent && r.sent_s == 837596665 && r.sent_zone_min == -420);
	CHECK(r.has_attachment && !r.fields_cut && !r.parts_cut && r.n_fields == 7);
	CHECK(str_eq(record_sort_mailbox(&r, RECORD_FROM), STR("j")));
	CHECK(str_eq(record_sort_display(&r, RECORD_FROM), STR("J\xc3\xb6rg")));
	CHECK(str_eq(record_sort_display(&r, RECORD_TO), STR("a@b")));
	CHECK(record_sort_display(&r, RECORD_CC).n == 0);
	CHECK(r.message_octets == sample.n);
	CHECK(str_eq(str_skip(str_head(sample, r.header_octets), r.header_octets - 4), STR("\r\n\r\n")));
	f = record_field(&r, 5);
	CHECK(str_eq(str_n(sample.p + f.at, f.octets), STR("References: <one@x>\r\n <two@x>\r\n")));
	CHECK(f.name_hash == record_name_hash(STR("REFERENCES")) && f.name_octets == 10);
	CHECK(record_may_have_field(&r, STR("message-id")) && !record_may_have_field(&r, STR("Bcc")));
	f = record_field(&r, 6);
	CHECK(f.at + f.octets + 2 == r.header_octets);
	buf_free(&b);
}

static void test_parts(void)
{
	static const struct { uint32_t path[3]; size_t n; bool ok; struct str body; } t[] = {
		{ { 1 }, 1, true, STR_INIT("sch=F6n  und\r\ngut") },
		{ { 2 }, 1, true, STR_INIT("Subject: in\r\n\r\ninner") },
		{ { 2, 1 }, 2, true, STR_INIT("inner") },
		{ { 3 }, 1, true, STR_INIT("x") },
		{ { 4 }, 1, false, STR_INIT("") }, { { 0 }, 1, false, STR_INIT("") },
		{ { 1, 1 }, 2, false, STR_INIT("") }, { { 2, 2 }, 2, false, STR_INIT("") },
		{ { 2, 1, 1 }, 3, false, STR_INIT("") }, { { UINT32_MAX }, 1, false, STR_INIT("") },
	};
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS);
	struct record r;
	struct record_part p, m;

	make(sample, &b, &r);
	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok = record_part_find(&r, t[i].path, t[i].n, &p);

		CHECK_AT(ok == t[i].ok && (!ok ||
		    str_eq(str_n(sample.p + p.body_at, p.body_octets), t[i].body)), i);
	}
	REQUIRE(record_part_find(&r, (uint32_t[]){ 2 }, 1, &p) && record_part_message(&r, &p, &m));
	CHECK(str_eq(str_n(sample.p + m.header_at, m.header_octets), STR("Subject: in\r\n\r\n")));
	REQUIRE(record_part_find(&r, (uint32_t[]){ 1 }, 1, &p));
	CHECK(str_eq(p.charset, STR("iso-8859-1")) && p.encoding == MIME_QP && p.lines == 1);
	make(STR("Subject: x\r\n\r\nbody\r\n"), &b, &r);
	REQUIRE(record_part_find(&r, (uint32_t[]){ 1 }, 1, &p));
	CHECK(p.body_octets == 6 && p.ix == 0);
	CHECK(!record_part_find(&r, (uint32_t[]){ 1, 1 }, 2, &p));
	buf_free(&b);
}

static void test_subjects(void)
{
	static const struct { struct str in, base; bool reply; } t[] = {
		{ STR_INIT("a"), STR_INIT("a"), false },
		{ STR_INIT("Re: a"), STR_INIT("a"), true },
		{ STR_INIT("RE : Fwd: fw: a (fwd) (FWD)"), STR_INIT("a"), true },
		{ STR_INIT("Re[2]: a"), STR_INIT("a"), true },
		{ STR_INIT("[x] [y] Re: [z] a"), STR_INIT("a"), true },
		{ STR_INIT("[x]"), STR_INIT("[x]"), false },
		{ STR_INIT("[x] [y]"), STR_INIT("[y]"), false },
		{ STR_INIT("Re: [x]"), STR_INIT("[x]"), true },
		{ STR_INIT("[Fwd: Re: a]"), STR_INIT("a"), true },
		{ STR_INIT("[Fwd: [Fwd: a (fwd)]]"), STR_INIT("a"), true },
		{ STR_INIT("Rebuild: a"), STR_INIT("Rebuild: a"), false },
		{ STR_INIT("Re:"), STR_INIT(""), true },
		{ STR_INIT("(fwd)"), STR_INIT(""), true },
		{ STR_INIT("[[x] a"), STR_INIT("[[x] a"), false },
	};
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS), m = BUF_INIT(1000);
	struct record r;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		buf_reset(&m);
		buf_put(&m, STR("Subject: "));
		buf_put(&m, t[i].in);
		buf_put(&m, STR("\r\n\r\n"));
		make(buf_str(&m), &b, &r);
		CHECK_AT(str_eq(record_base_subject(&r), t[i].base) && r.is_reply == t[i].reply, i);
	}
	buf_free(&b);
	buf_free(&m);
}

/* Reads one IMAP value (RFC 3501 s.9: string, number, NIL, parenthesized list) at *at. */
static bool imap_value(struct str s, size_t *at)
{
	size_t depth = 0;

	do {
		char c;

		while (*at < s.n && s.p[*at] == ' ')
			++*at;
		if (*at == s.n)
			return false;
		c = s.p[*at];
		if (c == '(') {
			depth++;
			++*at;
		} else if (c == ')') {
			if (depth-- == 0)
				return false;
			++*at;
		} else if (c == '"') {
			for (++*at; *at < s.n && s.p[*at] != '"'; ++*at) {
				unsigned char q = (unsigned char)s.p[*at];

				if (q == '\\')
					++*at;
				if (q == 0 || q == '\r' || q == '\n' || q > 127)
					return false;
			}
			if (++*at > s.n)
				return false;
		} else if (c == '{') {
			size_t n = str_find(str_skip(s, *at), '}');
			uint64_t octets;

			if (!str_to_u64(str_n(s.p + *at + 1, n - 1), s.n, &octets) ||
			    !str_starts(str_skip(s, *at + n + 1), STR("\r\n")))
				return false;
			*at += n + 3;
			if (octets > s.n - *at || memchr(s.p + *at, '\0', octets) != NULL)
				return false;
			*at += octets;
		} else if (ascii_is_alpha(c) || ascii_is_digit(c)) {
			while (*at < s.n && (ascii_is_alpha(s.p[*at]) || ascii_is_digit(s.p[*at])))
				++*at;
		} else {
			return false;
		}
	} while (depth > 0);
	return true;
}

static bool is_one_value(struct str s)
{
	size_t at = 0;

	return imap_value(s, &at) && at == s.n;
}

static void test_quoting(void)
{
	static const struct str t[] = {
		STR_INIT("Subject: \"\\\r\n\r\n"), STR_INIT("Subject: a\0b\xff\r\n\r\n"),
		STR_INIT("From: \"\\\"\r\nTo: \"\\\r\n\r\n"), STR_INIT("To: (\\\r\n\r\n"),
		STR_INIT("Subject: a\rb\r\n\r\n"), STR_INIT("From: \xe4 <\xe4@\xe4>\r\n\r\n"),
		STR_INIT("Content-Type: a\"b/c\\d; \"=\"; e=\"\\\"f\0\r\n g\"\r\n\r\n"),
		STR_INIT("Content-Type: text/\xff; \xff*=\xff; x*0*=a''%; x*1=\"\"\r\n\r\n"),
		STR_INIT("Content-Language: de, \"en, \xff\r\nContent-ID: \"\r\nContent-MD5:\r\n\r\n"),
		STR_INIT("Content-Disposition: ; filename=\r\nContent-Location: a\0\r\n\r\n"),
		STR_INIT("Content-Type: multipart/;boundary=x\r\n\r\n--x\r\n"),
		STR_INIT("Content-Type: /\r\nContent-Transfer-Encoding: \"\r\n\r\n"),
		STR_INIT("Message-ID: {5}\r\nIn-Reply-To: NIL\r\nDate: ()\r\n\r\n"),
	};
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS);
	struct record r;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		make(t[i], &b, &r);
		CHECK_AT(is_one_value(record_envelope(&r)), i);
		CHECK_AT(is_one_value(record_body(&r)), i);
		CHECK_AT(is_one_value(record_bodystructure(&r)), i);
	}
	buf_free(&b);
}

/* A hostile message: before, unit times n, after. */
static const struct hostile {
	const char *before, *unit;
	size_t n;
	const char *after;
} hostile[] = {
	{ "", "To: a@b\r\n", 100000, "\r\n" },
	{ "To: a@b", ",\r\n b@c", 100000, "\r\n\r\n" },
	{ "To: ", "Name Name <user@example.org>, ", 50000, "\r\n\r\n" },
	{ "", "X-Header-Of-Some-Length: with a value that fills the line\r\n", 70000, "\r\n" },
	{ "X: ", "y", 2000000, "\r\n\r\n" },
	{ "X: y\r\n\r\n", "x", 8000000, "\r\n" },
	{ "X: y", "\r\n z", 400000, "\r\n\r\n" },
	{ "Subject: x\r\n\r\n", "a\r\n", 400000, "" },
	{ "To: ", "(", 90000, "\r\n\r\n" },
	{ "From: a (", "\\", 90001, "" },
	{ "Subject: ", "Re: ", 500000, "\r\n\r\n" },
	{ "Subject: ", "[a] ", 500000, "\r\n\r\n" },
	{ "Subject: ", "[Fwd: ", 500000, "\r\n\r\n" },
	{ "References: ", "<abcdefgh@example.org> ", 20000, "\r\n\r\n" },
	{ "References: ", "<", 1000000, "\r\n\r\n" },
	{ "Subject: ", "=?utf-8?q?a?= ", 100000, "\r\n\r\n" },
	{ "Content-Type: text/plain", "; a*0=b", 100000, "\r\n\r\n" },
	{ "Content-Type: multipart/mixed; boundary=x\r\n\r\n", "--x\r\n\r\na\r\n", 30000, "" },
	{ "", "Content-Type: message/rfc822\r\n\r\n", 1500, "" },
	{ "", "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n", 2000, "" },
	{ "Content-Type: multipart/mixed; boundary=x\r\n\r\n",
	  "--x\r\nContent-Type: a/b; c=\"d\\e\r\n f\"; g=h\r\nContent-Description: a\r\n b\r\n\r\n",
	  50000, "" },
	{ "Content-Type: multipart/mixed; boundary=x\r\n\r\n",
	  "--x\r\nContent-Type: message/rfc822\r\n\r\nTo: a@b, c@d\r\nSubject: \xff\r\n\r\n", 20000, "" },
	{ "Subject: x\r\nContent-Type: text/html\r\n\r\n", "<a &amp", 1000000, "" },
	{ "", ":\r\n", 1000000, "" },
	{ "Content-Type: ", "(", 1000000, "" },
};

static void test_hostile(void)
{
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS), m = BUF_INIT(16 << 20);
	struct record r;

	for (size_t i = 0; i < COUNTOF(hostile); i++) {
		clock_t start;

		buf_reset(&m);
		buf_put(&m, str_of(hostile[i].before));
		for (size_t k = 0; k < hostile[i].n; k++)
			buf_put(&m, str_of(hostile[i].unit));
		buf_put(&m, str_of(hostile[i].after));
		REQUIRE(!m.full);
		start = clock();
		make(buf_str(&m), &b, &r);
		/* Sanitizers make everything several times slower. */
		CHECK_AT((double)(clock() - start) / CLOCKS_PER_SEC < 3.0, i);
		CHECK_AT(is_one_value(record_envelope(&r)) && is_one_value(record_body(&r)) &&
		    is_one_value(record_bodystructure(&r)), i);
		CHECK_AT(arena_used(arena) < RECORD_ARENA_OCTETS / 2, i);
	}
	buf_free(&b);
	buf_free(&m);
}

static void read_everything(const struct record *r)
{
	uint64_t sum = 0;
	struct record_part p;

	sum += record_envelope(r).n + record_body(r).n + record_bodystructure(r).n;
	for (uint32_t i = 0; i < r->n_fields; i++)
		sum += record_field(r, i).octets;
	for (uint32_t i = 0; i < r->n_references; i++) {
		struct str s = record_reference(r, i);

		for (size_t k = 0; k < s.n; k++)
			sum += (unsigned char)s.p[k];
	}
	for (uint32_t i = 0; i < r->n_parts; i++) {
		p = record_part(r, i);
		for (size_t k = 0; k < p.type.n + p.subtype.n + p.charset.n; k++)
			sum += (unsigned char)p.type.p[k];
		record_part_message(r, &p, &p);
	}
	for (uint32_t i = 1; i < 4; i++)
		record_part_find(r, (uint32_t[]){ i, 1, 1 }, 3, &p);
	CHECK(sum + 1 > 0);
}

/* Every truncation, and every octet set to a few values, in a copy of exactly that size. */
static void test_damage(void)
{
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS);
	struct record r;
	size_t refused = 0, opened = 0;

	make(sample, &b, &r);
	for (size_t n = 0; n < b.n; n++) {
		char *copy = malloc(n > 0 ? n : 1);

		memcpy(copy, b.p, n);
		refused += record_open(str_n(copy, n), &r, NULL) == ERR_CORRUPT;
		free(copy);
	}
	CHECK(refused == b.n);
	for (size_t i = 0; i < b.n; i++) {
		static const unsigned char to[] = { 0, 1, 0x7f, 0x80, 0xff };

		for (size_t k = 0; k < sizeof to; k++) {
			char *copy = malloc(b.n);

			memcpy(copy, b.p, b.n);
			copy[i] = (char)to[k];
			if (record_open(str_n(copy, b.n), &r, NULL) == ERR_OK && opened++ % 64 == 0)
				read_everything(&r);
			free(copy);
		}
	}
	CHECK(opened > 0);
	buf_free(&b);
}

static void test_small_room(void)
{
	struct arena *small = arena_new(1000);
	struct buf b = BUF_INIT(100);

	CHECK(record_make(arena, sample, &b, NULL) == ERR_LIMIT && b.n == 0 && !b.full);
	buf_free(&b);
	buf_init(&b, RECORD_MAX_OCTETS);
	CHECK(record_make(small, sample, &b, NULL) == ERR_LIMIT && b.n == 0);
	buf_free(&b);
	arena_free(&small);
}

static void test_subject_whole(void)
{
	struct arena *a = arena_new(RECORD_ARENA_OCTETS);
	struct buf m = BUF_INIT(1 << 20), b = BUF_INIT(RECORD_MAX_OCTETS);
	struct record r;

	for (int i = 0; i < 7; i++) {
		bool whole = i < 3;

		buf_reset(&m);
		buf_reset(&b);
		arena_reset(a);
		for (int k = 0; k < (i == 3 ? 2000 : i == 4 ? 20 : 1); k++)
			buf_printf(&m, "To: %.*s\r\n", i == 4 ? 1000 : 1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		for (int k = 0; i == 4 && k < 20000; k++)
			buf_printf(&m, " x\r\n");
		if (i != 1)
			buf_printf(&m, "Subject: a%*sb\r\n", i == 5 ? 5000 : 3, "");
		if (i == 6)
			buf_put(&m, STR("SUBJECT: c\r\n"));
		buf_put(&m, STR("\r\n"));
		REQUIRE(record_make(a, buf_str(&m), &b, NULL) == ERR_OK && record_open(buf_str(&b), &r, NULL) == ERR_OK);
		CHECK_AT(record_subject_is_whole(&r) == whole, i);
		CHECK_AT(!whole || str_eq(record_subject(&r), i == 1 ? STR("") : STR("a b")), i);
	}
	buf_free(&m);
	buf_free(&b);
	arena_free(&a);
}

int main(void)
{
	arena = arena_new(RECORD_ARENA_OCTETS);
	test_sample();
	test_parts();
	test_subjects();
	test_quoting();
	test_hostile();
	test_damage();
	test_small_room();
	arena_free(&arena);
	test_subject_whole();
	return tap_done();
}
