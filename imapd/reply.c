/* SPDX-License-Identifier: ISC */
/* Answers: tagged lines, error kinds in RFC 5530's words, strings as the grammar wants them. */
#include "../libbase/log.h"
#include "../libmail/mutf7.h"
#include "flags.h"
#include "session.h"

enum {
	QUOTED_MAX_OCTETS = 1000,		/* longer strings go as literals */
	MAILBOX_ARG_MAX_OCTETS = 64 * 1024,
	SET_CHUNK = 512				/* numbers put before the output may be sent */
};

static const struct {
	const char *code, *text;
	bool ours;				/* an admin should see it */
} kinds[] = {
	[ERR_OK] = { NULL, "Done", false },
	[ERR_TEMP] = { "UNAVAILABLE", "Temporary failure, try again later", true },
	[ERR_BUSY] = { "INUSE", "Mail store is busy, try again", true },
	[ERR_NOSPC] = { "OVERQUOTA", "No space left for mail", true },
	[ERR_TIMEOUT] = { "UNAVAILABLE", "Took too long, try again later", true },
	[ERR_EOF] = { "UNAVAILABLE", "Temporary failure, try again later", true },
	[ERR_SYNTAX] = { "CANNOT", "Such a name is not possible", false },
	[ERR_NOENT] = { "NONEXISTENT", "No such mailbox", false },
	[ERR_EXISTS] = { "ALREADYEXISTS", "It exists already", false },
	[ERR_DENIED] = { "NOPERM", "Not permitted", false },
	[ERR_LIMIT] = { "LIMIT", "A limit would be passed", false },
	[ERR_QUOTA] = { "OVERQUOTA", "Over quota", false },
	[ERR_CORRUPT] = { "CORRUPTION", "The mail store is damaged; the administrator was told", true },
};

const char *reply_code(enum err_kind kind) { return kinds[kind].code; }

static void tagged(struct imap_session *s, const char *word, const char *code, const char *text)
{
	struct conn *c = s->c;

	conn_put(c, s->tag.n > 0 ? s->tag : STR("*"));
	conn_put(c, str_of(word));
	if (code != NULL) {
		conn_put(c, STR("["));
		conn_put(c, str_of(code));
		conn_put(c, STR("] "));
	}
	conn_put(c, str_of(text));
	conn_put(c, STR("\r\n"));
}

void reply_ok(struct imap_session *s, const char *code, const char *text)
{
	sync_tell(s, (s->cmd->flags & CMD_NO_EXPUNGE) == 0);
	s->n_bad = 0;
	tagged(s, " OK ", code, text);
}

void reply_no(struct imap_session *s, const char *code, const char *text)
{
	tagged(s, " NO ", code, text);
}

void reply_bad(struct imap_session *s, const char *text)
{
	s->n_bad++;
	tagged(s, " BAD ", NULL, text);
}

void reply_err(struct imap_session *s, const struct err *e, const char *what)
{
	if (kinds[e->kind].ours)
		log_event(e->kind == ERR_CORRUPT ? LOG_LEVEL_ERR : LOG_LEVEL_WARN, "imap.failed",
		    KV_Z("user", s->user), KV_Z("what", what), KV_ERR(e));
	reply_no(s, kinds[e->kind].code, kinds[e->kind].text);
}

void reply_untagged(struct imap_session *s, const char *line)
{
	conn_put(s->c, STR("* "));
	conn_put(s->c, str_of(line));
	conn_put(s->c, STR("\r\n"));
}

void reply_bye(struct imap_session *s, const char *code, const char *text)
{
	s->state = IMAP_LOGOUT;
	conn_put(s->c, STR("* BYE "));
	if (code != NULL) {
		conn_put(s->c, STR("["));
		conn_put(s->c, str_of(code));
		conn_put(s->c, STR("] "));
	}
	conn_put(s->c, str_of(text));
	conn_put(s->c, STR("\r\n"));
}

void put_string(struct buf *out, struct str v)
{
	bool plain = v.n <= QUOTED_MAX_OCTETS;

	for (size_t i = 0; i < v.n && plain; i++)
		plain = v.p[i] >= 0x20 && v.p[i] < 0x7f;
	if (!plain) {
		(void)buf_printf(out, "{%zu}\r\n", v.n);
		(void)buf_put(out, v);
		return;
	}
	(void)buf_putc(out, '"');
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] == '"' || v.p[i] == '\\')
			(void)buf_putc(out, '\\');
		(void)buf_putc(out, v.p[i]);
	}
	(void)buf_putc(out, '"');
}

void put_astring(struct buf *out, struct str v)
{
	bool atom = v.n > 0 && !str_eq_nocase(v, STR("NIL"));

	for (size_t i = 0; i < v.n && atom; i++)
		atom = tok_is_atom_char(v.p[i]);
	if (atom)
		(void)buf_put(out, v);
	else
		put_string(out, v);
}

void put_mailbox(struct buf *out, struct str utf8)
{
	struct buf name = BUF_INIT(MAILBOX_ARG_MAX_OCTETS);

	if (mutf7_from_utf8(&name, utf8))
		put_astring(out, buf_str(&name));
	else
		put_astring(out, utf8);
	buf_free(&name);
}

void put_set(struct imap_session *s, const uint32_t *v, size_t n)
{
	size_t end;

	/* A chunk ends between two runs, so that a range is never torn. */
	for (size_t i = 0; i < n; i = end) {
		end = i + SET_CHUNK < n ? i + SET_CHUNK : n;
		while (end < n && v[end] == v[end - 1] + 1)
			end++;
		if (i > 0)
			conn_put(s->c, STR(","));
		seqset_put(conn_out(s->c), v + i, end - i);
	}
}

bool arg_name(struct imap_session *s, struct str sent, struct str *out)
{
	struct buf utf8 = BUF_INIT(MAILBOX_ARG_MAX_OCTETS);
	bool ok = mutf7_to_utf8(&utf8, sent);

	*out = str_dup(s->a, buf_str(&utf8));
	buf_free(&utf8);
	return ok && out->p != NULL;
}

bool arg_mailbox(struct imap_session *s, struct cursor *args, struct str *out)
{
	struct str name;

	if (!tok_sp(args) || !tok_astring(args, s->a, &name)) {
		reply_bad(s, "Mailbox name missing or invalid");
		return false;
	}
	if (arg_name(s, name, out))
		return true;
	reply_no(s, "CANNOT", "The mailbox name is not modified UTF-7");
	return false;
}

bool arg_end(struct imap_session *s, const struct cursor *args)
{
	if (!tok_end(args))
		reply_bad(s, "Syntax error in arguments");
	return tok_end(args);
}
