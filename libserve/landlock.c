/* SPDX-License-Identifier: ISC */
/* Landlock by its raw system calls: the numbers and layouts below are the kernel's stable interface
 * (Documentation/userspace-api/landlock.rst), stated here so that an old header does not lose us the
 * rights of a newer kernel. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_int.h"

enum {
	SYS_CREATE_RULESET = 444,	/* the same number on every architecture */
	SYS_ADD_RULE = 445,
	SYS_RESTRICT_SELF = 446,
	ASK_VERSION = 1,
	RULE_PATH_BENEATH = 1,
};

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct __attribute__((packed)) path_beneath_attr {
	uint64_t allowed;
	int32_t parent_fd;
};

/* What each ABI version understands. Bits of fs: 0-12 the first version, 13 REFER, 14 TRUNCATE, 15
 * IOCTL_DEV; net: bind and connect TCP; scoped: abstract Unix sockets, signals. */
enum { FS_REFER = 1 << 13 };
static const struct {
	int abi;
	size_t octets;
	struct ruleset_attr attr;
} versions[] = {
	{ 6, 24, { 0xffff, 3, 3 } },
	{ 5, 16, { 0xffff, 3, 0 } },
	{ 4, 16, { 0x7fff, 3, 0 } },
	{ 3, 8, { 0x7fff, 0, 0 } },
	{ 2, 8, { 0x3fff, 0, 0 } },
	{ 1, 8, { 0x1fff, 0, 0 } },
};

int landlock_abi(void)
{
	long v = syscall(SYS_CREATE_RULESET, NULL, 0, ASK_VERSION);

	return v > 0 ? (int)v : 0;
}

static enum err_kind restrict_to(int ruleset, int dir_fd, uint64_t fs, struct err *e)
{
	struct path_beneath_attr beneath = { fs, dir_fd };

	if (dir_fd >= 0 && syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, &beneath, 0) < 0)
		return err_sys(e, errno, "Landlock rule");
	if (syscall(SYS_RESTRICT_SELF, ruleset, 0) < 0)
		return err_sys(e, errno, "Landlock");
	return ERR_OK;
}

/* Handles those of the kernel's file rights that are in fs_mask, and allows them beneath dir_fd only. */
static enum err_kind confine(uint64_t fs_mask, int dir_fd, struct err *e)
{
	static int abi = -1;	/* the kernel's, which does not change */
	struct ruleset_attr attr;
	enum err_kind k;
	size_t i = 0;
	int ruleset;

	if (abi < 0)
		abi = landlock_abi();
	while (i < COUNTOF(versions) && versions[i].abi > abi)
		i++;
	if (i == COUNTOF(versions))
		return err_set(e, ERR_NOENT, 0, "the kernel has no Landlock");
	attr = versions[i].attr;
	attr.fs &= fs_mask;
	if (attr.fs == 0 && attr.net == 0)	/* an empty ruleset is refused */
		return ERR_OK;
	ruleset = (int)syscall(SYS_CREATE_RULESET, &attr, versions[i].octets, 0);
	if (ruleset < 0)
		return err_sys(e, errno, "Landlock ruleset");
	k = restrict_to(ruleset, dir_fd, attr.fs, e);
	close(ruleset);
	return k;
}

enum err_kind landlock_confine(int dir_fd, struct err *e)
{
	return confine(UINT64_MAX, dir_fd, e);
}

enum err_kind landlock_close_network(int root_fd, struct err *e)
{
	return confine(FS_REFER, root_fd, e);
}
