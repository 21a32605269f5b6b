/* SPDX-License-Identifier: ISC */
/* Dates in all their spellings. */
#include "../../libmail/date.h"
#include "tap.h"

static void test_mail(void)
{
	static const struct { struct str in; bool ok; int64_t s; int zone; } t[] = {
		{ STR_INIT("Wed, 17 Jul 1996 02:44:25 -0700"), true, 837596665, -420 },
		{ STR_INIT("17 Jul 1996 09:44:25 GMT"), true, 837596665, 0 },
		{ STR_INIT("17 Jul 96 09:44 UT"), true, 837596640, 0 },
		{ STR_INIT("Wed, 17 Jul 1996 02:44:25 PDT"), true, 837596665, -420 },
		{ STR_INIT(" Wed (day) , 17\r\n Jul(x(y)) 1996 02 : 44 : 25 -0700 (PDT)"), true,
		  837596665, -420 },
		{ STR_INIT("Thu, 01 Jan 1970 00:00:00 +0000"), true, 0, 0 },
		{ STR_INIT("1 Jan 49 00:00:00 Z"), true, 2493072000, 0 },
		{ STR_INIT("1 Jan 50 00:00:00 Z"), true, -631152000, 0 },
		{ STR_INIT("1 Jan 100 00:00:00 A"), true, 946684800, 0 },
		{ STR_INIT("29 Feb 2000 23:59:60 +0000"), true, 951868799, 0 },
		{ STR_INIT("29 Feb 1999 00:00:00 +0000"), false, 0, 0 },
		{ STR_INIT("Wed Jul 17 09:44:25 1996"), true, 837596665, 0 },
		{ STR_INIT("17-Jul-1996 09:44:25"), true, 837596665, 0 },
		{ STR_INIT("17 Jul 1996 24:00:00 +0000"), false, 0, 0 },
		{ STR_INIT("0 Jul 1996 00:00:00 +0000"), false, 0, 0 },
		{ STR_INIT("32 Jul 1996 00:00:00 +0000"), false, 0, 0 },
		{ STR_INIT("17 Foo 1996 00:00:00 +0000"), false, 0, 0 },
		{ STR_INIT("17 Jul 99999 00:00:00 +0000"), false, 0, 0 },
		{ STR_INIT(""), false, 0, 0 }, { STR_INIT("(((("), false, 0, 0 },
		{ STR_INIT("(\\"), false, 0, 0 },
		{ STR_INIT("17"), false, 0, 0 }, { STR_INIT("17 Jul"), false, 0, 0 },
		{ STR_INIT("yesterday"), false, 0, 0 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct mail_date d = { 0, 0 };
		bool ok = date_parse_mail(t[i].in, &d);

		CHECK_AT(ok == t[i].ok && (!ok || (d.epoch_s == t[i].s && d.zone_min == t[i].zone)), i);
	}
}

static void test_imap(void)
{
	static const struct { struct str in; bool ok; int64_t s; } t[] = {
		{ STR_INIT("17-Jul-1996 02:44:25 -0700"), true, 837596665 },
		{ STR_INIT(" 7-Jul-1996 02:44:25 -0700"), true, 836732665 },
		{ STR_INIT("17-July-1996 02:44:25 -0700"), false, 0 },
		{ STR_INIT("17-Jul-1996 02:44:25"), false, 0 },
		{ STR_INIT("17-Jul-96 02:44:25 -0700"), false, 0 },
		{ STR_INIT("17-Jul-1996 2:44:25 -0700"), false, 0 },
		{ STR_INIT("17-Jul-1996 02:44:25 -0700x"), false, 0 },
		{ STR_INIT("31-Feb-1996 02:44:25 -0700"), false, 0 },
		{ STR_INIT("17-Jul-1996 02:44:25 -9900"), false, 0 },
		{ STR_INIT(""), false, 0 },
	};
	int64_t day;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct mail_date d = { 0, 0 };
		bool ok = date_parse_imap(t[i].in, &d);

		CHECK_AT(ok == t[i].ok && (!ok || d.epoch_s == t[i].s), i);
	}
	CHECK(date_parse_imap_day(STR("1-Feb-1994"), &day) && day == 8797);
	CHECK(!date_parse_imap_day(STR("1-Feb-94"), &day));
	CHECK(!date_parse_imap_day(STR("1-Feb-1994 "), &day));
	CHECK(!date_parse_imap_day(STR("30-Feb-1994"), &day));
	CHECK(date_day((struct mail_date){ 837596665, -420 }) == 9694);
	CHECK(date_day((struct mail_date){ -1, 0 }) == -1);
	CHECK(date_day((struct mail_date){ -1, 60 }) == 0);
}

static void test_format(void)
{
	char text[DATE_TEXT_MAX_OCTETS];
	struct mail_date d = { 837596665, -420 }, back;

	CHECK(date_format_mail(d, text) == 31);
	CHECK(str_eq(str_of(text), STR("Wed, 17 Jul 1996 02:44:25 -0700")));
	CHECK(date_format_imap(d, text) == 26);
	CHECK(str_eq(str_of(text), STR("17-Jul-1996 02:44:25 -0700")));
	for (int64_t s = -2000000000; s < 250000000000; s += 9999990001) {
		d = (struct mail_date){ s, 90 };
		date_format_mail(d, text);
		CHECK_AT(date_parse_mail(str_of(text), &back) && back.epoch_s == s && back.zone_min == 90, s);
		date_format_imap(d, text);
		CHECK_AT(date_parse_imap(str_of(text), &back) && back.epoch_s == s, s);
	}
	d = (struct mail_date){ INT64_MAX, 1439 };
	CHECK(date_format_mail(d, text) == 31);
	d = (struct mail_date){ INT64_MIN, -1439 };
	CHECK(date_format_imap(d, text) == 26);
}

int main(void)
{
	test_mail();
	test_imap();
	test_format();
	return tap_done();
}
