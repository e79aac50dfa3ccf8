"""An endpoint that fails when it is told to: a program of its own, so that it can be killed and stopped.

    endpoint.py PORT RECEIVED FAULT

Serves HTTP/1.1 on 127.0.0.1 and answers a request, some time later, with its method,
path and body. Each request is a line of the file RECEIVED before anything else is done
with it, so that it stays there when the process is killed. USR1: from now on it has
the FAULT; USR2: it is well again; TERM: it accepts no more, answers what it has read,
and ends.

  none   it has no fault
  reset  every connection is reset: when it brings a request, or brings none
  mute   nothing is answered
  503    everything is answered by 503
"""

import asyncio
import os
import signal
import socket
import struct
import sys

BACKLOG = 4096  # what comes while the process is stopped is read later, not refused
TAKES = 0.02  # seconds for an answer: some are always under way
SILENT = 0.02  # seconds, after which a connection is reset that brought nothing
HEAD_MAX = 16 * 1024  # bytes
HEALTH = b"/healthz"  # answered as all else is, but no request of a client
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Endpoint:
    def __init__(self, received, fault):
        self.received = os.open(received, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.has, self.fault = fault, None
        self.connections, self.ending = set(), asyncio.Event()

    def fail(self):
        self.fault = self.has

    def heal(self):
        self.fault = None

    def end(self):
        self.ending.set()
        for connection in self.connections:
            connection.close_if_idle()

    def note(self, method, path):
        if path != HEALTH:
            os.write(self.received, method + b" " + path + b"\n")


class Connection(asyncio.Protocol):
    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.came, self.noted, self.answering = b"", False, False

    def connection_made(self, transport):
        self.transport = transport
        self.endpoint.connections.add(self)
        if self.endpoint.fault == "reset":
            asyncio.get_running_loop().call_later(SILENT, self.reset)

    def connection_lost(self, _error):
        self.endpoint.connections.discard(self)

    def data_received(self, data):
        self.came += data
        end = self.came.find(b"\r\n\r\n")
        if end < 0 or self.answering:
            if len(self.came) > HEAD_MAX:
                self.reset()
            return
        method, path, length = read(self.came[:end])
        if not self.noted:
            self.endpoint.note(method, path)
            self.noted = True
        if self.endpoint.fault == "reset":
            self.reset()
            return
        whole = end + 4 + length
        if len(self.came) < whole:
            return
        body, self.came, self.noted = self.came[end + 4 : whole], self.came[whole:], False
        self.answering = True
        asyncio.get_running_loop().call_later(TAKES, self.answer, b"%s %s %s" % (method, path, body))

    def answer(self, text):
        if self.endpoint.fault == "mute" or self.transport.is_closing():
            return
        if self.endpoint.fault == "reset":
            self.reset()
            return
        status = b"503 Service Unavailable" if self.endpoint.fault == "503" else b"200 OK"
        self.transport.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
        self.answering = False
        if self.came:
            self.data_received(b"")
        elif self.endpoint.ending.is_set():
            self.close_if_idle()

    def close_if_idle(self):
        if not self.answering:
            self.transport.close()

    def reset(self):
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()


def read(head):
    """Method, path and length of the body. The proxies send no other framing, since the clients do not."""
    first, *fields = head.split(b"\r\n")
    method, path, _ = first.split(b" ")
    values = {name.lower(): value for name, _, value in (field.partition(b":") for field in fields)}
    return method, path, int(values.get(b"content-length", 0))


async def serve(port, received, fault):
    endpoint, loop = Endpoint(received, fault), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, endpoint.fail)
    loop.add_signal_handler(signal.SIGUSR2, endpoint.heal)
    loop.add_signal_handler(signal.SIGTERM, endpoint.end)
    server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", port, backlog=BACKLOG)
    await endpoint.ending.wait()
    server.close()
    while endpoint.connections:
        await asyncio.sleep(TAKES)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
