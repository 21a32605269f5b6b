/* SPDX-License-Identifier: ISC */
/* Compressed bodies: what pays is packed and comes back; damaged and hostile frames are an error and cost no more memory than
 * the record says; a store may hold both kinds, whatever its setting is by now, and compaction keeps both as they are. */
#include <dirent.h>
#include <sys/stat.h>

#include "../../libstore/crc32c.h"
#include "../../libstore/pack.h"
#include "../../libstore/store_int.h"
#include "store_dir.h"

enum { TEXT_OCTETS = 20000, N_MESSAGES = 60, LENGTH_OCTETS = 4 };

static struct pack *kept;

/* Text that compresses, `octets` long, another one for each n. */
static struct str text_of(uint32_t n, size_t octets)
{
	static char text[STORE_INLINE_MAX_OCTETS + 1000];
	size_t at = (size_t)snprintf(text, sizeof text, "Subject: number %u\r\n\r\n", n);

	for (uint32_t i = 0; at < octets; i++)
		at += (size_t)snprintf(text + at, 40, "line %u of message %u\r\n", i * n, n);
	memcpy(text + octets - 2, "\r\n", 2);
	return str_n(text, octets);
}

static bool opens_as(const struct rec_message *m, struct str stored, struct str want, enum err_kind *k)
{
	struct err e = { .text = "" };
	char *p = NULL;
	bool same;

	*k = pack_open(&kept, m, stored, &p, &e);
	same = *k == ERR_OK && str_eq(str_n(p, m->body_octets), want);
	free(p);
	return same;
}

#ifdef HAVE_ZSTD
/* Octets that nothing compresses. */
static struct str noise(size_t octets)
{
	static char text[STORE_INLINE_MAX_OCTETS];
	uint64_t r = 88172645463325252u;

	for (size_t i = 0; i < octets; i++) {
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		text[i] = (char)(r >> 32);
	}
	return str_n(text, octets);
}

static struct rec_message record_for(struct str body)
{
	return (struct rec_message){ .encoding = ENCODING_ZSTD, .body_octets = (uint32_t)body.n,
		.body_crc = crc32c(0, body.p, body.n) };
}

static void test_round_trip(void)
{
	static const size_t octets[] = { PACK_MIN_OCTETS, 1000, 4096, TEXT_OCTETS, STORE_INLINE_MAX_OCTETS };
	struct buf out = BUF_INIT(STORE_INLINE_MAX_OCTETS);
	enum err_kind k;

	for (size_t i = 0; i < COUNTOF(octets); i++) {
		struct str body = text_of((uint32_t)i + 1, octets[i]);
		struct rec_message m = record_for(body);

		buf_reset(&out);
		CHECK_AT(pack_body(&kept, body, &out) && out.n < body.n - body.n / PACK_GAIN, i);
		CHECK_AT(get_le32(out.p) == out.n - LENGTH_OCTETS, i);
		CHECK_AT(opens_as(&m, buf_str(&out), body, &k), i);
	}
	buf_reset(&out);
	CHECK(!pack_body(&kept, text_of(1, PACK_MIN_OCTETS - 1), &out) && out.n == 0);
	CHECK(!pack_body(&kept, noise(5000), &out) && out.n == 0);
	CHECK(!pack_body(&kept, noise(STORE_INLINE_MAX_OCTETS), &out) && out.n == 0);
	buf_free(&out);
}

static void test_damaged_frames(void)
{
	struct buf out = BUF_INIT(STORE_INLINE_MAX_OCTETS), twice = BUF_INIT(STORE_INLINE_MAX_OCTETS);
	struct str body = text_of(7, 3000);
	struct rec_message m = record_for(body), lies = m;
	size_t n_wrong = 0, n_right = 0;
	enum err_kind k;

	REQUIRE(pack_body(&kept, body, &out));
	for (size_t i = LENGTH_OCTETS * 8; i < out.n * 8; i++) {
		out.p[i / 8] ^= (char)(1 << i % 8);
		n_right += opens_as(&m, buf_str(&out), body, &k);	/* a bit that means nothing */
		n_wrong += k == ERR_OK ? 0 : k != ERR_CORRUPT;
		out.p[i / 8] ^= (char)(1 << i % 8);
	}
	printf("# %zu of %zu flipped bits change nothing\n", n_right, (out.n - LENGTH_OCTETS) * 8);
	CHECK(n_wrong == 0 && n_right < out.n / 8);
	for (size_t n = LENGTH_OCTETS; n < out.n; n++) {
		(void)opens_as(&m, str_n(out.p, n), body, &k);
		n_wrong += k != ERR_CORRUPT;
	}
	CHECK(n_wrong == 0);
	/* the frame's length and the record's must agree: never more memory than the record says */
	lies.body_octets--;
	CHECK(!opens_as(&lies, buf_str(&out), body, &k) && k == ERR_CORRUPT);
	lies.body_octets = m.body_octets + 1;
	CHECK(!opens_as(&lies, buf_str(&out), body, &k) && k == ERR_CORRUPT);
	lies.body_octets = UINT32_MAX;
	CHECK(!opens_as(&lies, buf_str(&out), body, &k) && k == ERR_CORRUPT);
	lies = m;
	lies.body_crc ^= 1;
	CHECK(!opens_as(&lies, buf_str(&out), body, &k) && k == ERR_CORRUPT);
	/* two frames are not one */
	REQUIRE(buf_put(&twice, buf_str(&out)) && buf_put(&twice, str_skip(buf_str(&out), LENGTH_OCTETS)));
	CHECK(!opens_as(&m, buf_str(&twice), body, &k) && k == ERR_CORRUPT);
	buf_free(&twice);
	buf_free(&out);
}
#endif

/* Octets that any sender may put into a message, or a disk into a record. */
static void test_hostile_frames(void)
{
	static const struct str frames[] = {
		STR_INIT(""), STR_INIT("\x28\xb5\x2f\xfd"), STR_INIT("\x28\xb5\x2f\xfd\x00\x00"),
		/* says that it holds 2^63 octets */
		STR_INIT("\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00"),
		/* one block that repeats an octet 100,000 times; the frame says nothing of a length */
		STR_INIT("\x28\xb5\x2f\xfd\x00\x58\x03\x35\x0c\x41"),
		/* a skippable frame */
		STR_INIT("\x50\x2a\x4d\x18\x04\x00\x00\x00" "abcd"),
	};
	struct rec_message m = { .encoding = ENCODING_ZSTD, .body_octets = 1000 };
	enum err_kind k, want = ERR_TEMP;

#ifdef HAVE_ZSTD
	want = ERR_CORRUPT;
#endif
	for (size_t i = 0; i < COUNTOF(frames); i++) {
		char stored[64] = { (char)frames[i].n };

		memcpy(stored + LENGTH_OCTETS, frames[i].p, frames[i].n);
		CHECK_AT(!opens_as(&m, str_n(stored, LENGTH_OCTETS + frames[i].n), STR(""), &k) && k == want, i);
	}
	m.encoding = 7;
	CHECK(!opens_as(&m, STR("\x02\0\0\0ab"), STR("ab"), &k) && k == ERR_TEMP);
}

/* Lengths in the payload are checked before anything is believed. */
static void test_record_lengths(void)
{
	static const struct { uint32_t stored; uint64_t large_id; size_t n; bool ok; } t[] = {
		{ 6, 0, 10, true }, { 6, 0, 16, true }, { 7, 0, 10, false }, { UINT32_MAX, 0, 10, false },
		{ 0, 0, 4, true }, { 6, 0, 3, false }, { 6, 0, 0, false }, { 6, 5, 10, false },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct rec_message m = { .encoding = ENCODING_ZSTD, .large_id = t[i].large_id, .body_octets = 5000,
			.size_octets = 5000 }, got;
		struct buf payload = BUF_INIT(1000);
		struct str record, prefix, body;
		char rest[16] = { 0 };
		bool ok;

		memcpy(rest, &t[i].stored, sizeof t[i].stored);
		REQUIRE(buf_put(&payload, str_n((const char *)&m, sizeof m)) && buf_put(&payload, str_n(rest, t[i].n)));
		ok = rec_get_message(buf_str(&payload), &got, &record, &prefix, &body);
		CHECK_AT(ok == t[i].ok && (!ok || body.n == LENGTH_OCTETS + t[i].stored), i);
		buf_free(&payload);
	}
}

static uint64_t journal_octets(const struct dir *d)
{
	char path[300];
	uint64_t sum = 0;
	struct dirent *de;
	DIR *dir;

	snprintf(path, sizeof path, "%s/journal", d->path);
	dir = opendir(path);
	REQUIRE(dir != NULL);
	while ((de = readdir(dir)) != NULL) {
		struct stat st;

		if (fstatat(dirfd(dir), de->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	}
	closedir(dir);
	return sum;
}

static bool reads(struct mailbox *mb, size_t ix, struct str want)
{
	struct message_text t;
	struct text_span span[2];
	struct str prefix = STR("X: y\r\n");
	char *got = malloc(prefix.n + want.n + 1);
	uint64_t from = 3;
	size_t n, at = 0;
	bool ok;

	if (message_open(mb, mailbox_at(mb, ix), &t, NULL) != ERR_OK) {
		free(got);
		return false;
	}
	ok = str_eq(t.prefix, prefix) && str_eq(t.body, want);
	n = message_spans(&t, from, UINT64_MAX, span);
	for (size_t i = 0; ok && i < n; at += span[i].len, i++) {
		if (span[i].fd < 0)
			memcpy(got + at, span[i].p, span[i].len);
		else
			ok = pread(span[i].fd, got + at, span[i].len, (off_t)span[i].off) == (ssize_t)span[i].len &&
			    memcmp(got + at, span[i].p, span[i].len) == 0;
	}
	ok = ok && at == prefix.n + want.n - from && memcmp(got, prefix.p + from, prefix.n - from) == 0 &&
	    memcmp(got + prefix.n - from, want.p, want.n) == 0;
	ok = ok && message_spans(&t, prefix.n + 100, 50, span) == 1 && span[0].len == 50 &&
	    memcmp(span[0].p, want.p + 100, 50) == 0;
	message_close(&t);
	free(got);
	return ok;
}

/* Every third is stored plain. Sizes: some below the least, one over the inline limit. */
static size_t octets_of(uint32_t n)
{
	return n == 10 ? STORE_INLINE_MAX_OCTETS + 100 : n % 5 == 0 ? 300 : TEXT_OCTETS - n * 11;
}

static bool all_read(struct mailbox *mb, uint32_t step)
{
	bool ok = true;

	for (size_t ix = 0; ok && ix < mailbox_n(mb); ix++) {
		uint32_t n = mailbox_at(mb, ix)->uid * step;

		ok = reads(mb, ix, text_of(n, octets_of(n)));
	}
	return ok;
}

static void test_store_of_both(void)
{
	struct dir d = dir_make();
	struct store *s = NULL;
	struct store_compact_result r;
	struct mailbox *mb;
	uint32_t box, validity, uids[N_MESSAGES], from[N_MESSAGES], to[N_MESSAGES];
	uint64_t before, n_bad = 1;
	size_t n = 0;

	store_dir_segment = 256 * 1024;
	for (uint32_t i = 1; i <= N_MESSAGES; i++) {
		if (i % 3 < 2) {	/* the setting changes between sessions */
			store_dir_compress = i % 3 == 1;
			store_close(&s);
			s = store_at(&d);
		}
		REQUIRE(put_message(s, MAILBOX_INBOX, text_of(i, octets_of(i)), 0, STR("X: y\r\n")) == i);
		uids[i - 1] = i;
	}
	mb = mailbox_at_name(s, "INBOX");
	CHECK(mailbox_n(mb) == N_MESSAGES && all_read(mb, 1));
	REQUIRE(store_create(s, STR("box"), &box, NULL) == ERR_OK);
	REQUIRE(mailbox_copy(mb, uids, N_MESSAGES / 2, box, false, from, to, &n, &validity, NULL) == ERR_OK);
	mailbox_close(&mb);
	mb = mailbox_at_name(s, "box");
	CHECK(n == N_MESSAGES / 2 && mailbox_n(mb) == n && all_read(mb, 1));
	mailbox_close(&mb);

	/* compaction moves them as they are */
	mb = mailbox_at_name(s, "INBOX");
	for (uint32_t i = 0; i < N_MESSAGES; i++)
		uids[i] = i + 1;
	REQUIRE(mailbox_expunge(mb, uids, N_MESSAGES - 2, false, NULL, NULL) == ERR_OK);
	mailbox_close(&mb);
	before = journal_octets(&d);
	REQUIRE(store_purge(s, &r, NULL) == ERR_OK);
	CHECK(r.n_segments > 0 && r.n_moved > 0 && journal_octets(&d) < before);
	mb = mailbox_at_name(s, "box");
	CHECK(mailbox_n(mb) == n && all_read(mb, 1));
	mailbox_close(&mb);
	CHECK(store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0);
	store_close(&s);
	store_dir_segment = 0;
	dir_remove(&d);
}

static uint64_t octets_with(bool compress)
{
	struct dir d = dir_make();
	struct store *s;
	uint64_t n;

	store_dir_compress = compress;
	s = store_at(&d);
	for (uint32_t i = 1; i <= N_MESSAGES; i++)
		REQUIRE(put_message(s, MAILBOX_INBOX, text_of(i, TEXT_OCTETS), 0, STR("X: y\r\n")) == i);
	n = journal_octets(&d);
	store_close(&s);
	dir_remove(&d);
	return n;
}

int main(void)
{
#ifdef HAVE_ZSTD
	test_round_trip();
	test_damaged_frames();
	CHECK(octets_with(true) < octets_with(false) / 3);
#else
	CHECK(octets_with(true) == octets_with(false));
#endif
	test_hostile_frames();
	test_record_lengths();
	test_store_of_both();
	pack_free(&kept);
	return tap_done();
}
