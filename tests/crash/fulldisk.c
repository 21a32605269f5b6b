/* SPDX-License-Identifier: ISC */
/* A disk that is really full, of octets or of inodes, at a random moment of a store's life: a small tmpfs is filled until
 * only so much is left, then mail comes until there is no more room. Deliveries are refused with ERR_NOSPC and leave
 * nothing; what is there can be read; flags can be set and messages expunged; when there is room again the same handles
 * take mail. Nothing that was acknowledged is lost.
 *
 * The file system is mounted in a name space of this process's own, so nothing is left behind; where that is not
 * permitted the test is skipped. PENNY_ROUNDS and PENNY_SEED choose how many fill levels and which. Prints TAP. */
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <time.h>

#include "ops.h"

#if defined(__SANITIZE_ADDRESS__)
enum { ROUNDS_DEFAULT = 40 };
#else
enum { ROUNDS_DEFAULT = 150 };
#endif

enum {
	LEFT_MAX_OCTETS = 3 << 20,	/* of free space when the store is opened: the index alone takes more than one */
	LEFT_MAX_INODES = 12,
	DELIVERIES_MAX = 400,
	FILES_MAX = 4000,
};
#define FS_OPTIONS "size=12m,nr_inodes=2000,mode=700"

/* -- the file system -- */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Mounts of this process's own: as root, or as root of a name space of users. */
static bool own_mounts(void)
{
	char map[64];

	if (unshare(CLONE_NEWNS) < 0) {
		snprintf(map, sizeof map, "0 %u 1\n", (unsigned)getuid());
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !write_text("/proc/self/uid_map", map))
			return false;
	}
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void fill_octets(const struct dir *fs, uint64_t left)
{
	struct statvfs v;
	int fd = openat(fs->fd, "ballast", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0 && fstatvfs(fs->fd, &v) == 0);
	if ((uint64_t)v.f_bavail * v.f_bsize > left)
		REQUIRE(posix_fallocate(fd, 0, (off_t)((uint64_t)v.f_bavail * v.f_bsize - left)) == 0);
	close(fd);
}

static void fill_inodes(const struct dir *fs, uint64_t left)
{
	struct statvfs v;

	REQUIRE(mkdirat(fs->fd, "files", 0700) == 0);
	for (int i = 0; i < FILES_MAX && fstatvfs(fs->fd, &v) == 0 && v.f_favail > left; i++) {
		char name[32];
		int fd;

		snprintf(name, sizeof name, "files/%d", i);
		fd = openat(fs->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		REQUIRE(fd >= 0);
		close(fd);
	}
}

static void make_room(const struct dir *fs)
{
	(void)unlinkat(fs->fd, "ballast", 0);
	for (int i = 0; i < FILES_MAX; i++) {
		char name[32];

		snprintf(name, sizeof name, "files/%d", i);
		if (unlinkat(fs->fd, name, 0) < 0 && errno == ENOENT)
			break;
	}
	(void)unlinkat(fs->fd, "files", AT_REMOVEDIR);
}

/* -- one round -- */

static struct told {
	unsigned n_acked, n_gone;
	bool full, read, flagged, expunged, again, opened;
	int refusal;
} *told;

/* A store that can't be opened for want of room is a temporary error, too. */
static struct store *open_store(const struct dir *d)
{
	struct store_env env;
	struct store *s = NULL;
	enum err_kind k;

	store_env_init(&env);
	env.replay_max_octets = rand() % 2 ? 0 : UINT32_MAX;
	k = store_open(d->fd, &env, &s, NULL);
	told->opened = k == ERR_OK;
	if (k != ERR_OK)
		told->refusal = k;
	return s;
}

static bool all_can_be_read(struct store *s)
{
	struct mailbox *mb;
	struct message_text t;
	bool ok = mailbox_open(s, STR("INBOX"), false, &mb, NULL) == ERR_OK;

	if (!ok)
		return false;
	ok = mailbox_load(mb, NULL) == ERR_OK;
	for (size_t i = 0; ok && i < mailbox_n(mb); i++) {
		ok = message_open(mb, mailbox_at(mb, i), &t, NULL) == ERR_OK;
		if (ok)
			message_close(&t);
	}
	mailbox_close(&mb);
	return ok;
}

static void change_while_full(struct store *s)
{
	struct flag_change ch = { FLAG_ADD, MSG_SEEN, NULL, 0, UINT64_MAX };
	struct mailbox *mb;

	if (mailbox_open(s, STR("INBOX"), false, &mb, NULL) != ERR_OK)
		return;
	told->flagged = mailbox_store_flags(mb, (uint32_t[]){ 1, 3, 5 }, 3, &ch, NULL, NULL, NULL) == ERR_OK;
	told->expunged = mailbox_expunge(mb, (uint32_t[]){ 2, 4 }, 2, false, NULL, NULL) == ERR_OK;
	told->n_gone = told->expunged ? 2 : 0;
	mailbox_close(&mb);
}

static void live(const struct dir *d, const struct dir *fs)
{
	struct store *s = open_store(d);
	enum err_kind k = ERR_OK;

	for (int i = 0; s != NULL && k == ERR_OK && i < DELIVERIES_MAX; i++) {
		k = append_octets(s, rand() % 8 == 0 ? OPS_LARGE_OCTETS : 200 + (size_t)rand() % 20000, "", false);
		told->n_acked += k == ERR_OK;
	}
	if (s != NULL && k != ERR_OK) {
		told->full = true;
		told->refusal = k;
		told->read = all_can_be_read(s);
		change_while_full(s);
	}
	make_room(fs);
	if (s == NULL)
		s = store_at(d);
	k = append_octets(s, 5000, "", false);
	told->again = k == ERR_OK;
	told->n_acked += told->again;
	store_close(&s);
}

/* Another process: how many there are, and whether all is sound. */
static void look(const struct dir *d, const struct dir *fs)
{
	struct store *s = store_at(d);
	struct mailbox *mb = mailbox_at_name(s, "INBOX");
	uint64_t n_bad = 1;

	(void)fs;
	REQUIRE(mailbox_n(mb) + told->n_gone == OPS_MESSAGES + 1 + told->n_acked);
	mailbox_close(&mb);
	REQUIRE(all_can_be_read(s));
	REQUIRE(store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0);
	store_close(&s);
}

static bool child(void (*fn)(const struct dir *, const struct dir *), const struct dir *d, const struct dir *fs)
{
	int status = -1, seed = rand();
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_helper = true;
		srand((unsigned)seed);
		fn(d, fs);
		fflush(stdout);
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static struct { unsigned full, acked, flagged, unopened; } sum;

static bool one_round(const struct dir *base, const struct dir *fs, bool inodes, uint64_t left)
{
	struct dir d;
	bool ok;

	tap_quiet(true);
	memset(told, 0, sizeof *told);
	d = base_copy(base);
	if (inodes)
		fill_inodes(fs, left);
	else
		fill_octets(fs, left);
	ok = child(live, &d, fs);
	ok = ok && told->again && (!told->full || (told->read && told->refusal == ERR_NOSPC));
	/* whoever took mail has kept room for marking and deleting it */
	ok = ok && (!told->full || told->n_acked <= 1 || (told->flagged && told->expunged));
	ok = ok && (told->opened || told->refusal == ERR_NOSPC);
	ok = child(look, &d, fs) && ok;
	make_room(fs);
	dir_remove(&d);
	tap_quiet(false);
	sum.full += told->full;
	sum.acked += told->n_acked;
	sum.flagged += told->flagged && told->expunged;
	sum.unopened += !told->opened;
	if (!ok)
		printf("# %llu %s left: opened %d, %u taken, full %d, refused with %d, read %d, flags %d, expunge %d, then %d\n",
		    (unsigned long long)left, inodes ? "inodes" : "octets", told->opened, told->n_acked, told->full,
		    told->refusal, told->read, told->flagged, told->expunged, told->again);
	return ok;
}

static unsigned wish(const char *name, unsigned usual)
{
	const char *v = getenv(name);

	return v != NULL ? (unsigned)strtoul(v, NULL, 10) : usual;
}

static void make_base(const struct dir *d, const struct dir *fs)
{
	struct dir made = base_make(BASE_PLAIN);

	(void)fs;
	REQUIRE(rename(made.path, d->path) == 0);
}

int main(void)
{
	unsigned rounds = wish("PENNY_ROUNDS", ROUNDS_DEFAULT), seed = wish("PENNY_SEED", (unsigned)time(NULL));
	struct dir base = dir_make(), fs = dir_make();

	told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(told != MAP_FAILED && child(make_base, &base, NULL));
	base.fd = open(base.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!own_mounts() || mount("tmpfs", fs.path, "tmpfs", 0, FS_OPTIONS) < 0) {
		printf("ok %u # SKIP no file system can be mounted here: %s\n1..%u\n", tap_n + 1, strerror(errno), tap_n + 1);
		return 0;
	}
	printf("# seed %u\n", seed);
	srand(seed);
	close(fs.fd);
	fs.fd = open(fs.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	setenv("TMPDIR", fs.path, 1);
	for (unsigned i = 0; i < rounds; i++) {
		bool inodes = i % 4 == 3;
		unsigned scale = inodes ? LEFT_MAX_INODES : 1u << (12 + rand() % 10);
		uint64_t left = (uint64_t)rand() % (scale < LEFT_MAX_OCTETS ? scale : LEFT_MAX_OCTETS);

		CHECK_AT(one_round(&base, &fs, inodes, left), i);
	}
	printf("# %u rounds: the disk was full in %u; %u messages taken; flags and expunge went on in %u; not opened in %u\n",
	    rounds, sum.full, sum.acked, sum.flagged, sum.unopened);
	close(fs.fd);
	REQUIRE(umount2(fs.path, MNT_DETACH) == 0 && rmdir(fs.path) == 0);
	dir_remove(&base);
	return tap_done();
}
