/* SPDX-License-Identifier: ISC */
/* penny import mbox: any file gives whole frames, and every message that begins ends. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../ctl/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_frames(FILE *f)
{
	int type, open = 0;

	rewind(f);
	while ((type = fgetc(f)) != EOF) {
		char skip[IMPORT_CHUNK_OCTETS];
		uint32_t len = 0;

		if (type == FRAME_END && fread(skip, 1, 12, f) != 12)
			abort();
		if (type == FRAME_FOLDER || type == FRAME_DATA || type == FRAME_END)
			if (fread(&len, 4, 1, f) != 1 || len > sizeof skip || fread(skip, 1, len, f) != len)
				abort();
		if (type == FRAME_BEGIN)
			open++;
		if (type == FRAME_END || type == FRAME_DROP)
			open--;
		if (open < 0 || open > 1)
			abort();
	}
	if (open != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int fd = memfd_create("mbox", MFD_CLOEXEC), out = memfd_create("frames", MFD_CLOEXEC);
	struct import_out o = { .to = fdopen(out, "w+") };
	struct err e;

	if (fd < 0 || o.to == NULL || (n > 0 && write(fd, data, n) != (ssize_t)n))
		abort();
	lseek(fd, 0, SEEK_SET);
	if (import_mbox(&o, fd, "fuzz", "INBOX", &e) != ERR_OK && e.kind != ERR_SYNTAX)
		abort();
	check_frames(o.to);
	fclose(o.to);
	close(fd);
	return 0;
}
