/* SPDX-License-Identifier: ISC */
#ifndef BODY_INT_H
#define BODY_INT_H

#include "../libbase/buf.h"
#include "body.h"

struct body {
	struct store *spill;
	uint64_t max_octets, n_octets;
	struct buf mem;			/* the octets, until they are spilled */
	int fd;				/* of the spilled file, -1 */
	uint64_t large_id;		/* random name of the spilled file, 0 */
	const char *map;		/* spilled and sealed */
	struct buf record;
	struct buf packed;		/* the octets as they go into a record, when the spill store compresses and it pays */
	uint32_t record_crc;
	uint32_t body_crc;		/* when it is spilled or packed */
	bool sealed;
};

/* Puts the sealed, spilled body into s under its final name (a hard link where that can be) and makes the name durable
 * (invariant I7). Errors: ERR_NOSPC, ERR_TEMP. */
enum err_kind body_link(const struct body *b, struct store *s, struct err *e) CHECKED;
/* Is it there under its final name? Under the lock nobody takes it away. */
bool body_is_linked(const struct body *b, const struct store *s);

#endif
