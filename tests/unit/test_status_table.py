# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads of an app."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.filter.status_table import status_table


def release(name: str, **changes: t.Any) -> dict[str, t.Any]:
    return {"id": name, "staged_at": "2026-11-21T10:00:00.000Z", "last_live": "", "bad": False, **changes}


def record(name: str, **changes: t.Any) -> dict[str, t.Any]:
    plain = {"time": "2026-11-21T10:05:00.000Z", "id": name, "from": None, "action": "deploy", "who": "alice"}
    return {**plain, "duration": 1.26, "result": "ok", "reason": "", **changes}


def listener(**changes: t.Any) -> dict[str, t.Any]:
    return {"address": "127.0.0.1:4000", "waiting": 0, "backlog": 4096, "wanted_backlog": 4096, **changes}


def socket(*listeners: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    return {"name": "shop.socket", "state": "active", "since": "Sat 2026-11-21 09:00:00 UTC", "listeners": list(listeners), **changes}


def lines(**changes: t.Any) -> list[str]:
    found: dict[str, t.Any] = {
        "app": "shop",
        "current": "2",
        "running": "2",
        "service": "active",
        "since": "Sat 2026-11-21 10:05:00 UTC",
        "pid": 4711,
        "previous": "1",
        "pending": "",
        "sockets": [],
        "releases": [],
        "history": [],
    }
    return status_table({**found, **changes}).splitlines()


def test_an_app_that_is_well_is_told_in_a_few_aligned_lines() -> None:
    assert lines(
        sockets=[socket(listener(waiting=3))],
        releases=[release("1"), release("2")],
        history=[record("1"), record("2", **{"from": "1"})],
    ) == [
        "app       shop",
        "current   2",
        "running   2",
        "service   active since Sat 2026-11-21 10:05:00 UTC, PID 4711",
        "previous  1",
        "socket    shop.socket active since Sat 2026-11-21 09:00:00 UTC",
        "          127.0.0.1:4000: 3 waiting, backlog 4096",
        "release   2 staged 2026-11-21T10:00:00.000Z  (live)",
        "release   1 staged 2026-11-21T10:00:00.000Z",
        "deploy    2026-11-21T10:05:00.000Z 1 -> 2 by alice, ok in 1.3 s",
        "deploy    2026-11-21T10:05:00.000Z nothing -> 1 by alice, ok in 1.3 s",
    ]


def test_the_table_ends_in_a_line_end() -> None:
    assert status_table({}).endswith("\n")


def test_before_the_first_deploy_nothing_is_live() -> None:
    assert lines(current="", running="", previous="", service="inactive", since="", pid=0) == [
        "app       shop",
        "current   none",
        "running   none",
        "service   inactive since ever, PID 0",
        "previous  none",
    ]


def test_a_host_without_systemd_still_has_releases() -> None:
    found = status_table({"app": "shop", "current": "1", "previous": "", "pending": "", "releases": [release("1")], "history": [], "sockets": []})
    assert "service   unknown since ever, PID 0" in found.splitlines()
    assert "release   1 staged 2026-11-21T10:00:00.000Z  (live)" in found.splitlines()


def test_what_the_app_says_of_itself_stands_below_its_state() -> None:
    found = lines(status_text="serving 12 clients")
    assert found[found.index("service   active since Sat 2026-11-21 10:05:00 UTC, PID 4711") + 1] == "status    serving 12 clients"


def test_a_process_of_another_release_stands_out() -> None:
    assert "running   1  (not the current one)" in lines(running="1")
    assert "running   none  (not the current one)" in lines(running="")


def test_a_switch_that_has_not_ended_stands_out() -> None:
    assert "pending   3  (a switch is under way, or died)" in lines(pending="3")


@pytest.mark.parametrize(
    ("name", "bad", "marks"),
    [("2", False, "  (live)"), ("1", True, "  (bad)"), ("2", True, "  (live, bad)"), ("1", False, "")],
)
def test_a_release_is_marked_live_and_bad(name: str, bad: bool, marks: str) -> None:
    assert lines(releases=[release(name, bad=bad)])[-1] == f"release   {name} staged 2026-11-21T10:00:00.000Z{marks}"


def test_a_backlog_that_the_app_has_lowered_is_told_with_what_it_should_be() -> None:
    found = lines(sockets=[socket(listener(backlog=128), listener(address="/run/shop.sock"))])
    assert found[-2:] == [
        "          127.0.0.1:4000: 0 waiting, backlog 128, lowered by the app from 4096",
        "          /run/shop.sock: 0 waiting, backlog 4096",
    ]


def test_a_socket_that_never_started_is_told_so() -> None:
    assert lines(sockets=[socket(state="inactive", since="")])[-1] == "socket    shop.socket inactive since ever"


def test_a_failure_is_told_with_its_reason() -> None:
    found = lines(history=[record("3", result="failed", reason="it did not start", **{"from": "2"})])
    assert found[-1] == "deploy    2026-11-21T10:05:00.000Z 2 -> 3 by alice, failed in 1.3 s: it did not start"


def test_an_interrupted_switch_has_no_duration() -> None:
    found = lines(history=[record("3", action="rollback", result="interrupted", duration=None, **{"from": "2"})])
    assert found[-1] == "rollback  2026-11-21T10:05:00.000Z 2 -> 3 by alice, interrupted"


def test_a_reason_of_several_lines_stays_in_its_column() -> None:
    reason = "app_before_switch failed (bin/migrate):\n  no such table: orders\n"
    found = lines(history=[record("3", result="failed", reason=reason)])
    assert found[-2:] == [
        "deploy    2026-11-21T10:05:00.000Z nothing -> 3 by alice, failed in 1.3 s: app_before_switch failed (bin/migrate):",
        "            no such table: orders",
    ]


def test_of_a_long_history_the_last_five_switches_are_told_newest_first() -> None:
    found = lines(history=[record(str(number)) for number in range(8)])
    assert [line.split()[4] for line in found if line.startswith("deploy")] == ["7", "6", "5", "4", "3"]
