/* SPDX-License-Identifier: ISC */
/* The form of a reply. Texts are ours or deliver's: nothing that the client or the file system said
 * goes out. */
#include "session.h"

void smtp_reply(struct smtp *s, unsigned code, const char *enhanced, const char *text)
{
	if (code >= 500)
		s->n_errors++;
	if (enhanced != NULL)
		conn_printf(s->c, "%u %s %s\r\n", code, enhanced, text);
	else
		conn_printf(s->c, "%u %s\r\n", code, text);
}

void smtp_reply_lmtp(struct smtp *s, const struct lmtp_reply *r)
{
	smtp_reply(s, r->code, NULL, r->text);
}

void smtp_farewell(struct smtp *s, const char *enhanced, const char *text)
{
	conn_printf(s->c, "421 %s %s %s\r\n", enhanced, s->set->hostname, text);
	s->over = true;
}
