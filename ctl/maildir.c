/* SPDX-License-Identifier: ISC */
/* Reads a Maildir and its Maildir++ folders. Messages come in the order of their arrival
 * (modification time, then name), so that UIDs ascend with it. Only regular files are read, never
 * through a link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libmail/mutf7.h"
#include "../libstore/mailbox.h"
#include "import.h"

enum {
	LETTERS = 26,
	KEYWORDS_FILE_MAX_OCTETS = 64 * 1024,	/* 26 lines in practice */
	PATH_TEXT_OCTETS = 4096,
};

struct entry {
	char *name;
	struct timespec mtime;
	bool is_new;
};

struct entries {
	struct entry *v;
	size_t n, cap;
};

/* One mailbox being read. */
struct folder {
	int fd, sub_fd[2];	/* the folder, its cur and new */
	const char *path;
	/* From dovecot-keywords: a letter's word. */
	char keywords[LETTERS][STORE_KEYWORD_MAX_OCTETS + 1];
};

static const struct { char letter; uint32_t flag; } flag_letters[] = {
	{ 'S', MSG_SEEN }, { 'R', MSG_ANSWERED }, { 'F', MSG_FLAGGED },
	{ 'T', MSG_DELETED }, { 'D', MSG_DRAFT },
};

uint32_t maildir_flags(const char *file_name, uint32_t *out_letters)
{
	const char *info = strstr(file_name, ":2,");
	uint32_t flags = 0;

	*out_letters = 0;
	for (const char *p = info != NULL ? info + 3 : ""; *p != '\0' && *p != ','; p++) {
		for (size_t i = 0; i < COUNTOF(flag_letters); i++)
			if (flag_letters[i].letter == *p)
				flags |= flag_letters[i].flag;
		if (*p >= 'a' && *p <= 'z')
			*out_letters |= 1u << (*p - 'a');
	}
	return flags;
}

/* One level of a folder's name: modified UTF-7, as it is on disk, else what it says if that is
 * UTF-8. */
static bool put_level(struct buf *out, struct str level)
{
	if (level.n == 0)
		return false;
	if (mutf7_to_utf8(out, level))
		return true;
	return utf8_valid(level) && buf_put(out, level);
}

bool maildir_folder(struct buf *out, const char *dir_name, const char *root)
{
	struct str rest, level;
	bool below_root = !str_eq_nocase(str_of(root), STR("INBOX"));

	buf_reset(out);
	if (dir_name[0] != '.' || dir_name[1] == '\0' || dir_name[1] == '.')
		return false;
	if (below_root)
		buf_put(out, str_of(root));
	rest = str_of(dir_name + 1);
	while (str_split(&rest, '.', &level)) {
		if (out->n > 0)
			buf_putc(out, '/');
		if (!put_level(out, level))
			return false;
	}
	return !out->full;
}

static bool add_entry(struct entries *es, const char *name, const struct stat *st, bool is_new)
{
	struct entry *v = es->v;

	if (es->n == es->cap) {
		es->cap = es->cap == 0 ? 1024 : es->cap * 2;
		v = reallocarray(es->v, es->cap, sizeof *v);
		if (v == NULL)
			return false;
		es->v = v;
	}
	v[es->n] = (struct entry){ strdup(name), st->st_mtim, is_new };
	return v[es->n++].name != NULL;
}

static void free_entries(struct entries *es)
{
	for (size_t i = 0; i < es->n; i++)
		free(es->v[i].name);
	free(es->v);
}

static int by_arrival(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	if (a->mtime.tv_sec != b->mtime.tv_sec)
		return a->mtime.tv_sec < b->mtime.tv_sec ? -1 : 1;
	if (a->mtime.tv_nsec != b->mtime.tv_nsec)
		return a->mtime.tv_nsec < b->mtime.tv_nsec ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* The messages of cur or new. */
static enum err_kind scan(struct import_out *o, struct folder *f, bool is_new, struct entries *es,
    struct err *e)
{
	int fd = dup(f->sub_fd[is_new]);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *ent;
	struct stat st;
	bool ok = true;

	if (d == NULL)
		return err_sys(e, errno, "%s", f->path);
	while (ok && (ent = readdir(d)) != NULL) {
		if (ent->d_name[0] == '.')
			continue;
		if (fstatat(f->sub_fd[is_new], ent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			import_skipped(o, ent->d_name, "not a regular file");
		else
			ok = add_entry(es, ent->d_name, &st, is_new);
	}
	closedir(d);
	return ok ? ERR_OK : err_set(e, ERR_TEMP, ENOMEM, "no memory for %s", f->path);
}

/* dovecot-keywords: lines of "number word", number 0 is the letter a. */
static void read_keywords(struct folder *f)
{
	int fd = openat(f->fd, "dovecot-keywords", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
	char line[128], word[STORE_KEYWORD_MAX_OCTETS + 1];
	unsigned n;

	memset(f->keywords, 0, sizeof f->keywords);
	for (long at = 0; in != NULL && at < KEYWORDS_FILE_MAX_OCTETS; at = ftell(in)) {
		if (fgets(line, sizeof line, in) == NULL)
			break;
		if (sscanf(line, "%u %64s", &n, word) == 2 && n < LETTERS)
			memcpy(f->keywords[n], word, sizeof word);
	}
	if (in != NULL)
		fclose(in);
}

static void put_keywords(const struct folder *f, uint32_t letters, struct buf *out)
{
	buf_reset(out);
	for (unsigned i = 0; i < LETTERS; i++)
		if ((letters & 1u << i) != 0 && f->keywords[i][0] != '\0')
			buf_printf(out, "%s ", f->keywords[i]);
}

static bool copy_text(struct import_out *o, int fd)
{
	char chunk[IMPORT_CHUNK_OCTETS];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof chunk)) > 0)
		import_text(o, str_n(chunk, (size_t)n));
	return n == 0;
}

static void read_message(struct import_out *o, const struct folder *f, const struct entry *en)
{
	struct buf keywords = BUF_INIT(IMPORT_KEYWORDS_MAX_OCTETS);
	struct import_meta m = { .date_s = en->mtime.tv_sec };
	uint32_t letters;
	int fd = openat(f->sub_fd[en->is_new], en->name,
	    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0) {
		import_skipped(o, en->name, strerror(errno));
		return;
	}
	m.flags = maildir_flags(en->name, &letters);
	put_keywords(f, letters, &keywords);
	m.keywords = buf_str(&keywords);
	import_begin(o);
	if (copy_text(o, fd)) {
		import_end(o, &m);
	} else {
		import_drop(o);
		import_skipped(o, en->name, "can't be read");
	}
	close(fd);
	buf_free(&keywords);
}

static enum err_kind read_folder(struct import_out *o, struct folder *f, struct err *e)
{
	struct entries es = { NULL, 0, 0 };
	enum err_kind k;

	read_keywords(f);
	k = scan(o, f, false, &es, e);
	if (k == ERR_OK)
		k = scan(o, f, true, &es, e);
	if (k == ERR_OK && es.n > 0)
		qsort(es.v, es.n, sizeof *es.v, by_arrival);
	for (size_t i = 0; k == ERR_OK && i < es.n && !ferror(o->to); i++)
		read_message(o, f, &es.v[i]);
	free_entries(&es);
	return k;
}

/* A directory with cur and new; ERR_NOENT when it has not both. */
static enum err_kind open_folder(struct folder *f, int fd, const char *path, struct err *e)
{
	static const char *const sub[2] = { "cur", "new" };

	*f = (struct folder){ .fd = fd, .sub_fd = { -1, -1 }, .path = path };
	for (int i = 0; i < 2; i++) {
		f->sub_fd[i] = openat(fd, sub[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (f->sub_fd[i] < 0) {
			(void)err_sys(e, errno, "%s/%s", path, sub[i]);
			if (i > 0)
				close(f->sub_fd[0]);
			return e->kind;
		}
	}
	return ERR_OK;
}

static enum err_kind import_one(struct import_out *o, int fd, const char *path, struct str mailbox,
    struct err *e)
{
	struct folder f;
	enum err_kind k;

	if (open_folder(&f, fd, path, e) != ERR_OK)
		return e->kind;
	import_folder(o, mailbox);
	k = read_folder(o, &f, e);
	close(f.sub_fd[0]);
	close(f.sub_fd[1]);
	return k;
}

/* What looks like a folder and can't be read is skipped: it shall not end the import. */
static void import_sub(struct import_out *o, int dir_fd, const char *path, const char *name,
    const char *root)
{
	struct buf mailbox = BUF_INIT(IMPORT_NAME_MAX_OCTETS);
	char text[PATH_TEXT_OCTETS];
	struct err e;
	int fd = -1;

	snprintf(text, sizeof text, "%s/%s", path, name);
	if (!maildir_folder(&mailbox, name, root))
		import_skipped(o, text, "not a folder's name");
	else if ((fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0)
		import_skipped(o, text, strerror(errno));
	else if (import_one(o, fd, text, buf_str(&mailbox), &e) != ERR_OK)
		import_skipped(o, text, e.text);
	if (fd >= 0)
		close(fd);
	buf_free(&mailbox);
}

static int is_sub(const struct dirent *d)
{
	return d->d_name[0] == '.' && d->d_name[1] != '\0' && strcmp(d->d_name, "..") != 0 &&
	    (d->d_type == DT_DIR || d->d_type == DT_UNKNOWN);
}

enum err_kind import_maildir(struct import_out *o, int dir_fd, const char *path,
    const char *mailbox, struct err *e)
{
	struct dirent **names;
	int n;

	if (import_one(o, dir_fd, path, str_of(mailbox), e) != ERR_OK)
		return e->kind;
	n = scandirat(dir_fd, ".", &names, is_sub, alphasort);
	if (n < 0)
		return err_sys(e, errno, "%s", path);
	for (int i = 0; i < n; i++) {
		import_sub(o, dir_fd, path, names[i]->d_name, mailbox);
		free(names[i]);
	}
	free(names);
	return ERR_OK;
}
