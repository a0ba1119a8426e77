# SPDX-License-Identifier: GPL-3.0-or-later
"""The app of the page about Erlang, on the backend of gen_tcp that is not the default: nobody loses anything by a restart."""

from __future__ import annotations

import time
import typing as t

import pytest

from beam.ask import FAMILIES, status
from guide import DOCS, App, Guide, expect
from playbooks import playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["podman://holdfast-bookworm"]
# What the backend does to each kind of socket is seen without a deploy, too (test_listen.py).
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def app(host: Host) -> t.Iterator[App]:
    guide = Guide(DOCS / "erlang.md")
    guide.variables = {**guide.variables, "app_switch": "restart", "app_environment": {"INET_BACKEND": "socket"}}
    found = App(host, guide, port=4802, name="page-erlang-socket")
    found.begin_anew()
    found.install_packages()
    expect(playbook("setup", host, found.variables))
    expect(found.deploy("first", found.build()))
    yield found
    found.remove()


def test_no_request_fails_in_restarts(app: App) -> None:
    with app.under_load() as reports:
        time.sleep(2)
        for release in ("second", "third"):
            expect(app.deploy(release, app.build()))
            assert app.answers() == release
    assert not reports[0].failures
    assert app.backlog() == 4096


def test_who_is_connected_when_the_app_stops_is_answered(app: App) -> None:
    assert app.ask_while_it_stops() == ["200", "200"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_served(app: App, family: str) -> None:
    listen, addresses = FAMILIES[family](app)
    expect(playbook("setup", app.host, {**app.variables, "app_listen": [listen], "app_socket_change": "restart", "app_health_check": {}}))
    assert [status(app, address) for address in addresses] == ["200"] * len(addresses)
