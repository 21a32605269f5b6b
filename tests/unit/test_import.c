/* SPDX-License-Identifier: ISC */
/* The formats of penny import: names, dates and flags, and what goes over the pipe. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../ctl/import.h"
#include "../../libstore/mailbox.h"
#include "tap.h"

/* What the pipe said, one line for each frame. */
static char *told(FILE *f)
{
	static char text[8192];
	size_t n = 0;
	int type;

	rewind(f);
	text[0] = '\0';
	while ((type = fgetc(f)) != EOF) {
		char data[4096];
		uint32_t len = 0, flags = 0;
		int64_t date = 0;

		if (type == FRAME_END && (fread(&flags, 4, 1, f) != 1 || fread(&date, 8, 1, f) != 1))
			break;
		if ((type == FRAME_FOLDER || type == FRAME_DATA || type == FRAME_END) &&
		    (fread(&len, 4, 1, f) != 1 || len >= sizeof data || fread(data, 1, len, f) != len))
			break;
		data[len] = '\0';
		if (type == FRAME_DATA)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s", data);
		else if (type == FRAME_END)
			n += (size_t)snprintf(text + n, sizeof text - n, "[E %u %lld %s]", flags,
			    (long long)date, data);
		else
			n += (size_t)snprintf(text + n, sizeof text - n, "[%c %s]", type, data);
	}
	return text;
}

static void test_maildir_names(void)
{
	static const struct { const char *name; uint32_t flags, letters; } t[] = {
		{ "1.host:2,", 0, 0 },
		{ "1.host:2,S", MSG_SEEN, 0 },
		{ "1.host:2,DFRST", MSG_STORED_FLAGS, 0 },
		{ "1.host:2,Sac", MSG_SEEN, 5 },
		{ "1.host,S=100:2,F", MSG_FLAGGED, 0 },
		{ "1.host:1,S", 0, 0 },
		{ "1.host", 0, 0 },
		{ "1.host:2,S,R", MSG_SEEN, 0 },
	};
	uint32_t letters;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		CHECK_AT(maildir_flags(t[i].name, &letters) == t[i].flags, i);
		CHECK_AT(letters == t[i].letters, i);
	}
}

static void test_maildir_folders(void)
{
	static const struct { const char *dir, *root, *mailbox; } t[] = {
		{ ".Sent", "INBOX", "Sent" },
		{ ".A.B.C", "inbox", "A/B/C" },
		{ ".A.B", "Old", "Old/A/B" },
		{ ".Entw&APw-rfe", "INBOX", "Entw\xc3\xbcrfe" },
		{ ".R&D", "INBOX", "R&D" },		/* no modified UTF-7, but a name */
		{ ".", "INBOX", NULL },
		{ "..", "INBOX", NULL },
		{ "..A", "INBOX", NULL },
		{ ".A..B", "INBOX", NULL },
		{ ".A.", "INBOX", NULL },
		{ ".\xff", "INBOX", NULL },
		{ "cur", "INBOX", NULL },
	};
	struct buf out = BUF_INIT(IMPORT_NAME_MAX_OCTETS);

	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok = maildir_folder(&out, t[i].dir, t[i].root);

		CHECK_AT(ok == (t[i].mailbox != NULL), i);
		CHECK_AT(!ok || str_eq(buf_str(&out), str_of(t[i].mailbox)), i);
	}
	buf_free(&out);
}

static void test_from_lines(void)
{
	static const struct { struct str line; bool ok; int64_t date; } t[] = {
		{ STR_INIT("From a@b Wed Jan  2 03:04:05 2002\n"), true, 1009940645 },
		{ STR_INIT("From a@b Wed Jan  2 03:04:05 2002\r\n"), true, 1009940645 },
		{ STR_INIT("From a@b Wed Jan  2 03:04:05 2002 +0100\n"), true, 1009937045 },
		{ STR_INIT("From a@b Wed Jan  2 03:04:05 2002 -0130\n"), true, 1009946045 },
		{ STR_INIT("From a b c  Wed Jan  2 03:04 2002\n"), true, 1009940640 },
		{ STR_INIT("From - Wed Jan 02 03:04:05 2002\n"), true, 1009940645 },
		{ STR_INIT("From now on\n"), false, 0 },
		{ STR_INIT("From: a@b Wed Jan  2 03:04:05 2002\n"), false, 0 },
		{ STR_INIT(">From a@b Wed Jan  2 03:04:05 2002\n"), false, 0 },
		{ STR_INIT("from a@b Wed Jan  2 03:04:05 2002\n"), false, 0 },
		{ STR_INIT("From \0 Wed Jan  2 03:04:05 2002\n"), false, 0 },
	};
	int64_t date;

	for (size_t i = 0; i < COUNTOF(t); i++) {
		bool ok = mbox_from_line(t[i].line, &date);

		CHECK_AT(ok == t[i].ok && (!ok || date == t[i].date), i);
	}
	CHECK(mbox_flags(STR("RO")) == MSG_SEEN);
	CHECK(mbox_flags(STR("AFDT")) == (MSG_STORED_FLAGS & ~MSG_SEEN));
}

static int file_with(const char *text)
{
	FILE *f = tmpfile();
	int fd;

	REQUIRE(f != NULL);
	fwrite(text, 1, strlen(text), f);
	rewind(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static void test_mbox(void)
{
	static const struct { const char *file, *frames; } t[] = {
		{ "From a Wed Jan  2 03:04:05 2002\nSubject: 1\nStatus: RO\nX-Status: A\n\nhi\n\n"
		  "From b Wed Jan  2 03:04:05 2002\nSubject: 2\n\n\n\n>From x\n>>From y\n>z\n",
		  "[F In][B ]Subject: 1\r\n\r\nhi\r\n[E 3 1009940645 ]"
		  "[B ]Subject: 2\r\n\r\n\r\n\r\nFrom x\r\n>From y\r\n>z\r\n[E 0 1009940645 ]" },
		/* no empty line before it: text */
		{ "From a Wed Jan  2 03:04:05 2002\n\nx\nFrom b Wed Jan  2 03:04:05 2002\n",
		  "[F In][B ]\r\nx\r\nFrom b Wed Jan  2 03:04:05 2002\r\n[E 0 1009940645 ]" },
		{ "From a Wed Jan  2 03:04:05 2002\r\nX-Keywords: Work $Junk\r\nX-UID: 4\r\n 5\r\n"
		  "A: b\r\n\r\nx",
		  "[F In][B ]A: b\r\n\r\nx[E 0 1009940645 Work $Junk ]" },
		{ "From a Wed Jan  2 03:04:05 2002\nX-IMAP: 1 2\nSubject: data\n\nx\n\n"
		  "From a Wed Jan  2 03:04:05 2002\n\n\n",
		  "[F In][B ]Subject: data\r\n\r\nx\r\n[X ][B ]\r\n[E 0 1009940645 ]" },
		{ "", "[F In]" },
	};

	for (size_t i = 0; i < COUNTOF(t); i++) {
		struct import_out o = { .to = tmpfile() };
		struct err e;
		int fd = file_with(t[i].file);

		CHECK_AT(import_mbox(&o, fd, "test", "In", &e) == ERR_OK, i);
		CHECK_AT(strcmp(told(o.to), t[i].frames) == 0, i);
		fclose(o.to);
		close(fd);
	}
}

static void test_no_mbox(void)
{
	struct import_out o = { .to = tmpfile() };
	struct err e;
	int fd = file_with("Subject: x\n\nFrom here\n");

	CHECK(import_mbox(&o, fd, "test", "In", &e) == ERR_SYNTAX);
	fclose(o.to);
	close(fd);
}

static void put_file(int dir, const char *path, const char *text)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	struct timespec times[2] = { { 1009940645, 0 }, { 1009940645, 0 } };

	REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	futimens(fd, times);
	close(fd);
}

static void test_maildir(void)
{
	char dir[] = "/tmp/test_import.XXXXXX", cmd[64];
	struct import_out o = { .to = tmpfile() };
	struct err e;
	int fd;

	REQUIRE(mkdtemp(dir) != NULL);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	mkdirat(fd, "cur", 0700);
	mkdirat(fd, "new", 0700);
	mkdirat(fd, ".A.B", 0700);
	mkdirat(fd, ".A.B/cur", 0700);
	mkdirat(fd, ".A.B/new", 0700);
	mkdirat(fd, ".broken", 0700);
	put_file(fd, "cur/1:2,Sa", "a\n");
	put_file(fd, "new/2", "b\r\nc");
	put_file(fd, "dovecot-keywords", "0 Work\n1 Home\n");
	put_file(fd, ".A.B/cur/3:2,", "d\n");
	CHECK(symlinkat("/etc/passwd", fd, "cur/4") == 0);
	CHECK(import_maildir(&o, fd, dir, "INBOX", &e) == ERR_OK);
	CHECK(strcmp(told(o.to), "[F INBOX][B ]a\r\n[E 1 1009940645 Work ][B ]b\r\nc[E 0 1009940645 ]"
	    "[F A/B][B ]d\r\n[E 0 1009940645 ]") == 0);
	CHECK(o.n_skipped == 2);	/* the link and the folder without cur */
	fclose(o.to);
	close(fd);
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	CHECK(system(cmd) == 0);
}

static void test_line_ends(void)
{
	static const char *const pieces[] = { "a\n", "b\r", "\nc\r\r\n", "\n", "d\re\n\n", "f" };
	struct import_out o = { .to = tmpfile() };

	for (size_t i = 0; i < COUNTOF(pieces); i++)
		import_text(&o, str_of(pieces[i]));
	CHECK(strcmp(told(o.to), "a\r\nb\r\nc\r\r\n\r\nd\re\r\n\r\nf") == 0);
	fclose(o.to);
}

int main(void)
{
	test_maildir_names();
	test_maildir_folders();
	test_from_lines();
	test_mbox();
	test_no_mbox();
	test_maildir();
	test_line_ends();
	return tap_done();
}
