# SPDX-License-Identifier: GPL-3.0-or-later
"""The apps of this scenario, one with the value of every row of the table, one with none, one without a socket, and how they are looked at."""

from __future__ import annotations

import dataclasses
import shutil
import typing as t
from pathlib import Path

import yaml

from playbooks import ROOT, SCRATCH, playbook

if t.TYPE_CHECKING:
    import subprocess

    from testinfra.host import Host

FOLDER = Path(__file__).parent
# The files in rows/, in the order of the page.
FILES = ("app", "companions", "hardening", "sockets", "unprivileged")

PROGRAMS = {
    "bin/wrap": 'export WRAPPED=$1; shift; exec "$@"',
    "bin/fail": "exit 1",
    "bin/stop": 'echo "$0 $MAINPID" >>"$STATE_DIR/stopped"',
    "bin/migrate": 'echo "$(basename "$PWD") as $(id -un)" >"$STATE_DIR/migrated"',
    "bin/find-out": 'echo FROM_BOOT=yes >"$RUNTIME_DIR/environment"',
    "bin/environment": 'env >"$STATE_DIR/environment-$1"',
}
# Where the app's environment comes from, in the order in which it is read; the last one wins.
LAYERS = ("release", "variable", "/srv/parity-unset/etc/environment", "/etc/parity-unset/environment", "/run/parity-unset/environment", "/etc/parity-last")


def rows(*files: str) -> list[dict[str, t.Any]]:
    """The rows of these files, in their order."""
    return [row for name in files for part in yaml.safe_load((FOLDER / f"rows/{name}.yml").read_text()).values() for row in part]


@dataclasses.dataclass
class App:
    """One of the apps on a host."""

    host: Host
    name: str
    folder: str
    user: str
    group: str
    variables: dict[str, t.Any]
    # What the process has in its environment since the last play, for each look costs a connection.
    seen: dict[str, str] = dataclasses.field(default_factory=dict)

    def play(self, name: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        self.seen = {}
        return playbook(name, self.host, {**self.variables, **variables})

    def deploy(self, release: str, **variables: t.Any) -> None:
        # Tests of several hosts run at the same time.
        scratch = SCRATCH / f"{self.host.backend.get_hostname()}-{self.name}"
        done = self.play("deploy", app_release_id=release, app_release_src=content(release, scratch), **variables)
        assert done.returncode == 0, done.stdout

    @property
    def as_the_app(self) -> str:
        return f"setpriv --reuid={self.user} --regid={self.group} --clear-groups"

    @property
    def peek(self) -> str:
        """Runs a command as root, or else as the app: whether a process has accounts of its own decides who may look into it."""
        return f'sh -c \'"$@" 2>/dev/null || {self.as_the_app} "$@"\' peek'

    def property(self, name: str, unit: str = "") -> str:
        return str(self.host.check_output("systemctl show --value --property=%s %s", name, unit or f"{self.name}.service"))

    def environment(self, unit: str = "") -> dict[str, str]:
        found = self.host.check_output(f"{self.peek} cat /proc/{self.property('MainPID', unit)}/environ").split("\0")
        return dict(variable.split("=", 1) for variable in found if variable)

    def look(self, what: t.Mapping[str, t.Any]) -> str | None:
        """What there is to see, as a row of the table says where."""
        if "property" in what:
            return self.property(what["property"], what.get("unit", ""))
        if "environment" in what:
            self.seen = self.seen or self.environment()
            return self.seen.get(what["environment"])
        pid = self.property("MainPID") if "{pid}" in what["run"] else ""
        return str(self.host.check_output(what["run"].format(pid=pid, app=self.as_the_app, peek=self.peek)))


def layer(number: int) -> dict[str, str]:
    """What a layer of the environment says: its own name, in its own variable and in those of all that are above it."""
    return {f"LAYER_{above}": LAYERS[number] for above in range(number, len(LAYERS))}


def content(release: str, scratch: Path) -> str:
    """A folder with a release of the demo app, with further programs and an environment of its own."""
    folder = scratch / release
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tests/apps/demo", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc/environment").write_text("".join(f"{name}={value}\n" for name, value in {**layer(0), "FROM_RELEASE": release}.items()))
    return str(folder)
