/* SPDX-License-Identifier: ISC */
/* Errors as values: a kind chosen by what the client should be told, the system's number, one
 * bounded line of text for the log. The bottom sets, the middle may add where, the top logs once
 * and replies; text never goes to the wire. */
#ifndef ERR_H
#define ERR_H

#include "base.h"

enum err_kind {
	ERR_OK,
	/* later may work */
	ERR_TEMP, ERR_BUSY, ERR_NOSPC, ERR_TIMEOUT, ERR_EOF,
	/* theirs to fix */
	ERR_SYNTAX, ERR_NOENT, ERR_EXISTS, ERR_DENIED, ERR_LIMIT, ERR_QUOTA,
	/* ours to fix */
	ERR_CORRUPT
};

enum { ERR_TEXT_MAX = 240 };

struct err {
	enum err_kind kind;
	int sys;			/* errno or a library's code, 0 when none */
	char text[ERR_TEXT_MAX];	/* always NUL-terminated; control bytes escaped by the log */
};

/* Sets *e and returns kind. e may be NULL. The text is cut at ERR_TEXT_MAX - 1 octets. */
enum err_kind err_set(struct err *e, enum err_kind kind, int sys, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* Sets *e from errno: ENOSPC and EDQUOT give ERR_NOSPC, ENOENT ERR_NOENT, EEXIST ERR_EXISTS,
 * EACCES and EPERM ERR_DENIED, EAGAIN, EBUSY ERR_BUSY, ETIMEDOUT ERR_TIMEOUT, all else ERR_TEMP.
 * The system's text is appended to the formatted text. Returns the kind. */
enum err_kind err_sys(struct err *e, int sysno, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "what: " before the text of *e; keeps and returns the kind. */
enum err_kind err_note(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A word for the kind ("temporary failure", "no space", …), for logs. */
const char *err_word(enum err_kind kind);

/* A broken invariant of ours: writes one line to standard error and aborts, keeping the core. */
void err_bug(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;

#endif
