/* SPDX-License-Identifier: ISC */
/* The end of a journal: what a disk that writes in any order leaves behind a power cut is told from rot. And what a process
 * or power that died in the making of a segment leaves is nothing. */
#include <sys/stat.h>

#include "../../libstore/journal.h"
#include "store_dir.h"

enum { RECORDS_MAX = 8, PAYLOAD_OCTETS = 600, STORE_ID = 7 };

static struct journal_tail make(const struct dir *d, struct journal **out)
{
	struct journal_tail tail;

	REQUIRE(mkdirat(d->fd, "journal", 0700) == 0);
	*out = journal_new(d->fd);
	REQUIRE(journal_create(*out, STORE_ID, STR("snapshot"), &tail, NULL) == ERR_OK);
	return tail;
}

/* A group of n records; durable: how many of the records before it are said to be not durable yet. */
static struct journal_pos append(struct journal *j, struct journal_tail *tail, size_t n, uint64_t undurable)
{
	static const char octets[PAYLOAD_OCTETS] = "payload";
	struct journal_rec r[RECORDS_MAX];
	struct journal_pos pos[RECORDS_MAX];

	for (size_t i = 0; i < n; i++)
		r[i] = (struct journal_rec){ REC_MAILBOX, { str_n(octets, sizeof octets) } };
	tail->durable_seq = tail->next_seq - 1 - undurable;
	REQUIRE(journal_append(j, r, n, tail, pos, NULL) == ERR_OK);
	return pos[0];
}

static void spoil(const struct dir *d, struct journal_pos pos)
{
	char name[32], zeros[64] = "";
	int fd;

	snprintf(name, sizeof name, "journal/%08u.seg", pos.seg);
	fd = openat(d->fd, name, O_WRONLY | O_CLOEXEC);
	REQUIRE(fd >= 0 && pwrite(fd, zeros, sizeof zeros, pos.off) == sizeof zeros);
	close(fd);
}

static struct journal_scan scan(const struct dir *d, uint32_t seg)
{
	struct journal *j = journal_new(d->fd);
	struct journal_scan out = { 0 };

	CHECK(journal_scan(j, seg, NULL, NULL, &out, NULL) == ERR_OK);
	journal_free(&j);
	return out;
}

static void test_hole_or_rot(void)
{
	static const struct {
		size_t n;
		uint64_t undurable[RECORDS_MAX];	/* of each group, when it is written */
		size_t spoiled;
		size_t read, damaged;			/* groups, and places stepped over */
	} t[] = {
		/* one after the other, each synced: the ones behind say that it was durable */
		{ 4, { 0, 0, 0, 0 }, 1, 3, 1 },
		/* the last one: nobody says so, and there is nothing behind it */
		{ 4, { 0, 0, 0, 0 }, 3, 3, 0 },
		/* three at once, the first did not come to the disk: the others do not count */
		{ 4, { 0, 0, 1, 2 }, 1, 1, 0 },
		{ 4, { 0, 0, 1, 2 }, 2, 2, 0 },
		/* they were synced, as a later one says: the first has rotted */
		{ 5, { 0, 0, 1, 2, 0 }, 1, 4, 1 },
		{ 5, { 0, 0, 1, 2, 0 }, 3, 4, 1 },
		/* a sync covered the first when the last was written, but not the second */
		{ 4, { 0, 0, 1, 1 }, 1, 3, 1 },
		{ 4, { 0, 0, 1, 1 }, 2, 2, 0 },
		/* too many to be counted */
		{ 3, { 0, 0, 100000 }, 1, 1, 0 },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct dir d = dir_make();
		struct journal_pos pos[RECORDS_MAX] = { { 0, 0 } };
		struct journal *j;
		struct journal_tail tail = make(&d, &j);
		struct journal_scan s;

		for (size_t k = 0; k < t[i].n; k++)
			pos[k] = append(j, &tail, 1, t[i].undurable[k]);
		journal_free(&j);
		spoil(&d, pos[t[i].spoiled]);
		s = scan(&d, 1);
		CHECK_AT(s.n_records == t[i].read + 1 && s.n_damaged == t[i].damaged, i);
		CHECK_AT(s.n_damaged > 0 || s.end.off == pos[t[i].read].off, i);
		dir_remove(&d);
	}
}

/* When a later segment has begun, all of an earlier one was durable. */
static void test_ended_segment(void)
{
	struct dir d = dir_make();
	struct journal *j;
	struct journal_tail tail = make(&d, &j);
	struct journal_pos first = append(j, &tail, 2, 0);
	struct journal_scan s;

	append(j, &tail, 1, 2);
	REQUIRE(journal_roll(j, STR("snapshot"), &tail, NULL) == ERR_OK);
	journal_free(&j);
	spoil(&d, first);
	s = scan(&d, 1);
	CHECK(s.n_damaged == 1 && s.ended && s.n_records == 3);	/* snapshot, the last, the end */
	CHECK(scan(&d, 2).n_records == 1);
	dir_remove(&d);
}

/* What is left of a segment in the making is no segment, and does not hinder the next one. */
static void test_unfinished_segment(void)
{
	struct dir d = dir_make();
	struct journal *j;
	struct journal_tail tail = make(&d, &j);
	uint32_t first = 0, last = 0;
	int fd = openat(d.fd, "journal/00000002.new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0 && write(fd, "rubbish", 7) == 7);
	close(fd);
	append(j, &tail, 1, 0);
	CHECK(journal_range(j, &first, &last, NULL) == ERR_OK && first == 1 && last == 1);
	CHECK(journal_roll(j, STR("snapshot"), &tail, NULL) == ERR_OK);
	CHECK(journal_range(j, &first, &last, NULL) == ERR_OK && first == 1 && last == 2);
	CHECK(scan(&d, 2).n_records == 1);
	CHECK(faccessat(d.fd, "journal/00000002.new", F_OK, 0) < 0);
	journal_free(&j);
	dir_remove(&d);
}

int main(void)
{
	test_hole_or_rot();
	test_ended_segment();
	test_unfinished_segment();
	return tap_done();
}
