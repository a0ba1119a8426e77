# SPDX-License-Identifier: GPL-3.0-or-later
"""After setup and a first deploy, the units are what the design says, in effect, and the app serves."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

AS_THE_APP = "setpriv --reuid=demo --regid=demo --clear-groups"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ActiveState", "active"),
        ("UnitFileState", "enabled"),
        ("NeedDaemonReload", "no"),
        ("Listen", "0.0.0.0:4000 (Stream)"),
        ("Accept", "no"),
        ("FlushPending", "no"),
        ("ReusePort", "no"),
        ("Backlog", "4096"),
        ("TriggerLimitIntervalUSec", "0"),
    ],
)
def test_the_socket_unit_holds_the_port(unit: t.Callable[[str], Unit], name: str, value: str) -> None:
    assert unit("demo.socket")[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ActiveState", "active"),
        ("UnitFileState", "enabled"),
        ("NeedDaemonReload", "no"),
        ("Type", "notify"),
        ("User", "demo"),
        ("Group", "demo"),
        ("NonBlocking", "yes"),
        ("Restart", "always"),
        ("RestartUSec", "1s"),
        ("StartLimitIntervalUSec", "0"),
        ("TimeoutStartUSec", "1min 30s"),
        ("TimeoutStopUSec", "30s"),
        ("WorkingDirectory", "/srv/demo/current"),
        ("RuntimeDirectory", "demo"),
        ("ConfigurationDirectory", "demo"),
        ("TriggeredBy", "demo.socket"),
    ],
)
def test_the_service_runs_behind_it(unit: t.Callable[[str], Unit], name: str, value: str) -> None:
    assert unit("demo.service")[name] == value


def test_the_socket_starts_the_service(unit: t.Callable[[str], Unit]) -> None:
    assert "demo.service" in unit("demo.socket")["Triggers"].split()


def test_the_service_depends_on_the_socket(unit: t.Callable[[str], Unit]) -> None:
    assert "demo.socket" in unit("demo.service")["Requires"].split()
    assert "demo.socket" in unit("demo.service")["After"].split()


def test_the_app_runs_in_the_physical_folder_of_its_release(host: Host, unit: t.Callable[[str], Unit]) -> None:
    pid = unit("demo.service")["MainPID"]
    assert host.check_output(f"readlink /proc/{pid}/cwd || {AS_THE_APP} readlink /proc/{pid}/cwd") == "/srv/demo/releases/first"


def test_the_app_answers_on_the_held_port(host: Host) -> None:
    assert host.socket("tcp://0.0.0.0:4000").is_listening
    answer = host.check_output("python3 -c \"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:4000/').read().decode())\"")
    assert answer.strip() == "release first"


def test_the_environment_reaches_the_process_byte_for_byte(host: Host, unit: t.Callable[[str], Unit]) -> None:
    # With accounts of its own it is open to root, and else to itself.
    file = f"/proc/{unit('demo.service')['MainPID']}/environ"
    environment = host.check_output(f"cat {file} 2>/dev/null || {AS_THE_APP} cat {file}").split("\0")
    assert 'GREETING=say "$HOME", `now` %h \\ and that\'s it ' in environment


def test_the_environment_is_a_secret(host: Host) -> None:
    secret = host.file("/etc/demo/app_environment")
    assert (secret.user, secret.group, oct(secret.mode)) == ("root", "demo", "0o640")
    assert "GREETING" not in host.check_output("systemctl cat demo.service demo.socket")
    assert "GREETING" not in host.check_output("systemctl show demo.service")


def test_the_app_can_write_neither_its_code_nor_its_units(host: Host) -> None:
    places = "/srv/demo /etc/demo /etc/systemd/system -not -path '/srv/demo/shared*'"
    assert host.check_output(f"{AS_THE_APP} find {places} -not -type l -writable") == ""


def test_nothing_is_left_of_the_transfer(host: Host) -> None:
    assert sorted(host.check_output("ls -A /srv/demo /srv/demo/releases").split()) == sorted(
        ["/srv/demo:", ".deploy", "current", "releases", "shared", "/srv/demo/releases:", "first"]
    )


def test_a_second_run_changed_nothing(history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    assert [(record["id"], record["result"]) for record in history("demo")] == [("first", "ok")]
