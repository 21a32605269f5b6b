/* SPDX-License-Identifier: ISC */
/* Power cuts: a store is driven through a script of operations while its state is noted after each. Then, for cuts at
 * every record boundary and inside records, a copy of the store is made whose journal ends there (cut off, filled with
 * zeros, or with octets of an earlier life behind it), whose control file is of another boot, and whose index is gone,
 * stale, torn, or ahead of the journal. Opened again, the store must be exactly what the last whole operation left, and
 * must take new mail.
 *
 * Prints TAP. Takes an optional seed for the octets cut inside records; the seed is printed. */
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include "../../libstore/journal.h"
#include "../unit/store_dir.h"

enum { OPS_MAX = 64, MSGS_MAX = 256, BOXES_MAX = 16, INSIDE_CUTS = 3 };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

struct box_state {
	char name[64];
	uint32_t uidvalidity, uidnext, n;
	uint64_t modseq;
	struct { uint32_t uid, flags, size; uint64_t keywords, modseq; } m[MSGS_MAX];
};

struct snapshot {
	size_t n;
	struct box_state box[BOXES_MAX];
};

struct step {
	struct journal_pos tail;
	struct snapshot *s;
};

struct script {
	struct dir d;
	struct step step[OPS_MAX];
	size_t n;
};

/* -- state -- */

static void note_box(struct store *s, const struct mailbox_info *i, struct box_state *b)
{
	struct mailbox *mb = NULL;
	struct err e = { .text = "" };

	snprintf(b->name, sizeof b->name, "%.*s", STR_FMT(i->name));
	b->uidvalidity = i->uidvalidity;
	b->uidnext = i->uidnext;
	b->modseq = i->modseq;
	if (!i->exists || mailbox_open(s, i->name, false, &mb, NULL) != ERR_OK)
		return;
	if (mailbox_load(mb, &e) != ERR_OK)
		printf("# load %s: %s\n", b->name, e.text);
	b->n = (uint32_t)mailbox_n(mb);
	REQUIRE(b->n <= MSGS_MAX && b->n == i->n_messages);
	for (uint32_t k = 0; k < b->n; k++) {
		const struct message *m = mailbox_at(mb, k);
		struct message_text t;

		b->m[k].uid = m->uid;
		b->m[k].flags = m->flags & MSG_STORED_FLAGS;
		b->m[k].size = m->size_octets;
		b->m[k].keywords = m->keywords;
		b->m[k].modseq = m->modseq;
		if (message_open(mb, m, &t, NULL) != ERR_OK)
			b->m[k].size = 0;	/* will not compare equal */
		else
			message_close(&t);
	}
	mailbox_close(&mb);
}

static struct snapshot *note(struct store *s)
{
	struct snapshot *snap = calloc(1, sizeof *snap);
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *list;

	REQUIRE(snap != NULL && store_list(s, a, &list, &snap->n, NULL) == ERR_OK);
	REQUIRE(snap->n <= BOXES_MAX);
	for (size_t i = 0; i < snap->n; i++)
		note_box(s, &list[i], &snap->box[i]);
	arena_free(&a);
	return snap;
}

/* -- the script -- */

/* The end of the journal, found as recovery finds it. */
static struct journal_pos journal_end(const struct dir *d)
{
	struct journal *j = journal_new(d->fd);
	struct journal_scan scan;
	uint32_t first, last;

	REQUIRE(journal_range(j, &first, &last, NULL) == ERR_OK);
	REQUIRE(journal_scan(j, last, NULL, NULL, &scan, NULL) == ERR_OK);
	journal_free(&j);
	return scan.end;
}

static void done(struct script *sc, struct store *s)
{
	REQUIRE(sc->n < OPS_MAX);
	sc->step[sc->n].tail = journal_end(&sc->d);
	sc->step[sc->n].s = note(s);
	sc->n++;
}

static void append_one(struct script *sc, struct store *s, uint32_t id, size_t octets)
{
	char *text = malloc(octets);

	memset(text, 'a' + (int)(sc->n % 26), octets);
	memcpy(text, "Subject: x\r\n\r\n", 14);
	REQUIRE(put_message(s, id, str_n(text, octets), 0, STR("Delivered-To: a\r\n")) != 0);
	free(text);
	done(sc, s);
}

static void change_flags(struct script *sc, struct store *s, const uint32_t *uids, size_t n, enum flag_op op,
    uint32_t flags, const char *keyword)
{
	struct str kw = str_of(keyword);
	struct flag_change ch = { op, flags, &kw, kw.n > 0, UINT64_MAX };
	struct mailbox *mb = mailbox_at_name(s, "INBOX");

	REQUIRE(mailbox_store_flags(mb, uids, n, &ch, NULL, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	done(sc, s);
}

static void copy_some(struct script *sc, struct store *s, uint32_t dst, bool move)
{
	uint32_t uids[] = { 1, 2, 3, 4 }, from[4], to[4], validity;
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	size_t n;

	REQUIRE(mailbox_copy(mb, uids + (move ? 1 : 0), 2, dst, move, from, to, &n, &validity, NULL) ==
	    ERR_OK);
	mailbox_close(&mb);
	done(sc, s);
}

static void run_script(struct script *sc)
{
	struct store *s = store_at(&sc->d);
	uint32_t work, uids[] = { 1, 2, 4, 5 };
	struct mailbox *mb;

	done(sc, s);
	for (int i = 0; i < 5; i++)
		append_one(sc, s, 1, 100 + (size_t)i * 777);
	REQUIRE(store_create(s, STR("work/now"), &work, NULL) == ERR_OK);
	done(sc, s);
	change_flags(sc, s, uids, 2, FLAG_ADD, MSG_SEEN, "");
	change_flags(sc, s, uids, 4, FLAG_SET, MSG_FLAGGED, "$Junk");
	copy_some(sc, s, work, false);
	append_one(sc, s, 1, 300 * 1024);		/* a body of its own file */
	copy_some(sc, s, work, true);
	mb = mailbox_at_name(s, "INBOX");
	REQUIRE(mailbox_expunge(mb, uids, 4, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	done(sc, s);
	REQUIRE(store_rename(s, STR("work"), STR("done"), NULL) == ERR_OK);
	done(sc, s);
	REQUIRE(store_subscribe(s, STR("done/now"), true, NULL) == ERR_OK);
	done(sc, s);
	append_one(sc, s, work, 5000);
	REQUIRE(store_rename(s, STR("INBOX"), STR("old"), NULL) == ERR_OK);
	done(sc, s);
	REQUIRE(store_delete(s, STR("done"), NULL) == ERR_OK);
	done(sc, s);
	REQUIRE(store_delete(s, STR("done/now"), NULL) == ERR_OK);
	done(sc, s);
	store_close(&s);
}

/* -- cuts -- */

enum tail_kind { TAIL_CUT, TAIL_ZEROS, TAIL_GARBAGE, TAIL_KINDS };
enum index_kind { INDEX_GONE, INDEX_STALE, INDEX_AHEAD, INDEX_TORN, INDEX_KINDS };

static void PRINTF_LIKE(1, 2) shell(const char *fmt, ...)
{
	char cmd[1200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	REQUIRE(system(cmd) == 0);
}

static void spoil_tail(const struct dir *d, struct journal_pos cut, enum tail_kind kind)
{
	char name[320], garbage[512];
	struct stat st;
	int fd;

	snprintf(name, sizeof name, "%s/journal/%08u.seg", d->path, cut.seg);
	fd = open(name, O_RDWR);
	REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
	REQUIRE(ftruncate(fd, cut.off) == 0);
	if (kind == TAIL_ZEROS)
		REQUIRE(ftruncate(fd, st.st_size) == 0);
	if (kind == TAIL_GARBAGE) {
		for (size_t i = 0; i < sizeof garbage; i++)
			garbage[i] = (char)rand();
		REQUIRE(pwrite(fd, garbage, sizeof garbage, cut.off) == sizeof garbage);
	}
	close(fd);
}

static void spoil_index(const struct dir *d, const struct dir *stale, enum index_kind kind)
{
	char name[320], junk[3000];
	int fd;

	if (kind == INDEX_GONE || kind == INDEX_STALE)
		shell("rm -rf %s/index", d->path);
	if (kind == INDEX_STALE)
		shell("cp -a %s/index %s/index", stale->path, d->path);
	if (kind == INDEX_TORN) {
		snprintf(name, sizeof name, "%s/index/index.db", d->path);
		fd = open(name, O_RDWR);
		REQUIRE(fd >= 0);
		memset(junk, 0x5a, sizeof junk);
		REQUIRE(pwrite(fd, junk, sizeof junk, 16384 + 1000) == sizeof junk);
		close(fd);
		shell("rm -f %s/index/__db.*", d->path);
	}
}

/* Another boot: the control file is not believed. Region files do not survive a power cut in a state to be believed,
 * either, which the store learns from the same fact. */
static void forget_boot(const struct dir *d)
{
	char name[320], other[40] = "another boot";
	int fd;

	snprintf(name, sizeof name, "%s/ctl", d->path);
	fd = open(name, O_RDWR);
	REQUIRE(fd >= 0 && pwrite(fd, other, sizeof other, 16) == sizeof other);
	close(fd);
}

static const struct snapshot *expected(const struct script *sc, struct journal_pos cut)
{
	const struct snapshot *best = NULL;

	for (size_t i = 0; i < sc->n; i++) {
		if (sc->step[i].tail.off <= cut.off)
			best = sc->step[i].s;
	}
	return best;
}

static bool same(const struct snapshot *a, const struct snapshot *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (memcmp(&a->box[i], &b->box[i], sizeof a->box[i]) != 0) {
			printf("# %s: n %u/%u uidnext %u/%u modseq %llu/%llu\n", a->box[i].name,
			    a->box[i].n, b->box[i].n, a->box[i].uidnext, b->box[i].uidnext,
			    (unsigned long long)a->box[i].modseq,
			    (unsigned long long)b->box[i].modseq);
			return false;
		}
	}
	return true;
}

static uint32_t inbox_id(struct store *s)
{
	struct arena *a = arena_new(4096);
	struct mailbox_info i = { .id = 0 };

	REQUIRE(store_find(s, a, STR("INBOX"), &i, NULL) == ERR_OK);
	arena_free(&a);
	return i.id;
}

static bool survives(const struct script *sc, const struct dir *stale, struct journal_pos cut,
    enum tail_kind tail, enum index_kind index)
{
	struct dir d = dir_make();
	struct snapshot *got;
	struct store *s;
	uint64_t n_bad = 1;
	bool ok;

	shell("cp -a %s/. %s", sc->d.path, d.path);
	spoil_tail(&d, cut, tail);
	spoil_index(&d, stale, index);
	forget_boot(&d);
	s = store_at(&d);
	got = note(s);
	ok = same(got, expected(sc, cut));
	ok = ok && put_message(s, inbox_id(s), STR("A: b\r\n\r\nnew\r\n"), 0, STR("")) != 0;
	ok = ok && store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0;
	store_close(&s);
	free(got);
	dir_remove(&d);
	return ok;
}

/* A place inside the record where something is really lost: zeros at its end would be written again as zeros. */
static uint32_t inside_cut(const struct journal_view *v)
{
	uint32_t end = v->h.octets;

	while (end > sizeof v->h && v->payload.p[end - sizeof v->h - 1] == '\0')
		end--;
	return 1 + (uint32_t)rand() % (end - 1);
}

static void cut_everywhere(const struct script *sc, const struct dir *stale)
{
	uint32_t from = sc->step[0].tail.off;
	struct journal *j = journal_new(sc->d.fd);
	struct journal_pos at = { sc->step[0].tail.seg, from };
	uint32_t end = sc->step[sc->n - 1].tail.off;
	int n = 0;

	while (at.off <= end) {
		struct journal_view v;
		uint32_t inside = 0;

		if (at.off < end) {
			REQUIRE(journal_read(j, at, true, &v, NULL) == ERR_OK);
			inside = v.h.octets;
		}
		for (int i = 0; i < (inside > 0 ? 1 + INSIDE_CUTS : 1); i++, n++) {
			struct journal_pos cut = { at.seg, at.off +
				(i == 0 ? 0 : inside_cut(&v)) };
			enum tail_kind tail = n % TAIL_KINDS;
			enum index_kind index = n / TAIL_KINDS % INDEX_KINDS;
			bool ok = survives(sc, stale, cut, tail, index);

			if (!ok)
				printf("# cut at %u, tail kind %d, index kind %d\n", cut.off, tail, index);
			CHECK_AT(ok, cut.off);
		}
		at.off += inside > 0 ? inside : 1;
	}
	journal_free(&j);
}

int main(int argc, char **argv)
{
	unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);
	struct script sc = { .d = dir_make() };
	struct dir stale = dir_make();

	printf("# seed %u\n", seed);
	srand(seed);
	run_script(&sc);
	/* an index from early in the store's life */
	{
		struct script early = { .d = dir_make() };
		struct store *s;

		shell("cp -a %s/. %s", sc.d.path, early.d.path);
		spoil_tail(&early.d, sc.step[4].tail, TAIL_CUT);
		spoil_index(&early.d, NULL, INDEX_GONE);
		forget_boot(&early.d);
		s = store_at(&early.d);
		free(note(s));
		store_close(&s);
		shell("cp -a %s/index %s/index", early.d.path, stale.path);
		dir_remove(&early.d);
	}
	cut_everywhere(&sc, &stale);
	for (size_t i = 0; i < sc.n; i++)
		free(sc.step[i].s);
	dir_remove(&sc.d);
	dir_remove(&stale);
	return tap_done();
}
