# SPDX-License-Identifier: ISC
"""STARTTLS and AUTH: nothing said in plain text counts after it, nobody gets in without a password (S01 to
S08, S32, S33, S36)."""
import base64
import os
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()


def b64(data):
    return base64.b64encode(data)


def plain(user, password, authzid=b""):
    return b64(authzid + b"\0" + user + b"\0" + password)


def session(p, port):
    w = p.connect(port)
    w.reply()
    w.smtp(b"EHLO x")
    return w


def tls_session(p):
    w = session(p, p.submission_port)
    assert w.smtp(b"STARTTLS")[0].startswith(b"220 ")
    w.start_tls(p.tls())
    w.smtp(b"EHLO x")
    return w


def honest(p):
    """Somebody else can log in and send, now."""
    start = time.monotonic()
    with p.smtp(p.submission_port, timeout=10) as s:
        s.starttls(context=p.tls())
        s.login("bob", "penny")
        s.sendmail("bob@pennypost.test", ["bob@pennypost.test"], "Subject: honest\r\n\r\nx\r\n")
    assert time.monotonic() - start < 5


with Instance(set={"smtpd.auth_tries_max": "100", "smtpd.errors_max": "100000"}) as p:

    @tap.test("input behind STARTTLS in one segment is not answered after TLS (S01, S03)")
    def _():
        for behind in (b"NOOP\r\n", b"RSET\r\nMAIL FROM:<a@b>\r\n", b"NO"):
            w = session(p, p.smtp_port)
            w.send(b"STARTTLS\r\n" + behind)
            assert w.reply()[0].startswith(b"220 ")
            try:
                w.start_tls(p.tls())
            except (ssl.SSLError, OSError):
                continue        # closed: fine, too
            w.send(b"OP\r\n" if behind == b"NO" else b"HELP\r\n")
            got = w.reply()
            assert got[0].startswith(b"500 " if behind == b"NO" else b"214 "), (behind, got)
            w.close()

    @tap.test("state from before TLS is gone (S04, S05)")
    def _():
        w = session(p, p.smtp_port)
        assert w.smtp(b"MAIL FROM:<a@b>")[0].startswith(b"250 ")
        assert w.smtp(b"STARTTLS x")[0].startswith(b"501 ")
        assert w.smtp(b"STARTTLS")[0].startswith(b"220 ")
        w.start_tls(p.tls())
        assert w.smtp(b"RCPT TO:<alice@pennypost.test>")[0].startswith(b"503 ")
        lines = w.smtp(b"EHLO x")
        assert not any(b"STARTTLS" in x for x in lines), lines
        assert w.smtp(b"RCPT TO:<alice@pennypost.test>")[0].startswith(b"503 ")
        assert w.smtp(b"STARTTLS")[0].startswith(b"503 ")
        w.close()

    @tap.test("garbage and half handshakes hurt nobody else (S06, S07)")
    def _():
        held = []
        for i in range(30):
            w = session(p, p.smtp_port)
            w.send(b"STARTTLS\r\n")
            w.reply()
            if i % 3 == 0:
                w.send(os.urandom(500))
            elif i % 3 == 1:
                w.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            held.append(w)
        s = socket.create_connection(("127.0.0.1", p.submissions_port))
        s.sendall(b"EHLO plain\r\n")
        honest(p)
        for w in held:
            w.close()
        s.close()

    @tap.test("TLS 1.0 and 1.1 are refused (S08)")
    def _():
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            try:
                context.wrap_socket(socket.create_connection(("127.0.0.1", p.submissions_port)))
            except (ssl.SSLError, OSError):
                continue
            raise AssertionError(version)

    @tap.test("submission wants a login before MAIL; port 25 offers none")
    def _():
        with session(p, p.submission_port) as w:
            assert w.smtp(b"MAIL FROM:<alice@pennypost.test>")[0].startswith(b"530 5.7.0")
            assert any(x[4:] == b"AUTH PLAIN LOGIN" for x in w.smtp(b"EHLO x"))
        with session(p, p.smtp_port) as w:
            assert w.smtp(b"AUTH PLAIN " + plain(b"alice", b"penny"))[0].startswith(b"503 ")

    @tap.test("PLAIN and LOGIN, with and without initial response, over STARTTLS and implicit TLS")
    def _():
        for lines in ([b"AUTH PLAIN " + plain(b"alice", b"penny")],
                      [b"AUTH PLAIN", plain(b"alice", b"penny")],
                      [b"auth plain " + plain(b"alice", b"penny", b"alice")],
                      [b"AUTH LOGIN", b64(b"alice"), b64(b"penny")],
                      [b"AUTH LOGIN " + b64(b"alice"), b64(b"penny")]):
            with tls_session(p) as w:
                for line in lines[:-1]:
                    assert w.smtp(line)[0].startswith(b"334"), line
                assert w.smtp(lines[-1])[0].startswith(b"235 2.7.0"), lines
                assert w.smtp(b"AUTH PLAIN " + plain(b"bob", b"penny"))[0].startswith(b"503 ")
                assert w.smtp(b"MAIL FROM:<alice@pennypost.test>")[0].startswith(b"250 ")
        w = p.connect(p.submissions_port)
        w.start_tls(p.tls())
        assert w.reply()[0].startswith(b"220 ")
        w.smtp(b"EHLO x")
        assert w.smtp(b"AUTH PLAIN " + plain(b"carol", b"penny"))[0].startswith(b"235 ")
        w.close()

    @tap.test("wrong names, passwords and identities (S33)")
    def _():
        bad = [(b"alice", b"penny2", b""), (b"alice", b"Penny", b""), (b"alice", b"penn", b""),
               (b"alice", b"penny\n", b""), (b"alice", b"penny ", b""), (b"alice", b"", b""),
               (b"alice\n", b"penny", b""), (b"nobody", b"penny", b""), (b"root", b"", b""),
               (b"alice", b"penny", b"bob"), (b"alice", b"x" * 1000, b""), (b"../alice", b"penny", b"")]
        texts = set()

        def one(user, password, authzid):
            with tls_session(p) as w:
                w.sock.settimeout(60)
                texts.add(w.smtp(b"AUTH PLAIN " + plain(user, password, authzid))[0])
                assert w.smtp(b"MAIL FROM:<a@b>")[0].startswith(b"530 ")
        for args in bad:
            if len(args[1]) > 0:
                one(*args)
            if len(texts) > 3:
                break
        assert all(t.startswith((b"535 5.7.8", b"501 5.5.2", b"454 4.7.0")) for t in texts), texts

    @tap.test("malformed exchanges are refused, an honest login works meanwhile (S32)")
    def _():
        bad = [b"AUTH", b"AUTH PLAIN =", b"AUTH PLAIN !!!!", b"AUTH PLAIN " + b64(b"alice"),
               b"AUTH PLAIN " + b64(b"\0alice"), b"AUTH PLAIN " + b64(b"\0\0\0\0"), b"AUTH PLAIN " + b64(b"\0\0"),
               b"AUTH PLAIN " + b64(b"\0alice\0penny\0x"), b"AUTH PLAIN " + b64(b"a" * 8000),
               b"AUTH CRAM-MD5", b"AUTH XOAUTH2 x", b"AUTH SCRAM-SHA-256", b"AUTH EXTERNAL =", b"AUTH ANONYMOUS",
               b"AUTH PLAIN  " + plain(b"alice", b"penny"), b"AUTH PLAIN " + plain(b"alice", b"penny")[:-1],
               b"AUTH PLAIN " + b"A" * 13000, b"AUTH \xff"]
        exchanges = [(b"AUTH PLAIN", b"*"), (b"AUTH PLAIN", b""), (b"AUTH PLAIN", b"="), (b"AUTH LOGIN", b"*"),
                     (b"AUTH LOGIN", b"!"), (b"AUTH PLAIN", b"A" * 20000), (b"AUTH LOGIN", b64(b"a\0b")),
                     (b"AUTH LOGIN", b"")]

        def refused(lines):
            try:
                with tls_session(p) as w:
                    w.sock.settimeout(60)
                    for line in lines:
                        got = w.smtp(line)
                        for _ in range(3):
                            if not got[0].startswith(b"334"):
                                break
                            got = w.smtp(b"*")
                        else:
                            continue
                    assert not got[0].startswith(b"235"), (lines, got)
                    assert w.smtp(b"MAIL FROM:<a@b>")[0].startswith(b"530 "), lines
            except Exception as e:
                failures.append((lines, e))
        failures = []
        threads = [threading.Thread(target=refused, args=(x,)) for x in [(b,) for b in bad]]
        for t in threads:
            t.start()
        honest(p)
        for t in threads:
            t.join()
        for first, second in exchanges:
            with tls_session(p) as w:
                w.sock.settimeout(60)
                assert w.smtp(first)[0].startswith(b"334"), first
                got = w.smtp(second)
                while got[0].startswith(b"334"):
                    got = w.smtp(b"*")
                assert got[0][:1] == b"5" or got[0][:3] == b"454", (first, second[:20], got)
                assert w.smtp(b"NOOP")[0].startswith(b"250 ")
        assert not failures, failures

with Instance(set={"auth.plaintext": "never"}) as p:

    @tap.test("AUTH in plain text is refused where the site wants TLS (S05)")
    def _():
        with session(p, p.submission_port) as w:
            lines = w.smtp(b"EHLO x")
            assert not any(b"AUTH" in x for x in lines), lines
            assert w.smtp(b"AUTH PLAIN " + plain(b"alice", b"penny"))[0].startswith(b"538 5.7.11")
            assert w.smtp(b"MAIL FROM:<alice@pennypost.test>")[0].startswith(b"530 ")

    @tap.test("guessing is slow and ends the session (S36)")
    def _():
        start = time.monotonic()
        with tls_session(p) as w:
            w.sock.settimeout(60)
            for i in range(3):
                assert w.smtp(b"AUTH PLAIN " + plain(b"alice", b"wrong%d" % i))[0][:3] in (b"535", b"454")
            assert w.line().startswith(b"421 4.7.0")
            assert w.at_end()
        assert time.monotonic() - start > 2

tap.done()
