/* SPDX-License-Identifier: ISC */
/* What the configuration asks for: which services run, and on which sockets. */
#ifndef SUPERVISOR_PLAN_H
#define SUPERVISOR_PLAN_H

#include "../libserve/sdproto.h"
#include "../libserve/settings.h"
#include "listen.h"

enum { N_SERVICES = 5 };

/* The services there are, in the order in which they start. */
extern const char *const service_names[N_SERVICES];

struct service_plan {
	bool wanted;
	unsigned n;
	struct listen_spec listen[SD_FDS_MAX];
};

struct plan {
	struct conf *conf;		/* strings of set live here */
	struct settings set;
	struct conf_list services;
	char *libexec_dir;
	uint64_t backlog;
	struct service_plan service[N_SERVICES];
};

extern const struct conf_key plan_keys[];
extern const size_t n_plan_keys;

/* Reads and checks what is the supervisor's to read. Listeners for implicit TLS of a service without a
 * certificate are left out and logged. Errors: ERR_SYNTAX with file:line or the word. */
enum err_kind plan_load(const char *conf_path, struct plan **out, struct err *e) CHECKED;
void plan_free(struct plan **p);

#endif
