/* SPDX-License-Identifier: ISC */
/* Address lists, dates, parameters, encoded words: what header fields hold. */
#include "../../libbase/err.h"
#include "../../libmail/addr.h"
#include "../../libmail/charset.h"
#include "../../libmail/date.h"
#include "../../libmail/mime.h"
#include "../../libmail/mutf7.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_n((const char *)data, n), value;
	struct arena *a = arena_new(64 << 20);
	struct buf b = BUF_INIT(16 << 20);
	struct addr_list list;
	struct mime_params params;
	struct mail_date d;
	int depth = 0;

	addr_parse_list(a, in, 1000, &list);
	for (size_t i = 0; i < list.n; i++) {
		depth += list.v[i].kind == ADDR_GROUP_START;
		depth -= list.v[i].kind == ADDR_GROUP_END;
		if (depth < 0 || depth > 1)
			err_bug("groups do not pair");
	}
	if (depth != 0)
		err_bug("a group has no end");
	if (date_parse_mail(in, &d) || date_parse_imap(in, &d)) {
		char text[DATE_TEXT_MAX_OCTETS];
		struct mail_date back;

		date_format_mail(d, text);
		if (!date_parse_mail(str_of(text), &back) || back.epoch_s != d.epoch_s)
			err_bug("date does not come back: %s", text);
	}
	if (mime_field_parse(a, in, &value, &params)) {
		for (size_t i = 0; i < params.n; i++)
			mime_param_utf8(a, &params.v[i]);
	}
	if (!header_decode(&b, in) || !utf8_valid(buf_str(&b)))
		err_bug("decoded header is not UTF-8");
	buf_free(&b);
	arena_free(&a);
	return 0;
}
