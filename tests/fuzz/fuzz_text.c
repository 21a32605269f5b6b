/* SPDX-License-Identifier: ISC */
/* Text of a part: the first octets choose encoding, charset and markup. What comes out is UTF-8,
 * and a needle cut from it is found in it. */
#include "../../libbase/err.h"
#include "../../libmail/mutf7.h"
#include "../../libmail/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct str charsets[] = {
		STR_INIT(""), STR_INIT("utf-8"), STR_INIT("iso-8859-1"), STR_INIT("iso-2022-jp"),
		STR_INIT("gb18030"), STR_INIT("utf-7"), STR_INIT("big5"), STR_INIT("utf-16"),
		STR_INIT("euc-kr"), STR_INIT("shift_jis"), STR_INIT("iso-2022-kr"), STR_INIT("koi8-r"),
	};
	struct str in = str_n((const char *)data, n), front;
	struct buf out = BUF_INIT(16 << 20), back = BUF_INIT(16 << 20);
	struct text_reader t;
	struct needle needle;

	if (n < 3)
		return 0;
	text_reader_init(&t, str_skip(in, 3), (enum mime_encoding)(data[0] % (MIME_OTHER + 1)),
	    charsets[data[1] % COUNTOF(charsets)], (data[2] & 1) != 0);
	while (text_read(&t, &out))
		;
	text_reader_end(&t);
	if (!utf8_valid(buf_str(&out)))
		err_bug("text is not UTF-8");
	front = str_head(buf_str(&out), 60);
	if (needle_init(&needle, front) && utf8_valid(front) && !needle_in(&needle, buf_str(&out)))
		err_bug("needle not found");
	needle_free(&needle);
	buf_reset(&out);
	if (mutf7_to_utf8(&out, in) &&
	    (!mutf7_from_utf8(&back, buf_str(&out)) || !str_eq(buf_str(&back), in)))
		err_bug("mailbox name does not come back");
	buf_free(&out);
	buf_free(&back);
	return 0;
}
