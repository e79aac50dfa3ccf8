"""What the Python clients share: a case after another, each told as a line of JSON to the script that started them.

The first argument is JSON: `ca`, the CA's file, and `port`, where hostmux
listens; every name of these sites is this machine.
"""

import asyncio
import json
import socket
import ssl
import sys
import traceback

CASE_WITHIN = 30  # seconds

GIVEN = json.loads(sys.argv[1])
PORT = GIVEN["port"]

CASES = []


def case(what):
    """A case: an async function whose result is told; what it raises fails it."""

    def add(function):
        CASES.append((what, function))
        return function

    return add


def each(values):
    """A case for each of these, with `{}` in its name for the value."""

    def decorate(what):
        def add(function):
            for value in values:
                CASES.append((what.format(value), lambda value=value: function(value)))
            return function

        return add

    return decorate


def require(right, why):
    if not right:
        raise AssertionError(why)


def trust():
    """A context for each client: some write into theirs which protocols they speak."""
    return ssl.create_default_context(cafile=GIVEN["ca"])


def url(name, path, scheme="https"):
    return f"{scheme}://{name}.test:{PORT}{path}"


def this_machine(*arguments, original=socket.getaddrinfo, **options):
    host, *rest = arguments
    ours = host is not None and host[-5:] in (".test", b".test")
    return original("127.0.0.1" if ours else host, *rest, **options)


def run():
    socket.getaddrinfo = this_machine

    async def all_of_them():
        for what, function in CASES:
            told = {"check": what}
            try:
                told["seen"] = await asyncio.wait_for(function(), CASE_WITHIN)
            except Exception as error:  # told as a failure, and the next case goes on
                place = traceback.extract_tb(error.__traceback__)[-1]
                told["failed"] = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
            print(json.dumps(told), flush=True)

    asyncio.run(all_of_them())
