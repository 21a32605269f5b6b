/* SPDX-License-Identifier: ISC */
/* Matching by simulating the pattern's automaton on bit sets: no backtracking, so that
 * "*a*a*a…b" costs what "a" costs. Invariant: no two neighbouring tokens are wildcards, so one
 * shift closes a state over the empty matches. */
#include "pattern.h"

enum { TOK_LITERAL, TOK_PERCENT, TOK_STAR };

static void set_bit(uint64_t *set, size_t i) { set[i / 64] |= (uint64_t)1 << i % 64; }

static void add_token(struct pattern *p, uint8_t kind, char ch)
{
	if (kind != TOK_LITERAL && p->n > 0 && p->kind[p->n - 1] != TOK_LITERAL) {
		if (kind == TOK_STAR)
			p->kind[p->n - 1] = TOK_STAR;
		return;
	}
	if (p->n == PATTERN_TOKENS_MAX) {
		p->never = true;
		return;
	}
	p->kind[p->n] = kind;
	p->tok[p->n++] = ch;
}

void pattern_init(struct pattern *p, struct str text)
{
	memset(p, 0, sizeof(*p));
	for (size_t i = 0; i < text.n && !p->never; i++)
		add_token(p, text.p[i] == '*' ? TOK_STAR :
		    text.p[i] == '%' ? TOK_PERCENT : TOK_LITERAL, text.p[i]);
	for (size_t i = 0; i < p->n; i++)
		set_bit(p->kind[i] == TOK_STAR ? p->star : p->kind[i] == TOK_PERCENT ?
		    p->percent : p->literal[(unsigned char)p->tok[i]], i);
}

/* state |= (from << 1) */
static void shift_in(uint64_t *state, const uint64_t *from)
{
	uint64_t carry = 0;

	for (size_t w = 0; w < PATTERN_WORDS; w++) {
		uint64_t next = from[w] >> 63;

		state[w] |= from[w] << 1 | carry;
		carry = next;
	}
}

static void close_empty(const struct pattern *p, uint64_t *state)
{
	uint64_t wild[PATTERN_WORDS];

	for (size_t w = 0; w < PATTERN_WORDS; w++)
		wild[w] = state[w] & (p->star[w] | p->percent[w]);
	shift_in(state, wild);
}

static void step(const struct pattern *p, uint64_t *state, char ch, bool nocase)
{
	const uint64_t *same = p->literal[(unsigned char)ch], *other = same;
	uint64_t next[PATTERN_WORDS], moved[PATTERN_WORDS];

	if (nocase && ascii_is_alpha(ch))
		other = p->literal[(unsigned char)(ch ^ 32)];
	for (size_t w = 0; w < PATTERN_WORDS; w++) {
		moved[w] = state[w] & (same[w] | other[w]);
		next[w] = state[w] & p->star[w];
		if (ch != '/')
			next[w] |= state[w] & p->percent[w];
	}
	shift_in(next, moved);
	memcpy(state, next, sizeof(next));
	close_empty(p, state);
}

bool pattern_match(const struct pattern *p, struct str name, bool nocase)
{
	uint64_t state[PATTERN_WORDS] = { 1 };

	if (p->never)
		return false;
	close_empty(p, state);
	for (size_t i = 0; i < name.n; i++)
		step(p, state, name.p[i], nocase);
	return (state[p->n / 64] >> p->n % 64 & 1) != 0;
}
