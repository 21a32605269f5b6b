# SPDX-License-Identifier: ISC
"""The LMTP dialogue (RFC 2033), folders in addresses, aliases, and octets as they come back by POP3 (L01 to L04)."""
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap, Wire

tap = Tap()


def session(p, unix=False):
    if unix:
        s = socket.socket(socket.AF_UNIX)
        s.connect(p.lmtp_sock)
        w = Wire(s)
    else:
        w = p.connect(p.lmtp_port)
    assert b" LMTP " in w.reply()[0]
    assert w.smtp(b"LHLO client.example")[-1].startswith(b"250 ")
    return w


def send(w, rcpts, text, sender=b"a@b.example"):
    """The reply to each RCPT, and to each of those accepted."""
    assert w.smtp(b"MAIL FROM:<%s>" % sender)[0].startswith(b"250 ")
    first = [w.smtp(b"RCPT TO:<%s>" % r)[0] for r in rcpts]
    if not any(r.startswith(b"250") for r in first):
        w.smtp(b"RSET")
        return first, []
    assert w.smtp(b"DATA")[0].startswith(b"354 ")
    w.send(text + b".\r\n")
    return first, [w.reply()[0] for r in first if r.startswith(b"250")]


def take_all(p, user):
    """The user's messages by POP3, then deleted."""
    m = p.pop3(user)
    texts = []
    for i in range(len(m.list()[1])):
        texts.append(b"".join(line + b"\r\n" for line in m.retr(i + 1)[1]))
        m.dele(i + 1)
    m.quit()
    return texts


def counts(p, *users):
    return [len(take_all(p, u)) for u in users]


ALIASES = """\
postmaster: root
root: root, alice
team: alice, bob
everybody: team, "carol", missing
loop: loop2
loop2: loop
cmd: "|touch /tmp/pennypost-owned"
file: /tmp/pennypost-owned
inc: :include:/etc/passwd
mixed: alice, "|touch /tmp/pennypost-owned"
far: alice@elsewhere.example
filed: bob+Archive
"""

p = Instance(users=40)
aliases = os.path.join(p.dir, "aliases")
with open(aliases, "w") as f:
    f.write(ALIASES)
os.chmod(aliases, 0o644)
p.set["deliver.aliases"] = aliases
p.set["deliver.recipients_max"] = "100"

with p:

    @tap.test("LHLO, and the greetings of SMTP are refused")
    def _():
        with session(p, unix=True) as w:
            lines = [x[4:] for x in w.smtp(b"LHLO x")]
            assert {b"PIPELINING", b"8BITMIME", b"ENHANCEDSTATUSCODES"} <= set(lines), lines
            for line, want in ((b"EHLO x", b"500 "), (b"HELO x", b"500 "), (b"LHLO", b"501 "), (b"FOO", b"500 "),
                               (b"DATA", b"503 "), (b"RCPT TO:<alice>", b"503 "), (b"NOOP", b"250 "),
                               (b"VRFY x", b"252 "), (b"BDAT 1", b"500 "), (b"MAIL FROM:<a@b", b"501 "),
                               (b"MAIL FROM:<a@b> SIZE=99999999999", b"552 "), (b"MAIL FROM:<a@b> X=y", b"555 "),
                               (b"\x00", b"500 "), (b"LHLO a\rb", b"500 ")):
                assert w.smtp(line)[0].startswith(want), line
            assert w.smtp(b"QUIT")[0].startswith(b"221 ")
            assert w.at_end()
        w = p.connect(p.lmtp_port)
        w.reply()
        assert w.smtp(b"MAIL FROM:<a@b>")[0].startswith(b"503 ")

    @tap.test("one reply for each recipient; a message comes back as it was (S11)")
    def _():
        counts(p, "alice", "bob", "carol")
        text = (b"From: a@b.example\r\nSubject: octets\r\n\r\n..a line with a dot\r\n...\r\n" +
                bytes(c for c in range(1, 256) if c not in (10, 13)) + b"\r\n\r\n")
        with session(p) as w:
            first, last = send(w, [b"alice@pennypost.test", b"nobody", b"bob"], text)
            assert [r[:9] for r in first] == [b"250 2.1.5", b"550 5.1.1", b"250 2.1.5"], first
            assert [r[:9] for r in last] == [b"250 2.0.0"] * 2, last
        want = text.replace(b"\r\n..", b"\r\n.")
        for user, to in (("alice", b"alice@pennypost.test"), ("bob", b"bob")):
            texts = take_all(p, user)
            assert len(texts) == 1 and texts[0].endswith(b"\r\n" + want), (user, texts)
            head = texts[0][:-len(want)]
            assert head.startswith(b"Return-Path: <a@b.example>\r\nDelivered-To: " + to + b"\r\n"), head
            assert b" with LMTP id " in head, head

    @tap.test("many recipients, each once, twenty more stores than stay open")
    def _():
        with session(p) as w:
            rcpts = [b"u%d@pennypost.test" % i for i in range(40)] + [b"u0", b"u0+x", b"U1@localhost"]
            first, last = send(w, rcpts, b"Subject: to all\r\n\r\nx\r\n", b"")
            assert all(r.startswith(b"250 ") for r in first + last) and len(last) == 43, (first, last)
        assert counts(p, *["u%d" % i for i in range(40)]) == [2] + [1] * 39

    @tap.test("more recipients than the limit: 452, the rest is delivered (S19)")
    def _():
        with session(p) as w:
            first, last = send(w, [b"u%d+%d" % (i % 40, i) for i in range(120)], b"\r\nx\r\n")
            assert [r[:3] for r in first] == [b"250"] * 100 + [b"452"] * 20
            assert len(last) == 100 and all(r.startswith(b"250 ") for r in last)
        take_all(p, "u0")

    @tap.test("user+folder files into the folder, or INBOX when there is none")
    def _():
        m = p.imap("carol")
        for name in ("Lists", "Lists/dev", "Work.old"):
            assert m.create(name)[0] == "OK"
        for folder, box in ((b"Lists", "Lists"), (b"lists", "Lists"), (b"lists.DEV", "Lists/dev"),
                            (b"Lists/dev", "Lists/dev"), (b"work.OLD", "Work.old"), (b"none", "INBOX"),
                            (b"", "INBOX"), (b"inbox", "INBOX")):
            before = int(m.status(box, "(MESSAGES)")[1][0].split()[-1].rstrip(b")"))
            with session(p) as w:
                first, last = send(w, [b"carol+%s@pennypost.test" % folder], b"Subject: f\r\n\r\nx\r\n")
                assert first[0].startswith(b"250 ") and last[0].startswith(b"250 "), (folder, first, last)
            after = int(m.status(box, "(MESSAGES)")[1][0].split()[-1].rstrip(b")"))
            assert after == before + 1, (folder, box, before, after)
        m.logout()

    @tap.test("aliases: lists, loops, lists in lists, a folder")
    def _():
        counts(p, "alice", "bob", "carol")
        with session(p) as w:
            for rcpts, want in (([b"team"], [1, 1, 0]), ([b"everybody"], [1, 1, 1]), ([b"TEAM", b"alice"], [1, 1, 0]),
                                ([b"root"], [1, 0, 0]), ([b"postmaster"], [1, 0, 0]), ([b"filed"], [0, 1, 0]),
                                ([b"team+x@pennypost.test"], [1, 1, 0]), ([b"mixed"], [1, 0, 0])):
                first, last = send(w, rcpts, b"Subject: a\r\n\r\nx\r\n")
                assert all(r.startswith(b"250 ") for r in first + last), (rcpts, first, last)
                assert counts(p, "alice", "bob", "carol") == want, rcpts
            first, _ = send(w, [b"loop"], b"")
            assert first[0].startswith(b"550 5.1.1"), first

    @tap.test("aliases that run or write something are refused and logged (S29)")
    def _():
        with session(p) as w:
            for alias in (b"cmd", b"file", b"inc", b"far"):
                first, _ = send(w, [alias], b"")
                assert first[0].startswith(b"550 5.7.1"), (alias, first)
                p.wait_log("deliver.alias.skipped alias=%s " % alias.decode())
        assert not os.path.exists("/tmp/pennypost-owned")

    @tap.test("a change of the aliases file in place counts at once")
    def _():
        with open(aliases, "a") as f:
            f.write("fresh: bob\n")
        with session(p) as w:
            first, _ = send(w, [b"fresh"], b"\r\nx\r\n")
            assert first[0].startswith(b"250 "), first

    @tap.test("a file put in its place counts after a reload")
    def _():
        with open(aliases + ".new", "w") as f:
            f.write(ALIASES + "fresher: bob\n")
        os.chmod(aliases + ".new", 0o644)
        os.rename(aliases + ".new", aliases)
        os.kill(p.pid, 1)
        end = time.monotonic() + 10
        while True:
            with session(p) as w:
                first, _ = send(w, [b"fresher"], b"\r\nx\r\n")
            if first[0].startswith(b"250 ") or time.monotonic() > end:
                break
            time.sleep(0.2)
        assert first[0].startswith(b"250 "), first

    @tap.test("a client that vanishes leaves nothing (L04, S24)")
    def _():
        counts(p, "alice")
        for cut in (b"", b"Subject: x\r\n", b"Subject: x\r\n\r\n" + b"y" * 600000, b"Subject: x\r\n\r\nz\r\n.",
                    b"Subject: x\r\n\r\nz\r\n.\r"):
            with session(p) as w:
                w.smtp(b"MAIL FROM:<a@b>")
                w.smtp(b"RCPT TO:<alice>")
                w.smtp(b"DATA")
                w.send(cut)
        time.sleep(0.5)
        assert counts(p, "alice") == [0]
        large = os.path.join(p.store("alice"), "large")
        left = [f for _, _, files in os.walk(large) for f in files] if os.path.isdir(large) else []
        assert not left, left

    @tap.test("pipelined messages, one after the other in one segment")
    def _():
        counts(p, "bob")
        one = b"MAIL FROM:<a@b>\r\nRCPT TO:<bob>\r\nDATA\r\nSubject: p\r\n\r\nx\r\n.\r\n"
        with session(p) as w:
            w.send(one * 20 + b"QUIT\r\n")
            codes = [w.reply()[0][:3] for _ in range(81)]
            assert codes == [b"250", b"250", b"354", b"250"] * 20 + [b"221"], codes
        assert counts(p, "bob") == [20]

    @tap.test("the log has a line for every message filed, and nothing forged in it (S31)")
    def _():
        m = re.findall(r" deliver\.filed user=(\S+) folder=(\S*) uid=(\d+) from=(\S+) to=(\S+) ", p.logs())
        assert len(m) > 50, m[-3:]

tap.done()
