"""nghttp and h2load: tables of what is asked, and what must come."""

import hashlib
import os
import re
import subprocess

from trial.checks import require
from trial.hostmux import MIB

ENDS_WITHIN = 120  # seconds
LOADS = {"--h1": (10_000, 8, 1), "HTTP/2": (20_000, 8, 32)}  # of h2load: requests, clients, streams


def shortened(text):
    """What came, of all that nghttp says of its frames."""
    return " | ".join(line for line in text.splitlines() if "recv (" in line or "RST_STREAM" in line)[-600:]


def received(mux, *options, paths):
    """All that nghttp tells of one connection on which these are asked."""
    argv = ["nghttp", "--verbose", "--timeout=20", *options]
    argv += [f"https://localhost:{mux.https}{path}" for path in paths]
    done = subprocess.run(argv, capture_output=True, timeout=ENDS_WITHIN, check=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode(errors="replace"))
    require(done.returncode == 0 and "Some requests were not processed" not in text, f"{shortened(text)}{done.stderr}")
    require("recv GOAWAY" not in text and "recv RST_STREAM" not in text, f"it was cut: {shortened(text)}")
    return text


def try_nghttp(trial):
    port = trial.http_endpoint()
    mux = trial.hostmux({"localhost": port})
    upload = trial.folder / "upload"
    upload.write_bytes(os.urandom(MIB))
    sha = hashlib.sha256(upload.read_bytes()).hexdigest()

    rows = [  # what, options, paths, how often which text must come
        ("trailers of the answer", [], ["/trailers"], {"x-sum: a7": 1, ":status: 200": 1}),
        ("trailers of the request", [f"--data={upload}", "--trailer=x-sum: a7", "--no-content-length"], ["/hash"], {'{"x-sum":"a7"}': 1, sha: 1}),
        ("and both", [f"--data={upload}", "--trailer=x-sum: a7", "--no-content-length", "--null-out"], ["/echo"], {"x-echo-x-sum: a7": 1}),
        ("103 Early Hints", [], ["/hints"], {":status: 103": 1, ":status: 200": 1}),
        ("100 Continue", ["--expect-continue", f"--data={upload}"], ["/hash"], {":status: 100": 1, sha: 1}),
        ("100 streams", ["--null-out", "--multiply=100"], ["/bytes?n=100000"], {":status: 200": 100}),
        ("HEAD, 204 and a body on one connection", ["--null-out"], ["/status?code=204", "/what", "/bytes?n=9"],
         {":status: 204": 1, ":status: 200": 2, "The negotiated protocol: h2": 1}),
        ("windows of 64 KiB and padding", ["--null-out", "--window-bits=16", "--connection-window-bits=16",
         "--padding=64", f"--data={upload}"], ["/echo?1", "/echo?2"], {":status: 200": 2}),
    ]  # fmt: skip
    for what, options, paths, wanted in rows:
        with trial.checks.check(f"nghttp, {what}") as seen:
            text = received(mux, *options, paths=paths)
            counts = {one: text.count(one) for one in wanted}
            seen(", ".join(f"{one[:20]!r} {count} times" for one, count in counts.items()))
            require(counts == wanted, f"not {list(wanted.values())}: {shortened(text)}")

    kinds = [(f"h2load, {version}, {n} GETs by {c} clients, {m} streams each", "/status?code=200", version, n, c, m, [])
             for version, (n, c, m) in LOADS.items()]  # fmt: skip
    kinds += [
        ("h2load, HTTP/2, 400 echoes of 1 MiB, 20 streams each", "/echo", "HTTP/2", 400, 2, 20, ["-d", str(upload)])
    ]
    kinds += [("h2load, HTTP/2, 500 answers of 64 KiB, 250 streams", "/bytes?n=65536", "HTTP/2", 500, 1, 250, [])]
    for what, path, version, requests, clients, streams, more in kinds:
        with trial.checks.check(what) as seen:
            argv = ["h2load", "-n", requests, "-c", clients, "-m", streams, "-T", 30, "-N", 30, *more]
            argv += ["--h1"] if version == "--h1" else []
            argv += [f"--connect-to=127.0.0.1:{mux.https}", f"https://localhost:{mux.https}{path}"]
            done = subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                                  timeout=ENDS_WITHIN, check=False)  # fmt: skip
            lines = [line for line in done.stdout.splitlines() if line.startswith(("requests:", "status codes:"))]
            seen("; ".join(line.split(": ")[1].split(" total, ")[-1] for line in lines))
            wanted = f"{requests} succeeded, 0 failed, 0 errored, 0 timeout"
            require(done.returncode == 0 and len(lines) == 2, done.stdout[-400:] + done.stderr)
            require(wanted in lines[0] and f"{requests} 2xx" in lines[1], "not all")


def check_trailers_only(trial, mux):
    """A gRPC error at once is one HEADERS frame that ends the stream: clients refuse an empty DATA behind it."""
    message = trial.folder / "message"
    message.write_bytes(bytes([0, 0, 0, 0, 5]) + b"thing")
    fields = [f"--header={one}" for one in ("content-type: application/grpc", "te: trailers")]
    with trial.checks.check("nghttp, an error at once: END_STREAM on its HEADERS") as seen:
        text = received(mux, *fields, f"--data={message}", paths=["/trial.Trial/Fail"])
        heads, pieces = re.findall(r"recv HEADERS frame <.*flags=0x0*([0-9a-f]+)", text), text.count("recv DATA")
        seen(f"{len(heads)} HEADERS with flags {heads}, {pieces} DATA")
        require("grpc-status: 5" in text, f"not NOT_FOUND: {shortened(text)}")
        require(len(heads) == 1 and int(heads[0], 16) & 1 and not pieces, "not so")
