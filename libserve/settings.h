/* SPDX-License-Identifier: ISC */
/* The settings that several daemons share: sections [site], [log], [tls], [auth], [store], [process]. The
 * table is in settings.c; each daemon's own table is in its folder. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "../libbase/conf.h"
#include "../libbase/storeconf.h"

enum plaintext_policy { PLAINTEXT_NEVER, PLAINTEXT_LOOPBACK, PLAINTEXT_ALWAYS };
enum auth_source { AUTH_SOURCE_PAM, AUTH_SOURCE_PASSWD };

struct settings {
	/* [site] */
	char *domain;			/* local mail domain; default: the host's name */
	struct conf_list domains;	/* further local domains */
	char *hostname;			/* in greetings and Received fields; default: the host's name */
	/* [log] */
	char *log_to;			/* stderr | syslog | absolute path of a file */
	uint64_t log_level;		/* err|warn|info|debug */
	/* [tls] */
	char *tls_certificate, *tls_key;	/* PEM; empty: no TLS is offered */
	/* [auth] */
	uint64_t plaintext;		/* enum plaintext_policy */
	uint64_t source;		/* enum auth_source */
	char *passwd_file;
	uint64_t min_uid;		/* PAM accounts below it never log in (default 1000) */
	uint64_t fail_delay_ms;		/* how long a refusal takes at least (default 1.5 s) */
	uint64_t fail_delay_max_ms;	/* …after many failures (default 15 s) */
	uint64_t cache_ms;		/* how long authd remembers a success; 0: never (default 1 m) */
	/* [store] */
	char *post_office;		/* directory of all stores */
	char *user, *group;		/* the system account that owns them (default "pennypost") */
	char *smtp_user;		/* the account of smtpd (default "pennysmtp") */
	struct store_conf store;
	/* [process] */
	char *run_dir;			/* sockets and the pid file (default RUNSTATEDIR/pennypost) */
	uint64_t spare_min, spare_max, children_max, per_address_max;
	uint64_t drain_timeout_ms;
	uint64_t memory_max_bytes;
};

extern const struct conf_key settings_keys[];
extern const size_t n_settings_keys;
/* All section names that a configuration file may hold (NULL at the end): the shared ones and one for each
 * program: pennypost, authd, smtpd, deliver, pop3d, imapd, relay. */
extern const char *const settings_sections[];

/* Fills *out for `program` from the table and puts in what depends on the host or on another key: empty
 * names become the host's name, an empty tls.key the certificate's file. Strings live as long as c.
 * Errors: conf_get's. */
enum err_kind settings_get(struct conf *c, const char *program, struct settings *out, struct err *e)
    CHECKED;

/* The row for `listen` in a program's section, with that program's default ("imap:*:143 imaps:*:993"; words
 * name:address:port or name:path, relative to run_dir). The supervisor acts on it; in the daemons serve()
 * adds it to their tables, so that it is a known key. at: offset of a struct conf_list. */
struct conf_key settings_listen_key(const char *program, size_t at);

/* Is this name one of the site's domains (domain, domains, hostname, or "localhost")? Case is ignored. */
bool settings_domain_is_local(const struct settings *s, struct str domain);

#endif
