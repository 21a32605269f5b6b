/* SPDX-License-Identifier: ISC */
/* Keys and values in memory: what the index would hold if it were made from the journal now, for check to compare the
 * index with. Costs the octets of keys and values and about 24 more for each. */
#ifndef TABLE_H
#define TABLE_H

#include "../libbase/str.h"

struct table;

struct table_item {
	struct str key, value;		/* views, valid until the table changes */
	bool *seen;			/* false when the value was put; whoever looks may set it */
};

/* NULL without memory. */
struct table *table_new(void);
void table_free(struct table **t);
/* False without memory; the table is as before then. */
bool table_put(struct table *t, struct str key, struct str value) CHECKED;
bool table_get(const struct table *t, struct str key, struct table_item *out);
bool table_delete(struct table *t, struct str key);
void table_delete_prefix(struct table *t, struct str prefix);
/* Calls each for every item, in no order, until it returns false. It must not change the table. */
void table_each(const struct table *t, bool (*each)(void *ctx, const struct table_item *item), void *ctx);

#endif
