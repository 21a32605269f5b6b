#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Random kill -9 among all daemons but the supervisor, while mail is delivered and IMAP sessions append, set flags,
copy and expunge. Afterwards every acknowledged message and flag must be there, no acknowledged delivery twice, and
bystander sessions (of users who are worked on, and of one who is not) must never have dropped.

PENNY_KILLS (default 1000) and PENNY_SEED choose how much and which."""
import glob
import imaplib
import os
import random
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import DOMAIN, Instance, PASSWORD, Tap

KILLS = int(os.environ.get("PENNY_KILLS", "1000"))
SEED = int(os.environ.get("PENNY_SEED", str(random.randrange(1 << 30))))
PACE_S = 0.045
USERS = ["u0", "u1", "u2"]

tap = Tap()
print("# seed %d, %d kills" % (SEED, KILLS), flush=True)
stop = threading.Event()
lock = threading.Lock()
acked = {u: {} for u in USERS}          # unique id -> wanted: "", "flagged" or "gone"
tried = {u: set() for u in USERS}       # every id that was ever sent
stalls = []                             # seconds an operation of a surviving session took
errors = []


def message(ident):
    return b"From: a@example.org\r\nSubject: %s\r\nX-Id: %s\r\n\r\n%s\r\n" % (
        ident.encode(), ident.encode(), b"x" * random.randrange(10, 6000))


def deliverer(p, n):
    """Delivers by SMTP for ever; what got 250 is acknowledged."""
    k = 0
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", p.smtp_port), 20) as sock:
                f = sock.makefile("rwb")

                def cmd(data):
                    f.write(data)
                    f.flush()
                    while True:
                        line = f.readline()
                        if not line:
                            raise ConnectionError("gone")
                        if line[3:4] != b"-":
                            return line
                if not f.readline().startswith(b"220"):
                    continue
                cmd(b"EHLO kill.test\r\n")
                for _ in range(50):
                    if stop.is_set():
                        break
                    user = random.choice(USERS)
                    ident = "smtp%d-%d" % (n, k)
                    k += 1
                    with lock:
                        tried[user].add(ident)
                    if not cmd(b"MAIL FROM:<a@example.org>\r\n").startswith(b"250"):
                        break
                    if not cmd(b"RCPT TO:<%s@%s>\r\n" % (user.encode(), DOMAIN.encode())).startswith(b"250"):
                        cmd(b"RSET\r\n")
                        continue
                    if not cmd(b"DATA\r\n").startswith(b"354"):
                        break
                    if cmd(message(ident) + b".\r\n").startswith(b"250"):
                        with lock:
                            acked[user][ident] = ""
        except (OSError, ConnectionError):
            time.sleep(0.01)


def imap_worker(p, n):
    """Appends, flags, copies and expunges; a tagged OK is an acknowledgement. An expunge that was sent but not
    answered leaves the message in doubt."""
    user = USERS[n % len(USERS)]
    k = 0
    while not stop.is_set():
        try:
            m = p.imap(user, timeout=20)
            m.select()
            while not stop.is_set():
                ident = "imap%d-%d" % (n, k)
                k += 1
                with lock:
                    tried[user].add(ident)
                typ, data = m.append("INBOX", "", None, message(ident))
                if typ != "OK":
                    continue
                uid = re.search(rb"APPENDUID \d+ (\d+)", data[0]).group(1)
                with lock:
                    acked[user][ident] = ""
                if k % 3 == 0:
                    typ, _ = m.uid("STORE", uid, "+FLAGS.SILENT", r"(\Flagged Kw%d)" % (n % 5))
                    if typ == "OK":
                        with lock:
                            acked[user][ident] = "flagged"
                if k % 7 == 0:
                    with lock:
                        acked[user][ident] = "doubt"
                    if m.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)")[0] == "OK" and \
                            m.uid("EXPUNGE", uid)[0] == "OK":
                        with lock:
                            acked[user][ident] = "gone"
            m.logout()
        except (OSError, ConnectionError, imaplib.IMAP4.error):
            time.sleep(0.01)


def server_pid(p, port):
    """The process at the other end of our connection from local port `port`."""
    inodes = set()
    with open("/proc/net/tcp") as f:
        for line in f:
            x = line.split()
            if x[2].endswith(":%04X" % port) and x[1].startswith("0100007F"):
                inodes.add("socket:[%s]" % x[9])
    for pid in p.pids():
        for fd in glob.glob("/proc/%d/fd/*" % pid):
            try:
                if os.readlink(fd) in inodes:
                    return pid
            except OSError:     # closed meanwhile
                pass
    raise AssertionError("no process for port %d" % port)


def bystander(p, m, user):
    """Works in its session all the time; it must never drop and never hang."""
    n = 0
    while not stop.is_set():
        begin = time.monotonic()
        try:
            m.noop()
            n += 1
            if user == "u0" and n % 5 == 0:
                m.status("INBOX", "(MESSAGES UIDNEXT)")
                m.append("Side", "", None, b"Subject: side\r\n\r\nx\r\n")
        except Exception as e:          # any failure is the finding
            errors.append("bystander of %s: %r" % (user, e))
            return
        stalls.append(time.monotonic() - begin)
        time.sleep(0.02)


def killer(p, spared):
    rng = random.Random(SEED)
    killed = {}
    done = 0
    while done < KILLS and not errors:
        time.sleep(PACE_S * rng.uniform(0.3, 1.7))
        victims = [x for x in p.pids() if x not in spared]
        if not victims:
            continue
        pid = rng.choice(victims)
        try:
            with open("/proc/%d/comm" % pid) as f:
                name = f.read().strip()
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
        killed[name] = killed.get(name, 0) + 1
        done += 1
    return killed


def found(p, user):
    """ident -> list of flags of each copy, from a fresh session."""
    m = p.imap(user, timeout=60)
    m.select(readonly=True)
    typ, data = m.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (X-ID)])")
    assert typ == "OK"
    got = {}
    for item in data:
        if isinstance(item, tuple):
            ident = item[1].split(b":", 1)[1].strip().decode()
            got.setdefault(ident, []).append(item[0].decode())
    m.logout()
    return got


with Instance(users=3, set={"auth.fail_delay": "1s"}) as p:
    sessions = {}
    for user in ["alice", "u0", "u0", "u1"]:
        m = p.imap(user, timeout=20)
        m.create("Side")
        m.select()
        sessions.setdefault(user, []).append(m)
    spared = {server_pid(p, m.sock.getsockname()[1]) for ms in sessions.values() for m in ms}
    threads = [threading.Thread(target=bystander, args=(p, m, u)) for u, ms in sessions.items() for m in ms]
    threads += [threading.Thread(target=deliverer, args=(p, n)) for n in range(2)]
    threads += [threading.Thread(target=imap_worker, args=(p, n)) for n in range(3)]
    supervisor = p.pid
    for t in threads:
        t.start()
    begin = time.monotonic()
    killed = killer(p, spared)
    took = time.monotonic() - begin
    stop.set()
    for t in threads:
        t.join(60)
    print("# killed in %.0f s: %s" % (took, killed))
    print("# acknowledged: %s" % {u: len(acked[u]) for u in USERS})
    stalls.sort()
    if stalls:
        print("# bystanders: %d operations, median %.1f ms, 99%% %.0f ms, worst %.0f ms" % (
            len(stalls), stalls[len(stalls) // 2] * 1e3, stalls[len(stalls) * 99 // 100] * 1e3, stalls[-1] * 1e3))
    tap.ok(sum(killed.values()) == KILLS, "all kills were done", killed)
    tap.ok(not any(t.is_alive() for t in threads), "nobody hangs")
    tap.ok(not errors, "no session of others dropped", errors)
    tap.ok(p.pid == supervisor, "the supervisor is the same")
    deadline = time.monotonic() + 10
    while True:
        try:
            after = {u: found(p, u) for u in USERS}
            break
        except (OSError, ConnectionError, imaplib.IMAP4.error):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    for u in USERS:
        lost = [i for i, want in acked[u].items() if want in ("", "flagged") and i not in after[u]]
        back = [i for i, want in acked[u].items() if want == "gone" and i in after[u]]
        unflagged = [i for i, want in acked[u].items() if want == "flagged" and i in after[u] and
                     not re.search(r"\\Flagged.*Kw|Kw\d.*\\Flagged", after[u][i][0])]
        twice = [i for i in after[u] if len(after[u][i]) > 1]
        unknown = [i for i in after[u] if i not in tried[u]]
        tap.ok(len(acked[u]) > 20, "%s: enough was acknowledged to mean something" % u, len(acked[u]))
        tap.ok(not lost, "%s: nothing acknowledged is lost" % u, lost[:10])
        tap.ok(not unflagged, "%s: no acknowledged flag is lost" % u, unflagged[:10])
        tap.ok(not back, "%s: what was expunged stays away" % u, back[:10])
        tap.ok(not twice, "%s: nothing is there twice" % u, twice[:10])
        tap.ok(not unknown, "%s: nothing is there that nobody sent" % u, unknown[:10])
    for u in USERS + ["alice"]:
        r = p.run("penny", "check", u)
        tap.ok(r.returncode == 0, "%s: the store is sound" % u, r.stdout + r.stderr)
tap.done()
