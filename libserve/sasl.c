/* SPDX-License-Identifier: ISC */
/* The mechanisms are a table; each is a function from (step, decoded response) to what comes next.
 * Invariant: SASL_DONE is given only with a user of 1 to AUTH_USER_MAX_OCTETS octets without NUL. */
#include "../libbase/base64.h"
#include "authclient.h"
#include "sasl.h"

/* The longest PLAIN message (two names, a password, two NULs) in base64. */
enum { SASL_RESPONSE_MAX_OCTETS = (2 * AUTH_USER_MAX_OCTETS + AUTH_PASSWORD_MAX_OCTETS + 2 + 2) / 3 * 4 };

struct mech {
	struct str name;
	/* decoded.p is NULL when the client has sent nothing yet. The challenge is plain text here. */
	enum sasl_next (*step)(struct sasl *s, struct str decoded, struct str *out_challenge);
};

static bool user_fits(struct str user)
{
	return user.n > 0 && user.n <= AUTH_USER_MAX_OCTETS && !str_has(user, '\0');
}

static bool password_fits(struct str password)
{
	return password.n <= AUTH_PASSWORD_MAX_OCTETS && !str_has(password, '\0');
}

/* RFC 4616 s.2: [authzid] NUL authcid NUL passwd */
static enum sasl_next step_plain(struct sasl *s, struct str decoded, struct str *out_challenge)
{
	struct str authzid, user;

	if (decoded.p == NULL) {
		if (s->step++ > 0)
			return SASL_BAD;
		*out_challenge = STR("");
		return SASL_CHALLENGE;
	}
	if (!str_split(&decoded, '\0', &authzid) || !str_split(&decoded, '\0', &user) ||
	    decoded.p == NULL)
		return SASL_BAD;
	if (authzid.n > AUTH_USER_MAX_OCTETS || !user_fits(user) || !password_fits(decoded))
		return SASL_BAD;
	s->authzid = authzid;
	s->user = user;
	s->password = decoded;
	return SASL_DONE;
}

enum { LOGIN_START, LOGIN_USER, LOGIN_PASSWORD };

static enum sasl_next step_login(struct sasl *s, struct str decoded, struct str *out_challenge)
{
	if (s->step == LOGIN_START && decoded.p == NULL) {
		s->step = LOGIN_USER;
		*out_challenge = STR("Username:");
		return SASL_CHALLENGE;
	}
	if (decoded.p == NULL)
		return SASL_BAD;
	if (s->step != LOGIN_PASSWORD) {
		if (!user_fits(decoded))
			return SASL_BAD;
		s->step = LOGIN_PASSWORD;
		s->user = decoded;
		*out_challenge = STR("Password:");
		return SASL_CHALLENGE;
	}
	if (!password_fits(decoded))
		return SASL_BAD;
	s->authzid = STR("");
	s->password = decoded;
	return SASL_DONE;
}

static const struct mech mechs[] = {
	{ STR_INIT("PLAIN"), step_plain },
	{ STR_INIT("LOGIN"), step_login },
};

const char *sasl_mechanisms(void)
{
	return "PLAIN LOGIN";
}

enum err_kind sasl_start(struct sasl *s, struct str name)
{
	for (size_t i = 0; i < COUNTOF(mechs); i++) {
		if (str_eq_nocase(name, mechs[i].name)) {
			*s = (struct sasl){ .mech = (int)i };
			return ERR_OK;
		}
	}
	return ERR_NOENT;
}

const char *sasl_name(const struct sasl *s)
{
	return mechs[s->mech].name.p;
}

enum sasl_next sasl_step(struct sasl *s, struct arena *a, struct str response_b64, bool initial,
    struct str *out_challenge_b64)
{
	struct str decoded = { NULL, 0 }, challenge = { NULL, 0 };
	enum sasl_next next;

	if (response_b64.p != NULL) {
		if (initial && str_eq(response_b64, STR("=")))
			response_b64.n = 0;
		if (response_b64.n > SASL_RESPONSE_MAX_OCTETS ||
		    !base64_decode(a, response_b64, &decoded))
			return SASL_BAD;
	}
	next = mechs[s->mech].step(s, decoded, &challenge);
	if (next != SASL_CHALLENGE)
		return next;
	*out_challenge_b64 = base64_encode(a, challenge);
	return out_challenge_b64->p != NULL ? SASL_CHALLENGE : SASL_BAD;
}
