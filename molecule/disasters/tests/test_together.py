# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys of the same app at the same time: one after the other, and whoever waits too long is told for whom."""

from __future__ import annotations

import concurrent.futures
import datetime
import typing as t

import pytest

from apps import App
from playbooks import module

pytestmark = pytest.mark.long


def test_eight_at_once_run_one_after_the_other(app: App) -> None:
    releases = [f"together-{number}" for number in range(8)]
    known = len(app.history())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda release: app.deploy(release, app_lock_timeout=300), releases))
    assert [run.stdout for run in done if run.returncode != 0] == []
    records = app.history()[known:]
    assert sorted(record["id"] for record in records) == releases
    assert {record["result"] for record in records} == {"ok"}
    for earlier, later in zip(records, records[1:]):
        assert began(earlier) + datetime.timedelta(seconds=earlier["duration"]) <= began(later) + datetime.timedelta(milliseconds=2)
        assert later["from"] == earlier["id"]
    assert app.answers() == app.current() == records[-1]["id"]


def began(record: dict[str, t.Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))


def test_who_waits_too_long_is_told_for_whom(app: App) -> None:
    goal = "one" if app.current() == "two" else "two"
    first = app.begin_switch(release=goal, before=[["/bin/sleep", "8"]])
    app.wait_until("pgrep --exact sleep >/dev/null")
    second = module("release_switch", app.host, {**app.switch, "release": "one", "who": "bob", "lock_timeout": 0.5})
    told, _nothing = first.communicate()
    assert first.returncode == 0, told
    assert f"another deploy of this app is under way: release {goal} by alice (PID " in second["msg"]
    assert " since 20" in second["msg"]
    assert "app_lock_timeout (0.5 s)" in second["msg"]
