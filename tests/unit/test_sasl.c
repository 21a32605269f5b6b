/* SPDX-License-Identifier: ISC */
#include "../../libbase/base64.h"
#include "../../libserve/authclient.h"
#include "../../libserve/sasl.h"
#include "tap.h"

static struct arena *arena;

static struct str b64(struct str raw)
{
	return base64_encode(arena, raw);
}

static void test_start(void)
{
	struct sasl s;

	CHECK(strcmp(sasl_mechanisms(), "PLAIN LOGIN") == 0);
	CHECK(sasl_start(&s, STR("plain")) == ERR_OK && strcmp(sasl_name(&s), "PLAIN") == 0);
	CHECK(sasl_start(&s, STR("Login")) == ERR_OK && strcmp(sasl_name(&s), "LOGIN") == 0);
	CHECK(sasl_start(&s, STR("CRAM-MD5")) == ERR_NOENT);
	CHECK(sasl_start(&s, STR("PLAI")) == ERR_NOENT);
	CHECK(sasl_start(&s, STR("")) == ERR_NOENT);
}

static void test_plain(void)
{
	static const struct { struct str raw; enum sasl_next next; struct str authzid, user, password; } t[] = {
		{ STR_INIT("\0alice\0penny"), SASL_DONE, STR_INIT(""), STR_INIT("alice"), STR_INIT("penny") },
		{ STR_INIT("bob\0alice\0p"), SASL_DONE, STR_INIT("bob"), STR_INIT("alice"), STR_INIT("p") },
		{ STR_INIT("\0a\0"), SASL_DONE, STR_INIT(""), STR_INIT("a"), STR_INIT("") },
		{ STR_INIT("\0a\0b\0"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("\0a\0b\0c"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("\0\0b"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("\0a"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("a"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT(""), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("\0"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
		{ STR_INIT("\0\0\0\0"), SASL_BAD, STR_INIT(""), STR_INIT(""), STR_INIT("") },
	};
	struct sasl s;
	struct str challenge = { NULL, 0 };

	for (size_t i = 0; i < COUNTOF(t); i++) {
		enum sasl_next next;

		CHECK_AT(sasl_start(&s, STR("PLAIN")) == ERR_OK, i);
		next = sasl_step(&s, arena, b64(t[i].raw), i % 2 == 0, &challenge);
		CHECK_AT(next == t[i].next, i);
		CHECK_AT(next != SASL_DONE || (str_eq(s.authzid, t[i].authzid) &&
		    str_eq(s.user, t[i].user) && str_eq(s.password, t[i].password)), i);
	}
	/* without an initial response: one empty challenge, once */
	CHECK(sasl_start(&s, STR("PLAIN")) == ERR_OK);
	CHECK(sasl_step(&s, arena, str_n(NULL, 0), true, &challenge) == SASL_CHALLENGE);
	CHECK(challenge.n == 0 && challenge.p != NULL);
	CHECK(sasl_step(&s, arena, b64(STR("\0a\0b")), false, &challenge) == SASL_DONE);
	CHECK(sasl_start(&s, STR("PLAIN")) == ERR_OK);
	CHECK(sasl_step(&s, arena, str_n(NULL, 0), true, &challenge) == SASL_CHALLENGE);
	CHECK(sasl_step(&s, arena, str_n(NULL, 0), false, &challenge) == SASL_BAD);
	/* "=" is empty as an initial response only; base64 is strict */
	CHECK(sasl_start(&s, STR("PLAIN")) == ERR_OK);
	CHECK(sasl_step(&s, arena, STR("="), true, &challenge) == SASL_BAD);
	CHECK(sasl_step(&s, arena, STR("AGEAYg="), true, &challenge) == SASL_BAD);
	CHECK(sasl_step(&s, arena, STR("AGEAYg== "), true, &challenge) == SASL_BAD);
	CHECK(sasl_step(&s, arena, STR("AGEAYh=="), true, &challenge) == SASL_BAD);
	CHECK(sasl_step(&s, arena, STR("*"), false, &challenge) == SASL_BAD);
}

/* \0 user \0 password of given lengths */
static enum sasl_next plain_of(size_t authzid_n, size_t user_n, size_t password_n)
{
	size_t n = authzid_n + user_n + password_n + 2;
	char *p = malloc(n);
	struct sasl s;
	struct str challenge;
	enum sasl_next next;

	memset(p, 'x', n);
	p[authzid_n] = p[authzid_n + 1 + user_n] = '\0';
	CHECK(sasl_start(&s, STR("PLAIN")) == ERR_OK);
	next = sasl_step(&s, arena, b64(str_n(p, n)), true, &challenge);
	free(p);
	return next;
}

static void test_limits(void)
{
	CHECK(plain_of(255, 255, 1024) == SASL_DONE);
	CHECK(plain_of(256, 255, 1024) == SASL_BAD);
	CHECK(plain_of(0, 256, 1024) == SASL_BAD);
	CHECK(plain_of(0, 255, 1025) == SASL_BAD);
	CHECK(plain_of(0, 10, 60000) == SASL_BAD);
}

static void test_login(void)
{
	struct sasl s;
	struct str c;

	CHECK(sasl_start(&s, STR("LOGIN")) == ERR_OK);
	CHECK(sasl_step(&s, arena, str_n(NULL, 0), true, &c) == SASL_CHALLENGE);
	CHECK(str_eq(c, STR("VXNlcm5hbWU6")));
	CHECK(sasl_step(&s, arena, b64(STR("alice")), false, &c) == SASL_CHALLENGE);
	CHECK(str_eq(c, STR("UGFzc3dvcmQ6")));
	CHECK(sasl_step(&s, arena, b64(STR("penny")), false, &c) == SASL_DONE);
	CHECK(str_eq(s.user, STR("alice")) && str_eq(s.password, STR("penny")) && s.authzid.n == 0);

	CHECK(sasl_start(&s, STR("LOGIN")) == ERR_OK);
	CHECK(sasl_step(&s, arena, b64(STR("alice")), true, &c) == SASL_CHALLENGE);
	CHECK(str_eq(c, STR("UGFzc3dvcmQ6")));
	CHECK(sasl_step(&s, arena, b64(STR("penny")), false, &c) == SASL_DONE);

	CHECK(sasl_start(&s, STR("LOGIN")) == ERR_OK);
	CHECK(sasl_step(&s, arena, STR("="), true, &c) == SASL_BAD);
	CHECK(sasl_step(&s, arena, b64(STR("al\0ice")), true, &c) == SASL_BAD);
	CHECK(sasl_step(&s, arena, b64(STR("alice")), true, &c) == SASL_CHALLENGE);
	CHECK(sasl_step(&s, arena, str_n(NULL, 0), false, &c) == SASL_BAD);
	CHECK(sasl_step(&s, arena, b64(STR("pen\0ny")), false, &c) == SASL_BAD);
}

int main(void)
{
	arena = arena_new(1 << 20);
	test_start();
	test_plain();
	test_limits();
	test_login();
	arena_free(&arena);
	return tap_done();
}
