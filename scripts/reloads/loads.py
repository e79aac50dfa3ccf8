"""The clients: running load generators, told to end when what is measured has happened."""

import contextlib
import json
import subprocess
import threading
import time

from trial.hostmux import Failed

NAME = "a.test"  # the site that nobody changes
LOAD_MAX = 300  # seconds: a load that nobody ends, ends by itself
REPORT_WITHIN = 60  # seconds, from the moment it is told to end
# Name: clients, connections, requests a second, further options.
STEADY = {
    "TLS": ("h1,h2,new", 24, 240, ()),
    "plain": ("h1,new", 16, 120, ("--plain",)),
}


class Load:
    """A load generator that has opened its connections."""

    def __init__(self, program, port, *options):
        argv = [program, options[0], "--connect", f"127.0.0.1:{port}", "--host", NAME, "--seconds", LOAD_MAX]
        argv += options[1:]
        self.process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,  # ^C is for the script
        )  # fmt: skip
        self.limit = threading.Timer(LOAD_MAX + REPORT_WITHIN, self.process.kill)
        self.limit.daemon = True
        self.limit.start()
        try:
            self._line()
        except BaseException:
            self.kill()
            raise
        self.begun = time.monotonic()

    def end(self):
        """Tells it to end; what it reports."""
        self.process.stdin.close()
        return json.loads(self._line())

    def kill(self):
        self.limit.cancel()
        self.process.kill()
        self.process.wait()

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the load ended: {self.process.stderr.read().strip() or 'out of time'}")
        return line


class Clients:
    """All that ask through one proxy."""

    def __init__(self, program, https, http):
        self.program, self.https, self.http = program, https, http
        self.running = contextlib.ExitStack()
        self.steady, self.lasting = {}, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.running.close()

    def begin(self):
        for name, (clients, connections, rate, more) in STEADY.items():
            port = self.http if more else self.https
            options = ("--clients", clients, "--connections", connections, "--rate", rate, "--till-told", *more)
            self.steady[name] = self._start(port, "steady", *options)

    def hold(self):
        """Opens WebSockets and event streams too."""
        self.lasting = self._start(self.https, "lasting")

    def _start(self, port, *options):
        load = Load(self.program, port, *options)
        self.running.callback(load.kill)
        return load

    def end(self):
        """Their reports: of each steady load by its name, and of what lasted, if anything."""
        steady = {name: load.end() for name, load in self.steady.items()}
        return steady, self.lasting and self.lasting.end()
