/* SPDX-License-Identifier: ISC */
/* Reading one message: everything is a view of a mapped file, checked against its checksum first, so damage is an error
 * and never wrong octets. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "mailbox_int.h"
#include "mapped.h"
#include "pack.h"

static enum err_kind unreadable(const struct message *m, struct err *e)
{
	if (m->gone || m->seg == 0)	/* the second: expunged while the view was loaded, which refreshing tells */
		return err_set(e, ERR_NOENT, 0, "message is gone");
	return err_set(e, ERR_CORRUPT, 0, "message record at %u:%u is damaged", m->seg, m->off);
}

static enum err_kind read_record(struct mailbox *mb, const struct message *m, bool verify,
    struct journal_view *v, struct rec_message *r, struct message_text *t, struct err *e)
{
	struct journal_pos pos = { m->seg, m->off };
	enum err_kind k;

	if (m->seg == 0)
		return unreadable(m, e);
	k = journal_read(mb->s->journal, pos, verify, v, e);
	if (k == ERR_NOENT && !m->gone && m->seg < mb->s->ctl->first_seg)
		return err_set(e, ERR_TEMP, 0, "compaction has moved the message; refresh");
	if (k == ERR_NOENT || k == ERR_CORRUPT)
		return unreadable(m, e);
	if (k != ERR_OK)
		return k;
	if (!rec_has_octets(v->h.type) ||
	    !rec_get_message(v->payload, r, &t->record, &t->prefix, &t->body) ||
	    r->size_octets != m->size_octets)
		return unreadable(m, e);
	return ERR_OK;
}

enum err_kind message_record(struct mailbox *mb, const struct message *m, struct str *out, struct err *e)
{
	struct journal_view v;
	struct rec_message r;
	struct message_text t;
	enum err_kind k = read_record(mb, m, false, &v, &r, &t, e);

	if (k != ERR_OK)
		return k;
	if (crc32c(0, t.record.p, t.record.n) != r.record_crc)
		return unreadable(m, e);
	*out = t.record;
	return ERR_OK;
}

static enum err_kind open_large(struct store *s, const struct rec_message *r, struct message_text *t,
    struct err *e)
{
	char name[40];
	struct stat st;
	const void *p;

	large_name(name, r->large_id);
	t->large_fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (t->large_fd < 0)
		return errno == ENOENT ? err_set(e, ERR_CORRUPT, 0, "%s is missing", name) :
		    err_sys(e, errno, "open %s", name);
	if (fstat(t->large_fd, &st) < 0 || st.st_size != (off_t)r->body_octets)
		return err_set(e, ERR_CORRUPT, 0, "%s has the wrong size", name);
	p = mapped_new(t->large_fd, r->body_octets);
	if (p == NULL)
		return err_sys(e, errno, "map %s", name);
	t->map = p;
	t->map_octets = r->body_octets;
	t->body = str_n(p, r->body_octets);
	if (s->verified_large != r->large_id && crc32c(0, p, r->body_octets) != r->body_crc)
		return err_set(e, ERR_CORRUPT, 0, "%s is damaged", name);
	s->verified_large = r->large_id;
	return ERR_OK;
}

/* The rest of opening, for a record that was read. */
static enum err_kind open_read(struct store *s, struct journal_pos pos, const struct journal_view *v,
    const struct rec_message *r, struct message_text *t, struct err *e)
{
	enum err_kind k = journal_fd(s->journal, pos.seg, &t->seg_fd, e);

	if (k == ERR_OK) {
		t->prefix_off = pos.off + sizeof v->h + (uint64_t)(t->prefix.p - v->payload.p);
		t->body_off = t->prefix_off + t->prefix.n;
		if (r->large_id != 0)
			k = open_large(s, r, t, e);
		else if (r->encoding != ENCODING_PLAIN &&
		    (k = pack_open(&s->pack, r, t->body, &t->decoded, e)) == ERR_OK)
			t->body = str_n(t->decoded, r->body_octets);
	}
	if (k != ERR_OK)
		message_close(t);
	return k;
}

enum err_kind message_open(struct mailbox *mb, const struct message *m, struct message_text *out,
    struct err *e)
{
	struct message_text t = { .large_fd = -1, .seg_fd = -1 };
	struct journal_view v;
	struct rec_message r;
	enum err_kind k = read_record(mb, m, true, &v, &r, &t, e);

	if (k == ERR_OK)
		k = open_read(mb->s, (struct journal_pos){ m->seg, m->off }, &v, &r, &t, e);
	/* a large body goes soon after its message was expunged */
	if (k == ERR_CORRUPT && m->gone)
		return err_set(e, ERR_NOENT, 0, "message is gone");
	if (k == ERR_CORRUPT && mb->loaded && mb->seq < mb->s->ctl->durable_seq)
		return err_set(e, ERR_TEMP, 0, "the message may have gone meanwhile; refresh");
	if (k == ERR_OK)
		*out = t;
	return k;
}

enum err_kind message_open_at(struct store *s, struct journal_pos pos, struct message_text *out, struct err *e)
{
	struct message_text t = { .large_fd = -1, .seg_fd = -1 };
	struct journal_view v;
	struct rec_message r;
	enum err_kind k = journal_read(s->journal, pos, true, &v, e);

	if (k != ERR_OK)
		return k;
	if ((v.h.type != REC_MESSAGE && v.h.type != REC_KEPT) ||
	    !rec_get_message(v.payload, &r, &t.record, &t.prefix, &t.body))
		return err_set(e, ERR_CORRUPT, 0, "no message at %u:%u", pos.seg, pos.off);
	if ((k = open_read(s, pos, &v, &r, &t, e)) == ERR_OK)
		*out = t;
	return k;
}

void message_close(struct message_text *t)
{
	mapped_free(t->map, t->map_octets);
	if (t->large_fd >= 0)
		close(t->large_fd);
	free(t->decoded);
	t->decoded = NULL;
	t->map = NULL;
	t->large_fd = -1;
}

size_t message_spans(const struct message_text *t, uint64_t from, uint64_t len, struct text_span out[2])
{
	uint64_t all = (uint64_t)t->prefix.n + t->body.n;
	bool together = t->large_fd < 0 && t->decoded == NULL;	/* prefix and body lie side by side */
	size_t n = 0;

	if (from >= all)
		return 0;
	if (len > all - from)
		len = all - from;
	if (together && len > 0) {
		out[n++] = (struct text_span){ t->seg_fd, t->prefix_off + from, len, t->prefix.p + from };
		return n;
	}
	if (from < t->prefix.n) {
		uint64_t part = t->prefix.n - from < len ? t->prefix.n - from : len;

		out[n++] = (struct text_span){ t->seg_fd, t->prefix_off + from, part, t->prefix.p + from };
		from += part;
		len -= part;
	}
	from -= t->prefix.n;
	if (len > 0)
		out[n++] = (struct text_span){ t->large_fd, from, len, t->body.p + from };
	return n;
}
