/* SPDX-License-Identifier: ISC */
/* Between mime.c and record.c: a parse with fewer parts, for records that must stay small. */
#ifndef MIME_INT_H
#define MIME_INT_H

#include "mime.h"

/* As mime_parse, with another limit than MIME_PARTS_MAX (1 or more). */
bool mime_parse_limited(struct arena *a, struct str message, size_t parts_max,
    struct mime_tree *out) CHECKED;

#endif
