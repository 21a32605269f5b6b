# SPDX-License-Identifier: ISC
"""imapd: SORT and THREAD (RFC 5256), SORT=DISPLAY (RFC 5957)."""
import os
import re
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance().start()
m = p.imap("alice")

# id, references, subject, sender, date, internal date, padding
MAIL = [
    ("a", "", "Plans", "Zoe <zoe@example.org>", "Mon, 02 Mar 2020 10:00:00 +0000", "05-Mar-2020 10:00:00 +0000", 10),
    ("b", "<a@x>", "Re: Plans", "ann <Ann@example.org>", "Mon, 02 Mar 2020 12:00:00 +0500", "04-Mar-2020 10:00:00 +0000", 30),
    ("c", "<a@x> <b@x>", "RE: plans", "Bob <bob@example.org>", "Mon, 02 Mar 2020 11:00:00 +0000", "03-Mar-2020 10:00:00 +0000", 20),
    ("d", "<a@x>", "Re: plans", "=?utf-8?q?=C3=84nne?= <m@example.org>", "Tue, 03 Mar 2020 09:00:00 +0000",
     "02-Mar-2020 10:00:00 +0000", 20),
    ("e", "", "lunch", "bob@example.org", None, "01-Mar-2020 10:00:00 +0000", 5),
    ("f", "", "Fwd: Lunch", "zoe@example.org", "Wed, 04 Mar 2020 10:00:00 +0000", "06-Mar-2020 10:00:00 +0000", 40),
    ("g", "<nobody@x>", "", "ann@example.org", "Thu, 05 Mar 2020 10:00:00 +0000", "07-Mar-2020 10:00:00 +0000", 50),
]
for mid, refs, subject, sender, date, internal, pad in MAIL:
    text = "Message-ID: <%s@x>\r\nSubject: %s\r\nFrom: %s\r\n" % (mid, subject, sender)
    text += "References: %s\r\n" % refs if refs else ""
    text += "Date: %s\r\n" % date if date else ""
    assert m.append("INBOX", "()", '"%s"' % internal, (text + "\r\n" + "x" * pad * 100 + "\r\n").encode())[0] == "OK"
m.logout()


def session(box=b"INBOX"):
    w = p.connect(p.imap_port, timeout=60)
    w.line()
    w.imap(b"L", b"LOGIN alice " + PASSWORD.encode())
    assert w.imap(b"s", b"SELECT " + box)[-1].startswith(b"s OK")
    return w


w = session()


def ask(q):
    lines = w.imap(b"t", q)
    return lines[0] if lines[-1].startswith(b"t OK") else lines[-1]


CASES = [
    (b"SORT (ARRIVAL) UTF-8 ALL", b"* SORT 5 4 3 2 1 6 7"),
    (b"SORT (REVERSE ARRIVAL) UTF-8 ALL", b"* SORT 7 6 1 2 3 4 5"),
    (b"SORT (DATE) US-ASCII ALL", b"* SORT 5 2 1 3 4 6 7"),
    (b"SORT (SIZE REVERSE DATE) UTF-8 ALL", b"* SORT 5 1 3 4 2 6 7"),
    (b"SORT (REVERSE SIZE) UTF-8 2:4", b"* SORT 2 4 3"),
    (b"SORT (SUBJECT) UTF-8 ALL", b"* SORT 7 5 6 1 2 3 4"),
    (b"SORT (SUBJECT DATE) UTF-8 ALL", b"* SORT 7 5 6 2 1 3 4"),
    (b"SORT (REVERSE SUBJECT DATE) UTF-8 ALL", b"* SORT 2 1 3 4 5 6 7"),
    (b"SORT (FROM) UTF-8 ALL", b"* SORT 2 7 3 5 4 1 6"),
    (b"SORT (DISPLAYFROM) UTF-8 2:5", b"* SORT 2 4 3 5"),
    (b"SORT (CC TO) UTF-8 ALL", b"* SORT 1 2 3 4 5 6 7"),
    (b"uid sort (reverse date) utf-8 subject plans", b"* SORT 4 3 1 2"),
    (b"SORT (DATE) UTF-8 SUBJECT nothing", b"* SORT"),
    (b"THREAD REFERENCES UTF-8 ALL", b"* THREAD (5 6)(1 (2 3)(4))(7)"),
    (b"UID THREAD REFERENCES UTF-8 2:4", b"* THREAD ((2 3)(4))"),
    (b"THREAD REFERENCES UTF-8 3", b"* THREAD (3)"),
    (b"THREAD ORDEREDSUBJECT UTF-8 ALL", b"* THREAD (5 6)(2 (1)(3)(4))(7)"),
    (b"THREAD ORDEREDSUBJECT UTF-8 SUBJECT nothing", b"* THREAD"),
]


@tap.test("%d orders and threads" % len(CASES))
def _():
    wrong = [(q, ask(q), want) for q, want in CASES if ask(q) != want]
    assert not wrong, wrong


@tap.test("capabilities, syntax, charsets, MODSEQ")
def _():
    caps = ask(b"CAPABILITY").split()
    for c in (b"SORT", b"SORT=DISPLAY", b"THREAD=REFERENCES", b"THREAD=ORDEREDSUBJECT"):
        assert c in caps, caps
    for q in (b"SORT", b"SORT DATE UTF-8 ALL", b"SORT () UTF-8 ALL", b"SORT (DATE) ALL", b"SORT (DATE UTF-8 ALL",
              b"SORT (REVERSE) UTF-8 ALL", b"SORT (AGE) UTF-8 ALL", b"SORT (DATE) UTF-8", b"SORT (DATE) UTF-8 ",
              b"THREAD UTF-8 ALL", b"THREAD REFS UTF-8 ALL", b"THREAD REFERENCES ALL", b"THREAD REFERENCES UTF-8"):
        assert ask(q).startswith(b"t BAD"), q
    for q in (b"SORT (DATE) x-none ALL", b"THREAD REFERENCES x-none ALL"):
        assert ask(q).startswith(b"t NO [BADCHARSET ("), q
    ask(b"SORT (DATE) UTF-8 MODSEQ 1")      # enables CONDSTORE, which is told first
    got = ask(b"SORT (DATE) UTF-8 MODSEQ 1")
    assert re.match(rb"\* SORT 5 2 1 3 4 6 7 \(MODSEQ \d+\)$", got), got


@tap.test("thousands of messages that all refer to each other, in answers of one line", timeout=120)
def _():
    n = 3000
    path = os.path.join(p.dir, "box")
    with open(path, "w") as f:
        for i in range(n):
            refs = "".join(" <%d@x>\n" % ((i * 7 + k * 131) % (2 * n)) for k in range(1, 30))
            f.write("From x@example.org Sat Nov 21 10:00:00 2026\nMessage-ID: <%d@x>\nReferences:%sSubject: Re: %d\n\nx\n\n"
                    % (i, refs, i % 40))
    os.chmod(path, 0o644)
    r = p.run("penny", "import", "mbox", "alice", path, "--mailbox", "loops", timeout=60)
    assert r.returncode == 0, r.stderr
    v = session(b"loops")
    for q in (b"THREAD REFERENCES UTF-8 ALL", b"THREAD ORDEREDSUBJECT UTF-8 ALL", b"SORT (SUBJECT REVERSE DATE FROM) UTF-8 ALL"):
        start = time.monotonic()
        lines = v.imap(b"t", q)
        assert lines[-1].startswith(b"t OK") and time.monotonic() - start < 30, lines[-1]
        assert sorted(map(int, re.findall(rb"\d+", lines[0]))) == list(range(1, n + 1)), q
        assert lines[0].count(b"(") == lines[0].count(b")")


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
