#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""System accounts through PAM, end to end: logins by IMAP, POP3 and SMTP AUTH of real accounts in every state, and
with modules that misbehave. Accounts and PAM services are this test's own and are gone after it."""
import atexit
import base64
import imaplib
import os
import poplib
import shutil
import smtplib
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import ROOT, Instance, Tap

tap = Tap()
if not ROOT:
    tap.skip("system accounts", "making them needs root")
    tap.done()

PREFIX = "pnt%d" % (os.getpid() % 100000)
WORD = "Right word 1"
SERVICES = ("imap", "pop3", "smtp")

# Misbehaves for our own accounts, by the name's last word; ignores all others, as somebody may be logging in elsewhere.
MODULE = r"""
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int prompts(pam_handle_t *h)
{
	char *reply;

	for (int i = 0; i < 3; i++)
		if (pam_prompt(h, PAM_PROMPT_ECHO_OFF, &reply, "word %d", i) != PAM_SUCCESS)
			return PAM_CONV_ERR;
	return PAM_SUCCESS;
}

static int message(pam_handle_t *h)
{
	static char text[1 << 20];

	memset(text, 'x', sizeof text - 1);
	return pam_prompt(h, PAM_TEXT_INFO, NULL, "%s", text) == PAM_SUCCESS ? PAM_SUCCESS : PAM_AUTH_ERR;
}

int pam_sm_authenticate(pam_handle_t *h, int flags, int argc, const char **argv)
{
	const char *user = "", *what;
	size_t n = strlen(PREFIX);

	(void)flags, (void)argc, (void)argv;
	if (pam_get_user(h, &user, NULL) != PAM_SUCCESS || strncmp(user, PREFIX, n) != 0)
		return PAM_IGNORE;
	what = user + n;
	if (strcmp(what, "sleep") == 0)
		sleep(60);
	if (strcmp(what, "crash") == 0)
		raise(SIGSEGV);
	if (strcmp(what, "exit") == 0)
		exit(0);
	if (strcmp(what, "print") == 0) {
		for (int fd = 0; fd < 256; fd++)
			dprintf(fd, "A OK done\r\n+OK done\r\n235 done\r\n%500s", "");
		exit(0);
	}
	if (strcmp(what, "ask") == 0)
		return prompts(h);
	if (strcmp(what, "shout") == 0)
		return message(h);
	return PAM_IGNORE;
}

int pam_sm_setcred(pam_handle_t *h, int flags, int argc, const char **argv)
{
	(void)h, (void)flags, (void)argc, (void)argv;
	return PAM_IGNORE;
}
"""
HOSTILE = ("sleep", "crash", "exit", "print", "ask", "shout")

# name: what is done to it after it was made with a right password
ACCOUNTS = {"ok": [], "other": [], "expired": ["chage", "-E", "0"], "locked": ["usermod", "-L"],
            "mustchange": ["chage", "-d", "0"], "homeless": ["usermod", "-d", "/nonexistent/home"],
            "changes": [], "nosmtp": [], "expires": []}

scratch = tempfile.mkdtemp(prefix="pennypost-test.")
made = []	# what is undone at the end, last first


def sh(*args, input=None):
    r = subprocess.run(args, input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert r.returncode == 0, "%s: %s" % (" ".join(args), r.stdout.decode(errors="replace"))


def undo():
    while made:
        kind, name = made.pop()
        if kind == "account":
            subprocess.run(["userdel", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        elif os.path.exists(name):
            os.unlink(name)
    shutil.rmtree(scratch, ignore_errors=True)


def add_account(name, *options):
    made.append(("account", PREFIX + name))
    sh("useradd", "-M", *options, PREFIX + name)
    sh("chpasswd", input=("%s%s:%s\n" % (PREFIX, name, WORD)).encode())


def set_up():
    os.chmod(scratch, 0o755)
    with open(scratch + "/m.c", "w") as f:
        f.write(MODULE)
    sh("cc", "-Wall", "-shared", "-fPIC", '-DPREFIX="%s"' % PREFIX, "-o", scratch + "/m.so", scratch + "/m.c",
       "-lpam")
    for name, change in ACCOUNTS.items():
        add_account(name)
        if change:
            sh(*change, PREFIX + name)
    add_account("low", "-r")
    for name in HOSTILE:
        add_account(name)
    for s in SERVICES:
        path = "/etc/pam.d/pennypost-" + s
        assert not os.path.exists(path), "%s is in the way" % path
        made.append(("file", path))
        with open(path, "w") as f:
            f.write("auth required %s/m.so\n@include common-auth\n@include common-account\n" % scratch)
            if s == "smtp":
                f.write("account required pam_succeed_if.so quiet user != %snosmtp\n" % PREFIX)


# -- logins: True, False (refused), or "temp" --

def imap(user, word):
    m = imaplib.IMAP4("127.0.0.1", p.imap_port, timeout=30)
    try:
        m.login('"%s"' % user, word)
        return m.select()[0] == "OK"
    except imaplib.IMAP4.error as e:
        return "temp" if "[UNAVAILABLE]" in str(e) else False
    finally:
        m.shutdown()


def pop3(user, word):
    m = poplib.POP3("127.0.0.1", p.pop3_port, timeout=30)
    try:
        m.user(user)
        m.pass_(word)
        return m.stat()[0] >= 0
    except poplib.error_proto as e:
        return "temp" if b"[SYS/TEMP]" in e.args[0] else False
    finally:
        m.close()


def smtp(user, word):
    m = smtplib.SMTP("127.0.0.1", p.submission_port, timeout=30)
    try:
        m.ehlo()
        code, _ = m.docmd("AUTH PLAIN", base64.b64encode(("\0%s\0%s" % (user, word)).encode()).decode())
        return True if code == 235 else "temp" if code in (454, 421) else False
    finally:
        m.close()


LOGINS = {"imap": imap, "pop3": pop3, "smtp": smtp}


def expect(want, user, word=WORD, services=SERVICES):
    for s in services:
        got = LOGINS[s](user, word)
        assert got == want, "%s of %s: %s, not %s" % (s, user, got, want)


def me(name):
    return PREFIX + name


atexit.register(undo)
set_up()
# Refusals take a while on purpose, and longer for who tries often: as little as can be, for many are tried here.
p = Instance(set={"auth.source": "pam", "auth.fail_delay": "50ms", "auth.fail_delay_max": "100ms"}).start()


@tap.test("the right password lets in, by IMAP, POP3 and SMTP; others don't")
def _():
    expect(True, me("ok"))
    for wrong in ("wrong", WORD[:-1], WORD + "x", WORD.lower(), "x" * 200):
        expect(False, me("ok"), wrong)
    expect(False, me("nosuch"))
    expect(True, me("ok"))


@tap.test("mail for an account arrives in its own store, made at its first use")
def _():
    p.send(me("other"), b"Subject: x\r\n\r\nfor a system account\r\n")
    m = p.imap(me("other"), WORD)
    assert m.select()[1] == [b"1"]
    assert m.fetch("1", "(BODY[TEXT])")[1][0][1] == b"for a system account\r\n"
    m.logout()
    st = os.stat(p.store(me("other")))
    assert st.st_mode & 0o777 == 0o700 and st.st_uid != 0
    for name in ("nosuch", "low"):	# nobody there, nobody for mail
        with p.smtp() as s:
            s.ehlo()
            s.mail("a@example.org")
            assert s.rcpt("%s@pennypost.test" % me(name))[0] == 550


@tap.test("an expired account, a locked one, one that must change its password: refused")
def _():
    for name in ("expired", "locked", "mustchange"):
        expect(False, me(name))
    # Debian's common-account makes one word of all of them
    p.wait_log(r"auth.login.failed .*user=%s .*reason=(expired|not-permitted)" % me("expired"))


@tap.test("an account without a home has mail like any other: its store is not there")
def _():
    expect(True, me("homeless"))


@tap.test("root and accounts below min_uid are refused whatever the password")
def _():
    expect(False, me("low"))
    for word in (WORD, "", "root", "toor"):
        expect(False, "root", word)
    expect(False, "daemon")
    expect(False, "nobody")


@tap.test("no name reaches further than a name: separators, controls, lengths")
def _():
    for name in ("../" + me("ok"), me("ok") + "/", "-" + me("ok"), "a" * 257, me("ok") + " ", ".", ".."):
        for s in SERVICES:
            assert LOGINS[s](name, WORD) in (False, "temp"), (s, name)


@tap.test("a service of its own for each protocol: who may not send may still read")
def _():
    expect(True, me("nosmtp"), services=("imap", "pop3"))
    expect(False, me("nosmtp"), services=("smtp",))


@tap.test("a change takes effect at once: password, lock, expiry", timeout=90)
def _():
    expect(True, me("changes"))
    expect(True, me("changes"))
    sh("chpasswd", input=("%s:Other word 2\n" % me("changes")).encode())
    expect(False, me("changes"))
    expect(True, me("changes"), "Other word 2")
    sh("usermod", "-L", me("changes"))
    expect(False, me("changes"), "Other word 2")
    sh("usermod", "-U", me("changes"))
    expect(True, me("changes"), "Other word 2")
    expect(True, me("expires"))
    sh("chage", "-E", "0", me("expires"))
    expect(False, me("expires"))


@tap.test("a module that crashes, exits, prints, asks too much or talks too much: nobody is let in by it")
def _():
    for name, want in (("crash", "temp"), ("exit", "temp"), ("print", "temp"), ("ask", False), ("shout", False)):
        began = time.monotonic()
        expect(want, me(name))
        assert time.monotonic() - began < 12, name
    expect(True, me("ok"))


@tap.test("a module that hangs costs one login, in bounded time; the others do not wait", timeout=60)
def _():
    results = []

    def hang(service):
        began = time.monotonic()
        got = LOGINS[service](me("sleep"), WORD)
        results.append((service, got, time.monotonic() - began))
    threads = [threading.Thread(target=hang, args=(s,)) for s in SERVICES for _ in range(2)]
    for t in threads:
        t.start()
    took = []
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for s in SERVICES:
            began = time.monotonic()
            assert LOGINS[s](me("ok"), WORD) is True
            took.append(time.monotonic() - began)
        time.sleep(0.1)
    for t in threads:
        t.join()
    took.sort()
    print("# %d other logins meanwhile: median %.0f ms, slowest %.0f ms; the hanging ones %.1f s"
          % (len(took), took[len(took) // 2] * 1000, took[-1] * 1000, max(r[2] for r in results)))
    assert took[len(took) // 2] < 0.5 and took[-1] < 3, took[-1]
    for service, got, s in results:
        assert got == "temp" and s < 14, results


@tap.test("no password is in the log")
def _():
    log = p.logs()
    assert "auth.login.failed" in log and "auth.login.ok" in log
    for word in (WORD, "Other word"):
        assert word not in log


tap.done()
