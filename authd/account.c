/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "../libserve/username.h"
#include "account.h"

enum { NSS_MIN_OCTETS = 1024, NSS_MAX_OCTETS = 1024 * 1024 };
enum { NOBODY_UID = 65534 };	/* what the kernel shows for ids it can't map: nobody's mail */

/* What NSS modules say for "not found" (getpwnam(3), NOTES). */
static bool is_absence(int r)
{
	return r == 0 || r == ENOENT || r == ESRCH || r == EBADF || r == EPERM;
}

/* *out points into *space, which the caller frees (also on failure). */
static enum err_kind find_passwd(const char *name, struct passwd *pw, char **space, struct err *e)
{
	struct passwd *found = NULL;
	int r = ERANGE;

	*space = NULL;
	for (size_t n = NSS_MIN_OCTETS; r == ERANGE && n <= NSS_MAX_OCTETS; n *= 4) {
		char *p = realloc(*space, n);

		if (p == NULL)
			return err_set(e, ERR_TEMP, ENOMEM, "account of %s", name);
		*space = p;
		r = getpwnam_r(name, pw, p, n, &found);
	}
	if (found != NULL)
		return ERR_OK;
	if (is_absence(r))
		return err_set(e, ERR_NOENT, r, "no account %s", name);
	err_sys(e, r, "account of %s", name);
	return ERR_TEMP;
}

enum err_kind account_find(const char *name, uint64_t min_uid, char out_user[AUTH_USER_MAX_OCTETS + 1],
    struct err *e)
{
	struct passwd pw;
	char *space;
	enum err_kind r = find_passwd(name, &pw, &space, e);

	/* The name service may spell the name in its own way (case, for one): its spelling is the user's. */
	if (r == ERR_OK && (pw.pw_uid == 0 || pw.pw_uid < min_uid || pw.pw_uid == NOBODY_UID))
		r = err_set(e, ERR_DENIED, 0, "uid %lu is not for mail", (unsigned long)pw.pw_uid);
	if (r == ERR_OK && !name_is_valid(str_of(pw.pw_name)))
		r = err_set(e, ERR_DENIED, 0, "the name service's spelling is no user name");
	if (r == ERR_OK)
		name_copy(out_user, str_of(pw.pw_name));
	free(space);
	return r;
}

enum err_kind account_ids(const char *user, const char *group, uid_t *out_uid, gid_t *out_gid,
    struct err *e)
{
	struct passwd pw;
	struct group *g;
	char *space;
	enum err_kind r = find_passwd(user, &pw, &space, e);

	if (r == ERR_OK) {
		*out_uid = pw.pw_uid;
		*out_gid = pw.pw_gid;
	}
	free(space);
	if (r != ERR_OK || group == NULL || group[0] == '\0')
		return r;
	errno = 0;
	g = getgrnam(group);
	if (g == NULL)
		return err_set(e, is_absence(errno) ? ERR_NOENT : ERR_TEMP, errno, "no group %s", group);
	*out_gid = g->gr_gid;
	return ERR_OK;
}
