/* SPDX-License-Identifier: ISC */
#include "../../libbase/buf.h"
#include "tap.h"

static void test_limit(void)
{
	struct buf b = BUF_INIT(10);

	CHECK(buf_put(&b, STR("0123456789")) && b.n == 10 && b.cap <= 10 && !b.full);
	CHECK(!buf_putc(&b, 'x') && b.full && b.n == 10);
	CHECK(!buf_put(&b, STR("")));	/* full stays until it is looked at */
	buf_reset(&b);
	CHECK(!b.full && b.n == 0 && b.cap == 10);
	CHECK(!buf_put(&b, STR("01234567890")) && b.n == 0 && b.full);
	buf_reset(&b);
	CHECK(!buf_reserve(&b, SIZE_MAX) && b.full);
	buf_free(&b);
	CHECK(b.p == NULL && b.max == 10);
}

static void test_formats(void)
{
	struct buf b = BUF_INIT(4096);
	char long_text[1001];

	CHECK(buf_put_u64(&b, 0) && buf_put_u64(&b, UINT64_MAX));
	CHECK(str_eq(buf_str(&b), STR("018446744073709551615")));
	buf_reset(&b);
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	CHECK(buf_printf(&b, "%s%d", long_text, 7) && b.n == 1001 && b.p[1000] == '7');
	buf_reset(&b);
	CHECK(buf_put_le16(&b, 0x0102) && buf_put_le32(&b, 0x03040506) &&
	    buf_put_le64(&b, 0x0708090a0b0c0d0eULL));
	CHECK(b.n == 14 && b.p[0] == 2 && b.p[13] == 7);
	CHECK(get_le16(b.p) == 0x0102 && get_le32(b.p + 2) == 0x03040506 &&
	    get_le64(b.p + 6) == 0x0708090a0b0c0d0eULL);
	buf_consume(&b, 2);
	CHECK(b.n == 12 && get_le32(b.p) == 0x03040506);
	buf_consume(&b, 99);
	CHECK(b.n == 0);
	buf_wipe(&b);
	CHECK(b.p == NULL);
}

int main(void)
{
	test_limit();
	test_formats();
	return tap_done();
}
