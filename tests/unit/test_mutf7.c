/* SPDX-License-Identifier: ISC */
/* Mailbox names there and back, and every form that must not pass. */
#include "../../libmail/mutf7.h"
#include "tap.h"

static void test_good(void)
{
	static const struct { struct str mutf7, utf8; } t[] = {
		{ STR_INIT(""), STR_INIT("") }, { STR_INIT("INBOX"), STR_INIT("INBOX") },
		{ STR_INIT("a&-b"), STR_INIT("a&b") }, { STR_INIT("&-&-"), STR_INIT("&&") },
		{ STR_INIT("~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
		  STR_INIT("~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e") },
		{ STR_INIT("Entw&APw-rfe"), STR_INIT("Entw\xc3\xbcrfe") },
		{ STR_INIT("&2D3eAA-"), STR_INIT("\xf0\x9f\x98\x80") },
		{ STR_INIT("&AOQ-&-"), STR_INIT("\xc3\xa4&") },
	};
	struct buf b = BUF_INIT(1000);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		buf_reset(&b);
		CHECK_AT(mutf7_to_utf8(&b, t[i].mutf7) && str_eq(buf_str(&b), t[i].utf8), i);
		buf_reset(&b);
		CHECK_AT(mutf7_from_utf8(&b, t[i].utf8) && str_eq(buf_str(&b), t[i].mutf7), i);
	}
	buf_free(&b);
}

static void test_bad(void)
{
	static const struct str mutf7[] = {
		STR_INIT("&"), STR_INIT("a&"), STR_INIT("&AOQ"), STR_INIT("&AGE-"), STR_INIT("&AOQ-&AOQ-"),
		STR_INIT("&A-"), STR_INIT("&AO-"), STR_INIT("&AOR-"), STR_INIT("&AOQA-"), STR_INIT("&2D0-"),
		STR_INIT("&3gA-"), STR_INIT("&AOQ/-"), STR_INIT("&AO Q-"), STR_INIT("\xc3\xa4"),
		STR_INIT("a\0b"), STR_INIT("a\r"), STR_INIT("\x7f"), STR_INIT("&AAo-"), STR_INIT("&AH8-"),
		STR_INIT("&ACY-"), STR_INIT("&2D0AYQ-"), STR_INIT("&AAA-"), STR_INIT("&AIU-"),
	};
	static const struct str utf8[] = {
		STR_INIT("\xc3"), STR_INIT("\xc0\xaf"), STR_INIT("\xed\xa0\x80"), STR_INIT("\xf4\x90\x80\x80"),
		STR_INIT("\xe0\x80\xaf"), STR_INIT("\x80"), STR_INIT("\xff"), STR_INIT("\xf8\x88\x80\x80\x80"),
	};
	struct buf b = BUF_INIT(1000);

	for (size_t i = 0; i < COUNTOF(mutf7); i++)
		CHECK_AT(!mutf7_to_utf8(&b, mutf7[i]) && b.n == 0, i);
	for (size_t i = 0; i < COUNTOF(utf8); i++)
		CHECK_AT(!mutf7_from_utf8(&b, utf8[i]) && b.n == 0 && !utf8_valid(utf8[i]), i);
	CHECK(!mutf7_from_utf8(&b, STR("a\nb")));
	CHECK(utf8_valid(STR("a\0\xc3\xa4\xf4\x8f\xbf\xbf")));
	buf_free(&b);
}

int main(void)
{
	test_good();
	test_bad();
	return tap_done();
}
