/* SPDX-License-Identifier: ISC */
/* What the crash tests share: the operations that are interrupted, the stores they are done on, and a digest of everything
 * that a client can see. A new operation is a line in ops[], with a new kind of store to do it on if need be. */
#ifndef OPS_H
#define OPS_H

#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "../../libstore/attr.h"
#include "../../libstore/copy.h"
#include "../../libstore/crc32c.h"
#include "../../libstore/gone.h"
#include "../../libstore/quota.h"
#include "../../libstore/store_int.h"
#include "../../libstore/views.h"
#include "../unit/store_dir.h"

enum {
	OPS_LARGE_OCTETS = 300 * 1024,
	OPS_MESSAGES = 8,		/* in INBOX of a plain store */
	OPS_BIG_MESSAGES = 24000,	/* rows whose log is worth a checkpoint */
	OPS_BIG_STEP = 3000,
	OPS_OLD_MESSAGES = 240,		/* of a store worth compacting */
	OPS_OLD_SEGMENT = 64 * 1024,
	OPS_TEXT_EVERY = 512,		/* in a big mailbox only every so many messages are read */
	OPS_BIG_FROM = 1000,
	OPS_MEMORY_MIN_OCTETS = 256 << 20,
	OPS_GONE_UID = OPS_MESSAGES + 2,	/* was expunged from INBOX */
	OPS_RETAIN_MS = 7 * 24 * 3600 * 1000,
};

/* Berkeley DB's handles that were given up after a recovery can't be closed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";
}

/* -- what can be seen -- */

static inline uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdu;
}

static inline uint64_t mix_str(uint64_t h, struct str s)
{
	return mix(mix(h, s.n), crc32c(0, s.p, s.n));
}

/* The survivor's own mailbox: what happens in it is no part of what is compared. */
#define OPS_MINE "mine"

struct seen {
	uint64_t all;		/* names, counters, UIDs, flags, keywords, dates, octets, sets of a view */
	uint64_t records;	/* the parsed records of messages */
	uint64_t modseqs;	/* MODSEQs and the UIDVALIDITY values of mailboxes that were there from the start */
};

static inline void see_message(struct mailbox *mb, const struct message *m, bool text, struct seen *out)
{
	static const struct str view[] = { STR_INIT("phone"), STR_INIT("tablet") };
	struct message_text t;
	bool fetched = false;

	out->all = mix(mix(mix(out->all, m->uid), m->flags & MSG_STORED_FLAGS), m->size_octets);
	out->all = mix(out->all, (uint64_t)m->internaldate_s);
	out->modseqs = mix(out->modseqs, m->modseq);
	for (size_t i = 0; i < mailbox_n_keywords(mb); i++) {
		if (m->keywords >> i & 1)
			out->all = mix_str(out->all, mailbox_keyword(mb, i));
	}
	if (!text)
		return;
	if (message_open(mb, m, &t, NULL) != ERR_OK) {
		out->all = mix(out->all, 0xbad);
		return;
	}
	out->all = mix_str(mix_str(out->all, t.prefix), t.body);
	out->records = mix_str(out->records, t.record);
	message_close(&t);
	for (size_t i = 0; i < COUNTOF(view); i++) {
		if (view_has(mb, view[i], &m->uid, 1, &fetched, NULL) != ERR_OK)
			out->all = mix(out->all, 0xbad);
		out->all = mix(out->all, fetched);
	}
}

/* Attributes, and the limits of quota. */
static inline void see_settings(struct store *s, const struct mailbox_info *i, struct seen *out)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct quota_root *root;
	struct attr *v;
	size_t n = 0;

	if (attr_list(s, i->id, a, &v, &n, NULL) != ERR_OK)
		out->all = mix(out->all, i->exists ? 0xbad : 0);
	for (size_t k = 0; k < n; k++)
		out->all = mix_str(mix_str(mix_str(out->all, v[k].owner), v[k].name), v[k].value);
	n = 0;
	if (quota_list(s, a, &root, &n, NULL) != ERR_OK)
		out->all = mix(out->all, 0xbad);
	for (size_t k = 0; k < n; k++)
		out->all = mix(mix(mix_str(out->all, root[k].name), root[k].limits.set), root[k].limits.n_messages);
	arena_free(&a);
}

static inline void see_mailbox(struct store *s, const struct mailbox_info *i, struct seen *out)
{
	struct mailbox *mb;

	out->all = mix(mix(mix_str(out->all, i->name), i->id), i->uidnext);
	out->all = mix(mix(mix(out->all, i->n_messages), i->n_unseen), i->octets);
	out->all = mix(out->all, (uint64_t)(i->exists | i->noselect << 1 | i->subscribed << 2));
	out->modseqs = mix(out->modseqs, i->modseq);
	if (i->id <= 4)
		out->modseqs = mix(out->modseqs, i->uidvalidity);
	see_settings(s, i, out);
	if (!i->exists)
		return;
	if (mailbox_open(s, i->name, false, &mb, NULL) != ERR_OK) {
		out->all = mix(out->all, 0xbad);
		return;
	}
	if (mailbox_load(mb, NULL) != ERR_OK)
		out->all = mix(out->all, 0xbad);
	for (size_t k = 0; k < mailbox_n(mb); k++)
		see_message(mb, mailbox_at(mb, k), mailbox_n(mb) < OPS_BIG_FROM || k % OPS_TEXT_EVERY == 0, out);
	mailbox_close(&mb);
}

static inline struct seen see(struct store *s)
{
	struct seen out = { 0, 0, 0 };
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *list;
	struct err e = { .text = "" };
	size_t n = 0;

	if (store_list(s, a, &list, &n, &e) != ERR_OK) {
		printf("# list: %s\n", e.text);
		out.all = 0xbad;
	}
	for (size_t i = 0; i < n; i++) {
		if (!str_eq(list[i].name, STR(OPS_MINE)))
			see_mailbox(s, &list[i], &out);
	}
	arena_free(&a);
	return out;
}

/* -- sessions and operations -- */

struct session {
	struct dir d;
	struct store *s;	/* NULL before an operation that opens it */
	struct mailbox *mb;	/* INBOX, loaded, for operations on messages */
	uint32_t box;		/* id of "box" */
};

static inline enum err_kind append_octets(struct store *s, size_t n, const char *keyword, bool later)
{
	struct body *b = body_new(s, 64 << 20);
	struct str kw = str_of(keyword);
	struct append how = { .prefix = STR("Delivered-To: a\r\n"), .internaldate_s = 5, .keywords = &kw,
		.n_keywords = kw.n > 0, .sync_later = later };
	char *text = malloc(n);
	enum err_kind k = ERR_TEMP;

	if (text != NULL) {
		memset(text, 'z', n);
		memcpy(text, "A: b\r\n\r\n", 8);
		if ((k = body_add(b, str_n(text, n), NULL)) == ERR_OK && (k = body_seal(b, NULL)) == ERR_OK)
			k = mailbox_append(s, MAILBOX_INBOX, b, &how, NULL, NULL, NULL);
	}
	body_free(&b);
	free(text);
	return k;
}

static inline enum err_kind op_deliver(struct session *c) { return append_octets(c->s, 3000, "", false); }
static inline enum err_kind op_deliver_large(struct session *c)
{
	return append_octets(c->s, OPS_LARGE_OCTETS, "", false);
}
static inline enum err_kind op_append_keyword(struct session *c) { return append_octets(c->s, 500, "$new", false); }

/* The group opens a new segment first. */
static inline enum err_kind op_deliver_roll(struct session *c)
{
	uint32_t was = c->s->env.segment_octets;
	enum err_kind k;

	c->s->env.segment_octets = sizeof(struct seg_header) + 1;
	k = append_octets(c->s, 1000, "", false);
	c->s->env.segment_octets = was;
	return k;
}

static inline enum err_kind op_create(struct session *c)
{
	return store_create(c->s, STR("new/below"), NULL, NULL);
}
static inline enum err_kind op_rename(struct session *c)
{
	return store_rename(c->s, STR("box"), STR("q/r"), NULL);
}
static inline enum err_kind op_rename_inbox(struct session *c)
{
	return store_rename(c->s, STR("INBOX"), STR("old"), NULL);
}
static inline enum err_kind op_delete(struct session *c) { return store_delete(c->s, STR("box/in"), NULL); }
static inline enum err_kind op_subscribe(struct session *c)
{
	return store_subscribe(c->s, STR("box/in"), true, NULL);
}

static inline enum err_kind op_flags(struct session *c)
{
	struct str kw = STR_INIT("$x");
	struct flag_change ch = { FLAG_SET, MSG_FLAGGED | MSG_SEEN, &kw, 1, UINT64_MAX };

	return mailbox_store_flags(c->mb, (uint32_t[]){ 1, 3 }, 2, &ch, NULL, NULL, NULL);
}
static inline enum err_kind op_expunge(struct session *c)
{
	return mailbox_expunge(c->mb, (uint32_t[]){ 2, 3 }, 2, false, NULL, NULL);
}

static inline enum err_kind copy_some(struct session *c, bool move)
{
	uint32_t from[3], to[3], validity;
	size_t n;

	return mailbox_copy(c->mb, (uint32_t[]){ 1, 2, 5 }, 3, c->box, move, from, to, &n, &validity, NULL);
}
static inline enum err_kind op_copy(struct session *c) { return copy_some(c, false); }
static inline enum err_kind op_move(struct session *c) { return copy_some(c, true); }

static inline enum err_kind op_view(struct session *c)
{
	return view_change(c->mb, STR("phone"), (uint32_t[]){ 1, 4 }, 2, true, NULL);
}

static inline enum err_kind op_view_remove(struct session *c) { return view_remove(c->mb, STR("tablet"), NULL); }

static inline enum err_kind op_attributes(struct session *c)
{
	struct attr v[] = {
		{ ATTR_METADATA, STR_INIT(""), STR_INIT("/comment"), STR_INIT("new"), 0 },
		{ ATTR_ACL, STR_INIT(""), STR_INIT("you"), { NULL, 0 }, 0 },
	};

	return attr_set(c->s, 1, v, COUNTOF(v), NULL);
}
static inline enum err_kind op_quota(struct session *c)
{
	struct quota_limits l = { QUOTA_MESSAGES, 0, 1000 };

	return quota_set(c->s, STR("box"), &l, NULL);
}

static inline enum err_kind op_undelete(struct session *c)
{
	uint64_t was = c->s->env.conf.retain_ms;
	size_t n = 0;
	enum err_kind k;

	c->s->env.conf.retain_ms = OPS_RETAIN_MS;
	k = store_undelete(c->s, 1, (uint32_t[]){ OPS_GONE_UID }, 1, c->box, &n, NULL);
	c->s->env.conf.retain_ms = was;
	return k;
}

static inline enum err_kind op_compact(struct session *c)
{
	struct store_compact_result r;

	return store_compact(c->s, 0, &r, NULL);
}
/* Beside what lives, what is expunged but can still be brought back is written anew. */
static inline enum err_kind op_compact_kept(struct session *c)
{
	uint64_t was = c->s->env.conf.retain_ms;
	enum err_kind k;

	c->s->env.conf.retain_ms = OPS_RETAIN_MS;
	c->s->env.conf.retain_octets = 100 * 1024;
	k = op_compact(c);
	c->s->env.conf.retain_ms = was;
	return k;
}
static inline enum err_kind op_rebuild(struct session *c)
{
	struct store_rebuild_result r;

	return store_rebuild(c->s, &r, NULL);
}

/* What an earlier one promised can be had. */
static inline enum err_kind look_at_copy(int copy_fd)
{
	struct copy_state st;
	char name[32];
	int fd;
	enum err_kind k;

	if (faccessat(copy_fd, "manifest", F_OK, 0) < 0)
		return ERR_OK;
	if ((k = copy_scratch(copy_fd, name, &fd, NULL)) != ERR_OK)
		return k;
	k = copy_lay_out(copy_fd, COPY_AT_END, fd, false, NULL, NULL, &st, NULL);
	copy_scratch_end(copy_fd, name, fd);
	return k == ERR_OK && st.n_damaged + st.n_missing > 0 ? ERR_CORRUPT : k;
}

static inline enum err_kind back_up(struct store *s, int copy_fd)
{
	struct copy *copy = NULL;
	struct copy_pos sure, end;
	struct copy_sink sink;
	struct feed *f = NULL;
	enum err_kind k;

	if ((k = copy_open(copy_fd, STR("a"), false, &copy, NULL)) == ERR_OK) {
		copy_has(copy, &sure, &end);
		copy_as_sink(copy, &sink);
		if ((k = feed_open(s, &sink, &sure, &end, NULL, NULL, &f, NULL)) == ERR_OK)
			k = feed_advance(f, true, NULL);
	}
	feed_close(&f);
	copy_close(&copy);
	return k;
}

/* A first backup, mail, and one that goes on with it. */
static inline enum err_kind op_backup(struct session *c)
{
	int fd;
	enum err_kind k;

	if (mkdirat(c->d.fd, "copied", 0700) < 0 && errno != EEXIST)
		return ERR_TEMP;
	fd = openat(c->d.fd, "copied", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return ERR_TEMP;
	if ((k = look_at_copy(fd)) == ERR_OK && (k = back_up(c->s, fd)) == ERR_OK &&
	    (k = append_octets(c->s, OPS_LARGE_OCTETS, "", false)) == ERR_OK && (k = back_up(c->s, fd)) == ERR_OK)
		k = look_at_copy(fd);
	close(fd);
	return k;
}

/* What needs the index rolls it forward, makes it, or recovers it first. */
static inline enum err_kind op_load(struct session *c)
{
	struct mailbox *mb;
	enum err_kind k = mailbox_open(c->s, STR("INBOX"), false, &mb, NULL);

	if (k != ERR_OK)
		return k;
	k = mailbox_load(mb, NULL);
	mailbox_close(&mb);
	return k;
}
static inline enum err_kind op_open(struct session *c)
{
	struct store_env env;
	enum err_kind k;

	store_env_init(&env);
	env.replay_max_octets = store_dir_replay_max;
	if (c->s == NULL && (k = store_open(c->d.fd, &env, &c->s, NULL)) != ERR_OK)
		return k;
	return op_load(c);
}
static inline enum err_kind op_close(struct session *c)
{
	mailbox_close(&c->mb);
	store_close(&c->s);
	return ERR_OK;
}

/* -- what other processes left behind -- */

/* NULL when there is none yet. */
static inline struct ctl_head *map_ctl(const struct dir *d)
{
	int fd = openat(d->fd, "ctl", O_RDWR | O_CLOEXEC);
	struct stat st;
	void *p = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= CTL_HEAD_OCTETS)
		p = mmap(NULL, CTL_HEAD_OCTETS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	return p != MAP_FAILED ? p : NULL;
}

static inline struct ctl_head *need_ctl(const struct dir *d)
{
	struct ctl_head *c = map_ctl(d);

	REQUIRE(c != NULL);
	return c;
}

static inline bool mark_set(const struct ctl_head *c)
{
	return c != NULL && (c->inside_journal || c->inside_engine);
}

static inline void unmap_ctl(struct ctl_head *c)
{
	if (c != NULL)
		munmap(c, CTL_HEAD_OCTETS);
}

/* Half a group behind the tail, and the mark of its writer. */
static inline void leave_torn(const struct dir *d)
{
	struct ctl_head *c = need_ctl(d);
	char name[40], half[700];
	int fd;

	snprintf(name, sizeof name, "journal/%08u.seg", c->tail.pos.seg);
	fd = openat(d->fd, name, O_WRONLY | O_CLOEXEC);
	memset(half, 'h', sizeof half);
	REQUIRE(fd >= 0 && pwrite(fd, half, sizeof half, c->tail.pos.off) == sizeof half);
	close(fd);
	c->inside_journal = 1;
	unmap_ctl(c);
}
static inline void leave_failed_sync(const struct dir *d)
{
	struct ctl_head *c = need_ctl(d);

	c->broken = 1;
	unmap_ctl(c);
}
static inline void leave_reboot(const struct dir *d)
{
	struct ctl_head *c = need_ctl(d);

	memcpy(c->boot_id, "another boot", 12);
	unmap_ctl(c);
}
static inline void leave_inside_engine(const struct dir *d)
{
	struct ctl_head *c = need_ctl(d);

	c->inside_engine = 1;
	unmap_ctl(c);
}
/* The next segment was begun by somebody who died before it was whole. */
static inline void leave_half_segment(const struct dir *d)
{
	struct ctl_head *c = need_ctl(d);
	char name[40];
	int fd;

	snprintf(name, sizeof name, "journal/%08u.seg", c->tail.pos.seg + 1);
	fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	REQUIRE(fd >= 0 && write(fd, "PENNYSEG", 8) == 8);
	close(fd);
	c->inside_journal = 1;
	unmap_ctl(c);
}

static inline void leave_no_index(const struct dir *d)
{
	REQUIRE(engine_destroy(d->fd, NULL) == ERR_OK);
}

/* -- stores to work on -- */

enum base { BASE_EMPTY, BASE_PLAIN, BASE_NO_INDEX, BASE_STALE, BASE_BIG, BASE_OLD, BASES };

static inline void fill_mailboxes(struct store *s)
{
	static const uint32_t one = 1;
	struct mailbox *mb;

	for (int i = 0; i < OPS_MESSAGES; i++) {
		char text[4200];

		memset(text, 'a' + i, sizeof text);
		memcpy(text, "S: t\r\n\r\n", 8);
		REQUIRE(put_message(s, MAILBOX_INBOX, str_n(text, 100 + 500 * (size_t)i), 0, STR("P: q\r\n")) != 0);
	}
	REQUIRE(store_create(s, STR("box/in"), NULL, NULL) == ERR_OK);		/* 2 and 3 */
	REQUIRE(store_create(s, STR(OPS_MINE), NULL, NULL) == ERR_OK);		/* 4 */
	REQUIRE(put_message(s, 4, STR("S: mine\r\n\r\nmine\r\n"), 0, STR("")) == one);
	REQUIRE(put_message(s, 3, STR("S: in\r\n\r\nin\r\n"), 0, STR("")) == one);
	REQUIRE(append_octets(s, OPS_LARGE_OCTETS, "$old", false) == ERR_OK);
	REQUIRE(append_octets(s, 700, "", false) == ERR_OK);
	mb = mailbox_at_name(s, "INBOX");
	REQUIRE(mailbox_expunge(mb, (uint32_t[]){ OPS_GONE_UID }, 1, false, NULL, NULL) == ERR_OK);
	REQUIRE(view_change(mb, STR("tablet"), &one, 1, true, NULL) == ERR_OK);
	mailbox_close(&mb);
	REQUIRE(attr_set(s, 1, &(struct attr){ ATTR_ACL, STR(""), STR("you"), STR("lr"), 0 }, 1, NULL) == ERR_OK);
}

static inline void flag_all(struct store *s, const char *keyword)
{
	struct str kw = str_of(keyword);
	struct flag_change ch = { FLAG_ADD, MSG_ANSWERED, &kw, 1, UINT64_MAX };
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	uint32_t *uids = calloc(mailbox_n(mb) + 1, sizeof *uids);

	REQUIRE(uids != NULL);
	for (size_t i = 0; i < mailbox_n(mb); i++)
		uids[i] = mailbox_at(mb, i)->uid;
	REQUIRE(mailbox_store_flags(mb, uids, mailbox_n(mb), &ch, NULL, NULL, NULL) == ERR_OK);
	free(uids);
	mailbox_close(&mb);
}

/* One message many times, by copies of copies. */
static inline void fill_big(struct store *s)
{
	uint32_t *uids = calloc(OPS_BIG_STEP, 3 * sizeof *uids), validity;
	size_t n;

	REQUIRE(uids != NULL);
	for (int have = OPS_MESSAGES + 1; have < OPS_BIG_MESSAGES;) {
		struct mailbox *mb = mailbox_at_name(s, "INBOX");
		size_t take = mailbox_n(mb) < OPS_BIG_STEP ? mailbox_n(mb) : OPS_BIG_STEP;

		for (size_t i = 0; i < take; i++)
			uids[i] = mailbox_at(mb, i)->uid;
		REQUIRE(mailbox_copy(mb, uids, take, 1, false, uids + OPS_BIG_STEP, uids + 2 * OPS_BIG_STEP,
		    &n, &validity, NULL) == ERR_OK && n == take);
		have = (int)mailbox_n(mb);
		mailbox_close(&mb);
	}
	free(uids);
}

/* Old segments of which most is dead; copies share octets, some messages are large, a view and keywords are in use. */
static inline void fill_old(struct store *s)
{
	uint32_t uids[OPS_OLD_MESSAGES], to[OPS_OLD_MESSAGES], from[OPS_OLD_MESSAGES], validity;
	struct mailbox *mb;
	size_t n = 0;

	for (uint32_t i = 0; i < OPS_OLD_MESSAGES; i++) {
		REQUIRE(append_octets(s, i % 60 == 7 ? OPS_LARGE_OCTETS : 300 + i * 37 % 3000, "", true) == ERR_OK);
		uids[i] = OPS_GONE_UID + 1 + i;
	}
	REQUIRE(store_sync(s, NULL) == ERR_OK);
	flag_all(s, "$many");
	mb = mailbox_at_name(s, "INBOX");
	REQUIRE(view_change(mb, STR("phone"), uids, OPS_OLD_MESSAGES / 2, true, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, uids, 9, 2, false, from, to, &n, &validity, NULL) == ERR_OK && n == 9);
	for (n = 0; n < OPS_OLD_MESSAGES; n++)
		uids[n] = OPS_GONE_UID + 1 + (uint32_t)n;
	REQUIRE(mailbox_expunge(mb, uids, OPS_OLD_MESSAGES - 12, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	while (s->ctl->tail.pos.seg < 8)
		REQUIRE(append_octets(s, 3000, "", false) == ERR_OK);
}

static inline struct dir base_make(enum base kind)
{
	struct dir d = dir_make();
	struct store *s;

	if (kind == BASE_EMPTY)
		return d;
	store_dir_replay_max = kind == BASE_NO_INDEX ? UINT32_MAX : 0;
	store_dir_segment = kind == BASE_OLD ? OPS_OLD_SEGMENT : 0;
	s = store_at(&d);
	fill_mailboxes(s);
	if (kind == BASE_BIG)
		fill_big(s);
	if (kind == BASE_OLD)
		fill_old(s);
	if (kind != BASE_NO_INDEX)
		(void)see(s);		/* the index is there */
	store_close(&s);
	if (kind == BASE_STALE) {	/* and then changes come that it has not seen */
		store_dir_replay_max = UINT32_MAX;
		s = store_at(&d);
		for (int i = 0; i < 20; i++)
			REQUIRE(append_octets(s, 900, "", true) == ERR_OK);
		REQUIRE(store_sync(s, NULL) == ERR_OK);
		REQUIRE(store_create(s, STR("late"), NULL, NULL) == ERR_OK);
		flag_all(s, "$late");
		store_close(&s);
	}
	store_dir_replay_max = 0;
	return d;
}

static inline void copy_one(const struct dir *from, const struct dir *to, const char *path, const struct stat *st)
{
	int in = openat(from->fd, path, O_RDONLY | O_CLOEXEC);
	int out = openat(to->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, st->st_mode & 07777);
	char *octets = malloc((size_t)st->st_size + 1);

	REQUIRE(in >= 0 && out >= 0 && octets != NULL);
	REQUIRE(read(in, octets, (size_t)st->st_size) == st->st_size);
	REQUIRE(write(out, octets, (size_t)st->st_size) == st->st_size);
	free(octets);
	close(in);
	close(out);
}

static inline void copy_tree(const struct dir *from, const struct dir *to, const char *sub)
{
	int fd = openat(from->fd, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *de;
	DIR *dir = fdopendir(fd);

	REQUIRE(fd >= 0 && dir != NULL);
	while ((de = readdir(dir)) != NULL) {
		char path[400];
		struct stat st;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", sub, de->d_name);
		REQUIRE(fstatat(from->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0);
		if (S_ISDIR(st.st_mode)) {
			REQUIRE(mkdirat(to->fd, path, 0700) == 0);
			copy_tree(from, to, path);
		} else {
			copy_one(from, to, path, &st);
		}
	}
	closedir(dir);
}

/* What does not ask what the disk does need not wait for it. */
static inline void work_in_memory(void)
{
	struct statvfs v;

	if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &v) == 0 &&
	    (uint64_t)v.f_bavail * v.f_frsize > OPS_MEMORY_MIN_OCTETS)
		setenv("TMPDIR", "/dev/shm", 1);
}

static inline struct dir base_copy(const struct dir *base)
{
	struct dir d = dir_make();

	copy_tree(base, &d, ".");
	return d;
}

struct op {
	const char *name;
	enum base base;
	enum err_kind (*run)(struct session *c);
	void (*leave)(const struct dir *d);	/* what a dead process has left, or NULL */
	bool opens;				/* begins with opening the store */
	bool closes;				/* what it leaves in the session is closed */
	bool slow;				/* takes many calls: not all of them by default */
	bool composite;				/* several that are acknowledged one by one */
};

static const struct op ops[] = {
	{ "make a store", BASE_EMPTY, op_open, NULL, true, false, true },
	{ "deliver", BASE_PLAIN, op_deliver, NULL, false, false, false },
	{ "deliver large", BASE_PLAIN, op_deliver_large, NULL, false, false, false },
	{ "deliver into a new segment", BASE_PLAIN, op_deliver_roll, NULL, false, false, false },
	{ "deliver to a stale index", BASE_STALE, op_deliver, NULL, false, false, false },
	{ "append with keyword", BASE_PLAIN, op_append_keyword, NULL, false, false, false },
	{ "create", BASE_PLAIN, op_create, NULL, false, false, false },
	{ "rename tree", BASE_PLAIN, op_rename, NULL, false, false, false },
	{ "rename INBOX", BASE_PLAIN, op_rename_inbox, NULL, false, false, false },
	{ "delete", BASE_PLAIN, op_delete, NULL, false, false, false },
	{ "subscribe", BASE_PLAIN, op_subscribe, NULL, false, false, false },
	{ "flags", BASE_PLAIN, op_flags, NULL, false, false, false },
	{ "expunge", BASE_PLAIN, op_expunge, NULL, false, false, false },
	{ "copy", BASE_PLAIN, op_copy, NULL, false, false, false },
	{ "move", BASE_PLAIN, op_move, NULL, false, false, false },
	{ "view", BASE_PLAIN, op_view, NULL, false, false, false },
	{ "take a view away", BASE_PLAIN, op_view_remove, NULL, false, false, false },
	{ "attributes", BASE_PLAIN, op_attributes, NULL, false, false, false },
	{ "quota", BASE_PLAIN, op_quota, NULL, false, false, false },
	{ "undelete", BASE_PLAIN, op_undelete, NULL, false, false, false },
	{ "back up, deliver, back up", BASE_PLAIN, op_backup, NULL, false, false, true, true },
	{ "compact", BASE_OLD, op_compact, NULL, false, false, true },
	{ "compact and keep", BASE_OLD, op_compact_kept, NULL, false, false, true },
	{ "rebuild", BASE_STALE, op_rebuild, NULL, false, false, true },
	{ "make the index", BASE_NO_INDEX, op_load, NULL, false, false, true },
	{ "roll the index forward", BASE_STALE, op_load, NULL, false, false, true },
	{ "recover a torn journal", BASE_PLAIN, op_open, leave_torn, true, false, true },
	{ "recover after a failed sync", BASE_PLAIN, op_open, leave_failed_sync, true, false, true },
	{ "recover after a reboot", BASE_STALE, op_open, leave_reboot, true, false, true },
	{ "recover the index", BASE_PLAIN, op_open, leave_inside_engine, true, false, true },
	{ "recover from half a segment", BASE_OLD, op_open, leave_half_segment, true, false, true },
	{ "checkpoint", BASE_BIG, op_load, leave_no_index, false, false, true },
	{ "close", BASE_PLAIN, op_close, NULL, false, true, true },
};

/* Opens what the operation needs open. */
static inline struct session session_open(const struct dir *d, const struct op *op)
{
	struct session c = { .d = *d, .box = 2 };

	store_dir_segment = op->base == BASE_OLD ? OPS_OLD_SEGMENT : 0;
	if (op->opens)
		return c;
	c.s = store_at(d);
	/* operations that are to find the index as it is do without */
	if (op->base == BASE_PLAIN)
		c.mb = mailbox_at_name(c.s, "INBOX");
	return c;
}

static inline void session_close(struct session *c)
{
	mailbox_close(&c->mb);
	store_close(&c->s);
}

#endif
