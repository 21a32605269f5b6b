#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A message comes back as it was sent, octet for octet: every octet there is, 50 MB, 10,000 header lines, lines of
awkward length; by SMTP, LMTP and APPEND, read by IMAP and POP3. In front of it stands what a server must add
(RFC 5321 s.4.4), nothing else."""
import hashlib
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import DOMAIN, PASSWORD, Instance, Tap, Wire

tap = Tap()
p = Instance(users=6).start()
LIMIT = 50 << 20	# [smtpd] message_size_limit, the default


def header(subject, more=b""):
    return (b"From: a@example.org\r\nTo: b@example.org\r\nSubject: " + subject + b"\r\n" + more +
            b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n")


def every_octet():
    row = bytes(b for b in range(1, 256) if b not in b"\r\n")
    lines = [row, row[::-1], b""]
    lines += [bytes([b]) for b in row] + [bytes([b]) * 3 for b in row]
    lines += [b".", b"..", b"...", b".\t", b" .", b"From x", b">From x", b"-", b"--", b"+OK", b") OK", b"{5}"]
    return header(b"octets") + b"\r\n".join(lines) + b"\r\n"


def long_lines():
    # RFC 5321 s.4.5.3.1.6 allows 1,000 octets with CRLF; lengths around the sizes of buffers.
    lines = [b"x" * n for n in (0, 1, 72, 78, 997, 998)]
    lines += [b"." + b"y" * n for n in (996, 997)]
    return header(b"lines") + b"\r\n".join(lines) + b"\r\n" + b"no blank at its end \r\n\r\n\r\n"


def many_headers(n=10000):
    more = b"".join(b"X-Penny-%d: value %d\r\n" % (i, i) for i in range(n))
    return header(b"headers", more) + b"body\r\n"


def big(size):
    """size octets of base64-like lines that differ, so that no piece can pass for another."""
    text = header(b"big")
    need = size - len(text)
    lines, total, i = [], 0, 0
    while total < need:
        d = hashlib.sha256(b"%d" % i).hexdigest().encode()
        line = d + b"%012d" % i + b"\r\n"
        lines.append(line)
        total += len(line)
        i += 1
    body = b"".join(lines)
    cut = body[:need]
    return text + (cut if cut.endswith(b"\r\n") else cut[:-2].rstrip(b"\r\n").ljust(need - 2, b"z") + b"\r\n")


MESSAGES = {"every octet": every_octet(), "lines": long_lines(), "10,000 header lines": many_headers()}


def imap_all(user, box="INBOX", timeout=120):
    m = p.imap(user, timeout=timeout)
    m.select(box, readonly=True)
    rows = [r for r in m.fetch("1:*", "(RFC822.SIZE BODY.PEEK[])")[1] if isinstance(r, tuple)]
    m.logout()
    for r in rows:
        assert int(re.search(rb"RFC822.SIZE (\d+)", r[0]).group(1)) == len(r[1])
    return [r[1] for r in rows]


def pop3_all(user):
    """Retrieves by hand: poplib joins lines as it likes."""
    texts = []
    with p.connect(p.pop3_port, timeout=120) as w:
        w.line()
        for cmd in (b"USER " + user.encode(), b"PASS " + PASSWORD.encode()):
            assert w.cmd(cmd).startswith(b"+OK")
        n = int(w.cmd(b"STAT").split()[1])
        for i in range(1, n + 1):
            size = int(w.cmd(b"LIST %d" % i).split()[2])
            w.send(b"RETR %d\r\n" % i)
            assert w.line().startswith(b"+OK")
            # an end may lie across two reads
            chunks, tail = [w.buf], w.buf[-5:]
            w.buf = b""
            while tail[-5:] != b"\r\n.\r\n":
                got = w.sock.recv(1 << 20)
                assert got, "closed in RETR"
                chunks.append(got)
                tail = (tail + got)[-5:]
            raw = b"\r\n" + b"".join(chunks)
            raw = raw[:-3].replace(b"\r\n.", b"\r\n")[2:]
            assert len(raw) == size, (len(raw), size)
            texts.append(raw)
        w.cmd(b"QUIT")
    return texts


def added(got, sent):
    """What was put in front of the message; it must be trace fields and nothing else."""
    assert got.endswith(sent), "changed: %d octets sent, %d back, first difference at %s" % (
        len(sent), len(got), first_difference(got, sent))
    front = got[:len(got) - len(sent)]
    names = re.findall(rb"^([A-Za-z-]+):", front, re.M)
    assert set(names) <= {b"Return-Path", b"Delivered-To", b"Received", b"X-Original-To"}, front
    assert front == b"" or front.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", front), front
    return names


def first_difference(got, sent):
    shift = len(got) - len(sent)
    for i in range(0, len(sent), 4096):
        a, b = sent[i:i + 4096], got[shift + i:shift + i + 4096]
        if a != b:
            j = next((j for j in range(min(len(a), len(b))) if a[j] != b[j]), 0)
            return "%d: %r, %r" % (i + j, a[j:j + 40], b[j:j + 40])
    return "?"


def lmtp(to, message):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(p.lmtp_sock)
        w = Wire(s)
        w.reply()
        assert w.smtp(b"LHLO client.example.org")[-1].startswith(b"250")
        assert w.smtp(b"MAIL FROM:<a@example.org> BODY=8BITMIME")[0].startswith(b"250")
        assert w.smtp(b"RCPT TO:<%s>" % to.encode())[0].startswith(b"250")
        assert w.smtp(b"DATA")[0].startswith(b"354")
        w.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        got = w.reply()
        assert got[0].startswith(b"250"), got


def append(user, box, message):
    m = p.imap(user, timeout=120)
    m.create(box)
    # imaplib's own append makes line ends its own way
    m.send(b"A APPEND %s {%d}\r\n" % (box.encode(), len(message)))
    while not m.readline().startswith(b"+"):
        pass
    m.send(message + b"\r\n")
    line = m.readline()
    assert line.startswith(b"A OK"), line
    m.send(b"B LOGOUT\r\n")
    m.shutdown()


@tap.test("by SMTP: every octet, long lines, 10,000 header lines; read by IMAP and POP3", timeout=120)
def _():
    for text in MESSAGES.values():
        p.send("u0", text)
    for got in (imap_all("u0"), pop3_all("u0")):
        assert len(got) == len(MESSAGES)
        for text, sent in zip(got, MESSAGES.values()):
            assert b"Received" in added(text, sent)
    assert imap_all("u0") == pop3_all("u0")


@tap.test("the same by LMTP", timeout=120)
def _():
    for text in MESSAGES.values():
        lmtp("u1", text)
    for got in (imap_all("u1"), pop3_all("u1")):
        assert len(got) == len(MESSAGES)
        for text, sent in zip(got, MESSAGES.values()):
            added(text, sent)


@tap.test("the same by APPEND, nothing added", timeout=120)
def _():
    for text in MESSAGES.values():
        append("u2", "INBOX", text)
    for got in (imap_all("u2"), pop3_all("u2")):
        assert got == list(MESSAGES.values())


@tap.test("IMAP hands out pieces of it as they are: sections and partial fetches", timeout=60)
def _():
    sent = MESSAGES["every octet"]
    body = sent.split(b"\r\n\r\n", 1)[1]
    m = p.imap("u2")
    m.select("INBOX", readonly=True)
    assert m.fetch("1", "(BODY.PEEK[TEXT])")[1][0][1] == body
    assert m.fetch("1", "(BODY.PEEK[1])")[1][0][1] == body
    assert m.fetch("1", "(RFC822.HEADER)")[1][0][1] == sent[:len(sent) - len(body)]
    whole = b""
    for at in range(0, len(sent) + 700, 701):
        whole += m.fetch("1", "(BODY.PEEK[]<%d.701>)" % at)[1][0][1]
    assert whole == sent
    got = m.fetch("3", "(BODY.PEEK[HEADER.FIELDS (X-PENNY-9999 X-Penny-0)])")[1][0][1]
    assert got == b"X-Penny-0: value 0\r\nX-Penny-9999: value 9999\r\n\r\n", got
    m.logout()


@tap.test("50 MB by SMTP, by IMAP and by POP3", timeout=240)
def _():
    sent = big(LIMIT)
    assert len(sent) == LIMIT
    p.send("u3", sent)
    got = imap_all("u3")
    added(got[0], sent)
    assert pop3_all("u3") == got
    m = p.imap("u3", timeout=60)
    m.select()
    size = len(got[0])
    assert m.fetch("1", "(BODY.PEEK[]<%d.100>)" % (size - 50))[1][0][1] == sent[-50:]
    m.logout()


@tap.test("50 MB by LMTP and by APPEND", timeout=240)
def _():
    sent = big(LIMIT)
    lmtp("u4", sent)
    added(imap_all("u4")[0], sent)
    append("u4", "Big", sent)
    assert imap_all("u4", "Big") == [sent]


@tap.test("one octet over the limit is refused: with SIZE at MAIL, without it after DATA; APPEND too; sessions go on",
          timeout=240)
def _():
    sent = big(LIMIT + 1)
    with p.connect(p.smtp_port, timeout=60) as w:
        w.reply()
        ehlo = w.smtp(b"EHLO client.example.org")
        assert any(l[4:] == b"SIZE %d" % LIMIT for l in ehlo), ehlo
        assert w.smtp(b"MAIL FROM:<a@example.org> SIZE=%d" % (LIMIT + 1))[0].startswith(b"552")
        assert w.smtp(b"MAIL FROM:<a@example.org> BODY=8BITMIME")[0].startswith(b"250")
        assert w.smtp(b"RCPT TO:<u5@%s>" % DOMAIN.encode())[0].startswith(b"250")
        assert w.smtp(b"DATA")[0].startswith(b"354")
        w.send(sent + b".\r\n")
        got = w.reply()
        assert got[0].startswith(b"552"), got
        assert w.smtp(b"NOOP")[0].startswith(b"250")
        assert w.smtp(b"QUIT")[0].startswith(b"221")
    with p.connect(p.imap_port) as w:
        w.line()
        w.imap(b"a", b"LOGIN u5 " + PASSWORD.encode())
        got = w.imap(b"b", b"APPEND INBOX {%d}" % (LIMIT + 1))
        assert got[-1].startswith((b"b NO", b"b BAD")), got
        assert w.imap(b"c", b"NOOP")[-1].startswith(b"c OK")
        assert w.imap(b"d", b"STATUS INBOX (MESSAGES)")[0] == b"* STATUS INBOX (MESSAGES 0)"


tap.done()
