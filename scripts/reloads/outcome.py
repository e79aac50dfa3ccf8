"""What became of a run: requests that failed, connections that were closed, what was lost of those that last."""

import collections
import dataclasses
import statistics

from trial.hostmux import MIB

# A WebSocket that hostmux ends at its drain's end (RFC 6455 §7.4.1: going away).
GOING_AWAY = "closed, 1001"
# A drain may be measured so much shorter than it is: the upgrade is told before it begins.
EARLY = 2  # seconds


@dataclasses.dataclass
class Kept:
    """WebSockets, or event streams."""

    opened: int  # at the beginning
    ended: int
    lost: int  # messages without an echo; bytes that the endpoint sent
    least: float | None  # seconds that any outlived a change; None: none ended
    ends: dict  # how, and how often

    def cell(self):
        if self.ended == 0:
            return "0 · 0"
        return f"{self.ended} · {self.lost:,}" + (f", after {self.least:.1f} s" if self.least is not None else "")


@dataclasses.dataclass
class Outcome:
    sent: int
    failed: int
    clients: dict  # of each kind: sent, failed, opened, told, closed, unserved
    failures: list  # as the load tells them
    told: int  # connections closed, as was announced
    closed: int  # connections closed without a word, between two requests
    unserved: int  # requests that HTTP/2 gave back, and that were sent again
    slowest: float  # seconds, of the answers that came
    took: list  # seconds, of each change
    websockets: Kept | None
    streams: Kept | None
    refused: int  # WebSockets and streams that could not be opened again at once
    memory: list  # bytes before and after
    processes: int
    endpoint: list  # what the endpoint did wrong
    faults: list

    HEAD = (
        "| change | proxy | requests failed | connections closed: told · not | WebSockets ended · messages lost "
        "| event streams ended · bytes lost | a change takes: median, most | slowest answer | memory, processes | |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"
    )

    def row(self, title, proxy, judged):
        lasting = " | ".join("–" if one is None else one.cell() for one in (self.websockets, self.streams))
        took = f"{statistics.median(self.took):.2f} s, {max(self.took):.2f} s" if self.took else "–"
        memory = f"{self.memory[0] / MIB:.0f} → {self.memory[1] / MIB:.0f} MiB, {self.processes}"
        verdict = "" if not judged else "**FAULT**" if self.faults else "ok"
        return (
            f"| {title} | {proxy} | {self.failed:,} of {self.sent:,} | {self.told:,} · {self.closed:,} | {lasting} "
            f"| {took} | {self.slowest:.2f} s | {memory} | {verdict} |"
        )

    def why(self):
        """The failures, alike ones together."""
        counts = collections.Counter(f"{one['client']}: {one['why']}" for one in self.failures)
        return [f"{count:,} × {text}" for text, count in counts.most_common()]


def outcome(stage, reports, notes, keeps=None):
    """Of what the loads report; judged only if it is told what is to be kept."""
    steady, lasting = reports
    clients = {f"{kind} {load}": count for load, one in steady.items() for kind, count in one["clients"].items()}
    failures = [
        failure | {"client": f"{failure['protocol']} {load}"}
        for load, one in steady.items()
        for failure in one["failures"]
    ]
    words = ("sent", "failed", "told", "closed", "unserved")
    sums = {word: sum(one[word] for one in clients.values()) for word in words}
    slowest = max(one[method]["slowest_s"] for one in steady.values() for method in ("GET", "POST"))
    websockets = streams = None
    if lasting:
        # The changes, as seconds on the load's clock.
        at = [moment - stage.clients.lasting.begun for moment in stage.at]
        sent = dict(line.split()[1:] for line in notes if line.startswith("sent "))
        websockets = kept([life for life in lasting["lives"] if life["kind"] == "WebSocket"], at)
        streams = kept([life for life in lasting["lives"] if life["kind"] != "WebSocket"], at, sent)
    one = Outcome(
        **sums,
        clients=clients,
        failures=failures,
        slowest=slowest,
        took=stage.took,
        websockets=websockets,
        streams=streams,
        refused=lasting["refused"] if lasting else 0,
        memory=stage.memory,
        processes=stage.processes,
        endpoint=[line.removeprefix("failure ") for line in notes if line.startswith("failure ")],
        faults=[],
    )
    if keeps:
        one.faults = judged(one, keeps, stage.proxy.DRAINS)
    return one


def kept(lives, changes, sent=None):
    """Of those that lived at some time; `sent`: the bytes that the endpoint sent, by name."""
    ended = [life for life in lives if life["ended"] is not None]

    def outlived(life):
        """Seconds from the first change that it saw to its end."""
        seen = [at for at in changes if life["opened_s"] <= at <= life["ended_s"]]
        return life["ended_s"] - min(seen, default=life["ended_s"])

    if sent is None:
        lost = sum(life["lost"] for life in lives)
    else:
        lost = sum(max(0, int(sent.get(life["name"], 0)) - life["bytes"]) for life in ended)
    return Kept(
        opened=sum(life["name"].endswith("-0") for life in lives),
        ended=len(ended),
        lost=lost,
        least=min(map(outlived, ended), default=None),
        ends=dict(collections.Counter(life["ended"] for life in ended)),
    )


def judged(one, keeps, drains):
    faults = []
    if one.failed:
        faults.append(f"{one.failed:,} requests failed")
    lasting = {"WebSockets": one.websockets, "event streams": one.streams}
    if keeps == "all":
        if one.told + one.closed:
            faults.append(f"{one.told + one.closed:,} connections were closed")
        for name, held in lasting.items():
            if held.ended or held.lost:
                faults.append(f"{held.ended:,} {name} ended, {held.lost:,} lost: {held.ends}")
    if keeps == "last":
        held = one.websockets
        if wrong := {how: count for how, count in held.ends.items() if how != GOING_AWAY}:
            faults.append(f"WebSockets were not told that it goes away: {wrong}")
        if held.least is not None and held.least < drains - EARLY:
            faults.append(f"a WebSocket was ended {held.least:.1f} s after an upgrade, not {drains} s")
        if held.lost > held.ended:  # of each, one may have been under way when it was ended
            faults.append(f"{held.lost:,} messages of {held.ended} WebSockets were lost")
    return faults
