/* SPDX-License-Identifier: ISC */
/* A store is damaged in one place at a time, chosen or random: whole files, sectors, single bits, of the journal, the index,
 * the control file, large bodies. Each time: what the damage did not hit is served octet for octet, nothing wrong is ever
 * served, check says what it found, --repair ends with a clean check, a second repair does nothing, and what the journal
 * says afterwards is what was served. Prints TAP; DAMAGE_CASES says how many random cases, DAMAGE_SEED where to begin.
 * Length: the damages, and the model that says what each may cost, are one subject. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "../../libstore/store_int.h"
#include "../unit/store_dir.h"

enum {
	SEGMENT = 48 * 1024,
	MESSAGES = 120,
	SMALL_MESSAGES = 45,
	LARGE_EVERY = 40,
	LARGE_OCTETS = 300 * 1024,
	KNOWN_MAX = 1000,
	BOXES_MAX = 16,
	FILES_MAX = 200,
	RANDOM_CASES = 100,
	CASE_LIMIT_S = 60,
	SMALL_OCTETS = 512 * 1024,
	RETAIN_MS = 3600 * 1000,
	SECTOR = 512,
	PAGE = 4096,
};

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";
}

/* -- what the store held before -- */

struct known {
	uint32_t box, uid, flags, size, seg, off;
	uint64_t keywords, modseq, digest, large_id;
};

struct box {
	char name[64];
	uint32_t uidvalidity, uidnext;
	uint32_t n_keywords;
	uint64_t seen;			/* a digest of which UIDs the view has */
};

struct model {
	struct box box[BOXES_MAX];
	struct known known[KNOWN_MAX];
	size_t n_boxes, n_known;
	char failed[400];		/* what a case found first */
	uint32_t n_lost, n_found, n_left, n_again, n_repaired;
};

static struct model *model;		/* shared with the processes that run cases */
static struct model *big, *small;	/* of either template */

#define FAIL(...) \
	do { \
		if (model->failed[0] == '\0') \
			snprintf(model->failed, sizeof model->failed, __VA_ARGS__); \
		_exit(1); \
	} while (0)

static uint64_t digest_of(uint64_t h, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return h;
}

static uint64_t digest_text(const struct message_text *t)
{
	return digest_of(digest_of(digest_of(0xcbf29ce484222325u, t->prefix), t->body), t->record);
}

static uint64_t view_digest(struct mailbox *mb, const char *name)
{
	uint64_t h = 1;

	for (size_t i = 0; i < mailbox_n(mb); i++) {
		bool has = false;
		uint32_t uid = mailbox_at(mb, i)->uid;

		if (view_has(mb, str_of(name), &uid, 1, &has, NULL) == ERR_OK && has)
			h = (h ^ uid) * 0x100000001b3u;
	}
	return h;
}

/* -- making it -- */

static uint32_t n_written;

static void write_one(struct store *s, uint32_t box)
{
	static char text[LARGE_OCTETS];
	char head[200];
	uint32_t n = ++n_written;
	size_t octets = n % LARGE_EVERY == 0 ? sizeof text : 300 + n * 131 % 4000;
	int k = snprintf(head, sizeof head, "From: a@b.example\r\nSubject: number %u\r\n\r\n", n);

	for (size_t i = 0; i < octets; i++)
		text[i] = (char)('a' + (i * 7 + n * 13 + i / 97) % 26);
	memcpy(text, head, (size_t)k);
	if (put_message(s, box, str_n(text, octets), 0, STR("Return-Path: <x>\r\n")) == 0)
		FAIL("append");
}

static void change_some(struct store *s, const char *name, uint32_t from, uint32_t step)
{
	struct str kw[] = { STR_INIT("$One"), STR_INIT("$Two") };
	struct flag_change add = { FLAG_ADD, MSG_FLAGGED, kw, 2, UINT64_MAX };
	struct flag_change seen = { FLAG_ADD, MSG_SEEN, NULL, 0, UINT64_MAX };
	struct mailbox *mb = mailbox_at_name(s, name);
	uint32_t uids[KNOWN_MAX];
	size_t n = 0;

	for (size_t i = from; i < mailbox_n(mb); i += step)
		uids[n++] = mailbox_at(mb, i)->uid;
	if (mailbox_store_flags(mb, uids, n, &seen, NULL, NULL, NULL) != ERR_OK ||
	    mailbox_store_flags(mb, uids, n / 2, &add, NULL, NULL, NULL) != ERR_OK ||
	    view_change(mb, STR("phone"), uids, n, true, NULL) != ERR_OK ||
	    mailbox_expunge(mb, uids, n / 4, false, NULL, NULL) != ERR_OK)
		FAIL("changes");
	mailbox_close(&mb);
}

static void copy_some(struct store *s, const char *from, uint32_t to, bool move)
{
	struct mailbox *mb = mailbox_at_name(s, from);
	uint32_t uids[KNOWN_MAX], a[KNOWN_MAX], b[KNOWN_MAX], validity;
	size_t n = 0, done;

	for (size_t i = 3; i < mailbox_n(mb); i += 6)
		uids[n++] = mailbox_at(mb, i)->uid;
	if (mailbox_copy(mb, uids, n, to, move, a, b, &done, &validity, NULL) != ERR_OK)
		FAIL("copy");
	mailbox_close(&mb);
}

static void fill(struct store *s, uint32_t messages)
{
	uint32_t work, lists;

	if (store_create(s, STR("work"), &work, NULL) != ERR_OK ||
	    store_create(s, STR("lists/one"), &lists, NULL) != ERR_OK)
		FAIL("create");
	for (uint32_t i = 0; i < messages; i++) {
		write_one(s, i % 3 == 0 ? work : MAILBOX_INBOX);
		if (i == messages / 3)
			change_some(s, "INBOX", 1, 3);
		if (i == messages / 2)
			copy_some(s, "INBOX", lists, false);
		if (i == messages * 2 / 3) {
			copy_some(s, "work", lists, true);
			if (store_rename(s, STR("work"), STR("job"), NULL) != ERR_OK ||
			    store_subscribe(s, STR("job"), true, NULL) != ERR_OK)
				FAIL("rename");
		}
	}
	change_some(s, "lists/one", 0, 2);
	change_some(s, "INBOX", 2, 5);
}

static void learn_box(struct store *s, const struct mailbox_info *info)
{
	struct box *b = &model->box[model->n_boxes];
	struct mailbox *mb;

	snprintf(b->name, sizeof b->name, "%.*s", (int)info->name.n, info->name.p);
	b->uidvalidity = info->uidvalidity;
	b->uidnext = info->uidnext;
	mb = mailbox_at_name(s, b->name);
	b->n_keywords = (uint32_t)mailbox_n_keywords(mb);
	b->seen = view_digest(mb, "phone");
	for (size_t i = 0; i < mailbox_n(mb); i++) {
		const struct message *m = mailbox_at(mb, i);
		struct known *k = &model->known[model->n_known++];
		struct message_text t;
		struct rec_message r;
		struct journal_view v;
		struct str record, prefix, body;

		if (message_open(mb, m, &t, NULL) != ERR_OK ||
		    journal_read(s->journal, (struct journal_pos){ m->seg, m->off }, true, &v, NULL) != ERR_OK ||
		    !rec_get_message(v.payload, &r, &record, &prefix, &body))
			FAIL("can't read what was written");
		*k = (struct known){ (uint32_t)model->n_boxes, m->uid, m->flags & MSG_STORED_FLAGS, m->size_octets,
			m->seg, m->off, m->keywords, m->modseq, digest_text(&t), r.large_id };
		message_close(&t);
	}
	mailbox_close(&mb);
	model->n_boxes++;
}

static void learn(struct store *s)
{
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *list;
	size_t n;

	if (store_list(s, a, &list, &n, NULL) != ERR_OK)
		FAIL("list");
	for (size_t i = 0; i < n; i++) {
		if (!list[i].noselect && list[i].exists)
			learn_box(s, &list[i]);
	}
	arena_free(&a);
}

/* -- files -- */

static char copy_from[300], copy_to[300];

static int copy_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	char to[700];
	static char octets[1 << 16];
	int in, out;
	ssize_t n;

	(void)ftw;
	snprintf(to, sizeof to, "%s%s", copy_to, path + strlen(copy_from));
	if (flag == FTW_D)
		return mkdir(to, 0700) < 0 && errno != EEXIST;
	in = open(path, O_RDONLY);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	while (in >= 0 && out >= 0 && (n = read(in, octets, sizeof octets)) > 0) {
		if (write(out, octets, (size_t)n) != n)
			break;
	}
	if (out < 0 || ftruncate(out, st->st_size) < 0)
		return 1;
	close(in);
	close(out);
	return 0;
}

static void copy_store(const char *from, const char *to)
{
	snprintf(copy_from, sizeof copy_from, "%s", from);
	snprintf(copy_to, sizeof copy_to, "%s", to);
	REQUIRE(nftw(from, copy_one, 16, FTW_PHYS) == 0);
}

struct files {
	char name[FILES_MAX][64];
	off_t octets[FILES_MAX];
	size_t n;
};

static struct files found_files;
static size_t base_octets;

static int list_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)ftw;
	if (flag == FTW_F && st->st_size > 0 && found_files.n < FILES_MAX) {
		snprintf(found_files.name[found_files.n], sizeof found_files.name[0], "%s", path + base_octets + 1);
		found_files.octets[found_files.n++] = st->st_size;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Names below the store that begin so, sorted; sizes are not kept in order. */
static size_t names_of(const char *store, const char *prefix, struct files *out)
{
	memset(&found_files, 0, sizeof found_files);
	base_octets = strlen(store);
	REQUIRE(nftw(store, list_one, 16, FTW_PHYS) == 0);
	out->n = 0;
	for (size_t i = 0; i < found_files.n; i++) {
		if (strncmp(found_files.name[i], prefix, strlen(prefix)) == 0)
			memcpy(out->name[out->n++], found_files.name[i], sizeof out->name[0]);
	}
	qsort(out->name, out->n, sizeof out->name[0], by_name);
	return out->n;
}

/* -- damage -- */

enum how { FLIP, GARBAGE, ZEROS, CUT, REMOVE, EMPTY };

static const char *const how_names[] = { "flip", "garbage", "zeros", "cut", "remove", "empty" };

struct damage {
	char file[64];
	enum how how;
	off_t at;
	size_t octets;			/* of GARBAGE and ZEROS; the bit of FLIP */
	bool rebooted;			/* the control file is of an earlier boot */
	bool open;			/* the store was in use: region files are there */
	bool small;			/* one segment, no index */
	bool no_ctl;			/* and the control file is gone as well */
};

static void apply(const struct dir *d, const struct damage *x)
{
	char octets[PAGE * 2] = { 0 };
	int fd;

	if (x->how == REMOVE) {
		REQUIRE(unlinkat(d->fd, x->file, 0) == 0);
		return;
	}
	fd = openat(d->fd, x->file, O_RDWR);
	REQUIRE(fd >= 0);
	if (x->how == CUT || x->how == EMPTY) {
		REQUIRE(ftruncate(fd, x->how == EMPTY ? 0 : x->at) == 0);
	} else if (x->how == FLIP) {
		REQUIRE(pread(fd, octets, 1, x->at) == 1);
		octets[0] = (char)(octets[0] ^ 1 << x->octets % 8);
		REQUIRE(pwrite(fd, octets, 1, x->at) == 1);
	} else {
		for (size_t i = 0; x->how == GARBAGE && i < x->octets; i++)
			octets[i] = (char)(i * 2654435761u >> 7 ^ (size_t)x->at);
		REQUIRE(pwrite(fd, octets, x->octets, x->at) == (ssize_t)x->octets);
	}
	close(fd);
}

/* Did it hit the octets of this message? Where a group was hit, all of it is lost: the caller says how far it reaches. */
static bool may_be_lost(const struct damage *x, const struct known *k, uint32_t from, uint32_t to)
{
	char name[40];
	unsigned seg = 0;

	if (strncmp(x->file, "large/", 6) == 0) {
		large_name(name, k->large_id);
		return k->large_id != 0 && strcmp(name, x->file) == 0;
	}
	return sscanf(x->file, "journal/%u.seg", &seg) == 1 && seg == k->seg && k->off < to && k->off + 1 > from;
}

/* -- looking -- */

static const struct known *known_of(size_t box, uint32_t uid)
{
	for (size_t i = 0; i < model->n_known; i++) {
		if (model->known[i].box == box && model->known[i].uid == uid)
			return &model->known[i];
	}
	return NULL;
}

struct look {
	const struct damage *x;
	uint32_t from, to;		/* the part of the segment that is lost */
	const char *when;
	uint32_t n_lost;
};

static void look_at_message(struct look *l, struct mailbox *mb, const struct box *b, const struct known *k)
{
	size_t ix = mailbox_lower_bound(mb, k->uid);
	const struct message *m = ix < mailbox_n(mb) ? mailbox_at(mb, ix) : NULL;
	struct message_text t;
	struct err e = { .text = "" };

	if (m == NULL || m->uid != k->uid) {
		if (!may_be_lost(l->x, k, l->from, l->to))
			FAIL("%s: UID %u of %s is missing", l->when, k->uid, b->name);
		l->n_lost++;
		return;
	}
	if ((m->flags & MSG_STORED_FLAGS) != k->flags || m->keywords != k->keywords || m->modseq != k->modseq)
		FAIL("%s: UID %u of %s has other flags", l->when, k->uid, b->name);
	if (message_open(mb, m, &t, &e) != ERR_OK) {
		if (!may_be_lost(l->x, k, l->from, l->to))
			FAIL("%s: UID %u of %s: %s", l->when, k->uid, b->name, e.text);
		l->n_lost++;
		return;
	}
	if (digest_text(&t) != k->digest)
		FAIL("%s: UID %u of %s has other octets", l->when, k->uid, b->name);
	message_close(&t);
}

static void look_at_box(struct look *l, struct store *s, size_t i)
{
	const struct box *b = &model->box[i];
	struct mailbox *mb = NULL;
	struct mailbox_info info;
	struct err e = { .text = "" };

	if (mailbox_open(s, str_of(b->name), false, &mb, &e) != ERR_OK || mailbox_load(mb, &e) != ERR_OK)
		FAIL("%s: %s can't be opened: %s", l->when, b->name, e.text);
	mailbox_counters(mb, &info);
	if (info.uidvalidity != b->uidvalidity)
		FAIL("%s: UIDVALIDITY of %s", l->when, b->name);
	if (info.uidnext < b->uidnext)
		FAIL("%s: UIDNEXT of %s fell from %u to %u", l->when, b->name, b->uidnext, info.uidnext);
	if (mailbox_n_keywords(mb) != b->n_keywords)
		FAIL("%s: keywords of %s", l->when, b->name);
	for (size_t k = 0; k < model->n_known; k++) {
		if (model->known[k].box == i)
			look_at_message(l, mb, b, &model->known[k]);
	}
	for (size_t k = 0; k < mailbox_n(mb); k++) {
		if (known_of(i, mailbox_at(mb, k)->uid) == NULL)
			FAIL("%s: %s has a UID %u that it had not", l->when, b->name, mailbox_at(mb, k)->uid);
	}
	if (l->n_lost == 0 && view_digest(mb, "phone") != b->seen)
		FAIL("%s: the view of %s", l->when, b->name);
	mailbox_close(&mb);
}

static uint32_t look_at_all(struct store *s, const struct damage *x, uint32_t from, uint32_t to, const char *when)
{
	struct look l = { x, from, to, when, 0 };

	for (size_t i = 0; i < model->n_boxes; i++)
		look_at_box(&l, s, i);
	return l.n_lost;
}

/* -- one case -- */

static bool without_index;

static struct store *open_rebooted(const struct dir *d, bool rebooted)
{
	struct store_env env;
	struct store *s = NULL;
	struct err e = { .text = "" };

	store_env_init(&env);
	env.replay_max_octets = without_index ? SMALL_OCTETS : 0;
	env.segment_octets = without_index ? SMALL_OCTETS * 2 : SEGMENT;
	env.conf.retain_ms = RETAIN_MS;
	env.conf.retain_octets = UINT64_MAX;
	if (rebooted)
		snprintf(env.boot_id, sizeof env.boot_id, "another boot");
	if (store_open(d->fd, &env, &s, &e) != ERR_OK)
		FAIL("store_open: %s", e.text);
	return s;
}

static bool verbose;

static void print_line(void *ctx, const char *line)
{
	(void)ctx;
	if (verbose)
		fprintf(stderr, "#   %s\n", line);
}

static uint64_t check_now(struct store *s, const char *when)
{
	struct err e = { .text = "" };
	uint64_t n = 0;

	if (store_check(s, print_line, NULL, &n, &e) != ERR_OK)
		FAIL("%s: check: %s", when, e.text);
	return n;
}

static void run_case(const struct dir *d, const struct damage *x, uint32_t from, uint32_t to)
{
	struct store *s;
	struct store_repair_result r;
	struct err e = { .text = "" };
	uint32_t lost, uid;
	char cmd[600];

	alarm(CASE_LIMIT_S);
	s = open_rebooted(d, x->rebooted);
	lost = look_at_all(s, x, from, to, "damaged");
	model->n_found = (uint32_t)check_now(s, "damaged");
	if (lost > 0 && model->n_found == 0)
		FAIL("check found nothing, but %u messages are lost", lost);
	if (store_repair(s, print_line, NULL, &r, &e) != ERR_OK)
		FAIL("repair: %s", e.text);
	model->n_repaired = (uint32_t)r.n_repaired;
	if (r.n_left > 0)
		FAIL("repair left %u findings", (unsigned)r.n_left);
	if (look_at_all(s, x, from, to, "repaired") != lost)
		FAIL("more was lost by the repair");
	if (check_now(s, "repaired") != 0)
		FAIL("check finds something after the repair");
	if (store_repair(s, print_line, NULL, &r, &e) != ERR_OK || r.n_repaired != 0)
		FAIL("a second repair does something: %s", e.text);
	write_one(s, MAILBOX_INBOX);
	store_close(&s);
	snprintf(cmd, sizeof cmd, "rm -rf %s/index %s/ctl", d->path, d->path);
	if (system(cmd) != 0)
		FAIL("rm");
	s = open_rebooted(d, x->rebooted);
	uid = model->box[0].uidnext;
	model->known[model->n_known++] = (struct known){ .box = UINT32_MAX };
	(void)uid;
	if (check_now(s, "from the journal") != 0)
		FAIL("check finds something in what the journal says");
	store_close(&s);
	_exit(0);
}

/* The part of a segment that a damage costs: the groups it touches. */
static void part_lost(const char *template, const struct damage *x, uint32_t *from, uint32_t *to)
{
	unsigned seg = 0;
	struct journal *j;
	struct journal_view v;
	int fd = open(template, O_RDONLY | O_DIRECTORY);
	off_t end = x->how == FLIP ? x->at + 1 : x->at + (off_t)x->octets;
	uint32_t at = sizeof(struct seg_header), group = at;

	*from = UINT32_MAX;
	*to = 0;
	if (sscanf(x->file, "journal/%u.seg", &seg) != 1) {
		close(fd);
		return;
	}
	if (x->how == REMOVE || x->how == EMPTY) {
		*from = 0;
		*to = UINT32_MAX;
		close(fd);
		return;
	}
	if (x->how == CUT)
		end = INT64_MAX;
	j = journal_new(fd);
	while (journal_read(j, (struct journal_pos){ seg, at }, true, &v, NULL) == ERR_OK && v.pos.seg == seg) {
		if (v.h.flags & REC_BEGIN)
			group = at;
		if ((off_t)v.next.off > x->at && (off_t)at < end) {
			*from = group < *from ? group : *from;
			*to = v.next.off;
		}
		at = v.next.off;
		if (*to == at && (v.h.flags & REC_MORE))
			end = end > at + 1 ? end : at + 1;
	}
	journal_free(&j);
	close(fd);
}

static char closed_path[300], open_path[300], small_path[300];

static bool try_case(const struct damage *x, const char *what)
{
	struct dir d = dir_make();
	const char *template = x->small ? small_path : x->open ? open_path : closed_path;
	size_t n_known;
	uint32_t from, to;
	int status = -1;
	bool ok;
	pid_t pid;

	model = x->small ? small : big;
	n_known = model->n_known;
	without_index = x->small;
	copy_store(template, d.path);
	apply(&d, x);
	if (x->no_ctl)
		REQUIRE(unlinkat(d.fd, "ctl", 0) == 0);
	part_lost(template, x, &from, &to);
	model->failed[0] = '\0';
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		run_case(&d, x, from, to);
	ok = waitpid(pid, &status, 0) == pid && status == 0;
	model->n_known = n_known;
	if (!ok) {
		printf("# %s: %s %s at %lld, %zu%s%s: %s (status %x)\n", what, how_names[x->how], x->file, (long long)x->at,
		    x->octets, x->rebooted ? ", rebooted" : "", x->small ? ", small" : x->open ? ", open" : "",
		    model->failed[0] != '\0' ? model->failed : "died", (unsigned)status);
		if (getenv("DAMAGE_KEEP") != NULL)
			printf("# kept: %s\n", d.path);
	}
	if (ok || getenv("DAMAGE_KEEP") == NULL)
		dir_remove(&d);
	return ok;
}

/* -- the cases -- */

static uint64_t rng;

static uint32_t below(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 16) % n;
}

/* Each way, in a store that is closed or open, before and after a reboot. */
static void every_way(struct damage x, const char *what)
{
	for (int i = 0; i < 4; i++) {
		x.open = i & 1;
		x.rebooted = i & 2;
		CHECK(try_case(&x, what));
	}
}

static off_t size_in(const char *store, const char *file)
{
	char path[400];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", store, file);
	return stat(path, &st) == 0 ? st.st_size : 0;
}

static off_t size_of(const char *file)
{
	return size_in(closed_path, file);
}

/* Where the n-th record of a segment lies, or the last one for UINT32_MAX. */
static off_t place_of(const char *file, uint32_t n)
{
	int fd = open(closed_path, O_RDONLY | O_DIRECTORY);
	struct journal *j = journal_new(fd);
	struct journal_pos at = { (uint32_t)atoi(file + 8), sizeof(struct seg_header) };
	struct journal_view v;
	off_t off = at.off;

	while (n-- > 0 && journal_read(j, at, true, &v, NULL) == ERR_OK && v.pos.seg == at.seg) {
		off = at.off;
		at = v.next;
	}
	journal_free(&j);
	close(fd);
	return off;
}

static void journal_cases(void)
{
	struct files f;
	size_t n = names_of(closed_path, "journal/", &f), at[] = { 0, n / 2, n - 1 };

	REQUIRE(n > 4);
	for (int i = 0; i < 3; i++) {
		struct damage x = { .octets = 3 };
		char *file = f.name[at[i]];

		snprintf(x.file, sizeof x.file, "%s", file);
		x.at = place_of(file, 4) + 200;
		every_way(x, "a record in the middle of a segment");
		x.at = sizeof(struct seg_header) + 20;
		every_way(x, "a segment's snapshot");
		x.at = place_of(file, UINT32_MAX) + 4;
		every_way(x, "a segment's last record");
		x.at = 25;
		every_way(x, "a segment's salt");
		x.at = 12;
		every_way(x, "a segment's number");
		x.how = ZEROS;
		x.at = 0;
		x.octets = SECTOR;
		every_way(x, "a segment's first sector");
		x.how = GARBAGE;
		x.at = size_of(file) / 3;
		x.octets = PAGE;
		every_way(x, "a page of a segment");
		x.how = CUT;
		x.at = size_of(file) / 2;
		every_way(x, "half a segment");
		x.how = REMOVE;
		every_way(x, "a lost segment");
		x.how = EMPTY;
		every_way(x, "an empty segment");
	}
}

static void large_cases(void)
{
	struct files f;
	struct damage x = { .at = 1000, .octets = 100 };

	REQUIRE(names_of(closed_path, "large/", &f) >= 2);
	snprintf(x.file, sizeof x.file, "%s", f.name[1]);
	for (enum how how = FLIP; how <= EMPTY; how++) {
		x.how = how;
		every_way(x, "a large body");
	}
}

/* A store of one segment, without an index: nobody else knows names and numbers. */
static void small_cases(void)
{
	static const struct damage how[] = {
		{ .how = FLIP, .at = sizeof(struct seg_header) + 40, .octets = 1 },	/* the only snapshot */
		{ .how = FLIP, .at = 30, .octets = 1 },
		{ .how = ZEROS, .at = 0, .octets = sizeof(struct seg_header) + 100 },
		{ .how = GARBAGE, .at = 0, .octets = sizeof(struct seg_header) },
	};

	for (size_t i = 0; i < COUNTOF(how) * 3; i++) {
		struct damage x = how[i / 3];

		snprintf(x.file, sizeof x.file, "journal/00000001.seg");
		x.small = true;
		x.rebooted = i % 3 == 1;
		x.no_ctl = i % 3 == 2 && x.how == FLIP;		/* INBOX's UIDVALIDITY is told by the header */
		CHECK(try_case(&x, "a small store"));
	}
}

/* Whatever files the engine has, and the control file, each in every way. */
static void derived_cases(const char *store, const char *prefix, bool is_open)
{
	struct files f;

	names_of(store, prefix, &f);
	for (size_t i = 0; i < f.n; i++) {
		struct damage x = { .octets = SECTOR, .open = is_open };

		snprintf(x.file, sizeof x.file, "%s", f.name[i]);
		x.at = size_in(store, x.file) / 2;
		for (enum how how = FLIP; how <= EMPTY; how++) {
			x.how = how;
			x.rebooted = how % 2 != 0;
			CHECK(try_case(&x, "index and control file"));
			x.rebooted = !x.rebooted;
			CHECK(try_case(&x, "index and control file"));
		}
	}
}

static void random_case(uint64_t seed)
{
	static const char *const classes[] = { "journal/", "journal/", "index/", "ctl", "large/" };
	struct files f;
	struct damage x = { .how = FLIP };
	char path[400];
	struct stat st;

	rng = seed * 0x9e3779b97f4a7c15u + 1;
	x.open = below(2) != 0;
	x.rebooted = below(2) != 0;
	if (names_of(x.open ? open_path : closed_path, classes[below(COUNTOF(classes))], &f) == 0)
		return;
	snprintf(x.file, sizeof x.file, "%s", f.name[below((uint32_t)f.n)]);
	snprintf(path, sizeof path, "%s/%s", x.open ? open_path : closed_path, x.file);
	REQUIRE(stat(path, &st) == 0);
	x.at = below((uint32_t)st.st_size);
	x.octets = below(8);
	if (below(4) == 0) {
		x.how = below(2) ? GARBAGE : ZEROS;
		x.octets = 1 + below(PAGE);
		if (x.at + (off_t)x.octets > st.st_size)
			x.octets = (size_t)(st.st_size - x.at);
	}
	snprintf(path, sizeof path, "seed %llu", (unsigned long long)seed);
	CHECK(try_case(&x, path));
}

static void remove_tree(const char *path)
{
	nftw(path, dir_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_template(struct dir *d, bool is_small)
{
	pid_t pid = fork();
	int status = -1;

	model = is_small ? small : big;
	without_index = is_small;
	if (pid == 0) {
		struct store *s;

		tap_helper = true;
		s = open_rebooted(d, false);
		fill(s, is_small ? SMALL_MESSAGES : MESSAGES);
		learn(s);
		if (!is_small)
			copy_store(closed_path, open_path);
		store_close(&s);
		_exit(0);
	}
	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	close(d->fd);
}

/* A store as it is when nobody uses it, as it is while somebody does, and a small one. */
static void make_templates(void)
{
	struct dir d = dir_make(), e = dir_make(), f = dir_make();

	snprintf(closed_path, sizeof closed_path, "%s", d.path);
	snprintf(open_path, sizeof open_path, "%s", e.path);
	snprintf(small_path, sizeof small_path, "%s", f.path);
	make_template(&d, false);
	make_template(&f, true);
	close(e.fd);
}

int main(void)
{
	const char *cases = getenv("DAMAGE_CASES"), *seed = getenv("DAMAGE_SEED");
	uint32_t n = cases != NULL ? (uint32_t)atoi(cases) : RANDOM_CASES;
	uint64_t from = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 1000;

	verbose = getenv("DAMAGE_VERBOSE") != NULL;
	if (access("/dev/shm", W_OK) == 0)	/* nothing here is about syncs, of which there are many */
		setenv("TMPDIR", "/dev/shm", 0);
	big = mmap(NULL, 2 * sizeof *big, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(big != MAP_FAILED);
	small = big + 1;
	make_templates();
	if (seed == NULL) {
		small_cases();
		journal_cases();
		large_cases();
		derived_cases(closed_path, "index/", false);
		derived_cases(open_path, "index/", true);
		derived_cases(open_path, "ctl", true);
	}
	printf("# seed %llu\n", (unsigned long long)from);
	for (uint32_t i = 0; i < n; i++)
		random_case(from + i);
	remove_tree(closed_path);
	remove_tree(open_path);
	remove_tree(small_path);
	return tap_done();
}
