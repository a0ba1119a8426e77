# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to replace a release that the bench compares.

A front is what clients connect to and what runs behind it; a way is how a front's release is replaced. To add a way
to a front that is here, add a line to WAYS. To add a front, write a class like these and give it a port of its own:
all fronts stand side by side, and the ones that are not measured are idle. A deploy passes the gate first.

Every front is set up as its own manual advises, with room for as many connections as the load can have.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing as t
from pathlib import Path

from host import CACHE, GATE, Host

RELEASES = "/opt/bench/releases"
# An app on a port of its own, for all who need one: the instance is the port. It says when it is ready.
APP = """\
[Service]
Type=notify
WorkingDirectory=/opt/bench/live/%i
Environment=PORT=%i
ExecStart=/usr/bin/python3 demo.py
Restart=always
LimitNOFILE=8192
"""
WSGI = Path(__file__).with_name("wsgi.py")


class Front:
    """What clients connect to."""

    title: str
    port: int
    # The units whose memory counts, as patterns.
    units: tuple[str, ...]

    def setup(self, host: Host, release: str, archive: Path) -> None:
        """Installs it, with this release live."""
        raise NotImplementedError

    def stage(self, host: Host, release: str, archive: Path) -> None:
        """Brings the files of a release onto the host, where every way has them before it is timed."""
        raise NotImplementedError


class Scripted(Front):
    """A front whose releases are replaced by a script on the host."""

    def stage(self, host: Host, release: str, archive: Path) -> None:
        folder = f"{RELEASES}/{release}"
        host.write(f"{folder}.tar.gz", archive.read_bytes())
        host.sh(f"mkdir -p {folder} && tar -xzf {folder}.tar.gz -C {folder}")
        host.write(f"{folder}/wsgi.py", WSGI.read_bytes())

    def start_app(self, host: Host, release: str, port: int) -> None:
        host.write("/etc/systemd/system/bench-app@.service", APP)
        host.sh(f"{link(release, port)}; systemctl daemon-reload; systemctl start bench-app@{port}")

    def run(self, host: Host, script: str) -> None:
        host.ansible("ansible.builtin.shell", f"set -e; {GATE}\n{script}")


def link(release: str, port: int) -> str:
    return f"mkdir -p /opt/bench/live && ln -sfn {RELEASES}/{release} /opt/bench/live/{port}"


class OwnPort(Scripted):
    title = "the app on its own port"
    port = 4010
    units = (f"bench-app@{port}.service",)

    def setup(self, host: Host, release: str, archive: Path) -> None:
        self.stage(host, release, archive)
        self.start_app(host, release, self.port)

    def restart(self, host: Host, release: str) -> None:
        self.run(host, f"{link(release, self.port)}; systemctl restart bench-app@{self.port}")


class Proxyd(Scripted):
    """As in the examples of its manual page: the proxy requires the app, so it stops and starts with it, and its socket stays."""

    title = "systemd-socket-proxyd in front"
    port = 4060
    app_port = 4061
    units = (f"bench-app@{app_port}.service", "bench-proxyd.service")

    def setup(self, host: Host, release: str, archive: Path) -> None:
        self.stage(host, release, archive)
        self.start_app(host, release, self.app_port)
        host.write(
            "/etc/systemd/system/bench-proxyd.socket",
            f"[Socket]\nListenStream=127.0.0.1:{self.port}\nBacklog=4096\n[Install]\nWantedBy=sockets.target\n",
        )
        host.write(
            "/etc/systemd/system/bench-proxyd.service",
            f"[Unit]\nRequires=bench-app@{self.app_port}.service bench-proxyd.socket\nAfter=bench-app@{self.app_port}.service bench-proxyd.socket\n"
            f"[Service]\nType=notify\nLimitNOFILE=16384\n"
            f"ExecStart=/usr/lib/systemd/systemd-socket-proxyd --connections-max=4096 127.0.0.1:{self.app_port}\n",
        )
        host.sh("systemctl daemon-reload; systemctl start bench-proxyd.socket bench-proxyd.service")

    def restart(self, host: Host, release: str) -> None:
        self.run(host, f"{link(release, self.app_port)}; systemctl restart bench-app@{self.app_port}")


class TwoPorts(Scripted):
    """A proxy and two ports behind it: the new release starts on the free one, the proxy is told, then the old one stops."""

    port: int
    service: str

    def configure(self, app_port: int) -> str:
        """The script that points the proxy to this port, without loading it."""
        raise NotImplementedError

    def setup(self, host: Host, release: str, archive: Path) -> None:
        self.live, self.free = self.port + 1, self.port + 2
        self.stage(host, release, archive)
        self.start_app(host, release, self.live)
        host.sh(f"{self.configure(self.live)}; systemctl restart {self.service}")

    def deploy(self, host: Host, release: str, *, wait: float) -> None:
        self.run(
            host,
            f"{link(release, self.free)}; systemctl start bench-app@{self.free}\n"
            f"{self.configure(self.free)}; systemctl reload {self.service}\n"
            f"sleep {wait}; systemctl stop bench-app@{self.live}",
        )
        self.live, self.free = self.free, self.live


class Nginx(TwoPorts):
    title = "nginx in front"
    port = 4030
    service = "nginx"
    units = ("nginx.service", f"bench-app@{port + 1}.service", f"bench-app@{port + 2}.service")

    CONFIGURATION = f"""\
user www-data;
worker_processes auto;
worker_rlimit_nofile 16384;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    upstream app {{ include /etc/nginx/bench-app; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_read_timeout 300s;
        }}
    }}
}}
"""

    def configure(self, app_port: int) -> str:
        return f"echo 'server 127.0.0.1:{app_port};' >/etc/nginx/bench-app; nginx -t -q"

    def setup(self, host: Host, release: str, archive: Path) -> None:
        host.write("/etc/nginx/nginx.conf", self.CONFIGURATION)
        super().setup(host, release, archive)


class Haproxy(TwoPorts):
    title = "HAProxy in front"
    port = 4040
    service = "haproxy"
    units = ("haproxy.service", f"bench-app@{port + 1}.service", f"bench-app@{port + 2}.service")

    # Listeners pass from the old process to the new one by themselves in Debian's master-worker unit.
    CONFIGURATION = f"""\
global
    maxconn 4096
    user haproxy
    group haproxy
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
frontend bench
    bind 127.0.0.1:{port} backlog 4096
    default_backend app
backend app
"""

    def configure(self, app_port: int) -> str:
        return (
            "cp /etc/haproxy/bench.cfg /etc/haproxy/haproxy.cfg\n"
            f"echo '    server app 127.0.0.1:{app_port}' >>/etc/haproxy/haproxy.cfg; haproxy -c -q -f /etc/haproxy/haproxy.cfg"
        )

    def setup(self, host: Host, release: str, archive: Path) -> None:
        host.write("/etc/haproxy/bench.cfg", self.CONFIGURATION)
        # Debian's unit wants a mount of its own for syslog, which a container may not have.
        host.write("/etc/systemd/system/haproxy.service.d/bench.conf", "[Service]\nBindReadOnlyPaths=\n")
        host.sh("systemctl daemon-reload")
        super().setup(host, release, archive)


class Gunicorn(Scripted):
    """gunicorn's own reload: its master keeps the port and replaces its workers."""

    title = "gunicorn"
    port = 4050
    units = ("bench-gunicorn.service",)

    # Threads for every client of the closed loop; connections that outlive a pause of the open one.
    UNIT = f"""\
[Service]
Type=notify
ExecStart=/usr/bin/gunicorn --chdir /opt/bench/live/{port} --bind 127.0.0.1:{port} --backlog 4096 --workers 2 \
--worker-class gthread --threads 32 --worker-connections 4096 --keep-alive 75 wsgi:application
ExecReload=/bin/kill -s HUP $MAINPID
KillMode=mixed
Restart=always
LimitNOFILE=8192
"""

    def setup(self, host: Host, release: str, archive: Path) -> None:
        self.stage(host, release, archive)
        host.write("/etc/systemd/system/bench-gunicorn.service", self.UNIT)
        host.sh(f"{link(release, self.port)}; systemctl daemon-reload; systemctl start bench-gunicorn")

    def hang_up(self, host: Host, release: str) -> None:
        self.run(host, f"{link(release, self.port)}; systemctl reload bench-gunicorn")


class Holdfast(Front):
    """This collection: a socket unit holds the port."""

    title = "holdfast"
    port = 4020
    units = ("bench-holdfast.service", "bench-holdfast@*.service")

    VARIABLES: t.ClassVar[dict[str, t.Any]] = {
        "app_name": "bench-holdfast",
        "app_command": "bin/demo",
        "app_listen": [f"127.0.0.1:{port}"],
        "app_service_type": "notify",
        "app_service_options": {"LimitNOFILE": 8192},
        "app_health_check": {"url": f"http://127.0.0.1:{port}/"},
        # No client sees how long a deploy looks on afterwards; a run is the shorter for it.
        "app_settle_seconds": 0.5,
    }

    def __init__(self, name: str = "holdfast") -> None:
        self.variables = CACHE / f"{name}.yml"

    def setup(self, host: Host, release: str, archive: Path) -> None:
        self.variables.write_text(json.dumps(self.VARIABLES) + "\n")
        host.playbook("holdfast.systemd.setup", "-e", f"@{self.variables}")
        self.stage(host, release, archive)
        self._role(host, "switch", release)

    def stage(self, host: Host, release: str, archive: Path) -> None:
        self._role(host, "stage", release, "-e", f"app_release_src={archive}")

    def switch(self, host: Host, release: str, *, strategy: str) -> None:
        self._role(host, "switch", release, "-e", json.dumps({"app_switch": strategy, "app_before_switch": [GATE]}))

    def _role(self, host: Host, tasks: str, release: str, *options: str) -> None:
        host.ansible(
            "ansible.builtin.include_role",
            f"name=holdfast.systemd.release tasks_from={tasks}",
            *("-e", f"@{self.variables}", "-e", json.dumps({"app_release_id": release}), *options),
        )


@dataclasses.dataclass(frozen=True)
class Way:
    name: str
    title: str
    front: Front
    deploy: t.Callable[[Host, str], None]
    ours: bool = False


OWN_PORT, HOLDFAST, NGINX, HAPROXY, GUNICORN, PROXYD = OwnPort(), Holdfast(), Nginx(), Haproxy(), Gunicorn(), Proxyd()

# How long a careful proxy set-up lets the old release finish.
WAIT = 2
WAYS = [
    Way("own-port", "the app restarts on its own port", OWN_PORT, OWN_PORT.restart),
    Way("held", "holdfast, held restart", HOLDFAST, functools.partial(HOLDFAST.switch, strategy="restart"), ours=True),
    Way("overlap", "holdfast, overlap", HOLDFAST, functools.partial(HOLDFAST.switch, strategy="overlap"), ours=True),
    Way("nginx-at-once", "nginx, two ports, the old release stopped at once", NGINX, functools.partial(NGINX.deploy, wait=0)),
    Way("nginx", f"nginx, two ports, the old release stopped after {WAIT} s", NGINX, functools.partial(NGINX.deploy, wait=WAIT)),
    Way("haproxy-at-once", "HAProxy, two ports, the old release stopped at once", HAPROXY, functools.partial(HAPROXY.deploy, wait=0)),
    Way("haproxy", f"HAProxy, two ports, the old release stopped after {WAIT} s", HAPROXY, functools.partial(HAPROXY.deploy, wait=WAIT)),
    Way("gunicorn", "gunicorn, reloaded by HUP", GUNICORN, GUNICORN.hang_up),
    Way("proxyd", "systemd-socket-proxyd, the app restarts behind it", PROXYD, PROXYD.restart),
]
