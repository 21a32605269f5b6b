#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""penny check beside running sessions finds nothing wrong where nothing is; a store that is damaged while sessions are open
goes on serving what was not hit, and penny check --repair puts it right beside them."""
import glob
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()
SEED = int(os.environ.get("PENNY_SEED", str(random.randrange(1 << 30))))
random.seed(SEED)
print("# seed %d" % SEED, flush=True)
EX_DATAERR = 65


def penny(p, *args, rc=0):
    r = p.run("penny", *args)
    assert r.returncode == rc, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout.decode()


def kinds(text):
    """The words for what was found or done."""
    return [line.split("\t")[1] for line in text.splitlines()[:-1]]


def text_of(n, octets):
    return b"Subject: number %d\r\n\r\n" % n + b"%07d 0123456789 abcdefghij\r\n" % n * (octets // 28)


class Work:
    """A session that does everything that changes a store, until it is told to stop."""

    def __init__(self, p, n):
        self.p, self.n, self.stop, self.failed, self.done = p, n, threading.Event(), [], 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            m = self.p.imap("alice")
            box = "w%d" % self.n
            m.create(box)
            m.select(box)
            while not self.stop.is_set():
                self.done += 1
                k = self.done
                m.append(box, "(\\Flagged $L%d)" % (k % 5), None, text_of(k, 300000 if k % 40 == 0 else 200 + k * 37 % 6000))
                if k % 3 == 0:
                    m.store("1:*", "+FLAGS", "(\\Seen)")
                if k % 7 == 0:
                    m.copy("1:*", "INBOX")
                if k % 10 == 0:
                    m.store("1:5", "+FLAGS", "(\\Deleted)")
                    m.expunge()
                if k % 25 == 0:
                    m.create("%s/sub%d" % (box, k))
                if k % 50 == 0:
                    m.rename("%s/sub%d" % (box, k), "%s/other%d" % (box, k))
                    m.delete("%s/other%d" % (box, k))
            m.logout()
        except Exception as e:
            self.failed.append(repr(e))

    def end(self):
        self.stop.set()
        self.thread.join()
        assert not self.failed, self.failed


@tap.test("check beside sessions that change everything finds nothing, again and again", timeout=120)
def _():
    with Instance(users=1) as p:
        p.imap("alice").logout()		# which makes the store
        work = [Work(p, n) for n in range(3)]
        end = time.monotonic() + 10
        n, longest = 0, 0.0
        while time.monotonic() < end:
            begun = time.monotonic()
            assert penny(p, "check", "alice") == "alice\tfindings=0\n"
            longest = max(longest, time.monotonic() - begun)
            n += 1
        for w in work:
            w.end()
        assert n > 3 and sum(w.done for w in work) > 20
        assert penny(p, "check", "alice") == "alice\tfindings=0\n"
        text = penny(p, "check", "--repair", "alice")
        assert text == "alice\tfound=0\trepaired=0\tfindings=0\n", text
        print("# %d checks beside %d changes, the longest took %.2f s" % (n, sum(w.done for w in work), longest))


def octets_of(p, uids):
    """What is served: {uid: octets, or None where the server says that it can't}."""
    m = p.imap("alice")
    assert m.select("INBOX", readonly=True)[0] == "OK"
    got = {}
    for uid in uids:
        typ, data = m.uid("FETCH", str(uid), "(BODY.PEEK[])")
        part = [x for x in data if isinstance(x, tuple)]
        got[uid] = part[0][1] if typ == "OK" and part else None
    m.logout()
    return got


def damage(path, at, octets):
    with open(path, "r+b") as f:
        f.seek(at)
        was = f.read(octets)
        f.seek(at)
        f.write(bytes(b ^ 0x55 for b in was))


@tap.test("damage in a segment: an error for that message only; --repair beside open sessions; then all is well", timeout=120)
def _():
    with Instance(users=1) as p:
        m = p.imap("alice")
        m.select("INBOX")
        wanted = {}
        for n in range(1, 61):
            text = text_of(n, 300000 if n == 30 else 14000)	# too long for doing without an index
            m.append("INBOX", None, None, text)
            wanted[n] = text
        assert octets_of(p, wanted) == wanted
        seg = glob.glob(os.path.join(p.store("alice"), "journal", "*.seg"))[0]
        body = open(seg, "rb").read().index(text_of(20, 14000)[500:900])
        damage(seg, body, 10)
        large = glob.glob(os.path.join(p.store("alice"), "large", "??", "*"))[0]
        os.truncate(large, 1000)

        live = p.imap("alice")
        live.select("INBOX")
        got = octets_of(p, wanted)
        assert [n for n in wanted if got[n] != wanted[n]] == [20, 30], [n for n in wanted if got[n] != wanted[n]]
        assert got[20] is None and got[30] is None
        text = penny(p, "check", "alice", rc=EX_DATAERR)
        assert kinds(text).count("message.lost") == 2 and "journal.damaged" in kinds(text), text
        assert octets_of(p, wanted) == got		# looking changed nothing

        work = Work(p, 9)
        text = penny(p, "check", "--repair", "alice")
        assert kinds(text).count("repaired.message") == 2 and "repaired.segment" in kinds(text), text
        assert text.splitlines()[-1].endswith("findings=0"), text
        assert penny(p, "check", "--repair", "alice").endswith("found=0\trepaired=0\tfindings=0\n")
        work.end()

        # the open session learns of it like of any expunge, and goes on
        assert live.noop()[0] == "OK"
        assert live.response("EXPUNGE")[1] == [b"20", b"29"]
        typ, data = live.uid("FETCH", "21", "(BODY.PEEK[])")
        assert typ == "OK" and data[0][1] == wanted[21]
        live.logout()
        m.logout()
        del wanted[20], wanted[30]
        assert octets_of(p, wanted) == wanted
        aside = os.listdir(os.path.join(p.store("alice"), "damaged"))
        assert sorted(re.sub(r"-\d+-", "-N-", a) for a in aside) == ["%s" % os.path.basename(seg), "message-N-20", "message-N-30"]
        assert "note.repaired" in kinds(penny(p, "check", "alice"))


@tap.test("a segment cut off under open sessions: errors, no death; the index gone: nothing is lost", timeout=120)
def _():
    with Instance(users=1) as p:
        m = p.imap("alice")
        m.select("INBOX")
        wanted = {}
        for n in range(1, 41):
            wanted[n] = text_of(n, 8000)
            m.append("INBOX", None, None, wanted[n])
        typ, data = m.uid("FETCH", "1:*", "(BODY.PEEK[])")	# now the segment is mapped
        assert typ == "OK"
        seg = glob.glob(os.path.join(p.store("alice"), "journal", "*.seg"))[0]
        cut = open(seg, "rb").read().index(wanted[31][:40])
        os.truncate(seg, cut - cut % 4096)
        for n in range(1, 41):
            typ, data = m.uid("FETCH", str(n), "(BODY.PEEK[])")
            part = [x for x in data if isinstance(x, tuple)]
            if n < 29:
                assert typ == "OK" and part[0][1] == wanted[n], n
            else:
                assert not part or part[0][1] == wanted[n], n
        assert m.noop()[0] == "OK"		# the same session, alive
        m.logout()
        text = penny(p, "check", "alice", rc=EX_DATAERR)
        assert "journal.lost" in kinds(text) and "mailbox.counters" in kinds(text), text
        text = penny(p, "check", "--repair", "alice")
        assert text.splitlines()[-1].endswith("findings=0"), text
        m = p.imap("alice")
        assert 27 <= int(m.select("INBOX")[1][0]) <= 31
        m.append("INBOX", None, None, b"Subject: new\r\n\r\nnew\r\n")
        typ, data = m.uid("FETCH", "*", "(UID)")
        assert int(re.search(rb"UID (\d+)", data[0]).group(1)) == 41		# no UID is given again
        m.logout()
        for f in glob.glob(os.path.join(p.store("alice"), "index", "*")):
            try:
                with open(f, "r+b") as out:
                    out.write(os.urandom(min(os.path.getsize(f), 70000)))
            except FileNotFoundError:		# removed by the session that ends just now
                pass
        assert penny(p, "check", "--repair", "alice").splitlines()[-1].endswith("findings=0")
        assert octets_of(p, range(1, 29)) == {n: wanted[n] for n in range(1, 29)}


tap.done()
