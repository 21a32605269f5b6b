#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A session process that has turned hostile. hostile.c is preloaded into the daemons and does what the peer says:
each attempt has a session of its own, before login and after it, and must fail or end the process. Meanwhile
another user's session goes on. As root, and again as an ordinary user."""
import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import penny
from penny import BUILD, PASSWORD, ROOT, Instance, Tap

HERE = os.path.dirname(os.path.abspath(__file__))
SERVICES = ("smtpd", "pop3d", "imapd", "deliver")
ORDINARY = "PENNY_ISOLATION_SO"	# set: this is the run as an ordinary user

tap = Tap()
scratch = tempfile.mkdtemp(prefix="pennypost-test.")
os.chmod(scratch, 0o755)
atexit.register(shutil.rmtree, scratch, ignore_errors=True)


def sh(*args, **kw):
    r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    assert r.returncode == 0, r.stdout.decode(errors="replace")


def compile_hostile():
    so = os.path.join(scratch, "hostile.so")
    sh("cc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-o", so,
       os.path.join(HERE, "hostile.c"))
    return so


def wrap_programs(so):
    """A libexec directory in which the daemons that talk to strangers start with hostile.so in them."""
    d = os.path.join(scratch, "libexec")
    os.mkdir(d)
    for name in os.listdir(os.path.join(BUILD, "libexec")):
        real, mine = os.path.join(BUILD, "libexec", name), os.path.join(d, name)
        if name in SERVICES:
            with open(mine, "w") as f:
                f.write('#!/bin/sh\nLD_PRELOAD=%s exec %s "$@"\n' % (so, real))
            os.chmod(mine, 0o755)
        elif not name.startswith("."):
            os.symlink(real, mine)
    return d


so = os.environ.get(ORDINARY) or compile_hostile()
p = Instance(set={"pennypost.libexec_dir": wrap_programs(so), "auth.fail_delay": "0"}).start()
WITHOUT = p.logs()


def lacks(what):
    return 'serve.protection.missing what="%s"' % what in WITHOUT or \
        "serve.protection.missing what=%s" % what in WITHOUT


# -- sessions that can be told to turn --

class Session:
    def __init__(self, service, user):
        self.service = service
        port = {"imapd": p.imap_port, "pop3d": p.pop3_port, "smtpd": p.submission_port,
                "deliver": p.lmtp_port}[service]
        self.w = p.connect(port, timeout=20)
        self.w.line()
        if user is not None:
            self.login(user)

    def login(self, user):
        w = self.w
        if self.service == "imapd":
            assert w.imap(b"a", b"LOGIN %s %s" % (user, PASSWORD.encode()))[-1].startswith(b"a OK")
            assert w.imap(b"b", b"SELECT INBOX")[-1].startswith(b"b OK")
        elif self.service == "pop3d":
            for _ in range(100):
                w.cmd(b"USER " + user)
                got = w.cmd(b"PASS " + PASSWORD.encode())
                if b"[IN-USE]" not in got:
                    break
                time.sleep(0.05)	# the session before is not quite over
                w.close()		# a few refusals would end the connection
                w = self.w = p.connect(p.pop3_port, timeout=20)
                w.line()
            assert got.startswith(b"+OK"), got
        elif self.service == "smtpd":
            import base64
            w.smtp(b"EHLO client.example.org")
            word = base64.b64encode(b"\0%s\0%s" % (user, PASSWORD.encode()))
            assert w.smtp(b"AUTH PLAIN " + word)[0].startswith(b"235")
        else:
            w.smtp(b"LHLO client.example.org")
            w.smtp(b"MAIL FROM:<a@example.org>")
            assert w.smtp(b"RCPT TO:<%s>" % user)[0].startswith(b"250")

    def turn(self, words):
        """(result, errno), or None when the attempt has ended the process."""
        try:
            self.w.send(b"PENNYHOSTILE %s;\r\n" % words.encode())
            while True:
                text = self.w.line()
                if text.startswith(b"HOSTILE "):
                    _, r, no = text.split()
                    return int(r), int(no)
                if text == b"":
                    return None
        except ConnectionError:
            return None

    def close(self):
        self.w.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def attempt(service, user, words):
    with Session(service, user) as s:
        return s.turn(words)


class Bystander:
    """Bob's sessions, which nothing that alice's do may touch."""

    def __init__(self):
        p.send("bob", b"Subject: private\r\n\r\nbob's secret\r\n")
        self.s = Session("imapd", b"bob")
        self.pid = self.s.turn("pid")[0]
        self.s.w.line()		# what the daemon says to such a command
        self.s.w.imap(b"x", b"NOOP")

    def check(self):
        got = self.s.w.imap(b"y", b"FETCH 1 (BODY.PEEK[TEXT])")
        assert got[-1].startswith(b"y OK") and b"bob's secret" in b"".join(got), got
        os.kill(self.pid, 0) if ROOT else None


def store_names(user):
    d = p.store(user)
    found = [d]
    for where, dirs, files in os.walk(d):
        found += [os.path.join(where, f) for f in files][:3]
    return found[:8]


def everywhere(bystander):
    """Attempts that must fail always: before login and after it, for every service."""
    other, parent = str(bystander.pid), str(p.pid)
    words = []
    for target in (other, parent, "1"):
        words += ["%s %s" % (how, target) for how in ("kill0", "kill9", "tgkill", "setown", "pidfd", "ptrace",
                                                      "seize", "vmread", "vmwrite", "nice", "prlimit")]
    words += ["kill0 -1", "inet", "inet6", "raw", "netlink", "vsock", "packet", "reconnect %d" % elsewhere.getsockname()[1],
              "abstract " + ABSTRACT, "exec /bin/true", "exec /bin/sh", "exec " + BUILD + "/penny", "fork", "clone3",
              "setuid", "setresuid", "chroot .", "chroot /", "mount .", "userns", "setns", "uring", "bpf", "key",
              "perf", "module", "reboot", "clock", "dumpable", "subreaper", "code", "memfd", "terminal", "shared",
              "handle", "mknod x", "symlink /etc/passwd x"]
    return words


def files_elsewhere(bystander):
    """Files that are nobody's business in a session."""
    d, other = p.dir, str(bystander.pid)
    paths = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/../etc/passwd", "../etc/passwd",
             "../../../../../../../../etc/passwd", "/proc/self/environ", "/proc/1/status", "/proc/%s/status" % other,
             "/proc/%s/cwd/ctl" % other, "/proc/%s/root/etc/passwd" % other, "/dev/null", "/dev/mem", "/dev/shm",
             "/tmp", "/home", "/root", "/usr", "/run", d, d + "/mail", d + "/etc/passwd", d + "/etc/tls/key.pem",
             d + "/log/pennypost.log", d + "/run/pennypost.pid", "../bob", "../../b/bob", "../../b/bob/ctl",
             "../../b/bob/journal", "./../../b/bob", "journal/../../../b/bob", "/b/bob", "/mail/b/bob"]
    words = []
    for path in paths + store_names("bob"):
        words += ["open " + path, "path " + path]
    words += ["dir " + x for x in ("/etc", "/proc", "/mail", d, "../../b", "../..")]
    words += ["create " + x for x in ("/x", "/tmp/x", "/etc/x", "../x", "../../x", "../../b/bob/x", d + "/x",
                                      "/dev/shm/x")]
    words += ["mkdir /y", "mkdir ../y", "mkdir ../../b/bob/y", "watch ../../b/bob", "watch /etc", "watch " + d]
    words += ["rename ../../b/bob/ctl ctl2", "link ../../b/bob/ctl ctl3", "unlink ../../b/bob/ctl",
              "chmod ../../b/bob", "chmod ..", "truncate ../../b/bob/ctl", "rename ctl ../../b/bob/ctl",
              "link ctl ../x"]
    words += ["anyfd " + x for x in ("../../b/bob", "../bob", "../../../etc/passwd", "/etc/passwd",
                                     "../../b/bob/ctl", "../../../../../../../etc/passwd")]
    return words


def run(service, user, words, may_create=False):
    """All of them, each in a session of its own; returns what was possible."""
    possible, ended, refused = [], 0, 0
    for w in words:
        try:
            got = attempt(service, user, w)
        except (OSError, AssertionError):
            raise AssertionError("no service at %r, after %s" % (w, words[max(0, words.index(w) - 3):words.index(w)]))
        if got is None:
            ended += 1
        elif got[0] >= 0:
            possible.append("%s -> %d" % (w, got[0]))
        elif got[0] == -2:
            possible.append("%s: no such attempt" % w)
        else:
            refused += 1
    print("# %s %s: %d refused, %d ended the process" % (service, "as " + user.decode() if user else
                                                         "before login", refused, ended))
    return possible


def visitors():
    """How many have reached the listeners of the attacker."""
    n = 0
    for s in (elsewhere, abstract):
        s.setblocking(False)
        try:
            while True:
                s.accept()[0].close()
                n += 1
        except BlockingIOError:
            pass
    return n


ABSTRACT = "pennypost-test-%d" % os.getpid()
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\0" + ABSTRACT)
abstract.listen(100)
elsewhere = socket.socket()
elsewhere.bind(("127.0.0.1", 0))
elsewhere.listen(100)
alice = b"alice"
p.send("alice", b"Subject: mine\r\n\r\nalice's own\r\n")
bob = Bystander()
WHO = "" if ROOT else " (ordinary user)"


@tap.test("the harness works: what is allowed is possible" + WHO)
def _():
    for service in SERVICES:
        assert attempt(service, None, "none") == (0, 0), service
        assert attempt(service, None, "pid")[0] > 1, service
    for service in ("imapd", "pop3d", "smtpd"):
        assert attempt(service, None, "unixpath /auth.sock")[0] >= 0 or lacks("empty root directory")
    for service in ("imapd", "pop3d"):
        assert attempt(service, alice, "create mine")[0] >= 0
        assert attempt(service, alice, "rename mine large/mine")[0] >= 0
        assert attempt(service, alice, "unlink large/mine")[0] >= 0
        assert attempt(service, alice, "dir journal")[0] >= 0


@tap.test("before login: no files, processes, network or privilege" + WHO, timeout=200)
def _():
    bad = []
    for service in SERVICES:
        words = everywhere(bob)
        if not lacks("empty root directory"):
            words += files_elsewhere(bob)
            if service != "deliver":	# which asks authd for the stores of recipients
                words.append("unixpath /store.sock")
            # the empty root directory is its own parent, and an ordinary user's own
            words = [w for w in words if w not in ("chmod ..", "dir ../..") and
                     (ROOT or not w.startswith(("create /x", "create ../", "mkdir ", "watch ")))]
        bad += ["%s: %s" % (service, x) for x in run(service, None, words)]
    bob.check()
    assert visitors() == 0
    assert not bad, "possible before login:\n" + "\n".join(bad)


@tap.test("before login: the root directory is empty but for the sockets of authd and deliver" + WHO)
def _():
    want = {"imapd": {"auth.sock"}, "pop3d": {"auth.sock"}, "smtpd": {"auth.sock", "deliver.sock"}}
    for service, names in want.items():
        got = set(os.listdir(os.path.join(p.dir, "run", "jail", service)))
        assert got <= names | {"store.sock"} and ("store.sock" not in got), (service, got)


@tap.test("the listening sockets that a session shares with its brothers stay as they are" + WHO, timeout=90)
def _():
    bad = []
    for service in SERVICES:
        bad += ["%s: %s" % (service, x) for x in
                run(service, None, ["unlisten %s %s" % (how, by) for by in ("itself", "copy", "dup2", "fcntl")
                                    for how in ("shutdown", "connect", "option", "flags", "ioctl")])]
    assert not bad, "possible:\n" + "\n".join(bad)


@tap.test("after login: one's own store and nothing else" + WHO, timeout=200)
def _():
    bad = []
    for service in ("imapd", "pop3d", "smtpd"):
        words = everywhere(bob) + files_elsewhere(bob)
        words += ["unixpath /auth.sock", "unixpath /store.sock", "unixpath ../../../run/auth.sock", "anyaccept"]
        words += ["unix", "dir ..", "open ../.", "watch .."] if service != "smtpd" else ["dir ."]
        if not ROOT:	# other users' stores are this uid's, and the kernel guards their contents only
            words = [w for w in words if not w.startswith("watch ")]
        if service == "smtpd":		# it asks authd and deliver for each recipient and message
            words = [w for w in words if w not in ("unix", "unixpath /auth.sock")]
        bad += ["%s: %s" % (service, x) for x in run(service, alice, words)]
    bob.check()
    assert visitors() == 0
    assert not bad, "possible after login:\n" + "\n".join(bad)


def status(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


@tap.test("after login: uid, no new privileges, filter, no capabilities, root directory" + WHO)
def _():
    for service in ("imapd", "pop3d", "smtpd"):
        with Session(service, alice) as s:
            pid = s.turn("pid")[0]
            st = status(pid)
            assert st["NoNewPrivs"] == "1" and st["Seccomp"] == "2", st
            assert int(st["CapEff"], 16) == int(st["CapPrm"], 16) == int(st["CapInh"], 16) == 0, st
            uids, gids = set(st["Uid"].split()), set(st["Gid"].split())
            assert len(uids) == len(gids) == 1
            if not ROOT:
                continue
            import pwd
            name = "pennysmtp" if service == "smtpd" else "pennypost"
            assert uids == {str(pwd.getpwnam(name).pw_uid)} and "0" not in gids, st
            assert st["Groups"].strip() == "", st
            assert os.readlink("/proc/%d/root" % pid) == os.path.join(p.dir, "run", "jail", service)
            if service != "smtpd":
                assert os.readlink("/proc/%d/cwd" % pid) == p.store("alice")
            with open("/proc/%d/limits" % pid) as f:
                limits = f.read()
            assert "Max core file size        0 " in limits and "Max processes             0 " in limits, limits


@tap.test("what a session holds open: its connection, its log, its store" + WHO)
def _():
    if not ROOT:
        raise penny.Skip("the process is not dumpable: only root can look")
    for service in ("imapd", "pop3d"):
        with Session(service, alice) as s:
            pid = s.turn("pid")[0]
            d = "/proc/%d/fd" % pid
            links = sorted(os.readlink(os.path.join(d, fd)) for fd in os.listdir(d))
            for l in links:
                if l.startswith("/") and l != "/dev/null":
                    assert l.startswith((p.store("alice") + "/", p.dir + "/log/")) or l == p.store("alice"), links
            assert sum(l.startswith("socket:") for l in links) <= 2, links


@tap.test("bob's session has not noticed, his mail is there, and others can still log in" + WHO)
def _():
    bob.check()
    m = p.imap("bob")
    assert m.select()[1] == [b"1"]
    m.logout()
    p.send("alice", b"Subject: later\r\n\r\nx\r\n")
    m = p.imap("alice")
    assert m.select()[1] == [b"2"]
    m.logout()
    # the filter ends a process with SIGSYS and nothing else does
    signals = {l.split("signal=")[1].split()[0] for l in p.logs().splitlines() if "signal=" in l}
    assert signals <= {"31"}, signals
    assert "31" in signals


bob.s.close()
p.close()

if ROOT:
    # Again as an ordinary user; this file's other tests count there as lines of this one.
    user = "pnt%d" % (os.getpid() % 100000)
    sh("useradd", "-M", "-d", "/nonexistent", user)
    try:
        env = dict(os.environ, **{ORDINARY: so})
        env.pop("PENNY_PORT_BASE", None)
        r = subprocess.run(["setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups", sys.executable,
                            os.path.abspath(__file__)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=400, cwd="/")
        text = r.stdout.decode(errors="replace")
        for line in text.splitlines():
            if line.startswith(("ok ", "not ok ")):
                good, name = line.startswith("ok "), line.split(" - ", 1)[1]
                if "# SKIP" in name:
                    tap.skip(name.split(" # SKIP")[0], name.split("# SKIP ")[1])
                else:
                    tap.ok(good, name)
            elif not line.startswith("1.."):
                print(line if line.startswith("#") else "# " + line)
        tap.ok("\n1.." in text, "the run as an ordinary user has ended (exit %d)" % r.returncode, text[-2000:])
    finally:
        subprocess.run(["userdel", user], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
tap.done()
