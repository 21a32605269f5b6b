/* SPDX-License-Identifier: ISC */
/* The journal in place of the index: cheaper while it is short, and all there is when the index
 * does not open. */
#include "store_int.h"

bool replay_is_cheaper(const struct store *s, struct journal_pos upto)
{
	return s->engine == NULL && upto.seg == 1 && upto.off <= s->env.replay_max_octets;
}

enum err_kind replay_all(struct store *s, uint32_t last_seg,
    enum err_kind (*each)(void *ctx, const struct journal_view *v, struct err *e), void *ctx,
    struct err *e)
{
	struct journal_scan scan;
	uint32_t first, last;
	enum err_kind k = journal_range(s->journal, &first, &last, e);

	for (uint32_t seg = first; k == ERR_OK && seg <= last_seg; seg++) {
		k = journal_scan(s->journal, seg, each, ctx, &scan, e);
		if (k == ERR_CORRUPT || k == ERR_NOENT)
			k = ERR_OK;
	}
	return k;
}
