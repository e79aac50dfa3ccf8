"""The cases: what goes wrong with an endpoint, and when."""

import dataclasses
import pathlib
import signal
import sys
import time

from trial.hostmux import MIB, Process

PROGRAM = pathlib.Path(__file__).resolve().parent / "endpoint.py"
# Seconds from the beginning of the load; between two requests of either rate, or one
# would always be sent at the very moment.
WELL_UNTIL = 2.0025
DOWN = 3
FAULTY = 4
SECONDS = 12
CHANGES = 1000  # each of them twice
GROWTH_MAX = 2 * MIB
DESCRIPTORS_MAX = 64  # as many as there are clients: connections to endpoints come and go
RATE = 600  # requests a second: with everything on them, two cores are a quarter busy


class Endpoint:
    """One that runs, on a port that it keeps; it can be made to fail."""

    def __init__(self, folder, name, port, fault):
        self.folder, self.name, self.port, self.fault = folder, name, port, fault
        self.received = folder / f"{name}.received"
        self.start()

    def start(self):
        argv = [sys.executable, PROGRAM, self.port, self.received, self.fault]
        self.process = Process(argv, self.folder, self.name)
        self.process.await_port(self.port)

    def tell(self, sign):
        self.process.signal(sign)

    def end(self, sign=signal.SIGKILL):
        self.process.stop(sign)

    def requests(self):
        """All that it received, as `METHOD /PATH`."""
        return self.received.read_text().splitlines()


@dataclasses.dataclass
class Stage:
    """A run of a case, as seen by what happens in it."""

    name: str  # the site's
    endpoints: list
    proxy: object
    begun: float

    def at(self, second):
        """Waits until the load has lasted so long."""
        time.sleep(max(0, self.begun + second - time.monotonic()))


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    happen: object  # called with the stage, once the load has begun; gives what was wrong besides, if anything
    endpoints: int = 2
    rate: int = RATE
    fault: str = "none"  # of the first endpoint: see endpoint.py
    holds: bool = False  # hostmux must not fail a POST either
    alone: bool = False  # of hostmux alone


def killed(stage):
    stage.at(WELL_UNTIL)
    stage.endpoints[0].end()
    stage.at(WELL_UNTIL + DOWN)
    stage.endpoints[0].start()


def restarted(stage):
    stage.at(WELL_UNTIL)
    stage.endpoints[0].end(signal.SIGTERM)
    stage.at(WELL_UNTIL + DOWN)
    stage.endpoints[0].start()


def between(wrong, right):
    """The first endpoint gets one signal, and later the other."""

    def happen(stage):
        stage.at(WELL_UNTIL)
        stage.endpoints[0].tell(wrong)
        stage.at(WELL_UNTIL + FAULTY)
        stage.endpoints[0].tell(right)

    return happen


def changed(stage):
    """The second endpoint is removed and added, over and over, and its health check with it."""
    hostmux, port = stage.proxy.hostmux, stage.endpoints[1].port
    path, change = f"/v1/sites/{stage.name}/endpoints", {"endpoints": [str(port)], "runtime": True}

    def turn():
        hostmux.command("DELETE", path, change)
        hostmux.command("POST", path, change)

    before = None
    for count in range(CHANGES):
        stage.at(1 + (SECONDS - 2) * count / CHANGES)
        turn()
        if count == CHANGES // 10:  # by now everything has grown that grows once
            before = hostmux.memory(), hostmux.descriptors()
    after = hostmux.memory(), hostmux.descriptors()
    asked = hostmux.command("GET", "/v1/status")["health_checks"]
    print(
        f"  {CHANGES:,} times removed and added: {(after[0] - before[0]) / MIB:+.1f} MiB, "
        f"{after[1] - before[1]:+} descriptors, {asked} health checks at the end",
        file=sys.stderr,
    )
    wrong = []
    if after[0] - before[0] > GROWTH_MAX:
        wrong.append(f"it has grown by {(after[0] - before[0]) / MIB:.1f} MiB")
    if after[1] - before[1] > DESCRIPTORS_MAX:
        wrong.append(f"it has {after[1] - before[1]} descriptors more")
    if asked != len(stage.endpoints):
        wrong.append(f"{asked} endpoints are asked whether they are well")
    return wrong


FAILS = between(signal.SIGUSR1, signal.SIGUSR2)

CASES = {
    "kill": Case(f"SIGKILL, started again {DOWN} s later", killed),
    "stop": Case(f"SIGSTOP, SIGCONT {FAULTY} s later", between(signal.SIGSTOP, signal.SIGCONT)),
    "reset": Case(f"resets every connection, for {FAULTY} s", FAILS, fault="reset"),
    "mute": Case(f"accepts and never answers, for {FAULTY} s", FAILS, fault="mute"),
    "503": Case(f"answers 503 to everything, for {FAULTY} s", FAILS, fault="503"),
    "restart": Case(f"the only endpoint restarted, down {DOWN} s", restarted, endpoints=1, rate=200, holds=True),
    "change": Case(f"one of two removed and added {CHANGES:,} times", changed, holds=True, alone=True),
}
