/* SPDX-License-Identifier: ISC */
/* Mailbox names. They are keys, never paths; the rules keep them listable and typeable. */
#include "../libmail/mutf7.h"
#include "store_int.h"

static bool level_ok(struct str level)
{
	return level.n > 0 && !str_eq(level, STR(".")) && !str_eq(level, STR(".."));
}

static bool octets_ok(struct str name)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 0x20 || c == 0x7f || c == '*' || c == '%')
			return false;
	}
	return utf8_valid(name);
}

enum err_kind name_canonical(struct str name, struct str *out, struct err *e)
{
	struct str rest, level;
	size_t depth = 0;

	if (name.n > 0 && name.p[name.n - 1] == '/')
		name.n--;
	if (name.n == 0 || name.n > STORE_NAME_MAX_OCTETS || !octets_ok(name))
		return err_set(e, ERR_SYNTAX, 0, "not a mailbox name");
	for (rest = name; str_split(&rest, '/', &level);) {
		if (!level_ok(level) || ++depth > STORE_DEPTH_MAX)
			return err_set(e, ERR_SYNTAX, 0, "not a mailbox name: a level of it");
	}
	*out = str_eq_nocase(name, STR("INBOX")) ? STR("INBOX") : name;
	return ERR_OK;
}
