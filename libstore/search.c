/* SPDX-License-Identifier: ISC */
/* Looking needles up in the files of search_build.c. Files are read, never mapped: one that is cut
 * short or can't be read under our hands is an error value. Each block is checked before anything
 * in it is used, and every number in it against what it is to index, so that neither damage nor a
 * forged file can do more than hide itself: the segment then counts as one without a file. Nothing
 * is kept from one command to the next, so nothing gets old. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libmail/charset.h"
#include "../libmail/mailtext.h"
#include "crc32c.h"
#include "mailbox_int.h"
#include "search_int.h"

enum {
	KEYS_A_NEEDLE = 16,		/* of a longer needle trigrams here and there are looked up */
	SEGMENTS_MAX = 1 << 16,		/* of one store that a filter looks at: a terabyte of mail */
};

/* What one segment's file says, for the needles of the filter. */
struct seg_filter {
	uint32_t n_docs;
	uint32_t cursor;		/* where the last message was found */
	uint32_t *off;			/* NULL: no file */
	unsigned char *maps;		/* a bitmap of documents for each needle */
};

struct search_filter {
	struct store *s;
	uint32_t first, n_segs;		/* ended segments */
	struct seg_filter **segs;	/* NULL: not looked at yet */
	size_t n;
	struct str needle[SEARCH_FILTER_NEEDLES_MAX];
};

void search_name(char name[32], uint32_t seg)
{
	snprintf(name, 32, "search/%08u.idx", seg);
}

uint32_t search_rules(void)
{
	uint32_t print = charset_fingerprint();
	uint32_t mine[3] = { MAILTEXT_RULES, RECORD_VERSION, print };

	return print == 0 ? 0 : crc32c(0, mine, sizeof mine) | 1;
}

bool search_expect(struct store *s, uint32_t seg, struct search_header *out)
{
	struct seg_header h, next;

	if (seg < s->ctl->first_seg || seg >= s->ctl->tail.pos.seg ||
	    journal_segment(s->journal, seg, &h, NULL) != ERR_OK ||
	    journal_segment(s->journal, seg + 1, &next, NULL) != ERR_OK)
		return false;
	*out = (struct search_header){
		.version = SEARCH_VERSION, .seg = seg, .store_id = h.store_id, .salt = h.salt,
		.end_crc = next.prev_crc, .rules = search_rules(), .n_keys = SEARCH_KEYS,
	};
	memcpy(out->magic, SEARCH_MAGIC, sizeof out->magic);
	return out->rules != 0;
}

/* -- the file -- */

struct file {
	int fd;
	struct search_header h;
	uint32_t *block_crc;
	char *blocks;			/* what read_span read last */
	size_t cap;
};

static bool read_fully(int fd, void *p, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t r = pread(fd, p, n, (off_t)at);

		if (r <= 0)
			return false;
		p = (char *)p + r;
		n -= (size_t)r;
		at += (uint64_t)r;
	}
	return true;
}

static void file_close(struct file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->block_crc);
	free(f->blocks);
}

/* Are the counts such that every place below them lies in the file? */
static bool counts_right(const struct search_header *h, uint64_t file_octets)
{
	uint64_t tables = 4 * ((uint64_t)h->n_docs + SEARCH_KEYS + 1);

	return h->payload_octets <= SEARCH_FILE_MAX_OCTETS && tables <= h->payload_octets &&
	    file_octets == sizeof *h + 4 * (uint64_t)search_n_blocks(h->payload_octets) + h->payload_octets;
}

/* Opens the file and checks its header. False: there is none, or it is of something else. */
static bool file_open(struct store *s, const struct search_header *want, struct file *f)
{
	char name[32];
	struct stat st;

	*f = (struct file){ .fd = -1 };
	search_name(name, want->seg);
	f->fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return f->fd >= 0 && fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    read_fully(f->fd, &f->h, sizeof f->h, 0) &&
	    memcmp(&f->h, want, offsetof(struct search_header, n_docs)) == 0 &&
	    f->h.crc == crc32c(0, &f->h, offsetof(struct search_header, crc)) &&
	    counts_right(&f->h, (uint64_t)st.st_size);
}

static bool file_checksums(struct file *f)
{
	size_t n = search_n_blocks(f->h.payload_octets) * sizeof *f->block_crc;

	f->block_crc = malloc(n);
	return f->block_crc != NULL && read_fully(f->fd, f->block_crc, n, sizeof f->h) &&
	    crc32c(0, f->block_crc, n) == f->h.blocks_crc;
}

/* n > 0 octets of the payload from `at`, checked; NULL when they are not to be had. Valid until the
 * next call. */
static const char *read_span(struct file *f, uint32_t at, uint32_t n)
{
	uint32_t first = at / SEARCH_BLOCK_OCTETS, from = first * SEARCH_BLOCK_OCTETS;
	uint64_t end, start = sizeof f->h + 4 * (uint64_t)search_n_blocks(f->h.payload_octets);
	size_t octets;

	if (at > f->h.payload_octets || n > f->h.payload_octets - at)
		return NULL;
	end = ((uint64_t)at + n + SEARCH_BLOCK_OCTETS - 1) / SEARCH_BLOCK_OCTETS * SEARCH_BLOCK_OCTETS;
	end = end < f->h.payload_octets ? end : f->h.payload_octets;
	octets = (size_t)(end - from);
	if (octets > f->cap) {
		free(f->blocks);
		f->blocks = malloc(octets);
		f->cap = f->blocks != NULL ? octets : 0;
	}
	if (f->blocks == NULL || !read_fully(f->fd, f->blocks, octets, start + from))
		return NULL;
	for (size_t k = 0; k * SEARCH_BLOCK_OCTETS < octets; k++) {
		struct str block = str_head(str_skip(str_n(f->blocks, octets), k * SEARCH_BLOCK_OCTETS),
		    SEARCH_BLOCK_OCTETS);

		if (crc32c(0, block.p, block.n) != f->block_crc[first + k])
			return NULL;
	}
	return f->blocks + (at - from);
}

bool search_is_there(struct store *s, uint32_t seg)
{
	struct search_header want;
	struct file f = { .fd = -1 };
	bool yes = search_expect(s, seg, &want) && file_open(s, &want, &f) && file_checksums(&f);

	file_close(&f);
	return yes;
}

/* -- lists -- */

struct list {
	uint32_t at, octets;		/* in the payload */
};

static bool list_find(struct file *f, uint32_t key, struct list *out)
{
	uint32_t tables = 4 * f->h.n_docs, lists = tables + 4 * (SEARCH_KEYS + 1);
	const char *p = read_span(f, tables + 4 * key, 8);
	uint32_t from, to;

	if (p == NULL)
		return false;
	from = get_le32(p);
	to = get_le32(p + 4);
	if (from > to || to > f->h.payload_octets - lists ||
	    to - from > search_bitmap_octets(f->h.n_docs))
		return false;
	*out = (struct list){ lists + from, to - from };
	return true;
}

/* The distances of a list as bits of `map`, which is empty. False: they are none. */
static bool list_spread(struct str list, uint32_t n_docs, unsigned char *map)
{
	uint64_t doc = UINT64_MAX;		/* -1 */

	while (list.n > 0) {
		uint32_t gap = 0;
		unsigned shift = 0;
		unsigned char c;

		do {
			if (list.n == 0 || shift > 21)
				return false;
			c = (unsigned char)list.p[0];
			gap |= (uint32_t)(c & 0x7f) << shift;
			shift += 7;
			list = str_skip(list, 1);
		} while (c >= 0x80);
		doc += gap;
		if (gap == 0 || doc >= n_docs)
			return false;
		map[doc / 8] |= (unsigned char)(1u << doc % 8);
	}
	return true;
}

/* Takes the documents that are not in the list out of `map`. */
static bool list_intersect(struct file *f, const struct list *l, unsigned char *map,
    unsigned char *scratch)
{
	uint32_t octets = search_bitmap_octets(f->h.n_docs);
	const char *p;

	if (l->octets == 0) {
		memset(map, 0, octets);
		return true;
	}
	p = read_span(f, l->at, l->octets);
	if (p == NULL)
		return false;
	if (l->octets < octets) {
		memset(scratch, 0, octets);
		if (!list_spread(str_n(p, l->octets), f->h.n_docs, scratch))
			return false;
		p = (const char *)scratch;
	}
	for (uint32_t i = 0; i < octets; i++)
		map[i] &= (unsigned char)p[i];
	return true;
}

static int by_octets(const void *a, const void *b)
{
	const struct list *x = a, *y = b;

	return (x->octets > y->octets) - (x->octets < y->octets);
}

/* The bitmap of the documents that have all of the needle's keys; the shortest lists first, which
 * are often enough. */
static bool needle_map(struct file *f, struct str needle, unsigned char *map, unsigned char *scratch)
{
	uint32_t octets = search_bitmap_octets(f->h.n_docs);
	size_t n_trigrams = needle.n + 1 - SEARCH_TRIGRAM_OCTETS, n = 0;
	struct list lists[KEYS_A_NEEDLE];

	memset(map, 0xff, octets);
	for (; n < KEYS_A_NEEDLE && n < n_trigrams; n++) {
		size_t i = n_trigrams <= KEYS_A_NEEDLE ? n : n * (n_trigrams - 1) / (KEYS_A_NEEDLE - 1);
		const unsigned char *t = (const unsigned char *)needle.p + i;
		uint32_t trigram = (uint32_t)t[0] << 16 | (uint32_t)t[1] << 8 | t[2];

		if (!list_find(f, search_key(trigram), &lists[n]))
			return false;
	}
	qsort(lists, n, sizeof lists[0], by_octets);
	for (size_t k = 0; k < n; k++)
		if (!list_intersect(f, &lists[k], map, scratch))
			return false;
	return true;
}

static bool load_docs(struct file *f, struct seg_filter *sf)
{
	const char *p = f->h.n_docs > 0 ? read_span(f, 0, 4 * f->h.n_docs) : NULL;

	sf->off = malloc(4 * ((size_t)f->h.n_docs + 1));
	if (sf->off == NULL || (p == NULL && f->h.n_docs > 0))
		return false;
	for (uint32_t i = 0; i < f->h.n_docs; i++)
		sf->off[i] = get_le32(p + 4 * (size_t)i);
	sf->n_docs = f->h.n_docs;
	return true;
}

static bool load_maps(struct search_filter *sf, struct file *f, struct seg_filter *out)
{
	size_t octets = search_bitmap_octets(f->h.n_docs);
	unsigned char *scratch = malloc(octets + 1);
	bool ok;

	out->maps = calloc(sf->n + 1, octets + 1);
	ok = out->maps != NULL && scratch != NULL;
	for (size_t i = 0; ok && i < sf->n; i++)
		if (sf->needle[i].n >= SEARCH_TRIGRAM_OCTETS)
			ok = needle_map(f, sf->needle[i], out->maps + i * octets, scratch);
	free(scratch);
	return ok;
}

static void forget(struct seg_filter *s)
{
	free(s->off);
	free(s->maps);
	s->off = NULL;
	s->maps = NULL;
}

/* Reads what the segment's file says. A damaged file is removed: it is in the way of a new one. */
static struct seg_filter *look_at(struct search_filter *sf, uint32_t seg)
{
	struct seg_filter *out = calloc(1, sizeof *out);
	struct search_header want;
	struct file f = { .fd = -1 };
	char name[32];

	if (out == NULL)
		_exit(EX_TEMPFAIL);
	if (!search_expect(sf->s, seg, &want))
		return out;
	if (!file_open(sf->s, &want, &f)) {
		sf->s->search_wanting = true;
	} else if (!file_checksums(&f) || !load_docs(&f, out) || !load_maps(sf, &f, out)) {
		forget(out);
		search_name(name, seg);
		(void)unlinkat(sf->s->dirfd, name, 0);
		sf->s->search_wanting = true;
	}
	file_close(&f);
	return out;
}

/* -- the filter -- */

struct search_filter *search_filter_new(struct mailbox *mb, const struct str *folded, size_t n)
{
	struct search_filter *f = calloc(1, sizeof *f);
	const struct ctl_head *ctl = mb->s->ctl;

	if (f == NULL)
		_exit(EX_TEMPFAIL);
	f->s = mb->s;
	f->n = n < SEARCH_FILTER_NEEDLES_MAX ? n : SEARCH_FILTER_NEEDLES_MAX;
	memcpy(f->needle, folded, f->n * sizeof *folded);
	f->first = ctl->first_seg;
	f->n_segs = ctl->tail.pos.seg - f->first;
	if (search_rules() == 0 || f->n_segs > SEGMENTS_MAX)
		f->n_segs = 0;
	f->segs = calloc(f->n_segs + 1, sizeof(struct seg_filter *));
	if (f->segs == NULL)
		_exit(EX_TEMPFAIL);
	return f;
}

void search_filter_free(struct search_filter **out)
{
	struct search_filter *f = *out;

	if (f == NULL)
		return;
	for (uint32_t i = 0; i < f->n_segs; i++) {
		if (f->segs[i] != NULL)
			forget(f->segs[i]);
		free(f->segs[i]);
	}
	free(f->segs);
	free(f);
	*out = NULL;
}

/* The document of the record at off; n_docs when the file has none. Messages come mostly in the
 * journal's order. */
static uint32_t find_doc(struct seg_filter *s, uint32_t off)
{
	uint32_t lo = 0, hi = s->n_docs;

	for (uint32_t i = s->cursor; i < s->n_docs && i <= s->cursor + 1; i++)
		if (s->off[i] == off)
			return s->cursor = i;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (s->off[mid] < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == s->n_docs || s->off[lo] != off)
		return s->n_docs;
	return s->cursor = lo;
}

bool search_filter_may_have(struct search_filter *f, size_t ix, const struct message *m)
{
	uint32_t at = m->seg - f->first, doc;
	struct seg_filter *s;

	if (ix >= f->n || f->needle[ix].n < SEARCH_TRIGRAM_OCTETS || m->seg < f->first ||
	    at >= f->n_segs)
		return true;
	if (f->segs[at] == NULL)
		f->segs[at] = look_at(f, m->seg);
	s = f->segs[at];
	if (s->off == NULL || (doc = find_doc(s, m->off)) == s->n_docs)
		return true;
	return s->maps[ix * search_bitmap_octets(s->n_docs) + doc / 8] >> doc % 8 & 1;
}
