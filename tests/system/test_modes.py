#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The same programs under inetd (nowait and wait), from systemd's sockets (Accept=yes and Accept=no) and under the
supervisor: each serves whole sessions. And what is started wrongly says so and ends."""
import imaplib
import os
import poplib
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import DOMAIN, PASSWORD, PORTS, ROOT, Instance, Skip, Tap, free_port_base

tap = Tap()
# Its authd and deliver serve everybody here: they share its run_dir.
p = Instance(users=8).start()
DAEMONS = ("imapd", "pop3d", "smtpd", "deliver", "authd")


def program(name):
    return os.path.join(p.build, "libexec", name)


def wait_port(port, timeout=15):
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        except OSError:
            assert time.monotonic() < end, "nobody listens on %d" % port
            time.sleep(0.05)


class Ports:
    """Ports of our own beside the instance's, and the processes that listen there."""

    def __enter__(self):
        self.base, self.lock = free_port_base()
        self.started = []
        return self

    def port(self, name):
        return self.base + PORTS[name]

    def start(self, args, env=None):
        out = open(os.path.join(p.dir, "log", "%d.txt" % len(self.started)), "ab")
        proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env,
                                start_new_session=True)
        out.close()
        self.started.append(proc)
        return proc

    def __exit__(self, *exc):
        for proc in self.started:
            children = descendants(proc.pid)
            proc.send_signal(signal.SIGTERM)
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()
            for pid in children:	# pools that inetd has started
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
        self.lock.close()


def descendants(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            kids = [int(k) for k in f.read().split()]
    except OSError:
        return []
    return kids + [g for k in kids for g in descendants(k)]


# -- whole sessions --

def imap_session(user, port, tls=False):
    m = (imaplib.IMAP4_SSL("localhost", port, ssl_context=p.tls(), timeout=20) if tls else
         imaplib.IMAP4("localhost", port, timeout=20))
    if not tls:
        m.starttls(ssl_context=p.tls())
    m.login(user, PASSWORD)
    n = int(m.select()[1][0])
    text = b"Subject: kept\r\n\r\nby %s\r\n" % user.encode()
    m.append("INBOX", None, None, text)
    m.noop()
    assert m.fetch(str(n + 1), "(BODY[])")[1][0][1] == text
    m.logout()


def pop3_session(user, port, tls=False):
    m = (poplib.POP3_SSL("localhost", port, context=p.tls(), timeout=20) if tls else
         poplib.POP3("localhost", port, timeout=20))
    if not tls:
        m.stls(context=p.tls())
    m.user(user)
    m.pass_(PASSWORD)
    n = m.stat()[0]
    assert n > 0
    assert m.retr(n)[1]
    m.quit()


def smtp_session(user, port, tls=False):
    before = count(user)
    s = (smtplib.SMTP_SSL("localhost", port, context=p.tls(), timeout=20) if tls else
         smtplib.SMTP("localhost", port, timeout=20))
    if not tls:
        s.starttls(context=p.tls())
    if tls:
        s.login("bob", PASSWORD)
    s.sendmail("bob@" + DOMAIN, [user + "@" + DOMAIN], b"Subject: sent\r\n\r\nhello\r\n")
    s.quit()
    assert count(user) == before + 1


def count(user):
    m = p.imap(user)
    n = int(m.select(readonly=True)[1][0])
    m.logout()
    return n


SESSIONS = [("smtpd", "smtp", smtp_session, False), ("imapd", "imap", imap_session, False),
            ("pop3d", "pop3", pop3_session, False)]
TLS_SESSIONS = [("smtpd", "submissions", smtp_session, True), ("imapd", "imaps", imap_session, True),
                ("pop3d", "pop3s", pop3_session, True)]


# -- inetd --

def inetd(ports, rows, wait):
    assert shutil.which("inetd", path="/usr/sbin:/sbin:" + os.environ["PATH"]), "openbsd-inetd is not installed"
    conf = os.path.join(p.dir, "etc", "inetd.conf")
    user = subprocess.check_output(["id", "-un"]).decode().strip()
    with open(conf, "w") as f:
        for name, listener, _, _ in rows:
            f.write("127.0.0.1:%d stream tcp %s %s %s %s -c %s -n %s\n"
                    % (ports.port(listener), wait, user, program(name), name, p.conf, listener))
    proc = ports.start(["/usr/sbin/inetd", "-i", "-q", "512", conf])
    time.sleep(0.3)
    assert proc.poll() is None, "inetd has ended"
    return proc


@tap.test("inetd nowait: SMTP, IMAP and POP3, in plain text with STARTTLS and over TLS", timeout=90)
def _():
    if not ROOT:
        raise Skip("openbsd-inetd wants root")
    with Ports() as ports:
        proc = inetd(ports, SESSIONS + TLS_SESSIONS, "nowait.1000")
        for _ in range(2):
            for name, listener, session, tls in SESSIONS + TLS_SESSIONS:
                session("u0", ports.port(listener), tls)
        # Two sessions at once are two processes; each ends with its connection.
        a, b = p.connect(ports.port("imap")), p.connect(ports.port("imap"))
        assert a.line().startswith(b"* OK") and b.line().startswith(b"* OK")
        assert len(descendants(proc.pid)) == 2
        a.close()
        b.close()
        end = time.monotonic() + 10
        while descendants(proc.pid):
            assert time.monotonic() < end, "sessions do not end"
            time.sleep(0.05)


@tap.test("inetd wait: the first connection starts a pool that serves the next ones too, and ends when idle",
          timeout=150)
def _():
    if not ROOT:
        raise Skip("openbsd-inetd wants root")
    with Ports() as ports:
        proc = inetd(ports, SESSIONS, "wait")
        for name, listener, session, tls in SESSIONS:
            session("u1", ports.port(listener), tls)
        with open("/proc/%d/task/%d/children" % (proc.pid, proc.pid)) as f:
            pools = set(f.read().split())
        assert len(pools) == 3, pools
        for name, listener, session, tls in SESSIONS:
            session("u1", ports.port(listener), tls)
        with open("/proc/%d/task/%d/children" % (proc.pid, proc.pid)) as f:
            assert set(f.read().split()) <= pools
        # After a minute without a session a pool ends, and starts again when it is needed.
        end = time.monotonic() + 100
        while descendants(proc.pid):
            assert time.monotonic() < end, "an idle pool does not end"
            time.sleep(0.2)
        for name, listener, session, tls in SESSIONS:
            session("u1", ports.port(listener), tls)


# -- systemd's protocol --

def activate(ports, rows, accept, names=True):
    tool = shutil.which("systemd-socket-activate")
    assert tool, "systemd-socket-activate is not installed"
    for name, listener, _, _ in rows:
        args = [tool, "-l", "127.0.0.1:%d" % ports.port(listener)]
        if accept:
            args += ["-a", "--inetd"]
        elif names:
            args += ["--fdname=" + listener]
        args += [program(name), "-c", p.conf]
        if accept or not names:
            args += ["-n", listener]
        ports.start(args)
    # systemd-socket-activate starts the program at the first connection: only look whether it listens
    for _, listener, _, _ in rows:
        wait_listen(ports.port(listener))


def wait_listen(port, timeout=15):
    want = "0100007F:%04X 00000000:0000 0A" % port
    end = time.monotonic() + timeout
    while True:
        with open("/proc/net/tcp") as f:
            if want in f.read():
                return
        assert time.monotonic() < end, "nobody listens on %d" % port
        time.sleep(0.05)


@tap.test("systemd Accept=yes: a process for each connection", timeout=90)
def _():
    with Ports() as ports:
        activate(ports, SESSIONS + TLS_SESSIONS, accept=True)
        for _ in range(2):
            for name, listener, session, tls in SESSIONS + TLS_SESSIONS:
                session("u2", ports.port(listener), tls)


@tap.test("systemd Accept=yes without --inetd: the connection is descriptor 3", timeout=60)
def _():
    with Ports() as ports:
        port = ports.port("imap")
        ports.start([shutil.which("systemd-socket-activate"), "-l", "127.0.0.1:%d" % port, "-a",
                     program("imapd"), "-c", p.conf, "-n", "imap"])
        wait_listen(port)
        imap_session("u3", port)
        imap_session("u3", port)


@tap.test("systemd Accept=no: a pool on sockets that are told apart by their names", timeout=90)
def _():
    with Ports() as ports:
        activate(ports, SESSIONS + TLS_SESSIONS, accept=False)
        for _ in range(2):
            for name, listener, session, tls in SESSIONS + TLS_SESSIONS:
                session("u4", ports.port(listener), tls)
        for proc in ports.started:
            assert proc.poll() is None
            assert len(descendants(proc.pid)) >= 2, "no spare processes"


@tap.test("systemd Accept=no: two sockets in one program; SIGTERM drains, sockets stay with their owner",
          timeout=60)
def _():
    with Ports() as ports:
        imap, imaps = ports.port("imap"), ports.port("imaps")
        proc = ports.start([shutil.which("systemd-socket-activate"), "-l", "127.0.0.1:%d" % imap, "-l",
                            "127.0.0.1:%d" % imaps, "--fdname=imap:imaps", program("imapd"), "-c", p.conf])
        wait_listen(imaps)
        imap_session("u5", imap)
        imap_session("u5", imaps, tls=True)
        w = p.connect(imap)
        w.line()
        assert w.imap(b"a", b"LOGIN u5 " + PASSWORD.encode())[-1].startswith(b"a OK")
        proc.send_signal(signal.SIGTERM)
        assert w.until(b"* BYE")
        assert w.at_end()
        assert proc.wait(15) == 0


@tap.test("READY=1, RELOADING=1 and STOPPING=1 are told to NOTIFY_SOCKET", timeout=60)
def _():
    with Ports() as ports, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n, socket.socket() as s:
        path = os.path.join(p.dir, "run", "notify")
        n.bind(path)
        n.settimeout(20)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", ports.port("imap")))
        s.listen(16)
        # a shell knows its pid, which is then the program's
        proc = subprocess.Popen(
            ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", program("imapd"), "-c", p.conf],
            env=dict(os.environ, LISTEN_FDS="1", LISTEN_FDNAMES="imap", NOTIFY_SOCKET=path),
            preexec_fn=lambda: os.dup2(s.fileno(), 3, True) if s.fileno() != 3 else os.set_inheritable(3, True),
            close_fds=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ports.started.append(proc)
        assert b"READY=1" in n.recv(4096)
        imap_session("u6", ports.port("imap"))
        proc.send_signal(signal.SIGHUP)
        got = n.recv(4096)
        assert b"RELOADING=1" in got and b"MONOTONIC_USEC=" in got, got
        assert b"READY=1" in n.recv(4096)
        imap_session("u6", ports.port("imap"))
        proc.send_signal(signal.SIGTERM)
        assert b"STOPPING=1" in n.recv(4096)
        assert proc.wait(15) == 0
        os.unlink(path)


@tap.test("the supervisor: all of them at once", timeout=60)
def _():
    for name, listener, session, tls in SESSIONS + TLS_SESSIONS:
        session("u7", p.base + PORTS[listener], tls)


# -- started wrongly --

def start(name, fd0=None, env=None, pid_env=False, close0=False, pass_fd=None, args=()):
    """Starts a program with descriptor 0 as given; returns its exit status and standard error."""
    cmd = [program(name), "-c", p.conf] + list(args)
    if pid_env:
        cmd = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] + cmd

    def prepare():
        if pass_fd is not None:
            os.dup2(pass_fd, 3, True)
        if close0:
            os.close(0)
    r = subprocess.Popen(cmd, env=dict(os.environ, **(env or {})), preexec_fn=prepare,
                         close_fds=pass_fd is None, stdin=fd0 if fd0 is not None else subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = r.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        r.kill()
        r.communicate()
        raise AssertionError("%s does not end" % name)
    return r.returncode, out, err.decode(errors="replace")


def refused(name, **kw):
    rc, out, err = start(name, **kw)
    assert rc in (64, 78), (name, kw, rc, err)
    assert name + ": " in err, (name, kw, err)
    assert "Sanitizer" not in err and "runtime error" not in err, err
    return err


@tap.test("descriptor 0 is /dev/null, a file, a pipe, closed, UDP, or a socket to nobody: exit with words",
          timeout=90)
def _():
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    udp.bind(("127.0.0.1", 0))
    a, b = os.pipe()
    for name in DAEMONS:
        assert "not a socket" in refused(name)
        with open("/etc/hostname") as f:
            assert "not a socket" in refused(name, fd0=f)
        assert "not a socket" in refused(name, fd0=a)
        assert "not a socket" in refused(name, close0=True)
        assert "datagram" in refused(name, fd0=udp)
        assert "not connected" in refused(name, fd0=tcp)
        assert "usage" in start(name, args=["-x"])[2]
    for fd in (a, b):
        os.close(fd)
    udp.close()
    tcp.close()


@tap.test("LISTEN_FDS lies: too many, none, no number, not open, no socket, UDP; another's LISTEN_PID",
          timeout=90)
def _():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with open("/etc/hostname") as f:
        for name in ("imapd", "smtpd", "authd"):
            for n in ("99999999999", "0", "-1", "x", "", "1000000", "2147483647"):
                assert "LISTEN_FDS" in refused(name, env={"LISTEN_FDS": n}, pid_env=True)
            assert "LISTEN_FDS" in refused(name, env={"LISTEN_FDS": "3"}, pid_env=True)
            assert "not a socket" in refused(name, env={"LISTEN_FDS": "1"}, pid_env=True, pass_fd=f.fileno())
            assert "datagram" in refused(name, env={"LISTEN_FDS": "1"}, pid_env=True, pass_fd=udp.fileno())
            assert "not a socket" in refused(name, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
            assert "not a socket" in refused(name, env={"LISTEN_FDS": "1", "LISTEN_PID": "x" * 5000})
    udp.close()


@tap.test("an environment of a megabyte, and a peer that is gone already", timeout=60)
def _():
    many = {"X%d" % i: "y" * 10000 for i in range(100)}
    for name in ("imapd", "pop3d", "smtpd"):
        refused(name, env=many)
    for name, reset in [(name, reset) for name in ("imapd", "pop3d", "smtpd") for reset in (False, True)]:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(1)
            c = socket.create_connection(s.getsockname())
            a, _ = s.accept()
            if reset:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
            time.sleep(0.05)
            # the filter keeps a leak checker from its work
            rc, out, err = start(name, fd0=a, env={"ASAN_OPTIONS": "detect_leaks=0"})
            assert rc == 0 and out == b"", (rc, out, err)
            a.close()


@tap.test("a configuration that is not there or is wrong stops the start with file and line", timeout=60)
def _():
    bad = os.path.join(p.dir, "etc", "bad.conf")
    with open(bad, "w") as f:
        f.write("[site]\ndomain = x\n[imapd]\nidle_timeuot = 1h\n")
    for name in DAEMONS:
        r = subprocess.run([program(name), "-c", bad, "-t"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=20)
        if name == "imapd":	# each program checks its own keys
            assert r.returncode == 78 and b"bad.conf:4" in r.stderr and b"idle_timeout" in r.stderr, r
        r = subprocess.run([program(name), "-c", "/nonexistent.conf", "-t"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=20)
        assert r.returncode == 78 and b"/nonexistent.conf" in r.stderr, r


tap.done()
