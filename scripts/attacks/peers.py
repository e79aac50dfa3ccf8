"""Those beside the abuser: the endpoints, and another client that measures what it gets."""

import asyncio
import contextlib
import multiprocessing
import signal
import socket
import ssl
import time

from . import h2

BLOCK = bytes(64 * 1024)
PAUSE = 0.01  # between two requests of one kind
ASK_WITHIN = 10
FRESH_EVERY = 10  # requests over HTTP/1.1
FORK = multiprocessing.get_context("fork")


class Peer:
    """A process of ours, and a pipe to it."""

    def __init__(self, run, *arguments):
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=self._begin, args=(run, theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def _begin(self, run, pipe, *arguments):
        # Ctrl-C and the script's clock are for the script, which ends us.
        for one in (signal.SIGINT, signal.SIGALRM):
            signal.signal(one, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.pipe.close()
        with contextlib.suppress(EOFError, OSError):
            run(pipe, *arguments)

    def stop(self):
        self.process.terminate()
        self.process.join(5)


# --- Endpoints ---------------------------------------------------------------------------------


def endpoint():
    """A running endpoint, and its port."""
    peer = Peer(lambda pipe: asyncio.run(_serve(pipe)))
    return peer, peer.pipe.recv()


async def _serve(pipe):
    server = await asyncio.start_server(_connection, "127.0.0.1", 0, backlog=4096)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _connection(reader, writer):
    """`/` gets `ok`, `/N` gets N bytes, `/wait` nothing; what is uploaded is read and forgotten."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await _forget_body(reader, head)
            path = head.split(b" ", 2)[1][1:]
            if path == b"wait":
                await reader.read(1)
                break
            length = int(path) if path.isdigit() else 0
            if not length:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
            while length > 0:
                writer.write(BLOCK[:length])
                length -= len(BLOCK)
                await writer.drain()
            await writer.drain()
    writer.close()


async def _forget_body(reader, head):
    if b"\r\ntransfer-encoding:" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
        return
    left = 0
    if (at := head.find(b"\r\ncontent-length:")) >= 0:
        left = int(head[at + 17 :].split(b"\r\n", 1)[0])
    while left > 0:
        if not (piece := await reader.read(min(left, 1 << 16))):
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)


# --- The other client --------------------------------------------------------------------------


class Probe(Peer):
    """Small GETs over HTTP/1.1 and HTTP/2, on connections that stay, and over new ones."""

    def __init__(self, target, fresh=True):
        super().__init__(_measure, target, fresh)

    def begin(self):
        """From now on it counts."""
        self.pipe.send("begin")

    def end(self):
        """Latencies in seconds and failures since then, by kind."""
        self.pipe.send("end")
        if not self.pipe.poll(3 * ASK_WITHIN):
            return {"h1": [], "h2": [], "new": []}, ["the other client is stuck"]
        return self.pipe.recv()


def _measure(pipe, target, also_fresh):
    took, failures = {"h1": [], "h2": [], "new": []}, []
    clients = {"h1": None, "h2": None}
    turn = 0
    while True:
        if pipe.poll(PAUSE):
            if pipe.recv() == "end":
                pipe.send((took, failures))
            took, failures = {"h1": [], "h2": [], "new": []}, []
        turn += 1
        for kind in ("h1", "h2"):
            fresh = clients[kind] is None or (also_fresh and kind == "h1" and turn % FRESH_EVERY == 0)
            began = time.monotonic()
            try:
                if fresh:
                    if clients[kind]:
                        clients[kind].close()
                    clients[kind] = (H1 if kind == "h1" else H2)(target)
                clients[kind].get()
            except Exception as error:  # counted; the next one is a new client
                failures.append(f"{kind}: {type(error).__name__} {error}")
                clients[kind] = None
            took["new" if fresh else kind].append(time.monotonic() - began)


class H1:
    def __init__(self, target):
        tcp = socket.create_connection(("127.0.0.1", target.https), timeout=ASK_WITHIN)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = target.trust("http/1.1").wrap_socket(tcp, server_hostname=target.name)
        self.request = f"GET / HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode()

    def get(self):
        self.socket.sendall(self.request)
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            if not (piece := self.socket.recv(4096)):
                raise ConnectionError("closed")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(answer[:40])

    def close(self):
        self.socket.close()


class H2:
    def __init__(self, target):
        tcp = socket.create_connection(("127.0.0.1", target.https), timeout=ASK_WITHIN)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = target.trust("h2").wrap_socket(tcp, server_hostname=target.name)
        self.fields, self.stream, self.received = h2.fields(target.authority), -1, b""
        self.socket.sendall(h2.settings() + h2.window_update(0, h2.WINDOW_MAX - h2.WINDOW))

    def get(self):
        self.stream += 2
        self.socket.sendall(h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, self.stream, self.fields))
        while True:
            head = self._take(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload = self._take(length)
            if kind in (h2.SETTINGS, h2.PING) and not flags & h2.ACK:
                self.socket.sendall(h2.frame(kind, h2.ACK, 0, payload if kind == h2.PING else b""))
            elif kind in (h2.RESET, h2.GOAWAY):
                raise ConnectionError(f"frame {kind}: {payload!r}")
            elif kind in (h2.DATA, h2.HEADERS) and flags & h2.END_STREAM:
                return

    def _take(self, length):
        while len(self.received) < length:
            if not (piece := self.socket.recv(65536)):
                raise ConnectionError("closed")
            self.received += piece
        taken, self.received = self.received[:length], self.received[length:]
        return taken

    def close(self):
        self.socket.close()


def trust(ca, alpn):
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols([alpn])
    return context
