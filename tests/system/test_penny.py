#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""penny, the admin's command: every subcommand against a running suite and against a stopped one."""
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import ROOT, Instance, Tap

tap = Tap()
A = b"Subject: one\r\n\r\n1\r\n"
EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_UNAVAILABLE, EX_CANTCREAT, EX_CONFIG = 64, 65, 66, 67, 69, 73, 78


def penny(p, *args, input=b"", rc=0):
    r = p.run("penny", *args, input=input)
    assert r.returncode == rc, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout.decode()


def mailboxes(p, user):
    """{name: (messages, unseen, octets)}"""
    rows = [l.split("\t") for l in penny(p, "mailbox", "list", user).splitlines()]
    return {r[3]: tuple(int(n) for n in r[:3]) for r in rows}


def owners(path):
    found = set()
    for top, dirs, files in os.walk(path):
        for name in dirs + files:
            found.add(os.lstat(os.path.join(top, name)).st_uid)
    return found


with Instance(san=True) as p:
    @tap.test("version, help, and wrong words")
    def _():
        assert penny(p, "version").startswith("Pennypost ")
        assert "penny import mbox USER PATH" in penny(p, "help")
        assert "penny user add" in penny(p, "help", "user")
        assert "penny mailbox rename" in penny(p, "mailbox", "rename", "--help")
        for args in ([], ["frob"], ["user"], ["user", "frob"], ["mailbox", "list"], ["rebuild"], ["rebuild", "a", "b"],
                     ["import", "mbox", "alice", "x", "--mailbox"]):
            penny(p, *args, rc=EX_USAGE)

    @tap.test("status tells the services, their sockets and sessions")
    def _():
        m = p.imap("alice")
        text = penny(p, "status")
        assert "supervisor\tpid=%d\t" % p.pid in text, text
        for name in ("smtpd", "pop3d", "imapd", "deliver", "authd"):
            assert "service\t%s\t" % name in text, text
        if ROOT:
            assert "listen\timapd\t127.0.0.1:%d" % p.imap_port in text, text
            line = [l for l in text.splitlines() if l.startswith("service\timapd")][0]
            assert line.endswith("sessions=1"), line
        m.logout()

    @tap.test("check-config: good, and bad with file and line")
    def _():
        assert penny(p, "check-config").endswith("\tok\n")
        extra = os.path.join(p.dir, "etc/conf.d/zz.conf")
        for text, where in (("[pop3d]\nidle_timeout = 1s\n", "zz.conf:2"), ("[imapd]\n\nfrob = 1\n", "zz.conf:3"),
                            ("[site\n", "zz.conf:1"), ("[pop3d]\nidle_timout = 10m\n", "idle_timeout")):
            with open(extra, "w") as f:
                f.write(text)
            r = p.run("penny", "check-config")
            os.unlink(extra)
            assert r.returncode == EX_CONFIG and where.encode() in r.stderr, (text, r)
        r = subprocess.run([os.path.join(p.build, "penny"), "-c", "/nowhere/x.conf", "check-config"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert r.returncode == EX_CONFIG and b"/nowhere/x.conf" in r.stderr, r

    @tap.test("user add, list, password, delete; logins follow at once")
    def _():
        penny(p, "user", "add", "-p", "dave", input=b"first pass\n")
        names = penny(p, "user", "list").split()
        assert "dave" in names and "alice" in names, names
        p.imap("dave", "first pass").logout()
        penny(p, "user", "add", "-p", "dave", input=b"x\n", rc=EX_CANTCREAT)
        penny(p, "user", "password", "--stdin", "dave", input=b"second\n")
        p.imap("dave", "second").logout()
        time.sleep(0.1)
        try:
            p.imap("dave", "first pass")
            raise AssertionError("the old password still works")
        except p.imap().error:
            pass
        passwd = os.path.join(p.dir, "etc/passwd")
        before = os.stat(passwd)
        assert "dave:$y$" in open(passwd).read()
        penny(p, "user", "delete", "dave")
        after = os.stat(passwd)
        assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
        penny(p, "user", "delete", "dave", rc=EX_NOUSER)
        penny(p, "user", "password", "-p", "dave", input=b"x\n", rc=EX_NOUSER)
        assert "dave" not in penny(p, "user", "list").split()
        for name in ("", "-x", ".x", "a/b", "a:b", "a b", "a\nb", "x" * 256):
            penny(p, "user", "add", "-p", name, input=b"x\n", rc=EX_USAGE)
        for secret in (b"", b"\n", b"x" * 2000 + b"\n"):
            penny(p, "user", "add", "-p", "erin", input=secret, rc=EX_DATAERR)

    @tap.test("20 users added at once are all there")
    def _():
        runs = [subprocess.Popen([os.path.join(p.build, "penny"), "-c", p.conf, "user", "add", "-p", "p%d" % i],
                                 stdin=subprocess.PIPE) for i in range(20)]
        for r in runs:
            r.communicate(b"x\n")
            assert r.returncode == 0
        names = penny(p, "user", "list").split()
        assert all("p%d" % i in names for i in range(20)), names

    @tap.test("mailbox create, list, rename, delete")
    def _():
        assert mailboxes(p, "bob") == {"INBOX": (0, 0, 0)} if os.path.isdir(p.store("bob")) else True
        penny(p, "mailbox", "create", "bob", "Work/2026")
        p.send("bob", A)
        boxes = mailboxes(p, "bob")
        assert boxes["INBOX"][:2] == (1, 1) and boxes["INBOX"][2] > len(A), boxes
        assert boxes["Work"] == boxes["Work/2026"] == (0, 0, 0), boxes
        penny(p, "mailbox", "rename", "bob", "Work", "Gr\u00fc\u00dfe")
        assert "Gr\u00fc\u00dfe/2026" in mailboxes(p, "bob")
        penny(p, "mailbox", "delete", "bob", "Gr\u00fc\u00dfe/2026")
        penny(p, "mailbox", "delete", "bob", "Gr\u00fc\u00dfe")
        assert list(mailboxes(p, "bob")) == ["INBOX"]
        penny(p, "mailbox", "create", "bob", "../x", rc=EX_DATAERR)
        penny(p, "mailbox", "delete", "bob", "nothing", rc=EX_NOINPUT)
        penny(p, "mailbox", "list", "nobody-here", rc=EX_NOUSER)
        penny(p, "mailbox", "create", "nobody-here", "x", rc=EX_NOUSER)
        penny(p, "mailbox", "list", "../b/bob", rc=EX_USAGE)

    @tap.test("an open IMAP session sees what penny does")
    def _():
        m = p.imap("bob")
        m.select()
        penny(p, "mailbox", "create", "bob", "New")
        assert any(b"New" in l for l in m.list()[1])
        penny(p, "mailbox", "delete", "bob", "New")
        m.logout()

    @tap.test("import maildir: folders, flags, keywords, dates, line ends; again on a rerun")
    def _():
        src = os.path.join(p.dir, "maildir")
        for d in ("cur", "new", "tmp", ".Old.2001/cur", ".Old.2001/new", ".Old.2001/tmp"):
            os.makedirs(os.path.join(src, d))

        def put(path, data, when):
            with open(os.path.join(src, path), "wb") as f:
                f.write(data)
            os.utime(os.path.join(src, path), (when, when))

        put("cur/2.h:2,FSa", b"Subject: second\n\nx\n", 1100000000)
        put("new/1.h", b"Subject: first\r\n\r\ny\r\n", 1000000000)
        put("dovecot-keywords", b"0 $Work\n", 0)
        put(".Old.2001/cur/3.h:2,RDT", b"Subject: third\n\nbig\n" + b"z" * 76 * 9000 + b"\n", 1200000000)
        os.symlink("/etc/passwd", os.path.join(src, "cur/evil:2,"))
        text = penny(p, "import", "maildir", "carol", src, rc=EX_DATAERR)
        assert text == "imported\tmessages=3\toctets=%d\tfolders=2\tskipped=1\n" % (
            22 + 21 + len(b"Subject: third\r\n\r\nbig\r\n") + 76 * 9000 + 2), text
        os.unlink(os.path.join(src, "cur/evil:2,"))
        m = p.imap("carol")
        m.select()
        typ, data = m.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
        assert b" 9-Sep-2001" in data[0][0] and data[0][1] == b"Subject: first\r\n\r\ny\r\n", data
        assert b"\\Seen" not in data[0][0] and data[2][1] == b"Subject: second\r\n\r\nx\r\n", data
        assert all(f in data[2][0] + data[3] for f in (b"\\Seen", b"\\Flagged", b"$Work")), data
        assert m.select("Old/2001")[1] == [b"1"]
        typ, data = m.fetch("1", "(FLAGS)")
        assert all(f in data[0] for f in (b"\\Answered", b"\\Draft", b"\\Deleted")), data
        m.logout()
        assert penny(p, "import", "maildir", "carol", src, "--mailbox", "From/Maildir").startswith(
            "imported\tmessages=3\t")
        boxes = mailboxes(p, "carol")
        assert boxes["INBOX"][0] == 2 and boxes["From/Maildir"][0] == 2 and boxes["From/Maildir/Old/2001"][0] == 1
        penny(p, "import", "maildir", "carol", src)
        assert mailboxes(p, "carol")["INBOX"][0] == 4
        penny(p, "import", "maildir", "carol", "/nowhere", rc=EX_NOINPUT)
        penny(p, "import", "maildir", "nobody-here", src, rc=EX_NOUSER)
        assert len(owners(p.store("carol"))) == 1, owners(p.store("carol"))

    @tap.test("import mbox: separators, quoted From, state fields, dates")
    def _():
        src = os.path.join(p.dir, "mbox")
        with open(src, "wb") as f:
            f.write(b"From a@b Wed Jan  2 03:04:05 2002\nSubject: 1\nStatus: RO\nX-Status: F\n\nhi\n>From me\n\n"
                    b"From c@d Thu Jan  3 03:04:05 2002\nSubject: 2\n\nFrom here on\n.\n")
        assert penny(p, "import", "mbox", "alice", src, "--mailbox", "Mbox").startswith("imported\tmessages=2\t")
        m = p.imap("alice")
        m.select("Mbox")
        typ, data = m.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
        assert data[0][1] == b"Subject: 1\r\n\r\nhi\r\nFrom me\r\n", data
        assert b" 2-Jan-2002 03:04:05" in data[0][0], data
        assert b"\\Seen" in data[0][0] + data[1] and b"\\Flagged" in data[0][0] + data[1], data
        assert data[2][1] == b"Subject: 2\r\n\r\nFrom here on\r\n.\r\n", data
        m.logout()
        with open(src, "wb") as f:
            f.write(b"no mbox\n")
        penny(p, "import", "mbox", "alice", src, rc=EX_DATAERR)

    @tap.test("undelete: what was expunged and a deleted mailbox come back; purge ends it")
    def _():
        assert penny(p, "undelete", "carol", "--list") == ""
        m = p.imap("carol")
        m.create("Plans")
        for i in range(3):
            m.append("Plans", "(\\Flagged $Work)", None, b"Subject: =?utf-8?q?pl=C3=A4n_%d?=\r\n\r\nsecret-%d\r\n" % (i, i))
        m.select("Plans")
        m.store("2", "+FLAGS", "\\Deleted")
        m.expunge()
        rows = [l.split("\t") for l in penny(p, "undelete", "carol", "--list").splitlines()]
        assert len(rows) == 1 and rows[0][1:3] == ["Plans", "2"] and rows[0][4] == "plän 1", rows
        assert abs(time.mktime(time.strptime(rows[0][0], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())) < 60
        assert penny(p, "undelete", "carol", "--mailbox", "Plans", "--uid", "2:9") == "1\tPlans\n"
        m.noop()
        typ, data = m.uid("fetch", "4", "(FLAGS BODY.PEEK[])")	# the open session sees it come
        assert data[0][1].endswith(b"secret-1\r\n") and b"\\Flagged" in data[0][0] + data[1], data
        assert b"$Work" in data[0][0] + data[1] and b"\\Deleted" not in data[0][0] + data[1], data
        m.close()
        m.delete("Plans")
        text = penny(p, "undelete", "carol", "--list", "--mailbox", "Plans")
        assert text.count("Plans (deleted)\t") == 3, text
        assert penny(p, "undelete", "carol", "--mailbox", "Plans", "--uid", "1", "--to", "Saved/One") == "1\tSaved/One\n"
        assert penny(p, "undelete", "carol", "--all", "--within", "1h") == "2\tPlans\n"
        assert mailboxes(p, "carol")["Plans"][0] == 2 and mailboxes(p, "carol")["Saved/One"][0] == 1
        m.delete("Plans")
        penny(p, "purge", "carol")
        assert penny(p, "undelete", "carol", "--list") == ""
        penny(p, "undelete", "carol", "--all", rc=EX_NOINPUT)
        m.select("Saved/One")
        assert m.fetch("1", "(BODY.PEEK[TEXT])")[1][0][1] == b"secret-0\r\n"
        m.logout()
        found = subprocess.run(["grep", "-rl", "secret-2", p.store("carol")], capture_output=True).stdout
        assert found == b"", found
        penny(p, "check", "carol")
        for args in ([], ["carol"], ["carol", "--mailbox"], ["carol", "--all", "--mailbox", "X"], ["carol", "--frob", "x"],
                     ["carol", "--mailbox", "X", "--uid", "0"], ["carol", "--mailbox", "X", "--within", "soon"]):
            penny(p, "undelete", *args, rc=EX_USAGE)
        penny(p, "undelete", "nobody-here", "--list", rc=EX_NOUSER)

    @tap.test("2,000 messages come in, in their order")
    def _():
        src = os.path.join(p.dir, "mbox")
        with open(src, "wb") as f:
            for i in range(2000):
                f.write(b"From a@b Wed Jan  2 03:04:05 2002\nSubject: %d\n\n%s\n\n" % (i, b"x" * (i % 700)))
        assert "messages=2000\t" in penny(p, "import", "mbox", "alice", src, "--mailbox", "Many")
        m = p.imap("alice")
        assert m.select("Many")[1] == [b"2000"]
        typ, data = m.fetch("1501", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert b"Subject: 1500" in data[0][1], data
        m.logout()

    @tap.test("check and rebuild: the index comes back as it was, sessions go on")
    def _():
        def state():
            m = p.imap("carol")
            m.select("INBOX", readonly=True)
            rows = m.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)")[1]
            # \Recent is a matter between sessions, not of the mailbox: no journal has it.
            r = ([sorted(row.replace(b"\\Recent", b"").split()) for row in rows],
                 m.status("INBOX", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"), m.list())
            m.logout()
            return r

        before = state()
        assert penny(p, "check", "carol") == "carol\tfindings=0\n"
        live = p.imap("carol")
        live.select()
        text = penny(p, "rebuild", "carol")
        assert text.startswith("carol\trecords=") and "damaged=0" in text, text
        assert live.noop()[0] == "OK" and live.fetch("1", "(UID)")[0] == "OK"
        live.logout()
        after = state()
        assert after == before, (before, after)
        shutil.rmtree(os.path.join(p.store("carol"), "index"))
        penny(p, "rebuild", "--all")
        after = state()
        assert after == before, (before, after)
        text = penny(p, "check", "--all")
        assert "alice\tfindings=0" in text and "carol\tfindings=0" in text, text
        penny(p, "rebuild", "nobody-here", rc=EX_NOUSER)
        assert len(owners(p.store("carol"))) == 1

    @tap.test("a stopped suite: status says so, the rest works")
    def _():
        before = mailboxes(p, "carol")
        p.stop()
        assert penny(p, "status", rc=EX_UNAVAILABLE) == "supervisor\tnot running\n"
        assert mailboxes(p, "carol") == before
        penny(p, "check", "--all")
        p.start()

tap.done()
