# SPDX-License-Identifier: ISC
"""Limits, floods and slow or vanishing clients: clear refusals, bounded resources, others served (S16 to S24,
S31, S38, S39)."""
import os
import re
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import ROOT, Instance, Tap

tap = Tap()
MESSAGE_MAX = 1024 * 1024


def session(p, port=None):
    w = p.connect(port or p.smtp_port, timeout=30)
    assert w.reply()[0].startswith(b"220 ")
    w.smtp(b"EHLO x")
    return w


def in_data(p):
    w = session(p)
    for line in (b"MAIL FROM:<a@b>", b"RCPT TO:<alice@pennypost.test>"):
        assert w.smtp(line)[0].startswith(b"250 ")
    assert w.smtp(b"DATA")[0].startswith(b"354 ")
    return w


def honest(p, within=5):
    start = time.monotonic()
    p.send("bob", b"Subject: honest\r\n\r\nx\r\n")
    assert time.monotonic() - start < within


def filed(p):
    return len(re.findall(r" deliver\.filed ", p.logs()))


def memory_kib(pids):
    most = 0
    for pid in pids:
        try:
            with open("/proc/%d/status" % pid) as f:
                m = re.search(r"VmRSS:\s+(\d+)", f.read())
            most = max(most, int(m.group(1)) if m else 0)
        except OSError:
            pass
    return most


with Instance(set={"smtpd.message_size_limit": str(MESSAGE_MAX), "smtpd.data_timeout": "3s",
                   "smtpd.command_timeout": "4s", "smtpd.recipients_max": "100"}) as p:

    @tap.test("over-long lines are refused or end the session (S16, S17)")
    def _():
        for n in (513, 1000, 2040):
            with session(p) as w:
                assert w.smtp(b"NOOP " + b"x" * n)[0].startswith(b"250 "), n
        for n in (2048, 4096, 12288, 16384, 40000):
            with session(p) as w:
                assert w.smtp(b"NOOP " + b"x" * n)[0].startswith(b"500 5.5.2"), n
                assert w.smtp(b"NOOP")[0].startswith(b"250 ")
        for n in (70000, 8 << 20):
            w = session(p)
            try:
                w.send(b"x" * n + b"\r\nNOOP\r\n")
                w.at_end()
            except OSError:
                pass
            w.close()
        honest(p)

    @tap.test("too many errors end the session")
    def _():
        with session(p) as w:
            for i in range(19):
                assert w.smtp(b"JUNK%d" % i)[0].startswith(b"500 ")
            assert w.smtp(b"JUNK")[0].startswith(b"500 ")
            assert w.line().startswith(b"421 4.7.0")
            assert w.at_end()

    @tap.test("20,000 recipients: 452 past the limit, the message goes to the others (S19)")
    def _():
        before = filed(p)
        with session(p) as w:
            assert w.smtp(b"MAIL FROM:<a@b>")[0].startswith(b"250 ")
            codes = {}
            lines = [b"RCPT TO:<bob+%d@pennypost.test>\r\n" % i for i in range(20000)]
            for i in range(0, 20000, 500):
                w.send(b"".join(lines[i:i + 500]))
                for _ in range(500):
                    code = w.line()[:3]
                    codes[code] = codes.get(code, 0) + 1
            assert codes == {b"250": 100, b"452": 19900}, codes
            assert w.smtp(b"DATA")[0].startswith(b"354 ")
            assert w.smtp(b"Subject: x\r\n\r\nx\r\n.")[0].startswith(b"250 ")
        assert filed(p) - before == 100

    @tap.test("a message over the limit is swallowed to its end and refused (S21, S22)")
    def _():
        before = filed(p)
        with session(p) as w:
            assert w.smtp(b"MAIL FROM:<a@b> SIZE=%d" % (MESSAGE_MAX + 1))[0].startswith(b"552 5.3.4")
            assert w.smtp(b"MAIL FROM:<a@b> SIZE=10")[0].startswith(b"250 ")
            assert w.smtp(b"RCPT TO:<alice@pennypost.test>")[0].startswith(b"250 ")
            assert w.smtp(b"DATA")[0].startswith(b"354 ")
            w.send(b"Subject: liar\r\n\r\n" + (b"y" * 998 + b"\r\n") * 3000 + b".\r\nNOOP\r\n")
            assert w.reply()[0].startswith(b"552 5.3.4")
            assert w.reply()[0].startswith(b"250 ")
        assert filed(p) == before
        honest(p)

    @tap.test("a message just at the limit is taken")
    def _():
        text = b"Subject: x\r\n\r\n"
        text += b"y" * (MESSAGE_MAX - len(text) - 2) + b"\r\n"
        with in_data(p) as w:
            w.send(text + b".\r\n")
            assert w.reply()[0].startswith(b"250 "), "at the limit"
        with in_data(p) as w:
            w.send(b"z" + text + b".\r\n")
            assert w.reply()[0].startswith(b"552 "), "one more"

    @tap.test("a line of a megabyte and 10,000 header lines (M03)")
    def _():
        for text in (b"Subject: " + b"x" * (MESSAGE_MAX - 100) + b"\r\n\r\n", b"X-Line: y\r\n" * 10000 + b"\r\nx\r\n"):
            with in_data(p) as w:
                w.send(text + b".\r\n")
                assert w.reply()[0].startswith(b"250 ")

    @tap.test("a client that vanishes in DATA leaves nothing (S24)")
    def _():
        before = filed(p)
        for cut in (b"", b"Subject: x\r\n", b"Subject: x\r\n\r\n" + b"y" * 600000, b"Subject: x\r\n\r\nz\r\n.",
                    b"Subject: x\r\n\r\nz\r\n.\r"):
            w = in_data(p)
            w.send(cut)
            w.close()
        time.sleep(0.5)
        assert filed(p) == before
        large = os.path.join(p.store("alice"), "large")
        if os.path.isdir(large) and ROOT:
            kept = [f for _, _, files in os.walk(large) for f in files if "tmp" in f]
            assert not kept, kept

    @tap.test("an octet now and then: the slow client is cut off, others are served")
    def _():
        w = in_data(p)
        start = time.monotonic()
        try:
            while time.monotonic() - start < 60:
                w.send(b"y")
                time.sleep(0.5)
        except OSError:
            pass
        assert time.monotonic() - start < 50
        w.close()
        honest(p)

    @tap.test("silence ends a session with 421")
    def _():
        with session(p) as w:
            assert w.line().startswith(b"421 4.4.2")
            assert w.at_end()

    @tap.test("control octets in HELO, paths and parameters forge no header and no log line (S30, S31)")
    def _():
        with session(p) as w:
            for line in (b"EHLO x\rReceived: forged", b"EHLO x)(y", b"EHLO a\tb", b"EHLO \"x\"",
                         b"MAIL FROM:<a@b> AUTH=x+0Ay", b"MAIL FROM:<a\r@b>"):
                assert w.smtp(line)[0][:2] in (b"50", b"55"), line
        log = p.logs()
        assert "forged" not in log or all("forged" not in x.split(" ")[1] for x in log.splitlines())
        for line in log.splitlines():
            assert re.match(r"\d{4}-\d\d-\d\dT", line), line

    @tap.test("150 idle and 150 reset connections, and the honest one is served (S38, S39)")
    def _():
        idle = [socket.create_connection(("127.0.0.1", p.smtp_port)) for _ in range(150)]
        for _ in range(150):
            s = socket.create_connection(("127.0.0.1", p.smtp_port))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            s.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
            s.close()
        honest(p)
        for s in idle:
            s.close()

    @tap.test("memory before login is bounded")
    def _():
        def flood():
            try:
                w = session(p)
                for _ in range(50):
                    w.send(b"MAIL FROM:<" + b"a" * 60 + b"@b>\r\nRSET\r\nVRFY x\r\n" * 200)
                    w.sock.recv(65536)
                w.close()
            except OSError:
                pass
        threads = [threading.Thread(target=flood) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        san = bool(os.environ.get("PENNY_BUILD_SAN"))
        assert memory_kib(p.pids("smtpd")) < (300000 if san else 60000)
        honest(p)

tap.done()
