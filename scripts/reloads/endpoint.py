"""The endpoint behind the proxies: answers, echoes WebSocket messages, and sends events.

    endpoint.py NOTES PORT...

Serves HTTP/1.1 on each PORT of 127.0.0.1, all alike:

  /port         the port that was asked
  /events/NAME  events without end; how many bytes were sent is noted when the client is gone
  /echo         a WebSocket that sends each message back
  all else      the method, the path and the body, a little later

Lines of the file NOTES: `sent NAME BYTES` of an event stream, and `failure WHY` of what
the endpoint did wrong or did not understand: that is no failure of a proxy's clients.
"""

import asyncio
import base64
import hashlib
import sys

TAKES = 0.02  # seconds for an answer: some are always under way
EVENT_EVERY = 0.05  # seconds
EVENT_BYTES = 256  # as the load checks them
HEAD_MAX = 16 * 1024  # bytes
BACKLOG = 4096
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class Connection(asyncio.Protocol):
    def __init__(self, notes):
        self.notes = notes
        self.came, self.answering, self.echoing = b"", False, False
        self.events, self.sent = None, 0

    def note(self, text):
        self.notes.write(text + "\n")
        self.notes.flush()

    def connection_made(self, transport):
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def connection_lost(self, _error):
        if self.events:
            self.note(f"sent {self.events} {self.sent * EVENT_BYTES}")

    def data_received(self, data):
        self.came += data
        if self.echoing:
            self.echo()
        elif not self.answering:
            self.read()

    def read(self):
        end = self.came.find(b"\r\n\r\n")
        if end < 0:
            if len(self.came) > HEAD_MAX:
                self.fail("a head that is too long")
            return
        try:
            first, *fields = self.came[:end].split(b"\r\n")
            method, path, _ = first.split(b" ")
            values = {name.lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
            whole = end + 4 + int(values.get(b"content-length", 0))
        except ValueError as error:
            self.fail(f"{error}: {self.came[:end]!r}")
            return
        if len(self.came) < whole:
            return
        body, self.came = self.came[end + 4 : whole], self.came[whole:]
        self.answering = True
        if path == b"/echo":
            self.upgrade(values.get(b"sec-websocket-key"))
        elif path.startswith(b"/events/"):
            self.events = path.removeprefix(b"/events/").decode(errors="replace")
            self.transport.write(STREAM)
            self.event()
        elif path == b"/port":
            self.answer(b"%d" % self.port)
        else:
            asyncio.get_running_loop().call_later(TAKES, self.answer, b"%s %s %s" % (method, path, body))

    def answer(self, text):
        if self.transport.is_closing():
            return
        self.transport.write(ANSWER % (len(text), text))
        self.answering = False
        if self.came:
            self.read()

    def event(self):
        if self.transport.is_closing():
            return
        begin = b"id: %d\ndata: " % self.sent
        text = begin + b"=" * (EVENT_BYTES - len(begin) - 2) + b"\n\n"
        self.transport.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.sent += 1
        asyncio.get_running_loop().call_later(EVENT_EVERY, self.event)

    def upgrade(self, key):
        if key is None:
            self.fail("/echo without a key")
            return
        self.echoing = True
        self.transport.write(UPGRADED % base64.b64encode(hashlib.sha1(key + MAGIC).digest()))
        self.echo()

    def echo(self):
        """Sends back each whole frame, without its mask; they are short (RFC 6455 §5.2)."""
        while len(self.came) >= 2:
            kind, long = self.came[0], self.came[1] & 0x7F
            masked = bool(self.came[1] & 0x80)
            begin = 6 if masked else 2
            if long > 125 or not masked:
                self.fail(f"a frame that no client sends: {self.came[:14]!r}")
                return
            if len(self.came) < begin + long:
                return
            mask, payload = self.came[2:begin], self.came[begin : begin + long]
            self.came = self.came[begin + long :]
            text = bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))
            self.transport.write(bytes([kind, long]) + text)
            if kind == 0x88:
                self.transport.close()
                return

    def fail(self, why):
        self.note(f"failure {why}")
        self.transport.abort()


async def serve(notes, ports):
    loop = asyncio.get_running_loop()

    def failed(_loop, context):
        notes.write(f"failure {context.get('exception') or context['message']!r}\n")
        notes.flush()

    loop.set_exception_handler(failed)
    for port in ports:
        await loop.create_server(lambda: Connection(notes), "127.0.0.1", port, backlog=BACKLOG)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with open(sys.argv[1], "a", encoding="utf-8") as opened:
        asyncio.run(serve(opened, [int(port) for port in sys.argv[2:]]))
