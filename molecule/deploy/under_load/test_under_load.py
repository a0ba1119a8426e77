# SPDX-License-Identifier: GPL-3.0-or-later
"""Three deploys in a row under load: no client was refused, and none saw a release that was not live."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Unit


@pytest.fixture
def load(reported: t.Callable[[str], dict[str, t.Any]]) -> dict[str, t.Any]:
    return reported("under_load")


def test_no_request_failed(load: dict[str, t.Any]) -> None:
    assert load["failures"] == {}
    assert load["requests"] > 5000


def test_the_clients_met_every_release(load: dict[str, t.Any]) -> None:
    assert set(load["releases"]) == {"first", "second", "third", "fourth"}


def test_the_load_outlasted_the_deploys(load: dict[str, t.Any], history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    ended = history("demo")[-1]["ended"]
    assert history("demo")[-1]["id"] == "fourth"
    assert load["first_ended"] < ended < load["last_ended"] - 1


def test_nobody_waited_longer_than_a_stop_and_a_start(load: dict[str, t.Any]) -> None:
    assert load["slowest_ms"] < 5000


def test_the_service_was_restarted_and_the_socket_was_not(load: dict[str, t.Any], unit: t.Callable[[str], Unit]) -> None:
    assert f"MainPID={unit('demo.service')['MainPID']}" not in load["units"].split()
    assert load["units"].split()[0] == f"ActiveEnterTimestampMonotonic={unit('demo.socket')['ActiveEnterTimestampMonotonic']}"


def test_the_history_tells_every_deploy(history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    assert [(record["id"], record["from"], record["result"]) for record in history("demo")] == [
        ("first", None, "ok"),
        ("second", "first", "ok"),
        ("third", "second", "ok"),
        ("fourth", "third", "ok"),
    ]
