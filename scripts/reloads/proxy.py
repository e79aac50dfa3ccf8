"""A proxy that runs, with all the processes that it has become; how it is asked, changed and ended."""

import contextlib
import fcntl
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import time

from trial.hostmux import Failed, Process, free_ports
from trial.programs import tool

OTHER = "b.test"  # the site that is changed
ASK_WITHIN = 10  # seconds
EFFECT_WITHIN = 10
EXIT_WITHIN = 45  # seconds: more than any drain here
AGAIN_AFTER = 1  # seconds without effect, after which it is told again, if it may miss that
POLL = 0.005  # seconds
ENDED = "ZX"  # states of a process that is dead, but not waited for
BACKLOG = 4096
# Not the numbers that the sockets get in the program that inherits them.
KEPT_FROM = 10
# systemd's way (sd_listen_fds(3)) and nginx's own; HAProxy is told by its configuration.
INHERIT = """
eval "exec 3<&$1 4<&$2 $1<&- $2<&-"; shift 2
LISTEN_PID=$$ LISTEN_FDS=2 NGINX="3;4;" exec "$@"
"""


def await_or_fail(what, within, happened):
    """What `happened` gives, once that is something."""
    end = time.monotonic() + within
    while True:
        if found := happened():
            return found
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {within} s")
        time.sleep(POLL)


def listening(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
        one.listen(BACKLOG)
        return socket.socket(fileno=fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, KEPT_FROM))


def stat(pid):
    """State, parent, group and session of a process (proc(5)); None if it is gone."""
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        state, parent, group, session = text.rpartition(") ")[2].split()[:4]
        return state, int(parent), int(group), int(session)
    return None


def is_alive(pid):
    found = stat(pid)
    return found is not None and found[0] not in ENDED


class Proxy:
    """One that runs: site A as it is, site B with either of two endpoints."""

    ALONE = False  # it takes no upgrade while an old process still has connections
    DRAINS = None  # seconds, after which connections of an old process are ended; None: it waits
    process, main = None, None

    def __init__(self, folder, ports, inherits=False, brief=False):
        self.folder, self.site, self.others = folder, ports[0], ports[1:]
        self.https, self.http = free_ports(2)
        self.sockets = [listening(port) for port in (self.https, self.http)] if inherits else []
        self.turn, self.sessions = 0, set()
        self.brief = brief  # an old process may not stay for long, where that must be said
        self.prepare()
        self.write()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def prepare(self):
        """What is needed besides the configuration."""

    def start(self):
        argv, given = self.argv(), {}
        if self.sockets:
            numbers = [one.fileno() for one in self.sockets]
            argv = [tool("bash"), "-c", INHERIT, "bash", *numbers, *argv]
            given = {"pass_fds": numbers}
        self.process = Process(argv, self.folder, self.name, env=self.environment(), **given)
        self.main = self.process.pid
        self.sessions.add(self.main)
        self.await_start()

    def await_start(self):
        if self.sockets:
            self.await_effect()  # they listen already
        else:
            self.process.await_port(self.https)
            self.process.await_port(self.http)

    def environment(self):
        return {}

    def settle(self):
        """Until it can be told to change, if it cannot always."""

    # The site that is changed.

    def write(self):
        """Writes the configuration, as an editor does."""
        new = self.folder / "new"
        new.write_text(self.configuration(self.others[self.turn]))
        new.chmod(0o600)
        new.replace(self.folder / self.FILE)

    def change(self):
        """Site B gets its other endpoint, in the file."""
        self.turn = 1 - self.turn
        self.write()

    def answers(self):
        """The port of the endpoint that site B's answer comes from."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=ASK_WITHIN)
        with contextlib.closing(connection):
            connection.request("GET", "/port", headers={"Host": OTHER})
            return connection.getresponse().read()

    def await_effect(self, tell_again=lambda: None):
        again = time.monotonic() + AGAIN_AFTER

        def happened():
            nonlocal again
            self.require_alive()
            if time.monotonic() > again:
                again += AGAIN_AFTER
                tell_again()
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.answers() == b"%d" % self.others[self.turn]
            return False

        await_or_fail(f"{self.name} takes over site B", EFFECT_WITHIN, happened)

    # Processes.

    def require_alive(self):
        if not is_alive(self.main):
            raise Failed(f"{self.name} has ended: {self.process.last_words()}")

    def tell(self, sign):
        os.kill(self.main, sign)

    def children(self, pid):
        return [one for one in map(int, filter(str.isdigit, os.listdir("/proc"))) if (stat(one) or (0, 0))[1] == pid]

    def processes(self):
        """All that were started, and what they started, that have not ended."""
        pids = map(int, filter(str.isdigit, os.listdir("/proc")))
        seen = {pid: found for pid in pids if (found := stat(pid)) and found[0] not in ENDED}
        return {pid for pid, found in seen.items() if found[3] in self.sessions or pid == self.main}

    def memory(self):
        """Bytes of memory in use by all of them; what they share counts once."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
        return total

    def restart(self):
        """Ends it as a service manager does, and starts it anew with the same sockets."""
        self.tell(self.STOP)
        try:
            self.process.popen.wait(EXIT_WITHIN)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end within {EXIT_WITHIN} s") from None
        self.start()

    def stop(self):
        """Kills all of it; also what a master starts while its workers are killed."""
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.stop(signal.SIGKILL)
        for one in self.sockets:
            one.close()
