/* SPDX-License-Identifier: ISC */
/* Search over a large mailbox: `search make DIR N` fills the store in DIR with N messages of
 * corpus.h, `search index DIR` makes its search files, `search find DIR WORD ...` tells for each
 * word how many messages the index leaves to be read, how many have it, and how long that takes
 * without and with the reading. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libmail/mailtext.h"
#include "../libstore/mailbox.h"
#include "../libstore/search.h"
#include "corpus.h"

enum { SYNC_EVERY = 1000 };

static void need(enum err_kind k, const struct err *e)
{
	if (k == ERR_OK)
		return;
	fprintf(stderr, "search: %s\n", e->text);
	exit(1);
}

static void fill(struct store *s, unsigned n)
{
	struct corpus *c = malloc(sizeof *c);
	struct buf text = BUF_INIT(8 << 20);
	struct err e;

	if (c == NULL)
		exit(1);
	corpus_init(c, 1);
	for (unsigned i = 0; i < n; i++) {
		struct append how = { .prefix = STR("Return-Path: <a@example.org>\r\nDelivered-To: u@example.org\r\n"),
			.sync_later = true };
		struct body *b = body_new(s, 64 << 20);

		buf_reset(&text);
		corpus_message(c, &text, i);
		need(body_add(b, buf_str(&text), &e), &e);
		need(body_seal(b, &e), &e);
		need(mailbox_append(s, MAILBOX_INBOX, b, &how, NULL, NULL, &e), &e);
		body_free(&b);
		if (i % SYNC_EVERY == SYNC_EVERY - 1)
			need(store_sync(s, &e), &e);
	}
	need(store_sync(s, &e), &e);
	buf_free(&text);
	free(c);
}

static void make_files(struct store *s)
{
	struct search_build_result r;
	uint64_t start = clock_mono_ms();
	struct err e;

	need(search_build(s, UINT32_MAX, UINT32_MAX, &r, &e), &e);
	printf("%u files in %llu ms, %u wanting\n", r.n_built, (unsigned long long)(clock_mono_ms() - start), r.n_wanting);
}

static bool see(void *ctx, struct str utf8, bool begins)
{
	struct needle *n = ctx;

	if (begins)
		needle_restart(n);
	return needle_feed(n, utf8);
}

static bool text_has(struct mailbox *mb, const struct message *m, struct needle *n, struct buf *scratch)
{
	struct message_text t;
	struct record r;
	struct mailtext text = { .record = &r };
	unsigned what = MAILTEXT_ALL | (mailtext_is_solid(buf_str(&n->folded)) ? MAILTEXT_SOLID : 0);
	struct err e;
	bool yes;

	need(message_open(mb, m, &t, &e), &e);
	need(record_open(t.record, &r, &e), &e);
	text.prefix = t.prefix;
	text.body = t.body;
	yes = mailtext_each(&text, what, scratch, see, n);
	message_close(&t);
	return yes;
}

static void find(struct mailbox *mb, const char *word)
{
	struct buf scratch = BUF_INIT(MAILTEXT_SCRATCH_OCTETS);
	uint64_t start = clock_mono_us(), looked;
	size_t n_left = 0, n_found = 0;
	struct search_filter *f;
	struct needle n;
	struct str folded;

	if (!needle_init(&n, str_of(word)))
		exit(1);
	folded = buf_str(&n.folded);
	f = search_filter_new(mb, &folded, 1);
	for (size_t i = 0; i < mailbox_n(mb); i++)
		n_left += search_filter_may_have(f, 0, mailbox_at(mb, i));
	looked = clock_mono_us() - start;
	for (size_t i = 0; i < mailbox_n(mb); i++)
		n_found += search_filter_may_have(f, 0, mailbox_at(mb, i)) && text_has(mb, mailbox_at(mb, i), &n, &scratch);
	printf("%-20s %7zu left, %7zu found, %8.1f ms looking, %8.1f ms in all\n", word, n_left, n_found, (double)looked / 1000,
	    (double)(clock_mono_us() - start) / 1000);
	search_filter_free(&f);
	needle_free(&n);
	buf_free(&scratch);
}

int main(int argc, char **argv)
{
	struct store_env env;
	struct store *s = NULL;
	struct mailbox *mb = NULL;
	struct err e;
	int fd;

	if (argc < 3)
		return 2;
	charset_warm();
	store_env_init(&env);
	(void)mkdir(argv[2], 0700);
	fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	need(store_open(fd, &env, &s, &e), &e);
	if (strcmp(argv[1], "make") == 0 && argc == 4)
		fill(s, (unsigned)strtoul(argv[3], NULL, 10));
	if (strcmp(argv[1], "index") == 0)
		make_files(s);
	if (strcmp(argv[1], "find") == 0) {
		need(mailbox_open(s, STR("INBOX"), false, &mb, &e), &e);
		need(mailbox_load(mb, &e), &e);
		for (int i = 3; i < argc; i++)
			find(mb, argv[i]);
		mailbox_close(&mb);
	}
	store_close(&s);
	close(fd);
	return 0;
}
