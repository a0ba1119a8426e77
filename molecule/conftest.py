# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios use: units as systemd sees them, and what a side effect has reported."""

from __future__ import annotations

import datetime
import json
import os
import typing as t
from pathlib import Path

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from versions import EVERYWHERE

if t.TYPE_CHECKING:
    from testinfra.host import Host


class Unit:
    """A unit on a test host. Its properties are those that are in effect, not those in a file."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name

    def __getitem__(self, name: str) -> str:
        return self.host.check_output("systemctl show --value --property=%s %s", name, self.name)


@pytest.fixture
def unit(host: Host) -> t.Callable[[str], Unit]:
    return lambda name: Unit(host, name)


@pytest.fixture
def reported(host: Host) -> t.Callable[[str], dict[str, t.Any]]:
    """What a side effect has written about this host."""
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    return lambda name: json.loads((folder / f"{host.backend.get_hostname()}-{name}.json").read_text())


@pytest.fixture
def history(host: Host) -> t.Callable[[str], list[dict[str, t.Any]]]:
    """How the switches of an app ended, and when (`ended`, in seconds since the epoch)."""

    def read(app: str) -> list[dict[str, t.Any]]:
        records = [json.loads(line) for line in host.check_output(f"cat /srv/{app}/.deploy/history.jsonl").splitlines()]
        for record in records:
            began = datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))
            record["ended"] = began.timestamp() + (record["duration"] or 0)
        return records

    return read


class OneWorkerForEachHost(LoadScopeScheduling):
    """With several workers, what is done to a host is done by one of them, in order."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("podman://")[2].split("]")[0].split("-")[1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps what is to run: a module can name its hosts, of those that its scenario has.

    `testinfra_hosts` are the only ones on which it makes sense; testinfra itself passes that over where it is told hosts, as
    it always is here. `usual_hosts` are those that a usual run has time for, and tests with the mark `long` are those that it
    has no time for; with EVERYWHERE=1 neither counts.
    """
    considered = ["testinfra_hosts"] if EVERYWHERE else ["testinfra_hosts", "usual_hosts"]
    chosen, others = [], []
    for item in items:
        named = [getattr(item.module, name) for name in considered if hasattr(getattr(item, "module", None), name)]
        callspec = getattr(item, "callspec", None)
        host = callspec and callspec.params.get("_testinfra_host")
        is_wanted = not host or all(host.backend.get_pytest_id() in hosts for hosts in named)
        if not EVERYWHERE and item.get_closest_marker("long"):
            is_wanted = False
        (chosen if is_wanted else others).append(item)
    items[:] = chosen
    if others:
        config.hook.pytest_deselected(items=others)


def pytest_xdist_make_scheduler(config: pytest.Config, log: t.Any) -> OneWorkerForEachHost:
    return OneWorkerForEachHost(config, log)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> t.Iterator[None]:
    """A failure on a host comes with the journal of that host, and is noted for the end of the run (see tools/molecule)."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not report.failed:
        return
    said = str(call.excinfo.value).splitlines() if call.excinfo else []
    # Of a playbook's output the errors say most.
    reasons = [line for line in said if line.lstrip().startswith("[ERROR]")] or said
    with Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], ".cache/failures").open("a") as failures:
        failures.write(f"{item.nodeid} ({report.when}): {' '.join(reasons)[:300]}\n")
    host = getattr(item, "funcargs", {}).get("host")
    if host is not None:
        report.sections.append(("journal", host.run("journalctl --no-pager --lines=60").stdout))
