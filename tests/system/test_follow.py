#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""penny follow: a copy that is right behind its store; with --sync never behind what was acknowledged, whoever dies, here
and at the other end of a pipe. Without a follower a store that needs one answers for it and loses nothing."""
import fcntl
import imaplib
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import DOMAIN, ROOT, Instance, Skip, Tap

tap = Tap()
SEED = int(os.environ.get("PENNY_SEED", str(random.randrange(1 << 30))))
SECONDS = float(os.environ.get("PENNY_SECONDS", "6"))     # under load, in each test that has one
random.seed(SEED)
print("# seed %d" % SEED, flush=True)


def penny(p, *args, rc=0):
    r = p.run("penny", *args)
    assert r.returncode == rc, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout.decode()


def text_of(ident, octets):
    line = b"%s 0123456789abcdef0123456789abcdef\r\n" % ident.encode()
    return b"Subject: %s\r\n\r\n" % ident.encode() + line * max(1, octets // len(line))


def messages(p, user):
    m = p.imap(user)
    assert m.select(readonly=True)[0] == "OK"
    found = {}
    for part in m.fetch("1:*", "(UID FLAGS BODY.PEEK[])")[1]:
        if isinstance(part, tuple):
            uid = int(re.search(rb"UID (\d+)", part[0]).group(1))
            flags = set(re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).split()) - {b"\\Recent"}
            found[uid] = (flags, part[1])
    m.logout()
    return found


def holds(found, wanted):
    for uid, (flags, text) in wanted.items():
        assert uid in found, "UID %d is missing" % uid
        assert found[uid][1] == text, "UID %d has other octets" % uid
        assert found[uid][0] >= flags, (uid, found[uid][0], flags)


class Follower:
    """penny follow in the background. kill() takes it and all that it started away at once."""

    def __init__(self, p, *args, user="alice", wait=True):
        self.cmd = [os.path.join(p.build, "penny"), "-c", p.conf, "follow", user] + list(args)
        self.start(wait)

    def start(self, wait=True):
        self.proc = subprocess.Popen(self.cmd, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if wait:
            line = self.proc.stdout.readline()
            assert line.startswith(b"following\t"), (line, self.proc.stderr.read())

    def kill(self):
        os.killpg(self.proc.pid, signal.SIGKILL)
        self.proc.communicate()

    def stop(self):
        self.proc.terminate()
        out, err = self.proc.communicate(timeout=20)
        return self.proc.returncode, err


class Load:
    """Sessions that append and flag, and go on after whatever happens to them. acked: {uid: (flags, text)}"""

    def __init__(self, p, user="alice", n=3):
        self.p, self.user, self.stop, self.lock, self.acked, self.refused, self.broken = \
            p, user, threading.Event(), threading.Lock(), {}, 0, 0
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def session(self, n):
        m = self.p.imap(self.user)
        if m.select()[0] != "OK":
            raise imaplib.IMAP4.abort("not now")
        while not self.stop.is_set():
            self.k = getattr(self, "k", 0) + 1
            k = self.k
            text = text_of("%d-%d" % (n, k), 300000 if k % 40 == 0 else 100 + k * 97 % 9000)
            typ, data = m.append("INBOX", None, None, text)
            if typ != "OK":
                self.refused += 1
                assert b"[UNAVAILABLE]" in data[0], data
                continue
            uid = int(re.search(rb"APPENDUID \d+ (\d+)", data[0]).group(1))
            with self.lock:
                self.acked[uid] = (set(), text)
            if k % 4 == 0 and m.uid("STORE", str(uid), "+FLAGS", "(\\Flagged $Mine)")[0] == "OK":
                with self.lock:
                    self.acked[uid] = ({b"\\Flagged", b"$Mine"}, text)
        m.logout()

    def run(self, n):
        while not self.stop.is_set():
            try:
                self.session(n)
            except (OSError, imaplib.IMAP4.error):
                self.broken += 1
                time.sleep(0.01)

    def snapshot(self):
        with self.lock:
            return dict(self.acked)

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def messages_soon(p, f):
    """What is in the store, read while somebody follows."""
    f.start()
    return messages(p, "alice")


def wait_until_free(copy):
    """Until the copy's writer has gone: it may outlive the one who started it for a moment."""
    end = time.monotonic() + 10
    with open(os.path.join(copy, "copy"), "r+") as f:
        while True:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.01)


def silent(wire):
    """What comes within a second and a half."""
    wire.sock.settimeout(1.5)
    try:
        return wire.line()
    except socket.timeout:
        return b""
    finally:
        wire.sock.settimeout(10)


def restored(p, copy, first):
    penny(p, "restore", "u0", copy, *([] if first else ["--replace"]))
    return messages(p, "u0")


@tap.test("a copy follows within milliseconds, catches up after a pause, and costs sessions nothing to speak of", timeout=60)
def _():
    with Instance(users=1) as p:
        copy = os.path.join(p.dir, "copy")
        m = p.imap("alice")
        m.select()
        m.append("INBOX", None, None, text_of("first", 100))
        f = Follower(p, copy)
        lags = []
        for i in range(20):
            before = os.stat(os.path.join(copy, "journal/00000001.seg")).st_size
            m.append("INBOX", None, None, text_of("x%d" % i, 30000))
            began = time.monotonic()
            while os.stat(os.path.join(copy, "journal/00000001.seg")).st_size < before + 30000:
                assert time.monotonic() - began < 5
                time.sleep(0.0005)
            lags.append(time.monotonic() - began)
        print("# lag: median %.1f ms, longest %.1f ms" % (sorted(lags)[10] * 1000, max(lags) * 1000))
        assert f.stop()[0] == 0
        assert m.append("INBOX", None, None, text_of("alone", 100))[0] == "OK"        # not its business
        f.start()
        f.kill()
        assert restored(p, copy, True) == messages(p, "alice")
        # a second writer of the same copy, and another user's
        f.start()
        r = p.run("penny", "backup", "alice", copy)
        assert r.returncode == 75 and b"another process writes this copy" in r.stderr, r
        f.kill()
        p.imap("bob").append("INBOX", None, None, text_of("b", 10))
        r = p.run("penny", "backup", "bob", copy)
        assert r.returncode != 0 and b"another user" in r.stderr, r
        penny(p, "backup", "alice", copy)


@tap.test("--sync under load, followers and sessions killed at any moment: what was acknowledged is in the copy at that "
          "moment", timeout=120)
def _():
    with Instance(users=1) as p:
        copy = os.path.join(p.dir, "copy")
        p.imap("alice").append("INBOX", None, None, text_of("first", 10))
        f = Follower(p, copy, "--sync")
        load = Load(p)
        end = time.monotonic() + SECONDS
        rounds = 0
        while time.monotonic() < end:
            for _ in range(3):
                time.sleep(random.random() * 0.15)
                victims = p.pids("imapd")[1:]
                if victims and random.random() < 0.7:
                    os.kill(random.choice(victims), signal.SIGKILL)
            wanted = load.snapshot()
            f.kill()
            holds(restored(p, copy, rounds == 0), wanted)
            f.start()
            rounds += 1
        load.end()
        wanted = load.snapshot()
        f.kill()
        holds(restored(p, copy, False), wanted)
        print("# %d acknowledged, %d refused, %d connections broken, %d followers killed" %
              (len(wanted), load.refused, load.broken, rounds + 1))
        assert len(wanted) > 50 and rounds >= 3
        penny(p, "follow", "--release", "alice")
        assert "findings=0" in penny(p, "check", "alice")
        penny(p, "backup", "alice", copy)
        assert restored(p, copy, False) == messages(p, "alice")


@tap.test("without its follower a store answers with a temporary error, reads go on, and nothing is lost; then it goes on; "
          "the duty outlives the control file", timeout=120)
def _():
    with Instance(users=1) as p:
        copy = os.path.join(p.dir, "copy")
        m = p.imap("alice")
        m.select()
        m.append("INBOX", None, None, text_of("one", 100))
        p.imap("bob").append("INBOX", None, None, text_of("b", 10))
        f = Follower(p, copy, "--sync", "--wait", "1")
        r = p.run("penny", "follow", "alice", copy + "2", "--sync")
        assert r.returncode == 75 and b"has a follower" in r.stderr, r
        assert m.append("INBOX", None, None, text_of("two", 100))[0] == "OK"
        f.kill()
        began = time.monotonic()
        got = m.append("INBOX", None, None, text_of("three", 100))
        assert got[0] == "NO" and b"[UNAVAILABLE]" in got[1][0], got
        assert 0.9 < time.monotonic() - began < 4
        began = time.monotonic()
        for i in range(10):
            assert m.append("INBOX", None, None, text_of("four", 100))[0] == "NO"
        assert m.uid("STORE", "1", "+FLAGS", "(\\Flagged)")[0] == "NO"
        assert time.monotonic() - began < 2             # at once, and nothing was written
        with socket.create_connection(("127.0.0.1", p.smtp_port), 20) as sock:
            w = sock.makefile("rwb")
            w.readline()
            for line in (b"EHLO x", b"MAIL FROM:<a@example.org>", b"RCPT TO:<alice@%s>" % DOMAIN.encode(), b"DATA"):
                w.write(line + b"\r\n")
                w.flush()
                while w.readline()[3:4] == b"-":
                    pass
            w.write(text_of("mail", 100) + b".\r\n")
            w.flush()
            assert w.readline().startswith(b"4")
        # reading goes on, for him and for others all goes on
        assert m.fetch("1:*", "(FLAGS)")[0] == "OK"
        assert p.imap("bob").append("INBOX", None, None, text_of("b2", 10))[0] == "OK"
        f.start()
        assert m.append("INBOX", None, None, text_of("five", 100))[0] == "OK"
        subjects = [re.match(rb"Subject: (\S+)", t).group(1) for _, t in messages(p, "alice").values()]
        assert subjects.count(b"four") == 0 and subjects.count(b"three") <= 1 and subjects.count(b"mail") == 0, subjects
        assert f.stop()[0] == 0
        # after a reboot, or when the control file is made anew, the duty is there
        m.logout()
        p.stop()
        os.unlink(os.path.join(p.store("alice"), "ctl"))
        p.start()
        m = p.imap("alice")
        assert m.append("INBOX", None, None, text_of("six", 100))[0] == "NO"
        f.start()
        assert m.append("INBOX", None, None, text_of("seven", 100))[0] == "OK"
        f.kill()
        there = restored(p, copy, True)
        holds(there, messages_soon(p, f))
        # ended: on its own feet again, the idle session that waited is told
        f.kill()
        penny(p, "follow", "--release", "alice")
        assert m.append("INBOX", None, None, text_of("eight", 100))[0] == "OK"
        assert not os.path.exists(os.path.join(p.store("alice"), "follow"))


@tap.test("an idle session is told of new mail when the copy has it, not before", timeout=60)
def _():
    with Instance() as p:
        copy = os.path.join(p.dir, "copy")
        m = p.imap("alice")
        m.select()
        m.append("INBOX", None, None, text_of("one", 100))
        f = Follower(p, copy, "--sync", "--wait", "3")
        idle = p.connect(p.imap_port)
        idle.line()
        idle.imap(b"a", b"LOGIN alice penny")
        idle.imap(b"b", b"SELECT INBOX")
        idle.send(b"c IDLE\r\n")
        idle.until(b"+")
        m.append("INBOX", None, None, text_of("two", 100))
        assert idle.until((b"* 2 EXISTS",))
        assert silent(idle) in (b"", b"* 1 RECENT", b"* 0 RECENT")
        f.kill()
        waiter = threading.Thread(target=lambda: m.append("INBOX", None, None, text_of("three", 100)), daemon=True)
        waiter.start()
        assert silent(idle) == b""         # what the copy does not have
        f.start()
        assert idle.until((b"* 3 EXISTS",))
        waiter.join()
        f.kill()


@tap.test("the copy's disk is full: the follower says so and ends, changes wait and fail, with room all goes on", timeout=60)
def _():
    if not ROOT:
        raise Skip("mounting needs root")
    with Instance(users=1) as p:
        disk = os.path.join(p.dir, "disk")
        os.mkdir(disk)
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "pennypost-test", disk],
                           stderr=subprocess.PIPE)
        if r.returncode != 0:
            raise Skip("nothing can be mounted here: %s" % r.stderr.decode())
        try:
            copy = os.path.join(disk, "copy")
            m = p.imap("alice")
            m.select()
            m.append("INBOX", None, None, text_of("first", 100))
            f = Follower(p, copy, "--sync", "--wait", "1")
            acked = 1
            for i in range(60):
                if m.append("INBOX", None, None, text_of("m%d" % i, 100000))[0] != "OK":
                    break
                acked += 1
            assert 5 < acked < 30, acked
            code, err = f.proc.wait(timeout=20), f.proc.communicate()[1]
            assert code == 73 and b"No space" in err, (code, err)
            assert len(restored(p, copy, True)) >= acked
            subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
            f.start()
            assert m.append("INBOX", None, None, text_of("last", 1000))[0] == "OK"
            f.kill()
            assert len(restored(p, copy, False)) in (acked + 1, acked + 2)
        finally:
            subprocess.run(["umount", "-l", disk])


def kill_receivers(copy):
    """Kills who receives into copy; how many. They come and go by themselves."""
    killed = 0
    found = subprocess.run(["pgrep", "-f", "follow --receive %s" % copy], stdout=subprocess.PIPE).stdout.split()
    for pid in map(int, found):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                if b"--exec" in f.read():
                    continue
            os.kill(pid, signal.SIGKILL)
            killed += 1
        except (FileNotFoundError, ProcessLookupError):
            pass
    return killed


@tap.test("at the other end of a pipe: in step under load, the far side killed too; damage on the way is noticed", timeout=120)
def _():
    with Instance(users=1) as p:
        copy = os.path.join(p.dir, "far")
        far = "exec %s/penny -c %s follow --receive %s" % (p.build, p.conf, copy)
        p.imap("alice").append("INBOX", None, None, text_of("first", 400000))
        f = Follower(p, "--exec", far, "--sync")
        load = Load(p, n=2)
        end = time.monotonic() + SECONDS / 2
        rounds = 0
        while time.monotonic() < end:
            time.sleep(0.1 + random.random() * 0.3)
            wanted = load.snapshot()
            if random.random() < 0.5:
                # the far side alone: the near one notices and ends
                until = time.monotonic() + 10
                while not kill_receivers(copy) and time.monotonic() < until:
                    time.sleep(0.05)
                assert f.proc.wait(timeout=20) != 0
                f.proc.communicate()
            else:
                f.kill()
            wait_until_free(copy)
            holds(restored(p, copy, rounds == 0), wanted)
            f.start()
            rounds += 1
        load.end()
        code, err = f.stop()
        assert code == 0, err
        holds(restored(p, copy, False), load.snapshot())
        print("# %d acknowledged, %d rounds" % (len(load.snapshot()), rounds))
        # the stream by hand: what is no frame, is out of order, or was changed on the way ends it
        for hostile in (b"GET / HTTP/1.0\r\n\r\n" + b"x" * 100, struct.pack("<IHHII", 1 << 31, 5, 0, 0, 0), b"\0" * 64,
                        struct.pack("<IHHII", 8, 10, 0, 0, 0) + b"\0" * 8):
            r = subprocess.run([p.build + "/penny", "-c", p.conf, "follow", "--receive", copy], input=hostile,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
            assert r.returncode != 0 and r.stderr, (hostile, r)
        r = subprocess.run([p.build + "/penny", "-c", p.conf, "follow", "alice", "-"], input=b"nonsense" * 50,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        assert r.returncode != 0, r
        holds(restored(p, copy, False), load.snapshot())
        # taking over: the copy is a store
        penny(p, "follow", "--release", "alice")
        p.stop()
        here = p.store("alice")
        shutil.rmtree(here)
        shutil.copytree(copy, here)
        owner = os.stat(copy)
        for top, dirs, files in os.walk(here):
            for name in [""] + files:
                os.chown(os.path.join(top, name), owner.st_uid, owner.st_gid)
        os.chmod(here, 0o700)
        p.start()
        holds(messages(p, "alice"), load.snapshot())
        assert p.imap("alice").append("INBOX", None, None, text_of("on we go", 10))[0] == "OK"


tap.done()
