# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stand-in is, what it needs, and what an old process does while it drains."""

from __future__ import annotations

import subprocess
import threading
import typing as t

import pytest
import yaml

from overlap.client import ask
from playbooks import ROOT, SCRATCH, module, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

APP = yaml.safe_load((ROOT / "molecule/vars/overlap.yml").read_text())
AS_THE_APP = "setpriv --reuid=overlap --regid=overlap --clear-groups"
SWITCH = {
    "path": "/srv/overlap",
    "service": "overlap.service",
    "socket": ["overlap.socket"],
    "strategy": "overlap",
    "stand_in": "overlap@.service",
    "backlog_unit": "overlap-backlog.service",
    "settle": 0.5,
    "health_check": {"url": "http://127.0.0.1:4960/", "retries": 3},
}


def current(host: Host) -> str:
    return str(host.check_output("readlink /srv/overlap/current")).removeprefix("releases/")


@pytest.fixture
def stand_in(host: Host, unit: t.Callable[[str], Unit]) -> t.Iterator[Unit]:
    """A stand-in of the live release, started by hand."""
    name = f"overlap@{current(host)}.service"
    host.check_output("systemctl start %s", name)
    yield unit(name)
    host.run("systemctl stop %s", name)


def environment(host: Host, service: Unit) -> list[str]:
    return str(host.check_output(f"{AS_THE_APP} cat /proc/{service['MainPID']}/environ")).split("\0")


def test_it_differs_from_the_service_only_where_it_must(host: Host, stand_in: Unit, unit: t.Callable[[str], Unit]) -> None:
    service = unit("overlap.service")
    for name in ("Type", "User", "Group", "NonBlocking", "StartLimitIntervalUSec", "TimeoutStopUSec", "ConfigurationDirectory"):
        assert stand_in[name] == service[name], name
    assert stand_in["EnvironmentFiles"] == service["EnvironmentFiles"].replace("/srv/overlap/current/", f"/srv/overlap/releases/{current(host)}/")
    assert stand_in["WorkingDirectory"] == f"/srv/overlap/releases/{current(host)}"
    assert (stand_in["Restart"], stand_in["RuntimeMaxUSec"], stand_in["UnitFileState"]) == ("no", "15min", "static")


def test_it_can_tell_what_it_is(host: Host, stand_in: Unit, unit: t.Callable[[str], Unit]) -> None:
    assert "APP_INSTANCE=stand-in" in environment(host, stand_in)
    assert "APP_INSTANCE=" in environment(host, unit("overlap.service"))


def test_its_end_leaves_the_directory_of_the_service_alone(host: Host, stand_in: Unit) -> None:
    own = f"/run/overlap@{current(host)}"
    assert host.file(own).is_directory
    assert f"RUNTIME_DIRECTORY={own}" in environment(host, stand_in)
    host.check_output("systemctl stop %s", stand_in.name)
    assert not host.file(own).exists
    assert host.file("/run/overlap").is_directory


def test_the_next_deploy_ends_one_that_was_forgotten(host: Host, stand_in: Unit) -> None:
    result = module("release_switch", host, {**SWITCH, "release": current(host)})
    assert result["changed"] is False, result
    assert stand_in["ActiveState"] == "inactive"
    assert ask(host)["status"] == "200"


def test_a_sick_release_is_gone_back_from_while_somebody_serves(host: Host, unit: t.Callable[[str], Unit]) -> None:
    before = current(host)
    done = playbook(
        "deploy", host, {**APP, "app_release_id": "sick", "app_release_src": str(SCRATCH / "overlap-sick.tar.gz"), "app_health_check": SWITCH["health_check"]}
    )
    assert done.returncode != 0
    assert "answered with status 500" in done.stdout
    assert f"Release {before} is live and healthy again" in " ".join(done.stdout.split())
    assert current(host) == before
    assert ask(host)["X-Release"] == before
    assert host.check_output("systemctl list-units --all --plain --no-legend 'overlap@*'") == ""


def test_an_old_process_drains_undisturbed_and_never_loads_new_code(host: Host) -> None:
    before = current(host)
    slow: dict[str, str] = {}
    download = threading.Thread(target=lambda: slow.update(ask(host, "/slow?14")))
    download.start()
    done = playbook("deploy", host, {**APP, "app_release_id": "drained", "app_release_src": str(SCRATCH / "overlap-good.tar.gz")})
    assert done.returncode == 0, done.stdout
    download.join()
    assert (slow["status"], slow["X-Release"]) == ("200", before)
    # It imports this module only at the end of the request, when `current` has long led elsewhere.
    assert slow["X-Lazy"] == f"/srv/overlap/releases/{before}/lazy.py"
    assert ask(host)["X-Release"] == "drained"


def test_the_strategy_is_only_a_variable(host: Host, unit: t.Callable[[str], Unit]) -> None:
    opened = unit("overlap.socket")["ActiveEnterTimestampMonotonic"]
    for strategy in ("restart", "overlap"):
        release = f"by-{strategy}"
        variables = {**APP, "app_switch": strategy, "app_release_id": release, "app_release_src": str(SCRATCH / "overlap-good.tar.gz")}
        done = playbook("deploy", host, variables)
        assert done.returncode == 0, done.stdout
        assert ask(host)["X-Release"] == release
    assert unit("overlap.socket")["ActiveEnterTimestampMonotonic"] == opened


def test_little_memory_is_a_warning(host: Host) -> None:
    result = module("release_switch", host, {**SWITCH, "release": current(host), "restart": True, "memory_headroom": "900T"})
    assert result["changed"] is True, result
    assert "app_memory_headroom: overlap.service uses" in result["warnings"]


@pytest.mark.parametrize(
    ("directive", "complaint"),
    [
        ("Type=exec", "app_switch: overlap must know when a release is ready, and Type=exec does not say so"),
        ("NonBlocking=no", "app_socket_non_blocking: a stand-in would freeze an app that waits in accept()"),
    ],
)
def test_what_it_needs_is_asked_before_anything_starts(host: Host, unit: t.Callable[[str], Unit], directive: str, complaint: str) -> None:
    pid = unit("overlap.service")["MainPID"]
    host.check_output(
        "mkdir -p /run/systemd/system/overlap.service.d && printf '[Service]\\n%%s\\n' %s >/run/systemd/system/overlap.service.d/50-test.conf", directive
    )
    host.check_output("systemctl daemon-reload")
    try:
        result = module("release_switch", host, {**SWITCH, "release": current(host), "restart": True})
    finally:
        host.check_output("rm -r /run/systemd/system/overlap.service.d && systemctl daemon-reload")
    assert complaint in result["msg"]
    assert unit("overlap.service")["MainPID"] == pid


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"app_service_type": "exec"}, "app_switch: overlap must know when a release is ready"),
        ({"app_socket_non_blocking": False}, "app_socket_non_blocking: a stand-in would freeze"),
    ],
)
def test_what_it_needs_is_asked_before_anything_is_sent(host: Host, variables: dict[str, t.Any], complaint: str) -> None:
    done = playbook("deploy", host, {**APP, **variables, "app_release_id": "none", "app_release_src": str(SCRATCH / "overlap-good.tar.gz")})
    assert done.returncode != 0
    assert complaint in done.stdout
    assert not host.file("/srv/overlap/releases/none").exists


def test_hundreds_of_clients_wait_behind_an_app_that_lowered_its_backlog(host: Host) -> None:
    address = subprocess.run([ROOT / "tools/container", "address", host.backend.get_hostname()], capture_output=True, text=True, check=True).stdout.strip()
    # It lingers for far longer than a client pauses, so every connection that is kept is told to close by an answer.
    variables = {**APP, "app_switch": "restart", "app_environment": {"DEMO_START_SECONDS": "3", "DEMO_BACKLOG": "5", "DEMO_LINGER_SECONDS": "20"}}
    done = playbook("setup", host, variables)
    assert done.returncode == 0, done.stdout
    report = SCRATCH / f"{host.backend.get_hostname()}-backlog.json"
    load = subprocess.Popen(
        ["python", ROOT / "tests/load/load.py", f"--url=http://{address}:4960/", "--seconds=14", "--clients=400", "--pause=1", f"--report={report}"]
    )
    # How many wait at most; with the app's own backlog it would be six.
    watch = "for _ in $(seq 100); do ss --no-header --listening --numeric --tcp 'sport = :4960'; sleep 0.1; done"
    queue = subprocess.Popen(["podman", "exec", host.backend.get_hostname(), "sh", "-c", watch], stdout=subprocess.PIPE, text=True)
    result = module("release_switch", host, {**SWITCH, "strategy": "restart", "release": current(host), "restart": True})
    waiting = [int(line.split()[1]) for line in queue.communicate()[0].splitlines()]
    assert load.wait() == 0
    assert result["changed"] is True, result
    assert "has lowered the backlog of 0.0.0.0:4960 to 5, and overlap.socket says 4096" in result["warnings"]
    assert max(waiting) > 100
    assert yaml.safe_load(report.read_text())["failures"] == {}
