# SPDX-License-Identifier: ISC
"""The SMTP dialogue: every command in every state gets its reply (RFC 5321, 1870, 2034, 2920, 6152)."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()


def session(p, port=None):
    w = p.connect(port or p.smtp_port)
    assert w.reply()[0].startswith(b"220 "), "greeting"
    return w


def said(w, line, want):
    got = w.smtp(line)
    assert got[-1].startswith(want), "%r -> %r, want %r" % (line[:80], got, want)
    return got


def deliver_one(w, to=b"alice@pennypost.test", text=b"Subject: x\r\n\r\nx\r\n", sender=b"a@b.example"):
    said(w, b"MAIL FROM:<%s>" % sender, b"250 2.1.0")
    said(w, b"RCPT TO:<%s>" % to, b"250 2.1.5")
    said(w, b"DATA", b"354 ")
    return said(w, text + b".", b"250 2.0.0")


with Instance() as p:

    @tap.test("EHLO announces what there is and no more")
    def _():
        with session(p) as w:
            lines = [x[4:] for x in said(w, b"EHLO client.example.org", b"250 ")]
            assert {b"PIPELINING", b"8BITMIME", b"STARTTLS", b"ENHANCEDSTATUSCODES"} <= set(lines), lines
            assert b"SIZE 52428800" in lines, lines
            assert not [x for x in lines if x.startswith((b"AUTH", b"CHUNKING", b"DSN"))], lines
            said(w, b"QUIT", b"221 2.0.0")
            assert w.at_end()

    @tap.test("a message by HELO, and two in one session")
    def _():
        with session(p) as w:
            said(w, b"HELO x", b"250 ")
            deliver_one(w)
            deliver_one(w, b"bob@pennypost.test")
            said(w, b"QUIT", b"221 ")

    @tap.test("commands out of order are refused and the session goes on")
    def _():
        with session(p) as w:
            for line in (b"MAIL FROM:<a@b>", b"RCPT TO:<alice@pennypost.test>", b"DATA", b"STARTTLS"):
                said(w, line, b"503 5.5.1")
            said(w, b"EHLO x", b"250 ")
            said(w, b"RCPT TO:<alice@pennypost.test>", b"503 5.5.1")
            said(w, b"DATA", b"503 5.5.1")
            said(w, b"MAIL FROM:<a@b>", b"250 ")
            said(w, b"MAIL FROM:<a@b>", b"503 5.5.1")
            said(w, b"DATA", b"554 5.5.1")
            said(w, b"RCPT TO:<alice@pennypost.test>", b"250 ")
            said(w, b"RSET", b"250 2.0.0")
            said(w, b"RCPT TO:<alice@pennypost.test>", b"503 5.5.1")
            deliver_one(w)

    @tap.test("EHLO in a transaction resets it")
    def _():
        with session(p) as w:
            said(w, b"EHLO x", b"250 ")
            said(w, b"MAIL FROM:<a@b>", b"250 ")
            said(w, b"EHLO x", b"250 ")
            said(w, b"RCPT TO:<alice@pennypost.test>", b"503 ")

    @tap.test("commands that are not ours, and arguments that do not belong")
    def _():
        with session(p) as w:
            said(w, b"EHLO x", b"250 ")
            for line, want in ((b"EXPN staff", b"502 5.5.1"), (b"BDAT 5 LAST", b"502 5.5.1"),
                               (b"TURN", b"502 "), (b"ETRN x", b"502 "), (b"XYZZY", b"500 5.5.1"),
                               (b"RSET now", b"501 5.5.4"), (b"DATA now", b"501 5.5.4"),
                               (b"QUIT now", b"501 5.5.4"), (b"HELO", b"501 5.5.4"),
                               (b"EHLO", b"501 5.5.4"), (b"VRFY", b"501 5.5.4"),
                               (b"EHLO a b", b"501 5.5.4"), (b"EHLO <x>", b"501 5.5.4")):
                said(w, line, want)
            said(w, b"VRFY alice", b"252 2.")
            said(w, b"NOOP what ever", b"250 2.0.0")
            said(w, b"HELP", b"214 2.0.0")
            said(w, b"noop", b"250 2.0.0")

    @tap.test("malformed paths and parameters get one reply each (S18)")
    def _():
        bad = [b"MAIL", b"MAIL FROM", b"MAIL FROM:", b"MAIL FROM:a@b", b"MAIL FROM:<a@b", b"MAIL FROM:a@b>",
               b"MAIL FROM:<a@b>x", b"MAIL TO:<a@b>", b"MAIL FROM :<a@b>", b"MAIL FROM:<a b@c>",
               b'MAIL FROM:<""@d>', b'MAIL FROM:<"\\', b'MAIL FROM:<"a@b>', b"MAIL FROM:<a@b@c>",
               b"MAIL FROM:<a@>", b"MAIL FROM:<@>", b"MAIL FROM:<a@[300.1.1.1]>", b"MAIL FROM:<a@[x]>",
               b"MAIL FROM:<" + b"l" * 65 + b"@x.y>", b"MAIL FROM:<a@" + b"d" * 300 + b">",
               b"MAIL FROM:<\xc3@x.y>", b"MAIL FROM:<a\xc3\xa4@x.y>", b"MAIL FROM:<a@b> SIZE=",
               b"MAIL FROM:<a@b> SIZE=x", b"MAIL FROM:<a@b> SIZE=-1", b"MAIL FROM:<a@b> SIZE=1 SIZE=2",
               b"MAIL FROM:<a@b> BODY=9BIT", b"MAIL FROM:<a@b> BODY", b"MAIL FROM:<a@b> =x",
               b"MAIL FROM:<a@b> SIZE=123456789012345678901", b"MAIL FROM:<a@b> RET=FULL",
               b"MAIL FROM:<a@b> AUTH=x", b"MAIL FROM:<a@b> ENVID=a+0Ab", b"MAIL FROM:<a@b> SMTPUTF8",
               b"RCPT", b"RCPT FROM:<a@b>"]
        for line in bad:
            with session(p) as w:
                said(w, b"EHLO x", b"250 ")
                said(w, line, b"5")
                said(w, b"NOOP", b"250 ")
        bad = [b"RCPT TO:", b"RCPT TO:<>", b"RCPT TO:alice", b"RCPT TO:<alice@pennypost.test",
               b"RCPT TO:<alice@pennypost.test> NOTIFY=NEVER", b"RCPT TO:<alice@pennypost.test> ORCPT=x+0Ay",
               b'RCPT TO:<"alice@pennypost.test>', b'RCPT TO:<"">', b"RCPT TO:<alice\x80@pennypost.test>"]
        for line in bad:
            with session(p) as w:
                said(w, b"EHLO x", b"250 ")
                said(w, b"MAIL FROM:<>", b"250 ")
                said(w, line, b"5")
                said(w, b"NOOP", b"250 ")

    @tap.test("control octets, 8-bit, NUL and bare line ends in commands (S13, S30)")
    def _():
        for line in (b"NO\x00OP", b"NOOP \x01", b"EHLO a\rb", b"EHLO a\x00b", b"MAIL FROM:<a\x00@b>", b"\x00",
                     b"\xff\xfe", b" NOOP", b"NOOP\x7f", b""):
            with session(p) as w:
                said(w, line, b"50")
                said(w, b"NOOP", b"250 ")
        with session(p) as w:
            w.send(b"NOOP\n")
            assert w.line().startswith(b"500 "), "bare LF"
            said(w, b"NOOP", b"250 ")

    @tap.test("SIZE is checked at MAIL")
    def _():
        with session(p) as w:
            said(w, b"EHLO x", b"250 ")
            for n in (b"52428801", b"4294967297", b"18446744073709551615", b"99999999999999999999"):
                said(w, b"MAIL FROM:<a@b> SIZE=" + n, b"552 5.3.4")
            said(w, b"MAIL FROM:<a@b> SIZE=52428800 BODY=8BITMIME", b"250 ")

    @tap.test("unknown users are refused at RCPT; postmaster without a domain is not (S27)")
    def _():
        with session(p) as w:
            said(w, b"EHLO x", b"250 ")
            said(w, b"MAIL FROM:<a@b>", b"250 ")
            said(w, b"RCPT TO:<nobody-here@pennypost.test>", b"550 5.1.1")
            said(w, b"RCPT TO:<alice+x@pennypost.test>", b"250 2.1.5")
            said(w, b"RCPT TO:<ALICE@PENNYPOST.TEST>", b"250 2.1.5")
            said(w, b"RCPT TO:<alice@[127.0.0.1]>", b"250 2.1.5")
            got = w.smtp(b"RCPT TO:<postmaster>")
            assert got[0][:3] in (b"250", b"550"), got

    @tap.test("everything pipelined in one segment")
    def _():
        with session(p) as w:
            w.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alice@pennypost.test>\r\nRCPT TO:<no@pennypost.test>\r\n"
                   b"DATA\r\nSubject: pipelined\r\n\r\n..\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@pennypost.test>\r\n"
                   b"DATA\r\n.\r\nQUIT\r\n")
            codes = [w.reply()[-1][:3] for _ in range(11)]
            assert codes == [b"250", b"250", b"250", b"550", b"354", b"250", b"250", b"250", b"354", b"250",
                             b"221"], codes
            assert w.at_end()

    @tap.test("one octet a packet (S12)")
    def _():
        with session(p) as w:
            for c in (b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alice@pennypost.test>\r\nDATA\r\nA: b\r\n\r\n..x\r\n."
                      b"\r\nNOOP\r\n"):
                w.send(bytes([c]))
                time.sleep(0.001)
            codes = [w.reply()[-1][:3] for _ in range(6)]
            assert codes == [b"250", b"250", b"250", b"354", b"250", b"250"], codes

    @tap.test("a reply does not wait for the rest of a half command")
    def _():
        with session(p) as w:
            w.send(b"NOOP\r\nNO")
            assert w.line().startswith(b"250 ")
            w.send(b"OP\r\n")
            assert w.line().startswith(b"250 ")

    @tap.test("another protocol's client is turned away")
    def _():
        with session(p) as w:
            w.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n")
            assert w.line().startswith(b"421 ")
            assert w.at_end()

tap.done()
