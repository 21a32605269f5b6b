#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What goes wrong around the suite: floods, clients that crawl or vanish, certificates that can't be read, a full disk,
an index that is lost or destroyed, signals, ports that are taken. Each gets a clear answer or a clear log line,
nothing is lost, and nobody else is touched."""
import glob
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import DOMAIN, PASSWORD, ROOT, SRC, Instance, Skip, Tap, Wire

tap = Tap()


def wait_for(what, condition, timeout=20):
    end = time.monotonic() + timeout
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < end, "not in time: " + what
        time.sleep(0.05)


class Imap:
    """A session by hand that is logged in and has INBOX selected."""

    def __init__(self, p, user="alice", tls=False, select=True):
        self.w = Wire(socket.create_connection(("127.0.0.1", p.imaps_port if tls else p.imap_port), 20))
        if tls:
            self.w.start_tls(p.tls())
        assert self.w.line().startswith(b"* OK")
        self.ok(b"LOGIN %s %s" % (user.encode(), PASSWORD.encode()))
        if select:
            self.ok(b"SELECT INBOX")

    def cmd(self, line):
        return self.w.imap(b"t", line)

    def ok(self, line):
        got = self.cmd(line)
        assert got[-1].startswith(b"t OK"), (line, got[-3:])
        return got

    def append(self, text, box=b"INBOX"):
        """The tagged answer."""
        self.w.send(b"t APPEND %s {%d}\r\n" % (box, len(text)))
        line = self.w.until((b"+", b"t "))[-1]
        if line.startswith(b"+"):
            self.w.send(text + b"\r\n")
            line = self.w.until(b"t ")[-1]
        return line

    def bodies(self):
        """Subjects and hashes of all messages of the selected mailbox."""
        got = self.ok(b"FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return [l.split(b": ", 1)[1] for l in got if l.lower().startswith(b"subject: ")]

    def close(self):
        self.w.close()


def smtp_try(p, to, text, port=None):
    """The reply to the message, or the first refusal."""
    with p.connect(port or p.smtp_port, timeout=30) as w:
        w.reply()
        w.smtp(b"LHLO c.example.org" if port == p.lmtp_port else b"EHLO c.example.org")
        for line in (b"MAIL FROM:<a@example.org>", b"RCPT TO:<%s@%s>" % (to.encode(), DOMAIN.encode()), b"DATA"):
            got = w.smtp(line)[-1]
            if not got.startswith((b"2", b"3")):
                return got
        w.send(text + b".\r\n")
        got = w.reply()[-1]
        w.send(b"QUIT\r\n")
        return got


def message(subject, octets=200):
    line = b"0123456789abcdef" * 4 + b"\r\n"
    return b"Subject: %s\r\n\r\n" % subject + line * max(1, octets // len(line))


# -- floods, crawlers, vanishers --

@tap.test("1,000 connections from one address to each service: the rest is refused in the protocol's words, honest "
          "sessions go on and begin", timeout=120)
def _():
    words = {"smtp": (b"220 ", b"421 "), "pop3": (b"+OK", b"-ERR [SYS/TEMP]"), "imap": (b"* OK", b"* BYE")}
    with Instance(set={"process.per_address_max": "40", "process.spare_max": "40"}) as p:
        honest = Imap(p)
        for name, (yes, no) in words.items():
            flood, served, refused = [], 0, 0
            for _ in range(1000):
                w = p.connect(getattr(p, name + "_port"))
                line = w.line()
                assert line.startswith((yes, no)), (name, line)
                served += line.startswith(yes)
                refused += line.startswith(no)
                flood.append(w)
            assert served >= 35 and refused >= 900, (name, served, refused)
            honest.ok(b"NOOP")
            began = time.monotonic()
            # from another address at once; the loopback has many
            with socket.socket() as s:
                s.settimeout(10)
                s.bind(("127.0.0.2", 0))
                s.connect(("127.0.0.1", getattr(p, name + "_port")))
                assert s.recv(100).startswith(yes)
            assert time.monotonic() - began < 5, name
            for w in flood:
                w.close()
        Imap(p).ok(b"NOOP")


@tap.test("one octet now and then, or none: cut in time in the protocol's words; half a handshake too", timeout=60)
def _():
    limits = {"imapd.login_timeout": "5s", "pop3d.login_timeout": "5s", "smtpd.command_timeout": "5s"}
    with Instance(set=limits) as p:
        ports = {"smtp": p.smtp_port, "pop3": p.pop3_port, "imap": p.imap_port, "imaps": p.imaps_port,
                 "pop3s": p.pop3s_port, "submissions": p.submissions_port}
        results, began = {}, time.monotonic()

        def client(name, drip):
            with p.connect(ports[name], timeout=30) as w:
                text = b""
                # a handshake's first octets for TLS, else letters without an end of line
                pieces = [b"\x16", b"\x03", b"\x01", b"\x02"] if name[-1] == "s" else [b"a"] * 100
                w.sock.settimeout(0.5)
                while True:
                    try:
                        got = w.sock.recv(4096)
                        text += got
                        if not got:
                            break
                    except socket.timeout:
                        pass
                    except ConnectionError:
                        break
                    try:
                        if drip and pieces:
                            w.send(pieces.pop(0))
                    except OSError:
                        break
                    if time.monotonic() - began > 40:
                        break
                results[name, drip] = (time.monotonic() - began, text)
        threads = [threading.Thread(target=client, args=(n, d)) for n in ports for d in (False, True)]
        for t in threads:
            t.start()
        Imap(p).ok(b"NOOP")
        for t in threads:
            t.join()
        for (name, drip), (s, text) in results.items():
            assert 3 < s < 35, (name, drip, s)	# a handshake has 20 s
            last = text.splitlines()[-1] if text else b""
            if name == "smtp":
                assert last.startswith(b"421 "), text
            elif name == "imap":
                assert last.startswith(b"* BYE"), text


def vanish(sock):
    """Ends a connection without a word to the peer, as a machine that loses its power does."""
    TCP_REPAIR = 19
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sock.close()


@tap.test("a half-open connection: whose client has vanished without a word ends when it is next written to",
          timeout=60)
def _():
    if not ROOT:
        raise Skip("TCP_REPAIR needs root")
    with Instance(set={"imapd.idle_notify": "2s", "imapd.login_timeout": "5s"}) as p:
        sessions = [Imap(p) for _ in range(5)]
        for s in sessions:
            s.w.send(b"i IDLE\r\n")
            assert s.w.line().startswith(b"+")
        silent = [p.connect(p.imap_port) for _ in range(5)]
        for w in silent:
            assert w.line()
        p.wait_log(r"imap.login.ok")
        try:
            vanish(sessions[0].w.sock)
        except OSError as e:
            raise Skip("no TCP_REPAIR here: %s" % e)
        for s in sessions[1:]:
            vanish(s.w.sock)
        for w in silent:
            vanish(w.sock)
        wait_for("the ends", lambda: len(re.findall(r"imap\.end ", p.logs())) >= 5, 30)
        Imap(p).ok(b"NOOP")


# -- certificates --

def cert_files(p):
    with open(p.conf) as f:
        text = f.read()
    return [re.search(r"(?m)^\s*%s\s*=\s*(\S+)" % k, text).group(1) for k in ("certificate", "key")]


@tap.test("a certificate that can't be read: the start fails, with the file's name", timeout=60)
def _():
    with Instance() as p:
        cert, key = cert_files(p)
        p.stop()
        for path in (cert, key):
            with open(path, "rb") as f:
                good = f.read()
            for how in ("missing", "empty", "garbage", "directory"):
                os.unlink(path)
                if how == "directory":
                    os.mkdir(path)
                elif how != "missing":
                    with open(path, "wb") as f:
                        f.write(b"" if how == "empty" else b"garbage\n")
                r = subprocess.run([os.path.join(p.build, "pennypost"), "-c", p.conf], timeout=20,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                said = r.stdout.decode(errors="replace") + p.logs()
                assert r.returncode != 0, how
                assert path in said, (how, path, said[-500:])
                if how == "directory":
                    os.rmdir(path)
                open(path, "wb").close()
            with open(path, "wb") as f:
                f.write(good)
        p.start()
        Imap(p, tls=True).ok(b"NOOP")


@tap.test("a wrong key of one service stops the start of all, with file, line and the right name", timeout=60)
def _():
    with Instance() as p:
        p.stop()
        with open(p.conf) as f:
            good = f.read()
        for text, words in (("[imapd]\nidle_timeuot = 1h\n", "idle_timeout"),
                            ("[smtpd]\nerrors_max = many\n", "errors_max"),
                            ("[deliver]\nprocess.children_max = 0\n", "children_max"), ("[impad]\n", "imapd")):
            with open(p.conf, "w") as f:
                f.write(good + text)
            line = good.count("\n") + text.count("\n")
            r = subprocess.run([os.path.join(p.build, "pennypost"), "-c", p.conf], timeout=20,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            said = r.stdout.decode(errors="replace")
            assert r.returncode == 78 and "%s:%d: " % (p.conf, line) in said and words in said, (r, line)
        with open(p.conf, "w") as f:
            f.write(good)
        p.start()


@tap.test("a reload with a mismatched, empty or absent pair keeps the old one and names the file; 50 sessions live",
          timeout=90)
def _():
    with Instance() as p:
        cert, key = cert_files(p)
        good = {}
        for path in (cert, key):
            with open(path, "rb") as f:
                good[path] = f.read()
        sessions = [Imap(p, "bob", tls=True) for _ in range(50)]

        def peer_cert():
            with socket.create_connection(("127.0.0.1", p.imaps_port), 20) as s:
                with p.tls().wrap_socket(s, server_hostname="localhost") as t:
                    return t.getpeercert(True)
        before = peer_cert()
        other = os.path.join(p.dir, "other.pem")
        subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, stderr=subprocess.DEVNULL)

        def reload():
            n = len(re.findall(r"supervisor\.reload\.(failed|ok)", p.logs()))
            os.kill(p.pid, signal.SIGHUP)
            wait_for("the reload", lambda: len(re.findall(r"supervisor\.reload\.(failed|ok)", p.logs())) > n)

        def cases():
            yield key, "mismatched", lambda: shutil.copy(other, key)
            yield key, "empty", lambda: open(key, "w").close()
            yield cert, "empty", lambda: open(cert, "w").close()
            yield cert, "absent", lambda: os.unlink(cert)
            yield cert, "dangling link", lambda: (os.unlink(cert), os.symlink("nowhere", cert))
        for path, how, spoil in cases():
            at = len(p.logs())
            spoil()
            reload()
            said = p.logs()[at:]
            assert "reload.failed" in said and (cert in said or key in said), (how, said)
            assert peer_cert() == before, how
            if os.path.lexists(path):
                os.unlink(path)
            with open(path, "wb") as f:
                f.write(good[path])
            os.chmod(path, 0o600 if path == key else 0o644)
        reload()
        assert peer_cert() == before
        for s in sessions:
            s.ok(b"NOOP")
        for s in sessions:
            s.close()


# -- the disk --

class SmallDisk:
    """An instance whose post office is a small file system of its own."""

    def __init__(self, mib=24, inodes=400):
        if not ROOT:
            raise Skip("mounting needs root")
        self.dir = tempfile.mkdtemp(prefix="pennypost-test.")
        os.chmod(self.dir, 0o755)
        self.mail = os.path.join(self.dir, "mail")
        os.mkdir(self.mail, 0o700)
        image = os.path.join(self.dir, "disk")
        with open(image, "wb") as f:
            f.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(inodes), image], check=True)
        r = subprocess.run(["mount", "-o", "loop", image, self.mail], stderr=subprocess.PIPE)
        self.kind = "ext4"
        if r.returncode != 0:
            r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,nr_inodes=%d,mode=700" % (mib, inodes),
                                "pennypost-test", self.mail], stderr=subprocess.PIPE)
            self.kind = "tmpfs"
        if r.returncode != 0:
            shutil.rmtree(self.dir)
            raise Skip("nothing can be mounted here: %s" % r.stderr.decode())
        os.chmod(self.mail, 0o700)
        shutil.rmtree(os.path.join(self.mail, "lost+found"), ignore_errors=True)
        with open(os.path.join(self.mail, ".filler"), "wb") as f:	# what free() gives back in any case
            f.write(b"x" * (2 << 20))
        self.p = None

    def __enter__(self):
        self.p = Instance(dir=self.dir).start()
        return self

    def fill(self):
        """Takes all the space there is."""
        fd = os.open(os.path.join(self.mail, ".filler"), os.O_WRONLY | os.O_APPEND)
        for size in (1 << 20, 4096, 512, 1):
            try:
                while True:
                    os.write(fd, b"x" * size)
            except OSError:
                pass
        os.close(fd)

    def fill_inodes(self):
        try:
            for i in range(100000):
                open(os.path.join(self.mail, ".inode%d" % i), "w").close()
        except OSError:
            pass

    def free(self):
        os.truncate(os.path.join(self.mail, ".filler"), 0)
        for path in glob.glob(os.path.join(self.mail, ".inode*")):
            os.unlink(path)

    def __exit__(self, kind, value, tb):
        try:
            if kind is not None:
                sys.stdout.write("".join("# %s\n" % l for l in self.p.log_tail().splitlines()))
            self.p.close()
        finally:
            for _ in range(50):
                if subprocess.run(["umount", self.mail], stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                subprocess.run(["umount", "-l", self.mail])
            shutil.rmtree(self.dir, ignore_errors=True)


def subjects(p, user):
    s = Imap(p, user)
    got = s.bodies()
    s.close()
    return got


@tap.test("mail until the disk is full: 452, and all that was taken is there; deleting goes on; with room it takes mail again",
          timeout=120)
def _():
    with SmallDisk() as d:
        p = d.p
        reader = Imap(p, "bob")
        taken, refused = [], []
        for i in range(200):
            name = b"m%d" % i
            # of several sizes: in the journal, and in files of their own
            got = smtp_try(p, "alice", message(name, (1000, 100000, 700000)[i % 3]))
            (taken if got.startswith(b"250") else refused).append(name)
            if not got.startswith(b"250"):
                assert got.startswith(b"452 4.3.1"), got
            if len(refused) > 20:
                break
        assert len(taken) > 20 and refused
        print("# %s: %d messages taken, then %d refused" % (d.kind, len(taken), len(refused)))
        d.fill()
        for port in (p.smtp_port, p.lmtp_port):
            assert smtp_try(p, "alice", message(b"no", 200000), port).startswith(b"452 4.3.1")
        assert subjects(p, "alice") == taken
        reader.ok(b"NOOP")
        s = Imap(p)
        got = s.append(message(b"appended", 500000))
        assert got.startswith((b"t NO [OVERQUOTA]", b"t NO [LIMIT]")), got
        s.ok(b"NOOP")
        # Reading goes on: every octet is there.
        got = s.ok(b"FETCH 1:* BODY.PEEK[]")
        assert sum(len(l) for l in got) > 2000000
        # Deleting too, for which a little is kept back.
        s.ok(b"STORE 1:3 +FLAGS.SILENT (\\Deleted)")
        s.ok(b"EXPUNGE")
        assert s.bodies() == taken[3:]
        s.close()
        d.free()
        wait_for("room again", lambda: smtp_try(p, "alice", message(b"after")).startswith(b"250"), 20)
        assert subjects(p, "alice") == taken[3:] + [b"after"]


@tap.test("a full disk: POP3 reads and deletes, IMAP logs in, new users get a temporary answer; then all is well",
          timeout=120)
def _():
    with SmallDisk() as d:
        p = d.p
        for user in ("alice", "bob"):
            for i in range(5):
                assert smtp_try(p, user, message(b"%s%d" % (user.encode(), i), 50000)).startswith(b"250")
        d.fill()
        # carol has no store yet, and can't have one now
        got = smtp_try(p, "carol", message(b"first"))
        assert got.startswith((b"451", b"452")), got
        with p.connect(p.imap_port) as w:
            w.line()
            got = w.imap(b"a", b"LOGIN carol " + PASSWORD.encode())[-1]
            assert got.startswith((b"a NO", b"* BYE")) and b"AUTHENTICATIONFAILED" not in got, got
        with p.connect(p.pop3_port) as w:
            w.line()
            w.cmd(b"USER alice")
            assert w.cmd(b"PASS " + PASSWORD.encode()).startswith(b"+OK")
            assert w.cmd(b"STAT").startswith(b"+OK 5 ")
            for i in range(1, 6):
                w.send(b"RETR %d\r\n" % i)
                lines = w.until(b".")
                assert lines[0].startswith(b"+OK") and len(lines) > 700
            assert w.cmd(b"DELE 1").startswith(b"+OK")
            assert w.cmd(b"DELE 2").startswith(b"+OK")
            got = w.cmd(b"QUIT")
            gone = 2 if got.startswith(b"+OK") else 0
            assert gone or got.startswith(b"-ERR [SYS/TEMP]"), got
        print("# POP3 deletes on a full disk: %s" % ("yes" if gone else "no"))
        s = Imap(p, "bob")
        assert len(s.bodies()) == 5
        for command in (b"CREATE New", b"COPY 1:5 INBOX"):
            got = s.cmd(command)[-1]
            assert got.startswith((b"t OK", b"t NO")), got
        s.ok(b"SEARCH TEXT abcdef")
        copies = len(s.bodies()) - 5
        assert copies in (0, 5)
        s.close()
        d.free()
        for user in ("alice", "bob", "carol"):
            wait_for("room again", lambda: smtp_try(p, user, message(b"last")).startswith(b"250"), 20)
        assert subjects(p, "alice") == [b"alice%d" % i for i in range(gone, 5)] + [b"last"]
        assert subjects(p, "bob") == [b"bob%d" % i for i in range(5)] * (2 if copies else 1) + [b"last"]
        assert subjects(p, "carol") == [b"last"]


@tap.test("no inodes left, then a read-only disk: refused, read, and well again", timeout=120)
def _():
    with SmallDisk() as d:
        p = d.p
        for i in range(3):
            assert smtp_try(p, "alice", message(b"a%d" % i)).startswith(b"250")
        d.fill_inodes()
        got = smtp_try(p, "alice", message(b"large", 700000))	# a file of its own
        assert got.startswith(b"452 4.3.1"), got
        got = smtp_try(p, "carol", message(b"first"))
        assert got.startswith((b"451", b"452")), got
        assert subjects(p, "alice")[:3] == [b"a0", b"a1", b"a2"]
        d.free()
        wait_for("inodes", lambda: smtp_try(p, "carol", message(b"first")).startswith(b"250"), 20)
        if d.kind != "ext4":
            return
        subprocess.run(["mount", "-o", "remount,ro", d.mail], check=False, stderr=subprocess.DEVNULL)
        with open("/proc/mounts") as f:
            if not re.search(r" %s ext4 ro" % re.escape(d.mail), f.read()):
                subprocess.run(["mount", "-o", "remount,ro,force", d.mail], stderr=subprocess.DEVNULL)
                return		# busy for writing: nothing to test
        got = smtp_try(p, "alice", message(b"no"))
        assert got.startswith(b"4"), got
        subprocess.run(["mount", "-o", "remount,rw", d.mail], check=True)
        wait_for("writing", lambda: smtp_try(p, "alice", message(b"yes")).startswith(b"250"), 20)
        assert subjects(p, "alice")[-1] == b"yes"


# -- the index --

def mailbox_state(s):
    """All that an index knows: UIDs, flags, MODSEQ, sizes, envelopes; UIDVALIDITY and UIDNEXT."""
    rows = [l for l in s.ok(b"FETCH 1:* (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE ENVELOPE)")
            if l.startswith(b"* ")]
    rows = [re.sub(rb" ?\\Recent", b"", r).replace(b"( ", b"(") for r in rows if b"FETCH" in r]
    return rows, s.ok(b"STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")[0], \
        sorted(l for l in s.ok(b'LIST "" *') if l.startswith(b"* LIST"))


def grow(p, user):
    """A mailbox whose index is in use, with flags, keywords, gaps and a second mailbox."""
    s = Imap(p, user)
    for i in range(60):
        assert s.append(message(b"i%d" % i, 20000)).startswith(b"t OK")
    s.ok(b"STORE 1:20 +FLAGS.SILENT (\\Seen)")
    s.ok(b"STORE 11:30 +FLAGS.SILENT (\\Flagged $Forwarded)")
    s.ok(b"STORE 5,15,25 +FLAGS.SILENT (\\Deleted)")
    s.ok(b"EXPUNGE")
    s.ok(b"CREATE Other")
    s.ok(b"COPY 2:9 Other")
    s.ok(b"SELECT INBOX")
    state = mailbox_state(s)
    s.ok(b"LOGOUT")
    return state


def remove(path):
    """A file or a directory that others may be tidying up at the same time."""
    while os.path.lexists(path):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def garbage(path, rnd):
    size = max(os.path.getsize(path), 1)
    with open(path, "r+b") as f:
        f.write(rnd.randbytes(size))


def some_bits(path, rnd):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        for _ in range(50 if size else 0):
            at = rnd.randrange(size)
            f.seek(at)
            c = f.read(1)
            f.seek(at)
            f.write(bytes([c[0] ^ 1 << rnd.randrange(8)]))


def zeros(path, rnd):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.write(bytes(size))


def cut(path, rnd):
    os.truncate(path, rnd.randrange(os.path.getsize(path) + 1))


@tap.test("an index that is lost: all of it is there again, with the same UIDs, flags and MODSEQ", timeout=120)
def _():
    with Instance() as p:
        state = grow(p, "alice")
        grow(p, "bob")
        neighbour = Imap(p, "bob")
        index = os.path.join(p.store("alice"), "index")
        assert os.listdir(index), "the index is not in use: the test is worth nothing"
        remove(index)
        s = Imap(p)
        assert mailbox_state(s) == state
        # and under a session that has it open
        remove(index)
        assert smtp_try(p, "alice", message(b"meanwhile")).startswith(b"250")
        t = Imap(p)
        rows, status, boxes = mailbox_state(t)
        assert rows[:-1] == state[0] and b"meanwhile" in rows[-1] and boxes == state[2]
        t.ok(b"STORE 1 +FLAGS (\\Answered)")
        got = s.cmd(b"NOOP")
        assert got[-1].startswith(b"t OK"), got
        neighbour.ok(b"NOOP")
        assert p.run("penny", "check", "alice").returncode in (0, 64), p.run("penny", "check", "alice")
        for l in p.logs().splitlines():
            assert "signal=" not in l, l


@tap.test("an index that is garbage, has flipped bits, or is cut short: found out, made again; sessions go on",
          timeout=200)
def _():
    rnd = random.Random(int(os.environ.get("PENNY_SEED", "1")))
    with Instance() as p:
        state = grow(p, "alice")
        grow(p, "bob")
        neighbour = Imap(p, "bob")
        index = os.path.join(p.store("alice"), "index")
        tried = 0
        for spoil in (garbage, some_bits, cut):
            for pattern in ("index.*", "log.*", "__db.*", "*"):
                for live in (False, True):
                    s = Imap(p)
                    assert mailbox_state(s) == state, (spoil.__name__, pattern, live)
                    if not live:
                        s.ok(b"LOGOUT")
                    paths = sorted(glob.glob(os.path.join(index, pattern)))
                    if live or spoil is some_bits:
                        # __db.* are shared memory: who changes a bit of these changes the processes' minds
                        paths = [path for path in paths if "__db" not in path]
                    for path in paths:
                        try:
                            spoil(path, rnd)
                        except FileNotFoundError:
                            pass	# who leaves last tidies up
                    tried += len(paths)
                    t = Imap(p)
                    assert mailbox_state(t) == state, (spoil.__name__, pattern, live)
                    t.ok(b"LOGOUT")
                    if live:
                        # it answers, or has been ended; it does not tell tales
                        try:
                            s.w.send(b"q NOOP\r\n")
                            got = s.w.line()
                            assert got.startswith((b"q OK", b"* ")) or got == b"", got
                        except (ConnectionError, socket.timeout) as e:
                            assert not isinstance(e, socket.timeout), "a session hangs"
                        s.close()
                    neighbour.ok(b"NOOP")
        print("# %d files spoilt" % tried)
        assert tried > 12


@tap.test("the control file and the locks are lost, or the control file is garbage: made again from the journal", timeout=60)
def _():
    with Instance() as p:
        state = grow(p, "alice")
        for names in (["ctl"], ["lock", "sync", "maildrop", "wake"], ["ctl", "lock", "sync", "index"]):
            for name in names:
                remove(os.path.join(p.store("alice"), name))
            s = Imap(p)
            assert mailbox_state(s) == state, names
            s.ok(b"LOGOUT")
        rnd = random.Random(1)
        for spoil in (garbage, zeros, cut):
            spoil(os.path.join(p.store("alice"), "ctl"), rnd)
            s = Imap(p)
            assert mailbox_state(s) == state, spoil.__name__
            s.ok(b"LOGOUT")
        assert smtp_try(p, "alice", message(b"after")).startswith(b"250")
        assert subjects(p, "alice")[-1] == b"after"


# -- signals and starts --

@tap.test("SIGHUP under IMAP IDLE, an open DATA and a POP3 session: they go on", timeout=60)
def _():
    with Instance() as p:
        p.send("alice", message(b"one"))
        idle = Imap(p)
        idle.w.send(b"i IDLE\r\n")
        assert idle.w.until(b"+")
        smtp = p.connect(p.smtp_port)
        smtp.reply()
        for line in (b"EHLO c.example.org", b"MAIL FROM:<a@example.org>", b"RCPT TO:<bob@%s>" % DOMAIN.encode()):
            assert smtp.smtp(line)[-1].startswith(b"250")
        assert smtp.smtp(b"DATA")[0].startswith(b"354")
        smtp.send(b"Subject: across\r\n\r\nfirst half\r\n")
        pop = p.connect(p.pop3_port)
        pop.line()
        pop.cmd(b"USER alice")
        assert pop.cmd(b"PASS " + PASSWORD.encode()).startswith(b"+OK")
        for _ in range(3):
            n = p.logs().count("supervisor.reload.ok")
            os.kill(p.pid, signal.SIGHUP)
            wait_for("the reload", lambda: p.logs().count("supervisor.reload.ok") > n)
        smtp.send(b"second half\r\n.\r\n")
        assert smtp.reply()[0].startswith(b"250")
        assert pop.cmd(b"STAT").startswith(b"+OK 1 ")
        p.send("alice", message(b"two"))
        assert idle.w.until(b"* 2 EXISTS")
        idle.w.send(b"DONE\r\n")
        assert idle.w.until(b"i OK")
        assert subjects(p, "bob") == [b"across"]
        for w in (smtp, pop):
            w.close()


@tap.test("SIGTERM: IMAP hears BYE, SMTP 421, a message under way is kept or not acknowledged; nothing remains",
          timeout=60)
def _():
    with Instance(set={"process.drain_timeout": "5s"}) as p:
        idle, quiet = Imap(p), Imap(p, "bob")
        idle.w.send(b"i IDLE\r\n")
        assert idle.w.until(b"+")
        smtp = p.connect(p.smtp_port)
        smtp.reply()
        assert smtp.smtp(b"EHLO c.example.org")[-1].startswith(b"250")
        pop = p.connect(p.pop3_port)
        pop.line()
        pop.cmd(b"USER carol")
        assert pop.cmd(b"PASS " + PASSWORD.encode()).startswith(b"+OK")
        pids, sup = p.pids(), p.pid
        os.kill(sup, signal.SIGTERM)
        assert idle.w.until(b"* BYE")
        assert quiet.w.until(b"* BYE")
        assert smtp.line().startswith(b"421 ")
        assert pop.at_end()
        wait_for("the end", lambda: not any(os.path.exists("/proc/%d" % x) for x in pids), 20)


@tap.test("a second start, and a port that is taken: refused with a reason; the first goes on", timeout=60)
def _():
    with Instance() as p:
        s = Imap(p)
        r = subprocess.run([os.path.join(p.build, "pennypost"), "-c", p.conf], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        assert r.returncode != 0 and ("already running" in r.stdout.decode() + p.logs()), r.stdout
        # another instance that wants one of its ports
        d = tempfile.mkdtemp(prefix="pennypost-test.")
        os.chmod(d, 0o755)
        try:
            q = subprocess.run([os.path.join(SRC, "quickstart"), "--dir", d, "--port-base", str(p.base), "--detach"],
                               env=dict(os.environ, PENNY_BUILD=p.build), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            text = q.stdout.decode(errors="replace")
            assert q.returncode != 0
            assert re.search(r"in use", text) and re.search(r":%d\b" % p.smtp_port + "|" + ":%d" % p.lmtp_port,
                                                            text), text
        finally:
            subprocess.run([os.path.join(SRC, "quickstart"), "--dir", d, "--stop"], stdout=subprocess.DEVNULL)
            shutil.rmtree(d)
        s.ok(b"NOOP")
        p.send("alice", message(b"still"))


tap.done()
