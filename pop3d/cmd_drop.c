/* SPDX-License-Identifier: ISC */
/* The maildrop as a list: counts, sizes, unique ids, marks, and the end (RFC 1939 s.5 to s.7). */
#include "../libbase/log.h"
#include "parse.h"
#include "session.h"

static bool loaded(struct pop3 *s)
{
	struct err e;

	if (maildrop_load(s->drop, &e) == ERR_OK)
		return true;
	reply_err(s, "pop3.load.failed", &e);
	return false;
}

const struct message *pop3_message(struct pop3 *s, uint32_t msgno)
{
	const struct message *m;

	if (!loaded(s))
		return NULL;
	m = maildrop_message(s->drop, msgno);
	if (m == NULL)
		reply_no(s, "no such message");
	return m;
}

/* The message that a command's only argument names. */
static const struct message *message_of_arg(struct pop3 *s, struct str arg, uint32_t *out_msgno)
{
	if (pop3_number(arg, out_msgno))
		return pop3_message(s, *out_msgno);
	reply_bad(s, "not a message number");
	return NULL;
}

void cmd_stat(struct pop3 *s, struct str arg)
{
	struct maildrop_stat st;
	struct err e;

	(void)arg;
	if (maildrop_stat(s->drop, s->cmd, &st, &e) != ERR_OK)
		reply_err(s, "pop3.stat.failed", &e);
	else
		conn_printf(s->c, "+OK %u %llu\r\n", st.n, (unsigned long long)st.octets);
}

/* "msgno size" and "msgno unique-id": at most 70 printable octets, the same in every session,
 * never used for another message of this maildrop (RFC 1939 s.7), since UIDVALIDITY and UID are. */
static void put_size(struct pop3 *s, const char *before, uint32_t msgno, const struct message *m)
{
	conn_printf(s->c, "%s%u %u\r\n", before, msgno, m->size_octets);
}

static void put_uidl(struct pop3 *s, const char *before, uint32_t msgno, const struct message *m)
{
	conn_printf(s->c, "%s%u %08x.%u\r\n", before, msgno, maildrop_uidvalidity(s->drop), m->uid);
}

static void scan(struct pop3 *s, struct str arg, const char *title,
    void (*put)(struct pop3 *, const char *, uint32_t, const struct message *))
{
	const struct message *m;
	uint32_t msgno;

	if (str_trim(arg).n > 0) {
		m = message_of_arg(s, arg, &msgno);
		if (m != NULL)
			put(s, "+OK ", msgno, m);
		return;
	}
	if (!loaded(s))
		return;
	reply_ok(s, title);
	for (msgno = 1; msgno <= maildrop_n(s->drop); msgno++) {
		m = maildrop_message(s->drop, msgno);
		if (m != NULL)
			put(s, "", msgno, m);
	}
	conn_put(s->c, STR(".\r\n"));
}

void cmd_list(struct pop3 *s, struct str arg)
{
	scan(s, arg, "sizes follow", put_size);
}

void cmd_uidl(struct pop3 *s, struct str arg)
{
	scan(s, arg, "unique ids follow", put_uidl);
}

void cmd_dele(struct pop3 *s, struct str arg)
{
	uint32_t msgno;

	if (message_of_arg(s, arg, &msgno) == NULL)
		return;
	maildrop_mark(s->drop, msgno);	/* gone only at QUIT: RFC 1939 s.6 */
	reply_ok(s, "marked");
}

void cmd_noop(struct pop3 *s, struct str arg)
{
	(void)arg;
	reply_ok(s, "done");
}

void cmd_rset(struct pop3 *s, struct str arg)
{
	(void)arg;
	maildrop_unmark_all(s->drop);
	reply_ok(s, "no marks");
}

void cmd_quit(struct pop3 *s, struct str arg)
{
	struct err e;

	(void)arg;
	if (s->drop != NULL) {
		if (maildrop_update(s->drop, &e) != ERR_OK) {
			reply_err(s, "pop3.update.failed", &e);
			s->state = POP3_OVER;
			s->why = "update failed";
			return;
		}
		s->n_removed = maildrop_n_marked(s->drop);
		maildrop_end(&s->drop, s->serve);	/* who reads +OK may come back at once */
	}
	s->state = POP3_OVER;
	reply_ok(s, "goodbye");
}
