# SPDX-License-Identifier: ISC
"""imapd: hostile input. Each test names the attack it stands for; after each an honest session must work."""
import base64
import os
import re
import socket
import sys
import threading
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance(users=12, set={"imapd.login_timeout": "8s", "imapd.command_timeout": "10s"}).start()


def wire(user=None, select=True):
    w = p.connect(p.imap_port, timeout=20)
    w.line()
    if user:
        assert w.imap(b"L", b"LOGIN %s %s" % (user, PASSWORD.encode()))[-1].startswith(b"L OK")
        if select:
            assert w.imap(b"S", b"SELECT INBOX")[-1].startswith(b"S OK")
    return w


def honest(limit_s=5):
    start = time.monotonic()
    m = p.imap("bob")
    assert m.select()[0] == "OK" and m.append("INBOX", None, None, b"A: b\r\n\r\n")[0] == "OK"
    m.logout()
    assert time.monotonic() - start < limit_s, time.monotonic() - start


def last(w, data, tag=b"t"):
    """The tagged answer, b"" when the server closed."""
    try:
        w.send(tag + b" " + data + b"\r\n")
        while True:
            l = w.line()
            if l.startswith(tag + b" ") or l == b"":
                return l
    except ConnectionError:
        return b""


def answers(w):
    """Everything up to the end of input."""
    got = []
    try:
        while True:
            l = w.line()
            if l == b"":
                return got
            got.append(l)
    except ConnectionError:
        return got


def answers_or_bad(w):
    try:
        l = w.line()
    except ConnectionError:
        return True
    return l == b"" or b"BAD" in l or b"BYE" in l


@tap.test("what is pipelined behind STARTTLS is dropped")
def _():
    w = wire()
    w.send(b"a STARTTLS\r\nb NOOP\r\nc LOGIN alice penny\r\n")
    assert w.line().startswith(b"a OK")
    w.start_tls(p.tls())
    w.send(b"d NOOP\r\n")
    assert w.line().startswith(b"d OK")


@tap.test("STARTTLS twice, LOGIN after TLS, TLS garbage")
def _():
    w = wire()
    assert last(w, b"STARTTLS").startswith(b"t OK")
    w.start_tls(p.tls())
    assert last(w, b"STARTTLS").startswith(b"t BAD")
    assert last(w, b"LOGIN alice " + PASSWORD.encode()).startswith(b"t OK")
    w = wire()
    assert last(w, b"STARTTLS").startswith(b"t OK")
    w.send(b"garbage garbage garbage\r\n" * 20)
    assert w.at_end()
    honest()


@tap.test("plain-text passwords are refused where they are not allowed, before a literal is taken")
def _():
    with Instance(set={"auth.plaintext": "never"}) as q:
        w = q.connect(q.imap_port)
        assert b"LOGINDISABLED" in w.line()
        assert w.imap(b"a", b"LOGIN alice " + PASSWORD.encode())[-1].startswith(b"a NO [PRIVACYREQUIRED]")
        assert w.cmd(b"a LOGIN {5}").startswith(b"a NO [PRIVACYREQUIRED]")
        assert w.imap(b"a", b"LOGIN {5+}\r\nalice {5+}\r\npenny")[-1].startswith(b"a NO [PRIVACYREQUIRED]")
        assert w.imap(b"a", b"AUTHENTICATE PLAIN")[-1].startswith(b"a NO [PRIVACYREQUIRED]")
        assert w.imap(b"a", b"NOOP")[-1].startswith(b"a OK")
        m = q.imap("alice", tls=True)
        assert m.select()[0] == "OK"


@tap.test("long lines, tags and junk before login: refused or closed, bounded")
def _():
    for what in (b"a" * 8000000 + b" NOOP\r\n", b"a NOOP " + b"x" * 8000000 + b"\r\n", b"a LOGIN " + b"(" * 60000 + b"\r\n"):
        w = wire()
        try:
            w.send(what)
        except ConnectionError:
            continue
        got = answers_or_bad(w)
        assert got, what[:20]
    for n in (513, 4096, 8192, 8193, 70000):
        w = wire()
        w.send(b"a LOGIN alice " + b"x" * n + b"\r\n")
        l = w.line()
        assert l.startswith((b"a NO", b"a BAD", b"* BAD")) or l == b"", l
    w = wire()
    try:
        w.send(b"junk\r\n" * 1000)
    except ConnectionError:
        pass
    got = answers(w)
    assert got[-1].startswith(b"* BYE") and len(got) <= 51, (len(got), got[-1:])
    honest()


@tap.test("literals of 2^31 to 2^64+1 octets: refused, never waited for")
def _():
    for n in (2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 63, 2 ** 64 - 1, 2 ** 64, 2 ** 64 + 1, 10 ** 30):
        for state in (None, b"alice"):
            w = wire(state)
            assert last(w, b"LOGIN {%d}" % n).startswith((b"t BAD", b"t NO")), n
            assert last(w, b"NOOP").startswith(b"t OK")
            assert last(w, b"NONSENSE {%d}" % n).startswith(b"t BAD")
            if state:
                assert last(w, b"APPEND INBOX {%d}" % n).startswith(b"t NO [TOOBIG]"), n
                assert last(w, b"SELECT {%d}" % n).startswith(b"t NO"), n
            w.send(b"t SELECT {%d+}\r\n" % n)
            assert w.line().startswith(b"* BYE") and w.at_end(), n
    w = wire()
    w.send(b"t LOGIN {4097+}\r\n" + b"x" * 4097 + b" y\r\n")	# LITERAL-, RFC 7888 s.5
    assert w.line().startswith(b"t NO [TOOBIG]")
    assert last(w, b"NOOP").startswith(b"t OK")
    w = wire()
    assert last(w, b"LOGIN {-1}").startswith(b"t BAD")
    assert last(w, b"LOGIN {5").startswith(b"t BAD")
    honest()


@tap.test("malformed SASL exchanges let nobody in, and do not hinder an honest login")
def _():
    def b(x):
        return base64.b64encode(x)
    bad = [b"!!!", b"=", b"====", b"AGFsaWNl", b(b"alice"), b(b"\0alice"), b(b"\0\0"), b(b"\0\0penny"), b(b"\0alice\0"),
           b(b"\0alice\0penny\0"), b(b"bob\0alice\0penny"), b(b"\0alice\0penny\n"), b(b"\0alice\0Penny"),
           b(b"\0alice\0\0penny"), b(b"\0" + b"a" * 60000 + b"\0penny")[:6000], b(b"\0alice\0" + b"p" * 2000),
           b(b"\0alice \0penny"), b(b"\0Alice\0penny")[:-1], b(b"\0../bob\0penny"), b(b"\0\xff\xfe\0penny")]

    def try_one(x):
        w = wire()
        l = last(w, b"AUTHENTICATE PLAIN " + x)
        if not l.startswith((b"t NO", b"t BAD")) and l != b"":
            wrong.append((x, l))
    wrong = []
    ts = [threading.Thread(target=try_one, args=(x,)) for x in bad]
    for t in ts:
        t.start()
    honest(15)
    for t in ts:
        t.join()
    assert not wrong, wrong
    w = wire()
    assert last(w, b"LOGIN alice {6+}\r\npenn\0y").startswith(b"t BAD")


@tap.test("traversal and other hostile mailbox names: refused, LIST still parses, every listed name opens", timeout=90)
def _():
    w = wire(b"u0")
    names = []
    for dots in (b"..", b".", b"....", b"&AC4ALg-", b"%2e%2e", b"..\\"):
        for form in (b"%s", b"%s/", b"/%s", b"%s/bob", b"a/%s/bob", b"%s/%s/etc/passwd", b"/etc/%s"):
            names.append(form.replace(b"%s", dots))
    names += [b"/etc/passwd", b"~bob", b"#shared/bob", b"user/bob", b"//", b"a//b", b"/", b"", b"\x01", b"a\x7fb",
              b"a\tb", b"&", b"&-&", b"&AGE-", b"&2ADcAA-", b"a" * 256, b"a" * 60000, b"/".join([b"d"] * 2000),
              b"*", b"%", b"a*b", b"\xff", b"\xc3\xa4", b"journal", b"ctl", b"lock", b"index", b"a\\b", b'a"b', b"NIL", b"(", b"{5}"]
    for name in names:
        for c in (b"CREATE", b"SELECT", b"DELETE", b"SUBSCRIBE", b"EXAMINE"):
            lit = b"%s {%d+}\r\n%s" % (c, len(name), name)
            l = last(w, lit)
            assert l.startswith((b"t OK", b"t NO", b"t BAD")), (c, name[:40], l)
            if c == b"SELECT" and l.startswith(b"t OK"):
                last(w, b"UNSELECT")
        last(w, b"CREATE {%d+}\r\n%s" % (len(name), name))
    m = p.imap("u0")
    rows = m.list()[1]
    for row in rows:
        text = row[0] if isinstance(row, tuple) else row
        flags, name = re.match(rb'\((.*?)\) "/" (.*)$', text).groups()
        name = row[1] if isinstance(row, tuple) else name
        if b"Noselect" in flags:
            continue
        quoted = name if name.startswith(b'"') or isinstance(row, tuple) is False else b'"' + name + b'"'
        assert m.select(quoted.decode())[0] == "OK", name
    bob = p.imap("bob")
    assert b"passwd" not in b"".join(r for r in bob.list()[1])
    honest()


@tap.test("numbers: 0, 2^32, wrap-around, reversed, giant sets, partials")
def _():
    w = wire(b"u1")
    for i in range(3):
        assert last(w, b"APPEND INBOX {4+}\r\nA:b\n").startswith(b"t OK")
    for s in (b"0", b"4294967296", b"4294967297", b"18446744073709551617", b"1:0", b"4294967296:1", b"-1", b"1:2:3", b"1,,2"):
        for c in (b"FETCH %s UID", b"UID FETCH %s UID", b"STORE %s FLAGS ()", b"UID COPY %s INBOX", b"SEARCH UID %s", b"UID EXPUNGE %s"):
            assert last(w, c % s).startswith(b"t BAD"), (c, s)
        assert last(w, b"NOOP").startswith(b"t OK")
    assert len(w.imap(b"t", b"UID FETCH 4294967295:1 UID")) == 4
    many = b",".join(b"%d:*" % i for i in range(1, 8000))
    assert len(w.imap(b"t", b"UID FETCH %s UID" % many[:60000].rsplit(b",", 1)[0])) == 4
    for part in (b"<0.0>", b"<4294967296.1>", b"<1.4294967296>", b"<-1.1>", b"<1>", b"<.1>", b"<1.>"):
        assert last(w, b"FETCH 1 BODY[]%s" % part).startswith(b"t BAD"), part
    for sec in (b"0", b"1.0", b"4294967296", b"1.", b".1", b"MIME", b"HEADER.FIELDS", b"HEADER.FIELDS ()", b"TEXT.1", b"1.TEXT.2"):
        assert last(w, b"FETCH 1 BODY[%s]" % sec).startswith(b"t BAD"), sec
    assert last(w, b"FETCH 1 BODY[%s]" % b".".join([b"1"] * 10000)).startswith(b"t OK")


@tap.test("LIST *a*a*a…b with 500 mailboxes of as: at once")
def _():
    w = wire(b"u2")
    for i in range(500):
        w.send(b"c%d CREATE %s%d\r\n" % (i, b"a" * 200, i))
    w.until(b"c499 ")
    start = time.monotonic()
    assert last(w, b'LIST "" "%s"' % (b"*a" * 100 + b"b")).startswith(b"t OK")
    assert last(w, b'LSUB "" "%s"' % (b"%*" * 4000)).startswith(b"t OK")
    assert time.monotonic() - start < 1, time.monotonic() - start


@tap.test("one body asked for 500 times is sent once")
def _():
    w = wire(b"u3")
    assert last(w, b"APPEND INBOX {100000+}\r\n" + b"x" * 99998 + b"\r\n").startswith(b"t OK")
    w.send(b"f FETCH 1 (%s)\r\n" % b" ".join([b"BODY[]"] * 500))
    n = 0
    while True:
        l = w.line()
        n += len(l)
        if l.startswith(b"f "):
            break
    assert l.startswith(b"f OK") and n < 120000, n


@tap.test("quadratic needle: 1 MB of as searched for a…ab", timeout=60)
def _():
    w = wire(b"u4")
    assert last(w, b"APPEND INBOX {1000002+}\r\n\r\n" + b"a" * 1000000).startswith(b"t OK")
    start = time.monotonic()
    assert last(w, b"SEARCH BODY " + b"a" * 20000 + b"b").startswith(b"t OK")
    assert time.monotonic() - start < 3, time.monotonic() - start


@tap.test("3,000 keywords: the mailbox keeps 64, the rest is refused")
def _():
    w = wire(b"u5")
    assert last(w, b"APPEND INBOX {4+}\r\nA:b\n").startswith(b"t OK")
    refused = 0
    for i in range(0, 3000, 30):
        l = last(w, b"STORE 1 +FLAGS.SILENT (%s)" % b" ".join(b"k%d" % k for k in range(i, i + 30)))
        refused += l.startswith(b"t NO [LIMIT]")
    assert refused == 98, refused
    assert last(w, b"STORE 1 +FLAGS (%s)" % (b"k" * 65)).startswith(b"t NO [LIMIT]")


@tap.test("4,000 commands in one write: every one is answered, in order")
def _():
    w = wire(b"u6")
    threading.Thread(target=w.send, args=(b"".join(b"n%d NOOP\r\n" % i for i in range(4000)),)).start()
    for i in range(4000):
        assert w.line() == b"n%d OK Completed" % i


@tap.test("a reader that never reads is cut and does not hinder others", timeout=90)
def _():
    w = wire(b"u7")
    assert last(w, b"APPEND INBOX {20000000+}\r\n" + b"x" * 20000000).startswith(b"t OK")
    stuck = [wire(b"u7") for _ in range(5)]
    for s in stuck:
        s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.send(b"f FETCH 1 BODY.PEEK[]\r\n")
    honest()
    end = time.monotonic() + 75
    while p.logs().count("connection failed") + p.logs().count("imap.end user=u7") < 5:
        assert time.monotonic() < end, "still there"
        time.sleep(0.5)


@tap.test("vanishing in a literal leaves nothing behind; slow and silent clients are cut", timeout=60)
def _():
    w = wire(b"u8")
    w.send(b"a APPEND INBOX {1000000+}\r\n" + b"x" * 500000)
    w.close()
    w = wire(b"u8")
    w.send(b"a APPEND INBOX {5}\r\n")
    assert w.line().startswith(b"+ ")
    w.close()
    time.sleep(0.5)
    assert b"MESSAGES 0" in wire(b"u8").imap(b"t", b"STATUS INBOX (MESSAGES)")[0]
    left = [f for d, _, files in os.walk(p.store("u8")) for f in files if d.endswith("large") or "/large/" in d]
    assert not left, left
    slow = [wire() for _ in range(20)]
    start = time.monotonic()
    for i in range(4):
        for s in slow:
            try:
                s.send(b"a")
            except ConnectionError:
                pass
        time.sleep(1)
    honest()
    for s in slow:
        assert s.at_end(15)
    assert time.monotonic() - start < 25


@tap.test("150 resets and 100 silent connections: an honest session works meanwhile", timeout=60)
def _():
    for i in range(150):
        s = socket.create_connection(("127.0.0.1", p.imap_port), 10)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
    idle = [socket.create_connection(("127.0.0.1", p.imap_port), 10) for _ in range(100)]
    honest()
    for s in idle:
        s.close()
    honest()


@tap.test("NUL, CR and 8-bit octets in commands; no answer is forged")
def _():
    w = wire(b"u9")
    for c in (b"NO\0OP", b"NOOP\0", b"\0", b"SELECT IN\0BOX", b"SELECT \"IN\0BOX\"", b"\xff\xfe", b"NOOP\rx", b"SELECT a\rb",
              b"CREATE \"a\rb\"", b"FETCH 1 BODY[HEADER.FIELDS (A\rB)]", b"CREATE {3+}\r\na\0b", b"CREATE {4+}\r\na\r\nb"):
        l = last(w, c)
        assert l.startswith((b"t BAD", b"t NO")), (c, l)
    w.send(b"\r\n")
    assert w.line().startswith(b"* BAD")
    w.send(b"+ NOOP\r\n")
    assert w.line().startswith(b"* BAD")
    assert last(w, b"NOOP").startswith(b"t OK")
    # a header field name with a line end must not become a line of the answer
    lines = w.imap(b"t", b"FETCH 1:* BODY.PEEK[HEADER.FIELDS ({10+}\r\nA)]\r\nt OK \xff)]")
    assert lines[-1].startswith((b"t BAD", b"t OK")), lines


@tap.test("mutated commands: the server answers or closes, and lives", timeout=60)
def _():
    import random
    rnd = random.Random(7)
    seeds = [b"a LOGIN alice penny\r\n", b"b SELECT INBOX (CONDSTORE)\r\n", b"c FETCH 1:* (UID BODY.PEEK[1.2.HEADER.FIELDS (A B)]<0.5>)\r\n",
             b"d APPEND INBOX (\\Seen) \"01-Feb-2020 23:30:00 +0000\" {5+}\r\nA: b\n\r\n", b"e SEARCH OR (SEEN NOT FROM \"x\") TEXT {3+}\r\nabc 1:*\r\n",
             b"f STORE 1:* (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen kw)\r\n", b"g UID MOVE 1:* x\r\n", b"h LIST \"\" {1+}\r\n*\r\n",
             b"i STATUS INBOX (MESSAGES UIDNEXT)\r\n", b"j IDLE\r\nDONE\r\n", b"k ID (\"a\" NIL)\r\n", b"l UID EXPUNGE 1:*\r\n"]
    end = time.monotonic() + 8
    n = 0
    while time.monotonic() < end:
        data = b""
        for s in [b"x LOGIN u10 penny\r\n"] + rnd.sample(seeds, 8):
            s = bytearray(s)
            for _ in range(rnd.randrange(0, 4)):
                i = rnd.randrange(len(s))
                how = rnd.randrange(3)
                if how == 0:
                    s[i] = rnd.randrange(256)
                elif how == 1:
                    del s[i]
                else:
                    s[i:i] = s[i:i + rnd.randrange(1, 8)]
                if not s:
                    s = bytearray(b"\r\n")
            data += bytes(s)
        w = p.connect(p.imap_port, timeout=1)
        try:
            w.send(data)
            w.sock.shutdown(socket.SHUT_WR)
            answers(w)
        except OSError:
            pass
        w.close()
        n += 1
    assert n > 20, n
    honest()


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
