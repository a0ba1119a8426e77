# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app listens on can be of any kind, and can change; what is live is not disturbed without being asked."""

from __future__ import annotations

import typing as t

import pytest

from playbooks import archive, playbook
from sockets.listener import APP, gap, wait_for
from versions import NEWEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

usual_hosts = [NEWEST]

AS_THE_APP = "setpriv --reuid=listener --regid=listener --clear-groups"


@pytest.fixture(scope="module", autouse=True)
def live(host: Host) -> None:
    """An app that is live on one address."""
    for name in ("setup", "deploy"):
        done = playbook(name, host, {**APP, "app_release_id": "1", "app_release_src": archive("listener")})
        assert done.returncode == 0, done.stdout


@pytest.fixture
def restored(host: Host) -> t.Iterator[None]:
    """For a test that changes the app: it is as before afterwards."""
    yield
    done = playbook("setup", host, {**APP, "app_socket_change": "restart"})
    assert done.returncode == 0, done.stdout
    assert host.check_output("ls -d /etc/systemd/system/listener*.socket") == "/etc/systemd/system/listener.socket"


def environment(host: Host, unit: t.Callable[[str], Unit]) -> list[str]:
    # With accounts of its own it is open to root, and else to itself.
    file = f"/proc/{unit('listener.service')['MainPID']}/environ"
    return host.check_output(f"cat {file} 2>/dev/null || {AS_THE_APP} cat {file}").split("\0")


ASK = """
import socket, sys
where = sys.argv[1]
host, _, port = where.rpartition(":")
if where.startswith("/"):
    client = socket.socket(socket.AF_UNIX)
    client.connect(where)
else:
    client = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
client.sendall(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
print(client.makefile().read())
"""


def answer(host: Host, where: str) -> str:
    return host.check_output("python3 -c %s %s", ASK, where).splitlines()[-1]


@pytest.mark.usefixtures("restored")
def test_an_address_with_a_name_is_added_without_disturbing_the_one_that_stands(host: Host, unit: t.Callable[[str], Unit]) -> None:
    since = unit("listener.socket")["ActiveEnterTimestampMonotonic"]
    listen = [
        *APP["app_listen"],
        {"listen": "/run/listener-admin.sock", "name": "admin", "mode": "0620"},
        {"listen": "[::1]:4981", "name": "six"},
        {"listen": "4982", "name": "dual"},
        {"listen": "127.0.0.1:81", "name": "low"},
    ]
    done = playbook("setup", host, {**APP, "app_listen": listen})
    assert done.returncode == 0, done.stdout
    assert unit("listener.socket")["ActiveEnterTimestampMonotonic"] == since
    path = host.file("/run/listener-admin.sock")
    assert (path.user, path.group, oct(path.mode)) == ("listener", "listener", "0o620")
    for where in ("127.0.0.1:4980", "/run/listener-admin.sock", "[::1]:4981", "127.0.0.1:4982", "[::1]:4982", "127.0.0.1:81"):
        assert answer(host, where) == "release 1"
    names = next(variable for variable in environment(host, unit) if variable.startswith("LISTEN_FDNAMES="))
    assert sorted(names.partition("=")[2].split(":")) == ["admin", "dual", "listener.socket", "low", "six"]
    again = playbook("setup", host, {**APP, "app_listen": listen})
    assert "changed=0" in again.stdout
    refused = playbook("setup", host, {**APP, "app_listen": listen[:-1]})
    assert refused.returncode != 0
    assert "app_listen: listener-low.socket is active and holds 127.0.0.1:81 (Stream)" in refused.stdout
    assert answer(host, "127.0.0.1:81") == "release 1"


def test_a_further_address_without_a_name_is_refused_and_says_how(host: Host, unit: t.Callable[[str], Unit]) -> None:
    done = playbook("setup", host, {**APP, "app_listen": [*APP["app_listen"], "127.0.0.1:4983"]})
    assert done.returncode != 0
    assert "app_listen: listener.socket is active and holds 127.0.0.1:4980 (Stream)" in done.stdout
    assert "if it gets a name" in done.stdout
    assert unit("listener.socket")["NeedDaemonReload"] == "no"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("change", [{"app_listen": ["127.0.0.1:4984"]}, {"app_socket_options": {"Backlog": 77}}])
def test_a_change_that_needs_a_new_socket_waits_to_be_asked_for_and_measures_the_gap(
    host: Host, unit: t.Callable[[str], Unit], change: dict[str, t.Any]
) -> None:
    address = change.get("app_listen", APP["app_listen"])[0]
    changed = {**APP, **change, "app_health_check": {"url": f"http://{address}/"}}
    since, pid = unit("listener.socket")["ActiveEnterTimestampMonotonic"], unit("listener.service")["MainPID"]
    refused = playbook("setup", host, changed)
    assert refused.returncode != 0
    assert "app_socket_change: restart" in refused.stdout
    assert (since, pid) == (unit("listener.socket")["ActiveEnterTimestampMonotonic"], unit("listener.service")["MainPID"])
    assert answer(host, "127.0.0.1:4980") == "release 1"
    done = playbook("setup", host, {**changed, "app_socket_change": "restart"})
    assert done.returncode == 0, done.stdout
    assert 0 < gap(done.stdout) < 5
    assert answer(host, address) == "release 1"
    assert unit("listener.socket")["ActiveEnterTimestampMonotonic"] != since
    if "app_listen" in change:
        assert not host.socket("tcp://127.0.0.1:4980").is_listening
    else:
        assert " 77 " in host.check_output("ss --listening --tcp --numeric | grep ':4980 '")


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("option", [{"FlushPending": False, "TriggerLimitBurst": 7}, {"FileDescriptorName": "web"}])
def test_what_applies_in_place_needs_no_new_socket(host: Host, unit: t.Callable[[str], Unit], option: dict[str, t.Any]) -> None:
    since = unit("listener.socket")["ActiveEnterTimestampMonotonic"]
    done = playbook("setup", host, {**APP, "app_socket_options": option})
    assert done.returncode == 0, done.stdout
    assert unit("listener.socket")["ActiveEnterTimestampMonotonic"] == since
    assert all(unit("listener.socket")[name] == {False: "no"}.get(value, str(value)) for name, value in option.items())
    if "FileDescriptorName" in option:
        assert "LISTEN_FDNAMES=web" in environment(host, unit)


def test_a_new_address_that_somebody_else_holds_leaves_the_old_one_as_it_was(host: Host, unit: t.Callable[[str], Unit]) -> None:
    host.check_output("systemd-run --collect --unit=squatter python3 -m http.server --bind 127.0.0.1 4985")
    try:
        wait_for(host, "127.0.0.1:4985")
        done = playbook("setup", host, {**APP, "app_listen": ["127.0.0.1:4985"], "app_socket_change": "restart"})
        assert done.returncode != 0
        assert "the units are as before" in done.stdout
        assert answer(host, "127.0.0.1:4980") == "release 1"
        assert unit("listener.socket")["Listen"] == "127.0.0.1:4980 (Stream)"
    finally:
        host.check_output("systemctl stop squatter")


@pytest.mark.parametrize("path", ["/run/listener/http.sock", "/var/run/listener/http.sock"])
def test_a_socket_in_the_runtime_directory_is_refused(host: Host, path: str) -> None:
    done = playbook("setup", host, {**APP, "app_listen": [{"listen": path, "name": "x"}]})
    assert done.returncode != 0
    assert "would be removed with the app's runtime directory at each restart" in done.stdout


def test_remove_keeps_the_data_unless_told_otherwise(host: Host, unit: t.Callable[[str], Unit]) -> None:
    done = playbook("remove", host, APP)
    assert done.returncode == 0, done.stdout
    assert (unit("listener.socket")["LoadState"], unit("listener.service")["LoadState"]) == ("not-found", "not-found")
    assert not host.socket("tcp://127.0.0.1:4980").is_listening
    assert host.file("/srv/listener/releases/1").exists
    assert host.file("/srv/listener/shared").exists
    again = playbook("remove", host, APP)
    assert "changed=0" in again.stdout
    data = [f"{folder}/listener" for folder in ("/srv", "/etc", "/var/lib", "/var/cache", "/var/log")]
    host.check_output(f"mkdir -p {' '.join(data)}")
    every = {"app_directories": ["runtime", "state", "cache", "logs", "configuration"]}
    assert playbook("remove", host, {**APP, **every, "app_remove_data": True}).returncode == 0
    assert host.run(f"ls -d {' '.join(data)}").stdout == ""
    assert not host.user("listener").exists
    assert not host.group("listener").exists
