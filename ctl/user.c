/* SPDX-License-Identifier: ISC */
/* penny user: accounts in the passwd file. A password is read from the terminal without echo, or
 * as one line of standard input; it never stands on a command line. */
#include <crypt.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "../libserve/authclient.h"
#include "../libserve/username.h"
#include "ctl.h"
#include "passwdfile.h"

enum { SECRET_OCTETS = AUTH_PASSWORD_MAX_OCTETS + 2 };	/* with line end and NUL */

/* One line without its end; false when there is none, it is empty or too long. */
static bool read_secret(FILE *from, char out[SECRET_OCTETS])
{
	size_t n;

	if (fgets(out, SECRET_OCTETS, from) == NULL)
		return false;
	n = strlen(out);
	if (n == 0 || out[n - 1] != '\n')
		return feof(from) && n > 0 && n <= AUTH_PASSWORD_MAX_OCTETS;
	out[--n] = '\0';
	if (n > 0 && out[n - 1] == '\r')
		out[--n] = '\0';
	return n > 0;
}

static bool ask_secret(FILE *tty, const char *prompt, char out[SECRET_OCTETS])
{
	struct termios old, quiet;
	bool ok;

	if (tcgetattr(fileno(tty), &old) < 0)
		return false;
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(fileno(tty), TCSAFLUSH, &quiet);
	fputs(prompt, tty);
	fflush(tty);
	ok = read_secret(tty, out);
	tcsetattr(fileno(tty), TCSAFLUSH, &old);
	fputc('\n', tty);
	return ok;
}

static int terminal_password(char out[SECRET_OCTETS])
{
	char again[SECRET_OCTETS] = "";
	FILE *tty = fopen("/dev/tty", "r+");
	int status = 0;

	if (tty == NULL)
		return ctl_fail(EX_NOINPUT, "no terminal to ask for the password; use -p");
	if (!ask_secret(tty, "Password: ", out) || !ask_secret(tty, "Again: ", again))
		status = ctl_fail(EX_DATAERR, "no password was given, or it is too long");
	else if (strcmp(out, again) != 0)
		status = ctl_fail(EX_DATAERR, "the two passwords differ");
	fclose(tty);
	secret_wipe(again, sizeof again);
	return status;
}

/* The hash of a password that is asked for, from a fresh salt; the library's strongest method. */
static int make_hash(bool from_stdin, char out[CRYPT_OUTPUT_SIZE])
{
	char secret[SECRET_OCTETS] = "", salt[CRYPT_GENSALT_OUTPUT_SIZE];
	struct crypt_data data;
	const char *hash = NULL;
	int status;

	memset(&data, 0, sizeof data);
	if (!from_stdin)
		status = terminal_password(secret);
	else if (!read_secret(stdin, secret))
		status = ctl_fail(EX_DATAERR, "no password on standard input, or it is too long");
	else
		status = 0;
	if (status == 0 && crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof salt) != NULL)
		hash = crypt_r(secret, salt, &data);
	if (status == 0 && (hash == NULL || hash[0] == '*'))
		status = ctl_fail(EX_SOFTWARE, "crypt(3) does not work here");
	if (status == 0)
		snprintf(out, CRYPT_OUTPUT_SIZE, "%s", hash);
	secret_wipe(secret, sizeof secret);
	secret_wipe(&data, sizeof data);
	return status;
}

static int check_source(const struct ctl *c)
{
	if (c->set.passwd_file[0] == '\0')
		return ctl_fail(EX_CONFIG, "[auth] passwd_file is not set");
	if (c->set.source != AUTH_SOURCE_PASSWD)
		fputs("penny: note: [auth] source is pam, so the passwd file is not in use\n",
		    stderr);
	return 0;
}

/* Takes "-p" or "--stdin" off the arguments; NULL after a message. */
static const char *user_argument(int argc, char **argv, bool *out_stdin)
{
	const char *user = NULL;

	*out_stdin = false;
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "-p") == 0 || strcmp(argv[i], "--stdin") == 0)
			*out_stdin = true;
		else if (user == NULL)
			user = argv[i];
		else
			user = "";
	}
	if (user == NULL || !name_is_valid(str_of(user))) {
		ctl_fail(EX_USAGE, "that can't be a user's name");
		return NULL;
	}
	return user;
}

enum edit { EDIT_ADD, EDIT_PASSWORD };

static int edit_locked(struct passwdfile *f, enum edit how, const char *user, const char *hash)
{
	struct str name = str_of(user);
	bool has = passwdfile_has(f, name), ok;
	struct err e;

	if (how == EDIT_ADD && has)
		return ctl_fail(EX_CANTCREAT, "%s is there already", user);
	if (how == EDIT_PASSWORD && !has)
		return ctl_fail(EX_NOUSER, "there is no user %s", user);
	if (how == EDIT_ADD)
		ok = passwdfile_append(f, name, str_of(hash));
	else
		ok = passwdfile_set_hash(f, name, str_of(hash));
	if (!ok)
		return ctl_fail(EX_CANTCREAT, "%s: too large", f->path);
	return passwdfile_write(f, &e) == ERR_OK ? 0 : ctl_err(&e);
}

static int edit(struct ctl *c, enum edit how, int argc, char **argv)
{
	char hash[CRYPT_OUTPUT_SIZE];
	struct passwdfile f;
	struct err e;
	bool from_stdin;
	const char *user = user_argument(argc, argv, &from_stdin);
	int status = user == NULL ? EX_USAGE : check_source(c);

	if (status == 0)
		status = make_hash(from_stdin, hash);
	if (status != 0)
		return status;
	if (passwdfile_open(&f, c->set.passwd_file, true, &e) != ERR_OK)
		return ctl_err(&e);
	status = edit_locked(&f, how, user, hash);
	passwdfile_close(&f);
	return status;
}

int cmd_user_add(struct ctl *c, int argc, char **argv)
{
	return edit(c, EDIT_ADD, argc, argv);
}

int cmd_user_password(struct ctl *c, int argc, char **argv)
{
	return edit(c, EDIT_PASSWORD, argc, argv);
}

int cmd_user_list(struct ctl *c, int argc, char **argv)
{
	struct passwdfile f;
	struct str name, line;
	struct err e;
	size_t at = 0;
	int status = check_source(c);

	(void)argc;
	(void)argv;
	if (status != 0)
		return status;
	if (passwdfile_open(&f, c->set.passwd_file, false, &e) != ERR_OK)
		return ctl_err(&e);
	while (passwdfile_next(&f, &at, &name, &line))
		printf("%.*s\n", (int)name.n, name.p);
	passwdfile_close(&f);
	return 0;
}

int cmd_user_delete(struct ctl *c, int argc, char **argv)
{
	struct passwdfile f;
	struct err e;
	int status = check_source(c);

	(void)argc;
	if (status != 0)
		return status;
	if (passwdfile_open(&f, c->set.passwd_file, true, &e) != ERR_OK)
		return ctl_err(&e);
	if (!passwdfile_remove(&f, str_of(argv[0])))
		status = ctl_fail(EX_NOUSER, "there is no user %s", argv[0]);
	else if (passwdfile_write(&f, &e) != ERR_OK)
		status = ctl_err(&e);
	passwdfile_close(&f);
	return status;
}
