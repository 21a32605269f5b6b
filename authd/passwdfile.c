/* SPDX-License-Identifier: ISC */
/* The file's text in memory and an array of its users, sorted by name (then by line), as views of it. */
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "../libbase/buf.h"
#include "../libbase/clock.h"
#include "../libserve/digest.h"
#include "../libserve/username.h"
#include "passwdfile.h"

enum {
	READ_TRIES = 3,
	FRESH_S = 2,		/* a file changed again within its time stamp's grain looks the same */
};

struct user {
	struct str name, hash;
};

struct passwdfile {
	char *path;
	bool loaded;
	struct stat st;
	struct buf text;
	struct user *users;
	size_t n_users;
	struct crypt_data crypt;		/* 32 KiB: not for the stack */
};

/* Costs what a good hash costs, when the file holds none to go by. It is the hash of nothing. */
static const char dummy_hash[] = "$6$rounds=5000$pennypost.dummy.$";

static void *must_have(void *p)
{
	if (p == NULL) {
		fputs("out of memory\n", stderr);
		_exit(EX_TEMPFAIL);
	}
	return p;
}

struct passwdfile *passwdfile_new(const char *path)
{
	struct passwdfile *f = must_have(calloc(1, sizeof *f));

	f->path = must_have(strdup(path));
	buf_init(&f->text, PASSWDFILE_MAX_OCTETS + 1);
	return f;
}

static void forget(struct passwdfile *f)
{
	buf_wipe(&f->text);
	free(f->users);
	f->users = NULL;
	f->n_users = 0;
	f->loaded = false;
}

void passwdfile_free(struct passwdfile **f)
{
	if (*f == NULL)
		return;
	forget(*f);
	free((*f)->path);
	free(*f);
	*f = NULL;
}

const char *passwdfile_path(const struct passwdfile *f)
{
	return f->path;
}

/* -- reading -- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static enum err_kind check_stat(const char *path, const struct stat *st, struct err *e)
{
	if (!S_ISREG(st->st_mode) || (st->st_mode & S_IWOTH) != 0)
		return err_set(e, ERR_TEMP, 0, "%s: not a file, or everybody may write it", path);
	if (st->st_size > PASSWDFILE_MAX_OCTETS)
		return err_set(e, ERR_TEMP, 0, "%s: over %d octets", path, PASSWDFILE_MAX_OCTETS);
	return ERR_OK;
}

static enum err_kind read_text(int fd, const char *path, struct buf *text, struct err *e)
{
	for (;;) {
		ssize_t n;

		if (!buf_reserve(text, 64 * 1024) && text->n + 1 >= text->max)
			return err_set(e, ERR_TEMP, 0, "%s: too long", path);
		text->full = false;
		if (text->cap == text->n)
			return err_set(e, ERR_TEMP, 0, "%s: no memory", path);
		n = read(fd, text->p + text->n, text->cap - text->n);
		if (n == 0)
			return ERR_OK;
		if (n < 0 && errno != EINTR) {
			err_sys(e, errno, "read %s", path);
			return ERR_TEMP;
		}
		if (n > 0)
			text->n += (size_t)n;
	}
}

static enum err_kind read_file(struct passwdfile *f, struct err *e)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat after;
	enum err_kind r;

	if (fd < 0) {
		err_sys(e, errno, "open %s", f->path);
		return ERR_TEMP;
	}
	if (fstat(fd, &f->st) != 0) {
		err_sys(e, errno, "stat %s", f->path);
		r = ERR_TEMP;
	} else if ((r = check_stat(f->path, &f->st, e)) == ERR_OK &&
	    (r = read_text(fd, f->path, &f->text, e)) == ERR_OK &&
	    (fstat(fd, &after) != 0 || !same_file(&f->st, &after)))
		r = err_set(e, ERR_BUSY, 0, "%s: changes while it is read", f->path);
	close(fd);
	return r;
}

/* -- the users in it -- */

static bool user_of_line(struct str line, struct user *out)
{
	struct str name, hash, rest = line;

	if (line.n == 0 || line.p[0] == '#' || !str_split(&rest, ':', &name) ||
	    !str_split(&rest, ':', &hash))
		return false;
	hash = str_trim(hash);
	if (hash.n > 0 && hash.p[hash.n - 1] == '\r')
		hash.n--;
	if (!name_is_valid(name) || str_has(hash, '\0') || hash.n >= PASSWDFILE_HASH_MAX_OCTETS)
		return false;
	*out = (struct user){ name, hash };
	return true;
}

static int user_cmp(const void *a, const void *b)
{
	const struct user *x = a, *y = b;
	int r = str_cmp(x->name, y->name);

	return r != 0 ? r : (x->name.p > y->name.p) - (x->name.p < y->name.p);
}

static bool find_users(struct passwdfile *f)
{
	struct str rest = buf_str(&f->text), line;
	size_t lines = 1, n;

	for (size_t i = 0; i < rest.n; i++)
		lines += rest.p[i] == '\n';
	if (!size_mul(lines, sizeof *f->users, &n) || (f->users = malloc(n)) == NULL)
		return false;
	while (str_split(&rest, '\n', &line)) {
		if (user_of_line(line, &f->users[f->n_users]))
			f->n_users++;
	}
	qsort(f->users, f->n_users, sizeof *f->users, user_cmp);
	return true;
}

enum err_kind passwdfile_refresh(struct passwdfile *f, struct err *e)
{
	struct stat st;
	enum err_kind r = ERR_BUSY;

	if (f->loaded && stat(f->path, &st) == 0 && same_file(&st, &f->st) &&
	    clock_real_s() - st.st_ctim.tv_sec > FRESH_S)
		return ERR_OK;
	for (int i = 0; i < READ_TRIES && r == ERR_BUSY; i++) {
		forget(f);
		r = read_file(f, e);
	}
	if (r == ERR_OK && !find_users(f))
		r = err_set(e, ERR_TEMP, 0, "%s: no memory for its users", f->path);
	if (r != ERR_OK) {
		forget(f);
		return ERR_TEMP;
	}
	f->loaded = true;
	return ERR_OK;
}

/* -- questions -- */

bool passwdfile_find(const struct passwdfile *f, struct str name, struct str *out_hash)
{
	size_t lo = 0, hi = f->n_users;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (str_cmp(f->users[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == f->n_users || !str_eq(f->users[lo].name, name))
		return false;
	*out_hash = f->users[lo].hash;
	return true;
}

static bool hash_is_usable(struct str hash)
{
	return hash.n > 1 && hash.p[0] == '$';
}

static struct str any_hash(const struct passwdfile *f)
{
	for (size_t i = 0; i < f->n_users; i++) {
		if (hash_is_usable(f->users[i].hash))
			return f->users[i].hash;
	}
	return str_of(dummy_hash);
}

/* crypt(password, hash) == hash. Secrets are wiped. */
static bool hash_fits(struct passwdfile *f, struct str password, struct str hash)
{
	char pw[AUTH_PASSWORD_MAX_OCTETS + 1], want[PASSWDFILE_HASH_MAX_OCTETS + 1] = { 0 };
	const char *got = NULL;
	bool fits;

	if (password.n < sizeof pw && !str_has(password, '\0') && hash.n < sizeof want) {
		if (password.n > 0)
			memcpy(pw, password.p, password.n);
		pw[password.n] = '\0';
		memcpy(want, hash.p, hash.n);
		got = crypt_rn(pw, want, &f->crypt, (int)sizeof f->crypt);
	}
	fits = got != NULL && strlen(got) == hash.n && digest_equal(got, want, hash.n);
	secret_wipe(pw, sizeof pw);
	secret_wipe(&f->crypt, sizeof f->crypt);
	return fits;
}

enum err_kind passwdfile_check(struct passwdfile *f, struct str name, struct str password,
    struct source_answer *out, struct err *e)
{
	struct str hash = { NULL, 0 };
	bool known = passwdfile_find(f, name, &hash), usable = known && hash_is_usable(hash);
	bool fits = hash_fits(f, password, usable ? hash : any_hash(f));

	if (!known)
		out->reason = "unknown-user";
	else if (!usable)
		out->reason = "locked";
	else if (!fits)
		out->reason = "wrong-password";
	if (!usable || !fits)
		return err_set(e, ERR_DENIED, 0, "refused by the passwd file");
	name_copy(out->user, name);
	return ERR_OK;
}
