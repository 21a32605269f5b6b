/* SPDX-License-Identifier: ISC */
/* A maildrop: INBOX as it was at login, and the marks of DELE (RFC 1939 s.5). Messages are
 * numbered from 1 and keep their numbers for the whole session, whatever other sessions do to the
 * mailbox. */
#ifndef POP3D_MAILDROP_H
#define POP3D_MAILDROP_H

#include "../libserve/serve.h"
#include "../libstore/mailbox.h"

struct maildrop;

struct maildrop_stat {
	uint32_t n;		/* messages that are not marked */
	uint64_t octets;	/* their sizes */
};

/* Opens the store whose directory is store_fd (the caller keeps it) and takes the maildrop's
 * lock. *out_in_use: another POP3 session has it. Errors: ERR_BUSY (that, or the store's own
 * lock), and those of store_open and mailbox_open. On failure nothing stays open or locked. */
enum err_kind maildrop_open(int store_fd, const struct store_env *env, struct maildrop **out,
    bool *out_in_use, struct err *e) CHECKED;
/* Releases the lock, so that the user may come back at once; nothing is removed. The store's upkeep and closing are left for
 * when the connection is closed (serve->afterwards). NULL is fine. */
void maildrop_end(struct maildrop **d, struct serve_session *serve);

/* Count and sizes. Needs no index while INBOX has not changed since login. Errors:
 * mailbox_load's. */
enum err_kind maildrop_stat(struct maildrop *d, struct arena *a, struct maildrop_stat *out,
    struct err *e) CHECKED;

/* Loads the messages; cheap when loaded. To be called before the functions below. */
enum err_kind maildrop_load(struct maildrop *d, struct err *e) CHECKED;
uint32_t maildrop_n(const struct maildrop *d);			/* highest message number */
/* The message, or NULL when there is no such number or it is marked. */
const struct message *maildrop_message(const struct maildrop *d, uint32_t msgno);
uint32_t maildrop_uidvalidity(const struct maildrop *d);
struct mailbox *maildrop_inbox(struct maildrop *d);

void maildrop_mark(struct maildrop *d, uint32_t msgno);	/* msgno: one that maildrop_message has */
void maildrop_unmark_all(struct maildrop *d);
uint32_t maildrop_n_marked(const struct maildrop *d);

/* The UPDATE state (RFC 1939 s.6): expunges what is marked; what another session expunged
 * meanwhile is no error. Durable on return. Errors: mailbox_expunge's; then nothing was removed. */
enum err_kind maildrop_update(struct maildrop *d, struct err *e) CHECKED;

#endif
