# SPDX-License-Identifier: ISC
"""A POP3 client that hides nothing: octets in, octets out, strict about CRLF. For the wire tests."""
from penny import PASSWORD, Wire
import socket


class Pop3(Wire):
    def __init__(self, p, user=None, password=PASSWORD, port=None, timeout=20):
        super().__init__(socket.create_connection(("127.0.0.1", port or p.pop3_port), timeout))
        self.p = p
        self.greeting = self.line()
        if user is not None:
            self.ok(b"USER " + user.encode())
            self.ok(b"PASS " + password.encode())

    def line(self):
        """The next line; its end must be CRLF. b"" at the end of input."""
        while b"\n" not in self.buf:
            got = self.sock.recv(65536)
            if not got:
                rest, self.buf = self.buf, b""
                assert rest == b"", rest
                return b""
            self.buf += got
        text, self.buf = self.buf.split(b"\n", 1)
        assert text.endswith(b"\r"), text
        return text[:-1]

    def ok(self, data):
        reply = self.cmd(data)
        assert reply.startswith(b"+OK"), (data, reply)
        return reply

    def err(self, data):
        reply = self.cmd(data)
        assert reply.startswith(b"-ERR "), (data, reply)
        return reply

    def text(self):
        """The text of a multi-line reply whose first line has been read, its dots unstuffed."""
        while not (self.buf.startswith(b".\r\n") or b"\r\n.\r\n" in self.buf):
            got = self.sock.recv(1 << 20)
            assert got, "end of input in a text"
            self.buf += got
        if self.buf.startswith(b".\r\n"):
            self.buf = self.buf[3:]
            return b""
        raw, self.buf = self.buf.split(b"\r\n.\r\n", 1)
        if raw.startswith(b"."):
            raw = raw[1:]
        return raw.replace(b"\r\n.", b"\r\n") + b"\r\n"

    def multi(self, data):
        self.ok(data)
        return self.text()

    def lines(self, data):
        return self.multi(data).split(b"\r\n")[:-1]

    def uids(self):
        return [l.split(b" ")[1] for l in self.lines(b"UIDL")]

    def quit(self):
        reply = self.ok(b"QUIT")
        assert self.line() == b""
        self.close()
        return reply


def fill(p, user, *messages):
    """Appends messages to the user's INBOX as they are, and empties it before."""
    m = p.imap(user)
    m.select()
    m.store("1:*", "+FLAGS.SILENT", "\\Deleted")
    m.expunge()
    for text in messages:
        typ, data = m.append("INBOX", None, None, text)
        assert typ == "OK", data
    m.logout()
