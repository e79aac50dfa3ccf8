"""The cases: what is changed, how often, and what hostmux must keep meanwhile."""

import dataclasses
import time

from trial.hostmux import Failed

BEFORE = 1.0  # seconds of load before the first change
AFTER = 1.5  # and after the last one
# Seconds that connections of an old process are watched, where nothing ends them.
WATCHED = 5
CASE_WITHIN = 100  # seconds


class Stage:
    """A run of a case, as seen by what happens in it."""

    def __init__(self, proxy, clients, times, seconds):
        self.proxy, self.clients = proxy, clients
        self.times, self.seconds = times, seconds
        self.took = []  # seconds, of each change until it had its effect
        self.at = []  # when an old process was told to end, on the monotonic clock
        self.memory = None  # bytes before and after
        self.processes = 0  # at the end

    def turns(self):
        """The number of each change, when it is due; ends early when the time is over."""
        begun = time.monotonic()
        for count in range(self.times):
            time.sleep(max(0, begun + self.seconds * count / self.times - time.monotonic()))
            if time.monotonic() - begun > CASE_WITHIN:
                raise Failed(f"{self.proxy.name}: {count} of {self.times} changes in {CASE_WITHIN} s")
            yield count

    def begin(self, hold):
        self.clients.begin()
        if hold:
            self.clients.hold()
        time.sleep(BEFORE)
        self.memory = [self.proxy.memory()]

    def end(self):
        time.sleep(AFTER)
        self.memory.append(self.proxy.memory())
        self.processes = len(self.proxy.processes())

    def timed(self, change, *how):
        self.proxy.settle()
        began = time.monotonic()
        self.at.append(began)
        change(*how)
        self.took.append(time.monotonic() - began)


def changed(tell):
    """Site B gets its other endpoint, over and over, and the proxy is told."""

    def change(proxy, count):
        proxy.change()
        tell(proxy, count)

    def happen(stage):
        stage.begin(hold=True)
        for count in stage.turns():
            stage.timed(change, stage.proxy, count)
        stage.end()

    return happen


def upgraded(stage):
    proxy = stage.proxy
    stage.begin(hold=not proxy.ALONE)
    for count in stage.turns():
        if count == stage.times - 1:
            proxy.brief = False
            proxy.write()
        stage.timed(proxy.upgrade, count)
    if proxy.ALONE:
        stage.clients.hold()
        time.sleep(BEFORE)
        stage.timed(proxy.upgrade, stage.times)
        time.sleep(WATCHED)
    elif proxy.DRAINS:
        time.sleep(max(0, stage.at[0] + proxy.DRAINS + WATCHED - time.monotonic()))
    stage.end()


def restarted(stage):
    stage.begin(hold=False)
    for _ in stage.turns():
        stage.timed(stage.proxy.restart)
    stage.end()


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    happen: object  # called with the stage
    times: int
    seconds: float  # that the changes are spread over
    keeps: str  # what hostmux keeps: "all" connections, or those that "last" until its drain ends, or requests alone
    needs: str  # a command: the hostmux that knows it knows this case
    alone: bool = False  # of hostmux alone
    inherits: bool = False  # the script holds the listening sockets
    brief: bool = False  # an old process may not stay for long


TOLD = changed(lambda proxy, count: proxy.reload(count))
SEEN = changed(lambda proxy, _: proxy.await_effect())

CASES = {
    "reload": Case("site B changed, and told", TOLD, 100, 20, "all", "reload"),
    "watch": Case("site B changed, not told", SEEN, 100, 20, "all", "reload", alone=True),
    "upgrade": Case("a new binary takes over", upgraded, 20, 20, "last", "upgrade", brief=True),
    "restart": Case("stopped and started", restarted, 20, 15, "requests", "upgrade", inherits=True, brief=True),
}
