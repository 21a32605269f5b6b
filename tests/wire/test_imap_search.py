# SPDX-License-Identifier: ISC
"""imapd: SEARCH (RFC 3501 s.6.4.4)."""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance().start()
m = p.imap("alice")
MESSAGES = [
    ("(\\Seen)", '"01-Feb-2020 23:30:00 +0000"',
     b"From: Ann <ann@example.org>\r\nTo: bob@pennypost.test\r\nSubject: first one\r\n"
     b"Date: Sat, 1 Feb 2020 23:30:00 +0000\r\n\r\nhello world\r\n"),
    ("(\\Flagged kw)", '"02-Feb-2020 00:30:00 +0000"',
     b"From: Ben <ben@example.org>\r\nCc: Carol <carol@x.org>\r\nSubject: =?UTF-8?Q?gr=C3=BC=C3=9Fe?= an\r\n"
     b" alle\r\nDate: Sun, 2 Feb 2020 01:00:00 +0200\r\nX-Spam: yes\r\n"
     b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
     b"Sch=F6ne Stra=DFe, soft=\r\nbreak\r\n"),
    ("(\\Deleted \\Answered)", '"03-Mar-2021 12:00:00 +0000"',
     b"Subject: three\r\nBcc: dan@x.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
     b"--b\r\nContent-Type: text/html\r\n\r\n<p>he<b>ll</b>o <i>html</i> &amp; entity</p>\r\n"
     b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIHdvcmQ=\r\n"
     b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: nested\r\n\r\ninside\r\n--b--\r\n"),
    ("(\\Draft)", None, b"\r\n" + b"x" * 5000 + b"\r\n"),
]
for flags, date, text in MESSAGES:
    assert m.append("INBOX", flags, date, text)[0] == "OK"
m.select()


def find(what, charset=None):
    typ, data = m.search(charset, what)
    assert typ == "OK", data
    return [int(n) for n in data[0].split()]


CASES = [
    ("ALL", [1, 2, 3, 4]), ("SEEN", [1]), ("UNSEEN", [2, 3, 4]), ("FLAGGED", [2]), ("UNFLAGGED", [1, 3, 4]),
    ("DELETED", [3]), ("UNDELETED", [1, 2, 4]), ("ANSWERED", [3]), ("UNANSWERED", [1, 2, 4]), ("DRAFT", [4]),
    ("UNDRAFT", [1, 2, 3]), ("RECENT", [1, 2, 3, 4]), ("OLD", []), ("NEW", [2, 3, 4]),
    ("KEYWORD kw", [2]), ("KEYWORD KW", [2]), ("UNKEYWORD kw", [1, 3, 4]), ("KEYWORD none", []),
    ("UNKEYWORD none", [1, 2, 3, 4]),
    ("2:3", [2, 3]), ("*", [4]), ("3:99", [3, 4]), ("99", []), ("UID 2:*", [2, 3, 4]), ("UID 99", []),
    ("LARGER 5000", [4]), ("SMALLER 200", [1]),
    ("BEFORE 2-Feb-2020", [1]), ("ON 2-Feb-2020", [2]), ("SINCE 2-Feb-2020", [2, 3, 4]),
    ("SENTON 1-Feb-2020", [1]), ("SENTON 2-Feb-2020", [2]), ("SENTBEFORE 2-Feb-2020", [1]),
    ("SENTSINCE 1-Jan-2020", [1, 2]),
    ("FROM ann", [1]), ("FROM EXAMPLE.ORG", [1, 2]), ("TO bob", [1]), ("CC carol", [2]), ("BCC dan", [3]),
    ("SUBJECT ONE", [1]), ('SUBJECT "an alle"', [2]), ('SUBJECT ""', [1, 2, 3]),
    ('HEADER X-Spam ""', [2]), ("HEADER X-SPAM yes", [2]), ("HEADER X-None yes", []),
    ("BODY world", [1]), ("BODY ann", []), ("TEXT ann", [1]), ("BODY softbreak", [2]), ('BODY "hidden word"', [3]),
    ('BODY "hello html & entity"', [3]), ("BODY nested", [3]), ("BODY inside", [3]), ("TEXT three", [3]),
    ("NOT SEEN", [2, 3, 4]), ("OR SEEN DRAFT", [1, 4]), ("OR (SEEN FROM ann) (NOT FROM ann UNSEEN)", [1, 2, 3, 4]),
    ("NOT (OR SEEN DRAFT)", [2, 3]), ("UNSEEN NOT BODY xxxx", [2, 3]), ("seen from Ann", [1]),
    ("1:2 NOT 2", [1]), ("NOT OR OR SEEN FLAGGED DELETED", [4]),
]


@tap.test("%d searches" % len(CASES))
def _():
    wrong = [(q, find(q), want) for q, want in CASES if find(q) != want]
    assert not wrong, wrong


@tap.test("charsets: UTF-8 literal, other charsets, BADCHARSET, case folding")
def _():
    w = p.connect(p.imap_port)
    w.line()
    w.imap(b"L", b"LOGIN alice " + PASSWORD.encode())
    w.imap(b"s", b"EXAMINE INBOX")

    def search(q):
        lines = w.imap(b"t", q)
        return lines[0] if lines[-1].startswith(b"t OK") else lines[-1]
    assert search(b"SEARCH CHARSET UTF-8 SUBJECT {7+}\r\nGR\xc3\x9c\xc3\x9fE") == b"* SEARCH 2"
    assert search(b"SEARCH CHARSET utf-8 BODY {12+}\r\nsch\xc3\xb6ne stra") == b"* SEARCH 2"
    assert search(b"SEARCH CHARSET iso-8859-1 BODY {6+}\r\nSCH\xd6NE") == b"* SEARCH 2"
    assert search(b"SEARCH CHARSET US-ASCII BODY hello") == b"* SEARCH 1 3"
    assert search(b"SEARCH CHARSET x-none ALL").startswith(b"t NO [BADCHARSET (")
    assert search(b"UID SEARCH UNSEEN") == b"* SEARCH 2 3 4"
    for q in (b"SEARCH", b"SEARCH ", b"SEARCH NONSENSE", b"SEARCH (SEEN", b"SEARCH ON 1-Foo-2020", b"SEARCH 0",
              b"SEARCH UID 4294967296", b"SEARCH OR SEEN", b"SEARCH CHARSET UTF-8"):
        assert search(q).startswith(b"t BAD"), q


@tap.test("12,000 NOTs, deep parentheses, many needles: an answer at once")
def _():
    assert find("NOT " * 12000 + "SEEN") == [1]
    for q in ("(" * 20000, "(" * 20000 + "SEEN" + ")" * 20000, "OR " * 10000 + "SEEN", "BODY x " * 8000 + "SEEN"):
        typ, data = m._simple_command("SEARCH", q)
        assert typ == "NO" and b"LIMIT" in data[0], (typ, data)


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
