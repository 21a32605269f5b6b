#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""penny backup and penny restore beside running sessions: what was acknowledged before a backup began is in it, octet for
octet; the next one costs what is new; interrupted ones leave the earlier one usable; a user, a mailbox, a message come
back, also as they were at a time; a full disk, damage and planted links are answered for."""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import ROOT, Instance, Skip, Tap

tap = Tap()
SEED = int(os.environ.get("PENNY_SEED", str(random.randrange(1 << 30))))
random.seed(SEED)
print("# seed %d" % SEED, flush=True)
EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_CANTCREAT, EX_NOPERM = 64, 65, 66, 73, 77


def penny(p, *args, rc=0):
    r = p.run("penny", *args)
    assert r.returncode == rc, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout.decode()


def fields(line):
    """{key: number} of a result line."""
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}


def text_of(ident, octets):
    line = b"%s 0123456789abcdef0123456789abcdef\r\n" % ident.encode()
    return b"Subject: %s\r\nMessage-ID: <%s@x>\r\n\r\n" % (ident.encode(), ident.encode()) + \
        line * max(1, octets // len(line))


def messages(p, user, box="INBOX"):
    """{uid: (flags, octets)} as a client sees them, and the UIDVALIDITY."""
    m = p.imap(user)
    assert m.select('"%s"' % box, readonly=True)[0] == "OK"
    validity = int(m.response("UIDVALIDITY")[1][0])
    found = {}
    for part in m.fetch("1:*", "(UID FLAGS BODY.PEEK[])")[1]:
        if isinstance(part, tuple):
            uid = int(re.search(rb"UID (\d+)", part[0]).group(1))
            flags = set(re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).split()) - {b"\\Recent"}
            found[uid] = (flags, part[1])
    m.logout()
    return found, validity


class Load:
    """Sessions that append and flag without pause. acked: {user: {uid: (flags, text)}}; nothing is ever taken back."""

    def __init__(self, p, users, large=True):
        self.p, self.stop, self.lock = p, threading.Event(), threading.Lock()
        self.acked = {u: {} for u in users}
        self.failed = []
        self.threads = [threading.Thread(target=self.run, args=(u, n, large)) for u in users for n in range(2)]
        for t in self.threads:
            t.start()

    def run(self, user, n, large):
        try:
            m = self.p.imap(user)
            m.select()
            k = 0
            while not self.stop.is_set():
                k += 1
                text = text_of("%s-%d-%d" % (user, n, k), 300000 if large and k % 15 == 0 else 100 + k * 97 % 9000)
                flags = {b"\\Flagged", b"$Label"} if k % 3 == 0 else set()
                got = m.append("INBOX", "(%s)" % b" ".join(flags).decode() if flags else None, None, text)
                uid = int(re.search(rb"APPENDUID \d+ (\d+)", got[1][0]).group(1))
                with self.lock:
                    self.acked[user][uid] = (flags, text)
                if k % 4 == 0:
                    assert m.uid("STORE", str(uid), "+FLAGS", "(\\Seen)")[0] == "OK"
                    with self.lock:
                        self.acked[user][uid] = (flags | {b"\\Seen"}, text)
            m.logout()
        except Exception as e:
            self.failed.append(repr(e))

    def snapshot(self, user):
        with self.lock:
            return dict(self.acked[user])

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert not self.failed, self.failed


def holds(found, wanted):
    """What was acknowledged is there; a flag may have come since."""
    for uid, (flags, text) in wanted.items():
        assert uid in found, "UID %d is missing" % uid
        assert found[uid][1] == text, "UID %d has other octets" % uid
        assert found[uid][0] >= flags, (uid, found[uid][0], flags)


@tap.test("backups under load: everything acknowledged before one began is in it, with UID, flags and octets; sessions go "
          "on; the next one costs what is new", timeout=120)
def _():
    with Instance(users=2) as p:
        copy = os.path.join(p.dir, "copy")
        load = Load(p, ["alice", "bob"])
        wanted = []
        for i in range(6):
            time.sleep(0.3)
            wanted = load.snapshot("alice")
            penny(p, "backup", "alice", copy)
            penny(p, "restore", "u0", copy, *(["--replace"] if i else []))
            found, _ = messages(p, "u0")
            holds(found, wanted)
        load.end()
        before = sum(len(t) for _, t in load.acked["alice"].values())
        penny(p, "backup", "alice", copy)
        assert fields(penny(p, "backup", "alice", copy))["octets"] == 0
        m = p.imap("alice")
        m.append("INBOX", None, None, text_of("one", 1000))
        got = fields(penny(p, "backup", "alice", copy))
        assert 1000 < got["octets"] < 6000 and got["large_octets"] == 0, got
        print("# %d messages, %d octets; one message more: %d octets copied" % (len(load.acked["alice"]), before,
                                                                              got["octets"]))
        # the same to the last flag, and the other users' mail as it was
        penny(p, "restore", "u0", copy, "--replace")
        assert messages(p, "u0") == messages(p, "alice")
        holds(messages(p, "bob")[0], load.acked["bob"])
        assert "findings=0" in penny(p, "check", "u0")


@tap.test("killed at any moment and run again: the earlier copy stays usable, the later one is whole", timeout=120)
def _():
    with Instance(users=1) as p:
        copy = os.path.join(p.dir, "copy")
        load = Load(p, ["alice"])
        time.sleep(0.5)
        penny(p, "backup", "alice", copy)
        # how long one takes that costs little: who is killed within that is mostly killed before the end
        begin = time.monotonic()
        penny(p, "backup", "alice", copy)
        whole = time.monotonic() - begin
        n_before, killed = 0, 0
        for i in range(25):
            cmd = [os.path.join(p.build, "penny"), "-c", p.conf, "backup", "alice", copy]
            proc = subprocess.Popen(cmd, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(random.random() * whole)
            os.killpg(proc.pid, signal.SIGKILL)
            killed += proc.wait() != 0
            proc.communicate()
            if i % 5 == 0:
                listed = penny(p, "restore", "--list", copy)
                n = int(re.search(r"^(\d+)\t.*INBOX$", listed, re.M).group(1))
                assert n >= n_before
                n_before = n
        load.end()
        print("# %d of 25 killed before their end" % killed)
        assert killed > 5
        penny(p, "backup", "alice", copy)
        penny(p, "restore", "u0", copy)
        assert messages(p, "u0") == messages(p, "alice")
        assert not [n for n in os.listdir(copy) if n.startswith("scratch")]


@tap.test("a user, a mailbox, a message come back, at the end and at a time; --replace puts the old store aside", timeout=120)
def _():
    with Instance(san=True) as p:
        copy = os.path.join(p.dir, "copy")
        m = p.imap("alice")
        m.create("Work/Plans")
        for i in range(12):
            m.append("Work/Plans", "(\\Seen $Kw)" if i % 2 else None, '"11-Feb-2020 10:00:00 +0000"',
                     text_of("p%d" % i, 400000 if i == 5 else 500))
        was = messages(p, "alice", "Work/Plans")
        penny(p, "backup", "alice", copy)
        time.sleep(0.02)
        at = "%.3f" % time.time()
        iso = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(float(at))) + at[at.index("."):] + "Z"
        time.sleep(0.02)
        m.select("Work/Plans")
        m.uid("STORE", "1:6", "+FLAGS", "(\\Deleted)")
        m.expunge()
        m.close()
        m.append("INBOX", None, None, text_of("later", 100))
        penny(p, "backup", "alice", copy)

        listed = penny(p, "restore", "--list", copy)
        assert "\n6\t3\t" in listed and "Work/Plans" in listed, listed
        assert "12\t6\t" in penny(p, "restore", "--list", copy, "--at", at)
        assert "12\t6\t" in penny(p, "restore", copy, "--list", "--at", iso)
        penny(p, "restore", "--list", copy, "--at", "2001-02-03", rc=EX_NOINPUT)
        for bad in ("yesterday", "2001-02-30", "2001-02-03T25:00:00Z", ""):
            penny(p, "restore", "--list", copy, "--at", bad, rc=EX_USAGE)

        # one message, by UID and by Message-ID; flags, keywords, date and octets as they were
        got = penny(p, "restore", "alice", copy, "--mailbox", "Work/Plans", "--uid", "6", "--at", iso)
        assert "restored\tmessages=1\t" in got, got
        penny(p, "restore", "alice", copy, "--mailbox", "Work/Plans", "--message-id", "<p2@x>", "--at", at, "--to", "Back")
        penny(p, "restore", "alice", copy, "--mailbox", "Work/Plans", "--uid", "6", rc=EX_NOINPUT)
        penny(p, "restore", "alice", copy, "--mailbox", "No/Such", rc=EX_NOINPUT)
        now = messages(p, "alice", "Work/Plans")[0]
        assert now[13] == was[0][6] and len(now) == 7, sorted(now)
        assert list(messages(p, "alice", "Back")[0].values()) == [was[0][3]]
        m = p.imap("alice")
        m.select("Work/Plans")
        assert b"11-Feb-2020 10:00:00 +0000" in m.uid("FETCH", "13", "(INTERNALDATE)")[1][0]
        # a whole mailbox
        got = penny(p, "restore", "alice", copy, "--mailbox", "Work/Plans", "--at", at, "--to", "All")
        assert "messages=12\t" in got
        assert list(messages(p, "alice", "All")[0].values()) == list(was[0].values())

        # the user as he was then: the same UIDs and UIDVALIDITY, and none given twice
        got = p.run("penny", "restore", "alice", copy, "--at", at)
        assert got.returncode == EX_CANTCREAT and b"--replace" in got.stderr
        old = messages(p, "alice", "Work/Plans")
        session = p.imap("alice")
        session.select("Work/Plans")
        got = penny(p, "restore", "alice", copy, "--at", at, "--replace")
        aside = re.search(r"^aside\t(\S+)$", got, re.M).group(1)
        assert messages(p, "alice", "Work/Plans") == was and old[1] == was[1]
        m = p.imap("alice")
        m.select("Work/Plans")
        assert b"[APPENDUID %d 14]" % was[1] in m.append("Work/Plans", None, None, text_of("new", 10))[1][0]
        assert session.noop()[0] == "OK"          # goes on, on the store that was put aside
        assert len(session.uid("SEARCH", "ALL")[1][0].split()) == 7
        assert os.path.isdir(os.path.join(p.dir, "mail", aside))
        assert "findings=0" in penny(p, "check", "alice")
        assert penny(p, "backup", "alice", copy).rstrip().endswith("anew")
        assert "12\t6\t" in penny(p, "restore", "--list", copy, "--at", at)
        # a user whose store is gone altogether
        m.logout()
        session.logout()
        for path in (p.store("alice"), os.path.join(p.dir, "mail", aside)):
            while os.path.exists(path):         # sessions may still be tidying up
                shutil.rmtree(path, ignore_errors=True)
        now = time.time()
        penny(p, "restore", "alice", copy)
        print("# a whole user back in %.0f ms" % ((time.time() - now) * 1000))
        assert len(messages(p, "alice", "Work/Plans")[0]) == 13


@tap.test("--all copies everybody; what is no place for a copy is refused", timeout=60)
def _():
    with Instance() as p:
        m = p.imap("alice")
        m.append("INBOX", None, None, text_of("a", 10))
        p.imap("bob").append("INBOX", None, None, text_of("b", 10))
        everybody = os.path.join(p.dir, "all")
        got = penny(p, "backup", "--all", everybody)
        assert re.search(r"^alice\t.*^bob\t", got, re.M | re.S), got
        assert sorted(os.listdir(everybody)) == ["alice", "bob"]
        assert os.stat(os.path.join(everybody, "alice")).st_mode & 0o77 == 0
        penny(p, "backup", "carol", everybody + "/carol", rc=67)
        office = os.path.join(p.dir, "mail")
        for inside in (office, office + "/a/alice", office + "/a/alice/large", office + "/new"):
            penny(p, "backup", "alice", inside, rc=EX_USAGE)
        link = os.path.join(p.dir, "link")
        os.symlink(everybody, link)
        penny(p, "backup", "alice", link, rc=EX_NOINPUT)
        penny(p, "restore", "--list", link, rc=EX_NOINPUT)
        full = os.path.join(p.dir, "full")
        os.mkdir(full, 0o700)
        with open(full + "/precious", "w") as f:
            f.write("x")
        r = p.run("penny", "backup", "alice", full)
        assert r.returncode in (EX_CANTCREAT, EX_NOPERM) and os.listdir(full) == ["precious"], r
        if ROOT:
            # another's directory, and one that others may write to
            mine = os.path.join(p.dir, "mine")
            os.mkdir(mine, 0o777)
            os.chown(mine, 65534, 65534)
            penny(p, "backup", "alice", mine, rc=EX_NOPERM)
            os.chmod(os.path.join(everybody, "alice"), 0o777)
            penny(p, "backup", "alice", os.path.join(everybody, "alice"), rc=EX_NOPERM)
            assert {os.lstat(os.path.join(top, n)).st_uid for top, d, f in os.walk(everybody + "/bob")
                    for n in d + f} == {os.stat(p.store("bob")).st_uid}
        # a link that was planted in a copy leads nowhere
        outside = os.path.join(p.dir, "outside")
        os.mkdir(outside)
        for name in ("journal", "large"):
            shutil.rmtree(os.path.join(everybody, "bob", name))
            os.symlink(outside, os.path.join(everybody, "bob", name))
        r = p.run("penny", "backup", "bob", everybody + "/bob")
        assert r.returncode != 0 and os.listdir(outside) == [], r
        m.noop()


@tap.test("damage in the copy and in the store is told, and what is sound comes back", timeout=60)
def _():
    with Instance() as p:
        copy = os.path.join(p.dir, "copy")
        m = p.imap("alice")
        for i in range(10):
            m.append("INBOX", None, None, text_of("d%d" % i, 2000))
        penny(p, "backup", "alice", copy)
        was = messages(p, "alice")[0]
        with open(os.path.join(copy, "journal/00000001.seg"), "r+b") as f:
            at = f.read().index(b"d4 0123")
            f.seek(at)
            f.write(b"X")
        r = p.run("penny", "restore", "bob", copy)
        assert r.returncode == EX_DATAERR and b"journal segment 1: damage in 1 places of the copy" in r.stderr, r
        back = messages(p, "bob")[0]
        assert len([u for u in was if back.get(u) == was[u]]) == 9
        assert "findings=0" not in penny(p, "check", "--dir", copy, rc=EX_DATAERR)
        # the last record: the next backup notices and begins anew, keeping what was there
        with open(os.path.join(copy, "journal/00000001.seg"), "r+b") as f:
            f.seek(f.read().index(b"d9 0123"))
            f.write(b"X")
        r = p.run("penny", "backup", "alice", copy)
        assert r.returncode == 0, r
        penny(p, "restore", "carol", copy)
        assert messages(p, "carol")[0] == was
        assert penny(p, "check", "--dir", copy) == "%s\tfindings=0\n" % copy
        # a segment that is missing: nothing is put in place
        os.rename(copy + "/journal/00000001.seg", copy + ".seg")
        penny(p, "restore", "carol", copy, "--replace", rc=74)
        assert messages(p, "carol")[0] == was
        assert not [n for n in os.listdir(os.path.join(p.dir, "mail/c")) if n.endswith(".new")]
        os.rename(copy + ".seg", copy + "/journal/00000001.seg")
        penny(p, "restore", "nosuchuser", copy, rc=67)
        # a large body: told by the message that misses it, not by one that is gone
        for i in range(2):
            m.append("INBOX", None, None, text_of("l%d" % i, 400000))
        m.select()
        m.uid("STORE", "12", "+FLAGS", "(\\Deleted)")
        m.expunge()
        penny(p, "backup", "alice", copy)
        bodies = [os.path.join(top, f) for top, d, files in os.walk(copy + "/large") for f in files]
        gone = [b for b in bodies if b"Subject: l1" in open(b, "rb").read(100)]
        kept = [b for b in bodies if b not in gone]
        os.unlink(gone[0])
        penny(p, "restore", "carol", copy, "--replace")
        assert penny(p, "check", "--dir", copy) == "%s\tfindings=0\n" % copy
        os.rename(kept[0], copy + ".body")
        r = p.run("penny", "restore", "carol", copy, "--replace")
        assert r.returncode == EX_DATAERR and b"INBOX UID 11: " in r.stderr, r
        penny(p, "check", "--dir", copy, rc=EX_DATAERR)
        os.rename(copy + ".body", kept[0])
        # in the store
        m.logout()
        with open(os.path.join(p.store("alice"), "journal/00000001.seg"), "r+b") as f:
            f.seek(f.read().index(b"d2 0123"))
            f.write(b"X")
        r = p.run("penny", "backup", "alice", copy + "2")
        assert r.returncode == EX_DATAERR and b"copied as it is" in r.stderr, r


@tap.test("a full disk where the copy lies: said, the earlier copy usable, and with room it goes on", timeout=60)
def _():
    if not ROOT:
        raise Skip("mounting needs root")
    with Instance() as p:
        disk = tempfile.mkdtemp(prefix="pennypost-test.")
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "pennypost-test", disk],
                           stderr=subprocess.PIPE)
        if r.returncode != 0:
            os.rmdir(disk)
            raise Skip("nothing can be mounted here: %s" % r.stderr.decode())
        try:
            copy = os.path.join(disk, "copy")
            m = p.imap("alice")
            for i in range(10):
                m.append("INBOX", None, None, text_of("f%d" % i, 50000))
            penny(p, "backup", "alice", copy)
            for i in range(20):
                m.append("INBOX", None, None, text_of("g%d" % i, 100000 if i % 2 else 300000))
            penny(p, "backup", "alice", copy, rc=EX_CANTCREAT)
            assert m.noop()[0] == "OK"
            penny(p, "restore", "bob", copy)
            assert len(messages(p, "bob")[0]) == 10
            subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
            penny(p, "backup", "alice", copy)
            penny(p, "restore", "carol", copy)
            assert messages(p, "carol") == messages(p, "alice")
        finally:
            subprocess.run(["umount", "-l", disk])
            os.rmdir(disk)


tap.done()
