# SPDX-License-Identifier: ISC
"""imapd: FETCH (RFC 3501 s.6.4.5) against what Python's own parser makes of the messages."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()
p = Instance().start()

INNER = b"From: inner@example.org\r\nSubject: =?UTF-8?Q?inn=C3=A9r?=\r\n\r\ninner text\r\n"
MIXED = (b"From: Fred Foo <fred@example.org>\r\nTo: alice@pennypost.test, \"B, C\" <b@c.d>\r\n"
         b"Subject: a \"quoted\" one\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <1@x>\r\n"
         b"In-Reply-To: <0@x>\r\nMIME-Version: 1.0\r\nX-Folded: one\r\n two\r\n"
         b"Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n"
         b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nfirst part\r\n"
         b"--b1\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + INNER +
         b"\r\n--b1\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n"
         b"--b2\r\n\r\nplain alternative\r\n--b2\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b2--\r\n"
         b"--b1--\r\nepilogue\r\n")
HEADER, TEXT = MIXED.split(b"\r\n\r\n", 1)
HEADER += b"\r\n\r\n"

m = p.imap("alice")
m.append("INBOX", "(\\Flagged)", None, MIXED)
for i in range(4):
    m.append("INBOX", None, None, b"Subject: m%d\r\n\r\nbody %d\r\n" % (i, i))
m.select()


def section(what, n="1"):
    """The octets of one section, or None for NIL."""
    typ, data = m.fetch(n, "(BODY.PEEK[%s])" % what)
    assert typ == "OK", data
    if isinstance(data[0], tuple):
        return data[0][1]
    assert b"NIL" in data[0], data
    return None


@tap.test("sections of the message and its parts")
def _():
    assert section("") == MIXED
    assert section("HEADER") == HEADER
    assert section("TEXT") == TEXT
    assert section("1") == b"first part"
    assert section("1.MIME") == b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    assert section("2") == INNER
    assert section("2.HEADER") == INNER.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert section("2.TEXT") == b"inner text\r\n"
    assert section("2.1") == b"inner text\r\n"
    assert section("2.HEADER.FIELDS (SUBJECT)") == b"Subject: =?UTF-8?Q?inn=C3=A9r?=\r\n\r\n"
    assert section("2.MIME").startswith(b"Content-Type: message/rfc822\r\n")
    assert section("3.1") == b"plain alternative"
    assert section("3.2") == b"<p>html</p>"
    assert section("3.2.MIME") == b"Content-Type: text/html\r\n\r\n"
    for nothing in ("4", "1.HEADER", "3.3", "2.1.1.1", "1.1.1", ".".join(["1"] * 3000)):
        assert section(nothing) in (None, b""), nothing
    assert section("1", "2") == b"body 0\r\n"


@tap.test("header fields: order of the message, any case, folds kept")
def _():
    assert section("HEADER.FIELDS (subject FROM x-folded)") == (
        b"From: Fred Foo <fred@example.org>\r\nSubject: a \"quoted\" one\r\nX-Folded: one\r\n two\r\n\r\n")
    assert section("HEADER.FIELDS (NOTHING)") == b"\r\n"
    rest = section("HEADER.FIELDS.NOT (subject from)")
    assert b"Subject" not in rest and b"X-Folded: one\r\n two\r\n" in rest and rest.endswith(b"\r\n\r\n")


@tap.test("partial fetches")
def _():
    for frm, n in ((0, 10), (5, 1), (0, 10 ** 6), (len(MIXED) - 3, 100), (len(MIXED), 5), (4294967295, 4294967295)):
        typ, data = m.fetch("1", "(BODY.PEEK[]<%d.%d>)" % (frm, n))
        assert b"BODY[]<%d>" % frm in data[0][0], data
        assert data[0][1] == MIXED[frm:frm + n]
    assert m.fetch("1", "(BODY.PEEK[TEXT]<3.7>)")[1][0][1] == TEXT[3:10]
    assert m.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)]<1.4>)")[1][0][1] == b"ubje"


@tap.test("ENVELOPE, BODY, BODYSTRUCTURE, macros, RFC822 names")
def _():
    text = m.fetch("1", "ENVELOPE")[1][0]
    assert text == (b'1 (ENVELOPE ("Mon, 7 Feb 1994 21:52:25 -0800" "a \\"quoted\\" one" '
                    b'(("Fred Foo" NIL "fred" "example.org")) (("Fred Foo" NIL "fred" "example.org")) '
                    b'(("Fred Foo" NIL "fred" "example.org")) ((NIL NIL "alice" "pennypost.test")'
                    b'("B, C" NIL "b" "c.d")) NIL NIL "<0@x>" "<1@x>"))'), text
    text = m.fetch("1", "BODYSTRUCTURE")[1][0].lower()
    assert re.match(rb'1 \(bodystructure \(\("text" "plain" \("charset" "utf-8"\) nil nil "7bit" 10 [01] ', text), text
    assert b'("message" "rfc822" nil nil nil "7bit" %d ' % len(INNER) in text, text
    assert b'"alternative"' in text and b'"mixed" ("boundary" "b1")' in text
    text = m.fetch("1", "BODY")[1][0].lower()
    assert text.endswith(b' "mixed"))'), text
    for macro, words in (("FAST", b"FLAGS INTERNALDATE RFC822.SIZE"), ("ALL", b"ENVELOPE"), ("FULL", b"BODY (")):
        text = m.fetch("1", macro)[1][0]
        for word in words.split(b" ") if macro == "FAST" else [words]:
            assert word in text, (macro, text)
    assert m.fetch("1", "RFC822.SIZE")[1][0] == b"1 (RFC822.SIZE %d)" % len(MIXED)
    assert m.fetch("1", "RFC822.HEADER")[1][0][1] == HEADER
    m.store("1", "-FLAGS", "\\Seen")
    data = m.fetch("1", "(RFC822 RFC822.TEXT)")[1]
    assert data[0][1] == MIXED and data[1][1] == TEXT


@tap.test("\\Seen is set by BODY[] and told in the same answer, not by PEEK, not after EXAMINE")
def _():
    m.store("2:3", "-FLAGS", "\\Seen")
    assert b"Seen" not in m.fetch("2", "(FLAGS BODY.PEEK[])")[1][0][0]
    data = m.fetch("2", "(BODY[])")[1]
    assert b"FLAGS (\\Seen" in data[1] or b"FLAGS (\\Seen" in data[0][0], data
    assert b"\\Seen" in m.fetch("2", "(FLAGS)")[1][0]
    m.select(readonly=True)
    m.fetch("3", "(BODY[])")
    assert b"\\Seen" not in m.fetch("3", "(FLAGS)")[1][0]
    m.select()


@tap.test("UID FETCH always tells the UID; numbers that are not there")
def _():
    assert m.uid("FETCH", "1", "(FLAGS)")[1][0].startswith(b"1 (FLAGS ")
    assert b"UID 1" in m.uid("FETCH", "1", "(FLAGS)")[1][0]
    assert m.uid("FETCH", "999", "(FLAGS)") == ("OK", [None])
    assert m.uid("FETCH", "999:*", "(UID)")[1] == [b"5 (UID 5)"]
    for wrong in ("6", "1:6", "0", "4294967296", "4294967297", "18446744073709551617", "1,,2", "1:", "x"):
        try:
            typ = m.fetch(wrong, "(FLAGS)")[0]
        except m.error as e:
            typ = str(e)
        assert "BAD" in typ, (wrong, typ)
    assert len(m.fetch("*:1,3", "(FLAGS)")[1]) == 5


@tap.test("messages that SMTP brought have their trace before them in every section")
def _():
    p.send("bob", MIXED)
    b = p.imap("bob")
    b.select()
    data = {}
    for what in ("", "HEADER", "TEXT", "HEADER.FIELDS (RECEIVED)", "HEADER.FIELDS.NOT (X)", "2.TEXT"):
        data[what] = b.fetch("1", "(BODY.PEEK[%s])" % what)[1][0][1]
    assert data[""].endswith(MIXED) and b"Received: " in data[""][:-len(MIXED)]
    assert data["HEADER"] + data["TEXT"] == data[""] and data["TEXT"] == TEXT
    assert data["HEADER.FIELDS (RECEIVED)"].startswith(b"Received: ")
    assert data["2.TEXT"] == b"inner text\r\n"
    assert b.fetch("1", "RFC822.SIZE")[1][0] == b"1 (RFC822.SIZE %d)" % len(data[""])
    for frm, n in ((0, 7), (len(data[""]) - len(MIXED) - 3, 9), (len(data[""]) - 4, 9)):
        assert b.fetch("1", "(BODY.PEEK[]<%d.%d>)" % (frm, n))[1][0][1] == data[""][frm:frm + n]


@tap.test("large bodies: whole, parts and pieces, with and without TLS", timeout=60)
def _():
    big = b"Subject: big\r\n\r\n" + b"".join(b"line %07d\r\n" % i for i in range(100000))
    m.append("INBOX", None, None, big)
    for tls in (False, True):
        c = p.imap("alice", tls=tls)
        c.select(readonly=True)
        n = str(int(c.untagged_responses["EXISTS"][-1]) if "EXISTS" in c.untagged_responses else 6)
        assert c.fetch(n, "(BODY[])")[1][0][1] == big
        assert c.fetch(n, "(BODY[TEXT])")[1][0][1] == big[16:]
        assert c.fetch(n, "(BODY[1]<100.200000>)")[1][0][1] == big[116:200116]
        assert c.fetch(n, "(BODY[HEADER])")[1][0][1] == big[:16]


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
