/* SPDX-License-Identifier: ISC */
/* A search file whose checksums are right but whose numbers are anything: looking needles up stays
 * within bounds. Input: an octet of flags (1: leave the checksums wrong), the number of documents
 * (4, little-endian), then patches of a real file's payload: place (4), length (1), octets. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../libmail/charset.h"
#include "../../libstore/crc32c.h"
#include "../../libstore/search_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";
}

enum { MESSAGES = 200, SEGMENT = 32 * 1024 };

static struct real {
	struct store *s;
	struct mailbox *mb;
	struct buf file;
} real;

static void file_message(unsigned i)
{
	struct body *b = body_new(real.s, 1 << 20);
	struct append how = { .prefix = STR("") };
	char text[200];

	snprintf(text, sizeof text, "Subject: number %u\r\n\r\nsome words and %x\r\n", i, i * 2654435761u);
	if (body_add(b, str_of(text), NULL) != ERR_OK || body_seal(b, NULL) != ERR_OK ||
	    mailbox_append(real.s, MAILBOX_INBOX, b, &how, NULL, NULL, NULL) != ERR_OK)
		abort();
	body_free(&b);
}

static void make_store(void)
{
	struct store_env env;
	struct search_build_result r;
	char path[256], octets[4096];
	ssize_t got;
	int fd;

	snprintf(path, sizeof path, "%s/fuzz_search.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(path) == NULL || (fd = open(path, O_RDONLY | O_DIRECTORY)) < 0)
		abort();
	charset_warm();
	store_env_init(&env);
	env.segment_octets = SEGMENT;
	if (store_open(fd, &env, &real.s, NULL) != ERR_OK)
		abort();
	for (unsigned i = 0; i < MESSAGES; i++)
		file_message(i);
	if (search_build(real.s, 1, UINT32_MAX, &r, NULL) != ERR_OK || r.n_built != 1 ||
	    mailbox_open(real.s, STR("INBOX"), false, &real.mb, NULL) != ERR_OK ||
	    mailbox_load(real.mb, NULL) != ERR_OK)
		abort();
	buf_init(&real.file, SEARCH_FILE_MAX_OCTETS);
	close(fd);
	fd = openat(real.s->dirfd, "search/00000001.idx", O_RDONLY);
	while ((got = read(fd, octets, sizeof octets)) > 0)
		buf_put(&real.file, str_n(octets, (size_t)got));
	close(fd);
}

static void patch(char *payload, size_t octets, const uint8_t *data, size_t n)
{
	while (n >= 5) {
		size_t at = get_le32((const char *)data) % octets, len = data[4];

		data += 5;
		n -= 5;
		len = len < n ? len : n;
		len = len < octets - at ? len : octets - at;
		memcpy(payload + at, data, len);
		data += len;
		n -= len;
	}
}

static void put_file(const uint8_t *data, size_t n)
{
	struct search_header h;
	char *p = malloc(real.file.n);
	size_t blocks, start;
	int fd = openat(real.s->dirfd, "search/00000001.idx", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (p == NULL || fd < 0)
		abort();
	memcpy(p, real.file.p, real.file.n);
	memcpy(&h, p, sizeof h);
	blocks = search_n_blocks(h.payload_octets);
	start = sizeof h + 4 * blocks;
	h.n_docs = get_le32((const char *)data + 1) ^ h.n_docs;
	patch(p + start, h.payload_octets, data + 5, n - 5);
	for (size_t k = 0; (data[0] & 1) == 0 && k < blocks; k++) {
		struct str block = str_head(str_skip(str_n(p + start, h.payload_octets), k * SEARCH_BLOCK_OCTETS),
		    SEARCH_BLOCK_OCTETS);
		uint32_t crc = crc32c(0, block.p, block.n);

		memcpy(p + sizeof h + 4 * k, &crc, sizeof crc);
	}
	h.blocks_crc = crc32c(0, p + sizeof h, 4 * blocks);
	h.crc = crc32c(0, &h, offsetof(struct search_header, crc));
	memcpy(p, &h, sizeof h);
	if (write(fd, p, real.file.n) != (ssize_t)real.file.n)
		abort();
	close(fd);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct str needles[] = { STR_INIT("SUBJECT: NUMBER 17"), STR_INIT("SOM"), STR_INIT("AB"), STR_INIT("\xff\xfe\xfd") };
	struct search_filter *f;

	if (real.s == NULL)
		make_store();
	if (n < 5)
		return 0;
	put_file(data, n);
	f = search_filter_new(real.mb, needles, COUNTOF(needles));
	for (size_t i = 0; i < mailbox_n(real.mb); i++)
		for (size_t k = 0; k <= COUNTOF(needles); k++)
			if (!search_filter_may_have(f, k, mailbox_at(real.mb, i)) && k >= 2 && k != 3)
				abort();		/* is never looked up */
	search_filter_free(&f);
	return 0;
}
