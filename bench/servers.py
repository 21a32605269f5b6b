# SPDX-License-Identifier: ISC
"""The servers that bench/run measures: Pennypost and its peers, each an instance of its own on loopback ports in a scratch
directory, configured for speed and durable as its documentation says; and the driver."""
import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SRC = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USERS = 33
BIG_USER = USERS - 1	# has the mailboxes that take long to fill
PORT_BASE = 26300
POSTFIX = {"smtp": PORT_BASE + 4}
MAIL_PACKAGES = ["dovecot-core", "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "postfix"]
STORE_PACKAGES = ["dovecot-core", "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "cyrus-common",
                  "sasl2-bin", "libsasl2-modules", "libsasl2-modules-db"]
POLICY = "/usr/sbin/policy-rc.d"
# While a peer's mailbox of 100,000 messages is filled, which nobody measures, it need not sync.
NO_SYNC = "int fsync(int fd) { (void)fd; return 0; }\nint fdatasync(int fd) { (void)fd; return 0; }\n"


def sh(*cmd, **kw):
    """A command's output. It goes through a file: a daemon that it starts may keep the descriptor."""
    with tempfile.TemporaryFile() as f:
        r = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT, timeout=300, **kw)
        f.seek(0)
        text = f.read().decode(errors="replace")
    if r.returncode != 0:
        sys.exit("bench: %s exits %d\n%s" % (" ".join(cmd), r.returncode, text[-4000:]))
    return text


def write(path, text, mode=0o644):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def install(packages):
    """The peers' packages, with a policy that keeps them from starting daemons while it is there."""
    have = subprocess.run(["dpkg-query", "-W", "-f", "${Status}\n"] + packages, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode().splitlines()
    if len(have) == len(packages) and all(l == "install ok installed" for l in have):
        return
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    own = not os.path.exists(POLICY)
    if own:
        write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)
    elif subprocess.run([POLICY, "dovecot", "start"]).returncode != 101:
        sys.exit("bench: %s lets daemons start; install %s yourself" % (POLICY, " ".join(packages)))
    try:
        subprocess.run(["debconf-set-selections"], check=True,
                       input=b"postfix postfix/main_mailer_type select No configuration\n")
        cmd = ["apt-get", "install", "-y", "--no-install-recommends"] + packages
        if subprocess.run(cmd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode != 0:
            sh("apt-get", "update", env=env)
            sh(*cmd, env=env)
    finally:
        if own:
            os.unlink(POLICY)


class Pennypost:
    name = "Pennypost"
    multiappend = False

    def __init__(self, top, sets=()):
        self.dir = os.path.join(top, "pennypost")
        self.base = PORT_BASE - 300
        self.sets = ["--set=" + s for s in sets]
        self.ports = {"imap": self.base + 143, "pop3": self.base + 110, "lmtp": self.base + 24,
                      "smtp": self.base + 25}

    def start(self, filling=False):
        if os.path.exists(self.dir):	# of a run that was cut off
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        sh(SRC + "/quickstart", "--dir", self.dir, "--port-base", str(self.base), "--users", str(USERS),
           "--detach", *self.sets)

    def filled(self):
        pass

    def stop(self):
        sh(SRC + "/quickstart", "--dir", self.dir, "--stop")

    def version(self):
        build = os.environ.get("PENNY_BUILD") or SRC + "/build"
        return sh(build + "/penny", "version").strip()


class Dovecot:
    multiappend = True

    def __init__(self, top, kind, offset, with_postfix=False, fsync="optimized"):
        self.name = "Dovecot " + kind + (", flags synced" if fsync == "always" else "")
        self.kind, self.fsync = kind, fsync
        self.dir = os.path.join(top, "dovecot-%s-%s" % (kind, fsync))
        self.ports = {p: PORT_BASE + offset + i for i, p in enumerate(("imap", "pop3", "lmtp"))}
        self.with_postfix = with_postfix
        if with_postfix:
            self.ports.update(POSTFIX)

    CONFIG = """
base_dir = {dir}/run
log_path = {dir}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = {kind}:{dir}/mail/%n
mail_fsync = {fsync}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
auth_username_format = %Ln
mail_max_userip_connections = 100
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {dir}/passwd
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={dir}/home/%n
}}
service auth {{
  client_limit = 4096
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  service_count = 1000
  process_min_avail = 8
}}
service pop3 {{
  service_count = 1000
  process_min_avail = 8
}}
service lmtp {{
  service_count = 1000
  process_min_avail = 8
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""

    MAIN_CF = """
compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/postfix.log
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
virtual_mailbox_domains = pennypost.test
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
alias_maps =
alias_database =
local_recipient_maps =
smtpd_recipient_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
default_process_limit = 100
lmtp_destination_concurrency_limit = 50
initial_destination_concurrency = 50
smtpd_client_connection_rate_limit = 0
"""

    MASTER_CF = """
127.0.0.1:{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

    def start(self, filling=False):
        """filling: without syncs, until filled() is called."""
        owner = pwd.getpwnam("pennypost")
        values = dict(self.ports, dir=self.dir, kind=self.kind, fsync="never" if filling else self.fsync,
                      uid=owner.pw_uid, gid=owner.pw_gid)
        shutil.rmtree(self.dir, ignore_errors=True)
        for d in ("", "/mail", "/home"):
            os.makedirs(self.dir + d)
        for d in ("/mail", "/home"):
            os.chown(self.dir + d, owner.pw_uid, owner.pw_gid)
        write(self.dir + "/passwd", "".join("u%d:penny\n" % i for i in range(USERS)))
        write(self.dir + "/dovecot.conf", self.CONFIG.format(**values))
        sh("dovecot", "-c", self.dir + "/dovecot.conf")
        if self.with_postfix:
            self.start_postfix(values)

    def filled(self):
        self.stop()
        wait_closed(self)
        path = self.dir + "/dovecot.conf"
        write(path, re.sub("mail_fsync = .*", "mail_fsync = " + self.fsync, open(path).read()))
        sh("dovecot", "-c", path)
        wait_ports(self)

    def start_postfix(self, values):
        for d in ("/pf", "/spool", "/data"):
            os.makedirs(self.dir + d)
        os.chown(self.dir + "/data", pwd.getpwnam("postfix").pw_uid, -1)
        write(self.dir + "/pf/main.cf", self.MAIN_CF.format(**values))
        write(self.dir + "/pf/master.cf", self.MASTER_CF.format(**values))
        sh("postfix", "-c", self.dir + "/pf", "start")

    def stop(self):
        cmds = [["doveadm", "-c", self.dir + "/dovecot.conf", "stop"]]
        if self.with_postfix:
            cmds.insert(0, ["postfix", "-c", self.dir + "/pf", "stop"])
        for cmd in cmds:
            subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def version(self):
        text = "Dovecot " + sh("dovecot", "--version").split()[0]
        if self.with_postfix:
            text += ", Postfix " + sh("postconf", "-h", "-c", self.dir + "/pf", "mail_version").strip()
        return text


class Cyrus:
    name = "Cyrus"
    multiappend = True
    BIN = "/usr/lib/cyrus/bin/"

    def __init__(self, top):
        self.dir = os.path.join(top, "cyrus")
        self.ports = {"imap": PORT_BASE + 20}

    IMAPD_CONF = """
configdirectory: {dir}/conf
partition-default: {dir}/spool
defaultpartition: default
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {dir}/sasldb2
sasl_mech_list: PLAIN LOGIN
autocreate_quota: 0
autocreate_post: yes
unixhierarchysep: yes
virtdomains: off
servername: localhost
proc_path: {dir}/conf/proc
mboxname_lockpath: {dir}/conf/lock
sievedir: {dir}/sieve
search_engine: none
syslog_prefix: bench
"""
    CYRUS_CONF = """
START {{
  recover cmd="{bin}ctl_cyrusdb -C {dir}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{imapd} -C {dir}/imapd.conf -U 1000" listen="127.0.0.1:{imap}" prefork=8 maxchild=100
}}
EVENTS {{
}}
"""

    def unpack_imapd(self):
        """Debian does not let two IMAP servers be installed at once, so its imapd is only unpacked."""
        os.makedirs(self.dir + "/deb")
        sh("apt-get", "download", "cyrus-imapd", cwd=self.dir + "/deb")
        deb = [f for f in os.listdir(self.dir + "/deb") if f.endswith(".deb")][0]
        sh("dpkg-deb", "-x", self.dir + "/deb/" + deb, self.dir + "/deb")
        return self.dir + "/deb" + self.BIN

    def start(self, filling=False):
        """filling: without syncs, until filled() is called."""
        owner = pwd.getpwnam("cyrus")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        imapd = (self.BIN if os.path.exists(self.BIN + "imapd") else self.unpack_imapd()) + "imapd"
        values = dict(self.ports, dir=self.dir, bin=self.BIN, imapd=imapd)
        for d in ("/conf", "/conf/socket", "/conf/proc", "/conf/lock", "/spool", "/sieve"):
            os.makedirs(self.dir + d)
            os.chown(self.dir + d, owner.pw_uid, owner.pw_gid)
        for i in range(USERS):
            subprocess.run(["saslpasswd2", "-p", "-c", "-f", self.dir + "/sasldb2", "-u", "localhost", "u%d" % i],
                           input=b"penny", check=True)
        os.chown(self.dir + "/sasldb2", owner.pw_uid, owner.pw_gid)
        write(self.dir + "/imapd.conf", self.IMAPD_CONF.format(**values))
        write(self.dir + "/cyrus.conf", self.CYRUS_CONF.format(**values))
        env = dict(os.environ)
        if filling:
            write(self.dir + "/nosync.c", NO_SYNC)
            sh("cc", "-shared", "-fPIC", "-o", self.dir + "/nosync.so", self.dir + "/nosync.c")
            env["LD_PRELOAD"] = self.dir + "/nosync.so"
        self.run_master(env)

    def run_master(self, env):
        sh("/usr/sbin/cyrmaster", "-d", "-C", self.dir + "/imapd.conf", "-M", self.dir + "/cyrus.conf",
           "-p", self.dir + "/master.pid", "-L", self.dir + "/master.log", env=env)

    def filled(self):
        self.stop()
        wait_closed(self)
        self.run_master(dict(os.environ))
        wait_ports(self)

    def stop(self):
        """TERM to our own cyrmaster; it ends its children."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(open(self.dir + "/master.pid").read())
            if self.dir.encode() in open("/proc/%d/cmdline" % pid, "rb").read():
                os.kill(pid, signal.SIGTERM)
                for _ in range(100):
                    os.kill(pid, 0)
                    time.sleep(0.1)

    def version(self):
        text = sh("dpkg-query", "-W", "-f", "${Version}", "cyrus-common")
        return "Cyrus " + text.split("-")[0]


class Driver:
    def __init__(self, top):
        self.path = os.path.join(top, "load")
        sh("cc", "-O2", "-D_GNU_SOURCE", "-std=gnu11", "-o", self.path, SRC + "/bench/load.c")

    def __call__(self, server, protocol, scenario, connections, users, ops, *commands, first=0, mailbox="INBOX",
                 size=4096):
        """Operations a second, and seconds."""
        flags = ["-M"] if server.multiappend else []
        text = sh(self.path, "-p", str(server.ports[protocol]), "-c", str(connections), "-U", str(users),
                  "-f", str(first), "-n", str(ops), "-m", mailbox, "-s", str(size), *flags, scenario, *commands)
        fields = text.split("\t")
        return float(fields[4]), float(fields[3])


def wait_closed(server):
    for port in server.ports.values():
        with contextlib.suppress(OSError):
            for _ in range(200):
                socket.create_connection(("127.0.0.1", port), 1).close()
                time.sleep(0.05)


def wait_ports(server):
    for port in server.ports.values():
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        else:
            sys.exit("bench: %s does not listen on %d" % (server.name, port))


