/* SPDX-License-Identifier: ISC */
/* penny import: starts both halves and the writer. Frames on the pipe are an octet of type and
 * the fields listed at FRAME_* in import.h, numbers as in memory: both ends are one program.
 * Messages are appended in batches that are synced once; only what was synced is counted. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libstore/mailbox.h"
#include "ctl.h"
#include "import.h"

enum {
	BATCH_MESSAGES = 256,
	BATCH_OCTETS = 16 * 1024 * 1024,
	KEYWORDS_MAX = STORE_KEYWORDS_MAX,
};

/* -- the writer's side, in the child that owns the store -- */

struct writer {
	struct store *s;
	FILE *from;
	const char *verb;
	struct body *body;		/* of the message that is coming; NULL when it is refused */
	char refused[ERR_TEXT_MAX];	/* why */
	bool done;
	uint32_t mailbox_id;
	struct arena *a;
	uint64_t batch_octets, batch_n;	/* appended, not yet synced */
	uint64_t n, octets, n_folders, n_refused, n_skipped;	/* durable */
	char chunk[IMPORT_CHUNK_OCTETS];
};

static bool get(struct writer *w, void *p, size_t n)
{
	return fread(p, 1, n, w->from) == n;
}

/* A counted string into chunk. */
static bool get_str(struct writer *w, struct str *out)
{
	uint32_t n;

	if (!get(w, &n, sizeof n) || n > sizeof w->chunk || !get(w, w->chunk, n))
		return false;
	*out = str_n(w->chunk, n);
	return true;
}

static enum err_kind broken(struct err *e)
{
	return err_set(e, ERR_EOF, 0, "the reading half has stopped");
}

static enum err_kind sync_batch(struct writer *w, struct err *e)
{
	if (w->batch_n > 0 && store_sync(w->s, e) != ERR_OK)
		return e->kind;
	w->n += w->batch_n;
	w->octets += w->batch_octets;
	w->batch_n = w->batch_octets = 0;
	return ERR_OK;
}

static enum err_kind on_folder(struct writer *w, struct err *e)
{
	struct mailbox_info info;
	struct str name;

	if (!get_str(w, &name))
		return broken(e);
	if (store_find(w->s, w->a, name, &info, e) == ERR_OK && !info.noselect) {
		w->mailbox_id = info.id;
	} else if (store_create(w->s, name, &w->mailbox_id, e) != ERR_OK) {
		return err_note(e, "mailbox %.*s", STR_FMT(name));
	}
	w->n_folders++;
	return ERR_OK;
}

static enum err_kind on_begin(struct writer *w, struct err *e)
{
	(void)e;
	w->body = body_new(w->s, STORE_MESSAGE_MAX_OCTETS);
	w->refused[0] = '\0';
	return ERR_OK;
}

/* A message that is too large is left out; a full disk or quota ends the import. */
static enum err_kind refuse(struct writer *w, const struct err *e)
{
	if (e->kind != ERR_LIMIT)
		return e->kind;
	memcpy(w->refused, e->text, sizeof w->refused);
	body_free(&w->body);
	return ERR_OK;
}

static enum err_kind on_data(struct writer *w, struct err *e)
{
	struct str octets;

	if (!get_str(w, &octets))
		return broken(e);
	if (w->body != NULL && body_add(w->body, octets, e) != ERR_OK)
		return refuse(w, e);
	return ERR_OK;
}

static size_t split_keywords(struct str words, struct str out[KEYWORDS_MAX])
{
	struct str word;
	size_t n = 0;

	while (n < KEYWORDS_MAX && str_split(&words, ' ', &word))
		if (word.n > 0 && word.n <= STORE_KEYWORD_MAX_OCTETS)
			out[n++] = word;
	return n;
}

static enum err_kind append(struct writer *w, struct append *how, struct err *e)
{
	enum err_kind k;

	if (body_seal(w->body, e) != ERR_OK)
		return e->kind;
	k = mailbox_append(w->s, w->mailbox_id, w->body, how, NULL, NULL, e);
	/* Over STORE_KEYWORDS_MAX the message matters more. */
	if (k == ERR_LIMIT && how->n_keywords > 0) {
		how->n_keywords = 0;
		k = mailbox_append(w->s, w->mailbox_id, w->body, how, NULL, NULL, e);
	}
	if (k != ERR_OK)
		return k;
	w->batch_octets += body_octets(w->body);
	if (++w->batch_n < BATCH_MESSAGES && w->batch_octets < BATCH_OCTETS)
		return ERR_OK;
	return sync_batch(w, e);
}

static enum err_kind on_end(struct writer *w, struct err *e)
{
	struct str words, keywords[KEYWORDS_MAX];
	struct append how = { .sync_later = true, .keywords = keywords };
	enum err_kind k = ERR_OK;

	if (!get(w, &how.flags, sizeof how.flags) ||
	    !get(w, &how.internaldate_s, sizeof how.internaldate_s) || !get_str(w, &words))
		return broken(e);
	how.n_keywords = split_keywords(words, keywords);
	if (w->body != NULL && (k = append(w, &how, e)) != ERR_OK)
		k = refuse(w, e);
	if (w->refused[0] != '\0') {
		w->n_refused++;
		ctl_fail(0, "a message was left out: %s", w->refused);
	}
	body_free(&w->body);
	arena_reset(w->a);
	return k;
}

static enum err_kind on_drop(struct writer *w, struct err *e)
{
	(void)e;
	body_free(&w->body);
	return ERR_OK;
}

static enum err_kind on_done(struct writer *w, struct err *e)
{
	w->done = true;
	return get(w, &w->n_skipped, sizeof w->n_skipped) ? sync_batch(w, e) : broken(e);
}

static const struct {
	char type;
	enum err_kind (*run)(struct writer *w, struct err *e);
} frames[] = {
	{ FRAME_FOLDER, on_folder }, { FRAME_BEGIN, on_begin }, { FRAME_DATA, on_data },
	{ FRAME_END, on_end }, { FRAME_DROP, on_drop }, { FRAME_DONE, on_done },
};

static enum err_kind next_frame(struct writer *w, struct err *e)
{
	int type = fgetc(w->from);

	for (size_t i = 0; i < COUNTOF(frames); i++)
		if (frames[i].type == type)
			return frames[i].run(w, e);
	return broken(e);
}

static void print_counts(const struct writer *w)
{
	printf("%s\tmessages=%" PRIu64 "\toctets=%" PRIu64 "\tfolders=%" PRIu64 "\tskipped=%"
	    PRIu64 "\n", w->verb, w->n, w->octets, w->n_folders, w->n_skipped + w->n_refused);
}

struct pipe_ends {
	int read_fd, write_fd;
	const char *verb;
};

static int writer_main(struct store *s, void *arg)
{
	struct pipe_ends *ends = arg;
	struct writer *w = calloc(1, sizeof *w);
	enum err_kind k = ERR_OK;
	struct err e, sync_err;

	close(ends->write_fd);	/* else we would never see the end */
	if (w == NULL || (w->from = fdopen(ends->read_fd, "r")) == NULL)
		return ctl_fail(EX_TEMPFAIL, "no memory");
	w->s = s;
	w->verb = ends->verb;
	w->a = arena_new(IMPORT_CHUNK_OCTETS);
	while (k == ERR_OK && !w->done)
		k = next_frame(w, &e);
	body_free(&w->body);
	/* What was appended before the failure is kept and counted, if it can be synced. */
	if (k != ERR_OK && sync_batch(w, &sync_err) != ERR_OK)
		w->batch_n = w->batch_octets = 0;
	print_counts(w);
	if (k == ERR_OK)
		return w->n_refused + w->n_skipped == 0 ? 0 : EX_DATAERR;
	return ctl_fail(k == ERR_NOSPC || k == ERR_QUOTA ? EX_CANTCREAT : EX_TEMPFAIL, "the import stopped: %s",
	    e.text);
}

/* -- both -- */

/* The rest of this process's life is reading what belongs to someone else. */
static enum err_kind become_owner(int fd, struct err *e)
{
	struct stat st;

	if (geteuid() != 0)
		return ERR_OK;
	if (fstat(fd, &st) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
	    setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
		return err_sys(e, errno, "becoming the owner of what is to be imported");
	return ERR_OK;
}

static int reader_main(import_format *format, const void *wanted, int source_fd, int pipe_fd, const char *path,
    const char *mailbox)
{
	struct import_out o = { .to = fdopen(pipe_fd, "w"), .wanted = wanted };
	enum err_kind k;
	struct err e;

	if (o.to == NULL)
		return ctl_fail(EX_TEMPFAIL, "no memory");
	k = become_owner(source_fd, &e);
	if (k == ERR_OK)
		k = format(&o, source_fd, path, mailbox, &e);
	if (k == ERR_OK) {
		fputc(FRAME_DONE, o.to);
		fwrite(&o.n_skipped, sizeof o.n_skipped, 1, o.to);
	}
	fclose(o.to);
	return k == ERR_OK ? 0 : ctl_err(&e);
}

int import_run(struct ctl *c, const char *verb, import_format *format, const void *wanted, int source_fd,
    const char *user, const char *path, const char *mailbox)
{
	struct pipe_ends ends;
	int pid, status, read_status, fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return ctl_fail(EX_OSERR, "no pipe: %s", strerror(errno));
	ends = (struct pipe_ends){ fds[0], fds[1], verb };
	status = ctl_start_in_store(c, user, true, writer_main, &ends, &pid);
	close(ends.read_fd);
	if (status != 0) {
		close(ends.write_fd);
		return status;
	}
	signal(SIGPIPE, SIG_IGN);	/* a writer that stopped says why itself */
	read_status = reader_main(format, wanted, source_fd, ends.write_fd, path, mailbox);
	status = ctl_wait_child(pid);
	return read_status != 0 ? read_status : status;
}

static int import_command(struct ctl *c, import_format *format, int flags, int argc, char **argv)
{
	const char *mailbox = "INBOX";
	int fd, status;

	if (argc == 4 && strcmp(argv[2], "--mailbox") == 0)
		mailbox = argv[3];
	else if (argc != 2)
		return ctl_fail(EX_USAGE, "usage: penny import FORMAT USER PATH [--mailbox NAME]");
	fd = open(argv[1], O_RDONLY | O_CLOEXEC | O_NOCTTY | flags);
	if (fd < 0)
		return ctl_fail(EX_NOINPUT, "%s: %s", argv[1], strerror(errno));
	status = import_run(c, "imported", format, NULL, fd, argv[0], argv[1], mailbox);
	close(fd);
	return status;
}

int cmd_import_maildir(struct ctl *c, int argc, char **argv)
{
	return import_command(c, import_maildir, O_DIRECTORY, argc, argv);
}

int cmd_import_mbox(struct ctl *c, int argc, char **argv)
{
	return import_command(c, import_mbox, 0, argc, argv);
}
