# SPDX-License-Identifier: GPL-3.0-or-later
"""What release_switch does when a step of its plan fails in a way that nobody has thought of."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _switch
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases
from ansible_collections.holdfast.systemd.plugins.modules.release_switch import Failed, Switch


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
