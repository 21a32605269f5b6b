/* SPDX-License-Identifier: ISC */
/* penny mailbox: names and counters. Everything happens in the child that owns the store. */
#include <inttypes.h>
#include <stdio.h>

#include "ctl.h"

enum { LIST_ARENA_MAX_BYTES = 64 * 1024 * 1024 };	/* STORE_MAILBOXES_MAX names and infos */

struct names {
	const char *a, *b;
};

int ctl_print_mailboxes(struct store *s)
{
	struct arena *a = arena_new(LIST_ARENA_MAX_BYTES);
	struct mailbox_info *v;
	struct err e;
	size_t n;

	if (store_list(s, a, &v, &n, &e) != ERR_OK)
		return ctl_err(&e);
	for (size_t i = 0; i < n; i++)
		if (v[i].exists && !v[i].noselect)
			printf("%u\t%u\t%" PRIu64 "\t%.*s\n", v[i].n_messages, v[i].n_unseen,
			    v[i].octets, (int)v[i].name.n, v[i].name.p);
	arena_free(&a);
	return 0;
}

static int list(struct store *s, void *arg)
{
	(void)arg;
	return ctl_print_mailboxes(s);
}

static int create(struct store *s, void *arg)
{
	const struct names *names = arg;
	struct err e;

	return store_create(s, str_of(names->a), NULL, &e) == ERR_OK ? 0 : ctl_err(&e);
}

static int rename_mailbox(struct store *s, void *arg)
{
	const struct names *names = arg;
	struct err e;

	return store_rename(s, str_of(names->a), str_of(names->b), &e) == ERR_OK ? 0 : ctl_err(&e);
}

static int delete(struct store *s, void *arg)
{
	const struct names *names = arg;
	struct err e;

	return store_delete(s, str_of(names->a), &e) == ERR_OK ? 0 : ctl_err(&e);
}

int cmd_mailbox_list(struct ctl *c, int argc, char **argv)
{
	(void)argc;
	return ctl_in_store(c, argv[0], false, list, NULL);
}

int cmd_mailbox_create(struct ctl *c, int argc, char **argv)
{
	struct names names = { argv[1], NULL };

	(void)argc;
	return ctl_in_store(c, argv[0], true, create, &names);
}

int cmd_mailbox_rename(struct ctl *c, int argc, char **argv)
{
	struct names names = { argv[1], argv[2] };

	(void)argc;
	return ctl_in_store(c, argv[0], false, rename_mailbox, &names);
}

int cmd_mailbox_delete(struct ctl *c, int argc, char **argv)
{
	struct names names = { argv[1], NULL };

	(void)argc;
	return ctl_in_store(c, argv[0], false, delete, &names);
}
