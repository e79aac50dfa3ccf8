"""httpx, aiohttp, websockets and the standard library as clients. See telling.py for what they are given."""

import asyncio
import hashlib
import http.client
import os
import socket
import uuid

import aiohttp
import httpx
import websockets.asyncio.client
from telling import PORT, case, each, require, run, trust, url
from websockets.exceptions import ConnectionClosed

MIB = 1 << 20
STREAMS = 200
ENDPOINTS = ("h1", "ws")  # sites with a WebSocket endpoint, in Node and in Python
HTTPX = {"HTTP/1.1": {"http1": True, "http2": False}, "HTTP/2": {"http1": False, "http2": True}}


def httpx_client(version):
    return httpx.AsyncClient(verify=trust(), timeout=20, trust_env=False, **HTTPX[version])


async def pieces(data, size=100_000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


# --- httpx -------------------------------------------------------------------------------------


@each(HTTPX)("httpx, {}: GET, HEAD, 204, 304, a range")
async def _(version):
    async with httpx_client(version) as client:
        get = await client.get(url("h1", "/bytes?n=100000"))
        head = await client.head(url("h1", "/bytes?n=100000"))
        empty = await client.get(url("h1", "/status?code=204"))
        same = await client.get(url("h1", "/bytes?n=100000"), headers={"If-None-Match": get.headers["ETag"]})
        part = await client.get(url("h1", "/bytes?n=100000"), headers={"Range": "bytes=500-599"})
    statuses = [one.status_code for one in (get, head, empty, same, part)]
    require(get.http_version == version, f"by {get.http_version}")
    require(statuses == [200, 200, 204, 304, 206], statuses)
    require(head.headers["Content-Length"] == "100000" and not head.content, "HEAD is not GET's head")
    require(len(get.content) == 100000 and part.content == get.content[500:600], "other bytes")
    return f"{statuses}"


@each(HTTPX)("httpx, {}: 5 MiB up from a generator, and 5 MiB echoed")
async def _(version):
    data = os.urandom(5 * MIB)
    async with httpx_client(version) as client:
        up = (await client.post(url("h1", "/hash"), content=pieces(data))).json()
        back = (await client.put(url("h1", "/echo"), content=pieces(data))).content
    require(up["sha256"] == hashlib.sha256(data).hexdigest(), "what arrived is not what was sent")
    require(back == data, f"{len(back)} bytes came back, not the {len(data)} that were sent")
    return f"{up['bytes']} bytes up, {len(back)} back"


@each(HTTPX)("httpx, {}: each line of a stream is there before the next is sent")
async def _(version):
    gate, seen = str(uuid.uuid4()), []
    async with httpx_client(version) as client, client.stream("GET", url("h1", f"/lines?n=5&gate={gate}")) as answer:
        async for line in answer.aiter_lines():
            seen.append(line)
            await client.get(url("h1", f"/open?gate={gate}"))
    require(seen == ["0", "1", "2", "3", "4"], seen)
    return f"{len(seen)} lines"


@each(HTTPX)("httpx, {}: " + f"{STREAMS} requests at once")
async def _(version):
    async with httpx_client(version) as client:
        answers = await asyncio.gather(*(client.get(url("h1", f"/what?{at}")) for at in range(STREAMS)))
    told = [answer.json()["url"] for answer in answers]
    require(told == [f"/what?{at}" for at in range(STREAMS)], "answers are mixed up")
    return f"{len(told)} answers, each its own"


@each(HTTPX)("httpx, {}: a client that goes amid an answer frees the endpoint")
async def _(version):
    gate = str(uuid.uuid4())
    async with httpx_client(version) as client:
        async with client.stream("GET", url("h1", f"/hold?head=1&gate={gate}")) as answer:
            async for _ in answer.aiter_bytes():
                break
    async with httpx_client(version) as client:
        freed = await client.get(url("h1", f"/await?gate={gate}"))
    require(freed.status_code == 200, freed.text)
    return "the endpoint saw its connection close"


# --- aiohttp -----------------------------------------------------------------------------------


def aiohttp_client():
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust()), timeout=aiohttp.ClientTimeout(total=20))


@case("aiohttp: 5 MiB streamed up and read back in pieces")
async def _():
    data = os.urandom(5 * MIB)
    async with aiohttp_client() as client, client.post(url("h1", "/echo"), data=pieces(data)) as answer:
        back = b"".join([piece async for piece in answer.content.iter_chunked(65536)])
    require(back == data, f"{len(back)} other bytes")
    return f"{len(back)} bytes"


@case("aiohttp: a body goes up piece by piece, each at the endpoint before the next")
async def _():
    gate = str(uuid.uuid4())
    async with aiohttp_client() as client:

        async def lines():
            for at in range(5):
                yield b"line\n"
                async with client.get(url("h1", f"/await?gate={gate}&n={at + 1}")) as answer:
                    require(answer.status == 200, await answer.text())

        async with client.post(url("h1", f"/collect?gate={gate}"), data=lines()) as answer:
            told = await answer.json()
    require(told == {"bytes": 25}, told)
    return "5 lines"


@case("aiohttp: `Expect: 100-continue`, welcome and refused")
async def _():
    async with aiohttp_client() as client:
        async with client.post(url("h1", "/hash"), data=b"x" * MIB, expect100=True) as answer:
            told = await answer.json()
        async with client.post(url("h1", "/refuse"), data=b"x" * MIB, expect100=True) as answer:
            refused = answer.status
    require((told["bytes"], refused) == (MIB, 413), f"{told}, {refused}")
    return f"{told['bytes']} bytes, then {refused}"


@each(ENDPOINTS)("aiohttp, WebSocket to {}: text, binary, ping, close code 4001")
async def _(site):
    identity = str(uuid.uuid4())
    async with aiohttp_client() as client:
        async with client.ws_connect(url(site, f"/ws/echo?id={identity}"), protocols=("v1", "v2")) as socket:
            await socket.send_str("grüße")
            text = await socket.receive_str()
            await socket.send_bytes(bytes(range(256)))
            binary = await socket.receive_bytes()
            await socket.ping(b"payload")
            await socket.close(code=4001, message=b"enough")
            protocol = socket.protocol
        async with client.ws_connect(url(site, f"/ws/closed?id={identity}")) as socket:
            closed = await socket.receive_str()
    require((text, binary) == ("grüße", bytes(range(256))), f"{text!r} {binary!r}")
    require((protocol, closed) == ("v2", "4001 enough"), f"{protocol} {closed!r}")
    return f"subprotocol {protocol}, the endpoint saw {closed!r}"


# --- websockets --------------------------------------------------------------------------------


def websocket(site, path, **options):
    return websockets.asyncio.client.connect(
        url(site, path, "wss"), ssl=trust(), max_size=64 * MIB, proxy=None, ping_interval=None, **options
    )


@each(ENDPOINTS)("websockets to {}: 100 messages in order, one of 16 MiB, a fragmented one")
async def _(site):
    big = os.urandom(16 * MIB)
    async with websocket(site, "/ws/echo") as socket:
        for at in range(100):
            await socket.send(f"message {at}")
        back = [await socket.recv() for _ in range(100)]
        _, large = await asyncio.gather(socket.send(big), socket.recv())
        await socket.send(["a ", "message ", "in pieces"])
        whole = await socket.recv()
    require(back == [f"message {at}" for at in range(100)], "not in order")
    require(large == big, f"{len(large)} other bytes")
    require(whole == "a message in pieces", whole)
    return f"100 messages, {len(large)} bytes, {whole!r}"


@each(ENDPOINTS)("websockets to {}: close code and reason, from the endpoint and to it")
async def _(site):
    identity = str(uuid.uuid4())
    async with websocket(site, "/ws/close?code=4001&reason=go%20away") as socket:
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            theirs = f"{closed.rcvd.code} {closed.rcvd.reason}"
    async with websocket(site, f"/ws/echo?id={identity}") as socket:
        await socket.close(4002, "my turn")
    async with websocket(site, f"/ws/closed?id={identity}") as socket:
        ours = await socket.recv()
    require((theirs, ours) == ("4001 go away", "4002 my turn"), f"{theirs!r} {ours!r}")
    return f"{theirs!r}, {ours!r}"


@each(ENDPOINTS)("websockets to {}: a client that is gone without a close is told to the endpoint (1006)")
async def _(site):
    identity = str(uuid.uuid4())
    async with websocket(site, f"/ws/echo?id={identity}") as socket:
        await socket.send("here")
        await socket.recv()
        socket.transport.abort()
    async with websocket(site, f"/ws/closed?id={identity}") as socket:
        closed = await socket.recv()
    require(closed.strip() == "1006", closed)
    return closed.strip()


@each(ENDPOINTS)("websockets to {}: pings both ways, the endpoint speaks first")
async def _(site):
    async with websocket(site, "/ws/ping") as socket:
        told = await socket.recv()
        await (await socket.ping(b"mine"))
    async with websocket(site, "/ws/first") as socket:
        first = await socket.recv()
    require((told, first) == ("pong are you there", "first"), f"{told!r} {first!r}")
    return f"{told!r}, its pong, {first!r}"


@each(ENDPOINTS)("WebSocket to {}: a message right behind the handshake, in the same segment")
async def _(site):
    handshake = (
        f"GET /ws/echo HTTP/1.1\r\nHost: {site}.test:{PORT}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    frame = bytes([0x81, 0x85, 0, 0, 0, 0]) + b"early"  # text, masked by zeros
    reader, writer = await asyncio.open_connection(f"{site}.test", PORT, ssl=trust(), server_hostname=f"{site}.test")
    writer.write(handshake.encode() + frame)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split()[1])
    require(status == 101, head)
    require(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "not the answer to this key")
    back = await reader.readexactly(7)
    require(back == b"\x81\x05early", back)
    writer.transport.abort()
    return f"{status}, then {back[2:]!r}"


# --- The standard library ----------------------------------------------------------------------


def in_thread(function):
    async def run_it():
        return await asyncio.to_thread(function)

    return run_it


def dial():
    tcp = socket.create_connection(("127.0.0.1", PORT), timeout=20)
    return trust().wrap_socket(tcp, server_hostname="h1.test")


@case("http.client: 60 requests of all kinds on one connection")
@in_thread
def _():
    kinds = [
        ("GET", "/bytes?n=70000", None, 200, 70000),
        ("HEAD", "/bytes?n=70000", None, 200, 0),
        ("POST", "/echo", b"a body", 200, 6),
        ("GET", "/status?code=204", None, 204, 0),
        ("PUT", "/echo", iter([b"in ", b"chunks"]), 200, 9),
        ("GET", "/trailers", None, 200, 7),
    ]
    connection = http.client.HTTPConnection("h1.test", PORT, timeout=20)
    connection.auto_open = False  # it must not dial again
    connection.sock = dial()
    for turn in range(10):
        for method, path, body, status, length in kinds:
            body = iter([b"in ", b"chunks"]) if method == "PUT" else body
            connection.request(method, path, body, {"Host": f"h1.test:{PORT}"})
            answer = connection.getresponse()
            got = (answer.status, len(answer.read()), answer.will_close)
            require(got == (status, length, False), f"turn {turn}, {method} {path}: {got}")
    connection.close()
    return "60 answers"


@case("raw HTTP/1.1: 20 requests in one segment are answered in order")
@in_thread
def _():
    with dial() as tls, tls.makefile("rb") as answers:
        requests = [f"GET /what?{at} HTTP/1.1\r\nHost: h1.test:{PORT}\r\n\r\n" for at in range(19)]
        tls.sendall("".join(requests).encode() + f"GET /what?19 HTTP/1.1\r\nHost: h1.test:{PORT}\r\n"
                    "Connection: close\r\n\r\n".encode())  # fmt: skip
        told = answers.read().decode()
    places = [told.find(f'"url":"/what?{at}"') for at in range(20)]
    require(min(places) > 0 and places == sorted(places), f"places {places}")
    require(told.count("HTTP/1.1 200 ") == 20, "not 20 times 200")
    return "20 answers in order, then the end"


run()
