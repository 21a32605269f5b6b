# SPDX-License-Identifier: ISC
"""A full disk: 452 to SMTP and LMTP, nothing acknowledged is lost, and mail flows again when there is space."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import ROOT, Instance, Tap

tap = Tap()
NAME = "a full disk is 452; space makes it well again; nothing acknowledged is lost"


def say(p, port, hello, user, text):
    """The code of the reply that ends the attempt."""
    with p.connect(port, timeout=30) as w:
        w.reply()
        w.smtp(hello)
        for line in (b"MAIL FROM:<a@b.example>", b"RCPT TO:<%s@pennypost.test>" % user, b"DATA"):
            got = w.smtp(line)[0]
            if got[:1] not in (b"2", b"3"):
                return got[:9]
        w.send(text + b"\r\n.\r\n")
        return w.reply()[0][:9]


def small_disk_test():
    top = tempfile.mkdtemp(prefix="pennypost-full.")
    os.chmod(top, 0o755)
    with Instance(dir=top) as p:
        mail = os.path.join(top, "mail")
        p.stop()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", mail]).returncode != 0:
            tap.skip(NAME, "no mount here")
            p.start()
            return
        try:
            p.start()
            fill(p, mail)
        finally:
            p.stop()
            subprocess.run(["umount", mail], check=True)
            p.start()
    shutil.rmtree(top, ignore_errors=True)


def fill(p, mail):
    codes, n = set(), {b"alice": 0, b"bob": 0}
    with open(os.path.join(mail, "ballast"), "wb") as f:
        f.write(b"x" * (6 << 20))
    for i in range(200):
        for user, port, hello in ((b"alice", p.smtp_port, b"EHLO x"), (b"bob", p.lmtp_port, b"LHLO x")):
            text = b"Subject: %d\r\n\r\n" % i + b"y" * (200000 if i % 2 else 400000)
            code = say(p, port, hello, user, text)
            codes.add(code)
            n[user] += code.startswith(b"250")
        if any(c.startswith(b"4") for c in codes) and i > 10:
            break
    assert codes <= {b"250 2.0.0", b"452 4.3.1"} and len(codes) == 2, codes
    os.unlink(os.path.join(mail, "ballast"))
    for user, port, hello in ((b"alice", p.smtp_port, b"EHLO x"), (b"bob", p.lmtp_port, b"LHLO x")):
        assert say(p, port, hello, user, b"Subject: after\r\n\r\nx") == b"250 2.0.0"
        m = p.pop3(user.decode())
        count = len(m.list()[1])
        m.quit()
        assert count == n[user] + 1, (user, count, n)
    tap.ok(True, NAME)


if not ROOT:
    tap.skip(NAME, "needs root to mount a small disk")
else:
    try:
        small_disk_test()
    except Exception as e:
        tap.ok(False, NAME, repr(e))
tap.done()
