/* SPDX-License-Identifier: ISC */
/* A message on its way into stores. Up to STORE_INLINE_MAX_OCTETS it stays in memory; a larger one goes to a file
 * large/tmp-<id> of the first store, is synced once, and is linked into every store that takes it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/io.h"
#include "../libmail/record.h"
#include "body_int.h"
#include "crc32c.h"
#include "pack.h"
#include "store_int.h"

struct body *body_new(struct store *spill, uint64_t max_octets)
{
	struct body *b = calloc(1, sizeof *b);

	if (b == NULL)
		_exit(EX_TEMPFAIL);
	b->spill = spill;
	b->max_octets = max_octets < STORE_MESSAGE_MAX_OCTETS ? max_octets : STORE_MESSAGE_MAX_OCTETS;
	b->fd = -1;
	buf_init(&b->mem, STORE_INLINE_MAX_OCTETS);
	buf_init(&b->record, RECORD_MAX_OCTETS);
	buf_init(&b->packed, STORE_INLINE_MAX_OCTETS);
	return b;
}

static void tmp_name(char name[40], uint64_t id)
{
	snprintf(name, 40, "large/tmp-%016llx", (unsigned long long)id);
}

void body_free(struct body **out)
{
	struct body *b = *out;
	char name[40];

	if (b == NULL)
		return;
	if (b->map != NULL)
		munmap((void *)(uintptr_t)b->map, b->n_octets);
	if (b->fd >= 0) {
		tmp_name(name, b->large_id);
		unlinkat(b->spill->dirfd, name, 0);
		close(b->fd);
	}
	buf_free(&b->mem);
	buf_free(&b->record);
	buf_free(&b->packed);
	free(b);
	*out = NULL;
}

static enum err_kind start_spill(struct body *b, struct err *e)
{
	char name[40];

	do {
		if (getrandom(&b->large_id, sizeof b->large_id, 0) != sizeof b->large_id)
			return err_sys(e, errno, "random body id");
	} while (b->large_id == 0);
	tmp_name(name, b->large_id);
	b->fd = openat(b->spill->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (b->fd < 0)
		return err_sys(e, errno, "create body file");
	return io_write(b->fd, buf_str(&b->mem), "body", e);
}

enum err_kind body_add(struct body *b, struct str octets, struct err *e)
{
	enum err_kind k = ERR_OK;

	if (octets.n > b->max_octets - b->n_octets)
		return err_set(e, ERR_LIMIT, 0, "message over %llu octets",
		    (unsigned long long)b->max_octets);
	if (b->fd < 0 && b->n_octets + octets.n <= STORE_INLINE_MAX_OCTETS) {
		if (!buf_put(&b->mem, octets))
			return err_set(e, ERR_TEMP, 0, "no memory for body");
	} else {
		if (b->fd < 0)
			k = start_spill(b, e);
		if (k == ERR_OK)
			k = io_write(b->fd, octets, "body", e);
	}
	b->n_octets += octets.n;
	return k;
}

static enum err_kind seal_file(struct body *b, struct err *e)
{
	void *p;

	if (fsync(b->fd) < 0)
		return err_sys(e, errno, "sync body");
	p = mmap(NULL, b->n_octets, PROT_READ, MAP_SHARED, b->fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, errno, "map body");
	b->map = p;
	buf_free(&b->mem);
	b->body_crc = crc32c(0, b->map, b->n_octets);
	return ERR_OK;
}

enum err_kind body_seal(struct body *b, struct err *e)
{
	struct arena *a;
	enum err_kind k;

	if (b->fd >= 0 && (k = seal_file(b, e)) != ERR_OK)
		return k;
	b->sealed = true;
	if (b->fd < 0 && b->spill->env.conf.compress) {
		if (pack_body(&b->spill->pack, buf_str(&b->mem), &b->packed))
			b->body_crc = crc32c(0, b->mem.p, b->mem.n);
		else
			buf_free(&b->packed);
	}
	a = arena_new(RECORD_ARENA_OCTETS);
	k = record_make(a, body_view(b), &b->record, e);
	arena_free(&a);
	if (k != ERR_OK)
		return err_set(e, ERR_TEMP, 0, "no memory to parse the message");
	b->record_crc = crc32c(0, b->record.p, b->record.n);
	return ERR_OK;
}

uint64_t body_octets(const struct body *b)
{
	return b->n_octets;
}

struct str body_view(const struct body *b)
{
	if (!b->sealed)
		err_bug("body_view before body_seal");
	return b->map != NULL ? str_n(b->map, b->n_octets) : buf_str(&b->mem);
}

struct str body_record(const struct body *b)
{
	return buf_str(&b->record);
}

/* -- large bodies -- */

static enum err_kind make_parent(struct store *s, const char *parent, struct err *e)
{
	if (mkdirat(s->dirfd, parent, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "create %s", parent);
	return io_sync_dir(s->dirfd, "large", e);	/* who made it may have died before this */
}

/* Another file system: the octets are written again. */
static enum err_kind copy_file(const struct body *b, struct store *s, const char *name, struct err *e)
{
	int fd = openat(s->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	enum err_kind k;

	if (fd < 0)
		return err_sys(e, errno, "create %s", name);
	k = io_write(fd, str_n(b->map, b->n_octets), name, e);
	if (k == ERR_OK && fsync(fd) < 0)
		k = err_sys(e, errno, "sync %s", name);
	close(fd);
	if (k != ERR_OK)
		unlinkat(s->dirfd, name, 0);
	return k;
}

enum err_kind body_link(const struct body *b, struct store *s, struct err *e)
{
	char tmp[40], name[40], parent[40];
	enum err_kind k;

	tmp_name(tmp, b->large_id);
	large_name(name, b->large_id);
	snprintf(parent, sizeof parent, "large/%02x", (unsigned)(b->large_id & 0xff));
	if ((k = make_parent(s, parent, e)) != ERR_OK)
		return k;
	if (linkat(b->spill->dirfd, tmp, s->dirfd, name, 0) < 0 && errno != EEXIST) {
		if (errno != EXDEV && errno != EPERM && errno != EMLINK)
			return err_sys(e, errno, "link %s", name);
		if ((k = copy_file(b, s, name, e)) != ERR_OK)
			return k;
	}
	return io_sync_dir(s->dirfd, parent, e);
}

bool body_is_linked(const struct body *b, const struct store *s)
{
	char name[40];

	large_name(name, b->large_id);
	return faccessat(s->dirfd, name, F_OK, 0) == 0;
}
