/* SPDX-License-Identifier: ISC */
/* Options of penny's subcommands, and points in time. */
#include <stdarg.h>
#include <string.h>

#include "../../ctl/ctl.h"
#include "tap.h"

int ctl_fail(int status, const char *fmt, ...)	/* main.c's, which says it to people */
{
	(void)fmt;
	return status;
}

static void test_times(void)
{
	static const struct { const char *text; bool ok; int64_t ms; } t[] = {
		{ "0", true, 0 }, { "1000000000", true, 1000000000000 }, { "1000000000.5", true, 1000000000500 },
		{ "1.0009", true, 1000 }, { "1.", false, 0 }, { ".5", false, 0 }, { "1.5x", false, 0 }, { "-1", false, 0 },
		{ "99999999999999999999", false, 0 }, { "9223372036854775807", false, 0 }, { "", false, 0 },
		{ "1970-01-01", true, 0 }, { "2001-09-09T01:46:40Z", true, 1000000000000 },
		{ "2001-09-09 01:46:40", true, 1000000000000 }, { "2001-09-09T03:46:40+02:00", true, 1000000000000 },
		{ "2001-09-08T20:16:40-0530", true, 1000000000000 }, { "2001-09-09T01:46:40.25Z", true, 1000000000250 },
		{ "2001-09-09T01:46", true, 999999960000 }, { "2000-02-29", true, 951782400000 },
		{ "2001-02-29", false, 0 }, { "2001-13-01", false, 0 }, { "2001-00-01", false, 0 }, { "2001-01-32", false, 0 },
		{ "2001-01-01T24:00:00", false, 0 }, { "2001-01-01T00:60", false, 0 }, { "2001-01-01T", false, 0 },
		{ "2001-01-01T00:00:00+", false, 0 }, { "2001-01-01T00:00:00+1", false, 0 }, { "2001-1-1", false, 0 },
		{ "2001-01-01T00:00:00ZZ", false, 0 }, { "2001-01-01T00:00:00.Z", false, 0 }, { "20010101", true, 20010101000 },
		{ "yesterday", false, 0 }, { "1969-12-31", false, 0 },
	};
	char text[CTL_TIME_TEXT_OCTETS];

	for (size_t i = 0; i < COUNTOF(t); i++) {
		int64_t ms = -1;
		bool ok = ctl_parse_time(str_of(t[i].text), &ms);

		CHECK_AT(ok == t[i].ok && (!ok || ms == t[i].ms), i);
	}
	ctl_format_time(1000000000999, text);
	CHECK(strcmp(text, "2001-09-09T01:46:40Z") == 0);
	ctl_format_time(INT64_MAX, text);
	CHECK(text[0] != '\0');
}

static void test_options(void)
{
	const char *at = NULL;
	bool flag = false;
	const struct ctl_option opt[] = { { .name = "--at", .value = &at }, { .name = "--flag", .flag = &flag } };
	char a[] = "a", b[] = "--at", c[] = "now", d[] = "--flag", e[] = "z", x[] = "--other";
	char *all[] = { a, b, c, d, e, NULL }, *none[] = { NULL }, *last[] = { a, b, NULL }, *other[] = { x, NULL };

	CHECK(ctl_options(5, all, opt, 2) == 2 && all[0] == a && all[1] == e && all[2] == NULL);
	CHECK(at == c && flag);
	CHECK(ctl_options(0, none, opt, 2) == 0 && none[0] == NULL);
	CHECK(ctl_options(2, last, opt, 2) == -1);
	CHECK(ctl_options(1, other, opt, 2) == -1);
}

int main(void)
{
	test_times();
	test_options();
	return tap_done();
}
