/* SPDX-License-Identifier: ISC */
#include "../../libbase/base64.h"
#include "tap.h"

int main(void)
{
	/* RFC 4648 s.10, and octets that are no text */
	static const struct { struct str raw, text; } good[] = {
		{ STR_INIT(""), STR_INIT("") },
		{ STR_INIT("f"), STR_INIT("Zg==") },
		{ STR_INIT("fo"), STR_INIT("Zm8=") },
		{ STR_INIT("foo"), STR_INIT("Zm9v") },
		{ STR_INIT("foob"), STR_INIT("Zm9vYg==") },
		{ STR_INIT("fooba"), STR_INIT("Zm9vYmE=") },
		{ STR_INIT("foobar"), STR_INIT("Zm9vYmFy") },
		{ STR_INIT("\0a\0b"), STR_INIT("AGEAYg==") },
		{ STR_INIT("\xff\xfe\xfb"), STR_INIT("//77") },
	};
	static const struct str bad[] = {
		STR_INIT("Z"), STR_INIT("Zg"), STR_INIT("Zg="), STR_INIT("Zg==="), STR_INIT("===="),
		STR_INIT("Z==="), STR_INIT("Zh=="), STR_INIT("Zm9="), STR_INIT("Zg==Zg=="),
		STR_INIT("Zm 9"), STR_INIT("Zm9v\r\n"), STR_INIT("Zm9\0"), STR_INIT("Zm9-"), STR_INIT("Z=8="),
		STR_INIT("\xc3\xa9" "AA"), STR_INIT("=m9v"),
	};
	struct arena *a = arena_new(4096), *small = arena_new(2);
	struct str out;

	for (size_t i = 0; i < COUNTOF(good); i++) {
		CHECK_AT(str_eq(base64_encode(a, good[i].raw), good[i].text), i);
		CHECK_AT(base64_decode(a, good[i].text, &out) && out.p != NULL &&
		    str_eq(out, good[i].raw), i);
	}
	for (size_t i = 0; i < COUNTOF(bad); i++)
		CHECK_AT(!base64_decode(a, bad[i], &out), i);
	CHECK(!base64_decode(small, STR("Zm9v"), &out));
	CHECK(base64_encode(small, STR("foo")).p == NULL);
	arena_free(&a);
	arena_free(&small);
	return tap_done();
}
