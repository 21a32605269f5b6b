/* SPDX-License-Identifier: ISC */
/* Second chances: what was expunged comes back octet for octet, also after compaction, after the index was lost, and from
 * a mailbox that was deleted; and it goes when its time, or the space for it, is over. */
#include "../../libstore/gone.h"
#include "../../libstore/store_int.h"
#include "store_dir.h"

enum { SEGMENT = 128 * 1024, WEEK_MS = 7 * 86400 * 1000, MANY = 300, MORE = 1000, LARGE_OCTETS = 300 * 1024 };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a rebuild */
}

/* -- what can be brought back, as one text -- */

struct list {
	char text[64 * 1024];
	size_t n, n_messages;
	uint32_t mailbox, uids[MANY + 8];	/* of the last mailbox */
	size_t n_uids;
};

static bool add_gone(void *ctx, const struct gone *g)
{
	struct list *l = ctx;

	l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "%.*s%s %u %u %u '%.*s' %.*s\n",
	    (int)g->name.n, g->name.p, g->mailbox_deleted ? " (deleted)" : "", g->uid, g->flags, g->size_octets,
	    (int)g->subject.n, g->subject.p, (int)g->message_id.n, g->message_id.p);
	l->n_messages++;
	if (g->mailbox != l->mailbox)
		l->n_uids = 0;
	l->mailbox = g->mailbox;
	l->uids[l->n_uids++] = g->uid;
	return l->n + 400 < sizeof l->text;
}

static struct list *list_gone(struct store *s)
{
	static struct list l;

	memset(&l, 0, sizeof l);
	REQUIRE(store_gone_each(s, add_gone, &l, NULL) == ERR_OK);
	return &l;
}

static struct str text_of(uint32_t i)
{
	static char text[400];
	size_t n = (size_t)snprintf(text, sizeof text, "Subject: number %u\r\nMessage-ID: <%u@x>\r\n\r\n", i, i);

	memset(text + n, 'a' + (int)(i % 26), 300 - n);
	return str_n(text, 300);
}

static size_t expunge(struct store *s, const char *name, const uint32_t *uids, size_t n)
{
	struct mailbox *mb = mailbox_at_name(s, name);
	size_t gone = 0;

	CHECK(mailbox_expunge(mb, uids, n, false, &gone, NULL) == ERR_OK);
	mailbox_close(&mb);
	return gone;
}

static size_t undelete(struct store *s, uint32_t mailbox, const uint32_t *uids, size_t n, const char *to)
{
	size_t back = SIZE_MAX;

	CHECK(store_undelete(s, mailbox, uids, n, mailbox_id(s, to), &back, NULL) == ERR_OK);
	return back;
}

/* The last message of a mailbox is number i as it was put, behind this prefix. */
static bool last_is(struct mailbox *mb, uint32_t i, const char *prefix)
{
	const struct message *m = mailbox_at(mb, mailbox_n(mb) - 1);
	struct message_text t;
	bool same;

	if (message_open(mb, m, &t, NULL) != ERR_OK)
		return false;
	same = str_eq(t.body, text_of(i)) && str_eq(t.prefix, str_of(prefix));
	message_close(&t);
	return same;
}

/* -- the plain way -- */

static void test_back_again(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct str kw[] = { STR_INIT("$One"), STR_INIT("$Two") };
	struct flag_change flags = { FLAG_ADD, MSG_FLAGGED | MSG_SEEN | MSG_DELETED, kw + 1, 1, UINT64_MAX };
	struct flag_change first = { FLAG_ADD, 0, kw, 1, UINT64_MAX };
	uint32_t inbox;
	struct mailbox *mb, *other;
	struct list *l;
	bool changed;

	for (uint32_t i = 1; i <= 4; i++)
		CHECK(put_message(s, MAILBOX_INBOX, text_of(i), 0, STR("D: x\r\n")) == i);
	inbox = mailbox_id(s, "INBOX");
	REQUIRE(store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_store_flags(mb, (uint32_t[]){ 1 }, 1, &first, NULL, NULL, NULL) == ERR_OK);
	CHECK(mailbox_store_flags(mb, (uint32_t[]){ 2, 3 }, 2, &flags, NULL, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	CHECK(list_gone(s)->n_messages == 0);
	CHECK(expunge(s, "INBOX", (uint32_t[]){ 2, 3 }, 2) == 2);
	l = list_gone(s);
	CHECK(l->n_messages == 2 && l->mailbox == inbox && l->uids[0] == 2 && l->uids[1] == 3);
	CHECK(strstr(l->text, "INBOX 2 13 306 'number 2' <2@x>\n") != NULL);

	/* nonsense brings nothing back */
	CHECK(undelete(s, inbox, (uint32_t[]){ 1, 4, 77 }, 3, "INBOX") == 0);
	CHECK(undelete(s, 4711, (uint32_t[]){ 2 }, 1, "INBOX") == 0);
	CHECK(store_undelete(s, inbox, (uint32_t[]){ 2 }, 1, 4711, &(size_t){ 0 }, NULL) == ERR_NOENT);

	/* another session sees it come; the keyword has a number of its own in the other mailbox */
	other = mailbox_at_name(s, "box");
	CHECK(undelete(s, inbox, (uint32_t[]){ 2 }, 1, "box") == 1);
	CHECK(mailbox_refresh(other, &changed, NULL) == ERR_OK && changed && mailbox_n(other) == 1);
	CHECK(mailbox_at(other, 0)->uid == 1 && (mailbox_at(other, 0)->flags & MSG_STORED_FLAGS) == (MSG_FLAGGED | MSG_SEEN));
	CHECK(mailbox_n_keywords(other) == 1 && str_eq(mailbox_keyword(other, 0), kw[1]) && mailbox_at(other, 0)->keywords == 1);
	CHECK(mailbox_at(other, 0)->internaldate_s == 1000000000);
	CHECK(last_is(other, 2, "D: x\r\n"));
	mailbox_close(&other);
	CHECK(list_gone(s)->n_messages == 1 && list_gone(s)->uids[0] == 3);
	CHECK(undelete(s, inbox, (uint32_t[]){ 2 }, 1, "box") == 0);	/* once */
	CHECK(undelete(s, inbox, (uint32_t[]){ 2, 3 }, 2, "INBOX") == 1);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_n(mb) == 3 && mailbox_at(mb, 2)->uid == 5 && last_is(mb, 3, "D: x\r\n"));
	mailbox_close(&mb);
	CHECK(list_gone(s)->n_messages == 0);
	store_close(&s);
	dir_remove(&d);
}

static void test_deleted_mailbox(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct str kw = STR_INIT("$Work");
	struct flag_change flags = { FLAG_ADD, MSG_ANSWERED, &kw, 1, UINT64_MAX };
	uint32_t box;
	struct store_rebuild_result r;
	struct mailbox *mb;

	REQUIRE(store_create(s, STR("a/box"), &box, NULL) == ERR_OK);
	put_message(s, box, text_of(1), 0, STR(""));
	put_message(s, box, text_of(2), 0, STR(""));
	put_message(s, box, text_of(3), 0, STR(""));
	mb = mailbox_at_name(s, "a/box");
	CHECK(mailbox_store_flags(mb, (uint32_t[]){ 1, 2, 3 }, 3, &flags, NULL, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	CHECK(expunge(s, "a/box", (uint32_t[]){ 2 }, 1) == 1);
	CHECK(store_rename(s, STR("a/box"), STR("a/old"), NULL) == ERR_OK);
	CHECK(store_delete(s, STR("a/old"), NULL) == ERR_OK);
	CHECK(strcmp(list_gone(s)->text, "a/old (deleted) 1 2 300 'number 1' <1@x>\na/old (deleted) 2 2 300 "
	    "'number 2' <2@x>\na/old (deleted) 3 2 300 'number 3' <3@x>\n") == 0);
	CHECK(store_rebuild(s, &r, NULL) == ERR_OK);	/* the journal tells the same */
	CHECK(list_gone(s)->n_messages == 3);
	CHECK(store_create(s, STR("a/old"), NULL, NULL) == ERR_OK);
	CHECK(undelete(s, box, (uint32_t[]){ 1, 2, 3 }, 3, "a/old") == 3);
	mb = mailbox_at_name(s, "a/old");
	CHECK(mailbox_n(mb) == 3 && mailbox_at(mb, 0)->flags & MSG_ANSWERED && last_is(mb, 3, ""));
	CHECK(mailbox_n_keywords(mb) == 1 && str_eq(mailbox_keyword(mb, 0), kw) && mailbox_at(mb, 2)->keywords == 1);
	mailbox_close(&mb);
	CHECK(list_gone(s)->n_messages == 0);
	/* deleted before the index ever saw its messages */
	REQUIRE(store_create(s, STR("b"), &box, NULL) == ERR_OK);
	put_message(s, box, text_of(9), 0, STR(""));
	CHECK(expunge(s, "b", (uint32_t[]){ 1 }, 1) == 1);
	put_message(s, box, text_of(10), 0, STR(""));
	CHECK(store_delete(s, STR("b"), NULL) == ERR_OK);
	CHECK(store_rebuild(s, &r, NULL) == ERR_OK);
	CHECK(strcmp(list_gone(s)->text, "b (deleted) 1 0 300 'number 9' <9@x>\nb (deleted) 2 0 300 'number 10' <10@x>\n") == 0);
	store_close(&s);
	dir_remove(&d);
}

static void test_limits(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);

	for (uint32_t i = 1; i <= 6; i++)
		put_message(s, MAILBOX_INBOX, text_of(i), 0, STR(""));
	CHECK(expunge(s, "INBOX", (uint32_t[]){ 1, 2 }, 2) == 2);
	usleep(5000);
	CHECK(expunge(s, "INBOX", (uint32_t[]){ 4 }, 1) == 1);
	usleep(5000);
	CHECK(expunge(s, "INBOX", (uint32_t[]){ 5 }, 1) == 1);
	CHECK(list_gone(s)->n_messages == 4);
	store_close(&s);
	store_dir_retain_octets = 700;	/* room for the last two */
	s = store_at(&d);
	CHECK(list_gone(s)->n_messages == 2 && list_gone(s)->uids[0] == 4 && list_gone(s)->uids[1] == 5);
	CHECK(undelete(s, mailbox_id(s, "INBOX"), (uint32_t[]){ 1, 2 }, 2, "INBOX") == 0);
	store_close(&s);
	store_dir_retain_octets = UINT64_MAX;
	store_dir_retain_ms = 0;
	s = store_at(&d);
	CHECK(list_gone(s)->n_messages == 0);
	CHECK(undelete(s, mailbox_id(s, "INBOX"), (uint32_t[]){ 5 }, 1, "INBOX") == 0);
	store_close(&s);
	store_dir_retain_ms = WEEK_MS;
	s = store_at(&d);
	CHECK(list_gone(s)->n_messages == 4);
	store_close(&s);
	dir_remove(&d);
}

/* -- with compaction -- */

static bool back_is_right(struct store *s, uint32_t from, const struct list *l, uint32_t first)
{
	struct mailbox *mb;
	bool right = true;

	REQUIRE(store_create(s, STR("back"), NULL, NULL) == ERR_OK);
	CHECK(undelete(s, from, l->uids, l->n_uids, "back") == l->n_uids);
	mb = mailbox_at_name(s, "back");
	right = mailbox_n(mb) == l->n_uids;
	for (size_t i = 0; right && i < mailbox_n(mb); i++) {
		struct message_text t;

		right = message_open(mb, mailbox_at(mb, i), &t, NULL) == ERR_OK;
		if (right) {
			right = str_eq(t.body, text_of(first + l->uids[i] - 1));
			message_close(&t);
		}
	}
	mailbox_close(&mb);
	return right;
}

static void fill_and_expunge(struct store *s, uint32_t *out_box)
{
	uint32_t uids[MANY], from[MANY], to[MANY], validity;
	struct mailbox *mb;
	size_t n = 0;

	REQUIRE(store_create(s, STR("box"), out_box, NULL) == ERR_OK);
	for (uint32_t i = 1; i <= MANY; i++)
		put_message(s, *out_box, text_of(i), 0, STR(""));
	mb = mailbox_at_name(s, "box");
	for (uint32_t i = 1; i <= 20; i++)
		uids[i - 1] = i;
	/* live in INBOX and expunged in box: octets are shared */
	CHECK(mailbox_copy(mb, uids, 20, mailbox_id(s, "INBOX"), false, from, to, &n, &validity, NULL) == ERR_OK && n == 20);
	mailbox_close(&mb);
	for (n = 0; n < MANY - 10; n++)
		uids[n] = (uint32_t)n + 1;
	CHECK(expunge(s, "box", uids, n) == n);
	for (uint32_t i = 0; i < 600; i++)	/* many dead octets, and segments that end */
		put_message(s, MAILBOX_INBOX, text_of(i), 0, STR(""));
}

static void test_compaction(bool delete_box, bool rebuild)
{
	struct dir d = dir_make();
	struct store *s;
	struct store_compact_result r;
	struct store_rebuild_result rebuilt;
	static struct list before;
	uint32_t box;
	uint64_t n_bad = 1;

	store_dir_segment = SEGMENT;
	s = store_at(&d);
	fill_and_expunge(s, &box);
	if (delete_box)
		CHECK(store_delete(s, STR("box"), NULL) == ERR_OK);
	before = *list_gone(s);
	CHECK(before.n_messages >= MANY - 10);
	/* the first segments are full of what can still be brought back: only force moves it */
	CHECK(store_compact(s, 0, &r, NULL) == ERR_OK);
	CHECK(strcmp(list_gone(s)->text, before.text) == 0);
	if (rebuild) {
		CHECK(store_rebuild(s, &rebuilt, NULL) == ERR_OK && rebuilt.n_damaged == 0);
		CHECK(strcmp(list_gone(s)->text, before.text) == 0);
	}
	CHECK(store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0);
	store_close(&s);
	s = store_at(&d);
	if (delete_box)
		CHECK(before.mailbox == box && back_is_right(s, box, &before, 1));
	store_close(&s);
	store_dir_segment = 0;
	dir_remove(&d);
}

/* All dead but for what can be brought back, so that compaction moves just that. */
static void test_compaction_moves_gone(bool rebuild)
{
	struct dir d = dir_make();
	struct store *s;
	struct store_compact_result r;
	struct store_rebuild_result rebuilt;
	static struct list before;
	uint32_t uids[MORE], box, live;
	struct mailbox *mb;
	size_t n = 0;

	store_dir_segment = SEGMENT;
	store_dir_retain_ms = 0;
	s = store_at(&d);
	REQUIRE(store_create(s, STR("box"), &box, NULL) == ERR_OK && store_create(s, STR("live"), &live, NULL) == ERR_OK);
	for (uint32_t i = 1; i <= MORE; i++)
		put_message(s, box, text_of(i), 0, STR(""));
	for (uint32_t i = 1; i <= MORE; i++) {
		if (i % 20 != 0)
			uids[n++] = i;
	}
	CHECK(expunge(s, "box", uids, n) == n);
	usleep(1100 * 1000);
	store_close(&s);
	store_dir_retain_ms = 1000;	/* those are over, the following are not */
	s = store_at(&d);
	n = 0;
	for (uint32_t i = 100; i <= MORE; i += 100)
		uids[n++] = i;
	CHECK(expunge(s, "box", uids, n) == n);
	mb = mailbox_at_name(s, "box");
	CHECK(mailbox_n(mb) == MORE / 25);
	uids[0] = 40;		/* a sharer of octets: copied, then expunged here */
	CHECK(mailbox_copy(mb, uids, 1, live, false, (uint32_t[1]){ 0 }, (uint32_t[1]){ 0 }, &n, &(uint32_t){ 0 }, NULL) == ERR_OK);
	CHECK(mailbox_expunge(mb, uids, 1, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	before = *list_gone(s);
	CHECK(before.n_messages == MORE / 100 + 1);
	CHECK(store_compact(s, 0, &r, NULL) == ERR_OK && r.n_segments > 3);
	printf("# %u segments, %llu moved\n", r.n_segments, (unsigned long long)r.n_moved);
	CHECK(strcmp(list_gone(s)->text, before.text) == 0);
	if (rebuild) {
		CHECK(store_rebuild(s, &rebuilt, NULL) == ERR_OK && rebuilt.n_damaged == 0);
		CHECK(strcmp(list_gone(s)->text, before.text) == 0);
	}
	CHECK(back_is_right(s, box, &before, 1));
	mb = mailbox_at_name(s, "live");
	CHECK(mailbox_n(mb) == 1 && last_is(mb, 40, ""));
	mailbox_close(&mb);
	store_close(&s);
	store_dir_retain_ms = WEEK_MS;
	store_dir_segment = 0;
	dir_remove(&d);
}

/* -- large bodies -- */

static bool large_there(const struct dir *d)
{
	char cmd[400];

	snprintf(cmd, sizeof cmd, "find %s/large -type f ! -name 'tmp-*' | grep -q .", d->path);
	return system(cmd) == 0;
}

static void test_large(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	char *text = malloc(LARGE_OCTETS);
	uint32_t inbox = mailbox_id(s, "INBOX");
	struct store_compact_result r;
	struct mailbox *mb;

	memset(text, 'l', LARGE_OCTETS);
	memcpy(text, "Subject: big\r\n\r\n", 16);
	put_message(s, MAILBOX_INBOX, str_n(text, LARGE_OCTETS), 0, STR(""));
	CHECK(expunge(s, "INBOX", (uint32_t[]){ 1 }, 1) == 1);
	store_tend(s);
	CHECK(large_there(&d));
	CHECK(undelete(s, inbox, (uint32_t[]){ 1 }, 1, "INBOX") == 1);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_n(mb) == 1 && mailbox_at(mb, 0)->uid == 2);
	mailbox_close(&mb);
	store_close(&s);
	store_dir_retain_ms = 0;
	s = store_at(&d);
	store_tend(s);
	CHECK(large_there(&d));			/* it is a message again */
	CHECK(expunge(s, "INBOX", (uint32_t[]){ 2 }, 1) == 1);
	store_tend(s);
	CHECK(!large_there(&d));		/* at once: its segment is the tail and stays */
	CHECK(list_gone(s)->n_messages == 0);
	store_close(&s);

	/* one body, two records: the one that lives keeps it */
	s = store_at(&d);
	{
		struct body *b = body_new(s, 64 << 20);
		struct append how = { .internaldate_s = 7 };

		REQUIRE(body_add(b, str_n(text, LARGE_OCTETS), NULL) == ERR_OK && body_seal(b, NULL) == ERR_OK);
		CHECK(mailbox_append(s, MAILBOX_INBOX, b, &how, NULL, NULL, NULL) == ERR_OK);
		CHECK(mailbox_append(s, MAILBOX_INBOX, b, &how, NULL, NULL, NULL) == ERR_OK);
		CHECK(expunge(s, "INBOX", (uint32_t[]){ 3 }, 1) == 1);
		store_tend(s);
		CHECK(large_there(&d));
		CHECK(expunge(s, "INBOX", (uint32_t[]){ 4 }, 1) == 1);
		store_tend(s);
		CHECK(!large_there(&d));
		/* and whoever still holds the body files it anew */
		CHECK(mailbox_append(s, MAILBOX_INBOX, b, &how, NULL, NULL, NULL) == ERR_OK);
		CHECK(large_there(&d));
		body_free(&b);
	}
	CHECK(store_purge(s, &r, NULL) == ERR_OK && r.n_segments == 1 && r.n_moved == 1 && r.n_large == 0);
	CHECK(large_there(&d));
	store_close(&s);
	store_dir_retain_ms = WEEK_MS;
	free(text);
	dir_remove(&d);
}

/* Files of segments that are removed and yet take space, as this process holds them. */
static size_t segments_held(void)
{
	char line[600];
	size_t n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	REQUIRE(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		n += strstr(line, ".seg (deleted)") != NULL;
	fclose(f);
	return n;
}

static void test_purge(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct store_compact_result r;
	struct mailbox *mb;
	char cmd[400];
	uint64_t n_bad = 1;

	put_message(s, MAILBOX_INBOX, STR("Subject: a\r\n\r\nZZsecretZZ\r\n"), 0, STR(""));
	put_message(s, MAILBOX_INBOX, text_of(2), 0, STR(""));
	mb = mailbox_at_name(s, "INBOX");	/* open meanwhile */
	CHECK(mailbox_expunge(mb, (uint32_t[]){ 1 }, 1, false, NULL, NULL) == ERR_OK);
	CHECK(list_gone(s)->n_messages == 1);
	CHECK(store_purge(s, &r, NULL) == ERR_OK && r.n_segments == 1 && r.n_moved == 1);
	CHECK(list_gone(s)->n_messages == 0);
	CHECK(mailbox_refresh(mb, NULL, NULL) == ERR_OK);
	mailbox_expel(mb, NULL, NULL);
	CHECK(segments_held() > 0);
	store_let_go(s);
	CHECK(segments_held() == 0);
	CHECK(mailbox_n(mb) == 1 && mailbox_at(mb, 0)->uid == 2 && last_is(mb, 2, ""));
	mailbox_close(&mb);
	CHECK(store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0);
	store_close(&s);
	snprintf(cmd, sizeof cmd, "grep -rq ZZsecretZZ %s", d.path);
	CHECK(system(cmd) != 0);		/* nowhere */
	dir_remove(&d);
}

int main(void)
{
	store_dir_retain_ms = WEEK_MS;
	test_back_again();
	test_deleted_mailbox();
	test_limits();
	test_compaction(false, false);
	test_compaction(true, true);
	test_compaction_moves_gone(false);
	test_compaction_moves_gone(true);
	test_large();
	test_purge();
	return tap_done();
}
