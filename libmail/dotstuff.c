/* SPDX-License-Identifier: ISC */
/* Dots on and off. Invariants of the decoder: every octet of the text but a line's first dot is in
 * exactly one span; DEC_LINE_START is entered behind CRLF (and at the start) only, so no other line
 * end can make a dot special: that is the whole defence against SMTP smuggling (CVE-2023-51764). */
#include "dotstuff.h"

enum dec_state { DEC_LINE_START, DEC_TEXT, DEC_CR, DEC_DOT, DEC_DOT_CR };
enum enc_state { ENC_LINE_START, ENC_AFTER_LF, ENC_AFTER_CR, ENC_TEXT };

struct spans {
	struct str *v;
	size_t n;
	struct str in;
	size_t from;		/* start of the octets not yet in a span */
};

static void span_add(struct spans *s, struct str octets)
{
	if (octets.n > 0)
		s->v[s->n++] = octets;
}

static void span_close(struct spans *s, size_t end, size_t next_from)
{
	span_add(s, str_n(s->in.p + s->from, end - s->from));
	s->from = next_from;
}

static void fault(struct dot_dec *d, enum dot_fault kind, uint64_t at)
{
	d->faults |= kind;
	if (d->first_fault == 0 || at < d->first_fault_at) {
		d->first_fault = kind;
		d->first_fault_at = at;
	}
}

void dot_dec_init(struct dot_dec *d, size_t line_max_octets)
{
	*d = (struct dot_dec){ .state = DEC_LINE_START, .line_max_octets = line_max_octets };
}

static void count_line(struct dot_dec *d, size_t octets, uint64_t wire_at)
{
	size_t before = d->line_n, max = d->line_max_octets;

	d->line_n += octets;
	if (max > 0 && d->line_n > max && before <= max)
		fault(d, DOT_LONG_LINE, wire_at + (max - before));
}

/* Octets of one line between its first octet and its end: no LF among them. */
static void check_octets(struct dot_dec *d, struct str s, uint64_t wire_at)
{
	size_t i;

	count_line(d, s.n, wire_at);
	if (!(d->faults & DOT_NUL) && (i = str_find(s, '\0')) < s.n)
		fault(d, DOT_NUL, wire_at + i);
	if (!(d->faults & DOT_BARE_CR) && (i = str_find(s, '\r')) < s.n)
		fault(d, DOT_BARE_CR, wire_at + i);
}

/* Text up to the next LF or the end of the chunk; returns the offset behind it. */
static size_t dec_text(struct dot_dec *d, struct str in, size_t at, uint64_t base)
{
	struct str rest = str_skip(in, at);
	size_t lf = str_find(rest, '\n');
	bool ends_in_cr = lf > 0 && rest.p[lf - 1] == '\r';

	check_octets(d, str_head(rest, lf - ends_in_cr), base + at);
	if (lf == rest.n) {
		d->state = ends_in_cr ? DEC_CR : DEC_TEXT;
		return in.n;
	}
	if (ends_in_cr) {
		d->state = DEC_LINE_START;
		d->line_n = 0;
	} else {
		fault(d, DOT_BARE_LF, base + at + lf);
		count_line(d, 1, base + at + lf);
	}
	return at + lf + 1;
}

static size_t dec_after_cr(struct dot_dec *d, struct str in, size_t at, uint64_t base)
{
	if (in.p[at] == '\n') {
		d->state = DEC_LINE_START;
		d->line_n = 0;
		return at + 1;
	}
	fault(d, DOT_BARE_CR, base + at - 1);
	count_line(d, 1, base + at - 1);
	d->state = DEC_TEXT;
	return at;
}

static size_t dec_line_start(struct dot_dec *d, struct spans *s, size_t at, uint64_t base)
{
	if (s->in.p[at] != '.') {
		d->state = DEC_TEXT;
		return at;
	}
	count_line(d, 1, base + at);
	span_close(s, at, at + 1);
	d->state = DEC_DOT;
	return at + 1;
}

static size_t dec_after_dot(struct dot_dec *d, struct spans *s, size_t at)
{
	if (s->in.p[at] != '\r') {
		d->state = DEC_TEXT;
		return at;
	}
	s->from = at + 1;
	d->state = DEC_DOT_CR;
	return at + 1;
}

static size_t dec_after_dot_cr(struct dot_dec *d, struct spans *s, size_t at, uint64_t base)
{
	if (s->in.p[at] == '\n') {
		d->done = true;
		s->from = at + 1;
		return at + 1;
	}
	fault(d, DOT_BARE_CR, base + at - 1);
	count_line(d, 1, base + at - 1);
	if (at > 0)
		s->from = at - 1;
	else
		span_add(s, STR("\r"));
	d->state = DEC_TEXT;
	return at;
}

size_t dot_dec_feed(struct dot_dec *d, struct str in, struct str out_spans[DOT_SPANS_MAX],
    size_t *out_n)
{
	struct spans s = { out_spans, 0, in, 0 };
	uint64_t base = d->n_wire_octets;
	size_t at = 0;

	while (at < in.n && !d->done && s.n < DOT_SPANS_MAX - 1) {
		switch ((enum dec_state)d->state) {
		case DEC_LINE_START:
			at = dec_line_start(d, &s, at, base);
			break;
		case DEC_TEXT:
			at = dec_text(d, in, at, base);
			break;
		case DEC_CR:
			at = dec_after_cr(d, in, at, base);
			break;
		case DEC_DOT:
			at = dec_after_dot(d, &s, at);
			break;
		case DEC_DOT_CR:
			at = dec_after_dot_cr(d, &s, at, base);
			break;
		}
	}
	span_close(&s, at, at);
	d->n_wire_octets += at;
	for (size_t i = 0; i < s.n; i++)
		d->n_text_octets += out_spans[i].n;
	*out_n = s.n;
	return at;
}

void dot_enc_init(struct dot_enc *e)
{
	e->state = ENC_LINE_START;
}

static enum enc_state enc_state_after(enum enc_state before, struct str taken)
{
	char last;

	if (taken.n == 0)
		return before;
	last = taken.p[taken.n - 1];
	if (last == '\r')
		return ENC_AFTER_CR;
	if (last != '\n')
		return ENC_TEXT;
	if (taken.n > 1 ? taken.p[taken.n - 2] == '\r' : before == ENC_AFTER_CR)
		return ENC_LINE_START;
	return ENC_AFTER_LF;
}

/* A dot is doubled by ending one span behind it and starting the next one at it. */
size_t dot_enc_feed(struct dot_enc *e, struct str text, struct str out_spans[DOT_SPANS_MAX],
    size_t *out_n)
{
	struct spans s = { out_spans, 0, text, 0 };
	bool at_line = e->state == ENC_LINE_START || e->state == ENC_AFTER_LF;
	size_t at = 0;

	while (at < text.n && s.n < DOT_SPANS_MAX - 1) {
		if (at_line && text.p[at] == '.')
			span_close(&s, at + 1, at);
		at += str_find(str_skip(text, at), '\n');
		at_line = at < text.n;
		at += at_line;
	}
	span_close(&s, at, at);
	e->state = enc_state_after((enum enc_state)e->state, str_head(text, at));
	*out_n = s.n;
	return at;
}

struct str dot_enc_end(const struct dot_enc *e)
{
	return e->state == ENC_LINE_START ? STR(".\r\n") : STR("\r\n.\r\n");
}
