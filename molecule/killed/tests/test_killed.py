# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch dies by SIGKILL at dozens of instants: nobody is refused, and the next run puts everything right."""

from __future__ import annotations

import concurrent.futures
import typing as t
from pathlib import Path

import pytest

from hosts import inside
from versions import EVERYWHERE, NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

usual_hosts = [NEWEST]

# For each way of switching, on each host.
INSTANTS = 8 if EVERYWHERE else 4


@pytest.fixture(scope="session")
def reports(request: pytest.FixtureRequest) -> dict[str, dict[str, t.Any]]:
    """What came of it on each host; all at once, since most of the time each waits for an app to start."""
    names = [spec.partition("://")[2] for spec in request.config.getoption("--hosts").split(",")]

    def killed(number: int, name: str) -> dict[str, t.Any]:
        report: dict[str, t.Any] = inside(name, Path(__file__).parent)("kill", {"seed": number, "instants": INSTANTS})
        return report

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(killed, range(len(names)), names)))


@pytest.fixture
def report(host: Host, reports: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    return reports[host.backend.get_hostname()]


def test_it_was_killed_often(report: dict[str, t.Any]) -> None:
    assert len(report["killed"]) == 7
    # Now and then a switch has ended before each of its instants.
    assert sum(report["killed"].values()) >= 7 * INSTANTS - 5
    assert all(died >= INSTANTS - 2 for died in report["killed"].values())


def test_somebody_served_and_the_next_run_put_everything_right(report: dict[str, t.Any]) -> None:
    assert report["violations"] == []


def test_no_client_was_refused(report: dict[str, t.Any]) -> None:
    assert report["failures"] == []
    assert report["requests"] > 1000


def test_the_socket_was_never_reopened(report: dict[str, t.Any]) -> None:
    assert report["socket_reopened"] is False
