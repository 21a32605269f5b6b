/* SPDX-License-Identifier: ISC */
/* The order of SORT, from records of messages. */
#include "../../libmail/sortkey.h"
#include "tap.h"

enum { N = 5 };

static const struct { const char *text; int64_t arrival_s; uint64_t size; } mail[N] = {
	{ "From: Zoe <zoe@x>\r\nTo: b@x\r\nSubject: Re: beta\r\nDate: Mon, 2 Mar 2020 10:00:00 +0000\r\n\r\n", 50, 10 },
	{ "From: \"anna\" <u@x>\r\nTo: C@x\r\nCc: k@x\r\nSubject: ALPHA\r\nDate: Mon, 2 Mar 2020 12:30:00 +0500\r\n\r\n", 40, 30 },
	{ "From: ZOE@y\r\nSubject: Beta\r\n\r\n", 30, 20 },
	{ "From: =?utf-8?q?=C3=84nne?= <m@x>\r\nTo: a@x\r\nSubject: Fwd: [fwd: alpha]\r\nDate: nonsense\r\n\r\n", 20, 20 },
	{ "\r\n", 10, 5 },
};

int main(void)
{
	static const struct { struct sort_order o; uint32_t want[N]; } t[] = {
		{ { .key = { { SORT_ARRIVAL, false } }, .n = 1 }, { 5, 4, 3, 2, 1 } },
		{ { .key = { { SORT_ARRIVAL, true } }, .n = 1 }, { 1, 2, 3, 4, 5 } },
		/* UTC; INTERNALDATE where there is no date */
		{ { .key = { { SORT_DATE, false } }, .n = 1 }, { 5, 4, 3, 2, 1 } },
		{ { .key = { { SORT_SIZE, true } }, .n = 1 }, { 2, 3, 4, 1, 5 } },
		{ { .key = { { SORT_SUBJECT, false } }, .n = 1 }, { 5, 2, 4, 1, 3 } },
		{ { .key = { { SORT_SUBJECT, false }, { SORT_SIZE, true } }, .n = 2 }, { 5, 2, 4, 3, 1 } },
		{ { .key = { { SORT_SUBJECT, true }, { SORT_ARRIVAL, false } }, .n = 2 }, { 3, 1, 4, 2, 5 } },
		{ { .key = { { SORT_FROM, false } }, .n = 1 }, { 5, 4, 2, 1, 3 } },
		{ { .key = { { SORT_TO, false } }, .n = 1 }, { 3, 5, 4, 1, 2 } },
		{ { .key = { { SORT_CC, false } }, .n = 1 }, { 1, 3, 4, 5, 2 } },
		{ { .key = { { SORT_DISPLAYFROM, false } }, .n = 1 }, { 5, 2, 4, 1, 3 } },
	};
	struct arena *a = arena_new(RECORD_ARENA_OCTETS), *keys = arena_new(1 << 20), *small = arena_new(32);
	struct sort_order o = { .n = 0 };
	struct record r[N];
	struct buf b[N];
	struct sort_item item;

	for (size_t i = 0; i < N; i++) {
		buf_init(&b[i], RECORD_MAX_OCTETS);
		REQUIRE(record_make(a, str_of(mail[i].text), &b[i], NULL) == ERR_OK &&
		    record_open(buf_str(&b[i]), &r[i], NULL) == ERR_OK);
	}
	for (size_t k = 0; k < COUNTOF(t); k++) {
		struct sort_item items[N];

		for (size_t i = 0; i < N; i++) {
			items[i].msgno = items[i].number = (uint32_t)i + 1;
			REQUIRE(sort_item_fill(keys, &t[k].o, &r[i], mail[i].arrival_s, mail[i].size, &items[i]));
		}
		sort_items(&t[k].o, items, N);
		for (size_t i = 0; i < N; i++)
			CHECK_AT(items[i].number == t[k].want[i], k * 10 + i);
	}
	CHECK(sort_order_add(&o, SORT_SIZE, true) && !o.needs_record && sort_order_add(&o, SORT_SIZE, false) && o.n == 1);
	CHECK(sort_order_add(&o, SORT_SUBJECT, false) && o.needs_record && o.n == 2 && o.key[0].reverse);
	CHECK(!sort_item_fill(small, &o, &r[0], 0, 0, &item));
	for (size_t i = 0; i < N; i++)
		buf_free(&b[i]);
	arena_free(&small);
	arena_free(&keys);
	arena_free(&a);
	return tap_done();
}
