"""A hostmux that runs for a trial: built if needed, on free ports, in a passing folder, with its own CA."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
START_WITHIN = 10  # seconds
STOP_WITHIN = 5
BUILD_WITHIN = 1800
ANSWER_WITHIN = 60
PORTS = (20_000, 32_000)
MIB = 1 << 20


class Failed(Exception):
    """Something that was started did not do its work; says what."""


# --- Processes --------------------------------------------------------------------------------


def free_ports(count):
    """Ports that are free now, below those that the system gives to clients, of which there are many here."""
    found = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = random.randrange(*PORTS)
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found


class Process:
    """A program and all that it starts, as one group that ends together; what it says is kept in a file."""

    def __init__(self, argv, folder, name, env=(), **options):
        self.name, self.output = name, pathlib.Path(folder) / f"{name}.log"
        with open(self.output, "ab") as log:
            self.popen = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(env),
                start_new_session=True,
                **({"cwd": folder} | options),
            )

    @property
    def pid(self):
        return self.popen.pid

    def await_port(self, port, within=START_WITHIN):
        """Until it listens there, on IPv4 or IPv6: `localhost` is either to a dev server."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            if self.popen.poll() is not None:
                raise Failed(f"{self.name} ended with {self.popen.returncode}: {self.last_words()}")
            for address in ("127.0.0.1", "::1"):
                with contextlib.suppress(OSError):
                    socket.create_connection((address, port), timeout=1).close()
                    return self
            time.sleep(0.02)
        raise Failed(f"{self.name} does not accept connections on port {port}: {self.last_words()}")

    def last_words(self):
        lines = self.output.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-5:]) or "it said nothing"

    def stop(self, sign=signal.SIGTERM):
        self.signal(sign)
        try:
            self.popen.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        self.signal(signal.SIGKILL)  # what it left behind too
        self.popen.wait()

    def signal(self, sign):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, sign)


# --- hostmux ----------------------------------------------------------------------------------


def program(given=None):
    """The binary to try: the one given, else the release binary, built if anything is newer than it."""
    if given:
        path = pathlib.Path(given).resolve()
        if not os.access(path, os.X_OK):
            raise Failed(f"{path} is no program")
        return path
    if not shutil.which("cargo"):
        raise Failed("cargo is missing: see https://rustup.rs, or give a binary with --binary")
    print("building hostmux (cargo build --release) ...", flush=True)
    done = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "--bin", "hostmux"], cwd=ROOT, timeout=BUILD_WITHIN, check=False
    )
    if done.returncode:
        raise Failed("hostmux could not be built")
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "hostmux"


class Hostmux:
    """Serves the sites on two free ports until it is stopped.

    `sites` maps a name to what stands behind it in `sites.yaml`; `options` are
    those of the process.
    """

    def __init__(self, binary, folder, sites, plain_http="redirect", **options):
        self.folder = pathlib.Path(folder) / "hostmux"
        self.folder.mkdir()
        self.https, self.http = free_ports(2)
        self.ca = self.folder / "state" / "local-ca" / "ca.pem"
        config = self.folder / "sites.yaml"
        config.write_text(
            f'listen: {{ https: "127.0.0.1:{self.https}", http: "127.0.0.1:{self.http}" }}\n'
            "certificates: { directory: certs, otherwise: local_ca }\n"
            f"defaults: {{ plain_http: {plain_http} }}\n"
            "sites:\n" + "".join(f"  {name}: {behind}\n" for name, behind in sites.items())
        )
        (self.folder / "certs").mkdir()
        places = {
            name: str(self.folder / name.split("_")[0].lower()) for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY")
        }
        for place in places.values():
            os.mkdir(place)
        self.process = Process([binary, "run", "-c", config], self.folder, "hostmux", env=places, **options)
        try:
            self.await_ready()
        except Failed:
            self.process.stop()
            raise

    def await_ready(self):
        """Until it says that it listens: only then is its CA there."""
        end = time.monotonic() + START_WITHIN
        while self.process.output.read_text(errors="replace").count('"listening"') < 2:
            if self.process.popen.poll() is not None or time.monotonic() > end:
                raise Failed(f"hostmux does not start: {self.process.last_words()}")
            time.sleep(0.02)

    def site(self, name):
        return Site(self, name)

    def stop(self):
        self.process.stop()

    def complaints(self):
        """What it said that it should not have: panics, errors, and that it was stopped by another."""
        lines = self.process.output.read_text(errors="replace").splitlines()
        return [line for line in lines if "panicked" in line or '"ERROR"' in line or '"draining"' in line]

    def command(self, method, path, body=None):
        """Asks its control socket; what it answers, as data."""
        connection = http.client.HTTPConnection("localhost", timeout=ANSWER_WITHIN)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.settimeout(ANSWER_WITHIN)
            connection.sock.connect(str(self.folder / "runtime" / "hostmux.sock"))
            connection.request(method, path, body and json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            told = json.loads(answer.read() or "null")
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {told}")
        return told

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self):
        """Bytes of memory in use now."""
        return self._status("VmRSS:")

    def peak(self):
        """Bytes of memory in use at most, since the start or the last `forget_peak`."""
        return self._status("VmHWM:")

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # proc(5)

    def cpu(self):
        """Seconds of processor time used since the start, by all threads."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime of proc(5)

    def queued(self):
        """Seconds that its threads were ready and waited for a processor."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9

    def _status(self, field):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise Failed("hostmux has ended: " + self.process.last_words())


class Site:
    """A name as a client sees it, over HTTP/1.1 with TLS."""

    def __init__(self, hostmux, name):
        self.hostmux, self.name = hostmux, name
        self.authority = f"{name}:{hostmux.https}"
        self.url = f"https://{self.authority}"
        self.trust = ssl.create_default_context(cafile=hostmux.ca)

    def connect(self):
        return Connection(self)

    def ask(self, method, path, body=None, headers=()):
        """One request on a connection of its own; the answer, with all of its body."""
        with self.connect() as connection:
            return connection.ask(method, path, body, headers)

    def curl(self, *options, path="/", within=ANSWER_WITHIN, **how):
        """A running curl, its output to be read; `check_curl` ends it."""
        argv = ["curl", "--silent", "--show-error", "--max-time", within, "--cacert", self.hostmux.ca]
        argv += ["--resolve", f"{self.authority}:127.0.0.1", *options, self.url + path]
        return subprocess.Popen(
            [str(word) for word in argv],
            **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how),
        )

    def curl_text(self, *options, **how):
        process = self.curl(*options, **how)
        output, complaint = process.communicate()
        if process.returncode:
            raise Failed(f"curl ended with {process.returncode}: {complaint.decode().strip()}")
        return output.decode(errors="replace")


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def text(self):
        return self.body.decode(errors="replace")


class Connection(http.client.HTTPConnection):
    """A client's connection that stays open between requests; dialled again once hostmux closed it."""

    def __init__(self, site):
        super().__init__(site.name, site.hostmux.https, timeout=ANSWER_WITHIN)
        self.site = site

    def connect(self):
        tcp = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.site.trust.wrap_socket(tcp, server_hostname=self.site.name)

    def ask(self, method, path, body=None, headers=()):
        self.request(method, path, body, dict(headers))
        return Answer(self.getresponse())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def raise_files_max():
    """As many descriptors as the system lets us have: many clients are played here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
