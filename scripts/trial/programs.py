"""The programs that scripts run: hostmux and its load generator, built here, and what the system has."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from .hostmux import ROOT

PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def tool(name):
    return shutil.which(name, path=PATH)


def nginx_user():
    return "user root;" if os.geteuid() == 0 else ""  # else its workers could not read our folder


def build(with_hostmux):
    """Builds hostmux and the load generator; their paths, None for what does not build."""
    # The release build comes last: what is built for a bench target may have other features.
    load = cargo("build", "--release", "--bench", "load")
    hostmux = cargo("build", "--release") if with_hostmux else {}
    return hostmux.get("hostmux"), load.get("load")


def cargo(*arguments):
    command = ["cargo", *arguments, "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{' '.join(command[:-1])} failed", file=sys.stderr)
        return {}
    messages = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return {
        message["target"]["name"]: pathlib.Path(message["executable"])
        for message in messages
        if message["reason"] == "compiler-artifact" and message.get("executable")
    }


def built():
    """What an earlier build left, the newest."""
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
    programs = [path for path in release.glob("deps/load-*") if not path.suffix and os.access(path, os.X_OK)]
    hostmux = release / "hostmux"
    return (
        hostmux if hostmux.exists() else None,
        max(programs, key=lambda path: path.stat().st_mtime, default=None),
    )
