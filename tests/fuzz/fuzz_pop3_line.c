/* SPDX-License-Identifier: ISC */
/* Command lines of POP3: what is accepted is made of what was sent. */
#include <stdlib.h>

#include "../../pop3d/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str line = str_n((const char *)data, n);
	struct pop3_line l;
	uint32_t a, b;

	if (pop3_line_split(line, &l)) {
		if (l.verb.p != line.p || l.verb.n + (l.arg.p != NULL ? l.arg.n + 1 : 0) != n)
			abort();
		if (pop3_number(l.arg.p != NULL ? l.arg : STR(""), &a) && a == 0)
			abort();
		if (l.arg.p != NULL)
			(void)pop3_two_numbers(l.arg, &a, &b);
	}
	for (uint32_t i = 0; i < 4; i++)
		if (pop3_lines_length(line, i) > n)
			abort();
	return 0;
}
