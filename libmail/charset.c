/* SPDX-License-Identifier: ISC */
/* Text to UTF-8. The pool of converters lives as long as the process and holds no text. One of a
 * charset with an octet to a character is a table, read from iconv, whose module goes again: mapped
 * modules make every fork dearer. The others are iconv's, reset whenever a stream starts on one, so
 * only one stream of such a charset may be open at a time. Once warmed the pool is sealed: an
 * iconv_open in the sandbox would look for files. */
#include <errno.h>
#include <iconv.h>
#include <unicase.h>
#include <uninorm.h>
#include <unistring/version.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "charset.h"
#include "mutf7.h"

enum {
	NAME_MAX_OCTETS = 40,
	UNLOAD_CLOSES = 3,
	STREAM_OUT_OCTETS = 4096,
	DECOMPOSE_STACK = 96,
	REPLACEMENT = 0xfffd
};

/* Converters below 0 are built in. */
enum { CONV_ASCII = -4, CONV_UTF8 = -3, CONV_CP1252 = -2, CONV_NONE = -1 };

/* Other names of what is built in or warmed, lower case. */
static const struct alias { struct str name, canonical; } aliases[] = {
	{ STR_INIT("ascii"), STR_INIT("us-ascii") },
	{ STR_INIT("ansi_x3.4-1968"), STR_INIT("us-ascii") },
	{ STR_INIT("iso646-us"), STR_INIT("us-ascii") },
	{ STR_INIT("iso-ir-6"), STR_INIT("us-ascii") },
	{ STR_INIT("unknown-8bit"), STR_INIT("us-ascii") },
	{ STR_INIT("x-unknown"), STR_INIT("us-ascii") },
	{ STR_INIT("default"), STR_INIT("us-ascii") },
	{ STR_INIT("utf8"), STR_INIT("utf-8") },
	{ STR_INIT("unicode-1-1-utf-8"), STR_INIT("utf-8") },
	{ STR_INIT("iso-8859-1"), STR_INIT("windows-1252") },
	{ STR_INIT("iso8859-1"), STR_INIT("windows-1252") },
	{ STR_INIT("iso_8859-1"), STR_INIT("windows-1252") },
	{ STR_INIT("latin1"), STR_INIT("windows-1252") },
	{ STR_INIT("cp1252"), STR_INIT("windows-1252") },
	{ STR_INIT("iso8859-15"), STR_INIT("iso-8859-15") },
	{ STR_INIT("latin-9"), STR_INIT("iso-8859-15") },
	{ STR_INIT("latin2"), STR_INIT("iso-8859-2") },
	{ STR_INIT("iso8859-2"), STR_INIT("iso-8859-2") },
	{ STR_INIT("iso-8859-8-i"), STR_INIT("iso-8859-8") },
	{ STR_INIT("iso-8859-6-i"), STR_INIT("iso-8859-6") },
	{ STR_INIT("cp1250"), STR_INIT("windows-1250") },
	{ STR_INIT("cp1251"), STR_INIT("windows-1251") },
	{ STR_INIT("cp1253"), STR_INIT("windows-1253") },
	{ STR_INIT("cp1254"), STR_INIT("windows-1254") },
	{ STR_INIT("cp1255"), STR_INIT("windows-1255") },
	{ STR_INIT("cp1256"), STR_INIT("windows-1256") },
	{ STR_INIT("cp1257"), STR_INIT("windows-1257") },
	{ STR_INIT("cp1258"), STR_INIT("windows-1258") },
	{ STR_INIT("koi8r"), STR_INIT("koi8-r") },
	{ STR_INIT("gb2312"), STR_INIT("gb18030") },
	{ STR_INIT("gb_2312-80"), STR_INIT("gb18030") },
	{ STR_INIT("gbk"), STR_INIT("gb18030") },
	{ STR_INIT("x-gbk"), STR_INIT("gb18030") },
	{ STR_INIT("cp936"), STR_INIT("gb18030") },
	{ STR_INIT("euc-cn"), STR_INIT("gb18030") },
	{ STR_INIT("big5"), STR_INIT("big5-hkscs") },
	{ STR_INIT("cp950"), STR_INIT("big5-hkscs") },
	{ STR_INIT("x-sjis"), STR_INIT("cp932") },
	{ STR_INIT("shift_jis"), STR_INIT("cp932") },
	{ STR_INIT("shift-jis"), STR_INIT("cp932") },
	{ STR_INIT("sjis"), STR_INIT("cp932") },
	{ STR_INIT("windows-31j"), STR_INIT("cp932") },
	{ STR_INIT("x-euc-jp"), STR_INIT("euc-jp") },
	{ STR_INIT("ks_c_5601-1987"), STR_INIT("cp949") },
	{ STR_INIT("ks_c_5601"), STR_INIT("cp949") },
	{ STR_INIT("euc-kr"), STR_INIT("cp949") },
	{ STR_INIT("windows-949"), STR_INIT("cp949") },
	{ STR_INIT("windows-874"), STR_INIT("cp874") },
	{ STR_INIT("tis-620"), STR_INIT("cp874") },
	{ STR_INIT("x-mac-roman"), STR_INIT("macintosh") },
	{ STR_INIT("cp850"), STR_INIT("ibm850") },
	{ STR_INIT("cp866"), STR_INIT("ibm866") },
	{ STR_INIT("cp437"), STR_INIT("ibm437") },
	{ STR_INIT("unicode-1-1-utf-7"), STR_INIT("utf-7") },
};

/* Those with an octet to a character, all of them ASCII below 0x80. */
static const char *const table_names[] = {
	"iso-8859-2", "iso-8859-3", "iso-8859-4", "iso-8859-5", "iso-8859-6", "iso-8859-7",
	"iso-8859-8", "iso-8859-9", "iso-8859-10", "iso-8859-11", "iso-8859-13", "iso-8859-14",
	"iso-8859-15", "iso-8859-16", "windows-1250", "windows-1251", "windows-1253",
	"windows-1254", "windows-1256", "windows-1257", "koi8-r", "koi8-u", "cp874", "macintosh",
	"ibm437", "ibm850", "ibm852", "ibm866",
};

/* The others. windows-1255 and -1258 compose a letter and the accents after it. */
static const char *const iconv_names[] = {
	"windows-1255", "windows-1258", "gb18030", "big5-hkscs", "euc-jp", "cp932", "iso-2022-jp",
	"iso-2022-jp-2", "iso-2022-kr", "cp949", "utf-7", "utf-16", "utf-16le", "utf-16be",
};

/* A converter's number is its place here: the tables, then iconv's. */
enum { N_TABLES = COUNTOF(table_names), N_ICONV = COUNTOF(iconv_names) };

static struct pool {
	struct table { uint16_t high[128]; bool there; } tables[N_TABLES];	/* for 0x80-0xff */
	struct { iconv_t cd; bool there; } iconvs[N_ICONV];
	bool sealed;
} pool;

/* What windows-1252 has at 0x80-0x9f; 0: nothing. */
static const uint16_t cp1252_high[32] = {
	0x20ac, 0, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039,
	0x152, 0, 0x17d, 0, 0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc,
	0x2122, 0x161, 0x203a, 0x153, 0, 0x17e, 0x178,
};

/* The one character that the octet is, alone; REPLACEMENT when it is none. */
static uint32_t iconv_char(iconv_t cd, char octet)
{
	char text[8], *from = &octet, *to = text;
	size_t left = 1, room = sizeof text, n;
	uint32_t c;

	iconv(cd, NULL, NULL, NULL, NULL);
	if (iconv(cd, &from, &left, &to, &room) == (size_t)-1)
		return REPLACEMENT;
	n = sizeof text - room;
	return n > 0 && utf8_next(str_n(text, n), &c) == n && c <= UINT16_MAX ? c : REPLACEMENT;
}

static bool table_open(int i)
{
	struct table *t = &pool.tables[i];
	iconv_t cd;

	if (t->there || pool.sealed)
		return t->there;
	cd = iconv_open("UTF-8", table_names[i]);
	if (cd == (iconv_t)-1)
		return false;
	for (size_t k = 0; k < COUNTOF(t->high); k++)
		t->high[k] = (uint16_t)iconv_char(cd, (char)(0x80 + k));
	iconv_close(cd);
	return t->there = true;
}

static bool iconv_keep(int i)
{
	if (pool.iconvs[i].there || pool.sealed)
		return pool.iconvs[i].there;
	pool.iconvs[i].cd = iconv_open("UTF-8", iconv_names[i]);
	return pool.iconvs[i].there = pool.iconvs[i].cd != (iconv_t)-1;
}

/* Nothing but the lists: iconv's rarer modules have a record of endless loops and failed assertions
 * on hostile text (CVE-2020-27618, CVE-2021-3326). */
static int pool_find(const char *name)
{
	for (int i = 0; i < N_TABLES; i++) {
		if (strcmp(table_names[i], name) == 0)
			return table_open(i) ? i : CONV_NONE;
	}
	for (int i = 0; i < N_ICONV; i++) {
		if (strcmp(iconv_names[i], name) == 0)
			return iconv_keep(i) ? N_TABLES + i : CONV_NONE;
	}
	return CONV_NONE;
}

/* glibc unmaps a module that nobody uses only at the second close of another one after it. A module
 * that stays is closed here for this, before it is opened to stay. */
static void unload_unused(void)
{
	for (int i = 0; i < UNLOAD_CLOSES; i++) {
		iconv_t cd = iconv_open("UTF-8", "utf-16");

		if (cd != (iconv_t)-1)
			iconv_close(cd);
	}
}

void charset_warm(void)
{
	if (pool.sealed)
		return;
	for (int i = 0; i < N_TABLES; i++)
		table_open(i);
	unload_unused();
	for (int i = 0; i < N_ICONV; i++)
		iconv_keep(i);
	pool.sealed = true;
}

static uint32_t mix(uint32_t h, const void *p, size_t n)
{
	const unsigned char *octets = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ octets[i]) * 16777619u;	/* FNV-1a */
	return h;
}

uint32_t charset_fingerprint(void)
{
	static uint32_t known;
	uint32_t h = 2166136261u;

	if (!pool.sealed || known != 0)
		return known;
	h = mix(h, &_libunistring_version, sizeof _libunistring_version);
#ifdef __GLIBC__
	h = mix(h, gnu_get_libc_version(), strlen(gnu_get_libc_version()));
#endif
	for (int i = 0; i < N_TABLES; i++) {
		h = mix(h, &pool.tables[i].there, 1);
		h = mix(h, pool.tables[i].high, sizeof pool.tables[i].high);
	}
	for (int i = 0; i < N_ICONV; i++)
		h = mix(h, &pool.iconvs[i].there, 1);
	known = h != 0 ? h : 1;
	return known;
}

/* Lower case; false for what can't be a name: iconv gives "/" a meaning of its own. */
static bool name_clean(struct str name, char out[NAME_MAX_OCTETS])
{
	if (name.n == 0 || name.n >= NAME_MAX_OCTETS)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = ascii_lower(name.p[i]);

		if (!ascii_is_alpha(c) && !ascii_is_digit(c) &&
		    (c == '\0' || strchr("-_.:+", c) == NULL))
			return false;
		out[i] = c;
	}
	out[name.n] = '\0';
	return true;
}

static int converter_of(struct str name)
{
	char clean[NAME_MAX_OCTETS];
	struct str s;

	name = str_trim(name);
	if (name.n == 0)
		return CONV_ASCII;
	if (!name_clean(name, clean))
		return CONV_NONE;
	s = str_of(clean);
	for (size_t i = 0; i < COUNTOF(aliases); i++) {
		if (str_eq(s, aliases[i].name)) {
			s = aliases[i].canonical;
			break;
		}
	}
	if (str_eq(s, STR("us-ascii")))
		return CONV_ASCII;
	if (str_eq(s, STR("utf-8")))
		return CONV_UTF8;
	if (str_eq(s, STR("windows-1252")))
		return CONV_CP1252;
	return pool_find(s.p);
}

bool charset_known(struct str name)
{
	return converter_of(name) != CONV_NONE;
}

bool charset_stream_init(struct charset_stream *c, struct str name)
{
	*c = (struct charset_stream){ .converter = converter_of(name) };
	if (c->converter >= N_TABLES)
		iconv(pool.iconvs[c->converter - N_TABLES].cd, NULL, NULL, NULL, NULL);
	return c->converter != CONV_NONE;
}

static uint32_t cp1252_char(unsigned char c)
{
	if (c < 0x80 || c >= 0xa0)
		return c;
	return cp1252_high[c - 0x80] != 0 ? cp1252_high[c - 0x80] : REPLACEMENT;
}

static void feed_cp1252(struct buf *out, struct str in)
{
	while (in.n > 0) {
		size_t n = str_ascii_run(in);

		buf_put(out, str_head(in, n));
		for (; n < in.n && (unsigned char)in.p[n] >= 0x80; n++)
			utf8_put(out, cp1252_char((unsigned char)in.p[n]));
		in = str_skip(in, n);
	}
}

static void feed_table(struct charset_stream *c, struct buf *out, struct str in)
{
	const uint16_t *high = pool.tables[c->converter].high;

	while (in.n > 0) {
		size_t n = str_ascii_run(in);

		buf_put(out, str_head(in, n));
		for (; n < in.n && (unsigned char)in.p[n] >= 0x80; n++) {
			uint16_t ch = high[(unsigned char)in.p[n] - 0x80];

			c->bad |= ch == REPLACEMENT;
			utf8_put(out, ch);
		}
		in = str_skip(in, n);
	}
}

/* Could more octets make a character of s, which is shorter than 4? */
static bool utf8_incomplete(struct str s)
{
	unsigned char c = (unsigned char)s.p[0];
	size_t want = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < s.n; i++) {
		if (((unsigned char)s.p[i] & 0xc0) != 0x80)
			return false;
	}
	return s.n < want;
}

static void hold(struct charset_stream *c, struct str rest)
{
	memcpy(c->held, rest.p, rest.n);
	c->n_held = rest.n;
}

static void feed_utf8(struct charset_stream *c, struct buf *out, struct str in, bool last)
{
	uint32_t ch;

	while (in.n > 0) {
		size_t n = str_ascii_run(in);

		buf_put(out, str_head(in, n));
		in = str_skip(in, n);
		if (in.n == 0)
			return;
		n = utf8_next(in, &ch);
		if (n > 0) {
			buf_put(out, str_head(in, n));
			in = str_skip(in, n);
			continue;
		}
		if (!last && utf8_incomplete(in)) {
			hold(c, in);
			return;
		}
		c->bad = true;
		utf8_put(out, c->converter == CONV_ASCII ?
		    cp1252_char((unsigned char)in.p[0]) : REPLACEMENT);
		in = str_skip(in, 1);
	}
}

/* Some converters keep a character back, as the next one may combine with it. */
static void flush_iconv(iconv_t cd, struct buf *out)
{
	char text[64], *to = text;
	size_t room = sizeof text;

	iconv(cd, NULL, NULL, &to, &room);
	buf_put(out, str_n(text, sizeof text - room));
}

static void feed_iconv(struct charset_stream *c, struct buf *out, struct str in, bool last)
{
	iconv_t cd = pool.iconvs[c->converter - N_TABLES].cd;
	char *from = (char *)(uintptr_t)in.p;	/* iconv does not write there */
	size_t left = in.n;

	while (left > 0) {
		char text[STREAM_OUT_OCTETS], *to = text;
		size_t room = sizeof text, was = left;
		size_t r = iconv(cd, &from, &left, &to, &room);
		int why = errno;

		if (!buf_put(out, str_n(text, sizeof text - room)))
			return;
		if ((r != (size_t)-1 || why == E2BIG) && (left < was || room < sizeof text))
			continue;
		if (why == EINVAL && !last && left <= sizeof c->held) {
			hold(c, str_n(from, left));
			return;
		}
		c->bad = true;
		utf8_put(out, REPLACEMENT);
		from++;
		left--;
	}
	if (last)
		flush_iconv(cd, out);
}

static void feed(struct charset_stream *c, struct buf *out, struct str in, bool last)
{
	if (c->converter == CONV_CP1252)
		feed_cp1252(out, in);
	else if (c->converter < 0)
		feed_utf8(c, out, in, last);
	else if (c->converter < N_TABLES)
		feed_table(c, out, in);
	else
		feed_iconv(c, out, in, last);
}

/* The held octets with just as many new ones as can settle them. */
static struct str feed_held(struct charset_stream *c, struct buf *out, struct str in, bool last)
{
	char joint[2 * sizeof c->held];
	size_t n_old = c->n_held, n_new = 1;

	while (c->n_held > 0 && (in.n > 0 || last)) {
		n_new = in.n < n_new ? in.n : n_new;
		memcpy(joint, c->held, n_old);
		if (n_new > 0)
			memcpy(joint + n_old, in.p, n_new);
		c->n_held = 0;
		in = str_skip(in, n_new);
		feed(c, out, str_n(joint, n_old + n_new), last && in.n == 0);
		n_old = c->n_held;
	}
	return in;
}

bool charset_stream_feed(struct charset_stream *c, struct buf *out, struct str in, bool last)
{
	in = feed_held(c, out, in, last);
	feed(c, out, in, last);
	return !out->full;
}

enum charset_result charset_to_utf8(struct buf *out, struct str name, struct str in)
{
	struct charset_stream c;

	if (!charset_stream_init(&c, name))
		return CHARSET_UNKNOWN;
	if (!charset_stream_feed(&c, out, in, true))
		return CHARSET_FULL;
	return c.bad ? CHARSET_BAD_OCTETS : CHARSET_OK;
}

/* -- case -- */

/* One character's title case, decomposed until nothing decomposes further. Title case once more,
 * which RFC 5051 has not: a ligature is to equal its letters. */
static void fold_char(struct buf *out, uint32_t c)
{
	ucs4_t stack[DECOMPOSE_STACK], parts[UC_DECOMPOSITION_MAX_LENGTH];
	size_t n = 0;
	int tag;

	stack[n++] = uc_totitle(c);
	while (n > 0) {
		ucs4_t top = stack[--n];
		int k = uc_decomposition(top, &tag, parts);

		if (k <= 0 || n + (size_t)k > DECOMPOSE_STACK) {
			utf8_put(out, uc_totitle(top));
			continue;
		}
		while (k > 0)
			stack[n++] = parts[--k];
	}
}

/* The tables behind fold_char are slow, texts keep to few characters: those that were folded once are remembered. */
static void fold_known(struct buf *out, uint32_t c)
{
	static struct known { char octets[7]; uint8_t n; } table[UINT16_MAX + 1];
	struct known *k = c <= UINT16_MAX ? &table[c] : NULL;
	size_t was = out->n;

	if (k != NULL && k->n > 0) {
		buf_put(out, str_n(k->octets, k->n));
		return;
	}
	fold_char(out, c);
	if (k == NULL || out->full || out->n - was > sizeof k->octets)
		return;
	memcpy(k->octets, out->p + was, out->n - was);
	k->n = (uint8_t)(out->n - was);
}

bool text_fold(struct buf *out, struct str utf8)
{
	while (utf8.n > 0) {
		size_t n = str_ascii_run(utf8);
		uint32_t c;

		if (!buf_reserve(out, n))
			return false;
		if (n > 0)
			ascii_upper_copy(out->p + out->n, str_head(utf8, n));
		out->n += n;
		utf8 = str_skip(utf8, n);
		if (utf8.n == 0)
			break;
		n = utf8_next(utf8, &c);
		fold_known(out, n > 0 ? c : REPLACEMENT);
		utf8 = str_skip(utf8, n > 0 ? n : 1);
	}
	return !out->full;
}
