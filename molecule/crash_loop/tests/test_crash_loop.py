# SPDX-License-Identifier: GPL-3.0-or-later
"""For as long as a release crashes, clients wait; none is refused, and the port stays where it is."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Unit


@pytest.fixture
def load(reported: t.Callable[[str], dict[str, t.Any]]) -> dict[str, t.Any]:
    return reported("crash_loop")


def test_no_request_failed(load: dict[str, t.Any]) -> None:
    assert load["failures"] == {}


def test_the_clients_waited_through_a_minute_of_crashes(load: dict[str, t.Any], reported: t.Callable[[str], dict[str, t.Any]]) -> None:
    units = dict(line.split("=", 1) for line in reported("crashing")["units"].split("\n\n")[1].splitlines())
    assert units["Id"] == "crashing.service"
    assert int(units["NRestarts"]) > 30
    assert load["slowest_ms"] > 60_000


def test_the_socket_unit_stayed_active(load: dict[str, t.Any], reported: t.Callable[[str], dict[str, t.Any]], unit: t.Callable[[str], Unit]) -> None:
    assert {"Id=crashing.socket", "ActiveState=active", "Result=success"} <= set(reported("crashing")["units"].split("\n\n")[0].splitlines())
    assert load["units"].split()[0] == f"ActiveEnterTimestampMonotonic={unit('crashing.socket')['ActiveEnterTimestampMonotonic']}"


def test_the_next_good_release_went_live(load: dict[str, t.Any], history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    assert set(load["releases"]) == {"crash-before", "crash-after"}
    assert [(record["id"], record["result"]) for record in history("crashing")[-2:]] == [("crash-crashing", "failed"), ("crash-after", "ok")]
