/* SPDX-License-Identifier: ISC */
/* Threads against RFC 5256's rules, and against hostile references. */
#include <time.h>

#include "../../libmail/thread.h"
#include "tap.h"

enum { REFS_MAX = 6, MESSAGES_MAX = 8 };

struct mail {
	const char *id, *refs[REFS_MAX], *subject;	/* a subject that begins with ">" was a reply's */
	int date;
};

static void append(void *ctx, struct buf *b)
{
	buf_put(ctx, buf_str(b));
	buf_reset(b);
}

static void add(struct threads *t, uint32_t number, const struct mail *m)
{
	bool reply = m->subject[0] == '>';
	struct thread_message x = { number, str_of(m->id), str_of(m->subject + reply), m->date, reply };

	if (!threads_add(t, &x))
		CHECK(!"room");
	for (size_t k = 0; k < REFS_MAX && m->refs[k] != NULL; k++)
		threads_reference(t, str_of(m->refs[k]));
}

static void test_rules(void)
{
	static const struct { enum thread_algorithm how; struct mail m[MESSAGES_MAX]; const char *want; } t[] = {
		{ THREAD_REFERENCES, { { "", { NULL }, NULL, 0 } }, "" },
		{ THREAD_REFERENCES, { { "<a>", { NULL }, "x", 1 }, { "<b>", { "<a>" }, ">x", 2 },
		    { "<c>", { "<a>", "<b>" }, ">x", 3 } }, "(1 2 3)" },
		/* siblings, by date; a deeper one under the later */
		{ THREAD_REFERENCES, { { "<a>", { NULL }, "x", 1 }, { "<b>", { "<a>" }, ">x", 9 }, { "<c>", { "<a>" }, ">x", 3 },
		    { "<d>", { "<a>", "<b>" }, ">x", 10 } }, "(1 (3)(2 4))" },
		/* the child came first */
		{ THREAD_REFERENCES, { { "<b>", { "<a>" }, ">x", 2 }, { "<a>", { NULL }, "x", 1 } }, "(2 1)" },
		/* an unknown parent of two is told as a list without a number; of one it is left out */
		{ THREAD_REFERENCES, { { "<b>", { "<a>" }, ">x", 2 }, { "<c>", { "<a>" }, ">x", 1 } }, "((2)(1))" },
		{ THREAD_REFERENCES, { { "<b>", { "<z>", "<a>" }, ">x", 2 } }, "(1)" },
		/* an unknown one in the middle gives its children up */
		{ THREAD_REFERENCES, { { "<a>", { NULL }, "x", 1 }, { "<c>", { "<a>", "<b>" }, ">x", 3 },
		    { "<d>", { "<a>", "<b>" }, ">x", 2 } }, "(1 (3)(2))" },
		/* no ids, and the same id twice */
		{ THREAD_REFERENCES, { { "", { NULL }, "", 2 }, { "", { NULL }, "", 1 }, { "<a>", { NULL }, "", 4 },
		    { "<a>", { NULL }, "", 3 } }, "(2)(1)(4)(3)" },
		/* loops */
		{ THREAD_REFERENCES, { { "<a>", { "<b>" }, "", 1 }, { "<b>", { "<a>" }, "", 2 } }, "(2 1)" },
		{ THREAD_REFERENCES, { { "<a>", { "<a>" }, "", 1 } }, "(1)" },
		{ THREAD_REFERENCES, { { "<a>", { "<b>", "<c>", "<b>" }, "", 1 }, { "<b>", { "<a>" }, "", 2 },
		    { "<c>", { "<b>", "<a>" }, "", 3 } }, "(2 1 3)" },
		/* the last reference wins over what others' said */
		{ THREAD_REFERENCES, { { "<a>", { NULL }, "", 1 }, { "<c>", { "<a>", "<b>" }, "", 3 },
		    { "<b>", { NULL }, "", 2 } }, "(1)(3 2)" },
		/* one subject: a reply goes below, two that are none become siblings, without a subject nothing happens */
		{ THREAD_REFERENCES, { { "<a>", { NULL }, "x", 1 }, { "<b>", { NULL }, ">x", 2 } }, "(1 2)" },
		{ THREAD_REFERENCES, { { "<b>", { NULL }, ">x", 1 }, { "<a>", { NULL }, "x", 2 } }, "(2 1)" },
		{ THREAD_REFERENCES, { { "<a>", { NULL }, "x", 2 }, { "<b>", { NULL }, "x", 1 }, { "<c>", { NULL }, "x", 3 } },
		    "((2)(1)(3))" },
		{ THREAD_REFERENCES, { { "<a>", { "<p>" }, ">x", 1 }, { "<b>", { "<p>" }, ">x", 2 }, { "<c>", { "<q>" }, ">x", 3 },
		    { "<d>", { "<q>" }, ">x", 4 }, { "<e>", { NULL }, "x", 5 } }, "((1)(2)(3)(4)(5))" },
		{ THREAD_ORDEREDSUBJECT, { { "<a>", { NULL }, "x", 5 }, { "<b>", { "<a>" }, "y", 2 }, { "<c>", { NULL }, ">x", 1 },
		    { "<d>", { NULL }, "x", 7 }, { "<e>", { NULL }, ">y", 3 }, { "<f>", { NULL }, "z", 9 } },
		    "(3 (1)(4))(2 5)(6)" },
		{ THREAD_ORDEREDSUBJECT, { { "", { NULL }, NULL, 0 } }, "" },
	};
	struct buf got = BUF_INIT(1 << 16);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct threads *th = threads_new(t[i].how);

		buf_reset(&got);
		for (uint32_t k = 0; k < MESSAGES_MAX && t[i].m[k].subject != NULL; k++)
			add(th, k + 1, &t[i].m[k]);
		threads_make(th);
		threads_put(th, append, &got);
		CHECK_AT(str_eq(buf_str(&got), str_of(t[i].want)), i);
		if (!str_eq(buf_str(&got), str_of(t[i].want)))
			printf("# row %zu: %.*s, not %s\n", i, STR_FMT(buf_str(&got)), t[i].want);
		threads_free(&th);
	}
	buf_free(&got);
}

static uint64_t seed = 77;

static unsigned below(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 20) % n);
}

/* Every number once, parentheses in pairs. */
static bool is_whole(struct str s, unsigned n)
{
	unsigned char *seen = calloc(n + 1, 1);
	long depth = 0;
	unsigned found = 0;
	bool ok = true;

	for (size_t i = 0; i < s.n && ok;) {
		if (ascii_is_digit(s.p[i])) {
			unsigned v = 0;

			while (i < s.n && ascii_is_digit(s.p[i]))
				v = v * 10 + (unsigned)(s.p[i++] - '0');
			ok = v >= 1 && v <= n && !seen[v]++;
			found++;
			continue;
		}
		depth += s.p[i] == '(' ? 1 : s.p[i] == ')' ? -1 : 0;
		ok = depth >= 0;
		i++;
	}
	free(seen);
	return ok && depth == 0 && found == n;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

enum shape { RANDOM, CHAIN, CHAIN_BACKWARDS, LOOPS, STAR, SHAPES };

/* Reference k of message i. */
static unsigned reference(enum shape shape, unsigned i, unsigned n, unsigned k)
{
	switch (shape) {
	case CHAIN:
		return i - 1;
	case CHAIN_BACKWARDS:
		return i + 1;
	case LOOPS:
		return (i + 1 + k * (n / 2)) % n;
	case STAR:
		return 0;
	default:
		return below(n + n / 4);	/* some are nobody's */
	}
}

static void test_hostile(enum shape shape, unsigned n, unsigned n_refs)
{
	char (*ids)[16] = calloc(2 * n + 2, sizeof *ids);
	struct buf got = BUF_INIT(64 << 20);
	struct threads *t = threads_new(THREAD_REFERENCES);
	double start = seconds();

	REQUIRE(ids != NULL);
	for (unsigned i = 0; i < 2 * n + 2; i++)
		snprintf(ids[i], sizeof ids[i], "<%x>", i);
	for (unsigned i = 0; i < n; i++) {
		struct thread_message m = { i + 1, str_of(ids[i]), str_of(shape == RANDOM ? ids[i % 50] : ""),
			(int64_t)below(1000), below(2) == 0 };

		if (!threads_add(t, &m))
			CHECK(!"room");
		for (unsigned k = 0; k < n_refs; k++)
			threads_reference(t, str_of(ids[reference(shape, i, n, k) % (2 * n + 2)]));
	}
	threads_make(t);
	threads_put(t, append, &got);
	CHECK_AT(is_whole(buf_str(&got), n), shape);
	start = seconds() - start;
	printf("# shape %d, %u messages, %u references each: %.0f ms\n", shape, n, n_refs, start * 1000);
	CHECK_AT(start < 10, shape);
	threads_free(&t);
	buf_free(&got);
	free(ids);
}

int main(void)
{
	test_rules();
	for (unsigned i = 0; i < 300; i++)
		test_hostile(RANDOM, 1 + below(60), 1 + below(4));
	for (enum shape s = 0; s < SHAPES; s++)
		test_hostile(s, 30000, s == CHAIN || s == CHAIN_BACKWARDS ? 1 : 4);
	return tap_done();
}
