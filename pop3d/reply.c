/* SPDX-License-Identifier: ISC */
/* All words that a session says to its client but for lists and messages. */
#include "../libbase/log.h"
#include "session.h"

/* RFC 3206 s.4: SYS/TEMP may pass by itself, SYS/PERM needs an administrator. */
static const struct {
	enum err_kind kind;
	const char *words;
	enum log_level level;
} kinds[] = {
	{ ERR_BUSY, "[SYS/TEMP] the mail store is busy, try again", LOG_LEVEL_WARN },
	{ ERR_NOSPC, "[SYS/TEMP] the disk is full", LOG_LEVEL_ERR },
	{ ERR_NOENT, "the message is gone", LOG_LEVEL_INFO },
	{ ERR_CORRUPT, "[SYS/PERM] the message is damaged, tell the administrator", LOG_LEVEL_ERR },
	{ ERR_DENIED, "[SYS/PERM] the mail store can't be opened, tell the administrator",
	  LOG_LEVEL_ERR },
};

void reply_ok(struct pop3 *s, const char *text)
{
	conn_printf(s->c, "+OK %s\r\n", text);
}

void reply_no(struct pop3 *s, const char *text)
{
	conn_printf(s->c, "-ERR %s\r\n", text);
}

void reply_bad(struct pop3 *s, const char *text)
{
	reply_no(s, text);
	if (++s->n_bad < s->conf->bad_commands_max)
		return;
	s->state = POP3_OVER;
	s->why = "too many bad commands";
}

void reply_err(struct pop3 *s, const char *event, const struct err *e)
{
	const char *words = "[SYS/TEMP] temporary failure, try again";
	enum log_level level = LOG_LEVEL_ERR;

	for (size_t i = 0; i < COUNTOF(kinds); i++)
		if (kinds[i].kind == e->kind) {
			words = kinds[i].words;
			level = kinds[i].level;
		}
	log_event(level, event, KV_Z("user", s->user), KV_Z("kind", err_word(e->kind)), KV_ERR(e));
	reply_no(s, words);
}
