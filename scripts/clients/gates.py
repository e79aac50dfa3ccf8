"""The gates of node_endpoint.js, opened and awaited straight at the endpoint, past hostmux."""

import json
import urllib.request

ANSWER_WITHIN = 30  # seconds


def _ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_WITHIN) as answer:
        return answer.read()


def open_gate(port, gate):
    _ask(port, f"/open?gate={gate}")


def await_gate(port, gate, count):
    """Until it was opened so often; gives how often it was."""
    return json.loads(_ask(port, f"/await?gate={gate}&n={count}"))["count"]
