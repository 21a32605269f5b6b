# SPDX-License-Identifier: ISC
"""imapd with real clients: curl, mbsync, offlineimap, fetchmail, getmail, mutt, neomutt, s-nail, fdm. Those that are
not installed are skipped."""
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import Instance, Skip, Tap

tap = Tap()
p = Instance(users=12).start()
home = tempfile.mkdtemp(prefix="pennypost-clients.")
os.chmod(home, 0o755)
env = dict(os.environ, HOME=home, TERM="xterm", LC_ALL="C.UTF-8")
N = 20


def need(program):
    if not shutil.which(program):
        raise Skip("%s is not installed" % program)


def run(*cmd, input=b"", ok=(0,), timeout=60, **more):
    r = subprocess.run(cmd, input=input, env=env, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       cwd=home, **more)
    assert r.returncode in ok, "%s: %d\n%s" % (cmd[0], r.returncode, r.stdout.decode(errors="replace")[-3000:])
    return r.stdout


def write(name, text):
    path = os.path.join(home, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o600)
    return path


def message(i):
    return (b"From: someone@example.org\r\nTo: x@pennypost.test\r\nSubject: number %d\r\nMessage-ID: <%d@example.org>\r\n"
            b"Date: Mon, 7 Feb 1994 21:52:%02d +0000\r\n\r\nline one\r\n.\r\nFrom the start\r\n" % (i, i, i))


def fill(user, n=N):
    m = p.imap(user)
    for i in range(n):
        assert m.append("INBOX", "(\\Seen)" if i % 3 == 0 else None, None, message(i))[0] == "OK"
    return m


def maildir(path):
    got = []
    for f in glob.glob(path + "/cur/*") + glob.glob(path + "/new/*"):
        with open(f, "rb") as fd:
            got.append(fd.read())
    return got


@tap.test("curl: LIST, fetch by UID, section, partial, SEARCH, STATUS, APPEND, STORE, TLS")
def _():
    need("curl")
    fill("u0", 3)
    curl = ["curl", "-sS", "--max-time", "20", "--cacert", p.ca, "-u", "u0:penny"]
    plain, tls = "imap://localhost:%d/" % p.imap_port, "imaps://localhost:%d/" % p.imaps_port
    assert b"INBOX" in run(*curl, plain) and b"INBOX" in run(*curl, "--ssl-reqd", plain)
    assert run(*curl, tls + "INBOX;UID=1") == message(0)
    assert run(*curl, tls + "INBOX;UID=2;SECTION=HEADER.FIELDS%20(SUBJECT)") == b"Subject: number 1\r\n\r\n"
    assert run(*curl, tls + "INBOX;UID=2;SECTION=TEXT;PARTIAL=0.4") == b"line"
    assert b"* SEARCH 2" in run(*curl, plain + "INBOX?SUBJECT%20%22number%201%22")
    assert b"MESSAGES 3" in run(*curl, plain, "-X", "STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
    run(*curl, plain, "-X", "CREATE Drafts")
    run(*curl, "-T", write("m.eml", message(9).decode()), plain + "Drafts")
    assert run(*curl, plain + "Drafts;UID=1") == message(9)
    assert b"FETCH" in run(*curl, plain + "INBOX", "-X", "STORE 1 +FLAGS (\\Flagged)")
    for option in ("AUTH=PLAIN", "AUTH=LOGIN"):
        run(*curl, "--login-options", option, plain)


@tap.test("mbsync: down, changes both ways, a second run copies nothing")
def _():
    need("mbsync")
    m = fill("u1")
    m.create("folder"), m.create("folder/sub"), m.append("folder/sub", None, None, message(99))
    os.mkdir(home + "/mb")
    rc = write("mbsyncrc", """IMAPStore r
Host localhost
Port %d
User u1
Pass penny
SSLType STARTTLS
CertificateFile %s

MaildirStore l
Path %s/mb/
Inbox %s/mb/INBOX
SubFolders Verbatim

Channel all
Far :r:
Near :l:
Patterns *
Create Both
Expunge Both
SyncState *
""" % (p.imap_port, p.ca, home, home))
    run("mbsync", "-c", rc, "all")
    got = maildir(home + "/mb/INBOX")
    assert len(got) == N and len(maildir(home + "/mb/folder/sub")) == 1
    m.select()
    m.store("1", "+FLAGS", "\\Flagged \\Deleted"), m.expunge()
    with open(home + "/mb/INBOX/new/1.local", "wb") as f:
        f.write(b"From: me\nSubject: local\n\nlocal text\n")
    run("mbsync", "-c", rc, "all")
    assert len(maildir(home + "/mb/INBOX")) == N
    m.noop()
    assert m.search(None, "SUBJECT", "local")[1] == [b"%d" % N], m.search(None, "SUBJECT", "local")
    before = m.status("INBOX", "(UIDNEXT HIGHESTMODSEQ)")
    run("mbsync", "-c", rc, "all")
    assert m.status("INBOX", "(UIDNEXT HIGHESTMODSEQ)") == before


@tap.test("offlineimap: down, and a local message up", timeout=160)
def _():
    need("offlineimap")
    m = fill("u2")
    m.create("other")
    rc = write("oirc", """[general]
accounts = a
ui = basic
metadata = %s/oi-meta
[Account a]
localrepository = L
remoterepository = R
[Repository L]
type = Maildir
localfolders = %s/oi
[Repository R]
type = IMAP
remotehost = localhost
remoteport = %d
ssl = yes
sslcacertfile = %s
remoteuser = u2
remotepass = penny
""" % (home, home, p.imaps_port, p.ca))

    def sync():
        # With STARTTLS its reading thread takes octets of the handshake now and then, and hangs; its threads race
        # without it, too, but rarely. What it has done stays done.
        for last in (False, False, True):
            try:
                return run("offlineimap", "-c", rc, "-o", timeout=25)
            except (AssertionError, subprocess.TimeoutExpired):
                if last:
                    raise
    sync()
    assert len(maildir(home + "/oi/INBOX")) == N
    with open(home + "/oi/INBOX/new/1.local", "wb") as f:
        f.write(b"From: me\nSubject: local\nMessage-ID: <l@x>\n\nlocal text\n")
    sync()
    m.select()
    assert m.search(None, "SUBJECT", "local")[1] == [b"%d" % (N + 1)]


@tap.test("fetchmail by IMAP keeps what it fetched and takes each once")
def _():
    need("fetchmail")
    fill("u3", 5)
    rc = write("fetchmailrc", 'poll localhost service %d protocol imap user "u3" password "penny" ssl sslcertfile "%s" '
               'sslcertck fetchall nokeep mda "cat >> %s/fm.mbox"\n' % (p.imaps_port, p.ca, home))
    args = ["fetchmail", "-f", rc, "--pidfile", home + "/fm.pid", "--nosyslog"]
    run(*args)
    with open(home + "/fm.mbox", "rb") as f:
        assert f.read().count(b"Subject: number") == 5
    run(*args, ok=(1,))
    assert b"MESSAGES 0" in p.imap("u3").status("INBOX", "(MESSAGES)")[1][0]


def getmail(user, box):
    """Fetches user's inbox into the Maildir box and deletes it on the server. getmail refuses to file mail as root."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for d in ("", "/cur", "/new", "/tmp", "/conf"):
        os.mkdir(box + d)
    write(box + "/conf/rc", """[retriever]
type = SimpleIMAPSSLRetriever
server = localhost
port = %d
username = %s
password = penny
mailboxes = ("INBOX",)
ca_certs = %s
[destination]
type = Maildir
path = %s/
[options]
read_all = true
delete = true
""" % (p.imaps_port, user, p.ca, box))
    if as_nobody:
        for d, _, files in os.walk(box):
            for f in [d] + [os.path.join(d, f) for f in files]:
                os.chown(f, 65534, 65534)
    run(*as_nobody, "getmail", "--getmaildir=" + box + "/conf", "-r", box + "/conf/rc", timeout=20)


@tap.test("getmail by IMAP", timeout=100)
def _():
    need("getmail")
    # It hangs in a lock of its own now and then, before it connects or at its end; then another user's turn comes.
    for n, user in enumerate(("u4", "u10", "u11")):
        fill(user, 5)
        box = os.path.join(home, "gm%d" % n)
        try:
            getmail(user, box)
            break
        except subprocess.TimeoutExpired:
            if user == "u11":
                raise
    assert len(maildir(box)) == 5
    assert b"MESSAGES 0" in p.imap(user).status("INBOX", "(MESSAGES)")[1][0]


def mutt(program, user):
    need(program)
    fill(user, 5)
    rc = write(program + "rc", """set folder="imap://%s@localhost:%d/"
set spoolfile="+INBOX"
set imap_user=%s
set imap_pass=penny
set imap_qresync=yes
set imap_condstore=yes
set ssl_starttls=yes
set ssl_ca_certificates_file=%s
set certificate_file=%s
set header_cache=%s/hc-%s
set record=""
set quit=yes
set confirmappend=no
set move=no
set delete=yes
set from=%s@pennypost.test
""" % (user, p.imap_port, user, p.ca, p.ca, home, program, user))
    # opens the mailbox, flags the first message, copies it to a new folder, deletes the second, leaves
    push = ("<first-entry><flag-message><copy-message>=saved<enter>y<first-entry><next-entry><delete-message>"
            "<sync-mailbox><quit>")
    need("script")
    run("script", "-qec", "%s -F %s -e 'push %s'" % (program, rc, push), "/dev/null", ok=(0,), timeout=40)
    m = p.imap(user)
    m.select()
    assert m.search(None, "ALL")[1] == [b"1 2 3 4"], m.search(None, "ALL")
    assert m.search(None, "FLAGGED")[1] != [b""]
    return m


@tap.test("mutt with CONDSTORE asked for: flag, delete, sync", timeout=90)
def _():
    mutt("mutt", "u5")


@tap.test("neomutt with CONDSTORE asked for: flag, delete, sync", timeout=90)
def _():
    mutt("neomutt", "u6")


@tap.test("s-nail: headers of a mailbox")
def _():
    need("s-nail")
    fill("u7", 5)
    text = run("s-nail", "-:/", "-Sv15-compat", "-Stls-ca-file=" + p.ca, "-H", "-f",
               "imaps://u7:penny@localhost:%d/INBOX" % p.imaps_port)
    assert text.count(b"number") == 5, text


@tap.test("fdm: mailbox names as literals")
def _():
    need("fdm")
    fill("u8", 5)
    rc = write("fdm.conf", """set lock-types flock
%saction "m" mbox "%s/fdm.mbox"
account "i" imap server "localhost" port %d user "u8" pass "penny"
match all action "m"
""" % ('set default-user "nobody"\n' if os.geteuid() == 0 else "", home, p.imap_port))
    os.chmod(home, 0o777)
    run("fdm", "-f", rc, "-k", "-l", "fetch")
    with open(home + "/fdm.mbox", "rb") as f:
        assert f.read().count(b"Subject: number") == 5


@tap.test("imaplib: ENABLE, IDLE-less polling, UID commands, literals")
def _():
    m = p.imap("u9")
    assert m.enable("CONDSTORE")[0] == "OK"
    m.append("INBOX", "(\\Seen)", '"01-Jan-2001 00:00:00 +0100"', message(1))
    assert m.select() == ("OK", [b"1"])
    assert m.uid("SEARCH", None, "SUBJECT", "number")[1] == [b"1"]
    assert m.uid("FETCH", "1", "(BODY.PEEK[])")[1][0][1] == message(1)
    assert m.uid("COPY", "1", "INBOX")[0] == "OK" and m.uid("MOVE", "1", "INBOX")[0] == "OK"
    assert m.check()[0] == "OK" and m.unselect()[0] == "OK" and m.namespace()[0] == "OK"
    assert m.lsub()[0] == "OK" and m.logout()[0] == "BYE"


tap.ok(not p.san_reports(), "no sanitizer has complained", p.san_reports())
shutil.rmtree(home, ignore_errors=True)
tap.done()
