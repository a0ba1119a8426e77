# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten hosts with one app, as somebody deploys to them who has one inventory and one command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import testinfra
import yaml

from apps import tool
from clients import asked_all_the_time
from playbooks import ROOT, SCRATCH, ansible, archive, together

sys.path.insert(0, str(ROOT / "tests" / "load"))

from load import Load

if t.TYPE_CHECKING:
    from load import Report

HOSTS = [f"holdfast-fleet-{number}" for number in range(10)]
BALANCER = "holdfast-fleet-balancer"
SUITE = "bookworm"
PORT, FRONT = 4840, 4841
FOLDER = "/srv/fleet"
CANARY = [1, 3, 6]
RESULTS = ("deployed", "unchanged", "failed", "gone back", "left out", "not reached", "staged")
VARIABLES: dict[str, t.Any] = {
    "app_name": "fleet",
    "app_command": "bin/demo",
    "app_listen": [f"0.0.0.0:{PORT}"],
    "app_service_type": "notify",
    "app_environment": {"DEMO_START_SECONDS": "0.1", "DEMO_LINGER_SECONDS": "0.1"},
    "app_health_check": {"url": f"http://127.0.0.1:{PORT}/", "header": {"X-Release": "{release}"}, "retries": 5},
    "app_settle_seconds": 0.2,
    "app_keep_releases": 0,
    "app_serial": CANARY,
}


def inside(host: str, script: str, *, privileged: bool = False) -> str:
    options = ["--privileged"] if privileged else []
    command = ["podman", "exec", *options, host, "sh", "-euc", script]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout.strip()


def address(host: str) -> str:
    return subprocess.run([ROOT / "tools/container", "address", host], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Told:
    """How a run ended, and the table at its end."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.output = done.stdout

    @property
    def table(self) -> list[str]:
        tables = [json.loads(found) for found in re.findall(r'"msg": (\[.*?\n    \])', self.output, re.DOTALL)]
        found = [lines for lines in tables if lines and lines[0].startswith("host ")]
        assert len(found) == 1, self.output
        return found[0]

    @property
    def results(self) -> dict[str, str]:
        found = {}
        for line in self.table[1:]:
            host, rest = line.split(maxsplit=1)
            found[host] = next(result for result in RESULTS if rest.startswith(result))
        return found

    def reason(self, host: str) -> str:
        return next(line for line in self.table if line.startswith(f"{host} "))[self.table[0].index("reason") :]

    def executed(self, host: str) -> int:
        found = re.search(rf"^{host}\s+: ok=(\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])


class Fleet:
    """The hosts, and what is said of single ones of them in the inventory."""

    def __init__(self) -> None:
        folder = ROOT / "tools/inventory"
        self.common = yaml.safe_load((folder / "hosts.yml").read_text().replace("{{ inventory_dir }}", str(folder)))["all"]["vars"]
        self.inventory = SCRATCH / "fleet.json"
        self.of_host: dict[str, dict[str, t.Any]] = {}
        self.archive = archive("fleet")

    def start(self) -> None:
        self.write_inventory()
        path = str(ROOT / "molecule/default/create.yml")
        started = together(ansible("ansible-playbook", path, "-i", str(self.inventory), "-e", json.dumps({"test_hosts": "fleet", "suite": SUITE})))
        assert started.returncode == 0, started.stdout
        # What becomes of a full disk is seen on one of its own.
        tool("mount", HOSTS[9], "/srv", "6m")

    @contextlib.contextmanager
    def said_of(self, host: str, **variables: t.Any) -> t.Iterator[None]:
        self.of_host[host] = variables
        try:
            yield
        finally:
            del self.of_host[host]

    def write_inventory(self) -> None:
        plain = {**VARIABLES, "app_release_src": self.archive}
        hosts = {host: {**plain, **self.of_host.get(host, {})} for host in HOSTS}
        known = {"fleet": {"hosts": hosts}, "front": {"hosts": {BALANCER: {}}}}
        self.inventory.write_text(json.dumps({"all": {"vars": self.common, "children": known}}))

    def command(self, name: str, *options: str, **variables: t.Any) -> list[str]:
        self.write_inventory()
        given = json.dumps({"app_hosts": "fleet", **variables})
        return ["ansible-playbook", f"holdfast.systemd.{name}", "-i", str(self.inventory), "-e", given, *options]

    def run(self, name: str, *options: str, **variables: t.Any) -> Told:
        return Told(together(ansible(*self.command(name, *options, **variables), ANSIBLE_CALLBACK_RESULT_FORMAT="json")))

    def deploy(self, release: str, *options: str, **variables: t.Any) -> Told:
        return self.run("deploy", *options, app_release_id=release, **variables)

    def begin(self, name: str, *options: str, **variables: t.Any) -> Run:
        return Run(self.command(name, *options, **variables))

    def live(self, hosts: t.Iterable[str] = HOSTS) -> dict[str, str]:
        """The release that answers on each host."""
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{PORT}/', timeout=30).headers['X-Release'])"
        return {host: inside(host, f'python3 -c "{script}"') for host in hosts}

    @contextlib.contextmanager
    def asked_all_the_time(self, *hosts: str) -> t.Iterator[list[str]]:
        """What the clients of these hosts get meanwhile, known at the end."""
        with contextlib.ExitStack() as stack:
            seen = [stack.enter_context(asked_all_the_time(testinfra.get_host(f"podman://{host}"), PORT)) for host in hosts]
            together: list[str] = []
            yield together
        together += [answer for answers in seen for answer in answers]


class Run:
    """A run that goes on while a test does something else."""

    def __init__(self, command: list[str]) -> None:
        plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        self._output = SCRATCH / "fleet-run.log"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(command, env=plain, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def wait_for(self, condition: t.Callable[[], bool], *, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < deadline, self._output.read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """As when the controller loses its power: nothing of it goes on."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, *, seconds: float = 300) -> Told:
        status = self._process.wait(timeout=seconds)
        return Told(subprocess.CompletedProcess([], status, self._output.read_text()))


@contextlib.contextmanager
def under_load(url: str) -> t.Iterator[list[Report]]:
    """Clients ask all the time meanwhile; what became of them is known at the end."""
    ended = SCRATCH / "fleet-load-ended"
    ended.unlink(missing_ok=True)
    load = Load(url, seconds=900, clients=8, pause=0.1, until=ended)
    reports: list[Report] = []
    try:
        yield reports
    finally:
        ended.touch()
        reports.append(load.wait())


def write(host: str, path: str, text: str) -> None:
    subprocess.run(["podman", "exec", "--interactive", host, "sh", "-euc", f'mkdir -p "$(dirname {path})"; cat >{path}'], input=text, text=True, check=True)


def key() -> Path:
    return ROOT / ".cache/ssh/id_ed25519"
