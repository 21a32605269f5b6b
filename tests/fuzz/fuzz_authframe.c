/* SPDX-License-Identifier: ISC */
/* Packets to authd. What is taken for a frame has one spelling: putting it again gives the same octets. */
#include <stdlib.h>

#include "../../authd/monitor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str packet = { (const char *)data, n };
	struct buf again = BUF_INIT(AUTHFRAME_MAX_OCTETS);
	const struct mon_req *r;
	struct authframe f;

	for (unsigned where = MON_ON_AUTH; where <= MON_ON_STORE; where++) {
		if (mon_parse(packet, where, &f, &r, NULL) == ERR_OK)
			must(r->where == where && f.n == r->n_fields);
	}
	if (n <= AUTHFRAME_MAX_OCTETS && authframe_parse(packet, &f, NULL) == ERR_OK)
		must(authframe_put(&again, &f) && str_eq(buf_str(&again), packet));
	buf_free(&again);
	return 0;
}
