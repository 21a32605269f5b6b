/* SPDX-License-Identifier: ISC */
/* A store begins with mode 0500. It gets its owner, and mode 0700 as the mark that it is made,
 * after the directories above it are synced; whoever meets it before that does these steps again.
 * So a store that was handed out, and mail acknowledged in it, cannot vanish with a directory
 * entry in a power cut. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libbase/clock.h"
#include "office.h"
#include "username.h"

enum {
	DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
	MODE_BEGUN = 0500,
	MODE_MADE = 0700,
};

/* Kinds that mean something to a client elsewhere (no such user, denied) mean nothing of it here. */
static enum err_kind fault(struct err *e, const char *what, const char *name)
{
	int why = errno;

	err_sys(e, why, "%s %s", what, name);
	if (why == ENOSPC || why == EDQUOT)
		return ERR_NOSPC;
	if (e != NULL)
		e->kind = ERR_TEMP;
	return ERR_TEMP;
}

/* The post office's own entry. Who may not read the directory above did not make it just now. */
static enum err_kind sync_above(int office, bool made, struct err *e)
{
	int above = openat(office, "..", DIR_FLAGS);
	enum err_kind k = ERR_OK;

	if (above < 0)
		return made ? fault(e, "open the directory above", "the post office") : ERR_OK;
	if (fsync(above) != 0 && made)
		k = fault(e, "sync the directory above", "the post office");
	close(above);
	return k;
}

enum err_kind office_prepare(const struct office *o, struct err *e)
{
	bool made = mkdir(o->dir, 0700) == 0;
	struct stat st;
	enum err_kind k;
	int office;

	if (!made && errno != EEXIST)
		return err_sys(e, errno, "make the post office %s", o->dir);
	office = open(o->dir, DIR_FLAGS);
	k = office < 0 ? err_sys(e, errno, "open the post office %s", o->dir) : sync_above(office, made, e);
	if (office >= 0)
		close(office);
	if (k != ERR_OK)
		return k;
	if (stat(o->dir, &st) != 0)
		return err_sys(e, errno, "post office %s", o->dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return err_set(e, ERR_DENIED, 0, "post office %s: not a directory of uid %lu", o->dir,
		    (unsigned long)geteuid());
	if ((st.st_mode & 07777) != 0700 && chmod(o->dir, 0700) != 0)
		return err_sys(e, errno, "close the post office %s", o->dir);
	return ERR_OK;
}

char office_letter(struct str user)
{
	char c = user.n > 0 ? ascii_lower(user.p[0]) : '_';

	return ascii_is_alpha(c) || ascii_is_digit(c) ? c : '_';
}

/* Opens the directory `name` in `in`; makes it with `mode` when it is missing. */
static int open_or_make(int in, const char *name, mode_t mode)
{
	int fd = openat(in, name, DIR_FLAGS | O_NOFOLLOW);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (mkdirat(in, name, mode) != 0 && errno != EEXIST)
		return -1;
	return openat(in, name, DIR_FLAGS | O_NOFOLLOW);
}

static bool is_made(const struct office *o, const struct stat *st)
{
	return (st->st_mode & 07777) == MODE_MADE && (!o->chown || st->st_uid == o->uid);
}

/* All steps may be done twice, also by two processes at once. */
static enum err_kind finish(const struct office *o, int office, int letter, int store,
    const char *user, struct err *e)
{
	struct stat st;

	if (fstat(store, &st) != 0)
		return fault(e, "store of", user);
	if (is_made(o, &st))
		return ERR_OK;
	if (st.st_uid != geteuid() && (!o->chown || st.st_uid != o->uid))
		return err_set(e, ERR_TEMP, 0, "store of %s belongs to uid %lu", user,
		    (unsigned long)st.st_uid);
	if (fsync(letter) != 0 || fsync(office) != 0)
		return fault(e, "sync the post office for", user);
	if (o->chown && fchown(store, o->uid, o->gid) != 0)
		return fault(e, "give away the store of", user);
	if (fchmod(store, MODE_MADE) != 0 || fsync(store) != 0)
		return fault(e, "finish the store of", user);
	return ERR_OK;
}

enum err_kind office_open_store(const struct office *o, const char *user, int *out_fd,
    struct err *e)
{
	const char letter_name[2] = { office_letter(str_of(user)), '\0' };
	int office = open(o->dir, DIR_FLAGS), letter = -1, store = -1;
	enum err_kind r;

	if (office < 0)
		r = fault(e, "open the post office", o->dir);
	else if ((letter = open_or_make(office, letter_name, 0700)) < 0)
		r = fault(e, "open the letter of", user);
	else if ((store = open_or_make(letter, user, MODE_BEGUN)) < 0)
		r = fault(e, "open the store of", user);
	else
		r = finish(o, office, letter, store, user, e);
	if (letter >= 0)
		close(letter);
	if (office >= 0)
		close(office);
	if (r != ERR_OK) {
		if (store >= 0)
			close(store);
		return r;
	}
	*out_fd = store;
	return ERR_OK;
}

enum err_kind office_find_store(const struct office *o, const char *user, int *out_fd,
    struct err *e)
{
	const char letter_name[2] = { office_letter(str_of(user)), '\0' };
	int office = open(o->dir, DIR_FLAGS), letter = -1;

	*out_fd = -1;
	if (office < 0)
		return err_sys(e, errno, "post office %s", o->dir);
	letter = openat(office, letter_name, DIR_FLAGS | O_NOFOLLOW);
	if (letter >= 0)
		*out_fd = openat(letter, user, DIR_FLAGS | O_NOFOLLOW);
	if (*out_fd < 0)
		err_sys(e, errno, "store of %s", user);
	if (letter >= 0)
		close(letter);
	close(office);
	return *out_fd >= 0 ? ERR_OK : e->kind;
}

enum err_kind office_begin_store(const struct office *o, const char *user, int *out_letter, int *out_store,
    struct err *e)
{
	const char letter_name[2] = { office_letter(str_of(user)), '\0' };
	char name[OFFICE_NAME_MAX];
	int office = open(o->dir, DIR_FLAGS);
	enum err_kind k = ERR_OK;

	*out_store = -1;
	*out_letter = office < 0 ? -1 : open_or_make(office, letter_name, 0700);
	snprintf(name, sizeof name, ".%s" OFFICE_NEW, user);
	if (*out_letter < 0)
		k = fault(e, "open the letter of", user);
	else if (mkdirat(*out_letter, name, MODE_BEGUN) < 0)
		k = errno == EEXIST ? err_set(e, ERR_EXISTS, 0, "%s is there already", name) :
		    fault(e, "make the new store of", user);
	else if ((*out_store = openat(*out_letter, name, DIR_FLAGS | O_NOFOLLOW)) < 0)
		k = fault(e, "open the new store of", user);
	else
		k = finish(o, office, *out_letter, *out_store, user, e);
	if (office >= 0)
		close(office);
	return k;
}

enum err_kind office_put_store(int letter, const char *user, char aside[OFFICE_NAME_MAX], struct err *e)
{
	char name[OFFICE_NAME_MAX];

	aside[0] = '\0';
	snprintf(name, sizeof name, ".%s" OFFICE_NEW, user);
	if (renameat2(letter, name, letter, user, RENAME_NOREPLACE) < 0) {
		if (errno != EEXIST)
			return fault(e, "put in place the new store of", user);
		if (renameat2(letter, name, letter, user, RENAME_EXCHANGE) < 0)
			return fault(e, "exchange the store of", user);
		snprintf(aside, OFFICE_NAME_MAX, ".%s.%lld", user, (long long)clock_real_ms());
		if (renameat(letter, name, letter, aside) < 0)
			return fault(e, "put aside the old store of", user);
	}
	return fsync(letter) == 0 ? ERR_OK : fault(e, "sync the letter of", user);
}

static int is_name(const struct dirent *d)
{
	return name_is_valid(str_of(d->d_name));
}

static int is_letter(const struct dirent *d)
{
	return d->d_name[0] != '.' && d->d_name[1] == '\0';
}

/* False when `each` wants no more. */
static bool each_in_letter(int office, const char *letter,
    bool (*each)(void *ctx, const char *user), void *ctx)
{
	struct dirent **names;
	int n = scandirat(office, letter, &names, is_name, alphasort);
	bool more = true;

	for (int i = 0; i < n; i++) {
		more = more && each(ctx, names[i]->d_name);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return more;
}

enum err_kind office_each_user(const struct office *o, bool (*each)(void *ctx, const char *user),
    void *ctx, struct err *e)
{
	int office = open(o->dir, DIR_FLAGS), n;
	struct dirent **letters;
	bool more = true;

	if (office < 0 || (n = scandirat(office, ".", &letters, is_letter, alphasort)) < 0) {
		err_sys(e, errno, "post office %s", o->dir);
		if (office >= 0)
			close(office);
		return e->kind;
	}
	for (int i = 0; i < n; i++) {
		more = more && each_in_letter(office, letters[i]->d_name, each, ctx);
		free(letters[i]);
	}
	free(letters);
	close(office);
	return ERR_OK;
}
