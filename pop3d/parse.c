/* SPDX-License-Identifier: ISC */
/* Command lines and their arguments. Nothing here knows a session. */
#include "parse.h"

enum { VERB_MAX_OCTETS = 16 };

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

bool pop3_line_split(struct str line, struct pop3_line *out)
{
	size_t i;

	for (i = 0; i < line.n; i++)
		if (is_control(line.p[i]))
			return false;
	for (i = 0; i < line.n && line.p[i] != ' '; i++)
		if (!ascii_is_alpha(line.p[i]))
			return false;
	if (i == 0 || i > VERB_MAX_OCTETS)
		return false;
	out->verb = str_head(line, i);
	out->arg = i < line.n ? str_skip(line, i + 1) : str_n(NULL, 0);
	return true;
}

bool pop3_number(struct str s, uint32_t *out)
{
	uint64_t v;

	if (!str_to_u64(str_trim(s), UINT32_MAX, &v) || v == 0)
		return false;
	*out = (uint32_t)v;
	return true;
}

bool pop3_two_numbers(struct str s, uint32_t *out_msgno, uint32_t *out_lines)
{
	struct str rest = str_trim(s), first;
	uint64_t lines;

	if (!str_split(&rest, ' ', &first) || !pop3_number(first, out_msgno))
		return false;
	if (rest.p == NULL || !str_to_u64(str_trim(rest), UINT32_MAX, &lines))
		return false;
	*out_lines = (uint32_t)lines;
	return true;
}

size_t pop3_lines_length(struct str text, uint32_t n)
{
	size_t at = 0;

	for (; n > 0 && at < text.n; n--) {
		const char *lf = memchr(text.p + at, '\n', text.n - at);

		if (lf == NULL)
			return text.n;
		at = (size_t)(lf - text.p) + 1;
	}
	return at;
}
