/* SPDX-License-Identifier: ISC */
/* Paths: what parses gives a canonical text that parses to the same. */
#include "../../libbase/err.h"
#include "../../libmail/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_n((const char *)data, n), rest, verb, arg;
	struct arena *a = arena_new(1 << 20);
	struct esmtp_param params[ESMTP_PARAMS_MAX];
	struct mail_path p, again;
	size_t n_params;

	for (unsigned flags = 0; flags < 32; flags++) {
		if (path_parse(a, in, flags, &p, &rest, NULL) != ERR_OK)
			continue;
		if (p.local.n > PATH_LOCAL_MAX_OCTETS || p.domain.n > PATH_DOMAIN_MAX_OCTETS)
			err_bug("limits");
		if (!p.is_null && (path_parse_bare(a, p.text, flags | PATH_NO_DOMAIN_OK, &again, NULL) !=
		    ERR_OK || !str_eq(again.local, p.local) || !str_eq(again.domain, p.domain)))
			err_bug("the canonical text is another address");
		if (esmtp_params_parse(rest, params, &n_params, NULL) != ERR_OK)
			continue;
		for (size_t i = 0; i < n_params; i++) {
			if (params[i].value.p != NULL &&
			    xtext_decode(a, params[i].value, &arg, NULL) != ERR_OK)
				continue;
		}
	}
	smtp_line_split(in, &verb, &arg);
	arena_free(&a);
	return 0;
}
