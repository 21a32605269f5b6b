/* SPDX-License-Identifier: ISC */
#ifndef CRC32C_H
#define CRC32C_H

#include "../libbase/base.h"

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of n octets, continuing from crc (0 to begin). Uses the CPU's
 * instruction where there is one. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
