# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch refuses, check mode refuses too; a switch that died is put right before anything is refused; and whatever fails is gone back from."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _switch
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import ReleaseError, Releases
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import Systemd
from ansible_collections.holdfast.systemd.plugins.modules.release_switch import Failed, Switch


class Host:
    """A host with the app's folder, one release in it, and a systemd that remembers what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases = Releases(str(folder))
        self.active = {"shop.socket"}
        self.told: list[str] = []
        (folder / ".deploy").mkdir()
        (folder / "releases/1").mkdir(parents=True)
        (folder / "releases/1/.release.json").write_text(json.dumps({"id": "1", "staged_at": "2026-11-21T00:00:00.000Z"}))

    def run(self, command: t.Sequence[str], **_options: t.Any) -> tuple[int, str, str]:
        verb, name = (command[2], command[-1]) if command[0] == "systemctl" else ("", "")
        if verb == "show":
            return 0, f"ActiveState={'active' if name in self.active else 'inactive'}\nType=exec\nNonBlocking=yes\nLoadState=loaded\nCanReload=no\n", ""
        if verb in ("start", "stop", "restart"):
            self.told.append(f"{verb} {name}")
            (self.active.discard if verb == "stop" else self.active.add)(name)
        return 0, "", ""

    def switch(self, *, check: bool, **options: t.Any) -> dict[str, t.Any]:
        given = {"service": "shop.service", "socket": ["shop.socket"], "strategy": "restart", "stand_in": "shop@.service", "who": "tester"}
        defaults = {
            "health_check": {"command": ["/bin/true"], "retries": 1},
            "settle": 0,
            "lock_timeout": 1,
            "memory_headroom": 0,
            "command_timeout": "1s",
            "rollback_on_failure": True,
        }
        unset: dict[str, t.Any] = {"release": None, "rollback": False, "restart": False, "backlog_unit": None, "before": [], "after": []}
        parameters = {"path": str(self.folder), **given, **defaults, **unset, **options}
        module: t.Any = SimpleNamespace(params=parameters, check_mode=check, warn=print, run_command=self.run)
        return Switch(module).run()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(Systemd, "is_running", staticmethod(lambda: True))
    return Host(tmp_path)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rollback": True, "release": "gone"}, "app_rollback_to: release gone has not been staged"),
        ({"release": "1", "strategy": "overlap"}, "app_switch: overlap must know when a release is ready"),
        ({"release": "1", "strategy": "reload"}, "app_switch: shop.service cannot be reloaded"),
        ({"release": "1", "socket": ["dead.socket"]}, "dead.socket is not active, so nothing holds the port"),
    ],
)
def test_what_cannot_be_switched_to_is_refused_in_check_mode_too(host: Host, check: bool, options: dict[str, t.Any], complaint: str) -> None:
    with pytest.raises(ReleaseError, match=complaint):
        host.switch(check=check, **options)
    assert host.told == []


def test_check_mode_shows_the_way_to_a_release_that_is_yet_to_be_staged(host: Host) -> None:
    # Neither are the units there yet on a clean host.
    assert host.switch(check=True, release="2", socket=["dead.socket"], strategy="overlap")["changed"]


def test_check_mode_shows_a_restart_for_units_that_are_yet_to_be_written(host: Host) -> None:
    host.releases.flip("1")
    assert host.switch(check=True, restart=True, strategy="overlap")["release"] == "1"


def test_ports_that_a_dead_run_had_closed_are_open_again_before_the_next_deploy(host: Host) -> None:
    host.active.clear()
    died = {"time": "2026-11-21T00:00:00.000Z", "id": "1", "from": None, "action": "deploy", "strategy": "restart", "who": "tester"}
    host.releases.begin({**died, "reason": "it did not start"})
    with pytest.raises(Failed):  # nothing really runs here
        host.switch(check=False, release="1")
    assert host.told[0] == "start shop.socket"


# A step that fails in a way that nobody has thought of


class Journal:
    def journal(self, *_units: str, **_options: t.Any) -> list[str]:
        return []


class Service:
    service = "shop.service"

    def prepare(self, *, again: bool) -> None:
        pass

    def stand_ins(self) -> list[str]:
        return []


class Stumbling(Switch):
    """Does nothing but remember what it was to do, and fails at the first restart."""

    # pylint: disable-next=super-init-not-called
    def __init__(self, folder: Path) -> None:
        self.releases = Releases(str(folder))
        self.systemd = t.cast("t.Any", Journal())
        self.service = t.cast("t.Any", Service())
        self.strategy, self.action, self.who = "restart", "deploy", "alice"
        self.done: list[str] = []

    def _plan(self, release: str) -> _switch.Plan | None:
        return _switch.plan("restart", release=release, current="1", previous="1")

    def _do(self, step: _switch.Step) -> None:
        self.done.append(f"{step.verb} {step.release}".strip())
        if self.done.count(f"restart {step.release}") and step.release == "2":
            raise KeyError("a thing nobody has thought of")


def test_whatever_a_step_fails_with_it_is_gone_back_from(tmp_path: Path) -> None:
    switch = Stumbling(tmp_path)
    (tmp_path / "releases").mkdir()
    with switch.releases.lock("2", who="alice", timeout=0), pytest.raises(Failed, match="a thing nobody has thought of"):
        switch._switch("2")
    assert switch.done == ["flip 2", "backlog", "restart 2", "flip 1", "backlog", "restart 1", "prove 1"]
    assert switch.releases.pending() is None
    assert [record["result"] for record in switch.releases.history()] == ["failed"]
