# SPDX-License-Identifier: ISC
"""imapd: states, login, literals, mailboxes (RFC 3501 s.6.1 to s.6.3, RFC 7888, RFC 4959, RFC 5161)."""
import base64
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from imap import bad, no, ok
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance(users=8).start()
PLAIN = base64.b64encode(b"\0alice\0" + PASSWORD.encode())


def wire(user=None):
    w = p.connect(p.imap_port)
    w.greeting = w.line()
    if user:
        assert w.imap(b"L", b"LOGIN %s %s" % (user, PASSWORD.encode()))[-1].startswith(b"L OK"), user
    return w


@tap.test("greeting and login answer carry capabilities, which differ by state")
def _():
    w = wire()
    assert w.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 ") and b"AUTH=PLAIN" in w.greeting
    assert b"STARTTLS" in w.greeting and b"LITERAL-" in w.greeting and b"UIDPLUS" not in w.greeting
    last = w.imap(b"a", b"login alice " + PASSWORD.encode())[-1]
    for word in (b"LITERAL+", b"UIDPLUS", b"MOVE", b"CONDSTORE", b"NAMESPACE", b"UNSELECT", b"IDLE"):
        assert word in last, (word, last)
    assert b"STARTTLS" not in last and b"AUTH=" not in last
    cap = ok(w, b"CAPABILITY")
    assert cap[0].startswith(b"* CAPABILITY IMAP4rev1 ")
    with p.imap("alice", tls=True) as m:
        assert "STARTTLS" not in m.capabilities


@tap.test("AUTHENTICATE PLAIN with and without initial response, LOGIN, cancel")
def _():
    w = wire()
    assert w.imap(b"a", b"AUTHENTICATE PLAIN " + PLAIN)[-1].startswith(b"a OK [CAPABILITY")
    w = wire()
    assert w.cmd(b"a authenticate plain") == b"+ "
    assert w.cmd(PLAIN).startswith(b"a OK")
    w = wire()
    assert w.cmd(b"a AUTHENTICATE LOGIN") == b"+ " + base64.b64encode(b"Username:")
    assert w.cmd(base64.b64encode(b"alice")) == b"+ " + base64.b64encode(b"Password:")
    assert w.cmd(base64.b64encode(PASSWORD.encode())).startswith(b"a OK")
    w = wire()
    assert w.cmd(b"a AUTHENTICATE PLAIN").startswith(b"+")
    assert w.cmd(b"*").startswith(b"a BAD")
    assert w.imap(b"b", b"AUTHENTICATE SCRAM-SHA-256 x")[-1].startswith(b"b NO")
    assert w.imap(b"c", b"AUTHENTICATE PLAIN !!!")[-1].startswith(b"c BAD")
    assert w.imap(b"d", b"AUTHENTICATE PLAIN =")[-1].startswith(b"d BAD")
    ok(w, b"LOGIN alice " + PASSWORD.encode())


@tap.test("user and password as quoted strings and literals")
def _():
    w = wire()
    ok(w, b'LOGIN "alice" "%s"' % PASSWORD.encode())
    w = wire()
    assert w.cmd(b"a LOGIN {5}").startswith(b"+ ")
    assert w.cmd(b"alice {5}").startswith(b"+ ")
    assert w.cmd(PASSWORD.encode()).startswith(b"a OK")
    w = wire()
    w.send(b"a LOGIN {5+}\r\nalice {5+}\r\npenny\r\n")
    assert w.line().startswith(b"a OK")


@tap.test("wrong passwords end the session with BYE after three", timeout=60)
def _():
    w = wire()
    for i in range(3):
        assert w.imap(b"a", b"LOGIN alice wrong")[-1].startswith(b"a NO [AUTHENTICATIONFAILED]")
    assert w.line().startswith(b"* BYE") and w.at_end()
    p.wait_log(r"LOGIN FAILED, ip=\[127\.0\.0\.1\], user=alice, method=LOGIN")
    p.wait_log(r'imap\.end user="" ip=127\.0\.0\.1 how="too many failed logins"')


@tap.test("each command is refused in the wrong state")
def _():
    w = wire()
    for c in (b"SELECT INBOX", b'LIST "" *', b"CREATE x", b"FETCH 1 ALL", b"IDLE", b"NAMESPACE",
              b"ENABLE CONDSTORE", b"APPEND INBOX {3+}\r\nabc", b"UID FETCH 1 ALL", b"STATUS INBOX (MESSAGES)"):
        bad(w, c)
    ok(w, b"NOOP"), ok(w, b"CAPABILITY"), ok(w, b"ID NIL")
    w = wire(b"alice")
    for c in (b"FETCH 1 ALL", b"CLOSE", b"UNSELECT", b"CHECK", b"EXPUNGE", b"UID SEARCH ALL", b"MOVE 1 x",
              b"LOGIN a b", b"STARTTLS", b"AUTHENTICATE PLAIN"):
        bad(w, c)


@tap.test("LOGOUT says BYE, then OK")
def _():
    w = wire(b"alice")
    lines = ok(w, b"LOGOUT")
    assert lines[0].startswith(b"* BYE") and w.at_end()


@tap.test("ID, NAMESPACE, ENABLE")
def _():
    w = wire(b"alice")
    assert ok(w, b"ID NIL")[0].startswith(b'* ID ("name" "Pennypost"')
    ok(w, b'ID ("name" "x" "version" NIL)')
    bad(w, b"ID (x y)"), bad(w, b"ID")
    assert ok(w, b"NAMESPACE")[0] == b'* NAMESPACE (("" "/")) NIL NIL'
    assert ok(w, b"ENABLE UTF8=ACCEPT")[0] == b"* ENABLED"
    assert ok(w, b"ENABLE x CONDSTORE y")[0] == b"* ENABLED CONDSTORE"
    bad(w, b"ENABLE")


@tap.test("CREATE, LIST, RENAME, SUBSCRIBE, LSUB, DELETE")
def _():
    w = wire(b"u0")
    ok(w, b"CREATE a/b/c"), ok(w, b"CREATE Sent"), ok(w, b'CREATE "with space"'), ok(w, b"CREATE x/")
    rows = ok(w, b'LIST "" *')[:-1]
    for row in (b'* LIST (\\HasNoChildren) "/" INBOX', b'* LIST (\\HasChildren) "/" a',
                b'* LIST (\\HasChildren) "/" a/b', b'* LIST (\\HasNoChildren) "/" a/b/c',
                b'* LIST (\\HasNoChildren \\Sent) "/" Sent', b'* LIST (\\HasNoChildren) "/" "with space"',
                b'* LIST (\\HasNoChildren) "/" x'):
        assert row in rows, (row, rows)
    assert len(rows) == 7, rows
    assert ok(w, b'LIST "" ""')[0] == b'* LIST (\\Noselect) "/" ""'
    assert len(ok(w, b'LIST "" %')) == 5 + 1
    assert len(ok(w, b'LIST a/ %')) == 1 + 1
    assert len(ok(w, b'LIST "" "a/%"')) == 1 + 1
    assert len(ok(w, b'LIST "" inbox')) == 1 + 1
    assert len(ok(w, b'list "" {1+}\r\n*')) == 7 + 1
    no(w, b"CREATE a", b"[ALREADYEXISTS]"), no(w, b"CREATE inbox", b"[ALREADYEXISTS]")
    ok(w, b"SUBSCRIBE a/b/c"), ok(w, b"SUBSCRIBE INBOX")
    assert ok(w, b'LSUB "" *')[:-1] == [b'* LSUB () "/" INBOX', b'* LSUB () "/" a/b/c']
    assert ok(w, b'LSUB "" %')[:-1] == [b'* LSUB () "/" INBOX', b'* LSUB (\\Noselect) "/" a']
    ok(w, b"UNSUBSCRIBE a/b/c"), ok(w, b"UNSUBSCRIBE a/b/c")
    ok(w, b"RENAME a z")
    rows = ok(w, b'LIST "" *')[:-1]
    assert b'* LIST (\\HasNoChildren) "/" z/b/c' in rows and not [r for r in rows if b" a" in r]
    ok(w, b"DELETE z/b")		# has an inferior: stays as \Noselect
    assert b'* LIST (\\Noselect \\HasChildren) "/" z/b' in ok(w, b'LIST "" *')
    no(w, b"SELECT z/b")
    no(w, b"DELETE INBOX"), no(w, b"DELETE nothing", b"[NONEXISTENT]"), no(w, b"RENAME nothing x2")
    ok(w, b"DELETE z/b/c"), ok(w, b'DELETE "with space"')


@tap.test("RENAME INBOX moves its messages and leaves it empty")
def _():
    w = wire(b"u1")
    ok(w, b"APPEND INBOX {5+}\r\na: b\n")
    ok(w, b"RENAME INBOX old")
    assert b"MESSAGES 0" in ok(w, b"STATUS INBOX (MESSAGES)")[0]
    assert b"MESSAGES 1" in ok(w, b"STATUS old (MESSAGES)")[0]


@tap.test("mailbox names: modified UTF-7, wrong forms refused")
def _():
    w = wire(b"u2")
    name = b"&AOQ-rger &- Co"
    ok(w, b'CREATE "%s"' % name)
    assert b'* LIST (\\HasNoChildren) "/" "%s"' % name in ok(w, b'LIST "" *')
    assert ok(w, b'STATUS "%s" (MESSAGES)' % name)[0] == b'* STATUS "%s" (MESSAGES 0)' % name
    ok(w, b'LIST "" "&AOQ-*"')
    for wrong in (b'"&AGE-"', b'"&"', b'"\xc3\xa4"', b'"a&AOQ"', b'"&2D3-"'):
        no(w, b"CREATE " + wrong)
    ok(w, b'SELECT "%s"' % name), ok(w, b"CLOSE")


@tap.test("SELECT and EXAMINE tell everything; a failed SELECT leaves nothing selected")
def _():
    w = wire(b"u3")
    for i in range(3):
        ok(w, b"APPEND INBOX %s {6+}\r\nA: b\r\n" % (b"(\\Seen)" if i == 0 else b"($kw)"))
    text = b"\n".join(ok(w, b"SELECT INBOX"))
    for part in (b"* 3 EXISTS", b"* 3 RECENT", b"[UIDVALIDITY ", b"[UIDNEXT 4]", b"[UNSEEN 2]",
                 b"[HIGHESTMODSEQ ", b"\\Draft $kw)", b"PERMANENTFLAGS", b"\\*)", b"t OK [READ-WRITE]"):
        assert part in text, (part, text)
    text = b"\n".join(ok(w, b"EXAMINE INBOX"))
    assert b"* 0 RECENT" in text and b"[PERMANENTFLAGS ()]" in text and b"t OK [READ-ONLY]" in text
    no(w, b"STORE 1 FLAGS (\\Seen)", b"[READ-ONLY]"), no(w, b"EXPUNGE", b"[READ-ONLY]")
    no(w, b"SELECT nothing", b"[NONEXISTENT]")
    bad(w, b"FETCH 1 ALL")
    ok(w, b"SELECT inbox (CONDSTORE)"), bad(w, b"SELECT INBOX (NONSENSE)")
    ok(w, b"SELECT {5+}\r\nINBOX"), ok(w, b"UNSELECT"), bad(w, b"UNSELECT")


@tap.test("STATUS")
def _():
    w = wire(b"u3")
    line = ok(w, b"STATUS INBOX (UNSEEN messages UIDNEXT UIDVALIDITY RECENT HIGHESTMODSEQ)")[0]
    assert line.startswith(b"* STATUS INBOX (MESSAGES 3 RECENT ") and b"UNSEEN 2" in line, line
    bad(w, b"STATUS INBOX ()"), bad(w, b"STATUS INBOX (NONSENSE)"), bad(w, b"STATUS INBOX")
    no(w, b"STATUS nothing (MESSAGES)", b"[NONEXISTENT]")


@tap.test("APPEND: flags, date, TRYCREATE, APPENDUID, bare LF, NUL, empty, rest of line")
def _():
    w = wire(b"u4")
    date = b'"17-Jul-1996 02:44:25 -0700"'
    done = ok(w, b"APPEND INBOX (\\Seen $x) %s {11+}\r\nA: b\n\nc\r\nd\n" % date)
    assert b"[APPENDUID " in done[-1]
    ok(w, b"SELECT INBOX")
    w.send(b"f FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])\r\n")
    text = b"\n".join(w.until(b"f "))
    assert b'INTERNALDATE "17-Jul-1996 09:44:25 +0000"' in text and b"\\Seen \\Recent $x" in text, text
    assert b"{14}" in text and b"RFC822.SIZE 14" in text, text
    assert w.cmd(b"a APPEND nothing {10}").startswith(b"a NO [TRYCREATE]")
    no(w, b"APPEND nothing {3+}\r\nabc", b"[TRYCREATE]")
    no(w, b"APPEND INBOX {3+}\r\na\0c", b"[CANNOT]")
    no(w, b"APPEND INBOX {0+}\r\n", b"[CANNOT]")
    bad(w, b"APPEND INBOX {3+}\r\nabc x")
    bad(w, b"APPEND INBOX (\\Seen"), bad(w, b"APPEND INBOX"), bad(w, b'APPEND INBOX "nodate" {3+}\r\nabc')
    no(w, b"APPEND INBOX (%s) {3+}\r\nabc" % b" ".join(b"k%d" % i for i in range(3000)), b"[LIMIT]")
    assert w.cmd(b"a APPEND {5}").startswith(b"+ ")
    assert w.cmd(b"INBOX (\\Draft) {4}").startswith(b"+ ")
    assert w.cmd(b"A:b\n").startswith(b"* 2 EXISTS")
    assert w.until(b"a ")[-1].startswith(b"a OK [APPENDUID")


@tap.test("a message over the limit: NO [TOOBIG] before it is sent; unasked it ends the session")
def _():
    w = wire(b"u4")
    assert w.cmd(b"a APPEND INBOX {60000000}").startswith(b"a NO [TOOBIG]")
    ok(w, b"NOOP")
    w.send(b"a APPEND INBOX {60000000+}\r\n")
    assert w.line().startswith(b"* BYE [TOOBIG]")


@tap.test("every octet but bare CR and LF comes back; 10,000 header lines; 5 MB", timeout=90)
def _():
    m = p.imap("u5")
    body = bytes(o for o in range(1, 256) if o not in (10, 13))
    texts = [b"Subject: all\r\n\r\n" + body + b"\r\n",
             b"".join(b"X-%d: %s\r\n" % (i, b"y" * 20) for i in range(10000)) + b"\r\nz\r\n",
             b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 63 + b"\r\n" + b"x" * 5000000 + b"\r\n",
             b"\r\nno header\r\n", b"no header and no line end", b"Only: header\r\n"]
    for t in texts:
        assert m.append("INBOX", None, None, t)[0] == "OK"
    m.select()
    for i, t in enumerate(texts):
        got = m.fetch(str(i + 1), "(BODY.PEEK[])")[1][0][1]
        assert got == t, (i, len(got), len(t))
    with p.imap("u5", tls=True) as m:
        m.select(readonly=True)
        assert m.fetch("3", "(BODY[])")[1][0][1] == texts[2]


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
