/* SPDX-License-Identifier: ISC */
/* A segment whose header is damaged. Its salt begins every checksum, but a checksum depends on it by 32 bits only, and
 * each record tells those: the salt is worked out from one record and proved by the next. */
#ifndef SALVAGE_H
#define SALVAGE_H

#include "record_types.h"

/* Fills *out with a header for segment `number` under which the records in the n octets of `map` verify: two that follow
 * each other at least. Fields that only the header had are taken from the damaged one where they can be true. A header
 * whose own checksum is right but says another number or a newer version is not damage: false. */
bool salvage_header(const char *map, size_t n, uint32_t number, struct seg_header *out);

#endif
