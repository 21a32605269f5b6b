/* SPDX-License-Identifier: ISC */
/* Which messages can have a text in them, without reading them. For each ended segment of the
 * journal there may be a file search/<number>.idx with the trigrams of every message in it;
 * FORMAT.md describes it. Such a file is derived and disposable: it is believed only when its
 * checksums are right and it was made of this very segment under the same rules for text. A message
 * that no file tells of can have anything in it, so what is found by reading the rest is exact. */
#ifndef SEARCH_H
#define SEARCH_H

#include "mailbox.h"

enum {
	SEARCH_TRIGRAM_OCTETS = 3,	/* a shorter needle is not looked up: every message may have it */
	SEARCH_FILTER_NEEDLES_MAX = 32,	/* looked up in one command; further ones are not */
};

struct search_filter;

/* For needles as text_fold (libmail/charset.h) leaves them; they must outlive the filter. Opens
 * nothing yet. Before charset_warm no file is believed. Exits 75 without memory. */
struct search_filter *search_filter_new(struct mailbox *mb, const struct str *folded, size_t n);
void search_filter_free(struct search_filter **f);
/* False: none of the message's texts (libmail/mailtext.h) has needle ix in it, for sure. */
bool search_filter_may_have(struct search_filter *f, size_t ix, const struct message *m);

struct search_build_result {
	uint32_t n_built;
	uint32_t n_wanting;		/* segments that still have no file */
	bool busy;			/* another process builds: nothing was done */
};
/* Makes files for ended segments that have none, oldest first, at most max_segments and none begun
 * after max_ms; removes files of segments that are gone. Takes no lock that a session or a delivery
 * waits for. Does nothing while another process builds. A death at any moment costs nothing. Before
 * charset_warm it does nothing. Errors: ERR_NOSPC, ERR_TEMP. */
enum err_kind search_build(struct store *s, uint32_t max_segments, uint64_t max_ms,
    struct search_build_result *out, struct err *e) CHECKED;
/* Removes the files of segments that are gone: nothing of removed mail is to stay behind. */
void search_forget(struct store *s);
/* Has a search met an ended segment that has no file, or a damaged one, since the last
 * search_build? */
bool search_wanting(const struct store *s);
/* search_build with bounds for when nobody waits; costs one system call when the newest ended
 * segment has its file. */
void search_tend(struct store *s);

#endif
