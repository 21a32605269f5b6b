/* SPDX-License-Identifier: ISC */
/* Owns the table of the shared settings; defaults here are what the manual page says. */
#include <errno.h>
#include <unistd.h>

#include "settings.h"

enum { HOST_NAME_OCTETS = 256 };

#define ROW(sec, key, t, d, member, h) \
	{ .section = (sec), .name = (key), .type = (t), .def = (d), \
	  .at = offsetof(struct settings, member), .help = (h) }
#define ROW_RANGE(sec, key, t, d, lo, hi, member, h) \
	{ .section = (sec), .name = (key), .type = (t), .def = (d), .min = (lo), .max = (hi), \
	  .at = offsetof(struct settings, member), .help = (h) }
#define ROW_CHOICE(sec, key, d, words, member, h) \
	{ .section = (sec), .name = (key), .type = CONF_CHOICE, .def = (d), .choices = (words), \
	  .at = offsetof(struct settings, member), .help = (h) }

const struct conf_key settings_keys[] = {
	ROW("site", "domain", CONF_STRING, "", domain,
	    "local mail domain; empty: the host's name"),
	ROW("site", "domains", CONF_LIST, "", domains, "further local domains"),
	ROW("site", "hostname", CONF_STRING, "", hostname,
	    "name in greetings and Received fields; empty: the host's name"),

	ROW("log", "to", CONF_STRING, "stderr", log_to,
	    "stderr, syslog, or the absolute path of a file"),
	ROW_CHOICE("log", "level", "info", "err|warn|info|debug", log_level,
	    "the least important lines that are written"),

	ROW("tls", "certificate", CONF_PATH, "", tls_certificate,
	    "certificate chain (PEM); empty: no TLS is offered"),
	ROW("tls", "key", CONF_PATH, "", tls_key,
	    "private key (PEM); empty: it is in the certificate's file"),

	ROW_CHOICE("auth", "plaintext", "loopback", "never|loopback|always", plaintext,
	    "where passwords may be sent without TLS"),
	ROW_CHOICE("auth", "source", "pam", "pam|passwd", source, "where accounts come from"),
	ROW("auth", "passwd_file", CONF_PATH, SYSCONFDIR "/pennypost/passwd", passwd_file,
	    "accounts when source is passwd"),
	ROW_RANGE("auth", "min_uid", CONF_NUMBER, "1000", "1", "4294967294", min_uid,
	    "system accounts below this uid never log in"),
	ROW_RANGE("auth", "fail_delay", CONF_SECONDS, "1500ms", "0", "1m", fail_delay_ms,
	    "how long a refused login takes at least"),
	ROW_RANGE("auth", "fail_delay_max", CONF_SECONDS, "15s", "0", "5m", fail_delay_max_ms,
	    "how long it takes after many failures"),
	ROW_RANGE("auth", "cache", CONF_SECONDS, "1m", "0", "1h", cache_ms,
	    "how long a successful login is remembered; 0: never"),

	ROW("store", "post_office", CONF_PATH, LOCALSTATEDIR "/spool/pennypost", post_office,
	    "directory of all stores"),
	ROW("store", "user", CONF_STRING, PENNYPOST_USER, user, "account that owns the stores"),
	ROW("store", "group", CONF_STRING, PENNYPOST_USER, group, "its group"),
	ROW("store", "smtp_user", CONF_STRING, PENNYPOST_SMTP_USER, smtp_user, "account of smtpd"),
	ROW("store", "quota_storage", CONF_BYTES, "0", store.quota_octets,
	    "how much mail a user may have, without limits of the user's own; 0: any"),
	ROW("store", "quota_messages", CONF_NUMBER, "0", store.quota_messages,
	    "how many messages a user may have, without limits of the user's own; 0: any"),
	ROW("store", "compress", CONF_BOOL, "no", store.compress, "new mail is stored compressed (zstd)"),
	ROW_RANGE("store", "retention", CONF_SECONDS, "7d", "0", "365d", store.retain_ms,
	    "how long expunged messages and deleted mailboxes can be brought back; 0: not at all"),
	ROW_RANGE("store", "retention_size", CONF_BYTES, "1G", "0", "1024G", store.retain_octets,
	    "how much of that is kept for a user, what was expunged last first"),

	ROW("process", "run_dir", CONF_PATH, RUNSTATEDIR "/pennypost", run_dir,
	    "sockets and the pid file"),
	ROW_RANGE("process", "spare_min", CONF_NUMBER, "4", "1", "1000", spare_min,
	    "idle processes that are always kept ready"),
	ROW_RANGE("process", "spare_max", CONF_NUMBER, "32", "1", "2000", spare_max,
	    "idle processes at most"),
	ROW_RANGE("process", "children_max", CONF_NUMBER, "500", "1", "20000", children_max,
	    "sessions at once, for each service"),
	ROW_RANGE("process", "per_address_max", CONF_NUMBER, "50", "1", "20000", per_address_max,
	    "sessions at once from one address, for each service"),
	ROW_RANGE("process", "drain_timeout", CONF_SECONDS, "30s", "0", "1h", drain_timeout_ms,
	    "time that sessions have to end when a service stops"),
	ROW_RANGE("process", "memory_max", CONF_BYTES, "1G", "64M", "64G", memory_max_bytes,
	    "address space of one session process"),
};

const size_t n_settings_keys = COUNTOF(settings_keys);

const char *const settings_sections[] = {
	"site", "log", "tls", "auth", "store", "process",
	"pennypost", "authd", "smtpd", "deliver", "pop3d", "imapd", "relay", NULL
};

static const struct { const char *program, *words; } listen_defaults[] = {
	{ "smtpd", "smtp:*:25 submission:*:587 submissions:*:465" },
	{ "pop3d", "pop3:*:110 pop3s:*:995" },
	{ "imapd", "imap:*:143 imaps:*:993" },
	{ "deliver", "lmtp:lmtp.sock" },
};

struct conf_key settings_listen_key(const char *program, size_t at)
{
	struct conf_key key = { .section = program, .name = "listen", .type = CONF_LIST, .def = "",
		.at = at, .help = "where the supervisor listens for this service" };

	for (size_t i = 0; i < COUNTOF(listen_defaults); i++)
		if (strcmp(program, listen_defaults[i].program) == 0)
			key.def = listen_defaults[i].words;
	return key;
}

/* The host does not change its name under us; no look-up, as DNS may be slow or lie. */
static char *host_name(void)
{
	static char name[HOST_NAME_OCTETS];

	if (name[0] == '\0' && (gethostname(name, sizeof name - 1) < 0 || name[0] == '\0'))
		memcpy(name, "localhost", sizeof "localhost");
	return name;
}

enum err_kind settings_get(struct conf *c, const char *program, struct settings *out, struct err *e)
{
	enum err_kind k = conf_get(c, program, settings_keys, n_settings_keys, out, e);

	if (k != ERR_OK)
		return k;
	if (out->hostname[0] == '\0')
		out->hostname = host_name();
	if (out->domain[0] == '\0')
		out->domain = host_name();
	if (out->tls_key[0] == '\0')
		out->tls_key = out->tls_certificate;
	if (out->spare_max < out->spare_min)
		out->spare_max = out->spare_min;
	return ERR_OK;
}

bool settings_domain_is_local(const struct settings *s, struct str domain)
{
	if (domain.n > 0 && domain.p[domain.n - 1] == '.')	/* the DNS root, said out loud */
		domain.n--;
	if (str_eq_nocase(domain, str_of(s->domain)) || str_eq_nocase(domain, str_of(s->hostname)) ||
	    str_eq_nocase(domain, STR("localhost")))
		return true;
	for (size_t i = 0; i < s->domains.n; i++)
		if (str_eq_nocase(domain, str_of(s->domains.v[i])))
			return true;
	return false;
}
