/* SPDX-License-Identifier: ISC */
/* Decoded text of a part, and the matcher. The reader is three stages over one chunk: transfer
 * encoding, charset, markup; each keeps at most a few octets between chunks. The matcher keeps the
 * last needle.n - 1 folded octets, so that a match across chunks is seen, nothing twice; long runs
 * of ASCII are not folded but looked through as they are. */
#include "mutf7.h"
#include "text.h"
#include "text_int.h"

enum {
	NEEDLE_PIECE_OCTETS = 32 * 1024,
	MIXED_PIECE_OCTETS = 256,	/* before it is looked whether ASCII goes on */
	PLAIN_RUN_OCTETS = 48,		/* of ASCII, that are worth a look of their own */
	PLAIN_MAX_OCTETS = 64,		/* of a needle: bounds what hostile text can cost */
	FOLD_GROWS = 12,		/* U+FDFA: 3 octets become 33 */
	NEEDLE_MEMORY_OCTETS = (TEXT_NEEDLE_MAX_OCTETS + NEEDLE_PIECE_OCTETS) * FOLD_GROWS
};

void text_reader_init(struct text_reader *t, struct str body, enum mime_encoding encoding,
    struct str charset, bool html)
{
	*t = (struct text_reader){ .body = body, .encoding = encoding, .html = html };
	buf_init(&t->raw, TEXT_READ_MAX_OCTETS);
	buf_init(&t->utf8, TEXT_READ_MAX_OCTETS);
	t->html_blank = true;
	if (!charset_stream_init(&t->charset, charset))
		charset_stream_init(&t->charset, STR(""));
}

void text_reader_end(struct text_reader *t)
{
	buf_free(&t->raw);
	buf_free(&t->utf8);
}

static struct str transfer_decode(struct text_reader *t, struct str chunk, bool last)
{
	buf_reset(&t->raw);
	if (t->encoding == MIME_BASE64) {
		base64_feed(&t->base64, &t->raw, chunk);
		return buf_str(&t->raw);
	}
	if (t->encoding == MIME_QP) {
		qp_feed(&t->qp, &t->raw, chunk);
		if (last)
			qp_end(&t->qp, &t->raw);
		return buf_str(&t->raw);
	}
	return chunk;
}

bool text_read(struct text_reader *t, struct buf *out)
{
	struct str chunk = str_head(t->body, TEXT_CHUNK_OCTETS);
	bool last = chunk.n == t->body.n;

	if (t->ended)
		return false;
	t->body = str_skip(t->body, chunk.n);
	t->ended = last;
	chunk = transfer_decode(t, chunk, last);
	if (!t->html)
		return charset_stream_feed(&t->charset, out, chunk, last);
	buf_reset(&t->utf8);
	charset_stream_feed(&t->charset, &t->utf8, chunk, last);
	return html_feed(t, out, buf_str(&t->utf8)) && (!last || html_end(t, out));
}

bool needle_init(struct needle *n, struct str utf8)
{
	buf_init(&n->folded, NEEDLE_MEMORY_OCTETS);
	buf_init(&n->window, 2 * NEEDLE_MEMORY_OCTETS);
	n->found = false;
	if (utf8.n > TEXT_NEEDLE_MAX_OCTETS || !text_fold(&n->folded, utf8))
		return false;
	n->plain = n->folded.n <= PLAIN_MAX_OCTETS && str_ascii_run(buf_str(&n->folded)) == n->folded.n;
	needle_restart(n);
	return true;
}

void needle_free(struct needle *n)
{
	buf_free(&n->folded);
	buf_free(&n->window);
}

void needle_restart(struct needle *n)
{
	buf_reset(&n->window);
	n->found = n->folded.n == 0;
}

/* The largest front of s that ends between characters and is not over max. */
static size_t piece_octets(struct str s, size_t max)
{
	size_t n = max;

	if (s.n <= n)
		return s.n;
	while (n > max - 4 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

/* Adds the front of a text to the window and looks there. */
static void feed_folded(struct needle *n, struct str front)
{
	size_t keep = n->folded.n - 1;

	text_fold(&n->window, front);
	n->found = str_find_str(buf_str(&n->window), buf_str(&n->folded)) < n->window.n;
	if (n->window.n > keep)
		buf_consume(&n->window, n->window.n - keep);
}

/* The same for ASCII: what lies in the window already is looked at with as much of it as can belong
 * to a match. */
static void feed_plain(struct needle *n, struct str front)
{
	size_t keep = n->folded.n - 1;

	if (n->window.n > 0)
		feed_folded(n, str_head(front, keep));
	if (n->found)
		return;
	n->found = str_find_upper(front, buf_str(&n->folded)) < front.n;
	if (front.n > keep || n->window.n == 0) {
		buf_reset(&n->window);
		text_fold(&n->window, str_skip(front, front.n > keep ? front.n - keep : 0));
	}
}

bool needle_feed(struct needle *n, struct str utf8)
{
	while (!n->found && utf8.n > 0) {
		size_t run = n->plain ? str_ascii_run(utf8) : 0;
		size_t piece = run >= PLAIN_RUN_OCTETS || run == utf8.n ? run :
		    piece_octets(utf8, n->plain ? MIXED_PIECE_OCTETS : NEEDLE_PIECE_OCTETS);

		if (piece == run)
			feed_plain(n, str_head(utf8, piece));
		else
			feed_folded(n, str_head(utf8, piece));
		utf8 = str_skip(utf8, piece);
	}
	return n->found;
}

bool needle_in(struct needle *n, struct str utf8)
{
	needle_restart(n);
	return needle_feed(n, utf8);
}
