/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

enum err_kind err_set(struct err *e, enum err_kind kind, int sys, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return kind;
	e->kind = kind;
	e->sys = sys;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return kind;
}

static enum err_kind kind_of_errno(int sysno)
{
	switch (sysno) {
	case ENOSPC:
	case EDQUOT:
		return ERR_NOSPC;
	case ENOENT:
		return ERR_NOENT;
	case EEXIST:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case EAGAIN:
	case EBUSY:
		return ERR_BUSY;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	default:
		return ERR_TEMP;
	}
}

/* Appends ": " and more behind the n octets that are there, cut at the end of the text. */
static void append_text(struct err *e, int n, const char *more)
{
	size_t at = n < 0 ? 0 : (size_t)n, len = strlen(more);

	if (at + 2 >= sizeof e->text)
		return;
	memcpy(e->text + at, ": ", 2);
	at += 2;
	if (len > sizeof e->text - 1 - at)
		len = sizeof e->text - 1 - at;
	memcpy(e->text + at, more, len);
	e->text[at + len] = '\0';
}

enum err_kind err_sys(struct err *e, int sysno, const char *fmt, ...)
{
	enum err_kind kind = kind_of_errno(sysno);
	va_list ap;
	int n;

	if (e == NULL)
		return kind;
	e->kind = kind;
	e->sys = sysno;
	va_start(ap, fmt);
	n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	append_text(e, n, strerror(sysno));
	return kind;
}

enum err_kind err_note(struct err *e, const char *fmt, ...)
{
	char was[ERR_TEXT_MAX];
	va_list ap;
	int n;

	if (e == NULL)
		return ERR_TEMP;
	memcpy(was, e->text, sizeof was);
	va_start(ap, fmt);
	n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	append_text(e, n, was);
	return e->kind;
}

const char *err_word(enum err_kind kind)
{
	static const char *const words[] = {
		[ERR_OK] = "ok",
		[ERR_TEMP] = "temporary failure",
		[ERR_BUSY] = "busy",
		[ERR_NOSPC] = "no space",
		[ERR_TIMEOUT] = "timeout",
		[ERR_EOF] = "end of input",
		[ERR_SYNTAX] = "syntax",
		[ERR_NOENT] = "not found",
		[ERR_EXISTS] = "exists",
		[ERR_DENIED] = "denied",
		[ERR_LIMIT] = "limit",
		[ERR_QUOTA] = "over quota",
		[ERR_CORRUPT] = "corrupt",
	};

	return (size_t)kind < COUNTOF(words) ? words[kind] : "unknown";
}

void err_bug(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("bug: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}
