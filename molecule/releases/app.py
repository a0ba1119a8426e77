# SPDX-License-Identifier: GPL-3.0-or-later
"""The app of this scenario, which shares its hosts with other scenarios and so has a name and ports of its own."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import yaml

from clients import KEEP_ASKING
from playbooks import ROOT, SCRATCH, ansible, module, together

if t.TYPE_CHECKING:
    from testinfra.host import Host

PORT = 4900
NAME = "release-test"
FOLDER = f"/srv/{NAME}"
# No release needs it but one that asks for more; unlike MemoryMax it needs nothing of the machine.
MEMORY_LIMIT = "2G"
HEALTH_CHECK = {"url": f"http://127.0.0.1:{PORT}/", "header": {"X-Release": "{release}"}, "retries": 3, "interval": 0.2}
VARIABLES = {
    "app_name": NAME,
    "app_command": "bin/demo",
    "app_listen": [f"127.0.0.1:{PORT}"],
    "app_service_type": "notify",
    "app_directories": ["runtime", "state", "configuration"],
    "app_environment": {"DEMO_LINGER_SECONDS": "0.1", "GREETING": "hello, world"},
    "app_service_options": {"LimitAS": MEMORY_LIMIT},
    "app_start_timeout": "3s",
    "app_stop_timeout": "2s",
    "app_settle_seconds": 0.3,
    "app_health_check": HEALTH_CHECK,
    "app_keep_releases": 0,
    "app_deployed_by": "tester",
}
SAVED = f"/var/tmp/{NAME}"
AS_THE_APP = f"setpriv --reuid={NAME} --regid={NAME} --clear-groups"

ASK = f"""
import http.client, os
asked = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=10)
asked.request("GET", "/")
answer = asked.getresponse().headers["X-Release"]
linked = os.readlink("{FOLDER}/current")
print(answer if linked == f"releases/{{answer}}" else f"{{answer}}, but current leads to {{linked}}")
"""


class Run:
    """What a playbook has said of each release."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.succeeded = done.returncode == 0
        self.output = done.stdout

    def changed(self, release: str) -> int:
        """How many tasks have changed something."""
        found = re.search(rf"^{re.escape(release)}\s+: ok=\d+\s+changed=(\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])

    def failure(self, release: str) -> str:
        """The task's message, in one line; empty if nothing has failed."""
        found = re.search(rf"^fatal: \[{re.escape(release)}(?: -> \w+)?\]: (.*?)(?=^\S|\Z)", self.output, re.MULTILINE | re.DOTALL)
        return " ".join(found[1].split()) if found else ""


class App:
    """The app on one host. A test runs a playbook where that is what it is about, and else a single module, which is faster."""

    service = f"{NAME}.service"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.container = host.backend.get_hostname()
        self.scratch = SCRATCH / f"{self.container}-releases"
        self.scratch.mkdir(parents=True, exist_ok=True)

    # Releases

    def content(self, name: str, **settings: str) -> Path:
        """A folder with a release of the demo app, for a test to spoil; the settings say how it behaves."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / "tests/apps/demo", folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "demo.env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return folder

    def copy(self, sources: t.Iterable[Path], target: str) -> None:
        """Brings files and folders to the host, as something other than Ansible would."""
        self.host.check_output("mkdir -p %s", target)
        names = [source.name for source in sources]
        packed = subprocess.run(["tar", "--create", "--directory", self.scratch, *names], check=True, capture_output=True).stdout
        unpack = ["podman", "exec", "--interactive", self.container, "tar", "--extract", "--no-same-owner", "--directory", target]
        subprocess.run(unpack, input=packed, check=True)

    def stage(self, *releases: str | Path, **options: t.Any) -> None:
        """Stages releases of the demo app by their ids, or folders by their names; the options are those of the module."""
        contents = [release if isinstance(release, Path) else self.content(release) for release in releases]
        self.copy(contents, f"{SAVED}/contents")
        arguments = {"path": FOLDER, "release": "{{ inventory_hostname }}", "src": f"{SAVED}/contents/{{{{ inventory_hostname }}}}", "group": NAME, **options}
        run = self._run(["ansible", "all", "-m", "holdfast.systemd.release_stage", "-a", json.dumps(arguments)], {content.name: {} for content in contents})
        assert run.succeeded, run.output

    def play(self, playbook: str, releases: t.Mapping[str, t.Mapping[str, t.Any]], *options: str, **environment: str) -> Run:
        """Runs a playbook, of the collection or of this scenario, once for many releases."""
        path = Path(__file__).parent / f"{playbook}.yml"
        command = ["ansible-playbook", str(path) if path.exists() else f"holdfast.systemd.{playbook}", "-e", json.dumps(VARIABLES), *options]
        return self._run(command, {release: {"app_release_id": release, **variables} for release, variables in releases.items()}, **environment)

    def _run(self, command: list[str], releases: t.Mapping[str, t.Mapping[str, t.Any]], **environment: str) -> Run:
        """Runs Ansible, to which each of the releases is a host; all of them are this one."""
        folder = ROOT / "tools/inventory"
        known = yaml.safe_load((folder / "hosts.yml").read_text().replace("{{ inventory_dir }}", str(folder)))
        hosts = {release: {"ansible_host": self.container, **variables} for release, variables in releases.items()}
        inventory = self.scratch / "inventory.json"
        inventory.write_text(json.dumps({"all": {"vars": known["all"]["vars"], "hosts": hosts}}))
        return Run(together(ansible(*command, "-i", str(inventory), **environment)))

    # Switches

    def switch(self, release: str | None = None, **options: t.Any) -> dict[str, t.Any]:
        """Runs the module release_switch as the role does."""
        arguments = {
            "path": FOLDER,
            "release": release,
            "service": self.service,
            "socket": [f"{NAME}.socket"],
            "backlog_unit": f"{NAME}-backlog.service",
            "health_check": HEALTH_CHECK,
            "settle": VARIABLES["app_settle_seconds"],
            "who": VARIABLES["app_deployed_by"],
            **options,
        }
        return module("release_switch", self.host, {name: value for name, value in arguments.items() if value is not None})

    def make_live(self, release: str, **options: t.Any) -> None:
        done = self.switch(release, **options)
        assert done.get("release") == release, done
        assert self.live == release

    def prune(self, keep: int) -> dict[str, t.Any]:
        return module("release_prune", self.host, {"path": FOLDER, "keep": keep})

    def info(self) -> dict[str, t.Any]:
        return module("release_info", self.host, {"path": FOLDER, "service": self.service, "socket": [f"{NAME}.socket"]})

    # Looks

    @property
    def live(self) -> str:
        """The release that answers on the port, which must be the one that the link says."""
        return str(self.host.check_output("python3 -c %s", ASK))

    @property
    def process(self) -> str:
        """What is another one after any restart."""
        return str(self.host.check_output("systemctl show --property=MainPID,NRestarts,ActiveEnterTimestampMonotonic %s", self.service))

    @property
    def history(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.host.check_output(f"cat {FOLDER}/.deploy/history.jsonl").splitlines()]

    def manifest(self, release: str) -> dict[str, t.Any]:
        return json.loads(self.host.check_output(f"cat {FOLDER}/releases/{release}/.release.json"))

    @contextlib.contextmanager
    def asked_all_the_time(self) -> t.Iterator[list[str]]:
        """What clients get meanwhile, known at the end: the status of each answer, or that it was refused or lost."""
        seen: list[str] = []
        with self.beside("-c", KEEP_ASKING, str(PORT)) as output:
            yield seen
        seen += self.host.check_output("cat %s && rm %s", output, output).split()

    @contextlib.contextmanager
    def beside(self, *arguments: str) -> t.Iterator[str]:
        """Runs Python on the host meanwhile, and gives the file that it writes to."""
        output = f"{SAVED}/output"
        run = f"systemd-run --quiet --collect --unit={NAME}-beside --working-directory={SAVED} --property=StandardOutput=file:{output} python3"
        self.host.check_output(f"rm -f {output} && {run} " + " ".join(["%s"] * len(arguments)), *arguments)
        try:
            yield output
        finally:
            self.host.check_output(f"systemctl stop {NAME}-beside")

    # States

    def save(self, name: str) -> None:
        """Remembers releases, link and history, to begin with in another test."""
        self.host.check_output(f"mkdir -p {SAVED} && rm -rf {SAVED}/{name} && cp --archive {FOLDER} {SAVED}/{name}")

    def restore(self, name: str) -> None:
        self.host.check_output(
            f"systemctl stop {self.service} && find {FOLDER} -mindepth 1 -delete && cp --archive {SAVED}/{name}/. {FOLDER} && "
            f"if [ -e {FOLDER}/current ]; then systemctl start {self.service}; fi"
        )
