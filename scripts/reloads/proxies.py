"""The proxies, each configured to lose as little as it can, and told to change as its manual says."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

from failures.proxies import CORES, certificate
from trial.hostmux import START_WITHIN, Failed
from trial.programs import nginx_user, tool

from .loads import NAME
from .proxy import EFFECT_WITHIN, EXIT_WITHIN, OTHER, Proxy, await_or_fail, is_alive

UPGRADE_WITHIN = 15  # seconds


class Nginx(Proxy):
    name, needs, FILE, STOP = "nginx", "nginx", "nginx.conf", signal.SIGQUIT
    ALONE = True
    before = None  # the master that was upgraded
    settings = (
        "reload by HUP; upgrade by USR2, then QUIT to the old master; worker_shutdown_timeout 2s (upgrade, restart: "
        "a busy HTTP/2 connection keeps an old worker else, and no other upgrade is taken), none elsewhere"
    )

    CONFIG = """
daemon {daemon}; {user} worker_processes {cores}; pid nginx.pid; error_log stderr crit; {shutdown}
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  keepalive_requests 1000000;
  ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  proxy_http_version 1.1; proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
  upstream a {{ server 127.0.0.1:{a}; keepalive 64; keepalive_requests 1000000; }}
  upstream b {{ server 127.0.0.1:{b}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{https} ssl http2; listen 127.0.0.1:{http}; server_name {name};
    location / {{ proxy_pass http://a; }}
  }}
  server {{
    listen 127.0.0.1:{https} ssl http2; listen 127.0.0.1:{http}; server_name {other};
    location / {{ proxy_pass http://b; }}
  }}
}}
"""

    def prepare(self):
        self.chain, self.key = certificate(self.folder, (NAME, OTHER))

    def configuration(self, port):
        return self.CONFIG.format(
            user=nginx_user(), cores=CORES, chain=self.chain, key=self.key, https=self.https, http=self.http,
            a=self.site, b=port, name=NAME, other=OTHER,
            daemon="off" if self.sockets else "on",
            shutdown="worker_shutdown_timeout 2s;" if self.brief else "",
        )  # fmt: skip

    def argv(self):
        return [tool("nginx"), "-p", self.folder, "-c", self.folder / self.FILE, "-e", "stderr"]

    def await_start(self):
        # It takes no USR2 while the process that started it is there: it must be a daemon, in a session of its own.
        if not self.sockets:
            self.process.popen.wait(START_WITHIN)
            self.main = await_or_fail(f"nginx starts: {self.process.last_words()}", START_WITHIN, self.written)
            self.sessions.add(self.main)
        self.await_effect()

    def written(self):
        """The process of its file; None while there is none."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "nginx.pid").read_text())
        return None

    def reload(self, _count):
        self.tell(signal.SIGHUP)
        self.await_effect()

    def upgrade(self, _count):
        old = self.main
        # A binary that has taken over takes no USR2 while the one before it is there.
        await_or_fail("nginx's old master ends", EXIT_WITHIN, lambda: not (self.before and is_alive(self.before)))
        self.tell(signal.SIGUSR2)

        def taken_over():
            new = self.written()
            return new if new not in (None, old) and len(self.children(new)) >= CORES else None

        self.main = await_or_fail("nginx's new master runs", UPGRADE_WITHIN, taken_over)
        os.kill(old, signal.SIGQUIT)
        self.before = old


class Haproxy(Proxy):
    name, needs, FILE, STOP = "HAProxy", "haproxy", "haproxy.cfg", signal.SIGUSR1
    settings = (
        "master and worker (-W); reload, and upgrade, by USR2 to the master, which is then executed anew; "
        "told again if it missed the signal; expose-fd listeners; no hard-stop-after"
    )

    CONFIG = """
global
  nbthread {cores}
  stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 75s
  timeout tunnel 1h
  retry-on all-retryable-errors
frontend all
  bind {https} ssl crt {pem} alpn h2,http/1.1
  bind {http}
  use_backend b if {{ req.hdr(host) -m beg {other} }}
  default_backend a
backend a
  http-request disable-l7-retry if METH_POST
  server a 127.0.0.1:{a}
backend b
  http-request disable-l7-retry if METH_POST
  server b 127.0.0.1:{b}
"""

    def prepare(self):
        self.pem = self.folder / "haproxy.pem"
        self.pem.write_text("".join(part.read_text() for part in certificate(self.folder, (NAME, OTHER))))
        self.pem.chmod(0o600)

    def configuration(self, port):
        binds = ("fd@3", "fd@4") if self.sockets else (f"127.0.0.1:{self.https}", f"127.0.0.1:{self.http}")
        return self.CONFIG.format(
            cores=CORES, folder=self.folder, https=binds[0], http=binds[1], pem=self.pem,
            a=self.site, b=port, other=OTHER,
        )  # fmt: skip

    def argv(self):
        return [tool("haproxy"), "-W", "-db", "-f", self.folder / self.FILE]

    def settle(self):
        # A signal that comes while the master is executed anew may be lost.
        await_or_fail("HAProxy's master waits for signals", EFFECT_WITHIN, self.waits)

    def reload(self, _count):
        self.tell(signal.SIGUSR2)
        self.await_effect(lambda: self.tell(signal.SIGUSR2))

    def waits(self):
        """Whether the master has become the process that only waits, and takes signals (proc(5))."""
        place = pathlib.Path(f"/proc/{self.main}")
        if b"HAPROXY_MWORKER_WAIT_ONLY=1" not in (place / "environ").read_bytes():
            return False
        masks = dict(line.split(":") for line in (place / "status").read_text().splitlines() if line.startswith("Sig"))
        bit = 1 << (signal.SIGUSR2 - 1)
        return bool(int(masks["SigCgt"], 16) & bit) and not int(masks["SigBlk"], 16) & bit

    def upgrade(self, count):
        self.change()  # without which it could not be seen that the new one serves
        self.reload(count)


class Hostmux(Proxy):
    name, needs, FILE, STOP = "hostmux", None, "sites.yaml", signal.SIGTERM
    DRAINS = 30
    settings = "reload by HUP and `hostmux reload` in turns; upgrade by USR2 and `hostmux upgrade` in turns"
    binary = None  # set before the first is started

    CONFIG = """\
listen: {{ https: "127.0.0.1:{https}", http: "127.0.0.1:{http}" }}
certificates: {{ directory: certs }}
defaults: {{ plain_http: serve }}
sites:
  {name}: {a}
  {other}: {b}
"""

    def prepare(self):
        (self.folder / "certs").mkdir()
        certificate(self.folder / "certs", (NAME, OTHER))
        self.state, self.runtime = self.folder / "state", self.folder / "runtime"
        self.state.mkdir()
        self.runtime.mkdir()

    def configuration(self, port):
        return self.CONFIG.format(https=self.https, http=self.http, a=self.site, b=port, name=NAME, other=OTHER)

    def argv(self):
        return [self.binary, "run", "-c", self.folder / self.FILE]

    def environment(self):
        return {"STATE_DIRECTORY": str(self.state), "RUNTIME_DIRECTORY": str(self.runtime)}

    def command(self, word, *options):
        """Runs one of its commands; what that prints."""
        done = subprocess.run(
            [self.binary, word, *options], env=os.environ | self.environment(), cwd=self.folder,
            capture_output=True, text=True, timeout=EXIT_WITHIN, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"hostmux {word} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def reload(self, count):
        if count % 2:
            self.command("reload")
        else:
            self.tell(signal.SIGHUP)
        self.await_effect()

    def upgrade(self, count):
        old = self.main
        if count % 2:
            self.command("upgrade")
        else:
            self.tell(signal.SIGUSR2)

        def taken_over():
            with contextlib.suppress(Failed, ValueError):  # the control socket changes hands
                new = json.loads(self.command("status", "--json")).get("pid")
                if new is not None:
                    return new if new != old else None
                return next(iter(self.children(old)), None)
            return None

        self.main = await_or_fail("the new hostmux serves", UPGRADE_WITHIN, taken_over)

    @classmethod
    def knows(cls, word):
        """Whether it has this command."""
        told = subprocess.run([cls.binary, "--help"], capture_output=True, text=True, check=False).stdout
        return any(line.split()[:1] == [word] for line in told.splitlines())


PROXIES = {"nginx": Nginx, "haproxy": Haproxy, "hostmux": Hostmux}


def version(proxy):
    program, option = (Hostmux.binary, "--version") if proxy is Hostmux else (tool(proxy.needs), "-v")
    done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]
