/* SPDX-License-Identifier: ISC */
/* The Nth write, sync or allocation of an operation fails, once or from then on, with EIO, ENOSPC, EMFILE or half the octets
 * written, for every N until the operation needs no more calls. Whatever it answers must be true: after an error the
 * store is as before, after success as it should be; once the fault is over the same handles work again, a new process
 * finds the same, and nothing is damaged. A sync that failed once and then succeeds is still a failure.
 *
 * The system calls are interposed by definitions of their C functions here. Prints TAP. */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "../../libstore/attr.h"
#include "../../libstore/quota.h"
#include "../unit/store_dir.h"

enum { CALLS_MAX = 200, LARGE_OCTETS = 300 * 1024 };

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libdb";	/* handles given up after a recovery */
}

/* -- the fault -- */

static struct {
	bool armed, sticky, hit;
	int at, count, error;
} fault;

static bool fails(void)
{
	if (!fault.armed)
		return false;
	fault.count++;
	if (fault.count != fault.at && !(fault.sticky && fault.count > fault.at))
		return false;
	fault.hit = true;
	errno = fault.error;
	return true;
}

#define REAL(name, type) ((type)(uintptr_t)dlsym(RTLD_NEXT, #name))

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	if (fails()) {
		if (fault.error == 0)	/* half of the first part */
			return REAL(pwritev, ssize_t (*)(int, const struct iovec *, int, off_t))(fd,
			    &(struct iovec){ iov->iov_base, iov->iov_len / 2 + 1 }, 1, off);
		return -1;
	}
	return REAL(pwritev, ssize_t (*)(int, const struct iovec *, int, off_t))(fd, iov, n, off);
}

ssize_t write(int fd, const void *p, size_t n)
{
	if (n > 1000 && fails()) {
		if (fault.error == 0)
			return REAL(write, ssize_t (*)(int, const void *, size_t))(fd, p, n / 2);
		return -1;
	}
	return REAL(write, ssize_t (*)(int, const void *, size_t))(fd, p, n);
}

int fdatasync(int fd)
{
	return fails() && fault.error != 0 ? -1 : REAL(fdatasync, int (*)(int))(fd);
}

int fsync(int fd)
{
	return fails() && fault.error != 0 ? -1 : REAL(fsync, int (*)(int))(fd);
}

int posix_fallocate(int fd, off_t off, off_t len)
{
	if (fails() && fault.error != 0)
		return fault.error;
	return REAL(posix_fallocate, int (*)(int, off_t, off_t))(fd, off, len);
}

int linkat(int fd, const char *from, int to_fd, const char *to, int flags)
{
	if (fails() && fault.error != 0)
		return -1;
	return REAL(linkat, int (*)(int, const char *, int, const char *, int))(fd, from, to_fd, to, flags);
}

int mkdirat(int fd, const char *name, mode_t mode)
{
	return fails() && fault.error != 0 ? -1 : REAL(mkdirat, int (*)(int, const char *, mode_t))(fd, name, mode);
}

/* -- operations -- */

static enum err_kind append_octets(struct store *s, size_t n)
{
	struct body *b = body_new(s, 64 << 20);
	struct append how = { .internaldate_s = 5 };
	char *text = malloc(n);
	enum err_kind k;

	memset(text, 'z', n);
	memcpy(text, "A: b\r\n\r\n", 8);
	if ((k = body_add(b, str_n(text, n), NULL)) == ERR_OK && (k = body_seal(b, NULL)) == ERR_OK)
		k = mailbox_append(s, MAILBOX_INBOX, b, &how, NULL, NULL, NULL);
	body_free(&b);
	free(text);
	return k;
}

static enum err_kind op_append(struct store *s) { return append_octets(s, 3000); }
static enum err_kind op_append_large(struct store *s) { return append_octets(s, LARGE_OCTETS); }
static enum err_kind op_create(struct store *s) { return store_create(s, STR("new/below"), NULL, NULL); }
static enum err_kind op_rename(struct store *s) { return store_rename(s, STR("box"), STR("q/r"), NULL); }
static enum err_kind op_delete(struct store *s) { return store_delete(s, STR("box"), NULL); }

static enum err_kind on_inbox(struct store *s, enum err_kind (*op)(struct mailbox *))
{
	struct mailbox *mb;
	enum err_kind k = mailbox_open(s, STR("INBOX"), false, &mb, NULL);

	if (k != ERR_OK)
		return k;
	k = op(mb);
	mailbox_close(&mb);
	return k;
}

static enum err_kind flags_in(struct mailbox *mb)
{
	struct str kw = STR_INIT("$x");
	struct flag_change ch = { FLAG_SET, MSG_FLAGGED | MSG_SEEN, &kw, 1, UINT64_MAX };

	return mailbox_store_flags(mb, (uint32_t[]){ 1, 3 }, 2, &ch, NULL, NULL, NULL);
}

static enum err_kind expunge_in(struct mailbox *mb)
{
	return mailbox_expunge(mb, (uint32_t[]){ 2, 3 }, 2, false, NULL, NULL);
}

static uint32_t box_id(struct store *s)
{
	struct arena *a = arena_new(4096);
	struct mailbox_info i = { .id = 0 };

	(void)!store_find(s, a, STR("box"), &i, NULL);
	arena_free(&a);
	return i.id;
}

static uint32_t target;

static enum err_kind move_in(struct mailbox *mb)
{
	uint32_t from[2], to[2], validity;
	size_t n;

	return mailbox_copy(mb, (uint32_t[]){ 1, 2 }, 2, target, true, from, to, &n, &validity, NULL);
}

static enum err_kind copy_in(struct mailbox *mb)
{
	uint32_t from[2], to[2], validity;
	size_t n;

	return mailbox_copy(mb, (uint32_t[]){ 1, 2 }, 2, target, false, from, to, &n, &validity, NULL);
}

static enum err_kind op_attr(struct store *s)
{
	struct attr v[] = {
		{ ATTR_METADATA, STR_INIT(""), STR_INIT("/comment"), STR_INIT("new"), 0 },
		{ ATTR_ACL, STR_INIT(""), STR_INIT("you"), { NULL, 0 }, 0 },
	};

	return attr_set(s, 1, v, 2, NULL);
}

static enum err_kind op_quota(struct store *s)
{
	struct quota_limits l = { QUOTA_MESSAGES, 0, 1000 };

	return quota_set(s, STR("box"), &l, NULL);
}

static enum err_kind op_flags(struct store *s) { return on_inbox(s, flags_in); }
static enum err_kind op_expunge(struct store *s) { return on_inbox(s, expunge_in); }
static enum err_kind op_move(struct store *s) { target = box_id(s); return on_inbox(s, move_in); }
static enum err_kind op_copy(struct store *s) { target = box_id(s); return on_inbox(s, copy_in); }

static const struct {
	const char *name;
	enum err_kind (*run)(struct store *s);
} ops[] = {
	{ "append", op_append }, { "append large", op_append_large }, { "create", op_create },
	{ "rename", op_rename }, { "delete", op_delete }, { "flags", op_flags },
	{ "expunge", op_expunge }, { "copy", op_copy }, { "move", op_move },
	{ "attributes", op_attr }, { "quota", op_quota },
};

static const struct { const char *name; int error; bool sticky; } kinds[] = {
	{ "EIO once", EIO, false }, { "EIO for good", EIO, true }, { "ENOSPC once", ENOSPC, false },
	{ "ENOSPC for good", ENOSPC, true }, { "EMFILE once", EMFILE, false },
	{ "short writes", 0, true },
};

/* -- state: a digest of everything a client can see -- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdu;
}

static uint64_t mix_str(uint64_t h, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		h = mix(h, (unsigned char)s.p[i]);
	return mix(h, s.n);
}

static uint64_t mix_state(uint64_t h, struct store *s, uint32_t mailbox)
{
	struct arena *a = arena_new(ATTR_ARENA_OCTETS);
	struct quota_root *root;
	struct attr *v;
	size_t n = 0;

	if (attr_list(s, mailbox, a, &v, &n, NULL) != ERR_OK)
		h = mix(h, 0xbad);
	for (size_t i = 0; i < n; i++)
		h = mix_str(mix_str(mix_str(h, v[i].owner), v[i].name), v[i].value);
	REQUIRE(quota_list(s, a, &root, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++)
		h = mix(mix(mix_str(h, root[i].name), root[i].limits.set), root[i].limits.n_messages);
	arena_free(&a);
	return h;
}

static uint64_t digest(struct store *s)
{
	struct arena *a = arena_new(1 << 20);
	struct mailbox_info *list;
	uint64_t h = 0;
	size_t n = 0;

	REQUIRE(store_list(s, a, &list, &n, NULL) == ERR_OK);
	for (size_t i = 0; i < n; i++) {
		struct mailbox *mb;

		for (size_t k = 0; k < list[i].name.n; k++)
			h = mix(h, (unsigned char)list[i].name.p[k]);
		h = mix_state(mix(mix(h, list[i].n_messages), list[i].n_unseen), s, list[i].id);
		if (!list[i].exists || mailbox_open(s, list[i].name, false, &mb, NULL) != ERR_OK)
			continue;
		if (mailbox_load(mb, NULL) != ERR_OK)
			h = mix(h, 0xbad);
		for (size_t k = 0; k < mailbox_n(mb); k++) {
			const struct message *m = mailbox_at(mb, k);

			h = mix(mix(mix(h, m->uid), m->flags & MSG_STORED_FLAGS), m->keywords);
		}
		mailbox_close(&mb);
	}
	arena_free(&a);
	return h;
}

static void lay_out(const struct dir *d)
{
	struct store *s = store_at(d);

	for (int i = 0; i < 4; i++)
		put_message(s, MAILBOX_INBOX, STR("S: t\r\n\r\nx\r\n"), 0, STR(""));
	REQUIRE(store_create(s, STR("box"), NULL, NULL) == ERR_OK);
	REQUIRE(attr_set(s, 1, &(struct attr){ ATTR_ACL, STR(""), STR("you"), STR("lr"), 0 }, 1, NULL) == ERR_OK);
	(void)digest(s);	/* the index is there */
	store_close(&s);
}

static void copy_dir(const struct dir *from, const struct dir *to)
{
	char cmd[600];

	snprintf(cmd, sizeof cmd, "cp -a %s/. %s", from->path, to->path);
	REQUIRE(system(cmd) == 0);
}

/* One operation with one fault. False in *out_go_on when the fault was never reached. */
static bool one_case(const struct dir *base, size_t op, size_t kind, int at, uint64_t before, uint64_t after,
    bool *out_go_on)
{
	struct dir d = dir_make();
	struct store *s;
	enum err_kind k, again;
	uint64_t now, n_bad = 1;
	bool ok;

	copy_dir(base, &d);
	s = store_at(&d);
	(void)digest(s);
	memset(&fault, 0, sizeof fault);
	fault.at = at;
	fault.error = kinds[kind].error;
	fault.sticky = kinds[kind].sticky;
	fault.armed = true;
	k = ops[op].run(s);
	fault.armed = false;
	*out_go_on = fault.hit;
	now = digest(s);
	ok = now == (k == ERR_OK ? after : before);
	if (!ok)
		printf("# says %d, state is %s\n", k, now == before ? "before" : now == after ? "after" : "neither");
	again = k == ERR_OK ? ERR_OK : ops[op].run(s);
	ok = ok && again == ERR_OK && digest(s) == after;
	store_close(&s);
	s = store_at(&d);
	ok = ok && digest(s) == after && store_check(s, NULL, NULL, &n_bad, NULL) == ERR_OK && n_bad == 0;
	if (again != ERR_OK || n_bad != 0)
		printf("# again %d, %llu findings\n", again, (unsigned long long)n_bad);
	store_close(&s);
	dir_remove(&d);
	return ok;
}

static uint64_t wanted_after(const struct dir *base, size_t op)
{
	struct dir d = dir_make();
	struct store *s;
	uint64_t h;

	copy_dir(base, &d);
	s = store_at(&d);
	REQUIRE(ops[op].run(s) == ERR_OK);
	h = digest(s);
	store_close(&s);
	dir_remove(&d);
	return h;
}

int main(void)
{
	struct dir base = dir_make();
	struct store *s;
	uint64_t before;

	lay_out(&base);
	s = store_at(&base);
	before = digest(s);
	store_close(&s);
	for (size_t op = 0; op < COUNTOF(ops); op++) {
		uint64_t after = wanted_after(&base, op);

		for (size_t kind = 0; kind < COUNTOF(kinds); kind++) {
			bool go_on = true;

			for (int at = 1; go_on && at < CALLS_MAX; at++) {
				bool ok = one_case(&base, op, kind, at, before, after, &go_on);

				if (!ok)
					printf("# %s: %s at call %d\n", ops[op].name, kinds[kind].name, at);
				CHECK_AT(ok, at);
			}
		}
	}
	dir_remove(&base);
	return tap_done();
}
