/* SPDX-License-Identifier: ISC */
/* Files mapped for reading whose end may be cut off under us (a failing disk, an admin): a page that is no longer there
 * reads as zeros instead of ending the process. Whoever reads has a checksum to tell. */
#ifndef MAPPED_H
#define MAPPED_H

#include "../libbase/base.h"

/* Maps octets of fd, from its beginning, shared and read-only; they may reach beyond the file's end. NULL with errno. */
const void *mapped_new(int fd, size_t octets);
/* NULL is fine. */
void mapped_free(const void *p, size_t octets);
/* How many pages have been found missing in this process. */
unsigned mapped_faults(void);
/* Maps the file again at the same place: pages that were missing show what is there now. */
bool mapped_again(const void *p, int fd, size_t octets);

#endif
