/* SPDX-License-Identifier: ISC */
/* HTML to the words a reader sees: enough for searching and previews, no more. A state machine over
 * octets; a name that does not fit its few held octets is no name we know. */
#include <stdlib.h>

#include "mutf7.h"
#include "text_int.h"

enum html_state {
	HTML_TEXT,
	HTML_ENTITY,		/* behind "&" */
	HTML_OPEN,		/* behind "<" */
	HTML_NAME,		/* in a tag's name */
	HTML_TAG,		/* in a tag, behind its name */
	HTML_DQ, HTML_SQ,	/* in a quoted attribute */
	HTML_DECL,		/* behind "<!" */
	HTML_COMMENT, HTML_COMMENT_1, HTML_COMMENT_2	/* behind 0, 1, 2 hyphens */
};

/* HTML 4.01 s.24, sorted by strcmp. */
static const struct entity { char name[9]; uint16_t c; } entities[] = {
	{ "AElig", 0xc6 }, { "Aacute", 0xc1 }, { "Acirc", 0xc2 }, { "Agrave", 0xc0 },
	{ "Alpha", 0x391 }, { "Aring", 0xc5 }, { "Atilde", 0xc3 }, { "Auml", 0xc4 },
	{ "Beta", 0x392 }, { "Ccedil", 0xc7 }, { "Chi", 0x3a7 }, { "Dagger", 0x2021 },
	{ "Delta", 0x394 }, { "ETH", 0xd0 }, { "Eacute", 0xc9 }, { "Ecirc", 0xca },
	{ "Egrave", 0xc8 }, { "Epsilon", 0x395 }, { "Eta", 0x397 }, { "Euml", 0xcb },
	{ "Gamma", 0x393 }, { "Iacute", 0xcd }, { "Icirc", 0xce }, { "Igrave", 0xcc },
	{ "Iota", 0x399 }, { "Iuml", 0xcf }, { "Kappa", 0x39a }, { "Lambda", 0x39b },
	{ "Mu", 0x39c }, { "Ntilde", 0xd1 }, { "Nu", 0x39d }, { "OElig", 0x152 },
	{ "Oacute", 0xd3 }, { "Ocirc", 0xd4 }, { "Ograve", 0xd2 }, { "Omega", 0x3a9 },
	{ "Omicron", 0x39f }, { "Oslash", 0xd8 }, { "Otilde", 0xd5 }, { "Ouml", 0xd6 },
	{ "Phi", 0x3a6 }, { "Pi", 0x3a0 }, { "Prime", 0x2033 }, { "Psi", 0x3a8 },
	{ "Rho", 0x3a1 }, { "Scaron", 0x160 }, { "Sigma", 0x3a3 }, { "THORN", 0xde },
	{ "Tau", 0x3a4 }, { "Theta", 0x398 }, { "Uacute", 0xda }, { "Ucirc", 0xdb },
	{ "Ugrave", 0xd9 }, { "Upsilon", 0x3a5 }, { "Uuml", 0xdc }, { "Xi", 0x39e },
	{ "Yacute", 0xdd }, { "Yuml", 0x178 }, { "Zeta", 0x396 }, { "aacute", 0xe1 },
	{ "acirc", 0xe2 }, { "acute", 0xb4 }, { "aelig", 0xe6 }, { "agrave", 0xe0 },
	{ "alefsym", 0x2135 }, { "alpha", 0x3b1 }, { "amp", 0x26 }, { "and", 0x2227 },
	{ "ang", 0x2220 }, { "aring", 0xe5 }, { "asymp", 0x2248 }, { "atilde", 0xe3 },
	{ "auml", 0xe4 }, { "bdquo", 0x201e }, { "beta", 0x3b2 }, { "brvbar", 0xa6 },
	{ "bull", 0x2022 }, { "cap", 0x2229 }, { "ccedil", 0xe7 }, { "cedil", 0xb8 },
	{ "cent", 0xa2 }, { "chi", 0x3c7 }, { "circ", 0x2c6 }, { "clubs", 0x2663 },
	{ "cong", 0x2245 }, { "copy", 0xa9 }, { "crarr", 0x21b5 }, { "cup", 0x222a },
	{ "curren", 0xa4 }, { "dArr", 0x21d3 }, { "dagger", 0x2020 }, { "darr", 0x2193 },
	{ "deg", 0xb0 }, { "delta", 0x3b4 }, { "diams", 0x2666 }, { "divide", 0xf7 },
	{ "eacute", 0xe9 }, { "ecirc", 0xea }, { "egrave", 0xe8 }, { "empty", 0x2205 },
	{ "emsp", 0x2003 }, { "ensp", 0x2002 }, { "epsilon", 0x3b5 }, { "equiv", 0x2261 },
	{ "eta", 0x3b7 }, { "eth", 0xf0 }, { "euml", 0xeb }, { "euro", 0x20ac },
	{ "exist", 0x2203 }, { "fnof", 0x192 }, { "forall", 0x2200 }, { "frac12", 0xbd },
	{ "frac14", 0xbc }, { "frac34", 0xbe }, { "frasl", 0x2044 }, { "gamma", 0x3b3 },
	{ "ge", 0x2265 }, { "gt", 0x3e }, { "hArr", 0x21d4 }, { "harr", 0x2194 },
	{ "hearts", 0x2665 }, { "hellip", 0x2026 }, { "iacute", 0xed }, { "icirc", 0xee },
	{ "iexcl", 0xa1 }, { "igrave", 0xec }, { "image", 0x2111 }, { "infin", 0x221e },
	{ "int", 0x222b }, { "iota", 0x3b9 }, { "iquest", 0xbf }, { "isin", 0x2208 },
	{ "iuml", 0xef }, { "kappa", 0x3ba }, { "lArr", 0x21d0 }, { "lambda", 0x3bb },
	{ "lang", 0x2329 }, { "laquo", 0xab }, { "larr", 0x2190 }, { "lceil", 0x2308 },
	{ "ldquo", 0x201c }, { "le", 0x2264 }, { "lfloor", 0x230a }, { "lowast", 0x2217 },
	{ "loz", 0x25ca }, { "lrm", 0x200e }, { "lsaquo", 0x2039 }, { "lsquo", 0x2018 },
	{ "lt", 0x3c }, { "macr", 0xaf }, { "mdash", 0x2014 }, { "micro", 0xb5 },
	{ "middot", 0xb7 }, { "minus", 0x2212 }, { "mu", 0x3bc }, { "nabla", 0x2207 },
	{ "nbsp", 0xa0 }, { "ndash", 0x2013 }, { "ne", 0x2260 }, { "ni", 0x220b },
	{ "not", 0xac }, { "notin", 0x2209 }, { "nsub", 0x2284 }, { "ntilde", 0xf1 },
	{ "nu", 0x3bd }, { "oacute", 0xf3 }, { "ocirc", 0xf4 }, { "oelig", 0x153 },
	{ "ograve", 0xf2 }, { "oline", 0x203e }, { "omega", 0x3c9 }, { "omicron", 0x3bf },
	{ "oplus", 0x2295 }, { "or", 0x2228 }, { "ordf", 0xaa }, { "ordm", 0xba },
	{ "oslash", 0xf8 }, { "otilde", 0xf5 }, { "otimes", 0x2297 }, { "ouml", 0xf6 },
	{ "para", 0xb6 }, { "part", 0x2202 }, { "permil", 0x2030 }, { "perp", 0x22a5 },
	{ "phi", 0x3c6 }, { "pi", 0x3c0 }, { "piv", 0x3d6 }, { "plusmn", 0xb1 },
	{ "pound", 0xa3 }, { "prime", 0x2032 }, { "prod", 0x220f }, { "prop", 0x221d },
	{ "psi", 0x3c8 }, { "quot", 0x22 }, { "rArr", 0x21d2 }, { "radic", 0x221a },
	{ "rang", 0x232a }, { "raquo", 0xbb }, { "rarr", 0x2192 }, { "rceil", 0x2309 },
	{ "rdquo", 0x201d }, { "real", 0x211c }, { "reg", 0xae }, { "rfloor", 0x230b },
	{ "rho", 0x3c1 }, { "rlm", 0x200f }, { "rsaquo", 0x203a }, { "rsquo", 0x2019 },
	{ "sbquo", 0x201a }, { "scaron", 0x161 }, { "sdot", 0x22c5 }, { "sect", 0xa7 },
	{ "shy", 0xad }, { "sigma", 0x3c3 }, { "sigmaf", 0x3c2 }, { "sim", 0x223c },
	{ "spades", 0x2660 }, { "sub", 0x2282 }, { "sube", 0x2286 }, { "sum", 0x2211 },
	{ "sup", 0x2283 }, { "sup1", 0xb9 }, { "sup2", 0xb2 }, { "sup3", 0xb3 },
	{ "supe", 0x2287 }, { "szlig", 0xdf }, { "tau", 0x3c4 }, { "there4", 0x2234 },
	{ "theta", 0x3b8 }, { "thetasym", 0x3d1 }, { "thinsp", 0x2009 }, { "thorn", 0xfe },
	{ "tilde", 0x2dc }, { "times", 0xd7 }, { "trade", 0x2122 }, { "uArr", 0x21d1 },
	{ "uacute", 0xfa }, { "uarr", 0x2191 }, { "ucirc", 0xfb }, { "ugrave", 0xf9 },
	{ "uml", 0xa8 }, { "upsih", 0x3d2 }, { "upsilon", 0x3c5 }, { "uuml", 0xfc },
	{ "weierp", 0x2118 }, { "xi", 0x3be }, { "yacute", 0xfd }, { "yen", 0xa5 },
	{ "yuml", 0xff }, { "zeta", 0x3b6 }, { "zwj", 0x200d }, { "zwnj", 0x200c },
};

/* Tags between whose neighbours no space is to be seen. */
static const char inline_tags[][8] = {
	"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "code", "em", "font", "i", "ins", "kbd",
	"mark", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr",
};

static void hold(struct text_reader *t, char c)
{
	if (t->html_n_held < sizeof t->html_held)
		t->html_held[t->html_n_held] = c;
	if (t->html_n_held <= sizeof t->html_held)
		t->html_n_held++;
}

static struct str held(const struct text_reader *t)
{
	return str_head(str_n(t->html_held, sizeof t->html_held), t->html_n_held);
}

static void put(struct text_reader *t, struct buf *out, struct str s)
{
	if (s.n == 0 || t->html_skip)
		return;
	buf_put(out, s);
	t->html_blank = s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\n';
}

static int entity_cmp(const void *key, const void *item)
{
	return strcmp(key, ((const struct entity *)item)->name);
}

static uint32_t numeric_entity(struct str s)
{
	bool hex = s.n > 1 && (s.p[1] | 32) == 'x';
	uint32_t v = 0;

	for (size_t i = hex ? 2 : 1; i < s.n; i++) {
		char c = ascii_lower(s.p[i]);
		uint32_t d = ascii_is_digit(c) ? (uint32_t)(c - '0') :
		    hex && c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10) : 99;

		v = v * (hex ? 16 : 10) + d;
		if (d == 99 || v > 0x10ffff)
			return 0;
	}
	return v >= 0xd800 && v <= 0xdfff ? 0 : v;
}

static uint32_t named_entity(struct str s)
{
	char z[sizeof entities[0].name + 1];
	const struct entity *e;

	if (s.n >= sizeof z)
		return 0;
	memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	e = bsearch(z, entities, COUNTOF(entities), sizeof entities[0], entity_cmp);
	return e != NULL ? e->c : 0;
}

static void put_entity(struct text_reader *t, struct buf *out, bool closed)
{
	struct str s = held(t);
	bool fits = t->html_n_held <= sizeof t->html_held;
	uint32_t c = !fits || s.n == 0 ? 0 : s.p[0] == '#' ? numeric_entity(s) : named_entity(s);

	t->html_state = HTML_TEXT;
	if (c == 0) {
		put(t, out, STR("&"));
		put(t, out, s);
		if (closed)
			put(t, out, STR(";"));
	} else if (!t->html_skip) {
		utf8_put(out, c == 0xa0 ? ' ' : c);
		t->html_blank = c == 0xa0 || c == ' ';
	}
}

static bool is_inline(struct str name)
{
	for (size_t i = 0; i < COUNTOF(inline_tags); i++) {
		if (str_eq_nocase(name, str_of(inline_tags[i])))
			return true;
	}
	return false;
}

static void tag_named(struct text_reader *t, struct buf *out)
{
	struct str name = held(t);
	bool closing = name.n > 0 && name.p[0] == '/';

	if (closing)
		name = str_skip(name, 1);
	if (str_eq_nocase(name, STR("script")) || str_eq_nocase(name, STR("style")))
		t->html_skip = !closing;
	else if (!t->html_blank && !is_inline(name))
		put(t, out, STR(" "));
}

static enum html_state after_text(struct text_reader *t, char c)
{
	t->html_n_held = 0;
	return c == '&' ? HTML_ENTITY : HTML_OPEN;
}

static bool is_entity_octet(char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c) || c == '#';
}

/* Each step takes c and returns true, or changes the state and looks at c again. */
static bool step_entity(struct text_reader *t, struct buf *out, char c)
{
	if (is_entity_octet(c) && t->html_n_held < sizeof t->html_held) {
		hold(t, c);
		return true;
	}
	put_entity(t, out, c == ';');
	return c == ';';
}

static bool step_open(struct text_reader *t, struct buf *out, char c)
{
	if (c == '!' && !t->html_skip) {
		t->html_state = HTML_DECL;
		return true;
	}
	if (c == '/' || (!t->html_skip && (ascii_is_alpha(c) || c == '?'))) {
		hold(t, c);
		t->html_state = HTML_NAME;
		return true;
	}
	put(t, out, STR("<"));
	t->html_state = HTML_TEXT;
	return false;
}

static bool step_name(struct text_reader *t, struct buf *out, char c)
{
	if (ascii_is_alpha(c) || ascii_is_digit(c)) {
		hold(t, c);
		return true;
	}
	tag_named(t, out);
	t->html_state = HTML_TAG;
	return false;
}

static bool step_tag(struct text_reader *t, char c)
{
	t->html_state = c == '>' ? HTML_TEXT : c == '"' ? HTML_DQ : c == '\'' ? HTML_SQ : HTML_TAG;
	return true;
}

static bool step_quoted(struct text_reader *t, char c)
{
	if (c == (t->html_state == HTML_DQ ? '"' : '\''))
		t->html_state = HTML_TAG;
	return true;
}

static bool step_decl(struct text_reader *t, char c)
{
	hold(t, c);
	if (str_eq(held(t), STR("--"))) {
		t->html_state = HTML_COMMENT;
		return true;
	}
	if (c == '>')
		t->html_state = HTML_TEXT;
	return true;
}

static bool step_comment(struct text_reader *t, char c)
{
	if (c == '-')
		t->html_state = t->html_state == HTML_COMMENT ? HTML_COMMENT_1 : HTML_COMMENT_2;
	else if (c == '>' && t->html_state == HTML_COMMENT_2)
		t->html_state = HTML_TEXT;
	else
		t->html_state = HTML_COMMENT;
	return true;
}

static bool step(struct text_reader *t, struct buf *out, char c)
{
	switch ((enum html_state)t->html_state) {
	case HTML_ENTITY:
		return step_entity(t, out, c);
	case HTML_OPEN:
		return step_open(t, out, c);
	case HTML_NAME:
		return step_name(t, out, c);
	case HTML_TAG:
		return step_tag(t, c);
	case HTML_DQ:
	case HTML_SQ:
		return step_quoted(t, c);
	case HTML_DECL:
		return step_decl(t, c);
	case HTML_COMMENT:
	case HTML_COMMENT_1:
	case HTML_COMMENT_2:
		return step_comment(t, c);
	case HTML_TEXT:
		t->html_state = after_text(t, c);
		return true;
	}
	return true;
}

bool html_feed(struct text_reader *t, struct buf *out, struct str markup)
{
	size_t at = 0;

	while (at < markup.n) {
		size_t start = at;

		if (t->html_state == HTML_TEXT) {
			while (at < markup.n && markup.p[at] != '<' && markup.p[at] != '&')
				at++;
			put(t, out, str_n(markup.p + start, at - start));
			if (at == markup.n)
				break;
		}
		at += step(t, out, markup.p[at]);
	}
	return !out->full;
}

bool html_end(struct text_reader *t, struct buf *out)
{
	if (t->html_state == HTML_ENTITY)
		put_entity(t, out, false);
	else if (t->html_state == HTML_OPEN)
		put(t, out, STR("<"));
	return !out->full;
}
