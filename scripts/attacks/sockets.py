"""Many connections at once that are slow, half begun, or there for their own sake."""

import collections
import contextlib
import select
import socket
import ssl
import time

from .floods import told

CLIENTS = 300
ROUND = 0.25  # seconds between two looks at all of them
# A ClientHello as it begins: a handshake record of 512 bytes, TLS 1.0 as is usual there.
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)


class Crowd:
    """Connections, and what became of each."""

    def __init__(self, target, count, tls=False, small=False):
        self.open, self.fates, self.closed_after = [], collections.Counter(), None
        self.began = time.monotonic()
        for _ in range(count):
            one = socket.socket()
            if small:
                target.make_small(one)
            one.settimeout(10)
            try:
                one.connect(("127.0.0.1", target.https if tls or target.raw else target.http))
                if tls:
                    one = target.trust("http/1.1").wrap_socket(one, server_hostname=target.name)
            except OSError as error:
                self.fates[f"no connection: {type(error).__name__}"] += 1
                one.close()
                continue
            one.settimeout(0)
            self.open.append(one)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.open:
            with contextlib.suppress(OSError):
                one.close()

    def send(self, data):
        for one in list(self.open):
            try:
                one.send(data)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                pass
            except OSError:
                self._lost(one, "reset")

    def look(self, most=65536):
        """Takes a little of what came; who was closed is counted."""
        for one in list(self.open):
            try:
                piece = one.recv(most)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                continue
            except OSError:
                self._lost(one, "reset")
                continue
            if not piece:
                self._lost(one, "closed")
            elif piece.startswith(b"HTTP/1.1 ") and not piece.startswith(b"HTTP/1.1 200"):
                self._lost(one, piece[9:12].decode())

    def _lost(self, one, fate):
        self.open.remove(one)
        one.close()
        self.fates[fate] += 1
        self.closed_after = time.monotonic() - self.began

    def fate(self):
        fates = self.fates + collections.Counter(held=len(self.open))
        after = f", the last after {self.closed_after:.1f} s" if self.closed_after else ""
        return told(fates) + after


def rounds(target):
    until = time.monotonic() + target.seconds
    while (left := until - time.monotonic()) > 0:
        yield
        time.sleep(min(left, ROUND))


# --- HTTP/1 ------------------------------------------------------------------------------------


def slow_head(tls):
    """Slowloris: a head that comes byte by byte and has no end."""

    def attack(target):
        with Crowd(target, CLIENTS, tls) as crowd:
            crowd.send(f"GET / HTTP/1.1\r\nHost: {target.authority}\r\n".encode())
            for _ in rounds(target):
                crowd.send(b"x")
                crowd.look()
            return crowd.fate()

    return attack


def big_half_heads(target):
    """Heads that are as large as they may be, but for their end."""
    with Crowd(target, CLIENTS) as crowd:
        crowd.send(f"GET / HTTP/1.1\r\nHost: {target.authority}\r\nX: ".encode() + b"x" * 31_000)
        for _ in rounds(target):
            crowd.look()
        return crowd.fate()


def slow_body(target):
    """R-U-Dead-Yet: an upload that comes byte by byte."""
    with Crowd(target, CLIENTS, tls=True) as crowd:
        crowd.send(f"POST / HTTP/1.1\r\nHost: {target.authority}\r\nContent-Length: 1000000\r\n\r\n".encode())
        for _ in rounds(target):
            crowd.send(b"x")
            crowd.look()
        return crowd.fate()


def slow_read(target):
    """Answers of 1 MB that are taken by 100 bytes."""
    with Crowd(target, CLIENTS, tls=True, small=True) as crowd:
        crowd.send(f"GET /1000000 HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode())
        for _ in rounds(target):
            crowd.look(100)
        return crowd.fate()


def no_read(tls):
    """Answers of 10 MB of which nothing is taken: TCP's window is shut."""

    def attack(target):
        with Crowd(target, CLIENTS, tls, small=True) as crowd:
            crowd.send(f"GET /10000000 HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode())
            time.sleep(target.seconds)
            return f"held ×{len(crowd.open)}"

    return attack


def pipelined(target):
    """Requests one behind the other, and no answer taken."""
    request = f"GET / HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode()
    with Crowd(target, 50, tls=True, small=True) as crowd:
        for _ in rounds(target):
            crowd.send(request * 1000)
        return crowd.fate()


# --- Connections -------------------------------------------------------------------------------


def half_handshakes(target):
    """1,000 TLS handshakes that begin and do not go on."""
    target.raw = True
    with Crowd(target, 1000) as crowd:
        crowd.send(HALF_HELLO)
        for _ in rounds(target):
            crowd.look()
        return crowd.fate()


def not_tls(target):
    """Other bytes where a handshake should be, on new connections all the time."""
    return _again(target, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def connections(target):
    """Connections that are opened and closed at once."""
    return _again(target, None)


def _again(target, said):
    count, until = 0, time.monotonic() + target.seconds
    while time.monotonic() < until:
        with socket.socket() as one:
            one.settimeout(10)
            one.connect(("127.0.0.1", target.https))
            if said:
                one.sendall(said)
                with contextlib.suppress(ConnectionResetError):
                    while one.recv(4096):
                        pass
            count += 1
    return f"{count / target.seconds:,.0f} a second"


def idle_connections(target):
    """As many connections as there are, that say nothing: 512 an address holds for others than loopback."""
    with Crowd(target, 3000) as crowd:
        grown = target.mux.memory() - target.before
        for _ in rounds(target):
            crowd.look()
        return f"{crowd.fate()}; {grown / 3000:,.0f} B a connection"


def descriptors(target):
    """More connections than there are descriptors; then they go, and others are served again."""
    with Crowd(target, 400) as crowd:
        began, used = time.monotonic(), target.mux.cpu()
        for _ in rounds(target):
            crowd.look()
        share = (target.mux.cpu() - used) / (time.monotonic() - began)
        held = len(crowd.open)
    began = time.monotonic()
    with contextlib.closing(socket.create_connection(("127.0.0.1", target.http), timeout=10)) as one:
        one.sendall(f"GET / HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode())
        select.select([one], [], [], 10)
        answer = one.recv(100)
    again = time.monotonic() - began
    if not answer.startswith(b"HTTP/1.1 200"):
        target.faults.append(f"nobody is served when they are gone: {answer!r}")
    if share > 0.1:
        target.faults.append(f"it spins: {share:.0%} of a processor")
    return f"held ×{held}, {share:.0%} of a processor; others served {again * 1000:.0f} ms after they went"
