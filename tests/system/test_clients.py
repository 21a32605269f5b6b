#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Mail clients that people use do their work: each sends, or reads, or both, and what arrives is compared.
A client that is not installed is a failure: ./check installs them."""
import atexit
import imaplib
import os
import poplib
import re
import shutil
import smtplib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import DOMAIN, PASSWORD, ROOT, Instance, Tap

tap = Tap()
home = tempfile.mkdtemp(prefix="pennypost-test.")
os.chmod(home, 0o755)
atexit.register(shutil.rmtree, home, ignore_errors=True)
p = Instance(users=14).start()
NOBODY = 65534


def sh(*args, input=None, timeout=40, rc=0, env=None, cwd=None, prefix=()):
    """Runs a client; its exit status must be rc. Returns what it wrote."""
    assert shutil.which(args[0]), "%s is not installed" % args[0]
    e = dict(os.environ, HOME=cwd or home, LC_ALL="C.UTF-8", TERM="xterm")
    e.update(env or {})
    r = subprocess.run(list(prefix) + list(args), input=input, timeout=timeout, env=e, cwd=cwd or home,
                       stdin=None if input is not None else subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert r.returncode == rc, "%s exits %d:\n%s" % (args[0], r.returncode,
                                                    r.stdout.decode(errors="replace")[-3000:])
    return r.stdout


def scratch(name):
    d = os.path.join(home, name)
    os.makedirs(d, exist_ok=True)
    return d


def write(path, text, mode=0o600):
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    os.chmod(path, mode)
    return path


def message(subject, body="First line\r\n.\r\n..two dots\r\nFrom here on\r\nGrüße, 日本語\r\n", to="alice"):
    return ("From: Bob <bob@%s>\r\nTo: %s@%s\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n"
            "Date: Sat, 21 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s"
            % (DOMAIN, to, DOMAIN, subject, re.sub(r"\W", "-", subject), body)).encode()


def inbox(user):
    """All messages of a user's inbox as octets."""
    m = p.imap(user)
    m.select("INBOX", readonly=True)
    rows = m.fetch("1:*", "(BODY.PEEK[])")[1]
    m.logout()
    return [r[1] for r in rows if isinstance(r, tuple)]


def wait_subject(user, subject, timeout=15):
    end = time.monotonic() + timeout
    while True:
        for text in inbox(user):
            if ("Subject: " + subject).encode() in text:
                return text
        assert time.monotonic() < end, "no message %r" % subject
        time.sleep(0.2)


def text_of(path):
    with open(path, "rb") as f:
        return f.read()


def normal(text):
    """Line ends as LF, as clients store mail."""
    return text.replace(b"\r\n", b"\n")


def fill(user, n=3):
    for i in range(n):
        p.send(user, message("%s number %d" % (user, i)))


# -- curl --

def curl(*args, user="alice", **kw):
    return sh("curl", "-sS", "--max-time", "30", "--cacert", p.ca, "-u", "%s:%s" % (user, PASSWORD),
              *args, **kw)


def addresses(to="alice"):
    return ["--mail-from", "bob@" + DOMAIN, "--mail-rcpt", "%s@%s" % (to, DOMAIN)]


@tap.test("curl sends: smtp to the mail exchanger, submission with STARTTLS, smtps; AUTH PLAIN and LOGIN")
def _():
    d = scratch("curl")
    ways = [("mx", ["smtp://localhost:%d/client.example.org" % p.smtp_port], None),
            ("starttls", ["--ssl-reqd", "smtp://localhost:%d/client.example.org" % p.submission_port], None),
            ("smtps", ["smtps://localhost:%d" % p.submissions_port], None),
            ("plain", ["--ssl-reqd", "smtp://localhost:%d" % p.submission_port], "AUTH=PLAIN"),
            ("login", ["--ssl-reqd", "smtp://localhost:%d" % p.submission_port], "AUTH=LOGIN")]
    for name, args, option in ways:
        sent = message("curl " + name)
        f = write(os.path.join(d, name), sent)
        if name == "mx":
            sh("curl", "-sS", "--max-time", "30", *args, *addresses(), "-T", f)
        else:
            curl(*args, *(["--login-options", option] if option else []), *addresses(), "-T", f, user="bob")
        assert wait_subject("alice", "curl " + name).endswith(sent), name
    curl("--ssl-reqd", "smtp://localhost:%d" % p.submission_port, *addresses(), "-T", f, user="bob:x",
         rc=67)


@tap.test("curl reads by imap and imaps: list, fetch, section, partial, search, status, store, append")
def _():
    fill("u0")
    sent = message("u0 number 1")
    imaps = "imaps://localhost:%d/" % p.imaps_port
    for url, more in ((imaps, []), ("imap://localhost:%d/" % p.imap_port, ["--ssl-reqd"])):
        assert b"INBOX" in curl(*more, url, user="u0")
        assert curl(*more, url + "INBOX;MAILINDEX=2", user="u0").endswith(sent)
        assert curl(*more, url + "INBOX;UID=2", user="u0").endswith(sent)
    assert (curl(imaps + "INBOX;UID=1;SECTION=HEADER.FIELDS%20(SUBJECT)", user="u0")
            == b"Subject: u0 number 0\r\n\r\n")
    assert curl(imaps + "INBOX;UID=1;SECTION=TEXT;PARTIAL=0.5", user="u0") == b"First"
    assert curl(imaps + "INBOX;UID=1;SECTION=TEXT;PARTIAL=6.4", user="u0") == b"line"
    assert curl(imaps + "INBOX?SUBJECT%20%22number%202%22", user="u0").split() == [b"*", b"SEARCH", b"3"]
    got = curl(imaps + "INBOX", "-X", "STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", user="u0")
    assert re.search(rb"MESSAGES 3 UIDNEXT 4 UIDVALIDITY \d+ UNSEEN \d", got), got
    got = curl(imaps + "INBOX", "-X", "STORE 1 +FLAGS (\\Flagged)", user="u0")
    assert b"\\Flagged" in got, got
    f = write(os.path.join(scratch("curl"), "append"), sent)
    curl(imaps, "-X", "CREATE Drafts", user="u0")
    curl("-T", f, imaps + "Drafts", user="u0")
    assert curl(imaps + "Drafts;MAILINDEX=1", user="u0") == sent
    curl(imaps, user="u0:wrong", rc=67)


@tap.test("curl reads by pop3 and pop3s: list, retrieve, UIDL, TOP, delete")
def _():
    fill("u1")
    pop3s = "pop3s://localhost:%d/" % p.pop3s_port
    for url, more in ((pop3s, []), ("pop3://localhost:%d/" % p.pop3_port, ["--ssl-reqd"])):
        assert len(curl(*more, url, user="u1").splitlines()) == 3
        assert curl(*more, url + "2", user="u1").endswith(message("u1 number 1"))
    uidl = curl("-X", "UIDL", pop3s, user="u1").split()
    assert len(set(uidl[1::2])) == 3, uidl
    top = curl("-X", "TOP 1 1", pop3s, user="u1")
    assert b"Subject: u1 number 0" in top and b"First line" in top and b"two dots" not in top, top
    curl("-X", "DELE", "-I", pop3s + "1", user="u1")
    assert len(curl(pop3s, user="u1").splitlines()) == 2
    curl("--login-options", "AUTH=PLAIN", pop3s, user="u1")
    curl(pop3s, user="u1:wrong", rc=67)


# -- swaks --

def swaks(*args, **kw):
    return sh("swaks", "--server", "127.0.0.1", *args, **kw)


@tap.test("swaks: submission with STARTTLS and AUTH, LMTP by port and socket, a wrong password is 28")
def _():
    tls = ["--port", str(p.submission_port), "--tls", "--tls-verify", "--tls-ca-path", p.ca,
           "--auth-user", "bob"]
    who = ["--from", "bob@" + DOMAIN, "--to", "alice@" + DOMAIN]
    for how in ("PLAIN", "LOGIN"):
        swaks(*tls, "--auth", how, "--auth-password", PASSWORD, *who, "--header", "Subject: swaks " + how,
              "--body", "hello " + how)
        assert b"hello " + how.encode() in wait_subject("alice", "swaks " + how)
        swaks(*tls, "--auth", how, "--auth-password", "bad", *who, "--quit-after", "AUTH", rc=28)
    lmtp = ["--protocol", "LMTP", "--pipeline", "--from", "x@example.org"]
    swaks("--port", str(p.lmtp_port), *lmtp, "--to", "bob@" + DOMAIN, "--header", "Subject: swaks lmtp")
    wait_subject("bob", "swaks lmtp")
    sh("swaks", "--socket", p.lmtp_sock, *lmtp, "--to", "bob,carol", "--header", "Subject: swaks socket")
    wait_subject("bob", "swaks socket")
    wait_subject("carol", "swaks socket")
    swaks("--port", str(p.smtp_port), "--pipeline", *who, "--header", "Subject: swaks pipeline")
    wait_subject("alice", "swaks pipeline")
    # A stranger may not relay, and an unknown user is refused in the dialogue.
    for to in ("x@example.net", "nobody-here@" + DOMAIN):
        out = swaks("--port", str(p.smtp_port), "--from", "x@example.org", "--to", to, rc=24)
        assert b"<** 550" in out or b"<** 554" in out or b"<** 551" in out, out


# -- msmtp, s-nail, mutt, neomutt --

@tap.test("msmtp sends with STARTTLS and with TLS; its picture of the server; a wrong password")
def _():
    def msmtp(port, starttls, *args, password=PASSWORD, **kw):
        return sh("msmtp", "-C", "/dev/null", "--host=localhost", "--port=%d" % port, "--tls=on",
                  "--tls-starttls=" + starttls, "--tls-trust-file=" + p.ca, "--auth=on", "--user=bob",
                  "--passwordeval=echo " + password, *args, **kw)
    for port, starttls in ((p.submission_port, "on"), (p.submissions_port, "off")):
        subject = "msmtp " + starttls
        msmtp(port, starttls, "--from=bob@" + DOMAIN, "alice@" + DOMAIN,
              input=normal(message(subject)))
        assert wait_subject("alice", subject).endswith(message(subject))
    info = sh("msmtp", "-C", "/dev/null", "--host=localhost", "--port=%d" % p.submission_port, "--tls=on",
              "--tls-trust-file=" + p.ca, "--serverinfo")
    for word in (b"SIZE", b"PIPELINING", b"STARTTLS", b"AUTH", b"PLAIN LOGIN"):
        assert word in info, info
    msmtp(p.submission_port, "on", "--from=bob@" + DOMAIN, "alice@" + DOMAIN, password="bad",
          input=b"Subject: x\n\nx\n", rc=77)


@tap.test("s-nail sends by SMTP, lists by IMAP and POP3")
def _():
    base = ["s-nail", "-:/", "-Sv15-compat", "-Stls-ca-file=" + p.ca, "-Stls-verify=strict"]
    sh(*base, "-Sfrom=bob@" + DOMAIN, "-Smta=smtp://bob:%s@localhost:%d" % (PASSWORD, p.submission_port),
       "-Ssmtp-use-starttls", "-s", "nail 1", "-.", "u2@" + DOMAIN, input=b"from nail\n")
    wait_subject("u2", "nail 1")
    for url in ("imaps://u2:%s@localhost:%d/INBOX" % (PASSWORD, p.imaps_port),
                "pop3s://u2:%s@localhost:%d" % (PASSWORD, p.pop3s_port)):
        out = sh(*base, "-H", "-f", url)
        assert b"nail 1" in out, out


def muttrc(d, user):
    return write(os.path.join(d, "rc"), """
set folder="imaps://{u}@localhost:{imaps}/"
set spoolfile="+INBOX"
set imap_user={u}
set imap_pass={pw}
set certificate_file={d}/certs
set ssl_ca_certificates_file={ca}
set smtp_url="smtp://{u}@localhost:{sub}/"
set smtp_pass={pw}
set ssl_force_tls=yes
set ssl_verify_host=yes
set imap_qresync=yes
set imap_condstore=yes
set from={u}@{dom}
set record="+Sent"
set header_cache={d}/hc
set wait_key=no
set mark_old=yes
set delete=yes
set quit=yes
set sleep_time=0
set tmpdir={d}
set imap_idle=yes
set mail_check=1
set timeout=1
""".format(u=user, pw=PASSWORD, d=d, ca=p.ca, imaps=p.imaps_port, sub=p.submission_port, dom=DOMAIN))


class Screen:
    """A program under tmux."""

    def __init__(self, name, command, d):
        self.name = "pennypost-%d-%s" % (os.getpid(), name)
        self.d = d
        self.tmux("new-session", "-d", "-s", "m", "-x", "120", "-y", "30", command)

    def tmux(self, *args):
        return sh("tmux", "-L", self.name, "-f", "/dev/null", *args, cwd=self.d).decode(errors="replace")

    def wait(self, words, timeout=25):
        end = time.monotonic() + timeout
        while True:
            text = self.tmux("capture-pane", "-p", "-t", "m")
            if words in text:
                return text
            assert time.monotonic() < end, "no %r on the screen:\n%s" % (words, text)
            time.sleep(0.2)

    def keys(self, *keys):
        self.tmux("send-keys", "-t", "m", *keys)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        subprocess.run(["tmux", "-L", self.name, "kill-server"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)


def flags(user, box="INBOX"):
    m = p.imap(user)
    m.select(box, readonly=True)
    rows = m.fetch("1:*", "(FLAGS)")[1]
    m.logout()
    return [set(imaplib.ParseFlags(r)) for r in rows if r]


def wait_for(what, condition, timeout=20):
    end = time.monotonic() + timeout
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < end, "not in time: " + what
        time.sleep(0.2)


def mutt_test(program, user):
    d = scratch(program)
    rc = muttrc(d, user)
    m = p.imap(user)
    m.create("Sent")
    m.logout()
    fill(user)
    # -n: nothing of the system's configuration; without a terminal it only sends.
    sh(program, "-n", "-F", rc, "-s", program + " sends", "alice@" + DOMAIN, input=b"hello\n", cwd=d)
    wait_subject("alice", program + " sends")
    if program == "mutt":	# neomutt makes no copies without a terminal
        wait_for("copy in Sent", lambda: len(flags(user, "Sent")) == 1)
    with Screen(program, "%s -n -F %s" % (program, rc), d) as s:
        s.wait(user + " number 2")
        s.keys("1", "Enter")
        s.keys("Enter")
        s.wait("First line")
        s.keys("q")
        s.wait(user + " number 2")
        s.keys("2", "Enter")
        s.keys("F")
        s.keys("3", "Enter")
        s.keys("d")
        s.keys("$")
        wait_for("deletion", lambda: len(flags(user)) == 2)
        p.send(user, message("late for " + program))
        s.wait(user + " number 1")
        s.wait("late for " + program)
        s.keys("q")
        wait_for("Seen and Flagged", lambda: (lambda f: r"\Seen".encode() in f[0] and
                                              rb"\Flagged" in f[1] and len(f) == 3)(flags(user)))


@tap.test("mutt sends by SMTP with a copy to Sent, reads, flags and deletes by IMAP, sees new mail",
          timeout=120)
def _():
    mutt_test("mutt", "u3")


@tap.test("neomutt does the same", timeout=120)
def _():
    mutt_test("neomutt", "u4")


# -- what copies mail --

def maildir_files(d):
    found = []
    for sub in ("cur", "new"):
        path = os.path.join(d, sub)
        if os.path.isdir(path):
            found += [os.path.join(path, n) for n in sorted(os.listdir(path))]
    return found


@tap.test("mbsync pulls, pushes changed flags, a new message and a deletion; a second run changes nothing",
          timeout=120)
def _():
    d = scratch("mbsync")
    user = "u5"
    fill(user)
    m = p.imap(user)
    m.create('"Lists/with blank"')
    m.append('"Lists/with blank"', r"(\Seen \Flagged)", None, message("listed"))
    m.logout()
    os.mkdir(os.path.join(d, "mb"))
    rc = write(os.path.join(d, "rc"), """
IMAPStore r
Host localhost
Port {imap}
User {u}
Pass {pw}
SSLType STARTTLS
CertificateFile {ca}

MaildirStore l
Path {d}/mb/
Inbox {d}/mb/INBOX
SubFolders Verbatim

Channel all
Far :r:
Near :l:
Patterns *
Create Both
Expunge Both
SyncState *
""".format(imap=p.imap_port, u=user, pw=PASSWORD, ca=p.ca, d=d))

    def run():
        return sh("mbsync", "-V", "-c", rc, "all", timeout=60, cwd=d).decode(errors="replace")

    run()
    box = os.path.join(d, "mb", "INBOX")
    files = maildir_files(box)
    assert len(files) == 3, files
    # it adds a header field of its own
    texts = [re.sub(rb"X-TUID: [^\n]*\n", b"", text_of(f)) for f in files]
    for i in range(3):
        assert any(t.endswith(normal(message("%s number %d" % (user, i)))) for t in texts), texts
    listed = maildir_files(os.path.join(d, "mb", "Lists", "with blank"))
    assert len(listed) == 1 and listed[0].endswith("FS"), listed

    def tree():
        return sorted(os.path.join(a, f) for a, _, b in os.walk(os.path.join(d, "mb")) for f in b
                      if not f.startswith(".") and f != "dovecot-uidlist")
    before = tree()
    run()
    assert tree() == before
    assert len(flags(user)) == 3

    by_subject = {}
    for f in files:
        by_subject[re.search(rb"Subject: .* number (\d)", text_of(f)).group(1)] = f
    one = by_subject[b"0"]
    os.rename(one, os.path.join(box, "cur", os.path.basename(one).split(":")[0] + ":2,FRS"))
    gone = by_subject[b"2"]
    os.rename(gone, os.path.join(box, "cur", os.path.basename(gone).split(":")[0] + ":2,T"))
    write(os.path.join(box, "new", "1763715600.1_1.localhost"), normal(message("born locally")))
    run()
    now = {re.search(rb"Subject: ([^\r]*)", t).group(1): f for t, f in zip(inbox(user), flags(user))}
    assert set(now) == {b"u5 number 0", b"u5 number 1", b"born locally"}, now
    assert now[b"u5 number 0"] >= {rb"\Flagged", rb"\Answered", rb"\Seen"}, now
    before = tree()
    text = run()
    assert tree() == before, text
    assert len(inbox(user)) == 3


@tap.test("fetchmail: POP3 with UIDL kept on the server, IMAP, delivery to a program", timeout=90)
def _():
    d = scratch("fetchmail")
    fill("u6")

    def fetchmail(name, port, protocol, options, password=PASSWORD, rc=0):
        f = write(os.path.join(d, name), 'poll localhost service %d protocol %s user "u6" password "%s" ssl '
                  'sslcertfile %s sslcertck %s mda "cat >> %s/%s.mbox"\n'
                  % (port, protocol, password, p.ca, options, d, name))
        sh("fetchmail", "-f", f, "--idfile", os.path.join(d, "ids"), "--pidfile", os.path.join(d, "pid"),
           "--nosyslog", cwd=d, env={"FETCHMAILHOME": d}, rc=rc)
        return text_of(os.path.join(d, name + ".mbox")) if rc == 0 else b""

    for name, port, protocol, options in (("pop", p.pop3s_port, "pop3 uidl", "keep"),
                                          ("imap", p.imaps_port, "imap", "fetchall")):
        text = fetchmail(name, port, protocol, options)
        for i in range(3):
            assert b"Subject: u6 number %d" % i in text, text
        assert "Grüße, 日本語".encode() in text
        if name == "pop":
            fetchmail(name, port, protocol, options, rc=1)	# no new mail
            assert len(inbox("u6")) == 3
    assert inbox("u6") == []	# what is fetched without keep is deleted
    fetchmail("bad", p.imaps_port, "imap", "keep", password="bad", rc=3)


def getmail(kind, port, sub):
    """Two runs in a fresh directory: the second finds nothing new."""
    # It refuses to run as root with such a destination.
    as_user = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"] if ROOT else []
    os.makedirs(sub)
    box = write(os.path.join(sub, "box"), "")
    rc = write(os.path.join(sub, "rc"), """
[retriever]
type = Simple{kind}Retriever
server = localhost
port = {port}
username = u7
password = {pw}
ca_certs = {ca}
[destination]
type = Mboxrd
path = {box}
[options]
delete = false
read_all = false
""".format(kind=kind, port=port, pw=PASSWORD, ca=p.ca, box=box))
    if ROOT:
        for f in (sub, box, rc):
            os.chown(f, NOBODY, NOBODY)
    for _ in range(2):
        sh("getmail", "--getmaildir=" + sub, "-r", rc, cwd=sub, prefix=as_user, timeout=15)
        text = text_of(box)
        assert text.count(b"Subject: u7 number") == 3, text
        assert "Grüße, 日本語".encode() in text


@tap.test("getmail6: POP3 and IMAP into files, once each", timeout=150)
def _():
    fill("u7")
    for kind, port in (("POP3SSL", p.pop3s_port), ("IMAPSSL", p.imaps_port)):
        for n in range(4):
            try:
                getmail(kind, port, os.path.join(scratch("getmail"), "%s.%d" % (kind, n)))
                break
            except subprocess.TimeoutExpired:
                # Now and then it waits for ever for its own child, with nothing to read or to send.
                assert n < 3, "getmail hangs"


@tap.test("offlineimap3 pulls, then pushes a flag; a second run changes nothing", timeout=120)
def _():
    d = scratch("offlineimap")
    fill("u8")
    m = p.imap("u8")
    m.create("Archive")
    m.logout()
    rc = write(os.path.join(d, "rc"), """
[general]
accounts = a
ui = basic
metadata = {d}/meta
[Account a]
localrepository = L
remoterepository = R
[Repository L]
type = Maildir
localfolders = {d}/oi
[Repository R]
type = IMAP
remotehost = localhost
remoteport = {imaps}
ssl = yes
sslcacertfile = {ca}
remoteuser = u8
remotepass = {pw}
""".format(d=d, imaps=p.imaps_port, ca=p.ca, pw=PASSWORD))

    def run():
        # Its reading thread now and then races with its other one; what it has done stays done.
        for last in (False, False, True):
            try:
                return sh("offlineimap", "-c", rc, "-o", timeout=30, cwd=d)
            except (AssertionError, subprocess.TimeoutExpired):
                if last:
                    raise
    run()
    box = os.path.join(d, "oi", "INBOX")
    files = maildir_files(box)
    assert len(files) == 3, files
    assert os.path.isdir(os.path.join(d, "oi", "Archive"))
    f = [f for f in files if b"number 1" in text_of(f)][0]
    os.rename(f, os.path.join(box, "cur", os.path.basename(f).split(":")[0] + ":2,FS"))
    run()
    got = flags("u8")
    assert got[1] >= {rb"\Seen", rb"\Flagged"} and len(got) == 3, got
    before = maildir_files(box)
    run()
    assert maildir_files(box) == before
    assert len(flags("u8")) == 3


@tap.test("fdm fetches by POP3 and by IMAP, its names sent as literals", timeout=60)
def _():
    d = scratch("fdm")
    fill("u9")
    if ROOT:
        os.chmod(d, 0o777)
    for name, account in (
            ("p", 'pop3s server "localhost" port %d user "u9" pass "%s" no-apop no-verify' % (p.pop3s_port,
                                                                                              PASSWORD)),
            ("i", 'imaps server "localhost" port %d user "u9" pass "%s" no-verify' % (p.imaps_port,
                                                                                      PASSWORD))):
        box = os.path.join(d, name + ".mbox")
        # as root it changes to another user for the delivery, by default to one named _fdm
        users = 'set default-user "root"\nset command-user "root"\n' if ROOT else ""
        rc = write(os.path.join(d, name + ".conf"),
                   'set lock-types flock\nset lock-file "%s/lock"\n%saction "m" mbox "%s"\n'
                   'account "%s" %s\nmatch all action "m"\n' % (d, users, box, name, account))
        sh("fdm", "-f", rc, "-k", "-v", "fetch", cwd=d, env={"USER": "root"} if ROOT else None)
        assert text_of(box).count(b"Subject: u9 number") == 3, text_of(box)


# -- Python's libraries --

@tap.test("Python's smtplib, imaplib and poplib over STARTTLS, STLS and TLS")
def _():
    for tls, port in (("starttls", p.submission_port), ("tls", p.submissions_port)):
        s = (smtplib.SMTP("localhost", port, timeout=20) if tls == "starttls" else
             smtplib.SMTP_SSL("localhost", port, context=p.tls(), timeout=20))
        if tls == "starttls":
            s.starttls(context=p.tls())
        s.login("bob", PASSWORD)
        for word in ("size", "8bitmime", "pipelining", "enhancedstatuscodes"):
            assert s.has_extn(word), s.esmtp_features
        assert s.sendmail("bob@" + DOMAIN, ["u10@" + DOMAIN], message("py " + tls), ["BODY=8BITMIME"]) == {}
        s.quit()
        assert wait_subject("u10", "py " + tls).endswith(message("py " + tls))
    m = imaplib.IMAP4("localhost", p.imap_port, timeout=20)
    m.starttls(ssl_context=p.tls())
    m.login("u10", PASSWORD)
    m.enable("CONDSTORE")
    assert m.select("INBOX")[1] == [b"2"]
    m.append("INBOX", "(\\Seen)", imaplib.Time2Internaldate(1e9), b"Subject: app\r\n\r\nx\r\n")
    assert m.uid("SEARCH", None, "SUBJECT", "py")[1] == [b"1 2"]
    rows = m.uid("FETCH", "1:*", "(FLAGS ENVELOPE INTERNALDATE BODYSTRUCTURE RFC822.SIZE)")[1]
    assert len(rows) == 3 and b"9-Sep-2001" in rows[2], rows
    assert m.search("UTF-8", "BODY", '"Gr\u00fc\u00dfe"'.encode())[1] == [b"1 2"]
    m.create("Else")
    assert m.uid("COPY", "1", "Else")[0] == m.uid("MOVE", "2", "Else")[0] == "OK"
    assert m.status("Else", "(MESSAGES)")[1] == [b"Else (MESSAGES 2)"]
    m.store("1", "+FLAGS", "\\Deleted")
    assert m.expunge()[1][-1] == b"1"
    assert m.logout()[0] == "BYE"
    pop = p.pop3("u10", tls=True)
    assert pop.stat()[0] == 1 and {"UIDL", "TOP"} <= set(pop.capa())
    assert len(pop.uidl()[1]) == 1
    assert pop.top(1, 0)[1][0] == b"Subject: app"
    pop.dele(1)
    pop.quit()
    pop = poplib.POP3("localhost", p.pop3_port, timeout=20)
    pop.stls(context=p.tls())
    pop.user("u10")
    pop.pass_(PASSWORD)
    assert pop.stat() == (0, 0)
    pop.quit()


tap.done()
