/* SPDX-License-Identifier: ISC */
/* Power cuts (fault W-F3). Workloads drive a store through libstore while fslog.c records what a disk is told, and a model
 * of what a user must see is kept after each step. Then, for every prefix of the record, directories are made as a power
 * cut could have left them (fscrash.h says how harsh that is), and each is opened as after a reboot: recovery must
 * succeed; what is seen must be the model after one of the steps from the last acknowledged to the last begun, octet for
 * octet, UIDs, UIDVALIDITY, MODSEQ and all; store_check must find nothing; one more message must get the next UID. With the index
 * as it was left, lost, stale, of a later time, or torn. Of some states the recovery itself is recorded and cut again:
 * what it has shown must stay.
 *
 * A new operation is a function do_x and a line in a workload. Prints TAP.
 * PENNY_POWER_STATES: how many states; PENNY_SEED: of the draws; PENNY_POWER_JOBS: processes;
 * PENNY_POWER_ONLY=workload:state makes one state again and keeps its directory.
 * Length: the operations, what must be seen after them, and the reading of it are one subject. */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "../../libserve/office.h"
#include "../../libstore/store_int.h"
#include "../unit/store_dir.h"
#include "fscrash.h"

enum {
	BOXES_MAX = 16, MSGS_MAX = 128, KEYWORDS = 3, NAME_MAX_OCTETS = 40,
	STEPS_MAX = 640, STORES = 2, SESSIONS = 2,
	TEXTS_MAX = 1024, LARGE = 300 * 1024,
	STATES_DEFAULT = 1600,
	CHUNK_STATES = 200,		/* of one process */
	STATE_MAX_S = 60,		/* a recovery that takes longer hangs */
	NESTED_ONE_IN = 40, NESTED_STATES = 8,
	AGAIN_ONE_IN = 6,
	REPORTS_MAX = 12,
	JOBS_MAX = 8,
};

enum mark { MARK_BEGIN = 1, MARK_ACK, MARK_SHOWN };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

static char base[200];		/* scratch */

static void PRINTF_LIKE(2, 3) path_of(char out[PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, PATH_MAX, fmt, ap);
	va_end(ap);
	REQUIRE(n > 0 && n < PATH_MAX);
}

/* -- what must be seen -- */

struct msg {
	uint32_t uid, flags;
	uint32_t text;			/* number; 0: octets that no text has */
	uint16_t keywords;		/* bits of keyword_names */
	uint16_t viewed;		/* in the view */
	uint64_t modseq;
};

struct box {
	char name[NAME_MAX_OCTETS];
	uint32_t id, uidvalidity, uidnext;
	bool exists, noselect, subscribed;
	uint32_t n;
	uint64_t modseq;
	struct msg m[MSGS_MAX];
};

struct model {
	size_t n;			/* 0: there is no store yet */
	struct box box[BOXES_MAX];
};

struct script {				/* in shared memory */
	size_t n_steps;
	bool whole;
	struct model after[STEPS_MAX][STORES];	/* [0]: before the first step */
};

static const char *const keyword_names[KEYWORDS] = { "$One", "$Two", "work" };
#define VIEW STR("telephone")
#define PREFIX STR("Delivered-To: x\r\n")

/* Text number i is n octets long; it says so itself. */
static struct str text_of(uint32_t i, uint32_t n)
{
	static struct { char *p; uint32_t n; } texts[TEXTS_MAX];
	uint32_t r = i * 2654435761u + 1;
	uint32_t at;

	REQUIRE(i < TEXTS_MAX && n >= 64);
	if (texts[i].p != NULL && texts[i].n == n)
		return str_n(texts[i].p, n);
	free(texts[i].p);
	texts[i].p = malloc(n + 1);
	texts[i].n = n;
	at = (uint32_t)snprintf(texts[i].p, n, "Subject: %u %u\r\n\r\n", i, n);
	for (; at < n; at++) {
		r = r * 1664525u + 1013904223u;
		texts[i].p[at] = at % 64 == 62 ? '\r' : at % 64 == 63 ? '\n' : (char)('A' + (r >> 24) % 26);
	}
	return str_n(texts[i].p, n);
}

static uint32_t text_number(struct str prefix, struct str body)
{
	char head[40] = "";
	unsigned i, n;

	memcpy(head, body.p, body.n < sizeof head - 1 ? body.n : sizeof head - 1);
	if (!str_eq(prefix, PREFIX) || sscanf(head, "Subject: %u %u\r\n", &i, &n) != 2 || n != body.n ||
	    i >= TEXTS_MAX || !str_eq(body, text_of(i, n)))
		return 0;
	return i;
}

static struct box *box_by_id(struct model *m, uint32_t id)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->box[i].id == id)
			return &m->box[i];
	}
	return NULL;
}

static struct box *box_by_name(struct model *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->box[i].exists && strcmp(m->box[i].name, name) == 0)
			return &m->box[i];
	}
	return NULL;
}

static struct msg *msg_by_uid(struct box *b, uint32_t uid)
{
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->m[i].uid == uid)
			return &b->m[i];
	}
	return NULL;
}

static void msg_remove(struct box *b, uint32_t uid)
{
	struct msg *m = msg_by_uid(b, uid);

	if (m != NULL)
		memmove(m, m + 1, (size_t)(&b->m[b->n--] - (m + 1)) * sizeof *m);
}

static struct msg *msg_add(struct box *b, uint32_t uid)
{
	REQUIRE(b->n < MSGS_MAX);
	b->m[b->n] = (struct msg){ .uid = uid };
	return &b->m[b->n++];
}

/* Names, states and counters of the mailboxes as the store lists them; their messages are as `m` has them. */
static bool model_list(struct store *s, struct model *m)
{
	struct arena *a = arena_new(1 << 20);
	struct model *was = malloc(sizeof *was);
	struct mailbox_info *list;
	bool ok;
	size_t n = 0;

	*was = *m;
	ok = store_list(s, a, &list, &n, NULL) == ERR_OK && n <= BOXES_MAX;
	m->n = 0;
	for (size_t i = 0; ok && i < n; i++) {
		struct box *b = &m->box[m->n++], *old = box_by_id(was, list[i].id);

		b->n = 0;
		if (old != NULL)
			*b = *old;
		snprintf(b->name, sizeof b->name, "%.*s", STR_FMT(list[i].name));
		b->id = list[i].id;
		b->uidvalidity = list[i].uidvalidity;
		b->uidnext = list[i].uidnext;
		b->exists = list[i].exists;
		b->noselect = list[i].noselect;
		b->subscribed = list[i].subscribed;
		b->modseq = list[i].modseq;
		if (!b->exists || b->noselect)
			b->n = 0;
	}
	arena_free(&a);
	free(was);
	return ok;
}

static uint16_t own_keywords(const struct mailbox *mb, uint64_t bits)
{
	uint16_t own = 0;

	for (size_t i = 0; i < mailbox_n_keywords(mb); i++) {
		for (size_t k = 0; k < KEYWORDS; k++) {
			if ((bits >> i & 1) && str_eq(mailbox_keyword(mb, i), str_of(keyword_names[k])))
				own |= (uint16_t)(1u << k);
		}
	}
	return own;
}

static bool read_box(struct store *s, struct box *b)
{
	struct err e = { .text = "" };
	struct mailbox *mb = NULL;
	bool ok = mailbox_open(s, str_of(b->name), false, &mb, &e) == ERR_OK && mailbox_load(mb, &e) == ERR_OK &&
	    mailbox_n(mb) <= MSGS_MAX;

	for (size_t i = 0; ok && i < mailbox_n(mb); i++) {
		const struct message *m = mailbox_at(mb, i);
		struct msg *to = msg_add(b, m->uid);
		struct message_text t;
		bool seen = false;

		to->flags = m->flags & MSG_STORED_FLAGS;
		to->modseq = m->modseq;
		to->keywords = own_keywords(mb, m->keywords);
		if (message_open(mb, m, &t, &e) == ERR_OK) {
			to->text = text_number(t.prefix, t.body);
			message_close(&t);
		}
		ok = view_has(mb, VIEW, &m->uid, 1, &seen, &e) == ERR_OK;
		to->viewed = seen;
	}
	if (!ok)
		printf("# %s: %s\n", b->name, e.text);
	mailbox_close(&mb);
	return ok;
}

/* Everything as a user sees it. */
static bool model_read(struct store *s, struct model *m)
{
	bool ok;

	m->n = 0;
	ok = model_list(s, m);
	for (size_t i = 0; ok && i < m->n; i++) {
		if (m->box[i].exists && !m->box[i].noselect)
			ok = read_box(s, &m->box[i]);
	}
	return ok;
}

static bool same_msg(const struct msg *a, const struct msg *b)
{
	return a->uid == b->uid && a->flags == b->flags && a->text == b->text && a->text != 0 &&
	    a->keywords == b->keywords && a->viewed == b->viewed && a->modseq == b->modseq;
}

static bool same_box(const struct box *a, const struct box *b, bool new_store)
{
	if (strcmp(a->name, b->name) != 0 || a->id != b->id || a->uidnext != b->uidnext ||
	    (a->uidvalidity != b->uidvalidity && !new_store) || a->exists != b->exists ||
	    a->noselect != b->noselect || a->subscribed != b->subscribed || a->modseq != b->modseq ||
	    a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		if (!same_msg(&a->m[i], &b->m[i]))
			return false;
	}
	return true;
}

static bool same_model(const struct model *a, const struct model *b, bool new_store)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (!same_box(&a->box[i], &b->box[i], new_store))
			return false;
	}
	return true;
}

static void tell_model(const char *what, const struct model *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct box *b = &m->box[i];

		printf("# %s: %s id %u validity %u next %u modseq %llu%s%s%s:", what, b->name, b->id,
		    b->uidvalidity, b->uidnext, (unsigned long long)b->modseq, b->exists ? "" : " gone",
		    b->noselect ? " noselect" : "", b->subscribed ? " subscribed" : "");
		for (uint32_t k = 0; k < b->n && k < 24; k++)
			printf(" %u/%u/%x/%x%s@%llu", b->m[k].uid, b->m[k].text, b->m[k].flags,
			    b->m[k].keywords, b->m[k].viewed ? "v" : "", (unsigned long long)b->m[k].modseq);
		printf(" (%u)\n", b->n);
	}
}

/* -- the workloads' operations -- */

struct run {
	struct store_env env;
	char path[STORES][PATH_MAX];
	struct store *s[STORES][SESSIONS];
	struct model now[STORES];
	uint32_t next_text;
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
	struct box *b = box_by_name(&r->now[a->store], name);

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
	struct str kw = str_of(a->keyword > 0 ? keyword_names[a->keyword - 1] : "");
	struct append how = { .prefix = PREFIX, .flags = a->flags, .keywords = &kw, .n_keywords = kw.n > 0,
		.internaldate_s = 1000000000, .sync_later = a->later };
	struct box *in = box_of(r, a, box);
	struct err e = { .text = "" };
	struct msg *m;
	uint32_t uid = 0;

	if (mailbox_append(store_of(r, a), in->id, b, &how, &uid, NULL, &e) != ERR_OK)
		printf("# append: %s\n", e.text);
	REQUIRE(uid == in->uidnext);
	m = msg_add(in, uid);
	m->flags = a->flags;
	m->text = text;
	m->keywords = (uint16_t)(kw.n > 0 ? 1u << (a->keyword - 1) : 0);
	m->modseq = last_seq(r, a);
}

static void do_append(struct run *r, const struct act *a)
{
	struct body *b = body_new(store_of(r, a), 64 << 20);
	uint32_t text = ++r->next_text;
	struct str octets = text_of(text, a->octets + text % 50);

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
	struct str kw = str_of(a->keyword > 0 ? keyword_names[a->keyword - 1] : "");
	struct flag_change ch = { a->op, a->flags, &kw, kw.n > 0, UINT64_MAX };
	uint16_t bit = (uint16_t)(a->keyword > 0 ? 1u << (a->keyword - 1) : 0);
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);
	struct box *b = box_of(r, a, a->box);

	REQUIRE(mailbox_store_flags(mb, uids, n, &ch, NULL, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	for (size_t i = 0; i < n; i++) {
		struct msg *m = msg_by_uid(b, uids[i]), was;

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
		struct msg *m = msg_add(dst, to[i]);

		*m = *msg_by_uid(b, from[i]);
		m->uid = to[i];
		m->viewed = 0;
		m->modseq = last_seq(r, a) - move;
		if (move)
			msg_remove(b, from[i]);
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
	for (size_t i = 0; i < n; i++)
		msg_remove(b, uids[i]);
}

static void do_view(struct run *r, const struct act *a)
{
	uint32_t uids[MSGS_MAX];
	size_t n = uids_of(a, uids);
	struct mailbox *mb = mailbox_at_name(store_of(r, a), a->box);
	struct box *b = box_of(r, a, a->box);
	bool add = a->op != FLAG_REMOVE;

	REQUIRE(view_change(mb, VIEW, uids, n, add, NULL) == ERR_OK);
	mailbox_close(&mb);
	for (size_t i = 0; i < n; i++) {
		struct msg *m = msg_by_uid(b, uids[i]);

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

static void do_rebuild(struct run *r, const struct act *a)
{
	struct store_rebuild_result b;

	REQUIRE(store_rebuild(store_of(r, a), &b, NULL) == ERR_OK && b.n_damaged == 0);
}

#define OPEN { .run = do_open }
#define CLOSE { .run = do_close }
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

static const struct workload {
	const char *name;
	const struct act *act;
	size_t n;
	uint32_t segment_octets;	/* 0: as usual */
} workloads[] = {
	{ "first mail", first_mail, COUNTOF(first_mail), 0 },
	{ "mail", mail, COUNTOF(mail), 0 },
	{ "changes", changes, COUNTOF(changes), 0 },
	{ "folders", folders, COUNTOF(folders), 0 },
	{ "segments", segments, COUNTOF(segments), 24 * 1024 },
	{ "compaction", compaction, COUNTOF(compaction), 24 * 1024 },
	{ "index", index_work, COUNTOF(index_work), 0 },
	{ "two stores", two_stores, COUNTOF(two_stores), 0 },
};

/* -- recording -- */

static struct fslog *the_log, *recovery_log;
static struct script *script;

static void step(struct run *r, const struct act *a)
{
	size_t k = ++script->n_steps;

	REQUIRE(k < STEPS_MAX);
	fslog_mark(MARK_BEGIN, k);
	a->run(r, a);
	if (store_of(r, a) != NULL)
		REQUIRE(model_list(store_of(r, a), &r->now[a->store]));
	memcpy(script->after[k], r->now, sizeof r->now);
	if (!a->later)
		fslog_mark(MARK_ACK, k);
}

static void env_of(const struct workload *w, const char *boot_id, struct store_env *env)
{
	store_env_init(env);
	snprintf(env->boot_id, sizeof env->boot_id, "%s", boot_id);
	env->replay_max_octets = 0;
	if (w->segment_octets != 0) {
		env->segment_octets = w->segment_octets;
		env->conf.retain_ms = 0;	/* compaction takes what is expunged */
	}
}

static void remove_tree(const char *path)
{
	nftw(path, dir_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* In a process of its own. */
static void record(const struct workload *w, const char *root)
{
	static struct run r;

	env_of(w, "before the power cut", &r.env);
	for (int k = 0; k < STORES; k++)
		path_of(r.path[k], "%s/%c", root, 'a' + k);
	REQUIRE(fslog_start(the_log, root));
	for (size_t i = 0; i < w->n; i++) {
		for (unsigned t = 0; t < (w->act[i].times > 0 ? w->act[i].times : 1); t++)
			step(&r, &w->act[i]);
	}
	fslog_stop();
	script->whole = !the_log->full;
}

/* -- a state after a cut -- */

enum index_kind { INDEX_AS_LEFT, INDEX_LOST, INDEX_STALE, INDEX_AHEAD, INDEX_TORN, INDEX_KINDS };
static const char *const index_names[] = { "as left", "lost", "stale", "ahead", "torn" };
static const char *const crash_names[] = { "all", "none", "half", "most", "few", "all but one", "only one", "torn" };

struct state {
	const struct workload *w;
	size_t number, at;		/* of the workload's states; events of the record that happened */
	size_t floor, issued;		/* steps: the last acknowledged, the last begun */
	struct crash crash;
	enum index_kind index;
	bool by_replay;			/* small stores do without the index, as usual */
	bool nested, again;
	const char *boot_id;		/* of the boot after the cut */
	uint64_t random;
};

static uint64_t next_random(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static void report_finding(void *ctx, const char *line)
{
	(void)ctx;
	if (strncmp(line, "leftover", 8) != 0)	/* of deliveries that were cut: they count for nothing */
		printf("# check: %s\n", line);
}

static struct store *open_after(const struct state *st, const char *path, const char *boot_id, bool by_replay)
{
	struct dir d = { .fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	struct store_env env, usual;
	struct err e = { .text = "" };
	struct store *s = NULL;

	env_of(st->w, boot_id, &env);
	store_env_init(&usual);
	if (by_replay)
		env.replay_max_octets = usual.replay_max_octets;
	if (store_open(d.fd, &env, &s, &e) != ERR_OK)
		printf("# open: %s\n", e.text);
	close(d.fd);
	return s;
}

/* Which step's model it is; 0 when it is none of those that may be. */
static size_t step_of(const struct model *got, int k, size_t floor, size_t issued)
{
	bool new_store = script->after[floor][k].n == 0;

	for (size_t j = issued + 1; j-- > floor;) {
		const struct model *m = &script->after[j][k];

		if (same_model(got, m, new_store && j > 0 && script->after[j - 1][k].n == 0))
			return j;
	}
	if (new_store) {	/* never opened, or all of it lost: opening has made a new one */
		for (size_t j = floor; j <= script->n_steps; j++) {
			if (script->after[j][k].n != 0)
				return same_model(got, &script->after[j][k], true) ? j : 0;
		}
	}
	return 0;
}

static bool sound(struct store *s)
{
	struct err e = { .text = "" };
	uint64_t n_bad = 0;
	enum err_kind k = store_check(s, report_finding, NULL, &n_bad, &e);

	if (k != ERR_OK)
		printf("# check: %s\n", e.text);
	return k == ERR_OK && n_bad == 0;
}

/* One more message: the UID after all that were ever shown, and nothing else changes. */
static bool takes_mail(struct store *s, struct model *m)
{
	struct box *in = box_by_name(m, "INBOX");
	uint32_t uid;
	struct msg *new;

	if (in == NULL)
		return false;
	uid = put_message(s, MAILBOX_INBOX, text_of(TEXTS_MAX - 1, 400), 0, PREFIX);
	if (uid != in->uidnext)
		printf("# appended as %u, not %u\n", uid, in->uidnext);
	if (uid != in->uidnext || in->n == MSGS_MAX)
		return false;
	new = msg_add(in, uid);
	new->text = TEXTS_MAX - 1;
	new->modseq = s->ctl->appended_seq;
	return model_list(s, m);
}

static bool still_so(const struct state *st, const char *path, const struct model *wanted)
{
	static struct model got;
	char index[PATH_MAX];
	struct store *s;
	bool ok;

	path_of(index, "%s/index", path);
	if (st->random & 64)
		remove_tree(index);
	s = open_after(st, path, "and another", false);
	if (s == NULL)
		return false;
	ok = model_read(s, &got) && same_model(&got, wanted, false);
	if (!ok) {
		tell_model("again", &got);
		tell_model("wanted", wanted);
	}
	ok = ok && sound(s);
	store_close(&s);
	return ok;
}

static bool may_be(const struct state *st, int k, const struct model *got)
{
	if (step_of(got, k, st->floor, st->issued) != 0)
		return true;
	tell_model("got", got);
	tell_model("acknowledged", &script->after[st->floor][k]);
	if (st->issued > st->floor)
		tell_model("begun", &script->after[st->issued][k]);
	return false;
}

/* Who has read the journal in place of the index reads the index, too: it says the same, and is mended if it must be. */
static bool index_agrees(const struct state *st, const char *path, const struct model *got, struct store **s)
{
	static struct model again;

	store_close(s);
	*s = open_after(st, path, st->boot_id, false);
	return *s != NULL && model_read(*s, &again) && same_model(&again, got, false);
}

/* shown: what an earlier recovery has shown already, or NULL. */
static bool store_survives(const struct state *st, int k, const char *path, const struct model *shown)
{
	static struct model got_model;
	struct model *got = &got_model;
	struct store *s = open_after(st, path, st->boot_id, st->by_replay);
	bool ok;

	if (s == NULL)
		return false;
	ok = model_read(s, got) && (shown != NULL ? same_model(got, shown, false) : may_be(st, k, got));
	if (!ok && shown != NULL) {
		tell_model("got", got);
		tell_model("shown", shown);
	}
	if (ok && st->by_replay)
		ok = index_agrees(st, path, got, &s);
	ok = ok && sound(s) && takes_mail(s, got);
	store_close(&s);
	return ok && (!st->again || still_so(st, path, got));
}

static bool store_is_used(int k)
{
	return script->after[script->n_steps][k].n > 0;
}

static bool survives(const struct state *st, const char *root)
{
	char path[PATH_MAX];
	bool ok = true;

	for (int k = 0; ok && k < STORES; k++) {
		path_of(path, "%s/%c", root, 'a' + k);
		ok = !store_is_used(k) || store_survives(st, k, path, NULL);
	}
	return ok;
}

/* -- making the state -- */

static void copy_file(const char *from, const char *to)
{
	char octets[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	REQUIRE(in >= 0 && out >= 0);
	while ((n = read(in, octets, sizeof octets)) > 0)
		REQUIRE(write(out, octets, (size_t)n) == n);
	close(in);
	close(out);
}

static void for_files(const char *dir, void (*each)(const char *path, const char *name, void *ctx), void *ctx)
{
	DIR *d = opendir(dir);
	const struct dirent *de;
	char path[PATH_MAX];

	while (d != NULL && (de = readdir(d)) != NULL) {
		path_of(path, "%s/%s", dir, de->d_name);
		if (de->d_name[0] != '.')
			each(path, de->d_name, ctx);
	}
	if (d != NULL)
		closedir(d);
}

static void copy_into(const char *path, const char *name, void *ctx)
{
	char to[PATH_MAX];

	path_of(to, "%s/%s", (const char *)ctx, name);
	copy_file(path, to);
}

/* Junk in the place of a sector. */
static void tear_one(const char *path, const char *name, void *ctx)
{
	uint64_t *r = ctx;
	char junk[512];
	struct stat st;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	(void)name;
	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = (char)next_random(r);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= 512)
		REQUIRE(pwrite(fd, junk, sizeof junk, (off_t)(next_random(r) % (uint64_t)(st.st_size / 512) * 512)) ==
		    sizeof junk);
	close(fd);
}

static void spoil_index(const struct state *st, const char *root)
{
	char index[PATH_MAX], from[PATH_MAX];
	uint64_t r = st->random | 1;

	path_of(index, "%s/a/index", root);
	path_of(from, "%s/%s/a/index", base, st->index == INDEX_STALE ? "stale" : "live");
	if (st->index == INDEX_TORN)
		for_files(index, tear_one, &r);
	if (st->index == INDEX_LOST || st->index == INDEX_STALE || st->index == INDEX_AHEAD)
		remove_tree(index);
	if (st->index == INDEX_STALE || st->index == INDEX_AHEAD) {
		(void)!mkdir(index, 0700);
		for_files(from, copy_into, index);
	}
}

/* -- a cut during recovery -- */

static bool recover_and_show(const struct state *st, const char *root, struct model shown[STORES])
{
	char path[PATH_MAX];
	struct store *s;
	bool ok = true;

	for (int k = 0; ok && k < STORES; k++) {
		if (!store_is_used(k))
			continue;
		path_of(path, "%s/%c", root, 'a' + k);
		s = open_after(st, path, st->boot_id, st->by_replay);
		ok = s != NULL && model_read(s, &shown[k]) && may_be(st, k, &shown[k]);
		fslog_mark(MARK_SHOWN, (uint64_t)k);
		store_close(&s);
	}
	return ok;
}

static bool was_shown(int k, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		const struct fs_event *ev = &recovery_log->event[i];

		if (ev->op == FS_MARK && ev->len == (uint64_t)k)
			return true;
	}
	return false;
}

static bool second_cut_survives(const struct state *st, struct world *w, size_t at, uint64_t random,
    const struct model shown[STORES])
{
	struct state second = *st;
	char cut[PATH_MAX], path[PATH_MAX];
	bool ok = true;

	second.crash.kind = (enum crash_kind)(random % CRASH_KINDS);
	second.crash.random = random;
	second.boot_id = "after another power cut";
	second.again = false;
	path_of(cut, "%s/again-%d", base, (int)getpid());
	world_advance(w, at);
	REQUIRE(world_crash(w, &second.crash, cut));
	for (int k = 0; ok && k < STORES; k++) {
		path_of(path, "%s/%c", cut, 'a' + k);
		ok = !store_is_used(k) ||
		    store_survives(&second, k, path, was_shown(k, at) ? &shown[k] : NULL);
	}
	if (!ok)
		printf("# recovery cut after %zu of %zu events; of what was not synced: %s\n", at,
		    recovery_log->n, crash_names[second.crash.kind]);
	remove_tree(cut);
	return ok;
}

/* Recovery itself is cut: what it has shown must stay; before that all is as if it had never begun. */
static bool survives_twice(const struct state *st, const char *root)
{
	static struct model shown[STORES];
	uint64_t r = st->random | 1;
	struct world *w;
	bool ok;

	recovery_log->n = 0;
	w = world_new(root, recovery_log);
	ok = fslog_start(recovery_log, root) && recover_and_show(st, root, shown);
	fslog_stop();
	for (size_t i = 1; ok && i <= NESTED_STATES; i++)
		ok = second_cut_survives(st, w, recovery_log->n * i / NESTED_STATES, next_random(&r), shown);
	world_free(&w);
	return ok;
}

/* -- all states of a workload -- */

struct tally {			/* in shared memory */
	_Atomic size_t n_states, n_cuts_of_recovery, n_failed, n_reported;
	_Atomic size_t at[JOBS_MAX];	/* the state that each process is at */
};

static struct tally *tally;
static uint64_t seed;
static struct { size_t at, floor, issued; } *prefix;	/* the record's prefixes that differ */
static size_t n_prefixes;

static void find_prefixes(void)
{
	size_t floor = 0, issued = 0;

	free(prefix);
	prefix = calloc(the_log->n + 1, sizeof *prefix);
	n_prefixes = 0;
	for (size_t i = 0; i < the_log->n; i++) {
		const struct fs_event *ev = &the_log->event[i];

		if (ev->op == FS_MARK && ev->off == MARK_BEGIN)
			issued = ev->len;
		if (ev->op == FS_MARK && ev->off == MARK_ACK)
			floor = ev->len;
		if (ev->op == FS_MAPPED)
			continue;
		prefix[n_prefixes].at = i + 1;
		prefix[n_prefixes].floor = floor;
		prefix[n_prefixes++].issued = issued;
	}
}

/* States go through the prefixes in order: each several times when there are more states, else some by chance. */
static void draw_state(const struct workload *w, size_t number, size_t n_states, struct state *st)
{
	uint64_t r = seed + (uint64_t)(w - workloads) * 1000003u + number * 0x9e3779b97f4a7c15u;
	size_t from = number * n_prefixes / n_states, to = (number + 1) * n_prefixes / n_states;

	for (int i = 0; i < 4; i++)
		r = (r ^ r >> 29) * 0xbf58476d1ce4e5b9u | 1;
	from += to > from ? next_random(&r) % (to - from) : 0;
	*st = (struct state){ .w = w, .number = number, .at = prefix[from].at, .floor = prefix[from].floor,
		.issued = prefix[from].issued, .boot_id = "after the power cut" };
	st->crash = (struct crash){ .kind = (enum crash_kind)(next_random(&r) % CRASH_KINDS),
		.logged = next_random(&r) % 2, .garbage = next_random(&r) % 4 == 0 };
	st->crash.random = next_random(&r);
	st->index = next_random(&r) % 2 ? INDEX_AS_LEFT : (enum index_kind)(next_random(&r) % INDEX_KINDS);
	if (st->floor == 0 && st->index > INDEX_LOST)
		st->index = INDEX_AS_LEFT;	/* there is no other yet */
	st->by_replay = st->index <= INDEX_LOST && next_random(&r) % 4 == 0;
	st->nested = next_random(&r) % NESTED_ONE_IN == 0;
	st->again = next_random(&r) % AGAIN_ONE_IN == 0;
	st->random = next_random(&r);
}

static void tell_state(const struct state *st, const char *what)
{
	char last[FS_NAME_MAX * 2] = "";
	static const char *const op[] = { "create", "mkdir", "link", "rename", "unlink", "write", "size", "allocate",
		"sync", "datasync", "mapped", "mark" };
	const struct fs_event *ev = &the_log->event[st->at - 1];

	snprintf(last, sizeof last, "%s %s", op[ev->op], ev->name);
	printf("# %s: %s:%zu with seed %llu: cut after event %zu of %zu (%s), in step %zu, of what was not synced: %s%s%s; "
	    "index %s%s%s\n", what, st->w->name, st->number, (unsigned long long)seed, st->at, the_log->n, last,
	    st->issued, crash_names[st->crash.kind], st->crash.logged ? ", logged" : "",
	    st->crash.garbage ? ", garbage" : "", index_names[st->index], st->by_replay ? ", replayed" : "",
	    st->nested ? ", recovery cut" : "");
	fflush(stdout);
}

static void do_state(struct world *w, const struct state *st, const char *root)
{
	bool ok;

	REQUIRE(world_crash(w, &st->crash, root));
	spoil_index(st, root);
	alarm(STATE_MAX_S);
	ok = st->nested ? survives_twice(st, root) : survives(st, root);
	alarm(0);
	tally->n_states++;
	tally->n_cuts_of_recovery += st->nested ? NESTED_STATES : 0;
	if (!ok) {
		tally->n_failed++;
		if (tally->n_reported++ < REPORTS_MAX)
			tell_state(st, "FAILED");
	}
}

/* One process does states [from, to), so that what a recovery may break is its own. */
static void do_states(const struct workload *w, struct world *world, size_t n_states, size_t from, size_t to, int job)
{
	char root[PATH_MAX];

	path_of(root, "%s/state-%d", base, job);
	for (size_t i = from; i < to; i++) {
		struct state st;

		draw_state(w, i, n_states, &st);
		tally->at[job] = i;
		world_advance(world, st.at);
		do_state(world, &st, root);
		if (getenv("PENNY_POWER_ONLY") == NULL)
			remove_tree(root);
	}
}

static pid_t start_process(const struct workload *w, struct world *start, size_t n_states, size_t from, size_t to,
    int job)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		do_states(w, start, n_states, from, to, job);
		fflush(stdout);
		_exit(0);
	}
	REQUIRE(pid > 0);
	return pid;
}

/* A process that did not come to its end died in the state that it was at. */
static void process_ended(const struct workload *w, size_t n_states, int status, int job)
{
	struct state st;
	char root[PATH_MAX];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	draw_state(w, tally->at[job], n_states, &st);
	tally->n_failed++;
	printf("# process ended with status %x\n", (unsigned)status);
	tell_state(&st, "DIED");
	path_of(root, "%s/state-%d", base, job);
	remove_tree(root);
}

static void do_workload(const struct workload *w, struct world *start, size_t n_states, int jobs)
{
	struct { pid_t pid; size_t to; } job[JOBS_MAX] = { { 0, 0 } };
	size_t next = 0;
	int running = 0;

	while (next < n_states || running > 0) {
		int status;
		pid_t pid;

		for (int i = 0; i < jobs && next < n_states; i++) {
			if (job[i].pid != 0)
				continue;
			job[i].to = next + CHUNK_STATES < n_states ? next + CHUNK_STATES : n_states;
			job[i].pid = start_process(w, start, n_states, next, job[i].to, i);
			next = job[i].to;
			running++;
		}
		pid = wait(&status);
		for (int i = 0; i < jobs; i++) {
			size_t died_at = tally->at[i] + 1;

			if (job[i].pid != pid)
				continue;
			process_ended(w, n_states, status, i);
			job[i].pid = 0;
			running--;
			if (status != 0 && died_at < job[i].to) {
				job[i].pid = start_process(w, start, n_states, died_at, job[i].to, i);
				running++;
			}
		}
	}
}

static size_t number_of(const char *name, size_t otherwise)
{
	const char *v = getenv(name);

	return v != NULL && *v != '\0' ? (size_t)strtoull(v, NULL, 10) : otherwise;
}

static void *shared(size_t octets)
{
	void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	REQUIRE(p != MAP_FAILED);
	return p;
}

/* Records the workload in a child: the live directory is as it then left it. */
static bool record_in_child(const struct workload *w, const char *live)
{
	int status = -1;
	pid_t pid;

	memset(script, 0, offsetof(struct script, after));
	memset(script->after[0], 0, sizeof script->after[0]);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		record(w, live);
		fflush(stdout);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 && script->whole;
}

/* An index of an earlier time: what the disk had when a third of the record had happened. */
static void make_stale(struct world *w)
{
	struct crash all = { .kind = CRASH_ALL };
	char stale[PATH_MAX];

	path_of(stale, "%s/stale", base);
	remove_tree(stale);
	world_advance(w, the_log->n / 3);
	REQUIRE(world_crash(w, &all, stale));
}

static void make_live(char live[PATH_MAX])
{
	char sub[PATH_MAX];

	path_of(live, "%s/live", base);
	remove_tree(live);
	REQUIRE(mkdir(live, 0700) == 0);
	for (int k = 0; k < STORES; k++) {
		path_of(sub, "%s/%c", live, 'a' + k);
		REQUIRE(mkdir(sub, 0700) == 0);
	}
}

static void test_workload(const struct workload *w, size_t n_states, int jobs)
{
	size_t failed = tally->n_failed, states = tally->n_states;
	const char *only = getenv("PENNY_POWER_ONLY");
	struct world *start, *early;
	char live[PATH_MAX];
	bool recorded;

	if (only != NULL && strncmp(only, w->name, strlen(w->name)) != 0)
		return;
	make_live(live);
	start = world_new(live, the_log);
	early = world_new(live, the_log);
	recorded = record_in_child(w, live);
	CHECK(recorded);
	if (recorded) {
		find_prefixes();
		make_stale(early);
		if (only != NULL) {
			size_t n = (size_t)strtoull(strrchr(only, ':') + 1, NULL, 10);

			do_states(w, start, n_states, n, n + 1, 0);
			printf("# see %s/state-0\n", base);
		} else {
			do_workload(w, start, n_states, jobs);
		}
		printf("# %s: %zu steps, %zu prefixes, %zu states\n", w->name, script->n_steps, n_prefixes,
		    tally->n_states - states);
		CHECK(tally->n_failed == failed);
	}
	world_free(&start);
	world_free(&early);
}

/* A store that was handed out is there after a power cut, and so is all above it. */
static void test_office(void)
{
	char dir[PATH_MAX], office_dir[PATH_MAX], cut[PATH_MAX], store[PATH_MAX];
	struct office o = { .dir = office_dir };
	struct crash none = { .kind = CRASH_NONE };
	struct world *w;
	struct stat st;
	int fd = -1;

	path_of(dir, "%s/post", base);
	path_of(office_dir, "%s/office", dir);
	path_of(cut, "%s/post-cut", base);
	REQUIRE(mkdir(dir, 0700) == 0);
	w = world_new(dir, the_log);
	REQUIRE(fslog_start(the_log, dir));
	CHECK(office_prepare(&o, NULL) == ERR_OK && office_open_store(&o, "alice", &fd, NULL) == ERR_OK);
	fslog_stop();
	close(fd);
	world_advance(w, the_log->n);
	REQUIRE(world_crash(w, &none, cut));
	path_of(store, "%s/office/a/alice", cut);
	CHECK(stat(store, &st) == 0);
	world_free(&w);
}

/* In memory where that is to be had: the disk that is tested is fscrash.c. */
static void make_base(void)
{
	const char *tmp = getenv("TMPDIR");

	if (tmp == NULL)
		tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/var/tmp";
	snprintf(base, sizeof base, "%.100s/penny-power.XXXXXX", tmp);
	REQUIRE(mkdtemp(base) != NULL);
}

int main(void)
{
	size_t n_states = number_of("PENNY_POWER_STATES", STATES_DEFAULT);
	size_t jobs = number_of("PENNY_POWER_JOBS", 1);
	bool keep = getenv("PENNY_POWER_ONLY") != NULL;

	seed = number_of("PENNY_SEED", (size_t)time(NULL));
	printf("# seed %llu\n", (unsigned long long)seed);
	make_base();
	the_log = fslog_new();
	recovery_log = fslog_new();
	REQUIRE(the_log != NULL && recovery_log != NULL);
	script = shared(sizeof *script);
	tally = shared(sizeof *tally);
	test_office();
	for (size_t i = 0; i < COUNTOF(workloads); i++)
		test_workload(&workloads[i], n_states / COUNTOF(workloads),
		    (int)(jobs < 1 ? 1 : jobs < JOBS_MAX ? jobs : JOBS_MAX));
	printf("# %zu states, %zu cuts of recoveries, %zu failed\n", tally->n_states, tally->n_cuts_of_recovery,
	    tally->n_failed);
	if (!keep)
		remove_tree(base);
	return tap_done();
}
