/* SPDX-License-Identifier: ISC */
#include "../../libbase/str.h"
#include "tap.h"

static void test_compare(void)
{
	CHECK(str_eq(STR("a\0b"), STR("a\0b")) && !str_eq(STR("a\0b"), STR("a\0c")));
	CHECK(str_eq(str_n(NULL, 0), STR("")));
	CHECK(str_eq_nocase(STR("InBoX"), STR("iNbOx")) && !str_eq_nocase(STR("["), STR("{")));
	CHECK(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("b"), STR("ab")) > 0);
	CHECK(str_cmp(STR("\xff"), STR("a")) > 0);
	CHECK(str_cmp_nocase(STR("AB"), STR("ab")) == 0 && str_cmp_nocase(STR("A"), STR("ab")) < 0);
	CHECK(str_starts(STR("abc"), STR("ab")) && !str_starts(STR("a"), STR("ab")));
	CHECK(str_starts_nocase(STR("ABc"), STR("ab")) && str_ends(STR("abc"), STR("bc")));
	CHECK(!str_ends(STR("c"), STR("bc")) && str_ends(STR("c"), STR("")));
}

static void test_find(void)
{
	CHECK(str_find(STR("abc"), 'c') == 2 && str_find(STR("abc"), 'd') == 3);
	CHECK(str_find(str_n(NULL, 0), 'a') == 0);
	CHECK(str_find_str(STR("abcabd"), STR("abd")) == 3 && str_find_str(STR("ab"), STR("abc")) == 2);
	CHECK(str_find_str(STR("ab"), STR("")) == 0);
	CHECK(str_has(STR("a\0b"), '\0'));
}

static void test_parts(void)
{
	struct str rest = STR_INIT("a,,b,"), f;

	CHECK(str_eq(str_trim(STR(" \ta b\t ")), STR("a b")) && str_trim(STR("  ")).n == 0);
	CHECK(str_eq(str_skip(STR("abc"), 1), STR("bc")) && str_skip(STR("abc"), 9).n == 0);
	CHECK(str_eq(str_head(STR("abc"), 2), STR("ab")) && str_head(STR("abc"), 9).n == 3);
	CHECK(str_split(&rest, ',', &f) && str_eq(f, STR("a")));
	CHECK(str_split(&rest, ',', &f) && f.n == 0);
	CHECK(str_split(&rest, ',', &f) && str_eq(f, STR("b")));
	CHECK(str_split(&rest, ',', &f) && f.n == 0);
	CHECK(!str_split(&rest, ',', &f));
}

static void test_numbers(void)
{
	static const struct {
		struct str in;
		uint64_t max;
		bool ok;
		uint64_t v;
	} t[] = {
		{ STR_INIT("0"), 10, true, 0 },
		{ STR_INIT("18446744073709551615"), UINT64_MAX, true, UINT64_MAX },
		{ STR_INIT("18446744073709551616"), UINT64_MAX, false, 0 },
		{ STR_INIT("9223372036854775808"), INT64_MAX, false, 0 },
		{ STR_INIT("11"), 10, false, 0 },
		{ STR_INIT(""), 10, false, 0 },
		{ STR_INIT("+1"), 10, false, 0 },
		{ STR_INIT(" 1"), 10, false, 0 },
		{ STR_INIT("1\0"), 10, false, 0 },
		{ STR_INIT("0000000000000000000000000001"), 10, true, 1 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		uint64_t v = 77;
		bool ok = str_to_u64(t[i].in, t[i].max, &v);

		CHECK_AT(ok == t[i].ok && v == (ok ? t[i].v : 77), i);
	}
}

static void test_copies(void)
{
	struct arena *a = arena_new(64);

	CHECK(str_eq(str_dup(a, STR("a\0b")), STR("a\0b")));
	CHECK(str_z(a, STR("a\0b")) == NULL);
	CHECK(strcmp(str_z(a, STR("ab")), "ab") == 0);
	CHECK(str_dup(a, str_n("0123456789012345678901234567890123456789", 40)).p == NULL);
	arena_free(&a);
}

/* The wide loops against one octet at a time, at every length and place. */
static void test_wide(void)
{
	char text[100], up[100], want[100];
	unsigned state = 1, wrong = 0;

	for (int i = 0; i < 20000; i++) {
		size_t n, from, m, at = 0, run = 0;
		struct str s, needle;

		for (size_t k = 0; k < sizeof text; k++) {
			state = state * 1103515245 + 12345;
			text[k] = i % 4 == 0 ? (char)(state >> 16) : "aAbB@`[{ \t\x7f"[(state >> 16) % 11];
		}
		n = (state >> 8) % sizeof text;
		s = str_n(text, n);
		ascii_upper_copy(up, s);
		memcpy(want, text, n);
		for (size_t k = 0; k < n; k++)
			wrong += up[k] != ascii_upper(text[k]);
		ascii_blank_controls(want, n);
		for (size_t k = 0; k < n; k++)
			wrong += want[k] != ((unsigned char)text[k] < ' ' || text[k] == 127 ? ' ' : text[k]);
		while (run < n && (unsigned char)text[run] < 0x80)
			run++;
		wrong += str_ascii_run(s) != run;
		from = n > 0 ? (state >> 4) % n : 0;
		m = 1 + (state >> 20) % 8;
		m = m < n - from ? m : n - from;
		memcpy(want, up + from, m);
		if (i % 3 == 0 && m > 0)
			want[m - 1] = 'Q';
		needle = str_n(want, m);
		if (str_ascii_run(needle) < m)
			continue;
		while (at + m <= n && memcmp(up + at, want, m) != 0)
			at++;
		wrong += str_find_upper(s, needle) != (at + m <= n ? at : n);
	}
	CHECK(wrong == 0);
}

int main(void)
{
	test_compare();
	test_find();
	test_parts();
	test_numbers();
	test_copies();
	test_wide();
	return tap_done();
}
