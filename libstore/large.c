/* SPDX-License-Identifier: ISC */
#include <stdio.h>

#include "store_int.h"

void large_name(char name[40], uint64_t id)
{
	snprintf(name, 40, "large/%02x/%016llx", (unsigned)(id & 0xff), (unsigned long long)id);
}
