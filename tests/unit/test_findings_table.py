# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads of the doctor."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.holdfast.systemd.plugins.filter.findings_table import findings_table


def finding(severity: str = "problem", code: str = "forking") -> dict[str, str]:
    return {"code": code, "severity": severity, "title": "The app goes into the background", "seen": "shop.service has Type=forking", "fix": "Do not fork."}


def lines(**changes: t.Any) -> list[str]:
    found: dict[str, t.Any] = {
        "app": "shop",
        "main": {"pid": 7, "command": "/usr/bin/python3 app.py", "release": "2"},
        "sockets": [{"name": "shop.socket", "address": "127.0.0.1:4000", "backlog": 4096, "wanted_backlog": 4096, "accepted": True}],
        "findings": [],
        "unseen": [],
    }
    return findings_table({**found, **changes}).splitlines()


def test_an_app_that_is_well_is_told_in_a_few_aligned_lines() -> None:
    assert lines() == [
        "app       shop",
        "process   PID 7, release 2, /usr/bin/python3 app.py",
        "socket    shop.socket 127.0.0.1:4000, backlog 4096 of 4096, answered",
        "verdict   nothing found",
    ]


def test_a_finding_is_told_with_what_shows_it_and_what_to_do() -> None:
    assert lines(findings=[finding()])[-4:] == [
        "verdict   1 problem",
        "problem   forking: The app goes into the background",
        "  seen    shop.service has Type=forking",
        "  fix     Do not fork.",
    ]


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [
        (["problem", "problem"], "2 problems"),
        (["advice"], "1 piece of advice"),
        (["problem", "advice", "advice"], "1 problem and 2 pieces of advice"),
    ],
)
def test_problems_and_advice_are_counted(severities: list[str], verdict: str) -> None:
    assert f"verdict   {verdict}" in lines(findings=[finding(severity) for severity in severities])


def test_what_could_not_be_seen_is_told_last() -> None:
    assert lines(findings=[finding()], unseen=["a second instance was not started: this is check mode"])[-1] == (
        "unseen    a second instance was not started: this is check mode"
    )


@pytest.mark.parametrize(
    ("tried", "told"),
    [
        (
            {"late": 0.0123, "in_hand": 8, "answered": 8},
            "tried     a second instance took a connection 12 ms after its start, 8 of 8 requests in hand answered when it was stopped",
        ),
        ({"late": 1.5, "in_hand": 0, "answered": 0}, "tried     a second instance took a connection 1500 ms after its start"),
        ({"late": None, "in_hand": 0, "answered": 0}, "tried     a second instance started, and took no connection"),
    ],
)
def test_what_a_second_instance_has_shown_is_told(tried: dict[str, t.Any], told: str) -> None:
    assert told in lines(tried={"failed": "", **tried})


def test_a_second_instance_that_did_not_start_is_told_only_as_a_finding() -> None:
    assert not any(line.startswith("tried") for line in lines(tried={"failed": "address in use", "late": 0, "in_hand": 0, "answered": 0}))


def test_an_app_that_does_not_run_has_no_process() -> None:
    found = lines(
        main={"pid": 0, "command": "", "release": ""},
        sockets=[{"name": "shop.socket", "address": "/run/shop.sock", "backlog": 0, "wanted_backlog": 0, "accepted": None}],
    )
    assert found[1:3] == ["process   none", "socket    shop.socket /run/shop.sock"]


def test_who_was_not_answered_is_told() -> None:
    socket = {"name": "shop.socket", "address": "127.0.0.1:4000", "backlog": 5, "wanted_backlog": 4096, "accepted": False}
    assert lines(sockets=[socket])[2] == "socket    shop.socket 127.0.0.1:4000, backlog 5 of 4096, not answered"
