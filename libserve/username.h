/* SPDX-License-Identifier: ISC */
/* What may be a user name at all, and how a name is taken out of what people type. Pure
 * functions. */
#ifndef USERNAME_H
#define USERNAME_H

#include "../libbase/str.h"
#include "authclient.h"

struct settings;

/* Names go to PAM, NSS and, as one component, into a path: 1 to AUTH_USER_MAX_OCTETS octets, no
 * control octet (NUL too), no '/', ':' or space, no '-' or '.' in front. */
bool name_is_valid(struct str name);

/* "user@domain" with one of the site's domains means "user"; anything else is itself. */
struct str name_without_domain(const struct settings *set, struct str name);

/* Two spellings of one user, as typed. */
bool name_same(const struct settings *set, struct str a, struct str b);

/* A valid name, or its lower-case form, as a C string. */
void name_copy(char out[AUTH_USER_MAX_OCTETS + 1], struct str name);
void name_copy_lower(char out[AUTH_USER_MAX_OCTETS + 1], struct str name);

#endif
