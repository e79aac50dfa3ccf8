"""curl: a table of what is asked by which version, and what is right."""

import hashlib
import json
import os
import re
import subprocess

from clients.gates import open_gate
from trial.checks import require
from trial.hostmux import MIB, free_ports

ENDS_WITHIN = 120  # seconds
BIG = 16 * MIB
ALL = ("--http1.0", "--http1.1", "--http2")
NEWER = ALL[1:]


class Curled:
    """What one run of curl gave. `head` is every status line and field that came, trailers too, in lower case."""

    def __init__(self, process, given=None):
        self.body, verbose = process.communicate(given, timeout=ENDS_WITHIN)
        *told, last = verbose.decode(errors="replace").splitlines()
        self.info = json.loads(last)
        self.head = [line[2:].strip().lower() for line in told if line.startswith("< ")]
        self.exit, self.status = process.returncode, self.info["http_code"]

    def __str__(self):
        complaint = f", curl says {self.exit}: {self.info['errormsg']}" if self.exit else ""
        return f"{self.status} over HTTP/{self.info['http_version']}, {len(self.body)} bytes{complaint}"

    def json(self):
        return json.loads(self.body)

    def has(self, line):
        return line.lower() in self.head

    def interim(self, status):
        return any(line.split()[1:2] == [str(status)] for line in self.head if line.startswith("http/"))


def curl(site, *options, path, given=None):
    how = ("--verbose", "--write-out", "%{stderr}\n%{json}")
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    return Curled(site.curl(*how, *options, path=path, stdin=stdin), given)


def pattern(first, last):
    """The bytes of `/bytes` of node_endpoint.js."""
    return bytes((at % 65536 * 7 + (at % 65536 >> 8)) & 255 for at in range(first, last))


EXPECT = ("--header", "Expect: 100-continue", "--expect100-timeout", "20")
UP = "big"  # stands for the name of a file of BIG bytes
# What is asked, by which versions, with which options and path; whether the standard input is the file; what is right.
ROWS = [
    ("GET", ALL, [], "/what?a=%7Eb&c=/../d", False, lambda a, _: a.json()["url"] == "/what?a=%7Eb&c=/../d"),
    ("HEAD", ALL, ["--head", "--output", "/dev/null"], "/bytes?n=1000", False,
     lambda a, _: a.has("content-length: 1000") and a.info["size_download"] == 0),
    ("POST", ALL, ["--data", "a=b"], "/echo", False, lambda a, _: a.body == b"a=b"),
    ("PUT of a big file", ALL, ["--upload-file", UP], "/hash", False, lambda a, sha: a.json()["sha256"] == sha),
    ("POST from stdin", NEWER, ["--request", "POST", "--upload-file", "-"], "/hash", True,
     lambda a, sha: a.json()["sha256"] == sha),
    ("a big body there and back", NEWER, ["--data-binary", f"@{UP}"], "/echo", False,
     lambda a, sha: hashlib.sha256(a.body).hexdigest() == sha),
    ("a big body after 100 Continue", NEWER, [*EXPECT, "--data-binary", f"@{UP}"], "/hash", False,
     lambda a, sha: a.interim(100) and a.json()["sha256"] == sha),
    ("a big body refused instead of 100 Continue", NEWER, [*EXPECT, "--data-binary", f"@{UP}"], "/refuse", False,
     lambda a, _: a.status == 413 and not a.interim(100) and a.info["size_upload"] == 0),
    ("a big body refused before its end", ALL, ["--header", "Expect:", "--data-binary", f"@{UP}"], "/refuse", False,
     lambda a, _: a.status == 413 and a.body == b"too large for this endpoint\n"),
    ("a body of unknown length refused before its end", NEWER,
     ["--header", "Expect:", "--request", "POST", "--upload-file", "-"], "/refuse", True,
     lambda a, _: a.status == 413 and a.body == b"too large for this endpoint\n"),
    ("16 MiB down", ALL, [], f"/bytes?n={BIG}", False, lambda a, _: len(a.body) == BIG),
    ("a range", ALL, ["--range", "65000-66999"], f"/bytes?n={BIG}", False,
     lambda a, _: a.status == 206 and a.body == pattern(65000, 67000)),
    ("a range past the end", ALL, ["--range", "9000-"], "/bytes?n=1000", False,
     lambda a, _: a.status == 416 and a.has("content-range: bytes */1000")),
    ("204", ALL, [], "/status?code=204", False, lambda a, _: a.status == 204 and not a.body),
    ("304", ALL, ["--header", 'If-None-Match: "1000"'], "/bytes?n=1000", False,
     lambda a, _: a.status == 304 and not a.body and a.has('etag: "1000"')),
    ("trailers", NEWER, ["--header", "TE: trailers", "--include"], "/trailers", False,
     lambda a, _: a.body.lower().endswith(b"\r\n\r\na body\nx-sum: a7\r\n")),
    ("103 Early Hints", NEWER, [], "/hints", False,
     lambda a, _: a.interim(103) and a.has("link: </hinted.css>; rel=preload; as=style") and a.status == 200),
    ("OPTIONS *", NEWER, ["--request", "OPTIONS", "--request-target", "*"], "/", False,
     lambda a, _: a.status == 204 and a.has("x-target: *")),
    ("a path as it was written", ALL, ["--path-as-is"], "/what/%2e%2E/b//c;d/%7e?q=%7E+%20", False,
     lambda a, _: a.json()["url"] == "/what/%2e%2E/b//c;d/%7e?q=%7E+%20"),
]  # fmt: skip


def check_rows(trial, site):
    big = trial.folder / "upload"
    data = os.urandom(BIG)
    big.write_bytes(data)
    sha = hashlib.sha256(data).hexdigest()
    for what, versions, options, path, by_stdin, right in ROWS:
        for version in versions:
            with trial.checks.check(f"{site.name}, {version.lstrip('-')}, {what}") as seen:
                words = [word.replace(UP, str(big)) if word in (UP, f"@{UP}") else word for word in options]
                answer = curl(site, version, *words, path=path, given=data if by_stdin else None)
                seen(str(answer))
                require(answer.exit == 0, f"head {answer.head[:8]}")
                require(version[6:] in ("1.0", answer.info["http_version"]), "by another version")
                require(right(answer, sha), f"not right: head {answer.head[:12]}, body {answer.body[:200]!r}")


def check_events(trial, site, port):
    for version in ALL:
        with trial.checks.check(
            f"{site.name}, {version.lstrip('-')}, each event is there before the next is sent"
        ) as seen:
            gate = f"events{version}{site.name}"
            process = site.curl("--no-buffer", version, path=f"/events?n=5&gate={gate}", within=30)
            got = []
            for line in process.stdout:
                if line.startswith(b"data: "):
                    got.append(int(line[6:]))
                    open_gate(port, gate)
            process.wait(ENDS_WITHIN)
            seen(f"{len(got)} events, curl ended with {process.returncode}")
            require(got == [0, 1, 2, 3, 4] and process.returncode == 0, f"{got} {process.stderr.read()}")


def check_too_large(trial, small):
    data = os.urandom(BIG)
    for version in NEWER:
        for what, options in (("known", ["--data-binary", "@-"]), ("unknown", ["--upload-file", "-"])):
            with trial.checks.check(f"over max_body, {version.lstrip('-')}, {what} length: hostmux's own 413") as seen:
                answer = curl(small, version, "--header", "Expect:", *options, path="/hash", given=data)
                seen(str(answer))
                require(answer.exit == 0 and answer.status == 413, f"head {answer.head[:8]}")


def check_plain(trial, authority):
    with trial.checks.check("plain http, curl --http2: `Upgrade: h2c` is dropped, the request served") as seen:
        argv = [
            "curl",
            "--silent",
            "--show-error",
            "--http2",
            "--max-time",
            "20",
            "--resolve",
            f"{authority}:127.0.0.1",
        ]
        told = subprocess.run(
            [*argv, f"http://{authority}/what"], capture_output=True, timeout=ENDS_WITHIN, check=False
        )
        require(told.returncode == 0, told.stderr)
        fields = json.loads(told.stdout)["headers"]
        seen(f"the endpoint saw {sorted(fields)}")
        require(not {"upgrade", "http2-settings"} & set(fields), "it saw the upgrade")


def check_many(trial, site):
    for version in NEWER:
        with trial.checks.check(
            f"{version.lstrip('-')}, 40 URLs, in parallel over one connection where that can be"
        ) as seen:
            each = [f"{site.url}/what?{at}" for at in range(40)]
            parallel = ["--parallel", "--parallel-max", "40"] if version == "--http2" else []
            out = ["--write-out", "%{stderr}=%{num_connects} %{http_code}\n"]
            process = site.curl(version, *parallel, *out, *each, path="/what")
            body, told = process.communicate(timeout=ENDS_WITHIN)
            counts = re.findall(r"=(\d+) (\d+)\n", told.decode())
            seen(f"{len(counts)} answers, {sum(int(connects) for connects, _ in counts)} connections")
            require([status for _, status in counts] == ["200"] * 41, f"{counts[:5]}")
            require(version == "--http2" or sum(int(connects) for connects, _ in counts) == 1, "not kept alive")
            require(all(body.count(f'"/what?{at}"'.encode()) == 1 for at in range(40)), "answers are mixed up")


def check_websocket(trial, site):
    features = subprocess.run(["curl", "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if " wss" not in features:
        trial.checks.skip("WebSocket by curl", "this curl is built without it (no `wss` in curl --version)")
        return
    with trial.checks.check("WebSocket by curl: the endpoint speaks first") as seen:
        argv = ["curl", "--silent", "--no-buffer", "--max-time", "10", "--cacert", site.hostmux.ca]
        argv += ["--resolve", f"{site.authority}:127.0.0.1", f"wss://{site.authority}/ws/first"]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            seen(repr(got := process.stdout.read(5)))
            process.kill()
        require(got == b"first", "something else came")


# --- The groups --------------------------------------------------------------------------------


def try_curl(trial):
    port = trial.http_endpoint()
    mux = trial.hostmux(
        {
            "h1.test": port,
            "small.test": f"{{ upstream: {port}, max_body: 1MiB }}",
            "plain.test": f"{{ upstream: {port}, plain_http: serve }}",
        }
    )
    site = mux.site("h1.test")
    check_rows(trial, site)
    check_events(trial, site, port)
    check_too_large(trial, mux.site("small.test"))
    check_plain(trial, f"plain.test:{mux.http}")
    check_many(trial, site)
    check_websocket(trial, site)


def try_h2c(trial):
    plain, http2 = free_ports(2)
    trial.node("http", plain, "h2c", http2, port=http2)
    behind_http2(trial, trial.hostmux({"h2c.test": f"h2c://{http2}"}).site("h2c.test"), plain)


def try_https(trial):
    key, certificate = trial.folder / "key.pem", trial.folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=far.test", "-addext", "subjectAltName=DNS:far.test", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    plain, tls = free_ports(2)
    trial.node("http", plain, "tls", tls, key, certificate, port=tls)
    trusts = {
        "far.test": f"{{ ca: {certificate}, name: far.test }}",
        "unknown.test": "{ name: far.test }",
        "misnamed.test": f"{{ ca: {certificate}, name: near.test }}",
    }
    endpoints = f"endpoints: ['https://127.0.0.1:{tls}']"
    mux = trial.hostmux({name: f"{{ upstream: {{ {endpoints}, tls: {trust} }} }}" for name, trust in trusts.items()})
    behind_http2(trial, mux.site("far.test"), plain)
    for name, why in (("unknown.test", "that no known CA signed"), ("misnamed.test", "for another name")):
        with trial.checks.check(f"{name}: an endpoint's certificate {why} is refused") as seen:
            answer = curl(mux.site(name), path="/what")
            seen(str(answer))
            require(answer.status == 502, answer.body[:200])


def behind_http2(trial, site, gates):
    check_rows(trial, site)
    check_events(trial, site, gates)
    with trial.checks.check("the endpoint is spoken to by HTTP/2") as seen:
        version = curl(site, path="/what").json()["version"]
        seen(version)
        require(version == "2.0", "it is not")
