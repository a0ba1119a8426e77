# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages about Elixir and Erlang say is what runs, and no client loses anything by it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t

import pytest
import testinfra

from beam.ask import CASES, FAMILIES, status
from clients import asked_all_the_time
from guide import DOCS, PAGES, Guide, check, expect, story
from playbooks import playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from guide import Story


@dataclasses.dataclass(frozen=True)
class Trial:
    """How the app of a page is handled by somebody who is no service."""

    page: str
    port: int
    # What starts the app, what else it needs for that outside of its service, and what makes it lose its heart.
    starts: str
    writes_to: str
    crashes: tuple[str, str]

    @property
    def address(self) -> str:
        return f"podman://holdfast-{PAGES[self.page].suite}"


TRIALS = {
    "erlang": Trial(
        *("erlang", PAGES["erlang"].port, "bin/depot foreground", "RELX_OUT_FILE_PATH"),
        crashes=("eval", "exit(whereis(depot_connections), kill)."),
    ),
    "elixir": Trial(
        *("elixir", PAGES["elixir"].port, "bin/shop start", "RELEASE_TMP"),
        crashes=("rpc", "Process.exit(Process.whereis(Shop.Connections), :kill)"),
    ),
}
# A host is part of a test's name, by which the workers share the tests (molecule/conftest.py).
ON_ITS_HOST = [pytest.param(name, id=f"{name}-{trial.address}") for name, trial in TRIALS.items()]


@pytest.fixture(scope="module", params=ON_ITS_HOST)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def trial(name: str) -> Trial:
    return TRIALS[name]


@pytest.fixture(scope="module")
def host(trial: Trial) -> Host:
    """In place of testinfra's, which would try each page on all hosts."""
    return testinfra.get_host(trial.address)


@pytest.fixture(scope="module")
def told(name: str, trial: Trial, host: Host) -> t.Iterator[Story]:
    found = story(host, Guide(DOCS / f"{trial.page}.md"), port=trial.port, name=f"page-{name}")
    yield found
    found.app.remove()


def test_no_request_fails_and_the_right_release_answers(told: Story) -> None:
    check(told)


def test_who_is_connected_when_the_app_stops_is_answered(told: Story) -> None:
    assert told.app.ask_while_it_stops() == ["200", "200"]


def test_the_process_that_systemd_started_is_the_vm(told: Story) -> None:
    process = told.app.shown("service", "MainPID")
    assert told.app.host.check_output(f"cat /proc/{process}/comm") == "beam.smp"
    assert f"LISTEN_PID={process}" in environment(told, process)


def test_an_instance_beside_the_service_has_a_name_of_its_own(told: Story, trial: Trial) -> None:
    app = told.app
    node = trial.starts.split("/")[1].split()[0]
    stand_in = f"{app.name}@{app.answers()}.service"
    app.host.check_output(f"systemctl start {stand_in}")
    try:
        assert f"RELEASE_NODE={node}" in environment(told, app.shown("service", "MainPID"))
        process = app.host.check_output(f"systemctl show --value --property=MainPID {stand_in}")
        [named] = [line for line in environment(told, process) if line.startswith("RELEASE_NODE=")]
        names = [line.split()[1] for line in app.host.check_output("epmd -names").splitlines() if line.startswith("name ")]
        assert sorted(names) == sorted([node, named.partition("=")[2]])
    finally:
        app.host.check_output(f"systemctl stop {stand_in}")


def test_with_the_name_of_the_service_it_would_not_start(told: Story, trial: Trial) -> None:
    done = outside(told, trial, *trial.starts.split())
    assert done[0] != 0
    assert "seems to be in use by another Erlang node" in done[1]


def test_systemd_hears_that_the_app_is_alive(told: Story) -> None:
    first = int(told.app.shown("service", "WatchdogTimestampMonotonic"))
    time.sleep(7)
    assert told.app.shown("service", "WatchdogUSec") == "10s"
    assert int(told.app.shown("service", "WatchdogTimestampMonotonic")) > first


def test_an_app_that_hangs_is_replaced(told: Story) -> None:
    app = told.app
    with watched_closely(told):
        hanging = app.shown("service", "MainPID")
        app.host.check_output(f"kill -STOP {hanging}")
        assert app.answers()
        assert app.shown("service", "MainPID") != hanging


def test_a_drain_that_is_longer_than_the_watchdog_allows_is_waited_for(told: Story) -> None:
    app = told.app
    with watched_closely(told):
        # Who has begun to ask is waited for up to ten seconds.
        slow = (
            "import socket, subprocess, sys, time; client = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
            "client.sendall(b'GET / HTTP/1.1\\r\\n'); time.sleep(0.5); "
            "subprocess.run(['systemctl', 'restart', '--no-block', sys.argv[2]], check=True); time.sleep(5); "
            "client.sendall(b'Host: test\\r\\n\\r\\n'); print(client.makefile().readline().split()[1])"
        )
        assert app.host.check_output("python3 -c %s %s %s", slow, str(app.port), f"{app.name}.service") == "200"


def test_an_app_that_loses_its_heart_is_started_again_and_nobody_is_refused(told: Story, trial: Trial) -> None:
    app = told.app
    process = app.shown("service", "MainPID")
    with asked_all_the_time(app.host, app.port) as seen:
        outside(told, trial, trial.starts.split()[0], *trial.crashes)
        app.host.check_output(f"timeout 60 sh -c 'while [ $(systemctl show --value --property=MainPID {app.name}) = {process} ]; do sleep 0.1; done'")
        assert app.answers()
    assert "200" in seen
    assert "refused" not in seen


@pytest.mark.parametrize("family", CASES)
def test_every_family_is_served(told: Story, family: str) -> None:
    listen, addresses = FAMILIES[family](told.app)
    expect(playbook("setup", told.app.host, {**told.app.variables, "app_listen": [listen], "app_socket_change": "restart", "app_health_check": {}}))
    assert [status(told.app, address) for address in addresses] == ["200"] * len(addresses)


def environment(told: Story, process: str) -> list[str]:
    # Root in a container may not look into it, and the app itself may.
    return str(told.app.host.check_output(f"runuser -u {told.app.name} -- cat /proc/{process}/environ | tr '\\0' '\\n'")).splitlines()


def outside(told: Story, trial: Trial, program: str, *words: str) -> tuple[int, str]:
    """Runs the program of the live release as the app, beside the service; returns its status and what it said."""
    name = told.app.name
    node = program.split("/")[1]
    current = f"/srv/{name}/current"
    given = f"--setenv=RELEASE_NODE={node} --setenv={trial.writes_to}=/tmp --setenv=PORT=4803 --setenv=LANG=C.UTF-8"
    as_the_app = f"--property=PrivateTmp=yes --uid={name} --working-directory={current}"
    command = f"systemd-run --quiet --wait --pipe --collect {as_the_app} {given} {current}/{program}"
    done = told.app.host.run(f"timeout 60 {command}{' %s' * len(words)} 2>&1", *words)
    return done.rc, done.stdout


@contextlib.contextmanager
def watched_closely(told: Story) -> t.Iterator[None]:
    """Two seconds are too long, and the end comes one second later."""
    app = told.app
    folder = f"/run/systemd/system/{app.name}.service.d"
    settings = "[Service]\\nWatchdogSec=2s\\nTimeoutAbortSec=1s\\n"
    app.host.check_output(f"mkdir -p {folder} && printf '{settings}' >{folder}/99-closely.conf && systemctl daemon-reload && systemctl restart {app.name}")
    try:
        yield
    finally:
        app.host.check_output(f"rm -r {folder} && systemctl daemon-reload && systemctl restart {app.name}")
