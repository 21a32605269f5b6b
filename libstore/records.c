/* SPDX-License-Identifier: ISC */
/* Payloads of records, decoded with every length checked: a payload may come from a damaged disk. */
#include <string.h>

#include "../libbase/buf.h"
#include "store_int.h"

/* Copies a fixed part; the rest of the payload goes to *rest. */
static bool take(struct str payload, void *out, size_t n, struct str *rest)
{
	if (payload.n < n)
		return false;
	memcpy(out, payload.p, n);
	*rest = str_skip(payload, n);
	return true;
}

static bool take_ranges(struct str rest, uint32_t n, struct ranges *r)
{
	if (rest.n / sizeof(struct uid_range) < n)
		return false;
	r->v = (const void *)rest.p;
	r->n = n;
	return true;
}

bool rec_get_mailbox(struct str payload, struct rec_mailbox *out, struct str *name)
{
	struct str rest;

	if (!take(payload, out, sizeof *out, &rest) || rest.n < out->name_octets ||
	    out->name_octets > STORE_NAME_MAX_OCTETS)
		return false;
	*name = str_head(rest, out->name_octets);
	return true;
}

/* How much of what follows the prefix is the body, as it is stored. */
static bool stored_octets(const struct rec_message *m, struct str rest, size_t *out)
{
	if (m->large_id != 0) {
		*out = 0;
		return m->encoding == ENCODING_PLAIN;
	}
	*out = m->body_octets;
	if (m->encoding != ENCODING_PLAIN) {
		if (rest.n < sizeof(uint32_t))
			return false;
		*out = sizeof(uint32_t) + (size_t)get_le32(rest.p);
	}
	return *out <= rest.n;
}

bool rec_get_message(struct str payload, struct rec_message *out, struct str *record,
    struct str *prefix, struct str *body)
{
	struct str rest;
	size_t inline_octets;

	if (!take(payload, out, sizeof *out, &rest))
		return false;
	if ((uint64_t)out->record_octets + out->prefix_octets > rest.n ||
	    (uint64_t)out->prefix_octets + out->body_octets != out->size_octets ||
	    !stored_octets(out, str_skip(rest, out->record_octets + (size_t)out->prefix_octets), &inline_octets))
		return false;
	*record = str_head(rest, out->record_octets);
	rest = str_skip(rest, out->record_octets);
	*prefix = str_head(rest, out->prefix_octets);
	*body = str_head(str_skip(rest, out->prefix_octets), inline_octets);
	return true;
}

bool rec_get_copy(struct str payload, struct rec_copy *out, struct str *entries)
{
	return take(payload, out, sizeof *out, entries) &&
	    entries->n / sizeof(struct copy_entry) >= out->n;
}

struct copy_entry copy_entry_at(struct str entries, size_t i)
{
	struct copy_entry c;

	memcpy(&c, entries.p + i * sizeof c, sizeof c);
	return c;
}

bool rec_get_place(struct str payload, struct rec_place *out, struct str *entries)
{
	return take(payload, out, sizeof *out, entries) &&
	    entries->n / sizeof(struct place_entry) >= out->n;
}

struct place_entry place_entry_at(struct str entries, size_t i)
{
	struct place_entry p;

	memcpy(&p, entries.p + i * sizeof p, sizeof p);
	return p;
}

bool rec_get_gone(struct str payload, struct rec_gone *out, struct str *name, struct str *entries)
{
	struct str rest;
	size_t padded;

	if (!take(payload, out, sizeof *out, &rest) || out->name_octets > STORE_NAME_MAX_OCTETS)
		return false;
	padded = (out->name_octets + 7u) & ~(size_t)7;
	if (rest.n < padded)
		return false;
	*name = str_head(rest, out->name_octets);
	*entries = str_skip(rest, padded);
	return entries->n / sizeof(struct gone_entry) >= out->n;
}

struct gone_entry gone_entry_at(struct str entries, size_t i)
{
	struct gone_entry g;

	memcpy(&g, entries.p + i * sizeof g, sizeof g);
	return g;
}

bool rec_get_flags(struct str payload, struct rec_flags *out, struct ranges *r)
{
	struct str rest;

	return take(payload, out, sizeof *out, &rest) && take_ranges(rest, out->n_ranges, r);
}

bool rec_get_expunge(struct str payload, struct rec_expunge *out, struct ranges *r)
{
	struct str rest;

	return take(payload, out, sizeof *out, &rest) && take_ranges(rest, out->n_ranges, r);
}

bool rec_get_keyword(struct str payload, struct rec_keyword *out, struct str *name)
{
	struct str rest;

	if (!take(payload, out, sizeof *out, &rest) || rest.n < out->name_octets ||
	    out->name_octets > STORE_KEYWORD_MAX_OCTETS || out->bit >= STORE_KEYWORDS_MAX)
		return false;
	*name = str_head(rest, out->name_octets);
	return true;
}

bool rec_get_view(struct str payload, struct rec_view *out, struct str *name, struct ranges *r)
{
	struct str rest;
	size_t padded;

	if (!take(payload, out, sizeof *out, &rest) || out->name_octets > VIEW_NAME_MAX_OCTETS)
		return false;
	padded = (out->name_octets + 7u) & ~(size_t)7;
	if (rest.n < padded)
		return false;
	*name = str_head(rest, out->name_octets);
	return take_ranges(str_skip(rest, padded), out->n_ranges, r);
}

bool rec_get_attr(struct str payload, struct rec_attr *out, struct str *owner, struct str *name,
    struct str *value)
{
	struct str rest;

	if (!take(payload, out, sizeof *out, &rest) || out->owner_octets > ATTR_OWNER_MAX_OCTETS ||
	    out->name_octets == 0 || out->name_octets > ATTR_NAME_MAX_OCTETS ||
	    out->value_octets > ATTR_VALUE_MAX_OCTETS || out->kind > UINT8_MAX ||
	    rest.n < (size_t)out->owner_octets + out->name_octets + out->value_octets)
		return false;
	*owner = str_head(rest, out->owner_octets);
	*name = str_head(str_skip(rest, owner->n), out->name_octets);
	*value = str_head(str_skip(rest, owner->n + name->n), out->value_octets);
	return !str_has(*owner, '\0') && !str_has(*name, '\0');
}

bool rec_get_quota(struct str payload, struct rec_quota *out)
{
	struct str rest;

	return take(payload, out, sizeof *out, &rest);
}

bool ranges_put(struct buf *out, const uint32_t *uids, size_t n, uint32_t *out_n)
{
	uint32_t count = 0;

	for (size_t i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && uids[k] == uids[k - 1] + 1; k++)
			;
		buf_put_le32(out, uids[i]);
		buf_put_le32(out, uids[k - 1]);
		count++;
	}
	*out_n = count;
	return !out->full;
}

uint32_t rec_mailbox_id(const struct journal_view *v)
{
	bool has_id = (v->h.type >= REC_MAILBOX && v->h.type <= REC_VIEW) || v->h.type == REC_ATTR ||
	    v->h.type == REC_QUOTA;

	if (!has_id || v->payload.n < 4)
		return 0;
	return get_le32(v->payload.p);	/* all of these begin with the mailbox's id */
}
