/* SPDX-License-Identifier: ISC */
/* The header fields that ENVELOPE, sorting and threading ask for. A hundred thousand To fields are
 * as good as one long one; what is kept of them is bounded by the limits. */
#include "record_int.h"

static const struct role {
	struct str name;
	enum head_role role;
	bool many;			/* several fields make one list */
} roles[] = {
	{ STR_INIT("Date"), HEAD_DATE, false },
	{ STR_INIT("Subject"), HEAD_SUBJECT, false },
	{ STR_INIT("From"), HEAD_FROM, true },
	{ STR_INIT("Sender"), HEAD_SENDER, false },
	{ STR_INIT("Reply-To"), HEAD_REPLY_TO, true },
	{ STR_INIT("To"), HEAD_TO, true },
	{ STR_INIT("Cc"), HEAD_CC, true },
	{ STR_INIT("Bcc"), HEAD_BCC, true },
	{ STR_INIT("In-Reply-To"), HEAD_IN_REPLY_TO, false },
	{ STR_INIT("Message-ID"), HEAD_MESSAGE_ID, false },
	{ STR_INIT("References"), HEAD_REFERENCES, true },
};

bool head_add(struct arena *a, struct record_limits *l, struct head *h,
    const struct header_field *f)
{
	const struct role *r = roles;
	struct head_value *v;

	while (r < roles + COUNTOF(roles) && !str_eq_nocase(f->name, r->name))
		r++;
	if (r == roles + COUNTOF(roles) || (h->first[r->role] != NULL && !r->many) ||
	    l->all_value_octets == 0)
		return true;
	v = arena_alloc(a, sizeof *v);
	if (v == NULL)
		return false;
	v->value = str_head(f->value, l->all_value_octets);
	/* The list's node costs as well. */
	l->all_value_octets -= v->value.n;
	l->all_value_octets -= l->all_value_octets < sizeof *v ? l->all_value_octets : sizeof *v;
	if (h->first[r->role] == NULL)
		h->first[r->role] = v;
	else
		h->last[r->role]->next = v;
	h->last[r->role] = v;
	return true;
}

bool head_read(struct arena *a, struct record_limits *l, struct str header, struct head *out)
{
	struct header_iter it;
	struct header_field f;

	*out = (struct head){ .first = { NULL } };
	header_iter_init(&it, header);
	while (header_next(&it, &f)) {
		if (!head_add(a, l, out, &f))
			return false;
	}
	return true;
}

struct str head_value(const struct head *h, enum head_role role)
{
	return h->first[role] != NULL ? h->first[role]->value : str_n(NULL, 0);
}

/* The values of a role with commas between, as one. An open quote or comment in
 * one of them hides the others: they are one list to ENVELOPE. */
static struct str joined_values(struct arena *a, const struct head_value *v)
{
	size_t n = 0, at = 0;
	char *p;

	if (v->next == NULL)
		return v->value;
	for (const struct head_value *i = v; i != NULL; i = i->next)
		n += i->value.n + 1;
	p = arena_alloc(a, n);
	if (p == NULL)
		return v->value;
	for (; v != NULL; v = v->next) {
		if (v->value.n > 0)
			memcpy(p + at, v->value.p, v->value.n);
		at += v->value.n;
		p[at++] = ',';
	}
	return str_n(p, n);
}

void head_addresses(struct arena *a, struct record_limits *l, const struct head *h,
    enum head_role role, struct addr_list *out)
{
	size_t max = l->addresses < l->all_addresses ? l->addresses : l->all_addresses;

	*out = (struct addr_list){ NULL, 0, false };
	if (h->first[role] == NULL || max == 0)
		return;
	addr_parse_list(a, joined_values(a, h->first[role]), max, out);
	l->all_addresses -= out->n < l->all_addresses ? out->n : l->all_addresses;
}
