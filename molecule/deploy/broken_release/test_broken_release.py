# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that crashes at start: no client was refused, the old release is live, and the error says why."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit


@pytest.fixture
def load(reported: t.Callable[[str], dict[str, t.Any]]) -> dict[str, t.Any]:
    return reported("broken_release")


def test_no_request_failed(load: dict[str, t.Any]) -> None:
    assert load["failures"] == {}
    assert load["requests"] > 3000


def test_only_the_old_release_answered(load: dict[str, t.Any]) -> None:
    assert set(load["releases"]) == {"fourth"}


def test_the_load_outlasted_the_deploy(load: dict[str, t.Any], history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    assert load["first_ended"] < history("demo")[-1]["ended"] < load["last_ended"] - 1


def test_the_old_release_is_live_again(host: Host, unit: t.Callable[[str], Unit]) -> None:
    assert host.check_output("readlink /srv/demo/current") == "releases/fourth"
    assert unit("demo.service")["ActiveState"] == "active"


def test_the_socket_was_never_restarted(load: dict[str, t.Any], unit: t.Callable[[str], Unit]) -> None:
    assert load["units"].split()[0] == f"ActiveEnterTimestampMonotonic={unit('demo.socket')['ActiveEnterTimestampMonotonic']}"


def test_the_error_says_what_happened_and_shows_the_journal(reported: t.Callable[[str], dict[str, t.Any]]) -> None:
    refusal = reported("refusal")
    assert refusal["task"] == "Switch to the release"
    message = refusal["result"]["msg"]
    assert "Release broken cannot be live: it did not start: its main process ended (exit-code, status 1)" in message
    assert "Release fourth is live and healthy again" in message
    assert "demo: this release is broken and stops at once" in message
    assert refusal["result"]["rolled_back"] is True


def test_the_history_keeps_the_failure(history: t.Callable[[str], list[dict[str, t.Any]]]) -> None:
    assert (history("demo")[-1]["id"], history("demo")[-1]["from"], history("demo")[-1]["result"]) == ("broken", "fourth", "failed")
