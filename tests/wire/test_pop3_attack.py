#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""POP3 under attack: faults P01 to P05, P08 and P09."""
import base64
import concurrent.futures
import os
import socket
import ssl
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import PASSWORD, Instance, Tap
from pop3 import Pop3, fill

tap = Tap()
A = b"Subject: one\r\n\r\n1\r\n"
COMMANDS = [b"STAT", b"LIST", b"LIST 1", b"UIDL", b"UIDL 1", b"RETR 1", b"TOP 1 0", b"DELE 1", b"NOOP", b"RSET",
            b"APOP alice 00000000000000000000000000000000", b"LAST", b"XTND", b"XLST", b"LANG", b"UTF8",
            b"HELO x", b"SELECT INBOX", b"GET / HTTP/1.1", b"..", b"AUTH"]


def b64(text):
    return base64.b64encode(text)


def alive(p, user="alice"):
    """An honest session, and how long it takes."""
    begin = time.monotonic()
    c = Pop3(p, user)
    c.ok(b"STAT")
    c.quit()
    return time.monotonic() - begin


with Instance(san=True, set={"auth.fail_delay": "1s"}) as p:
    fill(p, "alice", A)

    @tap.test("P01: what was pipelined behind STLS is dropped")
    def _():
        for tail in (b"NOOP\r\n", b"QUIT\r\n", b"USER alice\r\nPASS " + PASSWORD.encode() + b"\r\n"):
            c = Pop3(p)
            c.send(b"STLS\r\n" + tail)
            assert c.line().startswith(b"+OK")
            c.start_tls(p.tls())
            c.err(b"STAT")		# exactly one answer, and nobody is logged in
            c.ok(b"CAPA")
            c.text()
            c.quit()

    @tap.test("P01: half a command before STLS does not join what comes after it")
    def _():
        c = Pop3(p)
        c.send(b"STLS\r\nUSER ali")
        assert c.line().startswith(b"+OK")
        c.start_tls(p.tls())
        c.err(b"ce")
        c.err(b"PASS " + PASSWORD.encode())
        c.quit()

    @tap.test("P02: USER before STLS is forgotten after it, STLS twice is refused")
    def _():
        c = Pop3(p)
        c.ok(b"USER alice")
        c.ok(b"STLS")
        c.start_tls(p.tls())
        c.err(b"PASS " + PASSWORD.encode())
        c.err(b"STLS")
        c.quit()

    @tap.test("garbage instead of a handshake ends that connection only")
    def _():
        for port in (p.pop3_port, p.pop3s_port):
            c = socket.create_connection(("127.0.0.1", port), 10)
            if port == p.pop3_port:
                c.recv(1000)
                c.sendall(b"STLS\r\n")
                assert c.recv(1000).startswith(b"+OK")
            c.sendall(b"\x16\x03\x01\xff\xff" + os.urandom(3000))
            try:
                while c.recv(4096):
                    pass
            except ConnectionError:
                pass
            c.close()
        assert alive(p) < 5

    @tap.test("30 half handshakes hold nobody up; TLS 1.1 is refused")
    def _():
        half = [socket.create_connection(("127.0.0.1", p.pop3s_port), 10) for _ in range(30)]
        for s in half:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert alive(p) < 5
        for s in half:
            s.close()
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
        ctx.set_ciphers("ALL:@SECLEVEL=0")
        ctx.minimum_version = ssl.TLSVersion.TLSv1
        ctx.maximum_version = ssl.TLSVersion.TLSv1_1
        try:
            ctx.wrap_socket(socket.create_connection(("127.0.0.1", p.pop3s_port), 10))
            raise AssertionError("TLS 1.1 was taken")
        except (ssl.SSLError, ConnectionError):
            pass

    @tap.test("P03: no command of TRANSACTION works before login")
    def _():
        for group in (COMMANDS[:10], COMMANDS[10:]):
            c = Pop3(p)
            for cmd in group:
                c.err(cmd)
            c.quit()

    @tap.test("P04: lines of 254 to 256 octets, and over-long ones")
    def _():
        c = Pop3(p)
        for n, word in ((253, b"too long"), (254, b"line too long"), (510, b"line too long"),
                        (4000, b"line too long"), (60000, b"line too long")):
            reply = c.err(b"PASS " + b"x" * (n - 5))
            assert (word in reply) == (n > 253), (n, reply)
        c.ok(b"USER alice")
        c.ok(b"PASS " + PASSWORD.encode())
        c.err(b"NOOP " + b"x" * 300)
        c.ok(b"STAT")
        c.quit()

    @tap.test("P04: an 8 MB line is cut, memory does not grow")
    def _():
        c = Pop3(p)
        try:
            for _ in range(128):
                c.send(b"A" * 65536)
        except ConnectionError:
            pass
        assert c.at_end()
        assert alive(p) < 5

    @tap.test("P04: 1,000 junk commands end the session with an answer for each that was read")
    def _():
        for junk in (b"JUNK\r\n", b"\r\n", b"\0\0\0\r\n", b"\xff\xfe\xfd\r\n", b"USER\r\n", b"RETR 1\r\n",
                     b"AUTH PLAIN =AAA\r\n", b" NOOP\r\n"):
            c = Pop3(p)
            try:
                c.send(junk * 1000)
            except ConnectionError:
                pass
            n = 0
            try:
                while c.line().startswith(b"-ERR"):
                    n += 1
            except ConnectionError:
                pass
            assert n == 20, (junk, n)
            c.close()
        assert alive(p) < 5

    @tap.test("P04: NUL, control octets and 8-bit in commands, before and after login")
    def _():
        c = Pop3(p)
        for line in (b"USER al\0ice", b"USER alice\0", b"\0", b"NOOP\0", b"US\x01ER x", b"\x80\x81", b"USER a\rb"):
            c.err(line)
        c.ok(b"USER alice")
        c.err(b"PASS " + PASSWORD.encode() + b"\0")
        c.ok(b"USER alice")
        c.ok(b"PASS " + PASSWORD.encode())
        for line in (b"RETR 1\0", b"RETR\0 1", b"RETR \xb9", b"LIST \x001", b"DELE 1\x7f"):
            c.err(line)
        assert c.ok(b"STAT").startswith(b"+OK 1 ")
        c.quit()

    @tap.test("P05: message numbers that are none")
    def _():
        numbers = [b"0", b"2", b"-1", b"+1", b"4294967295", b"4294967296", b"4294967297", b"18446744073709551617",
                   b"1" * 200, b"0x1", b"1.0", b"1e0", b"1,2", b"*", b"1:*", b"a", b"1 1", b"%d", b"' or 1"]
        for verb in (b"RETR", b"DELE", b"LIST", b"UIDL"):
            for half in (numbers[:10], numbers[10:]):
                c = Pop3(p, "alice")
                for n in half:
                    c.err(verb + b" " + n)
                assert c.ok(b"STAT").startswith(b"+OK 1 ")
                c.quit()
        c = Pop3(p, "alice")
        for args in (b"1", b"1 -1", b"1 4294967296", b"0 0", b"2 0", b"1 0 0", b"a b", b" ", b"1 1x"):
            c.err(b"TOP " + args)
        assert c.multi(b"TOP 1 4294967295") == A
        c.quit()

    @tap.test("P08: malformed SASL exchanges in parallel let nobody in, an honest login works meanwhile", timeout=90)
    def _():
        pw = PASSWORD.encode()
        cases = [[b"AUTH PLAIN " + x] for x in (
            b"=", b"====", b"=AAA", b"AAA=BBB", b"A", b"AA", b"AAA", b"!!!!", b"\xff\xff", b"AAAA AAAA",
            b64(b"alice"), b64(b"alice\0penny"), b64(b"\0alice"), b64(b"\0\0penny"), b64(b"\0alice\0"),
            b64(b"\0alice\0" + pw + b"\0"), b64(b"\0alice\0" + pw + b"\n"), b64(b"bob\0alice\0" + pw),
            b64(b"\0alice\0penn"), b64(b"\0alice\0pennyy"), b64(b"\0Alice\0" + pw), b64(b"\0alice\0\0" + pw))]
        cases += [[b"AUTH PLAIN", x] for x in (b"", b"=", b"*", b64(b"\0" * 100), b64(b"\0alice\0" + b"x" * 1500),
                                               b"A" * 5000, b"A" * 60000)]
        cases += [[b"AUTH LOGIN", x, y] for x, y in ((b"", b""), (b64(b"alice\0"), b64(pw)), (b64(b"alice"), b64(pw + b"\0")),
                                                     (b64(b"alice"), b"*"), (b"*", b"*"), (b64(b"a" * 300), b64(pw)))]
        cases += [[b"AUTH " + m] for m in (b"CRAM-MD5", b"SCRAM-SHA-256", b"EXTERNAL =", b"ANONYMOUS", b"x" * 200)]

        def attack(case):
            c = Pop3(p)
            for line in case:
                reply = c.cmd(line)
                assert not reply.startswith(b"+OK"), (case, reply)
                if reply.startswith(b"-ERR"):
                    break
            c.err(b"STAT")
            c.close()

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            runs = [pool.submit(attack, case) for case in cases]
            assert alive(p, "bob") < 5
            for r in runs:
                r.result()

    @tap.test("P09: a guesser is slowed and cut; unknown and known users take the same time and text", timeout=120)
    def _():
        took, text = {"alice": [], "nobody-here": []}, set()
        for _ in range(4):
            for user in took:
                c = Pop3(p)
                c.ok(b"USER " + user.encode())
                begin = time.monotonic()
                text.add(c.err(b"PASS wrong"))
                took[user].append(time.monotonic() - begin)
                c.close()
        assert len(text) == 1, text
        assert min(min(t) for t in took.values()) >= 0.9, took
        known, unknown = (statistics.median(t) for t in took.values())
        assert abs(known - unknown) < max(0.15 * known, 0.05) + 1.0, took
        assert alive(p, "bob") < 5

    @tap.test("P09: after five failures the connection ends", timeout=120)
    def _():
        c = Pop3(p)
        n = 0
        for _ in range(10):
            try:
                c.send(b"USER carol\r\nPASS wrong\r\n")
                c.sock.settimeout(30)
                if not c.line() or not c.line():
                    break
            except ConnectionError:
                break
            n += 1
        assert n == 5, n

    @tap.test("no session's words forge a log line")
    def _():
        c = Pop3(p)
        c.ok(b"USER x, ip=[10.0.0.1], user=y")
        c.err(b"PASS z")
        c.close()
        p.wait_log(r"LOGIN FAILED, ip=\[127\.0\.0\.1\]")
        assert "ip=[10.0.0.1]" not in p.logs()

with Instance(san=True, set={"auth.plaintext": "never", "pop3d.login_timeout": "5s"}) as p:
    @tap.test("P02: without TLS no password is taken, and none is asked for")
    def _():
        c = Pop3(p)
        caps = c.lines(b"CAPA")
        assert b"STLS" in caps and b"USER" not in caps and not any(l.startswith(b"SASL") for l in caps), caps
        c.err(b"USER alice")
        c.err(b"PASS " + PASSWORD.encode())
        c.err(b"AUTH PLAIN " + b64(b"\0alice\0" + PASSWORD.encode()))
        c.err(b"AUTH PLAIN")
        c.err(b"AUTH LOGIN")
        c.err(b"STAT")
        c.ok(b"STLS")
        c.start_tls(p.tls())
        c.ok(b"USER alice")
        c.ok(b"PASS " + PASSWORD.encode())
        c.quit()

    @tap.test("strangers who say nothing, or one octet a second, are cut in time", timeout=60)
    def _():
        quiet, slow, talking = Pop3(p), Pop3(p), Pop3(p)
        begin = time.monotonic()
        for i in range(9):
            time.sleep(1)
            try:
                slow.send(b"N")
                talking.send(b"CAPA\r\n")
            except ConnectionError:
                pass
        for c in (quiet, slow, talking):
            assert c.at_end(5)
        assert time.monotonic() - begin < 15

tap.done()
