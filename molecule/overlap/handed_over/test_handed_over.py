# SPDX-License-Identifier: GPL-3.0-or-later
"""Two deploys and a broken one under load: no client was refused, and none waited for an app to start."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

START_SECONDS = 4


@pytest.fixture
def load(reported: t.Callable[[str], dict[str, t.Any]]) -> dict[str, t.Any]:
    return reported("hand_over")


@pytest.fixture
def never_ready(reported: t.Callable[[str], dict[str, t.Any]]) -> dict[str, t.Any]:
    return reported("never_ready")


def test_no_request_failed(load: dict[str, t.Any]) -> None:
    assert load["failures"] == {}
    assert load["requests"] > 5000


def test_nobody_waited_for_an_app_to_start(load: dict[str, t.Any]) -> None:
    assert load["slowest_ms"] < START_SECONDS * 1000 / 2


def test_the_clients_met_every_good_release_and_no_other(load: dict[str, t.Any]) -> None:
    assert set(load["releases"]) == {"first", "second", "third"}


def test_the_load_outlasted_the_deploys(load: dict[str, t.Any], history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    records = history("overlap")
    assert [(record["id"], record["strategy"], record["result"]) for record in records] == [
        ("first", "overlap", "ok"),
        ("second", "overlap", "ok"),
        ("third", "overlap", "ok"),
        ("broken", "overlap", "failed"),
    ]
    assert load["first_ended"] < records[1]["ended"]
    assert records[-1]["ended"] < load["last_ended"] - 1


def test_the_service_was_restarted_and_the_socket_was_not(load: dict[str, t.Any], unit: t.Callable[[str], Unit]) -> None:
    assert f"MainPID={unit('overlap.service')['MainPID']}" not in load["units"].split()
    assert load["units"].split()[0] == f"ActiveEnterTimestampMonotonic={unit('overlap.socket')['ActiveEnterTimestampMonotonic']}"


def test_a_release_that_never_gets_ready_has_touched_nothing(host: Host, unit: t.Callable[[str], Unit], never_ready: dict[str, t.Any]) -> None:
    service = unit("overlap.service")
    now = {f"{name}={service[name]}" for name in ("MainPID", "NRestarts", "ActiveEnterTimestampMonotonic")}
    assert set(never_ready["units"].split()) == now
    assert host.check_output("readlink /srv/overlap/current") == "releases/third"
    assert "its stand-in did not start" in never_ready["result"]["msg"]
    assert "What was live before is live still, and was not touched." in never_ready["result"]["msg"]
    assert "demo: this release is broken and stops at once" in never_ready["result"]["journal"]


def test_no_stand_in_is_left(host: Host) -> None:
    assert host.check_output("systemctl list-units --all --plain --no-legend 'overlap@*'") == ""
