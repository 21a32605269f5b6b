# SPDX-License-Identifier: ISC
"""Commands on an IMAP connection (penny.py's Wire) whose answer is to be OK, NO or BAD. Each returns the answer's lines."""


def ok(w, data, tag=b"t"):
    lines = w.imap(tag, data)
    assert lines[-1].startswith(tag + b" OK"), lines[-3:]
    return lines


def no(w, data, code=b"", tag=b"t"):
    lines = w.imap(tag, data)
    assert lines[-1].startswith(tag + b" NO " + code), lines[-3:]
    return lines


def bad(w, data, tag=b"t"):
    lines = w.imap(tag, data)
    assert lines[-1].startswith(tag + b" BAD"), lines[-3:]
    return lines
