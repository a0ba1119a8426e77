# SPDX-License-Identifier: GPL-3.0-or-later
"""Other variables for an app that is live."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import archive, playbook
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

usual_hosts = [OLDEST]

APP = {
    "app_name": "re_configured",
    "app_command": "bin/demo",
    "app_listen": ["127.0.0.1:4998"],
    "app_service_type": "notify",
    "app_environment": {"COLOUR": "blue"},
    "app_health_check": {"url": "http://127.0.0.1:4998/"},
    "app_settle_seconds": 0.3,
}
AS_THE_APP = "setpriv --reuid=re-configured --regid=re-configured --clear-groups"


@pytest.fixture(scope="module", autouse=True)
def live(host: Host) -> None:
    for name in ("setup", "deploy"):
        done = playbook(name, host, {**APP, "app_release_id": "1", "app_release_src": archive("reconfigured")})
        assert done.returncode == 0, done.stdout


@pytest.fixture
def service(unit: t.Callable[[str], Unit]) -> Unit:
    return unit("re-configured.service")


@pytest.fixture
def socket(unit: t.Callable[[str], Unit]) -> Unit:
    return unit("re-configured.socket")


def colour(host: Host, service: Unit) -> list[str]:
    # With accounts of its own it is open to root, and else to itself.
    file = f"/proc/{service['MainPID']}/environ"
    environment = host.check_output(f"cat {file} 2>/dev/null || {AS_THE_APP} cat {file}").split("\0")
    return [variable for variable in environment if variable.startswith("COLOUR=")]


def test_an_underscore_becomes_a_dash(host: Host) -> None:
    assert host.file("/srv/re-configured/current").is_symlink
    assert host.user("re-configured").shell == "/usr/sbin/nologin"


def test_the_same_again_changes_nothing(host: Host, service: Unit) -> None:
    pid = service["MainPID"]
    done = playbook("setup", host, APP)
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
    assert service["MainPID"] == pid


def test_a_changed_environment_restarts_the_release_and_not_the_socket(host: Host, service: Unit, socket: Unit) -> None:
    pid, since = service["MainPID"], socket["ActiveEnterTimestampMonotonic"]
    done = playbook("setup", host, {**APP, "app_environment": {"COLOUR": "a secret colour"}}, "--diff")
    assert done.returncode == 0, done.stdout
    assert service["MainPID"] != pid
    assert socket["ActiveEnterTimestampMonotonic"] == since
    assert colour(host, service) == ["COLOUR=a secret colour"]
    assert "a secret colour" not in done.stdout
    assert "a secret colour" not in host.check_output("journalctl --no-pager")


def test_a_changed_directive_is_in_effect_at_once(host: Host, service: Unit, socket: Unit) -> None:
    since = socket["ActiveEnterTimestampMonotonic"]
    done = playbook("setup", host, {**APP, "app_service_options": {"Nice": 5}})
    assert done.returncode == 0, done.stdout
    assert host.check_output(f"ps -o ni= -p {service['MainPID']}").strip() == "5"
    assert socket["ActiveEnterTimestampMonotonic"] == since


def test_check_mode_shows_the_change_and_does_not_make_it(host: Host, service: Unit) -> None:
    playbook("setup", host, APP)
    pid = service["MainPID"]
    done = playbook("setup", host, {**APP, "app_service_options": {"Nice": 6}}, "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert "+Nice=6" in done.stdout
    assert service["MainPID"] == pid
    assert service["Nice"] == "0"


def test_a_directive_that_stops_the_app_is_an_error_that_says_so(host: Host, service: Unit) -> None:
    done = playbook("setup", host, {**APP, "app_service_options": {"ExecStartPre": "/bin/false"}})
    assert done.returncode != 0
    assert "Release 1 cannot be live: it did not start" in done.stdout
    assert playbook("setup", host, APP).returncode == 0
    assert service["ActiveState"] == "active"


def test_another_address_on_a_live_port_is_refused_and_the_port_serves_on(host: Host, socket: Unit, service: Unit) -> None:
    since, pid = socket["ActiveEnterTimestampMonotonic"], service["MainPID"]
    done = playbook("setup", host, {**APP, "app_listen": ["127.0.0.1:4997"]})
    assert done.returncode != 0
    assert "app_listen: re-configured.socket is active and holds 127.0.0.1:4998 (Stream)" in done.stdout
    assert host.socket("tcp://127.0.0.1:4998").is_listening
    assert socket["Listen"] == "127.0.0.1:4998 (Stream)"
    assert (socket["ActiveEnterTimestampMonotonic"], service["MainPID"]) == (since, pid)


def test_a_reload_that_an_earlier_run_owed_is_made_up_for(host: Host, service: Unit) -> None:
    host.check_output("touch /etc/systemd/system/re-configured.service")
    assert service["NeedDaemonReload"] == "yes"
    done = playbook("setup", host, APP)
    assert done.returncode == 0, done.stdout
    assert service["NeedDaemonReload"] == "no"


def test_a_deploy_in_check_mode_changes_nothing(host: Host, service: Unit) -> None:
    pid = service["MainPID"]
    release = {"app_release_id": "2", "app_release_src": archive("reconfigured")}
    done = playbook("deploy", host, {**APP, **release}, "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert "-1\n+2" in done.stdout
    assert service["MainPID"] == pid
    assert host.check_output("ls -A /srv/re-configured/releases") == "1"


def test_the_same_release_again_changes_nothing(host: Host, service: Unit) -> None:
    pid = service["MainPID"]
    done = playbook("deploy", host, {**APP, "app_release_id": "1", "app_release_src": archive("reconfigured")})
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
    assert service["MainPID"] == pid


def test_a_first_deploy_that_fails_leaves_the_host_as_it_was(host: Host, unit: t.Callable[[str], Unit]) -> None:
    app = {**APP, "app_name": "unlucky", "app_listen": ["127.0.0.1:4996"], "app_health_check": {"url": "http://127.0.0.1:4996/", "retries": 2}}
    app["app_settle_seconds"] = 1.5  # longer than the crashing one lives
    assert playbook("setup", host, app).returncode == 0
    before = unit("unlucky.socket")["ActiveState"]
    for fault in ({"DEMO_FAULT": "exit-at-start"}, {"DEMO_FAULT": "crash-after-ready"}, {"DEMO_STATUS": "500"}):
        release = {"app_release_id": next(iter(fault.values())), "app_release_src": archive("unlucky", **fault)}
        done = playbook("deploy", host, {**app, **release})
        assert done.returncode != 0
        assert "The service is stopped, as before this first deploy" in done.stdout
        assert "The last lines of its journal" in done.stdout
        assert unit("unlucky.service")["ActiveState"] in ("inactive", "failed")
        assert unit("unlucky.socket")["ActiveState"] == before == "active"
        assert not host.file("/srv/unlucky/current").exists
