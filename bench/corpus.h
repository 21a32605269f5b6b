/* SPDX-License-Identifier: ISC */
/* Mail that looks like mail, made from a seed: words by Zipf's law, the fields that servers add,
 * plain, quoted-printable, base64 and HTML parts, some UTF-8, a few big ones. About 4 KB each in
 * the middle. */
#ifndef BENCH_CORPUS_H
#define BENCH_CORPUS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../libbase/buf.h"
#include "../libmail/charset.h"

enum { CORPUS_WORDS = 40000, CORPUS_WORD_OCTETS = 24, CORPUS_PEOPLE = 3000 };

struct corpus {
	uint64_t state;
	char word[CORPUS_WORDS][CORPUS_WORD_OCTETS];
	float until[CORPUS_WORDS];	/* cumulated Zipf weights */
};

static inline uint64_t corpus_next(struct corpus *c)
{
	c->state ^= c->state << 13;
	c->state ^= c->state >> 7;
	c->state ^= c->state << 17;
	return c->state;
}

static inline unsigned corpus_below(struct corpus *c, unsigned n)
{
	return (unsigned)((corpus_next(c) >> 16) % n);
}

static inline void corpus_init(struct corpus *c, uint64_t seed)
{
	static const char *const onset[] = { "", "b", "br", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n",
		"p", "pr", "qu", "r", "s", "st", "sh", "t", "th", "tr", "v", "w", "z" };
	static const char *const rhyme[] = { "a", "e", "i", "o", "u", "an", "ar", "ea", "ed", "en", "er", "es", "in",
		"ing", "ion", "is", "it", "ly", "on", "or", "ou", "um", "ent", "al", "ic" };
	static const char *const other[] = { "\xc3\xa4", "\xc3\xbc\xc3\x9f", "\xd0\xb6\xd0\xb8", "\xce\xbb\xce\xbf",
		"\xe6\xbc\xa2\xe5\xad\x97", "\xc3\xa9" };
	double sum = 0;

	c->state = seed * 2654435761u + 88172645463325252u;
	for (unsigned i = 0; i < CORPUS_WORDS; i++) {
		unsigned n = 1 + (i > 60) + (i > 600 && i % 3 != 0) + (i > 6000 && i % 4 == 0);
		char *w = c->word[i];

		w[0] = '\0';
		while (n-- > 0 && strlen(w) < 16) {
			strcat(w, onset[corpus_below(c, COUNTOF(onset))]);
			strcat(w, rhyme[corpus_below(c, COUNTOF(rhyme))]);
		}
		if (corpus_below(c, 100) < 3)
			strcat(w, other[corpus_below(c, COUNTOF(other))]);
		sum += 1.0 / pow(i + 2.7, 1.05);
		c->until[i] = (float)sum;
	}
	for (unsigned i = 0; i < CORPUS_WORDS; i++)
		c->until[i] = (float)(c->until[i] / sum);
}

static inline const char *corpus_word(struct corpus *c)
{
	float f = (float)((double)(corpus_next(c) >> 11) / 9007199254740992.0);
	unsigned lo = 0, hi = CORPUS_WORDS - 1;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (c->until[mid] < f)
			lo = mid + 1;
		else
			hi = mid;
	}
	return c->word[lo];
}

static inline void corpus_random(struct corpus *c, struct buf *b, unsigned n, const char *digits)
{
	unsigned base = (unsigned)strlen(digits);

	while (n-- > 0)
		buf_putc(b, digits[corpus_below(c, base)]);
}

#define CORPUS_HEX "0123456789abcdef"
#define CORPUS_B64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/* Words up to about n octets, in lines of 70. */
static inline void corpus_text(struct corpus *c, struct buf *b, size_t n)
{
	size_t line = b->n, end = b->n + n;

	while (b->n < end) {
		buf_put(b, str_of(corpus_word(c)));
		if (corpus_below(c, 9) == 0)
			buf_put(b, STR(","));
		if (b->n - line > 64) {
			buf_put(b, STR("\r\n"));
			line = b->n;
		} else {
			buf_putc(b, ' ');
		}
	}
	buf_put(b, STR("\r\n"));
}

static inline void corpus_base64(struct buf *b, struct str s)
{
	while (s.n > 0) {
		base64_encode_to(b, str_head(s, 57));
		buf_put(b, STR("\r\n"));
		s = str_skip(s, 57);
	}
}

static inline void corpus_qp(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] >= 0x80 || s.p[i] == '=')
			buf_printf(b, "=%02X", (unsigned char)s.p[i]);
		else
			buf_putc(b, s.p[i]);
	}
}

static inline void corpus_person(struct corpus *c, struct buf *b)
{
	unsigned i = corpus_below(c, CORPUS_PEOPLE);

	buf_printf(b, "%s %s <%s.%u@%s.example>\r\n", c->word[1000 + i], c->word[5000 + i], c->word[1000 + i], i % 97,
	    c->word[800 + i % 200]);
}

static inline void corpus_header(struct corpus *c, struct buf *b, unsigned nr)
{
	buf_printf(b, "Received: from mx%u.%s.example (mx%u.%s.example [192.0.2.%u])\r\n\tby mail.example.org with ESMTPS id ",
	    nr % 9, c->word[900 + nr % 200], nr % 9, c->word[900 + nr % 200], nr % 250);
	corpus_random(c, b, 14, CORPUS_HEX);
	buf_printf(b, "\r\n\tfor <user@example.org>; Tue, %u Nov 2026 %02u:%02u:%02u +0100\r\n", 1 + nr % 28, nr / 3600 % 24,
	    nr / 60 % 60, nr % 60);
	buf_put(b, STR("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;\r\n\tbh="));
	corpus_random(c, b, 43, CORPUS_B64);
	buf_put(b, STR("=;\r\n\th=from:to:subject:date:message-id;\r\n\tb="));
	for (int i = 0; i < 5; i++) {
		corpus_random(c, b, 64, CORPUS_B64);
		buf_put(b, STR("\r\n\t "));
	}
	buf_put(b, STR("==\r\nFrom: "));
	corpus_person(c, b);
	buf_put(b, STR("To: "));
	corpus_person(c, b);
	buf_put(b, STR("Subject: "));
	if (nr % 3 == 0)
		buf_put(b, STR("Re: "));
	if (nr % 11 == 0) {
		struct buf text = BUF_INIT(1000);

		corpus_text(c, &text, 20);
		buf_put(b, STR("=?UTF-8?B?"));
		base64_encode_to(b, str_head(buf_str(&text), text.n - 2));
		buf_put(b, STR("?="));
		buf_free(&text);
	} else {
		for (unsigned i = 3 + corpus_below(c, 4); i > 0; i--)
			buf_printf(b, "%s ", corpus_word(c));
	}
	buf_printf(b, "\r\nDate: Tue, %u Nov 2026 %02u:%02u:%02u +0100\r\nMessage-ID: <", 1 + nr % 28, nr / 3600 % 24, nr / 60 % 60,
	    nr % 60);
	corpus_random(c, b, 16, CORPUS_HEX);
	buf_printf(b, ".%u@example.org>\r\n", nr);
	if (nr % 3 == 0)
		buf_printf(b, "References: <%08x.%u@example.org>\r\n", nr * 7919, nr / 3);
	buf_put(b, STR("MIME-Version: 1.0\r\nX-Mailer: bench 1.0\r\n"));
}

/* Appends message number nr. */
static inline void corpus_message(struct corpus *c, struct buf *b, unsigned nr)
{
	struct buf text = BUF_INIT(4 << 20);
	unsigned kind = corpus_below(c, 100);

	corpus_header(c, b, nr);
	corpus_text(c, &text, nr % 1000 == 999 ? 300000 : 600 + corpus_below(c, 4000));
	if (kind < 60) {
		buf_put(b, STR("Content-Type: text/plain; charset=utf-8\r\n\r\n"));
		buf_put(b, buf_str(&text));
	} else if (kind < 70) {
		buf_put(b, STR("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"));
		corpus_base64(b, buf_str(&text));
	} else if (kind < 95) {
		buf_put(b, STR("Content-Type: multipart/alternative; boundary=\"=-b\"\r\n\r\n--=-b\r\nContent-Type: "
		    "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"));
		corpus_qp(b, str_head(buf_str(&text), text.n / 2));
		buf_put(b, STR("\r\n--=-b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: "
		    "quoted-printable\r\n\r\n<html><head><style>p { margin: 0 }</style></head><body><p class=3D\"x\">"));
		corpus_qp(b, str_head(buf_str(&text), text.n / 2));
		buf_put(b, STR("</p></body></html>\r\n--=-b--\r\n"));
	} else {
		buf_put(b, STR("Content-Type: multipart/mixed; boundary=\"=-b\"\r\n\r\n--=-b\r\nContent-Type: "
		    "text/plain\r\n\r\n"));
		buf_put(b, str_head(buf_str(&text), text.n / 4));
		buf_put(b, STR("\r\n--=-b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: "
		    "base64\r\n\r\n"));
		for (int i = 0; i < 100; i++) {
			corpus_random(c, b, 76, CORPUS_B64);
			buf_put(b, STR("\r\n"));
		}
		buf_put(b, STR("--=-b--\r\n"));
	}
	buf_free(&text);
}

#endif
