/* SPDX-License-Identifier: ISC */
/* The commands and what they may do when; nothing else looks at a command's name. */
#include "session.h"

enum {
	ANY = IMAP_NOT_AUTHENTICATED | IMAP_AUTHENTICATED | IMAP_SELECTED,
	USER = IMAP_AUTHENTICATED | IMAP_SELECTED,
};

static const struct imap_cmd commands[] = {
	/* RFC 3501 s.6.1, RFC 2971 */
	{ "NOOP", ANY, 0, cmd_noop },
	{ "CAPABILITY", ANY, 0, cmd_capability },
	{ "LOGOUT", ANY, 0, cmd_logout },
	{ "ID", ANY, 0, cmd_id },
	/* s.6.2 */
	{ "STARTTLS", IMAP_NOT_AUTHENTICATED, 0, cmd_starttls },
	{ "AUTHENTICATE", IMAP_NOT_AUTHENTICATED, CMD_SECRET, cmd_authenticate },
	{ "LOGIN", IMAP_NOT_AUTHENTICATED, CMD_SECRET, cmd_login },
	/* s.6.3, RFC 5161, RFC 2342, RFC 2177 */
	{ "ENABLE", USER, 0, cmd_enable },
	{ "SELECT", USER, 0, cmd_select },
	{ "EXAMINE", USER, 0, cmd_examine },
	{ "CREATE", USER, 0, cmd_create },
	{ "DELETE", USER, 0, cmd_delete },
	{ "RENAME", USER, 0, cmd_rename },
	{ "SUBSCRIBE", USER, 0, cmd_subscribe },
	{ "UNSUBSCRIBE", USER, 0, cmd_unsubscribe },
	{ "LIST", USER, 0, cmd_list },
	{ "LSUB", USER, 0, cmd_lsub },
	{ "NAMESPACE", USER, 0, cmd_namespace },
	{ "STATUS", USER, 0, cmd_status },
	{ "GETQUOTA", USER, 0, cmd_getquota },		/* RFC 9208 */
	{ "GETQUOTAROOT", USER, 0, cmd_getquotaroot },
	{ "SETQUOTA", USER, 0, cmd_setquota },
	{ "GETMETADATA", USER, 0, cmd_getmetadata },	/* RFC 5464 */
	{ "SETMETADATA", USER, CMD_METADATA, cmd_setmetadata },
	{ "APPEND", USER, CMD_STREAMS, cmd_append },
	{ "IDLE", USER, 0, cmd_idle },
	/* s.6.4, RFC 3691, RFC 4315, RFC 6851 */
	{ "CHECK", IMAP_SELECTED, 0, cmd_noop },
	{ "CLOSE", IMAP_SELECTED, 0, cmd_close },
	{ "UNSELECT", IMAP_SELECTED, 0, cmd_unselect },
	{ "EXPUNGE", IMAP_SELECTED, 0, cmd_expunge },
	{ "SEARCH", IMAP_SELECTED, CMD_NO_EXPUNGE, cmd_search },
	{ "FETCH", IMAP_SELECTED, CMD_NO_EXPUNGE, cmd_fetch },
	{ "STORE", IMAP_SELECTED, CMD_NO_EXPUNGE, cmd_store },
	{ "COPY", IMAP_SELECTED, 0, cmd_copy },
	{ "MOVE", IMAP_SELECTED, 0, cmd_move },
	{ "UID SEARCH", IMAP_SELECTED, CMD_UID, cmd_search },
	{ "SORT", IMAP_SELECTED, CMD_NO_EXPUNGE, cmd_sort },	/* RFC 5256 */
	{ "UID SORT", IMAP_SELECTED, CMD_UID, cmd_sort },
	{ "THREAD", IMAP_SELECTED, CMD_NO_EXPUNGE, cmd_thread },
	{ "UID THREAD", IMAP_SELECTED, CMD_UID, cmd_thread },
	{ "UID FETCH", IMAP_SELECTED, CMD_UID, cmd_fetch },
	{ "UID STORE", IMAP_SELECTED, CMD_UID, cmd_store },
	{ "UID COPY", IMAP_SELECTED, CMD_UID, cmd_copy },
	{ "UID MOVE", IMAP_SELECTED, CMD_UID, cmd_move },
	{ "UID EXPUNGE", IMAP_SELECTED, CMD_UID, cmd_uid_expunge },
};

const struct imap_cmd *command_find(struct str name)
{
	for (size_t i = 0; i < COUNTOF(commands); i++)
		if (str_eq_nocase(name, str_of(commands[i].name)))
			return &commands[i];
	return NULL;
}
