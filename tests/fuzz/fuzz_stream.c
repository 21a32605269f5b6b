/* SPDX-License-Identifier: ISC */
/* What a stranger sends to `penny follow --receive`: it must be refused or taken, within bounds, and leave a directory that
 * the next one can open. Input: an octet of how (1: HELLO and BEGIN are sent before; 2: frames are as they are, without
 * headers made for them), then frames as type (1 octet), length (2, little-endian), payload. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../libstore/copy_int.h"
#include "../../libstore/crc32c.h"
#include "../../libstore/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { HOW_GREET = 1, HOW_RAW = 2 };

static void put(int fd, const void *p, size_t n)
{
	if (n > 0 && write(fd, p, n) != (ssize_t)n)
		abort();
}

static void put_frame(int fd, uint16_t type, const void *payload, size_t n)
{
	struct frame_header h = { .octets = (uint32_t)n, .type = type };

	h.crc = crc32c(crc32c(0, &h, offsetof(struct frame_header, crc)), payload, n);
	put(fd, &h, sizeof h);
	put(fd, payload, n);
}

static void greet(int fd)
{
	struct { struct frame_hello h; char user[5]; } hello = { { STREAM_VERSION, 0 }, { 'a', 'l', 'i', 'c', 'e' } };
	struct frame_begin begin = { 1, 0, 1, 0 };
	struct seg_header seg = { .magic = { 'P', 'E', 'N', 'N', 'Y', 'S', 'E', 'G' }, .version = FORMAT_VERSION, .number = 1,
		.store_id = 1, .salt = 2, .first_seq = 1 };

	seg.crc = crc32c(0, &seg, offsetof(struct seg_header, crc));
	put_frame(fd, STREAM_HELLO, &hello, sizeof hello.h + sizeof hello.user);
	put_frame(fd, STREAM_BEGIN, &begin, sizeof begin);
	put_frame(fd, STREAM_SEGMENT, &seg, sizeof seg);
}

static void put_frames(int fd, const uint8_t *data, size_t n)
{
	while (n >= 3) {
		size_t len = (size_t)data[1] | (size_t)data[2] << 8;

		n -= 3;
		len = len > n ? n : len;
		put_frame(fd, data[0], data + 3, len);
		data += 3 + len;
		n -= len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static char path[256];
	int in = memfd_create("in", MFD_CLOEXEC), out = open("/dev/null", O_WRONLY | O_CLOEXEC), dir;
	struct copy_pos sure, end;
	struct copy *c = NULL;
	struct err e;

	if (path[0] == '\0') {
		snprintf(path, sizeof path, "%s/fuzz_stream.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
		if (mkdtemp(path) == NULL)
			abort();
	}
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (in < 0 || out < 0 || dir < 0)
		abort();
	if (n > 0 && (data[0] & HOW_GREET))
		greet(in);
	if (n > 0 && (data[0] & HOW_RAW))
		put(in, data + 1, n - 1);
	else if (n > 0)
		put_frames(in, data + 1, n - 1);
	lseek(in, 0, SEEK_SET);
	(void)!stream_receive(in, out, dir, &e);
	/* whatever it was, the next writer can begin */
	if (copy_open(dir, STR("alice"), true, &c, &e) == ERR_OK)
		copy_has(c, &sure, &end);
	else if (e.kind != ERR_EXISTS)		/* another user's */
		abort();
	copy_close(&c);
	for (const char *const *name = (const char *const[]){ "journal", "large", "past", NULL }; *name != NULL; name++) {
		if (copy_remove_tree(dir, *name, NULL) != ERR_OK)
			abort();
	}
	unlinkat(dir, "manifest", 0);
	unlinkat(dir, "copy", 0);
	close(in);
	close(out);
	close(dir);
	return 0;
}
