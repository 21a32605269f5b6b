#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Measures SEARCH through imapd on a mailbox of 100,000 messages of bench/corpus.h, without its index and with it, and
writes the section "Search" of RESULTS.md.

    bench/search_imap.py [--messages N] [--rounds N] [--dir DIR] [--out FILE]

Needs what `make all bench/search` builds, in PENNY_BUILD.
"""
import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

SRC = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(SRC, "tests/lib"))
from penny import BUILD, Instance, PASSWORD  # noqa: E402

QUERIES = [
    ("a word in few messages", b"TEXT qzj"), ("letters that are nowhere", b"TEXT qqxxqq"),
    ("a word in none, of syllables that are everywhere", b"BODY vibrant"), ("a subject in few", b"SUBJECT ponmic"),
    ("a sender in none", b"FROM ponmic"), ("a Message-ID", b"HEADER Message-ID .4242@example.org"),
    ("a field that no message has", b'HEADER X-None ""'), ("not in", b"NOT TEXT qzj"),
    ("one or the other", b"OR SUBJECT ponmic TEXT qzj"), ("a word in every third message", b"TEXT thing"),
    ("two letters: no index can help", b"TEXT zz"),
]
ABOUT = """\
Chosen on these estimates, made once on 4,000 messages of the same kind (4.4 KB each) with a program that was not kept; sizes in percent of the mail,
and how many of the 4,000 would be read in vain:

| index | size | "qqqq" | "xmas" | "vibrant" | "thly ponmic" | "thing" |
|---|---|---|---|---|---|---|
| signature for each message, one bit for a trigram, 2,048 bits | 5.8 % | 1,314 | 918 | 1,362 | 970 | 2,292 |
| signature, 4,096 bits | 10.9 % | 716 | 100 | 315 | 608 | 2,229 |
| trigram lists, 2^13 keys | 15 % | 608 | 46 | 237 | 509 | 2,222 |
| **trigram lists, 2^15 keys** | 20 % | 107 | 7 | 172 | 422 | 2,207 |
| trigram lists, 2^18 keys: hardly two share one | 29 % | 48 | 2 | 139 | 410 | 2,206 |
| lists of four octets, 2^16 keys | 41 % | 688 | 170 | 10 | 26 | 1,200 |

A message read in vain costs about 5 us, so a fifth of the mail's size for few of them is the better bargain than a tenth; four octets would cost twice
the room, and needles of three octets (one CJK character) their help."""


def ask(w, query):
    start = time.perf_counter()
    lines = w.imap(b"t", b"SEARCH " + query)
    ms = (time.perf_counter() - start) * 1000
    assert lines[-1].startswith(b"t OK"), lines
    return ms, lines[0]


def session(p):
    w = p.connect(p.imap_port, timeout=300)
    w.line()
    w.imap(b"L", b"LOGIN alice " + PASSWORD.encode())
    assert w.imap(b"s", b"EXAMINE INBOX")[-1].startswith(b"s OK")
    ask(w, b"UNSEEN")       # loads the mailbox
    return w


def measure(p, rounds, keep_out):
    w = session(p)
    times = {q: [] for _, q in QUERIES}
    found = {}
    for _ in range(rounds):
        for _, q in QUERIES:
            ms, found[q] = ask(w, q)
            times[q].append(ms)
            if keep_out:    # a file in the directory's place keeps the session from making an index
                assert os.path.isfile(p.store("alice") + "/search")
    w.sock.close()
    return times, found


def adopt(p, store):
    """Puts the store in the place of alice's."""
    p.imap("alice").logout()
    time.sleep(0.3)
    home = p.store("alice")
    st = os.stat(home)
    p.stop()
    shutil.rmtree(home)
    shutil.move(store, home)
    for where, dirs, names in os.walk(home):
        for n in [""] + names:
            os.chown(os.path.join(where, n), st.st_uid, st.st_gid)
    p.start()
    return home


def cell(v):
    return "%.1f (%.1f–%.1f)" % (statistics.median(v), min(v), max(v))


def put_section(path, name, text):
    begin, end = "<!-- %s: begin -->" % name, "<!-- %s: end -->" % name
    with open(path) as f:
        old = f.read()
    new = "%s\n%s\n%s" % (begin, text, end)
    found = re.search(re.escape(begin) + ".*?" + re.escape(end), old, re.S)
    with open(path, "w") as f:
        f.write(old[:found.start()] + new + old[found.end():] if found else old.rstrip("\n") + "\n\n" + new + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--messages", type=int, default=100000)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--dir", default="/var/tmp/pennypost-bench-search")
    ap.add_argument("--out", default=SRC + "/bench/RESULTS.md")
    args = ap.parse_args()
    load = os.getloadavg()[0]
    shutil.rmtree(args.dir, ignore_errors=True)
    subprocess.run([BUILD + "/bench/search", "make", args.dir, str(args.messages)], check=True)
    p = Instance().start()
    home = adopt(p, args.dir)
    open(home + "/search", "w").close()
    plain, found = measure(p, args.rounds, True)
    os.unlink(home + "/search")
    start = time.monotonic()
    assert p.run("penny", "index", "alice", timeout=600).returncode == 0
    built_s = time.monotonic() - start
    octets = {d: sum(os.path.getsize(os.path.join(home, d, n)) for n in os.listdir(os.path.join(home, d)))
              for d in ("search", "journal")}
    tail = max(n for n in os.listdir(home + "/journal") if n.endswith(".seg"))
    tail_octets = os.path.getsize(os.path.join(home, "journal", tail))
    indexed, found_too = measure(p, args.rounds, False)
    assert found == found_too
    p.close()
    rows = ["| %s: `%s` | %s | %s | %s |" % (what, q.decode(), format(len(found[q].split()) - 2, ","), cell(plain[q]),
                                             cell(indexed[q])) for what, q in QUERIES]
    put_section(args.out, "bench/search_imap.py", "\n".join([
        "## Search", "",
        "Written by `bench/search_imap.py`: the whole command through imapd, in milliseconds, warm; median of %d rounds (lowest and "
        "highest). %s messages of `bench/corpus.h` in one mailbox; the last %.0f MB are in the segment that has not ended and are "
        "always read." % (args.rounds, format(args.messages, ","),
                          tail_octets / 1e6), "",
        "| what | found | without index | with index |", "|---|---|---|---|"] + rows + [
        "", "The index was made in %.1f s (%.2f ms a message) and takes %.0f MB of %.0f MB journal, %.0f %%." % (
            built_s, built_s * 1000 / args.messages, octets["search"] / 1e6, octets["journal"] / 1e6,
            octets["search"] * 100 / octets["journal"]),
        "Machine: %s, Linux %s, %d processors. Load average before the run %.1f, after it %.1f." % (
            platform.machine(), platform.release(), os.cpu_count(), load, os.getloadavg()[0]), "", ABOUT]))


if __name__ == "__main__":
    main()
