"""Chromium: scripts in a page, each with what it gives, and 5,000 modules."""

import collections
import contextlib
import json
import re

from clients.gates import await_gate
from trial import browser
from trial.checks import require
from trial.hostmux import MIB

BIG = 16 * MIB
MODULES = 5000  # as in node_endpoint.js
RELOADS = 4

# Each is the body of an async function in the page; `open` and `opened` are gates of the endpoint.
IN_THE_PAGE = """
const open = (gate) => fetch(`/open?gate=${gate}`, { method: 'POST' });
const opened = async (gate, n = 1) => {
  const answer = await fetch(`/await?gate=${gate}&n=${n}`);
  if (!answer.ok) throw new Error(await answer.text());
};
const next = (socket) => new Promise((resolve, reject) => {
  socket.onmessage = (event) => resolve(event.data);
  socket.onerror = () => reject(new Error('the socket failed'));
  socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
});
"""
PAGE_ROWS = [  # what, the script, what it gives
    ("EventSource: each event is there before the next is sent", """
        const source = new EventSource('/events?n=5&gate=page-events'), seen = [];
        await new Promise((resolve, reject) => {
          source.onerror = () => reject(new Error(`after ${seen}`));
          source.onmessage = (event) => {
            if (seen.push(event.data) === 5) resolve();
            open('page-events');
          };
        });
        source.close();
        return seen.join(' ');""", "0 1 2 3 4"),
    ("fetch: each line is there before the next is sent", """
        const reader = (await fetch('/lines?n=5&gate=page-lines')).body.pipeThrough(new TextDecoderStream()).getReader();
        let text = '';
        for (let piece; !(piece = await reader.read()).done; await open('page-lines')) text += piece.value;
        return text.split('\\n').join(' ');""", "0 1 2 3 4 "),
    ("fetch: each line of an upload is at the endpoint before the next is sent", """
        let at = 0;
        const body = new ReadableStream({ async pull(controller) {
          if (at > 0) await opened('page-upload', at);
          if (at++ === 5) return controller.close();
          controller.enqueue(new TextEncoder().encode('line\\n'));
        } }, { highWaterMark: 0 });
        const answer = await fetch('/collect?gate=page-upload', { method: 'POST', body, duplex: 'half' });
        return (await answer.json()).bytes;""", 25),
    ("fetch: 16 MiB up, and 16 MiB down", f"""
        const data = new Uint8Array({BIG}).map((_, at) => at * 31 + (at >> 13));
        const hex = async (bytes) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))]
          .map((byte) => byte.toString(16).padStart(2, '0')).join('');
        const up = await (await fetch('/hash', {{ method: 'POST', body: new Blob([data]) }})).json();
        const down = new Uint8Array(await (await fetch('/bytes?n={BIG}')).arrayBuffer());
        const right = down.every((byte, at) => byte === ((at % 65536 * 7 + (at % 65536 >> 8)) & 255));
        return up.sha256 === await hex(data) && down.length === {BIG} && right;""", True),
    ("fetch: an aborted request frees the endpoint", """
        const abort = new AbortController();
        fetch('/hold?gate=page-hold', { signal: abort.signal }).catch(() => {});
        await opened('page-hold asked');
        abort.abort();
        await opened('page-hold');
        return 'freed';""", "freed"),
    ("WebSocket: the endpoint speaks first, text, 4 MiB, close code from us", """
        const socket = new WebSocket(`wss://${location.host}/ws/first?id=page`, ['v1', 'v2']);
        socket.binaryType = 'arraybuffer';
        const seen = [await next(socket), socket.protocol];
        socket.send('grüße');
        seen.push(await next(socket));
        const data = new Uint8Array(4 << 20).map((_, at) => at * 31 + (at >> 13));
        socket.send(data);
        const back = new Uint8Array(await next(socket));
        seen.push(back.length === data.length && back.every((byte, at) => byte === data[at]));
        const closed = new Promise((resolve) => (socket.onclose = (event) => resolve(event.code)));
        socket.close(4002, 'my turn');
        seen.push(await closed, await next(new WebSocket(`wss://${location.host}/ws/closed?id=page`)));
        return seen.join(', ');""", "first, v2, grüße, true, 4002, 4002 my turn"),
    ("WebSocket: close code from the endpoint", """
        const socket = new WebSocket(`wss://${location.host}/ws/close?code=4001&reason=go%20away`);
        const event = await new Promise((resolve) => (socket.onclose = resolve));
        return `${event.code} ${event.reason} ${event.wasClean}`;""", "4001 go away true"),
    ("WebSocket: 20 sockets at once, 50 messages each", """
        const one = async () => {
          const socket = new WebSocket(`wss://${location.host}/ws/first`);
          await next(socket);
          for (let at = 0; at < 50; at++) {
            socket.send(at);
            if (await next(socket) !== `${at}`) throw new Error(`at ${at}`);
          }
          socket.onclose = null;
          socket.close();
          return 50;
        };
        return (await Promise.all(Array.from({ length: 20 }, one))).reduce((sum, one) => sum + one);""", 1000),
]  # fmt: skip


def try_chromium(trial):
    port = trial.http_endpoint()
    mux = trial.hostmux({"h1.test": port})
    site = mux.site("h1.test")
    log = trial.folder / "netlog.json"
    chromium = browser.Browser(trial.folder, mux.ca, f"--log-net-log={log}")
    stop_once = contextlib.ExitStack()
    stop_once.callback(chromium.stop)
    trial.at_end.push(stop_once)

    with trial.checks.check("a page loads by h2, and is secure") as seen:
        chromium.open(site.url + "/page")
        chromium.wait_for("document.querySelector('h1')?.textContent === 'a page'", 30)
        page = document(chromium)
        seen(f"{page['status']} by {page['protocol']}, {page['securityState']}")
        require((page["status"], page["protocol"], page["securityState"]) == (200, "h2", "secure"), "not so")

    for what, body, wanted in PAGE_ROWS:
        with trial.checks.check(what) as seen:
            script = f"(async () => {{ {IN_THE_PAGE} {body} }})().catch((error) => `failed: ${{error.message}}`)"
            got = chromium.value(script)
            seen(f"{got}"[:80])
            require(got == wanted, f"not {wanted!r}{chromium.complaints()}")

    with trial.checks.check("all of these WebSockets went over HTTP/2 (RFC 8441)") as seen:
        answered = [one["response"]["status"] for one in chromium.seen("Network.webSocketHandshakeResponseReceived")]
        lines = [line for line in access_lines(mux) if line["path"].startswith("/ws/")]
        seen(
            f"{dict(collections.Counter(line['protocol'] for line in lines))} in the access log, answered {set(answered)}"
        )
        require(lines and {line["protocol"] for line in lines} == {"HTTP/2.0"}, "not by the access log")

    with trial.checks.check("103 Early Hints are taken as such, the page behind them is whole") as seen:
        # Whether it then preloads the style is its own decision: under load it does not.
        chromium.open(site.url + "/hints")
        chromium.wait_for("getComputedStyle(document.querySelector('h1')).color === 'rgb(0, 128, 0)'", 30)
        hints = {name.lower(): value for name, value in early_hints(chromium)["headers"].items()}
        seen(f"link: {hints.get('link')}, then {document(chromium)['status']}")
        require(hints.get("link") == "</hinted.css>; rel=preload; as=style", f"{hints}")

    with trial.checks.check(f"{MODULES} modules, reloaded {RELOADS} times amid loading, on one connection") as seen:
        chromium.close()
        chromium.open(site.url + "/modules/")
        asked = 0
        for turn in range(RELOADS):
            asked = await_gate(port, "modules", asked + 500 * (turn + 1))
            chromium.command("Page.reload", ignoreCache=True)
        took = chromium.wait_for("globalThis.complete === true", 60)
        count = chromium.value("globalThis.modules")
        answers = [one["response"] for one in chromium.seen("Network.responseReceived")]
        connections = {one["connectionId"] for one in answers if "/modules" in one["url"]}
        seen(f"{count} modules complete {took:.1f} s after the last reload, {len(answers)} answers in all")
        seen(f"{len(connections)} connection")
        require(count == MODULES, f"not {MODULES}{chromium.complaints()}")
        require(len(connections) == 1, "the connection did not last")

    with trial.checks.check("no connection is ended as abused, by the browser's own log") as seen:
        stop_once.close()
        goaways = net_events(log, "HTTP2_SESSION_RECV_GOAWAY")
        codes = [one["params"]["error_code"] for one in goaways]
        seen(f"{len(net_events(log, 'HTTP2_SESSION_INITIALIZED'))} sessions, GOAWAY {codes or 'none'}")
        # An idle connection may end by one with NO_ERROR; those above are held to one connection.
        require(not [code for code in codes if not code.startswith("0 ")], f"{goaways}")


def net_events(log, name):
    """The events of this name in Chromium's netlog: an event is a line."""
    lines = log.read_text(errors="replace").splitlines()
    number = next(re.search(rf'"{name}":(\d+)', line)[1] for line in lines if f'"{name}":' in line)
    return [json.loads(line.rstrip(",")) for line in lines if re.search(rf'"type":{number}}},?$', line)]


def early_hints(chromium):
    return chromium.wait_for_event("Network.responseReceivedEarlyHints")


def document(chromium):
    return next(one for one in chromium.seen("Network.responseReceived") if one["type"] == "Document")["response"]


def access_lines(mux):
    """The access log so far."""
    lines = mux.process.output.read_text(errors="replace").splitlines()
    return [told for line in lines if line.startswith("{") and "protocol" in (told := json.loads(line))]
