# SPDX-License-Identifier: ISC
"""Stores with compressed bodies ([store] compress): IMAP and POP3 clients cannot tell, in a store that holds compressed, plain and
large messages, nor after the setting was turned off again."""
import os
import random
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()
rng = random.Random(1)
WORDS = [b"alpha", b"beta", b"gamma", b"delta", b"..dots", b"epsilon", b"zeta"]


def text(octets, subject, first=b""):
    """Lines of words, some of which begin with a dot, as POP3 must double it."""
    head = b"From: a@example.org\r\nSubject: " + subject + b"\r\n\r\n" + first
    lines = []
    n = len(head)
    while n < octets:
        line = (b"." if rng.random() < 0.2 else b"") + b" ".join(rng.choice(WORDS) for _ in range(8)) + b"\r\n"
        lines.append(line)
        n += len(line)
    return head + b"".join(lines)


NOISE = b"Subject: noise\r\n\r\n" + b"".join(
    bytes(rng.choice(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(76)) + b"\r\n"
    for _ in range(80))
MIXED = (b"From: b@example.org\r\nSubject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
         b"--b\r\n\r\nfirst part\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + b"needleinpart two\r\n" * 400 + b"--b--\r\n")
MESSAGES = [text(200, b"short"), text(20000, b"middle", b"haystackword\r\n"), text(200000, b"long"), text(400000, b"large"), NOISE,
            MIXED]


def journal_octets(p):
    folder = p.store("alice") + "/journal"
    return sum(os.stat(folder + "/" + f).st_blocks * 512 for f in os.listdir(folder))


def imap_reads(p, messages):
    for tls in (False, True):
        m = p.imap("alice", tls=tls)
        m.select(readonly=True)
        for n, want in enumerate(messages, 1):
            n = str(n)
            assert m.fetch(n, "(BODY.PEEK[])")[1][0][1] == want, n
            assert m.fetch(n, "(RFC822.SIZE)")[1][0].endswith(b"RFC822.SIZE %d)" % len(want)), n
            head, body = want.split(b"\r\n\r\n", 1)
            assert m.fetch(n, "(BODY.PEEK[HEADER])")[1][0][1] == head + b"\r\n\r\n", n
            assert m.fetch(n, "(BODY.PEEK[TEXT])")[1][0][1] == body, n
            for at, octets in ((0, 10), (50, 100), (1000, 65536), (len(want) - 7, 100)):
                got = m.fetch(n, "(BODY.PEEK[]<%d.%d>)" % (at, octets))[1][0]
                assert (got[1] if isinstance(got, tuple) else b"") == want[at:at + octets], (n, at)
        m.logout()


def pop3_reads(p, messages):
    c = p.pop3("alice")
    assert c.stat() == (len(messages), sum(map(len, messages)))
    for n, want in enumerate(messages, 1):
        assert b"\r\n".join(c.retr(n)[1]) + b"\r\n" == want, n
        head, body = want.split(b"\r\n\r\n", 1)
        assert c.top(n, 3)[1] == head.split(b"\r\n") + [b""] + body.split(b"\r\n")[:3], n
    c.quit()


def search_finds(p, messages):
    m = p.imap("alice")
    m.select(readonly=True)
    for what in (b"haystackword", b"needleinpart", b"epsilon zeta", b"nowhere"):
        want = b" ".join(b"%d" % n for n, text in enumerate(messages, 1) if what in text)
        for key in ("BODY", "TEXT"):
            assert m.search(None, key, '"%s"' % what.decode())[1][0] == want, (what, key)
    assert m.search(None, "SUBJECT", "parts")[1][0] == b" ".join(
        b"%d" % n for n, text in enumerate(messages, 1) if b"Subject: parts" in text)
    m.logout()


p = Instance(set={"store.compress": "yes"}).start()
HAS_ZSTD = b"libzstd" in open(os.path.join(p.build, "penny"), "rb").read()


@tap.test("compressed, plain and large messages read the same")
def _():
    m = p.imap("alice")
    for one in MESSAGES:
        assert m.append("INBOX", None, None, one)[0] == "OK"
    m.logout()
    imap_reads(p, MESSAGES)
    pop3_reads(p, MESSAGES)
    search_finds(p, MESSAGES)


@tap.test("compressed messages take less room")
def _():
    inline = sum(len(t) for t in MESSAGES if len(t) <= 256 * 1024)
    assert (journal_octets(p) < inline / 2) == HAS_ZSTD, (journal_octets(p), inline)


@tap.test("a delivered message has its own header fields in front")
def _():
    p.send("carol@pennypost.test", MESSAGES[1])
    m = p.imap("carol")
    m.select()
    got = m.fetch("1", "(BODY[])")[1][0][1]
    assert got.endswith(MESSAGES[1]) and b"Return-Path" in got[:len(got) - len(MESSAGES[1])], got[:300]
    assert m.fetch("1", "(BODY[]<%d.50>)" % (len(got) - len(MESSAGES[1]) - 20))[1][0][1] == \
        got[len(got) - len(MESSAGES[1]) - 20:][:50]
    m.logout()


@tap.test("copies and a rebuilt index read the same")
def _():
    m = p.imap("alice")
    m.create("copies")
    m.select()
    assert m.copy("1:*", "copies")[0] == "OK"
    m.select("copies", readonly=True)
    for n, want in enumerate(MESSAGES, 1):
        assert m.fetch(str(n), "(BODY.PEEK[])")[1][0][1] == want
    m.logout()
    r = p.run("penny", "rebuild", "alice")
    assert r.returncode == 0, r.stderr
    imap_reads(p, MESSAGES)


@tap.test("turned off again: old ones are read, new ones are stored plain")
def _():
    p.set["store.compress"] = "no"
    p.restart()
    before = journal_octets(p)
    m = p.imap("alice")
    for one in MESSAGES[1:3]:
        assert m.append("INBOX", None, None, one)[0] == "OK"
    m.logout()
    assert journal_octets(p) - before > len(MESSAGES[2]), "not stored plain"
    imap_reads(p, MESSAGES + MESSAGES[1:3])
    pop3_reads(p, MESSAGES + MESSAGES[1:3])
    search_finds(p, MESSAGES + MESSAGES[1:3])


@tap.test("check finds nothing wrong")
def _():
    r = p.run("penny", "check", "alice")
    assert r.returncode == 0, (r.stdout, r.stderr)


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
