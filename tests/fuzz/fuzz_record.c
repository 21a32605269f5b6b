/* SPDX-License-Identifier: ISC */
/* A message becomes a record that opens; then the input itself is opened as a record. */
#include "../../libbase/err.h"
#include "../../libmail/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t read_all(const struct record *r)
{
	uint64_t sum = 0;
	struct record_part p;

	for (uint32_t i = 0; i < r->n_fields; i++)
		sum += record_field(r, i).octets;
	for (uint32_t i = 0; i < r->n_references; i++)
		sum += record_reference(r, i).n;
	for (uint32_t i = 0; i < r->n_parts; i++) {
		p = record_part(r, i);
		if (p.body_at + p.body_octets > r->message_octets)
			err_bug("part behind the message's end");
		record_part_message(r, &p, &p);
	}
	for (uint32_t i = 0; i < 8; i++)
		record_part_find(r, (uint32_t[]){ 1 + (i & 1), 1 + (i >> 1 & 1), i >> 2 }, 3, &p);
	return sum + record_envelope(r).n + record_bodystructure(r).n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_n((const char *)data, n);
	struct arena *a = arena_new(RECORD_ARENA_OCTETS);
	struct buf b = BUF_INIT(RECORD_MAX_OCTETS);
	struct record r;

	if (record_make(a, in, &b, NULL) != ERR_OK || record_open(buf_str(&b), &r, NULL) != ERR_OK)
		err_bug("no record of a message");
	read_all(&r);
	if (record_open(in, &r, NULL) == ERR_OK)
		read_all(&r);
	buf_free(&b);
	arena_free(&a);
	return 0;
}
