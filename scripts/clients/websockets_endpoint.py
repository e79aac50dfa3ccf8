"""A WebSocket endpoint by `websockets`: the same paths as node_endpoint.js. Its argument is a port."""

import asyncio
import contextlib
import sys
import urllib.parse

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

CLOSED_WITHIN = 20  # seconds

closed = {}
changed = asyncio.Condition()


async def talk(socket):
    url = urllib.parse.urlsplit(socket.request.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/ws/first":
        await socket.send("first")
    elif url.path == "/ws/close":
        return await socket.close(int(query["code"]), query["reason"])
    elif url.path == "/ws/ping":
        await (await socket.ping(b"are you there"))
        await socket.send("pong are you there")
    elif url.path == "/ws/closed":
        async with asyncio.timeout(CLOSED_WITHIN), changed:
            await changed.wait_for(lambda: query["id"] in closed)
        return await socket.send(closed[query["id"]])
    with contextlib.suppress(ConnectionClosedError):  # closed with another code than 1000
        async for message in socket:
            await socket.send(message)
    if "id" in query:
        async with changed:
            closed[query["id"]] = f"{socket.close_code} {socket.close_reason}"
            changed.notify_all()


def choose(_socket, offered):
    return "v2" if "v2" in offered else None


async def main():
    port = int(sys.argv[1])
    async with serve(talk, "127.0.0.1", port, max_size=64 << 20, select_subprotocol=choose, ping_interval=None):
        await asyncio.Future()


asyncio.run(main())
