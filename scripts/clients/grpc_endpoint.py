"""A gRPC endpoint over h2c, by grpcio: every kind of call, with bytes for messages. Its argument is a port."""

import asyncio
import collections
import sys

import grpc

HAPPENED_WITHIN = 20  # seconds

happened = collections.defaultdict(asyncio.Event)  # "asked NAME", "gone NAME", by the name that a call gave


async def unary(message, context):
    metadata = dict(context.invocation_metadata())
    await context.send_initial_metadata([("x-first", metadata.get("x-sent", "none"))])
    context.set_trailing_metadata([("x-last", "good bye"), ("x-bytes-bin", metadata.get("x-sent-bin", b""))])
    return message


async def server_stream(message, _context):
    for at in range(int(message)):
        yield b"%d" % at


async def client_stream(messages, _context):
    count = size = 0
    async for message in messages:
        count, size = count + 1, size + len(message)
    return b"%d %d" % (count, size)


async def bidi(messages, _context):
    async for message in messages:
        yield b"re: " + message


async def fail(message, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "no “" + message.decode() + "” here", (("x-last", "trailers only"),))


async def fail_late(message, context):
    yield message
    await context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


async def hang(message, context):
    """Never answers: a deadline or a cancellation ends it."""
    happened[b"asked " + message].set()
    try:
        left = context.time_remaining()
        await context.send_initial_metadata([("x-deadline", "none" if left is None else "told")])
        await asyncio.Future()
    finally:
        happened[b"gone " + message].set()


async def hang_streaming(messages, _context):
    async for message in messages:
        yield message
        try:
            await asyncio.Future()
        finally:
            happened[b"gone " + message].set()


async def until(message, _context):
    await asyncio.wait_for(happened[message].wait(), HAPPENED_WITHIN)
    return b"so it is"


async def main():
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    kinds = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "HangStreaming": grpc.stream_stream_rpc_method_handler(hang_streaming),
        "Until": grpc.unary_unary_rpc_method_handler(until),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("trial.Trial", kinds)])
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
