# SPDX-License-Identifier: GPL-3.0-or-later
"""What is live, what was, and who waits at the port can be seen at a glance, and used by other plays."""

from __future__ import annotations

import re
import typing as t

import pytest

from playbooks import playbook
from releases.app import NAME, PORT, VARIABLES
from versions import NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from releases.app import App, Run

usual_hosts = [NEWEST]

ADDRESS = f"127.0.0.1:{PORT}"
WAIT_IN_LINE = f"import socket, time; kept = [socket.create_connection(('127.0.0.1', {PORT})) for _ in range(3)]; time.sleep(60)"


@pytest.fixture(scope="module", autouse=True)
def deployed(app: App) -> None:
    """One release after another, of which the second is bad and the last lowers the backlog."""
    app.stage("one", app.content("bad", DEMO_FAULT="exit-at-start"), app.content("lowering", DEMO_BACKLOG="5"), "polite")
    app.make_live("one")
    assert "cannot be live" in app.switch("bad")["msg"]
    app.make_live("lowering")


@pytest.fixture(scope="module")
def info(app: App, deployed: None) -> dict[str, t.Any]:
    return app.info()


@pytest.fixture(scope="module")
def shown(app: App, deployed: None) -> Run:
    run = app.play("status", {"status": {"app_status_format": "details"}})
    assert run.succeeded, run.output
    return run


def test_the_table_says_what_is_live_and_what_was(shown: Run, info: dict[str, t.Any]) -> None:
    said = " ".join(shown.output.split())
    wanted = info["sockets"][0]["listeners"][0]["wanted_backlog"]
    patterns = (
        rf"- app {NAME} - current lowering - running lowering - service active since .+, PID {info['pid']} - status serving release lowering - previous one ",
        rf"- socket {NAME}\.socket active since .+ {ADDRESS}: 0 waiting, backlog 5, lowered by the app from {wanted}",
        r"- release polite staged \S+ -",
        r"- release lowering staged \S+ \(live\) -",
        r"- release bad staged \S+ \(bad\) -",
        r"- release one staged \S+ -",
        r"deploy \S+ one -> lowering by tester, ok in [0-9.]+ s",
        r"deploy \S+ one -> bad by tester, failed in [0-9.]+ s: it did not start: its main process ended",
        r"deploy \S+ nothing -> one by tester, ok in [0-9.]+ s",
    )
    for pattern in patterns:
        assert re.search(pattern, said), pattern


def test_one_row_says_the_most_important_of_a_host(app: App, info: dict[str, t.Any]) -> None:
    # As Ansible shows it by default; in YAML it would fold a long row.
    run = app.play("status", {"status": {}}, ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    assert run.succeeded, run.output
    wanted = info["sockets"][0]["listeners"][0]["wanted_backlog"]
    assert re.search(rf"status +{NAME} +lowering +one +\S.*\S +yes +active +0 of 5, lowered from {wanted} ", run.output), run.output


def test_a_play_can_go_on_with_the_fact(shown: Run) -> None:
    assert f"The fact says that {NAME} has lowering live and 4 releases." in shown.output
    assert shown.changed("status") == 0


def test_it_names_what_is_live_and_where_a_rollback_would_lead(host: Host, info: dict[str, t.Any]) -> None:
    assert (info["current"], info["running"], info["previous"], info["pending"]) == ("lowering", "lowering", "one", "")
    assert info["service"] == "active"
    assert info["healthy"]
    assert 0 < info["disk"]["free"] < info["disk"]["total"]
    assert str(info["pid"]) == host.check_output(f"systemctl show --value --property=MainPID {NAME}.service")
    assert info["since"]


def test_it_lists_each_release_with_what_became_of_it(info: dict[str, t.Any]) -> None:
    found = {release["id"]: release for release in info["releases"]}
    assert {release: (about["bad"], bool(about["last_live"])) for release, about in found.items()} == {
        "one": (False, True),
        "bad": (True, False),
        "lowering": (False, True),
        "polite": (False, False),
    }
    assert all(re.fullmatch("[0-9a-f]{64}", about["checksum"]) and about["entries"] > 0 and about["staged_at"] for about in found.values())


def test_it_tells_how_each_switch_ended(info: dict[str, t.Any]) -> None:
    one, bad, lowering = info["history"]
    assert set(one) >= {"time", "id", "from", "action", "strategy", "who", "duration", "result", "reason"}
    assert [(record["from"], record["id"], record["result"]) for record in (one, bad, lowering)] == [
        (None, "one", "ok"),
        ("one", "bad", "failed"),
        ("one", "lowering", "ok"),
    ]
    assert all((record["action"], record["strategy"], record["who"]) == ("deploy", "restart", "tester") for record in (one, bad, lowering))
    assert all(record["duration"] > 0 for record in (one, bad, lowering))
    assert (one["reason"], lowering["reason"]) == ("", "")
    assert "its main process ended" in bad["reason"]
    assert one["time"] < bad["time"] < lowering["time"]


def test_it_counts_who_waits_to_be_accepted(host: Host, app: App, info: dict[str, t.Any]) -> None:
    [socket] = info["sockets"]
    assert (socket["name"], socket["state"]) == (f"{NAME}.socket", "active")
    [idle] = socket["listeners"]
    assert (idle["address"], idle["backlog"], idle["waiting"]) == (ADDRESS, 5, 0)
    host.check_output(f"systemctl kill --signal=SIGSTOP {app.service}")
    try:
        with app.beside("-c", WAIT_IN_LINE):
            [stopped] = app.info()["sockets"][0]["listeners"]
    finally:
        host.check_output(f"systemctl kill --signal=SIGCONT {app.service}")
    assert stopped["waiting"] == 3


def test_a_lowered_backlog_is_warned_of_and_put_back_before_the_restart(host: Host, app: App, info: dict[str, t.Any]) -> None:
    wanted = info["sockets"][0]["listeners"][0]["wanted_backlog"]
    assert wanted == min(4096, int(host.check_output("cat /proc/sys/net/core/somaxconn")))
    done = playbook("deploy", host, {**VARIABLES, "app_release_id": "polite", "app_release_src": str(app.scratch / "polite")})
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert f"{NAME}.service has lowered the backlog of {ADDRESS} to 5, and {NAME}.socket says {wanted}" in said
    # This release leaves the number alone, so it is the one that was put back.
    [listener] = app.info()["sockets"][0]["listeners"]
    assert listener["backlog"] == wanted
    assert app.live == "polite"
