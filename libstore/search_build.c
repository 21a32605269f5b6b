/* SPDX-License-Identifier: ISC */
/* Making the files of search.c: for each message of an ended segment the set of its texts'
 * trigrams, turned into a list of messages per key. Only the holder of search/lock writes here,
 * always to search/tmp, which is renamed when whole; nothing is synced, as the checksums tell a
 * torn file. A message that does not fit, or can't be read, is left out: it will be read by every
 * search. Memory and time for one segment are bounded by the limits below. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "../libbase/io.h"
#include "../libmail/charset.h"
#include "../libmail/mailtext.h"
#include "crc32c.h"
#include "search_int.h"

enum {
	DOC_MAX_OCTETS = 16 << 20,	/* a longer message is left out */
	TEXTS_MAX_OCTETS = 256 << 20,	/* of one segment's messages, large bodies included */
	FOLDED_MAX_OCTETS = 8 << 20,	/* one piece of text, folded */
	CHUNK_OCTETS = 28,		/* of a list, in memory */
	CHUNKS_MAX = 2 << 20,		/* 64 MB */
	TEND_SEGMENTS = 32,
	TEND_MS = 2000,
};

#define SEARCH_TMP "search/tmp"
#define SEARCH_LOCK "search/lock"

struct chunk {
	uint32_t next;
	unsigned char octets[CHUNK_OCTETS];
};

struct posting {			/* a list in the making */
	uint32_t first, last;		/* chunks */
	uint32_t octets;
	uint32_t next_doc;		/* the last document of the list, plus one */
};

struct builder {
	struct store *s;
	struct posting *posts;
	struct chunk *chunks;
	uint32_t n_chunks, cap_chunks;
	uint32_t *off;			/* of documents */
	uint32_t n_docs, cap_docs;
	uint64_t n_text_octets;
	/* the message at hand */
	unsigned char *has;		/* bit by key */
	uint32_t *keys;
	uint32_t n_keys_had;
	struct buf scratch, folded;
	uint32_t trigram;
	unsigned n_octets;		/* of the text so far, up to 2 */
	bool failed;
};

static void builder_free(struct builder *b)
{
	free(b->posts);
	free(b->chunks);
	free(b->off);
	free(b->has);
	free(b->keys);
	buf_free(&b->scratch);
	buf_free(&b->folded);
}

static bool builder_init(struct builder *b, struct store *s)
{
	*b = (struct builder){ .s = s };
	buf_init(&b->scratch, MAILTEXT_SCRATCH_OCTETS);
	buf_init(&b->folded, FOLDED_MAX_OCTETS);
	b->posts = calloc(SEARCH_KEYS, sizeof *b->posts);
	b->has = calloc(SEARCH_KEYS / 8, 1);
	b->keys = calloc(SEARCH_KEYS, sizeof *b->keys);
	return b->posts != NULL && b->has != NULL && b->keys != NULL;
}

/* -- one message -- */

static bool see(void *ctx, struct str utf8, bool begins)
{
	struct builder *b = ctx;
	const unsigned char *p;
	size_t i = 0;

	if (begins)
		b->n_octets = 0;
	buf_reset(&b->folded);
	if (!text_fold(&b->folded, utf8)) {
		b->failed = true;
		return true;
	}
	p = (const unsigned char *)b->folded.p;
	for (; i < b->folded.n && b->n_octets < SEARCH_TRIGRAM_OCTETS - 1; i++, b->n_octets++)
		b->trigram = b->trigram << 8 | p[i];
	for (; i < b->folded.n; i++) {
		uint32_t key;

		b->trigram = (b->trigram << 8 | p[i]) & 0xffffff;
		key = search_key(b->trigram);
		if ((b->has[key / 8] >> key % 8 & 1) == 0) {
			b->has[key / 8] |= (unsigned char)(1u << key % 8);
			b->keys[b->n_keys_had++] = key;
		}
	}
	return false;
}

static void octet_add(struct builder *b, struct posting *p, unsigned char octet)
{
	uint32_t at = p->octets % CHUNK_OCTETS;

	if (at == 0) {
		if (p->octets == 0)
			p->first = b->n_chunks;
		else
			b->chunks[p->last].next = b->n_chunks;
		p->last = b->n_chunks++;
	}
	b->chunks[p->last].octets[at] = octet;
	p->octets++;
}

/* Room for a document whose keys are known: each list may begin a chunk. */
static bool make_room(struct builder *b)
{
	uint64_t want = (uint64_t)b->n_chunks + b->n_keys_had + 1;

	if (want > CHUNKS_MAX)
		return false;
	if (want > b->cap_chunks) {
		uint32_t cap = b->cap_chunks > 0 ? b->cap_chunks : 4096;
		struct chunk *v;

		while (cap < want)
			cap *= 2;
		v = realloc(b->chunks, cap * sizeof *v);
		if (v == NULL)
			return false;
		b->chunks = v;
		b->cap_chunks = cap;
	}
	if (b->n_docs == b->cap_docs) {
		uint32_t cap = b->cap_docs > 0 ? b->cap_docs * 2 : 1024;
		uint32_t *v = realloc(b->off, cap * sizeof *v);

		if (v == NULL)
			return false;
		b->off = v;
		b->cap_docs = cap;
	}
	return true;
}

static void add_doc(struct builder *b, uint32_t off)
{
	for (uint32_t i = 0; i < b->n_keys_had; i++) {
		struct posting *p = &b->posts[b->keys[i]];
		uint32_t gap = b->n_docs + 1 - p->next_doc;

		p->next_doc = b->n_docs + 1;
		for (; gap >= 0x80; gap >>= 7)
			octet_add(b, p, (unsigned char)(gap | 0x80));
		octet_add(b, p, (unsigned char)gap);
	}
	b->off[b->n_docs++] = off;
}

static void read_message(struct builder *b, const struct message_text *t)
{
	struct record r;
	struct mailtext text = { t->prefix, t->body, &r };

	b->n_keys_had = 0;
	b->failed = record_open(t->record, &r, NULL) != ERR_OK;
	if (!b->failed)
		(void)mailtext_each(&text, MAILTEXT_ALL, &b->scratch, see, b);
}

static enum err_kind each_record(void *ctx, const struct journal_view *v, struct err *e)
{
	struct builder *b = ctx;
	struct message_text t;
	uint64_t octets;

	(void)e;
	if ((v->h.type != REC_MESSAGE && v->h.type != REC_KEPT) ||
	    message_open_at(b->s, v->pos, &t, NULL) != ERR_OK)
		return ERR_OK;
	octets = (uint64_t)t.prefix.n + t.body.n;
	if (octets <= DOC_MAX_OCTETS && b->n_text_octets + octets <= TEXTS_MAX_OCTETS) {
		b->n_text_octets += octets;
		read_message(b, &t);
		/* one that has nearly everything is not worth its octets */
		if (!b->failed && b->n_keys_had <= SEARCH_KEYS / 4 * 3 && make_room(b))
			add_doc(b, v->pos.off);
		for (uint32_t i = 0; i < b->n_keys_had; i++)
			b->has[b->keys[i] / 8] = 0;
	}
	message_close(&t);
	return ERR_OK;
}

/* -- the file -- */

static void list_put(const struct builder *b, const struct posting *p, struct buf *out)
{
	uint32_t left = p->octets;

	for (uint32_t c = p->first; left > 0; c = b->chunks[c].next) {
		uint32_t n = left < CHUNK_OCTETS ? left : CHUNK_OCTETS;

		buf_put(out, str_n((const char *)b->chunks[c].octets, n));
		left -= n;
	}
}

/* The same as a bitmap, of the list that was just put at `from`. */
static void list_to_bitmap(struct buf *out, size_t from, uint32_t n_docs)
{
	size_t octets = search_bitmap_octets(n_docs);
	unsigned char *map = calloc(octets, 1);
	uint32_t doc = UINT32_MAX, gap = 0;
	unsigned shift = 0;

	if (map == NULL) {
		out->full = true;
		return;
	}
	for (size_t i = from; i < out->n; i++) {
		unsigned char c = (unsigned char)out->p[i];

		gap |= (uint32_t)(c & 0x7f) << shift;
		shift += 7;
		if (c >= 0x80)
			continue;
		doc += gap;
		map[doc / 8] |= (unsigned char)(1u << doc % 8);
		gap = shift = 0;
	}
	out->n = from;
	buf_put(out, str_n((const char *)map, octets));
	free(map);
}

static bool payload_put(const struct builder *b, struct buf *out)
{
	size_t places, lists;

	for (uint32_t i = 0; i < b->n_docs; i++)
		buf_put_le32(out, b->off[i]);
	places = out->n;
	for (uint32_t k = 0; k <= SEARCH_KEYS; k++)
		buf_put_le32(out, 0);
	lists = out->n;
	for (uint32_t k = 0; k < SEARCH_KEYS && !out->full; k++) {
		size_t from = out->n;
		uint32_t end;

		list_put(b, &b->posts[k], out);
		if (out->n - from >= search_bitmap_octets(b->n_docs) && out->n > from)
			list_to_bitmap(out, from, b->n_docs);
		end = (uint32_t)(out->n - lists);
		memcpy(out->p + places + 4 * ((size_t)k + 1), &end, sizeof end);
	}
	return !out->full;
}

static bool checksums_put(struct str payload, struct buf *out)
{
	while (payload.n > 0) {
		struct str block = str_head(payload, SEARCH_BLOCK_OCTETS);

		buf_put_le32(out, crc32c(0, block.p, block.n));
		payload = str_skip(payload, block.n);
	}
	return !out->full;
}

static enum err_kind publish(struct store *s, struct search_header *h, struct str payload,
    struct err *e)
{
	struct buf crcs = BUF_INIT(SEARCH_FILE_MAX_OCTETS);
	char name[32];
	enum err_kind k = ERR_OK;
	int fd;

	if (!checksums_put(payload, &crcs)) {
		buf_free(&crcs);
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for a search file");
	}
	h->payload_octets = (uint32_t)payload.n;
	h->blocks_crc = crc32c(0, crcs.p, crcs.n);
	h->crc = crc32c(0, h, offsetof(struct search_header, crc));
	fd = openat(s->dirfd, SEARCH_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		k = err_sys(e, errno, "create " SEARCH_TMP);
	if (k == ERR_OK && (k = io_write(fd, str_n((const char *)h, sizeof *h), SEARCH_TMP, e)) == ERR_OK &&
	    (k = io_write(fd, buf_str(&crcs), SEARCH_TMP, e)) == ERR_OK)
		k = io_write(fd, payload, SEARCH_TMP, e);
	search_name(name, h->seg);
	if (k == ERR_OK && renameat(s->dirfd, SEARCH_TMP, s->dirfd, name) < 0)
		k = err_sys(e, errno, "name %s", name);
	if (fd >= 0)
		close(fd);
	if (k != ERR_OK)
		(void)unlinkat(s->dirfd, SEARCH_TMP, 0);
	buf_free(&crcs);
	return k;
}

static enum err_kind build_segment(struct store *s, uint32_t seg, struct err *e)
{
	struct buf payload = BUF_INIT(SEARCH_FILE_MAX_OCTETS);
	struct search_header h;
	struct journal_scan scan;
	struct builder b;
	enum err_kind k = ERR_OK;

	if (!builder_init(&b, s))
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to index");
	if (k == ERR_OK && !search_expect(s, seg, &h))
		k = err_set(e, ERR_NOENT, 0, "segment %u has not ended", seg);
	if (k == ERR_OK)
		k = journal_scan(s->journal, seg, each_record, &b, &scan, e);
	if (k == ERR_OK && (!scan.ended || scan.end_crc != h.end_crc))
		k = err_set(e, ERR_NOENT, 0, "segment %u has no end", seg);
	if (k == ERR_OK && !payload_put(&b, &payload))
		k = err_set(e, ERR_TEMP, ENOMEM, "no memory to index");
	if (k == ERR_OK) {
		h.n_docs = b.n_docs;
		k = publish(s, &h, buf_str(&payload), e);
	}
	buf_free(&payload);
	builder_free(&b);
	return k;
}

/* -- all segments -- */

/* The directory's lock. Errors: ERR_BUSY, another process has it. */
static enum err_kind lock_directory(struct store *s, int *out_fd, struct err *e)
{
	enum err_kind k = ERR_OK;

	if (mkdirat(s->dirfd, "search", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make search");
	*out_fd = openat(s->dirfd, SEARCH_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*out_fd < 0)
		return err_sys(e, errno, "open " SEARCH_LOCK);
	if (flock(*out_fd, LOCK_EX | LOCK_NB) < 0) {
		k = err_set(e, ERR_BUSY, errno, "the search files are being made");
		close(*out_fd);
	}
	return k;
}

/* Files of segments that are not there; by the lock's holder also what a death left. */
static void remove_strays(struct store *s, bool tmp_too)
{
	int fd = openat(s->dirfd, "search", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((d = readdir(dir)) != NULL) {
		struct str name = str_of(d->d_name);
		uint64_t seg;
		bool stray = (tmp_too && str_eq(name, STR("tmp"))) || (str_ends(name, STR(".idx")) &&
		    str_to_u64(str_head(name, name.n - 4), UINT32_MAX, &seg) &&
		    (seg < s->ctl->first_seg || seg >= s->ctl->tail.pos.seg));

		if (stray)
			(void)unlinkat(fd, d->d_name, 0);
	}
	closedir(dir);
}

/* One segment that has no file. What can't be read, and so not be told of, is not an error:
 * searches read it. */
static enum err_kind build_one(struct store *s, uint32_t seg, struct search_build_result *out,
    struct err *e)
{
	struct err why;
	enum err_kind k = build_segment(s, seg, &why);

	if (k == ERR_OK) {
		out->n_built++;
		out->n_wanting--;
	}
	if (k == ERR_CORRUPT || k == ERR_NOENT)
		return ERR_OK;
	if (k != ERR_OK && e != NULL)
		*e = why;
	return k;
}

enum err_kind search_build(struct store *s, uint32_t max_segments, uint64_t max_ms,
    struct search_build_result *out, struct err *e)
{
	uint64_t end_ms = clock_mono_ms() + max_ms;
	enum err_kind k;
	int lock = -1;

	*out = (struct search_build_result){ .n_built = 0 };
	s->search_wanting = false;
	if (search_rules() == 0 || s->ctl->first_seg >= s->ctl->tail.pos.seg)
		return ERR_OK;
	k = lock_directory(s, &lock, e);
	out->busy = k == ERR_BUSY;
	if (k != ERR_OK)
		return out->busy ? ERR_OK : k;
	remove_strays(s, true);
	for (uint32_t seg = s->ctl->first_seg; seg < s->ctl->tail.pos.seg; seg++) {
		if (search_is_there(s, seg))
			continue;
		out->n_wanting++;
		if (k == ERR_OK && out->n_built < max_segments && clock_mono_ms() <= end_ms)
			k = build_one(s, seg, out, e);
	}
	close(lock);
	return k;
}

void search_forget(struct store *s)
{
	remove_strays(s, false);
}

bool search_wanting(const struct store *s)
{
	return s->search_wanting;
}

void search_tend(struct store *s)
{
	struct search_build_result r;
	uint32_t tail = s->ctl->tail.pos.seg;
	char name[32];
	struct stat st;

	if (tail <= s->ctl->first_seg || search_rules() == 0)
		return;
	search_name(name, tail - 1);
	if (!s->search_wanting && fstatat(s->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	if (search_build(s, TEND_SEGMENTS, TEND_MS, &r, NULL) != ERR_OK)
		return;			/* a full disk, say; the next one tries again */
}
