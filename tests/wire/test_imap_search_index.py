# SPDX-License-Identifier: ISC
"""imapd: SEARCH with and without its index of texts says the same; the index may vanish, be damaged or be in the making."""
import base64
import glob
import os
import random
import signal
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap, PASSWORD

MESSAGES = 6000     # of about 6 KB: two ended segments and a bit
rnd = random.Random(20261121)
WORDS = ["".join(rnd.choice("bcdfghklmnprstvw") + rnd.choice("aeiou") for _ in range(rnd.randint(1, 4))) for _ in range(3000)]
WORDS += ["Straße", "λόγος", "漢字", "Жук", "café", "İzmir"]
WEIGHTS = [1 / (i + 3) for i in range(len(WORDS))]
tap = Tap()
p = Instance().start()


def text(n):
    return " ".join(rnd.choices(WORDS, WEIGHTS, k=n))


def message(i):
    words = text(rnd.randint(300, 1300))
    head = "From: %s@example.org\nSubject: %s\nMessage-ID: <%d.%x@example.org>\n" % (
        rnd.choice(WORDS[:300]), text(5) if i % 7 else "=?utf-8?b?%s?=" % base64.b64encode(text(4).encode()).decode(),
        i, rnd.getrandbits(64))
    kind = i % 4
    if kind == 0:
        return head + "Content-Type: text/plain; charset=utf-8\n\n" + "\n".join(
            words[k:k + 70] for k in range(0, len(words), 70)) + "\nunique%dmark\n" % i
    if kind == 1:
        coded = base64.encodebytes((words + " unique%dmark" % i).encode()).decode()
        return head + "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + coded
    if kind == 2:
        return head + "Content-Type: text/html; charset=utf-8\n\n<html><style>never%dseen</style><p>" % i + words + (
            "<p>uni<b>que%d</b>mark\n" % i)
    return head + ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n%s\n--b\nContent-Type: message/rfc822\n\nSubject: "
                   "unique%dmark\n\ninner\n--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n%s\n"
                   "--b--\n" % (words, i, "QUJD" * 50))


def fill():
    path = os.path.join(p.dir, "box")
    with open(path, "w", encoding="utf-8") as f:
        for i in range(MESSAGES):
            f.write("From x@example.org Sat Nov 21 10:00:00 2026\n" + message(i).replace("\nFrom ", "\n>From ") + "\n")
    os.chmod(path, 0o644)
    r = p.run("penny", "import", "mbox", "alice", path, timeout=120)
    assert r.returncode == 0, r.stderr


def session(box=b"INBOX"):
    w = p.connect(p.imap_port, timeout=60)
    w.line()
    w.imap(b"L", b"LOGIN alice " + PASSWORD.encode())
    assert w.imap(b"s", b"SELECT " + box)[-1].startswith(b"s OK")
    return w


def ask(w, q):
    lines = w.imap(b"t", b"SEARCH CHARSET UTF-8 " + q)
    assert lines[-1].startswith(b"t OK"), (q, lines[-1])
    return [int(n) for n in lines[0].split()[2:]]


def string(s):
    s = s.encode()
    return b"{%d+}\r\n%s" % (len(s), s)


QUERIES = [key + b" " + string(s) for key, s in
           [(b"TEXT", "unique%dmark" % i) for i in (0, 1, 2, 3, 1000, 1001, 1002, 1003, MESSAGES - 1, MESSAGES)] +
           [(b"TEXT", "never2seen"), (b"BODY", "never2seen"), (b"BODY", "STRAßE"), (b"TEXT", "ΛΌΓΟΣ"), (b"TEXT", "漢"),
            (b"BODY", "жУК"), (b"TEXT", "cafe"), (b"SUBJECT", "字"), (b"SUBJECT", "i\u0307zmir"), (b"TEXT", "zz"),
            (b"TEXT", ""), (b"HEADER Message-ID", "<17."), (b"FROM", WORDS[7]), (b"SUBJECT", WORDS[40] + " " + WORDS[2]),
            (b"HEADER X-None", ""), (b"HEADER Subject", ""), (b"BODY", WORDS[2500]), (b"BODY", WORDS[2000][:3]),
            (b"TEXT", WORDS[1000] + " " + WORDS[1]), (b"TEXT", "qxz"), (b"TEXT", "QUJDQUJD")]]
QUERIES += [b"NOT " + QUERIES[4], b"OR " + QUERIES[0] + b" " + QUERIES[7], b"1:3000 " + QUERIES[16],
            b"OR (NOT " + QUERIES[22] + b" SEEN) (" + QUERIES[5] + b" UNSEEN)"]


def files():
    return sorted(glob.glob(p.store("alice") + "/search/*.idx"))


def index():
    r = p.run("penny", "index", "alice")
    assert r.returncode == 0, r.stderr
    return r.stdout


@tap.test("%d searches before and after the index is made" % len(QUERIES), timeout=120)
def _():
    fill()
    w = session()
    plain = [ask(w, q) for q in QUERIES]
    w.sock.close()
    assert [len(r) for r in plain[:10]] == [1] * 9 + [0], plain[:10]
    found = dict(zip(QUERIES, map(len, plain)))
    for key, s, want in (("TEXT", "never2seen", 0), ("BODY", "never2seen", 0), ("TEXT", "", MESSAGES), ("TEXT", "QUJDQUJD", 0)):
        assert found[key.encode() + b" " + string(s)] == want, (key, s)
    for s in ("STRAßE", "жУК"):
        assert 0 < found[b"BODY " + string(s)] < MESSAGES, s
    index()
    assert len(files()) >= 2, files()
    w = session()
    wrong = [q for q, r in zip(QUERIES, plain) if ask(w, q) != r]
    assert not wrong, wrong
    r = p.run("penny", "check", "alice")
    assert r.returncode == 0, r.stdout


@tap.test("a message that arrives, a copy, an expunge: each is seen at once", timeout=60)
def _():
    w = session()
    q = b"TEXT " + string("unique1000mark")
    assert ask(w, q) == [1001]
    p.send("alice", b"Subject: again\r\n\r\nUNIQUE1000mark\r\n")
    w.imap(b"n", b"NOOP")
    assert ask(w, q) == [1001, MESSAGES + 1]
    assert w.imap(b"c", b"CREATE other")[-1].startswith(b"c OK")
    assert b"OK" in w.imap(b"c", b"COPY 1,1001,5000 other")[-1]
    o = session(b"other")
    assert ask(o, q) == [2] and ask(o, b"NOT " + q) == [1, 3]
    w.imap(b"f", b"STORE 1001 +FLAGS.SILENT (\\Deleted)")
    w.imap(b"x", b"EXPUNGE")
    assert ask(w, q) == [MESSAGES]
    assert ask(o, q) == [2]


@tap.test("a damaged or missing file changes nothing, and comes back by itself", timeout=60)
def _():
    q = [b"TEXT " + string("unique%dmark" % i) for i in (3, 2002, 4005)]
    index()
    for name in files():
        with open(name, "r+b") as f:
            size = os.fstat(f.fileno()).st_size
            for _ in range(200):
                f.seek(rnd.randrange(size))
                f.write(b"\xff")
    w = session()
    assert [len(ask(w, x)) for x in q] == [1, 1, 1]
    n = len(files())
    os.unlink(files()[0]) if files() else None
    assert [len(ask(w, x)) for x in q] == [1, 1, 1]
    for _ in range(4):
        ask(w, q[0])
    w.imap(b"l", b"LOGOUT")
    end = time.monotonic() + 20
    while len(files()) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(files()) >= 2, (n, files())


def parent(name):
    """The pid of a daemon's parent process, which forks the sessions."""
    return min(p.pids(name))


@tap.test("killed while it is made: the next one makes it whole", timeout=90)
def _():
    q = b"TEXT " + string("unique2003mark")
    first = parent("imapd")
    for i in range(12):
        for name in files():
            os.unlink(name)
        w = session()
        assert len(ask(w, q)) == 1      # and begins to make a file
        time.sleep(0.012 * i)
        for pid in p.pids("imapd"):
            try:
                if pid != first:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        w.sock.close()
    time.sleep(0.3)
    index()
    assert len(files()) >= 2 and not os.path.exists(p.store("alice") + "/search/tmp")
    w = session()
    assert len(ask(w, q)) == 1


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
