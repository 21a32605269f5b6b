# SPDX-License-Identifier: ISC
"""What the tests under tests/ share: Instance, a suite of its own in a scratch directory, and Tap.

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
    from penny import Instance, Tap

    tap = Tap()

    @tap.test("a message comes back", timeout=30)
    def _():
        with Instance() as p:
            p.send("alice", b"Subject: x\\r\\n\\r\\nhello\\r\\n")
            m = p.imap("alice")
            assert m.select()[1] == [b"1"]

    tap.done()

A test that raises fails, with the exception and the tail of every running instance's logs as diagnosis.
Environment: PENNY_SRC (the source tree), PENNY_BUILD (plain build), PENNY_BUILD_SAN (build with sanitizers),
PENNY_PORT_BASE (where to look for free ports first), PENNY_KEEP=1 (keep scratch directories), PENNY_ONLY (a
regular expression: only tests whose names match are run).
"""
import atexit
import fcntl
import glob
import imaplib
import os
import poplib
import random
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

SRC = os.environ.get("PENNY_SRC") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("PENNY_BUILD") or os.path.join(SRC, "build")
BUILD_SAN = os.environ.get("PENNY_BUILD_SAN") or BUILD
ROOT = os.geteuid() == 0
DOMAIN = "pennypost.test"
PASSWORD = "penny"
PORTS = {"lmtp": 24, "smtp": 25, "pop3": 110, "imap": 143, "submissions": 465, "submission": 587,
         "imaps": 993, "pop3s": 995}

imaplib._MAXLINE = 100 * 1024 * 1024
poplib._MAXLINE = 1024 * 1024

_running = []


def _free(base):
    """True when every port of this base can be bound now."""
    for off in PORTS.values():
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", base + off))
            except OSError:
                return False
    return True


def free_port_base():
    """A port base that nobody uses, and an open lock file that keeps it ours while it is open."""
    first = os.environ.get("PENNY_PORT_BASE")
    bases = [int(first) + 10 * i for i in range(50)] if first else []
    # Below the kernel's range for outgoing connections (32768 and up).
    bases += random.sample(range(12000, 31000, 10), 200)
    for base in bases:
        try:    # as root and as an ordinary user
            lock = open("/tmp/pennypost-test-ports.%d.%d.lock" % (os.geteuid(), base), "a")
        except PermissionError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if _free(base):
            return base, lock
        lock.close()
    raise RuntimeError("no free ports")


class Instance:
    """One suite on loopback, made by ./quickstart. users: number of u0, u1, ...; set: {"section.key": value};
    auth: "passwd" or "pam"; san: run the build with sanitizers; dir: an existing directory to use again.
    Ports are attributes: p.imap_port and so on; p.base is the port base."""

    def __init__(self, users=0, set=None, auth=None, san=False, dir=None):
        self.users, self.set, self.auth, self.san = users, dict(set or {}), auth, san
        self.own_dir = dir is None
        self.dir = dir or tempfile.mkdtemp(prefix="pennypost-test.")
        os.chmod(self.dir, 0o755)
        self.base, self._lock = free_port_base()
        for name, off in PORTS.items():
            setattr(self, name + "_port", self.base + off)
        self.build = BUILD_SAN if san else BUILD
        self.conf = os.path.join(self.dir, "etc/pennypost.conf")
        self.ca = os.path.join(self.dir, "etc/tls/ca.pem")
        self.lmtp_sock = os.path.join(self.dir, "run/lmtp.sock")
        self.started = False
        self._accounts = None

    # -- life --
    def _quickstart(self, *args, timeout=90):
        cmd = [os.path.join(SRC, "quickstart"), "--dir", self.dir, "--port-base", str(self.base)]
        env = dict(os.environ, PENNY_BUILD=self.build)
        r = subprocess.run(cmd + list(args), env=env, timeout=timeout, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return r.returncode, r.stdout.decode(errors="replace")

    def args(self):
        a = []
        if self.users:
            a += ["--users", str(self.users)]
        if self.auth:
            a += ["--auth", self.auth]
        for k, v in self.set.items():
            a += ["--set", "%s=%s" % (k, v)]
        return a

    def start(self):
        if self.auth == "pam" and self._accounts is None:
            # The accounts are the machine's: one instance at a time.
            self._accounts = open("/tmp/pennypost-test-accounts.lock", "a")
            fcntl.flock(self._accounts, fcntl.LOCK_EX)
        rc, text = self._quickstart("--detach", *self.args())
        if rc != 0:
            tail = self.log_tail()
            self.stop()
            raise RuntimeError("quickstart exits %d:\n%s\n%s" % (rc, text, tail))
        self.started = True
        _running.append(self)
        return self

    def stop(self):
        """Stops the suite. Raises when it did not end well."""
        if self in _running:
            _running.remove(self)
        rc, text = self._quickstart("--stop")
        self.started = False
        if rc != 0:
            raise RuntimeError("quickstart --stop exits %d:\n%s" % (rc, text))

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        try:
            self.stop()
        finally:
            self._lock.close()
            if self._accounts is not None:
                self._accounts.close()
            if self.own_dir and not os.environ.get("PENNY_KEEP"):
                shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, tb):
        if kind is not None:
            sys.stdout.write(_comment(self.log_tail()))
        try:
            self.close()
        except Exception as e:
            if kind is None:
                raise
            sys.stdout.write(_comment("while stopping: %s" % e))
        if kind is None:
            reports = self.san_reports()
            assert not reports, reports

    # -- looking inside --
    @property
    def pid(self):
        with open(os.path.join(self.dir, "run/pennypost.pid")) as f:
            return int(f.read())

    def pids(self, name=None):
        """Pids of the supervisor's descendants, of the program `name` ("imapd") or all."""
        parents, names = {}, {}
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat) as f:
                    text = f.read()
            except OSError:
                continue
            pid = int(text.split(" ", 1)[0])
            rest = text.rsplit(")", 1)[1].split()
            if rest[0] == "Z":
                continue
            names[pid] = text.split("(", 1)[1].rsplit(")", 1)[0]
            parents.setdefault(int(rest[1]), []).append(pid)
        found, todo = [], [self.pid]
        while todo:
            kids = parents.get(todo.pop(), [])
            found += kids
            todo += kids
        return [p for p in found if name is None or names[p] == name]

    def logs(self):
        """All log text."""
        text = ""
        for path in sorted(glob.glob(os.path.join(self.dir, "log/*"))):
            with open(path, errors="replace") as f:
                text += f.read()
        return text

    def log_tail(self, lines=40):
        return "\n".join(self.logs().splitlines()[-lines:])

    def wait_log(self, pattern, timeout=10):
        """Waits for a match of the regular expression in the logs."""
        end = time.monotonic() + timeout
        while True:
            m = re.search(pattern, self.logs())
            if m:
                return m
            if time.monotonic() > end:
                raise AssertionError("no %r in the logs" % pattern)
            time.sleep(0.05)

    def san_reports(self):
        """What the sanitizers have complained about, from the logs."""
        text = self.logs()
        m = re.search(r"(ERROR: (Address|Leak)Sanitizer|runtime error:)", text)
        return text[max(0, m.start() - 200):m.start() + 4000] if m else ""

    def store(self, user):
        """The directory of a user's store."""
        return os.path.join(self.dir, "mail", user[0], user)

    def run(self, program, *args, input=None, timeout=60):
        """Runs "penny" or a daemon ("deliver") of this build with -c; returns CompletedProcess."""
        path = os.path.join(self.build, "libexec", program)
        if not os.path.exists(path):
            path = os.path.join(self.build, program)
        return subprocess.run([path, "-c", self.conf] + list(args), input=input, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    # -- clients --
    def tls(self):
        """A client's context that trusts this instance's certificate."""
        return ssl.create_default_context(cafile=self.ca)

    def imap(self, user=None, password=PASSWORD, tls=False, timeout=20):
        m = (imaplib.IMAP4_SSL("localhost", self.imaps_port, ssl_context=self.tls(), timeout=timeout)
             if tls else imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=timeout))
        if user is not None:
            m.login(user, password)
        return m

    def pop3(self, user=None, password=PASSWORD, tls=False, timeout=20):
        m = (poplib.POP3_SSL("localhost", self.pop3s_port, context=self.tls(), timeout=timeout)
             if tls else poplib.POP3("127.0.0.1", self.pop3_port, timeout=timeout))
        if user is not None:
            m.user(user)
            m.pass_(password)
        return m

    def smtp(self, port=None, timeout=20):
        return smtplib.SMTP("127.0.0.1", port or self.smtp_port, timeout=timeout)

    def send(self, to, message, sender="stranger@example.org"):
        """Sends message (bytes with CRLF line ends, taken as they are) to port 25."""
        to = [t if "@" in t else "%s@%s" % (t, DOMAIN) for t in ([to] if isinstance(to, str) else to)]
        with self.smtp() as s:
            s.ehlo("client.example.org")
            code, text = s.mail(sender, ["BODY=8BITMIME"])
            assert code == 250, text
            for t in to:
                code, text = s.rcpt(t)
                assert code == 250, text
            code, text = s.docmd("DATA")
            assert code == 354, text
            if message.startswith(b"."):
                message = b"." + message
            s.send(message.replace(b"\r\n.", b"\r\n..") +
                   (b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"))
            code, text = s.getreply()
            assert code == 250, text

    def connect(self, port, timeout=10):
        """A bare connection, for tests that speak the protocol octet by octet."""
        return Wire(socket.create_connection(("127.0.0.1", port), timeout))


class Wire:
    """A socket with lines. Everything is bytes."""

    def __init__(self, sock):
        self.sock, self.buf = sock, b""

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        """The next line without CRLF; b"" at the end of input."""
        while b"\n" not in self.buf:
            got = self.sock.recv(65536)
            if not got:
                rest, self.buf = self.buf, b""
                return rest
            self.buf += got
        text, self.buf = self.buf.split(b"\n", 1)
        return text[:-1] if text.endswith(b"\r") else text

    def read(self, n):
        while len(self.buf) < n:
            got = self.sock.recv(65536)
            if not got:
                break
            self.buf += got
        text, self.buf = self.buf[:n], self.buf[n:]
        return text

    def until(self, prefix):
        """Lines up to and with the first that starts with prefix (bytes or a tuple of them)."""
        lines = []
        while True:
            text = self.line()
            lines.append(text)
            if text.startswith(prefix):
                return lines
            if text == b"" and not self.buf:
                raise AssertionError("end of input before %r: %r" % (prefix, lines[-5:]))

    def cmd(self, data):
        """Sends a line and returns the next one."""
        self.send(data + b"\r\n")
        return self.line()

    def reply(self):
        """An SMTP reply, all its lines."""
        lines = []
        while True:
            text = self.line()
            lines.append(text)
            if len(text) < 4 or text[3:4] != b"-":
                return lines

    def smtp(self, data):
        self.send(data + b"\r\n")
        return self.reply()

    def imap(self, tag, data):
        """Sends "tag data" and returns all lines up to the tagged one."""
        self.send(tag + b" " + data + b"\r\n")
        return self.until(tag + b" ")

    def at_end(self, timeout=10):
        """True when the peer closes within the time (what it still says is dropped)."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def start_tls(self, context):
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.buf = b""

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _comment(text):
    return "".join("# %s\n" % l for l in text.splitlines())


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


class Tap:
    """Prints TAP. Use either ok() or the test() decorator, then done()."""

    def __init__(self):
        self.n = self.bad = 0

    def ok(self, good, name, why=""):
        self.n += 1
        self.bad += not good
        print("%s %d - %s" % ("ok" if good else "not ok", self.n, name.replace("#", "*")))
        if not good and why:
            sys.stdout.write(_comment(str(why)))
        sys.stdout.flush()
        return bool(good)

    def skip(self, name, why):
        self.n += 1
        print("ok %d - %s # SKIP %s" % (self.n, name, why), flush=True)

    def test(self, name, timeout=60):
        """Runs the decorated function at once."""
        def run(f):
            if not re.search(os.environ.get("PENNY_ONLY", ""), name):
                return f

            def alarm(signum, frame):
                raise TimeoutError("not done after %d s" % timeout)
            old = signal.signal(signal.SIGALRM, alarm)
            signal.alarm(timeout)
            try:
                f()
            except Skip as e:
                signal.alarm(0)
                self.skip(name, str(e))
            except Exception as e:
                signal.alarm(0)
                tails = "".join("\n-- log --\n" + i.log_tail() for i in _running)
                self.ok(False, name, traceback.format_exc() + tails)
            else:
                signal.alarm(0)
                self.ok(True, name)
            finally:
                signal.alarm(0)
                signal.signal(signal.SIGALRM, old)
            return f
        return run

    def done(self):
        for i in _running:
            if i.san_reports():
                self.ok(False, "the sanitizers have nothing to say", i.san_reports())
        _stop_all()
        print("1..%d" % self.n, flush=True)
        sys.exit(1 if self.bad or not self.n else 0)


@atexit.register
def _stop_all():
    for i in list(_running):
        try:
            i.close()
        except Exception as e:
            sys.stdout.write(_comment("while stopping: %s" % e))


def _ended(signum, frame):
    sys.exit(1)		# runs _stop_all


signal.signal(signal.SIGTERM, _ended)
