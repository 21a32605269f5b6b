#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The supervisor and the process pools: death of any process, reload, drain, limits, floods, and what a
command costs in system calls."""
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import PASSWORD, ROOT, Instance, Skip, Tap, Wire

tap = Tap()


class Imap:
    """A session that answers step by step."""

    def __init__(self, p, tls=False, login=True):
        sock = socket.create_connection(("127.0.0.1", p.imaps_port if tls else p.imap_port), 10)
        if tls:
            sock = p.tls().wrap_socket(sock, server_hostname="localhost")
        self.w = Wire(sock)
        self.greeting = self.w.line()
        assert self.greeting.startswith(b"* OK"), self.greeting
        self.n = 0
        if login:
            self.ok(b"LOGIN alice " + PASSWORD.encode())

    def ok(self, cmd):
        self.n += 1
        tag = b"t%d" % self.n
        self.w.send(tag + b" " + cmd + b"\r\n")
        while True:
            line = self.w.line()
            assert line, "connection ended"
            if line.startswith(tag + b" "):
                assert line.startswith(tag + b" OK"), line
                return

    def cert(self):
        return hashlib.sha256(self.w.sock.getpeercert(True)).hexdigest()


def parent_of(p, name):
    """The parent of a service's pool leads its process group; sessions of an earlier one do not."""
    for pid in p.pids(name):
        if os.getpgid(pid) == pid:
            return pid
    raise AssertionError("no %s" % name)


def wait_for(what, f, timeout=10):
    end = time.monotonic() + timeout
    while True:
        try:
            v = f()
        except (AssertionError, OSError):
            v = None
        if v:
            return v
        assert time.monotonic() < end, what
        time.sleep(0.02)


def process_of(p, session):
    """The process that has this connection: the one that is idle no more."""
    local = session.w.sock.getsockname()[1]
    hexport = "%04X" % local
    with open("/proc/net/tcp") as f:
        inode = [l.split()[9] for l in f if l.split()[2].endswith(":" + hexport) and
                 l.split()[1].endswith(":%04X" % p.imap_port)]
    for pid in p.pids("imapd"):
        try:
            for fd in os.listdir("/proc/%d/fd" % pid):
                if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == "socket:[%s]" % inode[0]:
                    return pid
        except OSError:
            pass
    if not ROOT:
        raise Skip("descriptors of other processes can't be seen")
    raise AssertionError("nobody has the connection")


@tap.test("a pool's parent is killed: its sessions go on, new ones are served at once", timeout=60)
def _():
    with Instance() as p:
        s = Imap(p)
        for _ in range(5):
            old = parent_of(p, "imapd")
            began = time.monotonic()
            os.kill(old, signal.SIGKILL)
            Imap(p).ok(b"NOOP")
            assert time.monotonic() - began < 2
            s.ok(b"NOOP")
            wait_for("a new parent", lambda: parent_of(p, "imapd") != old)
        # the idle children of the dead are gone; who is left: the parent, its spare ones, our two sessions
        wait_for("old idle processes to end", lambda: len(p.pids("imapd")) < 20)


@tap.test("any process of the pools is killed: the next connection is served", timeout=60)
def _():
    with Instance() as p:
        s = Imap(p)
        mine = process_of(p, s)
        for i in range(60):
            victims = wait_for("processes", lambda: [
                v for v in p.pids("imapd") + p.pids("authd") if v != mine])
            try:
                os.kill(victims[i * 7 % len(victims)], signal.SIGKILL)
            except ProcessLookupError:
                continue	# it went by itself
            # a kill may hit the very process that has just accepted
            wait_for("a connection", lambda: Imap(p, login=False).ok(b"LOGOUT") is None, 3)
        s.ok(b"NOOP")


@tap.test("reload: a bad configuration or certificate changes nothing, a good one takes effect", timeout=90)
def _():
    with Instance() as p:
        s = Imap(p)
        before = Imap(p, tls=True, login=False).cert()
        with open(p.conf) as f:
            good = f.read()
        with open(p.conf, "a") as f:
            f.write("\n[imapd]\nidle_timeot = 3\n")
        os.kill(p.pid, signal.SIGHUP)
        p.wait_log(r"reload.failed .*pennypost.conf:\d+: unknown key .*did you mean")
        with open(p.conf, "w") as f:
            f.write(good)
        pem = re.search(r"(?m)^\s*certificate\s*=\s*(\S+)", good).group(1)
        key = re.search(r"(?m)^\s*key\s*=\s*(\S+)", good).group(1)
        saved = [open(x, "rb").read() for x in (pem, key)]
        for bad in (b"", b"garbage\n", saved[1]):
            n = p.logs().count("reload.failed")
            with open(pem, "wb") as f:
                f.write(bad)
            os.kill(p.pid, signal.SIGHUP)
            wait_for("a complaint", lambda: p.logs().count("reload.failed") > n)
            # the pools' own reload keeps the old pair as well
            os.kill(parent_of(p, "imapd"), signal.SIGHUP)
            wait_for("a complaint", lambda: p.logs().count("serve.reload.failed") > 0)
            assert Imap(p, tls=True, login=False).cert() == before
            s.ok(b"NOOP")
        for path, text in zip((pem, key), saved):
            with open(path, "wb") as f:
                f.write(text)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost", "-keyout", key, "-out", pem], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        n = p.logs().count("supervisor.reload.ok")
        os.kill(p.pid, signal.SIGHUP)
        wait_for("the reload", lambda: p.logs().count("supervisor.reload.ok") > n)
        p.ca = pem
        wait_for("the new certificate", lambda: Imap(p, tls=True, login=False).cert() != before)
        s.ok(b"NOOP")


@tap.test("reload opens added listeners and closes removed ones; sessions go on", timeout=60)
def _():
    with Instance() as p:
        s = Imap(p)
        with open(p.conf) as f:
            good = f.read()
        extra = "imap:127.0.0.1:%d" % p.imap_port
        assert extra in good, good
        more = p.base + 9
        with open(p.conf, "w") as f:
            f.write(good.replace(extra, extra + " imap:127.0.0.1:%d" % more))
        os.kill(p.pid, signal.SIGHUP)
        added = wait_for("the added port", lambda: socket.create_connection(("127.0.0.1", more), 5))
        added = Wire(added)
        assert added.line().startswith(b"* OK")
        s.ok(b"NOOP")
        with open(p.conf, "w") as f:
            f.write(good)
        os.kill(p.pid, signal.SIGHUP)

        def closed():
            with socket.socket() as c:
                return c.connect_ex(("127.0.0.1", more)) != 0
        wait_for("the port to close", closed)
        added.send(b"a NOOP\r\n")
        assert added.line().startswith(b"a OK")
        s.ok(b"NOOP")
        Imap(p).ok(b"NOOP")


@tap.test("a second start refuses; SIGTERM drains, says goodbye, and leaves nothing", timeout=60)
def _():
    with Instance(set={"process.drain_timeout": "3s"}) as p:
        path = os.readlink("/proc/%d/exe" % p.pid)
        r = subprocess.run([path, "-c", p.conf], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=20)
        assert r.returncode != 0 and (b"already running" in r.stdout or "already running" in p.logs())
        s = Imap(p)
        hang = Imap(p)
        frozen = process_of(p, hang)
        os.kill(frozen, signal.SIGSTOP)	# a session that cannot answer
        pids, began = p.pids(), time.monotonic()
        sup = p.pid
        os.kill(sup, signal.SIGTERM)
        assert s.w.line().startswith(b"* BYE")
        wait_for("the end", lambda: not os.path.exists("/proc/%d" % sup) or
                 open("/proc/%d/stat" % sup).read().rsplit(")", 1)[1].split()[0] == "Z", 15)
        assert 2 < time.monotonic() - began < 8, time.monotonic() - began
        for pid in pids:
            assert not os.path.exists("/proc/%d" % pid), pid
        assert not os.path.exists(os.path.join(p.dir, "run/pennypost.pid"))
        assert not os.path.exists(p.lmtp_sock)


@tap.test("the supervisor is killed: its services end, and a new start works at once", timeout=60)
def _():
    with Instance(set={"process.drain_timeout": "2s"}) as p:
        Imap(p)
        pids = p.pids()
        os.kill(p.pid, signal.SIGKILL)
        wait_for("the services to end", lambda: not any(os.path.exists("/proc/%d" % x) for x in pids))
        p.start()
        Imap(p).ok(b"NOOP")


@tap.test("1,000 connections from one address: refused in the protocol's words, honest ones get in", timeout=90)
def _():
    with Instance(set={"process.per_address_max": "50"}) as p:
        flood, served, refused = [], 0, 0
        for _ in range(1000):
            w = Wire(socket.create_connection(("127.0.0.1", p.imap_port), 10))
            line = w.line()
            if line.startswith(b"* OK"):
                served += 1
            else:
                assert line.startswith(b"* BYE"), line
                refused += 1
            flood.append(w)
        assert 45 <= served <= 60, served
        began = time.monotonic()
        wait_for("an honest session", lambda: Imap(p).ok(b"NOOP") is None, 10)
        assert time.monotonic() - began < 5, time.monotonic() - began
        p.smtp().quit()


@tap.test("150 silent and 80 slow clients: an honest session takes less than 5 s", timeout=90)
def _():
    with Instance() as p:
        stop = threading.Event()
        silent = [socket.create_connection(("127.0.0.1", p.imap_port), 10) for _ in range(150)]

        def drip():
            try:
                with socket.create_connection(("127.0.0.1", p.imap_port), 10) as s:
                    while not stop.wait(0.2):
                        s.send(b"a")
            except OSError:
                pass
        slow = [threading.Thread(target=drip) for _ in range(80)]
        for t in slow:
            t.start()
        try:
            for _ in range(5):
                began = time.monotonic()
                wait_for("an honest session", lambda: Imap(p).ok(b"NOOP") is None, 10)
                assert time.monotonic() - began < 5, time.monotonic() - began
        finally:
            stop.set()
            for t in slow:
                t.join()
        for s in silent:
            s.close()


@tap.test("bursts: 300 sessions by 30 clients at once, none lost", timeout=60)
def _():
    with Instance() as p:
        bad = []

        def client():
            for _ in range(10):
                try:
                    Imap(p, login=False).ok(b"LOGOUT")
                except Exception as e:
                    bad.append(repr(e))
        threads = [threading.Thread(target=client) for _ in range(30)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not bad, bad[:3]


@tap.test("a NOOP costs one receive and one send", timeout=60)
def _():
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    if not ROOT:
        raise Skip("tracing needs root")
    with Instance() as p:
        s = Imap(p)
        pid = process_of(p, s)
        out = os.path.join(p.dir, "log/strace.txt")
        st = subprocess.Popen(["strace", "-p", str(pid), "-o", out], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        if st.poll() is not None:
            raise Skip("tracing is not allowed here")
        for _ in range(6):
            s.ok(b"NOOP")
            time.sleep(0.02)
        st.terminate()
        st.wait()
        with open(out) as f:
            calls = [m.group(1) for m in re.finditer(r"(?m)^(\w+)\(", f.read())]
        # the first command may find the process in a wait of another length
        assert calls[-11:] == ["recvfrom", "sendto"] * 5 + ["recvfrom"], calls


tap.done()
