#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The maildrop among other sessions: exclusive lock, snapshot, UPDATE only at QUIT (faults P06, P07, P10)."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import PASSWORD, Instance, Skip, Tap
from pop3 import Pop3, fill

tap = Tap()
A = b"Subject: one\r\n\r\n1\r\n"
B = b"Subject: two\r\n\r\n2\r\n"


def count(p, user):
    m = p.imap(user)
    n = int(m.select(readonly=True)[1][0])
    m.logout()
    return n


def established(pid):
    """Has this process a TCP connection that is up?"""
    inodes = set()
    for name in ("tcp", "tcp6"):
        with open("/proc/net/" + name) as f:
            inodes |= {l.split()[9] for l in f.readlines()[1:] if l.split()[3] == "01"}
    fds = "/proc/%d/fd" % pid
    try:
        return any(os.readlink(os.path.join(fds, fd))[8:-1] in inodes for fd in os.listdir(fds))
    except OSError:
        return False


with Instance(san=True) as p:
    @tap.test("P06: DELE and a dropped connection remove nothing")
    def _():
        fill(p, "alice", A, B)
        c = Pop3(p, "alice")
        c.ok(b"DELE 1")
        c.ok(b"DELE 2")
        c.close()
        assert count(p, "alice") == 2
        c = Pop3(p, "alice")
        assert c.ok(b"STAT") == b"+OK 2 %d" % (len(A) + len(B))
        c.ok(b"DELE 1")
        c.send(b"QUI")	# not a command
        c.close()
        time.sleep(0.2)
        assert count(p, "alice") == 2

    @tap.test("P06: pipelined DELE and QUIT from a client that is gone are done")
    def _():
        fill(p, "alice", A, B)
        c = Pop3(p, "alice")
        c.send(b"DELE 1\r\nQUIT\r\n")
        c.sock.shutdown(1)
        assert c.line().startswith(b"+OK") and c.line().startswith(b"+OK") and c.line() == b""
        assert count(p, "alice") == 1

    @tap.test("P10: a second session gets [IN-USE], the first goes on")
    def _():
        fill(p, "alice", A, B)
        c = Pop3(p, "alice")
        d = Pop3(p)
        d.ok(b"USER alice")
        reply = d.cmd(b"PASS " + PASSWORD.encode())
        assert reply.startswith(b"-ERR [IN-USE] "), reply
        c.ok(b"DELE 1")
        other = Pop3(p, "bob")	# another user's maildrop is his own
        other.quit()
        c.quit()
        c = Pop3(p, "alice")	# and the lock is gone as soon as the first one's QUIT is answered
        assert c.ok(b"STAT").startswith(b"+OK 1 ")
        c.quit()

    @tap.test("P10: the lock goes with a process that was killed")
    def _():
        fill(p, "alice", A)
        c = Pop3(p, "alice")
        busy = [pid for pid in p.pids("pop3d") if established(pid)]
        if not busy:
            raise Skip("descriptors of other processes can't be seen")
        os.kill(busy[0], signal.SIGKILL)
        assert c.at_end()
        d = Pop3(p, "alice")
        d.ok(b"STAT")
        d.quit()

    @tap.test("deliveries go on during a session, and show in the next")
    def _():
        fill(p, "alice", A)
        c = Pop3(p, "alice")
        p.send("alice", B)
        assert c.ok(b"STAT").startswith(b"+OK 1 ")
        assert len(c.lines(b"LIST")) == 1
        c.err(b"RETR 2")
        c.ok(b"DELE 1")
        c.quit()
        c = Pop3(p, "alice")
        assert c.ok(b"STAT").startswith(b"+OK 1 ")
        assert c.multi(b"RETR 1").endswith(B)
        c.quit()

    @tap.test("messages that IMAP expunges meanwhile: an answer, numbers stay, QUIT is fine")
    def _():
        fill(p, "alice", A, B, A)
        for ask_first in (True, False):
            fill(p, "alice", A, B, A)
            c = Pop3(p, "alice")
            if ask_first:
                assert len(c.lines(b"LIST")) == 3
            m = p.imap("alice")
            m.select()
            m.store("2", "+FLAGS", "\\Deleted")
            m.expunge()
            m.logout()
            if ask_first:
                reply = c.cmd(b"RETR 2")
                if reply.startswith(b"+OK"):
                    assert c.text() == B
                assert c.multi(b"RETR 3") == A
                c.ok(b"DELE 2")
            c.ok(b"DELE 1")
            c.quit()
            assert count(p, "alice") == 1

    @tap.test("INBOX renamed away under a session")
    def _():
        fill(p, "alice", A, B)
        c = Pop3(p, "alice")
        assert len(c.lines(b"LIST")) == 2
        m = p.imap("alice")
        assert m.rename("INBOX", "Elsewhere")[0] == "OK"
        c.cmd(b"NOOP")
        c.ok(b"DELE 1")
        reply = c.cmd(b"QUIT")
        assert reply.startswith((b"+OK", b"-ERR [SYS/")), reply
        left = int(m.select("Elsewhere")[1][0])		# moved messages may count as the same ones
        assert left == 2 or (left == 1 and reply.startswith(b"+OK")), (left, reply)
        m.select("INBOX")
        m.delete("Elsewhere")
        m.logout()

    @tap.test("P07: dots, CR LF CR LF, and octets of every value come back as they are")
    def _():
        body = bytes(i for i in range(1, 256) if i not in (10, 13))
        odd = (b"Subject: odd\r\n\r\n.\r\n..\r\n...\r\n.a\r\n\r\n.\r\n" + body + b"\r\n.\r\n\r\n\r\n")
        dots = b"Subject: dots\r\n\r\n" + b".\r\n" * 30000
        stuffed = b".\r\n\r\n.\r\n"
        fill(p, "alice", odd, dots, stuffed)
        c = Pop3(p, "alice")
        assert c.multi(b"RETR 1") == odd
        assert c.multi(b"RETR 2") == dots
        assert c.multi(b"RETR 3") == stuffed
        c.ok(b"NOOP")
        c.quit()

    @tap.test("P07: a bare LF, if IMAP takes it, does not bring POP3 out of step")
    def _():
        fill(p, "alice")
        m = p.imap("alice")
        text = b"Subject: lf\r\n\r\na\n.\nb\n.\r\nc\r\n"
        m.send(b"x APPEND INBOX {%d}\r\n" % len(text))
        if m.readline().startswith(b"+"):
            m.send(text + b"\r\n")
            took = m.readline().startswith(b"x OK")
        else:
            took = False
        m.shutdown()
        if took:
            c = p.pop3("alice")		# poplib ends lines at LF, as many clients do
            lines = c.retr(1)[1]
            assert lines == [b"Subject: lf", b"", b"a", b".", b"b", b".", b"c"], lines
            assert c.noop().startswith(b"+OK")
            c.quit()

    @tap.test("large messages, with dots and without, with TLS and without", timeout=120)
    def _():
        line = b"0123456789" * 7 + b"\r\n"
        for body in (line * 70000, (line * 1000 + b".\r\n") * 70, b"z" * 3000000):
            text = b"Subject: large\r\n\r\n" + body + (b"" if body.endswith(b"\n") else b"\r\n")
            fill(p, "alice", text)
            c = Pop3(p, "alice")
            assert c.ok(b"RETR 1") == b"+OK %d octets" % len(text)
            assert c.text() == text
            assert c.multi(b"TOP 1 0") == b"Subject: large\r\n\r\n"
            c.quit()
            c = Pop3(p)
            c.ok(b"STLS")
            c.start_tls(p.tls())
            c.ok(b"USER alice")
            c.ok(b"PASS " + PASSWORD.encode())
            assert c.multi(b"RETR 1") == text
            c.quit()

    @tap.test("10,000 header lines and 2,000 messages")
    def _():
        many = b"".join(b"X-%d: y\r\n" % i for i in range(10000)) + b"\r\nbody\r\n"
        fill(p, "alice", many)
        c = Pop3(p, "alice")
        assert c.multi(b"RETR 1") == many
        assert c.multi(b"TOP 1 0") == many[:-6]
        c.quit()
        m = p.imap("bob")
        m.send(b"".join(b"a%d APPEND INBOX {%d+}\r\n%s\r\n" % (i, len(A), A) for i in range(2000)))
        while not m.readline().startswith(b"a1999 "):
            pass
        m.shutdown()
        c = Pop3(p, "bob")
        assert c.ok(b"STAT") == b"+OK 2000 %d" % (2000 * len(A))
        assert len(set(c.uids())) == 2000
        c.send(b"".join(b"RETR %d\r\nDELE %d\r\n" % (i, i) for i in range(1, 2001)))
        for i in range(2000):
            assert c.line().startswith(b"+OK") and c.text() == A and c.line().startswith(b"+OK")
        c.quit()
        assert count(p, "bob") == 0

    @tap.test("a drain closes without a word and removes nothing", timeout=90)
    def _():
        fill(p, "alice", A)
        c = Pop3(p, "alice")
        c.ok(b"DELE 1")
        p.stop()
        assert c.line() == b""
        p.start()
        assert count(p, "alice") == 1

tap.done()
