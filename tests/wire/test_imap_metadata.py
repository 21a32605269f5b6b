#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""imapd: GETMETADATA and SETMETADATA (RFC 5464): scopes, depth, sizes, what renaming and deleting do, and what can't be."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from imap import bad, no, ok
from penny import Instance, Tap, PASSWORD

tap = Tap()
p = Instance(users=10).start()
users = iter(b"u%d" % i for i in range(10))


def wire(user):
    w = p.connect(p.imap_port)
    w.line()
    ok(w, b"LOGIN %s %s" % (user, PASSWORD.encode()))
    return w


@tap.test("set, get, replace, remove; mailbox and server, shared and private are apart; case does not count")
def _():
    w = wire(next(users))
    assert b"METADATA" in ok(w, b"CAPABILITY")[0].split()
    assert ok(w, b"GETMETADATA INBOX /shared/comment")[0] == b"* METADATA INBOX (/shared/comment NIL)"
    ok(w, b'SETMETADATA INBOX (/shared/comment "for all" /private/comment "mine \\"q\\"")')
    ok(w, b'SETMETADATA "" (/shared/comment {3+}\r\nsrv)')
    assert ok(w, b"GETMETADATA inbox (/SHARED/Comment /private/comment /private/none)")[0] == (
        b'* METADATA inbox (/SHARED/Comment "for all" /private/comment "mine \\"q\\"" /private/none NIL)')
    assert ok(w, b'GETMETADATA "" /shared/comment')[0] == b'* METADATA "" (/shared/comment "srv")'
    ok(w, b'SETMETADATA INBOX (/PRIVATE/COMMENT "")')
    assert ok(w, b"GETMETADATA INBOX /private/comment")[0] == b'* METADATA INBOX (/private/comment "")'
    ok(w, b"SETMETADATA INBOX (/private/comment NIL)"), ok(w, b"SETMETADATA INBOX (/private/comment NIL)")
    assert ok(w, b"GETMETADATA INBOX /private/comment")[0] == b"* METADATA INBOX (/private/comment NIL)"
    # another session, and another user
    assert b"for all" in ok(wire(b"u0"), b"GETMETADATA INBOX /shared/comment")[0]
    assert b"NIL" in ok(wire(b"u9"), b"GETMETADATA INBOX /shared/comment")[0]
    # the server's own
    assert ok(w, b'GETMETADATA "" /shared/admin')[0] == b'* METADATA "" (/shared/admin "mailto:postmaster@pennypost.test")'
    no(w, b'SETMETADATA "" (/shared/admin "x")', b"[NOPERM]")


@tap.test("DEPTH and MAXSIZE, on either side of the mailbox")
def _():
    w = wire(next(users))
    ok(w, b'SETMETADATA INBOX (/private/f "0" /private/f/a "1" /private/f/a/b "22" /private/fx "no" /shared/f/a "no")')
    assert ok(w, b"GETMETADATA (DEPTH 1) INBOX /private/f")[0] == b'* METADATA INBOX (/private/f "0" /private/f/a "1")'
    every = b'* METADATA INBOX (/private/f "0" /private/f/a "1" /private/f/a/b "22")'
    assert ok(w, b"GETMETADATA INBOX (DEPTH infinity) /private/f")[0] == every
    assert ok(w, b"GETMETADATA (DEPTH infinity) INBOX (/private/f/none)") == [b"t OK Completed"]
    assert ok(w, b"GETMETADATA (DEPTH infinity) INBOX /private")[0] == every[:-1] + b' /private/fx "no")'
    lines = ok(w, b"GETMETADATA (DEPTH infinity MAXSIZE 1) INBOX /private/f")
    assert lines == [b'* METADATA INBOX (/private/f "0" /private/f/a "1")', b"t OK [METADATA LONGENTRIES 2] Completed"]
    assert ok(w, b"GETMETADATA (MAXSIZE 0) INBOX /private/f") == [b"t OK [METADATA LONGENTRIES 1] Completed"]
    assert ok(w, b"GETMETADATA (DEPTH 0) INBOX /private/f")[0] == b'* METADATA INBOX (/private/f "0")'


@tap.test("octets of every kind come back: lines, 8 bit, NUL in a literal8, 32 KiB")
def _():
    w = wire(next(users))
    for value, sent in ((b"two\r\nlines", b"{10+}\r\ntwo\r\nlines"), (b"gr\xc3\xbc\xc3\x9f", b"{6+}\r\ngr\xc3\xbc\xc3\x9f"),
                        (b"a\0b\0", b"~{4+}\r\na\0b\0"), (b"x" * 32768, b"{32768+}\r\n" + b"x" * 32768)):
        ok(w, b"SETMETADATA INBOX (/private/v %s)" % sent)
        w.send(b"g GETMETADATA INBOX /private/v\r\n")
        head = w.line()
        assert head.endswith(b"{%d}" % len(value)) and (b"~" in head) == (b"\0" in value), head
        assert w.read(len(value)) == value and w.line() == b")" and w.line().startswith(b"g OK")


@tap.test("limits: MAXSIZE and TOOMANY; nothing is set when one can't be")
def _():
    w = wire(next(users))
    no(w, b"SETMETADATA INBOX (/private/a {32769+}\r\n%s)" % (b"x" * 32769), b"[METADATA MAXSIZE 32768]")
    no(w, b"SETMETADATA INBOX (/private/a {70000}", b"[METADATA MAXSIZE 32768]")
    many = b" ".join(b'/private/%d "x"' % i for i in range(256))
    ok(w, b"SETMETADATA INBOX (%s)" % many)
    no(w, b'SETMETADATA INBOX (/private/0 "changed" /private/new "x")', b"[METADATA TOOMANY]")
    assert ok(w, b"GETMETADATA INBOX /private/0")[0].endswith(b'(/private/0 "x")')
    ok(w, b'SETMETADATA INBOX (/private/0 NIL /private/new "x")')
    bad(w, b"SETMETADATA INBOX (%s)" % (many + b' /private/257 "x"'))
    no(w, b'SETMETADATA INBOX (/private/%s "x")' % (b"n" * 200), b"[LIMIT]")
    assert ok(w, b"GETMETADATA INBOX /private/%s" % (b"n" * 5000))[0].endswith(b" NIL)")
    assert len(ok(w, b"GETMETADATA (DEPTH infinity) INBOX /private")[0]) > 256 * 10


@tap.test("entries that can't be, and syntax")
def _():
    w = wire(next(users))
    for entry in (b"comment", b"/comment", b"/privat", b"/private", b"/private/", b"/private//a", b"/shared/a/", b'"/private/*"',
                  b'"/private/%"', b"/privately/a", b"{11+}\r\n/private/\xc3\xbc", b"{10+}\r\n/private/\x01", b'""'):
        bad(w, b'SETMETADATA INBOX (%s "x")' % entry)
    for line in (b"SETMETADATA", b"SETMETADATA INBOX", b"SETMETADATA INBOX ()", b'SETMETADATA INBOX (/private/a)',
                 b'SETMETADATA INBOX /private/a "x"', b'SETMETADATA INBOX (/private/a "x"', b'SETMETADATA INBOX (/private/a x)',
                 b"GETMETADATA", b"GETMETADATA INBOX", b"GETMETADATA INBOX ()", b"GETMETADATA (DEPTH 2) INBOX /private/a",
                 b"GETMETADATA (DEPTH) INBOX /private/a", b"GETMETADATA (MAXSIZE -1) INBOX /private/a",
                 b"GETMETADATA (SIZE 1) INBOX /private/a", b"GETMETADATA INBOX /private/a /private/b",
                 b"GETMETADATA INBOX (/private/a", b"GETMETADATA INBOX (%s)" % b" ".join([b"/private/a"] * 257)):
        bad(w, line)
    no(w, b"GETMETADATA nowhere /private/a", b"[NONEXISTENT]"), no(w, b'SETMETADATA nowhere (/private/a "x")', b"[NONEXISTENT]")
    no(w, b"GETMETADATA ../x /private/a"), no(w, b"GETMETADATA %s /private/a" % (b"n" * 5000))
    assert ok(w, b"GETMETADATA (DEPTH infinity) INBOX (/private /shared)") == [b"t OK Completed"]


@tap.test("metadata follows RENAME, stays with INBOX, goes with DELETE, and outlives the index")
def _():
    user = next(users)
    w = wire(user)
    ok(w, b"CREATE box/in"), ok(w, b'SETMETADATA box/in (/shared/c "1")'), ok(w, b'SETMETADATA INBOX (/shared/c "i")')
    ok(w, b"RENAME box b2")
    assert b'"1"' in ok(w, b"GETMETADATA b2/in /shared/c")[0]
    ok(w, b"RENAME INBOX old")
    for name in (b"INBOX", b"old"):
        assert b'"i"' in ok(w, b"GETMETADATA %s /shared/c" % name)[0]
    ok(w, b"DELETE b2")
    no(w, b"GETMETADATA b2 /shared/c", b"[CANNOT]")		# \Noselect
    ok(w, b"DELETE b2/in"), ok(w, b"CREATE b2/in")
    assert b"NIL" in ok(w, b"GETMETADATA b2/in /shared/c")[0]
    ok(w, b"LOGOUT")
    assert p.run("penny", "rebuild", user.decode()).returncode == 0
    assert b'"i"' in ok(wire(user), b"GETMETADATA old /shared/c")[0]
    r = p.run("penny", "check", user.decode())
    assert r.returncode == 0, r.stdout


p.close()
tap.done()
