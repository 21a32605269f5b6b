#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Quota on the wire: penny quota sets it, LMTP and SMTP refuse for it, IMAP tells it and refuses (RFC 9208), penny import
stops at it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from imap import bad, no, ok
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance(users=16)
aliases = os.path.join(p.dir, "aliases")
with open(aliases, "w") as f:
    f.write("team: u0, u1\nonly: u0\n")
os.chmod(aliases, 0o644)
p.set["deliver.aliases"] = aliases
p.start()
users = iter("u%d" % i for i in range(2, 16))


def penny(*args, rc=0):
    r = p.run("penny", *args)
    assert r.returncode == rc, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout.decode()


def quota(user, *args):
    """[used octets, limit, messages, limit, root] of each root."""
    return [line.split("\t") for line in penny("quota", user, *args).splitlines()]


def wire(user, select=b"SELECT INBOX"):
    w = p.connect(p.imap_port)
    w.line()
    ok(w, b"LOGIN %s %s" % (user.encode(), PASSWORD.encode()))
    if select:
        ok(w, select)
    return w


def deliver(port, hello, rcpt, octets, params=b""):
    """The reply to RCPT, and to the message when there is one."""
    with p.connect(port) as w:
        w.reply()
        w.smtp(hello)
        assert w.smtp(b"MAIL FROM:<a@b.example>" + params)[0].startswith(b"250")
        reply = w.smtp(b"RCPT TO:<%s@pennypost.test>" % rcpt.encode())[0]
        if not reply.startswith(b"250"):
            return reply, None
        assert w.smtp(b"DATA")[0].startswith(b"354")
        w.send(b"Subject: q\r\n\r\n" + b"x" * octets + b"\r\n.\r\n")
        return reply, w.reply()[0]


def lmtp(rcpt, octets, params=b""):
    return deliver(p.lmtp_port, b"LHLO x", rcpt, octets, params)


@tap.test("penny quota: sets, changes one limit, takes all away, shows what is used")
def _():
    user = next(users)
    p.send(user, b"Subject: a\r\n\r\n" + b"x" * 5000 + b"\r\n")
    used = quota(user)[0][0]
    assert int(used) > 5000 and quota(user) == [[used, "-", "1", "-", ""]]
    assert quota(user, "storage=2M", "messages=10") == [[used, str(2 << 20), "1", "10", ""]]
    assert quota(user, "messages=20") == [[used, str(2 << 20), "1", "20", ""]]
    assert quota(user, "storage=default") == [[used, "-", "1", "20", ""]]
    penny("mailbox", "create", user, "Lists/a")
    assert quota(user, "--mailbox", "Lists", "storage=1k")[1] == ["0", "1024", "0", "-", "Lists"]
    assert quota(user, "none") == [[used, "-", "1", "-", ""], ["0", "1024", "0", "-", "Lists"]]
    for args in (["storage=-1"], ["storage="], ["storage=1x"], ["messages=1k"], ["storage=99999999999T"], ["size=1"],
                 ["none", "messages=1"], ["--mailbox"]):
        penny("quota", user, *args, rc=64)
    penny("quota", user, "--mailbox", "nowhere", "messages=1", rc=66)
    assert len(quota(user)) == 2


@tap.test("delivery: a full mailbox is 552 5.2.2 at RCPT, by LMTP and SMTP; room makes it well")
def _():
    user = next(users)
    quota(user, "storage=20k")
    assert [r[:9] for r in lmtp(user, 15000)] == [b"250 2.1.5", b"250 2.0.0"]
    # what is declared too large is refused at once, what is not declared after it came
    assert lmtp(user, 10, b" SIZE=9000")[0].startswith(b"552 5.2.2")
    assert lmtp(user, 9000)[1].startswith(b"552 5.2.2")
    # a tenth more than the limit, once
    assert lmtp(user, 6000)[1].startswith(b"250")
    assert 20480 < int(quota(user)[0][0]) <= 20480 * 1.1
    for port, hello in ((p.lmtp_port, b"LHLO x"), (p.smtp_port, b"EHLO x")):
        reply, end = deliver(port, hello, user, 10)
        assert reply.startswith(b"552 5.2.2") and end is None, reply
    assert quota(user)[0][2] == "2"
    w = wire(user)
    ok(w, b"STORE 1 +FLAGS (\\Deleted)"), ok(w, b"EXPUNGE")
    assert lmtp(user, 10)[1].startswith(b"250")


@tap.test("delivery: an alias is not refused for one full member; a user by name beside others is, alone")
def _():
    quota("u0", "messages=0")
    reply, end = lmtp("team", 10)
    assert reply.startswith(b"250") and end.startswith(b"552 5.2.2"), (reply, end)
    assert quota("u0")[0][2] == "0" and quota("u1")[0][2] == "1"
    with p.connect(p.lmtp_port) as w:
        w.reply(), w.smtp(b"LHLO x"), w.smtp(b"MAIL FROM:<>")
        replies = [w.smtp(b"RCPT TO:<%s@pennypost.test>" % u)[0][:9] for u in (b"u0", b"u1", b"u0+sub")]
        assert replies == [b"552 5.2.2", b"250 2.1.5", b"552 5.2.2"], replies
        w.smtp(b"DATA")
        w.send(b"Subject: x\r\n\r\n.\r\n")
        assert w.reply()[0].startswith(b"250")
    assert quota("u1")[0][2] == "2"


@tap.test("IMAP: GETQUOTA, GETQUOTAROOT, nested roots, odd names")
def _():
    user = next(users)
    penny("mailbox", "create", user, "Lists/ü")
    quota(user, "storage=100k", "messages=50"), quota(user, "--mailbox", "Lists/ü", "messages=7")
    w = wire(user)
    caps = ok(w, b"CAPABILITY")[0].split()
    assert {b"QUOTA", b"QUOTA=RES-STORAGE", b"QUOTA=RES-MESSAGE"} <= set(caps) and b"QUOTASET" not in caps
    assert ok(w, b'GETQUOTA ""')[0] == b'* QUOTA "" (STORAGE 0 100 MESSAGE 0 50)'
    ok(w, b"APPEND INBOX {1025+}\r\n" + b"x" * 1025)
    assert ok(w, b'GETQUOTAROOT inbox')[:2] == [b'* QUOTAROOT inbox ""', b'* QUOTA "" (STORAGE 2 100 MESSAGE 1 50)']
    name = b"Lists/&APw-"
    assert ok(w, b"GETQUOTAROOT %s" % name)[:3] == [
        b'* QUOTAROOT %s "" %s' % (name, name), b'* QUOTA "" (STORAGE 2 100 MESSAGE 1 50)',
        b"* QUOTA %s (MESSAGE 0 7)" % name]
    assert ok(w, b"GETQUOTAROOT %s/new" % name)[0] == b'* QUOTAROOT %s/new "" %s' % (name, name)
    assert ok(w, b"GETQUOTAROOT nowhere")[0] == b'* QUOTAROOT nowhere ""'
    assert ok(w, b"GETQUOTA %s" % name)[0] == b"* QUOTA %s (MESSAGE 0 7)" % name
    no(w, b"GETQUOTA Lists", b"[NONEXISTENT]"), no(w, b"GETQUOTA &bad", b"[NONEXISTENT]")
    no(w, b"GETQUOTA %s" % (b"a" * 3000), b"[NONEXISTENT]"), no(w, b"GETQUOTAROOT a//b", b"[CANNOT]")
    no(w, b'SETQUOTA "" (STORAGE 512)', b"[NOPERM]"), no(w, b'SETQUOTA "" ()', b"[NOPERM]")
    for line in (b"GETQUOTA", b'GETQUOTA "" x', b"GETQUOTAROOT", b'SETQUOTA ""', b'SETQUOTA "" (STORAGE)',
                 b'SETQUOTA "" (STORAGE -1)', b'SETQUOTA "" (STORAGE 9223372036854775808)', b'SETQUOTA "" (STORAGE 1'):
        bad(w, line)
    assert quota(user)[0][1:4:2] == ["102400", "50"]
    # no limits: an empty list
    w = wire(next(users))
    assert ok(w, b'GETQUOTA ""')[0] == b'* QUOTA "" ()'


@tap.test("IMAP: APPEND is refused before the message is sent, COPY whole; MOVE within goes on; no session suffers")
def _():
    user = next(users)
    penny("mailbox", "create", user, "box"), penny("mailbox", "create", user, "Small")
    quota(user, "storage=4000"), quota(user, "--mailbox", "Small", "messages=1")
    w = wire(user)
    ok(w, b"APPEND INBOX {1500+}\r\n" + b"a" * 1500), ok(w, b"APPEND INBOX {1500+}\r\n" + b"b" * 1500)
    lines = w.imap(b"t", b"APPEND INBOX {1500}")		# no "+ OK" comes
    assert lines == [lines[-1]] and lines[-1].startswith(b"t NO [OVERQUOTA]"), lines
    no(w, b"APPEND INBOX {1500+}\r\n" + b"c" * 1500, b"[OVERQUOTA]")
    no(w, b"COPY 1:2 box", b"[OVERQUOTA]")
    assert ok(w, b"STATUS box (MESSAGES)")[0] == b"* STATUS box (MESSAGES 0)"
    ok(w, b"MOVE 1 box")
    no(w, b"MOVE 1 nowhere", b"[TRYCREATE]")
    ok(w, b"MOVE 1 Small"), ok(w, b"SELECT box")
    no(w, b"MOVE 1 Small", b"[OVERQUOTA]")		# its own root is full
    assert ok(w, b"STATUS Small (MESSAGES)")[0] == b"* STATUS Small (MESSAGES 1)"
    ok(w, b"APPEND box {900+}\r\n" + b"d" * 900)
    assert [q[0:4] for q in quota(user)] == [["3900", "4000", "3", "-"], ["1500", "-", "1", "1"]]


@tap.test("STATUS DELETED and DELETED-STORAGE")
def _():
    user = next(users)
    w = wire(user)
    for n in (100, 200, 300):
        ok(w, b"APPEND INBOX {%d+}\r\n" % n + b"x" * n)
    assert ok(w, b"STATUS INBOX (DELETED DELETED-STORAGE)")[0] == b"* STATUS INBOX (DELETED 0 DELETED-STORAGE 0)"
    ok(w, b"NOOP"), ok(w, b"STORE 1,3 +FLAGS (\\Deleted)")
    other = wire(user, None)
    assert ok(other, b"STATUS INBOX (MESSAGES DELETED DELETED-STORAGE)")[0] == (
        b"* STATUS INBOX (MESSAGES 3 DELETED 2 DELETED-STORAGE 400)")
    no(other, b"STATUS none (DELETED)")


@tap.test("penny import stops at the quota and says so; what was filed is kept and counted")
def _():
    user = next(users)
    mbox = os.path.join(p.dir, "mbox")
    with open(mbox, "wb") as f:
        for i in range(5):
            f.write(b"From a@b Sat Nov 21 00:00:00 2026\nSubject: %d\n\nbody\n\n" % i)
    os.chmod(mbox, 0o644)
    quota(user, "messages=3")
    r = p.run("penny", "import", "mbox", user, mbox)
    assert r.returncode == 73 and b"over quota" in r.stderr and b"messages=3" in r.stdout, r
    assert quota(user)[0][2] == "3"


@tap.test("the site's default, a user's own in its place, and deferring instead of refusing")
def _():
    user, free = next(users), next(users)
    p.set.update({"store.quota_messages": "1", "store.quota_storage": "1M", "deliver.quota_full": "defer"})
    p.restart()
    quota(free, "messages=unlimited")
    for u, end in ((user, b"452 4.2.2"), (free, b"250 2.1.5")):
        assert lmtp(u, 10)[1].startswith(b"250")
        assert lmtp(u, 10)[0].startswith(end)
    assert deliver(p.smtp_port, b"EHLO x", user, 10)[0].startswith(b"452 4.2.2")
    w = wire(user)
    assert ok(w, b'GETQUOTA ""')[0] == b'* QUOTA "" (STORAGE 1 1024 MESSAGE 1 1)'
    no(w, b"APPEND INBOX {3+}\r\nabc", b"[OVERQUOTA]")
    assert quota(free)[0][1:4:2] == [str(1 << 20), "-"]


p.close()
tap.done()
