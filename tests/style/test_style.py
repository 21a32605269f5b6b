#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The tree's own rules: layers, doors, widths, banned words and calls, manual pages that lint. Reports the sizes
of files and functions without judging them."""
import os
import pwd
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penny import BUILD, SRC, Skip, Tap

DAEMONS = ["authd", "supervisor", "smtpd", "deliver", "pop3d", "imapd", "ctl"]
LIBS = ["libbase", "libmail", "libserve", "libstore"]
# Who may include whom, besides itself.
LAYERS = {
    "libbase": set(),
    "libmail": {"libbase"},
    "libserve": {"libbase"},
    "libstore": {"libbase", "libmail"},
    **{d: set(LIBS) for d in DAEMONS},
}
# A system header, and the only files behind whose door it stands.
DOORS = [
    (r"db\.h|db5.*/db\.h", lambda f: f == "libstore/engine_bdb.c"),
    (r"lmdb\.h", lambda f: f == "libstore/engine_lmdb.c"),
    (r"openssl/.*", lambda f: f.startswith("libserve/")),
    (r"security/.*", lambda f: f == "authd/pam.c"),
    (r"seccomp\.h|linux/landlock\.h", lambda f: f.startswith("libserve/")),
    (r"pwd\.h|grp\.h|shadow\.h", lambda f: not f.startswith(("libbase/", "libmail/", "libstore/"))),
    (r"sys/socket\.h|netinet/.*|netdb\.h",
     lambda f: not f.startswith(("libbase/", "libmail/", "libstore/"))),
]
BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "alloca", "setjmp", "longjmp", "system",
          "popen", "strncpy"]

tap = Tap()


def files(dirs, endings):
    found = []
    for d in dirs:
        for where, subdirs, names in os.walk(os.path.join(SRC, d)):
            subdirs[:] = [s for s in subdirs if s != "__pycache__"]
            found += [os.path.relpath(os.path.join(where, n), SRC) for n in names if n.endswith(endings)]
    return sorted(found)


def text(path):
    with open(os.path.join(SRC, path), errors="surrogateescape") as f:
        return f.read()


SOURCES = files(LIBS + DAEMONS, (".c", ".h"))
TESTS = files(["tests", "bench"], (".c", ".h", ".py", ".sh"))
SCRIPTS = ["quickstart", "check", ".ci/run"]
MAKE_FILES = ["configure.ac", "Makefile.am"] + files(["."], ("Makefile.inc",)) + files(["m4"], (".m4",))


def code(t):
    """C without comments and string contents; line numbers stay."""
    def blank(m):
        s = m.group(0)
        return "\n" * s.count("\n") if s.startswith("/") else s[0] + s[-1]
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, t, flags=re.S)


def check(bad):
    assert not bad, "\n" + "\n".join(bad)


@tap.test("layers: every #include is allowed")
def _():
    bad = []
    for path in SOURCES:
        room = path.split("/")[0]
        for n, line in enumerate(text(path).splitlines(), 1):
            m = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not m:
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(path), m.group(1)))
            where = target.split("/")[0]
            if where != room and where not in LAYERS[room]:
                bad.append("%s:%d: %s may not include %s" % (path, n, room, target))
            elif where != room and target.endswith("_int.h"):
                bad.append("%s:%d: %s is for %s only" % (path, n, target, where))
            elif not os.path.exists(os.path.join(SRC, target)):
                bad.append("%s:%d: no such header %s (relative to the file)" % (path, n, target))
    check(bad)


@tap.test("doors: system headers behind which privilege or an engine stands")
def _():
    bad = []
    for path in SOURCES:
        for n, line in enumerate(text(path).splitlines(), 1):
            m = re.match(r"\s*#\s*include\s*<([^>]+)>", line)
            for pattern, allowed in DOORS if m else []:
                if re.fullmatch(pattern, m.group(1)) and not allowed(path):
                    bad.append("%s:%d: <%s>" % (path, n, m.group(1)))
    check(bad)


@tap.test("every file names its licence first")
def _():
    check([p for p in SOURCES + TESTS + SCRIPTS
           if "SPDX-License-Identifier: ISC" not in "\n".join(text(p).splitlines()[:2])])


@tap.test("lines: no blanks at the end, a newline at the end of the file, none absurdly long")
def _():
    bad = []
    over = 0
    for path in SOURCES + [t for t in TESTS if t.endswith((".c", ".h"))]:
        t = text(path)
        if not t.endswith("\n") or t.endswith("\n\n"):
            bad.append("%s: end of file" % path)
        for n, line in enumerate(t.splitlines(), 1):
            width = len(line.expandtabs(8))
            over += width > 100
            if width > 140:
                bad.append("%s:%d: %d columns" % (path, n, width))
            if line != line.rstrip():
                bad.append("%s:%d: blanks at the end" % (path, n))
    print("# lines over 100 columns: %d" % over)
    check(bad)


@tap.test("no notes to self")
def _():
    word = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    bad = []
    for path in SOURCES + TESTS + SCRIPTS + MAKE_FILES + files(["man", "packaging"], ("",)):
        for n, line in enumerate(text(path).splitlines(), 1):
            if word.search(line):
                bad.append("%s:%d: %s" % (path, n, line.strip()))
    check(bad)


@tap.test("no calls that are better not made")
def _():
    call = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(BANNED))
    bad = []
    for path in SOURCES:
        for n, line in enumerate(code(text(path)).splitlines(), 1):
            m = call.search(line)
            if m:
                bad.append("%s:%d: %s" % (path, n, m.group(1)))
    check(bad)


@tap.test("header guards are named after the file; no struct typedefs")
def _():
    bad = []
    for path in SOURCES:
        t = text(path)
        if path.endswith(".h"):
            m = re.search(r"^#ifndef (\w+)\n#define (\w+)$", t, re.M)
            base = re.sub(r"\W", "_", os.path.basename(path)).upper()
            if not m or m.group(1) != m.group(2) or not m.group(1).endswith(base):
                bad.append("%s: guard" % path)
        if re.search(r"^\s*typedef\s+(struct|union|enum)\b[^(;]*;", code(t), re.M):
            bad.append("%s: typedef" % path)
    check(bad)


@tap.test("every source of a room is in its Makefile.inc, and every test is built")
def _():
    bad = []
    fragments = "".join(text(f) for f in files(LIBS + DAEMONS + ["tests"], ("Makefile.inc",)))
    fragments = re.sub(r"^#.*", "", fragments, flags=re.M)
    for path in SOURCES:
        own = re.sub(r"^#.*", "", text(path.split("/")[0] + "/Makefile.inc"), flags=re.M)
        if not re.search(r"(%%D%%|%s)/%s(?=\s|$)" % (path.split("/")[0], re.escape(path.split("/", 1)[1])),
                         own):
            bad.append(path)
    for path in files(["tests/unit", "tests/fuzz"], (".c", ".h")):
        if not re.search(r"(^|[\s/=])%s(?=\s|$)" % re.escape(path), fragments):
            bad.append(path)
    check(bad)


@tap.test("sizes (reported)")
def _():
    sizes, lengths = [], []
    for path in SOURCES:
        t = text(path)
        if not path.endswith(".c"):
            continue
        sizes.append((t.count("\n"), path))
        start = None
        name = ""
        for n, line in enumerate(code(t).splitlines(), 1):
            if line == "{":
                start = n
            elif line == "}" and start is not None:
                lengths.append((n - start - 1, "%s:%d %s" % (path, start, name)))
                start = None
            elif line and line[0] not in "\t #}/*":
                name = line.split("(")[0].split()[-1] if "(" in line else name
    if not lengths:
        return
    only = sorted(n for n, _ in lengths)
    print("# files: %d, median %d lines, longest %s" % (
        len(sizes), statistics.median(s for s, _ in sizes),
        ", ".join("%s %d" % (p, n) for n, p in sorted(sizes)[:-4:-1])))
    print("# functions: %d, median %d lines, 90 %% at most %d" % (
        len(only), statistics.median(only), only[len(only) * 9 // 10]))
    for n, where in sorted(lengths, reverse=True)[:10]:
        print("#   %d %s" % (n, where))


@tap.test("manual pages lint", timeout=60)
def _():
    if shutil.which("mandoc") is None:
        raise Skip("no mandoc")
    pages = files(["man"], (".in",))
    assert pages
    bad = []
    for page in pages:
        # The tokens that the build replaces are harmless words to mandoc.
        r = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=text(page).encode(),
                           stdout=subprocess.PIPE)
        bad += ["%s: %s" % (page, l) for l in r.stdout.decode().splitlines()]
    check(bad)


PROGRAMS = ["pennypost", "authd", "smtpd", "deliver", "pop3d", "imapd"]


def dumped_keys():
    """{(section, key): the line that the manual must have}, from -T of every program on an empty configuration."""
    account = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "daemon"
    keys = {}
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        for name in ("user", "group", "smtp_user"):
            f.write("[store]\n%s = %s\n" % (name, account))
        f.flush()
        for program in PROGRAMS:
            path = os.path.join(BUILD, "" if program == "pennypost" else "libexec", program)
            r = subprocess.run([path, "-T", "-c", f.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert r.returncode == 0, "%s: %s" % (program, r.stderr.decode())
            section = comment = None
            for line in r.stdout.decode().splitlines():
                if line.startswith("["):
                    section = line[1:-1]
                elif line.startswith("# "):
                    comment = line[2:]
                elif " =" in line:
                    key, value = (x.strip() for x in line.split("=", 1))
                    keys[section, key] = manual_line(section, key, comment, value)
    return keys


def manual_line(section, key, comment, value):
    kind, *rest = comment.partition(": ")[0].split()
    choices = "".join(" " + w for w in rest if ".." not in w)
    bounds = "".join(", %s to %s" % tuple(w.split("..", 1)) for w in rest if ".." in w)
    if section == "store" and key in ("user", "group", "smtp_user"):
        value = "pennysmtp" if key == "smtp_user" else "pennypost"
    return "(%s%s%s%s)" % (kind, choices, ", default " + value if value else ", empty by default", bounds)


@tap.test("pennypost.conf(5) has every key of every program's table, as the table has it", timeout=60)
def _():
    keys = dumped_keys()
    written, section, key = {}, None, None
    with open(os.path.join(BUILD, "man/pennypost.conf.5")) as f:
        for line in f.read().splitlines():
            if line.startswith(".Ss ["):
                section = line[5:-1]
            elif line.startswith(".It Cm ") and section:
                key = line[7:]
            elif key is not None:
                written[section, key] = line
                key = None
    bad = ["[%s] %s: the manual has %r, the program %r" % (k + (written.get(k), v))
           for k, v in keys.items() if written.get(k) != v]
    bad += ["[%s] %s: is in the manual, in no program" % k for k in written if k not in keys]
    check(bad)


@tap.test("penny(8) has every command of penny help")
def _():
    r = subprocess.run([os.path.join(BUILD, "penny"), "help"], stdout=subprocess.PIPE)
    assert r.returncode == 0
    page = re.sub(r"(Op|Ar|Fl|Oo|Oc|\|) ?", "", text("man/penny.8.in"))
    bad = []
    for line in r.stdout.decode().splitlines():
        m = re.match(r"\s*penny ([a-z][a-z-]+(?: (?:add|list|delete|create|rename|password|maildir|mbox))?)\b", line)
        if m and ".It Cm " + m.group(1) not in page:
            bad.append(m.group(1))
    check(bad)


@tap.test("SECURITY.md: every test that it names exists")
def _():
    bad, promises = [], re.split(r"^\d+\. ", text("SECURITY.md"), flags=re.M)[1:]
    assert promises
    for n, promise in enumerate(promises, 1):
        named = re.findall(r'`(tests/[^`]+)`(?:\s+"([^"]+)")?', promise)
        if not named:
            bad.append("promise %d names no test" % n)
        for path, title in named:
            if not os.path.exists(os.path.join(SRC, path)):
                bad.append("promise %d: no %s" % (n, path))
            elif title and '"%s"' % title not in text(path):
                bad.append("promise %d: no test \"%s\" in %s" % (n, title, path))
    check(bad)


tap.done()
