/* SPDX-License-Identifier: ISC */
/* No locale and no case folding by the system: a name is octets. */
#include "settings.h"
#include "username.h"

bool name_is_valid(struct str name)
{
	if (name.n == 0 || name.n > AUTH_USER_MAX_OCTETS || name.p[0] == '-' || name.p[0] == '.')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c <= ' ' || c == 0x7f || c == '/' || c == ':')
			return false;
	}
	return true;
}

struct str name_without_domain(const struct settings *set, struct str name)
{
	size_t at = name.n;

	while (at > 0 && name.p[at - 1] != '@')
		at--;
	if (at > 1 && settings_domain_is_local(set, str_skip(name, at)))
		return str_head(name, at - 1);
	return name;
}

bool name_same(const struct settings *set, struct str a, struct str b)
{
	return str_eq(name_without_domain(set, a), name_without_domain(set, b));
}

void name_copy(char out[AUTH_USER_MAX_OCTETS + 1], struct str name)
{
	name = str_head(name, AUTH_USER_MAX_OCTETS);
	memcpy(out, name.p, name.n);
	out[name.n] = '\0';
}

void name_copy_lower(char out[AUTH_USER_MAX_OCTETS + 1], struct str name)
{
	name_copy(out, name);
	for (char *p = out; *p != '\0'; p++)
		*p = ascii_lower(*p);
}
