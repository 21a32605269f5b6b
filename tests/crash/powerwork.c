/* SPDX-License-Identifier: ISC */
/* The operations and the workloads made of them. An operation does the real thing and then does the same to the model; what
 * operations on mailboxes as names do is read from the store (model_list). A new one is a function do_x and a line in
 * a workload. */
#include <fcntl.h>
#include <limits.h>

#include "../../libstore/attr.h"
#include "../../libstore/copy.h"
#include "../../libstore/gone.h"
#include "../../libstore/quota.h"
#include "../../libstore/search.h"
#include "../../libstore/views.h"
#include "../../libstore/store_int.h"
#include "../unit/store_dir.h"
#include "powerwork.h"

enum {
	SESSIONS = 2, LARGE = 300 * 1024, SMALL_SEGMENT = 24 * 1024,
	TEXT_SPREAD = 50,		/* texts of a kind differ in length */
	SEARCH_BUILD_MS = 60000,
};

/* -- the workloads' operations -- */

struct run {
	struct store_env env;
	char path[STORES][PATH_MAX];
	struct store *s[STORES][SESSIONS];
	char copies[PATH_MAX];
	struct model now[STORES], copied;
	uint32_t next_text;
	bool keeps;			/* what is expunged can be brought back */
};

struct act {
	void (*run)(struct run *r, const struct act *a);
	const char *box, *to;
	uint32_t lo, hi;		/* UIDs */
	uint32_t octets;		/* of a text */
	uint32_t flags;
	enum flag_op op;
	unsigned keyword;		/* 1 + number */
	unsigned times;			/* 0: once */
	bool later;			/* appended without sync: a later step acknowledges it */
	int store, session;
};

static struct store *store_of(struct run *r, const struct act *a)
{
	return r->s[a->store][a->session];
}

static struct box *box_of(struct run *r, const struct act *a, const char *name)
{
	struct box *b = model_box_named(&r->now[a->store], name);

	REQUIRE(b != NULL);
	return b;
}

static uint64_t last_seq(struct run *r, const struct act *a)
{
	return store_of(r, a)->ctl->appended_seq;
}

static void do_open(struct run *r, const struct act *a)
{
	int fd = open(r->path[a->store], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e = { .text = "" };

	if (store_open(fd, &r->env, &r->s[a->store][a->session], &e) != ERR_OK)
		printf("# open: %s\n", e.text);
	REQUIRE(r->s[a->store][a->session] != NULL);
	close(fd);
}

static void do_close(struct run *r, const struct act *a)
{
	store_close(&r->s[a->store][a->session]);
}

/* A text of a size of its own into one mailbox, or with `to` (in the other store) into both. */
static void append_to(struct run *r, const struct act *a, const struct body *b, const char *box, uint32_t text)
{
	struct str kw = str_of(a->keyword > 0 ? model_keywords[a->keyword - 1] : "");
	struct append how = { .prefix = MODEL_PREFIX, .flags = a->flags, .keywords = &kw, .n_keywords = kw.n > 0,
		.internaldate_s = 1000000000, .sync_later = a->later };
	struct box *in = box_of(r, a, box);
	struct err e = { .text = "" };
	struct msg *m;
	uint32_t uid = 0;

	if (mailbox_append(store_of(r, a), in->id, b, &how, &uid, NULL, &e) != ERR_OK)
		printf("# append: %s\n", e.text);
	REQUIRE(uid == in->uidnext);
	m = box_add(in, uid);
	m->flags = a->flags;
	m->text = text;
	m->keywords = (uint16_t)(kw.n > 0 ? 1u << (a->keyword - 1) : 0);
	m->modseq = last_seq(r, a);
}

static void do_append(struct run *r, const struct act *a)
{
	struct body *b = body_new(store_of(r, a), 64 << 20);
	uint32_t text = ++r->next_text;
	struct str octets = model_text(text, a->octets + text % TEXT_SPREAD);

	REQUIRE(body_add(b, octets, NULL) == ERR_OK && body_seal(b, NULL) == ERR_OK);
	append_to(r, a, b, a->box, text);
	if (a->to != NULL) {
		struct act other = *a;

		other.store = !a->store;
		append_to(r, &other, b, a->to, text);
		REQUIRE(model_list(store_of(r, &other), &r->now[other.store]));
	}
	body_free(&b);
}

static void do_sync(struct run *r, const struct act *a)
{
	REQUIRE(store_sync(store_of(r, a), NULL) == ERR_OK);
}

static size_t uids_of(const struct act *a, uint32_t uids[MSGS_MAX])
{
	size_t n = 0;

	for (uint32_t u = a->lo; u <= a->hi; u++)
		uids[n++] = u;
	return n;
}

static void do_load(struct run *r, const struct act *a)
{
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);

	mailbox_close(&mb);
}

static void do_flags(struct run *r, const struct act *a)
{
	uint32_t uids[MSGS_MAX];
	size_t n = uids_of(a, uids);
	struct str kw = str_of(a->keyword > 0 ? model_keywords[a->keyword - 1] : "");
	struct flag_change ch = { a->op, a->flags, &kw, kw.n > 0, UINT64_MAX };
	uint16_t bit = (uint16_t)(a->keyword > 0 ? 1u << (a->keyword - 1) : 0);
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);
	struct box *b = box_of(r, a, a->box);

	REQUIRE(mailbox_store_flags(mb, uids, n, &ch, NULL, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	for (size_t i = 0; i < n; i++) {
		struct msg *m = box_msg(b, uids[i]), was;

		if (m == NULL)
			continue;
		was = *m;
		m->flags = a->op == FLAG_SET ? a->flags : a->op == FLAG_ADD ? m->flags | a->flags :
		    m->flags & ~a->flags;
		m->keywords = a->op == FLAG_SET ? bit : (uint16_t)(a->op == FLAG_ADD ? m->keywords | bit :
		    m->keywords & ~bit);
		if (m->flags != was.flags || m->keywords != was.keywords)
			m->modseq = last_seq(r, a);
	}
}

/* All flags of the first message's kind to the other kind: many times, this fills the index's log. */
static void do_flip(struct run *r, const struct act *a)
{
	struct act now = *a;

	now.op = FLAG_SET;
	now.flags = box_of(r, a, a->box)->m[0].flags ^ MSG_STORED_FLAGS;
	do_flags(r, &now);
}

static void copy_or_move(struct run *r, const struct act *a, bool move)
{
	uint32_t uids[MSGS_MAX], from[MSGS_MAX], to[MSGS_MAX], validity;
	size_t n = uids_of(a, uids), n_copied = 0;
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);
	struct box *b = box_of(r, a, a->box), *dst = box_of(r, a, a->to);

	REQUIRE(mailbox_copy(mb, uids, n, dst->id, move, from, to, &n_copied, &validity, NULL) == ERR_OK);
	mailbox_close(&mb);
	for (size_t i = 0; i < n_copied; i++) {
		struct msg *m = box_add(dst, to[i]);

		*m = *box_msg(b, from[i]);
		m->uid = to[i];
		m->viewed = 0;
		m->modseq = last_seq(r, a) - move;
		if (move && r->keeps)
			model_add_gone(&r->now[a->store], b->id, box_msg(b, from[i]));
		if (move)
			box_remove(b, from[i]);
	}
}

static void do_copy(struct run *r, const struct act *a) { copy_or_move(r, a, false); }
static void do_move(struct run *r, const struct act *a) { copy_or_move(r, a, true); }

static void do_expunge(struct run *r, const struct act *a)
{
	uint32_t uids[MSGS_MAX];
	size_t n = uids_of(a, uids);
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);
	struct box *b = box_of(r, a, a->box);

	REQUIRE(mailbox_expunge(mb, uids, n, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	for (size_t i = 0; i < n; i++) {
		const struct msg *m = box_msg(b, uids[i]);

		if (m != NULL && r->keeps)
			model_add_gone(&r->now[a->store], b->id, m);
		box_remove(b, uids[i]);
	}
}

/* What was expunged from a->box comes back into a->to. */
static void do_undelete(struct run *r, const struct act *a)
{
	uint32_t uids[MSGS_MAX];
	size_t n = uids_of(a, uids), n_back = 0, wanted = 0;
	struct model *now = &r->now[a->store];
	struct box *b = box_of(r, a, a->box), *dst = box_of(r, a, a->to);

	REQUIRE(store_undelete(store_of(r, a), b->id, uids, n, dst->id, &n_back, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++) {
		const struct gone_msg *g = model_gone(now, b->id, uids[i]);
		struct msg *m;

		if (g == NULL)
			continue;
		m = box_add(dst, dst->uidnext + (uint32_t)wanted++);
		*m = (struct msg){ .uid = m->uid, .flags = g->m.flags & ~(uint32_t)MSG_DELETED, .text = g->m.text,
			.keywords = g->m.keywords, .modseq = last_seq(r, a) };
		model_remove_gone(now, b->id, uids[i]);
	}
	REQUIRE(wanted == n_back);
}

static void do_view(struct run *r, const struct act *a)
{
	uint32_t uids[MSGS_MAX];
	size_t n = uids_of(a, uids);
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);
	struct box *b = box_of(r, a, a->box);
	bool add = a->op != FLAG_REMOVE;

	REQUIRE(view_change(mb, MODEL_VIEW, uids, n, add, NULL) == ERR_OK);
	mailbox_close(&mb);
	for (size_t i = 0; i < n; i++) {
		struct msg *m = box_msg(b, uids[i]);

		if (m != NULL)
			m->viewed = add;
	}
}

/* What these do to names and counters is read from the store afterwards: model_list. */
static void do_create(struct run *r, const struct act *a)
{
	REQUIRE(store_create(store_of(r, a), str_of(a->box), NULL, NULL) == ERR_OK);
}

static void do_delete(struct run *r, const struct act *a)
{
	const struct box *b = box_of(r, a, a->box);

	for (uint32_t i = 0; r->keeps && i < b->n; i++)
		model_add_gone(&r->now[a->store], b->id, &b->m[i]);
	REQUIRE(store_delete(store_of(r, a), str_of(a->box), NULL) == ERR_OK);
}

static void do_rename(struct run *r, const struct act *a)
{
	REQUIRE(store_rename(store_of(r, a), str_of(a->box), str_of(a->to), NULL) == ERR_OK);
}

static void do_subscribe(struct run *r, const struct act *a)
{
	REQUIRE(store_subscribe(store_of(r, a), str_of(a->box), a->op != FLAG_REMOVE, NULL) == ERR_OK);
}

static void do_compact(struct run *r, const struct act *a)
{
	struct store_compact_result c;
	struct err e = { .text = "" };

	if (store_compact(store_of(r, a), 0, &c, &e) != ERR_OK)
		printf("# compact: %s\n", e.text);
	REQUIRE(c.n_segments >= a->lo);
}

/* a->box NULL: the store's. */
static void do_quota(struct run *r, const struct act *a)
{
	struct quota_limits l = { a->octets > 0 ? QUOTA_STORAGE : 0, a->octets, 0 };

	REQUIRE(quota_set(store_of(r, a), str_of(a->box != NULL ? a->box : ""), &l, NULL) == ERR_OK);
}

/* Attribute lo gets value hi; 0: it goes. */
static void do_attr(struct run *r, const struct act *a)
{
	struct box *b = box_of(r, a, a->box);
	char room[32];
	struct attr v = { .kind = ATTR_METADATA, .name = str_of(model_attrs[a->lo]) };

	if (a->hi > 0)
		v.value = model_attr_value(a->hi, room);
	REQUIRE(attr_set(store_of(r, a), b->id, &v, 1, NULL) == ERR_OK);
	b->attr[a->lo] = a->hi;
}

static void do_search_files(struct run *r, const struct act *a)
{
	struct search_build_result b;

	REQUIRE(search_build(store_of(r, a), UINT32_MAX, SEARCH_BUILD_MS, &b, NULL) == ERR_OK && b.n_built >= a->lo);
}

/* A copy, as penny backup makes it. */
static void do_backup(struct run *r, const struct act *a)
{
	int fd = open(r->copies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct copy_pos sure, end;
	struct copy_sink sink;
	struct err e = { .text = "" };
	struct copy *c = NULL;
	struct feed *f = NULL;

	if (copy_open(fd, STR("alice"), false, &c, &e) != ERR_OK)
		printf("# copy: %s\n", e.text);
	REQUIRE(c != NULL);
	copy_has(c, &sure, &end);
	copy_as_sink(c, &sink);
	REQUIRE(feed_open(store_of(r, a), &sink, &sure, &end, NULL, NULL, &f, &e) == ERR_OK);
	REQUIRE(feed_advance(f, true, &e) == ERR_OK);
	feed_close(&f);
	copy_close(&c);
	close(fd);
	r->copied = r->now[a->store];
}

/* The last copy becomes store b. */
static void do_restore(struct run *r, const struct act *a)
{
	int from = open(r->copies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int to = open(r->path[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e = { .text = "" };
	struct copy_state st;
	enum err_kind k = copy_lay_out(from, COPY_AT_END, to, false, NULL, NULL, &st, &e);

	(void)a;
	if (k != ERR_OK)
		printf("# restore: %s\n", e.text);
	REQUIRE(k == ERR_OK && st.n_damaged + st.n_missing == 0);
	close(from);
	close(to);
	r->now[1] = r->copied;
}

/* What was expunged can't be brought back from now on. */
static void do_purge(struct run *r, const struct act *a)
{
	struct store_compact_result c;

	REQUIRE(store_purge(store_of(r, a), &c, NULL) == ERR_OK && c.n_segments >= a->lo);
	r->now[a->store].n_gone = 0;
}

static void do_rebuild(struct run *r, const struct act *a)
{
	struct store_rebuild_result b;

	REQUIRE(store_rebuild(store_of(r, a), &b, NULL) == ERR_OK && b.n_damaged == 0);
}

#define OPEN { .run = do_open }
#define CLOSE { .run = do_close }
#define WORK(w) .act = w, .n = COUNTOF(w)
#define IN .box = "INBOX"

static const struct act first_mail[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 700 },
	{ .run = do_append, IN, .octets = 20000, .flags = MSG_SEEN },
	{ .run = do_append, IN, .octets = LARGE },
	CLOSE,
};

static const struct act mail[] = {
	OPEN, { .run = do_open, .session = 1 },
	{ .run = do_append, IN, .octets = 900, .keyword = 1 },
	{ .run = do_append, IN, .octets = LARGE, .keyword = 2, .flags = MSG_FLAGGED },
	{ .run = do_append, IN, .octets = 3000, .later = true, .times = 4 },
	{ .run = do_append, IN, .octets = 2000, .session = 1 },		/* makes the other's durable, too */
	{ .run = do_append, IN, .octets = 500, .later = true, .times = 3 },
	{ .run = do_append, IN, .octets = 17000, .later = true, .session = 1, .times = 2 },
	{ .run = do_append, IN, .octets = LARGE, .later = true },
	{ .run = do_sync }, { .run = do_sync, .session = 1 },
	{ .run = do_append, IN, .octets = 600, .later = true, .times = 5 },
	{ .run = do_load, IN },
	{ .run = do_close, .session = 1 }, CLOSE,
};

static const struct act changes[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 600, .times = 8 },
	{ .run = do_append, IN, .octets = LARGE },
	{ .run = do_create, .box = "box" },
	{ .run = do_flags, IN, .lo = 1, .hi = 5, .flags = MSG_SEEN, .op = FLAG_ADD },
	{ .run = do_flags, IN, .lo = 2, .hi = 9, .flags = MSG_FLAGGED, .op = FLAG_SET, .keyword = 3 },
	{ .run = do_view, IN, .lo = 1, .hi = 6 },
	{ .run = do_copy, IN, .to = "box", .lo = 1, .hi = 4 },
	{ .run = do_move, IN, .to = "box", .lo = 4, .hi = 6 },
	{ .run = do_move, IN, .to = "box", .lo = 9, .hi = 9 },
	{ .run = do_expunge, IN, .lo = 1, .hi = 2 },
	{ .run = do_append, IN, .octets = 800, .later = true, .times = 2 },
	{ .run = do_expunge, IN, .lo = 8, .hi = 12 },
	{ .run = do_flags, .box = "box", .lo = 1, .hi = 9, .flags = MSG_ANSWERED, .op = FLAG_ADD, .keyword = 1 },
	{ .run = do_flags, .box = "box", .lo = 2, .hi = 2, .flags = MSG_FLAGGED, .op = FLAG_REMOVE, .keyword = 3 },
	{ .run = do_view, IN, .lo = 2, .hi = 4, .op = FLAG_REMOVE },
	{ .run = do_append, IN, .octets = 900 },
	CLOSE,
};

static const struct act folders[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 300, .times = 2 },
	{ .run = do_create, .box = "a/b/c" },
	{ .run = do_append, .box = "a/b", .octets = 400, .times = 2 },
	{ .run = do_subscribe, .box = "a/b" },
	{ .run = do_rename, .box = "a", .to = "x/y" },
	{ .run = do_append, .box = "x/y/b", .octets = 400, .later = true },
	{ .run = do_delete, .box = "x/y/b" },
	{ .run = do_create, .box = "x/y/b" },
	{ .run = do_append, .box = "x/y/b", .octets = 500 },
	{ .run = do_rename, IN, .to = "old" },
	{ .run = do_append, IN, .octets = 500 },
	{ .run = do_delete, .box = "old" },
	{ .run = do_subscribe, .box = "a/b", .op = FLAG_REMOVE },
	{ .run = do_delete, .box = "x/y/b" },
	CLOSE,
};

static const struct act segments[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 5000, .times = 8 },
	{ .run = do_create, .box = "box" },
	{ .run = do_copy, IN, .to = "box", .lo = 2, .hi = 6 },
	{ .run = do_append, IN, .octets = 4000, .later = true, .times = 9 },
	{ .run = do_sync },
	{ .run = do_flags, IN, .lo = 1, .hi = 12, .flags = MSG_SEEN, .op = FLAG_ADD },
	{ .run = do_append, .box = "box", .octets = 30000, .times = 2 },
	CLOSE, OPEN,
	{ .run = do_append, IN, .octets = 6000, .times = 2 },
	CLOSE,
};

static const struct act compaction[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 3000, .times = 10 },
	{ .run = do_append, IN, .octets = LARGE, .times = 2 },
	{ .run = do_create, .box = "box" },
	{ .run = do_copy, IN, .to = "box", .lo = 9, .hi = 12 },
	{ .run = do_flags, IN, .lo = 9, .hi = 11, .flags = MSG_FLAGGED, .op = FLAG_ADD, .keyword = 2 },
	{ .run = do_view, IN, .lo = 1, .hi = 10 },
	{ .run = do_append, IN, .octets = 5000, .times = 8 },
	{ .run = do_expunge, IN, .lo = 1, .hi = 8 },
	{ .run = do_expunge, IN, .lo = 11, .hi = 18 },
	{ .run = do_compact, .lo = 1 },
	{ .run = do_append, IN, .octets = 7000, .times = 6 },
	{ .run = do_expunge, .box = "box", .lo = 1, .hi = 4 },
	{ .run = do_expunge, IN, .lo = 9, .hi = 24 },
	{ .run = do_compact, .lo = 1 },
	{ .run = do_append, IN, .octets = 700 },
	CLOSE,
};

/* Enough for the index to begin a new log file and write checkpoints. */
static const struct act index_work[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 200, .later = true, .times = 120 },
	{ .run = do_sync },
	{ .run = do_load, IN },
	{ .run = do_flip, IN, .lo = 1, .hi = 120, .times = 150 },
	CLOSE, OPEN,
	{ .run = do_append, IN, .octets = 200 },
	{ .run = do_load, IN },
	{ .run = do_rebuild },
	{ .run = do_load, IN },
	CLOSE,
};

static const struct act second_chances[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 700, .times = 6, .keyword = 1 },
	{ .run = do_append, IN, .octets = LARGE },
	{ .run = do_create, .box = "box" },
	{ .run = do_append, .box = "box", .octets = 800, .times = 2 },
	{ .run = do_expunge, IN, .lo = 2, .hi = 4 },
	{ .run = do_undelete, IN, .to = "INBOX", .lo = 3, .hi = 3 },
	{ .run = do_expunge, IN, .lo = 7, .hi = 7 },
	{ .run = do_undelete, IN, .to = "box", .lo = 1, .hi = 7 },
	{ .run = do_expunge, IN, .lo = 1, .hi = 1 },
	{ .run = do_delete, .box = "box" },
	{ .run = do_append, IN, .octets = 900 },
	CLOSE,
};

/* What can be brought back is moved by compaction, too. */
static const struct act kept[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 3000, .times = 12 },
	{ .run = do_expunge, IN, .lo = 1, .hi = 3 },
	{ .run = do_create, .box = "box" },
	{ .run = do_attr, .box = "box", .lo = 1, .hi = 7 },
	{ .run = do_append, IN, .octets = 30000, .times = 2 },
	{ .run = do_purge, .lo = 1 },
	{ .run = do_append, IN, .octets = 700, .times = 2 },
	{ .run = do_expunge, IN, .lo = 4, .hi = 6 },
	{ .run = do_append, IN, .octets = 20000, .times = 2 },
	{ .run = do_compact },
	{ .run = do_undelete, IN, .to = "INBOX", .lo = 5, .hi = 5 },
	CLOSE,
};

static const struct act limits[] = {
	OPEN,
	{ .run = do_create, .box = "a/b" },
	{ .run = do_quota, .octets = 5000000 },
	{ .run = do_attr, IN, .lo = 0, .hi = 1 },
	{ .run = do_attr, .box = "a/b", .lo = 1, .hi = 2 },
	{ .run = do_quota, .box = "a", .octets = 700000 },
	{ .run = do_attr, IN, .lo = 0, .hi = 3 },
	{ .run = do_append, .box = "a/b", .octets = 20000, .times = 2 },
	{ .run = do_quota, .octets = 0 },
	{ .run = do_rename, .box = "a", .to = "c" },
	{ .run = do_attr, IN, .lo = 0, .hi = 0 },
	{ .run = do_append, .box = "c/b", .octets = 20000 },
	{ .run = do_quota, .box = "c", .octets = 900000 },
	{ .run = do_delete, .box = "c/b" },
	CLOSE,
};

static const struct act search_files[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 5000, .times = 8 },
	{ .run = do_search_files, .lo = 1 },
	{ .run = do_append, IN, .octets = 5000, .times = 6 },
	{ .run = do_search_files, .lo = 1 },
	{ .run = do_expunge, IN, .lo = 1, .hi = 12 },
	{ .run = do_compact, .lo = 1 },
	{ .run = do_search_files },
	{ .run = do_append, IN, .octets = 500 },
	CLOSE,
};

static const struct act copies[] = {
	OPEN,
	{ .run = do_append, IN, .octets = 600, .times = 3 },
	{ .run = do_backup },
	{ .run = do_append, IN, .octets = LARGE },
	{ .run = do_append, IN, .octets = 9000, .times = 3 },
	{ .run = do_backup },
	{ .run = do_create, .box = "box" },
	{ .run = do_move, IN, .to = "box", .lo = 1, .hi = 2 },
	{ .run = do_append, IN, .octets = 9000, .times = 3 },
	{ .run = do_backup },
	{ .run = do_append, IN, .octets = 500 },
	{ .run = do_restore },
	{ .run = do_append, IN, .octets = 500 },
	{ .run = do_purge, .lo = 1 },
	{ .run = do_backup },		/* another history: what was there goes to past/ */
	CLOSE,
};

static const struct act two_stores[] = {
	OPEN, { .run = do_open, .store = 1 },
	{ .run = do_append, IN, .octets = 500 },
	{ .run = do_append, IN, .to = "INBOX", .octets = LARGE },
	{ .run = do_append, IN, .to = "INBOX", .octets = LARGE, .store = 1 },
	{ .run = do_append, IN, .to = "INBOX", .octets = 3000 },
	{ .run = do_load, IN },
	{ .run = do_expunge, IN, .lo = 2, .hi = 2 },
	{ .run = do_close, .store = 1 }, CLOSE,
};

const struct workload workloads[] = {
	{ .name = "first mail", WORK(first_mail) },
	{ .name = "mail", WORK(mail) },
	{ .name = "compressed", WORK(mail), .compress = true },
	{ .name = "changes", WORK(changes) },
	{ .name = "folders", WORK(folders) },
	{ .name = "segments", WORK(segments), .segment_octets = SMALL_SEGMENT },
	{ .name = "compaction", WORK(compaction), .segment_octets = SMALL_SEGMENT, .forgets = true },
	{ .name = "second chances", WORK(second_chances) },
	{ .name = "kept", WORK(kept), .segment_octets = SMALL_SEGMENT, .purges = true },
	{ .name = "limits", WORK(limits), .segment_octets = SMALL_SEGMENT },
	{ .name = "search files", WORK(search_files), .segment_octets = SMALL_SEGMENT, .forgets = true,
	    .searches = true },
	{ .name = "copies", WORK(copies), .segment_octets = SMALL_SEGMENT, .copies = true,
	    .purges = true },
	{ .name = "index", WORK(index_work) },
	{ .name = "two stores", WORK(two_stores) },
};
const size_t n_workloads = COUNTOF(workloads);

/* -- recording -- */

void work_env(const struct workload *w, const char *boot_id, struct store_env *env)
{
	store_env_init(env);
	snprintf(env->boot_id, sizeof env->boot_id, "%s", boot_id);
	env->replay_max_octets = 0;
	env->conf.compress = w->compress;
	if (w->segment_octets != 0)
		env->segment_octets = w->segment_octets;
	if (w->forgets)
		env->conf.retain_ms = 0;
}

static void step(struct run *r, const struct act *a, struct script *script)
{
	size_t k = ++script->n_steps;

	REQUIRE(k < STEPS_MAX);
	fslog_mark(MARK_BEGIN, k);
	a->run(r, a);
	if (store_of(r, a) != NULL)
		REQUIRE(model_list(store_of(r, a), &r->now[a->store]));
	memcpy(script->after[k], r->now, sizeof r->now);
	script->copied[k] = a->run == do_backup ? k : script->copied[k - 1];
	if (!a->later)
		fslog_mark(MARK_ACK, k);
}

void work_record(const struct workload *w, const char *root, struct fslog *log, struct script *script)
{
	static struct run r;

	tap_helper = true;
	r.keeps = !w->forgets;
	work_env(w, "before the power cut", &r.env);
	for (int k = 0; k < STORES; k++)
		snprintf(r.path[k], sizeof r.path[k], "%s/%c", root, 'a' + k);
	snprintf(r.copies, sizeof r.copies, "%s/c", root);
	script->n_steps = script->copied[0] = 0;
	memset(script->after[0], 0, sizeof script->after[0]);
	REQUIRE(fslog_start(log, root));
	for (size_t i = 0; i < w->n; i++) {
		for (unsigned t = 0; t < (w->act[i].times > 0 ? w->act[i].times : 1); t++)
			step(&r, &w->act[i], script);
	}
	fslog_stop();
	script->whole = !log->full;
}
