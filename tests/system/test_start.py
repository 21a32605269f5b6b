#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The same imapd, started in the four ways beside the supervisor: inetd nowait and wait, systemd Accept=yes and
Accept=no. Its authd is that of a running suite. And what a daemon says when it is started wrongly."""
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import BUILD, PASSWORD, ROOT, Instance, Skip, Tap, Wire

tap = Tap()
IMAPD = os.path.join(BUILD, "libexec/imapd")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def log_in(p, port, tls=False):
    """Greeting, LOGIN, SELECT, LOGOUT."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    if tls:
        sock = p.tls().wrap_socket(sock, server_hostname="localhost")
    w = Wire(sock)
    assert w.line().startswith(b"* OK"), "greeting"
    for tag, cmd in ((b"a", b"LOGIN alice " + PASSWORD.encode()), (b"b", b"SELECT INBOX"), (b"c", b"LOGOUT")):
        w.send(tag + b" " + cmd + b"\r\n")
        while True:
            line = w.line()
            assert line, "connection ended in " + cmd.decode()
            if line.startswith(tag + b" "):
                assert line.startswith(tag + b" OK"), line
                break
    w.close()


class Listener:
    """A program that listens for imapd, ended at the end."""

    def __init__(self, p, argv):
        self.p, self.argv = p, argv

    def __enter__(self):
        self.out = open(os.path.join(self.p.dir, "log/listener.txt"), "ab")
        self.proc = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out)
        return self

    def __exit__(self, *exc):
        self.proc.terminate()
        self.proc.wait(20)
        self.out.close()


def listening(port):
    """Without a connection, as that would start the service."""
    hexport = ":%04X " % port
    for _ in range(100):
        with open("/proc/net/tcp") as f:
            if any(hexport in line and " 0A " in line for line in f):
                return
        time.sleep(0.05)
    raise AssertionError("nobody listens on %d" % port)


def systemd(*args):
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        raise Skip("systemd-socket-activate is not installed")
    return [tool] + list(args)


@tap.test("systemd, Accept=no, two sockets with names", timeout=60)
def _():
    with Instance() as p:
        plain, tls = free_port(), free_port()
        with Listener(p, systemd("-l", "127.0.0.1:%d" % plain, "-l", "127.0.0.1:%d" % tls,
                                 "--fdname=imap:imaps", IMAPD, "-c", p.conf)):
            listening(tls)
            for _ in range(3):
                log_in(p, plain)
                log_in(p, tls, tls=True)


@tap.test("systemd, Accept=yes: socket as descriptor 3, and as standard input", timeout=60)
def _():
    with Instance() as p:
        for extra, name in (([], "imap"), (["--inetd"], "imaps")):
            port = free_port()
            with Listener(p, systemd("-l", "127.0.0.1:%d" % port, "-a", *extra, IMAPD, "-c", p.conf,
                                     "-n", name)):
                listening(port)
                for _ in range(3):
                    log_in(p, port, tls=name == "imaps")


@tap.test("inetd, nowait and wait", timeout=60)
def _():
    inetd = shutil.which("inetd", path="/usr/sbin:/sbin:" + os.environ["PATH"])
    if inetd is None:
        raise Skip("inetd is not installed")
    if not ROOT:
        raise Skip("inetd needs root")
    with Instance() as p:
        nowait, tls, wait = free_port(), free_port(), free_port()
        conf = os.path.join(p.dir, "etc/inetd.conf")
        with open(conf, "w") as f:
            for port, how, name in ((nowait, "nowait", "imap"), (tls, "nowait", "imaps"),
                                    (wait, "wait", "imap")):
                f.write("127.0.0.1:%d stream tcp %s root %s imapd -c %s -n %s\n" %
                        (port, how, IMAPD, p.conf, name))
        with Listener(p, [inetd, "-i", conf]):
            listening(wait)
            for _ in range(3):
                log_in(p, nowait)
                log_in(p, tls, tls=True)
                log_in(p, wait)
        # what "wait" has started serves on without inetd; here it is to end
        for pid in os.listdir("/proc"):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    argv = f.read().split(b"\0")
                with open("/proc/%s/stat" % pid) as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError):
                continue
            if argv[:1] == [b"imapd"] and p.conf.encode() in argv and parent == 1:
                os.kill(int(pid), signal.SIGTERM)


def as_3(fd):
    """For the child: fd as descriptor 3, whatever its number was."""
    def place():
        high = fcntl.fcntl(fd, fcntl.F_DUPFD, 20)
        os.dup2(high, 3)
    return place


def wrong(env="", before=None, **kw):
    """Starts imapd by a shell that sets its own pid as LISTEN_PID; gives status and what it says."""
    r = subprocess.run(["sh", "-c", "%s exec %s -c /dev/null" % (env, IMAPD)], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, preexec_fn=before, close_fds=before is None, timeout=20, **kw)
    return r.returncode, r.stderr.decode()


@tap.test("started wrongly: status 64 and a reason", timeout=60)
def _():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    null = os.open("/dev/null", os.O_RDONLY)
    cases = (
        ("not a socket", "", {"stdin": subprocess.DEVNULL}),
        ("datagram", "", {"stdin": udp}),
        ("not a socket", "exec <&-;", {}),
        ("datagram", "LISTEN_PID=$$ LISTEN_FDS=1", {"before": as_3(udp.fileno())}),
        ("not a socket", "LISTEN_PID=$$ LISTEN_FDS=1", {"before": as_3(null)}),
        ("not open", "exec 3<&-; LISTEN_PID=$$ LISTEN_FDS=1", {}),
        ("LISTEN_FDS", "LISTEN_PID=$$ LISTEN_FDS=99999999999999999999", {}),
        ("LISTEN_FDS", "LISTEN_PID=$$ LISTEN_FDS=-1", {}),
        ("LISTEN_FDS", "LISTEN_PID=$$ LISTEN_FDS=x", {}),
        ("LISTEN_FDS", "LISTEN_PID=$$", {}),
        ("not a socket", "LISTEN_PID=1 LISTEN_FDS=1", {"stdin": subprocess.DEVNULL}),
        ("not a socket", "A=%s" % ("x" * 100000), {"stdin": subprocess.DEVNULL}),
    )
    for want, env, kw in cases:
        if "<&-" not in env or "3<&-" in env:
            kw.setdefault("stdin", subprocess.DEVNULL)
        rc, text = wrong(env, **kw)
        assert rc == 64 and want in text, (want, env[:60], rc, text)
    rc, text = wrong("", stdin=subprocess.DEVNULL)
    assert "usage: imapd" in text, text


@tap.test("a connection on standard error gets no log lines", timeout=30)
def _():
    ours, theirs = socket.socketpair()
    with Instance() as p:
        bad = os.path.join(p.dir, "etc/bad.conf")
        with open(bad, "w") as f:
            f.write("[imapd]\nno_such_key = 1\n")
        r = subprocess.run([IMAPD, "-c", bad], stdin=theirs, stdout=theirs, stderr=theirs, timeout=20)
        theirs.close()
        assert r.returncode == 78, r.returncode
        assert ours.recv(1000) == b""


tap.done()
