/* SPDX-License-Identifier: ISC */
/* Between text.c and html.c: markup to text. */
#ifndef TEXT_INT_H
#define TEXT_INT_H

#include "text.h"

/* Appends the text of a chunk of markup, which may be cut anywhere; false when `out` is full. */
bool html_feed(struct text_reader *t, struct buf *out, struct str markup);
/* What was held back at the end. */
bool html_end(struct text_reader *t, struct buf *out);

#endif
