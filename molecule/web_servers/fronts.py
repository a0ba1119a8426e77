# SPDX-License-Identifier: GPL-3.0-or-later
"""The web servers of this scenario: Debian's packages, with the configuration of the page."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import PurePosixPath

from playbooks import SCRATCH, playbook
from web_servers.page import elsewhere, files

if t.TYPE_CHECKING:
    from testinfra.host import Host

# What the page calls it, and the heading below which it does.
UPSTREAMS = {"tcp": ("127.0.0.1:4000", "Over TCP"), "unix": ("/run/shop.sock", "Over a Unix socket")}
SINGLE_SERVER = "One server, nginx, Phoenix: from nothing"
SITE = "/etc/nginx/sites-available/shop"


@dataclasses.dataclass(frozen=True)
class Front:
    name: str
    port: int
    # The heading of the page.
    title: str
    # Where the page listens, and where it does here.
    listens: dict[str, str]

    def files(self, upstream: str, address: str) -> dict[str, str]:
        """What the page says, with an app that listens at this address."""
        name, heading = UPSTREAMS[upstream]
        main, *others = files(self.title, heading).items()
        return dict([(main[0], elsewhere(main[1], {name: address, **self.listens})), *others])

    def install(self, host: Host, upstream: str, address: str) -> None:
        for path, text in self.files(upstream, address).items():
            write(host, path, text)
        host.check_output(f"systemctl daemon-reload && systemctl restart {self.name}")


FRONTS = {
    front.name: front
    for front in (
        Front("nginx", 8080, "nginx", {"listen 80;": "listen 127.0.0.1:8080;"}),
        Front("caddy", 8081, "Caddy", {"shop.example.com {": ":8081 {"}),
        Front("haproxy", 8082, "HAProxy", {"bind :80": "bind 127.0.0.1:8082"}),
    )
}
# What a container may not do: to mount, and to give more privileges than it has.
FOR_A_CONTAINER = {"caddy": "AmbientCapabilities=", "haproxy": "BindReadOnlyPaths="}


def write(host: Host, path: str, text: str) -> None:
    host.check_output("mkdir -p %s && printf %%s %s >%s", str(PurePosixPath(path).parent), text, path)


def install_packages(host: Host) -> None:
    """Installs Caddy and HAProxy without a start, and nginx as the page does, which starts it."""
    # Before the first start: a unit that has failed too often in a row is not started any more.
    for name, line in FOR_A_CONTAINER.items():
        host.check_output("rm -rf %s", f"/etc/systemd/system/{name}.service.d")
        write(host, f"/etc/systemd/system/{name}.service.d/container.conf", f"[Service]\n{line}\n")
    # Debian starts what it installs, unless this says no; two of them would want port 80.
    write(host, "/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=10 -qq"
    try:
        host.check_output(
            f"chmod 755 /usr/sbin/policy-rc.d; {apt} update; {apt} install --yes --no-install-recommends caddy haproxy && systemctl stop caddy haproxy"
        )
    finally:
        host.check_output("rm /usr/sbin/policy-rc.d")
    # Debian's package lets it into www-data. Here it is as elsewhere, and what the page says for that has to do it.
    host.check_output("usermod --groups '' caddy")


def put_nginx_in_front(host: Host, address: str) -> None:
    """Runs the playbook of the page's story of a single server, from nothing to a site in front of the app."""
    told = files(SINGLE_SERVER)
    folder = SCRATCH / "one-server"
    folder.mkdir(exist_ok=True)
    (folder / "shop.nginx").write_text(FRONTS["nginx"].files("tcp", address)[SITE])
    web_server = folder / "web-server.yml"
    web_server.write_text(elsewhere(told[web_server.name], {"hosts: app": "hosts: all"}))
    done = playbook(str(web_server), host, {})
    assert done.returncode == 0, done.stdout


def stop(host: Host) -> None:
    """Leaves nothing that a test of another scenario would find running, or failing, after its container has started again."""
    host.check_output(f"systemctl disable --quiet --now {' '.join(FRONTS)}")
