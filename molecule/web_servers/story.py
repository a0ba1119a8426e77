# SPDX-License-Identifier: GPL-3.0-or-later
"""An app behind all three web servers, and what their clients saw of its deploys."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import tarfile
import time
import typing as t
from pathlib import Path

import yaml

from playbooks import SCRATCH, playbook
from web_servers.fronts import FRONTS, UPSTREAMS, write
from web_servers.page import elsewhere, files

if t.TYPE_CHECKING:
    from testinfra.host import Host

HERE = Path(__file__).parent
ADDRESSES = {"tcp": "127.0.0.1:4870", "unix": "/run/behind-unix.sock"}
START_SECONDS = 2
WEBSOCKET_SECONDS = 2
# Longer than the pause between two requests.
ANSWER_SECONDS = 0.3
CLIENTS = "/run/web-clients"


@dataclasses.dataclass(frozen=True)
class Deploy:
    """One deploy: the release, how it takes over, and which one is live afterwards."""

    name: str
    release: str
    strategy: str
    live: str

    @property
    def is_broken(self) -> bool:
        return self.release != self.live


DEPLOYS = (
    Deploy("restart", "two", "restart", "two"),
    Deploy("broken restart", "three", "restart", "two"),
    Deploy("overlap", "four", "overlap", "four"),
    Deploy("broken overlap", "five", "overlap", "four"),
)
BEFORE = {"restart": "one", "broken restart": "two", "overlap": "two", "broken overlap": "four"}


class Seen:
    """What the clients of one web server saw, and when."""

    def __init__(self, records: list[dict[str, t.Any]], times: dict[str, tuple[float, float]]) -> None:
        self.records = records
        self.times = times

    def of(self, what: str, deploy: str | None = None) -> list[dict[str, t.Any]]:
        """All requests, echoes and so on, or those that were under way at some time of this deploy; in the order of their ends."""
        began, ended = self.times[deploy] if deploy else (0, float("inf"))
        return [record for record in self.records if record["what"] == what and record["ended"] >= began and record["began"] <= ended]

    def statuses(self) -> dict[str, int]:
        return dict(collections.Counter(record["status"] for record in self.of("request")))

    def slowest(self, deploy: str) -> float:
        return max(record["ended"] - record["began"] for record in self.of("request", deploy))


@dataclasses.dataclass(frozen=True)
class Story:
    app: BehindWebServers
    seen: dict[str, Seen]


class BehindWebServers:
    """The app, with the variables of the page."""

    def __init__(self, host: Host, upstream: str) -> None:
        self.host = host
        self.upstream = upstream
        self.name = f"behind-{upstream}"
        self.address = ADDRESSES[upstream]
        page_address, heading = UPSTREAMS[upstream]
        told = files("What the app listens on", heading)["group_vars/app.yml"]
        self.variables: dict[str, t.Any] = {
            **yaml.safe_load(elsewhere(told, {page_address: self.address})),
            "app_name": self.name,
            "app_command": "/usr/bin/python3 server.py",
            "app_environment": {"START_SECONDS": str(START_SECONDS), "WEBSOCKET_SECONDS": str(WEBSOCKET_SECONDS), "ANSWER_SECONDS": str(ANSWER_SECONDS)},
            "app_settle_seconds": 0.5,
            "app_keep_releases": 0,
        }
        self.variables["app_health_check"]["header"] = {"X-Release": "{release}"}

    def set_up(self) -> None:
        # What an earlier run has left would be in the way of its releases.
        left = ["remove"] if self.host.file(f"/srv/{self.name}").exists else []
        for name in (*left, "setup"):
            done = playbook(name, self.host, {**self.variables, "app_remove_data": True})
            assert done.returncode == 0, done.stdout
        self.deploy(Deploy("first", "one", "restart", "one"))

    def deploy(self, deploy: Deploy) -> None:
        given = {"app_release_id": deploy.release, "app_release_src": self.pack(broken=deploy.is_broken), "app_switch": deploy.strategy}
        done = playbook("deploy", self.host, {**self.variables, **given})
        assert (done.returncode != 0) is deploy.is_broken, done.stdout
        assert self.host.check_output(f"readlink /srv/{self.name}/current") == f"releases/{deploy.live}"

    def pack(self, *, broken: bool) -> str:
        path = SCRATCH / f"{self.name}{'-broken' if broken else ''}.tar.gz"
        with tarfile.open(path, "w:gz") as packed:
            for name in ("server.py", "websocket.py"):
                packed.add(HERE / "app" / name, name)
            if broken:
                packed.addfile(tarfile.TarInfo("broken"))
        return str(path)

    def story(self) -> Story:
        """Deploys all of DEPLOYS while clients ask through each of the web servers."""
        times = {}
        with self.clients() as records:
            time.sleep(2)
            for deploy in DEPLOYS:
                began = time.time()
                self.deploy(deploy)
                times[deploy.name] = (began, time.time())
                time.sleep(1)
        by_port: dict[int, list[dict[str, t.Any]]] = {front.port: [] for front in FRONTS.values()}
        for record in sorted(records, key=lambda record: record["ended"]):
            by_port[record["port"]].append(record)
        return Story(self, {front.name: Seen(by_port[front.port], times) for front in FRONTS.values()})

    def bring_clients(self) -> None:
        for path in (HERE / "asks.py", HERE / "reload.py", HERE / "app/websocket.py"):
            write(self.host, f"{CLIENTS}/{path.name}", path.read_text())

    @contextlib.contextmanager
    def clients(self) -> t.Iterator[list[dict[str, t.Any]]]:
        """Clients of all web servers meanwhile; what became of what they said is known at the end."""
        records: list[dict[str, t.Any]] = []
        self.bring_clients()
        output, ports = f"/var/tmp/{self.name}-clients", " ".join(str(front.port) for front in FRONTS.values())
        run = f"systemd-run --quiet --collect --unit=web-clients --property=StandardOutput=file:{output} python3 {CLIENTS}/asks.py {ports}"
        self.host.check_output(f"rm -f {output} && {run}")
        try:
            yield records
            # Also that they are still there: what they print when they fail is no answer.
            self.host.check_output("systemctl is-active web-clients")
        finally:
            self.host.run("systemctl stop web-clients")
        records += [json.loads(line) for line in self.host.check_output(f"cat {output}").splitlines()]
