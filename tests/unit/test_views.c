/* SPDX-License-Identifier: ISC */
/* Views against a model: random changes of several sets in two mailboxes, read back by each of
 * the three calls, with the index and without it, after rebuilding, after losing what is
 * derived, after compaction. Limits, and 100,000 UIDs. The seed may be given. */
#include <time.h>

#include "../../libbase/clock.h"
#include "../../libstore/store_int.h"
#include "../../libstore/views.h"
#include "store_dir.h"

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

enum { UIDS = 5000, VIEWS = 4, BOXES = 2, STEPS = 120, MANY_UIDS = 100000 };

static const char *const view_names[VIEWS] = { "phone", "phone2", "p", "bob@example.org/\xc3\xbc" };
static const char *const box_names[BOXES] = { "INBOX", "box" };
static bool model[BOXES][VIEWS][UIDS + 1];

/* Gives a mailbox that many UIDs at once, without mail: an empty copy's worth is what records
 * can say. */
static void give_uids(struct store *s, const char *box, uint32_t n)
{
	struct arena *a = arena_new(4096);
	struct mailbox_info i;
	struct journal_rec r[2];
	struct rec_copy copy;
	struct rec_expunge gone;
	struct uid_range all = { 1, n };
	struct copy_entry *x = calloc(n, sizeof *x);

	REQUIRE(x != NULL && store_find(s, a, str_of(box), &i, NULL) == ERR_OK);
	copy = (struct rec_copy){ .mailbox = i.id, .from_mailbox = i.id, .first_uid = 1, .n = n,
	    .n_unseen = n };
	gone = (struct rec_expunge){ .mailbox = i.id, .n_ranges = 1, .n_messages = n,
	    .n_unseen = n };
	r[0] = (struct journal_rec){ REC_COPY, { str_n((const char *)&copy, sizeof copy),
		str_n((const char *)x, n * sizeof *x) } };
	r[1] = (struct journal_rec){ REC_EXPUNGE, { str_n((const char *)&gone, sizeof gone),
		str_n((const char *)&all, sizeof all) } };
	REQUIRE(store_lock(s, NULL) == ERR_OK && store_append(s, r, 2, NULL, NULL, NULL) == ERR_OK);
	store_unlock(s);
	free(x);
	arena_free(&a);
}

static struct mailbox *open_box(struct store *s, const char *name)
{
	struct mailbox *mb = NULL;

	REQUIRE(mailbox_open(s, str_of(name), false, &mb, NULL) == ERR_OK);
	return mb;
}

static bool agrees(struct mailbox *mb, const bool *want, const char *view)
{
	static uint32_t uids[UIDS];
	static bool has[UIDS];
	struct arena *a = arena_new(1 << 20);
	struct uid_range *r;
	size_t n;
	bool ok;

	for (uint32_t i = 0; i < UIDS; i++)
		uids[i] = i + 1;
	ok = view_has(mb, str_of(view), uids, UIDS, has, NULL) == ERR_OK &&
	    view_get(mb, str_of(view), a, &r, &n, NULL) == ERR_OK;
	for (uint32_t i = 0; ok && i < UIDS; i++)
		ok = has[i] == want[i + 1];
	for (size_t i = 0, uid = 1; ok && uid <= UIDS; uid++) {
		while (i < n && r[i].hi < uid)
			i++;
		ok = (i < n && r[i].lo <= uid) == want[uid];
	}
	for (size_t i = 1; ok && i < n; i++)
		ok = r[i].lo > r[i - 1].hi + 1;		/* ascending, not touching */
	arena_free(&a);
	return ok;
}

static bool is_empty(const bool *set)
{
	for (uint32_t i = 1; i <= UIDS; i++) {
		if (set[i])
			return false;
	}
	return true;
}

static bool listed_right(struct mailbox *mb, size_t box)
{
	struct arena *a = arena_new(1 << 16);
	size_t n, wanted = 0, found = 0;
	struct str *v;
	bool ok = view_list(mb, a, &v, &n, NULL) == ERR_OK;

	for (size_t i = 0; i < VIEWS; i++) {
		wanted += !is_empty(model[box][i]);
		for (size_t k = 0; ok && k < n; k++)
			found += str_eq(v[k], str_of(view_names[i])) && !is_empty(model[box][i]);
	}
	for (size_t k = 1; ok && k < n; k++)
		ok = str_cmp(v[k - 1], v[k]) < 0;
	arena_free(&a);
	return ok && n == wanted && found == wanted;
}

static bool all_agree(struct store *s)
{
	bool ok = true;

	for (size_t b = 0; b < BOXES; b++) {
		struct mailbox *mb = open_box(s, box_names[b]);

		for (size_t v = 0; v < VIEWS; v++) {
			ok = ok && agrees(mb, model[b][v], view_names[v]);
			if (!ok)
				printf("# %s %s differs\n", box_names[b], view_names[v]);
		}
		ok = ok && listed_right(mb, b);
		mailbox_close(&mb);
	}
	return ok;
}

static void random_change(struct mailbox *mb, size_t box, size_t view)
{
	uint32_t lo = 1 + (uint32_t)rand() % UIDS, n = (uint32_t)rand() % (rand() % 3 == 0 ? 3000 :
	    40), step = 1 + (uint32_t)rand() % 3;
	static uint32_t uids[UIDS];
	bool add = rand() % 3 != 0;
	size_t k = 0;
	struct uid_range r;

	if (rand() % 30 == 0) {
		enum err_kind e = view_remove(mb, str_of(view_names[view]), NULL);

		CHECK(e == (is_empty(model[box][view]) ? ERR_NOENT : ERR_OK));
		memset(model[box][view], 0, sizeof model[box][view]);
		return;
	}
	for (uint32_t uid = lo; uid <= UIDS && k < n; uid += step) {
		uids[k++] = uid;
		model[box][view][uid] = add;
	}
	r = (struct uid_range){ lo, lo + (uint32_t)k - 1 };
	if (step == 1 && k > 0)
		CHECK(view_change_ranges(mb, str_of(view_names[view]), &r, 1, add, NULL) == ERR_OK);
	else
		CHECK(view_change(mb, str_of(view_names[view]), uids, k, add, NULL) == ERR_OK);
}

static void lose(const struct dir *d)
{
	char cmd[700];

	snprintf(cmd, sizeof cmd, "cd %s && rm -rf ctl index", d->path);
	REQUIRE(system(cmd) == 0);
}

static void test_model(bool compacts)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct store_rebuild_result r;
	struct store_compact_result c;

	memset(model, 0, sizeof model);
	REQUIRE(store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	for (size_t b = 0; b < BOXES; b++)
		give_uids(s, box_names[b], UIDS);
	for (int i = 0; i < STEPS; i++) {
		size_t b = (size_t)rand() % BOXES, v = (size_t)rand() % VIEWS;
		struct mailbox *mb = open_box(s, box_names[b]);

		random_change(mb, b, v);
		CHECK_AT(agrees(mb, model[b][v], view_names[v]), i);
		mailbox_close(&mb);
		if (compacts && i % 40 == 39) {
			for (int k = 0; k < 100; k++)
				put_message(s, MAILBOX_INBOX, STR("S: x\r\n\r\n"), 0, STR(""));
			CHECK_AT(store_compact(s, 0, &c, NULL) == ERR_OK, i);
		}
	}
	CHECK(!compacts || s->ctl->first_seg > 1);
	CHECK(all_agree(s));
	CHECK(store_rename(s, STR("box"), STR("b2"), NULL) == ERR_OK &&
	    store_rename(s, STR("b2"), STR("box"), NULL) == ERR_OK);
	CHECK(all_agree(s) && store_rebuild(s, &r, NULL) == ERR_OK && all_agree(s));
	store_close(&s);
	lose(&d);
	s = store_at(&d);
	CHECK(all_agree(s));
	CHECK(store_delete(s, STR("box"), NULL) == ERR_OK &&
	    store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	memset(model[1], 0, sizeof model[1]);
	CHECK(all_agree(s));
	store_close(&s);
	dir_remove(&d);
}

/* Names that come from nowhere near the limit by themselves are put there by records. */
static void fill_views(struct store *s, uint32_t mailbox)
{
	struct uid_range one = { 1, 1 };

	REQUIRE(store_lock(s, NULL) == ERR_OK);
	for (int i = 0; i < VIEWS_MAX; i++) {
		char name[8];
		struct rec_view rec = { mailbox, VIEW_ADDS, sizeof name, 1 };
		struct journal_rec r = { REC_VIEW, { str_n((const char *)&rec, sizeof rec),
		    str_n(name, sizeof name), STR(""),
			str_n((const char *)&one, sizeof one) } };

		snprintf(name, sizeof name, "v%06u", (unsigned)i % 1000000u);
		name[7] = 'x';
		REQUIRE(store_append(s, &r, 1, NULL, NULL, NULL) == ERR_OK);
	}
	store_unlock(s);
}

static void test_refusals(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	char name[VIEW_NAME_MAX_OCTETS + 1];
	struct arena *a = arena_new(1 << 20);
	struct mailbox *mb;
	struct str *v;
	size_t n;
	uint32_t one = 1;
	uint64_t begun_us;

	REQUIRE(store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	give_uids(s, "box", 10);
	mb = open_box(s, "box");
	memset(name, 'v', sizeof name);
	CHECK(view_change(mb, str_n(name, sizeof name), &one, 1, true, NULL) == ERR_SYNTAX);
	CHECK(view_change(mb, str_n(name, sizeof name - 1), &one, 1, true, NULL) == ERR_OK);
	CHECK(view_change(mb, STR(""), &one, 1, true, NULL) == ERR_SYNTAX &&
	    view_change(mb, STR("a\0b"), &one, 1, true, NULL) == ERR_SYNTAX);
	CHECK(view_remove(mb, str_n(name, sizeof name - 1), NULL) == ERR_OK);
	CHECK(view_remove(mb, STR("none"), NULL) == ERR_NOENT &&
	    view_change(mb, STR("none"), &one, 1, false, NULL) == ERR_OK);
	/* UIDs that were never given are not kept */
	CHECK(view_change_ranges(mb, STR("far"), &(struct uid_range){ 5, UINT32_MAX }, 1, true,
	    NULL) == ERR_OK);
	{
		struct uid_range *r;

		CHECK(view_get(mb, STR("far"), a, &r, &n, NULL) == ERR_OK && n == 1 &&
		    r[0].lo == 5 && r[0].hi == 10);
		CHECK(view_remove(mb, STR("far"), NULL) == ERR_OK);
	}
	fill_views(s, 2);
	CHECK(view_list(mb, a, &v, &n, NULL) == ERR_OK && n == VIEWS_MAX);
	begun_us = clock_mono_us();
	CHECK(view_change(mb, STR("one more"), &one, 1, true, NULL) == ERR_LIMIT);
	printf("# %d views are counted in %llu us\n", VIEWS_MAX,
	    (unsigned long long)(clock_mono_us() - begun_us));
	CHECK(view_change(mb, STR("v000000x"), (uint32_t[]){ 2 }, 1, true, NULL) == ERR_OK);
	CHECK(view_change(mb, STR("v000001x"), &one, 1, false, NULL) == ERR_OK);	/* empty: none */
	CHECK(view_change(mb, STR("one more"), &one, 1, true, NULL) == ERR_OK);
	CHECK(store_delete(s, STR("box"), NULL) == ERR_OK &&
	    view_change(mb, STR("v"), &one, 1, true, NULL) == ERR_NOENT);
	mailbox_close(&mb);
	arena_free(&a);
	store_close(&s);
	dir_remove(&d);
}

/* A device that has fetched every second of 100,000 messages. */
static void test_many(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	uint32_t *uids = calloc(MANY_UIDS, sizeof *uids);
	bool *has = calloc(MANY_UIDS, 1), ok = true;
	struct arena *a = arena_new(4 << 20);
	struct uid_range *r;
	struct mailbox *mb;
	struct str *names;
	uint64_t t[5];
	size_t n;

	REQUIRE(uids != NULL && has != NULL);
	give_uids(s, "INBOX", MANY_UIDS);
	mb = open_box(s, "INBOX");
	CHECK(view_list(mb, a, &(struct str *){ NULL }, &n, NULL) == ERR_OK && n == 0);	/* the index is up to date */
	for (uint32_t i = 0; i < MANY_UIDS / 2; i++)
		uids[i] = 2 * i + 1;
	t[0] = clock_mono_us();
	CHECK(view_change(mb, STR("phone"), uids, MANY_UIDS / 2, true, NULL) == ERR_OK);
	t[1] = clock_mono_us();
	for (uint32_t i = 0; i < MANY_UIDS; i++)
		uids[i] = i + 1;
	CHECK(view_has(mb, STR("phone"), uids, MANY_UIDS, has, NULL) == ERR_OK);
	t[2] = clock_mono_us();
	for (uint32_t i = 0; ok && i < MANY_UIDS; i++)
		ok = has[i] == (i % 2 == 0);
	CHECK(ok && view_get(mb, STR("phone"), a, &r, &n, NULL) == ERR_OK && n == MANY_UIDS / 2);
	t[3] = clock_mono_us();
	CHECK(view_change_ranges(mb, STR("phone"), &(struct uid_range){ 1, MANY_UIDS }, 1, true,
	    NULL) == ERR_OK);
	CHECK(view_get(mb, STR("phone"), a, &r, &n, NULL) == ERR_OK && n == 1 && r[0].lo == 1 &&
	    r[0].hi == MANY_UIDS);
	t[4] = clock_mono_us();
	printf("# 100,000 UIDs, every second one: change %llu us, ask for all %llu us (with rolling "
	    "forward), get %llu us; all as one range, and get %llu us\n",
	    (unsigned long long)(t[1] - t[0]), (unsigned long long)(t[2] - t[1]),
	    (unsigned long long)(t[3] - t[2]), (unsigned long long)(t[4] - t[3]));
	CHECK(t[4] - t[0] < 2000000);
	/* names before and behind one that has many rows */
	CHECK(view_change(mb, STR("a"), uids, 1, true, NULL) == ERR_OK &&
	    view_change(mb, STR("z"), uids + MANY_UIDS - 1, 1, true, NULL) == ERR_OK);
	CHECK(view_list(mb, a, &names, &n, NULL) == ERR_OK && n == 3 &&
	    str_eq(names[0], STR("a")) && str_eq(names[1], STR("phone")) &&
	    str_eq(names[2], STR("z")));
	mailbox_close(&mb);
	arena_free(&a);
	free(uids);
	free(has);
	store_close(&s);
	dir_remove(&d);
}

int main(int argc, char **argv)
{
	unsigned seed = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);

	printf("# seed %u\n", seed);
	srand(seed);
	test_model(false);
	store_dir_replay_max = UINT32_MAX;	/* from the journal alone */
	test_model(false);
	store_dir_replay_max = 0;
	test_refusals();
	test_many();
	store_dir_segment = 16 * 1024;
	test_model(true);
	return tap_done();
}
