/* SPDX-License-Identifier: ISC */
#include "authframe.h"

enum err_kind authframe_parse(struct str packet, struct authframe *out, struct err *e)
{
	struct authframe f = { 0 };
	struct str rest;

	if (packet.n < AUTHFRAME_HEAD_OCTETS || (uint8_t)packet.p[0] != AUTHFRAME_VERSION)
		return err_set(e, ERR_SYNTAX, 0, "frame of another version, or none");
	f.type = (uint8_t)packet.p[1];
	f.id = get_le32(packet.p + 4);
	rest = str_skip(packet, AUTHFRAME_HEAD_OCTETS);
	if (get_le16(packet.p + 2) != rest.n)
		return err_set(e, ERR_SYNTAX, 0, "frame lies about its length");
	while (rest.n > 0) {
		size_t n;

		if (f.n == AUTHFRAME_FIELDS_MAX || rest.n < 2 ||
		    (n = get_le16(rest.p)) > rest.n - 2)
			return err_set(e, ERR_SYNTAX, 0, "fields do not fit the frame");
		f.field[f.n++] = str_n(rest.p + 2, n);
		rest = str_skip(rest, 2 + n);
	}
	*out = f;
	return ERR_OK;
}

bool authframe_put(struct buf *out, const struct authframe *f)
{
	size_t length = 0;

	for (size_t i = 0; i < f->n; i++) {
		if (f->field[i].n > UINT16_MAX)
			return false;
		length += 2 + f->field[i].n;
	}
	if (length > AUTHFRAME_MAX_OCTETS - AUTHFRAME_HEAD_OCTETS)
		return false;
	buf_putc(out, AUTHFRAME_VERSION);
	buf_putc(out, (char)f->type);
	buf_put_le16(out, (uint16_t)length);
	buf_put_le32(out, f->id);
	for (size_t i = 0; i < f->n; i++) {
		buf_put_le16(out, (uint16_t)f->field[i].n);
		buf_put(out, f->field[i]);
	}
	return !out->full;
}
