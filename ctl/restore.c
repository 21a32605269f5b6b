/* SPDX-License-Identifier: ISC */
/* penny restore: a whole user from a copy, put in the place of his store at once; one mailbox or message, appended to the
 * living store; or a list of what is there. All of it at a time that the copy covers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../libmail/record.h"
#include "../libserve/office.h"
#include "../libserve/username.h"
#include "../libstore/copy.h"
#include "../libstore/mailbox.h"
#include "ctl.h"
#include "import.h"

enum { LIST_ARENA_MAX_BYTES = 64 * 1024 * 1024 };

struct wanted {
	const struct ctl *c;
	const char *user, *dir;
	const char *mailbox, *uid, *message_id, *to, *at;
	bool replace, list;
	int64_t at_ms;			/* COPY_AT_END */
	uint32_t uid_number;
};

/* -- a list -- */

static void print_state(const struct copy_state *st)
{
	char from[CTL_TIME_TEXT_OCTETS], to[CTL_TIME_TEXT_OCTETS], made[CTL_TIME_TEXT_OCTETS];

	ctl_format_time(st->covered_ms, from);
	ctl_format_time(st->end_ms, to);
	ctl_format_time(st->made_ms, made);
	printf("copy\tfrom=%s\tto=%s\tmade=%s%s\n", st->covered_ms == 0 ? "the beginning" : from, to, made,
	    st->past ? "\tpast" : "");
}

static int list_mailboxes(struct store *s, const struct copy_state *st, void *arg)
{
	(void)arg;
	print_state(st);
	return ctl_print_mailboxes(s);
}

struct job {
	const struct ctl *c;
	const struct wanted *w;
	int copy_fd, new_fd, old_fd;	/* old_fd -1: there is none */
};

static int list(void *arg)
{
	const struct job *j = arg;

	return ctl_in_copy(j->c, j->copy_fd, j->w->at_ms, list_mailboxes, NULL);
}

/* -- a mailbox or a message -- */

static bool is_wanted(const struct wanted *w, struct mailbox *mb, const struct message *m)
{
	struct record r;
	struct str data;

	if (w->uid != NULL)
		return m->uid == w->uid_number;
	if (w->message_id == NULL)
		return true;
	return message_record(mb, m, &data, NULL) == ERR_OK && record_open(data, &r, NULL) == ERR_OK &&
	    str_eq(record_message_id(&r), str_of(w->message_id));
}

static void send_message(struct import_out *o, struct mailbox *mb, const struct message *m)
{
	struct buf words = BUF_INIT(IMPORT_KEYWORDS_MAX_OCTETS);
	struct message_text t;
	struct err e;
	char what[64];

	if (message_open(mb, m, &t, &e) != ERR_OK) {
		snprintf(what, sizeof what, "UID %u", m->uid);
		import_skipped(o, what, e.text);
		return;
	}
	for (size_t i = 0; i < mailbox_n_keywords(mb); i++) {
		if (!(m->keywords >> i & 1))
			continue;
		buf_put(&words, mailbox_keyword(mb, i));
		buf_putc(&words, ' ');
	}
	import_begin(o);
	import_octets(o, t.prefix);
	import_octets(o, t.body);
	import_end(o, &(struct import_meta){ m->flags & MSG_STORED_FLAGS, m->internaldate_s, buf_str(&words) });
	buf_free(&words);
	message_close(&t);
}

struct sending {
	const struct wanted *w;
	struct import_out *o;
	size_t n;
	struct err *e;
};

static int send_mailbox(struct store *s, const struct copy_state *st, void *arg)
{
	struct sending *x = arg;
	struct mailbox *mb = NULL;
	enum err_kind k;

	(void)st;
	if ((k = mailbox_open(s, str_of(x->w->mailbox), false, &mb, x->e)) == ERR_OK &&
	    (k = mailbox_load(mb, x->e)) == ERR_OK) {
		import_folder(x->o, str_of(x->w->to != NULL ? x->w->to : x->w->mailbox));
		for (size_t i = 0; i < mailbox_n(mb); i++) {
			if (!is_wanted(x->w, mb, mailbox_at(mb, i)))
				continue;
			send_message(x->o, mb, mailbox_at(mb, i));
			x->n++;
		}
	}
	mailbox_close(&mb);
	if (k == ERR_OK && x->n == 0 && (x->w->uid != NULL || x->w->message_id != NULL))
		k = err_set(x->e, ERR_NOENT, 0, "no such message in %s of the copy", x->w->mailbox);
	return k == ERR_OK ? 0 : EX_NOINPUT;
}

/* The reading half of an import: it has become the owner of the copy. What went wrong in the copy has been said. */
static enum err_kind read_copy(struct import_out *o, int fd, const char *path, const char *mailbox, struct err *e)
{
	struct sending x = { o->wanted, o, 0, e };

	(void)mailbox;
	err_set(e, ERR_NOENT, 0, "nothing was read from %s", path);
	return ctl_in_copy(x.w->c, fd, x.w->at_ms, send_mailbox, &x) == 0 ? ERR_OK : e->kind;
}

/* -- a user -- */

static int count_mail(struct store *s, void *arg)
{
	struct arena *a = arena_new(LIST_ARENA_MAX_BYTES);
	uint64_t *n_mail = arg;
	struct mailbox_info *v;
	struct err e;
	size_t n;

	if (store_list(s, a, &v, &n, &e) != ERR_OK)
		return ctl_err(&e);
	*n_mail = n > 1;		/* INBOX is always there */
	for (size_t i = 0; i < n; i++)
		*n_mail += v[i].n_messages;
	arena_free(&a);
	return 0;
}

static int take_floor(struct store *s, void *arg)
{
	struct err e;

	return store_floor_take(s, arg, &e) == ERR_OK ? 0 : ctl_err(&e);
}

static int take_copy_floor(struct store *s, const struct copy_state *st, void *arg)
{
	(void)st;
	return take_floor(s, arg);
}

static int keep_floor(struct store *s, void *arg)
{
	const struct store_floor *f = arg;
	struct err e;

	return store_floor_keep(s, f, &e) == ERR_OK ? 0 : ctl_err(&e);
}

/* What was there before and what the copy had later: the store that comes goes on above both. */
static int restore_floors(const struct job *j)
{
	struct store_floor *f = NULL;
	int status = 0;

	if (j->old_fd >= 0 && !copy_dir_is_empty(j->old_fd)) {
		if ((status = ctl_open_and_run(j->c, j->old_fd, take_floor, &f)) == 0)
			status = ctl_open_and_run(j->c, j->new_fd, keep_floor, f);
		store_floor_free(&f);
	}
	if (status == 0 && j->w->at_ms != COPY_AT_END) {
		if ((status = ctl_in_copy(j->c, j->copy_fd, COPY_AT_END, take_copy_floor, &f)) == 0)
			status = ctl_open_and_run(j->c, j->new_fd, keep_floor, f);
		store_floor_free(&f);
	}
	return status;
}

/* Large bodies that nobody has any more are missed by those messages only that are there. It makes the index, too. */
static enum err_kind look_at_large(struct store *s, const struct mailbox_info *i, uint64_t *n_bad, struct err *e)
{
	struct mailbox *mb = NULL;
	enum err_kind k = mailbox_open(s, i->name, false, &mb, e);

	if (k == ERR_OK)
		k = mailbox_load(mb, e);
	for (size_t ix = 0; k == ERR_OK && ix < mailbox_n(mb); ix++) {
		const struct message *m = mailbox_at(mb, ix);
		struct message_text t;

		if (m->size_octets <= STORE_INLINE_MAX_OCTETS)
			continue;
		if (message_open(mb, m, &t, e) == ERR_OK) {
			message_close(&t);
			continue;
		}
		++*n_bad;
		ctl_fail(0, "%.*s UID %u: %s", STR_FMT(i->name), m->uid, e->text);
	}
	mailbox_close(&mb);
	return k;
}

/* EX_DATAERR means a store in which something is damaged, nothing else. */
static int failed(int status)
{
	return status == EX_DATAERR ? EX_IOERR : status;
}

static int print_store(struct store *s, void *arg)
{
	const struct job *j = arg;
	struct arena *a = arena_new(LIST_ARENA_MAX_BYTES);
	uint64_t n_messages = 0, n_mailboxes = 0, n_bad = 0;
	struct mailbox_info *v;
	struct err e;
	size_t n;
	enum err_kind k = store_list(s, a, &v, &n, &e);

	for (size_t i = 0; k == ERR_OK && i < n; i++) {
		if (!v[i].exists || v[i].noselect)
			continue;
		n_mailboxes++;
		n_messages += v[i].n_messages;
		k = look_at_large(s, &v[i], &n_bad, &e);
	}
	if (k == ERR_OK)
		printf("restored\tuser=%s\tmailboxes=%" PRIu64 "\tmessages=%" PRIu64 "\n", j->w->user, n_mailboxes,
		    n_messages);
	arena_free(&a);
	return k != ERR_OK ? failed(ctl_err(&e)) : n_bad > 0 ? EX_DATAERR : 0;
}

/* In the child that owns the stores: fills the new store. 0, or EX_DATAERR after damage was reported: it is a store all
 * the same. */
static int fill_store(void *arg)
{
	const struct job *j = arg;
	struct copy_state st;
	uint64_t n_mail = 0;
	struct err e;
	int status;

	if (j->old_fd >= 0 && !j->w->replace && !copy_dir_is_empty(j->old_fd)) {
		if ((status = ctl_open_and_run(j->c, j->old_fd, count_mail, &n_mail)) != 0)
			return ctl_fail(EX_CANTCREAT, "%s has a store; --replace puts it aside", j->w->user);
		if (n_mail > 0)
			return ctl_fail(EX_CANTCREAT, "%s has mail; --replace puts it aside", j->w->user);
	}
	if (copy_lay_out(j->copy_fd, j->w->at_ms, j->new_fd, false, ctl_report_copy, (void *)(uintptr_t)j->w->user, &st,
	    &e) != ERR_OK)
		return failed(ctl_err(&e));
	if ((status = restore_floors(j)) != 0)
		return failed(status);
	if ((status = ctl_open_and_run(j->c, j->new_fd, print_store, (void *)(uintptr_t)j)) != 0)
		return status;
	return st.n_damaged == 0 ? 0 : EX_DATAERR;
}

static int begin_store(const struct office *o, const char *user, int *letter, int *new_fd)
{
	char name[OFFICE_NAME_MAX];
	struct err e;
	enum err_kind k = office_begin_store(o, user, letter, new_fd, &e);

	if (k == ERR_EXISTS) {		/* of a restore that was interrupted */
		snprintf(name, sizeof name, ".%s" OFFICE_NEW, user);
		if ((k = copy_remove_tree(*letter, name, &e)) == ERR_OK) {
			close(*letter);
			k = office_begin_store(o, user, letter, new_fd, &e);
		}
	}
	return k == ERR_OK ? 0 : ctl_err(&e);
}

static int put_store(const struct wanted *w, int letter, int status)
{
	char aside[OFFICE_NAME_MAX], name[OFFICE_NAME_MAX];
	struct err e;

	if (status == 0 || status == EX_DATAERR) {
		if (office_put_store(letter, w->user, aside, &e) != ERR_OK)
			return ctl_err(&e);
		if (aside[0] != '\0')
			printf("aside\t%c/%s\n", office_letter(str_of(w->user)), aside);
		return status;
	}
	snprintf(name, sizeof name, ".%s" OFFICE_NEW, w->user);
	if (copy_remove_tree(letter, name, &e) != ERR_OK)
		return ctl_err(&e);
	return status;
}

static int restore_user(struct ctl *c, struct job *j)
{
	struct office o;
	int letter = -1, status = ctl_find_office(c, &o);
	struct err e;

	if (status != 0)
		return status;
	if (!name_is_valid(str_of(j->w->user)))
		return ctl_fail(EX_USAGE, "that can't be a user's name");
	if (office_prepare(&o, &e) != ERR_OK)
		return ctl_err(&e);
	if (office_find_store(&o, j->w->user, &j->old_fd, &e) != ERR_OK && e.kind != ERR_NOENT)
		return ctl_err(&e);
	if (j->old_fd < 0 && (status = ctl_check_account(c, j->w->user)) != 0)
		return status;
	if ((status = begin_store(&o, j->w->user, &letter, &j->new_fd)) == 0)
		status = put_store(j->w, letter, ctl_as_owner(c, fill_store, j));
	if (letter >= 0)
		close(letter);
	if (j->new_fd >= 0)
		close(j->new_fd);
	if (j->old_fd >= 0)
		close(j->old_fd);
	return status;
}

/* -- all of it -- */

static bool sensible(struct wanted *w, int argc, char **argv)
{
	uint64_t uid;

	w->user = w->list ? NULL : argv[0];
	w->dir = w->list ? argv[0] : argv[1];
	if (argc != (w->list ? 1 : 2) || (w->list && (w->mailbox != NULL || w->replace)) ||
	    (w->mailbox != NULL && w->replace) || (w->uid != NULL && w->message_id != NULL) ||
	    (w->mailbox == NULL && (w->uid != NULL || w->message_id != NULL || w->to != NULL)))
		return false;
	if (w->uid != NULL && (!str_to_u64(str_of(w->uid), UINT32_MAX, &uid) || uid == 0))
		return false;
	w->uid_number = w->uid != NULL ? (uint32_t)uid : 0;
	return w->at == NULL || (ctl_parse_time(str_of(w->at), &w->at_ms) && w->at_ms > 0);
}

int cmd_restore(struct ctl *c, int argc, char **argv)
{
	struct wanted w = { .c = c, .at_ms = COPY_AT_END };
	struct job j = { c, &w, -1, -1, -1 };
	const struct ctl_option opt[] = {
		{ .name = "--at", .value = &w.at }, { .name = "--mailbox", .value = &w.mailbox },
		{ .name = "--uid", .value = &w.uid }, { .name = "--message-id", .value = &w.message_id },
		{ .name = "--to", .value = &w.to }, { .name = "--replace", .flag = &w.replace },
		{ .name = "--list", .flag = &w.list },
	};
	int status;

	argc = ctl_options(argc, argv, opt, COUNTOF(opt));
	if (argc < 1 || !sensible(&w, argc, argv))
		return ctl_fail(EX_USAGE, "these words make no restore; see penny help restore");
	if ((status = ctl_open_copy(c, w.dir, false, &j.copy_fd)) != 0)
		return status;
	if (w.list)
		status = ctl_as_owner(c, list, &j);
	else if (w.mailbox != NULL)
		status = import_run(c, "restored", read_copy, &w, j.copy_fd, w.user, w.dir, w.mailbox);
	else
		status = restore_user(c, &j);
	close(j.copy_fd);
	return status;
}
