# SPDX-License-Identifier: ISC
"""Header fields that smtpd adds (RFC 5321 s.4.4, RFC 6409 s.8), and octets that stay as they are."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()


def take(p, user):
    """The user's only message, then deleted."""
    m = p.pop3(user)
    assert len(m.list()[1]) == 1, m.list()
    text = b"".join(line + b"\r\n" for line in m.retr(1)[1])
    m.dele(1)
    m.quit()
    return text


def split(text):
    head, body = text.split(b"\r\n\r\n", 1)
    return re.sub(rb"\r\n[ \t]+", b" ", head).split(b"\r\n"), body


def submit(p, data, tls=True):
    with p.smtp(p.submission_port) as s:
        if tls:
            s.starttls(context=p.tls())
        s.login("bob", "penny")
        s.sendmail("bob@pennypost.test", ["bob@pennypost.test"], data)
    return take(p, "bob")


with Instance() as p:

    @tap.test("Received says who, where and how")
    def _():
        p.send("alice", b"Subject: x\r\n\r\nx\r\n")
        fields, body = split(take(p, "alice"))
        assert body == b"x\r\n"
        assert fields[0] == b"Return-Path: <stranger@example.org>", fields
        assert fields[1] == b"Delivered-To: alice@pennypost.test", fields
        mine = [f for f in fields if re.match(
            rb"Received: from client\.example\.org \(\[127\.0\.0\.1\]\) by \S+ \(Pennypost\) with ESMTP "
            rb"id \w+\.1 for <alice@pennypost\.test>; \w\w\w, +\d+ \w\w\w \d{4} \d\d:\d\d:\d\d \+0000$", f)]
        assert len(mine) == 1, fields
        assert fields[-1] == b"Subject: x", fields

    @tap.test("with several recipients none is named")
    def _():
        p.send(["alice", "carol"], b"Subject: x\r\n\r\nx\r\n")
        for user in ("alice", "carol"):
            text = take(p, user)
            assert b"for <" not in text and (b"Delivered-To: %s@" % user.encode()) in text, text

    @tap.test("submission: ESMTPSA, the TLS in use, and Date and Message-ID where they are missing")
    def _():
        fields, body = split(submit(p, b"To: x\r\n\r\nx\r\n"))
        head = b"\n".join(fields)
        assert b" with ESMTPSA id " in head and b" (TLSv1." in head, head
        assert len(re.findall(rb"(?m)^Date: ", head)) == 1, head
        assert len(re.findall(rb"(?m)^Message-ID: <\S+@pennypost\.test>$", head)) == 1, head
        assert fields[-1] == b"To: x" and body == b"x\r\n"
        fields, body = split(submit(p, b"date: mine\r\nMESSAGE-id: <m@x>\r\n\r\nx\r\n", tls=False))
        head = b"\n".join(fields)
        assert b" with ESMTPA id " in head, head
        assert head.lower().count(b"\ndate:") == 1 and head.lower().count(b"\nmessage-id:") == 1, head

    @tap.test("submission: no header at all, an empty message, a header too long to hold")
    def _():
        assert submit(p, b"\r\nonly a body\r\n").endswith(b"\r\n\r\nonly a body\r\n")
        assert b"\nDate: " in submit(p, b"")
        long = b"".join(b"X-%d: %s\r\n" % (i, b"y" * 60) for i in range(10000)) + b"\r\nx\r\n"
        assert submit(p, long).endswith(b"\r\n" + long)

    @tap.test("every octet but NUL, CR and LF, dots at line starts, and 50 MB come back", timeout=120)
    def _():
        for body in (bytes(c for c in range(1, 256) if c not in (10, 13)) + b"\r\n",
                     b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n", b"no end of line",
                     (b"z" * 76 + b"\r\n.\r\n") * (50 * 1000 * 1000 // 81)):
            text = b"Subject: octets\r\n\r\n" + body
            p.send("alice", text)
            got = take(p, "alice")
            want = text if text.endswith(b"\r\n") else text + b"\r\n"
            assert got.endswith(b"\r\n" + want), (len(got), len(want), got[-100:])

tap.done()
