"""Headless Chromium, driven over the DevTools protocol through a pipe: the standard library is enough.

It trusts what the CA signed because the CA lies in the certificate store of its
own passing home folder, as it would after a user imported it.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import selectors
import shutil
import subprocess
import time

from trial.hostmux import Failed, Process

COMMAND_WITHIN = 30  # seconds
DOMAIN = "test"  # all names below it are this machine to the browser


def program():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    def __init__(self, folder, ca, *flags):
        self.home = pathlib.Path(folder) / "browser"
        store = self.home / ".pki" / "nssdb"
        store.mkdir(parents=True)
        for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "hostmux trial", "-i", ca]):
            subprocess.run(
                ["certutil", "-d", f"sql:{store}", *map(str, arguments)], check=True, capture_output=True, timeout=30
            )
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        # DevTools reads descriptor 3 and writes 4: ours must be out of their way first.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (theirs_in, theirs_out)]
        self.process = Process(
            ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]} {ends[0]}<&- {ends[1]}>&-', "browser", program(),
             "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1", f"--user-data-dir={self.home / 'profile'}",
             *flags, "--remote-debugging-pipe", "about:blank"],
            self.home, "chromium", env={"HOME": str(self.home)}, pass_fds=ends,
        )  # fmt: skip
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        self.out, self.into = ours_out, ours_in
        self.received, self.events, self.last_id = b"", [], 0
        self.session = None

    def stop(self):
        with contextlib.suppress(OSError):
            os.close(self.out)
            os.close(self.into)
        self.process.stop()

    def open(self, url):
        """A new tab at this address; what happens in it is in `events`."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.command(f"{domain}.enable")
        self.events.clear()
        error = self.command("Page.navigate", url=url).get("errorText")
        if error:
            raise Failed(f"{url}: {error}")

    def close(self):
        self.session = None
        for target in self.command("Target.getTargets")["targetInfos"]:
            if target["type"] == "page":
                self.command("Target.closeTarget", targetId=target["targetId"])

    def value(self, expression):
        """What a JavaScript expression is in the tab."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    def wait_for(self, expression, within):
        """Until the expression is true; gives the seconds that took."""
        began = time.monotonic()
        while not self.value(expression):
            if time.monotonic() - began > within:
                raise Failed(f"not within {within} s: {expression}{self.complaints()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_for_event(self, method, within=COMMAND_WITHIN):
        """The parameters of the first such event since the tab was opened."""
        end = time.monotonic() + within
        while not (found := self.seen(method)):
            self._receive(end, f"no {method}{self.complaints()}")
        return found[0]

    def seen(self, method):
        return [event["params"] for event in self.events if event["method"] == method]

    def complaints(self):
        texts = [
            one["exceptionDetails"].get("exception", {}).get("description", "")
            for one in self.seen("Runtime.exceptionThrown")
        ]
        texts += [f"{one['entry']['text']} {one['entry'].get('url', '')}" for one in self.seen("Log.entryAdded")]
        texts += [one["errorText"] for one in self.seen("Network.loadingFailed")]
        return "".join(f"; {text}" for text in texts[:5])

    def command(self, method, **params):
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + COMMAND_WITHIN
        while True:
            answer = self._receive(end, f"no answer to {method}")
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self, end, otherwise):
        """The next message; events are kept."""
        while b"\0" not in self.received:
            with selectors.DefaultSelector() as selector:
                selector.register(self.into, selectors.EVENT_READ)
                if not selector.select(max(0, end - time.monotonic())):
                    raise Failed(otherwise)
            piece = os.read(self.into, 1 << 16)
            if not piece:
                raise Failed(f"the browser has ended: {self.process.last_words()}")
            self.received += piece
        message, _, self.received = self.received.partition(b"\0")
        message = json.loads(message)
        if "method" in message:
            self.events.append(message)
        return message
