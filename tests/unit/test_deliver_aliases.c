/* SPDX-License-Identifier: ISC */
/* The aliases file's grammar, and what recipients come down to. */
#include "../../deliver/aliases.h"
#include "../../deliver/envelope.h"
#include "tap.h"

static unsigned n_reports;

static void count(void *ctx, unsigned line, const char *why)
{
	(void)ctx;
	(void)line;
	(void)why;
	n_reports++;
}

/* Targets of one alias as "kind:text kind:text". */
static void show(const struct aliases *a, struct str name, struct buf *out)
{
	const struct alias *x = aliases_find(a, name);

	buf_reset(out);
	for (uint32_t i = 0; x != NULL && i < x->n; i++) {
		const struct alias_target *t = &a->targets[x->first + i];

		buf_printf(out, "%s%d:%.*s", i > 0 ? " " : "", t->kind, STR_FMT(t->text));
	}
}

static void test_grammar(void)
{
	static const struct {
		struct str text, name, want;
		unsigned reports;
	} t[] = {
		{ STR_INIT("a: b\n"), STR_INIT("a"), STR_INIT("0:b"), 0 },
		{ STR_INIT("a: b"), STR_INIT("A"), STR_INIT("0:b"), 0 },
		{ STR_INIT("A:b,c , d\r\n"), STR_INIT("a"),
		  STR_INIT("0:b 0:c 0:d"), 0 },
		{ STR_INIT("a: b,\n c\n\n# no\n\td\ne: f\n"), STR_INIT("a"),
		  STR_INIT("0:b 0:c 0:d"), 0 },
		{ STR_INIT("a: b,\n c\n\n# no\n\td\ne: f\n"), STR_INIT("e"), STR_INIT("0:f"), 0 },
		{ STR_INIT("# x\n\n \na : b"), STR_INIT("a"), STR_INIT("0:b"), 0 },
		{ STR_INIT("\"a b\": \"c, d\", e"), STR_INIT("a b"), STR_INIT("0:c, d 0:e"), 0 },
		{ STR_INIT("a: \"|cmd -x, \\\"y\\\"\", |cmd z"), STR_INIT("a"),
		  STR_INIT("2:cmd -x, \"y\" 2:cmd z"), 0 },
		{ STR_INIT("a: /var/x, :include:/l, \\b"), STR_INIT("a"),
		  STR_INIT("3:var/x 4:/l 1:b"), 0 },
		{ STR_INIT("a: b\na: c\n"), STR_INIT("a"), STR_INIT("0:b"), 1 },
		{ STR_INIT(" a: b\nc: d"), STR_INIT("c"), STR_INIT("0:d"), 1 },
		{ STR_INIT("a b\nc: d"), STR_INIT("c"), STR_INIT("0:d"), 1 },
		{ STR_INIT("a:\nc: d"), STR_INIT("c"), STR_INIT("0:d"), 1 },
		{ STR_INIT("a: \"b\nc: d"), STR_INIT("c"), STR_INIT("0:d"), 1 },
		{ STR_INIT("\"a: b\nc: d"), STR_INIT("c"), STR_INIT("0:d"), 1 },
		{ STR_INIT(": b\nc: d"), STR_INIT("c"), STR_INIT("0:d"), 1 },
		{ STR_INIT(""), STR_INIT("c"), STR_INIT(""), 0 },
	};
	struct buf out = BUF_INIT(4096);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct aliases a;

		n_reports = 0;
		aliases_parse(t[i].text, count, NULL, &a);
		show(&a, t[i].name, &out);
		CHECK_AT(str_eq(buf_str(&out), t[i].want) && n_reports == t[i].reports, i);
		aliases_free(&a);
	}
	buf_free(&out);
}

static const char site_aliases[] =
    "postmaster: root\n"
    "root: root, alice\n"
    "team: alice, bob\n"
    "all: team, team2, carol\n"
    "team2: team, dave\n"
    "loop: loop2\n"
    "loop2: loop\n"
    "self: self\n"
    "cmd: \"|touch /tmp/x\"\n"
    "file: /tmp/x\n"
    "inc: :include:/etc/passwd\n"
    "mix: alice, \"|x\", nobody\n"
    "far: x@example.org\n"
    "near: bob@here.test, carol+In@here.test\n"
    "bob: \\bob, alice\n"
    "plus+tag: carol\n"
    "plus: alice\n"
    "d0: d1\nd1: d2\nd2: d3\nd3: d4\nd4: d5\nd5: d6\nd6: d7\nd7: d8\nd8: d9\nd9: d10\nd10: d11\n"
    "d11: d12\nd12: alice\n";

static enum err_kind known(void *ctx, struct str name, char *canonical, struct err *e)
{
	static const struct str users[] = {
		STR_INIT("alice"), STR_INIT("bob"), STR_INIT("carol"), STR_INIT("dave"),
	};

	(void)ctx;
	if (str_eq(name, STR("sick")))
		return err_set(e, ERR_TEMP, 0, "no answer");
	for (size_t i = 0; i < COUNTOF(users); i++) {
		if (!str_eq_nocase(users[i], name))
			continue;
		memcpy(canonical, users[i].p, users[i].n + 1);
		return ERR_OK;
	}
	return err_set(e, ERR_NOENT, 0, "nobody");
}

static bool local(void *ctx, struct str domain)
{
	(void)ctx;
	return str_eq_nocase(domain, STR("here.test"));
}

static unsigned n_skipped;

static void skipped(void *ctx, struct str alias, struct str target, const char *why)
{
	(void)ctx;
	(void)alias;
	(void)target;
	(void)why;
	n_skipped++;
}

static void test_expansion(void)
{
	static const struct {
		struct str in;
		enum err_kind want;
		struct str targets;		/* "user/folder user/" in order */
		unsigned skipped;
	} t[] = {
		{ STR_INIT("<alice@here.test>"), ERR_OK, STR_INIT("alice/"), 0 },
		{ STR_INIT("<Alice>"), ERR_OK, STR_INIT("alice/"), 0 },
		{ STR_INIT("<alice+Work@HERE.test>"), ERR_OK, STR_INIT("alice/Work"), 0 },
		{ STR_INIT("<alice+@here.test>"), ERR_OK, STR_INIT("alice/"), 0 },
		{ STR_INIT("<alice+a+b@here.test>"), ERR_OK, STR_INIT("alice/a+b"), 0 },
		{ STR_INIT("<\"alice+My Box\"@here.test>"), ERR_OK, STR_INIT("alice/My Box"), 0 },
		{ STR_INIT("<alice@there.test>"), ERR_DENIED, STR_INIT(""), 0 },
		{ STR_INIT("<nobody@here.test>"), ERR_NOENT, STR_INIT(""), 0 },
		{ STR_INIT("<\"+x\"@here.test>"), ERR_NOENT, STR_INIT(""), 0 },
		{ STR_INIT("<sick>"), ERR_TEMP, STR_INIT(""), 0 },
		{ STR_INIT("<Postmaster>"), ERR_OK, STR_INIT("alice/"), 1 },
		{ STR_INIT("<abuse>"), ERR_OK, STR_INIT("dave/"), 0 },
		{ STR_INIT("<TEAM>"), ERR_OK, STR_INIT("alice/ bob/"), 0 },
		{ STR_INIT("<all>"), ERR_OK, STR_INIT("carol/ alice/ dave/ bob/"), 0 },
		{ STR_INIT("<loop>"), ERR_NOENT, STR_INIT(""), 1 },
		{ STR_INIT("<self>"), ERR_NOENT, STR_INIT(""), 1 },
		{ STR_INIT("<cmd>"), ERR_DENIED, STR_INIT(""), 1 },
		{ STR_INIT("<file>"), ERR_DENIED, STR_INIT(""), 1 },
		{ STR_INIT("<inc>"), ERR_DENIED, STR_INIT(""), 1 },
		{ STR_INIT("<far>"), ERR_DENIED, STR_INIT(""), 1 },
		{ STR_INIT("<mix>"), ERR_OK, STR_INIT("alice/"), 2 },
		{ STR_INIT("<near>"), ERR_OK, STR_INIT("carol/In bob/ alice/"), 0 },
		{ STR_INIT("<bob>"), ERR_OK, STR_INIT("bob/ alice/"), 0 },
		{ STR_INIT("<plus+tag>"), ERR_OK, STR_INIT("carol/"), 0 },
		{ STR_INIT("<plus+other>"), ERR_OK, STR_INIT("alice/"), 0 },
		{ STR_INIT("<d0>"), ERR_LIMIT, STR_INIT(""), 0 },
		{ STR_INIT("<d4>"), ERR_OK, STR_INIT("alice/"), 0 },
		{ STR_INIT("<\"|touch x\"@here.test>"), ERR_NOENT, STR_INIT(""), 0 },
		{ STR_INIT("<\"/tmp/x\"@here.test>"), ERR_NOENT, STR_INIT(""), 0 },
		{ STR_INIT("<\":include:/etc/passwd\"@here.test>"), ERR_NOENT, STR_INIT(""), 0 },
	};
	struct arena *a = arena_new(8 << 20), *scratch = arena_new(8 << 20);
	struct buf out = BUF_INIT(4096);
	struct aliases table;
	struct resolver r = { .aliases = &table, .delimiter = STR_INIT("+"),
		.postmaster = STR_INIT("dave"), .user = known, .domain_is_local = local,
		.skipped = skipped };

	aliases_parse(str_of(site_aliases), NULL, NULL, &table);
	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct envelope env;
		struct mail_path path;
		struct str rest;
		enum err_kind k;
		struct err e;

		arena_reset(a);
		arena_reset(scratch);
		buf_reset(&out);
		n_skipped = 0;
		REQUIRE(envelope_init(&env, a, 10));
		REQUIRE(path_parse(scratch, t[i].in, PATH_NO_DOMAIN_OK, &path, &rest,
		    &e) == ERR_OK);
		k = envelope_add(&env, scratch, &r, &path, &e);
		for (size_t j = 0; j < env.n_targets; j++)
			buf_printf(&out, "%s%.*s/%.*s", j > 0 ? " " : "",
			    STR_FMT(env.targets[j].user), STR_FMT(env.targets[j].folder));
		CHECK_AT(k == t[i].want && str_eq(buf_str(&out), t[i].targets) &&
		    n_skipped == t[i].skipped, i);
	}
	aliases_free(&table);
	buf_free(&out);
	arena_free(&a);
	arena_free(&scratch);
}

/* Several recipients that share a mailbox, and the one answer for each. */
static void test_results(void)
{
	static const struct str in[] = {
		STR_INIT("<team>"), STR_INIT("<alice>"), STR_INIT("<carol>"),
	};
	struct arena *a = arena_new(8 << 20), *scratch = arena_new(8 << 20);
	struct aliases table;
	struct resolver r = { .aliases = &table, .user = known, .domain_is_local = local };
	struct envelope env;
	struct err e;

	aliases_parse(STR("team: alice, bob\n"), NULL, NULL, &table);
	REQUIRE(envelope_init(&env, a, 3));
	for (size_t i = 0; i < COUNTOF(in); i++) {
		struct mail_path path;
		struct str rest;

		REQUIRE(path_parse(scratch, in[i], PATH_NO_DOMAIN_OK, &path, &rest, &e) == ERR_OK);
		CHECK_AT(envelope_add(&env, scratch, &r, &path, &e) == ERR_OK, i);
		if (i == 2)
			CHECK(envelope_add(&env, scratch, &r, &path, &e) == ERR_LIMIT);
	}
	REQUIRE(env.n_targets == 3 && env.n_rcpts == 3);
	CHECK(envelope_result(&env, 0) == ERR_OK);
	env.targets[1].result = ERR_QUOTA;
	CHECK(envelope_result(&env, 0) == ERR_QUOTA && envelope_result(&env, 1) == ERR_OK);
	env.targets[0].result = ERR_NOSPC;
	CHECK(envelope_result(&env, 0) == ERR_NOSPC && envelope_result(&env, 1) == ERR_NOSPC);
	env.targets[0].result = ERR_CORRUPT;
	CHECK(envelope_result(&env, 0) == ERR_CORRUPT && envelope_result(&env, 2) == ERR_OK);
	aliases_free(&table);
	arena_free(&a);
	arena_free(&scratch);
}

int main(void)
{
	test_grammar();
	test_expansion();
	test_results();
	return tap_done();
}
