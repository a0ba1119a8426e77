# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths, credentials, limits and the watchdog: each variable is in effect, at any level, and one directive can be taken away."""

from __future__ import annotations

import hashlib
import typing as t

import pytest

from apps import App, live
from hardening.probe import probed
from playbooks import module, playbook

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

NAME = "confined"
PORT = 4931
SECRET = "correct horse battery staple"
WATCHDOG_SECONDS = 5
PATHS = {
    "app_read_only_paths": ["/opt/half-open"],
    "app_read_write_paths": ["/opt/half-open/drop", "-/opt/not/there"],
    "app_inaccessible_paths": ["/opt/closed"],
}
LIMITS = {
    "app_kill_mode": ("mixed", {"KillMode": "mixed"}),
    "app_fd_store_max": (7, {"FileDescriptorStoreMax": "7"}),
    "app_memory_max": ("1G", {"MemoryMax": str(1 << 30)}),
    "app_cpu_quota": ("200%", {"CPUQuotaPerSecUSec": "2s"}),
    "app_tasks_max": ("100", {"TasksMax": "100"}),
    "app_oom_score_adjust": (300, {"OOMScoreAdjust": "300"}),
    "app_notify_access": ("all", {"NotifyAccess": "all"}),
    "app_watchdog_sec": (f"{WATCHDOG_SECONDS}s", {"WatchdogUSec": f"{WATCHDOG_SECONDS}s"}),
}
PROBES = [
    *("write:/opt/half-open", "write:/opt/half-open/drop", "write:/opt/closed", "read:/opt/closed", "write:/opt/open"),
    *("read:/etc/confined-token", "digest:$CREDENTIALS_DIRECTORY/token"),
]
# What the app can at each level; the folders belong to it.
EVERYWHERE = {
    "write:/opt/half-open": "EROFS",
    "write:/opt/half-open/drop": "True",
    "write:/opt/closed": "EACCES",
    "read:/opt/closed": "EACCES",
    "read:/etc/confined-token": "EACCES",
    "digest:$CREDENTIALS_DIRECTORY/token": hashlib.sha256(SECRET.encode()).hexdigest(),
}


@pytest.fixture(scope="module")
def app(host: Host) -> App:
    """An app without hardening, with one value for each variable."""
    found = App(host, NAME, PORT, "/srv")
    found.variables.update(
        app_environment={"DEMO_LINGER_SECONDS": "0.1", "PROBES": " ".join(PROBES)},
        app_hardening="none",
        app_load_credentials={"token": "/etc/confined-token"},
        **PATHS,
        **{name: value for name, (value, _properties) in LIMITS.items()},
    )
    host.check_output(
        f"install -m 600 /dev/null /etc/confined-token && printf %s '{SECRET}' >/etc/confined-token && useradd --system {NAME} && "
        f"for name in half-open half-open/drop closed open; do install -d -o {NAME} /opt/$name && touch /opt/$name/content || exit; done"
    )
    return live(found, "one")


def test_paths_and_credentials_need_no_hardening(app: App) -> None:
    assert probed(app) == {**EVERYWHERE, "write:/opt/open": "True"}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_in_effect(app: App, unit: t.Callable[[str], Unit], name: str) -> None:
    _value, properties = LIMITS[name]
    assert {key: unit(f"{NAME}.service")[key] for key in properties} == properties


def test_the_process_has_its_score(host: Host, app: App, unit: t.Callable[[str], Unit]) -> None:
    assert host.check_output(f"cat /proc/{unit(f'{NAME}.service')['MainPID']}/oom_score_adj") == "300"


def test_the_status_that_the_app_tells_is_shown(app: App) -> None:
    found = module("release_info", app.host, {"path": app.folder, "service": f"{NAME}.service"})
    assert found["status_text"] == "serving release one"
    assert "status    serving release one" in playbook("status", app.host, {**app.variables, "app_status_format": "details"}).stdout


# Hangs the app, sees that it hangs, and then asks with 20 clients at once.
ASK_WHILE_IT_HANGS = f"""
import asyncio, subprocess

async def ask(path):
    reader, writer = await asyncio.open_connection("127.0.0.1", {PORT})
    writer.write(f"GET {{path}} HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n".encode())
    return dict(line.split(": ") for line in (await reader.read()).decode().splitlines() if ": " in line)

async def main():
    hanging = asyncio.create_task(ask("/hang"))
    await asyncio.sleep(0)
    while "hanging" not in subprocess.run(["systemctl", "show", "--property=StatusText", "{NAME}"], capture_output=True, text=True).stdout:
        await asyncio.sleep(0.05)
    answers = await asyncio.wait_for(asyncio.gather(*(ask("/") for _ in range(20))), 60)
    print(*(answer["X-Pid"] for answer in answers))

asyncio.run(main())
"""


def test_an_app_that_hangs_is_started_anew_and_nobody_is_refused(host: Host, app: App, unit: t.Callable[[str], Unit]) -> None:
    service, socket = unit(f"{NAME}.service"), unit(f"{NAME}.socket")
    before, since = service["MainPID"], socket["ActiveEnterTimestampMonotonic"]
    answered_by = host.check_output("python3 -c %s", ASK_WHILE_IT_HANGS).split()
    assert len(answered_by) == 20
    assert set(answered_by) == {service["MainPID"]}
    assert service["MainPID"] != before
    assert socket["ActiveEnterTimestampMonotonic"] == since
    assert "Watchdog timeout" in host.check_output(f"journalctl --quiet --output=cat --unit={NAME}.service")


def test_a_directive_of_the_user_wins_and_a_null_takes_one_away(host: Host, app: App, unit: t.Callable[[str], Unit]) -> None:
    # Where root is not allowed to trace, as in a container, systemd cannot have PrivateUsers beside ProtectProc.
    options = {"ProtectSystem": None, "ProtectProc": None, "PrivateUsers": True, "LockPersonality": False}
    done = playbook("setup", host, {**app.variables, "app_hardening": "strict", "app_service_options": options})
    assert done.returncode == 0, done.stdout
    service = unit(f"{NAME}.service")
    assert (service["ProtectSystem"], service["PrivateUsers"], service["LockPersonality"], service["NoNewPrivileges"]) == ("no", "yes", "no", "yes")
    assert probed(app) == {**EVERYWHERE, "write:/opt/open": "True"}


@pytest.mark.long
def test_paths_hold_at_the_strictest_level(host: Host, app: App) -> None:
    done = playbook("setup", host, {**app.variables, "app_hardening": "strict"}, "--diff")
    assert done.returncode == 0, done.stdout
    assert probed(app) == {**EVERYWHERE, "write:/opt/open": "EROFS"}
    assert SECRET not in done.stdout
    assert SECRET not in host.check_output(f"journalctl --no-pager; systemctl show {NAME}.service; systemctl cat {NAME}.service")


@pytest.mark.long
def test_what_is_not_of_the_level_must_be_known(host: Host, app: App, unit: t.Callable[[str], Unit]) -> None:
    pid = unit(f"{NAME}.service")["MainPID"]
    done = playbook("setup", host, {**app.variables, "app_hardening": "strict", "app_service_options": {"PrivateTemp": True}})
    assert done.returncode != 0
    assert "does not know the directive PrivateTemp in [Service]; did you mean PrivateTmp?" in " ".join(done.stdout.split())
    assert unit(f"{NAME}.service")["MainPID"] == pid


def test_a_credential_that_is_not_there_is_an_error_that_says_so(app: App) -> None:
    done = playbook("setup", app.host, {**app.variables, "app_load_credentials": {"token": "/etc/no-such-token"}})
    assert done.returncode != 0
    assert "its main process ended (exit-code, status 243)" in " ".join(done.stdout.split())
