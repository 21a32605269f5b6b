/* SPDX-License-Identifier: ISC */
/* What a user must see of a store, kept beside it while a workload runs, read from it after a power cut, and compared.
 * A new kind of thing that must survive is a member here, what reads it (model_read), what compares it (model_same), and
 * what an operation does to it (powerwork.c). */
#ifndef POWERMODEL_H
#define POWERMODEL_H

#include "../../libstore/mailbox.h"

enum {
	BOXES_MAX = 16, MSGS_MAX = 128, GONE_MAX = 48, KEYWORDS = 3, ATTRS = 3, NAME_MAX_OCTETS = 40,
	STEPS_MAX = 400, STORES = 2,
	TEXTS_MAX = 1024,
	LAST_TEXT = TEXTS_MAX - 1,	/* that workloads do not use */
};

struct msg {
	uint32_t uid, flags;
	uint32_t text;			/* number; 0: octets that no text has */
	uint16_t keywords;		/* bits of model_keywords */
	uint16_t viewed;		/* in the view */
	uint64_t modseq;
};

struct gone_msg {			/* expunged, can be brought back */
	uint32_t mailbox;
	struct msg m;
};

struct box {
	char name[NAME_MAX_OCTETS];
	uint32_t id, uidvalidity, uidnext;
	bool exists, noselect, subscribed;
	uint32_t attr[ATTRS];		/* values: numbers, 0: not there */
	uint64_t quota;			/* storage limit of its own, 0: none */
	uint32_t n;
	uint64_t modseq;
	struct msg m[MSGS_MAX];
};

struct model {
	size_t n;			/* 0: there is no store yet */
	uint64_t quota;
	struct box box[BOXES_MAX];
	uint32_t n_gone;
	struct gone_msg gone[GONE_MAX];	/* by mailbox and UID */
};

extern const char *const model_keywords[KEYWORDS], *const model_attrs[ATTRS];
#define MODEL_VIEW STR("telephone")
#define MODEL_PREFIX STR("Delivered-To: x\r\n")

/* Text number i, n octets long, at least 192; it says both itself. Valid until the same number is asked for with another n. */
struct str model_text(uint32_t i, uint32_t n);
/* The value that a number stands for. */
struct str model_attr_value(uint32_t number, char room[32]);

struct box *model_box(struct model *m, uint32_t id);		/* NULL: none */
struct box *model_box_named(struct model *m, const char *name);	/* that exists; NULL: none */
struct msg *box_msg(struct box *b, uint32_t uid);		/* NULL: none */
struct msg *box_add(struct box *b, uint32_t uid);
void box_remove(struct box *b, uint32_t uid);
void model_add_gone(struct model *m, uint32_t mailbox, const struct msg *msg);
struct gone_msg *model_gone(struct model *m, uint32_t mailbox, uint32_t uid);	/* NULL: none */
void model_remove_gone(struct model *m, uint32_t mailbox, uint32_t uid);

/* Names, states, limits and counters as the store lists them, which syncs nothing; all else stays as m has it. */
bool model_list(struct store *s, struct model *m);
/* Everything, as users see it. with_gone: expunged messages, too. searched: messages must be found by search files. */
bool model_read(struct store *s, bool with_gone, bool searched, struct model *m);
/* new_store: an INBOX may have another UIDVALIDITY. */
bool model_same(const struct model *a, const struct model *b, bool new_store);
void model_tell(const char *what, const struct model *m);

#endif
