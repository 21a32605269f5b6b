/* SPDX-License-Identifier: ISC */
/* Any octets as an aliases file, and its names expanded: no crash, and no more work than promised. */
#include "../../deliver/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum err_kind user(void *ctx, struct str name, char *canonical, struct err *e)
{
	(void)ctx;
	if (name.n == 0 || name.n > 255 || name.p[0] == 'n')
		return err_set(e, ERR_NOENT, 0, "nobody");
	memcpy(canonical, name.p, name.n);
	canonical[name.n] = '\0';
	return ERR_OK;
}

static bool local(void *ctx, struct str domain)
{
	(void)ctx;
	return domain.n % 2 == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena *a = arena_new(16 << 20), *scratch = arena_new(16 << 20);
	struct aliases table;
	struct resolver r = { .aliases = &table, .delimiter = STR_INIT("+"), .user = user,
		.domain_is_local = local };
	struct envelope env;

	aliases_parse(str_n((const char *)data, n), NULL, NULL, &table);
	if (envelope_init(&env, a, 100)) {
		for (size_t i = 0; i < table.n && i < 100; i++) {
			struct mail_path p = { .local = table.v[i].name, .text = table.v[i].name };
			struct err e;

			arena_reset(scratch);
			(void)!envelope_add(&env, scratch, &r, &p, &e);
		}
	}
	if (env.n_targets > ENVELOPE_TARGETS_MAX || env.n_steps > ENVELOPE_STEPS_MAX + 100)
		__builtin_trap();
	aliases_free(&table);
	arena_free(&a);
	arena_free(&scratch);
	return 0;
}
