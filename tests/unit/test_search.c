/* SPDX-License-Identifier: ISC */
/* The search index: what it says "no" to has no match, whatever the text, the needle and the file;
 * a file that is damaged, cut short, of another segment or made under other rules is not believed. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../../libbase/clock.h"
#include "../../libmail/charset.h"
#include "../../libmail/mailtext.h"
#include "../../libstore/gone.h"
#include "../../libstore/search.h"
#include "../../libstore/search_int.h"
#include "store_dir.h"

enum { SEGMENT = 64 * 1024, MESSAGES = 600, NEEDLES = 400 };

static uint64_t seed = 20261121;

static unsigned below(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 20) % n);
}

/* -- messages -- */

static const char *const pieces[] = {
	"the ", "meeting ", "on ", "Friday ", "invoice ", "x", "yz", "<p>", "&amp; ", "\r\n", "0123456789 ", "-- ",
	"a=b ", "=?utf-8?q?no_word?= ",
	("Stra\xc3\x9f" "e "), "STRASSE ", "caf\xc3\xa9 ", "resume\xcc\x81 ", "\xef\xac\x81n ",
	"\xce\x91\xce\xb8\xce\xae\xce\xbd\xce\xb1 ", "\xce\xbb\xcf\x8c\xce\xb3\xce\xbf\xcf\x82 ",
	"\xc4\xb0stanbul ", "d\xc4\xb1\xc5\x9f ", "\xe6\xbc\xa2\xe5\xad\x97", "\xe3\x81\x8b\xe3\x81\xaa ",
	"\xef\xb7\xba ", "\xf0\x9f\x98\x80 ", "\xd0\x96\xd1\x83\xd0\xba ",
};

static void put_words(struct buf *b, unsigned n)
{
	while (n-- > 0)
		buf_put(b, str_of(pieces[below(COUNTOF(pieces))]));
}

static void put_line(struct buf *b, unsigned n)
{
	while (n-- > 0) {
		struct str p = str_of(pieces[below(COUNTOF(pieces))]);

		if (!str_has(p, '\n'))
			buf_put(b, p);
	}
}

static void put_qp(struct buf *b, struct str s, const char *safe)
{
	for (size_t i = 0; i < s.n; i++) {
		if (ascii_is_alpha(s.p[i]) || (s.p[i] != '\0' && strchr(safe, s.p[i]) != NULL))
			buf_putc(b, s.p[i]);
		else
			buf_printf(b, "=%02X", (unsigned char)s.p[i]);
	}
}

static void put_fields(struct buf *b)
{
	struct buf t = BUF_INIT(4096);

	buf_printf(b, "Subject: ");
	put_line(&t, below(8));
	if (below(2) == 0) {
		buf_put(b, STR("=?UTF-8?Q?"));
		put_qp(b, buf_str(&t), "");
		buf_put(b, STR("?=\r\n =?iso-8859-1?Q?sch=F6n?="));
	} else {
		buf_put(b, buf_str(&t));
	}
	buf_put(b, STR("\r\nFrom: "));
	put_line(b, 2);
	if (below(4) == 0)
		buf_put(b, STR("\r\nX-Controls: a\rb \x01 c\x7f" "d\r\r\n e\tf"));
	buf_put(b, below(3) == 0 ? STR("\r\nX-Odd : folded\r\n\tvalue\r\nno field at all\r\n=?utf-8?q?Name?=: v\r\n") : STR("\r\n"));
	buf_free(&t);
}

static void put_leaf(struct buf *b, bool markup)
{
	static const char *const charsets[] = { "utf-8", "us-ascii", "iso-8859-1", "koi8-r", "gb18030", "iso-2022-jp", "x-none" };
	struct buf t = BUF_INIT(1 << 20);
	unsigned enc = below(3);

	put_words(&t, below(60));
	buf_printf(b, "Content-Type: text/%s; charset=%s\r\n", markup ? "html" : "plain", charsets[below(COUNTOF(charsets))]);
	if (enc == 0) {
		buf_put(b, STR("Content-Transfer-Encoding: base64\r\n\r\n"));
		base64_encode_to(b, buf_str(&t));
	} else if (enc == 1) {
		buf_put(b, STR("Content-Transfer-Encoding: quoted-printable\r\n\r\n"));
		put_qp(b, buf_str(&t), " ");
	} else {
		buf_put(b, STR("\r\n"));
		buf_put(b, buf_str(&t));
	}
	buf_free(&t);
}

static void put_random_message(struct buf *b)
{
	put_fields(b);
	switch (below(3)) {
	case 0:
		put_leaf(b, below(2) == 0);
		return;
	case 1:
		buf_put(b, STR("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"));
		put_leaf(b, false);
		buf_put(b, STR("\r\n--b\r\n"));
		put_leaf(b, true);
		buf_put(b, STR("\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"));
		put_fields(b);
		put_leaf(b, false);
		buf_put(b, STR("\r\n--b--\r\n"));
		return;
	default:
		buf_put(b, STR("\r\n"));
		put_words(b, below(200));
	}
}

/* -- the truth -- */


static bool look(void *ctx, struct str utf8, bool begins)
{
	struct needle *n = ctx;

	if (begins)
		needle_restart(n);
	return needle_feed(n, utf8);
}

static struct mailtext open_texts(struct mailbox *mb, size_t ix, struct message_text *t, struct record *r)
{
	if (message_open(mb, mailbox_at(mb, ix), t, NULL) != ERR_OK || record_open(t->record, r, NULL) != ERR_OK)
		REQUIRE(!"a message that can be read");
	return (struct mailtext){ t->prefix, t->body, r };
}

static bool has(struct mailbox *mb, size_t ix, struct needle *n)
{
	struct buf scratch = BUF_INIT(MAILTEXT_SCRATCH_OCTETS);
	struct message_text t;
	struct record r;
	struct mailtext text = open_texts(mb, ix, &t, &r);
	bool yes = mailtext_each(&text, MAILTEXT_ALL, &scratch, look, n);

	/* shown undecoded where that can make no difference, it makes none */
	if (mailtext_is_solid(buf_str(&n->folded)) &&
	    mailtext_each(&text, MAILTEXT_ALL | MAILTEXT_SOLID, &scratch, look, n) != yes)
		REQUIRE(!"the same answer");
	message_close(&t);
	buf_free(&scratch);
	return yes;
}

/* All texts of a message, folded, behind each other. */
static bool gather(void *ctx, struct str utf8, bool begins)
{
	(void)begins;
	text_fold(ctx, utf8);
	return false;
}

/* A needle: often cut out of a message's text between characters, else words, or octets that are no
 * text. */
static void random_needle(struct mailbox *mb, struct buf *out)
{
	struct buf all = BUF_INIT(8 << 20), scratch = BUF_INIT(MAILTEXT_SCRATCH_OCTETS);
	struct message_text t;
	struct mailtext text;
	struct record r;
	size_t at, n;

	buf_reset(out);
	if (below(4) == 0) {
		put_line(out, 1 + below(3));
	} else if (below(8) == 0) {
		for (unsigned k = 1 + below(6); k > 0; k--)
			buf_putc(out, (char)below(256));
	} else {
		text = open_texts(mb, below((unsigned)mailbox_n(mb)), &t, &r);
		mailtext_each(&text, MAILTEXT_ALL, &scratch, gather, &all);
		message_close(&t);
		at = below((unsigned)all.n);
		n = 1 + below(40);
		while (at > 0 && ((unsigned char)all.p[at] & 0xc0) == 0x80)
			at--;
		while (at + n < all.n && ((unsigned char)all.p[at + n] & 0xc0) == 0x80)
			n++;
		buf_put(out, str_head(str_skip(buf_str(&all), at), n));
	}
	buf_free(&all);
	buf_free(&scratch);
}

/* Compares index and matcher for n random needles. *out_no: how often the index said no. */
static size_t wrong_answers(struct mailbox *mb, unsigned n, size_t *out_no)
{
	struct buf text = BUF_INIT(4096);
	size_t wrong = 0;

	*out_no = 0;
	while (n-- > 0) {
		struct search_filter *f;
		struct needle needle;
		struct str folded;

		random_needle(mb, &text);
		if (!needle_init(&needle, buf_str(&text)))
			REQUIRE(!"a needle");
		folded = buf_str(&needle.folded);
		f = search_filter_new(mb, &folded, 1);
		for (size_t ix = 0; ix < mailbox_n(mb); ix++) {
			if (search_filter_may_have(f, 0, mailbox_at(mb, ix))) {
				if (below(8) == 0)
					(void)has(mb, ix, &needle);
				continue;
			}
			++*out_no;
			wrong += has(mb, ix, &needle);
		}
		search_filter_free(&f);
		needle_free(&needle);
	}
	buf_free(&text);
	return wrong;
}

static void fill(struct store *s, unsigned n)
{
	struct buf b = BUF_INIT(1 << 20);

	while (n-- > 0) {
		buf_reset(&b);
		put_random_message(&b);
		if (put_message(s, 0, buf_str(&b), 0, STR("Delivered-To: \xc3\xbc@example.org\r\n")) == 0)
			REQUIRE(!"a message is filed");
	}
	buf_free(&b);
}

static struct search_build_result build(struct store *s)
{
	struct search_build_result r = { .n_built = 0 };
	struct err e = { .text = "" };

	if (search_build(s, UINT32_MAX, 60000, &r, &e) != ERR_OK)
		printf("# %s\n", e.text);
	return r;
}

static unsigned n_files(const struct dir *d, const char *suffix)
{
	int fd = openat(d->fd, "search", O_RDONLY | O_DIRECTORY);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *x;
	unsigned n = 0;

	while (dir != NULL && (x = readdir(dir)) != NULL)
		n += str_ends(str_of(x->d_name), str_of(suffix));
	if (dir != NULL)
		closedir(dir);
	return n;
}

static void test_truth(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	struct search_build_result r;
	size_t no;

	r = build(s);
	CHECK(r.n_built == 0 && n_files(&d, "lock") == 0);	/* nothing to do costs nothing */
	fill(s, MESSAGES);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(wrong_answers(mb, 5, &no) == 0 && no == 0);
	CHECK(search_wanting(s));
	r = build(s);
	CHECK(r.n_built > 2 && r.n_wanting == 0 && n_files(&d, ".idx") == r.n_built && n_files(&d, "tmp") == 0);
	r = build(s);
	CHECK(r.n_built == 0 && r.n_wanting == 0);
	CHECK(wrong_answers(mb, NEEDLES, &no) == 0);
	printf("# %zu times no\n", no);
	CHECK(no > NEEDLES * MESSAGES / 10);
	/* messages that come later are not known to any file */
	fill(s, 20);
	REQUIRE(mailbox_refresh(mb, NULL, NULL) == ERR_OK);
	CHECK(wrong_answers(mb, 20, &no) == 0);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

/* -- files that are not to be believed -- */

static char *slurp(const struct dir *d, const char *name, size_t *n)
{
	int fd = openat(d->fd, name, O_RDONLY);
	struct stat st;
	char *p;

	REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
	p = malloc((size_t)st.st_size + 1);
	REQUIRE(p != NULL && read(fd, p, (size_t)st.st_size) == st.st_size);
	*n = (size_t)st.st_size;
	close(fd);
	return p;
}

static void spew(const struct dir *d, const char *name, const char *p, size_t n)
{
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	REQUIRE(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
}

static size_t all_no(struct mailbox *mb, const char *word)
{
	struct needle needle;
	struct search_filter *f;
	struct str folded;
	size_t no = 0;

	REQUIRE(needle_init(&needle, str_of(word)));
	folded = buf_str(&needle.folded);
	f = search_filter_new(mb, &folded, 1);
	for (size_t ix = 0; ix < mailbox_n(mb); ix++)
		no += !search_filter_may_have(f, 0, mailbox_at(mb, ix));
	search_filter_free(&f);
	needle_free(&needle);
	return no;
}

static void test_damage(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct mailbox *mb;
	char *file, *other;
	size_t n, n_other, no, no_at_all;
	unsigned removed = 0;

	fill(s, MESSAGES / 2);
	build(s);
	mb = mailbox_at_name(s, "INBOX");
	no_at_all = all_no(mb, "quetzalcoatl");
	CHECK(no_at_all > MESSAGES / 4);
	file = slurp(&d, "search/00000001.idx", &n);
	other = slurp(&d, "search/00000002.idx", &n_other);
	for (unsigned i = 0; i < 150; i++) {	/* one octet, somewhere */
		size_t at = below(2) == 0 ? below(200) : below((unsigned)n);

		file[at] ^= (char)(1 << below(8));
		spew(&d, "search/00000001.idx", file, n);
		CHECK_AT(wrong_answers(mb, 1, &no) == 0, i);
		removed += faccessat(d.fd, "search/00000001.idx", F_OK, 0) != 0;
		free(file);
		build(s);
		file = slurp(&d, "search/00000001.idx", &n);
	}
	printf("# %u damaged files were removed\n", removed);
	for (unsigned i = 0; i < 60; i++) {	/* cut short, or longer */
		size_t to = i == 0 ? 0 : below((unsigned)n + 1000);
		char *p = calloc(to + 1, 1);

		REQUIRE(p != NULL);
		memcpy(p, file, to < n ? to : n);
		spew(&d, "search/00000001.idx", p, to);
		CHECK_AT(to == n || all_no(mb, "quetzalcoatl") < no_at_all, i);
		free(p);
	}
	spew(&d, "search/00000001.idx", other, n_other);	/* of another segment, by name and by number */
	CHECK(all_no(mb, "quetzalcoatl") < no_at_all);
	((struct search_header *)(void *)other)->seg = 1;
	((struct search_header *)(void *)other)->crc = 0;
	spew(&d, "search/00000001.idx", other, n_other);
	CHECK(all_no(mb, "quetzalcoatl") < no_at_all);
	((struct search_header *)(void *)file)->rules ^= 1;
	spew(&d, "search/00000001.idx", file, n);
	CHECK(all_no(mb, "quetzalcoatl") < no_at_all);
	CHECK(build(s).n_built == 1 && all_no(mb, "quetzalcoatl") == no_at_all);
	free(file);
	free(other);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

/* -- around the rest of the store -- */

static void test_life(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct store_compact_result c;
	struct mailbox *mb, *copy;
	struct search_build_result r;
	uint32_t uids[MESSAGES], got[MESSAGES], to[MESSAGES], dst, validity;
	size_t n = 0, no, before;

	fill(s, MESSAGES / 2);
	build(s);
	mb = mailbox_at_name(s, "INBOX");
	for (size_t i = 0; i < mailbox_n(mb); i++)
		uids[n++] = mailbox_at(mb, i)->uid;
	REQUIRE(store_create(s, STR("copy"), &dst, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, uids + n - 5, 5, dst, false, got, to, &no, &validity, NULL) == ERR_OK);
	copy = mailbox_at_name(s, "copy");
	CHECK(wrong_answers(copy, 20, &no) == 0);
	before = n_files(&d, ".idx");
	REQUIRE(mailbox_expunge(mb, uids, n - n / 8, false, NULL, NULL) == ERR_OK);
	mailbox_expel(mb, NULL, NULL);
	CHECK(wrong_answers(mb, 20, &no) == 0);
	REQUIRE(store_compact(s, 0, &c, NULL) == ERR_OK);
	CHECK(c.n_segments > 0 && n_files(&d, ".idx") == before - c.n_segments);
	CHECK(wrong_answers(copy, 20, &no) == 0);		/* not refreshed yet */
	REQUIRE(mailbox_refresh(mb, NULL, NULL) == ERR_OK && mailbox_refresh(copy, NULL, NULL) == ERR_OK);
	CHECK(wrong_answers(mb, 20, &no) == 0 && wrong_answers(copy, 20, &no) == 0);
	r = build(s);
	CHECK(r.n_wanting == 0 && n_files(&d, ".idx") < before);
	CHECK(wrong_answers(mb, 50, &no) == 0 && wrong_answers(copy, 50, &no) == 0);
	mailbox_close(&copy);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

/* Expunged messages whose octets compaction has put elsewhere (KEPT), brought back: the files know of those, too. */
static void test_brought_back(void)
{
	struct dir d = dir_make();
	struct store_compact_result c;
	struct mailbox_info inbox;
	struct mailbox *mb;
	struct store *s;
	uint32_t uids[MESSAGES];
	struct arena *a = arena_new(1 << 16);
	size_t n = 0, no, back = 0;

	store_dir_retain_ms = 3600 * 1000;
	store_dir_retain_octets = 2 * SEGMENT;
	s = store_at(&d);
	fill(s, MESSAGES / 2);
	mb = mailbox_at_name(s, "INBOX");
	for (size_t i = 0; i < mailbox_n(mb); i++)
		uids[n++] = mailbox_at(mb, i)->uid;
	REQUIRE(store_find(s, a, STR("INBOX"), &inbox, NULL) == ERR_OK);
	/* those in the oldest segments are expunged last: they are kept, and moved */
	REQUIRE(mailbox_expunge(mb, uids + n / 4, n - 1 - n / 4, false, NULL, NULL) == ERR_OK);
	clock_sleep_ms(20);		/* what is kept is told by the time */
	REQUIRE(mailbox_expunge(mb, uids, n / 4, false, NULL, NULL) == ERR_OK);
	mailbox_expel(mb, NULL, NULL);
	REQUIRE(store_compact(s, 0, &c, NULL) == ERR_OK);
	CHECK(c.n_segments > 0 && c.n_moved > 10);
	fill(s, MESSAGES / 6);		/* ends the segment that has them */
	build(s);
	REQUIRE(store_undelete(s, inbox.id, uids, n - 1, inbox.id, &back, NULL) == ERR_OK);
	CHECK(back > 10 && back < n - 1);
	REQUIRE(mailbox_refresh(mb, NULL, NULL) == ERR_OK);
	CHECK(mailbox_n(mb) == 1 + back + MESSAGES / 6 && wrong_answers(mb, 60, &no) == 0);
	CHECK(all_no(mb, "quetzalcoatl") > back);
	mailbox_close(&mb);
	store_close(&s);
	store_dir_retain_ms = 0;
	store_dir_retain_octets = UINT64_MAX;
	arena_free(&a);
	dir_remove(&d);
}

/* A large body, and one text over many chunks: needles across every edge. */
static void test_big(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct buf b = BUF_INIT(16 << 20);
	struct mailbox *mb;
	size_t no;

	buf_put(&b, STR("Subject: big\r\n\r\n"));
	while (b.n < 8 << 20) {
		put_words(&b, 50);
		buf_printf(&b, "mark%zu ", b.n);
	}
	REQUIRE(put_message(s, 0, buf_str(&b), 0, STR("")) != 0);
	fill(s, MESSAGES / 4);
	build(s);
	mb = mailbox_at_name(s, "INBOX");
	CHECK(n_files(&d, ".idx") > 0 && wrong_answers(mb, 30, &no) == 0);
	CHECK(all_no(mb, "quetzalcoatl") > 0);
	mailbox_close(&mb);
	store_close(&s);
	buf_free(&b);
	dir_remove(&d);
}

/* No room: no file, an error of that kind, and everything goes on. */
static void test_full_disk(void)
{
	struct dir d = dir_make();
	struct store *s = store_at(&d);
	struct rlimit was, small;
	struct search_build_result r;
	struct mailbox *mb;
	size_t no;

	fill(s, MESSAGES / 4);
	mb = mailbox_at_name(s, "INBOX");
	signal(SIGXFSZ, SIG_IGN);
	REQUIRE(getrlimit(RLIMIT_FSIZE, &was) == 0);
	small = (struct rlimit){ 2000, was.rlim_max };
	REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
	CHECK(search_build(s, UINT32_MAX, 60000, &r, NULL) != ERR_OK && r.n_built == 0 && r.n_wanting > 0);
	REQUIRE(setrlimit(RLIMIT_FSIZE, &was) == 0);
	CHECK(n_files(&d, ".idx") == 0 && n_files(&d, "tmp") == 0);
	CHECK(wrong_answers(mb, 5, &no) == 0 && no == 0);
	CHECK(build(s).n_built > 0 && wrong_answers(mb, 5, &no) == 0);
	mailbox_close(&mb);
	store_close(&s);
	dir_remove(&d);
}

int main(void)
{
	store_dir_segment = SEGMENT;
	CHECK(search_rules() == 0);
	charset_warm();
	CHECK(search_rules() != 0);
	test_truth();
	test_damage();
	test_life();
	test_brought_back();
	test_big();
	test_full_disk();
	store_dir_compress = true;
	test_life();
	return tap_done();
}
