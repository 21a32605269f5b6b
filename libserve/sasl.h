/* SPDX-License-Identifier: ISC */
/* Server side of SASL, as a pure state machine: text in, text out (RFC 4422; PLAIN RFC 4616; LOGIN as in
 * draft-murchison-sasl-login). Protocols do the framing: they pass client responses still in base64 and
 * send challenges in base64. Only mechanisms whose secret every user can serve are here. */
#ifndef SASL_H
#define SASL_H

#include "../libbase/arena.h"
#include "../libbase/err.h"
#include "../libbase/str.h"

struct sasl {
	int mech, step;
	struct str authzid, user, password;	/* valid when SASL_DONE; in the arena */
};

enum sasl_next { SASL_CHALLENGE, SASL_DONE, SASL_BAD };

/* The mechanisms on offer, space-separated, for capability lines: "PLAIN LOGIN". */
const char *sasl_mechanisms(void);

/* Starts mechanism `name` (any case). ERR_NOENT when it is not ours. */
enum err_kind sasl_start(struct sasl *s, struct str name) CHECKED;
const char *sasl_name(const struct sasl *s);

/* One step. response_b64: the client's line; p == NULL: the client has sent none yet (no initial response);
 * "=" is an empty response where it is an initial one (RFC 4954 s.4, RFC 5034 s.4, RFC 4959 s.3). "*" (cancel)
 * is the caller's to see. On SASL_CHALLENGE *out_challenge_b64 is what to send (may be empty). Anything
 * malformed (base64, missing NULs, empty user, over AUTH_* limits, NUL in a LOGIN field) is SASL_BAD. */
enum sasl_next sasl_step(struct sasl *s, struct arena *a, struct str response_b64, bool initial,
    struct str *out_challenge_b64);

#endif
