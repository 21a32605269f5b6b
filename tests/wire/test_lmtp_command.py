# SPDX-License-Identifier: ISC
"""deliver as a command: what a pipe from another MTA sees."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()


def last(p, user):
    m = p.pop3(user)
    n = len(m.list()[1])
    text = b"".join(line + b"\r\n" for line in m.retr(n)[1])
    m.quit()
    return text


with Instance() as p:

    @tap.test("lines of LF become CR LF, dots survive, the From line goes")
    def _():
        r = p.run("libexec/deliver", "-f", "a@b.example", "alice",
                  input=b"From a@b.example Thu Jan  1 00:00:00 1970\nSubject: cli\n\n.\n..two\nno end\r\nmixed\n.x")
        assert r.returncode == 0, (r.returncode, r.stderr)
        text = last(p, "alice")
        assert text.startswith(b"Return-Path: <a@b.example>\r\n"), text
        assert text.endswith(b"\r\nSubject: cli\r\n\r\n.\r\n..two\r\nno end\r\nmixed\r\n.x\r\n"), text

    @tap.test("a big message, an empty one, the null sender")
    def _():
        r = p.run("libexec/deliver", "-f", "<>", "bob", input=b"Subject: big\n\n" + (b"y" * 76 + b"\n") * 50000)
        assert r.returncode == 0, r.stderr
        assert len(last(p, "bob")) > 50000 * 78
        r = p.run("libexec/deliver", "-f", "", "bob", input=b"")
        assert r.returncode == 0, r.stderr
        assert last(p, "bob").startswith(b"Return-Path: <>\r\n")

    @tap.test("-m names the mailbox, spaces and all")
    def _():
        m = p.imap("carol")
        assert m.create('"My Box"')[0] == "OK"
        r = p.run("libexec/deliver", "-f", "a@b.example", "-m", "My Box", "carol@pennypost.test", input=b"Subject: m\n\nx\n")
        assert r.returncode == 0, r.stderr
        assert m.select('"My Box"')[1] == [b"1"]
        m.logout()

    @tap.test("several users, and none of them when one is unknown")
    def _():
        r = p.run("libexec/deliver", "-f", "a@b.example", "alice", "bob", input=b"Subject: two\n\nx\n")
        assert r.returncode == 0, r.stderr
        assert b"Subject: two" in last(p, "alice") and b"Subject: two" in last(p, "bob")
        r = p.run("libexec/deliver", "-f", "a@b.example", "alice", "nobody-here", input=b"Subject: none\n\nx\n")
        assert r.returncode == 67, (r.returncode, r.stderr)
        assert b"Subject: none" not in last(p, "alice")

    @tap.test("exit statuses: usage 64, refused data 65, unknown user 67, no service 75, configuration 78")
    def _():
        for args, data, want in ((["-f", "a@b.example"], b"", 64), (["-x", "alice"], b"", 64),
                                 (["-f", "a@b", "alice"], b"Subject: x\n\nnul \0\n", 65),
                                 (["-f", "a@b", "alice"], b"Subject: x\n\nbare \r cr\n", 65),
                                 (["-f", "a b", "alice"], b"x", 65),
                                 (["-f", "a@b", "no-such-user"], b"x", 67),
                                 (["-f", "a@b", "a>\r\nRCPT TO:<bob"], b"x", 67),
                                 (["-f", "a@b", "-s", p.dir + "/nothing", "alice"], b"x", 75),
                                 (["-c", p.dir + "/nothing", "-f", "a@b", "alice"], b"x", 78)):
            r = p.run("libexec/deliver", *args, input=data)
            assert r.returncode == want, (args, r.returncode, r.stderr)

tap.done()
