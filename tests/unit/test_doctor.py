# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of real processes, whose systemd is this test: it holds the socket and knows the units."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _doctor, _findings, _processes
from ansible_collections.holdfast.systemd.plugins.module_utils._doctor import Doctor
from ansible_collections.holdfast.systemd.plugins.module_utils._processes import Account
from ansible_collections.holdfast.systemd.plugins.module_utils._releases import Releases

# Apps by what is wrong with them. Each gets the socket as file descriptor 3, as from systemd.
SERVE = """
import select, signal, socket, sys
signal.signal(signal.SIGTERM, sys.exit)
server, waits = socket.socket(fileno=3), select.epoll()
waits.register(server)
print("ready", flush=True)
while waits.poll():
    server.accept()[0].close()
"""
HANDLER = "signal.signal(signal.SIGTERM, sys.exit)\n"
APPS = {
    "well": SERVE,
    "asyncio": """
import asyncio, signal, socket, sys
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit)
    await asyncio.start_server(lambda reader, writer: writer.close(), sock=socket.socket(fileno=3), backlog=4096)
    print("ready", flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
""",
    "threads": """
import http.server, signal, sys, socket
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
server = http.server.ThreadingHTTPServer(("", 0), http.server.SimpleHTTPRequestHandler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
print("ready", flush=True)
server.serve_forever()
""",
    "no handler": SERVE.replace(HANDLER, ""),
    "ignores": SERVE.replace(HANDLER, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"),
    "own port": SERVE.replace("socket.socket(fileno=3)", "socket.create_server(('127.0.0.1', 0))"),
}
# Without what takes Python a while to load.
PYTHON = (sys.executable, "-IS")


class Systemd:
    """Knows one service and one socket unit."""

    way_in = ()

    def __init__(self) -> None:
        self.service = {
            **{"LoadState": "loaded", "Type": "notify", "ActiveState": "active", "ControlGroup": "/shop.service", "User": "shop", "Group": "shop"},
            **{"KillSignal": "15", "KillMode": "control-group", "ExecStart": "{ path=/bin/sh ; }", "StartLimitIntervalUSec": "0"},
            **{"NeedDaemonReload": "no"},
        }
        self.socket = {
            **{"ActiveState": "active", "Triggers": "shop.service", "ReusePort": "no", "FlushPending": "no", "TriggerLimitIntervalUSec": "0"},
            **{"NeedDaemonReload": "no", "LoadState": "loaded", "Backlog": "4096"},
        }

    def show(self, unit: str, *_properties: str) -> dict[str, str]:
        return dict(self.socket if unit.endswith(".socket") else self.service)

    def loaded(self, _pattern: str) -> list[str]:
        return []


class Host:
    """A host with one app."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, stack: contextlib.ExitStack) -> None:
        (folder / "releases/2").mkdir(parents=True)
        (folder / "current").symlink_to("releases/2")
        (folder / ".deploy").mkdir()
        self.folder = folder
        self.stack = stack
        self.systemd = Systemd()
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.systemd.socket["Listen"] = f"{self.address} (Stream)"
        self.found: list[int] = []
        really = _processes.open_files
        monkeypatch.setattr(_processes, "open_files", lambda pid, account=None: really(os.getpid() if pid == 1 else pid, account))
        monkeypatch.setattr(_processes, "in_group", lambda _cgroup: self.found)
        # Only an app that serves elsewhere is given up on that early; all others keep the time that they really have.
        monkeypatch.setattr(_doctor, "PATIENCE", 0.2)

    def start(self, *command: str, **environment: str) -> int:
        """Starts an app as systemd does, and waits until it says that it is ready."""

        output, theirs = os.pipe()
        shell = ["/bin/sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; cd "$HOME"; exec "$0" "$@"', *command]
        files = [(os.POSIX_SPAWN_DUP2, theirs, 1), (os.POSIX_SPAWN_DUP2, self.listener.fileno(), 3)]
        surroundings = {**os.environ, "HOME": str(self.folder / "releases/2"), **environment}
        # A shell's job in the background ignores SIGINT, and what systemd starts ignores nothing of the kind.
        pid = os.posix_spawn(shell[0], shell, surroundings, file_actions=files, setpgroup=0, setsigdef=(signal.SIGINT, signal.SIGTERM))
        self.stack.callback(lambda: (os.killpg(pid, signal.SIGKILL), os.waitpid(pid, 0)))
        os.close(theirs)
        with open(output, encoding="utf-8") as stream:
            assert stream.readline() == "ready\n"
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.found = [pid, *map(int, children)]
        self.systemd.service["MainPID"] = str(pid)
        return pid

    def look(self, **options: t.Any) -> _findings.Facts:
        systemd: t.Any = self.systemd
        self.doctor = Doctor(systemd, lambda *_command, **_options: (1, "", ""), Releases(str(self.folder)), service="shop.service", sockets=["shop.socket"])
        return self.doctor.look(**{"runtime": "generic", "strategy": "restart", "has_check": True, **options})

    def codes(self) -> list[str]:
        return [finding.code for finding in _findings.judge(self.look())]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    with contextlib.ExitStack() as stack:
        yield Host(tmp_path, monkeypatch, stack)


@pytest.mark.parametrize("app", ["well", "asyncio", "threads"])
def test_an_app_that_is_well_is_seen_so(host: Host, app: str) -> None:
    pid = host.start(*PYTHON, "-c", APPS[app])
    facts = host.look()
    (process,) = facts.processes
    assert (process.pid, process.handles, process.listen_pid, process.is_seen) == (pid, True, pid, True)
    assert process.has == {host.address}
    # select() and poll() cannot be seen, so somebody has to connect.
    assert process.waits == (set() if app == "threads" else {host.address})
    assert facts.given[0].accepted is True
    assert (facts.current, facts.running, facts.runtime) == ("2", "2", "asyncio")
    assert _findings.judge(facts) == []
    assert host.doctor.unseen == []


def test_an_app_that_binds_its_own_port_leaves_the_socket_open_and_alone(host: Host) -> None:
    host.start(*PYTHON, "-c", APPS["own port"])
    facts = host.look()
    (process,) = facts.processes
    assert process.has == {host.address}
    (own,) = process.binds.values()
    assert own.startswith("127.0.0.1:")
    (finding,) = _findings.judge(facts)
    assert finding.code == "socket-not-inherited"
    assert finding.seen.endswith(f"listens on {own} itself")


@pytest.mark.parametrize(("app", "seen"), [("no handler", "does not catch signal 15"), ("ignores", "ignores signal 15")])
def test_an_app_that_does_not_catch_the_signal_has_no_drain(host: Host, app: str, seen: str) -> None:
    host.start(*PYTHON, "-c", APPS[app])
    (finding,) = _findings.judge(host.look())
    assert finding.code == "no-drain"
    assert seen in finding.seen


def test_another_signal_may_stop_it(host: Host) -> None:
    host.systemd.service["KillSignal"] = "2"
    host.start(*PYTHON, "-c", APPS["no handler"])
    # Python catches this one.
    assert host.codes() == []


def test_a_shell_that_stays_is_a_wrapper(host: Host) -> None:
    host.start("/bin/sh", "-c", f'{sys.executable} -IS -c "$APP"; exit', APP=APPS["well"])
    (finding,) = _findings.judge(host.look())
    assert finding.code == "wrapper-loses-pid"
    assert f"LISTEN_PID is {host.found[0]}" in finding.seen


def test_a_shell_that_becomes_the_app_is_none(host: Host) -> None:
    host.start("/bin/sh", "-c", f'exec {sys.executable} -IS -c "$APP"', APP=APPS["well"])
    assert host.codes() == []


def test_nobody_connects_to_a_service_that_is_stopped(host: Host) -> None:
    host.systemd.service.update({"ActiveState": "inactive", "MainPID": "0"})
    facts = host.look()
    assert facts.given[0].accepted is None
    host.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        host.listener.accept()


@pytest.mark.parametrize(
    ("unit", "properties", "code"),
    [
        ("service", {"NeedDaemonReload": "yes"}, "unit-not-loaded"),
        ("socket", {"NeedDaemonReload": "yes"}, "unit-not-loaded"),
        ("service", {"Type": "forking"}, "forking"),
        ("service", {"StartLimitIntervalUSec": "10s"}, "start-limit"),
        ("socket", {"TriggerLimitIntervalUSec": "2s"}, "start-limit"),
        ("socket", {"ReusePort": "yes"}, "reuse-port"),
        ("socket", {"FlushPending": "yes"}, "flush-pending"),
        ("socket", {"ActiveState": "failed"}, "socket-not-active"),
        ("socket", {"Listen": "127.0.0.1:1 (Stream)"}, "socket-not-open"),
    ],
)
def test_what_systemd_says_is_taken_over(host: Host, unit: str, properties: dict[str, str], code: str) -> None:
    host.start(*PYTHON, "-c", APPS["well"])
    getattr(host.systemd, unit).update(properties)
    assert host.codes() == [code]


def test_a_drop_in_that_nobody_has_loaded_is_seen(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "DROP_IN_FOLDERS", [str(tmp_path)])
    host.start(*PYTHON, "-c", APPS["well"])
    folder = tmp_path / "shop.service.d"
    folder.mkdir()
    (folder / "10-loaded.conf").touch()
    (folder / "20-off.conf").symlink_to("/dev/null")
    host.systemd.service["DropInPaths"] = "/etc/systemd/system/shop.service.d/10-loaded.conf"
    assert host.codes() == []
    (folder / "30-new.conf").touch()
    assert host.codes() == ["unit-not-loaded"]


def test_a_socket_of_another_kind_is_left_out_and_told(host: Host) -> None:
    host.start(*PYTHON, "-c", APPS["well"])
    host.systemd.socket["Listen"] += "\n/run/shop.fifo (FIFO)"
    assert host.codes() == []
    assert "/run/shop.fifo of shop.socket" in host.doctor.unseen[0]


def test_what_a_process_has_open_may_be_hidden(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.start(*PYTHON, "-c", APPS["own port"])
    monkeypatch.setattr(_processes, "open_files", lambda _pid, _account=None: {})
    assert host.codes() == []
    assert f"PID {host.found[0]} (python3" in host.doctor.unseen[0]


def test_whoever_cannot_look_into_systemd_knows_its_sockets_by_their_maker(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "open_files", lambda _pid, _account=None: {})
    found = _doctor._of_systemd("ListenStream", host.address)
    assert found == (frozenset() if os.getuid() else {str(os.stat(host.listener.fileno()).st_ino)})


@pytest.mark.parametrize(
    ("arguments", "configuration", "environment", "preloads"),
    [
        ("--preload shop", None, {}, True),
        ("shop", None, {"GUNICORN_CMD_ARGS": "--preload"}, True),
        ("shop", None, {}, False),
        ("shop", "preload_app = True\n", {}, True),
        ("shop", "workers = 2\n", {}, False),
        ("shop", "preload_app = False\n", {}, False),
        ("shop", "preload_app = bool(os.environ.get('PRELOAD'))\n", {}, None),
        ("-c other.py shop", "preload_app = True\n", {}, None),
        ("--config=gunicorn.conf.py shop", "preload_app = True\n", {}, True),
        ("--config file:gunicorn.conf.py shop", "preload_app = True\n", {}, True),
        ("-c python:shop.conf shop", None, {}, None),
    ],
)
def test_whether_gunicorn_loads_the_app_first(
    host: Host, arguments: str, configuration: str | None, environment: dict[str, str], preloads: bool | None
) -> None:
    if configuration is not None:
        (host.folder / "releases/2/gunicorn.conf.py").write_text(configuration)
    pid = host.start(*PYTHON, "-c", APPS["well"], **environment)
    host.look()
    # A shell in front has a -c of its own.
    commands = [f"/srv/shop/venv/bin/python venv/bin/gunicorn {arguments}", '{ path=/bin/sh ; argv[]=/bin/sh -c exec "$@" venv/bin/gunicorn ; }']
    assert host.doctor._preloads(commands, pid, Account()) is preloads
    assert host.doctor._preloads(["/usr/bin/python3 app.py"], pid, Account()) is None


@pytest.mark.parametrize(("mask", "has"), [("0000000000004000", True), ("0000000000000002", False), ("", False)])
def test_a_mask_of_signals_is_read(mask: str, has: bool) -> None:
    assert _doctor._has(mask, 15) is has


BUSY = SERVE.replace("waits.register(server)", "").replace("while waits.poll():\n", "import time\ntime.sleep(SECONDS)\nwhile True:\n")


def test_one_who_is_busy_has_time_to_accept(host: Host) -> None:
    host.start(*PYTHON, "-c", BUSY.replace("SECONDS", "0.4"))
    assert host.codes() == []


def test_one_who_is_busy_for_too_long_does_not_serve_the_socket(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "PATIENCE_WITH_BUSY", 0.6)
    host.start(*PYTHON, "-c", BUSY.replace("SECONDS", "3600"))
    assert host.codes() == ["socket-not-inherited"]
