# SPDX-License-Identifier: ISC
"""Only CRLF.CRLF ends a message, and what is in front of it is kept whole or refused (S10 to S14, S25)."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Tap

tap = Tap()

ENDINGS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\r\n.\r\r\n", b"\n\n.\n\n",
           b"\r\n.\x00\r\n", b"\r\n\x00.\r\n", b"\r\n.\xff\r\n", b"\r\n. \r\n", b"\r\n.\xc2\x85\r\n",
           b"\xc2\x85.\xc2\x85", b"\r\n.\x0b\r\n", b"\x0b.\x0c"]
INNER = (b"MAIL FROM:<smuggler@evil.example>\r\nRCPT TO:<bob@pennypost.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n"
         b"inner\r\n")


def codes_after_data(p, port, hello, text):
    """Sends a transaction whose message is text, then NOOP; the codes that come after 354."""
    with p.connect(port) as w:
        w.reply()
        assert w.smtp(hello)[-1].startswith(b"250 ")
        for line in (b"MAIL FROM:<a@b.example>", b"RCPT TO:<alice@pennypost.test>"):
            assert w.smtp(line)[0].startswith(b"250 "), line
        assert w.smtp(b"DATA")[0].startswith(b"354 ")
        w.send(text + b"\r\n.\r\nNOOP\r\nQUIT\r\n")
        codes = []
        while True:
            line = w.line()
            if not line:
                return codes
            codes.append(line[:3])


def filed(p):
    return len(re.findall(r" deliver\.filed ", p.logs()))


with Instance() as p:
    for name, port, hello in (("SMTP", p.smtp_port, b"EHLO x"), ("LMTP", p.lmtp_port, b"LHLO x")):
        for ending in ENDINGS:

            @tap.test("%s: %r does not end a message" % (name, ending))
            def _():
                before = filed(p)
                codes = codes_after_data(p, port, hello, b"Subject: outer\r\n\r\nouter" + ending + INNER)
                assert len(codes) == 3 and codes[1:] == [b"250", b"221"], codes
                assert codes[0] in (b"250", b"554"), codes
                bare = re.search(rb"\r(?!\n)|(?<!\r)\n|\0", ending)
                assert (codes[0] == b"554") == bool(bare), codes
                assert filed(p) - before == (codes[0] == b"250")
                assert "smuggler" not in p.logs()

        @tap.test("%s: bare CR, LF and NUL anywhere are refused" % name)
        def _():
            for text in (b"A: b\n\r\nx", b"A: b\r\n\r\nx\ry", b"A: b\r\n\r\n\r", b"\nA: b", b"A: b\r\n\r\n\x00",
                         b"A\x00: b\r\n\r\nx", b"A: b\r\n\r\n" + b"x" * 300000 + b"\n"):
                codes = codes_after_data(p, port, hello, text)
                assert codes == [b"554", b"250", b"221"], (text[:40], codes)

        @tap.test("%s: empty and header-less messages, 8-bit octets, dots" % name)
        def _():
            for text in (b"", b"x", b"\r\nx", b"A: b", b"no header\r\n\r\nx", b"..", b"A: b\r\n\r\n..\r\n...\r\n..x",
                         bytes(c for c in range(1, 256) if c not in (10, 13))):
                codes = codes_after_data(p, port, hello, text)
                assert codes == [b"250", b"250", b"221"], (text[:40], codes)

        @tap.test("%s: a message in a loop is refused" % name)
        def _():
            codes = codes_after_data(p, port, hello, b"Received: x\r\n" * 150 + b"\r\nx")
            assert codes == [b"554", b"250", b"221"], codes
            codes = codes_after_data(p, port, hello, b"Received: x\r\n" * 90 + b"\r\n" + b"Received: x\r\n" * 200)
            assert codes == [b"250", b"250", b"221"], codes

tap.done()
