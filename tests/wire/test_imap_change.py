# SPDX-License-Identifier: ISC
"""imapd: STORE, COPY, MOVE, EXPUNGE, CONDSTORE and what other sessions see (RFC 3501 s.6.4, RFC 4315, RFC 6851,
RFC 7162), IDLE (RFC 2177)."""
import os
import re
import signal
import sys
import threading
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from imap import bad, no, ok
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance(users=16, set={"imapd.idle_notify": "1s"}).start()
users = iter(b"u%d" % i for i in range(16))


def wire(user, select=b"SELECT INBOX"):
    w = p.connect(p.imap_port)
    w.line()
    ok(w, b"LOGIN %s %s" % (user, PASSWORD.encode()))
    if select:
        ok(w, select)
    return w


def fill(user, n, select=b"SELECT INBOX"):
    w = wire(user, None)
    for i in range(n):
        ok(w, b"APPEND INBOX {15+}\r\nSubject: %03d\r\n\r\n" % i)
    if select:
        ok(w, select)
    return w


@tap.test("STORE: set, add, remove, silent, keywords")
def _():
    w = fill(next(users), 3)
    assert ok(w, b"STORE 1:2 FLAGS (\\Seen)")[:-1] == [
        b"* 1 FETCH (FLAGS (\\Seen \\Recent))", b"* 2 FETCH (FLAGS (\\Seen \\Recent))"]
    assert b"* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent $a))" in ok(w, b"STORE 1 +FLAGS (\\Flagged $a)")
    assert ok(w, b"STORE 1 -FLAGS.SILENT (\\Flagged)") == [b"t OK Store completed"]
    assert ok(w, b"UID STORE 3 +FLAGS \\Draft $A")[0] == b"* 3 FETCH (UID 3 FLAGS (\\Draft \\Recent $a))"
    ok(w, b"STORE 1 FLAGS ()")
    assert ok(w, b"FETCH 1 FLAGS")[0] == b"* 1 FETCH (FLAGS (\\Recent))"
    assert ok(w, b"UID STORE 99 +FLAGS (\\Seen)") == [b"t OK Store completed"]
    bad(w, b"STORE 4 +FLAGS (\\Seen)"), bad(w, b"STORE 1 +FLAGS (\\Nonsense)"), bad(w, b"STORE 1 FLAGS")
    bad(w, b"STORE 1 NONSENSE (\\Seen)"), bad(w, b"STORE 1 (UNCHANGEDSINCE x) FLAGS (\\Seen)")
    # a new keyword is announced
    assert ok(w, b"STORE 1 +FLAGS (newkw)")[0] == b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $a newkw)"


@tap.test("EXPUNGE, UID EXPUNGE, CLOSE")
def _():
    user = next(users)
    w = fill(user, 6)
    ok(w, b"STORE 2,4:5 +FLAGS.SILENT (\\Deleted)")
    assert ok(w, b"UID EXPUNGE 1:4")[:2] == [b"* 2 EXPUNGE", b"* 3 EXPUNGE"]
    assert ok(w, b"EXPUNGE")[0] == b"* 3 EXPUNGE"
    assert [l for l in ok(w, b"FETCH 1:* UID")[:-1]] == [
        b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 3)", b"* 3 FETCH (UID 6)"]
    ok(w, b"STORE 1 +FLAGS.SILENT (\\Deleted)"), ok(w, b"EXAMINE INBOX"), ok(w, b"CLOSE")
    assert b"* 3 EXISTS" in ok(w, b"SELECT INBOX")
    assert ok(w, b"CLOSE") == [b"t OK Closed"]
    assert b"* 2 EXISTS" in ok(w, b"SELECT INBOX")
    ok(w, b"STORE 1 +FLAGS.SILENT (\\Deleted)"), ok(w, b"UNSELECT")
    assert b"* 2 EXISTS" in ok(w, b"SELECT INBOX")


@tap.test("EXPUNGE answers only what was told: no EXISTS of its own")
def _():
    w = fill(next(users), 3)
    ok(w, b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
    lines = ok(w, b"EXPUNGE")
    assert lines[:3] == [b"* 1 EXPUNGE"] * 3, lines
    assert [l for l in lines[3:-1] if b"EXISTS" in l] in ([], [b"* 0 EXISTS"]), lines


@tap.test("COPY and MOVE: COPYUID, flags kept, TRYCREATE")
def _():
    w = fill(next(users), 4)
    ok(w, b"CREATE box"), ok(w, b"STORE 2 +FLAGS.SILENT (\\Answered $k)")
    line = ok(w, b"COPY 1:3 box")[-1]
    assert re.match(rb"t OK \[COPYUID \d+ 1:3 1:3\] ", line), line
    no(w, b"COPY 1 nothing", b"[TRYCREATE]"), no(w, b"UID MOVE 1 nothing", b"[TRYCREATE]")
    lines = ok(w, b"MOVE 2,4 box")
    assert re.match(rb"\* OK \[COPYUID \d+ 2,4 4:5\] ", lines[0]), lines
    assert lines[1:3] == [b"* 2 EXPUNGE", b"* 3 EXPUNGE"], lines
    lines = ok(w, b"UID MOVE 1,77 box")
    assert re.match(rb"\* OK \[COPYUID \d+ 1 6\] ", lines[0]) and b"* 1 EXPUNGE" in lines, lines
    assert ok(w, b"UID COPY 77 box") == [b"t OK Nothing to copy"]
    ok(w, b"SELECT box")
    text = b"\n".join(ok(w, b"FETCH 1:* (FLAGS)"))
    assert text.count(b"\\Answered") == 2 and text.count(b"$k") == 2, text
    lines = ok(w, b"COPY 1 box")		# into itself
    assert b"* 7 EXISTS" in lines, lines


@tap.test("CONDSTORE: MODSEQ, CHANGEDSINCE, UNCHANGEDSINCE with MODIFIED, SEARCH MODSEQ")
def _():
    user = next(users)
    w = fill(user, 4)
    top = int(re.search(rb"HIGHESTMODSEQ (\d+)", b" ".join(ok(w, b"SELECT INBOX (CONDSTORE)"))).group(1))
    lines = ok(w, b"STORE 2 +FLAGS.SILENT (\\Flagged)")
    m = re.match(rb"\* 2 FETCH \(UID 2 MODSEQ \((\d+)\)\)", lines[0])
    assert m and int(m.group(1)) > top, lines
    new = int(m.group(1))
    lines = ok(w, b"FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % top)
    assert len(lines) == 2 and b"MODSEQ (%d)" % new in lines[0], lines
    assert len(ok(w, b"UID FETCH 1:* (UID) (CHANGEDSINCE %d)" % new)) == 1
    lines = ok(w, b"STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Seen)" % top)
    assert b"[MODIFIED 2]" in lines[-1], lines
    assert any(l.startswith(b"* 1 FETCH (UID 1 MODSEQ") for l in lines), lines
    lines = ok(w, b"UID STORE 4 (UNCHANGEDSINCE 0) +FLAGS.SILENT (\\Seen)")
    assert b"[MODIFIED 4]" in lines[-1]
    line = ok(w, b"SEARCH MODSEQ %d" % new)[0]
    assert re.match(rb"\* SEARCH 1 2 3 \(MODSEQ \d+\)$", line), line
    assert ok(w, b'SEARCH MODSEQ "/flags/\\\\seen" all 9223372036854775807')[0] == b"* SEARCH"
    late = wire(user)
    lines = ok(late, b"FETCH 1 MODSEQ")		# the first enabling command tells HIGHESTMODSEQ, the second does not
    assert lines[0].startswith(b"* OK [HIGHESTMODSEQ ") and lines[1].startswith(b"* 1 FETCH (MODSEQ ("), lines
    assert len(ok(late, b"FETCH 1 MODSEQ")) == 2
    assert b"MODSEQ" in ok(late, b"STORE 1 FLAGS (\\Draft)")[0]
    bad(w, b"FETCH 1 FLAGS (CHANGEDSINCE 0)"), bad(w, b"FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)")
    bad(w, b"FETCH 1 FLAGS (VANISHED)")
    # STATUS and the mailbox agree
    other = wire(user, None)
    status = ok(other, b"STATUS INBOX (HIGHESTMODSEQ)")[0]
    again = b" ".join(ok(w, b"SELECT INBOX"))
    assert re.search(rb"HIGHESTMODSEQ (\d+)", status).group(1) == re.search(rb"HIGHESTMODSEQ (\d+)", again).group(1)


@tap.test("another session's flags, arrivals and expunges are told; EXPUNGE never during FETCH, STORE, SEARCH")
def _():
    user = next(users)
    a = fill(user, 4)
    b = wire(user)
    ok(b, b"FETCH 1:* FLAGS")
    ok(a, b"STORE 1 +FLAGS (\\Flagged)")
    assert b"* 1 FETCH (FLAGS (\\Flagged))" in ok(b, b"NOOP")
    ok(a, b"APPEND INBOX {4+}\r\nA:b\n")
    assert b"* 5 EXISTS" in ok(b, b"NOOP")
    ok(a, b"STORE 2 +FLAGS.SILENT (\\Deleted)"), ok(a, b"EXPUNGE")
    for c in (b"FETCH 1 FLAGS", b"STORE 1 +FLAGS (\\Seen)", b"SEARCH ALL"):
        assert not [l for l in ok(b, c) if b"EXPUNGE" in l], c
    assert ok(b, b"FETCH 5 UID")[0] == b"* 5 FETCH (UID 5)"	# numbers have not moved
    lines = b.imap(b"t", b"FETCH 2 BODY.PEEK[]")
    assert not [l for l in lines if b"EXPUNGE" in l[:12]], lines
    assert b"* 2 EXPUNGE" in ok(b, b"UID FETCH 1 FLAGS")
    assert ok(b, b"FETCH 4 UID")[0] == b"* 4 FETCH (UID 5)"
    # the index was not needed so far by this one: changes are told all the same
    c = wire(user)
    ok(a, b"STORE 1 FLAGS (\\Draft)")
    assert [l for l in ok(c, b"NOOP") if b"* 1 FETCH (FLAGS (\\Draft" in l]


@tap.test("flags stored by two sessions at once: both learn of both")
def _():
    user = next(users)
    a = fill(user, 20)
    b = wire(user)
    ok(a, b"FETCH 1:* FLAGS"), ok(b, b"FETCH 1:* FLAGS")
    seen = {id(a): {}, id(b): {}}

    def note(w, lines):
        for l in lines:
            m = re.match(rb"\* (\d+) FETCH \(FLAGS \(([^)]*)\)", l)
            if m:
                seen[id(w)][int(m.group(1))] = b"\\Flagged" in m.group(2), b"\\Draft" in m.group(2)

    def work(w, flag):
        for i in range(1, 21):
            note(w, ok(w, b"STORE %d +FLAGS.SILENT (%s)" % (i, flag)))
    ts = [threading.Thread(target=work, args=x) for x in ((a, b"\\Flagged"), (b, b"\\Draft"))]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    for w in (a, b):
        note(w, ok(w, b"NOOP"))
        # what a session was not told it must have done itself
        mine = 0 if w is a else 1
        for i in range(1, 21):
            assert seen[id(w)].get(i, (False, False))[1 - mine], (i, seen[id(w)])


@tap.test("\\Recent goes to one session")
def _():
    user = next(users)
    a, b = fill(user, 0), None
    b = wire(user)
    x = wire(user, None)
    ok(x, b"APPEND INBOX {4+}\r\nA:b\n")
    told = [b"* 1 RECENT" in ok(w, b"NOOP") for w in (a, b)]
    assert told.count(True) == 1, told


@tap.test("IDLE: a delivery shows within 100 ms; still-here; DONE; garbage")
def _():
    w = wire(b"alice")
    assert w.cmd(b"i IDLE").startswith(b"+ ")
    took = []
    for i in range(5):
        start = time.monotonic()
        p.send("alice", b"Subject: x\r\n\r\nx\r\n")
        sent = time.monotonic()
        lines = w.until(b"* %d EXISTS" % (i + 1))
        took.append(time.monotonic() - sent)
        while w.line() != b"* %d RECENT" % (i + 1):
            pass
    assert sorted(took)[2] < 0.1, took
    assert w.line() == b"* OK Still here"
    other = wire(b"alice")
    ok(other, b"STORE 1 +FLAGS (\\Flagged)")
    assert w.until(b"* 1 FETCH (FLAGS (\\Flagged")
    ok(other, b"STORE 1 +FLAGS.SILENT (\\Deleted)"), ok(other, b"EXPUNGE")
    assert w.until(b"* 1 EXPUNGE")
    w.send(b"done\r\n")
    assert w.until(b"i ")[-1].startswith(b"i OK")
    w.send(b"j IDLE\r\nNOOP\r\n")
    assert w.until(b"j ")[-1].startswith(b"j BAD")
    w = wire(b"alice", None)
    assert w.cmd(b"i IDLE").startswith(b"+ ")
    w.send(b"DONE\r\n")
    assert w.until(b"i ")[-1].startswith(b"i OK")


@tap.test("the selected mailbox is deleted by another session, and by this one")
def _():
    user = next(users)
    a, b = wire(user, None), wire(user, None)
    ok(a, b"CREATE box")
    for i in range(3):
        ok(a, b"APPEND box {4+}\r\nA:b\n")
    ok(b, b"SELECT box"), ok(b, b"FETCH 1:* FLAGS"), ok(a, b"DELETE box")
    lines = ok(b, b"NOOP")
    assert lines[:-1].count(b"* 1 EXPUNGE") == 3, lines
    no(b, b"APPEND box {4+}\r\nA:b\n", b"[TRYCREATE]")
    ok(b, b"UID FETCH 1:* FLAGS"), ok(b, b"SEARCH ALL"), ok(b, b"EXPUNGE"), ok(b, b"CLOSE")
    ok(a, b"CREATE box"), ok(a, b"SELECT box"), ok(a, b"DELETE box"), ok(a, b"NOOP"), ok(a, b"SELECT INBOX")


@tap.test("8 writers and 30 idlers: everyone sees every message, UIDs ascend", timeout=120)
def _():
    user = next(users)
    fill(user, 0)
    idlers = []
    for i in range(30):
        w = wire(user)
        assert w.cmd(b"i IDLE").startswith(b"+ ")
        idlers.append(w)
    uids, lock = [], threading.Lock()

    def write():
        w = wire(user, None)
        mine = []
        for i in range(10):
            line = ok(w, b"APPEND INBOX {4+}\r\nA:b\n")[-1]
            mine.append(int(re.search(rb"APPENDUID \d+ (\d+)", line).group(1)))
        assert mine == sorted(mine)
        with lock:
            uids.extend(mine)
    ts = [threading.Thread(target=write) for _ in range(8)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    assert sorted(uids) == list(range(1, 81)), sorted(uids)
    for w in idlers:
        w.until(b"* 80 EXISTS")
        w.close()


@tap.test("SIGTERM: idle and waiting sessions get BYE", timeout=40)
def _():
    a, b = wire(b"bob"), wire(b"bob")
    assert b.cmd(b"i IDLE").startswith(b"+ ")
    parents = p.pids("imapd")
    for pid in parents:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    assert a.until(b"* BYE") and b.until(b"* BYE")


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
tap.done()
