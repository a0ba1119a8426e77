# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands beside an app: what it takes over from the service, and what a switch does with it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.holdfast.systemd.plugins.module_utils._commands import NOT_FOR_COMMANDS
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._service import Service, Unhealthy
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd

VARS = Path(__file__).resolve().parents[2] / "roles/units/vars/main.yml"
SERVICE = {"Requires": "system.slice shop.socket shop-runtime-environment.service shop-config-sync.service shop-cache.service postgresql.service"}
UNITS = {
    "shop.service": SERVICE,
    "shop-runtime-environment.service": {"Type": "oneshot", "ActiveState": "active", "CanReload": "yes"},
    "shop-config-sync.service": {"Type": "oneshot", "ActiveState": "inactive", "CanReload": "no"},
    "shop-cache.service": {"Type": "exec", "ActiveState": "inactive"},
}


class Host:
    """Answers as systemctl and journalctl do, and remembers what they were told."""

    def __init__(self, **failing: str) -> None:
        self.failing = failing
        self.did: list[str] = []

    def run(self, command: list[str], **_options: t.Any) -> tuple[int, str, str]:
        if "journalctl" in command:
            return 0, "no store answers\n", ""
        verb, unit = command[2], command[-1]
        if verb == "show":
            known = {**UNITS.get(unit, {}), **({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "3"} if unit in self.failing else {})}
            return 0, "".join(f"{name}={value}\n" for name, value in known.items()), ""
        self.did.append(f"{verb} {unit}")
        return (1, "", "it failed") if unit in self.failing else (0, "", "")

    @property
    def service(self) -> Service:
        return Service(Systemd(self.run), Releases("/nowhere"), service="shop.service", sockets=["shop.socket"])


def test_a_deploy_starts_what_the_service_needs_and_what_is_its_own_and_ends() -> None:
    host = Host()
    host.service.prepare(again=False)
    assert host.did == ["start shop-runtime-environment.service", "start shop-config-sync.service"]


def test_a_restart_by_setup_runs_again_what_has_run_for_all() -> None:
    host = Host()
    host.service.prepare(again=True)
    assert host.did == ["reload shop-runtime-environment.service", "start shop-config-sync.service"]


def test_a_failure_is_told_with_the_last_lines() -> None:
    host = Host(**{"shop-config-sync.service": "fails"})
    with pytest.raises(Unhealthy, match=r"shop-config-sync\.service, without which shop.service does not start, failed \(exit-code, status 3\):\n  no store"):
        host.service.prepare(again=False)


def test_a_service_that_does_not_start_for_want_of_another_unit_says_so() -> None:
    host = Host(**{"shop-config-sync.service": "fails", "shop.service": "fails"})
    with pytest.raises(Unhealthy, match=r"shop-config-sync\.service, without which"):
        host.service.restart()


@pytest.mark.parametrize(("state", "stale"), [("not-found", False), ("loaded", True)])
def test_a_drop_in_of_a_unit_that_is_not_there_needs_no_reload(tmp_path: Path, state: str, stale: bool) -> None:
    path = tmp_path / "shop-run-.service.d/10-x.conf"
    path.parent.mkdir()
    path.touch()
    systemd = Systemd(lambda _command, **_options: (0, f"FragmentPath=\nDropInPaths=\nNeedDaemonReload=no\nLoadState={state}\n", ""))
    assert systemd.needs_reload("shop-run-.service", str(path)) is stale


def test_commands_of_a_deploy_and_of_people_leave_the_same_to_the_app() -> None:
    # Only a deploy runs its commands in another release than the live one.
    of_a_deploy = NOT_FOR_COMMANDS.pattern.replace("|WorkingDirectory", "").replace("\\Z", "")
    assert yaml.safe_load(VARS.read_text())["units_of_the_app_alone"] == of_a_deploy + "$"
