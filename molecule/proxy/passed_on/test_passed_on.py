# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten switches, a broken release and a rollback of an app that binds its own port: no client noticed more than a wait."""

from __future__ import annotations

import re
import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Unit

START_TIMEOUT = 90


@pytest.fixture
def load(reported: t.Callable[[str], dict[str, t.Any]]) -> dict[str, t.Any]:
    return reported("proxy")


@pytest.fixture
def records(history: t.Callable[[str], list[dict[str, t.Any]]]) -> list[dict[str, t.Any]]:
    return history("proxied")


def test_no_request_failed(load: dict[str, t.Any]) -> None:
    assert load["failures"] == {}
    assert load["requests"] > 3000
    assert set(load["releases"]) == {"white", "black"}


def test_the_load_outlasted_the_switches(load: dict[str, t.Any], records: list[dict[str, t.Any]]) -> None:
    done = [(record["id"], record["action"], record["result"]) for record in records]
    assert done[2:] == [("white", "deploy", "ok"), ("black", "deploy", "ok")] * 5 + [("broken", "deploy", "failed"), ("white", "rollback", "ok")]
    assert load["first_ended"] < records[2]["ended"]
    assert records[-1]["ended"] < load["last_ended"] - 1


def test_a_release_that_never_accepts_a_connection_is_known_at_once(records: list[dict[str, t.Any]], reported: t.Callable[[str], dict[str, t.Any]]) -> None:
    assert records[-2]["duration"] < START_TIMEOUT / 2
    refusal = reported("proxy_refusal")
    assert "Release broken cannot be live: it did not start" in refusal["msg"]
    assert "Release black is live and healthy again" in refusal["msg"]
    assert any("the app has ended before it accepted a connection on 127.0.0.1:4891" in line for line in refusal["journal"])


def test_neither_the_socket_nor_the_proxy_was_ever_restarted(load: dict[str, t.Any], unit: t.Callable[[str], Unit]) -> None:
    socket, proxy = unit("proxied.socket"), unit("proxied-proxy.service")
    # The order of the properties differs between versions, that of the units does not.
    opened, started = re.findall(r"ActiveEnterTimestampMonotonic=(\d+)", load["units"])
    assert socket["ActiveEnterTimestampMonotonic"] == opened
    assert proxy["NRestarts"] == "0"
    # It came up behind its socket, before the first release.
    assert int(opened) < int(proxy["ActiveEnterTimestampMonotonic"]) < int(started)
