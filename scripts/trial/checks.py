"""Checks, told as they are made: a line for each, `ok` or `FAILED`, and what was seen."""

import contextlib
import signal
import sys
import time


class Wrong(Exception):
    """What was seen is not what should have been; says why."""


def require(right, why):
    if not right:
        raise Wrong(why)


class Checks:
    def __init__(self):
        self.passed, self.failed = 0, []
        self.title = ""

    @contextlib.contextmanager
    def group(self, title):
        """Checks that belong together; what ends the group early is one failure."""
        self.title = title
        print(f"\n{title}", flush=True)
        try:
            yield
        except Exception as error:  # told as a failure, and the other groups go on
            self._tell(False, "the rest of these checks", f"{type(error).__name__}: {error}")

    @contextlib.contextmanager
    def check(self, what):
        """One check. It gets a function to tell what was seen; an exception fails it."""
        seen = []
        began = time.monotonic()
        try:
            yield seen.append
        except Exception as error:  # told as a failure, and the next check goes on
            name = "" if isinstance(error, Wrong) else f"{type(error).__name__}: "
            self._tell(False, what, "; ".join([*seen, f"{name}{error}"]))
        else:
            self._tell(True, what, "; ".join(seen) or f"{time.monotonic() - began:.1f} s")

    def skip(self, what, why):
        """A check that cannot be made here."""
        print(f"  skipped {what}: {why}", flush=True)

    def _tell(self, right, what, seen):
        if right:
            self.passed += 1
        else:
            self.failed.append(f"{self.title}: {what}")
        print(f"  {'ok    ' if right else 'FAILED'}  {what}: {seen}", flush=True)

    def end(self):
        """The sum, and the exit code."""
        print(f"\n{self.passed} ok, {len(self.failed)} failed")
        for one in self.failed:
            print(f"  {one}")
        return 1 if self.failed else 0


def end_within(seconds):
    """Lets TERM, and this much time, end the script as Ctrl-C does: all that was started is stopped."""

    def leave(number, _frame):
        signal.alarm(0)
        sys.exit("out of time" if number == signal.SIGALRM else "stopped")

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGALRM, leave)
    signal.alarm(seconds)
