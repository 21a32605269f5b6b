/* SPDX-License-Identifier: ISC */
/* penny: finds the subcommand in the table, reads the configuration where it needs one, and runs
 * it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

struct ctl_command {
	const char *word, *second;	/* second NULL: one word */
	const char *args, *help;
	int argc_min, argc_max;
	bool needs_conf;
	int (*run)(struct ctl *c, int argc, char **argv);
};

static int cmd_help(struct ctl *c, int argc, char **argv);
static int cmd_version(struct ctl *c, int argc, char **argv);

static const struct ctl_command commands[] = {
	{ "status", NULL, "", "is the suite running, and what is it doing",
	  0, 0, true, cmd_status },
	{ "check-config", NULL, "", "check the configuration for every program",
	  0, 0, false, cmd_check_config },
	{ "user", "add", "[-p] USER",
	  "add a user to the passwd file; -p: password on standard input",
	  1, 2, true, cmd_user_add },
	{ "user", "password", "[-p] USER", "change a password in the passwd file",
	  1, 2, true, cmd_user_password },
	{ "user", "list", "", "names in the passwd file",
	  0, 0, true, cmd_user_list },
	{ "user", "delete", "USER", "take a user out of the passwd file; the mail stays",
	  1, 1, true, cmd_user_delete },
	{ "mailbox", "list", "USER", "messages, unseen, octets and name of each mailbox",
	  1, 1, true, cmd_mailbox_list },
	{ "mailbox", "create", "USER NAME", "create a mailbox and what is missing above it",
	  2, 2, true, cmd_mailbox_create },
	{ "mailbox", "rename", "USER FROM TO", "rename a mailbox and those below it",
	  3, 3, true, cmd_mailbox_rename },
	{ "mailbox", "delete", "USER NAME", "delete a mailbox with its messages",
	  2, 2, true, cmd_mailbox_delete },
	{ "quota", NULL, "USER [--mailbox NAME] [none | [storage=N] [messages=N]]",
	  "octets and messages in use and at most, for each quota root; or change the limits of one",
	  1, 6, true, cmd_quota },
	{ "rebuild", NULL, "USER | --all", "make the index anew from the journal",
	  1, 1, true, cmd_rebuild },
	{ "compact", NULL, "USER | --all", "give back the space of what was expunged",
	  1, 1, true, cmd_compact },
	{ "undelete", NULL, "USER --list | --all | --mailbox NAME [--uid UID[:UID]] [--within TIME] [--to NAME]",
	  "bring back expunged messages and those of deleted mailboxes", 2, 9, true, cmd_undelete },
	{ "purge", NULL, "USER | --all", "remove for good what could be brought back",
	  1, 1, true, cmd_purge },
	{ "index", NULL, "USER | --all", "make what speeds searches up; sessions do it by themselves",
	  1, 1, true, cmd_index },
	{ "check", "--dir", "DIR [--at TIME]", "find what is wrong with a copy that backup or follow has made",
	  1, 3, true, cmd_check_copy },
	{ "check", NULL, "[--repair] USER | --all", "find what is wrong with a user's store; put it right",
	  1, 2, true, cmd_check },
	{ "backup", NULL, "USER DIR [--prune] | --all DIR [--prune]",
	  "copy what is new in a user's store to DIR, or each user's to DIR/USER",
	  2, 3, true, cmd_backup },
	{ "follow", NULL, "USER DIR | USER - | USER --exec COMMAND [--sync [--wait SECONDS]]\n"
	  "        | --receive DIR | --release USER",
	  "keep a copy right behind a store, here or on another machine",
	  2, 6, true, cmd_follow },
	{ "restore", NULL, "USER DIR [--at TIME] [--replace]\n"
	  "        | USER DIR --mailbox NAME [--uid UID | --message-id ID] [--to NAME] [--at TIME]\n"
	  "        | --list DIR [--at TIME]",
	  "bring a user, a mailbox or a message back from a copy; list what is in it",
	  2, 10, true, cmd_restore },
	{ "import", "maildir", "USER PATH [--mailbox NAME]",
	  "file the messages of a Maildir and its subfolders; run again, it files them again",
	  2, 4, true, cmd_import_maildir },
	{ "import", "mbox", "USER PATH [--mailbox NAME]",
	  "file the messages of an mbox file; run again, it files them again",
	  2, 4, true, cmd_import_mbox },
	{ "version", NULL, "", "print the version", 0, 0, false, cmd_version },
	{ "help", NULL, "[COMMAND]", "print this, or the lines of one command",
	  0, 2, false, cmd_help },
};

/* What the exit code says about an error (sysexits.h). */
static const struct { enum err_kind kind; int status; } statuses[] = {
	{ ERR_TEMP, EX_TEMPFAIL }, { ERR_BUSY, EX_TEMPFAIL }, { ERR_TIMEOUT, EX_TEMPFAIL },
	{ ERR_NOSPC, EX_CANTCREAT }, { ERR_EOF, EX_IOERR }, { ERR_SYNTAX, EX_DATAERR },
	{ ERR_NOENT, EX_NOINPUT }, { ERR_EXISTS, EX_CANTCREAT }, { ERR_DENIED, EX_NOPERM },
	{ ERR_LIMIT, EX_DATAERR }, { ERR_QUOTA, EX_CANTCREAT }, { ERR_CORRUPT, EX_DATAERR },
};

int ctl_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("penny: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int ctl_err(const struct err *e)
{
	int status = EX_SOFTWARE;

	for (size_t i = 0; i < COUNTOF(statuses); i++)
		if (statuses[i].kind == e->kind)
			status = statuses[i].status;
	return ctl_fail(status, "%s", e->text);
}

int ctl_load_conf(struct ctl *c)
{
	struct err e;

	if (conf_read(c->conf_path, settings_sections, &c->conf, &e) == ERR_OK &&
	    settings_get(c->conf, NULL, &c->set, &e) == ERR_OK)
		return 0;
	return ctl_fail(EX_CONFIG, "%s", e.text);
}

static void print_command(FILE *to, const struct ctl_command *cmd)
{
	fprintf(to, "  penny %s%s%s%s%s\n        %s\n", cmd->word, cmd->second != NULL ? " " : "",
	    cmd->second != NULL ? cmd->second : "", cmd->args[0] != '\0' ? " " : "", cmd->args,
	    cmd->help);
}

/* Prints the commands that begin with these words; all without words. */
static int print_help(FILE *to, const char *word, const char *second)
{
	int n = 0;

	for (size_t i = 0; i < COUNTOF(commands); i++) {
		const struct ctl_command *cmd = &commands[i];

		if (word != NULL && strcmp(cmd->word, word) != 0)
			continue;
		if (second != NULL && (cmd->second == NULL || strcmp(cmd->second, second) != 0))
			continue;
		if (n++ == 0)
			fputs("usage: penny [-c FILE] COMMAND\n", to);
		print_command(to, cmd);
	}
	return n;
}

static int cmd_help(struct ctl *c, int argc, char **argv)
{
	(void)c;
	if (print_help(stdout, argv[0], argc > 1 ? argv[1] : NULL) > 0)
		return 0;
	return ctl_fail(EX_USAGE, "there is no command \"%s\"; see penny help", argv[0]);
}

static int cmd_version(struct ctl *c, int argc, char **argv)
{
	(void)c;
	(void)argc;
	(void)argv;
	puts("Pennypost " PACKAGE_VERSION);
	return 0;
}

static const struct ctl_command *find_command(int argc, char **argv)
{
	for (size_t i = 0; i < COUNTOF(commands); i++) {
		const struct ctl_command *cmd = &commands[i];

		if (argc < 1 || strcmp(cmd->word, argv[0]) != 0)
			continue;
		if (cmd->second == NULL || (argc > 1 && strcmp(cmd->second, argv[1]) == 0))
			return cmd;
	}
	return NULL;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int run(struct ctl *c, int argc, char **argv)
{
	const struct ctl_command *cmd = find_command(argc, argv);
	int skip, status;

	if (cmd == NULL) {
		if (argc < 1 || print_help(stderr, argv[0], NULL) == 0)
			print_help(stderr, NULL, NULL);
		return EX_USAGE;
	}
	skip = cmd->second != NULL ? 2 : 1;
	argc -= skip;
	argv += skip;
	if (wants_help(argc, argv)) {
		print_help(stdout, cmd->word, cmd->second);
		return 0;
	}
	if (argc < cmd->argc_min || argc > cmd->argc_max) {
		print_help(stderr, cmd->word, cmd->second);
		return EX_USAGE;
	}
	if (cmd->needs_conf && (status = ctl_load_conf(c)) != 0)
		return status;
	return cmd->run(c, argc, argv);
}

int main(int argc, char **argv)
{
	struct ctl c = { .conf_path = SYSCONFDIR "/pennypost/pennypost.conf" };
	int opt, status;

	while ((opt = getopt(argc, argv, "+c:hV")) != -1) {
		switch (opt) {
		case 'c':
			c.conf_path = optarg;
			break;
		case 'h':
			return cmd_help(&c, 0, argv + argc);
		case 'V':
			return cmd_version(&c, 0, NULL);
		default:
			print_help(stderr, NULL, NULL);
			return EX_USAGE;
		}
	}
	status = run(&c, argc - optind, argv + optind);
	conf_free(&c.conf);
	if (fflush(stdout) != 0 && status == 0)
		status = ctl_fail(EX_IOERR, "standard output can't be written");
	return status;
}
