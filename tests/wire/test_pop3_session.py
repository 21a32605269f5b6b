#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""POP3 as RFC 1939, 2449, 2595 and 5034 describe it: commands, states, replies, pipelining."""
import base64
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import PASSWORD, Instance, Tap
from pop3 import Pop3, fill

tap = Tap()
A = b"From: a@example.org\r\nSubject: one\r\n\r\nline 1\r\nline 2\r\nline 3\r\n"
B = b"Subject: two\r\n\r\n" + b"x" * 990 + b"\r\n"
C = b"Subject: three\r\n\r\n.\r\n..\r\n.x\r\n"


def plain(user, password, authzid=""):
    return base64.b64encode(("%s\0%s\0%s" % (authzid, user, password)).encode())


with Instance(san=True) as p:
    @tap.test("greeting without an APOP stamp, QUIT before login")
    def _():
        c = Pop3(p)
        assert c.greeting.startswith(b"+OK ") and b"<" not in c.greeting, c.greeting
        c.quit()

    @tap.test("an empty maildrop")
    def _():
        fill(p, "alice")
        c = Pop3(p, "alice")
        assert c.ok(b"STAT") == b"+OK 0 0"
        assert c.lines(b"LIST") == [] and c.lines(b"UIDL") == []
        c.err(b"RETR 1")
        c.quit()

    @tap.test("STAT, LIST, UIDL, RETR, TOP and their octet counts agree")
    def _():
        fill(p, "alice", A, B, C)
        c = Pop3(p, "alice")
        sizes = [len(m) for m in (A, B, C)]
        assert c.ok(b"STAT") == b"+OK 3 %d" % sum(sizes)
        assert c.lines(b"LIST") == [b"%d %d" % (i + 1, n) for i, n in enumerate(sizes)]
        assert c.ok(b"LIST 2") == b"+OK 2 %d" % sizes[1]
        for i, m in enumerate((A, B, C)):
            first = c.ok(b"RETR %d" % (i + 1))
            assert first == b"+OK %d octets" % len(m), first
            assert c.text() == m
        assert c.multi(b"TOP 1 0") == A[:A.index(b"line 1")]
        assert c.multi(b"TOP 1 2") == A[:A.index(b"line 3")]
        assert c.multi(b"TOP 1 99") == A
        assert c.multi(b"TOP 3 2") == b"Subject: three\r\n\r\n.\r\n..\r\n"
        uids = c.uids()
        assert len(set(uids)) == 3 and all(0 < len(u) <= 70 and b" " not in u for u in uids)
        assert c.ok(b"UIDL 3") == b"+OK 3 " + uids[2]
        c.quit()

    @tap.test("commands and mechanisms in any case, spaces behind arguments")
    def _():
        fill(p, "alice", A)
        c = Pop3(p)
        c.ok(b"user alice")
        c.ok(b"pAsS " + PASSWORD.encode())
        c.ok(b"stat ")
        c.ok(b"list 1 ")
        c.ok(b"Noop")
        c.quit()
        c = Pop3(p)
        c.ok(b"auth plain " + plain("alice", PASSWORD))
        c.quit()

    @tap.test("UIDL is the same in every session, and never given twice")
    def _():
        fill(p, "alice", A, B)
        c = Pop3(p, "alice")
        first = c.uids()
        c.ok(b"DELE 2")
        c.quit()
        m = p.imap("alice")
        m.append("INBOX", None, None, C)
        m.logout()
        c = Pop3(p, "alice")
        second = c.uids()
        assert second[0] == first[0] and second[1] not in first, (first, second)
        c.quit()

    @tap.test("DELE, RSET and what counts after them")
    def _():
        fill(p, "alice", A, B, C)
        c = Pop3(p, "alice")
        c.ok(b"DELE 2")
        c.err(b"DELE 2")
        c.err(b"RETR 2")
        c.err(b"TOP 2 0")
        c.err(b"LIST 2")
        c.err(b"UIDL 2")
        assert c.ok(b"STAT") == b"+OK 2 %d" % (len(A) + len(C))
        assert [l.split()[0] for l in c.lines(b"LIST")] == [b"1", b"3"]
        assert [l.split()[0] for l in c.lines(b"UIDL")] == [b"1", b"3"]
        c.ok(b"RSET")
        assert c.ok(b"STAT") == b"+OK 3 %d" % (len(A) + len(B) + len(C))
        c.ok(b"DELE 1")
        c.ok(b"DELE 3")
        c.quit()
        c = Pop3(p, "alice")
        assert c.ok(b"STAT") == b"+OK 1 %d" % len(B)
        assert c.multi(b"RETR 1") == B
        c.quit()

    @tap.test("a message without a final line end gets one; an empty header, an empty body")
    def _():
        fill(p, "alice", b"Subject: x\r\n\r\nno end", b"\r\nbody\r\n", b"Subject: only\r\n\r\n")
        c = Pop3(p, "alice")
        assert c.multi(b"RETR 1") == b"Subject: x\r\n\r\nno end\r\n"
        assert c.multi(b"RETR 2") == b"\r\nbody\r\n"
        assert c.multi(b"TOP 2 0") == b"\r\n"
        assert c.multi(b"RETR 3") == b"Subject: only\r\n\r\n"
        assert c.multi(b"TOP 3 5") == b"Subject: only\r\n\r\n"
        c.quit()

    @tap.test("CAPA in both states, with and without TLS")
    def _():
        c = Pop3(p)
        caps = c.lines(b"CAPA")
        for need in (b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING", b"EXPIRE NEVER",
                     b"USER", b"SASL PLAIN LOGIN", b"STLS", b"IMPLEMENTATION Pennypost"):
            assert need in caps, (need, caps)
        c.ok(b"STLS")
        c.start_tls(p.tls())
        caps = c.lines(b"CAPA")
        assert b"STLS" not in caps and b"USER" in caps and b"SASL PLAIN LOGIN" in caps, caps
        c.ok(b"USER alice")
        c.ok(b"PASS " + PASSWORD.encode())
        assert b"SASL PLAIN LOGIN" in c.lines(b"CAPA")
        c.err(b"STLS")
        c.ok(b"QUIT")

    @tap.test("AUTH PLAIN and LOGIN, with and without an initial response")
    def _():
        fill(p, "alice", A)
        for say in ((b"AUTH PLAIN " + plain("alice", PASSWORD),),
                    (b"AUTH PLAIN", plain("alice", PASSWORD)),
                    (b"AUTH PLAIN", plain("alice", PASSWORD, "alice")),
                    (b"AUTH LOGIN", b"YWxpY2U=", base64.b64encode(PASSWORD.encode())),
                    (b"AUTH LOGIN YWxpY2U=", base64.b64encode(PASSWORD.encode()))):
            c = Pop3(p)
            for line in say[:-1]:
                reply = c.cmd(line)
                assert reply.startswith(b"+ "), reply
            reply = c.cmd(say[-1])
            assert reply.startswith(b"+OK"), (say, reply)
            assert c.ok(b"STAT").startswith(b"+OK 1 ")
            c.err(b"AUTH PLAIN " + plain("alice", PASSWORD))
            c.quit()
        c = Pop3(p)
        assert c.cmd(b"AUTH PLAIN") == b"+ "
        c.err(b"*")
        c.err(b"AUTH CRAM-MD5")
        c.err(b"AUTH")
        c.ok(b"AUTH PLAIN " + plain("alice", PASSWORD))
        c.quit()

    @tap.test("PASS needs USER right before it")
    def _():
        c = Pop3(p)
        c.err(b"PASS " + PASSWORD.encode())
        c.ok(b"USER alice")
        c.err(b"STAT")
        c.err(b"PASS " + PASSWORD.encode())
        c.ok(b"USER alice")
        c.ok(b"CAPA")
        c.text()
        c.ok(b"PASS " + PASSWORD.encode())
        c.quit()

    @tap.test("a wrong password is [AUTH], and the next try may be right", timeout=30)
    def _():
        c = Pop3(p)
        c.ok(b"USER alice")
        assert c.cmd(b"PASS wrong").startswith(b"-ERR [AUTH] ")
        c.ok(b"USER alice")
        c.ok(b"PASS " + PASSWORD.encode())
        c.quit()
        p.wait_log(r"LOGIN FAILED, ip=\[127\.0\.0\.1\], user=alice")

    @tap.test("a whole session in one packet")
    def _():
        fill(p, "alice", A, B, C)
        c = Pop3(p)
        c.send(b"USER alice\r\nPASS " + PASSWORD.encode() + b"\r\nSTAT\r\nLIST\r\nRETR 1\r\nRETR 3\r\n"
               b"UIDL\r\nTOP 2 0\r\nDELE 1\r\nNOOP\r\nRETR 1\r\nRSET\r\nQUIT\r\n")
        assert c.line().startswith(b"+OK") and c.line().startswith(b"+OK")
        assert c.line().startswith(b"+OK 3 ")
        assert c.line().startswith(b"+OK") and c.text().count(b"\r\n") == 3
        assert c.line().startswith(b"+OK") and c.text() == A
        assert c.line().startswith(b"+OK") and c.text() == C
        assert c.line().startswith(b"+OK") and c.text().count(b"\r\n") == 3
        assert c.line().startswith(b"+OK") and c.text() == b"Subject: two\r\n\r\n"
        for want in (b"+OK", b"+OK", b"-ERR", b"+OK", b"+OK"):
            line = c.line()
            assert line.startswith(want), line
        assert c.line() == b""

    @tap.test("one octet in a packet")
    def _():
        fill(p, "alice", C)
        c = Pop3(p)
        for line in (b"USER alice\r\n", b"PASS " + PASSWORD.encode() + b"\r\n"):
            for i in range(len(line)):
                c.send(line[i:i + 1])
            assert c.line().startswith(b"+OK")
        for i in b"RETR 1\r\n":
            c.send(bytes([i]))
        assert c.line().startswith(b"+OK") and c.text() == C
        c.quit()

    @tap.test("1,000 pipelined RETR while the client reads nothing")
    def _():
        fill(p, "alice", b"Subject: big\r\n\r\n" + b"y" * 70 * 100 + b"\r\n")
        c = Pop3(p, "alice")
        c.send(b"RETR 1\r\n" * 1000)
        for i in range(1000):
            assert c.line().startswith(b"+OK")
            assert len(c.text()) == 7018
        c.quit()

    @tap.test("poplib, plain, STLS and implicit TLS")
    def _():
        fill(p, "alice", A, C)
        for tls in (False, True):
            c = p.pop3("alice", tls=tls)
            assert c.stat() == (2, len(A) + len(C))
            assert b"\r\n".join(c.retr(2)[1]) + b"\r\n" == C
            assert c.capa()["EXPIRE"] == ["NEVER"]
            c.quit()
        c = p.pop3()
        c.stls(p.tls())
        c.user("alice")
        c.pass_(PASSWORD)
        assert len(c.uidl()[1]) == 2
        c.quit()

    @tap.test("user@domain logs in, names and passwords with blanks are taken whole")
    def _():
        c = Pop3(p)
        c.ok(b"USER alice@pennypost.test")
        c.ok(b"PASS " + PASSWORD.encode())
        c.quit()
        c = Pop3(p)
        c.ok(b"USER alice")
        c.err(b"PASS " + PASSWORD.encode() + b" ")
        c.close()

tap.done()
