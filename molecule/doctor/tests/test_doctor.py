# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault that is planted is found, alone; nothing is found in apps that are well; and the live app notices nothing."""

from __future__ import annotations

import contextlib
import typing as t

import pytest

from doctor.patient import NAME, OWN_PORT, PATH, PORT
from versions import OLDEST

if t.TYPE_CHECKING:
    from testinfra.host import Host

    from doctor.patient import Patient

usual_hosts = [OLDEST]

# Asks 20 times a second over a new connection, and writes down the status and the milliseconds of each answer.
ASK = f"""
import asyncio, signal, time

async def ask():
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", {PORT})
        writer.write(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
        words = (await reader.read()).decode().split()
        writer.close()
        print(words[1] if words else "lost", round((time.monotonic() - began) * 1000), flush=True)
    except OSError as error:
        print(type(error).__name__, 0, flush=True)

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
MAKES = ("asyncio", "threads", "workers")
# An app that another process answers for in less than this is not kept waiting; it needs 20 ms by itself, on a host that is busy.
SLOW = 800


@contextlib.contextmanager
def asked(host: Host) -> t.Iterator[list[tuple[str, int]]]:
    """What clients of the live app get meanwhile, known at the end: the status, and how many milliseconds it took."""
    seen: list[tuple[str, int]] = []
    output = f"/run/{NAME}-asked"
    host.check_output(f"rm -f {output} && systemd-run --quiet --collect --unit={NAME}-asked --property=StandardOutput=file:{output} python3 -c %s", ASK)
    try:
        yield seen
    finally:
        host.check_output(f"systemctl stop {NAME}-asked")
    seen += [(status, int(taken)) for status, taken in (line.split() for line in host.check_output(f"cat {output} && rm {output}").splitlines())]


def codes(found: dict[str, t.Any]) -> list[str]:
    return [finding["code"] for finding in found["findings"]]


@pytest.mark.parametrize("make", MAKES)
def test_nothing_is_found_in_an_app_that_is_well(patient: Patient, make: str) -> None:
    with patient.runs_with(DOCTORED_MAKE=make), asked(patient.host) as seen:
        process = patient.process()
        found = patient.examine(try_start=True, strategy="overlap")
        assert (found["findings"], found["unseen"], found["healthy"], found["changed"]) == ([], [], True, False)
        assert [(socket["address"], socket["accepted"]) for socket in found["sockets"]] == [(f"[::]:{PORT}", True), (PATH, True)]
        assert found["main"]["release"] == "one"
        assert found["tried"]["in_hand"] > 0
        assert patient.process() == process
    assert patient.trace() == ""
    assert {status for status, _taken in seen} == {"200"}
    assert max(taken for _status, taken in seen) < SLOW


@pytest.mark.parametrize(
    ("code", "seen", "environment"),
    [
        ("lowered-backlog", f"[::]:{PORT} lets 5 clients wait, and {NAME}.socket says 4096", {"DOCTORED_FAULT": "backlog"}),
        ("socket-not-inherited", f"(python3) listens on 127.0.0.1:{OWN_PORT} itself", {"DOCTORED_FAULT": "own-port", "DOCTORED_PORT": OWN_PORT}),
        ("reuse-port", f"2 sockets of {NAME}.service listen at 127.0.0.1:{OWN_PORT}", {"DOCTORED_FAULT": "reuse-port", "DOCTORED_PORT": OWN_PORT}),
        ("no-drain", "(python3) does not catch signal 15", {"DOCTORED_FAULT": "no-handler"}),
        ("no-drain", "(python3) ignores signal 15", {"DOCTORED_FAULT": "ignores"}),
    ],
)
def test_a_fault_of_the_app_shows_at_a_look(patient: Patient, code: str, seen: str, environment: dict[str, t.Any]) -> None:
    with patient.runs_with(**environment):
        process = patient.process()
        found = patient.examine()
        assert codes(found) == [code]
        assert seen in found["findings"][0]["seen"]
        assert (found["findings"][0]["severity"], found["healthy"]) == ("problem", False)
        assert "With asyncio:" in found["findings"][0]["fix"]
        assert patient.process() == process
    assert codes(patient.examine()) == []


@pytest.mark.parametrize(
    ("code", "seen", "unit"),
    [
        ("forking", f"{NAME}.service has Type=forking", "[Service]\nType=forking\nExecStart=\nExecStart=/usr/bin/python3 app.py fork\n"),
        (
            "wrapper-loses-pid",
            "the main process is",
            "[Service]\nNotifyAccess=all\nExecStart=\nExecStart=/bin/sh -c 'trap : TERM; /usr/bin/python3 app.py; exit'\n",
        ),
        ("start-limit", f"{NAME}.service has StartLimitIntervalSec=", "[Unit]\nStartLimitIntervalSec=10\n"),
        ("other-release", "release one is live, and the main process runs release two", "[Service]\nWorkingDirectory=/srv/doctored/releases/two\n"),
    ],
)
def test_a_fault_of_the_unit_shows_at_a_look(patient: Patient, code: str, seen: str, unit: str) -> None:
    patient.host.check_output("cp --archive --no-target-directory /srv/doctored/releases/one /srv/doctored/releases/two")
    with patient.runs_with(unit=unit):
        found = patient.examine()
        assert codes(found) == [code]
        assert seen in found["findings"][0]["seen"]


def test_a_socket_unit_with_reuse_port_is_found(patient: Patient) -> None:
    patient.host.check_output(
        f"mkdir -p /run/systemd/system/{NAME}.socket.d && printf '[Socket]\\nReusePort=yes\\n' >/run/systemd/system/{NAME}.socket.d/50-fault.conf"
    )
    assert codes(patient.examine()) == ["unit-not-loaded"]
    patient.host.check_output("systemctl daemon-reload")
    assert codes(patient.examine()) == ["reuse-port"]
    patient.host.check_output(f"rm -r /run/systemd/system/{NAME}.socket.d && systemctl daemon-reload")


def test_a_file_that_is_newer_than_what_is_loaded_is_found(patient: Patient) -> None:
    path = f"/etc/systemd/system/{NAME}.service"
    patient.host.check_output(f"cp --archive {path} {path}.saved && sleep 1.1 && echo '# changed' >>{path}")
    found = patient.examine()
    patient.host.check_output(f"mv {path}.saved {path} && systemctl daemon-reload")
    assert codes(found) == ["unit-not-loaded"]
    assert codes(patient.examine()) == []


@pytest.mark.parametrize(("code", "fault"), [("ready-before-listening", "early-ready"), ("no-drain", "cuts-off")])
def test_a_fault_that_does_not_show_at_a_look_shows_when_it_is_tried(patient: Patient, code: str, fault: str) -> None:
    with patient.runs_with(DOCTORED_FAULT=fault), asked(patient.host) as seen:
        assert codes(patient.examine()) == []
        process = patient.process()
        assert codes(patient.examine(try_start=True)) == [code]
        assert patient.process() == process
        assert patient.trace() == ""
    # Clients of the live app come to no instance that does such a thing.
    assert {status for status, _taken in seen} == {"200"}
    assert max(taken for _status, taken in seen) < SLOW


def test_an_app_that_takes_a_port_of_its_own_cannot_run_twice(patient: Patient) -> None:
    with patient.runs_with(DOCTORED_FAULT="own-port", DOCTORED_PORT=OWN_PORT):
        found = patient.examine(try_start=True, strategy="overlap")
        assert codes(found) == ["socket-not-inherited", "no-second-instance"]
        assert "Address already in use" in found["findings"][1]["seen"]
    assert patient.trace() == ""


def test_nothing_is_tried_in_check_mode_or_during_a_deploy(patient: Patient) -> None:
    found = patient.examine("--check", try_start=True)
    assert ("tried" in found, found["unseen"]) == (False, ["a second instance was not started: this is check mode"])
    held = f"systemd-run --quiet --collect --unit={NAME}-lock flock --exclusive /srv/{NAME}/.deploy/lock sleep 60"
    patient.host.check_output(held)
    locked = patient.examine(try_start=True, lock_timeout=0.2)
    patient.host.check_output(f"systemctl stop {NAME}-lock")
    assert "another deploy of this app is under way" in locked["msg"]
    assert patient.trace() == ""


def test_a_stopped_app_is_not_started_by_a_look(patient: Patient) -> None:
    patient.host.check_output(f"systemctl stop {NAME}.service")
    found = patient.examine(try_start=True)
    assert patient.host.check_output(f"systemctl show --property=ActiveState --value {NAME}.service") == "inactive"
    patient.host.check_output(f"systemctl start {NAME}.service")
    assert codes(found) == ["not-running"]


def test_the_playbook_shows_a_table_and_fails_where_that_is_wanted(patient: Patient) -> None:
    well = patient.play(app_doctor_try=True, app_doctor_fail=True)
    assert well.returncode == 0, well.stdout
    assert "verdict   nothing found" in well.stdout
    # A long line is folded.
    assert "requests in hand answered when it was stopped" in " ".join(well.stdout.split())
    with patient.runs_with(DOCTORED_FAULT="no-handler"):
        told = patient.play()
        assert told.returncode == 0, told.stdout
        assert "problem no-drain: The app does not finish the requests in hand" in " ".join(told.stdout.split())
        failed = patient.play(app_doctor_fail=True)
        assert failed.returncode != 0
        assert f"app_doctor_fail: the next deploy of {NAME} would go wrong: no-drain" in " ".join(failed.stdout.split())
