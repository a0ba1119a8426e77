# SPDX-License-Identifier: GPL-3.0-or-later
"""How an app comes by its connections is only a variable. A change loses only those whose port is closed, which needs a word."""

from __future__ import annotations

import typing as t

import pytest

from apps import App, live
from clients import asked_all_the_time
from playbooks import module, playbook

if t.TYPE_CHECKING:
    import subprocess

    from testinfra.host import Host

    from conftest import Unit

pytestmark = pytest.mark.long

PORT = 4892
OWN_PORT = 4893


def settings(port: int, **variables: t.Any) -> dict[str, t.Any]:
    return {"app_environment": {"DEMO_START_SECONDS": "0.5", "PORT": str(port)}, **variables}


INHERIT = settings(PORT, app_socket_mode="inherit")
PROXY = settings(OWN_PORT, app_socket_mode="proxy", app_proxy_to=f"127.0.0.1:{OWN_PORT}")
NONE = settings(PORT, app_socket_mode="none")


@pytest.fixture(scope="module")
def app(host: Host) -> App:
    return live(App(host, "modal", PORT, "/srv"), "one", "two")


@pytest.fixture(scope="module")
def inherited(app: App) -> str:
    """The units of an app that is given its sockets."""
    return units(app)


@pytest.fixture(scope="module")
def unheld(app: App, inherited: str) -> App:
    """The app without a socket unit; the last test that has it so takes the port back."""
    assert "modal.socket" in inherited
    done = set_up(app, NONE, app_socket_change="restart")
    assert done.returncode == 0, done.stdout
    return app


def set_up(app: App, mode: dict[str, t.Any], **variables: t.Any) -> subprocess.CompletedProcess[str]:
    return playbook("setup", app.host, {**app.variables, **mode, **variables})


def units(app: App) -> str:
    return str(app.host.check_output("cd /etc/systemd/system && find . -path './modal*' -type f | sort && ls /usr/local/lib | grep modal || true"))


def test_to_a_proxy_and_back_nobody_is_lost(app: App, inherited: str, unit: t.Callable[[str], Unit]) -> None:
    opened = unit("modal.socket")["ActiveEnterTimestampMonotonic"]
    with asked_all_the_time(app.host, PORT) as seen:
        for mode, listens in ((PROXY, True), (INHERIT, False)):
            done = set_up(app, mode)
            assert done.returncode == 0, done.stdout
            assert app.host.socket(f"tcp://127.0.0.1:{OWN_PORT}").is_listening is listens
            assert (units(app) == inherited) is not listens
    assert set(seen) == {"200"}
    assert unit("modal-proxy.service")["LoadState"] == "not-found"
    assert unit("modal.socket")["ActiveEnterTimestampMonotonic"] == opened


def test_a_port_is_given_up_only_on_demand(app: App, inherited: str) -> None:
    refused = set_up(app, NONE)
    assert refused.returncode != 0
    assert "app_socket_mode: with none modal.socket would be closed" in " ".join(refused.stdout.split())
    assert units(app) == inherited
    assert app.answers() == app.current()


def test_without_a_socket_unit_there_is_just_the_service(unheld: App, unit: t.Callable[[str], Unit]) -> None:
    assert units(unheld).split() == ["./modal.service", "./modal.service.d/10-sandbox.conf"]
    assert unit("modal.socket")["LoadState"] == "not-found"
    assert unheld.answers() == unheld.current()
    again = set_up(unheld, NONE)
    assert "changed=0" in again.stdout
    told = module("release_info", unheld.host, {"path": unheld.folder, "service": "modal.service"})
    assert (told["sockets"], told["running"]) == ([], unheld.current())


def test_without_a_socket_unit_a_deploy_refuses_clients_and_goes_back_as_always(unheld: App) -> None:
    with asked_all_the_time(unheld.host, PORT) as seen:
        done = unheld.deploy("three", **NONE)
        assert done.returncode == 0, done.stdout
    assert unheld.answers() == unheld.current() == "three"
    # This is what a socket unit is for, and it shows that the clients would have noticed behind the proxy.
    assert "refused" in seen

    switch = {**unheld.switch, "socket": [], "release": "two"}
    del switch["stand_in"], switch["backlog_unit"]
    preview = module("release_switch", unheld.host, switch, "--check")
    assert preview["plan"] == [
        "point current to two",
        "restart the service, which holds its port itself and so closes it meanwhile",
        "wait until two is ready and healthy",
    ]
    sick = module("release_switch", unheld.host, {**switch, "health_check": {"url": f"http://127.0.0.1:{PORT}/", "status": [418], "retries": 1}})
    assert "answered with status 200, not 418" in sick["msg"]
    # The one that is gone back to fails the same check, and is live all the same.
    assert unheld.answers() == unheld.current() == "three"
    back = module("release_switch", unheld.host, {**switch, "release": "one"})
    assert back["changed"] is True, back
    assert unheld.answers() == unheld.current() == "one"
    refused = module("release_switch", unheld.host, {**unheld.switch, "socket": [], "strategy": "overlap", "release": "two"})
    assert "app_switch: overlap needs a socket unit" in refused["msg"]


def test_without_a_socket_unit_an_app_may_fork(unheld: App, unit: t.Callable[[str], Unit]) -> None:
    forking = {
        **NONE,
        "app_service_type": "forking",
        "app_command": "/bin/sh -c 'python3 demo.py & echo $$! >/run/modal/pid'",
        "app_service_options": {"PIDFile": "/run/modal/pid"},
    }
    for play in (lambda: set_up(unheld, forking), lambda: unheld.deploy("two", **forking)):
        done = play()
        assert done.returncode == 0, done.stdout
        assert unit("modal.service")["Type"] == "forking"
        assert unit("modal.service")["MainPID"] == unheld.host.check_output("cat /run/modal/pid").strip()
    assert unheld.answers() == unheld.current() == "two"


def test_a_port_that_the_app_holds_is_taken_from_it_only_on_demand(unheld: App, unit: t.Callable[[str], Unit]) -> None:
    refused = set_up(unheld, PROXY)
    assert refused.returncode != 0
    assert f"app_listen: 127.0.0.1:{PORT} is already held by PID {unit('modal.service')['MainPID']}" in " ".join(refused.stdout.split())
    assert "app_takeover: true" in refused.stdout
    assert unheld.answers() == unheld.current()
    done = set_up(unheld, PROXY, app_takeover=True)
    assert done.returncode == 0, done.stdout
    assert unit("modal.socket")["ActiveState"] == "active"
    assert unheld.answers() == unheld.current()


def test_remove_leaves_nothing_of_a_proxy(app: App, unit: t.Callable[[str], Unit]) -> None:
    assert "modal-proxy.py" in units(app)
    done = playbook("remove", app.host, {**app.variables, **PROXY, "app_remove_data": True})
    assert done.returncode == 0, done.stdout
    assert units(app) == ""
    for name in ("modal.socket", "modal-proxy.service", "modal.service"):
        assert unit(name)["LoadState"] == "not-found"
    for port in (PORT, OWN_PORT):
        assert not app.host.socket(f"tcp://127.0.0.1:{port}").is_listening
