/* SPDX-License-Identifier: ISC */
/* A journal whose checksums are right but whose payloads are anything: recovery, roll forward, loading and reading must
 * say what is wrong, and stay within bounds. Input: records as type (1 octet), length (2, little-endian), payload. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../libstore/changes.h"
#include "../../libstore/store_int.h"
#include "../../libstore/views.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";
}

static void read_views(struct mailbox *mb, struct arena *a)
{
	struct uid_range *ranges;
	struct str *names;
	size_t n, n_ranges;
	bool has;

	if (view_list(mb, a, &names, &n, NULL) != ERR_OK)
		n = 0;
	for (size_t i = 0; i < n && i < 10; i++) {
		if (view_get(mb, names[i], a, &ranges, &n_ranges, NULL) == ERR_OK && n_ranges > 0 &&
		    (view_has(mb, names[i], &ranges[0].lo, 1, &has, NULL) != ERR_OK || !has))
			abort();
	}
}

static bool take_change(void *ctx, const struct change_told *t)
{
	uint64_t *sum = ctx;

	for (size_t i = 0; i < t->n_uids; i++)
		*sum += t->uids[i].lo ^ t->uids[i].hi;
	for (size_t i = 0; i < t->name.n; i++)
		*sum += (unsigned char)t->name.p[i];
	for (size_t i = 0; i < t->what.n; i++)
		*sum += (unsigned char)t->what.p[i];
	return true;
}

/* Attributes and quota of everything, and all that has ever changed. */
static void read_state(struct store *s, uint32_t mailbox, struct arena *a)
{
	struct quota_root *roots;
	struct attr *attrs;
	size_t n;

	if (attr_list(s, mailbox, a, &attrs, &n, NULL) != ERR_OK || quota_list(s, a, &roots, &n, NULL) != ERR_OK)
		return;
	if (n == 0)
		abort();		/* the root "" is always there */
}

static void read_changes(struct store *s)
{
	struct changes *c;
	uint64_t sum = 0;

	if (changes_open(s, 0, &c, NULL) != ERR_OK)
		return;
	if (changes_read(c, take_change, &sum, NULL) == ERR_OK && changes_seq(c) < store_change_count(s))
		abort();
	changes_close(&c);
}

static void read_all(struct store *s)
{
	struct arena *a = arena_new(1 << 24);
	struct mailbox_info *list;
	size_t n;

	if (store_list(s, a, &list, &n, NULL) != ERR_OK)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		struct mailbox *mb;

		if (mailbox_open(s, list[i].name, true, &mb, NULL) != ERR_OK)
			continue;
		if (mailbox_load(mb, NULL) == ERR_OK) {
			for (size_t k = 0; k < mailbox_n(mb) && k < 1000; k++) {
				struct message_text t;

				if (message_open(mb, mailbox_at(mb, k), &t, NULL) == ERR_OK)
					message_close(&t);
			}
		}
		read_views(mb, a);
		read_state(s, list[i].id, a);
		mailbox_close(&mb);
	}
	read_state(s, ATTR_STORE, a);
	read_changes(s);
	arena_free(&a);
}

/* Appends the input's records behind the snapshot, as a hostile disk might hold them. */
static void append_records(int dirfd, struct journal_pos end, uint32_t crc, uint64_t seq, const uint8_t *data,
    size_t n)
{
	struct journal *j = journal_new(dirfd);
	struct journal_tail tail = { end, end.off, crc, seq, seq - 1 };

	while (n >= 3) {
		size_t len = (size_t)data[1] | (size_t)data[2] << 8;
		struct journal_rec r = { data[0] % (REC_TYPE_MAX + 2), { { NULL, 0 } } };

		data += 3;
		n -= 3;
		len = len > n ? n : len;
		r.part[0] = str_n((const char *)data, len);
		if (r.type == 0 || journal_append(j, &r, 1, &tail, NULL, NULL) != ERR_OK)
			break;
		data += len;
		n -= len;
	}
	journal_free(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static char path[256];
	struct store_env env;
	struct store *s;
	struct journal_tail tail;
	uint64_t bad;
	int fd, was = open(".", O_RDONLY | O_DIRECTORY);

	if (path[0] == '\0') {
		snprintf(path, sizeof path, "%s/fuzz_journal.XXXXXX",
		    getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
		if (mkdtemp(path) == NULL)
			abort();
	}
	if (chdir(path) < 0 || system("rm -rf ./*") != 0)
		abort();
	fd = open(".", O_RDONLY | O_DIRECTORY);
	store_env_init(&env);
	env.replay_max_octets = n % 2 != 0 ? 1 << 20 : 0;	/* with the index and without */
	if (store_open(fd, &env, &s, NULL) != ERR_OK)
		abort();
	tail = s->ctl->tail;
	store_close(&s);
	append_records(fd, tail.pos, tail.crc, tail.next_seq, data, n);
	unlink("ctl");
	if (store_open(fd, &env, &s, NULL) == ERR_OK) {
		read_all(s);
		if (store_check(s, NULL, NULL, &bad, NULL) != ERR_OK)
			bad = 0;
		store_close(&s);
	}
	close(fd);
	if (was < 0 || fchdir(was) < 0)
		abort();
	close(was);
	return 0;
}
