"""What became of a run: requests that failed, whether an endpoint knew of them, whether the log tells of them."""

import collections
import dataclasses
import json

# Of a line of hostmux's log: why a request that had been sent was not sent to another endpoint.
NOT_RETRIED = "not_retried"
# A line that has one of these tells why its request failed.
WHY = ("reason", NOT_RETRIED)
# An endpoint that is killed may leave requests unread that hostmux had sent: so many are chance.
UNREAD_MAX = 3


@dataclasses.dataclass
class Outcome:
    gets: dict
    posts: dict
    failures: list  # as `load steady` tells them, with what else is known
    reached: int  # of the failed POSTs: an endpoint received them
    twice: int  # POSTs that endpoints received more than once
    told: int | None  # of the failed POSTs: the log says why; None: there is no log
    faults: list

    HEAD = (
        "| endpoint | proxy | GETs failed | POSTs failed | an endpoint had them | the log tells | slowest answer | |\n"
        "|---|---|--:|--:|--:|--:|--:|---|"
    )

    def row(self, title, proxy):
        failed = " | ".join(f"{one['failed']:,} of {one['sent']:,}" for one in (self.gets, self.posts))
        slowest = max(one["slowest_s"] for one in (self.gets, self.posts))
        told = "" if self.told is None else f"{self.told:,}"
        verdict = "" if self.told is None else "**FAULT**" if self.faults else "ok"
        return f"| {title} | {proxy} | {failed} | {self.reached:,} | {told} | {slowest:.2f} s | {verdict} |"


def outcome(report, endpoints, log=None, holds=False):
    """Of what the load reports; judged only with hostmux's log."""
    received = collections.Counter(line for endpoint in endpoints for line in endpoint.requests())
    lines = None if log is None else access_lines(log)
    for failure in report["failures"]:
        request = f"{failure['method']} {failure['path']}"
        failure["received"] = received[request]
        if lines is not None:
            failure["log"] = lines.get(request)
    if lines is not None:
        for method in ("GET", "POST"):
            report[method]["slowest_log"] = lines.get(f"{method} {report[method]['slowest']}")
    posts = [failure for failure in report["failures"] if failure["method"] == "POST"]
    twice = sum(count > 1 for request, count in received.items() if request.startswith("POST "))
    told = None if lines is None else sum(tells(failure["log"]) for failure in posts)
    reached = sum(failure["received"] > 0 for failure in posts)
    one = Outcome(report["GET"], report["POST"], report["failures"], reached, twice, told, [])
    if lines is not None:
        one.faults = judged(one, posts, holds)
    return one


def access_lines(log):
    """Each line of the access log, by method and path."""
    lines = {}
    for text in log.read_text(errors="replace").splitlines():
        if text.startswith("{") and '"request_id"' in text:
            line = json.loads(text)
            lines[f"{line.get('method')} {line.get('path')}"] = line
    return lines


def tells(line):
    return line is not None and any(line.get(key) for key in WHY)


def judged(one, posts, holds):
    faults = []
    if one.gets["failed"]:
        faults.append(f"{one.gets['failed']:,} GETs failed")
    if holds and posts:
        faults.append(f"{len(posts):,} POSTs failed, which could have waited")
    unread = [failure for failure in posts if not failure["received"]]
    unsent = sum(not (failure["log"] or {}).get(NOT_RETRIED) for failure in unread)
    if unsent:
        faults.append(f"{unsent:,} POSTs failed that were not sent to an endpoint")
    if len(unread) - unsent > UNREAD_MAX:
        faults.append(f"{len(unread) - unsent:,} POSTs failed that no endpoint had")
    if one.twice:
        faults.append(f"{one.twice:,} POSTs were sent to endpoints twice")
    if one.told < len(posts):
        faults.append(f"{len(posts) - one.told:,} failed POSTs are not told in the log")
    return faults
