#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The newcomer's command does what its help says."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import BUILD, PASSWORD, PORTS, ROOT, SRC, Instance, Skip, Tap, free_port_base

tap = Tap()
QUICKSTART = os.path.join(SRC, "quickstart")


def run(*args, timeout=120, env=None, cmd=QUICKSTART, prefix=()):
    r = subprocess.run(list(prefix) + [cmd] + list(args), stdin=subprocess.DEVNULL, timeout=timeout,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       env=dict(os.environ, PENNY_BUILD=BUILD) if env is None else env)
    return r.returncode, r.stdout.decode(errors="replace")


class Scratch:
    """A directory and ports of its own."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="pennypost-test.")
        os.chmod(self.dir, 0o755)
        self.base, self.lock = free_port_base()
        self.args = ["--dir", os.path.join(self.dir, "run"), "--port-base", str(self.base)]
        return self

    def __exit__(self, *exc):
        run(*self.args, "--stop")
        self.lock.close()
        shutil.rmtree(self.dir, ignore_errors=True)


@tap.test("--once does the main job and leaves nothing running", timeout=120)
def _():
    with Scratch() as s:
        rc, text = run(*s.args, "--once")
        assert rc == 0, text
        for words in ("IDLE", "by SMTP", "by IMAP", "by POP3", "It works"):
            assert words in text, text
        for off in PORTS.values():
            with socket.socket() as c:
                assert c.connect_ex(("127.0.0.1", s.base + off)) != 0, off
        began = time.monotonic()
        rc, text = run(*s.args, "--once")	# mail of the first run is there still
        assert rc == 0, text
        assert time.monotonic() - began < 20


@tap.test("--detach, --users, --set, the promised files and ports; --stop", timeout=120)
def _():
    with Instance(users=2, set={"imapd.process.per_address_max": "77"}) as p:
        with open(p.conf) as f:
            assert "[imapd]\nprocess.per_address_max = 77\n" in f.read()
        os.kill(p.pid, 0)
        for user in ("alice", "bob", "carol", "u0", "u1"):
            p.imap(user).logout()
        for off in PORTS.values():
            socket.create_connection(("127.0.0.1", p.base + off), 5).close()
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(p.lmtp_sock)
            assert c.recv(100).startswith(b"220 ")
        assert os.listdir(os.path.join(p.dir, "log"))
        pid = p.pid
        p.stop()
        if os.path.exists("/proc/%d" % pid):	# it may wait there for a lazy init
            with open("/proc/%d/stat" % pid) as f:
                assert f.read().rsplit(")", 1)[1].split()[0] == "Z"
        p.stop()	# nothing to stop is no mistake
        p.start()


@tap.test("wrong arguments and wrong configuration are told", timeout=60)
def _():
    with Scratch() as s:
        assert run("--nonsense")[0] == 64
        assert run("--port-base", "x")[0] != 0
        assert run("--set", "nonsense")[0] != 0
        rc, text = run(*s.args, "--once", "--set", "imapd.idle_timeot=30m")
        assert rc != 0 and "did you mean" in text and "pennypost.conf:" in text, text
        rc, text = run(*s.args, "--once", "--set", "process.spare_min=many")
        assert rc != 0 and "pennypost.conf:" in text, text


@tap.test("a directory that others cannot pass through is fine", timeout=60)
def _():
    with Scratch() as s:
        os.chmod(s.dir, 0o700)
        rc, text = run(*s.args, "--once")
        assert rc == 0, text


@tap.test("a fresh copy of the tree, as an ordinary user", timeout=400)
def _():
    if not ROOT:
        raise Skip("is what all the other tests do when they are not run by root")
    with Scratch() as s:
        tree = os.path.join(s.dir, "tree")
        shutil.copytree(SRC, tree, symlinks=True, ignore=shutil.ignore_patterns(
            ".git", "build", "build-*", "run", "configure", "Makefile.in", "autom4te.cache", "aclocal.m4",
            "__pycache__"))
        subprocess.run(["chown", "-R", "nobody:nogroup", s.dir], check=True)
        env = {"PATH": "/usr/bin:/bin", "HOME": s.dir, "USER": "nobody"}
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        rc, text = run("--once", "--port-base", str(s.base), "--dir", os.path.join(tree, "run"), timeout=390,
                       env=env, cmd=os.path.join(tree, "quickstart"), prefix=prefix)
        assert rc == 0, text
        assert "not root" in text and "chroot" in text, text


tap.done()
