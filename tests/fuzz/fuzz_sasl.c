/* SPDX-License-Identifier: ISC */
/* A SASL exchange: the first octet chooses the mechanism and whether there is an initial response, then each
 * line is a response. A user who comes out fits the promises of sasl.h. */
#include <stdlib.h>

#include "../../libserve/authclient.h"
#include "../../libserve/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_done(const struct sasl *s)
{
	if (s->user.n == 0 || s->user.n > AUTH_USER_MAX_OCTETS || str_has(s->user, '\0') ||
	    s->authzid.n > AUTH_USER_MAX_OCTETS || s->password.n > AUTH_PASSWORD_MAX_OCTETS ||
	    str_has(s->password, '\0') || s->authzid.p == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena *a = arena_new(64 * 1024);
	struct str rest = str_skip(str_n((const char *)data, n), 1), line, challenge;
	enum sasl_next next = SASL_CHALLENGE;
	bool initial = true;
	struct sasl s;

	if (n > 0 && sasl_start(&s, data[0] & 1 ? STR("PLAIN") : STR("LOGIN")) == ERR_OK) {
		if (data[0] & 2)
			next = sasl_step(&s, a, str_n(NULL, 0), true, &challenge);
		while (next == SASL_CHALLENGE && str_split(&rest, '\n', &line)) {
			next = sasl_step(&s, a, line, initial, &challenge);
			initial = false;
		}
		if (next == SASL_DONE)
			check_done(&s);
	}
	arena_free(&a);
	return 0;
}
