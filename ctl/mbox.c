/* SPDX-License-Identifier: ISC */
/* Reads an mbox file. A message begins at a "From " line with a date, at the file's start or
 * behind an empty line; one ">" is taken off quoted From lines (mboxrd, which mboxo agrees with
 * where it matters). Fields in which mail programs kept their state are turned into flags and
 * left out; the empty line before a separator belongs to the file, not to the message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>

#include "../libstore/mailbox.h"
#include "import.h"

struct reader {
	struct import_out *o;
	FILE *in;
	bool open, in_header, leave_out;	/* leave_out: inside a field of state */
	bool internal;				/* the message that holds c-client's own data */
	bool line_start;
	struct str held;			/* an empty line that may belong to a separator */
	bool before_was_empty;
	unsigned n_messages;
	struct import_meta meta;
	struct buf keywords;
	char chunk[IMPORT_CHUNK_OCTETS];
};

static const struct { char letter; uint32_t flag; } flag_letters[] = {
	{ 'R', MSG_SEEN }, { 'A', MSG_ANSWERED }, { 'F', MSG_FLAGGED },
	{ 'D', MSG_DELETED }, { 'T', MSG_DRAFT },
};

uint32_t mbox_flags(struct str value)
{
	uint32_t flags = 0;

	for (size_t i = 0; i < value.n; i++)
		for (size_t j = 0; j < COUNTOF(flag_letters); j++)
			if (flag_letters[j].letter == value.p[i])
				flags |= flag_letters[j].flag;
	return flags;
}

/* "Wed Jan  2 03:04[:05] [zone] 2002 [+0100]": asctime's form with the extras that are seen. */
static bool parse_asctime(const char *p, int64_t *out)
{
	static const char *const forms[] = {
		"%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M %Y", "%a %b %d %H:%M:%S %Z %Y",
	};

	for (size_t i = 0; i < COUNTOF(forms); i++) {
		struct tm tm;
		const char *end;
		int sign, zone;

		memset(&tm, 0, sizeof tm);
		end = strptime(p, forms[i], &tm);
		if (end == NULL)
			continue;
		*out = (int64_t)timegm(&tm);
		sign = end[0] == ' ' && end[1] == '-' ? 1 : -1;
		if (end[0] == ' ' && (end[1] == '+' || end[1] == '-') &&
		    sscanf(end + 2, "%4d", &zone) == 1)
			*out += sign * (zone / 100 * 3600 + zone % 100 * 60);
		return true;
	}
	return false;
}

bool mbox_from_line(struct str line, int64_t *out_date_s)
{
	char text[512];

	if (!str_starts(line, STR("From ")) || line.n >= sizeof text || str_has(line, '\0'))
		return false;
	memcpy(text, line.p, line.n);
	text[line.n] = '\0';
	/* The sender may hold blanks, so the date is looked for at each of them. */
	for (const char *p = strchr(text, ' '); p != NULL; p = strchr(p + 1, ' '))
		if (parse_asctime(p + 1, out_date_s))
			return true;
	return false;
}

static void finish_message(struct reader *r)
{
	if (!r->open)
		return;
	r->open = false;
	r->held.n = 0;
	r->meta.keywords = buf_str(&r->keywords);
	if (r->internal) {
		import_drop(r->o);
		return;
	}
	import_end(r->o, &r->meta);
}

static void start_message(struct reader *r, int64_t date_s)
{
	finish_message(r);
	r->open = r->in_header = true;
	r->leave_out = r->internal = false;
	r->meta = (struct import_meta){ .date_s = date_s };
	buf_reset(&r->keywords);
	r->n_messages++;
	import_begin(r->o);
}

static void on_flags(struct reader *r, struct str value)
{
	r->meta.flags |= mbox_flags(value);
}

static void on_keywords(struct reader *r, struct str value)
{
	buf_put(&r->keywords, value);
	buf_putc(&r->keywords, ' ');
}

static void on_nothing(struct reader *r, struct str value)
{
	(void)r;
	(void)value;
}

static void on_internal(struct reader *r, struct str value)
{
	(void)value;
	r->internal = r->n_messages == 1;
}

static const struct {
	struct str name;
	void (*run)(struct reader *r, struct str value);
} state_fields[] = {
	{ STR_INIT("Status:"), on_flags },
	{ STR_INIT("X-Status:"), on_flags },
	{ STR_INIT("X-Keywords:"), on_keywords },
	{ STR_INIT("X-UID:"), on_nothing },
	{ STR_INIT("X-IMAPbase:"), on_nothing },
	{ STR_INIT("X-IMAP:"), on_internal },
};

/* Handles a header line's first chunk; true when its field is left out. */
static bool is_state_field(struct reader *r, struct str line)
{
	if (line.p[0] == ' ' || line.p[0] == '\t')
		return r->leave_out;
	for (size_t i = 0; i < COUNTOF(state_fields); i++)
		if (str_starts_nocase(line, state_fields[i].name)) {
			struct str value = str_skip(line, state_fields[i].name.n);

			while (value.n > 0 && strchr("\r\n", value.p[value.n - 1]) != NULL)
				value.n--;
			state_fields[i].run(r, str_trim(value));
			return true;
		}
	return false;
}

static bool is_empty_line(struct str s)
{
	return str_eq(s, STR("\n")) || str_eq(s, STR("\r\n"));
}

static struct str unquote_from(struct str line)
{
	size_t n = 0;

	while (n < line.n && line.p[n] == '>')
		n++;
	return n > 0 && str_starts(str_skip(line, n), STR("From ")) ? str_skip(line, 1) : line;
}

static void put_text(struct reader *r, struct str s)
{
	if (r->held.n > 0)
		import_text(r->o, STR("\r\n"));
	r->held.n = 0;
	import_text(r->o, s);
}

/* A chunk that begins a line. */
static void on_line(struct reader *r, struct str s)
{
	bool empty = is_empty_line(s);
	int64_t date_s;

	if (r->before_was_empty && mbox_from_line(s, &date_s)) {
		start_message(r, date_s);
		r->before_was_empty = false;
		return;
	}
	r->before_was_empty = empty;
	if (!r->open)
		return;
	if (r->in_header) {
		r->in_header = !empty;
		r->leave_out = r->in_header && is_state_field(r, s);
		if (!r->leave_out)
			put_text(r, s);
	} else if (empty) {
		put_text(r, STR(""));	/* only the last of several may be the separator's */
		r->held = STR("\n");
	} else {
		put_text(r, unquote_from(s));
	}
}

static void on_chunk(struct reader *r, struct str s)
{
	if (r->line_start)
		on_line(r, s);
	else if (r->open && !(r->in_header && r->leave_out))
		put_text(r, s);
	r->line_start = s.p[s.n - 1] == '\n';
}

/* A line or, of a long one, a part of it; false at the end. NULs are data, so fgets won't do. */
static bool next_chunk(struct reader *r, struct str *out)
{
	size_t n = 0;
	int c = 0;

	while (n < sizeof r->chunk && c != '\n' && (c = getc_unlocked(r->in)) != EOF)
		r->chunk[n++] = (char)c;
	*out = str_n(r->chunk, n);
	return n > 0;
}

enum err_kind import_mbox(struct import_out *o, int fd, const char *path, const char *mailbox,
    struct err *e)
{
	struct reader *r = calloc(1, sizeof *r);
	struct str chunk;
	struct stat st;

	if (r == NULL || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (r->in = fdopen(dup(fd), "r")) == NULL) {
		free(r);
		return err_set(e, ERR_NOENT, 0, "%s: not a file that can be read", path);
	}
	r->o = o;
	r->line_start = r->before_was_empty = true;
	buf_init(&r->keywords, IMPORT_KEYWORDS_MAX_OCTETS);
	import_folder(o, str_of(mailbox));
	while (!ferror(o->to) && next_chunk(r, &chunk))
		on_chunk(r, chunk);
	if (ferror(r->in))
		(void)err_set(e, ERR_TEMP, 0, "%s: can't be read to its end", path);
	else if (r->n_messages == 0 && st.st_size > 0)
		(void)err_set(e, ERR_SYNTAX, 0, "%s: not an mbox file", path);
	else
		e->kind = ERR_OK;
	finish_message(r);
	fclose(r->in);
	buf_free(&r->keywords);
	free(r);
	return e->kind;
}
