/* SPDX-License-Identifier: ISC */
/* What the files about copies share: the manifest in memory, and files that are reached without symbolic links. */
#ifndef COPY_INT_H
#define COPY_INT_H

#include <fcntl.h>
#include <sys/stat.h>

#include "../libbase/buf.h"
#include "copy.h"
#include "store_int.h"

enum {
	COPY_CHUNK_OCTETS = 1 << 20,
	LARGE_DIRS = 256,
	LARGE_NAME_OCTETS = 16,		/* of the file in its directory */
	LARGE_PARENT_OCTETS = 9,	/* "large/XX/" of large_name */
	COPY_DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
};

struct manifest {
	struct manifest_head h;
	struct manifest_segment *seg;
	size_t cap;
	char user[COPY_USER_MAX_OCTETS + 1];
};

/* -- manifest.c -- */
/* Reads "manifest" in dirfd. The caller frees with manifest_free in any case. Errors: ERR_NOENT, ERR_CORRUPT, ERR_TEMP. */
enum err_kind manifest_read(int dirfd, struct manifest *m, struct err *e) CHECKED;
/* Pure: the octets of one. Errors: ERR_CORRUPT. */
enum err_kind manifest_parse(struct str octets, struct manifest *m, struct err *e) CHECKED;
/* Replaces it at once, durably. */
enum err_kind manifest_write(int dirfd, struct manifest *m, struct err *e) CHECKED;
/* The entry of a segment, NULL when it is not listed. */
struct manifest_segment *manifest_find(const struct manifest *m, uint32_t number);
/* Adds the entry behind the last one, or changes it when it is there. Errors: ERR_TEMP (memory). */
enum err_kind manifest_put(struct manifest *m, const struct manifest_segment *x, struct err *e) CHECKED;
void manifest_free(struct manifest *m);

/* -- copyfiles.c -- */
void copy_segment_name(char name[32], uint32_t number);
/* The directory's header of a segment as it lies there. Errors: ERR_NOENT, ERR_CORRUPT. */
enum err_kind copy_read_header(int dirfd, uint32_t number, struct seg_header *out, uint64_t *out_octets,
    struct err *e) CHECKED;
enum err_kind copy_write_at(int fd, struct str octets, uint64_t off, struct err *e) CHECKED;
/* Reads octets from the beginning of a file and hands them to each in chunks. A file that ends early is ERR_CORRUPT. */
enum err_kind copy_each_chunk(int from, uint64_t octets,
    enum err_kind (*each)(void *ctx, struct str chunk, uint64_t off, struct err *e), void *ctx, struct err *e) CHECKED;
/* To the beginning of another file. */
enum err_kind copy_octets(int from, int to, uint64_t octets, struct err *e) CHECKED;
/* The directory large/XX of a body. */
enum err_kind copy_open_large_dir(int dirfd, uint64_t id, bool make, int *out_fd, struct err *e) CHECKED;
/* A large body on its way to its final name in a copy: whole and durable there, or not at all. */
struct copy_large {
	int parent, fd;
	bool there;			/* it was: nothing is to be added */
	uint64_t octets, n;		/* how many there will be, and are */
	uint32_t crc;
	char path[40], tmp[40];
};
/* After ERR_OK and unless it is there: add until `octets` are there, then end; or drop. After any other error but of
 * begin: drop. */
enum err_kind copy_large_begin(int dirfd, uint64_t id, uint64_t octets, struct copy_large *l, struct err *e) CHECKED;
enum err_kind copy_large_add(struct copy_large *l, struct str octets, struct err *e) CHECKED;
enum err_kind copy_large_end(struct copy_large *l, struct err *e) CHECKED;
void copy_large_drop(struct copy_large *l);
/* All of it from a file. *out_copied false: it was there. */
enum err_kind copy_put_large(int dirfd, uint64_t id, int from, uint64_t octets, bool *out_copied, uint32_t *out_crc,
    struct err *e) CHECKED;
/* journal_scan_part up to offset `to`; 0: to the end of the segment. */
enum err_kind copy_scan(struct journal *j, struct journal_pos from, uint64_t after, uint32_t to,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx,
    struct journal_scan *out, struct err *e) CHECKED;
/* The large body that a record names, 0 for none; its record (may be NULL) then says how long it is. */
uint64_t copy_large_id(const struct journal_view *v, struct rec_message *out);

/* -- copydir.c -- */
int copy_dirfd(const struct copy *c);
/* The end of the whole groups behind `sure` in the journal below dirfd: what a follower has put there since. */
void copy_find_end(int dirfd, const struct copy_pos *sure, struct copy_pos *out);

#endif
