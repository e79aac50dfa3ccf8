"""HTTP/2 by hand (RFC 9113, RFC 7541): frames that a well-behaved library would not send."""

import contextlib
import select
import socket
import ssl
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK, PADDED = 1, 4, 1, 8
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
WINDOW, WINDOW_MAX = 65_535, 2**31 - 1
CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()
DIAL_WITHIN = 10


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values):
    """The client's first words. Values by the names of RFC 9113 §6.5.2, in lower case."""
    numbers = {"initial_window_size": INITIAL_WINDOW_SIZE, "max_frame_size": MAX_FRAME_SIZE}
    return PREFACE + frame(SETTINGS, payload=b"".join(struct.pack(">HI", numbers[n], v) for n, v in values.items()))


def window_update(stream, more):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def reset(stream, code=8):
    return frame(RESET, 0, stream, struct.pack(">I", code))


def integer(value, prefix_bits, first=0):
    """RFC 7541 §5.1."""
    most = 2**prefix_bits - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def text(value):
    return integer(len(value), 7) + value


def fields(authority, path="/", post=False):
    """A request's pseudo-header fields: the method and https are in the table, the others are spelled out."""
    method = b"\x83" if post else b"\x82"
    return method + b"\x87" + b"\x04" + text(path.encode()) + b"\x01" + text(authority.encode())


def literal(name, value, indexed=False):
    """A field of its own name; `indexed`: kept in the table."""
    return (b"\x40" if indexed else b"\x00") + text(name) + text(value)


class Connection:
    """A connection that sends what it is told to, and hears how it is cut."""

    def __init__(self, target, first=None, small=False):
        with contextlib.ExitStack() as at_failure:
            tcp = at_failure.enter_context(socket.socket())
            if small:
                target.make_small(tcp)
            tcp.settimeout(DIAL_WITHIN)
            tcp.connect(("127.0.0.1", target.https))
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = target.trust("h2").wrap_socket(tcp, server_hostname=target.name)
            at_failure.pop_all()
        self.socket.settimeout(0)
        self.received = b""
        self.goaway = None  # its code
        self.closed = False
        self.reset = False  # closed by a TCP reset
        self.heard = {}  # frames by kind
        self.sent = 0  # bytes
        self.send(settings() if first is None else first)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.socket.close()

    @property
    def cut(self):
        return self.goaway is not None or self.closed

    def send(self, data, reads=True, until=None):
        """Sends all, unless it is cut or the time is up before; whether it was all."""
        view, until = memoryview(data), until or time.monotonic() + DIAL_WITHIN
        while view and not self.cut and time.monotonic() < until:
            try:
                sent = self.socket.send(view)
                view, self.sent = view[sent:], self.sent + sent
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                select.select([self.socket] if reads else [], [self.socket], [], 0.05)
            except OSError as error:
                self._end(error)
            if reads:
                self.hear()
        return not view

    def hear(self):
        """Takes what has come."""
        while not self.closed:
            try:
                piece = self.socket.recv(256 * 1024)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return
            except OSError as error:
                return self._end(error)
            if not piece:
                return self._end(None)
            self.received += piece
            self._frames()

    def wait(self, seconds, done=lambda: False):
        """Listens for so long, or until it is closed."""
        until = time.monotonic() + seconds
        while not (self.closed or done()) and (left := until - time.monotonic()) > 0:
            select.select([self.socket], [], [], min(left, 0.05))
            self.hear()

    def _frames(self):
        at = 0
        while len(self.received) - at >= 9:
            length = int.from_bytes(self.received[at : at + 3], "big")
            if len(self.received) - at < 9 + length:
                break
            kind, payload = self.received[at + 3], self.received[at + 9 : at + 9 + length]
            self.heard[kind] = self.heard.get(kind, 0) + 1
            if kind == GOAWAY and self.goaway is None:
                self.goaway = int.from_bytes(payload[4:8], "big")
            at += 9 + length
        self.received = self.received[at:]

    def _end(self, error):
        self.closed = True
        self.reset = isinstance(error, ConnectionResetError)

    def fate(self):
        """What became of it, in a word."""
        if self.goaway is not None:
            return CODES[self.goaway] if self.goaway < len(CODES) else f"code {self.goaway}"
        if self.closed:
            return "reset" if self.reset else "closed"
        return "held"
