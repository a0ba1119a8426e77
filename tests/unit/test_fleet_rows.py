# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads of a fleet: what a deploy has made of it, how it is, and what was live when."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.filter.deploy_rows import deploy_rows
from ansible_collections.holdfast.systemd.plugins.filter.history_rows import history_rows
from ansible_collections.holdfast.systemd.plugins.filter.status_rows import status_rows
from ansible_collections.holdfast.systemd.plugins.filter.text_table import text_table

# As the module tells them, and as Ansible registers a task that was skipped.
DEPLOYED = {"changed": True, "release": "2", "previous": "1", "duration": 3.21, "plan": ["point current to 2"]}
UNCHANGED = {"changed": False, "release": "2", "previous": "2", "plan": []}
GONE_BACK_BY_ITSELF = {"failed": True, "msg": "Release 2 cannot be live", "release": "1", "previous": "1", "duration": 4.0, "rolled_back": True}
SKIPPED = {"changed": False, "skipped": True, "skip_reason": "Conditional result was False"}
CUT_OFF = {"unreachable": True, "msg": "Failed to connect", "changed": False}
FOUND = {"current": "1", "releases": []}


def outcome(**known: t.Any) -> tuple[t.Any, ...]:
    (row,) = deploy_rows(["web1"], {"web1": known})
    assert row["host"] == "web1"
    return row["result"], row["release"], row["previous"], row["seconds"], row["reason"]


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"release_switched": DEPLOYED}, ("deployed", "2", "1", 3.21, "")),
        ({"release_switched": UNCHANGED}, ("unchanged", "2", "", None, "")),
        ({"release_switched": {**DEPLOYED, "previous": ""}}, ("deployed", "2", "", 3.21, "")),
        # Its own failure says more than that of another host.
        (
            {"release_switched": GONE_BACK_BY_ITSELF, "release_trouble": {"reason": "Release 2 cannot be live"}, "release_halted": "web2 failed"},
            ("failed", "1", "", 4.0, "Release 2 cannot be live"),
        ),
        ({"release_found": FOUND, "release_trouble": {"reason": "disk full"}}, ("failed", "1", "", None, "disk full")),
        # What it has made of it nobody knows.
        ({"release_found": FOUND, "release_switched": CUT_OFF, "release_trouble": {"reason": "cut off"}}, ("failed", "", "", None, "cut off")),
        (
            {"release_switched": {**DEPLOYED, "release": "1", "previous": "2"}, "release_trouble": {"reason": "cut off.\nssh"}, "release_returned": True},
            ("failed", "1", "2", 3.21, "cut off; it was brought back since"),
        ),
        (
            {"release_switched": {**DEPLOYED, "release": "1", "previous": "2"}, "release_returned": True, "release_halted": "web3 failed"},
            ("gone back", "1", "2", 3.21, "web3 failed"),
        ),
        (
            {"release_switched": DEPLOYED, "release_halted": "web3 failed", "release_stays": True},
            ("deployed", "2", "1", 3.21, "no release was live before it, so it stays"),
        ),
        ({"release_switched": DEPLOYED, "release_halted": "web3 failed"}, ("deployed", "2", "1", 3.21, "")),
        ({"release_found": FOUND, "release_staged": {"changed": True}, "release_halted": "web3 failed"}, ("not reached", "1", "", None, "web3 failed")),
        ({"release_found": FOUND, "release_switched": SKIPPED, "release_halted": "web3 failed"}, ("not reached", "1", "", None, "web3 failed")),
        ({"release_found": {"unreachable": True}, "release_left_out": "no route"}, ("left out", "", "", None, "no route")),
        ({"release_found": FOUND, "release_staged": {"changed": True}}, ("staged", "1", "", None, "")),
        ({}, ("not reached", "", "", None, "")),
    ],
)
def test_a_deploy_tells_what_became_of_each_host(known: dict[str, t.Any], told: tuple[t.Any, ...]) -> None:
    assert outcome(**known) == told


def status(**found: t.Any) -> dict[str, str]:
    (row,) = status_rows(["web1"], {"web1": {"app_status": found} if found else {}})
    return row


def listener(waiting: int, backlog: int, wanted: int = 4096) -> dict[str, t.Any]:
    return {"address": "127.0.0.1:4000", "waiting": waiting, "backlog": backlog, "wanted_backlog": wanted}


WELL = {
    "app": "shop",
    "current": "2",
    "previous": "1",
    "pending": "",
    "since": "Sat 2026-11-21 10:05:00 UTC",
    "healthy": True,
    "sockets": [{"name": "shop.socket", "state": "active", "listeners": [listener(3, 4096)]}],
    "disk": {"free": 5 << 30, "total": 40 << 30},
}


def test_an_app_that_is_well_is_one_row() -> None:
    assert status(**WELL) == {
        "host": "web1",
        "app": "shop",
        "release": "2",
        "previous": "1",
        "since": "Sat 2026-11-21 10:05:00 UTC",
        "healthy": "yes",
        "socket": "active",
        "backlog": "3 of 4096",
        "disk": "5.0G of 40G",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"healthy": False}, {"healthy": "no"}),
        ({"current": "", "healthy": False}, {"release": "", "healthy": ""}),
        ({"pending": "3"}, {"release": "2 (3 is under way)"}),
        ({"sockets": []}, {"socket": "", "backlog": ""}),
        ({"sockets": [{"name": "shop.socket", "state": "active", "listeners": [listener(0, 4096), listener(0, 5)]}]}, {"backlog": "0 of 5, lowered from 4096"}),
        (
            {
                "sockets": [
                    {"name": "shop.socket", "state": "active", "listeners": []},
                    {"name": "shop-admin.socket", "state": "failed", "listeners": []},
                ]
            },
            {"socket": "shop.socket active, shop-admin.socket failed"},
        ),
        ({"disk": {"free": 900, "total": 3 << 50}}, {"disk": "900B of 3072T"}),
        ({"disk": {}}, {"disk": ""}),
    ],
)
def test_what_is_not_well_stands_out(changes: dict[str, t.Any], told: dict[str, str]) -> None:
    assert status(**{**WELL, **changes}).items() >= told.items()


@pytest.mark.parametrize(
    ("found", "healthy", "reason"),
    [
        ({"unreachable": True, "msg": "no route to host"}, "unreachable", "no route to host"),
        ({"msg": "app_deploy_user: not there"}, "unknown", "app_deploy_user: not there"),
        ({}, "unknown", "it was not asked"),
    ],
)
def test_a_host_that_cannot_be_asked_has_a_row_too(found: dict[str, t.Any], healthy: str, reason: str) -> None:
    assert status(**found).items() >= {"host": "web1", "healthy": healthy, "reason": reason, "release": ""}.items()


def record(time: str, release: str, **changes: t.Any) -> dict[str, t.Any]:
    plain = {"time": time, "id": release, "from": None, "action": "deploy", "strategy": "restart", "who": "alice"}
    return {**plain, "duration": 1.5, "result": "ok", "reason": "", **changes}


def test_the_switches_of_all_hosts_stand_in_the_order_of_their_times() -> None:
    known = {
        "web1": {"app_history": {"history": [record("10:00", "1"), record("10:09", "2", duration=None, result="interrupted", **{"from": "1"})]}},
        "web2": {"app_history": {"history": [record("10:05", "1")]}},
        "web3": {"app_history": {"unreachable": True, "msg": "no route"}},
        "web4": {},
    }
    rows = history_rows(list(known), known)
    assert [(row["time"], row["host"], row["release"], row["from"], row["seconds"], row["result"]) for row in rows] == [
        ("", "web3", "", "", None, "unreachable"),
        ("", "web4", "", "", None, "unknown"),
        ("10:00", "web1", "1", "", 1.5, "ok"),
        ("10:05", "web2", "1", "", 1.5, "ok"),
        ("10:09", "web1", "2", "1", None, "interrupted"),
    ]
    assert {row["reason"] for row in rows[:2]} == {"no route", "it was not asked"}


def test_a_table_is_aligned_and_shows_what_is_missing() -> None:
    rows = [{"host": "web1", "release": "20261121", "seconds": 3.25, "up": True}, {"host": "web-with-a-name", "release": "", "seconds": None, "up": False}]
    assert text_table(rows, ["host", "release", "seconds", "up"]) == [
        "host             release   seconds  up",
        "web1             20261121  3.2      yes",
        "web-with-a-name  -         -        no",
    ]


def test_a_reason_of_several_lines_shows_its_first() -> None:
    assert text_table([{"reason": "it did not start.\nThe last lines of its journal:\n  boom"}], ["reason"]) == ["reason", "it did not start."]


def test_a_table_without_rows_has_its_columns() -> None:
    assert text_table([], ["host", "result"]) == ["host  result"]
