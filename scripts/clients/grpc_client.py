"""grpcio as a client: TLS to hostmux, which speaks h2c to grpc_endpoint.py. See telling.py for what it is given."""

import asyncio
import functools
import os
import pathlib
import uuid

import grpc
from grpc import StatusCode
from telling import GIVEN, PORT, case, require, run

MIB = 1 << 20
CALLS = 200
CALL_WITHIN = 20  # seconds


@functools.cache
def channel(name="grpc"):
    credentials = grpc.ssl_channel_credentials(pathlib.Path(GIVEN["ca"]).read_bytes())
    options = {
        "grpc.ssl_target_name_override": f"{name}.test",
        "grpc.default_authority": f"{name}.test:{PORT}",
        "grpc.max_receive_message_length": -1,
        "grpc.enable_http_proxy": 0,
    }
    return grpc.aio.secure_channel(f"ipv4:127.0.0.1:{PORT}", credentials, list(options.items()))


def call(kind, name, request, timeout=CALL_WITHIN, site="grpc", **options):
    return getattr(channel(site), kind)(f"/trial.Trial/{name}")(request, timeout=timeout, **options)


async def fails(running):
    """The error that a call ends with."""
    try:
        if hasattr(running, "__aiter__"):
            _ = [message async for message in running]
        else:
            await running
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call succeeded")


async def until(what, name):
    """Until a call of this name was `asked` of the endpoint, or is `gone` there."""
    require(await call("unary_unary", "Until", what + name) == b"so it is", "never")


@case("unary, with metadata both ways, binary too")
async def _():
    binary = bytes(range(256))
    running = call("unary_unary", "Unary", b"hello", metadata=[("x-sent", "a word"), ("x-sent-bin", binary)])
    answer, first, last = await running, dict(await running.initial_metadata()), dict(await running.trailing_metadata())
    require(answer == b"hello" and first["x-first"] == "a word", f"{answer!r} {first}")
    require(last["x-last"] == "good bye" and last["x-bytes-bin"] == binary, f"{last}")
    return f"{answer!r}, {first['x-first']!r}, {last['x-last']!r}"


@case("unary, empty message and a compressed one")
async def _():
    empty = await call("unary_unary", "Unary", b"")
    packed = await call("unary_unary", "Unary", b"a" * MIB, compression=grpc.Compression.Gzip)
    require(empty == b"" and packed == b"a" * MIB, f"{len(empty)} and {len(packed)} bytes")
    return f"{len(empty)} and {len(packed)} bytes"


@case("unary, 8 MiB both ways")
async def _():
    data = os.urandom(8 * MIB)
    require(await call("unary_unary", "Unary", data) == data, "other bytes")
    return f"{len(data)} bytes"


@case("server streaming, 5,000 messages")
async def _():
    got = [message async for message in call("unary_stream", "ServerStream", b"5000")]
    require(got == [b"%d" % at for at in range(5000)], f"{len(got)} messages, or not in order")
    return f"{len(got)} messages in order"


@case("client streaming, 2,000 messages")
async def _():
    async def messages():
        for _ in range(2000):
            yield b"x" * 1000

    told = await call("stream_unary", "ClientStream", messages())
    require(told == b"2000 2000000", told)
    return told.decode()


@case("bidirectional streaming, each message after the answer to the one before")
async def _():
    running = call("stream_stream", "Bidi", None)
    for at in range(100):
        await running.write(b"%d" % at)
        require(await running.read() == b"re: %d" % at, f"at {at}")
    await running.done_writing()
    require(await running.read() is grpc.aio.EOF, "it does not end")
    return "100 messages, then the end"


@case(f"{CALLS} calls at once on one channel")
async def _():
    answers = await asyncio.gather(*(call("unary_unary", "Unary", b"%d" % at) for at in range(CALLS)))
    require(answers == [b"%d" % at for at in range(CALLS)], "answers are mixed up")
    return f"{len(answers)} answers, each its own"


@case("an error at once, as trailers only")
async def _():
    error = await fails(call("unary_unary", "Fail", b"thing"))
    last = dict(error.trailing_metadata() or ())
    require(error.code() == StatusCode.NOT_FOUND, f"{error.code()} {error.details()}")
    require(error.details() == "no “thing” here" and last.get("x-last") == "trailers only", f"{error.details()} {last}")
    return f"{error.code().name}, {error.details()!r}"


@case("an error after a message, and an unknown method")
async def _():
    late = await fails(call("unary_stream", "FailLate", b"thing"))
    unknown = await fails(call("unary_unary", "Nothing", b""))
    codes = (late.code(), unknown.code())
    require(codes == (StatusCode.DATA_LOSS, StatusCode.UNIMPLEMENTED), f"{late.details()} {unknown.details()}")
    return f"{codes[0].name}, {codes[1].name}"


@case("a deadline: the client is told, and the endpoint's call ends")
async def _():
    name = uuid.uuid4().bytes
    running = call("unary_unary", "Hang", name, timeout=1)
    deadline = dict(await running.initial_metadata())["x-deadline"]
    error = await fails(running)
    await until(b"gone ", name)
    require((deadline, error.code()) == ("told", StatusCode.DEADLINE_EXCEEDED), f"{deadline} {error.details()}")
    return f"{error.code().name}, the endpoint was told the deadline and has stopped"


@case("a cancelled call, unary and streaming, ends at the endpoint")
async def _():
    names = [uuid.uuid4().bytes for _ in range(2)]
    unary = call("unary_unary", "Hang", names[0])
    await until(b"asked ", names[0])
    streaming = call("stream_stream", "HangStreaming", None)
    await streaming.write(names[1])
    require(await streaming.read() == names[1], "no first message")
    unary.cancel(), streaming.cancel()
    for name in names:
        await until(b"gone ", name)
    return "both"


@case("an endpoint that refuses: our own failure is a gRPC status")
async def _():
    error = await fails(call("unary_unary", "Unary", b"", site="refusing"))
    require(error.code() == StatusCode.UNAVAILABLE, f"{error.code()} {error.details()}")
    require("http2 header" not in error.details(), f"the client guessed it by the HTTP status: {error.details()}")
    return f"{error.code().name}, {error.details()!r}"


run()
