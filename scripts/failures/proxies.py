"""The proxies, each configured as well against failing endpoints as it can be."""

import os
import subprocess

from trial import hostmux
from trial.hostmux import Failed, Process, free_ports
from trial.programs import nginx_user, tool

NAME = "failover.test"
CORES = len(os.sched_getaffinity(0))
CERTIFY_WITHIN = 30


class Nginx:
    name, needs = "nginx", "nginx"
    settings = (
        "max_fails=1 fail_timeout=1s (one endpoint: max_fails=0), zone, keepalive 64, proxy_connect_timeout 1s, "
        "proxy_read_timeout 2s, proxy_next_upstream error timeout invalid_header http_503, which leaves POSTs out"
    )

    CONFIG = """
daemon off; {user} worker_processes {cores}; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  keepalive_requests 1000000;
  ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
  upstream endpoints {{
    zone endpoints 64k;
{servers}
    keepalive 64; keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{https} ssl http2; server_name _;
    location / {{
      proxy_pass http://endpoints;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_connect_timeout 1s; proxy_send_timeout 2s; proxy_read_timeout 2s;
      proxy_next_upstream error timeout invalid_header http_503;
    }}
  }}
}}
"""

    def __init__(self, folder, ports):
        (self.https,) = free_ports(1)
        chain, key = certificate(folder)
        fails = 1 if len(ports) > 1 else 0
        servers = [f"    server 127.0.0.1:{port} max_fails={fails} fail_timeout=1s;" for port in ports]
        config = folder / "nginx.conf"
        config.write_text(
            self.CONFIG.format(
                user=nginx_user(), cores=CORES, chain=chain, key=key, https=self.https, servers="\n".join(servers)
            )
        )
        self.process = Process([tool("nginx"), "-p", folder, "-c", config, "-e", "stderr"], folder, self.name)
        self.process.await_port(self.https)

    def stop(self):
        self.process.stop()


class Haproxy:
    name, needs = "HAProxy", "haproxy"
    settings = (
        "retries 3 (one endpoint: 6, no check), option redispatch 1, retry-on all-retryable-errors but for POSTs, "
        "timeout connect 1s, timeout server 2s, httpchk inter 1s fall 2 rise 2, "
        "observe layer7 error-limit 2 on-error mark-down"
    )

    CONFIG = """
global
  nbthread {cores}
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 2s
  option redispatch 1
  retries {retries}
  retry-on all-retryable-errors
frontend all
  bind 127.0.0.1:{https} ssl crt {pem} alpn h2,http/1.1
  default_backend endpoints
backend endpoints
  balance roundrobin
  http-request disable-l7-retry if METH_POST
{check}
{servers}
"""
    CHECK = """\
  option httpchk GET /healthz
  default-server check inter 1s fall 2 rise 2
  default-server observe layer7 error-limit 2 on-error mark-down"""

    def __init__(self, folder, ports):
        (self.https,) = free_ports(1)
        pem = folder / "haproxy.pem"
        pem.write_text("".join(part.read_text() for part in certificate(folder)))
        pem.chmod(0o600)
        config = folder / "haproxy.cfg"
        several = len(ports) > 1
        config.write_text(
            self.CONFIG.format(
                cores=CORES,
                https=self.https,
                pem=pem,
                # A server that is known to be down is not waited for; one that only refuses is, a second a retry.
                check=self.CHECK if several else "",
                retries=3 if several else 6,
                servers="\n".join(f"  server e{port} 127.0.0.1:{port}" for port in ports),
            )
        )
        self.process = Process([tool("haproxy"), "-db", "-f", config], folder, self.name)
        self.process.await_port(self.https)

    def stop(self):
        self.process.stop()


class Hostmux:
    name, needs = "hostmux", None
    settings = "wait_for_endpoint 5s, response_timeout 2s, health_check every 1s timeout 1s down_after 2 up_after 1"

    UPSTREAM = "{{ upstream: {{ endpoints: {ports}, wait_for_endpoint: 5s, response_timeout: 2s{health} }} }}"
    HEALTH = ", health_check: { path: /healthz, every: 1s, timeout: 1s, down_after: 2, up_after: 1 }"
    binary = None  # set before the first is started

    def __init__(self, folder, ports):
        behind = self.UPSTREAM.format(ports=ports, health=self.HEALTH)
        self.hostmux = hostmux.Hostmux(self.binary, folder, {NAME: behind})
        self.https = self.hostmux.https

    def stop(self):
        self.hostmux.stop()

    def log(self):
        return self.hostmux.process.output

    @classmethod
    def take(cls, binary):
        """This binary; one that is older than health checks goes without, and says so."""
        cls.binary = binary
        sites = f"sites: {{ {NAME}: {cls.UPSTREAM.format(ports=[8080], health=cls.HEALTH)} }}\n"
        checked = subprocess.run([binary, "check", "-"], input=sites, capture_output=True, text=True, check=False)
        if checked.returncode and "health_check" in checked.stderr + checked.stdout:
            cls.HEALTH = ""
            cls.settings = cls.settings.partition(", health_check")[0] + " (this one knows no health_check)"


PROXIES = {"nginx": Nginx, "haproxy": Haproxy, "hostmux": Hostmux}


def certificate(folder, names=(NAME,)):
    """Chain and key that nobody knows: the load does not check them."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    known_as = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    done = subprocess.run(
        [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", f"/CN={names[0]}", "-addext", known_as, "-keyout", key, "-out", chain],
        capture_output=True, text=True, timeout=CERTIFY_WITHIN, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"openssl: {done.stderr.strip()}")
    return chain, key
