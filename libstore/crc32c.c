/* SPDX-License-Identifier: ISC */
/* CRC-32C: the CPU's instruction on x86-64 with SSE 4.2, else tables,
 * eight octets a step. The tables are made on first use; making them twice does no harm. */
#include <stdatomic.h>
#include <string.h>

#include "crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

enum { POLY_REVERSED = (int)0x82f63b78u };

static uint32_t table[8][256];
static atomic_bool table_ready;

static void make_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? (c >> 1) ^ (uint32_t)POLY_REVERSED : c >> 1;
		table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++) {
		for (int t = 1; t < 8; t++)
			table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xff];
	}
	atomic_store(&table_ready, true);
}

static uint32_t crc_by_table(uint32_t c, const unsigned char *p, size_t n)
{
	if (!atomic_load(&table_ready))
		make_table();
	for (; n >= 8; n -= 8, p += 8) {
		uint32_t lo = c ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		    (uint32_t)p[3] << 24);

		c = table[7][lo & 0xff] ^ table[6][lo >> 8 & 0xff] ^ table[5][lo >> 16 & 0xff] ^
		    table[4][lo >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
		    table[0][p[7]];
	}
	for (; n > 0; n--, p++)
		c = (c >> 8) ^ table[0][(c ^ *p) & 0xff];
	return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t crc_by_cpu(uint32_t c, const unsigned char *p, size_t n)
{
	uint64_t wide = c;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, sizeof v);
		wide = _mm_crc32_u64(wide, v);
	}
	c = (uint32_t)wide;
	for (; n > 0; n--, p++)
		c = _mm_crc32_u8(c, *p);
	return c;
}

static bool cpu_has_crc(void)
{
	return __builtin_cpu_supports("sse4.2") != 0;
}
#else
static uint32_t crc_by_cpu(uint32_t c, const unsigned char *p, size_t n)
{
	return crc_by_table(c, p, n);
}

static bool cpu_has_crc(void)
{
	return false;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	uint32_t c = ~crc;

	if (n == 0)
		return crc;
	return ~(cpu_has_crc() ? crc_by_cpu(c, p, n) : crc_by_table(c, p, n));
}
