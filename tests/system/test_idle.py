#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What happens in a mailbox shows in the other sessions: in IDLE at once, with 30 idlers too, and with NOOP without."""
import os
import re
import select
import socket
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import PASSWORD, Instance, Tap, Wire

tap = Tap()
p = Instance(users=8, set={"imapd.idle_notify": "15m"}).start()
ROUNDS = 30


class Imap:
    """A session with INBOX selected; idle() and done() around waiting."""

    def __init__(self, user, tls=False, box=b"INBOX"):
        self.w = Wire(socket.create_connection(("127.0.0.1", p.imaps_port if tls else p.imap_port), 20))
        if tls:
            self.w.start_tls(p.tls())
        self.w.line()
        self.ok(b"LOGIN %s %s" % (user.encode(), PASSWORD.encode()))
        self.ok(b"SELECT " + box)

    def ok(self, line):
        got = self.w.imap(b"t", line)
        assert got[-1].startswith(b"t OK"), (line, got)
        return got

    def append(self, text=b"Subject: x\r\n\r\nx\r\n"):
        self.w.send(b"t APPEND INBOX {%d+}\r\n%s\r\n" % (len(text), text))
        got = self.w.until(b"t ")
        assert got[-1].startswith(b"t OK"), got
        return got

    def idle(self):
        self.w.send(b"i IDLE\r\n")
        self.w.until(b"+")

    def done(self):
        self.w.send(b"DONE\r\n")
        got = self.w.until(b"i ")
        assert got[-1].startswith(b"i OK"), got
        return got[:-1]

    def close(self):
        self.w.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def measure(name, watcher, act, expect, rounds=ROUNDS):
    """Median time from the start of act to the line that tells of it; each must come within a second."""
    took = []
    for i in range(rounds):
        began = time.monotonic()
        act(i)
        watcher.w.until(expect(i) if callable(expect) else expect)
        took.append(time.monotonic() - began)
    print("# %s: median %.1f ms, slowest %.1f ms (the change itself included)"
          % (name, statistics.median(took) * 1000, max(took) * 1000))
    assert statistics.median(took) < 1 and max(took) < 5, took
    return took


@tap.test("a delivery by SMTP shows in IDLE, with and without TLS")
def _():
    for tls in (False, True):
        user = "u%d" % tls
        with Imap(user, tls) as s:
            s.idle()
            measure("SMTP, %s" % ("TLS" if tls else "plain"), s,
                    lambda i: p.send(user, b"Subject: %d\r\n\r\nx\r\n" % i), lambda i: b"* %d EXISTS" % (i + 1))
            s.done()


@tap.test("APPEND, STORE and EXPUNGE by another session show in IDLE")
def _():
    with Imap("u2") as s, Imap("u2") as other:
        s.idle()
        measure("APPEND", s, lambda i: other.append(), lambda i: b"* %d EXISTS" % (i + 1))
        measure("STORE", s, lambda i: other.ok(b"STORE %d +FLAGS (\\Flagged)" % (i + 1)),
                lambda i: b"* %d FETCH (FLAGS (\\Flagged" % (i + 1))
        measure("EXPUNGE", s, lambda i: (other.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)"), other.ok(b"EXPUNGE")),
                b"* 1 EXPUNGE")
        s.done()
        assert s.ok(b"STATUS INBOX (MESSAGES)")[0] == b"* STATUS INBOX (MESSAGES 0)"


@tap.test("POP3's deletions and MOVE into the mailbox show in IDLE")
def _():
    for i in range(3):
        p.send("u3", b"Subject: %d\r\n\r\nx\r\n" % i)
    with Imap("u3") as s, Imap("u3") as other:
        s.idle()
        pop = p.pop3("u3")
        pop.dele(2)
        pop.quit()
        s.w.until(b"* 2 EXPUNGE")
        other.ok(b"NOOP")
        other.ok(b"CREATE Side")
        other.ok(b"MOVE 1 Side")
        s.w.until(b"* 1 EXPUNGE")
        other.ok(b"SELECT Side")
        other.ok(b"MOVE 1 INBOX")
        s.w.until(b"* 2 EXISTS")
        s.done()


@tap.test("what happened before IDLE is told when it begins, nothing is told twice, nothing in another mailbox")
def _():
    with Imap("u4") as s, Imap("u4") as other:
        other.append()
        s.idle()
        s.w.until(b"* 1 EXISTS")
        other.ok(b"CREATE Else")
        other.w.send(b"t APPEND Else {18+}\r\nSubject: x\r\n\r\nxx\r\n\r\n")
        other.w.until(b"t OK")
        time.sleep(0.5)
        assert select.select([s.w.sock], [], [], 0)[0] == [] and s.w.buf.find(b"EXISTS") < 0, s.w.buf
        other.append()
        other.append()
        s.w.until(b"* 3 EXISTS")
        told = s.done()
        assert not [l for l in told if b"EXISTS" in l], told
        assert not [l for l in s.ok(b"NOOP") if b"EXISTS" in l]


@tap.test("without IDLE: NOOP, and FETCH or STORE without EXPUNGE in between")
def _():
    with Imap("u5") as s, Imap("u5") as other:
        for _ in range(5):
            other.append()
        assert b"* 5 EXISTS" in s.ok(b"NOOP")
        other.ok(b"NOOP")
        other.ok(b"STORE 2 +FLAGS (\\Deleted)")
        other.ok(b"STORE 4 +FLAGS (\\Answered)")
        other.ok(b"EXPUNGE")
        # numbers stay while they may be in use (RFC 3501 s.7.4.1)
        for command in (b"FETCH 1:5 (FLAGS)", b"STORE 1 +FLAGS (\\Seen)", b"SEARCH ALL"):
            got = s.w.imap(b"n", command)
            assert not any(l.endswith(b" EXPUNGE") for l in got), got
        got = s.ok(b"NOOP")
        assert b"* 2 EXPUNGE" in got, got
        assert any(re.match(rb"\* 3 FETCH \(.*\\Answered", l) for l in s.ok(b"FETCH 1:* (FLAGS)")), got


@tap.test("30 idlers on one mailbox all hear of each change, and go on with the same view", timeout=90)
def _():
    idlers = [Imap("u6", tls=i % 3 == 0) for i in range(30)]
    for s in idlers:
        s.idle()
    took = []
    for i in range(10):
        began = time.monotonic()
        p.send("u6", b"Subject: %d\r\n\r\nx\r\n" % i)
        for s in idlers:
            s.w.until(b"* %d EXISTS" % (i + 1))
        took.append(time.monotonic() - began)
    print("# 30 idlers: all know after a median of %.1f ms, slowest %.1f ms"
          % (statistics.median(took) * 1000, max(took) * 1000))
    assert statistics.median(took) < 1
    with Imap("u6") as other:
        other.ok(b"STORE 1:5 +FLAGS.SILENT (\\Deleted)")
        other.ok(b"EXPUNGE")
    for s in idlers:
        for _ in range(5):
            s.w.until((b"* 1 EXPUNGE", b"* 2 EXPUNGE", b"* 3 EXPUNGE", b"* 4 EXPUNGE", b"* 5 EXPUNGE"))
    views = set()
    for s in idlers:
        s.done()
        views.add(tuple(l for l in s.ok(b"UID SEARCH ALL") if l.startswith(b"* SEARCH")))
        s.close()
    assert views == {(b"* SEARCH 6 7 8 9 10",)}, views


@tap.test("8 writers and 5 idlers at once: at the end all have the same messages, UIDs ascending", timeout=90)
def _():
    idlers = [Imap("u7") for _ in range(5)]
    for s in idlers:
        s.idle()
    bad = []

    def write(k):
        try:
            if k % 2:
                for i in range(15):
                    p.send("u7", b"Subject: %d.%d\r\n\r\nx\r\n" % (k, i))
            else:
                with Imap("u7") as s:
                    for i in range(15):
                        s.append(b"Subject: %d.%d\r\n\r\nx\r\n" % (k, i))
        except Exception as e:
            bad.append(repr(e))
    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad, bad
    for s in idlers:
        s.w.until(b"* 120 EXISTS")
        s.done()
        uids = [int(x) for x in s.ok(b"UID SEARCH ALL")[0].split()[2:]]
        assert uids == list(range(1, 121)), uids
        s.close()
    m = p.imap("u7")
    m.select(readonly=True)
    rows = m.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    names = {r[1].strip() for r in rows if isinstance(r, tuple)}
    assert names == {b"Subject: %d.%d" % (k, i) for k in range(8) for i in range(15)}, len(names)
    m.logout()


@tap.test("an idler hears from an idle server now and then, and costs nothing meanwhile", timeout=60)
def _():
    with Instance(set={"imapd.idle_notify": "1s"}) as q:
        w = Wire(socket.create_connection(("127.0.0.1", q.imap_port), 20))
        w.line()
        w.imap(b"a", b"LOGIN alice " + PASSWORD.encode())
        w.imap(b"b", b"SELECT INBOX")
        w.send(b"i IDLE\r\n")
        w.until(b"+")
        for _ in range(3):
            assert w.line().startswith(b"* OK")
        w.close()
    with Imap("alice") as s:
        s.idle()
        pid = int(re.findall(r"imapd\[(\d+)\]: info imap\.login\.ok user=alice", p.logs())[-1])

        def ticks():
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
            with open("/proc/%d/status" % pid) as f:
                switches = sum(int(l.split()[1]) for l in f if "ctxt_switches" in l)
            return int(fields[11]) + int(fields[12]), switches
        before = ticks()
        time.sleep(5)
        after = ticks()
        assert after[0] - before[0] <= 1 and after[1] - before[1] <= 5, (before, after)


tap.done()
