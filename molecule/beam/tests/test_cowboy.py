# SPDX-License-Identifier: GPL-3.0-or-later
"""Cowboy and Ranch with the options that the pages give them. Debian has them inside of rabbitmq-server."""

from __future__ import annotations

import types
import typing as t

import pytest

from beam.ask import FAMILIES, status
from guide import check, expect, story
from playbooks import ROOT, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from guide import Guide, Story

# Its Cowboy lets a request in hand finish when it is told to end; that of Debian 12 is from before 2.9.
testinfra_hosts = ["podman://holdfast-trixie"]
pytestmark = pytest.mark.long

PORT = 4803
APP = ROOT / "tests" / "apps" / "cowboy"
BUILD = """
download=$(mktemp -d)
apt-get update -qq
(cd "$download" && apt-get download -qq rabbitmq-server && dpkg-deb --extract rabbitmq-server_*.deb .)
mkdir -p release/ebin release/lib
for library in ranch cowboy cowlib; do
    cp -r "$download"/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/$library-* release/lib
done
rm -r "$download"
erlc -o release/ebin src/front.erl
cp src/front.app release/ebin
mv bin release
"""


@pytest.fixture(scope="module")
def told(host: Host) -> t.Iterator[Story]:
    files = {str(path.relative_to(APP)): path.read_text() for path in APP.rglob("*") if path.is_file()}
    variables = {
        "app_name": "front",
        "app_command": "bin/front",
        "app_listen": [f"127.0.0.1:{PORT}"],
        "app_service_type": "notify",
        "app_health_check": {"url": f"http://127.0.0.1:{PORT}/", "header": {"X-Release": "{release}"}},
    }
    packages = "apt-get install --yes --no-install-recommends erlang-base erlang-crypto erlang-ssl"
    guide = types.SimpleNamespace(name="cowboy", variables=variables, build=BUILD, packages=packages, files=files)
    found = story(host, t.cast("Guide", guide), port=PORT, name="page-cowboy")
    yield found
    found.app.remove()


def test_no_request_fails_and_the_right_release_answers(told: Story) -> None:
    check(told)


def test_who_is_connected_when_the_app_stops_is_answered(told: Story) -> None:
    assert told.app.ask_while_it_stops() == ["200", "200"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_served(told: Story, family: str) -> None:
    listen, addresses = FAMILIES[family](told.app)
    expect(playbook("setup", told.app.host, {**told.app.variables, "app_listen": [listen], "app_socket_change": "restart", "app_health_check": {}}))
    assert [status(told.app, address) for address in addresses] == ["200"] * len(addresses)
