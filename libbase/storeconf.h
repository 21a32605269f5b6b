/* SPDX-License-Identifier: ISC */
/* What the configuration says about all stores: settings.c reads it, libstore goes by it, and neither knows the other. */
#ifndef STORECONF_H
#define STORECONF_H

#include "base.h"

struct store_conf {
	uint64_t retain_ms;		/* expunged messages can be brought back that long; 0: not at all */
	uint64_t retain_octets;		/* as long as they take no more than this together */
	uint64_t quota_octets;		/* limits of a user who has none of his own; 0: none */
	uint64_t quota_messages;
	bool compress;			/* new bodies that lie in the journal are compressed when it pays and the build has
				 * zstd; whatever it says, compressed ones are read */
};

#endif
