/* SPDX-License-Identifier: ISC */
/* The two clocks: deadlines use the monotonic one, dates that people see the real one. */
#ifndef CLOCK_H
#define CLOCK_H

#include "base.h"

uint64_t clock_mono_ms(void);		/* milliseconds since some fixed point; never goes back */
uint64_t clock_mono_us(void);
int64_t clock_real_s(void);		/* seconds since 1970-01-01 UTC */
int64_t clock_real_ms(void);
void clock_sleep_ms(uint64_t ms);	/* may return early on a signal */

#endif
