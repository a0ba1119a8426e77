# SPDX-License-Identifier: GPL-3.0-or-later
"""An app that cannot say that it is ready is waited for until it accepts connections; and each instance is told what it gets.

The app needs two seconds before it looks at its socket, which systemd does not hear of: its type is exec.
"""

from __future__ import annotations

import typing as t

import pytest

from apps import App, live
from playbooks import archive, playbook
from versions import STABLE

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from conftest import Unit

usual_hosts = [STABLE]

START_SECONDS = 2
# Asks 20 times a second and writes down how many milliseconds each answer took; a request that is not answered took for ever.
CLOCK = """
import asyncio, signal, sys, time

async def ask():
    begun = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        writer.write(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
        answered = (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    except OSError:
        answered = False
    print(int((time.monotonic() - begun) * 1000) if answered else 10**6, flush=True)

async def main():
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    asked = []
    while not enough.is_set():
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(0.05)
    await asyncio.gather(*asked)

asyncio.run(main())
"""


class Timed:
    """How long clients of an app waited while something happened to it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.milliseconds: list[int] = []

    def __enter__(self) -> list[int]:
        run = "systemd-run --quiet --collect --unit=waiting-clients --property=StandardOutput=file:/run/waiting-clients python3 -c %s"
        self.app.host.check_output(f"rm -f /run/waiting-clients && {run} {self.app.port}", CLOCK)
        return self.milliseconds

    def __exit__(self, *failed: object) -> None:
        self.app.host.check_output("systemctl stop waiting-clients")
        self.milliseconds += map(int, self.app.host.check_output("cat /run/waiting-clients").split())


@pytest.fixture(scope="module")
def app(host: Host) -> App:
    waiting = App(host, "waiting", 4868, "/srv")
    waiting.variables.update(
        app_service_type="exec",
        app_wait_until_accepting=True,
        app_environment={"DEMO_START_SECONDS": str(START_SECONDS), "DEMO_LINGER_SECONDS": "0.1"},
        # Where the app's user sees only its own processes, and can gain no rights.
        app_hardening="strict",
        app_switch="overlap",
        app_start_timeout="6s",
        # A command of one's own runs once the app accepts.
        app_service_options={"ExecStartPost": ["/bin/sh", "-c", "cat /proc/uptime >/run/waiting/started"]},
    )
    return live(waiting, "one")


def environment(host: Host, service: Unit, user: str) -> dict[str, str]:
    found = host.check_output(f"setpriv --reuid={user} --regid={user} --clear-groups cat /proc/{service['MainPID']}/environ").split("\0")
    return dict(variable.split("=", 1) for variable in found if variable)


def test_a_start_is_done_when_the_app_accepts_and_not_before(app: App) -> None:
    measure = "b=$(date +%s%N); systemctl restart waiting.service; e=$(date +%s%N); echo $(( (e - b) / 1000000 ))"
    assert START_SECONDS * 1000 <= int(app.host.check_output(measure)) < START_SECONDS * 1000 + 3000
    assert app.answers() == "one"


def test_a_command_of_the_user_runs_afterwards(app: App, unit: t.Callable[[str], Unit]) -> None:
    begun = int(unit("waiting.service")["ExecMainStartTimestampMonotonic"]) / 1e6
    assert float(app.host.check_output("cat /run/waiting/started").split()[0]) - begun >= START_SECONDS - 0.1


def test_no_client_waits_for_a_release_that_does_not_accept_yet(app: App) -> None:
    with Timed(app) as milliseconds:
        done = app.deploy("two")
    assert done.returncode == 0, done.stdout
    assert app.answers() == "two"
    # Twice the new release needed two seconds, as the stand-in and as the service.
    assert len(milliseconds) > 2 * START_SECONDS * 15
    assert max(milliseconds) < START_SECONDS * 500


def test_a_release_that_never_accepts_changes_nothing(app: App, unit: t.Callable[[str], Unit]) -> None:
    before, pid = app.current(), unit("waiting.service")["MainPID"]
    with Timed(app) as milliseconds:
        done = app.deploy("deaf", app_release_src=archive("deaf", DEMO_START_SECONDS="600"))
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "its stand-in did not start: it was not ready in time" in said
    assert "app_wait_until_accepting: told to stop after" in said
    assert "no process of this instance has waited for connections on 127.0.0.1:4868; there is" in said
    assert (app.current(), unit("waiting.service")["MainPID"], app.answers()) == (before, pid, before)
    assert max(milliseconds) < START_SECONDS * 500


def test_a_release_that_dies_is_not_waited_for(app: App) -> None:
    done = app.deploy("dead", app_release_src=archive("dead", DEMO_FAULT="exit-at-start"))
    assert done.returncode != 0
    assert "it was not ready in time" not in " ".join(done.stdout.split())
    assert app.answers() == "two"


def test_it_goes_when_nobody_asks_for_it(app: App, unit: t.Callable[[str], Unit]) -> None:
    assert app.host.file("/usr/local/lib/waiting-accepting.py").mode == 0o644
    done = playbook("setup", app.host, {**app.variables, "app_wait_until_accepting": None, "app_switch": "restart"})
    assert done.returncode == 0, done.stdout
    assert not app.host.file("/usr/local/lib/waiting-accepting.py").exists
    assert "accepting" not in unit("waiting.service")["ExecStartPost"]


@pytest.fixture(scope="module")
def told(host: Host) -> App:
    """An app with sockets of several units and families, and with the environment of a runtime that must differ between instances."""
    app = App(host, "told", 4869, "/srv")
    app.variables.update(
        app_runtime="elixir",
        app_release_system="generic",
        app_listen=["127.0.0.1:4869", "/run/told.sock", {"listen": "[::1]:4869", "name": "six"}],
        app_environment={"RELEASE_NODE": "told@127.0.0.1"},
    )
    return live(app, "1.2.3")


@pytest.mark.parametrize("name", ["told.service", "told@1.2.3.service"])
def test_each_instance_is_told_what_it_gets(told: App, unit: t.Callable[[str], Unit], name: str) -> None:
    told.host.check_output("systemctl start %s", name)
    try:
        found = environment(told.host, unit(name), "told")
    finally:
        told.host.run("systemctl stop 'told@*'")
    families = dict(zip(found["LISTEN_FDNAMES"].split(":"), found["APP_LISTEN_FAMILY"].split(":")))
    assert families["six"] == "inet6"
    assert [family for family in found["APP_LISTEN_FAMILY"].split(":") if family != "inet6"] == ["inet", "unix"]
    assert len(found["APP_LISTEN_FAMILY"].split(":")) == len(found["LISTEN_FDNAMES"].split(":")) == 3
    assert found["PORT"] == "4869"
    assert found["LISTEN_PID"] == unit("told.service")["MainPID"] or "@" in name
    # Two nodes of a name do not run on one host, and dots are not for names of nodes.
    is_stand_in = "@" in name
    assert found["RELEASE_NODE"] == (f"stand-in-{found['INVOCATION_ID']}-told@127.0.0.1" if is_stand_in else "told@127.0.0.1")
