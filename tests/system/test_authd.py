#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""authd with real system accounts and real PAM modules, in a mount namespace with an /etc of its own: right and wrong
passwords; expired, locked and homeless accounts; accounts that are not for mail; modules that hang, crash, exit,
print or ask too much (faults, W-A1, W-A3); a password that changes (W-A4); the same time for every refusal (S36);
processes of authd killed in the middle (W-A2)."""
import array
import collections
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import BUILD, ROOT, SRC, Tap

INSIDE = "PENNY_AUTHD_TEST_DIR"
YES, DENIED, LIMIT, TEMP, NOENT, CLOSED = 1, 2, 3, 4, 5, 0
GOOD = b"Right word 1"
DELAY_S = 0.3
PAM_TIMEOUT_S = 3
# uids: below min_uid only "daemon"
ACCOUNTS = {"okay": [], "expired": ["chage", "-E", "2020-01-01"], "locked": ["usermod", "-L"],
            "mustchange": ["chage", "-d", "0"], "homeless": ["usermod", "-d", "/nonexistent/x"],
            "noshell": ["usermod", "-s", "/usr/sbin/nologin"], "changes": [], "other": []}

MODULE = r"""
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ask(pam_handle_t *h, int style, int times)
{
	char *reply = NULL;
	int r = PAM_SUCCESS;

	while (times-- > 0 && r == PAM_SUCCESS)
		r = pam_prompt(h, style, &reply, "more?");
	return r;
}

static int shout(pam_handle_t *h)
{
	static char text[1 << 20];
	const struct pam_message m = { PAM_TEXT_INFO, text }, *mp = &m;
	const struct pam_conv *c;
	struct pam_response *r;

	memset(text, 'x', sizeof text - 1);
	pam_get_item(h, PAM_CONV, (const void **)&c);
	return c->conv(1, &mp, &r, c->appdata_ptr);
}

static int print_everywhere(void)
{
	static const char zeros[600];

	for (int fd = 0; fd < 64; fd++)
		(void)!write(fd, zeros, sizeof zeros);
	return PAM_SUCCESS;
}

int pam_sm_authenticate(pam_handle_t *h, int flags, int argc, const char **argv)
{
	const char *p;
	const void *rhost = "", *tty = "";

	(void)flags, (void)argc, (void)argv;
	if (pam_get_authtok(h, PAM_AUTHTOK, &p, NULL) != PAM_SUCCESS)
		return PAM_AUTH_ERR;
	if (strcmp(p, "yes") == 0)
		return PAM_SUCCESS;
	if (strcmp(p, "hang") == 0)
		sleep(60);
	if (strcmp(p, "crash") == 0)
		raise(SIGSEGV);
	if (strcmp(p, "exit") == 0)
		exit(0);
	if (strcmp(p, "print") == 0)
		return print_everywhere();
	if (strcmp(p, "ask") == 0)
		return ask(h, PAM_PROMPT_ECHO_OFF, 3);
	if (strcmp(p, "echo") == 0)
		return ask(h, PAM_PROMPT_ECHO_ON, 1);
	if (strcmp(p, "shout") == 0)
		return shout(h);
	if (strcmp(p, "tell") == 0)
		return ask(h, PAM_TEXT_INFO, 5);
	if (strcmp(p, "flood") == 0)
		return ask(h, PAM_TEXT_INFO, 50);
	if (strcmp(p, "away") == 0)
		return PAM_AUTHINFO_UNAVAIL;
	if (strcmp(p, "root") == 0)
		return pam_set_item(h, PAM_USER, "root");
	if (strcmp(p, "path") == 0)
		return pam_set_item(h, PAM_USER, "../okay");
	if (strcmp(p, "slow") == 0)
		return pam_fail_delay(h, 5000000), PAM_AUTH_ERR;
	pam_get_item(h, PAM_RHOST, &rhost);
	pam_get_item(h, PAM_TTY, &tty);
	if (strcmp(p, "items") == 0)
		return strcmp(rhost, "192.0.2.77") == 0 && strcmp(tty, "imap") == 0 &&
		    getenv("LISTEN_FDS") == NULL ? PAM_SUCCESS : PAM_AUTH_ERR;
	return PAM_AUTH_ERR;
}

int pam_sm_setcred(pam_handle_t *h, int flags, int argc, const char **argv)
{
	(void)h, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}

int pam_sm_acct_mgmt(pam_handle_t *h, int flags, int argc, const char **argv)
{
	(void)h, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}
"""

CONF = """[site]
domain = pennypost.test
[auth]
source = pam
fail_delay = %dms
[store]
post_office = %s/office
user = nobody
group = nogroup
[process]
run_dir = %s
spare_min = 8
[log]
to = %s/log
[authd]
pam_timeout = %ds
"""

tap = Tap()


def sh(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def enter_namespace():
    """Starts this file again with a private /etc. False when this machine has none to offer."""
    d = tempfile.mkdtemp(prefix="penny-authd.")
    script = ('mount --make-rprivate / && mount -t tmpfs none "$1" && mkdir "$1/u" "$1/w" && chmod 755 "$1" && '
              'mount -t overlay -o "lowerdir=/etc,upperdir=$1/u,workdir=$1/w" none /etc || exit 99; '
              'exec "$2" "$3"')
    env = dict(os.environ, **{INSIDE: d})
    r = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", d, sys.executable,
                        os.path.abspath(__file__)], env=env)
    shutil.rmtree(d, ignore_errors=True)
    return r.returncode


# -- authd and its questions --

def frame(kind, *fields):
    body = b"".join(struct.pack("<H", len(f)) + f for f in fields)
    return struct.pack("<BBHI", 1, ord(kind), len(body), 7) + body


class Authd:
    def __init__(self, where):
        self.dir = where
        conf = where + "/authd.conf"
        with open(conf, "w") as f:
            f.write(CONF % (DELAY_S * 1000, where, where, where, PAM_TIMEOUT_S))
        self.socks = []
        for name in ("auth", "store"):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.bind("%s/%s.sock" % (where, name))
            s.listen(1000)
            self.socks.append(s)
        self.start(conf)

    def start(self, conf):
        high = [s.fileno() for s in self.socks]

        def hand_over():
            moved = [os.dup(fd) for fd in high]
            while min(moved) < 5:
                moved = [os.dup(fd) for fd in moved]
            for i, fd in enumerate(moved):
                os.dup2(fd, 3 + i)
            os.closerange(5, 256)
            os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="auth:store")
            os.execv(BUILD + "/libexec/authd", ["authd", "-c", conf])
        self.pid = os.fork()
        if self.pid == 0:
            hand_over()

    def ask(self, name, packet, timeout=20):
        """verdict, wait in seconds, user, descriptor or None; the verdict is CLOSED without an answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(timeout)
            s.connect("%s/%s.sock" % (self.dir, name))
            s.send(packet)
            try:
                data, anc, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(4))
            except ConnectionError:
                return CLOSED, 0, b"", None
        if not data:
            return CLOSED, 0, b"", None
        fd = None
        for _, _, octets in anc:
            fd = array.array("i", octets)[0]
        n, = struct.unpack_from("<H", data, 17)
        return data[10], struct.unpack_from("<I", data, 13)[0] / 1000, data[19:19 + n], fd

    def login(self, user, password, service="pop3", ip=None, want=False):
        ip = ip or "192.0.2.%d" % random.randrange(1, 70)
        v, wait, name, fd = self.ask("auth", frame("L", service.encode(), b"PLAIN", ip.encode(),
                                     bytes([3 if want else 1]), user.encode(), password, b""))
        self.wait, self.name = wait, name
        if want and v == YES:
            st = os.fstat(fd)
            assert st.st_mode & 0o7777 == 0o700 and st.st_uid != 0
        if fd is not None:
            os.close(fd)
        return v

    def children(self):
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
            return [int(p) for p in f.read().split()]

    def close(self):
        os.kill(self.pid, 15)
        os.waitpid(self.pid, 0)


def setup(where):
    for name, change in ACCOUNTS.items():
        sh("useradd", "-M", name)
        sh("chpasswd", input=name.encode() + b":" + GOOD + b"\n")
        if change:
            sh(*change, name)
    sh("useradd", "-r", "lowuid")
    sh("chpasswd", input=b"lowuid:" + GOOD + b"\n")
    with open(where + "/m.c", "w") as f:
        f.write(MODULE)
    sh("cc", "-shared", "-fPIC", "-o", where + "/m.so", where + "/m.c", "-lpam")
    shutil.copy(SRC + "/packaging/pam.d/pennypost", "/etc/pam.d/pennypost")
    with open("/etc/pam.d/pennypost-imap", "w") as f:
        f.write("auth required %s/m.so\naccount required %s/m.so\n" % (where, where))
    time.sleep(4)		# files just written keep authd from remembering successes


def tests(a):
    @tap.test("accounts: right and wrong passwords, expired, locked, homeless, not for mail")
    def _():
        for user, want in (("okay", YES), ("homeless", YES), ("noshell", YES), ("okay@pennypost.test", YES),
                           ("expired", DENIED), ("locked", DENIED), ("mustchange", DENIED), ("lowuid", DENIED),
                           ("nobody", DENIED), ("root", DENIED), ("nosuch", DENIED), ("-okay", DENIED),
                           ("../okay", DENIED), ("okay/", DENIED), ("", DENIED), ("o" * 255, DENIED)):
            for service in ("pop3", "smtp"):
                got = a.login(user, GOOD, service, want=want == YES)
                assert got == want, (user, service, got)
                assert (a.wait == 0) == (want == YES), (user, a.wait)
        for bad in (b"", b"right word 1", GOOD + b" ", GOOD + b"\0", GOOD[:-1], b"x" * 1024):
            assert a.login("okay", bad) == DENIED, bad

    @tap.test("stores: made for those who are there, none for the others")
    def _():
        assert a.ask("store", frame("S", b"\x00", b"OKAY"))[0::2][:2] == (YES, b"okay")
        for name in (b"root", b"lowuid", b"nobody", b"nosuch", b"../okay", b".", b"okay\0"):
            assert a.ask("store", frame("S", b"\x02", name))[0] == NOENT, name
        assert sorted(os.listdir(a.dir + "/office")) == ["h", "n", "o"]
        for where, _, _ in os.walk(a.dir + "/office"):
            assert os.stat(where).st_mode & 0o7777 == 0o700, where

    @tap.test("modules that misbehave cost their own login only", timeout=60)
    def _():
        for word, want in (("yes", YES), ("crash", TEMP), ("exit", TEMP), ("print", TEMP), ("ask", DENIED),
                           ("echo", DENIED), ("shout", DENIED), ("tell", YES), ("flood", DENIED), ("away", TEMP),
                           ("root", DENIED), ("path", DENIED), ("slow", DENIED), ("no", DENIED)):
            t = time.monotonic()
            got = a.login("okay", word.encode(), "imap")
            assert got == want, (word, got)
            assert time.monotonic() - t < 1, word
        assert a.login("okay", b"items", "imap", ip="192.0.2.77") == YES

    @tap.test("a module that hangs ends in time, and nobody waits for it")
    def _():
        got = []
        t = time.monotonic()
        hangs = [threading.Thread(target=lambda: got.append(a.login("okay", b"hang", "imap"))) for _ in range(3)]
        for h in hangs:
            h.start()
        while time.monotonic() - t < PAM_TIMEOUT_S - 1:
            b = time.monotonic()
            assert a.login("other", b"yes", "imap") == YES
            assert time.monotonic() - b < 0.5
            time.sleep(0.1)
        for h in hangs:
            h.join()
        assert got == [TEMP] * 3, got
        assert time.monotonic() - t < PAM_TIMEOUT_S + 2

    @tap.test("a changed password, a locked user: out at once")
    def _():
        assert a.login("changes", GOOD) == YES and a.login("changes", GOOD) == YES
        sh("chpasswd", input=b"changes:Other word 2\n")
        assert a.login("changes", GOOD) == DENIED
        assert a.login("changes", b"Other word 2") == YES
        time.sleep(4)
        assert a.login("changes", b"Other word 2") == YES and a.login("changes", b"Other word 2") == YES
        sh("usermod", "-L", "changes")
        assert a.login("changes", b"Other word 2") == DENIED

    @tap.test("every refusal takes the same time")
    def _():
        took = collections.defaultdict(list)
        for i in range(6):
            for user in ("other", "nosuch%d" % i, "expired", "root"):
                t = time.monotonic()
                assert a.login(user, b"wrong", ip="127.0.0.1") == DENIED
                took[user.rstrip("012345")].append(time.monotonic() - t + a.wait)
        medians = [statistics.median(v) for v in took.values()]
        print("# medians: %s" % ", ".join("%.3f" % m for m in medians))
        assert min(medians) >= DELAY_S - 0.01 and max(medians) - min(medians) < 0.05, medians

    @tap.test("an address that does not wait is told so, a guesser waits longer and longer")
    def _():
        v = [(a.login("guessed", b"x", ip="198.51.100.1"), a.wait) for _ in range(25)]
        assert v[-1][0] == LIMIT and v[0][0] == DENIED
        assert max(w for _, w in v) > 2 * DELAY_S
        assert a.login("okay", GOOD, ip="198.51.100.2") == YES and a.wait == 0

    @tap.test("processes of authd killed: no wrong yes, no wrong no", timeout=60)
    def _():
        seen = collections.Counter()
        end = time.monotonic() + 6

        def guess(password):
            while time.monotonic() < end:
                seen[password == GOOD, a.login("okay", password, ip="127.0.0.1")] += 1
        threads = [threading.Thread(target=guess, args=(p,)) for p in (GOOD, GOOD, b"wrong")]
        for t in threads:
            t.start()
        kills = 0
        while time.monotonic() < end:
            try:
                os.kill(random.choice(a.children() or [0]) or a.children()[0], 9)
                kills += 1
            except (ProcessLookupError, IndexError):
                pass
            time.sleep(0.02)
        for t in threads:
            t.join()
        print("# %d kills: %s" % (kills, dict(seen)))
        assert not set(seen) - {(True, YES), (True, TEMP), (True, CLOSED), (False, DENIED), (False, TEMP),
                                (False, CLOSED)}, seen
        assert seen[True, YES] > 10 and a.login("okay", GOOD) == YES

    @tap.test("the log has no password in it")
    def _():
        with open(a.dir + "/log", "rb") as f:
            log = f.read()
        assert b"auth.login.failed" in log and b"auth.login.ok" in log
        for word in (b"Right word", b"Other word", b"wrong\n"):
            assert word not in log, word


if INSIDE in os.environ:
    scratch = os.environ[INSIDE]
    setup(scratch)
    authd = Authd(scratch)
    try:
        tests(authd)
    finally:
        authd.close()
    tap.done()
elif not ROOT:
    tap.skip("authd with system accounts", "needs root")
    tap.done()
else:
    code = enter_namespace()
    if code == 99:
        tap.skip("authd with system accounts", "no mount namespace with an overlay here")
        tap.done()
    sys.exit(code)
