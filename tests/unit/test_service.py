# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands of a deploy take over from the service, and what shows which release a process runs."""

from __future__ import annotations

import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _unit_file
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import Commands
from ansible_collections.holdfast.systemd.plugins.module_utils._health import Check
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._service import Service

UNIT = """[Service]
User=shop
WorkingDirectory={folder}/current
ExecStart=/bin/sh -c 'exec "$$(pwd -P)/$$0" "$$@"' bin/shop
PIDFile=/run/shop/shop.pid
RuntimeDirectory=shop
EnvironmentFile=-{folder}/current/etc/environment
EnvironmentFile=/etc/shop/app_environment
EnvironmentFile=-/run/shop/environment
BindReadOnlyPaths={folder}/current:/app {folder}/currently
"""


class FakeSystemd:
    """A systemd with one service."""

    way_in = ()

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def show(self, _unit: str, *_properties: str) -> dict[str, str]:
        return {"ActiveState": "active", "MainPID": str(self.pid)}


def service(folder: Path, pid: int = 0) -> Service:
    systemd: t.Any = FakeSystemd(pid)
    return Service(systemd, Releases(str(folder)), service="shop.service", sockets=[])


def taken(folder: Path, *commands: t.Any) -> dict[str, list[str]]:
    wanted = Commands(commands, service="shop.service", release="new", folder=f"{folder}/releases/new", timeout="10min", variable="app_before_switch")
    return _unit_file.parse(wanted.unit(UNIT.format(folder=folder)))["Service"]


def test_a_command_reads_the_environment_of_its_own_release(tmp_path: Path) -> None:
    files = taken(tmp_path, "bin/migrate")["EnvironmentFile"]
    # `current` is the old release while commands run before the switch.
    assert files == [f"-{tmp_path}/releases/new/etc/environment", "/etc/shop/app_environment", "-/run/shop/environment"]


def test_a_command_finds_its_own_release_wherever_the_service_names_its_own(tmp_path: Path) -> None:
    found = taken(tmp_path, "bin/migrate")
    assert found["BindReadOnlyPaths"] == [f"{tmp_path}/releases/new:/app {tmp_path}/currently"]
    assert found["WorkingDirectory"] == [f"{tmp_path}/releases/new"]
    assert "PIDFile" not in found


def test_of_the_commands_that_a_dead_switch_has_left_only_the_app_s_own_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, ended = service(tmp_path), []
    units = ["shop-deploy-7.service", "shop-deploy-web.service", "shop-deploy-7-web.service"]
    monkeypatch.setattr(app.systemd, "loaded", lambda _pattern: units, raising=False)
    monkeypatch.setattr(app.systemd, "forget_once", lambda *names: ended.extend(names), raising=False)
    app.end_commands()
    assert ended == ["shop-deploy-7.service"]


@pytest.mark.parametrize("command", ["+bin/migrate", "-!/usr/bin/migrate", ["+/usr/bin/migrate", "x"]])
def test_a_command_that_root_runs_reads_nothing_that_the_app_may_write(tmp_path: Path, command: t.Any) -> None:
    files = taken(tmp_path, "bin/look", command)["EnvironmentFile"]
    assert files == [f"-{tmp_path}/releases/new/etc/environment", "/etc/shop/app_environment"]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release whose program works in the folder of another."""
    for name in ("new", "old"):
        (tmp_path / f"releases/{name}").mkdir(parents=True)
        (tmp_path / f"releases/{name}/app.py").write_text("print(flush=True); input()")
    return tmp_path / "releases/new"


def started(program: Path, works_in: Path) -> subprocess.Popen[bytes]:
    """A process that runs; before that the kernel does not know its arguments."""
    process = subprocess.Popen([sys.executable, program], cwd=works_in, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


@pytest.mark.parametrize("works_in", ["releases/new", "."])
def test_a_process_runs_a_release_if_it_works_there_or_was_started_from_there(tmp_path: Path, release: Path, works_in: str) -> None:
    process = started(release / "app.py", tmp_path / works_in)
    try:
        assert service(tmp_path, process.pid)._look("new", Check()) is None
    finally:
        process.communicate(b"\n")


def test_a_process_of_another_release_is_told_from_it(tmp_path: Path, release: Path) -> None:
    process = started(tmp_path / "releases/old/app.py", tmp_path)
    try:
        assert f"does not run in {release}" in str(service(tmp_path, process.pid)._look("new", Check()))
        assert service(tmp_path, process.pid).release() == "old"
    finally:
        process.communicate(b"\n")
