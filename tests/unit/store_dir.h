/* SPDX-License-Identifier: ISC */
/* A scratch directory for a store, and short words for what store tests do over and over. */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../libstore/mailbox.h"
#include "tap.h"

struct dir {
	char path[256];
	int fd;
};

static inline struct dir dir_make(void)
{
	const char *tmp = getenv("TMPDIR");
	struct dir d;

	snprintf(d.path, sizeof d.path, "%s/pennystore.XXXXXX", tmp != NULL ? tmp : "/tmp");
	REQUIRE(mkdtemp(d.path) != NULL);
	d.fd = open(d.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	REQUIRE(d.fd >= 0);
	return d;
}

static inline int dir_rm_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void dir_remove(struct dir *d)
{
	REQUIRE(chdir("/") == 0);
	close(d->fd);
	nftw(d->path, dir_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Small stores would do without the index, which is what most tests are about; 0 uses it always. */
static uint32_t store_dir_replay_max;
static uint32_t store_dir_segment;	/* length of journal segments; 0: as usual */
static bool store_dir_compress;
static uint64_t store_dir_retain_ms;	/* expunged messages can be brought back; 0: not at all */
static uint64_t store_dir_retain_octets = UINT64_MAX;

static inline struct store *store_at(const struct dir *d)
{
	struct store_env env;
	struct store *s = NULL;
	struct err e = { .text = "" };

	store_env_init(&env);
	env.replay_max_octets = store_dir_replay_max;
	env.conf.compress = store_dir_compress;
	if (store_dir_segment != 0)
		env.segment_octets = store_dir_segment;
	env.conf.retain_ms = store_dir_retain_ms;
	env.conf.retain_octets = store_dir_retain_octets;
	if (store_open(d->fd, &env, &s, &e) != ERR_OK)
		printf("# store_open: %s\n", e.text);
	REQUIRE(s != NULL);
	return s;
}

/* What another session does, by name. The test program runs itself again for it: other sessions are other processes, and
 * Berkeley DB's handles must not be carried across a fork. */
struct other {
	const char *name;
	bool (*fn)(struct store *s);
};

static inline bool other_session(const struct dir *d, const char *name)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		execl("/proc/self/exe", "test", "--other", name, d->path, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* To be called first in main: runs the named one and ends when the program was started for it. */
static inline void other_session_main(int argc, char **argv, const struct other *others, size_t n)
{
	struct dir d = { .fd = -1 };
	struct store *s;
	bool ok = false;

	if (argc != 4 || strcmp(argv[1], "--other") != 0)
		return;
	tap_helper = true;
	d.fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s = store_at(&d);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(others[i].name, argv[2]) == 0)
			ok = others[i].fn(s);
	}
	store_close(&s);
	close(d.fd);
	exit(ok ? 0 : 1);
}

static inline uint32_t put_message(struct store *s, uint32_t mailbox, struct str text, uint32_t flags,
    struct str prefix)
{
	struct body *b = body_new(s, 64 << 20);
	struct append how = { .prefix = prefix, .flags = flags, .internaldate_s = 1000000000 };
	struct err e = { .text = "" };
	uint32_t uid = 0;

	if (body_add(b, text, &e) != ERR_OK || body_seal(b, &e) != ERR_OK ||
	    mailbox_append(s, mailbox, b, &how, &uid, NULL, &e) != ERR_OK)
		printf("# append: %s\n", e.text);
	body_free(&b);
	return uid;
}

/* 0 when there is none. */
static inline uint32_t mailbox_id(struct store *s, const char *name)
{
	struct arena *a = arena_new(4096);
	struct mailbox_info i = { .id = 0 };

	(void)!store_find(s, a, str_of(name), &i, NULL);
	arena_free(&a);
	return i.id;
}

static inline struct mailbox *mailbox_at_name(struct store *s, const char *name)
{
	struct mailbox *mb = NULL;
	struct err e = { .text = "" };

	if (mailbox_open(s, str_of(name), true, &mb, &e) != ERR_OK || mailbox_load(mb, &e) != ERR_OK)
		printf("# mailbox_open %s: %s\n", name, e.text);
	REQUIRE(mb != NULL);
	return mb;
}

#endif
