/* SPDX-License-Identifier: ISC */
/* What a daemon prepares before it serves, and again at each reload: configuration, TLS, accounts. */
#ifndef STATE_H
#define STATE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "sandbox.h"
#include "serve.h"
#include "tls.h"

struct file_stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct serve_state {
	const struct service *svc;
	struct conf *conf;
	struct settings set;
	void *own;			/* the daemon's struct */
	struct tls_ctx *tls;		/* NULL: none is configured */
	struct file_stamp cert, key;	/* as they were when last looked at */
	uid_t uid;			/* of the children; 0: they stay what they are */
	gid_t gid;
	char *root_dir;			/* of the children */
};

/* Everything from the file at conf_path, nothing of it in force yet but in *out. Errors: ERR_SYNTAX with
 * file:line; tls_ctx_load's; the service's own. */
enum err_kind state_load(const struct service *svc, const char *conf_path, struct serve_state **out,
    struct err *e) CHECKED;
void state_free(struct serve_state **st);

/* Have certificate or key changed on disk since the last look? Then they are loaded (*out_changed is
 * true): into st on success; on error st keeps what it has. */
enum err_kind state_refresh_tls(struct serve_state *st, bool *out_changed, struct err *e) CHECKED;

/* What the children of this state give up. */
struct sandbox_plan state_sandbox(const struct serve_state *st);

/* "[section]\nkey = value" of all tables, for -T. */
void state_dump(const struct serve_state *st, struct buf *out);

#endif
