# SPDX-License-Identifier: ISC
"""Nothing is relayed, run, or written elsewhere, whatever the spelling (S26, S28, S29, S35)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()

RELAY = [b"victim@remote.example", b"victim%remote.example@pennypost.test", b"victim%remote.example",
         b"remote.example!victim@pennypost.test", b"remote.example!victim",
         b'"victim@remote.example"@pennypost.test', b'"victim%remote.example"@pennypost.test',
         b"@pennypost.test:victim@remote.example", b"@pennypost.test,@x.example:victim@remote.example",
         b'"remote.example!victim"@pennypost.test', b"victim@[192.0.2.1]", b"victim@[IPv6:2001:db8::1]",
         b"victim@pennypost.test@remote.example", b"victim@remote.example@pennypost.test",
         b'"victim@remote.example"', b"victim@pennypost.test.remote.example", b"alice@sub.pennypost.test",
         b"alice@pennypost.tes", b"alice@xpennypost.test"]
STRANGE = [b'"|touch /tmp/pennypost-owned"@pennypost.test', b"|/bin/true@pennypost.test",
           b'"/tmp/pennypost-owned"@pennypost.test', b"/tmp/pennypost-owned@pennypost.test",
           b'":include:/etc/passwd"@pennypost.test', b'"../bob"@pennypost.test', b"../bob@pennypost.test",
           b'"../../etc/passwd"@pennypost.test', b"-f@pennypost.test", b"--help@pennypost.test",
           b'"$(touch /tmp/pennypost-owned)"@pennypost.test', b"`touch`@pennypost.test",
           b'"alice bob"@pennypost.test', b'"."@pennypost.test', b'".."@pennypost.test', b'"*"@pennypost.test',
           b"+@pennypost.test", b'"+alice"@pennypost.test', b'"alice/../bob"@pennypost.test',
           b"${run{touch}}@pennypost.test", b"root@pennypost.test", b"daemon@pennypost.test"]


def refused(w, rcpts, want):
    """Each at RCPT, in a transaction of its own."""
    for rcpt in rcpts:
        w.smtp(b"RSET")
        assert w.smtp(b"MAIL FROM:<a@b.example>")[0].startswith(b"250 ")
        got = w.smtp(b"RCPT TO:<" + rcpt + b">")
        assert got[0][:1] == want, (rcpt, got)


with Instance(set={"smtpd.errors_max": "1000"}) as p:

    @tap.test("strangers may not relay, in any spelling")
    def _():
        with p.connect(p.smtp_port) as w:
            w.reply()
            w.smtp(b"EHLO x")
            refused(w, RELAY, b"5")
            assert w.smtp(b"RCPT TO:<victim@remote.example>")[0] == b"550 5.7.1 Relaying denied"

    @tap.test("a user who has logged in is told that there is no route")
    def _():
        with p.smtp(p.submission_port) as s:
            s.login("alice", "penny")
            s.mail("alice@pennypost.test")
            assert s.rcpt("victim@remote.example") == (550, b"5.4.4 No route: this release delivers locally")
            for rcpt in RELAY:
                code, text = s.docmd("RCPT", "TO:<%s>" % rcpt.decode())
                assert code >= 500, (rcpt, code, text)

    @tap.test("commands, files and traversals are no addresses")
    def _():
        with p.connect(p.smtp_port) as w:
            w.reply()
            w.smtp(b"EHLO x")
            refused(w, STRANGE, b"5")
        with p.connect(p.lmtp_port) as w:
            w.reply()
            w.smtp(b"LHLO x")
            refused(w, STRANGE, b"5")
            refused(w, [r for r in RELAY if not r.startswith(b"@")], b"5")
        assert not os.path.exists("/tmp/pennypost-owned")

    @tap.test("shell text in sender, headers and folder is text")
    def _():
        with p.connect(p.smtp_port) as w:
            w.reply()
            w.smtp(b"EHLO x")
            for sender in (b'";touch${IFS}/tmp/pennypost-owned;"@x.y', b"${run{touch}}@x.y", b"`touch`@x.y"):
                assert w.smtp(b"MAIL FROM:<" + sender + b">")[0].startswith(b"250 "), sender
                got = w.smtp(b'RCPT TO:<"alice+../../bob;touch /tmp/pennypost-owned"@pennypost.test>')
                assert got[0].startswith(b"250 "), got
                assert w.smtp(b"DATA")[0].startswith(b"354 ")
                w.send(b"Subject: () { :;}; touch /tmp/pennypost-owned\r\nX: `touch`\r\n\r\n$(touch)\r\n.\r\n")
                assert w.reply()[0].startswith(b"250 ")
        assert not os.path.exists("/tmp/pennypost-owned")

tap.done()
