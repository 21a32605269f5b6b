#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Several sessions work on one mailbox at random. Each keeps its own picture of the mailbox from the untagged answers
alone (EXISTS, EXPUNGE, FETCH), as RFC 3501 section 7.4.1 says a client may, and compares it with what the server says
when asked: sequence numbers, UIDs and flags must agree in every session all the time. Prints its seed (PENNY_SEED)."""
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, PASSWORD, Tap

SEED = int(os.environ.get("PENNY_SEED", str(random.randrange(1 << 30))))
SECONDS = float(os.environ.get("PENNY_SECONDS", "12"))
SESSIONS = 5
FLAGS = [rb"\Seen", rb"\Flagged", rb"\Answered", rb"\Draft", b"$Work", b"$Later"]

tap = Tap()
print("# seed %d" % SEED, flush=True)


class Session:
    def __init__(self, p, n):
        self.rng = random.Random(SEED + n)
        self.w = p.connect(p.imap_port, timeout=30)
        self.w.line()
        self.n = n
        self.tag = 0
        self.uids, self.flags = [], []      # by sequence number; None: not known yet
        self.ops = 0
        self.cmd(b"LOGIN u0 %s" % PASSWORD.encode())
        if n % 2:
            self.cmd(b"ENABLE CONDSTORE")
        self.cmd(b"SELECT INBOX")

    def untagged(self, line):
        m = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)(.*)", line)
        if not m:
            return
        k, what = int(m.group(1)), m.group(2)
        if what == b"EXISTS":
            assert k >= len(self.uids), "EXISTS %d shrinks from %d" % (k, len(self.uids))
            while len(self.uids) < k:
                self.uids.append(None)
                self.flags.append(None)
        elif what == b"EXPUNGE":
            assert not self.numbers, "EXPUNGE during a command that uses sequence numbers"
            assert 1 <= k <= len(self.uids), "EXPUNGE %d of %d" % (k, len(self.uids))
            del self.uids[k - 1]
            del self.flags[k - 1]
        else:
            assert 1 <= k <= len(self.uids), "FETCH %d of %d" % (k, len(self.uids))
            u = re.search(rb"UID (\d+)", m.group(3))
            f = re.search(rb"FLAGS \(([^)]*)\)", m.group(3))
            if u:
                uid = int(u.group(1))
                assert self.uids[k - 1] in (None, uid), "%d was UID %s, now %d" % (k, self.uids[k - 1], uid)
                self.uids[k - 1] = uid
            if f:
                self.flags[k - 1] = frozenset(f.group(1).split()) - {rb"\Recent"}

    def cmd(self, text, literal=None, numbers=False):
        """numbers: no EXPUNGE may come during it (RFC 3501 section 7.4.1)."""
        self.numbers = numbers
        self.tag += 1
        tag = b"t%d " % self.tag
        if literal is None:
            self.w.send(tag + text + b"\r\n")
        else:
            self.w.send(tag + text + b" {%d+}\r\n" % len(literal) + literal + b"\r\n")
        while True:
            line = self.w.line()
            assert line, "session %d dropped" % self.n
            if line.startswith(tag):
                return line[len(tag):]
            self.untagged(line)

    def learn(self):
        """Asks for what is not known, then everything known must be as said."""
        if self.uids and (None in self.uids or None in self.flags):
            ok = self.cmd(b"FETCH 1:%d (UID FLAGS)" % len(self.uids), numbers=True)
            assert ok.startswith((b"OK", b"NO")), ok

    def check(self):
        self.cmd(b"NOOP")
        self.learn()
        before = (list(self.uids), list(self.flags))
        ok = self.cmd(b"FETCH 1:* (UID FLAGS)" if self.uids else b"NOOP", numbers=True)
        assert ok.startswith(b"OK"), ok
        known = [u for u in self.uids if u is not None]
        assert known == sorted(set(known)), "UIDs out of order: %r" % known
        for i, (u, f) in enumerate(zip(*before)):
            if u is not None:
                assert self.uids[i] == u, "UID of %d changed" % (i + 1)

    def some(self):
        """A sequence number and its UID, if it is known."""
        k = self.rng.randrange(len(self.uids))
        return k + 1, self.uids[k]

    def step(self):
        r = self.rng.random()
        self.ops += 1
        if r < 0.22 or len(self.uids) < 3:
            fl = b" ".join(self.rng.sample(FLAGS, self.rng.randrange(3)))
            ok = self.cmd(b"APPEND INBOX (%s)" % fl, literal=b"Subject: s%d\r\n\r\nbody\r\n" % self.ops)
            assert ok.startswith(b"OK"), ok
        elif r < 0.5:
            k, _ = self.some()
            sign = self.rng.choice([b"+", b"-", b""])
            silent = self.rng.choice([b"", b".SILENT"])
            fl = b" ".join(self.rng.sample(FLAGS, self.rng.randrange(1, 3)))
            ok = self.cmd(b"STORE %d %sFLAGS%s (%s)" % (k, sign, silent, fl), numbers=True)
            if silent and ok.startswith(b"OK"):
                self.flags[k - 1] = None            # not told, so to be asked for
        elif r < 0.62:
            k, uid = self.some()
            if uid:
                self.cmd(b"UID STORE %d +FLAGS (\\Deleted)" % uid)
                self.cmd(b"UID EXPUNGE %d" % uid)
        elif r < 0.7:
            k, uid = self.some()
            if uid:
                self.cmd(b"UID %s %d INBOX" % (self.rng.choice([b"COPY", b"MOVE"]), uid))
        elif r < 0.75:
            self.cmd(b"EXPUNGE")
        elif r < 0.85:
            a, b = sorted(self.rng.sample(range(1, len(self.uids) + 1), 2))
            ok = self.cmd(b"FETCH %d:%d (FLAGS UID)" % (a, b), numbers=True)
            assert ok.startswith((b"OK", b"NO")), ok
        elif r < 0.9:
            self.cmd(b"SEARCH FLAGGED", numbers=True)
        elif r < 0.93:
            self.cmd(b"CHECK")
        else:
            self.check()


def work(s, until, errors):
    try:
        while time.monotonic() < until and not errors:
            s.step()
    except Exception as e:          # whatever it is, it is the finding
        errors.append("session %d after %d: %r" % (s.n, s.ops, e))


with Instance(users=1, san=True) as p:
    sessions = [Session(p, n) for n in range(SESSIONS)]
    errors = []
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=work, args=(s, until, errors)) for s in sessions]
    for t in threads:
        t.start()
    for t in threads:
        t.join(SECONDS + 60)
    tap.ok(not errors, "pictures stay right under %d random operations" % sum(s.ops for s in sessions), errors)
    tap.ok(not any(t.is_alive() for t in threads), "nobody hangs")
    pictures = []
    if not errors:
        for s in sessions:
            s.flags = [None] * len(s.uids)
            s.check()
            pictures.append(list(zip(s.uids, s.flags)))
        tap.ok(all(x == pictures[0] for x in pictures), "in the end all see the same", pictures[:2])
        fresh = Session(p, 99)
        fresh.check()
        tap.ok(list(zip(fresh.uids, fresh.flags)) == pictures[0], "and so does a new session")
        tap.ok(len(pictures[0]) > 5, "there was something to see")
    r = p.run("penny", "check", "u0")
    tap.ok(r.returncode == 0, "the store is sound", r.stdout + r.stderr)
tap.done()
