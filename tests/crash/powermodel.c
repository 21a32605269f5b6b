/* SPDX-License-Identifier: ISC */
/* Reading a store into a model and comparing models. No check of tap.h here: what fails is told and returned, what the test
 * itself does wrong ends the process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../libmail/charset.h"
#include "../../libstore/attr.h"
#include "../../libstore/gone.h"
#include "../../libstore/quota.h"
#include "../../libstore/search.h"
#include "../../libstore/views.h"
#include "powermodel.h"

enum { TEXT_MIN_OCTETS = 192, NEEDLE_OCTETS = 12, LINE_OCTETS = 64, ARENA_OCTETS = 8 << 20 };

const char *const model_keywords[KEYWORDS] = { "$One", "$Two", "work" };
const char *const model_attrs[ATTRS] = { "/comment", "/color", "alice" };

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* -- texts -- */

struct str model_text(uint32_t i, uint32_t n)
{
	static struct { char *p; uint32_t n; } texts[TEXTS_MAX];
	uint32_t r = i * 2654435761u + 1;
	uint32_t at;

	must(i < TEXTS_MAX && n >= TEXT_MIN_OCTETS);
	if (texts[i].p != NULL && texts[i].n == n)
		return str_n(texts[i].p, n);
	free(texts[i].p);
	texts[i].p = malloc(n + 1);
	must(texts[i].p != NULL);
	texts[i].n = n;
	at = (uint32_t)snprintf(texts[i].p, n, "Subject: %u %u\r\n\r\n", i, n);
	for (; at < n; at++) {
		r = r * 1664525u + 1013904223u;
		texts[i].p[at] = at % LINE_OCTETS == LINE_OCTETS - 2 ? '\r' :
		    at % LINE_OCTETS == LINE_OCTETS - 1 ? '\n' : (char)('A' + (r >> 24) % 26);
	}
	return str_n(texts[i].p, n);
}

static uint32_t text_number(struct str prefix, struct str body)
{
	char head[40] = "";
	unsigned i, n;

	memcpy(head, body.p, body.n < sizeof head - 1 ? body.n : sizeof head - 1);
	if (!str_eq(prefix, MODEL_PREFIX) || sscanf(head, "Subject: %u %u\r\n", &i, &n) != 2 || n != body.n ||
	    i >= TEXTS_MAX || !str_eq(body, model_text(i, n)))
		return 0;
	return i;
}

struct str model_attr_value(uint32_t number, char room[32])
{
	snprintf(room, 32, "value %u", number);
	return str_of(room);
}

/* -- the parts of a model -- */

struct box *model_box(struct model *m, uint32_t id)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->box[i].id == id)
			return &m->box[i];
	}
	return NULL;
}

struct box *model_box_named(struct model *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->box[i].exists && strcmp(m->box[i].name, name) == 0)
			return &m->box[i];
	}
	return NULL;
}

struct msg *box_msg(struct box *b, uint32_t uid)
{
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->m[i].uid == uid)
			return &b->m[i];
	}
	return NULL;
}

void box_remove(struct box *b, uint32_t uid)
{
	struct msg *m = box_msg(b, uid);

	if (m != NULL)
		memmove(m, m + 1, (size_t)(&b->m[b->n--] - (m + 1)) * sizeof *m);
}

struct msg *box_add(struct box *b, uint32_t uid)
{
	must(b->n < MSGS_MAX);
	b->m[b->n] = (struct msg){ .uid = uid };
	return &b->m[b->n++];
}

struct gone_msg *model_gone(struct model *m, uint32_t mailbox, uint32_t uid)
{
	for (uint32_t i = 0; i < m->n_gone; i++) {
		if (m->gone[i].mailbox == mailbox && m->gone[i].m.uid == uid)
			return &m->gone[i];
	}
	return NULL;
}

void model_add_gone(struct model *m, uint32_t mailbox, const struct msg *msg)
{
	uint32_t i = m->n_gone;

	must(m->n_gone++ < GONE_MAX);
	for (; i > 0 && (m->gone[i - 1].mailbox > mailbox ||
	    (m->gone[i - 1].mailbox == mailbox && m->gone[i - 1].m.uid > msg->uid)); i--)
		m->gone[i] = m->gone[i - 1];
	m->gone[i] = (struct gone_msg){ mailbox, *msg };
}

void model_remove_gone(struct model *m, uint32_t mailbox, uint32_t uid)
{
	struct gone_msg *g = model_gone(m, mailbox, uid);

	if (g != NULL)
		memmove(g, g + 1, (size_t)(&m->gone[m->n_gone--] - (g + 1)) * sizeof *g);
}

/* -- reading -- */

static bool list_limits(struct store *s, struct arena *a, struct model *m)
{
	struct quota_root *root;
	size_t n;

	if (quota_list(s, a, &root, &n, NULL) != ERR_OK)
		return false;
	m->quota = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t own = root[i].own.set & QUOTA_STORAGE ? root[i].own.storage_octets : 0;
		char name[NAME_MAX_OCTETS];
		struct box *b;

		snprintf(name, sizeof name, "%.*s", STR_FMT(root[i].name));
		b = model_box_named(m, name);
		if (root[i].name.n == 0)
			m->quota = own;
		else if (b != NULL)
			b->quota = own;
	}
	return true;
}

bool model_list(struct store *s, struct model *m)
{
	struct arena *a = arena_new(ARENA_OCTETS);
	struct model *was = malloc(sizeof *was);
	struct mailbox_info *list;
	bool ok;
	size_t n = 0;

	must(was != NULL);
	*was = *m;
	ok = store_list(s, a, &list, &n, NULL) == ERR_OK && n <= BOXES_MAX;
	m->n = 0;
	for (size_t i = 0; ok && i < n; i++) {
		struct box *b = &m->box[m->n++], *old = model_box(was, list[i].id);

		b->n = 0;
		memset(b->attr, 0, sizeof b->attr);
		if (old != NULL)
			*b = *old;
		snprintf(b->name, sizeof b->name, "%.*s", STR_FMT(list[i].name));
		b->id = list[i].id;
		b->uidvalidity = list[i].uidvalidity;
		b->uidnext = list[i].uidnext;
		b->exists = list[i].exists;
		b->noselect = list[i].noselect;
		b->subscribed = list[i].subscribed;
		b->modseq = list[i].modseq;
		b->quota = 0;
		if (!b->exists || b->noselect)
			b->n = 0;
	}
	ok = ok && list_limits(s, a, m);
	arena_free(&a);
	free(was);
	return ok;
}

static uint16_t own_keywords(const struct mailbox *mb, uint64_t bits)
{
	uint16_t own = 0;

	for (size_t i = 0; i < mailbox_n_keywords(mb); i++) {
		for (size_t k = 0; k < KEYWORDS; k++) {
			if ((bits >> i & 1) && str_eq(mailbox_keyword(mb, i), str_of(model_keywords[k])))
				own |= (uint16_t)(1u << k);
		}
	}
	return own;
}

/* A search file that says a message has not what it has would hide it. */
static bool is_found(struct mailbox *mb, size_t ix, struct str body)
{
	struct buf folded = BUF_INIT(LINE_OCTETS * 4);
	struct search_filter *f;
	struct str needle;
	bool found;

	must(text_fold(&folded, str_n(body.p + (body.n / LINE_OCTETS - 1) * LINE_OCTETS, NEEDLE_OCTETS)));
	needle = buf_str(&folded);
	f = search_filter_new(mb, &needle, 1);
	found = search_filter_may_have(f, 0, mailbox_at(mb, ix));
	search_filter_free(&f);
	buf_free(&folded);
	return found;
}

static bool read_msg(struct mailbox *mb, size_t ix, bool searched, struct box *b, struct err *e)
{
	const struct message *m = mailbox_at(mb, ix);
	struct msg *to = box_add(b, m->uid);
	struct message_text t;
	bool seen = false;

	to->flags = m->flags & MSG_STORED_FLAGS;
	to->modseq = m->modseq;
	to->keywords = own_keywords(mb, m->keywords);
	if (message_open(mb, m, &t, e) == ERR_OK) {
		to->text = text_number(t.prefix, t.body);
		if (to->text != 0 && searched && !is_found(mb, ix, t.body))
			to->text = 0;
		message_close(&t);
	}
	if (view_has(mb, MODEL_VIEW, &m->uid, 1, &seen, e) != ERR_OK)
		return false;
	to->viewed = seen;
	return true;
}

static bool read_attrs(struct store *s, struct box *b)
{
	struct arena *a = arena_new(ARENA_OCTETS);
	struct attr *v;
	size_t n = 0;
	bool ok = attr_list(s, b->id, a, &v, &n, NULL) == ERR_OK;

	memset(b->attr, 0, sizeof b->attr);
	for (size_t i = 0; ok && i < n; i++) {
		for (size_t k = 0; k < ATTRS; k++) {
			char value[32];

			if (!str_eq(v[i].name, str_of(model_attrs[k])))
				continue;
			snprintf(value, sizeof value, "%.*s", STR_FMT(v[i].value));
			ok = sscanf(value, "value %u", &b->attr[k]) == 1;
		}
	}
	arena_free(&a);
	return ok;
}

static bool read_box(struct store *s, bool searched, struct box *b)
{
	struct err e = { .text = "" };
	struct mailbox *mb = NULL;
	bool ok = mailbox_open(s, str_of(b->name), false, &mb, &e) == ERR_OK && mailbox_load(mb, &e) == ERR_OK &&
	    mailbox_n(mb) <= MSGS_MAX;

	for (size_t i = 0; ok && i < mailbox_n(mb); i++)
		ok = read_msg(mb, i, searched, b, &e);
	if (!ok)
		printf("# %s: %s\n", b->name, e.text);
	mailbox_close(&mb);
	return ok && read_attrs(s, b);
}

static bool take_gone(void *ctx, const struct gone *g)
{
	struct msg m = { .uid = g->uid };

	model_add_gone(ctx, g->mailbox, &m);
	return true;
}

bool model_read(struct store *s, bool with_gone, bool searched, struct model *m)
{
	struct err e = { .text = "" };
	bool ok;

	m->n = m->n_gone = 0;
	ok = model_list(s, m);
	for (size_t i = 0; ok && i < m->n; i++) {
		if (m->box[i].exists && !m->box[i].noselect)
			ok = read_box(s, searched, &m->box[i]);
	}
	if (ok && with_gone && store_gone_each(s, take_gone, m, &e) != ERR_OK) {
		printf("# expunged ones: %s\n", e.text);
		ok = false;
	}
	return ok;
}

/* -- comparing -- */

static bool same_msg(const struct msg *a, const struct msg *b)
{
	return a->uid == b->uid && a->flags == b->flags && a->text == b->text && a->text != 0 &&
	    a->keywords == b->keywords && a->viewed == b->viewed && a->modseq == b->modseq;
}

static bool same_box(const struct box *a, const struct box *b, bool new_store)
{
	if (strcmp(a->name, b->name) != 0 || a->id != b->id || a->uidnext != b->uidnext ||
	    (a->uidvalidity != b->uidvalidity && !new_store) || a->exists != b->exists ||
	    a->noselect != b->noselect || a->subscribed != b->subscribed || a->modseq != b->modseq ||
	    a->n != b->n || a->quota != b->quota || memcmp(a->attr, b->attr, sizeof a->attr) != 0)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		if (!same_msg(&a->m[i], &b->m[i]))
			return false;
	}
	return true;
}

bool model_same(const struct model *a, const struct model *b, bool new_store)
{
	if (a->n != b->n || a->quota != b->quota || a->n_gone != b->n_gone)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (!same_box(&a->box[i], &b->box[i], new_store))
			return false;
	}
	for (uint32_t i = 0; i < a->n_gone; i++) {
		if (a->gone[i].mailbox != b->gone[i].mailbox || a->gone[i].m.uid != b->gone[i].m.uid)
			return false;
	}
	return true;
}

void model_tell(const char *what, const struct model *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct box *b = &m->box[i];

		printf("# %s: %s id %u validity %u next %u modseq %llu quota %llu attributes %u %u %u%s%s%s:", what,
		    b->name, b->id, b->uidvalidity, b->uidnext, (unsigned long long)b->modseq,
		    (unsigned long long)b->quota, b->attr[0], b->attr[1], b->attr[2], b->exists ? "" : " gone",
		    b->noselect ? " noselect" : "", b->subscribed ? " subscribed" : "");
		for (uint32_t k = 0; k < b->n && k < 24; k++)
			printf(" %u/%u/%x/%x%s@%llu", b->m[k].uid, b->m[k].text, b->m[k].flags,
			    b->m[k].keywords, b->m[k].viewed ? "v" : "", (unsigned long long)b->m[k].modseq);
		printf(" (%u)\n", b->n);
	}
	printf("# %s: quota %llu, gone:", what, (unsigned long long)m->quota);
	for (uint32_t i = 0; i < m->n_gone; i++)
		printf(" %u/%u", m->gone[i].mailbox, m->gone[i].m.uid);
	printf("\n");
}
