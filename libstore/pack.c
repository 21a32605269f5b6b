/* SPDX-License-Identifier: ISC */
/* Bodies compressed with zstd, one frame each. The frame's own header is not believed: a frame that would give another
 * length than the record says is damage. */
#include <errno.h>
#include <stdlib.h>

#include "crc32c.h"
#include "mailbox.h"
#include "pack.h"

enum { LENGTH_OCTETS = 4 };

#ifdef HAVE_ZSTD
#include <zstd.h>

enum { PACK_LEVEL = 3 };		/* zstd's own default: higher ones cost much and gain little on mail */

struct pack {
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
};

void pack_free(struct pack **p)
{
	if (*p == NULL)
		return;
	ZSTD_freeCCtx((*p)->c);
	ZSTD_freeDCtx((*p)->d);
	free(*p);
	*p = NULL;
}

/* With what is wanted in it. False without memory. */
static bool ready(struct pack **p, bool to_pack)
{
	if (*p == NULL && (*p = calloc(1, sizeof **p)) == NULL)
		return false;
	if (to_pack && (*p)->c == NULL)
		(*p)->c = ZSTD_createCCtx();
	if (!to_pack && (*p)->d == NULL)
		(*p)->d = ZSTD_createDCtx();
	return to_pack ? (*p)->c != NULL : (*p)->d != NULL;
}

bool pack_body(struct pack **p, struct str body, struct buf *out)
{
	size_t room = body.n - body.n / PACK_GAIN, n;
	char *frame;

	if (body.n < PACK_MIN_OCTETS || body.n > STORE_INLINE_MAX_OCTETS || !ready(p, true))
		return false;
	frame = malloc(room);
	if (frame == NULL)
		return false;
	/* fails when it needs more room */
	n = ZSTD_compressCCtx((*p)->c, frame, room - LENGTH_OCTETS, body.p, body.n, PACK_LEVEL);
	if (!ZSTD_isError(n)) {
		buf_put_le32(out, (uint32_t)n);
		buf_put(out, str_n(frame, n));
	}
	free(frame);
	return !ZSTD_isError(n) && !out->full;
}

static enum err_kind unpack(struct pack **p, struct str frame, char *out, size_t octets, struct err *e)
{
	size_t n;

	if (ZSTD_getFrameContentSize(frame.p, frame.n) != octets)
		return err_set(e, ERR_CORRUPT, 0, "compressed body of another length");
	if (!ready(p, false))
		return err_set(e, ERR_TEMP, ENOMEM, "no memory to read a compressed body");
	n = ZSTD_decompressDCtx((*p)->d, out, octets, frame.p, frame.n);
	if (ZSTD_isError(n) || n != octets)
		return err_set(e, ERR_CORRUPT, 0, "compressed body is damaged");
	return ERR_OK;
}
#else
void pack_free(struct pack **p)
{
	(void)p;
}

bool pack_body(struct pack **p, struct str body, struct buf *out)
{
	(void)p;
	(void)body;
	(void)out;
	return false;
}

static enum err_kind unpack(struct pack **p, struct str frame, char *out, size_t octets, struct err *e)
{
	(void)p;
	(void)frame;
	(void)out;
	(void)octets;
	return err_set(e, ERR_TEMP, 0, "the body is compressed with zstd, which this build can't read");
}
#endif

enum err_kind pack_open(struct pack **p, const struct rec_message *m, struct str stored, char **out, struct err *e)
{
	enum err_kind k;
	char *body;

	if (m->encoding != ENCODING_ZSTD)
		return err_set(e, ERR_TEMP, 0, "a body's encoding %u is of a newer version", m->encoding);
	if (m->body_octets > STORE_INLINE_MAX_OCTETS)
		return err_set(e, ERR_CORRUPT, 0, "compressed body of %u octets", m->body_octets);
	body = malloc(m->body_octets + 1);
	if (body == NULL)
		return err_set(e, ERR_TEMP, ENOMEM, "no memory for a body");
	k = unpack(p, str_skip(stored, LENGTH_OCTETS), body, m->body_octets, e);
	if (k == ERR_OK && crc32c(0, body, m->body_octets) != m->body_crc)
		k = err_set(e, ERR_CORRUPT, 0, "compressed body is damaged");
	if (k != ERR_OK) {
		free(body);
		return k;
	}
	*out = body;
	return ERR_OK;
}
