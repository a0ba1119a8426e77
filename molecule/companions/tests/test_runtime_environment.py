# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the booted host knows is found out before the app starts: once, as the app, and never past a failure."""

from __future__ import annotations

import typing as t

import pytest

from companions.app import AS_THE_APP, NAME, PORT
from playbooks import module

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from companions.app import Companion
    from conftest import Unit

pytestmark = pytest.mark.long

UNIT = f"{NAME}-runtime-environment.service"
FAILS = "/etc/companion-fails"
ASK = f"""
import socket
with socket.create_connection(("127.0.0.1", {PORT}), timeout=60) as client:
    client.sendall(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
    print(client.recv(100).decode().split()[1])
"""


@pytest.fixture
def failing(host: Host) -> t.Iterator[None]:
    host.check_output(f"touch {FAILS}")
    yield
    host.run(f"rm -f {FAILS}; systemctl stop {NAME}-client.service")


def test_the_app_sees_what_was_found_out_as_the_app(app: Companion) -> None:
    assert app.environment()["ADDRESS"] == f'{app.host.check_output("hostname")} hello "$world" {app.runs()}'
    assert app.host.check_output(f"stat -c '%U %G' /run/{NAME}/environment") == f"{NAME} {NAME}"


def test_it_is_a_real_dependency_of_the_app_and_of_its_stand_in(unit: t.Callable[[str], Unit], app: Companion) -> None:
    for name in (f"{NAME}.service", f"{NAME}@one.service"):
        assert UNIT in unit(name)["Requires"].split()
        assert UNIT in unit(name)["After"].split()


def test_what_it_prints_is_nowhere_to_be_read(host: Host, app: Companion, told: str) -> None:
    assert "hunter2" not in host.check_output("journalctl --no-pager --quiet")
    assert "hunter2" not in told


def test_a_restart_does_not_run_it_again_and_keeps_its_file(host: Host, app: Companion) -> None:
    pid, runs = app.pid, app.runs()
    host.check_output(f"systemctl stop {NAME}.service && systemctl start {NAME}.service")
    assert app.pid != pid
    assert app.runs() == runs
    assert "ADDRESS" in app.environment()


def test_a_reload_runs_it_again_for_the_next_start_of_the_app(host: Host, app: Companion) -> None:
    pid, runs, before = app.pid, app.runs(), app.environment()["ADDRESS"]
    host.check_output(f"systemctl reload {UNIT}")
    assert (app.pid, app.runs(), app.environment()["ADDRESS"]) == (pid, runs + 1, before)
    host.check_output(f"systemctl restart {NAME}.service")
    assert app.environment()["ADDRESS"].endswith(f" {runs + 1}")


def test_a_restart_by_setup_runs_it_again(host: Host, app: Companion) -> None:
    runs = app.runs()
    assert module("release_switch", host, {**app.switch, "restart": True})["changed"]
    assert app.environment()["ADDRESS"].endswith(f" {runs + 1}")


def test_a_stand_in_needs_it_too_and_leaves_nothing_behind(host: Host, app: Companion) -> None:
    with app.asked_all_the_time():
        assert module("release_switch", host, {**app.switch, "restart": True, "strategy": "overlap"})["changed"]
    assert host.check_output(f"ls -d /run/{NAME}*") == f"/run/{NAME}"
    assert "ADDRESS" in app.environment()


def test_a_reload_that_fails_leaves_the_app_alone(host: Host, app: Companion, failing: None) -> None:
    pid = app.pid
    assert host.run(f"systemctl reload {UNIT}").rc != 0
    assert app.pid == pid
    assert host.check_output(f"systemctl is-active {UNIT}") == "active"


def test_without_it_the_app_does_not_start_and_clients_wait(host: Host, app: Companion, failing: None) -> None:
    since = host.check_output("date +%s")
    host.check_output(f"systemctl stop {UNIT} && : >/var/lib/{NAME}/runs")
    assert app.pid == "0", "what the app requires has been stopped"
    host.check_output(f"systemd-run --quiet --unit={NAME}-client --service-type=exec python3 -c %s", ASK)
    app.wait_until(f"[ $(journalctl --quiet --output=cat --since=@{since} --unit={UNIT} --no-pager | grep -c metadata.service) -ge 3 ]")
    assert host.check_output(f"systemctl is-active {NAME}.socket") == "active"
    assert host.run(f"systemctl is-active {NAME}.service").stdout.strip() == "inactive"
    # A second of pause between two tries, however eager the client is.
    tries = host.check_output(
        f"journalctl --quiet --output=short-unix --since=@{since} --unit={UNIT} --no-pager | grep 'no metadata service answers'"
    ).splitlines()
    assert len(tries) >= 2
    times = [float(line.split()[0]) for line in tries]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[1:]))
    host.check_output(f"rm {FAILS}")
    app.wait_until(f"journalctl --quiet --output=cat _SYSTEMD_UNIT={NAME}-client.service --no-pager | grep --quiet 200")
    assert app.environment()["ADDRESS"].endswith(" 1")


def test_a_setup_whose_script_fails_says_why_and_leaves_the_app_alone(host: Host, app: Companion, failing: None) -> None:
    pid = app.pid
    done = app.set_up(app_service_options={**app.variables["app_service_options"], "Nice": 3})
    assert done.returncode != 0
    assert f"{UNIT}, without which {NAME}.service does not start, failed" in done.stdout
    assert "no metadata service answers" in done.stdout
    assert "What is live was not touched" in done.stdout
    assert app.pid == pid


def test_a_first_deploy_whose_script_fails_says_why(host: Host, app: Companion, failing: None) -> None:
    host.check_output(f"systemctl stop {NAME}.service {UNIT} && mv /srv/{NAME}/current /srv/{NAME}/.deploy/history.jsonl /root")
    done = module("release_switch", host, {**app.switch, "release": "one"})
    host.check_output(f"rm {FAILS} && mv /root/current /srv/{NAME} && mv /root/history.jsonl /srv/{NAME}/.deploy && systemctl restart {NAME}.service")
    assert "no metadata service answers" in done["msg"]
    assert "The service is stopped, as before this first deploy" in done["msg"]


def test_the_app_may_not_change_what_it_is_started_with(host: Host, app: Companion) -> None:
    assert host.run(f"{AS_THE_APP} sh -c 'echo x >>/etc/systemd/system/{UNIT}'").rc != 0
