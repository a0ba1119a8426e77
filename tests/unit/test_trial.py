# SPDX-License-Identifier: GPL-3.0-or-later
"""A second instance shows how an app starts and ends, at addresses of its own, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.holdfast.systemd.plugins.module_utils import _trial
from ansible_collections.holdfast.systemd.plugins.module_utils._findings import Tried
from ansible_collections.holdfast.systemd.plugins.module_utils._systemd import SystemdError
from ansible_collections.holdfast.systemd.plugins.module_utils._trial import Trial, UntriableError

STAND_IN = """# /etc/systemd/system/shop@.service
[Unit]
Requires=shop.socket
Description=Stand-in of shop %i

[Service]
Type=notify
Environment="A=%%n" "B=%n"
EnvironmentFile=/etc/%p/app_environment
ExecStart=/srv/shop/releases/%i/bin/shop
ExecStartPost=
ExecStartPost="/usr/bin/python3" "-I" "/usr/local/lib/shop-accepting.py" "127.0.0.1:4000" "4001" "/run/shop.sock"
ExecStartPost=/usr/bin/curl http://localhost:4000/health http://10.127.0.0.1:4000/ http://127.0.0.1:40001/
Sockets=shop.socket
Sockets=shop-admin.socket

# /etc/systemd/system/shop@.service.d/10-stand-in.conf
[Service]
Restart=no
RuntimeMaxSec=15min
"""

# Serves what it is given as an asyncio app does; how it ends is its argument.
APP = """
import asyncio, os, signal, socket, sys, time
how, request_seconds = sys.argv[1], 0.05
async def answer(reader, writer):
    hands.add(writer)
    with __import__("contextlib").suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\\r\\n\\r\\n")
        if how == "hangs-up":
            writer.close()
        await asyncio.sleep(request_seconds)
        writer.write(b"HELLO" if how == "no-http" else b"HTTP/1.1 200 \\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
        await writer.drain()
    writer.close()
    hands.discard(writer)
async def main():
    end = asyncio.Event()
    if how == "drains":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    elif how == "exits":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    elif how == "stops-its-loop":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(0))
    if how == "late":
        print("ready", flush=True)
        time.sleep(0.8)
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=int(sys.argv[2])))
    if how != "late":
        print("ready", flush=True)
    await end.wait()
    server.close()
    while hands:
        await asyncio.sleep(0.01)
hands = set()
asyncio.run(main())
"""


class FakeSystemd:
    """Starts the app itself, with the sockets that the unit files name."""

    way_in = ()

    def __init__(self, folder: Path, how: str) -> None:
        self.folder = folder
        self.how = how
        self.process: subprocess.Popen[bytes] | None = None
        self.held: list[socket.socket] = []
        self.left: list[str] = []
        self.done: list[str] = []

    def loaded(self, pattern: str) -> list[str]:
        return [unit for unit in self.left if unit.endswith(pattern.rpartition("*")[2])]

    def text(self, _unit: str) -> str:
        return STAND_IN

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        if "ActiveState" in properties:
            return {"ActiveState": "active" if self.process and self.process.poll() is None else "inactive"}
        return {"shop.socket": {"Listen": "127.0.0.1:4000 (Stream)\n[::]:4001 (Stream)", "FileDescriptorName": "http"}}.get(
            unit, {"Listen": "/run/shop.sock (Stream)"}
        )

    def start(self, *units: str) -> None:
        self.done.append(f"start {' '.join(units)}")
        for unit in units:
            if unit.endswith(".socket"):
                self.open((self.folder / unit).read_text())
            else:
                self.begin()

    def open(self, text: str) -> None:
        for host, port in re.findall(r"^ListenStream=(.*):(\d+)$", text, re.MULTILINE):
            held = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
            held.bind((host.strip("[]"), int(port)))
            held.listen(64)
            self.held.append(held)

    def begin(self) -> None:
        if self.how == "fails":
            raise SystemdError("systemctl start: Job failed")
        first = self.held[0].fileno()
        command = [sys.executable, "-c", APP, self.how, str(first)]
        self.process = subprocess.Popen(command, pass_fds=[first], stdout=subprocess.PIPE, start_new_session=True)
        assert self.process.stdout
        self.process.stdout.readline()

    def restart(self, unit: str) -> None:
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.start(unit)

    def journal(self, *units: str, since: float, lines: int) -> list[str]:
        assert since <= time.time()
        said = ["Starting Stand-in of shop 2...", "Traceback:", "bind", "OSError: Address already in use", f"{units[0]}: Failed.", "Failed to start Stand-in."]
        return said[:lines]

    def kill(self, name: str, _unit: str) -> None:
        assert self.process
        if self.process.poll() is not None:
            raise SystemdError("no such process")
        os.killpg(self.process.pid, getattr(signal, name))

    def begin_to_stop(self, *_units: str) -> None:
        assert self.process
        # As systemd does.
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGCONT)

    def stop(self, *units: str) -> None:
        self.done.append(f"stop {' '.join(units)}")
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
        for held in self.held:
            held.close()

    def forget_failures(self, *units: str) -> None:
        self.done.append(f"forget {' '.join(units)}")


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_trial, "RUNTIME_UNIT_FOLDER", str(tmp_path))
    monkeypatch.setattr(_trial, "PATIENCE", 2)
    return tmp_path


def trial(folder: Path, how: str = "drains", sockets: t.Sequence[str] = ("shop.socket", "shop-admin.socket")) -> tuple[Trial, FakeSystemd]:
    systemd = FakeSystemd(folder, how)
    return Trial(t.cast("t.Any", systemd), service="shop.service", stand_in="shop@.service", sockets=sockets, release="2", path="/health"), systemd


def run(folder: Path, how: str) -> Tried:
    tried, systemd = trial(folder, how)
    try:
        return tried.run()
    finally:
        assert list(folder.iterdir()) == []
        assert systemd.done[-2:] == [f"{verb} {' '.join([tried.unit, *tried.socket_units])}" for verb in ("stop", "forget")]


def test_an_app_that_drains_answers_what_it_has_in_hand(units: Path) -> None:
    found = run(units, "drains")
    assert (found.failed, found.in_hand, found.answered) == ("", 8, 8)
    assert found.late is not None
    assert found.late < 0.1


@pytest.mark.parametrize("how", ["dies", "exits", "stops-its-loop"])
def test_an_app_that_dies_at_once_answers_nothing(units: Path, how: str) -> None:
    found = run(units, how)
    assert (found.in_hand, found.answered) == (8, 0)


def test_an_app_that_is_ready_too_early_is_late(units: Path) -> None:
    found = run(units, "late")
    assert found.late is not None
    assert 0.2 < found.late < 1.5


def test_an_app_that_is_late_once_was_only_unlucky(units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = iter([0.9, 0.0, 0.0, 0.01])
    monkeypatch.setattr(_trial.Caller, "wait_until_accepted", lambda _self, _timeout: next(waited, 0.0))
    tried, systemd = trial(units)
    assert tried.run().late == 0.01
    assert systemd.done[1:3] == [f"start {tried.unit}"] * 2


def test_an_app_that_does_not_start_says_why(units: Path) -> None:
    assert run(units, "fails").failed == "a second instance did not start: bind / OSError: Address already in use"


@pytest.mark.parametrize("how", ["no-http", "hangs-up"])
def test_an_app_that_speaks_no_http_does_not_show_how_it_ends(units: Path, how: str) -> None:
    tried, _systemd = trial(units, how)
    assert tried.run().in_hand == 0
    assert "did not answer HTTP" in tried.unseen[0]


def test_an_app_that_never_accepts_is_found_so(units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trial, "PATIENCE", 0.2)
    monkeypatch.setattr(FakeSystemd, "begin", lambda _self: None)
    assert run(units, "drains").late is None


def written(folder: Path) -> tuple[Trial, dict[str, str]]:
    tried, _systemd = trial(folder)
    tried._write()
    return tried, {path.name: path.read_text() for path in folder.iterdir()}


def test_it_is_the_stand_in_in_all_but_its_sockets(units: Path) -> None:
    tried, files = written(units)
    text = files[tried.template]
    assert re.findall("^Sockets=(.*)$", text, re.MULTILINE) == tried.socket_units
    assert "ExecStart=/srv/shop/releases/%i/bin/shop\n" in text
    # In a unit of another name these would mean that name.
    assert 'Environment="A=%%n" "B=shop@%i.service"\nEnvironmentFile=/etc/shop/app_environment\n' in text
    assert text.rindex("RuntimeMaxSec=10min") > text.rindex("RuntimeMaxSec=15min")
    assert all((units / name).stat().st_mode & 0o777 == 0o600 for name in files)


def test_what_it_waits_for_is_asked_at_its_own_addresses(units: Path) -> None:
    tried, files = written(units)
    own = [tried.addresses[address] for address in ("127.0.0.1:4000", "[::]:4001", "/run/shop.sock")]
    waits, asks = re.findall("^ExecStartPost=(.+)$", files[tried.template], re.MULTILINE)
    assert waits.endswith(f'"/usr/local/lib/shop-accepting.py" "{own[0]}" "{own[1]}" "{own[2]}"')
    # Others stay as they are.
    assert asks == f"/usr/bin/curl http://{own[0]}/health http://10.127.0.0.1:4000/ http://127.0.0.1:40001/"


def test_its_addresses_are_of_the_same_families_and_reached_from_this_host_alone(units: Path) -> None:
    tried, files = written(units)
    first, second = (files[unit] for unit in tried.socket_units)
    assert re.findall(r"^Listen.*$", first, re.MULTILINE)[0].startswith("ListenStream=127.0.0.1:")
    assert re.findall(r"^Listen.*$", first, re.MULTILINE)[1].startswith("ListenStream=[::")
    assert "FileDescriptorName=http\n" in first
    # systemd's own name for one that has none.
    assert "FileDescriptorName=shop-admin.socket\n" in second
    assert re.search(r"^ListenStream=/run/shop\.doctor-\d+-2\.sock$", second, re.MULTILINE)
    assert all(f"Service={tried.unit}\n" in files[unit] for unit in tried.socket_units)


def test_no_app_can_have_a_unit_of_such_a_name(units: Path) -> None:
    tried, _systemd = trial(units)
    assert all(unit.startswith("shop.doctor-") for unit in (tried.template, tried.unit, *tried.socket_units))


def test_what_a_run_that_died_has_left_is_taken_away_first(units: Path) -> None:
    (units / "shop.doctor-1@.service").touch()
    (units / "shop-doctor@.service").touch()  # another app's
    tried, systemd = trial(units)
    systemd.left = ["shop.doctor-1@2.service", "shop.doctor-1-0.socket"]
    tried.run()
    assert systemd.done[0] == "stop shop.doctor-1@2.service shop.doctor-1-0.socket"
    assert [path.name for path in units.iterdir()] == ["shop-doctor@.service"]


@pytest.mark.parametrize("listen", ["/run/shop.fifo (FIFO)", "vsock:2:4000 (Stream)", "@abstract (Stream)", "127.0.0.1:4000 (Datagram)"])
def test_an_app_with_sockets_that_have_no_equal_is_not_tried(units: Path, monkeypatch: pytest.MonkeyPatch, listen: str) -> None:
    tried, systemd = trial(units, sockets=["shop.socket"])
    monkeypatch.setattr(systemd, "show", lambda _unit, *_properties: {"Listen": listen})
    with pytest.raises(UntriableError):
        tried.run()
    assert systemd.process is None
    assert list(units.iterdir()) == []


def test_a_host_that_is_slow_makes_no_app_late(units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = _trial.Caller.wait_until_accepted
    monkeypatch.setattr(_trial.Caller, "wait_until_accepted", lambda self, timeout: (really(self, timeout) or 0) + 0.5)
    late = run(units, "drains").late
    assert late is not None
    assert late < 0.1
