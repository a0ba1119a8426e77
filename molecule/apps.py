# SPDX-License-Identifier: GPL-3.0-or-later
"""An app of a scenario's own on a test host, and how it is looked at."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import typing as t

from clients import asked_all_the_time
from playbooks import ROOT, archive, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host


def tool(*command: str) -> None:
    subprocess.run([ROOT / "tools/container", *command], check=True)


class App:
    """An app on a host, at a port of its own."""

    def __init__(self, host: Host, name: str, port: int, base: str) -> None:
        self.host = host
        self.name = name
        self.port = port
        self.folder = f"{base}/{name}"
        self.variables: dict[str, t.Any] = {
            "app_name": name,
            "app_base_dir": base,
            "app_command": "bin/demo",
            "app_listen": [f"127.0.0.1:{port}"],
            "app_service_type": "notify",
            "app_environment": {"DEMO_START_SECONDS": "2"},
            "app_health_check": {"url": f"http://127.0.0.1:{port}/", "header": {"X-Release": "{release}"}},
            "app_settle_seconds": 0.2,
            "app_keep_releases": 0,
        }
        self.switch: dict[str, t.Any] = {
            "path": self.folder,
            "service": f"{name}.service",
            "socket": [f"{name}.socket"],
            "stand_in": f"{name}@.service",
            "backlog_unit": f"{name}-backlog.service",
            "health_check": self.variables["app_health_check"],
            "settle": 0.2,
            "who": "alice",
        }

    def deploy(self, release: str, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        given = {**self.variables, "app_release_id": release, "app_release_src": archive("disaster"), **variables}
        return playbook("deploy", self.host, given, *options)

    def begin_switch(self, **arguments: t.Any) -> subprocess.Popen[str]:
        """Begins a switch, and does not wait for it."""
        name = self.host.backend.get_hostname()
        command = ["ansible", name, "-m", "holdfast.systemd.release_switch", "-a", json.dumps({**self.switch, **arguments})]
        plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
        return subprocess.Popen(command, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def current(self) -> str:
        return str(self.host.check_output(f"readlink {self.folder}/current")).removeprefix("releases/")

    def answers(self) -> str:
        """The release that answers now."""
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{self.port}/', timeout=60).headers['X-Release'])"
        return str(self.host.check_output(f'python3 -c "{script}"')).strip()

    def asked_all_the_time(self) -> contextlib.AbstractContextManager[list[str]]:
        """What clients get meanwhile, known at the end: the status of each answer, or that it was refused or lost."""
        return asked_all_the_time(self.host, self.port)

    def history(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.host.check_output(f"cat {self.folder}/.deploy/history.jsonl").splitlines() if line]

    def wait_until(self, condition: str) -> None:
        self.host.check_output(f"timeout 60 sh -c 'until {condition}; do sleep 0.05; done'")


def live(app: App, *releases: str) -> App:
    """Sets an app up with these releases, the last one of which is live."""
    done = playbook("setup", app.host, app.variables)
    assert done.returncode == 0, done.stdout
    for release in releases:
        done = app.deploy(release)
        assert done.returncode == 0, done.stdout
    return app
